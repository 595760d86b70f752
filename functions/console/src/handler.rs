//! One request: a file, or that the visitor has it already.

use lambda_http::{
    Request, RequestExt, Response,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{self, InvalidHeaderValue},
    },
    request::RequestContext,
};
use relay::{
    domain::{digest::hex, error::Error},
    http::gateway,
};
use sha2::{Digest, Sha256};

use crate::login::Login;

const FILE: &str = "/console/{file}";
const ANSWER: &str = "/answer";

/// Nothing but the page's own files and its own API, and no markup made of text
/// (<https://www.w3.org/TR/CSP3/>, <https://www.w3.org/TR/trusted-types/>). [`Console`] adds where codes are exchanged.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     frame-ancestors 'none'; form-action 'none'; base-uri 'none'; require-trusted-types-for 'script'";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // It is asked each time whether it is still the same: a page and its scripts must be of one version.
    (header::CACHE_CONTROL, "no-cache"),
];

/// A file of `web/`, or one that is made of what the stack is configured by.
#[derive(Debug, Clone, Copy)]
struct File<'a> {
    name: &'static str,
    text: &'a str,
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(File { name: $name, text: include_str!(concat!("../web/", $name)) }),*]
    };
}

const PAGE: File<'static> = File { name: "index.html", text: include_str!("../web/index.html") };
/// The page of a question's link.
const ANSWER_PAGE: File<'static> =
    File { name: "answer.html", text: include_str!("../web/answer.html") };

/// Where visitors can sign in without a key, or null.
const LOGIN: &str = "login.json";

const FILES: &[File<'static>] = files![
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
    "login.js",
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

impl File<'_> {
    fn content_type(self) -> &'static str {
        match self.name.rsplit_once('.') {
            Some((_, "html")) => "text/html; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "json")) => "application/json",
            _ => "text/javascript; charset=utf-8",
        }
    }

    /// What tells this version of it, under this policy, from any other.
    fn tag(self, policy: &HeaderValue) -> String {
        let hash = Sha256::new().chain_update(policy).chain_update(self.text).finalize();
        format!("\"{}\"", hex(hash.get(..8).unwrap_or_default()))
    }
}

/// What is served, and by which policy.
pub(crate) struct Console {
    policy: HeaderValue,
    login: String,
}

impl Console {
    pub(crate) fn new(login: Option<&Login>) -> Result<Self, InvalidHeaderValue> {
        let policy = match login {
            Some(login) => {
                let sources = format!("connect-src 'self' {}", login.token_origin());
                HeaderValue::try_from(POLICY.replace("connect-src 'self'", &sources))?
            }
            None => HeaderValue::from_static(POLICY),
        };
        let login = login.map_or_else(|| "null".to_owned(), Login::to_json);
        Ok(Self { policy, login })
    }

    pub(crate) fn handle(&self, request: &Request) -> Result<Response<String>, Error> {
        let route = gateway::route(request);
        let file = match route {
            FILE => self.file(request)?,
            // What a page names is beside it, and not below it.
            _ if has_slash(request) => return Ok(self.page_at(route)),
            ANSWER => ANSWER_PAGE,
            _ => PAGE,
        };
        let tag = file.tag(&self.policy);
        let mut response = if has(request.headers(), &tag) {
            let mut response = Response::new(String::new());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            Response::new(file.text.to_owned())
        };
        self.add_headers(&mut response);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.content_type()));
        if let Ok(tag) = HeaderValue::try_from(tag) {
            headers.insert(header::ETAG, tag);
        }
        Ok(response)
    }

    fn file(&self, request: &Request) -> Result<File<'_>, Error> {
        let parameters = request.path_parameters_ref();
        let name = parameters.and_then(|parameters| parameters.first("file"));
        if name == Some(LOGIN) {
            return Ok(File { name: LOGIN, text: &self.login });
        }
        let file = FILES.iter().find(|file| Some(file.name) == name);
        file.copied().ok_or(Error::NotFound("file"))
    }

    /// That a page is at its route without a slash behind it, wherever the stage is.
    fn page_at(&self, route: &str) -> Response<String> {
        let mut response = Response::new(String::new());
        *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
        self.add_headers(&mut response);
        if let Ok(place) = HeaderValue::try_from(format!("..{route}")) {
            response.headers_mut().insert(header::LOCATION, place);
        }
        response
    }

    fn add_headers(&self, response: &mut Response<String>) {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        for (name, value) in HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

/// Whether the path as it was written ends with a slash. API Gateway finds the same route for it
/// (<https://github.com/aws-powertools/powertools-lambda-python/issues/1552>).
fn has_slash(request: &Request) -> bool {
    let Some(RequestContext::ApiGatewayV1(context)) = request.request_context_ref() else {
        return false;
    };
    context.path.as_deref().is_some_and(|path| path.ends_with('/'))
}

/// Whether the visitor has this version (RFC 9110, section 13.1.2).
fn has(headers: &HeaderMap, tag: &str) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|it| {
        let it = it.trim();
        it == "*" || it.strip_prefix("W/").unwrap_or(it) == tag
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(token_url: &str) -> Login {
        let authorize = "https://login.example.com/authorize?audience=agents".to_owned();
        Login::parse("console".to_owned(), authorize, token_url.to_owned()).unwrap().unwrap()
    }

    #[test]
    fn the_policy_is_as_it_stands_here_but_for_where_codes_are_exchanged() {
        assert_eq!(Console::new(None).unwrap().policy, POLICY);

        let console =
            Console::new(Some(&login("https://tokens.example.com/oauth2/token"))).unwrap();
        let rules: Vec<_> = console.policy.to_str().unwrap().split("; ").collect();
        let own: Vec<_> = POLICY.split("; ").collect();
        assert_eq!(rules.len(), own.len());
        for (rule, own) in rules.into_iter().zip(own) {
            if own == "connect-src 'self'" {
                assert_eq!(rule, "connect-src 'self' https://tokens.example.com");
            } else {
                assert_eq!(rule, own);
            }
        }
    }
}
