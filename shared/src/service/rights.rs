//! Looks up whether somebody may be told something now.

use crate::{
    domain::{
        api_key::ApiKeyHash,
        error::Error,
        rights::{About, Holder, permissions_of},
        time::Timestamp,
    },
    store::api_keys::ApiKeys,
};

/// Looks up what a [`Holder`] may do now.
#[derive(Debug, Clone)]
pub struct Rights {
    keys: ApiKeys,
}

impl Rights {
    #[must_use]
    pub const fn new(keys: ApiKeys) -> Self {
        Self { keys }
    }

    /// Whether an event about this may go to what the holder has made. What has no holder is nobody's.
    pub async fn may_be_told(
        &self,
        holder: Option<&Holder>,
        about: About<'_>,
    ) -> Result<bool, Error> {
        let Some(holder) = holder else { return Ok(false) };
        let find = async |hash: &ApiKeyHash| self.keys.recent(hash).await;
        let permissions = permissions_of(holder, Timestamp::now(), find).await?;
        Ok(permissions.is_some_and(|permissions| holder.may_have(about, &permissions)))
    }
}
