//! The `delivery#…` parts: leasing an attempt and recording what came of it; and which of those to a
//! subscription were given up.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    operation::{
        query::builders::QueryFluentBuilder,
        update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    },
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{
    Item, Write, executions::key, from_item, is_refused, is_written, number,
    projection::Projection, text, to_attribute, to_item, transitions::Step, trouble::TROUBLE,
};
use crate::{
    caller::Actor,
    debt::{Debt, DebtKind},
    delivery::{Attempt, Delivery, DeliveryState, Line, PART_PREFIX},
    error::Error,
    execution::ExecutionId,
    loops::Hops,
    subscription::SubscriptionId,
    time::Timestamp,
};

/// So often a delivery is leased that cannot be read.
const MOST_UNREADABLE: u32 = 20;

/// As many ids as are read at once.
const MOST_LOOKED_THROUGH: i32 = 500;

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

/// That a delivery to a subscription was given up: where it is, under the subscription and the time.
#[derive(Debug, Serialize, Deserialize)]
pub struct GivenUp {
    /// When, and which: from where a list goes on.
    pub part: String,
    pub delivery_of: ExecutionId,
    pub delivery_part: String,
    pub ttl: i64,
}

impl GivenUp {
    /// A caller's word on where to go on, if there can be such a place.
    pub fn check_part(text: &str) -> Result<&str, Error> {
        let is_part = text.split_once("#msg_").is_some_and(|(at, hash)| {
            let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            at.len() == 13
                && at.bytes().all(|byte| byte.is_ascii_digit())
                && hash.len() == 32
                && hash.bytes().all(is_hex)
        });
        let reason = "must be the next_cursor of an earlier answer";
        if is_part { Ok(text) } else { Err(Error::invalid("cursor", reason)) }
    }
}

fn given_up_key(id: &SubscriptionId) -> String {
    format!("undelivered#{id}")
}

/// Sorts by time, since all have as many digits; what is beyond 2286 is then.
fn given_up_part(at: Timestamp, webhook_id: &str) -> String {
    format!("{:013}#{webhook_id}", at.millis().clamp(0, 9_999_999_999_999))
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
        let deliveries: Result<Vec<_>, _> =
            page.items.unwrap_or_default().into_iter().map(from_item).collect();
        Ok((deliveries?, part_of(page.last_evaluated_key)))
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

    /// Those to a subscription that were given up at this time and since, behind `after`, oldest first, at
    /// most `limit`; and whether there may be more. One may have been owed again since.
    pub async fn list_given_up(
        &self,
        id: &SubscriptionId,
        since: Timestamp,
        after: Option<&str>,
        limit: i32,
    ) -> Result<(Vec<GivenUp>, bool), Error> {
        let Projection { expression, names } = Projection::of::<GivenUp>();
        let since = given_up_part(since, "");
        let page = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("execution_id = :owner AND part > :after")
            .expression_attribute_values(":owner", text(given_up_key(id)))
            .expression_attribute_values(":after", text(since.as_str().max(after.unwrap_or(""))))
            .projection_expression(expression)
            .set_expression_attribute_names(Some(names))
            .consistent_read(true)
            .limit(limit)
            .send()
            .await
            .map_err(Error::aws("list what was given up"))?;
        let is_cut = page.last_evaluated_key.is_some();
        let items = page.items.unwrap_or_default().into_iter();
        Ok((items.map(from_item).collect::<Result<_, _>>()?, is_cut))
    }

    /// Owes a delivery again that has ended so, from the first step of its schedule, with the same
    /// `webhook-id`. `hops` are those that it has from now on, if they are others. `Stale` when it is owed,
    /// or has ended otherwise, or is gone.
    pub async fn owe_again(
        &self,
        id: &ExecutionId,
        part: &str,
        ended: DeliveryState,
        by: &Actor,
        hops: Option<&Hops>,
        due_at: Timestamp,
    ) -> Result<Step, Error> {
        let token = Ulid::generate().to_string();
        let set_hops = if hops.is_some() { ", hops = :hops" } else { "" };
        let hops = hops.map(to_attribute).transpose()?;
        let values = hops.map(|hops| HashMap::from([(":hops".to_owned(), hops)]));
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(id.as_str(), part)))
            .update_expression(format!(
                "SET #state = :pending, attempt_count = :zero, next_attempt_at = :now, \
                 due_at = :due_at, debt = :debt, redelivery = :token, redelivered_by = :by{set_hops} \
                 REMOVE leased_until, stood, sweeps, trouble, troubled_at"
            ))
            .set_expression_attribute_values(values)
            // The token stays: what was delivered meanwhile is not owed again by a repetition.
            .condition_expression(
                "#state = :ended AND #state <> :pending \
                 AND (attribute_not_exists(redelivery) OR redelivery <> :token)",
            )
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":ended", text(ended.as_str()))
            .expression_attribute_values(":pending", text(DeliveryState::Pending.as_str()))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":now", number(Timestamp::now().millis()))
            .expression_attribute_values(":due_at", number(due_at.millis()))
            .expression_attribute_values(":debt", debt(id))
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

    /// Notes that a delivery to a subscription is given up, so that it can be found.
    async fn note_given_up(&self, delivery: &Delivery, id: &SubscriptionId) -> Result<(), Error> {
        let given_up = GivenUp {
            part: given_up_part(Timestamp::now(), &delivery.webhook_id),
            delivery_of: delivery.execution_id.clone(),
            delivery_part: delivery.part.clone(),
            ttl: delivery.ttl,
        };
        let mut item = to_item(&given_up)?;
        item.insert("execution_id".to_owned(), text(given_up_key(id)));
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.write().await.map_err(Error::aws("note what is given up"))?;
        Ok(())
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
            self.note_given_up(delivery, &id).await?;
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
        let update = match verdict {
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

fn debt(id: &ExecutionId) -> AttributeValue {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_sorts_by_time_and_nothing_else_is_a_place_in_it() {
        let part = |millis| given_up_part(Timestamp::from_millis(millis), "");
        let times = [i64::MIN, 0, 1, 999_999_999_999, 1_767_225_600_000, 9_999_999_999_999];
        assert!(times.map(part).is_sorted());
        assert_eq!(part(i64::MAX), part(9_999_999_999_999));

        let id = format!("msg_{}", "0a".repeat(16));
        let good = given_up_part(Timestamp::now(), &id);
        assert_eq!(GivenUp::check_part(&good).unwrap(), good);
        for wrong in ["", "x", &good[1..], &good.to_uppercase(), &format!("{good}0"), &part(1)] {
            assert!(GivenUp::check_part(wrong).is_err(), "{wrong}");
        }
    }
}
