//! What a security review has tried with success, tried again: each of these gets nothing now.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use e2e::{Answer, Stack, User, eventually, receiver::Receiver};
use futures_util::future::join_all;
use relay::domain::{api_key::ApiKeyHash, time::Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

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

/// The same of an agent that runs and ends, both of which are told.
fn runs_and_ends() -> Value {
    quick("echo").merged(json!({"callback_events": ["execution.running", "execution.completed"]}))
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
    let successor_key = stack.key(&full.id, &["view:*"], json!({"lineage": hash})).await;
    let row = json!({
        "api_key_hash": hash, "user_id": full.id, "permissions": ["view:*"], "created_at": 0,
        "expires_at": 1, "heir": ApiKeyHash::of(&successor_key).to_hex(),
    });
    stack.put("ApiKeysTable", row).await;

    let run = full.start(&quick("echo")).await;
    full.wait_for(&run, "completed").await;
    assert_eq!(receiver.wait_for(1).await[0].body()["data"]["execution_id"], run.as_str());
    let successor = User { key: successor_key, ..full.clone() };
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

    assert!(limits.count_starts(&one, 1, 1, now).await.is_ok());
    assert!(limits.count_starts(&one, 1, 1, now).await.is_err());
    assert!(limits.count_starts(&other, 1, 1, now).await.is_ok());
    assert!(limits.count_starts(&token, 1, 1, now).await.is_ok());
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

/// The API's own address for this path, as callers write it.
async fn own_url(stack: &Stack, path: &str) -> (Forwarder, String) {
    let (_, rest) = stack.url.split_once("://").unwrap();
    let (host, base) = rest.split_once('/').unwrap();
    let forwarder = Forwarder::start(host).await;
    let url = format!("http://{}/{base}{path}", forwarder.address);
    (forwarder, url)
}

async fn test(user: &User, subscription: &str, headers: &[(&str, &str)]) -> Answer {
    let path = format!("/v1/subscriptions/{subscription}/test");
    user.send(Method::POST, &path, headers, "").await
}

/// A start by MCP.
async fn tool(user: &User, headers: &[(&str, &str)], arguments: &Value) -> Answer {
    let mut all = vec![
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    all.extend(headers);
    let params = json!({"name": "start_agent", "arguments": arguments});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    user.send(Method::POST, "/mcp", &all, body.to_string()).await
}

#[tokio::test]
async fn ten_tests_in_a_row_are_ten_posts() {
    let stack = Stack::connect().await;
    let user = stack.user(&["view:*"]).await;
    let victim = Receiver::answering(&[500]).await;
    let id = subscribe(&user, &json!({"url": victim.url()})).await.text("id");
    for _ in 0..10 {
        assert_eq!(test(&user, &id, &[]).await.status, 202);
    }

    victim.wait_for(10).await;
    stack.wait_for_target(&id).await;
    let ids: HashSet<_> =
        victim.received().await.iter().map(|post| post.header("webhook-id").to_owned()).collect();
    assert_eq!((victim.received().await.len(), ids.len()), (10, 10));
}

/// Requests that owe deliveries have the limit of the key that makes them.
#[tokio::test]
async fn requests_for_deliveries_are_limited_as_starts_are() {
    let stack = Stack::connect().await;
    let user = stack.user_with(ALL, json!({"rate_limit": 4})).await;
    let other = User { key: stack.key(&user.id, ALL, json!({})).await, ..user.clone() };
    let receiver = Receiver::answering(&[410, 200]).await;
    let run = user.start(&json!({"callback_url": receiver.url()}).merged(quick("echo"))).await;
    user.wait_for_parts(&run).await;
    let failures = json!({"url": receiver.url(), "events": ["execution.failed"]});
    let id = subscribe(&user, &failures).await.text("id");
    let shown = user.get(&format!("/v1/executions/{run}/deliveries")).await.body;
    let delivery = shown["deliveries"][0]["id"].as_str().unwrap().to_owned();
    let redeliver = format!("/v1/executions/{run}/deliveries/{delivery}/redeliver");
    let recover = format!("/v1/subscriptions/{id}/recover");
    let since = json!({"since": "2026-01-01T00:00:00Z"}).to_string();

    let asked = async || {
        [
            test(&user, &id, &[]).await,
            user.send(Method::POST, &recover, &[], since.clone()).await,
            user.send(Method::POST, &redeliver, &[], "").await,
        ]
    };
    let answers: Vec<_> =
        [asked().await, asked().await, asked().await].into_iter().flatten().collect();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(refused.len() >= 9 - 2 * 4, "at most four a minute: {answers:?}");
    for refused in refused {
        let seconds: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&seconds), "{refused:?}");
        assert_eq!(refused.header("ratelimit-limit"), "4");
        assert!(refused.text("detail").contains("deliveries"), "{refused:?}");
    }
    assert_eq!(test(&other, &id, &[]).await.status, 202, "another key");
}

/// What a user may have sent is used up: news waits for its turn, which is its own, and nothing is lost.
#[tokio::test]
async fn beyond_a_users_budget_news_waits_for_its_turn() {
    let stack = Stack::connect().await;
    let (user, other) = tokio::join!(stack.user(ALL), stack.user(ALL));
    let receiver = Receiver::start().await;
    stack.fill(&format!("of#{}", user.id), Duration::from_mins(100)).await;

    let run = user.start(&json!({"callback_url": receiver.url()}).merged(runs_and_ends())).await;
    let part = "delivery#running#0#callback";
    let put_off = eventually("a delivery that is put off", async || {
        let delivery = stack.parts(&run).await.remove(part)?;
        (delivery["put_off"].as_u64() >= Some(1)).then_some(delivery)
    })
    .await;
    let wait = put_off["next_attempt_at"].as_i64().unwrap() - Timestamp::now().millis();
    assert!((99 * 60_000..=101 * 60_000).contains(&wait), "{wait}");
    assert_eq!(put_off["due_at"], put_off["next_attempt_at"], "sweep sends it");
    assert_eq!((&put_off["state"], &put_off["attempts"]), (&json!("pending"), &json!([])));
    assert_eq!((&put_off["attempt_count"], &put_off["stood"]), (&json!(0), &json!("user")));
    assert!(put_off.get("leased_until").is_none(), "{put_off}");
    assert!(stack.debts().await.contains(&(run.clone(), part.to_owned())));
    // Its end is told, whose start was counted.
    assert_eq!(receiver.wait_for(1).await[0].body()["type"], "execution.completed");
    // The others are not held up.
    let theirs = Receiver::start().await;
    other.start(&json!({"callback_url": theirs.url()}).merged(quick("echo"))).await;
    theirs.wait_for(1).await;
    assert_eq!(receiver.received().await.len(), 1, "the end");

    // At its turn it leaves, however many have come since.
    stack.make_due(&run, part).await;
    let told = async || (receiver.received().await.len() >= 2).then_some(());
    stack.sweep_until("what was put off", told).await;
    let parts = user.wait_for_parts(&run).await;
    let delivery = &parts[part];
    assert_eq!((&delivery["state"], &delivery["put_off"]), (&json!("delivered"), &json!(1)));
    assert_eq!(delivery["attempt_count"], 1);
}

#[tokio::test]
async fn what_would_wait_for_longer_than_a_day_ends_undelivered_and_says_so() {
    let stack = Stack::connect().await;
    let user = stack.user(ALL).await;
    let receiver = Receiver::start().await;
    let line = format!("of#{}", user.id);
    stack.fill(&line, Duration::from_hours(25)).await;
    let before = stack.parts(&format!("rate#deliveries-{line}")).await;

    let run = user.start(&json!({"callback_url": receiver.url()}).merged(runs_and_ends())).await;
    let parts = user.wait_for_parts(&run).await;
    eventually("its end", async || {
        let parts = stack.parts(&run).await;
        let delivery = parts.get("delivery#running#0#callback")?;
        let detail = delivery["attempts"][0]["detail"].as_str()?;
        assert_eq!(detail, "the queue for this user is longer than a day");
        (delivery["state"] == "undelivered").then_some(())
    })
    .await;
    assert_eq!(receiver.wait_for(1).await[0].body()["type"], "execution.completed");
    assert!(parts.contains_key("state"));
    let after = stack.parts(&format!("rate#deliveries-{line}")).await;
    assert_eq!(before, after, "a line that is too long grows no longer");
}

/// However many users have news for it.
#[tokio::test]
async fn a_host_gets_no_more_than_its_budget_of_all_users_together() {
    let stack = Stack::connect().await;
    let users = [stack.user(ALL).await, stack.user(ALL).await];
    let receiver = Receiver::start().await;
    // Another host, which no other test has callbacks at.
    let victim = receiver.url().replace("127.0.0.1", "localhost");
    stack.fill("to#localhost", Duration::from_mins(20)).await;
    let mut runs = Vec::new();
    for user in &users {
        let body = json!({"callback_url": victim}).merged(quick("echo"));
        runs.push((user, user.start(&body).await));
    }
    let part = "delivery#completed#0#callback";
    for (_, run) in &runs {
        eventually("a delivery that is put off", async || {
            let parts = stack.parts(run).await;
            (parts.get(part)?["put_off"].as_u64() >= Some(1)).then_some(())
        })
        .await;
    }
    assert!(receiver.received().await.is_empty());
    // They have room elsewhere.
    let elsewhere = Receiver::start().await;
    for user in &users {
        let body = json!({"callback_url": elsewhere.url()}).merged(quick("echo"));
        user.start(&body).await;
    }
    elsewhere.wait_for(2).await;

    for (_, run) in &runs {
        stack.make_due(run, part).await;
    }
    stack
        .sweep_until("what was put off", async || {
            (receiver.received().await.len() >= 2).then_some(())
        })
        .await;
    for (user, run) in runs {
        user.wait_for_parts(&run).await;
    }
    assert_eq!(receiver.received().await.len(), 2);
    // Others call this host, too.
    stack.empty("to#localhost").await;
}

/// As many as are accepted are made, and only those.
#[tokio::test]
async fn redeliveries_at_once_are_made_as_often_as_they_are_accepted() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let victim = Receiver::answering(&[410]).await;
    let run = user.start(&json!({"callback_url": victim.url()}).merged(quick("echo"))).await;
    user.wait_for_parts(&run).await;
    let shown = user.get(&format!("/v1/executions/{run}/deliveries")).await.body;
    let delivery = shown["deliveries"][0]["id"].as_str().unwrap();
    let path = format!("/v1/executions/{run}/deliveries/{delivery}/redeliver");
    let mut accepted = 0;
    for _ in 0..5 {
        let answers =
            join_all((0..5).map(|_| user.send(Method::POST, path.as_str(), &[], ""))).await;
        for answer in answers {
            assert!([202, 409].contains(&answer.status), "{answer:?}");
            accepted += usize::from(answer.status == 202);
        }
        user.wait_for_parts(&run).await;
    }
    assert!((5..25).contains(&accepted), "{accepted}");
    assert_eq!(victim.received().await.len(), 1 + accepted);
}

/// Each subscription's URL is the test of the one before, behind a proxy that nobody knows: one run
/// would be told six times over, five of them again, four of those again.
#[tokio::test]
async fn a_chain_of_subscriptions_through_our_own_api_multiplies_nothing() {
    let stack = Stack::connect().await;
    let user = stack.user(ALL).await;
    let victim = Receiver::start().await;
    let headers = json!({"x-api-key": user.key});
    let mut ids = vec![subscribe(&user, &json!({"url": victim.url()})).await.text("id")];
    let mut forwarders = Vec::new();
    for _ in 0..5 {
        let path = format!("/v1/subscriptions/{}/test", ids.last().unwrap());
        let (forwarder, url) = own_url(&stack, &path).await;
        let added = subscribe(&user, &json!({"url": url, "headers": headers})).await;
        ids.push(added.text("id"));
        forwarders.push(forwarder);
    }
    // The way is open: it is the header that tells a caller from a callback.
    assert_eq!(test(&user, &ids[0], &[]).await.status, 202);
    victim.wait_for(1).await;

    assert_eq!(test(&user, ids.last().unwrap(), &[]).await.status, 202);
    let run = user.start(&quick("echo")).await;
    user.wait_for(&run, "completed").await;
    for id in &ids {
        stack.wait_for_target(id).await;
    }
    let shown = user.get(&format!("/v1/executions/{run}/deliveries")).await.body;
    for delivery in shown["deliveries"].as_array().unwrap() {
        let is_victims = delivery["target"] == ids[0].as_str();
        assert_eq!(delivery["state"], if is_victims { "delivered" } else { "undelivered" });
        let attempts = delivery["attempts"].as_array().unwrap();
        for attempt in attempts.iter().filter(|_| !is_victims) {
            assert_eq!(attempt["status"], 422, "{delivery}");
            let detail = attempt["detail"].as_str().unwrap();
            assert!(detail.contains("led back to this API"), "{detail}");
        }
    }
    assert_eq!(victim.received().await.len(), 2, "the test and the news that it was to be told");
    let last = forwarders.last().unwrap();
    assert!(last.connections() >= 2, "what it was sent has gone its way");
}

#[tokio::test]
async fn urls_that_lead_to_this_api_and_requests_that_come_from_it_are_refused() {
    let stack = Stack::connect().await;
    let user = stack.user(ALL).await;
    let id = stack.output("ApiId");
    let own = format!("https://{id}.execute-api.eu-west-1.amazonaws.com/live/v1/executions");
    let refused = subscribe(&user, &json!({"url": own})).await;
    assert_eq!((refused.status, &refused.body["field"]), (422, &json!("url")), "{refused:?}");
    let body = json!({"callback_url": own}).merged(quick("echo"));
    let refused = user.post(&body).await;
    assert_eq!((refused.status, &refused.body["field"]), (422, &json!("callback_url")));
    for refused in [user.call("start_agent", body.clone()).await, tool(&user, &[], &body).await] {
        assert!(refused.body.to_string().contains("must not lead back"), "{refused:?}");
    }

    let receiver = Receiver::start().await;
    let body = json!({"callback_url": receiver.url()}).merged(quick("echo"));
    let run = user.start(&body).await;
    let ours = receiver.wait_for(1).await[0].header("cdn-loop").to_owned();
    assert!(ours.starts_with("agent-relay-"), "{ours}");
    user.wait_for_parts(&run).await;
    let shown = user.get(&format!("/v1/executions/{run}/deliveries")).await.body;
    let delivery = shown["deliveries"][0]["id"].as_str().unwrap();
    let failures = json!({"url": receiver.url(), "events": ["execution.failed"]});
    let subscription = subscribe(&user, &failures).await.text("id");
    let (test, redeliver) = (
        format!("/v1/subscriptions/{subscription}/test"),
        format!("/v1/executions/{run}/deliveries/{delivery}/redeliver"),
    );
    let looped = format!("cloudflare; loops=1,{ours}");
    let headers = [("cdn-loop", looped.as_str())];
    let before = stack.count_rows(&user).await;
    for (path, body) in [
        ("/v1/executions", quick("echo").to_string()),
        ("/v1/batches", json!({"items": [quick("echo")]}).to_string()),
        (test.as_str(), String::new()),
        (redeliver.as_str(), String::new()),
        (&format!("/v1/executions/{run}/rerun"), String::new()),
        (&format!("/v1/executions/{run}/redrive"), String::new()),
    ] {
        let refused = user.send(Method::POST, path, &headers, body).await;
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!("CDN-Loop")), "{path}");
    }
    let envelope = json!({"tool": "start_agent", "params": quick("echo")}).to_string();
    let refused = user.send(Method::POST, "/", &headers, envelope).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    let refused = tool(&user, &headers, &quick("echo")).await;
    assert!(refused.body.to_string().contains("led back to this API"), "{refused:?}");
    assert_eq!(stack.count_rows(&user).await, before);
    assert_eq!(receiver.received().await.len(), 1);

    // Two stacks may call each other, as long as it ends: each passes on what it was told.
    let other = "agent-relay-0123456789abcdef";
    let header = [("cdn-loop", other)];
    assert_eq!(user.post_with(&header, &body).await.status, 202);
    assert_eq!(user.send(Method::POST, &test, &header, "").await.status, 202);
    assert_eq!(user.send(Method::POST, &redeliver, &header, "").await.status, 202);
    let both = format!("{other}, {ours}");
    for post in &receiver.wait_for(4).await[1..] {
        assert_eq!(post.header("cdn-loop"), both);
    }
}

trait Merged {
    fn merged(self, more: Value) -> Value;
}

impl Merged for Value {
    /// With the members of another object.
    fn merged(mut self, more: Value) -> Value {
        self.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self
    }
}

/// A proxy that hands on what it gets, byte for byte.
struct Forwarder {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Forwarder {
    async fn start(to: &str) -> Self {
        let (to, connections) = (to.to_owned(), Arc::new(AtomicUsize::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let mut server = TcpStream::connect(&to).await.unwrap();
                // Whoever goes first ends it.
                tokio::spawn(async move {
                    drop(copy_bidirectional(&mut client, &mut server).await);
                });
            }
        });
        Self { address, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Who may start an agent and not view it learns nothing of its question, nor when it asks or ends.
#[tokio::test]
async fn who_may_not_view_learns_nothing_by_errors_or_by_waiting() {
    let stack = Stack::connect().await;
    let viewer = stack.user(ALL).await;
    let starter = with(&viewer, &["execute:*"]).await;
    let canceller = with(&viewer, &["cancel:*"]).await;

    let body = json!({"agent_name": "approval", "input_message": "x"}).to_string();
    let wait = [("prefer", "wait=5")];
    let started = starter.send(Method::POST, "/v1/executions", &wait, body).await;
    assert_eq!((started.status, started.body["questions"].is_null()), (202, true), "{started:?}");
    let run = started.text("execution_id");
    // Whoever is held has taken a slot of the user's.
    let slots = async || {
        let slots = (0..64).map(|slot| format!("wait#{}#{slot}", viewer.id));
        let found = join_all(slots.map(async |slot| stack.parts(&slot).await.len())).await;
        found.into_iter().sum::<usize>()
    };
    assert_eq!(slots().await, 0, "it is not held");
    viewer.send(Method::POST, "/v1/executions", &wait, quick("echo").to_string()).await;
    assert_eq!(slots().await, 1, "who may view is");
    let asked = viewer.wait_for(&run, "input_required").await;

    let path = format!("/v1/executions/{run}/input");
    let answer = async |user: &User, answer: Value| {
        let id = &asked.body["questions"][0]["id"];
        let body = json!({"answer": answer, "question_id": id}).to_string();
        user.send(Method::POST, &path, &[], body).await
    };
    for wrong in [json!(0), json!({}), json!({"approved": "yes"})] {
        let told = answer(&viewer, wrong.clone()).await;
        assert_eq!(told.status, 422);
        let told = answer(&starter, wrong).await;
        assert_eq!((told.status, &told.body["field"]), (422, &json!("answer")), "{told:?}");
        assert!(told.text("detail").ends_with("does not fit the agent's question"), "{told:?}");
    }
    assert_eq!(answer(&starter, json!({"approved": true})).await.status, 202);
    viewer.wait_for(&run, "completed").await;
    let again = answer(&starter, json!({"approved": false})).await;
    assert_eq!(again.text("detail"), "the agent does not accept this answer now");
    let cancel = format!("/v1/executions/{run}/cancel");
    let told = canceller.send(Method::POST, &cancel, &[], "").await;
    assert_eq!((told.status, told.text("detail")), (409, "the execution has ended".to_owned()));
}

/// What a key's subscription is answered, and whether it is told again, is a matter of this key.
#[tokio::test]
async fn who_may_view_a_run_neither_repeats_nor_reads_what_went_to_other_keys_subscriptions() {
    let stack = Stack::connect().await;
    let (owner, viewer) = (stack.user(ALL).await, ["view:*"]);
    let viewer = with(&owner, &viewer).await;
    let receiver = Receiver::answering(&[410, 200]).await;
    let id = subscribe(&owner, &json!({"url": receiver.url()})).await.text("id");
    let run = owner.start(&quick("echo")).await;
    owner.wait_for_parts(&run).await;

    let path = format!("/v1/executions/{run}/deliveries");
    let shown = async |user: &User| {
        let shown = user.get(&path).await.body["deliveries"].as_array().unwrap().clone();
        shown.into_iter().find(|it| it["target"] == id.as_str()).unwrap()
    };
    let own = eventually("the attempt", async || {
        Some(shown(&owner).await).filter(|it| it["state"] == "undelivered")
    })
    .await;
    assert!(own["attempts"][0]["detail"].as_str().unwrap().ends_with("not now"), "{own}");
    let others = shown(&viewer).await;
    assert_eq!((&others["state"], &others["attempts"][0]["detail"]), (&own["state"], &json!("")));
    let again = format!("{path}/{}/redeliver", own["id"].as_str().unwrap());
    assert_eq!(viewer.send(Method::POST, &again, &[], "").await.status, 403);
    assert_eq!(receiver.received().await.len(), 1);
}
