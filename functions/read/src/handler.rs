//! One request: route, read, answer.

use std::str::FromStr;

use lambda_http::{Request, RequestExt, Response};
use relay::{
    domain::{error::Error, loops::Home, time::Timestamp},
    http::{
        answer::lists::{AgentList, Identity, SubscriptionList},
        body::ListRequest,
        gateway, openapi, reply,
    },
    service::{batch_read::MAX_RESULTS, read::Reader},
};

const EXECUTION: &str = "/v1/executions/{execution_id}";
const RESULTS: &str = "/v1/executions/{execution_id}/results";
const DELIVERIES: &str = "/v1/executions/{execution_id}/deliveries";
const EXECUTIONS: &str = "/v1/executions";
const BATCH: &str = "/v1/batches/{batch_id}";
const BATCH_RESULTS: &str = "/v1/batches/{batch_id}/results";
const SUBSCRIPTIONS: &str = "/v1/subscriptions";
const SUBSCRIPTION: &str = "/v1/subscriptions/{subscription_id}";
const AGENTS: &str = "/v1/agents";
const ME: &str = "/v1/me";
const DESCRIPTION: &str = "/openapi.json";

const WRONG_RESULTS_LIMIT: &str = "must be a number from 1 to 20";

/// The name under which a request is counted.
pub(crate) fn operation(request: &Request) -> &'static str {
    match gateway::route(request) {
        EXECUTION => "monitor_agent",
        RESULTS => "get_agent_results",
        DELIVERIES => "list_deliveries",
        EXECUTIONS => "list_executions",
        BATCH => "get_batch",
        BATCH_RESULTS => "get_batch_results",
        SUBSCRIPTIONS | SUBSCRIPTION => "list_subscriptions",
        AGENTS => "list_available_agents",
        ME => "get_me",
        DESCRIPTION => "describe_api",
        _ => "unknown",
    }
}

pub(crate) async fn handle(
    reader: &Reader,
    public_url: &str,
    home: &Home,
    request: &Request,
) -> Result<Response<String>, Error> {
    if gateway::route(request) == DESCRIPTION {
        let base = gateway::base(request, public_url, DESCRIPTION);
        let document = include_str!("../../../infra/openapi.json");
        return Ok(reply::document(openapi::at(document, base.as_deref())));
    }
    let caller = gateway::caller(request, home)?;
    match gateway::route(request) {
        EXECUTION => {
            let wait = gateway::preferred_wait(request.headers());
            let monitor = reader.monitor(&caller, &gateway::execution_id(request)?, wait).await?;
            let response = reply::reply(200, &monitor);
            Ok(match wait {
                Some(wait) => gateway::waited(response, wait),
                None => response,
            })
        }
        RESULTS => {
            let with_metadata =
                parameter(request, "include_metadata", "must be true or false")?.unwrap_or(false);
            let results =
                reader.results(&caller, &gateway::execution_id(request)?, with_metadata).await?;
            Ok(reply::reply(200, &results))
        }
        DELIVERIES => {
            let id = gateway::execution_id(request)?;
            let limit = parameter(request, "limit", ListRequest::WRONG_LIMIT)?;
            let limit = ListRequest::limit(limit.or(Some(ListRequest::MAX_LIMIT)))?;
            let cursor = cursor(request)?;
            let list = reader.deliveries(&caller, &id, limit, cursor.as_deref()).await?;
            Ok(reply::reply(200, &list))
        }
        EXECUTIONS => {
            let request = list_request(request)?;
            let list = if request.open {
                reader.list_open(&caller, request).await?
            } else {
                reader.list(&caller, request).await?
            };
            Ok(reply::reply(200, &list))
        }
        BATCH => Ok(reply::reply(200, &reader.batch(&caller, &gateway::batch_id(request)?).await?)),
        BATCH_RESULTS => {
            let id = gateway::batch_id(request)?;
            let limit = parameter(request, "limit", WRONG_RESULTS_LIMIT)?.unwrap_or(MAX_RESULTS);
            if !(1..=MAX_RESULTS).contains(&limit) {
                return Err(Error::invalid("limit", WRONG_RESULTS_LIMIT));
            }
            let cursor = cursor(request)?;
            let page = reader.batch_results(&caller, &id, limit, cursor.as_deref()).await?;
            Ok(reply::reply(200, &page))
        }
        SUBSCRIPTIONS => {
            let subscriptions = reader.subscriptions(&caller).await?;
            Ok(reply::reply(200, &SubscriptionList { subscriptions }))
        }
        SUBSCRIPTION => {
            let id = gateway::subscription_id(request)?;
            Ok(reply::reply(200, &reader.subscription(&caller, &id).await?))
        }
        AGENTS => Ok(reply::reply(200, &AgentList { agents: reader.agents(&caller).await? })),
        ME => Ok(reply::reply(200, &Identity::from(&caller))),
        _ => Err(Error::NotFound("route")),
    }
}

fn list_request(request: &Request) -> Result<ListRequest, Error> {
    let limit = parameter(request, "limit", ListRequest::WRONG_LIMIT)?;
    let owner: Option<String> = parameter(request, "owner", "must be text")?;
    if owner.as_ref().is_some_and(|it| !(1..=ListRequest::MAX_OWNER).contains(&it.len())) {
        return Err(Error::invalid("owner", "must be a user's id"));
    }
    Ok(ListRequest {
        agent_name: parameter(request, "agent_name", "must be an agent's name")?,
        status: parameter(
            request,
            "status",
            "must be scheduled, queued, running, input_required, completed, failed, timeout or cancelled",
        )?,
        limit: ListRequest::limit(limit)?,
        cursor: cursor(request)?,
        owner: owner.map(Into::into),
        open: parameter(request, "open", "must be true or false")?.unwrap_or(false),
        trouble: parameter(request, "trouble", "must be true or false")?.unwrap_or(false),
        since: None,
        created_after: time(request, "created_after")?,
        created_before: time(request, "created_before")?,
        tag: parameter(request, "tag", "must be text")?,
        batch_id: parameter(request, "batch_id", "must be the id of a batch")?,
    })
}

/// From where a list goes on; a blank one, as clients send it for the first page, is none.
fn cursor(request: &Request) -> Result<Option<String>, Error> {
    let cursor: Option<String> = parameter(request, "cursor", "must be text")?;
    Ok(cursor.filter(|cursor| !cursor.is_empty()))
}

/// A time as a query parameter.
fn time(request: &Request, name: &'static str) -> Result<Option<Timestamp>, Error> {
    let text: Option<String> = parameter(request, name, "must be text")?;
    // In a query a plus is a blank, and RFC 3339 has no other.
    text.map(|text| Timestamp::of_field(name, &text.replace(' ', "+"))).transpose()
}

/// A query parameter; one that is there but cannot be read is refused by its name.
fn parameter<T: FromStr>(
    request: &Request,
    name: &'static str,
    reason: &'static str,
) -> Result<Option<T>, Error> {
    let parameters = request.query_string_parameters_ref();
    let Some(text) = parameters.and_then(|parameters| parameters.first(name)) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| Error::invalid(name, reason))
}
