//! `runs`: what was started, and what became of it.

pub(crate) mod filter;
mod many;
mod rerun;

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use clap::{Args, Subcommand, value_parser};
use relay::{
    aws::env,
    domain::{
        batch_id::BatchId,
        caller::Actor,
        error::Error,
        id::{AgentName, ExecutionId},
        json::Json,
        request::StartBody,
        status::Status,
        time::Timestamp,
    },
    http::{
        answer::{
            lists::DeliveryView,
            monitor::Monitor,
            results::{AnsweredBy, Results},
        },
        body::ListRequest,
    },
    service::read::Reader,
};
use serde::Serialize;
use serde_json::json;
use ulid::Ulid;

use self::{
    filter::{Filter, listed, percent, selected},
    many::{Many, Words},
};
use crate::{
    output::{Reply, note, overwrite, plain, say, span, table, truncated},
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
    /// Continue runs from where they failed, timed out or were cancelled, by Step Functions' redrive; named by
    /// their ids or selected by the filters.
    Redrive(Many),
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
            let words = Words { verb: "cancel", done: "is being cancelled" };
            many::each(stack, many, words, async |id| {
                change.cancel(&operator(), id).await?;
                Ok("being cancelled".to_owned())
            })
            .await
        }
        Command::Rerun(many) => {
            let start = stack.start()?;
            let words = Words { verb: "start again", done: "was started" };
            let command = Ulid::generate();
            many::each(stack, many, words, async |id| rerun::rerun(&start, id, command).await).await
        }
        Command::Redrive(many) => {
            let change = stack.change()?;
            let words = Words { verb: "redrive", done: "is being redriven" };
            many::each(stack, many, words, async |id| {
                change.redrive(&operator(), id).await?;
                Ok("being redriven".to_owned())
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

/// A run as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    execution: &'a Monitor,
    results: &'a Results,
    deliveries: &'a [DeliveryView],
}

/// All deliveries of a run or a batch, as far as anybody reads them.
async fn deliveries(reader: &Reader, id: &ExecutionId) -> anyhow::Result<Vec<DeliveryView>> {
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
    Ok(deliveries)
}

async fn show(stack: &Stack, id: &ExecutionId) -> anyhow::Result<Reply> {
    let reader = stack.reader()?;
    let run = match (reader.monitor(&operator(), id, None).await, id.as_str().parse()) {
        (Err(Error::NotFound(_)), Ok(batch)) => return show_batch(&reader, &batch).await,
        (run, _) => run?,
    };
    let results = reader.results(&operator(), id, true).await?;
    let deliveries = deliveries(&reader, id).await?;
    let mut lines = vec![
        format!("run       {id}"),
        format!("agent     {}", run.agent_name),
        format!("status    {}  {}", run.status, percent(&run)),
        format!("created   {}", run.created_at.rfc3339()),
    ];
    lines.extend(run.start_at.map(|at| format!("start at  {}", at.rfc3339())));
    lines.extend(run.queue_position.map(|before| format!("in line   behind {before} others")));
    lines
        .extend(run.redrive_requested_at.map(|at| format!("redrive   asked for {}", at.rfc3339())));
    lines
        .extend(run.redrive_refusal.as_ref().map(|it| format!("redrive   refused: {}", plain(it))));
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
        lines.extend(answers.map(
            |AnsweredBy { question_id, answered_at, by: answerer, .. }| {
                let at = answered_at.map_or_else(String::new, |at| format!(" {}", at.rfc3339()));
                let name = answerer.name.as_ref().map(|name| plain(&format!(", as {name:?}")));
                let name = name.unwrap_or_default();
                format!("answered  {question_id}{at} {}{name}", by(&answerer.actor))
            },
        ));
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

async fn show_batch(reader: &Reader, id: &BatchId) -> anyhow::Result<Reply> {
    let batch = reader.batch(&operator(), id).await?;
    let deliveries = deliveries(reader, id.as_execution_id()).await?;
    let counts = batch.counts.iter().map(|(status, count)| format!("{count} {status}"));
    let mut lines = vec![
        format!("batch     {id}"),
        format!("items     {}", batch.size),
        format!("runs      {}", counts.collect::<Vec<_>>().join(", ")),
        format!("created   {}", batch.created_at.rfc3339()),
    ];
    lines.extend(batch.completed_at.map(|at| format!("ended     {}", at.rfc3339())));
    if !deliveries.is_empty() {
        lines.push(String::new());
        lines.push(shown(&deliveries));
    }
    Reply::new(&json!({"batch": batch, "deliveries": deliveries}), lines.join("\n"))
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
