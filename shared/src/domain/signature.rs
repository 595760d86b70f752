//! How webhooks are signed: Standard Webhooks (<https://www.standardwebhooks.com>), with a
//! secret of each user and each subscription that is derived and stored nowhere.

use std::{fmt, time::Duration};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::domain::{
    id::{SubscriptionId, UserId},
    time::Timestamp,
};

/// For how long after a rotation the secret before it signs, too.
const OVERLAP: Duration = Duration::from_hours(7 * 24);

/// Which of the secrets of a user or a subscription is in use. A user who has never rotated has no row.
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

/// Whose secret it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    User(UserId),
    Subscription(SubscriptionId),
}

/// What something is signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    pub signer: Signer,
    pub generation: Generation,
}

impl Signing {
    /// The header `webhook-signature`: one signature, or two while a secret rotates.
    #[must_use]
    pub fn signatures(&self, master: &[u8], webhook_id: &str, at: Timestamp, body: &str) -> String {
        let previous = self.generation.previous(at).map(|(generation, _)| generation);
        let signed = [Some(self.generation.generation), previous].into_iter().flatten();
        let signed = signed.map(|generation| {
            SigningSecret::derive(master, &self.signer, generation).sign(
                webhook_id,
                at.seconds(),
                body,
            )
        });
        signed.collect::<Vec<_>>().join(" ")
    }
}

/// The key of signatures: 43 printable ASCII characters, so that tools which take a
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
    pub fn derive(master: &[u8], signer: &Signer, generation: u32) -> Self {
        // The first begins with a digit, whatever a user is called, and the second never.
        let of = match signer {
            Signer::User(user) => format!("{generation}/{user}"),
            Signer::Subscription(id) => format!("subscription/{generation}/{id}"),
        };
        Self(URL_SAFE_NO_PAD.encode(mac(master, of.as_bytes())))
    }

    /// The form in which it is given out: `whsec_` and base64 of the key's bytes.
    #[must_use]
    pub fn whsec(&self) -> String {
        format!("whsec_{}", STANDARD.encode(&self.0))
    }

    /// `v1,<base64>`: one signature of the header `webhook-signature`.
    fn sign(&self, webhook_id: &str, timestamp: i64, body: &str) -> String {
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
    fn each_user_subscription_and_generation_has_a_secret_of_its_own() {
        const ID: &str = "sub_01m82fnbk6he8p6hq9b40e0c0s";

        let secret =
            |signer: &Signer, generation| SigningSecret::derive(b"master", signer, generation);
        let user = |name: &str| Signer::User(name.to_owned().into());
        let subscription = |id: &str| Signer::Subscription(id.parse().unwrap());
        let others = [
            user("a"),
            user("b"),
            // Nobody can be called so that its secret is that of a subscription.
            user(ID),
            user(&format!("subscription/0/{ID}")),
            subscription(ID),
            subscription("sub_01m82fnbk6he8p6hq9b40e0c0t"),
        ];
        let mut all: Vec<String> = others
            .iter()
            .flat_map(|signer| (0..20).map(|generation| secret(signer, generation).0))
            .collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);

        let a = secret(&user("a"), 0);
        // What receivers have must go on verifying.
        assert_eq!(a.0, URL_SAFE_NO_PAD.encode(mac(b"master", b"0/a")));
        assert_eq!(a.0.len(), 43);
        assert_eq!(STANDARD.decode(&a.whsec()["whsec_".len()..]).unwrap(), a.0.as_bytes());
        assert_eq!(format!("{a:?}"), "SigningSecret(..)");
    }

    #[test]
    fn both_secrets_sign_for_a_week_after_a_rotation() {
        let rotated_at = Timestamp::from_millis(1_000_000);
        let generation = Generation { generation: 2, rotated_at: Some(rotated_at) };
        let count = |generation, at| {
            let signing = Signing { signer: Signer::User("a".to_owned().into()), generation };
            signing.signatures(b"master", "msg_1", at, "{}").split(' ').count()
        };

        assert_eq!(count(Generation::default(), rotated_at), 1);
        assert_eq!(count(generation, rotated_at), 2);
        assert_eq!(count(generation, rotated_at.plus(OVERLAP)), 1);
        assert_eq!(generation.previous(rotated_at), Some((1, rotated_at.plus(OVERLAP))));
    }
}
