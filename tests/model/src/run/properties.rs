//! What holds of a run in every state.

use std::sync::atomic::Ordering;

use relay::domain::{
    question::QuestionState,
    status::{Rank, Status, StopReason},
};
use stateright::Property;

use crate::explore::REACHED;

use super::{
    Run, State, closure,
    row::{Code, End},
    world::{Ending, Question, World, Wrong},
};

pub(super) fn all() -> Vec<Property<Run>> {
    vec![
        Property::always("a run is started once", |_, state: &State| state.world.agent.starts <= 1),
        Property::always("a position never goes back", |_, state: &State| {
            state.world.wrong != Some(Wrong::MovedBack)
        }),
        Property::always(
            "what ends because nobody has claimed it never starts",
            |_, state: &State| !(state.world.is_certain && state.world.agent.at > 0),
        ),
        Property::always(
            "what is cancelled before its claim is not claimed",
            |_, state: &State| state.world.wrong != Some(Wrong::ClaimedThoughCancelled),
        ),
        Property::always("an end is the agent's end", |_, state: &State| is_true(&state.world)),
        Property::always(
            "no end is presumed of what is known to run",
            |run: &Run, state: &State| {
                let World { row, agent, .. } = state.world;
                run.config.may_be_mistaken() || row.rank != Rank::Presumed || agent.at == 0
            },
        ),
        Property::always("the outcome is that of the end", |_, state: &State| {
            has_outcome(&state.world)
        }),
        Property::always("one end is published of a position", |_, state: &State| {
            state.world.wrong != Some(Wrong::TwoEndsPublished)
        }),
        Property::always("a stop is marked in its own redrive alone", |_, state: &State| {
            state.world.wrong != Some(Wrong::MarkedAnotherRedrive)
        }),
        Property::always("what owes something is in the index of debts", |_, state: &State| {
            let World { row, is_confirmed, .. } = state.world;
            match row.rank {
                Rank::Queued | Rank::Running => row.due.is_some(),
                Rank::Presumed => row.due.is_some() || is_confirmed,
                Rank::Ended => row.due.is_none(),
            }
        }),
        Property::always(
            "no question is lost while its agent waits",
            |run: &Run, state: &State| (0..2).all(|number| !run.is_lost(&state.world, number)),
        ),
        Property::always("an answer that was given has not lapsed", |_, state: &State| {
            state.world.wrong != Some(Wrong::LapsedThoughGiven)
        }),
        Property::always("an answer that is owed is in the index of debts", |_, state: &State| {
            state.world.questions.iter().all(|it| {
                it.state != Some(QuestionState::Open) || !it.is_answered || it.due.is_some()
            })
        }),
        Property::always("sweeps alone settle and tell it", |run: &Run, state: &State| {
            run.settles(&state.world)
        }),
    ]
}

/// That what is looked for comes about.
pub(super) fn sought() -> Property<Run> {
    Property::sometimes(REACHED, |run: &Run, state: &State| {
        run.sought.is_some_and(|sought| sought(&state.world))
    })
}

impl Run {
    /// Whether sweeps alone settle what is left when all functions die.
    fn settles(&self, world: &World) -> bool {
        let sweeps = closure::sweeps(self.calls(), world);
        if let Some(sweeps) = sweeps {
            self.most_sweeps.fetch_max(sweeps, Ordering::Relaxed);
        }
        sweeps.is_some()
    }

    /// Whether an agent waits for an answer that nobody can give, since its question is thought to be done.
    fn is_lost(&self, world: &World, number: u8) -> bool {
        let Question { state, is_handled, .. } = world.questions[usize::from(number)];
        is_handled && self.waits(world, number) && state != Some(QuestionState::Open)
    }
}

/// Whether an end that is said to be Step Functions' is that.
fn is_true(world: &World) -> bool {
    let World { row, agent, .. } = world;
    if row.rank != Rank::Ended {
        return true;
    }
    let stopped = row.stop.map(StopReason::status);
    match agent.ends[usize::from(row.redrive)] {
        None => false,
        Some(Ending::Done) => row.end() == End::DONE,
        Some(Ending::Failed) => row.end() == End::failed(Code::Agent),
        Some(Ending::Stopped(Code::Timeout)) => row.status == Status::Timeout,
        Some(Ending::Stopped(code)) => {
            // Stopped because we had reported that it ended, it has ended so.
            stopped == Some(row.status) || stopped.is_none() && row.code == Some(code)
        }
    }
}

fn has_outcome(world: &World) -> bool {
    let World { row, outcome, .. } = world;
    if row.rank < Rank::Presumed {
        return true;
    }
    // That of a later end is stored ahead of it.
    outcome.is_some_and(|it| it.position() > row.position() || it.is_of(row))
}
