//! Strands Agents, which writes messages as Bedrock's Converse does:
//! <https://github.com/strands-agents/sdk-python>. Its SDK for TypeScript has blocks of its own:
//! <https://github.com/strands-agents/sdk-typescript>.

use crate::domain::{
    json::{Members, Node},
    outcome::{
        bedrock,
        dialect::{Answer, Block, Dialect, Message, kind},
    },
};

pub(super) const DIALECT: Dialect = Dialect { message, block, answer, ..Dialect::NONE };

/// Beside the content is what it took.
fn message<'a>(members: &Members<'a>, message: &mut Message<'a>) {
    let usage = || members.get("metadata")?.members().get("usage");
    message.usage = message.usage.or_else(usage);
}

/// Since version 0.4, a block of the SDK for TypeScript is the one member that it has. Before, it has
/// a type.
fn block<'a>(members: &Members<'a>) -> Option<Block<'a>> {
    let Some(kind) = kind(members) else {
        let mut all = members.iter();
        return match (all.next()?, all.next()) {
            (("reasoning", thought), None) if thought.is_object() => Some(Block::Aside),
            (("citations", cited), None) if cited.is_object() => Some(bedrock::cited(cited)),
            _ => None,
        };
    };
    match &*kind {
        "textBlock" => Some(Block::text(members, "text")),
        "toolUseBlock" => Some(Block::tool(members)),
        "reasoningBlock" | "toolResultBlock" => Some(Block::Aside),
        _ => None,
    }
}

/// An agent's result, alone or as its `response`.
fn answer<'a>(members: &Members<'a>) -> Option<Answer<'a>> {
    agent_result(members).or_else(|| agent_result(&members.get("response")?.members()))
}

/// What an agent gives for its `result`, if that can be nothing else: its `AgentResult`, or its last
/// message alone.
pub(super) fn result(result: Node<'_>) -> Option<Answer<'_>> {
    // A large result is not parsed for this.
    if !result.is_object() || !result.as_str().contains(ASSISTANT) {
        return None;
    }
    let members = result.members();
    agent_result(&members).or_else(|| is_message(&members).then(|| Answer::of(result, None)))
}

/// `AgentResult`, as `toJSON` of the SDK for TypeScript and `to_dict` of that for Python write it.
fn agent_result<'a>(members: &Members<'a>) -> Option<Answer<'a>> {
    let message = match &*kind(members)? {
        "agentResult" => members.get("lastMessage"),
        "agent_result" => members.get("message"),
        _ => None,
    }?;
    Some(Answer { structured: members.get("structuredOutput"), ..Answer::of(message, None) })
}

const ASSISTANT: &str = "\"assistant\"";

fn is_message(members: &Members<'_>) -> bool {
    const MEMBERS: [&str; 4] = ["type", "role", "content", "metadata"];
    let is_assistant = members.get("role").is_some_and(|role| role.as_str() == ASSISTANT);
    let is_bare = members.names().all(|name| MEMBERS.contains(&name));
    let is_block = |node: Node<'_>| {
        let members = node.members();
        let is_text = members.has("text") && !members.has("type");
        is_text || [bedrock::DIALECT, DIALECT].iter().any(|it| (it.block)(&members).is_some())
    };
    let blocks = members.get("content").map(Node::items).unwrap_or_default();
    is_assistant && is_bare && blocks.into_iter().all(is_block)
}
