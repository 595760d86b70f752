//! Where in a file its rows are: each is read by itself, so that what is wrong with one stops no other.

use std::{fmt, ops::Range};
use std::{
    fs,
    io::{self, Read as _},
};

use anyhow::{Context as _, anyhow, bail};
use relay::domain::json::{Json, Members, Node, surrogate};
use serde_json::{Deserializer, value::RawValue};

use crate::registry::Found;

/// What a file may have its rows in: each in an object by this name, as in an export to S3 or in a stream, or
/// all in a list, as in the answer to a scan and in that of `agents list --json`.
const WRAPPERS: [&str; 8] =
    ["Item", "Items", "NewImage", "PutRequest", "Records", "Responses", "agents", "dynamodb"];

/// More than those have about each other.
const MAX_WRAPPED: usize = 5;

/// Where a row is, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// The line of a file on which it starts.
    Line(usize),
    /// The item of a table.
    Item(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(formatter, "line {number}"),
            Self::Item(number) => write!(formatter, "item {number}"),
        }
    }
}

/// A row, or why it is none.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    /// Of its agent, where that can be told although the row cannot be read.
    pub(crate) name: Option<String>,
    pub(crate) row: anyhow::Result<Found>,
}

/// The rows of a file: objects one after the other, be it a line each, in a list, or within what
/// DynamoDB has around them.
pub(crate) fn parse(bytes: &[u8]) -> Vec<Entry> {
    let text = String::from_utf8_lossy(bytes);
    let text = surrogate::mend(&text);
    let mut file = File { text: &text, lines: Lines::of(bytes), rows: Vec::new() };
    file.read();
    file.rows
}

struct File<'a> {
    text: &'a str,
    lines: Lines,
    rows: Vec<Entry>,
}

/// A list whose end has not come yet.
struct Open {
    start: usize,
    /// It is what an object holds that cannot be read as a whole.
    is_wrapped: bool,
}

impl<'a> File<'a> {
    fn read(&mut self) {
        let mut open: Vec<Open> = Vec::new();
        let mut place = 0;
        while let Some(next) = self.text.get(place..).and_then(|rest| rest.chars().next()) {
            place = match next {
                ',' | '\u{feff}' => place + next.len_utf8(),
                space if space.is_whitespace() => place + space.len_utf8(),
                '[' => {
                    open.push(Open { start: place, is_wrapped: false });
                    place + 1
                }
                ']' => {
                    let closed = open.pop();
                    if closed.is_none() {
                        self.refuse(place..place + 1, anyhow!("ends a list that has not begun"));
                    }
                    let is_wrapped = closed.is_some_and(|list| list.is_wrapped);
                    if is_wrapped { self.end_of_wrapper(place + 1) } else { place + 1 }
                }
                _ => self.element(place, &mut open),
            };
        }
        if let Some(list) = open.first() {
            let error =
                anyhow!("begins a list that does not end: what is behind it may be missing");
            self.refuse(list.start..list.start + 1, error);
        }
    }

    /// Reads what starts here, and tells where the next can start.
    fn element(&mut self, start: usize, open: &mut Vec<Open>) -> usize {
        let rest = self.rest(start);
        let mut values = Deserializer::from_str(rest).into_iter::<&'a RawValue>();
        let error = match values.next() {
            Some(Ok(value)) => {
                let end = start + values.byte_offset();
                if let Some(node) = Node::parse(value.get()).filter(|_| self.is_end(end)) {
                    self.add(node, MAX_WRAPPED);
                    return end;
                }
                anyhow!("is followed by something that is not JSON")
            }
            Some(Err(error)) => {
                if let Some(list) = list_in_wrapper(rest) {
                    open.push(Open { start: start + list, is_wrapped: true });
                    return start + list + 1;
                }
                self.syntax(start, &error)
            }
            None => return self.text.len(),
        };
        let end = self.end_of_broken(start);
        self.refuse(start..end, error);
        end
    }

    fn rest(&self, start: usize) -> &'a str {
        self.text.get(start..).unwrap_or_default()
    }

    /// Whether a value may end here.
    fn is_end(&self, place: usize) -> bool {
        let next = self.rest(place).chars().find(|char| !matches!(char, ' ' | '\t' | '\r'));
        next.is_none_or(|next| matches!(next, '\n' | ',' | ']' | '[' | '{'))
    }

    /// Where a row ends that is no JSON: with its brackets if that is on its line, with its line if
    /// the next one can be a row, or else with its brackets.
    fn end_of_broken(&self, start: usize) -> usize {
        let rest = self.rest(start);
        let line = rest.split('\n').next().unwrap_or_default();
        let on_line = balanced(line, 0).map(|end| start + end).filter(|end| self.is_end(*end));
        if let Some(end) = on_line {
            return end;
        }
        let end = start + line.len();
        let next = self.rest(end).trim_start();
        if !rest.starts_with('{') || next.is_empty() || next.starts_with(['{', '[', ']']) {
            return end;
        }
        start + balanced(rest, 0).unwrap_or(rest.len())
    }

    /// Where the object ends whose list has ended here.
    fn end_of_wrapper(&self, start: usize) -> usize {
        let rest = self.rest(start);
        start + balanced(rest, 1).unwrap_or(rest.len())
    }

    fn syntax(&self, start: usize, error: &serde_json::Error) -> anyhow::Error {
        let text = error.to_string();
        let reason = text.split(" at line ").next().unwrap_or_default();
        let line = self.lines.at(start) + error.line().saturating_sub(1);
        anyhow!("is not JSON: {reason} (line {line})")
    }

    fn refuse(&mut self, place: Range<usize>, error: anyhow::Error) {
        let line = Place::Line(self.lines.at(place.start));
        let name = self.text.get(place).and_then(name_within);
        self.rows.push(Entry { place: line, name, row: Err(error) });
    }

    fn add(&mut self, node: Node<'a>, wrapped: usize) {
        if node.is_list() {
            node.items().into_iter().for_each(|item| self.add(item, wrapped));
            return;
        }
        let members = node.members();
        if wrapped > 0 && !members.has("agent_name") {
            let within = WRAPPERS.iter().find_map(|name| members.get(name));
            if let Some(within) = within.filter(|it| it.is_list() || it.is_object()) {
                return self.add(within, wrapped - 1);
            }
            if is_by_tables(&members) {
                return members.iter().for_each(|(_, rows)| self.add(rows, wrapped - 1));
            }
        }
        let start = self.place(node);
        let row = self.row(node, start);
        let name = name_within(node.as_str()).filter(|_| row.is_err());
        self.rows.push(Entry { place: Place::Line(self.lines.at(start)), name, row });
    }

    fn row(&self, node: Node<'_>, start: usize) -> anyhow::Result<Found> {
        if let Some(line) = self.lines.odd_in(start..start + node.as_str().len()) {
            bail!("is not UTF-8 (line {line})");
        }
        if !node.is_object() {
            bail!("is not an object");
        }
        Found::in_json(node)
    }

    /// Where in the text a value of it stands.
    fn place(&self, node: Node<'_>) -> usize {
        (node.as_str().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize)
    }
}

/// Whether an object has lists of objects alone, as a batch that is written or read has one for each table.
fn is_by_tables(members: &Members<'_>) -> bool {
    let is_table = |list: Node<'_>| {
        let items = list.items();
        !items.is_empty() && items.iter().all(|item| item.is_object())
    };
    members.names().next().is_some()
        && members.iter().all(|(_, list)| list.is_list() && is_table(list))
}

/// The lines of a file, by where they start.
struct Lines {
    starts: Vec<usize>,
    /// The numbers of those that are not UTF-8, in order.
    odd: Vec<usize>,
}

impl Lines {
    fn of(bytes: &[u8]) -> Self {
        let (mut starts, mut odd) = (Vec::new(), Vec::new());
        let mut place = 0;
        for (number, line) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
            starts.push(place);
            // In the text that is read, each line that is UTF-8 is as long as in the file.
            place += String::from_utf8_lossy(line).len();
            if std::str::from_utf8(line).is_err() {
                odd.push(number);
            }
        }
        Self { starts, odd }
    }

    /// The number of the line that has this place.
    fn at(&self, place: usize) -> usize {
        self.starts.partition_point(|start| *start <= place).max(1)
    }

    fn odd_in(&self, places: Range<usize>) -> Option<usize> {
        let (first, last) = (self.at(places.start), self.at(places.end.saturating_sub(1)));
        self.odd.iter().copied().find(|number| (first..=last).contains(number))
    }
}

/// The end of the object or list that a text begins with, or of the `depth` that are open: by the
/// brackets outside its strings, which end with their line at the latest.
fn balanced(text: &str, depth: usize) -> Option<usize> {
    let (mut depth, mut is_text, mut is_escaped) = (depth, false, false);
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'\n' => is_text = false,
            b'{' | b'[' if !is_text => depth += 1,
            b'}' | b']' if !is_text => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(place + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Where the list begins that an object holds its rows in, if that comes first in it.
fn list_in_wrapper(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('{')?.trim_start().strip_prefix('"')?;
    let (name, behind) = inner.split_once('"')?;
    let list = behind.trim_start().strip_prefix(':')?.trim_start();
    (WRAPPERS.contains(&name) && list.starts_with('[')).then(|| text.len() - list.len())
}

/// The name of the agent in what may be no JSON.
fn name_within(text: &str) -> Option<String> {
    let (_, behind) = text.split_once("\"agent_name\"")?;
    let value = behind.trim_start().strip_prefix(':')?;
    let value = Deserializer::from_str(value).into_iter::<Json>().next()?.ok()?;
    let node = value.node();
    node.text().or_else(|| node.members().get("S")?.text()).filter(|name| !name.trim().is_empty())
}

/// A whole file, or standard input where it is called `-`.
pub(crate) fn read(file: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = match file {
        "-" => io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes),
        file => fs::read(file),
    };
    read.with_context(|| format!("cannot read {file}"))
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    /// The line of each row of a text, and its name or why it is none.
    fn told(text: impl AsRef<[u8]>) -> Vec<(usize, String)> {
        let rows = parse(text.as_ref()).into_iter().map(|entry| {
            let said = match entry.row {
                Ok(found) => found.name().unwrap_or_default(),
                Err(error) => format!("{}: {error:#}", entry.name.unwrap_or_default()),
            };
            let Place::Line(number) = entry.place else { panic!("it is a file") };
            (number, said)
        });
        rows.collect()
    }

    fn names(text: &str) -> Vec<(usize, String)> {
        told(text)
    }

    fn expected(rows: &[(usize, &str)]) -> Vec<(usize, String)> {
        rows.iter().map(|(line, name)| (*line, (*name).to_owned())).collect()
    }

    const A: &str = r#"{"agent_name": "a"}"#;
    const B: &str = r#"{"agent_name": "b"}"#;

    #[test]
    fn rows_are_found_in_each_form_of_a_file() {
        let both = |one, two| expected(&[(one, "a"), (two, "b")]);
        for (text, rows) in [
            (format!("{A}\n{B}\n"), both(1, 2)),
            (format!("\u{feff}{A}\r\n\r\n{B}\r\n"), both(1, 3)),
            (format!("{A}\n\u{feff}{B}"), both(1, 2)),
            (format!("{A}{B}"), both(1, 1)),
            (format!("[{A}, {B}]"), both(1, 1)),
            (format!("[\n  {A},\n  {B}\n]\n"), both(2, 3)),
            (format!("[\n  {A}\n  {B}\n]\n"), both(2, 3)),
            (format!("[\n  {A},\n  {B},\n]\n"), both(2, 3)),
            (format!("[{A}]\n[{B}]\n"), both(1, 2)),
            (format!("{{\"Item\": {A}}}\n{{\"Item\": {B}}}"), both(1, 2)),
            (format!("{{\n \"Items\": [\n{A},\n{B}\n],\n \"Count\": 2\n}}"), both(3, 4)),
            (format!("{{\"Count\": 2, \"Items\": [{A},\n{B}]}}"), both(1, 2)),
            (A.to_owned(), expected(&[(1, "a")])),
            ("{\n\"agent_name\":\n\"a\"\n}".to_owned(), expected(&[(1, "a")])),
            (String::new(), vec![]),
            ("\u{feff}\r\n \n".to_owned(), vec![]),
            ("[]".to_owned(), vec![]),
            (r#"{"Items": [], "Count": 0}"#.to_owned(), vec![]),
        ] {
            assert_eq!(names(&text), rows, "{text}");
        }
    }

    #[test]
    fn a_broken_row_is_told_by_its_line_and_name_and_the_others_are_read() {
        let of = |name: &str, reason: &str| format!("{name}: {reason}");
        let value = "is not JSON: expected value (line 2)";
        for (text, broken) in [
            // A line each.
            (format!("{A}\n{{\"agent_name\": \"x\", \"version\": }}\n{B}"), of("x", value)),
            (
                format!("{A}\n{{\"agent_name\": \n{B}"),
                of("", "is not JSON: EOF while parsing an object (line 3)"),
            ),
            (
                format!("{A}\n{{\"agent_name\": \"x\n{B}"),
                of(
                    "",
                    "is not JSON: control character (\\u0000-\\u001F) found while parsing a string (line 2)",
                ),
            ),
            (format!("{A}\nnonsense\n{B}"), of("", "is not JSON: expected ident (line 2)")),
            (format!("{A}\n7\n{B}"), of("", "is not an object")),
            (format!("{A}\n\"x\"\n{B}"), of("", "is not an object")),
            (
                format!("{A}\n{{\"agent_name\": \"x\"}}}}\n{B}"),
                of("x", "is followed by something that is not JSON"),
            ),
            (
                format!("{A}\n{{\"agent_name\": \"x\"}} and more\n{B}"),
                of("x", "is followed by something that is not JSON"),
            ),
            // In a list.
            (format!("[{A},\n{{\"agent_name\": \"x\", \"version\": }},{B}]"), of("x", value)),
            (format!("[{A},\n{{\"agent_name\": \"x\", \"version\": }},\n\n\n{B}]"), of("x", value)),
            (
                format!(
                    "[{A},\n{{\n\"agent_name\": \"x\",\n\"version\": oops, \"a\": [{{}}]\n}},\n{B}]"
                ),
                of("x", "is not JSON: expected value (line 4)"),
            ),
            (
                format!("[{A},\n{{\n\"agent_name\": \"x\",\n\"version\": \"]}}\",\n}},\n{B}]"),
                of("x", "is not JSON: key must be a string (line 5)"),
            ),
            // In what DynamoDB has around it.
            (
                format!(
                    "{{\"Items\": [{A},\n{{\"agent_name\": {{\"S\": \"x\"}}, \"version\": }},\n{B}], \"Count\": [3]}}"
                ),
                of("x", value),
            ),
            (
                format!(
                    "{{\"Item\": {A}}}\n{{\"Item\": {{\"agent_name\": \"x\", \"version\": }}}}\n{{\"Item\": {B}}}"
                ),
                of("x", value),
            ),
        ] {
            let told = names(&text);
            let [(1, a), (2, said), (_, b)] = &told[..] else { panic!("{text}: {told:?}") };
            assert_eq!((a.as_str(), said, b.as_str()), ("a", &broken, "b"), "{text}");
        }
    }

    #[test]
    fn a_list_that_is_cut_is_told_and_what_is_there_is_read() {
        let cut = "begins a list that does not end: what is behind it may be missing";
        assert_eq!(names(&format!("[\n{A},\n")), expected(&[(2, "a"), (1, &format!(": {cut}"))]));
        let told = names(&format!("[{A},\n{{\"agent_name\": \"b\", \"tools\": [\n"));
        assert_eq!(told[0], (1, "a".to_owned()));
        assert!(told[1].1.starts_with("b: is not JSON: EOF"), "{told:?}");
        assert_eq!(told[2], (1, format!(": {cut}")));
        assert_eq!(names(&format!("{A}]")).len(), 2);
    }

    #[test]
    fn a_line_that_is_not_utf_8_is_told_and_the_others_are_read() {
        let odd = b"{\"agent_name\": \"x\", \"description\": \"gr\xfc\xdfe\"}";
        let mut text = format!("{A}\n").into_bytes();
        text.extend_from_slice(odd);
        text.extend_from_slice(format!("\n{B}").as_bytes());

        let rows = [(1, "a"), (2, "x: is not UTF-8 (line 2)"), (3, "b")];
        assert_eq!(told(&text), expected(&rows));
    }

    #[test]
    fn a_long_line_takes_no_longer_than_its_text() {
        let long = "[".repeat(1_000_000);
        for line in
            [&*long, &"{\"a\":".repeat(200_000), &"{".repeat(1_000_000), &"\"".repeat(1_000_001)]
        {
            let told = names(&format!("{A}\n{line}\n{B}"));
            assert_eq!(told.first(), Some(&(1, "a".to_owned())));
            assert!(told.iter().all(|(_, said)| said.len() < 200));
        }
        let many = "{\"agent_name\": \n".repeat(500);
        assert_eq!(names(&many).len(), 500);
    }

    proptest! {
        /// Rows as lines, of which any may be broken in any way that stays on its line.
        #[test]
        fn each_line_is_judged_by_itself(
            lines in prop::collection::vec(
                (any::<bool>(), r#"[{}\[\]":,a0 \\]{1,12}"#, select(vec!["\n", "\r\n", "\n\n"])), 1..8,
            ),
        ) {
            let mut text = String::new();
            let mut good = Vec::new();
            for (at, (is_good, broken, end)) in lines.iter().enumerate() {
                let line = if *is_good {
                    good.push((text.matches('\n').count() + 1, format!("row-{at}")));
                    format!(r#"{{"agent_name": "row-{at}", "tools": ["x"]}}"#)
                } else {
                    format!(r#"{{"broken": x{broken}"#)
                };
                text.extend([&line, *end]);
            }
            let told: Vec<_> = names(&text).into_iter().filter(|(_, said)| said.starts_with("row-")).collect();
            prop_assert_eq!(told, good, "{}", text);
        }

        #[test]
        fn any_text_is_read_or_refused(text in r#"[{}\[\]",:0-9a-c\\ud\n ]{0,60}|(\{"(Items?|agent_name|agents)":[\[{"SN:a\]}1, \n]{0,20}){1,3}"#) {
            let lines = text.matches('\n').count() + 1;
            for entry in parse(text.as_bytes()) {
                prop_assert!((Place::Line(1)..=Place::Line(lines)).contains(&entry.place));
                if let Ok(found) = entry.row {
                    drop(found.read());
                }
            }
        }
    }
}
