//! Two thousand requests of any content: the API refuses them, and never fails on one. Part of
//! `make test-all`.

use e2e::Stack;
use futures_util::{StreamExt, stream};
use proptest::{
    collection,
    prelude::*,
    sample,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use reqwest::Method;

const REQUESTS: usize = 2_000;
const CALLERS: usize = 8;

#[derive(Debug, Clone)]
struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

fn request() -> impl Strategy<Value = Request> {
    let method = sample::select(&["POST", "POST", "POST", "GET", "DELETE"]);
    let paths: &'static [&'static str] = &[
        "/v1/executions",
        "/v1/executions",
        "/v1/executions/mcp-echo-1/cancel",
        "/v1/executions/mcp-echo-1/input",
        "/v1/executions/%00",
        "/v1/subscriptions",
        "/v1/agents",
        "/",
        "/mcp",
    ];
    let path =
        (sample::select(paths), prop_oneof![Just(String::new()), "\\?[a-z]{1,9}=[a-z0-9%&]{0,9}"])
            .prop_map(|(path, query)| format!("{path}{query}"));
    let name = prop_oneof![
        sample::select(&[
            "X-API-KEY",
            "x-api-key",
            "Authorization",
            "AUTHORIZATION",
            "Idempotency-Key",
            "Prefer",
            "Content-Type",
            "Mcp-Method",
            "Mcp-Name",
            "MCP-Protocol-Version",
            "Accept",
            "Origin",
        ])
        .prop_map(str::to_owned),
        "[a-zA-Z][a-zA-Z0-9-]{0,20}",
    ];
    // What a client can send at all: no line's end, no NUL.
    let content = prop_oneof![
        "[ -~]{0,60}".prop_map(String::into_bytes),
        "(Bearer |Basic |bearer)[ -~]{0,60}".prop_map(String::into_bytes),
        "Bearer [A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}"
            .prop_map(String::into_bytes),
        "wait=[0-9]{0,3}0000000000".prop_map(String::into_bytes),
        collection::vec(0x80_u8..=0xff, 0..40),
    ];
    let body = prop_oneof![
        "[ -~]{0,200}".prop_map(String::into_bytes),
        collection::vec(any::<u8>(), 0..200),
        (1_usize..5_000).prop_map(|depth| "[".repeat(depth).into_bytes()),
        (1_usize..5_000).prop_map(|depth| format!("{{\"parameters\":{}", "{\"a\":".repeat(depth)).into_bytes()),
        "\\{\"agent_name\":\"echo\",\"input_message\":[0-9]{1,300}\\}".prop_map(String::into_bytes),
        "\\{\"agent_name\":\"echo\",\"timeout_seconds\":-?[0-9]{1,40}(e[0-9]{1,4})?\\}".prop_map(String::into_bytes),
        "\\{\"jsonrpc\":\"2.0\",\"id\":[0-9]{1,30},\"method\":\"[a-z/]{1,20}\",\"params\":[\\[\\]{}\"a-z:,]{0,40}\\}"
            .prop_map(String::into_bytes),
        "\\{\"tool\":\"[a-z_]{0,20}\",\"params\":\\{\"[a-z_]{0,12}\":[0-9\"]{0,20}\\}\\}".prop_map(String::into_bytes),
    ];
    (method, path, collection::vec((name, content), 0..6), body)
        .prop_map(|(method, path, headers, body)| Request { method, path, headers, body })
}

#[tokio::test]
async fn no_request_makes_the_api_fail() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*", "cancel:*"]).await;
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = request();
    let requests: Vec<_> =
        (0..REQUESTS).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect();
    let http = reqwest::Client::new();

    let answers: Vec<_> = stream::iter(requests.into_iter().enumerate())
        .map(|(index, request)| {
            let (http, user) = (&http, &user);
            async move {
                let method = Method::from_bytes(request.method.as_bytes()).unwrap();
                let url = format!("{}{}", user.stack.url, request.path);
                let mut sent = http.request(method, url).body(request.body.clone());
                for (name, content) in &request.headers {
                    sent = sent.header(name, content.as_slice());
                }
                // Every other caller has a key, so that the functions behind are reached.
                if index % 2 == 0 {
                    sent = sent.header("x-api-key", &user.key);
                }
                (sent.send().await.unwrap().status().as_u16(), request)
            }
        })
        .buffer_unordered(CALLERS)
        .collect()
        .await;

    let mut counts = std::collections::BTreeMap::<u16, usize>::new();
    for (status, request) in &answers {
        assert!(*status < 500, "{status}: {request:?}");
        *counts.entry(*status).or_default() += 1;
    }
    println!("{REQUESTS} requests were answered: {counts:?}");
    // They came as far as the functions, and not only to the authorizer.
    for status in [400, 401, 404, 422] {
        assert!(counts.contains_key(&status), "none was answered with {status}: {counts:?}");
    }
}
