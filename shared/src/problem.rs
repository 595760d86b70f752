//! How an error is answered: problem+json (RFC 9457) to a caller, a stable type to Lambda.

use lambda_http::{
    Response,
    http::{HeaderName, header},
};
use lambda_runtime::Diagnostic;
use schemars::JsonSchema;
use serde::Serialize;
use tracing::error;

use crate::{error::Error, gateway::reply};

/// The body of a refusal. `detail` never holds an internal message.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Problem {
    /// `urn:problem-type:agent-relay:<kind>`: stable, for programs to match on.
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    pub status: u16,
    pub detail: String,
    /// Which field of the request is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip)]
    pub retry_after_seconds: Option<u64>,
}

impl Problem {
    #[must_use]
    pub fn of(error: &Error) -> Self {
        let (status, kind, title) = match error {
            Error::Malformed(_) => (400, "malformed", "Malformed request"),
            Error::Unauthorized => (401, "unauthorized", "Unauthorized"),
            Error::Forbidden(_) => (403, "forbidden", "Forbidden"),
            Error::NotFound(_) => (404, "not-found", "Not found"),
            Error::Conflict(_) => (409, "conflict", "Conflict"),
            Error::TooLarge { .. } => (413, "too-large", "Too large"),
            Error::Invalid { .. } => (422, "invalid", "Invalid request"),
            Error::RateLimited { .. } => (429, "rate-limited", "Too many requests"),
            Error::Busy(_) | Error::Aws { transient: true, .. } => {
                (503, "unavailable", "Service unavailable")
            }
            Error::Aws { transient: false, .. } | Error::Corrupt { .. } => {
                (500, "internal", "Internal error")
            }
        };
        let (field, retry_after_seconds) = match error {
            Error::Invalid { field, .. } => (Some(field.to_string()), None),
            Error::TooLarge { field, .. } => (Some((*field).to_owned()), None),
            Error::RateLimited { retry_after_seconds, .. } => (None, Some(*retry_after_seconds)),
            _ => (None, (status == 503).then_some(1)),
        };
        Self {
            kind: format!("urn:problem-type:agent-relay:{kind}"),
            title,
            status,
            detail: match status {
                500 => "something went wrong on our side".to_owned(),
                503 => "not available right now; the same request may succeed shortly".to_owned(),
                _ => error.to_string(),
            },
            field,
            retry_after_seconds,
        }
    }
}

/// Answers a caller; an error of ours is logged here, once, with its sources.
#[must_use]
pub fn respond(error: &Error) -> Response<String> {
    let problem = Problem::of(error);
    if problem.status >= 500 {
        log(error);
    }
    let mut response = reply(problem.status, &problem);
    let headers = response.headers_mut();
    headers
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = problem.retry_after_seconds {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if let Error::RateLimited { limit, retry_after_seconds, .. } = error {
        let values = [u64::from(*limit), 0, *retry_after_seconds];
        for (name, value) in RATE_LIMIT.into_iter().zip(values) {
            headers.insert(HeaderName::from_static(name), value.into());
        }
    }
    response
}

/// Starts a minute, how many are left, and in how many seconds there are new ones
/// (draft-ietf-httpapi-ratelimit-headers-06).
const RATE_LIMIT: [&str; 3] = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"];

/// Logs an error that is not the caller's, with all that is under it.
pub fn log(error: &Error) {
    let mut sources = Vec::new();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        sources.push(discreet(inner));
        source = inner.source();
    }
    error!(error.sources = ?sources, "{error}");
}

/// What an error says, but for values: where one does not fit, serde quotes it.
fn discreet(error: &(dyn std::error::Error + 'static)) -> String {
    let text = error.to_string();
    let is_serde = error.is::<serde_json::Error>() || error.is::<serde_dynamo::Error>();
    let names_only = ["missing field ", "duplicate field ", "EOF while parsing "];
    if !is_serde || names_only.iter().any(|start| text.starts_with(start)) {
        return text;
    }
    match error.downcast_ref::<serde_json::Error>() {
        Some(json) => {
            format!("{:?} error at line {} column {}", json.classify(), json.line(), json.column())
        }
        None => "a value does not fit its type".to_owned(),
    }
}

/// The `errorType` is stable, so that an alarm can match on it.
impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        let error_type = match &error {
            Error::Malformed(_) => "Malformed",
            Error::Unauthorized => "Unauthorized",
            Error::Forbidden(_) => "Forbidden",
            Error::NotFound(_) => "NotFound",
            Error::Conflict(_) => "Conflict",
            Error::TooLarge { .. } => "TooLarge",
            Error::Invalid { .. } => "Invalid",
            Error::RateLimited { .. } => "RateLimited",
            Error::Busy(_) => "Busy",
            Error::Aws { .. } => "Aws",
            Error::Corrupt { .. } => "Corrupt",
        };
        log(&error);
        Self { error_type: error_type.to_owned(), error_message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internal_message_never_reaches_a_caller() {
        for transient in [true, false] {
            let error =
                Error::Aws { action: "read the secret table", transient, source: "inner".into() };
            let response = respond(&error);

            assert_eq!(response.status(), if transient { 503 } else { 500 });
            assert!(!response.body().contains("secret") && !response.body().contains("inner"));
        }
    }

    #[test]
    fn a_value_that_does_not_fit_is_not_logged() {
        #[derive(Debug, serde::Deserialize)]
        struct Row {
            #[expect(dead_code, reason = "it is only read")]
            n: u32,
        }
        let of_json = |json: &str| discreet(&serde_json::from_str::<Row>(json).unwrap_err());
        let of_item = |value: serde_json::Value| {
            let item: serde_dynamo::Item = serde_dynamo::to_item(value).unwrap();
            discreet(&serde_dynamo::from_item::<_, Row>(item).unwrap_err())
        };
        for said in [
            of_json(r#"{"n": "SECRET"}"#),
            of_json(r#""SECRET""#),
            of_json(r#"{"n": 1} SECRET"#),
            of_item(serde_json::json!({"n": "SECRET"})),
            of_item(serde_json::json!({"n": ["SECRET"]})),
        ] {
            assert!(!said.contains("SECRET") && !said.is_empty(), "{said}");
        }
        assert_eq!(of_json(r#"{"n": "SECRET"}"#), "Data error at line 1 column 14");
        assert!(of_json("{}").starts_with("missing field `n`"), "{}", of_json("{}"));
        let inner: crate::error::Source = "which table it was".into();
        assert_eq!(discreet(inner.as_ref()), "which table it was");
    }

    #[test]
    fn a_problem_names_the_field() {
        let response = respond(&Error::invalid("input_message", "must not be empty"));

        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(
            response.body(),
            r#"{"type":"urn:problem-type:agent-relay:invalid","title":"Invalid request","status":422,"detail":"input_message must not be empty","field":"input_message"}"#
        );
    }
}
