//! One metrics record per invocation, as embedded metric format in the log.

use std::{io, time::SystemTime};

use metrique::{
    ServiceMetrics,
    emf::Emf,
    timers::Timer,
    unit::Millisecond,
    unit_of_work::metrics,
    writer::{AttachGlobalEntrySinkExt, FormatExt, GlobalEntrySink, sink::AttachHandle},
};

const NAMESPACE: &str = "MCPServer/API";

/// Sends all records to standard output until the handle is dropped: keep it in `main`.
pub fn attach_metrics() -> AttachHandle {
    // Written at once: an environment may be frozen after each invocation.
    ServiceMetrics::write_directly_to(
        Emf::builder(NAMESPACE.to_owned(), vec![vec![]])
            .build()
            .output_to_makewriter(|| io::stdout().lock()),
    )
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
    #[metrics(unit = Millisecond)]
    duration: Timer,
}

impl Invocation {
    /// Starts the clock; the record is written when the guard is dropped.
    pub fn start(operation: &'static str) -> InvocationGuard {
        Self {
            timestamp: SystemTime::now(),
            operation,
            usage: 1,
            failed: true,
            undelivered_callbacks: None,
            duration: Timer::start_now(),
        }
        .append_on_drop(ServiceMetrics::sink())
    }
}
