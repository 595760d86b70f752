//! New deliveries: what an event makes pending for each of its targets.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::domain::{
    attempt::Earlier,
    batch::{Batch, BatchSummary},
    debt::{Debt, DebtKind},
    delivery::{Delivery, DeliveryState, PART_PREFIX},
    digest::hex,
    event_type::EventType,
    execution::Execution,
    id::{AgentName, ExecutionId, UserId},
    loops::Hops,
    question::Question,
    status::Rank,
    subscription::Disabled,
    time::Timestamp,
};

/// How long a delivery is kept at least, and what it tells: longer than its attempts may take by
/// the default schedule, which is 70 h and a tenth.
pub const MIN_RETENTION: Duration = Duration::from_hours(4 * 24);

impl Delivery {
    /// The debt to tell `target` that `execution` has moved to its status. `overdue` is the time
    /// after which `sweep` sends its hint again.
    #[must_use]
    pub fn owed(
        execution: &Execution,
        event: EventType,
        target: &str,
        overdue: Duration,
        retention: Duration,
    ) -> Self {
        let step = execution.status.as_str();
        Self::of_move(execution, step, event, target, overdue, retention)
    }

    /// The same where an end was presumed, and perhaps told by the same word, which was not so.
    #[must_use]
    pub fn correcting(
        execution: &Execution,
        event: EventType,
        target: &str,
        overdue: Duration,
        retention: Duration,
    ) -> Self {
        let step = format!("{}:corrected", execution.status);
        Self::of_move(execution, &step, event, target, overdue, retention)
    }

    fn of_move(
        execution: &Execution,
        step: &str,
        event: EventType,
        target: &str,
        overdue: Duration,
        retention: Duration,
    ) -> Self {
        let occurred_at = execution.completed_at.or(execution.started_at);
        Self {
            occurred_at: occurred_at.unwrap_or(execution.updated_at),
            ..Self::of_step(execution, step, event, target, overdue, retention)
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
            ..Self::of_step(execution, &step, EventType::Progress, target, overdue, retention)
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
            ..Self::of_step(execution, &step, EventType::InputRequired, target, overdue, retention)
        }
    }

    fn of_step(
        execution: &Execution,
        step: &str,
        event: EventType,
        target: &str,
        overdue: Duration,
        retention: Duration,
    ) -> Self {
        let redrive_count = execution.redrive_count;
        let part = format!("{PART_PREFIX}{step}#{redrive_count}#{target}");
        let now = execution.updated_at;
        let (id, user_id) = (execution.execution_id.clone(), &execution.user_id);
        Self {
            agent_name: execution.agent_name.clone(),
            redrive_count,
            rank: execution.rank,
            started_at: execution.started_at,
            completed_at: execution.completed_at,
            hops: execution.hops.clone(),
            ttl: now.plus(retention).seconds(),
            ..Self::pending(id, part, user_id, event, now, overdue)
        }
    }

    /// The debt to try a subscription.
    #[must_use]
    pub fn test(user_id: &UserId, target: &str, hops: Hops, overdue: Duration) -> Self {
        Self { hops, ..Self::of_no_run(user_id, "test", EventType::Test, target, overdue) }
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
            ..Self::of_no_run(user_id, "disabled", EventType::Disabled, target, overdue)
        }
    }

    /// The debt to tell `target` that a batch is complete. It stands among the batch's own items.
    #[must_use]
    pub fn of_batch(
        batch: &Batch,
        summary: &BatchSummary,
        target: &str,
        overdue: Duration,
        retention: Duration,
    ) -> Self {
        let id = batch.batch_id.as_execution_id().clone();
        let part = format!("{PART_PREFIX}completed#0#{target}");
        let now = summary.completed_at;
        // Whose agent it is only where it is one's alone.
        let mut agents = batch.agents.iter();
        let agent = agents.next().filter(|_| agents.next().is_none()).cloned();
        Self {
            agent_name: agent.unwrap_or_default(),
            batch: Some(summary.clone()),
            hops: batch.hops.clone(),
            ttl: now.plus(retention).seconds(),
            ..Self::pending(id, part, &batch.user_id, EventType::BatchCompleted, now, overdue)
        }
    }

    /// It stands under an id of its own, as if of a run.
    fn of_no_run(
        user_id: &UserId,
        step: &str,
        event: EventType,
        target: &str,
        overdue: Duration,
    ) -> Self {
        let id = ExecutionId::generate(&AgentName::default());
        let part = format!("{PART_PREFIX}{step}#0#{target}");
        Self::pending(id, part, user_id, event, Timestamp::now(), overdue)
    }

    /// One that was not attempted yet, and that carries nothing of a run.
    fn pending(
        execution_id: ExecutionId,
        part: String,
        user_id: &UserId,
        event: EventType,
        now: Timestamp,
        overdue: Duration,
    ) -> Self {
        Self {
            webhook_id: webhook_id(&execution_id, &part),
            debt: Some(Debt::of(DebtKind::Delivery, &execution_id)),
            execution_id,
            part,
            user_id: user_id.clone(),
            agent_name: AgentName::default(),
            event,
            redrive_count: 0,
            rank: Rank::Queued as u8,
            occurred_at: now,
            started_at: None,
            completed_at: None,
            progress: None,
            message: None,
            question: None,
            disabled: None,
            batch: None,
            state: DeliveryState::Pending,
            attempts: Vec::new(),
            earlier: Earlier::default(),
            attempt_count: 0,
            next_attempt_at: now,
            lease: None,
            leased_until: None,
            due_at: Some(now.plus(overdue)),
            troubled_at: None,
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

#[cfg(test)]
mod tests {
    use super::*;

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
