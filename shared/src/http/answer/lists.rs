//! Lists of deliveries, subscriptions and agents, as callers read them.

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::{
    agent::Agent,
    attempt::Attempt,
    caller::Actor,
    delivery::{Delivery, DeliveryState},
    event_type::EventType,
    id::AgentName,
    subscription::SubscriptionView,
    time::{self, Timestamp},
};

/// A delivery of an event to a callback or subscription.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DeliveryView {
    /// The `webhook-id` of its attempts.
    pub id: String,
    #[serde(rename = "type")]
    pub event: EventType,
    pub state: DeliveryState,
    /// `callback`, or the id of a subscription.
    pub target: String,
    /// Who last requested a redelivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redelivered_by: Option<Actor>,
    /// The last 20 attempts.
    pub attempts: Vec<AttemptView>,
    /// The total number of attempts.
    pub attempt_count: u32,
    /// How often an attempt was postponed, because more were due in that minute than may be sent.
    pub put_off: u32,
    /// When the next attempt is due. Only while the delivery is pending.
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub next_attempt_at: Option<Timestamp>,
}

/// One POST and its outcome.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AttemptView {
    #[serde(serialize_with = "Timestamp::as_rfc3339")]
    pub at: Timestamp,
    pub duration_ms: u64,
    /// The HTTP status; null if there was no response.
    pub status: Option<u16>,
    /// The start of the response, or why there was none.
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
            event: delivery.event,
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
    /// Pass it as `cursor` to get the next page. The last page has none.
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

/// An agent.
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
    /// In US dollars per run.
    pub cost_estimate: Option<f64>,
    /// How many of its runs may go on at once, if there is a limit. The others wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// The same of one user's runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent_per_user: Option<u32>,
    /// Whether its starts wait until it is resumed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
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
            max_concurrent: agent.max_concurrent,
            max_concurrent_per_user: agent.max_concurrent_per_user,
            paused: agent.paused,
        }
    }
}
