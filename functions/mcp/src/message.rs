//! A message as clients write it, made one that rmcp can read. rmcp takes a request whose params do not
//! fit for one of an unknown method; so they are read here first, and what may be harmlessly read in
//! another way is. What has to stay as it was written goes past rmcp, whose numbers are rounded.

use std::collections::BTreeMap;

use relay::{
    aws::failure,
    domain::json::{Json, Members, Node},
    http::parse::from_text,
};
use rmcp::model::{
    ClientCapabilities, CompleteRequestParams, ErrorCode, Implementation, ProtocolVersion,
    SubscriptionsListenRequestParams,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{
    arguments::{object, objects},
    verbatim,
};

/// What rmcp is to read.
#[derive(Debug)]
pub(crate) struct Message {
    /// As it was written. What rmcp reads has a stand-in for it.
    pub(crate) id: Json,
    pub(crate) body: String,
    pub(crate) written: Option<Written>,
}

/// A tool's arguments or the responses to a task, as they were written; always an object.
#[derive(Debug, Clone)]
pub(crate) struct Written(pub(crate) Json);

/// Why a message is answered with an error.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) id: Json,
    pub(crate) code: ErrorCode,
    pub(crate) text: String,
}

/// What a method's param must be.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    OptionalText,
    Object,
    OptionalObject,
    /// One in which there is no list.
    OptionalObjects,
    /// An object that goes past rmcp.
    Written,
}

use Kind::{Object, OptionalObject, OptionalObjects, OptionalText, Text};

const RETRY: [(&str, Kind); 2] =
    [("inputResponses", OptionalObject), ("requestState", OptionalText)];

/// The member of `_meta` by which a request of the stateless revision says what its client can do.
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// What the stateless revision has done away with (SEP-2575).
const REMOVED: [&str; 4] =
    ["initialize", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"];

/// The params of a method that rmcp reads; `None` of one that it does not know, or that `version` does
/// not have: without its params, rmcp takes it for one of those.
fn known_in(version: Option<&str>, method: &str) -> Option<Vec<(&'static str, Kind)>> {
    // Revisions are dates.
    let is_stateless = version.is_some_and(|it| it >= ProtocolVersion::NO_INITIALIZE.as_str());
    if is_stateless && REMOVED.contains(&method) { None } else { known(method) }
}

fn known(method: &str) -> Option<Vec<(&'static str, Kind)>> {
    let params: &[(&str, Kind)] = match method {
        "ping" | "server/discover" | "initialize" => &[],
        "tools/list" | "resources/list" | "resources/templates/list" | "prompts/list" => {
            &[("cursor", OptionalText)]
        }
        "tools/call" => &[("name", Text), ("arguments", Kind::Written), RETRY[0], RETRY[1]],
        "resources/read" => &[("uri", Text), RETRY[0], RETRY[1]],
        "resources/subscribe" | "resources/unsubscribe" => &[("uri", Text)],
        "prompts/get" => &[("name", Text), ("arguments", OptionalObject), RETRY[0], RETRY[1]],
        "completion/complete" => {
            &[("ref", Object), ("argument", Object), ("context", OptionalObjects)]
        }
        "logging/setLevel" => &[("level", Text)],
        "subscriptions/listen" => &[("notifications", Object)],
        "tasks/get" | "tasks/cancel" => &[("taskId", Text)],
        "tasks/update" => &[("taskId", Text), ("inputResponses", Kind::Written)],
        _ => return None,
    };
    Some(params.to_vec())
}

/// The id of a message, a string or any number; null where there is none that can be told.
pub(crate) fn id(members: &Members<'_>) -> Json {
    let id = members.get("id").filter(|id| id.is_number() || id.text().is_some());
    id.map_or_else(Json::null, Node::to_json)
}

/// Reads a message. `version` is the revision that the HTTP header names.
pub(crate) fn read(message: &Json, version: Option<&str>) -> Result<Message, Refusal> {
    let members = message.node().members();
    let id = id(&members);
    let refuse = |code, text: String| Refusal { id: id.clone(), code, text };
    let invalid = |text: &str| refuse(ErrorCode::INVALID_REQUEST, text.to_owned());

    let text = |name: &str| members.get(name).and_then(Node::text);
    let (Some("2.0"), Some(method)) = (text("jsonrpc").as_deref(), text("method")) else {
        return Err(invalid("not a JSON-RPC message: it needs \"jsonrpc\": \"2.0\" and a method"));
    };
    let is_notification = method.starts_with("notifications/");
    if id.node().is_null() && members.has("id") && !is_notification {
        return Err(invalid("id must be a string or a number"));
    }
    let (params, written) = read_params(&method, &members, version)
        .map_err(|text| refuse(ErrorCode::INVALID_PARAMS, text))?;

    let mut body = BTreeMap::from([
        ("jsonrpc", Json::string("2.0")),
        ("method", Json::string(&method)),
        ("params", Json::of(&params)),
    ]);
    if !id.node().is_null() {
        let stand_in = verbatim::id().map_err(|error| {
            failure::log(&error);
            refuse(ErrorCode::INTERNAL_ERROR, "something went wrong on our side".to_owned())
        })?;
        body.insert("id", stand_in);
    }
    Ok(Message { body: Json::of(&body).as_str().to_owned(), id, written })
}

type Params = BTreeMap<&'static str, Json>;

/// The params for rmcp, and what goes past it.
fn read_params(
    method: &str,
    members: &Members<'_>,
    version: Option<&str>,
) -> Result<(Params, Option<Written>), String> {
    let mut params = Params::new();
    let mut written = None;
    let given = match members.get("params") {
        Some(node) => object(node).map_err(|reason| format!("params {reason}"))?,
        None => Json::of(&Map::new()),
    };
    let given = given.node().members();
    if let Some(meta) = given.get("_meta") {
        let meta = object(meta).map_err(|reason| format!("_meta {reason}"))?;
        let meta = readable(meta.node());
        params.insert("_meta", Json::of(&meta));
    }
    let Some(known) = known_in(version, method) else { return Ok((params, None)) };
    for (name, kind) in known {
        let node = given.get(name);
        match kind {
            Text | OptionalText => {
                let text =
                    node.map(|node| node.text().ok_or_else(|| format!("{name} must be a string")));
                match text.transpose()?.filter(|text| !text.is_empty()) {
                    Some(text) => {
                        params.insert(name, Json::string(&text));
                    }
                    None if matches!(kind, Text) => return Err(format!("{name} is missing")),
                    None => {}
                }
            }
            Object | OptionalObject | OptionalObjects => match node {
                Some(node) => {
                    let read = if matches!(kind, OptionalObjects) { objects } else { object };
                    let value = read(node).map_err(|reason| format!("{name} {reason}"))?;
                    if value.to_value().is_none() {
                        return Err(format!(
                            "{name} is nested too deep, or has a number that is too large"
                        ));
                    }
                    params.insert(name, value);
                }
                None if matches!(kind, Object) => return Err(format!("{name} is missing")),
                None => {}
            },
            Kind::Written => {
                let value = node.map_or_else(|| Ok(Json::of(&Map::new())), object);
                let value = value.map_err(|reason| format!("{name} {reason}"))?;
                // The fixtures of the conformance suite get theirs from rmcp.
                let seen = cfg!(feature = "conformance") && value.to_value().is_some();
                params.insert(name, if seen { value.clone() } else { Json::of(&Map::new()) });
                written = Some(Written(value));
            }
        }
    }
    let text = Json::of(&params);
    match method {
        "initialize" => initialize(&given, version, &mut params)?,
        "completion/complete" => {
            reference(&params)?;
            check::<CompleteRequestParams>(&text)?;
        }
        "subscriptions/listen" => check::<SubscriptionsListenRequestParams>(&text)?,
        _ => {}
    }
    Ok((params, written))
}

/// A client that does not introduce itself is served: without sessions, nothing depends on who it is.
fn initialize(
    given: &Members<'_>,
    version: Option<&str>,
    params: &mut Params,
) -> Result<(), String> {
    let version = match given.get("protocolVersion") {
        Some(node) => node.text().ok_or("protocolVersion must be a string")?,
        None => version.unwrap_or(ProtocolVersion::V_2025_03_26.as_str()).to_owned(),
    };
    params.insert("protocolVersion", Json::string(&version));

    let capabilities = given.get("capabilities").map(objects).transpose();
    let capabilities = capabilities.map_err(|reason| format!("capabilities {reason}"))?;
    let capabilities = capabilities.filter(fits::<ClientCapabilities>);
    params.insert("capabilities", capabilities.unwrap_or_else(|| Json::of(&Map::new())));

    let client = given.get("clientInfo").map(object).transpose();
    let client = client.map_err(|reason| format!("clientInfo {reason}"))?;
    let client = match client {
        Some(client) if fits::<Implementation>(&client) => client,
        client => {
            let members = client.as_ref().map(|client| client.node().members());
            let text = |name: &str| members.as_ref()?.get(name)?.text();
            let name = text("name").unwrap_or_else(|| "unknown".to_owned());
            let version = text("version").unwrap_or_else(|| "unknown".to_owned());
            Json::of(&json!({"name": name, "version": version}))
        }
    };
    params.insert("clientInfo", client);
    Ok(())
}

/// What is completed, of which serde says no more than that something in it does not fit.
fn reference(params: &Params) -> Result<(), String> {
    let members = params.get("ref").map(|it| it.node().members());
    for name in ["type", "name", "uri", "title"] {
        let member = members.as_ref().and_then(|members| members.get(name));
        if member.is_some_and(|member| !member.is_text()) {
            return Err(format!("ref.{name} must be a string"));
        }
    }
    Ok(())
}

/// The members of `_meta` that rmcp can read.
fn readable(node: Node<'_>) -> BTreeMap<String, Value> {
    let members = node.members();
    let readable = members.names().filter_map(|name| {
        let member = members.get(name)?;
        let capabilities = if name == CAPABILITIES { objects(member).ok() } else { None };
        let value = capabilities.unwrap_or_else(|| member.to_json()).to_value()?;
        Some((name.to_owned(), value))
    });
    readable.collect()
}

fn fits<T: DeserializeOwned>(json: &Json) -> bool {
    from_text::<T>(json.as_str()).is_ok()
}

fn check<T: DeserializeOwned>(params: &Json) -> Result<(), String> {
    from_text::<T>(params.as_str()).map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use rmcp::model::{ClientJsonRpcMessage, ClientRequest};

    use super::*;

    fn message(method: &str, params: &str) -> Result<Message, Refusal> {
        let text = format!(r#"{{"jsonrpc":"2.0","id":3,"method":"{method}","params":{params}}}"#);
        read(&Json::parse(&text).unwrap(), None)
    }

    /// What rmcp makes of it.
    fn served(message: &Message) -> ClientRequest {
        match serde_json::from_str(&message.body).unwrap() {
            ClientJsonRpcMessage::Request(request) => request.request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn harmless_spellings_of_params_are_served() {
        for (method, params) in [
            ("tools/call", r#"{"name":"list_available_agents","arguments":[]}"#),
            ("tools/call", r#"{"name":"list_available_agents","arguments":null}"#),
            ("tools/call", r#"{"name":"list_available_agents","arguments":""}"#),
            ("tools/call", r#"{"name":"list_available_agents","arguments":"{}"}"#),
            ("tools/call", r#"{"name":"list_available_agents"}"#),
            ("tools/call", r#"{"name":"x","_meta":[],"inputResponses":[],"requestState":null}"#),
            ("tools/call", r#"{"name":"x","_meta":{"progressToken":{"odd":[1e400]}}}"#),
            ("tools/call", r#"{"name":"x","_meta":{"progressToken":1.5}}"#),
            ("tools/call", r#"{"name":"x","task":{"ttl":"1"},"surprise":1e400}"#),
            ("initialize", r#"{"protocolVersion":"2025-11-25","capabilities":{}}"#),
            ("initialize", r#"{"protocolVersion":"2025-11-25","capabilities":[],"clientInfo":[]}"#),
            ("initialize", r#"{"clientInfo":{"name":"x"}}"#),
            ("initialize", r#"{"clientInfo":{"version":1},"capabilities":{"roots":[],"x":7}}"#),
            ("initialize", "[]"),
            ("initialize", "null"),
            ("tools/list", "[]"),
            ("tools/list", "null"),
            ("tools/list", r#""""#),
            ("tools/list", r#"{"cursor":null}"#),
            ("tools/list", r#"{"cursor":""}"#),
            ("resources/list", r#"{"_meta":null}"#),
            ("resources/read", r#"{"uri":"agents://available","_meta":""}"#),
            ("prompts/get", r#"{"name":"delegate","arguments":[]}"#),
            ("prompts/get", r#"{"name":"delegate","arguments":"{\"task\":\"x\"}"}"#),
            ("ping", "[]"),
            ("ping", "{}"),
            ("tasks/get", r#"{"taskId":"x","extra":1}"#),
            ("tasks/update", r#"{"taskId":"x","inputResponses":[]}"#),
            ("tasks/update", r#"{"taskId":"x"}"#),
            (
                "completion/complete",
                r#"{"ref":{"type":"ref/prompt","name":"x"},"argument":{"name":"a","value":""},"context":[]}"#,
            ),
        ] {
            let message = message(method, params)
                .unwrap_or_else(|refusal| panic!("{method} {params}: {refusal:?}"));
            let served = served(&message);
            let custom = matches!(served, ClientRequest::CustomRequest(_));
            assert!(!custom && served.method() == method, "{method} {params}: {served:?}");
        }
        let without = read(
            &Json::parse(r#"{"jsonrpc":"2.0","id":"a","method":"initialize"}"#).unwrap(),
            Some("2025-06-18"),
        );
        assert!(without.unwrap().body.contains("2025-06-18"));
    }

    #[test]
    fn an_empty_list_is_an_empty_object_wherever_no_list_can_be() {
        for (method, params, read) in [
            (
                "tools/call",
                r#"{"name":"x","_meta":{"io.modelcontextprotocol/clientCapabilities":[],"a":[]}}"#,
                r#"{"a":[],"io.modelcontextprotocol/clientCapabilities":{}}"#,
            ),
            (
                "ping",
                r#"{"_meta":{"io.modelcontextprotocol/clientCapabilities":{"extensions":{"x":[ ]},"roots":[]}}}"#,
                r#"{"extensions":{"x":{}},"roots":{}}"#,
            ),
            (
                "initialize",
                r#"{"capabilities":{"elicitation":{"form":[]}},"clientInfo":{"name":"x","version":"1","icons":[]}}"#,
                r#""capabilities":{"elicitation":{"form":{}}},"clientInfo":{"name":"x","version":"1","icons":[]}"#,
            ),
            (
                "completion/complete",
                r#"{"ref":{"type":"ref/prompt","name":"x"},"argument":{"name":"a","value":""},"context":{"arguments":[]}}"#,
                r#""context":{"arguments":{}}"#,
            ),
            (
                "subscriptions/listen",
                r#"{"notifications":{"resourceSubscriptions":[]}}"#,
                r#""notifications":{"resourceSubscriptions":[]}"#,
            ),
        ] {
            let message = message(method, params).unwrap();
            assert!(message.body.contains(read), "{}", message.body);
        }
    }

    #[test]
    fn params_that_do_not_fit_are_named_and_no_unknown_method() {
        for (method, params, said) in [
            ("tools/call", "{}", "name is missing"),
            ("tools/call", "[]", "name is missing"),
            ("tools/call", "null", "name is missing"),
            ("tools/call", "[1]", "params must be an object"),
            ("tools/call", "7", "params must be an object"),
            ("tools/call", r#"{"name":7}"#, "name must be a string"),
            ("tools/call", r#"{"name":"x","arguments":[1]}"#, "arguments must be an object"),
            ("tools/call", r#"{"name":"x","arguments":7}"#, "arguments must be an object"),
            ("tools/call", r#"{"name":"x","arguments":"no JSON"}"#, "arguments must be an object"),
            ("tools/call", r#"{"name":"x","_meta":7}"#, "_meta must be an object"),
            ("tools/call", r#"{"name":"x","requestState":7}"#, "requestState must be a string"),
            ("initialize", r#"{"protocolVersion":7}"#, "protocolVersion must be a string"),
            ("initialize", r#"{"clientInfo":7}"#, "clientInfo must be an object"),
            ("initialize", r#"{"capabilities":"all"}"#, "capabilities must be an object"),
            ("tools/list", r#"{"cursor":7}"#, "cursor must be a string"),
            ("resources/read", "{}", "uri is missing"),
            ("resources/read", r#"{"uri":["x"]}"#, "uri must be a string"),
            ("resources/read", r#"{"uri":""}"#, "uri is missing"),
            ("prompts/get", r#"{"arguments":{}}"#, "name is missing"),
            ("prompts/get", r#"{"name":"x","arguments":[1]}"#, "arguments must be an object"),
            (
                "prompts/get",
                r#"{"name":"x","arguments":{"a":1e400}}"#,
                "arguments is nested too deep, or has a number that is too large",
            ),
            ("completion/complete", "{}", "ref is missing"),
            ("completion/complete", r#"{"ref":{}}"#, "argument is missing"),
            ("completion/complete", r#"{"ref":{},"argument":{}}"#, "argument.name is missing"),
            (
                "completion/complete",
                r#"{"ref":{"type":"ref/x"},"argument":{"name":"a","value":"b"}}"#,
                "ref.type must be ref/resource or ref/prompt",
            ),
            ("tasks/get", "{}", "taskId is missing"),
            ("tasks/cancel", r#"{"taskId":1}"#, "taskId must be a string"),
            (
                "tasks/update",
                r#"{"taskId":"x","inputResponses":1}"#,
                "inputResponses must be an object",
            ),
            ("subscriptions/listen", "{}", "notifications is missing"),
        ] {
            let refusal = message(method, params).unwrap_err();
            assert_eq!(refusal.text, said, "{method} {params}");
            assert_eq!((refusal.code, refusal.id.as_str()), (ErrorCode::INVALID_PARAMS, "3"));
        }
    }

    #[test]
    fn what_a_revision_has_removed_is_an_unknown_method_in_it() {
        let served_in = |version: &str, method: &str, params: &str| {
            let text =
                format!(r#"{{"jsonrpc":"2.0","id":3,"method":"{method}","params":{params}}}"#);
            served(&read(&Json::parse(&text).unwrap(), Some(version)).unwrap())
        };
        for (method, params) in [
            (
                "initialize",
                r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}"#,
            ),
            ("initialize", "{}"),
            ("logging/setLevel", r#"{"level":"debug"}"#),
            ("resources/subscribe", r#"{"uri":"agents://available"}"#),
            ("resources/unsubscribe", r#"{"uri":"agents://available"}"#),
        ] {
            let served = served_in("2026-07-28", method, params);
            assert!(matches!(served, ClientRequest::CustomRequest(_)), "{method} {params}");
        }
        let served = served_in("2025-11-25", "initialize", "{}");
        assert!(matches!(served, ClientRequest::InitializeRequest(_)));
    }

    #[test]
    fn arguments_go_past_rmcp_as_they_were_written() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for given in [r#"{"a": 18446744073709551616}"#, r#"{"a":1e400}"#, &deep] {
            let params = format!(r#"{{"name":"x","arguments":{given}}}"#);
            let message = message("tools/call", &params).unwrap();
            assert_eq!(message.written.as_ref().unwrap().0.as_str(), given);
            assert!(matches!(served(&message), ClientRequest::CallToolRequest(_)));
        }
    }

    #[test]
    fn an_id_is_any_string_or_number_and_rmcp_reads_a_stand_in_for_it() {
        let read = |text: &str| super::read(&serde_json::from_str(text).unwrap(), None);
        for id in [
            "1",
            "-1",
            "-0",
            "3.0",
            "1.5",
            "1e400",
            "9223372036854775808",
            "18446744073709551616",
            "-100000000000000000000000000000000000000001",
            "0.30000000000000004441",
            r#""a""#,
            r#""""#,
            r#""18446744073709551616""#,
            r#""\u0061\"\\\/\n😀\ud83d\ude00""#,
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id": {id} ,"method":"ping"}}"#);
            let message = read(&text).unwrap();
            assert_eq!(message.id.as_str(), id);
            assert!(matches!(served(&message), ClientRequest::PingRequest(_)));
        }
        for id in ["null", "{}", "[1]", "[]", "true", r#""\ud83d""#] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            let refusal = read(&text).unwrap_err();
            assert_eq!((refusal.code, refusal.id.as_str()), (ErrorCode::INVALID_REQUEST, "null"));
        }
        let ready =
            r#"{"jsonrpc":"2.0","id":null,"method":"notifications/initialized","params":[]}"#;
        let ready: ClientJsonRpcMessage = serde_json::from_str(&read(ready).unwrap().body).unwrap();
        assert!(matches!(ready, ClientJsonRpcMessage::Notification(_)));
        for text in ["{}", "1", "null", r#"{"jsonrpc":"2.0","id":1}"#, r#"{"method":"ping"}"#] {
            assert_eq!(read(text).unwrap_err().code, ErrorCode::INVALID_REQUEST, "{text}");
        }
    }
}
