//! Amazon Bedrock's Converse, which AgentCore and Strands speak, too:
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>. The SDK
//! integrations of Step Functions and `bedrockagentcore:invokeHarness` write it in `PascalCase`. And
//! the answers of its knowledge bases:
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_agent-runtime_RetrieveAndGenerate.html>.

use crate::domain::{
    json::{Members, Node},
    outcome::dialect::{Answer, Block, Dialect, Message, Speaker},
};

pub(super) const DIALECT: Dialect = Dialect {
    message,
    block,
    answer,
    members: &["role", "content", "metadata", "Role", "Content"],
    around: &[
        "Message",
        "Messages",
        "message",
        "stopReason",
        "StopReason",
        "metrics",
        "Metrics",
        "trace",
        "Trace",
        "performanceConfig",
        "PerformanceConfig",
        "serviceTier",
        "ServiceTier",
        "additionalModelResponseFields",
        "AdditionalModelResponseFields",
    ],
};

fn message<'a>(members: &Members<'a>, message: &mut Message<'a>) {
    message.by_role(members, "role", "content");
    message.by_role(members, "Role", "Content");
}

/// What the model thinks, and what a tool has answered.
const ASIDES: [&str; 4] = ["reasoningContent", "ReasoningContent", "toolResult", "ToolResult"];

/// A block is the one member that it has: {"text": …}, {"toolUse": {…}}.
fn block<'a>(members: &Members<'a>) -> Option<Block<'a>> {
    if members.has("type") {
        return None;
    }
    if let Some(tool) = either(members, "toolUse", "ToolUse") {
        let tool = tool.members();
        let name = either(&tool, "name", "Name").and_then(Node::text);
        return Some(Block::Tool(name.filter(|name| !name.is_empty())));
    }
    if let Some(cited) = either(members, "citationsContent", "CitationsContent") {
        return Some(self::cited(cited));
    }
    if ASIDES.into_iter().any(|name| members.has(name)) {
        return Some(Block::Aside);
    }
    members.has("Text").then(|| Block::text(members, "Text"))
}

/// The text of which the sources are known.
pub(super) fn cited(cited: Node<'_>) -> Block<'_> {
    let content = either(&cited.members(), "content", "Content");
    let parts = content.map(Node::items).unwrap_or_default();
    let texts = parts.into_iter().filter_map(|part| either(&part.members(), "text", "Text"));
    Block::Text(texts.collect())
}

/// What the answer of a knowledge base has, with what an SDK adds.
const RETRIEVED: [&str; 9] = [
    "output",
    "Output",
    "sessionId",
    "SessionId",
    "citations",
    "Citations",
    "guardrailAction",
    "GuardrailAction",
    "ResponseMetadata",
];

fn answer<'a>(members: &Members<'a>) -> Option<Answer<'a>> {
    let output = either(members, "output", "Output")?;
    let within = output.members();
    if let Some(message) = either(&within, "message", "Message") {
        let mut read = Message::default();
        self::message(&message.members(), &mut read);
        let usage = either(members, "usage", "Usage");
        return (read.speaker == Some(Speaker::Assistant)).then(|| Answer::of(message, usage));
    }
    let is_retrieved = either(members, "sessionId", "SessionId").is_some()
        && members.names().all(|name| RETRIEVED.contains(&name));
    let is_text = within.names().eq(["text"]) || within.names().eq(["Text"]);
    (is_retrieved && is_text).then(|| Answer {
        blocks: Some(output),
        is_sure: true,
        ..Answer::default()
    })
}

fn either<'a>(members: &Members<'a>, camel: &str, pascal: &str) -> Option<Node<'a>> {
    members.get(camel).or_else(|| members.get(pascal))
}
