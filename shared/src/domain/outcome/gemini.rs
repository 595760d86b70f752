//! Google's Gemini: <https://ai.google.dev/api/generate-content>. Its Python SDK writes names in
//! snake case.

use crate::domain::{
    json::{Members, Node},
    outcome::dialect::{Answer, Block, Dialect, Message},
};

pub(super) const DIALECT: Dialect = Dialect {
    message,
    block,
    answer,
    members: &["role", "parts"],
    // A request, to which the answers were added.
    around: &[
        "contents",
        "model",
        "systemInstruction",
        "system_instruction",
        "generationConfig",
        "generation_config",
        "safetySettings",
        "safety_settings",
        "tools",
        "toolConfig",
        "tool_config",
        "cachedContent",
        "cached_content",
        "labels",
    ],
};

fn message<'a>(members: &Members<'a>, message: &mut Message<'a>) {
    message.by_role(members, "role", "parts");
}

/// What a tool has answered.
const RESULTS: [&str; 6] = [
    "functionResponse",
    "function_response",
    "codeExecutionResult",
    "code_execution_result",
    "toolResponse",
    "tool_response",
];

/// What a part may have besides, and alone.
const SIGNATURES: [&str; 2] = ["thoughtSignature", "thought_signature"];

fn block<'a>(members: &Members<'a>) -> Option<Block<'a>> {
    if let Some(call) = either(members, "functionCall", "function_call") {
        return Some(Block::tool(&call.members()));
    }
    if either(members, "executableCode", "executable_code").is_some() {
        return Some(Block::Tool(Some("code_execution".to_owned())));
    }
    // A tool that runs at Google has a type in place of a name.
    let server_side = either(members, "toolCall", "tool_call").map(Node::members);
    let kind = server_side.and_then(|call| either(&call, "toolType", "tool_type")?.text());
    if let Some(kind) = kind.filter(|kind| !kind.is_empty()) {
        return Some(Block::Tool(Some(kind)));
    }
    let is_thought = members.get("thought").is_some_and(|thought| thought.as_str() == "true");
    let is_result = RESULTS.into_iter().any(|name| members.get(name).is_some());
    if is_thought || is_result {
        return Some(Block::Aside);
    }
    // Nothing stands between two texts where only a signature does.
    let mut names = members.names();
    let is_signature =
        names.next().is_some_and(|name| SIGNATURES.contains(&name)) && names.next().is_none();
    is_signature.then(|| Block::Text(Vec::new()))
}

/// What has led to the answer: the request, to which the answer was added, and what the Python SDK
/// did about it by itself
/// (<https://googleapis.github.io/python-genai/#automatic-python-function-support>).
const HISTORIES: [&str; 3] =
    ["contents", "automatic_function_calling_history", "automaticFunctionCallingHistory"];

/// Of the candidates, the first one is the best.
fn answer<'a>(members: &Members<'a>) -> Option<Answer<'a>> {
    let first = members.get("candidates")?.items().into_iter().next()?;
    let content = first.members().get("content")?;
    let usage = either(members, "usageMetadata", "usage_metadata");
    let history = HISTORIES.into_iter().filter_map(|name| members.get(name)).collect();
    let answer = Answer { history, ..Answer::of(content, usage) };
    content.members().has("parts").then_some(answer)
}

fn either<'a>(members: &Members<'a>, camel: &str, snake: &str) -> Option<Node<'a>> {
    members.get(camel).or_else(|| members.get(snake))
}
