//! How an error is answered to a caller: problem+json (RFC 9457).

use lambda_http::{
    Response,
    http::{HeaderName, header},
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    aws::failure::log,
    domain::{batch::Refusal, error::Error},
    http::reply::reply,
};

/// The body of an error response. `detail` never contains an internal message.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Problem {
    /// `urn:problem-type:agent-relay:<kind>`. Stable: programs can match on it.
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    pub status: u16,
    pub detail: String,
    /// The field of the request that is wrong.
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
            Error::Busy(_) | Error::Service { transient: true, .. } => {
                (503, "unavailable", "Service unavailable")
            }
            Error::Service { transient: false, .. } | Error::Corrupt { .. } => {
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

impl From<Problem> for Refusal {
    fn from(Problem { kind, status, detail, field, .. }: Problem) -> Self {
        Self { kind, status, detail, field }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internal_message_never_reaches_a_caller() {
        for transient in [true, false] {
            let error = Error::Service {
                action: "read the secret table",
                transient,
                source: "inner".into(),
            };
            let response = respond(&error);

            assert_eq!(response.status(), if transient { 503 } else { 500 });
            assert!(!response.body().contains("secret") && !response.body().contains("inner"));
        }
    }

    /// A batch keeps its refusals in one item (400 KB), whatever path of its parameters each names.
    #[test]
    fn a_hundred_refusals_fit_into_an_item() {
        let long = "é".repeat(120_000);
        let refusal = || Refusal::from(Problem::of(&Error::invalid(long.clone(), long.clone())));
        let refusals: Vec<_> = std::iter::repeat_with(refusal).take(100).collect();

        assert!(serde_json::to_vec(&refusals).unwrap().len() < 200_000);
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
