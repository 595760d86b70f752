//! What was measured, as tables and as JSON, and held against what is to be reached.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cases::Case;

/// Measurements of one thing, in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let index = (sorted.len().saturating_sub(1)) as f64 * share;
        sorted.get(index.round() as usize).copied().unwrap_or(f64::NAN)
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<T: IntoIterator<Item = f64>>(samples: T) -> Self {
        Self(samples.into_iter().collect())
    }
}

/// Cold starts of a function.
#[derive(Debug, Default)]
pub(crate) struct Cold {
    /// From the creation of the process to its first request for an event.
    pub(crate) init: Samples,
    /// The first invocation.
    pub(crate) first: Samples,
    /// Processor time of both.
    pub(crate) cpu: Samples,
    /// Calls of AWS before the first event.
    pub(crate) calls: u64,
}

/// Invocations of one kind, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Warm {
    pub(crate) rounds: usize,
    pub(crate) took: Samples,
    /// What of it AWS has not taken.
    pub(crate) overhead: Samples,
    /// All of them, by operation.
    pub(crate) calls: BTreeMap<String, u64>,
    pub(crate) bytes: u64,
    pub(crate) log_bytes: u64,
    /// For one invocation.
    pub(crate) cpu_micros: f64,
    pub(crate) peak_mb: f64,
}

impl Warm {
    fn each(&self, count: u64) -> f64 {
        count as f64 / self.rounds as f64
    }

    fn calls(&self) -> f64 {
        self.each(self.calls.values().sum())
    }
}

/// First invocations on 7 % of a processor, over TLS.
#[derive(Debug, Default)]
pub(crate) struct First {
    pub(crate) init: Samples,
    pub(crate) earliest: Samples,
    /// Whether connections are opened for it before it.
    pub(crate) is_prepared: bool,
    /// The median of the invocations that followed, for each process.
    pub(crate) after: Samples,
    /// Connections made before the first event, and during it, by all processes.
    pub(crate) before: u64,
    pub(crate) during: u64,
}

/// What one kind of invocation takes, with an AWS that answers at once, and with a real one's latency
/// where that was measured.
pub(crate) struct Operation {
    pub(crate) case: Case,
    pub(crate) at_once: Warm,
    pub(crate) late: Option<Warm>,
}

#[derive(Default)]
pub(crate) struct Report {
    pub(crate) cold: BTreeMap<&'static str, Cold>,
    pub(crate) warm: Vec<Operation>,
    pub(crate) first: Vec<(&'static str, First)>,
}

const FLOOR: &str = "floor";
/// How much longer than the floor a function may take until it is ready.
const INIT_LIMIT: f64 = 2.0;
/// What a check lets pass: less of memory, which depends on nothing else.
const TOLERANCE: f64 = 1.75;
const MEMORY_TOLERANCE: f64 = 1.15;
/// How much longer than its median one of a hundred invocations may take.
const TAIL_LIMIT: f64 = 3.0;
/// How much longer than a later invocation the first may take.
const FIRST_LIMIT: f64 = 1.5;

fn memory_limit(function: &str) -> f64 {
    if function == "mcp" { 10.0 } else { 8.0 }
}

impl Report {
    fn floor(&self) -> f64 {
        self.cold.get(FLOOR).map_or(f64::NAN, |cold| cold.init.median())
    }

    pub(crate) fn print(&self) {
        let floor = self.floor();
        println!("\nCOLD START       init ms  x floor  first ms  CPU ms  calls");
        for (function, Cold { init, first, cpu, calls }) in &self.cold {
            let (init, first, cpu) = (init.median(), first.median(), cpu.median());
            println!(
                "{function:<15}{init:>9.2}{:>9.2}{first:>10.2}{cpu:>8.2}{calls:>7}",
                init / floor
            );
        }
        println!(
            "\nWARM                 calls   bytes  logged  CPU us  peak MB   p50 ms   p99 ms  overhead ms, at 5 ms a call"
        );
        for Operation { case, at_once: warm, late } in &self.warm {
            let name = case.name;
            println!(
                "{name:<20}{:>6.1}{:>8.0}{:>8.0}{:>8.0}{:>9.1}{:>9.3}{:>9.3}{:>13.3}{}",
                warm.calls(),
                warm.each(warm.bytes),
                warm.each(warm.log_bytes),
                warm.cpu_micros,
                warm.peak_mb,
                warm.took.median(),
                warm.took.quantile(0.99),
                warm.overhead.median(),
                late.as_ref()
                    .map(|late| format!("{:>13.3}", late.overhead.median()))
                    .unwrap_or_default(),
            );
        }
        if !self.first.is_empty() {
            println!(
                "\nAT 7 % OF A CPU     init ms  first ms  then ms  ratio  connections before, during"
            );
        }
        for (name, First { init, earliest, after, before, during, .. }) in &self.first {
            let (first, after) = (earliest.median(), after.median());
            println!(
                "{name:<20}{:>7.2}{first:>10.2}{after:>9.2}{:>7.2}{before:>20}{during:>8}",
                init.median(),
                first / after
            );
        }
    }

    /// What is to be reached and was not. A check looks at no times but beside the floor's, which
    /// whatever else goes on makes longer, too.
    pub(crate) fn missed(&self, is_check: bool) -> Vec<String> {
        let (tolerance, memory_tolerance) =
            if is_check { (TOLERANCE, MEMORY_TOLERANCE) } else { (1.0, 1.0) };
        let mut missed = Vec::new();
        let mut hold = |name: &str, what: &str, is: f64, limit: f64| {
            // What is no number is no success.
            if is > limit || is.is_nan() {
                missed
                    .push(format!("  {name}: {what} is {is:.2}, and should be {limit:.2} at most"));
            }
        };
        for (function, cold) in &self.cold {
            hold(
                function,
                "init by that of the floor",
                cold.init.median() / self.floor(),
                INIT_LIMIT * tolerance,
            );
        }
        for Operation { case, at_once, .. } in &self.warm {
            let limit = memory_limit(case.function) * memory_tolerance;
            hold(case.name, "peak MB", at_once.peak_mb, limit);
            if let Some(limit) = case.overhead_limit.filter(|_| !is_check) {
                hold(case.name, "overhead ms", at_once.overhead.median(), limit);
                let tail = at_once.took.quantile(0.99) / at_once.took.median();
                hold(case.name, "p99 by p50", tail, TAIL_LIMIT);
            }
        }
        for (name, First { earliest, after, is_prepared, .. }) in &self.first {
            if *is_prepared {
                hold(
                    name,
                    "first by later, at 7 %",
                    earliest.median() / after.median(),
                    FIRST_LIMIT,
                );
            }
        }
        missed
    }

    pub(crate) fn to_json(&self) -> Value {
        let spread =
            |samples: &Samples| json!({"p50": samples.median(), "p99": samples.quantile(0.99)});
        let warm = |warm: &Warm| {
            json!({
                "calls": warm.calls.iter().map(|(name, count)| (name.clone(), json!(warm.each(*count)))).collect::<serde_json::Map<_, _>>(),
                "bytes": warm.each(warm.bytes), "logged": warm.each(warm.log_bytes), "cpu_micros": warm.cpu_micros, "peak_mb": warm.peak_mb,
                "ms": spread(&warm.took), "overhead_ms": spread(&warm.overhead),
            })
        };
        let cold = self.cold.iter().map(|(function, cold)| {
            let figures = json!({
                "init_ms": spread(&cold.init), "first_ms": spread(&cold.first), "cpu_ms": spread(&cold.cpu),
                "calls": cold.calls,
            });
            ((*function).to_owned(), figures)
        });
        let warms = self.warm.iter().map(|Operation { case, at_once, late }| {
            let late = late.as_ref().map(warm);
            (case.name.to_owned(), json!({"at_once": warm(at_once), "at_5_ms_a_call": late}))
        });
        let first = self.first.iter().map(|(name, it)| {
            let figures = json!({
                "init_ms": spread(&it.init), "first_ms": spread(&it.earliest), "then_ms": spread(&it.after),
                "connections_before": it.before, "connections_during": it.during,
            });
            ((*name).to_owned(), figures)
        });
        json!({
            "cold": cold.collect::<serde_json::Map<_, _>>(),
            "warm": warms.collect::<serde_json::Map<_, _>>(),
            "at_7_percent": first.collect::<serde_json::Map<_, _>>(),
        })
    }
}
