//! The tools: what a call of each does.

use std::time::Duration;

use relay::{
    aws::failure,
    domain::{
        batch::BatchBody,
        caller::Caller,
        error::Error,
        id::ExecutionId,
        idempotency_key::IdempotencyKey,
        json::{Json, surrogate},
        request::{RerunBody, StartBody},
        time::Timestamp,
    },
    http::{
        answer::{batch::BatchReceipt, lists::AgentList},
        body::{AnswerBody, Answered, ListRequest},
        parse::from_text,
        problem::Problem,
    },
    service::{Services, change::Change, read::Started},
};
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock, CreateTaskResult};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    answer::{outcome, parse_id, structured},
    arguments::{self, Arguments},
    catalog::{
        AnswerArguments, BatchArguments, ExecutionArguments, ListArguments, RerunArguments,
        ResultsArguments, StartAnswer, StartArguments, find,
    },
    resources, tasks,
};

/// Calls a tool; `None` when there is none of this name. Whatever the tool refuses is an answer
/// that a model can read.
pub(crate) async fn call(
    services: &Services,
    change: &Change,
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
    let answer = answered(services, change, caller, name, &arguments, as_task).await;
    Some(answer.unwrap_or_else(|error| refuse(&error, named.as_ref()).into()))
}

async fn answered(
    services: &Services,
    change: &Change,
    caller: &Caller,
    name: &str,
    arguments: &Arguments,
    as_task: bool,
) -> Result<CallToolResponse, Error> {
    let reader = &services.reader;
    match name {
        "start_agent" => start(services, caller, parse(arguments)?, as_task).await,
        "start_agents" => answer(&start_batch(services, caller, parse(arguments)?).await?),
        "rerun_agent" => {
            let RerunArguments { execution_id, client_token } = parse(arguments)?;
            let (id, key) = (parse_id(&execution_id)?, token(client_token.as_deref())?);
            let again = services.start.rerun(caller, &id, RerunBody::default(), key.as_ref()).await;
            answer(&again.map_err(of_token)?.receipt)
        }
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
            answer(&give(change, caller, given).await?)
        }
        "stop_agent" => {
            let ExecutionArguments { execution_id } = parse(arguments)?;
            answer(&change.cancel(caller, &parse_id(&execution_id)?).await?)
        }
        _ => answer(&AgentList { agents: reader.agents(caller).await? }),
    }
}

/// Gives an agent its answer. A text that is not what the question wants is read as JSON.
async fn give(change: &Change, caller: &Caller, given: AnswerArguments) -> Result<Answered, Error> {
    let AnswerArguments { execution_id, answer, question_id } = given;
    let id = parse_id(&execution_id)?;
    let held = answer.node().text().filter(|text| surrogate::lone_surrogate(text).is_none());
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
    services: &Services,
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
        delay_seconds,
        start_at,
        priority,
    } = arguments;
    let wait = wait_seconds.unwrap_or_default();
    let key = token(client_token.as_deref())?;
    let body = StartBody {
        parameters,
        callback_url,
        delay_seconds,
        start_at,
        priority,
        ..StartBody::new(agent_name, input_message)
    };
    let accepted = services.start.start(caller, body, key.as_ref()).await;
    let accepted = accepted.map_err(of_token)?;
    if as_task {
        return Ok(CallToolResponse::Task(CreateTaskResult::new(tasks::created(&accepted))));
    }

    // From here on the start is accepted, whatever happens: a run that cannot be watched is
    // answered like one to which nothing happened in time.
    let mut receipt = accepted.receipt;
    let link = resources::link(&receipt.execution_id);
    if wait > 0 {
        let wait = Duration::from_secs(wait.into());
        match services.reader.started(caller, receipt.clone(), wait).await {
            Started::Ended(results) => {
                let mut result = outcome(&results)?;
                result.content.push(ContentBlock::resource_link(link));
                return Ok(result.into());
            }
            Started::Goes(now) => receipt = now,
        }
    }
    let mut result = structured(&StartAnswer::Started(&receipt))?;
    result.content.push(ContentBlock::resource_link(link));
    Ok(result.into())
}

async fn start_batch(
    services: &Services,
    caller: &Caller,
    arguments: BatchArguments,
) -> Result<BatchReceipt, Error> {
    let key = token(arguments.client_token.as_deref())?;
    let body = BatchBody {
        agent_name: arguments.agent_name,
        callback_url: arguments.callback_url,
        delay_seconds: arguments.delay_seconds,
        start_at: arguments.start_at,
        priority: arguments.priority,
        ..BatchBody::new(arguments.items)
    };
    let accepted = services.start.start_batch(caller, body, key.as_ref()).await;
    Ok(accepted.map_err(of_token)?.receipt)
}

fn token(text: Option<&str>) -> Result<Option<IdempotencyKey>, Error> {
    text.map(IdempotencyKey::parse).transpose().map_err(|error| error.at("client_token"))
}

/// The same error of the token, where another request had it.
fn of_token(error: Error) -> Error {
    match &error {
        Error::Invalid { field, .. } if field == IdempotencyKey::FIELD => error.at("client_token"),
        _ => error,
    }
}

fn list_request(arguments: ListArguments) -> Result<ListRequest, Error> {
    let time = |field, text: Option<String>| {
        text.map(|text| Timestamp::of_field(field, &text)).transpose()
    };
    let batch_id = arguments.batch_id.map(|text| text.parse());
    Ok(ListRequest {
        agent_name: arguments.agent_name,
        status: arguments.status,
        limit: ListRequest::limit(arguments.limit)?,
        cursor: arguments.cursor,
        owner: None,
        open: false,
        trouble: arguments.trouble,
        since: None,
        created_after: time("created_after", arguments.created_after)?,
        created_before: time("created_before", arguments.created_before)?,
        tag: arguments.tag,
        batch_id: batch_id.transpose().map_err(|_| Error::NotFound("batch"))?,
    })
}

fn parse<T: DeserializeOwned>(arguments: &Arguments) -> Result<T, Error> {
    from_text(Json::of(arguments).as_str())
}

fn answer(content: &impl Serialize) -> Result<CallToolResponse, Error> {
    structured(content).map(Into::into)
}

/// A refusal in a sentence that says what to do about it, and which execution it is about.
fn refuse(error: &Error, id: Option<&ExecutionId>) -> CallToolResult {
    let problem = Problem::of(error);
    if problem.status >= 500 {
        failure::log(error);
    }
    let advice = match error {
        Error::NotFound("agent") => "Call list_available_agents to see the agents.",
        Error::NotFound("execution") => "Call list_executions to see yours.",
        Error::Invalid { .. } | Error::TooLarge { .. } => "Correct it and call again.",
        Error::Forbidden(_) => "The administrator of this service can grant it.",
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

    use super::*;

    #[test]
    fn a_refusal_is_an_error_in_the_answer_with_advice() {
        let refusal = refuse(&Error::NotFound("agent"), None);

        assert_eq!(refusal.is_error, Some(true));
        assert_eq!(
            refusal.content[0].as_text().unwrap().text,
            "agent not found. Call list_available_agents to see the agents."
        );
        let id: ExecutionId = "mcp-echo-1".parse().unwrap();
        let refusal = refuse(&Error::Conflict("the execution has ended: failed".into()), Some(&id));
        assert_eq!(
            refusal.content[0].as_text().unwrap().text,
            "the execution has ended: failed. The execution_id is mcp-echo-1."
        );
    }
}
