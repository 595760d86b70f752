//! What a tool answers: structured content, and its JSON text beside it.

use relay::{
    domain::{error::Error, id::ExecutionId},
    http::answer::results::{Results, RunError},
};
use rmcp::model::{CallToolResult, ContentBlock};
use serde::Serialize;

use crate::{catalog::StartAnswer, verbatim};

/// The results of a run that has ended, as the answer to the call that started it: an error where
/// the agent gave no result.
pub(crate) fn outcome(results: &Results) -> Result<CallToolResult, Error> {
    let mut result = structured(&StartAnswer::Ended(results))?;
    if let Some(error) = &results.error {
        result.content.insert(0, ContentBlock::text(sentence(&results.execution_id, error)));
        result.is_error = Some(true);
    }
    Ok(result)
}

/// Why a run ended, and its id. Some clients show the first text of an answer alone.
fn sentence(id: &ExecutionId, RunError { code, cause }: &RunError) -> String {
    let cause = cause.as_deref().unwrap_or_default().trim();
    let reason = match cause {
        "" => code.clone(),
        cause => format!("{code}: {cause}"),
    };
    let stop = if reason.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("The agent ended without a result: {reason}{stop} Its execution_id is {id}.")
}

pub(crate) fn parse_id(text: &str) -> Result<ExecutionId, Error> {
    text.parse().map_err(|_| Error::NotFound("execution"))
}

/// The answer as a value, and as its JSON text for clients that know no values.
pub(crate) fn structured(content: &impl Serialize) -> Result<CallToolResult, Error> {
    let text =
        serde_json::to_string(content).map_err(|error| Error::corrupt("an answer", error))?;
    verbatim::result(text)
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn an_end_without_a_result_is_told_in_one_sentence_with_its_id() {
        let id: ExecutionId = "mcp-fail-1".parse().unwrap();
        let said = |cause: Option<&str>| {
            let error =
                RunError { code: "Example.Refused".to_owned(), cause: cause.map(str::to_owned) };
            sentence(&id, &error)
        };

        let with_cause = "The agent ended without a result: Example.Refused: It always fails. \
                          Its execution_id is mcp-fail-1.";
        assert_eq!(said(Some("It always fails.")), with_cause);
        assert_eq!(said(Some("It always fails\n")), with_cause);
        for nothing in [None, Some(""), Some(" ")] {
            assert_eq!(
                said(nothing),
                "The agent ended without a result: Example.Refused. Its execution_id is mcp-fail-1."
            );
        }
    }
}
