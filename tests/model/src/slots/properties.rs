//! What holds in every state.

use std::sync::atomic::Ordering;

use relay::domain::status::Rank;
use stateright::Property;

use super::{Happens, Slots, State, closure, rules::Line, world::World};

pub(super) fn all() -> Vec<Property<Slots>> {
    vec![
        Property::always(
            "never more run at once than the limit says",
            |slots: &Slots, state: &State| {
                Line::ALL.into_iter().all(|line| slots.is_within(&state.world, line))
            },
        ),
        Property::always(
            "a slot is held by a run that goes on, or whose end is presumed",
            |_, State { world, .. }: &State| {
                let mut all = world.rows.iter().zip(world.held);
                all.all(|(row, held)| row.held() == held && (held.is_empty() || row.may_go_on()))
            },
        ),
        Property::always("a run that goes on holds its slots", |slots: &Slots, state: &State| {
            (0..).zip(&state.world.rows).all(|(run, row)| {
                let goes_on = row.is_claimed && row.rank <= Rank::Running;
                let lines = slots.calls().terms.lines(run, false);
                let holds = |(line, _)| !row.held().of_line(line).is_empty();
                !goes_on || lines.into_iter().flatten().all(holds)
            })
        }),
        Property::always(
            "a run that waits stands in a line that is looked after",
            |_, State { world, .. }: &State| {
                let lines = world.rows.iter().filter_map(|row| row.line);
                lines.into_iter().all(|line| world.line(line).is_open)
            },
        ),
        Property::always("sweeps alone start every waiter", |slots: &Slots, state: &State| {
            let sweeps = closure::sweeps(slots.calls(), &state.world);
            slots.most_sweeps.fetch_max(sweeps.unwrap_or_default(), Ordering::Relaxed);
            sweeps.is_some()
        }),
    ]
}

impl Slots {
    /// Whether no more of those run that take a slot there than may, but for those that Step Functions has
    /// reopened without us.
    fn is_within(&self, world: &World, line: Line) -> bool {
        let may_be_ours = !self.config.may(Happens::Redrive);
        let runs = |agent| agent == 1 || agent == 3 && may_be_ours;
        let running = (0..).zip(world.agents).filter(|(_, agent)| runs(*agent));
        let limits = running.flat_map(|(run, _)| self.calls().terms.lines(run, world.is_paused));
        let of_line = limits.flatten().filter(|(its, _)| *its == line);
        let most: Vec<_> = of_line.map(|(_, most)| most).collect();
        most.iter().all(|limit| u32::try_from(most.len()).is_ok_and(|count| count <= *limit))
    }
}
