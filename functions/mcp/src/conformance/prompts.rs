//! Fixture prompts.

use rmcp::{
    ErrorData,
    model::{GetPromptRequestParams, GetPromptResponse, GetPromptResult, Prompt, PromptArgument},
};
use serde_json::{Value, json};

use super::{
    protocol::{Context, typed},
    questions::{self, Step},
    tools::PNG,
};

pub(super) fn list() -> Vec<Prompt> {
    let argument = |name| PromptArgument::new(name).with_required(true);
    let fixture = |name, arguments: Option<Vec<PromptArgument>>| {
        Prompt::new(name, Some("A fixture."), arguments)
    };
    vec![
        fixture("test_simple_prompt", None),
        fixture("test_prompt_with_arguments", Some(vec![argument("arg1"), argument("arg2")])),
        fixture("test_prompt_with_embedded_resource", Some(vec![argument("resourceUri")])),
        fixture("test_prompt_with_image", None),
        fixture("test_input_required_result_prompt", None),
    ]
}

pub(super) fn get(
    request: &GetPromptRequestParams,
    context: &Context,
) -> Result<GetPromptResponse, ErrorData> {
    let argument = |name: &str| {
        let value = request.arguments.as_ref().and_then(|arguments| arguments.get(name)?.as_str());
        value.unwrap_or_default()
    };
    let text = |text: String| json!({"type": "text", "text": text});
    let block: Value = match request.name.as_str() {
        "test_simple_prompt" => text("A simple prompt.".to_owned()),
        "test_prompt_with_arguments" => {
            text(format!("arg1='{}', arg2='{}'", argument("arg1"), argument("arg2")))
        }
        "test_prompt_with_embedded_resource" => json!({"type": "resource", "resource": {
            "uri": argument("resourceUri"), "mimeType": "text/plain", "text": "Embedded.",
        }}),
        "test_prompt_with_image" => json!({"type": "image", "data": PNG, "mimeType": "image/png"}),
        name => {
            let responses = request.input_responses.as_ref();
            let state = request.request_state.as_deref();
            match questions::next(name, responses, state, context)? {
                Step::Ask(questions) => return Ok(questions.into()),
                Step::Answered => text("A prompt with what was answered.".to_owned()),
            }
        }
    };
    let prompt: GetPromptResult = typed(json!({"messages": [{"role": "user", "content": block}]}))?;
    Ok(prompt.into())
}
