//! The functions as they run: each call to AWS is one step, which another may come between.
//!
//! They follow `functions/{launch,status,sweep}` and `shared/src/service/settle.rs`, which see.

use relay::domain::{
    launch_attempts::{LaunchAttempts, Next, Reply},
    protocol::{Grounds, Poll, UnclaimedEnd},
    question::QuestionState,
    status::{Position, Rank, StopReason},
};

use super::{
    questions::{Answering, Asking, Asks},
    row::{Code, End, Owed, Row, SILENCE, Seen, Set, Terms, code_of},
    rules::Rules,
    world::{Ending, Machine, Outcome, World, Wrong},
};
use crate::{
    flaw::Flaw,
    time::{Tick, at, tick},
};

/// The next call that a function makes, and what it knows by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    // `launch`.
    Claim {
        now: Tick,
    },
    Start {
        made: u8,
        answered: u8,
        is_cancelled: bool,
    },
    Delay {
        answered: Option<u8>,
        now: Tick,
    },
    MarkStop {
        redrive: u8,
        reason: StopReason,
    },
    Stop {
        code: Code,
    },
    /// Written too late, where that is the flaw.
    MarkStopped {
        redrive: u8,
        reason: StopReason,
    },
    ReadToStop,
    // `sweep`.
    Postpone {
        due: Tick,
        until: Tick,
        asked: Asked,
    },
    TellAgain {
        redrive: u8,
        end: End,
    },
    Confirm {
        redrive: u8,
    },
    // Of all.
    Describe(Asker),
    Read(Apply),
    Tell(Move),
    Commit(Move),
    /// Written too late, where that is the flaw.
    Owe(Owed),
    Publish(Move),
    // `status` and `launch`, of what the agent asks.
    Ask(Asking),
    Answer(Answering),
}

/// Why Step Functions is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asker {
    /// By a launch, which presumes this end where the run is not known.
    Launch(Option<End>),
    Sweep(Asked),
    /// By `status`, for a question whose run is not known to be there.
    Ear(u8),
}

/// What `sweep` has seen of the row that it processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked {
    pub look: Poll,
    pub position: (u8, Rank),
    pub end: End,
    pub is_lost: bool,
    pub is_to_stop: bool,
}

/// Something that was seen of the run, to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Apply {
    pub seen: Seen,
    pub then: Then,
}

/// What follows when it is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Then {
    Nothing,
    /// `launch` stops a running run that is to end.
    Stop,
    /// `sweep` has `launch` do that.
    Hint,
    /// A question is applied.
    Ask(Asking),
}

/// A move that was decided by the row as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Move {
    pub apply: Apply,
    pub after: Row,
    pub owed: Option<Owed>,
    /// Whether it is of a later redrive.
    pub reopens: bool,
    /// The questions that it takes off the run.
    pub closes: [bool; 2],
}

/// How a call goes, where that is not certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reached {
    Well,
    /// It was made twice, since its first reply was lost.
    Twice,
    Throttled,
    /// It was taken, and its reply was lost for good.
    Unanswered,
    /// Step Functions answers as it was when it had come so far.
    Late(u8),
    /// We may not ask.
    Forbidden,
}

/// What is left of a function after a call.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Left {
    /// `None` when it has ended.
    pub(super) next: Option<Step>,
    /// Whether it has sent a hint to `launch`.
    pub(super) has_hinted: bool,
}

impl Left {
    const HINTED: Self = Self { next: None, has_hinted: true };
}

impl From<Step> for Left {
    fn from(step: Step) -> Self {
        Self { next: Some(step), has_hinted: false }
    }
}

/// A call, and by which rules and terms it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Calls {
    pub(super) rules: Rules,
    pub(super) terms: Terms,
    /// Whether who may not start a run may not describe it, either.
    pub(super) is_blind: bool,
    pub(super) asks: Asks,
}

impl Calls {
    pub(super) fn apply(seen: Seen, then: Then) -> Step {
        Step::Read(Apply { seen, then })
    }

    /// A sweep that has read the overdue row.
    pub(super) fn sweep(self, row: &Row, due: Tick, now: Tick) -> Step {
        let facts = row.facts(self.terms);
        let asked = Asked {
            look: facts.poll(at(now), SILENCE),
            position: (row.redrive, row.rank),
            end: row.end(),
            is_lost: self.rules.is_lost(&facts, at(now)),
            is_to_stop: self.rules.to_stop(&facts, at(now)).is_some(),
        };
        Step::Postpone { due, until: tick(facts.next_poll(at(now), SILENCE)), asked }
    }

    /// Makes the call.
    pub(super) fn make(self, world: &mut World, step: Step, reached: Reached) -> Left {
        match step {
            Step::Claim { now } => self.claim(world, now, reached),
            Step::Start { made, answered, is_cancelled } => {
                let reply = self.start(world, reached);
                let attempts = LaunchAttempts { made: made.into(), answered: answered.into() };
                self.after(world, attempts, reply, is_cancelled)
            }
            Step::Delay { answered, now } => {
                if world.row.rank == Rank::Queued {
                    world.row.due = Some(now + 1);
                    world.row.answered = answered.unwrap_or(world.row.answered);
                }
                Left::HINTED
            }
            Step::MarkStop { redrive, reason } => {
                let held = self.mark_stop(world, redrive, reason);
                held.map(|reason| Step::Stop { code: code_of(reason) }).into_left()
            }
            Step::Stop { code } => {
                if world.agent.runs() {
                    world.agent.end(Ending::Stopped(code));
                }
                Left::default()
            }
            Step::MarkStopped { redrive, reason } => {
                if world.agent.runs() {
                    world.agent.end(Ending::Stopped(code_of(reason)));
                }
                let next = Step::MarkStop { redrive, reason };
                next.into()
            }
            Step::ReadToStop => self.stop_where_due(world, &world.row).into_left(),
            Step::Postpone { due, until, asked } => {
                if world.row.due != Some(due) {
                    return Left::default();
                }
                world.row.due = Some(until);
                match asked.look {
                    Poll::Later => Left::default(),
                    Poll::Launch => Left::HINTED,
                    Poll::Confirm if self.rules.has(Flaw::ConfirmWithoutLook) => {
                        let (redrive, _) = asked.position;
                        Step::TellAgain { redrive, end: asked.end }.into()
                    }
                    Poll::AskOrLaunch | Poll::Ask | Poll::Confirm => {
                        Step::Describe(Asker::Sweep(asked)).into()
                    }
                }
            }
            Step::TellAgain { redrive, end } => {
                world.publish(redrive, Rank::Presumed, end);
                Step::Confirm { redrive }.into()
            }
            Step::Confirm { redrive } => {
                if (world.row.redrive, world.row.rank) == (redrive, Rank::Presumed) {
                    world.row.due = None;
                    world.is_confirmed = true;
                }
                Left::default()
            }
            Step::Describe(asker) => {
                let seen = match reached {
                    Reached::Forbidden => Err(()),
                    Reached::Late(at) => Ok(world.agent.seen(at)),
                    _ => Ok(world.agent.seen(world.agent.at)),
                };
                match asker {
                    Asker::Launch(end) => Self::asked_by_launch(seen, end),
                    Asker::Sweep(look) => Self::asked_by_sweep(seen, look),
                    Asker::Ear(number) => Self::asked_by_ear(seen, number),
                }
            }
            Step::Read(apply) => self.read(world, apply),
            Step::Tell(it) => self.tell(world, it),
            Step::Commit(it) => self.commit(world, it),
            Step::Owe(owed) => {
                world.owe(owed);
                Left::default()
            }
            Step::Publish(it) => {
                world.publish(it.after.redrive, it.after.rank, it.after.end());
                Left::default()
            }
            Step::Ask(step) => self.ask(world, step),
            Step::Answer(step) => self.answer(world, step, reached),
        }
    }

    fn claim(self, world: &mut World, now: Tick, reached: Reached) -> Left {
        let row = &mut world.row;
        let facts = row.facts(self.terms);
        if self.rules.may_be_claimed(&facts, at(now)) {
            if row.claimed.is_none() && row.is_cancelled {
                world.wrong = Some(Wrong::ClaimedThoughCancelled);
            }
            row.claimed = row.claimed.or(Some(now));
            row.attempts += if reached == Reached::Twice { 2 } else { 1 };
            let Row { attempts: made, answered, is_cancelled, .. } = *row;
            return Step::Start { made, answered, is_cancelled }.into();
        }
        match row.rank {
            Rank::Queued if row.claimed.is_some() => Left::default(),
            Rank::Queued => {
                let end = match facts.unclaimed_end(at(world.now)) {
                    Some(UnclaimedEnd::Stopped(reason)) => End::stopped(reason),
                    Some(UnclaimedEnd::QueueTimeout) => End::failed(Code::QueueTimeout),
                    None => return Left::default(),
                };
                let seen = Seen::never_ran(Grounds::Unclaimed, row.redrive, end);
                Self::apply(seen, Then::Nothing).into()
            }
            Rank::Running => self.stop_where_due(world, &world.row).into_left(),
            // By the code of the end that was told.
            Rank::Presumed => Step::Stop { code: row.code.unwrap_or(Code::Agent) }.into(),
            Rank::Ended => Left::default(),
        }
    }

    /// `StartExecution` under the run's name.
    fn start(self, world: &mut World, reached: Reached) -> Reply {
        if reached == Reached::Throttled {
            return Reply::Delayed { is_answer: true };
        }
        match world.machine {
            Machine::Denied => return Reply::Denied,
            Machine::Gone => return Reply::Refused,
            Machine::There => {}
        }
        let agent = &mut world.agent;
        let reply = match agent.at {
            0 => Reply::Runs,
            _ if self.rules.has(Flaw::NamelessStart) => Reply::Runs,
            running if running % 2 == 1 => Reply::Runs,
            _ => Reply::Exists,
        };
        if agent.at == 0 || self.rules.has(Flaw::NamelessStart) {
            agent.at = agent.at.max(1);
            agent.starts += 1;
            agent.started = Some(world.now);
            agent.asked_at = world.now;
        }
        if reached == Reached::Unanswered { Reply::Delayed { is_answer: false } } else { reply }
    }

    fn after(
        self,
        world: &World,
        attempts: LaunchAttempts,
        reply: Reply,
        is_cancelled: bool,
    ) -> Left {
        let end = || {
            if reply == Reply::Refused {
                return End::failed(Code::Refused);
            }
            // Of the run as it was claimed.
            let facts = Row { is_cancelled, ..world.row }.facts(self.terms);
            let reason = self.rules.to_stop(&facts, at(world.now));
            reason.map_or(End::failed(Code::Denied), End::stopped)
        };
        let at_once = match reply {
            Reply::Refused => self.rules.has(Flaw::RefusedEndsAtOnce),
            Reply::Denied => self.rules.has(Flaw::DeniedEndsAtOnce),
            _ => false,
        };
        if at_once {
            return Self::presume(end()).into();
        }
        match attempts.after(reply) {
            Next::Nothing => Left::default(),
            Next::Settle => {
                let seen = Seen::runs(0, world.agent.started);
                Self::apply(seen, Then::Stop).into()
            }
            Next::Ask => Step::Describe(Asker::Launch(None)).into(),
            Next::AskOrPresume => Step::Describe(Asker::Launch(Some(end()))).into(),
            Next::Again { answered } => {
                let answered = answered.and_then(|it| u8::try_from(it).ok());
                Step::Delay { answered, now: world.now }.into()
            }
        }
    }

    fn presume(end: End) -> Step {
        Self::apply(Seen::never_ran(Grounds::Presumed, 0, end), Then::Nothing)
    }

    fn asked_by_launch(seen: Result<Option<Seen>, ()>, end: Option<End>) -> Left {
        match (seen, end) {
            (Ok(Some(seen)), _) => Self::apply(seen, Then::Stop).into(),
            (_, Some(end)) => Self::presume(end).into(),
            (_, None) => Left::default(),
        }
    }

    fn asked_by_sweep(seen: Result<Option<Seen>, ()>, asked: Asked) -> Left {
        let (redrive, rank) = asked.position;
        let lost = |code| {
            let seen = Seen::never_ran(Grounds::Presumed, redrive, End::failed(code));
            Self::apply(seen, Then::Nothing).into()
        };
        match (asked.look, seen) {
            (Poll::Confirm, Ok(Some(seen))) if seen.status.is_end() => {
                Self::apply(seen, Then::Nothing).into()
            }
            (Poll::Confirm, Ok(Some(_))) | (Poll::AskOrLaunch, Ok(None) | Err(())) => Left::HINTED,
            (Poll::Confirm, Ok(None) | Err(())) => {
                Step::TellAgain { redrive, end: asked.end }.into()
            }
            (_, Ok(Some(seen))) => {
                let is_to_stop = asked.is_to_stop && !seen.status.is_end();
                Self::apply(seen, if is_to_stop { Then::Hint } else { Then::Nothing }).into()
            }
            (_, Err(())) if rank == Rank::Queued && asked.is_lost => lost(Code::Denied),
            (_, Ok(None)) if asked.is_lost => lost(Code::Lost),
            (_, Ok(None) | Err(())) => Left::default(),
        }
    }

    /// Reads the row, and decides by it.
    fn read(self, world: &World, apply: Apply) -> Left {
        let Apply { seen, then } = apply;
        if !self.rules.may_follow(seen.position(), world.row.position()) {
            return stale(then);
        }
        let (mut after, owed) = world.row.moved(seen, world.now, self.terms);
        let owes_nothing = match after.rank {
            Rank::Presumed => Flaw::PresumedOwesNothing,
            _ => Flaw::RunningOwesNothing,
        };
        if self.rules.has(owes_nothing) {
            after.due = None;
        }
        let reopens = after.redrive > world.row.redrive;
        let closes = [0, 1].map(|it| world.row.open.has(it) && !after.open.has(it));
        let it = Move { apply, after, owed, reopens, closes };
        if seen.grounds == Grounds::Told { Step::Tell(it).into() } else { Step::Commit(it).into() }
    }

    /// Stores the outcome and publishes the change, side by side.
    fn tell(self, world: &mut World, it: Move) -> Left {
        if !it.after.status.is_end() {
            return Step::Commit(it).into();
        }
        world.publish(it.after.redrive, it.after.rank, it.after.end());
        // An end that was presumed rightly owes nothing more, and keeps its outcome.
        if it.owed.is_none() || self.put_outcome(world, &it.after) {
            Step::Commit(it).into()
        } else {
            stale(it.apply.then)
        }
    }

    fn put_outcome(self, world: &mut World, after: &Row) -> bool {
        let Row { redrive, rank, .. } = *after;
        let outcome = Outcome { redrive, rank, end: after.end() };
        // As `Replacing` says it in DynamoDB's words.
        let may_replace = world.outcome.is_none_or(|it| outcome.position() >= it.position());
        if may_replace || self.rules.has(Flaw::OutcomeReplacesAny) {
            world.outcome = Some(outcome);
        }
        may_replace || self.rules.has(Flaw::OutcomeReplacesAny)
    }

    fn commit(self, world: &mut World, it: Move) -> Left {
        let again = Left::from(Step::Read(it.apply));
        let facts = world.row.facts(self.terms);
        let Move { apply: Apply { seen, then }, after, owed, reopens, closes } = it;
        if !self.rules.may_move(&facts, after.position(), after.sequence.into(), seen.grounds) {
            return again;
        }
        let is_told = seen.grounds == Grounds::Told;
        let mut written = *world;
        if !is_told && !self.put_outcome(&mut written, &after) {
            return again;
        }
        let is_late = self.rules.has(Flaw::OwedAfterEnd);
        if let Some(owed) = owed.filter(|_| !is_late)
            && !written.owe(owed)
        {
            return again;
        }
        let before = written.row;
        written.row = written_over(&before, &after, reopens);
        if written.row.position() < before.position() {
            written.wrong = Some(Wrong::MovedBack);
        }
        for (question, _) in written.questions.iter_mut().zip(closes).filter(|(_, closes)| *closes)
        {
            question.close(QuestionState::Closed);
        }
        written.is_certain |= seen.grounds == Grounds::Unclaimed;
        *world = written;
        if let Some(owed) = owed.filter(|_| is_late) {
            return Step::Owe(owed).into();
        }
        if !is_told {
            return Step::Publish(it).into();
        }
        match then {
            Then::Nothing => Left::default(),
            Then::Hint => Left::HINTED,
            Then::Stop => self.stop_where_due(world, &after).into_left(),
            Then::Ask(step) => Step::Ask(step).into(),
        }
    }

    /// Returns the reason that holds.
    fn mark_stop(self, world: &mut World, redrive: u8, reason: StopReason) -> Option<StopReason> {
        let facts = world.row.facts(self.terms);
        if !self.rules.may_be_stopped(&facts, redrive.into()) {
            return None;
        }
        if world.row.redrive != redrive {
            world.wrong = Some(Wrong::MarkedAnotherRedrive);
        }
        let held = *world.row.stop.get_or_insert(reason);
        Some(if self.rules.has(Flaw::StopByItsOwnReason) { reason } else { held })
    }

    /// How a running run is stopped that is to end.
    fn stop_where_due(self, world: &World, row: &Row) -> Option<Step> {
        if row.rank != Rank::Running {
            return None;
        }
        let reason = self.rules.to_stop(&row.facts(self.terms), at(world.now))?;
        let redrive = row.redrive;
        Some(if self.rules.has(Flaw::StopBeforeReason) {
            Step::MarkStopped { redrive, reason }
        } else {
            Step::MarkStop { redrive, reason }
        })
    }
}

trait IntoLeft {
    fn into_left(self) -> Left;
}

impl IntoLeft for Option<Step> {
    fn into_left(self) -> Left {
        Left { next: self, has_hinted: false }
    }
}

/// What follows when more was known of the run before.
fn stale(then: Then) -> Left {
    match then {
        Then::Nothing => Left::default(),
        Then::Stop => Step::ReadToStop.into(),
        Then::Hint => Left::HINTED,
        Then::Ask(step) => Step::Ask(step).into(),
    }
}

/// The row once a move is written, which names the attributes that it changes: see `Change::of`.
fn written_over(row: &Row, after: &Row, reopens: bool) -> Row {
    let Row { redrive, rank, status, code, started, updated, due, .. } = *after;
    let open = if reopens || rank >= Rank::Presumed { Set::default() } else { row.open };
    let moved = Row { redrive, rank, status, code, started, updated, due, open, ..*row };
    if reopens {
        Row { is_cancelled: false, has_deadline: false, stop: None, ..moved }
    } else {
        moved
    }
}

/// Where a run stands once this is applied.
pub(super) fn position(seen: Seen) -> Position {
    seen.position()
}
