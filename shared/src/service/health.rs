//! What comes of an attempt for the subscription that it was made to: how its receiver fares, and in the
//! end that it is disabled, which its owner is told.

use std::time::Duration;

use tracing::info;

use crate::{
    aws::{
        bus::{Bus, SubscriptionDisabled},
        failure,
        queue::{DeliveryMessage, Queue},
    },
    domain::{
        delivery::Delivery,
        error::Error,
        health::{Attempted, DisabledReason, Health},
        id::{SubscriptionId, UserId},
        rights::About,
        subscription::{Disabled, Listed},
        time::Timestamp,
    },
    service::rights::Rights,
    store::{subscriptions::Subscriptions, write::Step},
};

#[derive(Debug)]
pub struct Endpoints {
    pub subscriptions: Subscriptions,
    pub rights: Rights,
    pub bus: Bus,
    pub webhook_queue: Queue,
    /// After which silence `sweep` sends the hint for a delivery again.
    pub delivery_overdue: Duration,
}

impl Endpoints {
    /// Records for a subscription what an attempt came to; `before` is how its receiver fared until then.
    /// Returns whether that has disabled it. A failure of this is made good by the next attempt.
    pub async fn record_attempt(
        &self,
        user: &UserId,
        id: &SubscriptionId,
        before: &Health,
        attempted: Attempted,
    ) -> Result<bool, Error> {
        let now = Timestamp::now();
        if attempted == Attempted::Delivered {
            if before.is_noteworthy(now) {
                self.subscriptions.succeeded(user, id, now).await?;
            }
            return Ok(false);
        }
        let Some(health) = self.subscriptions.failed(user, id, now).await? else {
            return Ok(false);
        };
        match health.verdict(attempted, now) {
            Some(reason) => self.disable(user, id, health, reason, now).await,
            None => Ok(false),
        }
    }

    /// Disables one that was found to fail so.
    async fn disable(
        &self,
        user: &UserId,
        id: &SubscriptionId,
        failing: Health,
        reason: DisabledReason,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let all = self.subscriptions.list(user).await?;
        let own = all.iter().find(|listed| listed.id == *id && !listed.health.is_disabled());
        let Some((own, holder)) = own.and_then(|own| Some((own, own.holder.as_ref()?))) else {
            return Ok(false);
        };
        let disabled = Disabled {
            subscription_id: id.clone(),
            host: own.url.host().to_owned(),
            lineage: holder.lineage().clone(),
            health: failing.disabled(reason, now),
        };
        let others = all.iter().filter(|other| other.id != *id);
        let owed = self.owed(user, &disabled, others, now).await?;
        let since = failing.failing_since.unwrap_or(now);
        if self.subscriptions.disable(user, id, since, reason, now, &owed).await? == Step::Stale {
            return Ok(false);
        }
        info!("subscription {id} is disabled: {}", reason.as_str());
        // Once it is so. What tells callers of it is owed with it; the bus is told if that succeeds.
        let event = SubscriptionDisabled::of(user, own, disabled);
        if let Err(error) = self.bus.publish_disabled(&event).await {
            failure::log(&error);
        }
        for Delivery { execution_id, part, user_id, .. } in owed {
            let message = DeliveryMessage { execution_id, part };
            self.webhook_queue.enqueue_hint(&message, &user_id, Duration::ZERO).await;
        }
        Ok(true)
    }

    /// A delivery to each other subscription that is well and may know of this one. Of many that fail at
    /// once none is told of the others; and whoever enables what it is told of is not told again at once.
    async fn owed(
        &self,
        user: &UserId,
        disabled: &Disabled,
        others: impl Iterator<Item = &Listed>,
        now: Timestamp,
    ) -> Result<Vec<Delivery>, Error> {
        let mut owed = Vec::new();
        if disabled.health.is_just_enabled(now) {
            return Ok(owed);
        }
        // A waiting workflow of n8n would be resumed by it.
        for other in others.filter(|other| other.health.is_well() && !other.url.resumes_n8n()) {
            let about = About::Subscription(&disabled.lineage);
            if self.rights.may_be_told(other.holder.as_ref(), about).await? {
                let target = other.id.as_str();
                owed.push(Delivery::of_disabled(user, disabled, target, self.delivery_overdue));
            }
        }
        Ok(owed)
    }
}
