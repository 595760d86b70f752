//! Tokens of an OAuth issuer: who has one is let in as its user, and every known attack is not.
//! One test, since one issuer listens where the stack expects it.

use std::{env, net::TcpListener};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use e2e::{Answer, Stack, eventually};
use relay::domain::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

const AUDIENCE: &str = "agent-relay-test";

/// An issuer's key of one kind, under its id.
enum Key {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Key {
    fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
        }
    }

    fn public(&self, kid: &str) -> Value {
        let mut jwk = match self {
            Self::Rsa(key) => {
                let public = key.public_key();
                json!({
                    "kty": "RSA", "use": "sig", "n": text(public.modulus().big_endian_without_leading_zero()),
                    "e": text(public.exponent().big_endian_without_leading_zero()),
                })
            }
            Self::Ec(key) => {
                // 4, then both coordinates (SEC 1, section 2.3.3).
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..])})
            }
            Self::Ed(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": text(key.public_key().as_ref())})
            }
        };
        jwk["kid"] = kid.into();
        jwk["alg"] = self.algorithm().into();
        jwk
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Ec(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with this key's signature.
    fn token(&self, kid: &str, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.algorithm(), "kid": kid, "typ": "at+jwt"}), claims)
    }

    fn token_with(&self, header: &Value, claims: &Value) -> String {
        signed(header, claims, |message| self.sign(message))
    }
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn signed(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", text(header.to_string()), text(claims.to_string()));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", text(signature))
}

/// The issuer that the test stack trusts, with a key of each kind.
struct Issuer {
    stack: Stack,
    server: MockServer,
    url: String,
    rsa: Key,
    ec: Key,
    ed: Key,
    now: i64,
    subject: String,
}

impl Issuer {
    async fn start() -> Self {
        let url = env::var("RELAY_TEST_ISSUER").expect("no issuer: run the tests by `make test`");
        let listener = TcpListener::bind(url.strip_prefix("http://").unwrap()).unwrap();
        let now = Timestamp::now().seconds();
        let issuer = Self {
            stack: Stack::connect().await,
            server: MockServer::builder().listener(listener).start().await,
            url,
            rsa: Key::rsa(),
            ec: Key::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
            ed: Key::Ed(Ed25519KeyPair::generate().unwrap()),
            now,
            subject: format!("sub-{now}"),
        };
        // A key of a kind that nobody knows spoils nothing.
        let odd = json!({"kty": "AKP", "kid": "odd", "alg": "ML-DSA-65", "pub": "AA"});
        let keys = [issuer.rsa.public("rsa"), issuer.ec.public("ec"), odd, issuer.ed.public("ed")];
        issuer.publish(&keys).await;
        issuer
    }

    /// Publishes these keys and no others.
    async fn publish(&self, keys: &[Value]) {
        let url = &self.url;
        self.server.reset().await;
        let metadata = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let answer = |body: &Value| ResponseTemplate::new(200).set_body_json(body);
        // This issuer has the metadata of OAuth alone (RFC 8414), not those of OpenID Connect.
        let place = path("/.well-known/oauth-authorization-server");
        Mock::given(place).respond_with(answer(&metadata)).mount(&self.server).await;
        let keys = answer(&json!({"keys": keys}));
        Mock::given(path("/keys")).respond_with(keys).mount(&self.server).await;
    }

    /// Good claims, but for these changes; null takes a claim away.
    fn claims(&self, changes: &Value) -> Value {
        let mut claims = json!({
            "iss": self.url, "aud": ["other", AUDIENCE], "sub": self.subject, "iat": self.now,
            "exp": self.now + 600, "scope": "openid execute:echo view:* *:*",
        });
        let claims = claims.as_object_mut().unwrap();
        claims.extend(changes.as_object().unwrap().clone());
        claims.retain(|_, value| !value.is_null());
        Value::Object(claims.clone())
    }

    /// Tokens whose claims don't hold, though their signature does.
    fn unfit(&self, attacker: &str) -> Vec<(&'static str, String)> {
        let table = [
            ("another audience", json!({"aud": "agent-relay"})),
            ("no audience", json!({"aud": null})),
            ("another issuer", json!({"iss": attacker})),
            ("nearly the issuer", json!({"iss": format!("{}/", self.url)})),
            ("no issuer", json!({"iss": null})),
            ("an expired one", json!({"exp": self.now - 120})),
            ("one without an end", json!({"exp": null})),
            ("an end that is no number", json!({"exp": "never"})),
            ("one of the future", json!({"nbf": self.now + 300})),
            ("no subject", json!({"sub": null})),
            ("an empty subject", json!({"sub": ""})),
            ("a subject of two lines", json!({"sub": "a\nb"})),
            ("a long subject", json!({"sub": "a".repeat(256)})),
            ("a huge one", json!({"pad": "x".repeat(12_000)})),
        ];
        table.map(|(what, changes)| (what, self.rsa.token("rsa", &self.claims(&changes)))).into()
    }

    /// Tokens whose claims hold, and whose signature does not.
    fn forged(&self, attacker: &str) -> Vec<(&'static str, String)> {
        let (rsa, ec, claims) = (&self.rsa, &self.ec, &self.claims(&json!({})));
        let stranger = Key::rsa();
        let header = |fields: Value| {
            let mut header = json!({"alg": "RS256", "kid": "rsa"});
            header.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            header
        };
        let Key::Rsa(pair) = rsa else { unreachable!() };
        let hmac_by = |secret: &[u8]| {
            let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
            let sign = |message: &[u8]| hmac::sign(&secret, message).as_ref().to_vec();
            signed(&header(json!({"alg": "HS256"})), claims, sign)
        };
        let sha512 = |message: &[u8]| {
            let mut signature = vec![0; pair.public_modulus_len()];
            let random = SystemRandom::new();
            pair.sign(&RSA_PKCS1_SHA512, &random, message, &mut signature).unwrap();
            signature
        };
        let unsigned = |alg: &str| signed(&header(json!({"alg": alg})), claims, |_| vec![]);
        let good = rsa.token("rsa", claims);
        let (message, signature) = good.rsplit_once('.').unwrap();
        let (head, _) = message.split_once('.').unwrap();
        let other_claims = text(self.claims(&json!({"sub": "admin"})).to_string());
        let own_key = header(json!({"jwk": stranger.public("rsa")}));
        let own_address = header(json!({"kid": "mine", "jku": attacker, "x5u": attacker}));
        let critical = header(json!({"crit": ["b64"], "b64": false}));
        vec![
            ("no signature", format!("{message}.")),
            ("alg none", unsigned("none")),
            ("alg None", unsigned("None")),
            ("no alg", rsa.token_with(&json!({"kid": "rsa"}), claims)),
            (
                "HS256 with the modulus",
                hmac_by(pair.public_key().modulus().big_endian_without_leading_zero()),
            ),
            ("HS256 with the key's text", hmac_by(rsa.public("rsa").to_string().as_bytes())),
            ("RS512", signed(&header(json!({"alg": "RS512"})), claims, sha512)),
            ("another's key", stranger.token("rsa", claims)),
            ("the key of another kind", ec.token_with(&header(json!({"alg": "ES256"})), claims)),
            (
                "another alg than its key's",
                rsa.token_with(&header(json!({"alg": "ES256"})), claims),
            ),
            ("other claims", format!("{head}.{other_claims}.{signature}")),
            ("a signature cut short", good[..good.len() - 4].to_owned()),
            ("four parts", format!("{good}.x")),
            ("an unknown kid", rsa.token("nobody", claims)),
            ("no kid", rsa.token_with(&json!({"alg": "RS256"}), claims)),
            ("a kid that is a path", rsa.token("../../keys", claims)),
            ("a kid that is SQL", rsa.token("x' UNION SELECT 'rsa", claims)),
            ("a kid of the wrong type", rsa.token_with(&header(json!({"kid": 7})), claims)),
            ("the odd key's kid", rsa.token("odd", claims)),
            ("its own key", stranger.token_with(&own_key, claims)),
            ("the address of its own key", stranger.token_with(&own_address, claims)),
            ("a critical header", rsa.token_with(&critical, claims)),
            ("nonsense", "a.b.c".to_owned()),
            ("points", "..".to_owned()),
        ]
    }

    async fn get(&self, token: &str, path: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        self.stack.request(Method::GET, path, &[("authorization", &bearer)], "").await
    }
}

#[tokio::test]
async fn a_token_is_worth_what_its_issuer_says_and_a_forged_one_nothing() {
    let issuer = Issuer::start().await;
    accepted(&issuer).await;
    worth_its_scopes(&issuer).await;
    refused(&issuer).await;
    keys_change(&issuer).await;
}

async fn accepted(issuer: &Issuer) {
    let Issuer { rsa, ec, ed, now, .. } = issuer;
    for (key, kid) in [(rsa, "rsa"), (ec, "ec"), (ed, "ed")] {
        let token = key.token(kid, &issuer.claims(&json!({})));
        let answer = issuer.get(&token, "/v1/agents").await;
        assert_eq!(answer.status, 200, "{kid}: {answer:?}");
    }
    for changes in [
        json!({"aud": AUDIENCE}),
        json!({"exp": now - 30}),
        json!({"nbf": now + 30}),
        json!({"scope": null, "permissions": ["view:*"]}),
        json!({"scope": null, "scp": ["view:*"]}),
        json!({"scope": format!("openid {AUDIENCE}/view:*")}),
    ] {
        let token = ed.token("ed", &issuer.claims(&changes));
        let answer = issuer.get(&token, "/v1/agents").await;
        assert_eq!(answer.status, 200, "{changes}: {answer:?}");
        assert!(!answer.body["agents"].as_array().unwrap().is_empty(), "{changes}");
    }
}

/// It is for its user alone, and `*:*` is not for tokens.
async fn worth_its_scopes(issuer: &Issuer) {
    let Issuer { stack, subject, .. } = issuer;
    let token = issuer.ec.token("ec", &issuer.claims(&json!({})));
    let bearer = format!("Bearer {token}");
    let start = async |agent: &str| {
        let body = json!({"agent_name": agent, "input_message": "x"}).to_string();
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        stack.request(Method::POST, "/v1/executions", &headers, body).await
    };

    let started = start("echo").await;
    assert_eq!(started.status, 202, "{started:?}");
    let run = format!("/v1/executions/{}", started.text("execution_id"));
    assert_eq!(issuer.get(&token, &run).await.status, 200);
    let row = stack.parts(&started.text("execution_id")).await["state"].clone();
    assert_eq!(row["user_id"], format!("test|{subject}"));
    // A key whose user has the same name is somebody else's.
    let key = stack.key(subject, &["view:*"], json!({})).await;
    assert_eq!(stack.request(Method::GET, &run, &[("x-api-key", &key)], "").await.status, 404);
    let refused = start("assistant").await;
    let missing = "permission execute:assistant is missing";
    assert_eq!((refused.status, refused.text("detail").as_str()), (403, missing));
    let everything =
        format!("{AUDIENCE}/view:* {AUDIENCE}/*:* https://elsewhere.example/execute:*");
    let named = issuer.ec.token("ec", &issuer.claims(&json!({"scope": everything})));
    assert_eq!(issuer.get(&named, "/v1/me").await.body["permissions"], json!(["view:*"]));
    for token in [token, named] {
        let others = issuer.get(&token, "/v1/executions?owner=somebody").await;
        let refused = (others.status, others.text("detail"));
        assert_eq!(refused, (403, "permission *:* is missing".to_owned()));
    }
}

async fn refused(issuer: &Issuer) {
    let attacker = MockServer::start().await;
    for (what, token) in
        issuer.unfit(&attacker.uri()).into_iter().chain(issuer.forged(&attacker.uri()))
    {
        let answer = issuer.get(&token, "/v1/agents").await;
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
    }
    assert_eq!(attacker.received_requests().await.unwrap().len(), 0, "an attacker was asked");
}

async fn keys_change(issuer: &Issuer) {
    let Issuer { server, rsa, .. } = issuer;
    let claims = issuer.claims(&json!({}));
    // Unknown key ids don't make us ask the issuer each time.
    let asked = server.received_requests().await.unwrap().len();
    for kid in 0..20 {
        let token = rsa.token(&format!("unknown-{kid}"), &claims);
        assert_eq!(issuer.get(&token, "/v1/agents").await.status, 401);
    }
    let asked = server.received_requests().await.unwrap().len() - asked;
    assert!(asked < 20, "the issuer was asked {asked} times");

    let next = Key::rsa();
    issuer.publish(&[next.public("next")]).await;
    let token = next.token("next", &claims);
    eventually("the new key to be known", async || {
        (issuer.get(&token, "/v1/agents").await.status == 200).then_some(())
    })
    .await;
}
