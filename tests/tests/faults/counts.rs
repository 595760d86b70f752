//! How many AWS calls each operation makes: one more on its path fails this, and so does one less,
//! which `docs/performance.md` then claims in vain.

use std::{collections::BTreeMap, time::Duration};

use e2e::{Stack, User, eventually, receiver::Receiver};
use relay::domain::{api_key::ApiKeyHash, status::Rank};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    alone,
    calls::{Call, REQUESTS, RUNS},
    proxy::{Fault, Proxy},
    units::OF_A_RUN,
};

/// Counts the calls that are made for one user and agent.
struct Counter {
    proxy: Proxy,
    /// Function and operation, and the rule that counts them.
    rules: Vec<(String, u64)>,
    before: BTreeMap<String, u64>,
}

/// How long the calls of an operation may take.
const PATIENCE: Duration = Duration::from_mins(1);

impl Counter {
    /// Counts those of one function, or of all.
    async fn start(stack: &Stack, owners: &[String], function: Option<&str>) -> Self {
        let proxy = Proxy::connect();
        let calls = RUNS.iter().map(|(call, _)| call).chain(REQUESTS.iter().map(|(call, _)| call));
        let calls = calls.filter(|call| function.is_none_or(|function| call.function == function));
        let kinds: BTreeMap<String, Call> =
            calls.map(|call| (call.kind(), call.any_of_its_kind())).collect();
        // To be late by nothing is to be counted.
        let rules: Vec<_> =
            kinds.values().map(|call| call.rule(stack, owners, Fault::Late(0), None)).collect();
        let ids = proxy.add(&rules).await;
        Self { proxy, rules: kinds.into_keys().zip(ids).collect(), before: BTreeMap::new() }
    }

    async fn count(&self) -> BTreeMap<String, u64> {
        let fired = self.proxy.fired().await;
        let counts = self.rules.iter().map(|(kind, rule)| (kind.clone(), fired[rule]));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// What was called since the last time, which is to be this. Launching and hearing of it go on
    /// side by side, so the last of the calls is waited for.
    async fn expect(&mut self, operation: &str, expected: &[(&str, u64)]) {
        let expected: BTreeMap<_, _> =
            expected.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect();
        let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
        let (before, wanted) = (sum(&self.before), sum(&expected));
        let made_all = eventually("the calls of an operation", async || {
            (sum(&self.count().await) >= before + wanted).then_some(())
        });
        // What is missing is told with what was made.
        drop(timeout(PATIENCE, made_all).await);
        let now = self.count().await;
        let made = |(kind, count): (&String, &u64)| {
            let new = count - self.before.get(kind).unwrap_or(&0);
            (new > 0).then(|| (kind.clone(), new))
        };
        let made: BTreeMap<_, _> = now.iter().filter_map(made).collect();
        assert_eq!(made, expected, "{operation}");
        println!("{operation:<10}{wanted:>3}  {}", made.iter().map(said).collect::<String>());
        self.before = now;
    }
}

fn said((kind, count): (&String, &u64)) -> String {
    if *count == 1 { format!("{kind}. ") } else { format!("{kind} × {count}. ") }
}

/// A name of this host by which nothing else is called back meanwhile: its counter is this test's alone.
const HOST: &str = "localhost";

/// What the writes to the executions have consumed that mention one of `owners`, by function and
/// operation: of the table and of each of its indexes.
async fn consumed(proxy: &Proxy, stack: &Stack, owners: &[String]) -> Value {
    let mut sums: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    for (function, operation, about, consumed) in proxy.units().await {
        if !owners.iter().any(|owner| about.contains(owner)) {
            continue;
        }
        let sum = sums.entry(format!("{function} {operation}")).or_default();
        for table in consumed.as_array().unwrap() {
            if table["TableName"] != stack.output("ExecutionsTable") {
                continue;
            }
            let mut of_the_table = table["CapacityUnits"].as_f64().unwrap();
            let indexes = table["GlobalSecondaryIndexes"].as_object().cloned().unwrap_or_default();
            for (index, units) in indexes {
                let units = units["CapacityUnits"].as_f64().unwrap();
                of_the_table -= units;
                *sum.entry(index).or_default() += units;
            }
            *sum.entry("table".to_owned()).or_default() += of_the_table;
        }
    }
    sums.retain(|_, sum| !sum.is_empty());
    json!(sums)
}

/// A run with a key and a callback consumes what `relayctl cost` says: as DynamoDB counts it, by the
/// sizes of the items, twice in a transaction, and once for each entry of an index that changes.
#[tokio::test]
async fn a_run_consumes_the_write_units_that_its_cost_is_made_of() {
    alone(async |stack| {
        let user = stack.user(&["execute:*", "view:*"]).await;
        let agent = stack.agent("EchoMachineArn", json!({})).await;
        let key = ApiKeyHash::of(&user.key).to_hex();
        let host = format!("deliveries-to#{HOST}");
        let owners = [agent.clone(), user.id.clone(), key[..8].to_owned(), key, host];
        let receiver = Receiver::start().await;
        let proxy = Proxy::connect();
        proxy.units().await;

        let body = json!({
            "agent_name": agent, "input_message": "x", "parameters": {"wait_seconds": 1},
            "callback_url": receiver.url().replace("127.0.0.1", HOST),
        });
        let started = user.post_with(&[("idempotency-key", "once")], &body).await;
        let id = started.text("execution_id");
        user.wait_for(&id, "completed").await;
        user.wait_for_parts(&id).await;

        let consumed = consumed(&proxy, stack, &owners).await;
        println!("{}", serde_json::to_string_pretty(&consumed).unwrap());
        let said = OF_A_RUN.map(|(operation, units)| {
            let named = ["table", "user", "debts"].into_iter().zip(units);
            let named = named.filter(|(name, units)| *units > 0.0 || *name == "table");
            (operation, named.collect::<BTreeMap<_, _>>())
        });
        assert_eq!(consumed, json!(BTreeMap::from(said)));
    })
    .await;
}

const AUTHORIZED: (&str, u64) = ("authorizer GetItem", 1);

#[tokio::test]
async fn no_operation_makes_one_call_more_than_it_says() {
    alone(async |stack| {
        let user = stack.user(&["execute:*", "view:*", "cancel:*"]).await;
        let agent = stack.agent("EchoMachineArn", json!({})).await;
        let key = ApiKeyHash::of(&user.key).to_hex();
        let receiver = Receiver::start().await;
        let owners = [
            agent.clone(),
            user.id.clone(),
            key[..8].to_owned(),
            key,
            format!("deliveries-to#{HOST}"),
        ];
        let mut counter = Counter::start(stack, &owners, None).await;

        let body = json!({
            "agent_name": agent, "input_message": "x", "parameters": {"wait_seconds": 3600},
            "callback_url": receiver.url().replace("127.0.0.1", HOST),
        });
        let started = user.post_with(&[("idempotency-key", "once")], &body).await;
        let id = started.text("execution_id");
        eventually("what follows RUNNING", async || {
            let rank = stack.parts(&id).await["state"]["rank"].as_u64();
            (rank == Some(Rank::Running as u64)).then_some(())
        })
        .await;
        // The start looks for the idempotency key, and reads an agent that it has not seen for a minute.
        counter
            .expect(
                "running",
                &[
                    AUTHORIZED,
                    ("start GetItem", 2),
                    ("start UpdateItem", 1),
                    ("start TransactWriteItems", 1),
                    ("start SendMessage", 1),
                    ("launch UpdateItem", 1),
                    ("launch GetItem", 1),
                    ("launch StartExecution", 1),
                    ("status GetItem", 1),
                    ("status Query", 1),
                    ("status PutEvents", 1),
                    ("status UpdateItem", 1),
                ],
            )
            .await;

        user.monitor(&id).await;
        counter.expect("monitor", &[AUTHORIZED, ("read GetItem", 1)]).await;
        user.results(&id).await;
        counter.expect("no results", &[AUTHORIZED, ("read GetItem", 2)]).await;
        user.get("/v1/executions").await;
        counter.expect("list", &[AUTHORIZED, ("read Query", 1), ("read BatchGetItem", 1)]).await;
        user.call("monitor_agent", json!({"execution_id": id})).await;
        counter.expect("tool", &[AUTHORIZED, ("mcp GetItem", 1)]).await;

        end(stack, &id).await;
        receiver.wait_for(1).await;
        // The agent's average is renewed every ten seconds at most.
        counter
            .expect(
                "end",
                &[
                    ("status GetItem", 1),
                    ("status PutItem", 1),
                    ("status Query", 1),
                    ("status PutEvents", 1),
                    ("status TransactWriteItems", 1),
                    ("status SendMessage", 1),
                    ("status UpdateItem", 1),
                    // The lease, the budget of the host, the record.
                    ("webhook UpdateItem", 3),
                    ("webhook BatchGetItem", 1),
                    ("webhook GetItem", 1),
                ],
            )
            .await;
        // A large result makes no look at the state dearer.
        assert_eq!(user.monitor(&id).await.text("status"), "completed");
        counter.expect("monitor", &[AUTHORIZED, ("read GetItem", 1)]).await;
        user.results(&id).await;
        counter.expect("results", &[AUTHORIZED, ("read GetItem", 2)]).await;
        user.send(Method::POST, &format!("/v1/executions/{id}/cancel"), &[], "").await;
        counter.expect("no cancel", &[AUTHORIZED, ("start GetItem", 1)]).await;
    })
    .await;
}

#[tokio::test]
async fn no_request_for_a_callback_makes_one_call_more_than_it_says() {
    alone(async |stack| {
        let user = stack.user(&["execute:*", "view:*"]).await;
        let agent = stack.agent("EchoMachineArn", json!({})).await;
        let receiver = Receiver::start().await;
        let body = json!({
            "agent_name": agent, "input_message": "x", "parameters": {"wait_seconds": 0},
            "callback_url": receiver.url(),
        });
        let id = user.start(&body).await;
        receiver.wait_for(1).await;
        user.wait_for_parts(&id).await;
        let shown = user.get(&format!("/v1/executions/{id}/deliveries")).await;
        let delivery = shown.body["deliveries"][0]["id"].as_str().unwrap();
        let subscriber = stack.user(&["view:*"]).await;
        let body = json!({"url": receiver.url()}).to_string();
        let added = subscriber.send(Method::POST, "/v1/subscriptions", &[], body).await;
        let subscription = added.text("id");
        let mut owners = vec![agent, subscription.clone()];
        for User { id, key, .. } in [&user, &subscriber] {
            owners.extend([id.clone(), ApiKeyHash::of(key).to_hex()]);
        }
        let mut counter = Counter::start(stack, &owners, None).await;

        let path = format!("/v1/executions/{id}/deliveries/{delivery}/redeliver");
        assert_eq!(user.send(Method::POST, &path, &[], "").await.status, 202);
        receiver.wait_for(2).await;
        // The budget of a host that others use, too, is counted by a write that tells of nobody here.
        let redelivered = [
            AUTHORIZED,
            ("start GetItem", 3),
            ("start Query", 1),
            ("start UpdateItem", 2),
            ("start SendMessage", 1),
            ("webhook UpdateItem", 3),
            ("webhook BatchGetItem", 1),
        ];
        counter.expect("redeliver", &redelivered).await;

        let path = format!("/v1/subscriptions/{subscription}/test");
        assert_eq!(subscriber.send(Method::POST, &path, &[], "").await.status, 202);
        receiver.wait_for(3).await;
        let tested = [
            AUTHORIZED,
            ("start Query", 1),
            ("start UpdateItem", 1),
            ("start PutItem", 1),
            ("start SendMessage", 1),
            // That the receiver is well is noted once an hour.
            ("webhook UpdateItem", 4),
            ("webhook BatchGetItem", 1),
            ("webhook GetItem", 1),
        ];
        counter.expect("test", &tested).await;
    })
    .await;
}

/// What a delivery to a subscription costs: nothing more than one to a callback while its receiver is well,
/// but for one write an hour, and one write more for each attempt that fails.
#[tokio::test]
async fn a_receiver_that_is_well_costs_no_write() {
    const LEASE_AND_RECORD: u64 = 2;

    alone(async |stack| {
        let user = stack.user(&["execute:*", "view:*"]).await;
        let agent = stack.agent("EchoMachineArn", json!({})).await;
        let receiver = Receiver::answering(&[200, 200, 503, 200]).await;
        let body = json!({"url": receiver.url(), "agent_name": agent}).to_string();
        let added = user.send(Method::POST, "/v1/subscriptions", &[], body).await;
        assert_eq!(added.status, 201, "{added:?}");
        // Not by the user or the key: of them more is written and read, once for several attempts.
        let owners = [agent.clone(), added.text("id")];
        let mut counter = Counter::start(stack, &owners, Some("webhook")).await;
        let body = json!({
            "agent_name": agent, "input_message": "x", "parameters": {"wait_seconds": 0},
        });
        for (what, attempts, noted) in [("first", 1, 1), ("well", 1, 0), ("failing", 2, 2)] {
            user.start(&body).await;
            let mut expected = vec![
                ("webhook UpdateItem", attempts * LEASE_AND_RECORD + noted),
                ("webhook BatchGetItem", attempts),
            ];
            expected.extend((attempts > 1).then_some(("webhook SendMessage", 1)));
            counter.expect(what, &expected).await;
        }
    })
    .await;
}

/// Tells that it has completed, as Step Functions does, with a result that just fits an event.
async fn end(stack: &Stack, id: &str) {
    let state = &stack.parts(id).await["state"];
    let machine = state["state_machine_arn"].as_str().unwrap();
    let event = json!({
        "id": "1", "source": "aws.states", "detail-type": "Step Functions Execution Status Change",
        "time": "2026-01-01T00:00:00Z", "detail": {
            "executionArn": format!("{}:{id}", machine.replace(":stateMachine:", ":execution:")),
            "stateMachineArn": machine, "name": id, "status": "SUCCEEDED", "redriveCount": 0,
            "startDate": state["started_at"], "stopDate": state["started_at"],
            "output": json!({"result": "r".repeat(247_000)}).to_string(),
            "inputDetails": {"included": true}, "outputDetails": {"included": true},
        },
    });
    stack.invoke("StatusFunctionName", &event).await.unwrap();
    let state = &stack.parts(id).await["state"];
    assert_eq!(state["status"], "completed");
    // Of 4 KB, a read that may be a little late costs half a unit, whatever the result's size is.
    assert!(state.to_string().len() < 4_096, "the state is too large for half a read unit");
}
