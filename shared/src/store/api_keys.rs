//! The `api_keys` table.

use aws_sdk_dynamodb::Client;

use super::{from_item, text};
use crate::{
    api_key::{ApiKey, ApiKeyHash},
    error::Error,
};

#[derive(Debug, Clone)]
pub struct ApiKeys {
    client: Client,
    table: String,
}

impl ApiKeys {
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads consistently, so that a revoked key stops at once.
    pub async fn find(&self, hash: &ApiKeyHash) -> Result<Option<ApiKey>, Error> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("api_key_hash", text(hash.to_hex()))
            .consistent_read(true)
            .send()
            .await
            .map_err(Error::aws("read an API key"))?;
        found.item.map(from_item).transpose()
    }
}
