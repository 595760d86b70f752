//! A run that is started again.

use e2e::{Answer, Stack, User, receiver::Receiver};
use reqwest::Method;
use serde_json::{Value, json};

async fn rerun(user: &User, id: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let path = format!("/v1/executions/{id}/rerun");
    user.send(Method::POST, &path, headers, body.to_owned()).await
}

async fn input(stack: &Stack, id: &str) -> Value {
    stack.parts(id).await["input"]["input"].clone()
}

#[tokio::test]
async fn a_run_is_started_again_with_its_input_on_the_agent_as_it_is() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let agent = stack.agent("FailMachineArn", json!({})).await;
    let first = user
        .start(&json!({
            "agent_name": agent, "input_message": "h\u{e9}llo",
            "parameters": {"wait_seconds": 0, "n": 18_446_744_073_709_551_615_u64},
            "tags": {"order": "4711"}, "timeout_seconds": 600, "queue_timeout_seconds": 90,
        }))
        .await;
    user.wait_for(&first, "failed").await;
    stack
        .put(
            "AgentsTable",
            json!({
                "agent_name": agent, "status": "active", "description": "Mended.", "version": "2.0.0",
                "state_machine_arn": stack.output("EchoMachineArn"), "tools": ["echo"],
            }),
        )
        .await;

    // The agent is cached for a minute by each process of `start`.
    let accepted = e2e::eventually("the agent as it is now", async || {
        let accepted = rerun(&user, &first, &[], "").await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
        let machine =
            stack.parts(&accepted.text("execution_id")).await["state"]["state_machine_arn"].clone();
        (machine == stack.output("EchoMachineArn")).then_some(accepted)
    })
    .await;
    let id = accepted.text("execution_id");
    assert!(accepted.header("location").ends_with(&format!("/v1/executions/{id}")));
    let run = user.wait_for(&id, "completed").await;

    assert_eq!(run.body["rerun_of"], json!(first));
    assert_eq!(run.body["tags"], json!({"order": "4711"}));
    assert_eq!(user.results(&id).await.body["result"], "h\u{e9}llo");
    assert_eq!(input(&stack, &id).await, input(&stack, &first).await);
    let state = stack.parts(&id).await["state"].clone();
    let after =
        |field: &str| state[field].as_i64().unwrap() - state["created_at"].as_i64().unwrap();
    assert_eq!((after("deadline"), after("launch_before")), (600_000, 90_000));
    // One of a run that was started again itself. Each process of `start` has a cache of its own.
    let again = e2e::eventually("another run", async || {
        let again = rerun(&user, &id, &[("prefer", "wait=20")], "{}").await;
        assert_eq!(again.status, 200, "{again:?}");
        (again.body["status"] == "completed").then(|| again.text("execution_id"))
    })
    .await;
    assert_eq!(user.monitor(&again).await.body["rerun_of"], json!(id));
}

#[tokio::test]
async fn a_repeated_rerun_with_one_key_is_one_run() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let body =
        json!({"agent_name": "echo", "input_message": "a", "parameters": {"wait_seconds": 0}});
    let (first, second) = (user.start(&body).await, user.start(&body).await);
    let key = [("idempotency-key", "k")];

    let accepted = rerun(&user, &first, &key, "").await;
    let replayed = rerun(&user, &first, &key, "{}").await;
    assert_eq!((replayed.status, &replayed.body), (202, &accepted.body));
    assert_eq!(replayed.header("idempotent-replayed"), "true");
    assert_eq!(stack.count_rows(&user).await, 3);
    for other in [
        rerun(&user, &second, &key, "").await,
        rerun(&user, &first, &key, r#"{"callback_url": "https://127.0.0.1:1/"}"#).await,
        user.post_with(&key, &body).await,
    ] {
        assert_eq!((other.status, other.text("field").as_str()), (422, "Idempotency-Key"));
    }
    assert_eq!(stack.count_rows(&user).await, 3);
}

#[tokio::test]
async fn a_rerun_tells_who_it_is_given_and_nobody_else() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let (before, now) = (Receiver::start().await, Receiver::start().await);
    let first = user
        .start(&json!({
            "agent_name": "echo", "input_message": "a", "parameters": {"wait_seconds": 0},
            "callback_url": before.url(), "callback_headers": {"x-token": "secret"},
        }))
        .await;
    user.wait_for_parts(&first).await;
    let silent = rerun(&user, &first, &[], "").await.text("execution_id");
    let body = json!({"callback_url": now.url()}).to_string();
    let told = rerun(&user, &first, &[], &body).await.text("execution_id");
    for id in [&silent, &told] {
        user.wait_for(id, "completed").await;
        user.wait_for_parts(id).await;
    }
    assert_eq!((before.received().await.len(), now.received().await.len()), (1, 1));
    assert!(!stack.parts(&silent).await.contains_key("callback"));
}

#[tokio::test]
async fn a_rerun_needs_the_right_to_start_the_agent() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let agent = stack.agent("EchoMachineArn", json!({})).await;
    let id = user
        .start(
            &json!({"agent_name": agent, "input_message": "a", "parameters": {"wait_seconds": 0}}),
        )
        .await;
    user.wait_for(&id, "completed").await;
    let with = async |permissions: &[&str]| User {
        key: stack.key(&user.id, permissions, json!({})).await,
        ..user.clone()
    };

    let other = stack.user(&["execute:*", "view:*"]).await;
    assert_eq!(rerun(&other, &id, &[], "").await.status, 404);
    assert_eq!(rerun(&user, "mcp-nothing", &[], "").await.status, 404);
    assert_eq!(rerun(&with(&["view:*"]).await, &id, &[], "").await.status, 403);
    // A callback is a way of reading the results.
    let blind = with(&["execute:*"]).await;
    let body = r#"{"callback_url": "https://127.0.0.1:1/"}"#;
    assert_eq!(rerun(&blind, &id, &[], body).await.status, 403);
    assert_eq!(rerun(&blind, &id, &[], "").await.status, 202);
    for (body, field) in [
        (r#"{"callback_headers": {"a": "b"}}"#, "callback_headers"),
        (r#"{"callback_events": ["execution.failed"]}"#, "callback_events"),
        (r#"{"callback_url": "http://example.com/"}"#, "callback_url"),
        (r#"{"input_message": "b"}"#, "input_message"),
    ] {
        let refused = rerun(&user, &id, &[], body).await;
        assert_eq!((refused.status, refused.text("field").as_str()), (422, field), "{body}");
    }
    assert_eq!(rerun(&user, &id, &[], "[]").await.status, 400);

    // The run of an administrator's rerun is its user's.
    let admin = stack.user(&["*:*"]).await;
    let accepted = rerun(&admin, &id, &[], "").await;
    let state = stack.parts(&accepted.text("execution_id")).await["state"].clone();
    assert_eq!(
        (&state["user_id"], &state["started_by"]["user_id"]),
        (&json!(user.id), &json!(admin.id))
    );
    user.wait_for(&accepted.text("execution_id"), "completed").await;
}
