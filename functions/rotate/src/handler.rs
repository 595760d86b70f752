//! The four steps of a rotation, each of which may be interrupted and repeated
//! (<https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html>).

use std::time::Duration;

use aws_sdk_secretsmanager::{Client, operation::get_secret_value::GetSecretValueError};
use lambda_runtime::{Diagnostic, LambdaEvent};
use relay::{
    aws::telemetry::Invocation,
    domain::{
        api_key::{self, ApiKey, ApiKeyHash},
        error::Error,
        time::Timestamp,
    },
    store::api_keys::ApiKeys,
};
use serde::{Deserialize, Serialize};
use tracing::info;

const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";
const PREVIOUS: &str = "AWSPREVIOUS";

#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) enum Step {
    #[serde(rename = "createSecret")]
    Create,
    #[serde(rename = "setSecret")]
    Set,
    #[serde(rename = "testSecret")]
    Test,
    #[serde(rename = "finishSecret")]
    Finish,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Event {
    step: Step,
    secret_id: String,
    /// The version of the secret that is to become the current one.
    client_request_token: String,
}

/// What a secret holds.
#[derive(Serialize, Deserialize)]
struct Content {
    api_key: String,
}

pub(crate) struct Rotation {
    pub(crate) secrets: Client,
    pub(crate) keys: ApiKeys,
    /// How long the old key stays valid.
    pub(crate) overlap: Duration,
    /// How long a key is used before it is rotated.
    pub(crate) lifetime: Duration,
}

impl Rotation {
    pub(crate) async fn handle(
        &self,
        LambdaEvent { payload: event, context }: LambdaEvent<Event>,
    ) -> Result<(), Diagnostic> {
        let mut metrics = Invocation::start("rotate", Some(&context));
        let Event { step, secret_id, client_request_token: version } = event;
        let is_current = self.is_current(&secret_id, &version).await?;
        match step {
            // What has become the current version was created, set and tested.
            Step::Create | Step::Set | Step::Test if is_current => {}
            Step::Create => self.create(&secret_id, &version).await?,
            Step::Set => self.set(&secret_id, &version).await?,
            Step::Test => self.test(&secret_id, &version).await?,
            Step::Finish => self.finish(&secret_id, &version, is_current).await?,
        }
        metrics.failed = false;
        Ok(())
    }

    /// Makes the new key, unless an earlier attempt has.
    async fn create(&self, secret: &str, version: &str) -> Result<(), Error> {
        if self.read(secret, PENDING, Some(version)).await?.is_some() {
            return Ok(());
        }
        // A key that cannot have a successor is told of now, before anything is made.
        self.row(&self.current(secret).await?).await?;
        let content = Content { api_key: api_key::generate()? };
        let text =
            serde_json::to_string(&content).map_err(|error| Error::corrupt("a secret", error))?;
        self.secrets
            .put_secret_value()
            .secret_id(secret)
            .client_request_token(version)
            .secret_string(text)
            .version_stages(PENDING)
            .send()
            .await
            .map_err(Error::aws("store a new key in its secret"))?;
        info!("created a key");
        Ok(())
    }

    /// Lets the new key in, for the old one's user and with its permissions.
    async fn set(&self, secret: &str, version: &str) -> Result<(), Error> {
        let hash = ApiKeyHash::of(&self.pending(secret, version).await?.api_key);
        if self.keys.find(&hash).await?.is_some() {
            return Ok(());
        }
        let current = self.current(secret).await?;
        let old = self.row(&current).await?;
        let now = Timestamp::now();
        let first = old.lineage(&ApiKeyHash::of(&current.api_key));
        let key = ApiKey {
            created_at: now,
            // A rotation that fails is attempted again for as long as an overlap.
            expires_at: Some(now.plus(self.lifetime + 2 * self.overlap)),
            revoked_at: None,
            lineage: Some(first.clone()),
            successor: None,
            ..old
        };
        // Before the row, whose being there says that all of this is done.
        let first = first.parse().map_err(|error| Error::corrupt("a key's lineage", error))?;
        self.keys.hand_over(&first, &hash).await?;
        self.keys.put(&hash, &key).await?;
        let key_id = hash.key_id();
        info!(key.id = key_id, "the key {key_id} is now valid");
        Ok(())
    }

    async fn test(&self, secret: &str, version: &str) -> Result<(), Error> {
        let pending = self.pending(secret, version).await?;
        self.row(&pending).await?;
        Ok(())
    }

    /// Makes the new version the current one, and has the old key end after the overlap.
    async fn finish(&self, secret: &str, version: &str, is_current: bool) -> Result<(), Error> {
        if !is_current {
            self.promote(secret, version).await?;
        }
        if let Some(old) = self.read(secret, PREVIOUS, None).await? {
            let until = Timestamp::now().plus(self.overlap);
            self.keys.expire(&ApiKeyHash::of(&old.api_key), until).await?;
        }
        info!("the new key is the current one");
        Ok(())
    }

    async fn promote(&self, secret: &str, version: &str) -> Result<(), Error> {
        let current = self.version_of(secret, CURRENT).await?;
        self.secrets
            .update_secret_version_stage()
            .secret_id(secret)
            .version_stage(CURRENT)
            .move_to_version_id(version)
            .set_remove_from_version_id(current)
            .send()
            .await
            .map_err(Error::aws("make a new key the current one"))?;
        Ok(())
    }

    /// Whether the version is the current one already; an error when it is none to rotate to.
    async fn is_current(&self, secret: &str, version: &str) -> Result<bool, Error> {
        let stages = self.stages(secret).await?;
        let stages = stages.into_iter().find(|(id, _)| id == version).map(|(_, stages)| stages);
        let stages = stages.ok_or_else(|| Error::invalid("ClientRequestToken", "is no version"))?;
        if stages.iter().any(|stage| stage == CURRENT) {
            return Ok(true);
        }
        if stages.iter().any(|stage| stage == PENDING) {
            return Ok(false);
        }
        Err(Error::invalid("ClientRequestToken", "is not the pending version"))
    }

    async fn version_of(&self, secret: &str, stage: &str) -> Result<Option<String>, Error> {
        let stages = self.stages(secret).await?;
        let found = stages.into_iter().find(|(_, stages)| stages.iter().any(|it| it == stage));
        Ok(found.map(|(version, _)| version))
    }

    /// The versions of a secret, each with its stages.
    async fn stages(&self, secret: &str) -> Result<Vec<(String, Vec<String>)>, Error> {
        let described = self.secrets.describe_secret().secret_id(secret).send().await;
        let described = described.map_err(Error::aws("look at a secret"))?;
        Ok(described.version_ids_to_stages.unwrap_or_default().into_iter().collect())
    }

    async fn current(&self, secret: &str) -> Result<Content, Error> {
        self.read(secret, CURRENT, None).await?.ok_or(Error::NotFound("the current key"))
    }

    async fn pending(&self, secret: &str, version: &str) -> Result<Content, Error> {
        self.read(secret, PENDING, Some(version)).await?.ok_or(Error::NotFound("the pending key"))
    }

    async fn read(
        &self,
        secret: &str,
        stage: &str,
        version: Option<&str>,
    ) -> Result<Option<Content>, Error> {
        let read = self
            .secrets
            .get_secret_value()
            .secret_id(secret)
            .version_stage(stage)
            .set_version_id(version.map(str::to_owned))
            .send()
            .await;
        let text = match read {
            Ok(read) => read.secret_string,
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(GetSecretValueError::is_resource_not_found_exception) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(Error::aws("read a secret")(error)),
        };
        let Some(text) = text else { return Ok(None) };
        // What cannot be read is not told, since it may hold a key.
        let content = serde_json::from_str(&text);
        content.map(Some).map_err(|_| Error::corrupt("a secret", "it is not {\"api_key\": …}"))
    }

    /// The row of a key that is valid.
    async fn row(&self, content: &Content) -> Result<ApiKey, Error> {
        let row = self.keys.find(&ApiKeyHash::of(&content.api_key)).await?;
        let row = row.ok_or(Error::NotFound("the key's row"))?;
        if row.is_valid(Timestamp::now()) {
            Ok(row)
        } else {
            Err(Error::Conflict("the key has expired or is revoked".into()))
        }
    }
}
