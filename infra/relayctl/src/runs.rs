//! `runs`: what was started, and what became of it.

pub(crate) mod filter;
mod many;

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use clap::{Args, Subcommand, value_parser};
use relay::{
    aws::env,
    domain::{
        caller::Actor,
        id::{AgentName, ExecutionId},
        json::Json,
        request::{RerunBody, StartBody},
        status::Status,
        time::Timestamp,
    },
    http::{
        answer::{lists::DeliveryView, monitor::Monitor, results::Results},
        body::ListRequest,
    },
};
use serde::Serialize;
use serde_json::json;

use self::{
    filter::{Filter, listed, percent, selected},
    many::Many,
};
use crate::{
    output::{Reply, minute, note, overwrite, plain, say, span, table, truncated},
    stack::{Stack, operator},
};

/// How often a watched run is polled.
const PAUSE: Duration = Duration::from_millis(500);

/// The most pages that are shown of a run's deliveries.
const MOST_PAGES: usize = 10;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start an agent through the API with the key in `RELAY_API_KEY`, and print the run's id.
    Start { agent: AgentName, message: String },
    /// List a user's runs, newest first. Without --user: all runs that have not ended, or with
    /// --trouble those that went wrong.
    List(List),
    /// Show a run, its results and its deliveries.
    Show { id: ExecutionId },
    /// Watch a run until it ends, and show its results.
    Watch { id: ExecutionId },
    /// Cancel runs, named by their ids or selected by the filters.
    Cancel(Many),
    /// Start runs again, named by their ids or selected by the filters: each as a new run with the same
    /// input, on the agent as it is now, and without a callback.
    Rerun(Many),
    /// Redeliver an event whose delivery has ended. `show` lists the delivery ids.
    Redeliver { id: ExecutionId, delivery_id: String },
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    filter: Filter,
    /// The maximum number of runs to list.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u16).range(1..=1000))]
    limit: u16,
}

pub(crate) async fn run(stack: &Stack, command: Command, as_json: bool) -> anyhow::Result<Reply> {
    match command {
        Command::Start { agent, message } => {
            let key = env::required("RELAY_API_KEY")?;
            let body = StartBody::new(agent.into(), message);
            let id = stack.api()?.start(&key, &body).await?;
            Reply::new(&json!({"execution_id": id}), plain(&id))
        }
        Command::List(List { filter, limit }) => list(stack, &filter, limit.into()).await,
        Command::Show { id } => show(stack, &id).await,
        Command::Watch { id } => watch(stack, &id, as_json).await,
        Command::Cancel(many) => {
            let change = stack.change()?;
            many::each(stack, many, "cancel", async |id| {
                change.cancel(&operator(), id).await?;
                Ok("being cancelled".to_owned())
            })
            .await
        }
        Command::Rerun(many) => {
            let start = stack.start()?;
            many::each(stack, many, "start again", async |id| {
                let accepted = start.rerun(&operator(), id, RerunBody::default(), None).await?;
                Ok(accepted.receipt.execution_id.into())
            })
            .await
        }
        Command::Redeliver { id, delivery_id } => {
            let change = stack.change()?;
            let delivery = change.redeliver(&operator(), &id, &delivery_id).await?;
            Reply::new(&delivery, format!("Delivery {} is scheduled again.", delivery.id))
        }
    }
}

async fn list(stack: &Stack, filter: &Filter, limit: usize) -> anyhow::Result<Reply> {
    let runs = selected(stack, filter, limit).await?;
    Reply::new(&json!({"executions": runs}), listed(&runs))
}

/// The runs that a filter selects, newest first.
async fn selected(stack: &Stack, filter: &Filter, limit: usize) -> anyhow::Result<Vec<Monitor>> {
    if filter.user.is_some() || filter.is_of_trouble() {
        return pages(stack, filter, limit).await;
    }
    if filter.status.is_some_and(Status::is_end) {
        bail!("the runs of all users that ended well are in no list: name a --user");
    }
    open(stack, filter, limit).await
}

fn listed(runs: &[Monitor]) -> String {
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

/// The runs that have not ended, as the index has them that `sweep` reads.
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

/// A run as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    execution: &'a Monitor,
    results: &'a Results,
    deliveries: &'a [DeliveryView],
}

async fn show(stack: &Stack, id: &ExecutionId) -> anyhow::Result<Reply> {
    let reader = stack.reader()?;
    let run = reader.monitor(&operator(), id, None).await?;
    let results = reader.results(&operator(), id, true).await?;
    let mut deliveries = Vec::new();
    let mut cursor = None;
    for _ in 0..MOST_PAGES {
        let limit = ListRequest::MAX_LIMIT;
        let page = reader.deliveries(&operator(), id, limit, cursor.as_deref()).await?;
        deliveries.extend(page.deliveries);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if cursor.is_some() {
        note(&format!("There are more deliveries than these {}.", deliveries.len()));
    }
    let mut lines = vec![
        format!("run       {id}"),
        format!("agent     {}", run.agent_name),
        format!("status    {}  {}", run.status, percent(&run)),
        format!("created   {}", run.created_at.rfc3339()),
    ];
    if let Some(at) = run.completed_at {
        lines.push(format!("ended     {}", at.rfc3339()));
    }
    if let Some(metadata) = &results.metadata {
        lines.push(format!("user      {}", plain(metadata.user_id.as_str())));
        lines.push(format!("machine   {}", metadata.execution_arn));
        let by = |actor: &Actor| plain(&format!("{} by key {}", actor.user_id, actor.key_id));
        lines.extend(metadata.started_by.as_ref().map(|it| format!("started   {}", by(it))));
        lines.extend(metadata.cancelled_by.as_ref().map(|it| format!("cancelled {}", by(it))));
        let answers = metadata.answered_by.iter();
        lines.extend(answers.map(|it| format!("answered  {} {}", it.question_id, by(&it.actor))));
        let tags = metadata.tags.iter().map(|(key, value)| plain(&format!("{key}={value}")));
        lines.extend(tags.map(|tag| format!("tag       {tag}")));
    }
    lines.extend(outcome(&results));
    if !deliveries.is_empty() {
        lines.push(String::new());
        lines.push(shown(&deliveries));
    }
    let shown = Shown { execution: &run, results: &results, deliveries: &deliveries };
    Reply::new(&shown, lines.join("\n"))
}

fn shown(deliveries: &[DeliveryView]) -> String {
    let mut rows = Vec::new();
    for delivery in deliveries {
        let [event, state] =
            [Json::of(&delivery.event), Json::of(&delivery.state)].map(|it| text(&it));
        let last = delivery.attempts.last().map(|attempt| {
            let status = attempt.status.map_or_else(String::new, |status| format!("{status} "));
            truncated(&format!("{status}{}", attempt.detail), 60)
        });
        rows.push([
            delivery.id.clone(),
            event,
            delivery.target.clone(),
            state,
            delivery.attempt_count.to_string(),
            last.unwrap_or_default(),
        ]);
    }
    table(["DELIVERY", "EVENT", "TARGET", "STATE", "ATTEMPTS", "LAST RESPONSE"], &rows)
}

/// A live line in a terminal; elsewhere a line for each change.
async fn watch(stack: &Stack, id: &ExecutionId, as_json: bool) -> anyhow::Result<Reply> {
    let reader = stack.reader()?;
    let is_live = !as_json && io::stdout().is_terminal();
    let mut last = None;
    let run = loop {
        let run = reader.monitor(&operator(), id, None).await?;
        let elapsed = run.completed_at.unwrap_or_else(Timestamp::now).millis_since(run.created_at);
        let what =
            format!("{:<10}  {:>5}  {}", run.status.as_str(), percent(&run), plain(&run.message));
        let line = format!("{:>7}  {what}", span(elapsed));
        if is_live {
            // A line that wraps could not be overwritten.
            overwrite(&truncated(&line, 78));
        } else if !as_json && last.as_ref() != Some(&what) {
            say(&line);
        }
        last = Some(what);
        if run.status.is_end() {
            break run;
        }
        tokio::time::sleep(PAUSE).await;
    };
    if is_live {
        say("");
    }
    let results = reader.results(&operator(), id, false).await?;
    let reply = Reply::new(&results, outcome(&results).join("\n"))?;
    Ok(reply.judged(run.status == Status::Completed))
}

fn outcome(results: &Results) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(result) = &results.result {
        lines.push(format!("result    {}", text(result)));
    }
    if let Some(tools) = results.tools_used.as_ref().filter(|tools| !tools.is_empty()) {
        lines.push(format!("tools     {}", plain(&tools.join(", "))));
    }
    if let Some(tokens) = &results.tokens_used {
        lines.push(format!("tokens    {}", text(tokens)));
    }
    if let Some(error) = &results.error {
        lines.push(format!("error     {}", plain(&error.code)));
        lines.extend(error.cause.as_ref().map(|cause| format!("cause     {}", plain(cause))));
    }
    lines
}

/// Text in its lines, and anything else as JSON.
fn text(value: &Json) -> String {
    let text = value.node().text().unwrap_or_else(|| value.as_str().to_owned());
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}
