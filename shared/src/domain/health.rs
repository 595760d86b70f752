//! How a subscription's receiver fares, and when nothing is sent to it any more. A run's callback has no
//! such state: it is never disabled.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// After so long without a success, the next delivery that is given up is the last.
pub const PATIENCE: Duration = Duration::from_hours(5 * 24);

/// How often a success is written down of a receiver that is well.
const WELL_NOTED: Duration = Duration::from_hours(1);

/// Who has enabled a subscription within this time is at it, and is not told by others that it was
/// disabled again. So what enables them by itself, when it is told, goes round once in this time.
const JUST_ENABLED: Duration = Duration::from_hours(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// No delivery succeeded for five days.
    Failing,
    /// The receiver answered 410: it no longer wants events.
    Gone,
}

impl DisabledReason {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Gone => "gone",
        }
    }
}

/// As it is stored, with the subscription.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<Timestamp>,
    /// When the first attempt failed after the last success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// How many attempts have failed since.
    #[serde(default)]
    pub failures: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_reason: Option<DisabledReason>,
    /// When it was last enabled again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled_at: Option<Timestamp>,
}

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempted {
    Delivered,
    /// There is another attempt to come.
    Failed,
    /// It was the last of its delivery.
    GivenUp,
    /// The receiver has answered 410.
    Gone,
}

/// The rules. What is written, the store writes by expressions, so that attempts that end at once lose
/// nothing; a test proves that both agree.
impl Health {
    #[must_use]
    pub const fn is_disabled(&self) -> bool {
        self.disabled_at.is_some()
    }

    /// Whether it can be trusted with events: it is not disabled, and its last attempt has not failed.
    #[must_use]
    pub const fn is_well(&self) -> bool {
        self.disabled_at.is_none() && self.failing_since.is_none()
    }

    /// Whether a success now is to be written down.
    #[must_use]
    pub fn is_noteworthy(&self, now: Timestamp) -> bool {
        self.failing_since.is_some()
            || self.failures > 0
            || self.last_success_at.is_none_or(|at| at.plus(WELL_NOTED) <= now)
    }

    #[must_use]
    pub const fn succeeded(self, now: Timestamp) -> Self {
        Self { last_success_at: Some(now), failing_since: None, failures: 0, ..self }
    }

    #[must_use]
    pub fn failed(self, now: Timestamp) -> Self {
        Self {
            failing_since: self.failing_since.or(Some(now)),
            failures: self.failures.saturating_add(1),
            ..self
        }
    }

    /// Why it is to be disabled now, after the failure that is counted already. That one attempt fails
    /// says little after days without events: a delivery must have been given up, for which all of its
    /// attempts have failed.
    #[must_use]
    pub fn verdict(&self, attempted: Attempted, now: Timestamp) -> Option<DisabledReason> {
        let has_failed_long = self.failing_since.is_some_and(|since| since.plus(PATIENCE) <= now);
        match attempted {
            _ if self.is_disabled() => None,
            Attempted::Gone => Some(DisabledReason::Gone),
            Attempted::GivenUp if has_failed_long => Some(DisabledReason::Failing),
            Attempted::GivenUp | Attempted::Failed | Attempted::Delivered => None,
        }
    }

    #[must_use]
    pub const fn disabled(self, reason: DisabledReason, now: Timestamp) -> Self {
        Self { disabled_at: Some(now), disabled_reason: Some(reason), ..self }
    }

    /// It begins anew; what was last delivered stays known.
    #[must_use]
    pub fn enabled(self, now: Timestamp) -> Self {
        Self { last_success_at: self.last_success_at, enabled_at: Some(now), ..Self::default() }
    }

    /// Whether somebody has enabled it a moment ago.
    #[must_use]
    pub fn is_just_enabled(&self, now: Timestamp) -> bool {
        self.enabled_at.is_some_and(|at| now < at.plus(JUST_ENABLED))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Attempt(Attempted),
        Enabled,
    }

    /// Attempts and enablings, each so many minutes after the one before.
    fn histories() -> impl Strategy<Value = Vec<(u64, Event)>> {
        let attempts =
            [Attempted::Delivered, Attempted::Failed, Attempted::GivenUp, Attempted::Gone];
        let event = prop_oneof![
            // Most fail, or hardly any history would come to its end.
            8 => Just(Event::Attempt(Attempted::Failed)),
            6 => Just(Event::Attempt(Attempted::GivenUp)),
            2 => select(attempts.to_vec()).prop_map(Event::Attempt),
            1 => Just(Event::Enabled),
        ];
        prop::collection::vec((0_u64..3_000, event), 0..60)
    }

    /// What `service::health` does with it.
    fn after(health: Health, event: Event, now: Timestamp) -> Health {
        match event {
            // Nothing is sent to what is disabled.
            Event::Attempt(_) if health.is_disabled() => health,
            Event::Attempt(Attempted::Delivered) if health.is_noteworthy(now) => {
                health.succeeded(now)
            }
            Event::Attempt(Attempted::Delivered) => health,
            Event::Attempt(attempted) => {
                let health = health.failed(now);
                match health.verdict(attempted, now) {
                    Some(reason) => health.disabled(reason, now),
                    None => health,
                }
            }
            Event::Enabled if health.is_disabled() => health.enabled(now),
            Event::Enabled => health,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn it_is_disabled_by_410_or_when_one_is_given_up_after_five_days_without_success(
            history in histories()
        ) {
            let (mut health, mut now) = (Health::default(), START);
            // The same told by the history alone: all attempts since the last success or enabling.
            let (mut failed, mut succeeded): (Vec<Timestamp>, Option<Timestamp>) = (Vec::new(), None);
            for (minutes, event) in history {
                now = now.plus(Duration::from_mins(minutes));
                let before = health;
                health = after(health, event, now);
                match event {
                    Event::Attempt(_) if before.is_disabled() => {}
                    Event::Attempt(Attempted::Delivered) => {
                        failed.clear();
                        succeeded = Some(now);
                    }
                    Event::Attempt(_) => failed.push(now),
                    Event::Enabled if before.is_disabled() => failed.clear(),
                    Event::Enabled => {}
                }

                prop_assert_eq!(health.failing_since, failed.first().copied());
                prop_assert_eq!(u64::from(health.failures), failed.len() as u64);
                let lasted = failed.first().map_or(0, |first| now.millis_since(*first));
                let is_long = lasted >= 5 * 24 * 3_600_000;
                let ends = match event {
                    Event::Attempt(Attempted::Gone) => Some(DisabledReason::Gone),
                    Event::Attempt(Attempted::GivenUp) if is_long => Some(DisabledReason::Failing),
                    Event::Attempt(_) => None,
                    // It is enabled, whatever it was.
                    Event::Enabled => {
                        prop_assert!(!health.is_disabled());
                        continue;
                    }
                };
                if before.is_disabled() {
                    // Until it is enabled nothing changes it.
                    prop_assert_eq!(health, before);
                } else {
                    prop_assert_eq!(health.disabled_reason, ends);
                    prop_assert_eq!(health.disabled_at, ends.map(|_| now));
                }
                // What is written of successes is at most an hour old, and exact after a failure.
                let unwritten = succeeded.map(|at| at.millis_since(health.last_success_at.unwrap()));
                prop_assert!(unwritten.is_none_or(|millis| millis < 3_600_000));
                prop_assert_eq!(health.last_success_at.is_some(), succeeded.is_some());
            }
        }
    }

    #[test]
    fn successes_of_one_hour_are_one_write() {
        let mut health = Health::default();
        let mut writes = 0;
        for minute in 0..600 {
            let now = START.plus(Duration::from_mins(minute));
            if health.is_noteworthy(now) {
                health = health.succeeded(now);
                writes += 1;
            }
        }
        assert_eq!(writes, 10);
        let now = START.plus(Duration::from_hours(10));
        assert!(health.failed(now).is_noteworthy(now) && !health.failed(now).is_well());
    }

    #[test]
    fn who_has_just_enabled_it_is_at_it() {
        let enabled = Health::default().enabled(START);
        assert!(enabled.is_just_enabled(START.plus(Duration::from_mins(59))));
        assert!(!enabled.is_just_enabled(START.plus(Duration::from_hours(1))));
        assert!(!Health::default().is_just_enabled(START));
    }
}
