//! Deliveries: retried by the schedule, one at a time, and never after a success.

use e2e::{Stack, User, eventually, receiver::Receiver};
use relay::queue::DeliveryMessage;
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
        parts
            .remove(DELIVERY)
            .filter(|delivery| delivery["state"] == state)
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
    let statuses: Vec<_> = delivery["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["status"].clone())
        .collect();
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
    let message = DeliveryMessage {
        execution_id: e2e::id(&id),
        part: DELIVERY.to_owned(),
    };
    let body = json!(message).to_string();
    let send = || async {
        let queue = stack.output("WebhookQueueUrl");
        stack
            .sqs
            .send_message()
            .queue_url(queue)
            .message_body(&body)
            .send()
            .await
            .unwrap();
    };
    // Some come before the delivery exists, some while it is attempted, some after.
    for _ in 0..5 {
        send().await;
    }
    delivery_in_state(&stack, &id, "delivered").await;
    for _ in 0..5 {
        send().await;
    }
    eventually("the queue to be empty", async || {
        is_empty(&stack).await.then_some(())
    })
    .await;

    assert_eq!(receiver.received().await.len(), 1);
    assert_eq!(stack.parts(&id).await[DELIVERY]["attempt_count"], 1);
}

async fn is_empty(stack: &Stack) -> bool {
    use aws_sdk_sqs::types::QueueAttributeName::{
        ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible,
    };

    let attributes = stack
        .sqs
        .get_queue_attributes()
        .queue_url(stack.output("WebhookQueueUrl"))
        .attribute_names(ApproximateNumberOfMessages)
        .attribute_names(ApproximateNumberOfMessagesNotVisible)
        .send()
        .await
        .unwrap()
        .attributes
        .unwrap();
    attributes.values().all(|count| count == "0")
}

#[tokio::test]
async fn a_message_that_cannot_be_read_goes_to_the_dead_letters_and_harms_no_other() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let receiver = Receiver::start().await;
    let bad = format!("bad {}", ulid::Ulid::generate());
    let queue = stack.output("WebhookQueueUrl");
    stack
        .sqs
        .send_message()
        .queue_url(queue)
        .message_body(&bad)
        .send()
        .await
        .unwrap();
    let id = run(&user, &receiver.url()).await;

    delivery_in_state(&stack, &id, "delivered").await;
    // A failed item comes back after its visibility timeout; nobody waits for that here.
    let event =
        json!({"Records": [{"messageId": "m-1", "body": bad}, {"messageId": "m-2", "body": "{}"}]});
    let answer = stack.invoke("WebhookFunctionName", &event).await.unwrap();
    assert_eq!(
        answer,
        json!({"batchItemFailures": [{"itemIdentifier": "m-1"}, {"itemIdentifier": "m-2"}]})
    );
}
