//! An execution: its id, its status, and the one rule by which it moves.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::domain::{
    agent::StateMachineArn,
    batch_id::BatchId,
    caller::Actor,
    debt::{Debt, DebtKind},
    event_type::EventType,
    id::{AgentName, ExecutionId, QuestionId, UserId},
    loops::Hops,
    pool::{Pool, Slot, WaitsFor},
    protocol::Facts,
    status::{Position, Rank, Status, StopReason},
    time::Timestamp,
};

/// How far the clock of Step Functions may be behind the one that dated the row, and ahead of ours.
const CLOCK_LAG: Duration = Duration::from_mins(5);
pub const CLOCK_LEAD: Duration = Duration::from_secs(5);

/// For how long after its end an execution can be redriven, and how often
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html>).
const REDRIVABLE_FOR: Duration = Duration::from_hours(14 * 24);
const MOST_REDRIVES: u32 = 1_000;

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
    /// Whether what it asks may be answered by a link, as its agent had it when the start was accepted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answer_links: bool,
    /// Counts the questions opened and closed, which orders what is told of them.
    #[serde(default)]
    pub sequence: u32,
    /// The error code of a run that ended without a result; its cause is in the `output` part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The events that the callback asked for; empty when there is no callback. The URL and its
    /// headers are in the `callback` part, which no reader of runs loads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callback_events: Vec<EventType>,
    /// The key of this run's idempotency item, which expires with the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_item: Option<String>,
    /// When `launch` first claimed the run: from then on only Step Functions settles it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_at: Option<Timestamp>,
    /// It is not started before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Timestamp>,
    /// An unclaimed run is not started after this.
    pub launch_before: Timestamp,
    /// Of a run that takes slots, its place in a line: when it was to be started, less its priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_order: Option<Timestamp>,
    /// How many runs of its user go on at once, as its key has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_max_concurrent: Option<u32>,
    /// The line in which it waits for a slot: with its place the key of an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<Pool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<WaitsFor>,
    /// What it holds from its claim to its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<Slot>,
    /// How often Step Functions could not take the launch yet.
    #[serde(default)]
    pub launch_delays: u32,
    /// When the caller asked for an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_requested_at: Option<Timestamp>,
    /// Who has asked for the end first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<Actor>,
    /// When somebody asked for its end to be redriven, which has not come about yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redrive_requested_at: Option<Timestamp>,
    /// Who has asked for that last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redriven_by: Option<Actor>,
    /// Why Step Functions has refused that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redrive_refusal: Option<String>,
    /// Who has started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_by: Option<Actor>,
    /// The batch that it is one of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    /// The run whose input it was started with again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<ExecutionId>,
    /// The stacks whose callbacks have led to its start.
    #[serde(default, skip_serializing_if = "Hops::is_empty")]
    pub hops: Hops,
    /// After this we stop the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// How long it may take, counted anew from each redrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// Why we have stopped it, if we have: its end may still be another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<StopReason>,
    /// With [`Execution::debt`]: when `sweep` is to process what this run still owes.
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
        let is_unclaimed = self.claimed_at.is_none() && self.line.is_none();
        let is_scheduled = self.start_at.is_some() && is_unclaimed;
        match self.status {
            Status::Queued if is_scheduled => Status::Scheduled,
            status if status.is_end() || self.open_questions.is_empty() => status,
            _ => Status::InputRequired,
        }
    }

    /// When it was to be started.
    #[must_use]
    pub fn wanted_at(&self) -> Timestamp {
        self.start_at.unwrap_or(self.created_at)
    }

    /// How long it may take, from its start and from each redrive.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        let seconds = self.timeout_seconds.map(|it| Duration::from_secs(it.into()));
        // Before that was stored, a redrive had none.
        let span = |end: Timestamp| Duration::from_millis(end.millis_since(self.wanted_at()));
        seconds.or_else(|| self.deadline.map(span))
    }

    /// Whether it is to go on, but only with the slots that it takes.
    #[must_use]
    pub fn takes_slots(&self, now: Timestamp) -> bool {
        let facts = self.facts();
        let is_unclaimed = self.claimed_at.is_none() && facts.may_be_claimed(now);
        let takes_any = self.wait_order.is_some() && self.slots.is_empty();
        takes_any && (is_unclaimed || facts.is_to_be_redriven())
    }

    /// Why its end cannot be redriven; `None` where it can, as far as we know.
    #[must_use]
    pub fn not_redrivable(&self, now: Timestamp) -> Option<&'static str> {
        match (self.position().rank, self.status) {
            (Rank::Queued | Rank::Running, _) => Some("the execution has not ended"),
            // Step Functions knows nothing of it.
            (Rank::Presumed, _) => Some("the execution was never started, or is lost: rerun it"),
            (Rank::Ended, Status::Completed) => Some("the execution has completed"),
            (Rank::Ended, _) if self.redrive_count >= MOST_REDRIVES => {
                Some("the execution was redriven 1,000 times")
            }
            (Rank::Ended, _) if self.ended_at().plus(REDRIVABLE_FOR) <= now => {
                Some("the execution ended more than 14 days ago: rerun it")
            }
            (Rank::Ended, _) => None,
        }
    }

    fn ended_at(&self) -> Timestamp {
        self.completed_at.unwrap_or(self.updated_at)
    }

    /// What the rules of [`crate::domain::protocol`] ask of it.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts {
            position: self.position(),
            claimed_at: self.claimed_at,
            start_at: self.start_at,
            launch_before: self.launch_before,
            waits: self.line.is_some(),
            is_cancelled: self.cancel_requested_at.is_some(),
            deadline: self.deadline,
            sequence: self.sequence,
            started_at: self.started_at,
            updated_at: self.updated_at,
            due_at: self.due_at,
            is_redrive_requested: self.redrive_requested_at.is_some(),
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
        let facts = self.facts();
        let is_to_stop = !self.status.is_end() && facts.to_stop(due_at).is_some();
        if self.status == Status::Queued || is_to_stop || facts.is_to_be_redriven() {
            DebtKind::Launch
        } else {
            DebtKind::Poll
        }
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
