//! Fixture resources.

use rmcp::{
    ErrorData,
    model::{ReadResourceResult, Resource, ResourceTemplate},
};
use serde_json::json;

use super::{protocol::typed, tools::PNG};

const TEXT: &str = "test://static-text";
const BINARY: &str = "test://static-binary";
const WATCHED: &str = "test://watched-resource";
const TEMPLATE: &str = "test://template/{id}/data";

pub(super) fn list() -> Vec<Resource> {
    vec![
        Resource::new(TEXT, "static-text").with_description("A fixture: text."),
        Resource::new(BINARY, "static-binary").with_description("A fixture: an image."),
        Resource::new(WATCHED, "watched").with_description("A fixture: to subscribe to."),
    ]
}

pub(super) fn templates() -> Vec<ResourceTemplate> {
    vec![ResourceTemplate::new(TEMPLATE, "template").with_description("A fixture: a template.")]
}

/// The contents of a fixture; `None` for a URI that names none.
pub(super) fn read(uri: &str) -> Option<Result<ReadResourceResult, ErrorData>> {
    let contents = match uri {
        TEXT | WATCHED => {
            json!({"uri": uri, "mimeType": "text/plain", "text": "The text of a fixture."})
        }
        BINARY => json!({"uri": uri, "mimeType": "image/png", "blob": PNG}),
        _ => {
            let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
            let text = json!({"id": id, "templateTest": true}).to_string();
            json!({"uri": uri, "mimeType": "application/json", "text": text})
        }
    };
    Some(typed(json!({"contents": [contents], "ttlMs": 0, "cacheScope": "private"})))
}
