//! JSON as a flat row of tokens, so that no depth needs a stack: its numbers, its digest.

use sha2::{Digest, Sha256};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// `{` or `[`.
    Open(u8),
    Close,
    /// A string, a number or a word, or the name of a member.
    Scalar(&'a str),
}

/// Where one stands in an object or list.
enum Level<'a> {
    Object {
        /// As it is written.
        name: &'a str,
        is_name_next: bool,
    },
    List {
        count: usize,
    },
}

/// Goes through JSON that is known to be valid, however deep it is nested.
pub(super) struct Tokens<'a>(pub(super) &'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let is_between = |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b':');
        let start = self.0.bytes().position(|byte| !is_between(byte))?;
        let rest = &self.0[start..];
        let (token, length) = match rest.as_bytes().first()? {
            open @ (b'{' | b'[') => (Token::Open(*open), 1),
            b'}' | b']' => (Token::Close, 1),
            b'"' => {
                let length = string_length(rest.as_bytes());
                (Token::Scalar(&rest[..length]), length)
            }
            _ => {
                let ends = |byte: u8| is_between(byte) || matches!(byte, b'}' | b']');
                let length = rest.bytes().position(ends).unwrap_or(rest.len());
                (Token::Scalar(&rest[..length]), length)
            }
        };
        self.0 = &rest[length..];
        Some(token)
    }
}

/// With both its quotes.
pub(super) fn string_length(bytes: &[u8]) -> usize {
    let mut place = 1;
    while let Some(byte) = bytes.get(place) {
        match byte {
            b'"' => return place + 1,
            b'\\' => place += 2,
            _ => place += 1,
        }
    }
    bytes.len()
}

/// A step from a value to one within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Member(String),
    Item(usize),
}

/// Goes through the numbers of a value.
pub struct Numbers<'a> {
    tokens: Tokens<'a>,
    open: Vec<Level<'a>>,
}

impl<'a> Numbers<'a> {
    pub(super) const fn of(text: &'a str) -> Self {
        Self { tokens: Tokens(text), open: Vec::new() }
    }

    /// How one gets to the number that was given last.
    #[must_use]
    pub fn path(&self) -> Vec<Step> {
        let steps = self.open.iter().map(|level| match level {
            Level::Object { name, .. } => {
                Step::Member(serde_json::from_str(name).unwrap_or_default())
            }
            Level::List { count } => Step::Item(count.saturating_sub(1)),
        });
        steps.collect()
    }
}

impl<'a> Iterator for Numbers<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            let token = self.tokens.next()?;
            if token == Token::Close {
                self.open.pop();
                continue;
            }
            match (self.open.last_mut(), token) {
                (Some(Level::Object { name, is_name_next }), Token::Scalar(text))
                    if *is_name_next =>
                {
                    (*name, *is_name_next) = (text, false);
                    continue;
                }
                (Some(Level::Object { is_name_next, .. }), _) => *is_name_next = true,
                (Some(Level::List { count }), _) => *count += 1,
                (None, _) => {}
            }
            match token {
                Token::Open(b'{') => {
                    self.open.push(Level::Object { name: "", is_name_next: true });
                }
                Token::Open(_) => self.open.push(Level::List { count: 0 }),
                Token::Scalar(text) if is_number(text) => return Some(text),
                Token::Scalar(_) | Token::Close => {}
            }
        }
    }
}

/// Whether JSON text is a number.
pub(super) fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// An object or list whose end has not come yet.
struct Unfinished {
    is_object: bool,
    name: Option<String>,
    parts: Vec<(String, [u8; 32])>,
}

impl Unfinished {
    fn hash(mut self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(if self.is_object { b"{" } else { b"[" });
        if self.is_object {
            self.parts.sort_by(|one, other| one.0.cmp(&other.0));
        }
        for (name, part) in self.parts {
            hash.update((name.len() as u64).to_be_bytes());
            hash.update(name);
            hash.update(part);
        }
        hash.finalize().into()
    }
}

pub(super) fn digest(text: &str) -> [u8; 32] {
    let mut open: Vec<Unfinished> = Vec::new();
    for token in Tokens(text) {
        let part = match token {
            Token::Open(kind) => {
                let is_object = kind == b'{';
                open.push(Unfinished { is_object, name: None, parts: Vec::new() });
                continue;
            }
            Token::Close => match open.pop() {
                Some(done) => done.hash(),
                None => continue,
            },
            Token::Scalar(text) => {
                // However its characters are escaped.
                let string = serde_json::from_str::<String>(text).ok();
                if let (Some(outer), Some(name)) = (open.last_mut(), &string)
                    && outer.is_object
                    && outer.name.is_none()
                {
                    outer.name = Some(name.clone());
                    continue;
                }
                match string {
                    Some(string) => Sha256::new().chain_update(b"\"").chain_update(string),
                    None => Sha256::new().chain_update(b"=").chain_update(text),
                }
                .finalize()
                .into()
            }
        };
        match open.last_mut() {
            Some(outer) => outer.parts.push((outer.name.take().unwrap_or_default(), part)),
            None => return part,
        }
    }
    [0; 32]
}
