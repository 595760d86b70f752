//! The types of the events of runs and subscriptions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::status::Status;

/// The type of an event: the `type` of a webhook's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EventType {
    #[serde(rename = "execution.running")]
    Running,
    /// The agent reported its progress.
    #[serde(rename = "execution.progress")]
    Progress,
    /// The agent asks a question.
    #[serde(rename = "execution.input_required")]
    InputRequired,
    #[serde(rename = "execution.completed")]
    Completed,
    #[serde(rename = "execution.failed")]
    Failed,
    #[serde(rename = "execution.timeout")]
    Timeout,
    #[serde(rename = "execution.cancelled")]
    Cancelled,
    /// All runs of a batch have ended.
    #[serde(rename = "batch.completed")]
    BatchCompleted,
    /// A test of a subscription. It belongs to no run.
    #[serde(rename = "subscription.test")]
    Test,
    /// Another subscription of the same owner was disabled. It belongs to no run.
    #[serde(rename = "subscription.disabled")]
    Disabled,
}

impl EventType {
    pub const ALL: [Self; 10] = [
        Self::Running,
        Self::Progress,
        Self::InputRequired,
        Self::Completed,
        Self::Failed,
        Self::Timeout,
        Self::Cancelled,
        Self::BatchCompleted,
        Self::Test,
        Self::Disabled,
    ];

    /// What may be asked for of a run.
    pub const OF_RUNS: [Self; 7] = [
        Self::Running,
        Self::Progress,
        Self::InputRequired,
        Self::Completed,
        Self::Failed,
        Self::Timeout,
        Self::Cancelled,
    ];

    /// What a subscription may ask for.
    pub const OF_SUBSCRIPTIONS: [Self; 8] = [
        Self::Running,
        Self::Progress,
        Self::InputRequired,
        Self::Completed,
        Self::Failed,
        Self::Timeout,
        Self::Cancelled,
        Self::BatchCompleted,
    ];

    /// What a callback is told when it names no events.
    pub const ENDS: [Self; 4] = [Self::Completed, Self::Failed, Self::Timeout, Self::Cancelled];

    /// The event that a run has moved to this status; being queued is none.
    #[must_use]
    pub const fn of(status: Status) -> Option<Self> {
        match status {
            Status::Scheduled | Status::Queued => None,
            Status::Running => Some(Self::Running),
            Status::InputRequired => Some(Self::InputRequired),
            Status::Completed => Some(Self::Completed),
            Status::Failed => Some(Self::Failed),
            Status::Timeout => Some(Self::Timeout),
            Status::Cancelled => Some(Self::Cancelled),
        }
    }

    /// The status of a run of which this is the event.
    #[must_use]
    pub const fn status(self) -> Option<Status> {
        match self {
            Self::Running | Self::Progress => Some(Status::Running),
            Self::InputRequired => Some(Status::InputRequired),
            Self::Completed => Some(Status::Completed),
            Self::Failed => Some(Status::Failed),
            Self::Timeout => Some(Status::Timeout),
            Self::Cancelled => Some(Status::Cancelled),
            Self::BatchCompleted | Self::Test | Self::Disabled => None,
        }
    }

    /// Whether it tells of runs, and not of the subscription itself.
    #[must_use]
    pub const fn is_of_runs(self) -> bool {
        !matches!(self, Self::Test | Self::Disabled)
    }
}
