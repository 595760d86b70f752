//! What requests, agents and receivers can make grow has a bound. Here each item that is stored is
//! made as large as it can be, by the code that makes it: each of its attributes is in a row with
//! its bound in bytes, and all of them fit DynamoDB's 400 KB. One step beyond is refused, or cut.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use relay::{
    domain::{
        attempt::{Attempt, MAX_ATTEMPTS},
        callback::{Callback, MAX_HEADERS},
        callback_url::MAX_URL,
        caller::{Caller, Credential},
        delivery::Delivery,
        error::Error,
        event_type::EventType,
        execution::Execution,
        id::{QuestionId, UserId},
        idempotency_key::IdempotencyKey,
        json::{Json, MAX_BYTES},
        loops::Arrival,
        network::CallbackAllow,
        question::{Answer, Ask, MAX_OPEN, Question},
        request::{StartBody, StartRequest},
        rights::Holder,
        subscription::{SubscribeBody, Subscription},
        time::Timestamp,
    },
    store::item::{self, Item},
};
use serde::Serialize;
use serde_json::{Value, json};

/// What an item may have
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>).
const MAX_ITEM: usize = 400 * 1024;

/// Of times, counts, ids, names of keys and words of our own.
const SMALL: usize = 130;
/// Of an ARN of Step Functions: 256 characters, and around it what we add.
const ARN: usize = 300;
/// Of whom an operator or an issuer calls a user, with the name of the key.
const ACTOR: usize = 1024 + 100;
/// What a token grants comes in at most 10 KB, twice as large as text of a list.
const HOLDER: usize = 24 * 1024;
const QUESTION: usize = 4 * 2000;
const SCHEMA: usize = 32 * 1024;
const MESSAGE: usize = 4 * 500;
const HEADERS: usize = 4096 + 2 * MAX_HEADERS;

/// The attributes whose bounds are not [`SMALL`], by the item that has them.
const STATE: &[(&str, usize)] = &[
    ("user_id", 1024),
    ("state_machine_arn", ARN),
    ("message", MESSAGE),
    ("open_questions", MAX_OPEN * 34),
    ("error_code", 4 * 256),
    ("tags", 10 * (64 + 128 + 4)),
    ("callback_events", 400),
    ("idempotency_item", 1024 + 80),
    ("started_by", ACTOR),
    ("cancelled_by", ACTOR),
];
const CALLBACK: &[(&str, usize)] = &[("url", MAX_URL), ("headers", HEADERS), ("holder", HOLDER)];
const SUBSCRIPTION: &[(&str, usize)] =
    &[("url", MAX_URL), ("headers", HEADERS), ("holder", HOLDER), ("events", 400)];
const ASKED: &[(&str, usize)] = &[
    ("user_id", 1024),
    ("question", QUESTION),
    ("schema", SCHEMA),
    ("task_token", 2048),
    ("answer", MAX_BYTES),
];
const DELIVERY: &[(&str, usize)] = &[
    ("user_id", 1024),
    ("message", MESSAGE),
    ("question", QUESTION + SCHEMA + 1024 + 500),
    ("attempts", MAX_ATTEMPTS * 950),
    ("redelivered_by", ACTOR),
];

fn user() -> UserId {
    UserId::from("u".repeat(1024))
}

/// Somebody with the largest token that there is.
fn caller() -> Caller {
    let user_id = user();
    let credential = Credential::of_token(&user_id);
    let grants: Vec<String> = (0..1_000).map(|number| format!("view:{number:05}")).collect();
    Caller {
        lineage: credential.clone(),
        credential,
        permissions: grants.iter().map(String::as_str).chain(["*:*"]).collect(),
        user_id,
        rate_limit: 60,
        max_concurrent: None,
        expires_at: Some(Timestamp::now()),
        arrival: Arrival::default(),
    }
}

fn allow() -> CallbackAllow {
    "".parse().unwrap()
}

fn url(bytes: usize) -> String {
    format!("https://example.com/{:x<1$}", "", bytes - "https://example.com/".len())
}

/// So many headers of so many bytes together.
fn headers(count: usize, bytes: usize) -> BTreeMap<String, String> {
    let name = |number: usize| format!("x-{number:02}");
    let rest = bytes - 4 * count;
    let value = |number: usize| "v".repeat(rest / count + usize::from(number < rest % count));
    (0..count).map(|number| (name(number), value(number))).collect()
}

/// A start with everything at its bound.
fn start() -> StartBody {
    let key = |number: usize| format!("{number:k<64}");
    let tags = (0..10).map(|number| (key(number), "v".repeat(128))).collect();
    StartBody {
        callback_url: Some(url(MAX_URL)),
        callback_headers: Some(headers(MAX_HEADERS, 4096)),
        callback_events: Some(EventType::OF_RUNS.to_vec()),
        tags: Some(tags),
        ..StartBody::new("a".repeat(80), "x".repeat(MAX_BYTES - 2_000))
    }
}

fn accepted() -> StartRequest {
    start().check(&allow()).unwrap()
}

/// A run with everything at its bound.
fn execution() -> Execution {
    let questions: BTreeSet<QuestionId> =
        (0..MAX_OPEN).map(|number| QuestionId::of(&format!("token {number}").into())).collect();
    let now = Timestamp::now();
    let actor = caller().actor();
    let mut execution: Execution = serde_json::from_value(json!({
        "execution_id": format!("mcp-{}-01m82fnbk6he8p6hq9b40e0c0s", "a".repeat(49)),
        "user_id": user(), "agent_name": "a".repeat(80),
        "state_machine_arn": format!("arn:aws:states:eu-west-1:111122223333:stateMachine:{}", "m".repeat(160)),
        "status": "input_required", "redrive_count": u32::MAX, "rank": 90, "created_at": now,
        "updated_at": now, "launch_before": now, "started_at": now, "completed_at": now,
        "estimated_ms": u64::MAX, "progress": 100, "message": "\u{10ffff}".repeat(500),
        "sequence": u32::MAX, "error_code": "\u{10ffff}".repeat(256), "claimed_at": now,
        "launch_delays": u32::MAX, "cancel_requested_at": now, "cancelled_by": actor,
        "started_by": actor, "deadline": now, "stop_reason": "deadline", "due_at": now, "shard": 7,
        "ttl": i64::MAX,
    }))
    .unwrap();
    let request = accepted();
    execution.tags = request.tags;
    execution.callback_events = request.callback_events;
    execution.open_questions = questions;
    let key = IdempotencyKey::parse(&"k".repeat(IdempotencyKey::MAX_LENGTH)).unwrap();
    execution.idempotency_item = Some(key.item(&user()));
    execution
}

fn ask(token: usize, question: usize, schema: usize) -> Result<Ask, &'static str> {
    let schema = json!({"title": "x".repeat(schema - r#"{"title":""}"#.len())});
    Ask::new("t".repeat(token).into(), "\u{10ffff}".repeat(question), Json::of(&schema), None)
}

fn asked() -> Question {
    Question::asked(&ask(2048, 2000, SCHEMA).unwrap(), &execution(), Timestamp::now())
}

/// The same with its answer.
fn question() -> Question {
    let mut question = asked();
    let answer = Answer::new(Json::of(&"x".repeat(MAX_BYTES - 2))).unwrap();
    question.answer = Some(answer.text().to_owned());
    question.answer_hash = Some(answer.hash);
    question
}

fn attempt() -> Attempt {
    Attempt {
        at: Timestamp::now(),
        duration_ms: u64::MAX,
        status: Some(599),
        may_have_arrived: true,
        detail: "\u{10ffff}".repeat(100_000),
    }
}

/// After a thousand attempts.
fn delivery() -> Delivery {
    let (overdue, retention) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
    let target = subscribed(subscribe()).unwrap().id;
    let mut delivery =
        Delivery::of_question(&execution(), &asked(), target.as_str(), overdue, retention);
    for number in 1..=1_000 {
        delivery.attempt_count = number;
        (delivery.attempts, delivery.earlier) = delivery.with(attempt());
    }
    delivery.message = execution().message;
    delivery.redelivered_by = Some(caller().actor());
    delivery.lease = Some("l".repeat(26));
    delivery
}

fn subscribe() -> Value {
    json!({
        "url": url(MAX_URL), "headers": headers(MAX_HEADERS, 4096), "events": EventType::OF_RUNS,
        "agent_name": "a".repeat(80),
    })
}

fn subscribed(body: Value) -> Result<Subscription, Error> {
    serde_json::from_value::<SubscribeBody>(body).unwrap().check(&caller(), &allow())
}

/// Holds the attributes of an item against their rows; returns its bytes.
fn hold(what: &str, item: &impl Serialize, rows: &[(&str, usize)]) -> usize {
    let item: Item = item::to_item(item).unwrap();
    for (name, _) in rows {
        assert!(item.contains_key(*name), "{what} has no {name}: it is not the largest");
    }
    for (name, value) in &item {
        let row = rows.iter().find(|(row, _)| row == name);
        let most = row.map_or(SMALL, |(_, most)| *most);
        let one: Item = [(name.clone(), value.clone())].into();
        let bytes = item::bytes(&one) - name.len();
        assert!(bytes <= most, "{what}.{name} has {bytes} bytes of at most {most}");
        assert!(row.is_none() || bytes > SMALL, "{what}.{name} needs no row: {bytes} bytes");
    }
    item::bytes(&item)
}

#[test]
fn each_item_at_its_bounds_fits_dynamodb() {
    let callback =
        Callback { holder: Some(Holder::for_run(&caller())), ..accepted().callback.unwrap() };
    let subscription = subscribed(subscribe()).unwrap();
    for (what, bytes) in [
        ("state", hold("state", &execution(), STATE)),
        ("callback", hold("callback", &callback, CALLBACK)),
        ("subscription", hold("subscription", &subscription, SUBSCRIPTION)),
        ("question", hold("question", &question(), ASKED)),
        ("delivery", hold("delivery", &delivery(), DELIVERY)),
    ] {
        println!("{what}: {bytes} bytes at most");
        assert!(bytes < MAX_ITEM, "{what} has {bytes} bytes");
    }
    // Of one attribute each, and an id: the input, and an output.
    let input = accepted().input(&user(), Timestamp::now()).unwrap();
    assert!(input.len() <= MAX_BYTES && relay::domain::outcome::MAX_BYTES + 512 < MAX_ITEM);
}

#[test]
fn what_goes_beyond_a_bound_is_refused_or_cut() {
    let refuses = |change: fn(&mut StartBody)| {
        let mut body = start();
        change(&mut body);
        body.check(&allow()).and_then(|it| it.input(&user(), Timestamp::now())).is_err()
    };
    assert!(!refuses(|_| {}));
    assert!(refuses(|body| body.agent_name.push('a')));
    assert!(refuses(|body| body.input_message = "x".repeat(MAX_BYTES)));
    assert!(refuses(|body| {
        let (open, close) = (r#"{"a":"#.repeat(1_001), "}".repeat(1_001));
        body.parameters = Json::parse(&format!("{open}1{close}"));
    }));
    assert!(refuses(|body| body.callback_url = Some(url(MAX_URL + 1))));
    assert!(refuses(|body| body.callback_headers = Some(headers(MAX_HEADERS + 1, 2_000))));
    assert!(refuses(|body| body.callback_headers = Some(headers(MAX_HEADERS, 4097))));
    assert!(refuses(|body| drop(
        body.tags.as_mut().unwrap().insert("one more".into(), String::new())
    )));
    assert!(refuses(|body| body.tags = Some([("k".repeat(65), String::new())].into())));
    assert!(refuses(|body| body.tags = Some([("k".to_owned(), "v".repeat(129))].into())));
    assert!(refuses(|body| body.timeout_seconds = Some(366 * 24 * 60 * 60)));
    assert!(refuses(|body| body.queue_timeout_seconds = Some(15 * 24 * 60 * 60)));
    assert!(IdempotencyKey::parse(&"k".repeat(IdempotencyKey::MAX_LENGTH + 1)).is_err());

    for (field, beyond) in [
        ("url", json!(url(MAX_URL + 1))),
        ("headers", json!(headers(MAX_HEADERS + 1, 2_000))),
        ("headers", json!(headers(MAX_HEADERS, 4097))),
    ] {
        let mut body = subscribe();
        body[field] = beyond;
        assert!(subscribed(body).is_err(), "{field}");
    }

    for (token, question, schema) in [(2049, 1, 100), (1, 2001, 100), (1, 1, SCHEMA + 1)] {
        assert!(ask(token, question, schema).is_err(), "{token} {question} {schema}");
    }
    assert!(Answer::new(Json::of(&"x".repeat(MAX_BYTES - 1))).is_err());

    let kept = delivery();
    assert_eq!(kept.attempts.len(), MAX_ATTEMPTS);
    assert_eq!(kept.recorded(), 1_000);
    assert!(kept.attempts.iter().all(|attempt| attempt.detail.len() <= 800));
}
