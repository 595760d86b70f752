//! When an item is processed again, and how often before it is given up.

use std::time::Duration;

use relay::domain::{debt::DebtKind, protocol::Silence};

/// A hint that nobody takes comes again after ever longer, but at least so often: whoever is to
/// take it may have been repaired.
const LONGEST_HINT: Duration = Duration::from_mins(15);

/// A long run is asked about ever more seldom, but at least this often, while the quota lasts.
const LONGEST_POLL: Duration = Duration::from_hours(1);

/// A poll that ends well takes back what was counted, but only from here on: so nine of ten need
/// no write for that.
pub(crate) const WELL_AFTER: u32 = 8;

/// So often an item is processed without moving: two days of hints that nobody takes.
const MOST_HINTS: u32 = 200;

/// So often what fails is attempted: a night.
const MOST_FAILURES: u32 = 20;

/// When to hint again, after so many hints.
pub(crate) fn hint_again(overdue: Duration, sweeps: u32) -> Duration {
    overdue.saturating_mul(1 << sweeps.min(8)).min(LONGEST_HINT.max(overdue))
}

/// After which silence a run is processed again that was processed so often since it last moved.
/// `floor` is what the quota allows, with as many runs as there are.
pub(crate) fn silence(
    (launch, event): (Duration, Duration),
    sweeps: u32,
    floor: Duration,
) -> Silence {
    // Only what fails is attempted so often.
    let failed = sweeps.checked_sub(WELL_AFTER + 1);
    let event = event.max(floor).max(failed.map_or(event, |failed| retry_again(event, failed)));
    Silence { launch: hint_again(launch, sweeps), event, longest: LONGEST_POLL.max(event) }
}

/// When to attempt again what fails.
pub(crate) fn retry_again(shortest: Duration, sweeps: u32) -> Duration {
    shortest.saturating_mul(1 << sweeps.min(12)).min(LONGEST_POLL.max(shortest))
}

/// Whether an item was attempted as often as it may be. What can be read ends otherwise at some time,
/// and is given up only if nobody takes its hints.
pub(crate) fn is_over(kind: DebtKind, sweeps: u32, is_readable: bool) -> bool {
    match kind {
        DebtKind::Launch | DebtKind::Answer | DebtKind::Delivery if is_readable => {
            sweeps >= MOST_HINTS
        }
        DebtKind::Launch
        | DebtKind::Answer
        | DebtKind::Delivery
        | DebtKind::Poll
        | DebtKind::Batch
        | DebtKind::Line => sweeps >= MOST_FAILURES,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, mem};

    use relay::domain::{
        protocol::Facts,
        status::{Position, Rank},
        time::Timestamp,
    };

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn a_run_is_asked_about_as_often_as_the_quota_allows_and_more_seldom_when_that_fails() {
        let minutes = |sweeps, floor| {
            let silence = silence((MINUTE, MINUTE * 5), sweeps, MINUTE * floor);
            assert!(silence.longest >= silence.event && silence.longest >= MINUTE * 60);
            silence.event.as_secs() / 60
        };

        assert_eq!([0, 5, 7, 290].map(|floor| minutes(0, floor)), [5, 5, 7, 290]);
        assert_eq!([8, 9, 10, 11, 20].map(|sweeps| minutes(sweeps, 0)), [5, 5, 10, 20, 60]);
    }

    /// After how long an item is given up, whose hints nobody takes or which fails each time.
    #[test]
    fn what_never_moves_is_given_up_after_a_night_or_after_two_days() {
        let hints: Duration = (0..MOST_HINTS).map(|sweeps| hint_again(MINUTE, sweeps)).sum();
        let failures: Duration =
            (0..MOST_FAILURES).map(|sweeps| retry_again(MINUTE * 5, sweeps)).sum();

        assert_eq!(hint_again(MINUTE, 0), MINUTE);
        assert_eq!(hint_again(MINUTE, u32::MAX), MINUTE * 15);
        assert_eq!(hint_again(MINUTE * 20, 5), MINUTE * 20);
        assert!(hints > MINUTE * 60 * 48 && hints < MINUTE * 60 * 50, "{hints:?}");
        assert!(failures > MINUTE * 60 * 12 && failures < MINUTE * 60 * 20, "{failures:?}");
        assert!(is_over(DebtKind::Poll, MOST_FAILURES, true));
        assert!(!is_over(DebtKind::Launch, MOST_FAILURES, true));
        assert!(is_over(DebtKind::Launch, MOST_FAILURES, false));
        assert!(is_over(DebtKind::Delivery, MOST_HINTS, true));
    }

    /// Of ten thousand that come together, and of which a sweep may ask about 350: whether they go on or have
    /// ended, each is asked about before long.
    #[test]
    fn what_comes_together_is_asked_about_as_fast_as_the_budget_allows() {
        const RUNS: u32 = 10_000;
        const BUDGET: u32 = 350;
        let start = Timestamp::from_millis(100_000_000_000);
        let running = Facts {
            position: Position { redrive_count: 0, rank: Rank::Running },
            claimed_at: Some(start),
            start_at: None,
            launch_before: start,
            waits: false,
            is_cancelled: false,
            deadline: None,
            sequence: 0,
            started_at: Some(start.minus(MINUTE * 60 * 8)),
            updated_at: start.minus(MINUTE * 60 * 8),
            due_at: None,
            is_redrive_requested: false,
        };
        let silence = silence((MINUTE, MINUTE * 5), 0, MINUTE * (RUNS / BUDGET));
        let presumed = Position { redrive_count: 0, rank: Rank::Presumed };
        let presumed = Facts { position: presumed, ..running };
        for (run_is, goes_on) in [(running, false), (running, true), (presumed, false)] {
            let mut due: BTreeSet<_> = (0..RUNS).map(|run| (start, run)).collect();
            let mut asked = BTreeSet::new();
            let mut minutes = 0;
            while asked.len() < RUNS as usize {
                let now = start.plus(MINUTE * minutes);
                let later = due.split_off(&(now, RUNS));
                for (nth, (_, run)) in (0..).zip(mem::replace(&mut due, later)) {
                    if nth >= BUDGET {
                        // As an id and the clock's milliseconds would.
                        let spread = (run ^ minutes).wrapping_mul(0x9E37_79B1).to_be_bytes()[0];
                        due.insert((run_is.put_off(now, silence, spread), run));
                        continue;
                    }
                    asked.insert(run);
                    if goes_on {
                        due.insert((run_is.next_poll(now, silence), run));
                    }
                }
                minutes += 1;
                assert!(minutes < 3 * RUNS / BUDGET, "{} of {RUNS} were asked about", asked.len());
            }
        }
    }
}
