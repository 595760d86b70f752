//! Launch queue → `StartExecution`, with the input and the state machine frozen at the start.

mod handler;
mod launcher;
mod redrive;
mod turn;
mod walks;

use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use relay::{
    aws::{
        connection::{self, Aws},
        env,
        queue::Queue,
        step_functions::StepFunctions,
        telemetry,
    },
    service::settle::Settle,
    store::agents::Agents,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::attach_logs();
    let _metrics = telemetry::attach_metrics();

    let aws = Aws::from_env()?;
    let launcher = &launcher::Launcher {
        settle: Settle::from_env(&aws)?,
        step_functions: StepFunctions::new(&aws.config),
        agents: Agents::new(aws.dynamodb.clone(), env::required("AGENTS_TABLE")?),
        queue: Queue::new(aws.sqs.clone(), env::required("LAUNCH_QUEUE_URL")?),
        launch_overdue: env::seconds("LAUNCH_OVERDUE_SECONDS")?,
    };
    connection::warm_up(launcher.warm_up()).await;

    run(service_fn(move |event: LambdaEvent<SqsEvent>| handler::handle(launcher, event))).await
}
