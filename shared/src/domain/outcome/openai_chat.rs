//! OpenAI's Chat Completions, which many other providers speak, too:
//! <https://platform.openai.com/docs/api-reference/chat/object>.

use crate::domain::{
    json::{Members, Node},
    outcome::dialect::{Answer, Block, Dialect, Message, Speaker, is_type, name},
};

pub(super) const DIALECT: Dialect = Dialect { message, block, answer };

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
    Some(Answer { messages: vec![message], usage: members.get("usage"), is_sure: true })
}
