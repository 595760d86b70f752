//! Everything at once: while a hundred runs are started, called back and cancelled, any call of
//! any function may fail in any way, and any message may come twice.

use std::{collections::HashMap, sync::Arc, time::Duration};

use e2e::{Stack, receiver::Receiver};
use futures_util::{StreamExt, stream};
use relay::aws::queue::{DeliveryMessage, LaunchMessage};
use serde_json::json;

use crate::{
    alone,
    calls::{RECORD, Scenario},
    proxy::{Fault, Proxy},
    run::{Run, executions, settle, wait_for_end},
};

const RUNS: usize = 120;

/// How many runs are under way side by side.
const CALLERS: usize = 6;

/// Of a hundred calls, how many suffer each fault. The SDK repeats the first four, so that few of
/// them come to be seen; the others fail at once.
const PERCENT: [(Fault, u32); 6] = [
    (Fault::Throttled, 4),
    (Fault::Failed, 4),
    (Fault::Reset, 4),
    (Fault::Lost, 4),
    (Fault::KilledBefore, 1),
    (Fault::KilledAfter, 1),
];

const FUNCTIONS: [&str; 7] = ["authorizer", "start", "mcp", "launch", "status", "webhook", "sweep"];

/// Sends a run's messages once more, as a standard queue may.
async fn double(stack: &Stack, run: &Run) {
    let id = e2e::id(&run.id);
    let part = format!("delivery#{}#0#callback", run.scenario.end());
    let messages = [
        ("LaunchQueueUrl", json!(LaunchMessage::of(id.clone()))),
        ("WebhookQueueUrl", json!(DeliveryMessage { execution_id: id, part })),
    ];
    for (queue, message) in messages {
        for delay in [0, 1, 3] {
            let send = stack.sqs.send_message().queue_url(stack.output(queue));
            let send = send.message_body(message.to_string()).delay_seconds(delay);
            send.send().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_hundred_runs_survive_everything_at_once() {
    alone(async |stack| {
        let proxy = Proxy::connect();
        let receiver = Arc::new(Receiver::start().await);
        let scenarios =
            [Scenario::Completes, Scenario::Enveloped, Scenario::Retried, Scenario::Cancelled];
        let mut runs = Vec::new();
        for scenario in scenarios.into_iter().cycle().take(RUNS) {
            let mut run = Run::new(stack, scenario, &receiver).await;
            // How many in all is counted below.
            run.posts = 1..=usize::MAX;
            runs.push(run);
        }
        let mut rules = Vec::new();
        for (fault, percent) in PERCENT.into_iter().filter(|it| Fault::ALL.contains(&it.0)) {
            let probability = f64::from(percent) / 100.0;
            // By itself, so that it can be told how many POSTs may have been made once more.
            let mut rule = RECORD.of_anybody().rule(stack, &[], fault, None);
            rule["probability"] = probability.into();
            rules.insert(0, rule);
            let (effect, value) = fault.effect("", "");
            rules.extend(FUNCTIONS.map(|function| {
                let agent = format!("app/{function}");
                json!({"headers": {"user-agent": agent}, effect: value, "probability": probability})
            }));
        }
        let ids = proxy.add(&rules).await;

        let mut runs: Vec<Run> = stream::iter(runs)
            .map(async |mut run| {
                // A caller does not give up.
                while run.id.is_empty() {
                    run.start().await;
                }
                double(stack, &run).await;
                if run.scenario == Scenario::Cancelled {
                    run.cancel().await;
                }
                run
            })
            .buffer_unordered(CALLERS)
            .collect()
            .await;
        let mut all: Vec<_> = runs.iter_mut().collect();
        wait_for_end(stack, &mut all, Duration::from_secs(5), 0).await;
        // Sweeps in the storm help as far as they come.
        for _ in 0..3 {
            drop(stack.invoke("SweepFunctionName", &json!({})).await);
        }
        wait_for_end(stack, &mut all, Duration::from_secs(5), 0).await;
        let fired = proxy.fired().await;
        proxy.clear().await;
        settle(stack, &mut all, Duration::from_secs(12)).await;

        let (mut counts, mut excuses) = (HashMap::<_, u64>::new(), 0);
        for (rule, id) in rules.iter().zip(&ids) {
            let count = fired.get(id).copied().unwrap_or_default();
            *counts.entry(rule["headers"]["user-agent"].as_str().unwrap()).or_default() += count;
            let (is_record, is_done) = (rule["body"].is_string(), rule["response"].is_object());
            excuses += if is_record && !is_done { count } else { 0 };
        }
        let refused: usize = runs.iter().map(|run| run.refused.len()).sum();
        println!("{} faults: {counts:?}", counts.values().sum::<u64>());
        println!("{} runs accepted, {refused} requests refused", runs.len());
        for sweeps in [None, Some(0), Some(1), Some(2), Some(3)] {
            let count = runs.iter().filter(|run| run.sweeps == sweeps).count();
            println!("  {count} settled after {sweeps:?} sweeps");
        }
        let executions = executions(stack).await;
        let (mut bad, mut extra) = (0, 0);
        for run in &runs {
            let expected = if run.scenario == Scenario::Retried { 2 } else { 1 };
            extra += run.count_posts().await.saturating_sub(expected);
            let wrong = run.wrong(&executions).await;
            bad += usize::from(!wrong.is_empty());
            if !wrong.is_empty() {
                println!("{} {:?}: {}", run.id, run.scenario, wrong.join("; "));
            }
        }
        println!("{extra} posts more than needed, after {excuses} records that failed");
        assert_eq!(bad, 0, "runs with something wrong");
        assert!(extra as u64 <= excuses, "each extra post needs a fault");
    })
    .await;
}
