//! Lists of runs, deliveries, subscriptions and agents, as callers read them.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    domain::{
        agent::Agent,
        attempt::Attempt,
        caller::{Actor, Caller},
        delivery::{Delivery, DeliveryState},
        event_type::EventType,
        id::{AgentName, QuestionId, UserId},
        json::Json,
        question::QuestionView,
        subscription::SubscriptionView,
        time::{self, Timestamp},
    },
    http::answer::{batch::BatchView, monitor::Monitor},
};

/// A page of a caller's runs, newest first.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct ExecutionList {
    pub executions: Vec<Monitor>,
    /// In a list of trouble: batches whose `batch.completed` could not be delivered, without their items.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub batches: Vec<BatchView>,
    /// Pass it as `cursor` to get the next page. The last page has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

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

/// The links by which the open questions of a run can be answered.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AnswerLinkList {
    pub answer_links: Vec<AnswerLinkView>,
}

/// A link by which anybody who has it can answer a question.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AnswerLinkView {
    pub question_id: QuestionId,
    /// The page. The part after `#` is the token, which browsers do not send to a server.
    pub url: String,
    #[serde(serialize_with = "Timestamp::as_rfc3339")]
    pub expires_at: Timestamp,
}

/// The question of an answer link.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LinkedQuestion {
    pub agent_name: AgentName,
    #[serde(flatten)]
    pub question: QuestionView,
    /// Until when the link is valid.
    #[serde(serialize_with = "Timestamp::as_rfc3339")]
    pub link_expires_at: Timestamp,
    /// Whether it still waits for an answer.
    pub is_open: bool,
}

/// Who sends the request, and what that key or token may do.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Identity {
    pub user_id: UserId,
    /// The id of the key or token.
    pub key_id: String,
    /// Each is `action:agent`, where either side may be `*`.
    pub permissions: Vec<String>,
    /// Whether it sees the runs of all users.
    pub is_admin: bool,
    /// Maximum starts per minute.
    pub rate_limit: u32,
    /// How many runs of the user may go on at once, if there is a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// When a token expires. A key may expire without notice here.
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub expires_at: Option<Timestamp>,
}

impl From<&Caller> for Identity {
    fn from(caller: &Caller) -> Self {
        Self {
            user_id: caller.user_id.clone(),
            key_id: caller.key_id().to_owned(),
            permissions: caller.permissions.to_texts(),
            is_admin: caller.permissions.is_admin(),
            rate_limit: caller.rate_limit,
            max_concurrent: caller.max_concurrent,
            expires_at: caller.expires_at,
        }
    }
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
    /// Whether what it asks may be answered by a link.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answer_links: bool,
    /// The JSON Schema that the parameters of a start must satisfy, if there is one. A list leaves out what would
    /// take its schemas over 1 MB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters_schema: Option<Json>,
}

/// The schemas of all agents in a list, in bytes: an answer of a Lambda function has 6 MB
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
const MAX_SCHEMAS: usize = 1024 * 1024;

impl AgentView {
    /// Takes the schemas from those that come after the first megabyte of them.
    pub fn bound(agents: &mut [Self]) {
        let mut left = MAX_SCHEMAS;
        for agent in agents {
            let bytes = agent.parameters_schema.as_ref().map_or(0, |schema| schema.as_str().len());
            match left.checked_sub(bytes) {
                Some(after) => left = after,
                None => agent.parameters_schema = None,
            }
        }
    }
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
            answer_links: agent.answer_links,
            parameters_schema: agent.parameters_schema,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_has_the_schemas_that_fit_into_it() {
        let agent = |bytes: usize| {
            let agent =
                json!({"agent_name": "echo", "status": "active", "state_machine_arn": "arn"});
            let agent: Agent = serde_json::from_value(agent).unwrap();
            let schema = json!({"title": "x".repeat(bytes)}).to_string();
            AgentView::from(Agent { parameters_schema: Json::parse(&schema), ..agent })
        };
        let mut agents = [agent(400_000), agent(700_000), agent(600_000), agent(100_000)];
        AgentView::bound(&mut agents);
        assert_eq!(
            agents.map(|agent| agent.parameters_schema.is_some()),
            [true, false, true, false]
        );
    }
}
