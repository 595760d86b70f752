//! What becomes of a state once all functions, messages and events are gone, and only sweeps come.

use std::{cell::RefCell, time::Duration};

use relay::domain::{
    protocol::{Poll, Silence},
    status::Rank,
};

use super::{
    functions::Calls,
    rules::{Line, Seen},
    step::{Step, Way},
    world::{Due, World},
};
use crate::{memo::Known, time::at};

/// More sweeps than that are taken for none.
const MOST: u8 = 8;

/// What a function calls at most, and how many of them one sweep has begin.
const MOST_CALLS: u8 = 50;
const MOST_HINTS: u8 = 50;

const SILENCE: Silence = Silence {
    launch: Duration::from_mins(1),
    event: Duration::from_mins(5),
    longest: Duration::from_hours(1),
};

/// By how many sweeps all runs have ended. `None` when one never does, or keeps a slot.
pub(super) fn sweeps(calls: Calls, world: &World) -> Option<u8> {
    thread_local! {
        /// Many states differ in their functions alone.
        static KNOWN: RefCell<Known<(Calls, World), Option<u8>>> = RefCell::default();
    }
    let key = (calls, *world);
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&key).copied()) {
        return known;
    }
    let sweeps = count(calls, *world);
    KNOWN.with_borrow_mut(|known| known.insert(key, sweeps));
    sweeps
}

fn count(calls: Calls, mut world: World) -> Option<u8> {
    world.is_paused = false;
    for sweeps in 0..MOST {
        if is_settled(&world) {
            return Some(sweeps);
        }
        for line in &mut world.lines {
            line.is_lately = false;
        }
        for agent in &mut world.agents {
            *agent += u8::from(*agent % 2 == 1);
        }
        for run in 0..3 {
            if let Some(step) = processes(&world, run) {
                finish(calls, &mut world, step)?;
            }
        }
        for line in Line::ALL {
            if world.line(line).is_open {
                finish(calls, &mut world, Step::LookAfter { line })?;
            }
        }
    }
    None
}

/// What begins for a run.
fn processes(world: &World, run: u8) -> Option<Step> {
    let (row, agent) = (world.row(run), world.agent(run));
    let told = Step::Read { run, seen: Seen::Told(agent), walk: None };
    match row.due {
        // Of one that owes nothing only its events tell: one of them comes.
        Due::Never => {
            let is_news = agent > 0 && Seen::Told(agent).position().may_follow(row.position());
            is_news.then_some(told)
        }
        Due::Far => None,
        Due::Near => match row.facts().poll(at(1), SILENCE) {
            Poll::Confirm => Some(Step::Describe { run, slots: row.held() }),
            Poll::AskOrLaunch | Poll::Ask if agent > 0 => Some(told),
            Poll::AskOrLaunch | Poll::Launch => Some(Step::Claim { run }),
            Poll::Ask | Poll::Later => None,
        },
    }
}

/// Runs a function to its end, and those that it has begin.
fn finish(calls: Calls, world: &mut World, step: Step) -> Option<()> {
    let mut hinted = [false; 2];
    let mut next = Some(step);
    for _ in 0..MOST_HINTS {
        let mut left = MOST_CALLS;
        while let Some(step) = next {
            left = left.checked_sub(1)?;
            let done = calls.make(world, step, Way::Well);
            next = done.next;
            for (line, is_new) in hinted.iter_mut().zip(done.hinted) {
                *line |= is_new;
            }
        }
        let Some(line) = Line::ALL.into_iter().find(|line| hinted[*line as usize]) else {
            return Some(());
        };
        hinted[line as usize] = false;
        next = Some(Step::Wake { line });
    }
    None
}

fn is_settled(world: &World) -> bool {
    let mut rows = world.rows.iter().zip(world.agents);
    let have_ended = rows.all(|(row, agent)| match row.rank {
        Rank::Queued | Rank::Running => false,
        Rank::Presumed => agent == 0 && row.due == Due::Never,
        Rank::Ended => agent == (row.redrive + 1) * 2 && !row.is_to_redrive,
    });
    have_ended && world.held.iter().all(|held| held.is_empty())
}
