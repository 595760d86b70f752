//! How many runs go on at once, of an agent, of one user of it, and of a user.

use crate::domain::{
    agent::Agent,
    execution::Execution,
    pool::{Limit, Pool, Slot, WaitsFor},
};

/// Whether a run that is accepted now takes slots. One that was accepted before its agent had a limit
/// takes none.
#[must_use]
pub const fn is_limited(agent: &Agent, user_limit: Option<u32>) -> bool {
    agent.paused
        || agent.max_concurrent.is_some()
        || agent.max_concurrent_per_user.is_some()
        || user_limit.is_some()
}

/// The limits of a run, as they are now. An agent that is gone has none.
#[must_use]
pub fn limits(run: &Execution, agent: Option<&Agent>) -> Vec<Limit> {
    let (name, user) = (&run.agent_name, &run.user_id);
    let limit = |pool, most, waits_for| Limit { pool, most, waits_for };
    let paused = agent.is_some_and(|agent| agent.paused);
    let of_agent = match agent.and_then(|agent| agent.max_concurrent) {
        _ if paused => Some(limit(Pool::of_agent(name), 0, WaitsFor::Paused)),
        most => most.map(|most| limit(Pool::of_agent(name), most, WaitsFor::Agent)),
    };
    let share = agent.and_then(|agent| agent.max_concurrent_per_user);
    let share = share.map(|most| limit(Pool::of_share(name, user), most, WaitsFor::AgentUser));
    let of_user = run.user_max_concurrent;
    let of_user = of_user.map(|most| limit(Pool::of_user(user, most), most, WaitsFor::User));
    [of_agent, share, of_user].into_iter().flatten().collect()
}

/// What a run holds that Step Functions has reopened without us: it runs, also beyond the limit, and counts.
#[must_use]
pub fn beyond(run: &Execution) -> Vec<Slot> {
    let (agent, user) = (&run.agent_name, &run.user_id);
    let of_user = run.user_max_concurrent.map(|most| Pool::of_user(user, most));
    let pools = [Some(Pool::of_agent(agent)), Some(Pool::of_share(agent, user)), of_user];
    let name = run.execution_id.to_string();
    pools.into_iter().flatten().map(|pool| Slot { pool, name: name.clone() }).collect()
}
