//! What a caller asks for while a call fails: it is answered as our fault, and rightly when it is
//! asked for again.

use std::collections::BTreeMap;

use e2e::{Answer, Stack, User, eventually, receiver::Receiver};
use futures_util::{StreamExt, stream};
use relay::domain::api_key::ApiKeyHash;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    alone,
    calls::{Call, REQUESTS, Request},
    mapping::recycle,
    proxy::{Fault, Proxy},
    run::use_tool,
};

/// So many ask at once: what they wait for is mostly their function's start.
const SIDE_BY_SIDE: usize = 16;
/// How often a request is made that is not answered.
const TRIES: usize = 8;

/// Somebody with a subscription and a run that has ended, called back, or that asks.
struct Asker {
    user: User,
    agent: String,
    run: String,
    receiver: Receiver,
    subscription: String,
    batch: String,
}

impl Asker {
    async fn new(stack: &Stack, request: Request) -> Self {
        let user = match request {
            Request::Open => stack.user(&["*:*"]).await,
            _ => stack.user(&["execute:*", "view:*", "cancel:*", "manage:*"]).await,
        };
        let (machine, status) = match request {
            Request::Questions | Request::ToolQuestions => ("ApprovalMachineArn", "input_required"),
            Request::Trouble | Request::ToolTrouble => ("FailMachineArn", "failed"),
            _ => ("EchoMachineArn", "completed"),
        };
        let waits = matches!(request, Request::Waiting | Request::ToolWaiting | Request::Open);
        let row = if waits { json!({"paused": true}) } else { json!({}) };
        let status = if waits { "queued" } else { status };
        let agent = stack.agent(machine, row).await;
        let receiver = Receiver::start().await;
        let (run, subscription, batch) = (String::new(), String::new(), String::new());
        let mut asker = Self { user, agent, run, receiver, subscription, batch };
        asker.subscription = asker.subscribe().await;
        asker.run = asker.start(0, "first", &[]).await.text("execution_id");
        asker.user.wait_for(&asker.run, status).await;
        if waits {
            let path = format!("/v1/executions/{}", asker.run);
            let waiting =
                async || asker.user.get(&path).await.body["waits_for"].is_string().then_some(());
            eventually("a run that waits", waiting).await;
        } else if status != "input_required" {
            let settled = async || asker.is_settled().await.then_some(());
            eventually("a run that owes nothing", settled).await;
        }
        asker
    }

    async fn start(&self, wait: u32, key: &str, headers: &[(&str, &str)]) -> Answer {
        let body = json!({
            "agent_name": self.agent, "input_message": "x", "parameters": {"wait_seconds": wait},
            "callback_url": self.receiver.url(),
        });
        self.user.post_with(&[headers, &[("idempotency-key", key)]].concat(), &body).await
    }

    /// Two starts, of which one is refused.
    fn items(&self) -> Value {
        json!([
            {"agent_name": self.agent, "input_message": "x", "parameters": {"wait_seconds": 0}},
            {"agent_name": "nobody", "input_message": "x"},
        ])
    }

    async fn start_batch(&self, key: &str) -> Answer {
        let (key, body) = ([("idempotency-key", key)], json!({"items": self.items()}).to_string());
        self.user.send(Method::POST, "/v1/batches", &key, body).await
    }

    async fn subscribe(&self) -> String {
        self.post("/v1/subscriptions", json!({"url": self.receiver.url()})).await.text("id")
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.user.send(Method::POST, path, &[], body.to_string()).await
    }

    async fn is_settled(&self) -> bool {
        let parts = self.user.stack.parts(&self.run).await;
        parts.values().all(|part| part.get("due_at").is_none())
    }

    /// Brings about what is asked for, before its call fails.
    async fn prepare(&mut self, call: Call, request: Request, turn: usize) {
        if matches!(request, Request::Held | Request::HeldStart | Request::ToolStart) {
            self.make_room().await;
        }
        match request {
            Request::Held => {
                let started = self.start(2, &format!("held {turn}"), &[]).await;
                self.run = started.text("execution_id");
            }
            Request::Unsubscribe => self.subscription = self.subscribe().await,
            Request::Batch => {
                let batch = self.start_batch(&format!("batch {turn}")).await;
                self.batch = batch.text("batch_id");
            }
            // The master secret is read once by each process.
            Request::Secret if !call.is_owned => {
                recycle(&self.user.stack, "StartFunctionName").await;
            }
            _ => {}
        }
    }

    /// Frees what is still kept for requests whose function was killed, or could not give it back.
    async fn make_room(&self) {
        const MOST: u32 = 10;
        let names = (0..MOST)
            .flat_map(|slot| [format!("wait#{slot}"), format!("wait#{}#{slot}", self.user.id)]);
        for name in names {
            self.user.stack.forget(&name, "wait").await;
        }
    }

    async fn ask(&self, request: Request, turn: usize) -> Answer {
        let run = format!("/v1/executions/{}", self.run);
        let subscription = format!("/v1/subscriptions/{}", self.subscription);
        let prefer = [("prefer", "wait=10")];
        match request {
            Request::Monitor | Request::Questions | Request::Waiting => self.user.get(&run).await,
            Request::Held => self.user.send(Method::GET, &run, &prefer, "").await,
            Request::HeldStart => self.start(0, &turn.to_string(), &prefer).await,
            Request::Results => {
                self.user.get(&format!("{run}/results?include_metadata=true")).await
            }
            Request::List => self.user.get("/v1/executions").await,
            Request::Trouble => self.user.get("/v1/executions?trouble=true").await,
            Request::Open => self.user.get("/v1/executions?open=true&limit=100").await,
            Request::Deliveries => self.user.get(&format!("{run}/deliveries")).await,
            Request::Agents => self.user.get("/v1/agents").await,
            Request::Redeliver => {
                let delivery =
                    &self.user.stack.parts(&self.run).await["delivery#completed#0#callback"];
                let id = delivery["webhook_id"].as_str().unwrap();
                self.post(&format!("{run}/deliveries/{id}/redeliver"), json!({})).await
            }
            Request::Subscribe => {
                self.post("/v1/subscriptions", json!({"url": self.receiver.url()})).await
            }
            Request::Subscriptions => self.user.get("/v1/subscriptions").await,
            Request::Rerun => {
                let key = [("idempotency-key", turn.to_string())];
                let key = key.each_ref().map(|(name, key)| (*name, key.as_str()));
                self.user.send(Method::POST, &format!("{run}/rerun"), &key, "").await
            }
            Request::ToolRerun => {
                let token = turn.to_string();
                let arguments = json!({"execution_id": self.run, "client_token": token});
                use_tool(&self.user, "rerun_agent", &arguments).await
            }
            Request::StartBatch => self.start_batch(&turn.to_string()).await,
            Request::ToolBatch => {
                let token = turn.to_string();
                let arguments = json!({"items": self.items(), "client_token": token});
                use_tool(&self.user, "start_agents", &arguments).await
            }
            Request::Batch => self.user.get(&format!("/v1/batches/{}", self.batch)).await,
            Request::Test => self.post(&format!("{subscription}/test"), json!({})).await,
            Request::Unsubscribe => self.user.send(Method::DELETE, &subscription, &[], "").await,
            Request::Secret => self.user.get("/v1/webhook-secret").await,
            Request::Rotate => self.post("/v1/webhook-secret/rotate", json!({})).await,
            Request::OwnSecret => self.user.get(&format!("{subscription}/secret")).await,
            Request::RotateOwn => {
                self.post(&format!("{subscription}/secret/rotate"), json!({})).await
            }
            Request::Enable => self.post(&format!("{subscription}/enable"), json!({})).await,
            Request::Recover => {
                let since = json!({"since": "2026-01-01T00:00:00Z"});
                self.post(&format!("{subscription}/recover"), since).await
            }
            Request::EnvelopeMonitor | Request::ToolWaiting => {
                self.user.call("monitor_agent", json!({"execution_id": self.run})).await
            }
            Request::EnvelopeResults => {
                let params = json!({"execution_id": self.run, "include_metadata": true});
                self.user.call("get_agent_results", params).await
            }
            Request::EnvelopeAgents => self.user.call("list_available_agents", json!({})).await,
            Request::ToolStart => {
                let arguments = json!({
                    "agent_name": self.agent, "input_message": "x", "parameters": {"wait_seconds": 0},
                    "client_token": turn.to_string(), "wait_seconds": 10,
                });
                use_tool(&self.user, "start_agent", &arguments).await
            }
            Request::ToolQuestions => {
                use_tool(&self.user, "monitor_agent", &json!({"execution_id": self.run})).await
            }
            Request::ToolTrouble => {
                use_tool(&self.user, "list_executions", &json!({"trouble": true})).await
            }
            Request::ToolList => use_tool(&self.user, "list_executions", &json!({})).await,
        }
    }

    /// Whether this is the answer. What was done although nobody was told is not done again.
    fn is_right(&self, request: Request, Answer { status, body, .. }: &Answer) -> bool {
        let is_ours = |list: &str, field: &str, id: &str| {
            body[list].as_array().is_some_and(|all| all.iter().any(|it| it[field] == id))
        };
        match request {
            Request::Monitor | Request::EnvelopeMonitor => {
                *status == 200 && body["status"] == "completed"
            }
            Request::Questions | Request::ToolQuestions => {
                *status == 200
                    && body["status"] == "input_required"
                    && body["questions"].as_array().is_some_and(|all| all.len() == 1)
            }
            Request::Waiting | Request::ToolWaiting => {
                *status == 200 && body["queue_position"] == 0
            }
            // Whoever finds no slot is answered at once.
            Request::Held => *status == 200 && body["execution_id"] == self.run.as_str(),
            Request::HeldStart | Request::ToolStart | Request::Rerun | Request::ToolRerun => {
                [200, 202].contains(status) && body["execution_id"].is_string()
            }
            Request::Results | Request::EnvelopeResults => *status == 200 && body["result"] == "x",
            Request::List
            | Request::ToolList
            | Request::Open
            | Request::Trouble
            | Request::ToolTrouble => {
                *status == 200 && is_ours("executions", "execution_id", &self.run)
            }
            Request::Deliveries => *status == 200 && is_ours("deliveries", "target", "callback"),
            Request::Agents => *status == 200 && is_ours("agents", "name", &self.agent),
            Request::EnvelopeAgents => *status == 200 && body.to_string().contains(&self.agent),
            Request::Redeliver => [202, 409].contains(status),
            Request::Subscribe => *status == 201 && body["id"].is_string(),
            Request::Subscriptions => {
                *status == 200 && is_ours("subscriptions", "id", &self.subscription)
            }
            Request::StartBatch | Request::ToolBatch => {
                [200, 202].contains(status)
                    && body["items"][0]["execution_id"].is_string()
                    && body["items"][1]["error"]["status"] == 404
            }
            Request::Batch => *status == 200 && body["size"] == 2,
            Request::Test => *status == 202 && body["delivery_id"].is_string(),
            Request::Unsubscribe => [204, 404].contains(status),
            Request::Enable => *status == 200 && body["id"] == self.subscription.as_str(),
            Request::Recover => *status == 202 && body["recovered"].is_u64(),
            Request::Secret | Request::Rotate | Request::OwnSecret | Request::RotateOwn => {
                *status == 200 && body["secret"].as_str().is_some_and(|it| it.starts_with("whsec_"))
            }
        }
    }

    /// What is to be seen of it besides the answer.
    async fn is_done(&self, request: Request, answer: &Answer) -> bool {
        let listed = async || self.user.get("/v1/subscriptions").await.body.to_string();
        match request {
            Request::Redeliver => {
                let settled = async || self.is_settled().await.then_some(());
                self.user.stack.sweep_until("a run that owes nothing", settled).await;
                true
            }
            Request::Test => {
                let id = answer.text("delivery_id");
                let posted = async || {
                    let received = self.receiver.received().await;
                    received.iter().any(|post| post.header("webhook-id") == id).then_some(())
                };
                self.user.stack.sweep_until("a test", posted).await;
                true
            }
            Request::Subscribe => listed().await.contains(&answer.text("id")),
            Request::Unsubscribe => !listed().await.contains(&self.subscription),
            _ => true,
        }
    }
}

/// Has a call fail in every way, one after the other, and returns how many rows are wrong.
async fn fail(stack: &Stack, proxy: &Proxy, call: Call, request: Request) -> usize {
    let mut asker = Asker::new(stack, request).await;
    let key = ApiKeyHash::of(&asker.user.key).to_hex();
    let owners = [asker.agent.clone(), asker.user.id.clone(), asker.subscription.clone(), key];
    let mut bad = 0;
    for (turn, fault) in call.faults().enumerate() {
        let rule = call.rule(stack, &owners, fault, Some(fault.times()));
        let rule = proxy.add(&[rule]).await[0];
        let failed = async || proxy.fired().await.get(&rule).copied().unwrap_or_default();
        asker.prepare(call, request, turn).await;
        let mut answer = asker.ask(request, turn).await;
        let mut asked = 1;
        // Whoever finds no slot is answered at once, and is not held.
        while asked < TRIES
            && ((500..=599).contains(&answer.status) || failed().await < fault.times())
        {
            answer = asker.ask(request, turn).await;
            asked += 1;
        }
        let mut wrong = Vec::new();
        if fault == Fault::Conflict && asked > 1 {
            wrong.push(format!("asked {asked} times, although it is repeated at once"));
        }
        if !asker.is_right(request, &answer) {
            wrong.push(format!("answered {answer:?}"));
        } else if !asker.is_done(request, &answer).await {
            wrong.push("not done".to_owned());
        }
        let times = failed().await;
        if times < fault.times() {
            wrong.push(format!("the call failed {times} times only"));
        }
        bad += usize::from(!wrong.is_empty());
        let result = if wrong.is_empty() { "ok".to_owned() } else { wrong.join("; ") };
        println!(
            "{:<11}{:<22}{fault:<17}{:<18}{asked:>6}  {result}",
            call.function,
            call.name,
            format!("{request:?}").to_lowercase()
        );
    }
    bad
}

#[tokio::test]
async fn a_request_whose_call_fails_is_answered_when_it_is_repeated() {
    alone(async |stack| {
        println!(
            "{:<11}{:<22}{:<17}{:<18}{:>6}  result",
            "function", "call", "fault", "request", "asked"
        );
        let proxy = &Proxy::connect();
        // Those that are asked for the same are asked in turn: not every call tells for whom it is.
        let mut lanes = BTreeMap::<_, Vec<_>>::new();
        for (call, request) in REQUESTS {
            lanes.entry((call.function, format!("{request:?}"))).or_default().push((call, request));
        }
        let one_lane = async |calls: Vec<(&Call, &Request)>| {
            let mut bad = 0;
            for (call, request) in calls {
                bad += fail(stack, proxy, *call, *request).await;
            }
            bad
        };
        // To begin anew, as it must to read the secret, a function leaves what others have asked.
        let secret = lanes.remove(&("start", "Secret".to_owned())).unwrap();
        let lanes = stream::iter(lanes.into_values().map(one_lane)).buffer_unordered(SIDE_BY_SIDE);
        let mut bad: usize = lanes.collect::<Vec<_>>().await.into_iter().sum();
        bad += one_lane(secret).await;
        assert_eq!(bad, 0, "rows with something wrong");
    })
    .await;
}
