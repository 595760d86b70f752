//! The URL of a callback: which ones are safe to accept.

use std::{fmt, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, ParseError, Position, Url};

use crate::domain::{
    error::Error,
    network::{CallbackAllow, is_host_name, is_public, is_public_name},
};

/// The URL of a receiver of webhooks. It was safe to accept.
// Whoever connects must still check the address.
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

pub const MAX_URL: usize = 2048;

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
            error => Error::invalid(URL_FIELD, format!("is not a URL: {error}")),
        })?;
        // The parser knows every notation of an address (hexadecimal, octal, a single number),
        // so what is checked here is what would be connected to.
        let (named, public) = match url.host() {
            Some(Host::Domain(name)) if !is_host_name(name) => {
                return Err(invalid("has an invalid host name"));
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
        let rows = table(include_str!("callback_url/hostile_urls.txt"));
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
        let rows = table(include_str!("callback_url/good_urls.txt"));
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
}
