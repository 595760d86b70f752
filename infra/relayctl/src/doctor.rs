//! `doctor`: checks a deployment end to end. Each check is one line: what is well, or what is
//! wrong and what to do about it.

mod findings;
mod parts;
mod trial;

use serde_json::json;

pub(crate) use self::findings::Arguments;
use self::findings::{Finding, Findings};
use crate::{
    dead_letters::DeadLetters,
    output::{Reply, plain},
    stack::Stack,
};

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
    for letters in DeadLetters::ALL {
        let check = format!("{} dead letters", letters.as_str());
        findings.add(&check, parts::no_dead_letters(stack, letters).await);
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
        format!("{verdict:<6} {check:<24} {}", plain(detail))
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    Ok(Reply::new(&json!({"ok": is_good, "findings": findings}), text)?.judged(is_good))
}
