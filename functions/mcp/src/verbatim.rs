//! JSON that leaves as it was written. rmcp holds an answer as a tree, which rounds numbers: it is given
//! a mark in the place of a value, and the transport puts the value there once rmcp has written the
//! answer. The mark holds 128 random bits of this process that no answer shows, so that nobody else
//! can write one.

use std::sync::LazyLock;

use relay::{api_key::hex, error::Error};
use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Deserializer, Value, json};

static NONCE: LazyLock<Result<String, String>> = LazyLock::new(|| {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
    Ok(format!("verbatim-{}", hex(&bytes)))
});

/// The answer of a tool: JSON as a value, and as a text for clients that know no values.
pub(crate) fn result(text: String) -> Result<CallToolResult, Error> {
    let mut result = CallToolResult::structured(mark(&text)?);
    // In a text, the mark would be shown.
    result.content = vec![ContentBlock::text(text)];
    Ok(result)
}

/// What stands for this JSON text. It is an object, because rmcp leaves out others for older clients.
fn mark(text: &str) -> Result<Value, Error> {
    match &*NONCE {
        Ok(nonce) => Ok(json!({nonce: text})),
        Err(error) => Err(Error::corrupt("random numbers", error.as_str())),
    }
}

/// The answer with each mark replaced by what it stands for.
pub(crate) fn put_back(answer: String) -> String {
    let Ok(nonce) = &*NONCE else { return answer };
    let mark = format!("{{\"{nonce}\":");
    if !answer.contains(&mark) {
        return answer;
    }
    let mut written = String::with_capacity(answer.len());
    let mut rest = answer.as_str();
    while let Some((before, after)) = rest.split_once(&mark) {
        written.push_str(before);
        let mut strings = Deserializer::from_str(after).into_iter::<String>();
        let text = strings.next().and_then(Result::ok).unwrap_or_default();
        // Within JSON, line ends are nothing but space; within an event they would end a field.
        written.push_str(&text.replace(['\n', '\r'], " "));
        let end = strings.byte_offset() + "}".len();
        rest = after.get(end..).unwrap_or_default();
    }
    written.push_str(rest);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_becomes_the_text_it_stands_for_and_nothing_else_does() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for text in
            ["18446744073709551616", r#"{"a":1e400,"b":"\"}{\\ é 😀"}"#, "0.10", "null", &deep]
        {
            let answer = json!({"a": mark(text).unwrap(), "b": [mark(text).unwrap(), "x"]});
            let expected = format!(r#"{{"a":{text},"b":[{text},"x"]}}"#);
            assert_eq!(put_back(answer.to_string()), expected);
        }
        for other in ["", "{}", r#"{"verbatim-":"1"}"#, "no JSON"] {
            assert_eq!(put_back(other.to_owned()), other);
        }
        let lines = json!(mark("{\n\t\"a\":\r\n1}").unwrap()).to_string();
        assert_eq!(put_back(lines), "{ \t\"a\":  1}");
    }

    #[test]
    fn a_mark_within_a_text_stays_text() {
        // As the text of a value that is put back is not looked at again.
        let inner = mark("1").unwrap().to_string();
        let outer = mark(&inner).unwrap().to_string();
        assert_eq!(put_back(outer), inner);
    }
}
