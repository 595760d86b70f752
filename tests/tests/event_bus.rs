//! The stack's event bus: every change of every run, for EventBridge subscribers.

use std::collections::HashMap;

use aws_sdk_eventbridge::{Client, types::Target};
use aws_sdk_sqs::types::QueueAttributeName::QueueArn;
use e2e::{Stack, eventually};
use serde_json::{Value, json};
use ulid::Ulid;

#[tokio::test]
async fn a_subscriber_gets_every_change_with_its_order() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let name = format!("subscriber-{}", Ulid::generate());
    let queue = stack.sqs.create_queue().queue_name(&name).send().await.unwrap().queue_url.unwrap();
    let attributes = stack.sqs.get_queue_attributes().queue_url(&queue).attribute_names(QueueArn);
    let arn = attributes.send().await.unwrap().attributes.unwrap()[&QueueArn].clone();
    let events = Client::new(&stack.aws);
    let bus = stack.output("EventBusName");
    let pattern = json!({
        "source": ["agent-relay"], "detail-type": ["Agent Execution Status Change"], "detail": {"user_id": [user.id]},
    });
    let rule = events.put_rule().name(&name).event_bus_name(bus).event_pattern(pattern.to_string());
    rule.send().await.unwrap();
    let target = Target::builder().id("queue").arn(arn).build().unwrap();
    events.put_targets().rule(&name).event_bus_name(bus).targets(target).send().await.unwrap();

    let body = json!({"agent_name": "echo", "input_message": "x", "parameters": {"wait_seconds": 1}, "tags": {"a": "b"}});
    let run = user.start(&body).await;
    user.wait_for(&run, "completed").await;

    let details = std::sync::Mutex::new(HashMap::<String, Value>::new());
    eventually("both events", async || {
        let messages = stack
            .sqs
            .receive_message()
            .queue_url(&queue)
            .max_number_of_messages(10)
            .send()
            .await
            .unwrap();
        for message in messages.messages.unwrap_or_default() {
            let event: Value = serde_json::from_str(&message.body.unwrap()).unwrap();
            let detail = event["detail"].clone();
            details.lock().unwrap().insert(detail["status"].as_str().unwrap().to_owned(), detail);
        }
        (details.lock().unwrap().len() == 2).then_some(())
    })
    .await;

    let details = details.into_inner().unwrap();
    let (running, completed) = (&details["running"], &details["completed"]);
    assert_eq!(completed["execution_id"], run.as_str());
    assert_eq!(
        (&completed["previous_status"], &completed["redrive_count"]),
        (&json!("running"), &json!(0))
    );
    assert!(completed["rank"].as_u64() > running["rank"].as_u64());
    assert_eq!(completed["tags"], json!({"a": "b"}));
    assert_ne!(completed["event_id"], running["event_id"]);
    assert_eq!(completed["completed_at"], user.monitor(&run).await.body["completed_at"]);
    let text = completed.to_string();
    assert!(!text.contains("result") && !text.contains("callback"), "{text}");
}
