//! A receiver of callbacks, on loopback.

use aws_sdk_secretsmanager::Client;
use relay::signature::SigningSecret;
use serde_json::Value;
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

use crate::{Stack, User, eventually};

pub struct Receiver(MockServer);

impl Receiver {
    /// Answers every POST with 200.
    pub async fn start() -> Self {
        Self::answering(&[200]).await
    }

    /// Answers with these statuses in turn, and then with the last one for ever.
    pub async fn answering(statuses: &[u16]) -> Self {
        let server = MockServer::start().await;
        let (last, first) = statuses.split_last().unwrap();
        for status in first {
            let mock = Mock::given(any())
                .respond_with(ResponseTemplate::new(*status).set_body_string("not now"));
            mock.up_to_n_times(1).mount(&server).await;
        }
        Mock::given(any()).respond_with(ResponseTemplate::new(*last)).mount(&server).await;
        Self(server)
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/hook?signature=0a%2Fb", self.0.uri())
    }

    /// All requests that have come so far.
    pub async fn received(&self) -> Vec<Received> {
        let requests = self.0.received_requests().await.unwrap();
        requests.into_iter().map(Received).collect()
    }

    /// Waits for this many requests, and returns them.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        eventually(&format!("{count} callbacks"), async || {
            let received = self.received().await;
            (received.len() >= count).then_some(received)
        })
        .await
    }
}

pub struct Received(Request);

impl Received {
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.0.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    #[must_use]
    pub fn method(&self) -> &str {
        self.0.method.as_str()
    }

    #[must_use]
    pub fn path_and_query(&self) -> String {
        format!("{}?{}", self.0.url.path(), self.0.url.query().unwrap_or_default())
    }

    #[must_use]
    pub fn body(&self) -> Value {
        serde_json::from_slice(&self.0.body).unwrap()
    }

    /// Whether one of the signatures is the one that this user's first secret gives.
    pub async fn is_signed_for(&self, user: &User) -> bool {
        let secret = secret_of(&user.stack, user).await;
        let body = std::str::from_utf8(&self.0.body).unwrap();
        let timestamp = self.header("webhook-timestamp").parse().unwrap();
        let signature = secret.sign(self.header("webhook-id"), timestamp, body);
        self.header("webhook-signature").split(' ').any(|it| it == signature)
    }
}

async fn secret_of(stack: &Stack, user: &User) -> SigningSecret {
    let master = Client::new(&stack.aws)
        .get_secret_value()
        .secret_id(stack.output("WebhookSecretArn"))
        .send()
        .await
        .unwrap()
        .secret_string
        .unwrap();
    SigningSecret::derive(master.as_bytes(), &user.id.clone().into(), 0)
}
