//! All that callers change: starts, cancellations, redeliveries, subscriptions, signing secrets.

mod handler;

use lambda_http::{Error, Request, service_fn};
use relay::{
    aws::{
        connection::{self, Aws},
        env,
        master_secret::MasterSecret,
        telemetry,
    },
    http::gateway,
    service::{Services, change::Change, subscribe::Subscribe},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::attach_logs();
    let _metrics = telemetry::attach_metrics();

    let aws = Aws::from_env()?;
    let api = &handler::Api {
        services: Services::from_env(&aws)?,
        change: Change::from_env(&aws)?,
        subscribe: Subscribe::from_env(&aws)?,
        master: MasterSecret::from_env(&aws)?,
        public_url: env::required("PUBLIC_URL")?,
        home: env::home()?,
    };
    connection::warm_up(api.services.start.warm_up()).await;

    let handle = async |request: Request| api.handle(&request).await;
    gateway::run(service_fn(move |request| {
        let metrics = gateway::measure(handler::operation(&request), &request);
        gateway::serve(metrics, handle(request))
    }))
    .await
}
