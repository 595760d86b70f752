//! What a caller may change about a run: cancel it, and have a delivery made again.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::read::permitted;
use crate::{
    answer::DeliveryView,
    caller::{Action, Caller},
    error::Error,
    execution::{Execution, ExecutionId},
    queue::{DeliveryMessage, LaunchMessage, Queue},
    store::{
        deliveries::Deliveries,
        executions::{Consistency, Executions},
        transitions::Step,
    },
    time::Timestamp,
};

#[derive(Debug)]
pub struct Change {
    pub executions: Executions,
    pub deliveries: Deliveries,
    pub launch_queue: Queue,
    pub webhook_queue: Queue,
    /// After which silence `sweep` hurries a launch, and so a cancellation, again.
    pub launch_overdue: Duration,
    /// After which silence `sweep` hurries a delivery again.
    pub delivery_overdue: Duration,
}

/// The answer to an accepted cancellation.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Cancelling {
    pub execution_id: ExecutionId,
    /// Always `cancelling`: the end comes as soon as Step Functions has stopped the run, and may
    /// still be another one.
    pub status: &'static str,
}

impl Change {
    /// Asks for the end of a run. Asking again is harmless.
    pub async fn cancel(&self, caller: &Caller, id: &ExecutionId) -> Result<Cancelling, Error> {
        let found = self.executions.find(id, Consistency::Strong).await?;
        let execution = permitted(caller, Action::Cancel, found)?;
        if execution.status.is_end() {
            return Err(ended(&execution));
        }
        let due_at = Timestamp::now().plus(self.launch_overdue);
        if self.executions.request_cancel(id, due_at).await? == Step::Stale {
            // It has ended since it was read.
            let found = self.executions.find(id, Consistency::Strong).await?;
            return Err(found.as_ref().map_or(Error::NotFound("execution"), ended));
        }
        let message = LaunchMessage { execution_id: id.clone() };
        self.launch_queue.hurry(&message, &execution.user_id, Duration::ZERO).await;
        Ok(Cancelling { execution_id: id.clone(), status: "cancelling" })
    }

    /// Owes a delivery again that is over.
    pub async fn redeliver(
        &self,
        caller: &Caller,
        id: &ExecutionId,
        webhook_id: &str,
    ) -> Result<DeliveryView, Error> {
        let found = self.executions.find(id, Consistency::Strong).await?;
        let execution = permitted(caller, Action::View, found)?;
        let mut deliveries = self.deliveries.list(id).await?.into_iter();
        let delivery = deliveries
            .find(|delivery| delivery.webhook_id == webhook_id)
            .ok_or(Error::NotFound("delivery"))?;
        let due_at = Timestamp::now().plus(self.delivery_overdue);
        if self.deliveries.owe_again(&delivery, due_at).await? == Step::Stale {
            return Err(Error::Conflict("the delivery is still owed".into()));
        }
        let message = DeliveryMessage { execution_id: id.clone(), part: delivery.part.clone() };
        self.webhook_queue.hurry(&message, &execution.user_id, Duration::ZERO).await;
        let owed = self.deliveries.list(id).await?.into_iter();
        let mut owed = owed.filter(|owed| owed.part == delivery.part);
        owed.next().map(DeliveryView::from).ok_or(Error::NotFound("delivery"))
    }
}

fn ended(execution: &Execution) -> Error {
    Error::Conflict(format!("the execution has ended: {}", execution.status).into())
}
