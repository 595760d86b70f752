//! The REST API as an OpenAPI 3.1 document, made of the very types that it reads and writes.
//! `infra/openapi.json` is this document, and what `GET /openapi.json` answers.

mod batches;
mod builder;
mod examples;
mod operations;
mod questions;
pub mod schema;
mod webhooks;

use serde_json::Value;

use crate::http::openapi::builder::{Document, SERVER};

/// The document as it is served at this address; unknown, it stays as it is.
#[must_use]
pub fn at(document: &str, base: Option<&str>) -> String {
    let Some(base) = base else {
        return document.to_owned();
    };
    let url = |url: &str| format!("\"url\": {}", Value::from(url));
    document.replacen(&url(SERVER), &url(base), 1)
}

/// The whole document.
#[must_use]
pub fn document() -> Value {
    let mut document = Document::new();
    document.executions();
    document.batches();
    document.questions();
    document.deliveries();
    document.subscriptions();
    document.others();
    document.webhooks();
    document.finish()
}
