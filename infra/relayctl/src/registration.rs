//! What an agent must be to be registered: an item that fits, with a schema that can be checked, and a machine that the
//! stack may start.

use anyhow::{anyhow, bail};
use aws_sdk_sfn::{
    Client,
    operation::describe_state_machine::DescribeStateMachineError,
    types::{StateMachineStatus, StateMachineType},
};
use relay::domain::{
    agent::{Agent, StateMachineArn},
    json::Json,
    schema::{Schema, violation::InvalidSchema},
};

use crate::stack::{Stack, refusal};

/// What an agent may have as JSON, in bytes: an item of DynamoDB has 400 KB.
const MAX_AGENT: usize = 350 * 1024;

/// Refuses an agent that no start could run.
pub(crate) async fn check(stack: &Stack, agent: &Agent) -> anyhow::Result<()> {
    check_size(agent)?;
    if let Some(schema) = &agent.parameters_schema {
        check_schema(schema)?;
    }
    check_machine(stack, &agent.state_machine_arn).await
}

/// Refuses an agent that is no item of DynamoDB.
fn check_size(agent: &Agent) -> anyhow::Result<()> {
    let bytes = serde_json::to_string(agent)?.len();
    if bytes <= MAX_AGENT {
        return Ok(());
    }
    let fields = [
        ("description", agent.description.len()),
        ("version", agent.version.len()),
        ("tools", agent.tools.iter().map(String::len).sum()),
        ("llm_provider", agent.llm_provider.as_ref().map_or(0, String::len)),
        ("llm_model", agent.llm_model.as_ref().map_or(0, String::len)),
        ("parameters_schema", agent.parameters_schema.as_ref().map_or(0, |it| it.as_str().len())),
    ];
    let (field, _) = fields.into_iter().max_by_key(|(_, bytes)| *bytes).unwrap_or_default();
    bail!("{field} is too large: an agent has at most 350 KB, and this one {} KB", bytes / 1024)
}

fn check_schema(schema: &Json) -> anyhow::Result<()> {
    Schema::parse(schema).map(|_| ()).map_err(|error| match error {
        InvalidSchema::NoSchema(_) => anyhow!("parameters_schema is not a JSON Schema: {error}"),
        InvalidSchema::TooCostly(_) => anyhow!("parameters_schema is too costly: {error}"),
        InvalidSchema::Rounded { .. } => anyhow!("parameters_schema{error}"),
    })
}

/// Refuses a machine that is not there, that the stack may not start, or that would never tell how a run ended.
pub(crate) async fn check_machine(stack: &Stack, machine: &StateMachineArn) -> anyhow::Result<()> {
    let arn = machine.as_str();
    let pattern = stack.parameter("AgentStateMachines")?;
    if !arn.splitn(7, ':').last().is_some_and(|name| fits(pattern.as_bytes(), name.as_bytes())) {
        bail!(
            "the stack may only start state machines named {pattern}: deploy it with another AgentStateMachines"
        );
    }
    let client = Client::new(&stack.aws);
    let described = client.describe_state_machine().state_machine_arn(arn).send().await;
    let described = match described {
        Ok(described) => described,
        Err(error) => match error.as_service_error() {
            Some(
                DescribeStateMachineError::StateMachineDoesNotExist(_)
                | DescribeStateMachineError::InvalidArn(_),
            ) => bail!("the state machine {arn} does not exist"),
            _ => return Err(refusal(error).context(format!("cannot describe {arn}"))),
        },
    };
    if described.r#type != StateMachineType::Standard {
        bail!(
            "the state machine {arn} is Express, which emits no status events: create a Standard one"
        );
    }
    if described.status == Some(StateMachineStatus::Deleting) {
        bail!("the state machine {arn} is being deleted");
    }
    Ok(())
}

/// As IAM reads a pattern: `*` is anything, `?` one character.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), next) => {
            fits(rest, text) || next.is_some_and(|(_, text)| fits(pattern, text))
        }
        (Some((wanted, pattern)), Some((byte, text))) => {
            (wanted == byte || *wanted == b'?') && fits(pattern, text)
        }
        (Some(_), None) | (None, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_agent_that_is_too_large_is_refused_by_its_largest_field() {
        let agent: Agent = serde_json::from_value(json!({
            "agent_name": "echo", "status": "active", "state_machine_arn": "arn", "version": "1",
        }))
        .unwrap();
        assert!(check_size(&agent).is_ok());
        let text = |bytes: usize| "é".repeat(bytes / 2);
        assert!(check_size(&Agent { description: text(340_000), ..agent.clone() }).is_ok());

        for (field, large) in [
            ("description", Agent { description: text(1_000_000), ..agent.clone() }),
            ("version", Agent { version: text(1_000_000), ..agent.clone() }),
            ("tools", Agent { tools: vec![text(1_000); 1_000], ..agent.clone() }),
            ("llm_model", Agent { llm_model: Some(text(400_000)), ..agent.clone() }),
            (
                "parameters_schema",
                Agent {
                    parameters_schema: Some(Json::string(&text(400_000))),
                    description: text(340_000),
                    ..agent.clone()
                },
            ),
        ] {
            let error = check_size(&large).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{field} is too large")), "{error}");
        }
    }

    #[test]
    fn a_schema_that_would_not_be_checked_as_it_is_written_is_refused_by_its_place() {
        let said = |schema: &str| {
            check_schema(&Json::parse(schema).unwrap()).map_err(|error| error.to_string())
        };

        assert_eq!(said(r#"{"properties": {"amount": {"maximum": 1.10}}}"#), Ok(()));
        assert_eq!(
            said(r#"{"properties": {"amount": {"maximum": 12345678901234567890.10}}}"#)
                .unwrap_err(),
            "parameters_schema/properties/amount/maximum is 12345678901234567890.10, which would be \
             checked as 12345678901234567000"
        );
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        for odd in [&deep, "1", "\"none\"", r#"{"type": "dance"}"#, r#"{"maximum": 1e999}"#] {
            assert!(said(odd).unwrap_err().starts_with("parameters_schema"), "{odd}");
        }
    }

    #[test]
    fn a_pattern_fits_as_iam_reads_it() {
        for (pattern, text, expected) in [
            ("*", "echo", true),
            ("*", "echo:3", true),
            ("agent-*", "agent-", true),
            ("agent-*", "echo", false),
            ("*-agent", "my-agent", true),
            ("*-agent", "my-agent:3", false),
            ("e?ho", "echo", true),
            ("echo?", "echo", false),
            ("echo", "echoes", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
