//! The events that agents put on the stack's bus: their progress, and what they ask
//! (`infra/events` describes both). They hold a credential, so no error quotes one.

use std::time::Duration;

use relay::{
    domain::{
        error::Error,
        id::ExecutionId,
        json::{Json, Members, Node},
        question::Ask,
        time::Timestamp,
    },
    service::agent_event::{AgentEvent, AgentReport},
};

const PROGRESS: &str = "Agent Progress";
const INPUT_REQUIRED: &str = "Agent Input Required";

const MAX_MESSAGE: usize = 500;
/// The longest that a standard execution runs: a year.
const MAX_TIMEOUT: u64 = 365 * 24 * 60 * 60;

/// Reads an agent's event; `None` when it is not one, and nothing in it when its execution has a
/// name that we give none.
pub(crate) fn read(event: Node<'_>) -> Option<Result<Option<AgentEvent>, Error>> {
    let members = event.members();
    let kind = members.get("detail-type")?.text()?;
    let parse: fn(&Members<'_>) -> _ = match kind.as_str() {
        PROGRESS => progress,
        INPUT_REQUIRED => question,
        _ => return None,
    };
    let sent_at = members.get("time").and_then(|time| Timestamp::parse(&time.text()?));
    let event = members
        .get("detail")
        .filter(|detail| detail.is_object())
        .map(Node::members)
        .ok_or("it has no detail that can be read")
        .and_then(|detail| agent_event(&detail, sent_at, parse(&detail)?));
    Some(event.map_err(|reason| Error::corrupt("an agent's event", reason)))
}

fn agent_event(
    detail: &Members<'_>,
    sent_at: Option<Timestamp>,
    report: AgentReport,
) -> Result<Option<AgentEvent>, &'static str> {
    // A question says by its execution's ARN whose it is; for progress the name will do.
    let arn = text(detail, "execution_arn");
    let is_by_arn = arn.is_some();
    let named = match &report {
        AgentReport::Question(_) => arn.ok_or("execution_arn must be text")?,
        AgentReport::Progress { .. } => {
            arn.or_else(|| text(detail, "execution_name")).ok_or("execution_name must be text")?
        }
    };
    let (arn, name) = match named.rsplit_once(':') {
        Some((_, name)) => (Some(named.clone()), name),
        None if is_by_arn => return Err("execution_arn must be an ARN"),
        None => (None, named.as_str()),
    };
    let redrive_count = match detail.get("redrive_count") {
        None => None,
        Some(count) => {
            Some(count.as_str().parse().map_err(|_| "redrive_count must be a whole number")?)
        }
    };
    // An agent's machine may be started by others, too, under any name.
    let execution_id = name.parse::<ExecutionId>().ok();
    Ok(execution_id.map(|execution_id| AgentEvent {
        execution_id,
        execution_arn: arn,
        redrive_count,
        sent_at,
        report,
    }))
}

fn progress(detail: &Members<'_>) -> Result<AgentReport, &'static str> {
    let percent = detail.get("percent").and_then(|percent| percent.as_str().parse::<f64>().ok());
    let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
    let percent = percent.ok_or("percent must be a number from 0 to 100")?;
    let message = match detail.get("message") {
        None => None,
        Some(message) => {
            let text = message.text().filter(|text| text.chars().count() <= MAX_MESSAGE);
            Some(text.ok_or("message must be text of at most 500 characters")?)
        }
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between 0 and 100, and what is begun is not done"
    )]
    let percent = percent as u8;
    Ok(AgentReport::Progress { percent, message: message.filter(|message| !message.is_empty()) })
}

fn question(detail: &Members<'_>) -> Result<AgentReport, &'static str> {
    let token = text(detail, "task_token").ok_or("task_token must be text")?;
    let question = text(detail, "question").ok_or("question must be text")?;
    let timeout = match detail.get("timeout_seconds") {
        None => None,
        Some(seconds) => {
            let seconds = seconds.as_str().parse().ok();
            let seconds = seconds.filter(|seconds| (1..=MAX_TIMEOUT).contains(seconds));
            let seconds = seconds.ok_or("timeout_seconds must be seconds of at most a year")?;
            Some(Duration::from_secs(seconds))
        }
    };
    let schema = detail.get("schema").map_or_else(Json::null, Node::to_json);
    Ask::new(token.into(), question, schema, timeout).map(AgentReport::Question)
}

fn text(detail: &Members<'_>, field: &str) -> Option<String> {
    detail.get(field).and_then(Node::text)
}

#[cfg(test)]
mod tests {
    use relay::domain::{question::Question, time::Timestamp};
    use serde_json::{Value, json};

    use super::*;

    const ARN: &str = "arn:aws:states:eu-west-1:111122223333:execution:echo:mcp-echo-1";

    /// An event as it arrives.
    fn read_event(kind: &str, detail: &Value) -> Result<Option<AgentEvent>, Error> {
        let event = json!({"source": "agent", "detail-type": kind, "detail": detail});
        read(Json::of(&event).node()).unwrap()
    }

    fn read_progress(detail: &Value) -> Result<AgentEvent, Error> {
        read_event(PROGRESS, detail).map(Option::unwrap)
    }

    fn read_question(changes: &Value) -> Result<AgentEvent, Error> {
        let mut detail = json!({
            "execution_arn": ARN, "task_token": "secret", "question": "secret?", "schema": {"type": "object"},
        });
        detail.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        read_event(INPUT_REQUIRED, &detail).map(Option::unwrap)
    }

    #[test]
    fn progress_is_read_by_name_or_arn_and_rounded_down() {
        let said =
            read_progress(&json!({"execution_name": "mcp-echo-1", "percent": 33.9})).unwrap();
        assert_eq!((said.execution_id.as_str(), said.execution_arn), ("mcp-echo-1", None));
        assert!(matches!(said.report, AgentReport::Progress { percent: 33, message: None }));

        for field in ["execution_name", "execution_arn"] {
            let said = read_progress(
                &json!({field: ARN, "percent": 100, "message": "x", "redrive_count": 2}),
            );
            let said = said.unwrap();
            assert_eq!((said.execution_arn.as_deref(), said.redrive_count), (Some(ARN), Some(2)));
        }
    }

    #[test]
    fn a_question_of_an_ended_run_is_asked_about_again_while_it_is_young() {
        let said = |time: &str| {
            let event = json!({"detail-type": INPUT_REQUIRED, "time": time, "detail": {
                "execution_arn": ARN, "task_token": "secret", "question": "Why?", "schema": {},
            }});
            read(Json::of(&event).node()).unwrap().unwrap().unwrap()
        };
        let at = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();

        let young = said("2026-01-01T00:00:00Z");
        assert_eq!(young.sent_at, Some(at));
        assert!(!young.is_known_by(at.plus(Duration::from_secs(49))));
        // Lambda's first retry comes after a minute.
        assert!(young.is_known_by(at.plus(Duration::from_mins(1))));
        assert!(said("lately").is_known_by(at));
    }

    #[test]
    fn what_is_no_event_of_an_agent_is_left_to_others() {
        for other in [
            json!({}),
            json!(null),
            json!([]),
            json!({"detail-type": 1}),
            json!({"detail-type": "x"}),
        ] {
            assert!(read(Json::of(&other).node()).is_none());
        }
    }

    #[test]
    fn an_agent_that_others_have_started_is_none_of_ours() {
        let machine = "arn:aws:states:eu-west-1:111122223333:execution:echo";
        for name in ["0b0c7e2a-1d4f-4f1e-8c54-d1b2a3c4e5f6", "mcp-a.b", "mcp-", "by hand", "a+b=c"]
        {
            let arn = format!("{machine}:{name}");
            for said in [
                read_event(PROGRESS, &json!({"execution_name": name, "percent": 1})),
                read_event(PROGRESS, &json!({"execution_arn": arn, "percent": 1})),
                read_event(
                    INPUT_REQUIRED,
                    &json!({"execution_arn": arn, "task_token": "t", "question": "?", "schema": {}}),
                ),
            ] {
                assert!(said.unwrap().is_none(), "{name}");
            }
        }
    }

    #[test]
    fn a_message_cut_within_a_character_is_read() {
        let event = format!(
            r#"{{"detail-type": "{PROGRESS}", "detail": {{"execution_name": "mcp-echo-1",
                "percent": 5, "message": "Reading \ud83d"}}}}"#
        );
        let said = read(Json::parse(&event).unwrap().node()).unwrap().unwrap().unwrap();
        let AgentReport::Progress { message, .. } = said.report else { panic!("it is progress") };
        assert_eq!(message.as_deref(), Some("Reading \u{fffd}"));

        let event = format!(
            r#"{{"detail-type": "{INPUT_REQUIRED}", "detail": {{"execution_arn": "{ARN}",
                "task_token": "t", "question": "\ude00?", "schema": {{"title": "\udead"}}}}}}"#
        );
        let said = read(Json::parse(&event).unwrap().node()).unwrap().unwrap().unwrap();
        assert!(matches!(said.report, AgentReport::Question(_)));
    }

    #[test]
    fn the_schema_of_a_question_is_read_as_it_was_written() {
        let schema = r#"{"maximum": 1.0, "default": 12345678901234567890.10, "x": 1e999}"#;
        let event = format!(
            r#"{{"detail-type": "{INPUT_REQUIRED}", "detail": {{"execution_arn": "{ARN}",
                "task_token": "t", "question": "?", "schema": {schema}}}}}"#
        );
        let said = read(Json::parse(&event).unwrap().node()).unwrap().unwrap().unwrap();
        let AgentReport::Question(ask) = said.report else { panic!("it is a question") };
        let execution = serde_json::from_value(json!({
            "execution_id": "mcp-echo-1", "user_id": "someone", "agent_name": "echo",
            "state_machine_arn": "arn:aws:states:eu-west-1:111122223333:stateMachine:echo",
            "status": "running", "redrive_count": 0, "rank": 20, "launch_before": 9_000,
            "created_at": 1_000, "updated_at": 2_000,
        }));
        let asked = Question::asked(&ask, &execution.unwrap(), Timestamp::from_millis(2_000));
        assert_eq!(asked.schema.as_deref(), Some(schema));
    }

    #[test]
    fn odd_events_are_errors_that_quote_nothing() {
        let progress = |name: &str, value: Value| {
            let mut detail = json!({"execution_name": "mcp-echo-1", "percent": 1});
            detail[name] = value;
            read_progress(&detail)
        };
        let long = "secret".repeat(100);
        let odd = [
            progress("execution_name", json!(null)),
            progress("execution_arn", json!("mcp-echo-1")),
            progress("percent", json!(null)),
            progress("percent", json!("5")),
            progress("percent", json!(-1)),
            progress("percent", json!(100.1)),
            progress("message", json!(5)),
            progress("message", json!(long)),
            progress("redrive_count", json!(-1)),
            read_progress(&json!("secret")),
            read_progress(&json!(null)),
            read_question(&json!({"execution_arn": null})),
            read_question(&json!({"execution_arn": "mcp-echo-1"})),
            read_question(&json!({"task_token": 5})),
            read_question(&json!({"task_token": {"secret": 1}})),
            read_question(&json!({"question": ""})),
            read_question(&json!({"schema": null})),
            read_question(&json!({"schema": {"title": "secret".repeat(10_000)}})),
            read_question(&json!({"timeout_seconds": 0})),
            read_question(&json!({"timeout_seconds": 40_000_000})),
        ];
        for (index, event) in odd.into_iter().enumerate() {
            let error = event.map(|_| index).unwrap_err();
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(!format!("{error:?} {source}").contains("secret"), "{index}: {error:?}");
        }
        assert!(!format!("{:?}", read_question(&json!({})).unwrap()).contains("secret\""));
    }

    /// The examples of `infra/events` are what is read here, and fit the schemas beside them.
    #[test]
    fn what_is_described_to_agents_is_what_is_read() {
        let described = |text: &str| {
            let schema: Value = serde_json::from_str(text).unwrap();
            let validator = jsonschema::validator_for(&schema).unwrap();
            let examples = schema["examples"].as_array().unwrap().clone();
            assert!(!examples.is_empty());
            assert!(examples.iter().all(|example| validator.is_valid(example)));
            assert!(!validator.is_valid(&json!({})));
            examples
        };

        for example in described(include_str!("../../../infra/events/progress.schema.json")) {
            read_progress(&example).unwrap();
        }
        for example in described(include_str!("../../../infra/events/input-required.schema.json")) {
            let AgentReport::Question(ask) = read_question(&example).unwrap().report else {
                panic!()
            };
            ask.check_schema().unwrap();
        }
    }
}
