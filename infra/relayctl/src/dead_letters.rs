//! `dead-letters`: what could not be processed, and sending it back where it belongs.
//!
//! Of a message only what it names is ever shown: an event holds what callers have said.

use anyhow::{Context as _, bail};
use aws_sdk_lambda::types::InvocationType;
use aws_sdk_sqs::{
    Client,
    types::{Message, MessageSystemAttributeName, QueueAttributeName},
};
use clap::{Subcommand, ValueEnum};
use relay::{
    domain::time::Timestamp,
    store::{dead::Dead, write::Step},
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    output::{Reply, note, span, table},
    stack::{Stack, refusal},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List dead letters: how many there are, how old each is, and which run it names.
    List { queue: Option<Place> },
    /// Send each dead letter back to its queue or function, and remove it if that succeeds.
    Replay { queue: Option<Place> },
}

/// Where dead letters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Place {
    /// Hints to launch a run.
    Launch,
    /// Hints to attempt a delivery.
    Webhook,
    /// Status events on which the status function failed.
    Status,
    /// Status events that EventBridge could not deliver.
    StatusRule,
    /// Rows of the table that the sweep stopped retrying.
    Rows,
}

impl Place {
    const ALL: [Self; 5] =
        [Self::Launch, Self::Webhook, Self::Status, Self::StatusRule, Self::Rows];

    const fn queue(self) -> Option<DeadLetters> {
        match self {
            Self::Launch => Some(DeadLetters::Launch),
            Self::Webhook => Some(DeadLetters::Webhook),
            Self::Status => Some(DeadLetters::Status),
            Self::StatusRule => Some(DeadLetters::StatusRule),
            Self::Rows => None,
        }
    }
}

/// One place in which letters end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DeadLetters {
    /// Hints to launch a run.
    Launch,
    /// Hints to attempt a delivery.
    Webhook,
    /// Status events on which the status function failed.
    Status,
    /// Status events that EventBridge could not deliver.
    StatusRule,
}

/// Where a letter goes back to.
enum Origin {
    /// The output with the URL of a queue.
    Queue(&'static str),
    StatusFunction,
}

impl DeadLetters {
    pub(crate) const ALL: [Self; 4] = [Self::Launch, Self::Webhook, Self::Status, Self::StatusRule];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Webhook => "webhook",
            Self::Status => "status",
            Self::StatusRule => "status-rule",
        }
    }

    /// The output with the URL of its queue.
    const fn output(self) -> &'static str {
        match self {
            Self::Launch => "LaunchDeadLettersUrl",
            Self::Webhook => "WebhookDeadLettersUrl",
            Self::Status => "StatusFailuresUrl",
            Self::StatusRule => "StatusRuleDeadLettersUrl",
        }
    }

    const fn origin(self) -> Origin {
        match self {
            Self::Launch => Origin::Queue("LaunchQueueUrl"),
            Self::Webhook => Origin::Queue("WebhookQueueUrl"),
            Self::Status | Self::StatusRule => Origin::StatusFunction,
        }
    }

    /// What was in the letter before it ended here.
    fn content(self, body: &str) -> Option<Value> {
        let mut body: Value = serde_json::from_str(body).ok()?;
        match self {
            Self::Launch | Self::Webhook | Self::StatusRule => Some(body),
            // Lambda wraps what a function failed on, with how it failed.
            Self::Status => body.get_mut("requestPayload").map(Value::take),
        }
    }

    /// What it is about, without a word of what it holds.
    fn about(self, body: &str) -> String {
        let content = self.content(body);
        let named = |pointer| content.as_ref()?.pointer(pointer)?.as_str().map(identifier);
        let (name, more) = match self {
            Self::Launch => (named("/execution_id"), None),
            Self::Webhook => (named("/execution_id"), named("/part")),
            Self::Status | Self::StatusRule if named("/detail/name").is_some() => {
                (named("/detail/name"), named("/detail/status"))
            }
            // An agent names its execution by its ARN, and of progress by its name as well.
            Self::Status | Self::StatusRule => {
                let text = |pointer| content.as_ref()?.pointer(pointer)?.as_str();
                let arn = text("/detail/execution_arn").and_then(|arn| arn.rsplit(':').next());
                let name = arn.or_else(|| text("/detail/execution_name")).map(identifier);
                // Its kind has spaces in it, and is one of two.
                let kind = match text("/detail-type") {
                    Some("Agent Input Required") => Some("question".to_owned()),
                    Some("Agent Progress") => Some("progress".to_owned()),
                    _ => None,
                };
                (name, kind)
            }
        };
        match name {
            Some(name) => [Some(name), more].into_iter().flatten().collect::<Vec<_>>().join(" "),
            None => format!("unreadable, {} bytes", body.len()),
        }
    }
}

/// Only what ids, statuses and parts are made of, so that nothing else can be passed for one.
fn identifier(text: &str) -> String {
    let is_plain = |char: &char| char.is_ascii_alphanumeric() || "-_#".contains(*char);
    text.chars().take_while(is_plain).take(160).collect()
}

pub(crate) async fn run(stack: &Stack, command: Command) -> anyhow::Result<Reply> {
    let (queue, replay) = match command {
        Command::List { queue } => (queue, false),
        Command::Replay { queue } => (queue, true),
    };
    let wanted = Place::ALL.into_iter().filter(|it| queue.is_none_or(|queue| queue == *it));
    let sqs = Client::new(&stack.aws);
    let (mut rows, mut entries, mut failed) = (Vec::new(), Vec::new(), 0);
    for place in wanted {
        let Some(letters) = place.queue() else {
            for (dead, is_kept) in given_up(stack, replay).await? {
                failed += usize::from(is_kept);
                let age = Timestamp::now().millis_since(dead.since);
                let names = [&dead.execution_id, &dead.part].map(|name| identifier(name));
                let about = format!("{}: {}", names.join(" "), dead.reason);
                let state = match (replay, is_kept) {
                    (false, _) => format!("waiting, after {} attempts", dead.sweeps),
                    (true, true) => "kept: it has moved meanwhile".to_owned(),
                    (true, false) => "replayed".to_owned(),
                };
                entries
                    .push(json!({"queue": "rows", "age_ms": age, "about": about, "state": state}));
                rows.push(["rows".to_owned(), span(age), about, state]);
            }
            continue;
        };
        let url = stack.output(letters.output())?;
        let received = receive(&sqs, url).await?;
        for message in &received {
            let age = age(message);
            let about = letters.about(message.body().unwrap_or_default());
            let state = if !replay {
                "waiting".to_owned()
            } else if let Err(error) = send_back(stack, &sqs, letters, message).await {
                failed += 1;
                format!("kept: {error:#}")
            } else {
                delete(&sqs, url, message).await?;
                "replayed".to_owned()
            };
            rows.push([letters.as_str().to_owned(), span(age), about.clone(), state.clone()]);
            entries.push(json!({"queue": letters, "age_ms": age, "about": about, "state": state}));
        }
        if received.len() >= MOST {
            note(&format!("There may be more in {}. Run this again.", letters.as_str()));
        }
        // What is still there is shown again at once, and not after the queue's time.
        release(&sqs, url, &received).await;
    }
    let text = if rows.is_empty() {
        "There are no dead letters.".to_owned()
    } else {
        format!("{}\n{} in all", table(["QUEUE", "AGE", "ABOUT", "STATE"], &rows), rows.len())
    };
    Ok(Reply::new(&json!({"dead_letters": entries}), text)?.judged(failed == 0))
}

/// What the sweep has given up; with `replay`, it is processed again, and the flag says whether
/// it is not.
async fn given_up(stack: &Stack, replay: bool) -> anyhow::Result<Vec<(Dead, bool)>> {
    let due = stack.due()?;
    let found = due.dead(MOST).await?;
    if found.len() >= MOST {
        note("There may be more rows. Run this again.");
    }
    let mut given_up = Vec::new();
    for (item, dead) in found {
        let is_kept = replay && due.replay(&item).await? == Step::Stale;
        given_up.push((dead, is_kept));
    }
    Ok(given_up)
}

/// How many letters there are, also those that somebody looks at just now.
pub(crate) async fn count(
    stack: &Stack,
    sqs: &Client,
    letters: DeadLetters,
) -> anyhow::Result<u64> {
    depth(sqs, stack.output(letters.output())?).await.map(|(waiting, taken)| waiting + taken)
}

/// How many messages wait in a queue, and how many are taken and not done.
pub(crate) async fn depth(sqs: &Client, url: &str) -> anyhow::Result<(u64, u64)> {
    let names = [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
    ];
    let read = sqs
        .get_queue_attributes()
        .queue_url(url)
        .set_attribute_names(Some(names.to_vec()))
        .send()
        .await
        .map_err(refusal)
        .with_context(|| format!("cannot read the queue {url}"))?;
    let [waiting, taken] = names.map(|name| {
        let value = read.attributes().and_then(|attributes| attributes.get(&name));
        value.and_then(|value| value.parse().ok()).unwrap_or_default()
    });
    Ok((waiting, taken))
}

/// Seconds for which a letter is ours alone. One that is replayed twice for want of time does no
/// harm: every step is safe to repeat.
const HOLD: i32 = 300;
/// The most letters of a queue that one command takes.
const MOST: usize = 200;

/// Takes the letters of a queue for a while. A queue of several servers may show only some at a
/// time, so it is asked until it has none.
async fn receive(sqs: &Client, url: &str) -> anyhow::Result<Vec<Message>> {
    let mut all = Vec::new();
    while all.len() < MOST {
        let received = sqs
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(10)
            .visibility_timeout(HOLD)
            .wait_time_seconds(1)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .message_system_attribute_names(MessageSystemAttributeName::MessageGroupId)
            .send()
            .await
            .map_err(refusal)
            .with_context(|| format!("cannot read the queue {url}"))?;
        let messages = received.messages.unwrap_or_default();
        if messages.is_empty() {
            break;
        }
        all.extend(messages);
    }
    Ok(all)
}

fn system<'a>(message: &'a Message, name: &MessageSystemAttributeName) -> Option<&'a str> {
    message.attributes()?.get(name).map(String::as_str)
}

fn age(message: &Message) -> u64 {
    let sent = system(message, &MessageSystemAttributeName::SentTimestamp);
    let sent = sent.and_then(|sent| sent.parse().ok()).map(Timestamp::from_millis);
    sent.map_or(0, |sent| Timestamp::now().millis_since(sent))
}

async fn send_back(
    stack: &Stack,
    sqs: &Client,
    letters: DeadLetters,
    message: &Message,
) -> anyhow::Result<()> {
    let body = message.body().unwrap_or_default();
    match letters.origin() {
        Origin::Queue(output) => {
            let group = system(message, &MessageSystemAttributeName::MessageGroupId);
            sqs.send_message()
                .queue_url(stack.output(output)?)
                .message_body(body)
                .set_message_group_id(group.map(str::to_owned))
                .send()
                .await
                .map_err(refusal)
                .context("it could not be sent")?;
        }
        Origin::StatusFunction => {
            let event = letters.content(body).context("it holds no event")?;
            let answer = aws_sdk_lambda::Client::new(&stack.aws)
                .invoke()
                .function_name(stack.output("StatusFunctionName")?)
                .invocation_type(InvocationType::RequestResponse)
                .payload(serde_json::to_vec(&event)?.into())
                .send()
                .await
                .map_err(refusal)
                .context("the status function could not be called")?;
            if let Some(error) = answer.function_error {
                bail!("the status function fails on it ({error}): see its log");
            }
        }
    }
    Ok(())
}

async fn delete(sqs: &Client, url: &str, message: &Message) -> anyhow::Result<()> {
    let receipt = message.receipt_handle().unwrap_or_default();
    let deleted =
        sqs.delete_message().queue_url(url).receipt_handle(receipt).send().await.map_err(refusal);
    deleted.context("a dead letter was replayed, but cannot be removed")?;
    Ok(())
}

/// Best effort: what was removed cannot be released, and the rest comes back by itself.
async fn release(sqs: &Client, url: &str, messages: &[Message]) {
    for message in messages {
        let receipt = message.receipt_handle().unwrap_or_default();
        let change = sqs.change_message_visibility().queue_url(url).receipt_handle(receipt);
        let _ = change.visibility_timeout(0).send().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_told_by_what_it_names_and_nothing_of_what_it_holds() {
        let event =
            json!({"detail": {"name": "mcp-echo-1", "status": "SUCCEEDED", "output": "secret"}});
        let record =
            json!({"requestPayload": event, "responsePayload": {"errorMessage": "secret"}});
        let hint = json!({"execution_id": "mcp-echo-1", "part": "delivery#completed#0#callback"});
        let told = |letters: DeadLetters, body: &Value| letters.about(&body.to_string());

        assert_eq!(told(DeadLetters::StatusRule, &event), "mcp-echo-1 SUCCEEDED");
        assert_eq!(told(DeadLetters::Status, &record), "mcp-echo-1 SUCCEEDED");
        let arn = "arn:aws:states:eu-west-1:1:execution:approval:mcp-approval-1";
        let asks = json!({"detail-type": "Agent Input Required", "source": "agent",
            "detail": {"execution_arn": arn, "task_token": "secret", "question": "secret"}});
        let failed = json!({"requestPayload": asks});
        assert_eq!(told(DeadLetters::StatusRule, &asks), "mcp-approval-1 question");
        assert_eq!(told(DeadLetters::Status, &failed), "mcp-approval-1 question");
        for named in [json!({"execution_arn": arn}), json!({"execution_name": "mcp-approval-1"})] {
            let reports = json!({"detail-type": "Agent Progress", "detail": named});
            assert_eq!(told(DeadLetters::StatusRule, &reports), "mcp-approval-1 progress");
        }
        let other = json!({"detail-type": "secret", "detail": {"execution_arn": "a:b secret"}});
        assert_eq!(told(DeadLetters::Status, &json!({"requestPayload": other})), "b");
        assert_eq!(told(DeadLetters::Launch, &hint), "mcp-echo-1");
        assert_eq!(told(DeadLetters::Webhook, &hint), "mcp-echo-1 delivery#completed#0#callback");
        assert_eq!(told(DeadLetters::Launch, &json!({"execution_id": "mcp a secret"})), "mcp");
        for letters in DeadLetters::ALL {
            assert_eq!(letters.about("a secret"), "unreadable, 8 bytes");
            assert_eq!(told(letters, &json!({"secret": 1})), "unreadable, 12 bytes");
        }
    }

    #[test]
    fn an_event_is_taken_out_of_its_record() {
        let record = json!({"requestPayload": {"detail": 1}}).to_string();

        assert_eq!(DeadLetters::Status.content(&record), Some(json!({"detail": 1})));
        assert_eq!(DeadLetters::Status.content("{}"), None);
    }
}
