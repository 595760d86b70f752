//! `agents`: which state machines may be run, and under which names.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use aws_sdk_sfn::{
    Client,
    types::{EncryptionConfiguration, EncryptionType},
};
use clap::{Args, Subcommand, value_parser};
use relay::{
    domain::{
        agent::{Agent, AgentStatus, StateMachineArn},
        id::AgentName,
        json::{document::without_mark, surrogate::mend},
        pool, time,
    },
    store::{agents::Agents, write::Step},
};
use serde_json::json;

use crate::{
    import::{self, Import},
    output::{self, Reply, table, truncated},
    registration::check,
    rows::read,
    stack::Stack,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Register an agent, or replace its registration.
    Put(Box<Put>),
    /// List all agents, active and inactive.
    List,
    /// Register the agents of another registry, from a JSON file or a DynamoDB table.
    Import(Import),
    /// Stop accepting starts of an agent. Its runs continue; `put` activates it again.
    Deactivate { name: AgentName },
    /// Start no more runs of an agent. Starts are accepted, and wait.
    Pause { name: AgentName },
    /// Start an agent's runs again, within a minute.
    Resume { name: AgentName },
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    name: AgentName,
    /// ARN of its Standard state machine. It may name a version or an alias.
    #[arg(long, value_name = "ARN")]
    machine: StateMachineArn,
    #[arg(long, default_value = "")]
    description: String,
    /// The agent's own version.
    #[arg(long, value_name = "VERSION", default_value = "")]
    agent_version: String,
    /// A tool that it uses. Can be repeated.
    #[arg(long = "tool", value_name = "NAME")]
    tools: Vec<String>,
    #[arg(long, value_name = "NAME")]
    llm_provider: Option<String>,
    #[arg(long, value_name = "NAME")]
    llm_model: Option<String>,
    /// The estimated cost of a run.
    #[arg(long, value_name = "DOLLARS", value_parser = cost)]
    cost_estimate: Option<f64>,
    /// How many of its runs may go on at once. The others wait.
    #[arg(long, value_name = "RUNS", value_parser = value_parser!(u32).range(1..=i64::from(pool::MOST)))]
    max_concurrent: Option<u32>,
    /// The same of one user's runs.
    #[arg(long, value_name = "RUNS", value_parser = value_parser!(u32).range(1..=i64::from(pool::MOST)))]
    max_concurrent_per_user: Option<u32>,
    /// Let whoever has the link to a question of its runs answer it, without a key.
    #[arg(long)]
    answer_links: bool,
    /// File with a JSON Schema for the parameters of a start. Use - for standard input.
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
            let text = format!("Agent {name} is inactive. Starts are refused within a minute.");
            Reply::new(&json!({"agent_name": name, "status": AgentStatus::Inactive}), text)
        }
        Command::Pause { name } => {
            let text = format!(
                "Agent {name} is paused. Starts wait from now on, or within a minute; what was accepted before may \
                 still start."
            );
            pause(&agents, &name, true, text).await
        }
        Command::Resume { name } => {
            let text = format!("Agent {name} is resumed. What waits is started within a minute.");
            pause(&agents, &name, false, text).await
        }
    }
}

async fn pause(
    agents: &Agents,
    name: &AgentName,
    paused: bool,
    text: String,
) -> anyhow::Result<Reply> {
    if agents.pause(name, paused).await? == Step::Stale {
        bail!("there is no agent {name}");
    }
    Reply::new(&json!({"agent_name": name, "paused": paused}), text)
}

fn declared(put: Put) -> anyhow::Result<Agent> {
    let schema = put.parameters_schema.map(|file| {
        let bytes = read(&file)?;
        let text = std::str::from_utf8(without_mark(&bytes));
        let text = mend(text.with_context(|| format!("{file} is not UTF-8"))?);
        serde_json::from_str(&text).with_context(|| format!("{file} is not JSON"))
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
        max_concurrent: put.max_concurrent,
        max_concurrent_per_user: put.max_concurrent_per_user,
        paused: false,
        answer_links: put.answer_links,
    })
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
            "Warning: the state machine of {} is encrypted with a customer-managed key that is not in the \
             stack's AgentKeyArns. The results of its runs cannot be read: see \"Keys of agents\" in \
             docs/operate.md.",
            agent.agent_name
        )
    })
}

/// Whether a machine encrypts by a key of its customer's that is none of these, parted by commas.
fn unknown_key(encryption: &EncryptionConfiguration, keys: &str) -> bool {
    encryption.r#type == EncryptionType::CustomerManagedKmsKey
        && !keys.split(',').any(|key| Some(key.trim()) == encryption.kms_key_id())
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
                if agent.paused { "paused" } else { agent.status.as_str() }.to_owned(),
                agent.version.clone(),
                agent
                    .average_ms()
                    .map(time::seconds)
                    .map_or_else(String::new, |it| format!("{it:.1} s")),
                at_once(agent),
                agent.state_machine_arn.as_str().to_owned(),
                truncated(&output::plain(&agent.description), 60),
            ]
        })
        .collect();
    let titles =
        ["AGENT", "STATUS", "VERSION", "AVERAGE", "AT ONCE", "STATE MACHINE", "DESCRIPTION"];
    let mut lines = vec![table(titles, &rows)];
    for agent in agents.iter().filter(|agent| agent.status == AgentStatus::Active) {
        lines.extend(warning(stack, agent).await);
    }
    Reply::new(&BTreeMap::from([("agents", agents)]), lines.join("\n"))
}

/// How many runs may go on at once, and of one user.
fn at_once(agent: &Agent) -> String {
    let of_user = agent.max_concurrent_per_user.map(|most| format!("{most} per user"));
    let of_all = agent.max_concurrent.map(|most| most.to_string());
    of_all.into_iter().chain(of_user).collect::<Vec<_>>().join(", ")
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
}
