//! A subscription: where the news of all of a user's runs goes, not of one alone.

use std::{collections::BTreeMap, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::{
    agent::AgentName,
    callback::{self, Callback, CallbackUrl, NewsType},
    error::Error,
    execution::Execution,
    network::CallbackAllow,
    time::Timestamp,
};

/// How many a user may have.
pub const MAX_SUBSCRIPTIONS: u32 = 50;

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

/// As it is stored. Like a callback's, its URL and headers are credentials.
#[derive(Clone, Serialize, Deserialize)]
pub struct Subscription {
    pub id: SubscriptionId,
    pub url: CallbackUrl,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    pub events: Vec<NewsType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<AgentName>,
    pub created_at: Timestamp,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Subscription({} to {})", self.id, self.url.host())
    }
}

impl From<Subscription> for Callback {
    fn from(subscription: Subscription) -> Self {
        Self { url: subscription.url, headers: subscription.headers }
    }
}

/// The part of a subscription that says which runs it is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Interest {
    pub id: SubscriptionId,
    pub events: Vec<NewsType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<AgentName>,
}

impl Interest {
    /// Whether this news of this run is wanted.
    #[must_use]
    pub fn wants(&self, news: NewsType, execution: &Execution) -> bool {
        self.events.contains(&news)
            && self.agent_name.as_ref().is_none_or(|agent| *agent == execution.agent_name)
    }
}

/// The body of `POST /v1/subscriptions`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscribeBody {
    /// Public https, or to a host that the deployment allows.
    #[schemars(length(min = 1, max = callback::MAX_URL))]
    url: String,
    #[serde(default)]
    #[schemars(schema_with = "callback::wanted_news_schema")]
    events: Option<Vec<NewsType>>,
    #[serde(default)]
    agent_name: Option<AgentName>,
    #[serde(default)]
    #[schemars(extend("maxProperties" = callback::MAX_HEADERS))]
    headers: BTreeMap<String, String>,
}

impl SubscribeBody {
    /// Checks all that can be checked without I/O.
    pub fn check(self, allow: &CallbackAllow) -> Result<Subscription, Error> {
        callback::check_headers(&self.headers).map_err(|error| error.at("headers"))?;
        let url = CallbackUrl::parse(&self.url, allow).map_err(|error| error.at("url"))?;
        let events =
            callback::wanted_news(&url, self.events).map_err(|error| error.at("events"))?;
        Ok(Subscription {
            id: SubscriptionId::generate(),
            url,
            headers: self.headers,
            events,
            agent_name: self.agent_name,
            created_at: Timestamp::now(),
        })
    }
}

/// What callers read of a subscription: the headers it is sent with are never given out.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SubscriptionView {
    pub id: SubscriptionId,
    pub url: CallbackUrl,
    pub events: Vec<NewsType>,
    #[serde(default)]
    pub agent_name: Option<AgentName>,
    #[serde(serialize_with = "Timestamp::as_rfc3339")]
    pub created_at: Timestamp,
}

impl From<Subscription> for SubscriptionView {
    fn from(subscription: Subscription) -> Self {
        let Subscription { id, url, headers: _, events, agent_name, created_at } = subscription;
        Self { id, url, events, agent_name, created_at }
    }
}
