//! Whatever happens, nothing is lost: every AWS call of every function fails in every way or is
//! the last that its process makes, every message is lost, doubled, shuffled and late. What was
//! accepted still ends as Step Functions says, is started once and called back.
//!
//! The functions talk to AWS through a proxy (`infra/local/faults.py`), which is told which call
//! of which function is to fail. Each row of the matrix has a user and an agent of its own, by
//! which its calls are known, so that nearly all rows run side by side. `make test` has one row of
//! each kind, `make test-all` has all.

mod calls;
mod conflicts;
mod counts;
mod mapping;
mod messages;
#[cfg(feature = "all")]
mod mixed;
mod proxy;
#[cfg(feature = "all")]
mod requests;
mod run;
#[path = "../../../infra/relayctl/src/cost/units.rs"]
mod units;

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use calls::{BY_CHANCE, Call, RECORD, REQUESTS, RUNS, Scenario};
use e2e::{Stack, eventually, receiver::Receiver};
use futures_util::{FutureExt, StreamExt, future::join_all, stream};
use mapping::Mapping;
use messages::Copies;
use proxy::{Fault, Proxy};
use run::{Run, SWEEPS, executions, make_due, settle};
use serde_json::json;
use tokio::{sync::Mutex, time::timeout};

/// The rules of the proxy and the triggers of the functions are one for all tests.
static ALONE: Mutex<()> = Mutex::const_new(());

/// How many requests are made side by side.
const SIDE_BY_SIDE: usize = 8;

/// One row of the matrix, under way.
struct Row {
    call: Call,
    fault: Fault,
    run: Run,
    /// The rule that fails the call.
    rule: u64,
    /// The rule that counts how often it is made after a conflict.
    repeated: Option<u64>,
    /// Those that bring about the scenario.
    besides: Vec<u64>,
}

impl Row {
    async fn begin(
        stack: &Stack,
        proxy: &Proxy,
        receiver: &Arc<Receiver>,
        (call, scenario): (Call, Scenario),
        fault: Fault,
    ) -> Self {
        let mut run = Run::new(stack, scenario, receiver).await;
        // Only what happens between the receiver's answer and its record may cost one POST more.
        if call.name == RECORD.name && fault.prevents() {
            run.posts = *run.posts.start()..=run.posts.end() + 1;
        }
        let owners = run.owners();
        // What is to be late need not be, where it is what fails.
        let is_itself = |other: &Call| {
            scenario == Scenario::Known
                && (other.function, other.name) == (call.function, call.name)
        };
        let besides = scenario.besides().iter().filter(|(other, ..)| !is_itself(other));
        let besides = besides.map(|(call, fault, times)| call.rule(stack, &owners, *fault, *times));
        // The first that fits applies.
        let mut rules: Vec<_> = besides.collect();
        rules.push(call.rule(stack, &owners, fault, Some(call.times(fault))));
        if fault == Fault::Conflict {
            // To be late by nothing is to be counted.
            rules.push(call.rule(stack, &owners, Fault::Late(0), None));
        }
        let mut besides = proxy.add(&rules).await;
        let repeated = if fault == Fault::Conflict { besides.pop() } else { None };
        let rule = besides.pop().unwrap();
        // What a function does when it begins it does for nobody in particular.
        if scenario == Scenario::Cold {
            mapping::recycle(stack, "WebhookFunctionName").await;
        }
        Self { call, fault, run, rule, repeated, besides }
    }

    fn is(&self, scenario: Scenario) -> bool {
        self.run.scenario == scenario && !self.run.id.is_empty()
    }

    /// Waits until the first call has failed that fails besides.
    async fn wait_for_besides(&self, proxy: &Proxy) {
        let rule = self.besides.first();
        eventually("what fails besides", async || {
            let fired = proxy.fired().await;
            rule.and_then(|rule| fired.get(rule)).filter(|times| **times > 0).map(drop)
        })
        .await;
    }

    /// Makes room once its call has failed: by a sweep, should its event have been another's who was killed.
    async fn make_room(&self, proxy: &Proxy) {
        let failed = async || {
            eventually("what is put off", async || {
                proxy.fired().await.get(&self.rule).filter(|times| **times > 0).map(drop)
            })
            .await;
        };
        if timeout(Duration::from_secs(20), failed()).await.is_err() {
            sweep(&self.run.user.stack, std::slice::from_ref(&self.run.id)).await;
            failed().await;
        }
        self.run.make_room().await;
    }

    /// Answers its agent.
    async fn answer(&mut self, proxy: &Proxy) {
        self.run.answer().await;
        if self.is(Scenario::Regiven) {
            self.wait_for_besides(proxy).await;
            self.run.answer().await;
        }
    }

    /// Has its agent ask when its end has been decided and is not stored yet.
    async fn ask_too_late(&self, proxy: &Proxy) {
        self.wait_for_besides(proxy).await;
        eventually("a question to be heard", async || self.run.ask().await.ok()).await;
    }
}

/// Runs these rows side by side, prints them, and counts those with something wrong, or that took
/// more than so many sweeps.
async fn run(
    stack: &Stack,
    matrix: Vec<((Call, Scenario), Fault)>,
    pause: Duration,
    most_sweeps: usize,
) -> usize {
    let clock = Instant::now();
    let proxy = Proxy::connect();
    let receiver = Arc::new(Receiver::start().await);
    let rows = matrix.into_iter().enumerate().map(async |(number, (call, fault))| {
        let mut row = Row::begin(stack, &proxy, &receiver, call, fault).await;
        row.run.start().await;
        (number, row)
    });
    let pattern = json!({"source": ["agent"], "detail-type": ["Agent Input Required"]});
    let asked = Copies::begin(stack, stack.output("EventBusName"), pattern.to_string()).await;
    let mut rows: Vec<_> = stream::iter(rows).buffer_unordered(SIDE_BY_SIDE).collect().await;
    rows.sort_by_key(|(number, _)| *number);
    let mut rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
    hand_over_again(stack, &rows, asked).await;
    cancel_those_that_are_to_be(stack, &mut rows).await;
    let late = rows.iter().filter(|row| row.is(Scenario::Forgotten));
    join_all(late.map(|row| row.ask_too_late(&proxy))).await;
    let waiting = rows.iter().filter(|row| row.is(Scenario::Waits));
    join_all(waiting.map(|row| row.run.free(row.call.function == "launch"))).await;
    let failed =
        rows.iter_mut().filter(|row| row.run.scenario.is_redriven() && !row.run.id.is_empty());
    join_all(failed.map(|row| row.run.redrive())).await;
    let full = rows.iter().filter(|row| row.is(Scenario::PutOff));
    join_all(full.map(|row| row.make_room(&proxy))).await;
    let asked = rows.iter_mut().filter(|row| row.run.scenario.asks() && !row.run.id.is_empty());
    join_all(asked.map(|row| row.answer(&proxy))).await;
    let mut runs: Vec<_> = rows.iter_mut().map(|row| &mut row.run).collect();
    let begun = clock.elapsed();
    settle(stack, &mut runs, pause).await;
    let settled = clock.elapsed();

    let (fired, executions) = (proxy.fired().await, executions(stack).await);
    let mut bad = 0;
    for row in &rows {
        let times = fired.get(&row.rule).copied().unwrap_or_default();
        let mut wrong = row.run.wrong(&executions).await;
        // It may be made less often than it is to fail: the SDK repeats no call any more when many
        // have failed in one process.
        if times == 0 {
            wrong.push("the call was never made".to_owned());
        }
        if row.repeated.is_some_and(|rule| fired.get(&rule).is_none_or(|times| *times == 0)) {
            wrong.push("the call was not repeated".to_owned());
        }
        if row.run.sweeps.is_some_and(|sweeps| sweeps > most_sweeps) {
            wrong.push("too many sweeps".to_owned());
        }
        bad += usize::from(!wrong.is_empty());
        print(
            [row.call.function, row.call.name, &row.fault.to_string()],
            &format!("{:?}", row.run.scenario).to_lowercase(),
            &row.run,
            &wrong,
        )
        .await;
    }
    proxy.clear().await;
    println!(
        "begun after {begun:.0?}, settled after {settled:.0?}, judged after {:.0?}",
        clock.elapsed()
    );
    bad
}

/// Hands over what agents ask for a second time. Lambda tries an event again that has failed; the
/// engine does so only with what it is handed directly, and not by a rule.
async fn hand_over_again(stack: &Stack, rows: &[Row], asked: Copies<'_>) {
    let asks = rows.iter().filter(|row| row.run.scenario.asks() && !row.run.id.is_empty());
    let asks: Vec<_> = asks.map(|row| row.run.id.as_str()).collect();
    let are_all = |events: &[String]| asks.iter().all(|id| events.iter().any(|it| it.contains(id)));
    let events = asked.pile.take("questions", are_all).await;
    asked.end().await;
    for event in events {
        let event = serde_json::from_str(&event).unwrap();
        stack.hand_over("StatusFunctionName", &event).await;
    }
}

async fn cancel_those_that_are_to_be(stack: &Stack, rows: &mut [Row]) {
    let ends =
        rows.iter_mut().filter(|row| row.run.scenario.is_cancelled() && !row.run.id.is_empty());
    let ends: Vec<_> = ends.collect();
    join_all(ends.iter().map(|row| {
        eventually("a run to cancel", async || row.run.is_launched().await.then_some(()))
    }))
    .await;
    let silent = ends.iter().filter(|row| row.is(Scenario::Silent));
    let silent: Vec<_> = silent.map(|row| row.run.id.clone()).collect();
    if !silent.is_empty() {
        sweep(stack, &silent).await;
    }
    join_all(ends.into_iter().map(|row| row.run.cancel())).await;
}

/// Makes due what these runs owe, and sweeps. A sweep that is killed or fails as a whole does not
/// count: the next comes in a minute.
async fn sweep(stack: &Stack, runs: &[String]) {
    eventually("a sweep", async || {
        join_all(runs.iter().map(|id| make_due(stack, id))).await;
        stack.invoke("SweepFunctionName", &json!({})).await.ok()
    })
    .await;
}

fn print_head() {
    println!(
        "{:<11}{:<22}{:<17}{:<18}{:>6}{:>6}  result",
        "function", "call", "fault", "scenario", "sweeps", "posts"
    );
}

async fn print([function, call, fault]: [&str; 3], scenario: &str, run: &Run, wrong: &[String]) {
    let sweeps = run.sweeps.map_or("-".to_owned(), |sweeps| sweeps.to_string());
    let posts = run.count_posts().await;
    let result = if wrong.is_empty() { "ok".to_owned() } else { wrong.join("; ") };
    println!("{function:<11}{call:<22}{fault:<17}{scenario:<18}{sweeps:>6}{posts:>6}  {result}");
}

/// Has the queues' functions get one message at a time, so that a kill hits one run, and puts
/// everything back however the work ends.
async fn alone(work: impl AsyncFnOnce(&Stack)) {
    let _alone = ALONE.lock().await;
    let stack = Stack::connect().await;
    let mappings = mappings(&stack).await;
    handle_together(&mappings, 1).await;
    let clock = Instant::now();
    let outcome = AssertUnwindSafe(work(&stack)).catch_unwind().await;
    Proxy::connect().clear().await;
    handle_together(&mappings, 10).await;
    join_all(mappings.iter().map(|mapping| mapping.enable(true))).await;
    println!("after {:?}", clock.elapsed());
    outcome.unwrap_or_else(|panic| resume_unwind(panic));
}

async fn mappings(stack: &Stack) -> [Mapping; 2] {
    [
        Mapping::of(stack, "LaunchFunctionName").await,
        Mapping::of(stack, "WebhookFunctionName").await,
    ]
}

/// How many messages of a queue one invocation gets.
async fn handle_together(mappings: &[Mapping], messages: i32) {
    join_all(mappings.iter().map(|mapping| mapping.set_batch_size(messages))).await;
}

/// A row of the matrix.
fn one(function: &str, name: &str, fault: Fault) -> ((Call, Scenario), Fault) {
    let found =
        RUNS.iter().find(|(call, _)| call.function == function && call.name == name).unwrap();
    (*found, fault)
}

#[tokio::test]
async fn a_fault_of_each_kind_costs_nothing() {
    let mut rows = vec![
        one("launch", "StartExecution", Fault::Throttled),
        one("status", "advance to the end", Fault::Failed),
        one("status", "subscriber's key", Fault::Failed),
        one("webhook", "lease", Fault::Reset),
        one("webhook", "put off", Fault::Failed),
        one("webhook", "record", Fault::LostOnce),
        one("start", "accept", Fault::Lost),
        one("launch", "StartExecution", Fault::Lost),
        one("launch", "claim", Fault::KilledAfter),
        one("webhook", "batch get", Fault::KilledAfter),
        one("webhook", "record", Fault::KilledBefore),
        one("status", "advance to the end", Fault::KilledAfter),
    ];
    rows.retain(|(_, fault)| Fault::ALL.contains(fault));
    alone(async |stack| {
        print_head();
        // One of them runs for half a minute.
        let bad = run(stack, rows, Duration::from_secs(12), SWEEPS).await;
        assert_eq!(bad, 0, "rows with something wrong");
    })
    .await;
}

/// Comes last, so that it knows what all other tests have had the functions do.
#[tokio::test]
async fn every_call_that_a_function_makes_is_in_the_matrix() {
    let (stack, seen) = (Stack::connect().await, Proxy::connect().seen().await);
    let of_runs = || RUNS.iter().map(|(call, _)| call);
    let all = || of_runs().chain(REQUESTS.iter().map(|(call, _)| call));

    // `rotate` drives no run; its steps are safe to repeat, which its own tests show.
    let missing: Vec<_> = seen
        .iter()
        .filter(|seen| seen.function != "rotate")
        .filter(|seen| !all().chain(BY_CHANCE).any(|call| call.is(&stack, seen)))
        .collect();
    assert!(missing.is_empty(), "not in the matrix: {missing:#?}");
    assert!(!seen.is_empty());
    println!("{} kinds of calls seen, {} in the matrix", seen.len(), all().count());
}

#[cfg(feature = "all")]
#[tokio::test]
async fn no_fault_of_any_call_costs_anything() {
    /// The longest that the stack takes before a sweep to do what it does by itself: the SDK's
    /// retries of a call, the pause before a launch is tried again.
    const PAUSE: Duration = Duration::from_secs(12);
    /// More would wait for the engine longer than a test is patient.
    const AT_ONCE: usize = 150;
    /// Nothing is retried by who was killed, or has not even begun.
    const SHORT_PAUSE: Duration = Duration::from_secs(5);

    alone(async |stack| {
        print_head();
        let rows = RUNS.iter().flat_map(|row| row.0.faults().map(|fault| (*row, fault)));
        // Others that are killed in its sweep would use up what makes it busy, or comes once; and where many
        // are killed, what an agent reports may be heard after its end. What a sweep reads for many would
        // cost the others their sweeps.
        let (alone, rows): (Vec<_>, Vec<_>) = rows.partition(|((call, scenario), fault)| {
            let is_used_up = matches!(
                scenario,
                Scenario::Unasked
                    | Scenario::Held
                    | Scenario::Hasty
                    | Scenario::Reports
                    | Scenario::Reported
            );
            *scenario == Scenario::Cold
                || (is_used_up && fault.kills())
                || (call.is_shared() && !fault.kills())
        });
        // A killed sweep would hide what another fault does to it.
        let (kills, rows): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|(_, fault)| fault.kills());
        let mut bad = 0;
        let mappings = mappings(stack).await;
        // Only who is killed takes others along.
        for (rows, pause, messages) in [(rows, PAUSE, 10), (kills, SHORT_PAUSE, 1)] {
            handle_together(&mappings, messages).await;
            for rows in rows.chunks(AT_ONCE) {
                bad += run(stack, rows.to_vec(), pause, SWEEPS).await;
            }
        }
        for row in alone {
            bad += run(stack, vec![row], SHORT_PAUSE, SWEEPS).await;
        }
        assert_eq!(bad, 0, "rows with something wrong");
    })
    .await;
}
