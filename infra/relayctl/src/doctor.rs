//! `doctor`: checks a deployment end to end. Each check is one line: what is well, or what is
//! wrong and what to do about it.

mod parts;
mod trial;

use clap::{Args, value_parser};
use relay::agent::AgentName;
use serde::Serialize;
use serde_json::json;

use crate::{
    dead_letters::Letters,
    output::{Reply, plain},
    stack::Stack,
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Run this agent, too, and wait for its end.
    #[arg(long, value_name = "AGENT")]
    run: Option<AgentName>,
    /// What to say to it.
    #[arg(long, requires = "run", default_value = "Are you well?")]
    message: String,
    /// Seconds to wait for its end.
    #[arg(long, requires = "run", default_value_t = 60, value_parser = value_parser!(u32).range(1..=86_400))]
    timeout: u32,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: String,
    ok: bool,
    /// What is well, or what is wrong and what to do.
    detail: String,
}

#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, check: &str, found: anyhow::Result<String>) {
        let (ok, detail) = match found {
            Ok(detail) => (true, detail),
            Err(error) => (false, format!("{error:#}")),
        };
        self.0.push(Finding { check: check.to_owned(), ok, detail });
    }
}

pub(crate) async fn run(stack: &Stack, arguments: Arguments) -> anyhow::Result<Reply> {
    let mut findings = Findings::default();
    findings.add("stack", parts::settled(stack));
    findings.add("tables", parts::tables(stack).await);
    findings.add("functions", parts::functions(stack).await);
    findings.add("concurrency", parts::concurrency(stack).await);
    for (check, queue, function) in [
        ("launch queue", "LaunchQueueUrl", "LaunchFunctionName"),
        ("webhook queue", "WebhookQueueUrl", "WebhookFunctionName"),
    ] {
        findings.add(check, parts::consumer(stack, queue, function).await);
    }
    for letters in Letters::ALL {
        let check = format!("{} letters", letters.as_str());
        findings.add(&check, parts::no_letters(stack, letters).await);
    }
    findings.add("status rule", parts::status_rule(stack).await);
    findings.add("sweep schedule", parts::sweep_schedule(stack).await);
    findings.add("sweeps", parts::sweeps(stack).await);
    parts::agents(stack, &mut findings).await;
    findings.add("keys", parts::valid_keys(stack).await);
    trial::api(stack, &arguments, &mut findings).await;

    let Findings(findings) = findings;
    let is_good = findings.iter().all(|finding| finding.ok);
    let lines = findings.iter().map(|Finding { check, ok, detail }| {
        let verdict = if *ok { "ok" } else { "wrong" };
        format!("{verdict:<6} {check:<19} {}", plain(detail))
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    Ok(Reply::new(&json!({"ok": is_good, "findings": findings}), text)?.judged(is_good))
}
