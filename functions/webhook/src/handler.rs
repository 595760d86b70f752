//! One message: lease the delivery, make one attempt, record what came of it.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::{Diagnostic, LambdaEvent};
use relay::{
    aws::{
        connection::Aws,
        env, failure,
        master_secret::MasterSecret,
        queue::{self, DeliveryMessage, MAX_DELAY, Queue},
        telemetry::{self, Invocation, RunMetric},
    },
    domain::{
        answer_link::AnswerLink,
        attempt::Attempt,
        callback::Callback,
        delivery::Delivery,
        error::Error,
        event_type::EventType,
        health::{Attempted, Health},
        loops::RelayId,
        rights::About,
        schedule::Schedule,
        time::Timestamp,
    },
    http::answer::webhook::Webhook,
    service::{health::Endpoints, rights::Rights},
    store::{
        budget::{Budget, Full},
        deliveries::{Deliveries, Lease, Verdict},
        executions::Executions,
    },
};
use tracing::{info, warn};

use crate::{
    client::{Client, Post},
    gate::{Admission, Admitted, Gate},
    verdict::{self, Circumstances, Judgement},
};

#[derive(Debug)]
pub(crate) struct DeliveryWorker {
    gate: Gate,
    deliveries: Deliveries,
    relay_id: RelayId,
    endpoints: Endpoints,
    queue: Queue,
    client: Client,
    schedule: Schedule,
    master_secret: MasterSecret,
    /// Where links to questions lead.
    api_url: String,
    lease: Duration,
    /// After which silence `sweep` sends the hint for a delivery again.
    overdue: Duration,
    /// How many deliveries this invocation has given up.
    undelivered: AtomicUsize,
    /// And how many it has put off.
    delayed: AtomicUsize,
    /// How many subscriptions it has disabled.
    disabled: AtomicUsize,
}

impl DeliveryWorker {
    pub(crate) fn from_env(aws: &Aws) -> Result<Self, lambda_runtime::Error> {
        let dynamodb = aws.dynamodb.clone();
        let table = env::required("EXECUTIONS_TABLE")?;
        Ok(Self {
            deliveries: Deliveries::new(dynamodb.clone(), table.clone()),
            gate: Gate {
                executions: Executions::new(dynamodb.clone(), table.clone()),
                rights: Rights::from_env(aws)?,
                budget: Budget::new(
                    dynamodb,
                    table,
                    env::parsed("USER_DELIVERY_LIMIT")?,
                    env::parsed("HOST_DELIVERY_LIMIT")?,
                ),
            },
            relay_id: RelayId::of(&env::required("STACK_ID")?),
            endpoints: Endpoints::from_env(aws)?,
            queue: Queue::new(aws.sqs.clone(), env::required("WEBHOOK_QUEUE_URL")?),
            client: Client::new(env::parsed("CALLBACK_ALLOW")?)?,
            schedule: env::parsed("RETRY_SCHEDULE")?,
            master_secret: MasterSecret::from_env(aws)?,
            api_url: env::required("API_URL")?,
            lease: env::seconds("DELIVERY_LEASE_SECONDS")?,
            overdue: env::seconds("DELIVERY_OVERDUE_SECONDS")?,
            undelivered: AtomicUsize::default(),
            delayed: AtomicUsize::default(),
            disabled: AtomicUsize::default(),
        })
    }

    /// Makes the calls that the first delivery would wait for.
    pub(crate) async fn warm_up(&self) {
        drop(tokio::join!(self.gate.executions.warm_up_batch(), self.master_secret.read()));
    }

    #[tracing::instrument(skip_all, fields(execution.id = %message.execution_id, delivery = message.part))]
    async fn process(&self, message: DeliveryMessage) -> Result<(), Error> {
        let DeliveryMessage { execution_id: id, part } = message;
        // Before the lease, which a secret that cannot be read would hold in vain.
        let master = self.master_secret.read().await?;
        let delivery = match self.deliveries.lease(&id, &part, self.lease).await? {
            Lease::Held(delivery) => delivery,
            Lease::Refused => {
                info!("nothing to deliver: already done, not due, or in progress");
                return Ok(());
            }
            Lease::Unknown => {
                info!("nothing to deliver: it is gone");
                return Ok(());
            }
        };
        if self.schedule.is_exhausted(&delivery) {
            warn!("given up after {} leases", delivery.attempt_count);
            self.undelivered.fetch_add(1, Ordering::Relaxed);
            return self.abandon(&delivery, "its attempts ended without a result too often").await;
        }
        match self.gate.admit(&delivery).await? {
            Admission::Admitted(admitted) => {
                let (attempt, verdict) = self.attempt(&delivery, &admitted, master).await?;
                self.record(&delivery, &attempt, verdict, admitted.health).await
            }
            Admission::Refused(reason) => self.abandon(&delivery, reason).await,
            Admission::Superseded => {
                self.end(&delivery, "a later status replaced this event", Verdict::Dropped).await
            }
            Admission::Full(full) => self.put_off(&delivery, full).await,
        }
    }

    /// Makes the POST, and decides what comes of it.
    async fn attempt(
        &self,
        delivery: &Delivery,
        Admitted { callback, outcome, signing, .. }: &Admitted,
        master: &[u8],
    ) -> Result<(Attempt, Verdict), Error> {
        let webhook = Webhook::of(delivery, outcome.as_ref());
        let body = body(&self.with_link(webhook, delivery, callback, master).await?)?;
        let at = Timestamp::now();
        let clock = Instant::now();
        let id = &delivery.webhook_id;
        let answer = self
            .client
            .post(Post {
                callback,
                webhook_id: id,
                timestamp: at.seconds(),
                signature: signing.signatures(master, id, at, &body),
                body,
                cdn_loop: delivery.hops.header(&self.relay_id),
            })
            .await;
        let duration_ms = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);

        let now = Timestamp::now();
        let judgement = verdict::judge(
            &answer,
            Circumstances {
                url: &callback.url,
                may_have_arrived_before: delivery.may_have_arrived(),
                now,
            },
        );
        let verdict = self.verdict(delivery, &judgement, now);
        let attempt = Attempt {
            at,
            duration_ms,
            status: answer.ok().map(|answer| answer.status),
            may_have_arrived: judgement.may_have_arrived,
            // Who may read of deliveries need not be allowed to answer.
            detail: AnswerLink::blanked(&judgement.detail, &delivery.execution_id),
        };
        info!(
            http.status = attempt.status,
            duration_ms,
            attempt = delivery.attempt_count,
            ?verdict,
            "attempted {id} at {}",
            callback.url.host()
        );
        Ok((attempt, verdict))
    }

    /// Records an attempt, counts it, and has the next one made.
    async fn record(
        &self,
        delivery: &Delivery,
        attempt: &Attempt,
        verdict: Verdict,
        health: Option<Health>,
    ) -> Result<(), Error> {
        if !self.deliveries.record(delivery, attempt, verdict).await? {
            warn!("the lease has ended before the attempt was recorded");
            return Ok(());
        }
        match verdict {
            Verdict::Delivered => {
                let answered_at = attempt.at.plus(Duration::from_millis(attempt.duration_ms));
                let after_ms = answered_at.millis_since(delivery.occurred_at);
                let called_back = RunMetric::CalledBack { after_ms };
                telemetry::record(&delivery.execution_id, &delivery.agent_name, called_back);
            }
            // Who has asked for a test sees what comes of it.
            Verdict::Undelivered if delivery.event == EventType::Test => {}
            Verdict::Dropped => {}
            Verdict::Undelivered => drop(self.undelivered.fetch_add(1, Ordering::Relaxed)),
            Verdict::Again { next_attempt_at, .. } => {
                self.enqueue_hint(delivery, next_attempt_at).await;
            }
        }
        self.record_health(delivery, health, attempt.status, verdict).await;
        Ok(())
    }

    /// The same with the link to its question, where who gets it may answer.
    async fn with_link(
        &self,
        webhook: Webhook,
        delivery: &Delivery,
        callback: &Callback,
        master: &[u8],
    ) -> Result<Webhook, Error> {
        let link = About::Link(&delivery.agent_name);
        if delivery.has_answer_link()
            && self.gate.rights.may_be_told(callback.holder.as_ref(), link).await?
        {
            return Ok(webhook.with_answer_link(delivery, &self.api_url, master));
        }
        Ok(webhook)
    }

    /// Sends the message for the next attempt. What is due later than SQS can wait is sent by `sweep`.
    async fn enqueue_hint(&self, delivery: &Delivery, next_attempt_at: Timestamp) {
        let pause = Duration::from_millis(next_attempt_at.millis_since(Timestamp::now()));
        if pause <= MAX_DELAY {
            let (execution_id, part) = (delivery.execution_id.clone(), delivery.part.clone());
            let message = DeliveryMessage { execution_id, part };
            self.queue.enqueue_hint(&message, &delivery.user_id, pause).await;
        }
    }

    /// Leaves a delivery for which there is no room now, or ends it if it is kept no longer than that.
    async fn put_off(&self, delivery: &Delivery, full: Full) -> Result<(), Error> {
        let Some(later) = full.until.filter(|until| until.seconds() < delivery.ttl) else {
            self.undelivered.fetch_add(1, Ordering::Relaxed);
            let bound = if full.until.is_some() { "the delivery is kept" } else { "a day" };
            let reason =
                format!("the queue for this {} is longer than {bound}", full.whose.as_str());
            return self.abandon(delivery, &reason).await;
        };
        let due_at = self.due_at(later, Timestamp::now());
        if !self.deliveries.put_off(delivery, full.whose, later, due_at).await? {
            warn!("the lease has ended before the delivery was put off");
            return Ok(());
        }
        self.delayed.fetch_add(1, Ordering::Relaxed);
        self.enqueue_hint(delivery, later).await;
        Ok(())
    }

    /// Records what an attempt says of a subscription's receiver. The delivery is recorded, and not made again
    /// because of this.
    async fn record_health(
        &self,
        delivery: &Delivery,
        health: Option<Health>,
        status: Option<u16>,
        verdict: Verdict,
    ) {
        let Some((id, health)) = delivery.subscription().zip(health) else { return };
        let attempted = match verdict {
            Verdict::Delivered => Attempted::Delivered,
            Verdict::Again { .. } => Attempted::Failed,
            Verdict::Undelivered if status == Some(410) => Attempted::Gone,
            // A test is attempted once by its nature: it was not given up after many.
            Verdict::Undelivered if delivery.event == EventType::Test => Attempted::Failed,
            Verdict::Undelivered | Verdict::Dropped => Attempted::GivenUp,
        };
        let recorded = self.endpoints.record_attempt(&delivery.user_id, &id, &health, attempted);
        match Box::pin(recorded).await {
            Ok(disabled) => drop(self.disabled.fetch_add(disabled.into(), Ordering::Relaxed)),
            Err(error) => failure::log(&error),
        }
    }

    /// Ends a delivery without a POST: not because of its receiver, so this is no alarm.
    async fn abandon(&self, delivery: &Delivery, reason: &str) -> Result<(), Error> {
        self.end(delivery, reason, Verdict::Undelivered).await
    }

    async fn end(&self, delivery: &Delivery, reason: &str, verdict: Verdict) -> Result<(), Error> {
        info!("not delivered: {reason}");
        let attempt = Attempt {
            at: Timestamp::now(),
            duration_ms: 0,
            status: None,
            may_have_arrived: false,
            detail: reason.to_owned(),
        };
        self.deliveries.record(delivery, &attempt, verdict).await?;
        Ok(())
    }

    /// When the delivery is due again, if it is.
    fn verdict(&self, delivery: &Delivery, judgement: &Judgement, now: Timestamp) -> Verdict {
        if judgement.outcome == verdict::Outcome::Delivered {
            return Verdict::Delivered;
        }
        // Who has asked for a test may ask again.
        if delivery.event == EventType::Test {
            return Verdict::Undelivered;
        }
        let Some(pause) = verdict::pause(&self.schedule, delivery, judgement, now) else {
            return Verdict::Undelivered;
        };
        let next_attempt_at = now.plus(pause);
        Verdict::Again { next_attempt_at, due_at: self.due_at(next_attempt_at, now) }
    }

    /// When `sweep` is to process an attempt of this time.
    fn due_at(&self, next_attempt_at: Timestamp, now: Timestamp) -> Timestamp {
        let pause = Duration::from_millis(next_attempt_at.millis_since(now));
        next_attempt_at.plus(if pause <= MAX_DELAY { self.overdue } else { Duration::ZERO })
    }
}

fn body(webhook: &Webhook) -> Result<String, Error> {
    serde_json::to_string(webhook).map_err(|error| Error::corrupt("a callback's body", error))
}

pub(crate) async fn handle(
    worker: &DeliveryWorker,
    LambdaEvent { payload: event, context }: LambdaEvent<SqsEvent>,
) -> Result<SqsBatchResponse, Diagnostic> {
    let mut metrics = Invocation::start("webhook", Some(&context));
    let response =
        queue::consume(event, |message: DeliveryMessage, _| worker.process(message)).await;
    metrics.undelivered_callbacks = Some(worker.undelivered.swap(0, Ordering::Relaxed));
    metrics.delayed_callbacks =
        Some(worker.delayed.swap(0, Ordering::Relaxed)).filter(|delayed| *delayed > 0);
    metrics.disabled_subscriptions = Some(worker.disabled.swap(0, Ordering::Relaxed));
    metrics.failed = !response.batch_item_failures.is_empty();
    Ok(response)
}

#[cfg(test)]
mod tests {
    use relay::domain::{delivery::CALLBACK_TARGET, execution::Execution, outcome::Outcome};
    use serde_json::json;

    use super::*;

    fn delivery(event: EventType) -> Delivery {
        let run: Execution = serde_json::from_value(json!({
            "execution_id": "mcp-echo-1", "user_id": "someone", "agent_name": "echo",
            "state_machine_arn": "arn:aws:states:eu-west-1:111122223333:stateMachine:echo",
            "status": "completed", "redrive_count": 0, "rank": 90, "launch_before": 9_000,
            "created_at": 1_000, "updated_at": 2_000, "started_at": 2_000, "completed_at": 4_500,
        }))
        .unwrap();
        Delivery::owed(&run, event, CALLBACK_TARGET, Duration::ZERO, Duration::from_hours(1))
    }

    #[test]
    fn a_body_has_each_digit_and_level_of_the_answer() {
        let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
        for (written, shown) in [
            ("18446744073709551616", "18446744073709551616"),
            (r#""cut \ud83d""#, r#""cut \ufffd""#),
            (&deep, &deep),
        ] {
            let output = format!(r#"{{"result":{written},"tools_used":["a"]}}"#);
            let outcome = Outcome { output: Some(output), rank: 90, ..Outcome::default() };
            let body = body(&Webhook::of(&delivery(EventType::Completed), Some(&outcome))).unwrap();

            assert!(body.starts_with(r#"{"type":"execution.completed","timestamp":"#), "{body}");
            assert!(body.contains(r#""data":{"execution_id":"mcp-echo-1","#), "{body}");
            assert!(body.contains(&format!(r#""result":{shown},"tools_used":["a"]"#)), "{body}");
        }
    }

    #[test]
    fn what_an_agent_says_is_posted_in_the_same_frame() {
        let body = body(&Webhook::of(&delivery(EventType::Progress), None)).unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();

        assert_eq!(body["type"], "execution.progress");
        assert_eq!(body["data"]["execution_id"], "mcp-echo-1");
        assert!(body["data"].get("result").is_none());
    }
}
