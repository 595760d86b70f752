//! The envelope `POST /`: the reference's own session, and its plain errors.

use e2e::Stack;
use serde_json::{Value, json};

#[tokio::test]
async fn the_references_session_works_unchanged() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;

    let agents = user.call("list_available_agents", json!({})).await;
    assert_eq!((agents.status, agents.header("x-mcp-version")), (200, "1.0"));
    let echo =
        agents.body.as_array().unwrap().iter().find(|agent| agent["name"] == "echo").unwrap();
    for field in [
        "description",
        "version",
        "tools",
        "llm_provider",
        "llm_model",
        "average_execution_time",
        "cost_estimate",
    ] {
        assert!(echo.get(field).is_some(), "{field}");
    }

    let started = user
        .call(
            "start_agent",
            json!({"agent_name": "echo", "input_message": "hi", "parameters": {"wait_seconds": 0}}),
        )
        .await;
    assert_eq!((started.status, started.body["status"].as_str()), (200, Some("started")));
    let id = started.text("execution_id");
    user.wait_for(&id, "completed").await;

    // REST and envelope say the same.
    let params = json!({"execution_id": id});
    assert_eq!(user.call("monitor_agent", params.clone()).await.body, user.monitor(&id).await.body);
    assert_eq!(user.call("get_agent_results", params).await.body, user.results(&id).await.body);
    let params = json!({"execution_id": id, "include_metadata": true});
    assert_eq!(
        user.call("get_agent_results", params).await.body["metadata"]["input_message"],
        "hi"
    );
}

#[tokio::test]
async fn errors_are_plain_and_know_few_statuses() {
    let stack = Stack::connect().await;
    let user = stack.user_with(&["execute:echo", "view:*"], json!({"rate_limit": 0})).await;
    let echo = json!({"agent_name": "echo", "input_message": "hi"});
    let cases = [
        ("dance", json!({}), 400),
        ("start_agent", json!({}), 400),
        ("start_agent", json!({"agent_name": "echo", "input_message": ""}), 400),
        ("start_agent", json!({"agent_name": "other", "input_message": "hi"}), 403),
        ("start_agent", echo, 429),
        ("monitor_agent", json!({}), 400),
        ("monitor_agent", json!({"execution_id": "mcp-echo-1"}), 404),
        ("get_agent_results", json!({"execution_id": "nonsense"}), 404),
        ("get_agent_results", json!({"execution_id": "mcp-echo-1", "include_metadata": 1}), 400),
        ("list_available_agents", json!({"x": 1}), 400),
    ];
    for (tool, params, status) in cases {
        let answer = user.call(tool, params.clone()).await;
        assert_eq!(answer.status, status, "{tool} {params}: {answer:?}");
        assert_eq!(answer.header("x-mcp-version"), "1.0");
        assert!(answer.body["error"].is_string());
        assert_eq!(answer.body.as_object().unwrap().len(), 1);
    }
    for body in
        ["", "nonsense", "[]", "{}", "{\"tool\":1}", "{\"tool\":\"monitor_agent\",\"params\":[]}"]
    {
        let answer = user.send(reqwest::Method::POST, "/", &[], body).await;
        assert_eq!(answer.status, 400, "{body}");
    }
    let anonymous = stack.request(reqwest::Method::POST, "/", &[], "{}").await;
    assert_eq!((anonymous.status, anonymous.header("x-mcp-version")), (401, "1.0"));
    assert!(anonymous.body["error"].is_string());
    assert_ne!(anonymous.body, Value::Null);
}
