//! `cost`: what runs cost and which quota they reach first, calculated from what each operation
//! uses. Nothing is asked of AWS.
//!
//! The calls and the write units are those that `tests/tests/faults/counts.rs` holds the functions to;
//! what an invocation computes and logs is as `make bench` has measured it; prices
//! and quotas are AWS's own, as named here. What a call of AWS takes, and what Lambda itself logs, are
//! estimates.

mod figures;
mod units;

use clap::{Args, value_parser};
use relay::domain::debt::DebtKind;
use serde::Serialize;
use serde_json::json;

use self::{
    figures::{Measured, ours, price, theirs},
    units::OF_A_RUN,
};
use crate::output::{Reply, table};

/// What every function has, and which part of a processor comes with it: 1,769 MB are one.
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>
const MEMORY_MB: f64 = 128.0;
const CPU_SHARE: f64 = MEMORY_MB / 1_769.0;

/// What a call to AWS takes.
const CALL_MS: f64 = 5.0;

/// What Lambda itself logs of an invocation: that it started, and its report.
const PLATFORM_LOG_KB: f64 = 0.5;

/// A message is sent, received and deleted.
const SENT: f64 = 3.0;

/// What the template has of these.
const ALARMS: f64 = 24.0;
const REQUESTS_PER_SECOND: f64 = 500.0;
/// What the sweep puts each minute (`functions/sweep/src/report.rs`), and what each record of an invocation and
/// each of a run holds (`shared/src/aws/telemetry.rs`): the latter for all runs and once more for each agent.
const SWEEP_METRICS: f64 = 12.0;
const OPERATION_METRICS: f64 = 3.0;
const RUN_METRICS: f64 = 7.0;
/// What a record of the webhook holds besides: undelivered and delayed callbacks, and disabled subscriptions.
const WEBHOOK_METRICS: f64 = 3.0;
/// The names under which invocations are counted, all functions together.
const OPERATIONS: f64 = 27.0;

/// Minutes of a month, each with a sweep.
const SWEEPS: f64 = 30.0 * 24.0 * 60.0;

/// Write units a second that a table or an index on demand bears which has never borne more.
const YOUNG: f64 = 4_000.0;

/// How many starts a second the scale is told for.
const RATES: [f64; 4] = [10.0, 100.0, 300.0, 1_000.0];

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The number of runs.
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u32).range(1..))]
    runs: u32,
    /// How often the status of a run is polled, where it is polled.
    #[arg(long, default_value_t = 10)]
    polls: u32,
    /// The size of a run's input, and of its output, in kilobytes.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=256))]
    kilobytes: u32,
    /// The number of agents, each with its own metrics.
    #[arg(long, default_value_t = 6)]
    agents: u32,
}

pub(crate) fn calculate(arguments: &Arguments) -> anyhow::Result<Reply> {
    let (runs, polls) = (arguments.runs, f64::from(arguments.polls));
    let called_back = run(f64::from(arguments.kilobytes));
    let designs = [called_back, called_back + poll() * polls, polling(polls)];
    let millions = f64::from(runs) / 1e6;
    let dollars = |value: f64| format!("{:.2}", value * millions);
    let parts = designs.map(|design| design.dollars());
    let mut lines: Vec<_> = (0..parts[0].len())
        .map(|row| {
            let [ours, polled, theirs] = parts.map(|part| dollars(part[row].1));
            [parts[0][row].0.to_owned(), ours, polled, theirs]
        })
        .collect();
    let totals = designs.map(|design| design.total());
    let [ours, polled, theirs] = totals.map(dollars);
    lines.push(["total".to_owned(), ours, polled, theirs]);
    let titles = ["DOLLARS", "CALLBACK", "POLLED", "DESCRIBED"].map(str::to_owned);
    let needs = scale(&called_back);
    let months = [monthly(None), monthly(Some(arguments.agents))];
    let [idle, busy] = months.map(|month| month.iter().map(|(_, dollars)| dollars).sum::<f64>());
    let json = json!({
        "prices": price::AS_OF, "runs": runs, "polls": arguments.polls,
        "dollars": {
            "called_back": totals[0] * millions, "polled": totals[1] * millions,
            "described": totals[2] * millions,
        },
        "a_month": {"idle": idle, "busy": busy},
        "warm_throughput": RATES.map(|rate| json!({"starts": rate, "write_units": warm(rate)})),
        "scale": needs,
    });
    let text = format!(
        "{runs} runs, list prices of {}\n\n{}\n\n{}\n\n{}\n\n{}",
        price::AS_OF,
        table(titles.each_ref().map(String::as_str), &lines),
        month_table(&months),
        scale_table(&needs),
        warm_table(),
    );
    Reply::new(&json, text)
}

/// What something uses of what AWS charges for.
#[derive(Debug, Default, Clone, Copy)]
struct Use {
    api_requests: f64,
    invocations: f64,
    milliseconds: f64,
    write_units: f64,
    read_units: f64,
    queue_requests: f64,
    events: f64,
    log_kb: f64,
}

impl Use {
    /// One invocation, which makes so many calls one after another.
    fn invocation(measured: Measured, calls: f64) -> Self {
        Self {
            invocations: 1.0,
            milliseconds: measured.cpu_ms / CPU_SHARE + calls * CALL_MS,
            log_kb: PLATFORM_LOG_KB + measured.log_kb,
            ..Self::default()
        }
    }

    /// One request to the API, which is authorized first.
    fn request(handler: Self) -> Self {
        let authorizer = Self { read_units: 0.5, ..Self::invocation(ours::AUTHORIZE, 1.0) };
        Self { api_requests: 1.0, ..Self::default() } + authorizer + handler
    }

    fn dollars(&self) -> [(&'static str, f64); 7] {
        let gb_seconds = self.milliseconds / 1_000.0 * MEMORY_MB / 1_024.0;
        [
            ("API Gateway", self.api_requests * price::API_REQUESTS),
            ("Lambda", self.invocations * price::INVOCATIONS + gb_seconds * price::GB_SECONDS),
            ("DynamoDB writes", self.write_units * price::WRITE_UNITS),
            ("DynamoDB reads", self.read_units * price::READ_UNITS),
            ("SQS", self.queue_requests * price::QUEUE_REQUESTS),
            ("EventBridge", self.events * price::EVENTS),
            ("CloudWatch Logs", self.log_kb * price::LOG_KB),
        ]
    }

    fn total(&self) -> f64 {
        self.dollars().iter().map(|(_, dollars)| dollars).sum()
    }
}

impl std::ops::Add for Use {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            api_requests: self.api_requests + more.api_requests,
            invocations: self.invocations + more.invocations,
            milliseconds: self.milliseconds + more.milliseconds,
            write_units: self.write_units + more.write_units,
            read_units: self.read_units + more.read_units,
            queue_requests: self.queue_requests + more.queue_requests,
            events: self.events + more.events,
            log_kb: self.log_kb + more.log_kb,
        }
    }
}

impl std::ops::Mul<f64> for Use {
    type Output = Self;

    fn mul(self, times: f64) -> Self {
        Self {
            api_requests: self.api_requests * times,
            invocations: self.invocations * times,
            milliseconds: self.milliseconds * times,
            write_units: self.write_units * times,
            read_units: self.read_units * times,
            queue_requests: self.queue_requests * times,
            events: self.events * times,
            log_kb: self.log_kb * times,
        }
    }
}

/// What a function's writes of one kind consume, of the table and its indexes.
fn writes(of: &str) -> f64 {
    OF_A_RUN.iter().filter(|(operation, _)| *operation == of).flat_map(|(_, units)| units).sum()
}

/// What a run writes into the table itself, its index by user, and that of debts.
fn writes_by_index() -> [f64; 3] {
    OF_A_RUN
        .iter()
        .fold([0.0; 3], |sum, (_, units)| std::array::from_fn(|index| sum[index] + units[index]))
}

/// A run that is started with a key and a callback, and completes.
fn run(kilobytes: f64) -> Use {
    // What is larger than a kilobyte is written once as the output, and twice as the input, in a
    // transaction.
    let more = kilobytes.ceil() - 1.0;
    let start = Use {
        write_units: writes("start UpdateItem") + writes("start TransactWriteItems") + 2.0 * more,
        queue_requests: SENT,
        ..Use::invocation(ours::START, 3.0)
    };
    let launch = Use {
        write_units: writes("launch UpdateItem"),
        read_units: (kilobytes / 4.0).ceil(),
        ..Use::invocation(ours::LAUNCH, 2.0)
    };
    let running = Use {
        write_units: writes("status UpdateItem"),
        read_units: 1.5,
        events: 1.0,
        ..Use::invocation(ours::RUNNING, 3.0)
    };
    let end = Use {
        write_units: writes("status PutItem") + more + writes("status TransactWriteItems"),
        read_units: 1.5,
        events: 1.0,
        queue_requests: SENT,
        ..Use::invocation(ours::END, 4.0)
    };
    let webhook = Use {
        write_units: writes("webhook UpdateItem"),
        read_units: 2.0 + (kilobytes / 4.0).ceil(),
        ..Use::invocation(ours::WEBHOOK, 6.0)
    };
    Use::request(start) + launch + running + end + webhook
}

/// A poll of a run's state.
fn poll() -> Use {
    Use::request(Use { read_units: 0.5, ..Use::invocation(ours::POLL, 1.0) })
}

/// A run whose caller polls it through a function that asks Step Functions each time, and stores
/// nothing: a start, the polls, the results.
fn polling(polls: f64) -> Use {
    Use::request(Use::invocation(theirs::START, 1.0))
        + Use::request(Use::invocation(theirs::POLL, 1.0)) * polls
        + Use::request(Use::invocation(theirs::RESULTS, 1.0))
}

/// What a stack costs a month besides its runs, idle or with so many agents that run.
fn monthly(agents: Option<u32>) -> [(&'static str, f64); 4] {
    // Without runs, only the sweep is invoked.
    let metrics = SWEEP_METRICS
        + match agents {
            None => OPERATION_METRICS,
            Some(agents) => {
                OPERATION_METRICS * OPERATIONS
                    + WEBHOOK_METRICS
                    + RUN_METRICS * (1.0 + f64::from(agents))
            }
        };
    // Its queries find nothing, and are half a unit each: one for each key of the index of debts, one
    // more for those of runs, which are counted, and one for what was given up. It makes them several
    // at a time, and has four times the others' memory for that: which is the same.
    let keys = |kinds: &[DebtKind]| f64::from(kinds.iter().map(|kind| kind.shards()).sum::<u8>());
    let runs = DebtKind::ALL.into_iter().filter(|kind| kind.is_of_a_run()).collect::<Vec<_>>();
    let queries = keys(&DebtKind::ALL) + keys(&runs) + 1.0;
    let sweep = Use { read_units: queries / 2.0, ..Use::invocation(ours::SWEEP, queries + 1.0) };
    [
        ("alarms, a dashboard", ALARMS * price::ALARM + price::DASHBOARD),
        ("custom metrics", metrics * price::METRIC),
        ("sweeps", SWEEPS * (sweep.total() + price::METRIC_REQUESTS) / 1e6),
        ("a secret", price::SECRET),
    ]
}

fn month_table(months: &[[(&'static str, f64); 4]; 2]) -> String {
    let dollars = |value: f64| format!("{value:.2}");
    let [idle, busy] = months;
    let mut rows: Vec<_> = idle
        .iter()
        .zip(busy)
        .map(|((of, idle), (_, busy))| [(*of).to_owned(), dollars(*idle), dollars(*busy)])
        .collect();
    let [idle, busy] = months.map(|month| dollars(month.iter().map(|(_, it)| it).sum()));
    rows.push(["total".to_owned(), idle, busy]);
    table(["DOLLARS A MONTH, AT MOST", "IDLE", "BUSY"], &rows)
}

/// What starts need of something that AWS, or the design, gives so much of.
#[derive(Debug, Serialize)]
struct Need {
    of: &'static str,
    per_start: f64,
    /// By default in us-east-1, a second; most can be raised.
    quota: f64,
    /// The starts a second that use it up.
    reached_at: f64,
}

/// What each start of a run that is called back needs, the scarcest first.
fn scale(called_back: &Use) -> Vec<Need> {
    /// Of an item, and of an index's key: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html>.
    const PARTITION: f64 = 1_000.0;
    let [of_the_table, owner, debts] = writes_by_index();
    let need = |of, per_start: f64, quota: f64| Need {
        of,
        per_start,
        quota,
        reached_at: quota / per_start,
    };
    let mut needs = vec![
        // <https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>
        need("StartExecution", 1.0, 300.0),
        // Every write of a state is one of its index of owners, too.
        need("one user's entries in an index", owner, PARTITION),
        need("one key's starts counter", 1.0, PARTITION),
        need(
            "a key of the index of debts",
            // They are of two kinds, but most may be of one.
            debts / f64::from(DebtKind::Launch.shards()),
            PARTITION,
        ),
        need("table write units", called_back.write_units, 40_000.0),
        // The table itself, without its indexes, which take as much each, and until it has grown:
        // <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/warm-throughput-scenarios.html>
        need("a new table's write units", of_the_table, YOUNG),
        // <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
        need("Lambdas at once", called_back.milliseconds / 1_000.0, 1_000.0),
        // As the template's parameter has it by default; API Gateway's own quota is 10,000.
        need("API requests, RequestsPerSecond", called_back.api_requests, REQUESTS_PER_SECOND),
        // <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html>
        need("events put", called_back.events, 10_000.0),
    ];
    needs.sort_by(|one, other| one.reached_at.total_cmp(&other.reached_at));
    needs
}

/// The `WarmThroughput` with which a new table bears so many starts a second at once; 0 where it
/// needs none.
fn warm(rate: f64) -> f64 {
    let [of_the_table, ..] = writes_by_index();
    let needed = of_the_table * rate;
    if needed > YOUNG { needed } else { 0.0 }
}

/// An index has a throughput of its own, which at these rates is no more than a young one bears.
fn warm_table() -> String {
    let [a, b, c, d] = RATES.map(|rate| match warm(rate) {
        0.0 => "none".to_owned(),
        units => format!("{units:.0}"),
    });
    let row = ["WarmThroughput, paid once".to_owned(), a, b, c, d];
    table(["A NEW TABLE, STARTS A SECOND", "10", "100", "300", "1000"], &[row])
}

fn scale_table(needs: &[Need]) -> String {
    let rows: Vec<_> = needs
        .iter()
        .map(|need| {
            let [a, b, c, d] = RATES.map(|rate| format!("{:.0}", (need.per_start * rate).ceil()));
            let [quota, reached] = [need.quota, need.reached_at].map(|it| format!("{it:.0}"));
            [need.of.to_owned(), a, b, c, d, quota, reached]
        })
        .collect();
    table(["STARTS A SECOND", "10", "100", "300", "1000", "QUOTA", "REACHED AT"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_a_kilobyte_writes_what_its_items_and_their_index_entries_are() {
        // Count 1, accept 10, claim 1, running 1, output 1, end 6, lease 1, budget of the host 1, record 2.
        assert!((run(1.0).write_units - 24.0).abs() < 1e-9);
        // The input is written twice over, and the output once.
        assert!((run(3.0).write_units - 24.0 - 2.0 * 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_start_uses_the_scarcest_quota_first() {
        let needs = scale(&run(1.0));

        assert_eq!(needs[0].of, "a new table's write units");
        assert_eq!(needs[1].of, "StartExecution");
        let user = needs.iter().find(|need| need.of == "one user's entries in an index").unwrap();
        assert!(user.reached_at >= 1_000.0);
        assert!(needs.windows(2).all(|pair| pair[0].reached_at <= pair[1].reached_at));
    }

    #[test]
    fn to_be_called_back_costs_half_of_ten_polls_that_ask_step_functions() {
        assert!(run(1.0).total() <= 0.50 * polling(10.0).total());
    }

    #[test]
    fn polls_cost_what_requests_do() {
        let polls = (run(1.0) + poll() * 10.0).total() - run(1.0).total();

        assert!((polls - 10.0 * poll().total()).abs() < 1e-9);
        assert!(poll().read_units < 1.5, "a poll reads its key and half a unit");
    }

    #[test]
    fn there_are_as_many_alarms_as_are_counted() {
        let template = include_str!("../../template.yaml");
        let alarms = template.matches("    Type: AWS::CloudWatch::Alarm\n").count();
        let (_, rate) = template.split_once("  RequestsPerSecond:\n").unwrap();
        let (_, rate) = rate.split_once("Default: ").unwrap();
        let rate: f64 = rate.lines().next().unwrap().parse().unwrap();
        assert!((REQUESTS_PER_SECOND - rate).abs() < 1e-9, "{rate}");

        assert!((ALARMS - f64::from(u32::try_from(alarms).unwrap())).abs() < 1e-9, "{alarms}");
    }

    #[test]
    fn a_stack_costs_a_month_what_its_metrics_do_besides_the_rest() {
        let metrics = |agents| monthly(agents)[1].1 / price::METRIC;

        assert!((metrics(None) - 15.0).abs() < 1e-9);
        assert!((metrics(Some(0)) - (12.0 + 84.0 + 7.0)).abs() < 1e-9);
        assert!((metrics(Some(6)) - (12.0 + 84.0 + 49.0)).abs() < 1e-9);
        assert!(monthly(None)[2].1 < 1.0, "a sweep costs {}", monthly(None)[2].1);
    }
}
