//! Whatever a caller sends, the pure parts that read it answer or refuse, and never panic.

use std::collections::BTreeMap;

use proptest::{collection, prelude::*, sample};
use relay::{
    domain::{
        callback::check_headers, callback_url::CallbackUrl, error::Error,
        idempotency_key::IdempotencyKey, issuer::Issuer, network::CallbackAllow, outcome,
        request::StartBody, subscription::SubscribeBody, time::Timestamp,
    },
    http::parse::parse_object,
};
use serde_json::{Map, Value};

/// In all, 102,000.
const CASES: u32 = 17_000;

const FIELDS: [&str; 12] = [
    "agent_name",
    "input_message",
    "parameters",
    "callback_url",
    "callback_headers",
    "callback_events",
    "tags",
    "timeout_seconds",
    "queue_timeout_seconds",
    "url",
    "events",
    "headers",
];

/// Texts that have broken parsers before, and any others.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z0-9_-]{0,90}",
        "https?://[\\PC]{0,40}",
        "https://[a-z0-9.:@/?#%\\[\\]-]{0,60}",
        "execution\\.(completed|failed|running|progress|nothing)",
        "[\\r\\n\\t\\x00 -~]{0,40}",
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            collection::btree_map(text(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A body with fields of ours, and perhaps others, of any type.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![4 => sample::select(&FIELDS).prop_map(str::to_owned), 1 => text()];
    let object = collection::vec((field, value()), 0..8)
        .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>()));
    prop_oneof![
        4 => object.prop_map(|value| value.to_string().into_bytes()),
        1 => value().prop_map(|value| value.to_string().into_bytes()),
        1 => collection::vec(any::<u8>(), 0..200),
    ]
}

/// A refusal that blames the caller.
fn is_fair(error: &Error) -> bool {
    matches!(error, Error::Malformed(_) | Error::Invalid { .. } | Error::TooLarge { .. })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn a_start_is_understood_or_fairly_refused(body in body()) {
        let allow: CallbackAllow = "127.0.0.1".parse().unwrap();
        let request = parse_object::<StartBody>(&body).and_then(|body| body.check(&allow));
        match request {
            Ok(request) => {
                let input = request.input(&"someone".to_owned().into(), Timestamp::now());
                prop_assert!(input.is_ok_and(|input| serde_json::from_str::<Value>(&input).is_ok()));
            }
            Err(error) => prop_assert!(is_fair(&error), "{error:?}"),
        }
    }

    #[test]
    fn a_subscription_is_understood_or_fairly_refused(body in body()) {
        if let Err(error) = parse_object::<SubscribeBody>(&body) {
            prop_assert!(is_fair(&error), "{error:?}");
        }
    }

    #[test]
    fn a_callback_url_is_kept_byte_for_byte_or_refused(url in text()) {
        let allow: CallbackAllow = "127.0.0.1,example.com".parse().unwrap();
        if let Ok(parsed) = CallbackUrl::parse(&url, &allow) {
            let host = parsed.host();
            prop_assert!(!host.is_empty() && !host.contains(['/', '@', '\r', '\n']));
        }
    }

    #[test]
    fn headers_and_keys_are_taken_or_refused(name in text(), content in text()) {
        let headers = BTreeMap::from([(name.clone(), content.clone())]);
        if check_headers(&headers).is_ok() {
            prop_assert!(!name.contains(['\r', '\n', ':']) && !content.contains(['\r', '\n']));
        }
        if IdempotencyKey::parse(&content).is_ok() {
            prop_assert!((1..=255).contains(&content.len()));
        }
        drop(content.parse::<Issuer>());
        drop(content.parse::<CallbackAllow>());
    }

    #[test]
    fn any_output_of_an_agent_is_read(output in value()) {
        drop(outcome::normalise(&output.to_string()));
    }

    #[test]
    fn any_text_as_an_output_is_read(output in text()) {
        drop(outcome::normalise(&output));
    }
}
