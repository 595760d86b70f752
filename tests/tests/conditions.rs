//! Every DynamoDB condition, proven against DynamoDB.

use std::time::Duration;

use e2e::{Stack, id};
use futures_util::future::join_all;
use relay::{
    callback::NewsType,
    delivery::{Attempt, CALLBACK_TARGET, Delivery, DeliveryState},
    execution::{Execution, ExecutionId, Position, Rank, Status},
    outcome::Outcome,
    store::{
        deliveries::{Lease, Verdict},
        executions::{Accept, Consistency, NewExecution},
        transitions::{Claim, Step},
    },
    time::Timestamp,
};
use serde_json::json;
use ulid::Ulid;

const HOUR: Duration = Duration::from_hours(1);

fn new_id() -> ExecutionId {
    id(&format!("mcp-test-{}", Ulid::generate()))
}

/// A queued run that nobody launches: no message is sent for it.
fn queued(id: &ExecutionId) -> Execution {
    let now = Timestamp::now();
    serde_json::from_value(json!({
        "execution_id": id, "user_id": format!("user-{}", Ulid::generate()), "agent_name": "test",
        "state_machine_arn": "arn:aws:states:us-east-1:000000000000:stateMachine:test",
        "status": "queued", "redrive_count": 0, "rank": 0, "created_at": now, "updated_at": now,
        "launch_before": now.plus(HOUR), "due_at": now.plus(HOUR), "shard": id.shard(),
    }))
    .unwrap()
}

fn at(execution: &Execution, position: Position) -> Execution {
    let status = match position.rank {
        Rank::Queued => Status::Queued,
        Rank::Launched | Rank::Running => Status::Running,
        Rank::Ended => Status::Completed,
    };
    let ttl = status.is_end().then(|| Timestamp::now().plus(HOUR).seconds());
    Execution {
        status,
        redrive_count: position.redrive_count,
        rank: position.rank as u8,
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
            let alone = Execution { ttl: before.ttl, ..after.clone() };
            let expected = if to.may_follow(*from) { Step::Applied } else { Step::Stale };
            assert_eq!(
                stack.executions().advance(&before, &alone, &[]).await.unwrap(),
                expected,
                "{from:?} → {to:?}"
            );

            let before = Execution { execution_id: new_id(), ..before };
            accept(&stack, &before).await;
            let after = Execution { execution_id: before.execution_id.clone(), ..after };
            let owed = Delivery::owed(&after, NewsType::Completed, CALLBACK_TARGET, HOUR, HOUR);
            let step = stack
                .executions()
                .advance(&before, &after, std::slice::from_ref(&owed))
                .await
                .unwrap();
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

#[tokio::test]
async fn a_reopened_run_owes_again_and_does_not_expire() {
    let stack = Stack::connect().await;
    let start = queued(&new_id());
    accept(&stack, &start).await;
    let ended = Execution {
        due_at: None,
        shard: None,
        ..at(&start, Position { redrive_count: 0, rank: Rank::Ended })
    };
    assert_eq!(stack.executions().advance(&start, &ended, &[]).await.unwrap(), Step::Applied);
    let parts = stack.parts(start.execution_id.as_str()).await;
    assert!(
        parts["input"]["ttl"].is_i64()
            && parts["state"]["ttl"].is_i64()
            && parts["state"].get("due_at").is_none()
    );

    let reopened = at(&start, Position { redrive_count: 1, rank: Rank::Running });
    assert_eq!(stack.executions().advance(&ended, &reopened, &[]).await.unwrap(), Step::Applied);
    let parts = stack.parts(start.execution_id.as_str()).await;
    assert!(parts["input"].get("ttl").is_none() && parts["state"].get("ttl").is_none());
    assert!(parts["state"]["due_at"].is_i64() && parts["state"]["shard"].is_i64());
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

    // With the run, the key expires, and is free again even before DynamoDB deletes it.
    let expired =
        Execution { ttl: Some(1), ..at(&first, Position { redrive_count: 0, rank: Rank::Ended }) };
    stack.executions().advance(&first, &expired, &[]).await.unwrap();
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
    let due_at = Timestamp::now().plus(HOUR);
    let run = queued(&new_id());
    accept(&stack, &run).await;

    let Claim::Claimed(first) = executions.claim(&run.execution_id, due_at).await.unwrap() else {
        panic!()
    };
    // A second claim is harmless, and keeps the time of the first.
    let Claim::Claimed(second) = executions.claim(&run.execution_id, due_at).await.unwrap() else {
        panic!()
    };
    assert_eq!(first.claimed_at, second.claimed_at);
    assert!(executions.launched(&run.execution_id, due_at, due_at).await.unwrap().is_some());
    assert!(executions.launched(&run.execution_id, due_at, due_at).await.unwrap().is_none());
    assert!(matches!(
        executions.claim(&run.execution_id, due_at).await.unwrap(),
        Claim::Refused(_)
    ));
    assert!(matches!(executions.claim(&new_id(), due_at).await.unwrap(), Claim::Unknown));

    let late = Execution { launch_before: Timestamp::now(), ..queued(&new_id()) };
    accept(&stack, &late).await;
    assert!(matches!(
        executions.claim(&late.execution_id, due_at).await.unwrap(),
        Claim::Refused(_)
    ));
    // Claimed in time, it stays claimable: only Step Functions settles it from then on.
    let claimed = Execution {
        claimed_at: Some(Timestamp::now()),
        launch_before: Timestamp::now(),
        ..queued(&new_id())
    };
    accept(&stack, &claimed).await;
    assert!(matches!(
        executions.claim(&claimed.execution_id, due_at).await.unwrap(),
        Claim::Claimed(_)
    ));
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
    // Without a shard it is not in the index, so that no other test's sweep makes an attempt.
    let owed = Delivery::owed(&after, NewsType::Completed, CALLBACK_TARGET, HOUR, HOUR);
    let owed = Delivery { shard: None, ..owed };
    stack.executions().advance(&before, &after, std::slice::from_ref(&owed)).await.unwrap();
    owed
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
    let key = Ulid::generate().to_string();
    let now = Timestamp::now();

    let counted = join_all((0..20).map(|_| limits.count_start(&key, 7, now))).await;
    let mut counted: Vec<_> = counted.into_iter().flatten().collect();
    assert_eq!(counted.len(), 7);
    limits.uncount_start(counted.remove(0)).await.unwrap();
    assert!(limits.count_start(&key, 7, now).await.is_ok());
    assert!(limits.count_start(&key, 7, now).await.is_err());
    assert!(
        limits.count_start(&key, 7, now.plus(Duration::from_mins(1))).await.is_ok(),
        "the next minute"
    );
    assert!(limits.count_start(&format!("{key}0"), 0, now).await.is_err(), "a limit of zero");
}
