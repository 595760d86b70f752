//! Finding runs by when they were created, by their tags, and whether they have ended.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use e2e::{Stack, User, eventually};
use relay::domain::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use ulid::Ulid;

/// Stores ended runs of a user that were created at these times, each with a tag.
async fn store(stack: &Stack, user: &User, times: &[Timestamp]) -> Vec<String> {
    let mut ids = Vec::new();
    for (number, time) in times.iter().enumerate() {
        let id = format!("mcp-echo-{}", Ulid::generate());
        let row = json!({
            "execution_id": id, "part": "state", "user_id": user.id, "agent_name": "echo",
            "state_machine_arn": stack.output("EchoMachineArn"), "status": "failed",
            "error_code": "x", "redrive_count": 0, "rank": 90, "created_at": time,
            "updated_at": time, "launch_before": time, "tags": {"n": number.to_string(), "k=": "é"},
            "trouble": "trouble", "troubled_at": time,
        });
        stack.put("ExecutionsTable", row).await;
        ids.push(id);
    }
    ids
}

/// The numbers of the runs in a list, in all of its pages.
async fn found(user: &User, ids: &[String], query: &str) -> BTreeSet<usize> {
    let mut numbers = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let page = user.get(&format!("/v1/executions?limit=2&{query}{cursor}")).await;
        assert_eq!(page.status, 200, "{query}: {page:?}");
        for run in page.body["executions"].as_array().unwrap() {
            let number = ids.iter().position(|id| run["execution_id"] == json!(id)).unwrap();
            assert_eq!(run["tags"]["n"], json!(number.to_string()));
            assert!(numbers.insert(number), "{query}: a run comes once");
        }
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return numbers,
        }
    }
}

fn query(time: Timestamp) -> String {
    // As most clients write it, and as one writes it by hand.
    time.rfc3339().replace(':', "%3A")
}

#[tokio::test]
async fn runs_are_found_by_the_time_of_their_creation() {
    let stack = Stack::connect().await;
    let user = stack.user(&["view:*"]).await;
    let times: Vec<_> = (0..5).map(|at| Timestamp::from_millis(1_767_225_600_000 + at)).collect();
    let ids = store(&stack, &user, &times).await;

    for trouble in ["", "&trouble=true"] {
        for from in 0..5 {
            for to in from..5 {
                let (after, before) = (query(times[from]), query(times[to]));
                let range = format!("created_after={after}&created_before={before}{trouble}");
                assert_eq!(found(&user, &ids, &range).await, (from..to).collect(), "{range}");
            }
            let after = format!("created_after={}{trouble}", query(times[from]));
            assert_eq!(found(&user, &ids, &after).await, (from..5).collect());
            let before = format!("created_before={}{trouble}", query(times[from]));
            assert_eq!(found(&user, &ids, &before).await, (0..from).collect());
        }
        // Another zone, in which the plus of a query is a blank.
        let zone = format!("created_after=2026-01-01T01:00:00.002+01:00{trouble}");
        assert_eq!(found(&user, &ids, &zone).await, BTreeSet::from([2, 3, 4]));
        let reversed = format!(
            "created_after=2027-01-01T00:00:00Z&created_before=2026-01-01T00:00:00Z{trouble}"
        );
        assert_eq!(found(&user, &ids, &reversed).await, BTreeSet::new());
    }
    // A cursor of another list, from before and from behind the range.
    let page = user.get("/v1/executions?limit=2").await;
    let cursor = page.text("next_cursor");
    for (range, expected) in [
        (format!("created_before={}", query(times[2])), 2),
        (format!("created_after={}", query(times[4])), 0),
        (format!("created_after={}", query(times[1])), 2),
    ] {
        let page = user.get(&format!("/v1/executions?cursor={cursor}&{range}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        assert_eq!(page.body["executions"].as_array().unwrap().len(), expected, "{range}");
    }
    for wrong in ["created_after=yesterday", "created_before=", "created_after=1767225600000"] {
        let refused = user.get(&format!("/v1/executions?{wrong}")).await;
        let field = wrong.split('=').next().unwrap();
        assert_eq!((refused.status, refused.text("field").as_str()), (422, field));
    }
}

#[tokio::test]
async fn runs_are_found_by_a_tag() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let times: Vec<_> = (0..4).map(|at| Timestamp::from_millis(1_767_225_600_000 + at)).collect();
    let ids = store(&stack, &user, &times).await;

    for (tag, expected) in [
        ("n=2", vec![2]),
        ("n%3D2", vec![2]),
        ("n=4", vec![]),
        ("n", vec![]),
        ("", vec![]),
        ("N=2", vec![]),
        ("k%3D%3D%C3%A9", vec![0, 1, 2, 3]),
    ] {
        for trouble in ["", "&trouble=true"] {
            let found = found(&user, &ids, &format!("tag={tag}{trouble}")).await;
            assert_eq!(found, expected.iter().copied().collect(), "{tag}{trouble}");
        }
    }
    let both = format!("tag=n=3&created_before={}", query(times[3]));
    assert_eq!(found(&user, &ids, &both).await, BTreeSet::new());

    // The agent is told the tags of its run.
    let id = user
        .start(&json!({
            "agent_name": "echo", "input_message": "a", "parameters": {"wait_seconds": 0},
            "tags": {"order": "4711"},
        }))
        .await;
    let input = stack.parts(&id).await["input"]["input"].as_str().unwrap().to_owned();
    let input: Value = serde_json::from_str(&input).unwrap();
    assert_eq!(input["metadata"]["tags"], json!({"order": "4711"}));
    user.wait_for(&id, "completed").await;
}

#[tokio::test]
async fn open_runs_are_listed_for_their_owner_and_for_an_administrator() {
    let stack = Stack::connect().await;
    let (user, other) = (stack.user(&["execute:*", "view:*"]).await, stack.user(&["*:*"]).await);
    let admin = &other;
    let agent = stack.agent("EchoMachineArn", json!({"paused": true})).await;
    let body = json!({"agent_name": agent, "input_message": "x"});
    let own = BTreeSet::from([user.start(&body).await, user.start(&body).await]);
    let others = BTreeSet::from([other.start(&body).await]);
    let all: BTreeSet<_> = own.union(&others).cloned().collect();
    let ended = json!({
        "agent_name": "echo", "input_message": "x", "parameters": {"wait_seconds": 0},
    });
    let ended = user.start(&ended).await;
    user.wait_for(&ended, "completed").await;

    assert_eq!(open(&user, "").await, own);
    assert_eq!(open(admin, &format!("&owner={}", user.id)).await, own);
    // One that `launch` looks at moves in the index, and may be missed.
    let of_agent = format!("&agent_name={agent}");
    for limit in [1, 2, 100] {
        let found = async || {
            let found = open(admin, &format!("{of_agent}&status=queued&limit={limit}")).await;
            (found == all).then_some(())
        };
        eventually("all open runs", found).await;
    }
    assert_eq!(open(admin, &format!("{of_agent}&status=completed")).await, BTreeSet::new());
    let page = admin.get(&format!("/v1/executions?open=true&limit=100{of_agent}")).await;
    for run in page.body["executions"].as_array().unwrap() {
        let is_own = own.contains(run["execution_id"].as_str().unwrap());
        assert_eq!(run["user_id"], if is_own { &user.id } else { &other.id }.as_str());
    }

    // What anybody can have accepted by the thousand hides none that asks.
    let approval = stack.agent("ApprovalMachineArn", json!({})).await;
    let mut body = json!({"agent_name": approval, "input_message": "x"});
    let asks = user.start(&body).await;
    body["delay_seconds"] = json!(3_600);
    let scheduled = user.start(&body).await;
    user.wait_for(&asks, "input_required").await;
    // The first sweep after its start puts it there.
    let has_begun = async || {
        let debt = stack.parts(&asks).await["state"]["debt"].as_str()?.to_owned();
        debt.starts_with("poll#").then_some(())
    };
    stack.sweep_until("a run among those that have begun", has_begun).await;
    let in_order = open_in_order(admin, &format!("&agent_name={approval}&limit=1")).await;
    assert_eq!(in_order, [asks, scheduled]);

    let of_other = format!("/v1/executions?open=true&owner={}", other.id);
    assert_eq!(user.get(&of_other).await.status, 403);
    let elsewhere = user.get("/v1/executions?limit=1").await.text("next_cursor");
    for (query, field) in
        [("open=perhaps", "open"), (&*format!("open=true&cursor={elsewhere}"), "cursor")]
    {
        let refused = admin.get(&format!("/v1/executions?{query}")).await;
        assert_eq!((refused.status, refused.text("field")), (422, field.to_owned()), "{query}");
    }
    for run in &all {
        let path = format!("/v1/executions/{run}/cancel");
        assert_eq!(admin.send(Method::POST, &path, &[], "").await.status, 202);
    }
}

/// What DynamoDB would take for no place of the list is no cursor of ours.
#[tokio::test]
async fn a_cursor_that_was_never_given_is_refused() {
    let stack = Stack::connect().await;
    let admin = stack.user(&["*:*"]).await;
    let body =
        json!({"agent_name": "echo", "input_message": "x", "parameters": {"wait_seconds": 0}});
    let run = admin.start(&body).await;
    let deliveries = format!("/v1/executions/{run}/deliveries?");
    let long = "x".repeat(1025);
    let entry = |part: &str| json!({"execution_id": run, "part": part, "troubled_at": 1});
    let place = |id: &str, part: &str| json!({"debt": "poll#0", "after": {"execution_id": id, "part": part, "due_at": 1}});
    for (path, cursor) in [
        (&*deliveries, json!({})),
        (&*deliveries, json!({"part": "state"})),
        (&*deliveries, json!({"part": format!("delivery#{long}")})),
        ("/v1/executions?trouble=true&", entry("")),
        ("/v1/executions?trouble=true&", entry(&long)),
        ("/v1/executions?open=true&", json!({})),
        ("/v1/executions?open=true&", json!({"debt": "delivery#0"})),
        ("/v1/executions?open=true&", place("", "state")),
        ("/v1/executions?open=true&", place(&run, "")),
    ] {
        let cursor = URL_SAFE_NO_PAD.encode(cursor.to_string());
        let refused = admin.get(&format!("{path}cursor={cursor}")).await;
        let told = (refused.status, refused.text("field"));
        assert_eq!(told, (422, "cursor".to_owned()), "{path}{cursor}: {refused:?}");
    }
    // One that could be is taken.
    for (path, cursor) in [
        (&*deliveries, json!({"part": "delivery#x"})),
        ("/v1/executions?trouble=true&", entry("state")),
        ("/v1/executions?open=true&", place(&run, "state")),
    ] {
        let cursor = URL_SAFE_NO_PAD.encode(cursor.to_string());
        let page = admin.get(&format!("{path}cursor={cursor}")).await;
        assert_eq!(page.status, 200, "{path}{cursor}: {page:?}");
    }
}

/// The open runs in all pages of a list, in their order.
async fn open_in_order(user: &User, query: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = user.get(&format!("/v1/executions?open=true{query}{cursor}")).await;
        assert_eq!(page.status, 200, "{query}: {page:?}");
        let runs = page.body["executions"].as_array().unwrap().iter();
        ids.extend(runs.map(|run| run["execution_id"].as_str().unwrap().to_owned()));
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
}

async fn open(user: &User, query: &str) -> BTreeSet<String> {
    open_in_order(user, query).await.into_iter().collect()
}
