//! What stands in for AWS, and for the receiver of callbacks: the same answers always, after the
//! same time always, counted.

use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    runtime::Handle,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    content::Content,
    server::{self, Server},
};

/// What it has seen, in all or in a while.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// By operation.
    pub(crate) calls: BTreeMap<String, u64>,
    pub(crate) connections: u64,
    /// In either direction, with all that HTTP and TLS add.
    pub(crate) bytes: u64,
    /// While at least one answer was owed.
    pub(crate) busy: Duration,
    owed: u32,
    since: Option<Instant>,
}

/// The services of AWS, by the names in their variables.
pub(crate) const SERVICES: [&str; 6] =
    ["CLOUDWATCH", "DYNAMODB", "EVENTBRIDGE", "SECRETS_MANAGER", "SFN", "SQS"];

pub(crate) struct StandIn {
    /// They have no connections in common.
    pub(crate) hosts: BTreeMap<&'static str, Server>,
    pub(crate) is_tls: bool,
    shared: Arc<Shared>,
}

struct Shared {
    content: Content,
    latency: Duration,
    seen: Mutex<Seen>,
}

impl StandIn {
    /// On the thread of `handle`.
    pub(crate) fn start(
        handle: &Handle,
        hosts: &[&'static str],
        content: Content,
        latency: Duration,
        tls: Option<&TlsAcceptor>,
    ) -> Self {
        let shared = Arc::new(Shared { content, latency, seen: Mutex::default() });
        let is_tls = tls.is_some();
        let host = |name: &&'static str| {
            let (shared, tls) = (Arc::clone(&shared), tls.cloned());
            let serve = move |stream| serve(stream, Arc::clone(&shared), tls.clone());
            (*name, Server::start(handle, serve))
        };
        Self { hosts: hosts.iter().map(host).collect(), is_tls, shared }
    }

    /// What it has seen since this was asked before.
    pub(crate) fn take_seen(&self) -> Seen {
        std::mem::take(&mut self.shared.seen())
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>, tls: Option<TlsAcceptor>) {
    shared.seen().connections += 1;
    let stream = Counted { stream, shared: Arc::clone(&shared) };
    let answer = move |request| {
        let shared = Arc::clone(&shared);
        async move { shared.answer(request).await }
    };
    match tls {
        None => server::serve(stream, answer).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                server::serve(stream, answer).await;
            }
        }
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let began = Instant::now();
        let operation = operation(&request);
        {
            let mut seen = self.seen();
            seen.owed += 1;
            seen.since.get_or_insert(began);
        }
        let body = request.into_body().collect().await.unwrap_or_default().to_bytes();
        let response = self.content.answer(&operation, &body);
        if !self.latency.is_zero() {
            tokio::time::sleep_until((began + self.latency).into()).await;
        }
        let mut seen = self.seen();
        *seen.calls.entry(operation).or_default() += 1;
        seen.owed -= 1;
        if seen.owed == 0
            && let Some(since) = seen.since.take()
        {
            seen.busy += since.elapsed();
        }
        response
    }
}

/// The operation's name: of a service with JSON in a header, of one with CBOR in the path, and of
/// whatever else is asked for its method.
fn operation(request: &Request<Incoming>) -> String {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
    let name = target
        .and_then(|target| target.rsplit('.').next())
        .or_else(|| request.uri().path().split_once("/operation/").map(|(_, name)| name));
    name.unwrap_or(request.method().as_str()).to_owned()
}

/// A connection whose bytes are counted.
struct Counted {
    stream: TcpStream,
    shared: Arc<Shared>,
}

impl Counted {
    fn count(&self, bytes: usize) {
        self.shared.seen().bytes += bytes as u64;
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.count(buffer.filled().len() - before);
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            self.count(*count);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(count)) = &written {
            self.count(*count);
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
