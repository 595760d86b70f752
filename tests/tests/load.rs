//! The whole pipeline under load: no start is lost, none is doubled, and how long each step takes.
//!
//! The times are the local engine's, which starts a process for each Lambda at once; they are
//! printed to be compared with one another, never with AWS.

use std::{collections::HashMap, time::Instant};

use e2e::{Stack, User, eventually, receiver::Receiver};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

/// How many callers there are, and how many starts they make together. More than 8 callers starve
/// the engine on two cores.
const LOADS: &[(usize, u32)] =
    if cfg!(feature = "all") { &[(1, 20), (8, 120), (32, 160)] } else { &[(1, 20), (8, 120)] };

#[tokio::test]
async fn every_start_ends_completed_with_one_execution_and_one_callback() {
    let stack = Stack::connect().await;
    println!(
        "{:>7} {:>7} {:>9} {:>11} {:>16} {:>15}",
        "callers", "starts", "starts/s", "accepted ms", "to launched ms", "to callback ms"
    );
    for (callers, starts) in LOADS {
        load(&stack, *callers, *starts).await;
    }
}

async fn load(stack: &Stack, callers: usize, starts: u32) {
    let user = stack.user(&["execute:*", "view:*"]).await;
    let receiver = Receiver::start().await;
    let clock = Instant::now();
    let started = stream::iter(0..starts).map(|turn| start(&user, &receiver, turn));
    let started: Vec<(String, u128)> = started.buffer_unordered(callers).collect().await;
    let rate = f64::from(starts) / clock.elapsed().as_secs_f64();

    let received = receiver.wait_for(started.len()).await;
    let mut callbacks: HashMap<String, usize> = HashMap::new();
    for callback in &received {
        let id = callback.body()["data"]["execution_id"].as_str().unwrap().to_owned();
        *callbacks.entry(id).or_default() += 1;
    }
    let executions = stack.executions_of("EchoMachineArn").await;
    let (mut accepted, mut launched, mut called) = (Vec::new(), Vec::new(), Vec::new());
    for (id, millis) in started {
        assert_eq!(callbacks.get(&id), Some(&1), "callbacks of {id}");
        assert_eq!(executions.get(&id), Some(&1), "executions of {id}");
        let parts = user.wait_for_parts(&id).await;
        let (state, delivery) = (&parts["state"], &parts["delivery#completed#0#callback"]);
        assert_eq!(state["status"], "completed");
        accepted.push(millis);
        launched.push(between(&state["created_at"], &state["started_at"]));
        called.push(between(&state["completed_at"], &delivery["attempts"][0]["at"]));
    }
    println!(
        "{callers:>7} {starts:>7} {rate:>9.1} {:>11} {:>16} {:>15}",
        told(accepted),
        told(launched),
        told(called)
    );
}

/// Starts one run; returns its id, and after how many milliseconds it was accepted. A start that the
/// engine cannot take is repeated with its key, as a workflow would.
async fn start(user: &User, receiver: &Receiver, turn: u32) -> (String, u128) {
    let body = json!({
        "agent_name": "echo", "input_message": format!("turn {turn}"),
        "parameters": {"wait_seconds": 0}, "callback_url": receiver.url(),
    });
    let (clock, key) = (Instant::now(), turn.to_string());
    let id = eventually("an accepted start", async || {
        let answer = user.post_with(&[("idempotency-key", &key)], &body).await;
        (answer.status == 202).then(|| answer.text("execution_id"))
    });
    (id.await, clock.elapsed().as_millis())
}

fn between(from: &Value, to: &Value) -> u128 {
    let millis = |time: &Value| time.as_u64().unwrap();
    millis(to).saturating_sub(millis(from)).into()
}

/// The median, and what nine of ten are below.
fn told(mut millis: Vec<u128>) -> String {
    millis.sort_unstable();
    format!("{} / {}", millis[millis.len() / 2], millis[millis.len() * 9 / 10])
}
