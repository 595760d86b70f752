//! The calls that must go through the API, because it is the API that they try.

use std::time::Duration;

use anyhow::{Context as _, bail};
use relay::domain::request::StartBody;
use reqwest::{Client, RequestBuilder, redirect::Policy};
use serde_json::Value;

/// As long as API Gateway answers, and a little more.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Api {
    client: Client,
    pub(crate) url: String,
}

impl Api {
    pub(crate) fn new(url: &str) -> anyhow::Result<Self> {
        // A redirect would take the key along.
        let client = Client::builder().timeout(TIMEOUT).redirect(Policy::none()).build()?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned() })
    }

    /// The status of the answer to a request for the agents.
    pub(crate) async fn probe(&self, key: Option<&str>) -> anyhow::Result<u16> {
        let request = with_key(self.client.get(format!("{}/v1/agents", self.url)), key);
        Ok(self.send(request).await?.0)
    }

    /// Starts a run; returns its id.
    pub(crate) async fn start(&self, key: &str, body: &StartBody) -> anyhow::Result<String> {
        let request = self.client.post(format!("{}/v1/executions", self.url)).json(body);
        let (status, answer) = self.send(with_key(request, Some(key))).await?;
        match answer.get("execution_id").and_then(Value::as_str) {
            Some(id) if status == 202 => Ok(id.to_owned()),
            _ => {
                let detail = answer.get("detail").and_then(Value::as_str).unwrap_or("no detail");
                bail!("the API answered the start with {status}: {detail}")
            }
        }
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<(u16, Value)> {
        let answer = request.send().await.with_context(|| format!("cannot reach {}", self.url))?;
        let status = answer.status().as_u16();
        let body = answer.bytes().await.context("cannot read the API's answer")?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }
}

fn with_key(request: RequestBuilder, key: Option<&str>) -> RequestBuilder {
    match key {
        Some(key) => request.header("x-api-key", key),
        None => request,
    }
}
