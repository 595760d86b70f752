//! The `agents` table.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::Client;

use super::{from_item, is_refused, number, text};
use crate::{
    agent::{Agent, AgentName},
    error::Error,
};

/// How long a changed agent row may go unnoticed by a warm function.
const CACHED_FOR: Duration = Duration::from_mins(1);

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

    /// All active agents, by name.
    pub async fn list_active(&self) -> Result<Vec<Agent>, Error> {
        let mut agents = Vec::new();
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("status")
            .key_condition_expression("#status = :active")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":active", text("active"))
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            for item in page.map_err(Error::aws("list agents"))?.items.unwrap_or_default() {
                agents.push(from_item(item)?);
            }
        }
        Ok(agents)
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
            .send()
            .await;
        match updated {
            Ok(_) => Ok(()),
            // Removed meanwhile: nothing to keep an average of.
            Err(error) if is_refused(&error) => Ok(()),
            Err(error) => Err(Error::aws("store an agent's average")(error)),
        }
    }
}
