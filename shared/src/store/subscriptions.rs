//! A user's subscriptions: each one an item under the user's key, beside their count.

use aws_sdk_dynamodb::{
    Client,
    types::{Delete, Put, TransactWriteItem, Update},
};
use serde::de::DeserializeOwned;
use ulid::Ulid;

use super::{
    Item, Transaction, executions::key, from_item, number, projection::Projection, text, to_item,
    transact, transitions::Step,
};
use crate::{
    caller::UserId,
    error::Error,
    subscription::{Interest, Listed, MAX_SUBSCRIPTIONS, Subscription, SubscriptionId},
};

const COUNT: &str = "count";
const PREFIX: &str = "sub_";

#[derive(Debug, Clone)]
pub struct Subscriptions {
    client: Client,
    table: String,
}

fn owner_key(user: &UserId) -> String {
    format!("subscriptions#{user}")
}

/// The key of a subscription.
pub(super) fn subscription_key(user: &UserId, id: &SubscriptionId) -> Item {
    key(&owner_key(user), id.as_str())
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
        self.query(user).await
    }

    /// What a user's subscriptions are interested in, without where they go.
    pub async fn interests(&self, user: &UserId) -> Result<Vec<Interest>, Error> {
        self.query(user).await
    }

    async fn query<T: DeserializeOwned>(&self, user: &UserId) -> Result<Vec<T>, Error> {
        let Projection { expression, names } = Projection::of::<T>();
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
            found.push(from_item(item.map_err(Error::aws("list subscriptions"))?)?);
        }
        Ok(found)
    }
}
