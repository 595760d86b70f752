//! Tokens: JWTs of the configured issuers. Only asymmetric signatures by keys that the issuer
//! itself publishes are accepted; what a token says about keys (`jwk`, `jku`, `x5u`) is not read
//! (RFC 8725).

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, dangerous, decode, decode_header};
use relay::domain::{
    caller::{Credential, Permissions},
    error::Error,
    issuer::Issuer,
    time::Timestamp,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{identity::Identity, keys::Keys};

const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

/// API Gateway takes 10,240 bytes of headers in all.
const MAX_LENGTH: usize = 10_240;
/// OpenID Connect Core, section 2: at most 255 ASCII characters.
const MAX_SUBJECT: usize = 255;
/// How far the clocks of an issuer and ours may differ.
const LEEWAY_SECONDS: u64 = 60;

pub(crate) struct Tokens {
    issuers: Vec<(Issuer, Keys)>,
    /// One of these must be among the token's `aud`.
    audiences: Vec<String>,
    /// Whether a token may make an administrator.
    admins: bool,
    /// Starts a minute of each token's user.
    rate_limit: u32,
}

#[derive(Deserialize)]
struct Issued {
    iss: String,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    /// In seconds, perhaps with a fraction.
    exp: f64,
    #[serde(default)]
    scope: Value,
    #[serde(default)]
    scp: Value,
    #[serde(default)]
    permissions: Value,
}

impl Tokens {
    pub(crate) fn new(
        issuers: Vec<Issuer>,
        audiences: Vec<String>,
        admins: bool,
        rate_limit: u32,
    ) -> Self {
        let issuers = issuers
            .into_iter()
            .map(|issuer| {
                let keys = Keys::new(issuer.url.clone());
                (issuer, keys)
            })
            .collect();
        Self { issuers, audiences, admins, rate_limit }
    }

    /// Who has this token; `None` when it is not valid, whatever is wrong with it. An error when
    /// the issuer's keys cannot be had.
    pub(crate) async fn identify(&self, token: &str) -> Result<Option<Identity>, Error> {
        if token.len() > MAX_LENGTH || self.audiences.is_empty() {
            return Ok(None);
        }
        let Ok(header) = decode_header(token) else { return Ok(None) };
        // What is critical to the issuer (RFC 7515, section 4.1.11) is not known here.
        if !ALGORITHMS.contains(&header.alg) || header.crit.is_some() {
            return Ok(None);
        }
        let Some(kid) = header.kid else { return Ok(None) };
        // Said by the token alone, and good for nothing but to find whose keys must prove it.
        let Ok(said) = dangerous::insecure_decode_claims::<Issued>(token) else { return Ok(None) };
        let Some((issuer, keys)) = self.issuers.iter().find(|(issuer, _)| issuer.url == said.iss)
        else {
            return Ok(None);
        };
        let Some(key) = keys.find(&kid, header.alg).await? else { return Ok(None) };
        Ok(self.verify(token, header.alg, &key, issuer))
    }

    fn verify(
        &self,
        token: &str,
        algorithm: Algorithm,
        key: &DecodingKey,
        issuer: &Issuer,
    ) -> Option<Identity> {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_audience(&self.audiences);
        validation.set_issuer(&[&issuer.url]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let claims = decode::<Claims>(token, key, &validation).ok()?.claims;
        let subject = &claims.sub;
        if subject.is_empty()
            || subject.len() > MAX_SUBJECT
            || !subject.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        {
            return None;
        }
        let user_id = issuer.user(subject);
        let credential = Credential::of_token(&user_id);
        Some(Identity {
            lineage: credential.clone(),
            credential,
            expires_at: Some(end(claims.exp)),
            user_id,
            permissions: self.permissions(&claims),
            rate_limit: self.rate_limit,
            max_concurrent: None,
        })
    }

    /// What the token grants: its scopes and permissions that are `action:resource`, also behind the name
    /// of this API and a slash, as Cognito writes them
    /// (<https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-define-resource-servers.html>).
    fn permissions(&self, claims: &Claims) -> Vec<String> {
        let mut granted: Vec<String> = [&claims.scope, &claims.scp, &claims.permissions]
            .into_iter()
            .flat_map(words)
            .map(|text| self.without_audience(text).unwrap_or(text))
            .filter(|text| text.contains(':'))
            .filter(|text| self.admins || !Permissions::from_iter([text]).is_admin())
            .map(str::to_owned)
            .collect();
        granted.sort_unstable();
        granted.dedup();
        granted
    }

    fn without_audience<'a>(&self, scope: &'a str) -> Option<&'a str> {
        let rests = self
            .audiences
            .iter()
            .filter_map(|name| scope.strip_prefix(name.as_str())?.strip_prefix('/'));
        // One may be the start of another.
        rests.min_by_key(|rest| rest.len())
    }
}

/// The words of a claim that is a text of words (RFC 8693, section 4.2) or a list of texts.
fn words(claim: &Value) -> Vec<&str> {
    match claim {
        Value::String(text) => text.split_ascii_whitespace().collect(),
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// When a token ends, without the leeway. What is no time that can be is the last there is.
fn end(seconds: f64) -> Timestamp {
    let whole = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    Timestamp::from_millis(i64::try_from(whole.as_millis()).unwrap_or(i64::MAX))
}
