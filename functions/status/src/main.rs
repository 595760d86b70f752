//! EventBridge (Step Functions status change, or an agent's report) → DynamoDB → webhook queue.

mod agent_event;
mod average;
mod event;
mod handler;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use relay::{
    aws::{
        connection::{self, Aws},
        env,
        step_functions::StepFunctions,
        telemetry,
    },
    domain::json::Json,
    service::settle::Settle,
    store::agents::Agents,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::attach_logs();
    let _metrics = telemetry::attach_metrics();

    let aws = Aws::from_env()?;
    let agents = Agents::new(aws.dynamodb.clone(), env::required("AGENTS_TABLE")?);
    let status = &handler::StatusHandler {
        settle: Settle::from_env(&aws)?,
        step_functions: StepFunctions::new(&aws.config),
        averages: average::Averages::new(agents),
    };
    connection::warm_up(status.settle.warm_up()).await;

    run(service_fn(move |event: LambdaEvent<Json>| Box::pin(handler::handle(status, event)))).await
}
