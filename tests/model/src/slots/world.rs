//! What the tables and Step Functions hold.

use relay::domain::{
    protocol::Facts,
    status::{Position, Rank},
};

use super::{
    RUNS,
    rules::{Line, Set, Terms, Viewed},
    step::Was,
};
use crate::time::at;

/// When `sweep` processes a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Due {
    Never,
    /// With the next sweep.
    Near,
    /// Not while its line is looked after.
    Far,
}

/// The `state` part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    pub rank: Rank,
    pub redrive: u8,
    pub is_claimed: bool,
    pub is_cancelled: bool,
    /// Whether its end is to be redriven.
    pub is_to_redrive: bool,
    pub line: Option<Line>,
    /// The attribute, which may be there and empty.
    pub slots: Option<Set>,
    pub due: Due,
}

impl Row {
    #[must_use]
    pub fn position(&self) -> Position {
        Position { redrive_count: self.redrive.into(), rank: self.rank }
    }

    #[must_use]
    pub fn held(&self) -> Set {
        self.slots.unwrap_or_default()
    }

    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts {
            position: self.position(),
            claimed_at: self.is_claimed.then(|| at(0)),
            start_at: None,
            launch_before: at(100),
            waits: self.line.is_some(),
            is_cancelled: self.is_cancelled,
            deadline: None,
            sequence: 0,
            started_at: None,
            updated_at: at(0),
            due_at: None,
            is_redrive_requested: self.is_to_redrive,
        }
    }

    /// Whether it is to go on, but only with the slots that it takes.
    pub(super) fn takes_slots(&self) -> bool {
        let facts = self.facts();
        let is_unclaimed = !self.is_claimed && facts.may_be_claimed(at(1));
        self.held().is_empty() && (is_unclaimed || facts.is_to_be_redriven())
    }

    /// Whether one that was so when it was read may be claimed with slots, or wait for them.
    pub(super) fn may_take(&self, was: Was) -> bool {
        let facts = self.facts();
        if was.has_ended {
            return facts.is_to_be_redriven() && self.slots.is_none();
        }
        !self.is_claimed && facts.may_be_claimed(at(1))
    }

    /// Whether it goes on by its row, or is about to, or its end is presumed and may be wrong.
    pub(super) fn may_go_on(&self) -> bool {
        self.is_claimed
            && match self.rank {
                Rank::Queued | Rank::Running => true,
                Rank::Presumed => self.due != Due::Never,
                Rank::Ended => self.is_to_redrive,
            }
    }
}

/// The item of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct LineItem {
    /// Whether `sweep` looks after it.
    pub is_open: bool,
    /// Whether somebody has announced itself so lately that the index need not show it.
    pub is_lately: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct World {
    pub rows: [Row; RUNS],
    /// How far Step Functions has come with each: 0 not started, 1 running, 2 ended, 3 and 4 the same for its
    /// redrive.
    pub agents: [u8; RUNS],
    /// The items of the slots, by their holders.
    pub held: [Set; RUNS],
    pub lines: [LineItem; 2],
    pub is_paused: bool,
}

impl World {
    /// So many runs are accepted, and the others have ended long ago.
    pub(super) fn accepted(runs: usize, is_paused: bool) -> Self {
        let row = |run| {
            let is_there = run < runs;
            Row {
                rank: if is_there { Rank::Queued } else { Rank::Ended },
                redrive: 0,
                is_claimed: false,
                is_cancelled: false,
                is_to_redrive: false,
                line: None,
                slots: None,
                due: if is_there { Due::Near } else { Due::Never },
            }
        };
        Self {
            rows: [0, 1, 2].map(row),
            agents: [0, 1, 2].map(|run| if run < runs { 0 } else { 2 }),
            held: [Set::default(); RUNS],
            lines: [LineItem::default(); 2],
            is_paused,
        }
    }

    #[must_use]
    pub fn row(&self, run: u8) -> &Row {
        &self.rows[usize::from(run)]
    }

    pub(super) fn row_mut(&mut self, run: u8) -> &mut Row {
        &mut self.rows[usize::from(run)]
    }

    pub(super) const fn agent(&self, run: u8) -> u8 {
        self.agents[run as usize]
    }

    pub(super) const fn agent_mut(&mut self, run: u8) -> &mut u8 {
        &mut self.agents[run as usize]
    }

    #[must_use]
    pub fn line(&self, line: Line) -> LineItem {
        self.lines[line as usize]
    }

    pub(super) fn line_mut(&mut self, line: Line) -> &mut LineItem {
        &mut self.lines[line as usize]
    }

    /// Those who stand in a line by their rows, in their order.
    pub fn waiting(&self, line: Line) -> impl Iterator<Item = u8> {
        (0..).zip(&self.rows).filter(move |(_, row)| row.line == Some(line)).map(|(run, _)| run)
    }

    /// Whether the index may show a run there that has left, or miss one that has joined.
    pub(super) fn may_be_behind(&self, line: Line, run: u8) -> bool {
        let row = self.row(run);
        if row.line == Some(line) {
            return self.line(line).is_lately;
        }
        row.line.is_some() || row.is_claimed || row.rank > Rank::Queued
    }

    /// Whether nobody but this run holds one of these.
    pub(super) fn are_free(&self, slots: Set, run: u8) -> bool {
        let others = (0..).zip(&self.held).filter(|(holder, _)| *holder != run);
        others.fold(Set::default(), |all, (_, held)| all.or(*held)).numbered().and(slots).is_empty()
    }

    /// Whoever has held them.
    pub(super) fn take(&mut self, slots: Set, run: u8) {
        for held in &mut self.held {
            *held = held.without(slots.numbered());
        }
        let held = &mut self.held[usize::from(run)];
        *held = held.or(slots);
    }

    /// The same.
    pub(super) fn free(&mut self, slots: Set, run: u8) {
        for held in &mut self.held {
            *held = held.without(slots.numbered());
        }
        let held = &mut self.held[usize::from(run)];
        *held = held.without(slots);
    }

    /// What a run reads of the pools of its limits that comes from the line `of`, where the index is behind
    /// about `behind`.
    pub(super) fn viewed(
        &self,
        terms: Terms,
        run: u8,
        of: Option<Line>,
        behind: Option<(Line, u8)>,
    ) -> [Viewed; 2] {
        terms.lines(run, self.is_paused).map(|limit| {
            let Some((line, _)) = limit else { return Viewed::default() };
            let held = self.held.map(|held| held.of_line(line));
            let numbered = held.map(Set::numbered);
            let is_beyond = |(all, numbered): &(Set, Set)| all != numbered;
            let beyond = held.into_iter().zip(numbered).filter(is_beyond).count();
            let shows = |it: u8| (self.row(it).line == Some(line)) != (behind == Some((line, it)));
            Viewed {
                taken: numbered.into_iter().fold(Set::default(), Set::or),
                beyond: u8::try_from(beyond).unwrap_or(u8::MAX),
                is_behind: of != Some(line) && (0..run).any(shows),
            }
        })
    }
}
