//! OpenAI's Chat Completions, which many other providers speak, too:
//! <https://platform.openai.com/docs/api-reference/chat/object>.

use crate::domain::{
    json::{Members, Node},
    outcome::dialect::{Answer, Block, Dialect, Message, Speaker, is_type, name},
};

pub(super) const DIALECT: Dialect = Dialect {
    message,
    block,
    answer,
    members: &[
        "role",
        "content",
        "name",
        "refusal",
        "annotations",
        "audio",
        "tool_calls",
        "function_call",
        "tool_call_id",
        "parsed",
        // Of others who speak it.
        "reasoning",
        "reasoning_content",
        "reasoning_details",
        "thinking",
        "thinking_blocks",
        "tool_plan",
        "images",
        "tool_name",
        "executed_tools",
        "provider_specific_fields",
    ],
    // A choice, and the answers of Ollama and Cohere.
    around: &[
        "message",
        "index",
        "finish_reason",
        "logprobs",
        "content_filter_results",
        "native_finish_reason",
        "id",
        "model",
        "created_at",
        "done",
        "done_reason",
        "total_duration",
        "load_duration",
        "prompt_eval_count",
        "prompt_eval_duration",
        "eval_count",
        "eval_duration",
    ],
};

fn message<'a>(members: &Members<'a>, message: &mut Message<'a>) {
    let tools = requests(members);
    if members.has("refusal") || !tools.is_empty() {
        message.speaker = message.speaker.or_else(|| Speaker::of(members.get("role")?));
        message.refusal = members.get("refusal");
        message.tools.extend(tools);
    }
}

/// The tools that `tool_calls` asks for, and the older `function_call`.
pub(super) fn requests(members: &Members<'_>) -> Vec<String> {
    let calls = members.get("tool_calls").map(Node::items).unwrap_or_default();
    let mut names: Vec<_> = calls.into_iter().filter_map(requested).collect();
    names.extend(members.get("function_call").and_then(requested));
    names
}

/// {"function": {"name": …}}, {"custom": {"name": …}}, or {"name": …} as LangChain has it.
fn requested(call: Node<'_>) -> Option<String> {
    let call = call.members();
    let inner = call.get("function").or_else(|| call.get("custom"));
    inner.and_then(|inner| name(&inner.members(), "name")).or_else(|| name(&call, "name"))
}

fn block<'a>(members: &Members<'a>) -> Option<Block<'a>> {
    is_type(members, &["refusal"]).then(|| Block::text(members, "refusal"))
}

/// Of several choices, the first one.
fn answer<'a>(members: &Members<'a>) -> Option<Answer<'a>> {
    let first = members.get("choices")?.items().into_iter().next()?;
    let message = first.members().get("message").filter(|message| message.is_object())?;
    Some(Answer::of(message, members.get("usage")))
}
