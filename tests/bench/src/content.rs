//! What AWS has stored, in every answer of the stand-in: one key, one agent, and one run of it.

use http_body_util::Full;
use hyper::{Response, body::Bytes};
use serde_json::{Value, json};

pub(crate) const RUN: &str = "mcp-echo-01jf0z6v3m9q8k7w5x4y2z1abc";
pub(crate) const MACHINE: &str = "arn:aws:states:eu-west-1:111122223333:stateMachine:echo";
pub(crate) const CALLBACK_PART: &str = "delivery#completed#0#callback";
/// A key, by its whole hash.
pub(crate) const CREDENTIAL: &str =
    "ab12cd34ab12cd34ab12cd34ab12cd34ab12cd34ab12cd34ab12cd34ab12cd34";
/// In milliseconds.
const CREATED: u64 = 1_767_225_600_000;
/// Far ahead: whatever must not have come yet.
const LATER: u64 = 4_102_444_800_000;

/// How far the run has come.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stage {
    Queued,
    Running,
    Completed,
}

#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) stage: Stage,
    /// Of the run's result.
    pub(crate) result_bytes: usize,
    /// All of what the agent has given, in place of a result.
    pub(crate) output: Option<String>,
    /// What the agent's parameters must fit.
    pub(crate) schema: Option<Value>,
    /// Where the run is called back.
    pub(crate) callback_url: String,
}

impl Content {
    /// The answer to an operation with this body.
    pub(crate) fn answer(&self, operation: &str, body: &Bytes) -> Response<Full<Bytes>> {
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let response = Response::builder();
        if operation == "PutMetricData" {
            const EMPTY_MAP: &[u8] = &[0xa0];
            let response = response.header("smithy-protocol", "rpc-v2-cbor");
            return response.body(Full::from(EMPTY_MAP)).unwrap();
        }
        let answer = match operation {
            "GetItem" => match self.item(&request["TableName"], &request["Key"]) {
                Some(item) => json!({"Item": stored(&item)}),
                None => json!({}),
            },
            "BatchGetItem" => {
                let keys = request["RequestItems"]["executions"]["Keys"].as_array().unwrap();
                let items = keys.iter().filter_map(|key| {
                    let mut item = self.item(&json!("executions"), key)?;
                    item["part"] = key["part"]["S"].clone();
                    Some(stored(&item))
                });
                json!({"Responses": {"executions": items.collect::<Vec<_>>()}, "UnprocessedKeys": {}})
            }
            "UpdateItem" => match self.item(&request["TableName"], &request["Key"]) {
                Some(mut item) if request["ReturnValues"].is_string() => {
                    // It was claimed by this.
                    item["launch_tries"] = json!(1);
                    json!({"Attributes": stored(&item)})
                }
                _ => json!({}),
            },
            "Query" if request["IndexName"] == "user" => {
                json!({"Items": vec![stored(&self.state()); 20], "Count": 20, "ScannedCount": 20})
            }
            "Query" => json!({"Items": [], "Count": 0, "ScannedCount": 0}),
            "SendMessage" => json!({"MessageId": "5fea7756-0ea4-451a-a703-a558b933e274"}),
            "StartExecution" => json!({
                "executionArn": format!("{}:{RUN}", MACHINE.replace("stateMachine", "execution")),
                "startDate": CREATED / 1000,
            }),
            "PutEvents" => json!({"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}),
            "GetSecretValue" => json!({"Name": "secret", "SecretString": "0123456789abcdef"}),
            "DescribeSecret" => json!({"VersionIdsToStages": {"new": ["AWSCURRENT"]}}),
            // Of the receiver, and of a knock.
            "TransactWriteItems" | "PutItem" | "POST" | "GET" => json!({}),
            other => panic!("the stand-in does not know {other}"),
        };
        let response = response.header("content-type", "application/x-amz-json-1.0");
        response.body(Full::from(answer.to_string())).unwrap()
    }

    fn item(&self, table: &Value, key: &Value) -> Option<Value> {
        match table.as_str()? {
            "api_keys" => Some(json!({
                "user_id": "somebody", "rate_limit": 60, "created_at": CREATED,
                "permissions": ["execute:*", "view:*", "cancel:*"],
            })),
            "agents" => Some(with_schema(
                self.schema.as_ref(),
                json!({
                    "agent_name": "echo", "status": "active", "state_machine_arn": MACHINE,
                    "description": "Answers with what it was told.", "version": "1.0.0", "tools": [],
                    "average_execution_time": 2.05,
                }),
            )),
            _ => match key["part"]["S"].as_str()? {
                "state" => Some(self.state()),
                "input" => {
                    Some(json!({"input": r#"{"messages":[{"role":"user","content":"Hello"}]}"#}))
                }
                "callback" => Some(json!({
                    "url": self.callback_url,
                    "holder": {"credential": CREDENTIAL, "lineage": CREDENTIAL},
                })),
                "output" => Some(json!({
                    "output": self.output.clone().unwrap_or_else(|| {
                        json!({"result": "r".repeat(self.result_bytes)}).to_string()
                    }),
                    "redrive_count": 0, "rank": 90,
                })),
                CALLBACK_PART => Some(Self::delivery()),
                // A line in which nobody stands.
                "rate" => Some(json!({"line_end": 1})),
                _ => None,
            },
        }
    }

    fn state(&self) -> Value {
        let (status, rank) = match self.stage {
            Stage::Queued => ("queued", 0),
            Stage::Running => ("running", 20),
            Stage::Completed => ("completed", 90),
        };
        let mut state = json!({
            "execution_id": RUN, "user_id": "somebody", "agent_name": "echo",
            "state_machine_arn": MACHINE, "status": status, "rank": rank, "redrive_count": 0,
            "created_at": CREATED, "updated_at": CREATED, "estimated_ms": 2050, "sequence": 0,
            "tags": {"order": "4711"}, "callback_events": ["execution.completed"],
            "launch_before": LATER, "launch_delays": 0,
        });
        if !matches!(self.stage, Stage::Queued) {
            state["started_at"] = json!(CREATED + 100);
        }
        match self.stage {
            Stage::Completed => state["completed_at"] = json!(CREATED + 2_100),
            Stage::Queued | Stage::Running => {
                state["due_at"] = json!(LATER);
                state["debt"] = json!("launch#7");
            }
        }
        state
    }

    fn delivery() -> Value {
        json!({
            "execution_id": RUN, "part": CALLBACK_PART, "user_id": "somebody", "agent_name": "echo",
            "news": "execution.completed", "redrive_count": 0, "rank": 90, "occurred_at": CREATED,
            "started_at": CREATED, "completed_at": CREATED, "state": "pending", "attempts": [],
            "webhook_id": "msg_c5f17ca7697d2e688b69fcc7f268afd6", "attempt_count": 1,
            "next_attempt_at": CREATED, "lease": "mine", "leased_until": LATER, "due_at": LATER,
            "debt": "delivery#7", "ttl": LATER / 1000,
        })
    }
}

fn with_schema(schema: Option<&Value>, mut agent: Value) -> Value {
    if let Some(schema) = schema {
        agent["parameters_schema"] = json!(schema.to_string());
    }
    agent
}

/// An item in DynamoDB's own words.
fn stored(item: &Value) -> Value {
    item.as_object().unwrap().iter().map(|(name, value)| (name.clone(), attribute(value))).collect()
}

fn attribute(value: &Value) -> Value {
    match value {
        Value::Null => json!({"NULL": true}),
        Value::Bool(value) => json!({"BOOL": value}),
        Value::Number(number) => json!({"N": number.to_string()}),
        Value::String(text) => json!({"S": text}),
        Value::Array(values) => json!({"L": values.iter().map(attribute).collect::<Vec<_>>()}),
        Value::Object(_) => json!({"M": stored(value)}),
    }
}
