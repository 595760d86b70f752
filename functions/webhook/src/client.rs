//! The HTTP client: one connection per POST, to exactly the address that was checked. No proxy,
//! no redirect, no pool.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request,
    body::{Body, Bytes, Incoming},
    client::conn::http1,
    header::{self, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use relay::{callback::Callback, network::CallbackAllow};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;
use url::Url;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WHOLE_TIMEOUT: Duration = Duration::from_secs(15);

/// How much of an answer is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

const USER_AGENT: &str = concat!("agent-relay/", env!("CARGO_PKG_VERSION"));

/// One attempt.
pub(crate) struct Post<'a> {
    pub(crate) callback: &'a Callback,
    pub(crate) webhook_id: &'a str,
    pub(crate) timestamp: i64,
    pub(crate) signature: String,
    pub(crate) body: String,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) retry_after: Option<String>,
    pub(crate) body_start: String,
}

/// Why there was no answer. The receiver may have the request only where it says so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("the host has no address that a callback may go to")]
    Forbidden,
    #[error("the host name cannot be resolved")]
    Unresolved,
    #[error("cannot connect")]
    Unconnected,
    #[error("the certificate or the TLS handshake is not accepted")]
    Tls,
    /// It may have arrived.
    #[error("no answer in time")]
    TimedOut,
    /// It may have arrived.
    #[error("the connection broke")]
    Broken,
    #[error("the callback cannot be written as a request")]
    Unwritable,
}

pub(crate) struct Client {
    allow: CallbackAllow,
    tls: TlsConnector,
    whole_timeout: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Client")
    }
}

impl Client {
    pub(crate) fn new(allow: CallbackAllow) -> Result<Self, rustls::Error> {
        Self::trusting(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(), allow)
    }

    fn trusting(roots: RootCertStore, allow: CallbackAllow) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self { allow, tls, whole_timeout: WHOLE_TIMEOUT })
    }

    /// Sends one POST and reads the start of its answer, all within 15 s.
    pub(crate) async fn post(&self, post: Post<'_>) -> Result<Answer, Unanswered> {
        let deadline = Instant::now() + self.whole_timeout;
        let url = post.callback.url.url();
        let host = url.host_str().ok_or(Unanswered::Unwritable)?;
        let request = request(&post, url)?;
        // Only `exchange` sends the request: what goes wrong before it has not arrived.
        let stream = timeout_at(deadline, self.connect(url, host))
            .await
            .map_err(|_| Unanswered::Unconnected)??;
        if url.scheme() == "https" {
            // A literal IPv6 address stands in brackets in a URL, and without them here.
            let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let name = ServerName::try_from(name).map_err(|_| Unanswered::Tls)?;
            let stream = timeout_at(deadline, self.tls.connect(name, stream))
                .await
                .map_err(|_| Unanswered::Tls)?
                .map_err(|_| Unanswered::Tls)?;
            exchange(stream, request, deadline).await
        } else {
            exchange(stream, request, deadline).await
        }
    }

    /// Connects to the first address of the host that a callback may go to.
    async fn connect(&self, url: &Url, host: &str) -> Result<TcpStream, Unanswered> {
        let port = url.port_or_known_default().ok_or(Unanswered::Unwritable)?;
        let addresses: Vec<SocketAddr> = match url.host() {
            Some(url::Host::Ipv4(address)) => vec![(address, port).into()],
            Some(url::Host::Ipv6(address)) => vec![(address, port).into()],
            Some(url::Host::Domain(name)) => timeout(CONNECT_TIMEOUT, lookup_host((name, port)))
                .await
                .map_err(|_| Unanswered::Unresolved)?
                .map_err(|_| Unanswered::Unresolved)?
                .collect(),
            None => return Err(Unanswered::Unwritable),
        };
        let allowed =
            addresses.into_iter().filter(|address| self.allow.may_connect(host, address.ip()));
        let mut refusal = Unanswered::Forbidden;
        for address in allowed {
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(_)) | Err(_) => refusal = Unanswered::Unconnected,
            }
        }
        Err(refusal)
    }
}

fn request(post: &Post<'_>, url: &Url) -> Result<Request<Full<Bytes>>, Unanswered> {
    // Path and query byte for byte: a resume URL is signed.
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let mut headers = HeaderMap::new();
    for (name, value) in &post.callback.headers {
        let name = HeaderName::try_from(name).map_err(|_| Unanswered::Unwritable)?;
        let mut value = HeaderValue::try_from(value).map_err(|_| Unanswered::Unwritable)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let own = [
        (header::HOST, authority),
        (header::CONTENT_TYPE, "application/json"),
        (header::CONNECTION, "close"),
        (HeaderName::from_static("webhook-id"), post.webhook_id),
        (HeaderName::from_static("webhook-timestamp"), &post.timestamp.to_string()),
        (HeaderName::from_static("webhook-signature"), &post.signature),
    ];
    for (name, value) in own {
        headers.insert(name, HeaderValue::try_from(value).map_err(|_| Unanswered::Unwritable)?);
    }
    headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT));

    let mut request = Request::new(Full::new(Bytes::from(post.body.clone())));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.parse().map_err(|_| Unanswered::Unwritable)?;
    *request.headers_mut() = headers;
    Ok(request)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
    deadline: Instant,
) -> Result<Answer, Unanswered> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|_| Unanswered::Broken)?;
    let talk = async {
        let response = timeout_at(deadline, sender.send_request(request))
            .await
            .map_err(|_| Unanswered::TimedOut)?
            .map_err(|_| Unanswered::Broken)?;
        let text = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        Ok(Answer {
            status: response.status().as_u16(),
            content_type: text(header::CONTENT_TYPE),
            retry_after: text(header::RETRY_AFTER),
            body_start: start_of(response.into_body(), deadline).await,
        })
    };
    // The connection does the reading and writing while `talk` waits. It may end first, with the
    // whole answer already read.
    let mut talk = std::pin::pin!(talk);
    tokio::select! {
        answer = &mut talk => answer,
        _ = connection => talk.await,
    }
}

/// The first 64 KB. A body that breaks off, or does not end in time, has still answered: a success
/// that is sent again would resume a workflow twice.
async fn start_of(mut body: Incoming, deadline: Instant) -> String {
    let mut start = Vec::new();
    while start.len() < MAX_ANSWER && !body.is_end_stream() {
        let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await else {
            break;
        };
        if let Ok(data) = frame.into_data() {
            start.extend_from_slice(data.get(..MAX_ANSWER - start.len()).unwrap_or(&data));
        }
    }
    String::from_utf8_lossy(&start).into_owned()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::{ServerConfig, pki_types::PrivateKeyDer};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinHandle,
    };
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// Serves one connection over TLS with this answer; gives back what it was asked.
    async fn serve(
        key: &CertifiedKey<rcgen::KeyPair>,
        answer: &'static str,
    ) -> (u16, JoinHandle<String>) {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], private)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return String::new();
            };
            let mut asked = Vec::new();
            while !asked.ends_with(b"{}") {
                let mut buffer = [0; 1024];
                let read = stream.read(&mut buffer).await.unwrap();
                asked.extend_from_slice(&buffer[..read]);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            String::from_utf8(asked).unwrap()
        });
        (port, served)
    }

    async fn post(client: &Client, url: &str) -> Result<Answer, Unanswered> {
        let callback =
            serde_json::from_value(serde_json::json!({"url": url, "headers": {"x-own": "a b"}}));
        client
            .post(Post {
                callback: &callback.unwrap(),
                webhook_id: "msg_1",
                timestamp: 7,
                signature: "v1,abc".to_owned(),
                body: "{}".to_owned(),
            })
            .await
    }

    #[tokio::test]
    async fn a_post_over_tls_is_answered_and_carries_path_query_and_headers() {
        let key = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(key.cert.der().clone()).unwrap();
        let client = Client::trusting(roots, "localhost".parse().unwrap()).unwrap();
        let (port, served) = serve(
            &key,
            "HTTP/1.1 201 Created\r\ncontent-type: text/plain\r\nretry-after: 7\r\ncontent-length: 4\r\n\r\ndone",
        )
        .await;

        let answer =
            post(&client, &format!("https://localhost:{port}/a%2Fb?c=%20d")).await.unwrap();

        assert_eq!((answer.status, answer.body_start.as_str()), (201, "done"));
        assert_eq!(answer.content_type.as_deref(), Some("text/plain"));
        assert_eq!(answer.retry_after.as_deref(), Some("7"));
        let asked = served.await.unwrap();
        assert!(asked.starts_with("POST /a%2Fb?c=%20d HTTP/1.1\r\n"), "{asked}");
        for line in [
            &format!("host: localhost:{port}"),
            "content-type: application/json",
            "webhook-id: msg_1",
            "webhook-timestamp: 7",
            "webhook-signature: v1,abc",
            "x-own: a b",
            "content-length: 2",
        ] {
            assert!(asked.contains(&format!("{line}\r\n")), "{line} in {asked}");
        }
    }

    #[tokio::test]
    async fn a_certificate_that_nobody_trusts_ends_the_attempt() {
        let key = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let client = Client::new("localhost".parse().unwrap()).unwrap();
        let (port, _served) = serve(&key, "").await;

        let answer = post(&client, &format!("https://localhost:{port}/")).await;

        assert!(matches!(answer, Err(Unanswered::Tls)), "{answer:?}");
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_a_forbidden_address_is_not_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // Accepted as text, as a public name is whose record has changed since.
        let client = Client::new(CallbackAllow::default()).unwrap();

        for host in ["localhost", "127.0.0.1", "[::1]"] {
            let answer = post(&client, &format!("http://{host}:{port}/")).await;
            assert!(matches!(answer, Err(Unanswered::Forbidden)), "{host}: {answer:?}");
        }
    }

    #[tokio::test]
    async fn an_endless_answer_is_read_in_part() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 2048];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        });
        let client = Client::new("127.0.0.1".parse().unwrap()).unwrap();

        let answer = post(&client, &format!("http://127.0.0.1:{port}/")).await.unwrap();

        assert_eq!((answer.status, answer.body_start.len()), (200, MAX_ANSWER));
    }

    /// Takes one connection, says this when something has come, and goes away after a while.
    async fn half_a_server(says: &'static str, after: Duration) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 2048];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(says.as_bytes()).await;
            tokio::time::sleep(after).await;
        });
        port
    }

    #[tokio::test]
    async fn what_goes_wrong_is_told_apart_by_whether_the_request_may_have_arrived() {
        let mut client = Client::new("127.0.0.1,localhost".parse().unwrap()).unwrap();
        client.whole_timeout = Duration::from_millis(300);
        let at = async |scheme: &str, says, after| {
            let port = half_a_server(says, after).await;
            let url = format!("{scheme}://127.0.0.1:{port}/");
            timeout(Duration::from_secs(5), post(&client, &url)).await.unwrap()
        };
        let (now, late) = (Duration::ZERO, Duration::from_mins(1));

        // No resolver has to be asked about that.
        let unresolved = post(&client, "https://a..b/").await;
        assert!(matches!(unresolved, Err(Unanswered::Unresolved)), "{unresolved:?}");
        // Nothing listens there.
        let refused = post(&client, "http://127.0.0.1:1/").await;
        assert!(matches!(refused, Err(Unanswered::Unconnected)), "{refused:?}");
        for after in [now, late] {
            let no_tls = at("https", "", after).await;
            assert!(matches!(no_tls, Err(Unanswered::Tls)), "{no_tls:?}");
        }
        for says in ["", "HTTP/1.1 200 O", "SSH-2.0-OpenSSH_9.9\r\n"] {
            let broken = at("http", says, now).await;
            assert!(matches!(broken, Err(Unanswered::Broken)), "{says:?}: {broken:?}");
        }
        for says in ["", "HTTP/1.1 200 O"] {
            let silent = at("http", says, late).await;
            assert!(matches!(silent, Err(Unanswered::TimedOut)), "{says:?}: {silent:?}");
        }
        // An answer has come, although its body breaks off or does not end.
        for after in [now, late] {
            let cut = at("http", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", after).await;
            let cut = cut.unwrap();
            assert_eq!((cut.status, cut.body_start.as_str()), (200, "half"));
        }
    }

    #[test]
    fn every_good_url_can_be_asked_for_byte_for_byte() {
        for text in include_str!("../../../shared/src/callback/good_urls.txt").lines() {
            if text.starts_with('#') {
                continue;
            }
            let value = serde_json::json!({"url": text});
            let callback: Callback = serde_json::from_value(value).unwrap();
            let post = Post {
                callback: &callback,
                webhook_id: "msg_1",
                timestamp: 7,
                signature: String::new(),
                body: String::new(),
            };
            let request = request(&post, callback.url.url()).unwrap();

            let host = request.headers()["host"].to_str().unwrap();
            assert_eq!(format!("https://{host}{}", request.uri()), text);
        }
    }
}
