//! Launch queue → `StartExecution`, with the input and the state machine frozen at the start.

mod handler;

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
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::attach_logs();
    let _metrics = telemetry::attach_metrics();

    let aws = Aws::from_env()?;
    let launcher = &handler::Launcher {
        settle: Settle::from_env(&aws)?,
        step_functions: StepFunctions::new(&aws.config),
        queue: Queue::new(aws.sqs.clone(), env::required("LAUNCH_QUEUE_URL")?),
        launch_overdue: env::seconds("LAUNCH_OVERDUE_SECONDS")?,
    };
    connection::warm_up(launcher.warm_up()).await;

    run(service_fn(move |event: LambdaEvent<SqsEvent>| handler::handle(launcher, event))).await
}
