//! The end of a batch: told once, when all of its runs have ended.

use std::{collections::BTreeSet, time::Duration};

use tracing::info;

use crate::{
    aws::{
        bus::{BatchCompleted, Bus},
        queue::Queue,
    },
    domain::{
        batch::{Batch, BatchItem, BatchSummary, CLOSED_AFTER, POLLED_EVERY, Refusal},
        batch_id::BatchId,
        delivery::{CALLBACK_TARGET, Delivery},
        error::Error,
        event_type::EventType,
        expiry,
        rights::About,
        time::Timestamp,
    },
    http::answer::batch::counts,
    service::rights::Rights,
    store::{
        batch::Consistency, executions::Executions, subscriptions::Subscriptions, write::Step,
    },
};

/// A run of an open batch that expires so soon is kept longer. A batch is looked after for that once a day, so it is kept for
/// two days after the end of its batch.
const EXPIRES_SOON: Duration = Duration::from_hours(72);

/// What completes batches, and tells of it.
#[derive(Debug)]
pub struct Batches<'a> {
    pub executions: &'a Executions,
    pub subscriptions: &'a Subscriptions,
    pub rights: &'a Rights,
    pub bus: &'a Bus,
    pub webhook_queue: &'a Queue,
    /// How long a batch is kept after its end.
    pub retention: Duration,
    /// After which silence `sweep` sends the message of a delivery again.
    pub delivery_overdue: Duration,
}

impl Batches<'_> {
    /// Closes a batch whose request has died, with those starts that were accepted, and completes it where
    /// all of its runs have ended.
    pub async fn look_after(&self, id: &BatchId) -> Result<(), Error> {
        let Some(batch) = self.executions.find_batch(id, Consistency::Strong).await? else {
            return Ok(());
        };
        let now = Timestamp::now();
        if batch.completed_at.is_none() && batch.ttl < now.plus(self.retention).seconds() {
            let until = expiry::kept_until(now, self.retention);
            self.executions.keep_batch(&batch, until).await?;
            self.keep_runs(&batch, now).await?;
        }
        if batch.items.is_none() && batch.requested_at.plus(CLOSED_AFTER) <= now {
            let decided = self.executions.decided_of(&batch).await?;
            let mut items = Vec::with_capacity(decided.len());
            for (index, item) in decided.into_iter().enumerate() {
                items.push(match item {
                    Some(item) => item,
                    None => self.executions.refuse_item(&batch, index, &not_accepted()).await?,
                });
            }
            let ids: Vec<_> = items.iter().filter_map(BatchItem::execution_id).cloned().collect();
            let runs = self.executions.find_all_fresh(&ids).await?.into_iter();
            let agents: BTreeSet<_> = runs.map(|run| run.agent_name).collect();
            let agents = if agents.is_empty() { batch.agents } else { agents };
            let due_at = now.plus(POLLED_EVERY);
            self.executions.close_batch(id, &items, &agents, due_at).await?;
        }
        self.complete(id).await
    }

    /// Keeps those of its runs that have ended long ago: it is told of, and has its results, when the last has.
    async fn keep_runs(&self, batch: &Batch, now: Timestamp) -> Result<(), Error> {
        let ids: Vec<_> = batch.runs().cloned().collect();
        let runs = self.executions.find_all_fresh(&ids).await?;
        let soon = now.plus(EXPIRES_SOON).seconds();
        for run in runs.iter().filter(|run| run.ttl.is_some_and(|ttl| ttl < soon)) {
            self.executions.keep_ended(run, now.plus(self.retention)).await?;
        }
        Ok(())
    }

    /// Completes a batch whose runs have all ended, and tells of it. Whoever ends one of its runs asks for
    /// this once that is stored, and whoever closes it: so the last of them finds it complete.
    pub async fn complete(&self, id: &BatchId) -> Result<(), Error> {
        // Most often there is one, and this costs little.
        if self.executions.has_open_runs(id).await? {
            return Ok(());
        }
        let found = self.executions.find_batch(id, Consistency::Strong).await?;
        let Some(batch) = found.filter(|it| it.items.is_some() && it.completed_at.is_none()) else {
            return Ok(());
        };
        // Before it was closed there may have been none because the next was not yet started.
        if self.executions.has_open_runs(id).await? {
            return Ok(());
        }
        let ids: Vec<_> = batch.runs().cloned().collect();
        let runs = self.executions.find_all_fresh(&ids).await?;
        let now = Timestamp::now();
        let counts = counts(runs.iter().map(|run| run.status));
        let summary = batch.summary(counts.clone(), now);
        let after = Batch {
            completed_at: Some(now),
            counts: Some(counts),
            // Not before the keys of its starts, by which a repetition finds them.
            ttl: expiry::kept_until(now, self.retention).seconds(),
            ..batch
        };
        // Before it is stored, after which nobody would: told at least once.
        self.bus.publish_batch(&BatchCompleted::of(&after, &summary)).await?;
        let owed = self.owed(&after, &summary).await?;
        if self.executions.complete_batch(&after, &owed).await? == Step::Applied {
            info!(batch.id = %id, "batch {id} is complete");
            self.webhook_queue.enqueue_deliveries(owed).await;
        }
        Ok(())
    }

    async fn owed(&self, batch: &Batch, summary: &BatchSummary) -> Result<Vec<Delivery>, Error> {
        let interests = self.subscriptions.interests(&batch.user_id).await?;
        let (overdue, retention) = (self.delivery_overdue, self.retention);
        let delivery = |to: &str| Delivery::of_batch(batch, summary, to, overdue, retention);
        let callback = batch.has_callback.then_some(CALLBACK_TARGET);
        let mut owed: Vec<_> = callback.into_iter().map(delivery).collect();
        for interest in &interests {
            let is_wanted = interest.wants(EventType::BatchCompleted, &batch.agents);
            let about = About::Agents(&batch.agents);
            if is_wanted && self.rights.may_be_told(interest.holder.as_ref(), about).await? {
                owed.push(delivery(interest.id.as_str()));
            }
        }
        Ok(owed)
    }
}

/// Why a start was refused whose request has died before it.
fn not_accepted() -> Refusal {
    Refusal {
        kind: "urn:problem-type:agent-relay:unavailable".to_owned(),
        status: 503,
        detail: "the request ended before this start was accepted".to_owned(),
        field: None,
    }
}
