//! One sweep: finds what is overdue, oldest first, and does or hurries exactly what each item owes.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::join_all, stream};
use lambda_runtime::{Context, Diagnostic};
use relay::{
    aws::Aws,
    env::{self, InvalidVariable},
    error::Error,
    execution::{Execution, SHARDS, Status},
    problem,
    queue::{DeliveryMessage, LaunchMessage, Queue},
    service::settle::{Observation, Settle, Settled},
    step_functions::StepFunctions,
    store::{
        due::{Debt, Due, DueItem},
        transitions::{CLAIM_GRACE, Step},
    },
    telemetry::Invocation,
    time::Timestamp,
};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::report::{Repair, Report, Reporter};

/// Of one shard, in one round.
const PAGE: i32 = 200;

/// How many items are looked after side by side.
const SIDE_BY_SIDE: usize = 16;

/// No further round begins after this; the next sweep comes in a minute.
const ROUNDS_END: Duration = Duration::from_secs(40);

/// A long run is looked at ever more seldom, but at least this often.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

#[derive(Debug)]
pub(crate) struct Sweeper {
    settle: Settle,
    step_functions: StepFunctions,
    due: Due,
    launch_queue: Queue,
    reporter: Reporter,
    launch_overdue: Duration,
    /// How many runs one sweep may ask Step Functions about.
    describe_budget: u32,
}

impl Sweeper {
    pub(crate) fn from_env(aws: &Aws) -> Result<Self, InvalidVariable> {
        let dynamodb = aws.dynamodb.clone();
        let queue_url = env::required("LAUNCH_QUEUE_URL")?;
        Ok(Self {
            settle: Settle::from_env(aws)?,
            step_functions: StepFunctions::new(&aws.config),
            due: Due::new(dynamodb, env::required("EXECUTIONS_TABLE")?),
            launch_queue: Queue::new(aws.sqs.clone(), queue_url),
            reporter: Reporter::new(
                aws_sdk_cloudwatch::Client::new(&aws.config),
                env::required("STACK_NAME")?,
            ),
            launch_overdue: env::seconds("LAUNCH_OVERDUE_SECONDS")?,
            describe_budget: env::parsed("DESCRIBE_BUDGET")?,
        })
    }
}

/// Answers how many items were overdue and how many repaired, for whoever calls it by hand.
pub(crate) async fn handle(sweeper: &Sweeper, context: &Context) -> Result<Value, Diagnostic> {
    let mut metrics = Invocation::start("sweep", Some(context));
    let report = sweeper.sweep().await?;
    sweeper.reporter.publish(&report).await?;
    let Report { overdue, failed, .. } = report;
    let repaired: u64 = Repair::ALL.iter().map(|kind| report.repaired(*kind)).sum();
    info!(overdue, repaired, failed, "swept");
    metrics.failed = failed > 0;
    Ok(json!({"overdue": overdue, "repaired": repaired, "failed": failed}))
}

impl Sweeper {
    async fn sweep(&self) -> Result<Report, Error> {
        let clock = Instant::now();
        let mut report = Report::of(self.open_runs().await?);
        let budget = AtomicU32::new(self.describe_budget);
        loop {
            let items = self.overdue().await?;
            let paid = stream::iter(&items)
                .map(|item| self.pay(item, &budget))
                .buffer_unordered(SIDE_BY_SIDE)
                .collect::<Vec<_>>()
                .await;
            let before = report.overdue;
            for outcome in paid {
                match outcome {
                    Ok(paid) => report.count(paid),
                    Err(error) => {
                        problem::log(&error);
                        report.failed += 1;
                    }
                }
            }
            // What was looked after may still stand in the index for a moment: a round that
            // finds nothing else is the last.
            if report.overdue == before || clock.elapsed() > ROUNDS_END {
                return Ok(report);
            }
        }
    }

    async fn open_runs(&self) -> Result<u64, Error> {
        let counts = join_all((0..SHARDS).map(|shard| self.due.count_runs(shard))).await;
        counts.into_iter().sum()
    }

    /// What is overdue in all shards, oldest first.
    async fn overdue(&self) -> Result<Vec<DueItem>, Error> {
        let now = Timestamp::now();
        let pages = join_all((0..SHARDS).map(|shard| self.due.overdue(shard, now, PAGE))).await;
        let pages: Result<Vec<_>, _> = pages.into_iter().collect();
        let mut items: Vec<DueItem> = pages?.into_iter().flatten().collect();
        items.sort_by_key(|item| item.due_at);
        Ok(items)
    }

    /// Looks after one item, if nobody else has.
    async fn pay(&self, item: &DueItem, budget: &AtomicU32) -> Result<Paid, Error> {
        match self.due.find(item).await? {
            None => Ok(Paid::Elsewhere),
            Some(Debt::Run(run)) => self.pay_run(item, &run, budget).await,
            Some(Debt::Question(question, user)) => {
                let until = Timestamp::now().plus(self.launch_overdue);
                if self.due.postpone(item, until).await? == Step::Stale {
                    return Ok(Paid::Elsewhere);
                }
                let message = LaunchMessage::answering(item.execution_id.clone(), question);
                self.launch_queue.hurry(&message, &user, Duration::ZERO).await;
                Ok(Paid::Repaired(Repair::Answer))
            }
            Some(Debt::Delivery(delivery)) => {
                let until = Timestamp::now().plus(self.settle.delivery_overdue);
                if self.due.postpone(item, until).await? == Step::Stale {
                    return Ok(Paid::Elsewhere);
                }
                let message = DeliveryMessage {
                    execution_id: item.execution_id.clone(),
                    part: item.part.clone(),
                };
                self.settle.webhook_queue.hurry(&message, &delivery.user_id, Duration::ZERO).await;
                Ok(Paid::Repaired(Repair::Delivery))
            }
        }
    }

    async fn pay_run(
        &self,
        item: &DueItem,
        run: &Execution,
        budget: &AtomicU32,
    ) -> Result<Paid, Error> {
        let now = Timestamp::now();
        match run.status {
            Status::Queued if !is_past_claiming(run, now) => {
                let until = run.look_again(now, self.launch_overdue);
                if self.due.postpone(item, until).await? == Step::Stale {
                    return Ok(Paid::Elsewhere);
                }
                self.hurry_launch(run).await;
                Ok(Paid::Queued { age_ms: now.millis_since(run.created_at) })
            }
            Status::Queued | Status::Running | Status::InputRequired => {
                // The stalest come first, so those that the budget leaves out are the freshest.
                let is_affordable =
                    budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                        left.checked_sub(1)
                    });
                if is_affordable.is_err() {
                    return Ok(Paid::Elsewhere);
                }
                let until = run.look_again(now, pause(run, now, self.settle.news_overdue));
                if self.due.postpone(item, until).await? == Step::Stale {
                    return Ok(Paid::Elsewhere);
                }
                self.ask(run, now).await
            }
            // It has ended since it came into the index.
            Status::Completed | Status::Failed | Status::Timeout | Status::Cancelled => {
                Ok(Paid::Elsewhere)
            }
        }
    }

    /// Asks Step Functions how a run is, and settles it by the answer.
    async fn ask(&self, run: &Execution, now: Timestamp) -> Result<Paid, Error> {
        let id = &run.execution_id;
        let observed = match self.step_functions.describe(id, &run.execution_arn()).await {
            // It was never launched, nobody may start it any more, and we may not even ask.
            Err(error @ Error::Forbidden(_))
                if run.status == Status::Queued && is_lost(run, now) =>
            {
                problem::log(&error);
                let cause = "agent-relay may neither start nor look at this state machine";
                Observation::never_ran(run, Status::Failed, "launch_denied", cause)
            }
            Err(error) => return Err(error),
            Ok(Some(observed)) => observed,
            Ok(None) if is_lost(run, now) => {
                warn!(execution.id = %id, "Step Functions does not know {id}");
                let code = "execution_lost";
                let cause = "Step Functions does not know this execution";
                Observation::never_ran(run, Status::Failed, code, cause)
            }
            // It answers eventually consistently: not known yet.
            Ok(None) => return Ok(Paid::Looked),
        };
        let settled = self.settle.apply(&observed).await?;
        if !observed.status.is_end() && run.to_stop(now).is_some() {
            self.hurry_launch(run).await;
            return Ok(Paid::Repaired(Repair::Stop));
        }
        match settled {
            Settled::Applied(run) => {
                info!(execution.id = %id, "execution {id} is {}, by asking", run.status);
                Ok(Paid::Repaired(Repair::News))
            }
            Settled::Stale | Settled::Foreign | Settled::Unknown => Ok(Paid::Looked),
        }
    }

    async fn hurry_launch(&self, run: &Execution) {
        let message = LaunchMessage::of(run.execution_id.clone());
        self.launch_queue.hurry(&message, &run.user_id, Duration::ZERO).await;
    }
}

/// What came of looking after an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paid {
    /// Somebody else has, or there is no need, or no budget.
    Elsewhere,
    /// All was as it should be.
    Looked,
    /// A queued run was hurried.
    Queued {
        age_ms: u64,
    },
    Repaired(Repair),
}

/// A claimed run that may not be launched any more: only Step Functions knows whether it runs.
fn is_past_claiming(run: &Execution, now: Timestamp) -> bool {
    run.claimed_at.is_some() && run.launch_before.plus(CLAIM_GRACE) <= now
}

/// Whether a run that Step Functions does not know will never be known: its launch is long past
/// what eventual consistency explains, and nobody may start it any more.
fn is_lost(run: &Execution, now: Timestamp) -> bool {
    match run.status {
        Status::Queued => run.launch_before.plus(CLAIM_GRACE * 2) <= now,
        Status::Running | Status::InputRequired => {
            run.claimed_at.is_none_or(|at| at.plus(CLAIM_GRACE) <= now)
        }
        Status::Completed | Status::Failed | Status::Timeout | Status::Cancelled => false,
    }
}

/// An eighth of the run's age, within bounds.
fn pause(run: &Execution, now: Timestamp, shortest: Duration) -> Duration {
    let age = Duration::from_millis(now.millis_since(run.started_at.unwrap_or(now)));
    (age / 8).clamp(shortest, LONGEST_PAUSE.max(shortest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(10_000_000_000);

    fn run(status: &str, claimed_minutes_ago: Option<u64>, launch_before: Timestamp) -> Execution {
        let claimed_at = claimed_minutes_ago.map(|minutes| NOW.minus(Duration::from_mins(minutes)));
        serde_json::from_value(json!({
            "execution_id": "mcp-echo-1", "user_id": "someone", "agent_name": "echo",
            "state_machine_arn": "arn:aws:states:eu-west-1:111122223333:stateMachine:echo",
            "status": status, "redrive_count": 0, "rank": 0, "launch_before": launch_before,
            "created_at": 1_000, "updated_at": 2_000, "started_at": NOW.minus(Duration::from_hours(4)),
            "claimed_at": claimed_at,
        }))
        .unwrap()
    }

    #[test]
    fn a_run_is_lost_only_when_nobody_may_start_it_any_more() {
        let future = NOW.plus(Duration::from_hours(1));
        let ago = |minutes| NOW.minus(Duration::from_mins(minutes));

        assert!(!is_lost(&run("running", Some(10), future), NOW));
        assert!(is_lost(&run("running", Some(16), future), NOW));
        assert!(!is_lost(&run("queued", Some(600), future), NOW));
        assert!(!is_lost(&run("queued", Some(600), ago(29)), NOW));
        assert!(is_lost(&run("queued", Some(600), ago(31)), NOW));
        assert!(!is_lost(&run("completed", Some(600), ago(31)), NOW));
        assert!(!is_past_claiming(&run("queued", None, ago(60)), NOW), "launch ends it itself");
        assert!(!is_past_claiming(&run("queued", Some(60), ago(14)), NOW));
        assert!(is_past_claiming(&run("queued", Some(60), ago(16)), NOW));
    }

    #[test]
    fn a_long_run_is_looked_at_ever_more_seldom() {
        let of_age = |age: Duration| {
            let run = Execution { started_at: Some(NOW.minus(age)), ..run("running", None, NOW) };
            pause(&run, NOW, Duration::from_mins(5))
        };

        assert_eq!(of_age(Duration::from_mins(1)), Duration::from_mins(5));
        assert_eq!(of_age(Duration::from_hours(4)), Duration::from_mins(30));
        assert_eq!(of_age(Duration::from_hours(400)), Duration::from_hours(1));
    }
}
