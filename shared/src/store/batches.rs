//! Batches: the `batch` part, a marker for each of its runs that goes on, and its end.
//!
//! A marker is put by the transaction that accepts a run, and deleted by the one that ends it. So the
//! markers are the runs that go on, with no counter that everybody would write.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use ulid::Ulid;

use crate::{
    domain::{
        batch::{Batch, BatchItem, Refusal},
        batch_id::BatchId,
        callback::Callback,
        delivery::Delivery,
        error::Error,
        id::AgentName,
        time::Timestamp,
    },
    store::{
        batch::Consistency,
        executions::{Executions, Idempotency, Kept, is_live},
        item::{from_item, number, text, to_attribute, to_item},
        key::{BATCH, CALLBACK, IDEMPOTENCY, key},
        marker,
        projection::Projection,
        write::{Step, Transaction, Write, expire, is_written, step, transact},
    },
};

impl From<Idempotency> for BatchItem {
    fn from(decided: Idempotency) -> Self {
        match decided.refusal {
            Some(refusal) => Self::Error(refusal),
            None => Self::ExecutionId(decided.accepted_id),
        }
    }
}

impl Executions {
    /// Stores a new batch, before any of its starts is accepted; `Stale` where there is one already.
    pub async fn create_batch(
        &self,
        batch: &Batch,
        callback: Option<&Callback>,
    ) -> Result<Step, Error> {
        let id = batch.batch_id.as_str();
        let mut items = vec![self.put(id, BATCH, batch)?];
        if let Some(callback) = callback {
            let kept = Kept { part: callback, ttl: Some(batch.ttl) };
            items.push(self.put(id, CALLBACK, &kept)?);
        }
        let token = Ulid::generate().to_string();
        Ok(match transact(&self.client, &token, items, "store a batch").await? {
            Transaction::Committed => Step::Applied,
            Transaction::Refused(_) => Step::Stale,
        })
    }

    /// A batch; an expired one is gone.
    pub async fn find_batch(
        &self,
        id: &BatchId,
        consistency: Consistency,
    ) -> Result<Option<Batch>, Error> {
        let batch: Option<Batch> =
            self.part(id.as_str(), BATCH, consistency, "read a batch").await?;
        Ok(batch.filter(|batch| is_live(Some(batch.ttl))))
    }

    /// What is decided of its starts so far, by their idempotency keys.
    pub async fn decided_of(&self, batch: &Batch) -> Result<Vec<Option<BatchItem>>, Error> {
        let indexes = 0..usize::try_from(batch.size).unwrap_or_default();
        let names: Vec<_> = indexes.map(|index| batch.item_of(index)).collect();
        let keys = names.iter().map(|name| key(name, IDEMPOTENCY)).collect();
        let owner = Projection::naming(&["execution_id"]);
        let projection = Some(Projection::of::<Idempotency>().and(owner));
        let action = "read what a batch has started";
        let mut decided = vec![None; names.len()];
        for item in self.batch(keys, projection, Consistency::Strong, action).await? {
            let name = item.get("execution_id").and_then(|it| it.as_s().ok());
            let index = name.and_then(|name| names.iter().position(|it| it == name));
            if let Some(place) = index.and_then(|index| decided.get_mut(index)) {
                *place = Some(BatchItem::from(from_item::<Idempotency>(item)?));
            }
        }
        Ok(decided)
    }

    /// Decides that a start of a batch is refused, if nothing was decided of it; gives what is.
    pub async fn refuse_item(
        &self,
        batch: &Batch,
        index: usize,
        refusal: &Refusal,
    ) -> Result<BatchItem, Error> {
        let item = batch.item_of(index);
        let refused = Idempotency {
            accepted_id: batch.batch_id.as_execution_id().clone(),
            agent_name: AgentName::default(),
            estimated_ms: None,
            created_at: batch.requested_at,
            request_hash: String::new(),
            refusal: Some(refusal.clone()),
            ttl: Some(batch.ttl),
        };
        let items = vec![self.put(&item, IDEMPOTENCY, &refused)?];
        let token = Ulid::generate().to_string();
        match transact(&self.client, &token, items, "refuse a start").await? {
            Transaction::Committed => Ok(BatchItem::Error(refusal.clone())),
            Transaction::Refused(_) => {
                let found = self.find_idempotency(&item).await?;
                found.map(BatchItem::from).ok_or(Error::Busy("refuse a start"))
            }
        }
    }

    /// Closes a batch with what was decided of its starts, and the agents of its runs; `Stale` where it was closed before, with the
    /// same.
    pub async fn close_batch(
        &self,
        id: &BatchId,
        items: &[BatchItem],
        agents: &BTreeSet<AgentName>,
        due_at: Timestamp,
    ) -> Result<Step, Error> {
        let items = items.iter().map(|item| Ok(AttributeValue::M(to_item(item)?)));
        let items = AttributeValue::L(items.collect::<Result<_, Error>>()?);
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(id.as_str(), BATCH)))
            .update_expression(
                "SET #items = :items, agents = :agents, due_at = :due_at, debt = :debt REMOVE sweeps",
            )
            .condition_expression("attribute_exists(batch_id) AND attribute_not_exists(#items)")
            .expression_attribute_names("#items", "items")
            .expression_attribute_values(":items", items.clone())
            .expression_attribute_values(":agents", to_attribute(agents)?)
            .expression_attribute_values(":due_at", number(due_at.millis()))
            .expression_attribute_values(":debt", text(Batch::debt_of(id).as_str()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .write()
            .await;
        match updated {
            Err(error) if is_written(&error, "items", &items) => Ok(Step::Applied),
            other => step(other, "close a batch"),
        }
    }

    /// Whether a run of it goes on.
    pub async fn has_open_runs(&self, id: &BatchId) -> Result<bool, Error> {
        let page = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("execution_id = :id AND begins_with(part, :open)")
            .expression_attribute_values(":id", text(id.as_str()))
            .expression_attribute_values(":open", text(marker::OPEN))
            .projection_expression("part")
            .consistent_read(true)
            .limit(1)
            .send()
            .await
            .map_err(Error::aws("look for runs of a batch that go on"))?;
        Ok(page.count > 0)
    }

    /// Completes a batch, once, and with that owes who is to be told of it.
    pub async fn complete_batch(&self, after: &Batch, owed: &[Delivery]) -> Result<Step, Error> {
        let completed_at = after.completed_at.unwrap_or_else(Timestamp::now);
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(after.batch_id.as_str(), BATCH)))
            .update_expression(
                "SET completed_at = :completed_at, counts = :counts, #ttl = :ttl \
                 REMOVE due_at, debt, sweeps, dead_reason",
            )
            .condition_expression("attribute_exists(#items) AND attribute_not_exists(completed_at)")
            .expression_attribute_names("#items", "items")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":completed_at", number(completed_at.millis()))
            .expression_attribute_values(":counts", AttributeValue::M(to_item(&after.counts)?))
            .expression_attribute_values(":ttl", number(after.ttl))
            .build()
            .map_err(|error| Error::corrupt("a batch", error))?;
        let mut items = vec![TransactWriteItem::builder().update(update).build()];
        for delivery in owed {
            items.push(self.put(delivery.execution_id.as_str(), &delivery.part, delivery)?);
        }
        let token = Ulid::generate().to_string();
        Ok(match transact(&self.client, &token, items, "complete a batch").await? {
            Transaction::Committed => Step::Applied,
            Transaction::Refused(_) => Step::Stale,
        })
    }

    /// Keeps a batch that is not complete, and its callback, until then.
    pub async fn keep_batch(&self, batch: &Batch, until: Timestamp) -> Result<(), Error> {
        let parts = [Some(BATCH), batch.has_callback.then_some(CALLBACK)];
        let parts = parts.into_iter().flatten();
        let items = parts.map(|part| expire(&self.table, batch.batch_id.as_str(), part, until));
        let token = Ulid::generate().to_string();
        let items = items.collect::<Result<_, Error>>()?;
        transact(&self.client, &token, items, "keep a batch").await.map(drop)
    }
}
