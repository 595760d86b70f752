//! Amazon Bedrock's Converse, which AgentCore and Strands speak, too:
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>. The SDK
//! integrations of Step Functions and `bedrockagentcore:invokeHarness` write it in `PascalCase`.

use crate::domain::{
    json::{Members, Node},
    outcome::dialect::{Answer, Block, Dialect, Message},
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
        let content = either(&cited.members(), "content", "Content");
        let parts = content.map(Node::items).unwrap_or_default();
        let texts = parts.into_iter().filter_map(|part| either(&part.members(), "text", "Text"));
        return Some(Block::Text(texts.collect()));
    }
    if ASIDES.into_iter().any(|name| members.has(name)) {
        return Some(Block::Aside);
    }
    members.has("Text").then(|| Block::text(members, "Text"))
}

fn answer<'a>(members: &Members<'a>) -> Option<Answer<'a>> {
    let message = either(&either(members, "output", "Output")?.members(), "message", "Message")?;
    let is_message = {
        let members = message.members();
        members.has("content") || members.has("Content")
    };
    let usage = either(members, "usage", "Usage");
    is_message.then(|| Answer::of(message, usage))
}

/// Whether this is a message as Strands writes it, which an agent on AgentCore gives for its result,
/// and can be nothing else.
pub(super) fn is_message(result: Node<'_>) -> bool {
    const ASSISTANT: &str = "\"assistant\"";
    // A large result is not parsed for this.
    if !result.is_object() || !result.as_str().contains(ASSISTANT) {
        return false;
    }
    let members = result.members();
    let is_assistant = members.get("role").is_some_and(|role| role.as_str() == ASSISTANT);
    let is_bare = members.names().all(|name| ["role", "content", "metadata"].contains(&name));
    let is_block = |block: Node<'_>| {
        let block = block.members();
        !block.has("type") && (block.has("text") || self::block(&block).is_some())
    };
    let blocks = members.get("content").map(Node::items).unwrap_or_default();
    is_assistant && is_bare && blocks.into_iter().all(is_block)
}

fn either<'a>(members: &Members<'a>, camel: &str, pascal: &str) -> Option<Node<'a>> {
    members.get(camel).or_else(|| members.get(pascal))
}
