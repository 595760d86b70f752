//! Streamable HTTP, stateless: each POST is served by itself, and answered with JSON, or with one
//! event where only that is accepted. What rmcp answers in plain text becomes JSON-RPC here; browsers
//! get the headers that they need.

use std::sync::Arc;

use futures_util::future::join_all;
use http_body_util::BodyExt;
use lambda_http::{
    Body, Request, Response,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
};
use relay::{
    gateway,
    json::{self, Json, Node},
    problem,
};
use rmcp::{
    ServerHandler,
    model::{ErrorCode, ProtocolVersion},
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
    },
};
use serde_json::Value;

use crate::{
    accept::{self, Form},
    message::{self, Message, Refusal},
    verbatim,
};

/// The largest message: what a start may be, and the protocol around it.
const MAX_BYTES: usize = relay::request::MAX_BYTES + 16 * 1024;

/// The largest batch; the revision that knows batches sets no limit.
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
    ) -> Self {
        if let Some((_, rest)) = public_url.split_once("://") {
            hosts.push(rest.split('/').next().unwrap_or_default().to_owned());
        }
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_max_request_body_bytes(MAX_BYTES)
            .with_allowed_hosts(hosts)
            .with_allowed_origins(&origins)
            .enforce_origin_validation();
        let sessions = Arc::new(NeverSessionManager::default());
        let rmcp = StreamableHttpService::new(move || Ok(handler.clone()), sessions, config);
        Self { rmcp, origins }
    }

    pub(crate) async fn serve(&self, request: Request) -> Response<String> {
        let mut metrics = gateway::measure("mcp", &request);
        let origin = request.headers().get(header::ORIGIN).cloned();
        let mut response = match *request.method() {
            Method::OPTIONS => preflight(),
            _ => self.handle(request).await,
        };
        metrics.failed = response.status().is_server_error();
        if let Some(origin) = origin
            && self.origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())
        {
            allow_origin(response.headers_mut(), origin);
        }
        response
    }

    async fn handle(&self, request: Request) -> Response<String> {
        let caller = match gateway::caller(&request) {
            Ok(caller) => caller,
            Err(error) => return problem::respond(&error),
        };
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(caller);
        let form = accept::form(&parts.headers);
        parts.headers.insert(header::ACCEPT, HeaderValue::from_static(BOTH_TYPES));
        if parts.method != Method::POST {
            return self.forward(parts, body, Value::Null).await;
        }
        let Some(form) = form else {
            let reason = "the answer is application/json or text/event-stream";
            let status = StatusCode::NOT_ACCEPTABLE;
            return refuse(status, &Value::Null, ErrorCode::INVALID_REQUEST, reason);
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
            return refuse(status, &Value::Null, ErrorCode::INVALID_REQUEST, &reason);
        }
        let no_json = |id: &Value, reason: &str| {
            refuse(StatusCode::BAD_REQUEST, id, ErrorCode::PARSE_ERROR, reason)
        };
        let text = match std::str::from_utf8(json::without_mark(body)) {
            Ok(text) => text,
            Err(error) => {
                let reason = format!("not UTF-8 from byte {} on", error.valid_up_to());
                return no_json(&Value::Null, &reason);
            }
        };
        let message = match serde_json::from_str::<Json>(text) {
            Ok(message) => message,
            Err(error) => return no_json(&Value::Null, &format!("not valid JSON: {error}")),
        };
        if let Some(place) = json::lone_surrogate(text) {
            let place = json::line_and_column(text, place);
            let reason = format!(
                "half a character at {place}: a surrogate without the other one of its pair"
            );
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
            return refuse(status, &Value::Null, ErrorCode::INVALID_REQUEST, reason);
        }
        let messages: Vec<Json> = messages.into_iter().map(Node::to_json).collect();
        let answers =
            join_all(messages.iter().map(|message| self.one(parts.clone(), message))).await;
        let bodies: Vec<String> =
            answers.into_iter().map(Response::into_body).filter(|body| !body.is_empty()).collect();
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
                self.forward(parts, body.into(), id).await
            }
            Err(Refusal { id, code, text }) => {
                let status = match code {
                    ErrorCode::INVALID_PARAMS if !id.is_null() => StatusCode::OK,
                    _ => StatusCode::BAD_REQUEST,
                };
                refuse(status, &id, code, &text)
            }
        }
    }

    /// One message; what rmcp refuses in plain text is refused to the message with this id.
    async fn forward(&self, parts: Parts, body: Body, id: Value) -> Response<String> {
        let (head, body) = self.rmcp.handle(Request::from_parts(parts, body)).await.into_parts();
        // Its errors are impossible ones, and what it says is JSON or a sentence of its own.
        let Ok(collected) = body.collect().await;
        let text = String::from_utf8_lossy(&collected.to_bytes()).into_owned();
        let text = verbatim::put_back(text);
        let content_type = head.headers.get(header::CONTENT_TYPE);
        let is_json = content_type.is_some_and(|it| it.as_bytes().starts_with(b"application/json"));
        let mut response = match head.status {
            // A body that is JSON, but no message.
            StatusCode::UNSUPPORTED_MEDIA_TYPE if text.contains("deserialize") => {
                let status = StatusCode::BAD_REQUEST;
                refuse(status, &id, ErrorCode::INVALID_REQUEST, "not a JSON-RPC message")
            }
            status if status.is_server_error() && !is_json => {
                refuse(status, &id, ErrorCode::INTERNAL_ERROR, "something went wrong on our side")
            }
            status if status.is_client_error() && !is_json => {
                refuse(status, &id, ErrorCode::INVALID_REQUEST, &text)
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

fn refuse(status: StatusCode, id: &Value, code: ErrorCode, message: &str) -> Response<String> {
    let error = serde_json::json!({"jsonrpc": "2.0", "id": id, "error": {"code": code.0, "message": message}});
    respond(status, error.to_string())
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
