//! Subscriptions and signing secrets.

use e2e::{Stack, User, eventually, receiver::Receiver};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

const EVERYTHING: &[&str] = &["execute:*", "view:*", "manage:*"];

async fn subscribe(user: &User, body: &Value) -> String {
    let answer = user.send(Method::POST, "/v1/subscriptions", &[], body.to_string()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.text("id")
}

#[tokio::test]
async fn each_matching_event_is_one_delivery_of_its_own() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let other = stack.user(EVERYTHING).await;
    let (all, failures, assistant, callback, theirs) = tokio::join!(
        Receiver::start(),
        Receiver::start(),
        Receiver::start(),
        Receiver::start(),
        Receiver::start()
    );
    let headers = json!({"Authorization": "Bearer of-the-test"});
    let first = subscribe(&user, &json!({"url": all.url(), "headers": headers})).await;
    subscribe(&user, &json!({"url": failures.url(), "events": ["execution.failed"]})).await;
    subscribe(&user, &json!({"url": assistant.url(), "agent_name": "assistant"})).await;
    subscribe(&other, &json!({"url": theirs.url()})).await;

    let quick = json!({"wait_seconds": 0});
    let run = user
        .start(&json!({"agent_name": "echo", "input_message": "x", "parameters": quick, "callback_url": callback.url()}))
        .await;
    user.wait_for(&run, "completed").await;
    let failed = user.start(&json!({"agent_name": "fail", "input_message": "x"})).await;
    user.wait_for(&failed, "failed").await;

    let received = all.wait_for(2).await;
    let completed = received.iter().find(|it| it.body()["type"] == "execution.completed").unwrap();
    assert_eq!(completed.body()["data"], user.results(&run).await.body);
    assert_eq!(completed.header("authorization"), "Bearer of-the-test");
    assert!(completed.is_signed_for(&user).await);
    assert_eq!(failures.wait_for(1).await[0].body()["data"]["execution_id"], failed.as_str());
    assert_ne!(callback.wait_for(1).await[0].header("webhook-id"), completed.header("webhook-id"));

    let shown = user.get(&format!("/v1/executions/{run}/deliveries")).await.body;
    let mut targets: Vec<_> = shown["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["target"].as_str().unwrap().to_owned())
        .collect();
    targets.sort();
    assert_eq!(targets, ["callback".to_owned(), first]);
    assert!(assistant.received().await.is_empty() && theirs.received().await.is_empty());
}

#[tokio::test]
async fn subscriptions_are_their_owners_and_can_be_tried_and_removed() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let other = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let body = json!({"url": receiver.url(), "headers": {"x-secret": "value-of-header"}, "events": ["execution.running"]});
    let id = subscribe(&user, &body).await;
    let path = format!("/v1/subscriptions/{id}");

    let shown = user.get(&path).await;
    assert_eq!((shown.status, &shown.body["events"]), (200, &json!(["execution.running"])));
    assert_eq!(user.get("/v1/subscriptions").await.body["subscriptions"], json!([shown.body]));
    assert!(!shown.body.to_string().contains("value-of-header"));
    assert_eq!(other.get("/v1/subscriptions").await.body["subscriptions"], json!([]));
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::POST, format!("{path}/test")),
    ] {
        assert_eq!(other.send(method, &path, &[], "").await.status, 404);
    }
    assert_eq!(user.get("/v1/subscriptions/nonsense").await.status, 404);

    let tried = user.send(Method::POST, &format!("{path}/test"), &[], "").await;
    assert_eq!(tried.status, 202);
    let test = &receiver.wait_for(1).await[0];
    assert_eq!(test.body()["type"], "subscription.test");
    assert_eq!(test.header("webhook-id"), tried.text("delivery_id"));
    assert_eq!(test.header("x-secret"), "value-of-header");
    assert!(test.is_signed_for(&user).await);

    assert_eq!(user.send(Method::DELETE, &path, &[], "").await.status, 204);
    assert_eq!(user.send(Method::DELETE, &path, &[], "").await.status, 404);
    assert_eq!(user.get("/v1/subscriptions").await.body["subscriptions"], json!([]));
}

#[tokio::test]
async fn a_wrong_subscription_names_its_field_and_there_are_fifty_at_most() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let url = "https://example.com/hook";
    for (body, field) in [
        (json!({}), "url"),
        (json!({"url": "https://10.0.0.1/"}), "url"),
        (json!({"url": url, "events": []}), "events"),
        (json!({"url": url, "events": ["subscription.test"]}), "events"),
        (json!({"url": url, "agent_name": "a b"}), "agent_name"),
        (json!({"url": url, "headers": {"Host": "x"}}), "headers"),
        (json!({"url": url, "surprise": 1}), "surprise"),
    ] {
        let answer = user.send(Method::POST, "/v1/subscriptions", &[], body.to_string()).await;
        assert_eq!((answer.status, answer.body["field"].as_str()), (422, Some(field)), "{body}");
    }

    let body = json!({"url": url}).to_string();
    let mut statuses = Vec::new();
    for _ in 0..7 {
        let answers = join_all(
            (0..8).map(|_| user.send(Method::POST, "/v1/subscriptions", &[], body.clone())),
        )
        .await;
        statuses.extend(answers.iter().map(|answer| answer.status));
    }
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 50, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 6, "{statuses:?}");
    let listed = user.get("/v1/subscriptions").await;
    assert_eq!(listed.body["subscriptions"].as_array().unwrap().len(), 50);
}

#[tokio::test]
async fn a_removed_subscription_ends_what_was_owed_to_it() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::answering(&[500, 500, 200]).await;
    let id = subscribe(&user, &json!({"url": receiver.url()})).await;
    let run = user
        .start(
            &json!({"agent_name": "echo", "input_message": "x", "parameters": {"wait_seconds": 0}}),
        )
        .await;
    receiver.wait_for(1).await;

    user.send(Method::DELETE, &format!("/v1/subscriptions/{id}"), &[], "").await;

    let state = eventually("the end of the delivery", async || {
        let shown = user.get(&format!("/v1/executions/{run}/deliveries")).await.body["deliveries"]
            [0]
        .clone();
        (shown["state"] != "pending").then_some(shown)
    })
    .await;
    // Unless the repetitions were faster than its removal.
    let is_gone = state["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .any(|it| it["detail"] == "the subscription is gone");
    assert_eq!(state["state"], if is_gone { "undelivered" } else { "delivered" }, "{state}");
}

#[tokio::test]
async fn a_secret_is_given_to_its_user_and_signs_for_a_while_after_its_rotation() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let other = stack.user(EVERYTHING).await;
    let first = user.get("/v1/webhook-secret").await;
    assert_eq!((first.status, &first.body["generation"]), (200, &json!(0)));
    assert!(
        first.text("secret").starts_with("whsec_") && first.body.get("previous_secret").is_none()
    );
    assert_ne!(other.get("/v1/webhook-secret").await.body["secret"], first.body["secret"]);

    let second = user.send(Method::POST, "/v1/webhook-secret/rotate", &[], "").await;
    assert_eq!((second.status, &second.body["generation"]), (200, &json!(1)));
    assert_eq!(second.body["previous_secret"], first.body["secret"]);
    assert_ne!(second.body["secret"], first.body["secret"]);
    assert_eq!(user.get("/v1/webhook-secret").await.body, second.body);

    let receiver = Receiver::start().await;
    let body = json!({
        "agent_name": "echo", "input_message": "x", "parameters": {"wait_seconds": 0}, "callback_url": receiver.url(),
    });
    user.start(&body).await;
    let callback = &receiver.wait_for(1).await[0];
    assert_eq!(callback.header("webhook-signature").split(' ').count(), 2);
    assert!(callback.is_signed_for(&user).await, "by the first secret, too");
}
