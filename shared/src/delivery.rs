//! A delivery: the debt of one piece of news to one target, and the schedule of its attempts.

use std::{str::FromStr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    agent::AgentName,
    api_key::hex,
    callback::NewsType,
    caller::{Actor, UserId},
    debt::{Debt, DebtKind},
    execution::{Execution, ExecutionId, Rank},
    loops::Hops,
    outcome::Outcome,
    protocol::DeliveryFacts,
    question::Question,
    rights::About,
    subscription::{Disabled, SubscriptionId},
    time::Timestamp,
};

/// How the sort key of each delivery starts.
pub const PART_PREFIX: &str = "delivery#";

/// How many attempts are kept: the last ones. A schedule without "not yet" has no more.
pub const MAX_ATTEMPTS: usize = 20;

/// What is kept of an answer with the attempt, in bytes.
const MAX_DETAIL: usize = 800;

/// How many leases a delivery may have for each attempt of its schedule, for whatever reason they
/// come to nothing: beyond them it is given up.
const LEASES_PER_ATTEMPT: u32 = 3;

/// The target of the callback that came with the start.
pub const CALLBACK_TARGET: &str = "callback";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    Pending,
    Delivered,
    /// The schedule is exhausted, or the receiver wants no more.
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

/// One POST and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub at: Timestamp,
    pub duration_ms: u64,
    /// The HTTP status; missing when no answer came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Whether the receiver may have taken it, whatever the answer says, or although none came.
    #[serde(default)]
    pub may_have_arrived: bool,
    /// The start of the answer, or why there was none.
    pub detail: String,
}

impl Attempt {
    /// Whether the receiver is there, and was not ready for it.
    #[must_use]
    pub fn is_not_yet(&self) -> bool {
        self.status == Some(409)
    }

    /// With no more of the answer than is kept.
    fn bounded(mut self) -> Self {
        self.detail.truncate(self.detail.floor_char_boundary(MAX_DETAIL));
        self
    }
}

/// The attempts that are no longer kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    pub count: u32,
    /// How many of those since it was last owed were answered by "not yet".
    pub not_yet: u32,
    /// Whether the receiver may have taken one of them.
    pub may_have_arrived: bool,
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

/// The `delivery#…` part of an execution. It carries what was true when the news came about, so
/// that a later redrive does not change it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delivery {
    pub execution_id: ExecutionId,
    pub part: String,
    pub user_id: UserId,
    pub agent_name: AgentName,
    pub news: NewsType,
    pub redrive_count: u32,
    /// At which [`Rank`] the run stood: a presumed end is not told any more once the true one is.
    pub rank: u8,
    pub occurred_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// What the agent has reported, where that is the news.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What the agent asks, where that is the news; without its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    /// Which subscription was disabled, where that is the news.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disabled>,
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
    /// What the rules of [`crate::protocol`] ask of it.
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

    /// Its attempts after this one, and what there was before them. However often it is tried, they
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
            && NewsType::ENDS.contains(&self.news)
            && self.redrive_count == 0
            && self.attempt_count == 1
            && self.redelivered_by.is_none()
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
        match (self.news, &self.disabled) {
            (NewsType::Test, _) => About::Itself,
            (_, Some(disabled)) => About::Subscription(&disabled.lineage),
            (_, None) => About::Agent(&self.agent_name),
        }
    }

    /// The debt to tell `target` that `execution` has moved to its status. `overdue` is the time
    /// after which `sweep` hurries it again.
    #[must_use]
    pub fn owed(
        execution: &Execution,
        news: NewsType,
        target: &str,
        overdue: Duration,
        retention: Duration,
    ) -> Self {
        let step = execution.status.as_str();
        Self::of_move(execution, step, news, target, overdue, retention)
    }

    /// The same where an end was presumed, and perhaps told by the same word, which was not so.
    #[must_use]
    pub fn correcting(
        execution: &Execution,
        news: NewsType,
        target: &str,
        overdue: Duration,
        retention: Duration,
    ) -> Self {
        let step = format!("{}:corrected", execution.status);
        Self::of_move(execution, &step, news, target, overdue, retention)
    }

    fn of_move(
        execution: &Execution,
        step: &str,
        news: NewsType,
        target: &str,
        overdue: Duration,
        retention: Duration,
    ) -> Self {
        let occurred_at = execution.completed_at.or(execution.started_at);
        Self {
            occurred_at: occurred_at.unwrap_or(execution.updated_at),
            ..Self::of_step(execution, step, news, target, overdue, retention)
        }
    }

    /// The debt to tell `target` how far the agent says it is: one for each percentage, so that
    /// a repeated report owes nothing new.
    #[must_use]
    pub fn of_progress(
        execution: &Execution,
        target: &str,
        overdue: Duration,
        retention: Duration,
    ) -> Self {
        let step = format!("progress:{}", execution.progress.unwrap_or_default());
        Self {
            progress: execution.progress,
            message: execution.message.clone(),
            ..Self::of_step(execution, &step, NewsType::Progress, target, overdue, retention)
        }
    }

    /// The debt to tell `target` what the agent asks.
    #[must_use]
    pub fn of_question(
        execution: &Execution,
        question: &Question,
        target: &str,
        overdue: Duration,
        retention: Duration,
    ) -> Self {
        let step = format!("input_required:{}", question.question_id);
        Self {
            question: Some(question.told()),
            ..Self::of_step(execution, &step, NewsType::InputRequired, target, overdue, retention)
        }
    }

    fn of_step(
        execution: &Execution,
        step: &str,
        news: NewsType,
        target: &str,
        overdue: Duration,
        retention: Duration,
    ) -> Self {
        let redrive_count = execution.redrive_count;
        let part = format!("{PART_PREFIX}{step}#{redrive_count}#{target}");
        let now = execution.updated_at;
        Self {
            webhook_id: webhook_id(&execution.execution_id, &part),
            execution_id: execution.execution_id.clone(),
            part,
            user_id: execution.user_id.clone(),
            agent_name: execution.agent_name.clone(),
            news,
            redrive_count,
            rank: execution.rank,
            occurred_at: now,
            started_at: execution.started_at,
            completed_at: execution.completed_at,
            progress: None,
            message: None,
            question: None,
            disabled: None,
            state: DeliveryState::Pending,
            attempts: Vec::new(),
            earlier: Earlier::default(),
            attempt_count: 0,
            next_attempt_at: now,
            lease: None,
            leased_until: None,
            due_at: Some(now.plus(overdue)),
            debt: Some(Debt::of(DebtKind::Delivery, &execution.execution_id)),
            troubled_at: None,
            redelivered_by: None,
            put_off: 0,
            stood: None,
            hops: execution.hops.clone(),
            ttl: now.plus(retention).seconds(),
        }
    }
}

/// How long a delivery is kept at least, and what it tells: longer than its attempts may take by
/// the default schedule, which is 70 h and a tenth.
pub const MIN_RETENTION: Duration = Duration::from_hours(4 * 24);

impl Delivery {
    /// The debt to try a subscription.
    #[must_use]
    pub fn test(user_id: &UserId, target: &str, hops: Hops, overdue: Duration) -> Self {
        Self { hops, ..Self::of_no_run(user_id, "test", NewsType::Test, target, overdue) }
    }

    /// The debt to tell `target` that another subscription of its owner's was disabled.
    #[must_use]
    pub fn of_disabled(
        user_id: &UserId,
        disabled: &Disabled,
        target: &str,
        overdue: Duration,
    ) -> Self {
        Self {
            disabled: Some(disabled.clone()),
            ..Self::of_no_run(user_id, "disabled", NewsType::Disabled, target, overdue)
        }
    }

    /// It stands under an id of its own, as if of a run.
    fn of_no_run(
        user_id: &UserId,
        step: &str,
        news: NewsType,
        target: &str,
        overdue: Duration,
    ) -> Self {
        let agent_name = AgentName::default();
        let execution_id = ExecutionId::generate(&agent_name);
        let part = format!("{PART_PREFIX}{step}#0#{target}");
        let now = Timestamp::now();
        Self {
            webhook_id: webhook_id(&execution_id, &part),
            debt: Some(Debt::of(DebtKind::Delivery, &execution_id)),
            troubled_at: None,
            execution_id,
            part,
            user_id: user_id.clone(),
            agent_name,
            news,
            redrive_count: 0,
            rank: Rank::Queued as u8,
            occurred_at: now,
            started_at: None,
            completed_at: None,
            progress: None,
            message: None,
            question: None,
            disabled: None,
            state: DeliveryState::Pending,
            attempts: Vec::new(),
            earlier: Earlier::default(),
            attempt_count: 0,
            next_attempt_at: now,
            lease: None,
            leased_until: None,
            due_at: Some(now.plus(overdue)),
            redelivered_by: None,
            put_off: 0,
            stood: None,
            hops: Hops::default(),
            ttl: now.plus(MIN_RETENTION).seconds(),
        }
    }
}

/// Follows from the delivery's key, so that it is the same whoever writes it, and no secret.
fn webhook_id(id: &ExecutionId, part: &str) -> String {
    let hash = Sha256::digest(format!("{id}/{part}"));
    format!("msg_{}", hex(hash.get(..16).unwrap_or_default()))
}

/// After which pauses a failed delivery is tried again.
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
    pub fn is_worn_out(&self, delivery: &Delivery) -> bool {
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
        assert!(!delivery.may_have_arrived() && schedule.is_worn_out(&delivery));
        delivery.attempt_count -= 1;
        assert!(!schedule.is_worn_out(&delivery));
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
        Delivery::owed(&run, NewsType::Completed, CALLBACK_TARGET, hour, hour)
    }

    #[test]
    fn a_webhook_id_follows_from_the_key_alone() {
        let id: ExecutionId = "mcp-echo-1".parse().unwrap();

        assert_eq!(
            webhook_id(&id, "delivery#completed#0#callback"),
            webhook_id(&id, "delivery#completed#0#callback")
        );
        assert_ne!(
            webhook_id(&id, "delivery#completed#0#callback"),
            webhook_id(&id, "delivery#completed#1#callback")
        );
        assert_eq!(webhook_id(&id, "x").len(), 36);
    }
}
