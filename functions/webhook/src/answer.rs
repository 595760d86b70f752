//! A receiver's answer, read for what it says. A parser that insists on HTTP would refuse some of
//! those that receivers give, and a success that is refused is sent again: it would resume a
//! workflow twice. So the status line alone has to be right, and what follows it is read as far
//! as it can be.

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    time::{Instant, timeout_at},
};
use url::Url;

/// How much of a body is read, in bytes.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// How much is read besides: heads, interim answers, the sizes of chunks.
const MAX_HEAD: u64 = 256 * 1024;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) retry_after: Option<String>,
    /// As it was sent: see [`redirect_target`].
    pub(crate) location: Option<String>,
    /// Whether the end of the headers has come; if not, there is no body.
    pub(crate) has_whole_head: bool,
    pub(crate) body_start: String,
}

/// Reads an answer, until the deadline at most. Once its status line is read, it is one.
pub(crate) async fn read(
    stream: impl AsyncRead + Unpin,
    deadline: Instant,
) -> Result<Answer, Unanswered> {
    let mut reader = Reader { stream: BufReader::new(stream), deadline, left: MAX_HEAD };
    let status = reader.status().await?;
    let (head, has_whole_head) = reader.head().await;
    let body = if has_whole_head { reader.body(status, &head).await } else { Vec::new() };
    Ok(Answer {
        status,
        content_type: head.content_type,
        retry_after: head.retry_after,
        location: head.location,
        has_whole_head,
        body_start: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// The headers that mean something to us. Of one that comes twice the first counts.
#[derive(Debug, Default)]
struct Head {
    content_type: Option<String>,
    retry_after: Option<String>,
    location: Option<String>,
    content_length: Option<String>,
    transfer_encoding: Option<String>,
}

impl Head {
    /// Takes a field, if it is one of these. A line without a colon is none.
    fn take(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return;
        };
        let (name, value) = line.split_at(colon);
        let name = name.trim_ascii().to_ascii_lowercase();
        let value = String::from_utf8_lossy(value.get(1..).unwrap_or_default());
        let value = || value.trim().to_owned();
        match name.as_slice() {
            b"content-type" => drop(self.content_type.get_or_insert_with(value)),
            b"retry-after" => drop(self.retry_after.get_or_insert_with(value)),
            b"location" => drop(self.location.get_or_insert_with(value)),
            // These say where the body ends, and only if they agree.
            b"content-length" => append(&mut self.content_length, &value()),
            b"transfer-encoding" => append(&mut self.transfer_encoding, &value()),
            _ => {}
        }
    }

    /// How long the body is, if that is said in one way only.
    fn length(&self) -> Option<u64> {
        let mut lengths = self.content_length.as_deref()?.split(',').map(|text| {
            let text = text.trim();
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
        });
        let length = lengths.next()??;
        lengths.all(|it| it == Some(length)).then_some(length)
    }

    fn is_chunked(&self) -> bool {
        let codings = self.transfer_encoding.as_deref().unwrap_or_default();
        codings.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("chunked"))
    }
}

/// Joins the values of one header, as a list (RFC 9110, 5.3).
fn append(values: &mut Option<String>, value: &str) {
    match values {
        Some(values) => {
            values.push(',');
            values.push_str(value);
        }
        None => *values = Some(value.to_owned()),
    }
}

/// What has come of a line without an end, and why no more comes.
struct Unended {
    line: Vec<u8>,
    why: Unanswered,
}

struct Reader<S> {
    stream: BufReader<S>,
    deadline: Instant,
    /// How many bytes may be read besides the body.
    left: u64,
}

impl<S: AsyncRead + Unpin> Reader<S> {
    /// The status of the first answer that is not an interim one. It counts once it is there, whether
    /// or not its line has an end.
    async fn status(&mut self) -> Result<u16, Unanswered> {
        let mut is_interim = false;
        loop {
            let (line, stop) = match self.line().await {
                Ok(line) => (line, None),
                Err(Unended { line, why }) => (line, Some(why)),
            };
            match (status_of(&line), stop) {
                // We have not asked for another protocol, so 101 is a refusal like others.
                (Some(status @ (101 | 200..)), _) => return Ok(status),
                (_, Some(why)) => return Err(why),
                (Some(_), None) => is_interim = true,
                // Before the status line, or a header of the interim answer.
                (None, None) if line.is_empty() || is_interim => {}
                (None, None) => return Err(Unanswered::Broken),
            }
        }
    }

    /// The headers, and whether they have come to their end.
    async fn head(&mut self) -> (Head, bool) {
        let mut head = Head::default();
        // The field that the next line may go on with (RFC 9112, 5.2).
        let mut field = Vec::new();
        loop {
            let line = self.line().await.ok();
            if let Some(line @ [b' ' | b'\t', ..]) = line.as_deref() {
                field.extend_from_slice(line);
                continue;
            }
            head.take(&field);
            match line {
                Some(line) if line.is_empty() => return (head, true),
                Some(line) => field = line,
                None => return (head, false),
            }
        }
    }

    /// The first 64 KB at most, and less of a body that breaks off or does not end in time.
    async fn body(&mut self, status: u16, head: &Head) -> Vec<u8> {
        let mut body = Vec::new();
        if matches!(status, 101 | 204 | 304) {
            return body;
        }
        if !(head.is_chunked() && self.begins_with_a_digit().await) {
            let length = if head.is_chunked() { None } else { head.length() };
            self.append(&mut body, length.unwrap_or(u64::MAX)).await;
            return body;
        }
        while body.len() < MAX_BODY {
            let Some(size) = self.line().await.ok().as_deref().and_then(size_of_chunk) else {
                break;
            };
            if size == 0 || !self.append(&mut body, size).await {
                break;
            }
            // The end of the line after the chunk.
            if self.line().await.is_err() {
                break;
            }
        }
        body
    }

    /// Whether what comes may be the size of a chunk. Some say that they send chunks and do not.
    async fn begins_with_a_digit(&mut self) -> bool {
        let next = timeout_at(self.deadline, self.stream.fill_buf()).await;
        matches!(next, Ok(Ok([first, ..])) if first.is_ascii_hexdigit())
    }

    /// Appends so much of the stream as fits, and says whether all of it has come.
    async fn append(&mut self, body: &mut Vec<u8>, length: u64) -> bool {
        let room = u64::try_from(MAX_BODY.saturating_sub(body.len())).unwrap_or_default();
        let mut part = (&mut self.stream).take(length.min(room));
        while part.limit() > 0 {
            match timeout_at(self.deadline, part.read_buf(body)).await {
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) | Err(_) => return false,
            }
        }
        length <= room
    }

    /// The next line without its end, which may be a bare LF.
    async fn line(&mut self) -> Result<Vec<u8>, Unended> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.stream).take(self.left);
        let read = timeout_at(self.deadline, bounded.read_until(b'\n', &mut line)).await;
        self.left = bounded.limit();
        if line.pop_if(|last| *last == b'\n').is_none() {
            let why = if read.is_err() { Unanswered::TimedOut } else { Unanswered::Broken };
            return Err(Unended { line, why });
        }
        line.pop_if(|last| *last == b'\r');
        Ok(line)
    }
}

/// The status, if the line is a status line of any version.
fn status_of(line: &[u8]) -> Option<u16> {
    let (name, rest) = line.split_at_checked(5)?;
    let mut words = rest.split(|byte| b" \t".contains(byte)).filter(|word| !word.is_empty());
    let (version, status) = (words.next()?, words.next()?);
    let is_status_line = name.eq_ignore_ascii_case(b"HTTP/")
        && version.first().is_some_and(u8::is_ascii_digit)
        && status.len() == 3
        && status.iter().all(u8::is_ascii_digit);
    let status = str::from_utf8(status).ok()?.parse().ok()?;
    (is_status_line && status >= 100).then_some(status)
}

/// The size in front of a chunk, whatever extension follows it.
fn size_of_chunk(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| b"; \t".contains(byte)).next()?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// Where a redirect leads, as it may be shown: without user, password, query and fragment, which
/// may be secrets.
pub(crate) fn redirect_target(from: &Url, location: &str) -> String {
    let Ok(mut target) = from.join(location) else {
        return "invalid Location header".to_owned();
    };
    if !matches!(target.scheme(), "http" | "https") {
        return format!("a {} URL", target.scheme());
    }
    // Of a URL with a host, as these are, both can be changed.
    let (_, _) = (target.set_username(""), target.set_password(None));
    let had_query = target.query().is_some();
    target.set_query(None);
    target.set_fragment(None);
    format!("{target}{}", if had_query { "?…" } else { "" })
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::{collection::vec, prelude::*};
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn read_all(bytes: &[u8]) -> Result<Answer, Unanswered> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { read(bytes, Instant::now() + Duration::from_mins(1)).await })
    }

    /// Reads what is followed by nothing at all until the deadline.
    fn read_late(bytes: &[u8]) -> Result<Answer, Unanswered> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (mut sender, receiver) = tokio::io::duplex(4096);
            sender.write_all(bytes).await.unwrap();
            // What is there is read all the same.
            read(receiver, Instant::now()).await
        })
    }

    /// What may come after a status line, and some of what parsers stumble over.
    fn anything() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop_oneof![
            vec(any::<u8>(), 0..20),
            "(content-length|Transfer-Encoding|location|retry-after|x)[ \t]?:( ?[0-9a-f]{0,30}|chunked)"
                .prop_map(String::into_bytes),
            "(\r?\n){1,2}[ \t]?|[0-9a-f]{1,16}(;x)?\r?\n|HTTP/1\\.1 [0-9]{1,4}( OK)?\r?\n"
                .prop_map(String::into_bytes),
        ];
        vec(pieces, 0..30).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in anything()) {
            if let Ok(answer) = read_all(&bytes) {
                prop_assert!((100..=999).contains(&answer.status));
                prop_assert!(answer.has_whole_head || answer.body_start.is_empty());
            }
        }

        #[test]
        fn a_status_is_the_answer_whatever_follows_it(
            status in 200_u16..=999, end in "( [A-Za-z ]{0,20})?\r?\n", rest in anything(),
        ) {
            let bytes = [format!("HTTP/1.1 {status}{end}").as_bytes(), &rest].concat();
            prop_assert_eq!(read_all(&bytes).unwrap().status, status);
        }

        #[test]
        fn a_status_line_counts_however_it_ends(
            status in 200_u16..=999, reason in "( [ -~é]{0,20})?", end in "(\r?\n)?", blank in "(\r?\n)?",
        ) {
            let line = format!("{blank}HTTP/1.1 {status}{reason}{end}");
            let answer = read_all(line.as_bytes()).unwrap();
            prop_assert_eq!(answer, Answer { status, ..Answer::default() });
            prop_assert_eq!(read_late(line.as_bytes()).unwrap().status, status);
            // Without all its digits it is none, and an interim one is not the answer.
            for cut in [format!("{blank}HTTP/1.1 {}", status / 10), format!("HTTP/1.1 103{reason}")] {
                prop_assert!(matches!(read_all(cut.as_bytes()), Err(Unanswered::Broken)));
                prop_assert!(matches!(read_late(cut.as_bytes()), Err(Unanswered::TimedOut)));
            }
        }

        #[test]
        fn what_is_written_as_it_should_be_is_read_whole(
            body in "\\PC{0,300}", sizes in vec(1_usize..50, 1..10), is_chunked: bool,
            headers in vec("x-[a-z]{1,9}: [ -~]{0,30}", 0..200),
        ) {
            let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n".to_vec();
            for header in headers {
                bytes.extend(format!("{header}\r\n").into_bytes());
            }
            if is_chunked {
                bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                let (mut rest, mut sizes) = (body.as_bytes(), sizes.iter().cycle());
                while !rest.is_empty() {
                    let (chunk, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                    bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                    bytes.extend([chunk, b"\r\n"].concat());
                    rest = after;
                }
                bytes.extend(b"0\r\n\r\n");
            } else {
                bytes.extend(format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes());
            }
            bytes.extend(b"the next answer");

            let answer = read_all(&bytes).unwrap();

            prop_assert_eq!(answer.body_start, body);
            prop_assert_eq!(answer.content_type.as_deref(), Some("text/plain"));
            prop_assert!(answer.has_whole_head);
        }

        #[test]
        fn no_secret_of_a_location_is_shown(
            scheme in "(https?:)?", slashes in r"[/\\]{2}", user in "[a-z]{0,3}", is_relative: bool,
        ) {
            let from = "https://n8n.example.com/hook?signature=hidden".parse().unwrap();
            let location = if is_relative {
                "x/?token=hidden#hidden".to_owned()
            } else {
                format!("{scheme}{slashes}{user}:hidden@else.example.com/x/?token=hidden#hidden")
            };
            let shown = redirect_target(&from, &location);
            prop_assert!(!shown.contains("hidden"), "{}", shown);
            prop_assert!(shown.ends_with("/x/?…"), "{}", shown);
        }
    }

    #[test]
    fn a_redirect_is_shown_as_the_url_it_leads_to() {
        let from = "https://example.com/hook?signature=hidden".parse().unwrap();
        for (location, shown) in [
            ("/hook/", "https://example.com/hook/"),
            ("hook/", "https://example.com/hook/"),
            ("https://example.com/hook/", "https://example.com/hook/"),
            ("http://example.com:8080/hook", "http://example.com:8080/hook"),
            ("//login.example.com/sso?next=%2Fhook", "https://login.example.com/sso?…"),
            ("https://user:word@example.com/#token", "https://example.com/"),
            ("", "https://example.com/hook?…"),
            ("?again=1", "https://example.com/hook?…"),
            ("/a b\u{1b}[31m", "https://example.com/a%20b%1B[31m"),
            ("mailto:user@example.com", "a mailto URL"),
            ("data:text/plain,hidden", "a data URL"),
            ("https://", "invalid Location header"),
            ("http://[", "invalid Location header"),
        ] {
            assert_eq!(redirect_target(&from, location), shown, "{location}");
        }
    }
}
