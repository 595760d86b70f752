//! `GET /console`: the console's page with its scripts and style. It calls nothing and may do nothing; the page
//! works through `/v1`, with its visitor's key.

mod handler;

use std::future::ready;

use lambda_http::{Error, Request, service_fn};
use relay::{aws::telemetry, http::gateway};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::attach_logs();
    let _metrics = telemetry::attach_metrics();

    gateway::run(service_fn(|request: Request| {
        let metrics = gateway::measure("console", &request);
        gateway::serve(metrics, ready(handler::handle(&request)))
    }))
    .await
}
