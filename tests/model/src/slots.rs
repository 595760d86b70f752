//! Runs that take slots: claimed with them when their turn comes, waiting in lines until then, launched, ended
//! and looked after, by functions that die and meet, on an index that is behind.
//!
//! It follows `functions/launch/src/turn.rs`, `shared/src/store/slots.rs`, and what moves a run and frees its
//! slots with that: `shared/src/service/settle.rs`, `shared/src/store/{change,transitions}.rs`.

mod closure;
mod functions;
mod properties;
mod rules;
mod step;
mod world;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use relay::domain::status::Rank;
use stateright::{Model, Property};

use self::{functions::Calls, rules::Terms};
pub use self::{
    rules::{Line, Seen, Set, Takes},
    step::{Step, Walk, Was, Way},
    world::{Due, LineItem, Row, World},
};
use crate::{
    explore::{Told, calls},
    flaw::Flaw,
    memo::Quick,
};

/// How many runs there are at most: the first comes first in each line.
pub const RUNS: usize = 3;

/// Something that happens at some time, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happens {
    /// A run that nobody has claimed is cancelled.
    Cancel,
    /// Step Functions reopens a run that has ended, without us.
    Redrive,
    /// It may not be started, for a while.
    Deny,
    /// Nor described, unless it runs.
    DenyLooks,
    /// A caller has one that has ended redriven.
    Request,
    /// Step Functions never redrives it.
    Refuse,
    /// The index of the lines is behind.
    ReadLate,
    /// The agent is paused, and resumed.
    Resume,
}

/// What may happen in one exploration.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    pub name: &'static str,
    /// How many runs there are.
    pub runs: usize,
    /// How many of the agent's go on at once.
    pub of_agent: Option<u32>,
    /// How many of the user's.
    pub of_user: u32,
    pub takes: [Takes; RUNS],
    /// Whether three functions run at once.
    pub are_three: bool,
    pub may: &'static [Happens],
}

impl Config {
    pub(crate) fn may(&self, happen: Happens) -> bool {
        self.may.contains(&happen)
    }
}

/// The model of runs that take slots.
#[derive(Debug, Clone)]
pub struct Slots {
    pub config: Config,
    pub flaw: Option<Flaw>,
    /// The most sweeps by which a state was settled.
    pub most_sweeps: Arc<AtomicU8>,
}

impl Slots {
    #[must_use]
    pub fn new(config: Config, flaw: Option<Flaw>) -> Self {
        Self { config, flaw, most_sweeps: Arc::default() }
    }

    fn calls(&self) -> Calls {
        let Config { of_agent, of_user, takes, .. } = self.config;
        let terms = Terms { of_agent, of_user, takes };
        Calls { terms, is_refused: self.config.may(Happens::Refuse), flaw: self.flaw }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    pub world: World,
    pub functions: [Option<Step>; 3],
}

impl State {
    fn begin(&mut self, step: Step) {
        let free = self.functions.iter_mut().find(|it| it.is_none());
        *free.expect("there is room") = Some(step);
    }

    fn running(&self) -> impl Iterator<Item = Step> {
        self.functions.iter().flatten().copied()
    }
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A message, which exists for ever, has a run launched.
    Launch(u8),
    /// Another has those go on who wait in a line.
    Wake(Line),
    /// An event of Step Functions comes, as it was when the run had come so far.
    Status(u8, u8),
    /// `sweep` asks about a presumed end.
    Sweep(u8),
    LookAfter(Line),
    Call(u8, Way),
    Dies(u8),
    AgentEnds(u8),
    Redrive(u8),
    /// Its redrive is asked for.
    Request(u8),
    Cancel(u8),
    Resume,
    /// Nobody has joined this line for a long time.
    Age(Line),
}

impl Told for Slots {
    fn name(&self) -> &'static str {
        self.config.name
    }

    fn most_sweeps(&self) -> u8 {
        self.most_sweeps.load(Ordering::Relaxed)
    }
}

impl Model for Slots {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let world = World::accepted(self.config.runs, self.config.may(Happens::Resume));
        vec![State { world, functions: [None; 3] }]
    }

    /// Messages and events are there from when they are sent on, and never used up: so they may be lost,
    /// doubled, late and in any order. What would change nothing is left out.
    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let State { world, functions } = state;
        for (slot, function) in (0..).zip(functions) {
            let Some(step) = function else { continue };
            actions.push(Action::Call(slot, Way::Well));
            self.other_ways(world, *step, |way| actions.push(Action::Call(slot, way)));
            actions.push(Action::Dies(slot));
        }
        for (run, (row, agent)) in (0..).zip(world.rows.iter().zip(world.agents)) {
            if agent == 1 || agent == 3 {
                actions.push(Action::AgentEnds(run));
            }
            let is_there = usize::from(run) < self.config.runs;
            if self.config.may(Happens::Redrive) && agent == 2 && is_there {
                actions.push(Action::Redrive(run));
            }
            let may_request = row.rank == Rank::Ended && row.redrive == 0 && !row.is_to_redrive;
            if self.config.may(Happens::Request) && may_request && is_there {
                actions.push(Action::Request(run));
            }
            let may_cancel = row.rank == Rank::Queued && !row.is_claimed && !row.is_cancelled;
            if self.config.may(Happens::Cancel) && may_cancel {
                actions.push(Action::Cancel(run));
            }
        }
        if world.is_paused {
            actions.push(Action::Resume);
        }
        let is_of = |step, line| match step {
            Step::Wait { line: its, .. } | Step::Close { line: its } => its == line,
            _ => false,
        };
        for line in Line::ALL {
            // Whoever has announced itself has joined by then, or died.
            if world.line(line).is_lately && !state.running().any(|step| is_of(step, line)) {
                actions.push(Action::Age(line));
            }
        }
        if state.running().count() < if self.config.are_three { 3 } else { 2 } {
            self.beginnings(state, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        let world = &mut next.world;
        match action {
            Action::Launch(run) => next.begin(Step::Claim { run }),
            Action::Wake(line) => next.begin(Step::Wake { line }),
            Action::Status(run, at) => {
                next.begin(Step::Read { run, seen: Seen::Told(at), walk: None });
            }
            Action::Sweep(run) => {
                let slots = world.row(run).held();
                next.begin(Step::Describe { run, slots });
            }
            Action::LookAfter(line) => next.begin(Step::LookAfter { line }),
            Action::Call(slot, way) => {
                let step = next.functions[usize::from(slot)].take()?;
                let left = self.calls().make(&mut next.world, step, way);
                next.functions[usize::from(slot)] = left.next;
            }
            Action::Dies(slot) => next.functions[usize::from(slot)] = None,
            Action::AgentEnds(run) | Action::Redrive(run) => *world.agent_mut(run) += 1,
            Action::Request(run) => {
                let row = world.row_mut(run);
                *row = Row { is_to_redrive: true, due: Due::Near, ..*row };
            }
            Action::Cancel(run) => {
                let row = world.row_mut(run);
                *row = Row { is_cancelled: true, due: Due::Near, ..*row };
            }
            Action::Resume => world.is_paused = false,
            Action::Age(line) => world.line_mut(line).is_lately = false,
        }
        next.functions.sort_by_key(|it| std::cmp::Reverse(it.as_ref().map_or(0, Quick::of)));
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl Slots {
    /// What functions may begin.
    fn beginnings(&self, state: &State, actions: &mut Vec<Action>) {
        let State { world, .. } = state;
        for (run, (row, agent)) in (0..).zip(world.rows.iter().zip(world.agents)) {
            if row.rank == Rank::Queued && agent == 0 || row.facts().is_to_be_redriven() {
                actions.push(Action::Launch(run));
            }
            for at in 1..=agent {
                if Seen::Told(at).position().may_follow(row.position()) {
                    actions.push(Action::Status(run, at));
                }
            }
            // By then whoever was about to start it has done so, or died.
            let is_starting = |step| matches!(step, Step::Start { run: its, .. } if its == run);
            let is_presumed = row.rank == Rank::Presumed && row.due == Due::Near;
            if is_presumed && !state.running().any(is_starting) {
                actions.push(Action::Sweep(run));
            }
        }
        for line in Line::ALL {
            if world.waiting(line).next().is_some() {
                actions.push(Action::Wake(line));
            }
            let may_be_empty = world.line(line).is_lately && self.config.may(Happens::ReadLate);
            if world.line(line).is_open && (may_be_empty || world.waiting(line).next().is_none()) {
                actions.push(Action::LookAfter(line));
            }
        }
    }

    fn other_ways(&self, world: &World, step: Step, mut push: impl FnMut(Way)) {
        match step {
            Step::Start { run, .. } if self.config.may(Happens::Deny) && world.agent(run) == 0 => {
                push(Way::Denied);
            }
            // One that runs is not thought to have ended by who cannot know: it would need what that frees.
            Step::Describe { run, .. }
                if self.config.may(Happens::DenyLooks) && !matches!(world.agent(run), 1 | 3) =>
            {
                push(Way::Denied);
            }
            Step::Take { run, slots, .. } if !world.are_free(slots, run) => push(Way::GivesUp),
            Step::Look { run, .. } if self.config.may(Happens::ReadLate) => {
                let lines =
                    |run| self.calls().terms.lines(run, world.is_paused).into_iter().flatten();
                for (line, _) in lines(run) {
                    let others = (0..run).filter(|it| lines(*it).any(|(its, _)| its == line));
                    others.filter(|it| world.may_be_behind(line, *it)).for_each(|it| {
                        push(Way::Behind(line, it));
                    });
                }
            }
            Step::Wake { line } | Step::LookAfter { line }
                if self.config.may(Happens::ReadLate) =>
            {
                for run in world.waiting(line) {
                    if world.may_be_behind(line, run) {
                        push(Way::Behind(line, run));
                    }
                }
            }
            _ => {}
        }
    }
}

/// What a reader of a trace wants to see.
impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let World { rows, agents, lines, .. } = &self.world;
        for (run, (row, agent)) in rows.iter().zip(agents).enumerate() {
            let Row { rank, redrive, line, slots, due, .. } = row;
            let claimed = if row.is_claimed { " claimed" } else { "" };
            let cancelled = if row.is_cancelled { " cancelled" } else { "" };
            let line = line.map_or(String::new(), |line| format!(" in {line:?}"));
            let slots = slots.map_or(String::new(), |slots| format!(" {slots}"));
            let held = self.world.held[run];
            write!(
                formatter,
                "{run}: {rank:?}({redrive}){claimed}{cancelled}{line}{slots} due={due:?} agent={agent} holds {held}; "
            )?;
        }
        let open: Vec<_> = Line::ALL.into_iter().zip(lines).filter(|(_, it)| it.is_open).collect();
        write!(formatter, "open={open:?} [{}]", calls(self.running()))
    }
}
