//! API keys, which are kept and looked up by their hash alone.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::{digest::hex, error::Error, id::UserId, time::Timestamp};

/// A new key: `relay_` and 256 random bits in base64url.
pub fn generate() -> Result<String, Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::corrupt("random numbers", error))?;
    Ok(format!("relay_{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// SHA-256 of a key that we issued: 256 random bits, so no salt and no slow hash is needed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ApiKeyHash([u8; 32]);

impl ApiKeyHash {
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Lower-case hexadecimal: the primary key of the `api_keys` table.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }

    /// What the key is called by on screens and in logs: see [`crate::domain::caller::Credential::key_id`].
    #[must_use]
    pub fn key_id(&self) -> String {
        hex(self.0.get(..8).unwrap_or_default())
    }
}

/// The text is not an [`ApiKeyHash`].
#[derive(Debug, thiserror::Error)]
#[error("must be 64 characters of lower-case hexadecimal")]
pub struct InvalidApiKeyHash;

impl FromStr for ApiKeyHash {
    type Err = InvalidApiKeyHash;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut hash = [0; 32];
        for (index, byte) in hash.iter_mut().enumerate() {
            let digits = text.get(2 * index..2 * index + 2).ok_or(InvalidApiKeyHash)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| InvalidApiKeyHash)?;
        }
        // What else can be read, with a sign or in capitals, is not what we write.
        if hex(&hash) == text { Ok(Self(hash)) } else { Err(InvalidApiKeyHash) }
    }
}

impl fmt::Debug for ApiKeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiKeyHash(..)")
    }
}

/// A row of the `api_keys` table, without its hash, which is its key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApiKey {
    pub user_id: UserId,
    #[serde(default)]
    pub permissions: Vec<String>,
    #[serde(default = "default_rate_limit")]
    pub rate_limit: u32,
    /// How many runs of its user go on at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    pub created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// The hash of the first of the keys whose places were taken one after the other, until this
    /// one's; none where this is the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<String>,
    /// Of the first one: the hash of the last.
    #[serde(rename = "heir", default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
}

const fn default_rate_limit() -> u32 {
    60
}

impl ApiKey {
    /// A key stops at the instant at which it expires or is revoked; either may lie ahead.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        let ended = |end: Option<Timestamp>| end.is_some_and(|end| end <= now);
        !ended(self.expires_at) && !ended(self.revoked_at)
    }
}

impl ApiKey {
    /// The first of its line, where `hash` is its own.
    #[must_use]
    pub fn lineage(&self, hash: &ApiKeyHash) -> String {
        self.lineage.clone().unwrap_or_else(|| hash.to_hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(expires_at: Option<i64>, revoked_at: Option<i64>) -> ApiKey {
        ApiKey {
            user_id: "someone".to_owned().into(),
            permissions: vec![],
            rate_limit: 60,
            max_concurrent: None,
            created_at: Timestamp::from_millis(0),
            expires_at: expires_at.map(Timestamp::from_millis),
            revoked_at: revoked_at.map(Timestamp::from_millis),
            lineage: None,
            successor: None,
        }
    }

    #[test]
    fn a_key_stops_when_it_expires_or_is_revoked() {
        let now = Timestamp::from_millis(1000);

        assert!(key(None, None).is_valid(now));
        assert!(key(Some(1001), None).is_valid(now));
        assert!(key(None, Some(1001)).is_valid(now));
        assert!(!key(Some(1000), None).is_valid(now));
        assert!(!key(Some(2000), Some(1000)).is_valid(now));
    }

    #[test]
    fn a_hash_is_lower_case_hexadecimal_and_never_printed() {
        let hash = ApiKeyHash::of("abc");

        assert_eq!(
            hash.to_hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(hash.key_id(), "ba7816bf8f01cfea");
        assert_eq!(format!("{hash:?}"), "ApiKeyHash(..)");
        assert_eq!(hash.to_hex().parse::<ApiKeyHash>().unwrap(), hash);
        for text in ["", "ba", &"+a".repeat(32), &"BA".repeat(32), &"é".repeat(32), &"0".repeat(66)]
        {
            assert!(text.parse::<ApiKeyHash>().is_err(), "{text}");
        }
    }
}
