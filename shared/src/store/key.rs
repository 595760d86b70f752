//! The keys of items, and the names of their parts.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer, de::Error};

use crate::{
    domain::id::{SubscriptionId, UserId},
    store::item::{Item, text},
};

pub(super) const STATE: &str = "state";
pub(super) const INPUT: &str = "input";
pub(super) const CALLBACK: &str = "callback";
pub(super) const BATCH: &str = "batch";
pub(super) const OUTPUT: &str = "output";
pub(super) const IDEMPOTENCY: &str = "idem";
pub(super) const LINE: &str = "line";

pub(super) fn key(id: &str, part: &str) -> Item {
    HashMap::from([("execution_id".to_owned(), text(id)), ("part".to_owned(), text(part))])
}

/// The longest sort key, in bytes
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>).
const MAX_PART: usize = 1024;

/// For `#[serde(deserialize_with)]` of a part that a caller's cursor names: DynamoDB takes no other.
pub(super) fn possible_part<'de, D: Deserializer<'de>>(text: D) -> Result<String, D::Error> {
    let part = String::deserialize(text)?;
    if (1..=MAX_PART).contains(&part.len()) { Ok(part) } else { Err(D::Error::custom("no part")) }
}

pub(super) const GENERATION: &str = "generation";

/// The key of a user's item.
pub(super) fn generation_key(user: &UserId) -> Item {
    key(&format!("secret#{user}"), GENERATION)
}

pub(super) fn owner_key(user: &UserId) -> String {
    format!("subscriptions#{user}")
}

/// The key of a subscription.
pub(super) fn subscription_key(user: &UserId, id: &SubscriptionId) -> Item {
    key(&owner_key(user), id.as_str())
}

/// The one key of the index of everybody's trouble.
pub(super) const TROUBLE: &str = "all";
