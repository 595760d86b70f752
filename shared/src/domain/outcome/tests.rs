//! Answers from the documentation of the providers and from the field are in `fixtures`, a file for
//! each dialect or form; what holds for all of them is said here.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use super::*;
use crate::domain::{json::Json, outcome::normalised::raw};

/// An answer, and what is to be read of it. Without a `result` that is all of the output.
#[derive(Deserialize)]
struct Fixture {
    name: String,
    output: Json,
    #[serde(default, deserialize_with = "present")]
    result: Option<Json>,
    tools_used: Vec<String>,
    tokens_used: Option<Json>,
}

/// A null that is there is no result that is missing.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

fn fixtures() -> Vec<(String, Fixture)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/domain/outcome/fixtures");
    let mut fixtures = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let list: Vec<Fixture> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        fixtures.extend(list.into_iter().map(|fixture| (file.clone(), fixture)));
    }
    fixtures
}

fn digest(json: Option<&Json>) -> Option<String> {
    json.map(Json::digest)
}

#[test]
fn each_form_and_dialect_is_read_as_its_fixtures_say() {
    let fixtures = fixtures();
    assert!(fixtures.len() > 100, "{}", fixtures.len());
    for (file, Fixture { name, output, result, tools_used, tokens_used }) in fixtures {
        let read = normalise(output.as_str());

        let shown =
            (read.result.as_str(), &read.tools_used, &read.tokens_used.as_ref().map(Json::as_str));
        let expected = result.as_ref().unwrap_or(&output);
        assert_eq!(read.result.digest(), expected.digest(), "{file}: {name}: {shown:?}");
        assert_eq!(read.tools_used, tools_used, "{file}: {name}: {shown:?}");
        let tokens = (digest(read.tokens_used.as_ref()), digest(tokens_used.as_ref()));
        assert_eq!(tokens.0, tokens.1, "{file}: {name}: {shown:?}");
    }
}

#[test]
fn half_a_character_long_numbers_and_deep_nesting_come_through_as_they_were_written() {
    let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for (written, shown) in [
        (r#""Great news \ud83d""#.to_owned(), r#""Great news \ufffd""#.to_owned()),
        (r#""\ude00\n\u00e9 \/ é""#.to_owned(), r#""\ufffd\n\u00e9 \/ é""#.to_owned()),
        (
            r#"{"wei": 1000000000000000000001, "id":18446744073709551616}"#.to_owned(),
            r#"{"wei": 1000000000000000000001, "id":18446744073709551616}"#.to_owned(),
        ),
        (
            "0.1000000000000000055511151231257827".to_owned(),
            "0.1000000000000000055511151231257827".to_owned(),
        ),
        ("1E+400".to_owned(), "1E+400".to_owned()),
        ("-0".to_owned(), "-0".to_owned()),
        (deep(200), deep(200)),
        (deep(1_000), deep(1_000)),
        (deep(100_000), deep(100_000)),
    ] {
        for output in [
            format!(r#"{{"result":{written},"tools_used":["a"],"tokens":{written}}}"#),
            format!(
                r#"{{"Payload":{{"tokens": {written} ,"result": {written},"tools_used":"a"}},"StatusCode":200,"ExecutedVersion":"1"}}"#
            ),
            format!(
                r#"{{"messages":[{{"role":"assistant","content":"x","tool_calls":[{{"name":"a"}}]}}],"structured_output":{written},"tokens_used":{written}}}"#
            ),
        ] {
            let read = normalise(&output);
            assert_eq!(read.result.as_str(), shown);
            assert_eq!(read.tools_used, ["a"]);
            assert_eq!(read.tokens_used.unwrap().as_str(), shown);
            assert_eq!(raw(&output).as_str(), output.replace(&written, &shown));
        }
        assert_eq!(normalise(&written).result.as_str(), shown);
        let nested =
            json!({"ExecutionArn": "a", "Status": "SUCCEEDED", "Output": written}).to_string();
        assert_eq!(normalise(&nested).result.as_str(), shown);
    }
}

#[test]
fn a_text_that_was_cut_is_the_answer_of_each_dialect() {
    for output in [
        r#"{"messages":[{"role":"assistant","content":"cut \ud83d"}]}"#,
        r#"{"messages":[{"role":"assistant","content":[{"text":"cut \uD83D"}]}]}"#,
        r#"[{"type":"ai","content":"cut \ud83d"}]"#,
        r#"{"choices":[{"message":{"role":"assistant","content":"cut \ud83d"}}]}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"cut \ud83d"}]}}]}"#,
    ] {
        assert_eq!(normalise(output).result.node().text().unwrap(), "cut \u{fffd}", "{output}");
    }
    let tool = r#"{"result":1,"tools_used":["cut \ud83d"]}"#;
    assert_eq!(normalise(tool).tools_used, ["cut \u{fffd}"]);
}

#[test]
fn what_is_no_json_is_its_own_text() {
    for output in ["not json", "", "{\"result\":", "NaN", "\u{feff}{}", "\"\\ud83d"] {
        assert_eq!(normalise(output).result.node().text().as_deref(), Some(output));
        assert_eq!(raw(output).node().text().as_deref(), Some(output));
    }
}

#[test]
fn many_small_blocks_and_items_are_read_one_by_one() {
    let blocks = format!("[{}]", vec![r#""a""#; 60_000].join(","));
    let messages = format!("[{}]", vec![r#"{"type":"message","content":"a"}"#; 7_500].join(","));
    let steps = r#"{"type":"model_output","content":{"type":"text","text":"a"}}"#;
    let steps = format!("[{}]", vec![steps; 4_000].join(","));
    let sent = json!({"Response": "data: \"a\"\n\n".repeat(15_000), "RuntimeSessionId": "s", "ContentType": "text/event-stream"});
    for (output, length) in [
        (format!(r#"{{"messages":{{"role":"assistant","content":{blocks}}}}}"#), 60_000),
        (format!(r#"{{"object":"response","output":{messages}}}"#), 7_500),
        (format!(r#"{{"status":"completed","steps":{steps}}}"#), 4_000),
        (sent.to_string(), 15_000),
    ] {
        assert_eq!(normalise(&output).result.node().text(), Some("a".repeat(length)));
    }
    let unknown = format!("[{}]", vec![r#"{"type":"x"}"#; 20_000].join(","));
    assert_eq!(normalise(&unknown).result.as_str(), unknown);
}

#[test]
fn many_tools_take_no_longer_than_their_text() {
    let names: Vec<_> = (0..30_000).map(|n| n.to_string()).collect();
    let read = normalise(&json!({"result": 1, "tools_used": names}).to_string());
    assert_eq!(read.tools_used, names);

    let blocks: Vec<_> = names
        .iter()
        .map(|name| json!({"toolUse": {"name": name}}))
        .chain([json!({"text": "x"})])
        .collect();
    let read =
        normalise(&json!({"messages": [{"role": "assistant", "content": blocks}]}).to_string());
    assert_eq!((read.result.as_str(), read.tools_used), ("\"x\"", names));
}

/// What two messages took together that say these, as JSON.
fn tokens_of(usages: [&str; 2]) -> Option<String> {
    let messages =
        usages.map(|usage| format!(r#"{{"type":"ai","content":"x","usage_metadata":{usage}}}"#));
    normalise(&format!("[{}]", messages.join(","))).tokens_used.map(|it| it.as_str().to_owned())
}

#[test]
fn tokens_are_added_up_in_each_digit() {
    for (one, other, sum) in [
        ("1", "2", "3"),
        ("0.5", "0.25", "0.75"),
        ("0.1", "0.2", "0.3"),
        ("1e3", "1", "1001"),
        ("1.0", "1.0", "2"),
        ("9007199254740993", "2", "9007199254740995"),
        ("18446744073709551615", "18446744073709551615", "36893488147419103230"),
        ("340282366920938463463374607431768211455", "1", "340282366920938463463374607431768211456"),
        ("12345678901234567890.10", "0.05", "12345678901234567890.15"),
    ] {
        let said = tokens_of(
            [one, other]
                .map(|it| format!(r#"{{"n":{it},"s":{{"n":{it}}}}}"#))
                .each_ref()
                .map(String::as_str),
        );
        assert_eq!(said, Some(format!(r#"{{"n":{sum},"s":{{"n":{sum}}}}}"#)), "{one} {other}");
    }
}

#[test]
fn what_counts_no_tokens_is_left_out_of_the_sum() {
    let far = "9".repeat(101);
    for odd in [
        "-1",
        "-0.5",
        "1e999999",
        "1e-999999",
        "1e101",
        "1e99999999999999999999",
        &far,
        "\"5\"",
        "true",
        "[1]",
        "null",
    ] {
        for usages in [
            ["{\"n\":7}".to_owned(), format!("{{\"n\":{odd}}}")],
            [format!("{{\"n\":{odd}}}"), "{\"n\":7}".to_owned()],
        ] {
            assert_eq!(tokens_of([&usages[0], &usages[1]]).as_deref(), Some("{\"n\":7}"), "{odd}");
        }
        assert_eq!(tokens_of([&format!("{{\"n\":{odd}}}"), "{}"]), None, "{odd}");
    }
    // Several of a kind are no number of that kind.
    assert_eq!(tokens_of([r#"{"n":1}"#, r#"{"n":{"a":1}}"#]), None);
    assert_eq!(tokens_of([r#"{"n":{}}"#, r#"{"n":1}"#]), None);
    // What one message says alone is as it says it.
    let alone = r#"[{"type":"ai","content":"x","usage_metadata":{"n":-1e999999}}]"#;
    assert_eq!(normalise(alone).tokens_used.unwrap().as_str(), r#"{"n":-1e999999}"#);
}

#[test]
fn the_page_has_each_dialect_and_each_envelope() {
    let page = include_str!("../../../../docs/agents.md");
    let table = |title: &str| {
        let (_, table) = page.split_once(title).unwrap();
        table.split_once("\n\n").unwrap().0.lines().skip(2).collect::<Vec<_>>()
    };

    assert_eq!(table("| dialect |").len(), conversation::DIALECTS.len());
    let envelopes = table("| the machine ends with |").concat();
    for envelope in envelope::ENVELOPES {
        assert!(envelopes.contains(&format!("`{}`", envelope.content)), "{}", envelope.content);
    }
}

/// What is said, in no dialect.
#[derive(Debug, Clone)]
enum Turn {
    User(String),
    Assistant { texts: Vec<String>, tools: Vec<String> },
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let text = || "[a-zé😀\"\\\\\n ]{1,12}";
    let tools = vec("[a-d]{1,2}", 0..3);
    let turn = prop_oneof![
        text().prop_map(Turn::User),
        (vec(text(), 0..3), tools.clone())
            .prop_map(|(texts, tools)| Turn::Assistant { texts, tools }),
    ];
    // The last one says something, so that there is an answer.
    let last = (vec("[ \n]{0,2}[a-zé😀\"]{1,9}[\n ]{0,2}", 1..3), tools)
        .prop_map(|(texts, tools)| Turn::Assistant { texts, tools });
    (vec(turn, 0..6), last).prop_map(|(mut turns, last)| {
        turns.push(last);
        turns
    })
}

fn map(names: &[String], call: impl Fn(&String) -> Value) -> Vec<Value> {
    names.iter().map(call).collect()
}

/// The turns as messages whose content are blocks.
fn messages(
    turns: &[Turn],
    user: impl Fn(&String) -> Value,
    assistant: impl Fn(Vec<Value>, Vec<Value>) -> Value,
    text: impl Fn(&String) -> Value,
    call: impl Fn(&String) -> Value,
) -> Value {
    let each = turns.iter().map(|turn| match turn {
        Turn::User(text) => user(text),
        Turn::Assistant { texts, tools } => assistant(map(texts, &text), map(tools, &call)),
    });
    each.collect()
}

fn both(mut texts: Vec<Value>, calls: Vec<Value>) -> Vec<Value> {
    texts.extend(calls);
    texts
}

const RENDERED: [&str; 11] = [
    "Anthropic",
    "Converse",
    "Converse in PascalCase",
    "OpenAI Chat",
    "OpenAI Responses",
    "Gemini",
    "Gemini in snake case",
    "LangChain",
    "LangChain below data",
    "LangChain by constructors",
    "LangChain with blocks",
];

/// The turns as a conversation in one of the dialects.
fn render(turns: &[Turn], dialect: &str) -> Value {
    let typed = |text: &String| json!({"type": "text", "text": text});
    let by_role = |text: &String| json!({"role": "user", "content": text});
    let call = |name: &String| json!({"name": name, "args": {}, "id": "c", "type": "tool_call"});
    match dialect {
        "Anthropic" => messages(
            turns,
            by_role,
            |texts, calls| json!({"role": "assistant", "content": both(texts, calls)}),
            typed,
            |name| json!({"type": "tool_use", "id": "t", "name": name, "input": {}}),
        ),
        "Converse" => messages(
            turns,
            |text| json!({"role": "user", "content": [{"text": text}]}),
            |texts, calls| json!({"role": "assistant", "content": both(texts, calls)}),
            |text| json!({"text": text}),
            |name| json!({"toolUse": {"toolUseId": "t", "name": name, "input": {}}}),
        ),
        "Converse in PascalCase" => messages(
            turns,
            |text| json!({"Role": "user", "Content": [{"Text": text}]}),
            |texts, calls| json!({"Role": "assistant", "Content": both(texts, calls)}),
            |text| json!({"Text": text}),
            |name| json!({"ToolUse": {"ToolUseId": "t", "Name": name, "Input": {}}}),
        ),
        "OpenAI Chat" => messages(
            turns,
            by_role,
            |texts, calls| json!({"role": "assistant", "content": texts, "tool_calls": calls}),
            typed,
            |name| json!({"id": "c", "type": "function", "function": {"name": name, "arguments": "{}"}}),
        ),
        "OpenAI Responses" => messages(
            turns,
            by_role,
            |texts, calls| {
                let message = json!({"type": "message", "role": "assistant", "content": texts});
                Value::Array(both(vec![message], calls))
            },
            |text| json!({"type": "output_text", "text": text, "annotations": []}),
            |name| json!({"type": "function_call", "call_id": "c", "name": name, "arguments": "{}"}),
        )
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|items| items.as_array().cloned().unwrap_or_else(|| vec![items.clone()]))
        .collect(),
        "Gemini" | "Gemini in snake case" => messages(
            turns,
            |text| json!({"role": "user", "parts": [{"text": text}]}),
            |texts, calls| json!({"role": "model", "parts": both(texts, calls)}),
            |text| json!({"text": text}),
            |name| match dialect {
                "Gemini" => json!({"functionCall": {"name": name, "args": {}}}),
                _ => json!({"text": null, "function_call": {"name": name, "args": {}}}),
            },
        ),
        "LangChain" => messages(
            turns,
            |text| json!({"type": "human", "content": text}),
            |texts, calls| json!({"type": "ai", "content": texts, "tool_calls": calls}),
            typed,
            call,
        ),
        "LangChain below data" => messages(
            turns,
            |text| json!({"type": "human", "data": {"content": text}}),
            |texts, calls| json!({"type": "ai", "data": {"content": texts, "tool_calls": calls}}),
            typed,
            call,
        ),
        "LangChain by constructors" => messages(
            turns,
            |text| json!({"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "HumanMessage"], "kwargs": {"content": text}}),
            |texts, calls| json!({"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "AIMessage"], "kwargs": {"content": texts, "tool_calls": calls}}),
            typed,
            call,
        ),
        _ => messages(
            turns,
            |text| json!({"type": "human", "content": text}),
            |texts, calls| json!({"type": "ai", "content": both(texts, calls)}),
            typed,
            call,
        ),
    }
}

/// Pieces of text, each with whether something stands before it.
type Pieces<'a> = Vec<(bool, &'a str)>;

/// The pieces as one text, without white space of its own at either end; `None` where nothing is
/// said.
fn put_together(pieces: &[(bool, &str)]) -> Option<String> {
    let is_said = |(_, text): &(bool, &str)| !text.trim().is_empty();
    let (first, last) = (pieces.iter().position(is_said)?, pieces.iter().rposition(is_said)?);
    let mut whole = String::new();
    for (is_apart, text) in &pieces[first..=last] {
        let is_parted =
            whole.ends_with(char::is_whitespace) || text.starts_with(char::is_whitespace);
        if *is_apart && !whole.is_empty() && !is_parted {
            whole.push('\n');
        }
        whole.push_str(text);
    }
    Some(whole)
}

/// What is to be read of them: the last message, and the tools.
fn expected(turns: &[Turn]) -> (String, Vec<String>) {
    let mut answer = String::new();
    let mut used: Vec<String> = Vec::new();
    for turn in turns {
        let Turn::Assistant { texts, tools } = turn else { continue };
        let pieces: Pieces = texts.iter().map(|text| (false, text.as_str())).collect();
        answer = put_together(&pieces).unwrap_or(answer);
        for tool in tools {
            if !used.contains(tool) {
                used.push(tool.clone());
            }
        }
    }
    (answer, used)
}

/// What is to be read of them where the messages after the last of the user are one answer, and
/// calls stand between them.
fn expected_of_items(turns: &[Turn]) -> String {
    let mut answers: Vec<Pieces> = vec![Vec::new()];
    let mut is_apart = false;
    for turn in turns {
        let Turn::Assistant { texts, tools } = turn else {
            answers.push(Vec::new());
            continue;
        };
        for text in texts {
            answers.last_mut().unwrap().push((is_apart, text));
            is_apart = false;
        }
        is_apart |= !tools.is_empty();
    }
    answers.iter().filter_map(|pieces| put_together(pieces)).next_back().unwrap()
}

/// As JSONata has it: each list of one is what it holds.
fn without_lists_of_one(value: Value) -> Value {
    match value {
        Value::Array(mut items) if items.len() == 1 => {
            without_lists_of_one(items.pop().unwrap_or_default())
        }
        Value::Array(items) => items.into_iter().map(without_lists_of_one).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, without_lists_of_one(value))).collect()
        }
        other => other,
    }
}

/// JSON as text that no tree can hold.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?[1-9][0-9]{0,40}",
        "-?0\\.[0-9]{1,40}",
        "[1-9][0-9]{0,3}[eE][+-]?[0-9]{1,4}",
        r#""([a-zé😀 ]|\\ud83d|\\uDE00|\\n|\\\\|\\"|\\u00e9){0,8}""#,
        (1_usize..1_100).prop_map(|levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels))),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(", "))),
            vec(("[a-f]{1,2}", inner), 0..5).prop_map(|members| {
                let members = members.iter().map(|(name, value)| format!("\"{name}\": {value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

/// What the forms and dialects call their members.
const NAMES: [&str; 63] = [
    "response",
    "lastMessage",
    "structuredOutput",
    "sessionId",
    "providerData",
    "callId",
    "additional_kwargs",
    "audio",
    "transcript",
    "steps",
    "outputs",
    "object",
    "call_id",
    "toolCall",
    "toolName",
    "toolCallId",
    "Response",
    "messages",
    "Messages",
    "isBase64Encoded",
    "conversation",
    "message",
    "contents",
    "output",
    "Output",
    "answer",
    "result",
    "final_answer",
    "structured_output",
    "tools_used",
    "tokens",
    "usage",
    "usage_metadata",
    "metadata",
    "role",
    "Role",
    "content",
    "Content",
    "parts",
    "type",
    "text",
    "Text",
    "name",
    "tool_calls",
    "function",
    "function_call",
    "functionCall",
    "toolUse",
    "ToolUse",
    "kwargs",
    "data",
    "id",
    "choices",
    "candidates",
    "Payload",
    "StatusCode",
    "ExecutedVersion",
    "Body",
    "ContentType",
    "body",
    "statusCode",
    "ExecutionArn",
    "Status",
];

/// And what is in them.
const WORDS: [&str; 33] = [
    "agentResult",
    "hosted_tool_call",
    "function_call_result",
    "textBlock",
    "model_output",
    "thought",
    "google_search_call",
    "tool-call",
    "completed",
    "text/event-stream",
    "data: {\\\"event\\\":1}",
    " ",
    "eyJyZXN1bHQiOjF9",
    "assistant",
    "model",
    "ai",
    "user",
    "text",
    "tool_use",
    "thinking",
    "constructor",
    "AIMessage",
    "function_call",
    "web_search_call",
    "reasoning",
    "response",
    "{}",
    "[]",
    "{\\\"result\\\":1}",
    "",
    "refusal",
    "tool_call",
    "message",
];

/// Objects of the words that forms and dialects are made of.
fn any_words() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => select(&WORDS[..]).prop_map(|word| format!("\"{word}\"")),
        1 => Just("null".to_owned()),
        1 => Just("7".to_owned()),
        1 => Just("true".to_owned()),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            1 => vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            3 => vec((select(&NAMES[..]), inner), 1..6).prop_map(|members| {
                let members = members.iter().map(|(name, value)| format!("\"{name}\":{value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

proptest! {
    // Of each, 133 outputs are read.
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_conversation_says_the_same_in_each_dialect_and_place(turns in turns()) {
        let (answer, tools) = expected(&turns);
        let items = render(&turns, "OpenAI Responses");
        let read = normalise(&json!({"object": "response", "output": items}).to_string());
        prop_assert_eq!(read.result.node().text(), Some(expected_of_items(&turns)));
        prop_assert_eq!(&read.tools_used, &tools);
        for dialect in RENDERED {
            let conversation = render(&turns, dialect);
            for output in [
                json!({"messages": conversation}),
                json!({"conversation": conversation}),
                json!({"Messages": conversation}),
                json!({"ExecutionArn": "a", "Status": "SUCCEEDED", "Output": conversation.to_string()}),
                json!({"statusCode": 200, "isBase64Encoded": true, "body": BASE64_STANDARD.encode(conversation.to_string())}),
                conversation,
            ] {
                for output in [output.clone(), without_lists_of_one(output)] {
                    let read = normalise(&output.to_string());
                    prop_assert_eq!(read.result.node().text(), Some(answer.clone()), "{}: {}", dialect, output);
                    prop_assert_eq!(&read.tools_used, &tools, "{}: {}", dialect, output);
                }
            }
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn each_digit_of_any_answer_is_there(json in any_json(), tokens in any_json()) {
        let shown = mend(&json);
        let (raw, alone) = (raw(&json), normalise(&json).result);
        prop_assert_eq!((raw.as_str(), alone.as_str()), (&*shown, &*shown));
        let read = normalise(&format!(r#"{{"tokens":{tokens},"result":{json}}}"#));
        prop_assert_eq!(read.result.as_str(), &shown);
        prop_assert_eq!(
            read.tokens_used.map(|it| it.as_str().to_owned()),
            Some(mend(&tokens).into_owned()).filter(|tokens| tokens != "null")
        );
    }

    /// And whatever is said of it is JSON.
    #[test]
    fn no_mixture_of_forms_and_dialects_panics(output in any_words()) {
        let read = normalise(&output);
        prop_assert!(Json::parse(read.result.as_str()).is_some());
        prop_assert!(read.tools_used.iter().all(|name| !name.is_empty()));
    }
}
