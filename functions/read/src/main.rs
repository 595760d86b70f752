//! `GET /v1/…`: where runs stand, their results, and the agents, from DynamoDB alone.

mod handler;

use aws_config::BehaviorVersion;
use lambda_http::{Error, Request, lambda_runtime::tracing, run, service_fn};
use relay::{gateway, service::read::Reader, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let _metrics = telemetry::attach_metrics();

    let aws = aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await;
    let reader = &Reader::from_env(&aws)?;

    run(service_fn(move |request: Request| {
        let metrics = gateway::measure(handler::operation(&request), &request);
        gateway::serve(metrics, async move { handler::handle(reader, &request).await })
    }))
    .await
}
