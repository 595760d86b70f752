//! The webhooks that receivers get, an entry for each type of event
//! (<https://spec.openapis.org/oas/v3.1.1.html#openapi-object>).

use serde_json::{Value, json};

use crate::{
    domain::{event_type::EventType, subscription::DisabledView},
    http::{
        answer::{
            batch::BatchView,
            results::Results,
            webhook::{AgentReportView, TestData},
        },
        openapi::{
            builder::Document,
            examples::{BATCH_ID, EXECUTION_ID, results},
        },
    },
};

/// The headers of Standard Webhooks
/// (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
const HEADERS: [(&str, &str); 3] = [
    ("webhook-id", "The same for every attempt to deliver this event. Use it to drop duplicates."),
    ("webhook-timestamp", "The time of this attempt, in seconds since 1970."),
    (
        "webhook-signature",
        "`v1,` and the signature in Base64. During a rotation: two, separated by a space.",
    ),
];

impl Document {
    /// All that may be sent.
    pub(super) fn webhooks(&mut self) {
        for event in EventType::ALL {
            let (summary, schema, data) = match event {
                EventType::Running => {
                    ("A run was started.", self.answers.subschema_for::<Results>(), running())
                }
                EventType::Progress => (
                    "An agent reports its progress.",
                    self.answers.subschema_for::<AgentReportView>(),
                    progress(),
                ),
                EventType::InputRequired => (
                    "An agent asks a question.",
                    self.answers.subschema_for::<AgentReportView>(),
                    question(),
                ),
                EventType::Completed => {
                    ("A run completed.", self.answers.subschema_for::<Results>(), results())
                }
                EventType::Failed => (
                    "A run failed.",
                    self.answers.subschema_for::<Results>(),
                    ended("failed", "Example.Refused", "It always fails."),
                ),
                EventType::Timeout => (
                    "A run exceeded its time limit.",
                    self.answers.subschema_for::<Results>(),
                    ended("timeout", "States.Timeout", "its timeout_seconds had passed"),
                ),
                EventType::Cancelled => (
                    "A run was cancelled.",
                    self.answers.subschema_for::<Results>(),
                    ended("cancelled", "Cancelled", "the caller has cancelled it"),
                ),
                EventType::BatchCompleted => (
                    "All runs of a batch have ended.",
                    self.answers.subschema_for::<BatchView>(),
                    json!({
                        "batch_id": BATCH_ID, "status": "completed", "size": 3,
                        "counts": {"completed": 2, "failed": 1},
                        "created_at": "2026-01-31T09:00:00.000Z",
                        "completed_at": "2026-01-31T09:00:04.100Z",
                    }),
                ),
                EventType::Test => (
                    "A test of a subscription.",
                    self.answers.subschema_for::<TestData>(),
                    json!({"message": "This is a test of your subscription."}),
                ),
                EventType::Disabled => (
                    "Another subscription of yours was disabled.",
                    self.answers.subschema_for::<DisabledView>(),
                    disabled(),
                ),
            };
            let name = json!(event);
            let parameters = HEADERS.map(|(name, description)| {
                json!({
                    "name": name, "in": "header", "required": true, "description": description,
                    "schema": {"type": "string"},
                })
            });
            let time = json!({"type": "string", "format": "date-time", "description": "When the event occurred."});
            let entry = json!({"post": {
                "summary": summary,
                "description": "Verify the signature first: use a Standard Webhooks library, or see docs/rest.md.",
                "security": [],
                "parameters": parameters,
                "requestBody": {"required": true, "content": {"application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["type", "timestamp", "data"],
                        "properties": {"type": {"const": name}, "timestamp": time, "data": schema},
                    },
                    "example": {"type": name, "timestamp": "2026-01-31T09:00:02.200Z", "data": data},
                }}},
                "responses": {
                    "2XX": {"description": "You received the event. It is not sent again."},
                    "410": {"description": "You no longer want events. This one is not sent again, and a subscription is disabled."},
                    "default": {"description": "The attempt failed. It is retried, following the schedule."},
                },
            }});
            self.webhooks.insert(name.as_str().unwrap_or_default().to_owned(), entry);
        }
    }
}

fn running() -> Value {
    json!({
        "execution_id": EXECUTION_ID, "status": "running", "message": "Execution not yet complete",
    })
}

fn progress() -> Value {
    json!({
        "execution_id": EXECUTION_ID, "agent_name": "assistant", "status": "running", "progress": 50,
        "message": "Reading the documents",
    })
}

fn question() -> Value {
    json!({
        "execution_id": EXECUTION_ID, "agent_name": "approval", "status": "input_required", "questions": [{
            "id": "96dc4dc0a96f980b54b807b053cf8825", "question": "May it be sent?",
            "schema": {"type": "object", "properties": {"approved": {"type": "boolean"}}},
            "asked_at": "2026-01-31T09:00:01.000Z",
        }],
    })
}

fn ended(status: &str, code: &str, cause: &str) -> Value {
    json!({
        "execution_id": EXECUTION_ID, "status": status, "agent_name": "echo",
        "started_at": "2026-01-31T09:00:00.120Z", "completed_at": "2026-01-31T09:00:02.200Z",
        "execution_time_ms": 2080, "error": {"code": code, "cause": cause},
    })
}

fn disabled() -> Value {
    json!({
        "subscription_id": "sub_01m82fnbk6he8p6hq9b40e0c0s", "host": "example.com",
        "failing_since": "2026-01-26T09:00:00.000Z", "failures": 61,
        "disabled_at": "2026-01-31T09:00:00.000Z", "disabled_reason": "failing",
    })
}
