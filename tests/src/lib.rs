//! Drives the deployed stack over HTTP, and looks at its tables, queues and executions to check.
//!
//! Run by `make test`, which deploys a fresh stack and names it in the environment. Every test
//! makes users and agents of its own, so that all of them run side by side.

pub mod page;
pub mod receiver;
pub mod tool;

use std::{
    collections::{HashMap, HashSet},
    env,
    time::{Duration, Instant},
};

use aws_config::{BehaviorVersion, SdkConfig, timeout::TimeoutConfig};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_lambda::types::{InvocationType, LogType};
use base64::{Engine, engine::general_purpose::STANDARD};
use relay::{
    domain::{
        api_key::ApiKeyHash,
        debt::{Debt, DebtKind},
        id::ExecutionId,
        status::Rank,
        time::Timestamp,
    },
    store::{deliveries::Deliveries, executions::Executions, limits::Limits},
};
use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};
use ulid::Ulid;

/// How long anything may take that the stack does by itself. It bounds a failing test; a passing
/// one never waits for it. Longer than any function runs.
const PATIENCE: Duration = Duration::from_mins(2);

/// The deployed stack.
#[derive(Debug, Clone)]
pub struct Stack {
    pub url: String,
    outputs: HashMap<String, String>,
    pub aws: SdkConfig,
    pub dynamodb: aws_sdk_dynamodb::Client,
    pub step_functions: aws_sdk_sfn::Client,
    pub sqs: aws_sdk_sqs::Client,
    http: reqwest::Client,
}

impl Stack {
    pub async fn connect() -> Self {
        let outputs =
            env::var("RELAY_TEST_OUTPUTS").expect("no stack: run the tests by `make test`");
        // The engine may lose whoever waits for a function that is killed.
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(PATIENCE).build();
        let aws = aws_config::defaults(BehaviorVersion::v2026_01_12()).timeout_config(timeouts);
        let aws = aws.load().await;
        Self {
            url: env::var("RELAY_URL").expect("no RELAY_URL: run the tests by `make test`"),
            outputs: serde_json::from_str(&outputs).unwrap(),
            dynamodb: aws_sdk_dynamodb::Client::new(&aws),
            step_functions: aws_sdk_sfn::Client::new(&aws),
            sqs: aws_sdk_sqs::Client::new(&aws),
            aws,
            http: reqwest::Client::builder().timeout(PATIENCE).build().unwrap(),
        }
    }

    /// An output of the stack's template.
    #[must_use]
    pub fn output(&self, name: &str) -> &str {
        self.outputs.get(name).unwrap_or_else(|| panic!("the stack has no output {name}"))
    }

    #[must_use]
    pub fn executions(&self) -> Executions {
        Executions::new(self.dynamodb.clone(), self.output("ExecutionsTable").to_owned())
    }

    #[must_use]
    pub fn deliveries(&self) -> Deliveries {
        Deliveries::new(self.dynamodb.clone(), self.output("ExecutionsTable").to_owned())
    }

    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits::new(self.dynamodb.clone(), self.output("ExecutionsTable").to_owned())
    }

    /// What the secrets of all users are made of.
    pub async fn master_secret(&self) -> String {
        let client = aws_sdk_secretsmanager::Client::new(&self.aws);
        let read = client.get_secret_value().secret_id(self.output("WebhookSecretArn"));
        read.send().await.unwrap().secret_string.unwrap()
    }

    /// A new user with a key that grants `permissions` and many starts a minute.
    pub async fn user(&self, permissions: &[&str]) -> User {
        self.user_with(permissions, json!({})).await
    }

    /// The same, with other attributes of the key's row.
    pub async fn user_with(&self, permissions: &[&str], attributes: Value) -> User {
        let id = format!("user-{}", Ulid::generate());
        let key = self.key(&id, permissions, attributes).await;
        User { stack: self.clone(), id, key }
    }

    /// A key of this user.
    pub async fn key(&self, user_id: &str, permissions: &[&str], attributes: Value) -> String {
        let key = format!("relay_{}{}", Ulid::generate(), Ulid::generate());
        let hash = ApiKeyHash::of(&key).to_hex();
        let mut row = json!({
            "api_key_hash": hash, "user_id": user_id, "permissions": permissions,
            "rate_limit": 100_000, "created_at": Timestamp::now(),
        });
        row.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
        self.put("ApiKeysTable", row).await;
        key
    }

    /// A new agent that runs the state machine of this output; returns its name.
    pub async fn agent(&self, machine_output: &str, attributes: Value) -> String {
        let name = format!("agent-{}", Ulid::generate());
        let mut row = json!({
            "agent_name": name, "status": "active", "state_machine_arn": self.output(machine_output),
            "description": "A test's own agent.", "version": "1.0.0", "tools": ["echo"],
        });
        row.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
        self.put("AgentsTable", row).await;
        name
    }

    /// Creates a state machine, with the role of an example. Returns its ARN.
    pub async fn create_machine(&self, definition: impl Into<String>) -> String {
        let example = self.step_functions.describe_state_machine();
        let example = example.state_machine_arn(self.output("ApprovalMachineArn")).send().await;
        let create = self.step_functions.create_state_machine();
        let create = create.name(format!("machine-{}", Ulid::generate())).definition(definition);
        let created = create.role_arn(example.unwrap().role_arn).send().await;
        created.unwrap().state_machine_arn
    }

    /// Stores a row as it is.
    pub async fn put(&self, table_output: &str, row: Value) {
        let item: HashMap<String, AttributeValue> = relay::store::item::to_item(&row).unwrap();
        self.dynamodb
            .put_item()
            .table_name(self.output(table_output))
            .set_item(Some(item))
            .send()
            .await
            .unwrap();
    }

    /// All parts of an execution, by part name, as they are stored.
    pub async fn parts(&self, id: &str) -> HashMap<String, Value> {
        let page = self
            .dynamodb
            .query()
            .table_name(self.output("ExecutionsTable"))
            .key_condition_expression("execution_id = :id")
            .expression_attribute_values(":id", AttributeValue::S(id.to_owned()))
            .consistent_read(true)
            .send()
            .await
            .unwrap();
        let items = page.items.unwrap_or_default().into_iter();
        items
            .map(|item| {
                let part: Value = relay::store::item::from_item(item).unwrap();
                (part["part"].as_str().unwrap().to_owned(), part)
            })
            .collect()
    }

    /// The executions that still owe something.
    pub async fn owing(&self) -> HashSet<String> {
        self.debts().await.into_iter().map(|(id, _)| id).collect()
    }

    /// The parts that still owe something, each with its execution.
    pub async fn debts(&self) -> Vec<(String, String)> {
        let mut debts = Vec::new();
        let keys = DebtKind::ALL.into_iter().flat_map(DebtKind::keys).chain([Debt::dead()]);
        for debt in keys {
            let query = self.dynamodb.query().table_name(self.output("ExecutionsTable"));
            let mut items = query
                .index_name("debts")
                .key_condition_expression("debt = :debt")
                .expression_attribute_values(":debt", AttributeValue::S(debt.as_str().to_owned()))
                .into_paginator()
                .items()
                .send();
            while let Some(item) = items.next().await {
                let item = item.unwrap();
                let text = |name: &str| item[name].as_s().unwrap().clone();
                debts.push((text("execution_id"), text("part")));
            }
        }
        debts
    }

    /// Waits until nothing is owed to this target any more.
    pub async fn wait_for_target(&self, target: &str) {
        eventually(&format!("the end of what {target} is owed"), async || {
            let debts = self.debts().await;
            debts.iter().all(|(_, part)| !part.ends_with(target)).then_some(())
        })
        .await;
    }

    /// Has so much wait to leave, `of#` a user or `to#` a host, that it takes this long.
    pub async fn fill(&self, line: &str, wait: Duration) {
        let end = Timestamp::now().plus(wait + Duration::from_mins(1)).millis() * 1_000;
        let id = format!("rate#deliveries-{line}");
        let row = json!({"execution_id": id, "part": "rate", "line_end": end});
        self.put("ExecutionsTable", row).await;
    }

    /// The reverse.
    pub async fn empty(&self, line: &str) {
        self.forget(&format!("rate#deliveries-{line}"), "rate").await;
    }

    /// Deletes an item.
    pub async fn forget(&self, id: &str, part: &str) {
        let delete = self.dynamodb.delete_item().table_name(self.output("ExecutionsTable"));
        delete
            .key("execution_id", AttributeValue::S(id.to_owned()))
            .key("part", AttributeValue::S(part.to_owned()))
            .send()
            .await
            .unwrap();
    }

    /// Has this part of a run be due, and whatever it has put off.
    pub async fn make_due(&self, id: &str, part: &str) {
        let now = AttributeValue::N(Timestamp::now().millis().to_string());
        let update = self.dynamodb.update_item().table_name(self.output("ExecutionsTable"));
        update
            .key("execution_id", AttributeValue::S(id.to_owned()))
            .key("part", AttributeValue::S(part.to_owned()))
            .update_expression("SET due_at = :now, next_attempt_at = :now")
            .expression_attribute_values(":now", now)
            .send()
            .await
            .unwrap();
    }

    /// How many executions of the machine of this output Step Functions has under each name.
    pub async fn executions_of(&self, machine_output: &str) -> HashMap<String, usize> {
        let machine = self.output(machine_output);
        let pages = self.step_functions.list_executions().state_machine_arn(machine);
        let mut executions = pages.into_paginator().items().send();
        let mut counts = HashMap::new();
        while let Some(execution) = executions.next().await {
            *counts.entry(execution.unwrap().name).or_default() += 1;
        }
        counts
    }

    /// How many runs of this user there are, counted in the table itself.
    pub async fn count_rows(&self, user: &User) -> usize {
        let page = self
            .dynamodb
            .query()
            .table_name(self.output("ExecutionsTable"))
            .index_name("user")
            .key_condition_expression("user_id = :id")
            .expression_attribute_values(":id", AttributeValue::S(user.id.clone()))
            .send()
            .await
            .unwrap();
        page.items.unwrap_or_default().len()
    }

    /// Calls a function with an event of our own, and returns its answer or its error.
    pub async fn invoke(&self, function_output: &str, event: &Value) -> Result<Value, Value> {
        self.invoke_with(function_output, event.to_string()).await
    }

    /// The same with an event as text, which may be what no [`Value`] can be.
    pub async fn invoke_with(&self, function_output: &str, event: String) -> Result<Value, Value> {
        let answer = aws_sdk_lambda::Client::new(&self.aws)
            .invoke()
            .function_name(self.output(function_output))
            .payload(event.into_bytes().into())
            .send()
            .await
            .unwrap();
        let payload =
            answer.payload.map(aws_sdk_lambda::primitives::Blob::into_inner).unwrap_or_default();
        let payload = serde_json::from_slice(&payload).unwrap_or(Value::Null);
        if answer.function_error.is_some() { Err(payload) } else { Ok(payload) }
    }

    /// Calls a function with an event of our own, and returns the end of what it logged.
    pub async fn logged(&self, function_output: &str, event: &Value) -> String {
        let answer = aws_sdk_lambda::Client::new(&self.aws)
            .invoke()
            .function_name(self.output(function_output))
            .log_type(LogType::Tail)
            .payload(serde_json::to_vec(event).unwrap().into())
            .send()
            .await
            .unwrap();
        let log = STANDARD.decode(answer.log_result.unwrap_or_default()).unwrap();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Hands a function an event as EventBridge does: it is tried again, and then goes to where
    /// the template sends what failed.
    pub async fn hand_over(&self, function_output: &str, event: &Value) {
        let client = aws_sdk_lambda::Client::new(&self.aws);
        let request = client.invoke().function_name(self.output(function_output));
        let payload = serde_json::to_vec(event).unwrap().into();
        request.invocation_type(InvocationType::Event).payload(payload).send().await.unwrap();
    }

    /// Has the sweep look after what is overdue. Those of several tests may run at once.
    pub async fn sweep(&self) {
        let swept = self.invoke("SweepFunctionName", &json!({})).await.unwrap();
        assert_eq!(swept["failed"], 0, "{swept}");
    }

    /// Sweeps until `condition` gives a value.
    pub async fn sweep_until<T>(&self, what: &str, condition: impl AsyncFn() -> Option<T>) -> T {
        eventually(what, async || {
            self.sweep().await;
            condition().await
        })
        .await
    }

    /// A request without any credential.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = match request.send().await {
            // As API Gateway answers for a function that takes too long.
            Err(error) if error.is_timeout() => {
                return Answer { status: 504, headers: HeaderMap::new(), body: Value::Null };
            }
            response => response.unwrap(),
        };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        Answer { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }
}

/// Somebody with a key.
#[derive(Debug, Clone)]
pub struct User {
    pub stack: Stack,
    pub id: String,
    pub key: String,
}

impl User {
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let mut all = vec![("x-api-key", self.key.as_str())];
        all.extend_from_slice(headers);
        self.stack.request(method, path, &all, body).await
    }

    pub async fn post(&self, body: &Value) -> Answer {
        self.post_with(&[], body).await
    }

    pub async fn post_with(&self, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.send(Method::POST, "/v1/executions", headers, body.to_string()).await
    }

    /// A call of the envelope `POST /`.
    pub async fn call(&self, tool: &str, params: Value) -> Answer {
        self.send(Method::POST, "/", &[], json!({"tool": tool, "params": params}).to_string()).await
    }

    /// Starts a run that must be accepted; returns its id.
    pub async fn start(&self, body: &Value) -> String {
        let answer = self.post(body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.text("execution_id")
    }

    pub async fn monitor(&self, id: &str) -> Answer {
        self.get(&format!("/v1/executions/{id}")).await
    }

    pub async fn results(&self, id: &str) -> Answer {
        self.get(&format!("/v1/executions/{id}/results")).await
    }

    /// Looks at all parts of a run until it owes nothing any more, but a look at an end of our own.
    pub async fn wait_for_parts(&self, id: &str) -> HashMap<String, Value> {
        eventually(&format!("{id} to owe nothing"), async || {
            let parts = self.stack.parts(id).await;
            (!parts.values().any(owes)).then_some(parts)
        })
        .await
    }

    /// Looks at a run until its status is this one.
    pub async fn wait_for(&self, id: &str, status: &str) -> Answer {
        eventually(&format!("{id} to be {status}"), async || {
            let answer = self.monitor(id).await;
            (answer.text("status") == status).then_some(answer)
        })
        .await
    }
}

/// An answer of the API.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// A field that must be there and be text.
    #[must_use]
    pub fn text(&self, field: &str) -> String {
        let text = self.body[field].as_str();
        text.unwrap_or_else(|| panic!("no text in `{field}`: {self:?}")).to_owned()
    }

    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Waits until `condition` gives a value. This is the only way in which tests wait.
pub async fn eventually<T>(what: &str, condition: impl AsyncFn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a part owes something, but a look at an end of our own, which is told already.
#[must_use]
pub fn owes(part: &Value) -> bool {
    part.get("due_at").is_some() && part["rank"] != Rank::Presumed as u8
}

#[must_use]
pub fn id(text: &str) -> ExecutionId {
    text.parse().unwrap()
}
