//! The HTTP client: one connection per POST, to exactly the address that was checked. No proxy,
//! no redirect, no pool.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT},
};
use relay::domain::{callback::Callback, network::CallbackAllow};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, lookup_host},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;
use url::Url;

use crate::answer::{self, Answer, Unanswered};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WHOLE_TIMEOUT: Duration = Duration::from_secs(15);

const OWN_USER_AGENT: &str = concat!("agent-relay/", env!("CARGO_PKG_VERSION"));

/// One attempt.
pub(crate) struct Post<'a> {
    pub(crate) callback: &'a Callback,
    pub(crate) webhook_id: &'a str,
    pub(crate) timestamp: i64,
    pub(crate) signature: String,
    pub(crate) body: String,
    /// Through which stacks this has come, ours the last (RFC 8586).
    pub(crate) cdn_loop: String,
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
            exchange(stream, &request, deadline).await
        } else {
            exchange(stream, &request, deadline).await
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

/// The request as it is sent.
fn request(post: &Post<'_>, url: &Url) -> Result<Vec<u8>, Unanswered> {
    // Path and query byte for byte: a resume URL is signed.
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Unanswered::Unwritable);
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &post.callback.headers {
        let name = HeaderName::try_from(name).map_err(|_| Unanswered::Unwritable)?;
        headers.insert(name, HeaderValue::try_from(value).map_err(|_| Unanswered::Unwritable)?);
    }
    let own = [
        (HOST, authority),
        (CONTENT_TYPE, "application/json"),
        (CONTENT_LENGTH, &post.body.len().to_string()),
        (CONNECTION, "close"),
        (HeaderName::from_static("cdn-loop"), &post.cdn_loop),
        (HeaderName::from_static("webhook-id"), post.webhook_id),
        (HeaderName::from_static("webhook-timestamp"), &post.timestamp.to_string()),
        (HeaderName::from_static("webhook-signature"), &post.signature),
    ];
    for (name, value) in own {
        headers.insert(name, HeaderValue::try_from(value).map_err(|_| Unanswered::Unwritable)?);
    }
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(OWN_USER_AGENT));

    let mut request = format!("POST {target} HTTP/1.1\r\n").into_bytes();
    for (name, value) in &headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            request.extend_from_slice(part);
        }
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(post.body.as_bytes());
    Ok(request)
}

/// Sends the request, and reads the answer while it does: a receiver may refuse what it has read
/// in part, and close the connection.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite,
    request: &[u8],
    deadline: Instant,
) -> Result<Answer, Unanswered> {
    let (reading, mut writing) = tokio::io::split(stream);
    let mut answer = std::pin::pin!(answer::read(reading, deadline));
    let send = async {
        writing.write_all(request).await?;
        writing.flush().await
    };
    tokio::select! {
        answer = &mut answer => answer,
        // What cannot be sent any more may have been answered before.
        _ = send => answer.await,
    }
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
                cdn_loop: "agent-relay-0".to_owned(),
            })
            .await
    }

    #[tokio::test]
    async fn a_post_over_tls_is_answered_and_carries_path_query_and_headers() {
        let key = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(key.cert.der().clone()).unwrap();
        let client = Client::trusting(roots, "localhost,127.0.0.1".parse().unwrap()).unwrap();
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
            "cdn-loop: agent-relay-0",
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
        let client = Client::new("localhost,127.0.0.1".parse().unwrap()).unwrap();
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
        // Nor is one that the operator has named, whose record leads to this very host.
        let named = Client::new("localhost,10.0.0.0/8".parse().unwrap()).unwrap();
        let answer = post(&named, &format!("http://localhost:{port}/")).await;
        assert!(matches!(answer, Err(Unanswered::Forbidden)), "{answer:?}");
    }

    /// What a receiver does once it has written its answer.
    #[derive(Debug, Clone, Copy)]
    enum Then {
        Closes,
        Resets,
        /// And neither says nor closes anything.
        Holds,
        /// And writes this until it cannot.
        Repeats(&'static [u8]),
    }

    /// Answers one POST with these bytes.
    async fn receiver(says: Vec<u8>, then: Then) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"{}") {
                stream.read_buf(&mut asked).await.unwrap();
            }
            let _ = stream.write_all(&says).await;
            match then {
                Then::Closes => {}
                Then::Resets => stream.set_zero_linger().unwrap(),
                Then::Holds => drop(stream.read_buf(&mut asked).await),
                Then::Repeats(bytes) => while stream.write_all(bytes).await.is_ok() {},
            }
        });
        port
    }

    /// The answer of that receiver, if it is one within a second.
    async fn answered(says: impl Into<Vec<u8>>, then: Then) -> Result<Answer, Unanswered> {
        answered_within(Duration::from_secs(1), says, then).await
    }

    async fn answered_within(
        most: Duration,
        says: impl Into<Vec<u8>>,
        then: Then,
    ) -> Result<Answer, Unanswered> {
        let mut client = Client::new("127.0.0.1".parse().unwrap()).unwrap();
        client.whole_timeout = most;
        let port = receiver(says.into(), then).await;
        let url = format!("http://127.0.0.1:{port}/");
        timeout(most + Duration::from_secs(10), post(&client, &url)).await.unwrap()
    }

    /// A 200 with these lines for headers, and then `ok`.
    fn with_headers(lines: &str) -> String {
        format!("HTTP/1.1 200 OK\r\n{lines}\r\nok")
    }

    #[tokio::test]
    async fn once_a_status_line_is_read_the_status_is_the_answer_whatever_follows() {
        use Then::{Closes, Holds, Repeats, Resets};
        let many =
            |count| with_headers(&format!("{}content-length: 2\r\n", "x-h: v\r\n".repeat(count)));
        let chunked =
            |body: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        let cases: Vec<(String, Then, &str)> = vec![
            // Headers that are many, or none.
            (many(100), Holds, "ok"),
            (many(101), Holds, "ok"),
            (many(1_000), Holds, "ok"),
            (many(1_000_000), Closes, ""),
            (
                with_headers("server: x\r\nPHP Warning: Unable to load x\r\ncontent-length: 2\r\n"),
                Holds,
                "ok",
            ),
            (with_headers("<br />\r\n<b>Notice</b>\r\ncontent-length: 2\r\n"), Holds, "ok"),
            (with_headers("no colon at all\r\ncontent-length: 2\r\n"), Holds, "ok"),
            (with_headers(": no name\r\ncontent-length: 2\r\n"), Holds, "ok"),
            (with_headers("content-length : 2\r\n"), Holds, "ok"),
            (with_headers("content-length\t:\t2\t\r\n"), Holds, "ok"),
            (with_headers("x-folded: a\r\n b\r\n\tc\r\ncontent-length: 2\r\n"), Holds, "ok"),
            (with_headers("content-length:\r\n 2\r\n"), Holds, "ok"),
            (with_headers(" folded onto nothing\r\ncontent-length: 2\r\n"), Holds, "ok"),
            (with_headers("x-é(): \u{0} \u{7f}\r\ncontent-length: 2\r\n"), Holds, "ok"),
            (with_headers(&format!("x-long: {}\r\n", "v".repeat(100_000))), Closes, "ok"),
            (with_headers(&format!("x-long: {}\r\n", "v".repeat(50_000_000))), Closes, ""),
            ("HTTP/1.1 200 OK\ncontent-length: 2\n\nok".to_owned(), Holds, "ok"),
            // Lengths that are none.
            (with_headers("content-length: 2\r\ncontent-length: 2\r\n"), Holds, "ok"),
            (with_headers("content-length: 2, 2\r\n"), Holds, "ok"),
            (with_headers("content-length: 1\r\ncontent-length: 9\r\n"), Closes, "ok"),
            (with_headers("content-length: 2\r\ncontent-length: 9\r\n"), Holds, "ok"),
            (with_headers("content-length: 1\r\n"), Holds, "o"),
            (with_headers("content-length: 9\r\n"), Closes, "ok"),
            (with_headers("content-length: 9\r\n"), Holds, "ok"),
            (with_headers("content-length: 9\r\n"), Resets, "ok"),
            (with_headers("content-length: -1\r\n"), Closes, "ok"),
            (with_headers("content-length: two\r\n"), Closes, "ok"),
            (with_headers("content-length:\r\n"), Closes, "ok"),
            (with_headers("content-length: 99999999999999999999999999\r\n"), Closes, "ok"),
            (with_headers("content-length: 2\r\ntransfer-encoding: gzip\r\n"), Closes, "ok"),
            (with_headers(""), Closes, "ok"),
            (with_headers(""), Holds, "ok"),
            // Chunks that are none.
            (chunked("2\r\nok\r\n0\r\n\r\n"), Holds, "ok"),
            (chunked("1;a=b\r\no\r\n01 \r\nk\r\n000\r\nx-trailer: y\r\n\r\n"), Holds, "ok"),
            (chunked("2\nok\n0\n\n"), Holds, "ok"),
            (chunked("2\r\nok\r\n"), Closes, "ok"),
            (chunked("2\r\nok\r\n"), Holds, "ok"),
            (chunked("9\r\nok"), Closes, "ok"),
            (chunked("2\r\nok\r\nnonsense\r\n"), Holds, "ok"),
            (chunked("2\r\nok\r\nbroken\r\nxxxxxxxxxxx"), Holds, "ok"),
            (chunked("2\r\nok\r\n+1\r\nx\r\n"), Holds, "ok"),
            (chunked("2\r\nok\r\n\r\n1\r\nx\r\n"), Holds, "ok"),
            (chunked("2\r\nok too long\r\n0\r\n\r\n"), Holds, "ok"),
            (chunked("ffffffffffffffff\r\nok"), Closes, "ok"),
            (chunked("fffffffffffffffff\r\nok"), Closes, ""),
            (chunked("{\"is\": \"no chunk\"}"), Closes, "{\"is\": \"no chunk\"}"),
            (chunked(""), Closes, ""),
            // Heads that do not end.
            ("HTTP/1.1 200 OK\r\n".to_owned(), Closes, ""),
            ("HTTP/1.1 200 OK\r\n".to_owned(), Holds, ""),
            ("HTTP/1.1 200 OK\r\n".to_owned(), Resets, ""),
            ("HTTP/1.1 200 OK\r\nserver: x\r\n".to_owned(), Closes, ""),
            ("HTTP/1.1 200 OK\r\nserver: x\r\nserv".to_owned(), Holds, ""),
            ("HTTP/1.1 200 OK\r\n{\"body\": \"without a blank line\"}".to_owned(), Closes, ""),
            ("HTTP/1.1 200 OK\r\n".to_owned(), Repeats(b"x"), ""),
            ("HTTP/1.1 200 OK\r\n".to_owned(), Repeats(b"x: y\r\n"), ""),
            // Status lines as they are written, and what stands before them.
            ("HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok".to_owned(), Holds, "ok"),
            ("HTTP/1.0 200 OK\r\n\r\nok".to_owned(), Closes, "ok"),
            ("HTTP/2 200 \r\n\r\nok".to_owned(), Closes, "ok"),
            ("HTTP/1.1  200  Très bien\r\n\r\nok".to_owned(), Closes, "ok"),
            ("\r\n\r\nHTTP/1.1 200 OK\r\n\r\nok".to_owned(), Closes, "ok"),
            (format!("HTTP/1.1 200 {}\r\n\r\nok", "O".repeat(100_000)), Closes, "ok"),
            ("HTTP/1.1 200 O".to_owned(), Repeats(b"OOOOOOOOOOOOOOOO"), ""),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nok".to_owned(), Closes, "ok"),
            ("HTTP/1.1 100 Continue\r\nHTTP/1.1 200 OK\r\n\r\nok".to_owned(), Closes, "ok"),
            (
                format!(
                    "{}HTTP/1.1 200 OK\r\n\r\nok",
                    "HTTP/1.1 103 Early\r\nlink: x\r\n\r\n".repeat(99)
                ),
                Closes,
                "ok",
            ),
        ];
        let cases = cases.into_iter().map(async |(says, then, body)| {
            let shown: String = says.chars().take(120).collect();
            let answer = answered(says, then).await;
            let answer = answer.unwrap_or_else(|error| panic!("{shown:?} {then:?}: {error}"));
            assert_eq!(
                (answer.status, answer.body_start.as_str()),
                (200, body),
                "{shown:?} {then:?}"
            );
        });
        futures_util::future::join_all(cases).await;
    }

    #[tokio::test]
    async fn without_a_status_line_there_is_no_answer_and_it_may_have_arrived() {
        use Then::{Closes, Holds, Repeats, Resets};
        let cases: Vec<(&str, Then, Unanswered)> = vec![
            ("", Closes, Unanswered::Broken),
            ("", Resets, Unanswered::Broken),
            ("", Holds, Unanswered::TimedOut),
            ("HTTP/1.1 20", Closes, Unanswered::Broken),
            ("HTTP/1.1 20", Resets, Unanswered::Broken),
            ("HTTP/1.1 20", Holds, Unanswered::TimedOut),
            ("HTTP/1.1 20\r\n", Holds, Unanswered::Broken),
            ("HTTP/1.1 2000 OK\r\n", Holds, Unanswered::Broken),
            ("HTTP/1.1 099 OK\r\n", Holds, Unanswered::Broken),
            ("HTTP/1.1 two hundred\r\n", Holds, Unanswered::Broken),
            ("<html>HTTP/1.1 200 OK\r\n", Holds, Unanswered::Broken),
            ("SSH-2.0-OpenSSH_9.9\r\n", Holds, Unanswered::Broken),
            ("", Repeats(b"\r\n"), Unanswered::Broken),
            ("", Repeats(b"no line "), Unanswered::Broken),
            ("HTTP/1.1 100 Continue\r\n", Closes, Unanswered::Broken),
            ("HTTP/1.1 100 Continue\r\n\r\n", Holds, Unanswered::TimedOut),
            ("", Repeats(b"HTTP/1.1 100 Continue\r\n\r\n"), Unanswered::Broken),
        ];
        let cases = cases.into_iter().map(async |(says, then, expected)| {
            // What comes to an end by itself has time for it, however busy the machine is.
            let seconds = if matches!(expected, Unanswered::TimedOut) { 1 } else { 60 };
            let most = Duration::from_secs(seconds);
            let error = answered_within(most, says, then).await.unwrap_err();
            assert_eq!(error.to_string(), expected.to_string(), "{says:?} {then:?}");
        });
        futures_util::future::join_all(cases).await;
    }

    #[tokio::test]
    async fn the_meaning_of_odd_headers_is_read_and_a_head_without_end_is_told() {
        let odd = "HTTP/1.1 503 Busy\nPHP Warning: x\nRETRY-AFTER :\n 7\nretry-after: 9\n\
                   Content-Type: text/html;\r\n\tcharset=é\r\nlocation: /x/\n\nlater";

        let answer = answered(odd, Then::Closes).await.unwrap();

        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            answer,
            Answer {
                status: 503,
                content_type: text("text/html;\tcharset=é"),
                retry_after: text("7"),
                location: text("/x/"),
                has_whole_head: true,
                body_start: "later".to_owned(),
            }
        );
        let cut = answered("HTTP/1.1 503 Busy\r\nretry-after: 7\r\nserv", Then::Closes).await;
        let retry_after = text("7");
        assert_eq!(cut.unwrap(), Answer { status: 503, retry_after, ..Answer::default() });
    }

    #[tokio::test]
    async fn an_answer_without_a_body_is_not_waited_for() {
        for status in [101, 204, 304] {
            let says = format!("HTTP/1.1 {status} x\r\nserver: x\r\n\r\n");
            let asked = Instant::now();
            let answer = answered(says, Then::Holds).await.unwrap();
            assert_eq!((answer.status, answer.body_start.as_str()), (status, ""));
            assert!(asked.elapsed() < Duration::from_millis(900), "{status}");
        }
    }

    #[tokio::test]
    async fn an_endless_answer_is_read_in_part() {
        for (head, repeats) in [
            ("\r\n", &b"xxxxxxxx"[..]),
            ("content-length: 99999999999\r\n\r\n", b"xxxxxxxx"),
            ("transfer-encoding: chunked\r\n\r\n", b"8\r\nxxxxxxxx\r\n"),
            ("transfer-encoding: chunked\r\n\r\n1000000000\r\n", b"xxxxxxxx"),
        ] {
            let says = format!("HTTP/1.1 200 OK\r\n{head}");
            let answer = answered(says, Then::Repeats(repeats)).await.unwrap();
            assert_eq!((answer.status, answer.body_start.len()), (200, answer::MAX_BODY), "{head}");
        }
        // A chunk of one byte with a long extension takes what is read besides the body.
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let extension = b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n";
        let answer = answered(head, Then::Repeats(extension)).await.unwrap();
        assert!((1_000..10_000).contains(&answer.body_start.len()), "{}", answer.body_start.len());
    }

    #[tokio::test]
    async fn a_refusal_counts_that_comes_before_the_request_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            stream.write_all(b"HTTP/1.1 413 Too Large\r\n\r\nno").await.unwrap();
        });
        let client = Client::new("127.0.0.1".parse().unwrap()).unwrap();
        let url = format!("http://127.0.0.1:{port}/");
        let callback = serde_json::from_value(serde_json::json!({"url": url})).unwrap();

        let answer = client.post(Post {
            callback: &callback,
            webhook_id: "msg_1",
            timestamp: 7,
            signature: String::new(),
            body: "x".repeat(20_000_000),
            cdn_loop: String::new(),
        });

        assert_eq!(answer.await.unwrap().status, 413);
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
        for says in ["", "HTTP/1.1 20", "SSH-2.0-OpenSSH_9.9\r\n"] {
            let broken = at("http", says, now).await;
            assert!(matches!(broken, Err(Unanswered::Broken)), "{says:?}: {broken:?}");
        }
        for says in ["", "HTTP/1.1 20"] {
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
        for text in include_str!("../../../shared/src/domain/callback_url/good_urls.txt").lines() {
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
                cdn_loop: String::new(),
            };
            let request = String::from_utf8(request(&post, callback.url.url()).unwrap()).unwrap();

            let target = request.strip_prefix("POST ").unwrap().split_once(" HTTP/1.1\r\n");
            let (target, headers) = target.unwrap();
            let host = headers.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
            assert_eq!(format!("https://{host}{target}"), text);
        }
    }
}
