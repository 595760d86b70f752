//! All that callers change: starts, cancellations, redeliveries, subscriptions, signing secrets.

mod handler;
mod master;

use aws_config::BehaviorVersion;
use lambda_http::{Error, Request, lambda_runtime::tracing, run, service_fn};
use relay::{
    env, gateway,
    service::{Services, change::Change, subscribe::Subscribe},
    telemetry,
};

use crate::master::MasterSecret;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let _metrics = telemetry::attach_metrics();

    let aws = aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await;
    let api = &handler::Api {
        services: Services::from_env(&aws)?,
        change: Change::from_env(&aws)?,
        subscribe: Subscribe::from_env(&aws)?,
        master: MasterSecret::new(
            aws_sdk_secretsmanager::Client::new(&aws),
            env::required("WEBHOOK_SECRET_ARN")?,
        ),
        public_url: env::required("PUBLIC_URL")?,
    };

    let handle = async |request: Request| api.handle(&request).await;
    run(service_fn(move |request| {
        let metrics = gateway::measure(handler::operation(&request), &request);
        gateway::serve(metrics, handle(request))
    }))
    .await
}
