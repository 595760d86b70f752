//! What an agent was given, read out of the frozen input of its run.

use crate::domain::json::{Json, Node};

/// The caller's message. The input is not read as a tree, which cannot hold all that parameters may.
#[must_use]
pub fn message(input: &str) -> Option<String> {
    let messages = Node::parse(input)?.members().get("messages")?.items();
    messages.first()?.members().get("content")?.text()
}

/// The caller's parameters, as they were given.
#[must_use]
pub fn parameters(input: &str) -> Option<Json> {
    Node::parse(input)?.members().get("parameters").map(Node::to_json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::json::surrogate::mend;

    #[test]
    fn it_is_read_whatever_it_holds() {
        let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
        for (given, read) in
            [("{}", "{}"), ("1e400", "1e400"), (r#""\ud83d""#, r#""\ufffd""#), (&deep, &deep)]
        {
            let input = format!(
                r#"{{"messages":[{{"role":"user","content":"hé"}}],"parameters":{given}}}"#
            );
            let input = mend(&input);
            assert_eq!(message(&input).as_deref(), Some("hé"), "{given:.20}");
            assert_eq!(parameters(&input).unwrap().as_str(), read);
        }
        for other in ["", "{}", r#"{"messages":[]}"#, r#"{"messages":[{"content":1}]}"#] {
            assert_eq!(message(other), None);
            assert!(parameters(other).is_none());
        }
    }
}
