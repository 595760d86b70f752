//! What a caller sees: the API, and a whole run.

use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use relay::{
    domain::{
        caller::Action,
        id::{AgentName, ExecutionId, UserId},
        request::StartBody,
        status::Status,
        time::Timestamp,
    },
    http::answer::monitor::Monitor,
};

use super::findings::{Arguments, Findings};
use crate::{
    keys::{self, Allowed, NewKey},
    output::span,
    stack::{Stack, operator},
};

/// How long a key lives that tries the API, should nobody be left to remove it.
const KEY_LIFE: Duration = Duration::from_mins(1);

/// By a key that is there for this alone.
pub(super) async fn api(stack: &Stack, arguments: &Arguments, findings: &mut Findings) {
    findings.add("API without a key", without_key(stack).await);
    let made = async {
        let keys = stack.keys()?;
        let permissions = match &arguments.run {
            Some(agent) => vec![format!("{}:{agent}", Action::Execute.as_str())],
            None => Vec::new(),
        };
        let user = UserId::from("relayctl-doctor".to_owned());
        let until = Timestamp::now().plus(KEY_LIFE);
        let of = Allowed { user_id: user, permissions, rate_limit: 1, max_concurrent: None };
        anyhow::Ok((keys::create(&keys, of, until, None).await?, keys))
    };
    let (key, keys) = match made.await {
        Ok(made) => made,
        Err(error) => return findings.add("API with a key", Err(error)),
    };
    findings.add("API with a key", with_key(stack, &key).await);
    let started = match &arguments.run {
        Some(agent) => Some(start(stack, &key, agent, arguments.message.clone()).await),
        None => None,
    };
    // Before any wait, which may be interrupted.
    if let Err(error) = keys.delete(&key.hash).await {
        findings.add("temporary key", Err(anyhow!(error).context("it stays valid for a minute")));
    }
    if let Some(started) = started {
        let limit = Duration::from_secs(arguments.timeout.into());
        let found = match started {
            Ok(id) => end_of_run(stack, &id, limit).await,
            Err(error) => Err(error),
        };
        findings.add("run", found);
    }
}

async fn without_key(stack: &Stack) -> anyhow::Result<String> {
    let api = stack.api()?;
    let url = &api.url;
    match api.probe(None).await? {
        401 => Ok(format!("{url} answers 401")),
        200 => {
            bail!(
                "{url} accepts requests without a key: deploy the stack again, and check its authorizer"
            )
        }
        404 | 403 => bail!("{url} is not this API: set its URL with --url or RELAY_URL"),
        status => bail!("{url} answers {status} instead of 401: see the authorizer's log"),
    }
}

async fn with_key(stack: &Stack, key: &NewKey) -> anyhow::Result<String> {
    let api = stack.api()?;
    match api.probe(Some(&key.secret)).await? {
        200 => Ok("a new key is accepted".to_owned()),
        401 => {
            bail!("{} rejects a key of this stack: set its URL with --url or RELAY_URL", api.url)
        }
        status => bail!("{} answers {status} to a valid key: see the log of read", api.url),
    }
}

async fn start(
    stack: &Stack,
    key: &NewKey,
    agent: &AgentName,
    message: String,
) -> anyhow::Result<ExecutionId> {
    let body = StartBody::new(agent.to_string(), message);
    let id = stack.api()?.start(&key.secret, &body).await?;
    Ok(id.parse()?)
}

async fn end_of_run(stack: &Stack, id: &ExecutionId, limit: Duration) -> anyhow::Result<String> {
    let reader = stack.reader()?;
    let until = Instant::now() + limit;
    loop {
        let run = reader.monitor(&operator(), id, None).await?;
        if run.status.is_end() || Instant::now() >= until {
            return judge(&run);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn judge(run: &Monitor) -> anyhow::Result<String> {
    let id = &run.execution_id;
    let waited = span(Timestamp::now().millis_since(run.created_at));
    match run.status {
        Status::Completed => Ok(format!("{id} has completed after {waited}")),
        Status::Scheduled | Status::Queued => {
            bail!(
                "{id} is still queued after {waited}: it was not launched, or its status event was lost; see the logs of launch and status"
            )
        }
        Status::Failed | Status::Timeout | Status::Cancelled => {
            bail!("{id} is {}: see `runs show {id}`", run.status)
        }
        Status::InputRequired => {
            bail!("{id} waits for an answer: use an agent that asks no question")
        }
        Status::Running => bail!(
            "{id} is still running after {waited}: if it has ended in Step Functions, see the log of status"
        ),
    }
}
