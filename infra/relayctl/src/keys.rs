//! `keys`: who may call the API. A key is shown once, when it is made; after that only its hash
//! is known.

use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_sdk_secretsmanager::types::RotationRulesType;
use clap::{Args, Subcommand, value_parser};
use relay::{
    domain::{
        api_key::{self, ApiKey, ApiKeyHash},
        caller::Grant,
        error::Error,
        id::UserId,
        pool,
        subscription::Listed,
        time::Timestamp,
    },
    store::{api_keys::ApiKeys, write::Step},
};
use serde_json::{Value, json};

use crate::{
    output::{self, Reply, minute, table},
    runs::filter,
    stack::{Stack, refusal},
};

/// So that nobody ends a key by a slip.
const SHORTEST_PREFIX: usize = 8;

/// Ten years.
const MOST_DAYS: i64 = 3650;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a key and print it. It is shown only once.
    Create(Create),
    /// List the keys, by user.
    List {
        /// Only the keys of this user.
        #[arg(long)]
        user: Option<String>,
    },
    /// Create a key that replaces another one, which stays valid for an overlap.
    Rotate {
        key_id: String,
        /// Maximum number of days for which the old key stays valid.
        #[arg(long, default_value_t = 7, value_name = "DAYS",
              value_parser = value_parser!(u32).range(0..=MOST_DAYS))]
        overlap_days: u32,
        /// Days for which the new key is valid.
        #[arg(long, default_value_t = 90, value_parser = value_parser!(u32).range(1..=MOST_DAYS))]
        days: u32,
    },
    /// Revoke a key immediately and permanently, and report what it leaves behind.
    Revoke { key_id: String },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The owner of the runs that are started with this key.
    #[arg(long, value_parser = user_id)]
    user: UserId,
    /// A permission, as action:agent. Can be repeated. The actions are execute, view, cancel and
    /// manage (manage:* covers the signing secret and the subscriptions of the user's other keys).
    /// Either side can be *, and *:* sees the runs of all users.
    #[arg(
        long = "permission",
        value_name = "ACTION:AGENT",
        default_values = ["execute:*", "view:*", "cancel:*", "manage:*"]
    )]
    permissions: Vec<Grant>,
    /// The maximum number of starts per minute.
    #[arg(long, default_value_t = 60)]
    rate_limit: u32,
    /// How many runs of its user may go on at once. The others wait.
    #[arg(long, value_name = "RUNS", value_parser = value_parser!(u32).range(1..=i64::from(pool::MOST)))]
    max_concurrent: Option<u32>,
    /// Days for which the key is valid.
    #[arg(long, default_value_t = 90, value_parser = value_parser!(u32).range(1..=MOST_DAYS))]
    days: u32,
    /// Store the key in a secret that rotates automatically, and print the secret's ARN instead.
    #[arg(long, conflicts_with = "days")]
    managed: bool,
}

/// The user of a token has a bar in its name, so that a key's user can never equal it.
fn user_id(text: &str) -> Result<UserId, &'static str> {
    let is_one = (1..=256).contains(&text.len())
        && !text.chars().any(|char| char.is_control() || char == '|');
    if is_one {
        Ok(UserId::from(text.to_owned()))
    } else {
        Err("must be 1 to 256 bytes without | and control characters")
    }
}

pub(crate) async fn run(stack: &Stack, command: Command) -> anyhow::Result<Reply> {
    let keys = stack.keys()?;
    match command {
        Command::Create(Create {
            user: user_id,
            permissions,
            rate_limit,
            max_concurrent,
            days,
            managed,
        }) => {
            let permissions = permissions.iter().map(Grant::to_string).collect();
            let of = Allowed { user_id, permissions, rate_limit, max_concurrent };
            if managed {
                // As long as the keys that take its place.
                let overlap: u32 = stack.number("KeyOverlapDays")?;
                let rotation: u32 = stack.number("KeyRotationDays")?;
                let end = in_days(rotation + 2 * overlap);
                let key = create(&keys, of, end, None).await?;
                return manage(stack, &keys, &key, rotation).await;
            }
            let key = create(&keys, of, in_days(days), None).await?;
            shown_once(&key, &[])
        }
        Command::List { user } => list(&keys, user.as_deref()).await,
        Command::Rotate { key_id, overlap_days, days } => {
            rotate(&keys, &key_id, overlap_days, days).await
        }
        Command::Revoke { key_id } => {
            let (hash, key) = find(&keys, &key_id).await?;
            if keys.revoke(&hash).await? == Step::Stale {
                bail!("the key {key_id} no longer exists");
            }
            revoked(stack, &hash, &key).await
        }
    }
}

/// What a key that was just revoked has left behind, none of which gets anything any more.
async fn revoked(stack: &Stack, hash: &ApiKeyHash, key: &ApiKey) -> anyhow::Result<Reply> {
    let user = &key.user_id;
    let listed = stack.subscriptions()?.list(user).await?.into_iter();
    let made = |listed: &Listed| listed.holder.as_ref().is_some_and(|it| it.is_key(hash));
    let subscriptions: Vec<_> = listed.filter(made).map(|listed| listed.id).collect();
    for id in &subscriptions {
        stack.subscriptions()?.remove(user, id).await?;
    }
    let key_id = hash.key_id();
    let open = filter::open_of(stack, user, &key_id).await?;
    let callbacks = open.iter().filter(|run| !run.callback_events.is_empty()).count();
    let runs: Vec<_> = open.iter().map(|run| &run.execution_id).collect();
    let mut lines = vec![
        format!("The key {key_id} of {} is revoked.", output::plain(user.as_str())),
        format!(
            "It left {} subscriptions, which are removed, and {} open runs. {callbacks} of these have a \
             callback, which gets no more events after a minute at most.",
            subscriptions.len(),
            runs.len()
        ),
    ];
    lines.extend(subscriptions.iter().map(|id| format!("  {id}")));
    let managed = |grant: &String| ["manage:*", "*:*"].contains(&grant.as_str());
    if key.permissions.iter().any(managed) {
        let secrets = "Its holder may have read the signing secrets of its user and the subscriptions: \
                       rotate them with POST /v1/webhook-secret/rotate.";
        lines.push(secrets.to_owned());
    }
    if !runs.is_empty() {
        lines.push(
            "The runs continue unless you cancel them with relayctl runs cancel ID:".to_owned(),
        );
        lines.extend(runs.iter().map(|id| format!("  {id}")));
    }
    let json = json!({
        "key_id": key_id, "user_id": user, "revoked": true,
        "left": {"subscriptions": subscriptions, "open_runs": runs, "callbacks": callbacks},
    });
    Reply::new(&json, lines.join("\n"))
}

/// A key that was just made: nobody will read it again.
pub(crate) struct NewKey {
    pub(crate) secret: String,
    pub(crate) hash: ApiKeyHash,
    row: ApiKey,
}

/// Whose a key is, and what it may do.
pub(crate) struct Allowed {
    pub(crate) user_id: UserId,
    pub(crate) permissions: Vec<String>,
    pub(crate) rate_limit: u32,
    pub(crate) max_concurrent: Option<u32>,
}

/// Stores a key of 256 random bits, as its hash.
pub(crate) async fn create(
    keys: &ApiKeys,
    Allowed { user_id, permissions, rate_limit, max_concurrent }: Allowed,
    expires_at: Timestamp,
    lineage: Option<String>,
) -> anyhow::Result<NewKey> {
    let secret = api_key::generate()?;
    let hash = ApiKeyHash::of(&secret);
    // What is shown of it must name it alone.
    let key_id = hash.key_id();
    if keys.list().await?.iter().any(|(other, _)| other.key_id() == key_id) {
        bail!("another key has the id {key_id}: create one again");
    }
    let row = ApiKey {
        user_id,
        permissions,
        rate_limit,
        max_concurrent,
        created_at: Timestamp::now(),
        expires_at: Some(expires_at),
        revoked_at: None,
        lineage,
        successor: None,
    };
    keys.put(&hash, &row).await?;
    Ok(NewKey { secret, hash, row })
}

/// Hands a key over to Secrets Manager, which has it rotated every `days`. A key that nobody could
/// read is not left behind.
async fn manage(stack: &Stack, keys: &ApiKeys, key: &NewKey, days: u32) -> anyhow::Result<Reply> {
    let secrets = aws_sdk_secretsmanager::Client::new(&stack.aws);
    let name = format!("{}/keys/{}", stack.name, key.hash.key_id());
    let created = secrets
        .create_secret()
        .name(&name)
        .description(format!("API key of {} for the stack {}.", key.row.user_id, stack.name))
        .secret_string(json!({"api_key": key.secret}).to_string())
        .send()
        .await;
    let arn = match created {
        Ok(created) => created.arn.unwrap_or(name),
        Err(error) => {
            keys.delete(&key.hash).await?;
            return Err(refusal(error)).context("cannot create the secret");
        }
    };
    let rules = RotationRulesType::builder().automatically_after_days(days.into()).build();
    secrets
        .rotate_secret()
        .secret_id(&arn)
        .rotation_lambda_arn(stack.output("RotateFunctionArn")?)
        .rotation_rules(rules)
        .rotate_immediately(false)
        .send()
        .await
        .map_err(refusal)
        .with_context(|| {
            format!("the secret {arn} was created, but its rotation could not be set up")
        })?;
    let mut json = shown(&key.hash, &key.row);
    json["secret_arn"] = Value::from(arn.as_str());
    Reply::new(&json, arn)
}

fn in_days(days: u32) -> Timestamp {
    Timestamp::now().plus(Duration::from_hours(24) * days)
}

/// The key alone is the answer, for a script to take; the rest is said beside it.
fn shown_once(key: &NewKey, notes: &[String]) -> anyhow::Result<Reply> {
    let expires = key.row.expires_at.map(minute).unwrap_or_default();
    let user = &key.row.user_id;
    output::note(&format!(
        "Key {} of {user}, valid until {expires}. It is shown only once:",
        key.hash.key_id()
    ));
    for note in notes {
        output::note(note);
    }
    let mut json = shown(&key.hash, &key.row);
    if let Some(fields) = json.as_object_mut() {
        fields.insert("key".to_owned(), Value::from(key.secret.as_str()));
    }
    Reply::new(&json, key.secret.clone())
}

fn shown(hash: &ApiKeyHash, key: &ApiKey) -> Value {
    json!({
        "key_id": hash.key_id(), "user_id": key.user_id, "permissions": key.permissions,
        "rate_limit": key.rate_limit, "max_concurrent": key.max_concurrent, "created_at": key.created_at.rfc3339(),
        "expires_at": key.expires_at.map(Timestamp::rfc3339),
        "revoked_at": key.revoked_at.map(Timestamp::rfc3339),
        "state": state(key),
    })
}

fn state(key: &ApiKey) -> &'static str {
    match (key.is_valid(Timestamp::now()), key.revoked_at) {
        (true, _) => "valid",
        (false, Some(_)) => "revoked",
        (false, None) => "expired",
    }
}

async fn list(keys: &ApiKeys, user: Option<&str>) -> anyhow::Result<Reply> {
    let all = keys.list().await?.into_iter();
    let mut wanted: Vec<(ApiKeyHash, ApiKey)> =
        all.filter(|(_, key)| user.is_none_or(|user| key.user_id.as_str() == user)).collect();
    wanted.sort_by(|(_, a), (_, b)| {
        (a.user_id.as_str(), a.created_at).cmp(&(b.user_id.as_str(), b.created_at))
    });
    let rows: Vec<_> = wanted
        .iter()
        .map(|(hash, key)| {
            [
                hash.key_id(),
                key.user_id.to_string(),
                state(key).to_owned(),
                minute(key.created_at),
                key.expires_at.map_or_else(|| "never".to_owned(), minute),
                key.rate_limit.to_string(),
                key.max_concurrent.map_or_else(String::new, |most| most.to_string()),
                key.permissions.join(" "),
            ]
        })
        .collect();
    let titles =
        ["KEY", "USER", "STATE", "CREATED", "EXPIRES", "STARTS/MIN", "AT ONCE", "PERMISSIONS"];
    let json: Vec<_> = wanted.iter().map(|(hash, key)| shown(hash, key)).collect();
    Reply::new(&json!({"keys": json}), table(titles, &rows))
}

async fn rotate(
    keys: &ApiKeys,
    key_id: &str,
    overlap_days: u32,
    days: u32,
) -> anyhow::Result<Reply> {
    let (hash, old) = find(keys, key_id).await?;
    if old.revoked_at.is_some() {
        bail!("the key {key_id} is revoked: create a new one with `keys create`");
    }
    // The new one first: whatever fails then, its user is not locked out.
    let first = old.lineage(&hash);
    let lineage = Some(first.clone());
    let ApiKey { user_id, permissions, rate_limit, max_concurrent, .. } = old;
    let of = Allowed { user_id, permissions, rate_limit, max_concurrent };
    let new = create(keys, of, in_days(days), lineage).await?;
    let until = in_days(overlap_days);
    let handed_over = match first.parse() {
        Ok(first) => keys.hand_over(&first, &new.hash).await,
        Err(error) => Err(Error::corrupt("a key's lineage", error)),
    };
    let inherits = match handed_over {
        Ok(Step::Applied) => {
            "Its subscriptions and callbacks continue with the new key.".to_owned()
        }
        Ok(Step::Stale) => {
            "Its subscriptions end with it: the first key of its line no longer exists.".to_owned()
        }
        Err(error) => format!("Its subscriptions end with it ({error})."),
    };
    let ended = keys.expire(&hash, until).await;
    let note = match ended {
        Ok(Step::Stale) => format!("The old key {key_id} was revoked in the meantime."),
        Ok(Step::Applied) => {
            let until = old.expires_at.map_or(until, |at| at.min(until));
            format!("The old key {key_id} is valid until {}.", minute(until))
        }
        // The new key must be shown all the same, since nobody can read it again.
        Err(error) => {
            format!("The expiry of the old key {key_id} could not be set ({error}): revoke it.")
        }
    };
    shown_once(&new, &[note, inherits])
}

/// The one key whose hash is this, or begins with it: the wrong one must not be ended.
async fn find(keys: &ApiKeys, key_id: &str) -> anyhow::Result<(ApiKeyHash, ApiKey)> {
    let all = keys.list().await?.into_iter();
    if key_id.len() < SHORTEST_PREFIX {
        bail!("a key is named by its hash, or by at least its first {SHORTEST_PREFIX} characters");
    }
    let mut found = all.filter(|(hash, _)| hash.to_hex().starts_with(key_id));
    let first = found.next().with_context(|| format!("there is no key {key_id}"))?;
    if found.next().is_some() {
        bail!("several keys begin with {key_id}: give more characters of the hash");
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keys_user_can_be_no_tokens_user() {
        assert!(user_id("alice@example.com").is_ok());
        for text in ["", "issuer|sub", "a\nb", &"x".repeat(257)] {
            assert!(user_id(text).is_err(), "{text}");
        }
    }
}
