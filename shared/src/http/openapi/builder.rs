//! How the document is put together: operations, with what each takes, answers and refuses.

use schemars::{
    JsonSchema, SchemaGenerator, generate::SchemaSettings, transform::RecursiveTransform,
};
use serde_json::{Map, Value, json};

use crate::{
    domain::{
        batch_id::BatchId,
        id::{ExecutionId, SubscriptionId},
        idempotency_key::IdempotencyKey,
    },
    http::{openapi::schema::simplify, problem::Problem},
};

/// What a route may refuse besides what all may: 401, 429, 500 and 503.
#[derive(Clone, Copy)]
pub(super) enum Refuses {
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
    pub(super) const fn statuses(self) -> &'static [u16] {
        match self {
            Self::Body => &[400, 413, 422],
            Self::Permission => &[403],
            Self::Id => &[404],
            Self::State => &[409],
            Self::Parameter => &[422],
        }
    }
}

/// The address of the API in the document: the folder that the document is read from.
pub(super) const SERVER: &str = ".";

pub(super) struct Document {
    pub(super) requests: SchemaGenerator,
    pub(super) answers: SchemaGenerator,
    pub(super) paths: Map<String, Value>,
    pub(super) webhooks: Map<String, Value>,
}

/// One operation, as it is put together.
pub(super) struct Operation<'a> {
    document: &'a mut Document,
    path: &'static str,
    method: &'static str,
    pub(super) value: Value,
}

impl Document {
    pub(super) fn new() -> Self {
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
            webhooks: Map::new(),
        }
    }

    pub(super) fn operation(
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
                    "batch_id" => self.requests.subschema_for::<BatchId>(),
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

    pub(super) fn finish(mut self) -> Value {
        let problem = self.answers.subschema_for::<Problem>();
        debug_assert!(problem.as_object().is_some());
        let mut schemas = self.requests.take_definitions(true);
        schemas.extend(self.answers.take_definitions(true));
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "agent-relay",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Starts AI agents, returns the status and results of each run, and sends webhooks.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            // Where it is read, until whoever serves it knows better.
            "servers": [{"url": SERVER}],
            "security": [{"key": []}, {"token": []}],
            "paths": self.paths,
            "webhooks": self.webhooks,
            "components": {
                "schemas": schemas,
                "securitySchemes": {
                    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                    "token": {
                        "type": "http", "scheme": "bearer",
                        "description": "The API key, or a token (JWT) of a configured issuer.",
                    },
                },
            },
        })
    }
}

impl Operation<'_> {
    pub(super) fn header(self, name: &str, description: &str, schema: &Value) -> Self {
        self.parameter("header", name, description, schema)
    }

    pub(super) fn query(self, name: &str, description: &str, schema: &Value) -> Self {
        self.parameter("query", name, description, schema)
    }

    pub(super) fn parameter(
        mut self,
        place: &str,
        name: &str,
        description: &str,
        schema: &Value,
    ) -> Self {
        let parameter = json!({
            "name": name, "in": place, "description": description, "schema": schema,
        });
        if let Some(parameters) = self.value["parameters"].as_array_mut() {
            parameters.push(parameter);
        }
        self
    }

    pub(super) fn idempotency_key(self) -> Self {
        self.header(
            IdempotencyKey::FIELD,
            "Repeated starts with the same key are accepted once. Quotes around the key are not part of it, \
             and neither is what follows them after a semicolon.",
            &json!({
                "type": "string", "pattern": "^[ -~]*[!-~][ -~]*$", "minLength": 1,
                "maxLength": IdempotencyKey::MAX_LENGTH,
            }),
        )
    }

    pub(super) fn optional_body<T: JsonSchema>(self, example: &Value) -> Self {
        let mut operation = self.body::<T>(example);
        operation.value["requestBody"]["required"] = json!(false);
        operation
    }

    pub(super) fn body<T: JsonSchema>(mut self, example: &Value) -> Self {
        let schema = self.document.requests.subschema_for::<T>();
        self.value["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": schema, "example": example}},
        });
        self
    }

    pub(super) fn answers<T: JsonSchema>(
        mut self,
        status: u16,
        description: &str,
        example: &Value,
    ) -> Self {
        let schema = self.document.answers.subschema_for::<T>();
        self.value["responses"][status.to_string()] = json!({
            "description": description,
            "content": {"application/json": {"schema": schema, "example": example}},
        });
        self
    }

    /// A header that this answer always has.
    pub(super) fn tells(
        mut self,
        status: u16,
        name: &str,
        description: &str,
        schema: &Value,
    ) -> Self {
        self.value["responses"][status.to_string()]["headers"][name] =
            json!({"description": description, "required": true, "schema": schema});
        self
    }

    pub(super) fn nothing(mut self, description: &str) -> Self {
        self.value["responses"]["204"] = json!({"description": description});
        self
    }

    pub(super) fn refuses(mut self, kinds: &[Refuses]) -> Self {
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
        let wait = "How many seconds to wait before the next request.";
        self.tells(401, "WWW-Authenticate", "How to authenticate.", &json!({"type": "string"}))
            .tells(429, "Retry-After", wait, &seconds)
            .tells(503, "Retry-After", wait, &seconds)
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
        400 => "The body is not a JSON object.",
        401 => "The request has no valid key or token.",
        403 => "A permission is missing. `detail` names it.",
        404 => "The resource does not exist, or it is not yours.",
        409 => "The current state does not allow the request. `detail` says why.",
        413 => "The body is larger than 256 KB.",
        422 => "A field or parameter is missing, unknown or invalid. `field` names it.",
        429 => {
            "Too many requests, starts of this key, or deliveries of its user; see `Retry-After`."
        }
        503 => "Temporarily unavailable. The same request may succeed after `Retry-After`.",
        _ => "Internal error.",
    }
}
