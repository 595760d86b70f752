//! The keys of items, and the names of their parts.

use std::collections::HashMap;

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
