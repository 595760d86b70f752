//! The proxy through which the functions talk to AWS, and what it can do to a call.

use std::{collections::HashMap, env, fmt};

use serde_json::{Value, json};

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Throttled,
    Failed,
    Reset,
    /// It is done, but nobody is told. The SDK repeats it.
    LostOnce,
    /// The same three times: the function believes that it failed.
    Lost,
    /// A transaction holds the item of a write; a transaction is throttled in part. The SDK repeats
    /// neither.
    Conflict,
    /// The Lambda is killed instead.
    KilledBefore,
    /// It is done, and the Lambda is killed before it hears of it.
    KilledAfter,
    /// It is done so many milliseconds later. That costs nothing but time: it is what brings
    /// about a scenario, and no row.
    Late(u32),
}

impl Fault {
    /// All that any call may suffer here: the proxy finds a process only by Linux's `/proc`.
    pub(crate) const ALL: &[Self] = if cfg!(target_os = "linux") {
        &[
            Self::Throttled,
            Self::Failed,
            Self::Reset,
            Self::LostOnce,
            Self::Lost,
            Self::KilledBefore,
            Self::KilledAfter,
        ]
    } else {
        &[Self::Throttled, Self::Failed, Self::Reset, Self::LostOnce, Self::Lost]
    };

    /// How often it happens, so that the call fails for its function: the SDK makes it three times.
    pub(crate) const fn times(self) -> u64 {
        match self {
            Self::LostOnce
            | Self::Conflict
            | Self::KilledBefore
            | Self::KilledAfter
            | Self::Late(_) => 1,
            Self::Throttled | Self::Failed | Self::Reset | Self::Lost => 3,
        }
    }

    /// Whether the call is not done at all.
    pub(crate) const fn prevents(self) -> bool {
        match self {
            Self::Throttled | Self::Failed | Self::Reset | Self::Conflict | Self::KilledBefore => {
                true
            }
            Self::LostOnce | Self::Lost | Self::KilledAfter | Self::Late(_) => false,
        }
    }

    /// Whether whoever makes the call is killed.
    #[cfg(feature = "all")]
    pub(crate) const fn kills(self) -> bool {
        matches!(self, Self::KilledBefore | Self::KilledAfter)
    }

    /// The same, in the words of the proxy.
    pub(crate) fn effect(self, service: &str, operation: &str) -> (&'static str, Value) {
        match self {
            Self::Conflict if operation == "TransactWriteItems" => {
                let reasons = json!([{"Code": "None"}, {"Code": "ThrottlingError"}]);
                let fields = json!({"CancellationReasons": reasons});
                let code = "TransactionCanceledException";
                ("error", json!({"code": code, "status": 400, "fields": fields}))
            }
            Self::Conflict => {
                ("error", json!({"code": "TransactionConflictException", "status": 400}))
            }
            Self::Throttled if service == "sqs" => {
                ("error", json!({"code": "RequestThrottled", "status": 403}))
            }
            Self::Throttled => ("error", json!({"code": "ThrottlingException", "status": 400})),
            Self::Failed => ("error", json!({"code": "InternalServerError", "status": 500})),
            Self::Reset => ("reset", json!(true)),
            Self::LostOnce | Self::Lost => ("response", json!({"abort_bytes": 0})),
            Self::KilledBefore => ("error", json!({"code": "KilledBefore"})),
            Self::KilledAfter => ("response", json!({"set_headers": {"KilledAfter": "yes"}})),
            Self::Late(millis) => ("latency", json!(millis)),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Throttled => "throttled",
            Self::Failed => "500",
            Self::Reset => "reset",
            Self::LostOnce => "reply lost once",
            Self::Lost => "reply lost",
            Self::Conflict => "conflict",
            Self::KilledBefore => "killed before",
            Self::KilledAfter => "killed after",
            Self::Late(_) => "late",
        })
    }
}

/// A call that a function has made.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) function: String,
    pub(crate) service: String,
    pub(crate) operation: String,
    /// Its expressions, tables, queues and kinds of parts.
    pub(crate) says: String,
}

pub(crate) struct Proxy {
    url: String,
    http: reqwest::Client,
}

impl Proxy {
    pub(crate) fn connect() -> Self {
        let url =
            env::var("RELAY_TEST_FAULTS_URL").expect("no proxy: run the tests by `make test`");
        Self { url: format!("{url}/_microburst"), http: reqwest::Client::new() }
    }

    /// Adds rules, and returns their ids.
    pub(crate) async fn add(&self, rules: &[Value]) -> Vec<u64> {
        let body = json!(rules).to_string();
        let url = format!("{}/rules", self.url);
        let answer = self.http.patch(url).body(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        let rules: Vec<Value> = answer.json().await.unwrap();
        rules.iter().map(|rule| rule["id"].as_u64().unwrap()).collect()
    }

    /// How often each rule has been applied, by its id.
    pub(crate) async fn fired(&self) -> HashMap<u64, u64> {
        let url = format!("{}/rules", self.url);
        let rules: Vec<Value> = self.http.get(url).send().await.unwrap().json().await.unwrap();
        let fired = |rule: &Value| Some((rule["id"].as_u64()?, rule["fired_count"].as_u64()?));
        rules.iter().filter_map(fired).collect()
    }

    /// Removes all rules.
    pub(crate) async fn clear(&self) {
        let url = format!("{}/rules", self.url);
        let answer = self.http.delete(url).body("[]").send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// What each write has consumed since this was first asked for: the function, the operation, what
    /// it was about, and the units by table and index.
    pub(crate) async fn units(&self) -> Vec<(String, String, String, Value)> {
        let url = format!("{}/units", self.url);
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// The calls that were made since the engine was started, each once.
    pub(crate) async fn seen(&self) -> Vec<Seen> {
        let url = format!("{}/seen", self.url);
        let seen: Vec<[String; 4]> = self.http.get(url).send().await.unwrap().json().await.unwrap();
        let seen = seen.into_iter();
        seen.map(|[function, service, operation, says]| Seen { function, service, operation, says })
            .collect()
    }
}
