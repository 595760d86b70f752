//! Rows as released versions have written them go on working: whatever was under way when a stack was
//! upgraded ends, is told and can be looked at, by the functions of today.
//!
//! `tests/upgrade/<version>.json` holds rows of each kind in DynamoDB's JSON. Those of the version that is
//! about to be released are written by
//! `UPGRADE_WRITE=1 TEST_ARGS="-E binary(upgrade)" make test`, which holds nothing against them; those of a released one are never changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::PathBuf,
    time::Duration,
};

use aws_sdk_lambda::Client as Lambda;
use e2e::{
    Stack, User, eventually, id,
    page::root,
    receiver::{Received, Receiver},
};
use relay::{
    domain::{api_key::ApiKeyHash, time::Timestamp},
    store::{agents::Agents, api_keys::ApiKeys, item::Item, transitions::Claim},
};
use reqwest::Method;
use serde_json::{Value, json};
use ulid::Ulid;

const TABLES: [&str; 3] = ["ExecutionsTable", "AgentsTable", "ApiKeysTable"];
const ENDS: [&str; 2] = ["execution.completed", "execution.failed"];
/// In milliseconds, and a little more.
const YEAR: i64 = 367 * 24 * 60 * 60 * 1_000;
const ENDED: &str = "delivery#completed#0#callback";
/// The outputs of the stack that are in rows, and so differ from stack to stack.
const MACHINES: [&str; 3] = ["EchoMachineArn", "FailMachineArn", "ApprovalMachineArn"];

#[tokio::test]
async fn what_earlier_versions_have_written_goes_on() {
    let stack = Stack::connect().await;
    let folder = root().join("tests/upgrade");
    if env::var_os("UPGRADE_WRITE").is_some() {
        let rows = capture(&stack).await;
        fs::create_dir_all(&folder).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        fs::write(folder.join(format!("{version}.json")), rows).unwrap();
        return;
    }
    let mut versions: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    versions.sort();
    assert!(!versions.is_empty());
    for version in versions {
        println!("{}", version.display());
        go_on(&stack, &fs::read_to_string(version).unwrap()).await;
    }
}

/// Puts a version's rows into the tables, and has all of them go on.
async fn go_on(stack: &Stack, file: &str) {
    let receiver = Receiver::start().await;
    let file: Value = serde_json::from_str(file).unwrap();
    let user_id = file["user"].as_str().unwrap().to_owned();
    let subscription = file["subscription"].as_str().unwrap();
    let run = |name: &str| file["runs"][name].as_str().unwrap().to_owned();
    let user = User { stack: stack.clone(), id: user_id, key: new_key() };
    put_all(stack, &file, &words(&user, &[&receiver])).await;

    is_seen(&user, &run).await;
    let subscriptions = user.get("/v1/subscriptions").await;
    assert_eq!(subscriptions.body["subscriptions"][0]["id"], subscription);
    // What was asked for is known.
    let body = asked("echo", "completed");
    let again = user.post_with(&[("idempotency-key", "completed")], &body).await;
    assert_eq!((again.status, again.text("execution_id")), (202, run("completed")), "{again:?}");

    what_was_owed_is_paid(&user, &run).await;
    what_ran_goes_on(&user, &run).await;

    // And its owner goes on, too.
    let failed = user.get(&format!("/v1/executions/{}/deliveries", run("failed"))).await;
    let delivery = failed.body["deliveries"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/executions/{}/deliveries/{delivery}/redeliver", run("failed"));
    assert_eq!(user.send(Method::POST, &path, &[], "").await.status, 202);
    let path = format!("/v1/subscriptions/{subscription}");
    let since = json!({"since": "2026-01-01T00:00:00Z"}).to_string();
    let recovered = user.send(Method::POST, &format!("{path}/recover"), &[], since).await;
    assert_eq!((recovered.status, &recovered.body["recovered"]), (202, &json!(1)), "{recovered:?}");
    assert_eq!(user.send(Method::POST, &format!("{path}/test"), &[], "").await.status, 202);
    eventually("what was made again", async || {
        let heard: Vec<_> = receiver.received().await.iter().map(Received::body).collect();
        let of_failed = heard.iter().filter(|post| post["data"]["execution_id"] == run("failed"));
        (of_failed.count() == 2 && heard.iter().any(|post| post["type"] == "subscription.test"))
            .then_some(())
    })
    .await;
    for secret in ["/v1/webhook-secret/rotate", &format!("{path}/secret/rotate")] {
        let rotated = user.send(Method::POST, secret, &[], "").await;
        assert_eq!(rotated.status, 200, "{rotated:?}");
    }
    assert_eq!(user.send(Method::DELETE, &path, &[], "").await.status, 204);
    let new = user.start(&asked("echo", "new")).await;
    user.wait_for(&new, "completed").await;
}

/// All runs are shown as they stand.
async fn is_seen(user: &User, run: &impl Fn(&str) -> String) {
    let shown = user.get("/v1/executions?limit=100").await;
    for (name, status) in [
        ("asking", "input_required"),
        ("cancelled", "cancelled"),
        ("claimed", "queued"),
        ("completed", "completed"),
        ("failed", "failed"),
        ("presumed", "failed"),
        ("queued", "queued"),
        ("retried", "completed"),
        ("running", "running"),
    ] {
        let id = run(name);
        let shown = shown.body["executions"].as_array().unwrap().iter();
        let shown = shown.filter(|run| run["execution_id"] == id).map(|run| &run["status"]);
        assert_eq!(shown.collect::<Vec<_>>(), [status], "{name}");
        assert_eq!(user.monitor(&id).await.text("status"), status, "{name}");
        let results = user.results(&id).await;
        assert!(results.status == 200 || results.status == 409, "{results:?}");
        let deliveries = user.get(&format!("/v1/executions/{id}/deliveries")).await;
        assert_eq!(deliveries.status, 200, "{deliveries:?}");
    }
    assert_eq!(user.results(&run("completed")).await.body["result"], "completed");
    let trouble = user.get("/v1/executions?trouble=true").await.body.to_string();
    assert!(["failed", "presumed"].map(run).iter().all(|id| trouble.contains(id)), "{trouble}");
}

async fn what_was_owed_is_paid(user: &User, run: &impl Fn(&str) -> String) {
    let stack = &user.stack;
    for name in ["queued", "claimed"] {
        let id = run(name);
        stack.make_due(&id, "state").await;
        let told =
            async || (stack.parts(&id).await.get(ENDED)?["state"] == "delivered").then_some(());
        stack.sweep_until(&format!("the callback of what was {name}"), told).await;
        assert_eq!(user.monitor(&id).await.text("status"), "completed");
    }

    let retried = run("retried");
    stack.make_due(&retried, ENDED).await;
    let told = async || {
        stack.parts(&retried).await.remove(ENDED).filter(|part| part["state"] == "delivered")
    };
    let after = stack.sweep_until("the callback that is retried", told).await;
    // Four had failed. Its time comes seconds after it was put there, so the sweep of another test may
    // have been first.
    assert_eq!(after["attempts"].as_array().unwrap().len(), 5);

    let presumed = run("presumed");
    stack.make_due(&presumed, "state").await;
    let looked =
        async || stack.parts(&presumed).await["state"].get("due_at").is_none().then_some(());
    stack.sweep_until("the look at a presumed end", looked).await;
}

/// Step Functions knows these runs, and tells how they go on.
async fn what_ran_goes_on(user: &User, run: &impl Fn(&str) -> String) {
    let (running, asking) = (run("running"), run("asking"));
    for (id, machine) in [(&running, "EchoMachineArn"), (&asking, "ApprovalMachineArn")] {
        let message = json!([{"role": "user", "content": "Go on."}]);
        let input = json!({"messages": message, "parameters": {"wait_seconds": 0}});
        let start = user.stack.step_functions.start_execution();
        let start = start.state_machine_arn(user.stack.output(machine)).name(id.as_str());
        start.input(input.to_string()).send().await.unwrap();
    }
    user.wait_for(&running, "completed").await;
    user.wait_for_parts(&running).await;

    let questions = eventually("another question", async || {
        let questions = user.monitor(&asking).await.body["questions"].as_array()?.clone();
        (questions.len() == 2).then_some(questions)
    })
    .await;
    for question in questions {
        let path = format!("/v1/executions/{asking}/input");
        let answer = json!({"question_id": question["id"], "answer": {"approved": true}});
        let answered = user.send(Method::POST, &path, &[], answer.to_string()).await;
        assert_eq!(answered.status, 202, "{answered:?}");
    }
    user.wait_for(&asking, "completed").await;
    assert_eq!(user.results(&asking).await.body["result"], "Approved.");
}

fn new_key() -> String {
    format!("relay_{}{}", Ulid::generate(), Ulid::generate())
}

fn asked(agent: &str, message: &str) -> Value {
    json!({
        "agent_name": format!("upgraded-{agent}"), "input_message": message,
        "parameters": {"wait_seconds": 0}, "tags": {"upgraded": "yes"},
    })
}

/// What is in the rows of one stack alone, and what stands for it in the file.
fn words(user: &User, receivers: &[&Receiver]) -> Vec<(String, String)> {
    let machines = MACHINES.map(|name| (user.stack.output(name).to_owned(), name.to_owned()));
    let mut words = machines.to_vec();
    words.push((ApiKeyHash::of(&user.key).to_hex(), "key".to_owned()));
    words.extend(receivers.iter().map(|receiver| (receiver.url(), "receiver".to_owned())));
    words
}

async fn put_all(stack: &Stack, file: &Value, words: &[(String, String)]) {
    let captured_at = file["captured_at"].as_i64().unwrap();
    let mut kinds = BTreeSet::new();
    for table in TABLES {
        for item in file["items"][table].as_array().unwrap() {
            let mut item = item.clone();
            put_forward(&mut item, captured_at);
            let put_in = |text: String, (word, name): &(String, String)| {
                text.replace(&format!("{{{{{name}}}}}"), word)
            };
            let text = words.iter().fold(item.to_string(), put_in);
            assert!(!text.contains("{{"), "{text}");
            let item: serde_dynamo::Item = serde_json::from_str(&text).unwrap();
            let item = Item::from(item);
            kinds.insert(kind(table, &item));
            let put = stack.dynamodb.put_item().table_name(stack.output(table));
            put.set_item(Some(item)).send().await.unwrap();
        }
    }
    let all = [
        "AgentsTable",
        "ApiKeysTable",
        "callback",
        "count",
        "delivery",
        "generation",
        "idem",
        "input",
        "output",
        "question",
        "state",
        "sub",
        "undelivered",
    ];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

/// What kind of row this is.
fn kind(table: &str, item: &Item) -> String {
    let text = |name: &str| item.get(name).and_then(|it| it.as_s().ok()).map(String::as_str);
    let (Some(id), Some(part)) = (text("execution_id"), text("part")) else {
        return table.to_owned();
    };
    let kind = if id.starts_with("undelivered#") { id } else { part };
    kind.split(['#', '_']).next().unwrap_or_default().to_owned()
}

/// Has the times in an item be as long ago as they were, or will be, when it was written.
fn put_forward(value: &mut Value, captured_at: i64) {
    let now = Timestamp::now().millis();
    let ahead = |digits: &str| {
        let number: i64 = digits.parse().ok()?;
        let is_near = |number: i64| (number - captured_at).abs() < YEAR;
        if is_near(number) {
            Some(number + now - captured_at)
        } else {
            is_near(number * 1_000).then(|| number + (now - captured_at) / 1_000)
        }
    };
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(digits) if name == "N" => {
                        if let Some(later) = ahead(digits) {
                            *digits = later.to_string();
                        }
                    }
                    // The part of what was given up begins with its time.
                    Value::String(text) if name == "S" => {
                        if let Some((millis, rest)) = text.split_once("#msg_")
                            && let Some(later) = ahead(millis)
                        {
                            *text = format!("{later}#msg_{rest}");
                        }
                    }
                    value => put_forward(value, captured_at),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| put_forward(item, captured_at)),
        _ => {}
    }
}

/// A start that is called back there.
fn to(receiver: &Receiver, mut body: Value, events: &[&str]) -> Value {
    body["callback_url"] = json!(receiver.url());
    body["callback_headers"] = json!({"x-upgraded": "yes"});
    body["callback_events"] = json!(events);
    body
}

/// Waits until a run has ended and all its deliveries are in this state.
async fn wait_for_deliveries(stack: &Stack, run: &str, state: &str) {
    let ended = async || {
        let parts = stack.parts(run).await;
        let mut deliveries = parts.values().filter(|part| part["webhook_id"].is_string());
        (parts["state"]["completed_at"].is_u64() && deliveries.all(|it| it["state"] == state))
            .then_some(())
    };
    eventually(&format!("{run} to be {state}"), ended).await;
}

/// A run that failed, of which nobody was told: its callback was refused, and so was a subscription, which
/// is disabled by its 410, and enabled again.
async fn failed(user: &User, gone: &Receiver, refuses: &Receiver) -> (String, String) {
    let body = json!({"url": gone.url(), "headers": {"x-upgraded": "yes"}}).to_string();
    let subscription = user.send(Method::POST, "/v1/subscriptions", &[], body).await.text("id");
    let failed = user.start(&to(refuses, asked("fail", "failed"), &ENDS)).await;
    wait_for_deliveries(&user.stack, &failed, "undelivered").await;
    let path = format!("/v1/subscriptions/{subscription}");
    eventually("its end", async || {
        user.get(&path).await.body["disabled_at"].is_string().then_some(())
    })
    .await;
    let enabled = user.send(Method::POST, &format!("{path}/enable"), &[], "").await;
    assert_eq!(enabled.status, 200, "{enabled:?}");
    for secret in ["/v1/webhook-secret/rotate", &format!("{path}/secret/rotate")] {
        assert_eq!(user.send(Method::POST, secret, &[], "").await.status, 200);
    }
    (subscription, failed)
}

/// Runs in each state in which a run is that was launched.
async fn launched(user: &User, well: &Receiver, busy: &Receiver) -> BTreeMap<&'static str, String> {
    let key = [("idempotency-key", "completed")];
    let completed = user.post_with(&key, &asked("echo", "completed")).await.text("execution_id");
    wait_for_deliveries(&user.stack, &completed, "delivered").await;
    let presumed = user.start(&to(well, asked("missing", "presumed"), &ENDS)).await;
    user.wait_for(&presumed, "failed").await;
    let long = |agent: &str, message: &str| {
        let mut body = asked(agent, message);
        body["parameters"]["wait_seconds"] = json!(3600);
        body["timeout_seconds"] = json!(7200);
        to(well, body, &["execution.running", "execution.input_required", "execution.completed"])
    };
    let running = user.start(&long("echo", "running")).await;
    let cancelled = user.start(&long("echo", "cancelled")).await;
    let asking = user.start(&long("approval", "asking")).await;
    user.wait_for(&running, "running").await;
    user.wait_for(&cancelled, "running").await;
    user.wait_for(&asking, "input_required").await;
    user.send(Method::POST, &format!("/v1/executions/{cancelled}/cancel"), &[], "").await;
    user.wait_for(&cancelled, "cancelled").await;

    let retried = user.start(&to(busy, asked("echo", "retried"), &ENDS)).await;
    // Its next pause is long enough to read all of this.
    eventually("pauses", async || {
        let part = user.stack.parts(&retried).await.remove(ENDED)?;
        (part["attempts"].as_array()?.len() >= 4 && part.get("leased_until").is_none())
            .then_some(())
    })
    .await;
    BTreeMap::from([
        ("asking", asking),
        ("cancelled", cancelled),
        ("completed", completed),
        ("presumed", presumed),
        ("retried", retried),
        ("running", running),
    ])
}

/// The rows of each table that mention one of these, in a fixed order, so that two captures can be compared.
async fn rows(stack: &Stack, of_these: &[&str]) -> BTreeMap<&'static str, Vec<Value>> {
    let mut items = BTreeMap::new();
    for table in TABLES {
        let rows = stack.dynamodb.scan().table_name(stack.output(table)).consistent_read(true);
        let mut rows = rows.into_paginator().items().send();
        let mut of_table = BTreeMap::new();
        while let Some(row) = rows.next().await {
            let row = serde_json::to_value(serde_dynamo::Item::from(row.unwrap())).unwrap();
            let text = row.to_string();
            let is_counter = text.contains("\"rate#") || text.contains("\"wait#");
            if !is_counter && of_these.iter().any(|it| text.contains(it)) {
                of_table.insert(text, row);
            }
        }
        items.insert(table, of_table.into_values().collect::<Vec<_>>());
    }
    items
}

/// Has the stack write rows of each kind, and returns them.
async fn capture(stack: &Stack) -> String {
    let (key, user_id) = (new_key(), format!("user-{}", Ulid::generate()));
    let row = json!({
        "user_id": user_id, "permissions": ["execute:*", "view:*", "cancel:*", "manage:*"],
        "rate_limit": 1_000, "created_at": Timestamp::now(),
        "expires_at": Timestamp::now().plus(Duration::from_hours(24 * 90)),
    });
    let keys = ApiKeys::new(stack.dynamodb.clone(), stack.output("ApiKeysTable").to_owned());
    keys.put(&ApiKeyHash::of(&key), &serde_json::from_value(row).unwrap()).await.unwrap();
    let user = User { stack: stack.clone(), id: user_id, key };
    let (well, gone, busy) = tokio::join!(
        Receiver::start(),
        Receiver::answering(&[410, 200]),
        Receiver::answering(&[503])
    );
    let agents = Agents::new(stack.dynamodb.clone(), stack.output("AgentsTable").to_owned());
    let missing = format!("{}-missing", stack.output("EchoMachineArn"));
    for (name, machine) in [
        ("echo", stack.output("EchoMachineArn")),
        ("fail", stack.output("FailMachineArn")),
        ("approval", stack.output("ApprovalMachineArn")),
        ("missing", &missing),
    ] {
        let agent = json!({
            "agent_name": format!("upgraded-{name}"), "status": "active", "state_machine_arn": machine,
            "description": "An agent.", "version": "1.0.0", "tools": ["echo"], "llm_provider": "example",
            "llm_model": "example-1", "cost_estimate": 0.01, "parameters_schema": {"type": "object"},
        });
        agents.put(&serde_json::from_value(agent).unwrap()).await.unwrap();
    }
    let refuses = Receiver::answering(&[410]).await;
    let (subscription, failed) = failed(&user, &gone, &refuses).await;
    let mut runs = launched(&user, &well, &busy).await;

    // Nobody launches these.
    let launch = Lambda::new(&stack.aws);
    let mappings = launch.list_event_source_mappings();
    let mappings = mappings.function_name(stack.output("LaunchFunctionName")).send().await.unwrap();
    let mapping = mappings.event_source_mappings()[0].uuid().unwrap();
    launch.update_event_source_mapping().uuid(mapping).enabled(false).send().await.unwrap();
    let queued = user.start(&to(&well, asked("echo", "queued"), &ENDS)).await;
    let claimed = user.start(&to(&well, asked("echo", "claimed"), &ENDS)).await;
    let claim = stack.executions().claim(&id(&claimed)).await.unwrap();
    assert!(matches!(claim, Claim::Claimed(..)), "{claim:?}");
    runs.extend([("claimed", claimed), ("failed", failed), ("queued", queued)]);

    let mut of_these: Vec<_> = runs.values().map(String::as_str).collect();
    of_these.extend([&user.id, subscription.as_str(), "upgraded-"]);
    let items = rows(stack, &of_these).await;
    launch.update_event_source_mapping().uuid(mapping).enabled(true).send().await.unwrap();
    let file = json!({
        "captured_at": Timestamp::now(), "user": user.id, "subscription": subscription, "runs": runs,
        "items": items,
    });
    let text = serde_json::to_string_pretty(&file).unwrap();
    let take_out = |text: String, (word, name): &(String, String)| {
        text.replace(word, &format!("{{{{{name}}}}}"))
    };
    words(&user, &[&well, &gone, &busy, &refuses]).iter().fold(text, take_out)
}
