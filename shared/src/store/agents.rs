//! The `agents` table.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::Client;

use super::{Write, from_item, is_refused, number, text, to_item, transitions::Step};
use crate::{
    agent::{Agent, AgentName, AgentStatus},
    error::Error,
};

/// How long a changed agent row may go unnoticed by a warm function.
const CACHED_FOR: Duration = Duration::from_mins(1);

/// What an agent may be declared without.
const OPTIONAL: [&str; 4] = ["llm_provider", "llm_model", "cost_estimate", "parameters_schema"];

#[derive(Debug)]
pub struct Agents {
    client: Client,
    table: String,
    cache: Mutex<HashMap<AgentName, (Instant, Agent)>>,
}

impl Agents {
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table, cache: Mutex::default() }
    }

    /// An agent, at most a minute old. Only hits are kept: a new agent is there at once.
    pub async fn find(&self, name: &AgentName) -> Result<Option<Agent>, Error> {
        if let Some(agent) = self.cached(name) {
            return Ok(Some(agent));
        }
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("agent_name", text(name.as_str()))
            .send()
            .await
            .map_err(Error::aws("read an agent"))?;
        let agent: Option<Agent> = found.item.map(from_item).transpose()?;
        if let Some(agent) = &agent {
            // A thread that panicked with the lock held leaves a cache that is still whole.
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.insert(name.clone(), (Instant::now(), agent.clone()));
        }
        Ok(agent)
    }

    fn cached(&self, name: &AgentName) -> Option<Agent> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let (read_at, agent) = cache.get(name)?;
        (read_at.elapsed() < CACHED_FOR).then(|| agent.clone())
    }

    /// All agents in this status, by name.
    pub async fn list(&self, status: AgentStatus) -> Result<Vec<Agent>, Error> {
        let mut agents = Vec::new();
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("status")
            .key_condition_expression("#status = :status")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":status", text(status.as_str()))
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            for item in page.map_err(Error::aws("list agents"))?.items.unwrap_or_default() {
                agents.push(from_item(item)?);
            }
        }
        Ok(agents)
    }

    /// Stores all that an agent is declared by, and keeps what was learnt of it meanwhile.
    pub async fn put(&self, agent: &Agent) -> Result<(), Error> {
        let mut declared = to_item(agent)?;
        declared.remove("agent_name");
        declared.remove("average_execution_time");
        // Through placeholders, since several of these names are reserved words.
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("agent_name", text(agent.agent_name.as_str()));
        let (mut set, mut remove) = (Vec::new(), Vec::new());
        for name in OPTIONAL {
            if !declared.contains_key(name) {
                remove.push(format!("#{name}"));
                update = update.expression_attribute_names(format!("#{name}"), name);
            }
        }
        for (name, value) in declared {
            set.push(format!("#{name} = :{name}"));
            update = update
                .expression_attribute_values(format!(":{name}"), value)
                .expression_attribute_names(format!("#{name}"), name);
        }
        let mut expression = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            expression = format!("{expression} REMOVE {}", remove.join(", "));
        }
        update.update_expression(expression).write().await.map_err(Error::aws("store an agent"))?;
        Ok(())
    }

    /// Refuses an agent's starts from now on, or in a minute where a warm function still has its
    /// row. `Stale` when there is no such agent.
    pub async fn deactivate(&self, name: &AgentName) -> Result<Step, Error> {
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("agent_name", text(name.as_str()))
            .update_expression("SET #status = :inactive")
            .condition_expression("attribute_exists(agent_name)")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":inactive", text(AgentStatus::Inactive.as_str()))
            .write()
            .await;
        match updated {
            Ok(_) => Ok(Step::Applied),
            Err(error) if is_refused(&error) => Ok(Step::Stale),
            Err(error) => Err(Error::aws("deactivate an agent")(error)),
        }
    }

    /// Stores a new average of an agent that exists.
    pub async fn set_average(&self, name: &AgentName, seconds: f64) -> Result<(), Error> {
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("agent_name", text(name.as_str()))
            .update_expression("SET average_execution_time = :seconds")
            .condition_expression("attribute_exists(agent_name)")
            .expression_attribute_values(":seconds", number(seconds))
            .write()
            .await;
        match updated {
            Ok(_) => Ok(()),
            // Removed meanwhile: nothing to keep an average of.
            Err(error) if is_refused(&error) => Ok(()),
            Err(error) => Err(Error::aws("store an agent's average")(error)),
        }
    }
}
