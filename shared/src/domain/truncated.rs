//! Texts that are as long as their writers like, truncated to what is kept or shown of them.

/// The first characters.
#[must_use]
pub fn chars(text: &str, most: usize) -> &str {
    let end = text.char_indices().nth(most).map_or(text.len(), |(index, _)| index);
    text.get(..end).unwrap_or(text)
}

/// The first bytes, without a character that does not fit.
#[must_use]
pub fn bytes(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

/// What is left of a text, with a mark where more follows.
#[must_use]
pub fn marked(left: &str, text: &str) -> String {
    if left.len() < text.len() { format!("{left}…") } else { left.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_with_a_whole_character() {
        assert_eq!([0, 1, 2, 3].map(|most| chars("é😀", most)), ["", "é", "é😀", "é😀"]);
        assert_eq!(
            [0, 1, 2, 5, 6, 7].map(|most| bytes("é😀", most)),
            ["", "", "é", "é", "é😀", "é😀"]
        );
        assert_eq!(["é", "é😀"].map(|left| marked(left, "é😀")), ["é…", "é😀"]);
    }
}
