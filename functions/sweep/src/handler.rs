//! One sweep: finds what is overdue, of each kind side by side, and does exactly what each item still
//! needs, or sends its hint again.

use std::{
    sync::atomic::AtomicU32,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::join_all, stream};
use lambda_runtime::{Context, Diagnostic};
use relay::{
    aws::{failure, telemetry::Invocation},
    domain::{
        debt::{Debt, DebtKind},
        time::Timestamp,
    },
    store::{
        due::{DueItem, End},
        item::Item,
    },
};
use serde_json::{Value, json};
use tracing::info;

use crate::{
    report::{Reconciled, Repair, Report},
    round::Round,
    sweeper::Sweeper,
};

/// How many keys of one kind are read side by side, and how many items of each are processed.
const KEYS_AT_ONCE: usize = 2;
const ITEMS_AT_ONCE: usize = 8;

/// Of what is left one call counts so much of each key.
const COUNTED: i32 = 10_000;

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

impl Sweeper {
    /// Whatever fails in it leaves the rest as it is.
    async fn sweep(&self) -> Report {
        let mut open_runs = self.open_runs.lock().await;
        let polls = self.describe_budget - self.reserve();
        let minutes = open_runs.count() / u64::from(polls.max(1));
        let round = Round {
            now: Timestamp::now(),
            clock: Instant::now(),
            budget: AtomicU32::new(self.describe_budget),
            floor: Duration::from_secs(60 * minutes),
        };
        let lanes = DebtKind::ALL.map(|kind| self.reconcile_all(kind, &round));
        let mut report = Report::default();
        for lane in join_all(lanes).await {
            report.add(&lane);
        }
        // Figures come last, and cost nobody anything when they fail.
        if let Err(error) = open_runs.count_on(&self.due).await {
            failure::log(&error);
        }
        report.open_runs = open_runs.count();
        match self.due.count(&Debt::dead(), round.now, COUNTED, None).await {
            Ok((count, _)) => report.dead = count,
            Err(error) => failure::log(&error),
        }
        report
    }

    /// Looks after all that is overdue of one kind.
    async fn reconcile_all(&self, kind: DebtKind, round: &Round) -> Report {
        let reports = stream::iter(kind.keys())
            .map(|debt| async move { self.reconcile_key(kind, &debt, round).await })
            .buffer_unordered(KEYS_AT_ONCE);
        let mut sum = Report::default();
        let mut reports = std::pin::pin!(reports);
        while let Some(report) = reports.next().await {
            sum.add(&report);
        }
        sum
    }

    /// Processes what is overdue under one key, in pages from either end by turns, until they
    /// meet or the time is up: so neither the oldest nor the newest wait for each other, and what
    /// cannot be moved is passed by.
    async fn reconcile_key(&self, kind: DebtKind, debt: &Debt, round: &Round) -> Report {
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
                    failure::log(&error);
                    report.failed += 1;
                    break;
                }
            };
            let is_last = page.next.is_none();
            *start = page.next;
            let items = between.take(end, page.items);
            let is_met = items.is_empty();
            self.reconcile_page(kind, &items, round, &mut report).await;
            if is_last || is_met {
                break;
            }
        }
        report
    }

    async fn count_left(&self, debt: &Debt, round: &Round, report: &mut Report) {
        match self.due.count(debt, round.now, COUNTED, None).await {
            Ok((count, _)) => report.backlog += count,
            Err(error) => failure::log(&error),
        }
    }

    async fn reconcile_page(
        &self,
        kind: DebtKind,
        items: &[DueItem],
        round: &Round,
        report: &mut Report,
    ) {
        let found = match self.due.read(items).await {
            Ok(found) => found,
            Err(error) => {
                failure::log(&error);
                report.failed += 1;
                return;
            }
        };
        let reconciled = stream::iter(items.iter().zip(found))
            .map(|(item, found)| async move {
                match found {
                    // The rest of the page is left to the next sweep.
                    Some(found) if !round.is_over() => {
                        Box::pin(self.reconcile(kind, item, found, round)).await
                    }
                    Some(_) | None => Ok(Reconciled::Elsewhere),
                }
            })
            .buffer_unordered(ITEMS_AT_ONCE);
        let mut reconciled = std::pin::pin!(reconciled);
        while let Some(outcome) = reconciled.next().await {
            match outcome {
                Ok(reconciled) => report.count(reconciled),
                Err(error) => {
                    failure::log(&error);
                    report.failed += 1;
                }
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use relay::store::item::to_item;

    use super::*;

    fn item(due_at: i64) -> DueItem {
        let item = json!({"execution_id": "mcp-echo-1", "part": "state", "due_at": due_at});
        DueItem::of(&to_item(&item).unwrap()).unwrap()
    }

    /// As `reconcile_key` reads them: the times in the order in which they are processed.
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
    fn the_oldest_and_the_newest_are_processed_by_turns_until_they_meet() {
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
