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
    /// The members that a message may have. What has others, and stands alone, is no message, but
    /// something that says more.
    pub(super) members: &'static [&'static str],
    /// The members of what holds messages in `conversation`, `message` or `contents`, or is a raw
    /// answer that is not sure to be one.
    pub(super) around: &'static [&'static str],
}

impl Dialect {
    /// Knows nothing.
    pub(super) const NONE: Self =
        Self { message: |_, _| {}, block: |_| None, answer: |_| None, members: &[], around: &[] };
}

/// A raw answer of an API. Its messages are the assistant's, even where they do not say so.
#[derive(Default)]
pub(super) struct Answer<'a> {
    pub(super) messages: Vec<Node<'a>>,
    /// From which of them on they are one turn, whose texts are one text.
    pub(super) last_turn: usize,
    /// Or the content of one message.
    pub(super) blocks: Option<Node<'a>>,
    /// What the model has said in the form that was asked for: it takes the place of the text.
    pub(super) structured: Option<Node<'a>>,
    /// Lists of messages that led to the answer, and ask for tools, too.
    pub(super) history: Vec<Node<'a>>,
    pub(super) usage: Option<Node<'a>>,
    /// Whether it can be nothing else; else it is one only if all its messages are such.
    pub(super) is_sure: bool,
}

impl<'a> Answer<'a> {
    /// One message, that can be nothing else.
    pub(super) fn of(message: Node<'a>, usage: Option<Node<'a>>) -> Self {
        Self { messages: vec![message], usage, is_sure: true, ..Self::default() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    Assistant,
    /// A user, a system prompt, a tool.
    Other,
    /// An item beside the messages that asks for a tool, as in OpenAI Responses.
    Call,
    /// Another item beside the messages.
    Item,
    /// What has a type that is in no dialect.
    Unknown,
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
    /// It is an item of an answer that may have several.
    pub(super) is_item: bool,
    /// It is not the answer, but says what is being done for it.
    pub(super) is_commentary: bool,
    /// It ends the turn, by its own word.
    pub(super) is_final: bool,
    /// Said in place of the content: a refusal, or the transcript of what is spoken.
    pub(super) substitute: Option<Node<'a>>,
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

/// The members that say how many tokens were used, wherever they are.
pub(super) const TOKENS: [&str; 6] =
    ["tokens", "tokens_used", "usage", "Usage", "usage_metadata", "usageMetadata"];

/// Whether all members are those of a message of one of these dialects.
pub(super) fn is_bare(dialects: &[&Dialect], members: &Members<'_>) -> bool {
    has_only(members, dialects.iter().map(|dialect| dialect.members), |_| false)
}

/// Whether all members are those of what one of these dialects has around messages, or others that
/// are read.
pub(super) fn is_around(
    dialects: &[&Dialect],
    members: &Members<'_>,
    is_read: impl Fn(&str) -> bool,
) -> bool {
    has_only(members, dialects.iter().map(|dialect| dialect.around), is_read)
}

fn has_only(
    members: &Members<'_>,
    mut lists: impl Iterator<Item = &'static [&'static str]>,
    is_read: impl Fn(&str) -> bool,
) -> bool {
    let is_read = |name: &str| TOKENS.contains(&name) || name == "metadata" || is_read(name);
    lists.any(|list| members.names().all(|name| list.contains(&name) || is_read(name)))
}

/// The name of the tool that an item of the type `…_call` asks for: its own, or else that of the
/// type, as `web_search` is that of a `web_search_call`. `None` where it names nothing.
pub(super) fn called(members: &Members<'_>, kind: &str) -> Option<String> {
    let tool = kind.strip_suffix("_call").filter(|tool| !tool.is_empty())?;
    name(members, "name").or_else(|| (tool != "function").then(|| tool.to_owned()))
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
pub(super) fn word(node: Node<'_>) -> Option<Cow<'_, str>> {
    let inner = node.as_str().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { node.text().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}
