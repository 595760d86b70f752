//! Batches: many starts as one, told once when all of them have ended.

use std::{collections::BTreeSet, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::{Answer, Stack, User, eventually, id, receiver::Receiver};
use relay::domain::{
    batch::{Batch, CLOSED_AFTER},
    batch_id::BatchId,
    time::Timestamp,
};
use reqwest::Method;
use serde_json::{Value, json};

const EVERYTHING: &[&str] = &["execute:*", "view:*", "cancel:*"];

async fn post(user: &User, headers: &[(&str, &str)], body: &Value) -> Answer {
    user.send(Method::POST, "/v1/batches", headers, body.to_string()).await
}

fn items(count: usize) -> Vec<Value> {
    (0..count)
        .map(|n| json!({"input_message": n.to_string(), "parameters": {"wait_seconds": 0}}))
        .collect()
}

/// The batch, once it is complete.
async fn completed(user: &User, batch: &str) -> Value {
    eventually(&format!("{batch} to be complete"), async || {
        let shown = user.get(&format!("/v1/batches/{batch}")).await;
        (shown.text("status") == "completed").then_some(shown.body)
    })
    .await
}

/// The runs of a batch, where its items have one.
fn runs(shown: &Value) -> Vec<Option<String>> {
    let items = shown["items"].as_array().unwrap().iter();
    items.map(|item| item["execution_id"].as_str().map(str::to_owned)).collect()
}

/// As it was before it was closed.
async fn reopen(stack: &Stack, batch: &str) {
    let update = stack.dynamodb.update_item().table_name(stack.output("ExecutionsTable"));
    update
        .key("execution_id", AttributeValue::S(batch.to_owned()))
        .key("part", AttributeValue::S("batch".to_owned()))
        .update_expression("REMOVE #items, completed_at, counts")
        .expression_attribute_names("#items", "items")
        .send()
        .await
        .unwrap();
}

async fn delete(stack: &Stack, id: &str, part: &str) {
    let delete = stack.dynamodb.delete_item().table_name(stack.output("ExecutionsTable"));
    delete
        .key("execution_id", AttributeValue::S(id.to_owned()))
        .key("part", AttributeValue::S(part.to_owned()))
        .send()
        .await
        .unwrap();
}

/// As if the request had died before it was answered, and before the start at `index` was accepted.
async fn forget(stack: &Stack, batch: &str, index: usize) {
    let row = stack.parts(batch).await["batch"].clone();
    let known: Batch = serde_json::from_value(row.clone()).unwrap();
    let run = known.items.as_ref().unwrap()[index].execution_id().unwrap().to_string();
    let item = stack.parts(&run).await["state"]["idempotency_item"].as_str().unwrap().to_owned();
    reopen(stack, batch).await;
    delete(stack, batch, "delivery#completed#0#callback").await;
    for (id, part) in
        [(item.as_str(), "idem"), (&run, "state"), (&run, "input"), (batch, &format!("open#{run}"))]
    {
        delete(stack, id, part).await;
    }
}

#[tokio::test]
async fn a_batch_is_started_watched_and_told_once() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let (receiver, subscriber) = (Receiver::start().await, Receiver::start().await);
    let body = json!({"url": subscriber.url(), "events": ["batch.completed"]}).to_string();
    assert_eq!(user.send(Method::POST, "/v1/subscriptions", &[], body).await.status, 201);
    let mut items = items(3);
    items.push(
        json!({"input_message": "x", "agent_name": "fail", "tags": {"own": "1", "of": "it"}}),
    );
    items.push(json!({"input_message": "x", "agent_name": "nobody"}));
    items.push(json!({"input_message": " "}));

    let body = json!({
        "agent_name": "echo", "items": items, "callback_url": receiver.url(),
        "callback_headers": {"x-own": "header"}, "tags": {"of": "all"},
        "priority": 60.0, "timeout_seconds": 600.0,
    });
    let accepted = post(&user, &[], &body).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let batch = accepted.text("batch_id");
    assert!(accepted.header("location").ends_with(&format!("/v1/batches/{batch}")));
    let refusals: Vec<_> = accepted.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["error"]["status"].as_u64())
        .collect();
    assert_eq!(refusals, [None, None, None, None, Some(404), Some(422)]);
    assert_eq!(accepted.body["items"][5]["error"]["field"], "input_message");

    let shown = completed(&user, &batch).await;
    assert_eq!(shown["items"], accepted.body["items"]);
    assert_eq!(
        (&shown["counts"], &shown["size"]),
        (&json!({"completed": 3, "failed": 1}), &json!(6))
    );
    let runs = runs(&shown);
    let [told, heard] = [receiver.wait_for(1).await, subscriber.wait_for(1).await];
    for told in [&told[0], &heard[0]] {
        let mut data = shown.clone();
        data.as_object_mut().unwrap().remove("items");
        assert_eq!(
            (&told.body()["type"], &told.body()["data"]),
            (&json!("batch.completed"), &data)
        );
    }
    assert!(told[0].is_signed_for(&user).await && told[0].header("x-own") == "header");
    let parts = user.wait_for_parts(&batch).await;
    assert_eq!(parts.keys().filter(|part| part.starts_with("open#")).count(), 0);
    assert!(parts["batch"]["ttl"].as_i64().unwrap() > Timestamp::now().seconds());

    // In order, and in pages.
    let mut results = Vec::new();
    let mut path = format!("/v1/batches/{batch}/results?limit=4");
    while !path.is_empty() {
        let page = user.get(&path).await.body;
        results.extend(page["results"].as_array().unwrap().clone());
        path = page["next_cursor"].as_str().map_or_else(String::new, |cursor| {
            format!("/v1/batches/{batch}/results?limit=4&cursor={cursor}")
        });
    }
    let seen: Vec<_> =
        results.iter().map(|it| (it["index"].clone(), it["status"].clone())).collect();
    let statuses = ["completed", "completed", "completed", "failed", "refused", "refused"];
    assert_eq!(seen, (0..6).map(|n| (json!(n), json!(statuses[n]))).collect::<Vec<_>>());
    assert_eq!(results[1]["result"], "1");
    assert_eq!(results[4]["error"]["status"], 404);
    let whole = user.get(&format!("/v1/batches/{batch}/results")).await.body;
    assert_eq!(
        (whole["results"].as_array(), &whole["next_cursor"]),
        (Some(&results), &Value::Null)
    );

    // Each is a run like any other.
    let run = user.monitor(runs[3].as_ref().unwrap()).await;
    assert_eq!(run.body["batch_id"], json!(batch));
    assert_eq!(run.body["tags"], json!({"own": "1", "of": "it"}));
    let input = stack.parts(runs[0].as_ref().unwrap()).await["input"]["input"].clone();
    let input: Value = serde_json::from_str(input.as_str().unwrap()).unwrap();
    assert_eq!(
        (&input["metadata"]["batch_id"], &input["metadata"]["tags"]),
        (&json!(batch), &json!({"of": "all"}))
    );
    let list = user.get(&format!("/v1/executions?batch_id={batch}&status=failed")).await.body;
    assert_eq!(list["executions"].as_array().unwrap().len(), 1);
    let mut listed = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = user.get(&format!("/v1/executions?batch_id={batch}&limit=3{cursor}")).await.body;
        listed.extend(
            page["executions"].as_array().unwrap().iter().map(|it| it["execution_id"].clone()),
        );
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(listed, runs.iter().flatten().map(|it| json!(it)).collect::<Vec<_>>());
    // Whoever asks again owes nothing again.
    let message = json!({"execution_id": batch, "is_batch": true}).to_string();
    let again = json!({"Records": [{"messageId": "1", "body": message, "attributes": {}}]});
    stack.invoke("LaunchFunctionName", &again).await.unwrap();
    assert_eq!(receiver.received().await.len(), 1);
    let deliveries = user.wait_for_parts(&batch).await;
    assert_eq!(deliveries.keys().filter(|part| part.starts_with("delivery#")).count(), 2);
}

#[tokio::test]
async fn a_repetition_completes_what_its_request_has_left_and_starts_nothing_twice() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let body = json!({"agent_name": "echo", "items": items(4), "callback_url": receiver.url()});
    let key = [("idempotency-key", "k")];

    let first = post(&user, &key, &body).await;
    let batch = first.text("batch_id");
    let replayed = post(&user, &key, &body).await;
    assert_eq!((replayed.status, &replayed.body), (202, &first.body));
    assert_eq!(replayed.header("idempotent-replayed"), "true");
    let mut other = body.clone();
    other["items"][0]["input_message"] = json!("other");
    let refused = post(&user, &key, &other).await;
    assert_eq!((refused.status, refused.text("field").as_str()), (422, "Idempotency-Key"));
    completed(&user, &batch).await;
    receiver.wait_for(1).await;

    forget(&stack, &batch, 2).await;
    let again = post(&user, &key, &body).await;
    assert_eq!((again.status, again.text("batch_id")), (202, batch.clone()), "{again:?}");
    let (before, after) = (runs(&first.body), runs(&again.body));
    assert_eq!((&before[..2], &before[3..]), (&after[..2], &after[3..]));
    assert_ne!(before[2], after[2]);
    assert_eq!(stack.count_rows(&user).await, 4);
    let shown = completed(&user, &batch).await;
    assert_eq!(runs(&shown), after);
    let machines = stack.executions_of("EchoMachineArn").await;
    let started = after.iter().chain(&before).flatten().collect::<BTreeSet<_>>();
    assert!(started.iter().all(|run| machines.get(*run) == Some(&1)), "each once");
}

#[tokio::test]
async fn a_batch_whose_request_has_died_is_closed_with_what_was_accepted() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let body = json!({"agent_name": "echo", "items": items(3), "callback_url": receiver.url()});
    let accepted = post(&user, &[], &body).await;
    let batch = accepted.text("batch_id");
    completed(&user, &batch).await;
    receiver.wait_for(1).await;
    user.wait_for_parts(&batch).await;

    forget(&stack, &batch, 0).await;
    let open = user.get(&format!("/v1/batches/{batch}")).await.body;
    assert_eq!((&open["status"], &open["counts"]), (&json!("running"), &json!({})));
    let cancelled = user.send(Method::POST, &format!("/v1/batches/{batch}/cancel"), &[], "").await;
    assert_eq!((cancelled.status, &cancelled.body["runs"]), (202, &json!(0)), "{cancelled:?}");
    owe(&stack, &batch).await;
    let shown = stack
        .sweep_until("the batch to be closed", async || {
            let shown = user.get(&format!("/v1/batches/{batch}")).await.body;
            (shown["status"] == "completed").then_some(shown)
        })
        .await;
    assert_eq!(shown["items"][0]["error"]["status"], 503);
    assert_eq!(runs(&shown)[1..], runs(&accepted.body)[1..]);
    assert_eq!(shown["counts"], json!({"completed": 2}));
    receiver.wait_for(2).await;
}

#[tokio::test]
async fn a_cancelled_batch_ends_and_is_told_as_any_other() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let body = json!({
        "agent_name": "slow", "items": items(2), "callback_url": receiver.url(), "delay_seconds": 600,
    });
    let batch = post(&user, &[], &body).await.text("batch_id");
    let shown = user.get(&format!("/v1/batches/{batch}")).await.body;
    assert_eq!(shown["counts"], json!({"scheduled": 2}));

    let path = format!("/v1/batches/{batch}/cancel");
    let cancelled = user.send(Method::POST, &path, &[], "").await;
    assert_eq!((cancelled.status, &cancelled.body["runs"]), (202, &json!(2)), "{cancelled:?}");
    let shown = completed(&user, &batch).await;
    assert_eq!(shown["counts"], json!({"cancelled": 2}));
    assert_eq!(receiver.wait_for(1).await[0].body()["data"]["counts"], json!({"cancelled": 2}));
    assert_eq!(user.send(Method::POST, &path, &[], "").await.body["runs"], 0);
}

#[tokio::test]
async fn a_batch_is_for_who_may_view_all_of_its_agents() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let agent = stack.agent("EchoMachineArn", json!({})).await;
    let with = async |permissions: &[&str]| User {
        key: stack.key(&user.id, permissions, json!({})).await,
        ..user.clone()
    };
    let view = format!("view:{agent}");
    let narrow = with(&["execute:*", "view:echo"]).await;
    let mut both = items(2);
    both[1]["agent_name"] = json!(agent);
    let receiver = Receiver::start().await;
    let mut body = json!({"agent_name": "echo", "items": both, "callback_url": receiver.url()});

    // A callback is a way of reading, of all of them.
    assert_eq!(post(&narrow, &[], &body).await.status, 403);
    assert_eq!(stack.count_rows(&user).await, 0);
    body.as_object_mut().unwrap().remove("callback_url");
    let batch = post(&narrow, &[], &body).await.text("batch_id");
    completed(&user, &batch).await;
    for path in [String::new(), "/results".to_owned()] {
        let path = format!("/v1/batches/{batch}{path}");
        assert_eq!(narrow.get(&path).await.status, 403, "{path}");
        assert_eq!(with(&["view:echo", &view]).await.get(&path).await.status, 200, "{path}");
        assert_eq!(stack.user(EVERYTHING).await.get(&path).await.status, 404, "{path}");
    }
    assert_eq!(narrow.get(&format!("/v1/executions?batch_id={batch}")).await.status, 403);
    let path = format!("/v1/batches/{batch}/cancel");
    assert_eq!(narrow.send(Method::POST, &path, &[], "").await.status, 403);
    // What may not be started is refused by itself, and hides nothing of the others.
    let one = with(&["execute:echo", "view:echo", "cancel:echo"]).await;
    let mut with_callback = body.clone();
    with_callback["callback_url"] = json!(receiver.url());
    let accepted = post(&one, &[], &with_callback).await;
    assert_eq!(accepted.body["items"][1]["error"]["status"], 403, "{accepted:?}");
    let batch = accepted.text("batch_id");
    assert_eq!(completed(&one, &batch).await["counts"], json!({"completed": 1}));
    assert_eq!(receiver.wait_for(1).await[0].body()["data"]["counts"], json!({"completed": 1}));
    let unknown = with(&["execute:*", "view:echo"]).await;
    let mut typo = body.clone();
    typo["items"][1]["agent_name"] = json!("ecoh");
    let accepted = post(&unknown, &[], &typo).await;
    assert_eq!(accepted.body["items"][1]["error"]["status"], 404, "{accepted:?}");
    completed(&unknown, &accepted.text("batch_id")).await;
    for wrong in ["trouble=true", "owner=somebody"] {
        let list = format!("/v1/executions?batch_id={batch}&{wrong}");
        assert_eq!(one.get(&list).await.status, 422, "{list}");
    }
    let starter = with(&["execute:echo", "view:*"]).await;
    let accepted = post(&starter, &[], &body).await;
    assert_eq!(accepted.body["items"][1]["error"]["status"], 403, "{accepted:?}");
    assert!(runs(&accepted.body)[0].is_some());
    completed(&user, &accepted.text("batch_id")).await;
    for unknown in ["mcp-batch-x", "mcp-echo-1", &BatchId::generate().to_string()] {
        assert_eq!(user.get(&format!("/v1/batches/{unknown}")).await.status, 404, "{unknown}");
    }
}

#[tokio::test]
async fn what_is_no_batch_is_refused_as_a_whole_and_counts_nothing() {
    let stack = Stack::connect().await;
    let user = stack.user_with(EVERYTHING, json!({"rate_limit": 5})).await;
    for (body, field) in [
        (json!({"agent_name": "echo", "items": []}), "items"),
        (json!({"agent_name": "echo", "items": items(101)}), "items"),
        (json!({"agent_name": "echo"}), "items"),
        (json!({"agent_name": "echo", "items": [{"input_message": 1}]}), "items[0].input_message"),
        (json!({"agent_name": "echo", "items": [{"message": "x"}]}), "items[0].message"),
        (
            json!({"agent_name": "echo", "items": items(1), "callback_url": "http://example.com"}),
            "callback_url",
        ),
        (
            json!({"agent_name": "echo", "items": items(1), "callback_headers": {"a": "b"}}),
            "callback_headers",
        ),
    ] {
        let refused = post(&user, &[], &body).await;
        assert_eq!((refused.status, refused.text("field").as_str()), (422, field), "{body:.200}");
    }
    // All of it, or nothing, within the starts of a minute. What would never fit into one is not put off.
    let refused = post(&user, &[], &json!({"agent_name": "echo", "items": items(6)})).await;
    assert_eq!((refused.status, refused.text("field")), (422, "items".to_owned()), "{refused:?}");
    assert!(refused.text("detail").contains("at most 5 items"), "{refused:?}");
    let accepted = post(&user, &[], &json!({"agent_name": "echo", "items": items(4)})).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let refused = post(&user, &[], &json!({"agent_name": "echo", "items": items(2)})).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    completed(&user, &accepted.text("batch_id")).await;
    assert_eq!(stack.count_rows(&user).await, 4);
    // What is wrong with each start is told of each.
    let other = stack.user(EVERYTHING).await;
    let refused = post(&other, &[], &json!({"items": items(2)})).await;
    assert_eq!(refused.body["items"][1]["error"]["field"], "agent_name", "{refused:?}");
    let shown = completed(&other, &refused.text("batch_id")).await;
    assert_eq!((&shown["counts"], &shown["size"]), (&json!({}), &json!(2)));
}

#[tokio::test]
async fn a_redriven_run_holds_its_batch_until_it_has_ended_again() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let mut two = items(1);
    two.push(json!({"input_message": "x", "agent_name": "fail"}));
    let body = json!({"agent_name": "slow", "items": two, "callback_url": receiver.url()});
    let batch = post(&user, &[], &body).await.text("batch_id");
    let shown = user.get(&format!("/v1/batches/{batch}")).await.body;
    let [Some(slow), Some(failed)] = &runs(&shown)[..] else { panic!("{shown}") };
    user.wait_for(failed, "failed").await;

    let event = async |run: &str, status: &str, redrive_count: u32| {
        let row = stack.executions().find(&id(run), relay::store::batch::Consistency::Strong).await;
        let row = row.unwrap().unwrap();
        let event = json!({"detail": {
            "executionArn": row.execution_arn(), "name": run, "status": status,
            "redriveCount": redrive_count, "startDate": Timestamp::now(), "output": "{}",
            "stopDate": (status != "RUNNING").then(Timestamp::now),
        }});
        stack.invoke("StatusFunctionName", &event).await.unwrap();
        user.wait_for(run, if status == "RUNNING" { "running" } else { "completed" }).await;
    };
    event(failed, "RUNNING", 1).await;
    assert!(stack.parts(&batch).await.contains_key(&format!("open#{failed}")));
    event(slow, "RUNNING", 0).await;
    event(slow, "SUCCEEDED", 0).await;
    let shown = user.get(&format!("/v1/batches/{batch}")).await;
    assert_eq!(shown.text("status"), "running", "{shown:?}");
    event(failed, "SUCCEEDED", 1).await;
    let shown = completed(&user, &batch).await;
    assert_eq!(shown["counts"], json!({"completed": 2}));
    // Once told, it stays as it was.
    event(failed, "RUNNING", 2).await;
    event(failed, "SUCCEEDED", 2).await;
    user.wait_for_parts(&batch).await;
    assert_eq!(receiver.received().await.len(), 1);
}

/// What of a batch could not be delivered is found, and delivered on request, as of a run.
#[tokio::test]
async fn an_undelivered_batch_is_listed_and_delivered_again() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::answering(&[410, 200]).await;
    let body = json!({"agent_name": "echo", "items": items(1), "callback_url": receiver.url()});
    let batch = post(&user, &[], &body).await.text("batch_id");
    completed(&user, &batch).await;
    let deliveries = format!("/v1/executions/{batch}/deliveries");
    let given_up = eventually("a delivery that was given up", async || {
        let shown = user.get(&deliveries).await.body["deliveries"][0].clone();
        (shown["state"] == "undelivered").then_some(shown)
    })
    .await;

    let trouble = "/v1/executions?trouble=true";
    let listed = user.get(trouble).await.body;
    assert_eq!(listed["executions"], json!([]), "{listed}");
    assert_eq!(listed["batches"][0]["batch_id"], batch.as_str(), "{listed}");
    let blind = stack.key(&user.id, &["execute:*"], json!({})).await;
    let blind = User { key: blind, ..user.clone() };
    let foreign = stack.user(EVERYTHING).await;
    let redeliver = format!("{deliveries}/{}/redeliver", given_up["id"].as_str().unwrap());
    for (other, status) in [(&blind, 403), (&foreign, 404)] {
        assert!(other.get(trouble).await.body.get("batches").is_none());
        assert_eq!(other.get(&deliveries).await.status, status);
        assert_eq!(other.send(Method::POST, &redeliver, &[], "").await.status, status);
    }

    assert_eq!(user.send(Method::POST, &redeliver, &[], "").await.status, 202);
    let told = receiver.wait_for(2).await;
    assert_eq!(told[1].body(), told[0].body());
    eventually("no trouble", async || {
        user.get(trouble).await.body.get("batches").is_none().then_some(())
    })
    .await;
}

/// A batch is told of when its last run has ended, of those that have ended long before, too.
#[tokio::test]
async fn a_run_that_has_ended_is_kept_while_others_of_its_batch_go_on() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let item = |wait: u32| {
        json!({
            "agent_name": "echo", "input_message": "x", "parameters": {"wait_seconds": wait},
        })
    };
    let body = json!({"items": [item(0), item(600)]});
    let batch = post(&user, &[], &body).await.text("batch_id");
    let shown = user.get(&format!("/v1/batches/{batch}")).await.body;
    let [Some(first), Some(last)] = &runs(&shown)[..] else { panic!("{shown}") };
    user.wait_for(first, "completed").await;
    user.wait_for_parts(first).await;

    // As days later.
    let soon = Timestamp::now().plus(Duration::from_hours(24)).seconds();
    for (id, part) in [(first.as_str(), "state"), (first, "output"), (&batch, "batch")] {
        expire(&stack, id, part, soon).await;
    }
    owe(&stack, &batch).await;
    stack.sweep().await;
    let ttl = async |id: &str, part: &str| stack.parts(id).await[part]["ttl"].as_i64().unwrap();
    let kept = ttl(first, "state").await;
    assert!(kept > Timestamp::now().plus(Duration::from_hours(72)).seconds());
    assert_eq!(ttl(first, "output").await, kept);
    assert!(ttl(first, "input").await > kept && ttl(&batch, "batch").await > kept);
    let cancelled =
        user.send(Method::POST, &format!("/v1/executions/{last}/cancel"), &[], "").await;
    assert_eq!(cancelled.status, 202, "{cancelled:?}");
    assert_eq!(completed(&user, &batch).await["counts"]["completed"], 1);
}

async fn expire(stack: &Stack, id: &str, part: &str, until: i64) {
    let update = stack.dynamodb.update_item().table_name(stack.output("ExecutionsTable"));
    update
        .key("execution_id", AttributeValue::S(id.to_owned()))
        .key("part", AttributeValue::S(part.to_owned()))
        .update_expression("SET #ttl = :until")
        .expression_attribute_names("#ttl", "ttl")
        .expression_attribute_values(":until", AttributeValue::N(until.to_string()))
        .send()
        .await
        .unwrap();
}

/// Has the sweep look after a batch now, whose request was made long ago.
async fn owe(stack: &Stack, batch: &str) {
    let number = |time: Timestamp| AttributeValue::N(time.millis().to_string());
    let (now, debt) = (Timestamp::now(), Batch::debt_of(&batch.parse().unwrap()));
    let update = stack.dynamodb.update_item().table_name(stack.output("ExecutionsTable"));
    update
        .key("execution_id", AttributeValue::S(batch.to_owned()))
        .key("part", AttributeValue::S("batch".to_owned()))
        .update_expression("SET debt = :debt, due_at = :now, requested_at = :before")
        .expression_attribute_values(":debt", AttributeValue::S(debt.as_str().to_owned()))
        .expression_attribute_values(":now", number(now))
        .expression_attribute_values(":before", number(now.minus(CLOSED_AFTER)))
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_page_of_large_results_is_as_long_as_an_answer_may_be() {
    const COUNT: usize = 20;

    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    // Nearly the largest, and much of it takes twice as much in the answer of a function.
    let output = vec![json!({"a": "b"}); 25_000];
    let definition = json!({
        "StartAt": "Answer", "States": {"Answer": {"Type": "Pass", "Result": output, "End": true}},
    });
    let machine = stack.create_machine(definition.to_string()).await;
    let agent = stack.agent("EchoMachineArn", json!({"state_machine_arn": machine})).await;
    let body = json!({"agent_name": agent, "items": items(COUNT)});
    let batch = post(&user, &[], &body).await.text("batch_id");
    completed(&user, &batch).await;

    let (mut pages, mut places, mut query) = (0, Vec::new(), String::new());
    loop {
        let page = user.get(&format!("/v1/batches/{batch}/results{query}")).await;
        let bytes = json!(page.body.to_string()).to_string().len();
        assert!(bytes < 6_000_000, "{bytes}");
        for item in page.body["results"].as_array().unwrap() {
            assert_eq!(item["result"].as_array().unwrap().len(), output.len());
            places.push(item["index"].as_u64().unwrap());
        }
        pages += 1;
        match page.body["next_cursor"].as_str() {
            Some(cursor) => query = format!("?cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(places, (0..COUNT as u64).collect::<Vec<_>>());
    assert_eq!(pages, 2);
}

/// Twenty at once, of a hundred each. Their requests are made a few at a time, as many as a gateway serves here. Still it
/// is more than the engine bears: functions time out before they have sent a hint, which a sweep then makes good.
#[cfg(feature = "all")]
#[tokio::test]
async fn many_large_batches_are_told_once_each() {
    use std::collections::BTreeMap;

    use futures_util::{StreamExt, stream};

    const BATCHES: usize = 20;

    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let batches = (0..BATCHES).map(async |number| {
        let body = json!({
            "agent_name": "echo", "items": items(100), "callback_url": receiver.url(),
        });
        let key = number.to_string();
        // One that is not answered in time is asked for again.
        eventually("a batch to be accepted", async || {
            let accepted = post(&user, &[("idempotency-key", &key)], &body).await;
            (accepted.status == 202).then(|| accepted.text("batch_id"))
        })
        .await
    });
    let batches: Vec<_> = stream::iter(batches).buffer_unordered(3).collect().await;
    let all: BTreeSet<_> = batches.iter().cloned().collect();
    assert_eq!(all.len(), BATCHES);
    for batch in &batches {
        let path = format!("/v1/batches/{batch}");
        let is_told = async || {
            let shown = user.get(&path).await;
            let is_complete = shown.status == 200 && shown.text("status") == "completed";
            let owes = stack.parts(batch).await.values().any(e2e::owes);
            (is_complete && !owes).then_some(shown.body)
        };
        let shown = stack.sweep_until(&format!("{batch} to be told"), is_told).await;
        assert_eq!(shown["counts"], json!({"completed": 100}));
    }
    // A POST whose function was killed is made again, with the same id.
    let posts = receiver.received().await;
    let told: BTreeMap<_, _> = posts.iter().map(|post| (post.header("webhook-id"), post)).collect();
    let told_of: BTreeSet<_> = told
        .values()
        .map(|post| post.body()["data"]["batch_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((told.len(), told_of), (BATCHES, all));
    println!("{} batches of 100, told by {} requests", told.len(), posts.len());
}
