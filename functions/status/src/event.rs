//! The event that Step Functions sends to EventBridge when the status of an execution changes
//! (<https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html>).

use relay::{
    error::Error,
    execution::{ExecutionId, Status},
    service::settle::Observation,
    time::Timestamp,
};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    detail: StatusChange,
}

/// The part of the event's `detail` that we use.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusChange {
    execution_arn: String,
    name: ExecutionId,
    status: StepFunctionsStatus,
    #[serde(default, deserialize_with = "millis")]
    start_date: Option<Timestamp>,
    #[serde(default, deserialize_with = "millis")]
    stop_date: Option<Timestamp>,
    output: Option<String>,
    output_details: Option<OutputDetails>,
    error: Option<String>,
    cause: Option<String>,
    redrive_count: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct OutputDetails {
    included: bool,
}

/// The status in the words of Step Functions.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum StepFunctionsStatus {
    Running,
    Succeeded,
    Failed,
    TimedOut,
    Aborted,
    PendingRedrive,
}

impl StepFunctionsStatus {
    const fn status(self) -> Status {
        match self {
            // A run that waits for its redrive is on its way, and will be heard of again.
            Self::Running | Self::PendingRedrive => Status::Running,
            Self::Succeeded => Status::Completed,
            Self::Failed => Status::Failed,
            Self::TimedOut => Status::Timeout,
            Self::Aborted => Status::Cancelled,
        }
    }
}

/// What an event says, and whether it says all.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) observation: Observation,
    /// The output was too large for the event: it must be asked for.
    pub(crate) is_truncated: bool,
}

/// Reads an event; one that is none of ours is an error with its reason.
pub(crate) fn read(event: Value) -> Result<Observed, Error> {
    let Event { detail } =
        serde_json::from_value(event).map_err(|error| Error::corrupt("a status event", error))?;
    let status = detail.status.status();
    let is_included = detail.output_details.is_none_or(|details| details.included);
    Ok(Observed {
        is_truncated: status == Status::Completed && (detail.output.is_none() || !is_included),
        observation: Observation {
            execution_id: detail.name,
            execution_arn: detail.execution_arn,
            status,
            redrive_count: detail.redrive_count.unwrap_or_default(),
            started_at: detail.start_date,
            completed_at: detail.stop_date,
            output: detail.output.filter(|_| is_included),
            error: detail.error,
            cause: detail.cause,
        },
    })
}

/// Milliseconds since 1970, as a number or (as some dates are documented) as text.
fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let value = Option::<Value>::deserialize(deserializer)?;
    let millis = value.and_then(|value| value.as_i64().or_else(|| value.as_str()?.parse().ok()));
    Ok(millis.map(Timestamp::from_millis))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fixture(name: &str) -> Value {
        let text = match name {
            "succeeded" => include_str!("../fixtures/succeeded.json"),
            "failed" => include_str!("../fixtures/failed.json"),
            "truncated" => include_str!("../fixtures/truncated.json"),
            other => panic!("{other}"),
        };
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_real_event_is_read_whole() {
        let Observed { observation, is_truncated } = read(fixture("succeeded")).unwrap();

        assert!(!is_truncated);
        assert_eq!(observation.execution_id.as_str(), "mcp-echo-01jf0z6v3m9q8k7w5x4y2z1abc");
        assert_eq!(observation.status, Status::Completed);
        assert_eq!(observation.redrive_count, 0);
        assert_eq!(observation.started_at, Some(Timestamp::from_millis(1_767_225_600_000)));
        assert_eq!(observation.completed_at, Some(Timestamp::from_millis(1_767_225_602_345)));
        assert_eq!(observation.output.as_deref(), Some(r#"{"result":"hello"}"#));
    }

    #[test]
    fn a_failure_carries_its_error_and_a_redrive_its_count() {
        let Observed { observation, is_truncated } = read(fixture("failed")).unwrap();

        assert!(!is_truncated);
        assert_eq!(observation.status, Status::Failed);
        assert_eq!(observation.redrive_count, 1);
        assert_eq!(observation.error.as_deref(), Some("AgentError"));
        assert_eq!(observation.cause.as_deref(), Some("the model refused"));
    }

    #[test]
    fn an_output_that_was_left_out_is_noticed() {
        let Observed { observation, is_truncated } = read(fixture("truncated")).unwrap();

        assert!(is_truncated);
        assert_eq!(observation.output, None);
    }

    #[test]
    fn every_status_is_known_and_odd_events_are_errors() {
        for (word, status) in [
            ("RUNNING", Status::Running),
            ("PENDING_REDRIVE", Status::Running),
            ("SUCCEEDED", Status::Completed),
            ("FAILED", Status::Failed),
            ("TIMED_OUT", Status::Timeout),
            ("ABORTED", Status::Cancelled),
        ] {
            let mut event = fixture("succeeded");
            event["detail"]["status"] = json!(word);
            assert_eq!(read(event).unwrap().observation.status, status);
        }
        let with = |name: &str, value: Value| {
            let mut event = fixture("succeeded");
            event["detail"][name] = value;
            event
        };
        for odd in [
            json!({}),
            json!(null),
            json!([]),
            json!({"detail": 1}),
            with("status", json!("DANCING")),
            with("name", json!("other")),
            with("name", json!("mcp-../x")),
            with("executionArn", json!(null)),
        ] {
            assert!(read(odd).is_err());
        }
    }
}
