//! A document of JSON as somebody sends it.

use std::fmt::Write;

use crate::domain::{
    error::Error,
    json::{Json, MAX_DEPTH},
};

/// Refuses what is nested deeper than [`MAX_DEPTH`].
pub fn check_depth(field: &'static str, json: &Json) -> Result<(), Error> {
    if json.depth() > MAX_DEPTH {
        return Err(Error::invalid(field, format!("is nested deeper than {MAX_DEPTH} levels")));
    }
    Ok(())
}

/// A text with a byte order mark before it, which RFC 8259 §8.1 lets a parser ignore, is the text.
#[must_use]
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Where a place in bytes is, as an error says it.
#[must_use]
pub fn line_and_column(text: &str, place: usize) -> String {
    let before = text.get(..place).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let mut said = String::new();
    // Writing to a string does not fail.
    let _ = write!(said, "line {line} column {column}");
    said
}
