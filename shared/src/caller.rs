//! Who asks, and what they may do.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{agent::AgentName, error::Error};

/// Whose runs these are: the `user_id` of an API key, or `<issuer alias>|<sub>` of a token.
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

/// What can be done with an agent and its runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Execute,
    View,
    Cancel,
}

impl Action {
    const ALL: [Self; 3] = [Self::Execute, Self::View, Self::Cancel];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Execute => "execute",
            Self::View => "view",
            Self::Cancel => "cancel",
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
#[error("must be execute, view, cancel or *, then a colon, then an agent's name or *")]
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

/// The authorizer's word on who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    pub user_id: UserId,
    /// The first eight characters of the key's hash: the only part of a key that is ever logged.
    pub key_id: String,
    pub permissions: Permissions,
    /// Starts a minute.
    pub rate_limit: u32,
}

impl Caller {
    /// Refuses with the permission that was missing.
    pub fn require(&self, action: Action, agent: &AgentName) -> Result<(), Error> {
        if self.permissions.allow(action, agent) {
            return Ok(());
        }
        Err(Error::Forbidden(format!("{}:{agent}", action.as_str())))
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
