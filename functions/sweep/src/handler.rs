//! One sweep: finds what is overdue, of each kind side by side, and does or hurries exactly what
//! each item owes.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::join_all, stream};
use lambda_runtime::{Context, Diagnostic};
use relay::{
    aws::Aws,
    debt::{Debt, DebtKind},
    env::{self, InvalidVariable},
    error::Error,
    execution::{Execution, Status},
    problem,
    protocol::{Grounds, Look},
    queue::{DeliveryMessage, LaunchMessage, Queue},
    service::settle::{Observation, Settle, Settled},
    step_functions::StepFunctions,
    store::{
        Item,
        due::{Due, DueItem, End, Found, Overdue},
        transitions::Step,
    },
    telemetry::Invocation,
    time::Timestamp,
};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::{
    census::Census,
    patience::{WELL_AFTER, hint_again, is_over, retry_again, silence},
    report::{Repair, Report, Reporter},
};

/// How many keys of one kind are read side by side, and how many items of each are looked after.
const KEYS_AT_ONCE: usize = 2;
const ITEMS_AT_ONCE: usize = 8;

/// Nothing further begins after this; the next sweep comes in a minute.
const ENOUGH: Duration = Duration::from_secs(40);

/// Of what is left one call counts so much of each key.
const COUNTED: i32 = 10_000;

/// The part of the budget that is kept for runs that cannot wait: an eighth.
const RESERVE: u32 = 8;

#[derive(Debug)]
pub(crate) struct Sweeper {
    settle: Settle,
    step_functions: StepFunctions,
    due: Due,
    launch_queue: Queue,
    reporter: Reporter,
    census: Mutex<Census>,
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
            census: Mutex::default(),
            launch_overdue: env::seconds("LAUNCH_OVERDUE_SECONDS")?,
            describe_budget: env::parsed("DESCRIBE_BUDGET")?,
        })
    }
}

/// Answers how many items were overdue and how many repaired, for whoever calls it by hand.
pub(crate) async fn handle(sweeper: &Sweeper, context: &Context) -> Result<Value, Diagnostic> {
    let mut metrics = Invocation::start("sweep", Some(context));
    let report = sweeper.sweep().await;
    let published = sweeper.reporter.publish(&report).await;
    let Report { overdue, failed, given_up, put_off, backlog, .. } = report;
    let repaired: u64 = Repair::ALL.iter().map(|kind| report.repaired(*kind)).sum();
    info!(overdue, repaired, failed, given_up, put_off, backlog, "swept");
    published?;
    metrics.failed = failed > 0;
    Ok(json!({
        "overdue": overdue, "repaired": repaired, "failed": failed, "given_up": given_up,
        "put_off": put_off, "backlog": backlog,
    }))
}

/// What all that one sweep does has in common.
struct Round {
    now: Timestamp,
    clock: Instant,
    /// How many runs may still be asked about.
    budget: AtomicU32,
    /// Between two looks at one run there is at least so much, with as many runs as there are.
    floor: Duration,
}

impl Round {
    fn is_over(&self) -> bool {
        self.clock.elapsed() > ENOUGH
    }

    /// Takes one from the budget, if that leaves the reserve.
    fn affords(&self, reserve: u32) -> bool {
        let take = |left: u32| left.checked_sub(1).filter(|left| *left >= reserve);
        self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

impl Sweeper {
    /// Whatever fails in it leaves the rest as it is.
    async fn sweep(&self) -> Report {
        let mut census = self.census.lock().await;
        let polls = self.describe_budget - self.reserve();
        let minutes = census.open_runs() / u64::from(polls.max(1));
        let round = Round {
            now: Timestamp::now(),
            clock: Instant::now(),
            budget: AtomicU32::new(self.describe_budget),
            floor: Duration::from_secs(60 * minutes),
        };
        let lanes = DebtKind::ALL.map(|kind| self.pay_all(kind, &round));
        let mut report = Report::default();
        for lane in join_all(lanes).await {
            report.add(&lane);
        }
        // Figures come last, and cost nobody anything when they fail.
        if let Err(error) = census.go_on(&self.due).await {
            problem::log(&error);
        }
        report.open_runs = census.open_runs();
        match self.due.count(&Debt::dead(), round.now, COUNTED, None).await {
            Ok((count, _)) => report.dead = count,
            Err(error) => problem::log(&error),
        }
        report
    }

    const fn reserve(&self) -> u32 {
        self.describe_budget / RESERVE
    }

    /// Looks after all that is overdue of one kind.
    async fn pay_all(&self, kind: DebtKind, round: &Round) -> Report {
        let reports = stream::iter(kind.keys())
            .map(|debt| async move { self.pay_key(kind, &debt, round).await })
            .buffer_unordered(KEYS_AT_ONCE);
        let mut sum = Report::default();
        let mut reports = std::pin::pin!(reports);
        while let Some(report) = reports.next().await {
            sum.add(&report);
        }
        sum
    }

    /// Looks after what is overdue under one key, in pages from either end by turns, until they
    /// meet or the time is up: so neither the oldest nor the newest wait for each other, and what
    /// cannot be moved is passed by.
    async fn pay_key(&self, kind: DebtKind, debt: &Debt, round: &Round) -> Report {
        let mut report = Report::default();
        let mut between = Between { from: None, to: None };
        let mut after: [Option<Item>; 2] = [None, None];
        for end in [End::Oldest, End::Newest].into_iter().cycle() {
            if round.is_over() {
                self.count_left(debt, round, &mut report).await;
                break;
            }
            let start = &mut after[end as usize];
            let page = match self.due.overdue(debt, round.now, end, start.take()).await {
                Ok(page) => page,
                Err(error) => {
                    problem::log(&error);
                    report.failed += 1;
                    break;
                }
            };
            let is_last = page.next.is_none();
            *start = page.next;
            let items = between.take(end, page.items);
            let is_met = items.is_empty();
            self.pay_page(kind, &items, round, &mut report).await;
            if is_last || is_met {
                break;
            }
        }
        report
    }

    async fn count_left(&self, debt: &Debt, round: &Round, report: &mut Report) {
        match self.due.count(debt, round.now, COUNTED, None).await {
            Ok((count, _)) => report.backlog += count,
            Err(error) => problem::log(&error),
        }
    }

    async fn pay_page(
        &self,
        kind: DebtKind,
        items: &[DueItem],
        round: &Round,
        report: &mut Report,
    ) {
        let found = match self.due.read(items).await {
            Ok(found) => found,
            Err(error) => {
                problem::log(&error);
                report.failed += 1;
                return;
            }
        };
        let paid = stream::iter(items.iter().zip(found))
            .map(|(item, found)| async move {
                match found {
                    // The rest of the page is left to the next sweep.
                    Some(found) if !round.is_over() => {
                        Box::pin(self.pay(kind, item, found, round)).await
                    }
                    Some(_) | None => Ok(Paid::Elsewhere),
                }
            })
            .buffer_unordered(ITEMS_AT_ONCE);
        let mut paid = std::pin::pin!(paid);
        while let Some(outcome) = paid.next().await {
            match outcome {
                Ok(paid) => report.count(paid),
                Err(error) => {
                    problem::log(&error);
                    report.failed += 1;
                }
            }
        }
    }

    /// Looks after one item, if nobody else has. It is put off first, whatever it is: what cannot
    /// be looked after stands in nobody's way.
    async fn pay(
        &self,
        kind: DebtKind,
        item: &DueItem,
        Found { sweeps, overdue }: Found,
        round: &Round,
    ) -> Result<Paid, Error> {
        let now = Timestamp::now();
        if is_over(kind, sweeps, overdue.is_ok()) {
            let reason = match &overdue {
                Err(_) => "it cannot be read",
                Ok(_) if kind == DebtKind::Poll => "looking after it fails",
                Ok(_) => "nobody takes the messages that hurry it",
            };
            warn!(execution.id = item.execution_id, part = item.part, "given up: {reason}");
            self.due.bury(item, reason).await?;
            return Ok(Paid::GivenUp);
        }
        let overdue = match overdue {
            Ok(overdue) => overdue,
            Err(error) => {
                let until = now.plus(retry_again(self.settle.news_overdue, sweeps));
                self.due.postpone(item, kind, until).await?;
                warn!(execution.id = item.execution_id, part = item.part, "it cannot be read");
                return Err(error);
            }
        };
        match overdue {
            Overdue::Run(run) => self.pay_run(kind, item, &run, sweeps, round).await,
            Overdue::Question(question, user) => {
                let until = now.plus(hint_again(self.launch_overdue, sweeps));
                if self.due.postpone(item, kind, until).await? == Step::Stale {
                    return Ok(Paid::Elsewhere);
                }
                let message = LaunchMessage::answering(id(item)?, question);
                self.launch_queue.hurry(&message, &user, Duration::ZERO).await;
                Ok(Paid::Repaired(Repair::Answer))
            }
            Overdue::Delivery { user, leased_until } => {
                let held = leased_until.map_or(0, |until| until.millis_since(now));
                let held = Duration::from_millis(held);
                let until = now.plus(hint_again(self.settle.delivery_overdue, sweeps).max(held));
                if self.due.postpone(item, kind, until).await? == Step::Stale {
                    return Ok(Paid::Elsewhere);
                }
                let message = DeliveryMessage { execution_id: id(item)?, part: item.part.clone() };
                self.settle.webhook_queue.hurry(&message, &user, held).await;
                Ok(Paid::Repaired(Repair::Delivery))
            }
        }
    }

    async fn pay_run(
        &self,
        kind: DebtKind,
        item: &DueItem,
        run: &Execution,
        sweeps: u32,
        round: &Round,
    ) -> Result<Paid, Error> {
        let now = Timestamp::now();
        let facts = run.facts();
        let overdue = (self.launch_overdue, self.settle.news_overdue);
        let silence = silence(overdue, sweeps, round.floor);
        let mut look = facts.look(now, silence);
        let until = facts.look_again(now, silence);
        let next = run.debt_kind_until(until);
        // What cannot wait is among the launches, and comes first.
        let reserve = if kind == DebtKind::Launch { 0 } else { self.reserve() };
        let asks = matches!(look, Look::Ask | Look::AskOrLaunch | Look::Confirm);
        let is_left_out = asks && !round.affords(reserve);
        if is_left_out && look == Look::AskOrLaunch {
            look = Look::Launch;
        }
        let waits = look == Look::Later || (is_left_out && look != Look::Launch);
        let step = if waits {
            self.due.put_off(item, next, until).await?
        } else {
            self.due.postpone(item, next, until).await?
        };
        if step == Step::Stale {
            return Ok(Paid::Elsewhere);
        }
        if !run.status.is_end()
            && let Err(error) = self.settle.keep(run, now).await
        {
            // It is tried again with the next look, long before it is needed.
            problem::log(&error);
        }
        match look {
            // It was launched while it stood among those that are to be, which its start has not
            // moved it from, since that costs two writes of the index for each run, and most have
            // ended by now.
            Look::Later => Ok(Paid::Elsewhere),
            Look::Launch => Ok(self.launch(run, now).await),
            Look::AskOrLaunch | Look::Ask | Look::Confirm if is_left_out => {
                // A hint to stop it costs nothing of the budget.
                if !run.status.is_end() && facts.to_stop(now).is_some() {
                    self.hurry_launch(run).await;
                }
                Ok(Paid::PutOff)
            }
            Look::AskOrLaunch | Look::Ask => {
                let paid = self.ask(run, look, now).await;
                self.take_back(item, sweeps, paid).await
            }
            Look::Confirm => {
                let paid = self.confirm(run).await;
                self.take_back(item, sweeps, paid).await
            }
        }
    }

    /// Takes back that a look was counted, once it has ended well, or is nothing that this run is to
    /// blame for.
    async fn take_back(
        &self,
        item: &DueItem,
        sweeps: u32,
        paid: Result<Paid, Error>,
    ) -> Result<Paid, Error> {
        let is_well = match &paid {
            Ok(_) => sweeps >= WELL_AFTER,
            // It is Step Functions or DynamoDB that is not well.
            Err(error) => error.may_pass(),
        };
        if is_well {
            self.due.is_well(item).await?;
        }
        paid
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

fn id(item: &DueItem) -> Result<relay::execution::ExecutionId, Error> {
    item.execution_id.parse().map_err(|error| Error::corrupt("an overdue item's id", error))
}

/// What is left between the pages that were read from either end.
#[derive(Debug)]
struct Between {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl Between {
    /// Those of a page that the other end has not reached. Where both meet in one millisecond, some
    /// may come twice, which does no harm.
    fn take(&mut self, end: End, mut items: Vec<DueItem>) -> Vec<DueItem> {
        let (from, to) = (self.from, self.to);
        items.retain(|item| {
            item.due_at().is_none_or(|at| {
                from.is_none_or(|from| at >= from || end == End::Oldest)
                    && to.is_none_or(|to| at <= to || end == End::Newest)
            })
        });
        let last = items.last().and_then(DueItem::due_at);
        match end {
            End::Oldest => self.from = last.or(self.from),
            End::Newest => self.to = last.or(self.to),
        }
        items
    }
}

/// What came of looking after an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paid {
    /// Somebody else has, or there is no need.
    Elsewhere,
    /// All was as it should be.
    Looked,
    /// The budget leaves it out.
    PutOff,
    /// It was tried in vain too often.
    GivenUp,
    /// A queued run was hurried.
    Queued {
        age_ms: u64,
    },
    Repaired(Repair),
}

#[cfg(test)]
mod tests {
    use relay::store::to_item;

    use super::*;

    fn item(due_at: i64) -> DueItem {
        let item = json!({"execution_id": "mcp-echo-1", "part": "state", "due_at": due_at});
        DueItem::of(&to_item(&item).unwrap()).unwrap()
    }

    /// As `pay_key` reads them: the times in the order in which they are looked after.
    fn read(times: &[i64], page: usize) -> Vec<i64> {
        let mut between = Between { from: None, to: None };
        let (mut oldest, mut newest) = (times.chunks(page), times.rchunks(page));
        let mut read = Vec::new();
        for end in [End::Oldest, End::Newest].into_iter().cycle() {
            let mut items: Vec<_> = match end {
                End::Oldest => oldest.next(),
                End::Newest => newest.next(),
            }
            .unwrap_or_default()
            .iter()
            .map(|at| item(*at))
            .collect();
            if end == End::Newest {
                items.reverse();
            }
            let items = between.take(end, items);
            if items.is_empty() {
                return read;
            }
            read.extend(items.iter().filter_map(DueItem::due_at).map(Timestamp::millis));
        }
        read
    }

    #[test]
    fn the_oldest_and_the_newest_are_looked_after_by_turns_until_they_meet() {
        // Where they meet one comes twice.
        assert_eq!(read(&[1, 2, 3, 4, 5, 6, 7], 2), [1, 2, 7, 6, 3, 4, 5, 4]);
        assert_eq!(read(&[1, 2, 3, 4, 5, 6], 2), [1, 2, 6, 5, 3, 4, 4]);
        for count in 0..40 {
            for page in 1..10 {
                // Some of one millisecond.
                let times: Vec<_> = (0..count).map(|at| at / 3).collect();
                let mut seen = read(&times, page);
                seen.sort_unstable();
                seen.dedup();
                let mut all = times.clone();
                all.dedup();
                assert_eq!(seen, all, "{count} in pages of {page}");
            }
        }
    }

    #[test]
    fn what_cannot_wait_keeps_a_part_of_the_budget() {
        let round = Round {
            now: Timestamp::now(),
            clock: Instant::now(),
            budget: AtomicU32::new(16),
            floor: Duration::ZERO,
        };
        let polls = (0..100).filter(|_| round.affords(2)).count();
        let others = (0..100).filter(|_| round.affords(0)).count();

        assert_eq!((polls, others), (14, 2));
    }
}
