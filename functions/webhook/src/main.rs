//! Webhook queue → one signed POST per attempt, under a lease.

mod client;
mod handler;
mod verdict;

use aws_config::BehaviorVersion;
use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};
use relay::telemetry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let _metrics = telemetry::attach_metrics();

    let aws = aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await;
    let courier = &handler::Courier::from_env(&aws).await?;

    run(service_fn(move |event: LambdaEvent<SqsEvent>| handler::handle(courier, event))).await
}
