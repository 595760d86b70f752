//! What an agent asks, and how it is answered: see `shared/src/service/agent_event.rs` and `launch`.

use relay::domain::{protocol::Relevance, question::QuestionState};

use super::{
    functions::{Asker, Calls, Left, Reached, Step, Then},
    row::{Row, Seen},
    world::{Question, World, Wrong},
};
use crate::{flaw::Flaw, time::Tick};

/// What the agent asks: two questions at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Asks {
    #[default]
    Nothing,
    /// Two at once.
    Two,
    /// One in the first run, and one in its redrive.
    InRedrive,
}

impl Asks {
    /// In which redrive it is asked.
    pub(super) const fn redrive(self, number: u8) -> u8 {
        match self {
            Self::Nothing => u8::MAX,
            Self::Two => 0,
            Self::InRedrive => number,
        }
    }
}

/// The steps in which `status` applies a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asking {
    /// Reads the row. It does so a second time once Step Functions was asked.
    Read {
        number: u8,
        is_second: bool,
    },
    /// Reads it again once it was settled by the agent's word.
    ReadIfRuns {
        number: u8,
        is_second: bool,
    },
    /// Reads whether the question is known, for which the row need not be known to run.
    IsKnown {
        number: u8,
        is_second: bool,
    },
    Find {
        number: u8,
        is_second: bool,
        before: Row,
    },
    Store {
        number: u8,
        is_second: bool,
        before: Row,
        after: Row,
    },
}

/// The steps in which `launch` gives an answer, or closes what has lapsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answering {
    Find { number: u8 },
    ReadRow { number: u8, is_answered: bool, expires_at: Option<Tick> },
    CountTry { number: u8 },
    Give { number: u8 },
    ReadAttempts { number: u8 },
    ReadToClose { number: u8, reason: QuestionState },
    Close { number: u8, reason: QuestionState, before: Row, after: Row },
}

impl Question {
    pub(super) fn close(&mut self, reason: QuestionState) {
        self.state = Some(reason);
        self.due = None;
    }
}

impl World {
    /// Whether the agent waits for the answer to a question.
    #[must_use]
    pub fn waits(&self, asks: Asks, number: u8, timeout: Option<Tick>) -> bool {
        self.agent.runs()
            && self.agent.at / 2 == asks.redrive(number)
            && !self.agent.given[usize::from(number)]
            && timeout.is_none_or(|timeout| self.now < self.agent.asked_at + timeout)
    }
}

impl Calls {
    fn standing(self, row: &Row, number: u8) -> Relevance {
        let is_said = !self.rules.has(Flaw::UnsaidRedrive);
        let says = is_said.then(|| self.asks.redrive(number).into());
        row.facts(self.terms).relevance(says, true, true)
    }

    /// An event that is handled comes no more.
    fn handled(world: &mut World, number: u8) -> Left {
        world.questions[usize::from(number)].is_handled = true;
        Left::default()
    }

    pub(super) fn asked_by_ear(seen: Result<Option<Seen>, ()>, number: u8) -> Left {
        let again = Asking::Read { number, is_second: true };
        match seen {
            Ok(Some(seen)) => Self::apply(seen, Then::Ask(again)).into(),
            Ok(None) => Step::Ask(again).into(),
            Err(()) => Left::default(),
        }
    }

    pub(super) fn ask(self, world: &mut World, step: Asking) -> Left {
        let next = match step {
            Asking::Read { number, is_second } => match self.standing(&world.row, number) {
                Relevance::Current => Asking::Find { number, is_second, before: world.row },
                Relevance::Starting => {
                    let seen = Seen::runs(world.row.redrive, world.row.claimed);
                    let then = Then::Ask(Asking::ReadIfRuns { number, is_second });
                    return Self::apply(seen, then).into();
                }
                Relevance::Superseded => return Self::handled(world, number),
                Relevance::Unclear => Asking::IsKnown { number, is_second },
                // It comes again.
                Relevance::RowBehind if is_second => return Left::default(),
                Relevance::RowBehind => return Step::Describe(Asker::Ear(number)).into(),
            },
            Asking::ReadIfRuns { number, is_second } => {
                if self.standing(&world.row, number) != Relevance::Current {
                    return Self::handled(world, number);
                }
                Asking::Find { number, is_second, before: world.row }
            }
            Asking::IsKnown { number, is_second } => {
                // Step Functions knows of what began before this tick.
                let is_old = world.now > world.agent.asked_at;
                let is_known = world.questions[usize::from(number)].state.is_some();
                if is_known || is_second && is_old {
                    return Self::handled(world, number);
                }
                if is_second {
                    return Left::default();
                }
                return Step::Describe(Asker::Ear(number)).into();
            }
            Asking::Find { number, is_second, before } => {
                if world.questions[usize::from(number)].state.is_some() {
                    return Self::handled(world, number);
                }
                let after = before.turned(number, None, world.now, self.terms);
                Asking::Store { number, is_second, before, after }
            }
            Asking::Store { number, is_second, before, after } => {
                if !self.may_take_a_turn(world, &before) {
                    return Step::Ask(Asking::Read { number, is_second }).into();
                }
                let question = &mut world.questions[usize::from(number)];
                if question.state.is_none() {
                    question.state = Some(QuestionState::Open);
                    question.expires_at = self.terms.answer_within.map(|it| after.updated + it);
                    question.due = question.expires_at;
                    let Row { updated, open, sequence, .. } = after;
                    world.row = Row { updated, open, sequence, ..world.row };
                }
                return Self::handled(world, number);
            }
        };
        Step::Ask(next).into()
    }

    fn may_take_a_turn(self, world: &World, before: &Row) -> bool {
        let facts = world.row.facts(self.terms);
        facts.may_take_a_turn(before.redrive.into(), before.sequence.into())
            || self.rules.has(Flaw::TurnIgnoresSequence)
                && facts.is_running_in(before.redrive.into())
    }

    pub(super) fn answer(self, world: &mut World, step: Answering, reached: Reached) -> Left {
        let next = match step {
            Answering::Find { number } => {
                let question = world.questions[usize::from(number)];
                if question.state != Some(QuestionState::Open) {
                    return Left::default();
                }
                let Question { is_answered, expires_at, .. } = question;
                Answering::ReadRow { number, is_answered, expires_at }
            }
            Answering::ReadRow { number, is_answered, expires_at } => {
                if !world.row.open.has(number) {
                    return Left::default();
                }
                let is_over = expires_at.is_some_and(|at| at <= world.now);
                match (is_answered, is_over) {
                    (true, _) => Answering::CountTry { number },
                    (false, true) => {
                        Answering::ReadToClose { number, reason: QuestionState::Lapsed }
                    }
                    (false, false) => return Left::default(),
                }
            }
            Answering::CountTry { number } => {
                world.questions[usize::from(number)].attempts += 1;
                Answering::Give { number }
            }
            Answering::Give { number } => {
                if reached == Reached::Throttled {
                    return Left::default();
                }
                if !world.waits(self.asks, number, self.terms.answer_within) {
                    return Step::Answer(Answering::ReadAttempts { number }).into();
                }
                world.agent.given[usize::from(number)] = true;
                if reached == Reached::Unanswered {
                    return Left::default();
                }
                Answering::ReadToClose { number, reason: QuestionState::Answered }
            }
            Answering::ReadAttempts { number } => {
                let is_alone = world.questions[usize::from(number)].attempts == 1
                    || self.rules.has(Flaw::GoneIsLapsed);
                let reason = if is_alone { QuestionState::Lapsed } else { QuestionState::Answered };
                Answering::ReadToClose { number, reason }
            }
            Answering::ReadToClose { number, reason } => {
                let before = world.row;
                if !before.open.has(number) {
                    return Left::default();
                }
                let after = before.turned(number, Some(reason), world.now, self.terms);
                Answering::Close { number, reason, before, after }
            }
            Answering::Close { number, reason, before, after } => {
                if !self.may_take_a_turn(world, &before) {
                    return Step::Answer(Answering::ReadToClose { number, reason }).into();
                }
                let Row { updated, open, sequence, .. } = after;
                world.row = Row { updated, open, sequence, ..world.row };
                world.questions[usize::from(number)].close(reason);
                if reason == QuestionState::Lapsed && world.agent.given[usize::from(number)] {
                    world.wrong = Some(Wrong::LapsedThoughGiven);
                }
                return Left::default();
            }
        };
        Step::Answer(next).into()
    }

    /// A caller answers what is open, if it has no answer.
    pub(super) fn take_answer(world: &mut World, number: u8) -> bool {
        let is_held = world.row.open.has(number);
        let now = world.now;
        let question = &mut world.questions[usize::from(number)];
        let is_open = question.state == Some(QuestionState::Open) && !question.is_answered;
        if is_held && is_open {
            question.is_answered = true;
            question.due = Some(now + 1);
        }
        is_held && is_open
    }
}
