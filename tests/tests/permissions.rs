//! What each grant lets its key do, by every way in.

use e2e::{Answer, Stack, User};
use reqwest::Method;
use serde_json::{Value, json};

/// What a caller may try, on the agents `echo` and `slow`.
struct Tries {
    user: User,
    /// Runs of this user, of either agent.
    echo: String,
    slow: String,
}

impl Tries {
    async fn start(&self, agent: &str) -> u16 {
        self.user.post(&json!({"agent_name": agent, "input_message": "x"})).await.status
    }

    async fn cancel(&self, id: &str) -> Answer {
        self.user.send(Method::POST, &format!("/v1/executions/{id}/cancel"), &[], "").await
    }

    /// The agents whose runs, and which agents, a list shows.
    async fn listed(&self) -> Vec<String> {
        let runs = self.user.get("/v1/executions").await;
        let agents = self.user.get("/v1/agents").await;
        let names = |list: &Value, field: &str| -> Vec<String> {
            let names = list.as_array().unwrap().iter();
            names.map(|it| it[field].as_str().unwrap().to_owned()).collect()
        };
        let mut seen = names(&runs.body["executions"], "agent_name");
        seen.sort_unstable();
        seen.dedup();
        for agent in ["echo", "slow"] {
            let shown = names(&agents.body["agents"], "name").contains(&agent.to_owned());
            assert_eq!(shown, seen.contains(&agent.to_owned()), "{agent}: {seen:?}");
        }
        seen
    }

    /// Whether the tool's word on this run is the same by the envelope as by REST.
    async fn agrees(&self, id: &str) {
        let rest = self.user.monitor(id).await.status;
        let envelope = self.user.call("monitor_agent", json!({"execution_id": id})).await.status;
        assert_eq!(rest, envelope, "{id}");
    }
}

#[tokio::test]
async fn a_grant_reaches_its_agents_and_no_further() {
    const NOTHING: &[&str] = &[];
    let stack = Stack::connect().await;
    let owner = stack.user(&["*:*"]).await;
    let start =
        async |agent: &str| owner.start(&json!({"agent_name": agent, "input_message": "x"})).await;
    let (echo, slow) = (start("echo").await, start("slow").await);
    owner.wait_for(&echo, "completed").await;
    owner.wait_for(&slow, "running").await;

    // Grants; then the status of: start echo, start slow, view echo, view slow, cancel echo (which
    // has ended, so 409 means allowed); and the agents that are seen.
    let both: &[&str] = &["echo", "slow"];
    for (grants, expected, seen) in [
        (vec![], [403, 403, 403, 403, 403], NOTHING),
        (vec!["nonsense", "", ":", "*", "view"], [403, 403, 403, 403, 403], NOTHING),
        (vec!["view:echo"], [403, 403, 200, 403, 403], &["echo"]),
        (vec!["view:*"], [403, 403, 200, 200, 403], both),
        (vec!["execute:echo"], [202, 403, 403, 403, 403], NOTHING),
        (vec!["cancel:echo"], [403, 403, 403, 403, 409], NOTHING),
        (vec!["cancel:slow"], [403, 403, 403, 403, 403], NOTHING),
        (vec!["*:echo"], [202, 403, 200, 403, 409], &["echo"]),
        (vec!["execute:slow", "view:echo"], [403, 202, 200, 403, 403], &["echo"]),
        (vec!["execute:*", "view:*", "cancel:*"], [202, 202, 200, 200, 409], both),
        (vec!["*:*"], [202, 202, 200, 200, 409], both),
    ] {
        let key = stack.key(&owner.id, &grants, json!({})).await;
        let user = User { key, ..owner.clone() };
        let tries = Tries { user, echo: echo.clone(), slow: slow.clone() };

        let actual = [
            tries.start("echo").await,
            tries.start("slow").await,
            tries.user.monitor(&tries.echo).await.status,
            tries.user.results(&tries.slow).await.status,
            tries.cancel(&tries.echo).await.status,
        ];
        assert_eq!(actual, expected, "{grants:?}");
        assert_eq!(tries.listed().await, seen, "{grants:?}");
        tries.agrees(&tries.echo).await;
        tries.agrees(&tries.slow).await;

        // Somebody else's key with the same grants knows nothing of these runs, unless it is an
        // administrator's.
        let other = stack.user(&grants).await;
        let status = other.monitor(&tries.echo).await.status;
        assert_eq!(status, if grants == ["*:*"] { 200 } else { 404 }, "{grants:?}");
    }
    let tries = Tries { user: owner, echo, slow: slow.clone() };
    assert_eq!(tries.cancel(&slow).await.status, 202);
}

/// What is needed for each way in: of what needs a permission, exactly that grant lets it through,
/// and a key with all others is refused.
#[derive(Clone, Copy)]
enum Needs {
    /// This grant, or it is refused with 403.
    Grant(&'static str),
    /// No grant: what is not the caller's to see is not in the answer.
    Nothing,
    /// Not even a key.
    NoKey,
}

use Needs::{Grant, NoKey, Nothing};

const NEWEST: &str = "2026-07-28";

/// Each operation of `openapi.json`.
const OPERATIONS: &[(&str, Needs)] = &[
    ("startExecution", Grant("execute:echo")),
    ("listExecutions", Nothing),
    ("getExecution", Grant("view:echo")),
    ("getResults", Grant("view:echo")),
    ("rerunExecution", Grant("execute:echo")),
    ("redriveExecution", Grant("execute:echo")),
    ("startBatch", Grant("execute:echo")),
    ("getBatch", Grant("view:echo")),
    ("getBatchResults", Grant("view:echo")),
    ("cancelBatch", Grant("cancel:echo")),
    ("cancelExecution", Grant("cancel:echo")),
    ("answerExecution", Grant("execute:echo")),
    // And `view`, where there are links.
    ("listAnswerLinks", Grant("execute:echo")),
    ("getLinkedQuestion", NoKey),
    ("answerByLink", NoKey),
    ("listDeliveries", Grant("view:echo")),
    ("redeliver", Grant("view:echo")),
    ("subscribe", Grant("view:echo")),
    ("listSubscriptions", Nothing),
    ("getSubscription", Nothing),
    ("unsubscribe", Nothing),
    ("testSubscription", Nothing),
    ("enableSubscription", Grant("manage:*")),
    ("recoverSubscription", Grant("manage:*")),
    ("getSubscriptionSecret", Nothing),
    ("rotateSubscriptionSecret", Nothing),
    ("getWebhookSecret", Grant("manage:*")),
    ("rotateWebhookSecret", Grant("manage:*")),
    ("listAgents", Nothing),
    ("getMe", Nothing),
    ("getDescription", NoKey),
];

/// Each tool of MCP and the envelope, with what it is called for a run of `echo`.
const TOOLS: &[(&str, Needs)] = &[
    ("start_agent", Grant("execute:echo")),
    ("start_agents", Grant("execute:echo")),
    ("rerun_agent", Grant("execute:echo")),
    ("monitor_agent", Grant("view:echo")),
    ("get_agent_results", Grant("view:echo")),
    ("stop_agent", Grant("cancel:echo")),
    ("answer_agent", Grant("execute:echo")),
    ("list_available_agents", Nothing),
    ("list_executions", Nothing),
];

/// Each resource, and template of some.
const RESOURCES: &[(&str, Needs)] = &[
    ("agents://available", Nothing),
    ("agents://executions", Nothing),
    ("agents://executions/{execution_id}", Grant("view:echo")),
    ("agents://executions/{execution_id}/result", Grant("view:echo")),
    ("agents://agents/{agent_name}", Nothing),
];

/// Each type of event, which leaves by callback and subscription.
const EVENTS: &[(&str, Needs)] = &[
    ("execution.running", Grant("view:echo")),
    ("execution.progress", Grant("view:echo")),
    ("execution.input_required", Grant("view:echo")),
    ("execution.completed", Grant("view:echo")),
    ("execution.failed", Grant("view:echo")),
    ("execution.timeout", Grant("view:echo")),
    ("execution.cancelled", Grant("view:echo")),
    ("batch.completed", Grant("view:echo")),
    ("subscription.test", Nothing),
    ("subscription.disabled", Nothing),
];

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

fn rows(table: &[(&str, Needs)]) -> Vec<String> {
    sorted(table.iter().map(|(name, _)| (*name).to_owned()).collect())
}

/// Asks MCP.
async fn ask(user: &User, method: &str, name: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": NEWEST,
        "io.modelcontextprotocol/clientInfo": {"name": "e2e", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", NEWEST),
        ("mcp-method", method),
        ("mcp-name", name),
    ];
    let headers = if name.is_empty() { &headers[..4] } else { &headers };
    user.send(Method::POST, "/mcp", headers, body.to_string()).await.body
}

/// The names under `list` in a result.
async fn named(user: &User, method: &str, list: &str, name: &str) -> Vec<String> {
    let answer = ask(user, method, "", json!({})).await;
    let names = answer["result"][list].as_array();
    let names = names.unwrap_or_else(|| panic!("{method}: {answer}")).iter();
    names.map(|it| it[name].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn no_way_in_or_out_is_in_no_row() {
    let stack = Stack::connect().await;
    let user = stack.user(&["*:*"]).await;
    let document = stack.request(Method::GET, "/openapi.json", &[], "").await.body;
    let operations = document["paths"].as_object().unwrap().values();
    let operations = operations.flat_map(|path| path.as_object().unwrap().values());
    let operations = operations
        .filter_map(|it| it["operationId"].as_str())
        .map(str::to_owned)
        .collect::<Vec<_>>();
    assert_eq!(sorted(operations), rows(OPERATIONS));

    assert_eq!(sorted(named(&user, "tools/list", "tools", "name").await), rows(TOOLS));
    let mut resources = named(&user, "resources/list", "resources", "uri").await;
    let templates =
        named(&user, "resources/templates/list", "resourceTemplates", "uriTemplate").await;
    resources.extend(templates);
    assert_eq!(sorted(resources), rows(RESOURCES));

    let types = &document["components"]["schemas"]["EventType"]["oneOf"];
    let kinds = types.as_array().unwrap().iter().flat_map(|it| {
        let several = it["enum"].as_array().into_iter().flatten();
        several.chain(it.get("const")).map(|it| it.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    });
    assert_eq!(sorted(kinds.collect()), rows(EVENTS));
}

/// The status of an operation on a run of `echo` that has ended, or on a batch of one.
async fn operate(user: &User, operation: &str, run: &str, batch: &str) -> u16 {
    let path = format!("/v1/executions/{run}");
    let (method, path, body) = match operation {
        "startExecution" => {
            let body = json!({"agent_name": "echo", "input_message": "x"});
            (Method::POST, "/v1/executions".to_owned(), body)
        }
        "rerunExecution" => (Method::POST, format!("{path}/rerun"), Value::Null),
        "redriveExecution" => (Method::POST, format!("{path}/redrive"), Value::Null),
        "startBatch" => {
            let body = json!({"items": [{"agent_name": "echo", "input_message": "x"}]});
            (Method::POST, "/v1/batches".to_owned(), body)
        }
        "getBatch" => (Method::GET, format!("/v1/batches/{batch}"), Value::Null),
        "getBatchResults" => (Method::GET, format!("/v1/batches/{batch}/results"), Value::Null),
        "cancelBatch" => (Method::POST, format!("/v1/batches/{batch}/cancel"), Value::Null),
        "getExecution" => (Method::GET, path, Value::Null),
        "getResults" => (Method::GET, format!("{path}/results"), Value::Null),
        "cancelExecution" => (Method::POST, format!("{path}/cancel"), Value::Null),
        "answerExecution" => (Method::POST, format!("{path}/input"), json!({"answer": 1})),
        "listAnswerLinks" => (Method::GET, format!("{path}/answer-links"), Value::Null),
        "listDeliveries" => (Method::GET, format!("{path}/deliveries"), Value::Null),
        "redeliver" => (Method::POST, format!("{path}/deliveries/msg_x/redeliver"), Value::Null),
        "subscribe" => {
            let body = json!({"url": "https://example.com/", "agent_name": "echo"});
            (Method::POST, "/v1/subscriptions".to_owned(), body)
        }
        "enableSubscription" | "recoverSubscription" => {
            let action = if operation == "enableSubscription" { "enable" } else { "recover" };
            let path = format!("/v1/subscriptions/sub_{}/{action}", "0".repeat(26));
            (Method::POST, path, json!({"since": "2026-01-01T00:00:00Z"}))
        }
        "getWebhookSecret" => (Method::GET, "/v1/webhook-secret".to_owned(), Value::Null),
        "rotateWebhookSecret" => {
            (Method::POST, "/v1/webhook-secret/rotate".to_owned(), Value::Null)
        }
        other => panic!("{other}"),
    };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    user.send(method, &path, &[], body).await.status
}

#[tokio::test]
async fn what_needs_a_permission_is_refused_with_all_others() {
    let stack = Stack::connect().await;
    let owner = stack.user(&["*:*"]).await;
    let run = owner.start(&json!({"agent_name": "echo", "input_message": "x"})).await;
    owner.wait_for(&run, "completed").await;
    let body = json!({"items": [{"agent_name": "echo", "input_message": "x"}]}).to_string();
    let batch = owner.send(Method::POST, "/v1/batches", &[], body).await.text("batch_id");
    for (operation, needs) in OPERATIONS {
        let Grant(grant) = needs else { continue };
        let (action, agent) = grant.split_once(':').unwrap();
        // All but this, be it for another action or for another agent.
        let mut others: Vec<String> = ["execute", "view", "cancel", "manage"]
            .iter()
            .filter(|other| **other != action)
            .map(|other| format!("{other}:*"))
            .collect();
        let another = if agent == "*" { "echo" } else { "slow" };
        others.push(format!("{action}:{another}"));
        let others: Vec<&str> = others.iter().map(String::as_str).collect();

        let without = stack.key(&owner.id, &others, json!({})).await;
        let without = User { key: without, ..owner.clone() };
        assert_eq!(
            operate(&without, operation, &run, &batch).await,
            403,
            "{operation} with {others:?}"
        );
        let with = User { key: stack.key(&owner.id, &[grant], json!({})).await, ..owner.clone() };
        assert_ne!(operate(&with, operation, &run, &batch).await, 403, "{operation} with {grant}");
    }
    for (tool, needs) in TOOLS {
        let Grant(grant) = needs else { continue };
        let (action, _) = grant.split_once(':').unwrap();
        let others: Vec<String> = ["execute", "view", "cancel", "manage"]
            .iter()
            .filter(|other| **other != action)
            .map(|other| format!("{other}:*"))
            .collect();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        let without = stack.key(&owner.id, &others, json!({})).await;
        let without = User { key: without, ..owner.clone() };
        let params = if *tool == "start_agent" {
            json!({"agent_name": "echo", "input_message": "x"})
        } else {
            let items = [json!({"agent_name": "echo", "input_message": "x"})];
            json!({"execution_id": run, "answer": 1, "items": items})
        };
        let call = json!({"name": tool, "arguments": params});
        let refused = ask(&without, "tools/call", tool, call).await.to_string();
        assert!(refused.contains(grant), "{tool}: {refused}");
    }
}
