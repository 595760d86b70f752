//! The parts of an execution: `state`, `input`, `callback`, `output`, and its idempotency item.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, Put, TransactWriteItem},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use ulid::Ulid;

use crate::{
    domain::{
        batch::Refusal,
        callback::Callback,
        delivery::Delivery,
        error::Error,
        execution::Execution,
        health::Health,
        id::{AgentName, ExecutionId},
        outcome::Outcome,
        signature::{Signer, Signing},
        subscription::Subscription,
        time::Timestamp,
    },
    store::{
        batch::{Consistency, MAX_BATCH, read_batch},
        item::{Item, from_item, from_item_of_list, number, text, to_item},
        key::{
            CALLBACK, GENERATION, IDEMPOTENCY, INPUT, OUTPUT, STATE, generation_key, key,
            subscription_key,
        },
        marker,
        projection::Projection,
        write::{Transaction, transact},
    },
};

/// No run has this id, but `read` may look for it.
const NOTHING: &str = "mcp-nothing";

/// The input as it was frozen, in the bytes given to `StartExecution`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Input {
    pub input: String,
}

/// A part with its expiry.
#[derive(Serialize)]
pub(super) struct Kept<'a, T> {
    #[serde(flatten)]
    pub(super) part: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ttl: Option<i64>,
}

/// What an `Idempotency-Key` was used for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Idempotency {
    pub accepted_id: ExecutionId,
    pub agent_name: AgentName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_ms: Option<u64>,
    pub created_at: Timestamp,
    pub request_hash: String,
    /// Of a start of a batch that was refused, which has no execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
}

/// All that one accepted start stores.
#[derive(Debug)]
pub struct NewExecution<'a> {
    pub execution: &'a Execution,
    pub input: &'a str,
    pub callback: Option<&'a Callback>,
    /// With [`Execution::idempotency_item`]: the hash of the request.
    pub request_hash: &'a str,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Accept {
    Stored,
    /// The idempotency key belongs to an earlier start; nothing was stored.
    KeyTaken,
}

/// A run with what its results are made of.
#[derive(Debug)]
pub struct Finished {
    pub execution: Execution,
    pub outcome: Option<Outcome>,
    /// The frozen input; only when asked for.
    pub input: Option<String>,
}

/// What a delivery is made of.
#[derive(Debug)]
pub struct Delivered {
    /// Where it goes; `None` when that is no more.
    pub callback: Option<Callback>,
    /// How the receiver fares, of a subscription.
    pub health: Option<Health>,
    pub outcome: Option<Outcome>,
    pub signing: Signing,
}

#[derive(Debug, Clone)]
pub struct Executions {
    pub(super) client: Client,
    pub(super) table: String,
}

impl Executions {
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Stores an accepted start, all of it or nothing.
    pub async fn accept(&self, new: NewExecution<'_>) -> Result<Accept, Error> {
        let id = &new.execution.execution_id;
        let kept = new.execution.kept_until.map(Timestamp::seconds);
        let mut items = vec![
            self.put(id.as_str(), STATE, new.execution)?,
            self.put(
                id.as_str(),
                INPUT,
                &Kept { part: &Input { input: new.input.to_owned() }, ttl: kept },
            )?,
        ];
        if let Some(callback) = new.callback {
            items.push(self.put(id.as_str(), CALLBACK, &Kept { part: callback, ttl: kept })?);
        }
        let idempotency_index = items.len();
        if let Some(item) = &new.execution.idempotency_item {
            let idempotency = Idempotency {
                accepted_id: id.clone(),
                agent_name: new.execution.agent_name.clone(),
                estimated_ms: new.execution.estimated_ms,
                created_at: new.execution.created_at,
                request_hash: new.request_hash.to_owned(),
                refusal: None,
                ttl: kept,
            };
            items.push(self.put(item, IDEMPOTENCY, &idempotency)?);
        }
        if let Some(batch) = &new.execution.batch_id {
            items.push(marker::put(&self.table, new.execution, batch)?);
        }
        let token = Ulid::generate().to_string();
        match transact(&self.client, &token, items, "store an execution").await? {
            Transaction::Committed => Ok(Accept::Stored),
            Transaction::Refused(index) if index == idempotency_index => Ok(Accept::KeyTaken),
            // 80 random bits were drawn twice.
            Transaction::Refused(_) => Err(Error::Busy("store an execution")),
        }
    }

    /// A new part; an expired one that DynamoDB has not deleted yet counts as gone.
    pub(super) fn put(
        &self,
        id: &str,
        part: &str,
        content: &impl Serialize,
    ) -> Result<TransactWriteItem, Error> {
        let mut item = to_item(content)?;
        item.insert("execution_id".to_owned(), text(id));
        item.insert("part".to_owned(), text(part));
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(execution_id) OR #ttl <= :now")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":now", number(Timestamp::now().seconds()))
            .build()
            .map_err(|error| Error::corrupt("an item to store", error))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// The `state` part; an expired one is gone.
    pub async fn find(
        &self,
        id: &ExecutionId,
        consistency: Consistency,
    ) -> Result<Option<Execution>, Error> {
        let execution: Option<Execution> =
            self.part(id.as_str(), STATE, consistency, "read an execution").await?;
        Ok(execution.filter(|execution| is_live(execution.ttl)))
    }

    /// What an idempotency key was used for.
    pub async fn find_idempotency(&self, item: &str) -> Result<Option<Idempotency>, Error> {
        let idempotency: Option<Idempotency> =
            self.part(item, IDEMPOTENCY, Consistency::Strong, "read an idempotency key").await?;
        Ok(idempotency.filter(|idempotency| is_live(idempotency.ttl)))
    }

    /// The frozen input.
    pub async fn find_input(&self, id: &ExecutionId) -> Result<Option<Input>, Error> {
        self.part(id.as_str(), INPUT, Consistency::Strong, "read an input").await
    }

    /// Reads what is not there, to have made a call: see [`crate::aws::connection::warm_up`].
    pub async fn warm_up(&self) {
        let nothing: Result<Option<Execution>, Error> =
            self.part(NOTHING, STATE, Consistency::Eventual, "warm up").await;
        drop(nothing);
    }

    /// The same for whoever may read only in batches.
    pub async fn warm_up_batch(&self) {
        let keys = vec![key(NOTHING, STATE)];
        drop(self.batch(keys, None, Consistency::Eventual, "warm up").await);
    }

    pub(super) async fn part<T: DeserializeOwned>(
        &self,
        id: &str,
        part: &str,
        consistency: Consistency,
        action: &'static str,
    ) -> Result<Option<T>, Error> {
        let Projection { expression, names } = Projection::of::<T>();
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(id, part)))
            .projection_expression(expression)
            .set_expression_attribute_names(Some(names))
            .consistent_read(consistency == Consistency::Strong)
            .send()
            .await
            .map_err(Error::aws(action))?;
        found.item.map(from_item).transpose()
    }

    /// Several items in one call, at most a hundred, in no order.
    pub(super) async fn batch(
        &self,
        keys: Vec<Item>,
        projection: Option<Projection>,
        consistency: Consistency,
        action: &'static str,
    ) -> Result<Vec<Item>, Error> {
        read_batch(&self.client, &self.table, keys, projection, consistency, action).await
    }

    /// A run with its outcome, and with its input where `with_input` asks for it.
    pub async fn find_finished(
        &self,
        id: &ExecutionId,
        with_input: bool,
    ) -> Result<Option<Finished>, Error> {
        let (execution, outcome) =
            tokio::join!(self.find(id, Consistency::Strong), self.find_outcome(id));
        let Some(execution) = execution? else {
            return Ok(None);
        };
        let is_its =
            |it: &Outcome| (it.redrive_count, it.rank) == (execution.redrive_count, execution.rank);
        let outcome = match outcome?.filter(is_its) {
            _ if !execution.status.is_end() => None,
            Some(outcome) => Some(outcome),
            // It is stored before the end is, or with it, but was looked for before that.
            None => self.find_outcome(id).await?,
        };
        let input = if with_input { self.find_input(id).await? } else { None };
        Ok(Some(Finished { execution, outcome, input: input.map(|part| part.input) }))
    }

    /// The rows of these runs, in one call for each hundred; those that are gone are left out.
    pub async fn find_all(&self, ids: &[ExecutionId]) -> Result<Vec<Execution>, Error> {
        self.find_all_as(ids, Consistency::Eventual).await
    }

    /// The same as they stand now.
    pub async fn find_all_fresh(&self, ids: &[ExecutionId]) -> Result<Vec<Execution>, Error> {
        self.find_all_as(ids, Consistency::Strong).await
    }

    async fn find_all_as(
        &self,
        ids: &[ExecutionId],
        consistency: Consistency,
    ) -> Result<Vec<Execution>, Error> {
        let mut executions = Vec::new();
        for ids in ids.chunks(MAX_BATCH) {
            let keys = ids.iter().map(|id| key(id.as_str(), STATE)).collect();
            let projection = Some(Projection::of::<Execution>());
            let items = self.batch(keys, projection, consistency, "read executions").await?;
            executions.extend(items.into_iter().filter_map(from_item_of_list));
        }
        executions.retain(|run: &Execution| is_live(run.ttl));
        Ok(executions)
    }

    async fn find_outcome(&self, id: &ExecutionId) -> Result<Option<Outcome>, Error> {
        self.part(id.as_str(), OUTPUT, Consistency::Strong, "read results").await
    }

    /// What a delivery is made of, in one call: where it goes, the outcome that it tells, and which secret
    /// signs it.
    pub async fn find_delivered(&self, delivery: &Delivery) -> Result<Delivered, Error> {
        let id = delivery.execution_id.as_str();
        let user = &delivery.user_id;
        let target = match &delivery.subscription() {
            Some(subscription) => subscription_key(user, subscription),
            None => key(id, CALLBACK),
        };
        let keys = vec![target, key(id, OUTPUT), generation_key(user)];
        let items = self.batch(keys, None, Consistency::Strong, "read a callback").await?;
        let mut parts = HashMap::new();
        for item in items {
            if let Some(Ok(part)) = item.get("part").map(AttributeValue::as_s) {
                parts.insert(part.clone(), item);
            }
        }
        let generation = parts.remove(GENERATION).map(from_item).transpose()?;
        let outcome = parts.remove(OUTPUT).map(from_item).transpose()?;
        let signing = Signing {
            signer: Signer::User(user.clone()),
            generation: generation.unwrap_or_default(),
        };
        let found = parts.remove(delivery.target());
        if delivery.subscription().is_none() {
            let callback = found.map(from_item).transpose()?;
            return Ok(Delivered { callback, health: None, outcome, signing });
        }
        let found: Option<Subscription> = found.map(from_item).transpose()?;
        Ok(Delivered {
            health: found.as_ref().map(|it| it.health),
            signing: found.as_ref().and_then(Subscription::own_signing).unwrap_or(signing),
            callback: found.map(Callback::from),
            outcome,
        })
    }
}

pub(super) fn is_live(ttl: Option<i64>) -> bool {
    ttl.is_none_or(|ttl| ttl > Timestamp::now().seconds())
}
