//! Batches: accepting many starts at once.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{StreamExt, stream};
use tracing::info;

use crate::{
    aws::queue::LaunchMessage,
    domain::{
        batch::{Batch, BatchBody, BatchItem, CLOSED_AFTER},
        batch_id::BatchId,
        callback,
        caller::{Action, Caller},
        error::Error,
        expiry,
        id::AgentName,
        idempotency_key::IdempotencyKey,
        request::StartBody,
        rights::Holder,
        time::Timestamp,
    },
    http::{answer::batch::BatchReceipt, problem::Problem},
    service::start::{MIN_REPLAYS, Start, uncount},
    store::{batch::Consistency, write::Step},
};

/// How many starts of a batch are accepted at the same time.
const AT_ONCE: usize = 10;

/// A batch that is stored.
#[derive(Debug)]
pub struct AcceptedBatch {
    pub receipt: BatchReceipt,
    /// The `Idempotency-Key` was used before, for this same request, and that was answered in full.
    pub replayed: bool,
}

/// Those of these agents that the caller may start; refuses who may start none of them.
fn startable(caller: &Caller, agents: &[Option<AgentName>]) -> Result<BTreeSet<AgentName>, Error> {
    let mut startable = BTreeSet::new();
    let mut refusal = None;
    for agent in agents.iter().flatten() {
        match caller.require(Action::Execute, agent) {
            Ok(()) => drop(startable.insert(agent.clone())),
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    match refusal {
        Some(refusal) if startable.is_empty() => Err(refusal),
        // What is wrong with their names is told of each.
        _ => Ok(startable),
    }
}

/// The agents of the runs among these items: what was refused is nobody's. Where all was, those that were asked for.
fn accepted_agents(
    batch: &Batch,
    items: &[BatchItem],
    agents: Vec<Option<AgentName>>,
) -> BTreeSet<AgentName> {
    let accepted = items.iter().zip(agents).filter(|(item, _)| item.execution_id().is_some());
    let accepted: BTreeSet<_> = accepted.filter_map(|(_, agent)| agent).collect();
    if accepted.is_empty() { batch.agents.clone() } else { accepted }
}

impl Start {
    /// Accepts a batch: each item is a start of its own, which may be refused without the others. With a
    /// key, the repetition of a request that died goes on where that has ended.
    pub async fn start_batch(
        &self,
        caller: &Caller,
        body: BatchBody,
        key: Option<&IdempotencyKey>,
    ) -> Result<AcceptedBatch, Error> {
        caller.arrival.refuse_loop()?;
        body.check_size()?;
        let starts = body.starts();
        let agents: Vec<_> = starts.iter().map(|start| start.agent_name.parse().ok()).collect();
        let wanted = self.new_batch(caller, &body, key, startable(caller, &agents)?);
        let found = match key {
            Some(_) => self.executions.find_batch(&wanted.batch_id, Consistency::Strong).await?,
            None => None,
        };
        let batch = match found {
            Some(batch) => {
                let limit = caller.rate_limit.max(MIN_REPLAYS);
                self.limits.count_replay(&caller.credential, limit, Timestamp::now()).await?;
                batch
            }
            None => self.create_batch(caller, &wanted, &body).await?,
        };
        if batch.request_hash != wanted.request_hash {
            return Err(Error::invalid(
                IdempotencyKey::FIELD,
                "was used for another request already",
            ));
        }
        let id = &batch.batch_id;
        let replayed = |items| {
            let receipt = BatchReceipt::new(id.clone(), items);
            AcceptedBatch { receipt, replayed: true }
        };
        if let Some(items) = &batch.items {
            return Ok(replayed(items.clone()));
        }
        // The request that has stored it may have died, or goes on: what is decided of a start is the same
        // for both.
        let items = self.start_items(caller, &batch, starts, key.is_some()).await?;
        let due_at = Timestamp::now().plus(self.launch_overdue);
        let agents = accepted_agents(&batch, &items, agents);
        if self.executions.close_batch(id, &items, &agents, due_at).await? == Step::Stale {
            return Ok(replayed(items));
        }
        // All of its runs may have ended by now.
        let message = LaunchMessage::of_batch(id);
        self.launch_queue.enqueue_hint(&message, &caller.user_id, Duration::ZERO).await;
        info!(batch.id = %id, "accepted batch {id}");
        Ok(AcceptedBatch { receipt: BatchReceipt::new(id.clone(), items), replayed: false })
    }

    /// The batch as it would be stored.
    fn new_batch(
        &self,
        caller: &Caller,
        body: &BatchBody,
        key: Option<&IdempotencyKey>,
        agents: BTreeSet<AgentName>,
    ) -> Batch {
        let batch_id =
            key.map_or_else(BatchId::generate, |key| BatchId::of_item(&key.item(&caller.user_id)));
        let now = Timestamp::now();
        Batch {
            user_id: caller.user_id.clone(),
            agents,
            size: u32::try_from(body.items.len()).unwrap_or_default(),
            requested_at: now,
            started_by: caller.actor(),
            hops: caller.arrival.hops.clone(),
            has_callback: body.callback_url.is_some(),
            request_hash: body.hash(),
            items: None,
            completed_at: None,
            counts: None,
            due_at: Some(now.plus(CLOSED_AFTER)),
            debt: Some(Batch::debt_of(&batch_id)),
            ttl: expiry::kept_until(now, self.retention).seconds(),
            batch_id,
        }
    }

    /// Stores a new batch, or gives the one that another request with its key has stored meanwhile.
    async fn create_batch(
        &self,
        caller: &Caller,
        batch: &Batch,
        body: &BatchBody,
    ) -> Result<Batch, Error> {
        let (callback, _) = callback::check(
            body.callback_url.clone(),
            body.callback_headers.clone(),
            None,
            &self.callback_allow,
        )?;
        if let Some(callback) = &callback {
            caller.arrival.refuse_own(&callback.url)?;
            for agent in &batch.agents {
                caller.require(Action::View, agent)?;
            }
        }
        let limit = caller.rate_limit;
        if limit > 0 && batch.size > limit {
            let reason =
                format!("must have at most {limit} items, the starts a minute of this key");
            return Err(Error::invalid("items", reason));
        }
        let now = Timestamp::now();
        let counted = self.limits.count_starts(&caller.credential, batch.size, limit, now).await?;
        let holder = Some(Holder::for_run(caller));
        let callback = callback.map(|callback| callback::Callback { holder, ..callback });
        let created = self.executions.create_batch(batch, callback.as_ref()).await;
        if !matches!(created, Ok(Step::Applied)) {
            uncount(&self.limits, counted).await;
        }
        if created? == Step::Applied {
            return Ok(batch.clone());
        }
        let found = self.executions.find_batch(&batch.batch_id, Consistency::Strong).await?;
        found.ok_or(Error::Busy("store a batch"))
    }

    /// Starts all of them; those that may not be started are refused. Where the request can be repeated, it
    /// fails with what may pass, and goes on then.
    async fn start_items(
        &self,
        caller: &Caller,
        batch: &Batch,
        starts: Vec<StartBody>,
        may_be_repeated: bool,
    ) -> Result<Vec<BatchItem>, Error> {
        let started = stream::iter(starts.into_iter().enumerate())
            .map(async |(index, start): (usize, StartBody)| {
                let key = IdempotencyKey::of_batch(&batch.batch_id, index);
                let started = self.start_of_batch(caller, start, &batch.batch_id, &key);
                let error = match Box::pin(started).await {
                    Ok(accepted) => {
                        return Ok(BatchItem::ExecutionId(accepted.receipt.execution_id));
                    }
                    Err(error) => error,
                };
                if !may_be_repeated || !error.may_pass() {
                    let refusal = Problem::of(&error).into();
                    return self.executions.refuse_item(batch, index, &refusal).await;
                }
                // Another request may have decided it.
                let decided = self.executions.find_idempotency(&batch.item_of(index)).await?;
                decided.map(BatchItem::from).ok_or(error)
            })
            .buffered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        started.into_iter().collect()
    }
}
