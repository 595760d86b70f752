//! The bodies of requests about what exists, and their short answers.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{
    batch_id::BatchId,
    error::Error,
    execution::Execution,
    id::{AgentName, ExecutionId, QuestionId, UserId},
    json::Json,
    status::Status,
    subscription::SubscriptionView,
    time::Timestamp,
};

/// The response to an accepted cancellation.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Cancelling {
    pub execution_id: ExecutionId,
    /// Always `cancelling`. The run ends as soon as Step Functions has stopped it. If it ends by
    /// itself first, its status is not `cancelled`.
    pub status: &'static str,
}

/// The body of a redrive, which may be missing, too.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedriveBody {}

/// The response to an accepted redrive.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Redriving {
    pub execution_id: ExecutionId,
    /// Always `redriving`. The run is `running` again as soon as Step Functions has redriven it; if that refuses it,
    /// `redrive_refusal` of the run says why.
    pub status: &'static str,
}

/// The body of `POST /v1/executions/{execution_id}/input`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerBody {
    /// Any JSON that is valid for the question's schema.
    pub answer: Json,
    /// The question to answer. Optional if the agent asks only one.
    #[serde(default)]
    pub question_id: Option<String>,
}

/// The body of `POST /v1/answers`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkAnswerBody {
    /// The part of the answer link after `#`.
    pub token: String,
    /// Any JSON that is valid for the question's schema.
    pub answer: Json,
    /// The name of the person who answers, 1 to 100 characters on one line. Nobody checks it.
    #[schemars(extend(
        "minLength" = 1,
        "maxLength" = 100,
        "pattern" = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    ))]
    pub name: String,
}

/// The answer is stored and will be given to the agent.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Answered {
    pub execution_id: ExecutionId,
    pub question_id: QuestionId,
    /// Always `answered`.
    pub status: &'static str,
}

/// A new subscription, with the secret that verifies its webhooks.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Subscribed {
    #[serde(flatten)]
    pub subscription: SubscriptionView,
    /// `whsec_…`, in the format of Standard Webhooks.
    pub secret: String,
}

/// The body of `POST /v1/subscriptions/{subscription_id}/recover`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecoverBody {
    /// Schedule the deliveries again that became `undelivered` at this time or later.
    #[schemars(extend("format" = "date-time"))]
    pub since: String,
    /// The `next_cursor` of the previous response.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// How many deliveries are scheduled again.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Recovered {
    pub recovered: u32,
    /// Pass it as `cursor` to continue. Missing if there are no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// The secret that verifies webhooks.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SecretView {
    /// `whsec_…`, in the format of Standard Webhooks.
    pub secret: String,
    pub generation: u32,
    /// The old secret, which signs as well until `previous_until`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_secret: Option<String>,
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub previous_until: Option<Timestamp>,
}

/// The delivery of a test event.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TestView {
    pub delivery_id: String,
}

/// What `GET /v1/executions` asks for.
#[derive(Debug, Clone, Default)]
pub struct ListRequest {
    pub agent_name: Option<AgentName>,
    pub status: Option<Status>,
    /// 1 to 100.
    pub limit: usize,
    pub cursor: Option<String>,
    /// Another user's runs, for an admin.
    pub owner: Option<UserId>,
    /// Only what has not ended.
    pub open: bool,
    /// Only what went wrong lately; for an admin, without `owner`, of everybody.
    pub trouble: bool,
    /// With `trouble`: since when.
    pub since: Option<Timestamp>,
    /// Only runs that were created at this time or later, and before that one.
    pub created_after: Option<Timestamp>,
    pub created_before: Option<Timestamp>,
    /// Only runs with this tag, as `key=value`.
    pub tag: Option<String>,
    /// Only the runs of this batch, in the order of its items.
    pub batch_id: Option<BatchId>,
}

impl ListRequest {
    pub const DEFAULT_LIMIT: usize = 20;
    pub const MAX_LIMIT: usize = 100;
    /// The longest user's id, in bytes: what DynamoDB takes as a key.
    pub const MAX_OWNER: usize = 1024;
    pub const WRONG_LIMIT: &str = "must be a number from 1 to 100";

    /// Whether it asks for this run, whoever's it is and whatever went wrong with it.
    #[must_use]
    pub fn wants(&self, run: &Execution) -> bool {
        self.agent_name.as_ref().is_none_or(|agent| *agent == run.agent_name)
            && !(self.open && run.status.is_end())
            && self.status.is_none_or(|status| status == run.shown_status())
            && self.created().contains(&run.created_at)
            && self.wants_tags(&run.tags)
    }

    /// When the runs may have been created.
    #[must_use]
    pub fn created(&self) -> RangeInclusive<Timestamp> {
        let after = self.created_after.unwrap_or(Timestamp::from_millis(0));
        let before = self.created_before.map(|before| before.minus(Duration::from_millis(1)));
        after..=before.unwrap_or(Timestamp::from_millis(i64::MAX))
    }

    /// Whether these tags have the one that is asked for, if any is.
    #[must_use]
    pub fn wants_tags(&self, tags: &BTreeMap<String, String>) -> bool {
        let Some(wanted) = &self.tag else { return true };
        tags.iter().any(|(key, value)| format!("{key}={value}") == *wanted)
    }

    /// How many are asked for, where that is said.
    pub fn limit(asked: Option<usize>) -> Result<usize, Error> {
        let limit = asked.unwrap_or(Self::DEFAULT_LIMIT);
        if (1..=Self::MAX_LIMIT).contains(&limit) {
            return Ok(limit);
        }
        Err(Error::invalid("limit", Self::WRONG_LIMIT))
    }
}
