//! One run of a user and an agent of its own, and what must be true of it in the end.

use std::{
    collections::{HashMap, HashSet},
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::{Answer, Stack, User, eventually, owes, receiver::Receiver};
use futures_util::{StreamExt, stream};
use relay::domain::{
    api_key::ApiKeyHash, batch_id::BatchId, idempotency_key::IdempotencyKey, time::Timestamp,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{sync::OnceCell, time::timeout};

use crate::{SIDE_BY_SIDE, calls::Scenario, sweep};

/// After so many sweeps nothing may be owed any more.
pub(crate) const SWEEPS: usize = 3;

/// How often a request is made that is not accepted.
const TRIES: usize = 8;

/// The `Idempotency-Key` of each start.
const ONCE: &str = "once";

pub(crate) struct Run {
    pub(crate) user: User,
    pub(crate) agent: String,
    machine: String,
    pub(crate) scenario: Scenario,
    receiver: Arc<Receiver>,
    /// Of the subscriptions.
    subscribers: Vec<Receiver>,
    /// How many POSTs may result of its end's delivery. Each other has one.
    pub(crate) posts: RangeInclusive<usize>,
    pub(crate) id: String,
    /// The batch that it is one of.
    batch: String,
    /// How the requests were answered that were not accepted.
    pub(crate) refused: Vec<u16>,
    /// After how many sweeps nothing was owed any more.
    pub(crate) sweeps: Option<usize>,
    /// How far it was seen to be, and whether it had been seen to be further.
    progress: u64,
    went_back: bool,
}

impl Run {
    pub(crate) async fn new(stack: &Stack, scenario: Scenario, receiver: &Arc<Receiver>) -> Self {
        let user = stack.user(&["execute:*", "view:*", "cancel:*"]).await;
        let machine = match scenario {
            Scenario::Refused | Scenario::Confirmed | Scenario::Held => {
                format!("{}-no-such", stack.output("EchoMachineArn"))
            }
            Scenario::Fails => stack.output("FailMachineArn").to_owned(),
            _ if scenario.is_redriven() => failing_machine(stack).await.to_owned(),
            _ if scenario.reports() => stack.output("ProgressMachineArn").to_owned(),
            _ if scenario.asks() => asking_machine(stack).await.to_owned(),
            _ => stack.output("EchoMachineArn").to_owned(),
        };
        let mut row = json!({"state_machine_arn": machine});
        if scenario.is_limited() {
            row["max_concurrent"] = 1.into();
        }
        let agent = stack.agent("EchoMachineArn", row).await;
        let receiver = match scenario {
            Scenario::Retried => Arc::new(Receiver::answering(&[503, 200]).await),
            _ => Arc::clone(receiver),
        };
        let mut subscribers = Vec::new();
        if scenario == Scenario::Gone {
            for status in [410, 200] {
                let subscriber = Receiver::answering(&[status]).await;
                let body = json!({"url": subscriber.url(), "agent_name": agent}).to_string();
                let added = user.send(Method::POST, "/v1/subscriptions", &[], body).await;
                assert_eq!(added.status, 201, "{added:?}");
                subscribers.push(subscriber);
            }
        }
        let posts = if scenario == Scenario::Retried { 2..=2 } else { 1..=1 };
        let (id, refused, sweeps) = (String::new(), Vec::new(), None);
        let (progress, went_back) = (0, false);
        Self {
            user,
            agent,
            machine,
            scenario,
            receiver,
            subscribers,
            posts,
            id,
            batch: String::new(),
            refused,
            sweeps,
            progress,
            went_back,
        }
    }

    /// What the calls that are made for this run mention.
    pub(crate) fn owners(&self) -> [String; 5] {
        let key = ApiKeyHash::of(&self.user.key).to_hex();
        let once = IdempotencyKey::parse(ONCE).unwrap().item(&self.user.id.clone().into());
        let batch = BatchId::of_item(&once).to_string();
        [self.agent.clone(), self.user.id.clone(), key[..8].to_owned(), key, batch]
    }

    /// Starts it as a workflow would: again, with the same key, until it is accepted.
    pub(crate) async fn start(&mut self) {
        if self.scenario.subscribes() {
            self.subscribe().await;
        }
        if self.scenario == Scenario::PutOff {
            let line = format!("of#{}", self.user.id);
            self.user.stack.fill(&line, Duration::from_mins(5)).await;
        }
        if self.scenario == Scenario::Waits {
            let slot =
                json!({"execution_id": self.pool(), "part": "slot#0", "holder": "mcp-other-1"});
            self.user.stack.put("ExecutionsTable", slot).await;
        }
        self.request_start().await;
        if matches!(self.scenario, Scenario::Replayed | Scenario::ReplayedEnveloped) {
            let first = self.id.clone();
            self.request_start().await;
            assert_eq!(self.id, first, "a replay is answered with the first run");
        }
    }

    /// The slots of its agent.
    pub(crate) fn pool(&self) -> String {
        format!("slots#{}", self.agent)
    }

    /// Frees the slot that it waits for, once it does. Of one that is `kept` from that, `sweep` sees that it has
    /// not been started.
    pub(crate) async fn free(&self, kept: bool) {
        let stack = &self.user.stack;
        let waits = eventually("a run that waits", async || {
            stack.parts(&self.id).await.get("state")?.get("line").map(drop)
        });
        let patience = Duration::from_secs(if kept { 10 } else { 60 });
        drop(timeout(patience, waits).await);
        stack.forget(&self.pool(), "slot#0").await;
    }

    /// Asks for its redrive once it has failed, until that is accepted.
    pub(crate) async fn redrive(&mut self) {
        let stack = self.user.stack.clone();
        let failed = eventually("a run that fails", async || {
            let state = stack.parts(&self.id).await.remove("state")?;
            (state["status"] == "failed").then_some(state)
        });
        let mut state = failed.await;
        if self.scenario == Scenario::Unredriven {
            state["state_machine_arn"] = format!("{}-other", self.machine).into();
            stack.put("ExecutionsTable", state).await;
        }
        let path = format!("/v1/executions/{}/redrive", self.id);
        for _ in 0..TRIES {
            let answer = self.user.send(Method::POST, &path, &[], "").await;
            if [202, 409].contains(&answer.status) {
                return;
            }
            self.refused.push(answer.status);
        }
    }

    async fn subscribe(&mut self) {
        let subscriber = Receiver::start().await;
        let body = json!({"url": subscriber.url()}).to_string();
        self.subscribers.push(subscriber);
        for _ in 0..TRIES {
            let made = self.user.send(Method::POST, "/v1/subscriptions", &[], body.clone()).await;
            if made.status == 201 {
                return;
            }
            self.refused.push(made.status);
        }
    }

    /// All that there is of it: of its batch, the deliveries and what that owes.
    async fn parts(&self) -> HashMap<String, Value> {
        let stack = &self.user.stack;
        let mut parts = stack.parts(&self.id).await;
        if !self.batch.is_empty() {
            let of_batch = stack.parts(&self.batch).await.into_iter();
            parts.extend(of_batch.filter(|(part, _)| part != "callback"));
        }
        parts
    }

    async fn request_batch(&mut self) {
        let wait = if self.scenario.is_cancelled() { 600 } else { 0 };
        let item = json!({"input_message": "x", "parameters": {"wait_seconds": 0}});
        let body = json!({
            "agent_name": self.agent, "items": [item], "callback_url": self.receiver.url(),
            "delay_seconds": wait,
        })
        .to_string();
        let key = [("idempotency-key", ONCE)];
        for _ in 0..TRIES {
            let answer = self.user.send(Method::POST, "/v1/batches", &key, body.clone()).await;
            if let Some(id) = answer.body["items"][0]["execution_id"].as_str() {
                id.clone_into(&mut self.id);
                self.batch = answer.text("batch_id");
                return;
            }
            self.refused.push(answer.status);
        }
    }

    async fn request_start(&mut self) {
        if self.scenario.is_batched() {
            return self.request_batch().await;
        }
        let wait = match self.scenario {
            // It must be told that it runs, whenever that is heard.
            Scenario::PutOff => 30,
            _ if self.scenario.is_cancelled() => 3600,
            _ => 0,
        };
        let message = match self.scenario {
            // Each is two characters of the output; an event takes 248 KB of them.
            Scenario::Large => "\"".repeat(129_000),
            _ => "x".to_owned(),
        };
        let mut body = json!({
            "agent_name": self.agent, "input_message": message, "parameters": {"wait_seconds": wait},
            "callback_url": self.receiver.url(),
        });
        if let Some(news) = self.scenario.news() {
            body["callback_events"] = json!([news, "execution.completed"]);
        }
        let key: &[_] = match self.scenario {
            Scenario::Unkeyed => &[],
            _ => &[("idempotency-key", ONCE)],
        };
        for _ in 0..TRIES {
            let answer = match self.scenario {
                Scenario::Enveloped | Scenario::ReplayedEnveloped | Scenario::Cancelled => {
                    let body = json!({"tool": "start_agent", "params": body}).to_string();
                    self.user.send(Method::POST, "/", key, body).await
                }
                _ => self.user.post_with(key, &body).await,
            };
            if [200, 202].contains(&answer.status) {
                self.id = answer.text("execution_id");
                return;
            }
            self.refused.push(answer.status);
        }
    }

    /// Asks for its end, until that is accepted.
    pub(crate) async fn cancel(&mut self) {
        let path = match self.scenario {
            Scenario::BatchCancelled => format!("/v1/batches/{}/cancel", self.batch),
            _ => format!("/v1/executions/{}/cancel", self.id),
        };
        for _ in 0..TRIES {
            let answer = match self.scenario {
                Scenario::Stopped => {
                    use_tool(&self.user, "stop_agent", &json!({"execution_id": self.id})).await
                }
                _ => self.user.send(Method::POST, &path, &[], "").await,
            };
            if [200, 202, 409].contains(&answer.status) {
                return;
            }
            self.refused.push(answer.status);
        }
    }

    /// Answers what its agent asks, once it does, until the answer is accepted.
    pub(crate) async fn answer(&mut self) {
        let question = eventually("a question", async || {
            let parts = self.user.stack.parts(&self.id).await;
            parts.into_keys().find_map(|part| Some(part.strip_prefix("question#")?.to_owned()))
        });
        // What was never asked is told with its row.
        let Ok(question) = timeout(Duration::from_secs(30), question).await else { return };
        let answer = json!({"approved": true, "comment": self.agent});
        let path = format!("/v1/executions/{}/input", self.id);
        for _ in 0..TRIES {
            let answer = match self.scenario {
                Scenario::AsksTool => {
                    let arguments = json!({"execution_id": self.id, "answer": answer});
                    use_tool(&self.user, "answer_agent", &arguments).await
                }
                Scenario::AsksTask => update_task(&self.user, &self.id, &question, &answer).await,
                _ => {
                    let body = json!({"answer": answer}).to_string();
                    self.user.send(Method::POST, &path, &[], body).await
                }
            };
            if [200, 202].contains(&answer.status) {
                return;
            }
            self.refused.push(answer.status);
        }
    }

    /// Has the turn come of what was put off, and of whatever is.
    pub(crate) async fn make_room(&self) {
        let stack = &self.user.stack;
        stack.empty(&format!("of#{}", self.user.id)).await;
        let parts = stack.parts(&self.id).await.into_iter();
        for (name, _) in parts.filter(|(_, part)| part["put_off"].as_u64() > Some(0)) {
            stack.make_due(&self.id, &name).await;
        }
    }

    /// Has its agent ask what nobody waits for.
    pub(crate) async fn ask(&self) -> Result<Value, Value> {
        let event = json!({"source": "agent", "detail-type": "Agent Input Required", "detail": {
            "execution_arn": self.execution_arn(), "task_token": self.agent, "question": "Really?",
            "schema": {}, "timeout_seconds": 3600,
        }});
        self.user.stack.invoke("StatusFunctionName", &event).await
    }

    /// Whether it runs, as far as anybody can know.
    pub(crate) async fn is_launched(&self) -> bool {
        // It never is.
        if self.scenario == Scenario::BatchCancelled {
            return true;
        }
        if matches!(self.scenario, Scenario::Silent | Scenario::Hasty) {
            return self.said().await.as_deref() == Some("RUNNING");
        }
        let parts = self.user.stack.parts(&self.id).await;
        parts.get("state").is_some_and(|state| state["status"] == "running")
    }

    /// Whether it has ended and all that was owed for it is done.
    async fn is_settled(&mut self) -> bool {
        if self.id.is_empty() {
            return false;
        }
        let parts = self.parts().await;
        let progress = parts.get("state").and_then(|state| state["progress"].as_u64());
        let progress = progress.unwrap_or_default();
        self.went_back |= progress < self.progress;
        self.progress = progress;
        let deliveries = of_kind(&parts, "delivery#");
        let is_looked_at =
            |part: &Value| !self.scenario.is_confirmed() || part.get("due_at").is_none();
        let is_refused = |state: &Value| {
            self.scenario != Scenario::Unredriven || state["redrive_refusal"].is_string()
        };
        parts
            .get("state")
            .is_some_and(|state| state["status"] == self.scenario.end() && is_refused(state))
            && parts.values().all(|part| !owes(part) && is_looked_at(part))
            && !parts.keys().any(|part| part.starts_with("open#"))
            && self.scenario.deliveries().contains(&deliveries.len())
            && deliveries.iter().all(|delivery| {
                let is_given_up = !is_callback(delivery) && delivery["state"] == "undelivered";
                delivery["state"] == "delivered" || is_given_up
            })
    }

    /// What is wrong in the end. `executions` has the names of all in Step Functions.
    pub(crate) async fn wrong(&self, executions: &[String]) -> Vec<String> {
        let stack = &self.user.stack;
        let mut wrong = Vec::new();
        if self.id.is_empty() {
            wrong.push(format!("never accepted: {:?}", self.refused));
            return wrong;
        }
        if let Some(odd) = self.refused.iter().find(|status| !(500..=599).contains(*status)) {
            wrong.push(format!("a request was answered with {odd}"));
        }
        let parts = self.parts().await;
        if self.sweeps.is_none() {
            wrong.push(format!("still owed: {}", json!(parts)));
        }
        // Without a key, a request that was not answered may have been accepted, too.
        let most = if self.scenario == Scenario::Unkeyed { self.refused.len() + 1 } else { 1 };
        let rows = stack.count_rows(&self.user).await;
        if rows == 0 || rows > most {
            wrong.push(format!("{rows} runs are stored"));
        }
        let of_agent = format!("mcp-{}-", self.agent);
        let started = executions.iter().filter(|name| name.starts_with(&of_agent)).count();
        let named = executions.iter().filter(|name| **name == self.id).count();
        // What was cancelled before anybody claimed it never runs.
        let is_run = self.scenario.said().is_some()
            && parts.get("state").is_some_and(|state| state.get("claimed_at").is_some());
        if named != usize::from(is_run) || started > if is_run { rows } else { 0 } {
            wrong.push(format!("{started} executions, {named} of them of this run"));
        }
        let said = self.said().await;
        if said.as_deref() != self.scenario.said().filter(|_| is_run) {
            wrong.push(format!("Step Functions says {said:?}"));
        }
        if stack.parts(&self.pool()).await.keys().any(|part| part.starts_with("slot#")) {
            wrong.push("a slot is kept".to_owned());
        }
        wrong.extend(self.wrong_posts(&parts).await);
        wrong.extend(self.wrong_subscribers(&parts).await);
        if self.went_back || (self.scenario.reports() && self.progress == 0) {
            wrong.push(format!("progress went to {}", self.progress));
        }
        wrong.extend(self.wrong_answer(&parts));
        wrong
    }

    /// Its agent has the answer, by the only question that there is, and all know that.
    fn wrong_answer(&self, parts: &HashMap<String, Value>) -> Option<String> {
        let questions = of_kind(parts, "question#");
        let is_asked = self.scenario.asks() || self.scenario == Scenario::Forgotten;
        if questions.len() != usize::from(is_asked) {
            return Some(format!("{} questions", questions.len()));
        }
        let question = questions.first()?;
        if ["task_token", "answer", "schema"].iter().any(|it| question.get(*it).is_some()) {
            return Some("a question that is not closed".to_owned());
        }
        if self.scenario == Scenario::Forgotten {
            return (question["state"] != "closed").then(|| question["state"].to_string());
        }
        // Of what was given, but not recorded before the run has ended, only the answer is known.
        let is_known = ["answered", "closed"].iter().any(|it| question["state"] == *it)
            && question["answer_hash"].is_string();
        let output = parts.get("output").and_then(|output| output["output"].as_str());
        let is_given = output.is_some_and(|output| output.contains(&self.agent));
        let message = &parts.get("state")?["message"];
        (!is_known || !is_given || !message.is_null())
            .then(|| format!("question {}, output {output:?}, {message}", question["state"]))
    }

    async fn wrong_posts(&self, parts: &HashMap<String, Value>) -> Option<String> {
        let posts = self.posted().await;
        let mut deliveries = of_kind(parts, "delivery#");
        deliveries.retain(|delivery| is_callback(delivery));
        let others = deliveries.len().saturating_sub(1);
        if !self.posts.contains(&posts.len().saturating_sub(others)) {
            return Some(format!("{} posts", posts.len()));
        }
        let owed: HashSet<_> =
            deliveries.iter().filter_map(|delivery| delivery["webhook_id"].as_str()).collect();
        if owed != posts.iter().map(String::as_str).collect() {
            return Some(format!("webhook-ids {posts:?}"));
        }
        let is_over = |delivery: &&&Value| {
            let attempts = delivery["attempts"].as_array();
            let mut attempts = attempts.into_iter().flatten();
            attempts.any(|attempt| attempt["status"] == 200) && attempts.next().is_some()
        };
        deliveries.iter().find(is_over).map(|_| "an attempt after a success".to_owned())
    }

    /// Of two subscriptions the one has it, and the other was asked and wants no more.
    async fn wrong_subscribers(&self, parts: &HashMap<String, Value>) -> Option<String> {
        let [gone, well] = self.subscribers.as_slice() else { return None };
        let mut deliveries = of_kind(parts, "delivery#");
        deliveries.retain(|delivery| !is_callback(delivery));
        let count =
            |state: &str| deliveries.iter().filter(|delivery| delivery["state"] == state).count();
        let is_told = !gone.received().await.is_empty() && !well.received().await.is_empty();
        let is_right = is_told && count("delivered") == 1 && count("undelivered") == 1;
        (!is_right).then(|| format!("subscribers: {}", json!(deliveries)))
    }

    pub(crate) async fn count_posts(&self) -> usize {
        self.posted().await.len()
    }

    /// The `webhook-id` of each POST about this run.
    async fn posted(&self) -> Vec<String> {
        let received = self.receiver.received().await;
        let about_us = received.iter().filter(|post| {
            let data = &post.body()["data"];
            let is_of_batch = !self.batch.is_empty() && data["batch_id"] == self.batch.as_str();
            data["execution_id"] == self.id.as_str() || is_of_batch
        });
        about_us.map(|post| post.header("webhook-id").to_owned()).collect()
    }

    async fn said(&self) -> Option<String> {
        let client = &self.user.stack.step_functions;
        let describe = client.describe_execution().execution_arn(self.execution_arn());
        Some(describe.send().await.ok()?.status.as_str().to_owned())
    }

    fn execution_arn(&self) -> String {
        format!("{}:{}", self.machine.replace(":stateMachine:", ":execution:"), self.id)
    }
}

/// Whether this delivery is to the URL that came with the start.
fn is_callback(delivery: &Value) -> bool {
    delivery["part"].as_str().is_some_and(|part| part.ends_with("#callback"))
}

fn of_kind<'a>(parts: &'a HashMap<String, Value>, prefix: &str) -> Vec<&'a Value> {
    parts.iter().filter(|(part, _)| part.starts_with(prefix)).map(|(_, part)| part).collect()
}

/// The machine of the agent `approval`, but that it works on for a while with the answer, so that
/// all of that can be recorded before its end is.
async fn asking_machine(stack: &Stack) -> &'static str {
    const SECONDS: u32 = 12;
    static MACHINE: OnceCell<String> = OnceCell::const_new();

    let made = MACHINE.get_or_init(async || {
        let (client, arn) = (&stack.step_functions, stack.output("ApprovalMachineArn"));
        let describe = client.describe_state_machine().state_machine_arn(arn);
        let theirs = describe.send().await.unwrap();
        let mut definition: Value = serde_json::from_str(&theirs.definition).unwrap();
        let states = definition["States"].as_object_mut().unwrap();
        let asks = states["Ask"].as_object_mut().unwrap();
        asks.remove("End");
        asks.insert("Next".to_owned(), "Work".into());
        let work = json!({"Type": "Wait", "Seconds": SECONDS, "End": true});
        states.insert("Work".to_owned(), work);
        stack.create_machine(definition.to_string()).await
    });
    made.await
}

/// A machine that fails until it is redriven.
async fn failing_machine(stack: &Stack) -> &'static str {
    static MACHINE: OnceCell<String> = OnceCell::const_new();

    let made = MACHINE.get_or_init(async || {
        let is_redriven = "$states.context.Execution.RedriveCount >= 1";
        let output = format!("{{% {is_redriven} ? {{'result': 'x'}} : $error('not yet') %}}");
        let answer = json!({"Type": "Pass", "Output": output, "End": true});
        let definition =
            json!({"QueryLanguage": "JSONata", "StartAt": "Answer", "States": {"Answer": answer}});
        stack.create_machine(definition.to_string()).await
    });
    made.await
}

/// A call of a tool over MCP. Its refusal is told to a model in an answer: here it is our fault.
pub(crate) async fn use_tool(user: &User, name: &str, arguments: &Value) -> Answer {
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    let params = json!({"name": name, "arguments": arguments});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let mut answer = user.send(Method::POST, "/mcp", &headers, body.to_string()).await;
    let result = answer.body["result"].clone();
    if answer.status == 200 && result["isError"] != true && result.is_object() {
        answer.body = result["structuredContent"].clone();
    } else if answer.status == 200 {
        answer.status = 500;
    }
    answer
}

/// What a client's person answers a task, by the form that it puts to them.
async fn update_task(user: &User, id: &str, question: &str, answer: &Value) -> Answer {
    const NEWEST: &str = "2026-07-28";

    let extensions = json!({"io.modelcontextprotocol/tasks": {}});
    let params = json!({
        "taskId": id,
        "inputResponses": {question: {"action": "accept", "content": answer}},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": NEWEST,
            "io.modelcontextprotocol/clientInfo": {"name": "faults", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {"extensions": extensions},
        },
    });
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", NEWEST),
        ("mcp-method", "tasks/update"),
        ("mcp-name", id),
    ];
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tasks/update", "params": params});
    let mut answer = user.send(Method::POST, "/mcp", &headers, body.to_string()).await;
    if answer.status == 200 && !answer.body["result"].is_object() {
        answer.status = 500;
    }
    answer
}

/// Makes due what a run still owes, and ends its lease, as if time had passed.
pub(crate) async fn make_due(stack: &Stack, id: &str) {
    for (name, part) in stack.parts(id).await {
        if part.get("due_at").is_none() {
            continue;
        }
        let leased = part.get("leased_until").is_some();
        let update = stack.dynamodb.update_item().table_name(stack.output("ExecutionsTable"));
        let now = Timestamp::now();
        let update = update
            .key("execution_id", AttributeValue::S(id.to_owned()))
            .key("part", AttributeValue::S(name.clone()))
            // Unless it is being settled just now.
            .condition_expression("due_at = :before")
            .expression_attribute_values(":now", AttributeValue::N(now.millis().to_string()))
            .expression_attribute_values(":before", AttributeValue::N(part["due_at"].to_string()));
        let update = if leased {
            update.update_expression("SET due_at = :now, leased_until = :now")
        } else if name == "state" {
            // Nothing was heard of it for some time.
            let earlier = now.minus(Duration::from_mins(10)).millis().to_string();
            update
                .update_expression("SET due_at = :now, updated_at = :earlier")
                .expression_attribute_values(":earlier", AttributeValue::N(earlier))
        } else {
            update.update_expression("SET due_at = :now")
        };
        let made_due = update.send().await;
        drop(made_due);
    }
}

/// Lets the stack settle the runs by itself for at most `pause`, then sweeps up to three times.
pub(crate) async fn settle(stack: &Stack, runs: &mut [&mut Run], pause: Duration) {
    wait_for_end(stack, runs, pause, 0).await;
    for sweeps in 1..=SWEEPS {
        let open: Vec<_> = runs
            .iter()
            .filter(|run| run.sweeps.is_none() && !run.id.is_empty())
            .flat_map(|run| {
                // Its line is looked after first; should it not stand there, it is due itself.
                let is_in_line = run.scenario == Scenario::Waits && sweeps == 1;
                let id = if is_in_line { String::new() } else { run.id.clone() };
                [id, run.batch.clone(), run.pool()]
            })
            .filter(|id| !id.is_empty())
            .collect();
        if open.is_empty() {
            return;
        }
        sweep(stack, &open).await;
        wait_for_end(stack, runs, pause, sweeps).await;
    }
}

pub(crate) async fn wait_for_end(
    stack: &Stack,
    runs: &mut [&mut Run],
    pause: Duration,
    sweeps: usize,
) {
    let start = Instant::now();
    while start.elapsed() < pause {
        let open: Vec<_> = runs.iter_mut().filter(|run| run.sweeps.is_none()).collect();
        if open.iter().all(|run| run.id.is_empty()) {
            return;
        }
        // To look at hundreds of runs again and again would keep the engine from all else.
        let owing = stack.owing().await;
        let looked_at = |run: &Run| {
            run.scenario.reports()
                || run.scenario == Scenario::Refused
                || run.scenario.is_cancelled()
                || !owing.contains(&run.id)
        };
        stream::iter(open.into_iter().filter(|run| looked_at(run)))
            .for_each_concurrent(SIDE_BY_SIDE, async |run| {
                if run.is_settled().await {
                    run.sweeps = Some(sweeps);
                }
            })
            .await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// The names of all executions in Step Functions.
pub(crate) async fn executions(stack: &Stack) -> Vec<String> {
    let machines = ["EchoMachineArn", "FailMachineArn", "ProgressMachineArn"];
    let mut machines = machines.map(|machine| stack.output(machine)).to_vec();
    machines.push(asking_machine(stack).await);
    machines.push(failing_machine(stack).await);
    let mut names = Vec::new();
    for machine in machines {
        let list = stack.step_functions.list_executions().state_machine_arn(machine);
        let mut executions = list.into_paginator().items().send();
        while let Some(execution) = executions.next().await {
            names.push(execution.unwrap().name);
        }
    }
    names
}
