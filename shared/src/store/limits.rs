//! Counters and slots that hold over all functions: starts a minute, and callers held at once.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use ulid::Ulid;

use super::{Write, is_refused, number, text};
use crate::{error::Error, time::Timestamp};

const MINUTE: i64 = 60_000;

/// How many slots are tried before a caller is answered at once.
const SLOT_TRIES: u32 = 3;

#[derive(Debug, Clone)]
pub struct Limits {
    client: Client,
    table: String,
}

/// A start that was counted.
#[derive(Debug)]
pub struct Counted(String);

/// A slot that holds one waiting caller.
#[derive(Debug)]
pub struct Slot {
    name: String,
    holder: String,
}

impl Limits {
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Counts one start of this key in this minute, exactly over all functions; refuses when
    /// `limit` of them are counted already.
    pub async fn count_start(
        &self,
        key_id: &str,
        limit: u32,
        now: Timestamp,
    ) -> Result<Counted, Error> {
        let minute = now.millis().div_euclid(MINUTE);
        let counter = format!("rate#{key_id}#{minute}");
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("execution_id", text(&counter))
            .key("part", text("rate"))
            .update_expression("SET #ttl = :ttl ADD n :one")
            .condition_expression("(attribute_not_exists(n) AND :limit > :zero) OR n < :limit")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":limit", number(limit))
            .expression_attribute_values(":ttl", number((minute + 60) * 60))
            .write()
            .await;
        match updated {
            Ok(_) => Ok(Counted(counter)),
            Err(error) if is_refused(&error) => {
                let next_minute = Timestamp::from_millis((minute + 1) * MINUTE);
                Err(Error::RateLimited {
                    limit,
                    retry_after_seconds: next_minute.millis_since(now).div_ceil(1000),
                })
            }
            Err(error) => Err(Error::aws("count a start")(error)),
        }
    }

    /// Takes the count back: the start was a replay, which is free.
    pub async fn uncount_start(&self, counted: Counted) -> Result<(), Error> {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("execution_id", text(counted.0))
            .key("part", text("rate"))
            .update_expression("ADD n :minus_one")
            .expression_attribute_values(":minus_one", number(-1))
            .write()
            .await
            .map_err(Error::aws("take back a counted start"))?;
        Ok(())
    }

    /// Takes one of `slots` for `hold`, or nothing when those tried are taken. A holder that dies
    /// keeps its slot only so long.
    pub async fn take_slot(&self, slots: u32, hold: Duration) -> Result<Option<Slot>, Error> {
        if slots == 0 {
            return Ok(None);
        }
        let holder = Ulid::generate();
        for attempt in 0..SLOT_TRIES.min(slots) {
            // Random, so that holders rarely meet; neighbours next, so that no try is wasted.
            let first = u32::try_from(holder.random() & 0xffff).unwrap_or_default();
            let slot = Slot {
                name: format!("wait#{}", (first + attempt) % slots),
                holder: holder.to_string(),
            };
            if self.take(&slot, hold).await? {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    async fn take(&self, slot: &Slot, hold: Duration) -> Result<bool, Error> {
        let now = Timestamp::now();
        let until = now.plus(hold);
        let taken = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("execution_id", text(&slot.name))
            .key("part", text("wait"))
            .update_expression("SET holder = :holder, held_until = :until, #ttl = :ttl")
            .condition_expression(
                "attribute_not_exists(held_until) OR held_until <= :now OR holder = :holder",
            )
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":holder", text(&slot.holder))
            .expression_attribute_values(":now", number(now.millis()))
            .expression_attribute_values(":until", number(until.millis()))
            .expression_attribute_values(":ttl", number(until.seconds() + 3600))
            .write()
            .await;
        match taken {
            Ok(_) => Ok(true),
            Err(error) if is_refused(&error) => Ok(false),
            Err(error) => Err(Error::aws("take a waiter's slot")(error)),
        }
    }

    /// Frees a slot that is still ours.
    pub async fn free_slot(&self, slot: Slot) -> Result<(), Error> {
        let freed = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("execution_id", text(&slot.name))
            .key("part", text("wait"))
            .update_expression("REMOVE held_until")
            .condition_expression("holder = :holder")
            .expression_attribute_values(":holder", text(&slot.holder))
            .write()
            .await;
        match freed {
            Ok(_) => Ok(()),
            Err(error) if is_refused(&error) => Ok(()),
            Err(error) => Err(Error::aws("free a waiter's slot")(error)),
        }
    }
}
