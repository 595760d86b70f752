//! A callback: where the events of a run go, and which events.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::domain::{
    callback_url::CallbackUrl, error::Error, event_type::EventType, network::CallbackAllow,
    rights::Holder,
};

/// The `callback` part of an execution. It stands apart because a resume URL and the headers are
/// credentials: only `webhook` loads it, and neither is ever logged or returned.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callback {
    pub url: CallbackUrl,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// By whose right something is sent here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
}

impl fmt::Debug for Callback {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Callback({})", self.url.host())
    }
}

const HEADERS_FIELD: &str = "callback_headers";
const EVENTS_FIELD: &str = "callback_events";
pub const MAX_HEADERS: usize = 20;
const MAX_HEADER_BYTES: usize = 4096;

/// Headers that the delivery sets itself, by which it is known again, or that would change how the request is framed or the
/// answer encoded.
const RESERVED_HEADERS: [&str; 13] = [
    "accept-encoding",
    "cdn-loop",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Accepts what can be sent as it is: known characters only, nothing that reframes the request.
pub fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), Error> {
    let invalid = |reason: String| Err(Error::invalid(HEADERS_FIELD, reason));
    if headers.len() > MAX_HEADERS {
        return invalid(format!("has more than {MAX_HEADERS} headers"));
    }
    let size: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > MAX_HEADER_BYTES {
        return invalid(format!("is larger than {MAX_HEADER_BYTES} bytes"));
    }
    let mut seen = BTreeSet::new();
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        if !is_token(name) {
            return invalid("has a name that is no valid header name".to_owned());
        }
        if RESERVED_HEADERS.contains(&lower.as_str())
            || ["webhook-", "proxy-"].iter().any(|prefix| lower.starts_with(prefix))
        {
            return invalid(format!("may not set `{lower}`"));
        }
        if !is_ascii_field_value(value) {
            return invalid(format!("has a value of `{lower}` that is no valid header value"));
        }
        // Two spellings are one header, of which only one value would be sent.
        if !seen.insert(lower) {
            return invalid("names a header twice".to_owned());
        }
    }
    Ok(())
}

/// A header's name (RFC 9110 §5.6.2).
fn is_token(name: &str) -> bool {
    let may = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(may)
}

/// A header's value, without the bytes beyond ASCII that are obsolete (RFC 9110 §5.5).
fn is_ascii_field_value(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'\t' || matches!(byte, b' '..=b'~'))
}

/// The schema of the events that a caller may name, or leave to us.
pub(crate) fn wanted_events_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "The default is the events of all ends of a run. An n8n resume URL gets only these and questions.",
        "type": ["array", "null"],
        "items": {"type": "string", "enum": EventType::OF_RUNS},
        "minItems": 1,
    })
}

/// The same of a subscription.
pub(crate) fn subscribed_events_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = wanted_events_schema(generator);
    schema
        .insert("items".to_owned(), json!({"type": "string", "enum": EventType::OF_SUBSCRIPTIONS}));
    schema
}

/// The events that a callback gets: those asked for, else all ends. A resume URL, which any POST
/// resumes, gets ends only, and questions where it asks for them.
pub fn wanted_events(
    url: &CallbackUrl,
    asked: Option<Vec<EventType>>,
    known: &[EventType],
) -> Result<Vec<EventType>, Error> {
    let Some(mut asked) = asked else {
        return Ok(EventType::ENDS.to_vec());
    };
    if !asked.iter().all(|event| known.contains(event)) {
        return Err(Error::invalid(EVENTS_FIELD, "names an event that cannot be asked for here"));
    }
    if url.resumes_n8n() {
        asked.retain(|event| *event == EventType::InputRequired || EventType::ENDS.contains(event));
    }
    if asked.is_empty() {
        return Err(Error::invalid(
            EVENTS_FIELD,
            "must name at least one event that this URL may get",
        ));
    }
    let mut wanted = Vec::with_capacity(asked.len());
    for event in asked {
        if !wanted.contains(&event) {
            wanted.push(event);
        }
    }
    Ok(wanted)
}

/// What a request says of its callback: nothing, or all that one needs, and what it gets.
pub fn check(
    url: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    events: Option<Vec<EventType>>,
    allow: &CallbackAllow,
) -> Result<(Option<Callback>, Vec<EventType>), Error> {
    let headers = headers.unwrap_or_default();
    check_headers(&headers)?;
    match url {
        Some(text) => {
            let url = CallbackUrl::parse(&text, allow)?;
            let events = wanted_events(&url, events, &EventType::OF_RUNS)?;
            Ok((Some(Callback { url, headers, holder: None }), events))
        }
        None if !headers.is_empty() => Err(Error::invalid(HEADERS_FIELD, "needs a callback_url")),
        None if events.is_some() => Err(Error::invalid(EVENTS_FIELD, "needs a callback_url")),
        None => Ok((None, Vec::new())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_reframe_the_request_are_refused() {
        let check =
            |name: &str, value: &str| check_headers(&[(name.to_owned(), value.to_owned())].into());

        for (name, value) in [
            ("Authorization", "Bearer abc"),
            ("X-N8N-Key", "a b\tc"),
            ("x-empty", ""),
            ("x_odd~name!", "\"quoted\", {braces}; a=b"),
            ("User-Agent", "mine"),
            ("webhook", "not one of ours"),
        ] {
            assert!(check(name, value).is_ok(), "{name:?}: {value:?}");
        }
        for name in [
            "",
            " ",
            "a b",
            " a",
            "a ",
            "a:",
            ":a",
            ":authority",
            "a:b",
            "a\r\nb",
            "a\nb",
            "a\rb",
            "a\0",
            "a\tb",
            "a\u{7f}",
            "é",
            "ａ",
            "a/b",
            "a(b)",
            "a,b",
            "a;b",
            "a=b",
            "a@b",
            "a[b]",
            "a{b}",
            "a\"b\"",
            "a\\b",
            "a<b>",
            "a?b",
        ] {
            assert!(check(name, "c").is_err(), "{name:?}");
        }
        for value in [
            "b\r\nc: d",
            "b\nc: d",
            "b\rc: d",
            "\r\n",
            "\n",
            "\r",
            "b\r\n c",
            "b\r\n\tc",
            "b\n c",
            "b\0",
            "\0",
            "b\u{b}",
            "b\u{c}",
            "b\u{1b}",
            "b\u{7f}",
            "b\u{85}c: d",
            "é",
            "b\u{2028}c",
            "b\u{560d}\u{560a}c: d",
        ] {
            assert!(check("a", value).is_err(), "{value:?}");
        }
        let ours = ["webhook-id", "webhook-timestamp", "webhook-signature", "webhook-other"];
        let hops = ["proxy-authorization", "proxy-connection"];
        for name in RESERVED_HEADERS.into_iter().chain(ours).chain(hops) {
            let capital = name[..1].to_uppercase() + &name[1..];
            for name in [name, &name.to_uppercase(), &capital] {
                assert!(check(name, "1").is_err(), "{name:?}");
            }
        }
    }

    #[test]
    fn headers_are_few_small_and_named_once() {
        let headers = |names: &[&str]| -> BTreeMap<_, _> {
            names.iter().map(|name| ((*name).to_owned(), "a".to_owned())).collect()
        };
        assert!(check_headers(&headers(&["X-A", "X-B"])).is_ok());
        assert!(check_headers(&headers(&["X-A", "x-a"])).is_err());
        assert!(check_headers(&headers(&["AUTHORIZATION", "Authorization"])).is_err());

        let many = |count| (0..count).map(|n| (format!("x-{n}"), String::new())).collect();
        assert!(check_headers(&many(20)).is_ok());
        assert!(check_headers(&many(21)).is_err());
        let large = |bytes: usize| [("a".to_owned(), "b".repeat(bytes - 1))].into();
        assert!(check_headers(&large(4096)).is_ok());
        assert!(check_headers(&large(4097)).is_err());
    }

    #[test]
    fn a_resume_url_gets_ends_only() {
        let resume = CallbackUrl::parse(
            "https://n8n.example.com/webhook-waiting/1",
            &CallbackAllow::default(),
        )
        .unwrap();
        let other =
            CallbackUrl::parse("https://example.com/hook", &CallbackAllow::default()).unwrap();
        let asked = vec![EventType::Running, EventType::Completed, EventType::Completed];

        assert_eq!(wanted_events(&other, None, &EventType::OF_RUNS).unwrap(), EventType::ENDS);
        assert_eq!(
            wanted_events(&other, Some(asked.clone()), &EventType::OF_RUNS).unwrap(),
            [EventType::Running, EventType::Completed]
        );
        assert_eq!(
            wanted_events(&resume, Some(asked), &EventType::OF_RUNS).unwrap(),
            [EventType::Completed]
        );
        assert!(
            wanted_events(&resume, Some(vec![EventType::Running]), &EventType::OF_RUNS).is_err()
        );
        assert!(wanted_events(&other, Some(vec![]), &EventType::OF_RUNS).is_err());
    }
}
