//! Conversations with models, read in whichever dialects they are written.

use std::{borrow::Borrow, collections::HashSet, mem};

use crate::domain::{
    json::{Item, Json, Members, Node},
    outcome::{
        ai_sdk, anthropic, bedrock,
        dialect::{Answer, Block, Dialect, Message, Speaker, is_around, is_bare, is_type, kind},
        gemini, interactions, langchain, openai_chat, openai_responses, strands,
        texts::Texts,
        tokens,
    },
};

/// All dialects. To add one, write a file like the others, name it here, and add it to the table in
/// `docs/agents.md`.
pub(super) const DIALECTS: [&Dialect; 9] = [
    &ai_sdk::DIALECT,
    &anthropic::DIALECT,
    &bedrock::DIALECT,
    &gemini::DIALECT,
    &interactions::DIALECT,
    &langchain::DIALECT,
    &openai_chat::DIALECT,
    &openai_responses::DIALECT,
    &strands::DIALECT,
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

/// Where the assistant's turn ends, as far as its messages say so.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Turn {
    #[default]
    Open,
    Ended,
    /// It goes on after its end, though nobody else has spoken: these are several answers.
    Resumed,
}

impl Turn {
    fn after(self, speaker: Option<Speaker>, is_final: bool) -> Self {
        match (self, speaker) {
            (Self::Ended, Some(Speaker::Assistant)) => Self::Resumed,
            (Self::Open, Some(Speaker::Assistant)) if is_final => Self::Ended,
            (Self::Ended, Some(Speaker::Other)) => Self::Open,
            (turn, _) => turn,
        }
    }
}

/// What messages say.
#[derive(Default)]
pub(super) struct Conversation<'a> {
    /// Of the last message of the assistant that has any; of all of its messages where they are one
    /// turn.
    answer: Texts<'a>,
    /// What is said in place of the answer, in the form that was asked for.
    structured: Option<Node<'a>>,
    /// Whether the answer is but a comment on what the assistant is about to do.
    is_commentary: bool,
    /// Whether the assistant's messages are one turn, until somebody else speaks.
    is_one_turn: bool,
    /// Whether somebody else has spoken since.
    is_over: bool,
    turn: Turn,
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

    /// The messages of a raw answer, which are one turn from one of them on. One that does not say
    /// who speaks is the assistant's.
    pub(super) fn read_answer(answer: &Answer<'a>) -> Self {
        let mut conversation = Self { structured: answer.structured, ..Self::default() };
        for messages in &answer.history {
            conversation.tools.extend(Self::read(*messages).tools.into_names());
        }
        let mut earlier = Texts::default();
        if let Some(blocks) = answer.blocks {
            let mut texts = Texts::default();
            conversation.add_blocks(blocks, &mut texts);
            conversation.answer = texts;
            conversation.assistants = 1;
        }
        for (index, node) in answer.messages.iter().enumerate() {
            if index == answer.last_turn {
                earlier = mem::take(&mut conversation.answer);
                conversation.is_one_turn = true;
            }
            conversation.add(&node.members(), true);
        }
        if conversation.answer.is_blank() {
            conversation.answer = earlier;
        }
        conversation
    }

    /// Reads these if they are messages and what comes along with them, and the assistant speaks or
    /// asks for a tool.
    pub(super) fn read_whole<M: Borrow<Members<'a>>>(
        messages: impl IntoIterator<Item = M>,
    ) -> Option<Self> {
        let mut conversation = Self::default();
        let (mut known, mut unknown, mut calls) = (0_usize, 0_usize, 0_usize);
        let (mut is_dialogue, mut are_bare) = (false, true);
        for members in messages {
            match conversation.add(members.borrow(), false)? {
                Speaker::Unknown => unknown += 1,
                Speaker::Assistant => {
                    known += 1;
                    are_bare &= is_bare(&DIALECTS, members.borrow());
                }
                Speaker::Other => {
                    known += 1;
                    is_dialogue = true;
                }
                Speaker::Call => {
                    known += 1;
                    calls += 1;
                }
                Speaker::Item => known += 1,
            }
        }
        // An API may have items that we do not know, but a list of other things is no conversation
        // for the messages in it. Nor are things that happen to have an author, or several answers.
        let is_one =
            known > unknown && (is_dialogue || are_bare) && conversation.turn != Turn::Resumed;
        (is_one && (conversation.has_assistant() || calls > 0)).then_some(conversation)
    }

    /// Who speaks, if this is a message or may stand among messages.
    fn add(&mut self, members: &Members<'a>, is_answer: bool) -> Option<Speaker> {
        let mut message = Message::default();
        for dialect in DIALECTS {
            (dialect.message)(members, &mut message);
        }
        let speaker = speaker(members, &message, is_answer);
        // A comment does not take the place of an answer.
        let may_answer = speaker == Some(Speaker::Assistant)
            && (!message.is_commentary || self.is_commentary || self.answer.is_blank());
        let is_continued = may_answer
            && (self.is_one_turn || message.is_item)
            && !self.is_over
            && self.is_commentary == message.is_commentary;
        let mut texts = if is_continued { mem::take(&mut self.answer) } else { Texts::default() };
        match message.content {
            // It stays as it was written.
            Some(text) if text.is_text() => texts.push(text),
            Some(blocks) => self.add_blocks(blocks, &mut texts),
            None => {}
        }
        self.tools.extend(message.tools);
        if let (true, Some(substitute)) = (texts.is_blank(), message.substitute) {
            texts.push(substitute);
        }
        self.turn = self.turn.after(speaker, message.is_final);
        match speaker {
            Some(Speaker::Assistant) => {
                self.assistants += 1;
                self.usages.extend(message.usage);
            }
            Some(Speaker::Other) => self.is_over = true,
            _ => self.answer.interrupt(),
        }
        if may_answer && !texts.is_blank() {
            self.answer = texts;
            self.is_commentary = message.is_commentary;
            self.is_over = false;
        }
        speaker
    }

    fn add_blocks(&mut self, blocks: Node<'a>, texts: &mut Texts<'a>) {
        for item in blocks.open_items() {
            match item {
                Item::Object(members) => self.add_block(&members, texts),
                Item::Text(text) => texts.push_plain(text),
                Item::Other => {}
            }
        }
    }

    fn add_block(&mut self, members: &Members<'a>, texts: &mut Texts<'a>) {
        match read_block(members) {
            Some(Block::Text(said)) => texts.extend(said),
            Some(Block::Tool(name)) => {
                self.tools.extend(name);
                texts.interrupt();
            }
            Some(Block::Aside) => texts.interrupt(),
            // In all dialects a block with a text is that text.
            None => match members.find("text") {
                Some(text) => texts.push(text),
                None => texts.interrupt(),
            },
        }
    }

    /// What it comes to.
    pub(super) fn result(&self) -> Option<Json> {
        self.structured.map(Node::to_json).or_else(|| self.answer.join())
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

/// Who speaks in an object that is, or may be, a message of this form.
fn speaker(members: &Members<'_>, message: &Message<'_>, is_answer: bool) -> Option<Speaker> {
    let says_something = message.content.is_some() || message.substitute.is_some();
    let asks = !message.tools.is_empty();
    message.speaker.or_else(|| match kind(members) {
        None if is_answer && (says_something || asks) => Some(Speaker::Assistant),
        None => asks.then_some(Speaker::Call),
        Some(kind) if is_answer && says_something && kind == "message" => Some(Speaker::Assistant),
        Some(_) => Some(Speaker::Unknown),
    })
}

/// What a raw answer of one of the APIs says, and what it says of its tokens. `is_alone` is the
/// output that is to be read for what it is, and not what stands beside a conversation in it.
pub(super) fn answer<'a>(
    members: &Members<'a>,
    is_alone: bool,
) -> Option<(Conversation<'a>, Option<Json>)> {
    let is_whole = |answer: &Answer<'a>| {
        Conversation::read_whole(answer.messages.iter().map(|node| node.members())).is_some()
    };
    let is_answer = |dialect: &Dialect, answer: &Answer<'a>| {
        let is_told = || !is_alone || is_around(&[dialect], members, |_| false);
        answer.is_sure || (is_told() && is_whole(answer))
    };
    let answer = DIALECTS.iter().find_map(|dialect| {
        (dialect.answer)(members).filter(|answer| is_answer(dialect, answer))
    })?;
    Some((Conversation::read_answer(&answer), answer.usage.map(Node::to_json)))
}

/// The text of an answer that was given as blocks, or as a message; anything else stays as it is.
pub(super) fn flat(answer: Node<'_>) -> Json {
    said(answer).unwrap_or_else(|| answer.to_json())
}

fn said(answer: Node<'_>) -> Option<Json> {
    let items = answer.items();
    if let [message] = items.as_slice() {
        let message = Conversation::read_whole([message.members()]);
        if let Some(message) = message.filter(Conversation::has_assistant) {
            return message.answer.join();
        }
    }
    let mut texts = Texts::default();
    for block in items {
        let members = block.members();
        match read_block(&members) {
            Some(Block::Text(said)) => texts.extend(said),
            Some(Block::Tool(_) | Block::Aside) => texts.interrupt(),
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
