//! An agent: a Step Functions state machine that callers may run by name.

use std::{str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::domain::{
    error::Error,
    id::{AgentName, ExecutionId},
    json::Json,
    status::LONGEST_RUN,
};

/// `arn:<partition>:states:<region>:<account>:stateMachine:<name>`, also with a version or alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StateMachineArn(String);

/// The text is not a [`StateMachineArn`].
#[derive(Debug, thiserror::Error)]
#[error("must be the ARN of a state machine")]
pub struct InvalidStateMachineArn;

impl FromStr for StateMachineArn {
    type Err = InvalidStateMachineArn;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split(':').collect();
        let is_one = matches!(
            parts.as_slice(),
            ["arn", _, "states", _, _, "stateMachine", _]
                | ["arn", _, "states", _, _, "stateMachine", _, _]
        );
        if is_one && !parts.contains(&"") {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidStateMachineArn)
        }
    }
}

impl StateMachineArn {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ARN of the execution with this name: the machine's, without version or alias, with
    /// `execution` for `stateMachine`.
    #[must_use]
    pub fn execution(&self, name: &ExecutionId) -> String {
        let mut parts = self.0.split(':').take(7).map(|part| match part {
            "stateMachine" => "execution",
            other => other,
        });
        let mut arn = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            arn.push(':');
            arn.push_str(part);
        }
        format!("{arn}:{name}")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    Active,
    Inactive,
}

impl AgentStatus {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
        }
    }
}

/// A row of the `agents` table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Agent {
    pub agent_name: AgentName,
    pub status: AgentStatus,
    pub state_machine_arn: StateMachineArn,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub version: String,
    #[serde(default)]
    pub tools: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llm_provider: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llm_model: Option<String>,
    /// In seconds: the moving average of completed runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_execution_time: Option<f64>,
    /// In US dollars a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_estimate: Option<f64>,
    /// A JSON Schema that a start's `parameters` must satisfy, as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters_schema: Option<Json>,
    /// How many of its runs go on at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// The same of one user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent_per_user: Option<u32>,
    /// Its starts are accepted, and wait.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Whether what its runs ask may be answered by whoever has the link.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answer_links: bool,
}

impl Agent {
    /// Refuses what an inactive agent is asked to run.
    pub fn require_active(&self) -> Result<(), Error> {
        match self.status {
            AgentStatus::Active => Ok(()),
            AgentStatus::Inactive => {
                Err(Error::Conflict(format!("agent {} is inactive", self.agent_name).into()))
            }
        }
    }

    /// The average execution time in milliseconds, where it is known: one that no run can have taken
    /// is none.
    #[must_use]
    pub fn average_ms(&self) -> Option<u64> {
        let seconds = self.average_execution_time.filter(|seconds| *seconds > 0.0)?;
        let average = Duration::try_from_secs_f64(seconds).ok()?;
        u64::try_from(average.as_millis()).ok().filter(|_| average <= LONGEST_RUN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_that_no_run_can_have_taken_is_none() {
        let of = |average: f64| {
            let agent: Agent = serde_json::from_value(serde_json::json!({
                "agent_name": "echo", "status": "active", "state_machine_arn": "arn",
                "average_execution_time": average,
            }))
            .unwrap();
            agent.average_ms()
        };

        assert_eq!((of(2.05), of(31_536_000.0)), (Some(2_050), Some(31_536_000_000)));
        for odd in [0.0, -1.0, 32_000_000.0, 1_599_103_744.233, 1e300] {
            assert_eq!(of(odd), None, "{odd}");
        }
    }

    #[test]
    fn the_execution_arn_follows_from_the_machine_and_the_name() {
        let id: ExecutionId = "mcp-echo-1".parse().unwrap();
        for machine in ["", ":3", ":live"] {
            let arn = format!("arn:aws:states:eu-west-1:111122223333:stateMachine:echo{machine}");
            assert_eq!(
                StateMachineArn(arn).execution(&id),
                "arn:aws:states:eu-west-1:111122223333:execution:echo:mcp-echo-1"
            );
        }
    }

    #[test]
    fn the_arn_of_anything_but_a_machine_is_refused() {
        let machine = "arn:aws:states:eu-west-1:111122223333:stateMachine:echo";
        for text in [machine.to_owned(), format!("{machine}:3"), format!("{machine}:live")] {
            assert_eq!(text.parse::<StateMachineArn>().unwrap().as_str(), text);
        }
        for text in [
            "",
            "echo",
            "arn:aws:states:eu-west-1:111122223333:execution:echo:run",
            "arn:aws:states:eu-west-1:111122223333:stateMachine:",
            "arn:aws:lambda:eu-west-1:111122223333:function:echo",
            &format!("{machine}:3:4"),
        ] {
            assert!(text.parse::<StateMachineArn>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_that_would_not_fit_into_an_execution_id_are_refused() {
        for text in ["", "a b", "é", "a:b", &"a".repeat(81)] {
            assert!(text.parse::<AgentName>().is_err(), "{text}");
        }
        assert!("Research_agent-2".parse::<AgentName>().is_ok());
    }
}
