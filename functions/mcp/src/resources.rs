//! The resources: the agents and the caller's executions, under `agents://`.

use relay::{
    domain::{
        caller::Caller,
        error::Error,
        id::{AgentName, ExecutionId},
    },
    http::{answer::lists::AgentList, body::ListRequest},
    service::Services,
};
use rmcp::model::{CacheScope, ReadResourceResult, Resource, ResourceContents, ResourceTemplate};
use serde::Serialize;

const JSON: &str = "application/json";
const AVAILABLE: &str = "agents://available";
const EXECUTIONS: &str = "agents://executions";
const EXECUTION_TEMPLATE: &str = "agents://executions/{execution_id}";
const RESULT_TEMPLATE: &str = "agents://executions/{execution_id}/result";
pub(crate) const AGENT_TEMPLATE: &str = "agents://agents/{agent_name}";

/// How long a client may keep the agents, in milliseconds.
const MINUTE: u64 = 60 * 1000;

/// What a URI of ours names.
#[derive(Debug, PartialEq)]
pub(crate) enum ResourceUri {
    Available,
    Executions,
    Execution(ExecutionId),
    Result(ExecutionId),
    Agent(AgentName),
}

impl ResourceUri {
    pub(crate) fn parse(uri: &str) -> Option<Self> {
        match uri {
            AVAILABLE => return Some(Self::Available),
            EXECUTIONS => return Some(Self::Executions),
            _ => {}
        }
        if let Some(name) = uri.strip_prefix("agents://agents/") {
            return name.parse().ok().map(Self::Agent);
        }
        let id = uri.strip_prefix("agents://executions/")?;
        match id.strip_suffix("/result") {
            Some(id) => id.parse().ok().map(Self::Result),
            None => id.parse().ok().map(Self::Execution),
        }
    }
}

pub(crate) fn list() -> Vec<Resource> {
    vec![
        Resource::new(AVAILABLE, "available")
            .with_title("Available agents")
            .with_description("The agents that you can start, with a description of each.")
            .with_mime_type(JSON),
        Resource::new(EXECUTIONS, "executions")
            .with_title("Recent executions")
            .with_description("Your most recent executions, newest first.")
            .with_mime_type(JSON),
    ]
}

pub(crate) fn templates() -> Vec<ResourceTemplate> {
    vec![
        ResourceTemplate::new(EXECUTION_TEMPLATE, "execution")
            .with_title("Execution")
            .with_description("The status of one execution: progress, times and open questions.")
            .with_mime_type(JSON),
        ResourceTemplate::new(RESULT_TEMPLATE, "result")
            .with_title("Result of an execution")
            .with_description("The result of one execution, or its status if it has not ended.")
            .with_mime_type(JSON),
        ResourceTemplate::new(AGENT_TEMPLATE, "agent")
            .with_title("Agent")
            .with_description("One agent: its description, its tools and its average time.")
            .with_mime_type(JSON),
    ]
}

/// The link to an execution that `start_agent` answers with.
pub(crate) fn link(id: &ExecutionId) -> Resource {
    Resource::new(format!("{EXECUTIONS}/{id}"), id.as_str())
        .with_title("The started execution")
        .with_mime_type(JSON)
}

pub(crate) async fn read(
    services: &Services,
    caller: &Caller,
    place: &ResourceUri,
    uri: &str,
) -> Result<ReadResourceResult, Error> {
    let reader = &services.reader;
    match place {
        ResourceUri::Available => {
            contents(uri, &AgentList { agents: reader.agents(caller).await? }, MINUTE)
        }
        ResourceUri::Executions => {
            let newest =
                ListRequest { limit: ListRequest::DEFAULT_LIMIT, ..ListRequest::default() };
            contents(uri, &reader.list(caller, newest).await?, 0)
        }
        ResourceUri::Execution(id) => contents(uri, &reader.monitor(caller, id, None).await?, 0),
        ResourceUri::Result(id) => contents(uri, &reader.results(caller, id, false).await?, 0),
        ResourceUri::Agent(name) => {
            let agents = reader.agents(caller).await?;
            let agent = agents.into_iter().find(|agent| agent.name == *name);
            contents(uri, &agent.ok_or(Error::NotFound("agent"))?, MINUTE)
        }
    }
}

/// The names of the agents that begin so.
pub(crate) async fn complete_agent(
    services: &Services,
    caller: &Caller,
    prefix: &str,
) -> Result<Vec<String>, Error> {
    let agents = services.reader.agents(caller).await?;
    let names = agents.into_iter().map(|agent| String::from(agent.name));
    Ok(names.filter(|name| name.starts_with(prefix)).collect())
}

/// One JSON document, for the caller alone.
fn contents(uri: &str, content: &impl Serialize, ttl_ms: u64) -> Result<ReadResourceResult, Error> {
    let text =
        serde_json::to_string(content).map_err(|error| Error::corrupt("a resource", error))?;
    let document = ResourceContents::text(text, uri).with_mime_type(JSON);
    let mut result = ReadResourceResult::new(vec![document]);
    (result.ttl_ms, result.cache_scope) = (Some(ttl_ms), Some(CacheScope::Private));
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_name_places_and_others_name_none() {
        let id: ExecutionId = "mcp-echo-1".parse().unwrap();
        for (uri, place) in [
            ("agents://available", ResourceUri::Available),
            ("agents://executions", ResourceUri::Executions),
            ("agents://executions/mcp-echo-1", ResourceUri::Execution(id.clone())),
            ("agents://executions/mcp-echo-1/result", ResourceUri::Result(id)),
            ("agents://agents/echo", ResourceUri::Agent("echo".parse().unwrap())),
        ] {
            assert_eq!(ResourceUri::parse(uri), Some(place), "{uri}");
        }
        for uri in [
            "",
            "agents://",
            "agents://agents/",
            "agents://agents/a b",
            "agents://executions/",
            "agents://executions/echo-1",
            "agents://executions/mcp-echo-1/results",
            "agents://executions/mcp-echo-1/result/",
            "AGENTS://available",
            "file:///etc/passwd",
        ] {
            assert_eq!(ResourceUri::parse(uri), None, "{uri}");
        }
    }
}
