//! A question that a running agent asks, and the answer that it waits for.

use std::{fmt, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{
    debt::{Debt, DebtKind},
    error::Error,
    execution::Execution,
    id::{QuestionId, TaskToken, UserId},
    json::{Json, MAX_BYTES, document},
    schema::{Schema, violation::Violation},
    status::LONGEST_RUN,
    time::Timestamp,
};

/// How many may be open in one run.
pub const MAX_OPEN: usize = 20;

/// How many questions a run may ask and close in all, about: each counts twice in its `sequence`.
pub const MAX_ASKED: u32 = 1_000;

/// The longest task token of Step Functions
/// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskSuccess.html>).
const MAX_TOKEN: usize = 2048;
const MAX_QUESTION: usize = 2000;
const MAX_SCHEMA: usize = 32 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuestionState {
    /// Nobody has answered, or the answer is still owed to the agent.
    Open,
    /// The agent has the answer.
    Answered,
    /// The agent had stopped waiting before an answer came.
    Lapsed,
    /// The run ended, or was redriven, before the agent had an answer.
    Closed,
}

impl QuestionState {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Answered => "answered",
            Self::Lapsed => "lapsed",
            Self::Closed => "closed",
        }
    }
}

/// What an agent asks, checked so that everything after it can rely on it.
#[derive(Debug, Clone)]
pub struct Ask {
    pub token: TaskToken,
    question: String,
    /// As it was written.
    schema: Json,
    /// For how long the agent waits, where it says so.
    timeout: Option<Duration>,
}

impl Ask {
    /// Checks the bounds. A reason never quotes what it is about.
    pub fn new(
        token: TaskToken,
        question: String,
        schema: Json,
        timeout: Option<Duration>,
    ) -> Result<Self, &'static str> {
        if !(1..=MAX_TOKEN).contains(&token.as_str().len()) {
            return Err("task_token must be 1 to 2048 bytes");
        }
        if question.trim().is_empty() || question.chars().count() > MAX_QUESTION {
            return Err("question must be 1 to 2000 characters");
        }
        if !schema.node().is_object() || schema.as_str().len() > MAX_SCHEMA {
            return Err("schema must be an object of at most 32 KB");
        }
        Ok(Self { token, question, schema, timeout })
    }

    /// Whether the schema is one that an answer can be held against. It is the costly part, for a
    /// question of a run that is known.
    pub fn check_schema(&self) -> Result<(), String> {
        match Schema::parse(&self.schema) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("schema {}", error.told())),
        }
    }
}

/// The `question#…` part of an execution. Readers of runs leave token and answer out.
#[derive(Clone, Serialize, Deserialize)]
pub struct Question {
    pub question_id: QuestionId,
    pub user_id: UserId,
    pub question: String,
    /// JSON as text, as it was written; only while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    pub asked_at: Timestamp,
    pub state: QuestionState,
    /// Whether a link to it is told with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_link: bool,
    /// When the agent stops waiting, where it has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_token: Option<TaskToken>,
    /// JSON as text, until the agent has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// What tells a repeated answer from another one, also later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_hash: Option<String>,
    /// How often the answer was about to be given: each time it may have been taken, whatever the
    /// reply.
    #[serde(rename = "tries", default)]
    pub attempts: u32,
    /// With the debt: when `sweep` is to process what is still owed to the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debt: Option<Debt>,
    /// In seconds.
    pub ttl: i64,
}

impl fmt::Debug for Question {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Question({}, {})", self.question_id, self.state.as_str())
    }
}

impl Question {
    #[must_use]
    pub fn asked(ask: &Ask, execution: &Execution, now: Timestamp) -> Self {
        let expires_at = ask.timeout.map(|timeout| now.plus(timeout));
        Self {
            question_id: QuestionId::of(&ask.token),
            user_id: execution.user_id.clone(),
            question: ask.question.clone(),
            schema: Some(ask.schema.as_str().to_owned()),
            asked_at: now,
            state: QuestionState::Open,
            has_link: execution.answer_links,
            expires_at,
            task_token: Some(ask.token.clone()),
            answer: None,
            answer_hash: None,
            attempts: 0,
            due_at: expires_at,
            debt: expires_at.map(|_| Debt::of(DebtKind::Answer, &execution.execution_id)),
            // As long as its run may run.
            ttl: now.plus(LONGEST_RUN).seconds(),
        }
    }

    /// As it is told to callers: without what it is answered by.
    #[must_use]
    pub fn told(&self) -> Self {
        Self { task_token: None, due_at: None, debt: None, ..self.clone() }
    }

    /// Whether its run still holds it.
    #[must_use]
    pub fn is_open_in(&self, execution: &Execution) -> bool {
        execution.open_questions.contains(&self.question_id)
    }

    /// Holds an answer against the schema.
    pub fn check(&self, answer: &Answer) -> Result<(), Error> {
        let schema = self.schema.as_deref().unwrap_or("true");
        let schema =
            Json::parse(schema).ok_or_else(|| Error::corrupt("a schema", "it is no JSON"))?;
        // It was parsed once before it was accepted.
        let schema =
            Schema::parse(&schema).map_err(|error| Error::corrupt("a schema", error.told()))?;
        schema.check(answer.json.clone()).map_err(|Violation { path, reason }| {
            Error::invalid(format!("answer{path}"), format!("does not fit the question: {reason}"))
        })
    }
}

/// An answer as it is given to the agent.
#[derive(Clone)]
pub struct Answer {
    json: Json,
    /// SHA-256: what tells a repeated answer from another one.
    pub hash: String,
}

impl fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Answer(..)")
    }
}

impl Answer {
    /// Step Functions takes as much as an answer as it does as an input.
    pub fn new(json: Json) -> Result<Self, Error> {
        if json.as_str().len() > MAX_BYTES {
            return Err(Error::TooLarge { field: "answer", limit: MAX_BYTES });
        }
        document::check_depth("answer", &json)?;
        Ok(Self { hash: json.digest(), json })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        self.json.as_str()
    }
}

/// An open question of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct QuestionView {
    pub id: QuestionId,
    pub question: String,
    /// The JSON Schema for which the answer must be valid.
    pub schema: Json,
    #[serde(serialize_with = "Timestamp::as_rfc3339")]
    pub asked_at: Timestamp,
    /// When the agent stops waiting, if it has said so.
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub expires_at: Option<Timestamp>,
    /// A link by which anybody who has it can answer, if the agent allows that. Only in webhooks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_url: Option<String>,
}

impl From<&Question> for QuestionView {
    fn from(question: &Question) -> Self {
        let schema = question.schema.as_deref().and_then(Json::parse);
        Self {
            id: question.question_id.clone(),
            question: question.question.clone(),
            schema: schema.unwrap_or_else(|| Json::of(&true)),
            asked_at: question.asked_at,
            expires_at: question.expires_at,
            answer_url: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::question::QuestionView;

    fn ask(schema: &Value) -> Result<Ask, &'static str> {
        Ask::new(TaskToken::from("secret".to_owned()), "Why?".to_owned(), Json::of(schema), None)
    }

    fn execution() -> Execution {
        serde_json::from_value(json!({
            "execution_id": "mcp-echo-1", "user_id": "someone", "agent_name": "echo",
            "state_machine_arn": "arn:aws:states:eu-west-1:111122223333:stateMachine:echo",
            "status": "running", "redrive_count": 0, "rank": 20, "launch_before": 9_000,
            "created_at": 1_000, "updated_at": 2_000,
        }))
        .unwrap()
    }

    fn question(schema: &Value) -> Question {
        Question::asked(&ask(schema).unwrap(), &execution(), Timestamp::from_millis(1_000))
    }

    #[test]
    fn a_question_out_of_bounds_is_refused_without_quoting_it() {
        let new = |token: &str, text: &str, schema: Value| {
            let ask = Ask::new(token.to_owned().into(), text.to_owned(), Json::of(&schema), None)?;
            ask.check_schema().map(|()| ask)
        };
        let (long, deep) = ("x".repeat(40_000), "é".repeat(2001));

        for refused in [
            new("", "Why?", json!({})),
            new(&long, "Why?", json!({})),
            new("t", " ", json!({})),
            new("t", &deep, json!({})),
            new("t", "Why?", json!(true)),
            new("t", "Why?", json!([])),
            new("t", "Why?", json!({"description": long})),
            new("t", "Why?", json!({"type": "objekt"})),
            new("t", "Why?", json!({"type": 5})),
            new("t", "Why?", json!({"pattern": "("})),
            new("t", "Why?", json!({"$ref": "https://example.com/schema"})),
            new("t", "Why?", json!({"$ref": "file:///etc/passwd"})),
            new("t", "Why?", json!({"pattern": "xxx.{900}"})),
        ] {
            assert!(!refused.unwrap_err().contains("xxx"));
        }
        assert!(
            new("t", &"é".repeat(2000), json!({"$ref": "#/$defs/a", "$defs": {"a": {}}})).is_ok()
        );
    }

    #[test]
    fn a_schema_is_kept_and_shown_as_it_was_written() {
        let written = r#"{ "maximum": 1.0, "minimum":0.10,
            "default": 12345678901234567890.10, "title": "\u00e9" }"#;
        let schema = Json::parse(written).unwrap();
        let ask = Ask::new("t".to_owned().into(), "Why?".to_owned(), schema, None).unwrap();
        ask.check_schema().unwrap();
        let execution = execution();
        let asked = Question::asked(&ask, &execution, Timestamp::from_millis(1_000));

        assert_eq!(asked.schema.as_deref(), Some(written));
        let shown = serde_json::to_string(&QuestionView::from(&asked)).unwrap();
        assert!(shown.contains(written), "{shown}");
        assert!(asked.check(&Answer::new(Json::parse("1.0").unwrap()).unwrap()).is_ok());
    }

    #[test]
    fn a_schema_that_would_be_rounded_is_refused_by_its_place_without_quoting_it() {
        for (schema, place) in [
            (r#"{"maximum": 12345678901234567890.10}"#, "/maximum"),
            (
                r#"{"properties": {"secret": {"const": 1.00000000000000000001}}}"#,
                "/properties/*/const",
            ),
            (r#"{"multipleOf": 1e999}"#, "/multipleOf"),
        ] {
            let schema = Json::parse(schema).unwrap();
            let ask = Ask::new("t".to_owned().into(), "Why?".to_owned(), schema, None).unwrap();
            assert_eq!(
                ask.check_schema().unwrap_err(),
                format!("schema has a number that would be rounded to be checked, at {place}")
            );
        }
    }

    #[test]
    fn the_largest_question_and_answer_fit_into_an_item() {
        let text = "😀".repeat(MAX_QUESTION);
        let schema = |title: usize| format!(r#"{{"title": "{}"}}"#, "é".repeat(title));
        let schema = Json::parse(&schema((MAX_SCHEMA - schema(0).len()) / 2)).unwrap();
        let ask =
            Ask::new("t".repeat(MAX_TOKEN).into(), text, schema, Some(Duration::MAX)).unwrap();
        let answer = Answer::new(Json::string(&"x".repeat(MAX_BYTES - 2))).unwrap();
        let question = Question {
            answer: Some(answer.text().to_owned()),
            answer_hash: Some(answer.hash),
            ..Question::asked(&ask, &execution(), Timestamp::from_millis(i64::MAX / 2))
        };

        let bytes = crate::store::item::bytes(&crate::store::item::to_item(&question).unwrap());
        assert!((290 * 1024..390 * 1024).contains(&bytes), "{bytes}");
    }

    #[test]
    fn an_answer_that_does_not_fit_is_refused_by_its_place() {
        let schema = json!({
            "type": "object", "properties": {"approved": {"type": "boolean"}}, "required": ["approved"],
        });
        let field = |answer: Value| match question(&schema)
            .check(&Answer::new(Json::of(&answer)).unwrap())
        {
            Err(Error::Invalid { field, .. }) => field.into_owned(),
            other => format!("{other:?}"),
        };

        assert_eq!(field(json!({"approved": "yes"})), "answer.approved");
        assert_eq!(field(json!({})), "answer");
        assert_eq!(field(json!(null)), "answer");
        assert_eq!(field(json!({"approved": true})), "Ok(())");
    }

    #[test]
    fn the_same_answer_has_the_same_hash_however_it_is_written() {
        let hash = |text: &str| Answer::new(serde_json::from_str(text).unwrap()).unwrap().hash;

        assert_eq!(hash(r#"{"a":1,"b":2}"#), hash(r#"{ "b": 2, "a": 1 }"#));
        assert_ne!(hash("1"), hash("2"));
        assert!(Answer::new(Json::string(&"x".repeat(MAX_BYTES))).is_err());
    }

    #[test]
    fn neither_token_nor_answer_shows_in_a_debug_text_or_an_id() {
        let question = Question { answer: Some("\"yes\"".to_owned()), ..question(&json!({})) };

        let shown = format!("{question:?} {:?} {:?}", question.task_token, ask(&json!({})));
        assert!(!shown.contains("secret") && !shown.contains("yes"), "{shown}");
        assert_eq!(
            question.question_id.as_str().parse::<QuestionId>().unwrap(),
            question.question_id
        );
        for wrong in ["", "x", "0A0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a", "question#1"] {
            assert!(wrong.parse::<QuestionId>().is_err());
        }
    }
}
