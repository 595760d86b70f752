//! Writes: under a condition, again while a transaction holds the item, all or nothing.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        delete_item::{DeleteItemError, DeleteItemOutput, builders::DeleteItemFluentBuilder},
        put_item::{PutItemError, PutItemOutput, builders::PutItemFluentBuilder},
        transact_write_items::TransactWriteItemsError,
        update_item::{UpdateItemError, UpdateItemOutput, builders::UpdateItemFluentBuilder},
    },
    types::{AttributeValue, TransactWriteItem, Update},
};
use ulid::Ulid;

use crate::{
    domain::{error::Error, time::Timestamp},
    store::{
        item::{Item, number},
        key::key,
    },
};

/// What became of a conditional step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Applied,
    /// The row has moved on already.
    Stale,
}

/// Whether an update's condition did not hold.
pub(super) fn is_refused<R>(error: &SdkError<UpdateItemError, R>) -> bool {
    error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception)
}

/// Whether a refused update finds what it was to write: an earlier attempt of it was committed, and
/// only its reply was lost. Asked for with `ALL_OLD`.
pub(super) fn is_written<R>(
    error: &SdkError<UpdateItemError, R>,
    name: &str,
    value: &AttributeValue,
) -> bool {
    found(error).is_some_and(|item| item.get(name) == Some(value))
}

/// The item that refused an update, where it was asked for.
pub(super) fn found<R>(error: &SdkError<UpdateItemError, R>) -> Option<&Item> {
    match error.as_service_error()? {
        UpdateItemError::ConditionalCheckFailedException(refused) => refused.item.as_ref(),
        _ => None,
    }
}

/// What became of an update under a condition.
pub(super) fn step(
    updated: Result<UpdateItemOutput, SdkError<UpdateItemError>>,
    action: &'static str,
) -> Result<Step, Error> {
    match updated {
        Ok(_) => Ok(Step::Applied),
        Err(error) if is_refused(&error) => Ok(Step::Stale),
        Err(error) => Err(Error::aws(action)(error)),
    }
}

/// Has a part expire then, if it is there.
pub(super) fn expire(
    table: &str,
    id: &str,
    part: &str,
    until: Timestamp,
) -> Result<TransactWriteItem, Error> {
    let update = Update::builder()
        .table_name(table)
        .set_key(Some(key(id, part)))
        .update_expression("SET #ttl = :ttl")
        .condition_expression("attribute_exists(execution_id)")
        .expression_attribute_names("#ttl", "ttl")
        .expression_attribute_values(":ttl", number(until.seconds()))
        .build()
        .map_err(|error| Error::corrupt("an expiry", error))?;
    Ok(TransactWriteItem::builder().update(update).build())
}

/// What became of a transaction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Transaction {
    Committed,
    /// The condition of the item at this index did not hold; nothing was written.
    Refused(usize),
}

/// A transaction on one of the items refuses any other write of it, and the SDK does not retry
/// that; nor does it retry a transaction of which only a part was throttled.
const CONFLICT_PAUSES: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(60),
    Duration::from_millis(150),
    Duration::from_millis(400),
];

/// The reasons that cancel a transaction and may be gone after a pause.
const PASSING: [&str; 3] =
    ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];

/// Why a transaction was cancelled.
#[derive(Debug, PartialEq, Eq)]
enum Cancelled {
    Refused(usize),
    /// The same may succeed after a pause.
    Passing,
    ForGood,
}

impl Cancelled {
    /// By the codes of its items.
    fn by(codes: &[&str]) -> Self {
        if let Some(index) = codes.iter().position(|code| *code == "ConditionalCheckFailed") {
            Self::Refused(index)
        } else if codes.iter().any(|code| PASSING.contains(code)) {
            Self::Passing
        } else {
            Self::ForGood
        }
    }
}

/// Up to half as much again, so that those who met do not meet again.
fn spread(pause: Duration) -> Duration {
    let sixteenths = u32::try_from(Ulid::generate().random() & 0x7).unwrap_or_default();
    pause + pause * sixteenths / 16
}

/// A write of one item. Every one of ours goes through `write`.
pub(super) trait Write: Clone + Send {
    type Written: Send;
    type Refusal: ProvideErrorMetadata + Send;

    fn once(self) -> impl Future<Output = Result<Self::Written, SdkError<Self::Refusal>>> + Send;

    /// Sends it, and again after a pause while a transaction holds the item.
    fn write(self) -> impl Future<Output = Result<Self::Written, SdkError<Self::Refusal>>> + Send {
        async move {
            for pause in CONFLICT_PAUSES {
                let written = self.clone().once().await;
                if !written.as_ref().is_err_and(is_in_a_transaction) {
                    return written;
                }
                tokio::time::sleep(spread(pause)).await;
            }
            self.once().await
        }
    }
}

fn is_in_a_transaction<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    code == Some("TransactionConflictException")
}

impl Write for PutItemFluentBuilder {
    type Written = PutItemOutput;
    type Refusal = PutItemError;

    async fn once(self) -> Result<Self::Written, SdkError<Self::Refusal>> {
        self.send().await
    }
}

impl Write for UpdateItemFluentBuilder {
    type Written = UpdateItemOutput;
    type Refusal = UpdateItemError;

    async fn once(self) -> Result<Self::Written, SdkError<Self::Refusal>> {
        self.send().await
    }
}

impl Write for DeleteItemFluentBuilder {
    type Written = DeleteItemOutput;
    type Refusal = DeleteItemError;

    async fn once(self) -> Result<Self::Written, SdkError<Self::Refusal>> {
        self.send().await
    }
}

/// Writes all or nothing. The token makes a repetition after a lost reply harmless for ten
/// minutes, within which all retries of one call fall.
pub(super) async fn transact(
    client: &Client,
    token: &str,
    items: Vec<TransactWriteItem>,
    action: &'static str,
) -> Result<Transaction, Error> {
    for pause in CONFLICT_PAUSES.into_iter().map(Some).chain([None]) {
        let written = client
            .transact_write_items()
            .client_request_token(token)
            .set_transact_items(Some(items.clone()))
            .send()
            .await;
        let Err(error) = written else {
            return Ok(Transaction::Committed);
        };
        let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
            error.as_service_error()
        else {
            return Err(Error::aws(action)(error));
        };
        let codes = cancelled.cancellation_reasons().iter().map(|reason| reason.code());
        match Cancelled::by(&codes.map(Option::unwrap_or_default).collect::<Vec<_>>()) {
            Cancelled::Refused(index) => return Ok(Transaction::Refused(index)),
            Cancelled::Passing => {}
            Cancelled::ForGood => return Err(Error::aws(action)(error)),
        }
        if let Some(pause) = pause {
            tokio::time::sleep(spread(pause)).await;
        }
    }
    Err(Error::Busy(action))
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::error::ErrorMetadata;

    use super::*;

    #[test]
    fn a_transaction_is_repeated_when_it_met_another_or_was_throttled() {
        for code in PASSING {
            assert_eq!(Cancelled::by(&["None", code, "None"]), Cancelled::Passing, "{code}");
        }
        for code in ["ItemCollectionSizeLimitExceeded", "ValidationError", "None", ""] {
            assert_eq!(Cancelled::by(&["None", code]), Cancelled::ForGood, "{code}");
        }
        let refused = ["TransactionConflict", "ConditionalCheckFailed", "ThrottlingError"];
        assert_eq!(Cancelled::by(&refused), Cancelled::Refused(1));
    }

    #[test]
    fn a_write_that_met_only_transactions_is_answered_as_busy() {
        let metadata = ErrorMetadata::builder().code("TransactionConflictException").build();
        let error = SdkError::service_error(UpdateItemError::generic(metadata), ());

        assert!(is_in_a_transaction(&error));
        assert!(matches!(Error::aws("store it")(error), Error::Busy("store it")));
    }

    #[test]
    fn pauses_are_spread_and_never_shorter() {
        for pause in CONFLICT_PAUSES {
            let spread = spread(pause);
            assert!(spread >= pause && spread < pause * 2);
        }
    }
}
