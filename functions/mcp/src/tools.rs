//! The tools: their definitions, and what a call of each does.

use std::{sync::Arc, time::Duration};

use relay::{
    agent::AgentName,
    answer::{AgentList, ExecutionList, Monitor, Receipt, Results},
    caller::Caller,
    error::Error,
    execution::{ExecutionId, Status},
    json::Json,
    openapi::simplify,
    problem::{self, Problem},
    request::{IdempotencyKey, StartBody, from_text},
    service::{
        change::{AnswerBody, Answered, Cancelling},
        read::ListRequest,
    },
};
use rmcp::model::{
    CallToolResponse, CallToolResult, ContentBlock, CreateTaskResult, JsonObject, Tool,
    ToolAnnotations,
};
use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{resources, server::Server, tasks};

/// API Gateway answers for a function that takes longer than 29 s.
const MAX_WAIT: u32 = 20;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StartArguments {
    /// Which agent to start; `list_available_agents` names them.
    agent_name: String,
    /// What the agent is to do.
    input_message: String,
    /// Settings that the agent understands.
    #[serde(default)]
    #[schemars(with = "Option<Map<String, Value>>")]
    parameters: Option<Json>,
    /// An https URL that is sent the outcome when the agent ends.
    #[serde(default)]
    callback_url: Option<String>,
    /// Any text of yours, 1 to 255 visible characters. A second call with the same token and
    /// arguments starts nothing and gives the first answer again.
    #[serde(default)]
    client_token: Option<String>,
    /// How many seconds to wait for the outcome before answering, at most 20. An agent that takes
    /// longer goes on; look at it with `monitor_agent`.
    #[serde(default)]
    #[schemars(range(max = 20))]
    wait_seconds: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExecutionArguments {
    /// The `execution_id` that `start_agent` gave.
    execution_id: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ResultsArguments {
    /// The `execution_id` that `start_agent` gave.
    execution_id: String,
    /// Whether to add the input, the tags and the agent's raw output.
    #[serde(default)]
    include_metadata: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AnswerArguments {
    /// The `execution_id` of the execution whose status is `input_required`.
    execution_id: String,
    /// What the agent is to be told: any JSON that fits the question's `schema`.
    answer: Value,
    /// Which of the execution's `questions` it answers; needed when there is more than one.
    #[serde(default)]
    question_id: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoArguments {}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListArguments {
    /// Only executions of this agent.
    #[serde(default)]
    agent_name: Option<AgentName>,
    /// Only executions with this status.
    #[serde(default)]
    status: Option<Status>,
    /// How many at most, 1 to 100; 20 when not given.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    limit: Option<usize>,
    /// The `next_cursor` of an earlier answer, for the page behind it.
    #[serde(default)]
    cursor: Option<String>,
}

/// What `start_agent` answers: the receipt, or the outcome of an agent that ended while the call
/// waited.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("type" = "object"))]
enum StartAnswer<'a> {
    Ended(&'a Results),
    Started(&'a Receipt),
}

pub(crate) fn list() -> Vec<Tool> {
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
    let object = |schema: Schema| -> Arc<JsonObject> {
        let mut object = schema.as_object().cloned().unwrap_or_default();
        // The type's name and the note on it are for readers of our code.
        object.remove("title");
        object.remove("description");
        Arc::new(object)
    };
    Tool::new(name, description, object(input))
        .with_title(title)
        .with_raw_output_schema(object(output))
        .with_annotations(annotations.open_world(false))
}

/// Calls a tool; `None` when there is none of this name. Whatever the tool refuses is an answer
/// that a model can read.
pub(crate) async fn call(
    server: &Server,
    caller: &Caller,
    name: &str,
    arguments: JsonObject,
    as_task: bool,
) -> Option<CallToolResponse> {
    let reader = &server.services.reader;
    let answer = match name {
        "start_agent" => start(server, caller, arguments, as_task).await,
        "monitor_agent" => {
            async {
                let ExecutionArguments { execution_id } = parse(arguments)?;
                answer(&reader.monitor(caller, &parse_id(&execution_id)?, None).await?)
            }
            .await
        }
        "get_agent_results" => {
            async {
                let ResultsArguments { execution_id, include_metadata } = parse(arguments)?;
                let id = parse_id(&execution_id)?;
                answer(&reader.results(caller, &id, include_metadata).await?)
            }
            .await
        }
        "list_available_agents" => {
            async {
                let NoArguments {} = parse(arguments)?;
                answer(&AgentList { agents: reader.agents(caller).await? })
            }
            .await
        }
        "list_executions" => {
            async { answer(&reader.list(caller, list_request(parse(arguments)?)?).await?) }.await
        }
        "answer_agent" => {
            async {
                let AnswerArguments { execution_id, answer: given, question_id } =
                    parse(arguments)?;
                let body = AnswerBody { answer: Json::of(&given), question_id };
                answer(&server.change.answer(caller, &parse_id(&execution_id)?, body).await?)
            }
            .await
        }
        "stop_agent" => {
            async {
                let ExecutionArguments { execution_id } = parse(arguments)?;
                answer(&server.change.cancel(caller, &parse_id(&execution_id)?).await?)
            }
            .await
        }
        _ => return None,
    };
    Some(answer.unwrap_or_else(|error| refuse(&error).into()))
}

async fn start(
    server: &Server,
    caller: &Caller,
    arguments: JsonObject,
    as_task: bool,
) -> Result<CallToolResponse, Error> {
    let StartArguments {
        agent_name,
        input_message,
        parameters,
        callback_url,
        client_token,
        wait_seconds,
    } = parse(arguments)?;
    let wait = wait_seconds.unwrap_or_default();
    if wait > MAX_WAIT {
        return Err(Error::invalid("wait_seconds", format!("must be at most {MAX_WAIT}")));
    }
    let key = client_token.as_deref().map(IdempotencyKey::parse).transpose();
    let key = key.map_err(|error| error.at("client_token"))?;
    let body = StartBody { parameters, callback_url, ..StartBody::new(agent_name, input_message) };
    let accepted = server.services.start.start(caller, body, key.as_ref()).await?;
    if as_task {
        return Ok(CallToolResponse::Task(CreateTaskResult::new(tasks::created(&accepted))));
    }

    // From here on the start is accepted, whatever happens: a run that cannot be watched is
    // answered like one that did not end in time.
    let receipt = accepted.receipt;
    let link = resources::link(&receipt.execution_id);
    let reader = &server.services.reader;
    if wait > 0 {
        let id = &receipt.execution_id;
        let ended = reader.wait_for_end(id, Duration::from_secs(wait.into())).await;
        if let (Ok(Some(_)), Ok(results)) = (ended, reader.results(caller, id, false).await) {
            let mut result = outcome(&results)?;
            result.content.push(ContentBlock::resource_link(link));
            return Ok(result.into());
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
        let cause = error.cause.as_deref().unwrap_or_default();
        let text = format!("The agent ended without a result: {} {cause}", error.code);
        result.content.insert(0, ContentBlock::text(text.trim_end()));
        result.is_error = Some(true);
    }
    Ok(result)
}

fn list_request(arguments: ListArguments) -> Result<ListRequest, Error> {
    Ok(ListRequest {
        agent_name: arguments.agent_name,
        status: arguments.status,
        limit: ListRequest::limit(arguments.limit)?,
        cursor: arguments.cursor,
        owner: None,
    })
}

fn parse<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, Error> {
    from_text(&Value::Object(arguments).to_string())
}

pub(crate) fn parse_id(text: &str) -> Result<ExecutionId, Error> {
    text.parse().map_err(|_| Error::NotFound("execution"))
}

fn answer(content: &impl Serialize) -> Result<CallToolResponse, Error> {
    structured(content).map(Into::into)
}

/// The answer as a value, and as its JSON text for clients that know no values.
fn structured(content: &impl Serialize) -> Result<CallToolResult, Error> {
    let value =
        serde_json::to_value(content).map_err(|error| Error::corrupt("an answer", error))?;
    Ok(CallToolResult::structured(value))
}

/// A refusal in a sentence that says what to do about it.
fn refuse(error: &Error) -> CallToolResult {
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
    let text = format!("{}. {advice}", problem.detail);
    CallToolResult::error(vec![ContentBlock::text(text.trim_end())])
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
            assert_eq!(tool.input_schema["additionalProperties"], false, "{}", tool.name);
            let text = serde_json::to_string(tool).unwrap();
            for odd in [r#""result":true"#, "uint", "double"] {
                assert!(!text.contains(odd), "{}: {odd}", tool.name);
            }
        }
        assert_eq!(tools[0].input_schema["required"], json!(["agent_name", "input_message"]));
        assert_eq!(tools[1].input_schema["required"], json!(["execution_id"]));
    }

    #[test]
    fn a_refusal_is_an_error_in_the_answer_with_advice() {
        let refusal = refuse(&Error::NotFound("agent"));

        assert_eq!(refusal.is_error, Some(true));
        assert_eq!(
            refusal.content[0].as_text().unwrap().text,
            "agent not found. Call list_available_agents to see which agents there are."
        );
    }
}
