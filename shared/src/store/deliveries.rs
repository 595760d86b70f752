//! The `delivery#…` parts: leasing an attempt and recording what came of it.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use ulid::Ulid;

use super::{
    Item, Write, from_item, is_refused, is_written, number, projection::Projection, text, to_item,
    transitions::Step,
};
use crate::{
    caller::Actor,
    delivery::{Attempt, Delivery, DeliveryState, PART_PREFIX},
    error::Error,
    execution::ExecutionId,
    time::Timestamp,
};

#[derive(Debug, Clone)]
pub struct Deliveries {
    client: Client,
    table: String,
}

#[derive(Debug)]
pub enum Lease {
    /// This attempt is ours alone until the lease ends.
    Held(Box<Delivery>),
    /// It is done, it is not time yet, or another holds it.
    Refused,
    Unknown,
}

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Delivered,
    /// Not before this time again; `due_at` is when `sweep` looks after it.
    Again {
        next_attempt_at: Timestamp,
        due_at: Timestamp,
    },
    Undelivered,
}

impl Deliveries {
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// All deliveries of a run.
    pub async fn list(&self, id: &ExecutionId) -> Result<Vec<Delivery>, Error> {
        let Projection { expression, names } = Projection::of::<Delivery>();
        let mut deliveries = Vec::new();
        let mut items = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("execution_id = :id AND begins_with(part, :prefix)")
            .expression_attribute_values(":id", text(id.as_str()))
            .expression_attribute_values(":prefix", text(PART_PREFIX))
            .projection_expression(expression)
            .set_expression_attribute_names(Some(names))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        while let Some(item) = items.next().await {
            deliveries.push(from_item(item.map_err(Error::aws("list deliveries"))?)?);
        }
        Ok(deliveries)
    }

    /// Owes a delivery that belongs to no run.
    pub async fn owe(&self, delivery: &Delivery) -> Result<(), Error> {
        self.client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(to_item(delivery)?))
            .write()
            .await
            .map_err(Error::aws("store a delivery"))?;
        Ok(())
    }

    /// Owes a delivery again that is over, from the first step of its schedule, with the same
    /// `webhook-id`. `Stale` when it is still owed.
    pub async fn owe_again(
        &self,
        delivery: &Delivery,
        by: &Actor,
        due_at: Timestamp,
    ) -> Result<Step, Error> {
        let token = Ulid::generate().to_string();
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("execution_id", text(delivery.execution_id.as_str()))
            .key("part", text(&delivery.part))
            .update_expression(
                "SET #state = :pending, attempt_count = :zero, next_attempt_at = :now, \
                 due_at = :due_at, #shard = :shard, redelivery = :token, redelivered_by = :by \
                 REMOVE leased_until",
            )
            // The token stays: what was delivered meanwhile is not owed again by a repetition.
            .condition_expression(
                "#state <> :pending AND attribute_exists(execution_id) \
                 AND (attribute_not_exists(redelivery) OR redelivery <> :token)",
            )
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#shard", "shard")
            .expression_attribute_values(":pending", text("pending"))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":now", number(Timestamp::now().millis()))
            .expression_attribute_values(":due_at", number(due_at.millis()))
            .expression_attribute_values(":shard", number(delivery.execution_id.shard()))
            .expression_attribute_values(":token", text(&token))
            .expression_attribute_values(":by", AttributeValue::M(to_item(by)?))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .write()
            .await;
        match updated {
            Ok(_) => Ok(Step::Applied),
            // The write was ours, and only its reply was lost.
            Err(error) if is_written(&error, "redelivery", &text(&token)) => Ok(Step::Applied),
            Err(error) if is_refused(&error) => Ok(Step::Stale),
            Err(error) => Err(Error::aws("owe a delivery again")(error)),
        }
    }

    /// Takes the lease of the next attempt for `hold`, and counts the attempt. It leaves `due_at`
    /// alone, which costs two writes of the index to move: who finds it overdue knows until when it
    /// is held. See [`DeliveryFacts::may_be_leased`](crate::protocol::DeliveryFacts::may_be_leased).
    pub async fn lease(
        &self,
        id: &ExecutionId,
        part: &str,
        hold: Duration,
    ) -> Result<Lease, Error> {
        let now = Timestamp::now();
        let until = now.plus(hold);
        let token = Ulid::generate().to_string();
        let leased = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("execution_id", text(id.as_str()))
            .key("part", text(part))
            .update_expression("SET lease = :token, leased_until = :until ADD attempt_count :one")
            .condition_expression(
                "#state = :pending AND (attempt_count = :zero OR next_attempt_at <= :now) \
                 AND (attribute_not_exists(leased_until) OR leased_until <= :now)",
            )
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":pending", text("pending"))
            .expression_attribute_values(":token", text(&token))
            .expression_attribute_values(":now", number(now.millis()))
            .expression_attribute_values(":until", number(until.millis()))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":zero", number(0))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .write()
            .await;
        let item = match leased {
            Ok(output) => output.attributes.unwrap_or_default(),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    match &refused.item {
                        // The write was ours, and only its reply was lost.
                        Some(item) if held_by(item, &token) => item.clone(),
                        Some(_) => return Ok(Lease::Refused),
                        None => return Ok(Lease::Unknown),
                    }
                }
                _ => return Err(Error::aws("lease a delivery")(error)),
            },
        };
        Ok(Lease::Held(Box::new(from_item(item)?)))
    }

    /// Records an attempt and frees its lease. Returns whether the lease was still ours: after
    /// it has ended, another attempt may have begun, and the record is that one's to write.
    pub async fn record(
        &self,
        delivery: &Delivery,
        attempt: &Attempt,
        verdict: Verdict,
    ) -> Result<bool, Error> {
        let token = delivery.lease.as_deref().unwrap_or_default();
        // The whole list: it is ours alone under the lease, and has its bound.
        let (attempts, earlier) = delivery.with(attempt.clone());
        let attempts: Result<Vec<_>, Error> =
            attempts.iter().map(|attempt| Ok(AttributeValue::M(to_item(attempt)?))).collect();
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("execution_id", text(delivery.execution_id.as_str()))
            .key("part", text(&delivery.part));
        let update = match verdict {
            Verdict::Again { next_attempt_at, due_at } => update
                .update_expression(
                    "SET attempts = :attempts, earlier = :earlier, next_attempt_at = :next, due_at = :due_at \
                     REMOVE leased_until",
                )
                .expression_attribute_values(":next", number(next_attempt_at.millis()))
                .expression_attribute_values(":due_at", number(due_at.millis())),
            Verdict::Delivered => ended(update, DeliveryState::Delivered),
            Verdict::Undelivered => ended(update, DeliveryState::Undelivered),
        };
        let recorded = update
            .condition_expression("lease = :token AND attribute_exists(leased_until)")
            .expression_attribute_values(":token", text(token))
            .expression_attribute_values(":attempts", AttributeValue::L(attempts?))
            .expression_attribute_values(":earlier", AttributeValue::M(to_item(&earlier)?))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .write()
            .await;
        match recorded {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                // Our token without a lease: the record was written, and only its reply was lost.
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    Ok(refused.item.as_ref().is_some_and(|item| held_by(item, token)))
                }
                _ => Err(Error::aws("record a delivery")(error)),
            },
        }
    }
}

fn held_by(item: &Item, token: &str) -> bool {
    item.get("lease").and_then(|lease| lease.as_s().ok()).is_some_and(|lease| lease == token)
}

/// A delivery that is over owes nothing, and leaves the `due` index.
fn ended(
    update: aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder,
    state: DeliveryState,
) -> aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder {
    let state = match state {
        DeliveryState::Pending => "pending",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Undelivered => "undelivered",
    };
    update
        .update_expression(
            "SET attempts = :attempts, earlier = :earlier, #state = :state \
             REMOVE leased_until, due_at, #shard",
        )
        .expression_attribute_names("#state", "state")
        .expression_attribute_names("#shard", "shard")
        .expression_attribute_values(":state", text(state))
}
