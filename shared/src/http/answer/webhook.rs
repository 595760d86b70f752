//! What a webhook is: the body of a callback, and of what is sent to a subscription.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    domain::{
        answer_link::AnswerLink,
        delivery::Delivery,
        event_type::EventType,
        id::{AgentName, ExecutionId},
        outcome::Outcome,
        question::QuestionView,
        status::Status,
        subscription::DisabledView,
        time::Timestamp,
    },
    http::answer::{batch::BatchView, monitor::shown_progress, results::Results},
};

/// The body. It is written as it stands here, and never as a tree, which would round the numbers of an
/// agent's answer.
#[derive(Debug, Serialize)]
pub struct Webhook {
    #[serde(rename = "type")]
    pub event: EventType,
    /// When the event occurred.
    #[serde(serialize_with = "Timestamp::as_rfc3339")]
    pub timestamp: Timestamp,
    pub data: WebhookData,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum WebhookData {
    /// Of the run.
    Results(Box<Results>),
    Report(AgentReportView),
    Disabled(DisabledView),
    Batch(BatchView),
    Test(TestData),
}

/// The data of a test event.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TestData {
    pub message: &'static str,
}

impl Webhook {
    /// The event of a delivery; `outcome` is how its run ended, if it has.
    #[must_use]
    pub fn of(delivery: &Delivery, outcome: Option<&Outcome>) -> Self {
        let data = match (delivery.event, &delivery.disabled) {
            (EventType::Progress | EventType::InputRequired, _) => {
                WebhookData::Report(AgentReportView::delivered(delivery))
            }
            (EventType::Disabled, Some(disabled)) => WebhookData::Disabled(disabled.clone().into()),
            (EventType::BatchCompleted, _) if let Some(batch) = &delivery.batch => {
                WebhookData::Batch(BatchView::told(batch))
            }
            _ => match Results::delivered(delivery, outcome) {
                Some(results) => WebhookData::Results(Box::new(results)),
                None => {
                    WebhookData::Test(TestData { message: "This is a test of your subscription." })
                }
            },
        };
        Self { event: delivery.event, timestamp: delivery.occurred_at, data }
    }

    /// The same, with the link to its question; `base` is the address of the API. Only for who may answer.
    #[must_use]
    pub fn with_answer_link(mut self, delivery: &Delivery, base: &str, master: &[u8]) -> Self {
        if let WebhookData::Report(report) = &mut self.data
            && let Some(question) = &delivery.question
        {
            let url = AnswerLink::to(&delivery.execution_id, question).url(base, master);
            for view in &mut report.questions {
                view.answer_url = Some(url.clone());
            }
        }
        self
    }
}

/// What an agent reports while it runs: its progress, or a question.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AgentReportView {
    pub execution_id: ExecutionId,
    pub agent_name: AgentName,
    pub status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<QuestionView>,
}

impl AgentReportView {
    #[must_use]
    pub fn delivered(delivery: &Delivery) -> Self {
        Self {
            execution_id: delivery.execution_id.clone(),
            agent_name: delivery.agent_name.clone(),
            status: delivery.event.status(),
            progress: delivery.progress.map(shown_progress),
            message: delivery.message.clone(),
            questions: delivery.question.iter().map(QuestionView::from).collect(),
        }
    }
}
