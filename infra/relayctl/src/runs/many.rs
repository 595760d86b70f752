//! Changing many runs at once: it shows which, asks, and goes on past those that refuse.

use std::{
    collections::HashSet,
    io::{self, IsTerminal as _},
};

use anyhow::bail;
use clap::{Args, value_parser};
use relay::domain::{error::Error, id::ExecutionId};
use serde::Serialize;
use serde_json::json;

use crate::{
    output::{Reply, note, overwrite, say, table},
    runs::filter::{Filter, listed, selected},
    stack::Stack,
};

/// So many of the runs are shown before it asks.
const SHOWN: usize = 20;

#[derive(Debug, Args)]
pub(crate) struct Many {
    /// The ids of the runs.
    #[arg(conflicts_with_all = ["user", "agent", "status", "trouble", "since", "tag"])]
    ids: Vec<ExecutionId>,
    #[command(flatten)]
    filter: Filter,
    /// The maximum number of runs that the filters select, newest first.
    #[arg(long, default_value_t = 1000, value_parser = value_parser!(u16).range(1..=10_000))]
    limit: u16,
    /// Do not ask before changing what the filters select.
    #[arg(long)]
    yes: bool,
}

/// How a change is spoken of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    /// After "to".
    pub(super) verb: &'static str,
    /// After "whether it".
    pub(super) done: &'static str,
}

/// What became of one run.
#[derive(Debug, Serialize)]
struct Done {
    execution_id: ExecutionId,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Done(String),
    /// It was refused.
    Error(String),
    /// There was no answer: it may be done.
    Unknown(String),
}

impl Outcome {
    fn of(answer: Result<String, Error>) -> Self {
        match answer {
            Ok(told) => Self::Done(told),
            Err(error) if error.may_pass() => Self::Unknown(error.to_string()),
            Err(error) => Self::Error(error.to_string()),
        }
    }

    fn shown(&self, words: Words) -> String {
        match self {
            Self::Done(told) => told.clone(),
            Self::Error(error) => format!("refused: {error}"),
            Self::Unknown(error) => format!("not known whether it {}: {error}", words.done),
        }
    }
}

/// Does this once to each of the runs, of which one that refuses stops no other.
pub(super) async fn each(
    stack: &Stack,
    many: Many,
    words: Words,
    change: impl AsyncFn(&ExecutionId) -> Result<String, Error>,
) -> anyhow::Result<Reply> {
    let mut ids =
        if many.ids.is_empty() { asked(stack, &many, words.verb).await? } else { many.ids };
    let mut seen = HashSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    let is_live = ids.len() > 1 && io::stderr().is_terminal() && io::stdout().is_terminal();
    let mut done = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        if is_live {
            overwrite(&progress(number, ids.len()));
        }
        let outcome = Outcome::of(change(id).await);
        done.push(Done { execution_id: id.clone(), outcome });
    }
    if is_live {
        overwrite("");
    }
    let rows: Vec<_> =
        done.iter().map(|it| [it.execution_id.to_string(), it.outcome.shown(words)]).collect();
    let is_good = done.iter().all(|it| matches!(it.outcome, Outcome::Done(_)));
    Ok(Reply::new(&json!({"runs": done}), table(["RUN", "NOW"], &rows))?.judged(is_good))
}

/// Those that the filters select, once somebody has agreed to it.
async fn asked(stack: &Stack, many: &Many, verb: &str) -> anyhow::Result<Vec<ExecutionId>> {
    let Many { filter, limit, yes, .. } = many;
    if filter.is_empty() {
        bail!(
            "name the runs, or select them with --user, --agent, --status, --trouble, --since or --tag"
        );
    }
    let limit = usize::from(*limit);
    let runs = selected(stack, filter, limit).await?;
    if runs.len() == limit {
        note(&format!("These are the newest {limit}; --limit selects more."));
    }
    if !yes && !runs.is_empty() {
        if !io::stdin().is_terminal() {
            bail!(
                "{} runs are selected: to {verb} them without being asked, add --yes",
                runs.len()
            );
        }
        say(&listed(runs.get(..SHOWN).unwrap_or(&runs)));
        if let Some(more) = runs.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            say(&format!("and {more} more"));
        }
        say(&format!("To {verb} {} runs, type yes:", runs.len()));
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "yes") {
            bail!("nothing was changed");
        }
    }
    Ok(runs.into_iter().map(|run| run.execution_id).collect())
}

/// `[####      ] 4 of 10`
fn progress(done: usize, all: usize) -> String {
    const WIDTH: usize = 30;
    let full = done * WIDTH / all.max(1);
    format!("[{}{}] {done} of {all}", "#".repeat(full), " ".repeat(WIDTH - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_answered_is_not_called_refused() {
        let words = Words { verb: "start again", done: "was started" };
        let shown = |error| Outcome::of(Err(error)).shown(words);

        assert_eq!(Outcome::of(Ok("mcp-echo-1".to_owned())).shown(words), "mcp-echo-1");
        assert_eq!(shown(Error::NotFound("execution")), "refused: execution not found");
        assert_eq!(
            shown(Error::Busy("store an execution")),
            "not known whether it was started: cannot store an execution: the item is in use"
        );
    }

    #[test]
    fn progress_fills_its_bar() {
        assert_eq!(progress(0, 3), format!("[{}] 0 of 3", " ".repeat(30)));
        assert_eq!(progress(2, 3), format!("[{}{}] 2 of 3", "#".repeat(20), " ".repeat(10)));
        assert_eq!(progress(3, 3), format!("[{}] 3 of 3", "#".repeat(30)));
    }
}
