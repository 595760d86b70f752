//! A batch, as callers read it.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    domain::{
        batch::{Batch, BatchItem, BatchSummary, Counts},
        batch_id::BatchId,
        id::UserId,
        status::Status,
        time::Timestamp,
    },
    http::answer::{monitor::POLL_INTERVAL, results::Results},
};

/// Where a batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchStatus {
    /// A run has not ended.
    Running,
    /// All runs have ended, however.
    Completed,
}

/// The response to an accepted batch. A repetition with the same `Idempotency-Key` gets the same.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BatchReceipt {
    pub batch_id: BatchId,
    /// Always `started`.
    pub status: &'static str,
    /// The run of each item, or why it was refused, in the order of the request.
    pub items: Vec<BatchItem>,
    /// How many seconds to wait between two polls.
    pub poll_interval: u32,
}

impl BatchReceipt {
    #[must_use]
    pub fn new(batch_id: BatchId, items: Vec<BatchItem>) -> Self {
        Self { batch_id, status: "started", items, poll_interval: POLL_INTERVAL }
    }
}

/// A batch.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BatchView {
    pub batch_id: BatchId,
    /// Only in a list of what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    pub status: BatchStatus,
    /// How many items it has.
    pub size: u32,
    /// How many runs have each status. Items that were refused are not counted.
    pub counts: Counts,
    #[serde(serialize_with = "Timestamp::as_rfc3339")]
    pub created_at: Timestamp,
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub completed_at: Option<Timestamp>,
    /// The run of each item, or why it was refused, in the order of the request. Not in webhooks, and not
    /// before the request has been answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<BatchItem>,
}

impl BatchView {
    /// With the runs as they are now, where it is not complete.
    #[must_use]
    pub fn of(batch: Batch, now: Counts) -> Self {
        let is_complete = batch.completed_at.is_some();
        Self {
            status: if is_complete { BatchStatus::Completed } else { BatchStatus::Running },
            size: batch.size,
            counts: batch.counts.unwrap_or(now),
            created_at: batch.requested_at,
            completed_at: batch.completed_at,
            items: batch.items.unwrap_or_default(),
            batch_id: batch.batch_id,
            user_id: None,
        }
    }

    #[must_use]
    pub fn told(summary: &BatchSummary) -> Self {
        Self {
            batch_id: summary.batch_id.clone(),
            user_id: None,
            status: BatchStatus::Completed,
            size: summary.size,
            counts: summary.counts.clone(),
            created_at: summary.created_at,
            completed_at: Some(summary.completed_at),
            items: Vec::new(),
        }
    }
}

/// A page of the results of a batch, in the order of its items.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BatchResults {
    pub results: Vec<ItemResults>,
    /// Pass it as `cursor` to get the next page. The last page has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// What came of one item.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ItemResults {
    /// Its place in the request, from 0.
    pub index: usize,
    #[serde(flatten)]
    pub results: ItemOutcome,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ItemOutcome {
    Results(Box<Results>),
    /// It was refused, or is kept no more.
    Refused {
        status: RefusedStatus,
        error: crate::domain::batch::Refusal,
    },
}

/// The status of an item that has no run.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusedStatus {
    Refused,
}

/// The response to an accepted cancellation of a batch.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BatchCancelling {
    pub batch_id: BatchId,
    /// Always `cancelling`.
    pub status: &'static str,
    /// How many of its runs had not ended.
    pub runs: u32,
}

/// How many of these runs have each status.
#[must_use]
pub fn counts(statuses: impl IntoIterator<Item = Status>) -> Counts {
    let mut counts = Counts::new();
    for status in statuses {
        *counts.entry(status).or_default() += 1;
    }
    counts
}
