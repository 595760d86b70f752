//! Runs that go on from where they failed, by Step Functions' redrive.

use std::time::Duration;

use e2e::{Answer, Stack, User, eventually, id, receiver::Receiver};
use relay::{domain::time::Timestamp, store::batch::Consistency};
use reqwest::Method;
use serde_json::{Value, json};

const EVERYTHING: &[&str] = &["execute:*", "view:*", "cancel:*"];

async fn post(user: &User, id: &str, what: &str) -> Answer {
    user.send(Method::POST, &format!("/v1/executions/{id}/{what}"), &[], "").await
}

/// A machine that fails until it is redriven, when its first state is not run again.
async fn failing_at_first(stack: &Stack) -> String {
    let definition = json!({
        "QueryLanguage": "JSONata",
        "StartAt": "Prepare",
        "States": {
            "Prepare": {"Type": "Pass", "Output": "{% {'result': 'mended'} %}", "Next": "Answer"},
            "Answer": {
                "Type": "Pass",
                "Output": "{% $states.context.Execution.RedriveCount >= 1 ? $states.input : $error('not yet') %}",
                "End": true,
            },
        },
    });
    stack.create_machine(definition.to_string()).await
}

/// A run that fails until it is redriven, of an agent with these limits.
async fn failed(user: &User, fields: &Value) -> String {
    let stack = &user.stack;
    let mut row = json!({"state_machine_arn": failing_at_first(stack).await});
    row.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let agent = stack.agent("EchoMachineArn", row).await;
    let receiver = fields["receiver"].as_str();
    let mut body = json!({"agent_name": agent, "input_message": "x", "timeout_seconds": 600});
    if let Some(receiver) = receiver {
        body["callback_url"] = receiver.into();
    }
    let run = user.start(&body).await;
    user.wait_for(&run, "failed").await;
    run
}

#[tokio::test]
async fn a_run_that_failed_goes_on_and_is_told_of_again() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let run = failed(&user, &json!({"receiver": receiver.url()})).await;

    // Asked for twice, it is redriven once.
    let answers = tokio::join!(post(&user, &run, "redrive"), post(&user, &run, "redrive"));
    let answers = [answers.0, answers.1];
    let accepted: Vec<_> = answers.iter().filter(|answer| answer.status == 202).collect();
    assert!(accepted.iter().any(|it| it.text("status") == "redriving"), "{answers:?}");
    // Whoever comes later finds that it runs.
    assert!(answers.iter().all(|answer| [202, 409].contains(&answer.status)), "{answers:?}");
    let ended = user.wait_for(&run, "completed").await;
    assert_eq!(ended.body["redrive_count"], 1);
    assert!(ended.body.get("redrive_requested_at").is_none());
    assert_eq!(user.results(&run).await.body["result"], "mended");
    let told = receiver.wait_for(2).await;
    let mut told: Vec<_> = told.iter().map(|post| post.body()["type"].to_string()).collect();
    told.sort();
    assert_eq!(told, ["\"execution.completed\"", "\"execution.failed\""]);
    let row = user.wait_for_parts(&run).await["state"].clone();
    assert_eq!(row["redriven_by"]["user_id"], user.id.as_str());
    // It has as long again.
    let time = |name: &str| row[name].as_i64().unwrap();
    assert!(time("deadline") > time("created_at") + 600_000, "{row}");

    let late = post(&user, &run, "redrive").await;
    assert_eq!((late.status, late.text("detail")), (409, "the execution has completed".to_owned()));
    let other = stack.user(EVERYTHING).await;
    assert_eq!(post(&other, &run, "redrive").await.status, 404);
    let body =
        json!({"agent_name": "echo", "input_message": "x", "parameters": {"wait_seconds": 600}});
    let goes_on = user.start(&body).await;
    let early = post(&user, &goes_on, "redrive").await;
    assert_eq!(
        (early.status, early.text("detail")),
        (409, "the execution has not ended".to_owned())
    );
    post(&user, &goes_on, "cancel").await;
}

#[tokio::test]
async fn a_run_goes_on_from_the_state_that_failed_and_by_sweep_alone() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let run = failed(&user, &json!({})).await;

    // Its message is lost.
    let row = stack.executions().find(&id(&run), Consistency::Strong).await.unwrap().unwrap();
    let by = row.started_by.clone().unwrap();
    stack.executions().request_redrive(&row, &by, &row.hops, row.created_at).await.unwrap();
    // However long it waits for its turn, all that it needs then is kept.
    let parts = stack.parts(&run).await;
    let kept = parts["state"]["ttl"].as_i64().unwrap();
    assert!(kept > Timestamp::now().plus(Duration::from_hours(29 * 24)).seconds());
    assert_eq!(parts["output"]["ttl"], kept);
    assert!(parts["input"]["ttl"].as_i64().unwrap() > kept);
    // It stands behind those who came before it was asked for.
    let place = |name: &str| parts["state"][name].as_i64().unwrap();
    assert_eq!(place("wait_order"), place("redrive_requested_at"));
    stack.executions().request_redrive(&row, &by, &row.hops, row.created_at).await.unwrap();
    let shown = user.monitor(&run).await;
    assert!(shown.body["redrive_requested_at"].is_string(), "{shown:?}");
    stack.sweep().await;
    user.wait_for(&run, "completed").await;
    assert_eq!(user.results(&run).await.body["result"], "mended");
}

#[tokio::test]
async fn what_step_functions_does_not_know_is_refused_by_its_word() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let run = failed(&user, &json!({})).await;
    // As if it had ended so long ago that Step Functions has forgotten it.
    let other = format!("{}-other", stack.output("EchoMachineArn"));
    let mut row = stack.parts(&run).await["state"].clone();
    row["state_machine_arn"] = json!(other);
    stack.put("ExecutionsTable", row).await;
    assert_eq!(post(&user, &run, "redrive").await.status, 202);
    let refused = eventually("a refusal", async || {
        let shown = user.monitor(&run).await;
        shown.body["redrive_refusal"].is_string().then_some(shown)
    })
    .await;
    assert!(refused.text("redrive_refusal").contains("Does Not Exist"), "{refused:?}");
    assert!(refused.body.get("redrive_requested_at").is_none(), "{refused:?}");
    assert_eq!(refused.text("status"), "failed");
    assert!(!stack.owing().await.contains(&run));

    // One that was never started is nothing that Step Functions could redrive.
    let machine = json!({"state_machine_arn": other});
    let agent = stack.agent("EchoMachineArn", machine).await;
    let run = user.start(&json!({"agent_name": agent, "input_message": "x"})).await;
    user.wait_for(&run, "failed").await;
    let refused = post(&user, &run, "redrive").await;
    assert_eq!(refused.status, 409);
    assert!(refused.text("detail").contains("rerun it"), "{refused:?}");
    // Who may not view it does not learn why.
    let blind = stack.key(&user.id, &["execute:*"], json!({})).await;
    let blind = User { key: blind, ..user };
    let refused = post(&blind, &run, "redrive").await;
    let told: Value = refused.text("detail").into();
    assert_eq!((refused.status, told), (409, json!("the execution cannot be redriven")));
}

#[tokio::test]
async fn a_redrive_takes_a_slot_or_waits_for_one() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    // Its limit is newer than it is.
    let run = failed(&user, &json!({})).await;
    let agent = user.monitor(&run).await.text("agent_name");
    let machine = stack.parts(&run).await["state"]["state_machine_arn"].clone();
    let row = json!({
        "agent_name": agent, "status": "active", "state_machine_arn": machine, "max_concurrent": 1,
    });
    stack.put("AgentsTable", row).await;
    let pool = format!("slots#{agent}");
    let slot = json!({"execution_id": pool, "part": "slot#0", "holder": "mcp-other-1"});
    stack.put("ExecutionsTable", slot).await;
    let waits = async || (user.monitor(&run).await.body["waits_for"] == "agent").then_some(());
    assert_eq!(post(&user, &run, "redrive").await.status, 202);
    eventually("it to wait", waits).await;
    let row = stack.parts(&run).await["state"].clone();
    let month = Timestamp::now().plus(Duration::from_hours(29 * 24)).seconds();
    assert!(row["ttl"].as_i64() > Some(month), "it is kept: {row}");

    // What was asked for can be withdrawn while it waits, and asked for again.
    assert_eq!(post(&user, &run, "cancel").await.status, 202);
    let shown = user.monitor(&run).await;
    assert_eq!(shown.text("redrive_refusal"), "the request was cancelled");
    assert!(shown.body.get("waits_for").is_none(), "{shown:?}");
    assert_eq!(post(&user, &run, "cancel").await.status, 409);

    // From its claim on it may be redriven any moment, so that its end cannot be promised.
    let mut claimed = stack.parts(&run).await["state"].clone();
    claimed["redrive_requested_at"] = json!(Timestamp::now());
    stack.put("ExecutionsTable", claimed).await;
    let refused = post(&user, &run, "cancel").await;
    assert_eq!(refused.status, 409);
    assert!(refused.text("detail").contains("being redriven"), "{refused:?}");
    assert_eq!(post(&user, &run, "redrive").await.status, 202);
    eventually("it to wait", waits).await;
    assert_eq!(user.monitor(&run).await.text("status"), "failed");
    stack.forget(&pool, "slot#0").await;
    stack.make_due(&pool, "line").await;
    stack.sweep().await;
    user.wait_for(&run, "completed").await;
    eventually("no slot to be taken", async || {
        let parts = stack.parts(&pool).await;
        (!parts.keys().any(|part| part.starts_with("slot#"))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_redrive_is_counted_and_refused_like_a_start() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let run = failed(&user, &json!({})).await;
    let path = format!("/v1/executions/{run}/redrive");
    let refused = user.send(Method::POST, &path, &[], r#"{"redrive_count":1}"#).await;
    assert_eq!((refused.status, refused.text("field").as_str()), (422, "redrive_count"));
    let key = stack.key(&user.id, EVERYTHING, json!({"rate_limit": 0})).await;
    let spent = User { key, ..user.clone() };
    assert_eq!(post(&spent, &run, "redrive").await.status, 429);

    let row = stack.parts(&run).await["state"].clone();
    let mut of_inactive = row.clone();
    of_inactive["agent_name"] =
        json!(stack.agent("EchoMachineArn", json!({"status": "inactive"})).await);
    stack.put("ExecutionsTable", of_inactive).await;
    let refused = post(&user, &run, "redrive").await;
    assert_eq!(refused.status, 409);
    assert!(refused.text("detail").contains("inactive"), "{refused:?}");
    stack.put("ExecutionsTable", row).await;
    assert_eq!(user.send(Method::POST, &path, &[], "{}").await.status, 202);
    user.wait_for(&run, "completed").await;
}
