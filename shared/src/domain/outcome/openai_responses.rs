//! OpenAI's Responses: <https://platform.openai.com/docs/api-reference/responses/object>. An answer
//! is a list of items, of which some are messages, and some are calls of tools. The histories of
//! OpenAI's Agents SDKs are lists of such items, too.

use crate::domain::{
    json::{Members, Node},
    outcome::dialect::{Answer, Block, Dialect, Message, Speaker, called, kind, word},
};

pub(super) const DIALECT: Dialect = Dialect {
    message,
    block,
    answer,
    // The last one is of the SDK for JavaScript.
    members: &["id", "type", "role", "status", "content", "phase", "providerData"],
    around: &[
        "id",
        "object",
        "status",
        "created_at",
        "completed_at",
        "background",
        "conversation",
        "error",
        "incomplete_details",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "model",
        "moderation",
        "output",
        "output_text",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    ],
};

/// The tools, as the items that ask for them call them.
const CALLS: [&str; 12] = [
    "function_call",
    "custom_tool_call",
    "mcp_call",
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "computer_call",
    "local_shell_call",
    "shell_call",
    "apply_patch_call",
    "tool_search_call",
];

/// In the history of the SDK for JavaScript, an item that runs at OpenAI: its type is the `name`, and
/// what else it has is `providerData`:
/// <https://github.com/openai/openai-agents-js/blob/main/packages/agents-core/src/types/protocol.ts>.
const HOSTED: &str = "hosted_tool_call";

/// What a call may be in the middle of, or have come to.
const STATUSES: [&str; 8] = [
    "in_progress",
    "completed",
    "incomplete",
    "failed",
    "searching",
    "interpreting",
    "generating",
    "calling",
];

fn message<'a>(members: &Members<'a>, message: &mut Message<'a>) {
    message.is_commentary |= is(members, "phase", &["commentary"]);
    let Some(kind) = kind(members) else { return };
    // A message of Anthropic has no status.
    message.is_item |= kind == "message" && members.has("status");
    if let Some((tool, speaker)) = asked(members, &kind) {
        message.speaker = Some(speaker);
        message.tools.push(tool);
    } else if message.speaker.is_none() {
        message.speaker = beside(members, &kind);
    }
}

/// The tool that an item asks for. An item of another kind may be one that OpenAI has added, or
/// something else, as the record of a call by phone is.
fn asked(members: &Members<'_>, kind: &str) -> Option<(String, Speaker)> {
    // That is the word of LangChain.
    if kind == "tool_call" {
        return None;
    }
    if kind == HOSTED {
        let item = members.get("providerData").map_or_else(Members::none, Node::members);
        return Some((called(&item, &word(members.get("name")?)?)?, Speaker::Call));
    }
    let has = |name: &str| members.get(name).is_some_and(Node::is_text);
    let is_known = CALLS.contains(&kind) && (has("id") || has_call(members) || has("name"));
    let may_be = || has("call_id") || (has("id") && is(members, "status", &STATUSES));
    let speaker = if is_known { Speaker::Call } else { Speaker::Unknown };
    (is_known || may_be()).then_some((called(members, kind)?, speaker))
}

/// Who has given an item that asks for no tool.
fn beside(members: &Members<'_>, kind: &str) -> Option<Speaker> {
    let has = |name: &str| members.has(name);
    let is_item = match kind {
        "reasoning" => has("summary") || has("content"),
        HOSTED
        | "mcp_list_tools"
        | "mcp_approval_request"
        | "mcp_approval_response"
        | "compaction_trigger" => true,
        // The caller has run the tool, and the next turn begins.
        "function_call_output"
        | "custom_tool_call_output"
        | "computer_call_output"
        | "function_call_result"
        | "computer_call_result" => return has_call(members).then_some(Speaker::Other),
        "compaction" => has("id") || has("encrypted_content"),
        "item_reference" | "additional_tools" | "configuration_update" => has("id") || has("tools"),
        "tool_search_output" | "program" | "program_output" => has_call(members),
        output => output.ends_with("_call_output") && (has_call(members) || has("id")),
    };
    is_item.then_some(Speaker::Item)
}

/// Whether this says to which call it belongs.
fn has_call(members: &Members<'_>) -> bool {
    members.has("call_id") || members.has("callId")
}

/// Whether the member of this name is one of these words.
fn is(members: &Members<'_>, name: &str, words: &[&str]) -> bool {
    let word = members.get(name).and_then(word);
    word.is_some_and(|word| words.contains(&&*word))
}

fn block<'a>(members: &Members<'a>) -> Option<Block<'a>> {
    let kind = kind(members)?;
    if let Some((tool, _)) = asked(members, &kind) {
        return Some(Block::Tool(Some(tool)));
    }
    matches!(&*kind, "reasoning_text" | "summary_text").then_some(Block::Aside)
}

/// All of its messages are one turn: `output_text` of OpenAI's SDKs puts them together, too.
fn answer<'a>(members: &Members<'a>) -> Option<Answer<'a>> {
    let messages = members.get("output")?.items();
    let usage = members.get("usage");
    let is_sure = is(members, "object", &["response"]);
    Some(Answer { messages, usage, is_sure, ..Answer::default() })
}
