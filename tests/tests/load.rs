//! Two hundred starts by eight callers: none lost, none doubled.

use std::{collections::HashMap, time::Instant};

use e2e::{Stack, receiver::Receiver};
use futures_util::{StreamExt, stream};
use serde_json::json;

const STARTS: usize = 200;
const CALLERS: usize = 8;

#[tokio::test]
async fn every_start_ends_completed_with_one_execution_and_one_callback() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let receiver = Receiver::start().await;
    let clock = Instant::now();

    let ids: Vec<String> = stream::iter(0..STARTS)
        .map(|turn| {
            let body = json!({
                "agent_name": "echo", "input_message": format!("turn {turn}"),
                "parameters": {"wait_seconds": 0}, "callback_url": receiver.url(),
            });
            let user = user.clone();
            async move { user.start(&body).await }
        })
        .buffer_unordered(CALLERS)
        .collect()
        .await;
    println!("{STARTS} starts accepted after {:?}", clock.elapsed());

    stream::iter(&ids)
        .for_each_concurrent(CALLERS, async |id| {
            user.wait_for(id, "completed").await;
        })
        .await;
    println!("all completed after {:?}", clock.elapsed());
    let received = receiver.wait_for(STARTS).await;
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
