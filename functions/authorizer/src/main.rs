//! API Gateway REQUEST authorizer: API key or token → who calls, and what they may do.

mod handler;
mod identity;
mod keys;
mod token;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use relay::{
    aws::{
        connection::{self, Aws},
        env, telemetry,
    },
    store::api_keys::ApiKeys,
};

use crate::{handler::Callers, token::Tokens};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::attach_logs();
    let _metrics = telemetry::attach_metrics();

    let aws = Aws::from_env()?;
    let callers = &Callers {
        keys: ApiKeys::new(aws.dynamodb.clone(), env::required("API_KEYS_TABLE")?),
        tokens: Tokens::new(
            env::parsed_list("OAUTH_ISSUERS")?,
            env::list("OAUTH_AUDIENCES")?,
            env::parsed("OAUTH_ADMINS")?,
            env::parsed("OAUTH_RATE_LIMIT")?,
        ),
    };
    connection::warm_up(callers.keys.warm_up()).await;

    run(service_fn(move |event: LambdaEvent<handler::Request>| callers.handle(event))).await
}
