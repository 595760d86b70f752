//! `agents import`: the agents of another registry, which may keep several versions of each.

use std::{cmp::Reverse, collections::BTreeMap};

use anyhow::{Context as _, bail};
use clap::Args;
use relay::domain::{
    agent::{Agent, AgentStatus, StateMachineArn},
    id::AgentName,
};
use serde::Serialize;

use crate::{
    output::{Reply, table, truncated},
    registration::check,
    registry::{Found, Row, RowStatus},
    rows::{self, Entry, Place, read},
    stack::{Stack, refusal},
};

/// The longest name that is told of a row: others than an agent may be called anything.
const MAX_NAME: usize = 80;

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// A JSON file: one array or one object per line, or a DynamoDB scan or export. Use - for
    /// standard input.
    #[arg(required_unless_present = "table")]
    file: Option<String>,
    /// Read this DynamoDB table instead.
    #[arg(long, conflicts_with = "file")]
    table: Option<String>,
    /// Check all rows without writing any.
    #[arg(long)]
    dry_run: bool,
}

/// What becomes of a row.
#[derive(Debug)]
struct Chosen<T> {
    place: Place,
    /// Of its agent, where it can be told.
    name: Option<String>,
    version: Option<String>,
    row: anyhow::Result<T>,
}

/// The same as JSON, which keeps the digits of a schema.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<usize>,
    agent_name: Option<&'a str>,
    imported: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a Agent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

pub(crate) async fn run(stack: &Stack, import: Import) -> anyhow::Result<Reply> {
    let rows = match (&import.table, &import.file) {
        (Some(table), _) => scan(stack, table).await?,
        (None, Some(file)) => rows::parse(&read(file)?),
        (None, None) => bail!("give a file, or a table with --table"),
    };
    let agents = stack.agents()?;
    let mut results = Vec::new();
    for Chosen { place, name, version, row } in newest(rows) {
        let checked = async {
            let mut agent = agent(stack, row?)?;
            check(stack, &agent).await?;
            // No registry in the field has limits or links: they are ours, and stay.
            if let Some(known) = agents.find(&agent.agent_name).await? {
                agent.max_concurrent = known.max_concurrent;
                agent.max_concurrent_per_user = known.max_concurrent_per_user;
                agent.answer_links = known.answer_links;
            }
            if !import.dry_run {
                agents.put(&agent).await?;
            }
            anyhow::Ok(agent)
        };
        results.push(Chosen { place, name, version, row: checked.await });
    }
    report(&results, import.dry_run)
}

fn report(results: &[Chosen<Agent>], dry_run: bool) -> anyhow::Result<Reply> {
    let done = if dry_run { "would import" } else { "imported" };
    let rows: Vec<_> = results
        .iter()
        .map(|Chosen { place, name, version, row }| {
            let said = match row {
                Ok(agent) => format!("{done}, {}", agent.status.as_str()),
                Err(error) => format!("refused: {error:#}"),
            };
            let name = name.clone().unwrap_or_else(|| format!("({place})"));
            let version = truncated(&version.clone().unwrap_or_default(), MAX_NAME);
            [name, version, place.to_string(), said]
        })
        .collect();
    let told: Vec<_> = results.iter().map(|result| Told::of(result, dry_run)).collect();
    let is_good = results.iter().all(|result| result.row.is_ok());
    let text = table(["AGENT", "VERSION", "ROW", "RESULT"], &rows);
    Ok(Reply::new(&BTreeMap::from([("agents", told)]), text)?.judged(is_good))
}

impl<'a> Told<'a> {
    fn of(result: &'a Chosen<Agent>, dry_run: bool) -> Self {
        let Chosen { place, name, version, row } = result;
        let (line, item) = match place {
            Place::Line(number) => (Some(*number), None),
            Place::Item(number) => (None, Some(*number)),
        };
        Self {
            line,
            item,
            agent_name: name.as_deref(),
            imported: row.is_ok() && !dry_run,
            version: version.as_deref().filter(|_| row.is_err()),
            agent: row.as_ref().ok(),
            refused: row.as_ref().err().map(|error| format!("{error:#}")),
        }
    }
}

async fn scan(stack: &Stack, table: &str) -> anyhow::Result<Vec<Entry>> {
    let client = aws_sdk_dynamodb::Client::new(&stack.aws);
    let mut items = client.scan().table_name(table).into_paginator().items().send();
    let mut rows = Vec::new();
    while let Some(item) = items.next().await {
        let item =
            item.map_err(refusal).with_context(|| format!("cannot read the table {table}"))?;
        let place = Place::Item(rows.len() + 1);
        rows.push(Entry { place, name: None, row: Ok(Found::in_item(&item)) });
    }
    Ok(rows)
}

/// The row of each agent that counts: the newest active one, or else the newest. All that cannot be
/// read are told, and where one of them might be the one that counts, no other passes for it.
fn newest(rows: Vec<Entry>) -> Vec<Chosen<Row>> {
    let mut chosen = Vec::new();
    let mut agents: BTreeMap<String, Versions> = BTreeMap::new();
    for Entry { place, name, row } in rows {
        let found = match row {
            Ok(found) => found,
            Err(error) => {
                let name = name.map(|name| truncated(&name, MAX_NAME));
                chosen.push(Chosen { place, name, version: None, row: Err(error) });
                continue;
            }
        };
        if let Some(name) = found.name() {
            agents.entry(name).or_default().include(place, found);
        } else {
            let row = found.read().and_then(|_| bail!("agent_name is missing"));
            chosen.push(Chosen { place, name: None, version: found.version(), row });
        }
    }
    for (name, versions) in agents {
        let name = truncated(&name, MAX_NAME);
        let rows = versions.chosen().into_iter();
        chosen.extend(rows.map(|it| Chosen { name: Some(name.clone()), ..it }));
    }
    chosen.sort_by_key(|chosen| chosen.place);
    chosen
}

/// Greater is newer, and active before all.
type Age = (bool, Version, Reverse<bool>);

/// What a registry has of one agent: its rows by their version, and each version once, if all that is
/// said of it is the same.
#[derive(Debug, Default)]
struct Versions(BTreeMap<Option<String>, Vec<(Place, Found)>>);

impl Versions {
    fn include(&mut self, place: Place, found: Found) {
        let rows = self.0.entry(found.version()).or_default();
        if !rows.iter().any(|(_, row)| row.is_same(&found)) {
            rows.push((place, found));
        }
    }

    /// The row that counts, if it is clear which one does, and all that are refused.
    fn chosen(self) -> Vec<Chosen<Row>> {
        let (mut best, mut refused) = (None, Vec::new());
        for (version, rows) in self.0 {
            let places: Vec<_> = rows.iter().map(|(place, _)| *place).collect();
            for (place, found) in rows {
                let age = age(&found, version.as_deref());
                let row = found.read().and_then(|row| match others(place, &places) {
                    None => Ok(row),
                    Some(others) => {
                        bail!("agent_name and version are said of something else in {others}")
                    }
                });
                let chosen = Chosen { place, name: None, version: version.clone(), row };
                if chosen.row.is_err() {
                    refused.push((age, chosen));
                } else if best.as_ref().is_none_or(|(best, _)| age > *best) {
                    best = Some((age, chosen));
                }
            }
        }
        let best = best.filter(|(best, _)| refused.iter().all(|(age, _)| age < best));
        best.into_iter().chain(refused).map(|(_, chosen)| chosen).collect()
    }
}

/// Where else the same is said; some of these places.
fn others(place: Place, places: &[Place]) -> Option<String> {
    const SOME: usize = 3;
    let others = places.iter().filter(|other| **other != place).take(SOME);
    let others: Vec<_> = others.map(Place::to_string).collect();
    (!others.is_empty()).then(|| others.join(", "))
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    Numbers(Vec<u64>),
    Unknown,
}

fn age(found: &Found, text: Option<&str>) -> Age {
    // What cannot be read might be active, and newer than any.
    let is_active = found.status().map_or(true, |status| status == RowStatus::Active);
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
        .with_context(|| format!("agent_name {:?}", truncated(&row.agent_name, MAX_NAME)))?;
    let arn = match (row.state_machine_arn, row.machine_output) {
        (Some(arn), _) => arn,
        (None, Some(output)) => stack.output(&output)?.to_owned(),
        (None, None) => bail!("state_machine_arn is missing"),
    };
    let machine: StateMachineArn = arn
        .trim()
        .parse()
        .with_context(|| format!("state_machine_arn {:?}", truncated(&arn, 2 * MAX_NAME)))?;
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
        max_concurrent: None,
        max_concurrent_per_user: None,
        paused: false,
        answer_links: false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn row(version: &str, status: &str) -> Value {
        json!({"agent_name": "a", "version": version, "status": status})
    }

    /// What becomes of these rows, a line each: its number, name and version, and whether it is taken.
    fn chosen(rows: &[Value]) -> Vec<(usize, String, String, bool)> {
        let lines: Vec<_> = rows.iter().map(Value::to_string).collect();
        let chosen = newest(rows::parse(lines.join("\n").as_bytes())).into_iter();
        chosen
            .map(|it| {
                let Place::Line(number) = it.place else { panic!("it is a file") };
                let [name, version] = [it.name, it.version].map(Option::unwrap_or_default);
                (number, name, version, it.row.is_ok())
            })
            .collect()
    }

    fn of(line: usize, name: &str, version: &str, is_taken: bool) -> (usize, String, String, bool) {
        (line, name.to_owned(), version.to_owned(), is_taken)
    }

    #[test]
    fn the_newest_active_version_wins_whatever_the_order() {
        let older = row("v1.9", "active");
        let newer = row("v1.10", "ACTIVE");
        let preview = row("v1.10-beta.2", "active");
        let testing = row("v2.0", "testing");
        let mut rows = [older, newer.clone(), preview, testing];
        for _ in 0..rows.len() {
            rows.rotate_left(1);
            let line = rows.iter().position(|row| *row == newer).unwrap() + 1;
            assert_eq!(chosen(&rows), [of(line, "a", "v1.10", true)]);
        }
        let old = [row("2025-12-31", "deprecated"), row("2026-01-02", "deprecated")];
        assert_eq!(chosen(&old), [of(2, "a", "2026-01-02", true)]);
    }

    #[test]
    fn a_row_that_cannot_be_read_is_told_and_not_replaced_by_an_older_one() {
        let odd = row("2", "production");
        let mut rows = [row("1", "active"), odd.clone(), row("1", "active")];
        for _ in 0..rows.len() {
            rows.rotate_left(1);
            let line = rows.iter().position(|row| *row == odd).unwrap() + 1;
            assert_eq!(chosen(&rows), [of(line, "a", "2", false)]);
        }
        // Its status might have been active.
        assert_eq!(chosen(&[row("3", "deprecated"), odd]), [of(2, "a", "2", false)]);
        let mut newest = row("2", "active");
        newest["cost_estimate"] = json!("much");
        assert_eq!(chosen(&[row("1", "active"), newest.clone()]), [of(2, "a", "2", false)]);
        newest["version"] = json!([]);
        assert_eq!(chosen(&[row("9", "active"), newest]), [of(2, "a", "", false)]);
    }

    #[test]
    fn two_rows_of_one_version_are_refused_unless_they_say_the_same() {
        let said = |description: &str, version: &str| json!({"agent_name": "a", "version": version, "description": description});
        assert_eq!(
            chosen(&[said("x", "1"), said("y", "1"), said("x", "1"), said("z", "1")]),
            [of(1, "a", "1", false), of(2, "a", "1", false), of(4, "a", "1", false)]
        );
        assert_eq!(
            chosen(&[said("x", "1"), said("y", "1"), said("z", "2")]),
            [of(1, "a", "1", false), of(2, "a", "1", false), of(3, "a", "2", true)]
        );
        assert_eq!(chosen(&[said("x", ""), said("x", "")]), [of(1, "a", "", true)]);
        let both = [said("x", "1"), said("y", "1")].map(|row| row.to_string()).join("\n");
        let errors = newest(rows::parse(both.as_bytes())).into_iter().map(|it| it.row.unwrap_err());
        let errors: Vec<_> = errors.map(|error| error.to_string()).collect();
        assert!(errors[0].contains("agent_name") && errors[0].ends_with("line 2"), "{errors:?}");
        assert!(errors[1].ends_with("line 1"), "{errors:?}");
    }

    #[test]
    fn a_row_that_cannot_be_read_stops_no_other() {
        let draft = row("1", "draft");
        let mut rows = [draft.clone(), row("2", "active")];
        for _ in 0..rows.len() {
            rows.rotate_left(1);
            let mut both = [of(1, "a", "2", true), of(2, "a", "1", false)];
            if rows[0] == draft {
                both = [of(1, "a", "1", false), of(2, "a", "2", true)];
            }
            assert_eq!(chosen(&rows), both);
        }
        let mut deprecated = row("3", "deprecated");
        deprecated["cost_estimate"] = json!("much");
        let both = [of(1, "a", "3", false), of(2, "a", "2", true)];
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
                of(1, "b", "", true),
                of(2, "", "", false),
                of(3, "", "3", false),
                of(4, "c", "", false),
                of(5, "", "", false),
                of(6, "a", "1", true),
            ]
        );
    }
}
