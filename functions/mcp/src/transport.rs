//! Streamable HTTP, stateless: each POST is served by itself, and answered with JSON, or with one
//! event where only that is accepted. What rmcp answers in plain text becomes JSON-RPC here; browsers
//! get the headers that they need.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::join_all;
use http_body_util::BodyExt;
use lambda_http::{
    Body, Request, Response,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
};
use relay::{
    domain::{
        json::{Json, Node, document, surrogate},
        loops::Home,
    },
    http::{
        gateway, problem,
        reply::{MAX_BODY, size_within},
    },
};
use rmcp::{
    ServerHandler,
    model::{ErrorCode, ProtocolVersion},
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
    },
};

use crate::{
    accept::{self, Form},
    message::{self, Message, Refusal},
    verbatim,
};

/// The largest message: what a start may be, and the protocol around it.
const MAX_BYTES: usize = relay::domain::json::MAX_BYTES + 16 * 1024;

/// The largest batch; the revision that knows batches sets no limit. Its messages share the bytes of
/// one body.
const MAX_BATCH: usize = 20;

const VERSION_HEADER: &str = "mcp-protocol-version";
const BOTH_TYPES: &str = "application/json, text/event-stream";

/// What a browser may send, beyond what it always may.
const ALLOWED_HEADERS: &str = "authorization, content-type, x-api-key, mcp-protocol-version, \
     mcp-method, mcp-name, mcp-session-id, last-event-id, idempotency-key";
/// What a browser's script may read of an answer.
const EXPOSED_HEADERS: &str = "www-authenticate, mcp-protocol-version, mcp-session-id, retry-after";

pub(crate) struct Transport<H> {
    rmcp: StreamableHttpService<H, NeverSessionManager>,
    origins: Vec<String>,
    home: Home,
}

impl<H: ServerHandler + Clone> Transport<H> {
    /// `hosts` are those that a request may name, beside the public URL's; where there are none,
    /// API Gateway alone decides, which answers for no host but its own. `origins` are those of
    /// the pages that may call from a browser.
    pub(crate) fn new(
        handler: H,
        mut hosts: Vec<String>,
        origins: Vec<String>,
        public_url: &str,
        home: Home,
    ) -> Self {
        if let Some((_, rest)) = public_url.split_once("://") {
            hosts.push(rest.split('/').next().unwrap_or_default().to_owned());
        }
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_max_request_body_bytes(MAX_BYTES)
            .with_allowed_hosts(hosts)
            .with_allowed_origins(origins.iter().map(|origin| with_port(origin)))
            .enforce_origin_validation();
        let sessions = Arc::new(NeverSessionManager::default());
        let rmcp = StreamableHttpService::new(move || Ok(handler.clone()), sessions, config);
        // A page's own origin leaves out what its scheme says.
        let origins = origins.into_iter().map(without_default_port).collect();
        Self { rmcp, origins, home }
    }

    pub(crate) async fn serve(&self, request: Request) -> Response<String> {
        let mut metrics = gateway::measure("mcp", &request);
        let origin = request.headers().get(header::ORIGIN).cloned();
        let mut response = match *request.method() {
            Method::OPTIONS => preflight(),
            _ => self.handle(request).await,
        };
        metrics.failed = response.status().is_server_error();
        if let Some(origin) = origin.filter(|origin| self.may_read(origin)) {
            allow_origin(response.headers_mut(), origin);
        }
        response
    }

    /// Whether a page of this origin may read answers.
    fn may_read(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())
    }

    async fn handle(&self, request: Request) -> Response<String> {
        let caller = match gateway::caller(&request, &self.home) {
            Ok(caller) => caller,
            Err(error) => return problem::respond(&error),
        };
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(caller);
        let form = accept::form(&parts.headers);
        parts.headers.insert(header::ACCEPT, HeaderValue::from_static(BOTH_TYPES));
        if parts.method != Method::POST {
            return self.forward(parts, body, &Json::null()).await;
        }
        let Some(form) = form else {
            let reason = "the answer is application/json or text/event-stream";
            let status = StatusCode::NOT_ACCEPTABLE;
            return refuse(status, &Json::null(), ErrorCode::INVALID_REQUEST, reason);
        };
        let response = self.post(parts, &body).await;
        match form {
            Form::Json => response,
            Form::Event => accept::as_event(response),
        }
    }

    async fn post(&self, parts: Parts, body: &[u8]) -> Response<String> {
        // Before it is parsed: what is parsed takes a multiple of its size.
        if body.len() > MAX_BYTES {
            let reason = format!("the body is larger than {MAX_BYTES} bytes");
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            return refuse(status, &Json::null(), ErrorCode::INVALID_REQUEST, &reason);
        }
        let no_json = |id: &Json, reason: &str| {
            refuse(StatusCode::BAD_REQUEST, id, ErrorCode::PARSE_ERROR, reason)
        };
        let text = match std::str::from_utf8(document::without_mark(body)) {
            Ok(text) => text,
            Err(error) => {
                let reason = format!("not UTF-8 from byte {} on", error.valid_up_to());
                return no_json(&Json::null(), &reason);
            }
        };
        let message = match serde_json::from_str::<Json>(text) {
            Ok(message) => message,
            Err(error) => return no_json(&Json::null(), &format!("not valid JSON: {error}")),
        };
        if let Some(place) = surrogate::lone_surrogate(text) {
            let place = document::line_and_column(text, place);
            let reason = format!("unpaired UTF-16 surrogate at {place}");
            return no_json(&message::id(&message.node().members()), &reason);
        }
        if message.node().is_list() {
            return self.batch(&parts, &message).await;
        }
        self.one(parts, &message).await
    }

    /// Several messages in one, as revision 2025-03-26 has it and no other.
    async fn batch(&self, parts: &Parts, batch: &Json) -> Response<String> {
        let version = parts.headers.get(VERSION_HEADER).map(HeaderValue::as_bytes);
        let known =
            version.is_none_or(|it| it == ProtocolVersion::V_2025_03_26.as_str().as_bytes());
        let messages = batch.node().items();
        if !known || !(1..=MAX_BATCH).contains(&messages.len()) {
            let reason = "a batch is of 1 to 20 messages, and of revision 2025-03-26 alone";
            let status = StatusCode::BAD_REQUEST;
            return refuse(status, &Json::null(), ErrorCode::INVALID_REQUEST, reason);
        }
        let messages: Vec<Json> = messages.into_iter().map(Node::to_json).collect();
        // Starts may wait, and do so together. All others come one after the other, since to read a
        // large result takes a multiple of its size.
        let (starts, others): (Vec<_>, Vec<_>) =
            messages.iter().enumerate().partition(|(_, message)| is_start(message));
        let starts = starts.into_iter().map(|(at, message)| async move {
            (at, self.one(parts.clone(), message).await.into_body())
        });
        let mut answers: BTreeMap<_, _> = join_all(starts).await.into_iter().collect();
        let mut bytes = 0;
        for (at, answer) in &mut answers {
            bytes += size_within(answer);
            if bytes > MAX_BODY {
                *answer = left_out(&messages, *at);
            }
        }
        for (at, message) in others {
            let mut answer = String::new();
            if bytes <= MAX_BODY {
                answer = self.one(parts.clone(), message).await.into_body();
                bytes += size_within(&answer);
            }
            if bytes > MAX_BODY {
                answer = left_out(&messages, at);
            }
            answers.insert(at, answer);
        }
        let bodies: Vec<_> = answers.into_values().filter(|answer| !answer.is_empty()).collect();
        if bodies.is_empty() {
            return respond(StatusCode::ACCEPTED, String::new());
        }
        respond(StatusCode::OK, format!("[{}]", bodies.join(",")))
    }

    async fn one(&self, mut parts: Parts, message: &Json) -> Response<String> {
        let version = parts.headers.get(VERSION_HEADER).and_then(|value| value.to_str().ok());
        match message::read(message, version) {
            Ok(Message { id, body, written }) => {
                if let Some(written) = written {
                    parts.extensions.insert(written);
                }
                self.forward(parts, body.into(), &id).await
            }
            Err(Refusal { id, code, text }) => {
                let status = match code {
                    ErrorCode::INVALID_PARAMS if !id.node().is_null() => StatusCode::OK,
                    ErrorCode::INTERNAL_ERROR => StatusCode::INTERNAL_SERVER_ERROR,
                    _ => StatusCode::BAD_REQUEST,
                };
                refuse(status, &id, code, &text)
            }
        }
    }

    /// One message; what rmcp refuses in plain text is refused to the message with this id.
    async fn forward(&self, parts: Parts, body: Body, id: &Json) -> Response<String> {
        let (head, body) = self.rmcp.handle(Request::from_parts(parts, body)).await.into_parts();
        // Its errors are impossible ones, and what it says is JSON or a sentence of its own.
        let Ok(collected) = body.collect().await;
        let text = String::from_utf8_lossy(&collected.to_bytes()).into_owned();
        let text = verbatim::put_back(text, id);
        let content_type = head.headers.get(header::CONTENT_TYPE);
        let is_json = content_type.is_some_and(|it| it.as_bytes().starts_with(b"application/json"));
        let mut response = match head.status {
            // A body that is JSON, but no message.
            StatusCode::UNSUPPORTED_MEDIA_TYPE if text.contains("deserialize") => {
                let status = StatusCode::BAD_REQUEST;
                refuse(status, id, ErrorCode::INVALID_REQUEST, "not a JSON-RPC message")
            }
            status if status.is_server_error() && !is_json => {
                refuse(status, id, ErrorCode::INTERNAL_ERROR, "something went wrong on our side")
            }
            status if status.is_client_error() && !is_json => {
                refuse(status, id, ErrorCode::INVALID_REQUEST, &text)
            }
            status => {
                let mut response = respond(status, text);
                // What a tool reported while it ran comes before its result, as a stream of events.
                if let Some(content_type) = content_type {
                    response.headers_mut().insert(header::CONTENT_TYPE, content_type.clone());
                }
                response
            }
        };
        if let Some(allow) = head.headers.get(header::ALLOW) {
            response.headers_mut().insert(header::ALLOW, allow.clone());
        }
        response
    }
}

/// The ports that a scheme says, and an origin leaves out.
const DEFAULT_PORTS: [(&str, &str); 2] = [("https://", ":443"), ("http://", ":80")];

/// The origin with its port: rmcp takes one without for all ports of the host.
fn with_port(origin: &str) -> String {
    // After the bracket of an IPv6 address.
    let host_and_port = origin.rsplit_once(['/', ']']).map_or(origin, |(_, rest)| rest);
    let default = DEFAULT_PORTS.iter().find(|(scheme, _)| origin.starts_with(scheme));
    match default {
        Some((_, port)) if !host_and_port.contains(':') => format!("{origin}{port}"),
        _ => origin.to_owned(),
    }
}

fn without_default_port(mut origin: String) -> String {
    for (scheme, port) in DEFAULT_PORTS {
        if origin.starts_with(scheme) && origin.ends_with(port) {
            origin.truncate(origin.len() - port.len());
        }
    }
    origin
}

fn is_start(message: &Json) -> bool {
    let members = message.node().members();
    let params = members.get("params").map(Node::members);
    let tool = params.and_then(|params| params.get("name").and_then(Node::text));
    tool.as_deref() == Some("start_agent")
}

/// The answer to a message of a batch whose answers are too large; a notification has none.
fn left_out(messages: &[Json], at: usize) -> String {
    let id = messages.get(at).map(|message| message::id(&message.node().members()));
    match id.filter(|id| !id.node().is_null()) {
        None => String::new(),
        Some(id) => {
            let reason =
                "the answers of this batch are too large together: send this one by itself";
            refuse(StatusCode::OK, &id, ErrorCode::INTERNAL_ERROR, reason).into_body()
        }
    }
}

/// The answer to a browser that asks what it may send.
fn preflight() -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED_HEADERS));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
    response
}

fn allow_origin(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers
        .insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
}

fn refuse(status: StatusCode, id: &Json, code: ErrorCode, message: &str) -> Response<String> {
    let error = serde_json::json!({"code": code.0, "message": message});
    let answer = BTreeMap::from([
        ("jsonrpc", Json::string("2.0")),
        ("id", id.clone()),
        ("error", Json::of(&error)),
    ]);
    respond(status, Json::of(&answer).as_str().to_owned())
}

fn respond(status: StatusCode, body: String) -> Response<String> {
    let has_body = !body.is_empty();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if has_body {
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use rmcp::{
        ErrorData, RoleServer,
        model::{CallToolRequestParams, CallToolResponse},
        service::RequestContext,
    };

    use serde_json::Value;

    use super::*;
    use crate::message::Written;

    /// Answers each call with its arguments, as they were written.
    #[derive(Clone)]
    struct Parrot;

    impl ServerHandler for Parrot {
        async fn call_tool(
            &self,
            _: CallToolRequestParams,
            context: RequestContext<RoleServer>,
        ) -> Result<CallToolResponse, ErrorData> {
            let parts = context.extensions.get::<Parts>().unwrap();
            let Written(arguments) = parts.extensions.get::<Written>().unwrap();
            if arguments.as_str().contains("times") {
                let text = format!("[{}0]", format!("{},", arguments.as_str()).repeat(400));
                return Ok(verbatim::result(text).unwrap().into());
            }
            Ok(verbatim::result(arguments.as_str().to_owned()).unwrap().into())
        }
    }

    fn home() -> Home {
        Home::new("a-stack", "")
    }

    async fn send(headers: &[(&str, &str)], body: &[u8]) -> Response<String> {
        let hosts = vec!["relay.example.com".to_owned()];
        Transport::new(Parrot, hosts, Vec::new(), "", home()).handle(request(headers, body)).await
    }

    fn request(headers: &[(&str, &str)], body: &[u8]) -> Request {
        let context = serde_json::json!({
            "httpMethod": "POST", "path": "/mcp", "resource": "/mcp",
            "headers": {"host": "relay.example.com"}, "multiValueHeaders": {},
            "queryStringParameters": null, "multiValueQueryStringParameters": null,
            "pathParameters": null, "stageVariables": null, "body": null, "isBase64Encoded": false,
            "requestContext": {
                "resourcePath": "/mcp", "httpMethod": "POST", "path": "/live/mcp", "stage": "live",
                "authorizer": {"user_id": "alice", "key_id": "k", "credential": "k", "permissions": "[]"}, "identity": {},
            },
        });
        let mut request = lambda_http::request::from_str(&context.to_string()).unwrap();
        *request.body_mut() = Body::Binary(body.to_vec());
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        for (name, value) in headers {
            let name: lambda_http::http::HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        request
    }

    async fn error(body: &[u8]) -> (u16, i64, Value, String) {
        let response = send(&[], body).await;
        let status = response.status().as_u16();
        let body: Value = serde_json::from_str(response.body()).unwrap();
        let error = &body["error"];
        let message = error["message"].as_str().unwrap().to_owned();
        (status, error["code"].as_i64().unwrap(), body["id"].clone(), message)
    }

    /// The status of a browser's request of a page of `origin`, and whether that page may read it.
    async fn of_page(allowed: &str, origin: &str) -> (u16, bool) {
        let hosts = vec!["relay.example.com".to_owned()];
        let transport = Transport::new(Parrot, hosts, vec![allowed.to_owned()], "", home());
        let response = transport.handle(request(&[("origin", origin)], PING)).await;
        (response.status().as_u16(), transport.may_read(&origin.parse().unwrap()))
    }

    #[tokio::test]
    async fn an_allowed_origin_without_a_port_means_the_port_of_its_scheme() {
        for (allowed, origin) in [
            ("https://app.example.com", "https://app.example.com"),
            ("https://app.example.com:443", "https://app.example.com"),
            ("http://app.example.com", "http://app.example.com"),
            ("http://app.example.com:80", "http://app.example.com"),
            ("https://app.example.com:8443", "https://app.example.com:8443"),
            ("http://[::1]", "http://[::1]"),
            ("http://[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(of_page(allowed, origin).await, (200, true), "{allowed} {origin}");
        }
        for (allowed, origin) in [
            ("https://app.example.com", "https://app.example.com:8443"),
            ("https://app.example.com", "https://app.example.com:80"),
            ("https://app.example.com", "http://app.example.com"),
            ("https://app.example.com", "http://app.example.com:443"),
            ("http://app.example.com", "http://app.example.com:8080"),
            ("http://app.example.com", "http://app.example.com:443"),
            ("https://app.example.com:8443", "https://app.example.com"),
            ("http://[::1]", "http://[::1]:3000"),
            ("https://app.example.com", "https://app.example.com.evil.com"),
            ("https://app.example.com", "null"),
        ] {
            assert_eq!(of_page(allowed, origin).await, (403, false), "{allowed} {origin}");
        }
    }

    const PING: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

    #[tokio::test]
    async fn an_answer_has_the_form_that_is_accepted() {
        let pong = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
        for accept in [
            &[][..],
            &[("accept", "application/json")],
            &[("accept", "*/*")],
            &[("accept", "text/event-stream"), ("accept", "application/json")],
            &[("accept", "text/event-stream;q=0.9, application/json;q=0.1")],
        ] {
            let answer = send(accept, PING).await;
            assert_eq!((answer.status().as_u16(), answer.body().as_str()), (200, pong));
            assert_eq!(answer.headers()["content-type"], "application/json");
        }
        let event = send(&[("accept", "text/event-stream")], PING).await;
        assert_eq!(event.headers()["content-type"], "text/event-stream");
        assert_eq!(event.body(), &format!("event: message\ndata: {pong}\n\n"));
        assert_eq!(send(&[("accept", "text/html")], PING).await.status(), 406);
    }

    #[tokio::test]
    async fn half_a_character_is_refused_by_its_place_and_to_its_message() {
        for (body, id) in [
            (
                &br#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":"cut \ud83d"}}"#[..],
                7.into(),
            ),
            (br#"{"params":{"\udc00":1},"id":"a"}"#, "a".into()),
            (br#"{"id":{"\ud83d":1}}"#, Value::Null),
            (br#"["\ud83d"]"#, Value::Null),
        ] {
            let (status, code, found, message) = error(body).await;
            assert_eq!((status, code, found), (400, -32700, id));
            assert!(
                message.starts_with("unpaired UTF-16 surrogate at line 1 column "),
                "{message}"
            );
        }
        for body in [&b""[..], b"{", b"\xff", b"{\"a\":\"\xff\"}", &b"[".repeat(100_000)] {
            let (status, code, id, _) = error(body).await;
            assert_eq!((status, code, id), (400, -32700, Value::Null));
        }
        let marked = [b"\xef\xbb\xbf", PING].concat();
        assert_eq!(send(&[], &marked).await.status(), 200);
    }

    #[tokio::test]
    async fn what_is_too_large_is_refused_before_it_is_parsed() {
        let bomb = format!("[{}", "{\"\":".repeat(200_000));
        let (status, code, ..) = error(bomb.as_bytes()).await;
        assert_eq!((status, code), (413, -32600));
        let ping = std::str::from_utf8(PING).unwrap();
        let batch = format!("[{ping},{ping},{}]", " ".repeat(MAX_BYTES));
        assert_eq!(send(&[], batch.as_bytes()).await.status(), 413);
        // As deep as a body can be.
        let deep = "{\"a\":".repeat(40_000);
        let deep = format!("{deep}1{}", "}".repeat(40_000));
        let (status, code, ..) = error(deep.as_bytes()).await;
        assert_eq!((status, code), (400, -32600));
    }

    #[tokio::test]
    async fn the_answers_of_a_batch_are_bounded_together_and_the_others_told_so() {
        let call = |id: usize, tool: &str, size: usize| {
            let text = "\\\"".repeat(size);
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{"a":"{text}","times":400}}}}}}"#
            )
        };
        // The parrot says 400 times what it is told.
        let calls: Vec<_> = (0..20)
            .map(|id| call(id, if id % 5 == 4 { "start_agent" } else { "x" }, 500))
            .collect();
        let answer = send(&[], format!("[{}]", calls.join(",")).as_bytes()).await;
        assert!(serde_json::to_string(answer.body()).unwrap().len() < 6_000_000);
        let answers: Vec<Value> = serde_json::from_str(answer.body()).unwrap();
        let ids: Vec<_> = answers.iter().map(|answer| answer["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, (0..20).collect::<Vec<_>>());
        let told = answers.iter().filter(|answer| answer.get("result").is_some()).count();
        assert!((1..10).contains(&told), "{told}");
        assert!(answers[4].get("result").is_some() && answers[19]["error"]["code"] == -32603);
        // Small ones are all answered.
        let calls: Vec<_> = (0..20).map(|id| call(id, "x", 1)).collect();
        let answer = send(&[], format!("[{}]", calls.join(",")).as_bytes()).await;
        assert!(!answer.body().contains("error"));
    }

    #[tokio::test]
    async fn arguments_and_results_keep_their_digits_and_levels() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for written in [r#"{"a":18446744073709551616}"#, r#"{"a":1e400}"#, r#"{"a": 0.10}"#, &deep]
        {
            let call = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"x","arguments":{written}}}}}"#
            );
            for (body, version) in
                [(call.clone(), "2025-11-25"), (format!("[{call}]"), "2025-03-26")]
            {
                let answer = send(&[("mcp-protocol-version", version)], body.as_bytes()).await;
                let expected = format!(r#""structuredContent":{written}"#);
                assert!(answer.body().contains(&expected), "{}", answer.body());
                assert!(!answer.body().contains("verbatim-"), "{}", answer.body());
            }
        }
    }

    #[tokio::test]
    async fn every_answer_has_the_id_of_its_message_as_it_was_written() {
        for id in [
            "18446744073709551616",
            "-9223372036854775809",
            "1.0",
            "1.5",
            "1e400",
            r#""\u0061\\\"\/é""#,
            r#""verbatim-""#,
        ] {
            let message = |method: &str, params: &str| {
                format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
            };
            let call = message("tools/call", r#"{"name":"x","arguments":{"id":1.0}}"#);
            for body in [
                call.clone(),
                message("ping", "[]"),
                message("agents/fly", "{}"),
                message("tools/call", "{}"),
                format!(r#"{{"jsonrpc":"1.0","id":{id}}}"#),
                format!(r#"{{"id":{id},"a":"\ud83d"}}"#),
            ] {
                let answer = send(&[], body.as_bytes()).await;
                let told = Json::parse(answer.body()).unwrap();
                let members = told.node().members();
                assert_eq!(members.get("id").unwrap().as_str(), id, "{body}: {}", answer.body());
                assert!(!answer.body().contains("-id"), "{}", answer.body());
            }
            let batch = send(&[], format!("[{call},{call}]").as_bytes()).await;
            assert_eq!(batch.body().matches(&format!(r#""id":{id},"#)).count(), 2, "{id}");
            let event = send(&[("accept", "text/event-stream")], call.as_bytes()).await;
            assert!(event.body().contains(&format!(r#""id":{id},"#)), "{}", event.body());
        }
    }

    #[tokio::test]
    async fn a_method_that_is_no_post_is_told_which_one_is() {
        for method in
            [Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::DELETE, Method::TRACE]
        {
            let mut request = request(&[], b"");
            *request.method_mut() = method.clone();
            let transport = Transport::new(Parrot, Vec::new(), Vec::new(), "", home());
            let answer = transport.handle(request).await;
            assert_eq!(answer.status(), 405, "{method}");
            assert_eq!(answer.headers()["allow"], "POST", "{method}");
        }
    }

    #[tokio::test]
    async fn params_that_do_not_fit_are_refused_to_their_message_within_a_batch_too() {
        let wrong = r#"{"jsonrpc":"2.0","id":2,"method":"resources/read","params":[]}"#;
        let (status, code, id, message) = error(wrong.as_bytes()).await;
        assert_eq!((status, code, id), (200, -32602, Value::from(2)));
        assert_eq!(message, "uri is missing");

        let ping = std::str::from_utf8(PING).unwrap();
        let answer = send(&[], format!("[{ping},{wrong},1]").as_bytes()).await;
        let answers: Value = serde_json::from_str(answer.body()).unwrap();
        assert_eq!(answers[0]["result"], serde_json::json!({}));
        assert_eq!(answers[1]["error"]["code"], -32602);
        assert_eq!(answers[2]["error"]["code"], -32600);
        let unknown = br#"{"jsonrpc":"2.0","id":2,"method":"agents/fly","params":[]}"#;
        assert_eq!(error(unknown).await.1, -32601);
    }

    #[tokio::test]
    async fn whichever_param_is_odd_its_error_names_it() {
        const META: &str = "io.modelcontextprotocol/";
        let good = serde_json::json!({
            "tools/call": {"name": "x", "arguments": {}},
            "tools/list": {"cursor": "x"},
            "resources/read": {"uri": "agents://available"},
            "prompts/get": {"name": "x", "arguments": {}},
            "completion/complete": {
                "ref": {"type": "ref/prompt", "name": "x"}, "argument": {"name": "a", "value": "b"},
                "context": {"arguments": {"c": "d"}},
            },
            "subscriptions/listen": {"notifications": {"toolsListChanged": true}},
            "tasks/get": {"taskId": "x"},
            "tasks/update": {"taskId": "x", "inputResponses": {}},
        });
        for (method, params) in good.as_object().unwrap() {
            let mut params = params.clone();
            let meta =
                [("protocolVersion", "2026-07-28".into()), ("clientCapabilities", "{}".into())];
            let meta = meta.map(|(name, value): (_, Value)| (format!("{META}{name}"), value));
            params["_meta"] = meta.into_iter().collect();
            for pointer in pointers(&params) {
                for odd in [serde_json::json!(7777), serde_json::json!([7777]), Value::Bool(true)] {
                    let mut wrong = params.clone();
                    *wrong.pointer_mut(&pointer).unwrap() = odd;
                    let body = serde_json::json!({
                        "jsonrpc": "2.0", "id": 1, "method": method, "params": wrong,
                    });
                    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
                    let name = ["name", "uri", "taskId"].iter().find_map(|it| wrong[it].as_str());
                    let name = name.map(|name| ("mcp-name", name));
                    let headers: Vec<_> = headers.into_iter().chain(name).collect();
                    let answer = send(&headers, body.to_string().as_bytes()).await;
                    let answer: Value = serde_json::from_str(answer.body()).unwrap();
                    let error = &answer["error"];
                    if error["code"] != -32602 {
                        continue;
                    }
                    let said = error["message"].as_str().unwrap();
                    let field = pointer.rsplit('/').next().unwrap();
                    assert!(said.contains(&field.replace("~1", "/")), "{method} {pointer}: {said}");
                    assert!(!said.contains("7777") && !said.contains("match any"), "{said}");
                }
            }
        }
    }

    /// The places of all that is within this.
    fn pointers(value: &Value) -> Vec<String> {
        let members = value.as_object().into_iter().flatten();
        let within = members.flat_map(|(name, member)| {
            let here = format!("/{}", name.replace('/', "~1"));
            let mut all = vec![here.clone()];
            all.extend(pointers(member).into_iter().map(|place| here.clone() + &place));
            all
        });
        within.collect()
    }
}
