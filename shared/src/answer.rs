//! What callers read: the answers of REST, envelope and MCP, and the `data` of a webhook.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    agent::{Agent, AgentName},
    callback::NewsType,
    caller::{Actor, UserId},
    delivery::{Attempt, Delivery, DeliveryState},
    execution::{Execution, ExecutionId, Status},
    json::Json,
    outcome::{self, Outcome},
    question::{Question, QuestionId},
    subscription::SubscriptionView,
    time::{self, Timestamp},
};

/// How many seconds a caller should let pass between two looks.
pub const POLL_INTERVAL: u32 = 5;

/// The answer to an accepted start; the same again for a replay of its `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Receipt {
    pub execution_id: ExecutionId,
    /// `started`; or `input_required` where the caller was held, and the agent asks something.
    pub status: &'static str,
    pub agent_name: AgentName,
    /// In seconds; null while the agent's average is not known.
    pub estimated_time: Option<f64>,
    /// In seconds.
    pub poll_interval: u32,
    /// What the agent asks, oldest first, if it did while the caller was held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<QuestionView>,
}

impl Receipt {
    #[must_use]
    pub fn new(
        execution_id: ExecutionId,
        agent_name: AgentName,
        estimated_ms: Option<u64>,
    ) -> Self {
        Self {
            execution_id,
            status: "started",
            agent_name,
            estimated_time: estimated_ms.map(time::seconds),
            poll_interval: POLL_INTERVAL,
            questions: Vec::new(),
        }
    }

    /// The same of a run whose agent asks this by now.
    #[must_use]
    pub fn asking(self, questions: Vec<QuestionView>) -> Self {
        Self { status: Status::InputRequired.as_str(), questions, ..self }
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Monitor {
    pub execution_id: ExecutionId,
    pub agent_name: AgentName,
    pub status: Status,
    /// 0 to 100; null when it is not known.
    pub progress: Option<u8>,
    pub message: String,
    /// What the agent asks, oldest first, while it waits to be answered; left out of lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<QuestionView>,
    #[serde(serialize_with = "Timestamp::as_rfc3339")]
    pub created_at: Timestamp,
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub started_at: Option<Timestamp>,
    #[serde(serialize_with = "Timestamp::as_rfc3339")]
    pub updated_at: Timestamp,
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub completed_at: Option<Timestamp>,
    /// What went wrong, in lists of trouble alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trouble: Vec<TroubleKind>,
}

/// What went wrong with a run, or with the news of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TroubleKind {
    Failed,
    Timeout,
    /// A callback, or news to a subscription, was given up.
    Undelivered,
}

impl Monitor {
    #[must_use]
    pub fn of(execution: Execution, now: Timestamp) -> Self {
        Self {
            progress: progress(&execution, now),
            message: message(&execution),
            questions: Vec::new(),
            status: execution.shown_status(),
            execution_id: execution.execution_id,
            agent_name: execution.agent_name,
            created_at: execution.created_at,
            started_at: execution.started_at,
            updated_at: execution.updated_at,
            completed_at: execution.completed_at,
            trouble: Vec::new(),
        }
    }

    /// The same of a run whose agent asks just this. What is answered is asked no more, although
    /// the run holds it until the agent has the answer.
    #[must_use]
    pub fn asking(mut execution: Execution, questions: Vec<QuestionView>, now: Timestamp) -> Self {
        execution.open_questions = questions.iter().map(|it| it.id.clone()).collect();
        Self { questions, ..Self::of(execution, now) }
    }
}

/// What an agent asks, for whoever may answer.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct QuestionView {
    pub id: QuestionId,
    pub question: String,
    /// The JSON Schema that an answer must fit.
    pub schema: Json,
    #[serde(serialize_with = "Timestamp::as_rfc3339")]
    pub asked_at: Timestamp,
}

impl From<&Question> for QuestionView {
    fn from(question: &Question) -> Self {
        let schema = question.schema.as_deref().and_then(Json::parse);
        Self {
            id: question.question_id.clone(),
            question: question.question.clone(),
            schema: schema.unwrap_or_else(|| Json::of(&true)),
            asked_at: question.asked_at,
        }
    }
}

fn progress(execution: &Execution, now: Timestamp) -> Option<u8> {
    match execution.status {
        Status::Queued => Some(0),
        Status::Running | Status::InputRequired => {
            if let Some(reported) = execution.progress {
                return Some(shown_progress(reported));
            }
            let estimated = execution.estimated_ms.filter(|millis| *millis > 0)?;
            let elapsed = now.millis_since(execution.started_at?);
            let percent = elapsed.saturating_mul(100) / estimated;
            Some(shown_progress(u8::try_from(percent).unwrap_or(u8::MAX)))
        }
        Status::Completed => Some(100),
        Status::Failed | Status::Timeout | Status::Cancelled => None,
    }
}

/// Only the end says that the run is done.
fn shown_progress(percent: u8) -> u8 {
    percent.min(99)
}

fn message(execution: &Execution) -> String {
    match execution.shown_status() {
        Status::Queued => "Waiting to be started".to_owned(),
        Status::Running => {
            execution.message.clone().unwrap_or_else(|| "Agent is running".to_owned())
        }
        Status::InputRequired => "Agent waits for an answer".to_owned(),
        Status::Completed => "Agent has completed".to_owned(),
        Status::Failed | Status::Timeout | Status::Cancelled => match &execution.error_code {
            Some(code) => format!("Agent has ended without a result: {code}"),
            None => "Agent has ended without a result".to_owned(),
        },
    }
}

/// Why a run ended without a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunError {
    pub code: String,
    pub cause: Option<String>,
}

/// The results of a run, or that it has not ended yet.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Results {
    pub execution_id: ExecutionId,
    pub status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<AgentName>,
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub started_at: Option<Timestamp>,
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub completed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_time_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools_used: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_used: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

/// What `include_metadata` adds.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Metadata {
    pub user_id: UserId,
    pub input_message: Option<String>,
    pub execution_arn: String,
    pub tags: BTreeMap<String, String>,
    /// The output as the agent gave it.
    pub raw_output: Option<Json>,
    /// Who has started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_by: Option<Actor>,
    /// Who has asked for its end first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<Actor>,
    /// Who has answered its questions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answered_by: Vec<AnsweredBy>,
}

/// Who has answered a question.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AnsweredBy {
    pub question_id: QuestionId,
    #[serde(flatten)]
    pub actor: Actor,
}

/// What an agent has said while it ran, be it its progress or a question.
#[derive(Debug, Clone, Serialize)]
pub struct Said {
    pub execution_id: ExecutionId,
    pub agent_name: AgentName,
    pub status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<QuestionView>,
}

impl Said {
    #[must_use]
    pub fn delivered(delivery: &Delivery) -> Self {
        Self {
            execution_id: delivery.execution_id.clone(),
            agent_name: delivery.agent_name.clone(),
            status: delivery.news.status(),
            progress: delivery.progress.map(shown_progress),
            message: delivery.message.clone(),
            questions: delivery.question.iter().map(QuestionView::from).collect(),
        }
    }
}

/// The facts of a run at one moment, be it now or when its news came about.
struct Facts<'a> {
    execution_id: &'a ExecutionId,
    agent_name: &'a AgentName,
    status: Status,
    redrive_count: u32,
    rank: u8,
    started_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
}

impl Results {
    #[must_use]
    pub fn of(execution: &Execution, outcome: Option<&Outcome>) -> Self {
        Self::from_facts(
            &Facts {
                execution_id: &execution.execution_id,
                agent_name: &execution.agent_name,
                status: execution.shown_status(),
                redrive_count: execution.redrive_count,
                rank: execution.rank,
                started_at: execution.started_at,
                completed_at: execution.completed_at,
            },
            outcome,
        )
    }

    /// As they were when the delivered news came about, also after a later redrive. `None` for
    /// news of no run.
    #[must_use]
    pub fn delivered(delivery: &Delivery, outcome: Option<&Outcome>) -> Option<Self> {
        Some(Self::from_facts(
            &Facts {
                execution_id: &delivery.execution_id,
                agent_name: &delivery.agent_name,
                status: delivery.news.status()?,
                redrive_count: delivery.redrive_count,
                rank: delivery.rank,
                started_at: delivery.started_at,
                completed_at: delivery.completed_at,
            },
            outcome,
        ))
    }

    fn from_facts(facts: &Facts<'_>, outcome: Option<&Outcome>) -> Self {
        let mut results = Self {
            execution_id: facts.execution_id.clone(),
            status: facts.status,
            message: None,
            agent_name: None,
            started_at: None,
            completed_at: None,
            execution_time_ms: None,
            result: None,
            tools_used: None,
            tokens_used: None,
            error: None,
            metadata: None,
        };
        if !facts.status.is_end() {
            results.message = Some("Execution not yet complete");
            return results;
        }
        results.agent_name = Some(facts.agent_name.clone());
        results.started_at = facts.started_at;
        results.completed_at = facts.completed_at;
        results.execution_time_ms =
            facts.completed_at.zip(facts.started_at).map(|(end, start)| end.millis_since(start));
        // The outcome of another redrive is not this one's, nor a true end's a presumed one's.
        let is_its =
            |it: &&Outcome| it.redrive_count == facts.redrive_count && it.rank == facts.rank;
        let outcome = outcome.filter(is_its);
        match (facts.status, outcome) {
            (Status::Completed, Some(outcome)) => {
                let read = outcome::normalise(outcome.output.as_deref().unwrap_or("null"));
                results.result = Some(read.result);
                results.tools_used = Some(read.tools_used);
                results.tokens_used = read.tokens_used;
            }
            (Status::Completed, None) => results.result = Some(Json::null()),
            (status, outcome) => {
                results.error = Some(RunError {
                    code: outcome
                        .and_then(|it| it.error.clone())
                        .unwrap_or_else(|| default_code(status).to_owned()),
                    cause: outcome.and_then(|it| it.cause.clone()),
                });
            }
        }
        results
    }
}

/// The code of an end for which Step Functions gives none.
#[must_use]
pub const fn default_code(status: Status) -> &'static str {
    match status {
        Status::Timeout => "States.Timeout",
        Status::Cancelled => "Cancelled",
        Status::Queued
        | Status::Running
        | Status::InputRequired
        | Status::Completed
        | Status::Failed => "Failed",
    }
}

/// A page of a caller's runs, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ExecutionList {
    pub executions: Vec<Monitor>,
    /// Give it back as `cursor` for the next page; missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A delivery as the owner of the run sees it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DeliveryView {
    /// Its `webhook-id`.
    pub id: String,
    #[serde(rename = "type")]
    pub news: NewsType,
    pub state: DeliveryState,
    /// `callback`, or the id of a subscription.
    pub target: String,
    /// Who has last had it made again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redelivered_by: Option<Actor>,
    /// The last 20 of them.
    pub attempts: Vec<AttemptView>,
    /// How many attempts there were in all.
    pub attempt_count: u32,
    /// How often an attempt was put off, since more was due in its minute than may be sent.
    pub put_off: u32,
    /// While it is pending.
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub next_attempt_at: Option<Timestamp>,
}

/// One POST and what came of it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AttemptView {
    #[serde(serialize_with = "Timestamp::as_rfc3339")]
    pub at: Timestamp,
    pub duration_ms: u64,
    /// The HTTP status; null when no answer came.
    pub status: Option<u16>,
    /// The start of the answer, or why there was none.
    pub detail: String,
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        let is_pending = delivery.state == DeliveryState::Pending;
        Self {
            target: delivery.target().to_owned(),
            attempt_count: delivery.recorded(),
            put_off: delivery.put_off,
            id: delivery.webhook_id,
            news: delivery.news,
            redelivered_by: delivery.redelivered_by,
            state: delivery.state,
            attempts: delivery.attempts.into_iter().map(AttemptView::from).collect(),
            next_attempt_at: is_pending.then_some(delivery.next_attempt_at),
        }
    }
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        Self {
            at: attempt.at,
            duration_ms: attempt.duration_ms,
            status: attempt.status,
            detail: attempt.detail,
        }
    }
}

/// A page of the deliveries of a run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeliveryList {
    pub deliveries: Vec<DeliveryView>,
    /// For the page behind this one; left out of the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// All subscriptions of a user, oldest first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SubscriptionList {
    pub subscriptions: Vec<SubscriptionView>,
}

/// The agents that a caller may view.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AgentList {
    pub agents: Vec<AgentView>,
}

/// An agent as callers see it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AgentView {
    pub name: AgentName,
    pub description: String,
    pub version: String,
    pub tools: Vec<String>,
    pub llm_provider: Option<String>,
    pub llm_model: Option<String>,
    /// In seconds.
    pub average_execution_time: Option<f64>,
    /// In US dollars a run.
    pub cost_estimate: Option<f64>,
}

impl From<Agent> for AgentView {
    fn from(agent: Agent) -> Self {
        Self {
            average_execution_time: agent.average_ms().map(time::seconds),
            name: agent.agent_name,
            description: agent.description,
            version: agent.version,
            tools: agent.tools,
            llm_provider: agent.llm_provider,
            llm_model: agent.llm_model,
            cost_estimate: agent.cost_estimate,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn execution(status: Status) -> Execution {
        serde_json::from_value(json!({
            "execution_id": "mcp-echo-1", "user_id": "someone", "agent_name": "echo",
            "state_machine_arn": "arn:aws:states:eu-west-1:111122223333:stateMachine:echo",
            "status": status, "redrive_count": 0, "rank": 0, "launch_before": 9_000,
            "created_at": 1_000, "updated_at": 2_000, "started_at": 2_000, "completed_at": 4_500,
            "estimated_ms": 2_000,
        }))
        .unwrap()
    }

    fn progress_at(status: Status, millis: i64) -> Option<u8> {
        progress(&execution(status), Timestamp::from_millis(millis))
    }

    #[test]
    fn progress_is_estimated_while_it_runs_and_never_says_done() {
        assert_eq!(progress_at(Status::Queued, 3_000), Some(0));
        assert_eq!(progress_at(Status::Running, 1_000), Some(0));
        assert_eq!(progress_at(Status::Running, 3_000), Some(50));
        assert_eq!(progress_at(Status::Running, 4_000), Some(99));
        assert_eq!(progress_at(Status::Running, i64::MAX), Some(99));
        assert_eq!(progress_at(Status::Completed, 3_000), Some(100));
        assert_eq!(progress_at(Status::Failed, 3_000), None);
        let unknown = Execution { estimated_ms: None, ..execution(Status::Running) };
        assert_eq!(progress(&unknown, Timestamp::from_millis(3_000)), None);
    }

    #[test]
    fn results_are_those_of_the_same_redrive() {
        let outcome = Outcome {
            output: Some("{\"result\":1}".to_owned()),
            redrive_count: 1,
            ..Outcome::default()
        };

        let now = Execution { redrive_count: 1, ..execution(Status::Completed) };
        assert_eq!(Results::of(&now, Some(&outcome)).result, Some(Json::of(&1)));
        assert_eq!(Results::of(&now, Some(&outcome)).execution_time_ms, Some(2_500));
        let before = execution(Status::Completed);
        assert_eq!(Results::of(&before, Some(&outcome)).result, Some(Json::null()));
    }

    #[test]
    fn results_are_written_with_each_digit_and_level_of_the_answer() {
        let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
        for (written, shown) in [
            ("1000000000000000000001", "1000000000000000000001"),
            ("1e400", "1e400"),
            (r#""cut \ud83d""#, r#""cut \ufffd""#),
            (&deep, &deep),
        ] {
            let output = format!(r#"{{"result":{written},"tools_used":["a"],"tokens":{written}}}"#);
            let outcome = Outcome { output: Some(output), ..Outcome::default() };
            let results = Results::of(&execution(Status::Completed), Some(&outcome));

            let text = serde_json::to_string(&results).unwrap();
            let said = format!(r#""result":{shown},"tools_used":["a"],"tokens_used":{shown}"#);
            assert!(text.contains(&said), "{text}");
        }
    }

    #[test]
    fn a_run_that_has_not_ended_has_no_results() {
        let answer = serde_json::to_value(Results::of(&execution(Status::Running), None)).unwrap();

        assert_eq!(
            answer,
            json!({"execution_id": "mcp-echo-1", "status": "running", "message": "Execution not yet complete"})
        );
    }

    #[test]
    fn an_end_without_a_result_has_a_code() {
        for (status, code) in [
            (Status::Failed, "Failed"),
            (Status::Timeout, "States.Timeout"),
            (Status::Cancelled, "Cancelled"),
        ] {
            let results = Results::of(&execution(status), Some(&Outcome::default()));
            assert_eq!(results.error, Some(RunError { code: code.to_owned(), cause: None }));
        }
    }
}
