//! A user's subscriptions: each one an item under the user's key, beside their count.

use aws_sdk_dynamodb::{
    Client,
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{Delete, Put, ReturnValue, TransactWriteItem, Update},
};
use ulid::Ulid;

use crate::{
    domain::{
        delivery::Delivery,
        error::Error,
        health::{DisabledReason, Health},
        id::{SubscriptionId, UserId},
        signature::Generation,
        subscription::{Interest, Listed, MAX_SUBSCRIPTIONS, Signed, Subscription},
        time::Timestamp,
    },
    store::{
        generations::rotated,
        item::{Item, from_item, from_item_of_list, number, text, to_item},
        key::{key, owner_key, subscription_key},
        projection::Projection,
        write::{Step, Transaction, Write, is_refused, transact},
    },
};

const COUNT: &str = "count";
const PREFIX: &str = "sub_";

#[derive(Debug, Clone)]
pub struct Subscriptions {
    client: Client,
    table: String,
}

impl Subscriptions {
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Stores a new one; `Stale` when the user has as many as there may be.
    pub async fn add(&self, user: &UserId, subscription: &Subscription) -> Result<Step, Error> {
        let mut item = to_item(subscription)?;
        item.extend(subscription_key(user, &subscription.id));
        let put = Put::builder().table_name(&self.table).set_item(Some(item)).build();
        let put = put.map_err(|error| Error::corrupt("a subscription", error))?;
        let count = self.count(user).update_expression("ADD n :one");
        let count = count
            .condition_expression("attribute_not_exists(n) OR n < :most")
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":most", number(MAX_SUBSCRIPTIONS))
            .build()
            .map_err(|error| Error::corrupt("a count", error))?;
        let items = vec![
            TransactWriteItem::builder().put(put).build(),
            TransactWriteItem::builder().update(count).build(),
        ];
        self.write(items, "store a subscription").await
    }

    /// Removes one; `Stale` when there is none.
    pub async fn remove(&self, user: &UserId, id: &SubscriptionId) -> Result<Step, Error> {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(subscription_key(user, id)))
            .condition_expression("attribute_exists(execution_id)")
            .build()
            .map_err(|error| Error::corrupt("a subscription", error))?;
        let count = self.count(user).update_expression("ADD n :minus_one");
        let count = count
            .expression_attribute_values(":minus_one", number(-1))
            .build()
            .map_err(|error| Error::corrupt("a count", error))?;
        let items = vec![
            TransactWriteItem::builder().delete(delete).build(),
            TransactWriteItem::builder().update(count).build(),
        ];
        self.write(items, "remove a subscription").await
    }

    fn count(&self, user: &UserId) -> aws_sdk_dynamodb::types::builders::UpdateBuilder {
        Update::builder().table_name(&self.table).set_key(Some(key(&owner_key(user), COUNT)))
    }

    async fn write(
        &self,
        items: Vec<TransactWriteItem>,
        action: &'static str,
    ) -> Result<Step, Error> {
        Ok(match transact(&self.client, &Ulid::generate().to_string(), items, action).await? {
            Transaction::Committed => Step::Applied,
            Transaction::Refused(_) => Step::Stale,
        })
    }

    /// All of a user's, oldest first, without the headers they are sent with.
    pub async fn list(&self, user: &UserId) -> Result<Vec<Listed>, Error> {
        let listed = |item: Item| {
            let health = from_item_of_list(item.clone())?;
            Some(Listed { health, ..from_item_of_list(item)? })
        };
        let items = self.query(user, listed_projection()).await?;
        Ok(items.into_iter().filter_map(listed).collect())
    }

    /// What a user's subscriptions are interested in, without where they go.
    pub async fn interests(&self, user: &UserId) -> Result<Vec<Interest>, Error> {
        let items = self.query(user, Projection::of::<Interest>()).await?;
        Ok(items.into_iter().filter_map(from_item_of_list).collect())
    }

    async fn query(
        &self,
        user: &UserId,
        Projection { expression, names }: Projection,
    ) -> Result<Vec<Item>, Error> {
        let mut found = Vec::new();
        let mut items = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("execution_id = :owner AND begins_with(part, :prefix)")
            .expression_attribute_values(":owner", text(owner_key(user)))
            .expression_attribute_values(":prefix", text(PREFIX))
            .projection_expression(expression)
            .set_expression_attribute_names(Some(names))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        while let Some(item) = items.next().await {
            found.push(item.map_err(Error::aws("list subscriptions"))?);
        }
        Ok(found)
    }

    /// With whose secret one is signed.
    pub async fn find_signed(
        &self,
        user: &UserId,
        id: &SubscriptionId,
    ) -> Result<Option<Signed>, Error> {
        let Projection { expression, names } = Projection::of::<Signed>();
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(subscription_key(user, id)))
            .projection_expression(expression)
            .set_expression_attribute_names(Some(names))
            .consistent_read(true)
            .send()
            .await
            .map_err(Error::aws("read a subscription"))?;
        found.item.map(from_item).transpose()
    }

    /// Goes on to the next generation of its own secret, once. `None` for one that has none, or is gone.
    pub async fn rotate(
        &self,
        user: &UserId,
        id: &SubscriptionId,
    ) -> Result<Option<Generation>, Error> {
        let update = self
            .update(user, id)
            .update_expression(
                "SET signing.generation = signing.generation + :one, \
                 signing.rotated_at = :now, rotation = :token",
            )
            .condition_expression(
                "attribute_exists(signing) \
                 AND (attribute_not_exists(rotation) OR rotation <> :token)",
            );
        let item = rotated(update).await?;
        let signed: Option<Signed> = item.map(from_item).transpose()?;
        Ok(signed.and_then(|signed| signed.signing))
    }

    /// Writes down a success; of one that is gone, nothing.
    pub async fn succeeded(
        &self,
        user: &UserId,
        id: &SubscriptionId,
        now: Timestamp,
    ) -> Result<(), Error> {
        let updated = self
            .update(user, id)
            .update_expression("SET last_success_at = :now REMOVE failing_since, failures")
            .condition_expression("attribute_exists(execution_id)")
            .expression_attribute_values(":now", number(now.millis()))
            .write()
            .await;
        match updated {
            Err(error) if !is_refused(&error) => Err(Error::aws("note a success")(error)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Counts a failed attempt, and says how the receiver fares now; `None` of one that is gone.
    pub async fn failed(
        &self,
        user: &UserId,
        id: &SubscriptionId,
        now: Timestamp,
    ) -> Result<Option<Health>, Error> {
        let updated = self
            .update(user, id)
            .update_expression(
                "SET failing_since = if_not_exists(failing_since, :now) ADD failures :one",
            )
            .condition_expression("attribute_exists(execution_id)")
            .expression_attribute_values(":now", number(now.millis()))
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::AllNew)
            .write()
            .await;
        match updated {
            Ok(output) => output.attributes.map(from_item).transpose(),
            Err(error) if is_refused(&error) => Ok(None),
            Err(error) => Err(Error::aws("count a failure")(error)),
        }
    }

    /// Disables one and owes these deliveries for it. `Stale` when something was delivered to it since
    /// it was found to fail, or it is disabled already, or gone.
    pub async fn disable(
        &self,
        user: &UserId,
        id: &SubscriptionId,
        failing_since: Timestamp,
        reason: DisabledReason,
        now: Timestamp,
        owed: &[Delivery],
    ) -> Result<Step, Error> {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(subscription_key(user, id)))
            .update_expression("SET disabled_at = :now, disabled_reason = :reason")
            .condition_expression("failing_since = :since AND attribute_not_exists(disabled_at)")
            .expression_attribute_values(":now", number(now.millis()))
            .expression_attribute_values(":reason", text(reason.as_str()))
            .expression_attribute_values(":since", number(failing_since.millis()))
            .build()
            .map_err(|error| Error::corrupt("a subscription", error))?;
        let mut items = vec![TransactWriteItem::builder().update(update).build()];
        for delivery in owed {
            let put = Put::builder().table_name(&self.table).set_item(Some(to_item(delivery)?));
            let put = put.build().map_err(|error| Error::corrupt("a delivery", error))?;
            items.push(TransactWriteItem::builder().put(put).build());
        }
        self.write(items, "disable a subscription").await
    }

    /// Has one begin anew that is disabled; `Stale` when it is not, or gone.
    pub async fn enable(
        &self,
        user: &UserId,
        id: &SubscriptionId,
        now: Timestamp,
    ) -> Result<Step, Error> {
        let updated = self
            .update(user, id)
            .update_expression(
                "SET enabled_at = :now \
                 REMOVE disabled_at, disabled_reason, failing_since, failures",
            )
            .condition_expression("attribute_exists(disabled_at)")
            .expression_attribute_values(":now", number(now.millis()))
            .write()
            .await;
        match updated {
            Ok(_) => Ok(Step::Applied),
            Err(error) if is_refused(&error) => Ok(Step::Stale),
            Err(error) => Err(Error::aws("enable a subscription")(error)),
        }
    }

    fn update(&self, user: &UserId, id: &SubscriptionId) -> UpdateItemFluentBuilder {
        let update = self.client.update_item().table_name(&self.table);
        update.set_key(Some(subscription_key(user, id)))
    }
}

/// What is read to list subscriptions.
pub(super) fn listed_projection() -> Projection {
    Projection::of::<Listed>().and(Projection::of::<Health>())
}
