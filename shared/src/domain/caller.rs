//! Who asks, and what they may do.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{
    api_key::ApiKeyHash,
    error::Error,
    id::{AgentName, UserId},
    loops::Arrival,
    time::Timestamp,
};

/// Which key or token this is: a key's whole hash, or `token-` and the whole hash of whom a token
/// speaks for, so that the two kinds cannot meet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Credential(String);

const TOKEN: &str = "token-";

impl Credential {
    /// How much of a hash is shown: 64 bits.
    const SHOWN: usize = 16;

    #[must_use]
    pub fn of_key(hash: &ApiKeyHash) -> Self {
        Self(hash.to_hex())
    }

    /// Of all tokens that speak for this user.
    #[must_use]
    pub fn of_token(user: &UserId) -> Self {
        Self(format!("{TOKEN}{}", ApiKeyHash::of(&format!("token|{user}")).to_hex()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key's hash, if it is a key.
    #[must_use]
    pub fn key_hash(&self) -> Option<ApiKeyHash> {
        self.0.parse().ok()
    }

    /// What it is called by on screens and in logs. Nothing is looked up or counted by it.
    #[must_use]
    pub fn key_id(&self) -> &str {
        let kind = if self.0.starts_with(TOKEN) { TOKEN.len() } else { 0 };
        self.0.get(..kind + Self::SHOWN).unwrap_or(&self.0)
    }
}

impl From<String> for Credential {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<Credential> for String {
    fn from(credential: Credential) -> Self {
        credential.0
    }
}

/// What can be done with an agent and its runs, and, last, with what belongs to a whole user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Execute,
    View,
    Cancel,
    /// The signing secret, and the subscriptions of the user's other keys. It is no agent's, so
    /// only a grant of all agents grants it.
    Manage,
}

impl Action {
    const ALL: [Self; 4] = [Self::Execute, Self::View, Self::Cancel, Self::Manage];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Execute => "execute",
            Self::View => "view",
            Self::Cancel => "cancel",
            Self::Manage => "manage",
        }
    }
}

impl FromStr for Action {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|action| action.as_str() == text).ok_or(())
    }
}

/// One permission, `action:resource`, where each side may be `*`; the resource is an agent's
/// name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// `None` is `*`.
    action: Option<Action>,
    /// `None` is `*`.
    agent: Option<AgentName>,
}

/// The text is not a [`Grant`].
#[derive(Debug, thiserror::Error)]
#[error("must be execute, view, cancel, manage or *, then a colon, then an agent's name or *")]
pub struct InvalidGrant;

impl FromStr for Grant {
    type Err = InvalidGrant;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (action, agent) = text.split_once(':').ok_or(InvalidGrant)?;
        Ok(Self { action: unless_any(action)?, agent: unless_any(agent)? })
    }
}

fn unless_any<T: FromStr>(text: &str) -> Result<Option<T>, InvalidGrant> {
    if text == "*" { Ok(None) } else { text.parse().map(Some).map_err(|_| InvalidGrant) }
}

impl fmt::Display for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = self.action.map_or("*", Action::as_str);
        let agent = self.agent.as_ref().map_or("*", AgentName::as_str);
        write!(formatter, "{action}:{agent}")
    }
}

impl Grant {
    fn covers(&self, action: Action, agent: &AgentName) -> bool {
        self.action.is_none_or(|it| it == action)
            && self.agent.as_ref().is_none_or(|it| it == agent)
    }
}

/// All that a caller may do. What cannot be read grants nothing.
#[derive(Debug, Clone, Default)]
pub struct Permissions(Vec<Grant>);

impl Permissions {
    #[must_use]
    pub fn allow(&self, action: Action, agent: &AgentName) -> bool {
        self.0.iter().any(|grant| grant.covers(action, agent))
    }

    /// Whether this is granted for whatever agent.
    #[must_use]
    pub fn allow_all(&self, action: Action) -> bool {
        let covers = |grant: &Grant| grant.action.is_none_or(|it| it == action);
        self.0.iter().any(|grant| grant.agent.is_none() && covers(grant))
    }

    /// As they are written.
    #[must_use]
    pub fn to_texts(&self) -> Vec<String> {
        self.0.iter().map(Grant::to_string).collect()
    }

    /// `*:*`: sees everybody's runs.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.0.iter().any(|grant| grant.action.is_none() && grant.agent.is_none())
    }
}

impl<S: AsRef<str>> FromIterator<S> for Permissions {
    fn from_iter<I: IntoIterator<Item = S>>(grants: I) -> Self {
        Self(grants.into_iter().filter_map(|grant| grant.as_ref().parse().ok()).collect())
    }
}

/// Who did something. It is stored and shown, and grants nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Actor {
    pub user_id: UserId,
    /// The id of the key or token.
    pub key_id: String,
}

/// The authorizer's word on who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    pub user_id: UserId,
    pub credential: Credential,
    /// The first of the keys whose places were taken one after the other, until this one's: what
    /// one of them made is all of theirs.
    pub lineage: Credential,
    pub permissions: Permissions,
    /// Starts a minute.
    pub rate_limit: u32,
    /// How many runs of its user go on at once.
    pub max_concurrent: Option<u32>,
    /// When a token ends. A key's end is looked up.
    pub expires_at: Option<Timestamp>,
    /// By which way the request has come. Whoever has a callback made looks at it.
    pub arrival: Arrival,
}

impl Caller {
    /// Refuses with the permission that was missing.
    pub fn require(&self, action: Action, agent: &AgentName) -> Result<(), Error> {
        if self.permissions.allow(action, agent) {
            return Ok(());
        }
        Err(Error::Forbidden(format!("{}:{agent}", action.as_str())))
    }

    /// The same for what is no single agent's.
    pub fn require_all(&self, action: Action) -> Result<(), Error> {
        if self.permissions.allow_all(action) {
            return Ok(());
        }
        Err(Error::Forbidden(format!("{}:*", action.as_str())))
    }

    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor { user_id: self.user_id.clone(), key_id: self.key_id().to_owned() }
    }

    /// The id of its key or token on screens and in logs.
    #[must_use]
    pub fn key_id(&self) -> &str {
        self.credential.key_id()
    }

    /// Whether this caller may know that a run of `owner` exists at all.
    #[must_use]
    pub fn may_know(&self, owner: &UserId) -> bool {
        self.user_id == *owner || self.permissions.is_admin()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_a_token_cannot_meet_and_are_shown_by_64_bits() {
        let hash = ApiKeyHash::of("abc");
        let key = Credential::of_key(&hash);
        let token = Credential::of_token(&UserId::from("abc".to_owned()));

        assert_eq!(key.as_str(), hash.to_hex());
        assert_eq!((key.key_id(), key.key_hash()), ("ba7816bf8f01cfea", Some(hash)));
        assert!(token.as_str().len() == 70 && token.key_hash().is_none());
        assert_eq!(token.key_id().len(), "token-".len() + 16);
        assert!(!token.as_str().contains(key.key_id()), "not even of one text");
        assert_eq!(Credential::from("é".repeat(20)).key_id(), "é".repeat(8));
        assert_eq!(Credential::from("relayctl".to_owned()).key_id(), "relayctl");
    }

    #[test]
    fn what_is_no_agents_own_needs_a_grant_of_all_agents() {
        for (grant, view, manage) in [
            ("view:*", true, false),
            ("manage:*", false, true),
            ("*:*", true, true),
            ("*:echo", false, false),
            ("manage:echo", false, false),
            ("view:echo", false, false),
        ] {
            let permissions: Permissions = [grant].into_iter().collect();
            let actual =
                (permissions.allow_all(Action::View), permissions.allow_all(Action::Manage));
            assert_eq!(actual, (view, manage), "{grant}");
            assert_eq!(permissions.to_texts(), [grant]);
        }
    }

    #[test]
    fn a_grant_covers_its_action_and_agent_and_nothing_else() {
        let echo: AgentName = "echo".parse().unwrap();
        let other: AgentName = "other".parse().unwrap();
        // grant, execute echo, view echo, execute other, view other, admin
        let table = [
            ("execute:echo", [true, false, false, false, false]),
            ("view:echo", [false, true, false, false, false]),
            ("*:echo", [true, true, false, false, false]),
            ("execute:*", [true, false, true, false, false]),
            ("view:*", [false, true, false, true, false]),
            ("*:*", [true, true, true, true, true]),
            ("*", [false; 5]),
            ("", [false; 5]),
            ("execute", [false; 5]),
            ("execute:", [false; 5]),
            ("execute:echo:x", [false; 5]),
            ("EXECUTE:echo", [false; 5]),
        ];
        for (grant, expected) in table {
            let permissions: Permissions = [grant].into_iter().collect();
            let actual = [
                permissions.allow(Action::Execute, &echo),
                permissions.allow(Action::View, &echo),
                permissions.allow(Action::Execute, &other),
                permissions.allow(Action::View, &other),
                permissions.is_admin(),
            ];
            assert_eq!(actual, expected, "{grant}");
            match grant.parse::<Grant>() {
                Ok(read) => assert_eq!(read.to_string(), grant),
                Err(InvalidGrant) => assert_eq!(expected, [false; 5], "{grant}"),
            }
        }
    }
}
