//! What is done with a run: its start, and its end.

use std::time::Duration;

use relay::{
    aws::{
        failure,
        queue::{LaunchMessage, MAX_DELAY, Queue},
        step_functions::{Started, StepFunctions},
        telemetry::{self, RunMetric},
    },
    domain::{
        error::Error,
        execution::Execution,
        id::ExecutionId,
        launch_attempts::{LaunchAttempts, Next},
        observation::Observation,
        protocol::{Grounds, UnclaimedEnd},
        status::{Rank, Status, StopReason, default_code},
        time::Timestamp,
    },
    service::settle::{Settle, Settled},
    store::{agents::Agents, batch::Consistency},
};
use tracing::{info, warn};

#[derive(Debug)]
pub(crate) struct Launcher {
    pub(crate) settle: Settle,
    pub(crate) step_functions: StepFunctions,
    pub(crate) queue: Queue,
    pub(crate) agents: Agents,
    /// After which silence `sweep` sends the hint for a launch again.
    pub(crate) launch_overdue: Duration,
}

impl Launcher {
    /// Opens the connections that a launch needs.
    pub(crate) async fn warm_up(&self) {
        tokio::join!(self.settle.executions.warm_up(), self.step_functions.warm_up());
    }

    pub(crate) async fn launch(
        &self,
        execution: &Execution,
        input: String,
        trace: Option<String>,
        attempts: LaunchAttempts,
    ) -> Result<(), Error> {
        let id = &execution.execution_id;
        let started = self.step_functions.start(execution, input, trace).await?;
        if let Started::At(told) = started {
            info!("launched execution {id}");
            let now = Timestamp::now();
            let started_at = execution.believed(told, now);
            let started_at = started_at.unwrap_or(now.max(execution.created_at));
            let after_ms = started_at.millis_since(execution.wanted_at());
            telemetry::record(id, &execution.agent_name, RunMetric::Launched { after_ms });
        }
        match attempts.after(started.reply()) {
            // The row stays as it is until Step Functions tells of the run, as it does at once;
            // where that is lost, `sweep` asks.
            Next::Nothing => Ok(()),
            Next::Settle => self.settle(&Observation::runs(execution, started.at())).await,
            Next::Ask => self.ask(execution).await.map(drop),
            Next::Again { answered } => self.delay(execution, &started, answered).await,
            Next::AskOrPresume if self.ask(execution).await? => Ok(()),
            Next::AskOrPresume => self.presume(execution, started).await,
        }
    }

    /// Settles a run by what Step Functions says of it; `false` where it knows nothing, or not yet.
    async fn ask(&self, execution: &Execution) -> Result<bool, Error> {
        let (id, arn) = (&execution.execution_id, execution.execution_arn());
        match self.step_functions.describe(id, &arn).await {
            Ok(Some(observed)) => {
                self.settle(&observed).await?;
                Ok(true)
            }
            Ok(None) => Ok(false),
            // Another attempt would change nothing.
            Err(error @ Error::Forbidden(_)) => {
                failure::log(&error);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Settles a run by what is known of it, and stops it where it is to end.
    async fn settle(&self, observed: &Observation) -> Result<(), Error> {
        let row = match self.settle.apply(observed).await? {
            Settled::Applied(row) => Some(*row),
            // Whoever was first need not have known that it is to end.
            Settled::Stale => {
                self.settle.executions.find(&observed.execution_id, Consistency::Strong).await?
            }
            Settled::Foreign | Settled::Unknown => None,
        };
        match row.filter(|row| row.position().rank == Rank::Running) {
            Some(running) => self.stop_where_due(&running).await,
            None => Ok(()),
        }
    }

    /// Ends a run that cannot be started. That is presumed: an attempt of which nothing is known may
    /// have started it.
    async fn presume(&self, execution: &Execution, started: Started) -> Result<(), Error> {
        let id = &execution.execution_id;
        let observed = match started {
            Started::Refused { code, cause } => {
                info!(code, "execution {id} cannot be launched");
                presumed(execution, Status::Failed, &code, &cause)
            }
            Started::Denied(error) => {
                failure::log(&error);
                // Whoever has cancelled it is told that, as of any run that was never started.
                match execution.facts().to_stop(Timestamp::now()) {
                    Some(reason) => {
                        let (status, code, cause) = stopped(reason);
                        presumed(execution, status, code, cause)
                    }
                    None => {
                        presumed(execution, Status::Failed, "launch_denied", &denied(execution))
                    }
                }
            }
            Started::At(_) | Started::Before | Started::Delayed { .. } => return Ok(()),
        };
        self.settle.apply(&observed).await?;
        Ok(())
    }

    /// Step Functions is busy: again after a pause that grows with each time.
    async fn delay(
        &self,
        execution: &Execution,
        started: &Started,
        answered: Option<u32>,
    ) -> Result<(), Error> {
        let pause = pause_after(execution.launch_delays, &execution.execution_id);
        if let Started::Delayed { error, .. } | Started::Denied(error) = started {
            failure::log(error);
        }
        warn!(delays = execution.launch_delays + 1, "launch again in {} s", pause.as_secs());
        let due_at = Timestamp::now().plus(pause + self.launch_overdue);
        let id = execution.execution_id.clone();
        self.settle.executions.delay_launch(&id, due_at, answered).await?;
        self.queue.enqueue_hint(&LaunchMessage::of(id), &execution.user_id, pause).await;
        Ok(())
    }

    /// A queued run that may not be claimed: it never runs.
    pub(crate) async fn end_unclaimed(&self, execution: &Execution) -> Result<(), Error> {
        let id = &execution.execution_id;
        if execution.claimed_at.is_some() {
            // Claimed in time, but not launched until its grace had passed: whether it runs, only
            // Step Functions knows, and `sweep` asks.
            warn!("the claim of {id} is too old to launch it");
            return Ok(());
        }
        let (status, code, cause) = match execution.facts().unclaimed_end(Timestamp::now()) {
            Some(UnclaimedEnd::Stopped(reason)) => stopped(reason),
            Some(UnclaimedEnd::QueueTimeout) => {
                (Status::Failed, "queue_timeout", "it could not be launched in time")
            }
            // It is too early, or the clock that refused the claim is ahead of ours. Where no message can
            // wait for so long, `sweep` sends it.
            None => {
                if let Some(wait) = execution.facts().message_delay(Timestamp::now()) {
                    let message = LaunchMessage::of(id.clone());
                    self.queue.enqueue_hint(&message, &execution.user_id, wait).await;
                }
                return Ok(());
            }
        };
        info!("execution {id} ends before its launch: {code}");
        let observed = Observation::never_ran(execution, Grounds::Unclaimed, status, code, cause);
        self.settle.apply(&observed).await?;
        Ok(())
    }

    /// Stops a running run whose caller wants that, or whose time is up. Its end comes as an
    /// event, like any other, and may be another one if it got there first.
    pub(crate) async fn stop_where_due(&self, execution: &Execution) -> Result<(), Error> {
        let id = &execution.execution_id;
        let Some(reason) = execution.facts().to_stop(Timestamp::now()) else {
            info!("nothing to do: {id} runs");
            return Ok(());
        };
        let redrive_count = execution.redrive_count;
        // By the reason that was written first, by which its end will be told.
        if let Some(reason) = self.settle.executions.stopping(id, redrive_count, reason).await? {
            let code = default_code(reason.status());
            self.step_functions.stop(execution, code, reason.cause()).await?;
            info!("stopped execution {id}: {}", reason.as_str());
        }
        Ok(())
    }

    /// Stops a run that was reported as ended, should it run all the same.
    pub(crate) async fn stop_presumed(&self, execution: &Execution) -> Result<(), Error> {
        let id = &execution.execution_id;
        let code = execution.error_code.as_deref().unwrap_or(default_code(execution.status));
        self.step_functions
            .stop(execution, code, "agent-relay had already reported that it ended")
            .await?;
        info!("{id} was reported as ended: it is no longer running");
        Ok(())
    }
}

/// That a claimed run ended which may never have been started.
fn presumed(execution: &Execution, status: Status, code: &str, cause: &str) -> Observation {
    Observation::never_ran(execution, Grounds::Presumed, status, code, cause)
}

/// How a run ends that is to be stopped and was never started: status, code and cause.
const fn stopped(reason: StopReason) -> (Status, &'static str, &'static str) {
    let code = match reason {
        StopReason::Cancel => "Cancelled",
        StopReason::Deadline => "States.Timeout",
    };
    (reason.status(), code, reason.cause())
}

/// What its caller is told of a run that we may not start.
fn denied(execution: &Execution) -> String {
    format!(
        "agent-relay may not start {}: its name must match the stack's parameter AgentStateMachines, \
         and its key, where it has one, must let the launch function use it",
        execution.state_machine_arn.as_str()
    )
}

/// 2, 4, 8 … seconds, at most 15 minutes, and up to half as much again, so that what was refused
/// together does not come back together.
fn pause_after(delays: u32, id: &ExecutionId) -> Duration {
    let step = Duration::from_secs(2 << delays.min(8)).min(MAX_DELAY * 2 / 3);
    let spread = id.as_str().bytes().next_back().unwrap_or_default() % 32;
    step.mul_f64(1.0 + f64::from(spread) / 64.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_and_stays_within_what_sqs_can_wait() {
        let id: ExecutionId = "mcp-echo-1z".parse().unwrap();
        let pauses: Vec<_> = (0..12).map(|delays| pause_after(delays, &id)).collect();

        assert!(pauses[0] >= Duration::from_secs(2) && pauses[0] <= Duration::from_secs(3));
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(pauses[11] >= Duration::from_mins(8) && pauses[11] <= MAX_DELAY);
        assert!(pause_after(u32::MAX, &id) <= MAX_DELAY);
    }
}
