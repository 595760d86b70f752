//! Vercel's AI SDK: the parts of its model messages, and of the messages of its user interfaces:
//! <https://ai-sdk.dev/docs/reference/ai-sdk-core/ui-message>.

use crate::domain::{
    json::{Members, Node},
    outcome::dialect::{Block, Dialect, Message, kind, name},
};

pub(super) const DIALECT: Dialect = Dialect {
    message,
    block,
    members: &[
        "id",
        "role",
        "parts",
        "content",
        "metadata",
        "createdAt",
        "toolInvocations",
        "annotations",
        "providerOptions",
        "providerMetadata",
    ],
    ..Dialect::NONE
};

/// Version 4 has the tools beside the content, too. What else there is, Gemini writes alike.
fn message<'a>(members: &Members<'a>, message: &mut Message<'a>) {
    let invocations = members.get("toolInvocations").map(Node::items).unwrap_or_default();
    message.tools.extend(invocations.into_iter().filter_map(|it| name(&it.members(), "toolName")));
}

fn block<'a>(members: &Members<'a>) -> Option<Block<'a>> {
    let kind = kind(members)?;
    if kind == "tool-invocation" {
        let invocation = members.get("toolInvocation")?.members();
        return Some(Block::Tool(name(&invocation, "toolName")));
    }
    members.get("toolCallId")?;
    match kind.strip_prefix("tool-") {
        // {"type": "tool-getWeather", "state": …}, which has the result, too.
        Some(tool) if members.has("state") => {
            Some(Block::Tool(Some(tool.to_owned()).filter(|tool| !tool.is_empty())))
        }
        Some("call") => Some(Block::Tool(name(members, "toolName"))),
        Some("result" | "error") => Some(Block::Aside),
        _ => (kind == "dynamic-tool").then(|| Block::Tool(name(members, "toolName"))),
    }
}
