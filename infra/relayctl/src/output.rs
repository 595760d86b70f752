//! What the tool says: a reply as text for people or as JSON, tables, and notes beside it.

use std::{
    fmt::Write as _,
    io::{self, Write},
    process::ExitCode,
};

use relay::domain::{time::Timestamp, truncated};
use serde::Serialize;

/// The answer of one command.
#[derive(Debug)]
pub(crate) struct Reply {
    /// As text, which keeps each digit of an agent's answer.
    json: String,
    text: String,
    is_good: bool,
}

impl Reply {
    pub(crate) fn new(json: &impl Serialize, text: String) -> anyhow::Result<Self> {
        Ok(Self { json: escaped(&serde_json::to_string_pretty(json)?), text, is_good: true })
    }

    /// The same with the exit code 1, unless `is_good`.
    pub(crate) fn judged(self, is_good: bool) -> Self {
        Self { is_good, ..self }
    }

    pub(crate) fn print(self, as_json: bool) -> ExitCode {
        let text = if as_json { self.json } else { self.text };
        if !text.is_empty() {
            say(&text);
        }
        if self.is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Writes a line that is part of the answer. Whoever reads it may have gone, as `head` does.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}");
}

/// Writes what is no part of the answer, so that a script that takes it does not see it.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", plain(line));
}

/// Overwrites the terminal's current line.
pub(crate) fn overwrite(line: &str) {
    let mut out = io::stdout().lock();
    let _ = write!(out, "\r\x1b[K{line}").and_then(|()| out.flush());
}

/// Text from elsewhere on one line: what controls a terminal does not reach it.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|char| if steers(char) { ' ' } else { char }).collect()
}

/// Whether it moves a terminal's cursor, ends a line, or has what follows shown in another order
/// (Unicode's `Bidi_Control`, UAX #9) than it stands.
fn steers(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(char, '\u{2066}'..='\u{2069}')
}

/// The same JSON, in which what steers a terminal is escaped. It can only stand in texts, but for what
/// JSON has between them.
fn escaped(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for char in json.chars() {
        if matches!(char, '\t' | '\r') {
            // Within a text they are escaped already.
            safe.push(' ');
        } else if char != '\n' && steers(char) {
            let mut units = [0; 2];
            for unit in char.encode_utf16(&mut units) {
                // Writing to a string does not fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(char);
        }
    }
    safe
}

/// A text that is as long as its writer likes, with a mark where it was cut.
pub(crate) fn truncated(text: &str, length: usize) -> String {
    truncated::marked(truncated::chars(text, length), text)
}

/// `2026-01-31 09:00`, in UTC.
pub(crate) fn minute(time: Timestamp) -> String {
    time.rfc3339().chars().take(16).collect::<String>().replace('T', " ")
}

/// `12 s`, `5 min`, `7 h` or `3 d`.
pub(crate) fn span(millis: u64) -> String {
    match millis / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Columns as wide as their widest cell, under a line of titles.
pub(crate) fn table<const N: usize>(titles: [&str; N], rows: &[[String; N]]) -> String {
    let titles = titles.map(str::to_owned);
    let rows: Vec<_> = std::iter::once(&titles)
        .chain(rows)
        .map(|row| row.each_ref().map(|cell| plain(cell)))
        .collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use relay::domain::json::Json;

    use super::*;

    #[test]
    fn json_is_shown_with_each_digit() {
        let json = [Json::parse("18446744073709551616").unwrap()];
        assert_eq!(Reply::new(&json, String::new()).unwrap().json, "[\n  18446744073709551616\n]");
    }

    #[test]
    fn json_is_the_same_without_what_steers_a_terminal() {
        let steering: String =
            (0..=0x3000_u32).filter_map(char::from_u32).filter(|char| steers(*char)).collect();
        assert_eq!(steering.chars().count(), 65 + 3 + 7 + 4);
        // As `serde_json` writes it, and as an agent has written it.
        let json = [
            Json::of(&steering),
            Json::parse("{\"\u{9b}2J\":\r\n\t\"\u{202e}\u{7f}\\u009b é 😀\"}").unwrap(),
        ];

        let shown = Reply::new(&json, String::new()).unwrap().json;

        assert!(!shown.chars().any(|char| char != '\n' && steers(char)), "{shown:?}");
        assert!(
            shown.contains(r#""\u009b2J""#) && shown.contains("\\u202e\\u007f\\u009b é 😀"),
            "{shown}"
        );
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read[0], steering.as_str());
        assert_eq!(read[1]["\u{9b}2J"], "\u{202e}\u{7f}\u{9b} é 😀");
        assert_eq!(plain(&steering).trim(), "");
    }

    #[test]
    fn columns_are_aligned_and_control_characters_do_not_reach_a_terminal() {
        let rows = [["é".to_owned(), "b".to_owned()], ["longer".to_owned(), "\x1b[2J".to_owned()]];

        assert_eq!(table(["A", "B"], &rows), "A       B\né       b\nlonger   [2J");
    }

    #[test]
    fn spans_are_told_in_one_unit() {
        let minute = 60_000;
        let spans = [0, 119_999, 2 * minute, 119 * minute, 120 * minute, 48 * 60 * minute];

        assert_eq!(spans.map(span), ["0 s", "119 s", "2 min", "119 min", "2 h", "2 d"]);
    }
}
