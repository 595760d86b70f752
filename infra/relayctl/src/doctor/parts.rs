//! Each part of a deployment, as AWS describes it.

use anyhow::{Context as _, anyhow, bail, ensure};
use aws_sdk_dynamodb::types::{TableStatus, TimeToLiveStatus};
use aws_sdk_eventbridge::types::{RuleState, Target};
use aws_sdk_lambda::types::{LastUpdateStatus, State};
use relay::{
    domain::{agent::AgentStatus, debt::Debt, time::Timestamp},
    store::due::FOREVER,
};

use super::findings::Findings;
use crate::{
    dead_letters::{self, DeadLetters},
    registration::check_machine,
    stack::{Stack, refusal},
};

const FUNCTIONS: [&str; 9] = [
    "AuthorizerFunctionName",
    "StartFunctionName",
    "LaunchFunctionName",
    "StatusFunctionName",
    "WebhookFunctionName",
    "ReadFunctionName",
    "McpFunctionName",
    "SweepFunctionName",
    "RotateFunctionName",
];

pub(super) fn settled(stack: &Stack) -> anyhow::Result<String> {
    let is_settled = matches!(
        stack.status.as_str(),
        "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "UPDATE_ROLLBACK_COMPLETE" | "IMPORT_COMPLETE"
    );
    ensure!(
        is_settled,
        "{} is {}: wait until it is complete, or deploy it again",
        stack.name,
        stack.status
    );
    Ok(format!("{} is {}", stack.name, stack.status))
}

pub(super) async fn tables(stack: &Stack) -> anyhow::Result<String> {
    let client = aws_sdk_dynamodb::Client::new(&stack.aws);
    for output in ["ExecutionsTable", "AgentsTable", "ApiKeysTable"] {
        let name = stack.output(output)?;
        let described = client.describe_table().table_name(name).send().await.map_err(refusal);
        let described = described.with_context(|| format!("cannot describe the table {name}"))?;
        let status = described.table.and_then(|table| table.table_status);
        ensure!(status == Some(TableStatus::Active), "the table {name} is not active");
    }
    let name = stack.output("ExecutionsTable")?;
    let read = client.describe_time_to_live().table_name(name).send().await.map_err(refusal);
    let read = read.with_context(|| format!("cannot read the time to live of the table {name}"))?;
    let ttl = read
        .time_to_live_description
        .unwrap_or_else(|| aws_sdk_dynamodb::types::TimeToLiveDescription::builder().build());
    let is_on = matches!(
        ttl.time_to_live_status,
        Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
    ) && ttl.attribute_name.as_deref() == Some("ttl");
    ensure!(is_on, "items in {name} do not expire: enable time to live on the attribute ttl");
    Ok("3 are active, and old runs expire".to_owned())
}

pub(super) async fn functions(stack: &Stack) -> anyhow::Result<String> {
    let client = aws_sdk_lambda::Client::new(&stack.aws);
    for output in FUNCTIONS {
        let name = stack.output(output)?;
        let read =
            client.get_function_configuration().function_name(name).send().await.map_err(refusal);
        let read = read.with_context(|| format!("cannot read the function {name}"))?;
        // A function that has rested is inactive, and wakes by being called.
        let is_well = !matches!(read.state, Some(State::Failed | State::Pending))
            && read.last_update_status != Some(LastUpdateStatus::Failed);
        let reason = read.state_reason.unwrap_or_default();
        ensure!(is_well, "the function {name} cannot run ({reason}): deploy the stack again");
    }
    Ok(format!("{} are ready", FUNCTIONS.len()))
}

/// Whether requests that are held leave Lambda something to answer the others with.
pub(super) async fn concurrency(stack: &Stack) -> anyhow::Result<String> {
    let client = aws_sdk_lambda::Client::new(&stack.aws);
    let read = client.get_account_settings().send().await.map_err(refusal);
    let limit = read.context("cannot read the account's Lambda settings")?.account_limit;
    let limit = limit.and_then(|it| it.unreserved_concurrent_executions);
    let limit = limit.context("Lambda does not return the limit of concurrent executions")?;
    enough_concurrency(stack.number("MaxWaiters")?, limit)
}

/// Held requests may take half of what may run at once: the authorizer, the starts and what Step Functions tells
/// need the rest.
fn enough_concurrency(max_waiters: u32, limit: i32) -> anyhow::Result<String> {
    ensure!(
        i64::from(max_waiters) * 2 <= i64::from(limit),
        "{max_waiters} of {limit} concurrent executions may be used by requests with Prefer: wait, more than \
         half: request a higher Lambda quota, or deploy with a MaxWaiters of {}",
        limit.max(0) / 2
    );
    Ok(format!(
        "{limit} concurrent executions, {max_waiters} of them for requests with Prefer: wait"
    ))
}

/// Whether somebody takes the messages of a queue.
pub(super) async fn consumer(stack: &Stack, queue: &str, function: &str) -> anyhow::Result<String> {
    let name = stack.output(function)?;
    let client = aws_sdk_lambda::Client::new(&stack.aws);
    let read =
        client.list_event_source_mappings().function_name(name).send().await.map_err(refusal);
    let read = read
        .with_context(|| format!("cannot read the event source mappings of the function {name}"))?;
    let queue = stack.output(queue)?;
    let queue_name = queue.rsplit('/').next().unwrap_or_default();
    let mut mappings = read.event_source_mappings.unwrap_or_default().into_iter();
    let mapping = mappings
        .find(|it| it.event_source_arn().and_then(|arn| arn.rsplit(':').next()) == Some(queue_name))
        .with_context(|| {
            format!(
                "the function {name} does not receive messages from {queue_name}: deploy the stack again"
            )
        })?;
    let state = mapping.state.unwrap_or_default();
    if !["Enabled", "Enabling", "Updating", "Creating"].contains(&state.as_str()) {
        let id = mapping.uuid.unwrap_or_default();
        bail!(
            "the function {name} does not receive messages from {queue_name} ({state}): \
             aws lambda update-event-source-mapping --enabled --uuid {id}"
        );
    }
    let (waiting, taken) =
        dead_letters::depth(&aws_sdk_sqs::Client::new(&stack.aws), queue).await?;
    Ok(format!("{name} receives its messages: {waiting} waiting, {taken} in flight"))
}

pub(super) async fn no_dead_letters(stack: &Stack, letters: DeadLetters) -> anyhow::Result<String> {
    let count = dead_letters::count(stack, &aws_sdk_sqs::Client::new(&stack.aws), letters).await?;
    let name = letters.as_str();
    ensure!(
        count == 0,
        "{count} dead letters: see `dead-letters list {name}`, fix the cause, then run `dead-letters replay {name}`"
    );
    Ok("no dead letters".to_owned())
}

pub(super) async fn status_rule(stack: &Stack) -> anyhow::Result<String> {
    let rule = stack.output("EventRuleName")?;
    let queue = stack.output("StatusRuleDeadLettersUrl")?;
    let target = enabled_target(stack, rule, "StatusFunctionName").await?;
    let letters = target.dead_letter_config.and_then(|config| config.arn);
    let has_queue = letters.is_some_and(|arn| arn.rsplit(':').next() == queue.rsplit('/').next());
    ensure!(has_queue, "the rule {rule} has no dead-letter queue: deploy the stack again");
    Ok(format!("{rule} delivers status events"))
}

pub(super) async fn sweep_schedule(stack: &Stack) -> anyhow::Result<String> {
    let rule = stack.output("SweepRuleName")?;
    enabled_target(stack, rule, "SweepFunctionName").await?;
    Ok(format!("{rule} calls the sweep"))
}

/// The target of an enabled rule that is this function.
async fn enabled_target(stack: &Stack, rule: &str, function: &str) -> anyhow::Result<Target> {
    let client = aws_sdk_eventbridge::Client::new(&stack.aws);
    let found = client.describe_rule().name(rule).send().await.map_err(refusal);
    let found = found.with_context(|| format!("cannot read the rule {rule}"))?;
    let is_enabled = matches!(
        found.state,
        Some(RuleState::Enabled | RuleState::EnabledWithAllCloudtrailManagementEvents)
    );
    ensure!(is_enabled, "the rule {rule} is disabled: aws events enable-rule --name {rule}");
    let name = stack.output(function)?;
    let read = client.list_targets_by_rule().rule(rule).send().await.map_err(refusal);
    let read = read.with_context(|| format!("cannot read the targets of the rule {rule}"))?;
    let mut targets = read.targets.unwrap_or_default().into_iter();
    targets
        .find(|target| target.arn.split(':').nth(6) == Some(name))
        .with_context(|| format!("the rule {rule} does not call {name}: deploy the stack again"))
}

pub(super) async fn sweeps(stack: &Stack) -> anyhow::Result<String> {
    let url = stack.output("SweepFailuresUrl")?;
    let (waiting, taken) = dead_letters::depth(&aws_sdk_sqs::Client::new(&stack.aws), url).await?;
    let failed = waiting + taken;
    let name = stack.output("SweepFunctionName")?;
    ensure!(failed == 0, "{failed} sweeps failed within a day: see the log of {name}");
    let (dead, _) = stack.due()?.count(&Debt::dead(), FOREVER, 1_000, None).await?;
    ensure!(
        dead == 0,
        "{dead} dead rows: see `dead-letters list rows`, fix the cause, then run `dead-letters replay rows`"
    );
    Ok("none failed within a day, and there are no dead rows".to_owned())
}

/// One line for all that are well, and one for each that is not.
pub(super) async fn agents(stack: &Stack, findings: &mut Findings) {
    let listed = async { anyhow::Ok(stack.agents()?.list(AgentStatus::Active).await?) }.await;
    let active = match listed {
        Ok(active) => active,
        Err(error) => return findings.add("agents", Err(error)),
    };
    let mut well = 0;
    for agent in active {
        match check_machine(stack, &agent.state_machine_arn).await {
            Ok(()) => well += 1,
            Err(error) => {
                let name = &agent.agent_name;
                let wrong = error.context(format!(
                    "put {name} on a state machine that can run, or deactivate it"
                ));
                findings.add(&format!("agent {name}"), Err(wrong));
            }
        }
    }
    findings.add(
        "agents",
        match well {
            0 => Err(anyhow!("no active agent can run: register one with `agents put`")),
            _ => Ok(format!("{well} can run")),
        },
    );
}

pub(super) async fn valid_keys(stack: &Stack) -> anyhow::Result<String> {
    let now = Timestamp::now();
    let keys = stack.keys()?.list().await?.into_iter();
    let valid = keys.filter(|(_, key)| key.is_valid(now)).count();
    ensure!(valid > 0, "no key is valid: create one with `keys create --user …`");
    Ok(format!("{valid} are valid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_requests_may_take_half_of_what_may_run_at_once() {
        for (max_waiters, limit) in [(5, 10), (0, 10), (20, 1_000), (0, 0), (500, 1_000)] {
            let said = enough_concurrency(max_waiters, limit).unwrap();
            assert!(said.starts_with(&limit.to_string()), "{said}");
        }
        for (max_waiters, limit, better) in
            [(20, 10, 5), (6, 10, 5), (1, 0, 0), (u32::MAX, 1_000, 500)]
        {
            let said = enough_concurrency(max_waiters, limit).unwrap_err().to_string();
            assert!(said.ends_with(&format!("a MaxWaiters of {better}")), "{said}");
        }
    }
}
