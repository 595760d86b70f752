//! A callback: where the news of a run goes, and which news.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use lambda_http::http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::{error::Error, execution::Status, network::CallbackAllow};

/// What a webhook tells; its text is the `type` of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NewsType {
    #[serde(rename = "execution.running")]
    Running,
    #[serde(rename = "execution.completed")]
    Completed,
    #[serde(rename = "execution.failed")]
    Failed,
    #[serde(rename = "execution.timeout")]
    Timeout,
    #[serde(rename = "execution.cancelled")]
    Cancelled,
}

impl NewsType {
    /// What a callback is told when it names no events.
    pub const ENDS: [Self; 4] = [Self::Completed, Self::Failed, Self::Timeout, Self::Cancelled];

    /// The news that a run has moved to this status; being queued is none.
    #[must_use]
    pub const fn of(status: Status) -> Option<Self> {
        match status {
            Status::Queued => None,
            Status::Running => Some(Self::Running),
            Status::Completed => Some(Self::Completed),
            Status::Failed => Some(Self::Failed),
            Status::Timeout => Some(Self::Timeout),
            Status::Cancelled => Some(Self::Cancelled),
        }
    }

    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Running => Status::Running,
            Self::Completed => Status::Completed,
            Self::Failed => Status::Failed,
            Self::Timeout => Status::Timeout,
            Self::Cancelled => Status::Cancelled,
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
}

impl fmt::Debug for Callback {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Callback({})", self.url.host())
    }
}

/// A URL that was safe to accept. Whoever connects must still check the address.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallbackUrl(Url);

impl fmt::Debug for CallbackUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CallbackUrl({})", self.host())
    }
}

const URL_FIELD: &str = "callback_url";
const HEADERS_FIELD: &str = "callback_headers";
const MAX_URL: usize = 2048;
const MAX_HEADERS: usize = 20;
const MAX_HEADER_BYTES: usize = 4096;

/// Headers that the delivery sets itself, or that would change how the request is framed.
const RESERVED_HEADERS: [&str; 11] = [
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
    pub fn parse(text: &str, allow: &CallbackAllow) -> Result<Self, Error> {
        let invalid = |reason: &'static str| Error::invalid(URL_FIELD, reason);
        if text.len() > MAX_URL {
            return Err(invalid("is longer than 2048 bytes"));
        }
        let mut url =
            Url::parse(text).map_err(|error| Error::invalid(URL_FIELD, error.to_string()))?;
        // The parser knows every notation of an address (hexadecimal, octal, a single number),
        // so what is checked here is what would be connected to.
        let (named, literal) = match url.host() {
            Some(Host::Domain(name)) => (allow.names(name), None),
            Some(Host::Ipv4(address)) => (false, Some(IpAddr::V4(address))),
            Some(Host::Ipv6(address)) => (false, Some(IpAddr::V6(address))),
            None => return Err(invalid("has no host")),
        };
        let named = named || literal.is_some_and(|address| allow.holds(address));
        match url.scheme() {
            "https" => {}
            "http" if named => {}
            _ => {
                return Err(invalid("must be https, or go to a host that this deployment allows"));
            }
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("must not hold credentials; use callback_headers"));
        }
        let private_name = url.host_str().is_none_or(|name| {
            let name = name.trim_end_matches('.');
            !name.contains('.') || name.ends_with(".localhost")
        });
        let private = literal.map_or(private_name, |address| !crate::network::is_public(address));
        if private && !named {
            return Err(invalid("must go to a public host, or to one that this deployment allows"));
        }
        url.set_fragment(None);
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
    }
    Ok(())
}

/// The news that a callback gets: those asked for, else all ends. A resume URL gets ends only.
pub fn wanted_news(
    url: &CallbackUrl,
    asked: Option<Vec<NewsType>>,
) -> Result<Vec<NewsType>, Error> {
    let Some(mut asked) = asked else {
        return Ok(NewsType::ENDS.to_vec());
    };
    if url.resumes_n8n() {
        asked.retain(|news| news.status().is_end());
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

    #[test]
    fn public_https_is_accepted_and_everything_else_refused() {
        for url in ["https://example.com/hook?a=b", "https://example.com:8443/", "https://1.1.1.1/"]
        {
            assert!(accepts(url, ""), "{url}");
        }
        for url in [
            "",
            "nonsense",
            "http://example.com/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "https://user@example.com/",
            "https://user:password@example.com/",
            "https://localhost/",
            "https://LOCALHOST/",
            "https://localhost./",
            "https://a.localhost/",
            "https://intranet/",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f.0.0.1/",
            "https://0177.0.0.1/",
            "https://10.0.0.1/",
            "https://169.254.169.254/latest/meta-data/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[fd00:ec2::254]/",
            "https://①②⑦.⓪.⓪.①/",
            "https:///nohost",
            "javascript:alert(1)",
        ] {
            assert!(!accepts(url, ""), "{url}");
        }
    }

    #[test]
    fn the_operator_may_open_a_host_also_for_http() {
        assert!(accepts("http://127.0.0.1:5678/webhook-waiting/1", "127.0.0.1"));
        assert!(accepts("http://n8n:5678/webhook", "n8n"));
        assert!(!accepts("http://127.0.0.2/", "127.0.0.1"));
        assert!(!accepts("http://user@127.0.0.1/", "127.0.0.1"));
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

        assert!(check("Authorization", "Bearer abc").is_ok());
        for (name, value) in [
            ("Host", "a"),
            ("content-length", "1"),
            ("Transfer-Encoding", "chunked"),
            ("Webhook-Id", "x"),
            ("a b", "c"),
            ("", "c"),
            ("a\r\nb", "c"),
            ("a", "b\r\nc: d"),
            ("a", "b\0"),
            ("a", "é"),
        ] {
            assert!(check(name, value).is_err(), "{name:?}: {value:?}");
        }
        let many = (0..21).map(|n| (format!("x-{n}"), String::new())).collect();
        assert!(check_headers(&many).is_err());
        assert!(check("a", &"b".repeat(5000)).is_err());
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
