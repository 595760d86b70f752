//! What a batch is called.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ulid::Ulid;

use crate::domain::{
    digest::hex,
    id::{AgentName, ExecutionId},
};

const BATCH_PREFIX: &str = "mcp-batch-";

/// A batch's id. It has the form of an execution's, so that what is kept of it stands where that of
/// executions does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    inline,
    description = "The id of a batch.",
    extend("pattern" = "^mcp-batch-[a-z0-9]{26,32}$")
)]
pub struct BatchId(ExecutionId);

impl BatchId {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        Self::of(&Ulid::generate().to_string().to_ascii_lowercase())
    }

    /// The one that belongs to this item, the same each time.
    #[must_use]
    pub fn of_item(item: &str) -> Self {
        let hash = Sha256::digest(format!("batch#{item}"));
        Self::of(&hex(hash.get(..16).unwrap_or_default()))
    }

    fn of(name: &str) -> Self {
        // 36 or 42 characters of those that an execution's id has.
        let id = format!("{BATCH_PREFIX}{name}").parse();
        Self(id.unwrap_or_else(|_| ExecutionId::generate(&AgentName::default())))
    }

    /// As the key of its items.
    #[must_use]
    pub const fn as_execution_id(&self) -> &ExecutionId {
        &self.0
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// The text is not a [`BatchId`].
#[derive(Debug, thiserror::Error)]
#[error("not a batch id")]
pub struct InvalidBatchId;

impl TryFrom<String> for BatchId {
    type Error = InvalidBatchId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let name = text.strip_prefix(BATCH_PREFIX).ok_or(InvalidBatchId)?;
        let is_name = (26..=32).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
        if !is_name {
            return Err(InvalidBatchId);
        }
        text.parse().map(Self).map_err(|_| InvalidBatchId)
    }
}

impl FromStr for BatchId {
    type Err = InvalidBatchId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl From<BatchId> for String {
    fn from(id: BatchId) -> Self {
        id.0.into()
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batchs_id_is_random_or_that_of_its_item() {
        let id = BatchId::of_item("idem#a#k");

        assert_eq!(BatchId::of_item("idem#a#k"), id);
        assert_ne!(BatchId::of_item("idem#b#k"), id);
        assert_ne!(BatchId::generate(), BatchId::generate());
        for id in [id, BatchId::generate()] {
            assert_eq!(id.as_str().parse::<BatchId>().unwrap(), id);
            assert_eq!(id.as_str().parse::<ExecutionId>().unwrap(), *id.as_execution_id());
        }
        for wrong in ["", "mcp-batch-", "mcp-batch-A", "mcp-echo-01k6m82fnbk6he8p6hq9b40e0c"] {
            assert!(wrong.parse::<BatchId>().is_err(), "{wrong}");
        }
    }
}
