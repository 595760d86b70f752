//! The row of a run, as small as the model needs it, and the rules that are asked about it.

use std::{cell::RefCell, sync::OnceLock, time::Duration};

use relay::{
    domain::{
        execution::Execution,
        id::QuestionId,
        moved::{event_of_move, moved},
        observation::Observation,
        protocol::{Facts, Grounds, Silence},
        question::QuestionState,
        status::{Position, Rank, Status, StopReason},
    },
    service::agent_event::{with_question, without_question},
};
use serde_json::json;

use crate::memo::Known;
use crate::time::{Tick, at, tick};

/// After which silence `sweep` processes something again; a run in one tick is silent in the next.
pub(super) const SILENCE: Silence = Silence {
    launch: Duration::from_mins(1),
    event: Duration::from_mins(5),
    longest: Duration::from_hours(1),
};

const RETENTION: Duration = Duration::from_hours(168);

/// What is frozen when a run is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Terms {
    pub launch_before: Tick,
    pub deadline: Option<Tick>,
    /// For how long the agent waits for an answer, if it does not for ever.
    pub answer_within: Option<Tick>,
}

/// The error code of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The agent's own.
    Agent,
    Cancelled,
    Timeout,
    QueueTimeout,
    Refused,
    Denied,
    Lost,
}

impl Code {
    const ALL: [Self; 7] = [
        Self::Agent,
        Self::Cancelled,
        Self::Timeout,
        Self::QueueTimeout,
        Self::Refused,
        Self::Denied,
        Self::Lost,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "AgentError",
            Self::Cancelled => "Cancelled",
            Self::Timeout => "States.Timeout",
            Self::QueueTimeout => "queue_timeout",
            Self::Refused => "StateMachineDoesNotExist",
            Self::Denied => "launch_denied",
            Self::Lost => "execution_lost",
        }
    }
}

/// How a run is reported to have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct End {
    pub status: Status,
    pub code: Option<Code>,
}

impl End {
    pub const DONE: Self = Self { status: Status::Completed, code: None };

    #[must_use]
    pub const fn failed(code: Code) -> Self {
        Self { status: Status::Failed, code: Some(code) }
    }

    /// Of a run that is to be stopped, and was never started.
    #[must_use]
    pub const fn stopped(reason: StopReason) -> Self {
        Self { status: reason.status(), code: Some(code_of(reason)) }
    }

    /// Below 32: a number of eight for each status that is an end.
    pub(super) fn index(self) -> u8 {
        (self.status as u8 - Status::Completed as u8) * 8 + self.code.map_or(0, |it| it as u8 + 1)
    }
}

/// The code by which a run is stopped.
pub(super) const fn code_of(reason: StopReason) -> Code {
    match reason {
        StopReason::Cancel => Code::Cancelled,
        StopReason::Deadline => Code::Timeout,
    }
}

/// What was observed of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seen {
    pub grounds: Grounds,
    pub redrive: u8,
    pub status: Status,
    pub code: Option<Code>,
    pub started: Option<Tick>,
}

impl Seen {
    #[must_use]
    pub const fn never_ran(grounds: Grounds, redrive: u8, end: End) -> Self {
        Self { grounds, redrive, status: end.status, code: end.code, started: None }
    }

    #[must_use]
    pub const fn runs(redrive: u8, started: Option<Tick>) -> Self {
        Self { grounds: Grounds::Told, redrive, status: Status::Running, code: None, started }
    }

    pub(super) fn position(self) -> Position {
        let rank = self.grounds.rank(self.status);
        Position { redrive_count: self.redrive.into(), rank }
    }

    fn observation(self) -> Observation {
        let row = base();
        Observation {
            grounds: self.grounds,
            execution_id: row.execution_id.clone(),
            execution_arn: String::new(),
            status: self.status,
            redrive_count: self.redrive.into(),
            started_at: self.started.map(at),
            completed_at: None,
            output: None,
            error: self.code.map(|code| code.as_str().to_owned()),
            cause: None,
        }
    }
}

/// A delivery that is owed for an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owed {
    pub redrive: u8,
    pub is_correction: bool,
    pub end: End,
}

/// The `state` part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    pub redrive: u8,
    pub rank: Rank,
    pub status: Status,
    pub code: Option<Code>,
    pub claimed: Option<Tick>,
    pub is_cancelled: bool,
    pub has_deadline: bool,
    pub stop: Option<StopReason>,
    pub started: Option<Tick>,
    pub updated: Tick,
    pub due: Option<Tick>,
    pub attempts: u8,
    pub answered: u8,
    /// The numbers of the questions that it holds.
    pub open: Set,
    pub sequence: u8,
}

/// Numbers of questions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Set(u8);

impl Set {
    #[must_use]
    pub const fn has(self, number: u8) -> bool {
        self.0 >> number & 1 == 1
    }

    pub(super) fn without(self, other: Self) -> impl Iterator<Item = u8> {
        (0..2).filter(move |number| self.has(*number) && !other.has(*number))
    }
}

impl Row {
    /// As `start` stores it.
    #[must_use]
    pub fn accepted(terms: Terms) -> Self {
        let mut row = Self {
            redrive: 0,
            rank: Rank::Queued,
            status: Status::Queued,
            code: None,
            claimed: None,
            is_cancelled: false,
            has_deadline: terms.deadline.is_some(),
            stop: None,
            started: None,
            updated: 0,
            due: None,
            attempts: 0,
            answered: 0,
            open: Set::default(),
            sequence: 0,
        };
        let due = row.facts(terms).owes_from(at(0), SILENCE.launch);
        row.due = Some(tick(due.min(at(terms.launch_before))));
        row
    }

    #[must_use]
    pub fn position(&self) -> Position {
        Position { redrive_count: self.redrive.into(), rank: self.rank }
    }

    #[must_use]
    pub fn end(&self) -> End {
        End { status: self.status, code: self.code }
    }

    #[must_use]
    pub fn facts(&self, terms: Terms) -> Facts {
        Facts {
            position: self.position(),
            claimed_at: self.claimed.map(at),
            start_at: None,
            launch_before: at(terms.launch_before),
            waits: false,
            is_cancelled: self.is_cancelled,
            deadline: terms.deadline.filter(|_| self.has_deadline).map(at),
            sequence: self.sequence.into(),
            started_at: self.started.map(at),
            updated_at: at(self.updated),
            due_at: self.due.map(at),
            is_redrive_requested: false,
        }
    }

    /// The row after what was seen, as `relay` makes it, and what is owed for that.
    #[must_use]
    pub fn moved(&self, seen: Seen, now: Tick, terms: Terms) -> (Self, Option<Owed>) {
        type Moves = Known<(Row, Seen, Tick, Terms), (Row, Option<Owed>)>;
        thread_local! {
            /// There are few rows and many states that hold them.
            static KNOWN: RefCell<Moves> = RefCell::default();
        }
        let key = (*self, seen, now, terms);
        if let Some(known) = KNOWN.with_borrow(|known| known.get(&key).copied()) {
            return known;
        }
        let before = self.execution(terms);
        let after = moved(&before, &seen.observation(), at(now), SILENCE.event, RETENTION);
        let event = event_of_move(&before, &after).filter(|_| after.status.is_end());
        let row = self.after(&after);
        let owed = event.map(|(_, is_correction)| Owed {
            redrive: row.redrive,
            is_correction,
            end: row.end(),
        });
        KNOWN.with_borrow_mut(|known| known.insert(key, (row, owed)));
        (row, owed)
    }

    fn execution(&self, terms: Terms) -> Execution {
        let facts = self.facts(terms);
        Execution {
            status: self.status,
            redrive_count: self.redrive.into(),
            rank: self.rank as u8,
            updated_at: facts.updated_at,
            started_at: facts.started_at,
            completed_at: self.status.is_end().then_some(facts.updated_at),
            error_code: self.code.map(|code| code.as_str().to_owned()),
            claimed_at: facts.claimed_at,
            launch_before: facts.launch_before,
            cancel_requested_at: self.is_cancelled.then(|| at(0)),
            deadline: facts.deadline,
            stop_reason: self.stop,
            due_at: facts.due_at,
            sequence: self.sequence.into(),
            open_questions: self.open.without(Set::default()).map(question).collect(),
            ..base().clone()
        }
    }

    fn after(&self, after: &Execution) -> Self {
        let code = after.error_code.as_deref();
        let known = |code: &str| Code::ALL.into_iter().find(|it| it.as_str() == code);
        Self {
            redrive: u8::try_from(after.redrive_count).unwrap_or(u8::MAX),
            rank: after.position().rank,
            status: after.status,
            code: code.map(|code| known(code).expect("a code of the model")),
            claimed: after.claimed_at.map(tick),
            is_cancelled: after.cancel_requested_at.is_some(),
            has_deadline: after.deadline.is_some(),
            stop: after.stop_reason,
            started: after.started_at.map(tick),
            updated: tick(after.updated_at),
            due: after.due_at.map(tick),
            attempts: self.attempts,
            answered: self.answered,
            open: Set((0..2)
                .map(|it| u8::from(after.open_questions.contains(&question(it))) << it)
                .sum()),
            sequence: u8::try_from(after.sequence).unwrap_or(u8::MAX),
        }
    }

    /// The row once its agent has asked, or once a question is closed for a reason.
    #[must_use]
    pub fn turned(
        &self,
        number: u8,
        closed: Option<QuestionState>,
        now: Tick,
        terms: Terms,
    ) -> Self {
        type Turns = Known<(Row, u8, Option<QuestionState>, Tick), Row>;
        thread_local! {
            static KNOWN: RefCell<Turns> = RefCell::default();
        }
        let key = (*self, number, closed, now);
        KNOWN.with_borrow_mut(|known| {
            *known.entry(key).or_insert_with(|| {
                let (before, id) = (self.execution(terms), question(number));
                self.after(&match closed {
                    None => with_question(&before, &id, at(now)),
                    Some(reason) => without_question(&before, &id, reason, at(now)),
                })
            })
        })
    }
}

fn question(number: u8) -> QuestionId {
    static IDS: OnceLock<[QuestionId; 2]> = OnceLock::new();
    let ids = IDS.get_or_init(|| ["one", "other"].map(|it| QuestionId::of(&it.to_owned().into())));
    ids[usize::from(number)].clone()
}

/// What is the same in all rows.
fn base() -> &'static Execution {
    static BASE: OnceLock<Execution> = OnceLock::new();
    BASE.get_or_init(|| {
        let row = json!({
            "execution_id": "mcp-echo-1", "user_id": "someone", "agent_name": "echo",
            "state_machine_arn": "arn:aws:states:eu-west-1:111122223333:stateMachine:echo",
            "status": "queued", "redrive_count": 0, "rank": 0, "created_at": at(0),
            "updated_at": at(0), "launch_before": at(0),
        });
        serde_json::from_value(row).expect("it is a row")
    })
}
