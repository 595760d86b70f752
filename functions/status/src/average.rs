//! The moving average of an agent's execution time.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use relay::{
    agent::AgentName,
    error::Error,
    execution::{Execution, Status},
    store::agents::Agents,
};

/// How much of the average one run makes up.
const WEIGHT: f64 = 0.1;

/// One agent's row is written at most this often by one function instance: an estimate is not
/// worth a hot row.
const WRITTEN_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Averages {
    agents: Agents,
    seen: Mutex<HashMap<AgentName, Seen>>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    average: f64,
    written_at: Option<Instant>,
}

impl Averages {
    pub(crate) fn new(agents: Agents) -> Self {
        Self { agents, seen: Mutex::default() }
    }

    /// Counts a completed run in.
    pub(crate) async fn include(&self, execution: &Execution) -> Result<(), Error> {
        let (Status::Completed, Some(start), Some(end)) =
            (execution.status, execution.started_at, execution.completed_at)
        else {
            return Ok(());
        };
        let name = &execution.agent_name;
        let seconds = Duration::from_millis(end.millis_since(start)).as_secs_f64();
        let seen = self.lock().get(name).copied();
        // Of an agent that this instance has not met, the run knows what the average was at its start.
        let told = || Some(Duration::from_millis(execution.estimated_ms?).as_secs_f64());
        let average = moved(seen.map(|seen| seen.average).or_else(told), seconds);
        let written_at = seen.and_then(|seen| seen.written_at);
        let is_due = written_at.is_none_or(|at| at.elapsed() >= WRITTEN_EVERY);
        let written_at = if is_due { Some(Instant::now()) } else { written_at };
        self.lock().insert(name.clone(), Seen { average, written_at });
        if is_due { self.agents.set_average(name, average).await } else { Ok(()) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<AgentName, Seen>> {
        // A thread that panicked with the lock held leaves averages that are still whole.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The average, rounded to milliseconds, after one more run.
fn moved(average: Option<f64>, seconds: f64) -> f64 {
    let moved = average.map_or(seconds, |average| average + WEIGHT * (seconds - average));
    (moved * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn the_first_run_is_the_average_and_later_ones_move_it_by_a_tenth() {
        assert!(close(moved(None, 2.0), 2.0));
        assert!(close(moved(Some(2.0), 3.0), 2.1));
        assert!(close(moved(Some(1.0), 1.23456), 1.023));
    }
}
