//! OpenAI's Responses: <https://platform.openai.com/docs/api-reference/responses/object>. An answer
//! is a list of items, of which some are messages, and some are calls of tools.

use crate::domain::{
    json::{Members, Node},
    outcome::dialect::{Answer, Block, Dialect, Message, Speaker, kind, name},
};

pub(super) const DIALECT: Dialect = Dialect { message, block, answer };

fn message<'a>(members: &Members<'a>, message: &mut Message<'a>) {
    let Some(kind) = kind(members) else { return };
    if let Some(tool) = called(members, &kind) {
        message.speaker = Some(Speaker::Item);
        message.tools.push(tool);
    } else if message.speaker.is_none() && is_aside(members, &kind) {
        message.speaker = Some(Speaker::Item);
    }
}

/// The name of the tool that an item calls: that of a function, and else that of the item, as
/// `web_search` is that of a `web_search_call`.
fn called(members: &Members<'_>, kind: &str) -> Option<String> {
    let tool = kind.strip_suffix("_call").filter(|tool| !tool.is_empty())?;
    let is_item = members.has("id") || members.has("call_id") || members.has("name");
    if !is_item || kind == "tool_call" {
        return None;
    }
    name(members, "name").or_else(|| (tool != "function").then(|| tool.to_owned()))
}

/// Whether it is an item that nobody says.
fn is_aside(members: &Members<'_>, kind: &str) -> bool {
    match kind {
        "reasoning" => members.has("summary") || members.has("content"),
        "mcp_list_tools" | "mcp_approval_request" | "mcp_approval_response" => true,
        output => output.ends_with("_call_output") && members.has("call_id"),
    }
}

fn block<'a>(members: &Members<'a>) -> Option<Block<'a>> {
    let kind = kind(members)?;
    if let Some(tool) = called(members, &kind) {
        return Some(Block::Tool(Some(tool)));
    }
    matches!(&*kind, "reasoning_text" | "summary_text").then_some(Block::Aside)
}

fn answer<'a>(members: &Members<'a>) -> Option<Answer<'a>> {
    let messages = members.get("output")?.items();
    let is_response = members.get("object").and_then(Node::text).is_some_and(|it| it == "response");
    Some(Answer { messages, usage: members.get("usage"), is_sure: is_response })
}
