//! Rights: the one place that says whether something of a run may leave to somebody. Whoever asks
//! directly is a [`Caller`], whose permissions its request brings. To whom events are sent later is a
//! [`Holder`], whose permissions are those that it has then.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::domain::{
    api_key::{ApiKey, ApiKeyHash},
    caller::{Action, Caller, Credential, Permissions},
    error::Error,
    execution::Execution,
    id::AgentName,
    time::Timestamp,
};

/// Whether who has these permissions may be shown runs of this agent.
#[must_use]
pub fn may_view(permissions: &Permissions, agent: &AgentName) -> bool {
    permissions.allow(Action::View, agent)
}

/// A run with which the caller may do this. Somebody else's is not found, like one that does not
/// exist.
pub fn permitted(
    caller: &Caller,
    action: Action,
    found: Option<Execution>,
) -> Result<Execution, Error> {
    let execution = found
        .filter(|execution| caller.may_know(&execution.user_id))
        .ok_or(Error::NotFound("execution"))?;
    caller.require(action, &execution.agent_name)?;
    Ok(execution)
}

/// By whose right events leave: stored with whatever it is sent to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    credential: Credential,
    lineage: Credential,
    /// What a token granted, which cannot be looked up later as a key can.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    granted: Vec<String>,
    /// When what a token granted ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

impl Holder {
    /// For all runs to come: a token's right ends with the token.
    #[must_use]
    pub fn of(caller: &Caller) -> Self {
        let is_key = caller.credential.key_hash().is_some();
        Self {
            credential: caller.credential.clone(),
            lineage: caller.lineage.clone(),
            granted: if is_key { Vec::new() } else { caller.permissions.to_texts() },
            until: caller.expires_at,
        }
    }

    /// For the one run that is started: a token's right lasts as long as the run, which may take
    /// longer than a token lives.
    #[must_use]
    pub fn for_run(caller: &Caller) -> Self {
        Self { until: None, ..Self::of(caller) }
    }

    /// Whether what it holds is this caller's own.
    #[must_use]
    pub fn is(&self, caller: &Caller) -> bool {
        self.lineage == caller.lineage
    }

    /// Whether this very key made it.
    #[must_use]
    pub fn is_key(&self, hash: &ApiKeyHash) -> bool {
        self.credential == Credential::of_key(hash)
    }

    /// The first of the keys whose places were taken one after the other.
    #[must_use]
    pub const fn lineage(&self) -> &Credential {
        &self.lineage
    }

    /// What made it is called.
    #[must_use]
    pub fn key_id(&self) -> &str {
        self.credential.key_id()
    }

    #[must_use]
    pub const fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// Whether with these permissions it may be told of this. The subscriptions of other keys are for
    /// `manage` alone, as when they are listed.
    pub(crate) fn may_have(&self, about: About<'_>, permissions: &Permissions) -> bool {
        match about {
            About::Agent(agent) => may_view(permissions, agent),
            About::Link(agent) => {
                may_view(permissions, agent) && permissions.allow(Action::Execute, agent)
            }
            About::Agents(agents) => agents.iter().all(|agent| may_view(permissions, agent)),
            About::Subscription(lineage) => {
                self.lineage == *lineage || permissions.allow_all(Action::Manage)
            }
            About::Itself => true,
        }
    }
}

/// What an event is about, which says who may have it.
#[derive(Debug, Clone, Copy)]
pub enum About<'a> {
    /// A run of this agent.
    Agent(&'a AgentName),
    /// Runs of all these agents.
    Agents(&'a BTreeSet<AgentName>),
    /// A link by which what a run of this agent asks can be answered.
    Link(&'a AgentName),
    /// A subscription of this line of keys.
    Subscription(&'a Credential),
    /// Whoever gets it, alone.
    Itself,
}

/// What a holder may now; `None` once it has ended.
pub(crate) async fn permissions_of(
    holder: &Holder,
    now: Timestamp,
    find: impl AsyncFn(&ApiKeyHash) -> Result<Option<ApiKey>, Error>,
) -> Result<Option<Permissions>, Error> {
    let granted = |key: ApiKey| key.permissions.iter().collect();
    let Some(hash) = holder.credential.key_hash() else {
        let lasts = holder.until.is_none_or(|until| now < until);
        return Ok(lasts.then(|| holder.granted.iter().collect()));
    };
    let Some(key) = find(&hash).await? else { return Ok(None) };
    if key.is_valid(now) {
        return Ok(Some(granted(key)));
    }
    // Revoked, it has no successor; expired, it may.
    if key.revoked_at.is_some() {
        return Ok(None);
    }
    let first = match holder.lineage.key_hash() {
        Some(first) if first != hash => find(&first).await?,
        _ => Some(key),
    };
    let successor =
        first.and_then(|first| first.successor).and_then(|successor| successor.parse().ok());
    let Some(successor) = successor else { return Ok(None) };
    Ok(find(&successor).await?.filter(|successor| successor.is_valid(now)).map(granted))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::domain::loops::Arrival;

    fn caller(credential: &str, permissions: &[&str], expires_at: Option<i64>) -> Caller {
        let credential = Credential::from(credential.to_owned());
        Caller {
            user_id: "someone".to_owned().into(),
            lineage: credential.clone(),
            credential,
            permissions: permissions.iter().collect(),
            rate_limit: 60,
            max_concurrent: None,
            expires_at: expires_at.map(Timestamp::from_millis),
            arrival: Arrival::default(),
        }
    }

    #[test]
    fn a_key_is_looked_up_and_a_token_is_kept_with_its_end() {
        let key = ApiKeyHash::of("key");
        let by_key = Holder::of(&caller(&key.to_hex(), &["view:*"], None));
        assert!(by_key.granted.is_empty() && by_key.until.is_none() && by_key.is_key(&key));

        let token = caller("token-1", &["view:echo"], Some(5));
        let by_token = Holder::of(&token);
        assert_eq!(by_token.granted, ["view:echo"]);
        assert_eq!(by_token.until, Some(Timestamp::from_millis(5)));
        assert_eq!(Holder::for_run(&token).until, None);
        assert!(by_token.is(&token) && !by_key.is(&token) && !by_token.is_key(&key));
    }

    /// Of the keys `first`, `second` and `third`, each of which took the place of the one before.
    #[tokio::test]
    async fn a_key_that_has_ended_is_nobody_unless_another_took_its_place() {
        const NOW: Timestamp = Timestamp::from_millis(1_000);

        let hash = |name: &str| ApiKeyHash::of(name);
        // Who made it; what has become of each; whether it is told.
        let table = [
            ("first", [Some("valid"), None, None], true),
            ("first", [Some("revoked"), None, None], false),
            ("first", [Some("expired"), None, None], false),
            ("first", [None, None, None], false),
            ("first", [Some("valid"), Some("valid"), None], true),
            ("first", [Some("expired"), Some("valid"), None], true),
            ("first", [Some("revoked"), Some("valid"), None], false),
            ("first", [Some("expired"), Some("revoked"), None], false),
            ("first", [Some("expired"), Some("expired"), None], false),
            ("first", [Some("expired"), Some("expired"), Some("valid")], true),
            // It was another one of the line that leaked.
            ("first", [Some("expired"), Some("revoked"), Some("valid")], true),
            ("second", [Some("expired"), Some("revoked"), Some("valid")], false),
            ("second", [Some("expired"), Some("expired"), Some("valid")], true),
            ("second", [Some("revoked"), Some("expired"), Some("valid")], true),
            ("second", [None, Some("expired"), Some("valid")], false),
            ("third", [Some("expired"), Some("expired"), Some("valid")], true),
            ("third", [Some("valid"), Some("valid"), Some("revoked")], false),
            ("third", [Some("expired"), Some("expired"), Some("expired")], false),
        ];
        for (maker, states, expected) in table {
            let names = ["first", "second", "third"];
            let last = states.iter().rposition(Option::is_some).map(|index| names[index]);
            let keys: HashMap<ApiKeyHash, ApiKey> = names
                .into_iter()
                .zip(states)
                .filter_map(|(name, state)| {
                    let ended = Some(Timestamp::from_millis(1));
                    let state = state?;
                    let successor = last.filter(|last| name == "first" && *last != "first");
                    let key = ApiKey {
                        user_id: "someone".to_owned().into(),
                        permissions: vec!["view:echo".to_owned()],
                        rate_limit: 60,
                        max_concurrent: None,
                        created_at: Timestamp::from_millis(0),
                        expires_at: ended.filter(|_| state == "expired"),
                        revoked_at: ended.filter(|_| state == "revoked"),
                        lineage: (name != "first").then(|| hash("first").to_hex()),
                        successor: successor.map(|successor| hash(successor).to_hex()),
                    };
                    Some((hash(name), key))
                })
                .collect();
            let holder = Holder {
                credential: Credential::of_key(&hash(maker)),
                lineage: Credential::of_key(&hash("first")),
                granted: Vec::new(),
                until: None,
            };
            let find = async |hash: &ApiKeyHash| Ok(keys.get(hash).cloned());
            let permissions = permissions_of(&holder, NOW, find).await.unwrap();
            let told = permissions.is_some_and(|it| may_view(&it, &"echo".parse().unwrap()));
            assert_eq!(told, expected, "{maker} of {states:?}");
        }

        let nowhere = async |_: &ApiKeyHash| Ok(None);
        for (until, expected) in [(Some(1_001), true), (Some(1_000), false), (None, true)] {
            let token = Holder::of(&caller("token-1", &["view:echo"], until));
            let found = permissions_of(&token, NOW, nowhere).await.unwrap();
            assert_eq!(found.is_some(), expected, "{until:?}");
        }
    }

    #[test]
    fn who_may_have_what_an_event_is_about() {
        let by = |key: &str| Holder::of(&caller(&ApiKeyHash::of(key).to_hex(), &[], None));
        let (own, other) = (by("own"), by("other"));
        let echo: AgentName = "echo".parse().unwrap();
        for (grant, agent, others) in [
            ("view:echo", true, false),
            ("view:*", true, false),
            ("manage:*", false, true),
            ("manage:echo", false, false),
            ("*:*", true, true),
            ("", false, false),
        ] {
            let permissions = [grant].into_iter().collect();
            let may = |about| own.may_have(about, &permissions);
            assert_eq!(may(About::Agent(&echo)), agent, "{grant}");
            assert_eq!(may(About::Subscription(other.lineage())), others, "{grant}");
            assert!(may(About::Subscription(own.lineage())) && may(About::Itself), "{grant}");
            assert_eq!(may(About::Link(&echo)), grant == "*:*", "{grant}");
        }
        // Who has a link can do what it does.
        for (grants, link) in [
            (&["view:echo", "execute:echo"][..], true),
            (&["execute:*", "manage:*"], false),
            (&["view:*", "execute:other"], false),
        ] {
            assert_eq!(
                own.may_have(About::Link(&echo), &grants.iter().collect()),
                link,
                "{grants:?}"
            );
        }
    }

    #[test]
    fn of_another_users_run_nothing_is_known() {
        let run: Execution = serde_json::from_value(serde_json::json!({
            "execution_id": "mcp-echo-1", "user_id": "other", "agent_name": "echo",
            "state_machine_arn": "arn:aws:states:eu-west-1:111122223333:stateMachine:echo",
            "status": "running", "redrive_count": 0, "rank": 10, "created_at": 0,
            "updated_at": 0, "launch_before": 0,
        }))
        .unwrap();
        let mine = Execution { user_id: "someone".to_owned().into(), ..run.clone() };
        for (grants, own, others) in [
            (&["view:*"][..], None, Some("execution")),
            (&["*:*"], None, None),
            (&["execute:*"], Some("view:echo"), Some("execution")),
        ] {
            let caller = caller("k", grants, None);
            let refused =
                |run: &Execution| match permitted(&caller, Action::View, Some(run.clone())) {
                    Ok(_) => None,
                    Err(Error::NotFound(what)) => Some(what.to_owned()),
                    Err(Error::Forbidden(what)) => Some(what),
                    Err(error) => panic!("{error}"),
                };
            assert_eq!(refused(&mine).as_deref(), own, "{grants:?}");
            assert_eq!(refused(&run).as_deref(), others, "{grants:?}");
        }
    }
}
