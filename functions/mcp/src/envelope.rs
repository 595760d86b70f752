//! One call: `{"tool", "params"}` in, the tool's plain result or `{"error"}` out.

use lambda_http::{
    Request, Response,
    http::{HeaderName, HeaderValue, header},
};
use relay::{
    aws::failure,
    domain::{
        caller::Caller, error::Error, idempotency_key::IdempotencyKey, json::Json, loops::Home,
        request::StartBody,
    },
    http::{
        answer::monitor::Receipt,
        gateway,
        parse::{from_text, parse_object},
        problem::Problem,
        reply,
    },
    service::Services,
};
use serde::Deserialize;
use serde_json::json;

use crate::answer::parse_id;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    tool: String,
    #[serde(default)]
    params: Option<Json>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MonitorParams {
    execution_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResultsParams {
    execution_id: String,
    #[serde(default)]
    include_metadata: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParams {}

pub(crate) async fn serve(services: &Services, home: &Home, request: &Request) -> Response<String> {
    let mut metrics = gateway::measure("envelope", request);
    let mut response = match handle(services, home, request).await {
        Ok(result) => reply::reply(200, &result),
        Err(error) => refuse(&error),
    };
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-mcp-version"), HeaderValue::from_static("1.0"));
    metrics.failed = response.status().is_server_error();
    response
}

async fn handle(services: &Services, home: &Home, request: &Request) -> Result<Json, Error> {
    let caller = gateway::caller(request, home)?;
    let key = gateway::idempotency_key(request.headers())?;
    let Call { tool, params } = parse_object(request.body())?;
    if params.as_ref().is_some_and(|params| !params.node().is_object()) {
        return Err(Error::invalid("params", "must be an object"));
    }
    let params = params.as_ref().map_or("{}", Json::as_str);
    match tool.as_str() {
        "start_agent" => {
            let body: StartBody = from_text(params)?;
            Ok(Json::of(&start(services, &caller, body, key.as_ref()).await?))
        }
        "monitor_agent" => {
            let MonitorParams { execution_id } = from_text(params)?;
            Ok(Json::of(&services.reader.monitor(&caller, &parse_id(&execution_id)?, None).await?))
        }
        "get_agent_results" => {
            let ResultsParams { execution_id, include_metadata } = from_text(params)?;
            let id = parse_id(&execution_id)?;
            Ok(Json::of(&services.reader.results(&caller, &id, include_metadata).await?))
        }
        "list_available_agents" => {
            let NoParams {} = from_text(params)?;
            Ok(Json::of(&services.reader.agents(&caller).await?))
        }
        _ => Err(Error::invalid(
            "tool",
            "must be start_agent, monitor_agent, get_agent_results or list_available_agents",
        )),
    }
}

async fn start(
    services: &Services,
    caller: &Caller,
    body: StartBody,
    key: Option<&IdempotencyKey>,
) -> Result<Receipt, Error> {
    Ok(services.start.start(caller, body, key).await?.receipt)
}

/// The envelope knows fewer statuses than REST: whatever is wrong with a call is a 400, and
/// whatever is wrong with us a 500.
fn refuse(error: &Error) -> Response<String> {
    let problem = Problem::of(error);
    let status = match problem.status {
        status @ (401 | 403 | 404 | 429) => status,
        status if status >= 500 => {
            failure::log(error);
            500
        }
        _ => 400,
    };
    let mut response = reply::reply(status, &json!({"error": problem.detail}));
    if let Some(seconds) = problem.retry_after_seconds {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
