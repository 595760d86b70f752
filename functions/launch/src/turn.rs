//! Runs that take slots: each is claimed with them when its turn comes, and waits in a line until then.

use std::time::Duration;

use relay::{
    aws::queue::LaunchMessage,
    domain::{
        concurrency::limits,
        error::Error,
        execution::Execution,
        id::{ExecutionId, UserId},
        pool::{Limit, Pool, Turn, free, turn},
        status::Rank,
        time::Timestamp,
    },
    store::{
        batch::Consistency,
        slots::{SlotClaim, Waiter},
        write::Step,
    },
};
use tracing::info;

use crate::launcher::Launcher;

/// How often the slots are read again when others were first with one.
const TRIES: usize = 5;

/// How many of a line one message has go on, of so many at its head; the rest is another's.
const WOKEN_AT_ONCE: u32 = 10;
const SEEN: i32 = 100;

/// What became of a run whose turn it may be.
enum Tried {
    Launched,
    /// It stands in the line of this limit.
    Waits(Limit),
    /// It is nobody's turn any more: it was claimed, or has ended.
    Gone,
}

impl Launcher {
    /// Claims a run with its slots and launches it, or has it wait in a line.
    pub(crate) async fn wait_its_turn(
        &self,
        run: Execution,
        trace: Option<String>,
    ) -> Result<(), Error> {
        let id = run.execution_id.clone();
        match self.attempt(run, None, trace).await? {
            Tried::Launched | Tried::Gone => Ok(()),
            // What it waits for may have become free before it stood there to be seen.
            Tried::Waits(Limit { pool, most, .. }) => {
                let taken = self.settle.executions.taken(&pool).await?;
                if free(most, &taken).is_empty() {
                    return Ok(());
                }
                self.wake(&id, vec![pool]).await
            }
        }
    }

    /// Has those go on who wait for slots of these pools. `id` is whoever has to do with it.
    pub(crate) async fn wake(&self, id: &ExecutionId, pools: Vec<Pool>) -> Result<(), Error> {
        for pool in pools {
            let further = self.wake_line(&pool).await?;
            if !further.is_empty() {
                // The messages of a line delay no others.
                let group = UserId::from(pool.as_str().to_owned());
                let message = LaunchMessage::freeing(id.clone(), further);
                self.queue.enqueue_hint(&message, &group, Duration::ZERO).await;
            }
        }
        Ok(())
    }

    /// Launches the first of a line, while there is room; gives the lines that are to be looked after further.
    async fn wake_line(&self, line: &Pool) -> Result<Vec<Pool>, Error> {
        let executions = &self.settle.executions;
        let mut further = Vec::new();
        let (mut launched, mut moved, mut failed) = (0, 0, None);
        let waiters = executions.first_in_line(line, SEEN).await?;
        let are_all = i32::try_from(waiters.len()).is_ok_and(|count| count < SEEN);
        for Waiter { execution_id: id, .. } in waiters {
            // The index may be behind.
            let Some(run) = executions.find(&id, Consistency::Strong).await? else { continue };
            if run.line.as_ref() != Some(line) {
                continue;
            }
            if !run.takes_slots(Timestamp::now()) {
                if run.position().rank == Rank::Queued
                    && let Err(error) = self.end_unclaimed(&run).await
                {
                    failed = Some(error);
                }
                continue;
            }
            match self.attempt(run, Some(line), None).await {
                Ok(Tried::Launched) => launched += 1,
                Ok(Tried::Gone) => {}
                // There is no room for any of them.
                Ok(Tried::Waits(Limit { pool, .. })) if pool == *line => {
                    return failed.map_or(Ok(further), Err);
                }
                Ok(Tried::Waits(Limit { pool, .. })) => {
                    moved += 1;
                    if !further.contains(&pool) {
                        further.push(pool);
                    }
                }
                // One that cannot be launched is in nobody's way.
                Err(error) => failed = Some(error),
            }
            if launched == WOKEN_AT_ONCE {
                break;
            }
        }
        // Where none of them went, the index is behind, and `sweep` looks again.
        if launched == WOKEN_AT_ONCE || (!are_all && launched + moved > 0) {
            further.push(line.clone());
        }
        failed.map_or(Ok(further), Err)
    }

    /// Claims a run with its slots and launches it, if there is room; else it waits. It is the first of
    /// the line `of`, where it comes from one.
    async fn attempt(
        &self,
        run: Execution,
        of: Option<&Pool>,
        trace: Option<String>,
    ) -> Result<Tried, Error> {
        let executions = &self.settle.executions;
        let id = run.execution_id.clone();
        let agent = self.agents.find_fresh(&run.agent_name).await?;
        let limits = limits(&run, agent.as_ref());
        let mut last = limits.first();
        for _ in 0..TRIES {
            let views = executions.views(&run, &limits, of).await?;
            let slots = match turn(&limits, &views, id.spread().into()) {
                Turn::Take(slots) => slots,
                Turn::Wait(limit) => {
                    last = Some(limit);
                    break;
                }
            };
            // Nothing limits it, and there is no line for it to leave.
            if slots.is_empty() && run.line.is_none() && run.facts().is_to_be_redriven() {
                self.redrive(&run).await?;
                return Ok(Tried::Launched);
            }
            let due_at = Timestamp::now().plus(self.launch_overdue);
            match executions.claim_with(&run, slots, due_at).await {
                Ok(SlotClaim::Claimed(claimed, attempts)) => {
                    if claimed.facts().is_to_be_redriven() {
                        self.redrive(&claimed).await?;
                        return Ok(Tried::Launched);
                    }
                    let input = executions.find_input(&id).await?;
                    let input = input.ok_or_else(|| Error::corrupt("an input", "it is missing"))?;
                    self.launch(&claimed, input.input, trace, attempts).await?;
                    return Ok(Tried::Launched);
                }
                // Others claim with the same.
                Ok(SlotClaim::Taken) | Err(Error::Busy(_)) => {}
                Ok(SlotClaim::Refused) => return Ok(Tried::Gone),
                Err(error) => return Err(error),
            }
        }
        match last {
            Some(limit) => self.stand_in_line(&run, limit).await,
            // It takes no slot any more, and is claimed by a later message.
            None => Err(Error::Busy("claim an execution")),
        }
    }

    /// Has a run stand in a line, if it does not yet.
    async fn stand_in_line(&self, run: &Execution, limit: &Limit) -> Result<Tried, Error> {
        let Limit { pool, waits_for, .. } = limit;
        if run.line.as_ref() == Some(pool) && run.waits_for == Some(*waits_for) {
            return Ok(Tried::Waits(limit.clone()));
        }
        let executions = &self.settle.executions;
        let now = Timestamp::now();
        executions.open_line(pool, now.plus(self.launch_overdue)).await?;
        let until = run.due_at.filter(|_| run.line.is_some());
        let until = until.unwrap_or_else(|| run.facts().waits_until(now));
        match executions.wait_in_line(run, pool, *waits_for, until).await? {
            Step::Applied => {
                info!(execution.id = %run.execution_id, "{} waits for a slot", run.execution_id);
                Ok(Tried::Waits(limit.clone()))
            }
            Step::Stale => Ok(Tried::Gone),
        }
    }
}
