//! Reading runs and agents, from DynamoDB alone.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{
    aws::telemetry::{self, RunMetric},
    domain::{
        agent::AgentStatus,
        batch_id::BatchId,
        caller::{Action, Caller},
        delivery::{self, Delivery},
        error::Error,
        execution::Execution,
        id::{ExecutionId, SubscriptionId, UserId},
        input,
        json::surrogate::mend,
        outcome::normalised,
        question::QuestionView,
        rights::{self, permitted},
        status::Status,
        subscription::SubscriptionView,
        time::Timestamp,
    },
    http::{
        answer::{
            batch::{BatchResults, BatchView},
            lists::{AgentView, DeliveryList, DeliveryView, ExecutionList},
            monitor::{Monitor, Receipt},
            results::{AnsweredBy, Metadata, Results},
        },
        body::ListRequest,
    },
    service::{
        batch_read,
        paging::{MAX_PAGES, WRONG_CURSOR, behind, decode_cursor, encode_cursor, shown_to},
        trouble,
    },
    store::{
        agents::Agents,
        batch::Consistency,
        deliveries::Deliveries,
        due::Due,
        executions::{Executions, Finished},
        limits::Limits,
        listing::{After, Filter},
        subscriptions::Subscriptions,
    },
};

#[derive(Debug)]
pub struct Reader {
    pub executions: Executions,
    pub deliveries: Deliveries,
    pub subscriptions: Subscriptions,
    pub agents: Agents,
    pub limits: Limits,
    pub due: Due,
    /// How many callers may be held at once, over all functions.
    pub max_waiters: u32,
}

/// From where a list of deliveries goes on.
#[derive(Debug, Serialize, Deserialize)]
struct AfterPart {
    part: String,
}

/// What is known of a start once its caller was held.
#[derive(Debug)]
pub enum Started {
    Ended(Box<Results>),
    /// It goes on, and may wait to be answered.
    Goes(Receipt),
}

/// How often a held caller's run is polled.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Reader {
    /// Where a run stands; with `wait`, once it has ended, its agent asks something, or that time has
    /// passed.
    pub async fn monitor(
        &self,
        caller: &Caller,
        id: &ExecutionId,
        wait: Option<Duration>,
    ) -> Result<Monitor, Error> {
        // Nearly always fresh enough, at half the price; but a poll right after the start must
        // not miss.
        let mut found = self.executions.find(id, Consistency::Eventual).await?;
        if found.is_none() {
            found = self.executions.find(id, Consistency::Strong).await?;
        }
        let execution = permitted(caller, Action::View, found)?;
        let questions = self.asked(&execution).await?;
        let (execution, questions) = match wait {
            Some(wait) if !execution.status.is_end() && questions.is_empty() => {
                self.wait_for_event(caller, id, wait).await?.unwrap_or((execution, questions))
            }
            _ => (execution, questions),
        };
        let queue_position = self.queue_position(&execution).await?;
        let monitor = Monitor::with_questions(execution, questions, Timestamp::now());
        Ok(Monitor { queue_position, ..monitor })
    }

    /// About how many come before a run that waits for a slot.
    async fn queue_position(&self, run: &Execution) -> Result<Option<u32>, Error> {
        let Some((line, place)) = run.line.as_ref().zip(run.wait_order) else { return Ok(None) };
        self.executions.count_before(line, place).await.map(Some)
    }

    /// What the agent of a run waits to be answered, oldest first.
    pub async fn asked(&self, execution: &Execution) -> Result<Vec<QuestionView>, Error> {
        if execution.shown_status() != Status::InputRequired {
            return Ok(Vec::new());
        }
        let open = &execution.open_questions;
        let mut questions = self.executions.find_questions(&execution.execution_id, open).await?;
        questions.retain(|it| it.answer_hash.is_none() && it.is_open_in(execution));
        questions.sort_by_key(|question| question.asked_at);
        Ok(questions.iter().map(QuestionView::from).collect())
    }

    /// The results of a run, or that it has not ended.
    pub async fn results(
        &self,
        caller: &Caller,
        id: &ExecutionId,
        with_metadata: bool,
    ) -> Result<Results, Error> {
        let Finished { execution, outcome, input } =
            self.finished(caller, id, with_metadata).await?;
        let mut results = Results::of(&execution, outcome.as_ref());
        if execution.status.is_end() {
            let agent = &execution.agent_name;
            telemetry::record(&execution.execution_id, agent, RunMetric::ResultsRetrieved);
        }
        if with_metadata {
            let answered = self.executions.answered(&execution.execution_id).await?.into_iter();
            let raw = outcome.and_then(|outcome| outcome.output);
            let given = input.as_deref().map(mend);
            results.metadata = Some(Metadata {
                execution_arn: execution.execution_arn(),
                user_id: execution.user_id,
                input_message: given.as_deref().and_then(input::message),
                parameters: given.as_deref().and_then(input::parameters),
                tags: execution.tags,
                raw_output: raw.as_deref().map(normalised::raw),
                started_by: execution.started_by,
                cancelled_by: execution.cancelled_by,
                answered_by: answered.filter_map(AnsweredBy::of).collect(),
            });
        }
        Ok(results)
    }

    /// A run as it stands, and its outcome where it has one, read consistently.
    pub async fn finished(
        &self,
        caller: &Caller,
        id: &ExecutionId,
        with_input: bool,
    ) -> Result<Finished, Error> {
        let found = self.executions.find_finished(id, with_input).await?;
        let Finished { execution, outcome, input } = found.ok_or(Error::NotFound("execution"))?;
        let execution = permitted(caller, Action::View, Some(execution))?;
        Ok(Finished { execution, outcome, input })
    }

    /// Holds the caller of a start until something happens to it, at most `wait`. The start is accepted
    /// already, so whatever fails here leaves the receipt as it is.
    pub async fn started(&self, caller: &Caller, receipt: Receipt, wait: Duration) -> Started {
        let id = &receipt.execution_id;
        // When it ends is known only to those who may view it.
        if !rights::may_view(&caller.permissions, &receipt.agent_name) {
            return Started::Goes(receipt);
        }
        let Ok(Some((execution, questions))) = self.wait_for_event(caller, id, wait).await else {
            return Started::Goes(receipt);
        };
        if execution.status.is_end() {
            return match self.results(caller, id, false).await {
                Ok(results) => Started::Ended(Box::new(results)),
                Err(_) => Started::Goes(receipt),
            };
        }
        Started::Goes(receipt.with_questions(questions))
    }

    /// Holds the caller until the run ends or its agent asks something, at most `wait`. `None` when
    /// neither came in time, or at once when as many callers are held as may be, of this user or in all.
    async fn wait_for_event(
        &self,
        caller: &Caller,
        id: &ExecutionId,
        wait: Duration,
    ) -> Result<Option<(Execution, Vec<QuestionView>)>, Error> {
        let until = Instant::now() + wait;
        let taken = self.limits.take_slot(&caller.user_id, self.max_waiters, wait).await?;
        let Some(slot) = taken else {
            return Ok(None);
        };
        let found = self.watch(id, until).await;
        if let Err(error) = self.limits.free_slot(slot).await {
            warn!(%error, "a waiter's slot stays taken until it expires");
        }
        found
    }

    async fn watch(
        &self,
        id: &ExecutionId,
        until: Instant,
    ) -> Result<Option<(Execution, Vec<QuestionView>)>, Error> {
        let mut pause = FIRST_PAUSE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            tokio::time::sleep(pause.min(left)).await;
            if let Some(execution) = self.executions.find(id, Consistency::Eventual).await? {
                // What is answered is no question any more, although the run holds it until the agent has it.
                let questions = self.asked(&execution).await?;
                if execution.status.is_end() || !questions.is_empty() {
                    return Ok(Some((execution, questions)));
                }
            }
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }

    /// A page of the deliveries of a run or a batch, with their attempts.
    pub async fn deliveries(
        &self,
        caller: &Caller,
        id: &ExecutionId,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<DeliveryList, Error> {
        let after: Option<AfterPart> = cursor.map(decode_cursor).transpose()?;
        if after.as_ref().is_some_and(|it| !delivery::may_be_part(&it.part)) {
            return Err(Error::invalid("cursor", WRONG_CURSOR));
        }
        let owner = batch_read::owner_of(&self.executions, caller, id).await?;
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let after = after.as_ref().map(|after| after.part.as_str());
        let (mut deliveries, next) = self.deliveries.list(id, limit, after).await?;
        self.hide_answers(caller, &owner, &mut deliveries).await?;
        let next = next.map(|part| encode_cursor(&AfterPart { part })).transpose()?;
        Ok(DeliveryList {
            deliveries: deliveries.into_iter().map(DeliveryView::from).collect(),
            next_cursor: next,
        })
    }

    /// Takes out what the receivers of other keys' subscriptions have answered.
    async fn hide_answers(
        &self,
        caller: &Caller,
        owner: &UserId,
        deliveries: &mut [Delivery],
    ) -> Result<(), Error> {
        let mut of_subscriptions: Vec<_> = deliveries
            .iter_mut()
            .filter_map(|delivery| Some((delivery.subscription()?, &mut delivery.attempts)))
            .collect();
        if of_subscriptions.is_empty() || caller.permissions.allow_all(Action::Manage) {
            return Ok(());
        }
        let listed = self.subscriptions.list(owner).await?;
        for (id, attempts) in &mut of_subscriptions {
            let found = listed.iter().find(|listed| listed.id == *id);
            if !found.is_some_and(|listed| listed.may_be_seen(caller)) {
                attempts.iter_mut().for_each(|attempt| attempt.detail.clear());
            }
        }
        Ok(())
    }

    /// A page of the caller's runs, newest first.
    pub async fn list(
        &self,
        caller: &Caller,
        request: ListRequest,
    ) -> Result<ExecutionList, Error> {
        if let Some(batch) = &request.batch_id {
            return batch_read::list(&self.executions, caller, batch, &request).await;
        }
        if request.trouble {
            return trouble::list(&self.executions, caller, request).await;
        }
        let owner = request.owner.clone().unwrap_or_else(|| caller.user_id.clone());
        if !caller.may_know(&owner) {
            return Err(Error::Forbidden("*:*".to_owned()));
        }
        let start: Option<After> = request.cursor.as_deref().map(decode_cursor).transpose()?;
        let filter = Filter {
            user_id: owner,
            agent_name: request.agent_name.clone(),
            created: request.created(),
        };
        let limit = request.limit.clamp(1, ListRequest::MAX_LIMIT);
        let filtered = filter.agent_name.is_some()
            || request.status.is_some()
            || request.tag.is_some()
            || request.open
            || !caller.permissions.allow_all(Action::View);
        let page_size = if filtered { ListRequest::MAX_LIMIT } else { limit };

        let mut executions: Vec<Execution> = Vec::new();
        let mut after = start.clone();
        for pages in 1.. {
            let page_size = i32::try_from(page_size).unwrap_or(i32::MAX);
            let (page, next) = self.executions.list(&filter, page_size, after.as_ref()).await?;
            let permissions = &caller.permissions;
            let seen = page.into_iter().filter(|it| {
                rights::may_view(permissions, &it.agent_name) && request.wants_tags(&it.tags)
            });
            let found = self.executions.find_listed(seen.collect()).await?.into_iter();
            executions.extend(found.filter(|it| request.wants(it)));
            after = next.map(After::Run);
            let Some(reached) = &after else { break };
            // A cursor that may not name its run names its time, which must be another one than
            // the list has begun at, or it would never end.
            let moved = start.as_ref().is_none_or(|it| it.created_at() != reached.created_at());
            if executions.len() >= limit || (pages >= MAX_PAGES && moved) {
                break;
            }
        }
        let is_cut = executions.len() > limit;
        executions.truncate(limit);
        if is_cut {
            after = executions.last().map(behind);
        } else {
            after = after.map(|reached| shown_to(&reached, executions.last()));
        }
        let now = Timestamp::now();
        Ok(ExecutionList {
            executions: executions
                .into_iter()
                .map(|execution| Monitor::of(execution, now))
                .collect(),
            next_cursor: after.map(|key| encode_cursor(&key)).transpose()?,
            ..ExecutionList::default()
        })
    }

    /// A batch, and where its runs stand.
    pub async fn batch(&self, caller: &Caller, id: &BatchId) -> Result<BatchView, Error> {
        batch_read::view(&self.executions, caller, id).await
    }

    /// A page of its results, in the order of its items.
    pub async fn batch_results(
        &self,
        caller: &Caller,
        id: &BatchId,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<BatchResults, Error> {
        batch_read::results(&self.executions, caller, id, limit, cursor).await
    }

    /// The caller's subscriptions, oldest first; with `manage`, those of all keys of its user.
    pub async fn subscriptions(&self, caller: &Caller) -> Result<Vec<SubscriptionView>, Error> {
        let listed = self.subscriptions.list(&caller.user_id).await?.into_iter();
        let seen = listed.filter(|listed| listed.may_be_seen(caller));
        Ok(seen.map(SubscriptionView::from).collect())
    }

    /// One of them.
    pub async fn subscription(
        &self,
        caller: &Caller,
        id: &SubscriptionId,
    ) -> Result<SubscriptionView, Error> {
        let mut found = self.subscriptions(caller).await?.into_iter();
        found.find(|it| it.id == *id).ok_or(Error::NotFound("subscription"))
    }

    /// The active agents that the caller may view.
    pub async fn agents(&self, caller: &Caller) -> Result<Vec<AgentView>, Error> {
        let agents = self.agents.list(AgentStatus::Active).await?;
        let mut agents: Vec<_> = agents
            .into_iter()
            .filter(|agent| rights::may_view(&caller.permissions, &agent.agent_name))
            .map(AgentView::from)
            .collect();
        AgentView::bound(&mut agents);
        Ok(agents)
    }
}
