//! One request: accept the start, and hold the caller where that is asked for.

use lambda_http::{Request, Response};
use relay::{
    error::Error,
    gateway,
    request::{StartBody, parse_object},
    service::Services,
};

pub(crate) async fn handle(
    services: &Services,
    public_url: &str,
    request: &Request,
) -> Result<Response<String>, Error> {
    let caller = gateway::caller(request)?;
    let key = gateway::idempotency_key(request.headers())?;
    let body: StartBody = parse_object(request.body())?;
    let accepted = services.start.start(&caller, body, key.as_ref()).await?;

    let Some(wait) = gateway::preferred_wait(request.headers()) else {
        return Ok(gateway::accepted(request, public_url, &accepted));
    };
    // From here on the start is accepted, whatever happens: a run that cannot be watched is
    // answered like one that did not end in time.
    let receipt = &accepted.receipt;
    match services
        .reader
        .wait_for_end(&receipt.execution_id, wait)
        .await
    {
        Ok(Some(_))
            if let Ok(results) = services
                .reader
                .results(&caller, &receipt.execution_id, false)
                .await =>
        {
            Ok(gateway::waited(
                gateway::ended(request, public_url, receipt, &results),
                wait,
            ))
        }
        _ => Ok(gateway::accepted(request, public_url, &accepted)),
    }
}
