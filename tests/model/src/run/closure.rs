//! What becomes of a state once all functions, messages and events are gone, and only sweeps come.

use std::cell::RefCell;

use relay::domain::{question::QuestionState, status::Rank};

use super::{
    functions::{Calls, Reached, Step, Then},
    questions::{Answering, Asking, Asks},
    world::{Ending, World},
};
use crate::memo::Known;

/// More sweeps than that are taken for none.
const MOST: u8 = 16;

/// What a function calls at most.
const MOST_CALLS: u8 = 50;

/// After so many sweeps an agent that nobody stops ends.
const PATIENT: u8 = 4;

/// By how many sweeps a run is settled, at most, whenever its agent ends: it has ended as Step Functions
/// says, its result is stored and it is told. `None` when it never is.
pub(super) fn sweeps(calls: Calls, world: &World) -> Option<u8> {
    thread_local! {
        /// Many states differ in their functions alone.
        static KNOWN: RefCell<Known<(Calls, World), Option<u8>>> = RefCell::default();
    }
    let key = (calls, *world);
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&key).copied()) {
        return known;
    }
    let prompt = sweep(calls, *world, 0);
    let patient = prompt.and_then(|prompt| Some(prompt.max(sweep(calls, *world, PATIENT)?)));
    KNOWN.with_borrow_mut(|known| known.insert(key, patient));
    patient
}

fn sweep(calls: Calls, mut world: World, agent_ends: u8) -> Option<u8> {
    for sweeps in 0..MOST {
        // Of a redrive of what has ended only its events tell: one of them comes.
        if world.agent.at >= 3 && world.row.redrive == 0 && world.row.rank == Rank::Ended {
            let seen = world.agent.seen(3)?;
            finish(calls, &mut world, Calls::apply(seen, Then::Nothing));
        }
        // Of what nobody might describe when its end was presumed, only its events tell: its end comes.
        if calls.is_blind && world.is_confirmed && world.row.rank == Rank::Presumed {
            if world.agent.runs() {
                world.agent.end(Ending::Done);
            }
            if let Some(seen) = world.agent.seen(world.agent.at) {
                finish(calls, &mut world, Calls::apply(seen, Then::Nothing));
            }
        }
        if is_settled(&world) {
            return Some(sweeps);
        }
        let due = world.row.due?;
        world.now = world.now.max(due);
        process_questions(calls, &mut world);
        world.agent.was = world.agent.at;
        // Who is to be stopped does not end by itself.
        let is_to_stop = world.row.is_cancelled || world.row.has_deadline;
        let waits = (0..2).any(|it| world.waits(calls.asks, it, calls.terms.answer_within));
        let is_time = sweeps >= agent_ends && (agent_ends == 0 || !is_to_stop);
        if world.agent.runs() && is_time && !waits {
            world.agent.end(Ending::Done);
        }
        let step = calls.sweep(&world.row, due, world.now);
        if finish(calls, &mut world, step) {
            let now = world.now;
            finish(calls, &mut world, Step::Claim { now });
        }
        if world.wrong.is_some() {
            return None;
        }
    }
    None
}

/// What an agent asks comes until it is handled, and what can be answered is answered at once.
fn process_questions(calls: Calls, world: &mut World) {
    if calls.asks == Asks::Nothing {
        return;
    }
    for number in 0..2 {
        let question = world.questions[usize::from(number)];
        if world.agent.at > calls.asks.redrive(number) * 2 && !question.is_handled {
            finish(calls, world, Step::Ask(Asking::Read { number, is_second: false }));
        }
        Calls::take_answer(world, number);
        let question = &mut world.questions[usize::from(number)];
        if question.due.is_some() {
            question.due = question.due.max(Some(world.now + 1));
            finish(calls, world, Step::Answer(Answering::Find { number }));
        }
    }
}

/// Runs a function to its end; whether it has hinted that there is something to launch.
fn finish(calls: Calls, world: &mut World, step: Step) -> bool {
    let mut next = Some(step);
    let mut has_hinted = false;
    // Whoever attempts again and again gives up, too.
    for _ in 0..MOST_CALLS {
        let Some(step) = next else { break };
        let left = calls.make(world, step, Reached::Well);
        (next, has_hinted) = (left.next, has_hinted || left.has_hinted);
    }
    has_hinted
}

fn is_settled(world: &World) -> bool {
    let World { row, agent, outcome, .. } = world;
    let (end, redrive) = (row.end(), row.redrive);
    let has_ended = match row.rank {
        Rank::Queued | Rank::Running => false,
        Rank::Presumed => agent.at == 0 && row.due.is_none(),
        Rank::Ended => agent.at == (redrive + 1) * 2,
    };
    has_ended
        && outcome.is_some_and(|it| it.is_of(row))
        && world.is_told(redrive, end)
        && world.is_published(redrive, row.rank, end)
        && world.questions.iter().all(|it| it.state != Some(QuestionState::Open))
}
