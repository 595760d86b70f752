//! Secrets Manager rotation: gives the API key in a secret a successor, which takes over while the
//! old one stays valid for an overlap.

mod handler;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use relay::{
    aws::{connection::Aws, env, telemetry},
    store::api_keys::ApiKeys,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::attach_logs();
    let _metrics = telemetry::attach_metrics();

    let aws = Aws::from_env()?;
    let rotation = &handler::Rotation {
        secrets: aws_sdk_secretsmanager::Client::new(&aws.config),
        keys: ApiKeys::new(aws.dynamodb.clone(), env::required("API_KEYS_TABLE")?),
        overlap: env::days("KEY_OVERLAP_DAYS")?,
        lifetime: env::days("KEY_ROTATION_DAYS")?,
    };

    run(service_fn(move |event: LambdaEvent<handler::Event>| rotation.handle(event))).await
}
