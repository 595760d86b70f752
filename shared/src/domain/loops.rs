//! Loops: a callback that leads back to this API makes another event of each. A URL that is
//! known to lead here is refused when it is given. What comes back all the same, by way of a proxy,
//! says so itself: each POST names its stack in `CDN-Loop`, which whoever forwards it must keep
//! (RFC 8586, <https://www.rfc-editor.org/rfc/rfc8586>).

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use crate::domain::{callback_url::CallbackUrl, digest::hex, error::Error};

/// The header, as callers know it.
const CDN_LOOP: &str = "CDN-Loop";

const PREFIX: &str = "agent-relay-";
const DIGITS: usize = 16;

/// How many stacks may call each other in a row.
const MAX_HOPS: usize = 16;

/// What a stack calls itself in the header: 64 bits of a hash of its id, which tell it from all others
/// and nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RelayId(String);

impl RelayId {
    #[must_use]
    pub fn of(stack_id: &str) -> Self {
        let hash = Sha256::digest(stack_id);
        Self(format!("{PREFIX}{}", hex(hash.get(..DIGITS / 2).unwrap_or_default())))
    }

    /// What a member of the header's list says, if it is one of us.
    fn read(member: &str) -> Option<Self> {
        let id = member.split(';').next()?.trim().to_ascii_lowercase();
        let digits = id.strip_prefix(PREFIX)?;
        let is_ours = digits.len() == DIGITS && digits.bytes().all(|it| it.is_ascii_hexdigit());
        is_ours.then_some(Self(id))
    }
}

/// The stacks whose callbacks have led to something, each once, the first one first. What else a
/// `CDN-Loop` names are the networks of one request, and says nothing about the next.
///
/// Invariant: at most 17, one more than a request is taken with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hops(Vec<RelayId>);

impl Hops {
    /// From the members of the header's list.
    pub(crate) fn read<'a>(members: impl Iterator<Item = &'a str>) -> Self {
        members.filter_map(RelayId::read).fold(Self::default(), Self::with)
    }

    fn with(mut self, id: RelayId) -> Self {
        if self.0.len() <= MAX_HOPS && !self.0.contains(&id) {
            self.0.push(id);
        }
        self
    }

    /// These, and then those of another way to the same.
    #[must_use]
    pub fn and(self, others: &Self) -> Self {
        others.0.iter().cloned().fold(self, Self::with)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The header of a POST that this stack makes.
    #[must_use]
    pub fn header(&self, own: &RelayId) -> String {
        let others = self.0.iter().filter(|id| *id != own).chain([own]);
        others.map(|id| id.0.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// What this stack is known by.
#[derive(Debug, Clone)]
pub struct Home {
    id: RelayId,
    /// Of its public URL, where it has one.
    host: Option<String>,
}

impl Home {
    #[must_use]
    pub fn new(stack_id: &str, public_url: &str) -> Self {
        let host = Url::parse(public_url).ok().and_then(|url| url.host_str().map(str::to_owned));
        Self { id: RelayId::of(stack_id), host }
    }
}

/// How a request has come here. What did not come by the API tells nothing of it.
#[derive(Debug, Clone, Default)]
pub struct Arrival {
    /// Names that lead here.
    hosts: Vec<String>,
    /// The id of the API, which is the start of some others.
    api_id: Option<String>,
    pub hops: Hops,
    is_loop: bool,
}

impl Arrival {
    /// By the API of this id, under this domain.
    #[must_use]
    pub fn new(home: &Home, api_id: Option<&str>, domain: Option<&str>, hops: Hops) -> Self {
        let hosts = [home.host.as_deref(), domain];
        Self {
            hosts: hosts.into_iter().flatten().map(str::to_ascii_lowercase).collect(),
            api_id: api_id.map(str::to_owned),
            is_loop: hops.0.contains(&home.id) || hops.0.len() > MAX_HOPS,
            hops,
        }
    }

    /// Refuses what one of our own POSTs has led to, if it would have us make another one.
    ///
    /// By 422: the RFC names no status. Gateways that find themselves in the header say 502 (Envoy)
    /// or 508, but it is the request that is wrong here, a repetition of it is just as wrong, and a
    /// 5xx would ring the alarms of whoever runs this.
    pub fn refuse_loop(&self) -> Result<(), Error> {
        if self.is_loop {
            return Err(Error::invalid(CDN_LOOP, "shows that a callback led back to this API"));
        }
        Ok(())
    }

    /// Refuses a callback's URL that leads to this API.
    pub fn refuse_own(&self, url: &CallbackUrl) -> Result<(), Error> {
        let host = url.host();
        if self.hosts.iter().any(|own| own == host) || self.is_endpoint(host) {
            return Err(Error::invalid("callback_url", "must not lead back to this API"));
        }
        Ok(())
    }

    /// Whether this is an endpoint that API Gateway has given the API:
    /// `{id}.execute-api.{region}.amazonaws.com`, or `{id}-{vpce}.execute-api.…` within a network.
    fn is_endpoint(&self, host: &str) -> bool {
        let Some(id) = &self.api_id else { return false };
        let mut labels = host.split('.');
        let (first, second) = (labels.next().unwrap_or_default(), labels.next());
        let rest = first.strip_prefix(id.as_str());
        second == Some("execute-api")
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "arn:aws:cloudformation:eu-west-1:111122223333:stack/agent-relay/1-2-3";

    fn hops(header: &str) -> Hops {
        Hops::read(header.split(','))
    }

    fn arrival(header: &str) -> Arrival {
        Arrival::new(&Home::new(ID, ""), None, None, hops(header))
    }

    #[test]
    fn a_stack_finds_itself_among_others_and_no_other() {
        let own = RelayId::of(ID);
        assert_eq!(own.0.len(), PREFIX.len() + DIGITS);
        let other = RelayId::of("another").0;
        for (header, is_loop) in [
            (own.0.clone(), true),
            (own.0.to_ascii_uppercase(), true),
            (format!("cloudflare; loops=1, {other} , {};x=1", own.0), true),
            (format!("{other}, cloudflare"), false),
            (format!("{}0", own.0), false),
            ("agent-relay-, agent-relay, agent-relay-zzzzzzzzzzzzzzzz".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(arrival(&header).refuse_loop().is_err(), is_loop, "{header}");
        }
    }

    #[test]
    fn a_chain_of_stacks_is_passed_on_and_ends_somewhere() {
        let (first, own) = (RelayId::of("first"), RelayId::of(ID));
        let passed = hops(&format!("cloudflare; loops=1, {}, {}", first.0, first.0));
        assert_eq!(passed.header(&own), format!("{}, {}", first.0, own.0), "of us alone, and once");
        assert_eq!(Hops::default().header(&own), own.0);
        assert_eq!(passed.clone().and(&passed), passed);
        let both = hops(&own.0).and(&passed);
        assert_eq!(both.header(&own), format!("{}, {}", first.0, own.0), "the last one last");

        let of = |count: usize| {
            let ids: Vec<_> = (0..count).map(|it| RelayId::of(&it.to_string()).0).collect();
            arrival(&ids.join(","))
        };
        assert!(of(MAX_HOPS).refuse_loop().is_ok());
        assert!(of(MAX_HOPS + 1).refuse_loop().is_err());
        assert_eq!(of(1_000).hops.0.len(), MAX_HOPS + 1, "whatever a caller sends is bounded");
    }

    #[test]
    fn a_url_that_leads_here_is_refused_whatever_it_is_called() {
        let home = Home::new(ID, "https://Agents.example.com:8443/relay");
        let domain = "abc123.execute-api.eu-west-1.amazonaws.com";
        let arrival = Arrival::new(&home, Some("abc123"), Some(domain), Hops::default());
        for (host, is_own) in [
            ("agents.example.com", true),
            ("AGENTS.example.com:1234", true),
            (domain, true),
            ("abc123.execute-api.eu-west-1.amazonaws.com.cn", true),
            ("abc123-vpce-0a1b.execute-api.eu-west-1.amazonaws.com", true),
            ("abc1234.execute-api.eu-west-1.amazonaws.com", false),
            ("abc123.example.com", false),
            ("www.agents.example.com", false),
            ("example.com", false),
        ] {
            let url = CallbackUrl::parse(&format!("https://{host}/x"), &"".parse().unwrap());
            let refused = arrival.refuse_own(&url.unwrap());
            assert_eq!(refused.is_err(), is_own, "{host}");
        }
        let url = CallbackUrl::parse("https://example.com/", &"".parse().unwrap()).unwrap();
        assert!(Arrival::default().refuse_own(&url).is_ok());
    }
}
