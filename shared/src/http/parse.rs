//! Reads what a caller sends: JSON, into types, with an error that names the field.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::domain::{
    error::Error,
    json::{MAX_BYTES, document, surrogate},
};

/// Reads a JSON object: 413 when too large, 400 when it is none, 422 with the field's name when
/// it does not fit. A byte order mark before it is ignored.
pub fn parse_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    if body.len() > MAX_BYTES {
        return Err(Error::TooLarge { field: "body", limit: MAX_BYTES });
    }
    let text = std::str::from_utf8(document::without_mark(body)).map_err(|error| {
        Error::Malformed(format!("not UTF-8 from byte {} on", error.valid_up_to()))
    })?;
    let body: &RawValue =
        serde_json::from_str(text).map_err(|error| Error::Malformed(error.to_string()))?;
    if !body.get().starts_with('{') {
        return Err(Error::Malformed("the body must be a JSON object".to_owned()));
    }
    if let Some(place) = surrogate::lone_surrogate(text) {
        let place = document::line_and_column(text, place);
        return Err(Error::Malformed(format!("unpaired UTF-16 surrogate at {place}")));
    }
    from_text(text)
}

/// The same for what is known to be JSON, without bounds.
pub fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.into_inner().to_string();
        // The field says it better.
        let reason = reason.rsplit_once(" at line ").map_or(reason.as_str(), |(reason, _)| reason);
        violation(&path, reason)
    })
}

/// What serde says, but for the value, which it quotes, and which may be a secret.
fn violation(path: &str, reason: &str) -> Error {
    let (what, expected) = reason.rsplit_once(", expected ").unwrap_or((reason, ""));
    let expected = words(expected);
    let known = if expected.is_empty() { String::new() } else { format!(", expected {expected}") };
    for (start, said) in
        [("missing", "is missing"), ("duplicate", "is given twice"), ("unknown", "is unknown")]
    {
        let name = what.strip_prefix(start).and_then(|it| it.strip_prefix(" field `"));
        let Some(name) = name.and_then(|name| name.strip_suffix('`')) else { continue };
        let field = match (path, start) {
            (".", _) => name.to_owned(),
            // The path leads to it already.
            (path, "unknown") => path.to_owned(),
            (path, _) => format!("{path}.{name}"),
        };
        return Error::invalid(field, format!("{said}{known}"));
    }
    let field = if path == "." { "body" } else { path }.to_owned();
    if !expected.is_empty() {
        return Error::invalid(field, format!("must be {expected}"));
    }
    // What our own types say. Serde itself says no more than that it has tried several.
    let ours = if what.starts_with("data did not match") { "" } else { what };
    let separator = if ours.is_empty() { "" } else { ": " };
    Error::invalid(field, format!("is not valid{separator}{ours}"))
}

/// What serde expects, in words of JSON.
fn words(expected: &str) -> String {
    let kind = expected.split(' ').next().unwrap_or_default();
    match (kind, expected) {
        ("struct" | "map" | "internally", _) | (_, "a map") => "an object".to_owned(),
        ("u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64", _) => {
            "a whole number".to_owned()
        }
        (_, "a sequence") => "a list".to_owned(),
        (_, "a boolean") => "true or false".to_owned(),
        (_, "a JSON number") => "a number".to_owned(),
        // Names, between backticks.
        _ => expected.replace('`', ""),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::domain::{
        network::CallbackAllow,
        request::{StartBody, StartRequest},
    };

    fn parse(text: &str) -> Result<StartRequest, Error> {
        parse_object::<StartBody>(text.as_bytes())?.check(&CallbackAllow::default())
    }

    #[test]
    fn a_refusal_says_what_must_be_there_and_never_quotes_what_is() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Odd {
            #[expect(dead_code, reason = "it is only read")]
            number: u32,
            #[serde(default)]
            #[expect(dead_code, reason = "it is only read")]
            either: Option<Either>,
        }
        #[derive(Debug, Deserialize)]
        #[serde(untagged)]
        enum Either {
            Flag(#[expect(dead_code, reason = "it is only read")] bool),
            List(#[expect(dead_code, reason = "it is only read")] Vec<u8>),
        }
        let odd = |text: &str| from_text::<Odd>(text).unwrap_err().to_string();
        let start = |rest: &str| {
            let text = format!(r#"{{"agent_name":"echo","input_message":"hello"{rest}}}"#);
            let refused =
                from_text::<StartBody>(&text).and_then(|it| it.check(&CallbackAllow::default()));
            refused.unwrap_err().to_string()
        };
        for (told, said) in [
            (odd(r#"{"number": "SECRET at line 1, expected x"}"#), "number must be a whole number"),
            (odd(r#"{"number": -7777}"#), "number must be a whole number"),
            (odd(r#"{"number": 1, "either": "SECRET"}"#), "either is not valid"),
            (odd(r#"{"number": 1, "number": 7777}"#), "number is given twice"),
            (
                odd(r#"{"number": 1, "a`, expected b": 1}"#),
                "a`, expected b is unknown, expected number or either",
            ),
            (odd("{}"), "number is missing"),
            (odd("7777"), "body must be an object"),
            (odd(r#""SECRET""#), "body must be an object"),
            (start(r#","callback_headers":"SECRET""#), "callback_headers must be an object"),
            (
                start(r#","callback_headers":{"authorization":7777}"#),
                "callback_headers.authorization must be a string",
            ),
            (start(r#","callback_events":"SECRET""#), "callback_events must be a list"),
            (start(r#","tags":{"a":["SECRET"]}"#), "tags.a must be a string"),
            (start(r#","input_message":"SECRET""#), "input_message is given twice"),
            (start(r#","timeout_seconds":"SECRET""#), "timeout_seconds must be a number"),
            (
                start(r#","timeout_seconds":7777.5"#),
                "timeout_seconds is not valid: must be a whole number",
            ),
            (
                start(r#","callback_url":"//SECRET""#),
                "callback_url must be an absolute URL, such as https://example.com/hook",
            ),
        ] {
            assert_eq!(told, said);
        }
        let event = start(r#","callback_events":["SECRET"]"#);
        assert!(
            event.starts_with("callback_events[0] must be one of execution.running, "),
            "{event}"
        );
        let unknown = start(&format!(r#","{}":1"#, "é".repeat(100_000)));
        assert!(
            unknown.len() < 1_100 && unknown.contains("is unknown, expected one of agent_name")
        );
    }

    #[test]
    fn a_byte_order_mark_is_ignored_and_half_a_character_is_told_by_its_place() {
        let body = |text: &str| format!(r#"{{"agent_name":"echo","input_message":"{text}"}}"#);

        assert!(parse(&format!("\u{feff}{}", body("x"))).is_ok());
        assert!(parse(&body(r"\ud83d\ude00 \\ud83d")).is_ok());
        for (text, column) in [(r"cut \ud83d", 43), (r"\ude00", 39), (r"\ud83d\ud83d\ude00", 39)] {
            let Err(Error::Malformed(reason)) = parse(&body(text)) else { panic!("{text}") };
            assert!(reason.ends_with(&format!("at line 1 column {column}")), "{reason}");
        }
        let raw = [b"{\"agent_name\":\"".as_slice(), b"\xed\xa0\xbd\"}"].concat();
        let refused = parse_object::<StartBody>(&raw).unwrap_err().to_string();
        assert!(refused.contains("from byte 15"), "{refused}");
    }

    #[test]
    fn bodies_that_are_no_object_are_malformed_and_large_ones_too_large() {
        let deep = "[".repeat(100_000);
        for body in ["", "nonsense", "[]", "1", "null", "{\"a\":01}", "{\"a\":\"\u{0}\"}", &deep] {
            assert!(
                matches!(parse_object::<StartBody>(body.as_bytes()), Err(Error::Malformed(_))),
                "{body:.20}"
            );
        }
        assert!(matches!(parse_object::<StartBody>(b"{\"a\":\"\xff\"}"), Err(Error::Malformed(_))));
        let large = vec![b' '; MAX_BYTES + 1];
        assert!(matches!(parse_object::<StartBody>(&large), Err(Error::TooLarge { .. })));
    }
}
