//! Each minute: processes what is overdue in any row, whatever became of its hints and events.

mod backoff;
mod handler;
mod open_runs;
mod repair;
mod report;
mod round;
mod sweeper;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use relay::aws::{connection::Aws, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::attach_logs();
    let _metrics = telemetry::attach_metrics();

    let aws = Aws::from_env()?;
    let sweeper = &sweeper::Sweeper::from_env(&aws)?;

    run(service_fn(move |event: LambdaEvent<serde_json::Value>| async move {
        handler::handle(sweeper, &event.context).await
    }))
    .await
}
