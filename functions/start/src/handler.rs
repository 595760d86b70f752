//! One request: accept a start (and hold the caller where that is asked for), or change a run.

use lambda_http::{Request, RequestExt, Response};
use relay::{
    error::Error,
    gateway,
    request::{StartBody, parse_object},
    service::{Services, change::Change},
};

const START: &str = "/v1/executions";
const CANCEL: &str = "/v1/executions/{execution_id}/cancel";
const REDELIVER: &str = "/v1/executions/{execution_id}/deliveries/{delivery_id}/redeliver";

pub(crate) struct Api {
    pub(crate) services: Services,
    pub(crate) change: Change,
    pub(crate) public_url: String,
}

/// The name under which a request is counted.
pub(crate) fn operation(request: &Request) -> &'static str {
    match gateway::route(request) {
        START => "start_agent",
        CANCEL => "stop_agent",
        REDELIVER => "redeliver",
        _ => "unknown",
    }
}

impl Api {
    pub(crate) async fn handle(&self, request: &Request) -> Result<Response<String>, Error> {
        match gateway::route(request) {
            START => self.start(request).await,
            CANCEL => {
                let caller = gateway::caller(request)?;
                let id = gateway::execution_id(request)?;
                Ok(gateway::reply(202, &self.change.cancel(&caller, &id).await?))
            }
            REDELIVER => {
                let caller = gateway::caller(request)?;
                let id = gateway::execution_id(request)?;
                let parameters = request.path_parameters();
                let delivery = parameters.first("delivery_id").unwrap_or_default();
                Ok(gateway::reply(202, &self.change.redeliver(&caller, &id, delivery).await?))
            }
            _ => Err(Error::NotFound("route")),
        }
    }

    async fn start(&self, request: &Request) -> Result<Response<String>, Error> {
        let Self { services, public_url, .. } = self;
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
        match services.reader.wait_for_end(&receipt.execution_id, wait).await {
            Ok(Some(_))
                if let Ok(results) =
                    services.reader.results(&caller, &receipt.execution_id, false).await =>
            {
                Ok(gateway::waited(gateway::ended(request, public_url, receipt, &results), wait))
            }
            _ => Ok(gateway::accepted(request, public_url, &accepted)),
        }
    }
}
