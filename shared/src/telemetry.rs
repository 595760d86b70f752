//! Metrics, as embedded metric format in the log: one record an invocation, and one for each thing
//! that happens to a run. What is no metric in them is for whoever searches the log.

use std::{io, time::SystemTime};

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
use tracing::Level;
use tracing_subscriber::{
    filter::{LevelFilter, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{
    agent::AgentName,
    env,
    execution::{Execution, ExecutionId, Status},
};

const API_NAMESPACE: &str = "MCPServer/API";
const AGENTS_NAMESPACE: &str = "MCPServer/Agents";

global_entry_sink! {
    /// Where what happens to runs is written.
    AgentMetrics
}

/// Writes logs to standard output, at the level and in the format that Lambda's variables say
/// (<https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html>).
pub fn attach_logs() {
    let level = env::optional("AWS_LAMBDA_LOG_LEVEL").and_then(|level| level.parse().ok());
    let logs = tracing_subscriber::fmt()
        .with_target(false)
        .without_time()
        .with_max_level(level.unwrap_or(LevelFilter::INFO));
    // rmcp tells of every request that it came and went.
    let terse = filter_fn(|of| !of.target().starts_with("rmcp") || *of.level() <= Level::WARN);
    match env::optional("AWS_LAMBDA_LOG_FORMAT") {
        Some(format) if format.eq_ignore_ascii_case("json") => {
            // The list of spans ends with the current one.
            logs.json().with_current_span(false).finish().with(terse).init();
        }
        _ => logs.finish().with(terse).init(),
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
    operation: &'static str,
    #[metrics(name = "APIUsage")]
    usage: usize,
    pub failed: bool,
    /// Of `webhook`: deliveries that nobody will try again.
    pub undelivered_callbacks: Option<usize>,
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
        Self {
            timestamp: SystemTime::now(),
            operation,
            usage: 1,
            failed: true,
            undelivered_callbacks: None,
            request_id: context.map(|context| context.request_id.clone()),
            key_id: None,
            execution_id: None,
            duration: Timer::start_now(),
        }
        .append_on_drop(ServiceMetrics::sink())
    }
}

/// One thing that happened to a run. The names are those that dashboards of such servers know.
#[metrics(emf::dimension_sets = [[], ["agent_name"]])]
#[derive(Debug)]
struct RunRecord {
    #[metrics(timestamp)]
    timestamp: SystemTime,
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
    /// From the news to the answer of who was told it.
    #[metrics(unit = Millisecond)]
    callback_latency: Option<u64>,
}

/// What can happen to a run, for its metrics.
#[derive(Debug, Clone, Copy)]
pub enum RunNews {
    Started,
    Launched { after_ms: u64 },
    CalledBack { after_ms: u64 },
    ResultsRetrieved,
}

/// Records one thing that happened to a run.
pub fn record(id: &ExecutionId, agent: &AgentName, news: RunNews) {
    let mut record = RunRecord::of(id, agent);
    match news {
        RunNews::Started => record.agent_execution_started = Some(1),
        RunNews::Launched { after_ms } => record.agent_time_to_launch = Some(after_ms),
        RunNews::CalledBack { after_ms } => record.callback_latency = Some(after_ms),
        RunNews::ResultsRetrieved => record.agent_results_retrieved = Some(1),
    }
    record.write();
}

/// Records that a run has ended, if it has.
pub fn record_end(execution: &Execution) {
    let mut record = RunRecord::of(&execution.execution_id, &execution.agent_name);
    match execution.status {
        Status::Completed => record.agent_execution_completed = Some(1),
        Status::Failed | Status::Timeout => record.agent_execution_failed = Some(1),
        Status::Queued | Status::Running | Status::InputRequired | Status::Cancelled => return,
    }
    let times = execution.completed_at.zip(execution.started_at);
    record.agent_execution_duration = times.map(|(end, start)| end.millis_since(start));
    record.write();
}

impl RunRecord {
    fn of(id: &ExecutionId, agent: &AgentName) -> Self {
        Self {
            timestamp: SystemTime::now(),
            agent_name: agent.to_string(),
            execution_id: id.to_string(),
            agent_execution_started: None,
            agent_results_retrieved: None,
            agent_execution_completed: None,
            agent_execution_failed: None,
            agent_execution_duration: None,
            agent_time_to_launch: None,
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
