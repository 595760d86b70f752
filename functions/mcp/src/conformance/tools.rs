//! Fixture tools. Those that become tasks start example agents, so that the suite looks at real runs.

use std::sync::Arc;

use relay::domain::json::Json;
use rmcp::{
    ErrorData,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, JsonObject,
        LoggingLevel, LoggingMessageNotificationParam, ProgressNotificationParam, Tool,
    },
};
use serde_json::{Value, json};

use super::{
    protocol::{Context, typed},
    questions::{self, Step},
};
use crate::{
    server::{Server, caller},
    tools,
};

/// A single pixel.
pub(super) const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
/// A single sample.
const WAV: &str = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=";

/// Tools that take no arguments.
const PLAIN: [&str; 25] = [
    "test_simple_text",
    "test_image_content",
    "test_audio_content",
    "test_embedded_resource",
    "test_multiple_content_types",
    "test_error_handling",
    "test_tool_with_progress",
    "test_tool_with_logging",
    "test_logging_tool",
    "test_missing_capability",
    "test_streaming_elicitation",
    "test_reconnection",
    "test_input_required_result_elicitation",
    "test_input_required_result_sampling",
    "test_input_required_result_list_roots",
    "test_input_required_result_request_state",
    "test_input_required_result_multiple_inputs",
    "test_input_required_result_multi_round",
    "test_input_required_result_tampered_state",
    "test_input_required_result_capabilities",
    "test_tool_with_task",
    "confirm_delete",
    "multi_input",
    "failing_job",
    "protocol_error_job",
];

pub(super) fn list() -> Vec<Tool> {
    let tool = |name: &'static str, schema: Value| {
        let schema: JsonObject = schema.as_object().cloned().unwrap_or_default();
        Tool::new(name, "A fixture of the conformance suite.", Arc::new(schema))
    };
    let mut tools: Vec<Tool> =
        PLAIN.iter().map(|name| tool(name, json!({"type": "object"}))).collect();
    let text = json!({"type": "string"});
    tools.extend([
        tool("greet", json!({"type": "object", "properties": {"name": text}})),
        tool(
            "slow_compute",
            json!({"type": "object", "properties": {"seconds": {"type": "integer"}, "label": text}}),
        ),
        tool(
            "test_parameter_header",
            json!({"type": "object", "properties": {
                "region": {"type": "string", "x-mcp-header": "Region"},
            }}),
        ),
        tool("json_schema_2020_12_tool", json_schema()),
    ]);
    tools
}

pub(super) async fn call(
    server: &Server,
    request: &CallToolRequestParams,
    context: &Context,
) -> Result<CallToolResponse, ErrorData> {
    let argument = |name: &str| request.arguments.as_ref().and_then(|it| it.get(name)).cloned();
    let text = |text: &str| json!([{"type": "text", "text": text}]);
    let blocks = match request.name.as_ref() {
        "test_image_content" => json!([image()]),
        "test_audio_content" => json!([{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]),
        "test_embedded_resource" => json!([resource()]),
        "test_multiple_content_types" => {
            json!([{"type": "text", "text": "Text."}, image(), resource()])
        }
        "test_error_handling" => {
            return answer(json!({"content": text("This fixture fails."), "isError": true}));
        }
        "test_tool_with_progress" => {
            report_progress(context).await?;
            text("Done.")
        }
        "test_tool_with_logging" => {
            log(context).await?;
            text("Done.")
        }
        "test_missing_capability" => {
            let lacking = context.client_capabilities().is_none_or(|it| it.sampling.is_none());
            if lacking {
                return Err(lacks(json!({"sampling": {}}))?);
            }
            text("Nothing is missing.")
        }
        "greet" => {
            let name = argument("name").unwrap_or_default();
            text(&format!("Hello, {}!", name.as_str().unwrap_or_default()))
        }
        "slow_compute" => {
            let seconds = argument("seconds").unwrap_or(json!(0));
            let label = argument("label").unwrap_or(json!("no label"));
            let start = json!({
                "agent_name": "echo", "input_message": label, "parameters": {"wait_seconds": seconds},
            });
            return run(server, start, false, context).await;
        }
        // Agents that ask, one thing or two at once.
        name @ ("confirm_delete" | "multi_input") => {
            let start = json!({"agent_name": name, "input_message": "Shall it go on?"});
            return run(server, start, false, context).await;
        }
        "failing_job" => {
            let start = json!({"agent_name": "fail", "input_message": "Fail."});
            return run(server, start, true, context).await;
        }
        "protocol_error_job" => {
            // Its state machine does not exist, so that it can never be launched.
            let start = json!({"agent_name": "missing", "input_message": "Never run."});
            return run(server, start, true, context).await;
        }
        name if name.starts_with("test_input_required_result_")
            || matches!(name, "test_streaming_elicitation" | "test_tool_with_task") =>
        {
            let (responses, state) =
                (request.input_responses.as_ref(), request.request_state.as_deref());
            if let Step::Ask(questions) = questions::next(name, responses, state, context)? {
                return Ok(questions.into());
            }
            let answered = json!(responses).to_string();
            if name == "test_tool_with_task" {
                let start = json!({
                    "agent_name": "echo", "input_message": answered, "parameters": {"wait_seconds": 0},
                });
                return run(server, start, true, context).await;
            }
            text(&format!("state-ok: {answered}"))
        }
        name if list().iter().any(|tool| tool.name == name) => text("A fixture's text."),
        name => return Err(ErrorData::invalid_params(format!("unknown tool: {name}"), None)),
    };
    answer(json!({"content": blocks}))
}

fn answer(result: Value) -> Result<CallToolResponse, ErrorData> {
    typed::<CallToolResult>(result).map(Into::into)
}

/// Starts an agent as `start_agent` does: as a task, or until its end for a client that knows no
/// tasks.
async fn run(
    server: &Server,
    mut start: Value,
    only_as_task: bool,
    context: &Context,
) -> Result<CallToolResponse, ErrorData> {
    let as_task = context.client_capabilities().is_some_and(|it| it.supports_tasks());
    if only_as_task && !as_task {
        return Err(lacks(json!({"extensions": {"io.modelcontextprotocol/tasks": {}}}))?);
    }
    if !as_task {
        start["wait_seconds"] = json!(20);
    }
    let arguments = Json::of(&start);
    let Server { services, change } = server;
    let caller = caller(context)?;
    let answer = tools::call(services, change, &caller, "start_agent", &arguments, as_task).await;
    answer.ok_or_else(|| ErrorData::internal_error("there is no tool start_agent", None))
}

fn lacks(capabilities: Value) -> Result<ErrorData, ErrorData> {
    let capabilities: ClientCapabilities = serde_json::from_value(capabilities)
        .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    Ok(ErrorData::missing_required_client_capability(capabilities))
}

async fn report_progress(context: &Context) -> Result<(), ErrorData> {
    let Some(token) = context.meta.get_progress_token() else { return Ok(()) };
    for progress in [0.0, 50.0, 100.0] {
        let report = ProgressNotificationParam::new(token.clone(), progress).with_total(100.0);
        let sent = context.peer.notify_progress(report).await;
        sent.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    }
    Ok(())
}

async fn log(context: &Context) -> Result<(), ErrorData> {
    for message in ["started", "processing", "completed"] {
        let record = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!(message));
        let sent = context.peer.notify_logging_message(record).await;
        sent.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    }
    Ok(())
}

fn image() -> Value {
    json!({"type": "image", "data": PNG, "mimeType": "image/png"})
}

fn resource() -> Value {
    json!({"type": "resource", "resource": {
        "uri": "test://embedded", "mimeType": "text/plain", "text": "Embedded.",
    }})
}

/// The schema that the suite wants to get back as it is.
fn json_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            },
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    })
}
