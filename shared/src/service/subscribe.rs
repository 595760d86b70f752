//! A user's subscriptions and signing secrets.

use std::time::Duration;

use futures_util::{StreamExt, stream};

use crate::{
    aws::queue::{DeliveryMessage, Queue},
    domain::{
        caller::{Action, Actor, Caller},
        delivery::{Delivery, DeliveryState},
        error::Error,
        id::{SubscriptionId, UserId},
        network::CallbackAllow,
        rights::Holder,
        signature::{Signer, Signing, SigningSecret},
        subscription::{Listed, MAX_SUBSCRIPTIONS, Signed, SubscribeBody, SubscriptionView},
        time::Timestamp,
    },
    http::body::{RecoverBody, Recovered, SecretView, Subscribed, TestView},
    store::{
        deliveries::Deliveries, generations::Generations, given_up::GivenUp, limits::Limits,
        subscriptions::Subscriptions, write::Step,
    },
};

#[derive(Debug)]
pub struct Subscribe {
    pub subscriptions: Subscriptions,
    pub deliveries: Deliveries,
    pub generations: Generations,
    pub limits: Limits,
    pub webhook_queue: Queue,
    pub callback_allow: CallbackAllow,
    /// After which silence `sweep` sends the hint for a delivery again.
    pub delivery_overdue: Duration,
}

/// How many deliveries one request makes again at most, and how many of them side by side.
const MAX_RECOVERED: i32 = 100;
const SIDE_BY_SIDE: usize = 10;

impl Subscribe {
    /// Adds a subscription.
    pub async fn add(
        &self,
        caller: &Caller,
        body: SubscribeBody,
        master: &[u8],
    ) -> Result<Subscribed, Error> {
        let subscription = body.check(caller, &self.callback_allow)?;
        let user = &caller.user_id;
        let mut added = self.subscriptions.add(user, &subscription).await?;
        // Those whose token has ended have no place to take.
        if added == Step::Stale && self.remove_ended(user).await? {
            added = self.subscriptions.add(user, &subscription).await?;
        }
        match added {
            Step::Applied => {
                let signer = Signer::Subscription(subscription.id.clone());
                let secret = SigningSecret::derive(master, &signer, 0).whsec();
                Ok(Subscribed { subscription: subscription.into(), secret })
            }
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
    async fn permitted(&self, caller: &Caller, id: &SubscriptionId) -> Result<Listed, Error> {
        let found = self.subscriptions.list(&caller.user_id).await?.into_iter();
        let found = found.filter(|listed| listed.may_be_seen(caller));
        let mut found = found.filter(|listed| listed.id == *id);
        found.next().ok_or(Error::NotFound("subscription"))
    }

    /// One that is sent something now.
    async fn enabled(&self, caller: &Caller, id: &SubscriptionId) -> Result<Listed, Error> {
        let listed = self.permitted(caller, id).await?;
        if listed.health.is_disabled() {
            return Err(Error::Conflict("the subscription is disabled".into()));
        }
        Ok(listed)
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
        self.enabled(caller, id).await?;
        let (key, limit) = (&caller.credential, caller.rate_limit);
        self.limits.count_delivery(key, limit, Timestamp::now()).await?;
        let hops = caller.arrival.hops.clone();
        let delivery = Delivery::test(&caller.user_id, id.as_str(), hops, self.delivery_overdue);
        self.deliveries.owe(&delivery).await?;
        let Delivery { execution_id, part, webhook_id, user_id, .. } = delivery;
        let message = DeliveryMessage { execution_id, part };
        self.webhook_queue.enqueue_hint(&message, &user_id, Duration::ZERO).await;
        Ok(TestView { delivery_id: webhook_id })
    }

    /// Has one that is disabled be told again from now on. One that is not stays as it is.
    pub async fn enable(
        &self,
        caller: &Caller,
        id: &SubscriptionId,
    ) -> Result<SubscriptionView, Error> {
        caller.require_all(Action::Manage)?;
        self.subscriptions.enable(&caller.user_id, id, Timestamp::now()).await?;
        Ok(self.permitted(caller, id).await?.into())
    }

    /// Owes what was given up since then again, a part of it, under the same ids.
    pub async fn recover(
        &self,
        caller: &Caller,
        id: &SubscriptionId,
        body: RecoverBody,
    ) -> Result<Recovered, Error> {
        caller.arrival.refuse_loop()?;
        caller.require_all(Action::Manage)?;
        let since = Timestamp::of_field("since", &body.since)?;
        let after = body.cursor.as_deref().map(GivenUp::check_part).transpose()?;
        self.enabled(caller, id).await?;
        // As one request: each of its attempts counts besides, where it is made.
        let (key, limit) = (&caller.credential, caller.rate_limit);
        self.limits.count_delivery(key, limit, Timestamp::now()).await?;
        let page = self.deliveries.list_given_up(id, since, after, MAX_RECOVERED);
        let (page, is_cut) = page.await?;
        let next_cursor = page.last().filter(|_| is_cut).map(|last| last.part.clone());
        let (now, by) = (Timestamp::now(), &caller.actor());
        let owed = stream::iter(page)
            .map(|given_up| self.owe_again(given_up, by, now))
            .buffer_unordered(SIDE_BY_SIDE)
            .collect::<Vec<_>>();
        let owed: Result<Vec<_>, Error> = owed.await.into_iter().collect();
        Ok(Recovered { recovered: owed?.into_iter().map(u32::from).sum(), next_cursor })
    }

    /// Whether it is owed again by this: somebody else may have been first.
    async fn owe_again(&self, what: GivenUp, by: &Actor, now: Timestamp) -> Result<bool, Error> {
        let GivenUp { delivery_of: execution_id, delivery_part: part, ttl, .. } = what;
        // DynamoDB deletes it as soon as it comes to that.
        if ttl <= now.seconds() {
            return Ok(false);
        }
        let due_at = now.plus(self.delivery_overdue);
        let ended = DeliveryState::Undelivered;
        let owed = self.deliveries.owe_again(&execution_id, &part, ended, by, None, due_at);
        if owed.await? == Step::Stale {
            return Ok(false);
        }
        let message = DeliveryMessage { execution_id, part };
        self.webhook_queue.enqueue_hint(&message, &by.user_id, Duration::ZERO).await;
        Ok(true)
    }

    /// The caller's signing secret, and the one before it while that still signs.
    pub async fn secret(&self, caller: &Caller, master: &[u8]) -> Result<SecretView, Error> {
        caller.require_all(Action::Manage)?;
        let signer = Signer::User(caller.user_id.clone());
        let generation = self.generations.find(&caller.user_id).await?;
        Ok(SecretView::of(&Signing { signer, generation }, master))
    }

    /// A new one; the one before it signs, too, for a week.
    pub async fn rotate_secret(&self, caller: &Caller, master: &[u8]) -> Result<SecretView, Error> {
        caller.require_all(Action::Manage)?;
        let signer = Signer::User(caller.user_id.clone());
        let generation = self.generations.rotate(&caller.user_id).await?;
        Ok(SecretView::of(&Signing { signer, generation }, master))
    }

    /// What signs one subscription: its own secret, or its user's where it is older than such.
    pub async fn secret_of(
        &self,
        caller: &Caller,
        id: &SubscriptionId,
        master: &[u8],
    ) -> Result<SecretView, Error> {
        match self.signed(caller, id).await?.signing {
            Some(generation) => {
                let signer = Signer::Subscription(id.clone());
                Ok(SecretView::of(&Signing { signer, generation }, master))
            }
            None => self.secret(caller, master).await,
        }
    }

    /// A new one of its own.
    pub async fn rotate_secret_of(
        &self,
        caller: &Caller,
        id: &SubscriptionId,
        master: &[u8],
    ) -> Result<SecretView, Error> {
        if self.signed(caller, id).await?.signing.is_none() {
            let reason = "the subscription has no secret of its own, but its user's";
            return Err(Error::Conflict(reason.into()));
        }
        let rotated = self.subscriptions.rotate(&caller.user_id, id).await?;
        let generation = rotated.ok_or(Error::NotFound("subscription"))?;
        let signer = Signer::Subscription(id.clone());
        Ok(SecretView::of(&Signing { signer, generation }, master))
    }

    /// One whose secret the caller may have.
    async fn signed(&self, caller: &Caller, id: &SubscriptionId) -> Result<Signed, Error> {
        let found = self.subscriptions.find_signed(&caller.user_id, id).await?;
        let signed = found.ok_or(Error::NotFound("subscription"))?;
        signed.permit(caller)?;
        Ok(signed)
    }
}

impl SecretView {
    fn of(Signing { signer, generation }: &Signing, master: &[u8]) -> Self {
        let secret = |generation| SigningSecret::derive(master, signer, generation).whsec();
        let previous = generation.previous(Timestamp::now());
        Self {
            secret: secret(generation.generation),
            generation: generation.generation,
            previous_secret: previous.map(|(generation, _)| secret(generation)),
            previous_until: previous.map(|(_, until)| until),
        }
    }
}
