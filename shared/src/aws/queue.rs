//! The hints: messages that name a row which has work now. Losing one, or getting it twice, changes nothing.

use std::{collections::HashMap, time::Duration};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use aws_sdk_sqs::{
    Client,
    error::ProvideErrorMetadata,
    types::{MessageSystemAttributeNameForSends, MessageSystemAttributeValue},
};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::warn;

use crate::{
    aws::{connection::OnDemand, env, failure, preconnect::Preconnect},
    domain::{
        batch_id::BatchId,
        delivery::Delivery,
        error::Error,
        id::{ExecutionId, QuestionId, UserId},
        pool::Pool,
    },
};

/// "Step Functions is to be told something of this run": its start or its end, or the answer to
/// a question.
#[derive(Debug, Serialize, Deserialize)]
pub struct LaunchMessage {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question_id: Option<QuestionId>,
    /// It is a batch, whose runs may all have ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_batch: bool,
    /// Those who wait for a slot of these may go on: it has ended, or waits there itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freed: Vec<Pool>,
}

impl LaunchMessage {
    #[must_use]
    pub const fn of(execution_id: ExecutionId) -> Self {
        Self { execution_id, question_id: None, is_batch: false, freed: Vec::new() }
    }

    #[must_use]
    pub const fn answering(execution_id: ExecutionId, question_id: QuestionId) -> Self {
        Self { execution_id, question_id: Some(question_id), is_batch: false, freed: Vec::new() }
    }

    /// "There may be room in these pools", by a run that has something to do with it.
    #[must_use]
    pub const fn freeing(execution_id: ExecutionId, freed: Vec<Pool>) -> Self {
        Self { execution_id, question_id: None, is_batch: false, freed }
    }

    #[must_use]
    pub fn of_batch(id: &BatchId) -> Self {
        Self { is_batch: true, ..Self::of(id.as_execution_id().clone()) }
    }
}

/// "This delivery is to be attempted."
#[derive(Debug, Serialize, Deserialize)]
pub struct DeliveryMessage {
    pub execution_id: ExecutionId,
    pub part: String,
}

/// The longest `DelaySeconds` that SQS takes; what is due later is sent by `sweep`.
pub const MAX_DELAY: Duration = Duration::from_mins(15);

/// A queue that we send to.
#[derive(Debug, Clone)]
pub struct Queue {
    client: OnDemand<Client>,
    url: String,
}

impl Queue {
    #[must_use]
    pub fn new(client: OnDemand<Client>, url: String) -> Self {
        Self { client, url }
    }

    /// Opens the connection by which hints are sent: see [`crate::aws::connection::warm_up`].
    pub async fn warm_up(&self) {
        drop(self.client.send_message().customize().interceptor(Preconnect).send().await);
    }

    /// Sends a hint, to be received after `delay` (at most [`MAX_DELAY`]; rounded up to whole
    /// seconds, so that it never comes early). The user is the message group, which on a
    /// standard queue keeps one user's flood from delaying the others. The trace goes along as SQS
    /// has it. A failed send is only logged: the row still has its work, and `sweep`
    /// sends the hint again.
    pub async fn enqueue_hint(&self, message: &impl Serialize, user: &UserId, delay: Duration) {
        let Ok(body) = serde_json::to_string(message) else {
            return;
        };
        let delay =
            i32::try_from(delay.min(MAX_DELAY).as_millis().div_ceil(1000)).unwrap_or_default();
        let trace = env::trace_header().and_then(|header| {
            let value = MessageSystemAttributeValue::builder().data_type("String");
            let value = value.string_value(header).build().ok()?;
            Some(HashMap::from([(MessageSystemAttributeNameForSends::AwsTraceHeader, value)]))
        });
        let request = self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .set_message_system_attributes(trace)
            .set_delay_seconds(Some(delay).filter(|delay| *delay > 0));
        let mut sent = request.clone().message_group_id(group(user)).send().await;
        // Where a standard queue knows no groups.
        if sent.as_ref().is_err_and(|error| refuses_parameter(error.code())) {
            sent = request.send().await;
        }
        if let Err(error) = sent {
            warn!(error = %aws_sdk_sqs::error::DisplayErrorContext(error), "cannot send a hint");
        }
    }

    /// The same of deliveries that are pending.
    pub async fn enqueue_deliveries(&self, deliveries: Vec<Delivery>) {
        for delivery in deliveries {
            let message =
                DeliveryMessage { execution_id: delivery.execution_id, part: delivery.part };
            self.enqueue_hint(&message, &delivery.user_id, Duration::ZERO).await;
        }
    }
}

/// Whether SQS does not take what it was sent, by its code in either of its protocols.
fn refuses_parameter(code: Option<&str>) -> bool {
    code.is_some_and(|code| {
        ["InvalidParameterValue", "UnsupportedOperation"].iter().any(|it| code.contains(it))
    })
}

/// A message group id is at most 128 characters of ASCII letters, digits and punctuation
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>);
/// a user id may be anything.
fn group(user: &UserId) -> String {
    use sha2::{Digest, Sha256};

    let hash = Sha256::digest(user.as_str());
    crate::domain::digest::hex(hash.get(..16).unwrap_or_default())
}

/// Handles the messages of one batch side by side, each with the trace it came with, and reports those that failed one by one:
/// SQS then delivers only these again, and after the queue's `maxReceiveCount` moves them to its
/// dead-letter queue.
pub async fn consume<T, F>(
    event: SqsEvent,
    handle: impl Fn(T, Option<String>) -> F,
) -> SqsBatchResponse
where
    T: DeserializeOwned,
    F: Future<Output = Result<(), Error>>,
{
    let handle = &handle;
    let outcomes = event.records.into_iter().map(|mut record| async move {
        let trace = record.attributes.remove("AWSTraceHeader");
        let outcome = match serde_json::from_str(record.body.as_deref().unwrap_or_default()) {
            Ok(message) => handle(message, trace).await,
            Err(error) => Err(Error::corrupt("a message", error)),
        };
        outcome.err().map(|error| {
            failure::log(&error);
            record.message_id.unwrap_or_default()
        })
    });
    let mut response = SqsBatchResponse::default();
    response.set_failures(join_all(outcomes).await.into_iter().flatten());
    response
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
    };

    use aws_config::{BehaviorVersion, Region, SdkConfig};
    use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
    use tokio::task::spawn_blocking;

    use super::*;
    use crate::aws::connection::on_demand;

    /// What a queue is sent that answers so, one connection after another.
    async fn sent_to(answers: &'static [(u16, &'static str)]) -> Vec<String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let credentials = Credentials::new("an-id", "a-secret", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .endpoint_url(format!("http://{}", listener.local_addr().unwrap()))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(crate::aws::connection::test_client())
            .build();
        let server = thread::spawn(move || {
            let one = |(status, body): &(u16, &str)| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"}") {
                    let mut part = [0; 4_096];
                    let length = stream.read(&mut part).unwrap();
                    request.extend_from_slice(&part[..length]);
                }
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8(request).unwrap()
            };
            answers.iter().map(one).collect()
        });
        let queue = Queue::new(on_demand(&config, Client::new), "http://queue".to_owned());
        let message = LaunchMessage::of("mcp-echo-1".parse().unwrap());

        queue.enqueue_hint(&message, &"somebody".to_owned().into(), Duration::from_secs(1)).await;

        spawn_blocking(|| server.join().unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_hint_is_sent_in_no_group_where_a_queue_knows_none() {
        const OF_PARAMETER: &str =
            r#"{"__type":"com.amazonaws.sqs#InvalidParameterValue","message":"MessageGroupId"}"#;
        const OF_OPERATION: &str = r#"{"__type":"com.amazonaws.sqs#UnsupportedOperation"}"#;
        const SENT: &str = r#"{"MessageId": "1"}"#;

        for answers in [&[(400, OF_PARAMETER), (200, SENT)], &[(400, OF_OPERATION), (200, SENT)]] {
            let sent = sent_to(answers).await;
            assert!(sent[0].contains("MessageGroupId"), "{sent:?}");
            assert!(!sent[1].contains("MessageGroupId"), "{sent:?}");
            for request in &sent {
                assert!(request.contains("mcp-echo-1") && request.contains("DelaySeconds"));
            }
        }
    }

    #[tokio::test]
    async fn it_is_sent_once_where_it_is_taken_or_refused_for_another_reason() {
        for answers in [
            &[(200, r#"{"MessageId": "1"}"#)],
            &[(400, r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist"}"#)],
            &[(403, r#"{"__type":"AccessDeniedException"}"#)],
        ] {
            assert!(sent_to(answers).await[0].contains("MessageGroupId"));
        }
    }
}
