//! Settling: bringing a run's row to what was observed of it, with all that is owed for that.

use std::time::Duration;

use crate::{
    aws::{
        bus::{Bus, StatusChange},
        failure,
        queue::{LaunchMessage, Queue},
        telemetry,
    },
    domain::{
        delivery::{CALLBACK_TARGET, Delivery},
        error::Error,
        event_type::EventType,
        execution::Execution,
        expiry,
        moved::{event_of_move, is_confirmed, is_correction, moved, outcome_of},
        observation::Observation,
        protocol::Grounds,
        question::MAX_OPEN,
        rights::About,
        status::Status,
        time::Timestamp,
    },
    service::{batch_end::Batches, rights::Rights},
    store::{
        batch::Consistency, executions::Executions, subscriptions::Subscriptions, write::Step,
    },
};

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

/// What became of an attempt to move a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moved {
    On,
    /// More was known of it before.
    Before,
    /// Its row has changed since it was read.
    Meanwhile,
}

/// How often a write is attempted whose row others change meanwhile. Of those that change it at
/// once one always gets through, so this is enough for all questions that may be open.
pub(super) const WRITE_ATTEMPTS: usize = MAX_OPEN + 5;

#[derive(Debug)]
pub struct Settle {
    pub executions: Executions,
    pub subscriptions: Subscriptions,
    pub rights: Rights,
    pub bus: Bus,
    pub webhook_queue: Queue,
    pub launch_queue: Queue,
    /// How long a run is kept after its end.
    pub retention: Duration,
    /// After which silence `sweep` asks Step Functions about a running run.
    pub event_overdue: Duration,
    /// After which silence `sweep` sends the hint for a delivery again.
    pub delivery_overdue: Duration,
}

impl Settle {
    /// Opens the connections that a settlement needs: see [`crate::aws::connection::warm_up`].
    pub async fn warm_up(&self) {
        tokio::join!(self.executions.warm_up(), self.bus.warm_up(), self.webhook_queue.warm_up());
    }

    /// Applies what was observed, if the transition rule lets it. Safe to repeat, and to kill
    /// between any two calls: what is owed is written with the transition, and what is sent
    /// afterwards is only a hint.
    pub async fn apply(&self, observed: &Observation) -> Result<Settled, Error> {
        let observed = &observed.storable();
        for _ in 0..WRITE_ATTEMPTS {
            let before = match self.before(observed).await? {
                Ok(before) => before,
                Err(settled) => return Ok(settled),
            };
            let now = Timestamp::now();
            let after = moved(&before, observed, now, self.event_overdue, self.retention);
            let moved = match observed.grounds {
                Grounds::Told => Box::pin(self.follow(&before, &after, observed)).await?,
                Grounds::Unclaimed | Grounds::Presumed => {
                    Box::pin(self.conclude(&before, &after, observed)).await?
                }
            };
            match moved {
                Moved::On => {
                    if !is_correction(&before, &after) {
                        telemetry::record_end(&after);
                    }
                    self.hint_freed(&before, &after).await;
                    self.complete_batch_of(&after).await?;
                    return Ok(Settled::Applied(Box::new(after)));
                }
                Moved::Before => return Ok(Settled::Stale),
                Moved::Meanwhile => {}
            }
        }
        Err(Error::Busy("settle an execution"))
    }

    /// Has those go on who wait for what a run no longer holds. Should that be lost, `sweep` does.
    async fn hint_freed(&self, before: &Execution, after: &Execution) {
        let freed = before.slots.iter().filter(|slot| !after.slots.contains(slot));
        let freed: Vec<_> = freed.map(|slot| slot.pool.clone()).collect();
        if !freed.is_empty() {
            let message = LaunchMessage::freeing(after.execution_id.clone(), freed);
            self.launch_queue.enqueue_hint(&message, &after.user_id, Duration::ZERO).await;
        }
    }

    /// Asks whether the batch of a run that has ended is complete, if it is one of a batch.
    async fn complete_batch_of(&self, run: &Execution) -> Result<(), Error> {
        match &run.batch_id {
            Some(batch) if run.status.is_end() => Box::pin(self.batches().complete(batch)).await,
            _ => Ok(()),
        }
    }

    /// Follows what Step Functions says, which is true whatever becomes of the commit: so it is
    /// stored and told ahead.
    async fn follow(
        &self,
        before: &Execution,
        after: &Execution,
        observed: &Observation,
    ) -> Result<Moved, Error> {
        let change = StatusChange::between(before, after);
        let (stored, published, owed) = tokio::join!(
            self.store_outcome(before, after, observed),
            self.bus.publish(&change),
            self.owed_for_move(before, after),
        );
        published?;
        let owed = owed?;
        if stored? == Step::Stale {
            return Ok(Moved::Before);
        }
        let step = self.executions.advance(before, after, observed.grounds, None, &owed).await?;
        if step == Step::Stale {
            return Ok(Moved::Meanwhile);
        }
        self.enqueue_hints(owed).await;
        Ok(Moved::On)
    }

    /// Stores and tells an end of our own: all at once, and told once it is stored.
    async fn conclude(
        &self,
        before: &Execution,
        after: &Execution,
        observed: &Observation,
    ) -> Result<Moved, Error> {
        let owed = self.owed_for_move(before, after).await?;
        let outcome = outcome_of(after, observed);
        let step =
            self.executions.advance(before, after, observed.grounds, Some(&outcome), &owed).await?;
        if step == Step::Stale {
            return Ok(Moved::Meanwhile);
        }
        let change = StatusChange::between(before, after);
        let (published, ()) = tokio::join!(self.bus.publish(&change), self.enqueue_hints(owed));
        if let Err(error) = published {
            // `sweep` checks its row once more, and publishes it then.
            failure::log(&error);
        }
        Ok(Moved::On)
    }

    /// Takes a presumed end for the end, since Step Functions does not know the run, and tells of
    /// it once more, should that have failed.
    pub async fn confirm(&self, presumed: &Execution) -> Result<(), Error> {
        let has_run = presumed.started_at.is_some();
        let status = if has_run { Status::Running } else { Status::Queued };
        let before = Execution { status, ..presumed.clone() };
        self.bus.publish(&StatusChange::between(&before, presumed)).await?;
        self.executions.confirm(presumed).await?;
        let freed = Execution { slots: Vec::new(), ..presumed.clone() };
        self.hint_freed(presumed, &freed).await;
        Ok(())
    }

    /// Records that a run is not redriven, and has those go on who wait for what it has taken for that.
    pub async fn refuse_redrive(&self, run: &Execution, reason: &str) -> Result<(), Error> {
        self.executions.refuse_redrive(run, reason).await?;
        let freed = Execution { slots: Vec::new(), ..run.clone() };
        self.hint_freed(run, &freed).await;
        Ok(())
    }

    /// Keeps all that belongs to a run which goes on for longer, where that is needed.
    pub async fn keep(&self, run: &Execution, now: Timestamp) -> Result<(), Error> {
        if !expiry::is_to_be_kept_longer(run.kept_until, now, self.retention) {
            return Ok(());
        }
        let until = expiry::kept_until(now, self.retention);
        self.executions.keep_longer(run, until).await?;
        // Most ask nothing.
        if run.sequence > 0 {
            self.executions.keep_closed_questions(&run.execution_id, until).await?;
        }
        Ok(())
    }

    pub(super) async fn enqueue_hints(&self, owed: Vec<Delivery>) {
        self.webhook_queue.enqueue_deliveries(owed).await;
    }

    /// What looks after batches.
    #[must_use]
    pub const fn batches(&self) -> Batches<'_> {
        Batches {
            executions: &self.executions,
            subscriptions: &self.subscriptions,
            rights: &self.rights,
            bus: &self.bus,
            webhook_queue: &self.webhook_queue,
            retention: self.retention,
            delivery_overdue: self.delivery_overdue,
        }
    }

    async fn owed_for_move(
        &self,
        before: &Execution,
        after: &Execution,
    ) -> Result<Vec<Delivery>, Error> {
        let Some((event, is_correction)) = event_of_move(before, after) else {
            return Ok(Vec::new());
        };
        let (overdue, retention) = (self.delivery_overdue, self.retention);
        let tell = if is_correction { Delivery::correcting } else { Delivery::owed };
        self.owed(event, after, |to| tell(after, event, to, overdue, retention)).await
    }

    /// A delivery to each target that wants this event of the run, and may.
    pub(super) async fn owed(
        &self,
        event: EventType,
        after: &Execution,
        delivery: impl Fn(&str) -> Delivery,
    ) -> Result<Vec<Delivery>, Error> {
        let interests = self.subscriptions.interests(&after.user_id).await?;
        // The callback is owed in any case: `webhook` ends it in the open where its right has ended.
        let callback = after.callback_events.contains(&event).then_some(CALLBACK_TARGET);
        let mut owed: Vec<Delivery> = callback.into_iter().map(&delivery).collect();
        for interest in
            interests.iter().filter(|interest| interest.wants(event, [&after.agent_name]))
        {
            let about = About::Agent(&after.agent_name);
            // Most runs have no subscriber, and need not carry the room for this.
            if Box::pin(self.rights.may_be_told(interest.holder.as_ref(), about)).await? {
                owed.push(delivery(interest.id.as_str()));
            }
        }
        Ok(owed)
    }

    /// Whether `observed` would move its row.
    pub async fn would_move(&self, observed: &Observation) -> Result<bool, Error> {
        Ok(self.before(observed).await?.is_ok())
    }

    /// The row that `observed` moves, or why it moves none.
    async fn before(&self, observed: &Observation) -> Result<Result<Execution, Settled>, Error> {
        let id = &observed.execution_id;
        Ok(match self.executions.find(id, Consistency::Strong).await? {
            None => Err(Settled::Unknown),
            Some(row) if row.execution_arn() != observed.execution_arn => Err(Settled::Foreign),
            Some(row) if !observed.position().may_follow(row.position()) => {
                // Whoever was first may have died before it has asked this.
                self.complete_batch_of(&row).await?;
                Err(Settled::Stale)
            }
            Some(row) => Ok(row),
        })
    }

    /// Stores how the run ended, if it has.
    async fn store_outcome(
        &self,
        before: &Execution,
        after: &Execution,
        observed: &Observation,
    ) -> Result<Step, Error> {
        let Some(ttl) = after.ttl else { return Ok(Step::Applied) };
        // What tells it, and may not have told it yet, tells it as it was presumed.
        if is_confirmed(before, after) {
            return Ok(Step::Applied);
        }
        let outcome = outcome_of(after, observed);
        self.executions.put_outcome(&after.execution_id, &outcome, ttl).await
    }
}
