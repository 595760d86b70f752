//! How a run's row changes, and under which condition.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use ulid::Ulid;

use crate::{
    domain::{
        error::Error,
        execution::Execution,
        id::ExecutionId,
        outcome::Outcome,
        pool::Slot,
        protocol::Grounds,
        status::{Position, Rank},
        time::Timestamp,
    },
    store::{
        executions::Executions,
        item::{Item, number, text, to_attribute, to_item},
        key::{OUTPUT, STATE, TROUBLE, key},
        write::{Transaction, Write, found, is_refused, transact},
    },
};

/// The one transition rule in DynamoDB's words; see [`Position::may_follow`].
const MAY_FOLLOW: &str =
    "redrive_count < :redrive_count OR (redrive_count = :redrive_count AND #rank < :rank)";

/// What an unclaimed run must be to be claimed, beside unclaimed; see
/// [`Facts::may_be_claimed`](crate::domain::protocol::Facts::may_be_claimed).
pub(super) const MAY_BE_CLAIMED: &str = "launch_before > :now \
    AND attribute_not_exists(cancel_requested_at) \
    AND (attribute_not_exists(start_at) OR start_at <= :now) \
    AND (attribute_not_exists(deadline) OR deadline > :now)";

/// Those attributes of a change by which whoever has written it knows it again, where it writes one of those times. The
/// others may be only what its condition asks for.
const SEAL: [&str; 6] =
    ["updated_at", "claimed_at", "rank", "redrive_count", "progress", "sequence"];
const TIMES: [&str; 2] = [":updated_at", ":claimed_at"];

/// An outcome, and the condition under which it replaces what is known of how its run ended: only
/// what is of an earlier position, or the same.
pub(super) struct Replacing {
    pub(super) item: Item,
    pub(super) condition: &'static str,
    pub(super) names: HashMap<String, String>,
    pub(super) values: HashMap<String, AttributeValue>,
}

impl Replacing {
    pub(super) fn of(id: &ExecutionId, outcome: &Outcome, ttl: i64) -> Result<Self, Error> {
        let mut item = to_item(outcome)?;
        item.extend(key(id.as_str(), OUTPUT));
        item.insert("ttl".to_owned(), number(ttl));
        Ok(Self {
            item,
            condition: "attribute_not_exists(execution_id) OR redrive_count < :redrive_count \
                        OR (redrive_count = :redrive_count AND #rank <= :rank)",
            names: HashMap::from([("#rank".to_owned(), "rank".to_owned())]),
            values: HashMap::from([
                (":redrive_count".to_owned(), number(outcome.redrive_count)),
                (":rank".to_owned(), number(outcome.rank)),
            ]),
        })
    }
}

/// An update of the state under a condition.
pub(super) struct Change {
    pub(super) expression: String,
    pub(super) condition: String,
    pub(super) names: HashMap<String, String>,
    pub(super) values: HashMap<String, AttributeValue>,
}

impl Change {
    /// Of the attributes by which a run moves.
    pub(super) fn of(
        before: &Execution,
        after: &Execution,
        grounds: Grounds,
    ) -> Result<Self, Error> {
        let Position { redrive_count, rank } = after.position();
        let millis = |time: Option<Timestamp>| time.map(|time| number(time.millis()));
        let attributes = [
            ("status", Some(text(after.status.as_str()))),
            ("redrive_count", Some(number(redrive_count))),
            ("rank", Some(number(rank as u8))),
            ("updated_at", millis(Some(after.updated_at))),
            ("started_at", millis(after.started_at)),
            ("completed_at", millis(after.completed_at)),
            ("error_code", after.error_code.as_deref().map(text)),
            ("due_at", millis(after.due_at)),
            ("debt", after.debt.as_ref().map(|debt| text(debt.as_str()))),
            // How often `sweep` has processed it in vain: it moves, so that is over.
            ("sweeps", None),
            ("trouble", after.troubled_at.map(|_| text(TROUBLE))),
            ("troubled_at", millis(after.troubled_at)),
            ("kept_until", millis(after.kept_until)),
            ("ttl", after.ttl.map(number)),
        ];
        let (mut set, mut removed) = (Vec::new(), Vec::new());
        let (mut names, mut values) = (HashMap::new(), HashMap::new());
        for (name, value) in attributes {
            names.insert(format!("#{name}"), name.to_owned());
            if let Some(value) = value {
                set.push(format!("#{name} = :{name}"));
                values.insert(format!(":{name}"), value);
            } else {
                removed.push(format!("#{name}"));
            }
        }
        // What was asked of an earlier redrive is done with.
        if redrive_count > before.redrive_count {
            let done = [
                "cancel_requested_at",
                "cancelled_by",
                "redrive_requested_at",
                "redrive_refusal",
                "stop_reason",
                "progress",
                "message",
            ];
            removed.extend(done.map(|name| format!("#{name}")));
            names.extend(done.map(|name| (format!("#{name}"), name.to_owned())));
            names.insert("#deadline".to_owned(), "deadline".to_owned());
            match after.deadline {
                Some(deadline) => {
                    set.push("#deadline = :deadline".to_owned());
                    values.insert(":deadline".to_owned(), number(deadline.millis()));
                }
                None => removed.push("#deadline".to_owned()),
            }
        }
        if redrive_count > before.redrive_count || rank >= Rank::Presumed {
            removed.push("open_questions".to_owned());
        }
        // Whoever read it may not have seen it join a line.
        removed.extend(["line".to_owned(), "waits_for".to_owned()]);
        if after.slots != before.slots {
            names.insert("#slots".to_owned(), "slots".to_owned());
            if after.slots.is_empty() {
                removed.push("#slots".to_owned());
            } else {
                set.push("#slots = :slots".to_owned());
                values.insert(":slots".to_owned(), to_attribute(&after.slots)?);
            }
        }
        let mut expression = format!("SET {}", set.join(", "));
        if !removed.is_empty() {
            expression = format!("{expression} REMOVE {}", removed.join(", "));
        }
        // A question that was opened or closed since would be left open, or told of twice.
        let mut condition = format!("({MAY_FOLLOW}) AND #sequence = :sequence");
        names.insert("#sequence".to_owned(), "sequence".to_owned());
        values.insert(":sequence".to_owned(), number(before.sequence));
        if grounds == Grounds::Unclaimed {
            condition.push_str(" AND attribute_not_exists(claimed_at)");
        }
        // What it has taken since, it would keep; what was freed since may be another's by now.
        condition = format!("{condition} AND {}", holding(&before.slots, &mut values)?);
        Ok(Self { expression, condition, names, values })
    }
}

/// That a run holds just these slots.
pub(super) fn holding(
    slots: &[Slot],
    values: &mut HashMap<String, AttributeValue>,
) -> Result<&'static str, Error> {
    if slots.is_empty() {
        return Ok("attribute_not_exists(slots)");
    }
    values.insert(":held".to_owned(), to_attribute(&slots)?);
    Ok("slots = :held")
}

impl Executions {
    /// Changes the state under its condition, and with it writes `others`, all or nothing: one
    /// write when there are none, else one transaction, in which the state is the first item.
    pub(super) async fn change(
        &self,
        id: &ExecutionId,
        state: Change,
        others: Vec<TransactWriteItem>,
        action: &'static str,
    ) -> Result<Transaction, Error> {
        self.change_keeping(id, state, others, Vec::new(), action).await
    }

    /// The same, and puts off the expiry of those parts that are still there: `kept`.
    pub(super) async fn change_keeping(
        &self,
        id: &ExecutionId,
        state: Change,
        mut others: Vec<TransactWriteItem>,
        mut kept: Vec<TransactWriteItem>,
        action: &'static str,
    ) -> Result<Transaction, Error> {
        if others.is_empty() && kept.is_empty() {
            return self.change_alone(id, state, action).await;
        }
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(id.as_str(), STATE)))
            .update_expression(state.expression)
            .condition_expression(state.condition)
            .set_expression_attribute_names(Some(state.names))
            .set_expression_attribute_values(Some(state.values))
            .build()
            .map_err(|error| Error::corrupt("a transition", error))?;
        others.insert(0, TransactWriteItem::builder().update(update).build());
        loop {
            let items = [others.as_slice(), &kept].concat();
            let token = Ulid::generate().to_string();
            match transact(&self.client, &token, items, action).await? {
                // A part that has expired is missed by whoever needs it, and must not come back empty.
                Transaction::Refused(index) if index >= others.len() => {
                    kept.remove(index - others.len());
                }
                other => return Ok(other),
            }
        }
    }

    async fn change_alone(
        &self,
        id: &ExecutionId,
        state: Change,
        action: &'static str,
    ) -> Result<Transaction, Error> {
        let is_its_own = TIMES.iter().any(|time| state.values.contains_key(*time));
        let written: Vec<_> = SEAL
            .into_iter()
            .filter_map(|name| Some((name, state.values.get(&format!(":{name}"))?.clone())))
            .collect();
        let updated = self
            .update(id)
            .update_expression(state.expression)
            .condition_expression(state.condition)
            .set_expression_attribute_names(Some(state.names))
            .set_expression_attribute_values(Some(state.values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .write()
            .await;
        match updated {
            Ok(_) => Ok(Transaction::Committed),
            // An earlier attempt was committed, and only its reply was lost.
            Err(error)
                if is_its_own
                    && found(&error).is_some_and(|item| {
                        written.iter().all(|(name, value)| item.get(*name) == Some(value))
                    }) =>
            {
                Ok(Transaction::Committed)
            }
            Err(error) if is_refused(&error) => Ok(Transaction::Refused(0)),
            Err(error) => Err(Error::aws(action)(error)),
        }
    }
}
