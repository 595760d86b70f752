//! Subscriptions, how their receivers fare, and signing secrets.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::{Answer, Stack, User, eventually, receiver::Receiver};
use futures_util::future::join_all;
use relay::{
    domain::{
        delivery::{Delivery, DeliveryState},
        loops::Hops,
        time::Timestamp,
    },
    store::given_up::GivenUp,
};
use reqwest::Method;
use serde_json::{Value, json};

const EVERYTHING: &[&str] = &["execute:*", "view:*", "manage:*"];

async fn subscribed(user: &User, body: &Value) -> Answer {
    let answer = user.send(Method::POST, "/v1/subscriptions", &[], body.to_string()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer
}

async fn subscribe(user: &User, body: &Value) -> String {
    subscribed(user, body).await.text("id")
}

async fn post(user: &User, path: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    user.send(Method::POST, path, &[], body).await
}

/// Starts a run of which all subscriptions are told in a moment.
async fn run(user: &User) -> String {
    let body =
        json!({"agent_name": "echo", "input_message": "x", "parameters": {"wait_seconds": 0}});
    user.start(&body).await
}

/// The delivery of a run's end to this subscription, once it is over.
async fn ended(user: &User, run: &str, subscription: &str) -> Value {
    eventually("the end of a delivery", async || {
        let shown = user.get(&format!("/v1/executions/{run}/deliveries")).await.body;
        let shown = shown["deliveries"].as_array().cloned().unwrap_or_default();
        shown.into_iter().find(|it| it["target"] == subscription && it["state"] != "pending")
    })
    .await
}

/// The subscription, once it is as it should be.
async fn shown(user: &User, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/v1/subscriptions/{id}");
    eventually(&format!("the health of {id}"), async || {
        let body = user.get(&path).await.body;
        is_so(&body).then_some(body)
    })
    .await
}

/// Sets what is stored of a subscription, or removes it.
async fn set(user: &User, id: &str, attribute: &str, value: Option<AttributeValue>) {
    let update = user.stack.dynamodb.update_item();
    let update = update
        .table_name(user.stack.output("ExecutionsTable"))
        .key("execution_id", AttributeValue::S(format!("subscriptions#{}", user.id)))
        .key("part", AttributeValue::S(id.to_owned()));
    let update = match value {
        Some(value) => update
            .update_expression(format!("SET {attribute} = :value"))
            .expression_attribute_values(":value", value),
        None => update.update_expression(format!("REMOVE {attribute}")),
    };
    update.send().await.unwrap();
}

fn days_ago(days: u64) -> AttributeValue {
    let at = Timestamp::now().minus(Duration::from_hours(24 * days));
    AttributeValue::N(at.millis().to_string())
}

/// What a receiver was told of subscriptions that were disabled.
async fn told(receiver: &Receiver) -> Vec<Value> {
    let received = receiver.received().await.into_iter().map(|it| it.body());
    received.filter(|it| it["type"] == "subscription.disabled").collect()
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
    let first = subscribed(&user, &json!({"url": all.url(), "headers": headers})).await;
    let (first, secret) = (first.text("id"), first.text("secret"));
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
    assert!(completed.is_signed_with(&secret) && !completed.is_signed_for(&user).await);
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
    let made = subscribed(&user, &body).await;
    let (id, secret) = (made.text("id"), made.text("secret"));
    let path = format!("/v1/subscriptions/{id}");

    let shown = user.get(&path).await;
    assert!(shown.body.get("secret").is_none() && shown.body["failures"] == 0);
    assert_eq!((shown.status, &shown.body["events"]), (200, &json!(["execution.running"])));
    assert_eq!(user.get("/v1/subscriptions").await.body["subscriptions"], json!([shown.body]));
    assert!(!shown.body.to_string().contains("value-of-header"));
    assert_eq!(other.get("/v1/subscriptions").await.body["subscriptions"], json!([]));
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::POST, format!("{path}/test")),
        (Method::POST, format!("{path}/enable")),
        (Method::GET, format!("{path}/secret")),
        (Method::POST, format!("{path}/secret/rotate")),
    ] {
        assert_eq!(other.send(method, &path, &[], "").await.status, 404);
    }
    let since = json!({"since": "2026-01-01T00:00:00Z"});
    assert_eq!(post(&other, &format!("{path}/recover"), &since).await.status, 404);
    assert_eq!(user.get("/v1/subscriptions/nonsense").await.status, 404);

    let tried = user.send(Method::POST, &format!("{path}/test"), &[], "").await;
    assert_eq!(tried.status, 202);
    let test = &receiver.wait_for(1).await[0];
    assert_eq!(test.body()["type"], "subscription.test");
    assert_eq!(test.header("webhook-id"), tried.text("delivery_id"));
    assert_eq!(test.header("x-secret"), "value-of-header");
    assert!(test.is_signed_with(&secret));

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

#[tokio::test]
async fn a_receiver_that_is_gone_is_told_nothing_more_and_its_owner_is_told_once() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    // Another key of the same user's, which may not see the others' subscriptions.
    let weak = User { key: stack.key(&user.id, &["view:*"], json!({})).await, ..user.clone() };
    let (gone, other, theirs) =
        tokio::join!(Receiver::answering(&[410]), Receiver::start(), Receiver::start());
    let id = subscribe(&user, &json!({"url": gone.url()})).await;
    let path = format!("/v1/subscriptions/{id}");
    let body = json!({"url": other.url(), "events": ["execution.failed"]});
    let secret = subscribed(&user, &body).await.text("secret");
    subscribe(&weak, &json!({"url": theirs.url()})).await;

    let first = run(&user).await;
    let delivery = ended(&user, &first, &id).await;
    assert_eq!(
        (&delivery["state"], &delivery["attempt_count"]),
        (&json!("undelivered"), &json!(1))
    );
    let disabled = shown(&user, &id, |it| it["disabled_at"].is_string()).await;
    assert_eq!((&disabled["disabled_reason"], &disabled["failures"]), (&json!("gone"), &json!(1)));
    assert!(disabled["failing_since"].is_string() && disabled.get("last_success_at").is_none());

    // Whatever its events are, it is told of this.
    let told_other = &other.wait_for(1).await[0];
    let body = told_other.body();
    assert_eq!(body["type"], "subscription.disabled");
    assert!(told_other.is_signed_with(&secret));
    for field in ["disabled_at", "disabled_reason", "failing_since", "failures"] {
        assert_eq!(body["data"][field], disabled[field], "{field}");
    }
    assert_eq!(
        (&body["data"]["subscription_id"], &body["data"]["host"]),
        (&json!(id), &json!("127.0.0.1"))
    );
    let text = told_other.text();
    assert!(!text.contains("signature=") && !text.contains("lineage"), "{text}");

    // Nothing is owed to it any more, nor can it be tried.
    let second = run(&user).await;
    let targets = |deliveries: &Value| deliveries.to_string().contains(&id);
    theirs.wait_for(2).await;
    let deliveries = user.get(&format!("/v1/executions/{second}/deliveries")).await.body;
    assert!(!targets(&deliveries), "{deliveries}");
    assert_eq!(post(&user, &format!("{path}/test"), &Value::Null).await.status, 409);
    let since = json!({"since": "2026-01-01T00:00:00Z"});
    assert_eq!(post(&user, &format!("{path}/recover"), &since).await.status, 409);
    assert_eq!(gone.received().await.len(), 1);

    // Enabled by who may, and gone again: whoever enabled it is not told at once again.
    assert_eq!(post(&weak, &format!("{path}/enable"), &Value::Null).await.status, 403);
    let enabled = post(&user, &format!("{path}/enable"), &Value::Null).await;
    assert_eq!((enabled.status, &enabled.body["failures"]), (200, &json!(0)));
    assert!(
        ["disabled_at", "disabled_reason", "failing_since"]
            .iter()
            .all(|field| enabled.body.get(field).is_none())
    );
    let again = post(&user, &format!("{path}/enable"), &Value::Null).await;
    assert_eq!((again.status, &again.body), (200, &enabled.body));
    let third = run(&user).await;
    ended(&user, &third, &id).await;
    shown(&user, &id, |it| it["disabled_at"].is_string()).await;
    theirs.wait_for(3).await;
    assert_eq!((told(&other).await.len(), told(&theirs).await.len()), (1, 0));

    // A run's callback is another matter.
    let body = json!({"agent_name": "echo", "input_message": "x", "callback_url": gone.url()});
    for posts in [3, 4] {
        user.start(&body).await;
        gone.wait_for(posts).await;
    }
}

#[tokio::test]
async fn a_receiver_that_fails_for_five_days_is_disabled_and_recovers_what_was_given_up() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    // Five attempts each.
    let statuses = [[500; 15].as_slice(), &[200]].concat();
    let failing = Receiver::answering(&statuses).await;
    let before = Timestamp::now().rfc3339();
    let id = subscribe(&user, &json!({"url": failing.url()})).await;
    let path = format!("/v1/subscriptions/{id}");

    let first = run(&user).await;
    assert_eq!(ended(&user, &first, &id).await["state"], "undelivered");
    let is_counted = |count: u64| move |it: &Value| it["failures"] == count;
    let health = shown(&user, &id, is_counted(5)).await;
    assert!(health["failing_since"].is_string() && health.get("disabled_at").is_none());

    // Four days are not five.
    set(&user, &id, "failing_since", Some(days_ago(4))).await;
    let second = run(&user).await;
    ended(&user, &second, &id).await;
    let health = shown(&user, &id, is_counted(10)).await;
    assert!(health.get("disabled_at").is_none());
    set(&user, &id, "failing_since", Some(days_ago(5))).await;
    let third = run(&user).await;
    ended(&user, &third, &id).await;
    let health = shown(&user, &id, |it| it["disabled_at"].is_string()).await;
    assert_eq!((&health["disabled_reason"], &health["failures"]), (&json!("failing"), &json!(15)));

    assert_eq!(post(&user, &format!("{path}/enable"), &Value::Null).await.status, 200);
    let recover = async |since: &str| {
        let answer = post(&user, &format!("{path}/recover"), &json!({"since": since})).await;
        assert_eq!((answer.status, answer.body.get("next_cursor")), (202, None), "{answer:?}");
        answer.body["recovered"].as_u64().unwrap()
    };
    assert_eq!(recover("2999-01-01T00:00:00Z").await, 0);
    assert_eq!(recover(&before).await, 3);
    let received = failing.wait_for(18).await;
    for run in [&first, &second, &third] {
        let delivery = ended(&user, run, &id).await;
        assert_eq!(delivery["state"], "delivered");
        assert_eq!(delivery["redelivered_by"]["user_id"], user.id.as_str());
        let ours = received.iter().filter(|it| it.header("webhook-id") == delivery["id"]);
        assert_eq!(ours.count(), 6, "under the id that it had");
    }
    let health = shown(&user, &id, |it| it["last_success_at"].is_string()).await;
    assert!(health["failures"] == 0 && health.get("failing_since").is_none(), "{health}");
    // What was delivered is not made again.
    assert_eq!(recover(&before).await, 0);

    for (body, field) in [
        (json!({}), "since"),
        (json!({"since": "yesterday"}), "since"),
        (json!({"since": "1767225600000"}), "since"),
        (json!({"since": before, "cursor": "x"}), "cursor"),
        (json!({"since": before, "until": before}), "until"),
    ] {
        let answer = post(&user, &format!("{path}/recover"), &body).await;
        assert_eq!((answer.status, answer.body["field"].as_str()), (422, Some(field)), "{body}");
    }
}

#[tokio::test]
async fn what_is_recovered_is_bounded_and_goes_on_where_it_ended() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let id = subscribe(&user, &json!({"url": receiver.url()})).await;
    let since = Timestamp::now();
    // As if so many had been given up, two at each moment.
    let given_up = (0..130_u64).map(async |number| {
        let state = DeliveryState::Undelivered;
        let owner = user.id.clone().into();
        let test = Delivery::test(&owner, &id, Hops::default(), Duration::from_hours(1));
        let test = Delivery { state, due_at: None, debt: None, ..test };
        stack.deliveries().owe(&test).await.unwrap();
        let at = since.plus(Duration::from_millis(number / 2)).millis();
        let given_up = GivenUp {
            part: format!("{at}#{}", test.webhook_id),
            delivery_of: test.execution_id,
            delivery_part: test.part,
            ttl: test.ttl,
        };
        let mut row = serde_json::to_value(given_up).unwrap();
        row["execution_id"] = format!("undelivered#{id}").into();
        stack.put("ExecutionsTable", row).await;
    });
    join_all(given_up).await;

    let path = format!("/v1/subscriptions/{id}/recover");
    let body = json!({"since": since.rfc3339()});
    let first = post(&user, &path, &body).await;
    assert_eq!((first.status, &first.body["recovered"]), (202, &json!(100)), "{first:?}");
    let mut body = json!({"since": since.rfc3339(), "cursor": first.text("next_cursor")});
    let second = post(&user, &path, &body).await;
    assert_eq!((second.status, &second.body), (202, &json!({"recovered": 30})));
    // From another time on it is another list, be it before the cursor or behind it.
    body["since"] = since.plus(Duration::from_hours(1)).rfc3339().into();
    assert_eq!(post(&user, &path, &body).await.body, json!({"recovered": 0}));

    let received = receiver.wait_for(130).await;
    let mut counts = HashMap::<_, usize>::new();
    for it in &received {
        *counts.entry(it.header("webhook-id").to_owned()).or_default() += 1;
    }
    assert!(counts.len() == 130 && counts.values().all(|count| *count == 1));
}

#[tokio::test]
async fn a_success_is_written_once_and_ends_a_failing() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::answering(&[200, 200, 500, 200]).await;
    let id = subscribe(&user, &json!({"url": receiver.url()})).await;
    let mut last = String::new();
    for posts in [1, 2] {
        let run = run(&user).await;
        assert_eq!(ended(&user, &run, &id).await["state"], "delivered");
        receiver.wait_for(posts).await;
        let health = shown(&user, &id, |it| it["last_success_at"].is_string()).await;
        let at = health["last_success_at"].as_str().unwrap();
        assert!(last.is_empty() || last == at, "{last}, {at}");
        at.clone_into(&mut last);
    }
    let failing = run(&user).await;
    ended(&user, &failing, &id).await;
    let is_later = |it: &Value| it["last_success_at"].as_str().is_some_and(|at| at > last.as_str());
    let health = shown(&user, &id, is_later).await;
    assert!(health["failures"] == 0 && health.get("failing_since").is_none(), "{health}");
}

#[tokio::test]
async fn many_that_fail_at_once_are_told_to_those_that_are_well_and_end() {
    const MANY: usize = 6;

    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let (gone, well) = tokio::join!(Receiver::answering(&[410]), Receiver::start());
    let mut ids = Vec::new();
    for _ in 0..MANY {
        ids.push(subscribe(&user, &json!({"url": gone.url()})).await);
    }
    subscribe(&user, &json!({"url": well.url()})).await;

    run(&user).await;
    for id in &ids {
        shown(&user, id, |it| it["disabled_reason"] == "gone").await;
    }
    let told = eventually("the news of all", async || {
        let told = told(&well).await;
        (told.len() == MANY).then_some(told)
    })
    .await;
    let mut of: Vec<_> =
        told.iter().map(|it| it["data"]["subscription_id"].as_str().unwrap()).collect();
    of.sort_unstable();
    ids.sort_unstable();
    assert_eq!(of, ids);
    // Each of them was told of others at most once, until it was disabled itself.
    assert!(gone.received().await.len() <= MANY * MANY);
    run(&user).await;
    well.wait_for(MANY + 2).await;
    assert!(gone.received().await.len() <= MANY * MANY);
}

#[tokio::test]
async fn each_subscription_has_a_secret_that_only_its_maker_and_manage_may_have() {
    let stack = Stack::connect().await;
    let manager = stack.user(&["execute:*", "view:*", "manage:*"]).await;
    let key = async |grants: &[&str]| User {
        key: stack.key(&manager.id, grants, json!({})).await,
        ..manager.clone()
    };
    let (maker, stranger) = (key(&["view:echo"]).await, key(&["view:*", "execute:*"]).await);
    let receivers = tokio::join!(Receiver::start(), Receiver::start());
    let body = |receiver: &Receiver| json!({"url": receiver.url(), "agent_name": "echo"});
    let first = subscribed(&maker, &body(&receivers.0)).await;
    let second = subscribed(&maker, &body(&receivers.1)).await;
    let path = format!("/v1/subscriptions/{}/secret", first.text("id"));

    let secret = maker.get(&path).await;
    assert_eq!((secret.status, secret.text("secret")), (200, first.text("secret")));
    assert_eq!(manager.get(&path).await.body, secret.body);
    let rotate = format!("{path}/rotate");
    assert_eq!(stranger.get(&path).await.status, 404);
    assert_eq!(post(&stranger, &rotate, &Value::Null).await.status, 404);
    let users = manager.get("/v1/webhook-secret").await.text("secret");
    let rotated = post(&maker, &rotate, &Value::Null).await;
    assert_eq!((rotated.status, &rotated.body["generation"]), (200, &json!(1)));
    assert_eq!(rotated.body["previous_secret"], secret.body["secret"]);
    assert_eq!(maker.get(&path).await.body, rotated.body);

    let run = run(&stranger).await;
    let (one, other) = (receivers.0.wait_for(1).await, receivers.1.wait_for(1).await);
    let (one, other) = (&one[0], &other[0]);
    assert_eq!(one.header("webhook-signature").split(' ').count(), 2);
    assert!(one.is_signed_with(&rotated.text("secret")));
    assert!(one.is_signed_with(&first.text("secret")), "for a week");
    assert!(other.is_signed_with(&second.text("secret")));
    assert!(!one.is_signed_with(&second.text("secret")) && !one.is_signed_with(&users));
    assert!(!other.is_signed_with(&first.text("secret")) && !other.is_signed_with(&users));

    // One that was made before there were such secrets is signed with its user's, as before.
    set(&manager, &second.text("id"), "signing", None).await;
    let again = user_redelivers(&manager, &run, &second.text("id"), &receivers.1).await;
    assert!(again, "by the user's secret");
    let path = format!("/v1/subscriptions/{}/secret", second.text("id"));
    assert_eq!(maker.get(&path).await.status, 403, "that is not for it alone");
    assert_eq!(manager.get(&path).await.text("secret"), users);
    assert_eq!(post(&manager, &format!("{path}/rotate"), &Value::Null).await.status, 409);

    // Who may not make it any more may not have its secret either.
    let lesser = key(&["view:echo"]).await;
    let made = subscribed(&lesser, &body(&receivers.0)).await.text("id");
    let path = format!("/v1/subscriptions/{made}/secret");
    assert_eq!(lesser.get(&path).await.status, 200);
    lose_permissions(&lesser).await;
    assert_eq!(lesser.get(&path).await.status, 403);
    assert_eq!(post(&lesser, &format!("{path}/rotate"), &Value::Null).await.status, 403);
}

/// Whether a delivery that is made again is signed with its user's secret.
async fn user_redelivers(user: &User, run: &str, id: &str, receiver: &Receiver) -> bool {
    let delivery = ended(user, run, id).await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/executions/{run}/deliveries/{delivery}/redeliver");
    assert_eq!(post(user, &path, &Value::Null).await.status, 202);
    receiver.wait_for(2).await[1].is_signed_for(user).await
}

async fn lose_permissions(user: &User) {
    let hash = relay::domain::api_key::ApiKeyHash::of(&user.key).to_hex();
    user.stack
        .dynamodb
        .update_item()
        .table_name(user.stack.output("ApiKeysTable"))
        .key("api_key_hash", AttributeValue::S(hash))
        .update_expression("SET #permissions = :none")
        .expression_attribute_names("#permissions", "permissions")
        .expression_attribute_values(":none", AttributeValue::L(Vec::new()))
        .send()
        .await
        .unwrap();
}
