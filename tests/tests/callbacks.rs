//! Deliveries: retried by the schedule, one at a time, and never after a success.

use aws_sdk_sqs::types::QueueAttributeName::RedrivePolicy;
use e2e::{Stack, User, eventually, receiver::Receiver};
use futures_util::future::join_all;
use relay::aws::queue::DeliveryMessage;
use serde_json::{Value, json};

const DELIVERY: &str = "delivery#completed#0#callback";

async fn run(user: &User, url: &str) -> String {
    user.start(&json!({
        "agent_name": "echo", "input_message": "x", "parameters": {"wait_seconds": 0}, "callback_url": url,
    }))
    .await
}

async fn delivery_in_state(stack: &Stack, id: &str, state: &str) -> Value {
    eventually(&format!("the delivery of {id} to be {state}"), async || {
        let mut parts = stack.parts(id).await;
        parts.remove(DELIVERY).filter(|delivery| delivery["state"] == state)
    })
    .await
}

#[tokio::test]
async fn a_failed_delivery_is_repeated_with_the_same_id_until_it_is_taken() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let receiver = Receiver::answering(&[500, 409, 200]).await;
    let id = run(&user, &receiver.url()).await;

    let delivery = delivery_in_state(&stack, &id, "delivered").await;
    let statuses: Vec<_> =
        delivery["attempts"].as_array().unwrap().iter().map(|it| it["status"].clone()).collect();
    assert_eq!(statuses, [500, 409, 200]);
    assert_eq!(delivery["attempts"][0]["detail"], "not now");
    assert_eq!(delivery["attempt_count"], 3);
    assert!(delivery.get("due_at").is_none() && delivery.get("leased_until").is_none());

    let received = receiver.received().await;
    assert_eq!(received.len(), 3);
    for attempt in &received {
        assert_eq!(attempt.header("webhook-id"), delivery["webhook_id"]);
        assert_eq!(attempt.body(), received[0].body());
        assert!(attempt.is_signed_for(&user).await);
    }
}

#[tokio::test]
async fn an_exhausted_schedule_or_a_receiver_that_is_gone_ends_undelivered() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let failing = Receiver::answering(&[503]).await;
    let gone = Receiver::answering(&[410]).await;
    let exhausted = run(&user, &failing.url()).await;
    let unwanted = run(&user, &gone.url()).await;
    // Nothing listens there.
    let refused = run(&user, "http://127.0.0.1:1/").await;

    // The test stack's schedule has four steps, so there are five attempts.
    let delivery = delivery_in_state(&stack, &exhausted, "undelivered").await;
    assert_eq!(delivery["attempts"].as_array().unwrap().len(), 5);
    assert_eq!(failing.received().await.len(), 5);
    let delivery = delivery_in_state(&stack, &unwanted, "undelivered").await;
    assert_eq!(delivery["attempts"].as_array().unwrap().len(), 1);
    let delivery = delivery_in_state(&stack, &refused, "undelivered").await;
    assert_eq!(delivery["attempts"][0]["detail"], "cannot connect");
    assert!(delivery["attempts"][0].get("status").is_none());
    // A callback that cannot be delivered changes nothing about the run.
    assert_eq!(user.monitor(&exhausted).await.text("status"), "completed");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let receiver = Receiver::answering(&[307, 200]).await;
    let id = run(&user, &receiver.url()).await;

    let delivery = delivery_in_state(&stack, &id, "delivered").await;
    assert_eq!(delivery["attempts"][0]["status"], 307);
}

#[tokio::test]
async fn doubled_messages_make_no_second_post() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let receiver = Receiver::start().await;
    let id = run(&user, &receiver.url()).await;
    let batch = batch(&[message(&id), message(&id)]);
    let double = async || {
        let answers = join_all((0..4).map(|_| stack.invoke("WebhookFunctionName", &batch))).await;
        for answer in answers {
            assert_eq!(answer.unwrap(), json!({"batchItemFailures": []}));
        }
    };
    // Some come before the delivery exists, some while it is attempted, some after.
    double().await;
    double().await;
    delivery_in_state(&stack, &id, "delivered").await;
    double().await;

    assert_eq!(receiver.received().await.len(), 1);
    assert_eq!(stack.parts(&id).await[DELIVERY]["attempt_count"], 1);
}

fn message(id: &str) -> String {
    let message = DeliveryMessage { execution_id: e2e::id(id), part: DELIVERY.to_owned() };
    json!(message).to_string()
}

/// The event of an SQS trigger; each message's id is its place.
fn batch(bodies: &[String]) -> Value {
    let records = bodies
        .iter()
        .enumerate()
        .map(|(at, body)| json!({"messageId": at.to_string(), "body": body}));
    json!({"Records": records.collect::<Vec<_>>()})
}

#[tokio::test]
async fn a_message_that_cannot_be_read_fails_alone_until_it_is_a_dead_letter() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let receiver = Receiver::start().await;
    let id = run(&user, &receiver.url()).await;
    user.wait_for(&id, "completed").await;

    for function in ["WebhookFunctionName", "LaunchFunctionName"] {
        let event = batch(&["nonsense".to_owned(), message(&id), "{}".to_owned()]);
        let answer = stack.invoke(function, &event).await.unwrap();
        assert_eq!(
            answer,
            json!({"batchItemFailures": [{"itemIdentifier": "0"}, {"itemIdentifier": "2"}]})
        );
    }
    delivery_in_state(&stack, &id, "delivered").await;

    for queue in ["WebhookQueueUrl", "LaunchQueueUrl"] {
        let request = stack.sqs.get_queue_attributes().queue_url(stack.output(queue));
        let attributes =
            request.attribute_names(RedrivePolicy).send().await.unwrap().attributes.unwrap();
        let policy: Value = serde_json::from_str(&attributes[&RedrivePolicy]).unwrap();
        assert_eq!(policy["maxReceiveCount"].to_string().trim_matches('"'), "5");
    }
}
