//! What the functions behind API Gateway share: who calls, and the form of an answer.

use std::{borrow::Cow, convert::Infallible, future::ready, pin::Pin, time::Duration};

use lambda_http::{
    Adapter, Body, IntoResponse, LambdaEvent, Request, RequestExt, Response, Service,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    request::{LambdaRequest, RequestContext},
    service_fn,
};
use serde_json::Value;

use crate::{
    aws::telemetry::{Invocation, InvocationGuard},
    domain::{
        batch_id::BatchId,
        caller::{Caller, Credential},
        error::Error,
        id::{ExecutionId, SubscriptionId},
        idempotency_key::IdempotencyKey,
        loops::{Arrival, Home, Hops},
        time::Timestamp,
    },
    http::{
        answer::{batch::BatchReceipt, monitor::Receipt, results::Results},
        problem,
        reply::reply,
    },
};

/// API Gateway answers for a function that takes longer than 29 s, so nobody is held longer.
const MAX_WAIT: Duration = Duration::from_secs(25);

/// The route under which each execution has its own.
const EXECUTIONS: &str = "/v1/executions";
/// And each batch.
const BATCHES: &str = "/v1/batches";

/// Serves the requests that API Gateway hands over.
pub async fn run<'a, S>(handler: S) -> Result<(), lambda_http::Error>
where
    S: Service<Request, Response = TextResponse, Error = Infallible>,
    S::Future: Send + 'a,
{
    let mut adapter = Adapter::from(handler);
    lambda_runtime::run(service_fn(move |mut event: LambdaEvent<LambdaRequest>| {
        keep_all_lines(&mut event.payload);
        adapter.call(event)
    }))
    .await
}

/// An event has all lines of a header in `multiValueHeaders`, and the last one in `headers` besides, by
/// which `lambda_http` would replace them.
fn keep_all_lines(request: &mut LambdaRequest) {
    if let LambdaRequest::ApiGatewayV1(request) = request
        && !request.multi_value_headers.is_empty()
    {
        request.headers.clear();
    }
}

/// Answers with what `work` gives, or with its error as a problem, and counts the invocation.
pub async fn serve(
    mut metrics: InvocationGuard,
    work: impl Future<Output = Result<Response<String>, Error>>,
) -> Result<TextResponse, Infallible> {
    let response = work.await.unwrap_or_else(|error| problem::respond(&error));
    metrics.failed = response.status().is_server_error();
    Ok(TextResponse(response))
}

/// An answer whose body is text, whatever its headers say. For others `lambda_http` finds out which of
/// all encodings a body has; their tables would be a part of the function.
pub struct TextResponse(pub Response<String>);

impl IntoResponse for TextResponse {
    fn into_response(self) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        Box::pin(ready(self.0.map(Body::from)))
    }
}

/// The record of an invocation, with what the request tells for it.
pub fn measure(operation: &'static str, request: &Request) -> InvocationGuard {
    let mut metrics = Invocation::start(operation, request.lambda_context_ref());
    metrics.key_id = authorized(request, "key_id").map(str::to_owned);
    metrics.execution_id = execution_id(request).ok().map(String::from);
    metrics
}

/// What the authorizer says of the caller in this field.
fn authorized<'a>(request: &'a Request, field: &str) -> Option<&'a str> {
    match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV1(context)) => {
            context.authorizer.fields.get(field).and_then(Value::as_str)
        }
        _ => None,
    }
}

/// The caller as the authorizer told it, and how its request has come to this stack. Fields that cannot
/// be read grant nothing.
pub fn caller(request: &Request, home: &Home) -> Result<Caller, Error> {
    let field = |name: &str| authorized(request, name);
    let permissions: Vec<String> =
        field("permissions").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let named = |name: &str| {
        field(name).map(|text| Credential::from(text.to_owned())).ok_or(Error::Unauthorized)
    };
    Ok(Caller {
        user_id: field("user_id").ok_or(Error::Unauthorized)?.to_owned().into(),
        credential: named("credential")?,
        // A token is the first of its own line.
        lineage: named("lineage").or_else(|_| named("credential"))?,
        permissions: permissions.iter().collect(),
        rate_limit: field("rate_limit").and_then(|text| text.parse().ok()).unwrap_or_default(),
        max_concurrent: field("max_concurrent").and_then(|text| text.parse().ok()),
        expires_at: field("expires_at")
            .and_then(|text| text.parse().ok())
            .map(Timestamp::from_millis),
        arrival: arrival(request, home),
    })
}

/// By which names the API is reached, as far as the request says it, and through which stacks the
/// request has come.
fn arrival(request: &Request, home: &Home) -> Arrival {
    // Whatever else a line holds.
    let lines = request.headers().get_all("cdn-loop").iter();
    let lines: Vec<_> = lines.map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
    let hops = Hops::read(lines.iter().flat_map(|line| split(line, ',')));
    match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV1(context)) => {
            let (api_id, domain) = (context.apiid.as_deref(), context.domain_name.as_deref());
            Arrival::new(home, api_id, domain, hops)
        }
        _ => Arrival::new(home, None, None, hops),
    }
}

/// The route as the template writes it, such as `/v1/executions/{execution_id}`.
#[must_use]
pub fn route(request: &Request) -> &str {
    match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV1(context)) => {
            context.resource_path.as_deref().unwrap_or_default()
        }
        _ => "",
    }
}

/// The id in the path. One that cannot be ours is not found, like any other unknown one.
pub fn execution_id(request: &Request) -> Result<ExecutionId, Error> {
    request
        .path_parameters_ref()
        .and_then(|parameters| parameters.first("execution_id"))
        .and_then(|text| text.parse().ok())
        .ok_or(Error::NotFound("execution"))
}

/// The `Idempotency-Key`, where there is one. Several that differ are refused, since nobody can
/// know which counts.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Error> {
    let mut key = None;
    for value in headers.get_all("idempotency-key") {
        // What is no ASCII is refused by the same rule as a key that is too long.
        let text = String::from_utf8_lossy(value.as_bytes());
        for line in lines_of(text.trim()) {
            let text = key_of(line).into_owned();
            if key.as_ref().is_some_and(|first| *first != text) {
                return Err(Error::invalid(
                    IdempotencyKey::FIELD,
                    "is sent more than once with different values",
                ));
            }
            key = Some(text);
        }
    }
    key.map(|text| IdempotencyKey::parse(&text)).transpose()
}

/// The lines of a header that stand in one, as a proxy may have put them together (RFC 9110 §5.3). A comma is
/// part of a key that has no quotes.
fn lines_of(text: &str) -> Vec<&str> {
    let lines: Vec<_> = split(text, ',').map(str::trim).collect();
    let is_quoted = |line: &&str| matches!(key_of(line), Cow::Owned(_));
    if lines.iter().all(is_quoted) { lines } else { vec![text] }
}

/// The key that a header says: as the draft has it, a string in quotes, with parameters behind it that
/// mean nothing (RFC 8941 §3.3); or, as most send it, any other text, which is the key itself.
fn key_of(text: &str) -> Cow<'_, str> {
    // A semicolon within the quotes does not separate.
    let item = split(text, ';').next().unwrap_or_default().trim_end();
    match unquoted(item) {
        Cow::Owned(key) => Cow::Owned(key),
        Cow::Borrowed(_) => Cow::Borrowed(text),
    }
}

/// What a quoted string says (RFC 8941 §3.3.3; RFC 9110 §5.6.4 has the same form). Other text is
/// itself.
fn unquoted(text: &str) -> Cow<'_, str> {
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let Some(inner) = inner else {
        return Cow::Borrowed(text);
    };
    let mut said = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            // One that escapes the last quote leaves the string without an end.
            '\\' => match characters.next() {
                Some(escaped) => said.push(escaped),
                None => return Cow::Borrowed(text),
            },
            // It ends before its last character, so it is no such string.
            '"' => return Cow::Borrowed(text),
            character => said.push(character),
        }
    }
    Cow::Owned(said)
}

/// The batch's id in the path.
pub fn batch_id(request: &Request) -> Result<BatchId, Error> {
    request
        .path_parameters_ref()
        .and_then(|parameters| parameters.first("batch_id"))
        .and_then(|text| text.parse().ok())
        .ok_or(Error::NotFound("batch"))
}

/// The subscription's id in the path.
pub fn subscription_id(request: &Request) -> Result<SubscriptionId, Error> {
    request
        .path_parameters_ref()
        .and_then(|parameters| parameters.first("subscription_id"))
        .and_then(|text| text.parse().ok())
        .ok_or(Error::NotFound("subscription"))
}

/// How long the caller would like to be held: `Prefer: wait=N` in seconds (RFC 7240), up to 25. Of
/// several only the first counts (§2).
#[must_use]
pub fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let wait = values.flat_map(|value| split(value, ',')).find_map(|preference| {
        // What follows a semicolon says more of this preference, and is none of its own.
        let (name, value) = split(preference, ';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then_some(value.trim())
    })?;
    let digits = unquoted(wait);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // More digits than there are seconds.
    let seconds = digits.parse().unwrap_or(u64::MAX);
    Some(Duration::from_secs(seconds).min(MAX_WAIT)).filter(|wait| !wait.is_zero())
}

/// The parts of a header's value between separators, of which those in quotes are none.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        let was_escaped = escaped;
        escaped = quoted && character == '\\' && !was_escaped;
        quoted ^= character == '"' && !was_escaped;
        !quoted && character == separator
    })
}

/// The address of the API: the public URL where one is configured, else what the request came by without
/// this route, with the stage. None where API Gateway does not say it.
#[must_use]
pub fn base(request: &Request, public_url: &str, route: &str) -> Option<String> {
    if !public_url.is_empty() {
        return Some(public_url.to_owned());
    }
    let Some(RequestContext::ApiGatewayV1(context)) = request.request_context_ref() else {
        return None;
    };
    let folder = context.path.as_deref()?.strip_suffix(route)?;
    Some(format!("https://{}{folder}", context.domain_name.as_deref()?))
}

/// Says that the caller's preferred wait was heeded.
#[must_use]
pub fn waited(mut response: Response<String>, wait: Duration) -> Response<String> {
    if let Ok(value) = HeaderValue::try_from(format!("wait={}", wait.as_secs())) {
        response.headers_mut().insert(HeaderName::from_static("preference-applied"), value);
    }
    response
}

/// 202 with the place of the new execution.
#[must_use]
pub fn accepted(
    request: &Request,
    public_url: &str,
    receipt: &Receipt,
    is_replayed: bool,
) -> Response<String> {
    let mut response = reply(202, receipt);
    locate(&mut response, request, public_url, receipt);
    say_replayed(&mut response, is_replayed);
    response
}

/// 202 with the place of the new batch.
#[must_use]
pub fn accepted_batch(
    request: &Request,
    public_url: &str,
    receipt: &BatchReceipt,
    is_replayed: bool,
) -> Response<String> {
    let mut response = reply(202, receipt);
    let place = format!("{BATCHES}/{}", receipt.batch_id);
    locate_at(&mut response, request, public_url, BATCHES, &place);
    say_replayed(&mut response, is_replayed);
    response
}

fn say_replayed(response: &mut Response<String>, is_replayed: bool) {
    if is_replayed {
        let name = HeaderName::from_static("idempotent-replayed");
        response.headers_mut().insert(name, HeaderValue::from_static("true"));
    }
}

/// 200 with the results of a run that ended while the caller was held.
#[must_use]
pub fn ended(
    request: &Request,
    public_url: &str,
    receipt: &Receipt,
    results: &Results,
) -> Response<String> {
    let mut response = reply(200, results);
    locate(&mut response, request, public_url, receipt);
    response
}

fn locate(response: &mut Response<String>, request: &Request, public_url: &str, receipt: &Receipt) {
    let place = format!("{EXECUTIONS}/{}", receipt.execution_id);
    locate_at(response, request, public_url, EXECUTIONS, &place);
}

/// `Location`, below the public URL where one is configured. Else it is on the host that the request came
/// by, with the stage: what stands before `route` in the path that the caller wrote.
fn locate_at(
    response: &mut Response<String>,
    request: &Request,
    public_url: &str,
    route: &str,
    place: &str,
) {
    let Some(RequestContext::ApiGatewayV1(context)) = request.request_context_ref() else {
        return;
    };
    let path = context.path.as_deref().unwrap_or_default();
    let stage = path.find(route).and_then(|at| path.get(..at)).unwrap_or_default();
    let base = match &context.domain_name {
        _ if !public_url.is_empty() => public_url.to_owned(),
        Some(domain) => format!("https://{domain}{stage}"),
        None => stage.to_owned(),
    };
    if let Ok(value) = HeaderValue::try_from(format!("{base}{place}")) {
        response.headers_mut().insert(header::LOCATION, value);
    }
}

#[cfg(test)]
mod tests {
    use aws_lambda_events::apigw::ApiGatewayProxyRequestContext;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{callback_url::CallbackUrl, loops::RelayId};

    #[test]
    fn a_preferred_wait_is_found_among_others_and_bounded() {
        let wait = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("prefer", HeaderValue::from_static(value));
            }
            preferred_wait(&headers).map(|wait| wait.as_secs())
        };

        for (value, seconds) in [
            ("wait=5", 5),
            ("Wait=5", 5),
            ("WAIT = 5", 5),
            ("wait\t=\t5", 5),
            ("wait=\"5\"", 5),
            ("wait=\"\\5\"", 5),
            ("wait=005", 5),
            ("wait=5;", 5),
            ("wait=5; x; y=z", 5),
            (" ,wait=5, ", 5),
            ("respond-async, wait=10", 10),
            ("respond-async,wait=10,wait=3", 10),
            ("foo=\"a, wait=3\", wait=4", 4),
            ("foo=\"a\\\", wait=3\", wait=4", 4),
            ("foo; bar=\"x;,\", wait=4", 4),
            ("return=minimal; foo=\"\", wait=6", 6),
            ("wait=99999999999", 25),
            ("wait=999999999999999999999999", 25),
        ] {
            assert_eq!(wait(&[value]), Some(seconds), "{value}");
        }
        assert_eq!(wait(&["handling=lenient", "wait=7; x"]), Some(7));
        for nothing in [
            "",
            "wait",
            "wait=",
            "wait=-1",
            "wait=+1",
            "wait=x",
            "wait=1.5",
            "wait=0",
            "wait=\"",
            "wait=\"5",
            "waiting=5",
            "await=5",
            "foo; wait=5",
            "foo=\"wait=5\"",
            "foo=\"x, wait=5",
            "wait=x, wait=5",
        ] {
            assert_eq!(wait(&[nothing]), None, "{nothing}");
        }
        assert_eq!(wait(&[]), None);
    }

    #[test]
    fn a_key_is_the_same_with_quotes_and_two_that_differ_are_refused() {
        let user = "someone".to_owned().into();
        let item = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("idempotency-key", HeaderValue::from_static(value));
            }
            idempotency_key(&headers).map(|key| key.map(|key| key.item(&user)))
        };
        let plain = item(&["K"]).unwrap();

        assert_eq!(item(&[]).unwrap(), None);
        assert!(plain.is_some());
        for same in [
            &["\"K\""][..],
            &["K", "K"],
            &["K", "\"K\""],
            &["\"\\K\""],
            &[" K "],
            &["\"K\";a=b"],
            &["\"K\"; a=\"x;y\";b;c=?1 "],
            &["\"K\" ;a"],
            &["\"K\";"],
            &["\"K\";a=1", "K", "\"K\";a=2"],
            &["\"K\", \"K\";a=1"],
        ] {
            assert_eq!(item(same).unwrap(), plain, "{same:?}");
        }
        for other in [
            &["\"K"][..],
            &["K\""],
            &["k"],
            &["\"a\"K\""],
            &["\"\"K\"\""],
            &["K;a=b"],
            &["\"K\"a=b"],
            &["\"K\\\""],
            &["\"K;a\""],
            &["\" K\""],
            &["K, K"],
            &["\"K\", L"],
        ] {
            assert_ne!(item(other).unwrap(), plain, "{other:?}");
        }
        assert_eq!(item(&["\"a\\\"b\""]).unwrap(), item(&["a\"b"]).unwrap());
        assert_eq!(item(&["\"a\\\\b\";c"]).unwrap(), item(&["a\\b"]).unwrap());
        for refused in [
            &["K", "L"][..],
            &["order-4711", "0f6c-random"],
            &["K", "K", "L"],
            &["K", ""],
            &["\"K\",\"L\""],
        ] {
            let said = item(refused).unwrap_err().to_string();
            assert!(
                said.ends_with("is sent more than once with different values"),
                "{refused:?}: {said}"
            );
        }
        for blank in [&[""][..], &["  "], &["\"\""], &["\"  \""], &["\"\";a=b"], &["", "\"\""]] {
            let said = item(blank).unwrap_err().to_string();
            assert_eq!(said, "Idempotency-Key must not be blank", "{blank:?}");
        }
        let mut headers = HeaderMap::new();
        headers.append("idempotency-key", HeaderValue::from_bytes("é".as_bytes()).unwrap());
        let said = idempotency_key(&headers).unwrap_err().to_string();
        assert_eq!(said, "Idempotency-Key must be 1 to 255 visible ASCII characters");
    }

    /// As RFC 8941 §4.1 writes a string.
    fn written(key: &str) -> String {
        format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))
    }

    proptest! {
        #[test]
        fn a_key_is_what_its_item_says_whatever_parameters_it_has(
            key in "[!-~][ -~]{0,40}",
            parameters in r#"( ?; ?[a-z*][a-z0-9_.*-]{0,5}(=([0-9]{1,3}|\?[01]|"([ !#-\[\]-~]|\\["\\]){0,8}"|[a-z/:]{1,5}))?){0,3}"#,
        ) {
            let header = written(&key) + &parameters;
            prop_assert_eq!(key_of(header.trim()), key.as_str());
        }

        #[test]
        fn a_key_without_quotes_is_itself(key in "[!#-~][ -~]{0,40}") {
            prop_assert_eq!(key_of(&key), key.as_str());
        }

        #[test]
        fn no_header_makes_it_panic(text in r#"[a\\"; é=]{0,12}"#) {
            let mut headers = HeaderMap::new();
            headers.append("idempotency-key", HeaderValue::from_bytes(text.as_bytes()).unwrap());
            let _ = idempotency_key(&headers);
        }
    }

    #[test]
    fn the_base_is_the_public_url_or_what_the_request_came_by() {
        let base = |domain: Option<&str>, path: Option<&str>, public_url: &str| {
            let mut context = ApiGatewayProxyRequestContext::default();
            context.domain_name = domain.map(str::to_owned);
            context.path = path.map(str::to_owned);
            let request = Request::default();
            let request = request.with_request_context(RequestContext::ApiGatewayV1(context));
            super::base(&request, public_url, "/openapi.json")
        };
        let host = Some("a1b2.execute-api.eu-west-1.amazonaws.com");
        let of_stage = Some("https://a1b2.execute-api.eu-west-1.amazonaws.com/live".to_owned());
        let own = "https://relay.example.com/agents";

        assert_eq!(base(host, Some("/live/openapi.json"), ""), of_stage);
        // A custom domain has the path that it is mapped to, or none.
        let custom = Some("relay.example.com");
        assert_eq!(
            base(custom, Some("/openapi.json"), ""),
            Some("https://relay.example.com".into())
        );
        assert_eq!(base(custom, Some("/agents/openapi.json"), "").as_deref(), Some(own));
        assert_eq!(base(host, Some("/live/openapi.json"), own).as_deref(), Some(own));
        // Then the document says where it is by itself.
        for (domain, path) in [
            (None, Some("/live/openapi.json")),
            (host, None),
            (host, Some("/live/other")),
            (host, Some("")),
        ] {
            assert_eq!(base(domain, path, ""), None, "{domain:?} {path:?}");
        }
        assert_eq!(super::base(&Request::default(), "", "/openapi.json"), None);
    }

    #[test]
    fn a_request_tells_which_way_it_has_come_whatever_else_its_header_holds() {
        let home = Home::new("stack", "https://agents.example.com");
        let own = Hops::default().header(&RelayId::of("stack"));
        let arrived = |lines: &[Vec<u8>]| {
            let mut context = ApiGatewayProxyRequestContext::default();
            context.apiid = Some("a1b2".to_owned());
            context.domain_name = Some("relay.example.com".to_owned());
            let mut request = Request::default();
            for line in lines {
                request.headers_mut().append("cdn-loop", HeaderValue::from_bytes(line).unwrap());
            }
            arrival(&request.with_request_context(RequestContext::ApiGatewayV1(context)), &home)
        };
        for (lines, is_loop) in [
            (vec![], false),
            (vec![own.clone().into_bytes()], true),
            (vec![b"cloudflare; loops=1".to_vec(), own.clone().into_bytes()], true),
            (vec![[b"\xff, ", own.as_bytes()].concat()], true),
            // Within quotes it is somebody else's text.
            (vec![format!("a; b=\"c, {own}\"").into_bytes()], false),
        ] {
            assert_eq!(arrived(&lines).refuse_loop().is_err(), is_loop, "{lines:?}");
        }
        for (host, is_own) in [
            ("agents.example.com", true),
            ("relay.example.com", true),
            ("a1b2.execute-api.eu-west-1.amazonaws.com", true),
            ("example.com", false),
        ] {
            let url = CallbackUrl::parse(&format!("https://{host}/"), &"".parse().unwrap());
            assert_eq!(arrived(&[]).refuse_own(&url.unwrap()).is_err(), is_own, "{host}");
        }
    }
}
