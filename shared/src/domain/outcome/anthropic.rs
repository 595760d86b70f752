//! Anthropic Messages: <https://docs.claude.com/en/api/messages>.

use crate::domain::{
    json::Members,
    outcome::dialect::{Block, Dialect, Message, kind, word},
};

pub(super) const DIALECT: Dialect = Dialect {
    message,
    block,
    members: &[
        "id",
        "type",
        "role",
        "model",
        "content",
        "stop_reason",
        "stop_sequence",
        "stop_details",
        "usage",
        "container",
        "context_management",
        "diagnostics",
        "input_transformations",
        // Of a guardrail of Bedrock's InvokeModel.
        "amazon-bedrock-guardrailAction",
        "amazon-bedrock-trace",
    ],
    ..Dialect::NONE
};

/// Why a model stops where no turn of its own follows. The others are `tool_use` and `pause_turn`:
/// <https://docs.claude.com/en/api/handling-stop-reasons>.
const FINAL: [&str; 5] =
    ["end_turn", "stop_sequence", "max_tokens", "refusal", "model_context_window_exceeded"];

/// A raw answer is a message, too.
fn message<'a>(members: &Members<'a>, message: &mut Message<'a>) {
    message.by_role(members, "role", "content");
    message.usage = message.usage.or(members.get("usage"));
    let reason = members.get("stop_reason").and_then(word);
    message.is_final |= reason.is_some_and(|reason| FINAL.contains(&&*reason));
}

fn block<'a>(members: &Members<'a>) -> Option<Block<'a>> {
    let Some(kind) = kind(members) else {
        // Some frameworks wrap the block: {"tool_use": {"name": …}}.
        return members.get("tool_use").map(|tool| Block::tool(&tool.members()));
    };
    match &*kind {
        "tool_use" | "server_tool_use" | "mcp_tool_use" => Some(Block::tool(members)),
        "thinking" | "redacted_thinking" => Some(Block::Aside),
        // tool_result, mcp_tool_result, web_search_tool_result and the others.
        result if result.ends_with("tool_result") => Some(Block::Aside),
        _ => None,
    }
}
