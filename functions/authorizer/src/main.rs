//! API Gateway REQUEST authorizer: API key or token → who calls, and what they may do.

mod handler;
mod keys;
mod token;

use aws_config::BehaviorVersion;
use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};
use relay::{env, store::api_keys::ApiKeys, telemetry};

use crate::{handler::Callers, token::Tokens};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let _metrics = telemetry::attach_metrics();

    let aws = aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await;
    let callers = &Callers {
        keys: ApiKeys::new(aws_sdk_dynamodb::Client::new(&aws), env::required("API_KEYS_TABLE")?),
        tokens: Tokens::new(
            env::parsed_list("OAUTH_ISSUERS")?,
            env::list("OAUTH_AUDIENCES")?,
            env::parsed("OAUTH_ADMINS")?,
            env::parsed("OAUTH_RATE_LIMIT")?,
        ),
    };

    run(service_fn(move |event: LambdaEvent<handler::Request>| callers.handle(event))).await
}
