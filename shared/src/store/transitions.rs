//! How a run moves: claimed, launched, and settled by the one transition rule.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    operation::{
        put_item::PutItemError,
        update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    },
    types::{
        AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
    },
};
use ulid::Ulid;

use super::{
    Transaction, Write,
    executions::{CALLBACK, Executions, IDEMPOTENCY, INPUT, OUTPUT, STATE, key},
    found, from_item, is_refused, is_written, number, text, to_item, transact,
    trouble::TROUBLE,
};
use crate::{
    caller::Actor,
    debt::{Debt, DebtKind},
    delivery::Delivery,
    error::Error,
    execution::{Execution, ExecutionId, Position, Rank, Status, StopReason},
    outcome::Outcome,
    question::QuestionState,
    time::Timestamp,
};

/// The one transition rule in DynamoDB's words; see [`Position::may_follow`].
const MAY_FOLLOW: &str =
    "redrive_count < :redrive_count OR (redrive_count = :redrive_count AND #rank < :rank)";

#[derive(Debug)]
pub enum Claim {
    /// The run is ours to launch; claiming it again is harmless.
    Claimed(Box<Execution>, Tries),
    /// It is launched already, has ended, or may not be launched any more.
    Refused(Box<Execution>),
    Unknown,
}

/// What is known of the tries to launch a run, each of which begins with a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// Whether this claim is the one that stands: no try was made before.
    pub is_first: bool,
    /// How many have begun, with this one, and at least: a repeated claim counts twice.
    pub made: u32,
    /// All of the first so many were answered, and none of them by a start.
    pub answered: u32,
}

impl Tries {
    /// Whether no other try may have started the run, or may yet.
    #[must_use]
    pub const fn is_alone(self) -> bool {
        self.is_first || (self.answered > 0 && self.made == self.answered + 1)
    }
}

/// What became of a conditional step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Applied,
    /// The row has moved on already.
    Stale,
}

/// For how long after its `launch_before` a run that was claimed in time may still be started:
/// longer than any function runs, so that a claimant can finish what it began. After twice this,
/// a run that Step Functions does not know will never be.
pub const CLAIM_GRACE: Duration = Duration::from_mins(15);

impl Executions {
    /// Claims a queued run for launching. From the first claim on, only Step Functions settles
    /// it. An unclaimed run is not claimed after its `launch_before` or its deadline, nor when its
    /// caller has cancelled it. Repeating it is harmless, so a lost reply is too: the worst is that
    /// a try is counted which was none. It leaves
    /// `due_at` alone, which costs two writes of the index to move: its launch moves it at once.
    pub async fn claim(&self, id: &ExecutionId) -> Result<Claim, Error> {
        let now = Timestamp::now();
        let claimed = self
            .update(id)
            .update_expression(
                "SET claimed_at = if_not_exists(claimed_at, :now) ADD launch_tries :one",
            )
            .condition_expression(
                "#status = :queued AND ((attribute_exists(claimed_at) AND launch_before > :grace) \
                 OR (attribute_not_exists(claimed_at) AND launch_before > :now \
                 AND attribute_not_exists(cancel_requested_at) \
                 AND (attribute_not_exists(deadline) OR deadline > :now)))",
            )
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":queued", text(Status::Queued.as_str()))
            .expression_attribute_values(":now", number(now.millis()))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":grace", number(now.minus(CLAIM_GRACE).millis()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .write()
            .await;
        match claimed {
            Ok(output) => {
                let item = output.attributes.unwrap_or_default();
                let count = |name| item.get(name).and_then(|it| it.as_n().ok()?.parse().ok());
                let tries = Tries {
                    is_first: item.get("claimed_at") == Some(&number(now.millis())),
                    made: count("launch_tries").unwrap_or_default(),
                    answered: count("launch_answered").unwrap_or_default(),
                };
                Ok(Claim::Claimed(Box::new(from_item(item)?), tries))
            }
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    match refused.item.clone() {
                        Some(item) => Ok(Claim::Refused(Box::new(from_item(item)?))),
                        None => Ok(Claim::Unknown),
                    }
                }
                _ => Err(Error::aws("claim an execution")(error)),
            },
        }
    }

    /// Records that `StartExecution` has answered. Repeating it is harmless. Gives the row as it
    /// is now, or `None` when it has moved on already.
    pub async fn launched(
        &self,
        id: &ExecutionId,
        started_at: Timestamp,
        due_at: Timestamp,
        debt: &Debt,
    ) -> Result<Option<Execution>, Error> {
        let updated = self
            .update(id)
            .update_expression(
                "SET #status = :running, #rank = :rank, started_at = :started_at, \
                 updated_at = :now, due_at = :due_at, debt = :debt",
            )
            .condition_expression(MAY_FOLLOW)
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#rank", "rank")
            .expression_attribute_values(":running", text(Status::Running.as_str()))
            .expression_attribute_values(":rank", number(Rank::Launched as u8))
            .expression_attribute_values(":redrive_count", number(0))
            .expression_attribute_values(":started_at", number(started_at.millis()))
            .expression_attribute_values(":now", number(Timestamp::now().millis()))
            .expression_attribute_values(":due_at", number(due_at.millis()))
            .expression_attribute_values(":debt", text(debt.as_str()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .write()
            .await;
        match updated {
            Ok(output) => output.attributes.map(from_item).transpose(),
            // An earlier try was committed, and only its reply was lost.
            Err(error)
                if is_written(&error, "rank", &number(Rank::Launched as u8))
                    && is_written(&error, "started_at", &number(started_at.millis())) =>
            {
                found(&error).cloned().map(from_item).transpose()
            }
            Err(error) if is_refused(&error) => Ok(None),
            Err(error) => Err(Error::aws("record a launch")(error)),
        }
    }

    /// Counts that Step Functions did not take the launch yet; `due_at` is when `sweep` looks
    /// after it. `answered` is how many tries are known not to have started it, if all are.
    pub async fn delay_launch(
        &self,
        id: &ExecutionId,
        due_at: Timestamp,
        answered: Option<u32>,
    ) -> Result<(), Error> {
        let update = self.update(id);
        let update = match answered {
            Some(answered) => update
                .update_expression(
                    "SET due_at = :due_at, debt = :debt, launch_answered = :answered \
                     REMOVE sweeps ADD launch_delays :one",
                )
                .expression_attribute_values(":answered", number(answered)),
            None => update.update_expression(
                "SET due_at = :due_at, debt = :debt REMOVE sweeps ADD launch_delays :one",
            ),
        };
        let updated = update
            .condition_expression("#status = :queued")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":queued", text(Status::Queued.as_str()))
            .expression_attribute_values(":due_at", number(due_at.millis()))
            .expression_attribute_values(":debt", text(Debt::of(DebtKind::Launch, id).as_str()))
            .expression_attribute_values(":one", number(1))
            .write()
            .await;
        match updated {
            Ok(_) => Ok(()),
            // It was launched after all: nothing is delayed.
            Err(error) if is_refused(&error) => Ok(()),
            Err(error) => Err(Error::aws("delay a launch")(error)),
        }
    }

    /// Records that the caller wants an end, if the run has not ended. Repeating it is harmless.
    pub async fn request_cancel(
        &self,
        id: &ExecutionId,
        by: &Actor,
        due_at: Timestamp,
    ) -> Result<Step, Error> {
        let updated = self
            .update(id)
            .update_expression(
                "SET cancel_requested_at = if_not_exists(cancel_requested_at, :now), \
                 cancelled_by = if_not_exists(cancelled_by, :by), due_at = :due_at, debt = :debt",
            )
            .condition_expression("#rank < :ended")
            .expression_attribute_names("#rank", "rank")
            .expression_attribute_values(":ended", number(Rank::Ended as u8))
            .expression_attribute_values(":by", AttributeValue::M(to_item(by)?))
            .expression_attribute_values(":now", number(Timestamp::now().millis()))
            .expression_attribute_values(":due_at", number(due_at.millis()))
            .expression_attribute_values(":debt", text(Debt::of(DebtKind::Launch, id).as_str()))
            .write()
            .await;
        match updated {
            Ok(_) => Ok(Step::Applied),
            Err(error) if is_refused(&error) => Ok(Step::Stale),
            Err(error) => Err(Error::aws("cancel an execution")(error)),
        }
    }

    /// Records why a run is about to be stopped, before it is: its end will be told by that.
    pub async fn stopping(&self, id: &ExecutionId, reason: StopReason) -> Result<Step, Error> {
        let updated = self
            .update(id)
            .update_expression("SET stop_reason = if_not_exists(stop_reason, :reason)")
            .condition_expression("#rank < :ended")
            .expression_attribute_names("#rank", "rank")
            .expression_attribute_values(":ended", number(Rank::Ended as u8))
            .expression_attribute_values(":reason", text(reason.as_str()))
            .write()
            .await;
        match updated {
            Ok(_) => Ok(Step::Applied),
            Err(error) if is_refused(&error) => Ok(Step::Stale),
            Err(error) => Err(Error::aws("mark an execution as stopping")(error)),
        }
    }

    fn update(&self, id: &ExecutionId) -> UpdateItemFluentBuilder {
        let state = Some(key(id.as_str(), STATE));
        self.client.update_item().table_name(&self.table).set_key(state)
    }

    /// Stores how a run ended, ahead of the transition that makes it visible. The outcome of an
    /// older redrive never replaces that of a newer one.
    pub async fn put_outcome(
        &self,
        id: &ExecutionId,
        outcome: &Outcome,
        ttl: i64,
    ) -> Result<Step, Error> {
        let mut item = to_item(outcome)?;
        item.extend(key(id.as_str(), OUTPUT));
        item.insert("ttl".to_owned(), number(ttl));
        let stored = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(
                "attribute_not_exists(execution_id) OR redrive_count <= :redrive_count",
            )
            .expression_attribute_values(":redrive_count", number(outcome.redrive_count))
            .write()
            .await;
        match stored {
            Ok(_) => Ok(Step::Applied),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(PutItemError::is_conditional_check_failed_exception) =>
            {
                Ok(Step::Stale)
            }
            Err(error) => Err(Error::aws("store an output")(error)),
        }
    }

    /// Moves a run to where `after` says, if the transition rule lets it, and with it stores the
    /// deliveries that are owed for that and the expiry of all its parts, and closes the questions
    /// that it takes off the run: one write when there is nothing else to store, else one
    /// transaction.
    pub async fn advance(
        &self,
        before: &Execution,
        after: &Execution,
        owed: &[Delivery],
    ) -> Result<Step, Error> {
        let state = Change::of(before, after);
        let mut others = Vec::new();
        for delivery in owed {
            others.push(self.put(delivery.execution_id.as_str(), &delivery.part, delivery)?);
        }
        if before.ttl != after.ttl {
            for (id, part) in parts_that_expire_with(after) {
                others.push(self.expire(id, part, after.ttl)?);
            }
        }
        for question in before.open_questions.difference(&after.open_questions) {
            let closed = QuestionState::Closed;
            others.push(self.close(&after.execution_id, question, closed, after.ttl)?);
        }
        match self.change(&after.execution_id, state, others, "advance an execution").await? {
            Transaction::Committed => Ok(Step::Applied),
            // Either the row has moved on, or the delivery is owed already, which says the same.
            Transaction::Refused(_) => Ok(Step::Stale),
        }
    }

    /// Changes the state under its condition, and with it writes `others`, all or nothing: one
    /// write when there are none, else one transaction, in which the state is the first item.
    pub(super) async fn change(
        &self,
        id: &ExecutionId,
        state: Change,
        mut others: Vec<TransactWriteItem>,
        action: &'static str,
    ) -> Result<Transaction, Error> {
        if others.is_empty() {
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
        transact(&self.client, &Ulid::generate().to_string(), others, action).await
    }

    async fn change_alone(
        &self,
        id: &ExecutionId,
        state: Change,
        action: &'static str,
    ) -> Result<Transaction, Error> {
        let updated = self
            .update(id)
            .update_expression(state.expression)
            .condition_expression(state.condition)
            .set_expression_attribute_names(Some(state.names))
            .set_expression_attribute_values(Some(state.values))
            .write()
            .await;
        match updated {
            Ok(_) => Ok(Transaction::Committed),
            Err(error) if is_refused(&error) => Ok(Transaction::Refused(0)),
            Err(error) => Err(Error::aws(action)(error)),
        }
    }

    fn expire(&self, id: &str, part: &str, ttl: Option<i64>) -> Result<TransactWriteItem, Error> {
        let update = Update::builder().table_name(&self.table).set_key(Some(key(id, part)));
        let update = match ttl {
            Some(ttl) => update
                .update_expression("SET #ttl = :ttl")
                .expression_attribute_values(":ttl", number(ttl)),
            None => update.update_expression("REMOVE #ttl"),
        };
        let update = update
            .expression_attribute_names("#ttl", "ttl")
            .build()
            .map_err(|error| Error::corrupt("an expiry", error))?;
        Ok(TransactWriteItem::builder().update(update).build())
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
    fn of(before: &Execution, after: &Execution) -> Self {
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
            // How often `sweep` has tried in vain: it moves, so that is over.
            ("sweeps", None),
            ("trouble", after.troubled_at.map(|_| text(TROUBLE))),
            ("troubled_at", millis(after.troubled_at)),
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
                "deadline",
                "stop_reason",
                "progress",
                "message",
            ];
            removed.extend(done.map(|name| format!("#{name}")));
            names.extend(done.map(|name| (format!("#{name}"), name.to_owned())));
        }
        if redrive_count > before.redrive_count || rank == Rank::Ended {
            removed.push("open_questions".to_owned());
        }
        let mut expression = format!("SET {}", set.join(", "));
        if !removed.is_empty() {
            expression = format!("{expression} REMOVE {}", removed.join(", "));
        }
        // A run that is ended because nobody has claimed it must still be unclaimed then.
        let condition = match before.claimed_at {
            Some(_) => MAY_FOLLOW.to_owned(),
            None => format!("({MAY_FOLLOW}) AND attribute_not_exists(claimed_at)"),
        };
        Self { expression, condition, names, values }
    }
}

/// The parts that live as long as the run, and so expire with it. The outcome and the deliveries
/// are written with an expiry of their own.
fn parts_that_expire_with(execution: &Execution) -> Vec<(&str, &'static str)> {
    let id = execution.execution_id.as_str();
    let mut parts = vec![(id, INPUT)];
    if !execution.callback_events.is_empty() {
        parts.push((id, CALLBACK));
    }
    if let Some(item) = &execution.idempotency_item {
        parts.push((item, IDEMPOTENCY));
    }
    parts
}
