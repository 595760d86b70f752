//! The tables: one file per kind of item, one function per call.

pub mod agents;
pub mod api_keys;
pub mod deliveries;
pub mod due;
pub mod executions;
pub mod generations;
pub mod limits;
mod projection;
pub mod questions;
pub mod subscriptions;
pub mod transitions;

use std::{collections::HashMap, fmt::Display, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::{transact_write_items::TransactWriteItemsError, update_item::UpdateItemError},
    types::{AttributeValue, TransactWriteItem},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::error::Error;

/// An item as DynamoDB has it.
pub type Item = HashMap<String, AttributeValue>;

/// Maps a value to an item.
pub fn to_item(value: &impl Serialize) -> Result<Item, Error> {
    serde_dynamo::to_item(value).map_err(|error| Error::corrupt("an item to store", error))
}

/// Maps an item to a value.
pub fn from_item<T: DeserializeOwned>(item: Item) -> Result<T, Error> {
    serde_dynamo::from_item(item).map_err(|error| Error::corrupt("a stored item", error))
}

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn number(value: impl Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Whether an update's condition did not hold.
fn is_refused<R>(error: &SdkError<UpdateItemError, R>) -> bool {
    error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception)
}

/// What became of a transaction.
#[derive(Debug, PartialEq, Eq)]
enum Transaction {
    Committed,
    /// The condition of the item at this index did not hold; nothing was written.
    Refused(usize),
}

/// Another transaction on one of the items cancels ours, and the SDK does not retry that.
const CONFLICT_PAUSES: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(60),
    Duration::from_millis(150),
    Duration::from_millis(400),
];

/// Writes all or nothing. The token makes a repetition after a lost reply harmless for ten
/// minutes, within which all retries of one call fall.
async fn transact(
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
        let codes: Vec<_> = cancelled
            .cancellation_reasons()
            .iter()
            .map(|reason| reason.code().unwrap_or_default())
            .collect();
        if let Some(index) = codes.iter().position(|code| *code == "ConditionalCheckFailed") {
            return Ok(Transaction::Refused(index));
        }
        if !codes.contains(&"TransactionConflict") {
            return Err(Error::aws(action)(error));
        }
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }
    Err(Error::Busy(action))
}
