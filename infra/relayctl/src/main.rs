//! The operator's tool: keys, agents, runs, dead letters, and a check of a whole deployment.

mod agents;
mod api;
mod cost;
mod dead_letters;
mod doctor;
mod import;
mod keys;
mod output;
mod registration;
mod registry;
mod rows;
mod runs;
mod stack;
mod subscriptions;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::stack::Stack;

/// Operate a deployed agent-relay: its keys, agents, runs and dead letters.
///
/// It reads the stack's outputs to find its tables and queues, and uses the AWS credentials,
/// region and endpoint of the environment.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    /// The name of the deployed stack.
    #[arg(long, global = true, env = "STACK_NAME", default_value = "agent-relay")]
    stack: String,
    /// The URL of its API. The default is the stack's output `ApiUrl`.
    #[arg(long, global = true, env = "RELAY_URL")]
    url: Option<String>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Operate(Operation),
    /// Calculate what runs cost, and which quota they reach first. Needs no stack.
    Cost(cost::Arguments),
}

/// What is done with a stack.
#[derive(Debug, Subcommand)]
enum Operation {
    /// Manage API keys.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Manage agents: the state machines that can be started, and their names.
    #[command(subcommand)]
    Agents(agents::Command),
    /// Start, inspect and cancel runs.
    #[command(subcommand)]
    Runs(runs::Command),
    /// Manage subscriptions to the events of a user's runs.
    #[command(subcommand)]
    Subscriptions(subscriptions::Command),
    /// List and replay messages and events that could not be processed.
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Check the deployment end to end, and report what is wrong and how to fix it.
    Doctor(doctor::Arguments),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            output::note(&format!("relayctl: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let operation = match cli.command {
        Command::Cost(arguments) => return Ok(cost::calculate(&arguments)?.print(cli.json)),
        Command::Operate(operation) => operation,
    };
    let stack = Stack::find(&cli.stack, cli.url).await?;
    let reply = match operation {
        Operation::Keys(command) => keys::run(&stack, command).await?,
        Operation::Agents(command) => agents::run(&stack, command).await?,
        Operation::Runs(command) => runs::run(&stack, command, cli.json).await?,
        Operation::Subscriptions(command) => subscriptions::run(&stack, command).await?,
        Operation::DeadLetters(command) => dead_letters::run(&stack, command).await?,
        Operation::Doctor(arguments) => doctor::run(&stack, arguments).await?,
    };
    Ok(reply.print(cli.json))
}
