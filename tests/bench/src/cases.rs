//! What each function is asked, and how it is known that it has done it.

use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::{
    content::{CALLBACK_PART, CREDENTIAL, MACHINE, RUN, Stage},
    runtime_api::Answer,
};

/// One operation of one function.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) function: &'static str,
    pub(crate) event: Value,
    pub(crate) stage: Stage,
    pub(crate) result_bytes: usize,
    /// What stands in the answer of an invocation that has succeeded.
    says: &'static str,
    /// The most that it may take over what AWS takes, as the median, in milliseconds.
    pub(crate) overhead_limit: Option<f64>,
    /// Whether somebody waits for the first invocation, so that connections are opened for it before.
    pub(crate) is_prepared: bool,
}

impl Case {
    fn new(name: &'static str, function: &'static str, event: Value, says: &'static str) -> Self {
        let (stage, result_bytes, overhead_limit) = (Stage::Completed, 1_000, None);
        let is_prepared = !["floor", "sweep", "rotate"].contains(&function);
        Self { name, function, event, stage, result_bytes, says, overhead_limit, is_prepared }
    }

    fn at(self, stage: Stage) -> Self {
        Self { stage, ..self }
    }

    fn within(self, overhead_limit: f64) -> Self {
        Self { overhead_limit: Some(overhead_limit), ..self }
    }

    /// Panics unless the invocation did what it was to do, and gives what it took.
    pub(crate) fn check(&self, answer: &Answer) -> f64 {
        let text = String::from_utf8_lossy(&answer.body);
        assert!(answer.is_response && text.contains(self.says), "{}: {text}", self.name);
        answer.took.as_secs_f64() * 1e3
    }

    pub(crate) fn payload(&self) -> Bytes {
        Bytes::from(self.event.to_string())
    }
}

/// The first of each function is what its cold start is measured with.
pub(crate) fn all() -> Vec<Case> {
    let run = json!({"execution_id": RUN});
    let one = "/v1/executions/{execution_id}";
    let start = json!({"agent_name": "echo", "input_message": "Hello", "tags": {"order": "4711"}});
    let launch = json!({"execution_id": RUN});
    let deliver = json!({"execution_id": RUN, "part": CALLBACK_PART});
    let rotation = json!({"Step": "testSecret", "SecretId": "secret", "ClientRequestToken": "new"});
    vec![
        Case::new("floor", "floor", json!({}), "200"),
        Case::new("authorize", "authorizer", request("GET", one, &run, ""), "Allow").within(0.4),
        Case::new("monitor", "read", request("GET", one, &run, ""), "completed").within(0.4),
        Case {
            result_bytes: 250_000,
            ..Case::new("monitor, 250 KB", "read", request("GET", one, &run, ""), "completed")
        }
        .within(0.4),
        Case::new("results", "read", request("GET", &format!("{one}/results"), &run, ""), "rrr")
            .within(0.4),
        Case::new("list of 20", "read", request("GET", "/v1/executions", &json!({}), ""), RUN),
        Case::new(
            "start",
            "start",
            request("POST", "/v1/executions", &json!({}), &start.to_string()),
            "202",
        )
        .within(1.0),
        Case::new("launch", "launch", message(&launch), r#""batchItemFailures":[]"#)
            .at(Stage::Queued),
        Case::new("status, running", "status", status_change("RUNNING", &Value::Null), "null")
            .at(Stage::Queued),
        Case::new(
            "status, end",
            "status",
            status_change("SUCCEEDED", &json!(r#"{"result":"Hello"}"#)),
            "null",
        )
        .at(Stage::Running),
        Case::new("webhook", "webhook", message(&deliver), r#""batchItemFailures":[]"#),
        Case::new("tool: monitor_agent", "mcp", call("monitor_agent", &run), "completed"),
        Case::new("tool: start_agent", "mcp", call("start_agent", &start_arguments()), RUN_PREFIX),
        Case::new("sweep, nothing due", "sweep", json!({}), r#""failed":0"#),
        Case::new("rotate, a step", "rotate", rotation, "null"),
    ]
}

const RUN_PREFIX: &str = "mcp-echo-";

fn start_arguments() -> Value {
    json!({"agent_name": "echo", "input_message": "Hello"})
}

/// As API Gateway sends it, to a function or to the authorizer.
pub(crate) fn request(method: &str, resource: &str, parameters: &Value, body: &str) -> Value {
    let path = resource.replace("{execution_id}", RUN);
    let headers = json!({
        "Host": "abc123.execute-api.eu-west-1.amazonaws.com", "User-Agent": "curl/8.5.0",
        "Accept": "application/json, text/event-stream", "content-type": "application/json",
        "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Port": "443", "X-Forwarded-Proto": "https",
        "x-api-key": "relay_0123456789abcdef0123456789abcdef0123456789a",
    });
    let many: Value = headers
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), json!([value])))
        .collect();
    json!({
        "type": "REQUEST",
        "methodArn": format!("arn:aws:execute-api:eu-west-1:111122223333:abc123/live/{method}{path}"),
        "resource": resource, "path": path, "httpMethod": method,
        "headers": headers, "multiValueHeaders": many,
        "queryStringParameters": null, "multiValueQueryStringParameters": null,
        "pathParameters": parameters, "stageVariables": null,
        "requestContext": {
            "resourceId": "x1", "resourcePath": resource, "httpMethod": method,
            "extendedRequestId": "e", "requestTime": "01/Jan/2026:00:00:00 +0000",
            "requestTimeEpoch": 1_767_225_600_000_u64, "path": format!("/live{path}"),
            "accountId": "111122223333", "protocol": "HTTP/1.1", "stage": "live",
            "domainName": "abc123.execute-api.eu-west-1.amazonaws.com", "requestId": "r", "apiId": "abc123",
            "identity": {"sourceIp": "203.0.113.9", "userAgent": "curl/8.5.0"},
            "authorizer": {
                "principalId": "somebody", "user_id": "somebody", "key_id": "ab12cd34ab12cd34",
                "credential": CREDENTIAL, "lineage": CREDENTIAL,
                "permissions": r#"["execute:*","view:*"]"#, "rate_limit": "60", "integrationLatency": 5,
            },
        },
        "body": (!body.is_empty()).then_some(body), "isBase64Encoded": false,
    })
}

/// A tool's call to `/mcp`.
pub(crate) fn call(tool: &str, arguments: &Value) -> Value {
    let params = json!({"name": tool, "arguments": arguments});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    request("POST", "/mcp", &Value::Null, &message.to_string())
}

/// As a queue hands it over.
fn message(body: &Value) -> Value {
    json!({"Records": [{
        "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d", "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
        "body": body.to_string(), "md5OfBody": "", "messageAttributes": {},
        "attributes": {
            "ApproximateReceiveCount": "1", "SentTimestamp": "1767225600000",
            "SenderId": "AIDAIENQZJOLO23YVJ4VO", "ApproximateFirstReceiveTimestamp": "1767225600001",
        },
        "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:111122223333:queue", "awsRegion": "eu-west-1",
    }]})
}

/// As Step Functions tells it.
fn status_change(status: &str, output: &Value) -> Value {
    let arn = format!("{}:{RUN}", MACHINE.replace("stateMachine", "execution"));
    json!({
        "version": "0", "id": "315c1398-40ff-a850-213b-158f73e60175", "account": "111122223333",
        "detail-type": "Step Functions Execution Status Change", "source": "aws.states",
        "time": "2026-01-01T00:00:02Z", "region": "eu-west-1", "resources": [arn],
        "detail": {
            "executionArn": arn, "stateMachineArn": MACHINE, "name": RUN, "status": status,
            "startDate": 1_767_225_600_100_u64,
            "stopDate": (status != "RUNNING").then_some(1_767_225_602_100_u64),
            "input": "{}", "inputDetails": {"included": true},
            "output": output, "outputDetails": {"included": true}, "redriveCount": 0,
            "redriveStatus": "NOT_REDRIVABLE", "error": null, "cause": null,
        },
    })
}
