//! How a run ended: the raw output or error that is stored, and the one form in which any
//! agent's output is read.

mod ai_sdk;
mod anthropic;
mod bedrock;
mod conversation;
mod dialect;
mod envelope;
mod event_stream;
mod form;
mod gemini;
mod interactions;
mod langchain;
pub mod normalised;
mod openai_chat;
mod openai_responses;
mod strands;
#[cfg(test)]
mod tests;
mod texts;
mod tokens;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::{
    json::{Node, surrogate::mend},
    outcome::normalised::Normalised,
};

/// What an outcome may have in bytes: an item of DynamoDB has 400 KB, with its names and its key.
pub const MAX_BYTES: usize = 399 * 1024;

/// The `output` part of an execution: stored once, as Step Functions gave it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// JSON as text; missing when the run failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Which redrive this is the outcome of.
    pub redrive_count: u32,
    /// And of which end of that, a presumed one or Step Functions' own: a
    /// [`Rank`](crate::domain::status::Rank) as a number.
    pub rank: u8,
}

/// Reads the forms that agents in the field answer in, which `docs/agents.md` lists. Anything else
/// is its own result.
#[must_use]
pub fn normalise(raw: &str) -> Normalised {
    match mend(raw) {
        // What is no JSON has no lone surrogates, but a text that looks like one.
        Cow::Owned(mended) if Node::parse(&mended).is_some() => envelope::read(&mended),
        _ => envelope::read(raw),
    }
}
