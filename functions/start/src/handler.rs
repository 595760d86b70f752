//! One request: accept a start (and hold the caller where that is asked for), or change what the
//! caller has.

use lambda_http::{Request, RequestExt, Response, http::Method};
use relay::{
    aws::master_secret::MasterSecret,
    domain::{
        answer_link::AnswerLink,
        batch::BatchBody,
        caller::Caller,
        error::Error,
        loops::Home,
        request::{RerunBody, StartBody},
        subscription::SubscribeBody,
        time::Timestamp,
    },
    http::{
        body::{AnswerBody, LinkAnswerBody, RecoverBody, RedriveBody},
        gateway,
        parse::parse_object,
        reply,
    },
    service::{
        Services, answer_links::AnswerLinks, batch::AcceptedBatch, change::Change, read::Started,
        start::Accepted, subscribe::Subscribe,
    },
};

const START: &str = "/v1/executions";
const RERUN: &str = "/v1/executions/{execution_id}/rerun";
const REDRIVE: &str = "/v1/executions/{execution_id}/redrive";
const BATCH: &str = "/v1/batches";
const CANCEL_BATCH: &str = "/v1/batches/{batch_id}/cancel";
const CANCEL: &str = "/v1/executions/{execution_id}/cancel";
const INPUT: &str = "/v1/executions/{execution_id}/input";
const ANSWER_LINKS: &str = "/v1/executions/{execution_id}/answer-links";
const ANSWERS: &str = "/v1/answers";
const REDELIVER: &str = "/v1/executions/{execution_id}/deliveries/{delivery_id}/redeliver";

const SUBSCRIBE: &str = "/v1/subscriptions";
const UNSUBSCRIBE: &str = "/v1/subscriptions/{subscription_id}";
const TEST: &str = "/v1/subscriptions/{subscription_id}/test";
const ENABLE: &str = "/v1/subscriptions/{subscription_id}/enable";
const RECOVER: &str = "/v1/subscriptions/{subscription_id}/recover";
const OWN_SECRET: &str = "/v1/subscriptions/{subscription_id}/secret";
const ROTATE_OWN: &str = "/v1/subscriptions/{subscription_id}/secret/rotate";
const SECRET: &str = "/v1/webhook-secret";
const ROTATE: &str = "/v1/webhook-secret/rotate";

pub(crate) struct Api {
    pub(crate) services: Services,
    pub(crate) change: Change,
    pub(crate) subscribe: Subscribe,
    pub(crate) master: MasterSecret,
    pub(crate) public_url: String,
    pub(crate) home: Home,
}

/// The name under which a request is counted.
pub(crate) fn operation(request: &Request) -> &'static str {
    match gateway::route(request) {
        START => "start_agent",
        RERUN => "rerun_agent",
        REDRIVE => "redrive_agent",
        BATCH => "start_agents",
        CANCEL_BATCH => "stop_agents",
        CANCEL => "stop_agent",
        INPUT => "answer_agent",
        ANSWER_LINKS => "answer_links",
        ANSWERS => "answer_by_link",
        REDELIVER => "redeliver",
        SUBSCRIBE => "subscribe",
        UNSUBSCRIBE => "unsubscribe",
        TEST => "test_subscription",
        ENABLE => "enable_subscription",
        RECOVER => "recover_subscription",
        SECRET | OWN_SECRET => "webhook_secret",
        ROTATE | ROTATE_OWN => "rotate_webhook_secret",
        _ => "unknown",
    }
}

impl Api {
    pub(crate) async fn handle(&self, request: &Request) -> Result<Response<String>, Error> {
        if gateway::route(request) == ANSWERS {
            return self.answer_by_link(request).await;
        }
        let caller = gateway::caller(request, &self.home)?;
        match gateway::route(request) {
            START => self.start(&caller, request).await,
            RERUN => self.rerun(&caller, request).await,
            BATCH => self.start_batch(&caller, request).await,
            CANCEL_BATCH => {
                let id = gateway::batch_id(request)?;
                Ok(reply::reply(202, &self.change.cancel_batch(&caller, &id).await?))
            }
            REDRIVE => {
                let id = gateway::execution_id(request)?;
                // It takes nothing, and says so to whoever expects more of it.
                if !request.body().is_empty() {
                    let RedriveBody {} = parse_object(request.body())?;
                }
                Ok(reply::reply(202, &self.change.redrive(&caller, &id).await?))
            }
            CANCEL => {
                let id = gateway::execution_id(request)?;
                Ok(reply::reply(202, &self.change.cancel(&caller, &id).await?))
            }
            INPUT => {
                let id = gateway::execution_id(request)?;
                let body: AnswerBody = parse_object(request.body())?;
                Ok(reply::reply(202, &self.change.answer(&caller, &id, body).await?))
            }
            ANSWER_LINKS => {
                let id = gateway::execution_id(request)?;
                let route = ANSWER_LINKS.replace("{execution_id}", id.as_str());
                // A path alone, where nobody says what stands before it.
                let base = gateway::base(request, &self.public_url, &route).unwrap_or_default();
                let master = self.master.read().await?;
                let links = self.answer_links().of_run(&caller, &id, &base, master).await?;
                Ok(reply::reply(200, &links))
            }
            REDELIVER => {
                let id = gateway::execution_id(request)?;
                let parameters = request.path_parameters();
                let delivery = parameters.first("delivery_id").unwrap_or_default();
                Ok(reply::reply(202, &self.change.redeliver(&caller, &id, delivery).await?))
            }
            SUBSCRIBE => {
                let body: SubscribeBody = parse_object(request.body())?;
                let master = self.master.read().await?;
                Ok(reply::reply(201, &self.subscribe.add(&caller, body, master).await?))
            }
            UNSUBSCRIBE => {
                self.subscribe.remove(&caller, &gateway::subscription_id(request)?).await?;
                Ok(reply::nothing())
            }
            TEST => {
                let id = gateway::subscription_id(request)?;
                Ok(reply::reply(202, &self.subscribe.test(&caller, &id).await?))
            }
            ENABLE => {
                let id = gateway::subscription_id(request)?;
                Ok(reply::reply(200, &self.subscribe.enable(&caller, &id).await?))
            }
            RECOVER => {
                let id = gateway::subscription_id(request)?;
                let body: RecoverBody = parse_object(request.body())?;
                Ok(reply::reply(202, &self.subscribe.recover(&caller, &id, body).await?))
            }
            OWN_SECRET => {
                let id = gateway::subscription_id(request)?;
                let master = self.master.read().await?;
                Ok(reply::reply(200, &self.subscribe.secret_of(&caller, &id, master).await?))
            }
            ROTATE_OWN => {
                let id = gateway::subscription_id(request)?;
                let master = self.master.read().await?;
                let secret = self.subscribe.rotate_secret_of(&caller, &id, master).await?;
                Ok(reply::reply(200, &secret))
            }
            SECRET => {
                let master = self.master.read().await?;
                Ok(reply::reply(200, &self.subscribe.secret(&caller, master).await?))
            }
            ROTATE => {
                let master = self.master.read().await?;
                Ok(reply::reply(200, &self.subscribe.rotate_secret(&caller, master).await?))
            }
            _ => Err(Error::NotFound("route")),
        }
    }

    const fn answer_links(&self) -> AnswerLinks<'_> {
        AnswerLinks { agents: &self.services.reader.agents, change: &self.change }
    }

    /// The question of a link, or its answer. Nobody but its token says who asks, so a token that is not ours costs
    /// no read.
    async fn answer_by_link(&self, request: &Request) -> Result<Response<String>, Error> {
        let master = self.master.read().await?;
        let open = |token: &str| AnswerLink::open(token, master, Timestamp::now());
        if request.method() == Method::GET {
            let token = request.headers().get("answer-token").and_then(|token| token.to_str().ok());
            let link = open(token.unwrap_or_default())?;
            return Ok(reply::reply(200, &self.answer_links().question(&link).await?));
        }
        let body: LinkAnswerBody = parse_object(request.body())?;
        let link = open(&body.token)?;
        Ok(reply::reply(202, &self.answer_links().answer(&link, body).await?))
    }

    async fn start(&self, caller: &Caller, request: &Request) -> Result<Response<String>, Error> {
        let key = gateway::idempotency_key(request.headers())?;
        let body: StartBody = parse_object(request.body())?;
        let accepted = self.services.start.start(caller, body, key.as_ref()).await?;
        Ok(self.accepted(caller, request, accepted).await)
    }

    async fn rerun(&self, caller: &Caller, request: &Request) -> Result<Response<String>, Error> {
        let id = gateway::execution_id(request)?;
        let key = gateway::idempotency_key(request.headers())?;
        let body = request.body();
        let body: RerunBody =
            if body.is_empty() { RerunBody::default() } else { parse_object(body)? };
        let accepted = self.services.start.rerun(caller, &id, body, key.as_ref()).await?;
        Ok(self.accepted(caller, request, accepted).await)
    }

    async fn start_batch(
        &self,
        caller: &Caller,
        request: &Request,
    ) -> Result<Response<String>, Error> {
        let key = gateway::idempotency_key(request.headers())?;
        let body: BatchBody = parse_object(request.body())?;
        let AcceptedBatch { receipt, replayed } =
            self.services.start.start_batch(caller, body, key.as_ref()).await?;
        Ok(gateway::accepted_batch(request, &self.public_url, &receipt, replayed))
    }

    /// The response to a start that is accepted, after the wait that its caller prefers.
    async fn accepted(
        &self,
        caller: &Caller,
        request: &Request,
        mut accepted: Accepted,
    ) -> Response<String> {
        let Self { services, public_url, .. } = self;
        let Some(wait) = gateway::preferred_wait(request.headers()) else {
            return gateway::accepted(request, public_url, &accepted.receipt, accepted.replayed);
        };
        let receipt = accepted.receipt.clone();
        match services.reader.started(caller, receipt, wait).await {
            Started::Ended(results) => {
                let receipt = &accepted.receipt;
                gateway::waited(gateway::ended(request, public_url, receipt, &results), wait)
            }
            Started::Goes(receipt) => {
                let asks = !receipt.questions.is_empty();
                accepted.receipt = receipt;
                let response =
                    gateway::accepted(request, public_url, &accepted.receipt, accepted.replayed);
                if asks { gateway::waited(response, wait) } else { response }
            }
        }
    }
}
