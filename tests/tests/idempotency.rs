//! One `Idempotency-Key`, one execution.

use std::collections::HashSet;

use e2e::Stack;
use futures_util::future::join_all;
use serde_json::json;

#[tokio::test]
async fn concurrent_starts_with_one_key_give_one_execution() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let body =
        json!({"agent_name": "echo", "input_message": "once", "parameters": {"wait_seconds": 0}});

    let key = [("idempotency-key", "71-0-0")];
    let answers = join_all((0..32).map(|_| user.post_with(&key, &body))).await;

    assert!(answers.iter().all(|answer| answer.status == 202), "{answers:?}");
    let ids: HashSet<_> = answers.iter().map(|answer| answer.text("execution_id")).collect();
    assert_eq!(ids.len(), 1);
    let replays =
        answers.iter().filter(|answer| answer.header("idempotent-replayed") == "true").count();
    assert_eq!(replays, 31);
    assert_eq!(stack.count_rows(&user).await, 1);
    user.wait_for(ids.iter().next().unwrap(), "completed").await;
}

#[tokio::test]
async fn a_replay_gets_the_first_answer_and_another_request_is_refused() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let other = stack.user(&["execute:*", "view:*"]).await;
    let body = json!({"agent_name": "echo", "input_message": "a", "parameters": {"wait_seconds": 0}, "tags": {"x": "y"}});
    let key = [("idempotency-key", "the key")];

    let first = user.post_with(&key, &body).await;
    let replay = user.post_with(&key, &body).await;
    assert_eq!((replay.status, &replay.body), (202, &first.body));
    assert_eq!(replay.header("location"), first.header("location"));

    let mut changed = body.clone();
    changed["input_message"] = json!("b");
    let mismatch = user.post_with(&key, &changed).await;
    assert_eq!((mismatch.status, mismatch.body["field"].as_str()), (422, Some("Idempotency-Key")));

    let theirs = other.post_with(&key, &body).await;
    assert_eq!(theirs.status, 202);
    assert_ne!(theirs.text("execution_id"), first.text("execution_id"));
    assert_eq!(stack.count_rows(&user).await, 1);

    // The key lives as long as the run: it expires with it.
    user.wait_for(&first.text("execution_id"), "completed").await;
    let item = stack.parts(&first.text("execution_id")).await["state"]["idempotency_item"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(stack.parts(&item).await["idem"]["ttl"].is_i64());
}

#[tokio::test]
async fn a_replay_is_answered_to_who_may_start_the_agent_alone() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let agent = stack.agent("EchoMachineArn", json!({})).await;
    let body =
        json!({"agent_name": agent, "input_message": "a", "parameters": {"wait_seconds": 0}});
    let key = [("idempotency-key", "k")];
    let first = user.post_with(&key, &body).await;
    assert_eq!(first.status, 202);

    let narrow =
        e2e::User { key: stack.key(&user.id, &["view:*"], json!({})).await, ..user.clone() };
    let mut other = body.clone();
    other["input_message"] = json!("b");
    for body in [&body, &other] {
        let refused = narrow.post_with(&key, body).await;
        assert_eq!(refused.status, 403, "neither an id nor that the key was used: {refused:?}");
    }
    assert_eq!(user.post_with(&key, &body).await.body, first.body);
    assert_eq!(narrow.post(&body).await.status, 403);
}
