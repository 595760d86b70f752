//! `GET /v1/…`: where runs stand, their results, and the agents, from DynamoDB alone.

mod handler;

use lambda_http::{Error, Request, service_fn};
use relay::{
    aws::{
        connection::{self, Aws},
        env, telemetry,
    },
    http::gateway,
    service::read::Reader,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::attach_logs();
    let _metrics = telemetry::attach_metrics();

    let aws = Aws::from_env()?;
    let reader = &Reader::from_env(&aws)?;
    let public_url = &env::required("PUBLIC_URL")?;
    let home = &env::home()?;
    connection::warm_up(reader.executions.warm_up()).await;

    gateway::run(service_fn(move |request: Request| {
        let metrics = gateway::measure(handler::operation(&request), &request);
        let handled = async move { handler::handle(reader, public_url, home, &request).await };
        gateway::serve(metrics, handled)
    }))
    .await
}
