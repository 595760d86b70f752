//! What REST, envelope and MCP all call, and the one way in which a run moves on.

pub mod agent_event;
pub mod answer_links;
pub mod batch;
pub mod batch_end;
pub mod batch_read;
pub mod change;
pub mod health;
mod open;
mod paging;
pub mod read;
pub mod rights;
pub mod settle;
pub mod start;
pub mod subscribe;
mod trouble;

use crate::{
    aws::{
        bus::Bus,
        connection::Aws,
        env::{self, InvalidVariable},
        queue::Queue,
    },
    domain::owed::MIN_RETENTION,
    service::rights::Rights,
    store::{
        agents::Agents, api_keys::ApiKeys, deliveries::Deliveries, due::Due,
        executions::Executions, generations::Generations, limits::Limits,
        subscriptions::Subscriptions,
    },
};

/// For the functions that accept starts; all that they do reads runs, too.
#[derive(Debug)]
pub struct Services {
    pub start: start::Start,
    pub reader: read::Reader,
}

impl Services {
    /// Wires them by the variables that the template sets.
    pub fn from_env(aws: &Aws) -> Result<Self, InvalidVariable> {
        let dynamodb = aws.dynamodb.clone();
        let table = env::required("EXECUTIONS_TABLE")?;
        Ok(Self {
            start: start::Start {
                executions: Executions::new(dynamodb.clone(), table.clone()),
                agents: Agents::new(dynamodb.clone(), env::required("AGENTS_TABLE")?),
                limits: Limits::new(dynamodb, table),
                launch_queue: Queue::new(aws.sqs.clone(), env::required("LAUNCH_QUEUE_URL")?),
                callback_allow: env::parsed("CALLBACK_ALLOW")?,
                launch_overdue: env::seconds("LAUNCH_OVERDUE_SECONDS")?,
                queue_timeout: env::seconds("QUEUE_TIMEOUT_SECONDS")?,
                retention: env::days("RETENTION_DAYS")?.max(MIN_RETENTION),
            },
            reader: read::Reader::from_env(aws)?,
        })
    }
}

impl read::Reader {
    /// Wires it by the variables that the template sets.
    pub fn from_env(aws: &Aws) -> Result<Self, InvalidVariable> {
        let dynamodb = aws.dynamodb.clone();
        let table = env::required("EXECUTIONS_TABLE")?;
        Ok(Self {
            executions: Executions::new(dynamodb.clone(), table.clone()),
            deliveries: Deliveries::new(dynamodb.clone(), table.clone()),
            subscriptions: Subscriptions::new(dynamodb.clone(), table.clone()),
            agents: Agents::new(dynamodb.clone(), env::required("AGENTS_TABLE")?),
            limits: Limits::new(dynamodb.clone(), table.clone()),
            due: Due::new(dynamodb, table),
            max_waiters: env::parsed("MAX_WAITERS")?,
        })
    }
}

impl change::Change {
    /// Wires it by the variables that the template sets.
    pub fn from_env(aws: &Aws) -> Result<Self, InvalidVariable> {
        let dynamodb = aws.dynamodb.clone();
        let sqs = &aws.sqs;
        let table = env::required("EXECUTIONS_TABLE")?;
        Ok(Self {
            executions: Executions::new(dynamodb.clone(), table.clone()),
            deliveries: Deliveries::new(dynamodb.clone(), table.clone()),
            subscriptions: Subscriptions::new(dynamodb.clone(), table.clone()),
            agents: Agents::new(dynamodb.clone(), env::required("AGENTS_TABLE")?),
            limits: Limits::new(dynamodb, table),
            launch_queue: Queue::new(sqs.clone(), env::required("LAUNCH_QUEUE_URL")?),
            webhook_queue: Queue::new(sqs.clone(), env::required("WEBHOOK_QUEUE_URL")?),
            launch_overdue: env::seconds("LAUNCH_OVERDUE_SECONDS")?,
            delivery_overdue: env::seconds("DELIVERY_OVERDUE_SECONDS")?,
        })
    }
}

impl subscribe::Subscribe {
    /// Wires it by the variables that the template sets.
    pub fn from_env(aws: &Aws) -> Result<Self, InvalidVariable> {
        let dynamodb = aws.dynamodb.clone();
        let table = env::required("EXECUTIONS_TABLE")?;
        let queue_url = env::required("WEBHOOK_QUEUE_URL")?;
        Ok(Self {
            subscriptions: Subscriptions::new(dynamodb.clone(), table.clone()),
            deliveries: Deliveries::new(dynamodb.clone(), table.clone()),
            generations: Generations::new(dynamodb.clone(), table.clone()),
            limits: Limits::new(dynamodb, table),
            webhook_queue: Queue::new(aws.sqs.clone(), queue_url),
            callback_allow: env::parsed("CALLBACK_ALLOW")?,
            delivery_overdue: env::seconds("DELIVERY_OVERDUE_SECONDS")?,
        })
    }
}

impl Rights {
    /// Wires it by the variables that the template sets.
    pub fn from_env(aws: &Aws) -> Result<Self, InvalidVariable> {
        Ok(Self::new(ApiKeys::new(aws.dynamodb.clone(), env::required("API_KEYS_TABLE")?)))
    }
}

impl health::Endpoints {
    /// Wires it by the variables that the template sets.
    pub fn from_env(aws: &Aws) -> Result<Self, InvalidVariable> {
        let table = env::required("EXECUTIONS_TABLE")?;
        Ok(Self {
            subscriptions: Subscriptions::new(aws.dynamodb.clone(), table),
            rights: Rights::from_env(aws)?,
            bus: Bus::new(&aws.config, env::required("EVENT_BUS_NAME")?),
            webhook_queue: Queue::new(aws.sqs.clone(), env::required("WEBHOOK_QUEUE_URL")?),
            delivery_overdue: env::seconds("DELIVERY_OVERDUE_SECONDS")?,
        })
    }
}

impl settle::Settle {
    /// Wires it by the variables that the template sets.
    pub fn from_env(aws: &Aws) -> Result<Self, InvalidVariable> {
        Ok(Self {
            executions: Executions::new(aws.dynamodb.clone(), env::required("EXECUTIONS_TABLE")?),
            subscriptions: Subscriptions::new(
                aws.dynamodb.clone(),
                env::required("EXECUTIONS_TABLE")?,
            ),
            rights: Rights::from_env(aws)?,
            bus: Bus::new(&aws.config, env::required("EVENT_BUS_NAME")?),
            webhook_queue: Queue::new(aws.sqs.clone(), env::required("WEBHOOK_QUEUE_URL")?),
            launch_queue: Queue::new(aws.sqs.clone(), env::required("LAUNCH_QUEUE_URL")?),
            retention: env::days("RETENTION_DAYS")?.max(MIN_RETENTION),
            event_overdue: env::seconds("NEWS_OVERDUE_SECONDS")?,
            delivery_overdue: env::seconds("DELIVERY_OVERDUE_SECONDS")?,
        })
    }
}
