//! What things are called: agents, executions, users, subscriptions and questions. All others may look here, and this
//! file looks nowhere.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ulid::Ulid;

use crate::domain::digest::hex;

/// Invariant: 1 to 80 characters of `[A-Za-z0-9_-]`.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    inline,
    description = "The name of an agent.",
    extend("pattern" = "^[A-Za-z0-9_-]{1,80}$")
)]
pub struct AgentName(String);

impl AgentName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name under which a subscription is tried, of an agent that need not exist.
impl Default for AgentName {
    fn default() -> Self {
        Self("test".to_owned())
    }
}

/// The text is not an [`AgentName`].
#[derive(Debug, thiserror::Error)]
#[error("must be 1 to 80 characters of A-Z, a-z, 0-9, _ and -")]
pub struct InvalidAgentName;

impl TryFrom<String> for AgentName {
    type Error = InvalidAgentName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let valid = (1..=80).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if valid { Ok(Self(text)) } else { Err(InvalidAgentName) }
    }
}

impl FromStr for AgentName {
    type Err = InvalidAgentName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl From<AgentName> for String {
    fn from(name: AgentName) -> Self {
        name.0
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Each execution's name in Step Functions starts so; the EventBridge rule filters on it.
const NAME_PREFIX: &str = "mcp-";

/// The id that callers see, which is also the name given to `StartExecution`:
/// `mcp-<agent>-<ULID, lower case>`.
///
/// Invariant: 1 to 80 characters of `[A-Za-z0-9_-]` that start with `mcp-`
/// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html>).
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    inline,
    description = "The id of an execution.",
    extend("pattern" = "^mcp-[A-Za-z0-9_-]{1,76}$")
)]
pub struct ExecutionId(String);

impl ExecutionId {
    const MAX_LENGTH: usize = 80;

    /// A new id. A long agent name is cut, so that the whole fits in 80 characters; 80 random
    /// bits make it unguessable.
    #[must_use]
    pub fn generate(agent: &AgentName) -> Self {
        let ulid = Ulid::generate().to_string().to_ascii_lowercase();
        let room = Self::MAX_LENGTH - NAME_PREFIX.len() - 1 - ulid.len();
        let agent = agent.as_str().get(..room).unwrap_or(agent.as_str());
        Self(format!("{NAME_PREFIX}{agent}-{ulid}"))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A number that spreads executions evenly.
    #[must_use]
    pub fn spread(&self) -> u8 {
        // The last characters of a ULID are random.
        self.0
            .bytes()
            .rev()
            .take(4)
            .fold(0, |sum: u8, byte| sum.wrapping_mul(31).wrapping_add(byte))
    }
}

/// The text is not an [`ExecutionId`].
#[derive(Debug, thiserror::Error)]
#[error("not an execution id")]
pub struct InvalidExecutionId;

impl TryFrom<String> for ExecutionId {
    type Error = InvalidExecutionId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let valid = text.len() <= Self::MAX_LENGTH
            && text.len() > NAME_PREFIX.len()
            && text.starts_with(NAME_PREFIX)
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if valid { Ok(Self(text)) } else { Err(InvalidExecutionId) }
    }
}

impl FromStr for ExecutionId {
    type Err = InvalidExecutionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl From<ExecutionId> for String {
    fn from(id: ExecutionId) -> Self {
        id.0
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The owner of runs: the `user_id` of an API key, or `<issuer alias>|<sub>` of a token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct UserId(String);

impl UserId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for UserId {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// `sub_<ULID, lower case>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    inline,
    description = "The id of a subscription.",
    extend("pattern" = "^sub_[0-9A-Za-z]{26}$")
)]
pub struct SubscriptionId(String);

impl SubscriptionId {
    #[must_use]
    pub fn generate() -> Self {
        Self(format!("sub_{}", Ulid::generate().to_string().to_ascii_lowercase()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not a [`SubscriptionId`].
#[derive(Debug, thiserror::Error)]
#[error("not a subscription id")]
pub struct InvalidSubscriptionId;

impl TryFrom<String> for SubscriptionId {
    type Error = InvalidSubscriptionId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let ulid = text.strip_prefix("sub_").ok_or(InvalidSubscriptionId)?;
        let valid = ulid.len() == 26 && ulid.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if valid { Ok(Self(text)) } else { Err(InvalidSubscriptionId) }
    }
}

impl FromStr for SubscriptionId {
    type Err = InvalidSubscriptionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl From<SubscriptionId> for String {
    fn from(id: SubscriptionId) -> Self {
        id.0
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What Step Functions takes an answer by. It is a credential: no reader of runs loads it, and it
/// is never logged or returned.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskToken(String);

impl TaskToken {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for TaskToken {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for TaskToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TaskToken(..)")
    }
}

/// How the sort key of each question starts.
pub const QUESTION_PREFIX: &str = "question#";

/// Follows from the task token, so that a repeated event is the same question, and tells nothing
/// of it. Invariant: 32 digits of lower-case hexadecimal.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(inline, description = "The id of a question.", extend("pattern" = "^[0-9a-f]{32}$"))]
pub struct QuestionId(String);

impl QuestionId {
    #[must_use]
    pub fn of(token: &TaskToken) -> Self {
        let hash = Sha256::digest(token.as_str());
        Self(hex(hash.get(..16).unwrap_or_default()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The sort key of the question's item.
    #[must_use]
    pub fn part(&self) -> String {
        format!("{QUESTION_PREFIX}{}", self.0)
    }
}

/// The text is not a [`QuestionId`].
#[derive(Debug, thiserror::Error)]
#[error("not a question id")]
pub struct InvalidQuestionId;

impl TryFrom<String> for QuestionId {
    type Error = InvalidQuestionId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let valid = text.len() == 32
            && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
        if valid { Ok(Self(text)) } else { Err(InvalidQuestionId) }
    }
}

impl FromStr for QuestionId {
    type Err = InvalidQuestionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl From<QuestionId> for String {
    fn from(id: QuestionId) -> Self {
        id.0
    }
}

impl fmt::Display for QuestionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_valid_execution_name_even_for_a_long_agent_name() {
        for length in [1, 49, 50, 80] {
            let agent: AgentName = "a".repeat(length).parse().unwrap();
            let id = ExecutionId::generate(&agent);

            assert!(id.as_str().len() <= 80, "{id}");
            assert!(id.as_str().starts_with("mcp-a"));
            assert_eq!(id.as_str().parse::<ExecutionId>().unwrap(), id);
        }
    }

    #[test]
    fn ids_that_step_functions_would_refuse_are_refused() {
        let long = format!("mcp-{}", "a".repeat(77));
        for text in ["", "mcp-", "echo-1", "mcp-a b", "mcp-é", "mcp-a/b", "mcp-a#b", &long] {
            assert!(text.parse::<ExecutionId>().is_err(), "{text}");
        }
    }
}
