//! Launch queue → `StartExecution`, with the input and the state machine frozen at the start.

mod handler;

use aws_config::BehaviorVersion;
use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};
use relay::{env, queue::Queue, service::settle::Settle, step_functions::StepFunctions, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let _metrics = telemetry::attach_metrics();

    let aws = aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await;
    let launcher = &handler::Launcher {
        settle: Settle::from_env(&aws)?,
        step_functions: StepFunctions::new(aws_sdk_sfn::Client::new(&aws)),
        queue: Queue::new(aws_sdk_sqs::Client::new(&aws), env::required("LAUNCH_QUEUE_URL")?),
        launch_overdue: env::seconds("LAUNCH_OVERDUE_SECONDS")?,
    };

    run(service_fn(move |event: LambdaEvent<SqsEvent>| handler::handle(launcher, event))).await
}
