//! `GET /console`: the console's page with its scripts and style. It calls nothing and may do nothing; the page
//! works through `/v1`, with its visitor's key or token.

mod handler;
mod login;

use std::future::ready;

use lambda_http::{Error, Request, service_fn};
use relay::{
    aws::{env, telemetry},
    http::gateway,
};

use crate::{handler::Console, login::Login};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::attach_logs();
    let _metrics = telemetry::attach_metrics();

    let login = Login::parse(
        env::required("CONSOLE_OAUTH_CLIENT_ID")?,
        env::required("CONSOLE_OAUTH_AUTHORIZE_URL")?,
        env::required("CONSOLE_OAUTH_TOKEN_URL")?,
    )?;
    let console = &Console::new(login.as_ref())?;

    gateway::run(service_fn(move |request: Request| {
        let metrics = gateway::measure("console", &request);
        gateway::serve(metrics, ready(console.handle(&request)))
    }))
    .await
}
