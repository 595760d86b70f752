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
        let average = moved(seen.map(|seen| seen.average).or_else(|| told(execution)), seconds);
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

/// What the average was when the run started, for an instance that has not met its agent.
fn told(execution: &Execution) -> Option<f64> {
    Some(Duration::from_millis(execution.estimated_ms?).as_secs_f64())
}

/// The average, rounded to milliseconds, after one more run.
fn moved(average: Option<f64>, seconds: f64) -> f64 {
    let moved = average.map_or(seconds, |average| average + WEIGHT * (seconds - average));
    (moved * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

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
    #[test]
    fn a_run_tells_in_seconds_what_the_average_was_and_an_agent_without_one_nothing() {
        let mut run = json!({
            "execution_id": "mcp-echo-1", "user_id": "someone", "agent_name": "echo",
            "state_machine_arn": "arn:aws:states:eu-west-1:111122223333:stateMachine:echo",
            "status": "completed", "redrive_count": 0, "rank": 90, "launch_before": 9_000,
            "created_at": 1_000, "updated_at": 2_000,
        });
        assert_eq!(told(&from_value(run.clone()).unwrap()), None);

        run["estimated_ms"] = json!(2_050);
        assert!(close(told(&from_value(run).unwrap()).unwrap(), 2.05));
    }
}
