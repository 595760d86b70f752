//! The rules of `relay` that runs which take slots are held to, asked in the model's words.

use std::{cell::RefCell, fmt, sync::OnceLock, time::Duration};

use relay::domain::{
    agent::Agent,
    concurrency::limits,
    execution::Execution,
    id::UserId,
    moved::moved,
    observation::Observation,
    pool::{Limit, Pool, Slot, Standing, Turn, View, free, turn},
    protocol::Grounds,
    status::{Position, Status},
};
use serde_json::json;

use super::{RUNS, world::Row};
use crate::{memo::Known, time::at};

/// A pool of slots, and the line before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Line {
    Agent,
    User,
}

impl Line {
    pub const ALL: [Self; 2] = [Self::Agent, Self::User];

    fn of(pool: &Pool) -> Option<Self> {
        let Base { agent, user, .. } = base();
        Self::ALL.into_iter().find(|line| match line {
            Self::Agent => pool == agent,
            Self::User => pool == user,
        })
    }
}

/// Slots: two that have a number in each pool, and one beyond its limit. The latter is another one for each
/// run, since it is named after it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Set(u8);

impl Set {
    const WIDTH: u8 = 3;

    const fn one(line: Line, index: u8) -> Self {
        Self(1 << (line as u8 * Self::WIDTH + index))
    }

    fn of(slots: &[Slot]) -> Self {
        // Nobody limits the share of a user here, so nobody looks at its pool.
        let known = slots.iter().filter_map(|slot| Some((Line::of(&slot.pool)?, &slot.name)));
        let bits = known.map(|(line, name)| Self::one(line, name.parse().unwrap_or(2)).0);
        Self(bits.fold(0, |all, bit| all | bit))
    }

    fn slots(self, run: u8) -> Vec<Slot> {
        let Base { agent, user, runs } = base();
        let all = Line::ALL.into_iter().flat_map(|line| (0..Self::WIDTH).map(move |it| (line, it)));
        let mine =
            all.filter(|(line, index)| self.and(Self::one(*line, *index)) != Self::default());
        mine.map(|(line, index)| {
            let name = match index {
                0 | 1 => index.to_string(),
                _ => runs[usize::from(run)].execution_id.to_string(),
            };
            let pool = match line {
                Line::Agent => agent,
                Line::User => user,
            };
            Slot { pool: pool.clone(), name }
        })
        .collect()
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those that one holder keeps from all others.
    pub(super) const fn numbered(self) -> Self {
        Self(self.0 & 0b01_1011)
    }

    /// Those of one pool.
    pub(super) const fn of_line(self, line: Line) -> Self {
        Self(self.0 & 0b111 << (line as u8 * Self::WIDTH))
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Set {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["a0", "a1", "a+", "u0", "u1", "u+"].into_iter().enumerate();
        let held = names.filter(|(bit, _)| self.0 >> bit & 1 == 1).map(|(_, name)| name);
        write!(formatter, "[{}]", held.collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Of which limits a run takes slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Takes {
    /// Its agent's: it is another user's.
    Agents,
    /// Its user's: it is another agent's.
    Users,
    Both,
}

/// What the limits are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Terms {
    pub(super) of_agent: Option<u32>,
    pub(super) of_user: u32,
    pub(super) takes: [Takes; RUNS],
}

/// A pool as it was read, and whether somebody comes before whoever reads it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Viewed {
    /// The numbers of the slots that are taken.
    pub(super) taken: Set,
    /// How many are taken beyond.
    pub(super) beyond: u8,
    pub(super) is_behind: bool,
}

impl Viewed {
    fn view(self, line: Line) -> View {
        let number = |it: &u8| !self.taken.and(Set::one(line, *it)).is_empty();
        let numbers = (0..2).filter(number).map(|it| it.to_string());
        let beyond = (0..self.beyond).map(|it| format!("mcp-echo-{it}"));
        let taken = numbers.chain(beyond).collect();
        View { taken, is_behind: self.is_behind }
    }
}

/// What a run may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turned {
    Take(Set),
    Wait(Line),
    Stay,
}

/// The lines of the limits of a run in their order, and how much of each may be taken.
pub(super) type Lines = [Option<(Line, u32)>; 2];

impl Terms {
    fn limits(self, run: u8, is_paused: bool) -> Vec<Limit> {
        let run = self.run(run);
        let is_limited = run.agent_name == base().runs[0].agent_name;
        let agent = json!({
            "agent_name": run.agent_name, "status": "active",
            "state_machine_arn": run.state_machine_arn, "paused": is_limited && is_paused,
            "max_concurrent": self.of_agent.filter(|_| is_limited),
        });
        let agent: Agent = serde_json::from_value(agent).expect("it is an agent");
        limits(&run, Some(&agent))
    }

    fn run(self, run: u8) -> Execution {
        let takes = self.takes[usize::from(run)];
        let mut run = base().runs[usize::from(run)].clone();
        if takes == Takes::Users {
            run.agent_name = "other".parse().expect("a name");
        }
        run.user_max_concurrent = (takes != Takes::Agents).then_some(self.of_user);
        run
    }

    pub(super) fn lines(self, run: u8, is_paused: bool) -> Lines {
        thread_local! {
            static KNOWN: RefCell<Known<(Terms, u8, bool), Lines>> = RefCell::default();
        }
        KNOWN.with_borrow_mut(|known| {
            *known.entry((self, run, is_paused)).or_insert_with(|| {
                let mut lines = [None; 2];
                for (line, limit) in lines.iter_mut().zip(self.limits(run, is_paused)) {
                    *line = Line::of(&limit.pool).map(|of| (of, limit.most));
                }
                lines
            })
        })
    }

    /// Whether a slot of the line's pool is free for a run that has read this.
    pub(super) fn has_room(
        self,
        run: u8,
        is_paused: bool,
        viewed: [Viewed; 2],
        line: Line,
    ) -> bool {
        self.lines(run, is_paused).into_iter().zip(viewed).any(|(limit, viewed)| {
            limit.is_some_and(|(its, most)| {
                its == line && !free(most, &viewed.view(line).taken).is_empty()
            })
        })
    }

    /// What a run may do that has read this of the pools of its limits.
    pub(super) fn turn(
        self,
        run: u8,
        is_paused: bool,
        viewed: [Viewed; 2],
        from: Option<(Line, u8)>,
    ) -> Turned {
        type Turns = Known<(Terms, u8, bool, [Viewed; 2], Option<(Line, u8)>), Turned>;
        thread_local! {
            static KNOWN: RefCell<Turns> = RefCell::default();
        }
        KNOWN.with_borrow_mut(|known| {
            *known.entry((self, run, is_paused, viewed, from)).or_insert_with(|| {
                let limits = self.limits(run, is_paused);
                let lines = self.lines(run, is_paused).into_iter().flatten();
                let views: Vec<_> =
                    lines.zip(viewed).map(|((line, _), viewed)| viewed.view(line)).collect();
                let Base { agent, user, .. } = base();
                let from = from.map(|(line, gone_up)| Standing {
                    line: if line == Line::Agent { agent } else { user },
                    gone_up: gone_up.into(),
                });
                match turn(&limits, &views, from, run.into()) {
                    Turn::Take(slots) => Turned::Take(Set::of(&slots)),
                    Turn::Wait(limit) => Turned::Wait(Line::of(&limit.pool).expect("its line")),
                    Turn::Stay => Turned::Stay,
                }
            })
        })
    }
}

/// What was observed of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    /// By Step Functions, when the run had come so far.
    Told(u8),
    /// That it ended because nobody has claimed it.
    Unclaimed,
    /// That it ended because it cannot be started.
    Presumed,
}

impl Seen {
    pub(super) const fn grounds(self) -> Grounds {
        match self {
            Self::Told(_) => Grounds::Told,
            Self::Unclaimed => Grounds::Unclaimed,
            Self::Presumed => Grounds::Presumed,
        }
    }

    const fn status(self) -> Status {
        match self {
            Self::Told(1 | 3) => Status::Running,
            Self::Told(_) | Self::Presumed => Status::Failed,
            Self::Unclaimed => Status::Cancelled,
        }
    }

    pub(super) const fn position(self) -> Position {
        let redrive_count = if let Self::Told(3 | 4) = self { 1 } else { 0 };
        Position { redrive_count, rank: self.grounds().rank(self.status()) }
    }

    fn observation(self, run: &Execution) -> Observation {
        Observation {
            grounds: self.grounds(),
            execution_id: run.execution_id.clone(),
            execution_arn: String::new(),
            status: self.status(),
            redrive_count: self.position().redrive_count,
            started_at: None,
            completed_at: None,
            output: None,
            error: None,
            cause: None,
        }
    }
}

/// What a run holds after what was seen, as `relay` has it.
pub(super) fn held_after(terms: Terms, run: u8, row: &Row, seen: Seen) -> Set {
    type Held = Known<(Terms, u8, Row, Seen), Set>;
    const WEEK: Duration = Duration::from_hours(168);
    thread_local! {
        static KNOWN: RefCell<Held> = RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| {
        *known.entry((terms, run, *row, seen)).or_insert_with(|| {
            let before = Execution {
                redrive_count: row.redrive.into(),
                rank: row.rank as u8,
                slots: row.held().slots(run),
                ..terms.run(run)
            };
            let seen = seen.observation(&before);
            let event_overdue = Duration::from_mins(5);
            Set::of(&moved(&before, &seen, at(1), event_overdue, WEEK).slots)
        })
    })
}

/// What is the same in all states.
struct Base {
    agent: Pool,
    user: Pool,
    runs: [Execution; RUNS],
}

fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let run = |number: usize| -> Execution {
            let row = json!({
                "execution_id": format!("mcp-echo-{number}"), "user_id": "someone", "agent_name": "echo",
                "state_machine_arn": "arn:aws:states:eu-west-1:111122223333:stateMachine:echo",
                "status": "queued", "redrive_count": 0, "rank": 0, "created_at": at(0),
                "updated_at": at(0), "launch_before": at(100), "wait_order": at(0),
            });
            serde_json::from_value(row).expect("it is a row")
        };
        let runs = [run(0), run(1), run(2)];
        Base {
            agent: Pool::of_agent(&runs[0].agent_name),
            // All configs have this limit.
            user: Pool::of_user(&UserId::from("someone".to_owned()), 1),
            runs,
        }
    })
}
