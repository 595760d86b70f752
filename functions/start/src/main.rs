//! `POST /v1/executions`: accepts a start, stores it, and hints that it be launched.

mod handler;

use aws_config::BehaviorVersion;
use lambda_http::{Error, Request, lambda_runtime::tracing, run, service_fn};
use relay::{env, gateway, service::Services, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let _metrics = telemetry::attach_metrics();

    let aws = aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await;
    let services = &Services::from_env(&aws)?;
    let public_url = &env::required("PUBLIC_URL")?;

    let handle = async |request: Request| handler::handle(services, public_url, &request).await;
    run(service_fn(move |request| {
        gateway::serve("start_agent", handle(request))
    }))
    .await
}
