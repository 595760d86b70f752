//! A batch: requested, and requested again; its runs end and are redriven; closed and completed by whoever
//! finds that all have ended, by functions that die and meet.
//!
//! It follows `shared/src/service/batch.rs`, `shared/src/service/batch_end.rs`, and the markers of
//! `shared/src/store/batches.rs`.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use stateright::{Model, Property};

use crate::{
    explore::{Told, calls},
    flaw::Flaw,
    memo::Quick,
};

/// How many starts it has.
const ITEMS: usize = 2;

/// More sweeps than that are taken for none.
const MOST_SWEEPS: u8 = 4;

/// What may happen in one exploration.
#[derive(Debug, Clone, Copy, Default)]
pub struct Config {
    pub name: &'static str,
    /// How often it is requested, always with the same key.
    pub requests: u8,
    /// Whether three functions run at once.
    pub are_three: bool,
    /// How often a run that has ended is redriven.
    pub redrives: u8,
    /// A start may be refused.
    pub may_refuse: bool,
}

/// The model of a batch.
#[derive(Debug, Clone)]
pub struct Batch {
    pub config: Config,
    pub flaw: Option<Flaw>,
    /// The most sweeps by which a state was settled.
    pub most_sweeps: Arc<AtomicU8>,
}

/// What is decided of its starts: whether each has a run.
type Items = [Option<bool>; ITEMS];

/// The `batch` part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Part {
    pub items: Option<Items>,
    pub is_complete: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RunOf {
    /// What its idempotency item says.
    pub decided: Option<bool>,
    pub starts: u8,
    pub goes_on: bool,
    pub has_marker: bool,
    pub has_ended_once: bool,
}

/// The next call that a function makes, and what it knows by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    Find,
    Create,
    Start { index: usize, items: Items },
    Refuse { index: usize, items: Items },
    Close { items: Items },
    SweepFinds,
    SweepGathers,
    SweepRefuses { index: usize, items: Items },
    SweepCloses { items: Items },
    Look,
    FindClosed,
    LookAgain,
    Complete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    pub part: Option<Part>,
    pub runs: [RunOf; ITEMS],
    pub requests: u8,
    pub redrives: u8,
    /// How often it was completed, and whether a run had not ended then.
    pub completions: u8,
    pub was_early: bool,
    pub functions: [Option<Step>; 3],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Request,
    /// A message, which exists for ever, or an event that is repeated.
    Hint,
    Sweep,
    /// The run ends, which is stored; and whoever stores it dies, or looks.
    End(usize, bool),
    Redrive(usize),
    Call(u8),
    /// The start is refused.
    Refuse(u8),
    Dies(u8),
}

impl Batch {
    #[must_use]
    pub fn new(config: Config, flaw: Option<Flaw>) -> Self {
        Self { config, flaw, most_sweeps: Arc::default() }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// A refusal decides what nothing was decided of.
    fn refuse(&self, state: &mut State, index: usize) -> Option<bool> {
        if self.has(Flaw::RefuseUnwritten) {
            return Some(false);
        }
        let run = &mut state.runs[index];
        run.decided = run.decided.or(Some(false));
        run.decided
    }

    /// The next call of a sweep that closes a batch.
    fn refuse_next(items: Items) -> Step {
        match items.iter().position(Option::is_none) {
            Some(index) => Step::SweepRefuses { index, items },
            None => Step::SweepCloses { items },
        }
    }

    /// The next call of a request that knows this of the starts before `index`.
    const fn after(index: usize, items: Items) -> Step {
        if index + 1 == ITEMS {
            return Step::Close { items };
        }
        Step::Start { index: index + 1, items }
    }

    fn make(&self, state: &mut State, step: Step, is_refused: bool) -> Option<Step> {
        let first = Step::Start { index: 0, items: [None; ITEMS] };
        match step {
            Step::Find => match state.part {
                None => Some(Step::Create),
                Some(Part { items: Some(_), .. }) => None,
                Some(_) => Some(first),
            },
            Step::Create => {
                state.part = state.part.or(Some(Part { items: None, is_complete: false }));
                Some(first)
            }
            Step::Start { index, items } if is_refused => Some(Step::Refuse { index, items }),
            Step::Start { index, mut items } => {
                let run = &mut state.runs[index];
                if run.decided.is_none() || self.has(Flaw::StartWithoutKey) {
                    *run = RunOf { goes_on: true, has_marker: true, ..*run };
                    run.starts += 1;
                    run.decided = Some(true);
                }
                items[index] = run.decided;
                Some(Self::after(index, items))
            }
            Step::Refuse { index, mut items } => {
                items[index] = self.refuse(state, index);
                Some(Self::after(index, items))
            }
            Step::Close { items } => {
                let part = state.part.as_mut().filter(|part| part.items.is_none())?;
                part.items = Some(items);
                Some(Step::Look)
            }
            Step::SweepFinds => {
                let part = state.part.filter(|part| !part.is_complete)?;
                Some(if part.items.is_none() { Step::SweepGathers } else { Step::Look })
            }
            Step::SweepGathers => {
                let items = state.runs.map(|run| run.decided);
                Some(Self::refuse_next(items))
            }
            Step::SweepRefuses { index, mut items } => {
                items[index] = self.refuse(state, index);
                Some(Self::refuse_next(items))
            }
            Step::SweepCloses { items } => {
                if let Some(part) = state.part.as_mut().filter(|it| it.items.is_none()) {
                    part.items = Some(items);
                }
                Some(Step::Look)
            }
            Step::Look => (!state.has_marker()).then_some(Step::FindClosed),
            Step::FindClosed => {
                state.part.filter(|part| part.items.is_some() && !part.is_complete)?;
                let is_enough = self.has(Flaw::CompleteByOneLook);
                Some(if is_enough { Step::Complete } else { Step::LookAgain })
            }
            Step::LookAgain => (!state.has_marker()).then_some(Step::Complete),
            Step::Complete => {
                let ignores = self.has(Flaw::CompleteTwice);
                let part = state.part.as_mut().filter(|it| !it.is_complete || ignores)?;
                part.is_complete = true;
                state.completions += 1;
                state.was_early |= state.runs.iter().any(|it| it.starts > 0 && !it.has_ended_once);
                None
            }
        }
    }

    /// By how many sweeps it is complete when all functions and messages are gone, and its runs end.
    fn sweeps(&self, state: &State) -> Option<u8> {
        let mut state = State { functions: [None; 3], ..*state };
        for run in &mut state.runs {
            *run = RunOf { goes_on: false, has_marker: false, has_ended_once: true, ..*run };
        }
        for sweeps in 0..MOST_SWEEPS {
            if state.part.is_none_or(|part| part.is_complete) {
                return Some(sweeps);
            }
            let mut next = Some(Step::SweepFinds);
            while let Some(step) = next {
                next = self.make(&mut state, step, false);
            }
        }
        None
    }
}

impl State {
    fn has_marker(&self) -> bool {
        self.runs.iter().any(|run| run.has_marker)
    }

    fn begin(&mut self, step: Step) {
        let free = self.functions.iter_mut().find(|it| it.is_none());
        *free.expect("there is room") = Some(step);
    }

    fn running(&self) -> impl Iterator<Item = Step> {
        self.functions.iter().flatten().copied()
    }
}

impl Told for Batch {
    fn name(&self) -> &'static str {
        self.config.name
    }

    fn most_sweeps(&self) -> u8 {
        self.most_sweeps.load(Ordering::Relaxed)
    }
}

impl Model for Batch {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            part: None,
            runs: [RunOf::default(); ITEMS],
            requests: 0,
            redrives: 0,
            completions: 0,
            was_early: false,
            functions: [None; 3],
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (slot, function) in (0..).zip(&state.functions) {
            let Some(step) = function else { continue };
            actions.push(Action::Call(slot));
            if self.config.may_refuse && matches!(step, Step::Start { .. }) {
                actions.push(Action::Refuse(slot));
            }
            actions.push(Action::Dies(slot));
        }
        let has_room = state.running().count() < if self.config.are_three { 3 } else { 2 };
        for (index, run) in state.runs.iter().enumerate() {
            if run.goes_on {
                actions.push(Action::End(index, false));
                if has_room {
                    actions.push(Action::End(index, true));
                }
            } else if run.has_ended_once && state.redrives < self.config.redrives {
                actions.push(Action::Redrive(index));
            }
        }
        if !has_room {
            return;
        }
        if state.requests < self.config.requests {
            actions.push(Action::Request);
        }
        if state.part.is_some() {
            actions.push(Action::Hint);
            actions.push(Action::Sweep);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        match action {
            Action::Request => {
                next.requests += 1;
                next.begin(Step::Find);
            }
            Action::Hint => next.begin(Step::Look),
            Action::Sweep => next.begin(Step::SweepFinds),
            Action::End(index, looks) => {
                let run = &mut next.runs[index];
                *run = RunOf { goes_on: false, has_marker: false, has_ended_once: true, ..*run };
                if looks {
                    next.begin(Step::Look);
                }
            }
            Action::Redrive(index) => {
                next.redrives += 1;
                let run = &mut next.runs[index];
                *run = RunOf { goes_on: true, has_marker: true, ..*run };
            }
            Action::Call(slot) | Action::Refuse(slot) => {
                let step = next.functions[usize::from(slot)].take()?;
                let is_refused = matches!(action, Action::Refuse(_));
                next.functions[usize::from(slot)] = self.make(&mut next, step, is_refused);
            }
            Action::Dies(slot) => next.functions[usize::from(slot)] = None,
        }
        next.functions.sort_by_key(|it| std::cmp::Reverse(it.as_ref().map_or(0, Quick::of)));
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("it is told once all of its runs have ended", |_, state: &State| {
                !state.was_early
            }),
            Property::always("it is told once", |_, state: &State| state.completions <= 1),
            Property::always("each of its starts runs once", |_, state: &State| {
                state.runs.iter().all(|run| run.starts <= 1)
            }),
            Property::always("no run is left out of it", |_, state: &State| {
                let closed = state.part.and_then(|part| part.items);
                closed.is_none_or(|items| items == state.runs.map(|run| Some(run.starts > 0)))
            }),
            Property::always("a run that goes on has its marker", |_, state: &State| {
                state.runs.iter().all(|run| run.goes_on == run.has_marker)
            }),
            Property::always("sweeps alone complete it", |batch: &Self, state: &State| {
                let sweeps = batch.sweeps(state);
                batch.most_sweeps.fetch_max(sweeps.unwrap_or_default(), Ordering::Relaxed);
                sweeps.is_some()
            }),
        ]
    }
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run = |run: &RunOf| match (run.starts, run.goes_on) {
            (0, _) => "none",
            (_, true) => "goes on",
            (_, false) => "ended",
        };
        let runs: Vec<_> = self.runs.iter().map(run).collect();
        write!(formatter, "{:?} runs={runs:?} [{}]", self.part, calls(self.running()))
    }
}
