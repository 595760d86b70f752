//! The stack's master secret, of which the signing secrets of all users are made; read once, when it
//! is first needed.

use std::{fmt, sync::OnceLock};

use aws_sdk_secretsmanager::Client;

use crate::{
    aws::{
        connection::{Aws, OnDemand, on_demand},
        env::{self, InvalidVariable},
    },
    domain::error::Error,
};

pub struct MasterSecret {
    client: OnDemand<Client>,
    arn: String,
    read: OnceLock<String>,
}

impl fmt::Debug for MasterSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MasterSecret(..)")
    }
}

impl MasterSecret {
    /// Wires it by the variable that the template sets.
    pub fn from_env(aws: &Aws) -> Result<Self, InvalidVariable> {
        let arn = env::required("WEBHOOK_SECRET_ARN")?;
        Ok(Self { client: on_demand(&aws.config, Client::new), arn, read: OnceLock::new() })
    }

    pub async fn read(&self) -> Result<&[u8], Error> {
        if let Some(secret) = self.read.get() {
            return Ok(secret.as_bytes());
        }
        let value = self.client.get_secret_value().secret_id(&self.arn).send().await;
        let value = value.map_err(Error::aws("read the webhook secret"))?;
        let secret = value
            .secret_string
            .ok_or_else(|| Error::corrupt("the webhook secret", "it is no text"))?;
        Ok(self.read.get_or_init(|| secret).as_bytes())
    }
}
