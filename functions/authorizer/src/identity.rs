//! Who calls, by a key or by a token.

use relay::domain::{
    api_key::{ApiKey, ApiKeyHash},
    caller::Credential,
    id::UserId,
    time::Timestamp,
};

/// Who calls, whatever they prove it with.
pub(crate) struct Identity {
    pub(crate) user_id: UserId,
    pub(crate) credential: Credential,
    pub(crate) lineage: Credential,
    /// Of a token.
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) permissions: Vec<String>,
    pub(crate) rate_limit: u32,
    /// Of a key.
    pub(crate) max_concurrent: Option<u32>,
}

impl Identity {
    pub(crate) fn of_key(hash: &ApiKeyHash, key: ApiKey) -> Self {
        let lineage = Credential::from(key.lineage(hash));
        let ApiKey { user_id, permissions, rate_limit, max_concurrent, .. } = key;
        let credential = Credential::of_key(hash);
        Self {
            user_id,
            credential,
            lineage,
            expires_at: None,
            permissions,
            rate_limit,
            max_concurrent,
        }
    }
}
