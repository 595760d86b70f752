//! Bad input: a clear problem that says which field and why, and nothing left behind.

use e2e::{Answer, Stack, User};
use relay::domain::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

/// Checks that the answer is a problem of this kind.
fn assert_problem(answer: &Answer, status: u16, kind: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
    assert_eq!(answer.body["type"], format!("urn:problem-type:agent-relay:{kind}"), "{answer:?}");
    assert_eq!(answer.body["status"], status);
    assert!(!answer.text("title").is_empty() && !answer.text("detail").is_empty());
}

fn valid() -> Value {
    json!({"agent_name": "echo", "input_message": "hello"})
}

fn with(field: &str, value: Value) -> Value {
    let mut body = valid();
    body[field] = value;
    body
}

#[tokio::test]
async fn a_refused_start_names_the_field_and_leaves_no_row() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let cases = [
        (json!({"input_message": "hello"}), "agent_name"),
        (json!({"agent_name": "echo"}), "input_message"),
        (with("input_message", json!("")), "input_message"),
        (with("input_message", json!(["hello"])), "input_message"),
        (with("agent_name", json!("no such name")), "agent_name"),
        (with("surprise", json!(1)), "surprise"),
        (with("parameters", json!("text")), "parameters"),
        (with("parameters", json!({"wait_seconds": "long"})), "parameters.wait_seconds"),
        (with("parameters", json!({"surprise": 1})), "parameters.surprise"),
        (with("tags", json!({"a": 1})), "tags.a"),
        (with("callback_url", json!("http://example.com/")), "callback_url"),
        (with("callback_url", json!("https://10.0.0.1/")), "callback_url"),
        (with("callback_url", json!("https://[::1]/")), "callback_url"),
        (with("callback_url", json!("https://user:password@example.com/")), "callback_url"),
        (with("callback_headers", json!({"a": "b"})), "callback_headers"),
        (with("callback_events", json!(["execution.completed"])), "callback_events"),
    ];
    for (body, field) in cases {
        let answer = user.post(&body).await;
        assert_problem(&answer, 422, "invalid");
        assert_eq!(answer.body["field"], field, "{body}");
    }
    let key = "k".repeat(256);
    for (key, said) in [
        (key.as_str(), "Idempotency-Key must be 1 to 255 visible ASCII characters"),
        ("\"  \";a=b", "Idempotency-Key must not be blank"),
    ] {
        let answer = user.post_with(&[("idempotency-key", key)], &valid()).await;
        assert_problem(&answer, 422, "invalid");
        assert_eq!(
            (answer.text("detail"), answer.text("field")),
            (said.into(), "Idempotency-Key".into())
        );
    }
    // What must be there is said, and not what is: it may be a secret.
    for (field, value, said) in [
        (
            "callback_headers",
            json!({"authorization": 7777}),
            "callback_headers.authorization must be a string",
        ),
        ("tags", json!({"a": 7777}), "tags.a must be a string"),
        ("timeout_seconds", json!("7777"), "timeout_seconds must be a number"),
        (
            "callback_url",
            json!("/7777"),
            "callback_url must be an absolute URL, such as https://example.com/hook",
        ),
        (
            "parameters",
            json!({"wait_seconds": "7777"}),
            "parameters.wait_seconds does not fit the agent: want integer, but got string",
        ),
    ] {
        assert_eq!(user.post(&with(field, value)).await.text("detail"), said);
    }

    for body in ["", "nonsense", "{\"agent_name\":", "[]", "null", "{\"a\":01}"] {
        let answer = user.send(Method::POST, "/v1/executions", &[], body).await;
        assert_problem(&answer, 400, "malformed");
    }
    let large = with("input_message", json!("x".repeat(262_144)));
    assert_problem(&user.post(&large).await, 413, "too-large");
    // Small as a body, too large as the input that Step Functions would get.
    let escaped = with("input_message", json!("\u{7f}\u{1}".repeat(40_000)));
    assert_problem(&user.post(&escaped).await, 413, "too-large");

    assert_eq!(stack.count_rows(&user).await, 0);
}

#[tokio::test]
async fn an_agent_must_be_known_permitted_and_active() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let narrow = stack.user(&["execute:assistant", "view:*"]).await;
    let inactive = stack.agent("EchoMachineArn", json!({"status": "inactive"})).await;

    assert_problem(&user.post(&with("agent_name", json!("nobody"))).await, 404, "not-found");
    let answer = narrow.post(&valid()).await;
    assert_problem(&answer, 403, "forbidden");
    assert!(answer.text("detail").contains("execute:echo"), "{answer:?}");
    // Without the permission, an agent that exists looks like one that does not.
    assert_problem(&narrow.post(&with("agent_name", json!("nobody"))).await, 403, "forbidden");
    assert_problem(&user.post(&with("agent_name", json!(inactive))).await, 409, "conflict");

    assert_eq!(stack.count_rows(&user).await + stack.count_rows(&narrow).await, 0);
}

#[tokio::test]
async fn only_a_valid_key_is_let_in() {
    let stack = Stack::connect().await;
    let now = Timestamp::now().millis();
    let expired = stack.user_with(&["*:*"], json!({"expires_at": now - 1})).await;
    let revoked = stack.user_with(&["*:*"], json!({"revoked_at": now - 1})).await;
    let good = stack.user_with(&["view:*"], json!({"expires_at": now + 600_000})).await;

    assert_problem(&stack.request(Method::GET, "/v1/agents", &[], "").await, 401, "unauthorized");
    for key in [
        "",
        "wrong",
        "relay_wrong",
        &expired.key,
        &revoked.key,
        &good.key[1..],
        &format!("{}x", good.key),
        "ключ",
    ] {
        let answer = stack.request(Method::GET, "/v1/agents", &[("x-api-key", key)], "").await;
        assert_problem(&answer, 401, "unauthorized");
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{answer:?}");
    }
    for header in
        [("X-API-Key", good.key.clone()), ("Authorization", format!("Bearer {}", good.key))]
    {
        let answer = stack.request(Method::GET, "/v1/agents", &[(header.0, &header.1)], "").await;
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn an_authorizer_event_of_any_shape_is_401_and_no_crash() {
    let stack = Stack::connect().await;
    for headers in
        [json!(null), json!({}), json!({"x-api-key": null}), json!({"Authorization": "Bearer"})]
    {
        let event =
            json!({"methodArn": "arn:aws:execute-api:us-east-1:1:a/live/GET/", "headers": headers});
        let error = stack.invoke("AuthorizerFunctionName", &event).await.unwrap_err();
        assert_eq!(error["errorMessage"], "Unauthorized");
    }
}

#[tokio::test]
async fn unknown_routes_methods_ids_and_parameters_are_refused() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;

    assert_problem(&user.get("/v2/executions").await, 404, "not-found");
    assert_problem(&user.send(Method::DELETE, "/v1/executions", &[], "").await, 404, "not-found");
    assert_problem(&user.send(Method::PUT, "/v1/agents", &[], "{}").await, 404, "not-found");
    for id in
        ["nothing", "mcp-", "mcp-echo-00000000000000000000000000", "mcp-%C3%A9", &"mcp-".repeat(40)]
    {
        assert_problem(&user.monitor(id).await, 404, "not-found");
        assert_problem(&user.results(id).await, 404, "not-found");
    }
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("status=done", "status"),
        ("agent_name=a%20b", "agent_name"),
        ("cursor=nonsense", "cursor"),
    ] {
        let answer = user.get(&format!("/v1/executions?{query}")).await;
        assert_problem(&answer, 422, "invalid");
        assert_eq!(answer.body["field"], field);
    }
    let answer = user.get("/v1/executions/mcp-echo-1/results?include_metadata=perhaps").await;
    assert_problem(&answer, 422, "invalid");
}

#[tokio::test]
async fn a_key_has_so_many_starts_a_minute_and_replays_are_free() {
    const LIMIT: usize = 5;
    let stack = Stack::connect().await;
    let user = stack.user_with(&["execute:*", "view:*"], json!({"rate_limit": LIMIT})).await;
    let body =
        json!({"agent_name": "echo", "input_message": "x", "parameters": {"wait_seconds": 0}});
    // The counter is the minute's: two bursts of more than the limit fall into at most two.
    let starts = |user: User| {
        let body = body.clone();
        async move { futures_util::future::join_all((0..2 * LIMIT).map(|_| user.post(&body))).await }
    };
    let answers = starts(user.clone()).await;

    let accepted = answers.iter().filter(|answer| answer.status == 202).count();
    assert!(accepted == LIMIT || accepted == 2 * LIMIT, "{accepted}");
    for refused in answers.iter().filter(|answer| answer.status != 202) {
        assert_problem(refused, 429, "rate-limited");
        assert!((1..=60).contains(&refused.header("retry-after").parse::<u32>().unwrap()));
        assert_eq!(refused.header("ratelimit-remaining"), "0");
        assert_eq!(refused.header("ratelimit-reset"), refused.header("retry-after"));
    }
    assert_eq!(stack.count_rows(&user).await, accepted);

    let other = stack.user_with(&["execute:*", "view:*"], json!({"rate_limit": 2})).await;
    let key = [("idempotency-key", "once")];
    let first = other.post_with(&key, &body).await;
    assert_eq!(first.status, 202);
    for _ in 0..3 {
        assert_eq!(other.post_with(&key, &body).await.body, first.body);
    }
    assert_eq!(other.post(&body).await.status, 202, "the replays have not been counted");
    assert_eq!(other.post_with(&key, &body).await.body, first.body, "also at the limit");
}
