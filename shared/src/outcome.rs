//! How a run ended: the raw output or error that is stored, and the one form in which any
//! agent's output is read.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The `output` part of an execution: stored once, as Step Functions gave it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// JSON as text; missing when the run failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Which redrive this is the outcome of.
    pub redrive_count: u32,
}

/// What callers read of an output, whatever form the agent gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalised {
    pub result: Value,
    /// Distinct names, in order of first use.
    pub tools_used: Vec<String>,
    pub tokens_used: Option<Value>,
}

/// Reads the forms that agents in the field answer in: `result`; `messages` with `metadata`,
/// `output` or `structured_output`; and anything else, which is its own result.
#[must_use]
pub fn normalise(raw: &str) -> Normalised {
    let output: Value = serde_json::from_str(raw).unwrap_or_else(|_| Value::String(raw.to_owned()));
    if let Some(result) = output.get("result") {
        return Normalised {
            result: result.clone(),
            tools_used: distinct(names(output.get("tools_used"))),
            tokens_used: known(output.get("tokens").or_else(|| output.get("tokens_used"))),
        };
    }
    let Some(messages) = output.get("messages").and_then(Value::as_array) else {
        return Normalised { result: output, tools_used: Vec::new(), tokens_used: None };
    };
    let result = known(output.get("structured_output"))
        .or_else(|| {
            let inner = known(output.get("output"))?;
            Some(known(inner.get("answer")).unwrap_or(inner))
        })
        .or_else(|| last_answer(messages).map(Value::String));
    Normalised {
        tools_used: distinct(blocks(messages).filter_map(tool_name).collect()),
        tokens_used: known(output.pointer("/metadata/tokens_used")),
        result: result.unwrap_or(output),
    }
}

/// `null` says that a thing is not known.
fn known(value: Option<&Value>) -> Option<Value> {
    value.filter(|value| !value.is_null()).cloned()
}

/// Tools are listed as names, or as objects that have one.
fn names(list: Option<&Value>) -> Vec<&str> {
    let entries = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    entries
        .iter()
        .filter_map(|entry| entry.as_str().or_else(|| entry.get("name")?.as_str()))
        .collect()
}

fn distinct(names: Vec<&str>) -> Vec<String> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.iter().any(|it| it == name) {
            seen.push(name.to_owned());
        }
    }
    seen
}

fn blocks(messages: &[Value]) -> impl Iterator<Item = &Value> {
    messages.iter().filter_map(|message| message.get("content")?.as_array()).flatten()
}

fn tool_name(block: &Value) -> Option<&str> {
    let kind = block.get("type").and_then(Value::as_str);
    // Some frameworks wrap the block: {"tool_use": {"name": …}}.
    let tool = if kind == Some("tool_use") { block } else { block.get("tool_use")? };
    tool.get("name")?.as_str()
}

/// The text of the last assistant message that has any.
fn last_answer(messages: &[Value]) -> Option<String> {
    messages
        .iter()
        .rev()
        .filter(|message| message.get("role").and_then(Value::as_str) == Some("assistant"))
        .find_map(|message| text(message.get("content")?))
}

fn text(content: &Value) -> Option<String> {
    if let Some(text) = content.as_str() {
        return Some(text.to_owned()).filter(|text| !text.is_empty());
    }
    let texts: Vec<&str> =
        content.as_array()?.iter().filter_map(|block| block.get("text")?.as_str()).collect();
    Some(texts.join("\n")).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_result_is_taken_as_it_is() {
        let output = json!({"result": {"a": 1}, "tools_used": ["x", "y", "x", {"name": "z"}], "tokens": {"total": 3}});
        let read = normalise(&output.to_string());

        assert_eq!(read.result, json!({"a": 1}));
        assert_eq!(read.tools_used, ["x", "y", "z"]);
        assert_eq!(read.tokens_used, Some(json!({"total": 3})));
    }

    #[test]
    fn of_messages_the_last_assistant_text_is_the_answer() {
        let output = json!({
            "messages": [
                {"role": "user", "content": "weather?"},
                {"role": "assistant", "content": [
                    {"type": "text", "text": "let me see"},
                    {"type": "tool_use", "id": "1", "name": "weather", "input": {}},
                    {"type": "tool_use", "id": "2", "name": "clock", "input": {}},
                    {"type": "tool_use", "id": "3", "name": "weather", "input": {}},
                ]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "sunny"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "It is"}, {"type": "text", "text": "sunny."}]},
                {"role": "assistant", "content": []},
            ],
            "metadata": {"model_id": "m", "tokens_used": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}},
            "function_calls": [],
        });
        let read = normalise(&output.to_string());

        assert_eq!(read.result, json!("It is\nsunny."));
        assert_eq!(read.tools_used, ["weather", "clock"]);
        assert_eq!(
            read.tokens_used,
            Some(json!({"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}))
        );
    }

    #[test]
    fn an_answer_or_a_structured_output_beside_messages_is_the_result() {
        let messages = json!([{"role": "assistant", "content": "said"}]);

        let answer =
            normalise(&json!({"messages": messages, "output": {"answer": 42}}).to_string());
        assert_eq!((answer.result, answer.tokens_used), (json!(42), None));
        let other = normalise(&json!({"messages": messages, "output": {"total": 42}}).to_string());
        assert_eq!(other.result, json!({"total": 42}));
        let structured = normalise(
            &json!({"messages": messages, "structured_output": {"a": [1]}, "success": true})
                .to_string(),
        );
        assert_eq!(structured.result, json!({"a": [1]}));
        let nothing =
            normalise(&json!({"messages": messages, "structured_output": null}).to_string());
        assert_eq!(nothing.result, json!("said"));
    }

    #[test]
    fn anything_else_is_its_own_result() {
        for output in [
            json!(null),
            json!(1),
            json!("text"),
            json!([1, 2]),
            json!({}),
            json!({"messages": 1}),
            json!({"messages": []}),
            json!({"messages": [{"role": "user", "content": "hello"}]}),
            json!({"messages": [null, 1, {"role": "assistant", "content": 7}]}),
        ] {
            let read = normalise(&output.to_string());
            assert_eq!((read.result, read.tools_used.len(), read.tokens_used), (output, 0, None));
        }
        assert_eq!(normalise("not json").result, json!("not json"));
    }
}
