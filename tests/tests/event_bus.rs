//! The stack's event bus: every change of every run, and what befalls subscriptions, for EventBridge's
//! subscribers.

use std::collections::HashMap;

use aws_sdk_cloudformation::{
    Client as CloudFormation,
    types::{Parameter, StackStatus},
};
use aws_sdk_eventbridge::{Client, types::Target};
use aws_sdk_sqs::types::QueueAttributeName::QueueArn;
use e2e::{Stack, eventually, page::Page, receiver::Receiver};
use reqwest::Method;
use serde_json::{Value, json};
use ulid::Ulid;

/// A queue that gets the events of this pattern.
async fn listen(stack: &Stack, pattern: &Value) -> String {
    let name = format!("subscriber-{}", Ulid::generate());
    let queue = stack.sqs.create_queue().queue_name(&name).send().await.unwrap().queue_url.unwrap();
    let attributes = stack.sqs.get_queue_attributes().queue_url(&queue).attribute_names(QueueArn);
    let arn = attributes.send().await.unwrap().attributes.unwrap()[&QueueArn].clone();
    let events = Client::new(&stack.aws);
    let bus = stack.output("EventBusName");
    let rule = events.put_rule().name(&name).event_bus_name(bus).event_pattern(pattern.to_string());
    rule.send().await.unwrap();
    let target = Target::builder().id("queue").arn(arn).build().unwrap();
    events.put_targets().rule(&name).event_bus_name(bus).targets(target).send().await.unwrap();
    queue
}

/// The details of the events that have come since the last time.
async fn received(stack: &Stack, queue: &str) -> Vec<Value> {
    let receive = stack.sqs.receive_message().queue_url(queue).max_number_of_messages(10);
    let messages = receive.send().await.unwrap().messages.unwrap_or_default().into_iter();
    let event = |body: String| serde_json::from_str::<Value>(&body).unwrap()["detail"].take();
    messages.map(|message| event(message.body.unwrap())).collect()
}

#[tokio::test]
async fn a_batch_that_is_complete_is_told() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let pattern = json!({
        "source": ["agent-relay"], "detail-type": ["Agent Batch Completed"], "detail": {"user_id": [user.id]},
    });
    let queue = listen(&stack, &pattern).await;
    let body = json!({"items": [
        {"agent_name": "fail", "input_message": "x"},
        {"agent_name": "echo", "input_message": "x", "parameters": {"wait_seconds": 0}},
    ]});
    let batch = user.send(Method::POST, "/v1/batches", &[], body.to_string()).await;

    let detail =
        eventually("the event", async || received(&stack, &queue).await.into_iter().next()).await;
    let schema = include_str!("../../infra/events/batch-completed.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    jsonschema::validate(&schema, &detail).unwrap();
    assert_eq!(detail["batch_id"], batch.body["batch_id"]);
    assert_eq!(detail["counts"], json!({"completed": 1, "failed": 1}));
    let page = Page::read("infra/events/README.md");
    for name in schema["properties"].as_object().unwrap().keys() {
        assert!(page.spans().contains(&name.as_str()), "{name}");
    }
}

#[tokio::test]
async fn a_subscription_that_is_disabled_is_told_to_whom_it_belongs() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let queue = listen(
        &stack,
        &json!({"source": ["agent-relay"], "detail-type": ["Agent Subscription Disabled"], "detail": {"user_id": [user.id]}}),
    )
    .await;
    let receiver = Receiver::answering(&[410]).await;
    let body = json!({"url": receiver.url(), "agent_name": "echo"}).to_string();
    let made = user.send(Method::POST, "/v1/subscriptions", &[], body).await;
    user.start(&json!({"agent_name": "echo", "input_message": "x"})).await;

    let detail =
        eventually("the event", async || received(&stack, &queue).await.into_iter().next()).await;
    let schema = include_str!("../../infra/events/subscription-disabled.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    jsonschema::validate(&schema, &detail).unwrap();
    let path = format!("/v1/subscriptions/{}", made.text("id"));
    let shown = eventually("its end", async || {
        Some(user.get(&path).await.body).filter(|it| it["disabled_at"].is_string())
    })
    .await;
    for name in
        ["key_id", "agent_name", "disabled_at", "disabled_reason", "failing_since", "failures"]
    {
        assert_eq!(detail[name], shown[name], "{name}");
    }
    assert_eq!((&detail["subscription_id"], &detail["host"]), (&shown["id"], &json!("127.0.0.1")));
    let page = Page::read("infra/events/README.md");
    for name in schema["properties"].as_object().unwrap().keys() {
        assert!(page.spans().contains(&name.as_str()), "{name}");
    }
}

#[tokio::test]
async fn a_subscriber_gets_every_change_with_its_order() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let pattern = json!({
        "source": ["agent-relay"], "detail-type": ["Agent Execution Status Change"], "detail": {"user_id": [user.id]},
    });
    let queue = listen(&stack, &pattern).await;

    let body = json!({"agent_name": "echo", "input_message": "x", "parameters": {"wait_seconds": 1}, "tags": {"a": "b"}});
    let run = user.start(&body).await;
    user.wait_for(&run, "completed").await;

    let details = std::sync::Mutex::new(HashMap::<String, Value>::new());
    eventually("both events", async || {
        for detail in received(&stack, &queue).await {
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

#[tokio::test]
async fn what_the_page_deploys_gets_every_end_and_its_patterns_choose_what_it_says() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let page = Page::read("infra/events/README.md");
    let formation = CloudFormation::new(&stack.aws);
    let name = format!("agent-news-{}", Ulid::generate());
    let [template, permission] = &page.code("yaml")[..] else { panic!("two blocks of YAML") };
    // What a function as the target needs is tried beside it.
    let permission = permission.replace("!Ref Function", stack.output("RotateFunctionName"));
    let template = template.replace("Outputs:", &format!("{permission}Outputs:"));
    let queue = deploy(&stack, &formation, &name, &template).await;

    let body = json!({
        "agent_name": "fail", "input_message": "x", "tags": {"priority": "high"},
    });
    let failed = user.start(&body).await;
    let body =
        json!({"agent_name": "echo", "input_message": "x", "parameters": {"wait_seconds": 0}});
    let completed = user.start(&body).await;
    let events = std::sync::Mutex::new(HashMap::<String, Value>::new());
    eventually("both ends", async || {
        let receive = stack.sqs.receive_message().queue_url(&queue).max_number_of_messages(10);
        for message in receive.send().await.unwrap().messages.unwrap_or_default() {
            let event: Value = serde_json::from_str(&message.body.unwrap()).unwrap();
            assert!(event["detail"]["completed_at"].is_string(), "no end: {event}");
            let run = event["detail"]["execution_id"].as_str().unwrap().to_owned();
            events.lock().unwrap().insert(run, event);
        }
        let events = events.lock().unwrap();
        (events.contains_key(&failed) && events.contains_key(&completed)).then_some(())
    })
    .await;
    formation.delete_stack().stack_name(&name).send().await.unwrap();
    let (failed, completed) = {
        let mut events = events.into_inner().unwrap();
        (events.remove(&failed).unwrap(), events.remove(&completed).unwrap())
    };

    let mut blocks = page.code("json").into_iter();
    let shown: Value = serde_json::from_str(&blocks.next().unwrap()).unwrap();
    for (name, value) in shown.as_object().unwrap() {
        assert!(*name == "detail" || completed[name] == *value, "{name}");
    }
    let fields = |event: &Value| -> Vec<_> {
        event["detail"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(fields(&shown), fields(&completed));
    let schema = include_str!("../../infra/events/status-change.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    jsonschema::validate(&schema, &shown["detail"]).unwrap();
    for name in schema["properties"].as_object().unwrap().keys() {
        assert!(page.spans().contains(&name.as_str()), "{name}");
    }

    let changed = |event: &Value, field: &str, value: &str| {
        let mut event = event.clone();
        event["detail"][field] = value.into();
        event
    };
    let researched = changed(&completed, "agent_name", "researcher");
    let asked = changed(&completed, "status", "input_required");
    let examples = [completed, researched, failed, asked];
    let events = Client::new(&stack.aws);
    let mut chosen = Vec::new();
    for pattern in blocks {
        let mut matches = Vec::new();
        for (index, event) in examples.iter().enumerate() {
            let test = events.test_event_pattern().event_pattern(&pattern);
            let tested = test.event(event.to_string()).send().await.unwrap();
            matches.extend(tested.result.then_some(index));
        }
        chosen.push(matches);
    }
    assert_eq!(chosen, [[1], [2], [3]]);
}

/// Deploys a page's template beside the stack; returns its queue.
async fn deploy(stack: &Stack, formation: &CloudFormation, name: &str, template: &str) -> String {
    let bus = Parameter::builder().parameter_key("EventBusName");
    let bus = bus.parameter_value(stack.output("EventBusName")).build();
    let create = formation.create_stack().stack_name(name).template_body(template);
    create.parameters(bus).send().await.unwrap();
    eventually("the stack of the page", async || {
        let described = formation.describe_stacks().stack_name(name).send().await.unwrap();
        let described = described.stacks.unwrap_or_default().remove(0);
        let status = described.stack_status.unwrap();
        assert!(
            [StackStatus::CreateInProgress, StackStatus::CreateComplete].contains(&status),
            "{status:?}: {:?}",
            described.stack_status_reason
        );
        let output = described.outputs.unwrap_or_default().into_iter().next()?;
        (status == StackStatus::CreateComplete).then(|| output.output_value.unwrap())
    })
    .await
}
