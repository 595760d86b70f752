//! A run: launched, observed, swept, cancelled, stopped and redriven, by functions that die and meet.

mod closure;
mod functions;
mod properties;
mod questions;
mod row;
mod rules;
mod world;

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use relay::domain::{question::QuestionState, status::Rank};
use stateright::{Model, Property};

use self::{
    functions::{Calls, Then},
    rules::Rules,
};
pub use self::{
    functions::{Reached, Step},
    questions::{Answering, Asking, Asks},
    row::{Code, End, Row, Terms},
    world::{Agent, Ending, Machine, Outcome, Question, World, Wrong},
};
use crate::{
    explore::{Told, calls},
    flaw::Flaw,
    memo::Quick,
    time::{Tick, at},
};

/// Something that happens at some time, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum May {
    Cancel,
    Redrive,
    /// Step Functions is too busy, or its reply is lost.
    Throttle,
    /// The machine, or its alias, is removed.
    Remove,
    /// We may not start it any more.
    Deny,
    /// And then may again.
    LetAgain,
    /// Nor describe it while we may not start it.
    DenyLooks,
    /// Step Functions answers with what was so when the tick began.
    AnswerLate,
    /// The clocks of some functions are a tick ahead.
    DisagreeOnTime,
}

/// What may happen in one exploration.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    pub name: &'static str,
    /// After this tick, none comes.
    pub horizon: Tick,
    pub launch_before: Tick,
    pub deadline: Option<Tick>,
    /// How often the run is claimed at most, but for the sweeps that all must end by.
    pub most_attempts: u8,
    /// It begins with the run launched, and none of its events received.
    pub is_launched: bool,
    pub may: &'static [May],
    pub asks: Asks,
    /// For how long the agent waits for an answer, if it does not for ever.
    pub answer_within: Option<Tick>,
}

impl Config {
    fn may(&self, happen: May) -> bool {
        self.may.contains(&happen)
    }

    const fn terms(&self) -> Terms {
        let Self { launch_before, deadline, answer_within, .. } = *self;
        Terms { launch_before, deadline, answer_within }
    }

    /// Whether an end may be presumed of a run that runs: only where Step Functions' answers are late or
    /// withheld, or who was denied is let again.
    fn may_be_mistaken(&self) -> bool {
        self.may(May::AnswerLate) || self.may(May::DenyLooks) || self.may(May::LetAgain)
    }
}

/// Whether a state is one that is looked for.
pub type Sought = fn(&World) -> bool;

/// The model of a run.
#[derive(Debug, Clone)]
pub struct Run {
    pub config: Config,
    pub flaw: Option<Flaw>,
    /// What is looked for: that it can come about.
    pub sought: Option<Sought>,
    /// The most sweeps by which a state was settled.
    pub most_sweeps: Arc<AtomicU8>,
}

impl Run {
    #[must_use]
    pub fn new(config: Config, flaw: Option<Flaw>) -> Self {
        Self { config, flaw, sought: None, most_sweeps: Arc::default() }
    }

    fn calls(&self) -> Calls {
        let is_blind = self.config.may(May::DenyLooks);
        let Config { asks, .. } = self.config;
        Calls { rules: Rules(self.flaw), terms: self.config.terms(), is_blind, asks }
    }
}

/// A function that runs, and whether it did when the tick began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Function {
    pub is_old: bool,
    pub step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    pub world: World,
    /// Two at once, in no order.
    pub functions: [Option<Function>; 2],
}

impl State {
    fn begin(&mut self, step: Step) {
        let free = self.functions.iter_mut().find(|it| it.is_none());
        *free.expect("there is room") = Some(Function { is_old: false, step });
    }

    /// The same state for the same functions, whichever of them came first.
    fn sorted(mut self) -> Self {
        let [one, other] = self.functions.map(|it| it.map_or(0, |it| Quick::of(&it)));
        if other > one {
            self.functions.swap(0, 1);
        }
        self
    }
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Tick,
    Launch {
        now: Tick,
    },
    /// An event of Step Functions comes, as it was when the run had come so far.
    Status(u8),
    Sweep,
    Call(u8, Reached),
    Dies(u8),
    /// The event of a question is received.
    Ask(u8),
    /// A caller answers.
    Answer(u8),
    /// `launch` gives an answer.
    Give(u8),
    AgentEnds(Ending),
    Redrive,
    Cancel,
    Machine(Machine),
}

impl Told for Run {
    fn name(&self) -> &'static str {
        self.config.name
    }

    fn most_sweeps(&self) -> u8 {
        self.most_sweeps.load(Ordering::Relaxed)
    }
}

impl Model for Run {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut world = World::accepted(self.config.terms());
        if self.config.is_launched {
            let mut step = Some(Step::Claim { now: 0 });
            while let Some(next) = step {
                step = self.calls().make(&mut world, next, Reached::Well).next;
            }
        }
        vec![State { world, functions: [None; 2] }]
    }

    /// Messages and events are there from when they are sent on, and never used up: so they may be lost,
    /// doubled, late and in any order. What would change nothing is left out.
    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let (Config { horizon, .. }, calls) = (self.config, self.calls());
        let State { world, functions } = state;
        if world.wrong.is_some() {
            return;
        }
        let World { now, row, agent, machine, .. } = world;
        if *now < horizon {
            actions.push(Action::Tick);
        }
        for (slot, function) in functions.iter().enumerate() {
            let Some(Function { step, .. }) = function else { continue };
            let slot = u8::from(slot == 1);
            actions.push(Action::Call(slot, Reached::Well));
            self.other_ways(world, *step, |way| actions.push(Action::Call(slot, way)));
            actions.push(Action::Dies(slot));
        }
        if functions.iter().any(Option::is_none) {
            let facts = row.facts(self.config.terms());
            let is_owed = match row.rank {
                Rank::Queued => row.attempts < self.config.most_attempts,
                Rank::Running => calls.rules.to_stop(&facts, at(*now)).is_some(),
                Rank::Presumed => agent.runs(),
                Rank::Ended => false,
            };
            if is_owed {
                actions.push(Action::Launch { now: *now });
                if self.config.may(May::DisagreeOnTime) {
                    actions.push(Action::Launch { now: now + 1 });
                }
            }
            for at in 1..=agent.at {
                let is_news = |position| calls.rules.may_follow(position, row.position());
                if agent.seen(at).map(functions::position).is_some_and(is_news) {
                    actions.push(Action::Status(at));
                }
            }
            if row.due.is_some_and(|due| due <= *now) {
                actions.push(Action::Sweep);
            }
            self.question_actions(world, actions);
        }
        if self.config.asks != Asks::Nothing {
            (0..2).filter(|it| Calls::take_answer(&mut { *world }, *it)).for_each(|number| {
                actions.push(Action::Answer(number));
            });
        }
        if agent.runs() {
            if (0..2).all(|it| !self.waits(world, it)) {
                actions.push(Action::AgentEnds(Ending::Done));
            }
            if (self.config.may(May::Redrive) || self.config.asks != Asks::Nothing) && agent.at == 1
            {
                actions.push(Action::AgentEnds(Ending::Failed));
            }
        }
        let may_be_redriven = agent.ends[0].is_some_and(|ending| ending != Ending::Done);
        if self.config.may(May::Redrive) && agent.at == 2 && may_be_redriven {
            actions.push(Action::Redrive);
        }
        if self.config.may(May::Cancel)
            && !row.is_cancelled
            && row.redrive == 0
            && row.facts(self.config.terms()).may_be_cancelled()
        {
            actions.push(Action::Cancel);
        }
        match machine {
            Machine::There if self.config.may(May::Remove) => {
                actions.push(Action::Machine(Machine::Gone));
            }
            Machine::There if self.config.may(May::Deny) => {
                actions.push(Action::Machine(Machine::Denied));
            }
            Machine::Denied if self.config.may(May::LetAgain) => {
                actions.push(Action::Machine(Machine::There));
            }
            Machine::There | Machine::Denied | Machine::Gone => {}
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        let world = &mut next.world;
        match action {
            Action::Tick => {
                world.now += 1;
                world.agent.was = world.agent.at;
                for function in &mut next.functions {
                    let goes_on = function.filter(|it| !it.is_old);
                    *function = goes_on.map(|it| Function { is_old: true, ..it });
                }
            }
            Action::Launch { now } => next.begin(Step::Claim { now }),
            Action::Status(at) => {
                let seen = world.agent.seen(at)?;
                next.begin(Calls::apply(seen, Then::Nothing));
            }
            Action::Sweep => {
                let sweep = self.calls().sweep(&world.row, world.row.due?, world.now);
                next.begin(sweep);
            }
            Action::Call(slot, reached) => {
                let function = &mut next.functions[usize::from(slot)];
                let Function { is_old, step } = (*function)?;
                let left = self.calls().make(world, step, reached);
                *function = left.next.map(|step| Function { is_old, step });
            }
            Action::Dies(slot) => next.functions[usize::from(slot)] = None,
            Action::Ask(number) => {
                next.begin(Step::Ask(Asking::Read { number, is_second: false }));
            }
            Action::Answer(number) => drop(Calls::take_answer(world, number)),
            Action::Give(number) => next.begin(Step::Answer(Answering::Find { number })),
            Action::AgentEnds(ending) => world.agent.end(ending),
            Action::Redrive => {
                world.agent.at = 3;
                world.agent.asked_at = world.now;
            }
            Action::Cancel => {
                world.row.is_cancelled = true;
                world.row.due = Some(world.now + 1);
            }
            Action::Machine(machine) => world.machine = machine,
        }
        Some(next.sorted())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = properties::all();
        if self.sought.is_some() {
            properties.push(properties::sought());
        }
        properties
    }
}

impl Run {
    fn waits(&self, world: &World, number: u8) -> bool {
        world.waits(self.config.asks, number, self.config.answer_within)
    }

    fn question_actions(&self, world: &World, actions: &mut Vec<Action>) {
        let Config { asks, .. } = self.config;
        for number in 0..2 {
            let Question { state, is_answered, expires_at, is_handled, attempts, .. } =
                world.questions[usize::from(number)];
            let is_asked = asks != Asks::Nothing && world.agent.at > asks.redrive(number) * 2;
            // Its event may come twice at once; one that comes after it was handled changes nothing.
            if is_asked && !is_handled {
                actions.push(Action::Ask(number));
            }
            let is_over = expires_at.is_some_and(|at| at <= world.now);
            let is_owed = is_answered || is_over;
            if state == Some(QuestionState::Open) && is_owed && attempts < self.config.most_attempts
            {
                actions.push(Action::Give(number));
            }
        }
    }

    fn other_ways(&self, world: &World, step: Step, mut push: impl FnMut(Reached)) {
        match step {
            Step::Claim { .. } if self.config.may(May::Throttle) => push(Reached::Twice),
            Step::Start { .. } | Step::Answer(Answering::Give { .. })
                if self.config.may(May::Throttle) =>
            {
                push(Reached::Throttled);
                push(Reached::Unanswered);
            }
            Step::Describe(_) => {
                if self.config.may(May::AnswerLate) {
                    (world.agent.was..world.agent.at).for_each(|at| push(Reached::Late(at)));
                }
                if self.config.may(May::DenyLooks) && world.machine == Machine::Denied {
                    push(Reached::Forbidden);
                }
            }
            _ => {}
        }
    }
}

/// What a reader of a trace wants to see.
impl std::fmt::Display for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let World { now, row, agent, .. } = &self.world;
        let Row { redrive, rank, status, answered, attempts, .. } = row;
        let due = row.due.map_or("never".to_owned(), |due| due.to_string());
        let claimed = if row.claimed.is_some() { " claimed" } else { "" };
        let cancelled = if row.is_cancelled { " cancelled" } else { "" };
        let calls = calls(self.functions.iter().flatten().map(|it| it.step));
        write!(
            formatter,
            "t={now} {rank:?}({redrive}) {status}{claimed}{cancelled} attempts={answered}/{attempts} due={due} \
             agent={} [{calls}]",
            agent.at
        )
    }
}
