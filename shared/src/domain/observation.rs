//! What is known of a run from outside its row.

use std::borrow::Cow;

use crate::domain::{
    execution::Execution,
    id::ExecutionId,
    outcome::MAX_BYTES,
    protocol::Grounds,
    status::{Position, Status},
    time::Timestamp,
    truncated,
};

/// What is known of a run, from an event, from `DescribeExecution`, from its agent, or from a
/// refused launch.
#[derive(Debug, Clone)]
pub struct Observation {
    pub grounds: Grounds,
    pub execution_id: ExecutionId,
    pub execution_arn: String,
    pub status: Status,
    pub redrive_count: u32,
    pub started_at: Option<Timestamp>,
    pub completed_at: Option<Timestamp>,
    /// The output as JSON text, of a completed run.
    pub output: Option<String>,
    pub error: Option<String>,
    pub cause: Option<String>,
}

impl Observation {
    /// That a run ended which Step Functions never ran, or does not know.
    #[must_use]
    pub fn never_ran(
        execution: &Execution,
        grounds: Grounds,
        status: Status,
        code: &str,
        cause: &str,
    ) -> Self {
        Self {
            grounds,
            execution_id: execution.execution_id.clone(),
            execution_arn: execution.execution_arn(),
            status,
            redrive_count: execution.redrive_count,
            started_at: None,
            completed_at: Some(Timestamp::now()),
            output: None,
            error: Some(code.to_owned()),
            cause: Some(cause.to_owned()),
        }
    }

    /// The same where it can be stored, and else without what is too large for that: a completed run
    /// is told as failed, since its caller has no result; one that ended otherwise keeps its code.
    pub(crate) fn storable(&self) -> Cow<'_, Self> {
        let texts = [&self.output, &self.error, &self.cause];
        let bytes: usize = texts.into_iter().flatten().map(String::len).sum();
        if bytes <= MAX_BYTES {
            return Cow::Borrowed(self);
        }
        let told = if self.status == Status::Completed {
            let cause = format!(
                "the agent completed, but its output of {bytes} bytes is too large to be kept: at \
                 most {MAX_BYTES} are"
            );
            let error = Some("output_too_large".to_owned());
            Self { status: Status::Failed, output: None, error, cause: Some(cause), ..self.clone() }
        } else {
            let error =
                self.error.as_deref().map(|it| truncated::chars(it, MAX_ERROR_CODE).to_owned());
            let cause = self.cause.as_deref().map(|it| truncated::chars(it, MAX_CAUSE).to_owned());
            Self { output: None, error, cause, ..self.clone() }
        };
        Cow::Owned(told)
    }

    /// That a run which was claimed runs.
    #[must_use]
    pub fn runs(execution: &Execution, started_at: Option<Timestamp>) -> Self {
        Self {
            grounds: Grounds::Told,
            execution_id: execution.execution_id.clone(),
            execution_arn: execution.execution_arn(),
            status: Status::Running,
            redrive_count: execution.redrive_count,
            started_at,
            completed_at: None,
            output: None,
            error: None,
            cause: None,
        }
    }

    /// Where the run stands by this.
    #[must_use]
    pub const fn position(&self) -> Position {
        let rank = self.grounds.rank(self.status);
        Position { redrive_count: self.redrive_count, rank }
    }
}

/// The longest error code that the small `state` part takes; the whole one is in the outcome.
pub(crate) const MAX_ERROR_CODE: usize = 256;

/// What is kept of a cause that is too large to be stored: as much as Step Functions takes.
pub(crate) const MAX_CAUSE: usize = 32_768;
