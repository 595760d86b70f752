//! Exploring a model, and telling what came of it.

use std::{
    fmt::{Debug, Display, Write},
    hash::Hash,
    time::{Duration, Instant},
};

use stateright::{Checker, HasDiscoveries, Model, Path};

/// What was explored, and what was found.
#[derive(Debug)]
pub struct Explored {
    /// Distinct ones.
    pub states: usize,
    /// Actions that led to a state, known or new.
    pub steps: usize,
    /// Of the longest of the shortest ways to a state.
    pub depth: usize,
    pub took: Duration,
    pub found: Vec<Found>,
}

/// A property that does not hold, and how that comes about.
#[derive(Debug)]
pub struct Found {
    pub property: &'static str,
    pub steps: usize,
    pub trace: String,
}

/// What a table says of a model.
pub trait Told {
    fn name(&self) -> &'static str;

    /// The most sweeps by which a state was settled.
    fn most_sweeps(&self) -> u8;
}

/// The name of a property that is no rule, but looked for.
pub const REACHED: &str = "it is reached";

/// Explores models one after another, and prints a line of each: what is found fails.
pub fn explore_all<M>(kind: &str, models: impl Iterator<Item = M>, threads: usize)
where
    M: Model + Told + Send + Sync + Clone + 'static,
    M::State: Debug + Display + Hash + PartialEq + Clone + Send + Sync,
    M::Action: Debug + PartialEq + Clone + Send + Sync,
{
    let mut states = 0;
    let mut found = String::new();
    println!(
        "{kind:<24} {:>12} {:>12} {:>6} {:>7} {:>8}",
        "states", "steps", "depth", "sweeps", "seconds"
    );
    for model in models {
        let explored = explore(&model, threads);
        let Explored { steps, depth, took, .. } = explored;
        let (name, sweeps, seconds) = (model.name(), model.most_sweeps(), took.as_secs_f32());
        println!(
            "{name:<24} {:>12} {steps:>12} {depth:>6} {sweeps:>7} {seconds:>8.1}",
            explored.states
        );
        states += explored.states;
        for Found { property, steps, trace } in explored.found {
            let _ = writeln!(found, "{name}: not so after {steps} steps: {property}\n{trace}");
        }
    }
    println!("{:<24} {states:>12}", "all");
    assert!(found.is_empty(), "{found}");
}

/// Explores models until something is found, and prints after how many steps: each must break this property,
/// or reach what is looked for.
pub fn find_all<M>(kind: &str, models: impl Iterator<Item = (String, M, &'static str)>)
where
    M: Model + Told + Send + Sync + Clone + 'static,
    M::State: Debug + Display + Hash + PartialEq + Clone + Send + Sync,
    M::Action: Debug + PartialEq + Clone + Send + Sync,
{
    println!("{kind:<24} {:>12} {:>6}  found", "states", "steps");
    for (name, model, property) in models {
        let enough = HasDiscoveries::AnyOf([property].into());
        let Explored { states, found, .. } = explore_until(&model, 1, enough);
        let broken = found.iter().find(|it| it.property == property);
        let Some(Found { steps, .. }) = broken else {
            panic!("{name} does not come to this: {property}; but {found:?}");
        };
        println!("{name:<24} {states:>12} {steps:>6}  {property}");
    }
}

/// Explores a model breadth first until something is found or there is nothing more. What is found takes
/// about as few steps as can be: the checker looks at some more states before it ends.
pub fn explore<M>(model: &M, threads: usize) -> Explored
where
    M: Model + Send + Sync + Clone + 'static,
    M::State: Debug + Display + Hash + PartialEq + Clone + Send + Sync,
    M::Action: Debug + PartialEq + Clone + Send + Sync,
{
    explore_until(model, threads, HasDiscoveries::AnyFailures)
}

fn explore_until<M>(model: &M, threads: usize, enough: HasDiscoveries) -> Explored
where
    M: Model + Send + Sync + Clone + 'static,
    M::State: Debug + Display + Hash + PartialEq + Clone + Send + Sync,
    M::Action: Debug + PartialEq + Clone + Send + Sync,
{
    let clock = Instant::now();
    let checker = model.clone().checker().threads(threads).finish_when(enough).spawn_bfs().join();
    let found = checker.discoveries().into_iter().map(|(property, path)| {
        let (steps, trace) = trace(&path);
        Found { property, steps, trace }
    });
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(|it| (it.steps, it.property));
    Explored {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        took: clock.elapsed(),
        found,
    }
}

/// One step a line: what happens, and the state that it leads to.
fn trace<S, A>(path: &Path<S, A>) -> (usize, String)
where
    S: Display + Clone,
    A: Debug + Clone,
{
    let mut text = String::new();
    let mut steps = 0;
    for (state, action) in path.clone().into_vec() {
        let happens = action.map_or_else(|| "=".to_owned(), |it| format!("{it:?}"));
        let _ = writeln!(text, "{state}\n    {happens}");
        steps += 1;
    }
    (steps - 1, text)
}

/// The next call of each function, by its name alone.
pub(crate) fn calls(steps: impl Iterator<Item = impl Debug>) -> String {
    let name = |step| {
        let written = format!("{step:?}");
        let name = written.split(" {").next().unwrap_or_default();
        name.replace(['(', ')'], " ").trim().to_owned()
    };
    steps.map(name).collect::<Vec<_>>().join(" | ")
}
