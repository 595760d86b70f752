//! The tasks extension (`io.modelcontextprotocol/tasks`, SEP-2663): a task is an execution, and its
//! id is the execution's, which nobody can guess and only its owner may use.

use std::time::Duration;

use relay::{
    answer::{Monitor, POLL_INTERVAL, Results},
    caller::Caller,
    error::Error,
    execution::Status,
    service::{change::Change, read::Reader, start::Accepted},
    store::executions::Finished,
    time::Timestamp,
};
use rmcp::model::{DetailedTask, ErrorCode, Task, TaskPayload, TaskStatus};
use serde_json::{Value, json};

use crate::tools::{outcome, parse_id};

/// The task that a start was answered with.
pub(crate) fn created(accepted: &Accepted) -> Task {
    let created_at = accepted.created_at.rfc3339();
    task(accepted.receipt.execution_id.as_str(), created_at.clone(), created_at)
}

fn task(id: &str, created_at: String, updated_at: String) -> Task {
    let interval = Duration::from_secs(POLL_INTERVAL.into());
    Task::new(id, TaskStatus::Working, created_at, updated_at)
        .with_poll_interval_ms(interval.as_millis().try_into().unwrap_or_default())
}

/// Where the task stands, with its result once it has one. Until its end it is kept without
/// limit; from then on its time to live is known.
pub(crate) async fn get(
    reader: &Reader,
    caller: &Caller,
    task_id: &str,
) -> Result<DetailedTask, Error> {
    let id = parse_id(task_id).map_err(|_| NOT_FOUND)?;
    let finished = reader.finished(caller, &id, false).await.map_err(of_task)?;
    let Finished { execution, outcome: stored, .. } = finished;
    let results = Results::of(&execution, stored.as_ref());
    let payload = match execution.status {
        Status::Queued | Status::Running | Status::InputRequired => TaskPayload::Working,
        Status::Cancelled => TaskPayload::Cancelled,
        // The agent never ran, so it is the call that failed, and not what it called.
        Status::Failed if execution.started_at.is_none() => never_ran(&results),
        Status::Completed | Status::Failed | Status::Timeout => {
            let result = serde_json::to_value(outcome(&results)?);
            match result.map_err(|error| Error::corrupt("a result", error))? {
                Value::Object(result) => TaskPayload::Completed { result },
                _ => TaskPayload::Completed { result: serde_json::Map::new() },
            }
        }
    };
    let ttl = execution.ttl.map(|ttl| Timestamp::from_millis(ttl.saturating_mul(1000)));
    let ttl = ttl.map(|ttl| ttl.millis_since(execution.created_at));
    let monitor = Monitor::of(execution, Timestamp::now());
    let message = match monitor.progress {
        Some(percent) => format!("{} ({percent} %)", monitor.message),
        None => monitor.message,
    };
    let mut task = task(task_id, monitor.created_at.rfc3339(), monitor.updated_at.rfc3339())
        .with_status_message(message);
    task.ttl_ms = ttl;
    Ok(DetailedTask::new(task, payload))
}

fn never_ran(results: &Results) -> TaskPayload {
    let error = results.error.as_ref();
    let cause = error.and_then(|error| error.cause.as_deref()).unwrap_or("it was never launched");
    let error = json!({
        "code": ErrorCode::INTERNAL_ERROR.0,
        "message": format!("The agent could not be run: {cause}"),
    });
    TaskPayload::Failed { error: error.as_object().cloned().unwrap_or_default() }
}

/// Asks for the end of the task; of one that has ended there is nothing to ask.
pub(crate) async fn cancel(change: &Change, caller: &Caller, task_id: &str) -> Result<(), Error> {
    let id = parse_id(task_id).map_err(|_| NOT_FOUND)?;
    match change.cancel(caller, &id).await.map_err(of_task) {
        Ok(_) | Err(Error::Conflict(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

const NOT_FOUND: Error = Error::NotFound("task");

/// The same refusal, in the words of one who asked for a task.
fn of_task(error: Error) -> Error {
    match error {
        Error::NotFound(_) => NOT_FOUND,
        other => other,
    }
}
