//! What the dialects have in common in which conversations with models are written down.

use std::borrow::Cow;

use crate::domain::json::{Members, Node};

/// How an API or a framework writes down what was said. Frameworks carry the blocks of one dialect
/// along in the messages of another, so each part is read by whichever dialect knows it.
pub(super) struct Dialect {
    /// Adds what this dialect knows of an object that may be a message.
    pub(super) message: for<'a> fn(&Members<'a>, &mut Message<'a>),
    /// Reads a block: an object in the content of a message.
    pub(super) block: for<'a> fn(&Members<'a>) -> Option<Block<'a>>,
    /// Finds the messages within a raw answer of the API.
    pub(super) answer: for<'a> fn(&Members<'a>) -> Option<Answer<'a>>,
}

impl Dialect {
    /// Knows nothing.
    pub(super) const NONE: Self = Self { message: |_, _| {}, block: |_| None, answer: |_| None };
}

/// A raw answer of an API. Its messages are the assistant's, even where they do not say so.
pub(super) struct Answer<'a> {
    pub(super) messages: Vec<Node<'a>>,
    pub(super) usage: Option<Node<'a>>,
    /// Whether it can be nothing else; else it is one only if all its messages are such.
    pub(super) is_sure: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    Assistant,
    /// A user, a system prompt, a tool.
    Other,
    /// An item beside the messages, as a call of a tool is in OpenAI Responses.
    Item,
}

impl Speaker {
    /// By the words of all dialects; a word that none has is no speaker.
    pub(super) fn of(word: Node<'_>) -> Option<Self> {
        match &*self::word(word)? {
            "assistant" | "model" | "ai" | "AIMessageChunk" => Some(Self::Assistant),
            "user" | "human" | "system" | "developer" | "tool" | "function" => Some(Self::Other),
            _ => None,
        }
    }
}

/// What a message holds. It is no message where nobody speaks.
#[derive(Default)]
pub(super) struct Message<'a> {
    pub(super) speaker: Option<Speaker>,
    /// Text, or blocks.
    pub(super) content: Option<Node<'a>>,
    /// Said in place of the content.
    pub(super) refusal: Option<Node<'a>>,
    pub(super) tools: Vec<String>,
    pub(super) usage: Option<Node<'a>>,
}

impl<'a> Message<'a> {
    /// Sets who speaks by the word in the member `role`, if there is content or a call of a tool.
    pub(super) fn by_role(&mut self, members: &Members<'a>, role: &str, content: &str) {
        if members.has(content) {
            self.speaker = self.speaker.or_else(|| Speaker::of(members.get(role)?));
            self.content = self.content.or(members.get(content));
        }
    }
}

pub(super) enum Block<'a> {
    Text(Vec<Node<'a>>),
    /// The request for a tool. It has no name where that is none.
    Tool(Option<String>),
    /// What the model thinks, or what a tool has answered.
    Aside,
}

impl<'a> Block<'a> {
    pub(super) fn tool(members: &Members<'_>) -> Self {
        Self::Tool(name(members, "name"))
    }

    pub(super) fn text(members: &Members<'a>, name: &str) -> Self {
        Self::Text(members.get(name).into_iter().collect())
    }
}

/// A text of this name that says something.
pub(super) fn name(members: &Members<'_>, name: &str) -> Option<String> {
    members.get(name)?.text().filter(|name| !name.is_empty())
}

/// Whether the member `type` is one of these words.
pub(super) fn is_type(members: &Members<'_>, words: &[&str]) -> bool {
    kind(members).is_some_and(|kind| words.contains(&&*kind))
}

pub(super) fn kind<'a>(members: &Members<'a>) -> Option<Cow<'a, str>> {
    word(members.get("type")?)
}

/// A text, which is copied only if it has escapes.
fn word(node: Node<'_>) -> Option<Cow<'_, str>> {
    let inner = node.as_str().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { node.text().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}
