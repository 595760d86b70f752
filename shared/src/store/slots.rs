//! What is taken of a pool of slots, and the lines of runs that wait for one, which are an index.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, Select};
use futures_util::future::try_join_all;
use serde::Deserialize;

use crate::{
    domain::{
        debt::{Debt, DebtKind},
        error::Error,
        execution::Execution,
        id::ExecutionId,
        launch_attempts::LaunchAttempts,
        pool::{LINE_KEPT, Limit, Names, Pool, Slot, View, WaitsFor},
        status::Rank,
        time::Timestamp,
    },
    store::{
        change::{Change, MAY_BE_CLAIMED},
        executions::Executions,
        item::{from_item_of_list, number, text, to_attribute},
        key::{LINE, key},
        slot::{self, SLOT},
        write::{Step, Transaction, Write, step},
    },
};

const INDEX: &str = "waiting";

/// A run whose end is to be redriven, and that has not taken the slots for it.
const TO_BE_REDRIVEN: &str =
    "#rank = :rank AND attribute_exists(redrive_requested_at) AND attribute_not_exists(slots)";

/// What became of an attempt to claim a run with its slots.
#[derive(Debug)]
pub enum SlotClaim {
    Claimed(Box<Execution>, LaunchAttempts),
    /// Somebody else was first with one of them.
    Taken,
    /// The run may not be claimed as it is now.
    Refused,
}

/// One that stands in a line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Waiter {
    pub wait_order: Timestamp,
    pub execution_id: ExecutionId,
}

/// What rank a run has that takes slots.
fn rank_before(run: &Execution) -> Rank {
    if run.facts().is_to_be_redriven() { Rank::Ended } else { Rank::Queued }
}

impl Executions {
    /// What there is of the pool of each limit, and whether somebody else comes before this run there. It is
    /// the first of the line `of`, where it comes from one.
    pub async fn views(
        &self,
        run: &Execution,
        limits: &[Limit],
        of: Option<&Pool>,
    ) -> Result<Vec<View>, Error> {
        let place = (run.wait_order, &run.execution_id);
        let is_before = |it: &Waiter| (Some(it.wait_order), &it.execution_id) < place;
        try_join_all(limits.iter().map(async |limit| {
            let pool = &limit.pool;
            if of == Some(pool) {
                return Ok(View { taken: self.taken(pool).await?, is_behind: false });
            }
            // Two, since it may be the first itself.
            let (taken, first) = tokio::join!(self.taken(pool), self.first_in_line(pool, 2));
            Ok(View { taken: taken?, is_behind: first?.iter().any(is_before) })
        }))
        .await
    }

    /// The names of the slots of a pool that are taken now.
    pub async fn taken(&self, pool: &Pool) -> Result<Names, Error> {
        let mut names = Names::new();
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("execution_id = :pool AND begins_with(part, :slot)")
            .expression_attribute_values(":pool", text(pool.as_str()))
            .expression_attribute_values(":slot", text(SLOT))
            .projection_expression("part")
            .consistent_read(true)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            for mut item in page.map_err(Error::aws("read slots"))?.items.unwrap_or_default() {
                if let Some(AttributeValue::S(part)) = item.remove("part") {
                    names.extend(part.strip_prefix(SLOT).map(str::to_owned));
                }
            }
        }
        Ok(names)
    }

    /// The first so many of those who wait there, as the index has them.
    pub async fn first_in_line(&self, pool: &Pool, count: i32) -> Result<Vec<Waiter>, Error> {
        let page = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(INDEX)
            .key_condition_expression("line = :line")
            .expression_attribute_values(":line", text(pool.as_str()))
            .projection_expression("execution_id, wait_order")
            .limit(count)
            .send()
            .await
            .map_err(Error::aws("read a line"))?;
        Ok(page.items.unwrap_or_default().into_iter().filter_map(from_item_of_list).collect())
    }

    /// How many wait there before this place, of the first thousand.
    pub async fn count_before(&self, pool: &Pool, place: Timestamp) -> Result<u32, Error> {
        let page = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(INDEX)
            .select(Select::Count)
            .key_condition_expression("line = :line AND wait_order < :place")
            .expression_attribute_values(":line", text(pool.as_str()))
            .expression_attribute_values(":place", number(place.millis()))
            .limit(1_000)
            .send()
            .await
            .map_err(Error::aws("count who waits"))?;
        Ok(u32::try_from(page.count).unwrap_or_default())
    }

    /// Claims a run that takes slots, with them, all or nothing. It may be claimed as any other, but by nobody a second
    /// time: whoever finds it claimed claims it as any other. Likewise one that is to be redriven, which takes them
    /// again. What it owes is moved to `due_at`, if it has waited.
    pub async fn claim_with(
        &self,
        run: &Execution,
        slots: Vec<Slot>,
        due_at: Timestamp,
    ) -> Result<SlotClaim, Error> {
        let id = &run.execution_id;
        let now = Timestamp::now();
        let mut set = Vec::new();
        let mut values = HashMap::from([(":rank".to_owned(), number(rank_before(run) as u8))]);
        let (mut condition, counted) = if run.facts().is_to_be_redriven() {
            (TO_BE_REDRIVEN.to_owned(), "")
        } else {
            set.push("claimed_at = :claimed_at");
            values.insert(":claimed_at".to_owned(), number(now.millis()));
            values.insert(":now".to_owned(), number(now.millis()));
            values.insert(":one".to_owned(), number(1));
            (
                format!("#rank = :rank AND attribute_not_exists(claimed_at) AND {MAY_BE_CLAIMED}"),
                " ADD launch_tries :one",
            )
        };
        // Its agent may have no limit any more.
        if !slots.is_empty() {
            set.push("slots = :slots");
            values.insert(":slots".to_owned(), to_attribute(&slots)?);
        }
        if run.line.is_some() {
            set.push("due_at = :due_at, debt = :debt");
            values.insert(":due_at".to_owned(), number(due_at.millis()));
            let debt = Debt::of(DebtKind::Launch, id);
            values.insert(":debt".to_owned(), text(debt.as_str()));
        } else {
            // Of one that has joined a line since it was read, what it owes would be as late as if it waited.
            condition.push_str(" AND attribute_not_exists(line)");
        }
        // A redrive that takes nothing and leaves no line sets nothing.
        let set = if set.is_empty() { String::new() } else { format!("SET {} ", set.join(", ")) };
        let state = Change {
            expression: format!("{set}REMOVE line, waits_for, sweeps{counted}"),
            condition,
            names: HashMap::from([("#rank".to_owned(), "rank".to_owned())]),
            values,
        };
        let taken = slots.iter().map(|slot| slot::take(&self.table, slot, id));
        let others = taken.collect::<Result<Vec<_>, Error>>()?;
        Ok(match self.change(id, state, others, "claim an execution").await? {
            Transaction::Committed => {
                let claimed = Execution {
                    claimed_at: run.claimed_at.or(Some(now)),
                    line: None,
                    waits_for: None,
                    slots,
                    ..run.clone()
                };
                SlotClaim::Claimed(Box::new(claimed), LaunchAttempts { made: 1, answered: 0 })
            }
            Transaction::Refused(0) => SlotClaim::Refused,
            Transaction::Refused(_) => SlotClaim::Taken,
        })
    }

    /// Has a run wait in a line until then, or until somebody wakes it.
    pub async fn wait_in_line(
        &self,
        run: &Execution,
        line: &Pool,
        waits_for: WaitsFor,
        until: Timestamp,
    ) -> Result<Step, Error> {
        let id = &run.execution_id;
        let updated = self
            .update(id)
            .update_expression(
                "SET line = :line, waits_for = :waits_for, due_at = :until, debt = :debt REMOVE sweeps",
            )
            .condition_expression(if run.facts().is_to_be_redriven() {
                TO_BE_REDRIVEN
            } else {
                "#rank = :rank AND attribute_not_exists(claimed_at) \
                 AND attribute_not_exists(cancel_requested_at)"
            })
            .expression_attribute_names("#rank", "rank")
            .expression_attribute_values(":rank", number(rank_before(run) as u8))
            .expression_attribute_values(":line", text(line.as_str()))
            .expression_attribute_values(":waits_for", to_attribute(&waits_for)?)
            .expression_attribute_values(":until", number(until.millis()))
            .expression_attribute_values(":debt", text(Debt::of(DebtKind::Launch, id).as_str()))
            .write()
            .await;
        step(updated, "wait for a slot")
    }

    /// Has `sweep` look after a line from `due_at` on, if it does not yet: done before anybody joins it.
    pub async fn open_line(&self, line: &Pool, due_at: Timestamp) -> Result<(), Error> {
        let debt = DebtKind::Line.keys().next().unwrap_or_else(Debt::dead);
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(line.as_str(), LINE)))
            .update_expression(
                "SET joined_at = :now, due_at = if_not_exists(due_at, :due_at), debt = :debt",
            )
            .expression_attribute_values(":now", number(Timestamp::now().millis()))
            .expression_attribute_values(":due_at", number(due_at.millis()))
            .expression_attribute_values(":debt", text(debt.as_str()))
            .write()
            .await
            .map_err(Error::aws("open a line"))?;
        Ok(())
    }

    /// Has nobody look after a line any more in which nobody stands, unless somebody has joined it lately.
    pub async fn close_line(&self, line: &Pool) -> Result<(), Error> {
        let closed = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(line.as_str(), LINE)))
            .condition_expression("joined_at < :before")
            .expression_attribute_values(
                ":before",
                number(Timestamp::now().minus(LINE_KEPT).millis()),
            )
            .write()
            .await;
        match closed {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(refused) if refused.is_conditional_check_failed_exception() => Ok(()),
                _ => Err(Error::aws("close a line")(error)),
            },
        }
    }
}
