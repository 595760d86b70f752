//! The `delivery#…` parts: leasing an attempt and recording what came of it.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    operation::{
        query::builders::QueryFluentBuilder,
        update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    },
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use ulid::Ulid;

use crate::{
    domain::{
        attempt::Attempt,
        debt::{Debt, DebtKind},
        delivery::{Delivery, DeliveryState, Line, PART_PREFIX},
        error::Error,
        id::{ExecutionId, SubscriptionId},
        time::Timestamp,
    },
    store::{
        given_up::{self, GivenUp},
        item::{Item, from_item, from_item_of_list, number, text, to_item},
        key::{TROUBLE, key},
        projection::Projection,
        write::{Write, is_refused, is_written},
    },
};

/// So often a delivery is leased that cannot be read.
const MOST_UNREADABLE: u32 = 20;

/// As many ids as are read at once.
const MOST_LOOKED_THROUGH: i32 = 500;

#[derive(Debug, Clone)]
pub struct Deliveries {
    pub(super) client: Client,
    pub(super) table: String,
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
    /// Not before this time again; `due_at` is when `sweep` processes it.
    Again {
        next_attempt_at: Timestamp,
        due_at: Timestamp,
    },
    Undelivered,
    /// What it tells is not so any more, or it tells of no run: it is over, and no trouble.
    Dropped,
}

impl Deliveries {
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// One page of the deliveries of a run, from behind the part `after`; the second value says
    /// where to go on.
    pub async fn list(
        &self,
        id: &ExecutionId,
        limit: i32,
        after: Option<&str>,
    ) -> Result<(Vec<Delivery>, Option<String>), Error> {
        let Projection { expression, names } = Projection::of::<Delivery>();
        let page = self
            .of(id, limit, after)
            .projection_expression(expression)
            .set_expression_attribute_names(Some(names))
            .send()
            .await
            .map_err(Error::aws("list deliveries"))?;
        let deliveries = page.items.unwrap_or_default().into_iter().filter_map(from_item_of_list);
        Ok((deliveries.collect(), part_of(page.last_evaluated_key)))
    }

    /// The delivery of a run that has this `webhook-id`. There may be thousands, of which only the
    /// ids are looked through.
    pub async fn find_by_id(
        &self,
        id: &ExecutionId,
        webhook_id: &str,
    ) -> Result<Option<Delivery>, Error> {
        let mut after = None;
        loop {
            let page = self
                .of(id, MOST_LOOKED_THROUGH, after.as_deref())
                .projection_expression("part, webhook_id")
                .send()
                .await
                .map_err(Error::aws("look for a delivery"))?;
            let wanted = text(webhook_id);
            let mut items = page.items.unwrap_or_default().into_iter();
            let found = items.find(|item| item.get("webhook_id") == Some(&wanted));
            if let Some(part) = part_of(found) {
                return self.find(id, &part).await;
            }
            after = part_of(page.last_evaluated_key);
            if after.is_none() {
                return Ok(None);
            }
        }
    }

    /// One delivery as it is now.
    pub async fn find(&self, id: &ExecutionId, part: &str) -> Result<Option<Delivery>, Error> {
        let Projection { expression, names } = Projection::of::<Delivery>();
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(id.as_str(), part)))
            .projection_expression(expression)
            .set_expression_attribute_names(Some(names))
            .consistent_read(true)
            .send()
            .await
            .map_err(Error::aws("read a delivery"))?;
        found.item.map(from_item).transpose()
    }

    fn of(&self, id: &ExecutionId, limit: i32, after: Option<&str>) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .key_condition_expression("execution_id = :id AND begins_with(part, :prefix)")
            .expression_attribute_values(":id", text(id.as_str()))
            .expression_attribute_values(":prefix", text(PART_PREFIX))
            .consistent_read(true)
            .limit(limit)
            .set_exclusive_start_key(after.map(|part| key(id.as_str(), part)))
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

    /// Takes the lease of the next attempt for `hold`, and counts the attempt. It leaves `due_at`
    /// alone, which costs two writes of the index to move: who finds it overdue knows until when it
    /// is held. See [`DeliveryFacts::may_be_leased`](crate::domain::protocol::DeliveryFacts::may_be_leased).
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
            .update_expression(
                "SET lease = :token, leased_until = :until REMOVE sweeps ADD attempt_count :one",
            )
            .condition_expression(
                "#state = :pending \
                 AND ((attempt_count = :zero AND attribute_not_exists(stood)) OR next_attempt_at <= :now) \
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
        let begun = item.get("attempt_count").and_then(|count| count.as_n().ok()?.parse().ok());
        match from_item(item) {
            Ok(delivery) => Ok(Lease::Held(Box::new(delivery))),
            Err(error) => {
                if begun.unwrap_or(u32::MAX) >= MOST_UNREADABLE {
                    self.give_up_unreadable(id, part, &token).await?;
                }
                Err(error)
            }
        }
    }

    /// Ends a delivery that cannot be read, under its lease: nothing else could ever end it.
    async fn give_up_unreadable(
        &self,
        id: &ExecutionId,
        part: &str,
        token: &str,
    ) -> Result<(), Error> {
        let ended = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(id.as_str(), part)))
            .update_expression(
                "SET #state = :undelivered, trouble = :trouble, troubled_at = :now \
                 REMOVE leased_until, due_at, debt",
            )
            .condition_expression("lease = :token")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":undelivered", text("undelivered"))
            .expression_attribute_values(":trouble", text(TROUBLE))
            .expression_attribute_values(":now", number(Timestamp::now().millis()))
            .expression_attribute_values(":token", text(token))
            .write()
            .await;
        match ended {
            Ok(_) => Ok(()),
            Err(error) if is_refused(&error) => Ok(()),
            Err(error) => Err(Error::aws("give up a delivery")(error)),
        }
    }

    /// Gives a lease back unused until the turn for which it waits, which is counted as no attempt. Returns
    /// whether it was still ours.
    pub async fn put_off(
        &self,
        delivery: &Delivery,
        line: Line,
        next_attempt_at: Timestamp,
        due_at: Timestamp,
    ) -> Result<bool, Error> {
        let token = delivery.lease.as_deref().unwrap_or_default();
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("execution_id", text(delivery.execution_id.as_str()))
            .key("part", text(&delivery.part))
            .update_expression(
                "SET next_attempt_at = :next, due_at = :due_at, debt = :debt, stood = :stood \
                 REMOVE leased_until ADD attempt_count :minus_one, put_off :one",
            )
            .expression_attribute_values(":stood", text(line.as_str()))
            .expression_attribute_values(":next", number(next_attempt_at.millis()))
            .expression_attribute_values(":due_at", number(due_at.millis()))
            .expression_attribute_values(":debt", debt(&delivery.execution_id))
            .expression_attribute_values(":minus_one", number(-1))
            .expression_attribute_values(":one", number(1))
            .condition_expression("lease = :token AND attribute_exists(leased_until)")
            .expression_attribute_values(":token", text(token))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .write()
            .await;
        match updated {
            Ok(_) => Ok(true),
            // Our token without a lease: it was given back, and only the reply was lost.
            Err(error) if is_written(&error, "lease", &text(token)) => Ok(true),
            Err(error) if is_refused(&error) => Ok(false),
            Err(error) => Err(Error::aws("put off a delivery")(error)),
        }
    }

    /// Those to a subscription that were given up at this time and since, behind `after`, oldest first, at
    /// most `limit`; and whether there may be more. One may have been owed again since.
    pub async fn list_given_up(
        &self,
        id: &SubscriptionId,
        since: Timestamp,
        after: Option<&str>,
        limit: i32,
    ) -> Result<(Vec<GivenUp>, bool), Error> {
        given_up::list(&self.client, &self.table, id, since, after, limit).await
    }

    /// Records an attempt and frees its lease. Returns whether the lease was still ours: after
    /// it has ended, another attempt may have begun, and the record is that one's to write.
    pub async fn record(
        &self,
        delivery: &Delivery,
        attempt: &Attempt,
        verdict: Verdict,
    ) -> Result<bool, Error> {
        // Before the record, after which nobody would do it. If that fails, it notes one too many.
        if let (Verdict::Undelivered, Some(id)) = (verdict, delivery.subscription()) {
            given_up::note(&self.client, &self.table, delivery, &id).await?;
        }
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
        let is_of_runs = delivery.event.is_of_runs();
        let update = match verdict {
            Verdict::Dropped => over(update, DeliveryState::Undelivered, ""),
            Verdict::Undelivered if !is_of_runs => over(update, DeliveryState::Undelivered, ""),
            Verdict::Again { next_attempt_at, due_at } => update
                .update_expression(
                    "SET attempts = :attempts, earlier = :earlier, next_attempt_at = :next, due_at = :due_at, \
                     debt = :debt \
                     REMOVE leased_until, stood",
                )
                .expression_attribute_values(":next", number(next_attempt_at.millis()))
                .expression_attribute_values(":due_at", number(due_at.millis()))
                .expression_attribute_values(":debt", debt(&delivery.execution_id)),
            Verdict::Delivered => over(update, DeliveryState::Delivered, ""),
            Verdict::Undelivered => {
                over(update, DeliveryState::Undelivered, ", trouble = :trouble, troubled_at = :now")
                    .expression_attribute_values(":trouble", text(TROUBLE))
                    .expression_attribute_values(":now", number(Timestamp::now().millis()))
            }
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

fn part_of(item: Option<Item>) -> Option<String> {
    item?.get("part")?.as_s().ok().cloned()
}

pub(super) fn debt(id: &ExecutionId) -> AttributeValue {
    text(Debt::of(DebtKind::Delivery, id).as_str())
}

fn held_by(item: &Item, token: &str) -> bool {
    item.get("lease").and_then(|lease| lease.as_s().ok()).is_some_and(|lease| lease == token)
}

/// A delivery that is over owes nothing, and leaves the index of debts.
fn over(
    update: UpdateItemFluentBuilder,
    state: DeliveryState,
    and: &str,
) -> UpdateItemFluentBuilder {
    update
        .update_expression(format!(
            "SET attempts = :attempts, earlier = :earlier, #state = :state{and} \
             REMOVE leased_until, due_at, debt"
        ))
        .expression_attribute_names("#state", "state")
        .expression_attribute_values(":state", text(state.as_str()))
}
