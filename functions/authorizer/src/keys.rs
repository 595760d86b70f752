//! The keys that an issuer publishes (RFC 7517), found by its metadata (RFC 8414, OpenID Connect
//! Discovery), kept, and read again when a token names one that is not among them.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, header};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use relay::domain::{error::Error, issuer::is_trusted};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{sync::Mutex, time::timeout};
use tracing::warn;

/// How long keys are used before they are read again, in case one was withdrawn.
const MAX_AGE: Duration = Duration::from_hours(1);
/// How long they are believed at most, while they cannot be read again: a key that was withdrawn counts
/// no longer.
const MAX_STALE: Duration = Duration::from_hours(2);
/// How long after a try an unknown key id, or keys that have become old, cannot cause another.
const FLOOR: Duration = Duration::from_secs(30);
/// The same where there are no keys at all, so that everybody is refused.
const FIRST_FLOOR: Duration = Duration::from_secs(1);
/// For each of the at most three requests; the authorizer has 5 s.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// The largest document that is read, in bytes.
const MAX_BYTES: usize = 256 * 1024;

pub(crate) struct Keys {
    issuer: String,
    known: Mutex<Known>,
}

/// What is known of an issuer's keys.
#[derive(Default)]
struct Known {
    /// Those that were read, and when.
    read: Option<(Instant, JwkSet)>,
    /// When that was tried last, with or without success.
    tried_at: Option<Instant>,
}

impl Known {
    /// Whether they are to be read before this one is looked for.
    fn is_stale(&self, kid: &str, now: Instant) -> bool {
        let floor = match &self.read {
            Some((at, keys)) => {
                let is_fresh = now.duration_since(*at) < MAX_AGE;
                if is_fresh && keys.find(kid).is_some() {
                    return false;
                }
                FLOOR
            }
            None => FIRST_FLOOR,
        };
        self.tried_at.is_none_or(|tried_at| now.duration_since(tried_at) >= floor)
    }

    /// Takes what a try at this time has given.
    fn take(&mut self, tried_at: Instant, fresh: Option<JwkSet>) {
        self.tried_at = Some(tried_at);
        if let Some(keys) = fresh {
            self.read = Some((tried_at, keys));
        }
    }

    /// The keys, while they are believed.
    fn believed(&self, now: Instant) -> Option<&JwkSet> {
        let (at, keys) = self.read.as_ref()?;
        (now.duration_since(*at) < MAX_STALE).then_some(keys)
    }
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

/// The set as it is published.
#[derive(Deserialize)]
struct Published {
    keys: Vec<serde_json::Value>,
}

impl Published {
    /// Those of its keys that can be read: one that cannot does not spoil the others (RFC 7517, section 5).
    /// What says where a key is from besides is never believed, and not read.
    fn read(self) -> JwkSet {
        const UNREAD: [&str; 4] = ["x5c", "x5t", "x5t#S256", "x5u"];
        let keys = self.keys.into_iter().filter_map(|mut key| {
            let members = key.as_object_mut()?;
            members.retain(|name, _| !UNREAD.contains(&name.as_str()));
            serde_json::from_value(key).ok()
        });
        JwkSet { keys: keys.collect() }
    }
}

impl Keys {
    pub(crate) fn new(issuer: String) -> Self {
        Self { issuer, known: Mutex::default() }
    }

    /// The issuer's key of this id for this algorithm; an error when its keys cannot be had.
    pub(crate) async fn find(
        &self,
        kid: &str,
        algorithm: Algorithm,
    ) -> Result<Option<DecodingKey>, Error> {
        let mut known = self.known.lock().await;
        if known.is_stale(kid, Instant::now()) {
            // When it was begun: what is withdrawn meanwhile is not believed for longer.
            let tried_at = Instant::now();
            let fresh = self.fetch().await.inspect_err(|reason| {
                warn!(issuer = self.issuer, reason, "cannot read the keys of an issuer");
            });
            known.take(tried_at, fresh.ok());
        }
        let keys = known.believed(Instant::now()).ok_or(Error::Busy("read the issuer's keys"))?;
        Ok(keys.find(kid).filter(|key| fits(key, algorithm)).and_then(|key| key.try_into().ok()))
    }

    async fn fetch(&self) -> Result<JwkSet, &'static str> {
        let base = self.issuer.trim_end_matches('/');
        let metadata: Metadata =
            match get(&format!("{base}/.well-known/openid-configuration")).await {
                Ok(metadata) => metadata,
                Err(_) => get(&format!("{base}/.well-known/oauth-authorization-server")).await?,
            };
        if metadata.issuer != self.issuer {
            return Err("its metadata names another issuer");
        }
        if !is_trusted(&metadata.jwks_uri) {
            return Err("the address of its keys is not https");
        }
        get(&metadata.jwks_uri).await.map(Published::read)
    }
}

/// Whether a key may prove a token signed so.
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    let common = &key.common;
    let may_sign = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
    let is_for_it = match common.key_algorithm {
        None => true,
        Some(KeyAlgorithm::RS256) => algorithm == Algorithm::RS256,
        Some(KeyAlgorithm::ES256) => algorithm == Algorithm::ES256,
        Some(KeyAlgorithm::EdDSA) => algorithm == Algorithm::EdDSA,
        Some(_) => false,
    };
    may_sign && is_for_it
}

/// Reads a JSON document, following no redirect and using no proxy.
async fn get<T: DeserializeOwned>(url: &str) -> Result<T, &'static str> {
    let connector =
        HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector);
    let request = Request::get(url)
        .header(header::ACCEPT, "application/json")
        .body(Empty::new())
        .map_err(|_| "its address is not valid")?;
    let exchange = async {
        let answer = client.request(request).await.map_err(|_| "it does not answer")?;
        if answer.status() != StatusCode::OK {
            return Err("it does not answer with 200");
        }
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        Ok(body.map_err(|_| "its answer is broken or too large")?.to_bytes())
    };
    let body = timeout(TIMEOUT, exchange).await.map_err(|_| "it does not answer in time")??;
    serde_json::from_slice(&body).map_err(|_| "its answer is not what it should be")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn key(kid: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid,
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    }

    fn published(keys: &[Value]) -> JwkSet {
        serde_json::from_value::<Published>(json!({"keys": keys})).unwrap().read()
    }

    const MINUTE: Duration = Duration::from_mins(1);

    /// A clock that can go on by itself: `Instant` has no beginning.
    fn at(start: Instant, minutes: u32) -> Instant {
        start + MINUTE * minutes
    }

    #[test]
    fn a_withdrawn_key_is_believed_for_two_hours_at_most_whatever_fails() {
        let start = Instant::now();
        let mut known = Known::default();
        assert!(known.is_stale("a", start));
        known.take(start, Some(published(&[key("a")])));

        assert!(!known.is_stale("a", at(start, 59)));
        // The issuer fails from now on: it is asked again each half a minute, and not once an hour.
        for minute in 60..120 {
            let now = at(start, minute);
            assert!(known.is_stale("a", now), "{minute}");
            known.take(now, None);
            assert!(!known.is_stale("a", now + Duration::from_secs(29)), "{minute}");
            assert!(known.believed(now).is_some(), "{minute}");
        }
        assert!(known.believed(at(start, 120)).is_none());
        // Once it answers, what is withdrawn counts no longer.
        known.take(at(start, 121), Some(published(&[key("b")])));
        let keys = known.believed(at(start, 121)).unwrap();
        assert!(keys.find("a").is_none() && keys.find("b").is_some());
    }

    #[test]
    fn after_a_first_failure_the_issuer_is_asked_again_after_a_second() {
        let start = Instant::now();
        let mut known = Known::default();
        known.take(start, None);

        assert!(known.believed(start).is_none());
        assert!(!known.is_stale("a", start + Duration::from_millis(900)));
        assert!(known.is_stale("a", start + Duration::from_secs(1)));
        // But an unknown id does not cause a request a second.
        known.take(start, Some(published(&[key("a")])));
        assert!(!known.is_stale("junk", start + Duration::from_secs(29)));
        assert!(known.is_stale("junk", start + Duration::from_secs(30)));
    }

    #[test]
    fn an_odd_key_does_not_spoil_the_others() {
        for odd in [
            json!({"kty": "OKP", "x5c": "text"}),
            json!({"kty": "lattice", "kid": "odd"}),
            json!({"kty": "RSA", "n": 1, "e": "AQAB"}),
            json!({"kid": "a"}),
            json!(null),
            json!("text"),
            json!([]),
        ] {
            let keys = published(&[odd.clone(), key("good")]);
            assert!(keys.find("good").is_some_and(|key| fits(key, Algorithm::EdDSA)), "{odd}");
        }
        for (name, value) in [
            ("x5c", json!("text")),
            ("x5c", json!([1])),
            ("x5t", json!(1)),
            ("x5t#S256", json!([])),
            ("x5u", json!({})),
        ] {
            let mut good = key("good");
            good[name] = value;
            let keys = published(&[good]);
            assert!(keys.find("good").is_some_and(|key| fits(key, Algorithm::EdDSA)), "{name}");
        }
    }
}
