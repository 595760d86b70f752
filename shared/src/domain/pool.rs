//! Pools of slots, of which a run holds one from its claim to its end, and the lines of those that wait for one. A
//! slot is an item, not a count: a counter that all runs write would conflict, and drift.

use std::{collections::BTreeSet, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::id::{AgentName, UserId};

/// The most that a limit may be: whoever claims a run reads all slots that are taken.
pub const MOST: u32 = 1_000;

/// How long a line stands after somebody has joined it last, though the index shows nobody: longer than the
/// index can be behind, and than a function runs that has announced itself and not joined yet.
pub const LINE_KEPT: Duration = Duration::from_mins(10);

/// The slots of an agent, of one user of an agent, or of a user; and the line before them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pool(String);

impl Pool {
    #[must_use]
    pub fn of_agent(agent: &AgentName) -> Self {
        Self(format!("slots#{agent}"))
    }

    #[must_use]
    pub fn of_share(agent: &AgentName, user: &UserId) -> Self {
        Self(format!("slots#{agent}#{user}"))
    }

    /// Of a user's keys with this limit: one with another limit has a pool of its own, so that neither waits behind
    /// the other. No agent has an empty name.
    #[must_use]
    pub fn of_user(user: &UserId, most: u32) -> Self {
        Self(format!("slots##{most}#{user}"))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Pool {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// One of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Slot {
    pub pool: Pool,
    /// Its number; or, of a run that Step Functions has reopened without us, that run.
    pub name: String,
}

/// What a queued run waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitsFor {
    /// The agent runs as often at once as it may.
    Agent,
    /// It does so for this user.
    AgentUser,
    /// The user's runs are as many at once as they may be.
    User,
    /// The agent is paused.
    Paused,
}

/// How many of a pool may be taken at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    pub pool: Pool,
    pub most: u32,
    pub waits_for: WaitsFor,
}

/// A pool as it was read, after the line before it.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The names of the slots that are taken.
    pub taken: Names,
    /// Whether somebody waits there who comes before this run.
    pub is_behind: bool,
}

/// Where a run stands whose turn it may be.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The line in which it stands, and of which it is the first that is left.
    pub line: &'a Pool,
    /// How many of that line have gone to the line of an earlier limit since it was read.
    pub gone_up: usize,
}

/// What a run may do.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn<'a> {
    /// Take these, if they are still free.
    Take(Vec<Slot>),
    Wait(&'a Limit),
    /// Nothing, and it stands where it stood: those who have gone up will take what is free here.
    Stay,
}

/// Whether a run may go on, by what was seen of the pool of each of its limits; `seed` says which of the free slots it
/// takes, so that those who choose at once rarely meet.
///
/// Limits have an order, by which those who wait are moved to and fro as little as may be: down as often as it is
/// so, which leaves a line to those who can go on; up only as many as there is room for where they come from.
#[must_use]
pub fn turn<'a>(
    limits: &'a [Limit],
    views: &[View],
    from: Option<Standing<'_>>,
    seed: u64,
) -> Turn<'a> {
    let own = from.and_then(|from| limits.iter().position(|limit| limit.pool == *from.line));
    let own = own.and_then(|place| Some((place, limits.get(place)?, views.get(place)?)));
    let own = own.map(|(place, limit, view)| (place, limit, free(limit.most, &view.taken).len()));
    if let Some((_, limit, 0)) = own {
        return Turn::Wait(limit);
    }
    let mut slots = Vec::new();
    for (place, (limit, view)) in limits.iter().zip(views).enumerate() {
        let free = free(limit.most, &view.taken);
        let chosen = u64::try_from(free.len()).ok().and_then(|count| seed.checked_rem(count));
        let chosen = chosen.and_then(|index| free.get(usize::try_from(index).ok()?));
        let Some(number) = chosen.filter(|_| !view.is_behind) else {
            let has_room_for_none = |(own, _, room)| {
                place < own && from.is_some_and(|standing| standing.gone_up >= room)
            };
            return if own.is_some_and(has_room_for_none) { Turn::Stay } else { Turn::Wait(limit) };
        };
        slots.push(Slot { pool: limit.pool.clone(), name: number.to_string() });
    }
    Turn::Take(slots)
}

/// The names of slots.
pub type Names = BTreeSet<String>;

/// The slots that may be taken: as many as are left, and the first of those that are free. So also where more are
/// taken than there may be, since the limit was lowered or Step Functions has reopened a run.
#[must_use]
pub fn free(most: u32, taken: &Names) -> Vec<u32> {
    let left = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(taken.len());
    (0..most).filter(|number| !taken.contains(&number.to_string())).take(left).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn taken(names: &[&str]) -> Names {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn no_pool_is_another_ones() {
        let (agent, user) = ("a".parse().unwrap(), UserId::from("a".to_owned()));
        let odd = UserId::from("#a".to_owned());
        let pools = [
            Pool::of_agent(&agent),
            Pool::of_share(&agent, &user),
            Pool::of_share(&agent, &odd),
            Pool::of_user(&user, 1),
            Pool::of_user(&odd, 1),
            Pool::of_user(&user, 11),
        ];
        assert_eq!(pools.iter().collect::<HashSet<_>>().len(), pools.len());
    }

    #[test]
    fn as_many_slots_are_free_as_are_left() {
        for (most, names, expected) in [
            (0, &[][..], &[][..]),
            (3, &[], &[0, 1, 2]),
            (3, &["1"], &[0, 2]),
            (3, &["0", "1", "2"], &[]),
            // The limit was lowered.
            (2, &["5", "6", "7"], &[]),
            (3, &["0", "7"], &[1]),
            // A run was reopened.
            (3, &["mcp-echo-1", "2"], &[0]),
            (1, &["mcp-echo-1"], &[]),
        ] {
            assert_eq!(free(most, &taken(names)), expected, "{most} {names:?}");
        }
    }

    #[test]
    fn a_run_takes_a_slot_of_each_pool_or_waits_for_the_first_that_has_none_for_it() {
        let limit = |pool: &str, most, waits_for| Limit {
            pool: Pool::from(pool.to_owned()),
            most,
            waits_for,
        };
        let limits = [limit("a", 2, WaitsFor::Agent), limit("u", 2, WaitsFor::User)];
        let view = |names: &[&str], is_behind| View { taken: taken(names), is_behind };
        let room = || view(&["0"], false);
        let slot = |pool: &str| Slot { pool: Pool::from(pool.to_owned()), name: "1".to_owned() };

        for seed in [0, 1, u64::MAX] {
            let both = turn(&limits, &[room(), room()], None, seed);
            assert_eq!(both, Turn::Take(vec![slot("a"), slot("u")]));
        }
        let full = || view(&["0", "1"], false);
        let behind = || view(&["0"], true);
        assert_eq!(turn(&limits, &[full(), full()], None, 0), Turn::Wait(&limits[0]));
        assert_eq!(turn(&limits, &[room(), full()], None, 0), Turn::Wait(&limits[1]));
        assert_eq!(turn(&limits, &[behind(), room()], None, 0), Turn::Wait(&limits[0]));
        assert_eq!(turn(&limits, &[room(), behind()], None, 0), Turn::Wait(&limits[1]));
        assert_eq!(turn(&[], &[], None, 0), Turn::Take(Vec::new()));

        let from = |line: usize, gone_up| Some(Standing { line: &limits[line].pool, gone_up });
        for (views, from, expected) in [
            // No room where it stands: it stands there well.
            ([full(), full()], from(1, 0), Turn::Wait(&limits[1])),
            // Up, as many as there is room for.
            ([full(), room()], from(1, 0), Turn::Wait(&limits[0])),
            ([full(), room()], from(1, 1), Turn::Stay),
            ([room(), room()], from(1, 1), Turn::Take(vec![slot("a"), slot("u")])),
            // Down, all.
            ([room(), full()], from(0, 0), Turn::Wait(&limits[1])),
            ([room(), behind()], from(0, 5), Turn::Wait(&limits[1])),
            // Its line is of no limit that it has.
            (
                [full(), room()],
                Some(Standing { line: &Pool::from("x".to_owned()), gone_up: 9 }),
                Turn::Wait(&limits[0]),
            ),
        ] {
            assert_eq!(turn(&limits, &views, from, 0), expected);
        }
    }
}
