//! What is left when no function runs: the tables, Step Functions, the bus, and the time.

use relay::domain::{
    protocol::Grounds,
    question::QuestionState,
    status::{Position, Rank, Status},
};

use super::row::{Code, End, Owed, Row, Seen, Terms};
use crate::time::Tick;

/// What Step Functions knows of the run, and knew when the tick began: it answers eventually
/// consistently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Agent {
    /// 0 before it is started, 1 while it runs, 2 once it has ended, and 3 and 4 of its redrive.
    pub at: u8,
    pub was: u8,
    pub ends: [Option<Ending>; 2],
    pub started: Option<Tick>,
    pub starts: u8,
    /// Since when it runs in this redrive, and asks.
    pub asked_at: Tick,
    /// Which questions it has the answer to.
    pub given: [bool; 2],
}

/// A `question#…` part, and whether its event is handled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Question {
    pub state: Option<QuestionState>,
    pub is_answered: bool,
    pub attempts: u8,
    pub expires_at: Option<Tick>,
    pub due: Option<Tick>,
    /// Else it comes again.
    pub is_handled: bool,
}

/// How an execution has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    Done,
    Failed,
    /// Stopped by us with this code.
    Stopped(Code),
}

impl Agent {
    #[must_use]
    pub const fn runs(&self) -> bool {
        self.at % 2 == 1
    }

    /// What Step Functions says once it has come so far.
    #[must_use]
    pub fn seen(&self, at: u8) -> Option<Seen> {
        let redrive = at.checked_sub(1)? / 2;
        let (status, code) = match (at % 2, self.ends[usize::from(redrive)]) {
            (1, _) | (_, None) => (Status::Running, None),
            (_, Some(Ending::Done)) => (Status::Completed, None),
            (_, Some(Ending::Failed)) => (Status::Failed, Some(Code::Agent)),
            (_, Some(Ending::Stopped(code))) => (Status::Cancelled, Some(code)),
        };
        Some(Seen { grounds: Grounds::Told, redrive, status, code, started: self.started })
    }

    pub(super) fn end(&mut self, ending: Ending) {
        self.ends[usize::from(self.at / 2)] = Some(ending);
        self.at += 1;
    }
}

/// Whether the state machine may be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Machine {
    There,
    /// We may not.
    Denied,
    /// It is gone, or its alias.
    Gone,
}

/// The `output` part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Outcome {
    pub redrive: u8,
    pub rank: Rank,
    pub end: End,
}

impl Outcome {
    #[must_use]
    pub fn position(&self) -> Position {
        Position { redrive_count: self.redrive.into(), rank: self.rank }
    }

    /// Whether it is what the row ended by. One that was presumed and proved true is kept as it was.
    #[must_use]
    pub fn is_of(&self, row: &Row) -> bool {
        let is_kept = self.rank == Rank::Presumed && row.rank == Rank::Ended;
        self.redrive == row.redrive && (self.rank == row.rank || is_kept) && self.end == row.end()
    }
}

/// What was seen to go wrong in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wrong {
    MovedBack,
    ClaimedThoughCancelled,
    MarkedAnotherRedrive,
    TwoEndsPublished,
    LapsedThoughGiven,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct World {
    pub now: Tick,
    pub row: Row,
    pub outcome: Option<Outcome>,
    /// The deliveries that were stored: see [`World::owe`].
    owed: u128,
    /// The ends that were put on the bus, by redrive and rank.
    published: [[Option<End>; 2]; 2],
    pub agent: Agent,
    pub machine: Machine,
    pub questions: [Question; 2],
    /// Whether a presumed end was checked once more.
    pub is_confirmed: bool,
    /// Whether it was ended because nobody had claimed it.
    pub is_certain: bool,
    pub wrong: Option<Wrong>,
}

impl World {
    #[must_use]
    pub fn accepted(terms: Terms) -> Self {
        Self {
            now: 0,
            row: Row::accepted(terms),
            outcome: None,
            owed: 0,
            published: [[None; 2]; 2],
            agent: Agent {
                at: 0,
                was: 0,
                ends: [None; 2],
                started: None,
                starts: 0,
                asked_at: 0,
                given: [false; 2],
            },
            machine: Machine::There,
            questions: [Question::default(); 2],
            is_confirmed: false,
            is_certain: false,
            wrong: None,
        }
    }

    /// Stores a delivery, whose key is its step, its redrive and its target; `false` where there is
    /// one with that key.
    pub(super) fn owe(&mut self, owed: Owed) -> bool {
        let of_status = place(owed) / 8 * 8;
        let is_new = (self.owed >> of_status).trailing_zeros() >= 8;
        if is_new {
            self.owed |= 1 << place(owed);
        }
        is_new
    }

    /// Whether a delivery tells of this end.
    #[must_use]
    pub fn is_told(&self, redrive: u8, end: End) -> bool {
        [false, true]
            .into_iter()
            .any(|is_correction| self.owed >> place(Owed { redrive, is_correction, end }) & 1 == 1)
    }

    /// Puts an end on the bus. Of one position there is one end: who has handled it ignores another.
    pub(super) fn publish(&mut self, redrive: u8, rank: Rank, end: End) {
        let slot = &mut self.published[usize::from(redrive)][usize::from(rank == Rank::Ended)];
        if slot.is_some_and(|before| before != end) {
            self.wrong = Some(Wrong::TwoEndsPublished);
        }
        *slot = Some(end);
    }

    #[must_use]
    pub fn is_published(&self, redrive: u8, rank: Rank, end: End) -> bool {
        self.published[usize::from(redrive)][usize::from(rank == Rank::Ended)] == Some(end)
    }
}

fn place(Owed { redrive, is_correction, end }: Owed) -> u8 {
    redrive * 64 + u8::from(is_correction) * 32 + end.index()
}
