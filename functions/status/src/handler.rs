//! One event: complete it where it is truncated, settle the row, keep the agent's average.

use lambda_runtime::Diagnostic;
use relay::{
    error::Error,
    execution::Status,
    service::settle::{Observation, Settle, Settled},
    telemetry::Invocation,
};
use serde_json::Value;
use tracing::{info, warn};

use crate::{
    average::Averages,
    event::{self, Observed},
};

#[derive(Debug)]
pub(crate) struct StatusHandler {
    pub(crate) settle: Settle,
    pub(crate) step_functions: aws_sdk_sfn::Client,
    pub(crate) averages: Averages,
}

pub(crate) async fn handle(handler: &StatusHandler, event: Value) -> Result<(), Diagnostic> {
    let mut metrics = Invocation::start("status");
    handler.settle(event).await?;
    metrics.failed = false;
    Ok(())
}

impl StatusHandler {
    async fn settle(&self, event: Value) -> Result<(), Error> {
        let Observed {
            mut observation,
            is_truncated,
        } = event::read(event)?;
        if is_truncated {
            observation.output = Some(self.output(&observation).await?);
        }
        let id = &observation.execution_id;
        match self.settle.apply(&observation).await? {
            Settled::Applied(execution) => {
                info!(execution.id = %id, "execution {id} is {}", execution.status);
                if let Err(error) = self.averages.include(&execution).await {
                    warn!(%error, "an agent's average misses a run");
                }
            }
            Settled::Stale => info!(execution.id = %id, "stale event: {id} has moved on"),
            Settled::Foreign => {
                warn!(execution.id = %id, "foreign event: {id} runs on another state machine");
            }
            Settled::Unknown => warn!(execution.id = %id, "unknown execution {id}"),
        }
        Ok(())
    }

    /// The output that was too large for the event. Step Functions answers eventually
    /// consistently: a run that has not ended for it yet is an error, and the event is retried.
    async fn output(&self, observation: &Observation) -> Result<String, Error> {
        let described = self
            .step_functions
            .describe_execution()
            .execution_arn(&observation.execution_arn)
            .send()
            .await
            .map_err(Error::aws("describe an execution"))?;
        let is_same = described.redrive_count.unwrap_or_default().cast_unsigned()
            == observation.redrive_count;
        let output = described
            .output
            .filter(|_| is_same && observation.status == Status::Completed);
        output.ok_or(Error::Busy("read an output"))
    }
}
