//! JSON that leaves as it was written. rmcp holds an answer as a tree, which rounds numbers, and an id as
//! a number of 64 bits: it is given a mark in the place of a value and of the request's id, and the
//! transport puts both there once rmcp has written the answer. The marks hold 128 random bits of this
//! process that no answer shows, so that nobody else can write one.

use std::sync::LazyLock;

use relay::domain::{digest::hex, error::Error, json::Json};
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

fn nonce() -> Result<&'static str, Error> {
    NONCE.as_deref().map_err(|error| Error::corrupt("random numbers", error.as_str()))
}

/// What stands for this JSON text. It is an object, because rmcp leaves out others for older clients.
fn mark(text: &str) -> Result<Value, Error> {
    Ok(json!({nonce()?: text}))
}

/// What stands for the id of a request.
pub(crate) fn id() -> Result<Json, Error> {
    Ok(Json::string(&format!("{}{ID}", nonce()?)))
}

const ID: &str = "-id";

/// The answer with each mark replaced by what it stands for.
pub(crate) fn put_back(answer: String, id: &Json) -> String {
    let Ok(nonce) = nonce() else { return answer };
    let mark = format!("\"{nonce}");
    if !answer.contains(&mark) {
        return answer;
    }
    let mut written = String::with_capacity(answer.len());
    let mut rest = answer.as_str();
    while let Some((before, after)) = rest.split_once(&mark) {
        written.push_str(before);
        // Within a text, the quotes would be escaped.
        if let Some(after) = after.strip_prefix(ID).and_then(|it| it.strip_prefix('"')) {
            written.push_str(id.as_str());
            rest = after;
        } else if let Some(value) = after.strip_prefix("\":")
            && written.ends_with('{')
        {
            written.pop();
            let mut strings = Deserializer::from_str(value).into_iter::<String>();
            let text = strings.next().and_then(Result::ok).unwrap_or_default();
            // Within JSON, line ends are nothing but space; within an event they would end a field.
            written.push_str(&text.replace(['\n', '\r'], " "));
            let end = strings.byte_offset() + "}".len();
            rest = value.get(end..).unwrap_or_default();
        } else {
            written.push_str(&mark);
            rest = after;
        }
    }
    written.push_str(rest);
    written
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;

    fn put_back(answer: &impl ToString) -> String {
        super::put_back(answer.to_string(), &Json::null())
    }

    #[test]
    fn each_mark_becomes_the_text_it_stands_for_and_nothing_else_does() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for text in
            ["18446744073709551616", r#"{"a":1e400,"b":"\"}{\\ é 😀"}"#, "0.10", "null", &deep]
        {
            let answer = json!({"a": mark(text).unwrap(), "b": [mark(text).unwrap(), "x"]});
            let expected = format!(r#"{{"a":{text},"b":[{text},"x"]}}"#);
            assert_eq!(put_back(&answer), expected);
        }
        for other in ["", "{}", r#"{"verbatim-":"1"}"#, "no JSON"] {
            assert_eq!(put_back(&other), other);
        }
        assert_eq!(put_back(&mark("{\n\t\"a\":\r\n1}").unwrap()), "{ \t\"a\":  1}");
    }

    proptest! {
        #[test]
        fn an_id_is_put_back_as_it_was_written_and_within_a_text_its_mark_stays(
            id in r#"-?[1-9][0-9]{0,40}(\.[0-9]{1,9})?([eE][+-]?[0-9]{1,5})?|"([ !#-\[\]-~é😀]|\\["\\/n]|\\u00[0-7][0-9a-f]){0,20}""#,
            text in "\\PC{0,20}",
        ) {
            let written = Json::parse(&id).unwrap();
            let mark = super::id().unwrap();
            let answer = format!(r#"{{"text":{},"id":{}}}"#, Json::string(&(text + mark.as_str())).as_str(), mark.as_str());
            let expected = format!(r#","id":{id}}}"#);
            let put_back = super::put_back(answer.clone(), &written);
            prop_assert!(put_back.ends_with(&expected), "{}", put_back);
            prop_assert_eq!(put_back.len() + mark.as_str().len(), answer.len() + id.len());
        }
    }

    #[test]
    fn a_mark_within_a_text_stays_text() {
        // As the text of a value that is put back is not looked at again.
        let inner = mark("1").unwrap().to_string();
        let outer = mark(&inner).unwrap();
        assert_eq!(put_back(&outer), inner);
    }
}
