//! `subscriptions`: where the events of a user's runs go, and by whose key.

use clap::Subcommand;
use relay::{
    domain::{
        id::{SubscriptionId, UserId},
        subscription::{HealthView, SubscriptionView},
        time::Timestamp,
    },
    store::write::Step,
};
use serde_json::json;

use crate::{
    output::{Reply, minute, plain, table},
    stack::Stack,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List a user's subscriptions, oldest first.
    List {
        #[arg(long)]
        user: String,
    },
    /// Enable a disabled subscription. Fix its receiver first.
    Enable {
        #[arg(long)]
        user: String,
        id: SubscriptionId,
    },
    /// Remove a subscription. Its pending deliveries end undelivered.
    Remove {
        #[arg(long)]
        user: String,
        id: SubscriptionId,
    },
}

pub(crate) async fn run(stack: &Stack, command: Command) -> anyhow::Result<Reply> {
    let subscriptions = stack.subscriptions()?;
    match command {
        Command::List { user } => {
            let listed = subscriptions.list(&UserId::from(user)).await?.into_iter();
            let listed: Vec<_> = listed.map(SubscriptionView::from).collect();
            let rows: Vec<_> = listed
                .iter()
                .map(|it| {
                    [
                        it.id.to_string(),
                        it.key_id.clone().unwrap_or_default(),
                        it.agent_name.as_ref().map_or("*", |agent| agent.as_str()).to_owned(),
                        minute(it.created_at),
                        state(&it.health),
                        it.health.last_success_at.map_or_else(|| "-".to_owned(), minute),
                        // The rest of a URL may be a credential.
                        plain(it.url.host()),
                    ]
                })
                .collect();
            let titles = ["SUBSCRIPTION", "KEY", "AGENT", "CREATED", "STATE", "DELIVERED", "HOST"];
            Reply::new(&json!({"subscriptions": listed}), table(titles, &rows))
        }
        Command::Enable { user, id } => {
            let enabled = subscriptions.enable(&UserId::from(user), &id, Timestamp::now()).await?;
            if enabled == Step::Stale {
                anyhow::bail!("this user has no disabled subscription {id}");
            }
            let said = format!("{id} is enabled and receives events from now on.");
            Reply::new(&json!({"id": id, "enabled": true}), said)
        }
        Command::Remove { user, id } => {
            if subscriptions.remove(&UserId::from(user), &id).await? == Step::Stale {
                anyhow::bail!("this user has no subscription {id}");
            }
            Reply::new(&json!({"id": id, "removed": true}), format!("{id} is removed."))
        }
    }
}

/// How its receiver fares.
fn state(health: &HealthView) -> String {
    let HealthView { failing_since, failures, disabled_at, disabled_reason, .. } = health;
    match (disabled_at.zip(*disabled_reason), failing_since) {
        (Some((at, reason)), _) => format!("disabled {}, {}", minute(at), reason.as_str()),
        (None, Some(since)) => format!("failing since {}, {failures} times", minute(*since)),
        (None, None) => "healthy".to_owned(),
    }
}
