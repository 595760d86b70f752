//! What all that one sweep does has in common.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use relay::domain::time::Timestamp;

/// Nothing further begins after this; the next sweep comes in a minute.
const ENOUGH: Duration = Duration::from_secs(40);

/// What all that one sweep does has in common.
pub(crate) struct Round {
    pub(crate) now: Timestamp,
    pub(crate) clock: Instant,
    /// How many runs may still be asked about.
    pub(crate) budget: AtomicU32,
    /// Between two polls of one run there is at least so much, with as many runs as there are.
    pub(crate) floor: Duration,
}

impl Round {
    pub(crate) fn is_over(&self) -> bool {
        self.clock.elapsed() > ENOUGH
    }

    /// Takes one from the budget, if that leaves the reserve.
    pub(crate) fn affords(&self, reserve: u32) -> bool {
        let take = |left: u32| left.checked_sub(1).filter(|left| *left >= reserve);
        self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}
