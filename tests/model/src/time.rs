//! The models' time: ticks, few enough to explore, and the real times that they stand for.

use std::time::Duration;

use relay::domain::{protocol::CLAIM_GRACE, time::Timestamp};

/// How many ticks have passed since the run was accepted.
pub type Tick = u8;

/// A third of the grace. A function crosses one border of ticks at most, so it lives for minutes, which is
/// longer than any does; and what one has decided and another begun meanwhile is over within the grace, as
/// the rules take for granted.
pub const TICK: Duration = Duration::from_secs(CLAIM_GRACE.as_secs() / 3);

const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// The time at which a tick begins.
#[must_use]
pub fn at(tick: Tick) -> Timestamp {
    START.plus(TICK * u32::from(tick))
}

/// The tick by which a time has come.
#[must_use]
pub fn tick(at: Timestamp) -> Tick {
    let millis = u128::from(at.millis_since(START));
    Tick::try_from(millis.div_ceil(TICK.as_millis())).unwrap_or(Tick::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_before_its_tick() {
        assert_eq!([0, 1, 7].map(|it| tick(at(it))), [0, 1, 7]);
        assert_eq!(tick(at(3).plus(Duration::from_secs(1))), 4);
        assert_eq!(at(3), at(0).plus(CLAIM_GRACE));
    }
}
