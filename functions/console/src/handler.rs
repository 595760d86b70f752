//! One request: a file, or that the visitor has it already.

use lambda_http::{
    Request, RequestExt, Response,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
};
use relay::{
    domain::{digest::hex, error::Error},
    http::gateway,
};
use sha2::{Digest, Sha256};

const FILE: &str = "/console/{file}";
const ANSWER: &str = "/answer";

/// Nothing but the page's own files and its own API, and no markup made of text
/// (<https://www.w3.org/TR/CSP3/>, <https://www.w3.org/TR/trusted-types/>).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     frame-ancestors 'none'; form-action 'none'; base-uri 'none'; require-trusted-types-for 'script'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // It is asked each time whether it is still the same: a page and its scripts must be of one version.
    (header::CACHE_CONTROL, "no-cache"),
];

/// A file of `web/`.
#[derive(Debug, Clone, Copy)]
struct File {
    name: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(File { name: $name, text: include_str!(concat!("../web/", $name)) }),*]
    };
}

const PAGE: File = File { name: "index.html", text: include_str!("../web/index.html") };
/// The page of a question's link.
const ANSWER_PAGE: File = File { name: "answer.html", text: include_str!("../web/answer.html") };

const FILES: &[File] = files![
    "agents.js",
    "answer.js",
    "api.js",
    "app.js",
    "batch.js",
    "chart.js",
    "deliveries.js",
    "format.js",
    "json.js",
    "lit-html.js",
    "questions.js",
    "run.js",
    "runs.js",
    "schema-form.js",
    "schema.js",
    "style.css",
    "subscriptions.js",
    "timeline.js",
    "ui.js",
];

impl File {
    fn content_type(self) -> &'static str {
        match self.name.rsplit_once('.') {
            Some((_, "html")) => "text/html; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        }
    }

    /// What tells this version of it from any other.
    fn tag(self) -> String {
        let hash = Sha256::digest(self.text);
        format!("\"{}\"", hex(hash.get(..8).unwrap_or_default()))
    }
}

pub(crate) fn handle(request: &Request) -> Result<Response<String>, Error> {
    let file = match gateway::route(request) {
        FILE => {
            let parameters = request.path_parameters_ref();
            let name = parameters.and_then(|parameters| parameters.first("file"));
            let file = FILES.iter().find(|file| Some(file.name) == name);
            *file.ok_or(Error::NotFound("file"))?
        }
        ANSWER => ANSWER_PAGE,
        _ => PAGE,
    };
    let tag = file.tag();
    let mut response = if has(request.headers(), &tag) {
        let mut response = Response::new(String::new());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        Response::new(file.text.to_owned())
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.content_type()));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    Ok(response)
}

/// Whether the visitor has this version (RFC 9110, section 13.1.2).
fn has(headers: &HeaderMap, tag: &str) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|it| {
        let it = it.trim();
        it == "*" || it.strip_prefix("W/").unwrap_or(it) == tag
    })
}
