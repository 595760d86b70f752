//! One word stands in every field of every request, right ones and wrong ones, that callers, agents and
//! receivers can send. After the tests `infra/local/logs.py` searches the logs of all functions for it.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use e2e::{Answer, Stack, User, id, receiver::Receiver};
use futures_util::{StreamExt, stream};
use relay::store::batch::Consistency;
use reqwest::Method;
use serde_json::{Map, Value, json};
use ulid::Ulid;
use wiremock::ResponseTemplate;

/// The same as in `infra/local/logs.py`.
const MARKER: &str = "tellnobody7";
const SIDE_BY_SIDE: usize = 8;
const NEWEST: &str = "2026-07-28";

/// Who sends it, and how often.
struct Marked {
    user: User,
    sent: AtomicUsize,
}

/// One request, with the word in it.
#[derive(Debug, Clone)]
struct Request {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Request {
    fn new(method: &Method, path: &str, body: impl Into<String>) -> Self {
        Self {
            method: method.clone(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: body.into(),
        }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl Marked {
    /// The word stands in the headers of each.
    async fn send(&self, request: &Request) -> Answer {
        let referer = format!("https://example.com/{MARKER}");
        let always = [
            ("user-agent", MARKER),
            ("cookie", MARKER),
            ("referer", &referer),
            ("x-marker", MARKER),
            ("x-api-key", &self.user.key),
        ];
        let own = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let has = |name: &str| request.headers.iter().any(|(own, _)| own == name);
        let headers: Vec<_> =
            always.into_iter().filter(|(name, _)| !has(name)).chain(own).collect();
        let (method, body) = (request.method.clone(), request.body.clone());
        let answer = self.user.stack.request(method, &request.path, &headers, body).await;
        self.sent.fetch_add(1, Ordering::Relaxed);
        assert!(answer.status < 500, "{}: {request:?}", answer.status);
        answer
    }

    async fn send_all(&self, requests: Vec<Request>) {
        let answers = requests.iter().map(|request| self.send(request));
        stream::iter(answers).buffer_unordered(SIDE_BY_SIDE).collect::<Vec<_>>().await;
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(&Request::new(&Method::POST, path, body.to_string())).await
    }

    async fn rpc(&self, method: &str, params: Value) -> Answer {
        self.send(&rpc(method, params)).await
    }
}

/// What stands in the place of any value.
fn wrongs() -> Vec<Value> {
    vec![
        json!(MARKER),
        json!([MARKER]),
        json!({MARKER: MARKER}),
        json!([{"a": [MARKER]}]),
        // Its host is logged, and is nowhere.
        json!(format!("https://nobody.invalid/{MARKER}?{MARKER}={MARKER}#{MARKER}")),
        json!(format!("http://user:{MARKER}@127.0.0.1:1/")),
        json!(format!("{MARKER}\u{202e}\r\n{MARKER}")),
        json!(MARKER.repeat(300)),
    ]
}

/// The right body, once with the word in each of its fields and elsewhere.
fn bodies(right: &Value, fields: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut bodies =
        vec![right.to_string(), json!(MARKER).to_string(), json!([MARKER]).to_string()];
    let mut fields: Vec<String> = fields.into_iter().collect();
    fields.push(MARKER.to_owned());
    for field in fields {
        for wrong in wrongs() {
            let mut body = right.clone();
            body[&field] = wrong;
            bodies.push(body.to_string());
        }
    }
    // What is no JSON, in the ways that parsers quote.
    bodies.extend([
        MARKER.to_owned(),
        format!("{{\"{MARKER}\": {MARKER}}}"),
        format!("{{\"agent_name\": \"{MARKER}"),
        format!("{{\"agent_name\": \"{MARKER}\\ud83d\"}}"),
        format!("{{\"{MARKER}\": 1, \"{MARKER}\": 2}}"),
    ]);
    bodies
}

fn names(schema: &Value) -> Vec<String> {
    schema["properties"].as_object().into_iter().flat_map(Map::keys).cloned().collect()
}

/// All operations of the description, with the word in each parameter and each field of their bodies.
fn rest(document: &Value, run: &str, right: impl Fn(&str) -> Value) -> Vec<Request> {
    let mut requests = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let id = operation["operationId"].as_str().unwrap();
            // A secret that is rotated twice signs what other tests do not know; this user is our own.
            let good = path.replace("{execution_id}", run);
            let good = good.replace("{subscription_id}", MARKER).replace("{delivery_id}", MARKER);
            let marked = ["{execution_id}", "{subscription_id}", "{delivery_id}"]
                .iter()
                .fold(path.clone(), |path, name| path.replace(name, MARKER));
            let body = right(id);
            let request = |path: &str, body: &str| Request::new(&method, path, body);
            requests.push(request(&good, &body.to_string()));
            requests.push(request(&marked, &body.to_string()));
            requests.push(request(&format!("{good}?{MARKER}={MARKER}"), &body.to_string()));
            requests.push(request(&format!("{good}/{MARKER}"), &body.to_string()));
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap();
                match parameter["in"].as_str().unwrap() {
                    "query" => {
                        let path = format!("{good}?{name}={MARKER}");
                        requests.push(request(&path, &body.to_string()));
                    }
                    "header" => {
                        for value in [MARKER.to_owned(), format!("wait=1, {MARKER}={MARKER}")] {
                            let request = request(&good, &body.to_string());
                            requests.push(request.with(&name.to_lowercase(), &value));
                        }
                    }
                    // Each path above has one.
                    place => assert_eq!(place, "path"),
                }
            }
            let content =
                &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            let Some(schema) = content.as_str().and_then(|it| it.strip_prefix('#')) else {
                continue;
            };
            let fields = names(document.pointer(schema).unwrap());
            assert!(!fields.is_empty(), "{id}");
            requests.extend(bodies(&body, fields).iter().map(|body| request(&good, body)));
        }
    }
    requests
}

/// One request of the newest revision, with the word in what clients say of themselves.
fn rpc(method: &str, mut params: Value) -> Request {
    let name = ["name", "uri", "taskId"].iter().find_map(|field| params[field].as_str());
    let name = name.unwrap_or_default().to_owned();
    if params.is_object() {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": NEWEST,
            "io.modelcontextprotocol/clientInfo": {"name": MARKER, "version": MARKER},
            "io.modelcontextprotocol/clientCapabilities":
                {"extensions": {"io.modelcontextprotocol/tasks": {}}},
            MARKER: MARKER,
        });
    }
    let body = json!({"jsonrpc": "2.0", "id": MARKER, "method": method, "params": params});
    let request = Request::new(&Method::POST, "/mcp", body.to_string())
        .with("content-type", "application/json")
        .with("accept", "application/json, text/event-stream")
        .with("mcp-protocol-version", NEWEST)
        .with("mcp-method", method);
    if name.is_ascii() && !name.is_empty() { request.with("mcp-name", &name) } else { request }
}

/// Each method and tool, with the word in each of its params and arguments, and in those that there are not.
fn mcp(tools: &[Value], run: &str) -> Vec<Request> {
    let mut requests = Vec::new();
    for tool in tools {
        let name = tool["name"].as_str().unwrap();
        let right = json!({"execution_id": run, "agent_name": "echo", "input_message": MARKER});
        let fields = names(&tool["inputSchema"]);
        let mut all: Vec<Value> = wrongs().into_iter().filter(|it| !it.is_string()).collect();
        for field in fields.into_iter().chain([MARKER.to_owned()]) {
            for wrong in wrongs() {
                let mut arguments = right.clone();
                arguments[&field] = wrong;
                all.push(arguments);
            }
        }
        for arguments in all {
            requests.push(rpc("tools/call", json!({"name": name, "arguments": arguments})));
            let call = json!({"tool": name, "params": arguments, MARKER: MARKER});
            requests.push(Request::new(&Method::POST, "/", call.to_string()));
            let call = json!({"tool": name, "params": arguments});
            requests.push(Request::new(&Method::POST, "/", call.to_string()));
        }
    }
    let resource = json!({"type": "ref/resource", "uri": "agents://agents/{agent_name}"});
    let prompt = json!({"type": "ref/prompt", "name": "delegate"});
    let argument = json!({"name": "agent_name", "value": MARKER});
    for (method, right) in [
        ("tools/call", json!({"name": MARKER, "arguments": {MARKER: MARKER}})),
        ("resources/read", json!({"uri": format!("agents://{MARKER}?token={MARKER}")})),
        ("resources/read", json!({"uri": format!("agents://executions/{MARKER}/result")})),
        ("resources/read", json!({"uri": format!("agents://agents/{MARKER}")})),
        ("prompts/get", json!({"name": MARKER})),
        (
            "prompts/get",
            json!({"name": "delegate", "arguments": {"agent_name": MARKER, "task": MARKER}}),
        ),
        ("completion/complete", json!({"ref": resource, "argument": argument})),
        ("completion/complete", json!({"ref": prompt, "argument": argument})),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": MARKER}, "argument": {"name": MARKER, "value": MARKER}}),
        ),
        ("tasks/get", json!({"taskId": MARKER})),
        ("tasks/cancel", json!({"taskId": MARKER})),
        ("tasks/update", json!({"taskId": MARKER, "inputResponses": {MARKER: MARKER}})),
        ("tasks/update", json!({"taskId": run, "inputResponses": {MARKER: {"action": MARKER}}})),
        ("tools/list", json!({"cursor": MARKER})),
        ("resources/list", json!({"cursor": MARKER})),
        ("resources/templates/list", json!({"cursor": MARKER})),
        ("prompts/list", json!({"cursor": MARKER})),
        ("server/discover", json!({MARKER: MARKER})),
        ("ping", json!({MARKER: MARKER})),
        ("logging/setLevel", json!({"level": MARKER})),
        (
            "initialize",
            json!({"protocolVersion": MARKER, "capabilities": {MARKER: {}},
            "clientInfo": {"name": MARKER, "version": MARKER}}),
        ),
        ("notifications/cancelled", json!({"requestId": MARKER, "reason": MARKER})),
        (MARKER, json!({MARKER: MARKER})),
    ] {
        requests.push(rpc(method, right.clone()));
        let fields: Vec<String> = right.as_object().unwrap().keys().cloned().collect();
        for body in bodies(&right, fields) {
            let params = serde_json::from_str(&body).unwrap_or(Value::Null);
            requests.push(rpc(method, params));
        }
    }
    let ping = rpc("ping", json!({}));
    for (name, value) in [
        ("mcp-protocol-version", MARKER),
        ("mcp-session-id", MARKER),
        ("mcp-method", MARKER),
        ("mcp-name", MARKER),
        ("last-event-id", MARKER),
        ("content-type", MARKER),
        ("accept", MARKER),
        ("origin", "https://tellnobody7.example"),
        ("origin", MARKER),
    ] {
        let mut request = ping.clone();
        request.headers.retain(|(own, _)| own != name);
        requests.push(request.with(name, value));
    }
    for body in [
        format!("[{},{MARKER}]", ping.body),
        json!([MARKER, {"jsonrpc": MARKER}, {"jsonrpc": "2.0", "id": MARKER, "method": MARKER}])
            .to_string(),
        json!({"jsonrpc": "2.0", "id": {MARKER: MARKER}, "method": "ping"}).to_string(),
        json!({"jsonrpc": "2.0", "id": MARKER, "result": {MARKER: MARKER}}).to_string(),
        json!({"jsonrpc": "2.0", "id": MARKER, "error": {"code": 1, "message": MARKER}})
            .to_string(),
        MARKER.to_owned(),
    ] {
        for version in [NEWEST, "2025-11-25", "2025-03-26"] {
            let mut request = Request { body: body.clone(), ..ping.clone() };
            request.headers.retain(|(own, _)| own != "mcp-protocol-version");
            requests.push(request.with("mcp-protocol-version", version));
        }
    }
    requests
}

/// Keys and tokens that nobody has.
fn credentials() -> Vec<Request> {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let token = |header: Value, claims: Value| {
        format!("Bearer {}.{}.{}", part(&header), part(&claims), URL_SAFE_NO_PAD.encode(MARKER))
    };
    let claims = json!({"iss": MARKER, "sub": MARKER, "aud": MARKER, "scope": MARKER, "exp": 1});
    let get = || Request::new(&Method::GET, "/v1/agents", "");
    let mut requests = vec![
        get().with("x-api-key", MARKER),
        get().with("x-api-key", &format!("relay_{MARKER}")),
        get().with("x-api-key", &MARKER.repeat(400)),
    ];
    for authorization in [
        MARKER.to_owned(),
        format!("Bearer {MARKER}"),
        format!("Bearer {MARKER}.{MARKER}.{MARKER}"),
        format!("Basic {MARKER}"),
        token(json!({"alg": "RS256", "kid": MARKER}), claims.clone()),
        token(json!({"alg": MARKER, "kid": MARKER, "jku": MARKER}), claims),
    ] {
        requests.push(get().with("x-api-key", "").with("authorization", &authorization));
    }
    requests
}

/// What agents say and Step Functions tells, right and wrong.
fn events(run: &str, arn: &str) -> Vec<Value> {
    let token = format!("{MARKER}-{}", Ulid::generate());
    let pin = json!({"type": "object", "properties": {"pin": {"pattern": "^[0-9]{4}$"}}});
    let asks =
        json!({"execution_arn": arn, "task_token": token, "question": MARKER, "schema": pin});
    let reports = json!({"execution_arn": arn, "percent": 5, "message": MARKER});
    let ends = json!({"executionArn": arn, "name": run, "status": "RUNNING", "input": MARKER});
    let mut events = Vec::new();
    for (kind, source, right) in [
        ("Agent Input Required", "agent", asks),
        ("Agent Progress", "agent", reports),
        ("Step Functions Execution Status Change", "aws.states", ends),
    ] {
        let event = |detail: &Value| json!({"source": source, "detail-type": kind, "detail": detail, MARKER: MARKER});
        events.push(event(&right));
        let fields: Vec<String> = right.as_object().unwrap().keys().cloned().collect();
        for field in fields.into_iter().chain([MARKER.to_owned(), "stopDate".to_owned()]) {
            for wrong in wrongs() {
                let mut detail = right.clone();
                detail[&field] = wrong;
                // A question too many would end the run's others.
                if field != "task_token" {
                    events.push(event(&detail));
                }
            }
        }
        events.extend([event(&json!(MARKER)), event(&json!([MARKER]))]);
    }
    events
}

/// Answers that do not fit, by each way.
async fn answer_wrongly(marked: &Marked, run: &str) {
    let asking = marked.user.wait_for(run, "input_required").await;
    let question = asking.body["questions"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/executions/{run}/input");
    for wrong in [
        json!(MARKER),
        json!([MARKER]),
        json!({"approved": MARKER}),
        json!({"approved": [MARKER], "comment": [MARKER]}),
        json!({"pin": MARKER}),
        json!({"pin": {MARKER: MARKER}}),
    ] {
        marked.post(&path, &json!({"answer": wrong, "question_id": question})).await;
        let arguments = json!({"execution_id": run, "answer": wrong, "question_id": question});
        marked.rpc("tools/call", json!({"name": "answer_agent", "arguments": arguments})).await;
        for response in [
            json!({"action": "accept", "content": wrong}),
            json!({"action": "accept", "content": {"answer": wrong}}),
            json!({"action": wrong, "content": wrong}),
            json!({"action": MARKER}),
            wrong.clone(),
        ] {
            let params = json!({"taskId": run, "inputResponses": {&question: response}});
            marked.rpc("tasks/update", params).await;
        }
    }
}

#[tokio::test]
async fn what_callers_agents_and_receivers_say_is_sent_in_every_field() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*", "cancel:*", "manage:*"]).await;
    let marked = Marked { user, sent: AtomicUsize::new(0) };
    let says = |status: u16| ResponseTemplate::new(status).set_body_string(MARKER);
    let receiver = Receiver::giving(&[
        says(503).insert_header("retry-after", MARKER).insert_header(MARKER, MARKER),
        says(302).insert_header("location", format!("http://user:{MARKER}@127.0.0.1/{MARKER}")),
        says(200),
    ])
    .await;
    let url = format!("{}&{MARKER}={MARKER}", receiver.url());
    // The example itself takes no parameters but its own.
    let agent = stack.agent("EchoMachineArn", json!({})).await;
    let start = json!({
        "agent_name": agent, "input_message": MARKER, "tags": {MARKER: MARKER},
        "parameters": {"wait_seconds": 0, MARKER: MARKER}, "callback_url": url,
        "callback_headers": {MARKER: MARKER}, "callback_events": ["execution.completed"],
    });
    let right = |operation: &str| match operation {
        "startExecution" => start.clone(),
        "subscribe" => {
            json!({"url": url, "events": ["execution.failed"], "headers": {MARKER: MARKER}})
        }
        "recoverSubscription" => json!({"since": "2026-01-01T00:00:00Z", "cursor": MARKER}),
        "answerExecution" | "answer" => json!({"answer": MARKER}),
        _ => json!({}),
    };

    // What is right comes all the way: to the agent, to the receiver, and back.
    let run = marked.post("/v1/executions", &start).await.text("execution_id");
    marked.user.wait_for(&run, "completed").await;
    receiver.wait_for(1).await;
    let asks = json!({"agent_name": "approval", "input_message": MARKER, "callback_url": url});
    let asks = marked.post("/v1/executions", &asks).await.text("execution_id");
    answer_wrongly(&marked, &asks).await;
    // For longer than all of this takes.
    let waiting = stack.agent("EchoMachineArn", json!({})).await;
    let wait = json!({"wait_seconds": 3600});
    let slow = json!({"agent_name": waiting, "input_message": MARKER, "parameters": wait});
    let slow = marked.post("/v1/executions", &slow).await.text("execution_id");
    marked.user.wait_for(&slow, "running").await;
    let row = stack.executions().find(&id(&slow), Consistency::Strong).await.unwrap().unwrap();
    let arn = row.execution_arn();
    let told = events(&slow, &arn);
    // The right question first, whose schema the answers are not to fit.
    stack.invoke("StatusFunctionName", &told[0]).await.unwrap();
    let told = told.iter().map(|event| stack.invoke("StatusFunctionName", event));
    stream::iter(told).buffer_unordered(SIDE_BY_SIDE).collect::<Vec<_>>().await;
    answer_wrongly(&marked, &slow).await;

    let document = stack.request(Method::GET, "/openapi.json", &[], "").await.body;
    marked.send_all(rest(&document, &run, right)).await;
    let listed = marked.rpc("tools/list", json!({})).await;
    let tools = listed.body["result"]["tools"].as_array().unwrap();
    marked.send_all(mcp(tools, &run)).await;
    marked.send_all(credentials()).await;
    for path in [format!("/{MARKER}"), format!("/v1/{MARKER}?{MARKER}"), format!("/mcp/{MARKER}")] {
        marked.send(&Request::new(&Method::POST, &path, MARKER)).await;
    }

    let yes = json!({"answer": {"approved": true, "comment": MARKER}});
    marked.post(&format!("/v1/executions/{asks}/input"), &yes).await;
    marked.user.wait_for(&asks, "completed").await;
    stack.step_functions.stop_execution().execution_arn(arn).cause(MARKER).send().await.unwrap();
    marked.user.wait_for(&slow, "cancelled").await;
    let sent = marked.sent.load(Ordering::Relaxed);
    println!("{sent} requests held the word, and {} tools", tools.len());
    assert!(sent > 1_000 && tools.len() > 4, "{sent}");
}
