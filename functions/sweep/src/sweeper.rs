//! What a sweep works with.

use std::time::Duration;

use relay::{
    aws::{
        connection::Aws,
        env::{self, InvalidVariable},
        queue::Queue,
        step_functions::StepFunctions,
    },
    service::settle::Settle,
    store::due::Due,
};
use tokio::sync::Mutex;

use crate::{open_runs::OpenRuns, report::Reporter};

/// The part of the budget that is kept for runs that cannot wait: an eighth.
const RESERVE: u32 = 8;

#[derive(Debug)]
pub(crate) struct Sweeper {
    pub(crate) settle: Settle,
    pub(crate) step_functions: StepFunctions,
    pub(crate) due: Due,
    pub(crate) launch_queue: Queue,
    pub(crate) reporter: Reporter,
    pub(crate) open_runs: Mutex<OpenRuns>,
    pub(crate) launch_overdue: Duration,
    /// How many runs one sweep may ask Step Functions about.
    pub(crate) describe_budget: u32,
}

impl Sweeper {
    pub(crate) fn from_env(aws: &Aws) -> Result<Self, InvalidVariable> {
        let dynamodb = aws.dynamodb.clone();
        let queue_url = env::required("LAUNCH_QUEUE_URL")?;
        Ok(Self {
            settle: Settle::from_env(aws)?,
            step_functions: StepFunctions::new(&aws.config),
            due: Due::new(dynamodb, env::required("EXECUTIONS_TABLE")?),
            launch_queue: Queue::new(aws.sqs.clone(), queue_url),
            reporter: Reporter::new(
                aws_sdk_cloudwatch::Client::new(&aws.config),
                env::required("STACK_NAME")?,
            ),
            open_runs: Mutex::default(),
            launch_overdue: env::seconds("LAUNCH_OVERDUE_SECONDS")?,
            describe_budget: env::parsed("DESCRIBE_BUDGET")?,
        })
    }

    pub(crate) const fn reserve(&self) -> u32 {
        self.describe_budget / RESERVE
    }
}
