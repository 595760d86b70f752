//! EventBridge (Step Functions status change, or an agent's own word) → DynamoDB → webhook queue.

mod agent_event;
mod average;
mod event;
mod handler;

use aws_config::BehaviorVersion;
use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};
use relay::{
    env, service::settle::Settle, step_functions::StepFunctions, store::agents::Agents, telemetry,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let _metrics = telemetry::attach_metrics();

    let aws = aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await;
    let agents = Agents::new(aws_sdk_dynamodb::Client::new(&aws), env::required("AGENTS_TABLE")?);
    let status = &handler::StatusHandler {
        settle: Settle::from_env(&aws)?,
        step_functions: StepFunctions::new(aws_sdk_sfn::Client::new(&aws)),
        averages: average::Averages::new(agents),
    };

    run(service_fn(move |event: LambdaEvent<serde_json::Value>| {
        Box::pin(handler::handle(status, event))
    }))
    .await
}
