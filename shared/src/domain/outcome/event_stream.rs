//! An answer that was sent in pieces, as server-sent events:
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>. An agent on AgentCore yields
//! texts, or the events of Strands, which are those of Bedrock's `ConverseStream`:
//! <https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/response-streaming.html>.

use serde::Serialize;

use crate::domain::json::{Json, Members, Node};

/// What was sent, as JSON: a text, or a conversation. `None` where it is something else, or an error.
pub(super) fn read(stream: &str) -> Option<String> {
    let (mut texts, mut is_text) = (String::new(), true);
    let mut transcript = Transcript::default();
    for data in events(stream) {
        let event = Node::parse(&data)?;
        if let Some(text) = event.text() {
            // Strands gives what it cannot write as JSON in the form of Python, besides.
            texts.push_str(&text);
            continue;
        }
        is_text = false;
        let members = event.members();
        let event = members.get("event").map_or_else(Members::none, Node::members);
        // The SDK of AgentCore ends with an `error` where the agent has failed.
        if members.has("error") || event.names().any(is_failure) {
            return None;
        }
        transcript.add(&event);
    }
    if is_text {
        return (!texts.is_empty()).then(|| Json::string(&texts).as_str().to_owned());
    }
    transcript.says_something.then(|| serde_json::to_string(&transcript).ok())?
}

/// Whether Bedrock says by this event that it has failed.
fn is_failure(event: &str) -> bool {
    event.ends_with("Exception") || event.ends_with("Error")
}

/// The data of each event.
fn events(stream: &str) -> impl Iterator<Item = String> {
    let stream = stream.strip_prefix('\u{feff}').unwrap_or(stream);
    // A line may end with either of these, or both.
    let mut lines =
        stream.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'));
    std::iter::from_fn(move || {
        let mut data: Option<String> = None;
        loop {
            let line = lines.next();
            match line {
                Some("") | None if data.is_some() => return data,
                None => return None,
                Some(line) => {
                    let Some(value) = line.strip_prefix("data:") else { continue };
                    let value = value.strip_prefix(' ').unwrap_or(value);
                    match &mut data {
                        Some(data) => {
                            data.push('\n');
                            data.push_str(value);
                        }
                        None => data = Some(value.to_owned()),
                    }
                }
            }
        }
    })
}

/// The messages of which the pieces are.
#[derive(Default, Serialize)]
struct Transcript {
    messages: Vec<Message>,
    #[serde(skip)]
    says_something: bool,
}

#[derive(Serialize)]
struct Message {
    role: String,
    content: Vec<Block>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Json>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Block {
    Text(String),
    ToolUse { name: Option<String> },
    ReasoningContent {},
}

impl Transcript {
    fn add(&mut self, event: &Members<'_>) {
        let part = |name: &str, part: &str| event.get(name)?.members().get(part);
        if let Some(role) = part("messageStart", "role").and_then(Node::text) {
            self.messages.push(Message { role, content: Vec::new(), usage: None });
        }
        // What comes before the first start is nobody's.
        let Some(Message { content, usage, .. }) = self.messages.last_mut() else { return };
        let tool = part("contentBlockStart", "start").and_then(|it| it.members().get("toolUse"));
        if let Some(tool) = tool {
            content.push(Block::ToolUse { name: tool.members().get("name").and_then(Node::text) });
        }
        if let Some(delta) = part("contentBlockDelta", "delta").map(Node::members) {
            if let Some(text) = delta.get("text").and_then(Node::text) {
                self.says_something |= !text.trim().is_empty();
                match content.last_mut() {
                    Some(Block::Text(said)) => said.push_str(&text),
                    _ => content.push(Block::Text(text)),
                }
            } else if delta.has("reasoningContent") {
                content.push(Block::ReasoningContent {});
            }
        }
        if let Some(used) = part("metadata", "usage") {
            *usage = Some(used.to_json());
        }
    }
}
