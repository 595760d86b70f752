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
    protocol::{Grounds, Look, Silence},
    queue::{DeliveryMessage, LaunchMessage, Queue},
    service::settle::{Observation, Settle, Settled},
    step_functions::StepFunctions,
    store::{
        due::{Debt, Due, DueItem},
        transitions::Step,
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
            let before = report.found;
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
            if report.found == before || clock.elapsed() > ROUNDS_END {
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
                let now = Timestamp::now();
                let held = delivery.facts().held_for(now);
                let until = now.plus(self.settle.delivery_overdue.max(held));
                if self.due.postpone(item, until).await? == Step::Stale {
                    return Ok(Paid::Elsewhere);
                }
                let message = DeliveryMessage {
                    execution_id: item.execution_id.clone(),
                    part: item.part.clone(),
                };
                self.settle.webhook_queue.hurry(&message, &delivery.user_id, held).await;
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
        let facts = run.facts();
        let silence = Silence {
            launch: self.launch_overdue,
            news: self.settle.news_overdue,
            longest: LONGEST_PAUSE,
        };
        let mut look = facts.look(now, silence);
        if matches!(look, Look::Ask | Look::AskOrLaunch | Look::Confirm)
            && budget
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| it.checked_sub(1))
                .is_err()
        {
            // The stalest come first, so those that the budget leaves out are the freshest.
            if look != Look::AskOrLaunch {
                return Ok(Paid::Elsewhere);
            }
            look = Look::Launch;
        }
        let until = facts.look_again(now, silence);
        if self.due.postpone(item, until).await? == Step::Stale {
            return Ok(Paid::Elsewhere);
        }
        if !run.status.is_end()
            && let Err(error) = self.settle.keep(run, now).await
        {
            // It is tried again with the next look, long before it is needed.
            problem::log(&error);
        }
        match look {
            Look::Later => Ok(Paid::Later),
            Look::Launch => Ok(self.launch(run, now).await),
            Look::AskOrLaunch | Look::Ask => self.ask(run, look, now).await,
            Look::Confirm => self.confirm(run).await,
        }
    }

    /// Asks Step Functions how a run is, and settles it by the answer.
    async fn ask(&self, run: &Execution, look: Look, now: Timestamp) -> Result<Paid, Error> {
        let id = &run.execution_id;
        let lost = |code, cause| {
            Observation::never_ran(run, Grounds::Presumed, Status::Failed, code, cause)
        };
        let is_lost = run.facts().is_lost(now);
        let observed = match self.step_functions.describe(id, &run.execution_arn()).await {
            Ok(Some(observed)) => observed,
            // Whoever may start it need not be able to look at it.
            Ok(None) | Err(Error::Forbidden(_)) if look == Look::AskOrLaunch => {
                return Ok(self.launch(run, now).await);
            }
            // It was never launched, nobody may start it any more, and we may not even ask.
            Err(error @ Error::Forbidden(_)) if run.status == Status::Queued && is_lost => {
                problem::log(&error);
                lost(
                    "launch_denied",
                    "agent-relay may neither start nor look at this state machine",
                )
            }
            Err(error) => return Err(error),
            Ok(None) if is_lost => {
                warn!(execution.id = %id, "Step Functions does not know {id}");
                lost("execution_lost", "Step Functions does not know this execution")
            }
            // It answers eventually consistently: not known yet.
            Ok(None) => return Ok(Paid::Looked),
        };
        let settled = self.settle.apply(&observed).await?;
        if !observed.status.is_end() && run.facts().to_stop(now).is_some() {
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

    /// Asks Step Functions about a presumed end: that is corrected by what it says, stopped where
    /// it runs, or the end.
    async fn confirm(&self, run: &Execution) -> Result<Paid, Error> {
        let id = &run.execution_id;
        let observed = match self.step_functions.describe(id, &run.execution_arn()).await {
            Ok(Some(observed)) => observed,
            // Nobody who may not look at it learns any more of it.
            Ok(None) | Err(Error::Forbidden(_)) => {
                self.settle.confirm(run).await?;
                return Ok(Paid::Looked);
            }
            Err(error) => return Err(error),
        };
        if observed.status.is_end() {
            self.settle.apply(&observed).await?;
            warn!(execution.id = %id, "{id} has not ended as it was told to");
            return Ok(Paid::Repaired(Repair::News));
        }
        warn!(execution.id = %id, "{id} runs, and was told to have ended");
        self.hurry_launch(run).await;
        Ok(Paid::Repaired(Repair::Stop))
    }

    async fn launch(&self, run: &Execution, now: Timestamp) -> Paid {
        self.hurry_launch(run).await;
        Paid::Queued { age_ms: now.millis_since(run.created_at) }
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
    /// It was heard of lately, and is to be looked after later.
    Later,
    /// All was as it should be.
    Looked,
    /// A queued run was hurried.
    Queued {
        age_ms: u64,
    },
    Repaired(Repair),
}
