//! What a start asks for, checked so that everything after it can rely on it.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Number, Value};

use crate::domain::{
    batch_id::BatchId,
    callback::{self, Callback},
    callback_url,
    error::Error,
    event_type::EventType,
    execution::Execution,
    id::{AgentName, UserId},
    json::{Json, MAX_BYTES, document},
    network::CallbackAllow,
    time::Timestamp,
    work::Work,
};

/// The longest that a standard execution runs: a year.
pub(super) const MAX_TIMEOUT: u32 = 365 * 24 * 60 * 60;
/// The longest that a message stays in a queue: 14 days.
pub(super) const MAX_QUEUE_TIMEOUT: u32 = 14 * 24 * 60 * 60;
/// How far ahead a start may be scheduled: 30 days.
pub(super) const MAX_DELAY: u32 = 30 * 24 * 60 * 60;
/// The most head start that a start may ask for: an hour.
pub(super) const MAX_PRIORITY: u32 = 60 * 60;
const MAX_TAGS: usize = 10;
const MAX_TAG_KEY: usize = 64;
const MAX_TAG_VALUE: usize = 128;

/// The body of `POST /v1/executions`, and the `params` of the envelope's `start_agent`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartBody {
    #[schemars(with = "AgentName")]
    pub agent_name: String,
    /// The message to the agent. Must contain more than white space.
    #[schemars(regex(pattern = r"\S"))]
    pub input_message: String,
    /// Settings for the agent, which gets them exactly as written, with all digits of numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Map<String, Value>>")]
    pub parameters: Option<Json>,
    /// A public https URL, or a URL of a host that the deployment allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = callback_url::MAX_URL))]
    pub callback_url: Option<String>,
    /// Requires a `callback_url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = callback::MAX_HEADERS))]
    pub callback_headers: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "callback::wanted_events_schema")]
    pub callback_events: Option<Vec<EventType>>,
    /// Keys have 1 to 64 bytes, values at most 128.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = MAX_TAGS))]
    pub tags: Option<BTreeMap<String, String>>,
    /// How many seconds after acceptance the run is started, at most 30 days.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = MAX_DELAY))]
    pub delay_seconds: Option<u32>,
    /// When the run is started, at most 30 days ahead; immediately if that time has passed. Not together
    /// with `delay_seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub start_at: Option<String>,
    /// How many seconds earlier the run counts as accepted where others wait for the same limit, at most
    /// an hour.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = MAX_PRIORITY))]
    pub priority: Option<u32>,
    /// How many seconds after acceptance, or after the time that the start was delayed to, the run is
    /// stopped.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_TIMEOUT))]
    pub timeout_seconds: Option<u32>,
    /// How many seconds after that time the run may still be launched. Later it is not launched.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_QUEUE_TIMEOUT))]
    pub queue_timeout_seconds: Option<u32>,
}

/// The body of `POST /v1/executions/{execution_id}/rerun`, if it has one: where the new run's events are
/// sent, since what the first was given is secret.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RerunBody {
    /// A public https URL, or a URL of a host that the deployment allows. Without it the new run has no
    /// callback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = callback_url::MAX_URL))]
    pub callback_url: Option<String>,
    /// Requires a `callback_url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = callback::MAX_HEADERS))]
    pub callback_headers: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "callback::wanted_events_schema")]
    pub callback_events: Option<Vec<EventType>>,
}

impl RerunBody {
    /// The start of a run like `first` with its `input`.
    pub fn check(
        self,
        first: &Execution,
        input: String,
        allow: &CallbackAllow,
    ) -> Result<StartRequest, Error> {
        let hash = Json::of(&(&first.execution_id, &self)).digest();
        let (callback, callback_events) =
            callback::check(self.callback_url, self.callback_headers, self.callback_events, allow)?;
        let span = |until: Timestamp| Duration::from_millis(until.millis_since(first.wanted_at()));
        Ok(StartRequest {
            agent_name: first.agent_name.clone(),
            work: Work::Again { input, first: Box::new(first.clone()) },
            callback,
            callback_events,
            tags: first.tags.clone(),
            batch_id: None,
            start_at: None,
            priority: Duration::ZERO,
            timeout: first.timeout(),
            queue_timeout: Some(span(first.launch_before)),
            hash,
        })
    }
}

/// A start that can be accepted.
#[derive(Debug, Clone)]
pub struct StartRequest {
    pub agent_name: AgentName,
    pub work: Work,
    pub callback: Option<Callback>,
    pub callback_events: Vec<EventType>,
    pub tags: BTreeMap<String, String>,
    /// The batch that it is one of.
    pub batch_id: Option<BatchId>,
    /// Not earlier than this.
    pub start_at: Option<Timestamp>,
    /// How much earlier its turn comes.
    pub priority: Duration,
    pub timeout: Option<Duration>,
    pub queue_timeout: Option<Duration>,
    /// SHA-256 of the request as it was understood: what tells a replay from another request.
    pub hash: String,
}

impl StartBody {
    /// A start with nothing but what it must have.
    #[must_use]
    pub fn new(agent_name: String, input_message: String) -> Self {
        Self {
            agent_name,
            input_message,
            parameters: None,
            callback_url: None,
            callback_headers: None,
            callback_events: None,
            tags: None,
            delay_seconds: None,
            start_at: None,
            priority: None,
            timeout_seconds: None,
            queue_timeout_seconds: None,
        }
    }

    /// Checks all that can be checked without I/O.
    pub fn check(self, allow: &CallbackAllow) -> Result<StartRequest, Error> {
        let hash = self.hash();
        let agent_name = self
            .agent_name
            .parse::<AgentName>()
            .map_err(|error| Error::invalid("agent_name", error.to_string()))?;
        if self.input_message.trim().is_empty() {
            return Err(Error::invalid("input_message", "must not be empty"));
        }
        let parameters = self.parameters.unwrap_or_else(|| Json::of(&Map::new()));
        if !parameters.node().is_object() {
            return Err(Error::invalid("parameters", "must be an object"));
        }
        document::check_depth("parameters", &parameters)?;
        let tags = self.tags.unwrap_or_default();
        check_tags(&tags)?;

        let (callback, callback_events) =
            callback::check(self.callback_url, self.callback_headers, self.callback_events, allow)?;
        let start_at = check_start(self.delay_seconds, self.start_at.as_deref(), Timestamp::now())?;
        Ok(StartRequest {
            agent_name,
            work: Work::New { input_message: self.input_message, parameters },
            batch_id: None,
            start_at,
            priority: check_priority(self.priority)?,
            callback,
            callback_events,
            tags,
            timeout: check_seconds("timeout_seconds", self.timeout_seconds, MAX_TIMEOUT)?,
            queue_timeout: check_seconds(
                "queue_timeout_seconds",
                self.queue_timeout_seconds,
                MAX_QUEUE_TIMEOUT,
            )?,
            hash,
        })
    }

    /// Two spellings of one request have one hash.
    fn hash(&self) -> String {
        Json::of(self).digest()
    }
}

/// A whole number, also one that is written as `3.0`: JSON Schema makes no difference (draft
/// 2020-12, validation §6.1.1).
pub(super) fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let Some(number) = Option::<Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let whole =
        number.as_f64().filter(|it| it.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(it));
    // Checked above.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
    whole.map(|it| Some(it as u32)).ok_or_else(|| D::Error::custom("must be a whole number"))
}

fn check_seconds(
    field: &'static str,
    seconds: Option<u32>,
    most: u32,
) -> Result<Option<Duration>, Error> {
    match seconds {
        Some(seconds) if !(1..=most).contains(&seconds) => {
            Err(Error::invalid(field, format!("must be a number of seconds from 1 to {most}")))
        }
        seconds => Ok(seconds.map(|seconds| Duration::from_secs(seconds.into()))),
    }
}

fn check_priority(seconds: Option<u32>) -> Result<Duration, Error> {
    let seconds = seconds.unwrap_or_default();
    if seconds > MAX_PRIORITY {
        let reason = format!("must be a number of seconds from 0 to {MAX_PRIORITY}");
        return Err(Error::invalid("priority", reason));
    }
    Ok(Duration::from_secs(seconds.into()))
}

/// When a run is to be started, if that is later than now.
fn check_start(
    delay: Option<u32>,
    start_at: Option<&str>,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let latest = now.plus(Duration::from_secs(MAX_DELAY.into()));
    let (field, at) = match (delay, start_at) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid("start_at", "cannot be combined with delay_seconds"));
        }
        (Some(delay), None) => ("delay_seconds", now.plus(Duration::from_secs(delay.into()))),
        (None, Some(text)) => ("start_at", Timestamp::of_field("start_at", text)?),
        (None, None) => return Ok(None),
    };
    if at > latest {
        return Err(Error::invalid(field, "must not be more than 30 days ahead"));
    }
    Ok(Some(at).filter(|at| *at > now))
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), Error> {
    if tags.len() > MAX_TAGS {
        return Err(Error::invalid("tags", format!("has more than {MAX_TAGS} entries")));
    }
    for (key, value) in tags {
        if key.is_empty() || key.len() > MAX_TAG_KEY || value.len() > MAX_TAG_VALUE {
            let reason = format!(
                "must have keys of 1 to {MAX_TAG_KEY} and values of at most {MAX_TAG_VALUE} bytes"
            );
            return Err(Error::invalid("tags", reason));
        }
    }
    Ok(())
}

impl StartRequest {
    /// The bytes that the agent is started with, frozen when the start is accepted.
    pub fn input(&self, user: &UserId, accepted_at: Timestamp) -> Result<String, Error> {
        let (content, parameters) = match &self.work {
            Work::New { input_message, parameters } => (input_message, parameters),
            Work::Again { input, .. } => return Ok(input.clone()),
        };
        let metadata = InputMetadata {
            user_id: user,
            source: "mcp_server",
            timestamp: accepted_at.rfc3339(),
            tags: Some(&self.tags).filter(|tags| !tags.is_empty()),
            batch_id: self.batch_id.as_ref(),
        };
        let messages = [Message { role: "user", content }];
        let mut input = Input { messages, parameters, metadata };
        let mut json = Json::of(&input);
        // A message is not too large because of what it is labelled with.
        if json.as_str().len() > MAX_BYTES {
            input.metadata.tags = None;
            json = Json::of(&input);
        }
        if json.as_str().len() > MAX_BYTES {
            return Err(Error::TooLarge { field: "input_message", limit: MAX_BYTES });
        }
        Ok(json.as_str().to_owned())
    }
}

/// What an agent is started with: see `docs/agents.md`.
#[derive(Serialize)]
struct Input<'a> {
    messages: [Message<'a>; 1],
    parameters: &'a Json,
    metadata: InputMetadata<'a>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
}

#[derive(Serialize)]
struct InputMetadata<'a> {
    user_id: &'a UserId,
    source: &'static str,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_id: Option<&'a BatchId>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::json::MAX_DEPTH;
    use crate::http::parse::{from_text, parse_object};

    fn check(body: &Value) -> Result<StartRequest, Error> {
        from_text::<StartBody>(&body.to_string())?.check(&"127.0.0.1".parse().unwrap())
    }

    fn refused_field(body: &Value) -> String {
        match check(body) {
            Err(Error::Invalid { field, .. }) => field.into_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_wrong_field_is_named() {
        let with = |field: &str, value: Value| {
            let mut body = json!({"agent_name": "echo", "input_message": "hello"});
            body[field] = value;
            refused_field(&body)
        };

        assert_eq!(refused_field(&json!({"input_message": "hello"})), "agent_name");
        assert_eq!(refused_field(&json!({"agent_name": "echo"})), "input_message");
        assert_eq!(with("agent_name", json!("a b")), "agent_name");
        assert_eq!(with("agent_name", json!(7)), "agent_name");
        assert_eq!(with("input_message", json!(" \n")), "input_message");
        assert_eq!(with("surprise", json!(1)), "surprise");
        for seconds in [json!(0), json!(-1), json!(1.5), json!("1"), json!(4_000_000_000_u32)] {
            assert_eq!(with("timeout_seconds", seconds.clone()), "timeout_seconds");
            assert_eq!(with("queue_timeout_seconds", seconds), "queue_timeout_seconds");
        }
        assert_eq!(with("parameters", json!([1])), "parameters");
        assert_eq!(with("tags", json!({"a": 1})), "tags.a");
        assert_eq!(with("tags", json!({"": "x"})), "tags");
        assert_eq!(with("callback_url", json!("http://example.com")), "callback_url");
        assert_eq!(with("callback_headers", json!({"a": "b"})), "callback_headers");
        assert_eq!(with("callback_events", json!(["execution.completed"])), "callback_events");
    }

    #[test]
    fn an_unknown_event_is_refused() {
        let field = refused_field(&json!({
            "agent_name": "echo", "input_message": "hello",
            "callback_url": "http://127.0.0.1/", "callback_events": ["execution.done"],
        }));
        assert_eq!(field, "callback_events[0]");
    }

    #[test]
    fn the_hash_ignores_spelling_and_sees_every_field() {
        let hash = |text: &str| parse_object::<StartBody>(text.as_bytes()).unwrap().hash();
        let first =
            hash(r#"{"agent_name":"echo","input_message":"hello","parameters":{"a":1,"b":2}}"#);

        assert_eq!(
            first,
            hash(
                r#"{ "parameters": {"b": 2, "a": 1}, "input_message": "hello", "agent_name": "echo" }"#
            )
        );
        assert_ne!(
            first,
            hash(r#"{"agent_name":"echo","input_message":"hello","parameters":{"a":1,"b":3}}"#)
        );
        assert_ne!(first, hash(r#"{"agent_name":"echo","input_message":"hello"}"#));
    }

    fn parse(text: &str) -> Result<StartRequest, Error> {
        parse_object::<StartBody>(text.as_bytes())?.check(&CallbackAllow::default())
    }

    fn with_parameters(parameters: &str) -> String {
        format!(r#"{{"agent_name":"echo","input_message":"x","parameters":{parameters}}}"#)
    }

    #[test]
    fn parameters_reach_the_agent_and_the_hash_as_they_are_written() {
        let mut hashes = std::collections::BTreeSet::new();
        for number in [
            "18446744073709551616",
            "18446744073709551617",
            "-9223372036854775809",
            "1000000000000000000001",
            "0.30000000000000004441",
            "0.30000000000000004442",
            "123456789.10",
            "123456789.1",
            "1e400",
            "1E+2",
            "-0.0",
        ] {
            for parameters in
                [format!(r#"{{"id":{number}}}"#), format!(r#"{{"a":[{{"b":{number}}}]}}"#)]
            {
                let request = parse(&with_parameters(&parameters)).unwrap();
                let input = request.input(&"someone".to_owned().into(), Timestamp::now()).unwrap();
                assert!(input.contains(&format!(r#""parameters":{parameters},"#)), "{input}");
                assert!(hashes.insert(request.hash), "{parameters}");
            }
        }
    }

    #[test]
    fn parameters_may_be_nested_a_thousand_levels_deep() {
        let nested = |levels| {
            let inner = levels - 1;
            parse(&with_parameters(&format!(
                "{{\"a\":{}{}}}",
                "[".repeat(inner),
                "]".repeat(inner)
            )))
        };
        assert!(nested(200).is_ok() && nested(MAX_DEPTH).is_ok());
        for levels in [MAX_DEPTH + 1, 100_000] {
            let Err(Error::Invalid { field, .. }) = nested(levels) else { panic!("{levels}") };
            assert_eq!(field, "parameters");
        }
    }

    #[test]
    fn a_whole_number_may_be_written_as_a_float() {
        let timeout = |number: &str| {
            let body = format!(
                r#"{{"agent_name":"echo","input_message":"x","timeout_seconds":{number}}}"#
            );
            parse(&body).map(|request| request.timeout.map(|it| it.as_secs()))
        };
        for number in ["3", "3.0", "3.00", "0.3e1", "30e-1"] {
            assert_eq!(timeout(number).unwrap(), Some(3), "{number}");
        }
        assert_eq!(timeout("null").unwrap(), None);
        for number in ["3.5", "-1.0", "1e10", "1e400", "\"3\"", "true", "[3]", "{}", "0.0"] {
            let Err(Error::Invalid { field, .. }) = timeout(number) else { panic!("{number}") };
            assert_eq!(field, "timeout_seconds");
        }
    }

    #[test]
    fn an_input_that_step_functions_would_refuse_is_too_large() {
        let request = |length| {
            check(&json!({"agent_name": "echo", "input_message": "\u{1}".repeat(length)})).unwrap()
        };
        let user: UserId = "someone".to_owned().into();

        // Escaping makes six bytes of each.
        assert!(request(43_000).input(&user, Timestamp::now()).is_ok());
        assert!(matches!(
            request(44_000).input(&user, Timestamp::now()),
            Err(Error::TooLarge { .. })
        ));
    }
}
