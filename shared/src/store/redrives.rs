//! A redrive that was asked for: what a run owes then, and its refusal.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;

use crate::{
    domain::{
        caller::Actor,
        debt::{Debt, DebtKind},
        error::Error,
        execution::Execution,
        expiry,
        loops::Hops,
        status::Rank,
        time::Timestamp,
    },
    store::{
        change::{Change, holding},
        executions::Executions,
        item::{number, text, to_attribute, to_item},
        slot,
        write::{Step, Transaction, Write, step},
    },
};

/// How long a run is kept whose redrive is requested: longer than it can be redriven.
const KEPT: Duration = Duration::from_hours(30 * 24);

impl Executions {
    /// Records that the end of a run is to be redriven, if it is that end, and was asked for or not as it was read.
    /// Repeating it is harmless. It takes slots
    /// like a start of now, and is kept for as long as it may wait for them, with all that belongs to it. What it tells
    /// from then on has these hops, too.
    pub async fn request_redrive(
        &self,
        run: &Execution,
        by: &Actor,
        hops: &Hops,
        due_at: Timestamp,
    ) -> Result<Step, Error> {
        let id = &run.execution_id;
        let now = Timestamp::now();
        // Never shorter than it is kept already.
        let expires = run.ttl.map(|ttl| Timestamp::from_millis(ttl.saturating_mul(1_000)));
        let until = expires.map_or(now.plus(KEPT), |expires| expires.max(now.plus(KEPT)));
        let mut values = HashMap::from([
            (":ttl", number(until.seconds())),
            (":kept_until", number(expiry::parts_until(until).millis())),
            (":ended", number(Rank::Ended as u8)),
            (":redrive_count", number(run.redrive_count)),
            (":by", AttributeValue::M(to_item(by)?)),
            (":now", number(now.millis())),
            (":due_at", number(due_at.millis())),
            (":debt", text(Debt::of(DebtKind::Launch, id).as_str())),
        ]);
        let mut set = "redrive_requested_at = if_not_exists(redrive_requested_at, :now), \
                       redriven_by = :by, due_at = :due_at, debt = :debt, #ttl = :ttl, \
                       kept_until = :kept_until"
            .to_owned();
        // It would else overtake all who have come since its start. Asked for again, it keeps its place.
        let asked = if run.redrive_requested_at.is_none() {
            set.push_str(", wait_order = :now");
            "attribute_not_exists(redrive_requested_at)"
        } else {
            "attribute_exists(redrive_requested_at)"
        };
        if !hops.is_empty() {
            set.push_str(", hops = :hops");
            values.insert(":hops", to_attribute(&run.hops.clone().and(hops))?);
        }
        let values = values.into_iter().map(|(name, value)| (name.to_owned(), value));
        let state = Change {
            expression: format!("SET {set} REMOVE redrive_refusal, sweeps, dead_reason"),
            condition: format!("#rank = :ended AND redrive_count = :redrive_count AND {asked}"),
            names: ["rank", "ttl"].map(|name| (format!("#{name}"), name.to_owned())).into(),
            values: values.collect(),
        };
        let kept = self.keep_with_outcome(run, until)?;
        let action = "redrive an execution";
        Ok(match self.change_keeping(id, state, Vec::new(), kept, action).await? {
            Transaction::Committed => Step::Applied,
            Transaction::Refused(_) => Step::Stale,
        })
    }

    /// Takes back that a run is to be redriven, while it stands in a line: from its claim on it may be redriven any
    /// moment.
    pub async fn withdraw_redrive(&self, run: &Execution) -> Result<Step, Error> {
        let updated = self
            .update(&run.execution_id)
            .update_expression(
                "SET redrive_refusal = :reason \
                 REMOVE redrive_requested_at, due_at, debt, sweeps, line, waits_for",
            )
            .condition_expression(
                "#rank = :ended AND redrive_count = :redrive_count AND attribute_exists(line)",
            )
            .expression_attribute_names("#rank", "rank")
            .expression_attribute_values(":ended", number(Rank::Ended as u8))
            .expression_attribute_values(":redrive_count", number(run.redrive_count))
            .expression_attribute_values(":reason", text("the request was cancelled"))
            .write()
            .await;
        step(updated, "withdraw a redrive")
    }

    /// Records that Step Functions does not redrive a run, and why, and frees what it has taken for that.
    pub async fn refuse_redrive(&self, run: &Execution, reason: &str) -> Result<(), Error> {
        let mut values = HashMap::from([
            (":ended".to_owned(), number(Rank::Ended as u8)),
            (":redrive_count".to_owned(), number(run.redrive_count)),
            (":reason".to_owned(), text(reason)),
        ]);
        let holding = holding(&run.slots, &mut values)?;
        let state = Change {
            expression: "SET redrive_refusal = :reason \
                         REMOVE redrive_requested_at, due_at, debt, sweeps, slots, line, waits_for"
                .to_owned(),
            condition: format!("#rank = :ended AND redrive_count = :redrive_count AND {holding}"),
            names: HashMap::from([("#rank".to_owned(), "rank".to_owned())]),
            values,
        };
        let id = &run.execution_id;
        let freed = run.slots.iter().map(|slot| slot::free(&self.table, slot, id));
        let freed = freed.collect::<Result<_, Error>>()?;
        // Who is refused finds that it runs again.
        self.change(id, state, freed, "refuse a redrive").await?;
        Ok(())
    }
}
