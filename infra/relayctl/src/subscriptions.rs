//! `subscriptions`: where the news of a user's runs goes, and by whose key.

use clap::Subcommand;
use relay::{
    caller::UserId, store::transitions::Step, subscription::SubscriptionId,
    subscription::SubscriptionView,
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
    /// Remove one: what is still owed to it ends undelivered.
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
                        // The rest of a URL may be a credential.
                        plain(it.url.host()),
                    ]
                })
                .collect();
            let titles = ["SUBSCRIPTION", "KEY", "AGENT", "CREATED", "HOST"];
            Reply::new(&json!({"subscriptions": listed}), table(titles, &rows))
        }
        Command::Remove { user, id } => {
            if subscriptions.remove(&UserId::from(user), &id).await? == Step::Stale {
                anyhow::bail!("there is no subscription {id} of this user");
            }
            Reply::new(&json!({"id": id, "removed": true}), format!("{id} is removed."))
        }
    }
}
