//! The description of the API that it serves holds for what it really answers.

use e2e::{Answer, Stack, receiver::Receiver};
use reqwest::Method;
use serde_json::{Value, json};

/// Whether this operation may answer so, by the description.
fn fits(document: &Value, operation: &str, answer: &Answer) {
    let mut operations = document["paths"].as_object().unwrap().values().flat_map(|methods| {
        methods.as_object().unwrap().values().filter(|it| it["operationId"] == operation)
    });
    let response = &operations.next().unwrap()["responses"][answer.status.to_string()];
    assert!(response.is_object(), "{operation} may not answer {}", answer.status);
    let kind = answer.header("content-type");
    let Some(content) = response.get("content").map(|content| &content[kind]) else {
        assert_eq!(answer.body, "", "{operation}");
        return;
    };
    let mut schema = content["schema"].clone();
    schema["components"] = document["components"].clone();
    jsonschema::validate(&schema, &answer.body)
        .unwrap_or_else(|error| panic!("{operation}, {}: {error}: {}", answer.status, answer.body));
}

#[tokio::test]
async fn answers_are_as_described() {
    let stack = Stack::connect().await;
    let document = stack.request(Method::GET, "/openapi.json", &[], "").await;
    assert_eq!((document.status, &document.body["openapi"]), (200, &json!("3.1.0")));
    // The engine does not say by which host it was asked, so this is the folder of the document.
    assert_eq!(document.body["servers"], json!([{"url": "."}]));
    let user = stack.user(&["execute:*", "view:*", "cancel:*", "manage:*"]).await;
    let nobody = stack.user(&[]).await;
    let receiver = Receiver::start().await;
    let check = |operation: &str, answer: Answer| {
        fits(&document.body, operation, &answer);
        answer
    };
    let body = json!({"agent_name": "echo", "input_message": "x", "callback_url": receiver.url()});

    let started = check("startExecution", user.post(&body).await).text("execution_id");
    let path = format!("/v1/executions/{started}");
    check("getExecution", user.get(&path).await);
    check("getResults", user.get(&format!("{path}/results")).await);
    let waited = user.post_with(&[("prefer", "wait=20")], &body).await;
    assert_eq!(check("startExecution", waited).status, 200);
    receiver.wait_for(2).await;
    check("getExecution", user.wait_for(&started, "completed").await);
    check("getResults", user.get(&format!("{path}/results?include_metadata=true")).await);
    check("listExecutions", user.get("/v1/executions").await);
    check("listDeliveries", user.get(&format!("{path}/deliveries")).await);
    check("listAgents", user.get("/v1/agents").await);
    let me = check("getMe", user.get("/v1/me").await).body;
    assert_eq!((&me["user_id"], &me["is_admin"]), (&json!(user.id), &json!(false)));
    let subscription = json!({"url": receiver.url(), "events": ["execution.failed"]}).to_string();
    let added = user.send(Method::POST, "/v1/subscriptions", &[], subscription).await;
    let added = format!("/v1/subscriptions/{}", check("subscribe", added).text("id"));
    check("getSubscription", user.get(&added).await);
    check("listSubscriptions", user.get("/v1/subscriptions").await);
    let change = async |what: &str, body: &str| {
        user.send(Method::POST, &format!("{added}/{what}"), &[], body.to_owned()).await
    };
    check("testSubscription", change("test", "").await);
    check("enableSubscription", change("enable", "").await);
    let recovered = change("recover", r#"{"since": "2026-01-01T00:00:00Z"}"#).await;
    assert_eq!(check("recoverSubscription", recovered).status, 202);
    check("recoverSubscription", change("recover", "{}").await);
    check("getSubscriptionSecret", user.get(&format!("{added}/secret")).await);
    check("rotateSubscriptionSecret", change("secret/rotate", "").await);
    check("unsubscribe", user.send(Method::DELETE, &added, &[], "").await);
    check("getWebhookSecret", user.get("/v1/webhook-secret").await);
    let rotate = user.send(Method::POST, "/v1/webhook-secret/rotate", &[], "").await;
    check("rotateWebhookSecret", rotate);

    // What is refused is described as well.
    check("startExecution", nobody.post(&body).await);
    check("startExecution", user.post(&json!({})).await);
    check("startExecution", user.post(&json!([])).await);
    check("getExecution", nobody.get(&path).await);
    check("listExecutions", user.get("/v1/executions?limit=0").await);
    let cancel = format!("{path}/cancel");
    check("cancelExecution", user.send(Method::POST, &cancel, &[], "").await);
    let input = format!("{path}/input");
    let answer = user.send(Method::POST, &input, &[], r#"{"answer": 1}"#).await;
    assert_eq!(check("answerExecution", answer).status, 409);
    let anonymous = stack.request(Method::GET, "/v1/agents", &[], "").await;
    assert_eq!(check("listAgents", anonymous).status, 401);
}

#[tokio::test]
async fn each_operation_but_the_description_itself_asks_for_a_key() {
    let stack = Stack::connect().await;
    let document = stack.request(Method::GET, "/openapi.json", &[], "").await;
    let mut asked = 0;
    for (path, methods) in document.body["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let path = path.replace(['{', '}'], "");
            for headers in [&[][..], &[("x-api-key", "relay_wrong")]] {
                let status = stack.request(method.clone(), &path, headers, "").await.status;
                let expected = match operation["operationId"].as_str().unwrap() {
                    "getDescription" => 200,
                    "getLinkedQuestion" => 404,
                    "answerByLink" => 400,
                    _ => 401,
                };
                assert_eq!(status, expected, "{method} {path}");
                asked += 1;
            }
        }
    }
    for path in ["/mcp", "/"] {
        assert_eq!(stack.request(Method::POST, path, &[], "{}").await.status, 401, "{path}");
    }
    assert!(asked > 30, "{asked}");
}
