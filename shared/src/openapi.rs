//! The REST API as an OpenAPI 3.1 document, made of the very types that it reads and writes.
//! `infra/openapi.json` is this document, and what `GET /openapi.json` answers.

use schemars::{
    JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, transform::RecursiveTransform,
};
use serde_json::{Map, Value, json};

use crate::{
    agent::AgentName,
    answer::{
        AgentList, DeliveryList, DeliveryView, ExecutionList, Monitor, Receipt, Results,
        SubscriptionList,
    },
    execution::{ExecutionId, Status},
    problem::Problem,
    request::{IdempotencyKey, StartBody},
    service::{
        change::{AnswerBody, Answered, Cancelling},
        read::ListRequest,
        subscribe::{RecoverBody, Recovered, SecretView, Subscribed, TestView},
    },
    subscription::{SubscribeBody, SubscriptionId, SubscriptionView},
};

/// What a route may refuse besides what all may: 401, 429, 500 and 503.
#[derive(Clone, Copy)]
enum Refuses {
    /// A body: 400, 413, 422.
    Body,
    /// The lack of a permission: 403.
    Permission,
    /// An unknown id: 404.
    Id,
    /// What the state of things does not allow: 409.
    State,
    /// A parameter of the query, or a header: 422.
    Parameter,
}

impl Refuses {
    const fn statuses(self) -> &'static [u16] {
        match self {
            Self::Body => &[400, 413, 422],
            Self::Permission => &[403],
            Self::Id => &[404],
            Self::State => &[409],
            Self::Parameter => &[422],
        }
    }
}

const WAIT: &str = "`wait=N`: hold the answer for up to N seconds, at most 25, until the run has ended or asks something.";
const EXECUTION_ID: &str = "mcp-echo-01m82fnbk6he8p6hq9b40e0c0s";

/// The address of the API in the document: the folder that the document is read from.
const SERVER: &str = ".";

/// The document as it is served at this address; unknown, it stays as it is.
#[must_use]
pub fn at(document: &str, base: Option<&str>) -> String {
    let Some(base) = base else {
        return document.to_owned();
    };
    let url = |url: &str| format!("\"url\": {}", Value::from(url));
    document.replacen(&url(SERVER), &url(base), 1)
}

/// The whole document.
#[must_use]
pub fn document() -> Value {
    let mut document = Document::new();
    document.executions();
    document.inputs();
    document.deliveries();
    document.subscriptions();
    document.others();
    document.finish()
}

struct Document {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
    paths: Map<String, Value>,
}

/// One operation, as it is put together.
struct Operation<'a> {
    document: &'a mut Document,
    path: &'static str,
    method: &'static str,
    value: Value,
}

impl Document {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12()
            .with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
            .with_transform(RecursiveTransform(simplify));
        Self {
            requests: settings.clone().for_deserialize().into_generator(),
            answers: settings.for_serialize().into_generator(),
            paths: Map::new(),
        }
    }

    fn operation(
        &mut self,
        method: &'static str,
        path: &'static str,
        id: &str,
        summary: &str,
    ) -> Operation<'_> {
        let names = path.split(['{', '}']).skip(1).step_by(2);
        let parameters: Vec<_> = names
            .map(|name| {
                let schema = match name {
                    "execution_id" => self.requests.subschema_for::<ExecutionId>(),
                    "subscription_id" => self.requests.subschema_for::<SubscriptionId>(),
                    _ => self.requests.subschema_for::<String>(),
                };
                json!({"name": name, "in": "path", "required": true, "schema": schema})
            })
            .collect();
        let value = json!({
            "operationId": id, "summary": summary, "parameters": parameters, "responses": {},
        });
        Operation { document: self, path, method, value }.refuses(&[])
    }

    fn executions(&mut self) {
        use Refuses::{Body, Id, Parameter, Permission, State};

        let receipt = json!({
            "execution_id": EXECUTION_ID, "status": "started", "agent_name": "echo",
            "estimated_time": 2.05, "poll_interval": 5,
        });
        self.operation("post", "/v1/executions", "startExecution", "Start an agent.")
            .header(
                "Idempotency-Key",
                "A start that is repeated with the same key is accepted once. Quotes around the key, and what \
                 follows them behind a semicolon, are no part of it.",
                &json!({
                    "type": "string", "pattern": "^[ -~]*[!-~][ -~]*$", "minLength": 1,
                    "maxLength": IdempotencyKey::MAX_LENGTH,
                }),
            )
            .header("Prefer", WAIT, &json!({"type": "string"}))
            .body::<StartBody>(&json!({
                "agent_name": "echo", "input_message": "Hello", "parameters": {"wait_seconds": 1},
                "callback_url": "https://example.com/webhook-waiting/1", "tags": {"order": "4711"},
            }))
            .answers::<Receipt>(202, "It is accepted, and will be launched.", &receipt)
            .tells(202, "Location", "Where the run is.", &json!({"type": "string"}))
            .answers::<Results>(200, "It has ended while the answer was held.", &results())
            .tells(200, "Location", "Where the run is.", &json!({"type": "string"}))
            .refuses(&[Body, Permission, Id, State]);
        let agent_name = self.requests.subschema_for::<AgentName>();
        let list = self.operation(
            "get",
            "/v1/executions",
            "listExecutions",
            "List your runs, newest first.",
        );
        let list = list
            .query("agent_name", "Only runs of this agent.", &json!(agent_name))
            .query(
                "limit",
                "How many at most; 20 when not given.",
                &json!({"type": "integer", "minimum": 1, "maximum": ListRequest::MAX_LIMIT}),
            )
            .query("cursor", "The `next_cursor` of the page before.", &json!({"type": "string"}))
            .query(
                "owner",
                "Another user's runs, for an administrator.",
                &json!({"type": "string", "minLength": 1, "maxLength": ListRequest::MAX_OWNER}),
            )
            .query(
                "trouble",
                "Only runs that failed or timed out, or whose news could not be delivered, by the time of that; \
                 for an administrator those of all users, unless `owner` is given.",
                &json!({"type": "boolean"}),
            );
        let statuses: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
        list.query(
            "status",
            "Only runs with this status.",
            &json!({"type": "string", "enum": statuses}),
        )
        .answers::<ExecutionList>(200, "A page of them.", &json!({"executions": [monitor()]}))
        .refuses(&[Permission, Parameter]);
        self.operation(
            "get",
            "/v1/executions/{execution_id}",
            "getExecution",
            "See where a run stands.",
        )
        .header("Prefer", WAIT, &json!({"type": "string"}))
        .answers::<Monitor>(200, "Where it stands.", &monitor())
        .refuses(&[Permission, Id]);
        self.operation(
            "get",
            "/v1/executions/{execution_id}/results",
            "getResults",
            "Get the results of a run.",
        )
        .query(
            "include_metadata",
            "Whether to add the input, the tags and the raw output.",
            &json!({"type": "boolean"}),
        )
        .answers::<Results>(200, "Its results, or that it has not ended.", &results())
        .refuses(&[Permission, Id, Parameter]);
        self.operation(
            "post",
            "/v1/executions/{execution_id}/cancel",
            "cancelExecution",
            "Ask for the end of a run.",
        )
        .answers::<Cancelling>(
            202,
            "It will end within seconds.",
            &json!({"execution_id": EXECUTION_ID, "status": "cancelling"}),
        )
        .refuses(&[Permission, Id, State]);
    }

    fn inputs(&mut self) {
        use Refuses::{Body, Id, Permission, State};

        let question = "96dc4dc0a96f980b54b807b053cf8825";
        self.operation(
            "post",
            "/v1/executions/{execution_id}/input",
            "answerExecution",
            "Answer what an agent asks.",
        )
        .body::<AnswerBody>(&json!({"answer": {"approved": true}, "question_id": question}))
        .answers::<Answered>(
            202,
            "The agent will be given the answer.",
            &json!({
                "execution_id": EXECUTION_ID, "question_id": question, "status": "answered",
            }),
        )
        .refuses(&[Body, Permission, Id, State]);
    }

    fn deliveries(&mut self) {
        use Refuses::{Id, Parameter, Permission, State};

        let delivery = json!({
            "id": "msg_c5f17ca7697d2e688b69fcc7f268afd6", "type": "execution.completed",
            "state": "delivered", "target": "callback", "attempt_count": 1, "put_off": 0, "attempts": [{
                "at": "2026-01-31T09:00:02.400Z", "duration_ms": 31, "status": 200, "detail": "",
            }],
        });
        self.operation(
            "get",
            "/v1/executions/{execution_id}/deliveries",
            "listDeliveries",
            "See what became of a run's callbacks.",
        )
        .query(
            "limit",
            "How many at most; 100 when not given.",
            &json!({"type": "integer", "minimum": 1, "maximum": ListRequest::MAX_LIMIT}),
        )
        .query("cursor", "The `next_cursor` of the page before.", &json!({"type": "string"}))
        .answers::<DeliveryList>(
            200,
            "A page of them, with their attempts.",
            &json!({"deliveries": [delivery]}),
        )
        .refuses(&[Permission, Id, Parameter]);
        self.operation(
            "post",
            "/v1/executions/{execution_id}/deliveries/{delivery_id}/redeliver",
            "redeliver",
            "Have a callback made again.",
        )
        .answers::<DeliveryView>(202, "It is owed again.", &delivery)
        .refuses(&[Permission, Id, State, Parameter]);
    }

    fn subscriptions(&mut self) {
        use Refuses::{Body, Id, Parameter, Permission, State};

        let subscription = json!({
            "id": "sub_01m82fnbk6he8p6hq9b40e0c0s", "url": "https://example.com/hook",
            "events": ["execution.failed"], "agent_name": null, "created_at": "2026-01-31T09:00:00.000Z",
            "key_id": "ba7816bf8f01cfea", "last_success_at": "2026-01-31T09:00:02.400Z", "failures": 0,
        });
        let mut subscribed = subscription.clone();
        subscribed["secret"] = json!("whsec_…");
        self.operation(
            "post",
            "/v1/subscriptions",
            "subscribe",
            "Have the news of all your runs sent to a URL.",
        )
        .body::<SubscribeBody>(
            &json!({"url": "https://example.com/hook", "events": ["execution.failed"]}),
        )
        .answers::<Subscribed>(201, "It is there.", &subscribed)
        .refuses(&[Body, Permission, State]);
        self.operation(
            "get",
            "/v1/subscriptions",
            "listSubscriptions",
            "List your subscriptions, oldest first.",
        )
        .answers::<SubscriptionList>(
            200,
            "Those of your key; with `manage:*`, of all keys of its user.",
            &json!({"subscriptions": [subscription]}),
        );
        self.operation(
            "get",
            "/v1/subscriptions/{subscription_id}",
            "getSubscription",
            "See a subscription.",
        )
        .answers::<SubscriptionView>(200, "It.", &subscription)
        .refuses(&[Id]);
        self.operation(
            "delete",
            "/v1/subscriptions/{subscription_id}",
            "unsubscribe",
            "Remove a subscription.",
        )
        .nothing("It is gone.")
        .refuses(&[Id]);
        self.operation(
            "post",
            "/v1/subscriptions/{subscription_id}/test",
            "testSubscription",
            "Have a test sent to a subscription, once.",
        )
        .answers::<TestView>(
            202,
            "It is owed.",
            &json!({"delivery_id": "msg_c5f17ca7697d2e688b69fcc7f268afd6"}),
        )
        .refuses(&[Id, State, Parameter]);
        self.health(&subscription);
        self.secrets();
    }

    fn health(&mut self, subscription: &Value) {
        use Refuses::{Body, Id, Permission, State};

        self.operation(
            "post",
            "/v1/subscriptions/{subscription_id}/enable",
            "enableSubscription",
            "Have a subscription told again that was disabled.",
        )
        .answers::<SubscriptionView>(
            200,
            "It is not disabled any more, or never was.",
            subscription,
        )
        .refuses(&[Permission, Id, State]);
        self.operation(
            "post",
            "/v1/subscriptions/{subscription_id}/recover",
            "recoverSubscription",
            "Have what was given up made again.",
        )
        .body::<RecoverBody>(&json!({"since": "2026-01-31T09:00:00Z"}))
        .answers::<Recovered>(
            202,
            "So many deliveries are owed again, at most 100, under the ids that they had.",
            &json!({"recovered": 2}),
        )
        .refuses(&[Body, Permission, Id, State]);
    }

    fn secrets(&mut self) {
        use Refuses::{Id, Permission, State};

        let secret = json!({"secret": "whsec_…", "generation": 0});
        self.operation(
            "get",
            "/v1/subscriptions/{subscription_id}/secret",
            "getSubscriptionSecret",
            "Get what a subscription's webhooks are signed with.",
        )
        .answers::<SecretView>(200, "It.", &secret)
        .refuses(&[Permission, Id]);
        self.operation(
            "post",
            "/v1/subscriptions/{subscription_id}/secret/rotate",
            "rotateSubscriptionSecret",
            "Have a subscription's webhooks signed with a new secret.",
        )
        .answers::<SecretView>(200, "The new one; the old one signs, too, for seven days.", &secret)
        .refuses(&[Permission, Id, State]);
        self.operation(
            "get",
            "/v1/webhook-secret",
            "getWebhookSecret",
            "Get what your callbacks are signed with.",
        )
        .answers::<SecretView>(200, "It.", &secret)
        .refuses(&[Permission]);
        self.operation(
            "post",
            "/v1/webhook-secret/rotate",
            "rotateWebhookSecret",
            "Have your callbacks signed with a new secret.",
        )
        .answers::<SecretView>(200, "The new one; the old one signs, too, for seven days.", &secret)
        .refuses(&[Permission, State]);
    }

    fn others(&mut self) {
        self.operation("get", "/v1/agents", "listAgents", "List the agents that you may view.")
            .answers::<AgentList>(200, "All that are active.", &json!({"agents": [{
                "name": "echo", "description": "Waits two seconds and repeats the last message.",
                "version": "1.0.0", "tools": ["echo"], "llm_provider": "example", "llm_model": "none",
                "average_execution_time": 2.05, "cost_estimate": 0.0001,
            }]}));
        let mut own =
            self.operation("get", "/openapi.json", "getDescription", "Get this document.");
        own.value["security"] = json!([]);
        own.value["responses"] = json!({"200": {
            "description": "It.", "content": {"application/json": {"schema": {"type": "object"}}},
        }});
    }

    fn finish(mut self) -> Value {
        let problem = self.answers.subschema_for::<Problem>();
        debug_assert!(problem.as_object().is_some());
        let mut schemas = self.requests.take_definitions(true);
        schemas.extend(self.answers.take_definitions(true));
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "agent-relay",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Runs AI agents, tells where each run stands, and calls back.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            // Where it is read, until whoever serves it knows better.
            "servers": [{"url": SERVER}],
            "security": [{"key": []}, {"token": []}],
            "paths": self.paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {
                    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                    "token": {
                        "type": "http", "scheme": "bearer",
                        "description": "The key, or a token (JWT) of a configured issuer.",
                    },
                },
            },
        })
    }
}

impl Operation<'_> {
    fn header(self, name: &str, description: &str, schema: &Value) -> Self {
        self.parameter("header", name, description, schema)
    }

    fn query(self, name: &str, description: &str, schema: &Value) -> Self {
        self.parameter("query", name, description, schema)
    }

    fn parameter(mut self, place: &str, name: &str, description: &str, schema: &Value) -> Self {
        let parameter = json!({
            "name": name, "in": place, "description": description, "schema": schema,
        });
        if let Some(parameters) = self.value["parameters"].as_array_mut() {
            parameters.push(parameter);
        }
        self
    }

    fn body<T: JsonSchema>(mut self, example: &Value) -> Self {
        let schema = self.document.requests.subschema_for::<T>();
        self.value["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": schema, "example": example}},
        });
        self
    }

    fn answers<T: JsonSchema>(mut self, status: u16, description: &str, example: &Value) -> Self {
        let schema = self.document.answers.subschema_for::<T>();
        self.value["responses"][status.to_string()] = json!({
            "description": description,
            "content": {"application/json": {"schema": schema, "example": example}},
        });
        self
    }

    /// A header that this answer always has.
    fn tells(mut self, status: u16, name: &str, description: &str, schema: &Value) -> Self {
        self.value["responses"][status.to_string()]["headers"][name] =
            json!({"description": description, "required": true, "schema": schema});
        self
    }

    fn nothing(mut self, description: &str) -> Self {
        self.value["responses"]["204"] = json!({"description": description});
        self
    }

    fn refuses(mut self, kinds: &[Refuses]) -> Self {
        let always = [401, 429, 500, 503];
        let statuses = kinds.iter().flat_map(|kind| kind.statuses()).chain(&always);
        for status in statuses {
            let schema = self.document.answers.subschema_for::<Problem>();
            self.value["responses"][status.to_string()] = json!({
                "description": reason(*status),
                "content": {"application/problem+json": {"schema": schema}},
            });
        }
        let seconds = json!({"type": "integer", "minimum": 1});
        self.tells(401, "WWW-Authenticate", "How to authenticate.", &json!({"type": "string"}))
            .tells(429, "Retry-After", "In seconds.", &seconds)
            .tells(503, "Retry-After", "In seconds.", &seconds)
    }
}

/// It is part of the document once nobody adds to it any more.
impl Drop for Operation<'_> {
    fn drop(&mut self) {
        let path = self.document.paths.entry(self.path).or_insert_with(|| json!({}));
        path[self.method] = self.value.take();
    }
}

const fn reason(status: u16) -> &'static str {
    match status {
        400 => "The body is no JSON object.",
        401 => "There is no valid key or token.",
        403 => "A permission is missing, and named.",
        404 => "There is no such thing, or it is not yours.",
        409 => "The state of things does not allow it.",
        413 => "The body is larger than 256 KB.",
        422 => "A field or parameter is missing, unknown or invalid, and named.",
        429 => {
            "Too many requests, starts of this key, or deliveries of its user; see `Retry-After`."
        }
        503 => "Not available right now; the same request may succeed shortly.",
        _ => "Something went wrong on our side.",
    }
}

/// Writes a schema as every client takes it: older revisions of MCP know no schema `true`, and JSON
/// Schema knows no format of a number.
pub fn simplify(schema: &mut Schema) {
    const NUMBERS: [&str; 6] = ["double", "uint", "uint8", "uint16", "uint32", "uint64"];

    if schema.as_bool() == Some(true) {
        *schema = Schema::default();
    } else if schema.get("format").is_some_and(|format| NUMBERS.iter().any(|it| format == it)) {
        schema.remove("format");
    }
}

fn monitor() -> Value {
    json!({
        "execution_id": EXECUTION_ID, "agent_name": "echo", "status": "running", "progress": 50,
        "message": "Agent is running", "created_at": "2026-01-31T09:00:00.000Z",
        "started_at": "2026-01-31T09:00:00.120Z", "updated_at": "2026-01-31T09:00:00.300Z",
    })
}

fn results() -> Value {
    json!({
        "execution_id": EXECUTION_ID, "status": "completed", "agent_name": "echo",
        "started_at": "2026-01-31T09:00:00.120Z", "completed_at": "2026-01-31T09:00:02.200Z",
        "execution_time_ms": 2080, "result": "Hello", "tools_used": ["echo"],
        "tokens_used": {"input": 1, "output": 1, "total": 2},
    })
}
