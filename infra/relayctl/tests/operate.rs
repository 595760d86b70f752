//! Keys, agents and runs, operated on the deployed stack by the tool itself.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use e2e::{Stack, eventually, tool::Tool};
use relay::{
    domain::{api_key::ApiKeyHash, health::DisabledReason, time::Timestamp},
    store::{agents::Agents, api_keys::ApiKeys, subscriptions::Subscriptions, write::Step},
};
use serde_json::{Value, json};

const RELAYCTL: Tool = Tool(env!("CARGO_BIN_EXE_relayctl"));

fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", ulid::Ulid::generate())
}

/// The row of an agent, as it is stored.
async fn agent_row(stack: &Stack, name: &str) -> Option<Value> {
    let key = aws_sdk_dynamodb::types::AttributeValue::S(name.to_owned());
    let table = stack.output("AgentsTable");
    let found = stack.dynamodb.get_item().table_name(table).key("agent_name", key);
    let found = found.consistent_read(true).send().await.unwrap();
    found.item.map(|item| relay::store::item::from_item(item).unwrap())
}

#[tokio::test]
async fn the_tool_alone_leads_from_nothing_to_a_finished_run() {
    let stack = Stack::connect().await;
    let (agent, user) = (unique("agent"), unique("user"));
    let machine = stack.output("EchoMachineArn");

    RELAYCTL.told(&["agents", "put", &agent, "--machine", machine, "--tool", "echo"]).await;
    let key = RELAYCTL.told(&["keys", "create", "--user", &user]).await;
    let variables = [("RELAY_API_KEY", key.as_str())];
    let started = RELAYCTL.with(&["runs", "start", &agent, "Hello"], "", &variables).await;
    assert!(started.ok, "{started:?}");
    let watched = RELAYCTL.run(&["runs", "watch", &started.text]).await;

    assert!(watched.ok, "{watched:?}");
    let lines: Vec<_> = watched.text.lines().collect();
    assert!(lines.len() > 2 && lines.contains(&"result    Hello"), "{watched:?}");
    assert!(lines.iter().any(|line| line.contains("completed") && line.contains("100 %")));
    assert!(!watched.text.contains('\x1b'), "{watched:?}");
    let shown = RELAYCTL.told(&["runs", "show", &started.text]).await;
    assert!(shown.contains(&user) && shown.contains("result    Hello"), "{shown}");
    let listed = RELAYCTL.told(&["runs", "list", "--user", &user, "--status", "completed"]).await;
    assert!(listed.contains(&started.text), "{listed}");
    let trouble = ["runs", "list", "--trouble", "--since", "1h", "--limit", "1000"];
    assert!(!RELAYCTL.told(&trouble).await.contains(&started.text), "nothing went wrong");
    assert!(RELAYCTL.told(&["agents", "list"]).await.contains(&agent));

    RELAYCTL.told(&["agents", "deactivate", &agent]).await;
    assert_eq!(agent_row(&stack, &agent).await.unwrap()["status"], "inactive");
    assert!(!RELAYCTL.run(&["agents", "deactivate", &unique("nobody")]).await.ok);
}

#[tokio::test]
async fn a_key_is_shown_once_and_a_revoked_one_stops_within_30_seconds() {
    let stack = Stack::connect().await;
    let user = unique("user");
    let create = ["keys", "create", "--user", &user, "--permission", "view:*", "--json"];
    let made = RELAYCTL.run(&create).await.json();
    let (key, key_id) = (made["key"].as_str().unwrap(), made["key_id"].as_str().unwrap());
    let status = async || {
        let headers = [("x-api-key", key)];
        stack.request(reqwest::Method::GET, "/v1/agents", &headers, "").await.status
    };

    assert!(key.starts_with("relay_") && key.len() == "relay_".len() + 43, "{key}");
    assert_eq!(status().await, 200);
    let hash = ApiKeyHash::of(key).to_hex();
    for list in
        [RELAYCTL.told(&["keys", "list"]).await, RELAYCTL.told(&["keys", "list", "--json"]).await]
    {
        assert!(list.contains(key_id) && list.contains(&user));
        assert!(!list.contains(key) && !list.contains(&hash));
    }

    let body = json!({"url": "https://example.com/hook"}).to_string();
    let headers = [("x-api-key", key)];
    let subscribe =
        || stack.request(reqwest::Method::POST, "/v1/subscriptions", &headers, body.clone());
    let (subscription, removed) = (subscribe().await.text("id"), subscribe().await.text("id"));
    let remove = ["subscriptions", "remove", "--user", &user, &removed];
    RELAYCTL.told(&remove).await;
    assert!(!RELAYCTL.run(&remove).await.ok, "it is gone");
    let listed = RELAYCTL.told(&["subscriptions", "list", "--user", &user]).await;
    assert!(listed.contains(&subscription) && listed.contains(key_id), "{listed}");
    assert!(!listed.contains("/hook") && listed.contains(" healthy "), "{listed}");
    disable(&stack, &user, &subscription).await;
    let listed = RELAYCTL.told(&["subscriptions", "list", "--user", &user]).await;
    assert!(listed.contains("disabled 2026-01-01 00:00, gone"), "{listed}");
    let enable = ["subscriptions", "enable", "--user", &user, &subscription];
    RELAYCTL.told(&enable).await;
    assert!(!RELAYCTL.run(&enable).await.ok, "it is enabled");
    let listed = RELAYCTL.told(&["subscriptions", "list", "--user", &user]).await;
    assert!(listed.contains(" healthy "), "{listed}");

    let revoked = Instant::now();
    let left = RELAYCTL.told(&["keys", "revoke", key_id]).await;
    assert!(left.contains("1 subscriptions") && left.contains(&subscription), "{left}");
    let listed = RELAYCTL.told(&["subscriptions", "list", "--user", &user]).await;
    assert!(!listed.contains(&subscription), "it is removed: {listed}");
    eventually("the key to stop", async || (status().await == 401).then_some(())).await;
    assert!(revoked.elapsed() < Duration::from_secs(30));
    // Again is harmless, and leaves the time at which it stopped.
    let keys = ApiKeys::new(stack.dynamodb.clone(), stack.output("ApiKeysTable").to_owned());
    let first = keys.find(&ApiKeyHash::of(key)).await.unwrap().unwrap().revoked_at;
    RELAYCTL.told(&["keys", "revoke", key_id]).await;
    assert_eq!(keys.find(&ApiKeyHash::of(key)).await.unwrap().unwrap().revoked_at, first);
    assert!(RELAYCTL.told(&["keys", "list", "--user", &user]).await.contains("revoked"));
    assert!(
        !RELAYCTL.run(&["keys", "rotate", key_id]).await.ok,
        "nobody gets back what was revoked"
    );
    assert!(!RELAYCTL.run(&["keys", "revoke", "00000000"]).await.ok);
    assert!(!RELAYCTL.run(&["keys", "revoke", &hash[..7]]).await.ok, "a slip ends no key");
    RELAYCTL.told(&["keys", "revoke", &hash]).await;
}

/// As if its receiver had answered 410.
async fn disable(stack: &Stack, user: &str, subscription: &str) {
    let user = user.to_owned().into();
    let table = stack.output("ExecutionsTable").to_owned();
    let subscriptions = Subscriptions::new(stack.dynamodb.clone(), table);
    let (id, now) =
        (subscription.parse().unwrap(), Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    subscriptions.failed(&user, &id, now).await.unwrap().unwrap();
    let disabled = subscriptions.disable(&user, &id, now, DisabledReason::Gone, now, &[]);
    assert_eq!(disabled.await.unwrap(), Step::Applied);
}

#[tokio::test]
async fn a_rotated_key_leaves_the_old_one_its_overlap_and_never_more_than_it_had() {
    let stack = Stack::connect().await;
    let user = unique("user");
    let create = ["keys", "create", "--user", &user, "--permission", "view:*", "--rate-limit", "7"];
    let works = async |key: &str| {
        let headers = [("x-api-key", key)];
        stack.request(reqwest::Method::GET, "/v1/agents", &headers, "").await.status == 200
    };
    let listed = async |key: &Value| {
        let list = RELAYCTL.run(&["keys", "list", "--user", &user, "--json"]).await.json();
        let keys = list["keys"].as_array().unwrap().clone();
        let key = keys.into_iter().find(|it| it["key_id"] == key["key_id"]).unwrap();
        (key["expires_at"].as_str().unwrap()[..10].to_owned(), key)
    };
    let day = |days: u32| {
        Timestamp::now().plus(Duration::from_hours(24) * days).rfc3339()[..10].to_owned()
    };

    let first = RELAYCTL.run(&[&create[..], &["--json"]].concat()).await.json();
    let first_id = first["key_id"].as_str().unwrap();
    assert_eq!(listed(&first).await.0, day(90));
    let second = RELAYCTL.run(&["keys", "rotate", first_id, "--json"]).await.json();
    let second_id = second["key_id"].as_str().unwrap();
    assert!(works(first["key"].as_str().unwrap()).await);
    assert!(works(second["key"].as_str().unwrap()).await);
    assert_eq!(listed(&first).await.0, day(7));
    let (expires, row) = listed(&second).await;
    assert_eq!((expires, &row["rate_limit"]), (day(90), &json!(7)));
    assert_eq!((&row["user_id"], &row["permissions"]), (&json!(user), &json!(["view:*"])));

    // A longer overlap does not prolong what ends sooner.
    RELAYCTL.run(&["keys", "rotate", first_id, "--overlap-days", "30"]).await;
    assert_eq!(listed(&first).await.0, day(7));
    RELAYCTL.run(&["keys", "rotate", second_id, "--overlap-days", "0"]).await;
    assert!(!works(second["key"].as_str().unwrap()).await);

    for wrong in ["execute", "dance:*", "view:a b", ":*", ""] {
        let said = RELAYCTL.run(&["keys", "create", "--user", &user, "--permission", wrong]).await;
        assert!(!said.ok && said.text.is_empty(), "{wrong}: {said:?}");
    }
}

#[tokio::test]
async fn an_agent_that_could_not_run_is_refused_and_one_put_again_keeps_what_was_learnt() {
    let stack = Stack::connect().await;
    let echo = stack.output("EchoMachineArn").to_owned();
    let name = unique("agent");
    let standard = stack.step_functions.describe_state_machine().state_machine_arn(&echo);
    let express = stack
        .step_functions
        .create_state_machine()
        .name(unique("express"))
        .definition(r#"{"StartAt": "End", "States": {"End": {"Type": "Succeed"}}}"#)
        .role_arn(standard.send().await.unwrap().role_arn)
        .r#type(aws_sdk_sfn::types::StateMachineType::Express)
        .send()
        .await
        .unwrap()
        .state_machine_arn;
    let missing = format!("{echo}-missing");
    for (name, machine, reason) in [
        (name.as_str(), express.as_str(), "is Express"),
        (&name, &missing, "does not exist"),
        (&name, "arn:aws:lambda:us-east-1:000000000000:function:x", "must be the ARN"),
        ("no name", &echo, "must be 1 to 80"),
    ] {
        let said = RELAYCTL.run(&["agents", "put", name, "--machine", machine]).await;
        assert!(!said.ok && said.notes.contains(reason), "{said:?}");
    }
    let put = ["agents", "put", &name, "--machine", &echo];
    let schema = [&put[..], &["--parameters-schema", "-", "--llm-model", "m"]].concat();
    let said = RELAYCTL.with(&schema, r#"{"type": "dance"}"#, &[]).await;
    assert!(!said.ok && said.notes.contains("not a JSON Schema"), "{said:?}");
    assert!(agent_row(&stack, &name).await.is_none(), "nothing of that was stored");

    let rounded = r#"{"properties": {"n": {"maximum": 12345678901234567890.10}}}"#;
    let said = RELAYCTL.with(&schema, rounded, &[]).await;
    assert!(!said.ok && said.notes.contains("parameters_schema/properties/n/maximum"), "{said:?}");
    assert!(agent_row(&stack, &name).await.is_none(), "nor of that");

    let written = r#"{"maxProperties": 1.0, "default": 12345678901234567890.10}"#;
    assert!(RELAYCTL.with(&schema, written, &[]).await.ok);
    let listed = RELAYCTL.told(&["agents", "list", "--json"]).await;
    assert!(listed.contains("\"default\": 12345678901234567890.10"), "{listed}");
    let agents = Agents::new(stack.dynamodb.clone(), stack.output("AgentsTable").to_owned());
    agents.set_average(&name.parse().unwrap(), 4.5).await.unwrap();
    let row = agent_row(&stack, &name).await.unwrap();
    assert_eq!((&row["parameters_schema"], &row["llm_model"]), (&json!(written), &json!("m")));

    let version = stack.step_functions.publish_state_machine_version().state_machine_arn(&echo);
    let version = version.send().await.unwrap().state_machine_version_arn;
    let anew = ["agents", "put", &name, "--machine", &version, "--description", "anew"];
    RELAYCTL.told(&anew).await;
    let row = agent_row(&stack, &name).await.unwrap();
    assert_eq!(
        (&row["description"], &row["average_execution_time"]),
        (&json!("anew"), &json!(4.5))
    );
    assert_eq!(row["state_machine_arn"], version);
    assert!(row.get("parameters_schema").is_none() && row.get("llm_model").is_none(), "{row}");
}

#[tokio::test]
async fn limits_are_set_and_shown_and_an_import_leaves_them() {
    let stack = Stack::connect().await;
    let machine = stack.output("EchoMachineArn");
    let name = unique("agent");
    let put = ["agents", "put", &name, "--machine", machine];
    let limits = ["--max-concurrent", "7", "--max-concurrent-per-user", "3"];
    RELAYCTL.told(&[&put[..], &limits].concat()).await;
    RELAYCTL.told(&["agents", "pause", &name]).await;
    let listed = RELAYCTL.told(&["agents", "list"]).await;
    let line = listed.lines().find(|line| line.contains(&name)).unwrap();
    assert!(line.contains("paused") && line.contains("7, 3 per user"), "{line}");

    let row = json!([{"agent_name": name, "state_machine_arn": machine}]).to_string();
    assert!(RELAYCTL.with(&["agents", "import", "-"], &row, &[]).await.ok);
    let row = agent_row(&stack, &name).await.unwrap();
    assert_eq!((&row["max_concurrent"], &row["paused"]), (&json!(7), &json!(true)));

    RELAYCTL.told(&["agents", "resume", &name]).await;
    RELAYCTL.told(&put).await;
    let row = agent_row(&stack, &name).await.unwrap();
    assert_eq!((row.get("max_concurrent"), &row["paused"]), (None, &json!(false)));
    for wrong in ["0", "1001", "-1", "many"] {
        let said = RELAYCTL.run(&[&put[..], &["--max-concurrent", wrong]].concat()).await;
        assert!(!said.ok, "{wrong}");
    }
    assert!(!RELAYCTL.run(&["agents", "pause", &unique("nobody")]).await.ok);

    let create = ["keys", "create", "--user", &name, "--max-concurrent", "2", "--json"];
    let key = RELAYCTL.run(&create).await.json();
    let key_id = key["key_id"].as_str().unwrap();
    let rotated = RELAYCTL.run(&["keys", "rotate", key_id, "--json"]).await.json();
    assert_eq!((&key["max_concurrent"], &rotated["max_concurrent"]), (&json!(2), &json!(2)));
}

#[tokio::test]
async fn the_rows_of_a_registry_in_the_field_become_agents() {
    let stack = Stack::connect().await;
    let machine = stack.output("EchoMachineArn");
    let [good, testing, missing] = ["agent", "agent", "agent"].map(unique);
    let row = |name: &str, version: &str, status: &str, machine: &str| {
        json!({
            "agent_name": name, "version": version, "status": status, "description": version,
            "llm_provider": "anthropic", "llm_model": "claude", "system_prompt": "You are …",
            "tools": r#"[{"tool_name": "search", "enabled": true, "version": "latest"}, {"tool_id": "old", "enabled": false}]"#,
            "parameters": r#"{"temperature": 0.3}"#, "observability": r#"{"tags": []}"#,
            "metadata": json!({"state_machine_arn": machine}).to_string(),
        })
    };
    let rows = [
        row(&good, "v1.10", "active", machine),
        row(&good, "v1.9", "active", machine),
        row(&good, "v2.0", "deprecated", machine),
        row(&testing, "v0.1", "testing", machine),
        row(&missing, "v1.0", "active", &format!("{machine}-missing")),
        row("no name", "v1.0", "active", machine),
    ];
    let lines = rows.each_ref().map(Value::to_string).join("\n");

    let dry = RELAYCTL.with(&["agents", "import", "-", "--dry-run"], &lines, &[]).await;
    assert!(!dry.ok && dry.text.contains("would import, inactive"), "{dry:?}");
    assert!(agent_row(&stack, &good).await.is_none());

    let said = RELAYCTL.with(&["agents", "import", "-"], &lines, &[]).await;
    assert!(!said.ok, "two rows were refused");
    let [one, two] = ["does not exist", "must be 1 to 80"].map(|it| said.text.contains(it));
    assert!(one && two, "{said:?}");
    let stored = agent_row(&stack, &good).await.unwrap();
    assert_eq!((&stored["version"], &stored["status"]), (&json!("v1.10"), &json!("active")));
    assert_eq!(
        (&stored["tools"], &stored["state_machine_arn"]),
        (&json!(["search"]), &json!(machine))
    );
    assert_eq!(agent_row(&stack, &testing).await.unwrap()["status"], "inactive");
    assert!(agent_row(&stack, &missing).await.is_none());
    assert!(stored.get("system_prompt").is_none());

    from_a_table(&stack, &row(&unique("agent"), "v3.0", "active", machine)).await;
}

#[tokio::test]
async fn rows_as_dynamodb_and_people_write_them_are_imported_and_a_bad_one_stops_no_other() {
    let stack = Stack::connect().await;
    let machine = stack.output("EchoMachineArn");
    let [plain, typed, draft, costly, cut, large, twice] = ["agent"; 7].map(unique);
    let rows = [
        json!({
            "agent_name": plain, "version": 1.5, "status": "ACTIVE", "description": null,
            "cost_estimate": "0.01", "llm_model": null, "state_machine_arn": machine,
        }),
        json!({"agent_name": draft, "version": "2", "status": "draft", "state_machine_arn": machine}),
        json!({"Items": [{
            "agent_name": {"S": typed}, "version": {"N": "3"}, "status": {"S": "Testing"},
            "state_machine_arn": {"S": machine}, "tools": {"SS": ["x"]}, "thumb": {"B": "/w=="},
        }], "Count": 1}),
        json!({"agent_name": costly, "cost_estimate": "much", "state_machine_arn": machine}),
        json!(["no row"]),
        json!({"agent_name": large, "description": "x".repeat(1_000_000), "state_machine_arn": machine}),
        json!({"agent_name": twice, "state_machine_arn": machine}),
        json!({"agent_name": twice, "state_machine_arn": machine, "description": "other"}),
        json!({"agent_name": null, "state_machine_arn": machine}),
    ];
    let broken = format!("{{\"agent_name\": \"{cut}\", \"state_machine_arn\": \"{machine}\", ");
    let lines = rows.each_ref().map(Value::to_string).join("\r\n");
    let lines = format!("\u{feff}{broken}\r\n{lines}");

    let said = RELAYCTL.with(&["agents", "import", "-"], &lines, &[]).await;

    assert!(!said.ok, "eight rows were refused: {said:?}");
    for (name, line, field) in [
        (&*cut, "line 1 ", "is not JSON"),
        (&draft, "line 3 ", "status"),
        (&costly, "line 5 ", "cost_estimate"),
        ("(line 6)", "line 6 ", "is not an object"),
        (&large, "line 7 ", "description is too large"),
        (&twice, "line 8 ", "agent_name and version are said of something else in line 9"),
        (&twice, "line 9 ", "agent_name and version are said of something else in line 8"),
        ("(line 10)", "line 10 ", "agent_name is missing"),
    ] {
        let refused =
            |row: &str| row.starts_with(name) && row.contains(line) && row.contains(field);
        assert!(said.text.lines().any(refused), "{name}: {said:?}");
    }
    let row = agent_row(&stack, &plain).await.unwrap();
    assert_eq!((&row["version"], &row["status"]), (&json!("1.5"), &json!("active")));
    assert_eq!((&row["description"], &row["cost_estimate"]), (&json!(""), &json!(0.01)));
    let row = agent_row(&stack, &typed).await.unwrap();
    assert_eq!((&row["version"], &row["status"]), (&json!("3"), &json!("inactive")));
    assert_eq!(row["tools"], json!(["x"]));
    for name in [draft, costly, cut, large, twice] {
        assert!(agent_row(&stack, &name).await.is_none());
    }
}

/// The same out of a table that has a version as its sort key.
async fn from_a_table(stack: &Stack, row: &Value) {
    use aws_sdk_dynamodb::types::{
        AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
        ScalarAttributeType,
    };

    let table = unique("registry");
    let mut create = stack.dynamodb.create_table().table_name(&table);
    for (name, kind) in [("agent_name", KeyType::Hash), ("version", KeyType::Range)] {
        let attribute = AttributeDefinition::builder().attribute_name(name);
        let key = KeySchemaElement::builder().attribute_name(name).key_type(kind);
        create = create
            .attribute_definitions(
                attribute.attribute_type(ScalarAttributeType::S).build().unwrap(),
            )
            .key_schema(key.build().unwrap());
    }
    create.billing_mode(BillingMode::PayPerRequest).send().await.unwrap();
    let put = async |changes: &[(&str, AttributeValue)]| {
        let mut item = relay::store::item::to_item(row).unwrap();
        item.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        stack.dynamodb.put_item().table_name(&table).set_item(Some(item)).send().await.unwrap();
    };
    let bytes = AttributeValue::B(vec![0xff].into());
    put(&[("thumb", bytes.clone()), ("description", AttributeValue::Null(true))]).await;

    RELAYCTL.told(&["agents", "import", "--table", &table]).await;
    let name = row["agent_name"].as_str().unwrap();
    assert_eq!(agent_row(stack, name).await.unwrap()["version"], "v3.0");

    let [other, odd] = ["agent", "agent"].map(unique);
    put(&[("agent_name", AttributeValue::S(other.clone()))]).await;
    put(&[("agent_name", AttributeValue::S(odd.clone())), ("llm_model", bytes)]).await;
    let said = RELAYCTL.run(&["agents", "import", "--table", &table]).await;
    let refused = |line: &str| line.starts_with(&odd) && line.contains("llm_model is binary");
    assert!(!said.ok && said.text.lines().any(refused), "{said:?}");
    assert!(agent_row(stack, &other).await.is_some() && agent_row(stack, &odd).await.is_none());
}

#[tokio::test]
async fn runs_are_listed_while_they_are_open_cancelled_and_called_back_again() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let run = user.start(&json!({"agent_name": "slow", "input_message": "x"})).await;

    let open = RELAYCTL.run(&["runs", "list", "--limit", "1000", "--json"]).await.json();
    let open = open["executions"].as_array().unwrap().clone();
    assert!(open.iter().any(|it| it["execution_id"] == run), "{open:?}");
    RELAYCTL.told(&["runs", "cancel", &run]).await;
    let watched = RELAYCTL.run(&["runs", "watch", &run]).await;
    assert!(!watched.ok && watched.text.contains("cancelled"), "{watched:?}");
    assert!(watched.text.contains("error     Cancelled"), "{watched:?}");
    assert!(!RELAYCTL.run(&["runs", "cancel", &run]).await.ok, "it has ended");

    // One that asks runs, too, but is listed as what callers are told.
    let asking = user.start(&json!({"agent_name": "approval", "input_message": "x"})).await;
    user.wait_for(&asking, "input_required").await;
    for (status, is_listed) in [("input_required", true), ("running", false)] {
        let list = ["runs", "list", "--status", status, "--limit", "1000"];
        let listed = RELAYCTL.told(&list).await;
        assert_eq!(listed.contains(&asking), is_listed, "{status}: {listed}");
    }
    RELAYCTL.told(&["runs", "cancel", &asking]).await;

    let receiver = e2e::receiver::Receiver::answering(&[410, 200]).await;
    let body = json!({
        "agent_name": "echo", "input_message": "x", "parameters": {"wait_seconds": 0},
        "callback_url": receiver.url(),
    });
    let run = user.start(&body).await;
    let delivery = eventually("the delivery to be over", async || {
        let shown = RELAYCTL.run(&["runs", "show", &run, "--json"]).await.json();
        let delivery = shown["deliveries"][0].clone();
        (delivery["state"] == "undelivered").then(|| delivery["id"].as_str().unwrap().to_owned())
    })
    .await;
    let trouble = ["runs", "list", "--trouble", "--since", "1h", "--limit", "1000"];
    assert!(RELAYCTL.told(&trouble).await.contains(&run));
    RELAYCTL.told(&["runs", "redeliver", &run, &delivery]).await;
    eventually("the callback", async || {
        RELAYCTL.told(&["runs", "show", &run]).await.contains("delivered  2").then_some(())
    })
    .await;
    assert!(!RELAYCTL.told(&trouble).await.contains(&run));
}
