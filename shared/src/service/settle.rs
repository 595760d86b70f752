//! Settling: bringing a run's row to what was observed of it, with all that is owed for that.

use std::time::Duration;

use crate::{
    answer::default_code,
    callback::NewsType,
    delivery::{CALLBACK_TARGET, Delivery},
    error::Error,
    execution::{Execution, ExecutionId, Position, Rank, Status},
    outcome::Outcome,
    queue::{DeliveryMessage, Queue},
    store::executions::{Consistency, Executions, Step},
    time::Timestamp,
};

/// What is known of a run, from an event, from `DescribeExecution`, or from a refused launch.
#[derive(Debug, Clone)]
pub struct Observation {
    pub execution_id: ExecutionId,
    pub execution_arn: String,
    pub status: Status,
    pub redrive_count: u32,
    pub started_at: Option<Timestamp>,
    pub completed_at: Option<Timestamp>,
    /// The output as JSON text, of a completed run.
    pub output: Option<String>,
    pub error: Option<String>,
    pub cause: Option<String>,
}

impl Observation {
    /// Where the run stands by this.
    #[must_use]
    pub const fn position(&self) -> Position {
        let rank = match self.status {
            Status::Queued => Rank::Queued,
            Status::Running => Rank::Running,
            Status::Completed | Status::Failed | Status::Timeout | Status::Cancelled => Rank::Ended,
        };
        Position {
            redrive_count: self.redrive_count,
            rank,
        }
    }
}

#[derive(Debug)]
pub enum Settled {
    Applied(Box<Execution>),
    /// The row has moved on already: the event was repeated or late.
    Stale,
    /// The execution is not the one of our row, though its name is.
    Foreign,
    /// No such row.
    Unknown,
}

/// The longest error code that the small `state` part takes; the whole one is in the outcome.
const MAX_ERROR_CODE: usize = 256;

#[derive(Debug)]
pub struct Settle {
    pub executions: Executions,
    pub webhook_queue: Queue,
    /// How long a run is kept after its end.
    pub retention: Duration,
    /// After which silence `sweep` asks Step Functions about a running run.
    pub news_overdue: Duration,
    /// After which silence `sweep` hurries a delivery again.
    pub delivery_overdue: Duration,
}

impl Settle {
    /// Applies what was observed, if the transition rule lets it. Safe to repeat, and to kill
    /// between any two calls: what is owed is written with the transition, and sending it only
    /// hurries it.
    pub async fn apply(&self, observed: &Observation) -> Result<Settled, Error> {
        let Some(before) = self
            .executions
            .find(&observed.execution_id, Consistency::Strong)
            .await?
        else {
            return Ok(Settled::Unknown);
        };
        if before.execution_arn() != observed.execution_arn {
            return Ok(Settled::Foreign);
        }
        if !observed.position().may_follow(before.position()) {
            return Ok(Settled::Stale);
        }
        let after = self.moved(&before, observed);
        if let Some(ttl) = after.ttl {
            let outcome = Outcome {
                output: observed.output.clone(),
                error: observed.error.clone(),
                cause: observed.cause.clone(),
                redrive_count: observed.redrive_count,
            };
            if self
                .executions
                .put_outcome(&after.execution_id, &outcome, ttl)
                .await?
                == Step::Stale
            {
                return Ok(Settled::Stale);
            }
        }
        let owed: Vec<Delivery> = NewsType::of(after.status)
            .filter(|news| after.callback_events.contains(news))
            .map(|news| {
                Delivery::owed(
                    &after,
                    news,
                    CALLBACK_TARGET,
                    self.delivery_overdue,
                    self.retention,
                )
            })
            .into_iter()
            .collect();
        if self.executions.advance(&before, &after, &owed).await? == Step::Stale {
            return Ok(Settled::Stale);
        }
        for delivery in owed {
            let message = DeliveryMessage {
                execution_id: delivery.execution_id,
                part: delivery.part,
            };
            self.webhook_queue
                .hurry(&message, &delivery.user_id, Duration::ZERO)
                .await;
        }
        Ok(Settled::Applied(Box::new(after)))
    }

    fn moved(&self, before: &Execution, observed: &Observation) -> Execution {
        let now = Timestamp::now();
        let position = observed.position();
        let mut after = Execution {
            status: observed.status,
            redrive_count: position.redrive_count,
            rank: position.rank as u8,
            updated_at: now,
            started_at: observed.started_at.or(before.started_at),
            completed_at: None,
            error_code: None,
            due_at: Some(now.plus(self.news_overdue)),
            shard: Some(before.execution_id.shard()),
            ttl: None,
            ..before.clone()
        };
        if observed.status.is_end() {
            after.completed_at = Some(observed.completed_at.unwrap_or(now));
            after.error_code = (observed.status != Status::Completed).then(|| {
                let code = observed.error.as_deref().filter(|code| !code.is_empty());
                code.unwrap_or(default_code(observed.status))
                    .chars()
                    .take(MAX_ERROR_CODE)
                    .collect()
            });
            // A run that has ended owes nothing itself: it leaves the `due` index, and expires.
            after.due_at = None;
            after.shard = None;
            after.ttl = Some(now.plus(self.retention).seconds());
        }
        after
    }
}
