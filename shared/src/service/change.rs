//! What a caller may change about a run: cancel it, answer what its agent asks, and have a
//! delivery made again.

use std::time::Duration;

use futures_util::{StreamExt, stream};

use crate::{
    aws::queue::{DeliveryMessage, LaunchMessage, Queue},
    domain::{
        answer_link::Answerer,
        batch_id::BatchId,
        caller::{Action, Caller},
        delivery::{Delivery, DeliveryState},
        error::Error,
        execution::Execution,
        id::{ExecutionId, QuestionId},
        question::{Answer, Question, QuestionState},
        rights::{may_view, permitted},
        time::Timestamp,
    },
    http::{
        answer::{batch::BatchCancelling, lists::DeliveryView},
        body::{AnswerBody, Answered, Cancelling, Redriving},
    },
    service::{
        batch_read,
        start::{MIN_REPLAYS, uncount},
    },
    store::{
        agents::Agents, batch::Consistency, deliveries::Deliveries, executions::Executions,
        limits::Limits, subscriptions::Subscriptions, write::Step,
    },
};

const NOT_REDRIVABLE: &str = "the execution cannot be redriven";

/// How many runs of a batch are cancelled at the same time.
const AT_ONCE: usize = 10;

#[derive(Debug)]
pub struct Change {
    pub executions: Executions,
    pub deliveries: Deliveries,
    pub subscriptions: Subscriptions,
    pub agents: Agents,
    pub limits: Limits,
    pub launch_queue: Queue,
    pub webhook_queue: Queue,
    /// After which silence `sweep` sends the hint for a launch, and so for a cancellation, again.
    pub launch_overdue: Duration,
    /// After which silence `sweep` sends the hint for a delivery again.
    pub delivery_overdue: Duration,
}

impl Change {
    /// Asks for the end of a run. Asking again is harmless.
    pub async fn cancel(&self, caller: &Caller, id: &ExecutionId) -> Result<Cancelling, Error> {
        let found = self.executions.find(id, Consistency::Strong).await?;
        let execution = permitted(caller, Action::Cancel, found)?;
        if execution.facts().is_to_be_redriven() {
            if self.executions.withdraw_redrive(&execution).await? == Step::Stale {
                // Who may not view it learns no more than of any that has ended.
                let may_view = may_view(&caller.permissions, &execution.agent_name);
                let redriven = "the execution is being redriven: cancel it once it runs";
                let told = if may_view { redriven } else { "the execution has ended" };
                return Err(Error::Conflict(told.into()));
            }
            return Ok(Cancelling { execution_id: id.clone(), status: "cancelling" });
        }
        if execution.status.is_end() {
            return Err(ended(caller, &execution));
        }
        let due_at = Timestamp::now().plus(self.launch_overdue);
        if self.executions.request_cancel(id, &caller.actor(), due_at).await? == Step::Stale {
            // It has ended since it was read.
            let found = self.executions.find(id, Consistency::Strong).await?;
            return Err(found
                .as_ref()
                .map_or(Error::NotFound("execution"), |run| ended(caller, run)));
        }
        let message = LaunchMessage::of(id.clone());
        self.launch_queue.enqueue_hint(&message, &execution.user_id, Duration::ZERO).await;
        Ok(Cancelling { execution_id: id.clone(), status: "cancelling" })
    }

    /// Asks for a run to go on from where it failed. Asking again is harmless.
    pub async fn redrive(&self, caller: &Caller, id: &ExecutionId) -> Result<Redriving, Error> {
        caller.arrival.refuse_loop()?;
        let found = self.executions.find(id, Consistency::Strong).await?;
        let execution = permitted(caller, Action::Execute, found)?;
        let refused = |reason: &str| {
            let may_view = may_view(&caller.permissions, &execution.agent_name);
            let told = if may_view { reason.to_owned() } else { NOT_REDRIVABLE.to_owned() };
            Error::Conflict(told.into())
        };
        if let Some(reason) = execution.not_redrivable(Timestamp::now()) {
            return Err(refused(reason));
        }
        // One that is gone was perhaps renamed: the run knows its machine.
        if let Some(agent) = self.agents.find(&execution.agent_name).await? {
            agent.require_active()?;
        }
        let now = Timestamp::now();
        let key = &caller.credential;
        let counted = if execution.redrive_requested_at.is_none() {
            Some(self.limits.count_starts(key, 1, caller.rate_limit, now).await?)
        } else {
            let limit = caller.rate_limit.max(MIN_REPLAYS);
            self.limits.count_replay(key, limit, now).await?;
            None
        };
        let due_at = now.plus(self.launch_overdue);
        let (actor, hops) = (caller.actor(), &caller.arrival.hops);
        let requested = self.executions.request_redrive(&execution, &actor, hops, due_at).await;
        if let Some(counted) = counted.filter(|_| !matches!(requested, Ok(Step::Applied))) {
            uncount(&self.limits, counted).await;
        }
        if requested? == Step::Stale {
            let found = self.executions.find(id, Consistency::Strong).await?;
            // Somebody else has asked for the same since.
            if !found.is_some_and(|run| run.facts().is_to_be_redriven()) {
                return Err(refused("the execution was redriven, or that withdrawn, meanwhile"));
            }
        }
        let message = LaunchMessage::of(id.clone());
        self.launch_queue.enqueue_hint(&message, &execution.user_id, Duration::ZERO).await;
        Ok(Redriving { execution_id: id.clone(), status: "redriving" })
    }

    /// Asks for the end of all runs of a batch that have not ended. Of one whose request has not been
    /// answered, those that were accepted until now.
    pub async fn cancel_batch(
        &self,
        caller: &Caller,
        id: &BatchId,
    ) -> Result<BatchCancelling, Error> {
        let batch = batch_read::permitted(&self.executions, caller, Action::Cancel, id).await?;
        let runs: Vec<_> = if batch.items.is_some() {
            batch.runs().cloned().collect()
        } else {
            let decided = self.executions.decided_of(&batch).await?.into_iter().flatten();
            decided.filter_map(|item| item.execution_id().cloned()).collect()
        };
        let cancelled = stream::iter(runs)
            .map(async |run: ExecutionId| match self.cancel(caller, &run).await {
                Ok(_) => Ok(1),
                // It has ended, and perhaps is gone.
                Err(Error::Conflict(_) | Error::NotFound(_)) => Ok(0),
                Err(error) => Err(error),
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<Result<u32, Error>>>()
            .await;
        let runs = cancelled.into_iter().sum::<Result<u32, Error>>()?;
        Ok(BatchCancelling { batch_id: id.clone(), status: "cancelling", runs })
    }

    /// Takes the answer to a question, once: the same answer again is harmless. Without
    /// `question_id` it is to the only one that is open.
    pub async fn answer(
        &self,
        caller: &Caller,
        id: &ExecutionId,
        body: AnswerBody,
    ) -> Result<Answered, Error> {
        let found = self.executions.find(id, Consistency::Strong).await?;
        let execution = permitted(caller, Action::Execute, found)?;
        let answer = Answer::new(body.answer)?;
        let asked = body.question_id.map(|text| text.parse());
        let asked = asked.transpose().map_err(|_| Error::NotFound("question"))?;
        let by = Answerer::from(caller.actor());
        let answered = self.answer_question(&execution, asked.as_ref(), &answer, &by).await;
        answered.map_err(|error| refusal_told(caller, &execution, error))
    }

    /// The same, by whoever may answer this run.
    pub(super) async fn answer_question(
        &self,
        execution: &Execution,
        asked: Option<&QuestionId>,
        answer: &Answer,
        by: &Answerer,
    ) -> Result<Answered, Error> {
        let id = &execution.execution_id;
        let questions = self.asked(execution, asked).await?;
        let question = addressed(execution, &questions, asked, answer)?;
        if !is_given(execution, question, answer)? {
            question.check(answer)?;
            let due_at = Timestamp::now().plus(self.launch_overdue);
            let question_id = &question.question_id;
            if self.executions.answer(id, question_id, answer, by, due_at).await? == Step::Stale {
                // Somebody else was first, or its time is up.
                self.check_stored(execution, question_id, answer).await?;
            }
        }
        let question_id = question.question_id.clone();
        let message = LaunchMessage::answering(id.clone(), question_id.clone());
        self.launch_queue.enqueue_hint(&message, &execution.user_id, Duration::ZERO).await;
        Ok(Answered { execution_id: id.clone(), question_id, status: "answered" })
    }

    /// The questions that an answer may be to: the one that it names, or those that are open. Only
    /// where none is, it may be a repetition, and is held against all that the run has ever asked.
    async fn asked(
        &self,
        execution: &Execution,
        named: Option<&QuestionId>,
    ) -> Result<Vec<Question>, Error> {
        let id = &execution.execution_id;
        if let Some(named) = named {
            return self.executions.find_questions(id, [named]).await;
        }
        let open = self.executions.find_questions(id, &execution.open_questions).await?;
        if open.iter().any(|question| question.answer_hash.is_none()) {
            return Ok(open);
        }
        self.executions.questions(id).await
    }

    /// Fails unless an answer that could not be stored is stored all the same.
    async fn check_stored(
        &self,
        execution: &Execution,
        question_id: &QuestionId,
        answer: &Answer,
    ) -> Result<(), Error> {
        let questions = self.asked(execution, Some(question_id)).await?;
        let question = questions.first().ok_or(Error::NotFound("question"))?;
        if is_given(execution, question, answer)? {
            return Ok(());
        }
        Err(Error::Busy("store an answer"))
    }

    /// Owes a delivery of a run or a batch again that is over.
    pub async fn redeliver(
        &self,
        caller: &Caller,
        id: &ExecutionId,
        webhook_id: &str,
    ) -> Result<DeliveryView, Error> {
        caller.arrival.refuse_loop()?;
        let owner = batch_read::owner_of(&self.executions, caller, id).await?;
        let found = self.deliveries.find_by_id(id, webhook_id).await?;
        let delivery = found.ok_or(Error::NotFound("delivery"))?;
        if let Some(subscription) = delivery.subscription() {
            let found = self.subscriptions.find_signed(&owner, &subscription).await?;
            if found.is_some_and(|subscription| !subscription.may_be_seen(caller)) {
                return Err(Error::Forbidden("manage:*".to_owned()));
            }
        }
        let still_owed = || Error::Conflict("the delivery is still pending".into());
        if delivery.state == DeliveryState::Pending {
            return Err(still_owed());
        }
        let now = Timestamp::now();
        self.limits.count_delivery(&caller.credential, caller.rate_limit, now).await?;
        let hops = delivery.hops.clone().and(&caller.arrival.hops);
        let due_at = now.plus(self.delivery_overdue);
        let Delivery { part, state, .. } = &delivery;
        let by = caller.actor();
        let owed = self.deliveries.owe_again(id, part, *state, &by, Some(&hops), due_at).await?;
        if owed == Step::Stale {
            return Err(still_owed());
        }
        let message = DeliveryMessage { execution_id: id.clone(), part: delivery.part.clone() };
        self.webhook_queue.enqueue_hint(&message, &owner, Duration::ZERO).await;
        let owed = self.deliveries.find(id, &delivery.part).await?;
        owed.map(DeliveryView::from).ok_or(Error::NotFound("delivery"))
    }
}

/// The question that an answer is to.
fn addressed<'a>(
    execution: &Execution,
    questions: &'a [Question],
    asked: Option<&QuestionId>,
    answer: &Answer,
) -> Result<&'a Question, Error> {
    if let Some(asked) = asked {
        let question = questions.iter().find(|it| it.question_id == *asked);
        return question.ok_or(Error::NotFound("question"));
    }
    let is_open = |it: &&Question| it.answer_hash.is_none() && it.is_open_in(execution);
    let mut open = questions.iter().filter(is_open);
    match (open.next(), open.next()) {
        (Some(question), None) => Ok(question),
        (Some(_), Some(_)) => {
            Err(Error::invalid("question_id", "is required: the agent asks more than one question"))
        }
        // The one that was answered last, if this is that answer again.
        (None, _) => questions
            .iter()
            .filter(|it| it.answer_hash.as_ref() == Some(&answer.hash))
            .max_by_key(|it| it.asked_at)
            .ok_or_else(|| Error::Conflict("the agent asks no question".into())),
    }
}

/// Whether the question has this answer already. Another one, or none although it is open no
/// more, is a conflict.
fn is_given(execution: &Execution, question: &Question, answer: &Answer) -> Result<bool, Error> {
    let conflict = |reason: &'static str| Err(Error::Conflict(reason.into()));
    match (question.state, &question.answer_hash) {
        (QuestionState::Lapsed, _) => conflict("the agent has stopped waiting for an answer"),
        (_, Some(hash)) if *hash == answer.hash => Ok(true),
        (_, Some(_)) => conflict("the question already has another answer"),
        (QuestionState::Answered, None) => conflict("the question is already answered"),
        (QuestionState::Open, None) if question.is_open_in(execution) => Ok(false),
        (QuestionState::Open | QuestionState::Closed, None) => {
            conflict("the agent no longer asks this question")
        }
    }
}

/// That a run has ended, and how to who may know.
fn ended(caller: &Caller, execution: &Execution) -> Error {
    if may_view(&caller.permissions, &execution.agent_name) {
        Error::Conflict(format!("the execution has ended: {}", execution.status).into())
    } else {
        Error::Conflict("the execution has ended".into())
    }
}

/// Why an answer is refused, to one who may perhaps not know what the agent asks, nor what became of it.
fn refusal_told(caller: &Caller, execution: &Execution, error: Error) -> Error {
    if may_view(&caller.permissions, &execution.agent_name) {
        return error;
    }
    match error {
        Error::Invalid { field, .. } => {
            let field = if field == "question_id" { "question_id" } else { "answer" };
            Error::invalid(field, "does not fit the agent's question")
        }
        Error::Conflict(_) => Error::Conflict("the agent does not accept this answer now".into()),
        error => error,
    }
}
