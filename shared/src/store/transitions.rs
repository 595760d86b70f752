//! How a run moves: claimed, and settled by the one transition rule.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    operation::{
        put_item::PutItemError,
        update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    },
    types::{
        AttributeValue, Put, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
    },
};
use serde::Deserialize;

use crate::{
    domain::{
        caller::Actor,
        debt::{Debt, DebtKind},
        delivery::Delivery,
        error::Error,
        execution::Execution,
        id::ExecutionId,
        launch_attempts::LaunchAttempts,
        outcome::Outcome,
        protocol::{CLAIM_GRACE, Grounds},
        question::QuestionState,
        status::{Rank, StopReason},
        time::Timestamp,
    },
    store::{
        change::{Change, MAY_BE_CLAIMED, Replacing, holding},
        executions::Executions,
        item::{from_item, number, text, to_item},
        key::{STATE, key},
        marker, slot,
        write::{Step, Transaction, Write, is_refused},
    },
};

#[derive(Debug)]
pub enum Claim {
    /// The run is ours to launch; claiming it again is harmless.
    Claimed(Box<Execution>, LaunchAttempts),
    /// It is launched already, has ended, or may not be launched any more.
    Refused(Box<Execution>),
    Unknown,
}

impl Executions {
    /// Claims a queued run for launching. From the first claim on, only Step Functions settles
    /// it. An unclaimed run is not claimed before its `start_at`, nor after its `launch_before` or its
    /// deadline, nor when its caller has cancelled it, nor where it takes slots: see
    /// [`Executions::claim_with`]. Repeating it is harmless, so a lost reply is too: the worst is that
    /// an attempt is counted which was none. It leaves `due_at` alone, which costs two writes of the
    /// index to move. See [`Facts::may_be_claimed`](crate::domain::protocol::Facts::may_be_claimed).
    pub async fn claim(&self, id: &ExecutionId) -> Result<Claim, Error> {
        let now = Timestamp::now();
        let claimed = self
            .update(id)
            .update_expression(
                "SET claimed_at = if_not_exists(claimed_at, :now) ADD launch_tries :one",
            )
            .condition_expression(format!(
                "#rank = :queued AND ((attribute_exists(claimed_at) AND launch_before > :grace) \
                     OR (attribute_not_exists(claimed_at) AND attribute_not_exists(wait_order) \
                     AND {MAY_BE_CLAIMED}))"
            ))
            .expression_attribute_names("#rank", "rank")
            .expression_attribute_values(":queued", number(Rank::Queued as u8))
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
                let attempts = LaunchAttempts {
                    made: count("launch_tries").unwrap_or_default(),
                    answered: count("launch_answered").unwrap_or_default(),
                };
                Ok(Claim::Claimed(Box::new(from_item(item)?), attempts))
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

    /// Counts that Step Functions did not take the launch yet; `due_at` is when `sweep`
    /// processes it. `answered` is how many attempts are known not to have started it, if all are.
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
            .condition_expression("#rank = :queued")
            .expression_attribute_names("#rank", "rank")
            .expression_attribute_values(":queued", number(Rank::Queued as u8))
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
                 cancelled_by = if_not_exists(cancelled_by, :by), due_at = :due_at, debt = :debt \
                 REMOVE sweeps, dead_reason",
            )
            .condition_expression("#rank < :presumed")
            .expression_attribute_names("#rank", "rank")
            .expression_attribute_values(":presumed", number(Rank::Presumed as u8))
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

    /// Records why this redrive of a run is about to be stopped, before it is: its end will be told
    /// by that. Returns the reason that holds, which is the first; `None` when the row has moved on.
    pub async fn stopping(
        &self,
        id: &ExecutionId,
        redrive_count: u32,
        reason: StopReason,
    ) -> Result<Option<StopReason>, Error> {
        #[derive(Deserialize)]
        struct Stopping {
            stop_reason: StopReason,
        }

        let updated = self
            .update(id)
            .update_expression("SET stop_reason = if_not_exists(stop_reason, :reason)")
            .condition_expression("#rank < :presumed AND redrive_count = :redrive_count")
            .expression_attribute_names("#rank", "rank")
            .expression_attribute_values(":presumed", number(Rank::Presumed as u8))
            .expression_attribute_values(":redrive_count", number(redrive_count))
            .expression_attribute_values(":reason", text(reason.as_str()))
            // Whether an attribute that keeps its value is an updated one, AWS does not say.
            .return_values(ReturnValue::AllNew)
            .write()
            .await;
        match updated {
            Ok(output) => {
                let Stopping { stop_reason } = from_item(output.attributes.unwrap_or_default())?;
                Ok(Some(stop_reason))
            }
            Err(error) if is_refused(&error) => Ok(None),
            Err(error) => Err(Error::aws("mark an execution as stopping")(error)),
        }
    }

    /// Takes a presumed end, which is the end after all, out of the index of debts, and frees what it held. What Step
    /// Functions says may still outrank it.
    pub async fn confirm(&self, execution: &Execution) -> Result<(), Error> {
        let mut values = HashMap::from([
            (":redrive_count".to_owned(), number(execution.redrive_count)),
            (":presumed".to_owned(), number(Rank::Presumed as u8)),
        ]);
        let holding = holding(&execution.slots, &mut values)?;
        let state = Change {
            expression: "REMOVE due_at, debt, slots".to_owned(),
            condition: format!(
                "redrive_count = :redrive_count AND #rank = :presumed AND {holding}"
            ),
            names: HashMap::from([("#rank".to_owned(), "rank".to_owned())]),
            values,
        };
        let id = &execution.execution_id;
        let freed = execution.slots.iter().map(|slot| slot::free(&self.table, slot, id));
        let freed = freed.collect::<Result<_, Error>>()?;
        // Who is refused finds that it has moved on, and owes what that has written.
        self.change(id, state, freed, "confirm an end").await?;
        Ok(())
    }

    pub(super) fn update(&self, id: &ExecutionId) -> UpdateItemFluentBuilder {
        let state = Some(key(id.as_str(), STATE));
        self.client.update_item().table_name(&self.table).set_key(state)
    }

    /// Stores how a run ended by Step Functions' word, ahead of the transition that makes it
    /// visible: that is the same, whoever stores it. It never replaces what is known of a later
    /// redrive.
    pub async fn put_outcome(
        &self,
        id: &ExecutionId,
        outcome: &Outcome,
        ttl: i64,
    ) -> Result<Step, Error> {
        let Replacing { item, condition, names, values } = Replacing::of(id, outcome, ttl)?;
        let stored = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
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

    /// Moves a run to where `after` says, if the transition rule lets it and the row is as it was
    /// seen (see [`Facts::may_move`](crate::domain::protocol::Facts::may_move)), and with it stores the
    /// deliveries that are owed for that, and how it ended where `outcome` says so, and closes the
    /// questions that it takes off the run: one write when there is nothing else to store, else one
    /// transaction.
    pub async fn advance(
        &self,
        before: &Execution,
        after: &Execution,
        grounds: Grounds,
        outcome: Option<&Outcome>,
        owed: &[Delivery],
    ) -> Result<Step, Error> {
        let state = Change::of(before, after, grounds)?;
        let mut others = Vec::new();
        for delivery in owed {
            others.push(self.put(delivery.execution_id.as_str(), &delivery.part, delivery)?);
        }
        if let Some(outcome) = outcome {
            others.push(self.put_with_end(after, outcome)?);
        }
        // The parts of a run that is reopened have been about to expire.
        let kept = match after.kept_until.filter(|_| after.kept_until != before.kept_until) {
            Some(until) => self.keep(after, until)?,
            None => Vec::new(),
        };
        if let Some(batch) = &after.batch_id
            && before.position().rank < Rank::Presumed
            && after.status.is_end()
        {
            others.push(marker::delete(&self.table, &after.execution_id, batch)?);
        }
        for slot in before.slots.iter().filter(|slot| !after.slots.contains(slot)) {
            others.push(slot::free(&self.table, slot, &after.execution_id)?);
        }
        for slot in after.slots.iter().filter(|slot| !before.slots.contains(slot)) {
            others.push(slot::take(&self.table, slot, &after.execution_id)?);
        }
        for question in before.open_questions.difference(&after.open_questions) {
            let closed = QuestionState::Closed;
            others.push(self.close(&after.execution_id, question, closed, after.ttl)?);
        }
        let (id, action) = (&after.execution_id, "advance an execution");
        match self.change_keeping(id, state, others, kept, action).await? {
            Transaction::Committed => Ok(Step::Applied),
            // Either the row has moved on, or the delivery is owed already, which says the same.
            Transaction::Refused(_) => Ok(Step::Stale),
        }
    }

    /// How a run ended by our own word, as an item of the transaction that ends it.
    fn put_with_end(
        &self,
        after: &Execution,
        outcome: &Outcome,
    ) -> Result<TransactWriteItem, Error> {
        let ttl = after.ttl.unwrap_or_default();
        let Replacing { item, condition, names, values } =
            Replacing::of(&after.execution_id, outcome, ttl)?;
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .build()
            .map_err(|error| Error::corrupt("an outcome", error))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }
}
