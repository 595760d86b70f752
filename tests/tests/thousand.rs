//! A thousand starts: none lost, none doubled. Part of `make test-all`, as it loads the
//! engine for a while.

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use e2e::{Stack, eventually, receiver::Receiver};
use futures_util::{StreamExt, stream};
use serde_json::json;

const STARTS: usize = 1_000;

/// Each request is two Lambda processes on this machine: more at a time only starve one another
/// until the authorizer's five seconds are over.
const CALLERS: usize = 32;

#[tokio::test]
async fn a_thousand_starts_at_once_end_once_each() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let receiver = Receiver::start().await;
    let clock = Instant::now();

    // A start that the engine cannot take is repeated with its key, as a workflow would.
    let starts = stream::iter(0..STARTS).map(|turn| {
        let (user, url) = (user.clone(), receiver.url());
        async move {
            let key = format!("turn-{turn}");
            let body = json!({
                "agent_name": "echo", "input_message": key, "parameters": {"wait_seconds": 0}, "callback_url": url,
            });
            eventually("an accepted start", async || {
                let answer = user.post_with(&[("idempotency-key", &key)], &body).await;
                (answer.status == 202).then(|| answer.text("execution_id"))
            })
            .await
        }
    });
    let ids: Vec<String> = starts.buffer_unordered(CALLERS).collect().await;
    println!("{STARTS} starts accepted after {:?}", clock.elapsed());
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), STARTS);

    let mut sweeps = 0;
    let open = |ids: Vec<String>| {
        let user = &user;
        async move {
            let open = stream::iter(ids).map(|id| async move {
                let status = user.monitor(&id).await.text("status");
                (status != "completed").then_some(id)
            });
            open.buffer_unordered(16).filter_map(async |id| id).collect::<Vec<_>>().await
        }
    };
    let mut left = ids.clone();
    while !left.is_empty() {
        left = open(left).await;
        assert!(clock.elapsed().as_secs() < 900, "{} runs never ended", left.len());
        stack.sweep().await;
        sweeps += 1;
    }
    println!("all completed after {:?}, with {sweeps} sweeps", clock.elapsed());
    let received = stack
        .sweep_until("all callbacks", async || {
            let received = receiver.received().await;
            (received.len() >= STARTS).then_some(received)
        })
        .await;
    println!("all called back after {:?}", clock.elapsed());

    let mut callbacks: HashMap<String, usize> = HashMap::new();
    for callback in &received {
        let id = callback.body()["data"]["execution_id"].as_str().unwrap().to_owned();
        *callbacks.entry(id).or_default() += 1;
    }
    let executions = stack.executions_of("EchoMachineArn").await;
    for id in &ids {
        assert_eq!(callbacks.get(id), Some(&1), "callbacks of {id}");
        assert_eq!(executions.get(id), Some(&1), "executions of {id}");
    }
}
