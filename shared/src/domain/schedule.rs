//! When a delivery is attempted again.

use std::{str::FromStr, time::Duration};

use sha2::{Digest, Sha256};

use crate::domain::delivery::Delivery;

/// After which pauses a failed delivery is attempted again.
#[derive(Debug, Clone)]
pub struct Schedule(Vec<Duration>);

/// The text is not a schedule.
#[derive(Debug, thiserror::Error)]
#[error("must be whole seconds, separated by commas")]
pub struct InvalidSchedule;

impl FromStr for Schedule {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let steps: Result<Vec<_>, _> =
            text.split(',').map(|step| step.trim().parse().map(Duration::from_secs)).collect();
        Ok(Self(steps.map_err(|_| InvalidSchedule)?))
    }
}

impl Schedule {
    /// Whether it was leased so often that it can no more be a matter of its receiver: attempts
    /// die, or cannot be recorded, or what is to be delivered cannot be read.
    #[must_use]
    pub fn is_exhausted(&self, delivery: &Delivery) -> bool {
        let attempts = u32::try_from(self.0.len()).unwrap_or(u32::MAX).saturating_add(1);
        delivery.failures() > attempts.saturating_mul(LEASES_PER_ATTEMPT)
    }

    /// The pause after the failed attempt number `attempt` (from 1), or `None` when that was the
    /// last. It is spread by ± 10 %, so that the deliveries of one outage do not return at once.
    #[must_use]
    pub fn pause_after(&self, attempt: u32, webhook_id: &str) -> Option<Duration> {
        let step = *self.0.get(usize::try_from(attempt.checked_sub(1)?).ok()?)?;
        let hash = Sha256::digest(format!("{webhook_id}/{attempt}"));
        let spread = f64::from(hash.first().copied().unwrap_or_default()) / 255.0;
        Some(step.mul_f64(0.9 + 0.2 * spread))
    }
}

/// How many leases a delivery may have for each attempt of its schedule, for whatever reason they
/// come to nothing: beyond them it is given up.
const LEASES_PER_ATTEMPT: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_ends_after_its_last_step_and_is_spread_by_a_tenth() {
        let schedule: Schedule = "10, 100".parse().unwrap();

        for id in 0..100 {
            let id = format!("msg_{id}");
            let first = schedule.pause_after(1, &id).unwrap().as_secs_f64();
            assert!((9.0..=11.0).contains(&first), "{first}");
            let second = schedule.pause_after(2, &id).unwrap().as_secs_f64();
            assert!((90.0..=110.0).contains(&second), "{second}");
            assert_eq!(schedule.pause_after(3, &id), None);
            assert_eq!(schedule.pause_after(0, &id), None);
        }
        assert!("1,x".parse::<Schedule>().is_err());
        assert!("".parse::<Schedule>().is_err());
    }
}
