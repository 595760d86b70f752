//! The rules of a run beside its order of positions, as functions of plain values: who may claim,
//! move, stop, lease and ask, what an attempt to start it results in, and what `sweep` does about it.
//!
//! `store` says the same in DynamoDB's words where a rule is a condition; `tests/tests/conditions.rs`
//! holds the two against each other on all combinations.

use std::time::Duration;

use crate::domain::{
    status::{Position, Rank, Status, StopReason},
    time::Timestamp,
};

/// For how long after its `launch_before` a run that was claimed in time may still be started:
/// longer than any function runs, so that a claimant can finish what it began. It is also more
/// than the time by which Step Functions, which answers eventually consistently, knows of a run.
pub const CLAIM_GRACE: Duration = Duration::from_mins(15);

/// How long before its `start_at` the message is sent that launches a run then: it waits in the queue, to
/// the second. It is less than a message can wait there (15 minutes), and more than `sweep`, which sends
/// it, may be late.
const SENT_AHEAD: Duration = Duration::from_mins(10);

/// How long a run that waits for a slot is left alone.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// What the rules ask of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Facts {
    pub position: Position,
    pub claimed_at: Option<Timestamp>,
    /// It is not launched earlier.
    pub start_at: Option<Timestamp>,
    pub launch_before: Timestamp,
    /// Whether it stands in a line for a slot.
    pub waits: bool,
    pub is_cancelled: bool,
    pub deadline: Option<Timestamp>,
    pub sequence: u32,
    pub started_at: Option<Timestamp>,
    /// When the row was last changed by what was observed of the run.
    pub updated_at: Timestamp,
    pub due_at: Option<Timestamp>,
    /// Whether its end is to be redriven.
    pub is_redrive_requested: bool,
}

/// On what grounds a run is said to stand somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grounds {
    /// Step Functions says so, or its agent, who runs.
    Told,
    /// Nobody has claimed it. That is certain, if it is still so when the end is stored.
    Unclaimed,
    /// We conclude it, and may be wrong: another attempt may have started it.
    Presumed,
}

impl Grounds {
    pub const ALL: [Self; 3] = [Self::Told, Self::Unclaimed, Self::Presumed];

    /// The rank of an end on these grounds.
    #[must_use]
    pub const fn end(self) -> Rank {
        match self {
            Self::Told => Rank::Ended,
            Self::Unclaimed | Self::Presumed => Rank::Presumed,
        }
    }

    /// The rank of a run that is said to be in this status.
    #[must_use]
    pub const fn rank(self, status: Status) -> Rank {
        match status {
            Status::Scheduled | Status::Queued => Rank::Queued,
            Status::Running | Status::InputRequired => Rank::Running,
            Status::Completed | Status::Failed | Status::Timeout | Status::Cancelled => self.end(),
        }
    }
}

/// How a run ends that nobody has claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnclaimedEnd {
    Stopped(StopReason),
    /// It could not be launched in time.
    QueueTimeout,
}

/// Where a run stands towards an event of its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relevance {
    Current,
    Superseded,
    /// Who was claimed and speaks, runs, though nobody else has said so yet.
    Starting,
    /// An agent's event alone is no proof that the run was started or redriven: Step Functions is to be
    /// asked.
    RowBehind,
    /// It has ended, and nobody can tell whether its agent asks late, or in a redrive that is not
    /// known yet: Step Functions is to be asked.
    Unclear,
}

/// What `sweep` does about an overdue run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Poll {
    /// Nothing: it was updated lately, or owes nothing any more.
    Later,
    /// Has it launched, or ended because it may not be launched any more.
    Launch,
    /// Asks Step Functions, and has it launched if that does not know it.
    AskOrLaunch,
    /// Asks Step Functions.
    Ask,
    /// Asks Step Functions once more whether a presumed end is the end.
    Confirm,
}

/// After which silence `sweep` processes something again.
#[derive(Debug, Clone, Copy)]
pub struct Silence {
    pub launch: Duration,
    pub event: Duration,
    /// A long run is polled ever more seldom, but at least this often.
    pub longest: Duration,
}

impl Facts {
    /// Whether a run may be claimed for launching. It is claimed first from its `start_at` on, before its
    /// `launch_before` and its deadline, and while nobody wants its end; from then on only Step Functions settles
    /// it, so it may be claimed again until its grace has passed.
    #[must_use]
    pub fn may_be_claimed(&self, now: Timestamp) -> bool {
        self.position.rank == Rank::Queued
            && if self.claimed_at.is_some() {
                self.launch_before > now.minus(CLAIM_GRACE)
            } else {
                self.launch_before > now
                    && self.start_at.is_none_or(|at| at <= now)
                    && !self.is_cancelled
                    && self.deadline.is_none_or(|deadline| deadline > now)
            }
    }

    /// Whether a run that stands so may move to where one who saw it at the sequence `seen` wants
    /// it: what was decided on one read holds only while that is true.
    #[must_use]
    pub fn may_move(&self, to: Position, seen: u32, grounds: Grounds) -> bool {
        to.may_follow(self.position)
            && self.sequence == seen
            && (grounds != Grounds::Unclaimed || self.claimed_at.is_none())
    }

    /// How a run ends that was refused to be claimed, and that nobody has claimed; `None` where the
    /// clock that refused it is ahead of ours.
    #[must_use]
    pub fn unclaimed_end(&self, now: Timestamp) -> Option<UnclaimedEnd> {
        match self.to_stop(now) {
            Some(reason) => Some(UnclaimedEnd::Stopped(reason)),
            None => (self.launch_before <= now).then_some(UnclaimedEnd::QueueTimeout),
        }
    }

    /// For how long the message that has it launched, or ended, is to wait; `None` where that is longer
    /// than a message can.
    #[must_use]
    pub fn message_delay(&self, now: Timestamp) -> Option<Duration> {
        let wait = match self.start_at {
            Some(at) if self.to_stop(now).is_none() => Duration::from_millis(at.millis_since(now)),
            _ => Duration::ZERO,
        };
        (wait <= SENT_AHEAD).then_some(wait)
    }

    /// When `sweep` processes a run that nobody has claimed: `silence` after its message arrives, or
    /// when that can be sent.
    #[must_use]
    pub fn launch_due(&self, now: Timestamp, silence: Duration) -> Timestamp {
        let due = match (self.message_delay(now), self.start_at) {
            (Some(wait), _) => self.before_deadline(now.plus(wait), silence),
            (None, start_at) => start_at.unwrap_or(now).minus(SENT_AHEAD),
        };
        due.min(self.launch_before)
    }

    /// Whether Step Functions is to be told to redrive it.
    #[must_use]
    pub fn is_to_be_redriven(&self) -> bool {
        self.is_redrive_requested && self.position.rank == Rank::Ended
    }

    /// Whether its end may still be asked for.
    #[must_use]
    pub fn may_be_cancelled(&self) -> bool {
        self.position.rank < Rank::Presumed
    }

    /// Whether this redrive may still be stopped.
    #[must_use]
    pub fn may_be_stopped(&self, redrive_count: u32) -> bool {
        self.may_be_cancelled() && self.position.redrive_count == redrive_count
    }

    /// Whether it runs in this redrive, so that an event of its agent counts.
    #[must_use]
    pub fn is_running_in(&self, redrive_count: u32) -> bool {
        self.position == Position { redrive_count, rank: Rank::Running }
    }

    /// Whether a question may be opened or closed by one who saw the run at the sequence `seen`.
    #[must_use]
    pub fn may_take_a_turn(&self, redrive_count: u32, seen: u32) -> bool {
        self.is_running_in(redrive_count) && self.sequence == seen
    }

    /// Where it stands towards an agent that says in which redrive it is, perhaps, and perhaps
    /// names this run's ARN.
    #[must_use]
    pub fn relevance(&self, says: Option<u32>, names_it: bool, is_question: bool) -> Relevance {
        let redrive_count = says.unwrap_or(self.position.redrive_count);
        let speaks = Position { redrive_count, rank: Rank::Running };
        let is_claimed = self.claimed_at.is_some() && self.position.rank == Rank::Queued;
        if self.is_running_in(redrive_count) {
            Relevance::Current
        } else if !speaks.may_follow(self.position) {
            if is_question && says.is_none() { Relevance::Unclear } else { Relevance::Superseded }
        } else if is_claimed && names_it && redrive_count == self.position.redrive_count {
            Relevance::Starting
        } else {
            Relevance::RowBehind
        }
    }

    /// Why this run is to end now, if it is: because its caller wants that, or because its time
    /// is up.
    #[must_use]
    pub fn to_stop(&self, now: Timestamp) -> Option<StopReason> {
        if self.is_cancelled {
            return Some(StopReason::Cancel);
        }
        self.deadline.filter(|deadline| *deadline <= now).map(|_| StopReason::Deadline)
    }

    /// Whether a run that Step Functions does not know will never be known: the last moment at
    /// which somebody may have started it is longer ago than what eventual consistency explains.
    #[must_use]
    pub fn is_lost(&self, now: Timestamp) -> bool {
        let last = match self.position.rank {
            // A claimant may go on for so long.
            Rank::Queued => self.launch_before.plus(CLAIM_GRACE),
            // It was known then.
            Rank::Running => self.started_at.map_or(self.updated_at, |at| at.max(self.updated_at)),
            Rank::Presumed | Rank::Ended => return false,
        };
        last.plus(CLAIM_GRACE) <= now
    }

    /// What is to be done about a run that is overdue.
    #[must_use]
    pub fn poll(&self, now: Timestamp, silence: Silence) -> Poll {
        match self.position.rank {
            Rank::Queued if self.claimed_at.is_none() => Poll::Launch,
            Rank::Queued if self.may_be_claimed(now) => Poll::AskOrLaunch,
            // What it owes is still what its acceptance wrote.
            Rank::Running
                if self.was_updated_lately(now, silence) && self.to_stop(now).is_none() =>
            {
                Poll::Later
            }
            // Only Step Functions knows whether it runs.
            Rank::Queued | Rank::Running => Poll::Ask,
            Rank::Presumed => Poll::Confirm,
            Rank::Ended if self.is_to_be_redriven() => Poll::Launch,
            Rank::Ended => Poll::Later,
        }
    }

    /// When `sweep` processes it again, if nothing happens until then.
    #[must_use]
    pub fn next_poll(&self, now: Timestamp, silence: Silence) -> Timestamp {
        let running_for = Duration::from_millis(now.millis_since(self.started_at.unwrap_or(now)));
        match self.position.rank {
            Rank::Queued if !self.may_be_claimed(now) && self.claimed_at.is_some() => {
                now.plus(silence.event)
            }
            // Its line is looked after.
            _ if self.waits && (self.may_be_claimed(now) || self.is_to_be_redriven()) => {
                self.waits_until(now)
            }
            // An unclaimed run ends then, and its caller waits for that.
            Rank::Queued if self.claimed_at.is_none() && self.launch_before > now => {
                self.launch_due(now, silence.launch)
            }
            // The hint to launch or stop it is sent again until that has come about.
            Rank::Queued | Rank::Presumed => self.before_deadline(now, silence.launch),
            Rank::Ended if self.is_to_be_redriven() => now.plus(silence.launch),
            Rank::Running if self.to_stop(now).is_some() => now.plus(silence.launch),
            Rank::Running if self.was_updated_lately(now, silence) => {
                let next = self.updated_at.plus(silence.event);
                self.before_deadline(now, Duration::from_millis(next.millis_since(now)))
            }
            Rank::Running | Rank::Ended => {
                let longest = silence.longest.max(silence.event);
                self.before_deadline(now, (running_for / 8).clamp(silence.event, longest))
            }
        }
    }

    /// When `sweep` processes one that it could not ask about now: at some time within its silence, by `spread`. Those
    /// that are put off together would else come together again, most of them in vain each time.
    #[must_use]
    pub fn put_off(&self, now: Timestamp, silence: Silence, spread: u8) -> Timestamp {
        if self.to_stop(now).is_some() {
            return self.next_poll(now, silence);
        }
        self.before_deadline(now, silence.launch + silence.event * u32::from(spread) / 256)
    }

    /// When `sweep` processes a run that waits for a slot itself, though its line is looked after.
    #[must_use]
    pub fn waits_until(&self, now: Timestamp) -> Timestamp {
        if self.position.rank == Rank::Queued {
            self.before_deadline(now, LONGEST_WAIT).min(self.launch_before)
        } else {
            now.plus(LONGEST_WAIT)
        }
    }

    /// When to process a run that owes something from `now` on: `silence` later, but not later
    /// than its deadline. An earlier time stays, since to move it costs two writes of the index.
    #[must_use]
    pub fn owes_from(&self, now: Timestamp, silence: Duration) -> Timestamp {
        let next = self.before_deadline(now, silence);
        self.due_at.map_or(next, |due_at| due_at.min(next))
    }

    fn was_updated_lately(&self, now: Timestamp, silence: Silence) -> bool {
        self.updated_at.plus(silence.event) > now
    }

    fn before_deadline(&self, now: Timestamp, pause: Duration) -> Timestamp {
        let next = now.plus(pause);
        match self.deadline {
            Some(deadline) if deadline > now => deadline.min(next),
            _ => next,
        }
    }
}

/// What the rules ask of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeliveryFacts {
    pub is_pending: bool,
    pub attempt_count: u32,
    /// Whether it has a place in a line, and waits for its turn.
    pub stands_in_line: bool,
    pub next_attempt_at: Timestamp,
    pub leased_until: Option<Timestamp>,
}

impl DeliveryFacts {
    /// Whether an attempt may begin. The first need not wait, unless for its turn: the clock that has
    /// owed it may be ahead.
    #[must_use]
    pub fn may_be_leased(&self, now: Timestamp) -> bool {
        self.is_pending
            && (self.attempt_count == 0 && !self.stands_in_line || self.next_attempt_at <= now)
            && self.leased_until.is_none_or(|until| until <= now)
    }
}

/// How long the lease of a delivery is still held: a hint before that would be in vain.
#[must_use]
pub fn held_for(leased_until: Option<Timestamp>, now: Timestamp) -> Duration {
    Duration::from_millis(leased_until.map_or(0, |until| until.millis_since(now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(10_000_000_000);
    const SILENCE: Silence = Silence {
        launch: Duration::from_mins(1),
        event: Duration::from_mins(5),
        longest: Duration::from_hours(1),
    };

    fn ago(minutes: u64) -> Timestamp {
        NOW.minus(Duration::from_mins(minutes))
    }

    fn minutes(minutes: u64) -> Timestamp {
        NOW.plus(Duration::from_mins(minutes))
    }

    fn at(rank: Rank) -> Facts {
        Facts {
            position: Position { redrive_count: 0, rank },
            claimed_at: Some(ago(600)),
            start_at: None,
            launch_before: minutes(60),
            waits: false,
            is_cancelled: false,
            deadline: None,
            sequence: 0,
            started_at: None,
            updated_at: ago(600),
            due_at: None,
            is_redrive_requested: false,
        }
    }

    #[test]
    fn a_run_is_lost_only_when_nobody_may_have_started_it_lately() {
        let queued = |launch_before| Facts { launch_before, ..at(Rank::Queued) };
        assert!(!queued(minutes(60)).is_lost(NOW));
        assert!(!queued(ago(29)).is_lost(NOW));
        assert!(queued(ago(30)).is_lost(NOW));

        // Claimed long ago, and launched late.
        let running = |started_at, updated_at| {
            Facts { started_at, updated_at, ..at(Rank::Running) }.is_lost(NOW)
        };
        assert!(!running(Some(ago(14)), ago(20)));
        assert!(!running(Some(ago(20)), ago(14)));
        assert!(!running(None, ago(14)));
        assert!(running(Some(ago(15)), ago(15)));
        assert!(running(None, ago(15)));
        for rank in [Rank::Presumed, Rank::Ended] {
            assert!(!at(rank).is_lost(NOW));
        }
    }

    #[test]
    fn a_sweep_asks_about_claimed_runs_alone_and_not_about_those_just_updated() {
        let poll = |facts: Facts| facts.poll(NOW, SILENCE);

        assert_eq!(poll(Facts { claimed_at: None, ..at(Rank::Queued) }), Poll::Launch);
        let late = Facts { claimed_at: None, launch_before: ago(600), ..at(Rank::Queued) };
        assert_eq!(poll(late), Poll::Launch, "launch ends it itself");
        let claimed = |launch_before| poll(Facts { launch_before, ..at(Rank::Queued) });
        assert_eq!((claimed(ago(14)), claimed(ago(15))), (Poll::AskOrLaunch, Poll::Ask));
        let updated = |updated_at| Facts { updated_at, ..at(Rank::Running) };
        assert_eq!((poll(updated(ago(4))), poll(updated(ago(5)))), (Poll::Later, Poll::Ask));
        assert_eq!(poll(Facts { is_cancelled: true, ..updated(ago(4)) }), Poll::Ask);
        assert_eq!(poll(Facts { deadline: Some(NOW), ..updated(ago(4)) }), Poll::Ask);
        assert_eq!((poll(at(Rank::Presumed)), poll(at(Rank::Ended))), (Poll::Confirm, Poll::Later));
    }

    #[test]
    fn a_long_run_is_polled_ever_more_seldom_unless_it_is_to_be_stopped() {
        let run = |age| Facts { started_at: Some(ago(age)), ..at(Rank::Running) };
        let again = |facts: Facts| facts.next_poll(NOW, SILENCE);

        assert_eq!([1, 240, 24_000].map(|age| again(run(age))), [5, 30, 60].map(minutes));
        assert_eq!(again(Facts { deadline: Some(minutes(7)), ..run(240) }), minutes(7));
        for stopped in
            [Facts { deadline: Some(NOW), ..run(240) }, Facts { is_cancelled: true, ..run(240) }]
        {
            assert_eq!(again(stopped), minutes(1));
        }
        assert_eq!(again(Facts { updated_at: ago(3), ..run(240) }), minutes(2));
        assert_eq!(again(at(Rank::Queued)), minutes(1));
        assert_eq!(again(Facts { launch_before: ago(60), ..at(Rank::Queued) }), minutes(5));
        assert_eq!(again(at(Rank::Presumed)), minutes(1));
    }

    #[test]
    fn what_is_owed_early_enough_stays() {
        let owes = |due_at, deadline| {
            let run = Facts { deadline, due_at, ..at(Rank::Queued) };
            run.owes_from(NOW, Duration::from_mins(5))
        };

        assert_eq!(owes(None, None), minutes(5));
        assert_eq!(owes(Some(minutes(1)), None), minutes(1));
        assert_eq!(owes(Some(ago(1)), None), ago(1), "whoever processes it moves it");
        assert_eq!(owes(Some(minutes(6)), None), minutes(5));
        assert_eq!(owes(Some(minutes(6)), Some(minutes(2))), minutes(2));
        assert_eq!(owes(None, Some(ago(1))), minutes(5), "a deadline that has passed is no poll");
    }

    #[test]
    fn an_agent_is_believed_or_asked_about_but_never_against_its_row() {
        let run = |redrive_count, rank| Facts {
            position: Position { redrive_count, rank },
            ..at(Rank::Queued)
        };

        for is_question in [false, true] {
            let stands =
                |facts: Facts, says, names_it| facts.relevance(says, names_it, is_question);
            assert_eq!(stands(run(1, Rank::Running), Some(1), false), Relevance::Current);
            assert_eq!(stands(run(1, Rank::Running), None, false), Relevance::Current);
            assert_eq!(stands(run(1, Rank::Running), Some(0), true), Relevance::Superseded);
            assert_eq!(stands(run(1, Rank::Running), Some(2), true), Relevance::RowBehind);
            assert_eq!(stands(run(0, Rank::Queued), Some(0), true), Relevance::Starting);
            assert_eq!(stands(run(0, Rank::Queued), None, true), Relevance::Starting);
            assert_eq!(stands(run(0, Rank::Queued), None, false), Relevance::RowBehind);
            assert_eq!(stands(run(0, Rank::Queued), Some(1), true), Relevance::RowBehind);
            let unclaimed = Facts { claimed_at: None, ..run(0, Rank::Queued) };
            assert_eq!(stands(unclaimed, Some(0), true), Relevance::RowBehind);
            for end in [Rank::Presumed, Rank::Ended] {
                assert_eq!(stands(run(0, end), Some(0), true), Relevance::Superseded);
                assert_eq!(stands(run(0, end), Some(1), true), Relevance::RowBehind);
                let unsaid = if is_question { Relevance::Unclear } else { Relevance::Superseded };
                assert_eq!(stands(run(0, end), None, true), unsaid);
            }
        }
    }
}
