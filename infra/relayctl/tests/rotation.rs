//! A key in a secret gets a successor: by the four steps of Secrets Manager, each repeated as after
//! an interruption.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use aws_sdk_secretsmanager::Client;
use e2e::{Stack, tool::Tool};
use relay::{
    domain::{api_key::ApiKeyHash, time::Timestamp},
    store::api_keys::ApiKeys,
};
use reqwest::Method;
use serde_json::{Value, json};

const RELAYCTL: Tool = Tool(env!("CARGO_BIN_EXE_relayctl"));
const DAY: u64 = 24 * 60 * 60 * 1000;

struct Managed {
    stack: Stack,
    secrets: Client,
    arn: String,
}

impl Managed {
    async fn create(user: &str) -> Self {
        let stack = Stack::connect().await;
        let create =
            ["--json", "keys", "create", "--user", user, "--managed", "--permission", "view:*"];
        let created = RELAYCTL.run(&create).await;
        assert!(created.ok && !created.text.contains("relay_"), "{created:?}");
        let arn = created.json()["secret_arn"].as_str().unwrap().to_owned();
        Self { secrets: Client::new(&stack.aws), arn, stack }
    }

    async fn key(&self, stage: &str) -> String {
        let read = self.secrets.get_secret_value().secret_id(&self.arn).version_stage(stage);
        let text = read.send().await.unwrap().secret_string.unwrap();
        let content: Value = serde_json::from_str(&text).unwrap();
        content["api_key"].as_str().unwrap().to_owned()
    }

    /// A version that is pending and has no content yet, as Secrets Manager makes it.
    async fn pending_version(&self) -> String {
        let put = self.secrets.put_secret_value().secret_id(&self.arn).version_stages("AWSPENDING");
        put.send().await.unwrap().version_id.unwrap()
    }

    async fn step(&self, step: &str, version: &str) -> Result<Value, Value> {
        let event = json!({"Step": step, "SecretId": self.arn, "ClientRequestToken": version});
        self.stack.invoke("RotateFunctionName", &event).await
    }

    /// Whether the API lets this key in.
    async fn works(&self, key: &str) -> bool {
        let answer = self.stack.request(Method::GET, "/v1/agents", &[("x-api-key", key)], "").await;
        assert!([200, 401].contains(&answer.status), "{answer:?}");
        answer.status == 200
    }

    fn keys(&self) -> ApiKeys {
        let table = self.stack.output("ApiKeysTable").to_owned();
        ApiKeys::new(self.stack.dynamodb.clone(), table)
    }

    async fn days_left(&self, key: &str) -> u64 {
        let row = self.keys().find(&ApiKeyHash::of(key)).await.unwrap().unwrap();
        row.expires_at.unwrap().millis_since(Timestamp::now()).div_ceil(DAY)
    }
}

#[tokio::test]
async fn a_key_in_a_secret_gets_a_successor_and_stays_valid_for_an_overlap() {
    let user = format!("user-{}", ulid::Ulid::generate());
    let managed = Managed::create(&user).await;
    let old = managed.key("AWSCURRENT").await;
    assert!(managed.works(&old).await);
    let version = managed.pending_version().await;

    // Nothing can be set or tested before it is created.
    assert!(managed.step("setSecret", &version).await.is_err());
    let mut created = Vec::new();
    for step in [
        "createSecret",
        "createSecret",
        "setSecret",
        "createSecret",
        "setSecret",
        "testSecret",
        "testSecret",
    ] {
        managed.step(step, &version).await.unwrap();
        created.push(managed.key("AWSPENDING").await);
    }
    created.dedup();
    let [new] = created.as_slice() else { panic!("{} keys were made", created.len()) };
    assert!(new.starts_with("relay_") && *new != old);
    assert!(managed.works(&old).await && managed.works(new).await);
    assert_eq!(managed.key("AWSCURRENT").await, old);
    for _ in 0..2 {
        managed.step("finishSecret", &version).await.unwrap();
        assert_eq!(managed.key("AWSCURRENT").await, *new);
        assert_eq!(managed.days_left(&old).await, 7);
        assert_eq!(managed.days_left(new).await, 30 + 2 * 7);
    }
    // Repeated from the start, it changes nothing.
    for step in ["createSecret", "setSecret", "testSecret"] {
        managed.step(step, &version).await.unwrap();
    }
    assert!(managed.works(&old).await && managed.works(new).await);
    let row = managed.keys().find(&ApiKeyHash::of(new)).await.unwrap().unwrap();
    assert_eq!((row.user_id.as_str(), row.permissions), (user.as_str(), vec!["view:*".to_owned()]));
    // What the old one has made is the new one's from the old one's end on.
    let first = ApiKeyHash::of(&old);
    assert_eq!(row.lineage, Some(first.to_hex()));
    let old = managed.keys().find(&first).await.unwrap().unwrap();
    assert_eq!(old.successor, Some(ApiKeyHash::of(new).to_hex()));
}

#[tokio::test]
async fn what_cannot_be_rotated_is_left_as_it_is() {
    let managed = Managed::create(&format!("user-{}", ulid::Ulid::generate())).await;
    let key = managed.key("AWSCURRENT").await;

    let unknown = managed.step("createSecret", "00000000-0000-0000-0000-000000000000").await;
    assert_eq!(unknown.unwrap_err()["errorType"], "Invalid");
    assert!(managed.step("dance", "x").await.is_err());
    managed.keys().revoke(&ApiKeyHash::of(&key)).await.unwrap();
    let version = managed.pending_version().await;
    let revoked = managed.step("createSecret", &version).await.unwrap_err();
    assert_eq!(revoked["errorType"], "Conflict", "{revoked}");
    assert!(!revoked.to_string().contains("relay_"));
    assert_eq!(managed.key("AWSCURRENT").await, key);
}
