//! Google's Interactions API: <https://ai.google.dev/gemini-api/docs/interactions>. An answer is a
//! list of steps, of which some are outputs of the model. Until June 2026 it was a list of contents,
//! which machines and stored answers may still have:
//! <https://ai.google.dev/gemini-api/docs/interactions-breaking-changes-may-2026>.

use std::borrow::Cow;

use crate::domain::{
    json::{Members, Node},
    outcome::dialect::{
        Answer, Block, Dialect, Message, Speaker, called, is_around, is_type, kind,
    },
};

pub(super) const DIALECT: Dialect = Dialect {
    message,
    block,
    answer,
    members: &["type", "content", "error"],
    around: &[
        "id",
        "object",
        "status",
        "role",
        "model",
        "agent",
        "agent_config",
        "created",
        "updated",
        "steps",
        "outputs",
        "output_text",
        "output_image",
        "output_audio",
        "output_video",
        "input",
        "previous_interaction_id",
        "continuation_ids",
        "continuation_token",
        "system_instruction",
        "tools",
        "generation_config",
        "safety_settings",
        "response_format",
        "response_mime_type",
        "response_modalities",
        "service_tier",
        "environment",
        "environment_id",
        "cached_content",
        "labels",
        "errors",
        "webhook_config",
    ],
};

/// What contents are besides calls of tools and what comes of them.
const CONTENTS: [&str; 5] = ["text", "image", "audio", "video", "document"];

/// The tools, as the steps that ask for them call them.
const CALLS: [&str; 10] = [
    "function_call",
    "mcp_server_tool_call",
    "google_search_call",
    "google_maps_call",
    "url_context_call",
    "code_execution_call",
    "file_search_call",
    "retrieval_call",
    "tool_search_call",
    "processing_call",
];

fn message<'a>(members: &Members<'a>, message: &mut Message<'a>) {
    let Some(kind) = kind(members) else { return };
    let speaker = match &*kind {
        "model_output" => Speaker::Assistant,
        "user_input" => Speaker::Other,
        call if is_call(members, call) => {
            message.tools.extend(called(members, call));
            Speaker::Call
        }
        other if is_aside(members, other) => Speaker::Item,
        _ => return,
    };
    message.speaker = Some(speaker);
    if matches!(speaker, Speaker::Assistant | Speaker::Other) {
        message.content = message.content.or(members.get("content"));
    }
}

fn is_call(members: &Members<'_>, kind: &str) -> bool {
    CALLS.contains(&kind) && members.get("id").is_some_and(Node::is_text)
}

fn is_aside(members: &Members<'_>, kind: &str) -> bool {
    match kind {
        "thought" => members.has("signature") || members.has("summary"),
        result => result.ends_with("_result") && members.get("call_id").is_some(),
    }
}

fn block<'a>(members: &Members<'a>) -> Option<Block<'a>> {
    let kind = kind(members)?;
    if is_call(members, &kind) {
        return Some(Block::Tool(called(members, &kind)));
    }
    is_aside(members, &kind).then_some(Block::Aside)
}

fn answer<'a>(members: &Members<'a>) -> Option<Answer<'a>> {
    let (usage, has_status) = (members.get("usage"), members.has("status"));
    if let Some(steps) = members.get("steps") {
        let messages = steps.items();
        let kinds: Option<Vec<_>> = messages.iter().map(|step| kind(&step.members())).collect();
        let last_turn = last_turn(&kinds?);
        let is_sure = has_status && last_turn.is_some();
        let last_turn = last_turn.unwrap_or_default();
        return Some(Answer { messages, last_turn, usage, is_sure, ..Answer::default() });
    }
    let blocks = members.get("outputs")?;
    let is_content = |node: Node<'_>| {
        let members = node.members();
        block(&members).is_some() || is_type(&members, &CONTENTS)
    };
    let is_interaction = (has_status || members.has("role"))
        && is_around(&[&DIALECT], members, |_| false)
        && blocks.items().into_iter().all(is_content);
    is_interaction.then(|| Answer {
        blocks: Some(blocks),
        usage,
        is_sure: true,
        ..Answer::default()
    })
}

/// Where the last outputs of the model begin that only thoughts part, as Google's SDKs have it.
fn last_turn(kinds: &[Cow<'_, str>]) -> Option<usize> {
    let (mut last_turn, mut is_over) = (None, false);
    for (index, kind) in kinds.iter().enumerate() {
        match &**kind {
            "model_output" => {
                last_turn = last_turn.filter(|_| !is_over).or(Some(index));
                is_over = false;
            }
            "thought" => {}
            _ => is_over = true,
        }
    }
    last_turn
}
