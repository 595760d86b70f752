//! The `agents` table.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::{Client, types::AttributeValue};

use crate::{
    domain::{
        agent::{Agent, AgentStatus},
        error::Error,
        id::AgentName,
        json::Json,
    },
    store::{
        item::{Item, from_item, number, text, to_item, to_json},
        write::{Step, Write, is_refused, step},
    },
};

/// How long a changed agent row may go unnoticed by a warm function.
const CACHED_FOR: Duration = Duration::from_mins(1);

const SCHEMA: &str = "parameters_schema";

/// What an agent may be declared without.
const OPTIONAL: [&str; 7] = [
    "llm_provider",
    "llm_model",
    "cost_estimate",
    "max_concurrent",
    "max_concurrent_per_user",
    "answer_links",
    SCHEMA,
];

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
        match self.cached(name) {
            Some(agent) => Ok(Some(agent)),
            None => self.find_fresh(name).await,
        }
    }

    /// An agent as it is now, or was a moment ago.
    pub async fn find_fresh(&self, name: &AgentName) -> Result<Option<Agent>, Error> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("agent_name", text(name.as_str()))
            .send()
            .await
            .map_err(Error::aws("read an agent"))?;
        let agent = found.item.map(agent).transpose()?;
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
                agents.push(agent(item)?);
            }
        }
        Ok(agents)
    }

    /// Stores all that an agent is declared by, and keeps what was learnt of it meanwhile.
    pub async fn put(&self, agent: &Agent) -> Result<(), Error> {
        let mut declared = to_item(&Agent { parameters_schema: None, ..agent.clone() })?;
        declared.remove("agent_name");
        declared.remove("average_execution_time");
        declared.remove("paused");
        // As text, which keeps each of its digits.
        if let Some(schema) = &agent.parameters_schema {
            declared.insert(SCHEMA.to_owned(), text(schema.as_str()));
        }
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
        step(updated, "deactivate an agent")
    }

    /// Has an agent's runs wait from now on, or no longer; those that were accepted before a pause and take no slots
    /// are started all the same. `Stale` when there is no such agent.
    pub async fn pause(&self, name: &AgentName, paused: bool) -> Result<Step, Error> {
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("agent_name", text(name.as_str()))
            .update_expression("SET paused = :paused")
            .condition_expression("attribute_exists(agent_name)")
            .expression_attribute_values(":paused", AttributeValue::Bool(paused))
            .write()
            .await;
        step(updated, "pause an agent")
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

/// The agent of a row, whose schema is JSON as text, or a map where others have written it.
fn agent(mut row: Item) -> Result<Agent, Error> {
    let schema = row.remove(SCHEMA);
    let agent: Agent = from_item(row)?;
    let schema = schema.as_ref().and_then(|schema| match schema {
        AttributeValue::S(text) => Json::parse(text).or_else(|| to_json(schema)),
        schema => to_json(schema),
    });
    Ok(Agent { parameters_schema: schema.filter(|schema| !schema.node().is_null()), ..agent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_text_in_a_row_or_a_map_with_its_digits() {
        let number = AttributeValue::N("12345678901234567890.10".to_owned());
        let map = HashMap::from([("maximum".to_owned(), number)]);
        for (stored, read) in [
            (None, None),
            (Some(AttributeValue::Null(true)), None),
            (Some(text("null")), None),
            (Some(text(r#"{"maximum": 1.10}"#)), Some(r#"{"maximum": 1.10}"#)),
            (Some(AttributeValue::M(map)), Some(r#"{"maximum":12345678901234567890.10}"#)),
            // It is no schema, which a start is refused for.
            (Some(text("none")), Some(r#""none""#)),
            (Some(text("")), Some(r#""""#)),
        ] {
            let mut row = Item::from([
                ("agent_name".to_owned(), text("echo")),
                ("status".to_owned(), text("active")),
                ("state_machine_arn".to_owned(), text("arn")),
            ]);
            row.extend(stored.map(|schema| (SCHEMA.to_owned(), schema)));
            let agent = agent(row).unwrap();
            assert_eq!(agent.parameters_schema.as_ref().map(Json::as_str), read);
        }
    }
}
