//! Limits of what runs at once: never more than they say, by Step Functions' own word, everybody's turn comes, and
//! nobody keeps a slot that has ended.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use e2e::{Stack, User, eventually, id};
use futures_util::{StreamExt, future::join_all, stream};
use relay::{
    domain::time::Timestamp,
    store::{agents::Agents, batch::Consistency, slots::SlotClaim},
};
use reqwest::Method;
use serde_json::{Value, json};

const EVERYTHING: &[&str] = &["execute:*", "view:*", "cancel:*"];

async fn start(user: &User, agent: &str, fields: &Value) -> String {
    let mut body = json!({
        "agent_name": agent, "input_message": "x", "parameters": {"wait_seconds": 0},
    });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    user.start(&body).await
}

async fn cancel(user: &User, id: &str) -> u16 {
    user.send(Method::POST, &format!("/v1/executions/{id}/cancel"), &[], "").await.status
}

/// When each of these runs started and ended, by Step Functions.
async fn spans(stack: &Stack, machine: &str, ids: &[String]) -> BTreeMap<String, (f64, f64)> {
    let pages = stack.step_functions.list_executions().state_machine_arn(stack.output(machine));
    let mut executions = pages.into_paginator().items().send();
    let mut spans = BTreeMap::new();
    while let Some(execution) = executions.next().await {
        let execution = execution.unwrap();
        if ids.contains(&execution.name) {
            let end = execution.stop_date.map_or(f64::MAX, |end| end.as_secs_f64());
            spans.insert(execution.name, (execution.start_date.as_secs_f64(), end));
        }
    }
    spans
}

/// How many of these ran at once at most.
fn most_at_once<'a>(spans: impl Iterator<Item = &'a (f64, f64)>) -> usize {
    let spans: Vec<_> = spans.collect();
    let at_once = |at: f64| spans.iter().filter(|(start, end)| *start <= at && at < *end).count();
    spans.iter().map(|(at, _)| at_once(*at)).max().unwrap_or_default()
}

/// The slots that are taken of a pool, with who holds them.
async fn slots(stack: &Stack, pool: &str) -> HashMap<String, Value> {
    let mut parts = stack.parts(pool).await;
    parts.retain(|part, _| part.starts_with("slot#"));
    parts
}

/// Runs `count` runs of each of three users, who may have three at once, of an agent that may have seven.
async fn within_limits(count: usize) {
    const OF_AGENT: usize = 7;
    const OF_USER: usize = 3;

    let stack = Stack::connect().await;
    let agent = stack.agent("EchoMachineArn", json!({"max_concurrent": OF_AGENT})).await;
    let mut users = Vec::new();
    for _ in 0..3 {
        users.push(stack.user_with(EVERYTHING, json!({"max_concurrent": OF_USER})).await);
    }
    let started = (0..3 * count).map(async |number| {
        let user = &users[number % 3];
        let fields = json!({"parameters": {"wait_seconds": 1}});
        (number % 3, start(user, &agent, &fields).await)
    });
    let started: Vec<_> = stream::iter(started).buffer_unordered(4).collect().await;
    for (user, id) in &started {
        users[*user].wait_for(id, "completed").await;
    }

    let ids: Vec<_> = started.iter().map(|(_, id)| id.clone()).collect();
    let spans = spans(&stack, "EchoMachineArn", &ids).await;
    assert_eq!(spans.len(), ids.len(), "each is started once");
    let most = most_at_once(spans.values());
    assert!((2..=OF_AGENT).contains(&most), "{most} at once");
    for user in 0..3 {
        let own = started.iter().filter(|(of, _)| *of == user);
        let own: Vec<_> = own.map(|(_, id)| spans[id]).collect();
        let most = most_at_once(own.iter());
        assert!(most <= OF_USER, "{most} of one user at once");
    }
    println!("{} runs, {most} at once at most", ids.len());
    for pool in users.iter().map(|user| format!("slots##{OF_USER}#{}", user.id)) {
        assert!(slots(&stack, &pool).await.is_empty());
    }
    assert!(slots(&stack, &format!("slots#{agent}")).await.is_empty(), "nobody keeps a slot");
}

#[tokio::test]
async fn no_more_runs_go_on_at_once_than_the_limits_say_and_all_end() {
    within_limits(8).await;
}

#[cfg(feature = "all")]
#[tokio::test]
async fn three_hundred_runs_go_on_within_the_limits() {
    within_limits(100).await;
}

#[tokio::test]
async fn a_paused_agent_accepts_and_its_runs_start_by_their_priority_once_it_is_resumed() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let agent = stack.agent("EchoMachineArn", json!({"max_concurrent": 1, "paused": true})).await;
    let mut expected = Vec::new();
    for (number, priority) in [0, 0, 60, 0, 3600].into_iter().enumerate() {
        let id = start(&user, &agent, &json!({"priority": priority})).await;
        expected.push(((priority > 0).then(|| -priority), number, id));
    }
    // First those with a head start of more than what lies between them.
    expected.sort_by_key(|(priority, number, _)| (priority.unwrap_or_default(), *number));
    let expected: Vec<_> = expected.into_iter().map(|(_, _, id)| id).collect();
    for (place, id) in expected.iter().enumerate() {
        let run = eventually("its place", async || {
            let run = user.monitor(id).await;
            (run.body["queue_position"] == place).then_some(run)
        })
        .await;
        let shown = (run.text("status"), run.text("waits_for"));
        assert_eq!(shown, ("queued".to_owned(), "paused".to_owned()));
        let told = user.call("monitor_agent", json!({"execution_id": id})).await;
        assert_eq!(told.body, run.body);
    }
    let listed = user.get("/v1/agents").await.body["agents"].clone();
    let shown = listed.as_array().unwrap().iter().find(|it| it["name"] == agent.as_str()).unwrap();
    assert_eq!((&shown["paused"], &shown["max_concurrent"]), (&json!(true), &json!(1)));
    let spans_now = spans(&stack, "EchoMachineArn", &expected).await;
    assert!(spans_now.is_empty(), "none has started");

    let is_over = async || {
        let ended = join_all(expected.iter().map(|id| user.monitor(id))).await;
        ended.iter().all(|run| run.text("status") == "completed").then_some(())
    };
    resume(&stack, &agent).await;
    eventually("all runs to end", is_over).await;

    let spans = spans(&stack, "EchoMachineArn", &expected).await;
    let mut started: Vec<_> = spans.iter().map(|(id, (start, _))| (start, id.clone())).collect();
    started.sort_by(|a, b| a.0.total_cmp(b.0));
    let started: Vec<_> = started.into_iter().map(|(_, id)| id).collect();
    assert_eq!(started, expected, "in the order of their turns");
    assert_eq!(most_at_once(spans.values()), 1);
}

/// Has an agent start its runs again, by a sweep.
async fn resume(stack: &Stack, agent: &str) {
    let agents = Agents::new(stack.dynamodb.clone(), stack.output("AgentsTable").to_owned());
    agents.pause(&agent.parse().unwrap(), false).await.unwrap();
    stack.make_due(&format!("slots#{agent}"), "line").await;
    stack.sweep().await;
}

#[tokio::test]
async fn a_run_that_waited_takes_no_slot_where_there_is_no_limit_any_more() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let agent = stack.agent("EchoMachineArn", json!({"paused": true})).await;
    let run = start(&user, &agent, &json!({})).await;
    eventually("it to wait", async || {
        (user.monitor(&run).await.body["waits_for"] == "paused").then_some(())
    })
    .await;
    resume(&stack, &agent).await;
    user.wait_for(&run, "completed").await;
    eventually("no slot to be taken", async || {
        slots(&stack, &format!("slots#{agent}")).await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_that_waits_can_be_cancelled_and_ends_when_its_time_is_up() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let agent = stack.agent("EchoMachineArn", json!({"max_concurrent_per_user": 1})).await;
    let long = json!({"parameters": {"wait_seconds": 600}});
    let first = start(&user, &agent, &long).await;
    user.wait_for(&first, "running").await;
    let (second, late) = (
        start(&user, &agent, &json!({})).await,
        start(&user, &agent, &json!({"queue_timeout_seconds": 1})).await,
    );
    eventually("it to wait", async || {
        (user.monitor(&second).await.body["waits_for"] == "agent_user").then_some(())
    })
    .await;
    // Another user's share is another one's.
    let other = stack.user(EVERYTHING).await;
    let others = start(&other, &agent, &json!({})).await;
    other.wait_for(&others, "completed").await;

    stack
        .sweep_until("the late one's end", async || {
            (user.monitor(&late).await.text("status") == "failed").then_some(())
        })
        .await;
    assert_eq!(user.results(&late).await.body["error"]["code"], "queue_timeout");
    assert_eq!(cancel(&user, &second).await, 202);
    let ended = user.wait_for(&second, "cancelled").await;
    assert!(ended.body.get("waits_for").is_none() && ended.body.get("queue_position").is_none());
    let row = &stack.parts(&second).await["state"];
    assert!(row.get("line").is_none() && row.get("slots").is_none(), "{row}");

    // Whoever is stopped gives its slot to the next.
    let next = start(&user, &agent, &json!({})).await;
    cancel(&user, &first).await;
    user.wait_for(&next, "completed").await;
}

#[tokio::test]
async fn a_long_line_of_one_user_keeps_no_other_waiting() {
    let stack = Stack::connect().await;
    let (many, one) = (stack.user(EVERYTHING).await, stack.user(EVERYTHING).await);
    let fields = json!({"max_concurrent": 2, "max_concurrent_per_user": 1, "paused": true});
    let agent = stack.agent("EchoMachineArn", fields).await;
    let mut batches = Vec::new();
    for count in [100, 5] {
        let item = json!({"input_message": "x", "parameters": {"wait_seconds": 600}});
        let body = json!({"agent_name": agent, "items": vec![item; count]}).to_string();
        let accepted = many.send(Method::POST, "/v1/batches", &[], body).await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
        batches.push(accepted.text("batch_id"));
    }
    let run = start(&one, &agent, &json!({})).await;
    eventually("all to wait", async || {
        (one.monitor(&run).await.body["queue_position"] == 105).then_some(())
    })
    .await;
    resume(&stack, &agent).await;
    one.wait_for(&run, "completed").await;
    for batch in batches {
        many.send(Method::POST, &format!("/v1/batches/{batch}/cancel"), &[], "").await;
    }
}

#[tokio::test]
async fn a_key_waits_behind_no_other_limit_of_its_user() {
    let stack = Stack::connect().await;
    let user = stack.user_with(EVERYTHING, json!({"max_concurrent": 1})).await;
    let agent = stack.agent("EchoMachineArn", json!({})).await;
    let long = json!({"parameters": {"wait_seconds": 600}});
    let first = start(&user, &agent, &long).await;
    user.wait_for(&first, "running").await;
    let second = start(&user, &agent, &json!({})).await;
    eventually("it to wait", async || {
        (user.monitor(&second).await.body["waits_for"] == "user").then_some(())
    })
    .await;
    let key = stack.key(&user.id, EVERYTHING, json!({"max_concurrent": 2})).await;
    let wider = User { key, ..user.clone() };
    let other = start(&wider, &agent, &json!({})).await;
    wider.wait_for(&other, "completed").await;
    cancel(&user, &first).await;
    user.wait_for(&second, "completed").await;
}

#[tokio::test]
async fn a_delayed_run_whose_time_has_come_waits_as_any_other() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let agent = stack.agent("EchoMachineArn", json!({})).await;
    let run = start(&user, &agent, &json!({"delay_seconds": 4})).await;
    assert_eq!(user.monitor(&run).await.text("status"), "scheduled");
    // Its agent is paused only then.
    let agents = Agents::new(stack.dynamodb.clone(), stack.output("AgentsTable").to_owned());
    agents.pause(&agent.parse().unwrap(), true).await.unwrap();
    let waits = eventually("it to wait", async || {
        let run = user.monitor(&run).await;
        (run.body["waits_for"] == "paused").then_some(run)
    });
    assert_eq!(waits.await.text("status"), "queued");
    resume(&stack, &agent).await;
    user.wait_for(&run, "completed").await;
}

/// Puts a slot as if another run held it.
async fn hold(stack: &Stack, pool: &str, number: u32) {
    let part = format!("slot#{number}");
    let slot = json!({"execution_id": pool, "part": part, "holder": "mcp-other-1"});
    stack.put("ExecutionsTable", slot).await;
}

#[tokio::test]
async fn a_lost_hint_costs_a_sweep_and_an_empty_line_is_left() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let agent = stack.agent("EchoMachineArn", json!({"max_concurrent": 1})).await;
    let pool = format!("slots#{agent}");
    hold(&stack, &pool, 0).await;
    let run = start(&user, &agent, &json!({})).await;
    eventually("it to wait", async || {
        (user.monitor(&run).await.body["waits_for"] == "agent").then_some(())
    })
    .await;
    // Nobody is told that it is free.
    stack.forget(&pool, "slot#0").await;
    stack.make_due(&pool, "line").await;
    stack.sweep().await;
    user.wait_for(&run, "completed").await;

    // Somebody may be about to join.
    stack.make_due(&pool, "line").await;
    stack.sweep().await;
    assert!(stack.parts(&pool).await.contains_key("line"));
    let row = json!({
        "execution_id": pool, "part": "line", "joined_at": Timestamp::now().minus(Duration::from_mins(11)),
        "debt": "line#0", "due_at": Timestamp::now(),
    });
    stack.put("ExecutionsTable", row).await;
    stack
        .sweep_until("the line to be left", async || {
            (!stack.parts(&pool).await.contains_key("line")).then_some(())
        })
        .await;
}

#[tokio::test]
async fn an_end_that_is_presumed_holds_its_slot_until_it_is_confirmed() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let machine = format!("{}-no-such", stack.output("EchoMachineArn"));
    let fields = json!({"max_concurrent": 1, "state_machine_arn": machine});
    let agent = stack.agent("EchoMachineArn", fields).await;
    let pool = format!("slots#{agent}");
    let first = start(&user, &agent, &json!({})).await;
    user.wait_for(&first, "failed").await;
    let second = start(&user, &agent, &json!({})).await;
    eventually("it to wait", async || {
        (user.monitor(&second).await.body["waits_for"] == "agent").then_some(())
    })
    .await;
    assert_eq!(slots(&stack, &pool).await["slot#0"]["holder"], first.as_str());

    stack.make_due(&first, "state").await;
    stack.sweep().await;
    user.wait_for(&second, "failed").await;
    assert_eq!(slots(&stack, &pool).await["slot#0"]["holder"], second.as_str());
}

#[tokio::test]
async fn a_run_that_is_reopened_elsewhere_counts_beyond_the_limit() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let agent = stack.agent("EchoMachineArn", json!({"max_concurrent": 1})).await;
    let pool = format!("slots#{agent}");
    let run = start(&user, &agent, &json!({"parameters": {"wait_seconds": 600}})).await;
    user.wait_for(&run, "running").await;
    let arn = stack.output("EchoMachineArn").replace(":stateMachine:", ":execution:");
    let arn = format!("{arn}:{run}");
    stack.step_functions.stop_execution().execution_arn(&arn).send().await.unwrap();
    user.wait_for(&run, "cancelled").await;
    assert!(slots(&stack, &pool).await.is_empty());
    hold(&stack, &pool, 0).await;

    stack.step_functions.redrive_execution().execution_arn(&arn).send().await.unwrap();
    user.wait_for(&run, "running").await;
    let held = slots(&stack, &pool).await;
    assert_eq!(held.len(), 2, "{held:?}");
    stack.forget(&pool, "slot#0").await;
    let next = start(&user, &agent, &json!({})).await;
    eventually("it to wait", async || {
        (user.monitor(&next).await.body["waits_for"] == "agent").then_some(())
    })
    .await;
    stack.step_functions.stop_execution().execution_arn(&arn).send().await.unwrap();
    user.wait_for(&next, "completed").await;
    eventually("no slot to be taken", async || slots(&stack, &pool).await.is_empty().then_some(()))
        .await;
}

#[tokio::test]
async fn of_those_who_choose_one_slot_at_once_one_has_it() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    // While it is paused, nobody else claims them.
    let agent = stack.agent("EchoMachineArn", json!({"paused": true})).await;
    let mut runs = Vec::new();
    for _ in 0..4 {
        let run = start(&user, &agent, &json!({})).await;
        let waits = async || {
            let row = stack.executions().find(&id(&run), Consistency::Strong).await.unwrap();
            row.filter(|row| row.line.is_some())
        };
        runs.push(eventually("it to wait", waits).await);
    }
    let slot = relay::domain::pool::Slot {
        pool: relay::domain::pool::Pool::from(format!("slots#{agent}")),
        name: "0".to_owned(),
    };
    let due = Timestamp::now().plus(Duration::from_mins(1));
    let claims = runs.iter().map(async |run| {
        stack.executions().claim_with(run, vec![slot.clone()], due).await.unwrap()
    });
    let claims = join_all(claims).await;
    let claimed = claims.iter().filter(|it| matches!(it, SlotClaim::Claimed(..))).count();
    let taken = claims.iter().filter(|it| matches!(it, SlotClaim::Taken)).count();
    assert_eq!((claimed, taken), (1, 3), "{claims:?}");
}

#[tokio::test]
async fn a_priority_that_is_none_is_refused() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let body =
        |priority: Value| json!({"agent_name": "echo", "input_message": "x", "priority": priority});
    let refused = user.post(&body(json!(3601))).await;
    assert_eq!((refused.status, refused.text("field").as_str()), (422, "priority"), "{refused:?}");
    for odd in [json!(-1), json!("a"), json!(0.5)] {
        assert_eq!(user.post(&body(odd)).await.status, 422);
    }
    for even in [json!(0), json!(3600.0)] {
        assert_eq!(user.post(&body(even)).await.status, 202);
    }
}
