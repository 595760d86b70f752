//! A little of each kind, with every change, and each broken rule.

use model::{
    batch::Batch,
    configs::{
        bounded_batches, bounded_deliveries, bounded_runs, bounded_slots, flaws_of_batches,
        flaws_of_deliveries, flaws_of_runs, flaws_of_slots, reached,
    },
    delivery::Deliver,
    explore::{REACHED, explore_all, find_all},
    run::Run,
    slots::Slots,
};

#[test]
fn a_run_ends_as_its_agent_does_and_is_told_whatever_is_lost() {
    explore_all("run", bounded_runs().map(|it| Run::new(it, None)), 1);
}

#[test]
fn a_delivery_is_made_whatever_is_lost_and_not_again_after_its_success() {
    explore_all("delivery", bounded_deliveries().map(|it| Deliver::new(it, None)), 1);
}

#[test]
fn a_batch_is_told_once_all_of_its_runs_have_ended_and_once() {
    explore_all("batch", bounded_batches().into_iter().map(|it| Batch::new(it, None)), 1);
}

#[test]
fn no_more_go_on_at_once_than_may_and_everybodys_turn_comes() {
    explore_all("slots", bounded_slots().into_iter().map(|it| Slots::new(it, None)), 1);
}

#[test]
fn each_broken_rule_of_a_batch_is_found() {
    find_all(
        "flaw",
        flaws_of_batches().into_iter().map(|(flaw, config, property)| {
            (format!("{flaw:?}"), Batch::new(config, Some(flaw)), property)
        }),
    );
}

#[test]
fn each_broken_rule_of_slots_is_found() {
    find_all(
        "flaw",
        flaws_of_slots().into_iter().map(|(flaw, config, property)| {
            (format!("{flaw:?}"), Slots::new(config, Some(flaw)), property)
        }),
    );
}

#[test]
fn each_broken_rule_of_a_run_is_found() {
    find_all(
        "flaw",
        flaws_of_runs().into_iter().map(|(flaw, config, property)| {
            (format!("{flaw:?}"), Run::new(config, Some(flaw)), property)
        }),
    );
}

#[test]
fn each_broken_rule_of_a_delivery_is_found() {
    find_all(
        "flaw",
        flaws_of_deliveries().into_iter().map(|(flaw, config, property)| {
            (format!("{flaw:?}"), Deliver::new(config, Some(flaw)), property)
        }),
    );
}

/// Else what holds might hold of little.
#[test]
fn what_matters_comes_about() {
    find_all(
        "state",
        reached().into_iter().map(|(name, config, sought)| {
            (name.to_owned(), Run { sought: Some(sought), ..Run::new(config, None) }, REACHED)
        }),
    );
}
