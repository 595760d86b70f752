//! A receiver of callbacks, on loopback.

use std::{
    mem::ManuallyDrop,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use relay::domain::signature::{Signer, SigningSecret};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy, copy_bidirectional, sink},
    net::{TcpListener, TcpSocket, TcpStream},
};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

use crate::{Stack, User, eventually};

pub struct Receiver {
    /// Never dropped: that would block its thread until a lock is free, which another future of the same
    /// thread may be about to take.
    server: ManuallyDrop<MockServer>,
    /// Where it is reached.
    address: SocketAddr,
}

/// What happens to the first request on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    Request,
    /// The receiver has it, and nobody hears of that.
    Answer,
}

impl Receiver {
    /// Answers every POST with 200.
    pub async fn start() -> Self {
        Self::answering(&[200]).await
    }

    /// Answers with these statuses in turn, and then with the last one for ever.
    pub async fn answering(statuses: &[u16]) -> Self {
        let answer = |status: &u16| ResponseTemplate::new(*status).set_body_string("not now");
        Self::giving(&statuses.iter().map(answer).collect::<Vec<_>>()).await
    }

    /// Gives these answers in turn, and then the last one for ever.
    pub async fn giving(answers: &[ResponseTemplate]) -> Self {
        // None of the pool, whose servers would run out.
        Self::on(MockServer::builder().start().await, answers).await
    }

    /// Refuses each request, with what this makes of its body.
    pub async fn refusing(answer: impl Fn(&Value) -> String + Send + Sync + 'static) -> Self {
        let server = MockServer::builder().start().await;
        let refusal = move |request: &Request| {
            let body = serde_json::from_slice(&request.body).unwrap();
            ResponseTemplate::new(400).set_body_string(answer(&body))
        };
        Mock::given(any()).respond_with(refusal).mount(&server).await;
        let address = *server.address();
        Self { server: ManuallyDrop::new(server), address }
    }

    async fn on(server: MockServer, answers: &[ResponseTemplate]) -> Self {
        let (last, first) = answers.split_last().unwrap();
        for answer in first {
            let mock = Mock::given(any()).respond_with(answer.clone());
            mock.up_to_n_times(1).mount(&server).await;
        }
        Mock::given(any()).respond_with(last.clone()).mount(&server).await;
        let address = *server.address();
        Self { server: ManuallyDrop::new(server), address }
    }

    /// Gives these answers, and is reached by a line that loses the first request, or its answer.
    pub async fn losing(loss: Loss, answers: &[ResponseTemplate]) -> Self {
        let receiver = Self::giving(answers).await;
        let (listener, server) =
            (TcpListener::bind("127.0.0.1:0").await.unwrap(), receiver.address);
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut first, _) = listener.accept().await.unwrap();
            if loss == Loss::Answer {
                let mut server = TcpStream::connect(server).await.unwrap();
                let (mut answer, mut request) = server.split();
                let ((mut asked, _), mut nobody) = (first.split(), sink());
                tokio::select! {
                    done = copy(&mut asked, &mut request) => done.unwrap(),
                    done = copy(&mut answer, &mut nobody) => done.unwrap(),
                };
            }
            drop(first);
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut server = TcpStream::connect(server).await.unwrap();
                copy_bidirectional(&mut client, &mut server).await.unwrap();
            }
        });
        Self { address, ..receiver }
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook?signature=0a%2Fb", self.address)
    }

    /// As the URL on which a waiting workflow of n8n resumes.
    #[must_use]
    pub fn resume_url(&self) -> String {
        format!("http://{}/webhook-waiting/1?signature={}", self.address, "0a".repeat(32))
    }

    /// All requests that have come so far.
    pub async fn received(&self) -> Vec<Received> {
        let requests = self.server.received_requests().await.unwrap();
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

/// A receiver that is down: its address is taken, and nothing listens there.
pub struct Down(TcpSocket);

impl Down {
    #[must_use]
    pub fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self(socket)
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.0.local_addr().unwrap())
    }

    /// From now on it answers every POST with 200.
    pub async fn up(self) -> Receiver {
        let listener = self.0.listen(64).unwrap().into_std().unwrap();
        let server = MockServer::builder().listener(listener).start().await;
        Receiver::on(server, &[ResponseTemplate::new(200)]).await
    }
}

/// A receiver whose answers are bytes, as no HTTP server would write them.
pub struct Raw {
    address: SocketAddr,
    received: Arc<AtomicUsize>,
}

impl Raw {
    /// Writes these answers in turn, and then the last one for ever, each to a request that it has
    /// read to its end. Then it closes the connection, or resets it.
    pub async fn writing(answers: Vec<Vec<u8>>, resets: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(AtomicUsize::default());
        let counted = received.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = BufReader::new(stream);
                read_request(&mut stream).await;
                let before = counted.fetch_add(1, Ordering::Relaxed);
                let answer = answers.get(before).or(answers.last()).unwrap();
                stream.write_all(answer).await.unwrap();
                if resets {
                    stream.get_ref().set_zero_linger().unwrap();
                }
            }
        });
        Self { address, received }
    }

    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many requests have come so far.
    #[must_use]
    pub fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }
}

async fn read_request(stream: &mut BufReader<TcpStream>) {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    stream.read_exact(&mut vec![0; length]).await.unwrap();
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

    /// The body as it came.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.0.body).unwrap()
    }

    #[must_use]
    pub fn body(&self) -> Value {
        serde_json::from_str(self.text()).unwrap()
    }

    /// Whether one of the signatures is the one that this user's first secret gives.
    pub async fn is_signed_for(&self, user: &User) -> bool {
        self.is_signed_with(&secret_of(&user.stack, user).await.whsec())
    }

    /// Whether one of the signatures is by this secret, `whsec_…`, as Standard Webhooks has it.
    #[must_use]
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let (id, at) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        let signed = format!("{id}.{at}.{}", self.text());
        self.header("webhook-signature").split(' ').any(|signature| {
            let signature = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
            hmac::verify(&key, signed.as_bytes(), &signature).is_ok()
        })
    }
}

async fn secret_of(stack: &Stack, user: &User) -> SigningSecret {
    let master = stack.master_secret().await;
    SigningSecret::derive(master.as_bytes(), &Signer::User(user.id.clone().into()), 0)
}
