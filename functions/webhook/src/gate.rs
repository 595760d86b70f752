//! Whether a delivery may leave now.

use relay::{
    domain::{
        callback::Callback, delivery::Delivery, error::Error, health::Health, outcome::Outcome,
        signature::Signing, time::Timestamp,
    },
    service::rights::Rights,
    store::{
        budget::{Budget, Full},
        executions::{Delivered, Executions},
    },
};
use tracing::info;

/// What is sent, to whom.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) callback: Callback,
    /// Of a subscription's receiver.
    pub(crate) health: Option<Health>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) signing: Signing,
}

/// Whether a delivery may leave now.
#[derive(Debug)]
pub(crate) enum Admission {
    Admitted(Box<Admitted>),
    /// Never, and why.
    Refused(&'static str),
    /// Never: it is true no more.
    Superseded,
    /// Not before others have left.
    Full(Full),
}

/// What decides.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) executions: Executions,
    pub(crate) rights: Rights,
    pub(crate) budget: Budget,
}

impl Gate {
    /// Decides whether a delivery may leave, at the time at which it leaves, whatever was so when it was owed.
    pub(crate) async fn admit(&self, delivery: &Delivery) -> Result<Admission, Error> {
        let Delivered { callback, health, outcome, signing } =
            self.executions.find_delivered(delivery).await?;
        let Some(callback) = callback else {
            return Ok(Admission::Refused("the subscription is gone"));
        };
        if health.is_some_and(|health| health.is_disabled()) {
            return Ok(Admission::Refused("the subscription is disabled"));
        }
        if outcome.as_ref().is_some_and(|outcome| delivery.is_refuted_by(outcome)) {
            return Ok(Admission::Superseded);
        }
        if !self.rights.may_be_told(callback.holder.as_ref(), delivery.about()).await? {
            let reason = "the key that asked for it has ended, or may not view the agent";
            return Ok(Admission::Refused(reason));
        }
        let user = (!delivery.is_counted_with_its_start()).then_some(&delivery.user_id);
        let (host, now) = (callback.url.host(), Timestamp::now());
        if let Some(full) = self.budget.take(user, host, delivery.stood, now).await? {
            let (id, whose) = (&delivery.webhook_id, full.whose.as_str());
            info!("no room for {id} to {host}: its {whose}'s budget is used up");
            return Ok(Admission::Full(full));
        }
        Ok(Admission::Admitted(Box::new(Admitted { callback, health, outcome, signing })))
    }
}
