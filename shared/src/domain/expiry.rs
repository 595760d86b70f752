//! Until when a run and its other parts are kept.

use std::time::Duration;

use crate::domain::time::Timestamp;

/// How much longer than the run the other parts are kept at first.
const KEPT_LONGER: Duration = Duration::from_hours(24);

/// Until when the other parts of a run are kept that goes on at `now`.
#[must_use]
pub fn kept_until(now: Timestamp, retention: Duration) -> Timestamp {
    parts_until(now.plus(retention))
}

/// Until when the other parts of a run are kept that is itself kept until `until`.
#[must_use]
pub fn parts_until(until: Timestamp) -> Timestamp {
    until.plus(KEPT_LONGER)
}

/// Whether the other parts of a run that goes on are to be kept longer: else they might expire
/// before it does.
#[must_use]
pub fn is_to_be_kept_longer(
    kept_until: Option<Timestamp>,
    now: Timestamp,
    retention: Duration,
) -> bool {
    kept_until.is_some_and(|until| until < now.plus(retention + KEPT_LONGER / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(10_000_000_000);

    #[test]
    fn what_belongs_to_a_run_is_kept_for_longer_than_it_goes_on() {
        let (week, hour) = (Duration::from_hours(168), Duration::from_hours(1));
        let until = kept_until(NOW, week);

        assert!(!is_to_be_kept_longer(Some(until), NOW.plus(hour * 12), week));
        assert!(is_to_be_kept_longer(Some(until), NOW.plus(hour * 13), week));
        // What ends before the next poll is still kept for its whole time.
        assert!(until > NOW.plus(hour * 12 + Duration::from_hours(11) + week));
        assert!(!is_to_be_kept_longer(None, NOW, week));
    }
}
