//! Accepting a start: checks, then one durable transaction, then a hint to launch it.

use std::{collections::BTreeSet, time::Duration};

use tracing::{info, warn};

use crate::{
    aws::{
        queue::{LaunchMessage, Queue},
        telemetry::{self, RunMetric},
    },
    domain::{
        agent::Agent,
        batch_id::BatchId,
        callback::Callback,
        caller::{Action, Caller},
        concurrency::is_limited,
        error::Error,
        execution::Execution,
        expiry,
        id::ExecutionId,
        idempotency_key::IdempotencyKey,
        network::CallbackAllow,
        request::{RerunBody, StartBody, StartRequest},
        rights::{Holder, permitted},
        schema::{Schema, violation::Violation},
        status::{Rank, Status},
        time::Timestamp,
    },
    http::answer::monitor::Receipt,
    store::{
        agents::Agents,
        batch::Consistency,
        executions::{Accept, Executions, NewExecution},
        limits::{Counted, Limits},
    },
};

/// How many replays a minute even a key is allowed that may start little or nothing: what was
/// accepted once must be found again.
pub(super) const MIN_REPLAYS: u32 = 60;

/// Takes a count back of what was not accepted.
pub(super) async fn uncount(limits: &Limits, counted: Counted) {
    if let Err(error) = limits.uncount_starts(counted).await {
        warn!(%error, "a start that was not accepted stays counted");
    }
}

#[derive(Debug)]
pub struct Start {
    pub executions: Executions,
    pub agents: Agents,
    pub limits: Limits,
    pub launch_queue: Queue,
    pub callback_allow: CallbackAllow,
    /// After which silence `sweep` sends the hint for a launch again.
    pub launch_overdue: Duration,
    /// A run that is still unclaimed after this is not started any more.
    pub queue_timeout: Duration,
    /// How long a run is kept after its end.
    pub retention: Duration,
}

/// A start that is stored, and will be launched.
#[derive(Debug, PartialEq)]
pub struct Accepted {
    pub receipt: Receipt,
    pub created_at: Timestamp,
    /// The `Idempotency-Key` was used before, for this same request.
    pub replayed: bool,
}

impl Start {
    /// Opens the connections that a start needs: see [`crate::aws::connection::warm_up`].
    pub async fn warm_up(&self) {
        tokio::join!(self.executions.warm_up(), self.launch_queue.warm_up());
    }

    /// Accepts a start, or answers a replay of an earlier one with what that was answered.
    pub async fn start(
        &self,
        caller: &Caller,
        body: StartBody,
        key: Option<&IdempotencyKey>,
    ) -> Result<Accepted, Error> {
        caller.arrival.refuse_loop()?;
        self.start_new(caller, body.check(&self.callback_allow)?, key).await
    }

    /// The same of one of a batch, whose starts are counted together.
    pub(super) async fn start_of_batch(
        &self,
        caller: &Caller,
        body: StartBody,
        batch: &BatchId,
        key: &IdempotencyKey,
    ) -> Result<Accepted, Error> {
        let request = body.check(&self.callback_allow)?;
        let request = StartRequest { batch_id: Some(batch.clone()), ..request };
        self.start_new(caller, request, Some(key)).await
    }

    async fn start_new(
        &self,
        caller: &Caller,
        request: StartRequest,
        key: Option<&IdempotencyKey>,
    ) -> Result<Accepted, Error> {
        if let Some(callback) = &request.callback {
            caller.arrival.refuse_own(&callback.url)?;
        }
        // Permission first, so that nobody can probe for agents, or for what others have started.
        caller.require(Action::Execute, &request.agent_name)?;
        self.start_checked(caller, &request, key).await
    }

    /// Starts a run again: a new one of the same user with the same input, on the agent as it is now.
    pub async fn rerun(
        &self,
        caller: &Caller,
        id: &ExecutionId,
        body: RerunBody,
        key: Option<&IdempotencyKey>,
    ) -> Result<Accepted, Error> {
        caller.arrival.refuse_loop()?;
        let found = self.executions.find(id, Consistency::Strong).await?;
        let first = permitted(caller, Action::Execute, found)?;
        let input = self.executions.find_input(id).await?.ok_or(Error::NotFound("execution"))?;
        let request = body.check(&first, input.input, &self.callback_allow)?;
        if let Some(callback) = &request.callback {
            caller.arrival.refuse_own(&callback.url)?;
        }
        self.start_checked(caller, &request, key).await
    }

    /// Accepts a start that its caller may ask for, or answers a replay.
    async fn start_checked(
        &self,
        caller: &Caller,
        request: &StartRequest,
        key: Option<&IdempotencyKey>,
    ) -> Result<Accepted, Error> {
        let item = key.map(|key| key.item(&caller.user_id));
        // What was accepted before stays accepted, whatever speaks against a new start: a replay
        // does not fail because of a limit of starts or an agent that has changed since.
        if let Some(item) = &item
            && let Some(replayed) = self.replay(caller, item, request).await?
        {
            return Ok(replayed);
        }
        // A callback is a way of reading the results.
        if request.callback.is_some() {
            caller.require(Action::View, &request.agent_name)?;
        }
        let refusal = match self.accept(caller, request, item.as_deref()).await {
            Ok(Some(accepted)) => return Ok(accepted),
            // The key is taken.
            Ok(None) => Error::Busy("store an execution"),
            Err(refusal) => refusal,
        };
        // Another request with this key may have been first since.
        if let Some(item) = item
            && let Ok(Some(replayed)) = self.replay(caller, &item, request).await
        {
            return Ok(replayed);
        }
        Err(refusal)
    }

    /// Stores a new start; `None` when its idempotency key is taken.
    async fn accept(
        &self,
        caller: &Caller,
        request: &StartRequest,
        idempotency_item: Option<&str>,
    ) -> Result<Option<Accepted>, Error> {
        let agent = self.agents.find(&request.agent_name).await?.ok_or(Error::NotFound("agent"))?;
        agent.require_active()?;
        check_parameters(&agent, request)?;
        let now = Timestamp::now();
        let input = request.input(&caller.user_id, now)?;

        let execution = self.new_execution(caller, request, &agent, idempotency_item, now);
        // Those of a batch are counted together.
        let counted = if request.batch_id.is_some() {
            None
        } else {
            let (key, limit) = (&caller.credential, caller.rate_limit);
            Some(self.limits.count_starts(key, 1, limit, now).await?)
        };
        let callback = request.callback.clone();
        let callback =
            callback.map(|callback| Callback { holder: Some(Holder::for_run(caller)), ..callback });
        let new = NewExecution {
            execution: &execution,
            input: &input,
            callback: callback.as_ref(),
            request_hash: &request.hash,
        };
        let stored = self.executions.accept(new).await;
        if let Some(counted) = counted.filter(|_| !matches!(stored, Ok(Accept::Stored))) {
            uncount(&self.limits, counted).await;
        }
        if stored? == Accept::KeyTaken {
            return Ok(None);
        }
        telemetry::record(&execution.execution_id, &execution.agent_name, RunMetric::Started);
        let wait = execution.facts().message_delay(now);
        let Execution { execution_id, agent_name, estimated_ms, user_id, .. } = execution;
        if let Some(wait) = wait {
            let message = LaunchMessage::of(execution_id.clone());
            self.launch_queue.enqueue_hint(&message, &user_id, wait).await;
        }
        info!(execution.id = %execution_id, key.id = caller.key_id(), "accepted execution {execution_id}");
        let receipt = Receipt::new(execution_id, agent_name, estimated_ms);
        Ok(Some(Accepted { receipt, created_at: now, replayed: false }))
    }

    fn new_execution(
        &self,
        caller: &Caller,
        request: &StartRequest,
        agent: &Agent,
        idempotency_item: Option<&str>,
        now: Timestamp,
    ) -> Execution {
        let execution_id = ExecutionId::generate(&agent.agent_name);
        let from = request.start_at.unwrap_or(now);
        let user_max_concurrent = request.work.user_max_concurrent(caller);
        let is_limited = is_limited(agent, user_max_concurrent);
        let mut execution = Execution {
            execution_id,
            user_id: request.work.user(caller).clone(),
            agent_name: agent.agent_name.clone(),
            state_machine_arn: agent.state_machine_arn.clone(),
            status: Status::Queued,
            redrive_count: 0,
            rank: Rank::Queued as u8,
            created_at: now,
            updated_at: now,
            started_at: None,
            completed_at: None,
            estimated_ms: agent.average_ms(),
            progress: None,
            message: None,
            open_questions: BTreeSet::new(),
            answer_links: agent.answer_links,
            sequence: 0,
            error_code: None,
            tags: request.tags.clone(),
            callback_events: request.callback_events.clone(),
            idempotency_item: idempotency_item.map(str::to_owned),
            claimed_at: None,
            start_at: request.start_at,
            launch_before: from.plus(request.queue_timeout.unwrap_or(self.queue_timeout)),
            // What limits there are when its time has come, nobody knows.
            wait_order: (is_limited || request.start_at.is_some())
                .then(|| from.minus(request.priority)),
            user_max_concurrent,
            line: None,
            waits_for: None,
            slots: Vec::new(),
            launch_delays: 0,
            cancel_requested_at: None,
            cancelled_by: None,
            redrive_requested_at: None,
            redriven_by: None,
            redrive_refusal: None,
            started_by: Some(caller.actor()),
            batch_id: request.batch_id.clone(),
            rerun_of: request.work.rerun_of().cloned(),
            hops: request.work.hops(caller),
            deadline: request.timeout.map(|timeout| from.plus(timeout)),
            timeout_seconds: request.timeout.and_then(|it| u32::try_from(it.as_secs()).ok()),
            stop_reason: None,
            due_at: None,
            debt: None,
            troubled_at: None,
            kept_until: Some(expiry::kept_until(from, self.retention)),
            ttl: None,
        };
        let due_at = execution.facts().launch_due(now, self.launch_overdue);
        execution.due_at = Some(due_at);
        execution.debt = Some(execution.debt_until(due_at));
        execution
    }

    /// The first answer again, if the key was used for this same request; 422 for another one;
    /// `None` when the key is new.
    async fn replay(
        &self,
        caller: &Caller,
        item: &str,
        request: &StartRequest,
    ) -> Result<Option<Accepted>, Error> {
        let Some(first) = self.executions.find_idempotency(item).await? else { return Ok(None) };
        if request.batch_id.is_none() {
            let limit = caller.rate_limit.max(MIN_REPLAYS);
            self.limits.count_replay(&caller.credential, limit, Timestamp::now()).await?;
        }
        if first.request_hash != request.hash {
            return Err(Error::invalid(
                IdempotencyKey::FIELD,
                "was used for another request already",
            ));
        }
        if first.refusal.is_some() {
            return Err(Error::Conflict("it was refused already".into()));
        }
        Ok(Some(Accepted {
            receipt: Receipt::new(first.accepted_id, first.agent_name, first.estimated_ms),
            created_at: first.created_at,
            replayed: true,
        }))
    }
}

/// Holds the parameters against the agent's JSON Schema, where it has one.
fn check_parameters(agent: &Agent, request: &StartRequest) -> Result<(), Error> {
    let Some(schema) = &agent.parameters_schema else {
        return Ok(());
    };
    let schema = Schema::parse(schema).map_err(|error| {
        warn!(agent.name = %agent.agent_name, %error, "an agent's parameters_schema cannot be used");
        let detail = format!("agent {} has an invalid parameters_schema", agent.agent_name);
        Error::Conflict(detail.into())
    })?;
    schema.check(request.work.parameters()).map_err(|Violation { path, reason }| {
        Error::invalid(format!("parameters{path}"), format!("does not fit the agent: {reason}"))
    })
}
