//! The moving average of an agent's execution time.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use relay::{
    domain::{
        error::Error,
        execution::Execution,
        id::AgentName,
        status::{LONGEST_RUN, Status},
        time,
    },
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
        let Some(seconds) = taken(execution) else { return Ok(()) };
        let name = &execution.agent_name;
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

/// The seconds that a completed run took, if they tell what runs take: not after a redrive, before
/// which it has waited for somebody, and not when it has not existed for so long.
fn taken(execution: &Execution) -> Option<f64> {
    if execution.status != Status::Completed || execution.redrive_count > 0 {
        return None;
    }
    let taken = execution.completed_at?.millis_since(execution.started_at?);
    let existed = execution.updated_at.millis_since(execution.created_at);
    (taken <= existed).then(|| time::seconds(taken))
}

/// What the average was when the run started, for an instance that has not met its agent; one
/// that no run can have taken was learnt from an event that was wrong.
fn told(execution: &Execution) -> Option<f64> {
    let average =
        execution.estimated_ms.filter(|millis| u128::from(*millis) <= LONGEST_RUN.as_millis());
    average.map(time::seconds)
}

/// The average, rounded to milliseconds, after one more run.
fn moved(average: Option<f64>, seconds: f64) -> f64 {
    time::rounded(average.map_or(seconds, |average| average + WEIGHT * (seconds - average)))
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

    fn run(changes: &serde_json::Value) -> Execution {
        let mut run = json!({
            "execution_id": "mcp-echo-1", "user_id": "someone", "agent_name": "echo",
            "state_machine_arn": "arn:aws:states:eu-west-1:111122223333:stateMachine:echo",
            "status": "completed", "redrive_count": 0, "rank": 90, "launch_before": 9_000,
            "created_at": 1_000, "updated_at": 5_000, "started_at": 2_000, "completed_at": 4_500,
        });
        run.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        from_value(run).unwrap()
    }

    #[test]
    fn a_run_tells_in_seconds_what_the_average_was_and_an_agent_without_one_nothing() {
        assert_eq!(told(&run(&json!({}))), None);
        assert_eq!(told(&run(&json!({"estimated_ms": 1_985}))), Some(1.985));
        let year = 365 * 24 * 60 * 60 * 1_000_u64;
        assert!(told(&run(&json!({"estimated_ms": year}))).is_some());
        for odd in [1_599_103_744_233, 2 * year, u64::MAX] {
            assert_eq!(told(&run(&json!({"estimated_ms": odd}))), None);
        }
    }

    #[test]
    fn only_what_a_run_can_have_taken_counts() {
        for (changes, seconds) in [
            (json!({}), Some(2.5)),
            (json!({"completed_at": 2_000}), Some(0.0)),
            (json!({"completed_at": 6_000}), Some(4.0)),
            (json!({"completed_at": 6_001}), None),
            (json!({"started_at": 0, "completed_at": 5_000}), None),
            (json!({"started_at": 0, "completed_at": 1_599_103_744_233_u64}), None),
            (json!({"started_at": null}), None),
            (json!({"completed_at": null}), None),
            (json!({"status": "failed"}), None),
            (json!({"status": "cancelled"}), None),
            (json!({"redrive_count": 1}), None),
        ] {
            assert_eq!(taken(&run(&changes)), seconds, "{changes}");
        }
    }
}
