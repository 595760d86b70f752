//! Owing a delivery again that is over.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use ulid::Ulid;

use crate::{
    domain::{
        caller::Actor, delivery::DeliveryState, error::Error, id::ExecutionId, loops::Hops,
        time::Timestamp,
    },
    store::{
        deliveries::{Deliveries, debt},
        item::{number, text, to_attribute, to_item},
        key::key,
        write::{Step, Write, is_refused, is_written},
    },
};

impl Deliveries {
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
}
