//! Lone surrogates: halves of characters, which JSON can write and no text can hold.

use std::borrow::Cow;

/// Where in the text the escape of half a surrogate pair stands (`\ud83d` without its second half),
/// which is what is left of a character that was cut in two. RFC 8259 §8.2 leaves open what that
/// means, and most parsers refuse it.
fn lone_surrogates(text: &str) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    let mut place = 0;
    std::iter::from_fn(move || {
        while let Some(offset) = bytes.get(place..).and_then(|rest| find(rest, b'\\')) {
            let escape = place + offset;
            let Some(unit) = surrogate(bytes, escape) else {
                place = escape + 2;
                continue;
            };
            let second = surrogate(bytes, escape + 6);
            if unit < 0xdc00 && second.is_some_and(|second| second >= 0xdc00) {
                place = escape + 12;
                continue;
            }
            place = escape + 6;
            return Some(escape);
        }
        None
    })
}

fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    bytes.iter().position(|byte| *byte == wanted)
}

/// The surrogate whose escape stands here, if one does.
fn surrogate(bytes: &[u8], place: usize) -> Option<u16> {
    let digits = bytes.get(place..place + 6)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    let unit = u16::from_str_radix(digits, 16).ok()?;
    (0xd800..0xe000).contains(&unit).then_some(unit)
}

/// The place of the first lone surrogate, in bytes.
#[must_use]
pub fn lone_surrogate(text: &str) -> Option<usize> {
    lone_surrogates(text).next()
}

/// JSON text in which the escape of each lone surrogate is that of U+FFFD, which stands for what
/// cannot be shown.
#[must_use]
pub fn mend(text: &str) -> Cow<'_, str> {
    let mut mended = String::new();
    let mut copied = 0;
    for place in lone_surrogates(text) {
        mended.push_str(&text[copied..place]);
        mended.push_str("\\ufffd");
        copied = place + 6;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    mended.push_str(&text[copied..]);
    Cow::Owned(mended)
}
