//! A delivery: the debt of one event to one target, and the schedule of its attempts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{
    attempt::{Attempt, Earlier, MAX_ATTEMPTS},
    batch::BatchSummary,
    caller::Actor,
    debt::Debt,
    event_type::EventType,
    id::{AgentName, ExecutionId, SubscriptionId, UserId},
    loops::Hops,
    outcome::Outcome,
    protocol::DeliveryFacts,
    question::Question,
    rights::About,
    status::Rank,
    subscription::Disabled,
    time::Timestamp,
};

/// How the sort key of each delivery starts.
pub const PART_PREFIX: &str = "delivery#";

/// Whether a delivery may have this part: DynamoDB's sort keys have 1,024 bytes at most.
#[must_use]
pub fn may_be_part(text: &str) -> bool {
    text.starts_with(PART_PREFIX) && text.len() <= 1024
}

/// The target of the callback that came with the start.
pub const CALLBACK_TARGET: &str = "callback";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    Pending,
    Delivered,
    /// No more attempts: the schedule is exhausted, or the receiver no longer wants events.
    Undelivered,
}

impl DeliveryState {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
        }
    }
}

/// A line in which deliveries wait for their turn: that of a user's, and after it that to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    User,
    Host,
}

impl Line {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Host => "host",
        }
    }
}

/// The `delivery#…` part of an execution. It carries what was true when the event occurred, so
/// that a later redrive does not change it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delivery {
    pub execution_id: ExecutionId,
    pub part: String,
    pub user_id: UserId,
    pub agent_name: AgentName,
    #[serde(rename = "news")]
    pub event: EventType,
    pub redrive_count: u32,
    /// At which [`Rank`] the run stood: a presumed end is not told any more once the true one is.
    pub rank: u8,
    pub occurred_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// What the agent has reported, where that is the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What the agent asks, where that is the event; without its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    /// Which subscription was disabled, where that is the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disabled>,
    /// Which batch is complete, where that is the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchSummary>,
    /// The same for all attempts, so that the receiver can tell a repetition.
    pub webhook_id: String,
    pub state: DeliveryState,
    /// The last of them; see [`Delivery::with`].
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// What is known of those before `attempts`, which are no longer kept.
    #[serde(default)]
    pub earlier: Earlier,
    /// Counts the leases; an attempt that died unrecorded is in here, and not in `attempts`.
    pub attempt_count: u32,
    /// No attempt before this.
    pub next_attempt_at: Timestamp,
    /// Who holds or last held the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leased_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debt: Option<Debt>,
    /// When it was given up: only then is it in the indexes of trouble.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub troubled_at: Option<Timestamp>,
    /// Who has last had it made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redelivered_by: Option<Actor>,
    /// How often there was no room for an attempt that was due.
    #[serde(default)]
    pub put_off: u32,
    /// In which line its next attempt has had its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stood: Option<Line>,
    /// The stacks whose callbacks have led to this.
    #[serde(default, skip_serializing_if = "Hops::is_empty")]
    pub hops: Hops,
    /// In seconds.
    pub ttl: i64,
}

impl Delivery {
    /// What the rules of [`crate::domain::protocol`] ask of it.
    #[must_use]
    pub fn facts(&self) -> DeliveryFacts {
        DeliveryFacts {
            is_pending: self.state == DeliveryState::Pending,
            attempt_count: self.attempt_count,
            stands_in_line: self.stood.is_some(),
            next_attempt_at: self.next_attempt_at,
            leased_until: self.leased_until,
        }
    }

    /// Its attempts after this one, and what there was before them. However often it is attempted, they
    /// have a bound in number and bytes, and so does the item.
    #[must_use]
    pub fn with(&self, attempt: Attempt) -> (Vec<Attempt>, Earlier) {
        let mut earlier = self.earlier;
        if self.attempt_count <= 1 {
            earlier.not_yet = 0;
        }
        let mut attempts = self.attempts.clone();
        attempts.push(attempt.bounded());
        // The lease has counted this attempt.
        let since_owed = usize::try_from(self.attempt_count).unwrap_or(usize::MAX);
        let owed_at = attempts.len().saturating_sub(since_owed);
        let dropped = attempts.len().saturating_sub(MAX_ATTEMPTS);
        for (at, attempt) in attempts.drain(..dropped).enumerate() {
            earlier.count = earlier.count.saturating_add(1);
            earlier.not_yet += u32::from(at >= owed_at && attempt.is_not_yet());
            earlier.may_have_arrived |= attempt.may_have_arrived;
        }
        (attempts, earlier)
    }

    /// Whether this attempt belongs to a start, which counts in the limit of its key: the first to call
    /// a run back at its end.
    #[must_use]
    pub fn is_counted_with_its_start(&self) -> bool {
        self.target() == CALLBACK_TARGET
            && (EventType::ENDS.contains(&self.event) || self.event == EventType::BatchCompleted)
            && self.redrive_count == 0
            && self.attempt_count == 1
            && self.redelivered_by.is_none()
    }

    /// Whether it tells a question that can be answered by a link.
    #[must_use]
    pub fn has_answer_link(&self) -> bool {
        self.question.as_ref().is_some_and(|question| question.has_link)
    }

    /// Whether it tells a presumed end that was not the end: `outcome` is the true one's.
    #[must_use]
    pub fn is_refuted_by(&self, outcome: &Outcome) -> bool {
        self.rank == Rank::Presumed as u8
            && outcome.redrive_count == self.redrive_count
            && outcome.rank > self.rank
    }

    /// How many attempts there were, with those that are no longer kept.
    #[must_use]
    pub fn recorded(&self) -> u32 {
        let kept = u32::try_from(self.attempts.len()).unwrap_or(u32::MAX);
        self.earlier.count.saturating_add(kept)
    }

    /// Whether the receiver may have taken it already. An attempt that died unrecorded may have
    /// arrived, too.
    #[must_use]
    pub fn may_have_arrived(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.may_have_arrived)
            || self.earlier.may_have_arrived
            || self.attempt_count.saturating_sub(1) > self.recorded()
    }

    /// How many leases since it was last owed count as failures: all but those whose receiver has
    /// said "not yet". The one that it is leased by counts.
    #[must_use]
    pub fn failures(&self) -> u32 {
        // Those before it was owed again do not count.
        let before = usize::try_from(self.attempt_count.saturating_sub(1)).unwrap_or(usize::MAX);
        let kept = self.attempts.iter().rev().take(before).filter(|it| it.is_not_yet()).count();
        let dropped = if before > self.attempts.len() { self.earlier.not_yet } else { 0 };
        let not_yet = u32::try_from(kept).unwrap_or(u32::MAX).saturating_add(dropped);
        self.attempt_count.saturating_sub(not_yet)
    }

    /// To whom it is owed: the last piece of its key.
    #[must_use]
    pub fn target(&self) -> &str {
        self.part.rsplit('#').next().unwrap_or_default()
    }

    /// The subscription that it is owed to, if it is not to a run's callback.
    #[must_use]
    pub fn subscription(&self) -> Option<SubscriptionId> {
        self.target().parse().ok()
    }

    /// What it tells of, which says who may have it.
    #[must_use]
    pub const fn about(&self) -> About<'_> {
        match (self.event, &self.disabled, &self.batch) {
            (EventType::Test, ..) => About::Itself,
            (_, Some(disabled), _) => About::Subscription(&disabled.lineage),
            (_, None, Some(batch)) => About::Agents(&batch.agents),
            (_, None, None) => About::Agent(&self.agent_name),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::{execution::Execution, schedule::Schedule};

    #[test]
    fn the_last_attempts_are_kept_within_bounds_and_the_others_counted() {
        let mut delivery = delivery();
        for detail in
            ["\u{1f600}".repeat(1_000), "a".to_owned(), "é".repeat(100_000), String::new()]
        {
            let mut attempt = Attempt {
                at: Timestamp::now(),
                duration_ms: 0,
                status: Some(200),
                may_have_arrived: true,
                detail,
            };
            for number in 0..500 {
                attempt.duration_ms = number;
                let before = delivery.recorded();
                let (attempts, earlier) = delivery.with(attempt.clone());
                delivery.attempts = attempts;
                delivery.earlier = earlier;
                delivery.attempt_count += 1;
                assert_eq!(delivery.recorded(), before + 1);
                assert_eq!(delivery.attempts.last().unwrap().duration_ms, number);
                // DynamoDB takes 400 KB.
                assert!(serde_json::to_vec(&delivery).unwrap().len() < 25_000);
            }
        }
        assert_eq!((delivery.attempts.len(), delivery.earlier.count), (MAX_ATTEMPTS, 1_980));
        // One that was stored before there was a bound.
        delivery.attempts = vec![delivery.attempts[0].clone(); 470];
        delivery.earlier = Earlier::default();
        let (attempts, earlier) = delivery.with(delivery.attempts[0].clone());
        assert_eq!((attempts.len(), earlier.count), (MAX_ATTEMPTS, 451));
        assert!(earlier.may_have_arrived);
    }

    #[test]
    fn what_is_dropped_is_still_known_of_until_it_is_owed_again() {
        let schedule: Schedule = "1,2,4,8".parse().unwrap();
        let attempt = |status| Attempt {
            at: Timestamp::now(),
            duration_ms: 0,
            status,
            may_have_arrived: false,
            detail: String::new(),
        };
        let try_it = |delivery: &mut Delivery, status, times| {
            for _ in 0..times {
                delivery.attempt_count += 1;
                let (attempts, earlier) = delivery.with(attempt(Some(status)));
                delivery.attempts = attempts;
                delivery.earlier = earlier;
            }
        };
        let mut delivery = delivery();
        // "Not yet" is no failure, however long ago it was.
        try_it(&mut delivery, 409, 30);
        try_it(&mut delivery, 500, 15);
        delivery.attempt_count += 1;
        assert_eq!((delivery.failures(), delivery.earlier.not_yet), (16, 25));
        assert!(!delivery.may_have_arrived() && schedule.is_exhausted(&delivery));
        delivery.attempt_count -= 1;
        assert!(!schedule.is_exhausted(&delivery));
        // Owed again.
        delivery.attempt_count = 1;
        assert_eq!(delivery.failures(), 1);
        delivery.attempt_count = 0;
        try_it(&mut delivery, 500, 25);
        delivery.attempt_count += 1;
        assert_eq!((delivery.failures(), delivery.recorded()), (26, 70));
        // Leases that came to nothing at all.
        assert!(!delivery.may_have_arrived());
        delivery.attempt_count = 72;
        assert!(delivery.may_have_arrived());
    }

    fn delivery() -> Delivery {
        let run: Execution = serde_json::from_value(serde_json::json!({
            "execution_id": "mcp-echo-1", "user_id": "someone", "agent_name": "echo",
            "state_machine_arn": "arn:aws:states:eu-west-1:111122223333:stateMachine:echo",
            "status": "completed", "redrive_count": 0, "rank": 30, "launch_before": 9_000,
            "created_at": 1_000, "updated_at": 2_000,
        }))
        .unwrap();
        let hour = Duration::from_hours(1);
        Delivery::owed(&run, EventType::Completed, CALLBACK_TARGET, hour, hour)
    }
}
