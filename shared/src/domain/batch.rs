//! A batch: many starts as one, and told of once, when all of its runs have ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{
    batch_id::BatchId,
    callback, callback_url,
    caller::Actor,
    debt::{Debt, DebtKind},
    error::Error,
    id::{AgentName, ExecutionId, UserId},
    idempotency_key::IdempotencyKey,
    json::Json,
    loops::Hops,
    request::{StartBody, whole},
    status::Status,
    time::Timestamp,
};

/// How many starts one request may make.
pub const MAX_ITEMS: usize = 100;

/// How long after it was made a batch is closed whose request has died.
pub const CLOSED_AFTER: Duration = Duration::from_mins(10);

/// How often `sweep` looks whether all runs of a batch have ended.
pub const POLLED_EVERY: Duration = Duration::from_mins(15);

/// The body of `POST /v1/batches`. What stands beside `items` is true of each of them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchBody {
    /// The agent of each item that names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<AgentName>")]
    pub agent_name: Option<String>,
    /// What to start, 1 to 100.
    #[schemars(length(min = 1, max = MAX_ITEMS))]
    pub items: Vec<ItemBody>,
    /// Is sent `batch.completed` once all runs have ended. A public https URL, or a URL of a host that
    /// the deployment allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = callback_url::MAX_URL))]
    pub callback_url: Option<String>,
    /// Requires a `callback_url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = callback::MAX_HEADERS))]
    pub callback_headers: Option<BTreeMap<String, String>>,
    /// Tags of each run, beside its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
    /// As for a start.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = crate::domain::request::MAX_DELAY))]
    pub delay_seconds: Option<u32>,
    /// As for a start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub start_at: Option<String>,
    /// As for a start.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = crate::domain::request::MAX_PRIORITY))]
    pub priority: Option<u32>,
    /// As for a start.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = crate::domain::request::MAX_TIMEOUT))]
    pub timeout_seconds: Option<u32>,
    /// As for a start.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = crate::domain::request::MAX_QUEUE_TIMEOUT))]
    pub queue_timeout_seconds: Option<u32>,
}

/// One start of a batch.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemBody {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<AgentName>")]
    pub agent_name: Option<String>,
    /// The message to the agent. Must contain more than white space.
    #[schemars(regex(pattern = r"\S"))]
    pub input_message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub parameters: Option<Json>,
    /// Go before those of the batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
}

impl BatchBody {
    /// A batch with nothing but its items.
    #[must_use]
    pub const fn new(items: Vec<ItemBody>) -> Self {
        Self {
            agent_name: None,
            items,
            callback_url: None,
            callback_headers: None,
            tags: None,
            delay_seconds: None,
            start_at: None,
            priority: None,
            timeout_seconds: None,
            queue_timeout_seconds: None,
        }
    }

    /// What tells a repetition from another request.
    #[must_use]
    pub fn hash(&self) -> String {
        Json::of(self).digest()
    }

    /// Refuses what is no batch at all. What is wrong with one of its starts is that one's refusal.
    pub fn check_size(&self) -> Result<(), Error> {
        if (1..=MAX_ITEMS).contains(&self.items.len()) {
            return Ok(());
        }
        Err(Error::invalid("items", format!("must have 1 to {MAX_ITEMS} items")))
    }

    /// The starts that it is made of.
    #[must_use]
    pub fn starts(&self) -> Vec<StartBody> {
        let start = |item: &ItemBody| {
            let mut tags = self.tags.clone().unwrap_or_default();
            tags.extend(item.tags.clone().unwrap_or_default());
            let agent = item.agent_name.as_ref().or(self.agent_name.as_ref());
            StartBody {
                parameters: item.parameters.clone(),
                tags: Some(tags).filter(|tags| !tags.is_empty()),
                delay_seconds: self.delay_seconds,
                start_at: self.start_at.clone(),
                priority: self.priority,
                timeout_seconds: self.timeout_seconds,
                queue_timeout_seconds: self.queue_timeout_seconds,
                ..StartBody::new(agent.cloned().unwrap_or_default(), item.input_message.clone())
            }
        };
        self.items.iter().map(start).collect()
    }
}

/// Why a start of a batch was refused, as a request for it alone would have been: RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// `urn:problem-type:agent-relay:<kind>`.
    #[serde(rename = "type")]
    pub kind: String,
    pub status: u16,
    pub detail: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// What became of one start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchItem {
    /// The run.
    ExecutionId(ExecutionId),
    /// It was not accepted.
    Error(Refusal),
}

impl BatchItem {
    #[must_use]
    pub const fn execution_id(&self) -> Option<&ExecutionId> {
        match self {
            Self::ExecutionId(id) => Some(id),
            Self::Error(_) => None,
        }
    }
}

/// How many runs stand where; starts that were refused are in none of these.
pub type Counts = BTreeMap<Status, u32>;

/// The `batch` part: what was asked for, and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Batch {
    pub batch_id: BatchId,
    pub user_id: UserId,
    /// The agents of its runs, and until it is closed of all starts that its caller may make: who may not view all of
    /// these is not told of it.
    pub agents: BTreeSet<AgentName>,
    /// How many starts it has.
    pub size: u32,
    /// Not `created_at`, by which it would be in the index of its user's runs.
    pub requested_at: Timestamp,
    pub started_by: Actor,
    #[serde(default, skip_serializing_if = "Hops::is_empty")]
    pub hops: Hops,
    pub has_callback: bool,
    pub request_hash: String,
    /// What became of each start, in their order; there once it is closed, and never changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<BatchItem>>,
    /// When all of its runs had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// How they had ended then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debt: Option<Debt>,
    /// In seconds.
    pub ttl: i64,
}

impl Batch {
    /// Its runs.
    pub fn runs(&self) -> impl Iterator<Item = &ExecutionId> {
        self.items.iter().flatten().filter_map(BatchItem::execution_id)
    }

    /// The idempotency item of one of its starts, which says what was decided of it.
    #[must_use]
    pub fn item_of(&self, index: usize) -> String {
        IdempotencyKey::of_batch(&self.batch_id, index).item(&self.user_id)
    }

    /// As what it stands in the index of debts.
    #[must_use]
    pub fn debt_of(id: &BatchId) -> Debt {
        Debt::of(DebtKind::Batch, id.as_execution_id())
    }

    /// What is told of it once it is complete.
    #[must_use]
    pub fn summary(&self, counts: Counts, completed_at: Timestamp) -> BatchSummary {
        BatchSummary {
            batch_id: self.batch_id.clone(),
            agents: self.agents.clone(),
            size: self.size,
            counts,
            created_at: self.requested_at,
            completed_at,
        }
    }
}

/// That all runs of a batch have ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BatchSummary {
    pub batch_id: BatchId,
    pub agents: BTreeSet<AgentName>,
    pub size: u32,
    pub counts: Counts,
    pub created_at: Timestamp,
    pub completed_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_has_what_its_batch_says_and_its_own_goes_first() {
        let body: BatchBody = serde_json::from_value(serde_json::json!({
            "agent_name": "echo", "tags": {"a": "1", "b": "1"}, "timeout_seconds": 9,
            "items": [
                {"input_message": "x", "tags": {"b": "2"}},
                {"input_message": "y", "agent_name": "other", "parameters": {"n": 1}},
            ],
        }))
        .unwrap();
        let starts = body.starts();

        assert_eq!(
            starts.iter().map(|it| it.agent_name.as_str()).collect::<Vec<_>>(),
            ["echo", "other"]
        );
        assert_eq!(starts[0].tags.as_ref().unwrap()["b"], "2");
        assert_eq!(starts[1].tags.as_ref().unwrap()["b"], "1");
        assert!(starts.iter().all(|start| start.timeout_seconds == Some(9)));
    }
}
