//! What callers read: the answers of REST, envelope and MCP, and the `data` of a webhook.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    domain::{
        answer_link::Answerer,
        caller::Actor,
        delivery::Delivery,
        execution::Execution,
        id::{AgentName, ExecutionId, QuestionId, UserId},
        json::Json,
        outcome::{self, Outcome},
        status::{Rank, Status, default_code},
        time::Timestamp,
    },
    store::questions::AnsweredQuestion,
};

/// So much of a question is shown once it is answered: a run may ask a thousand.
const MAX_SHOWN: usize = 200;

/// Why a run ended without a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunError {
    pub code: String,
    pub cause: Option<String>,
}

/// The results of a run, or only its status if it has not ended yet.
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
    /// What the agent was given beside the message.
    pub parameters: Option<Json>,
    pub execution_arn: String,
    pub tags: BTreeMap<String, String>,
    /// The output exactly as the agent returned it.
    pub raw_output: Option<Json>,
    /// Who started the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_by: Option<Actor>,
    /// Who cancelled the run first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<Actor>,
    /// Who answered its questions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answered_by: Vec<AnsweredBy>,
}

/// Who answered a question.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AnsweredBy {
    pub question_id: QuestionId,
    /// Its first 200 characters.
    pub question: String,
    #[serde(serialize_with = "Timestamp::as_rfc3339")]
    pub asked_at: Timestamp,
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub answered_at: Option<Timestamp>,
    #[serde(flatten)]
    pub by: Answerer,
}

impl AnsweredBy {
    /// `None` when nobody has answered.
    #[must_use]
    pub fn of(question: AnsweredQuestion) -> Option<Self> {
        Some(Self {
            by: question.answered_by?,
            question_id: question.question_id,
            question: question.question.chars().take(MAX_SHOWN).collect(),
            asked_at: question.asked_at,
            answered_at: question.answered_at,
        })
    }
}

/// The facts of a run at one moment, be it now or when its event occurred.
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

    /// As they were when the delivered event occurred, also after a later redrive. `None` for
    /// an event of no run.
    #[must_use]
    pub fn delivered(delivery: &Delivery, outcome: Option<&Outcome>) -> Option<Self> {
        Some(Self::from_facts(
            &Facts {
                execution_id: &delivery.execution_id,
                agent_name: &delivery.agent_name,
                status: delivery.event.status()?,
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
        // But one that was presumed and proved true is kept as it was.
        let is_kept =
            |it: &Outcome| it.rank == Rank::Presumed as u8 && facts.rank == Rank::Ended as u8;
        let is_its = |it: &&Outcome| {
            it.redrive_count == facts.redrive_count && (it.rank == facts.rank || is_kept(it))
        };
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
