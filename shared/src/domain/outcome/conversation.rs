//! Conversations with models, read in whichever dialects they are written.

use std::{borrow::Cow, collections::HashSet};

use crate::domain::{
    json::{Item, Json, Members, Node},
    outcome::{
        anthropic, bedrock,
        dialect::{Answer, Block, Dialect, Message, Speaker, is_type},
        gemini, langchain, openai_chat, openai_responses, tokens,
    },
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

/// What a block says in the dialect that knows it.
fn read_block<'a>(members: &Members<'a>) -> Option<Block<'a>> {
    DIALECTS.iter().find_map(|dialect| (dialect.block)(members))
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
            match read_block(&members) {
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
    let is_answer = |answer: &Answer<'a>| {
        answer.is_sure || Conversation::read_whole(&answer.messages).is_some()
    };
    let Answer { messages, usage, .. } =
        DIALECTS.iter().find_map(|dialect| (dialect.answer)(members).filter(is_answer))?;
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
        match read_block(&members) {
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
