//! What is explored: little of each kind with every change, and more of it in `make test-all`.

use relay::domain::{
    question::QuestionState,
    status::{Rank, Status},
};

use crate::{
    batch, delivery,
    flaw::Flaw,
    run::{
        self, Asks, Code, End,
        May::{
            AnswerLate, Cancel, Deny, DenyLooks, DisagreeOnTime, LetAgain, Redrive, Remove,
            Throttle,
        },
        Sought,
    },
    slots::{self, Happens, Takes},
};

const RUN: run::Config = run::Config {
    name: "launch",
    horizon: 0,
    launch_before: 1,
    deadline: None,
    most_attempts: 2,
    is_launched: false,
    may: &[],
    asks: Asks::Nothing,
    answer_within: None,
};

const DELIVERY: delivery::Config = delivery::Config {
    name: "delivery",
    horizon: 8,
    most_leases: 4,
    are_three: false,
    redeliveries: 0,
    is_full: false,
    skew: 0,
};

/// The kinds of runs, each with the tick until which it is explored with every change, and the one until
/// which it is in `make test-all`.
const RUNS: [(u8, u8, run::Config); 15] = [
    (4, 8, RUN),
    (0, 5, run::Config { name: "three attempts", most_attempts: 3, may: &[Throttle], ..RUN }),
    (2, 5, run::Config { name: "cancelled", may: &[Cancel], ..RUN }),
    (1, 3, run::Config { name: "deadline, cancelled", deadline: Some(1), may: &[Cancel], ..RUN }),
    (2, 6, run::Config { name: "throttled, unanswered", may: &[Throttle], ..RUN }),
    (1, 4, run::Config { name: "machine removed", may: &[Throttle, Remove], ..RUN }),
    (1, 4, run::Config { name: "denied", may: &[Throttle, Deny], ..RUN }),
    (3, 8, run::Config { name: "denied a while", may: &[Deny, LetAgain], ..RUN }),
    (3, 8, run::Config { name: "denied to describe", may: &[Deny, LetAgain, DenyLooks], ..RUN }),
    (1, 3, run::Config { name: "late answers", may: &[Throttle, Remove, AnswerLate], ..RUN }),
    (2, 8, run::Config { name: "clocks apart", may: &[DisagreeOnTime], ..RUN }),
    (0, 1, run::Config { name: "redriven", may: &[Redrive, Cancel], ..LAUNCHED }),
    (0, 1, run::Config { name: "questions", may: &[Throttle], ..ASKING }),
    (0, 1, run::Config { name: "questions of a while", answer_within: Some(1), ..ASKING }),
    (
        0,
        1,
        run::Config { name: "questions, redriven", may: &[Redrive, AnswerLate], ..ASKING_AGAIN },
    ),
];

const LAUNCHED: run::Config = run::Config { is_launched: true, ..RUN };
const ASKING: run::Config = run::Config { asks: Asks::Two, most_attempts: 1, ..LAUNCHED };
const ASKING_AGAIN: run::Config = run::Config { asks: Asks::InRedrive, ..ASKING };

const DELIVERIES: [delivery::Config; 5] = [
    DELIVERY,
    delivery::Config {
        name: "three at once",
        are_three: true,
        horizon: 5,
        most_leases: 3,
        ..DELIVERY
    },
    delivery::Config { name: "owed again", redeliveries: 1, ..DELIVERY },
    delivery::Config { name: "no room", is_full: true, ..DELIVERY },
    delivery::Config { name: "clocks apart", skew: 2, ..DELIVERY },
];

/// What is explored with every change.
pub fn bounded_runs() -> impl Iterator<Item = run::Config> {
    RUNS.into_iter().map(|(horizon, _, config)| run::Config { horizon, ..config })
}

/// What is explored by `make test-all`.
pub fn large_runs() -> impl Iterator<Item = run::Config> {
    RUNS.into_iter().map(|(_, horizon, config)| run::Config { horizon, ..config })
}

/// What is explored of deliveries.
pub fn bounded_deliveries() -> impl Iterator<Item = delivery::Config> {
    DELIVERIES.into_iter()
}

/// The same with more attempts, for longer.
pub fn large_deliveries() -> impl Iterator<Item = delivery::Config> {
    let more = |it: delivery::Config| delivery::Config {
        horizon: it.horizon + 6,
        most_leases: it.most_leases + 2,
        ..it
    };
    DELIVERIES.into_iter().map(more)
}

/// Each broken rule of a run, where it shows, and what it breaks.
#[must_use]
pub fn flaws_of_runs() -> Vec<(Flaw, run::Config, &'static str)> {
    let launch = run::Config { horizon: 5, ..RUN };
    let cancelled = run::Config { may: &[Cancel], ..launch };
    let throttled = run::Config { may: &[Throttle], ..launch };
    let removed = run::Config { may: &[Remove], ..launch };
    let denied = run::Config { may: &[Deny], ..launch };
    let late = run::Config { may: &[Remove, AnswerLate], ..launch };
    let deadline = run::Config { deadline: Some(1), ..launch };
    let stopped = run::Config { deadline: Some(1), horizon: 1, may: &[Cancel], ..LAUNCHED };
    let redriven = run::Config { may: &[Redrive, Cancel], ..LAUNCHED };
    let asks = run::Config { horizon: 1, ..ASKING };
    let asks_again = run::Config { horizon: 1, may: &[Redrive], ..ASKING_AGAIN };
    let asks_unsure = run::Config { most_attempts: 2, may: &[Throttle], ..ASKING };
    let settled = "sweeps alone settle and tell it";
    let known = "no end is presumed of what is known to run";
    let true_end = "an end is the agent's end";
    let indexed = "what owes something is in the index of debts";
    let unclaimed = "what ends because nobody has claimed it never starts";
    vec![
        (Flaw::NamelessStart, launch, "a run is started once"),
        (Flaw::ClaimForEver, run::Config { horizon: 8, ..launch }, known),
        (Flaw::ClaimOfCancelled, cancelled, "what is cancelled before its claim is not claimed"),
        (Flaw::UnclaimedEndOfClaimed, launch, unclaimed),
        (Flaw::RefusedEndsAtOnce, removed, known),
        (Flaw::DeniedEndsAtOnce, denied, known),
        (Flaw::LostSinceClaim, throttled, known),
        (Flaw::PresumedIsFinal, late, settled),
        (Flaw::PresumedOwesNothing, launch, indexed),
        (Flaw::RunningOwesNothing, launch, indexed),
        (Flaw::AnyMoveFollows, redriven, "a position never goes back"),
        (Flaw::StopOfAnyRedrive, redriven, "a stop is marked in its own redrive alone"),
        (Flaw::StopByItsOwnReason, stopped, true_end),
        (Flaw::StopBeforeReason, deadline, true_end),
        (Flaw::OutcomeReplacesAny, late, "the outcome is that of the end"),
        (Flaw::OwedAfterEnd, launch, settled),
        (Flaw::ConfirmWithoutLook, late, settled),
        (Flaw::NoDeadline, deadline, settled),
        (Flaw::UnsaidRedrive, asks_again, "no question is lost while its agent waits"),
        (Flaw::EndIgnoresSequence, asks, settled),
        (Flaw::TurnIgnoresSequence, asks, settled),
        (Flaw::GoneIsLapsed, asks_unsure, "an answer that was given has not lapsed"),
    ]
}

/// What must be among the states, and where.
#[must_use]
pub fn reached() -> Vec<(&'static str, run::Config, Sought)> {
    let launch = run::Config { horizon: 8, ..RUN };
    let throttled = run::Config { may: &[Throttle], ..launch };
    let late = run::Config { may: &[Remove, AnswerLate], ..launch };
    let deadline = run::Config { deadline: Some(1), ..launch };
    let redriven = run::Config { may: &[Redrive, Cancel], ..LAUNCHED };
    let asks_again = run::Config { may: &[Redrive], ..ASKING_AGAIN };
    let asks_for_a_while = run::Config { horizon: 1, answer_within: Some(1), ..ASKING };
    vec![
        ("queue timeout", launch, |it| it.row.code == Some(Code::QueueTimeout)),
        ("lost", throttled, |it| it.row.code == Some(Code::Lost)),
        ("presumed, and corrected", late, |it| {
            it.row.end() == End::DONE && it.is_told(0, End::failed(Code::Refused))
        }),
        ("stopped at its deadline", deadline, |it| {
            it.row.rank == Rank::Ended && it.row.status == Status::Timeout
        }),
        ("ended again", redriven, |it| (it.row.redrive, it.row.rank) == (1, Rank::Ended)),
        ("answered in a redrive", asks_again, |it| {
            it.questions[1].state == Some(QuestionState::Answered)
        }),
        ("lapsed", asks_for_a_while, |it| it.questions[0].state == Some(QuestionState::Lapsed)),
        ("closed", asks_for_a_while, |it| it.questions[0].state == Some(QuestionState::Closed)),
    ]
}

/// Each broken rule of a delivery.
#[must_use]
pub fn flaws_of_deliveries() -> Vec<(Flaw, delivery::Config, &'static str)> {
    let again = delivery::Config { redeliveries: 1, ..DELIVERY };
    let after_success = "no attempt begins after a recorded success";
    vec![
        (Flaw::LeaseOfHeld, DELIVERY, "two attempts are never made at once"),
        (Flaw::LeaseOfDone, DELIVERY, after_success),
        (Flaw::ShortLease, DELIVERY, after_success),
        (Flaw::FailureOwesNothing, DELIVERY, "what is owed is in the index of debts"),
        (Flaw::OwedByRepetition, again, "it is owed again as often as is asked"),
    ]
}

const BATCH: batch::Config =
    batch::Config { name: "batch", requests: 2, are_three: false, redrives: 0, may_refuse: false };

/// A little of each kind.
#[must_use]
pub fn bounded_batches() -> Vec<batch::Config> {
    vec![
        BATCH,
        batch::Config { name: "batch, refused", may_refuse: true, ..BATCH },
        batch::Config { name: "batch, redriven", redrives: 1, ..BATCH },
        batch::Config { name: "batch, three at once", are_three: true, ..BATCH },
    ]
}

/// The same for longer.
#[must_use]
pub fn large_batches() -> Vec<batch::Config> {
    vec![batch::Config {
        name: "batch, all",
        requests: 3,
        are_three: true,
        redrives: 2,
        may_refuse: true,
    }]
}

/// Each broken rule of a batch.
#[must_use]
pub fn flaws_of_batches() -> Vec<(Flaw, batch::Config, &'static str)> {
    vec![
        (Flaw::StartWithoutKey, BATCH, "each of its starts runs once"),
        (Flaw::RefuseUnwritten, BATCH, "no run is left out of it"),
        (Flaw::CompleteByOneLook, BATCH, "it is told once all of its runs have ended"),
        (Flaw::CompleteTwice, BATCH, "it is told once"),
    ]
}

const SLOTS: slots::Config = slots::Config {
    name: "slots",
    runs: 2,
    of_agent: Some(1),
    of_user: 1,
    takes: [Takes::Agents; slots::RUNS],
    are_three: false,
    may: &[],
};

const LINES: slots::Config = slots::Config {
    name: "two lines",
    runs: 3,
    takes: [Takes::Both, Takes::Agents, Takes::Users],
    ..SLOTS
};

const RESUMED: slots::Config =
    slots::Config { name: "resumed", of_agent: None, may: &[Happens::Resume], ..SLOTS };

const UNSURE: slots::Config =
    slots::Config { name: "denied", may: &[Happens::Deny, Happens::DenyLooks], ..SLOTS };

const REDRIVEN: slots::Config =
    slots::Config { name: "redriven", may: &[Happens::Redrive], ..SLOTS };

/// A little of each kind.
#[must_use]
pub fn bounded_slots() -> Vec<slots::Config> {
    vec![
        SLOTS,
        slots::Config { name: "index behind", may: &[Happens::ReadLate], ..SLOTS },
        slots::Config { name: "cancelled", may: &[Happens::Cancel], ..SLOTS },
        UNSURE,
        REDRIVEN,
        slots::Config { name: "redrive asked", may: &[Happens::Request], ..SLOTS },
        slots::Config {
            name: "redrive refused",
            may: &[Happens::Request, Happens::Refuse],
            ..SLOTS
        },
        slots::Config { takes: [Takes::Agents, Takes::Both, Takes::Both], ..RESUMED },
        slots::Config { name: "three runs", runs: 3, ..SLOTS },
        slots::Config { name: "three functions", are_three: true, ..SLOTS },
        LINES,
    ]
}

/// The same for longer.
#[must_use]
pub fn large_slots() -> Vec<slots::Config> {
    vec![
        slots::Config { name: "two lines, behind", may: &[Happens::ReadLate], ..LINES },
        slots::Config {
            name: "two lines, last",
            takes: [Takes::Agents, Takes::Users, Takes::Both],
            ..LINES
        },
        slots::Config {
            name: "two of the agent's",
            of_agent: Some(2),
            takes: [Takes::Both, Takes::Both, Takes::Agents],
            ..LINES
        },
        slots::Config {
            name: "redriven, asked",
            may: &[Happens::Redrive, Happens::Request, Happens::ReadLate],
            ..SLOTS
        },
        slots::Config {
            name: "two lines, denied",
            may: &[Happens::Deny, Happens::DenyLooks],
            ..LINES
        },
        slots::Config { name: "three redriven", runs: 3, ..REDRIVEN },
        slots::Config {
            name: "resumed, redriven, asked",
            may: &[Happens::Resume, Happens::Redrive, Happens::Request],
            ..RESUMED
        },
        slots::Config {
            name: "all",
            may: &[
                Happens::Cancel,
                Happens::Redrive,
                Happens::Request,
                Happens::Deny,
                Happens::DenyLooks,
                Happens::ReadLate,
            ],
            ..SLOTS
        },
    ]
}

/// Each broken rule of slots.
#[must_use]
pub fn flaws_of_slots() -> Vec<(Flaw, slots::Config, &'static str)> {
    let within = "never more run at once than the limit says";
    let held = "a slot is held by a run that goes on, or whose end is presumed";
    let holds = "a run that goes on holds its slots";
    let looked_after = "a run that waits stands in a line that is looked after";
    let swept = "sweeps alone start every waiter";
    vec![
        (Flaw::ClaimOfTaken, SLOTS, within),
        (Flaw::ClaimStaysFar, SLOTS, swept),
        (Flaw::ClaimOfJoined, SLOTS, swept),
        (Flaw::EmptySlots, RESUMED, swept),
        (Flaw::EndKeeps, SLOTS, held),
        (Flaw::EndOfAnySlots, UNSURE, held),
        (Flaw::HeldSlotsUnseen, REDRIVEN, holds),
        (Flaw::HeldSlotsUnseen, REDRIVEN, held),
        (Flaw::PresumedFrees, UNSURE, within),
        (Flaw::JoinUnopened, SLOTS, looked_after),
        (Flaw::CloseOfJoined, SLOTS, looked_after),
        (Flaw::WaitOfClaimed, SLOTS, swept),
    ]
}
