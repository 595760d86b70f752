//! A stack that is broken in one way after another, and what `doctor` says. Runs alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use aws_sdk_eventbridge::Client as EventBridge;
use e2e::{
    Stack,
    tool::{Said, Tool},
};
use relay::store::batch::Consistency;
use serde_json::{Value, json};

const RELAYCTL: Tool = Tool(env!("CARGO_BIN_EXE_relayctl"));

#[tokio::test]
async fn doctor_is_green_on_a_good_stack_and_names_each_fault_of_a_broken_one() {
    let stack = Stack::connect().await;
    tidy(&stack).await;
    let events = EventBridge::new(&stack.aws);
    let [rule, schedule] = ["EventRuleName", "SweepRuleName"].map(|it| stack.output(it));
    let lambda = aws_sdk_lambda::Client::new(&stack.aws);

    let good = RELAYCTL.run(&["doctor", "--run", "echo"]).await;
    assert!(good.ok && wrong(&good).is_empty(), "{}", good.text);
    assert!(good.text.contains("has completed"), "{}", good.text);
    let left = RELAYCTL.told(&["keys", "list", "--user", "relayctl-doctor", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&left).unwrap(), json!({"keys": []}));

    // 1: nobody is told of a status.
    events.disable_rule().name(rule).send().await.unwrap();
    let said = RELAYCTL.run(&["doctor"]).await;
    events.enable_rule().name(rule).send().await.unwrap();
    names(&said, "status rule", "is disabled");

    // 2: nobody processes what is overdue.
    events.disable_rule().name(schedule).send().await.unwrap();
    let said = RELAYCTL.run(&["doctor"]).await;
    events.enable_rule().name(schedule).send().await.unwrap();
    names(&said, "sweep schedule", "is disabled");

    // 3: an agent's machine is gone.
    let machine = format!("{}-gone", stack.output("EchoMachineArn"));
    let agent = stack.agent("EchoMachineArn", json!({"state_machine_arn": machine})).await;
    let said = RELAYCTL.run(&["doctor"]).await;
    RELAYCTL.told(&["agents", "deactivate", &agent]).await;
    names(&said, &format!("agent {agent}"), "does not exist");

    // 4: nobody takes the messages of the launch queue.
    let mappings = lambda.list_event_source_mappings();
    let mappings = mappings.function_name(stack.output("LaunchFunctionName")).send().await.unwrap();
    let mapping = mappings.event_source_mappings()[0].uuid().unwrap();
    lambda.update_event_source_mapping().uuid(mapping).enabled(false).send().await.unwrap();
    let said = RELAYCTL.run(&["doctor"]).await;
    lambda.update_event_source_mapping().uuid(mapping).enabled(true).send().await.unwrap();
    names(&said, "launch queue", "does not receive messages");

    // 5: every key has ended.
    let keys = every_key(&stack).await;
    let table = stack.output("ApiKeysTable");
    let put = async |row: &Value| {
        let item = relay::store::item::to_item(row).unwrap();
        stack.dynamodb.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
    };
    for key in &keys {
        let mut ended = key.clone();
        ended["expires_at"] = json!(1);
        put(&ended).await;
    }
    let said = RELAYCTL.run(&["doctor"]).await;
    for key in &keys {
        put(key).await;
    }
    names(&said, "keys", "no key is valid");

    // 6: a hint and an event that could not be processed. Sent back, they are, and are gone.
    let user = stack.user(&["execute:*", "view:*"]).await;
    events.disable_rule().name(rule).send().await.unwrap();
    let body = json!({"agent_name": "echo", "input_message": "a secret", "parameters": {"wait_seconds": 0}});
    let run = user.start(&body).await;
    // Nobody is told of it.
    e2e::eventually("the run to be started", async || {
        stack.executions_of("EchoMachineArn").await.contains_key(&run).then_some(())
    })
    .await;
    let found = stack.executions().find(&e2e::id(&run), Consistency::Strong).await.unwrap();
    let arn = found.unwrap().execution_arn();
    let event = json!({"detail": {
        "executionArn": arn, "name": run, "status": "SUCCEEDED", "output": r#"{"result": "a secret"}"#,
        "startDate": 1, "stopDate": 2,
    }});
    let record = json!({"requestPayload": event}).to_string();
    let hint = json!({"execution_id": run}).to_string();
    send(&stack, "StatusFailuresUrl", &record).await;
    send(&stack, "StatusFailuresUrl", "malformed, with a secret").await;
    send(&stack, "LaunchDeadLettersUrl", &hint).await;
    let said = RELAYCTL.run(&["doctor"]).await;
    let listed = RELAYCTL.told(&["dead-letters", "list"]).await;
    let replayed = RELAYCTL.run(&["dead-letters", "replay"]).await;
    let left = RELAYCTL.told(&["dead-letters", "list"]).await;
    events.enable_rule().name(rule).send().await.unwrap();

    let wrong = wrong(&said);
    assert!(!said.ok && wrong.len() == 3, "{wrong:?}");
    assert!(
        wrong[0].starts_with("launch dead letters") && wrong[0].contains("1 dead letters"),
        "{wrong:?}"
    );
    assert!(
        wrong[1].starts_with("status dead letters") && wrong[1].contains("2 dead letters"),
        "{wrong:?}"
    );
    assert!(wrong[2].starts_with("status rule") && wrong[2].contains("is disabled"), "{wrong:?}");
    assert!(
        listed.contains(&format!("{run} SUCCEEDED")) && listed.contains("3 in all"),
        "{listed}"
    );
    assert!(!replayed.ok && replayed.text.contains("kept: it holds no event"), "{replayed:?}");
    assert!(left.contains("unreadable, 24 bytes") && left.contains("1 in all"), "{left}");
    for text in [&listed, &replayed.text, &left] {
        assert!(!text.contains("secret"), "{text}");
    }
    assert_eq!(user.results(&run).await.body["result"], "a secret", "the event was taken");

    tidy(&stack).await;
    let good = RELAYCTL.run(&["doctor"]).await;
    assert!(good.ok, "{}", good.text);
}

/// What the checks say that found something wrong.
fn wrong(said: &Said) -> Vec<String> {
    let lines = said.text.lines().filter_map(|line| line.strip_prefix("wrong "));
    lines.map(|line| line.trim().to_owned()).collect()
}

/// Exactly this check is wrong, and says why.
#[track_caller]
fn names(said: &Said, check: &str, reason: &str) {
    let wrong = wrong(said);
    assert!(!said.ok && wrong.len() == 1, "{said:?}");
    assert!(wrong[0].starts_with(check) && wrong[0].contains(reason), "{wrong:?}");
}

async fn send(stack: &Stack, queue: &str, body: &str) {
    let queue = stack.output(queue);
    stack.sqs.send_message().queue_url(queue).message_body(body).send().await.unwrap();
}

/// Every row of the keys, as it is stored.
async fn every_key(stack: &Stack) -> Vec<Value> {
    let scan = stack.dynamodb.scan().table_name(stack.output("ApiKeysTable"));
    let mut items = scan.into_paginator().items().send();
    let mut keys = Vec::new();
    while let Some(item) = items.next().await {
        keys.push(relay::store::item::from_item(item.unwrap()).unwrap());
    }
    keys
}

/// Removes what other tests leave behind that is broken on purpose.
async fn tidy(stack: &Stack) {
    for queue in
        ["LaunchDeadLettersUrl", "WebhookDeadLettersUrl", "StatusFailuresUrl", "SweepFailuresUrl"]
    {
        stack.sqs.purge_queue().queue_url(stack.output(queue)).send().await.unwrap();
    }
    let agents = RELAYCTL.run(&["agents", "list", "--json"]).await.json();
    for agent in agents["agents"].as_array().unwrap() {
        let name = agent["agent_name"].as_str().unwrap();
        if !["approval", "assistant", "echo", "fail", "progress", "slow"].contains(&name) {
            RELAYCTL.told(&["agents", "deactivate", name]).await;
        }
    }
}
