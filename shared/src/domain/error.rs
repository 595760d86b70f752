//! What can go wrong, for all functions; `problem.rs` says how it is answered.

use std::borrow::Cow;

use crate::domain::truncated;

/// The error under one of ours, for the log alone.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The body is not JSON, or not an object.
    #[error("malformed request: {0}")]
    Malformed(String),
    #[error("no valid key or token")]
    Unauthorized,
    /// The permission that was missing, `action:resource`.
    #[error("permission {0} is missing")]
    Forbidden(String),
    /// Also for what exists but is not the caller's.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The state of things does not allow it, now or any more.
    #[error("{0}")]
    Conflict(Cow<'static, str>),
    #[error("{field} is larger than {limit} bytes")]
    TooLarge { field: &'static str, limit: usize },
    #[error("{field} {reason}")]
    Invalid { field: Cow<'static, str>, reason: Cow<'static, str> },
    #[error("the limit of {limit} {counted} a minute is used up")]
    RateLimited { limit: u32, counted: &'static str, retry_after_seconds: u64 },
    /// Somebody else was at the same item; again shortly.
    #[error("cannot {0}: the item is in use")]
    Busy(&'static str),
    /// A service that we need failed, or does not answer.
    #[error("cannot {action}")]
    Service {
        action: &'static str,
        /// Whether the same call may succeed later.
        transient: bool,
        #[source]
        source: Source,
    },
    /// What we stored, or what AWS sent, is not what we expect.
    #[error("cannot read {what}")]
    Corrupt {
        what: &'static str,
        #[source]
        source: Source,
    },
}

/// What is told of a place, and of a reason, in bytes.
const MAX_TOLD: usize = 500;

/// What is told of a text that is as long as its writer likes.
pub(crate) fn told(text: impl Into<Cow<'static, str>>) -> Cow<'static, str> {
    let text = text.into();
    if text.len() <= MAX_TOLD {
        return text;
    }
    truncated::marked(truncated::bytes(&text, MAX_TOLD), &text).into()
}

impl Error {
    pub fn invalid(
        field: impl Into<Cow<'static, str>>,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Invalid { field: told(field), reason: told(reason) }
    }

    /// The same refusal of another request's field.
    #[must_use]
    pub fn at(self, field: &'static str) -> Self {
        match self {
            Self::Invalid { reason, .. } => Self::invalid(field, reason),
            other => other,
        }
    }

    pub fn corrupt(what: &'static str, source: impl Into<Source>) -> Self {
        Self::Corrupt { what, source: source.into() }
    }

    /// Whether the same may succeed later, whatever it was about.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Service { transient: true, .. })
    }
}
