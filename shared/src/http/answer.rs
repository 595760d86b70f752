//! What callers read: the answers of REST, envelope and MCP, and the `data` of a webhook.

pub mod batch;
pub mod lists;
pub mod monitor;
pub mod results;
pub mod webhook;
