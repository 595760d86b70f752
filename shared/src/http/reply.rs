//! The forms of an answer.

use lambda_http::{
    Response,
    http::{HeaderValue, StatusCode, header},
};
use serde::Serialize;

/// What a body may have, in bytes as [`size_within`] counts them: the answer of a function, which has it as a
/// text, may have 6 MB (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
pub const MAX_BODY: usize = 5 * 1024 * 1024;

/// How many bytes a text takes within JSON.
#[must_use]
pub fn size_within(text: &str) -> usize {
    let escaped = text.bytes().filter(|byte| matches!(byte, b'"' | b'\\' | b'\n' | b'\t' | b'\r'));
    text.len() + escaped.count()
}

/// A JSON answer.
#[must_use]
pub fn reply(status: u16, body: &impl Serialize) -> Response<String> {
    // Our own types have string keys, so they always serialise.
    let mut response = Response::new(serde_json::to_string(body).unwrap_or_default());
    *response.status_mut() = status.try_into().unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A JSON document that is the same for everybody.
#[must_use]
pub fn document(text: String) -> Response<String> {
    let mut response = Response::new(text);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}

/// 204: it is done, and there is nothing to tell.
#[must_use]
pub fn nothing() -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
