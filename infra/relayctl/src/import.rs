//! `agents import`: rows of agent registries in the field, which keep several versions of an
//! agent, and lists as JSON in a string.

use std::{cmp::Reverse, collections::BTreeMap};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use relay::{
    agent::{Agent, AgentName, AgentStatus, StateMachineArn},
    store::from_item,
};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, json};

use crate::{
    agents::{check, read},
    output::{Reply, table},
    stack::{Stack, refusal},
};

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// JSON, as one array or as one object a line; - is standard input.
    #[arg(required_unless_present = "table")]
    file: Option<String>,
    /// Read a DynamoDB table instead.
    #[arg(long, conflicts_with = "file")]
    table: Option<String>,
    /// Check all rows, and write none.
    #[arg(long)]
    dry_run: bool,
}

/// A row as registries have it. What they keep besides is not ours to know.
#[derive(Debug, Clone, Deserialize)]
struct Row {
    agent_name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    status: RowStatus,
    #[serde(default)]
    description: String,
    state_machine_arn: Option<String>,
    /// Or the output of our stack that has the ARN: for the example agents.
    machine_output: Option<String>,
    #[serde(default, deserialize_with = "unquoted")]
    tools: Vec<Tool>,
    llm_provider: Option<String>,
    llm_model: Option<String>,
    cost_estimate: Option<f64>,
    #[serde(default, deserialize_with = "unquoted")]
    parameters_schema: Option<Value>,
    /// Some registries have the ARN in here, among what may be anything.
    #[serde(default)]
    metadata: Value,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RowStatus {
    #[default]
    Active,
    Inactive,
    Deprecated,
    Testing,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Tool {
    Name(String),
    Entry { tool_name: Option<String>, tool_id: Option<String>, enabled: Option<bool> },
}

/// A value as it is, or as JSON in a string; an empty string is nothing.
fn unquoted<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: for<'any> Deserialize<'any> + Default,
{
    let value = match Value::deserialize(deserializer)? {
        Value::Null => return Ok(T::default()),
        Value::String(text) if text.trim().is_empty() => return Ok(T::default()),
        Value::String(text) => serde_json::from_str(&text).map_err(D::Error::custom)?,
        value => value,
    };
    serde_json::from_value(value).map_err(D::Error::custom)
}

pub(crate) async fn run(stack: &Stack, import: Import) -> anyhow::Result<Reply> {
    let rows = match (&import.table, &import.file) {
        (Some(table), _) => scan(stack, table).await?,
        (None, Some(file)) => parse(&read(file)?)?,
        (None, None) => bail!("name a file or a table"),
    };
    let agents = stack.agents()?;
    let mut results = Vec::new();
    for (name, row) in newest(rows) {
        let checked = async {
            let row = row?;
            let agent = agent(stack, row)?;
            check(stack, &agent).await?;
            if !import.dry_run {
                agents.put(&agent).await?;
            }
            anyhow::Ok(agent)
        };
        results.push((name, checked.await));
    }
    report(&results, import.dry_run)
}

fn report(results: &[(String, anyhow::Result<Agent>)], dry_run: bool) -> anyhow::Result<Reply> {
    let done = if dry_run { "would import" } else { "imported" };
    let rows: Vec<_> = results
        .iter()
        .map(|(name, result)| match result {
            Ok(agent) => {
                [name.clone(), agent.version.clone(), format!("{done}, {}", agent.status.as_str())]
            }
            Err(error) => [name.clone(), String::new(), format!("refused: {error:#}")],
        })
        .collect();
    let json: Vec<_> = results
        .iter()
        .map(|(name, result)| match result {
            Ok(agent) => json!({"agent_name": name, "imported": !dry_run, "agent": agent}),
            Err(error) => {
                json!({"agent_name": name, "imported": false, "refused": format!("{error:#}")})
            }
        })
        .collect();
    let is_good = results.iter().all(|(_, result)| result.is_ok());
    let reply = Reply::new(&json!({"agents": json}), table(["AGENT", "VERSION", "RESULT"], &rows))?;
    Ok(reply.judged(is_good))
}

async fn scan(stack: &Stack, table: &str) -> anyhow::Result<Vec<Value>> {
    let client = aws_sdk_dynamodb::Client::new(&stack.aws);
    let mut items = client.scan().table_name(table).into_paginator().items().send();
    let mut rows = Vec::new();
    while let Some(item) = items.next().await {
        rows.push(from_item(
            item.map_err(refusal).with_context(|| format!("cannot read the table {table}"))?,
        )?);
    }
    Ok(rows)
}

/// One array, one object, or an object a line.
fn parse(text: &str) -> anyhow::Result<Vec<Value>> {
    let mut rows = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter() {
        match value.context("the rows are no JSON")? {
            Value::Array(array) => rows.extend(array),
            value => rows.push(value),
        }
    }
    Ok(rows)
}

/// The row of each agent that counts: the newest active one, or else the newest. One that cannot
/// be read is told by its name, and lets no older one pass for it.
fn newest(rows: Vec<Value>) -> BTreeMap<String, anyhow::Result<Row>> {
    let mut newest: BTreeMap<String, anyhow::Result<Row>> = BTreeMap::new();
    for value in rows {
        let name =
            value.get("agent_name").and_then(Value::as_str).unwrap_or("(no name)").to_owned();
        let row: anyhow::Result<Row> =
            serde_json::from_value(value).map_err(|error| anyhow!(error));
        let wins = match (newest.get(&name), &row) {
            (None, _) | (Some(Ok(_)), Err(_)) => true,
            (Some(Err(_)), _) => false,
            (Some(Ok(best)), Ok(row)) => age(row) > age(best),
        };
        if wins {
            newest.insert(name, row);
        }
    }
    newest
}

/// Greater is newer, and active before all.
fn age(row: &Row) -> (bool, Vec<u64>, Reverse<bool>) {
    let (numbers, is_preview) = version(&row.version);
    (row.status == RowStatus::Active, numbers, Reverse(is_preview))
}

/// The numbers of `v1.10` or `2026-01-31`, and whether it is a preview, as `2.0-beta` is.
fn version(text: &str) -> (Vec<u64>, bool) {
    let (numbers, is_preview) = match text.split_once('-') {
        Some((release, _)) if release.contains('.') => (release, true),
        _ => (text, false),
    };
    let numbers = numbers.split(|char: char| !char.is_ascii_digit());
    (numbers.filter_map(|number| number.parse().ok()).collect(), is_preview)
}

fn agent(stack: &Stack, row: Row) -> anyhow::Result<Agent> {
    let name: AgentName =
        row.agent_name.parse().with_context(|| format!("the name {:?}", row.agent_name))?;
    let nested = || arn_within(&row.metadata);
    let arn = match (row.state_machine_arn.or_else(nested), row.machine_output) {
        (Some(arn), _) => arn,
        (None, Some(output)) => stack.output(&output)?.to_owned(),
        (None, None) => bail!("it names no state_machine_arn"),
    };
    let machine: StateMachineArn =
        arn.parse().with_context(|| format!("state_machine_arn {arn:?}"))?;
    Ok(Agent {
        agent_name: name,
        status: match row.status {
            RowStatus::Active => AgentStatus::Active,
            RowStatus::Inactive | RowStatus::Deprecated | RowStatus::Testing => {
                AgentStatus::Inactive
            }
        },
        state_machine_arn: machine,
        description: row.description,
        version: row.version,
        tools: row.tools.into_iter().filter_map(Tool::used).collect(),
        llm_provider: row.llm_provider,
        llm_model: row.llm_model,
        average_execution_time: None,
        cost_estimate: row.cost_estimate,
        parameters_schema: row.parameters_schema,
    })
}

fn arn_within(metadata: &Value) -> Option<String> {
    let unquoted = metadata.as_str().and_then(|text| serde_json::from_str(text).ok());
    let metadata: &Value = unquoted.as_ref().unwrap_or(metadata);
    metadata.get("state_machine_arn")?.as_str().map(str::to_owned)
}

impl Tool {
    /// Its name, unless it is switched off.
    fn used(self) -> Option<String> {
        match self {
            Self::Name(name) => Some(name),
            Self::Entry { tool_name, tool_id, enabled } => {
                tool_name.or(tool_id).filter(|_| enabled.unwrap_or(true))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(version: &str, status: &str) -> Value {
        json!({"agent_name": "a", "version": version, "status": status})
    }

    fn winner(rows: &[Value]) -> (String, RowStatus) {
        let row = newest(rows.to_vec()).remove("a").unwrap().unwrap();
        (row.version, row.status)
    }

    #[test]
    fn the_newest_active_version_wins_whatever_the_order() {
        let older = row("v1.9", "active");
        let newer = row("v1.10", "active");
        let preview = row("v1.10-beta.2", "active");
        let testing = row("v2.0", "testing");
        let mut rows = [older, newer, preview, testing];
        for _ in 0..rows.len() {
            rows.rotate_left(1);
            assert_eq!(winner(&rows), ("v1.10".to_owned(), RowStatus::Active));
        }
        let old = [row("2025-12-31", "deprecated"), row("2026-01-02", "deprecated")];
        assert_eq!(winner(&old), ("2026-01-02".to_owned(), RowStatus::Deprecated));
    }

    #[test]
    fn lists_may_be_json_in_a_string() {
        let quoted = json!({
            "agent_name": "a", "metadata": r#"{"state_machine_arn": "arn"}"#, "parameters_schema": "",
            "tools": r#"[{"tool_name": "x", "enabled": true}, {"tool_id": "y"}, {"tool_name": "z", "enabled": false}, "w"]"#,
        });
        let row: Row = serde_json::from_value(quoted).unwrap();

        assert_eq!(arn_within(&row.metadata).as_deref(), Some("arn"));
        for odd in [json!(null), json!("text"), json!([]), json!({"state_machine_arn": 1})] {
            assert_eq!(arn_within(&odd), None);
        }
        assert_eq!(row.parameters_schema, None);
        let tools: Vec<_> = row.tools.into_iter().filter_map(Tool::used).collect();
        assert_eq!(tools, ["x", "y", "w"]);
    }

    #[test]
    fn a_row_that_cannot_be_read_is_told_and_not_replaced_by_an_older_one() {
        let rows = vec![row("1", "active"), row("2", "dancing"), row("1", "active"), json!(7)];
        let newest = newest(rows);

        assert!(newest["a"].is_err());
        assert!(newest["(no name)"].is_err());
    }

    #[test]
    fn rows_come_as_an_array_or_as_lines() {
        assert_eq!(parse("[1, 2]").unwrap(), parse("1\n2\n").unwrap());
        assert!(parse("[1, 2").is_err());
    }
}
