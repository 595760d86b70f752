//! A callback: where the news of a run goes, and which news.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use lambda_http::http::{HeaderName, HeaderValue};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use url::{Host, ParseError, Position, Url};

use crate::{
    error::Error,
    execution::Status,
    network::{CallbackAllow, is_host_name, is_public, is_public_name},
    rights::Holder,
};

/// What a webhook tells; its text is the `type` of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NewsType {
    #[serde(rename = "execution.running")]
    Running,
    /// The agent has reported how far it is.
    #[serde(rename = "execution.progress")]
    Progress,
    /// The agent asks a question.
    #[serde(rename = "execution.input_required")]
    InputRequired,
    #[serde(rename = "execution.completed")]
    Completed,
    #[serde(rename = "execution.failed")]
    Failed,
    #[serde(rename = "execution.timeout")]
    Timeout,
    #[serde(rename = "execution.cancelled")]
    Cancelled,
    /// Of no run: a subscription is tried.
    #[serde(rename = "subscription.test")]
    Test,
    /// Of no run: another subscription of the same owner was disabled.
    #[serde(rename = "subscription.disabled")]
    Disabled,
}

impl NewsType {
    /// What may be asked for: all news of runs.
    pub const OF_RUNS: [Self; 7] = [
        Self::Running,
        Self::Progress,
        Self::InputRequired,
        Self::Completed,
        Self::Failed,
        Self::Timeout,
        Self::Cancelled,
    ];

    /// What a callback is told when it names no events.
    pub const ENDS: [Self; 4] = [Self::Completed, Self::Failed, Self::Timeout, Self::Cancelled];

    /// The news that a run has moved to this status; being queued is none.
    #[must_use]
    pub const fn of(status: Status) -> Option<Self> {
        match status {
            Status::Queued => None,
            Status::Running => Some(Self::Running),
            Status::InputRequired => Some(Self::InputRequired),
            Status::Completed => Some(Self::Completed),
            Status::Failed => Some(Self::Failed),
            Status::Timeout => Some(Self::Timeout),
            Status::Cancelled => Some(Self::Cancelled),
        }
    }

    /// The status of a run of which this is the news.
    #[must_use]
    pub const fn status(self) -> Option<Status> {
        match self {
            Self::Running | Self::Progress => Some(Status::Running),
            Self::InputRequired => Some(Status::InputRequired),
            Self::Completed => Some(Status::Completed),
            Self::Failed => Some(Status::Failed),
            Self::Timeout => Some(Status::Timeout),
            Self::Cancelled => Some(Status::Cancelled),
            Self::Test | Self::Disabled => None,
        }
    }
}

/// The `callback` part of an execution. It stands apart because a resume URL and the headers are
/// credentials: only `webhook` loads it, and neither is ever logged or returned.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callback {
    pub url: CallbackUrl,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// By whose right something is sent here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
}

impl fmt::Debug for Callback {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Callback({})", self.url.host())
    }
}

/// A URL that was safe to accept. Whoever connects must still check the address.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct CallbackUrl(#[schemars(with = "String", extend("format" = "uri"))] Url);

impl fmt::Debug for CallbackUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CallbackUrl({})", self.host())
    }
}

const URL_FIELD: &str = "callback_url";
const NOT_ABSOLUTE: &str = "must be an absolute URL, such as https://example.com/hook";
const HEADERS_FIELD: &str = "callback_headers";
pub const MAX_URL: usize = 2048;
pub const MAX_HEADERS: usize = 20;
const MAX_HEADER_BYTES: usize = 4096;

/// Headers that the delivery sets itself, by which it is known again, or that would change how the request is framed or the
/// answer encoded.
const RESERVED_HEADERS: [&str; 13] = [
    "accept-encoding",
    "cdn-loop",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl CallbackUrl {
    /// Accepts a public https URL, or one to a host that the operator has named.
    ///
    /// What the parser would have to repair is refused, so that the bytes of path and query that
    /// were given are those that will be sent: a resume URL is signed as it stands.
    pub fn parse(text: &str, allow: &CallbackAllow) -> Result<Self, Error> {
        let invalid = |reason: &'static str| Error::invalid(URL_FIELD, reason);
        if text.len() > MAX_URL {
            return Err(invalid("is longer than 2048 bytes"));
        }
        // The parser drops tabs and line breaks, and takes a backslash for a slash.
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            return Err(invalid("holds a character that must be percent-encoded"));
        }
        let mut url = Url::parse(text).map_err(|error| match error {
            ParseError::RelativeUrlWithoutBase => invalid(NOT_ABSOLUTE),
            error => Error::invalid(URL_FIELD, format!("is no URL: {error}")),
        })?;
        // The parser knows every notation of an address (hexadecimal, octal, a single number),
        // so what is checked here is what would be connected to.
        let (named, public) = match url.host() {
            Some(Host::Domain(name)) if !is_host_name(name) => {
                return Err(invalid("has a host that is no host name"));
            }
            Some(Host::Domain(name)) => (allow.names(name), is_public_name(name)),
            Some(Host::Ipv4(address)) => literal(address.into(), allow),
            Some(Host::Ipv6(address)) => literal(address.into(), allow),
            None => return Err(invalid(NOT_ABSOLUTE)),
        };
        match url.scheme() {
            "https" => {}
            "http" if named => {}
            _ => {
                return Err(invalid("must be https, or go to a host that this deployment allows"));
            }
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("must not hold credentials: send them as headers"));
        }
        if !public && !named {
            return Err(invalid("must go to a public host, or to one that this deployment allows"));
        }
        if url.port() == Some(0) {
            return Err(invalid("has no port that can be connected to"));
        }
        url.set_fragment(None);
        if !is_sent_as_written(text, &url) {
            return Err(invalid(
                "must be written as it is sent: the host in its usual form, no dot segments, \
                 special characters percent-encoded",
            ));
        }
        Ok(Self(url))
    }

    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.0
    }

    /// The host, which is all of a callback URL that a log may show.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Whether this is the resume URL of a waiting n8n execution, which any POST resumes: it
    /// must see the end of a run and nothing else.
    #[must_use]
    pub fn resumes_n8n(&self) -> bool {
        self.0.path().contains("/webhook-waiting/") || self.0.path().contains("/form-waiting/")
    }
}

/// Whether the operator has named this address, and whether it is public.
fn literal(address: IpAddr, allow: &CallbackAllow) -> (bool, bool) {
    (allow.holds(address), is_public(address))
}

/// Whether the parser has changed nothing but the case of scheme and host, a default port, an
/// empty path and a fragment, none of which is part of what is sent.
fn is_sent_as_written(text: &str, url: &Url) -> bool {
    let text = text.split_once('#').map_or(text, |(before, _)| before);
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let default_port = url.port_or_known_default().filter(|_| url.port().is_none());
    let without_port = default_port.and_then(|port| authority.strip_suffix(&format!(":{port}")));
    let sent_authority = &url[Position::BeforeHost..Position::AfterPort];
    let sent_target = &url[Position::BeforePath..Position::AfterQuery];

    scheme.eq_ignore_ascii_case(url.scheme())
        && without_port.unwrap_or(authority).eq_ignore_ascii_case(sent_authority)
        && (target == sent_target
            || (!target.starts_with('/') && sent_target.strip_prefix('/') == Some(target)))
}

/// Accepts what can be sent as it is: known characters only, nothing that reframes the request.
pub fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), Error> {
    let invalid = |reason: String| Err(Error::invalid(HEADERS_FIELD, reason));
    if headers.len() > MAX_HEADERS {
        return invalid(format!("has more than {MAX_HEADERS} headers"));
    }
    let size: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > MAX_HEADER_BYTES {
        return invalid(format!("is larger than {MAX_HEADER_BYTES} bytes"));
    }
    let mut seen = BTreeSet::new();
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        if HeaderName::try_from(name).is_err() {
            return invalid("has a name that is no valid header name".to_owned());
        }
        if RESERVED_HEADERS.contains(&lower.as_str())
            || ["webhook-", "proxy-"].iter().any(|prefix| lower.starts_with(prefix))
        {
            return invalid(format!("may not set `{lower}`"));
        }
        if HeaderValue::try_from(value).is_err() || !value.is_ascii() {
            return invalid(format!("has a value of `{lower}` that is no valid header value"));
        }
        // Two spellings are one header, of which only one value would be sent.
        if !seen.insert(lower) {
            return invalid("names a header twice".to_owned());
        }
    }
    Ok(())
}

/// The schema of the events that a caller may name, or leave to us.
pub(crate) fn wanted_news_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "All ends of a run when not given. A resume URL of n8n gets those and questions alone.",
        "type": ["array", "null"],
        "items": {"type": "string", "enum": NewsType::OF_RUNS},
        "minItems": 1,
    })
}

/// The news that a callback gets: those asked for, else all ends. A resume URL, which any POST
/// resumes, gets ends only, and questions where it asks for them.
pub fn wanted_news(
    url: &CallbackUrl,
    asked: Option<Vec<NewsType>>,
) -> Result<Vec<NewsType>, Error> {
    let Some(mut asked) = asked else {
        return Ok(NewsType::ENDS.to_vec());
    };
    if !asked.iter().all(|news| NewsType::OF_RUNS.contains(news)) {
        return Err(Error::invalid("callback_events", "may name news of runs alone"));
    }
    if url.resumes_n8n() {
        asked.retain(|news| *news == NewsType::InputRequired || NewsType::ENDS.contains(news));
    }
    if asked.is_empty() {
        return Err(Error::invalid(
            "callback_events",
            "must name at least one event that this URL may get",
        ));
    }
    let mut wanted = Vec::with_capacity(asked.len());
    for news in asked {
        if !wanted.contains(&news) {
            wanted.push(news);
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(url: &str, allow: &str) -> bool {
        CallbackUrl::parse(url, &allow.parse().unwrap()).is_ok()
    }

    /// The lines of a table that are URLs, each with the heading above it.
    fn table(text: &str) -> Vec<(&str, &str)> {
        let mut heading = "";
        let mut rows = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            match line.strip_prefix("# ") {
                Some(title) => heading = title,
                None => rows.push((heading, line)),
            }
        }
        rows
    }

    #[test]
    fn every_hostile_url_is_refused_for_the_reason_above_it() {
        let rows = table(include_str!("callback/hostile_urls.txt"));
        assert!(rows.len() >= 100, "{}", rows.len());
        let mut odd = Vec::new();
        for (reason, url) in rows {
            match CallbackUrl::parse(url, &CallbackAllow::default()) {
                Ok(taken) => odd.push(format!("{url} is taken as {}", taken.url())),
                Err(error) if error.to_string() != format!("callback_url {reason}") => {
                    odd.push(format!("{url} is refused with: {error}"));
                }
                Err(_) => {}
            }
        }
        assert!(odd.is_empty(), "{}", odd.join("\n"));
    }

    #[test]
    fn a_url_with_what_a_line_of_a_table_cannot_show_is_refused() {
        for url in [
            "",
            " ",
            " https://example.com/",
            "https://example.com/ ",
            "https://example.com/\n",
            "\nhttps://example.com/",
            "https://exam\tple.com/",
            "https://example.com\t.evil.example.net/",
            "ht\ntps://example.com/",
            "https://127.0.\n0.1/",
            "https://example.com/a\tb",
            "https://example.com/\r\nX-Injected: 1",
            "https://example.com/?a=\r\n\r\nPOST / HTTP/1.1",
            "https://example.com/\0",
            "https://example.com\0.evil.example.net/",
            "https://example.com/\u{7f}",
            "https://example.com/\u{1b}[31m",
            "\u{feff}https://example.com/",
            "https://example.com/\u{a0}",
            "https://example.com\u{200b}/",
            "https://loc\u{ad}alhost/",
            "https://example.com/\u{2028}",
            "https://example.com/\u{202e}moc.live",
            &format!("https://example.com/{}", "a".repeat(MAX_URL)),
            &format!("https://{}.com/", "a".repeat(64)),
            &format!("https://{}com/", "a.".repeat(126)),
        ] {
            assert!(!accepts(url, ""), "{url:?}");
        }
        let longest = format!("https://example.com/{}", "a".repeat(MAX_URL - 20));
        assert!(accepts(&longest, ""));
    }

    #[test]
    fn every_good_url_is_kept_byte_for_byte() {
        let rows = table(include_str!("callback/good_urls.txt"));
        assert!(rows.len() >= 25, "{}", rows.len());
        for (_, text) in rows {
            let url = CallbackUrl::parse(text, &CallbackAllow::default());
            assert_eq!(url.unwrap().url().as_str(), text);
        }
    }

    #[test]
    fn only_what_is_not_sent_may_change() {
        for (given, kept) in [
            ("HTTPS://Example.COM/Path?Q=Ab", "https://example.com/Path?Q=Ab"),
            ("https://example.com", "https://example.com/"),
            ("https://example.com?a=b", "https://example.com/?a=b"),
            ("https://example.com:443/a", "https://example.com/a"),
            ("https://example.com:443", "https://example.com/"),
            ("https://example.com/a#b?c", "https://example.com/a"),
            ("https://example.com/a?b=c#/d", "https://example.com/a?b=c"),
            ("https://example.com#@127.0.0.1/", "https://example.com/"),
            ("https://[2606:4700:4700::1ABC]/", "https://[2606:4700:4700::1abc]/"),
        ] {
            let url = CallbackUrl::parse(given, &CallbackAllow::default()).unwrap();
            assert_eq!(url.url().as_str(), kept);
        }
    }

    #[test]
    fn the_operator_may_open_a_host_also_for_http() {
        assert!(accepts("http://127.0.0.1:5678/webhook-waiting/1", "127.0.0.1"));
        assert!(accepts("http://n8n:5678/webhook", "n8n"));
        assert!(!accepts("http://127.0.0.2/", "127.0.0.1"));
        assert!(accepts("https://n8n.internal/", "*.internal"));
        assert!(accepts("https://[::1]/", "::1"));
        assert!(!accepts("http://example.com/", "n8n"));
        // What is opened is the host, and nothing of the other rules.
        for url in [
            "http://user@127.0.0.1/",
            "http://127.1/",
            "http://127.0.0.1./",
            "http://0x7f000001/",
            "http://127.0.0.1:0/",
            "http://127.0.0.1/a/../b",
            "ftp://127.0.0.1/",
        ] {
            assert!(!accepts(url, "127.0.0.1"), "{url}");
        }
    }

    #[test]
    fn path_and_query_are_kept_byte_for_byte() {
        let text = "https://n8n.example.com/webhook-waiting/4711?signature=0a%2Fb+c%20d";
        let url = CallbackUrl::parse(text, &CallbackAllow::default()).unwrap();

        assert_eq!(url.url().as_str(), text);
        assert_eq!(format!("{url:?}"), "CallbackUrl(n8n.example.com)");
        assert!(url.resumes_n8n());
    }

    #[test]
    fn headers_that_reframe_the_request_are_refused() {
        let check =
            |name: &str, value: &str| check_headers(&[(name.to_owned(), value.to_owned())].into());

        for (name, value) in [
            ("Authorization", "Bearer abc"),
            ("X-N8N-Key", "a b\tc"),
            ("x-empty", ""),
            ("x_odd~name!", "\"quoted\", {braces}; a=b"),
            ("User-Agent", "mine"),
            ("webhook", "not one of ours"),
        ] {
            assert!(check(name, value).is_ok(), "{name:?}: {value:?}");
        }
        for name in [
            "",
            " ",
            "a b",
            " a",
            "a ",
            "a:",
            ":a",
            ":authority",
            "a:b",
            "a\r\nb",
            "a\nb",
            "a\rb",
            "a\0",
            "a\tb",
            "a\u{7f}",
            "é",
            "ａ",
            "a/b",
            "a(b)",
            "a,b",
            "a;b",
            "a=b",
            "a@b",
            "a[b]",
            "a{b}",
            "a\"b\"",
            "a\\b",
            "a<b>",
            "a?b",
        ] {
            assert!(check(name, "c").is_err(), "{name:?}");
        }
        for value in [
            "b\r\nc: d",
            "b\nc: d",
            "b\rc: d",
            "\r\n",
            "\n",
            "\r",
            "b\r\n c",
            "b\r\n\tc",
            "b\n c",
            "b\0",
            "\0",
            "b\u{b}",
            "b\u{c}",
            "b\u{1b}",
            "b\u{7f}",
            "b\u{85}c: d",
            "é",
            "b\u{2028}c",
            "b\u{560d}\u{560a}c: d",
        ] {
            assert!(check("a", value).is_err(), "{value:?}");
        }
        let ours = ["webhook-id", "webhook-timestamp", "webhook-signature", "webhook-other"];
        let hops = ["proxy-authorization", "proxy-connection"];
        for name in RESERVED_HEADERS.into_iter().chain(ours).chain(hops) {
            let capital = name[..1].to_uppercase() + &name[1..];
            for name in [name, &name.to_uppercase(), &capital] {
                assert!(check(name, "1").is_err(), "{name:?}");
            }
        }
    }

    #[test]
    fn headers_are_few_small_and_named_once() {
        let headers = |names: &[&str]| -> BTreeMap<_, _> {
            names.iter().map(|name| ((*name).to_owned(), "a".to_owned())).collect()
        };
        assert!(check_headers(&headers(&["X-A", "X-B"])).is_ok());
        assert!(check_headers(&headers(&["X-A", "x-a"])).is_err());
        assert!(check_headers(&headers(&["AUTHORIZATION", "Authorization"])).is_err());

        let many = |count| (0..count).map(|n| (format!("x-{n}"), String::new())).collect();
        assert!(check_headers(&many(20)).is_ok());
        assert!(check_headers(&many(21)).is_err());
        let large = |bytes: usize| [("a".to_owned(), "b".repeat(bytes - 1))].into();
        assert!(check_headers(&large(4096)).is_ok());
        assert!(check_headers(&large(4097)).is_err());
    }

    #[test]
    fn a_resume_url_gets_ends_only() {
        let resume = CallbackUrl::parse(
            "https://n8n.example.com/webhook-waiting/1",
            &CallbackAllow::default(),
        )
        .unwrap();
        let other =
            CallbackUrl::parse("https://example.com/hook", &CallbackAllow::default()).unwrap();
        let asked = vec![NewsType::Running, NewsType::Completed, NewsType::Completed];

        assert_eq!(wanted_news(&other, None).unwrap(), NewsType::ENDS);
        assert_eq!(
            wanted_news(&other, Some(asked.clone())).unwrap(),
            [NewsType::Running, NewsType::Completed]
        );
        assert_eq!(wanted_news(&resume, Some(asked)).unwrap(), [NewsType::Completed]);
        assert!(wanted_news(&resume, Some(vec![NewsType::Running])).is_err());
        assert!(wanted_news(&other, Some(vec![])).is_err());
    }
}
