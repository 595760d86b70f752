//! A subscription: where the events of all of a user's runs go, not of one alone.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{
    callback::{self, Callback},
    callback_url::{self, CallbackUrl},
    caller::{Action, Caller, Credential},
    error::Error,
    event_type::EventType,
    health::{DisabledReason, Health},
    id::{AgentName, SubscriptionId},
    network::CallbackAllow,
    rights::Holder,
    signature::{Generation, Signer, Signing},
    time::Timestamp,
};

/// How many a user may have.
pub const MAX_SUBSCRIPTIONS: u32 = 50;

/// As it is stored. Like a callback's, its URL and headers are credentials.
#[derive(Clone, Serialize, Deserialize)]
pub struct Subscription {
    pub id: SubscriptionId,
    pub url: CallbackUrl,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    pub events: Vec<EventType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<AgentName>,
    pub created_at: Timestamp,
    /// By whose right something is sent here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// The generation of its own signing secret. One that was made before there were any is signed
    /// with its user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing: Option<Generation>,
    #[serde(flatten)]
    pub health: Health,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Subscription({} to {})", self.id, self.url.host())
    }
}

impl Subscription {
    /// What it is signed with, if that is its own.
    #[must_use]
    pub fn own_signing(&self) -> Option<Signing> {
        let generation = self.signing?;
        Some(Signing { signer: Signer::Subscription(self.id.clone()), generation })
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
    pub events: Vec<EventType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<AgentName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<Timestamp>,
}

impl Interest {
    /// Whether this event is wanted, of a run of this agent, or of runs of these.
    #[must_use]
    pub fn wants<'a>(
        &self,
        event: EventType,
        agents: impl IntoIterator<Item = &'a AgentName>,
    ) -> bool {
        self.disabled_at.is_none()
            && self.events.contains(&event)
            && self.agent_name.as_ref().is_none_or(|own| agents.into_iter().all(|it| it == own))
    }
}

/// The body of `POST /v1/subscriptions`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscribeBody {
    /// A public https URL, or a URL of a host that the deployment allows.
    #[schemars(length(min = 1, max = callback_url::MAX_URL))]
    url: String,
    #[serde(default)]
    #[schemars(schema_with = "callback::subscribed_events_schema")]
    events: Option<Vec<EventType>>,
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
        let events = callback::wanted_events(&url, self.events, &EventType::OF_SUBSCRIPTIONS)
            .map_err(|error| error.at("events"))?;
        may_make(caller, self.agent_name.as_ref())?;
        Ok(Subscription {
            id: SubscriptionId::generate(),
            url,
            headers: self.headers,
            events,
            agent_name: self.agent_name,
            created_at: Timestamp::now(),
            holder: Some(Holder::of(caller)),
            signing: Some(Generation::default()),
            health: Health::default(),
        })
    }
}

/// Refuses who may not subscribe to this agent, or to all. Events are a way of reading, which the caller
/// must be allowed now, and when it is sent.
fn may_make(caller: &Caller, agent: Option<&AgentName>) -> Result<(), Error> {
    match agent {
        Some(agent) => caller.require(Action::View, agent),
        None => caller.require_all(Action::View),
    }
}

/// A key's own are always its own; those of the user's other keys are another matter.
fn may_be_seen(holder: Option<&Holder>, caller: &Caller) -> bool {
    holder.is_some_and(|holder| holder.is(caller)) || caller.permissions.allow_all(Action::Manage)
}

/// Whose secret signs what a subscription is sent, and who may have it.
#[derive(Debug, Deserialize)]
pub struct Signed {
    #[serde(default)]
    pub agent_name: Option<AgentName>,
    #[serde(default)]
    pub holder: Option<Holder>,
    #[serde(default)]
    pub signing: Option<Generation>,
}

impl Signed {
    #[must_use]
    pub fn may_be_seen(&self, caller: &Caller) -> bool {
        may_be_seen(self.holder.as_ref(), caller)
    }

    /// Whether this caller may have its secret: with `manage`, or as who has made it and still might.
    /// The user's secret is no single subscription's, and needs `manage` in any case.
    pub fn permit(&self, caller: &Caller) -> Result<(), Error> {
        if !may_be_seen(self.holder.as_ref(), caller) {
            return Err(Error::NotFound("subscription"));
        }
        match self.signing {
            _ if caller.permissions.allow_all(Action::Manage) => Ok(()),
            Some(_) => may_make(caller, self.agent_name.as_ref()),
            None => caller.require_all(Action::Manage),
        }
    }
}

/// A subscription as it is listed, without the headers it is sent with, which are never given out.
#[derive(Debug, Clone, Deserialize)]
pub struct Listed {
    pub id: SubscriptionId,
    pub url: CallbackUrl,
    pub events: Vec<EventType>,
    #[serde(default)]
    pub agent_name: Option<AgentName>,
    pub created_at: Timestamp,
    #[serde(default)]
    pub holder: Option<Holder>,
    /// Of the same item.
    #[serde(skip)]
    pub health: Health,
}

impl Listed {
    #[must_use]
    pub fn may_be_seen(&self, caller: &Caller) -> bool {
        may_be_seen(self.holder.as_ref(), caller)
    }
}

/// A subscription.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SubscriptionView {
    pub id: SubscriptionId,
    pub url: CallbackUrl,
    pub events: Vec<EventType>,
    pub agent_name: Option<AgentName>,
    #[serde(serialize_with = "Timestamp::as_rfc3339")]
    pub created_at: Timestamp,
    /// The id of the key or token that created it.
    pub key_id: Option<String>,
    /// When it ends: with the token that created it. A subscription of a key ends with the key.
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub expires_at: Option<Timestamp>,
    #[serde(flatten)]
    pub health: HealthView,
}

impl From<Subscription> for SubscriptionView {
    fn from(subscription: Subscription) -> Self {
        let Subscription { id, url, events, agent_name, created_at, holder, health, .. } =
            subscription;
        Listed { id, url, events, agent_name, created_at, holder, health }.into()
    }
}

impl From<Listed> for SubscriptionView {
    fn from(listed: Listed) -> Self {
        let Listed { id, url, events, agent_name, created_at, holder, health } = listed;
        let key_id = holder.as_ref().map(|holder| holder.key_id().to_owned());
        let expires_at = holder.as_ref().and_then(Holder::until);
        let health = health.into();
        Self { id, url, events, agent_name, created_at, key_id, expires_at, health }
    }
}

/// How its receiver fares.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct HealthView {
    /// The last successful delivery. Updated at most once an hour while deliveries succeed.
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_success_at: Option<Timestamp>,
    /// When the first attempt failed after the last success, if any did.
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub failing_since: Option<Timestamp>,
    /// How many attempts have failed since the last success.
    pub failures: u32,
    /// When the subscription was disabled. Nothing is sent to it since.
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub disabled_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_reason: Option<DisabledReason>,
}

impl From<Health> for HealthView {
    fn from(health: Health) -> Self {
        let Health {
            last_success_at, failing_since, failures, disabled_at, disabled_reason, ..
        } = health;
        Self { last_success_at, failing_since, failures, disabled_at, disabled_reason }
    }
}

/// That a subscription was disabled, as its owner's others are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    pub subscription_id: SubscriptionId,
    /// All of its URL that may be shown.
    pub host: String,
    /// Of whose line of keys it is.
    pub lineage: Credential,
    pub health: Health,
}

/// A subscription that was disabled.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DisabledView {
    pub subscription_id: SubscriptionId,
    pub host: String,
    #[serde(flatten)]
    pub health: HealthView,
}

impl From<Disabled> for DisabledView {
    fn from(disabled: Disabled) -> Self {
        let Disabled { subscription_id, host, health, .. } = disabled;
        Self { subscription_id, host, health: health.into() }
    }
}
