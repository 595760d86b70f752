//! One event: settle the row by what Step Functions says, and keep the agent's average; or apply
//! what the agent says itself.

use lambda_runtime::{Diagnostic, LambdaEvent};
use relay::{
    aws::{step_functions::StepFunctions, telemetry::Invocation},
    domain::{
        error::Error,
        json::{Json, Node},
        observation::Observation,
        time::Timestamp,
    },
    service::{
        agent_event::{AgentEvent, AgentEventOutcome},
        settle::{Settle, Settled},
    },
};
use tracing::{info, warn};

use crate::{
    agent_event,
    average::Averages,
    event::{self, Observed},
};

#[derive(Debug)]
pub(crate) struct StatusHandler {
    pub(crate) settle: Settle,
    pub(crate) step_functions: StepFunctions,
    pub(crate) averages: Averages,
}

pub(crate) async fn handle(
    handler: &StatusHandler,
    LambdaEvent { payload, context }: LambdaEvent<Json>,
) -> Result<(), Diagnostic> {
    let mut metrics = Invocation::start("status", Some(&context));
    // A text that was cut in the middle of a character must not cost the whole event.
    let event = Json::parse(payload.as_str()).unwrap_or(payload);
    let is_ours = match agent_event::read(event.node()).transpose()? {
        // A question's way is long, and most events are others.
        Some(Some(event)) => Box::pin(handler.apply_agent_event(&event)).await.map(|()| true)?,
        Some(None) => false,
        None => handler.settle(event.node()).await?,
    };
    if !is_ours {
        info!("ignored an event of an execution that was not started here");
    }
    metrics.failed = false;
    Ok(())
}

impl StatusHandler {
    /// Whether the event is one of ours.
    async fn settle(&self, event: Node<'_>) -> Result<bool, Error> {
        let Some(Observed { mut observation, is_truncated }) = event::read(event)? else {
            return Ok(false);
        };
        if is_truncated && self.settle.would_move(&observation).await? {
            observation = self.whole(&observation).await?;
        }
        let id = &observation.execution_id;
        match self.settle.apply(&observation).await? {
            Settled::Applied(execution) => {
                info!(execution.id = %id, "execution {id} is {}", execution.status);
                if let Err(error) = self.averages.include(&execution).await {
                    warn!(%error, "a run is missing in its agent's average");
                }
            }
            Settled::Stale => info!(execution.id = %id, "stale event: {id} has moved on"),
            // Other stacks, and whoever else in the account calls an execution so.
            Settled::Foreign => {
                info!(execution.id = %id, "foreign event: {id} runs on another state machine");
            }
            Settled::Unknown => info!(execution.id = %id, "unknown execution {id}"),
        }
        Ok(true)
    }

    async fn apply_agent_event(&self, event: &AgentEvent) -> Result<(), Error> {
        let id = &event.execution_id;
        let mut outcome = self.settle.apply_agent_event(event).await?;
        if let AgentEventOutcome::RowBehind(arn) | AgentEventOutcome::Unclear(arn) = &outcome {
            if let Some(observation) = self.step_functions.describe(id, arn).await? {
                self.settle.apply(&observation).await?;
            }
            outcome = self.settle.apply_agent_event(event).await?;
        }
        match outcome {
            AgentEventOutcome::Applied => {
                info!(execution.id = %id, "applied an event of the agent of {id}");
            }
            AgentEventOutcome::Stale => info!(execution.id = %id, "stale event: {id} has moved on"),
            AgentEventOutcome::Foreign => {
                info!(execution.id = %id, "foreign event: {id} runs on another state machine");
            }
            AgentEventOutcome::Unknown => info!(execution.id = %id, "unknown execution {id}"),
            AgentEventOutcome::Unclear(_) if event.is_known_by(Timestamp::now()) => {
                info!(execution.id = %id, "stale event: {id} has ended");
            }
            // Step Functions is about to know of it: the event is retried.
            AgentEventOutcome::RowBehind(_) | AgentEventOutcome::Unclear(_) => {
                return Err(Error::Busy("apply an agent's event"));
            }
        }
        Ok(())
    }

    /// What an event says whose output was too large for it, or whose data is encrypted. Step Functions answers eventually
    /// consistently: while it has not come as far as the event, the event is retried.
    async fn whole(&self, truncated: &Observation) -> Result<Observation, Error> {
        let Observation { execution_id, execution_arn, .. } = truncated;
        let described = self.step_functions.describe(execution_id, execution_arn).await?;
        let whole = described.filter(|described| described.position() >= truncated.position());
        whole.ok_or(Error::Busy("read an output"))
    }
}
