//! When an item is looked after again, and how often before it is given up.

use std::time::Duration;

use relay::{
    debt::DebtKind,
    execution::{Execution, Status},
    store::transitions::CLAIM_GRACE,
    time::Timestamp,
};

/// A hint that nobody takes comes again after ever longer, but at least so often: whoever is to
/// take it may have been mended.
const LONGEST_HINT: Duration = Duration::from_mins(15);

/// A long run is asked about ever more seldom, but at least this often, while the quota lasts.
const LONGEST_POLL: Duration = Duration::from_hours(1);

/// A look that ends well takes back what was counted, but only from here on: so nine of ten need
/// no write for that.
pub(crate) const WELL_AFTER: u32 = 8;

/// So often an item is looked after without moving: two days of hints that nobody takes.
const MOST_HINTS: u32 = 200;

/// So often what fails is tried: a night.
const MOST_FAILURES: u32 = 20;

/// When to hint again, after so many hints.
pub(crate) fn hint_again(overdue: Duration, sweeps: u32) -> Duration {
    overdue.saturating_mul(1 << sweeps.min(8)).min(LONGEST_HINT.max(overdue))
}

/// When to ask about a run again: after an eighth of its age, within bounds. `floor` is what the
/// quota allows, with as many runs as there are.
pub(crate) fn poll_again(
    run: &Execution,
    now: Timestamp,
    shortest: Duration,
    floor: Duration,
) -> Duration {
    let age = Duration::from_millis(now.millis_since(run.started_at.unwrap_or(now)));
    (age / 8).min(LONGEST_POLL).max(shortest).max(floor)
}

/// When to try again what fails.
pub(crate) fn retry_again(shortest: Duration, sweeps: u32) -> Duration {
    shortest.saturating_mul(1 << sweeps.min(12)).min(LONGEST_POLL.max(shortest))
}

/// Whether an item was tried as often as it may be. What can be read ends otherwise at some time,
/// and is given up only if nobody takes its hints.
pub(crate) fn is_over(kind: DebtKind, sweeps: u32, is_readable: bool) -> bool {
    match kind {
        DebtKind::Launch | DebtKind::Answer | DebtKind::Delivery if is_readable => {
            sweeps >= MOST_HINTS
        }
        DebtKind::Launch | DebtKind::Answer | DebtKind::Delivery | DebtKind::Poll => {
            sweeps >= MOST_FAILURES
        }
    }
}

/// A claimed run that may not be launched any more: only Step Functions knows whether it runs.
pub(crate) fn is_past_claiming(run: &Execution, now: Timestamp) -> bool {
    run.claimed_at.is_some() && run.launch_before.plus(CLAIM_GRACE) <= now
}

/// Whether a run that Step Functions does not know will never be known: its launch is long past
/// what eventual consistency explains, and nobody may start it any more.
pub(crate) fn is_lost(run: &Execution, now: Timestamp) -> bool {
    match run.status {
        Status::Queued => run.launch_before.plus(CLAIM_GRACE * 2) <= now,
        Status::Running | Status::InputRequired => {
            run.claimed_at.is_none_or(|at| at.plus(CLAIM_GRACE) <= now)
        }
        Status::Completed | Status::Failed | Status::Timeout | Status::Cancelled => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(10_000_000_000);
    const MINUTE: Duration = Duration::from_mins(1);

    fn run(status: &str, claimed_minutes_ago: Option<u64>, launch_before: Timestamp) -> Execution {
        let claimed_at = claimed_minutes_ago.map(|minutes| NOW.minus(Duration::from_mins(minutes)));
        serde_json::from_value(json!({
            "execution_id": "mcp-echo-1", "user_id": "someone", "agent_name": "echo",
            "state_machine_arn": "arn:aws:states:eu-west-1:111122223333:stateMachine:echo",
            "status": status, "redrive_count": 0, "rank": 0, "launch_before": launch_before,
            "created_at": 1_000, "updated_at": 2_000, "started_at": NOW.minus(Duration::from_hours(4)),
            "claimed_at": claimed_at,
        }))
        .unwrap()
    }

    #[test]
    fn a_run_is_lost_only_when_nobody_may_start_it_any_more() {
        let future = NOW.plus(Duration::from_hours(1));
        let ago = |minutes| NOW.minus(Duration::from_mins(minutes));

        assert!(!is_lost(&run("running", Some(10), future), NOW));
        assert!(is_lost(&run("running", Some(16), future), NOW));
        assert!(!is_lost(&run("queued", Some(600), future), NOW));
        assert!(!is_lost(&run("queued", Some(600), ago(29)), NOW));
        assert!(is_lost(&run("queued", Some(600), ago(31)), NOW));
        assert!(!is_lost(&run("completed", Some(600), ago(31)), NOW));
        assert!(!is_past_claiming(&run("queued", None, ago(60)), NOW), "launch ends it itself");
        assert!(!is_past_claiming(&run("queued", Some(60), ago(14)), NOW));
        assert!(is_past_claiming(&run("queued", Some(60), ago(16)), NOW));
    }

    #[test]
    fn a_long_run_is_polled_ever_more_seldom_and_as_the_quota_allows() {
        let of_age = |age: Duration, floor| {
            let run = Execution { started_at: Some(NOW.minus(age)), ..run("running", None, NOW) };
            poll_again(&run, NOW, MINUTE * 5, floor)
        };

        assert_eq!(of_age(MINUTE, Duration::ZERO), MINUTE * 5);
        assert_eq!(of_age(MINUTE * 240, Duration::ZERO), MINUTE * 30);
        assert_eq!(of_age(MINUTE * 24_000, Duration::ZERO), MINUTE * 60);
        assert_eq!(of_age(MINUTE, MINUTE * 7), MINUTE * 7);
        assert_eq!(of_age(MINUTE * 24_000, MINUTE * 250), MINUTE * 250);
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
}
