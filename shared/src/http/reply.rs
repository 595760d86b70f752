//! The forms of an answer.

use lambda_http::{
    Response,
    http::{HeaderValue, StatusCode, header},
};
use serde::Serialize;

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
