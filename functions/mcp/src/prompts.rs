//! The prompts: one, by which a person has a model hand work over to an agent.

use rmcp::model::{
    GetPromptRequestParams, GetPromptResult, Prompt, PromptArgument, PromptMessage, Role,
};
use serde_json::Value;

pub(crate) const DELEGATE: &str = "delegate";

pub(crate) fn list() -> Vec<Prompt> {
    let argument = |name, description| {
        PromptArgument::new(name).with_description(description).with_required(true)
    };
    let arguments = vec![
        argument("agent_name", "The agent that does the task."),
        argument("task", "The task, as a message to the agent."),
    ];
    vec![
        Prompt::new(
            DELEGATE,
            Some("Starts an agent with a task, waits for it and reports the result."),
            Some(arguments),
        )
        .with_title("Delegate to an agent"),
    ]
}

/// The prompt with its arguments filled in; or what is wrong with them.
pub(crate) fn get(request: &GetPromptRequestParams) -> Result<GetPromptResult, String> {
    if request.name != DELEGATE {
        return Err(format!("unknown prompt: {}", request.name));
    }
    let argument = |name: &str| {
        let value = request.arguments.as_ref().and_then(|arguments| arguments.get(name));
        match value.filter(|value| !value.is_null()) {
            Some(value) if !value.is_string() => Err(format!("arguments.{name} must be a string")),
            value => value
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .ok_or_else(|| format!("arguments.{name} is missing")),
        }
    };
    let (agent_name, task) = (argument("agent_name")?, argument("task")?);
    let text = format!(
        "Start the agent {agent_name} with the tool start_agent and the message below. Choose a \
         client_token. Then call monitor_agent every few seconds until the execution has ended, get \
         the outcome with get_agent_results, and tell me the result, or why there is none.\n\n{task}"
    );
    Ok(GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_argument_that_is_missing_or_no_text_is_named() {
        let said = |arguments: Value| {
            let request = json!({"name": DELEGATE, "arguments": arguments});
            get(&serde_json::from_value(request).unwrap()).unwrap_err()
        };
        assert_eq!(said(json!({})), "arguments.agent_name is missing");
        for nothing in [json!({"agent_name": "echo"}), json!({"agent_name": "echo", "task": null})]
        {
            assert_eq!(said(nothing), "arguments.task is missing");
        }
        let odd = json!({"agent_name": "echo", "task": ["Count."]});
        assert_eq!(said(odd), "arguments.task must be a string");
    }
}
