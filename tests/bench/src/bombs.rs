//! What is small, or allowed, and was made to take a function's memory: the most that each function
//! has at one time is held against what it has on Lambda.

use std::time::Duration;

use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use crate::{
    Bench,
    cases::{call, request},
    content::{Content, MACHINE, RUN, Stage},
};

/// Of a function on Lambda, in MB.
const MEMORY: f64 = 128.0;

struct Bomb {
    name: &'static str,
    function: &'static str,
    event: Value,
    /// What the agent has given.
    output: Option<String>,
    /// What its parameters must fit.
    schema: Option<Value>,
    /// What stands in the answer, be it of success or not.
    says: &'static str,
}

/// Sets all of them off, each in a process of its own, and panics where one takes too much.
pub(crate) fn set_off(bench: &Bench) {
    println!("\n| bomb | function | took, ms | peak, MB |\n|---|---|---:|---:|");
    let mut missed = Vec::new();
    for bomb in all() {
        let content = Content {
            stage: if bomb.output.is_some() { Stage::Completed } else { Stage::Running },
            result_bytes: 1_000,
            callback_url: String::new(),
            output: bomb.output,
            schema: bomb.schema,
        };
        let aws = bench.aws_with(content, Duration::ZERO);
        let process = bench.start_function(bomb.function, &aws);
        let answer = process.api.invoke(&Bytes::from(bomb.event.to_string()));
        let peak = process.peak_mb();
        let took = answer.took.as_secs_f64() * 1e3;
        println!("| {} | {} | {took:.0} | {peak:.0} |", bomb.name, bomb.function);
        let text = String::from_utf8_lossy(&answer.body);
        let start: String = text.chars().take(500).collect();
        if !text.contains(bomb.says) {
            missed.push(format!("{} was answered by {start}", bomb.name));
        }
        if peak >= MEMORY {
            missed.push(format!("{} took {peak:.0} MB", bomb.name));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

fn all() -> Vec<Bomb> {
    let bomb = |name, function, event, says| Bomb {
        name,
        function,
        event,
        output: None,
        schema: None,
        says,
    };
    let mut bombs = vec![
        bomb("an honest question", "status", question(&json!({"type": "object"})), "null"),
        bomb("200 patterns", "status", question(&patterns(200)), "Corrupt"),
        bomb("900 patterns", "status", question(&patterns(900)), "Corrupt"),
        bomb("the dearest patterns", "status", question(&dearest_patterns()), "null"),
        bomb("many wrong keywords", "status", question(&wrong()), "Corrupt"),
        bomb("0.9 MB of nested objects", "mcp", post(&nested(900_000)), "413"),
        bomb("5.5 MB of nested objects", "mcp", post(&nested(5_500_000)), "413"),
        bomb(
            "start_agent of 245 KB",
            "mcp",
            call("start_agent", &start(&list(245_000))),
            "jsonrpc",
        ),
        bomb("start of 245 KB", "start", rest(&start(&list(245_000))), "202"),
    ];
    let results = json!({"execution_id": RUN, "include_metadata": true});
    for (name, output) in
        [("240 KB of output", "r".repeat(240_000)), ("240 KB of quotes", "\"".repeat(120_000))]
    {
        let output = Some(json!({"result": output}).to_string());
        let event = call("get_agent_results", &results);
        bombs.push(Bomb { output, ..bomb(name, "mcp", event, "jsonrpc") });
    }
    let output = Some(format!(r#"{{"result":{}}}"#, list(240_000)));
    let one = call("get_agent_results", &results);
    let name = "240 KB of objects in an output";
    bombs.push(Bomb { output: output.clone(), ..bomb(name, "mcp", one, "jsonrpc") });
    let mut read =
        request("GET", "/v1/executions/{execution_id}/results", &json!({"execution_id": RUN}), "");
    read["queryStringParameters"] = json!({"include_metadata": "true"});
    read["multiValueQueryStringParameters"] = json!({"include_metadata": ["true"]});
    bombs.push(Bomb { output: output.clone(), ..bomb(name, "read", read, "200") });
    let message = |id: usize| {
        let params = json!({"name": "get_agent_results", "arguments": results});
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
    };
    let batch = json!((0..20).map(message).collect::<Vec<_>>()).to_string();
    let name = "20 reads of 240 KB in a batch";
    bombs.push(Bomb { output, ..bomb(name, "mcp", post(&batch), "jsonrpc") });
    for (name, schema, says) in [
        ("references doubled 16 times", doubled(16), "409"),
        ("references doubled 24 times", doubled(24), "409"),
        ("the dearest schema, and a value that does not fit", doubled(7), "too large"),
        ("a long list of what does not fit", json!({"items": {"type": "null"}}), "does not fit"),
        ("900 patterns of parameters", patterns(900), "409"),
    ] {
        let parameters = json!(vec![1; 100_000]).to_string();
        let parameters = format!(r#"{{"a":{parameters}}}"#);
        let schema = match name {
            "a long list of what does not fit" => json!({"additionalProperties": schema}),
            _ => schema,
        };
        let body = start(&parameters);
        for function in ["start", "mcp"] {
            let (event, says) = match function {
                "start" => (rest(&body), says),
                _ => (call("start_agent", &body), "jsonrpc"),
            };
            let schema = Some(schema.clone());
            bombs.push(Bomb { schema, ..bomb(name, function, event, says) });
        }
    }
    bombs
}

/// As an agent puts it on the bus.
fn question(schema: &Value) -> Value {
    json!({
        "version": "0", "id": "315c1398-40ff-a850-213b-158f73e60175", "account": "111122223333",
        "detail-type": "Agent Input Required", "source": "agent",
        "time": "2026-01-01T00:00:02Z", "region": "eu-west-1", "resources": [],
        "detail": {
            "execution_arn": format!("{}:{RUN}", MACHINE.replace("stateMachine", "execution")),
            "task_token": "token", "question": "Why?", "schema": schema,
        },
    })
}

fn post(body: &str) -> Value {
    request("POST", "/mcp", &Value::Null, body)
}

fn rest(body: &Value) -> Value {
    request("POST", "/v1/executions", &json!({}), &body.to_string())
}

fn start(parameters: &str) -> Value {
    let parameters: Value = serde_json::from_str(parameters).unwrap();
    let parameters = if parameters.is_array() { json!({"a": parameters}) } else { parameters };
    json!({"agent_name": "echo", "input_message": "Hello", "parameters": parameters})
}

/// As many values in as few bytes as can be.
fn list(bytes: usize) -> String {
    format!("[{}{{}}]", r#"{"":{}},"#.repeat(bytes / 8))
}

fn nested(bytes: usize) -> String {
    let levels = bytes / 6;
    format!("[{}1{}]", r#"{"":"#.repeat(levels), "}".repeat(levels))
}

fn patterns(count: usize) -> Value {
    let pattern = |i: usize| (format!("{i}"), json!({"pattern": format!(".{{900}}{i}")}));
    let properties: Map<_, _> = (0..count).map(pattern).collect();
    json!({"properties": properties})
}

/// Just within what patterns may cost.
fn dearest_patterns() -> Value {
    let pattern = |i: usize| (format!("{i}"), json!({"pattern": format!(".{{150}}{i}")}));
    let properties: Map<_, _> = (0..4).map(pattern).collect();
    json!({"properties": properties})
}

/// Each subschema is wrong in many ways, and the validator of schemas says so of each.
fn wrong() -> Value {
    let one = |i: usize| (format!("{i}"), json!({"type": 1, "title": 1, "pattern": 1, "enum": 1}));
    let properties: Map<_, _> = (0..700).map(one).collect();
    json!({"properties": properties, "required": vec![1; 2_000]})
}

/// A reference that is doubled at each level.
fn doubled(levels: usize) -> Value {
    let double = |level: usize| {
        let next = json!({"$ref": format!("#/$defs/{}", level + 1)});
        (level.to_string(), json!({"allOf": [next, next]}))
    };
    let mut definitions: Map<_, _> = (0..levels).map(double).collect();
    let last = json!({"additionalProperties": {"items": {"type": "string"}}});
    definitions.insert(levels.to_string(), last);
    json!({"$ref": "#/$defs/0", "$defs": definitions})
}
