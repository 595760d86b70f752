//! The deployed stack, found by its name: its outputs say what is where.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use relay::{
    aws::{connection::on_demand, queue::Queue},
    domain::{
        caller::{Caller, Credential, Permissions},
        id::UserId,
        loops::Arrival,
        network::CallbackAllow,
        owed::MIN_RETENTION,
    },
    service::{change::Change, read::Reader, start::Start},
    store::{
        agents::Agents, api_keys::ApiKeys, deliveries::Deliveries, due::Due,
        executions::Executions, limits::Limits, subscriptions::Subscriptions,
    },
};

use crate::api::Api;

#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) name: String,
    /// As CloudFormation calls it, `UPDATE_COMPLETE` for one.
    pub(crate) status: String,
    pub(crate) aws: SdkConfig,
    outputs: HashMap<String, String>,
    parameters: HashMap<String, String>,
    url: Option<String>,
}

impl Stack {
    pub(crate) async fn find(name: &str, url: Option<String>) -> anyhow::Result<Self> {
        let aws = aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await;
        if aws.region().is_none() {
            bail!("no AWS region: set AWS_REGION, or a profile with AWS_PROFILE");
        }
        let client = aws_sdk_cloudformation::Client::new(&aws);
        let described = client.describe_stacks().stack_name(name).send().await.map_err(refusal);
        let described = described.with_context(|| {
            format!("cannot find the stack {name} (set another one with --stack or STACK_NAME)")
        })?;
        let found = described.stacks.unwrap_or_default().into_iter().next();
        let found = found.with_context(|| format!("there is no stack {name}"))?;
        let outputs = found.outputs.unwrap_or_default().into_iter();
        let parameters = found.parameters.unwrap_or_default().into_iter();
        Ok(Self {
            name: name.to_owned(),
            status: found.stack_status.map(|it| it.as_str().to_owned()).unwrap_or_default(),
            outputs: outputs.filter_map(|it| it.output_key.zip(it.output_value)).collect(),
            parameters: parameters
                .filter_map(|it| it.parameter_key.zip(it.parameter_value))
                .collect(),
            aws,
            url,
        })
    }

    pub(crate) fn output(&self, name: &str) -> anyhow::Result<&str> {
        self.outputs.get(name).map(String::as_str).with_context(|| {
            format!("the stack {} has no output {name}: deploy its current template", self.name)
        })
    }

    pub(crate) fn parameter(&self, name: &str) -> anyhow::Result<&str> {
        self.parameters.get(name).map(String::as_str).with_context(|| {
            format!("the stack {} has no parameter {name}: deploy its current template", self.name)
        })
    }

    pub(crate) fn number(&self, parameter: &str) -> anyhow::Result<u32> {
        let number = self.parameter(parameter)?.parse();
        number.with_context(|| {
            format!("the parameter {parameter} of the stack {} is not a number", self.name)
        })
    }

    fn seconds(&self, parameter: &str) -> anyhow::Result<Duration> {
        Ok(Duration::from_secs(self.number(parameter)?.into()))
    }

    fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.aws)
    }

    pub(crate) fn api(&self) -> anyhow::Result<Api> {
        let url = self.url.as_deref().map_or_else(|| self.output("ApiUrl"), Ok)?;
        Api::new(url)
    }

    pub(crate) fn keys(&self) -> anyhow::Result<ApiKeys> {
        Ok(ApiKeys::new(self.dynamodb(), self.output("ApiKeysTable")?.to_owned()))
    }

    pub(crate) fn subscriptions(&self) -> anyhow::Result<Subscriptions> {
        let table = self.output("ExecutionsTable")?.to_owned();
        Ok(Subscriptions::new(self.dynamodb(), table))
    }

    pub(crate) fn agents(&self) -> anyhow::Result<Agents> {
        Ok(Agents::new(self.dynamodb(), self.output("AgentsTable")?.to_owned()))
    }

    pub(crate) fn reader(&self) -> anyhow::Result<Reader> {
        let table = self.output("ExecutionsTable")?.to_owned();
        Ok(Reader {
            executions: Executions::new(self.dynamodb(), table.clone()),
            deliveries: Deliveries::new(self.dynamodb(), table.clone()),
            subscriptions: Subscriptions::new(self.dynamodb(), table.clone()),
            agents: self.agents()?,
            limits: Limits::new(self.dynamodb(), table),
            due: self.due()?,
            // This tool looks by itself, and holds no slot of the functions' callers.
            max_waiters: 0,
        })
    }

    pub(crate) fn due(&self) -> anyhow::Result<Due> {
        Ok(Due::new(self.dynamodb(), self.output("ExecutionsTable")?.to_owned()))
    }

    pub(crate) fn start(&self) -> anyhow::Result<Start> {
        let table = self.output("ExecutionsTable")?.to_owned();
        let sqs = on_demand(&self.aws, aws_sdk_sqs::Client::new);
        let days = Duration::from_hours(24).saturating_mul(self.number("RetentionDays")?);
        Ok(Start {
            executions: Executions::new(self.dynamodb(), table.clone()),
            agents: self.agents()?,
            limits: Limits::new(self.dynamodb(), table),
            launch_queue: Queue::new(sqs, self.output("LaunchQueueUrl")?.to_owned()),
            callback_allow: CallbackAllow::default(),
            launch_overdue: self.seconds("LaunchOverdueSeconds")?,
            queue_timeout: self.seconds("QueueTimeoutSeconds")?,
            retention: days.max(MIN_RETENTION),
        })
    }

    pub(crate) fn change(&self) -> anyhow::Result<Change> {
        let table = self.output("ExecutionsTable")?.to_owned();
        let sqs = on_demand(&self.aws, aws_sdk_sqs::Client::new);
        let queue = |output| anyhow::Ok(Queue::new(sqs.clone(), self.output(output)?.to_owned()));
        Ok(Change {
            executions: Executions::new(self.dynamodb(), table.clone()),
            deliveries: Deliveries::new(self.dynamodb(), table.clone()),
            subscriptions: Subscriptions::new(self.dynamodb(), table.clone()),
            agents: self.agents()?,
            limits: Limits::new(self.dynamodb(), table),
            launch_queue: queue("LaunchQueueUrl")?,
            webhook_queue: queue("WebhookQueueUrl")?,
            launch_overdue: self.seconds("LaunchOverdueSeconds")?,
            delivery_overdue: self.seconds("DeliveryOverdueSeconds")?,
        })
    }
}

/// What AWS says of a call that failed, in its own words where it has any.
pub(crate) fn refusal<E, R>(error: SdkError<E, R>) -> anyhow::Error
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => anyhow!("{code}: {message}"),
        _ => anyhow!(error),
    }
}

/// The operator, who may do everything with everybody's runs: whoever may read the tables can.
pub(crate) fn operator() -> Caller {
    Caller {
        user_id: UserId::from("relayctl".to_owned()),
        credential: Credential::from("relayctl".to_owned()),
        lineage: Credential::from("relayctl".to_owned()),
        permissions: ["*:*"].into_iter().collect::<Permissions>(),
        rate_limit: u32::MAX,
        max_concurrent: None,
        expires_at: None,
        arrival: Arrival::default(),
    }
}
