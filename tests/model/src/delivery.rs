//! A delivery: leased, posted, recorded, put off, swept and owed again, by functions that die and meet.
//!
//! It follows `functions/webhook`, `shared/src/store/deliveries.rs` and what `sweep` does of deliveries.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use relay::domain::{
    delivery::DeliveryState,
    protocol::{DeliveryFacts, held_for},
    schedule::Schedule,
    time::Timestamp,
};
use stateright::{Model, Property};

use crate::{
    explore::{Told, calls},
    flaw::Flaw,
    memo::Quick,
    time::Tick,
};

/// A quarter of a lease, and half of what a function lives.
const TICK: Duration = Duration::from_secs(15);

/// For how long it is leased: see `DELIVERY_LEASE_SECONDS`.
const LEASE: Tick = 4;

/// After which silence `sweep` sends its hint again, and for how long it is put off when there is no room.
const OVERDUE: Tick = 4;
const NO_ROOM: Tick = 4;

/// More sweeps than that are taken for none.
const MOST_SWEEPS: u8 = 12;

fn at(tick: Tick) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000).plus(TICK * u32::from(tick))
}

/// In ticks, rounded up.
fn ticks(pause: Duration) -> Tick {
    Tick::try_from(pause.as_millis().div_ceil(TICK.as_millis())).unwrap_or(Tick::MAX)
}

/// The pause after so many failures, by a schedule of two.
fn pause_after(failures: u8) -> Option<Tick> {
    static PAUSES: OnceLock<[Option<Tick>; 8]> = OnceLock::new();
    let pauses = PAUSES.get_or_init(|| {
        let schedule: Schedule = "15,15".parse().expect("it is a schedule");
        let pause = |failures| schedule.pause_after(failures, "msg_0").map(ticks);
        [0, 1, 2, 3, 4, 5, 6, 7].map(pause)
    });
    pauses.get(usize::from(failures)).copied().flatten()
}

/// What may happen in one exploration.
#[derive(Debug, Clone, Copy, Default)]
pub struct Config {
    pub name: &'static str,
    /// After this tick, none comes.
    pub horizon: Tick,
    /// How often it is leased at most, but for the sweeps that all must end by.
    pub most_leases: u8,
    /// Whether three functions run at once.
    pub are_three: bool,
    /// How often a caller has it made again.
    pub redeliveries: u8,
    /// There is no room for an attempt at times.
    pub is_full: bool,
    /// By how many ticks the clocks of some functions are behind.
    pub skew: Tick,
}

/// The model of a delivery.
#[derive(Debug, Clone)]
pub struct Deliver {
    pub config: Config,
    pub flaw: Option<Flaw>,
    /// The most sweeps by which a state was settled.
    pub most_sweeps: Arc<AtomicU8>,
}

/// The `delivery#…` part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Part {
    pub state: DeliveryState,
    pub attempts: u8,
    pub next: Tick,
    /// Who holds or last held the lease.
    pub lease: u8,
    pub leased_until: Option<Tick>,
    pub due: Option<Tick>,
    /// The token by which it was last owed again.
    pub redelivery: u8,
}

impl Part {
    fn facts(&self) -> DeliveryFacts {
        DeliveryFacts {
            stands_in_line: false,
            is_pending: self.state == DeliveryState::Pending,
            attempt_count: self.attempts.into(),
            next_attempt_at: at(self.next),
            leased_until: self.leased_until.map(at),
        }
    }

    fn over(&mut self, state: DeliveryState) {
        *self = Self { state, leased_until: None, due: None, ..*self };
    }
}

/// The next call that a function makes, and what it knows by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    Lease {
        now: Tick,
    },
    Post {
        lease: u8,
        attempts: u8,
        now: Tick,
    },
    /// The receiver has it, and answers.
    Answer {
        lease: u8,
        attempts: u8,
        now: Tick,
    },
    Record {
        lease: u8,
        answer: Answer,
        attempts: u8,
        now: Tick,
    },
    PutOff {
        lease: u8,
        now: Tick,
    },
    Postpone {
        due: Tick,
        until: Tick,
    },
    OweAgain {
        ended: DeliveryState,
        token: u8,
        now: Tick,
    },
}

/// What the receiver says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    Taken,
    Failed,
}

/// How a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reached {
    Well,
    /// The receiver fails.
    Fails,
    /// There is no room for the attempt.
    Full,
    /// The write is made, and its reply lost: the SDK makes it again.
    Unanswered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wrong {
    PostedAfterSuccess,
    OwedMoreThanAsked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Function {
    pub is_old: bool,
    pub step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    pub now: Tick,
    pub part: Part,
    pub leases: u8,
    /// How often a caller has asked for it again, and how often it was owed again.
    pub asked: u8,
    pub owed: u8,
    /// How often the receiver has taken it, and whether a function has died or a write failed since.
    pub taken: u8,
    pub had_fault: bool,
    pub wrong: Option<Wrong>,
    pub functions: [Option<Function>; 3],
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Tick,
    Webhook { now: Tick },
    Sweep,
    Redeliver,
    Call(u8, Reached),
    Dies(u8),
}

impl Deliver {
    #[must_use]
    pub fn new(config: Config, flaw: Option<Flaw>) -> Self {
        Self { config, flaw, most_sweeps: Arc::default() }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    const fn functions(&self) -> usize {
        if self.config.are_three { 3 } else { 2 }
    }

    fn may_be_leased(&self, facts: DeliveryFacts, now: Timestamp) -> bool {
        let facts = DeliveryFacts {
            leased_until: facts.leased_until.filter(|_| !self.has(Flaw::LeaseOfHeld)),
            is_pending: facts.is_pending || self.has(Flaw::LeaseOfDone),
            ..facts
        };
        facts.may_be_leased(now)
    }

    fn make(&self, state: &mut State, step: Step, reached: Reached) -> Option<Step> {
        let part = &mut state.part;
        match step {
            Step::Lease { now } => {
                if !self.may_be_leased(part.facts(), at(now)) {
                    return None;
                }
                state.leases += 1;
                part.lease = state.leases;
                let hold = if self.has(Flaw::ShortLease) { 1 } else { LEASE };
                part.leased_until = Some(now + hold);
                part.attempts += 1;
                let Part { lease, attempts, .. } = *part;
                Some(Step::Post { lease, attempts, now })
            }
            Step::Post { lease, now, .. } if reached == Reached::Full => {
                Some(Step::PutOff { lease, now })
            }
            Step::Post { lease, attempts, now } => {
                if part.state == DeliveryState::Delivered {
                    state.wrong = Some(Wrong::PostedAfterSuccess);
                }
                Some(Step::Answer { lease, attempts, now })
            }
            Step::Answer { lease, attempts, now } => {
                let answer = match reached {
                    Reached::Fails => Answer::Failed,
                    _ => Answer::Taken,
                };
                state.taken += u8::from(answer == Answer::Taken);
                Some(Step::Record { lease, answer, attempts, now })
            }
            Step::Record { lease, answer, attempts, now } => {
                if part.lease != lease || part.leased_until.is_none() {
                    state.had_fault = true;
                    return None;
                }
                match (answer, pause_after(attempts)) {
                    (Answer::Taken, _) => part.over(DeliveryState::Delivered),
                    (Answer::Failed, None) => part.over(DeliveryState::Undelivered),
                    (Answer::Failed, Some(pause)) => {
                        part.next = now + pause;
                        part.due = Some(part.next + OVERDUE);
                        part.leased_until = None;
                        if self.has(Flaw::FailureOwesNothing) {
                            part.due = None;
                        }
                    }
                }
                None
            }
            Step::PutOff { lease, now } => {
                if part.lease == lease && part.leased_until.is_some() {
                    part.next = now + NO_ROOM;
                    part.due = Some(part.next + OVERDUE);
                    part.leased_until = None;
                    part.attempts -= 1;
                }
                None
            }
            Step::Postpone { due, until } => {
                if part.due == Some(due) {
                    part.due = Some(until);
                }
                None
            }
            Step::OweAgain { ended, token, now } => {
                // As `owe_again` says it in DynamoDB's words.
                let is_mine = part.redelivery == token && !self.has(Flaw::OwedByRepetition);
                if part.state == ended && !is_mine {
                    *part = Part {
                        state: DeliveryState::Pending,
                        attempts: 0,
                        next: now,
                        leased_until: None,
                        due: Some(now + OVERDUE),
                        redelivery: token,
                        ..*part
                    };
                    state.owed += 1;
                    if state.owed > state.asked {
                        state.wrong = Some(Wrong::OwedMoreThanAsked);
                    }
                }
                (reached == Reached::Unanswered).then_some(step)
            }
        }
    }

    fn sweep(part: &Part, due: Tick, now: Tick) -> (Step, Tick) {
        let held = ticks(held_for(part.leased_until.map(at), at(now)));
        (Step::Postpone { due, until: now + OVERDUE.max(held) }, held)
    }

    /// By how many sweeps it is over when all functions and messages are gone, and the receiver takes all
    /// or nothing.
    fn sweeps(&self, state: &State, reached: Reached) -> Option<u8> {
        let mut state = State { functions: [None; 3], ..*state };
        for sweeps in 0..MOST_SWEEPS {
            if state.part.state != DeliveryState::Pending {
                return Some(sweeps);
            }
            let due = state.part.due?;
            state.now = state.now.max(due);
            let (step, held) = Self::sweep(&state.part, due, state.now);
            self.make(&mut state, step, Reached::Well);
            let mut next = Some(Step::Lease { now: state.now + held });
            while let Some(step) = next {
                let is_answer = matches!(step, Step::Answer { .. });
                next = self.make(&mut state, step, if is_answer { reached } else { Reached::Well });
            }
        }
        None
    }

    fn settles(&self, state: &State) -> bool {
        let ends = [Reached::Well, Reached::Fails].map(|reached| self.sweeps(state, reached));
        let most = ends[0].zip(ends[1]).map(|(one, other)| one.max(other));
        if let Some(most) = most {
            self.most_sweeps.fetch_max(most, Ordering::Relaxed);
        }
        most.is_some()
    }
}

impl State {
    fn begin(&mut self, step: Step) {
        let free = self.functions.iter_mut().find(|it| it.is_none());
        *free.expect("there is room") = Some(Function { is_old: false, step });
    }

    fn running(&self) -> impl Iterator<Item = Step> {
        self.functions.iter().flatten().map(|it| it.step)
    }
}

impl Told for Deliver {
    fn name(&self) -> &'static str {
        self.config.name
    }

    fn most_sweeps(&self) -> u8 {
        self.most_sweeps.load(Ordering::Relaxed)
    }
}

impl Model for Deliver {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let part = Part {
            state: DeliveryState::Pending,
            attempts: 0,
            next: 0,
            lease: 0,
            leased_until: None,
            due: Some(OVERDUE),
            redelivery: 0,
        };
        vec![State {
            now: 0,
            part,
            leases: 0,
            asked: 0,
            owed: 0,
            taken: 0,
            had_fault: false,
            wrong: None,
            functions: [None; 3],
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let Config { horizon, most_leases, redeliveries, is_full, skew, .. } = self.config;
        if state.wrong.is_some() {
            return;
        }
        if state.now < horizon {
            actions.push(Action::Tick);
        }
        for (slot, function) in (0..).zip(&state.functions) {
            let Some(Function { step, .. }) = function else { continue };
            actions.push(Action::Call(slot, Reached::Well));
            match step {
                Step::Answer { .. } => actions.push(Action::Call(slot, Reached::Fails)),
                Step::Post { .. } if is_full => actions.push(Action::Call(slot, Reached::Full)),
                Step::OweAgain { .. } => actions.push(Action::Call(slot, Reached::Unanswered)),
                _ => {}
            }
            actions.push(Action::Dies(slot));
        }
        if state.running().count() < self.functions() {
            if state.leases < most_leases {
                for behind in 0..=skew.min(state.now) {
                    actions.push(Action::Webhook { now: state.now - behind });
                }
            }
            if state.part.due.is_some_and(|due| due <= state.now) {
                actions.push(Action::Sweep);
            }
            if state.part.state != DeliveryState::Pending && state.asked < redeliveries {
                actions.push(Action::Redeliver);
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        match action {
            Action::Tick => {
                next.now += 1;
                for function in &mut next.functions {
                    next.had_fault |= function.is_some_and(|it| it.is_old);
                    let goes_on = function.filter(|it| !it.is_old);
                    *function = goes_on.map(|it| Function { is_old: true, ..it });
                }
            }
            Action::Webhook { now } => next.begin(Step::Lease { now }),
            Action::Sweep => {
                let (step, _) = Self::sweep(&next.part, next.part.due?, next.now);
                next.begin(step);
            }
            Action::Redeliver => {
                next.asked += 1;
                let (ended, token, now) = (next.part.state, next.asked, next.now);
                next.begin(Step::OweAgain { ended, token, now });
            }
            Action::Call(slot, reached) => {
                let Function { is_old, step } = next.functions[usize::from(slot)]?;
                let step = self.make(&mut next, step, reached);
                next.functions[usize::from(slot)] = step.map(|step| Function { is_old, step });
            }
            Action::Dies(slot) => {
                next.had_fault = true;
                next.functions[usize::from(slot)] = None;
            }
        }
        next.functions.sort_by_key(|it| std::cmp::Reverse(it.as_ref().map_or(0, Quick::of)));
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no attempt begins after a recorded success", |_, state: &State| {
                state.wrong != Some(Wrong::PostedAfterSuccess)
            }),
            Property::always("it is owed again as often as is asked", |_, state: &State| {
                state.wrong != Some(Wrong::OwedMoreThanAsked)
            }),
            Property::always("two attempts are never made at once", |_, state: &State| {
                state.running().filter(|it| matches!(it, Step::Answer { .. })).count() < 2
            }),
            Property::always("where nothing fails it is taken once", |_, state: &State| {
                state.had_fault || state.taken <= 1 + state.owed
            }),
            Property::always("what is owed is in the index of debts", |_, state: &State| {
                (state.part.state == DeliveryState::Pending) == state.part.due.is_some()
            }),
            Property::always(
                "sweeps alone deliver it or end it",
                |deliver: &Self, state: &State| deliver.settles(state),
            ),
        ]
    }
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Part { state, attempts, next, leased_until, due, .. } = self.part;
        write!(
            formatter,
            "t={} {} attempts={attempts} next={next} leased_until={leased_until:?} due={due:?} taken={} \
             [{}]",
            self.now,
            state.as_str(),
            self.taken,
            calls(self.running())
        )
    }
}
