//! Each minute: pays what any row still owes, whatever became of the messages that hurried it.

mod handler;
mod report;

use aws_config::BehaviorVersion;
use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};
use relay::telemetry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let _metrics = telemetry::attach_metrics();

    let aws = aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await;
    let sweeper = &handler::Sweeper::from_env(&aws)?;

    run(service_fn(move |event: LambdaEvent<serde_json::Value>| async move {
        handler::handle(sweeper, &event.context).await
    }))
    .await
}
