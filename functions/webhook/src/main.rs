//! Webhook queue → one signed POST per attempt, under a lease.

mod answer;
mod client;
mod gate;
mod handler;
mod verdict;

use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use relay::aws::{
    connection::{self, Aws},
    telemetry,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::attach_logs();
    let _metrics = telemetry::attach_metrics();

    let aws = Aws::from_env()?;
    let worker = &handler::DeliveryWorker::from_env(&aws)?;
    connection::warm_up(Box::pin(worker.warm_up())).await;

    run(service_fn(move |event: LambdaEvent<SqsEvent>| handler::handle(worker, event))).await
}
