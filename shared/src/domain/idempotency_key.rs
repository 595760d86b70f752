//! An `Idempotency-Key`: by which a repeated request is known
//! (<https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>).

use sha2::{Digest, Sha256};

use crate::domain::{batch_id::BatchId, digest::hex, error::Error, id::UserId};

/// An `Idempotency-Key`: 1 to 255 visible characters, not blanks alone.
#[derive(Debug, Clone)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    pub const MAX_LENGTH: usize = 255;
    /// The header that it comes in.
    pub const FIELD: &str = "Idempotency-Key";

    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.trim().is_empty() {
            return Err(Error::invalid(Self::FIELD, "must not be blank"));
        }
        if text.len() > Self::MAX_LENGTH
            || !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        {
            return Err(Error::invalid(Self::FIELD, "must be 1 to 255 visible ASCII characters"));
        }
        Ok(Self(text.to_owned()))
    }

    /// That of one start of a batch, which no caller can give.
    #[must_use]
    pub fn of_batch(batch: &BatchId, index: usize) -> Self {
        Self(format!("\n{batch}#{index}"))
    }

    /// The primary key of its item: each user has keys of their own.
    #[must_use]
    pub fn item(&self, user: &UserId) -> String {
        format!("idem#{user}#{}", hex(&Sha256::digest(&self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idempotency_keys_are_visible_text_and_each_users_own() {
        let key = IdempotencyKey::parse("12-0-0").unwrap();

        assert_ne!(key.item(&"a".to_owned().into()), key.item(&"b".to_owned().into()));
        for text in ["a\n", "é", &"a".repeat(256)] {
            let refused = IdempotencyKey::parse(text).unwrap_err().to_string();
            assert_eq!(refused, "Idempotency-Key must be 1 to 255 visible ASCII characters");
        }
        for blank in ["", " ", "  \t"] {
            let refused = IdempotencyKey::parse(blank).unwrap_err().to_string();
            assert_eq!(refused, "Idempotency-Key must not be blank");
        }
    }
}
