//! How webhooks are signed: Standard Webhooks (<https://www.standardwebhooks.com>), with a
//! secret per user that is derived and stored nowhere.

use std::{fmt, time::Duration};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::{caller::UserId, time::Timestamp};

/// For how long after a rotation the secret before it signs, too.
pub const OVERLAP: Duration = Duration::from_hours(7 * 24);

/// Which of a user's secrets is in use. A user who has never rotated has no row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    pub generation: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at: Option<Timestamp>,
}

impl Generation {
    /// The generation before this one, and until when it signs, too.
    #[must_use]
    pub fn previous(self, now: Timestamp) -> Option<(u32, Timestamp)> {
        let until = self.rotated_at?.plus(OVERLAP);
        Some((self.generation.checked_sub(1)?, until)).filter(|_| now < until)
    }
}

/// The header `webhook-signature`: one signature, or two while a secret rotates.
#[must_use]
pub fn signatures(
    master: &[u8],
    user: &UserId,
    generation: Generation,
    webhook_id: &str,
    at: Timestamp,
    body: &str,
) -> String {
    let previous = generation.previous(at).map(|(generation, _)| generation);
    let signed = [Some(generation.generation), previous].into_iter().flatten().map(|generation| {
        SigningSecret::derive(master, user, generation).sign(webhook_id, at.seconds(), body)
    });
    signed.collect::<Vec<_>>().join(" ")
}

/// The key of a user's signatures: 43 printable ASCII characters, so that tools which take a
/// secret as text (n8n's Crypto node) can use it as it is.
pub struct SigningSecret(String);

impl fmt::Debug for SigningSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningSecret(..)")
    }
}

impl SigningSecret {
    /// Derives the secret of one generation from the stack's master secret.
    #[must_use]
    pub fn derive(master: &[u8], user: &UserId, generation: u32) -> Self {
        let derived = mac(master, format!("{generation}/{user}").as_bytes());
        Self(URL_SAFE_NO_PAD.encode(derived))
    }

    /// The form in which the user is given it: `whsec_` and base64 of the key's bytes.
    #[must_use]
    pub fn whsec(&self) -> String {
        format!("whsec_{}", STANDARD.encode(&self.0))
    }

    /// `v1,<base64>`: one signature of the header `webhook-signature`.
    #[must_use]
    pub fn sign(&self, webhook_id: &str, timestamp: i64, body: &str) -> String {
        let signed = mac(self.0.as_bytes(), format!("{webhook_id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(signed))
    }
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC takes a key of any length, so this error does not exist; an empty key would only make
    // a signature that nobody accepts.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_of_the_specification() {
        // The example of the reference libraries: the secret is base64 of the key's bytes.
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = r#"{"test": 2432232314}"#;
        let signed =
            mac(&key, format!("msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{body}").as_bytes());

        assert_eq!(STANDARD.encode(signed), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_user_and_generation_has_a_secret_of_its_own() {
        let secret = |user: &str, generation| {
            SigningSecret::derive(b"master", &user.to_owned().into(), generation)
        };

        assert_ne!(secret("a", 0).0, secret("b", 0).0);
        assert_ne!(secret("a", 0).0, secret("a", 1).0);
        assert_eq!(secret("a", 0).0, secret("a", 0).0);
        assert_eq!(secret("a", 0).0.len(), 43);
        assert_eq!(
            STANDARD.decode(&secret("a", 0).whsec()["whsec_".len()..]).unwrap(),
            secret("a", 0).0.as_bytes()
        );
        assert_eq!(format!("{:?}", secret("a", 0)), "SigningSecret(..)");
    }

    #[test]
    fn both_secrets_sign_for_a_week_after_a_rotation() {
        let user: UserId = "a".to_owned().into();
        let rotated_at = Timestamp::from_millis(1_000_000);
        let generation = Generation { generation: 2, rotated_at: Some(rotated_at) };
        let count = |generation, at| {
            signatures(b"master", &user, generation, "msg_1", at, "{}").split(' ').count()
        };

        assert_eq!(count(Generation::default(), rotated_at), 1);
        assert_eq!(count(generation, rotated_at), 2);
        assert_eq!(count(generation, rotated_at.plus(OVERLAP)), 1);
        assert_eq!(generation.previous(rotated_at), Some((1, rotated_at.plus(OVERLAP))));
    }
}
