//! JSON as it was written: text that is passed on without being parsed and written again, so that
//! no digit of a number and no level of nesting is lost on the way.

pub mod document;
pub mod surrogate;
pub mod tokens;

use std::{
    borrow::{Borrow, Cow},
    collections::BTreeMap,
    fmt,
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Value, value::RawValue};

use crate::domain::{
    decimal::is_exact,
    digest::hex,
    json::{
        surrogate::mend,
        tokens::{Numbers, Token, Tokens, digest, is_number, string_length},
    },
};

/// How deep a value may be nested where we have to look into it.
pub const MAX_DEPTH: usize = 1_000;

/// The largest body, and the largest input of `StartExecution`, in bytes of UTF-8
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>).
pub const MAX_BYTES: usize = 262_144;

/// Valid JSON, with its numbers, spaces and escapes as they were written.
///
/// It serialises as that text, but in `serde_json` alone: a [`Value`] made of what holds one has
/// its numbers rounded, and is refused where it is nested deeper than 128 levels.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// `None` when it is no JSON. Lone surrogates in it are mended: see [`mend`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        RawValue::from_string(mend(text).into_owned()).ok().map(Self)
    }

    /// A string.
    #[must_use]
    pub fn string(text: &str) -> Self {
        Self::of(&text)
    }

    #[must_use]
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned())
    }

    /// What this serialises to; `null` where it cannot be serialised, as a map without text for its
    /// keys cannot.
    #[must_use]
    pub fn of(value: &impl Serialize) -> Self {
        serde_json::value::to_raw_value(value).map_or_else(|_| Self::null(), Self)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    #[must_use]
    pub fn node(&self) -> Node<'_> {
        Node(&self.0)
    }

    /// As a tree, for what needs one: numbers beyond 64 bits are rounded. `None` when a number is
    /// beyond an `f64`, or when it is nested deeper than 128 levels.
    #[must_use]
    pub fn to_value(&self) -> Option<Value> {
        serde_json::from_str(self.as_str()).ok()
    }

    /// With `{}` for each `[]`: PHP writes both alike.
    #[must_use]
    pub fn without_empty_lists(&self) -> Self {
        let mut written = String::with_capacity(self.as_str().len());
        let mut rest = self.as_str();
        while let Some(place) = rest.find(['[', '"']) {
            let (before, from_here) = rest.split_at(place);
            written.push_str(before);
            let within = from_here.strip_prefix('[').map(str::trim_start);
            if let Some(after) = within.and_then(|within| within.strip_prefix(']')) {
                written.push_str("{}");
                rest = after;
                continue;
            }
            let length = within.map_or_else(|| string_length(from_here.as_bytes()), |_| 1);
            let (kept, after) = from_here.split_at(length);
            written.push_str(kept);
            rest = after;
        }
        written.push_str(rest);
        RawValue::from_string(written).map_or_else(|_| self.clone(), Self)
    }

    /// How many levels it has; 1 for a number.
    #[must_use]
    pub fn depth(&self) -> usize {
        let (mut level, mut deepest) = (0_usize, 0);
        for token in Tokens(self.as_str()) {
            match token {
                Token::Open(_) => level += 1,
                Token::Close => level = level.saturating_sub(1),
                Token::Scalar(_) => {}
            }
            let scalar = usize::from(matches!(token, Token::Scalar(_)));
            deepest = deepest.max(level + scalar);
        }
        deepest
    }

    /// Each number in it, as it is written.
    #[must_use]
    pub fn numbers(&self) -> Numbers<'_> {
        Numbers::of(self.as_str())
    }

    /// Whether an `f64` holds each of its numbers as it is written.
    #[must_use]
    pub fn is_exact_in_floats(&self) -> bool {
        self.numbers().all(|number| number.parse().is_ok_and(|float| is_exact(number, float)))
    }

    /// SHA-256 in hex of what it says: the order of an object's members, spaces and escapes make no
    /// difference, each digit of a number does.
    #[must_use]
    pub fn digest(&self) -> String {
        hex(&digest(self.as_str()))
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self)
    }
}

/// By its text.
impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Json {}

/// What it says stays out of logs.
impl fmt::Debug for Json {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Json({} bytes)", self.as_str().len())
    }
}

impl JsonSchema for Json {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Json".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        true.into()
    }
}

/// A value within a [`Json`]. To look into it parses one level, and no more.
#[derive(Clone, Copy)]
pub struct Node<'a>(&'a RawValue);

impl<'a> Node<'a> {
    /// `None` when it is no JSON. Unlike [`Json::parse`], this copies nothing, and mends nothing.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Node)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0.get()
    }

    #[must_use]
    pub fn to_json(self) -> Json {
        Json(self.0.to_owned())
    }

    fn starts_with(self, first: char) -> bool {
        self.0.get().starts_with(first)
    }

    #[must_use]
    pub fn is_null(self) -> bool {
        self.0.get() == "null"
    }

    #[must_use]
    pub fn is_object(self) -> bool {
        self.starts_with('{')
    }

    #[must_use]
    pub fn is_list(self) -> bool {
        self.starts_with('[')
    }

    #[must_use]
    pub fn is_text(self) -> bool {
        self.starts_with('"')
    }

    #[must_use]
    pub fn is_number(self) -> bool {
        is_number(self.0.get())
    }

    /// The members of an object; none of anything else.
    #[must_use]
    pub fn members(self) -> Members<'a> {
        if !self.is_object() {
            return Members::none();
        }
        Members(serde_json::from_str(self.0.get()).unwrap_or_default())
    }

    /// The items of a list. Whatever else is not null is a list of one: JSONata, in which most
    /// state machines are written, makes no difference
    /// (<https://docs.jsonata.org/processing#sequences>).
    #[must_use]
    pub fn items(self) -> Vec<Self> {
        if self.is_null() {
            return Vec::new();
        }
        if !self.is_list() {
            return vec![self];
        }
        let items: Vec<&RawValue> = serde_json::from_str(self.0.get()).unwrap_or_default();
        items.into_iter().map(Node).collect()
    }

    /// The same, each with its members where it is an object: in one pass, if no number is beyond an
    /// `f64`.
    #[must_use]
    pub fn open_items(self) -> Vec<Item<'a>> {
        let opened = if self.is_list() { serde_json::from_str(self.0.get()).ok() } else { None };
        opened.unwrap_or_else(|| self.items().into_iter().map(Item::of).collect())
    }

    /// A string's text.
    #[must_use]
    pub fn text(self) -> Option<String> {
        if self.is_text() { serde_json::from_str(self.0.get()).ok() } else { None }
    }
}

/// An item of a list.
pub enum Item<'a> {
    Object(Members<'a>),
    Text(String),
    /// A number, a list, true, false, or null.
    Other,
}

impl<'a> Item<'a> {
    fn of(node: Node<'a>) -> Self {
        if node.is_object() {
            return Self::Object(node.members());
        }
        node.text().map_or(Self::Other, Self::Text)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Item<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let members = BTreeMap::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Item::Object(Members(members)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Item::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_seq(seq).map(|_| Item::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Item::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Item::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Item::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Item::Other)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Item::Other)
    }
}

/// A member's name, which is copied only if it has escapes.
#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl Borrow<str> for Name<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The members of an object, of which the last of a name counts.
pub struct Members<'a>(BTreeMap<Name<'a>, &'a RawValue>);

impl<'a> Members<'a> {
    /// Those of an object that stands in this text; `None` when it is none.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }

    #[must_use]
    pub fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// One that is there, and is not null, which says that a thing is not known.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Node<'a>> {
        self.find(name).filter(|node| !node.is_null())
    }

    /// One that is there, even if it is null.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Node<'a>> {
        self.0.get(name).map(|value| Node(value))
    }

    /// Whether there is one of this name, even if it is null.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(Borrow::borrow)
    }

    /// All of them, also those that are null.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Node<'a>)> {
        self.0.iter().map(|(name, value)| (name.borrow(), Node(value)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::json::{surrogate::lone_surrogate, tokens::Step};

    #[test]
    fn a_lone_surrogate_is_mended_and_nothing_else() {
        for (text, mended) in [
            (r#""cut \ud83d""#, r#""cut \ufffd""#),
            (r#""\uD83D!""#, r#""\ufffd!""#),
            (r#""\ude00 second half""#, r#""\ufffd second half""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\ud83d\u0041""#, r#""\ufffd\u0041""#),
            (r#""\ud83d\n""#, r#""\ufffd\n""#),
            (r#"{"\ud83d":"\\\ud83d"}"#, r#"{"\ufffd":"\\\ufffd"}"#),
            (r#""\ud83d"#, r#""\ufffd"#),
        ] {
            assert_eq!(mend(text), mended, "{text}");
        }
        for text in [
            r#""\ud83d\ude00""#,
            r#""\\ud83d""#,
            r#""\\\\ud83d""#,
            r#""é 😀 \u00e9 \n""#,
            r#""\ud7ff\ue000""#,
            r#""\ud8"#,
            r#""\"#,
            "",
        ] {
            assert!(matches!(mend(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn only_an_empty_list_becomes_an_object() {
        for (text, objects) in [
            ("[]", "{}"),
            ("[ \n]", "{}"),
            (r#"{"a":[],"b":{"c":[]}}"#, r#"{"a":{},"b":{"c":{}}}"#),
            ("[[], [1, []], {}]", "[{}, [1, {}], {}]"),
            (r#"{"[]":"[]","a\"[]":"\\","b":[]}"#, r#"{"[]":"[]","a\"[]":"\\","b":{}}"#),
            (r#"["]"]"#, r#"["]"]"#),
            ("1.10", "1.10"),
        ] {
            assert_eq!(Json::parse(text).unwrap().without_empty_lists().as_str(), objects);
        }
    }

    #[test]
    fn a_text_is_kept_as_it_was_written() {
        for text in [
            "18446744073709551616",
            "1000000000000000000001",
            "0.1000000000000000055511151231257827",
            "1e400",
            "-0",
            "1.0",
            r#"{"b": 1, "a":[1.10]}"#,
        ] {
            let json = Json::parse(text).unwrap();
            assert_eq!(serde_json::to_string(&json).unwrap(), text);
            let holder: BTreeMap<String, Json> =
                serde_json::from_str(&format!(r#"{{"x": {text}}}"#)).unwrap();
            assert_eq!(holder["x"], json);
        }
        for text in ["", "nonsense", "{", "01", "1 2", "\"\n\""] {
            assert!(Json::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_thousand_levels_and_far_more_need_no_deep_stack() {
        for levels in [1, 200, 1_000, 100_000] {
            let text = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
            let json = Json::parse(&text).unwrap();
            assert_eq!((json.depth(), json.digest().len()), (levels, 64));
            let text = format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
            assert_eq!(Json::parse(&text).unwrap().depth(), levels + 1);
        }
    }

    #[test]
    fn a_digest_sees_each_digit_and_no_spelling() {
        let digest = |text: &str| Json::parse(text).unwrap().digest();
        let one = digest(r#"{"a": 18446744073709551616, "b": [1, "x"]}"#);

        assert_eq!(one, digest(r#" {"b":[1,"\u0078"],"\u0061":18446744073709551616} "#));
        for other in [
            r#"{"a": 18446744073709551617, "b": [1, "x"]}"#,
            r#"{"a": 18446744073709551616, "b": ["x", 1]}"#,
            r#"{"a": 18446744073709551616, "b": [1, "x", null]}"#,
            r#"{"a": "18446744073709551616", "b": [1, "x"]}"#,
            r#"{"a": 18446744073709551616, "b": {"1": "x"}}"#,
            r#"{"a": 18446744073709551616}"#,
            "[]",
            "{}",
        ] {
            assert_ne!(one, digest(other), "{other}");
        }
        assert_ne!(digest(r#"["a","b"]"#), digest(r#"{"a":"b"}"#));
        assert_ne!(digest(r#"[["a"],"b"]"#), digest(r#"[["a","b"]]"#));
        assert_ne!(digest("null"), digest("\"null\""));
    }

    #[test]
    fn a_single_thing_is_a_list_of_one() {
        let lengths = |text: &str| Json::parse(text).unwrap().node().items().len();

        assert_eq!(
            ["[]", "[1, 2]", "1", "{\"a\":1}", "\"x\"", "null"].map(lengths),
            [0, 2, 1, 1, 1, 0]
        );
    }

    #[test]
    fn items_are_opened_as_they_would_be_one_by_one() {
        let text = r#"[{"a": [1e400]}, "x\n", 1, -1, 1.5, true, null, [[{}]], {}]"#;
        for text in [text, &text.replace("1.5", "1e400")] {
            let json = Json::parse(text).unwrap();
            let items = json.node().open_items().into_iter().map(|item| match item {
                Item::Object(members) => members.names().collect(),
                Item::Text(text) => text,
                Item::Other => "-".to_owned(),
            });
            assert_eq!(items.collect::<Vec<_>>(), ["a", "x\n", "-", "-", "-", "-", "-", "-", ""]);
        }
        let alone = Json::parse("{}").unwrap();
        assert!(matches!(alone.node().open_items()[..], [Item::Object(_)]));
        let deep = Json::parse(&format!("[{}{}]", "[".repeat(100_000), "]".repeat(100_000)));
        assert!(matches!(deep.unwrap().node().open_items()[..], [Item::Other]));
    }

    #[test]
    fn each_number_is_found_with_the_way_to_it() {
        let text =
            r#" {"a\u0062": [1, {"c": -2.50}, "3", [], [1e400]], "d": {}, "e": 4, "": "5"} "#;
        let json = Json::parse(text).unwrap();
        let mut numbers = json.numbers();
        let member = |name: &str| Step::Member(name.to_owned());

        for (number, path) in [
            ("1", vec![member("ab"), Step::Item(0)]),
            ("-2.50", vec![member("ab"), Step::Item(1), member("c")]),
            ("1e400", vec![member("ab"), Step::Item(4), Step::Item(0)]),
            ("4", vec![member("e")]),
        ] {
            assert_eq!((numbers.next(), numbers.path()), (Some(number), path));
        }
        assert_eq!(numbers.next(), None);
        let alone = Json::parse("7").unwrap();
        let mut numbers = alone.numbers();
        assert_eq!((numbers.next(), numbers.path()), (Some("7"), vec![]));
    }

    fn numbers_of(value: &Value, path: &[Step]) -> Vec<(String, Vec<Step>)> {
        let within = |step: Step, value: &Value| numbers_of(value, &[path, &[step]].concat());
        match value {
            Value::Number(number) => vec![(number.to_string(), path.to_vec())],
            Value::Array(items) => {
                items.iter().enumerate().flat_map(|(i, it)| within(Step::Item(i), it)).collect()
            }
            Value::Object(members) => members
                .iter()
                .flat_map(|(name, it)| within(Step::Member(name.clone()), it))
                .collect(),
            _ => Vec::new(),
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| json!(members)),
            ]
        })
    }

    fn levels(value: &Value) -> usize {
        match value {
            Value::Object(members) => {
                1 + members.values().map(levels).max().map_or(0, |it| it.max(1))
            }
            Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or_default(),
            _ => 1,
        }
    }

    proptest! {
        #[test]
        fn whatever_it_says_it_is_read_and_digested_alike(value in values()) {
            let compact = Json::parse(&value.to_string()).unwrap();
            let pretty = Json::parse(&serde_json::to_string_pretty(&value).unwrap()).unwrap();

            prop_assert_eq!(compact.to_value(), Some(value.clone()));
            prop_assert_eq!(compact.digest(), pretty.digest());
            prop_assert_eq!(compact.depth(), pretty.depth());
            prop_assert_eq!(compact.depth(), levels(&value));
            let mut numbers = pretty.numbers();
            let mut found = Vec::new();
            while let Some(number) = numbers.next() {
                found.push((number.to_owned(), numbers.path()));
            }
            prop_assert_eq!(found, numbers_of(&value, &[]));
        }

        #[test]
        fn all_but_the_empty_lists_stay(value in values()) {
            fn expected(value: Value) -> Value {
                match value {
                    Value::Array(items) if items.is_empty() => json!({}),
                    Value::Array(items) => items.into_iter().map(expected).collect(),
                    Value::Object(members) => {
                        members.into_iter().map(|(name, it)| (name, expected(it))).collect()
                    }
                    other => other,
                }
            }
            let pretty = Json::parse(&serde_json::to_string_pretty(&value).unwrap()).unwrap();
            prop_assert_eq!(pretty.without_empty_lists().to_value(), Some(expected(value)));
        }

        #[test]
        fn any_text_can_be_mended_and_parsed_without_a_panic(text in r#"["\\ud0-9a-f{}\[\]:, 😀]{0,40}"#) {
            let mended = mend(&text);
            prop_assert!(lone_surrogate(&mended).is_none());
            if let Some(json) = Json::parse(&text) {
                prop_assert!(json.depth() >= 1);
                prop_assert_eq!(json.digest().len(), 64);
            }
        }
    }
}
