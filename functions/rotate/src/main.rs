//! Secrets Manager rotation: gives the API key in a secret a successor, which takes over while the
//! old one stays valid for an overlap.

mod handler;

use aws_config::BehaviorVersion;
use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};
use relay::{env, store::api_keys::ApiKeys, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let _metrics = telemetry::attach_metrics();

    let aws = aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await;
    let rotation = &handler::Rotation {
        secrets: aws_sdk_secretsmanager::Client::new(&aws),
        keys: ApiKeys::new(aws_sdk_dynamodb::Client::new(&aws), env::required("API_KEYS_TABLE")?),
        overlap: env::days("KEY_OVERLAP_DAYS")?,
        lifetime: env::days("KEY_ROTATION_DAYS")?,
    };

    run(service_fn(move |event: LambdaEvent<handler::Event>| rotation.handle(event))).await
}
