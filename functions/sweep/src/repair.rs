//! Processes one overdue item: does exactly what it still needs, or sends its hint again.

use std::time::Duration;

use relay::{
    aws::{
        failure,
        queue::{DeliveryMessage, LaunchMessage},
        telemetry::{self, RunMetric},
    },
    domain::{
        batch::POLLED_EVERY,
        debt::DebtKind,
        error::Error,
        execution::Execution,
        id::{ExecutionId, UserId},
        observation::Observation,
        pool::Pool,
        protocol::{Grounds, Poll, held_for},
        status::{LONGEST_RUN, Rank, Status},
        time::Timestamp,
    },
    service::settle::Settled,
    store::{
        batch::Consistency,
        due::{DueItem, Found, Overdue},
        write::Step,
    },
};
use tracing::{info, warn};

use crate::{
    backoff::{WELL_AFTER, hint_again, is_over, retry_again, silence},
    report::{Reconciled, Repair},
    round::Round,
    sweeper::Sweeper,
};

impl Sweeper {
    /// Processes one item, if nobody else has. It is postponed first, whatever it is: so what cannot be
    /// processed is in nobody's way.
    pub(crate) async fn reconcile(
        &self,
        kind: DebtKind,
        item: &DueItem,
        Found { sweeps, overdue }: Found,
        round: &Round,
    ) -> Result<Reconciled, Error> {
        let now = Timestamp::now();
        if is_over(kind, sweeps, overdue.is_ok()) {
            let reason = match &overdue {
                Err(_) => "it cannot be read",
                Ok(_) if kind == DebtKind::Poll => "checking it fails",
                Ok(_) => "its messages are not processed",
            };
            warn!(execution.id = item.execution_id, part = item.part, "given up: {reason}");
            if let Ok(Overdue::Run(run)) = &overdue
                && !run.status.is_end()
            {
                // It may run on, and nobody keeps its parts any more. What cannot be kept is given up all
                // the same.
                let kept = self.settle.executions.keep_longer(run, now.plus(LONGEST_RUN)).await;
                kept.unwrap_or_else(|error| failure::log(&error));
            }
            self.due.dead_letter(item, reason).await?;
            return Ok(Reconciled::GivenUp);
        }
        let overdue = match overdue {
            Ok(overdue) => overdue,
            Err(error) => {
                let until = now.plus(retry_again(self.settle.event_overdue, sweeps));
                self.due.postpone(item, kind, until, Some(sweeps)).await?;
                warn!(execution.id = item.execution_id, part = item.part, "it cannot be read");
                return Err(error);
            }
        };
        match overdue {
            Overdue::Run(run) => {
                Box::pin(self.reconcile_run(kind, item, &run, sweeps, round)).await
            }
            Overdue::Question(question, user) => {
                let until = now.plus(hint_again(self.launch_overdue, sweeps));
                if self.due.postpone(item, kind, until, Some(sweeps)).await? == Step::Stale {
                    return Ok(Reconciled::Elsewhere);
                }
                let message = LaunchMessage::answering(id(item)?, question);
                self.launch_queue.enqueue_hint(&message, &user, Duration::ZERO).await;
                Ok(Reconciled::Repaired(Repair::Answer))
            }
            Overdue::Batch(id) => {
                let until = now.plus(POLLED_EVERY);
                if self.due.postpone(item, kind, until, Some(sweeps)).await? == Step::Stale {
                    return Ok(Reconciled::Elsewhere);
                }
                let looked = Box::pin(self.settle.batches().look_after(&id))
                    .await
                    .map(|()| Reconciled::Checked);
                self.take_back(item, sweeps, looked).await
            }
            Overdue::Line(line) => {
                let until = now.plus(self.launch_overdue);
                if self.due.postpone(item, kind, until, Some(sweeps)).await? == Step::Stale {
                    return Ok(Reconciled::Elsewhere);
                }
                let looked = Box::pin(self.look_after_line(&line, now)).await;
                self.take_back(item, sweeps, looked).await
            }
            Overdue::Delivery { user, leased_until } => {
                let held = held_for(leased_until, now);
                let until = now.plus(hint_again(self.settle.delivery_overdue, sweeps).max(held));
                if self.due.postpone(item, kind, until, Some(sweeps)).await? == Step::Stale {
                    return Ok(Reconciled::Elsewhere);
                }
                let message = DeliveryMessage { execution_id: id(item)?, part: item.part.clone() };
                self.settle.webhook_queue.enqueue_hint(&message, &user, held).await;
                Ok(Reconciled::Repaired(Repair::Delivery))
            }
        }
    }

    async fn reconcile_run(
        &self,
        kind: DebtKind,
        item: &DueItem,
        run: &Execution,
        sweeps: u32,
        round: &Round,
    ) -> Result<Reconciled, Error> {
        let now = Timestamp::now();
        let facts = run.facts();
        let overdue = (self.launch_overdue, self.settle.event_overdue);
        let silence = silence(overdue, sweeps, round.floor);
        let mut poll = facts.poll(now, silence);
        // What cannot wait is among the launches, and comes first.
        let reserve = if kind == DebtKind::Launch { 0 } else { self.reserve() };
        let asks = matches!(poll, Poll::Ask | Poll::AskOrLaunch | Poll::Confirm);
        let is_left_out = asks && !round.affords(reserve);
        if is_left_out && poll == Poll::AskOrLaunch {
            poll = Poll::Launch;
        }
        let is_put_off = is_left_out && poll != Poll::Launch;
        let until = if is_put_off {
            facts.put_off(now, silence, spread(&run.execution_id, now))
        } else {
            facts.next_poll(now, silence)
        };
        let next = run.debt_kind_until(until);
        let waits = poll == Poll::Later || is_put_off;
        // Nothing is owed of a run that has ended for good: what stands here all the same is given up.
        let is_done = run.position().rank == Rank::Ended && !facts.is_to_be_redriven();
        // Nor is one that waits for a slot in vain: its line is looked after.
        let counted = ((!waits && run.line.is_none()) || is_done).then_some(sweeps);
        if self.due.postpone(item, next, until, counted).await? == Step::Stale {
            return Ok(Reconciled::Elsewhere);
        }
        if !run.status.is_end()
            && let Err(error) = self.settle.keep(run, now).await
        {
            // It is attempted again with the next poll, long before it is needed.
            failure::log(&error);
        }
        match poll {
            // It was launched while it stood among those that are to be, which its start has not
            // moved it from, since that costs two writes of the index for each run, and most have
            // ended by now.
            Poll::Later => Ok(Reconciled::Elsewhere),
            Poll::Launch => Ok(self.launch(run, now).await),
            Poll::AskOrLaunch | Poll::Ask | Poll::Confirm if is_left_out => {
                // A hint to stop it costs nothing of the budget.
                if !run.status.is_end() && facts.to_stop(now).is_some() {
                    self.hint_launch(run, Duration::ZERO).await;
                }
                Ok(Reconciled::PutOff)
            }
            Poll::AskOrLaunch | Poll::Ask => {
                let reconciled = self.ask(run, poll, now).await;
                self.take_back(item, sweeps, reconciled).await
            }
            Poll::Confirm => {
                let reconciled = self.confirm(run).await;
                self.take_back(item, sweeps, reconciled).await
            }
        }
    }

    /// Takes back that a poll was counted, once it has ended well, or is nothing that this run is to
    /// blame for.
    async fn take_back(
        &self,
        item: &DueItem,
        sweeps: u32,
        reconciled: Result<Reconciled, Error>,
    ) -> Result<Reconciled, Error> {
        let is_well = match &reconciled {
            Ok(_) => sweeps >= WELL_AFTER,
            // It is Step Functions or DynamoDB that is not well.
            Err(error) => error.may_pass(),
        };
        if is_well {
            self.due.is_well(item).await?;
        }
        reconciled
    }

    /// Asks Step Functions how a run is, and settles it by the answer.
    async fn ask(&self, run: &Execution, poll: Poll, now: Timestamp) -> Result<Reconciled, Error> {
        let id = &run.execution_id;
        let lost = |code, cause| {
            Observation::never_ran(run, Grounds::Presumed, Status::Failed, code, cause)
        };
        let is_lost = run.facts().is_lost(now);
        let observed = match self.step_functions.describe(id, &run.execution_arn()).await {
            Ok(Some(observed)) => observed,
            // Whoever may start it need not be able to describe it.
            Ok(None) | Err(Error::Forbidden(_)) if poll == Poll::AskOrLaunch => {
                return Ok(self.launch(run, now).await);
            }
            // It was never launched, nobody may start it any more, and we may not even ask.
            Err(error @ Error::Forbidden(_)) if run.status == Status::Queued && is_lost => {
                failure::log(&error);
                lost(
                    "launch_denied",
                    "agent-relay may neither start nor describe this state machine",
                )
            }
            Err(error) => {
                // A stop need not know how it is.
                if run.facts().to_stop(now).is_some() {
                    self.hint_launch(run, Duration::ZERO).await;
                }
                return Err(error);
            }
            Ok(None) if is_lost => {
                warn!(execution.id = %id, "Step Functions does not know {id}");
                lost("execution_lost", "Step Functions does not know this execution")
            }
            // It answers eventually consistently: not known yet.
            Ok(None) => return Ok(Reconciled::Checked),
        };
        let settled = self.settle.apply(&observed).await?;
        if !observed.status.is_end() && run.facts().to_stop(now).is_some() {
            self.hint_launch(run, Duration::ZERO).await;
            return Ok(Reconciled::Repaired(Repair::Stop));
        }
        match settled {
            Settled::Applied(run) => {
                info!(execution.id = %id, "execution {id} is {}, as reported by Step Functions", run.status);
                Ok(Reconciled::Repaired(Repair::Event))
            }
            Settled::Stale | Settled::Foreign | Settled::Unknown => Ok(Reconciled::Checked),
        }
    }

    /// Asks Step Functions about a presumed end: that is corrected by what it says, stopped where
    /// it runs, or the end.
    async fn confirm(&self, run: &Execution) -> Result<Reconciled, Error> {
        let id = &run.execution_id;
        let observed = match self.step_functions.describe(id, &run.execution_arn()).await {
            Ok(Some(observed)) => observed,
            // Nobody who may not describe it learns any more of it.
            Ok(None) | Err(Error::Forbidden(_)) => {
                self.settle.confirm(run).await?;
                return Ok(Reconciled::Checked);
            }
            Err(error) => return Err(error),
        };
        if observed.status.is_end() {
            self.settle.apply(&observed).await?;
            warn!(execution.id = %id, "{id} did not end as it was reported");
            return Ok(Reconciled::Repaired(Repair::Event));
        }
        warn!(execution.id = %id, "{id} is still running, but was reported as ended");
        self.hint_launch(run, Duration::ZERO).await;
        Ok(Reconciled::Repaired(Repair::Stop))
    }

    /// Has the first of a line go on, should there be room: a hint of that may have been lost.
    async fn look_after_line(&self, line: &Pool, now: Timestamp) -> Result<Reconciled, Error> {
        let executions = &self.settle.executions;
        let Some(first) = executions.first_in_line(line, 1).await?.pop() else {
            executions.close_line(line).await?;
            return Ok(Reconciled::Checked);
        };
        let id = first.execution_id;
        let found = executions.find(&id, Consistency::Eventual).await;
        // Whatever is wrong with the first, those behind it go on.
        let group = UserId::from(line.as_str().to_owned());
        let message = LaunchMessage::freeing(id.clone(), vec![line.clone()]);
        self.launch_queue.enqueue_hint(&message, &group, Duration::ZERO).await;
        match found {
            Ok(Some(run)) if run.line.as_ref() == Some(line) => {
                let since = run.redrive_requested_at.unwrap_or(run.wanted_at());
                let for_ms = now.millis_since(since);
                telemetry::record(&id, &run.agent_name, RunMetric::Waiting { for_ms });
            }
            Ok(_) => {}
            Err(error) => failure::log(&error),
        }
        Ok(Reconciled::Checked)
    }

    async fn launch(&self, run: &Execution, now: Timestamp) -> Reconciled {
        match run.facts().message_delay(now) {
            // It waits for others, and is not overdue.
            Some(Duration::ZERO) if run.line.is_some() => {
                self.hint_launch(run, Duration::ZERO).await;
                Reconciled::Elsewhere
            }
            Some(Duration::ZERO) => {
                self.hint_launch(run, Duration::ZERO).await;
                let since = run.redrive_requested_at.unwrap_or(run.wanted_at());
                Reconciled::Queued { age_ms: now.millis_since(since) }
            }
            // It is early, and not overdue.
            Some(wait) => {
                self.hint_launch(run, wait).await;
                Reconciled::Elsewhere
            }
            None => Reconciled::Elsewhere,
        }
    }

    async fn hint_launch(&self, run: &Execution, wait: Duration) {
        let message = LaunchMessage::of(run.execution_id.clone());
        self.launch_queue.enqueue_hint(&message, &run.user_id, wait).await;
    }
}

/// Another number each time, for runs that were put off together, too.
fn spread(id: &ExecutionId, now: Timestamp) -> u8 {
    let [last, ..] = now.millis().to_le_bytes();
    id.spread() ^ last
}

fn id(item: &DueItem) -> Result<ExecutionId, Error> {
    item.execution_id.parse().map_err(|error| Error::corrupt("an overdue item's id", error))
}
