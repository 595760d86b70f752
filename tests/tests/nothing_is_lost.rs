//! The row is the truth: whatever message is lost, and whoever dies, what is owed is done.

use std::time::Duration;

use e2e::{Stack, User, eventually, id, receiver::Receiver};
use relay::{
    domain::{
        api_key::ApiKeyHash,
        callback::Callback,
        caller::Actor,
        debt::{Debt, DebtKind},
        delivery::{CALLBACK_TARGET, Delivery},
        event_type::EventType,
        execution::Execution,
        id::ExecutionId,
        protocol::Grounds,
        status::Rank,
        time::Timestamp,
    },
    store::{
        batch::Consistency,
        deliveries::Lease,
        executions::{Accept, NewExecution},
        transitions::Claim,
        write::Step,
    },
};
use reqwest::Method;
use serde_json::{Value, json};
use ulid::Ulid;

const EVERYTHING: &[&str] = &["execute:*", "view:*", "cancel:*"];
const DELIVERY: &str = "delivery#completed#0#callback";
const HOUR: Duration = Duration::from_hours(1);

/// A run that was accepted, and whose launch message was lost.
async fn accepted(
    user: &User,
    machine: &str,
    callback_url: Option<&str>,
    attributes: Value,
) -> Execution {
    let stack = &user.stack;
    let run: ExecutionId = id(&format!("mcp-lost-{}", Ulid::generate()));
    let now = Timestamp::now();
    let mut row = json!({
        "execution_id": run, "user_id": user.id, "agent_name": "lost",
        "state_machine_arn": stack.output(machine), "status": "queued", "redrive_count": 0, "rank": 0,
        "created_at": now, "updated_at": now, "launch_before": now.plus(HOUR),
        "due_at": now, "debt": Debt::of(DebtKind::Launch, &run),
        "callback_events": callback_url.map_or(vec![], |_| EventType::ENDS.to_vec()),
    });
    row.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
    let execution: Execution = serde_json::from_value(row).unwrap();
    // By the right of the key that would have started it.
    let key = ApiKeyHash::of(&user.key).to_hex();
    let holder = json!({"credential": key, "lineage": key});
    let callback: Option<Callback> = callback_url
        .map(|url| serde_json::from_value(json!({"url": url, "holder": holder})).unwrap());
    let input = json!({"messages": [{"role": "user", "content": "lost and found"}], "parameters": {"wait_seconds": 0}});
    let new = NewExecution {
        execution: &execution,
        input: &input.to_string(),
        callback: callback.as_ref(),
        request_hash: "hash",
    };
    assert_eq!(stack.executions().accept(new).await.unwrap(), Accept::Stored);
    execution
}

async fn sweep_until_status(user: &User, id: &ExecutionId, status: &str) -> Value {
    user.stack
        .sweep_until(&format!("{id} to be {status}"), async || {
            let answer = user.monitor(id.as_str()).await;
            (answer.text("status") == status).then_some(answer.body)
        })
        .await
}

/// What Step Functions knows of a run.
async fn described(stack: &Stack, execution: &Execution) -> Option<String> {
    let arn = execution.execution_arn();
    let described = stack.step_functions.describe_execution().execution_arn(arn).send().await;
    described.ok().map(|output| output.status.as_str().to_owned())
}

#[tokio::test]
async fn a_run_whose_launch_message_was_lost_is_launched_and_called_back() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let run = accepted(&user, "EchoMachineArn", Some(&receiver.url()), json!({})).await;

    sweep_until_status(&user, &run.execution_id, "completed").await;

    assert_eq!(user.results(run.execution_id.as_str()).await.body["result"], "lost and found");
    assert_eq!(receiver.wait_for(1).await[0].body()["type"], "execution.completed");
}

#[tokio::test]
async fn a_run_whose_launch_died_after_the_claim_or_after_the_start_is_launched_once() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let claimed = accepted(&user, "EchoMachineArn", None, json!({})).await;
    let started = accepted(&user, "EchoMachineArn", None, json!({})).await;
    for run in [&claimed, &started] {
        let claim = stack.executions().claim(&run.execution_id).await.unwrap();
        assert!(matches!(claim, Claim::Claimed(..)));
    }
    let input = stack.executions().find_input(&started.execution_id).await.unwrap().unwrap().input;
    stack
        .step_functions
        .start_execution()
        .state_machine_arn(started.state_machine_arn.as_str())
        .name(started.execution_id.as_str())
        .input(input)
        .send()
        .await
        .unwrap();

    for run in [&claimed, &started] {
        sweep_until_status(&user, &run.execution_id, "completed").await;
    }
}

#[tokio::test]
async fn a_delivery_whose_message_was_lost_or_whose_attempt_died_is_made() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    for died in [false, true] {
        let receiver = Receiver::start().await;
        let before = accepted(
            &user,
            "EchoMachineArn",
            Some(&receiver.url()),
            json!({"due_at": Timestamp::now().plus(HOUR)}),
        )
        .await;
        let ended = Execution {
            rank: Rank::Ended as u8,
            status: relay::domain::status::Status::Completed,
            due_at: None,
            debt: None,
            ..before.clone()
        };
        let owed =
            Delivery::owed(&ended, EventType::Completed, CALLBACK_TARGET, Duration::ZERO, HOUR);
        let owing = std::slice::from_ref(&owed);
        let step = stack.executions().advance(&before, &ended, Grounds::Told, None, owing).await;
        assert_eq!(step.unwrap(), Step::Applied);
        if died {
            let lease =
                stack.deliveries().lease(&owed.execution_id, &owed.part, Duration::ZERO).await;
            assert!(matches!(lease.unwrap(), Lease::Held(_)));
        }

        let delivery = stack
            .sweep_until("the delivery", async || {
                let mut parts = stack.parts(owed.execution_id.as_str()).await;
                parts.remove(DELIVERY).filter(|part| part["state"] == "delivered")
            })
            .await;
        assert_eq!(delivery["attempt_count"], if died { 2 } else { 1 });
        assert_eq!(receiver.received().await.len(), 1);
    }
}

#[tokio::test]
async fn a_run_that_could_not_be_launched_in_time_fails_and_never_starts() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let late = json!({"launch_before": Timestamp::now()});
    let run = accepted(&user, "EchoMachineArn", Some(&receiver.url()), late).await;

    sweep_until_status(&user, &run.execution_id, "failed").await;

    let results = user.results(run.execution_id.as_str()).await;
    assert_eq!(results.body["error"]["code"], "queue_timeout");
    assert_eq!(receiver.wait_for(1).await[0].body()["data"], results.body);
    assert_eq!(described(&stack, &run).await, None);
}

#[tokio::test]
async fn a_run_that_step_functions_does_not_know_is_lost_once_that_is_certain() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let ago = |minutes| Timestamp::now().minus(Duration::from_mins(minutes));
    // Claimed long ago, but launched late.
    let running = |started_at| {
        json!({
            "status": "running", "rank": 20, "claimed_at": ago(40), "started_at": started_at, "updated_at": ago(20),
        })
    };
    let fresh = accepted(&user, "EchoMachineArn", None, running(ago(5))).await;
    let old = accepted(&user, "EchoMachineArn", None, running(ago(16))).await;
    let unlaunched =
        json!({"claimed_at": ago(90), "launch_before": ago(31), "created_at": ago(91)});
    let never = accepted(&user, "EchoMachineArn", None, unlaunched).await;

    for run in [&old, &never] {
        sweep_until_status(&user, &run.execution_id, "failed").await;
        let results = user.results(run.execution_id.as_str()).await;
        assert_eq!(results.body["error"]["code"], "execution_lost");
        assert_eq!(described(&stack, run).await, None);
    }
    assert_eq!(user.monitor(fresh.execution_id.as_str()).await.text("status"), "running");
}

/// A run that was told to have been lost, though it was started with a pause of so many seconds.
async fn presumed_lost(user: &User, receiver: &Receiver, wait: u32) -> Execution {
    let stack = &user.stack;
    let ago = |minutes| Timestamp::now().minus(Duration::from_mins(minutes));
    let unlaunched = json!({
        "claimed_at": ago(90), "launch_before": ago(31), "created_at": ago(91), "updated_at": ago(91),
    });
    let run = accepted(user, "EchoMachineArn", Some(&receiver.url()), unlaunched).await;
    sweep_until_status(user, &run.execution_id, "failed").await;
    assert_eq!(receiver.wait_for(1).await[0].body()["data"]["error"]["code"], "execution_lost");
    let input = json!({"messages": [{"role": "user", "content": "found"}], "parameters": {"wait_seconds": wait}});
    let start = stack.step_functions.start_execution().name(run.execution_id.as_str());
    let start = start.state_machine_arn(run.state_machine_arn.as_str()).input(input.to_string());
    start.send().await.unwrap();
    run
}

/// Sweeps a run whose end was presumed, as if its grace had passed, until `condition` holds.
async fn look_again(stack: &Stack, id: &str, condition: impl AsyncFn() -> bool) {
    let what = format!("what becomes of {id}");
    stack
        .sweep_until(&what, async || {
            if condition().await {
                return Some(());
            }
            let mut row = stack.parts(id).await.remove("state")?;
            if row.get("due_at").is_some() {
                row["due_at"] = json!(Timestamp::now());
                stack.put("ExecutionsTable", row).await;
            }
            None
        })
        .await;
}

#[tokio::test]
async fn an_end_that_was_presumed_is_corrected_by_what_step_functions_says() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;

    let run = presumed_lost(&user, &receiver, 0).await;
    let id = run.execution_id.as_str();

    // By its event, or by the look that follows.
    look_again(&stack, id, async || user.monitor(id).await.text("status") == "completed").await;
    assert_eq!(user.results(id).await.body["result"], "found");
    let told = receiver.wait_for(2).await;
    assert_eq!(told[1].body()["type"], "execution.completed");
    assert_eq!(told[1].body()["data"], user.results(id).await.body);
    let parts = user.wait_for_parts(id).await;
    assert_eq!((&parts["state"]["rank"], parts["state"].get("due_at")), (&json!(90), None));
}

#[tokio::test]
async fn a_run_that_was_told_to_have_ended_is_stopped_and_keeps_that_end() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;

    let run = presumed_lost(&user, &receiver, 3600).await;
    let id = run.execution_id.as_str();
    look_again(&stack, id, async || {
        described(&stack, &run).await.as_deref() == Some("ABORTED")
            && stack.parts(id).await["state"]["rank"] == 90
    })
    .await;

    let results = user.results(id).await.body;
    assert_eq!(
        (&results["status"], &results["error"]["code"]),
        (&json!("failed"), &json!("execution_lost"))
    );
    user.wait_for_parts(id).await;
    let told = receiver.received().await;
    assert_eq!(told.len(), 1, "it was told already");

    // It is true still, and can be told again.
    let delivery = told[0].header("webhook-id");
    let path = format!("/v1/executions/{id}/deliveries/{delivery}/redeliver");
    assert_eq!(user.send(reqwest::Method::POST, &path, &[], "").await.status, 202);
    let again = receiver.wait_for(2).await.swap_remove(1);
    assert_eq!(again.header("webhook-id"), delivery);
    assert_eq!(again.body()["data"], told[0].body()["data"]);
    assert_eq!(again.body()["data"]["error"]["code"], "execution_lost");
}

#[tokio::test]
async fn an_end_that_was_presumed_rightly_owes_nothing_after_one_look() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let late = json!({"launch_before": Timestamp::now()});
    let run = accepted(&user, "EchoMachineArn", None, late).await;
    let id = run.execution_id.as_str();
    sweep_until_status(&user, &run.execution_id, "failed").await;
    let parts = stack.parts(id).await;
    assert_eq!(parts["state"]["rank"], 80);
    assert!(parts["state"]["due_at"].as_i64() > Some(Timestamp::now().plus(HOUR / 6).millis()));

    look_again(&stack, id, async || stack.parts(id).await["state"].get("due_at").is_none()).await;

    let after = stack.parts(id).await;
    assert!(after["state"].get("debt").is_none());
    assert_eq!((&after["state"]["rank"], &after["output"]), (&json!(80), &parts["output"]));
}

#[tokio::test]
async fn a_cancelled_run_is_never_started_or_is_stopped_and_an_ended_one_says_so() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let other = stack.user(EVERYTHING).await;
    let narrow = User { key: stack.key(&user.id, &["view:*"], json!({})).await, ..user.clone() };
    let cancel = async |user: &User, id: &str| {
        user.send(reqwest::Method::POST, &format!("/v1/executions/{id}/cancel"), &[], "").await
    };

    let unclaimed =
        accepted(&user, "EchoMachineArn", None, json!({"due_at": Timestamp::now().plus(HOUR)}))
            .await;
    let name = unclaimed.execution_id.as_str();
    assert_eq!(cancel(&other, name).await.status, 404);
    assert_eq!(cancel(&narrow, name).await.status, 403);
    assert_eq!(
        cancel(&user, name).await.body,
        json!({"execution_id": name, "status": "cancelling"})
    );
    user.wait_for(name, "cancelled").await;
    assert_eq!(described(&stack, &unclaimed).await, None);

    let slow = user.start(&json!({"agent_name": "slow", "input_message": "x"})).await;
    user.wait_for(&slow, "running").await;
    assert_eq!(cancel(&user, &slow).await.status, 202);
    // Again is harmless, until it has ended.
    assert!([202, 409].contains(&cancel(&user, &slow).await.status));
    user.wait_for(&slow, "cancelled").await;
    assert_eq!(user.results(&slow).await.body["error"]["code"], "Cancelled");
    let refused = cancel(&user, &slow).await;
    assert_eq!(
        (refused.status, refused.text("detail").as_str()),
        (409, "the execution has ended: cancelled")
    );
    assert_eq!(cancel(&user, "mcp-nobody-1").await.status, 404);

    // Cancelled, and its message lost.
    let slow = user.start(&json!({"agent_name": "slow", "input_message": "x"})).await;
    user.wait_for(&slow, "running").await;
    let past = Timestamp::now();
    let actor = Actor { user_id: "someone".to_owned().into(), key_id: "x".to_owned() };
    stack.executions().request_cancel(&id(&slow), &actor, past).await.unwrap();
    sweep_until_status(&user, &id(&slow), "cancelled").await;
}

#[tokio::test]
async fn a_run_past_its_deadline_is_stopped_and_has_timed_out() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let body = json!({"agent_name": "slow", "input_message": "x", "timeout_seconds": 1, "callback_url": receiver.url()});
    let slow = user.start(&body).await;
    let unclaimed =
        accepted(&user, "EchoMachineArn", None, json!({"deadline": Timestamp::now()})).await;

    sweep_until_status(&user, &id(&slow), "timeout").await;
    assert_eq!(user.results(&slow).await.body["error"]["code"], "States.Timeout");
    assert_eq!(receiver.wait_for(1).await[0].body()["type"], "execution.timeout");
    sweep_until_status(&user, &unclaimed.execution_id, "timeout").await;
    assert_eq!(described(&stack, &unclaimed).await, None);
}

#[tokio::test]
async fn a_redriven_run_is_reopened_and_told_again() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let run = user
        .start(&json!({"agent_name": "fail", "input_message": "x", "callback_url": receiver.url()}))
        .await;
    user.wait_for(&run, "failed").await;
    let row = stack.executions().find(&id(&run), Consistency::Strong).await.unwrap().unwrap();
    let event = |status: &str, redrive_count: u32| {
        json!({"detail": {
            "executionArn": row.execution_arn(), "name": run, "status": status, "redriveCount": redrive_count,
            "startDate": 1_767_225_600_000_i64, "stopDate": 1_767_225_660_000_i64, "output": "{\"result\": \"at last\"}",
        }})
    };

    stack.invoke("StatusFunctionName", &event("RUNNING", 1)).await.unwrap();
    assert_eq!(user.monitor(&run).await.text("status"), "running");
    assert_eq!(user.results(&run).await.text("message"), "Execution not yet complete");
    let parts = stack.parts(&run).await;
    assert!(parts["state"].get("ttl").is_none());
    let kept = parts["input"]["ttl"].as_i64().unwrap();
    // The old end comes late, and again.
    stack.invoke("StatusFunctionName", &event("FAILED", 0)).await.unwrap();
    stack.invoke("StatusFunctionName", &event("SUCCEEDED", 1)).await.unwrap();

    assert_eq!(user.results(&run).await.body["result"], "at last");
    let received = receiver.wait_for(2).await;
    let types: Vec<_> = received.iter().map(|it| it.body()["type"].clone()).collect();
    assert_eq!(types, ["execution.failed", "execution.completed"]);
    assert_eq!(stack.parts(&run).await["input"]["ttl"], kept, "an end leaves it alone");
}

#[tokio::test]
async fn a_malformed_event_goes_to_the_failures_with_its_reason() {
    let stack = Stack::connect().await;
    for event in [json!({}), json!({"detail": {"status": "DANCING"}}), json!("text"), json!(null)] {
        let error = stack.invoke("StatusFunctionName", &event).await.unwrap_err();
        assert_eq!(error["errorType"], "Corrupt");
        assert!(error["errorMessage"].as_str().unwrap().contains("a status event"), "{error}");
    }

    let mark = Ulid::generate().to_string();
    stack.hand_over("StatusFunctionName", &json!({"detail": mark})).await;
    let queue = stack.output("StatusFailuresUrl");
    let record = eventually("the event among the failures", async || {
        let received = stack.sqs.receive_message().queue_url(queue).send().await.unwrap();
        let bodies = received.messages.unwrap_or_default().into_iter().filter_map(|it| it.body);
        bodies.into_iter().find(|body| body.contains(&mark))
    })
    .await;
    assert!(record.contains("cannot read a status event"), "{record}");
}

#[tokio::test]
async fn deliveries_are_shown_and_made_again_on_request() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let other = stack.user(EVERYTHING).await;
    let receiver = Receiver::answering(&[410, 200]).await;
    let body = json!({
        "agent_name": "echo", "input_message": "x", "parameters": {"wait_seconds": 0}, "callback_url": receiver.url(),
    });
    let run = user.start(&body).await;
    let path = format!("/v1/executions/{run}/deliveries");
    let in_state = async |state: &str| {
        eventually(&format!("a delivery to be {state}"), async || {
            let shown = user.get(&path).await.body["deliveries"][0].clone();
            (shown["state"] == state).then_some(shown)
        })
        .await
    };

    let shown = in_state("undelivered").await;
    assert_eq!(
        (&shown["type"], &shown["target"]),
        (&json!("execution.completed"), &json!("callback"))
    );
    assert_eq!(shown["attempts"][0]["status"], 410);
    assert!(shown.get("next_attempt_at").is_none() && shown.get("url").is_none());
    assert_eq!(other.get(&path).await.status, 404);

    let redeliver = format!("{path}/{}/redeliver", shown["id"].as_str().unwrap());
    let again = user.send(reqwest::Method::POST, &redeliver, &[], "").await;
    assert_eq!((again.status, again.body["state"].as_str()), (202, Some("pending")));
    assert_eq!(other.send(reqwest::Method::POST, &redeliver, &[], "").await.status, 404);
    let nothing =
        user.send(reqwest::Method::POST, &format!("{path}/msg_0/redeliver"), &[], "").await;
    assert_eq!(nothing.status, 404);

    let shown = in_state("delivered").await;
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 2);
    let received = receiver.received().await;
    assert_eq!(received[0].header("webhook-id"), received[1].header("webhook-id"));
}

/// A machine of another region, where the launch role may start none.
fn denied_machine(stack: &Stack) -> String {
    let machine = stack.output("EchoMachineArn");
    let region = machine.split(':').nth(3).unwrap();
    machine.replacen(region, "ap-northeast-3", 1)
}

#[tokio::test]
async fn a_run_of_a_machine_that_may_not_be_started_fails_at_once_and_says_why() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let machine = json!({"state_machine_arn": denied_machine(&stack)});
    let agent = stack.agent("EchoMachineArn", machine).await;
    let body = json!({"agent_name": agent, "input_message": "x", "callback_url": receiver.url()});

    let id = user.start(&body).await;

    // Nobody sweeps; what is denied by an error would come again only after minutes.
    let told = receiver.wait_for(1).await[0].body();
    assert_eq!(told["type"], "execution.failed");
    assert_eq!(told["data"]["error"]["code"], "launch_denied", "{told}");
    let failed = user.monitor(&id).await;
    assert_eq!(failed.text("status"), "failed");
    let results = user.results(&id).await;
    assert!(results.body.to_string().contains("AgentStateMachines"), "{results:?}");
    user.wait_for_parts(&id).await;
    assert!(user.stack.parts(&id).await["state"].get("launch_answered").is_none(), "one attempt");
    let dead = stack.sqs.receive_message().queue_url(stack.output("LaunchDeadLettersUrl"));
    let dead = dead.max_number_of_messages(10).visibility_timeout(0).send().await.unwrap();
    assert!(!format!("{:?}", dead.messages).contains(&id), "{dead:?}");
}

#[tokio::test]
async fn a_cancelled_run_that_may_not_be_started_ends_unless_a_try_was_not_answered() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let executions = stack.executions();
    for is_answered in [true, false] {
        let later = Timestamp::now().plus(HOUR);
        let attributes = json!({"state_machine_arn": denied_machine(&stack), "due_at": later});
        let run = accepted(&user, "EchoMachineArn", None, attributes).await;
        let id = &run.execution_id;
        let Claim::Claimed(_, attempts) = executions.claim(id).await.unwrap() else { panic!() };
        let answered = is_answered.then_some(attempts.made);
        executions.delay_launch(id, later, answered).await.unwrap();

        let path = format!("/v1/executions/{id}/cancel");
        assert_eq!(user.send(Method::POST, &path, &[], "").await.status, 202);

        if is_answered {
            user.wait_for(id.as_str(), "cancelled").await;
            user.wait_for_parts(id.as_str()).await;
        } else {
            // That one may have started it: it is left to Step Functions' word.
            eventually("a launch that is denied", async || {
                let state = &stack.parts(id.as_str()).await["state"];
                (state["launch_delays"] == 2).then_some(())
            })
            .await;
            assert_eq!(user.monitor(id.as_str()).await.text("status"), "queued");
        }
    }
}
