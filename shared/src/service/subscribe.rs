//! A user's subscriptions and signing secret.

use std::{num::NonZeroU32, time::Duration};

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    caller::{Action, Caller, UserId},
    delivery::Delivery,
    error::Error,
    network::CallbackAllow,
    queue::{DeliveryMessage, Queue},
    rights::Holder,
    signature::{Generation, SigningSecret},
    store::{
        deliveries::Deliveries, generations::Generations, limits::Limits,
        subscriptions::Subscriptions, transitions::Step,
    },
    subscription::{MAX_SUBSCRIPTIONS, SubscribeBody, SubscriptionId, SubscriptionView},
    time::Timestamp,
};

#[derive(Debug)]
pub struct Subscribe {
    pub subscriptions: Subscriptions,
    pub deliveries: Deliveries,
    pub generations: Generations,
    pub limits: Limits,
    pub webhook_queue: Queue,
    pub callback_allow: CallbackAllow,
    /// How many tests, redeliveries and attempts of a user there may be in a minute.
    pub user_delivery_limit: NonZeroU32,
    /// After which silence `sweep` hurries a delivery again.
    pub delivery_overdue: Duration,
}

/// What a user verifies webhooks with.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SecretView {
    /// `whsec_…`, as Standard Webhooks has it.
    pub secret: String,
    pub generation: u32,
    /// It signs, too, until its time is up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_secret: Option<String>,
    #[serde(
        serialize_with = "Timestamp::as_optional_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub previous_until: Option<Timestamp>,
}

/// That a test delivery is owed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TestView {
    pub delivery_id: String,
}

impl Subscribe {
    /// Adds a subscription.
    pub async fn add(
        &self,
        caller: &Caller,
        body: SubscribeBody,
    ) -> Result<SubscriptionView, Error> {
        let subscription = body.check(caller, &self.callback_allow)?;
        let user = &caller.user_id;
        let mut added = self.subscriptions.add(user, &subscription).await?;
        // Those whose token has ended have no place to take.
        if added == Step::Stale && self.remove_ended(user).await? {
            added = self.subscriptions.add(user, &subscription).await?;
        }
        match added {
            Step::Applied => Ok(subscription.into()),
            Step::Stale => {
                let reason = format!("there are {MAX_SUBSCRIPTIONS} subscriptions already");
                Err(Error::Conflict(reason.into()))
            }
        }
    }

    /// Removes a user's subscriptions whose token has ended; whether there were any.
    async fn remove_ended(&self, user: &UserId) -> Result<bool, Error> {
        let now = Timestamp::now();
        let mut any = false;
        for listed in self.subscriptions.list(user).await? {
            let until = listed.holder.as_ref().and_then(Holder::until);
            if until.is_some_and(|until| until <= now) {
                any |= self.subscriptions.remove(user, &listed.id).await? == Step::Applied;
            }
        }
        Ok(any)
    }

    /// One that the caller may change.
    async fn permitted(&self, caller: &Caller, id: &SubscriptionId) -> Result<(), Error> {
        let found = self.subscriptions.list(&caller.user_id).await?.into_iter();
        let found = found.filter(|listed| listed.may_be_seen(caller));
        let mut found = found.filter(|listed| listed.id == *id);
        found.next().map(drop).ok_or(Error::NotFound("subscription"))
    }

    /// Removes one: deliveries to it that are still owed end undelivered.
    pub async fn remove(&self, caller: &Caller, id: &SubscriptionId) -> Result<(), Error> {
        self.permitted(caller, id).await?;
        match self.subscriptions.remove(&caller.user_id, id).await? {
            Step::Applied => Ok(()),
            Step::Stale => Err(Error::NotFound("subscription")),
        }
    }

    /// Owes a subscription a delivery of the type `subscription.test`, which is attempted once.
    pub async fn test(&self, caller: &Caller, id: &SubscriptionId) -> Result<TestView, Error> {
        caller.arrival.refuse_loop()?;
        self.permitted(caller, id).await?;
        let user = &caller.user_id;
        self.limits.count_delivery(user, self.user_delivery_limit, Timestamp::now()).await?;
        let hops = caller.arrival.hops.clone();
        let delivery = Delivery::test(user, id.as_str(), hops, self.delivery_overdue);
        self.deliveries.owe(&delivery).await?;
        let Delivery { execution_id, part, webhook_id, user_id, .. } = delivery;
        let message = DeliveryMessage { execution_id, part };
        self.webhook_queue.hurry(&message, &user_id, Duration::ZERO).await;
        Ok(TestView { delivery_id: webhook_id })
    }

    /// The caller's signing secret, and the one before it while that still signs.
    pub async fn secret(&self, caller: &Caller, master: &[u8]) -> Result<SecretView, Error> {
        caller.require_all(Action::Manage)?;
        let generation = self.generations.find(&caller.user_id).await?;
        Ok(secret_view(caller, master, generation))
    }

    /// A new one; the one before it signs, too, for a week.
    pub async fn rotate_secret(&self, caller: &Caller, master: &[u8]) -> Result<SecretView, Error> {
        caller.require_all(Action::Manage)?;
        let generation = self.generations.rotate(&caller.user_id).await?;
        Ok(secret_view(caller, master, generation))
    }
}

fn secret_view(caller: &Caller, master: &[u8], generation: Generation) -> SecretView {
    let secret = |generation| SigningSecret::derive(master, &caller.user_id, generation).whsec();
    let previous = generation.previous(Timestamp::now());
    SecretView {
        secret: secret(generation.generation),
        generation: generation.generation,
        previous_secret: previous.map(|(generation, _)| secret(generation)),
        previous_until: previous.map(|(_, until)| until),
    }
}
