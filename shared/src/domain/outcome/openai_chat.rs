//! OpenAI's Chat Completions, which many other providers speak, too:
//! <https://platform.openai.com/docs/api-reference/chat/object>.

use crate::domain::{
    json::{Members, Node},
    outcome::dialect::{Answer, Block, Dialect, Message, Speaker, is_bare, kind, name},
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
        "citations",
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
        "remote_model",
        "remote_host",
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
    let substitute = substitute(members);
    if members.has("refusal") || substitute.is_some() || !tools.is_empty() {
        message.speaker = message.speaker.or_else(|| Speaker::of(members.get("role")?));
        message.substitute = message.substitute.or(substitute);
        message.tools.extend(tools);
    }
}

/// What is said in place of the content.
pub(super) fn substitute<'a>(members: &Members<'a>) -> Option<Node<'a>> {
    let spoken = || members.get("audio")?.members().get("transcript");
    members.get("refusal").or_else(spoken)
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
    match &*kind(members)? {
        "refusal" => Some(Block::text(members, "refusal")),
        // Mistral puts its sources between two pieces of a text.
        "reference" if members.has("reference_ids") => Some(Block::Text(Vec::new())),
        "tool_reference" if members.has("tool") => Some(Block::Text(Vec::new())),
        _ => None,
    }
}

/// Of several choices, the first one. A message may not say who speaks, but then it has nothing else.
fn answer<'a>(members: &Members<'a>) -> Option<Answer<'a>> {
    let first = members.get("choices")?.items().into_iter().next()?;
    let message = first.members().get("message").filter(|message| message.is_object())?;
    let is_message = {
        let members = message.members();
        members.has("role") || is_bare(&[&DIALECT], &members)
    };
    is_message.then(|| Answer::of(message, members.get("usage")))
}
