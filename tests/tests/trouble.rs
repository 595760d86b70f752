//! What went wrong lately is found without looking at what went well.

use e2e::{Answer, Stack, eventually, receiver::Receiver};
use reqwest::Method;
use serde_json::json;

const PATH: &str = "/v1/executions?trouble=true";
const CALLBACK: &str = "delivery#completed#0#callback";

/// The runs of a list, with what is wrong with each.
fn trouble(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let runs = answer.body["executions"].as_array().unwrap().iter();
    runs.map(|run| (run["execution_id"].as_str().unwrap().to_owned(), run["trouble"].to_string()))
        .collect()
}

fn said(kind: &str) -> String {
    json!([kind]).to_string()
}

#[tokio::test]
async fn what_went_wrong_is_listed_for_its_owner_and_for_an_administrator() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let other = stack.user(&["execute:*", "view:*"]).await;
    let admin = stack.user(&["*:*"]).await;
    let gone = Receiver::answering(&[410]).await;
    let body = |agent: &str, url: Option<String>| {
        json!({
            "agent_name": agent, "input_message": "x", "parameters": {"wait_seconds": 0},
            "callback_url": url,
        })
    };
    let well = user.start(&body("echo", None)).await;
    let failed = user.start(&body("fail", None)).await;
    let untold = user.start(&body("echo", Some(gone.url()))).await;
    let others = other.start(&body("fail", None)).await;
    for (user, run, status) in [
        (&user, &well, "completed"),
        (&user, &failed, "failed"),
        (&user, &untold, "completed"),
        (&other, &others, "failed"),
    ] {
        user.wait_for(run, status).await;
    }
    user.wait_for_parts(&untold).await;

    let mut own = trouble(&user.get(PATH).await);
    own.sort();
    let mut expected =
        vec![(failed.clone(), said("failed")), (untold.clone(), said("undelivered"))];
    expected.sort();
    assert_eq!(own, expected);
    assert_eq!(trouble(&other.get(PATH).await), [(others.clone(), said("failed"))]);
    let all = trouble(&admin.get(&format!("{PATH}&limit=100")).await);
    for run in [&failed, &untold, &others] {
        assert!(all.iter().any(|(id, _)| id == run), "{run} is not in {all:?}");
    }
    assert!(!all.iter().any(|(id, _)| *id == well));
    let of_other = format!("{PATH}&owner={}", other.id);
    let of_others = others.clone();
    let listed = admin.get(&of_other).await;
    assert_eq!(trouble(&listed), [(others, said("failed"))]);
    assert_eq!(listed.body["executions"][0]["user_id"], other.id.as_str());
    assert_eq!(user.get(&of_other).await.status, 403);

    // In pages, and behind a filter.
    let first = user.get(&format!("{PATH}&limit=1")).await;
    let cursor = first.text("next_cursor");
    let second = user.get(&format!("{PATH}&limit=1&cursor={cursor}")).await;
    let mut paged = [trouble(&first), trouble(&second)].concat();
    paged.sort();
    assert_eq!(paged, expected);
    let only = user.get(&format!("{PATH}&status=failed")).await;
    assert_eq!(trouble(&only), [(failed.clone(), said("failed"))]);
    let narrow = stack.key(&user.id, &["view:fail"], json!({})).await;
    let narrow = e2e::User { key: narrow, ..user.clone() };
    assert_eq!(trouble(&narrow.get(PATH).await), [(failed, said("failed"))]);
    assert_eq!(user.get("/v1/executions?trouble=maybe").await.body["field"], "trouble");

    // By the tool, too.
    for (user, is_all) in [(&user, false), (&admin, true)] {
        let arguments = json!({"trouble": true, "limit": 100});
        let params = json!({"name": "list_executions", "arguments": arguments});
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let headers = [
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", "2025-11-25"),
        ];
        let listed = user.send(Method::POST, "/mcp", &headers, call.to_string()).await.body;
        let listed = listed["result"]["structuredContent"].to_string();
        assert!(listed.contains(&expected[0].0) && listed.contains(&expected[1].0), "{listed}");
        assert_eq!(listed.contains(&of_others), is_all, "{listed}");
    }
}

#[tokio::test]
async fn what_is_put_right_is_no_trouble_any_more() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let receiver = Receiver::answering(&[410, 200]).await;
    let body = json!({
        "agent_name": "echo", "input_message": "x", "parameters": {"wait_seconds": 0},
        "callback_url": receiver.url(),
    });
    let run = user.start(&body).await;
    let delivery = eventually("a delivery that was given up", async || {
        let delivery = stack.parts(&run).await.remove(CALLBACK)?;
        (delivery["state"] == "undelivered").then_some(delivery)
    })
    .await;
    assert_eq!(trouble(&user.get(PATH).await), [(run.clone(), said("undelivered"))]);

    let id = delivery["webhook_id"].as_str().unwrap();
    let path = format!("/v1/executions/{run}/deliveries/{id}/redeliver");
    assert_eq!(user.send(Method::POST, &path, &[], "").await.status, 202);
    receiver.wait_for(2).await;

    let parts = user.wait_for_parts(&run).await;
    for name in ["trouble", "troubled_at", "sweeps", "debt"] {
        assert!(parts[CALLBACK].get(name).is_none(), "{name}: {parts:?}");
    }
    assert!(trouble(&user.get(PATH).await).is_empty());
}

#[tokio::test]
async fn a_run_that_cannot_be_read_hides_none_of_the_others() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    // All of these as a version after this one might write them.
    let subscription = json!({
        "execution_id": format!("subscriptions#{}", user.id), "part": "sub_01m82fnbk6he8p6hq9b40e0c0s",
        "id": "sub_01m82fnbk6he8p6hq9b40e0c0s", "url": "https://example.com/", "created_at": 0,
        "events": ["execution.paused"],
    });
    stack.put("ExecutionsTable", subscription).await;
    let body = json!({"agent_name": "fail", "input_message": "x"});
    let (broken, other) = (user.start(&body).await, user.start(&body).await);
    for run in [&broken, &other] {
        user.wait_for(run, "failed").await;
        user.wait_for_parts(run).await;
    }
    let mut state = stack.parts(&broken).await.remove("state").unwrap();
    state["callback_events"] = json!(["execution.paused"]);
    stack.put("ExecutionsTable", state).await;

    assert_eq!(trouble(&user.get(PATH).await), [(other.clone(), said("failed"))]);
    let list = user.get("/v1/executions").await;
    assert_eq!(list.status, 200);
    let listed: Vec<_> = list.body["executions"].as_array().unwrap().iter().collect();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["execution_id"], json!(other));
    let subscriptions = user.get("/v1/subscriptions").await;
    assert_eq!((subscriptions.status, &subscriptions.body["subscriptions"]), (200, &json!([])));
    assert_eq!(user.monitor(&broken).await.status, 500, "whoever asks for it is told");
}
