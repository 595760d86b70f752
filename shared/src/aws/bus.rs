//! The stack's event bus: the events of every run, and what befalls subscriptions, for EventBridge's
//! subscribers.

use std::collections::{BTreeMap, BTreeSet};

use aws_config::SdkConfig;
use aws_sdk_eventbridge::{Client, types::PutEventsRequestEntry};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    aws::{
        connection::{OnDemand, on_demand},
        preconnect::Preconnect,
    },
    domain::{
        answer_link::Answerer,
        batch::{Batch, BatchSummary, Counts},
        batch_id::BatchId,
        caller::Actor,
        digest::hex,
        error::Error,
        execution::Execution,
        id::{AgentName, ExecutionId, UserId},
        question::{Question, QuestionView},
        rights::Holder,
        status::Status,
        subscription::{Disabled, DisabledView, Listed},
        time::Timestamp,
    },
};

/// The `source` of our events.
const SOURCE: &str = "agent-relay";

/// The `detail-type` of what changes of runs.
const DETAIL_TYPE: &str = "Agent Execution Status Change";

/// The `detail-type` of subscriptions that are disabled.
const DISABLED_TYPE: &str = "Agent Subscription Disabled";

/// The `detail-type` of batches that are complete.
const BATCH_TYPE: &str = "Agent Batch Completed";

/// The `detail` of an event; `infra/events/status-change.schema.json` describes it. An event may
/// come twice, and out of order: consumers order by `redrive_count`, `rank` and `sequence`. It
/// holds no results, and nothing secret.
#[derive(Debug, Serialize)]
pub struct StatusChange<'a> {
    /// Follows from the run, its position and status: the same when the event is repeated.
    pub event_id: String,
    pub execution_id: &'a ExecutionId,
    pub agent_name: &'a AgentName,
    pub user_id: &'a UserId,
    pub status: Status,
    pub previous_status: Status,
    pub redrive_count: u32,
    pub rank: u8,
    /// How many questions were opened and closed until then.
    pub sequence: u32,
    #[serde(serialize_with = "Timestamp::as_rfc3339")]
    pub created_at: Timestamp,
    #[serde(serialize_with = "Timestamp::as_optional_rfc3339")]
    pub started_at: Option<Timestamp>,
    #[serde(serialize_with = "Timestamp::as_optional_rfc3339")]
    pub completed_at: Option<Timestamp>,
    pub tags: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_by: Option<&'a Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<&'a Actor>,
    /// Of whom the agent has just got an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<&'a Answerer>,
    /// What the agent has just asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub questions: Option<[QuestionView; 1]>,
}

impl<'a> StatusChange<'a> {
    #[must_use]
    pub fn between(before: &Execution, after: &'a Execution) -> Self {
        let Execution { execution_id, redrive_count, rank, status, sequence, .. } = after;
        // What is about to be committed may be refused, and then another end be told.
        let mut step = format!("{execution_id}/{redrive_count}/{rank}/{status}");
        // Questions come and go without a change of rank.
        if before.sequence != *sequence {
            step = format!("{step}/{sequence}");
        }
        let hash = Sha256::digest(step);
        Self {
            event_id: hex(hash.get(..16).unwrap_or_default()),
            execution_id,
            agent_name: &after.agent_name,
            user_id: &after.user_id,
            status: after.shown_status(),
            previous_status: before.shown_status(),
            redrive_count: *redrive_count,
            rank: *rank,
            sequence: *sequence,
            created_at: after.created_at,
            started_at: after.started_at,
            completed_at: after.completed_at,
            tags: &after.tags,
            started_by: after.started_by.as_ref(),
            cancelled_by: after.cancelled_by.as_ref(),
            answered_by: None,
            questions: None,
        }
    }

    /// The same, with the question that the agent has just asked.
    #[must_use]
    pub fn with_question(before: &Execution, after: &'a Execution, question: &Question) -> Self {
        let questions = Some([QuestionView::from(question)]);
        Self { questions, ..Self::between(before, after) }
    }
}

/// That a subscription was disabled; `infra/events/subscription-disabled.schema.json` describes it.
#[derive(Debug, Serialize)]
pub struct SubscriptionDisabled<'a> {
    /// The same when the event is repeated; another one each time that it is disabled.
    pub event_id: String,
    pub user_id: &'a UserId,
    /// The id of the key or token that made it.
    pub key_id: Option<&'a str>,
    /// Of which agent it was told, or of all.
    pub agent_name: Option<&'a AgentName>,
    #[serde(flatten)]
    pub disabled: DisabledView,
}

impl<'a> SubscriptionDisabled<'a> {
    #[must_use]
    pub fn of(user_id: &'a UserId, listed: &'a Listed, disabled: Disabled) -> Self {
        let enabled_at = listed.health.enabled_at.unwrap_or(listed.created_at).millis();
        let hash = Sha256::digest(format!("{}/{enabled_at}", listed.id));
        Self {
            event_id: hex(hash.get(..16).unwrap_or_default()),
            user_id,
            key_id: listed.holder.as_ref().map(Holder::key_id),
            agent_name: listed.agent_name.as_ref(),
            disabled: disabled.into(),
        }
    }
}

/// That all runs of a batch have ended; `infra/events/batch-completed.schema.json` describes it.
#[derive(Debug, Serialize)]
pub struct BatchCompleted<'a> {
    /// The same when the event is repeated.
    pub event_id: String,
    pub batch_id: &'a BatchId,
    pub user_id: &'a UserId,
    pub agents: &'a BTreeSet<AgentName>,
    pub size: u32,
    /// How many runs ended how.
    pub counts: &'a Counts,
    #[serde(serialize_with = "Timestamp::as_rfc3339")]
    pub created_at: Timestamp,
    #[serde(serialize_with = "Timestamp::as_rfc3339")]
    pub completed_at: Timestamp,
    pub started_by: &'a Actor,
}

impl<'a> BatchCompleted<'a> {
    #[must_use]
    pub fn of(batch: &'a Batch, summary: &'a BatchSummary) -> Self {
        let hash = Sha256::digest(batch.batch_id.as_str());
        Self {
            event_id: hex(hash.get(..16).unwrap_or_default()),
            batch_id: &batch.batch_id,
            user_id: &batch.user_id,
            agents: &batch.agents,
            size: batch.size,
            counts: &summary.counts,
            created_at: batch.requested_at,
            completed_at: summary.completed_at,
            started_by: &batch.started_by,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Bus {
    client: OnDemand<Client>,
    name: String,
}

impl Bus {
    #[must_use]
    pub fn new(config: &SdkConfig, name: String) -> Self {
        Self { client: on_demand(config, Client::new), name }
    }

    /// Opens the connection by which changes are published: see [`crate::aws::connection::warm_up`].
    pub async fn warm_up(&self) {
        drop(self.client.put_events().customize().interceptor(Preconnect).send().await);
    }

    /// Publishes a change. What Step Functions says is published before it is committed: what fails
    /// afterwards is done again, so every change is told at least once. What we conclude ourselves is
    /// published once it is committed, and once more when `sweep` checks it.
    pub async fn publish(&self, change: &StatusChange<'_>) -> Result<(), Error> {
        self.put(DETAIL_TYPE, change).await
    }

    /// The same of a subscription.
    pub async fn publish_disabled(&self, event: &SubscriptionDisabled<'_>) -> Result<(), Error> {
        self.put(DISABLED_TYPE, event).await
    }

    /// The same of a batch.
    pub async fn publish_batch(&self, event: &BatchCompleted<'_>) -> Result<(), Error> {
        self.put(BATCH_TYPE, event).await
    }

    async fn put(&self, detail_type: &str, detail: &impl Serialize) -> Result<(), Error> {
        let detail =
            serde_json::to_string(detail).map_err(|error| Error::corrupt("an event", error))?;
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(&self.name)
            .source(SOURCE)
            .detail_type(detail_type)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::domain::{
        health::{DisabledReason, Health},
        json::Json,
        question::Ask,
    };

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn events_are_what_is_described_to_subscribers() {
        let schema = include_str!("../../../infra/events/status-change.schema.json");
        let schema: Value = serde_json::from_str(schema).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let before: Execution = serde_json::from_value(json!({
            "execution_id": "mcp-echo-1", "user_id": "someone", "agent_name": "echo",
            "state_machine_arn": "arn:aws:states:eu-west-1:111122223333:stateMachine:echo",
            "status": "running", "redrive_count": 0, "rank": 20, "launch_before": 9_000,
            "created_at": 1_000, "updated_at": 2_000, "tags": {"a": "b"},
            "started_by": {"user_id": "someone", "key_id": "ab"},
        }))
        .unwrap();
        let token = "secret".to_owned().into();
        let schema = Json::parse(r#"{"type": "number", "maximum": 1.10}"#).unwrap();
        let ask = Ask::new(token, "Why?".to_owned(), schema, None).unwrap();
        let question = Question::asked(&ask, &before, Timestamp::from_millis(3_000));
        let mut after = Execution { sequence: 1, ..before.clone() };
        after.open_questions.insert(question.question_id.clone());

        let asked = StatusChange::with_question(&before, &after, &question);
        let written = serde_json::to_string(&asked).unwrap();
        assert!(written.contains(r#""schema":{"type": "number", "maximum": 1.10}"#), "{written}");
        let asked = json!(asked);
        let mut answered = StatusChange::between(&after, &before);
        let by = before.started_by.clone().map(Answerer::from);
        answered.answered_by = by.as_ref();
        let answered = json!(answered);
        for event in [&asked, &answered] {
            assert!(validator.is_valid(event), "{:?}", validator.validate(event));
        }
        assert_eq!(
            (&asked["status"], &asked["previous_status"]),
            (&json!("input_required"), &json!("running"))
        );
        assert_eq!(asked["questions"][0]["question"], "Why?");
        assert!(!asked.to_string().contains("secret"));
        assert_ne!(asked["event_id"], answered["event_id"]);
    }

    #[test]
    fn so_is_what_befalls_subscriptions() {
        let schema = include_str!("../../../infra/events/subscription-disabled.schema.json");
        let schema: Value = serde_json::from_str(schema).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let at = Timestamp::from_millis(1_767_225_600_000);
        let mut listed: Listed = serde_json::from_value(json!({
            "id": "sub_01m82fnbk6he8p6hq9b40e0c0s", "url": "https://example.com/hook?token=secret",
            "events": [], "created_at": at,
        }))
        .unwrap();
        let event = |listed: &Listed, health: Health| {
            let disabled = Disabled {
                subscription_id: listed.id.clone(),
                host: listed.url.host().to_owned(),
                lineage: "secret".to_owned().into(),
                health,
            };
            let user = "someone".to_owned().into();
            json!(SubscriptionDisabled::of(&user, listed, disabled))
        };

        let failing = Health::default().failed(at);
        let once = event(&listed, failing.disabled(DisabledReason::Failing, at));
        let again = event(&listed, failing.disabled(DisabledReason::Failing, at.plus(DAY)));
        listed.health = failing.enabled(at);
        let succeeded = failing.succeeded(at).failed(at);
        let later = event(&listed, succeeded.disabled(DisabledReason::Gone, at));
        for event in [&once, &again, &later] {
            assert!(validator.is_valid(event), "{:?}", validator.validate(event));
            assert!(!event.to_string().contains("secret"), "{event}");
        }
        assert_eq!((&once["event_id"], &once["host"]), (&again["event_id"], &json!("example.com")));
        let enabled_then = Listed { health: failing.enabled(at.plus(DAY)), ..listed };
        assert_ne!(event(&enabled_then, failing)["event_id"], later["event_id"]);
    }
}
