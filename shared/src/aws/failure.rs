//! Failures: how one of AWS becomes an error of ours, and how ours are logged and told to Lambda.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use lambda_runtime::Diagnostic;
use tracing::error;

use crate::domain::error::Error;

impl Error {
    /// For `map_err` on an AWS call: `action` completes the sentence "cannot …".
    pub fn aws<E, R>(action: &'static str) -> impl FnOnce(SdkError<E, R>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        move |error| match error.as_service_error().and_then(ProvideErrorMetadata::code) {
            // It was repeated, and met a transaction each time.
            Some("TransactionConflictException") => Self::Busy(action),
            _ => Self::Service { action, transient: is_transient(&error), source: error.into() },
        }
    }
}

/// Whether a call that failed so after the SDK's own retries may succeed later.
fn is_transient<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    match error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
            true
        }
        SdkError::ServiceError(service) => service.err().code().is_some_and(|code| {
            let code = code.to_ascii_lowercase();
            ["throttl", "exceeded", "internal", "unavailable", "timeout", "conflict"]
                .iter()
                .any(|part| code.contains(part))
        }),
        _ => false,
    }
}

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
            Error::Service { .. } => "Aws",
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
        let inner: crate::domain::error::Source = "which table it was".into();
        assert_eq!(discreet(inner.as_ref()), "which table it was");
    }
}
