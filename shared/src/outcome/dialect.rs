//! The dialects in which conversations with models are written down, and what all have in common.

use std::{borrow::Cow, collections::HashSet};

use crate::{
    json::{Item, Json, Members, Node},
    outcome::{anthropic, bedrock, gemini, langchain, openai_chat, openai_responses, tokens},
};

/// All dialects. To add one, write a file like the others, name it here, and add it to the table in
/// `docs/agents.md`.
pub(super) const DIALECTS: [&Dialect; 6] = [
    &anthropic::DIALECT,
    &bedrock::DIALECT,
    &gemini::DIALECT,
    &langchain::DIALECT,
    &openai_chat::DIALECT,
    &openai_responses::DIALECT,
];

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

    fn read(members: &Members<'a>) -> Option<Self> {
        DIALECTS.iter().find_map(|dialect| (dialect.block)(members))
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

/// Names of tools in order of first use.
#[derive(Default)]
pub(super) struct Tools {
    seen: HashSet<String>,
    names: Vec<String>,
}

impl Tools {
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) fn into_names(self) -> Vec<String> {
        self.names
    }
}

impl Extend<String> for Tools {
    fn extend<T: IntoIterator<Item = String>>(&mut self, names: T) {
        for name in names {
            if self.seen.insert(name.clone()) {
                self.names.push(name);
            }
        }
    }
}

/// A text within an answer.
enum Text<'a> {
    AsWritten(Node<'a>),
    Plain(String),
}

/// The texts that blocks hold, without the blocks around them.
#[derive(Default)]
pub(super) struct Texts<'a>(Vec<Text<'a>>);

impl<'a> Texts<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a text that says something.
    fn push(&mut self, node: Node<'a>) {
        if node.is_text() && node.as_str() != "\"\"" {
            self.0.push(Text::AsWritten(node));
        }
    }

    fn push_plain(&mut self, text: String) {
        if !text.is_empty() {
            self.0.push(Text::Plain(text));
        }
    }

    fn extend(&mut self, nodes: impl IntoIterator<Item = Node<'a>>) {
        nodes.into_iter().for_each(|node| self.push(node));
    }

    /// As one text, a line each. A text alone stays as it was written.
    pub(super) fn join(&self) -> Option<Json> {
        match self.0.as_slice() {
            [] => None,
            [Text::AsWritten(text)] => Some(text.to_json()),
            texts => {
                let lines: Vec<_> = texts.iter().filter_map(Text::plain).collect();
                Some(Json::string(&lines.join("\n")))
            }
        }
    }
}

impl Text<'_> {
    fn plain(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::AsWritten(node) => node.text().map(Cow::Owned),
            Self::Plain(text) => Some(Cow::Borrowed(text)),
        }
    }
}

/// What messages say.
#[derive(Default)]
pub(super) struct Conversation<'a> {
    /// Of the last message of the assistant that has any.
    pub(super) answer: Texts<'a>,
    pub(super) tools: Tools,
    /// How many messages the assistant has.
    assistants: usize,
    /// What they say of the tokens that they took.
    usages: Vec<Node<'a>>,
}

impl<'a> Conversation<'a> {
    /// Reads what is a message in this list.
    pub(super) fn read(messages: Node<'a>) -> Self {
        let mut conversation = Self::default();
        for item in messages.open_items() {
            if let Item::Object(members) = item {
                conversation.add(&members, false);
            }
        }
        conversation
    }

    /// The messages of a raw answer. One that does not say who speaks is the assistant's.
    fn read_answer(messages: &[Node<'a>]) -> Self {
        let mut conversation = Self::default();
        for node in messages {
            conversation.add(&node.members(), true);
        }
        conversation
    }

    /// Reads these if they are messages and nothing else, and the assistant speaks.
    pub(super) fn read_whole(messages: &[Node<'a>]) -> Option<Self> {
        let mut conversation = Self::default();
        let is_whole = messages.iter().all(|node| conversation.add(&node.members(), false));
        (is_whole && conversation.has_assistant()).then_some(conversation)
    }

    /// One message as a conversation.
    pub(super) fn of(members: &Members<'a>) -> Self {
        let mut conversation = Self::default();
        conversation.add(members, false);
        conversation
    }

    /// Whether it is a message.
    fn add(&mut self, members: &Members<'a>, is_answer: bool) -> bool {
        let mut message = Message::default();
        for dialect in DIALECTS {
            (dialect.message)(members, &mut message);
        }
        let is_silent = message.content.is_none() && message.refusal.is_none();
        if message.speaker.is_none() && is_silent && message.tools.is_empty() {
            return false;
        }
        let is_assistant = match message.speaker {
            Some(speaker) => speaker == Speaker::Assistant,
            None => is_answer,
        };
        let mut texts = Texts::default();
        match message.content {
            // It stays as it was written.
            Some(text) if text.is_text() => texts.push(text),
            Some(blocks) => self.add_blocks(blocks, &mut texts),
            None => {}
        }
        self.tools.extend(message.tools);
        if let (true, Some(refusal)) = (texts.is_empty(), message.refusal) {
            texts.push(refusal);
        }
        if is_assistant {
            self.assistants += 1;
            self.usages.extend(message.usage);
            if !texts.is_empty() {
                self.answer = texts;
            }
        }
        message.speaker.is_some()
    }

    fn add_blocks(&mut self, blocks: Node<'a>, texts: &mut Texts<'a>) {
        for item in blocks.open_items() {
            let members = match item {
                Item::Object(members) => members,
                Item::Text(text) => {
                    texts.push_plain(text);
                    continue;
                }
                Item::Other => continue,
            };
            match Block::read(&members) {
                Some(Block::Text(said)) => texts.extend(said),
                Some(Block::Tool(name)) => self.tools.extend(name),
                Some(Block::Aside) => {}
                // In all dialects a block with a text is that text.
                None => texts.extend(members.get("text")),
            }
        }
    }

    /// Whether the assistant speaks.
    pub(super) fn has_assistant(&self) -> bool {
        self.assistants > 0
    }

    /// The tokens that all of the assistant's messages took, if each says so.
    pub(super) fn usage(&self) -> Option<Json> {
        if self.usages.len() < self.assistants {
            return None;
        }
        match self.usages.as_slice() {
            [] => None,
            [usage] => Some(usage.to_json()),
            usages => tokens::sum(usages),
        }
    }
}

/// What a raw answer of one of the APIs says.
pub(super) fn answer<'a>(members: &Members<'a>) -> Option<(Conversation<'a>, Option<Json>)> {
    let Answer { messages, usage } =
        DIALECTS.iter().find_map(|dialect| (dialect.answer)(members))?;
    Some((Conversation::read_answer(&messages), usage.map(Node::to_json)))
}

/// The text of an answer that was given as blocks, or as a message; anything else stays as it is.
pub(super) fn flat(answer: Node<'_>) -> Json {
    said(answer).unwrap_or_else(|| answer.to_json())
}

fn said(answer: Node<'_>) -> Option<Json> {
    let message = Conversation::of(&answer.members());
    if message.has_assistant() {
        return message.answer.join();
    }
    let blocks = answer.items();
    let mut texts = Texts::default();
    for block in blocks {
        let members = block.members();
        match Block::read(&members) {
            Some(Block::Text(said)) => texts.extend(said),
            Some(Block::Tool(_) | Block::Aside) => {}
            None if is_plain(&members) => texts.extend(members.get("text")),
            None => return None,
        }
    }
    texts.join()
}

/// Whether this can be nothing but a block of text.
fn is_plain(members: &Members<'_>) -> bool {
    const SIGNED: [&str; 3] = ["text", "thoughtSignature", "thought_signature"];
    members.has("text")
        && (is_type(members, &["text", "output_text"])
            || members.names().all(|name| SIGNED.contains(&name)))
}
