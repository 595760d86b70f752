//! Many runs, changed at once on the deployed stack by the tool itself.

use std::time::Duration;

use e2e::{Stack, eventually, receiver::Receiver, tool::Tool};
use relay::domain::time::Timestamp;
use reqwest::Method;
use serde_json::json;

const RELAYCTL: Tool = Tool(env!("CARGO_BIN_EXE_relayctl"));

#[tokio::test]
async fn many_runs_are_changed_at_once_after_asking() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let start = json!({"agent_name": "fail", "input_message": "x", "tags": {"n": "1"}});
    let mut failed = vec![user.start(&start).await, user.start(&start).await];
    failed.sort();
    for run in &failed {
        user.wait_for(run, "failed").await;
    }
    let user_id = user.id.as_str();
    let select = ["--user", user_id, "--status", "failed", "--tag", "n=1", "--since", "1h"];
    let rerun = |more: &[&'static str]| [&["runs", "rerun"][..], &select, more].concat();

    let unasked = RELAYCTL.run(&rerun(&[])).await;
    assert!(!unasked.ok, "it cannot ask, and was not told yes");
    assert_eq!(stack.count_rows(&user).await, 2);
    assert!(!RELAYCTL.run(&["runs", "rerun", "--yes"]).await.ok, "nothing selects everything");
    let ended = ["runs", "rerun", "--yes", "--status", "completed"];
    assert!(!RELAYCTL.run(&ended).await.ok, "whose?");

    let done = RELAYCTL.run(&rerun(&["--yes", "--json"])).await.json();
    let mut again = Vec::new();
    for run in done["runs"].as_array().unwrap() {
        let id = run["done"].as_str().unwrap().to_owned();
        assert_eq!(user.wait_for(&id, "failed").await.body["rerun_of"], run["execution_id"]);
        again.push(run["execution_id"].as_str().unwrap().to_owned());
    }
    again.sort();
    assert_eq!(again, failed);
    let none = rerun(&["--yes", "--json", "--agent", "echo"]);
    assert_eq!(RELAYCTL.run(&none).await.json(), json!({"runs": []}));

    let redrive = ["runs", "redrive", &failed[0], &failed[1], "--yes", "--json"];
    let redriven = RELAYCTL.run(&redrive).await.json();
    for (run, id) in redriven["runs"].as_array().unwrap().iter().zip(&failed) {
        assert_eq!(run["done"], "being redriven");
        eventually("a redrive", async || {
            (user.monitor(id).await.body["redrive_count"] == 1).then_some(())
        })
        .await;
    }

    // One that has ended stops no other.
    let later = json!({"agent_name": "echo", "input_message": "x", "delay_seconds": 600});
    let later = user.start(&later).await;
    let cancelled = RELAYCTL.run(&["runs", "cancel", &failed[0], &later, "--json"]).await;
    assert!(!cancelled.ok);
    let cancelled = cancelled.json();
    assert!(cancelled["runs"][0]["error"].as_str().unwrap().contains("has ended"), "{cancelled}");
    assert_eq!(cancelled["runs"][1]["done"], "being cancelled");
    user.wait_for(&later, "cancelled").await;
}

#[tokio::test]
async fn what_failed_lately_is_no_run_whose_callback_was_given_up_lately() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let receiver = Receiver::answering(&[410]).await;
    let n = ulid::Ulid::generate().to_string();
    let new = json!({"agent_name": "fail", "input_message": "x", "tags": {"n": n}});
    let mut old = new.clone();
    old["callback_url"] = json!(receiver.url());
    let (new, old) = (user.start(&new).await, user.start(&old).await);
    for run in [&new, &old] {
        user.wait_for(run, "failed").await;
        user.wait_for_parts(run).await;
    }
    let mut state = stack.parts(&old).await.remove("state").unwrap();
    let days_ago = Timestamp::now().minus(Duration::from_hours(72));
    state["troubled_at"] = json!(days_ago.millis());
    stack.put("ExecutionsTable", state).await;
    let tag = format!("n={n}");
    let failed = ["--status", "failed", "--since", "2h", "--tag", &tag, "--json"];

    let listed = RELAYCTL.told(&[&["runs", "list"], &failed[..]].concat()).await;
    assert!(listed.contains(&new) && !listed.contains(&old), "{listed}");
    let listed = RELAYCTL.told(&[&["runs", "list", "--trouble"], &failed[..]].concat()).await;
    assert!(listed.contains(&new) && listed.contains(&old), "{listed}");

    let twice = ["runs", "rerun", &new, &new, "--json"];
    let rerun = RELAYCTL.run(&twice).await.json();
    assert_eq!(rerun["runs"].as_array().unwrap().len(), 1, "{rerun}");
    let rerun = RELAYCTL.run(&[&["runs", "rerun", "--yes"], &failed[..]].concat()).await.json();
    let runs = rerun["runs"].as_array().unwrap();
    assert!(runs.iter().any(|run| run["execution_id"] == new.as_str()), "{rerun}");
    assert!(!runs.iter().any(|run| run["execution_id"] == old.as_str()), "{rerun}");
}

#[tokio::test]
async fn a_batch_that_was_not_told_of_is_named_shown_and_delivered_again() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let receiver = Receiver::answering(&[410, 200]).await;
    let item = json!({"agent_name": "echo", "input_message": "x"});
    let body = json!({"items": [item], "callback_url": receiver.url()});
    let accepted = user.send(Method::POST, "/v1/batches", &[], body.to_string()).await;
    let batch = accepted.text("batch_id");
    let delivery = eventually("a delivery that was given up", async || {
        let shown = RELAYCTL.run(&["runs", "show", &batch, "--json"]).await.json();
        let delivery = shown["deliveries"][0].clone();
        (delivery["state"] == "undelivered").then(|| delivery["id"].as_str().unwrap().to_owned())
    })
    .await;
    let listed = RELAYCTL.run(&["runs", "list", "--user", user.id.as_str(), "--trouble"]).await;
    assert!(listed.notes.contains(&format!("relayctl runs show {batch}")), "{listed:?}");
    assert!(RELAYCTL.run(&["runs", "show", &batch]).await.text.contains("1 completed"));
    assert!(RELAYCTL.run(&["runs", "redeliver", &batch, &delivery]).await.ok);
    receiver.wait_for(2).await;
}
