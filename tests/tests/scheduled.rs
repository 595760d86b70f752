//! Starts that are delayed: launched at their time, and not before it.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::{Answer, Stack};
use relay::domain::time::Timestamp;
use serde_json::{Value, json};

const DAY: Duration = Duration::from_hours(24);

fn body(fields: &Value) -> Value {
    let mut body =
        json!({"agent_name": "echo", "input_message": "a", "parameters": {"wait_seconds": 0}});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

fn time(answer: &Answer, field: &str) -> Timestamp {
    Timestamp::parse_rfc3339(&answer.text(field)).unwrap()
}

#[tokio::test]
async fn a_delayed_start_is_scheduled_until_its_time() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let start_at = Timestamp::now().plus(Duration::from_secs(4)).rfc3339();
    let ids = [
        user.start(&body(&json!({"delay_seconds": 4}))).await,
        user.start(&body(&json!({"start_at": start_at}))).await,
    ];
    for id in &ids {
        let run = user.monitor(id).await;
        assert_eq!((run.text("status").as_str(), &run.body["progress"]), ("scheduled", &json!(0)));
    }
    let listed = user.get("/v1/executions?status=scheduled").await;
    assert_eq!(listed.body["executions"].as_array().unwrap().len(), 2);
    let listed = user.get("/v1/executions?status=queued").await;
    assert_eq!(listed.body["executions"], json!([]));

    for id in &ids {
        let run = user.wait_for(id, "completed").await;
        assert!(time(&run, "started_at") >= time(&run, "start_at"), "{run:?}");
    }
    // A time that has passed is no delay, and neither is none.
    for fields in [json!({"delay_seconds": 0}), json!({"start_at": "2026-01-31T09:00:00+01:00"})] {
        let run = user.monitor(&user.start(&body(&fields)).await).await;
        assert!(run.text("status") != "scheduled" && run.body.get("start_at").is_none(), "{run:?}");
    }
}

#[tokio::test]
async fn a_start_that_is_days_ahead_is_launched_by_sweep_and_keeps_all_its_parts_until_then() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let start_at = Timestamp::now().plus(DAY * 29);
    let fields = json!({
        "start_at": start_at.rfc3339(), "timeout_seconds": 60, "queue_timeout_seconds": 30,
        "callback_url": "https://127.0.0.1:1/",
    });
    let key = [("idempotency-key", "k")];
    let id = user.post_with(&key, &body(&fields)).await.text("execution_id");

    let parts = stack.parts(&id).await;
    let state = &parts["state"];
    let after = |field: &str| {
        let at = Timestamp::from_millis(state[field].as_i64().unwrap());
        at.millis() - start_at.millis()
    };
    assert_eq!((after("deadline"), after("launch_before")), (60_000, 30_000));
    assert_eq!(after("due_at"), -600_000, "the message is sent ten minutes ahead");
    let item = stack.parts(state["idempotency_item"].as_str().unwrap()).await;
    for part in [&parts["input"], &parts["callback"], &item["idem"]] {
        assert!(part["ttl"].as_i64().unwrap() > start_at.plus(DAY).seconds());
    }

    // A message that comes too early changes nothing.
    let early = json!({"Records": [{
        "messageId": "1", "body": json!({"execution_id": id}).to_string(), "attributes": {},
    }]});
    let answer = stack.invoke("LaunchFunctionName", &early).await.unwrap();
    assert_eq!(answer, json!({"batchItemFailures": []}));
    assert_eq!(stack.parts(&id).await["state"], *state);

    // Its time is near.
    let soon = Timestamp::now().plus(Duration::from_secs(3));
    let number = |time: Timestamp| AttributeValue::N(time.millis().to_string());
    let update = stack.dynamodb.update_item().table_name(stack.output("ExecutionsTable"));
    let moved = update
        .key("execution_id", AttributeValue::S(id.clone()))
        .key("part", AttributeValue::S("state".to_owned()))
        .update_expression("SET start_at = :soon, launch_before = :late, deadline = :late")
        .expression_attribute_values(":soon", number(soon))
        .expression_attribute_values(":late", number(soon.plus(DAY)));
    moved.send().await.unwrap();
    stack.make_due(&id, "state").await;
    let run = stack
        .sweep_until(&format!("{id} to complete"), async || {
            let run = user.monitor(&id).await;
            (run.text("status") == "completed").then_some(run)
        })
        .await;
    assert!(time(&run, "started_at") >= soon, "{run:?}");
}

#[tokio::test]
async fn a_scheduled_run_is_cancelled_at_once_and_never_starts() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*", "cancel:*"]).await;
    let id = user.start(&body(&json!({"delay_seconds": 2_592_000}))).await;

    let path = format!("/v1/executions/{id}/cancel");
    assert_eq!(user.send(reqwest::Method::POST, &path, &[], "").await.status, 202);

    user.wait_for(&id, "cancelled").await;
    user.wait_for_parts(&id).await;
    assert!(!stack.executions_of("EchoMachineArn").await.contains_key(&id));
}

#[tokio::test]
async fn a_time_that_cannot_be_is_refused_by_its_field() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let later = Timestamp::now().plus(DAY * 31).rfc3339();
    for (fields, field) in [
        (json!({"delay_seconds": 2_592_001}), "delay_seconds"),
        (json!({"delay_seconds": -1}), "delay_seconds"),
        (json!({"delay_seconds": 1.5}), "delay_seconds"),
        (json!({"start_at": "tomorrow"}), "start_at"),
        (json!({"start_at": "1767225600250"}), "start_at"),
        (json!({"start_at": later}), "start_at"),
        (json!({"start_at": "2026-01-31T09:00:00Z", "delay_seconds": 1}), "start_at"),
    ] {
        let refused = user.post(&body(&fields)).await;
        assert_eq!((refused.status, refused.text("field").as_str()), (422, field), "{fields}");
    }
    assert_eq!(stack.count_rows(&user).await, 0);
}
