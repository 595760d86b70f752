//! What all fixtures need of the protocol.

use rmcp::{ErrorData, RoleServer, service::RequestContext};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(super) type Context = RequestContext<RoleServer>;

/// A result of a type of the protocol's. It says itself that it is complete, or else what it is.
pub(super) fn typed<T: DeserializeOwned>(mut value: Value) -> Result<T, ErrorData> {
    if value.get("resultType").is_none() {
        value["resultType"] = json!("complete");
    }
    serde_json::from_value(value)
        .map_err(|error| ErrorData::internal_error(error.to_string(), None))
}
