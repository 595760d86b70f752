//! A move of a run: its row after what was observed, and what is told of that.

use std::time::Duration;

use crate::domain::{
    concurrency,
    debt::{Debt, DebtKind},
    event_type::EventType,
    execution::Execution,
    expiry,
    observation::{MAX_ERROR_CODE, Observation},
    outcome::Outcome,
    protocol::{CLAIM_GRACE, Facts},
    status::{Rank, Status, default_code},
    time::Timestamp,
    truncated,
};

/// A text that says something.
fn said(text: Option<&String>) -> Option<&String> {
    text.filter(|text| !text.trim().is_empty())
}

/// How a run ended, by what was observed.
#[must_use]
pub fn outcome_of(after: &Execution, observed: &Observation) -> Outcome {
    Outcome {
        output: observed.output.clone(),
        error: said(observed.error.as_ref()).or(after.error_code.as_ref()).cloned(),
        cause: said(observed.cause.as_ref()).cloned(),
        redrive_count: after.redrive_count,
        rank: after.rank,
    }
}

/// Whether an end is told that was presumed before.
#[must_use]
pub fn is_correction(before: &Execution, after: &Execution) -> bool {
    before.redrive_count == after.redrive_count && before.position().rank == Rank::Presumed
}

/// What is told of a move, if anything is, and whether it corrects what was told before.
#[must_use]
pub fn event_of_move(before: &Execution, after: &Execution) -> Option<(EventType, bool)> {
    let event = EventType::of(after.status)?;
    // It is told already.
    (!is_confirmed(before, after)).then_some((event, is_correction(before, after)))
}

/// Whether a presumed end was the end.
#[must_use]
pub fn is_confirmed(before: &Execution, after: &Execution) -> bool {
    is_correction(before, after)
        && (before.status, &before.error_code) == (after.status, &after.error_code)
}

/// The row after `observed`, which may follow it.
#[must_use]
pub fn moved(
    before: &Execution,
    observed: &Observation,
    now: Timestamp,
    event_overdue: Duration,
    retention: Duration,
) -> Execution {
    let position = observed.position();
    let (started_at, ended_at) = times(before, observed, now);
    let is_redriven = position.redrive_count > before.redrive_count;
    let facts = before.facts();
    // What was owed and asked of an earlier redrive is done with.
    let deadline = before.timeout().map(|timeout| now.plus(timeout));
    let facts = if is_redriven { Facts { deadline, due_at: None, ..facts } } else { facts };
    let mut after = Execution {
        status: observed.status,
        redrive_count: position.redrive_count,
        rank: position.rank as u8,
        updated_at: now,
        started_at,
        completed_at: None,
        error_code: None,
        due_at: None,
        debt: None,
        troubled_at: None,
        ttl: None,
        line: None,
        waits_for: None,
        ..before.clone()
    };
    // A presumed end may be wrong: until it is confirmed the run counts as one that goes on.
    if position.rank == Rank::Ended {
        after.slots.clear();
    }
    if is_redriven {
        after.kept_until = Some(expiry::kept_until(now, retention));
        after.cancel_requested_at = None;
        after.cancelled_by = None;
        after.redrive_requested_at = None;
        after.redrive_refusal = None;
        after.deadline = deadline;
        after.stop_reason = None;
        after.progress = None;
        after.message = None;
        after.open_questions.clear();
        if after.wait_order.is_some() && after.slots.is_empty() && !observed.status.is_end() {
            after.slots = concurrency::beyond(&after);
        }
    }
    if observed.status.is_end() {
        // Aborted by us because its time was up, it has timed out.
        if let (Status::Cancelled, Some(reason)) = (observed.status, after.stop_reason) {
            after.status = reason.status();
        }
        // Aborted because we had reported that it ended, it has ended so.
        let is_confirmed = observed.status == Status::Cancelled
            && after.stop_reason.is_none()
            && is_correction(before, &after);
        if is_confirmed {
            after.status = before.status;
        }
        after.completed_at = Some(ended_at);
        after.error_code = (after.status != Status::Completed).then(|| {
            let code = said(observed.error.as_ref()).map(String::as_str);
            let code = code.unwrap_or(default_code(after.status));
            truncated::chars(code, MAX_ERROR_CODE).to_owned()
        });
        if is_confirmed {
            after.error_code.clone_from(&before.error_code);
        }
        after.open_questions.clear();
        // A run that has ended owes nothing itself: it is no debt any more, and expires. A presumed end is
        // checked once more, when Step Functions must know of the run, if it runs.
        after.troubled_at = after.status.is_trouble().then_some(now);
        if position.rank == Rank::Presumed {
            after.due_at = Some(now.plus(CLAIM_GRACE));
            after.debt = Some(Debt::of(DebtKind::Poll, &after.execution_id));
        }
        after.ttl = Some(now.plus(retention).seconds());
    } else {
        let due_at = facts.owes_from(now, event_overdue);
        after.due_at = Some(due_at);
        // Where it stands until then already it stays: to move costs two writes of the index.
        let is_alive = |debt: &Debt| before.due_at == Some(due_at) && *debt != Debt::dead();
        let stands = before.debt.clone().filter(is_alive);
        after.debt = stands.or_else(|| Some(after.debt_until(due_at)));
    }
    after
}

/// When the run started, and when it ended if it has.
fn times(
    before: &Execution,
    observed: &Observation,
    now: Timestamp,
) -> (Option<Timestamp>, Timestamp) {
    let believed = |told: Option<Timestamp>| before.believed(told?, now);
    let started = believed(observed.started_at);
    let ended = believed(observed.completed_at);
    let ended = ended.filter(|end| started.is_none_or(|start| *end >= start));
    let started = started.or_else(|| believed(before.started_at));
    (started, ended.unwrap_or(now).max(started.unwrap_or(before.created_at)))
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::subsequence};
    use serde_json::json;

    use super::*;
    use crate::domain::{
        execution::CLOCK_LEAD, observation::MAX_CAUSE, outcome::MAX_BYTES, protocol::Grounds,
        status::StopReason,
    };

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn claimed(stop_reason: Option<StopReason>) -> Execution {
        serde_json::from_value(json!({
            "execution_id": "mcp-echo-1", "user_id": "someone", "agent_name": "echo",
            "state_machine_arn": "arn:aws:states:eu-west-1:111122223333:stateMachine:echo",
            "status": "queued", "redrive_count": 0, "rank": Rank::Queued as u8,
            "created_at": NOW, "updated_at": NOW, "started_at": NOW, "claimed_at": NOW,
            "launch_before": NOW, "due_at": NOW, "debt": "poll#0", "stop_reason": stop_reason,
            "deadline": NOW.plus(Duration::from_hours(1)),
        }))
        .unwrap()
    }

    fn observed(status: Status, redrive_count: u32) -> Observation {
        let end = NOW.plus(Duration::from_secs(u64::from(redrive_count) + 1));
        Observation {
            grounds: Grounds::Told,
            execution_id: "mcp-echo-1".parse().unwrap(),
            execution_arn: String::new(),
            status,
            redrive_count,
            started_at: Some(NOW),
            completed_at: status.is_end().then_some(end),
            output: None,
            error: (status == Status::Failed).then(|| "AgentError".to_owned()),
            cause: None,
        }
    }

    /// What is left of a run after these observations, each of which the rule lets through or not.
    fn fold(start: &Execution, observations: &[Observation]) -> serde_json::Value {
        let mut row = start.clone();
        for observed in observations {
            if observed.position().may_follow(row.position()) {
                row = moved(&row, observed, NOW, Duration::from_mins(5), Duration::from_hours(48));
            }
        }
        serde_json::to_value(row).unwrap()
    }

    /// All that Step Functions says of a run in its order: each redrive runs, and each but perhaps
    /// the last ends without a result.
    fn histories() -> impl Strategy<Value = Vec<Observation>> {
        let ends = [Status::Failed, Status::Timeout, Status::Cancelled];
        let last = [None, Some(Status::Completed), Some(Status::Failed), Some(Status::Cancelled)];
        let earlier = prop::collection::vec(prop::sample::select(ends.to_vec()), 0..4);
        (earlier, prop::sample::select(last.to_vec())).prop_map(|(earlier, last)| {
            let statuses = earlier.into_iter().map(Some).chain([last]);
            (0..)
                .zip(statuses)
                .flat_map(|(redrive_count, end)| {
                    [
                        Some(observed(Status::Running, redrive_count)),
                        end.map(|end| observed(end, redrive_count)),
                    ]
                })
                .flatten()
                .collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100_000))]

        /// Whatever is lost, doubled or reordered before the last event arrives, and however often
        /// all come again: the row ends as it would have in order.
        #[test]
        fn any_order_of_events_ends_as_theirs(
            (history, noise) in histories().prop_flat_map(|history| {
                let lost = subsequence(history.clone(), 0..=history.len());
                let twice: Vec<_> = history.iter().chain(&history).cloned().collect();
                (Just(history), lost, Just(twice).prop_shuffle()).prop_map(|(history, lost, shuffled)| {
                    let noise = lost.into_iter().rev().chain(shuffled).collect::<Vec<_>>();
                    (history, noise)
                })
            }),
            stop_reason in prop::sample::select(vec![None, Some(StopReason::Cancel), Some(StopReason::Deadline)]),
        ) {
            let start = claimed(stop_reason);
            prop_assert_eq!(fold(&start, &noise), fold(&start, &history));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Whatever we have presumed in between, and whenever: the run ends as Step Functions says.
        #[test]
        fn what_was_presumed_is_outranked_by_what_step_functions_says(
            (history, noise) in histories().prop_flat_map(|history| {
                let redrives = history.last().map_or(0, |last| last.redrive_count);
                let presumed = prop::collection::vec(0..=redrives, 1..4).prop_map(|redrives| {
                    let presumed = |redrive_count| Observation {
                        grounds: Grounds::Presumed, ..observed(Status::Failed, redrive_count)
                    };
                    redrives.into_iter().map(presumed).collect::<Vec<_>>()
                });
                (Just(history), presumed).prop_flat_map(|(history, presumed)| {
                    let all: Vec<_> = history.iter().cloned().chain(presumed).collect();
                    (Just(history), Just(all).prop_shuffle())
                })
            }),
        ) {
            let (presumed, told) = (fold(&claimed(None), &noise), fold(&claimed(None), &history));
            let last = history.last().map(|last| last.status);
            if last.is_some_and(|last| matches!(last, Status::Completed | Status::Failed)) {
                prop_assert_eq!(presumed, told);
            } else {
                // Stopped because we had reported that it ended, it has ended as we reported.
                prop_assert!(presumed["rank"].as_u64() >= told["rank"].as_u64());
                prop_assert_eq!(&presumed["redrive_count"], &told["redrive_count"]);
            }
        }
    }

    /// The times that a completed run has whose event says these, in seconds from its row's making;
    /// the event came after a minute.
    fn times_of(start: Option<i64>, end: Option<i64>) -> (Option<i64>, Option<i64>) {
        let at = |seconds: i64| Timestamp::from_millis(NOW.millis() + seconds * 1000);
        let mut before = claimed(None);
        before.started_at = Some(at(1));
        let observed = Observation {
            started_at: start.map(at),
            completed_at: end.map(at),
            ..observed(Status::Completed, 0)
        };
        let hours = Duration::from_hours(48);
        let after = moved(&before, &observed, at(60), Duration::from_mins(5), hours);
        let seconds = |time: Timestamp| (time.millis() - NOW.millis()) / 1000;
        (after.started_at.map(seconds), after.completed_at.map(seconds))
    }

    #[test]
    fn times_that_cannot_be_count_as_none() {
        let epoch = -NOW.millis() / 1000;
        let year = 365 * 24 * 60 * 60;
        for ((start, end), expected) in [
            ((Some(2), Some(50)), (2, 50)),
            ((None, None), (1, 60)),
            ((Some(2), None), (2, 60)),
            ((None, Some(50)), (1, 50)),
            // The clocks differ a little.
            ((Some(-3), Some(50)), (0, 50)),
            ((Some(-3), Some(-1)), (0, 0)),
            ((Some(2), Some(65)), (2, 65)),
            ((Some(62), Some(64)), (62, 64)),
            // They do not differ that much.
            ((Some(2), Some(66)), (2, 60)),
            ((Some(70), Some(80)), (1, 60)),
            ((Some(66), Some(50)), (1, 50)),
            ((Some(epoch), Some(50)), (1, 50)),
            ((Some(epoch), Some(epoch)), (1, 60)),
            ((Some(epoch), Some(epoch + 60)), (1, 60)),
            ((Some(-301), Some(50)), (1, 50)),
            ((Some(-year), None), (1, 60)),
            ((Some(2), Some(361)), (2, 60)),
            ((Some(2), Some(year)), (2, 60)),
            ((Some(year), Some(year + 1)), (1, 60)),
            ((Some(i64::MIN / 1000 + 2 * year), Some(i64::MAX / 1000 + epoch)), (1, 60)),
            // An end before the start is none.
            ((Some(50), Some(40)), (50, 60)),
            ((Some(2), Some(epoch)), (2, 60)),
            ((None, Some(-301)), (1, 60)),
        ] {
            let expected = (Some(expected.0), Some(expected.1));
            assert_eq!(times_of(start, end), expected, "{start:?} {end:?}");
        }
    }

    #[test]
    fn an_output_that_is_too_large_to_store_ends_the_run_by_its_code() {
        let output = |bytes: usize| Some("é".repeat(bytes / 2) + &"x".repeat(bytes % 2));
        let kept = Observation { output: output(MAX_BYTES), ..observed(Status::Completed, 0) };
        assert_eq!(kept.storable().output, kept.output);

        let large = Observation { output: output(MAX_BYTES + 1), ..kept };
        let told = large.storable();
        assert_eq!((told.status, told.output.as_ref()), (Status::Failed, None));
        assert!(told.cause.as_ref().unwrap().contains("408577 bytes"), "{:?}", told.cause);
        let row = fold(&claimed(None), &[told.into_owned()]);
        assert_eq!(
            (&row["status"], &row["error_code"]),
            (&json!("failed"), &json!("output_too_large"))
        );

        for status in [Status::Failed, Status::Timeout, Status::Cancelled] {
            let error = Some("E".repeat(300_000));
            let large = Observation { error, cause: output(300_001), ..observed(status, 0) };
            let told = large.storable();
            let lengths = [&told.error, &told.cause].map(|it| it.as_ref().unwrap().chars().count());
            assert_eq!((told.status, lengths), (status, [MAX_ERROR_CODE, MAX_CAUSE]));
        }
    }

    proptest! {
        #[test]
        fn whatever_is_stored_fits_into_an_item(
            status in prop::sample::select(vec![
                Status::Running, Status::Completed, Status::Failed, Status::Timeout, Status::Cancelled,
            ]),
            texts in prop::collection::vec(prop::option::of(("[a\"\\n\u{fffd}😀]", 0..200_000_usize)), 3),
        ) {
            let text = |index: usize| {
                texts[index].as_ref().map(|(text, times)| text.repeat(*times))
            };
            let large = Observation {
                output: text(0), error: text(1), cause: text(2), ..observed(status, u32::MAX)
            };
            let told = large.storable();
            let after = moved(&claimed(None), &told, NOW, Duration::from_mins(5), Duration::from_hours(48));
            let outcome = outcome_of(&after, &told);
            let mut item = crate::store::item::to_item(&outcome).unwrap();
            item.extend(crate::store::item::to_item(&json!({
                "execution_id": "x".repeat(80), "part": "output", "ttl": i64::MAX,
            })).unwrap());

            prop_assert!(crate::store::item::bytes(&item) <= 400 * 1024);
            prop_assert_eq!(told.position(), large.position());
        }
    }

    #[test]
    fn an_error_of_blanks_is_as_none() {
        for (status, code) in [
            (Status::Failed, "Failed"),
            (Status::Timeout, "States.Timeout"),
            (Status::Cancelled, "Cancelled"),
        ] {
            for blank in [None, Some(""), Some(" "), Some("\n\t "), Some("\u{a0}")] {
                let error = blank.map(str::to_owned);
                let observed = Observation { error, ..observed(status, 0) };
                assert_eq!(fold(&claimed(None), &[observed])["error_code"], code, "{blank:?}");
            }
        }
        let odd = Observation { error: Some(" x".to_owned()), ..observed(Status::Failed, 0) };
        assert_eq!(fold(&claimed(None), &[odd])["error_code"], " x");
    }

    proptest! {
        /// Whatever times an event says, the run ends after its start and did not take longer
        /// than it has existed, but for what clocks may differ.
        #[test]
        fn no_event_makes_a_run_longer_than_it_was(
            start in prop::option::of(any::<i64>()),
            end in prop::option::of(any::<i64>()),
            known in prop::option::of(any::<i64>()),
            existed in 0..40_000_000_000_i64,
        ) {
            let mut before = claimed(None);
            before.started_at = known.map(Timestamp::from_millis);
            let observed = Observation {
                started_at: start.map(Timestamp::from_millis),
                completed_at: end.map(Timestamp::from_millis),
                ..observed(Status::Completed, 0)
            };
            let now = Timestamp::from_millis(NOW.millis() + existed);
            let (started, ended) = times(&before, &observed, now);

            let longest = now.plus(CLOCK_LEAD);
            prop_assert!((NOW..=longest).contains(&ended));
            prop_assert!(started.is_none_or(|start| (NOW..=ended).contains(&start)));
        }
    }

    #[test]
    fn a_stopped_run_ends_by_its_reason_unless_it_ended_first_or_was_redriven() {
        let start = claimed(Some(StopReason::Deadline));
        let status = |status, redrive_count| {
            fold(&start, &[observed(status, redrive_count)])["status"].clone()
        };

        assert_eq!(status(Status::Cancelled, 0), "timeout");
        assert_eq!(status(Status::Completed, 0), "completed");
        assert_eq!(status(Status::Failed, 0), "failed");
        assert_eq!(status(Status::Cancelled, 1), "cancelled");
    }
}
