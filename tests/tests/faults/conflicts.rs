//! What the SDK does not repeat: a write of an item that a transaction holds, a transaction of which
//! a part was throttled. And a write whose reply is lost, which must know itself when the SDK does.

use std::time::Duration;

use e2e::receiver::Receiver;
use relay::domain::api_key::ApiKeyHash;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    alone,
    calls::{Call, REQUESTS, RUNS},
    one, print_head,
    proxy::{Fault, Proxy},
    run,
};

/// As often as a write is made at most.
const TRIES: u64 = 5;

/// What the stack takes by itself, when much else goes on.
const PAUSE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_write_that_meets_a_transaction_is_repeated_at_once() {
    let rows = [
        ("start", "count"),
        ("start", "accept"),
        ("launch", "claim"),
        ("launch", "stop: mark"),
        ("status", "outcome"),
        ("status", "advance to running"),
        ("status", "advance to the end"),
        ("webhook", "lease"),
        ("webhook", "record"),
    ];
    let rows = rows.map(|(function, name)| one(function, name, Fault::Conflict));
    alone(async |stack| {
        print_head();
        // None is left to a sweep.
        assert_eq!(run(stack, rows.to_vec(), PAUSE, 0).await, 0, "rows with something wrong");
    })
    .await;
}

#[tokio::test]
async fn what_follows_a_write_whose_reply_is_lost_happens_at_once() {
    alone(async |stack| {
        print_head();
        let rows = vec![one("status", "advance to running", Fault::LostOnce)];
        assert_eq!(run(stack, rows, PAUSE, 0).await, 0, "rows with something wrong");
        // The sweep that finds it postpones it, and hurries it.
        let rows = ["postpone a run", "postpone a delivery"]
            .map(|name| one("sweep", name, Fault::LostOnce))
            .to_vec();
        assert_eq!(run(stack, rows, PAUSE, 1).await, 0, "rows with something wrong");
    })
    .await;
}

#[tokio::test]
async fn a_run_whose_key_may_not_be_used_is_stopped_without_a_reason() {
    alone(async |stack| {
        let user = stack.user(&["execute:*", "view:*", "cancel:*"]).await;
        let body = json!({
            "agent_name": "echo", "input_message": "x", "parameters": {"wait_seconds": 3600},
        });
        let id = user.start(&body).await;
        user.wait_for(&id, "running").await;
        let denied = json!({
            "service": "stepfunctions", "operation": "StopExecution",
            "headers": {"user-agent": "app/launch"},
            "body": format!("ends_with(executionArn, '{id}') && (error || cause)"),
            "error": {"code": "KmsAccessDeniedException", "status": 400},
        });
        let denied = Proxy::connect().add(&[denied]).await[0];

        let path = format!("/v1/executions/{id}/cancel");
        assert_eq!(user.send(Method::POST, &path, &[], "").await.status, 202);
        user.wait_for(&id, "cancelled").await;
        assert_eq!(Proxy::connect().fired().await[&denied], 1);
    })
    .await;
}

fn find(function: &str, name: &str) -> Call {
    let runs = RUNS.iter().map(|(call, _)| *call);
    let mut all = runs.chain(REQUESTS.iter().map(|(call, _)| *call));
    all.find(|call| call.function == function && call.name == name).unwrap()
}

#[tokio::test]
async fn a_request_that_meets_nothing_but_transactions_is_to_be_repeated_later() {
    alone(async |stack| {
        let proxy = Proxy::connect();
        let user = stack.user(&["execute:*", "view:*", "cancel:*"]).await;
        let agent = stack.agent("EchoMachineArn", json!({})).await;
        let key = ApiKeyHash::of(&user.key).to_hex();
        let owners = [agent.clone(), key[..8].to_owned(), key];
        let fail = async |name, owners: &[String]| {
            let rule = find("start", name).rule(stack, owners, Fault::Conflict, Some(TRIES));
            proxy.add(&[rule]).await[0]
        };
        let body = json!({
            "agent_name": agent, "input_message": "x", "parameters": {"wait_seconds": 3600},
        });

        for name in ["count", "accept"] {
            let rule = fail(name, &owners).await;
            let answer = user.post_with(&[("idempotency-key", "once")], &body).await;
            assert_eq!(answer.status, 503, "{name}: {answer:?}");
            assert!(!answer.header("retry-after").is_empty(), "{name}: {answer:?}");
            assert_eq!(proxy.fired().await[&rule], TRIES, "{name}");
        }
        let started = user.post_with(&[("idempotency-key", "once")], &body).await;
        assert_eq!(started.status, 202, "{started:?}");
        assert_eq!(stack.count_rows(&user).await, 1);

        let id = started.text("execution_id");
        let path = format!("/v1/executions/{id}/cancel");
        fail("cancel: request", std::slice::from_ref(&id)).await;
        let answer = user.send(Method::POST, &path, &[], "").await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
        assert_eq!(user.send(Method::POST, &path, &[], "").await.status, 202);
        user.wait_for(&id, "cancelled").await;
    })
    .await;
}

#[tokio::test]
async fn a_redelivery_whose_reply_is_lost_is_accepted_and_made_once() {
    alone(async |stack| {
        let proxy = Proxy::connect();
        let user = stack.user(&["execute:*", "view:*"]).await;
        let agent = stack.agent("EchoMachineArn", json!({})).await;
        let receiver = Receiver::start().await;
        let id = user
            .start(&json!({
                "agent_name": agent, "input_message": "x", "callback_url": receiver.url(),
            }))
            .await;
        receiver.wait_for(1).await;
        let parts = user.wait_for_parts(&id).await;
        let delivery = parts["delivery#completed#0#callback"]["webhook_id"].as_str().unwrap();

        let owe = find("start", "redeliver: owe");
        let rule = owe.rule(stack, std::slice::from_ref(&id), Fault::LostOnce, Some(1));
        let rule = proxy.add(&[rule]).await[0];
        let path = format!("/v1/executions/{id}/deliveries/{delivery}/redeliver");
        let answer = user.send(Method::POST, &path, &[], json!({}).to_string()).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(proxy.fired().await[&rule], 1);
        // Nobody sweeps.
        receiver.wait_for(2).await;
        let parts = user.wait_for_parts(&id).await;
        assert_eq!(parts["delivery#completed#0#callback"]["state"], Value::from("delivered"));
        assert_eq!(receiver.received().await.len(), 2);
    })
    .await;
}
