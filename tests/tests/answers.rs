//! What agents answer comes to callers as it was written, in whatever dialect it is.

use std::fmt::Write as _;

use e2e::{Stack, User, receiver::Receiver};
use relay::store::batch::Consistency;
use serde_json::{Value, json};

const EVERYTHING: &[&str] = &["execute:*", "view:*"];

/// The results of a run as text, which keeps what a tree would round.
async fn results(user: &User, run: &str) -> String {
    text(user, &format!("/v1/executions/{run}/results?include_metadata=true")).await
}

async fn text(user: &User, path: &str) -> String {
    let request = reqwest::Client::new()
        .get(format!("{}{path}", user.stack.url))
        .header("x-api-key", &user.key);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap()
}

/// A run of ours that ends with this output, by the word of Step Functions.
async fn ended(user: &User, callback_url: &str, output: &str) -> String {
    let stack = &user.stack;
    let run = user
        .start(&json!({"agent_name": "slow", "input_message": "x", "callback_url": callback_url}))
        .await;
    user.wait_for(&run, "running").await;
    let row = stack.executions().find(&e2e::id(&run), Consistency::Strong).await;
    let arn = row.unwrap().unwrap().execution_arn();
    let event = json!({"detail": {
        "executionArn": arn, "name": run, "status": "SUCCEEDED", "redriveCount": 0,
        "startDate": 1_767_225_600_000_i64, "stopDate": 1_767_225_660_000_i64, "output": output,
    }});
    stack.invoke("StatusFunctionName", &event).await.unwrap();
    stack.step_functions.stop_execution().execution_arn(arn).send().await.unwrap();
    run
}

#[tokio::test]
async fn digits_levels_and_half_a_character_reach_results_and_callbacks() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for (written, shown) in [
        (r#""Great news \ud83d""#.to_owned(), r#""Great news \ufffd""#.to_owned()),
        (deep(200), deep(200)),
        (deep(1_000), deep(1_000)),
        (
            r#"{"wei":1000000000000000000001,"id":18446744073709551616,"f":0.1000000000000000055511151231257827,"x":1e400}"#.to_owned(),
            r#"{"wei":1000000000000000000001,"id":18446744073709551616,"f":0.1000000000000000055511151231257827,"x":1e400}"#.to_owned(),
        ),
    ] {
        let receiver = Receiver::start().await;
        let output = format!(r#"{{"result":{written},"tools_used":["a"],"tokens":{{"total":{written}}}}}"#);
        let run = ended(&user, &receiver.url(), &output).await;

        let mut said = String::new();
        write!(said, r#""result":{shown},"tools_used":["a"],"tokens_used":{{"total":{shown}}}"#).unwrap();
        let answer = results(&user, &run).await;
        assert!(answer.contains(&said), "{answer:.600}");
        let raw = format!(r#""raw_output":{}"#, output.replace(&written, &shown));
        assert!(answer.contains(&raw), "{answer:.600}");
        assert!(answer.contains(r#""input_message":"x""#), "{answer:.600}");

        let callback = &receiver.wait_for(1).await[0];
        assert!(callback.text().contains(&said), "{:.600}", callback.text());
        assert!(callback.is_signed_for(&user).await);
    }
}

/// What a run of this machine gives that ends with this output.
async fn of_a_machine(user: &User, output: &Value) -> Value {
    let stack = &user.stack;
    let definition = json!({
        "StartAt": "Answer", "States": {"Answer": {"Type": "Pass", "Result": output, "End": true}},
    });
    let row = json!({"state_machine_arn": stack.create_machine(definition.to_string()).await});
    let agent = stack.agent("EchoMachineArn", row).await;
    let run = user.start(&json!({"agent_name": agent, "input_message": "x"})).await;
    user.wait_for(&run, "completed").await;
    let answer = user.results(&run).await.body;
    json!([answer["result"], answer["tools_used"], answer["tokens_used"]])
}

#[tokio::test]
async fn a_machine_may_answer_in_the_words_of_its_model() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    for (output, expected) in [
        (
            json!({"messages": [
                {"type": "human", "content": "?"},
                {"type": "ai", "content": "", "tool_calls": [{"name": "add", "args": {}}], "usage_metadata": {"total_tokens": 15}},
                {"type": "ai", "content": "5", "tool_calls": [], "usage_metadata": {"total_tokens": 26}},
            ]}),
            json!(["5", ["add"], {"total_tokens": 41}]),
        ),
        (
            json!({"Output": {"Message": {"Role": "assistant", "Content": [{"Text": "Summary."}]}}, "StopReason": "end_turn", "Usage": {"TotalTokens": 129}}),
            json!(["Summary.", [], {"TotalTokens": 129}]),
        ),
        (
            json!({"ExecutedVersion": "$LATEST", "Payload": {"result": "done", "tools_used": "search", "tokens": {"total": 5}}, "SdkHttpMetadata": {"HttpStatusCode": 200}, "StatusCode": 200}),
            json!(["done", ["search"], {"total": 5}]),
        ),
        (
            json!({"statusCode": 500, "error": "Task timed out", "status": "error"}),
            json!([{"statusCode": 500, "error": "Task timed out", "status": "error"}, [], null]),
        ),
    ] {
        assert_eq!(of_a_machine(&user, &output).await, expected);
    }
}

#[tokio::test]
async fn the_schema_of_a_question_is_shown_as_it_was_written_or_refused() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let run = user
        .start(&json!({
            "agent_name": "slow", "input_message": "x", "callback_url": receiver.url(),
            "callback_events": ["execution.input_required"],
        }))
        .await;
    user.wait_for(&run, "running").await;
    let row = stack.executions().find(&e2e::id(&run), Consistency::Strong).await;
    let arn = row.unwrap().unwrap().execution_arn();
    let ask = async |schema: &str| {
        let event = format!(
            r#"{{"detail-type":"Agent Input Required","detail":{{"execution_arn":"{arn}",
                "task_token":"token-{run}","question":"How much?","schema":{schema}}}}}"#
        );
        stack.invoke_with("StatusFunctionName", event).await
    };

    // The engine writes an event anew: of its numbers whole ones alone keep their digits, as here.
    let error = ask(r#"{"maximum": 12345678901234567890123}"#).await.unwrap_err();
    assert_eq!(error["errorMessage"], "cannot read an agent's event");
    assert_eq!(user.monitor(&run).await.text("status"), "running");

    let written = r#"{"type": "number", "maximum": 1.0, "default": 12345678901234567890123}"#;
    ask(written).await.unwrap();
    let shown = format!(r#""schema":{written}"#);
    let monitor = text(&user, &format!("/v1/executions/{run}")).await;
    assert!(monitor.contains(&shown), "{monitor}");
    let callback = receiver.wait_for(1).await.remove(0);
    assert!(callback.text().contains(&shown), "{}", callback.text());
    stack.step_functions.stop_execution().execution_arn(arn).send().await.unwrap();
}
