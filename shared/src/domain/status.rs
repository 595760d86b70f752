//! Where a run stands: its status, and the one rule by which it moves.

use std::{fmt, str::FromStr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The status of a run.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The run waits for its `start_at`.
    // Never stored: it follows from the time, and from whether the run is claimed.
    Scheduled,
    Queued,
    Running,
    /// The agent is running and waits for the answer to a question.
    // Never stored: it follows from the open questions, so that nothing which moves the run can
    // lose or repeat it.
    InputRequired,
    Completed,
    Failed,
    Timeout,
    Cancelled,
}

impl Status {
    pub const ALL: [Self; 8] = [
        Self::Scheduled,
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
            Self::Scheduled => "scheduled",
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
            Self::Scheduled | Self::Queued | Self::Running | Self::InputRequired => false,
            Self::Completed | Self::Failed | Self::Timeout | Self::Cancelled => true,
        }
    }

    /// Whether something went wrong with a run that ended so.
    #[must_use]
    pub const fn is_trouble(self) -> bool {
        match self {
            Self::Failed | Self::Timeout => true,
            Self::Scheduled
            | Self::Queued
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

/// The code of an end for which Step Functions gives none.
#[must_use]
pub const fn default_code(status: Status) -> &'static str {
    match status {
        Status::Timeout => "States.Timeout",
        Status::Cancelled => "Cancelled",
        Status::Scheduled
        | Status::Queued
        | Status::Running
        | Status::InputRequired
        | Status::Completed
        | Status::Failed => "Failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
