//! One decision: the caller behind the request's key or token, or 401.

use std::collections::HashMap;

use aws_lambda_events::{
    apigw::{ApiGatewayCustomAuthorizerPolicy, ApiGatewayCustomAuthorizerResponse},
    iam::{IamPolicyEffect, IamPolicyStatement},
};
use lambda_runtime::{Diagnostic, LambdaEvent};
use relay::{
    aws::{failure, telemetry::Invocation},
    domain::{api_key::ApiKeyHash, error::Error, time::Timestamp},
    store::api_keys::ApiKeys,
};
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::{identity::Identity, token::Tokens};

/// The part of the event that we use. The headers are text here, and not parsed as such, since
/// a caller may send anything.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    method_arn: String,
    #[serde(default)]
    headers: Option<HashMap<String, Option<String>>>,
}

/// What the functions behind the API read back; API Gateway takes text only.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Context {
    user_id: String,
    /// For the logs.
    key_id: String,
    credential: String,
    lineage: String,
    /// In milliseconds; of a token alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    permissions: String,
    rate_limit: String,
    /// Of a key alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_concurrent: Option<String>,
}

/// The one text for which API Gateway answers 401; any other error is a 500
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-use-lambda-authorizer.html>).
fn unauthorized() -> Diagnostic {
    Diagnostic { error_type: "Unauthorized".to_owned(), error_message: "Unauthorized".to_owned() }
}

pub(crate) struct Callers {
    pub(crate) keys: ApiKeys,
    pub(crate) tokens: Tokens,
}

impl Callers {
    pub(crate) async fn handle(
        &self,
        LambdaEvent { payload: request, context }: LambdaEvent<Request>,
    ) -> Result<ApiGatewayCustomAuthorizerResponse<Context>, Diagnostic> {
        let mut metrics = Invocation::start("authorizer", Some(&context));
        let found = match credential(&request) {
            // A key of ours has no point in it, and a token has two.
            Some(token) if token.contains('.') => self.tokens.identify(token).await,
            Some(key) => self.find(key).await,
            None => Ok(None),
        };
        let found = found.map_err(|error| unavailable(&error))?;
        metrics.failed = false;
        let identity = found.ok_or_else(unauthorized)?;
        let key_id = identity.credential.key_id();
        metrics.key_id = Some(key_id.to_owned());
        info!(key.id = key_id, "authorized {key_id}");
        Ok(allow(&request.method_arn, identity))
    }

    /// Whose key this is, if it is valid.
    async fn find(&self, key: &str) -> Result<Option<Identity>, Error> {
        let hash = ApiKeyHash::of(key);
        let found = self.keys.find(&hash).await?;
        let valid = found.filter(|key| key.is_valid(Timestamp::now()));
        Ok(valid.map(|key| Identity::of_key(&hash, key)))
    }
}

fn unavailable(error: &Error) -> Diagnostic {
    failure::log(error);
    Diagnostic {
        error_type: "Unavailable".to_owned(),
        error_message: "cannot check the key or token".to_owned(),
    }
}

/// The key in `x-api-key`, or else the key or token in `Authorization: Bearer`.
fn credential(request: &Request) -> Option<&str> {
    let header = |wanted: &str| {
        let mut headers = request.headers.as_ref()?.iter();
        headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?.1.as_deref()
    };
    let key = header("x-api-key").or_else(|| {
        let (scheme, token) = header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    })?;
    Some(key.trim()).filter(|key| !key.is_empty())
}

/// Allows the whole API, not the one route that was asked for: the functions check what the
/// caller may do.
fn allow(method_arn: &str, identity: Identity) -> ApiGatewayCustomAuthorizerResponse<Context> {
    // arn:aws:execute-api:<region>:<account>:<api>/<stage>/<method>/<path>
    let stage: Vec<&str> = method_arn.splitn(3, '/').take(2).collect();
    let mut statement = IamPolicyStatement::default();
    statement.action = vec!["execute-api:Invoke".to_owned()];
    statement.effect = IamPolicyEffect::Allow;
    statement.resource = vec![format!("{}/*", stage.join("/"))];
    let mut policy_document = ApiGatewayCustomAuthorizerPolicy::default();
    policy_document.version = Some("2012-10-17".to_owned());
    policy_document.statement = vec![statement];

    let mut response = ApiGatewayCustomAuthorizerResponse::default();
    let Identity {
        user_id,
        credential,
        lineage,
        expires_at,
        permissions,
        rate_limit,
        max_concurrent,
    } = identity;
    response.principal_id = Some(user_id.to_string());
    response.policy_document = policy_document;
    response.context = Context {
        user_id: user_id.to_string(),
        key_id: credential.key_id().to_owned(),
        credential: credential.into(),
        lineage: lineage.into(),
        expires_at: expires_at.map(|at| at.millis().to_string()),
        // A list of texts always serialises.
        permissions: serde_json::to_string(&permissions).unwrap_or_default(),
        rate_limit: rate_limit.to_string(),
        max_concurrent: max_concurrent.map(|most| most.to_string()),
    };
    response
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use relay::domain::api_key::ApiKey;

    fn found(headers: &Value) -> Option<String> {
        let event = json!({"methodArn": "arn:aws:execute-api:eu-west-1:1:a/live/GET/v1/agents", "headers": headers});
        let request: Request = serde_json::from_value(event).unwrap();
        credential(&request).map(str::to_owned)
    }

    #[test]
    fn a_key_is_found_in_either_header_in_any_case() {
        assert_eq!(found(&json!({"X-Api-Key": "k"})), Some("k".to_owned()));
        assert_eq!(found(&json!({"x-api-key": " k "})), Some("k".to_owned()));
        assert_eq!(found(&json!({"AUTHORIZATION": "bearer k"})), Some("k".to_owned()));
        assert_eq!(
            found(&json!({"x-api-key": "k", "Authorization": "Bearer other"})),
            Some("k".to_owned())
        );
    }

    #[test]
    fn odd_headers_are_no_key_and_no_panic() {
        for headers in [
            json!(null),
            json!({}),
            json!({"x-api-key": ""}),
            json!({"x-api-key": null}),
            json!({"x-api-key": "  "}),
            json!({"authorization": "Bearer"}),
            json!({"authorization": "Bearer "}),
            json!({"authorization": ""}),
            json!({"authorization": "Basic YTpi"}),
            json!({"authorization": "ключ"}),
        ] {
            assert_eq!(found(&headers), None, "{headers}");
        }
    }

    #[test]
    fn the_policy_covers_the_whole_stage_and_the_context_is_text() {
        let key: ApiKey = serde_json::from_value(json!({
            "user_id": "someone", "permissions": ["execute:*"], "created_at": 0,
        }))
        .unwrap();
        let arn = "arn:aws:execute-api:eu-west-1:111122223333:api/live/GET/v1/executions/mcp-echo-1/results";
        let hash = ApiKeyHash::of("abc").to_hex();
        let answer =
            serde_json::to_value(allow(arn, Identity::of_key(&ApiKeyHash::of("abc"), key)))
                .unwrap();

        assert_eq!(
            answer["policyDocument"]["Statement"][0]["Resource"][0],
            "arn:aws:execute-api:eu-west-1:111122223333:api/live/*"
        );
        assert_eq!(
            answer["context"],
            json!({
                "user_id": "someone", "key_id": "ba7816bf8f01cfea", "credential": hash,
                "lineage": hash, "permissions": "[\"execute:*\"]", "rate_limit": "60",
            })
        );
    }
}
