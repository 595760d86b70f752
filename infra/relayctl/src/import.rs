//! `agents import`: the agents of another registry, which may keep several versions of each.

use std::{cmp::Reverse, collections::BTreeMap};

use anyhow::{Context as _, bail};
use clap::Args;
use relay::agent::{Agent, AgentName, AgentStatus, StateMachineArn};
use serde_json::json;

use crate::{
    agents::{check, read},
    output::{Reply, start, table},
    registry::{self, Found, Row, RowStatus},
    stack::{Stack, refusal},
};

/// The longest name that is told of a row: others than an agent may be called anything.
const MAX_NAME: usize = 80;

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// JSON, as one array or one object a line, also as DynamoDB scans and exports have it; - is
    /// standard input.
    #[arg(required_unless_present = "table")]
    file: Option<String>,
    /// Read a DynamoDB table instead.
    #[arg(long, conflicts_with = "file")]
    table: Option<String>,
    /// Check all rows, and write none.
    #[arg(long)]
    dry_run: bool,
}

/// What becomes of a row.
#[derive(Debug)]
struct Chosen<T> {
    /// The name of its agent, or where it stands.
    name: String,
    version: Option<String>,
    row: anyhow::Result<T>,
}

pub(crate) async fn run(stack: &Stack, import: Import) -> anyhow::Result<Reply> {
    let rows = match (&import.table, &import.file) {
        (Some(table), _) => scan(stack, table).await?,
        (None, Some(file)) => registry::parse(&read(file)?)?,
        (None, None) => bail!("name a file or a table"),
    };
    let agents = stack.agents()?;
    let mut results = Vec::new();
    for Chosen { name, version, row } in newest(rows) {
        let checked = async {
            let agent = agent(stack, row?)?;
            check(stack, &agent).await?;
            if !import.dry_run {
                agents.put(&agent).await?;
            }
            anyhow::Ok(agent)
        };
        results.push(Chosen { name, version, row: checked.await });
    }
    report(&results, import.dry_run)
}

fn report(results: &[Chosen<Agent>], dry_run: bool) -> anyhow::Result<Reply> {
    let done = if dry_run { "would import" } else { "imported" };
    let rows: Vec<_> = results
        .iter()
        .map(|Chosen { name, version, row }| {
            let said = match row {
                Ok(agent) => format!("{done}, {}", agent.status.as_str()),
                Err(error) => format!("refused: {error:#}"),
            };
            [name.clone(), start(&version.clone().unwrap_or_default(), MAX_NAME), said]
        })
        .collect();
    let json: Vec<_> = results
        .iter()
        .map(|Chosen { name, version, row }| match row {
            Ok(agent) => json!({"agent_name": name, "imported": !dry_run, "agent": agent}),
            Err(error) => json!({
                "agent_name": name, "version": version, "imported": false,
                "refused": format!("{error:#}"),
            }),
        })
        .collect();
    let is_good = results.iter().all(|result| result.row.is_ok());
    let reply = Reply::new(&json!({"agents": json}), table(["AGENT", "VERSION", "RESULT"], &rows))?;
    Ok(reply.judged(is_good))
}

async fn scan(stack: &Stack, table: &str) -> anyhow::Result<Vec<anyhow::Result<Found>>> {
    let client = aws_sdk_dynamodb::Client::new(&stack.aws);
    let mut items = client.scan().table_name(table).into_paginator().items().send();
    let mut rows = Vec::new();
    while let Some(item) = items.next().await {
        let item =
            item.map_err(refusal).with_context(|| format!("cannot read the table {table}"))?;
        rows.push(Ok(Found::in_item(&item)));
    }
    Ok(rows)
}

/// The row of each agent that counts: the newest active one, or else the newest. All that cannot be
/// read are told, and where one of them might be the one that counts, no other passes for it.
fn newest(rows: Vec<anyhow::Result<Found>>) -> Vec<Chosen<Row>> {
    let mut chosen = Vec::new();
    let mut agents: BTreeMap<String, Versions> = BTreeMap::new();
    for (number, found) in (1..).zip(rows) {
        let place = format!("(row {number})");
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                chosen.push(Chosen { name: place, version: None, row: Err(error) });
                continue;
            }
        };
        let version = found.version();
        let row = found.read();
        if let Some(name) = found.name() {
            agents.entry(name).or_default().include(&found, version, row);
        } else {
            let row = row.and_then(|_| bail!("agent_name is missing"));
            chosen.push(Chosen { name: place, version, row });
        }
    }
    for (name, Versions { best, refused }) in agents {
        let name = start(&name, MAX_NAME);
        let counts = |it: &(Age, _)| refused.iter().all(|(age, ..)| *age < it.0);
        if let Some((_, row)) = best.filter(counts) {
            let version = Some(row.version.clone());
            chosen.push(Chosen { name: name.clone(), version, row: Ok(row) });
        }
        for (_, version, error) in refused {
            chosen.push(Chosen { name: name.clone(), version, row: Err(error) });
        }
    }
    chosen
}

/// Greater is newer, and active before all.
type Age = (bool, Version, Reverse<bool>);

/// What a registry has of one agent.
#[derive(Debug, Default)]
struct Versions {
    best: Option<(Age, Row)>,
    refused: Vec<(Age, Option<String>, anyhow::Error)>,
}

impl Versions {
    fn include(&mut self, found: &Found, version: Option<String>, row: anyhow::Result<Row>) {
        // What cannot be read might be active, and newer than any.
        let is_active = found.status().is_ok_and(|status| status == RowStatus::Active);
        let age = age(is_active || found.status().is_err(), version.as_deref());
        match row {
            Ok(row) if self.best.as_ref().is_none_or(|(best, _)| age > *best) => {
                self.best = Some((age, row));
            }
            Ok(_) => {}
            Err(error) => self.refused.push((age, version, error)),
        }
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    Numbers(Vec<u64>),
    Unknown,
}

fn age(is_active: bool, text: Option<&str>) -> Age {
    let Some(text) = text else { return (is_active, Version::Unknown, Reverse(false)) };
    let (numbers, is_preview) = version(text);
    (is_active, Version::Numbers(numbers), Reverse(is_preview))
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
    let name: AgentName = row
        .agent_name
        .parse()
        .with_context(|| format!("agent_name {:?}", start(&row.agent_name, MAX_NAME)))?;
    let arn = match (row.state_machine_arn, row.machine_output) {
        (Some(arn), _) => arn,
        (None, Some(output)) => stack.output(&output)?.to_owned(),
        (None, None) => bail!("state_machine_arn is missing"),
    };
    let machine: StateMachineArn = arn
        .trim()
        .parse()
        .with_context(|| format!("state_machine_arn {:?}", start(&arn, 2 * MAX_NAME)))?;
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
        tools: row.tools,
        llm_provider: row.llm_provider,
        llm_model: row.llm_model,
        average_execution_time: None,
        cost_estimate: row.cost_estimate,
        parameters_schema: row.parameters_schema,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn row(version: &str, status: &str) -> Value {
        json!({"agent_name": "a", "version": version, "status": status})
    }

    /// What becomes of these rows: name, version, and whether it is taken.
    fn chosen(rows: &[Value]) -> Vec<(String, String, bool)> {
        let rows = registry::parse(&json!(rows).to_string()).unwrap();
        let chosen = newest(rows).into_iter();
        chosen.map(|it| (it.name, it.version.unwrap_or_default(), it.row.is_ok())).collect()
    }

    fn of(name: &str, version: &str, is_taken: bool) -> (String, String, bool) {
        (name.to_owned(), version.to_owned(), is_taken)
    }

    #[test]
    fn the_newest_active_version_wins_whatever_the_order() {
        let older = row("v1.9", "active");
        let newer = row("v1.10", "ACTIVE");
        let preview = row("v1.10-beta.2", "active");
        let testing = row("v2.0", "testing");
        let mut rows = [older, newer, preview, testing];
        for _ in 0..rows.len() {
            rows.rotate_left(1);
            assert_eq!(chosen(&rows), [of("a", "v1.10", true)]);
        }
        let old = [row("2025-12-31", "deprecated"), row("2026-01-02", "deprecated")];
        assert_eq!(chosen(&old), [of("a", "2026-01-02", true)]);
    }

    #[test]
    fn a_row_that_cannot_be_read_is_told_and_not_replaced_by_an_older_one() {
        let refused = [of("a", "2", false)];
        let mut rows = [row("1", "active"), row("2", "production"), row("1", "active")];
        for _ in 0..rows.len() {
            rows.rotate_left(1);
            assert_eq!(chosen(&rows), refused);
        }
        // Its status might have been active.
        assert_eq!(chosen(&[row("3", "deprecated"), row("2", "production")]), refused);
        let mut newest = row("2", "active");
        newest["cost_estimate"] = json!("much");
        assert_eq!(chosen(&[row("1", "active"), newest.clone()]), refused);
        newest["version"] = json!([]);
        assert_eq!(chosen(&[row("9", "active"), newest]), [of("a", "", false)]);
    }

    #[test]
    fn a_row_that_cannot_be_read_stops_no_other() {
        let both = [of("a", "2", true), of("a", "1", false)];
        let mut rows = [row("1", "draft"), row("2", "active")];
        for _ in 0..rows.len() {
            rows.rotate_left(1);
            assert_eq!(chosen(&rows), both);
        }
        let mut deprecated = row("3", "deprecated");
        deprecated["cost_estimate"] = json!("much");
        let both = [of("a", "2", true), of("a", "3", false)];
        assert_eq!(chosen(&[deprecated, row("2", "active")]), both);

        let others = [
            json!({"agent_name": "b"}),
            json!(7),
            json!({"version": "3"}),
            json!({"agent_name": "c", "status": "draft"}),
            json!({"agent_name": null}),
            row("1", "active"),
        ];
        assert_eq!(
            chosen(&others),
            [
                of("(row 2)", "", false),
                of("(row 3)", "3", false),
                of("(row 5)", "", false),
                of("a", "1", true),
                of("b", "", true),
                of("c", "", false),
            ]
        );
    }
}
