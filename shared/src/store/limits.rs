//! Counters and slots that hold over all functions: starts a minute, and callers held at once.

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::Client;
use tokio::sync::Mutex;
use ulid::Ulid;

use crate::{
    domain::{caller::Credential, error::Error, id::UserId, time::Timestamp},
    store::{
        item::{number, text},
        write::{Write, is_refused},
    },
};

pub(super) const MINUTE: i64 = 60_000;

pub(super) const fn minute_of(now: Timestamp) -> i64 {
    now.millis().div_euclid(MINUTE)
}

/// What a counter is called in this minute. Whatever stands before it, the minute is what is behind the last `#`.
pub(super) fn counter_key(counter: &str, minute: i64) -> String {
    format!("{counter}#{minute}")
}

/// When the counter of this minute is of no use any more, in seconds.
pub(super) const fn expiry(minute: i64) -> i64 {
    (minute + 60) * 60
}

/// How many slots are tried before a caller is answered at once.
const SLOT_TRIES: u32 = 3;
/// A user gets one of so many slots, and at least one.
const SHARE: u32 = 4;
/// How much longer than its wait a request keeps its slot when it dies.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub struct Limits {
    client: Client,
    table: String,
    /// The request that is held here. A function serves one at a time, so that whoever waits beside it
    /// is of the same request, such as a batch.
    held: Arc<Mutex<Option<Held>>>,
}

/// Starts that were counted: under which name, and how many.
#[derive(Debug)]
pub struct Counted(String, u32);

/// A part of what one held request has.
#[derive(Debug)]
#[must_use = "it is free only once it is given back"]
pub struct Slot {
    holder: String,
}

/// A request that is held: one slot of its user's, and one of all.
#[derive(Debug)]
struct Held {
    user: UserId,
    holder: String,
    slots: [String; 2],
    until: Timestamp,
    /// How many wait for something within it.
    waiting: u32,
}

impl Limits {
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table, held: Arc::default() }
    }

    /// Counts so many starts of this key in this minute, exactly over all functions, or none where that
    /// would be more than `limit`.
    pub async fn count_starts(
        &self,
        key: &Credential,
        starts: u32,
        limit: u32,
        now: Timestamp,
    ) -> Result<Counted, Error> {
        self.count(&format!("rate#{}", key.as_str()), starts, limit, "starts", now).await
    }

    /// Counts one replay, which takes none of the starts and has a limit of its own.
    pub async fn count_replay(
        &self,
        key: &Credential,
        limit: u32,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.count(&format!("rate#replay#{}", key.as_str()), 1, limit, "replays", now)
            .await
            .map(drop)
    }

    /// Counts one request that owes deliveries, likewise.
    pub async fn count_delivery(
        &self,
        key: &Credential,
        limit: u32,
        now: Timestamp,
    ) -> Result<(), Error> {
        let counter = format!("rate#delivery#{}", key.as_str());
        self.count(&counter, 1, limit, "deliveries", now).await.map(drop)
    }

    async fn count(
        &self,
        what: &str,
        more: u32,
        limit: u32,
        counted: &'static str,
        now: Timestamp,
    ) -> Result<Counted, Error> {
        let minute = minute_of(now);
        let name = counter_key(what, minute);
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("execution_id", text(&name))
            .key("part", text("rate"))
            .update_expression("SET #ttl = :ttl ADD n :more")
            .condition_expression("(attribute_not_exists(n) AND :room >= :zero) OR n <= :room")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":more", number(more))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":room", number(i64::from(limit) - i64::from(more)))
            .expression_attribute_values(":ttl", number(expiry(minute)))
            .write()
            .await;
        match updated {
            Ok(_) => Ok(Counted(name, more)),
            Err(error) if is_refused(&error) => {
                let next_minute = Timestamp::from_millis((minute + 1) * MINUTE);
                Err(Error::RateLimited {
                    limit,
                    counted,
                    retry_after_seconds: next_minute.millis_since(now).div_ceil(1000),
                })
            }
            Err(error) => Err(Error::aws("count a request")(error)),
        }
    }

    /// Takes the count back: the start was a replay, which is free.
    pub async fn uncount_starts(&self, counted: Counted) -> Result<(), Error> {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("execution_id", text(counted.0))
            .key("part", text("rate"))
            .update_expression("ADD n :less")
            .expression_attribute_values(":less", number(-i64::from(counted.1)))
            .write()
            .await
            .map_err(Error::aws("take back a counted start"))?;
        Ok(())
    }

    /// Takes one of `slots` for this user's request, which waits so long, or nothing when those tried are
    /// taken, or the user's share of them. What waits within one request takes one in all. A holder that
    /// dies keeps its slot only a little longer.
    pub async fn take_slot(
        &self,
        user: &UserId,
        slots: u32,
        wait: Duration,
    ) -> Result<Option<Slot>, Error> {
        if slots == 0 {
            return Ok(None);
        }
        let now = Timestamp::now();
        let mut held = self.held.lock().await;
        match held.as_mut().filter(|held| held.user == *user && held.until > now) {
            Some(held) => {
                if held.until < now.plus(wait) && !self.prolong(held, wait).await? {
                    return Ok(None);
                }
                held.waiting += 1;
            }
            None => *held = self.hold(user, slots, wait).await?,
        }
        Ok(held.as_ref().map(|held| Slot { holder: held.holder.clone() }))
    }

    /// Takes a slot of the user's first, so that nobody keeps others from the rest by trying.
    async fn hold(&self, user: &UserId, slots: u32, wait: Duration) -> Result<Option<Held>, Error> {
        let holder = Ulid::generate();
        let until = Timestamp::now().plus(wait + GRACE);
        let share = slots.div_ceil(SHARE);
        let Some(own) = self.take_one(&format!("wait#{user}#"), share, holder, until).await? else {
            return Ok(None);
        };
        let of_all = self.take_one("wait#", slots, holder, until).await;
        if let Ok(Some(of_all)) = of_all {
            let (user, holder) = (user.clone(), holder.to_string());
            let slots = [own, of_all];
            return Ok(Some(Held { user, holder, slots, until, waiting: 1 }));
        }
        self.free(&own, &holder.to_string()).await?;
        of_all.map(|_| None)
    }

    /// Takes one of so many slots of this name, which it returns.
    async fn take_one(
        &self,
        prefix: &str,
        slots: u32,
        holder: Ulid,
        until: Timestamp,
    ) -> Result<Option<String>, Error> {
        // Random, so that holders rarely meet; neighbours next, so that no try is wasted.
        let first = u32::try_from(holder.random() & 0xffff).unwrap_or_default();
        for attempt in 0..SLOT_TRIES.min(slots) {
            let name = format!("{prefix}{}", (first + attempt) % slots);
            if self.take(&name, &holder.to_string(), until).await? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Keeps both slots for longer; `false` when one has been lost meanwhile.
    async fn prolong(&self, held: &mut Held, wait: Duration) -> Result<bool, Error> {
        let until = Timestamp::now().plus(wait + GRACE);
        for slot in &held.slots {
            if !self.take(slot, &held.holder, until).await? {
                return Ok(false);
            }
        }
        held.until = until;
        Ok(true)
    }

    async fn take(&self, name: &str, holder: &str, until: Timestamp) -> Result<bool, Error> {
        let taken = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("execution_id", text(name))
            .key("part", text("wait"))
            .update_expression("SET holder = :holder, held_until = :until, #ttl = :ttl")
            .condition_expression(
                "attribute_not_exists(held_until) OR held_until <= :now OR holder = :holder",
            )
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":holder", text(holder))
            .expression_attribute_values(":now", number(Timestamp::now().millis()))
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

    /// Gives a slot back, which is free once nothing of its request waits any more.
    pub async fn free_slot(&self, slot: Slot) -> Result<(), Error> {
        let mut held = self.held.lock().await;
        let Some(ours) = held.as_mut().filter(|held| held.holder == slot.holder) else {
            return Ok(());
        };
        ours.waiting = ours.waiting.saturating_sub(1);
        if ours.waiting > 0 {
            return Ok(());
        }
        let Some(Held { slots, holder, .. }) = held.take() else { return Ok(()) };
        let mut freed = Ok(());
        for slot in &slots {
            freed = self.free(slot, &holder).await.and(freed);
        }
        freed
    }

    /// Frees a slot that is still its holder's.
    async fn free(&self, name: &str, holder: &str) -> Result<(), Error> {
        let freed = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("execution_id", text(name))
            .key("part", text("wait"))
            .update_expression("REMOVE held_until")
            .condition_expression("holder = :holder")
            .expression_attribute_values(":holder", text(holder))
            .write()
            .await;
        match freed {
            Ok(_) => Ok(()),
            Err(error) if is_refused(&error) => Ok(()),
            Err(error) => Err(Error::aws("free a waiter's slot")(error)),
        }
    }
}
