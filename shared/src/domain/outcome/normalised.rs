//! The one form in which any agent's output is read.

use crate::domain::json::Json;

/// What callers read of an output, whatever form the agent gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalised {
    pub result: Json,
    /// Distinct names, in order of first use.
    pub tools_used: Vec<String>,
    /// In the form that the agent gave.
    pub tokens_used: Option<Json>,
}

/// The output as the agent gave it.
#[must_use]
pub fn raw(output: &str) -> Json {
    Json::parse(output).unwrap_or_else(|| Json::string(output))
}
