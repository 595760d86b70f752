//! Where a run stands, as callers read it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::{
    batch_id::BatchId,
    execution::Execution,
    id::{AgentName, ExecutionId, UserId},
    pool::WaitsFor,
    question::QuestionView,
    status::Status,
    time::{self, Timestamp},
};

/// How many seconds a caller should wait between two polls.
pub const POLL_INTERVAL: u32 = 5;

/// The response to an accepted start. A repeated start with the same `Idempotency-Key` gets the same.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Receipt {
    pub execution_id: ExecutionId,
    /// `started`; or `input_required` if the request waited and the agent asked a question.
    pub status: &'static str,
    pub agent_name: AgentName,
    /// In seconds; null until the agent's average is known.
    pub estimated_time: Option<f64>,
    /// How many seconds to wait between two polls.
    pub poll_interval: u32,
    /// The agent's open questions, oldest first, if it asked any while the request waited.
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
    pub fn with_questions(self, questions: Vec<QuestionView>) -> Self {
        Self { status: Status::InputRequired.as_str(), questions, ..self }
    }
}

/// The status of a run.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Monitor {
    pub execution_id: ExecutionId,
    pub agent_name: AgentName,
    pub status: Status,
    /// In percent, 0 to 100; null if it is not known.
    pub progress: Option<u8>,
    pub message: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The agent's open questions, oldest first. Not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<QuestionView>,
    #[serde(serialize_with = "Timestamp::as_rfc3339")]
    pub created_at: Timestamp,
    /// When the run is to be started, if that was asked for.
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub start_at: Option<Timestamp>,
    /// The batch that it is one of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    /// How often it was redriven, if it was.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub redrive_count: u32,
    /// When a redrive was requested that has not come about yet.
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub redrive_requested_at: Option<Timestamp>,
    /// Why Step Functions refused the last redrive that was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redrive_refusal: Option<String>,
    /// The run that this one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<ExecutionId>,
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub started_at: Option<Timestamp>,
    #[serde(serialize_with = "Timestamp::as_rfc3339")]
    pub updated_at: Timestamp,
    /// Why a queued run waits: its `agent` runs as often at once as it may, or does so for this user
    /// (`agent_user`); the `user` has as many runs at once as may be; or the agent is `paused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<WaitsFor>,
    /// About how many wait for the same and come before it, at most 1,000. Not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<u32>,
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub completed_at: Option<Timestamp>,
    /// Whose run it is. Only in lists with `trouble` or `open`, which show an administrator those of all users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// What went wrong. Only in lists with `trouble`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trouble: Vec<TroubleKind>,
}

/// What went wrong with a run, or with the delivery of its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TroubleKind {
    Failed,
    Timeout,
    /// An event could not be delivered to the callback or a subscription.
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
            tags: execution.tags,
            created_at: execution.created_at,
            start_at: execution.start_at,
            batch_id: execution.batch_id,
            redrive_count: execution.redrive_count,
            redrive_requested_at: execution.redrive_requested_at,
            redrive_refusal: execution.redrive_refusal,
            rerun_of: execution.rerun_of,
            started_at: execution.started_at,
            updated_at: execution.updated_at,
            waits_for: execution.waits_for,
            queue_position: None,
            completed_at: execution.completed_at,
            user_id: None,
            trouble: Vec::new(),
        }
    }

    /// The same of a run whose agent asks just this. What is answered is asked no more, although
    /// the run holds it until the agent has the answer.
    #[must_use]
    pub fn with_questions(
        mut execution: Execution,
        questions: Vec<QuestionView>,
        now: Timestamp,
    ) -> Self {
        execution.open_questions = questions.iter().map(|it| it.id.clone()).collect();
        Self { questions, ..Self::of(execution, now) }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

fn progress(execution: &Execution, now: Timestamp) -> Option<u8> {
    match execution.status {
        Status::Scheduled | Status::Queued => Some(0),
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
pub(super) fn shown_progress(percent: u8) -> u8 {
    percent.min(99)
}

fn message(execution: &Execution) -> String {
    match execution.shown_status() {
        Status::Scheduled => "Waiting for the time of its start".to_owned(),
        Status::Queued => match execution.waits_for {
            None => "Waiting to be started",
            Some(WaitsFor::Paused) => "Waiting for the agent, which is paused",
            Some(WaitsFor::Agent) => "Waiting for other runs of the agent",
            Some(WaitsFor::AgentUser) => "Waiting for other runs of the user and the agent",
            Some(WaitsFor::User) => "Waiting for other runs of the user",
        }
        .to_owned(),
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
}
