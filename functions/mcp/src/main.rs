//! `POST /`: the envelope `{"tool", "params"}`, on the same services as REST.

mod envelope;

use aws_config::BehaviorVersion;
use lambda_http::{Error, Request, lambda_runtime::tracing, run, service_fn};
use relay::{service::Services, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let _metrics = telemetry::attach_metrics();

    let aws = aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await;
    let services = &Services::from_env(&aws)?;

    run(service_fn(
        move |request: Request| async move { envelope::serve(services, &request).await },
    ))
    .await
}
