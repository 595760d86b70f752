//! One message: lease the delivery, make one attempt, record what came of it.

use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::Diagnostic;
use relay::{
    answer::Results,
    callback::Callback,
    delivery::{Attempt, Delivery, Schedule},
    env,
    error::Error,
    queue::{self, DeliveryMessage, MAX_DELAY, Queue},
    signature::SigningSecret,
    store::{
        deliveries::{Deliveries, Lease, Verdict},
        executions::Executions,
    },
    telemetry::Invocation,
    time::Timestamp,
};
use serde_json::json;
use tracing::{info, warn};

use crate::{
    client::{Client, Post},
    verdict::{self, Judgement},
};

/// The generation of all signing secrets until they can be rotated.
const GENERATION: u32 = 0;

#[derive(Debug)]
pub(crate) struct Courier {
    executions: Executions,
    deliveries: Deliveries,
    queue: Queue,
    client: Client,
    schedule: Schedule,
    master_secret: String,
    lease: Duration,
    /// After which silence `sweep` hurries a delivery again.
    overdue: Duration,
}

impl Courier {
    pub(crate) async fn from_env(aws: &SdkConfig) -> Result<Self, lambda_runtime::Error> {
        let dynamodb = aws_sdk_dynamodb::Client::new(aws);
        let table = env::required("EXECUTIONS_TABLE")?;
        let secret = aws_sdk_secretsmanager::Client::new(aws)
            .get_secret_value()
            .secret_id(env::required("WEBHOOK_SECRET_ARN")?)
            .send()
            .await?;
        Ok(Self {
            executions: Executions::new(dynamodb.clone(), table.clone()),
            deliveries: Deliveries::new(dynamodb, table),
            queue: Queue::new(aws_sdk_sqs::Client::new(aws), env::required("WEBHOOK_QUEUE_URL")?),
            client: Client::new(env::parsed("CALLBACK_ALLOW")?)?,
            schedule: env::parsed("RETRY_SCHEDULE")?,
            master_secret: secret.secret_string.ok_or("the webhook secret is no text")?,
            lease: env::seconds("DELIVERY_LEASE_SECONDS")?,
            overdue: env::seconds("DELIVERY_OVERDUE_SECONDS")?,
        })
    }

    #[tracing::instrument(skip_all, fields(execution.id = %message.execution_id, delivery = message.part))]
    async fn deliver(&self, message: DeliveryMessage) -> Result<(), Error> {
        let DeliveryMessage { execution_id: id, part } = message;
        let delivery = match self.deliveries.lease(&id, &part, self.lease).await? {
            Lease::Held(delivery) => delivery,
            Lease::Refused => {
                info!("nothing to deliver: it is done, not due, or under way");
                return Ok(());
            }
            Lease::Unknown => {
                info!("nothing to deliver: it is gone");
                return Ok(());
            }
        };
        let (callback, outcome) = self.executions.find_delivered(&id).await?;
        let callback = callback.ok_or_else(|| Error::corrupt("a callback", "it is missing"))?;
        let body = json!({
            "type": delivery.news,
            "timestamp": delivery.occurred_at.rfc3339(),
            "data": Results::delivered(&delivery, outcome.as_ref()),
        })
        .to_string();

        let at = Timestamp::now();
        let clock = Instant::now();
        let answer = self.client.post(self.post(&delivery, &callback, at, body)).await;
        let duration_ms = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);

        let Judgement { outcome, detail } = verdict::judge(&answer);
        let attempt =
            Attempt { at, duration_ms, status: answer.ok().map(|answer| answer.status), detail };
        let verdict = self.verdict(&delivery, outcome);
        let host = callback.url.host();
        info!(
            http.status = attempt.status,
            duration_ms,
            attempt = delivery.attempt_count,
            ?verdict,
            "attempted {} at {host}",
            delivery.webhook_id
        );
        if !self.deliveries.record(&delivery, &attempt, verdict).await? {
            warn!("the lease has ended before the attempt was recorded");
            return Ok(());
        }
        if let Verdict::Again { next_attempt_at, .. } = verdict {
            let pause = Duration::from_millis(next_attempt_at.millis_since(Timestamp::now()));
            // What is due later than SQS can wait is sent by `sweep`.
            if pause <= MAX_DELAY {
                let message = DeliveryMessage { execution_id: id, part };
                self.queue.hurry(&message, &delivery.user_id, pause).await;
            }
        }
        Ok(())
    }

    fn post<'a>(
        &self,
        delivery: &'a Delivery,
        callback: &'a Callback,
        at: Timestamp,
        body: String,
    ) -> Post<'a> {
        let secret =
            SigningSecret::derive(self.master_secret.as_bytes(), &delivery.user_id, GENERATION);
        Post {
            callback,
            webhook_id: &delivery.webhook_id,
            timestamp: at.seconds(),
            signature: secret.sign(&delivery.webhook_id, at.seconds(), &body),
            body,
        }
    }

    /// When the delivery is due again, if it is.
    fn verdict(&self, delivery: &Delivery, outcome: verdict::Outcome) -> Verdict {
        match outcome {
            verdict::Outcome::Delivered => Verdict::Delivered,
            verdict::Outcome::GiveUp => Verdict::Undelivered,
            verdict::Outcome::Retry => {
                match self.schedule.pause_after(delivery.attempt_count, &delivery.webhook_id) {
                    None => Verdict::Undelivered,
                    Some(pause) => {
                        let next_attempt_at = Timestamp::now().plus(pause);
                        let grace = if pause <= MAX_DELAY { self.overdue } else { Duration::ZERO };
                        Verdict::Again { next_attempt_at, due_at: next_attempt_at.plus(grace) }
                    }
                }
            }
        }
    }
}

pub(crate) async fn handle(
    courier: &Courier,
    event: SqsEvent,
) -> Result<SqsBatchResponse, Diagnostic> {
    let mut metrics = Invocation::start("webhook");
    let response = queue::consume(event, |message: DeliveryMessage| courier.deliver(message)).await;
    metrics.failed = !response.batch_item_failures.is_empty();
    Ok(response)
}
