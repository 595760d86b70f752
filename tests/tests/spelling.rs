//! Requests as people and their tools spell them, over REST.

use e2e::{Answer, Stack, User};
use relay::store::batch::Consistency;
use reqwest::Method;
use serde_json::json;

async fn post(user: &User, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Answer {
    user.send(Method::POST, "/v1/executions", headers, body).await
}

fn start(agent: &str, rest: &str) -> String {
    format!(r#"{{"agent_name":"{agent}","input_message":"x"{rest}}}"#)
}

/// What Step Functions was given for this run.
async fn input(stack: &Stack, user: &User, id: &str) -> String {
    user.wait_for(id, "completed").await;
    let row = stack.executions().find(&e2e::id(id), Consistency::Strong).await.unwrap().unwrap();
    let execution = stack.step_functions.describe_execution().execution_arn(row.execution_arn());
    execution.send().await.unwrap().input.unwrap()
}

#[tokio::test]
async fn the_agent_gets_its_parameters_as_they_are_written() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    // The example itself takes no parameters but its own.
    let agent = stack.agent("EchoMachineArn", json!({})).await;
    let deep = format!("{}{}", "[".repeat(900), "]".repeat(900));

    for parameters in [
        r#"{"wait_seconds":0,"id":18446744073709551616}"#,
        r#"{"amount":0.10000000000000000001,"wait_seconds":0}"#,
        &format!(r#"{{"wait_seconds":0,"deep":{deep}}}"#),
    ] {
        let answer =
            post(&user, &[], start(&agent, &format!(r#","parameters":{parameters}"#))).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let input = input(&stack, &user, &answer.text("execution_id")).await;
        assert!(input.contains(&format!(r#""parameters":{parameters}"#)), "{input}");
    }
}

#[tokio::test]
async fn a_key_tells_apart_requests_that_differ_in_the_last_digit() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let key = [("idempotency-key", "order-4711")];
    let agent = stack.agent("EchoMachineArn", json!({})).await;
    let with =
        |id: &str| start(&agent, &format!(r#","parameters":{{"wait_seconds":0,"id":{id}}}"#));

    let first = post(&user, &key, with("18446744073709551616")).await;
    assert_eq!(first.status, 202, "{first:?}");
    let same = post(&user, &key, with("  18446744073709551616 ")).await;
    assert_eq!((same.status, same.text("execution_id")), (202, first.text("execution_id")));
    let other = post(&user, &key, with("18446744073709551617")).await;
    assert_eq!((other.status, other.body["field"].as_str()), (422, Some("Idempotency-Key")));
}

#[tokio::test]
async fn a_quoted_key_is_the_key_in_its_quotes() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let body = start("echo", r#","parameters":{"wait_seconds":0}"#);

    let quoted = post(&user, &[("idempotency-key", "\"K\"")], body.clone()).await;
    for same in ["K", "\"K\";a=b", "\"K\"; a=\"x;y\"; b"] {
        let again = post(&user, &[("idempotency-key", same)], body.clone()).await;
        assert_eq!((quoted.status, again.status), (202, 202), "{same}");
        assert_eq!(quoted.text("execution_id"), again.text("execution_id"), "{same}");
    }
}

#[tokio::test]
async fn parameters_of_a_thousand_levels_are_held_against_the_schema() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let schema = json!({
        "type": "object", "properties": {"deep": {"$ref": "#/$defs/list"}},
        "$defs": {"list": {"type": ["array", "number"], "items": {"$ref": "#/$defs/list"}}},
    });
    let agent = stack.agent("EchoMachineArn", json!({"parameters_schema": schema})).await;
    let with = |levels: usize, inner: &str| {
        let (open, close) = ("[".repeat(levels - 2), "]".repeat(levels - 2));
        start(&agent, &format!(r#","parameters":{{"deep":{open}{inner}{close}}}"#))
    };

    let taken = post(&user, &[], with(1_000, "1")).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    for (body, said) in [
        (with(1_000, "true"), "parameters does not fit the agent: it is too large to say where"),
        (
            with(4, "true"),
            "parameters.deep.0.0 does not fit the agent: want number or array, but got boolean",
        ),
        (with(1_001, "1"), "parameters is nested deeper than 1000 levels"),
    ] {
        let refused = post(&user, &[], body).await;
        assert_eq!((refused.status, refused.text("detail")), (422, said.to_owned()));
    }
}

/// API Gateway hands over both lines; the local engine would join them, so the function is given
/// the event itself.
#[tokio::test]
async fn two_keys_that_differ_are_refused() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let event = |keys: &[&str]| {
        json!({
            "resource": "/v1/executions", "path": "/v1/executions", "httpMethod": "POST",
            "headers": {"Idempotency-Key": keys.last()},
            "multiValueHeaders": {"Idempotency-Key": keys},
            "queryStringParameters": null, "multiValueQueryStringParameters": null,
            "pathParameters": null, "stageVariables": null, "isBase64Encoded": false,
            "body": start("echo", r#","parameters":{"wait_seconds":0}"#),
            "requestContext": {
                "resourcePath": "/v1/executions", "httpMethod": "POST", "path": "/live/v1/executions",
                "stage": "live", "requestId": "r", "apiId": "a", "identity": {},
                "authorizer": {
                    "user_id": user.id, "key_id": "12345678", "credential": "12345678",
                    "permissions": "[\"execute:*\"]", "rate_limit": "100",
                },
            },
        })
    };
    let refused =
        stack.invoke("StartFunctionName", &event(&["order-4711", "0f6c-random"])).await.unwrap();
    assert_eq!(refused["statusCode"], 422, "{refused}");
    assert!(
        refused["body"].as_str().unwrap().contains("\"field\":\"Idempotency-Key\""),
        "{refused}"
    );
    let taken =
        stack.invoke("StartFunctionName", &event(&["order-4711", "\"order-4711\""])).await.unwrap();
    assert_eq!(taken["statusCode"], 202, "{taken}");
    assert_eq!(stack.count_rows(&user).await, 1);
}

#[tokio::test]
async fn prefer_is_read_in_any_form_of_its_rfc() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let body = start("echo", r#","parameters":{"wait_seconds":0}"#);

    for prefer in ["Wait=20", "wait=\"20\"", "respond-async, WAIT = 20; x=y"] {
        let answer = post(&user, &[("prefer", prefer)], body.clone()).await;
        assert_eq!((answer.status, answer.body["result"].as_str()), (200, Some("x")), "{prefer}");
    }
    let answer = post(&user, &[("prefer", "handling=lenient; wait=20")], body).await;
    assert_eq!(answer.status, 202);
}

#[tokio::test]
async fn bytes_that_are_harmless_are_taken_and_others_are_refused_by_their_place() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let body = start("echo", r#","parameters":{"wait_seconds":0},"timeout_seconds":60.0"#);

    let marked = post(&user, &[], format!("\u{feff}{body}")).await;
    assert_eq!(marked.status, 202, "{marked:?}");
    for (text, place) in
        [(r"cut \ud83d", "line 1 column 43"), (r"\ude00 second half", "line 1 column 39")]
    {
        let body = format!(r#"{{"agent_name":"echo","input_message":"{text}"}}"#);
        let refused = post(&user, &[], body).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.text("detail").contains(place), "{refused:?}");
    }
}
