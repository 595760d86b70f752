//! The steps that functions take.

use relay::domain::status::Rank;

use super::{
    rules::{Line, Seen, Set},
    world::Row,
};

/// Where a function is that has those of a line go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Walk {
    pub line: Line,
    /// Those that it has read there and not come to yet, as bits.
    pub rest: u8,
    /// How many it has had go to an earlier line.
    pub gone_up: u8,
}

/// What a row was when it was read whose turn it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Was {
    pub line: Option<Line>,
    /// Whether it has ended, and is to be redriven.
    pub has_ended: bool,
}

impl Was {
    pub(super) fn of(row: &Row) -> Self {
        Self { line: row.line, has_ended: row.rank == Rank::Ended }
    }
}

/// The next call that a function makes, and what it knows by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    Claim {
        run: u8,
    },
    /// Reads who waits there.
    Wake {
        line: Line,
    },
    /// Reads the next of them.
    Find {
        walk: Walk,
    },
    /// Reads the pools, and the lines before them.
    Look {
        run: u8,
        was: Was,
        walk: Option<Walk>,
    },
    /// Claims the run with these.
    Take {
        run: u8,
        was: Was,
        slots: Set,
        walk: Option<Walk>,
    },
    Start {
        run: u8,
        walk: Option<Walk>,
    },
    /// Asks whether it was redriven since, for which it has taken these.
    Redrive {
        run: u8,
        slots: Set,
        walk: Option<Walk>,
    },
    Reopen {
        run: u8,
        slots: Set,
        walk: Option<Walk>,
    },
    /// Records that it is not redriven.
    Refuse {
        run: u8,
        slots: Set,
        walk: Option<Walk>,
    },
    /// Has `sweep` look after a line.
    Open {
        run: u8,
        was: Was,
        line: Line,
        walk: Option<Walk>,
    },
    /// Has the run stand there.
    Wait {
        run: u8,
        was: Was,
        line: Line,
        walk: Option<Walk>,
    },
    /// Reads the pool that it waits for.
    LookAgain {
        run: u8,
        line: Line,
    },
    /// Reads the row that this may move.
    Read {
        run: u8,
        seen: Seen,
        walk: Option<Walk>,
    },
    /// Moves it, from one that held these to one that holds those.
    Advance {
        run: u8,
        seen: Seen,
        before: Set,
        after: Set,
        walk: Option<Walk>,
    },
    /// Asks about a presumed end that holds these.
    Describe {
        run: u8,
        slots: Set,
    },
    Confirm {
        run: u8,
        slots: Set,
    },
    /// Reads who is the first of a line that `sweep` looks after.
    LookAfter {
        line: Line,
    },
    Close {
        line: Line,
    },
}

/// How a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    Well,
    /// The index of this line is behind about this run.
    Behind(Line, u8),
    /// Step Functions does not let us.
    Denied,
    /// Others were first as often as it is tried.
    GivesUp,
}

/// What a call leaves: the next one, and the lines that others are to look at.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Left {
    pub(super) next: Option<Step>,
    pub(super) hinted: [bool; 2],
}

impl Left {
    pub(super) fn hinting(next: Option<Step>, freed: Set) -> Self {
        Self { next, hinted: Line::ALL.map(|line| !freed.of_line(line).is_empty()) }
    }
}

impl From<Step> for Left {
    fn from(step: Step) -> Self {
        Some(step).into()
    }
}

impl From<Option<Step>> for Left {
    fn from(next: Option<Step>) -> Self {
        Self { next, ..Self::default() }
    }
}

/// The next call of one that goes along a line, if it does.
pub(super) fn go_on(walk: Option<Walk>) -> Option<Step> {
    walk.filter(|walk| walk.rest != 0).map(|walk| Step::Find { walk })
}
