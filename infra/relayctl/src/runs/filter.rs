//! Which runs a command is about: all that its filters select.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    time::Duration,
};

use anyhow::bail;
use clap::Args;
use relay::{
    domain::{
        debt::{Debt, DebtKind},
        execution::Execution,
        id::{AgentName, ExecutionId, UserId},
        status::Status,
        time::Timestamp,
    },
    http::{
        answer::monitor::{Monitor, TroubleKind},
        body::ListRequest,
    },
    store::{
        batch::MAX_BATCH,
        due::{End, FOREVER, Overdue},
    },
};

use crate::{
    output::{minute, note, span, table},
    stack::{Stack, operator},
};

/// The most that is looked at of what stands under one key of the index of debts.
const MOST_PAGES: usize = 10;

#[derive(Debug, Args)]
pub(crate) struct Filter {
    #[arg(long)]
    user: Option<String>,
    #[arg(long)]
    agent: Option<AgentName>,
    #[arg(long, value_parser = status)]
    status: Option<Status>,
    /// Only runs that failed or timed out, or that have an event that could not be delivered. Of
    /// all users, unless --user is given.
    #[arg(long)]
    trouble: bool,
    /// Only runs created not longer ago than this, such as 90m, 24h or 7d. With --trouble: gone wrong
    /// since then. With --status failed or timeout, and no --user: failed or timed out since then.
    #[arg(long, value_parser = ago)]
    since: Option<Duration>,
    /// Only runs with this tag, as key=value.
    #[arg(long)]
    tag: Option<String>,
}

impl Filter {
    /// The same as a request asks for it.
    fn request(&self) -> ListRequest {
        let since = self.since.map(|ago| Timestamp::now().minus(ago));
        ListRequest {
            agent_name: self.agent.clone(),
            status: self.status,
            trouble: self.is_of_trouble(),
            since,
            created_after: since.filter(|_| !self.is_of_trouble()),
            tag: self.tag.clone(),
            ..ListRequest::default()
        }
    }

    /// Whether it selects nothing, which would be everything.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { user, agent, status, trouble, since, tag } = self;
        let given =
            [user.is_some(), agent.is_some(), status.is_some(), since.is_some(), tag.is_some()];
        !trouble && given.iter().all(|given| !given)
    }

    /// Whether it is the index of trouble that has them: of all users, no other knows runs that have
    /// ended.
    fn is_of_trouble(&self) -> bool {
        self.trouble || (self.user.is_none() && self.status.is_some_and(Status::is_trouble))
    }

    /// Whether the list of trouble is read only for the runs that failed or timed out themselves. An
    /// event that could not be delivered may be of a run that failed long before.
    fn is_of_failures(&self) -> bool {
        self.is_of_trouble() && !self.trouble
    }

    /// Whether it selects this run of a page.
    fn selects(&self, run: &Monitor) -> bool {
        !self.is_of_failures() || run.trouble.iter().any(|it| *it != TroubleKind::Undelivered)
    }
}

fn status(text: &str) -> Result<Status, &'static str> {
    text.parse().map_err(
        |()| "must be scheduled, queued, running, input_required, completed, failed, timeout or cancelled",
    )
}

/// A number of minutes, hours or days.
fn ago(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "must be a number with m, h or d, such as 24h";
    let unit = text.chars().last().ok_or(WRONG)?;
    let seconds = match unit {
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return Err(WRONG),
    };
    let count: u32 = text.strip_suffix(unit).and_then(|it| it.parse().ok()).ok_or(WRONG)?;
    Ok(Duration::from_secs(u64::from(count) * seconds))
}

/// The runs that a filter selects, newest first.
pub(crate) async fn selected(
    stack: &Stack,
    filter: &Filter,
    limit: usize,
) -> anyhow::Result<Vec<Monitor>> {
    if filter.user.is_some() || filter.is_of_trouble() {
        return pages(stack, filter, limit).await;
    }
    if filter.status.is_some_and(Status::is_end) {
        bail!("the runs of all users that ended well are in no list: name a --user");
    }
    open(stack, filter, limit).await
}

pub(crate) fn listed(runs: &[Monitor]) -> String {
    let now = Timestamp::now();
    let rows: Vec<_> = runs
        .iter()
        .map(|run| {
            let is_untold = run.trouble.contains(&TroubleKind::Undelivered);
            [
                run.execution_id.to_string(),
                format!("{}{}", run.status, if is_untold { ", undelivered" } else { "" }),
                percent(run),
                minute(run.created_at),
                span(run.completed_at.unwrap_or(now).millis_since(run.created_at)),
                run.message.clone(),
            ]
        })
        .collect();
    table(["RUN", "STATUS", "PROGRESS", "CREATED", "TOOK", "MESSAGE"], &rows)
}

/// Runs in the order in which they were found, each once.
#[derive(Debug, Default)]
struct Runs {
    found: Vec<Monitor>,
    places: HashMap<ExecutionId, usize>,
}

impl Runs {
    /// Adds those of a page that the filter selects. A run may stand on two pages of trouble, for
    /// different things that went wrong with it.
    fn add(&mut self, page: Vec<Monitor>, filter: &Filter) {
        for run in page.into_iter().filter(|run| filter.selects(run)) {
            match self.places.entry(run.execution_id.clone()) {
                Entry::Vacant(place) => {
                    place.insert(self.found.len());
                    self.found.push(run);
                }
                Entry::Occupied(place) => {
                    if let Some(known) = self.found.get_mut(*place.get()) {
                        let new = run.trouble.iter().filter(|it| !known.trouble.contains(it));
                        let new: Vec<_> = new.copied().collect();
                        known.trouble.extend(new);
                    }
                }
            }
        }
    }
}

/// As a user's list has them, or, of trouble, everybody's.
async fn pages(stack: &Stack, filter: &Filter, limit: usize) -> anyhow::Result<Vec<Monitor>> {
    let reader = stack.reader()?;
    let wanted = filter.request();
    let owner: Option<UserId> = filter.user.clone().map(Into::into);
    let mut runs = Runs::default();
    let mut cursor = None;
    loop {
        let missing = limit - runs.found.len();
        // Where most of a page may be left out, a small one would be a request for a few entries.
        let page = if filter.is_of_failures() { ListRequest::MAX_LIMIT } else { missing };
        let request = ListRequest {
            limit: page.min(ListRequest::MAX_LIMIT),
            cursor,
            owner: owner.clone(),
            ..wanted.clone()
        };
        let page = reader.list(&operator(), request).await?;
        runs.add(page.executions, filter);
        for batch in page.batches.iter().filter(|_| filter.trouble) {
            let id = &batch.batch_id;
            note(&format!("That {id} is complete was not delivered: relayctl runs show {id}"));
        }
        cursor = page.next_cursor;
        if cursor.is_none() || runs.found.len() >= limit {
            runs.found.truncate(limit);
            return Ok(runs.found);
        }
    }
}

/// The runs that have not ended, as the index has them that `sweep` pays from.
async fn open(stack: &Stack, filter: &Filter, limit: usize) -> anyhow::Result<Vec<Monitor>> {
    let wanted = filter.request();
    let (runs, is_cut) = open_where(stack, |run| wanted.wants(run)).await?;
    if is_cut {
        note(&cut("To select from all runs of one user, add --user."));
    }
    let now = Timestamp::now();
    let mut runs: Vec<_> = runs.into_iter().map(|run| Monitor::of(run, now)).collect();
    runs.sort_by_key(|run| std::cmp::Reverse(run.created_at));
    runs.truncate(limit);
    Ok(runs)
}

/// A user's runs that have not ended and that this key has started.
pub(crate) async fn open_of(
    stack: &Stack,
    user: &UserId,
    key_id: &str,
) -> anyhow::Result<Vec<Execution>> {
    let by_it = |run: &Execution| run.started_by.as_ref().is_some_and(|by| by.key_id == key_id);
    let (runs, is_cut) = open_where(stack, |run| run.user_id == *user && by_it(run)).await?;
    if is_cut {
        note(&cut(&format!("relayctl runs list --user {user} lists all runs of this user.")));
    }
    Ok(runs)
}

/// That not all open runs were read, and what to do about it.
fn cut(advice: &str) -> String {
    let most = MOST_PAGES * MAX_BATCH;
    format!(
        "Some open runs may be missing: at most {most} entries are read under each key of the index, \
         and there are more. {advice}"
    )
}

/// At most so many pages of each key of the index, each run once; and whether there was more.
async fn open_where(
    stack: &Stack,
    is_wanted: impl Fn(&Execution) -> bool,
) -> anyhow::Result<(Vec<Execution>, bool)> {
    let due = stack.due()?;
    let mut runs = Vec::new();
    // A run that moves meanwhile is found under two keys, or twice under one.
    let mut seen = HashSet::new();
    let mut is_cut = false;
    let kinds = DebtKind::ALL.into_iter().filter(|kind| kind.is_of_a_run());
    for debt in kinds.flat_map(DebtKind::keys).chain([Debt::dead()]) {
        let mut after = None;
        for _ in 0..MOST_PAGES {
            let page = due.overdue(&debt, FOREVER, End::Newest, after).await?;
            for found in due.read(&page.items).await?.into_iter().flatten() {
                match found.overdue {
                    Ok(Overdue::Run(run)) if !run.status.is_end() && is_wanted(&run) => {
                        if seen.insert(run.execution_id.clone()) {
                            runs.push(*run);
                        }
                    }
                    // Not a run, or one that `dead-letters` lists.
                    Ok(_) | Err(_) => {}
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        is_cut |= after.is_some();
    }
    Ok((runs, is_cut))
}

pub(crate) fn percent(run: &Monitor) -> String {
    run.progress.map_or_else(String::new, |percent| format!("{percent} %"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn failed(status: Status, trouble: bool) -> Filter {
        let status = Some(status);
        Filter { user: None, agent: None, status, trouble, since: None, tag: None }
    }

    fn run(id: &str, trouble: &[TroubleKind]) -> Monitor {
        let run: Execution = serde_json::from_value(json!({
            "execution_id": id, "user_id": "someone", "agent_name": "echo",
            "state_machine_arn": "arn:aws:states:eu-west-1:111122223333:stateMachine:echo",
            "status": "failed", "redrive_count": 0, "rank": 0, "launch_before": 9_000,
            "created_at": 1_000, "updated_at": 2_000,
        }))
        .unwrap();
        Monitor { trouble: trouble.to_vec(), ..Monitor::of(run, Timestamp::from_millis(3_000)) }
    }

    /// What is selected of pages of trouble, in which one run failed just now, one has it on the
    /// second page that it failed, and one failed before all of them.
    fn selected_of_pages(filter: &Filter) -> Vec<(String, Vec<TroubleKind>)> {
        use TroubleKind::{Failed, Undelivered};
        let mut runs = Runs::default();
        runs.add(
            vec![run("mcp-twice", &[Undelivered]), run("mcp-new", &[Failed, Undelivered])],
            filter,
        );
        runs.add(
            vec![run("mcp-old", &[Undelivered]), run("mcp-twice", &[Failed, Undelivered])],
            filter,
        );
        let runs = runs.found.into_iter();
        runs.map(|run| (run.execution_id.to_string(), run.trouble)).collect()
    }

    #[test]
    fn a_run_that_stands_on_two_pages_is_selected_once() {
        use TroubleKind::{Failed, Undelivered};

        let selected = selected_of_pages(&failed(Status::Failed, true));

        let [twice, new, old] = ["mcp-twice", "mcp-new", "mcp-old"].map(str::to_owned);
        let both = vec![Undelivered, Failed];
        let right = [(twice, both), (new, vec![Failed, Undelivered]), (old, vec![Undelivered])];
        assert_eq!(selected, right);
    }

    #[test]
    fn what_failed_lately_is_not_what_could_not_be_delivered_lately() {
        for status in [Status::Failed, Status::Timeout] {
            let selected = selected_of_pages(&failed(status, false));
            let ids: Vec<_> = selected.iter().map(|(id, _)| id.as_str()).collect();
            assert_eq!(ids, ["mcp-new", "mcp-twice"]);
        }
    }

    #[test]
    fn a_time_ago_has_its_unit() {
        let minutes = |text| ago(text).map(|ago| ago.as_secs() / 60);

        assert_eq!(["90m", "24h", "7d"].map(minutes), [Ok(90), Ok(1_440), Ok(10_080)]);
        for wrong in ["", "h", "1", "-1h", "1.5h", "1hh", "1é", "99999999999d"] {
            assert!(ago(wrong).is_err(), "{wrong}");
        }
    }
}
