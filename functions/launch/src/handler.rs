//! One message: claim the run, start it, record that it runs.

use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use aws_sdk_sfn::operation::start_execution::StartExecutionError;
use lambda_runtime::Diagnostic;
use relay::{
    error::Error,
    execution::{Execution, Status},
    queue::{self, LaunchMessage},
    service::settle::{Observation, Settle},
    store::executions::{Claim, Step},
    telemetry::Invocation,
    time::Timestamp,
};
use tracing::info;

#[derive(Debug)]
pub(crate) struct Launcher {
    pub(crate) settle: Settle,
    pub(crate) step_functions: aws_sdk_sfn::Client,
    /// After which silence `sweep` hurries a launch again.
    pub(crate) launch_overdue: Duration,
}

pub(crate) async fn handle(
    launcher: &Launcher,
    event: SqsEvent,
) -> Result<SqsBatchResponse, Diagnostic> {
    let mut metrics = Invocation::start("launch");
    let response = queue::consume(event, |message: LaunchMessage| launcher.launch(message)).await;
    metrics.failed = !response.batch_item_failures.is_empty();
    Ok(response)
}

/// What came of `StartExecution`.
enum Started {
    At(Timestamp),
    /// It will never start: the error's code and message.
    Refused {
        code: String,
        cause: String,
    },
}

impl Launcher {
    #[tracing::instrument(skip_all, fields(execution.id = %message.execution_id))]
    async fn launch(&self, message: LaunchMessage) -> Result<(), Error> {
        let id = message.execution_id;
        let executions = &self.settle.executions;
        let due_at = Timestamp::now().plus(self.launch_overdue);
        // The input never changes, so it can be read while the claim is made.
        let (claim, input) =
            tokio::join!(executions.claim(&id, due_at), executions.find_input(&id));
        let execution = match claim? {
            Claim::Claimed(execution) => execution,
            Claim::Refused => {
                info!("nothing to launch: {id} has moved on");
                return Ok(());
            }
            Claim::Unknown => {
                info!("nothing to launch: {id} is gone");
                return Ok(());
            }
        };
        let input = input?.ok_or_else(|| Error::corrupt("an input", "it is missing"))?;
        match self.start(&execution, input.input).await? {
            Started::At(started_at) => {
                let due_at = Timestamp::now().plus(self.settle.news_overdue);
                if executions.launched(&id, started_at, due_at).await? == Step::Applied {
                    info!("launched execution {id}");
                }
            }
            Started::Refused { code, cause } => {
                info!(code, "execution {id} cannot be launched");
                self.settle.apply(&refused(&execution, code, cause)).await?;
            }
        }
        Ok(())
    }

    /// The name makes this idempotent: however often it is called, one execution runs.
    async fn start(&self, execution: &Execution, input: String) -> Result<Started, Error> {
        let started = self
            .step_functions
            .start_execution()
            .state_machine_arn(execution.state_machine_arn.as_str())
            .name(execution.execution_id.as_str())
            .input(input)
            .send()
            .await;
        let error = match started {
            Ok(output) => return Ok(Started::At(output.start_date.into())),
            Err(error) => error,
        };
        match error.as_service_error() {
            // An earlier try of ours has started it; when exactly, its own events will say.
            Some(StartExecutionError::ExecutionAlreadyExists(_)) => {
                Ok(Started::At(Timestamp::now()))
            }
            Some(
                refusal @ (StartExecutionError::InvalidArn(_)
                | StartExecutionError::InvalidExecutionInput(_)
                | StartExecutionError::InvalidName(_)
                | StartExecutionError::StateMachineDeleting(_)
                | StartExecutionError::StateMachineDoesNotExist(_)
                | StartExecutionError::ValidationException(_)),
            ) => Ok(Started::Refused {
                code: refusal.meta().code().unwrap_or("LaunchRefused").to_owned(),
                cause: refusal
                    .meta()
                    .message()
                    .unwrap_or("Step Functions refused the launch")
                    .to_owned(),
            }),
            _ => Err(Error::aws("start an execution")(error)),
        }
    }
}

/// A run that never was ends as failed, by the same rule as any other.
fn refused(execution: &Execution, code: String, cause: String) -> Observation {
    Observation {
        execution_id: execution.execution_id.clone(),
        execution_arn: execution.execution_arn(),
        status: Status::Failed,
        redrive_count: 0,
        started_at: None,
        completed_at: Some(Timestamp::now()),
        output: None,
        error: Some(code),
        cause: Some(cause),
    }
}
