//! `agents`: which state machines may be run, and under which names.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
};

use anyhow::{Context as _, anyhow, bail};
use aws_sdk_sfn::{
    Client,
    operation::describe_state_machine::DescribeStateMachineError,
    types::{EncryptionConfiguration, EncryptionType, StateMachineStatus, StateMachineType},
};
use clap::{Args, Subcommand};
use relay::{
    agent::{Agent, AgentName, AgentStatus, StateMachineArn},
    json::{Json, mend, without_mark},
    schema::{InvalidSchema, Schema},
    store::transitions::Step,
    time,
};
use serde_json::json;

use crate::{
    import::{self, Import},
    output::{self, Reply, start, table},
    stack::{Stack, refusal},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Register an agent, or declare it anew.
    Put(Box<Put>),
    /// List the agents, with those that are inactive.
    List,
    /// Register the agents of another registry: a file of JSON, or a DynamoDB table.
    Import(Import),
    /// Refuse an agent's starts. Its runs go on, and `put` makes it active again.
    Deactivate { name: AgentName },
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    name: AgentName,
    /// ARN of its standard state machine; it may name a version or an alias.
    #[arg(long, value_name = "ARN")]
    machine: StateMachineArn,
    #[arg(long, default_value = "")]
    description: String,
    /// The agent's own version.
    #[arg(long, value_name = "VERSION", default_value = "")]
    agent_version: String,
    /// A tool that it uses; may be repeated.
    #[arg(long = "tool", value_name = "NAME")]
    tools: Vec<String>,
    #[arg(long, value_name = "NAME")]
    llm_provider: Option<String>,
    #[arg(long, value_name = "NAME")]
    llm_model: Option<String>,
    /// What a run costs.
    #[arg(long, value_name = "DOLLARS", value_parser = cost)]
    cost_estimate: Option<f64>,
    /// File with a JSON Schema that the parameters of a start must fit; - is standard input.
    #[arg(long, value_name = "FILE")]
    parameters_schema: Option<String>,
}

fn cost(text: &str) -> Result<f64, &'static str> {
    let cost = text.parse().ok().filter(|cost: &f64| cost.is_finite() && *cost >= 0.0);
    cost.ok_or("must be a number of dollars")
}

pub(crate) async fn run(stack: &Stack, command: Command) -> anyhow::Result<Reply> {
    let agents = stack.agents()?;
    match command {
        Command::Put(put) => {
            let agent = declared(*put)?;
            check(stack, &agent).await?;
            agents.put(&agent).await?;
            let warning = warning(stack, &agent).await.map(|it| format!("\n{it}"));
            let name = &agent.agent_name;
            let text = format!("Agent {name} is registered.{}", warning.unwrap_or_default());
            Reply::new(&agent, text)
        }
        Command::List => list(stack).await,
        Command::Import(arguments) => import::run(stack, arguments).await,
        Command::Deactivate { name } => {
            if agents.deactivate(&name).await? == Step::Stale {
                bail!("there is no agent {name}");
            }
            let text =
                format!("Agent {name} is inactive; a warm function may take a minute to know.");
            Reply::new(&json!({"agent_name": name, "status": AgentStatus::Inactive}), text)
        }
    }
}

fn declared(put: Put) -> anyhow::Result<Agent> {
    let schema = put.parameters_schema.map(|file| {
        let bytes = read(&file)?;
        let text = std::str::from_utf8(without_mark(&bytes));
        let text = mend(text.with_context(|| format!("{file} is not UTF-8"))?);
        serde_json::from_str(&text).with_context(|| format!("{file} is no JSON"))
    });
    Ok(Agent {
        agent_name: put.name,
        status: AgentStatus::Active,
        state_machine_arn: put.machine,
        description: put.description,
        version: put.agent_version,
        tools: put.tools,
        llm_provider: put.llm_provider,
        llm_model: put.llm_model,
        average_execution_time: None,
        cost_estimate: put.cost_estimate,
        parameters_schema: schema.transpose()?,
    })
}

/// A whole file, or standard input where it is called `-`.
pub(crate) fn read(file: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = match file {
        "-" => io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes),
        file => fs::read(file),
    };
    read.with_context(|| format!("cannot read {file}"))
}

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
        InvalidSchema::NoSchema(_) => anyhow!("parameters_schema is no JSON Schema: {error}"),
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
            "the stack may only start state machines called {pattern}: deploy it with another AgentStateMachines"
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
            "the state machine {arn} is Express, which emits no status events: make a Standard one"
        );
    }
    if described.status == Some(StateMachineStatus::Deleting) {
        bail!("the state machine {arn} is being deleted");
    }
    Ok(())
}

/// What to say of an agent whose machine encrypts by a key that the stack does not know. Whatever
/// cannot be asked is no reason to refuse an agent, nor to warn of it.
async fn warning(stack: &Stack, agent: &Agent) -> Option<String> {
    let client = Client::new(&stack.aws);
    let arn = agent.state_machine_arn.as_str();
    let described = client.describe_state_machine().state_machine_arn(arn).send().await.ok()?;
    let keys = stack.parameter("AgentKeyArns").ok()?;
    unknown_key(described.encryption_configuration()?, keys).then(|| {
        format!(
            "Warning: the machine of {} encrypts by a customer-managed key that is not in the stack's \
             AgentKeyArns. Its runs' results cannot be read: see \"Keys of agents\" in docs/operate.md.",
            agent.agent_name
        )
    })
}

/// Whether a machine encrypts by a key of its customer's that is none of these, parted by commas.
fn unknown_key(encryption: &EncryptionConfiguration, keys: &str) -> bool {
    encryption.r#type == EncryptionType::CustomerManagedKmsKey
        && !keys.split(',').any(|key| Some(key.trim()) == encryption.kms_key_id())
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

async fn list(stack: &Stack) -> anyhow::Result<Reply> {
    let store = stack.agents()?;
    let mut agents = store.list(AgentStatus::Active).await?;
    agents.extend(store.list(AgentStatus::Inactive).await?);
    let rows: Vec<_> = agents
        .iter()
        .map(|agent| {
            [
                agent.agent_name.to_string(),
                agent.status.as_str().to_owned(),
                agent.version.clone(),
                agent
                    .average_ms()
                    .map(time::seconds)
                    .map_or_else(String::new, |it| format!("{it:.1} s")),
                agent.state_machine_arn.as_str().to_owned(),
                start(&output::plain(&agent.description), 60),
            ]
        })
        .collect();
    let titles = ["AGENT", "STATUS", "VERSION", "AVERAGE", "STATE MACHINE", "DESCRIPTION"];
    let mut lines = vec![table(titles, &rows)];
    for agent in agents.iter().filter(|agent| agent.status == AgentStatus::Active) {
        lines.extend(warning(stack, agent).await);
    }
    Reply::new(&BTreeMap::from([("agents", agents)]), lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_machine_is_warned_of_unless_the_stack_names_it() {
        let of = |kind| EncryptionConfiguration::builder().r#type(kind);
        let theirs = of(EncryptionType::CustomerManagedKmsKey);
        let theirs = theirs.kms_key_id("arn:key/1").build().unwrap();
        let aws = of(EncryptionType::AwsOwnedKey).build().unwrap();

        for (keys, is_unknown) in [
            ("", true),
            ("arn:key/2", true),
            ("arn:key/12", true),
            ("arn:key/1", false),
            ("arn:key/2, arn:key/1", false),
        ] {
            assert_eq!(unknown_key(&theirs, keys), is_unknown, "{keys}");
            assert!(!unknown_key(&aws, keys), "{keys}");
        }
    }

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
