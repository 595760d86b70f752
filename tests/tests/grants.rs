//! Twenty thousand requests of keys with any grants, by every way in: nobody is ever shown anything
//! of a run that the key may not view, nor of what another key has made. Part of `make test-all`.

use std::{collections::HashMap, sync::Mutex};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use e2e::{Stack, User, receiver::Receiver};
use futures_util::{StreamExt, stream};
use proptest::{
    collection,
    prelude::*,
    sample,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use reqwest::Method;
use serde_json::{Value, json};
use ulid::Ulid;

const REQUESTS: usize = 20_000;
const CALLERS: usize = 8;
const KEYS: usize = 24;
const AGENTS: [&str; 3] = ["echo", "slow", "approval"];
const NEWEST: &str = "2026-07-28";

/// Begins each word that may be known to few, and no other.
const MARK: &str = "known2few";

/// One key of one of the two users.
struct Key {
    user: User,
    grants: Vec<String>,
}

impl Key {
    /// The meaning of the grants, written down once more.
    fn may(&self, action: &str, agent: &str) -> bool {
        self.grants.iter().any(|grant| {
            let (granted, of) = grant.split_once(':').unwrap();
            [action, "*"].contains(&granted) && [agent, "*"].contains(&of)
        })
    }
}

/// What a word is of, and so who may be told it.
#[derive(Debug, Clone)]
enum Known {
    /// What was said to this agent of this user: who may view it.
    Said(String, &'static str),
    /// The name of such a run: who starts one is told it, too.
    Run(String, &'static str),
    /// A URL that the key of this number has subscribed: this key, and who manages its user's.
    Url(String, usize),
}

/// All words that are known to few.
#[derive(Debug, Default)]
struct Words(Mutex<HashMap<String, Known>>);

impl Words {
    fn add(&self, word: impl Into<String>, known: Known) {
        self.0.lock().unwrap().insert(word.into(), known);
    }

    fn coin(&self, known: Known) -> String {
        let word = format!("{MARK}{}", Ulid::generate());
        self.add(&word, known);
        word
    }

    /// Those of the words told that this key, which has this number, may not know.
    fn leaked(&self, told: &[String], to: &Key, number: usize) -> Vec<(String, Known)> {
        let words = self.0.lock().unwrap();
        let known = told.iter().filter_map(|word| Some((word.clone(), words.get(word)?.clone())));
        known.filter(|(_, known)| !may_know(to, number, known)).collect()
    }
}

fn may_know(key: &Key, number: usize, known: &Known) -> bool {
    let is_admin = key.grants.iter().any(|grant| grant == "*:*");
    match known {
        Known::Said(user, agent) => is_admin || (*user == key.user.id && key.may("view", agent)),
        Known::Run(user, agent) => {
            let may_start = *user == key.user.id && key.may("execute", agent);
            may_start || may_know(key, number, &Known::Said(user.clone(), agent))
        }
        Known::Url(user, by) => {
            *user == key.user.id && (*by == number || key.may("manage", "every agent"))
        }
    }
}

/// The words and names of runs in a text, also of those within what is in Base64 there, as a cursor.
fn words_in(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for start in [MARK, "mcp-"] {
        found.extend(text.match_indices(start).map(|(at, _)| {
            let rest = text[at..].chars();
            rest.take_while(|it| it.is_ascii_alphanumeric() || *it == '-').collect::<String>()
        }));
    }
    let runs = text.split(|it: char| !(it.is_ascii_alphanumeric() || it == '-' || it == '_'));
    for run in runs.filter(|run| run.len() > 24) {
        let decoded = URL_SAFE_NO_PAD.decode(run).ok();
        if let Some(inner) = decoded.and_then(|bytes| String::from_utf8(bytes).ok()) {
            found.extend(words_in(&inner));
        }
    }
    found
}

/// What is asked, with the key of this number.
#[derive(Debug, Clone)]
struct Ask {
    key: usize,
    /// Which of the runs, cursors and subscriptions that are known by then.
    which: sample::Index,
    way: &'static str,
    agent: &'static str,
    option: &'static str,
    /// Whether the caller is held, at most a second.
    waits: bool,
}

/// Each operation of REST, each tool of MCP and the envelope, each resource, and other methods.
const WAYS: &[&str] = &[
    "GET run",
    "GET results",
    "GET deliveries",
    "GET list",
    "GET agents",
    "GET subscriptions",
    "GET subscription",
    "GET secret",
    "POST start",
    "POST replay",
    "POST cancel",
    "POST input",
    "POST redeliver",
    "POST subscribe",
    "POST test",
    "DELETE subscription",
    "tool start_agent",
    "tool monitor_agent",
    "tool get_agent_results",
    "tool stop_agent",
    "tool answer_agent",
    "tool list_available_agents",
    "tool list_executions",
    "envelope start_agent",
    "envelope monitor_agent",
    "envelope get_agent_results",
    "envelope stop_agent",
    "envelope answer_agent",
    "envelope list_available_agents",
    "envelope list_executions",
    "resource agents://available",
    "resource agents://executions",
    "resource run",
    "resource result",
    "resource agent",
    "method tasks/get",
    "method tasks/cancel",
    "method tasks/update",
    "method completion/complete",
];

/// What a list, or a start, is asked with.
const OPTIONS: &[&str] =
    &["", "more", "limit=1", "limit=2", "status=completed", "agent", "owner", "cursor"];

fn ask() -> impl Strategy<Value = Ask> {
    let which = any::<sample::Index>();
    let (way, agent) = (sample::select(WAYS), sample::select(&AGENTS));
    (0..KEYS, which, way, agent, sample::select(OPTIONS), prop::bool::weighted(0.01)).prop_map(
        |(key, which, way, agent, option, waits)| Ask { key, which, way, agent, option, waits },
    )
}

fn grants() -> impl Strategy<Value = Vec<String>> {
    let action = sample::select(&["execute", "view", "cancel", "manage", "*"]);
    let agent = sample::select(&["echo", "slow", "approval", "echo", "slow", "*"]);
    collection::vec((action, agent).prop_map(|(action, agent)| format!("{action}:{agent}")), 0..4)
}

struct Request {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Value,
}

impl Request {
    fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), headers: Vec::new(), body: Value::Null }
    }

    fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: Method::POST, body, ..Self::get(path) }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// A message of MCP.
    fn message(method: &str, name: &str, mut params: Value, knows_tasks: bool) -> Self {
        let tasks = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": NEWEST,
            "io.modelcontextprotocol/clientInfo": {"name": "e2e", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": if knows_tasks { tasks } else { json!({}) },
        });
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        Self::post("/mcp", body)
            .with("content-type", "application/json")
            .with("accept", "application/json, text/event-stream")
            .with("mcp-protocol-version", NEWEST)
            .with("mcp-method", method)
            .with("mcp-name", name)
    }
}

/// A run that is there before the first request.
struct Run {
    id: String,
    idempotency_key: String,
}

struct World {
    keys: Vec<Key>,
    runs: Vec<Run>,
    words: Words,
    receiver: Receiver,
    cursors: Mutex<Vec<String>>,
    subscriptions: Mutex<Vec<String>>,
}

impl World {
    fn start(&self, ask: &Ask) -> Value {
        let user = self.keys[ask.key].user.id.clone();
        let message = self.words.coin(Known::Said(user, ask.agent));
        let mut start = json!({"agent_name": ask.agent, "input_message": message});
        if ask.option == "more" {
            start["callback_url"] = json!(self.url(ask.key, "callback"));
            start["callback_events"] = json!(["execution.completed", "execution.input_required"]);
        }
        start
    }

    /// A URL whose news is told to the key of this number.
    fn url(&self, key: usize, nonce: &str) -> String {
        self.receiver.url().replace("/hook", &format!("/{key}/{nonce}"))
    }

    fn request(&self, ask: &Ask) -> Request {
        let run = ask.which.get(&self.runs);
        match ask.way.split_once(' ').unwrap() {
            ("tool", tool) => {
                let call = json!({"name": tool, "arguments": self.arguments(tool, ask, run)});
                Request::message("tools/call", tool, call, ask.option == "more")
            }
            ("envelope", tool) => {
                let params = self.arguments(tool, ask, run);
                Request::post("/", json!({"tool": tool, "params": params}))
            }
            ("resource", name) => {
                let uri = match name {
                    "run" => format!("agents://executions/{}", run.id),
                    "result" => format!("agents://executions/{}/result", run.id),
                    "agent" => format!("agents://agents/{}", ask.agent),
                    other => other.to_owned(),
                };
                Request::message("resources/read", &uri, json!({"uri": uri}), false)
            }
            ("method", "completion/complete") => {
                let of =
                    json!({"type": "ref/resource", "uri": "agents://executions/{execution_id}"});
                let argument = json!({"name": "execution_id", "value": "mcp-"});
                let params = json!({"ref": of, "argument": argument});
                Request::message("completion/complete", "", params, false)
            }
            ("method", method) => {
                let params = json!({"taskId": run.id, "inputResponses": {}});
                Request::message(method, &run.id, params, true)
            }
            (_, what) => self.operation(what, ask, run),
        }
    }

    /// What a tool is called with.
    fn arguments(&self, tool: &str, ask: &Ask, run: &Run) -> Value {
        let mut arguments = match tool {
            "start_agent" => self.start(ask),
            "list_available_agents" => json!({}),
            "list_executions" => match ask.option {
                "agent" => json!({"agent_name": ask.agent}),
                "owner" => json!({"user_id": self.keys[0].user.id}),
                "cursor" => json!({"limit": 1, "cursor": pick(&self.cursors, ask)}),
                "limit=1" => json!({"limit": 1}),
                _ => json!({}),
            },
            _ => json!({"execution_id": run.id}),
        };
        match tool {
            "answer_agent" => arguments["answer"] = json!({"approved": true}),
            "get_agent_results" => arguments["include_metadata"] = json!(true),
            "monitor_agent" | "start_agent" if ask.waits => arguments["wait_seconds"] = json!(1),
            _ => {}
        }
        arguments
    }

    /// An operation of REST.
    fn operation(&self, what: &str, ask: &Ask, run: &Run) -> Request {
        let path = format!("/v1/executions/{}", run.id);
        let subscription = || format!("/v1/subscriptions/{}", pick(&self.subscriptions, ask));
        match what {
            "run" if ask.waits => Request::get(path).with("prefer", "wait=1"),
            "run" => Request::get(path),
            "results" => Request::get(path + "/results?include_metadata=true"),
            "deliveries" => Request::get(path + "/deliveries"),
            "list" => {
                let query = match ask.option {
                    "agent" => format!("agent_name={}", ask.agent),
                    "owner" => format!("user_id={}", self.keys[0].user.id),
                    "cursor" => format!("limit=1&cursor={}", pick(&self.cursors, ask)),
                    other => other.replace("more", ""),
                };
                Request::get(format!("/v1/executions?{query}"))
            }
            "agents" => Request::get("/v1/agents"),
            "subscriptions" => Request::get("/v1/subscriptions"),
            "subscription" if ask.way.starts_with("DELETE") => {
                Request { method: Method::DELETE, ..Request::get(subscription()) }
            }
            "subscription" => Request::get(subscription()),
            "secret" => Request::get("/v1/webhook-secret"),
            "start" => {
                let start = Request::post("/v1/executions", self.start(ask));
                if ask.waits { start.with("prefer", "wait=1") } else { start }
            }
            "replay" => Request::post("/v1/executions", self.start(ask))
                .with("idempotency-key", &run.idempotency_key),
            "cancel" => Request::post(path + "/cancel", Value::Null),
            "input" => Request::post(path + "/input", json!({"answer": {"approved": true}})),
            "redeliver" => Request::post(path + "/deliveries/msg_x/redeliver", Value::Null),
            "subscribe" => {
                let user = self.keys[ask.key].user.id.clone();
                let nonce = self.words.coin(Known::Url(user, ask.key));
                let mut body = json!({"url": self.url(ask.key, &nonce)});
                if ask.option != "owner" {
                    body["agent_name"] = json!(ask.agent);
                }
                Request::post("/v1/subscriptions", body)
            }
            "test" => Request::post(subscription() + "/test", Value::Null),
            other => panic!("{other}"),
        }
    }

    /// Sends what is asked; returns the status, and what the key was told though it may not know it.
    async fn send(&self, ask: &Ask) -> (u16, usize, Vec<(String, Known)>) {
        let Request { method, path, headers, body } = self.request(ask);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let asked = format!("{path} {headers:?} {body}");
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let key = &self.keys[ask.key];
        let answer = key.user.send(method, &path, &headers, body).await;
        self.learn(ask, &answer.body);
        let told = words_in(&format!("{:?} {}", answer.headers, answer.body));
        let leaked = self.words.leaked(&told, key, ask.key).into_iter();
        // Whoever asks for it knows it.
        let leaked = leaked.filter(|(word, _)| !asked.contains(word)).collect();
        (answer.status, told.len(), leaked)
    }

    /// Keeps what later requests ask with, and whose a new run is.
    fn learn(&self, ask: &Ask, body: &Value) {
        let structured = &body["result"]["structuredContent"];
        let body = if structured.is_object() { structured } else { body };
        if let Some(cursor) = body["next_cursor"].as_str() {
            self.cursors.lock().unwrap().push(cursor.to_owned());
        }
        if ask.way == "POST subscribe"
            && let Some(id) = body["id"].as_str()
        {
            self.subscriptions.lock().unwrap().push(id.to_owned());
        }
        if ["POST start", "tool start_agent", "envelope start_agent"].contains(&ask.way)
            && let Some(id) = body["execution_id"].as_str()
        {
            let user = self.keys[ask.key].user.id.clone();
            self.words.add(id, Known::Run(user, ask.agent));
        }
    }
}

/// One of those that are known by now.
fn pick(known: &Mutex<Vec<String>>, ask: &Ask) -> String {
    let known = known.lock().unwrap();
    if known.is_empty() { "none".to_owned() } else { ask.which.get(&known).clone() }
}

#[tokio::test]
async fn no_key_is_shown_what_it_may_not_know() {
    let stack = Stack::connect().await;
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let users = [stack.user(&["*:*"]).await, stack.user(&["*:*"]).await];
    let (words, mut runs) = (Words::default(), Vec::new());
    for user in &users {
        for agent in AGENTS {
            for _ in 0..4 {
                let message = words.coin(Known::Said(user.id.clone(), agent));
                let idempotency_key = Ulid::generate().to_string();
                let start = json!({"agent_name": agent, "input_message": message});
                let headers = [("idempotency-key", idempotency_key.as_str())];
                let id = user.post_with(&headers, &start).await.text("execution_id");
                words.add(&id, Known::Run(user.id.clone(), agent));
                runs.push((user, agent, Run { id, idempotency_key }));
            }
        }
    }
    for (user, agent, run) in &runs {
        let status = match *agent {
            "echo" => "completed",
            "slow" => "running",
            _ => "input_required",
        };
        user.wait_for(&run.id, status).await;
    }
    let mut keys = Vec::new();
    for number in 0..KEYS {
        let owner = &users[number % users.len()];
        let grants = grants().new_tree(&mut runner).unwrap().current();
        let texts: Vec<&str> = grants.iter().map(String::as_str).collect();
        let key = stack.key(&owner.id, &texts, json!({"rate_limit": 20})).await;
        keys.push(Key { user: User { key, ..owner.clone() }, grants });
    }
    let world = World {
        keys,
        runs: runs.into_iter().map(|(_, _, run)| run).collect(),
        words,
        receiver: Receiver::start().await,
        cursors: Mutex::default(),
        subscriptions: Mutex::default(),
    };
    let asks: Vec<Ask> =
        (0..REQUESTS).map(|_| ask().new_tree(&mut runner).unwrap().current()).collect();

    let world = &world;
    let answers = stream::iter(asks)
        .map(|ask| async move { (world.send(&ask).await, ask) })
        .buffer_unordered(CALLERS);
    let mut counts = std::collections::BTreeMap::<u16, usize>::new();
    let mut told = 0;
    let mut answers = std::pin::pin!(answers);
    while let Some(((status, words, leaked), ask)) = answers.next().await {
        let grants = &world.keys[ask.key].grants;
        assert!(leaked.is_empty(), "{ask:?} with {grants:?}: {leaked:?}");
        let may_manage = world.keys[ask.key].may("manage", "every agent");
        assert!(ask.way != "GET secret" || (status == 200) == may_manage, "{grants:?}: {status}");
        assert!(status < 500, "{ask:?} with {grants:?}: {status}");
        *counts.entry(status).or_default() += 1;
        told += words;
    }
    let posts = world.receiver.received().await;
    for post in &posts {
        let path = post.path_and_query();
        let number: usize = path.split('/').nth(1).unwrap().parse().unwrap();
        let key = &world.keys[number];
        let leaked = world.words.leaked(&words_in(post.text()), key, number);
        assert!(leaked.is_empty(), "{:?} at {path}: {leaked:?}", key.grants);
    }
    println!(
        "{REQUESTS} requests were answered: {counts:?}; {told} words of runs, {} POSTs",
        posts.len()
    );
    // What may be known was told, so that its absence means something.
    assert!(told > REQUESTS / 10 && posts.len() > 10, "{told} words, {} POSTs", posts.len());
}
