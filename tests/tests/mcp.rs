//! The MCP server as its clients see it, in every revision of the protocol.

use e2e::{Answer, Stack, User, eventually};
use reqwest::Method;
use serde_json::{Value, json};

const NEWEST: &str = "2026-07-28";
const OLDER: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
const EVERYTHING: &[&str] = &["execute:*", "view:*", "cancel:*"];

/// One request of the newest revision, which says in itself all that the server needs to know.
async fn send(user: &User, method: &str, mut params: Value, with_tasks: bool) -> Answer {
    let extensions =
        if with_tasks { json!({"io.modelcontextprotocol/tasks": {}}) } else { json!({}) };
    let name = ["name", "uri", "taskId"].iter().find_map(|field| params[field].as_str());
    let name = name.unwrap_or_default().to_owned();
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": NEWEST,
        "io.modelcontextprotocol/clientInfo": {"name": "e2e", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"extensions": extensions},
    });
    let headers =
        [("mcp-protocol-version", NEWEST), ("mcp-method", method), ("mcp-name", name.as_str())];
    let headers = if name.is_empty() { &headers[..2] } else { &headers };
    post(user, headers, &request(method, &params)).await
}

fn request(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": "one", "method": method, "params": params})
}

async fn post(user: &User, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut all = vec![
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    all.extend_from_slice(headers);
    user.send(Method::POST, "/mcp", &all, body.to_string()).await
}

/// The result of a request that succeeds.
async fn result(user: &User, method: &str, params: Value) -> Value {
    let answer = send(user, method, params, false).await;
    assert_eq!((answer.status, &answer.body["error"]), (200, &Value::Null), "{answer:?}");
    assert_eq!(answer.body["id"], "one");
    answer.body["result"].clone()
}

/// The value that a tool answers with.
async fn call(user: &User, tool: &str, arguments: Value) -> Value {
    let result = result(user, "tools/call", json!({"name": tool, "arguments": arguments})).await;
    assert_ne!(result["isError"], true, "{result}");
    let text = result["content"][0]["text"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), result["structuredContent"]);
    result["structuredContent"].clone()
}

/// The sentence with which a tool refuses.
async fn refused(user: &User, tool: &str, arguments: Value) -> String {
    let result = result(user, "tools/call", json!({"name": tool, "arguments": arguments})).await;
    assert_eq!(result["isError"], true, "{result}");
    result["content"][0]["text"].as_str().unwrap().to_owned()
}

async fn task(user: &User, method: &str, id: &str) -> Answer {
    send(user, method, json!({"taskId": id}), true).await
}

#[tokio::test]
async fn every_revision_is_served() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;

    let discovered = result(&user, "server/discover", json!({})).await;
    for version in OLDER {
        assert!(discovered["supportedVersions"].as_array().unwrap().contains(&json!(version)));
        let hello = json!({
            "protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "e2e", "version": "1"},
        });
        let answer = post(&user, &[], &request("initialize", &hello)).await;
        assert_eq!(answer.body["result"]["protocolVersion"], version, "{answer:?}");
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let version_header = [("mcp-protocol-version", version)];
        assert_eq!(post(&user, &version_header, &ready).await.status, 202);

        let answer = post(&user, &version_header, &request("tools/list", &json!({}))).await;
        assert_eq!(answer.body["result"]["tools"].as_array().unwrap().len(), 9, "{answer:?}");
        let arguments = json!({"name": "start_agent", "arguments": {"agent_name": "echo", "input_message": "x"}});
        let answer = post(&user, &version_header, &request("tools/call", &arguments)).await;
        assert_eq!(answer.body["result"]["structuredContent"]["status"], "started", "{answer:?}");
        // Only the newest revision knows this member.
        assert!(answer.body["result"].get("resultType").is_none());
    }

    let ping = |id| json!({"jsonrpc": "2.0", "id": id, "method": "ping"});
    let batch = json!([ping(1), ping(2)]);
    let answer = post(&user, &[("mcp-protocol-version", "2025-03-26")], &batch).await;
    assert_eq!(answer.body[1], json!({"jsonrpc": "2.0", "id": 2, "result": {}}), "{answer:?}");
    let answer = post(&user, &[("mcp-protocol-version", "2025-06-18")], &batch).await;
    assert_eq!((answer.status, &answer.body["error"]["code"]), (400, &json!(-32600)));
}

#[tokio::test]
async fn what_is_no_request_of_ours_is_refused_by_its_code() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let post_text = async |headers: &[(&str, &str)], body: &str| {
        let mut all = vec![("content-type", "application/json")];
        all.extend_from_slice(headers);
        let answer = user.send(Method::POST, "/mcp", &all, body.to_owned()).await;
        (answer.status, answer.body["error"]["code"].as_i64())
    };

    for body in ["", "{", "nonsense", &"[".repeat(10_000)] {
        assert_eq!(post_text(&[], body).await, (400, Some(-32700)), "{body:.20}");
    }
    for body in ["1", "null", "{}", "[]", r#"{"jsonrpc":"2.0","id":1}"#, r#"{"method":"ping"}"#] {
        assert_eq!(post_text(&[], body).await, (400, Some(-32600)), "{body}");
    }
    let ping = request("ping", &json!({})).to_string();
    assert_eq!(post_text(&[], &ping).await, (200, None));
    assert_eq!(post_text(&[("mcp-protocol-version", "1999-01-01")], &ping).await.0, 400);
    assert_eq!(post_text(&[("origin", "http://evil.example")], &ping).await.0, 403);
    assert_eq!(post_text(&[("host", "evil.example")], &ping).await.0, 403);
    assert_eq!(post_text(&[("content-type", "text/plain")], &ping).await.0, 415);
    let large = request("tools/call", &json!({"name": "x".repeat(400_000)})).to_string();
    assert_eq!(post_text(&[], &large).await.0, 413);

    for method in [Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::DELETE] {
        let answer = user.send(method.clone(), "/mcp", &[], "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, "POST"), "{method}");
        assert_eq!(stack.request(method, "/mcp", &[], "").await.status, 401);
    }
    let anonymous = stack.request(Method::POST, "/mcp", &[], ping.clone()).await;
    assert_eq!(anonymous.status, 401);
    assert!(anonymous.header("www-authenticate").starts_with("Bearer "), "{anonymous:?}");
    let key = format!("Bearer {}", user.key);
    let bearer = [("authorization", key.as_str()), ("content-type", "application/json")];
    assert_eq!(stack.request(Method::POST, "/mcp", &bearer, ping).await.status, 200);
    // No issuer of tokens is configured here.
    let metadata = "/.well-known/oauth-protected-resource/mcp";
    assert_eq!(stack.request(Method::GET, metadata, &[], "").await.status, 404);
    let preflight = stack.request(Method::OPTIONS, "/mcp", &[("origin", "http://a.example")], "");
    let preflight = preflight.await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), "");

    let unknown = send(&user, "tools/call", json!({"name": "destroy"}), false).await;
    assert_eq!(unknown.body["error"]["code"], -32602);
    let unknown = send(&user, "agents/fly", json!({}), false).await;
    assert_eq!((unknown.status, &unknown.body["error"]["code"]), (404, &json!(-32601)));
    let mismatch = [("mcp-protocol-version", NEWEST), ("mcp-method", "tools/list")];
    let params = json!({"_meta": {"io.modelcontextprotocol/protocolVersion": NEWEST}});
    let answer = post(&user, &mismatch, &request("resources/list", &params)).await;
    assert_eq!((answer.status, &answer.body["error"]["code"]), (400, &json!(-32020)));
}

#[tokio::test]
async fn rest_and_mcp_show_the_same_and_each_answer_fits_its_schema() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let tools = result(&user, "tools/list", json!({})).await;
    let fits = |tool: &str, value: &Value| {
        let mut tools = tools["tools"].as_array().unwrap().iter();
        let schema = &tools.find(|it| it["name"] == tool).unwrap()["outputSchema"];
        jsonschema::validate(schema, value).unwrap_or_else(|error| panic!("{tool}: {error}"));
    };
    let start =
        json!({"agent_name": "echo", "input_message": "x", "parameters": {"wait_seconds": 0}});

    let started = call(&user, "start_agent", start.clone()).await;
    fits("start_agent", &started);
    let by_rest = user.post(&start).await;
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&started), keys(&by_rest.body));

    for id in [started["execution_id"].as_str().unwrap(), &by_rest.text("execution_id")] {
        let arguments = json!({"execution_id": id});
        fits("monitor_agent", &call(&user, "monitor_agent", arguments.clone()).await);
        fits("get_agent_results", &call(&user, "get_agent_results", arguments.clone()).await);
        user.wait_for(id, "completed").await;

        let monitor = call(&user, "monitor_agent", arguments.clone()).await;
        assert_eq!(monitor, user.monitor(id).await.body);
        fits("monitor_agent", &monitor);
        let results = call(&user, "get_agent_results", arguments).await;
        assert_eq!(results, user.results(id).await.body);
        fits("get_agent_results", &results);
        let with_metadata = json!({"execution_id": id, "include_metadata": true});
        let results = call(&user, "get_agent_results", with_metadata).await;
        let path = format!("/v1/executions/{id}/results?include_metadata=true");
        assert_eq!(results, user.get(&path).await.body);
        fits("get_agent_results", &results);
    }
    // Of an agent that no other test runs: its average does not change between the two looks.
    let attributes = json!({"average_execution_time": 1.5, "cost_estimate": 0.01});
    let agent = stack.agent("EchoMachineArn", attributes).await;
    let viewer = stack.user(&[&format!("view:{agent}")]).await;
    let agents = call(&viewer, "list_available_agents", json!({})).await;
    assert_eq!(agents["agents"][0]["average_execution_time"], 1.5);
    assert_eq!(agents, viewer.get("/v1/agents").await.body);
    fits("list_available_agents", &agents);
    let list = call(&user, "list_executions", json!({"status": "completed", "limit": 1})).await;
    let rest = user.get("/v1/executions?status=completed&limit=1").await.body;
    assert_eq!(list, rest);
    fits("list_executions", &list);
    let next = json!({"status": "completed", "limit": 1, "cursor": list["next_cursor"]});
    let next = call(&user, "list_executions", next).await;
    assert_ne!(next["executions"][0], list["executions"][0]);

    let slow =
        call(&user, "start_agent", json!({"agent_name": "slow", "input_message": "x"})).await;
    let id = slow["execution_id"].as_str().unwrap();
    let stopping = call(&user, "stop_agent", json!({"execution_id": id})).await;
    assert_eq!(stopping, json!({"execution_id": id, "status": "cancelling"}));
    fits("stop_agent", &stopping);
    user.wait_for(id, "cancelled").await;
}

#[tokio::test]
async fn a_start_is_repeated_by_its_token_and_may_wait() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let start = json!({"agent_name": "echo", "input_message": "hello", "client_token": "t-1"});

    let first = call(&user, "start_agent", start.clone()).await;
    let mut again = start.clone();
    again["wait_seconds"] = json!(20);
    let params = json!({"name": "start_agent", "arguments": again});
    let ended = result(&user, "tools/call", params).await;
    assert_eq!(ended["structuredContent"]["execution_id"], first["execution_id"]);
    assert_eq!(ended["structuredContent"]["result"], "hello");
    let id = first["execution_id"].as_str().unwrap();
    let link = ended["content"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&link["type"], &link["uri"]),
        (&json!("resource_link"), &json!(format!("agents://executions/{id}")))
    );
    // The key of a REST start is the same thing.
    let by_rest = json!({"agent_name": "echo", "input_message": "hello"});
    let by_rest = user.post_with(&[("idempotency-key", "t-1")], &by_rest).await;
    assert_eq!(by_rest.text("execution_id"), id);

    let fails = json!({"agent_name": "fail", "input_message": "x", "wait_seconds": 20});
    let sentence = refused(&user, "start_agent", fails).await;
    let said = "The agent ended without a result: Example.Refused: This example agent always fails. \
                Its execution_id is mcp-fail-";
    assert!(sentence.starts_with(said), "{sentence}");
}

/// A message as text, which is answered whatever its digits and levels are.
async fn post_text(user: &User, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    user.send(Method::POST, "/mcp", &all, body.to_owned()).await
}

fn called(tool: &str, arguments: &str) -> String {
    let params = format!(r#"{{"name":"{tool}","arguments":{arguments}}}"#);
    format!(r#"{{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{params}}}"#)
}

#[tokio::test]
async fn clients_are_served_as_they_write() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;

    for nothing in ["[]", "{}", "null", r#""""#, r#""{}""#, r#"{"toolCallId":"call_1"}"#] {
        let answer = post_text(&user, &[], &called("list_available_agents", nothing)).await;
        let agents = &answer.body["result"]["structuredContent"]["agents"];
        assert!(agents.is_array(), "{nothing}: {answer:?}");
    }
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}});
    let answer = post(&user, &[], &request("initialize", &hello)).await;
    assert_eq!(answer.body["result"]["protocolVersion"], "2025-11-25", "{answer:?}");
    for (method, field) in
        [("resources/read", "uri"), ("prompts/get", "name"), ("tools/call", "name")]
    {
        for params in [json!({}), json!([]), Value::Null] {
            let error = post(&user, &[], &request(method, &params)).await.body["error"].clone();
            assert_eq!(error["code"], -32602, "{method} {params}: {error}");
            assert_eq!(error["message"], format!("{field} is missing"), "{method} {params}");
        }
    }

    // One start, in all the ways to write it.
    let mut ids = Vec::new();
    for (parameters, others) in [
        (r#"{"wait_seconds":0}"#, r#""wait_seconds":3"#),
        (r#""{\"wait_seconds\":0}""#, r#""wait_seconds":3.0,"callback_url":"","toolCallId":"c""#),
        (r#"{"wait_seconds":0}"#, r#""wait_seconds":"3","callback_url":null"#),
    ] {
        let arguments = format!(
            r#"{{"agent_name":"echo","input_message":"x","client_token":"one","parameters":{parameters},{others}}}"#
        );
        let answer = post_text(&user, &[], &called("start_agent", &arguments)).await;
        ids.push(answer.body["result"]["structuredContent"]["execution_id"].clone());
    }
    assert!(ids[0].is_string() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let list = json!({"status": "", "limit": 0, "cursor": "", "agent_name": ""});
    let list = call(&user, "list_executions", list).await;
    assert_eq!(list["executions"].as_array().unwrap().len(), 1);

    // An empty object, as PHP writes it, in what a client can do.
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": NEWEST,
        "io.modelcontextprotocol/clientInfo": [],
        "io.modelcontextprotocol/clientCapabilities":
            {"extensions": {"io.modelcontextprotocol/tasks": []}, "elicitation": [], "roots": []},
    });
    let start = json!({"agent_name": "echo", "input_message": "x", "parameters": []});
    let headers = [
        ("mcp-protocol-version", NEWEST),
        ("mcp-method", "tools/call"),
        ("mcp-name", "start_agent"),
    ];
    let params = json!({"name": "start_agent", "arguments": start, "_meta": meta});
    let answer = post(&user, &headers, &request("tools/call", &params)).await;
    assert_eq!(answer.body["result"]["resultType"], "task", "{answer:?}");

    for id in ["18446744073709551615", "1.0", "-1.5", r#""\u0061\"""#] {
        let ping = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        let answer = post_text(&user, &[], &ping).await;
        let expected: Value = serde_json::from_str(id).unwrap();
        assert_eq!((&answer.body["id"], &answer.body["result"]), (&expected, &json!({})));
    }
    let half = r#"{"jsonrpc":"2.0","id":61,"method":"ping","params":{"a":"cut \ud83d"}}"#;
    let answer = post_text(&user, &[], half).await;
    assert_eq!((answer.status, &answer.body["id"]), (400, &json!(61)), "{answer:?}");
    assert_eq!(answer.body["error"]["code"], -32700);
    assert!(answer.body["error"]["message"].as_str().unwrap().contains("column"), "{answer:?}");
}

#[tokio::test]
async fn an_answer_has_the_form_that_the_client_accepts() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let ping = request("ping", &json!({})).to_string();
    let accept = async |value: &str| post_text(&user, &[("accept", value)], &ping).await;

    for value in [
        "application/json",
        "*/*",
        "application/*",
        "text/event-stream;q=0.9, application/json;q=0.1",
    ] {
        let answer = accept(value).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
        assert_eq!(answer.body["result"], json!({}), "{value}");
    }
    let event = accept("text/event-stream").await;
    assert_eq!((event.status, event.header("content-type")), (200, "text/event-stream"));
    assert_eq!(accept("text/html").await.status, 406);
}

#[tokio::test]
async fn digits_and_levels_reach_the_agent() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let agent = stack.agent("EchoMachineArn", json!({})).await;
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));

    for value in ["18446744073709551616", "0.10", &deep] {
        let arguments = format!(
            r#"{{"agent_name":"{agent}","input_message":"x","parameters":{{"a":{value}}}}}"#
        );
        let answer = post_text(&user, &[], &called("start_agent", &arguments)).await;
        let id = answer.body["result"]["structuredContent"]["execution_id"].as_str().unwrap();
        // What the agent is started with is stored with the start.
        let parts = stack.parts(id).await;
        assert!(parts.values().any(|part| part.to_string().contains(value)), "{value:.20}");
    }
}

#[tokio::test]
async fn a_held_start_is_answered_as_soon_as_its_agent_asks() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let start = json!({"agent_name": "approval", "input_message": "Shall I?"});
    let mut waiting = start.clone();
    waiting["wait_seconds"] = json!(20);

    let by_tool = call(&user, "start_agent", waiting).await;
    let by_rest = user.post_with(&[("prefer", "wait=20")], &start).await;
    assert_eq!((by_rest.status, by_rest.header("preference-applied")), (202, "wait=20"));
    for receipt in [by_tool, by_rest.body] {
        assert_eq!(receipt["status"], "input_required", "{receipt}");
        let id = receipt["execution_id"].as_str().unwrap();
        assert_eq!(receipt["questions"], user.monitor(id).await.body["questions"]);
        // As JSON text, which the question does not want; the same again is harmless.
        let answer = json!({"execution_id": id, "answer": r#"{"approved": true}"#});
        let answered = call(&user, "answer_agent", answer.clone()).await;
        assert_eq!(answered["question_id"], receipt["questions"][0]["id"]);
        assert_eq!(call(&user, "answer_agent", answer).await, answered);
        // What is answered holds nobody up any more.
        let path = format!("/v1/executions/{id}");
        let watched = user.send(Method::GET, &path, &[("prefer", "wait=20")], "").await;
        assert_eq!(watched.text("status"), "completed", "{watched:?}");
    }
    let ended = json!({"execution_id": "mcp-echo-1"});
    assert!(refused(&user, "stop_agent", ended).await.contains("not found"));
}

#[tokio::test]
async fn a_refused_call_says_what_to_do() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:echo", "view:*"]).await;
    let start = |fields: Value| {
        let mut arguments = json!({"agent_name": "echo", "input_message": "x"});
        arguments.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        arguments
    };

    for (arguments, said) in [
        (json!({}), "agent_name is missing"),
        (start(json!({"input_message": " "})), "input_message must not be empty"),
        (start(json!({"parameters": "none"})), "parameters must be an object"),
        (start(json!({"wait_seconds": 21})), "wait_seconds must be a whole number from 0 to 20"),
        (start(json!({"wait_seconds": "soon"})), "wait_seconds must be a whole number"),
        (start(json!({"client_token": "é"})), "client_token must be 1 to 255"),
        (start(json!({"client_token": "  "})), "client_token must not be blank"),
        (start(json!({"callback_url": "/hook"})), "callback_url must be an absolute URL"),
        (start(json!({"parameters": {"wait_seconds": "7777"}})), "parameters.wait_seconds"),
        (start(json!({"callback_url": "http://example.com"})), "callback_url"),
        (start(json!({"agent_name": "assistant"})), "permission execute:assistant is missing"),
        (
            start(json!({"client_token": "t", "input_message": "x".repeat(262_000)})),
            "input_message is larger",
        ),
    ] {
        let sentence = refused(&user, "start_agent", arguments).await;
        assert!(sentence.contains(said), "{sentence}");
    }
    assert_eq!(stack.count_rows(&user).await, 0);
    let first = start(json!({"client_token": "t"}));
    call(&user, "start_agent", first).await;
    let other = start(json!({"client_token": "t", "input_message": "y"}));
    let sentence = refused(&user, "start_agent", other).await;
    assert!(sentence.starts_with("client_token was used for another request"), "{sentence}");
    for tool in ["monitor_agent", "get_agent_results", "stop_agent"] {
        let sentence = refused(&user, tool, json!({"execution_id": "mcp-echo-1"})).await;
        assert_eq!(sentence, "execution not found. Call list_executions to see yours.");
    }
    for arguments in [
        json!({"limit": -1}),
        json!({"limit": 101}),
        json!({"status": "odd"}),
        json!({"cursor": "x"}),
    ] {
        refused(&user, "list_executions", arguments).await;
    }
    let everyone = stack.user(EVERYTHING).await;
    let sentence = refused(&everyone, "start_agent", start(json!({"agent_name": "nobody"}))).await;
    assert_eq!(sentence, "agent not found. Call list_available_agents to see the agents.");
}

#[tokio::test]
async fn resources_are_read_and_agents_completed() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let other = stack.user(EVERYTHING).await;
    let id = user.start(&json!({"agent_name": "echo", "input_message": "x"})).await;
    user.wait_for(&id, "completed").await;
    let read = async |uri: &str| {
        let read = result(&user, "resources/read", json!({"uri": uri})).await;
        assert_eq!(
            (&read["contents"][0]["uri"], &read["cacheScope"]),
            (&json!(uri), &json!("private"))
        );
        serde_json::from_str::<Value>(read["contents"][0]["text"].as_str().unwrap()).unwrap()
    };

    assert_eq!(read("agents://available").await, user.get("/v1/agents").await.body);
    assert_eq!(read("agents://executions").await, user.get("/v1/executions").await.body);
    let execution = format!("agents://executions/{id}");
    assert_eq!(read(&execution).await, user.monitor(&id).await.body);
    assert_eq!(read(&format!("{execution}/result")).await, user.results(&id).await.body);
    assert_eq!(read("agents://agents/echo").await["name"], "echo");

    let denied = send(&other, "resources/read", json!({"uri": execution}), false).await;
    let error = json!({"code": -32602, "message": "no such resource", "data": {"uri": execution}});
    assert_eq!(denied.body["error"], error);

    let complete = |reference: Value| json!({"ref": reference, "argument": {"name": "agent_name", "value": "ec"}});
    for reference in [
        json!({"type": "ref/resource", "uri": "agents://agents/{agent_name}"}),
        json!({"type": "ref/prompt", "name": "delegate"}),
    ] {
        let completed = result(&user, "completion/complete", complete(reference)).await;
        assert_eq!(
            completed["completion"],
            json!({"values": ["echo"], "total": 1, "hasMore": false})
        );
    }
    let prompt = json!({"name": "delegate", "arguments": {"agent_name": "echo", "task": "Count."}});
    let prompt = result(&user, "prompts/get", prompt).await;
    assert!(prompt["messages"][0]["content"]["text"].as_str().unwrap().ends_with("Count."));
    let incomplete = json!({"name": "delegate", "arguments": {"agent_name": "echo"}});
    let refused = send(&user, "prompts/get", incomplete, false).await;
    assert_eq!(refused.body["error"]["message"], "arguments.task is missing");
}

#[tokio::test]
async fn a_task_is_followed_to_its_end_by_its_owner_alone() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let other = stack.user(EVERYTHING).await;
    let start = async |agent: &str| {
        let arguments = json!({"agent_name": agent, "input_message": "hello"});
        let params = json!({"name": "start_agent", "arguments": arguments});
        let answer = send(&user, "tools/call", params, true).await;
        let created = answer.body["result"].clone();
        assert_eq!(
            (&created["resultType"], &created["status"]),
            (&json!("task"), &json!("working"))
        );
        // It is there before its id is told.
        let first = task(&user, "tasks/get", created["taskId"].as_str().unwrap()).await;
        assert_eq!(first.body["result"]["createdAt"], created["createdAt"], "{first:?}");
        created["taskId"].as_str().unwrap().to_owned()
    };
    let ended = async |id: &str| {
        eventually(&format!("the end of {id}"), async || {
            let task = task(&user, "tasks/get", id).await.body["result"].clone();
            (task["status"] != "working").then_some(task)
        })
        .await
    };

    let id = start("echo").await;
    let failing = start("fail").await;
    let slow = start("slow").await;
    let machine = format!("{}-missing", stack.output("EchoMachineArn"));
    let missing = stack.agent("EchoMachineArn", json!({"state_machine_arn": machine})).await;
    let never_ran = start(&missing).await;
    for method in ["tasks/get", "tasks/cancel"] {
        let denied = task(&other, method, &slow).await;
        assert_eq!(denied.body["error"]["code"], -32602, "{denied:?}");
        let unknown = task(&user, method, "mcp-echo-1").await;
        assert_eq!(unknown.body["error"], denied.body["error"]);
    }
    let undeclared = send(&user, "tasks/get", json!({"taskId": id}), false).await;
    assert_eq!(undeclared.body["error"]["code"], -32021);

    let echo = ended(&id).await;
    assert_eq!(echo["status"], "completed");
    assert_eq!(echo["result"]["structuredContent"], user.results(&id).await.body);
    assert!(echo["ttlMs"].as_u64().unwrap() > 0 && echo["pollIntervalMs"] == 5000);
    assert_eq!(echo["statusMessage"], "Agent has completed (100 %)");
    let fail = ended(&failing).await;
    assert_eq!((&fail["status"], &fail["result"]["isError"]), (&json!("completed"), &json!(true)));
    // An agent that never ran has no result, not even an error.
    let never_ran = ended(&never_ran).await;
    assert_eq!(
        (&never_ran["status"], &never_ran["error"]["code"], &never_ran["result"]),
        (&json!("failed"), &json!(-32603), &Value::Null)
    );
    let cancelled = task(&user, "tasks/cancel", &slow).await;
    assert_eq!(cancelled.body["result"], json!({"resultType": "complete"}));
    assert_eq!(ended(&slow).await["status"], "cancelled");
    // Of what has ended, nothing is left to cancel.
    assert_eq!(
        task(&user, "tasks/cancel", &id).await.body["result"],
        json!({"resultType": "complete"})
    );
}

#[tokio::test]
async fn an_agent_that_asks_is_answered_by_its_task_or_by_the_tool() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let arguments = json!({"agent_name": "approval", "input_message": "Shall I?"});

    let params = json!({"name": "start_agent", "arguments": arguments});
    let created = send(&user, "tools/call", params, true).await.body["result"].clone();
    answered_by_task(&user, created["taskId"].as_str().unwrap()).await;
    let started = call(&user, "start_agent", arguments).await;
    answered_by_tool(&user, started["execution_id"].as_str().unwrap()).await;
}

/// The task, once it asks something.
async fn asked(user: &User, id: &str) -> Value {
    eventually(&format!("a question of {id}"), async || {
        let task = task(user, "tasks/get", id).await.body["result"].clone();
        (task["status"] == "input_required").then_some(task)
    })
    .await
}

async fn answered_by_task(user: &User, id: &str) {
    let other = user.stack.user(EVERYTHING).await;
    let accept = |question: &str, content: Value| json!({question: {"action": "accept", "content": content}});
    let update = async |user: &User, responses: Value| {
        let params = json!({"taskId": id, "inputResponses": responses});
        send(user, "tasks/update", params, true).await.body
    };
    let acknowledged = json!({"resultType": "complete"});

    let requests = asked(user, id).await["inputRequests"].clone();
    let (question, request) = requests.as_object().unwrap().iter().next().unwrap();
    assert_eq!(request["method"], "elicitation/create");
    assert_eq!(request["params"]["requestedSchema"]["required"], json!(["approved"]));
    let denied = update(&other, accept(question, json!({"approved": true}))).await;
    assert_eq!(denied["error"]["code"], -32602);
    let wrong = update(user, accept(question, json!({"approved": "yes"}))).await;
    let place = format!("inputResponses.{question}.content.approved ");
    assert!(wrong["error"]["message"].as_str().unwrap().starts_with(&place), "{wrong}");
    let wrong = update(user, json!({question: []})).await;
    let said = format!("inputResponses.{question}.action must be a string");
    assert_eq!(wrong["error"]["message"], said, "{wrong}");
    let declined = json!({question: {"action": "decline"}});
    for nothing in [json!({}), accept("unknown", json!({})), declined] {
        assert_eq!(update(user, nothing).await["result"], acknowledged);
    }
    let accepted = update(user, accept(question, json!({"approved": true}))).await;
    assert_eq!(accepted["result"], acknowledged, "{accepted}");
    // It is asked no more from then on, whether the agent has the answer yet or not.
    let next = task(user, "tasks/get", id).await.body["result"].clone();
    assert_ne!(next["status"], "input_required", "{next}");
    user.wait_for(id, "completed").await;
}

async fn answered_by_tool(user: &User, id: &str) {
    asked(user, id).await;
    let monitor = call(user, "monitor_agent", json!({"execution_id": id})).await;
    assert_eq!(
        (&monitor["status"], monitor["questions"].as_array().unwrap().len()),
        (&json!("input_required"), 1)
    );
    assert_eq!(monitor["questions"], user.monitor(id).await.body["questions"]);
    let answer = |approved: Value| json!({"execution_id": id, "answer": {"approved": approved}});

    let sentence = refused(user, "answer_agent", answer(json!(1))).await;
    assert!(sentence.contains("approved"), "{sentence}");
    let answered = call(user, "answer_agent", answer(json!(false))).await;
    let question = &monitor["questions"][0]["id"];
    assert_eq!((&answered["status"], &answered["question_id"]), (&json!("answered"), question));
    assert_eq!(call(user, "answer_agent", answer(json!(false))).await, answered);
    let sentence = refused(user, "answer_agent", answer(json!(true))).await;
    assert!(
        sentence.contains("another answer") || sentence.contains("asks no question"),
        "{sentence}"
    );
    user.wait_for(id, "completed").await;
}

#[tokio::test]
async fn many_agents_are_started_later_again_and_found_by_tools() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let item =
        json!({"input_message": "x", "parameters": r#"{"wait_seconds": 0}"#, "tags": {"n": "1"}});
    // As text, as some clients write a list.
    let items = json!([item, {"input_message": "y", "agent_name": "nobody"}]).to_string();
    let arguments = json!({"agent_name": "echo", "items": items, "client_token": "t"});
    let batch = call(&user, "start_agents", arguments.clone()).await;
    assert_eq!(call(&user, "start_agents", arguments).await, batch);
    let run = batch["items"][0]["execution_id"].as_str().unwrap();
    assert_eq!(batch["items"][1]["error"]["status"], 404);
    user.wait_for(run, "completed").await;
    let other = json!({"agent_name": "echo", "items": [item], "client_token": "t"});
    assert!(refused(&user, "start_agents", other).await.starts_with("client_token was used"));

    let again = json!({"execution_id": run, "client_token": "again"});
    let first = call(&user, "rerun_agent", again.clone()).await;
    assert_eq!(call(&user, "rerun_agent", again).await, first);
    let rerun = first["execution_id"].as_str().unwrap();
    assert_eq!(user.wait_for(rerun, "completed").await.body["rerun_of"], run);
    let later = json!({"agent_name": "echo", "input_message": "x", "delay_seconds": "600"});
    let later = call(&user, "start_agent", later).await["execution_id"].clone();

    let found = async |arguments: Value| {
        let found = call(&user, "list_executions", arguments).await;
        let runs = found["executions"].as_array().unwrap().iter();
        runs.map(|run| run["execution_id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(found(json!({"batch_id": batch["batch_id"]})).await, [json!(run)]);
    assert_eq!(found(json!({"tag": "n=1"})).await, [json!(rerun), json!(run)]);
    assert_eq!(found(json!({"status": "scheduled"})).await, [later]);
    assert_eq!(found(json!({"created_before": "2026-01-31T09:00:00Z"})).await, [json!(null); 0]);
    let wrong = refused(&user, "list_executions", json!({"created_after": "now"})).await;
    assert!(wrong.starts_with("created_after must be a time"), "{wrong}");
    let unknown = refused(&user, "list_executions", json!({"batch_id": "x"})).await;
    assert!(unknown.starts_with("batch not found"), "{unknown}");
}
