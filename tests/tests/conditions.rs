//! Every DynamoDB condition, proven against DynamoDB.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::{Stack, eventually, id};
use futures_util::future::join_all;
use relay::{
    domain::{
        attempt::Attempt,
        caller::{Actor, Credential},
        debt::{Debt, DebtKind},
        delivery::{CALLBACK_TARGET, Delivery, DeliveryState, Line},
        error::Error,
        event_type::EventType,
        execution::Execution,
        expiry,
        health::{DisabledReason, Health},
        id::{ExecutionId, SubscriptionId, UserId},
        json::Json,
        outcome::Outcome,
        pool::{Pool, Slot},
        protocol::{CLAIM_GRACE, Grounds},
        question::{Answer, Ask, Question, QuestionState},
        status::{Position, Rank, Status, StopReason},
        time::Timestamp,
    },
    store::{
        batch::Consistency,
        budget::{Budget, Full},
        deliveries::{Lease, Verdict},
        due::{Due, DueItem},
        executions::{Accept, NewExecution},
        item::to_item,
        limits::Limits,
        questions::QuestionWrite,
        slots::SlotClaim,
        subscriptions::Subscriptions,
        transitions::Claim,
        trouble::TroubleAfter,
        write::Step,
    },
};
use serde_json::json;
use ulid::Ulid;

const HOUR: Duration = Duration::from_hours(1);

fn new_id() -> ExecutionId {
    id(&format!("mcp-test-{}", Ulid::generate()))
}

fn actor() -> Actor {
    Actor { user_id: "someone".to_owned().into(), key_id: "ab12cd34ab12cd34".to_owned() }
}

/// A queued run that nobody launches: no message is sent for it.
fn queued(id: &ExecutionId) -> Execution {
    let now = Timestamp::now();
    serde_json::from_value(json!({
        "execution_id": id, "user_id": format!("user-{}", Ulid::generate()), "agent_name": "test",
        "state_machine_arn": "arn:aws:states:us-east-1:000000000000:stateMachine:test",
        "status": "queued", "redrive_count": 0, "rank": 0, "created_at": now, "updated_at": now,
        "launch_before": now.plus(HOUR), "due_at": now.plus(HOUR), "debt": Debt::of(DebtKind::Launch, id),
    }))
    .unwrap()
}

fn at(execution: &Execution, position: Position) -> Execution {
    let status = match position.rank {
        Rank::Queued => Status::Queued,
        Rank::Running => Status::Running,
        Rank::Presumed | Rank::Ended => Status::Completed,
    };
    let ttl = status.is_end().then(|| Timestamp::now().plus(HOUR).seconds());
    Execution {
        status,
        redrive_count: position.redrive_count,
        rank: position.rank as u8,
        // By it a write knows itself again.
        updated_at: execution.updated_at.plus(Duration::from_millis(1)),
        ttl,
        ..execution.clone()
    }
}

async fn accept(stack: &Stack, execution: &Execution) -> Accept {
    let new = NewExecution { execution, input: "{}", callback: None, request_hash: "hash" };
    stack.executions().accept(new).await.unwrap()
}

#[tokio::test]
async fn the_transition_rule_and_its_condition_agree_on_all_pairs() {
    let stack = Stack::connect().await;
    let positions: Vec<Position> = (0..3)
        .flat_map(|redrive_count| Rank::ALL.map(|rank| Position { redrive_count, rank }))
        .collect();
    let pairs: Vec<_> =
        positions.iter().flat_map(|from| positions.iter().map(move |to| (*from, *to))).collect();
    assert_eq!(pairs.len(), 144);

    for chunk in pairs.chunks(24) {
        join_all(chunk.iter().map(async |(from, to)| {
            let before = at(&queued(&new_id()), *from);
            accept(&stack, &before).await;
            let after = at(&before, *to);
            // Alone, and in a transaction.
            let expected = if to.may_follow(*from) { Step::Applied } else { Step::Stale };
            let step = move_to(&stack, &before, &after, Grounds::Told, &[]).await;
            assert_eq!(step, expected, "{from:?} → {to:?}");

            let before = Execution { execution_id: new_id(), ..before };
            accept(&stack, &before).await;
            let after = Execution { execution_id: before.execution_id.clone(), ..after };
            let owed = Delivery::owed(&after, EventType::Completed, CALLBACK_TARGET, HOUR, HOUR);
            let owing = std::slice::from_ref(&owed);
            let step = move_to(&stack, &before, &after, Grounds::Told, owing).await;
            assert_eq!(step, expected, "{from:?} → {to:?}");
            let parts = stack.parts(after.execution_id.as_str()).await;
            assert_eq!(parts.contains_key(&owed.part), expected == Step::Applied, "all or nothing");
            assert_eq!(
                parts["state"]["rank"],
                if expected == Step::Applied { after.rank } else { before.rank }
            );
        }))
        .await;
    }
}

async fn move_to(
    stack: &Stack,
    before: &Execution,
    after: &Execution,
    grounds: Grounds,
    owed: &[Delivery],
) -> Step {
    stack.executions().advance(before, after, grounds, None, owed).await.unwrap()
}

/// Stores a row as it is, whatever it may be.
async fn store(stack: &Stack, run: &Execution) {
    let mut row = json!(run);
    row["part"] = json!("state");
    stack.put("ExecutionsTable", row).await;
}

#[tokio::test]
async fn a_cancellation_brings_back_what_was_given_up() {
    let stack = Stack::connect().await;
    let run = queued(&new_id());
    let mut row = json!(run);
    row["part"] = json!("state");
    row["sweeps"] = json!(200);
    row["dead_reason"] = json!("x");
    row["debt"] = json!(Debt::dead());
    stack.put("ExecutionsTable", row).await;

    let due_at = Timestamp::now().plus(HOUR);
    let (id, executions) = (&run.execution_id, stack.executions());
    assert_eq!(executions.request_cancel(id, &actor(), due_at).await.unwrap(), Step::Applied);

    let state = stack.parts(id.as_str()).await["state"].clone();
    assert_eq!(state["debt"], json!(Debt::of(DebtKind::Launch, id)));
    assert_eq!((state.get("sweeps"), state.get("dead_reason")), (None, None));
}

#[tokio::test]
async fn a_count_of_another_type_is_put_right_by_the_next() {
    let stack = Stack::connect().await;
    let due = Due::new(stack.dynamodb.clone(), stack.output("ExecutionsTable").to_owned());
    let now = Timestamp::now();
    // Without a debt it is not in the index, so that no other test's sweep postpones it.
    let row = json!({"execution_id": new_id(), "part": "state", "due_at": now, "sweeps": "many"});
    stack.put("ExecutionsTable", row.clone()).await;
    let item = DueItem::of(&to_item(&row).unwrap()).unwrap();

    let [found] = &due.read(std::slice::from_ref(&item)).await.unwrap()[..] else { panic!() };
    assert_eq!(found.as_ref().unwrap().sweeps, 0);
    let postponed = due.postpone(&item, DebtKind::Poll, now.plus(HOUR), Some(0)).await.unwrap();
    assert_eq!(postponed, Step::Applied);
    assert_eq!(stack.parts(&item.execution_id).await["state"]["sweeps"], json!(1));
}

#[tokio::test]
async fn trouble_of_no_time_at_all_is_none() {
    let stack = Stack::connect().await;
    let user = stack.user(&[]).await.id.into();
    for (since, until) in [(None, -5), (Some(9), 8)] {
        let (since, after) = (
            since.map(Timestamp::from_millis),
            TroubleAfter::Time { until: Timestamp::from_millis(until) },
        );
        let listed = stack.executions().list_trouble(Some(&user), since, 10, Some(&after)).await;
        let (entries, next) = listed.unwrap();
        assert!(entries.is_empty() && next.is_none());
    }
}

#[tokio::test]
async fn what_was_decided_on_one_read_holds_only_while_that_is_true() {
    let stack = Stack::connect().await;
    let positions: Vec<Position> = (0..2)
        .flat_map(|redrive_count| Rank::ALL.map(|rank| Position { redrive_count, rank }))
        .collect();
    let mut cases = Vec::new();
    for (from, to) in positions.iter().flat_map(|from| positions.iter().map(move |to| (from, to))) {
        for grounds in Grounds::ALL {
            for (is_claimed, seen) in [(false, 1), (true, 1), (false, 0), (true, 2)] {
                cases.push((*from, *to, grounds, is_claimed, seen));
            }
        }
    }
    for chunk in cases.chunks(64) {
        join_all(chunk.iter().map(async |(from, to, grounds, is_claimed, seen)| {
            let stands = Execution {
                sequence: 1,
                claimed_at: is_claimed.then(Timestamp::now),
                debt: None,
                ..at(&queued(&new_id()), *from)
            };
            store(&stack, &stands).await;
            let before = Execution { sequence: *seen, ..stands.clone() };
            let may = stands.facts().may_move(*to, *seen, *grounds);
            let step = move_to(&stack, &before, &at(&before, *to), *grounds, &[]).await;
            let expected = if may { Step::Applied } else { Step::Stale };
            assert_eq!(step, expected, "{from:?} → {to:?}, {grounds:?}, {is_claimed}, {seen}");
        }))
        .await;
    }
}

#[tokio::test]
async fn an_end_is_asked_for_and_stopped_where_its_run_may_be() {
    let stack = Stack::connect().await;
    let (executions, due_at) = (stack.executions(), Timestamp::now().plus(HOUR));
    let positions =
        (0..2).flat_map(|redrive_count| Rank::ALL.map(|rank| Position { redrive_count, rank }));

    join_all(positions.map(async |stands| {
        let run = Execution { debt: None, ..at(&queued(&new_id()), stands) };
        store(&stack, &run).await;
        let (id, facts) = (&run.execution_id, run.facts());
        let expected = |may| if may { Step::Applied } else { Step::Stale };
        for redrive_count in 0..2 {
            let may = facts.may_be_stopped(redrive_count);
            for reason in [StopReason::Cancel, StopReason::Deadline] {
                let held = executions.stopping(id, redrive_count, reason).await.unwrap();
                assert_eq!(held, may.then_some(StopReason::Cancel), "{stands:?}: the first holds");
            }
        }
        let step = executions.request_cancel(id, &actor(), due_at).await.unwrap();
        assert_eq!(step, expected(facts.may_be_cancelled()), "{stands:?}");
        executions.confirm(&run).await.unwrap();
        let parts = stack.parts(id.as_str()).await;
        assert_eq!(parts["state"].get("due_at").is_none(), stands.rank == Rank::Presumed);
    }))
    .await;
}

#[tokio::test]
async fn an_end_is_stored_with_what_it_ended_by_or_not_at_all() {
    let stack = Stack::connect().await;
    let run = queued(&new_id());
    accept(&stack, &run).await;
    let presumed = at(&run, Position { redrive_count: 0, rank: Rank::Presumed });
    let outcome = |rank: Rank, error: &str| Outcome {
        error: Some(error.to_owned()),
        rank: rank as u8,
        ..Outcome::default()
    };
    let executions = stack.executions();
    let end = async |grounds, error: &str| {
        let outcome = outcome(Rank::Presumed, error);
        executions.advance(&run, &presumed, grounds, Some(&outcome), &[]).await.unwrap()
    };
    let stored = async || stack.parts(run.execution_id.as_str()).await.remove("output");

    // Claimed since it was read.
    assert!(matches!(executions.claim(&run.execution_id).await.unwrap(), Claim::Claimed(..)));
    assert_eq!(end(Grounds::Unclaimed, "queue_timeout").await, Step::Stale);
    assert_eq!(stored().await, None);
    assert_eq!(end(Grounds::Presumed, "execution_lost").await, Step::Applied);
    assert_eq!(stored().await.unwrap()["error"], "execution_lost");
    // Nobody who is late replaces it, but Step Functions does.
    assert_eq!(end(Grounds::Presumed, "late").await, Step::Stale);
    let told = outcome(Rank::Ended, "AgentError");
    assert_eq!(executions.put_outcome(&run.execution_id, &told, 1).await.unwrap(), Step::Applied);
    let late = outcome(Rank::Presumed, "late");
    assert_eq!(executions.put_outcome(&run.execution_id, &late, 1).await.unwrap(), Step::Stale);
    assert_eq!(stored().await.unwrap()["error"], "AgentError");
}

#[tokio::test]
async fn what_belongs_to_a_run_expires_later_than_it_and_is_kept_while_it_goes_on() {
    let stack = Stack::connect().await;
    let (now, item) = (Timestamp::now(), format!("idem#test#{}", Ulid::generate()));
    let run = Execution {
        idempotency_item: Some(item.clone()),
        kept_until: Some(expiry::kept_until(now, HOUR)),
        callback_events: vec![EventType::Completed],
        ..queued(&new_id())
    };
    let callback = serde_json::from_value(json!({"url": "https://example.com/"})).unwrap();
    let new = NewExecution {
        execution: &run,
        input: "{}",
        callback: Some(&callback),
        request_hash: "hash",
    };
    assert_eq!(stack.executions().accept(new).await.unwrap(), Accept::Stored);
    let expiries = async || {
        let mut parts = stack.parts(run.execution_id.as_str()).await;
        parts.extend(stack.parts(&item).await);
        ["state", "input", "callback", "idem"].map(|part| parts[part]["ttl"].as_i64())
    };

    let born = run.kept_until.map(Timestamp::seconds);
    assert_eq!(expiries().await, [None, born, born, born]);
    let later = now.plus(HOUR * 100);
    let keep = async |run: &Execution| stack.executions().keep_longer(run, later).await.unwrap();
    keep(&run).await;
    let kept = Some(later.seconds());
    assert_eq!(expiries().await, [None, kept, kept, kept]);
    // The same again, by one who has not seen that, and of one that has ended.
    let seen = Execution { kept_until: Some(later), ..run.clone() };
    stack.executions().keep_longer(&run, now).await.unwrap();
    assert_eq!(expiries().await, [None, kept, kept, kept]);
    let ended = at(&seen, Position { redrive_count: 0, rank: Rank::Ended });
    assert_eq!(move_to(&stack, &seen, &ended, Grounds::Told, &[]).await, Step::Applied);
    stack.executions().keep_longer(&seen, now).await.unwrap();
    assert_eq!(expiries().await, [ended.ttl, kept, kept, kept], "an end rewrites no other part");

    // Of one that has ended, all is kept longer, unless it is kept as long already or has been redriven.
    let executions = stack.executions();
    let outcome = Outcome { output: None, error: None, cause: None, redrive_count: 0, rank: 90 };
    executions.put_outcome(&run.execution_id, &outcome, ended.ttl.unwrap()).await.unwrap();
    let longest = later.plus(HOUR);
    let redriven = Execution { redrive_count: 1, ..ended.clone() };
    executions.keep_ended(&redriven, longest).await.unwrap();
    assert_eq!(expiries().await, [ended.ttl, kept, kept, kept]);
    for until in [longest, later] {
        executions.keep_ended(&ended, until).await.unwrap();
        let parts = Some(expiry::parts_until(longest).seconds());
        assert_eq!(expiries().await, [Some(longest.seconds()), parts, parts, parts]);
        let output = stack.parts(run.execution_id.as_str()).await["output"].clone();
        assert_eq!(output["ttl"], longest.seconds());
    }
}

#[tokio::test]
async fn what_is_left_of_a_closed_question_is_kept_while_its_run_goes_on() {
    let stack = Stack::connect().await;
    let (id, now) = (new_id(), Timestamp::now());
    let question = |name: &str, state: &str, ttl: Timestamp| {
        json!({
            "execution_id": id, "part": format!("question#{name}"), "question_id": name,
            "state": state, "asked_at": now, "ttl": ttl.seconds(),
        })
    };
    let (early, until, late) = (now.plus(HOUR), now.plus(HOUR * 2), now.plus(HOUR * 3));
    let names = ["a", "b", "c"].map(|name| name.repeat(32));
    for (name, (state, ttl)) in
        names.iter().zip([("answered", early), ("open", early), ("answered", late)])
    {
        stack.put("ExecutionsTable", question(name, state, ttl)).await;
    }
    stack.executions().keep_closed_questions(&id, until).await.unwrap();
    let parts = stack.parts(id.as_str()).await;
    let ttls = names.each_ref().map(|name| parts[&format!("question#{name}")]["ttl"].as_i64());
    assert_eq!(ttls, [until, early, late].map(|time| Some(time.seconds())));
}

#[tokio::test]
async fn a_reopened_run_owes_again_and_does_not_expire() {
    let stack = Stack::connect().await;
    let start = queued(&new_id());
    accept(&stack, &start).await;
    let ended = Execution {
        due_at: None,
        debt: None,
        ..at(&start, Position { redrive_count: 0, rank: Rank::Ended })
    };
    assert_eq!(move_to(&stack, &start, &ended, Grounds::Told, &[]).await, Step::Applied);
    let parts = stack.parts(start.execution_id.as_str()).await;
    assert!(parts["state"]["ttl"].is_i64() && parts["state"].get("due_at").is_none());

    let later = Timestamp::now().plus(HOUR * 9);
    let reopened = at(&start, Position { redrive_count: 1, rank: Rank::Running });
    let reopened = Execution { kept_until: Some(later), ..reopened };
    assert_eq!(move_to(&stack, &ended, &reopened, Grounds::Told, &[]).await, Step::Applied);
    let parts = stack.parts(start.execution_id.as_str()).await;
    assert_eq!(parts["input"]["ttl"], later.seconds());
    assert!(parts["state"].get("ttl").is_none());
    assert!(parts["state"]["due_at"].is_i64() && parts["state"]["debt"].is_string());
}

#[tokio::test]
async fn an_id_or_a_live_idempotency_key_is_stored_once() {
    let stack = Stack::connect().await;
    let item = format!("idem#test#{}", Ulid::generate());
    let first = Execution { idempotency_item: Some(item.clone()), ..queued(&new_id()) };
    let second = Execution { idempotency_item: Some(item.clone()), ..queued(&new_id()) };

    assert_eq!(accept(&stack, &first).await, Accept::Stored);
    assert_eq!(accept(&stack, &second).await, Accept::KeyTaken);
    assert!(stack.parts(second.execution_id.as_str()).await.is_empty(), "all or nothing");
    let new = NewExecution {
        execution: &Execution { idempotency_item: None, ..first.clone() },
        input: "{}",
        callback: None,
        request_hash: "",
    };
    assert!(stack.executions().accept(new).await.is_err(), "the id is taken");

    // When the key expires, it is free again even before DynamoDB deletes it.
    let expired =
        Execution { ttl: Some(1), ..at(&first, Position { redrive_count: 0, rank: Rank::Ended }) };
    let expired = Execution { kept_until: Some(Timestamp::from_millis(1_000)), ..expired };
    move_to(&stack, &first, &expired, Grounds::Told, &[]).await;
    assert!(stack.executions().find_idempotency(&item).await.unwrap().is_none());
    assert!(
        stack.executions().find(&first.execution_id, Consistency::Strong).await.unwrap().is_none()
    );
    assert!(stack.executions().find_finished(&first.execution_id, true).await.unwrap().is_none());
    assert_eq!(accept(&stack, &second).await, Accept::Stored);
}

#[tokio::test]
async fn a_run_is_claimed_while_it_is_queued_and_in_time() {
    let stack = Stack::connect().await;
    let executions = stack.executions();
    let run = queued(&new_id());
    accept(&stack, &run).await;

    let Claim::Claimed(first, attempts) = executions.claim(&run.execution_id).await.unwrap() else {
        panic!()
    };
    assert!(attempts.is_first() && attempts.is_alone());
    after(first.claimed_at.unwrap()).await;
    // A second claim is harmless, and keeps the time of the first.
    let Claim::Claimed(second, attempts) = executions.claim(&run.execution_id).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(first.claimed_at, second.claimed_at);
    assert!(!attempts.is_first() && !attempts.is_alone(), "the first was not answered");
    let running = at(&second, Position { redrive_count: 0, rank: Rank::Running });
    assert_eq!(move_to(&stack, &second, &running, Grounds::Told, &[]).await, Step::Applied);
    assert!(matches!(executions.claim(&run.execution_id).await.unwrap(), Claim::Refused(_)));
    assert!(matches!(executions.claim(&new_id()).await.unwrap(), Claim::Unknown));

    let late = Execution { launch_before: Timestamp::now(), ..queued(&new_id()) };
    accept(&stack, &late).await;
    assert!(matches!(executions.claim(&late.execution_id).await.unwrap(), Claim::Refused(_)));
    // Claimed in time, it stays claimable: only Step Functions settles it from then on.
    let claimed = Execution {
        claimed_at: Some(Timestamp::now()),
        launch_before: Timestamp::now(),
        ..queued(&new_id())
    };
    accept(&stack, &claimed).await;
    assert!(matches!(executions.claim(&claimed.execution_id).await.unwrap(), Claim::Claimed(..)));
}

#[tokio::test]
async fn a_run_is_claimed_when_the_rule_says_so() {
    let stack = Stack::connect().await;
    let (executions, now) = (stack.executions(), Timestamp::now());
    let mut runs = Vec::new();
    for rank in Rank::ALL {
        for claimed_at in [None, Some(now)] {
            for launch_before in [now.plus(HOUR), now, now.minus(CLAIM_GRACE)] {
                for cancel_requested_at in [None, Some(now)] {
                    for deadline in [None, Some(now), Some(now.plus(HOUR))] {
                        for start_at in [None, Some(now), Some(now.plus(HOUR))] {
                            runs.push(Execution {
                                claimed_at,
                                start_at,
                                launch_before,
                                cancel_requested_at,
                                deadline,
                                debt: None,
                                ..at(&queued(&new_id()), Position { redrive_count: 0, rank })
                            });
                        }
                    }
                }
            }
        }
    }
    for chunk in runs.chunks(48) {
        join_all(chunk.iter().map(async |run| {
            store(&stack, run).await;
            let claim = executions.claim(&run.execution_id).await.unwrap();
            let is_claimed = matches!(claim, Claim::Claimed(..));
            assert_eq!(is_claimed, run.facts().may_be_claimed(Timestamp::now()), "{run:?}");
        }))
        .await;
    }
}

/// With what it takes, and only so; also where that is nothing any more.
#[tokio::test]
async fn a_run_that_takes_slots_is_claimed_with_them_where_the_rule_says_so() {
    let stack = Stack::connect().await;
    let (executions, now) = (stack.executions(), Timestamp::now());
    let mut runs = Vec::new();
    for rank in Rank::ALL {
        for claimed_at in [None, Some(now)] {
            for late in [false, true] {
                for cancel_requested_at in [None, Some(now)] {
                    for start_at in [None, Some(now), Some(now.plus(HOUR))] {
                        for redrive_requested_at in [None, Some(now)] {
                            for user_max_concurrent in [None, Some(1)] {
                                runs.push(Execution {
                                    claimed_at,
                                    start_at,
                                    launch_before: if late { now } else { now.plus(HOUR) },
                                    cancel_requested_at,
                                    redrive_requested_at,
                                    user_max_concurrent,
                                    wait_order: Some(now),
                                    debt: None,
                                    ..at(&queued(&new_id()), Position { redrive_count: 0, rank })
                                });
                            }
                        }
                    }
                }
            }
        }
    }
    for chunk in runs.chunks(48) {
        join_all(chunk.iter().map(async |run| {
            store(&stack, run).await;
            let claim = executions.claim(&run.execution_id).await.unwrap();
            let now = Timestamp::now();
            let again = run.claimed_at.is_some() && run.facts().may_be_claimed(now);
            assert_eq!(matches!(claim, Claim::Claimed(..)), again, "{run:?}");
            let pool = Pool::from(format!("slots#{}", run.execution_id));
            let slots = match run.user_max_concurrent {
                Some(_) => vec![Slot { pool, name: "0".to_owned() }],
                None => Vec::new(),
            };
            let claim =
                async || executions.claim_with(run, slots.clone(), now.plus(HOUR)).await.unwrap();
            let is_claimed = matches!(claim().await, SlotClaim::Claimed(..));
            assert_eq!(is_claimed, run.takes_slots(now), "{run:?}");
            if is_claimed {
                after(Timestamp::now()).await;
                // A redrive that takes nothing leaves nothing by which it could be refused.
                let again = slots.is_empty() && run.facts().is_to_be_redriven();
                let claim = claim().await;
                assert_eq!(matches!(claim, SlotClaim::Claimed(..)), again, "{run:?}: it has them");
            }
        }))
        .await;
    }
}

/// Where that takes no slot and leaves no line, there is nothing else by which it could be refused.
#[tokio::test]
async fn a_redrive_that_was_withdrawn_is_not_claimed() {
    let stack = Stack::connect().await;
    let now = Timestamp::now();
    let ended = Execution {
        wait_order: Some(now),
        debt: None,
        ..at(&queued(&new_id()), Position { redrive_count: 0, rank: Rank::Ended })
    };
    store(&stack, &ended).await;
    let seen = Execution { redrive_requested_at: Some(now), ..ended };
    let claim = stack.executions().claim_with(&seen, Vec::new(), now.plus(HOUR)).await.unwrap();
    assert!(matches!(claim, SlotClaim::Refused), "{claim:?}");
}

/// Waits until the clock has left this millisecond.
async fn after(time: Timestamp) {
    eventually("the next millisecond", async || (Timestamp::now() > time).then_some(())).await;
}

#[tokio::test]
async fn a_try_is_alone_while_all_before_it_were_answered() {
    let stack = Stack::connect().await;
    let executions = stack.executions();
    let due_at = Timestamp::now().plus(HOUR);
    let claim = async |id: &ExecutionId| {
        let Claim::Claimed(run, attempts) = executions.claim(id).await.unwrap() else { panic!() };
        after(run.claimed_at.unwrap()).await;
        attempts
    };

    let run = queued(&new_id());
    accept(&stack, &run).await;
    let id = &run.execution_id;
    for _ in 0..3 {
        let attempts = claim(id).await;
        assert!(attempts.is_alone(), "{attempts:?}");
        executions.delay_launch(id, due_at, Some(attempts.made)).await.unwrap();
    }
    // This one is not answered: it may have started the run.
    assert!(claim(id).await.is_alone());
    executions.delay_launch(id, due_at, None).await.unwrap();
    for _ in 0..3 {
        let attempts = claim(id).await;
        assert!(!attempts.is_alone(), "{attempts:?}");
        executions.delay_launch(id, due_at, None).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_overdue_is_postponed_by_one_and_by_the_same_again() {
    let stack = Stack::connect().await;
    let due = Due::new(stack.dynamodb.clone(), stack.output("ExecutionsTable").to_owned());
    let now = Timestamp::now();
    // Without a debt it is not in the index, so that no other test's sweep postpones it.
    let row = json!({"execution_id": new_id(), "part": "state", "due_at": now});
    stack.put("ExecutionsTable", row.clone()).await;
    let item = DueItem::of(&to_item(&row).unwrap()).unwrap();

    let until = now.plus(HOUR);
    let kind = DebtKind::Poll;
    assert_eq!(due.postpone(&item, kind, until, Some(0)).await.unwrap(), Step::Applied);
    // The same again is what a lost reply makes of it; another finds it postponed.
    assert_eq!(due.postpone(&item, kind, until, Some(0)).await.unwrap(), Step::Applied);
    assert_eq!(due.postpone(&item, kind, until.plus(HOUR), Some(0)).await.unwrap(), Step::Stale);
    assert_eq!(due.dead_letter(&item, "x").await.unwrap(), Step::Stale);
    let stored = stack.parts(&item.execution_id).await["state"].clone();
    assert_eq!((&stored["sweeps"], &stored["due_at"]), (&json!(1), &json!(until)));
    assert_eq!(stored["debt"], json!(Debt::of(kind, &id(&item.execution_id))));
    let gone = json!({"execution_id": new_id(), "part": "state", "due_at": now});
    let gone = DueItem::of(&to_item(&gone).unwrap()).unwrap();
    assert_eq!(due.postpone(&gone, kind, until, Some(0)).await.unwrap(), Step::Stale);
    assert_eq!(due.dead_letter(&gone, "x").await.unwrap(), Step::Stale);
    due.is_well(&gone).await.unwrap();
}

#[tokio::test]
async fn what_is_given_up_is_found_and_looked_after_again_on_request() {
    let stack = Stack::connect().await;
    let due = Due::new(stack.dynamodb.clone(), stack.output("ExecutionsTable").to_owned());
    // One that has ended, so that no sweep of another test does anything about it.
    let run = at(&queued(&new_id()), Position { redrive_count: 0, rank: Rank::Ended });
    let mut row = json!(run);
    row.as_object_mut().unwrap().extend([
        ("part".to_owned(), json!("state")),
        ("due_at".to_owned(), json!(1)),
        ("sweeps".to_owned(), json!(7)),
    ]);
    stack.put("ExecutionsTable", row.clone()).await;
    let item = DueItem::of(&to_item(&row).unwrap()).unwrap();

    assert_eq!(due.dead_letter(&item, "a reason").await.unwrap(), Step::Applied);

    let found = due.dead(1_000).await.unwrap();
    let (dead_letter, dead) =
        found.iter().find(|(it, _)| it.execution_id == item.execution_id).unwrap();
    assert_eq!((dead.sweeps, dead.reason.as_str()), (7, "a reason"));
    assert_eq!(due.replay(&item).await.unwrap(), Step::Stale, "it has moved");
    assert_eq!(due.replay(dead_letter).await.unwrap(), Step::Applied);
    assert_eq!(due.replay(dead_letter).await.unwrap(), Step::Stale);
    let stored = stack.parts(&item.execution_id).await["state"].clone();
    assert!(stored.get("sweeps").is_none() && stored.get("dead_reason").is_none(), "{stored}");
    assert_eq!(stored["debt"], json!(Debt::of(DebtKind::Launch, &id(&item.execution_id))));
    // No sweep of another test is to give it up again.
    let key = json!({"execution_id": item.execution_id, "part": "state"});
    let delete = stack.dynamodb.delete_item().table_name(stack.output("ExecutionsTable"));
    delete.set_key(Some(to_item(&key).unwrap())).send().await.unwrap();
}

#[tokio::test]
async fn a_delivery_that_cannot_be_read_is_given_up_after_some_leases() {
    let stack = Stack::connect().await;
    let (id, part) = (new_id(), "delivery#completed#0#callback");
    let row = json!({
        "execution_id": id, "part": part, "state": "pending", "attempt_count": 0,
        "next_attempt_at": 0, "news": "a version to come has written it",
    });
    stack.put("ExecutionsTable", row).await;

    for leases in 1..=20 {
        assert_eq!(stack.parts(id.as_str()).await[part]["state"], "pending", "{leases}");
        // Far away, so that no sweep of another test comes across it.
        let lease = stack.deliveries().lease(&id, part, HOUR).await;
        assert!(matches!(lease, Err(Error::Corrupt { .. })), "{lease:?}");
        let key = to_item(&json!({"execution_id": id, "part": part})).unwrap();
        let lapse = stack.dynamodb.update_item().table_name(stack.output("ExecutionsTable"));
        let lapse = lapse.set_key(Some(key)).update_expression("REMOVE leased_until");
        lapse.send().await.unwrap();
    }

    let given_up = stack.parts(id.as_str()).await.remove(part).unwrap();
    assert_eq!((&given_up["state"], &given_up["trouble"]), (&json!("undelivered"), &json!("all")));
    assert!(given_up.get("due_at").is_none() && given_up.get("debt").is_none(), "{given_up}");
    assert!(matches!(stack.deliveries().lease(&id, part, HOUR).await.unwrap(), Lease::Refused));
}

#[tokio::test]
async fn a_delivery_that_is_over_is_owed_again_once() {
    let stack = Stack::connect().await;
    let deliveries = stack.deliveries();
    let owed = owed(&stack).await;
    let due_at = Timestamp::now().plus(HOUR);
    let owe_again = async |ended| {
        let (id, part) = (&owed.execution_id, &owed.part);
        deliveries.owe_again(id, part, ended, &actor(), None, due_at).await.unwrap()
    };
    for ended in [DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::Undelivered] {
        assert_eq!(owe_again(ended).await, Step::Stale, "it is owed");
    }

    let lease = deliveries.lease(&owed.execution_id, &owed.part, HOUR).await.unwrap();
    let Lease::Held(held) = lease else { panic!() };
    assert!(deliveries.record(&held, &attempt(), Verdict::Delivered).await.unwrap());
    assert_eq!(owe_again(DeliveryState::Undelivered).await, Step::Stale, "it is delivered");
    assert_eq!(owe_again(DeliveryState::Delivered).await, Step::Applied);
    assert_eq!(owe_again(DeliveryState::Delivered).await, Step::Stale, "it is owed again");
}

/// What can happen to a subscription's receiver, and to a subscription.
#[derive(Debug, Clone, Copy)]
enum Event {
    Succeeded,
    Failed,
    Disabled,
    Enabled,
}

#[tokio::test]
async fn what_is_written_of_a_receiver_is_what_the_rules_say() {
    const EVENTS: [Event; 4] = [Event::Succeeded, Event::Failed, Event::Disabled, Event::Enabled];

    let stack = Stack::connect().await;
    let table = stack.output("ExecutionsTable").to_owned();
    let subscriptions = &Subscriptions::new(stack.dynamodb.clone(), table);
    let user = &UserId::from(format!("user-{}", Ulid::generate()));
    let at = |step: i64| Timestamp::from_millis(1_767_225_600_000 + step);
    // All ways to go of three steps, after a failure.
    let histories = (0..64).map(|number| [number % 4, number / 4 % 4, number / 16]);
    join_all(histories.map(async |history| {
        let id = SubscriptionId::generate();
        let row = json!({
            "execution_id": format!("subscriptions#{user}"), "part": id, "id": id, "events": [],
            "url": "https://example.com/", "created_at": at(0),
        });
        stack.put("ExecutionsTable", row).await;
        let mut health = Health::default();
        let history = history.map(|index| EVENTS[index]);
        for (step, event) in (1..).zip([Event::Failed].into_iter().chain(history)) {
            let now = at(step);
            health = match event {
                Event::Succeeded => {
                    subscriptions.succeeded(user, &id, now).await.unwrap();
                    health.succeeded(now)
                }
                Event::Failed => {
                    let told = subscriptions.failed(user, &id, now).await.unwrap();
                    assert_eq!(told, Some(health.failed(now)), "{history:?}");
                    health.failed(now)
                }
                Event::Disabled => {
                    let reason = DisabledReason::Failing;
                    let since = health.failing_since.unwrap_or(now);
                    let disable = subscriptions.disable(user, &id, since, reason, now, &[]);
                    let may = health.failing_since.is_some() && !health.is_disabled();
                    let expected = if may { Step::Applied } else { Step::Stale };
                    assert_eq!(disable.await.unwrap(), expected, "{history:?}");
                    if may { health.disabled(reason, now) } else { health }
                }
                Event::Enabled => {
                    let may = health.is_disabled();
                    let expected = if may { Step::Applied } else { Step::Stale };
                    assert_eq!(subscriptions.enable(user, &id, now).await.unwrap(), expected);
                    if may { health.enabled(now) } else { health }
                }
            };
        }
        let listed = subscriptions.list(user).await.unwrap();
        let listed = listed.iter().find(|it| it.id == id).unwrap();
        assert_eq!(listed.health, health, "{history:?}");
    }))
    .await;

    // What is gone stays so, and another time of its failing is another failing.
    let gone = SubscriptionId::generate();
    subscriptions.succeeded(user, &gone, at(1)).await.unwrap();
    assert_eq!(subscriptions.failed(user, &gone, at(1)).await.unwrap(), None);
    assert_eq!(subscriptions.enable(user, &gone, at(1)).await.unwrap(), Step::Stale);
    assert_eq!(subscriptions.rotate(user, &gone).await.unwrap(), None);
    assert_eq!(subscriptions.list(user).await.unwrap().len(), 64);
    let failing = subscriptions.list(user).await.unwrap();
    let failing = failing.iter().find(|it| it.health.failures == 4).unwrap();
    let (id, reason) = (&failing.id, DisabledReason::Gone);
    let disable = subscriptions.disable(user, id, at(2), reason, at(9), &[]);
    assert_eq!(disable.await.unwrap(), Step::Stale);
}

#[tokio::test]
async fn a_delivery_is_put_off_under_its_lease_and_that_is_no_attempt() {
    let stack = Stack::connect().await;
    let deliveries = stack.deliveries();
    let owed = owed(&stack).await;
    let (id, part) = (&owed.execution_id, &owed.part);
    let lease = async || deliveries.lease(id, part, HOUR).await.unwrap();
    let Lease::Held(held) = lease().await else { panic!() };
    let other = Delivery { lease: Some("other".to_owned()), ..(*held).clone() };
    let (now, later) = (Timestamp::now(), Timestamp::now().plus(HOUR));

    assert!(
        !deliveries.put_off(&other, Line::User, later, later).await.unwrap(),
        "it is another's"
    );
    assert!(deliveries.put_off(&held, Line::User, now, later).await.unwrap());
    // The same again is what a lost reply makes of it, and counts once.
    assert!(deliveries.put_off(&held, Line::User, later, later).await.unwrap());
    let Lease::Held(again) = lease().await else { panic!("it is free, and due") };
    assert_eq!((again.attempt_count, again.put_off, again.failures()), (1, 1, 1));
    assert_eq!(again.stood, Some(Line::User));
    assert!(
        !deliveries.put_off(&held, Line::User, later, later).await.unwrap(),
        "another has the lease"
    );
    assert!(!again.may_have_arrived());

    assert!(deliveries.put_off(&again, Line::User, later, later).await.unwrap());
    assert!(matches!(lease().await, Lease::Refused), "it is not due");
    let stored = &stack.parts(id.as_str()).await[part];
    assert_eq!(stored["attempt_count"], 0);
    assert_eq!((&stored["state"], &stored["due_at"]), (&json!("pending"), &json!(later)));
}

#[tokio::test]
async fn an_outcome_is_replaced_by_the_same_or_a_later_redrive_only() {
    let stack = Stack::connect().await;
    let run = new_id();
    let put = async |redrive_count| {
        let outcome = Outcome {
            output: Some(format!("{redrive_count}")),
            redrive_count,
            ..Outcome::default()
        };
        stack.executions().put_outcome(&run, &outcome, 9_999_999_999).await.unwrap()
    };

    assert_eq!(put(1).await, Step::Applied);
    assert_eq!(put(1).await, Step::Applied);
    assert_eq!(put(0).await, Step::Stale);
    assert_eq!(put(2).await, Step::Applied);
    assert_eq!(stack.parts(run.as_str()).await["output"]["output"], "2");
}

/// A run that has ended and owes its callback.
async fn owed(stack: &Stack) -> Delivery {
    let before = queued(&new_id());
    accept(stack, &before).await;
    let after = at(&before, Position { redrive_count: 0, rank: Rank::Ended });
    // Without a debt it is not in the index, so that no other test's sweep makes an attempt.
    let owed = Delivery::owed(&after, EventType::Completed, CALLBACK_TARGET, HOUR, HOUR);
    let owed = Delivery { debt: None, ..owed };
    move_to(stack, &before, &after, Grounds::Told, std::slice::from_ref(&owed)).await;
    owed
}

#[tokio::test]
async fn a_delivery_is_leased_when_the_rule_says_so() {
    let stack = Stack::connect().await;
    let (deliveries, now) = (stack.deliveries(), Timestamp::now());
    let first = owed(&stack).await;
    let mut all = Vec::new();
    for state in [DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::Undelivered] {
        for (attempt_count, stood) in [(0, None), (1, None), (0, Some(Line::Host))] {
            for next_attempt_at in [now, now.plus(HOUR)] {
                for leased_until in [None, Some(now), Some(now.plus(HOUR))] {
                    all.push(Delivery {
                        execution_id: new_id(),
                        state,
                        attempt_count,
                        stood,
                        next_attempt_at,
                        leased_until,
                        ..first.clone()
                    });
                }
            }
        }
    }
    join_all(all.iter().map(async |delivery| {
        stack.put("ExecutionsTable", json!(delivery)).await;
        let lease = deliveries.lease(&delivery.execution_id, &delivery.part, HOUR).await.unwrap();
        let may = delivery.facts().may_be_leased(Timestamp::now());
        assert_eq!(matches!(lease, Lease::Held(_)), may, "{delivery:?}");
        let parts = stack.parts(delivery.execution_id.as_str()).await;
        let due_at = delivery.due_at.map(Timestamp::millis);
        assert_eq!(parts[&delivery.part]["due_at"].as_i64(), due_at, "its lease moves nothing");
    }))
    .await;
}

fn attempt() -> Attempt {
    Attempt {
        at: Timestamp::now(),
        duration_ms: 1,
        status: Some(500),
        may_have_arrived: false,
        detail: "no".to_owned(),
    }
}

#[tokio::test]
async fn one_attempt_at_a_time_holds_the_lease() {
    let stack = Stack::connect().await;
    let deliveries = stack.deliveries();
    let owed = owed(&stack).await;
    let lease = async |hold| deliveries.lease(&owed.execution_id, &owed.part, hold).await.unwrap();

    let leases = join_all((0..16).map(|_| lease(HOUR))).await;
    let mut held: Vec<_> = leases
        .into_iter()
        .filter_map(|it| match it {
            Lease::Held(delivery) => Some(delivery),
            Lease::Refused | Lease::Unknown => None,
        })
        .collect();
    assert_eq!(held.len(), 1);
    let held = held.remove(0);
    assert_eq!(held.attempt_count, 1);

    // Not due yet: no attempt, although the lease is free again.
    let later = Timestamp::now().plus(HOUR);
    let again = Verdict::Again { next_attempt_at: later, due_at: later };
    assert!(deliveries.record(&held, &attempt(), again).await.unwrap());
    assert!(matches!(lease(HOUR).await, Lease::Refused));
    // Recorded twice, as after a lost reply: it is written once.
    assert!(deliveries.record(&held, &attempt(), again).await.unwrap());
    assert_eq!(
        stack.parts(owed.execution_id.as_str()).await[&owed.part]["attempts"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert!(matches!(deliveries.lease(&new_id(), &owed.part, HOUR).await.unwrap(), Lease::Unknown));
}

#[tokio::test]
async fn a_delivery_that_is_tried_for_ever_keeps_its_last_attempts_and_can_be_recorded() {
    let stack = Stack::connect().await;
    let deliveries = stack.deliveries();
    let owed = owed(&stack).await;
    let again = Timestamp::now();
    let again = Verdict::Again { next_attempt_at: again, due_at: again };
    let large = Attempt { detail: "\u{1f600}".repeat(10_000), ..attempt() };

    for round in 1..=45 {
        let lease = deliveries.lease(&owed.execution_id, &owed.part, HOUR).await.unwrap();
        let Lease::Held(held) = lease else { panic!("{lease:?}") };
        assert_eq!((held.attempt_count, held.recorded()), (round, round - 1));
        assert!(deliveries.record(&held, &large, again).await.unwrap());
    }
    let parts = stack.parts(owed.execution_id.as_str()).await;
    let stored: Delivery = serde_json::from_value(parts[&owed.part].clone()).unwrap();
    assert_eq!((stored.attempts.len(), stored.earlier.count), (20, 25));
    assert!(parts[&owed.part].to_string().len() < 25_000);
}

#[tokio::test]
async fn an_attempt_whose_lease_was_taken_over_records_nothing() {
    let stack = Stack::connect().await;
    let deliveries = stack.deliveries();
    let owed = owed(&stack).await;
    let lease = async |hold| deliveries.lease(&owed.execution_id, &owed.part, hold).await.unwrap();

    let Lease::Held(first) = lease(Duration::ZERO).await else { panic!() };
    let Lease::Held(second) = lease(HOUR).await else { panic!() };
    assert_eq!(second.attempt_count, 2);
    assert!(!deliveries.record(&first, &attempt(), Verdict::Delivered).await.unwrap());
    assert!(deliveries.record(&second, &attempt(), Verdict::Delivered).await.unwrap());
    assert!(matches!(lease(HOUR).await, Lease::Refused), "never again after a success");

    let parts = stack.parts(owed.execution_id.as_str()).await;
    let stored: Delivery = serde_json::from_value(parts[&owed.part].clone()).unwrap();
    assert_eq!((stored.state, stored.attempts.len()), (DeliveryState::Delivered, 1));
    assert!(stored.due_at.is_none());
}

#[tokio::test]
async fn starts_are_counted_exactly_and_slots_held_once() {
    let stack = Stack::connect().await;
    let limits = stack.limits();
    let key = Credential::from(Ulid::generate().to_string());
    let now = Timestamp::now();

    let counted = join_all((0..20).map(|_| limits.count_starts(&key, 1, 7, now))).await;
    let mut counted: Vec<_> = counted.into_iter().flatten().collect();
    assert_eq!(counted.len(), 7);
    limits.uncount_starts(counted.remove(0)).await.unwrap();
    assert!(limits.count_starts(&key, 1, 7, now).await.is_ok());
    assert!(limits.count_starts(&key, 1, 7, now).await.is_err());
    assert!(
        limits.count_starts(&key, 1, 7, now.plus(Duration::from_mins(1))).await.is_ok(),
        "the next minute"
    );
    assert!(
        limits.count_starts(&format!("{}0", key.as_str()).into(), 1, 0, now).await.is_err(),
        "a limit of zero"
    );
}

#[tokio::test]
async fn no_more_leave_a_minute_than_may_whoever_counts_them() {
    const LIMIT: u32 = 20;
    let stack = Stack::connect().await;
    let limits = |user: u32, host: u32| (user.try_into().unwrap(), host.try_into().unwrap());
    let budget = |(user, host)| {
        let table = stack.output("ExecutionsTable").to_owned();
        Budget::new(stack.dynamodb.clone(), table, user, host)
    };
    let new = || Ulid::generate().to_string();
    let user = || UserId::from(new());
    let now = Timestamp::now();
    // How long the line is, in places.
    let line = async |name: String, limit: u64| {
        let parts = stack.parts(&format!("rate#deliveries-{name}")).await;
        let end = parts["rate"]["line_end"].as_i64().unwrap();
        (u64::try_from(end - now.millis() * 1_000).unwrap() * limit).div_ceil(60_000_000)
    };

    // One instance takes twice as many as before each time; many take one by one at first.
    for instances in [1, 5, 50] {
        let budgets: Vec<_> = (0..instances).map(|_| budget(limits(LIMIT, 1_000))).collect();
        let (somebody, host) = (user(), new());
        let takes =
            (0..50).map(|at| budgets[at % instances].take(Some(&somebody), &host, None, now));
        let taken: Vec<_> = join_all(takes).await.into_iter().map(Result::unwrap).collect();
        let passed = taken.iter().filter(|later| later.is_none()).count();
        assert!(passed <= LIMIT as usize && passed >= LIMIT as usize / 2, "{instances}: {passed}");
        // What came too late has not taken anything from others at the host.
        assert!(line(format!("to#{host}"), 1_000).await <= 2 * passed as u64 + 15);
        let mut turns: Vec<_> = taken.into_iter().flatten().map(|it| it.until.unwrap()).collect();
        turns.sort();
        turns.dedup();
        assert_eq!(turns.len(), 50 - passed, "each has a turn of its own");
        let last = turns.last().unwrap().millis_since(now);
        assert!((60_000 * 3 / 2..60_000 * 4).contains(&last), "{last}");
        // Who has had its turn there is not asked again, and one who has had all is free.
        let again = |had| budgets[0].take(Some(&somebody), &host, Some(had), now);
        assert_eq!(again(Line::User).await.unwrap(), None);
        assert_eq!(again(Line::Host).await.unwrap(), None);
    }
    // 50 of one instance are 7 writes: 1, 2, 4, 8, 16, 16 and 16.
    let (one, somebody, host) = (budget(limits(1_000, 1_000)), user(), new());
    for _ in 0..50 {
        assert_eq!(one.take(Some(&somebody), &host, None, now).await.unwrap(), None);
    }
    assert_eq!(line(format!("of#{somebody}"), 1_000).await, 63);

    // A host is one for all users.
    let (one, host) = (budget(limits(1_000, LIMIT)), new());
    let mut passed = 0;
    for _ in 0..40 {
        let taken = one.take(Some(&user()), &host, None, now).await.unwrap();
        passed += u32::from(taken.is_none());
    }
    assert_eq!(passed, LIMIT);
    assert_eq!(one.take(Some(&user()), &new(), None, now).await.unwrap(), None, "another host");
    assert_eq!(one.take(None, &new(), None, now).await.unwrap(), None, "of no user");
    let later = now.plus(Duration::from_mins(10));
    assert_eq!(one.take(Some(&user()), &host, None, later).await.unwrap(), None, "later");

    // A line that is too long has no place.
    let host = new();
    stack.fill(&format!("to#{host}"), Duration::from_hours(25)).await;
    let full = one.take(Some(&user()), &host, None, now).await.unwrap();
    assert_eq!(full, Some(Full { whose: Line::Host, until: None }));
}

#[tokio::test]
async fn a_user_holds_a_quarter_of_the_slots_and_a_request_one() {
    const WAIT: Duration = Duration::from_mins(1);
    let stack = Stack::connect().await;
    let user = |name: &str| UserId::from(format!("{name}-{}", Ulid::generate()));
    let (greedy, other) = (user("greedy"), user("other"));
    // Those of other tests wait in the same slots, and the tries are few: one of many is free.
    let slots = 12_000;

    // A function serves one request at a time, so each of these is one.
    let requests: Vec<_> = (0..4).map(|_| stack.limits()).collect();
    let few = async |limits: &Limits, user: &UserId| limits.take_slot(user, 4, WAIT).await.unwrap();
    let many =
        async |limits: &Limits, user: &UserId| limits.take_slot(user, slots, WAIT).await.unwrap();

    // A quarter of few is one; of all those who try at once, one is held.
    let held = join_all(requests.iter().map(|limits| few(limits, &greedy))).await;
    assert!(held.iter().flatten().count() <= 1, "{held:?}");
    for (limits, slot) in requests.iter().zip(held) {
        if let Some(slot) = slot {
            assert!(few(&stack.limits(), &greedy).await.is_none(), "another request");
            limits.free_slot(slot).await.unwrap();
        }
    }

    // What waits within one request, as in a batch, takes one slot.
    let batch = stack.limits();
    let waiting = join_all((0..20).map(|_| many(&batch, &greedy))).await;
    assert_eq!(waiting.iter().flatten().count(), 20);
    let taken = async |user: &UserId| {
        let scan = stack.dynamodb.scan().table_name(stack.output("ExecutionsTable"));
        let scan = scan
            .filter_expression("begins_with(execution_id, :own) AND attribute_exists(held_until)")
            .expression_attribute_values(":own", AttributeValue::S(format!("wait#{user}#")));
        let pages = scan.into_paginator().items().send().collect::<Result<Vec<_>, _>>();
        pages.await.unwrap().len()
    };
    assert_eq!(taken(&greedy).await, 1);
    // And it is free once the last of them has gone.
    let mut waiting: Vec<_> = waiting.into_iter().flatten().collect();
    let last = waiting.pop().unwrap();
    for slot in waiting {
        batch.free_slot(slot).await.unwrap();
    }
    assert_eq!(taken(&greedy).await, 1);
    batch.free_slot(last).await.unwrap();
    assert_eq!(taken(&greedy).await, 0);

    // Nobody else is kept out by it, and none is held where there are no slots.
    let slot = many(&requests[0], &other).await.unwrap();
    requests[0].free_slot(slot).await.unwrap();
    assert!(requests[0].take_slot(&other, 0, WAIT).await.unwrap().is_none());
}

/// A question with a token of its own, and the run that has asked it.
fn asked(run: &Execution) -> (Question, Execution) {
    let token = Ulid::generate().to_string().into();
    let ask = Ask::new(token, "Why?".to_owned(), Json::of(&json!({})), None).unwrap();
    let question = Question::asked(&ask, run, Timestamp::now());
    let mut after = Execution { sequence: run.sequence + 1, ..run.clone() };
    after.open_questions.insert(question.question_id.clone());
    (question, after)
}

#[tokio::test]
async fn an_agent_is_believed_only_while_its_run_runs_in_its_redrive() {
    let stack = Stack::connect().await;
    let executions = stack.executions();
    let says = Position { redrive_count: 1, rank: Rank::Running };
    let positions =
        (0..3).flat_map(|redrive_count| Rank::ALL.map(|rank| Position { redrive_count, rank }));

    join_all(positions.map(async |stands| {
        let run = at(&queued(&new_id()), stands);
        accept(&stack, &run).await;
        let is_applied = stands == says;

        let spoken = Execution { progress: Some(40), ..at(&run, says) };
        let step = executions.progress(&spoken, &[]).await.unwrap();
        assert_eq!(step, if is_applied { Step::Applied } else { Step::Stale }, "{stands:?}");
        let (question, after) = asked(&at(&run, says));
        let turn = executions.ask(&run, &after, &question, &[]).await.unwrap();
        assert_eq!(
            turn,
            if is_applied { QuestionWrite::Applied } else { QuestionWrite::Conflict },
            "{stands:?}"
        );
        assert_eq!(run.facts().may_take_a_turn(1, run.sequence), is_applied);
        let parts = stack.parts(run.execution_id.as_str()).await;
        assert_eq!(parts.contains_key(&question.question_id.part()), is_applied, "all or nothing");
        assert_eq!(parts["state"].get("open_questions").is_some(), is_applied);
    }))
    .await;
}

#[tokio::test]
async fn progress_is_stored_forward_only_and_its_deliveries_with_it() {
    let stack = Stack::connect().await;
    let run = at(&queued(&new_id()), Position { redrive_count: 0, rank: Rank::Running });
    accept(&stack, &run).await;
    let report = async |percent, message: Option<&str>| {
        let message = message.map(str::to_owned);
        let after = Execution { progress: Some(percent), message, ..run.clone() };
        let owed = Delivery::of_progress(&after, CALLBACK_TARGET, HOUR, HOUR);
        let step = stack.executions().progress(&after, std::slice::from_ref(&owed)).await.unwrap();
        let parts = stack.parts(run.execution_id.as_str()).await;
        (step, parts.contains_key(&owed.part), parts["state"].clone())
    };

    let (step, is_owed, state) = report(40, Some("half")).await;
    assert_eq!((step, is_owed, &state["message"]), (Step::Applied, true, &json!("half")));
    assert_eq!(report(40, Some("again")).await.0, Step::Stale);
    let (step, is_owed, state) = report(39, Some("late")).await;
    assert_eq!((step, is_owed, &state["progress"]), (Step::Stale, false, &json!(40)));
    let (step, is_owed, state) = report(41, None).await;
    assert_eq!((step, is_owed, state.get("message")), (Step::Applied, true, None));
}

#[tokio::test]
async fn a_question_is_opened_answered_and_closed_once() {
    let stack = Stack::connect().await;
    let executions = stack.executions();
    let run = at(&queued(&new_id()), Position { redrive_count: 0, rank: Rank::Running });
    accept(&stack, &run).await;
    let id = &run.execution_id;
    let (question, one) = asked(&run);
    let name = &question.question_id;
    assert_eq!(executions.ask(&run, &one, &question, &[]).await.unwrap(), QuestionWrite::Applied);
    assert_eq!(executions.ask(&run, &one, &question, &[]).await.unwrap(), QuestionWrite::Conflict);
    let (_, repeated) = asked(&one);
    assert_eq!(
        executions.ask(&one, &repeated, &question, &[]).await.unwrap(),
        QuestionWrite::AlreadyApplied
    );
    let (second, two) = asked(&one);
    assert_eq!(executions.ask(&one, &two, &second, &[]).await.unwrap(), QuestionWrite::Applied);

    let told = executions.questions(id).await.unwrap();
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|it| it.task_token.is_none() && it.answer.is_none()));
    let due_at = Timestamp::now().plus(HOUR);
    let answer = async |text: &str| {
        executions
            .answer(id, name, &Answer::new(Json::string(text)).unwrap(), &actor().into(), due_at)
            .await
            .unwrap()
    };
    assert_eq!(answer("yes").await, Step::Applied);
    assert_eq!(answer("no").await, Step::Stale);
    executions.count_attempt(id, name).await.unwrap();
    executions.count_attempt(id, name).await.unwrap();
    assert_eq!(executions.find_question(id, name).await.unwrap().unwrap().attempts, 2);

    let mut left = Execution { sequence: two.sequence + 1, ..two.clone() };
    left.open_questions.remove(name);
    let close = async |before: &Execution| {
        let reason = QuestionState::Answered;
        executions.close_question(before, &left, name, reason, 9_999_999_999).await.unwrap()
    };
    assert_eq!(close(&one).await, QuestionWrite::Conflict, "another was asked since");
    assert_eq!(close(&two).await, QuestionWrite::Applied);
    assert_eq!(close(&two).await, QuestionWrite::Conflict);
    assert_eq!(answer("late").await, Step::Stale);
    let parts = stack.parts(id.as_str()).await;
    let closed = &parts[&name.part()];
    assert_eq!((&closed["state"], &closed["ttl"]), (&json!("answered"), &json!(9_999_999_999_i64)));
    for gone in ["task_token", "answer", "schema", "due_at", "debt"] {
        assert!(closed.get(gone).is_none(), "{gone}");
    }
    assert_eq!(parts["state"]["open_questions"], json!([second.question_id]));

    // The end closes what is left.
    let mut ended = at(&left, Position { redrive_count: 0, rank: Rank::Ended });
    ended.open_questions.clear();
    // By one who has not seen the last of them close.
    assert_eq!(move_to(&stack, &two, &ended, Grounds::Told, &[]).await, Step::Stale);
    assert_eq!(move_to(&stack, &left, &ended, Grounds::Told, &[]).await, Step::Applied);
    let parts = stack.parts(id.as_str()).await;
    assert!(parts["state"].get("open_questions").is_none());
    let closed = &parts[&second.question_id.part()];
    assert_eq!((&closed["state"], closed.get("task_token")), (&json!("closed"), None));
    assert_eq!(closed["ttl"], parts["state"]["ttl"]);
}
