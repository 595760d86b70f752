//! The stack's event bus: the news of every run, for EventBridge subscribers.

use std::collections::BTreeMap;

use aws_sdk_eventbridge::{Client, types::PutEventsRequestEntry};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    agent::AgentName,
    api_key::hex,
    caller::UserId,
    error::Error,
    execution::{Execution, ExecutionId, Status},
    time::Timestamp,
};

/// The `source` of our events.
pub const SOURCE: &str = "agent-relay";

/// The `detail-type` of our events.
pub const DETAIL_TYPE: &str = "Agent Execution Status Change";

/// The `detail` of an event; `infra/events/status-change.schema.json` describes it. An event may
/// come twice, and out of order: consumers order by `redrive_count` and `rank`. It holds no
/// results, and nothing secret.
#[derive(Debug, Serialize)]
pub struct StatusChange<'a> {
    /// Follows from the run and its position: the same when the event is repeated.
    pub event_id: String,
    pub execution_id: &'a ExecutionId,
    pub agent_name: &'a AgentName,
    pub user_id: &'a UserId,
    pub status: Status,
    pub previous_status: Status,
    pub redrive_count: u32,
    pub rank: u8,
    #[serde(serialize_with = "Timestamp::as_rfc3339")]
    pub created_at: Timestamp,
    #[serde(serialize_with = "Timestamp::as_optional_rfc3339")]
    pub started_at: Option<Timestamp>,
    #[serde(serialize_with = "Timestamp::as_optional_rfc3339")]
    pub completed_at: Option<Timestamp>,
    pub tags: &'a BTreeMap<String, String>,
}

impl<'a> StatusChange<'a> {
    #[must_use]
    pub fn between(before: &Execution, after: &'a Execution) -> Self {
        let Execution { execution_id, redrive_count, rank, .. } = after;
        let hash = Sha256::digest(format!("{execution_id}/{redrive_count}/{rank}"));
        Self {
            event_id: hex(hash.get(..16).unwrap_or_default()),
            execution_id,
            agent_name: &after.agent_name,
            user_id: &after.user_id,
            status: after.status,
            previous_status: before.status,
            redrive_count: *redrive_count,
            rank: *rank,
            created_at: after.created_at,
            started_at: after.started_at,
            completed_at: after.completed_at,
            tags: &after.tags,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Bus {
    client: Client,
    name: String,
}

impl Bus {
    #[must_use]
    pub fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// Publishes a change that is about to be committed: what fails afterwards is done again, so
    /// every change is told at least once.
    pub async fn publish(&self, change: &StatusChange<'_>) -> Result<(), Error> {
        let detail =
            serde_json::to_string(change).map_err(|error| Error::corrupt("an event", error))?;
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(&self.name)
            .source(SOURCE)
            .detail_type(DETAIL_TYPE)
            .detail(detail)
            .build();
        let put = self.client.put_events().entries(entry).send().await;
        let put = put.map_err(Error::aws("publish an event"))?;
        // The call succeeds although an entry has failed.
        if put.failed_entry_count > 0 {
            return Err(Error::Busy("publish an event"));
        }
        Ok(())
    }
}
