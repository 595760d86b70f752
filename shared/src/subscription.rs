//! A subscription: where the news of all of a user's runs goes, not of one alone.

use std::{collections::BTreeMap, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::{
    agent::AgentName,
    callback::{self, Callback, CallbackUrl, NewsType},
    caller::{Action, Caller},
    error::Error,
    execution::Execution,
    network::CallbackAllow,
    rights::Holder,
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
    /// By whose right something is sent here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Subscription({} to {})", self.id, self.url.host())
    }
}

impl From<Subscription> for Callback {
    fn from(subscription: Subscription) -> Self {
        Self { url: subscription.url, headers: subscription.headers, holder: subscription.holder }
    }
}

/// The part of a subscription that says which runs it is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Interest {
    pub id: SubscriptionId,
    pub events: Vec<NewsType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<AgentName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
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
    pub fn check(self, caller: &Caller, allow: &CallbackAllow) -> Result<Subscription, Error> {
        callback::check_headers(&self.headers).map_err(|error| error.at("headers"))?;
        let url = CallbackUrl::parse(&self.url, allow).map_err(|error| error.at("url"))?;
        caller.arrival.refuse_own(&url).map_err(|error| error.at("url"))?;
        let events =
            callback::wanted_news(&url, self.events).map_err(|error| error.at("events"))?;
        // News is a way of reading, which the caller must be allowed now, and when it is sent.
        match &self.agent_name {
            Some(agent) => caller.require(Action::View, agent)?,
            None => caller.require_all(Action::View)?,
        }
        Ok(Subscription {
            id: SubscriptionId::generate(),
            url,
            headers: self.headers,
            events,
            agent_name: self.agent_name,
            created_at: Timestamp::now(),
            holder: Some(Holder::of(caller)),
        })
    }
}

/// A subscription as it is listed, without the headers it is sent with, which are never given out.
#[derive(Debug, Clone, Deserialize)]
pub struct Listed {
    pub id: SubscriptionId,
    pub url: CallbackUrl,
    pub events: Vec<NewsType>,
    #[serde(default)]
    pub agent_name: Option<AgentName>,
    pub created_at: Timestamp,
    #[serde(default)]
    pub holder: Option<Holder>,
}

impl Listed {
    /// A key's own are always its own; those of the user's other keys are another matter.
    #[must_use]
    pub fn may_be_seen(&self, caller: &Caller) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.is(caller))
            || caller.permissions.allow_all(Action::Manage)
    }
}

/// What callers read of a subscription.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SubscriptionView {
    pub id: SubscriptionId,
    pub url: CallbackUrl,
    pub events: Vec<NewsType>,
    pub agent_name: Option<AgentName>,
    #[serde(serialize_with = "Timestamp::as_rfc3339")]
    pub created_at: Timestamp,
    /// The name of the key or token that made it.
    pub key_id: Option<String>,
    /// When it ends: with the token that made it. One that a key has made ends with the key.
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub expires_at: Option<Timestamp>,
}

impl From<Subscription> for SubscriptionView {
    fn from(subscription: Subscription) -> Self {
        let Subscription { id, url, headers: _, events, agent_name, created_at, holder } =
            subscription;
        Listed { id, url, events, agent_name, created_at, holder }.into()
    }
}

impl From<Listed> for SubscriptionView {
    fn from(listed: Listed) -> Self {
        let Listed { id, url, events, agent_name, created_at, holder } = listed;
        let key_id = holder.as_ref().map(|holder| holder.key_id().to_owned());
        let expires_at = holder.as_ref().and_then(Holder::until);
        Self { id, url, events, agent_name, created_at, key_id, expires_at }
    }
}
