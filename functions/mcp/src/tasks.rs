//! The tasks extension (`io.modelcontextprotocol/tasks`, SEP-2663): a task is an execution, and its
//! id is the execution's, which nobody can guess and only its owner may use.

use std::time::Duration;

use relay::{
    domain::{
        caller::Caller,
        error::Error,
        json::{Json, Node},
        question::QuestionView,
        status::Status,
        time::Timestamp,
    },
    http::{
        answer::{
            monitor::{Monitor, POLL_INTERVAL},
            results::Results,
        },
        body::AnswerBody,
    },
    service::{Services, change::Change, read::Reader, start::Accepted},
    store::executions::Finished,
};
use rmcp::model::{
    DetailedTask, ElicitationSchema, ErrorCode, InputRequest, Task, TaskPayload, TaskStatus,
};
use serde_json::{Value, json};

use crate::answer::{outcome, parse_id};

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
    let questions = reader.asked(&execution).await?;
    let payload = match execution.status {
        Status::Scheduled | Status::Queued | Status::Running | Status::InputRequired
            if questions.is_empty() =>
        {
            TaskPayload::Working
        }
        Status::Scheduled | Status::Queued | Status::Running | Status::InputRequired => {
            let requests =
                questions.iter().map(|it| Ok((it.id.to_string(), Form::of(it).request(it)?)));
            TaskPayload::InputRequired { input_requests: requests.collect::<Result<_, Error>>()? }
        }
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
    let monitor = Monitor::with_questions(execution, questions, Timestamp::now());
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

/// How a question is put to a client: its forms are of texts, numbers and choices alone
/// (elicitation, form mode).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The answer is what the form gives.
    Whole,
    /// The answer is JSON text in a field of the form.
    Text,
}

impl Form {
    fn of(question: &QuestionView) -> Self {
        match serde_json::from_str::<ElicitationSchema>(question.schema.as_str()) {
            // A form holds its numbers as floats.
            Ok(_) if question.schema.is_exact_in_floats() => Self::Whole,
            Ok(_) | Err(_) => Self::Text,
        }
    }

    fn request(self, question: &QuestionView) -> Result<InputRequest, Error> {
        let schema = match self {
            Self::Whole => question.schema.to_value().unwrap_or_default(),
            Self::Text => {
                let schema = question.schema.as_str();
                let description = format!("The answer, as JSON text that is valid for {schema}");
                let field = json!({"type": "string", "description": description});
                json!({"type": "object", "properties": {FIELD: field}, "required": [FIELD]})
            }
        };
        let request = json!({
            "method": "elicitation/create",
            "params": {"mode": "form", "message": question.question, "requestedSchema": schema},
        });
        serde_json::from_value(request).map_err(|error| Error::corrupt("a question", error))
    }

    /// The answer in what a client fills in.
    fn answer(self, content: Option<Node<'_>>) -> Json {
        let answer = match self {
            Self::Whole => content,
            Self::Text => content.and_then(|content| content.members().get(FIELD)),
        };
        let Some(answer) = answer else { return Json::null() };
        // A form is an object, also one in which nothing is filled in.
        if self == Self::Whole && answer.is_list() && answer.items().is_empty() {
            return answer.to_json().without_empty_lists();
        }
        let text = if self == Self::Text { answer.text() } else { None };
        text.and_then(|text| Json::parse(&text)).unwrap_or_else(|| answer.to_json())
    }

    /// A place in the answer, as one in what the client has sent.
    fn place(self, field: &str) -> String {
        let within = field.strip_prefix("answer").unwrap_or_default();
        match self {
            Self::Whole => format!("content{within}"),
            Self::Text => format!("content.{FIELD}{within}"),
        }
    }
}

/// The only field of a form that takes JSON text.
const FIELD: &str = "answer";

/// Answers what the task asks. What it does not ask any more is let be, and so is what was not
/// accepted: the agent goes on waiting.
pub(crate) async fn update(
    services: &Services,
    change: &Change,
    caller: &Caller,
    task_id: &str,
    responses: &Json,
) -> Result<(), Error> {
    let id = parse_id(task_id).map_err(|_| NOT_FOUND)?;
    let finished = services.reader.finished(caller, &id, false).await.map_err(of_task)?;
    let questions = services.reader.asked(&finished.execution).await?;
    let responses = responses.node().members();
    for question in questions {
        let Some(response) = responses.get(question.id.as_str()) else { continue };
        // What a client's person made of the form.
        let filled = response.members();
        let action = filled.get("action").and_then(Node::text);
        let at = |field: &str| format!("inputResponses.{}.{field}", question.id);
        let action = action.ok_or_else(|| Error::invalid(at("action"), "must be a string"))?;
        if action != "accept" {
            continue;
        }
        let form = Form::of(&question);
        let answer = form.answer(filled.get("content"));
        let body = AnswerBody { answer, question_id: Some(question.id.to_string()) };
        match change.answer(caller, &id, body).await {
            Ok(_) | Err(Error::Conflict(_)) => {}
            Err(Error::Invalid { field, reason }) => {
                return Err(Error::invalid(at(&form.place(&field)), reason));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn question(schema: &Value) -> QuestionView {
        QuestionView {
            id: "0123456789abcdef0123456789abcdef".parse().unwrap(),
            question: "Really?".to_owned(),
            schema: Json::of(schema),
            asked_at: Timestamp::from_millis(0),
            expires_at: None,
            answer_url: None,
        }
    }

    #[test]
    fn a_question_is_a_form_where_forms_can_ask_it_and_json_text_elsewhere() {
        let yes_or_no = json!({"type": "object", "properties": {"approved": {"type": "boolean"}}});
        let answer = |form: Form, content: &str| {
            form.answer(Some(Json::parse(content).unwrap().node())).as_str().to_owned()
        };
        let form = Form::of(&question(&yes_or_no));
        assert_eq!(answer(form, r#"{"approved": true}"#), r#"{"approved": true}"#);
        assert_eq!(form.answer(None).as_str(), "null");
        assert_eq!(answer(form, "[]"), "{}");
        assert_eq!(form.place("answer.approved"), "content.approved");

        for schema in [
            json!(true),
            json!({"type": "array", "items": {"type": "integer"}}),
            json!({"type": "object", "properties": {"a": {"type": "object"}}}),
        ] {
            let asked = question(&schema);
            let form = Form::of(&asked);
            for (content, expected) in [
                (r#"{"answer": "[1, 18446744073709551616]"}"#, "[1, 18446744073709551616]"),
                (r#"{"answer": "no JSON"}"#, r#""no JSON""#),
                (r#"{"answer": 1.10}"#, "1.10"),
                ("{}", "null"),
            ] {
                assert_eq!(answer(form, content), expected);
            }
            assert_eq!(form.place("answer.0"), "content.answer.0");
            let request = serde_json::to_value(form.request(&asked).unwrap()).unwrap();
            assert_eq!(request["params"]["message"], "Really?");
            assert_eq!(request["params"]["requestedSchema"]["required"], json!(["answer"]));
        }
    }

    #[test]
    fn a_question_whose_digits_a_form_would_round_is_asked_as_it_was_written() {
        let schema = |number: &str| {
            format!(
                r#"{{"type": "object", "properties": {{"n": {{"type": "number", "default": {number}}}}}}}"#
            )
        };
        let asked = |number: &str| {
            let schema = Json::parse(&schema(number)).unwrap();
            QuestionView { schema, ..question(&json!({})) }
        };
        assert_eq!(Form::of(&asked("1.10")), Form::Whole);

        let odd = asked("12345678901234567890.10");
        assert_eq!(Form::of(&odd), Form::Text);
        let request = serde_json::to_value(Form::Text.request(&odd).unwrap()).unwrap();
        let field = &request["params"]["requestedSchema"]["properties"]["answer"];
        assert!(
            field["description"].as_str().unwrap().ends_with(&schema("12345678901234567890.10"))
        );
    }
}
