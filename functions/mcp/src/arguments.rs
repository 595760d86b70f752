//! A tool's arguments as clients write them. What cannot be meant in another way is taken for what the
//! tool's schema wants: `3.0` and `"3"` for 3, JSON text for an object, `[]` for an empty one, and
//! null, `""` and a 0 that is out of range for an optional argument that was not given.

use std::collections::BTreeMap;

use relay::domain::{
    error::Error,
    json::{Json, Node, surrogate},
};
use rmcp::model::JsonObject;
use serde_json::Value;
use tracing::info;

/// An argument that may be any JSON, whatever type its schema shows.
const ANYTHING: &str = "answer";

/// Arguments that fit a tool, by their names.
pub(crate) type Arguments = BTreeMap<String, Json>;

/// Reads those that the schema names, and ignores others: clients add their own.
pub(crate) fn read(given: &Json, tool: &str, schema: &JsonObject) -> Result<Arguments, Error> {
    let members = given.node().members();
    let nothing = JsonObject::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&nothing);
    let required = schema.get("required").and_then(Value::as_array);
    let mut arguments = Arguments::new();
    for (name, schema) in properties {
        let is_required = required.is_some_and(|names| names.iter().any(|it| it == name));
        let value = if name == ANYTHING && members.has(name) {
            Some(members.get(name).map_or_else(Json::null, Node::to_json))
        } else {
            let refuse = |reason| Error::invalid(name.clone(), reason);
            let value = members.get(name).map(|node| fit(node, schema, is_required));
            value.transpose().map_err(refuse)?.flatten()
        };
        match value {
            Some(value) => {
                arguments.insert(name.clone(), value);
            }
            None if is_required => return Err(Error::invalid(name.clone(), "is missing")),
            None => {}
        }
    }
    // How many, and not which: a name is the caller's text, as a value is.
    let unknown = members.names().filter(|name| !properties.contains_key(*name)).count();
    if unknown > 0 {
        info!(tool, unknown, "ignored arguments that {tool} does not know");
    }
    Ok(arguments)
}

/// The value as its schema wants it; nothing where it stands for nothing; or what it must be.
fn fit(node: Node<'_>, schema: &Value, is_required: bool) -> Result<Option<Json>, String> {
    let text = node.text();
    if !is_required && text.as_deref() == Some("") {
        return Ok(None);
    }
    match schema["type"].as_str() {
        Some("integer") => {
            let [least, most] = ["minimum", "maximum"].map(|name| schema[name].as_i64());
            let bounds = match (least, most) {
                (Some(least), Some(most)) => format!(" from {least} to {most}"),
                _ => String::new(),
            };
            let number = whole(text.as_deref().unwrap_or(node.to_json().as_str()));
            let fits = |number: &i64| {
                least.is_none_or(|least| *number >= least)
                    && most.is_none_or(|most| *number <= most)
            };
            match number {
                Some(number) if fits(&number) => Ok(Some(Json::of(&number))),
                Some(0) if !is_required => Ok(None),
                _ => Err(format!("must be a whole number{bounds}")),
            }
        }
        Some("boolean") => match text.as_deref().unwrap_or(node.to_json().as_str()).trim() {
            word if word.eq_ignore_ascii_case("true") => Ok(Some(Json::of(&true))),
            word if word.eq_ignore_ascii_case("false") => Ok(Some(Json::of(&false))),
            _ => Err("must be true or false".to_owned()),
        },
        Some("object") => object(node).map(Some),
        Some("array") => list(node, &schema["items"]).map(Some),
        _ => match (text, schema["enum"].as_array()) {
            (Some(text), Some(words)) if !words.iter().any(|word| *word == text) => {
                let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
                Err(format!("must be one of {}", words.join(", ")))
            }
            (Some(_), _) => Ok(Some(node.to_json())),
            (None, _) => Err("must be a string".to_owned()),
        },
    }
}

/// A list of objects, also one that is written as JSON text; an object stands for a list of one.
fn list(node: Node<'_>, schema: &Value) -> Result<Json, String> {
    let must = || "must be a list".to_owned();
    let written = match node.text() {
        Some(text) if surrogate::lone_surrogate(&text).is_none() => Json::parse(&text),
        Some(_) => None,
        None => Some(node.to_json()),
    };
    let written = written.ok_or_else(must)?;
    let node = written.node();
    if !node.is_list() && !node.is_object() {
        return Err(must());
    }
    let items = if node.is_list() { node.items() } else { vec![node] };
    let nothing = JsonObject::new();
    let schema = schema.as_object().unwrap_or(&nothing);
    let item = |(index, item): (usize, Node<'_>)| {
        let item =
            object(item).map_err(|reason| format!("has an item that {reason}: [{index}]"))?;
        let fits = read(&item, "an item", schema);
        fits.map_err(|error| format!("has an item in which {error}: [{index}]"))
    };
    let items: Vec<_> = items.into_iter().enumerate().map(item).collect::<Result<_, String>>()?;
    Ok(Json::of(&items))
}

/// An object, also one that is written as JSON text; an empty list or text is an empty one.
pub(crate) fn object(node: Node<'_>) -> Result<Json, String> {
    let empty = || Json::parse("{}").unwrap_or_else(Json::null);
    if node.is_object() {
        return Ok(node.to_json());
    }
    if node.is_list() && node.items().is_empty() {
        return Ok(empty());
    }
    let must = || "must be an object".to_owned();
    let text = node.text().ok_or_else(must)?;
    if text.trim().is_empty() {
        return Ok(empty());
    }
    if surrogate::lone_surrogate(&text).is_some() {
        return Err("has an unpaired UTF-16 surrogate".to_owned());
    }
    Json::parse(&text).filter(|json| json.node().is_object()).ok_or_else(must)
}

/// The same of one in which no list is meant, at any level.
pub(crate) fn objects(node: Node<'_>) -> Result<Json, String> {
    object(node).map(|json| json.without_empty_lists())
}

/// The whole number that a text says, as `3`, `3.0` and `3e0` do. One beyond what any client counts
/// with is none.
fn whole(text: &str) -> Option<i64> {
    let text = text.trim();
    let number: f64 = text.parse().ok()?;
    let counts = number.fract() == 0.0 && number.abs() < 9e15;
    counts.then(|| text.parse().ok().or_else(|| format!("{number:.0}").parse().ok()))?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::catalog;

    fn take(tool: &str, given: &str) -> Result<Value, String> {
        let schema = &catalog::find(tool).unwrap().input_schema;
        let read = read(&Json::parse(given).unwrap(), tool, schema);
        read.map(|arguments| serde_json::to_value(arguments).unwrap()).map_err(|it| it.to_string())
    }

    fn with(field: &str, value: &str) -> Result<Value, String> {
        let given = format!(r#"{{"agent_name":"echo","input_message":"x","{field}":{value}}}"#);
        take("start_agent", &given).map(|mut arguments| arguments[field].take())
    }

    #[test]
    fn a_number_may_be_written_in_any_way_that_says_it() {
        for three in ["3", "3.0", "3e0", "30e-1", r#""3""#, r#"" 3 ""#, r#""3.0""#] {
            assert_eq!(with("wait_seconds", three), Ok(json!(3)), "{three}");
        }
        for nothing in ["null", r#""""#] {
            assert_eq!(with("wait_seconds", nothing), Ok(Value::Null), "{nothing}");
        }
        assert_eq!(with("wait_seconds", "0"), Ok(json!(0)));
        for wrong in [
            "21",
            "-1",
            "3.5",
            r#""soon""#,
            "[]",
            "{}",
            "true",
            "1e400",
            r#""NaN""#,
            r#""inf""#,
            "18446744073709551616",
        ] {
            let said = with("wait_seconds", wrong).unwrap_err();
            assert_eq!(said, "wait_seconds must be a whole number from 0 to 20", "{wrong}");
        }
        for nothing in ["0", "0.0", r#""0""#, r#""""#, "null"] {
            let given =
                format!(r#"{{"limit":{nothing},"cursor":"","status":"","agent_name":null}}"#);
            assert_eq!(take("list_executions", &given), Ok(json!({})), "{nothing}");
        }
        assert_eq!(take("list_executions", r#"{"limit":5.0}"#), Ok(json!({"limit": 5})));
        assert!(take("list_executions", r#"{"limit":101}"#).is_err());
    }

    #[test]
    fn an_object_may_be_json_text_and_nothing_may_be_an_empty_list() {
        for object in [r#"{"a":1}"#, r#""{\"a\":1}""#, r#"" {\"a\":1}\n""#] {
            assert_eq!(with("parameters", object), Ok(json!({"a": 1})), "{object}");
        }
        for empty in ["{}", "[]", r#""{}""#] {
            assert_eq!(with("parameters", empty), Ok(json!({})), "{empty}");
        }
        for nothing in ["null", r#""""#] {
            assert_eq!(with("parameters", nothing), Ok(Value::Null), "{nothing}");
        }
        for wrong in ["[1]", "1", "true", r#""a""#, r#""[1]""#, r#""1""#] {
            let said = with("parameters", wrong).unwrap_err();
            assert_eq!(said, "parameters must be an object", "{wrong}");
        }
        let half = with("parameters", r#""{\"a\":\"\\ud83d\"}""#).unwrap_err();
        assert_eq!(half, "parameters has an unpaired UTF-16 surrogate");
    }

    #[test]
    fn digits_and_nesting_stay_as_they_were_written() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for object in [r#"{"a":18446744073709551616}"#, r#"{"a":1e400}"#, r#"{"a": 1.10}"#, &deep] {
            for given in [object.to_owned(), Json::string(object).as_str().to_owned()] {
                let given =
                    format!(r#"{{"agent_name":"echo","input_message":"x","parameters":{given}}}"#);
                let schema = &catalog::find("start_agent").unwrap().input_schema;
                let read = read(&Json::parse(&given).unwrap(), "start_agent", schema).unwrap();
                assert_eq!(read["parameters"].as_str(), object);
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_words_of_json() {
        for (tool, given, said) in [
            ("start_agent", "{}", "agent_name is missing"),
            ("start_agents", "{}", "items is missing"),
            ("start_agents", r#"{"items":3}"#, "items must be a list"),
            ("start_agents", r#"{"items":"x"}"#, "items must be a list"),
            ("start_agents", r#"{"items":[3]}"#, "items has an item that must be an object: [0]"),
            (
                "start_agents",
                r#"{"items":[{"input_message":"x"},{}]}"#,
                "items has an item in which input_message is missing: [1]",
            ),
            ("start_agent", r#"{"agent_name":null}"#, "agent_name is missing"),
            ("start_agent", r#"{"agent_name":7}"#, "agent_name must be a string"),
            ("monitor_agent", r#"{"execution_id":["x"]}"#, "execution_id must be a string"),
            (
                "get_agent_results",
                r#"{"execution_id":"x","include_metadata":1}"#,
                "include_metadata must be true or false",
            ),
            (
                "list_executions",
                r#"{"status":"done"}"#,
                "status must be one of queued, running, completed, failed, timeout, cancelled, \
                 scheduled, input_required",
            ),
            ("answer_agent", r#"{"execution_id":"x"}"#, "answer is missing"),
        ] {
            assert_eq!(take(tool, given).unwrap_err(), said);
        }
    }

    #[test]
    fn others_are_ignored_and_an_answer_may_be_anything() {
        let added = r#"{"toolCallId":"call_1","value":{},"é":[1e400]}"#;
        assert_eq!(take("list_available_agents", added), Ok(json!({})));
        for answer in ["null", "1", r#""x""#, r#""""#, "[]", r#"{"approved":true}"#, "false"] {
            let given = format!(r#"{{"execution_id":"x","answer":{answer},"question_id":""}}"#);
            let expected: Value = serde_json::from_str(answer).unwrap();
            let read = take("answer_agent", &given).unwrap();
            assert_eq!(read, json!({"execution_id": "x", "answer": expected}));
        }
    }

    /// The spellings of an argument, of which each says the same.
    fn spelling(name: &'static str, spellings: &'static [&'static str]) -> BoxedStrategy<String> {
        let written = |value: &&str| format!("\"{name}\":{value},");
        let all: Vec<String> = spellings.iter().map(written).collect();
        prop::sample::select(all).boxed()
    }

    fn absent(name: &'static str) -> BoxedStrategy<String> {
        prop_oneof![Just(String::new()), spelling(name, &["null", r#""""#])].boxed()
    }

    proptest! {
        #[test]
        fn all_spellings_of_an_argument_list_give_the_same_start(
            wait in spelling("wait_seconds", &["7", "7.0", "70e-1", r#""7""#, r#""7.0""#]),
            parameters in spelling(
                "parameters",
                &[r#"{"a":[]}"#, r#""{\"a\":[]}""#, r#""\t{\"a\":[]} ""#],
            ),
            url in absent("callback_url"),
            token in absent("client_token"),
            added in prop_oneof![
                Just(String::new()),
                spelling("toolCallId", &[r#""call_1""#, "null", "{}"]),
                spelling("value", &["{}"]),
            ],
        ) {
            let given = format!(
                r#"{{{added}{url}{wait}{token}{parameters}"agent_name":"echo","input_message":"x"}}"#
            );
            let expected = json!({
                "agent_name": "echo", "input_message": "x", "wait_seconds": 7, "parameters": {"a": []},
            });
            prop_assert_eq!(take("start_agent", &given), Ok(expected));
        }

        #[test]
        fn no_argument_makes_it_panic(value in "[\\PC]{0,12}", name in "[a-z_]{0,8}") {
            for json in [value.clone(), Json::string(&value).as_str().to_owned()] {
                let given = format!(r#"{{"{name}":{json},"limit":{json},"status":{json}}}"#);
                if let Some(given) = Json::parse(&given) {
                    let schema = &catalog::find("list_executions").unwrap().input_schema;
                    let _ = read(&given, "list_executions", schema);
                }
            }
        }
    }
}
