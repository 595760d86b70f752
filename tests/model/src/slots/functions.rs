//! The functions' calls, one by one.

use relay::domain::status::Rank;

use super::{
    rules::{Line, Seen, Set, Terms, Turned, held_after},
    step::{Left, Step, Walk, Was, Way, go_on},
    world::{Due, LineItem, Row, World},
};
use crate::flaw::Flaw;

/// What the calls depend on, beside the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Calls {
    pub(super) terms: Terms,
    /// Whether Step Functions redrives nothing.
    pub(super) is_refused: bool,
    pub(super) flaw: Option<Flaw>,
}

impl Calls {
    fn has(self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    pub(super) fn make(self, world: &mut World, step: Step, way: Way) -> Left {
        match step {
            Step::Claim { run } => Self::claim(world.row(run), run).into(),
            Step::Wake { line } => {
                let shown = world.waiting(line).filter(|run| way != Way::Behind(line, *run));
                let rest = shown.fold(0, |rest, run| rest | 1 << run);
                go_on(Some(Walk { line, rest, gone_up: 0 })).into()
            }
            Step::Find { walk } => Self::find(world, walk).into(),
            Step::Look { run, was, walk } => {
                let behind =
                    if let Way::Behind(line, run) = way { Some((line, run)) } else { None };
                let of = walk.map(|walk| walk.line);
                let viewed = world.viewed(self.terms, run, of, behind);
                let from = walk.map(|walk| (walk.line, walk.gone_up));
                match self.terms.turn(run, world.is_paused, viewed, from) {
                    // Nobody limits it any more.
                    Turned::Take(slots) if slots.is_empty() && was.has_ended => {
                        Step::Redrive { run, slots, walk }.into()
                    }
                    Turned::Take(slots) => Step::Take { run, was, slots, walk }.into(),
                    Turned::Wait(line) => self.join(run, was, line, walk),
                    Turned::Stay => go_on(walk).into(),
                }
            }
            Step::Take { run, was, slots, walk } => {
                self.take(world, run, was, slots, walk).unwrap_or_else(|| {
                    // Others were first.
                    let first = self.terms.lines(run, world.is_paused)[0];
                    match first.filter(|_| way == Way::GivesUp) {
                        Some((line, _)) => self.join(run, was, line, walk),
                        None => Step::Look { run, was, walk }.into(),
                    }
                })
            }
            Step::Start { run, walk } if way == Way::Denied => {
                Step::Read { run, seen: Seen::Presumed, walk }.into()
            }
            Step::Start { run, walk } => {
                let agent = world.agent_mut(run);
                *agent = (*agent).max(1);
                go_on(walk).into()
            }
            Step::Open { run, was, line, walk } => {
                *world.line_mut(line) = LineItem { is_open: true, is_lately: true };
                if self.has(Flaw::JoinUnopened) {
                    return Self::waits(run, line, walk);
                }
                Step::Wait { run, was, line, walk }.into()
            }
            Step::Wait { run, was, line, walk } => self.wait(world, run, was, line, walk),
            Step::LookAgain { run, line } => {
                let viewed = world.viewed(self.terms, run, None, None);
                let has_room = self.terms.has_room(run, world.is_paused, viewed, line);
                has_room.then_some(Step::Wake { line }).into()
            }
            Step::Read { run, seen, walk } => self.read(world.row(run), run, seen, walk).into(),
            Step::Advance { run, seen, before, after, walk } => {
                if !self.advance(world, run, seen, before, after) {
                    return Step::Read { run, seen, walk }.into();
                }
                Left::hinting(go_on(walk), before.without(after))
            }
            Step::Describe { .. } | Step::Confirm { .. } => Self::confirm(world, step, way),
            Step::Redrive { .. } | Step::Reopen { .. } | Step::Refuse { .. } => {
                self.redrive(world, step)
            }
            Step::LookAfter { line } => {
                let mut shown = world.waiting(line).filter(|run| way != Way::Behind(line, *run));
                if shown.next().is_none() {
                    return Step::Close { line }.into();
                }
                Left { next: None, hinted: Line::ALL.map(|it| it == line) }
            }
            Step::Close { line } => {
                if !world.line(line).is_lately || self.has(Flaw::CloseOfJoined) {
                    *world.line_mut(line) = LineItem::default();
                }
                Left::default()
            }
        }
    }

    fn claim(row: &Row, run: u8) -> Option<Step> {
        let walk = None;
        match row.rank {
            Rank::Queued | Rank::Ended if row.takes_slots() => {
                Some(Step::Look { run, was: Was::of(row), walk })
            }
            Rank::Queued if row.is_claimed => Some(Step::Start { run, walk }),
            Rank::Queued => Some(Step::Read { run, seen: Seen::Unclaimed, walk }),
            Rank::Ended if row.facts().is_to_be_redriven() => {
                Some(Step::Redrive { run, slots: row.held(), walk })
            }
            Rank::Running | Rank::Presumed | Rank::Ended => None,
        }
    }

    fn find(world: &World, walk: Walk) -> Option<Step> {
        let run = u8::try_from(walk.rest.trailing_zeros()).ok()?;
        let row = world.row(run);
        let stands = row.line == Some(walk.line);
        let walk = Some(Walk { rest: walk.rest & !(1 << run), ..walk });
        if stands && row.takes_slots() {
            return Some(Step::Look { run, was: Was::of(row), walk });
        }
        if stands && row.rank == Rank::Queued && !row.is_claimed {
            return Some(Step::Read { run, seen: Seen::Unclaimed, walk });
        }
        go_on(walk)
    }

    /// Claims a run with its slots; `None` when another holds one of them.
    fn take(
        self,
        world: &mut World,
        run: u8,
        was: Was,
        slots: Set,
        walk: Option<Walk>,
    ) -> Option<Left> {
        let row = *world.row(run);
        // It would be due no earlier than one that waits.
        let has_joined = was.line.is_none() && row.line.is_some();
        if !row.may_take(was) || has_joined && !self.has(Flaw::ClaimOfJoined) {
            return Some(go_on(walk).into());
        }
        if !world.are_free(slots, run) && !self.has(Flaw::ClaimOfTaken) {
            return None;
        }
        let is_moved = was.line.is_some() && !self.has(Flaw::ClaimStaysFar);
        let is_stored = !slots.is_empty() || self.has(Flaw::EmptySlots);
        *world.row_mut(run) = Row {
            is_claimed: true,
            line: None,
            slots: is_stored.then_some(slots),
            due: if is_moved { Due::Near } else { row.due },
            ..row
        };
        world.take(slots, run);
        Some(if was.has_ended {
            Step::Redrive { run, slots, walk }.into()
        } else {
            Step::Start { run, walk }.into()
        })
    }

    fn join(self, run: u8, was: Was, line: Line, walk: Option<Walk>) -> Left {
        if was.line == Some(line) {
            return Self::waits(run, line, walk);
        }
        let is_up = |walk: &Walk| (line as u8) < walk.line as u8;
        let walk = walk.map(|walk| Walk { gone_up: walk.gone_up + u8::from(is_up(&walk)), ..walk });
        if self.has(Flaw::JoinUnopened) {
            return Step::Wait { run, was, line, walk }.into();
        }
        Step::Open { run, was, line, walk }.into()
    }

    fn wait(self, world: &mut World, run: u8, was: Was, line: Line, walk: Option<Walk>) -> Left {
        let row = *world.row(run);
        // Of what is claimed, the same but for that.
        let as_unclaimed = Row { is_claimed: row.is_claimed && was.has_ended, ..row };
        let asked = if self.has(Flaw::WaitOfClaimed) { as_unclaimed } else { row };
        if !asked.may_take(was) {
            return go_on(walk).into();
        }
        *world.row_mut(run) = Row { line: Some(line), due: Due::Far, ..row };
        if self.has(Flaw::JoinUnopened) {
            return Step::Open { run, was, line, walk }.into();
        }
        Self::waits(run, line, walk)
    }

    /// What follows for a run that waits there.
    fn waits(run: u8, line: Line, walk: Option<Walk>) -> Left {
        match walk {
            // What it waits for may have become free before it stood there to be seen.
            None => Step::LookAgain { run, line }.into(),
            // There is no room for any of them.
            Some(walk) if walk.line == line => Left::default(),
            walk => Left { next: go_on(walk), hinted: Line::ALL.map(|it| it == line) },
        }
    }

    fn read(self, row: &Row, run: u8, seen: Seen, walk: Option<Walk>) -> Option<Step> {
        if !seen.position().may_follow(row.position()) {
            return go_on(walk);
        }
        let before = row.held();
        let after = match seen {
            Seen::Presumed if self.has(Flaw::PresumedFrees) => Set::default(),
            Seen::Told(2 | 4) if self.has(Flaw::EndKeeps) => before,
            seen => held_after(self.terms, run, row, seen),
        };
        Some(Step::Advance { run, seen, before, after, walk })
    }

    /// Whether a row is moved that was read as one which holds `before`.
    fn advance(self, world: &mut World, run: u8, seen: Seen, before: Set, after: Set) -> bool {
        let row = *world.row(run);
        let is_blind = self.has(Flaw::EndOfAnySlots);
        let is_as_seen = if before.is_empty() {
            row.slots.is_none()
        } else {
            row.slots == Some(before) || is_blind || self.has(Flaw::HeldSlotsUnseen)
        };
        let (freed, taken) = (before.without(after), after.without(before));
        let are_theirs = world.are_free(taken, run) && (is_blind || world.are_free(freed, run));
        let to = seen.position();
        if !row.facts().may_move(to, 0, seen.grounds()) || !is_as_seen || !are_theirs {
            return false;
        }
        let is_redriven = to.redrive_count > row.redrive.into();
        let changed = (!after.is_empty()).then_some(after);
        *world.row_mut(run) = Row {
            rank: to.rank,
            redrive: u8::try_from(to.redrive_count).unwrap_or(u8::MAX),
            is_cancelled: row.is_cancelled && !is_redriven,
            is_to_redrive: row.is_to_redrive && !is_redriven,
            line: None,
            slots: if after == before { row.slots } else { changed },
            due: if to.rank == Rank::Ended { Due::Never } else { Due::Near },
            ..row
        };
        world.free(freed, run);
        world.take(taken, run);
        true
    }

    /// `sweep` asks about a presumed end.
    fn confirm(world: &mut World, step: Step, way: Way) -> Left {
        match step {
            Step::Describe { run, slots } => match world.agent(run) {
                0 => Step::Confirm { run, slots }.into(),
                _ if way == Way::Denied => Step::Confirm { run, slots }.into(),
                1 | 3 => {
                    // A message has it stopped.
                    *world.agent_mut(run) += 1;
                    Left::default()
                }
                at => Step::Read { run, seen: Seen::Told(at), walk: None }.into(),
            },
            Step::Confirm { run, slots } => {
                let row = *world.row(run);
                if row.rank != Rank::Presumed || !world.are_free(slots, run) {
                    return Left::default();
                }
                *world.row_mut(run) = Row { slots: None, due: Due::Never, ..row };
                world.free(slots, run);
                Left::hinting(None, slots)
            }
            _ => Left::default(),
        }
    }

    /// Has Step Functions redrive a run that has ended, as was asked for.
    fn redrive(self, world: &mut World, step: Step) -> Left {
        match step {
            Step::Redrive { run, slots, walk } => match world.agent(run) {
                at @ (3 | 4) => Step::Read { run, seen: Seen::Told(at), walk }.into(),
                _ => Step::Reopen { run, slots, walk }.into(),
            },
            Step::Reopen { run, slots, walk } if self.is_refused && world.agent(run) == 2 => {
                Step::Refuse { run, slots, walk }.into()
            }
            Step::Reopen { run, walk, .. } => {
                // Repeating it is harmless.
                let agent = world.agent_mut(run);
                *agent = (*agent).max(3);
                go_on(walk).into()
            }
            Step::Refuse { run, slots, walk } => {
                let row = *world.row(run);
                let is_as_seen = row.held() == slots || self.has(Flaw::HeldSlotsUnseen);
                let is_ended = row.rank == Rank::Ended && row.redrive == 0;
                if !is_ended || !is_as_seen || !world.are_free(slots, run) {
                    return go_on(walk).into();
                }
                *world.row_mut(run) =
                    Row { is_to_redrive: false, line: None, slots: None, due: Due::Never, ..row };
                world.free(slots, run);
                Left::hinting(go_on(walk), slots)
            }
            _ => Left::default(),
        }
    }
}
