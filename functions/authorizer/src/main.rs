//! API Gateway REQUEST authorizer: API key → who calls, and what they may do.

mod handler;

use aws_config::BehaviorVersion;
use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};
use relay::{env, store::api_keys::ApiKeys, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let _metrics = telemetry::attach_metrics();

    let aws = aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await;
    let keys = ApiKeys::new(aws_sdk_dynamodb::Client::new(&aws), env::required("API_KEYS_TABLE")?);

    let keys = &keys;
    run(service_fn(move |event: LambdaEvent<handler::Request>| {
        handler::handle(keys, event.payload)
    }))
    .await
}
