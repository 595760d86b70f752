//! The `api_keys` table.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::update_item::{UpdateItemError, UpdateItemOutput},
    types::ReturnValuesOnConditionCheckFailure,
};

use crate::{
    domain::{
        api_key::{ApiKey, ApiKeyHash},
        error::Error,
        time::Timestamp,
    },
    store::{
        item::{Item, from_item, number, text, to_item},
        write::{Step, Write, found, is_refused},
    },
};

/// How long the end of a key may go unnoticed where events leave by its right.
const CACHED_FOR: Duration = Duration::from_mins(1);

/// How many keys are kept: what is over it is read again.
const MOST_CACHED: usize = 1_000;

type Cache = HashMap<ApiKeyHash, (Instant, Option<ApiKey>)>;

#[derive(Debug, Clone)]
pub struct ApiKeys {
    client: Client,
    table: String,
    cache: Arc<Mutex<Cache>>,
}

impl ApiKeys {
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table, cache: Arc::default() }
    }

    /// Reads consistently, so that a revoked key stops at once.
    pub async fn find(&self, hash: &ApiKeyHash) -> Result<Option<ApiKey>, Error> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("api_key_hash", text(hash.to_hex()))
            .consistent_read(true)
            .send()
            .await
            .map_err(Error::aws("read an API key"))?;
        found.item.map(from_item).transpose()
    }

    /// The same, at most a minute old.
    pub async fn recent(&self, hash: &ApiKeyHash) -> Result<Option<ApiKey>, Error> {
        // A thread that panicked with the lock held leaves a cache that is still whole.
        let cache = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read_at, key)) = cache().get(hash)
            && read_at.elapsed() < CACHED_FOR
        {
            return Ok(key.clone());
        }
        let key = self.find(hash).await?;
        let mut cache = cache();
        if cache.len() >= MOST_CACHED {
            cache.clear();
        }
        cache.insert(hash.clone(), (Instant::now(), key.clone()));
        Ok(key)
    }

    /// Notes that `successor` takes the place of the last key of this line, whose first is `first`: what
    /// keys of it have left behind is its own from then on. `Stale` when the first one is gone.
    pub async fn hand_over(
        &self,
        first: &ApiKeyHash,
        successor: &ApiKeyHash,
    ) -> Result<Step, Error> {
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("api_key_hash", text(first.to_hex()))
            .update_expression("SET heir = :heir")
            .condition_expression("attribute_exists(api_key_hash)")
            .expression_attribute_values(":heir", text(successor.to_hex()))
            .write()
            .await;
        match updated {
            Ok(_) => Ok(Step::Applied),
            Err(error) if is_refused(&error) => Ok(Step::Stale),
            Err(error) => Err(Error::aws("hand over an API key")(error)),
        }
    }

    /// Reads a key that is not there, to have made a call: see [`crate::aws::connection::warm_up`].
    pub async fn warm_up(&self) {
        drop(self.find(&ApiKeyHash::of("")).await);
    }

    /// Stores a new key.
    pub async fn put(&self, hash: &ApiKeyHash, key: &ApiKey) -> Result<(), Error> {
        self.client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(to_item(key)?))
            .item("api_key_hash", text(hash.to_hex()))
            .write()
            .await
            .map_err(Error::aws("store an API key"))?;
        Ok(())
    }

    /// All keys, in no order. This is a scan, for the operator's tool alone: no function may.
    pub async fn list(&self) -> Result<Vec<(ApiKeyHash, ApiKey)>, Error> {
        let mut keys = Vec::new();
        let mut items = self.client.scan().table_name(&self.table).into_paginator().items().send();
        while let Some(item) = items.next().await {
            let item = item.map_err(Error::aws("list API keys"))?;
            let hash = item.get("api_key_hash").and_then(|hash| hash.as_s().ok());
            let hash = hash.map(|hash| hash.parse()).transpose();
            let hash = hash.map_err(|error| Error::corrupt("the hash of an API key", error))?;
            keys.push((hash.ok_or(Error::NotFound("the hash of an API key"))?, from_item(item)?));
        }
        Ok(keys)
    }

    /// Ends a key at `at`, or when it would have ended anyway. `Stale` when it is gone or was
    /// revoked.
    pub async fn expire(&self, hash: &ApiKeyHash, at: Timestamp) -> Result<Step, Error> {
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("api_key_hash", text(hash.to_hex()))
            .update_expression("SET expires_at = :at")
            .condition_expression(
                "attribute_exists(api_key_hash) AND attribute_not_exists(revoked_at) \
                 AND (attribute_not_exists(expires_at) OR expires_at >= :at)",
            )
            .expression_attribute_values(":at", number(at.millis()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .write()
            .await;
        ended(updated, "expire an API key", |key| !key.contains_key("revoked_at"))
    }

    /// Ends a key now, for good. `Stale` when it is gone.
    pub async fn revoke(&self, hash: &ApiKeyHash) -> Result<Step, Error> {
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("api_key_hash", text(hash.to_hex()))
            // Revoked again, it keeps the time at which it really stopped, unless that lies ahead.
            .update_expression("SET revoked_at = :now")
            .condition_expression(
                "attribute_exists(api_key_hash) \
                 AND (attribute_not_exists(revoked_at) OR revoked_at > :now)",
            )
            .expression_attribute_values(":now", number(Timestamp::now().millis()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .write()
            .await;
        ended(updated, "revoke an API key", |_| true)
    }

    /// Removes a key that was made for a moment, and leaves no trace of it.
    pub async fn delete(&self, hash: &ApiKeyHash) -> Result<(), Error> {
        self.client
            .delete_item()
            .table_name(&self.table)
            .key("api_key_hash", text(hash.to_hex()))
            .write()
            .await
            .map_err(Error::aws("remove an API key"))?;
        Ok(())
    }
}

/// What became of an update that ends a key. Where it is refused, the key may have ended by then anyway.
fn ended(
    updated: Result<UpdateItemOutput, SdkError<UpdateItemError>>,
    action: &'static str,
    has_ended: impl FnOnce(&Item) -> bool,
) -> Result<Step, Error> {
    match updated {
        Ok(_) => Ok(Step::Applied),
        Err(error) if found(&error).is_some_and(has_ended) => Ok(Step::Applied),
        Err(error) if is_refused(&error) => Ok(Step::Stale),
        Err(error) => Err(Error::aws(action)(error)),
    }
}
