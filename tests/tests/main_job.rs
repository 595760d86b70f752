//! The main job: start an agent, watch it, get its result, be called back.

use e2e::{Stack, User, eventually, receiver::Receiver};
use relay::domain::{execution::CLOCK_LEAD, time::Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

const EVERYTHING: &[&str] = &["execute:*", "view:*"];

async fn arn(stack: &Stack, id: &str) -> String {
    let execution =
        stack.executions().find(&e2e::id(id), relay::store::batch::Consistency::Strong).await;
    execution.unwrap().unwrap().execution_arn()
}

#[tokio::test]
async fn an_agent_runs_is_watched_and_its_result_is_read_and_called_back() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;

    let started = user
        .post(&json!({
            "agent_name": "echo", "input_message": "hello relay", "parameters": {"wait_seconds": 1},
            "callback_url": receiver.url(), "callback_headers": {"Authorization": "Bearer of-the-test"},
            "tags": {"order": "4711"},
        }))
        .await;
    assert_eq!(started.status, 202);
    let id = started.text("execution_id");
    assert!(id.starts_with("mcp-echo-") && id.len() <= 80, "{id}");
    assert!(started.header("location").ends_with(&format!("/v1/executions/{id}")), "{started:?}");
    assert_eq!(started.body["status"], "started");
    assert_eq!(started.body["agent_name"], "echo");
    assert_eq!(started.body["poll_interval"], 5);
    assert!(started.body.as_object().unwrap().contains_key("estimated_time"));

    // A look right after the start must not miss.
    let first = user.monitor(&id).await;
    assert_eq!(first.status, 200);
    assert!(["queued", "running"].contains(&first.text("status").as_str()), "{first:?}");
    assert!(first.body.get("completed_at").is_none());
    let early = user.results(&id).await;
    assert_eq!((early.status, early.text("message").as_str()), (200, "Execution not yet complete"));
    assert_eq!(early.body.as_object().unwrap().len(), 3);

    let ended = user.wait_for(&id, "completed").await;
    assert_eq!(ended.body["progress"], 100);
    for time in ["created_at", "started_at", "updated_at", "completed_at"] {
        assert!(ended.text(time).ends_with('Z'), "{ended:?}");
    }
    let results = user.results(&id).await;
    assert_eq!(results.body["result"], "hello relay");
    assert_eq!(results.body["tools_used"], json!(["echo"]));
    assert_eq!(results.body["tokens_used"]["total"], 4);
    assert_eq!(results.body["agent_name"], "echo");
    assert!(results.body["execution_time_ms"].as_u64().unwrap() >= 900, "{results:?}");
    assert!(results.body.get("error").is_none() && results.body.get("metadata").is_none());

    let callback = &receiver.wait_for(1).await[0];
    assert_eq!(callback.method(), "POST");
    assert_eq!(callback.path_and_query(), "/hook?signature=0a%2Fb");
    assert_eq!(callback.header("authorization"), "Bearer of-the-test");
    assert_eq!(callback.header("content-type"), "application/json");
    assert!(callback.is_signed_for(&user).await);
    assert_eq!(callback.body()["type"], "execution.completed");
    assert_eq!(callback.body()["timestamp"], results.body["completed_at"]);
    assert_eq!(callback.body()["data"], results.body);

    assert_eq!(stack.executions_of("EchoMachineArn").await.get(&id), Some(&1));
    delivered_once_and_nothing_is_owed(&stack, &id).await;
}

/// The row at rest: the delivery recorded, nothing in the index of debts, and everything expires.
async fn delivered_once_and_nothing_is_owed(stack: &Stack, id: &str) {
    const DELIVERY: &str = "delivery#completed#0#callback";
    let parts = eventually("the delivery to be recorded", async || {
        let parts = stack.parts(id).await;
        (parts[DELIVERY]["state"] == "delivered").then_some(parts)
    })
    .await;
    assert_eq!(parts.len(), 5, "state, input, callback, output, delivery: {:?}", parts.keys());
    assert_eq!(parts[DELIVERY]["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(parts[DELIVERY]["attempts"][0]["status"], 200);
    for (name, part) in &parts {
        assert!(part.get("due_at").is_none() && part.get("debt").is_none(), "{name} still owes");
        let lives_for = part["ttl"].as_i64().unwrap_or_default() - Timestamp::now().seconds();
        // What belongs to the run is kept for a day longer, so that its end need not touch it.
        let longer = if ["input", "callback"].contains(&name.as_str()) { 86_400 } else { 0 };
        let week = 7 * 86_400 + longer;
        assert!((week - 600..=week).contains(&lives_for), "{name} expires in {lives_for} s");
    }
    assert!(
        parts["state"].get("callback_url").is_none() && parts["state"].get("headers").is_none()
    );
}

#[tokio::test]
async fn the_agent_gets_the_frozen_input() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let id = user.start(&json!({"agent_name": "echo", "input_message": "hé\u{1F600}", "parameters": {"wait_seconds": 0}})).await;
    user.wait_for(&id, "completed").await;

    let described = stack
        .step_functions
        .describe_execution()
        .execution_arn(arn(&stack, &id).await)
        .send()
        .await
        .unwrap();
    let stored = stack.parts(&id).await["input"]["input"].as_str().unwrap().to_owned();
    assert_eq!(described.input.as_deref(), Some(stored.as_str()));
    let input: Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(input["messages"], json!([{"role": "user", "content": "hé\u{1F600}"}]));
    assert_eq!(input["parameters"], json!({"wait_seconds": 0}));
    assert_eq!(input["metadata"]["user_id"], user.id);
    assert_eq!(input["metadata"]["source"], "mcp_server");
    assert!(input["metadata"]["timestamp"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn a_conversation_is_normalised_and_metadata_given_on_request() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let id = user.start(&json!({"agent_name": "assistant", "input_message": "how many words", "parameters": {"n": 1.0}, "tags": {"a": "b"}})).await;
    user.wait_for(&id, "completed").await;

    let answer = user.get(&format!("/v1/executions/{id}/results?include_metadata=true")).await;
    assert_eq!(answer.body["result"], "Your question has 3 words.");
    assert_eq!(answer.body["tools_used"], json!(["count_words"]));
    assert_eq!(answer.body["tokens_used"]["total_tokens"], 17);
    let metadata = &answer.body["metadata"];
    assert_eq!(metadata["user_id"], user.id);
    assert_eq!(metadata["input_message"], "how many words");
    assert_eq!(metadata["parameters"], json!({"n": 1.0}));
    assert_eq!(metadata["tags"], json!({"a": "b"}));
    assert!(metadata["execution_arn"].as_str().unwrap().ends_with(&id));
    assert_eq!(metadata["raw_output"]["metadata"]["stop_reason"], "end_turn");
}

#[tokio::test]
async fn a_failure_tells_its_error_and_cause() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let id = user
        .start(&json!({"agent_name": "fail", "input_message": "x", "callback_url": receiver.url()}))
        .await;

    let ended = user.wait_for(&id, "failed").await;
    assert_eq!(ended.body["progress"], Value::Null);
    assert!(ended.text("message").contains("Example.Refused"), "{ended:?}");
    let results = user.results(&id).await;
    assert_eq!(
        results.body["error"],
        json!({"code": "Example.Refused", "cause": "This example agent always fails."})
    );
    assert!(results.body.get("result").is_none());

    let callback = &receiver.wait_for(1).await[0];
    assert_eq!(callback.body()["type"], "execution.failed");
    assert_eq!(callback.body()["data"], results.body);
}

#[tokio::test]
async fn a_running_agent_that_is_stopped_is_cancelled() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let id = user
        .start(&json!({"agent_name": "slow", "input_message": "x", "callback_url": receiver.url()}))
        .await;
    let running = user.wait_for(&id, "running").await;
    assert!(running.body.get("started_at").is_some());

    stack
        .step_functions
        .stop_execution()
        .execution_arn(arn(&stack, &id).await)
        .send()
        .await
        .unwrap();

    user.wait_for(&id, "cancelled").await;
    assert_eq!(user.results(&id).await.body["error"], json!({"code": "Cancelled", "cause": null}));
    assert_eq!(receiver.wait_for(1).await[0].body()["type"], "execution.cancelled");
}

/// The engine has no machine-level timeout, so the event is one of ours.
#[tokio::test]
async fn a_run_that_timed_out_says_so_and_a_repeated_or_late_event_changes_nothing() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let id = user
        .start(&json!({"agent_name": "slow", "input_message": "x", "callback_url": receiver.url()}))
        .await;
    user.wait_for(&id, "running").await;
    let arn = arn(&stack, &id).await;
    let start = stack.parts(&id).await["state"]["started_at"].as_i64().unwrap();
    let event = |status: &str| {
        json!({"detail": {
            "executionArn": arn, "name": id, "status": status, "redriveCount": 0,
            "startDate": start, "stopDate": start + 3_000,
            "input": "{}", "error": null, "cause": null, "outputDetails": null,
        }})
    };

    for status in ["TIMED_OUT", "TIMED_OUT", "RUNNING", "FAILED"] {
        stack.invoke("StatusFunctionName", &event(status)).await.unwrap();
    }

    assert_eq!(user.monitor(&id).await.text("status"), "timeout");
    let results = user.results(&id).await;
    assert_eq!(results.body["error"]["code"], "States.Timeout");
    assert_eq!(results.body["execution_time_ms"], 3_000);
    assert_eq!(receiver.wait_for(1).await[0].body()["type"], "execution.timeout");
    let deliveries =
        stack.parts(&id).await.into_keys().filter(|part| part.starts_with("delivery#")).count();
    assert_eq!(deliveries, 1);
    stack.step_functions.stop_execution().execution_arn(arn).send().await.unwrap();
}

#[tokio::test]
async fn an_event_of_another_machine_or_of_no_row_of_ours_changes_nothing() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let id = user.start(&json!({"agent_name": "slow", "input_message": "x"})).await;
    user.wait_for(&id, "running").await;
    let event = |arn: &str, name: &str| json!({"detail": {"executionArn": arn, "name": name, "status": "SUCCEEDED", "output": "{}", "redriveCount": 0}});

    let foreign = format!("arn:aws:states:us-east-1:000000000000:execution:other:{id}");
    stack.invoke("StatusFunctionName", &event(&foreign, &id)).await.unwrap();
    let long = format!("mcp-{}", "a".repeat(77));
    for name in ["mcp-nobody-1", "mcp-a.b", "mcp-a+b=c", "mcp-é", "mcp-", "other", &long] {
        stack.invoke("StatusFunctionName", &event(&foreign, name)).await.unwrap();
    }

    assert_eq!(user.monitor(&id).await.text("status"), "running");
    assert!(stack.parts("mcp-nobody-1").await.is_empty());
    stack
        .step_functions
        .stop_execution()
        .execution_arn(arn(&stack, &id).await)
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn an_event_that_says_little_or_what_cannot_be_ends_its_run_all_the_same() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let ended = async |changes: Value| {
        let id = user.start(&json!({"agent_name": "slow", "input_message": "x"})).await;
        user.wait_for(&id, "running").await;
        let arn = arn(&stack, &id).await;
        let mut event = json!({"detail": {"executionArn": arn, "name": id}});
        event["detail"].as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        stack.invoke("StatusFunctionName", &event).await.unwrap();
        stack.step_functions.stop_execution().execution_arn(arn).send().await.unwrap();
        user.results(&id).await.body
    };

    for changes in [
        json!({"outputDetails": {}}),
        json!({"outputDetails": {}, "redriveCount": null, "startDate": 0, "stopDate": 1}),
        json!({"startDate": "0", "stopDate": 4_102_444_800_000_u64, "error": {}, "cause": 1}),
        json!({"startDate": "2001-01-01T00:00:00Z", "stopDate": "2101-01-01T00:00:00Z"}),
    ] {
        let mut event = json!({"status": "SUCCEEDED", "output": "{\"result\": 1}"});
        event.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let results = ended(event).await;
        assert_eq!((&results["status"], &results["result"]), (&json!("completed"), &json!(1)));
        let taken = results["execution_time_ms"].as_u64().unwrap();
        assert!(taken < 120_000, "{changes}: {results}");
        let latest = json!(Timestamp::now().plus(CLOCK_LEAD).rfc3339());
        for time in ["started_at", "completed_at"] {
            assert!(results[time].as_str() <= latest.as_str(), "{changes}: {results}");
        }
    }
    for changes in [json!({"error": "", "cause": ""}), json!({"error": " ", "cause": null})] {
        let mut event = json!({"status": "FAILED"});
        event.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let results = ended(event).await;
        assert_eq!(results["error"], json!({"code": "Failed", "cause": null}), "{changes}");
    }
}

#[tokio::test]
async fn an_output_too_large_to_store_ends_its_run_by_that_code() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let large = "é\u{fffd}😀\"\\".repeat(50_000);
    for (told, status, code) in [
        (
            json!({"status": "SUCCEEDED", "output": json!(large).to_string()}),
            "failed",
            "output_too_large",
        ),
        (json!({"status": "FAILED", "error": "Odd", "cause": large}), "failed", "Odd"),
        (json!({"status": "TIMED_OUT", "cause": large}), "timeout", "States.Timeout"),
    ] {
        let body =
            json!({"agent_name": "slow", "input_message": "x", "callback_url": receiver.url()});
        let id = user.start(&body).await;
        user.wait_for(&id, "running").await;
        let arn = arn(&stack, &id).await;
        let mut event = json!({"detail": {"executionArn": arn, "name": id}});
        event["detail"].as_object_mut().unwrap().extend(told.as_object().unwrap().clone());

        stack.invoke("StatusFunctionName", &event).await.unwrap();

        let results = user.results(&id).await.body;
        assert_eq!((&results["status"], &results["error"]["code"]), (&json!(status), &json!(code)));
        assert!(!results["error"]["cause"].as_str().unwrap().is_empty());
        assert!(user.monitor(&id).await.text("message").ends_with(code));
        stack.step_functions.stop_execution().execution_arn(arn).send().await.unwrap();
    }
    assert_eq!(receiver.wait_for(3).await[0].body()["data"]["error"]["code"], "output_too_large");
}

#[tokio::test]
async fn an_output_too_large_for_its_event_is_asked_for() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let id = user.start(&json!({"agent_name": "echo", "input_message": "ab", "parameters": {"wait_seconds": 0}})).await;
    user.wait_for(&id, "completed").await;
    let arn = arn(&stack, &id).await;
    // As after a redrive, whose event had no room for the output.
    let event = json!({"detail": {
        "executionArn": arn, "name": id, "status": "SUCCEEDED", "redriveCount": 0,
        "outputDetails": {"included": false},
    }});
    let row = stack.parts(&id).await.remove("state").unwrap();
    reset_to_running(&stack, row).await;

    stack.invoke("StatusFunctionName", &event).await.unwrap();

    assert_eq!(user.results(&id).await.body["result"], "ab");
}

/// Puts the row back to where it was before its end, as if that event had not come yet.
async fn reset_to_running(stack: &Stack, mut row: Value) {
    row["status"] = json!("running");
    row["rank"] = json!(20);
    row.as_object_mut().unwrap().remove("ttl");
    stack.put("ExecutionsTable", row).await;
}

#[tokio::test]
async fn a_callback_may_ask_for_the_news_that_the_agent_runs() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let events = json!(["execution.running", "execution.completed"]);
    let id = user
        .start(&json!({
            "agent_name": "echo", "input_message": "x", "parameters": {"wait_seconds": 1},
            "callback_url": receiver.url(), "callback_events": events,
        }))
        .await;
    user.wait_for(&id, "completed").await;

    let received = receiver.wait_for(2).await;
    let running = received.iter().find(|it| it.body()["type"] == "execution.running").unwrap();
    assert_eq!(running.body()["data"]["status"], "running");
    assert!(received.iter().any(|it| it.body()["type"] == "execution.completed"));
    assert_ne!(received[0].header("webhook-id"), received[1].header("webhook-id"));
}

#[tokio::test]
async fn a_machine_that_does_not_exist_fails_the_run_and_says_why() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let machine =
        stack.output("EchoMachineArn").rsplit_once(':').unwrap().0.to_owned() + ":nowhere";
    let agent = stack.agent("EchoMachineArn", json!({"state_machine_arn": machine})).await;
    let subscription = json!({"url": receiver.url(), "agent_name": agent}).to_string();
    let added = user.send(Method::POST, "/v1/subscriptions", &[], subscription).await;
    assert_eq!(added.status, 201, "{added:?}");
    let id = user
        .start(&json!({"agent_name": agent, "input_message": "x", "callback_url": receiver.url()}))
        .await;

    user.wait_for(&id, "failed").await;
    assert_eq!(user.results(&id).await.body["error"]["code"], "StateMachineDoesNotExist");
    for told in receiver.wait_for(2).await {
        assert_eq!(told.body()["type"], "execution.failed");
    }
}

#[tokio::test]
async fn the_agents_average_is_learnt_and_estimates_later_runs() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let agent = stack.agent("EchoMachineArn", json!({})).await;
    let first = user
        .post(
            &json!({"agent_name": agent, "input_message": "x", "parameters": {"wait_seconds": 1}}),
        )
        .await;
    assert_eq!(first.body["estimated_time"], Value::Null);
    user.wait_for(&first.text("execution_id"), "completed").await;

    let average = eventually("the average", async || {
        let agents = user.get("/v1/agents").await.body["agents"].clone();
        let agent = agents
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["name"] == agent.as_str())
            .unwrap()
            .clone();
        agent["average_execution_time"].as_f64()
    })
    .await;
    assert!((0.9..30.0).contains(&average), "{average}");
}

#[tokio::test]
async fn a_caller_can_be_held_until_the_end_unless_too_many_are() {
    const SLOTS: u32 = 20;
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let quick =
        json!({"agent_name": "echo", "input_message": "held", "parameters": {"wait_seconds": 1}});

    let answer = user.post_with(&[("prefer", "wait=20")], &quick).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["result"], "held");
    assert_eq!(answer.header("preference-applied"), "wait=20");

    let id = user.start(&quick).await;
    let watched =
        user.send(Method::GET, &format!("/v1/executions/{id}"), &[("prefer", "wait=20")], "").await;
    assert_eq!(watched.text("status"), "completed");

    let slow = json!({"agent_name": "slow", "input_message": "x"});
    let in_time = user.post_with(&[("prefer", "wait=1")], &slow).await;
    assert_eq!((in_time.status, in_time.text("status").as_str()), (202, "started"));

    // All slots taken: the answer comes at once.
    let slot = |number: u32, held_until: i64| json!({"execution_id": format!("wait#{number}"), "part": "wait", "holder": "a test", "held_until": held_until});
    for number in 0..SLOTS {
        stack.put("ExecutionsTable", slot(number, i64::MAX)).await;
    }
    let at_once = user.post_with(&[("prefer", "wait=20")], &quick).await;
    for number in 0..SLOTS {
        stack.put("ExecutionsTable", slot(number, 0)).await;
    }
    assert_eq!((at_once.status, at_once.header("preference-applied")), (202, ""));

    let id = in_time.text("execution_id");
    user.wait_for(&id, "running").await;
    stack
        .step_functions
        .stop_execution()
        .execution_arn(arn(&stack, &id).await)
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn users_see_their_own_runs_and_an_admin_all() {
    let stack = Stack::connect().await;
    let owner = stack.user(EVERYTHING).await;
    let other = stack.user(EVERYTHING).await;
    let admin = stack.user(&["*:*"]).await;
    let run = owner.start(&json!({"agent_name": "echo", "input_message": "mine", "parameters": {"wait_seconds": 0}})).await;
    owner.wait_for(&run, "completed").await;

    for path in [format!("/v1/executions/{run}"), format!("/v1/executions/{run}/results")] {
        assert_eq!(other.get(&path).await.status, 404);
        assert_eq!(admin.get(&path).await.status, 200);
    }
    let narrow =
        User { key: stack.key(&owner.id, &["view:assistant"], json!({})).await, ..owner.clone() };
    assert_eq!(narrow.monitor(&run).await.status, 403);
    assert_eq!(narrow.get("/v1/executions").await.body["executions"], json!([]));
    let agents = narrow.get("/v1/agents").await;
    let names: Vec<_> =
        agents.body["agents"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, ["assistant"]);

    let listed = admin.get(&format!("/v1/executions?owner={}", owner.id)).await;
    assert_eq!(listed.body["executions"][0]["execution_id"], run.as_str());
    assert_eq!(other.get(&format!("/v1/executions?owner={}", owner.id)).await.status, 403);
    assert_eq!(other.get("/v1/executions").await.body, json!({"executions": []}));
    assert_eq!(admin.get("/v1/executions?owner=").await.body["field"], "owner");
}

#[tokio::test]
async fn lists_are_newest_first_filtered_and_paged() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let agent = stack.agent("EchoMachineArn", json!({})).await;
    let mut runs = Vec::new();
    for turn in 0..5 {
        let name = if turn == 2 { "fail" } else { &agent };
        let run = user.start(&json!({"agent_name": name, "input_message": "x", "parameters": {"wait_seconds": 0}})).await;
        user.wait_for(&run, if turn == 2 { "failed" } else { "completed" }).await;
        runs.insert(0, run);
    }
    let ids = |page: &Value| -> Vec<String> {
        page["executions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["execution_id"].as_str().unwrap().to_owned())
            .collect()
    };

    assert_eq!(ids(&user.get("/v1/executions").await.body), runs);
    let mut paged = Vec::new();
    let mut path = "/v1/executions?limit=2".to_owned();
    loop {
        let page = user.get(&path).await.body;
        assert!(ids(&page).len() <= 2);
        paged.extend(ids(&page));
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/v1/executions?limit=2&cursor={cursor}");
    }
    assert_eq!(paged, runs);
    assert_eq!(ids(&user.get("/v1/executions?status=failed").await.body), [runs[2].clone()]);
    let others: Vec<_> =
        runs.iter().enumerate().filter(|(at, _)| *at != 2).map(|(_, run)| run.clone()).collect();
    let mut filtered =
        ids(&user.get(&format!("/v1/executions?agent_name={agent}&limit=3")).await.body);
    assert_eq!(filtered, others[..3]);
    let page = user.get(&format!("/v1/executions?agent_name={agent}&limit=3")).await.body;
    let cursor = page["next_cursor"].as_str().unwrap();
    filtered.extend(ids(&user
        .get(&format!("/v1/executions?agent_name={agent}&limit=3&cursor={cursor}"))
        .await
        .body));
    assert_eq!(filtered, others);
}
