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
use relay::{error::Error, issuer::is_trusted};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{sync::Mutex, time::timeout};
use tracing::warn;

/// How long keys are used before they are read again, in case one was withdrawn.
const MAX_AGE: Duration = Duration::from_hours(1);
/// How long after a reading an unknown key id cannot cause another.
const FLOOR: Duration = Duration::from_secs(30);
/// For each of the at most three requests; the authorizer has 5 s.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// The largest document that is read, in bytes.
const MAX_BYTES: usize = 256 * 1024;

pub(crate) struct Keys {
    issuer: String,
    read: Mutex<Option<Read>>,
}

/// What the last attempt to read the keys left.
struct Read {
    at: Instant,
    keys: Option<JwkSet>,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

impl Keys {
    pub(crate) fn new(issuer: String) -> Self {
        Self { issuer, read: Mutex::new(None) }
    }

    /// The issuer's key of this id for this algorithm; an error when its keys cannot be had.
    pub(crate) async fn find(
        &self,
        kid: &str,
        algorithm: Algorithm,
    ) -> Result<Option<DecodingKey>, Error> {
        let mut read = self.read.lock().await;
        let is_stale = read.as_ref().is_none_or(|read| {
            let knows = read.keys.as_ref().is_some_and(|keys| keys.find(kid).is_some());
            read.at.elapsed() >= if knows { MAX_AGE } else { FLOOR }
        });
        if is_stale {
            let fresh = self.fetch().await;
            let before = read.take().and_then(|read| read.keys);
            let keys = match fresh {
                Ok(keys) => Some(keys),
                Err(reason) => {
                    warn!(issuer = self.issuer, reason, "cannot read the keys of an issuer");
                    before
                }
            };
            *read = Some(Read { at: Instant::now(), keys });
        }
        let keys = read.as_ref().and_then(|read| read.keys.as_ref());
        let keys = keys.ok_or(Error::Busy("read the issuer's keys"))?;
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
        get(&metadata.jwks_uri).await
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
