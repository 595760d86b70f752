//! Which runs a command is about: all that its filters select.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use relay::{
    domain::{
        debt::{Debt, DebtKind},
        execution::Execution,
        id::{AgentName, UserId},
        status::Status,
        time::Timestamp,
    },
    http::{
        answer::monitor::{Monitor, TroubleKind},
        body::ListRequest,
    },
    store::due::{End, FOREVER, Overdue},
};

use crate::{
    output::{minute, span, table},
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
    /// Only runs created, or with --trouble gone wrong, not longer ago than this, such as 90m, 24h
    /// or 7d.
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

/// As a user's list has them, or, of trouble, everybody's.
async fn pages(stack: &Stack, filter: &Filter, limit: usize) -> anyhow::Result<Vec<Monitor>> {
    let reader = stack.reader()?;
    let wanted = filter.request();
    let owner: Option<UserId> = filter.user.clone().map(Into::into);
    let mut runs = Vec::new();
    let mut cursor = None;
    loop {
        let request = ListRequest {
            limit: (limit - runs.len()).min(ListRequest::MAX_LIMIT),
            cursor,
            owner: owner.clone(),
            ..wanted.clone()
        };
        let page = reader.list(&operator(), request).await?;
        runs.extend(page.executions);
        cursor = page.next_cursor;
        if cursor.is_none() || runs.len() >= limit {
            return Ok(runs);
        }
    }
}

/// The runs that have not ended, as the index has them that `sweep` pays from.
async fn open(stack: &Stack, filter: &Filter, limit: usize) -> anyhow::Result<Vec<Monitor>> {
    let wanted = filter.request();
    let runs = open_where(stack, |run| wanted.wants(run)).await?.into_iter();
    let mut runs: Vec<_> = runs.map(|run| Monitor::of(run, Timestamp::now())).collect();
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
    open_where(stack, |run| run.user_id == *user && by_it(run)).await
}

/// At most so many pages of each key of the index.
async fn open_where(
    stack: &Stack,
    is_wanted: impl Fn(&Execution) -> bool,
) -> anyhow::Result<Vec<Execution>> {
    let due = stack.due()?;
    let mut runs = Vec::new();
    let kinds = DebtKind::ALL.into_iter().filter(|kind| kind.is_of_a_run());
    for debt in kinds.flat_map(DebtKind::keys).chain([Debt::dead()]) {
        let mut after = None;
        for _ in 0..MOST_PAGES {
            let page = due.overdue(&debt, FOREVER, End::Newest, after).await?;
            for found in due.read(&page.items).await?.into_iter().flatten() {
                match found.overdue {
                    Ok(Overdue::Run(run)) if !run.status.is_end() && is_wanted(&run) => {
                        runs.push(*run);
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
    }
    Ok(runs)
}

pub(crate) fn percent(run: &Monitor) -> String {
    run.progress.map_or_else(String::new, |percent| format!("{percent} %"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_ago_has_its_unit() {
        let minutes = |text| ago(text).map(|ago| ago.as_secs() / 60);

        assert_eq!(["90m", "24h", "7d"].map(minutes), [Ok(90), Ok(1_440), Ok(10_080)]);
        for wrong in ["", "h", "1", "-1h", "1.5h", "1hh", "1é", "99999999999d"] {
            assert!(ago(wrong).is_err(), "{wrong}");
        }
    }
}
