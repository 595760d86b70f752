//! The text of an answer, put together from the pieces in which it was given.

use std::{borrow::Cow, mem};

use crate::domain::json::{Json, Node};

enum Text<'a> {
    AsWritten(Node<'a>),
    Plain(String),
}

struct Piece<'a> {
    text: Text<'a>,
    /// Whether something else stands between it and the piece before.
    is_apart: bool,
}

/// The texts that blocks hold, without the blocks around them. Providers cut a text wherever it
/// suits them, as at each citation, so nothing is put between the pieces.
#[derive(Default)]
pub(super) struct Texts<'a> {
    pieces: Vec<Piece<'a>>,
    /// How many of them there are up to the last one that is not blank.
    said: usize,
    /// Whether something else has come since the last piece.
    is_interrupted: bool,
}

impl<'a> Texts<'a> {
    /// Whether there is nothing but white space.
    pub(super) fn is_blank(&self) -> bool {
        self.said == 0
    }

    pub(super) fn push(&mut self, node: Node<'a>) {
        if node.is_text() && node.as_str() != "\"\"" {
            self.add(Text::AsWritten(node), is_blank(node));
        }
    }

    pub(super) fn push_plain(&mut self, text: String) {
        if !text.is_empty() {
            let is_blank = text.trim().is_empty();
            self.add(Text::Plain(text), is_blank);
        }
    }

    pub(super) fn extend(&mut self, nodes: impl IntoIterator<Item = Node<'a>>) {
        nodes.into_iter().for_each(|node| self.push(node));
    }

    fn add(&mut self, text: Text<'a>, is_blank: bool) {
        // White space may part two texts, but it begins none.
        if is_blank && self.pieces.is_empty() {
            return;
        }
        let is_apart = mem::take(&mut self.is_interrupted);
        self.pieces.push(Piece { text, is_apart });
        if !is_blank {
            self.said = self.pieces.len();
        }
    }

    /// What comes next is apart from what has come: a call of a tool, a thought, or an image stands
    /// between.
    pub(super) fn interrupt(&mut self) {
        self.is_interrupted = true;
    }

    /// As one text, with a line break where something stood between two pieces and no white space
    /// parts them. A text alone stays as it was written.
    pub(super) fn join(&self) -> Option<Json> {
        let pieces = self.pieces.get(..self.said).unwrap_or_default();
        if let [Piece { text: Text::AsWritten(alone), .. }] = pieces {
            return Some(alone.to_json());
        }
        let mut joined = String::new();
        for Piece { text, is_apart } in pieces {
            let Some(text) = text.plain() else { continue };
            let is_parted = joined.is_empty()
                || joined.ends_with(char::is_whitespace)
                || text.starts_with(char::is_whitespace);
            if *is_apart && !is_parted {
                joined.push('\n');
            }
            joined.push_str(&text);
        }
        (!self.is_blank()).then(|| Json::string(&joined))
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

/// Whether a text has nothing but white space. A long one is not copied to see that it has more.
fn is_blank(text: Node<'_>) -> bool {
    let within = text.as_str().trim_start_matches('"').trim_start();
    match within.chars().next() {
        None | Some('"') => true,
        Some('\\') => text.text().is_none_or(|text| text.trim().is_empty()),
        Some(_) => false,
    }
}
