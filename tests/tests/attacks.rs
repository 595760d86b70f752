//! What a security review has tried with success, tried again: each of these gets nothing now.

use std::collections::HashSet;

use e2e::{Answer, Stack, User, eventually, receiver::Receiver};
use relay::{api_key::ApiKeyHash, time::Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

const ALL: &[&str] = &["execute:*", "view:*", "cancel:*", "manage:*"];

async fn with(user: &User, permissions: &[&str]) -> User {
    User { key: user.stack.key(&user.id, permissions, json!({})).await, ..user.clone() }
}

async fn subscribe(user: &User, body: &Value) -> Answer {
    user.send(Method::POST, "/v1/subscriptions", &[], body.to_string()).await
}

fn quick(agent: &str) -> Value {
    json!({"agent_name": agent, "input_message": "SECRET", "parameters": {"wait_seconds": 0}})
}

/// Ends a key as `relayctl keys revoke` does.
async fn revoke(stack: &Stack, key: &str) {
    let keys = relay::store::api_keys::ApiKeys::new(
        stack.dynamodb.clone(),
        stack.output("ApiKeysTable").to_owned(),
    );
    keys.revoke(&ApiKeyHash::of(key)).await.unwrap();
}

#[tokio::test]
async fn a_key_reads_and_manages_nothing_by_subscriptions_that_it_may_not() {
    let stack = Stack::connect().await;
    let full = stack.user(ALL).await;
    let weak = with(&full, &["view:nonexistent-agent"]).await;
    let receiver = Receiver::start().await;

    for (body, missing) in [
        (json!({"url": receiver.url()}), "view:*"),
        (json!({"url": receiver.url(), "agent_name": "echo"}), "view:echo"),
    ] {
        let refused = subscribe(&weak, &body).await;
        assert_eq!(refused.status, 403, "{refused:?}");
        assert!(refused.text("detail").contains(missing), "{refused:?}");
    }
    let own = json!({"url": receiver.url(), "agent_name": "nonexistent-agent"});
    let own = subscribe(&weak, &own).await.text("id");
    let theirs = json!({"url": receiver.url(), "events": ["execution.failed"]});
    let theirs = format!("/v1/subscriptions/{}", subscribe(&full, &theirs).await.text("id"));

    // Of others of its user it neither sees nor changes any, and the secret is none of its business.
    let listed = weak.get("/v1/subscriptions").await;
    assert_eq!(listed.body["subscriptions"].as_array().unwrap().len(), 1);
    assert_eq!(listed.body["subscriptions"][0]["id"], own.as_str());
    for (method, path, status) in [
        (Method::GET, theirs.clone(), 404),
        (Method::DELETE, theirs.clone(), 404),
        (Method::POST, format!("{theirs}/test"), 404),
        (Method::GET, "/v1/webhook-secret".to_owned(), 403),
        (Method::POST, "/v1/webhook-secret/rotate".to_owned(), 403),
    ] {
        assert_eq!(weak.send(method, &path, &[], "").await.status, status, "{path}");
    }
    let all = full.get("/v1/subscriptions").await;
    assert_eq!(all.body["subscriptions"].as_array().unwrap().len(), 2, "`manage` sees both");

    let run = full.start(&quick("echo")).await;
    full.wait_for(&run, "completed").await;
    let delivered = full.get(&format!("/v1/executions/{run}/deliveries")).await;
    assert_eq!(delivered.body["deliveries"], json!([]));
    assert!(receiver.received().await.is_empty());
}

#[tokio::test]
async fn results_leave_by_no_callback_of_a_key_that_may_only_execute() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:echo"]).await;
    let receiver = Receiver::start().await;
    let mut body = quick("echo");
    assert_eq!(user.post(&body).await.status, 202);
    body["callback_url"] = json!(receiver.url());

    let refused = user.post(&body).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.text("detail").contains("view:echo"), "{refused:?}");
    assert!(receiver.received().await.is_empty());
}

#[tokio::test]
async fn a_revoked_or_expired_key_is_told_nothing_any_more() {
    let stack = Stack::connect().await;
    let full = stack.user(ALL).await;
    for ending in ["revoked", "expired", "gone", "narrowed"] {
        let leaked = with(&full, &["view:*"]).await;
        let receiver = Receiver::start().await;
        assert_eq!(subscribe(&leaked, &json!({"url": receiver.url()})).await.status, 201);
        let row = |permissions: Value, ends: Value| {
            json!({
                "api_key_hash": ApiKeyHash::of(&leaked.key).to_hex(), "user_id": full.id,
                "permissions": permissions, "created_at": 0, "expires_at": ends,
            })
        };
        match ending {
            "revoked" => revoke(&stack, &leaked.key).await,
            "expired" => stack.put("ApiKeysTable", row(json!(["view:*"]), json!(1))).await,
            "narrowed" => {
                let later = Timestamp::now().millis() + 3_600_000;
                stack.put("ApiKeysTable", row(json!(["view:slow"]), json!(later))).await;
            }
            _ => {
                let keys = relay::store::api_keys::ApiKeys::new(
                    stack.dynamodb.clone(),
                    stack.output("ApiKeysTable").to_owned(),
                );
                keys.delete(&ApiKeyHash::of(&leaked.key)).await.unwrap();
            }
        }
        let run = full.start(&quick("echo")).await;
        full.wait_for(&run, "completed").await;
        let owed = full.get(&format!("/v1/executions/{run}/deliveries")).await;
        assert_eq!(owed.body["deliveries"], json!([]), "{ending}");
        assert!(receiver.received().await.is_empty(), "{ending}");
    }
}

#[tokio::test]
async fn a_callback_whose_key_has_ended_ends_undelivered_and_says_why() {
    let stack = Stack::connect().await;
    let full = stack.user(ALL).await;
    let leaked = with(&full, &["execute:*", "view:*"]).await;
    let receiver = Receiver::start().await;
    let body = json!({
        "agent_name": "echo", "input_message": "SECRET", "parameters": {"wait_seconds": 3},
        "callback_url": receiver.url(),
    });
    let run = leaked.start(&body).await;
    revoke(&stack, &leaked.key).await;

    full.wait_for(&run, "completed").await;
    let delivery = eventually("the end of the delivery", async || {
        let shown = full.get(&format!("/v1/executions/{run}/deliveries")).await.body;
        let delivery = shown["deliveries"][0].clone();
        (delivery["state"] == "undelivered").then_some(delivery)
    })
    .await;
    let detail = delivery["attempts"][0]["detail"].as_str().unwrap();
    assert!(detail.starts_with("the key that asked for it has ended"), "{detail}");
    assert!(receiver.received().await.is_empty());
    // Nor does another key of the user bring it back.
    let again =
        format!("/v1/executions/{run}/deliveries/{}/redeliver", delivery["id"].as_str().unwrap());
    assert_eq!(full.send(Method::POST, &again, &[], "").await.status, 202);
    eventually("the end of the redelivery", async || {
        let shown = full.get(&format!("/v1/executions/{run}/deliveries")).await.body;
        let delivery = &shown["deliveries"][0];
        assert_eq!(delivery["redelivered_by"]["user_id"], full.id.as_str());
        (delivery["state"] == "undelivered").then_some(())
    })
    .await;
    assert!(receiver.received().await.is_empty());
}

/// A rotated key is no leak: what it has made goes on with its successor, and ends with that.
#[tokio::test]
async fn what_a_key_has_made_goes_on_with_its_successor() {
    let stack = Stack::connect().await;
    let full = stack.user(ALL).await;
    let first = with(&full, &["view:*"]).await;
    let receiver = Receiver::start().await;
    let id = subscribe(&first, &json!({"url": receiver.url()})).await.text("id");
    let hash = ApiKeyHash::of(&first.key).to_hex();
    let heir = stack.key(&full.id, &["view:*"], json!({"lineage": hash})).await;
    let row = json!({
        "api_key_hash": hash, "user_id": full.id, "permissions": ["view:*"], "created_at": 0,
        "expires_at": 1, "heir": ApiKeyHash::of(&heir).to_hex(),
    });
    stack.put("ApiKeysTable", row).await;

    let run = full.start(&quick("echo")).await;
    full.wait_for(&run, "completed").await;
    assert_eq!(receiver.wait_for(1).await[0].body()["data"]["execution_id"], run.as_str());
    let successor = User { key: heir, ..full.clone() };
    let path = format!("/v1/subscriptions/{id}");
    assert_eq!(successor.get(&path).await.status, 200, "it is its own");
    assert_eq!(successor.send(Method::DELETE, &path, &[], "").await.status, 204);
}

#[tokio::test]
async fn no_two_callers_share_a_limit_whose_hashes_begin_alike() {
    let stack = Stack::connect().await;
    let limits = stack.limits();
    let now = Timestamp::now();
    let prefix = ApiKeyHash::of(&Timestamp::now().millis().to_string()).to_hex()[..32].to_owned();
    let one = format!("{prefix}{}", "0".repeat(32)).into();
    let other = format!("{prefix}{}", "1".repeat(32)).into();
    let token = format!("token-{prefix}{}", "0".repeat(32)).into();

    assert!(limits.count_start(&one, 1, now).await.is_ok());
    assert!(limits.count_start(&one, 1, now).await.is_err());
    assert!(limits.count_start(&other, 1, now).await.is_ok());
    assert!(limits.count_start(&token, 1, now).await.is_ok());
}

/// Whatever is hidden between them, and although several are of one time.
#[tokio::test]
async fn a_cursor_names_no_run_that_its_caller_may_not_view_and_misses_none_that_it_may() {
    let stack = Stack::connect().await;
    let full = stack.user(ALL).await;
    let narrow = with(&full, &["view:echo"]).await;
    let now = Timestamp::now().millis();
    let mut visible = HashSet::new();
    for (index, agent) in
        ["slow", "echo", "slow", "slow", "echo", "echo", "slow", "echo", "slow", "slow", "slow"]
            .into_iter()
            .enumerate()
    {
        let id = format!("mcp-{agent}-{}", ulid::Ulid::generate().to_string().to_ascii_lowercase());
        let row = json!({
            "execution_id": id, "part": "state", "user_id": full.id, "agent_name": agent,
            "state_machine_arn": stack.output("EchoMachineArn"), "status": "completed",
            "redrive_count": 0, "rank": 90, "launch_before": now, "updated_at": now,
            // Three at a time.
            "created_at": now - i64::try_from(index / 3).unwrap(),
        });
        stack.put("ExecutionsTable", row).await;
        if agent == "echo" {
            visible.insert(id);
        }
    }
    for limit in [1, 2, 3, 4, 100] {
        let mut seen = Vec::new();
        let mut query = format!("/v1/executions?limit={limit}");
        loop {
            let page = narrow.get(&query).await.body;
            let runs = page["executions"].as_array().unwrap().iter();
            seen.extend(runs.map(|run| run["execution_id"].as_str().unwrap().to_owned()));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            let said = base64(cursor);
            assert!(!said.contains("slow"), "{said}");
            query = format!("/v1/executions?limit={limit}&cursor={cursor}");
        }
        assert_eq!(seen.len(), visible.len(), "{limit}: none twice");
        assert_eq!(seen.into_iter().collect::<HashSet<_>>(), visible, "{limit}");
    }
}

fn base64(text: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    String::from_utf8(URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

#[tokio::test]
async fn a_replay_tells_nothing_to_who_may_not_start_and_is_bounded() {
    let stack = Stack::connect().await;
    let user = stack.user_with(&["execute:*", "view:*"], json!({"rate_limit": 2})).await;
    let viewer = with(&user, &["view:echo"]).await;
    let key = [("idempotency-key", "once")];
    assert_eq!(user.post_with(&key, &quick("echo")).await.status, 202);
    for body in [quick("echo"), quick("slow")] {
        assert_eq!(viewer.post_with(&key, &body).await.status, 403);
    }

    // Two minutes at most, since a minute may end meanwhile.
    let mut statuses = Vec::new();
    for _ in 0..130 {
        statuses.push(user.post_with(&key, &quick("echo")).await.status);
    }
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    assert!(count(202) >= 60 && count(429) > 0, "{statuses:?}");
    assert_eq!(count(202) + count(429), 130, "{statuses:?}");
    assert_eq!(stack.count_rows(&user).await, 1);
}

#[tokio::test]
async fn it_is_kept_who_has_started_and_cancelled_a_run() {
    let stack = Stack::connect().await;
    let user = stack.user(ALL).await;
    let other = with(&user, &["cancel:*"]).await;
    let run = user.start(&json!({"agent_name": "slow", "input_message": "x"})).await;
    let cancel = format!("/v1/executions/{run}/cancel");
    assert_eq!(other.send(Method::POST, &cancel, &[], "").await.status, 202);
    // Again, or too late.
    user.send(Method::POST, &cancel, &[], "").await;
    user.wait_for(&run, "cancelled").await;

    let results = user.get(&format!("/v1/executions/{run}/results?include_metadata=true")).await;
    let by = |key: &str| json!({"user_id": user.id, "key_id": ApiKeyHash::of(key).key_id()});
    assert_eq!(results.body["metadata"]["started_by"], by(&user.key));
    assert_eq!(results.body["metadata"]["cancelled_by"], by(&other.key), "the first that did");
    assert!(!results.body.to_string().contains(&ApiKeyHash::of(&user.key).to_hex()));
}
