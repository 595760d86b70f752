//! Every AWS call of every function fails, in every way: what was accepted still ends as Step
//! Functions says, is started once and called back once.
//!
//! The functions talk to AWS through a proxy (`infra/local/faults.py`), which is told which call
//! of which function is to fail. Each row of the matrix has a user and an agent of its own, by
//! which its calls are known, so that all rows run side by side.

use std::{
    collections::{BTreeSet, HashMap},
    env, fmt,
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::{
    Stack, User,
    receiver::{Received, Receiver},
};
use futures_util::future::join_all;
use relay::{api_key::ApiKeyHash, time::Timestamp};
use serde_json::{Value, json};

/// After so many sweeps nothing may be owed any more.
const SWEEPS: usize = 3;

/// The longest that the stack takes before a sweep to do what it does by itself: the SDK's retries
/// of a call, the engine's of an event, the pause before a launch is tried again.
const PAUSE: Duration = Duration::from_secs(12);

/// How a call fails, and how often: the SDK makes it three times before it gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Throttled,
    Failed,
    Reset,
    /// It is done, but nobody is told. The SDK repeats it.
    LostOnce,
    /// The same three times: the function believes that it failed.
    Lost,
}

impl Fault {
    const ALL: [Self; 5] = [Self::Throttled, Self::Failed, Self::Reset, Self::LostOnce, Self::Lost];

    /// The SDK does not repeat a message that SQS throttles.
    fn times(self, call: Call) -> u32 {
        match self {
            Self::Throttled if call.service == "sqs" => 1,
            Self::LostOnce => 1,
            Self::Throttled | Self::Failed | Self::Reset | Self::Lost => 3,
        }
    }

    fn effect(self) -> (&'static str, Value) {
        match self {
            Self::Throttled => ("error", json!({"code": "ThrottlingException", "status": 400})),
            Self::Failed => ("error", json!({"code": "InternalServerError", "status": 500})),
            Self::Reset => ("reset", json!(true)),
            Self::LostOnce | Self::Lost => ("response", json!({"abort_bytes": 0})),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Throttled => "throttled",
            Self::Failed => "500",
            Self::Reset => "reset",
            Self::LostOnce => "reply lost once",
            Self::Lost => "reply lost",
        })
    }
}

/// What happens to the run while the call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    /// It completes.
    Completes,
    /// Its launch message is lost besides.
    Unlaunched,
    /// All its status events are lost besides.
    Unheard,
    /// Its delivery's message is lost besides.
    Unsent,
    /// Its machine does not exist.
    Refused,
    /// It is cancelled while it runs.
    Cancelled,
}

impl Scenario {
    const fn end(self) -> &'static str {
        match self {
            Self::Completes | Self::Unlaunched | Self::Unheard | Self::Unsent => "completed",
            Self::Refused => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The call that loses the message of the scenario.
    const fn loses(self) -> Option<Call> {
        match self {
            Self::Unlaunched => Some(START_SEND),
            Self::Unheard => Some(STATUS_FIND),
            Self::Unsent => Some(STATUS_SEND),
            Self::Completes | Self::Refused | Self::Cancelled => None,
        }
    }
}

/// Which table a call is about, where that tells it from another.
#[derive(Debug, Clone, Copy)]
enum About {
    Any,
    Agents,
    Executions,
}

/// One AWS call of one function.
#[derive(Debug, Clone, Copy)]
struct Call {
    function: &'static str,
    name: &'static str,
    service: &'static str,
    operation: &'static str,
    about: About,
    /// A piece of the update's expression.
    says: &'static str,
}

const fn call(
    function: &'static str,
    name: &'static str,
    service: &'static str,
    operation: &'static str,
) -> Call {
    Call { function, name, service, operation, about: About::Any, says: "" }
}

const fn dynamodb(function: &'static str, name: &'static str, operation: &'static str) -> Call {
    Call { about: About::Executions, ..call(function, name, "dynamodb", operation) }
}

const fn update(function: &'static str, name: &'static str, says: &'static str) -> Call {
    Call { says, ..dynamodb(function, name, "UpdateItem") }
}

const fn agents(function: &'static str, name: &'static str, operation: &'static str) -> Call {
    Call { about: About::Agents, ..call(function, name, "dynamodb", operation) }
}

const START_SEND: Call = call("start", "send", "sqs", "SendMessage");
const STATUS_FIND: Call = dynamodb("status", "find", "GetItem");
const STATUS_SEND: Call = call("status", "send", "sqs", "SendMessage");
const RECORD: Call = update("webhook", "record", "list_append");

const CALLS: &[(Call, Scenario)] = &[
    (call("authorizer", "find key", "dynamodb", "GetItem"), Scenario::Completes),
    (agents("start", "find agent", "GetItem"), Scenario::Completes),
    (update("start", "count", "ADD n :one"), Scenario::Completes),
    (call("start", "transaction", "dynamodb", "TransactWriteItems"), Scenario::Completes),
    (START_SEND, Scenario::Completes),
    (dynamodb("start", "cancel: find", "GetItem"), Scenario::Cancelled),
    (update("start", "cancel: request", "cancel_requested_at"), Scenario::Cancelled),
    (update("launch", "claim", "claimed_at"), Scenario::Completes),
    (dynamodb("launch", "input", "GetItem"), Scenario::Completes),
    (call("launch", "StartExecution", "stepfunctions", "StartExecution"), Scenario::Completes),
    (update("launch", "launched", "started_at = :started_at"), Scenario::Completes),
    (dynamodb("launch", "refused: input, find", "GetItem"), Scenario::Refused),
    (dynamodb("launch", "refused: outcome", "PutItem"), Scenario::Refused),
    (call("launch", "refused: PutEvents", "events", "PutEvents"), Scenario::Refused),
    (call("launch", "refused: advance", "dynamodb", "TransactWriteItems"), Scenario::Refused),
    (call("launch", "refused: send", "sqs", "SendMessage"), Scenario::Refused),
    (update("launch", "stop: mark", "stop_reason"), Scenario::Cancelled),
    (call("launch", "StopExecution", "stepfunctions", "StopExecution"), Scenario::Cancelled),
    (STATUS_FIND, Scenario::Completes),
    (dynamodb("status", "subscriptions", "Query"), Scenario::Completes),
    (dynamodb("status", "outcome", "PutItem"), Scenario::Completes),
    (call("status", "PutEvents", "events", "PutEvents"), Scenario::Completes),
    (update("status", "advance to running", "#rank = :rank"), Scenario::Completes),
    (call("status", "advance to the end", "dynamodb", "TransactWriteItems"), Scenario::Completes),
    (STATUS_SEND, Scenario::Completes),
    (agents("status", "average: find", "GetItem"), Scenario::Completes),
    (agents("status", "average: set", "UpdateItem"), Scenario::Completes),
    (update("webhook", "lease", "attempt_count"), Scenario::Completes),
    (call("webhook", "batch get", "dynamodb", "BatchGetItem"), Scenario::Completes),
    (RECORD, Scenario::Completes),
    (dynamodb("sweep", "find a run", "GetItem"), Scenario::Unlaunched),
    (update("sweep", "postpone a run", "due_at = :until"), Scenario::Unlaunched),
    (call("sweep", "send a launch", "sqs", "SendMessage"), Scenario::Unlaunched),
    (call("sweep", "describe", "stepfunctions", "DescribeExecution"), Scenario::Unheard),
    (dynamodb("sweep", "outcome", "PutItem"), Scenario::Unheard),
    (call("sweep", "advance to the end", "dynamodb", "TransactWriteItems"), Scenario::Unheard),
    (call("sweep", "PutEvents", "events", "PutEvents"), Scenario::Unheard),
    (dynamodb("sweep", "find a delivery", "GetItem"), Scenario::Unsent),
    (update("sweep", "postpone a delivery", "due_at = :until"), Scenario::Unsent),
    (call("sweep", "send a delivery", "sqs", "SendMessage"), Scenario::Unsent),
];

/// The proxy through which the functions talk to AWS.
struct Proxy {
    url: String,
    http: reqwest::Client,
}

impl Proxy {
    fn connect() -> Self {
        let url =
            env::var("RELAY_TEST_FAULTS_URL").expect("no proxy: run the tests by `make test`");
        Self { url: format!("{url}/_microburst/rules"), http: reqwest::Client::new() }
    }

    /// Adds rules, and returns their ids.
    async fn add(&self, rules: &[Value]) -> Vec<u64> {
        let body = json!(rules).to_string();
        let answer = self.http.patch(&self.url).body(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        let rules: Vec<Value> = answer.json().await.unwrap();
        rules.iter().map(|rule| rule["id"].as_u64().unwrap()).collect()
    }

    /// How often each rule has been applied, by its id.
    async fn fired(&self) -> HashMap<u64, u64> {
        let rules: Vec<Value> =
            self.http.get(&self.url).send().await.unwrap().json().await.unwrap();
        let fired = |rule: &Value| Some((rule["id"].as_u64()?, rule["fired_count"].as_u64()?));
        rules.iter().filter_map(fired).collect()
    }

    /// Removes the rules that are about one of these.
    async fn remove(&self, bodies: &BTreeSet<String>) {
        let rules: Vec<Value> = bodies.iter().map(|body| json!({"body": body})).collect();
        let body = json!(rules).to_string();
        let answer = self.http.delete(&self.url).body(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }
}

/// One row of the matrix, under way.
struct Row {
    call: Call,
    fault: Fault,
    scenario: Scenario,
    user: User,
    agent: String,
    machine: String,
    /// The rule that fails the call, and what all rules of the row are about.
    rule: u64,
    bodies: BTreeSet<String>,
    /// How the requests were answered that were not accepted.
    refused: Vec<u16>,
    run: String,
    /// After how many sweeps nothing was owed any more.
    sweeps: Option<usize>,
}

impl Row {
    async fn begin(
        stack: &Stack,
        proxy: &Proxy,
        (call, scenario): (Call, Scenario),
        fault: Fault,
    ) -> Self {
        let user = stack.user(&["execute:*", "view:*", "cancel:*"]).await;
        let machine = match scenario {
            Scenario::Refused => format!("{}-no-such", stack.output("EchoMachineArn")),
            _ => stack.output("EchoMachineArn").to_owned(),
        };
        let agent = stack.agent("EchoMachineArn", json!({"state_machine_arn": machine})).await;
        let mut row = Self {
            call,
            fault,
            scenario,
            user,
            agent,
            machine,
            rule: 0,
            bodies: BTreeSet::new(),
            refused: Vec::new(),
            run: String::new(),
            sweeps: None,
        };
        let mut rules = vec![row.rule(call, fault.effect(), Some(fault.times(call)))];
        if let Some(lost) = scenario.loses() {
            rules.push(row.rule(lost, Fault::Failed.effect(), None));
        }
        row.rule = proxy.add(&rules).await[0];
        row
    }

    /// The rule that fails this call for this row.
    fn rule(&mut self, call: Call, (effect, value): (&str, Value), times: Option<u32>) -> Value {
        let stack = &self.user.stack;
        let key = ApiKeyHash::of(&self.user.key).to_hex();
        let mentions = |what: &str| format!("contains(to_string(@), '{what}')");
        let owners = [&self.agent, &self.user.id, &key, &key[..8].to_owned()];
        let mut body = format!("({})", owners.map(|owner| mentions(owner)).join(" || "));
        let table = match call.about {
            About::Any => None,
            About::Agents => Some("AgentsTable"),
            About::Executions => Some("ExecutionsTable"),
        };
        if let Some(table) = table {
            body = format!("{body} && {}", mentions(stack.output(table)));
        }
        if !call.says.is_empty() {
            body = format!("{body} && contains(UpdateExpression, '{}')", call.says);
        }
        self.bodies.insert(body.clone());
        let mut rule = json!({
            "service": call.service, "operation": call.operation, "body": body,
            "headers": {"user-agent": format!("app/{}", call.function)}, effect: value,
        });
        if let Some(times) = times {
            rule["times"] = times.into();
        }
        rule
    }

    /// Starts the run, as a workflow would: again with the same key until it is accepted.
    async fn start(&mut self, callback_url: &str) {
        // What is to be cancelled must run for longer than the test.
        let wait = if self.scenario == Scenario::Cancelled { 3600 } else { 0 };
        let body = json!({
            "agent_name": self.agent, "input_message": "x", "parameters": {"wait_seconds": wait},
            "callback_url": callback_url,
        });
        for _ in 0..5 {
            let answer = self.user.post_with(&[("idempotency-key", "once")], &body).await;
            if answer.status == 202 {
                self.run = answer.text("execution_id");
                return;
            }
            self.refused.push(answer.status);
        }
    }

    /// Asks for the run's end, until that is accepted.
    async fn cancel(&mut self) {
        let path = format!("/v1/executions/{}/cancel", self.run);
        for _ in 0..5 {
            let answer = self.user.send(reqwest::Method::POST, &path, &[], "").await;
            if [202, 409].contains(&answer.status) {
                return;
            }
            self.refused.push(answer.status);
        }
    }

    /// Whether the run has ended and all that was owed for it is done.
    async fn is_settled(&self) -> bool {
        if self.run.is_empty() {
            return false;
        }
        let parts = self.user.stack.parts(&self.run).await;
        let deliveries: Vec<_> =
            parts.iter().filter(|(part, _)| part.starts_with("delivery#")).collect();
        parts.get("state").is_some_and(|state| state["status"] == self.scenario.end())
            && parts.values().all(|part| part.get("due_at").is_none())
            && deliveries.len() == 1
            && deliveries.iter().all(|(_, delivery)| delivery["state"] == "delivered")
    }

    /// Makes due what the row still owes, and ends its lease, as if time had passed.
    async fn make_due(&self) {
        let stack = &self.user.stack;
        for (name, part) in stack.parts(&self.run).await {
            if part.get("due_at").is_none() {
                continue;
            }
            let leased = part.get("leased_until").is_some();
            let update = stack.dynamodb.update_item().table_name(stack.output("ExecutionsTable"));
            let made_due = update
                .key("execution_id", AttributeValue::S(self.run.clone()))
                .key("part", AttributeValue::S(name))
                .update_expression(if leased {
                    "SET due_at = :now, leased_until = :now"
                } else {
                    "SET due_at = :now"
                })
                // Unless it is being settled just now.
                .condition_expression("due_at = :before")
                .expression_attribute_values(
                    ":now",
                    AttributeValue::N(Timestamp::now().millis().to_string()),
                )
                .expression_attribute_values(
                    ":before",
                    AttributeValue::N(part["due_at"].to_string()),
                )
                .send()
                .await;
            drop(made_due);
        }
    }

    /// What is wrong in the end.
    async fn wrong(&self, fired: u64, posts: &[Received]) -> Vec<String> {
        let stack = &self.user.stack;
        let mut wrong = Vec::new();
        if fired < u64::from(self.fault.times(self.call)) {
            wrong.push(format!("the call failed {fired} times only"));
        }
        if self.run.is_empty() {
            wrong.push(format!("never accepted: {:?}", self.refused));
            return wrong;
        }
        if let Some(odd) = self.refused.iter().find(|status| ![500, 503].contains(*status)) {
            wrong.push(format!("a request was answered with {odd}"));
        }
        if self.sweeps.is_none() {
            wrong.push(format!("still owed: {}", json!(stack.parts(&self.run).await)));
        }
        let rows = stack.count_rows(&self.user).await;
        if rows != 1 {
            wrong.push(format!("{rows} runs are stored"));
        }
        // Only a fault between the receiver's answer and its record may cost one more.
        let most = if self.call.name == RECORD.name { 2 } else { 1 };
        if posts.is_empty() || posts.len() > most {
            wrong.push(format!("{} posts", posts.len()));
        }
        let ids: BTreeSet<_> = posts.iter().map(|post| post.header("webhook-id")).collect();
        if ids.len() > 1 {
            wrong.push(format!("{} webhook-ids", ids.len()));
        }
        let said = self.described().await;
        let expected = match self.scenario {
            Scenario::Refused => None,
            Scenario::Cancelled => Some("ABORTED"),
            _ => Some("SUCCEEDED"),
        };
        if said.as_deref() != expected {
            wrong.push(format!("Step Functions says {said:?}"));
        }
        wrong
    }

    async fn described(&self) -> Option<String> {
        let arn = self.machine.replace(":stateMachine:", ":execution:");
        let arn = format!("{arn}:{}", self.run);
        let client = &self.user.stack.step_functions;
        let described = client.describe_execution().execution_arn(arn).send().await.ok()?;
        Some(described.status.as_str().to_owned())
    }
}

/// The names of all executions in Step Functions.
async fn executions(stack: &Stack) -> Vec<String> {
    let machine = stack.output("EchoMachineArn");
    let list = stack.step_functions.list_executions().state_machine_arn(machine);
    let mut pages = list.into_paginator().items().send();
    let mut names = Vec::new();
    while let Some(execution) = pages.next().await {
        names.push(execution.unwrap().name);
    }
    names
}

/// Waits until all rows are settled, but at most as long as the stack is given by itself.
async fn settle(rows: &mut [Row], sweeps: usize) {
    let start = Instant::now();
    while start.elapsed() < PAUSE {
        let open: Vec<_> = rows.iter_mut().filter(|row| row.sweeps.is_none()).collect();
        if open.is_empty() {
            return;
        }
        join_all(open.into_iter().map(async |row| {
            if row.is_settled().await {
                row.sweeps = Some(sweeps);
            }
        }))
        .await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// One sweep, whatever comes of it: its own calls may be the ones that fail.
async fn sweep(stack: &Stack) {
    e2e::eventually("a turn to sweep", async || {
        let client = aws_sdk_lambda::Client::new(&stack.aws);
        let invoked = client.invoke().function_name(stack.output("SweepFunctionName")).send().await;
        invoked.is_ok().then_some(())
    })
    .await;
}

/// Runs these rows side by side, prints them, and fails if anything is wrong with one.
async fn run(matrix: Vec<((Call, Scenario), Fault)>) {
    let stack = Stack::connect().await;
    let proxy = Proxy::connect();
    let receiver = Receiver::start().await;
    let callback_url = receiver.url();
    let clock = Instant::now();

    let mut rows = Vec::new();
    for (call, fault) in matrix {
        rows.push(Row::begin(&stack, &proxy, call, fault).await);
    }
    for some in rows.chunks_mut(8) {
        join_all(some.iter_mut().map(|row| row.start(&callback_url))).await;
    }
    let cancelled: Vec<_> =
        rows.iter_mut().filter(|row| row.scenario == Scenario::Cancelled).collect();
    let cancelled = cancelled.into_iter().filter(|row| !row.run.is_empty());
    join_all(cancelled.map(async |row| {
        row.user.wait_for(&row.run, "running").await;
        row.cancel().await;
    }))
    .await;
    settle(&mut rows, 0).await;
    for sweeps in 1..=SWEEPS {
        let open: Vec<_> = rows.iter().filter(|row| row.sweeps.is_none()).collect();
        if open.is_empty() {
            break;
        }
        let accepted = open.iter().filter(|row| !row.run.is_empty());
        join_all(accepted.map(|row| row.make_due())).await;
        sweep(&stack).await;
        settle(&mut rows, sweeps).await;
    }

    let (fired, executions) = (proxy.fired().await, executions(&stack).await);
    println!(
        "{:<11}{:<22}{:<17}{:<12}{:>6}{:>7}{:>6}  result",
        "function", "call", "fault", "scenario", "fired", "sweeps", "posts"
    );
    let mut posts: HashMap<String, Vec<Received>> = HashMap::new();
    for post in receiver.received().await {
        let run = post.body()["data"]["execution_id"].as_str().unwrap_or_default().to_owned();
        posts.entry(run).or_default().push(post);
    }
    let mut bad = 0;
    for row in &rows {
        let posts = posts.remove(&row.run).unwrap_or_default();
        let times = fired.get(&row.rule).copied().unwrap_or_default();
        let mut wrong = row.wrong(times, &posts).await;
        let started = executions
            .iter()
            .filter(|name| name.starts_with(&format!("mcp-{}-", row.agent)))
            .count();
        if started != usize::from(row.scenario != Scenario::Refused) {
            wrong.push(format!("{started} executions"));
        }
        bad += usize::from(!wrong.is_empty());
        println!(
            "{:<11}{:<22}{:<17}{:<12}{times:>6}{:>7}{:>6}  {}",
            row.call.function,
            row.call.name,
            row.fault,
            format!("{:?}", row.scenario).to_lowercase(),
            row.sweeps.map_or("-".to_owned(), |sweeps| sweeps.to_string()),
            posts.len(),
            if wrong.is_empty() { "ok".to_owned() } else { wrong.join("; ") },
        );
    }
    let bodies = rows.iter().flat_map(|row| row.bodies.iter().cloned()).collect();
    proxy.remove(&bodies).await;
    println!("{} rows after {:?}", rows.len(), clock.elapsed());
    assert_eq!(bad, 0, "rows with something wrong");
}

#[tokio::test]
async fn no_fault_of_any_call_costs_anything() {
    let rows = CALLS.iter().flat_map(|call| Fault::ALL.map(|fault| (*call, fault)));
    run(rows.collect()).await;
}
