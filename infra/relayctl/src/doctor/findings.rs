//! What is looked for, and what was found.

use clap::{Args, value_parser};
use relay::domain::id::AgentName;
use serde::Serialize;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Also run this agent and wait until the run ends.
    #[arg(long, value_name = "AGENT")]
    pub(super) run: Option<AgentName>,
    /// The message to the agent.
    #[arg(long, requires = "run", default_value = "Are you well?")]
    pub(super) message: String,
    /// How many seconds to wait for the run to end.
    #[arg(long, requires = "run", default_value_t = 60, value_parser = value_parser!(u32).range(1..=86_400))]
    pub(super) timeout: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) check: String,
    pub(super) ok: bool,
    /// What is well, or what is wrong and what to do.
    pub(super) detail: String,
}

#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn add(&mut self, check: &str, found: anyhow::Result<String>) {
        let (ok, detail) = match found {
            Ok(detail) => (true, detail),
            Err(error) => (false, format!("{error:#}")),
        };
        self.0.push(Finding { check: check.to_owned(), ok, detail });
    }
}
