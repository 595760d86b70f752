//! `POST /v1/executions`: accepts a start, stores it, and hints that it be launched.

mod handler;

use aws_config::BehaviorVersion;
use lambda_http::{Error, Request, lambda_runtime::tracing, run, service_fn};
use relay::{gateway, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let _metrics = telemetry::attach_metrics();

    let aws = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let services = &relay::service::Services::from_env(&aws)?;

    run(service_fn(move |request: Request| {
        gateway::serve("start_agent", async move {
            handler::handle(services, &request).await
        })
    }))
    .await
}
