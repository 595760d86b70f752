//! The calls to Step Functions: start, stop, describe, answer.

use aws_config::SdkConfig;
use aws_sdk_sfn::{
    Client, config,
    error::ProvideErrorMetadata,
    operation::{
        describe_execution::{DescribeExecutionError, DescribeExecutionOutput},
        redrive_execution::RedriveExecutionError,
        send_task_success::SendTaskSuccessError,
        start_execution::StartExecutionError,
        stop_execution::StopExecutionError,
    },
    types::{ExecutionStatus, IncludedData},
};

use crate::{
    aws::{
        connection::{OnDemand, on_demand},
        failure,
        preconnect::Preconnect,
    },
    domain::{
        error::Error,
        execution::Execution,
        id::{ExecutionId, TaskToken},
        launch_attempts::Reply,
        observation::Observation,
        protocol::Grounds,
        status::Status,
        time::Timestamp,
        truncated,
    },
};

/// How much is kept of why a redrive is refused.
const MAX_REASON: usize = 500;

#[derive(Debug, Clone)]
pub struct StepFunctions(OnDemand<Client>);

/// What came of `StartExecution`.
#[derive(Debug)]
pub enum Started {
    /// It runs since then.
    At(Timestamp),
    /// An earlier attempt of ours has started it; it may have ended.
    Before,
    /// It cannot be taken now; the same call may succeed later.
    Delayed {
        error: Error,
        /// Whether Step Functions has said so itself: else it may have started the run.
        is_answer: bool,
    },
    /// We may not start this machine, or not use its key.
    Denied(Error),
    /// It will never start: the error's code and message.
    Refused { code: String, cause: String },
}

impl Started {
    /// Since when it runs, where that is known.
    #[must_use]
    pub const fn at(&self) -> Option<Timestamp> {
        match self {
            Self::At(started_at) => Some(*started_at),
            Self::Before | Self::Delayed { .. } | Self::Denied(_) | Self::Refused { .. } => None,
        }
    }

    /// As the rules ask for it.
    #[must_use]
    pub const fn reply(&self) -> Reply {
        match self {
            Self::At(_) => Reply::Runs,
            Self::Before => Reply::Exists,
            Self::Delayed { is_answer, .. } => Reply::Delayed { is_answer: *is_answer },
            Self::Denied(_) => Reply::Denied,
            Self::Refused { .. } => Reply::Refused,
        }
    }
}

/// What came of `RedriveExecution`.
#[derive(Debug)]
pub enum Redriven {
    Accepted,
    /// The reason, by Step Functions' word, or that we may not.
    Refused(String),
}

/// What came of `SendTaskSuccess`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    Taken,
    /// Nothing waits by this token: no more, or because an earlier attempt was taken.
    Gone,
}

impl StepFunctions {
    #[must_use]
    pub fn new(config: &SdkConfig) -> Self {
        Self(on_demand(config, Client::new))
    }

    /// Opens the connection by which runs are started: see [`crate::aws::connection::warm_up`].
    pub async fn warm_up(&self) {
        drop(self.0.start_execution().customize().interceptor(Preconnect).send().await);
    }

    /// Starts a run under its id, with its frozen input. The name makes this idempotent: however
    /// often it is called, one execution runs. It goes on with the X-Ray trace, where there is one.
    pub async fn start(
        &self,
        execution: &Execution,
        input: String,
        trace: Option<String>,
    ) -> Result<Started, Error> {
        let started = self
            .0
            .start_execution()
            .state_machine_arn(execution.state_machine_arn.as_str())
            .name(execution.execution_id.as_str())
            .input(input)
            .set_trace_header(trace)
            .send()
            .await;
        let error = match started {
            Ok(output) => return Ok(Started::At(output.start_date.into())),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(StartExecutionError::ExecutionAlreadyExists(_)) => Ok(Started::Before),
            Some(
                refusal @ (StartExecutionError::InvalidArn(_)
                | StartExecutionError::InvalidExecutionInput(_)
                | StartExecutionError::InvalidName(_)
                | StartExecutionError::StateMachineDeleting(_)
                | StartExecutionError::StateMachineDoesNotExist(_)
                | StartExecutionError::ValidationException(_)),
            ) => Ok(Started::Refused {
                code: refusal.code().unwrap_or("LaunchRefused").to_owned(),
                cause: refusal.message().unwrap_or("Step Functions refused the launch").to_owned(),
            }),
            _ if is_denial(error.code()) => {
                Ok(Started::Denied(Error::aws("start an execution")(error)))
            }
            _ => {
                let response = error.raw_response();
                let is_answer = response.is_some_and(|it| it.status().is_client_error());
                match Error::aws("start an execution")(error) {
                    error @ (Error::Service { transient: true, .. } | Error::Busy(_)) => {
                        Ok(Started::Delayed { error, is_answer })
                    }
                    error => Err(error),
                }
            }
        }
    }

    /// Stops a run; one that has ended, or never was, is as good as stopped. Error and cause are data, for
    /// which a machine with a key of its own wants the right to use that: where it is denied, it is stopped
    /// without them (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_StopExecution.html>).
    pub async fn stop(&self, execution: &Execution, error: &str, cause: &str) -> Result<(), Error> {
        let stop = self.0.stop_execution().execution_arn(execution.execution_arn());
        let mut stopped = stop.clone().error(error).cause(cause).send().await;
        if stopped.as_ref().is_err_and(|error| is_denial(error.code())) {
            stopped = stop.send().await;
        }
        match stopped {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(StopExecutionError::is_execution_does_not_exist) =>
            {
                Ok(())
            }
            Err(error) => Err(Error::aws("stop an execution")(error)),
        }
    }

    /// Has a run go on from where it failed. Repeating it within 15 minutes is harmless, by the redrive that it
    /// is to be.
    pub async fn redrive(&self, execution: &Execution) -> Result<Redriven, Error> {
        let redriven = self
            .0
            .redrive_execution()
            .execution_arn(execution.execution_arn())
            .client_token(format!("redrive-{}", execution.redrive_count + 1))
            .send()
            .await;
        let Err(error) = redriven else { return Ok(Redriven::Accepted) };
        match error.as_service_error() {
            Some(
                refusal @ (RedriveExecutionError::ExecutionNotRedrivable(_)
                | RedriveExecutionError::ExecutionDoesNotExist(_)
                | RedriveExecutionError::InvalidArn(_)
                | RedriveExecutionError::ValidationException(_)),
            ) => {
                let reason = refusal.message().or_else(|| refusal.code());
                let reason = reason.unwrap_or("Step Functions refused the redrive");
                Ok(Redriven::Refused(truncated::chars(reason, MAX_REASON).to_owned()))
            }
            _ if is_denial(error.code()) => {
                failure::log(&Error::aws("redrive an execution")(error));
                Ok(Redriven::Refused("agent-relay may not redrive this execution".to_owned()))
            }
            _ => Err(Error::aws("redrive an execution")(error)),
        }
    }

    /// Gives a waiting agent its answer, by one attempt: what was taken is told by the same error as
    /// what came too late, so only the caller, who counts the attempts, can tell them apart.
    pub async fn answer(&self, token: &TaskToken, answer: String) -> Result<Given, Error> {
        let once = config::retry::RetryConfig::disabled();
        let given = self
            .0
            .send_task_success()
            .task_token(token.as_str())
            .output(answer)
            .customize()
            .config_override(config::Builder::new().retry_config(once))
            .send()
            .await;
        match given {
            Ok(_) => Ok(Given::Taken),
            Err(error) => match error.as_service_error() {
                Some(
                    SendTaskSuccessError::InvalidToken(_)
                    | SendTaskSuccessError::TaskDoesNotExist(_)
                    | SendTaskSuccessError::TaskTimedOut(_),
                ) => Ok(Given::Gone),
                // No later attempt is taken either.
                Some(SendTaskSuccessError::InvalidOutput(_)) => {
                    tracing::warn!("Step Functions does not accept this answer");
                    Ok(Given::Gone)
                }
                _ => Err(Error::aws("give an answer")(error)),
            },
        }
    }

    /// What Step Functions knows of a run, eventually consistent; `None` when it knows nothing.
    pub async fn describe(
        &self,
        id: &ExecutionId,
        execution_arn: &str,
    ) -> Result<Option<Observation>, Error> {
        let describe = self.0.describe_execution().execution_arn(execution_arn);
        match describe.clone().send().await {
            Ok(output) => observed(id, output).map(Some),
            // Its data is under a key that we may not use; that it has ended is not.
            Err(error) if is_denial(error.code()) => {
                let described = describe.included_data(IncludedData::MetadataOnly).send().await;
                let output = described.map_err(|error| match error.code() {
                    code if is_denial(code) => {
                        Error::Forbidden(format!("states:DescribeExecution:{execution_arn}"))
                    }
                    _ => Error::aws("describe an execution")(error),
                })?;
                observed(id, output).map(|observed| Some(unreadable(observed)))
            }
            Err(error) if error.as_service_error().is_some_and(is_unknown) => Ok(None),
            Err(error) => Err(Error::aws("describe an execution")(error)),
        }
    }
}

/// Whether there is no such execution, or can be none: a start under such an ARN is refused likewise.
fn is_unknown(error: &DescribeExecutionError) -> bool {
    error.is_execution_does_not_exist()
        || error.is_invalid_arn()
        || error.code() == Some("ValidationException")
}

/// Whether an error says that we may not, for as long as nobody changes a policy or a key.
fn is_denial(code: Option<&str>) -> bool {
    const DENIALS: [&str; 3] =
        ["AccessDeniedException", "KmsAccessDeniedException", "KmsInvalidStateException"];
    code.is_some_and(|code| DENIALS.contains(&code))
}

fn observed(id: &ExecutionId, output: DescribeExecutionOutput) -> Result<Observation, Error> {
    Ok(Observation {
        grounds: Grounds::Told,
        status: status(&output.status)?,
        execution_id: id.clone(),
        execution_arn: output.execution_arn,
        redrive_count: output.redrive_count.unwrap_or_default().cast_unsigned(),
        started_at: Some(output.start_date.into()),
        completed_at: output.stop_date.map(Timestamp::from),
        output: output.output,
        error: output.error,
        cause: output.cause,
    })
}

/// A completed run whose output nobody can read is told as failed: its caller has no result. One
/// that ended otherwise keeps the code of that.
fn unreadable(observed: Observation) -> Observation {
    if observed.status != Status::Completed {
        let cause = observed.status.is_end().then(|| format!("why {UNREADABLE}"));
        return Observation { cause, ..observed };
    }
    Observation {
        status: Status::Failed,
        error: Some("output_unreadable".to_owned()),
        cause: Some(format!("the agent completed, but its output {UNREADABLE}")),
        ..observed
    }
}

/// What to do about data that is under a key which we may not use.
const UNREADABLE: &str = "is encrypted by a key that agent-relay may not use: name the key's ARN in \
                          the stack's parameter AgentKeyArns";

fn status(status: &ExecutionStatus) -> Result<Status, Error> {
    match status {
        // A run that waits for its redrive is on its way, and has events to come.
        ExecutionStatus::Running | ExecutionStatus::PendingRedrive => Ok(Status::Running),
        ExecutionStatus::Succeeded => Ok(Status::Completed),
        ExecutionStatus::Failed => Ok(Status::Failed),
        ExecutionStatus::TimedOut => Ok(Status::Timeout),
        ExecutionStatus::Aborted => Ok(Status::Cancelled),
        unknown => Err(Error::corrupt("an execution's status", unknown.as_str().to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_policy_or_a_key_can_change_is_a_denial() {
        for code in
            ["AccessDeniedException", "KmsAccessDeniedException", "KmsInvalidStateException"]
        {
            assert!(is_denial(Some(code)), "{code}");
        }
        for code in ["KmsThrottlingException", "ThrottlingException", "ExecutionDoesNotExist"] {
            assert!(!is_denial(Some(code)), "{code}");
        }
        assert!(!is_denial(None));
    }

    #[test]
    fn a_completed_run_whose_output_may_not_be_read_has_failed_and_says_why() {
        let id: ExecutionId = "mcp-echo-1".parse().unwrap();
        let seen = |status| Observation {
            grounds: Grounds::Told,
            execution_id: id.clone(),
            execution_arn: String::new(),
            status,
            redrive_count: 0,
            started_at: None,
            completed_at: None,
            output: None,
            error: None,
            cause: None,
        };

        let told = unreadable(seen(Status::Completed));
        assert_eq!(
            (told.status, told.error.as_deref()),
            (Status::Failed, Some("output_unreadable"))
        );
        assert!(told.cause.unwrap().contains("AgentKeyArns"));
        for other in [Status::Failed, Status::Timeout, Status::Cancelled] {
            let told = unreadable(seen(other));
            assert_eq!((told.status, told.error), (other, None));
            assert!(told.cause.unwrap().contains("AgentKeyArns"), "{other}");
        }
        let told = unreadable(seen(Status::Running));
        assert_eq!((told.status, told.error, told.cause), (Status::Running, None, None));
    }
}
