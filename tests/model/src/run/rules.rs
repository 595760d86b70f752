//! The rules of `relay`, and what a flaw makes of one of them.

use relay::domain::{
    protocol::{CLAIM_GRACE, Facts, Grounds},
    status::{Position, Rank, StopReason},
    time::Timestamp,
};

use crate::flaw::Flaw;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Rules(pub(super) Option<Flaw>);

impl Rules {
    pub(super) fn has(self, flaw: Flaw) -> bool {
        self.0 == Some(flaw)
    }

    pub(super) fn may_be_claimed(self, facts: &Facts, now: Timestamp) -> bool {
        let is_queued = facts.position.rank == Rank::Queued;
        facts.may_be_claimed(now)
            || (self.has(Flaw::ClaimForEver) && is_queued && facts.claimed_at.is_some())
            || (self.has(Flaw::ClaimOfCancelled)
                && Facts { is_cancelled: false, ..*facts }.may_be_claimed(now))
    }

    pub(super) fn may_follow(self, to: Position, current: Position) -> bool {
        if self.has(Flaw::AnyMoveFollows) {
            return to != current;
        }
        let is_corrected =
            current.rank == Rank::Presumed && to.redrive_count == current.redrive_count;
        to.may_follow(current) && !(self.has(Flaw::PresumedIsFinal) && is_corrected)
    }

    pub(super) fn may_move(self, facts: &Facts, to: Position, seen: u32, grounds: Grounds) -> bool {
        let grounds = match grounds {
            Grounds::Unclaimed if self.has(Flaw::UnclaimedEndOfClaimed) => Grounds::Presumed,
            grounds => grounds,
        };
        if self.has(Flaw::AnyMoveFollows) {
            return self.may_follow(to, facts.position);
        }
        let seen = if self.has(Flaw::EndIgnoresSequence) { facts.sequence } else { seen };
        facts.may_move(to, seen, grounds) && self.may_follow(to, facts.position)
    }

    pub(super) fn may_be_stopped(self, facts: &Facts, redrive_count: u32) -> bool {
        facts.may_be_stopped(redrive_count)
            || (self.has(Flaw::StopOfAnyRedrive) && facts.may_be_cancelled())
    }

    pub(super) fn to_stop(self, facts: &Facts, now: Timestamp) -> Option<StopReason> {
        let is_known =
            |reason: &StopReason| *reason == StopReason::Cancel || !self.has(Flaw::NoDeadline);
        facts.to_stop(now).filter(is_known)
    }

    pub(super) fn is_lost(self, facts: &Facts, now: Timestamp) -> bool {
        if self.has(Flaw::LostSinceClaim) {
            return facts.claimed_at.is_some_and(|at| at.plus(CLAIM_GRACE) <= now);
        }
        facts.is_lost(now)
    }
}
