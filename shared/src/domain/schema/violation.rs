//! Why a schema is refused, and why a value does not fit one.

#[derive(Debug, thiserror::Error)]
pub enum InvalidSchema {
    /// It is no JSON Schema, or needs one from elsewhere. The reason quotes from it.
    #[error("{0}")]
    NoSchema(String),
    /// To compile it, or to hold a value against it, would take too much. The reason quotes nothing.
    #[error("{0}")]
    TooCostly(&'static str),
    /// A validator would check another number than the one that is written. It quotes what is there.
    #[error("{place} is {written}, which would be checked as {read}")]
    Rounded {
        place: String,
        /// The same with the keywords alone: names are none of ours.
        keywords: String,
        written: String,
        read: String,
    },
}

impl InvalidSchema {
    /// What is wrong, without a quotation.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::NoSchema(_) => "must be a JSON Schema without references to elsewhere".to_owned(),
            Self::TooCostly(reason) => format!("is too costly: {reason}"),
            Self::Rounded { keywords, .. } => {
                format!("has a number that would be rounded to be checked, at {keywords}")
            }
        }
    }
}

impl From<Refusal> for InvalidSchema {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(reason) => Self::NoSchema(reason.to_owned()),
            Refusal::TooCostly(reason) => Self::TooCostly(reason),
        }
    }
}

/// Why a value does not fit.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where in the value, such as `.lines.0.amount`; empty for all of it.
    pub path: String,
    /// What was asked for there; it does not quote the value.
    pub reason: String,
}

impl Violation {
    pub(super) fn of_all(reason: &str) -> Self {
        Self { path: String::new(), reason: reason.to_owned() }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Invalid(&'static str),
    TooCostly(&'static str),
}
