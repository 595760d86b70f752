//! The stack's master secret, read when it is first needed: most requests never do.

use std::sync::OnceLock;

use aws_sdk_secretsmanager::Client;
use relay::error::Error;

pub(crate) struct MasterSecret {
    client: Client,
    arn: String,
    read: OnceLock<String>,
}

impl MasterSecret {
    pub(crate) fn new(client: Client, arn: String) -> Self {
        Self { client, arn, read: OnceLock::new() }
    }

    pub(crate) async fn read(&self) -> Result<&[u8], Error> {
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
