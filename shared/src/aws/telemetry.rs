//! Metrics, as embedded metric format in the log: one record an invocation, and one for each thing
//! that happens to a run. What is no metric in them is for whoever searches the log.

use std::{fmt, io, time::SystemTime};

use lambda_runtime::Context;
use metrique::{
    ServiceMetrics,
    emf::Emf,
    timers::Timer,
    unit::Millisecond,
    unit_of_work::metrics,
    writer::{
        AttachGlobalEntrySink, AttachGlobalEntrySinkExt, FormatExt, GlobalEntrySink,
        sink::{AttachHandle, global_entry_sink},
    },
};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    filter::{LevelFilter, filter_fn},
    fmt::{MakeWriter, format::Writer, time::FormatTime},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::{
    aws::env,
    domain::{
        execution::Execution,
        id::{AgentName, ExecutionId},
        status::Status,
        time::Timestamp,
    },
};

const API_NAMESPACE: &str = "MCPServer/API";
const AGENTS_NAMESPACE: &str = "MCPServer/Agents";

global_entry_sink! {
    /// Where what happens to runs is written.
    AgentMetrics
}

/// Writes logs to standard output, in the format that Lambda's variable says
/// (<https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html>). The level
/// is a variable of our own: by its own one Lambda would filter the metrics, too.
pub fn attach_logs() {
    let level = env::optional("LOG_LEVEL").and_then(|level| level.parse().ok());
    let level = level.unwrap_or(LevelFilter::INFO);
    match env::optional("AWS_LAMBDA_LOG_FORMAT") {
        Some(format) if format.eq_ignore_ascii_case("json") => {
            json_logs(level, io::stdout).with(filter_fn(is_discreet)).init();
        }
        _ => {
            let logs = tracing_subscriber::fmt().with_target(false).without_time();
            logs.with_max_level(level).finish().with(filter_fn(is_discreet)).init();
        }
    }
}

/// Nothing of rmcp is logged, which quotes requests at each level: the ids that callers give, and its
/// answers whole. What there is to know of them we log ourselves. The other libraries tell of requests and
/// events below INFO.
fn is_discreet(of: &Metadata<'_>) -> bool {
    !of.target().starts_with("rmcp") && *of.level() <= Level::INFO
}

/// Each line says when it was written, and at which level: one that does not counts as INFO for Lambda
/// (<https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html>).
fn json_logs<W>(level: LevelFilter, writer: W) -> impl Subscriber + for<'a> LookupSpan<'a>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let logs = tracing_subscriber::fmt().with_target(false).with_timer(Clock);
    // The list of spans ends with the current one.
    logs.with_max_level(level).json().with_current_span(false).with_writer(writer).finish()
}

struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, line: &mut Writer<'_>) -> fmt::Result {
        line.write_str(&Timestamp::now().rfc3339())
    }
}

/// The same for a record of metrics, which is a line of the log as well.
#[metrics(subfield_owned)]
#[derive(Debug)]
struct Line {
    #[metrics(name = "level")]
    level: &'static str,
    #[metrics(name = "timestamp")]
    timestamp: String,
}

impl Line {
    fn now() -> Self {
        Self { level: "INFO", timestamp: Timestamp::now().rfc3339() }
    }
}

/// Keeps the metrics going; they end when it is dropped.
pub struct Attached {
    _api: AttachHandle,
    _agents: AttachHandle,
}

/// Sends all records to standard output until what this returns is dropped: keep it in `main`.
#[must_use]
pub fn attach_metrics() -> Attached {
    // Written at once: an environment may be frozen after each invocation.
    let stream = |namespace: &str| {
        let format = Emf::builder(namespace.to_owned(), vec![vec![]]).build();
        format.output_to_makewriter(|| io::stdout().lock())
    };
    Attached {
        _api: ServiceMetrics::write_directly_to(stream(API_NAMESPACE)),
        _agents: AgentMetrics::write_directly_to(stream(AGENTS_NAMESPACE)),
    }
}

/// What one invocation did. It counts as failed until it says otherwise, so that an early return
/// is counted.
#[metrics(rename_all = "PascalCase", emf::dimension_sets = [["Operation"]])]
#[derive(Debug)]
pub struct Invocation {
    #[metrics(timestamp)]
    timestamp: SystemTime,
    #[metrics(flatten)]
    line: Line,
    operation: &'static str,
    #[metrics(name = "APIUsage")]
    usage: usize,
    pub failed: bool,
    /// Of `webhook`: deliveries that nobody will attempt again.
    pub undelivered_callbacks: Option<usize>,
    /// Of `webhook`: attempts for which there was no room, where there were any.
    pub delayed_callbacks: Option<usize>,
    /// Of `webhook`: subscriptions that it has disabled.
    pub disabled_subscriptions: Option<usize>,
    /// Lambda's id of this invocation.
    request_id: Option<String>,
    /// What stands for the caller's key or token.
    pub key_id: Option<String>,
    pub execution_id: Option<String>,
    #[metrics(unit = Millisecond)]
    duration: Timer,
}

impl Invocation {
    /// Starts the clock; the record is written when the guard is dropped.
    pub fn start(operation: &'static str, context: Option<&Context>) -> InvocationGuard {
        Self::of(operation, context).append_on_drop(ServiceMetrics::sink())
    }

    fn of(operation: &'static str, context: Option<&Context>) -> Self {
        Self {
            timestamp: SystemTime::now(),
            line: Line::now(),
            operation,
            usage: 1,
            failed: true,
            undelivered_callbacks: None,
            delayed_callbacks: None,
            disabled_subscriptions: None,
            request_id: context.map(|context| context.request_id.clone()),
            key_id: None,
            execution_id: None,
            duration: Timer::start_now(),
        }
    }
}

/// One thing that happened to a run. The names are those that dashboards of such servers know.
#[metrics(emf::dimension_sets = [[], ["agent_name"]])]
#[derive(Debug)]
struct RunRecord {
    #[metrics(timestamp)]
    timestamp: SystemTime,
    #[metrics(flatten)]
    line: Line,
    agent_name: String,
    execution_id: String,
    agent_execution_started: Option<usize>,
    agent_results_retrieved: Option<usize>,
    agent_execution_completed: Option<usize>,
    /// It failed or timed out.
    agent_execution_failed: Option<usize>,
    /// From its start in Step Functions to its end.
    #[metrics(unit = Millisecond)]
    agent_execution_duration: Option<u64>,
    /// From its acceptance to its start in Step Functions.
    #[metrics(unit = Millisecond)]
    agent_time_to_launch: Option<u64>,
    /// How long the first of a line has waited for a slot.
    #[metrics(unit = Millisecond)]
    agent_waiting_age: Option<u64>,
    /// From the event to the response of its receiver.
    #[metrics(unit = Millisecond)]
    callback_latency: Option<u64>,
}

/// What can happen to a run, for its metrics.
#[derive(Debug, Clone, Copy)]
pub enum RunMetric {
    Started,
    Launched { after_ms: u64 },
    Waiting { for_ms: u64 },
    CalledBack { after_ms: u64 },
    ResultsRetrieved,
}

/// Records one thing that happened to a run.
pub fn record(id: &ExecutionId, agent: &AgentName, metric: RunMetric) {
    let mut record = RunRecord::of(id, agent);
    match metric {
        RunMetric::Started => record.agent_execution_started = Some(1),
        RunMetric::Launched { after_ms } => record.agent_time_to_launch = Some(after_ms),
        RunMetric::Waiting { for_ms } => record.agent_waiting_age = Some(for_ms),
        RunMetric::CalledBack { after_ms } => record.callback_latency = Some(after_ms),
        RunMetric::ResultsRetrieved => record.agent_results_retrieved = Some(1),
    }
    record.write();
}

/// Records that a run has ended, if it has.
pub fn record_end(execution: &Execution) {
    let mut record = RunRecord::of(&execution.execution_id, &execution.agent_name);
    match execution.status {
        Status::Completed => record.agent_execution_completed = Some(1),
        Status::Failed | Status::Timeout => record.agent_execution_failed = Some(1),
        Status::Scheduled
        | Status::Queued
        | Status::Running
        | Status::InputRequired
        | Status::Cancelled => return,
    }
    let times = execution.completed_at.zip(execution.started_at);
    record.agent_execution_duration = times.map(|(end, start)| end.millis_since(start));
    record.write();
}

impl RunRecord {
    fn of(id: &ExecutionId, agent: &AgentName) -> Self {
        Self {
            timestamp: SystemTime::now(),
            line: Line::now(),
            agent_name: agent.to_string(),
            execution_id: id.to_string(),
            agent_execution_started: None,
            agent_results_retrieved: None,
            agent_execution_completed: None,
            agent_execution_failed: None,
            agent_execution_duration: None,
            agent_time_to_launch: None,
            agent_waiting_age: None,
            callback_latency: None,
        }
    }

    /// Without a place to write to, as in a tool that uses the services, nothing is.
    fn write(self) {
        if let Some(sink) = AgentMetrics::try_sink() {
            drop(self.append_on_drop(sink));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use metrique::{CloseValue, RootEntry, writer::format::Format};
    use serde_json::Value;
    use tracing::{error, info, warn};

    use super::*;

    /// Whether Lambda finds in it what it filters by.
    #[track_caller]
    fn assert_is_line(line: &Value, level: &str) {
        assert_eq!(line["level"], level, "{line}");
        let time = line["timestamp"].as_str().unwrap();
        let parts = time.strip_suffix('Z').and_then(|it| it.split_once('T')).unwrap();
        assert_eq!((parts.0.len(), parts.1.len()), ("2026-01-31".len(), "09:00:00.120".len()));
    }

    fn logged(level: LevelFilter, log: impl Fn()) -> Vec<Value> {
        let written = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&written);
        let writer = move || Shared(Arc::clone(&to));
        let logs = json_logs(level, writer).with(filter_fn(is_discreet));
        tracing::subscriber::with_default(logs, log);
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_line_says_its_level_and_when_it_was_written() {
        let log = || {
            info!("one");
            warn!(what = 2, "two");
            error!("three");
        };

        let lines = logged(LevelFilter::INFO, log);
        for (line, level) in lines.iter().zip(["INFO", "WARN", "ERROR"]) {
            assert_is_line(line, level);
        }
        assert_eq!(lines.len(), 3);
        assert_eq!(logged(LevelFilter::ERROR, log).len(), 1);
    }

    #[test]
    fn nothing_of_rmcp_is_logged_and_of_nobody_whole_requests() {
        let log = || {
            tracing::error!(target: "rmcp", "secret");
            tracing::warn!(target: "rmcp::service", error = "secret", "response error");
            tracing::info!(target: "rmcp::transport::streamable_http_server::tower", "secret");
            tracing::debug!(target: "hyper::proto", "secret");
            tracing::trace!(target: "lambda_runtime::layers", "secret");
            tracing::debug!("secret");
            tracing::info!("ours");
            tracing::info!(target: "lambda_runtime", "theirs");
        };

        let lines = logged(LevelFilter::TRACE, log);

        let said = lines.iter().map(|line| line["fields"]["message"].as_str().unwrap());
        assert_eq!(said.collect::<Vec<_>>(), ["ours", "theirs"]);
    }

    #[test]
    fn a_record_of_metrics_is_such_a_line_and_neither_is_a_metric_of_it() {
        let mut format = Emf::builder(AGENTS_NAMESPACE.to_owned(), vec![vec![]]).build();
        let mut written = Vec::new();
        let mut record = RunRecord::of(&"mcp-echo-1".parse().unwrap(), &"echo".parse().unwrap());
        record.agent_execution_started = Some(1);

        format.format(&RootEntry::new(record.close()), &mut written).unwrap();

        let record: Value = serde_json::from_slice(&written).unwrap();
        assert_is_line(&record, "INFO");
        assert_eq!(record["agent_execution_started"], 1);
        let described = record["_aws"].to_string();
        assert!(!described.contains("level") && !described.contains("timestamp"), "{described}");
    }

    #[test]
    fn so_is_the_record_of_an_invocation() {
        let mut format = Emf::builder(API_NAMESPACE.to_owned(), vec![vec![]]).build();
        let mut written = Vec::new();
        let invocation = Invocation::of("start_agent", None);

        format.format(&RootEntry::new(invocation.close()), &mut written).unwrap();

        assert_is_line(&serde_json::from_slice(&written).unwrap(), "INFO");
    }
}
