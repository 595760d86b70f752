//! One attempt to deliver, and what is kept of many.

use serde::{Deserialize, Serialize};

use crate::domain::{time::Timestamp, truncated};

/// How many attempts are kept: the last ones. A schedule without "not yet" has no more.
pub const MAX_ATTEMPTS: usize = 20;

/// What is kept of an answer with the attempt, in bytes.
const MAX_DETAIL: usize = 800;

/// One POST and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub at: Timestamp,
    pub duration_ms: u64,
    /// The HTTP status; missing when no answer came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Whether the receiver may have taken it, whatever the answer says, or although none came.
    #[serde(default)]
    pub may_have_arrived: bool,
    /// The start of the answer, or why there was none.
    pub detail: String,
}

impl Attempt {
    /// Whether the receiver is there, and was not ready for it.
    #[must_use]
    pub fn is_not_yet(&self) -> bool {
        self.status == Some(409)
    }

    /// With no more of the answer than is kept.
    pub(crate) fn bounded(mut self) -> Self {
        self.detail.truncate(truncated::bytes(&self.detail, MAX_DETAIL).len());
        self
    }
}

/// The attempts that are no longer kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    pub count: u32,
    /// How many of those since it was last owed were answered by "not yet".
    pub not_yet: u32,
    /// Whether the receiver may have taken one of them.
    pub may_have_arrived: bool,
}
