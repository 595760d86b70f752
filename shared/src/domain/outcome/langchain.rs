//! LangChain and LangGraph: <https://docs.langchain.com/oss/python/langchain/messages>. A message
//! is written flat, below `data` (`messages_to_dict`), or as a constructor (`dumps`).

use crate::domain::{
    json::{Members, Node},
    outcome::{
        dialect::{Block, Dialect, Message, Speaker, is_type, kind, name},
        openai_chat,
    },
};

pub(super) const DIALECT: Dialect = Dialect {
    message,
    block,
    members: &[
        "type",
        "content",
        "id",
        "name",
        "example",
        "additional_kwargs",
        "response_metadata",
        "usage_metadata",
        "tool_calls",
        "invalid_tool_calls",
        "tool_call_chunks",
        "tool_call_id",
        "chunk_position",
        "data",
        "lc",
        "kwargs",
    ],
    ..Dialect::NONE
};

fn message<'a>(members: &Members<'a>, message: &mut Message<'a>) {
    let Some(word) = members.get("type") else { return };
    if let (true, Some(kwargs)) = (is_type(members, &["constructor"]), members.get("kwargs")) {
        let kwargs = kwargs.members();
        let path = members.get("id").map(Node::items).unwrap_or_default();
        let class = path.last().and_then(|class| class.text()).unwrap_or_default();
        if kwargs.has("content") {
            message.speaker = match class.as_str() {
                "AIMessage" | "AIMessageChunk" => Some(Speaker::Assistant),
                other if other.ends_with("Message") || other.ends_with("MessageChunk") => {
                    Some(Speaker::Other)
                }
                _ => None,
            };
            add(&kwargs, message);
        }
        return;
    }
    if is_type(members, &["remove"]) && members.has("id") {
        // It has removed a message, and may have a content that is none.
        message.speaker = Some(Speaker::Item);
        message.content = None;
        return;
    }
    let Some(speaker) = Speaker::of(word) else { return };
    let data = members.get("data").map(Node::members).filter(|data| data.has("content"));
    if let Some(data) = data {
        message.speaker = Some(speaker);
        add(&data, message);
    } else if members.has("content") {
        message.speaker = Some(speaker);
        add(members, message);
    }
}

fn add<'a>(members: &Members<'a>, message: &mut Message<'a>) {
    message.content = message.content.or(members.get("content"));
    message.tools.extend(openai_chat::requests(members));
    if let Some(kept) = members.get("additional_kwargs") {
        let kept = kept.members();
        message.tools.extend(openai_chat::requests(&kept));
        message.substitute = message.substitute.or_else(|| openai_chat::substitute(&kept));
    }
    message.usage = message.usage.or(members.get("usage_metadata")).or_else(|| {
        let metadata = members.get("response_metadata")?.members();
        ["usage", "token_usage", "tokenUsage"].into_iter().find_map(|name| metadata.get(name))
    });
}

fn block<'a>(members: &Members<'a>) -> Option<Block<'a>> {
    match &*kind(members)? {
        "tool_call" | "server_tool_call" | "tool_call_chunk" => {
            Some(Block::Tool(name(members, "name")))
        }
        "reasoning" | "reasoning_content" | "server_tool_result" => Some(Block::Aside),
        _ => None,
    }
}
