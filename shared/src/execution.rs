//! An execution: its id, its status, and the one rule by which it moves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::{
    agent::{AgentName, StateMachineArn},
    callback::NewsType,
    caller::{Actor, UserId},
    debt::{Debt, DebtKind},
    loops::Hops,
    protocol::Facts,
    question::QuestionId,
    time::Timestamp,
};

/// Each execution's name in Step Functions starts so; the EventBridge rule filters on it.
pub const NAME_PREFIX: &str = "mcp-";

/// The id that callers see, which is also the name given to `StartExecution`:
/// `mcp-<agent>-<ULID, lower case>`.
///
/// Invariant: 1 to 80 characters of `[A-Za-z0-9_-]` that start with `mcp-`
/// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html>).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    inline,
    description = "The id of an execution.",
    extend("pattern" = "^mcp-[A-Za-z0-9_-]{1,76}$")
)]
pub struct ExecutionId(String);

impl ExecutionId {
    const MAX_LENGTH: usize = 80;

    /// A new id. A long agent name is cut, so that the whole fits in 80 characters; 80 random
    /// bits make it unguessable.
    #[must_use]
    pub fn generate(agent: &AgentName) -> Self {
        let ulid = Ulid::generate().to_string().to_ascii_lowercase();
        let room = Self::MAX_LENGTH - NAME_PREFIX.len() - 1 - ulid.len();
        let agent = agent.as_str().get(..room).unwrap_or(agent.as_str());
        Self(format!("{NAME_PREFIX}{agent}-{ulid}"))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A number that spreads executions evenly.
    #[must_use]
    pub fn spread(&self) -> u8 {
        // The last characters of a ULID are random.
        self.0
            .bytes()
            .rev()
            .take(4)
            .fold(0, |sum: u8, byte| sum.wrapping_mul(31).wrapping_add(byte))
    }
}

/// The text is not an [`ExecutionId`].
#[derive(Debug, thiserror::Error)]
#[error("not an execution id")]
pub struct InvalidExecutionId;

impl TryFrom<String> for ExecutionId {
    type Error = InvalidExecutionId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let valid = text.len() <= Self::MAX_LENGTH
            && text.len() > NAME_PREFIX.len()
            && text.starts_with(NAME_PREFIX)
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if valid { Ok(Self(text)) } else { Err(InvalidExecutionId) }
    }
}

impl FromStr for ExecutionId {
    type Err = InvalidExecutionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl From<ExecutionId> for String {
    fn from(id: ExecutionId) -> Self {
        id.0
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The status in the words of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Queued,
    Running,
    /// It runs, and waits for the answer to a question. Never stored: it follows from the open
    /// questions, so that nothing which moves the run can lose or repeat it.
    InputRequired,
    Completed,
    Failed,
    Timeout,
    Cancelled,
}

impl Status {
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Running,
        Self::InputRequired,
        Self::Completed,
        Self::Failed,
        Self::Timeout,
        Self::Cancelled,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::InputRequired => "input_required",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether a run in this status has ended (a redrive may still reopen it).
    #[must_use]
    pub const fn is_end(self) -> bool {
        match self {
            Self::Queued | Self::Running | Self::InputRequired => false,
            Self::Completed | Self::Failed | Self::Timeout | Self::Cancelled => true,
        }
    }

    /// Whether something went wrong with a run that ended so.
    #[must_use]
    pub const fn is_trouble(self) -> bool {
        match self {
            Self::Failed | Self::Timeout => true,
            Self::Queued
            | Self::Running
            | Self::InputRequired
            | Self::Completed
            | Self::Cancelled => false,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(())
    }
}

/// How far a run has come within one redrive. Stored as a number, so that DynamoDB compares it
/// as we do; gaps leave room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Rank {
    /// Accepted; the status is `queued`, also while it is being launched.
    Queued = 0,
    /// It is known to run.
    Running = 20,
    /// An end that we conclude ourselves, since Step Functions was never asked to run it, or does
    /// not know it. Told like any other, and outranked by what Step Functions says.
    Presumed = 80,
    /// The end that Step Functions says.
    Ended = 90,
}

impl Rank {
    pub const ALL: [Self; 4] = [Self::Queued, Self::Running, Self::Presumed, Self::Ended];
}

/// Why we stop a run before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    Cancel,
    Deadline,
}

impl StopReason {
    /// The status of a run that ended because of it.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Cancel => Status::Cancelled,
            Self::Deadline => Status::Timeout,
        }
    }

    /// What the run's error says.
    #[must_use]
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Cancel => "the caller has cancelled it",
            Self::Deadline => "its timeout_seconds had passed",
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Deadline => "deadline",
        }
    }
}

/// Where a run stands: first by redrive, then by rank.
///
/// This order is the one transition rule. [`Position::may_follow`] says it in Rust, and
/// `store::transitions` says it in DynamoDB's words; a test proves that both agree on all pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub redrive_count: u32,
    pub rank: Rank,
}

impl Position {
    /// Whether a run that stands at `current` may move here: only ever forward, so a repeated or
    /// late event changes nothing, and a later redrive reopens an ended run.
    #[must_use]
    pub fn may_follow(self, current: Self) -> bool {
        self > current
    }
}

/// The longest that a standard execution runs, and a day.
pub const LONGEST_RUN: Duration = Duration::from_hours(366 * 24);

/// How far the clock of Step Functions may be behind the one that dated the row, and ahead of ours.
pub const CLOCK_LAG: Duration = Duration::from_mins(5);
pub const CLOCK_LEAD: Duration = Duration::from_secs(5);

/// The `state` part of an execution: small, and all that monitor and list read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Execution {
    pub execution_id: ExecutionId,
    pub user_id: UserId,
    pub agent_name: AgentName,
    /// Frozen when the start was accepted: a changed agent row does not change a run.
    pub state_machine_arn: StateMachineArn,
    /// As it is stored; callers are told [`Execution::shown_status`].
    pub status: Status,
    pub redrive_count: u32,
    /// A [`Rank`] as a number.
    pub rank: u8,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// The agent's average execution time when this run was accepted, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_ms: Option<u64>,
    /// In percent, as the agent itself has reported it in this redrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// The last that is known of what the agent does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What the agent waits to be answered; the questions are parts of their own.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub open_questions: BTreeSet<QuestionId>,
    /// Counts the questions opened and closed, which orders what is told of them.
    #[serde(default)]
    pub sequence: u32,
    /// The error code of a run that ended without a result; its cause is in the `output` part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The news that the callback asked for; empty when there is no callback. The URL and its
    /// headers are in the `callback` part, which no reader of runs loads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callback_events: Vec<NewsType>,
    /// The key of this run's idempotency item, which expires with the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_item: Option<String>,
    /// When `launch` first claimed the run: from then on only Step Functions settles it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_at: Option<Timestamp>,
    /// An unclaimed run is not started after this.
    pub launch_before: Timestamp,
    /// How often Step Functions could not take the launch yet.
    #[serde(default)]
    pub launch_delays: u32,
    /// When the caller asked for an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_requested_at: Option<Timestamp>,
    /// Who has asked for the end first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<Actor>,
    /// Who has started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_by: Option<Actor>,
    /// The stacks whose callbacks have led to its start.
    #[serde(default, skip_serializing_if = "Hops::is_empty")]
    pub hops: Hops,
    /// After this we stop the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Why we have stopped it, if we have: its end may still be another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<StopReason>,
    /// With [`Execution::debt`]: when `sweep` is to look at what this run still owes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debt: Option<Debt>,
    /// When it ended as it should not have: only then is it in the indexes of trouble.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub troubled_at: Option<Timestamp>,
    /// When the other parts expire, each of which has that as its `ttl` from the start on; put off
    /// for as long as the run goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<Timestamp>,
    /// In seconds; set when the run ends. Readers treat an expired item as gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
}

impl Execution {
    #[must_use]
    pub fn position(&self) -> Position {
        // An unknown number comes from a newer version of us, and stands before the next rank.
        let rank = Rank::ALL.into_iter().rev().find(|rank| *rank as u8 <= self.rank);
        Position { redrive_count: self.redrive_count, rank: rank.unwrap_or(Rank::Queued) }
    }

    /// What callers are told.
    #[must_use]
    pub fn shown_status(&self) -> Status {
        if self.status.is_end() || self.open_questions.is_empty() {
            self.status
        } else {
            Status::InputRequired
        }
    }

    /// What the rules of [`crate::protocol`] ask of it.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts {
            position: self.position(),
            claimed_at: self.claimed_at,
            launch_before: self.launch_before,
            is_cancelled: self.cancel_requested_at.is_some(),
            deadline: self.deadline,
            sequence: self.sequence,
            started_at: self.started_at,
            heard_at: self.updated_at,
            due_at: self.due_at,
        }
    }

    /// A time of this run that somebody else's clock tells, or `None` where it cannot be: what one odd
    /// event says must neither be told as the time that a run took nor go into an average. It is not
    /// before the row was made, and not later than now.
    #[must_use]
    pub fn believed(&self, told: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let created = self.created_at;
        let can_be = created.minus(CLOCK_LAG)..=now.max(created).plus(CLOCK_LEAD);
        can_be.contains(&told).then(|| told.max(created))
    }

    /// As what this run stands in the index of debts until `due_at`. What it owes by then that
    /// cannot wait stands apart from what is only a question of whether it still runs.
    #[must_use]
    pub fn debt_kind_until(&self, due_at: Timestamp) -> DebtKind {
        let is_to_stop = !self.status.is_end() && self.facts().to_stop(due_at).is_some();
        if self.status == Status::Queued || is_to_stop { DebtKind::Launch } else { DebtKind::Poll }
    }

    /// The key of the index for that.
    #[must_use]
    pub fn debt_until(&self, due_at: Timestamp) -> Debt {
        Debt::of(self.debt_kind_until(due_at), &self.execution_id)
    }

    /// The ARN that Step Functions gives the execution with our id on the frozen state machine.
    #[must_use]
    pub fn execution_arn(&self) -> String {
        self.state_machine_arn.execution(&self.execution_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_valid_execution_name_even_for_a_long_agent_name() {
        for length in [1, 49, 50, 80] {
            let agent: AgentName = "a".repeat(length).parse().unwrap();
            let id = ExecutionId::generate(&agent);

            assert!(id.as_str().len() <= 80, "{id}");
            assert!(id.as_str().starts_with("mcp-a"));
            assert_eq!(id.as_str().parse::<ExecutionId>().unwrap(), id);
        }
    }

    #[test]
    fn ids_that_step_functions_would_refuse_are_refused() {
        let long = format!("mcp-{}", "a".repeat(77));
        for text in ["", "mcp-", "echo-1", "mcp-a b", "mcp-é", "mcp-a/b", "mcp-a#b", &long] {
            assert!(text.parse::<ExecutionId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_run_moves_only_forward_and_a_later_redrive_reopens_it() {
        let at = |redrive_count, rank| Position { redrive_count, rank };

        assert!(at(0, Rank::Ended).may_follow(at(0, Rank::Queued)));
        assert!(at(0, Rank::Running).may_follow(at(0, Rank::Queued)));
        assert!(at(0, Rank::Ended).may_follow(at(0, Rank::Presumed)));
        assert!(!at(0, Rank::Presumed).may_follow(at(0, Rank::Ended)));
        assert!(!at(0, Rank::Running).may_follow(at(0, Rank::Presumed)));
        assert!(!at(0, Rank::Running).may_follow(at(0, Rank::Ended)));
        assert!(!at(0, Rank::Ended).may_follow(at(0, Rank::Ended)));
        assert!(at(1, Rank::Running).may_follow(at(0, Rank::Ended)));
        assert!(!at(0, Rank::Ended).may_follow(at(1, Rank::Running)));
    }
}
