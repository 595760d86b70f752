//! The event that Step Functions sends to EventBridge when the status of an execution changes
//! (<https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html>).

use relay::domain::{
    error::Error, id::ExecutionId, json::Node, observation::Observation, protocol::Grounds,
    status::Status, time::Timestamp,
};

/// What an event says, and whether it says all.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) observation: Observation,
    /// The output was too large for the event, or all data is encrypted, and so left out: it must
    /// be asked for.
    pub(crate) is_truncated: bool,
}

/// Reads an event; `None` when its execution has a name that we give none. Only name, ARN and
/// status must be there: whatever else is missing or odd was not said.
pub(crate) fn read(event: Node<'_>) -> Result<Option<Observed>, Error> {
    let detail = event.members().get("detail").map(Node::members);
    let detail = detail.ok_or_else(|| missing("detail"))?;
    let text = |field| detail.get(field).and_then(Node::text).ok_or_else(|| missing(field));
    // Any machine of the account may run an execution that is called so.
    let Ok(execution_id) = text("name")?.parse::<ExecutionId>() else { return Ok(None) };
    let execution_arn = text("executionArn")?;
    let word = text("status")?;
    let status = status(&word).ok_or_else(|| {
        // A word as Step Functions has them may be told; anything else is somebody's.
        let is_word =
            word.len() <= 40 && word.bytes().all(|it| it.is_ascii_uppercase() || it == b'_');
        let word = if is_word { &*word } else { "(no word of Step Functions)" };
        Error::corrupt("a status event", format!("its status {word} is new"))
    })?;
    let said = |field| detail.get(field).map(as_text);
    let output = said("output").filter(|_| is_included(detail.get("outputDetails")));
    let is_told = ["error", "cause"].iter().any(|field| said(field).is_some())
        || (said("input").is_some() && is_included(detail.get("inputDetails")));
    let is_truncated = match status {
        Status::Completed => output.is_none(),
        // A machine with a key of its customer's says nothing at all; one without one, its input.
        Status::Failed | Status::Timeout | Status::Cancelled => !is_told,
        Status::Scheduled | Status::Queued | Status::Running | Status::InputRequired => false,
    };
    Ok(Some(Observed {
        is_truncated,
        observation: Observation {
            grounds: Grounds::Told,
            execution_id,
            execution_arn,
            status,
            redrive_count: said("redriveCount").as_deref().and_then(count).unwrap_or_default(),
            started_at: said("startDate").as_deref().and_then(Timestamp::parse),
            completed_at: said("stopDate").as_deref().and_then(Timestamp::parse),
            output,
            error: said("error"),
            cause: said("cause"),
        },
    }))
}

fn missing(field: &str) -> Error {
    Error::corrupt("a status event", format!("it has no {field}"))
}

/// The status that Step Functions calls so.
fn status(word: &str) -> Option<Status> {
    match word {
        // A run that waits for its redrive is on its way, and has events to come.
        "RUNNING" | "PENDING_REDRIVE" => Some(Status::Running),
        "SUCCEEDED" => Some(Status::Completed),
        "FAILED" => Some(Status::Failed),
        "TIMED_OUT" => Some(Status::Timeout),
        "ABORTED" => Some(Status::Cancelled),
        _ => None,
    }
}

/// Whether the event had room for the input or output. That it says so is optional.
fn is_included(details: Option<Node<'_>>) -> bool {
    let members = details.map(Node::members);
    let included = members.as_ref().and_then(|members| members.get("included"));
    included.is_none_or(|included| as_text(included) != "false")
}

/// A text as it is, anything else as it is written in JSON: dates and counts come as either.
fn as_text(node: Node<'_>) -> String {
    node.text().unwrap_or_else(|| node.to_json().as_str().to_owned())
}

fn count(text: &str) -> Option<u32> {
    let count: f64 = text.trim().parse().ok()?;
    let is_one = count.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&count);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is one")]
    is_one.then_some(count as u32)
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};
    use relay::domain::json::Json;
    use serde_json::{Map, Value, json};

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

    /// An event as it arrives.
    fn read(event: &Value) -> Result<Option<Observed>, Error> {
        super::read(Json::of(event).node())
    }

    fn ours(event: &Value) -> Observed {
        read(event).unwrap().unwrap()
    }

    /// The event of a run that has succeeded, with these fields changed; `Null` leaves one out.
    fn succeeded(changes: &Value) -> Value {
        let mut event = fixture("succeeded");
        let detail = event["detail"].as_object_mut().unwrap();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => detail.remove(name),
                value => detail.insert(name.clone(), value.clone()),
            };
        }
        event
    }

    #[test]
    fn a_real_event_is_read_whole() {
        let Observed { observation, is_truncated } = ours(&fixture("succeeded"));

        assert!(!is_truncated);
        assert_eq!(observation.execution_id.as_str(), "mcp-echo-01jf0z6v3m9q8k7w5x4y2z1abc");
        assert_eq!(observation.status, Status::Completed);
        assert_eq!(observation.redrive_count, 0);
        assert_eq!(observation.started_at, Some(Timestamp::from_millis(1_767_225_600_000)));
        assert_eq!(observation.completed_at, Some(Timestamp::from_millis(1_767_225_602_345)));
        assert_eq!(observation.output.as_deref(), Some(r#"{"result":"hello"}"#));
        assert_eq!((observation.error, observation.cause), (None, None));
    }

    #[test]
    fn a_failure_carries_its_error_and_a_redrive_its_count() {
        let Observed { observation, is_truncated } = ours(&fixture("failed"));

        assert!(!is_truncated);
        assert_eq!(observation.status, Status::Failed);
        assert_eq!(observation.redrive_count, 1);
        assert_eq!(observation.error.as_deref(), Some("AgentError"));
        assert_eq!(observation.cause.as_deref(), Some("the model refused"));
    }

    #[test]
    fn an_output_that_was_left_out_is_noticed() {
        let Observed { observation, is_truncated } = ours(&fixture("truncated"));

        assert!(is_truncated);
        assert_eq!(observation.output, None);
    }

    #[test]
    fn a_failure_that_says_nothing_at_all_is_noticed() {
        let left_out = json!({"included": false});
        for status in ["FAILED", "ABORTED", "TIMED_OUT"] {
            for (input, details, error, cause, is_truncated) in [
                (json!(null), json!(null), json!(null), json!(null), true),
                (json!(null), json!({}), json!(null), json!(null), true),
                (json!(null), left_out.clone(), json!(null), json!(null), true),
                (json!("{}"), left_out.clone(), json!(null), json!(null), true),
                (json!("{}"), json!({"included": true}), json!(null), json!(null), false),
                (json!("{}"), json!(null), json!(null), json!(null), false),
                (json!(null), left_out.clone(), json!("E"), json!(null), false),
                (json!(null), json!(null), json!(null), json!("why"), false),
                (json!(null), json!(null), json!("E"), json!("why"), false),
            ] {
                let said = ours(&succeeded(&json!({
                    "status": status, "input": input, "inputDetails": details, "output": null,
                    "outputDetails": null, "error": error, "cause": cause,
                })));
                assert_eq!(said.is_truncated, is_truncated, "{status} {input} {details} {error}");
            }
        }
        let running = ours(&succeeded(&json!({"status": "RUNNING", "input": null})));
        assert!(!running.is_truncated);
    }

    #[test]
    fn an_output_that_is_there_is_taken_unless_the_event_says_that_it_is_not() {
        for (output, details, is_taken) in [
            (json!("1"), json!({}), true),
            (json!("1"), json!(null), true),
            (json!("1"), json!({"included": true}), true),
            (json!("1"), json!({"included": null}), true),
            (json!("1"), json!({"other": false}), true),
            (json!("1"), json!([]), true),
            (json!("1"), json!("x"), true),
            (json!("1"), json!(false), true),
            (json!("1"), json!({"included": false}), false),
            (json!("1"), json!({"included": "false"}), false),
            (json!(""), json!({}), true),
            (json!({"result": 1}), json!({}), true),
            (json!(null), json!({}), false),
            (json!(null), json!({"included": true}), false),
            (json!(null), json!(null), false),
        ] {
            let said = ours(&succeeded(&json!({"output": output, "outputDetails": details})));
            assert_eq!(said.is_truncated, !is_taken, "{output} {details}");
            assert_eq!(said.observation.output.is_some(), is_taken, "{output} {details}");
        }
        // The smallest that says how a run ended.
        let (name, arn) = ("mcp-echo-1", "arn:aws:states:eu-west-1:1:execution:echo:mcp-echo-1");
        let said = ours(&json!({"detail": {
            "name": name, "executionArn": arn, "status": "SUCCEEDED",
            "output": "{\"result\":1}", "outputDetails": {},
        }}));
        assert_eq!(said.observation.output.as_deref(), Some("{\"result\":1}"));
        assert!(!said.is_truncated);
    }

    #[test]
    fn counts_and_dates_are_numbers_or_texts() {
        for (value, count) in [
            (json!(null), 0),
            (json!(2), 2),
            (json!(2.0), 2),
            (json!("2"), 2),
            (json!(u32::MAX), u32::MAX),
            (json!(-1), 0),
            (json!(0.5), 0),
            (json!(u64::MAX), 0),
            (json!("two"), 0),
            (json!({}), 0),
            (json!(true), 0),
        ] {
            let said = ours(&succeeded(&json!({"redriveCount": value})));
            assert_eq!(said.observation.redrive_count, count, "{value}");
        }
        for (value, millis) in [
            (json!(1_767_225_600_250_i64), Some(1_767_225_600_250)),
            (json!(1_767_225_600_250.0), Some(1_767_225_600_250)),
            (json!("1767225600250"), Some(1_767_225_600_250)),
            (json!("2026-01-01T00:00:00.25Z"), Some(1_767_225_600_250)),
            (json!(0), Some(0)),
            (json!(null), None),
            (json!(""), None),
            (json!("soon"), None),
            (json!([1]), None),
            (json!({}), None),
            (json!(false), None),
        ] {
            let said = ours(&succeeded(&json!({"startDate": value, "stopDate": value})));
            let millis = millis.map(Timestamp::from_millis);
            assert_eq!(said.observation.started_at, millis, "{value}");
            assert_eq!(said.observation.completed_at, millis, "{value}");
        }
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
            let said = ours(&succeeded(&json!({"status": word})));
            assert_eq!(said.observation.status, status);
        }
        for odd in [
            json!({}),
            json!(null),
            json!([]),
            json!("text"),
            json!({"detail": 1}),
            succeeded(&json!({"status": "DANCING"})),
            succeeded(&json!({"status": null})),
            succeeded(&json!({"status": 1})),
            succeeded(&json!({"name": null})),
            succeeded(&json!({"name": 5})),
            succeeded(&json!({"executionArn": null})),
            succeeded(&json!({"executionArn": {}})),
        ] {
            assert!(read(&odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn an_execution_whose_name_we_never_give_is_none_of_ours() {
        let long = format!("mcp-{}", "a".repeat(77));
        for name in [
            "mcp-", "mcp-a.b", "mcp-a+b", "mcp-a=b", "mcp-a@b", "mcp-a,b", "mcp-../x", "mcp-é",
            "mcp-a b", "mcp-a:b", "MCP-a", "other", "", &long,
        ] {
            assert!(read(&succeeded(&json!({"name": name}))).unwrap().is_none(), "{name}");
            let little = json!({"detail": {"name": name}});
            assert!(read(&little).unwrap().is_none(), "{name}");
        }
    }

    const MUST_BE: [&str; 3] = ["name", "executionArn", "status"];

    proptest! {
        /// Step Functions may leave out what it calls optional, and add to what it says.
        #[test]
        fn no_event_is_refused_for_what_is_optional(
            fixture in select(vec!["succeeded", "failed", "truncated"]).prop_map(fixture),
            changes in prop::collection::btree_map(
                select(vec![
                    "stateMachineArn", "startDate", "stopDate", "input", "output", "redriveCount",
                    "stateMachineVersionArn", "stateMachineAliasArn", "redriveDate", "redriveStatus",
                    "redriveStatusReason", "inputDetails", "outputDetails", "error", "cause", "new",
                ]),
                select(vec![
                    None, Some(json!(null)), Some(json!("")), Some(json!("x")), Some(json!(0)),
                    Some(json!(-1.5)), Some(json!(true)), Some(json!([])), Some(json!({})),
                    Some(json!({"included": null})), Some(json!({"included": 1})),
                ]),
                0..16,
            ),
            envelope in prop::collection::vec(select(vec!["detail-type", "source", "time", "id"]), 0..4),
        ) {
            let status = fixture["detail"]["status"].clone();
            let mut event = fixture;
            for name in envelope {
                event.as_object_mut().unwrap().remove(name);
            }
            let detail: &mut Map<_, _> = event["detail"].as_object_mut().unwrap();
            for (name, value) in changes {
                match value {
                    Some(value) => detail.insert(name.to_owned(), value),
                    None => detail.remove(name),
                };
            }
            let said = ours(&event);
            prop_assert_eq!(said.observation.status == Status::Completed, status == "SUCCEEDED");
            prop_assert_eq!(said.observation.execution_id.as_str(), event["detail"]["name"].as_str().unwrap());
            prop_assert!(!said.is_truncated || said.observation.output.is_none());
        }

        #[test]
        fn no_event_makes_it_panic(text in r#"[{}\[\]",:a-c0-9\\u ]{0,60}"#) {
            if let Some(json) = Json::parse(&text) {
                drop(super::read(json.node()));
            }
        }
    }

    #[test]
    fn an_event_without_what_must_be_is_an_error() {
        for missing in MUST_BE {
            let error = read(&succeeded(&json!({missing: null}))).unwrap_err();
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(source.contains(missing), "{source}");
        }
    }

    /// As the Lambda runtime reads it.
    #[test]
    fn half_a_character_in_an_event_is_mended_and_does_not_refuse_it() {
        for (cut, whole) in [
            (r"cut \ud83d", "cut \u{fffd}"),
            (r"\ude00", "\u{fffd}"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
            (r"\\ud83d", "\\ud83d"),
        ] {
            let text = format!(
                r#"{{"detail": {{"name": "mcp-echo-1", "executionArn": "arn", "status": "FAILED",
                    "error": "{cut}", "cause": "{cut}", "input": "{cut}", "{cut}": 1}}}}"#
            );
            let mut deserializer = serde_json::Deserializer::from_slice(text.as_bytes());
            let payload: Json = serde_path_to_error::deserialize(&mut deserializer).unwrap();
            let event = Json::parse(payload.as_str()).unwrap();
            let said = super::read(event.node()).unwrap().unwrap().observation;
            assert_eq!((said.error.as_deref(), said.cause.as_deref()), (Some(whole), Some(whole)));
        }
    }
}
