//! The tools: their definitions, and what a call of each does.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use relay::{
    agent::AgentName,
    answer::{AgentList, ExecutionList, Monitor, Receipt, Results, RunError},
    caller::Caller,
    error::Error,
    execution::{ExecutionId, Status},
    json::{self, Json},
    openapi::simplify,
    problem::{self, Problem},
    request::{IdempotencyKey, StartBody, from_text},
    service::{
        change::{AnswerBody, Answered, Cancelling, Change},
        read::{ListRequest, Started},
    },
};
use rmcp::model::{
    CallToolResponse, CallToolResult, ContentBlock, CreateTaskResult, JsonObject, Tool,
    ToolAnnotations,
};
use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    arguments::{self, Arguments},
    resources,
    server::Server,
    tasks, verbatim,
};

/// API Gateway answers for a function that takes longer than 29 s.
const MAX_WAIT: u32 = 20;

#[derive(Debug, Deserialize, JsonSchema)]
struct StartArguments {
    /// Which agent to start; `list_available_agents` names them.
    agent_name: String,
    /// What the agent is to do.
    input_message: String,
    /// Settings that the agent understands.
    #[serde(default)]
    #[schemars(with = "Option<JsonObject>")]
    parameters: Option<Json>,
    /// An https URL that is sent the outcome when the agent ends.
    #[serde(default)]
    callback_url: Option<String>,
    /// Any text of yours, 1 to 255 visible characters. A second call with the same token and
    /// arguments starts nothing and gives the first answer again.
    #[serde(default)]
    client_token: Option<String>,
    /// How many seconds to wait for the outcome before answering, at most 20. An agent that takes
    /// longer, or asks something, goes on; look at it with `monitor_agent`.
    #[serde(default)]
    #[schemars(range(max = MAX_WAIT))]
    wait_seconds: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ExecutionArguments {
    /// The `execution_id` that `start_agent` gave.
    execution_id: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ResultsArguments {
    /// The `execution_id` that `start_agent` gave.
    execution_id: String,
    /// Whether to add the input, the tags and the agent's raw output.
    #[serde(default)]
    include_metadata: bool,
}

#[derive(Deserialize, JsonSchema)]
struct AnswerArguments {
    /// The `execution_id` of the execution whose status is `input_required`.
    execution_id: String,
    /// What the agent is to be told: text, or, where the question's `schema` wants something other
    /// than a string, its JSON text, such as `{"approved": true}`.
    #[schemars(with = "String")]
    answer: Json,
    /// Which of the execution's `questions` it answers; needed when there is more than one.
    #[serde(default)]
    question_id: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct NoArguments {}

#[derive(Debug, Deserialize, JsonSchema)]
struct ListArguments {
    /// Only executions of this agent.
    #[serde(default)]
    agent_name: Option<AgentName>,
    /// Only executions with this status.
    #[serde(default)]
    status: Option<Status>,
    /// Only executions that failed or timed out, or whose news could not be delivered.
    #[serde(default)]
    trouble: bool,
    /// How many at most, 1 to 100; 20 when not given.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    limit: Option<usize>,
    /// The `next_cursor` of an earlier answer, for the page behind it.
    #[serde(default)]
    cursor: Option<String>,
}

/// What `start_agent` answers: the receipt, with what the agent asks if it did while the call waited;
/// or the outcome of an agent that ended meanwhile.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("type" = "object"))]
enum StartAnswer<'a> {
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
            "Starts an agent with a message and returns its execution_id at once. With a client_token \
             a repeated call is harmless. Then follow it with monitor_agent and get_agent_results.",
            ToolAnnotations::new().read_only(false).destructive(false).idempotent(false),
        ),
        tool::<ExecutionArguments, Monitor>(
            "monitor_agent",
            "Look at an execution",
            "Says where an execution stands: its status, progress and times.",
            reads(),
        ),
        tool::<ResultsArguments, Results>(
            "get_agent_results",
            "Get the results of an execution",
            "Gives the result of an execution that has ended, or why there is none; of one that has \
             not ended it gives the status alone.",
            reads(),
        ),
        tool::<NoArguments, AgentList>(
            "list_available_agents",
            "List the agents",
            "Lists the agents that may be started, with what each is for.",
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
            "Answers what an agent asks while its execution has the status input_required; \
             monitor_agent shows the questions. An answer is given once.",
            ToolAnnotations::new().read_only(false).destructive(false).idempotent(true),
        ),
        tool::<ExecutionArguments, Cancelling>(
            "stop_agent",
            "Stop an execution",
            "Asks for the end of an execution that has not ended yet. It ends as cancelled within \
             seconds, unless it ends by itself before.",
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

/// Calls a tool; `None` when there is none of this name. Whatever the tool refuses is an answer
/// that a model can read.
pub(crate) async fn call(
    server: &Server,
    caller: &Caller,
    name: &str,
    given: &Json,
    as_task: bool,
) -> Option<CallToolResponse> {
    let tool = find(name)?;
    let arguments = match arguments::read(given, &tool.name, &tool.input_schema) {
        Ok(arguments) => arguments,
        Err(error) => return Some(refuse(&error, None).into()),
    };
    let named = arguments.get("execution_id").and_then(|id| id.node().text());
    let named = named.and_then(|id| id.parse::<ExecutionId>().ok());
    let answer = answered(server, caller, name, &arguments, as_task).await;
    Some(answer.unwrap_or_else(|error| refuse(&error, named.as_ref()).into()))
}

async fn answered(
    server: &Server,
    caller: &Caller,
    name: &str,
    arguments: &Arguments,
    as_task: bool,
) -> Result<CallToolResponse, Error> {
    let reader = &server.services.reader;
    match name {
        "start_agent" => start(server, caller, parse(arguments)?, as_task).await,
        "monitor_agent" => {
            let ExecutionArguments { execution_id } = parse(arguments)?;
            answer(&reader.monitor(caller, &parse_id(&execution_id)?, None).await?)
        }
        "get_agent_results" => {
            let ResultsArguments { execution_id, include_metadata } = parse(arguments)?;
            let id = parse_id(&execution_id)?;
            answer(&reader.results(caller, &id, include_metadata).await?)
        }
        "list_executions" => answer(&reader.list(caller, list_request(parse(arguments)?)?).await?),
        "answer_agent" => {
            let given = parse(arguments)?;
            answer(&give(&server.change, caller, given).await?)
        }
        "stop_agent" => {
            let ExecutionArguments { execution_id } = parse(arguments)?;
            answer(&server.change.cancel(caller, &parse_id(&execution_id)?).await?)
        }
        _ => answer(&AgentList { agents: reader.agents(caller).await? }),
    }
}

/// Gives an agent its answer. A text that is not what the question wants is read as JSON.
async fn give(change: &Change, caller: &Caller, given: AnswerArguments) -> Result<Answered, Error> {
    let AnswerArguments { execution_id, answer, question_id } = given;
    let id = parse_id(&execution_id)?;
    let held = answer.node().text().filter(|text| json::lone_surrogate(text).is_none());
    let held = held.and_then(|text| Json::parse(&text)).filter(|json| !json.node().is_text());
    let as_text = AnswerBody { answer, question_id: question_id.clone() };
    let refusal = match (change.answer(caller, &id, as_text).await, &held) {
        (Err(refusal @ (Error::Invalid { .. } | Error::Conflict(_))), Some(_)) => refusal,
        (answered, _) => return answered,
    };
    let Some(answer) = held else { return Err(refusal) };
    match change.answer(caller, &id, AnswerBody { answer, question_id }).await {
        // A conflict says nothing new.
        Err(Error::Conflict(_)) => Err(refusal),
        answered => answered,
    }
}

async fn start(
    server: &Server,
    caller: &Caller,
    arguments: StartArguments,
    as_task: bool,
) -> Result<CallToolResponse, Error> {
    let StartArguments {
        agent_name,
        input_message,
        parameters,
        callback_url,
        client_token,
        wait_seconds,
    } = arguments;
    let wait = wait_seconds.unwrap_or_default();
    let key = client_token.as_deref().map(IdempotencyKey::parse).transpose();
    let key = key.map_err(|error| error.at("client_token"))?;
    let body = StartBody { parameters, callback_url, ..StartBody::new(agent_name, input_message) };
    let accepted = server.services.start.start(caller, body, key.as_ref()).await;
    let accepted = accepted.map_err(|error| match &error {
        // Another request had it.
        Error::Invalid { field, .. } if field == IdempotencyKey::FIELD => error.at("client_token"),
        _ => error,
    })?;
    if as_task {
        return Ok(CallToolResponse::Task(CreateTaskResult::new(tasks::created(&accepted))));
    }

    // From here on the start is accepted, whatever happens: a run that cannot be watched is
    // answered like one of which there was no news in time.
    let mut receipt = accepted.receipt;
    let link = resources::link(&receipt.execution_id);
    if wait > 0 {
        let wait = Duration::from_secs(wait.into());
        match server.services.reader.started(caller, receipt.clone(), wait).await {
            Started::Ended(results) => {
                let mut result = outcome(&results)?;
                result.content.push(ContentBlock::resource_link(link));
                return Ok(result.into());
            }
            Started::Goes(news) => receipt = news,
        }
    }
    let mut result = structured(&StartAnswer::Started(&receipt))?;
    result.content.push(ContentBlock::resource_link(link));
    Ok(result.into())
}

/// The results of a run that has ended, as the answer to the call that started it: an error where
/// the agent gave no result.
pub(crate) fn outcome(results: &Results) -> Result<CallToolResult, Error> {
    let mut result = structured(&StartAnswer::Ended(results))?;
    if let Some(error) = &results.error {
        result.content.insert(0, ContentBlock::text(sentence(&results.execution_id, error)));
        result.is_error = Some(true);
    }
    Ok(result)
}

/// Why a run ended, and which. Some clients show the first text of an answer alone.
fn sentence(id: &ExecutionId, RunError { code, cause }: &RunError) -> String {
    let cause = cause.as_deref().unwrap_or_default().trim();
    let reason = match cause {
        "" => code.clone(),
        cause => format!("{code}: {cause}"),
    };
    let stop = if reason.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("The agent ended without a result: {reason}{stop} Its execution_id is {id}.")
}

fn list_request(arguments: ListArguments) -> Result<ListRequest, Error> {
    Ok(ListRequest {
        agent_name: arguments.agent_name,
        status: arguments.status,
        limit: ListRequest::limit(arguments.limit)?,
        cursor: arguments.cursor,
        owner: None,
        trouble: arguments.trouble,
        since: None,
    })
}

fn parse<T: DeserializeOwned>(arguments: &Arguments) -> Result<T, Error> {
    from_text(Json::of(arguments).as_str())
}

pub(crate) fn parse_id(text: &str) -> Result<ExecutionId, Error> {
    text.parse().map_err(|_| Error::NotFound("execution"))
}

fn answer(content: &impl Serialize) -> Result<CallToolResponse, Error> {
    structured(content).map(Into::into)
}

/// The answer as a value, and as its JSON text for clients that know no values.
fn structured(content: &impl Serialize) -> Result<CallToolResult, Error> {
    let text =
        serde_json::to_string(content).map_err(|error| Error::corrupt("an answer", error))?;
    verbatim::result(text)
}

/// A refusal in a sentence that says what to do about it, and which execution it is about.
fn refuse(error: &Error, id: Option<&ExecutionId>) -> CallToolResult {
    let problem = Problem::of(error);
    if problem.status >= 500 {
        problem::log(error);
    }
    let advice = match error {
        Error::NotFound("agent") => "Call list_available_agents to see which agents there are.",
        Error::NotFound("execution") => "Call list_executions to see yours.",
        Error::Invalid { .. } | Error::TooLarge { .. } => "Correct it and call again.",
        Error::Forbidden(_) => "Whoever manages the keys of this service can grant it.",
        Error::RateLimited { .. } => "Wait a minute before the next start.",
        _ => "",
    };
    let about = match id {
        Some(id) if !matches!(error, Error::NotFound(_)) => format!("The execution_id is {id}."),
        _ => String::new(),
    };
    let text = [format!("{}.", problem.detail), about, advice.to_owned()];
    let text: Vec<String> = text.into_iter().filter(|part| !part.is_empty()).collect();
    CallToolResult::error(vec![ContentBlock::text(text.join(" "))])
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
                "monitor_agent",
                "get_agent_results",
                "list_available_agents",
                "list_executions",
                "answer_agent",
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
        assert_eq!(tools[1].input_schema["required"], json!(["execution_id"]));
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
            (&json!("string"), 7)
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

    #[test]
    fn an_end_without_a_result_is_told_in_one_sentence_with_its_id() {
        let id: ExecutionId = "mcp-fail-1".parse().unwrap();
        let said = |cause: Option<&str>| {
            let error =
                RunError { code: "Example.Refused".to_owned(), cause: cause.map(str::to_owned) };
            sentence(&id, &error)
        };

        let with_cause = "The agent ended without a result: Example.Refused: It always fails. \
                          Its execution_id is mcp-fail-1.";
        assert_eq!(said(Some("It always fails.")), with_cause);
        assert_eq!(said(Some("It always fails\n")), with_cause);
        for nothing in [None, Some(""), Some(" ")] {
            assert_eq!(
                said(nothing),
                "The agent ended without a result: Example.Refused. Its execution_id is mcp-fail-1."
            );
        }
    }

    #[test]
    fn a_refusal_is_an_error_in_the_answer_with_advice() {
        let refusal = refuse(&Error::NotFound("agent"), None);

        assert_eq!(refusal.is_error, Some(true));
        assert_eq!(
            refusal.content[0].as_text().unwrap().text,
            "agent not found. Call list_available_agents to see which agents there are."
        );
        let id: ExecutionId = "mcp-echo-1".parse().unwrap();
        let refusal = refuse(&Error::Conflict("the execution has ended: failed".into()), Some(&id));
        assert_eq!(
            refusal.content[0].as_text().unwrap().text,
            "the execution has ended: failed. The execution_id is mcp-echo-1."
        );
    }
}
