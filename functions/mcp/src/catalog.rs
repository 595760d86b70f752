//! The definitions of the tools: what each takes and gives, as clients and models read it.

use std::sync::{Arc, LazyLock};

use relay::{
    domain::{
        batch::{ItemBody, MAX_ITEMS},
        id::AgentName,
        json::Json,
        status::Status,
    },
    http::{
        answer::{
            batch::BatchReceipt,
            lists::{AgentList, ExecutionList},
            monitor::{Monitor, Receipt},
            results::Results,
        },
        body::{Answered, Cancelling},
        openapi::schema::simplify,
    },
};
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// API Gateway answers for a function that takes longer than 29 s.
const MAX_WAIT: u32 = 20;

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct StartArguments {
    /// The name of the agent to start. `list_available_agents` returns the names.
    pub(crate) agent_name: String,
    /// The message to the agent: what it should do.
    pub(crate) input_message: String,
    /// Settings for the agent. Each agent defines its own.
    #[serde(default)]
    #[schemars(with = "Option<JsonObject>")]
    pub(crate) parameters: Option<Json>,
    /// An https URL that receives the outcome when the agent ends.
    #[serde(default)]
    pub(crate) callback_url: Option<String>,
    /// An idempotency token that you choose, 1 to 255 visible characters. A second call with the
    /// same token and arguments starts nothing and returns the first answer again.
    #[serde(default)]
    pub(crate) client_token: Option<String>,
    /// How many seconds this call waits for the outcome, at most 20. An agent that takes longer, or
    /// asks a question, keeps running; poll it with `monitor_agent`.
    #[serde(default)]
    #[schemars(range(max = MAX_WAIT))]
    pub(crate) wait_seconds: Option<u32>,
    /// How many seconds from now the agent is started, at most 30 days.
    #[serde(default)]
    pub(crate) delay_seconds: Option<u32>,
    /// When the agent is started, in the format of RFC 3339, at most 30 days ahead. Not together with
    /// `delay_seconds`.
    #[serde(default)]
    pub(crate) start_at: Option<String>,
    /// Where executions wait for the agent: how many seconds earlier this one counts as started, at most
    /// 3600.
    #[serde(default)]
    pub(crate) priority: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct BatchArguments {
    /// The name of the agent of each item that names none.
    #[serde(default)]
    pub(crate) agent_name: Option<String>,
    /// What to start, 1 to 100 items. Each has an `input_message`, and may have an `agent_name`,
    /// `parameters` and `tags`.
    #[schemars(length(min = 1, max = MAX_ITEMS))]
    pub(crate) items: Vec<ItemBody>,
    /// An https URL that is told when all of these executions have ended.
    #[serde(default)]
    pub(crate) callback_url: Option<String>,
    /// As for `start_agent`.
    #[serde(default)]
    pub(crate) client_token: Option<String>,
    /// As for `start_agent`.
    #[serde(default)]
    pub(crate) delay_seconds: Option<u32>,
    /// As for `start_agent`.
    #[serde(default)]
    pub(crate) start_at: Option<String>,
    /// As for `start_agent`.
    #[serde(default)]
    pub(crate) priority: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ExecutionArguments {
    /// The `execution_id` that `start_agent` returned.
    pub(crate) execution_id: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct RerunArguments {
    /// The `execution_id` of the earlier execution.
    pub(crate) execution_id: String,
    /// As for `start_agent`.
    #[serde(default)]
    pub(crate) client_token: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ResultsArguments {
    /// The `execution_id` that `start_agent` returned.
    pub(crate) execution_id: String,
    /// Whether to include the input, the tags and the agent's raw output.
    #[serde(default)]
    pub(crate) include_metadata: bool,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct AnswerArguments {
    /// The `execution_id` of the execution whose status is `input_required`.
    pub(crate) execution_id: String,
    /// The answer to the question, as text. If the question's `schema` requires something other than
    /// a string, write it as JSON text, such as `{"approved": true}`.
    #[schemars(with = "String")]
    pub(crate) answer: Json,
    /// The id of the question to answer, from the execution's `questions`. Required if there is more
    /// than one.
    #[serde(default)]
    pub(crate) question_id: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct NoArguments {}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ListArguments {
    /// Only executions of this agent.
    #[serde(default)]
    pub(crate) agent_name: Option<AgentName>,
    /// Only executions with this status.
    #[serde(default)]
    pub(crate) status: Option<Status>,
    /// Only the executions of this batch.
    #[serde(default)]
    pub(crate) batch_id: Option<String>,
    /// Only executions with this tag, as `key=value`.
    #[serde(default)]
    pub(crate) tag: Option<String>,
    /// Only executions created at this time or later, in the format of RFC 3339.
    #[serde(default)]
    pub(crate) created_after: Option<String>,
    /// Only executions created before this time, in the format of RFC 3339.
    #[serde(default)]
    pub(crate) created_before: Option<String>,
    /// Only executions that failed or timed out, or that have an event that could not be delivered.
    #[serde(default)]
    pub(crate) trouble: bool,
    /// The maximum number of executions to return, 1 to 100. The default is 20.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    pub(crate) limit: Option<usize>,
    /// The `next_cursor` of the previous page, to get the next one.
    #[serde(default)]
    pub(crate) cursor: Option<String>,
}

/// What `start_agent` returns: the receipt, with the agent's questions if it asked any while the call
/// waited; or the outcome of an agent that ended in that time.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("type" = "object"))]
pub(crate) enum StartAnswer<'a> {
    Ended(&'a Results),
    Started(&'a Receipt),
}

/// They are the same in every answer.
static TOOLS: LazyLock<Vec<Tool>> = LazyLock::new(list);

pub(crate) fn all() -> &'static [Tool] {
    &TOOLS
}

pub(crate) fn find(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

fn list() -> Vec<Tool> {
    let reads = || ToolAnnotations::new().read_only(true).open_world(false);
    vec![
        tool::<StartArguments, StartAnswer<'_>>(
            "start_agent",
            "Start an agent",
            "Starts an agent with a message and returns an execution_id immediately. Poll it with \
             monitor_agent, then call get_agent_results. Set client_token so that a repeated call does \
             not start the agent twice.",
            ToolAnnotations::new().read_only(false).destructive(false).idempotent(false),
        ),
        tool::<BatchArguments, BatchReceipt>(
            "start_agents",
            "Start many agents",
            "Starts up to 100 agents at once, as a batch, and returns a batch_id and the execution_id of each. \
             List them with list_executions and the batch_id.",
            ToolAnnotations::new().read_only(false).destructive(false).idempotent(false),
        ),
        tool::<ExecutionArguments, Monitor>(
            "monitor_agent",
            "Get the status of an execution",
            "Returns the status, progress, times and open questions of an execution.",
            reads(),
        ),
        tool::<ResultsArguments, Results>(
            "get_agent_results",
            "Get the results of an execution",
            "Returns the result of an execution that has ended, or the error if it has no result. If \
             the execution has not ended, returns only its status.",
            reads(),
        ),
        tool::<NoArguments, AgentList>(
            "list_available_agents",
            "List the agents",
            "Lists the agents that you can start, with a description of each.",
            reads(),
        ),
        tool::<ListArguments, ExecutionList>(
            "list_executions",
            "List executions",
            "Lists your executions, newest first.",
            reads(),
        ),
        tool::<AnswerArguments, Answered>(
            "answer_agent",
            "Answer an agent",
            "Answers a question that an agent asks while its execution has the status input_required. \
             monitor_agent returns the questions. Each question can be answered once.",
            ToolAnnotations::new().read_only(false).destructive(false).idempotent(true),
        ),
        tool::<RerunArguments, Receipt>(
            "rerun_agent",
            "Start an execution again",
            "Starts a new execution with the same input as an earlier one.",
            ToolAnnotations::new().read_only(false).destructive(false).idempotent(false),
        ),
        tool::<ExecutionArguments, Cancelling>(
            "stop_agent",
            "Stop an execution",
            "Cancels an execution that has not ended yet. Its status becomes cancelled within seconds, \
             unless it ends by itself first.",
            ToolAnnotations::new().read_only(false).destructive(true).idempotent(true),
        ),
    ]
}

fn tool<Arguments: JsonSchema, Answer: JsonSchema>(
    name: &'static str,
    title: &'static str,
    description: &'static str,
    annotations: ToolAnnotations,
) -> Tool {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .with_transform(RecursiveTransform(simplify));
    let input =
        settings.clone().for_deserialize().into_generator().into_root_schema_for::<Arguments>();
    let output = settings.for_serialize().into_generator().into_root_schema_for::<Answer>();
    let object = |schema: Schema| {
        let mut object = schema.as_object().cloned().unwrap_or_default();
        // The type's name and the note on it are for readers of our code.
        object.remove("title");
        object.remove("description");
        object
    };
    let mut input = object(input);
    flatten(&mut input);
    // Clients pass it on to APIs of models, some of which do not know this, and some of which refuse an
    // object without properties.
    input.remove("$schema");
    input.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    Tool::new(name, description, Arc::new(input))
        .with_title(title)
        .with_raw_output_schema(Arc::new(object(output)))
        .with_annotations(annotations.open_world(false))
}

/// Brings a schema of arguments into the form that all APIs of models read: each value has one type,
/// and a choice of words is a list. That an argument is optional is said by `required` alone.
fn flatten(schema: &mut JsonObject) {
    for choice in ["anyOf", "oneOf"] {
        let Some(Value::Array(options)) = schema.remove(choice) else { continue };
        let mut options = options.into_iter().filter(|option| option["type"] != "null");
        let words: Option<Vec<Vec<Value>>> = options.clone().map(|option| words(&option)).collect();
        if let Some(words) = words {
            schema.insert("type".to_owned(), "string".into());
            schema.insert("enum".to_owned(), words.concat().into());
        } else if let Some(Value::Object(only)) = options.next() {
            for (name, value) in only {
                schema.entry(name).or_insert(value);
            }
        }
    }
    if let Some(Value::Array(types)) = schema.get("type") {
        let only = types.iter().find(|name| *name != "null").cloned().unwrap_or_default();
        schema.insert("type".to_owned(), only);
    }
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    // The one says no more than that an argument is optional; others than those named are ignored.
    for name in ["default", "additionalProperties"] {
        schema.remove(name);
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().filter_map(Value::as_object_mut).for_each(flatten);
    }
    if let Some(Value::Object(items)) = schema.get_mut("items") {
        flatten(items);
    }
}

/// The words of a choice.
fn words(option: &Value) -> Option<Vec<Value>> {
    if let Some(word) = option.get("const") {
        return Some(vec![word.clone()]);
    }
    if let Some(words) = option.get("enum") {
        return words.as_array().cloned();
    }
    let options = option.get("oneOf")?.as_array()?;
    let words: Option<Vec<Vec<Value>>> = options.iter().map(words).collect();
    words.map(|words| words.concat())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_tool_says_what_it_takes_and_gives() {
        let tools = list();

        let names: Vec<_> = tools.iter().map(|tool| tool.name.as_ref()).collect();
        assert_eq!(
            names,
            [
                "start_agent",
                "start_agents",
                "monitor_agent",
                "get_agent_results",
                "list_available_agents",
                "list_executions",
                "answer_agent",
                "rerun_agent",
                "stop_agent"
            ]
        );
        for tool in &tools {
            for schema in [&tool.input_schema, tool.output_schema.as_ref().unwrap()] {
                assert_eq!(schema["type"], "object", "{}", tool.name);
                jsonschema::validator_for(&Value::Object((**schema).clone())).unwrap();
            }
            let text = serde_json::to_string(tool).unwrap();
            for odd in [r#""result":true"#, "uint", "double"] {
                assert!(!text.contains(odd), "{}: {odd}", tool.name);
            }
        }
        assert_eq!(tools[0].input_schema["required"], json!(["agent_name", "input_message"]));
        assert_eq!(tools[1].input_schema["required"], json!(["items"]));
        assert_eq!(tools[2].input_schema["required"], json!(["execution_id"]));
    }

    /// What `OpenAI`'s function calling reads of a schema, strict mode included
    /// (<https://platform.openai.com/docs/guides/structured-outputs#supported-schemas>).
    const OPENAI: &[&str] = &[
        "type",
        "description",
        "properties",
        "required",
        "items",
        "enum",
        "anyOf",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minItems",
        "maxItems",
        "additionalProperties",
        "$ref",
        "$defs",
    ];
    /// The fields of Gemini's `Schema` (<https://ai.google.dev/api/caching#Schema>).
    const GEMINI: &[&str] = &[
        "type",
        "description",
        "properties",
        "required",
        "items",
        "enum",
        "anyOf",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "minItems",
        "maxItems",
        "title",
        "nullable",
        "minLength",
        "maxLength",
        "minProperties",
        "maxProperties",
        "example",
        "propertyOrdering",
        "default",
    ];
    /// The types that both know, without null, which each of them writes in its own way.
    const TYPES: &[&str] = &["string", "integer", "number", "boolean", "object", "array"];

    /// Whether both can read it, down to its leaves.
    fn check_for_models(place: &str, schema: &Value) {
        for name in schema.as_object().unwrap().keys() {
            assert!(OPENAI.contains(&name.as_str()), "{place}: OpenAI does not read {name}");
            assert!(GEMINI.contains(&name.as_str()), "{place}: Gemini does not read {name}");
        }
        let kind = schema["type"].as_str().unwrap_or_else(|| panic!("{place} has not one type"));
        assert!(TYPES.contains(&kind), "{place}: {kind}");
        if let Some(words) = schema.get("enum") {
            // Gemini takes words alone.
            assert!(kind == "string" && words.as_array().unwrap().iter().all(Value::is_string));
        }
        if let Some(properties) = schema.get("properties") {
            for (name, property) in properties.as_object().unwrap() {
                check_for_models(&format!("{place}.{name}"), property);
            }
        }
        assert_eq!(kind == "array", schema.get("items").is_some(), "{place}");
        if let Some(items) = schema.get("items") {
            check_for_models(&format!("{place}[]"), items);
        }
    }

    #[test]
    fn the_apis_of_models_can_read_what_each_tool_takes() {
        for tool in all() {
            let schema = Value::Object((*tool.input_schema).clone());
            assert!(schema["properties"].is_object(), "{}", tool.name);
            check_for_models(&tool.name, &schema);
            let required = schema.get("required").and_then(Value::as_array).cloned();
            for name in required.unwrap_or_default() {
                assert!(schema["properties"].get(name.as_str().unwrap()).is_some(), "{name}");
            }
            for property in schema["properties"].as_object().unwrap().values() {
                let described = property["description"].as_str().is_some_and(|it| !it.is_empty());
                assert!(described, "{}: {property}", tool.name);
            }
        }
        let property =
            |tool: &str, name: &str| find(tool).unwrap().input_schema["properties"][name].clone();
        let status = property("list_executions", "status");
        assert_eq!(
            (&status["type"], status["enum"].as_array().unwrap().len()),
            (&json!("string"), 8)
        );
        let limit = property("list_executions", "limit");
        assert_eq!(
            (&limit["type"], &limit["minimum"], &limit["maximum"]),
            (&json!("integer"), &json!(1), &json!(100))
        );
        assert_eq!(property("start_agent", "wait_seconds")["maximum"], 20);
        assert_eq!(property("start_agent", "parameters")["type"], "object");
        assert_eq!(property("answer_agent", "answer")["type"], "string");
        assert_eq!(find("list_available_agents").unwrap().input_schema["properties"], json!({}));
    }
}
