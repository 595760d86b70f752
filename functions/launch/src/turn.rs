//! Runs that take slots: each is claimed with them when its turn comes, and waits in a line until then.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use relay::{
    aws::queue::LaunchMessage,
    domain::{
        concurrency::limits,
        error::Error,
        execution::Execution,
        id::{AgentName, ExecutionId, UserId},
        pool::{Limit, Pool, Standing, Turn, free, turn},
        status::Rank,
        time::Timestamp,
    },
    store::{slots::SlotClaim, write::Step},
};
use tracing::info;

use crate::{launcher::Launcher, walks::Walks};

/// How often the slots are read again when others were first with one.
const TRIES: usize = 5;

/// How many of a line one message has go on, of so many at its head; the rest is another's.
const WOKEN_AT_ONCE: u32 = 10;
const SEEN: i32 = 100;

/// How many rows of a line are read at once.
const READ_AT_ONCE: usize = 10;

/// What became of a run whose turn it may be.
enum Tried {
    Launched,
    /// It stands in the line of this limit.
    Waits(Limit),
    /// It has gone from its line to that of this limit, which comes earlier.
    GoesUp(Limit),
    /// It stands where it stood.
    Stays,
    /// It is nobody's turn any more: it was claimed, or has ended.
    Gone,
}

/// Those of a line that the same limits hold up.
#[derive(PartialEq, Eq, Hash)]
struct Alike {
    agent: AgentName,
    user: UserId,
    user_max_concurrent: Option<u32>,
}

impl Alike {
    fn of(run: &Execution) -> Self {
        Self {
            agent: run.agent_name.clone(),
            user: run.user_id.clone(),
            user_max_concurrent: run.user_max_concurrent,
        }
    }
}

/// What is known along a line.
#[derive(Default)]
struct Walk {
    launched: u32,
    moved: u32,
    gone_up: usize,
    /// Whether there is no room for any of those that are left.
    is_full: bool,
    /// Those who go down to the line of this limit, or stay where they stand.
    known: HashMap<Alike, Option<Limit>>,
    /// The lines that are to be looked after further.
    further: Vec<Pool>,
    failed: Option<Error>,
}

impl Walk {
    fn moved_to(&mut self, line: &Pool) {
        self.moved += 1;
        if !self.further.contains(line) {
            self.further.push(line.clone());
        }
    }
}

impl Launcher {
    /// Claims a run with its slots and launches it, or has it wait in a line.
    pub(crate) async fn wait_its_turn(
        &self,
        run: Execution,
        trace: Option<String>,
        walks: &Walks,
    ) -> Result<(), Error> {
        let id = run.execution_id.clone();
        match self.attempt(run, None, trace).await? {
            Tried::Launched | Tried::Stays | Tried::Gone => Ok(()),
            // What it waits for may have become free before it stood there to be seen.
            Tried::Waits(Limit { pool, most, .. }) | Tried::GoesUp(Limit { pool, most, .. }) => {
                let taken = self.settle.executions.taken(&pool).await?;
                if free(most, &taken).is_empty() {
                    return Ok(());
                }
                Box::pin(self.wake(&id, vec![pool], walks, Instant::now())).await
            }
        }
    }

    /// Has those go on who wait for slots of these pools, which were as the caller knows since then. `id` is whoever
    /// has to do with it.
    pub(crate) async fn wake(
        &self,
        id: &ExecutionId,
        pools: Vec<Pool>,
        walks: &Walks,
        since: Instant,
    ) -> Result<(), Error> {
        for pool in pools {
            let walk = async {
                let further = self.wake_line(&pool).await?;
                if !further.is_empty() {
                    // The messages of a line delay no others.
                    let group = UserId::from(pool.as_str().to_owned());
                    let message = LaunchMessage::freeing(id.clone(), further);
                    self.queue.enqueue_hint(&message, &group, Duration::ZERO).await;
                }
                Ok(())
            };
            Box::pin(walks.once(&pool, since, walk)).await?;
        }
        Ok(())
    }

    /// Launches the first of a line, while there is room; gives the lines that are to be looked after further.
    async fn wake_line(&self, line: &Pool) -> Result<Vec<Pool>, Error> {
        let executions = &self.settle.executions;
        let waiters = executions.first_in_line(line, SEEN).await?;
        let are_all = i32::try_from(waiters.len()).is_ok_and(|count| count < SEEN);
        let mut walk = Walk::default();
        'walk: for waiters in waiters.chunks(READ_AT_ONCE) {
            let ids: Vec<_> = waiters.iter().map(|waiter| waiter.execution_id.clone()).collect();
            let runs = executions.find_all_fresh(&ids).await?.into_iter();
            let mut runs: HashMap<_, _> = runs.map(|run| (run.execution_id.clone(), run)).collect();
            for id in ids {
                // The index may be behind.
                let Some(run) = runs.remove(&id).filter(|it| it.line.as_ref() == Some(line)) else {
                    continue;
                };
                self.wake_one(run, line, &mut walk).await;
                if walk.is_full || walk.launched == WOKEN_AT_ONCE {
                    break 'walk;
                }
            }
        }
        // Where none of them went, the index is behind, and `sweep` looks again.
        let went = walk.launched + walk.moved > 0;
        if !walk.is_full && (walk.launched == WOKEN_AT_ONCE || (!are_all && went)) {
            walk.further.push(line.clone());
        }
        walk.failed.map_or(Ok(walk.further), Err)
    }

    /// Has one of a line go on, if it can.
    async fn wake_one(&self, run: Execution, line: &Pool, walk: &mut Walk) {
        if !run.takes_slots(Timestamp::now()) {
            if run.position().rank == Rank::Queued
                && let Err(error) = self.end_unclaimed(&run).await
            {
                walk.failed = Some(error);
            }
            return;
        }
        let alike = Alike::of(&run);
        let tried = match walk.known.get(&alike) {
            Some(Some(limit)) => self.stand_in_line(&run, limit).await,
            Some(None) => return,
            None => {
                let standing = Standing { line, gone_up: walk.gone_up };
                self.attempt(run, Some(standing), None).await
            }
        };
        match tried {
            Ok(Tried::Launched) => walk.launched += 1,
            Ok(Tried::Gone) => {}
            Ok(Tried::Stays) => drop(walk.known.insert(alike, None)),
            Ok(Tried::Waits(limit)) if limit.pool == *line => walk.is_full = true,
            Ok(Tried::Waits(limit)) => {
                walk.moved_to(&limit.pool);
                walk.known.insert(alike, Some(limit));
            }
            Ok(Tried::GoesUp(limit)) => {
                walk.moved_to(&limit.pool);
                walk.gone_up += 1;
            }
            // One that cannot be launched is in nobody's way.
            Err(error) => walk.failed = Some(error),
        }
    }

    /// Claims a run with its slots and launches it, if there is room; else it waits. It is the first that is left
    /// of its line, where it comes from one.
    async fn attempt(
        &self,
        run: Execution,
        from: Option<Standing<'_>>,
        trace: Option<String>,
    ) -> Result<Tried, Error> {
        let executions = &self.settle.executions;
        let id = run.execution_id.clone();
        let agent = self.agents.find_fresh(&run.agent_name).await?;
        let limits = limits(&run, agent.as_ref());
        let mut last = limits.first();
        for _ in 0..TRIES {
            let views = executions.views(&run, &limits, from.map(|it| it.line)).await?;
            let slots = match turn(&limits, &views, from, id.spread().into()) {
                Turn::Take(slots) => slots,
                Turn::Wait(limit) => {
                    last = Some(limit);
                    break;
                }
                Turn::Stay => return Ok(Tried::Stays),
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
            Some(limit) => {
                let waits = self.stand_in_line(&run, limit).await?;
                let is_own = |limit: &Limit| from.is_some_and(|it| *it.line == limit.pool);
                let mut behind = limits.iter().skip_while(|it| *it != limit).skip(1);
                Ok(match waits {
                    Tried::Waits(limit) if behind.any(is_own) => Tried::GoesUp(limit),
                    waits => waits,
                })
            }
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
