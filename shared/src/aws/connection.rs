//! How the functions reach AWS: by what Lambda says in its variables, and through one pool of
//! connections for all services.

use std::{
    fs,
    sync::{Arc, LazyLock},
    time::Duration,
};

use aws_config::{
    AppName, BehaviorVersion, Region, SdkConfig,
    environment::EnvironmentVariableCredentialsProvider, timeout::TimeoutConfig,
};
use aws_sdk_dynamodb::config::{SharedCredentialsProvider, SharedHttpClient};
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use tokio::time::timeout;
use tracing::info;

use crate::aws::{
    connector::{ATTEMPT_TIMEOUT, Connector, TABLE_ATTEMPT_TIMEOUT},
    env::{self, InvalidVariable},
};

/// The authorities that vouch for AWS's own endpoints (<https://www.amazontrust.com/repository/>).
/// Nobody else can, and to read them takes a fraction of the time that all of a system's take.
pub(super) const AUTHORITIES: &[u8] = include_bytes!("authorities.pem");

/// How long AWS is waited for before the first event, which may come all the same.
const PATIENCE: Duration = Duration::from_secs(2);

/// What reaches AWS.
#[derive(Debug)]
pub struct Aws {
    pub config: SdkConfig,
    pub dynamodb: aws_sdk_dynamodb::Client,
    pub sqs: OnDemand<aws_sdk_sqs::Client>,
}

/// A client that is made when it is first used: to make one reads a table of all of AWS's partitions.
pub type OnDemand<C> = Arc<LazyLock<C, Box<dyn FnOnce() -> C + Send + Sync>>>;

/// The same, of what a service's `Client::new` makes.
pub fn on_demand<C: 'static>(config: &SdkConfig, new: fn(&SdkConfig) -> C) -> OnDemand<C> {
    let config = config.clone();
    Arc::new(LazyLock::new(Box::new(move || new(&config))))
}

impl Aws {
    /// Lambda names region and credentials, so nothing is looked for in files or asked of the
    /// network. `AWS_ENDPOINT_URL`, that of a single service (such as `AWS_ENDPOINT_URL_SQS`) and
    /// `AWS_CA_BUNDLE` mean what they mean to any SDK
    /// (<https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html>).
    pub fn from_env() -> Result<Self, InvalidVariable> {
        let bundle = env::optional("AWS_CA_BUNDLE").map(fs::read).transpose();
        let bundle = bundle.map_err(|error| env::invalid("AWS_CA_BUNDLE", &error))?;
        let connector = Connector::new(bundle.as_deref().unwrap_or(AUTHORITIES));
        let connector = connector.map_err(|error| env::invalid("AWS_CA_BUNDLE", &error))?;
        let credentials = EnvironmentVariableCredentialsProvider::new();
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT);
        let app = env::optional("AWS_SDK_UA_APP_ID").and_then(|name| AppName::new(name).ok());
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(env::required("AWS_REGION")?))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .service_config(Variables)
            .timeout_config(timeouts.build())
            .http_client(SharedHttpClient::new(connector));
        config.set_app_name(app);
        config.set_endpoint_url(env::optional("AWS_ENDPOINT_URL"));
        let config = config.build();
        let dynamodb = tables(&config, TABLE_ATTEMPT_TIMEOUT);
        let sqs = on_demand(&config, aws_sdk_sqs::Client::new);
        Ok(Self { config, dynamodb, sqs })
    }
}

/// A client of DynamoDB that gives up a try after so long.
fn tables(config: &SdkConfig, attempt_timeout: Duration) -> aws_sdk_dynamodb::Client {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(attempt_timeout);
    let config = aws_sdk_dynamodb::config::Builder::from(config).timeout_config(timeouts.build());
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

/// Our way to the network, for the tests of those who use it.
#[cfg(test)]
pub(crate) fn test_client() -> SharedHttpClient {
    SharedHttpClient::new(Connector::new(AUTHORITIES).unwrap())
}

/// The variables that are for one service alone.
#[derive(Debug)]
struct Variables;

impl LoadServiceConfig for Variables {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_uppercase().replace(' ', "_");
        env::optional(&format!("{}_{service}", key.env()))
    }
}

/// Has the calls made by which connections are opened that the first event will need. Lambda gives
/// a whole processor until then, and a share of one after it: 7 % with 128 MB, which makes a TLS
/// handshake take hundreds of milliseconds. What comes of these calls does not matter.
pub async fn warm_up(calls: impl Future) {
    if timeout(PATIENCE, calls).await.is_err() {
        info!("AWS has not answered before the first event");
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
    };

    use aws_sdk_dynamodb::config::Credentials;

    use super::*;

    #[tokio::test]
    async fn a_call_to_a_table_whose_connection_hangs_is_made_by_another() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let credentials = Credentials::new("an-id", "a-secret", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("eu-west-1"))
            .endpoint_url(format!("http://{}", listener.local_addr().unwrap()))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(SharedHttpClient::new(Connector::new(AUTHORITIES).unwrap()))
            .build();
        let server = thread::spawn(move || {
            let (_hangs, _) = listener.accept().unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            let length = stream.read(&mut [0; 4_096]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
            length
        });

        let client = tables(&config, Duration::from_millis(200));
        let found = client.list_tables().send().await;

        assert!(found.is_ok(), "{found:?}");
        assert!(server.join().unwrap() > 0);
    }

    #[test]
    fn two_tries_of_a_table_and_the_pause_between_fit_into_the_time_of_the_authorizer() {
        let template = include_str!("../../../infra/template.yaml");
        let (_, function) = template.split_once("  AuthorizerFunction:").unwrap();
        let (_, timeout) = function.split_once("      Timeout: ").unwrap();
        let timeout: u64 = timeout.lines().next().unwrap().parse().unwrap();

        assert!(TABLE_ATTEMPT_TIMEOUT * 2 < Duration::from_secs(timeout));
    }
}
