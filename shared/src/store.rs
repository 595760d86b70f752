//! The tables: one file per kind of item, one function per call.

pub mod agents;
pub mod api_keys;
pub mod budget;
pub mod deliveries;
pub mod due;
pub mod executions;
pub mod generations;
pub mod limits;
mod projection;
pub mod questions;
pub mod subscriptions;
pub mod transitions;
pub mod trouble;

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        delete_item::{DeleteItemError, DeleteItemOutput, builders::DeleteItemFluentBuilder},
        put_item::{PutItemError, PutItemOutput, builders::PutItemFluentBuilder},
        transact_write_items::TransactWriteItemsError,
        update_item::{UpdateItemError, UpdateItemOutput, builders::UpdateItemFluentBuilder},
    },
    types::{AttributeValue, KeysAndAttributes, TransactWriteItem},
};
use serde::{Serialize, de::DeserializeOwned};
use ulid::Ulid;

use crate::{error::Error, json::Json};

use executions::Consistency;
use projection::Projection;

/// An item as DynamoDB has it.
pub type Item = HashMap<String, AttributeValue>;

/// Maps a value to an item.
pub fn to_item(value: &impl Serialize) -> Result<Item, Error> {
    serde_dynamo::to_item(value).map_err(|error| Error::corrupt("an item to store", error))
}

/// Maps a value to an attribute.
fn to_attribute(value: &impl Serialize) -> Result<AttributeValue, Error> {
    serde_dynamo::to_attribute_value(value)
        .map_err(|error| Error::corrupt("an attribute to store", error))
}

/// Maps an item to a value.
pub fn from_item<T: DeserializeOwned>(item: Item) -> Result<T, Error> {
    serde_dynamo::from_item(item).map_err(|error| Error::corrupt("a stored item", error))
}

/// A value as JSON, with its numbers as they are stored; `None` for one that is no JSON, as bytes are
/// unless they are text. Of what is within another such is left out, since nobody has asked for it by
/// its name.
#[must_use]
pub fn to_json(value: &AttributeValue) -> Option<Json> {
    Some(match value {
        AttributeValue::S(text) => Json::string(text),
        // DynamoDB's numbers are JSON's.
        AttributeValue::N(digits) => {
            Json::parse(digits.trim()).filter(|it| it.node().is_number())?
        }
        AttributeValue::Bool(bool) => Json::of(bool),
        AttributeValue::Null(_) => Json::null(),
        AttributeValue::M(members) => {
            let members = members.iter().filter_map(|(name, value)| Some((name, to_json(value)?)));
            Json::of(&members.collect::<BTreeMap<_, _>>())
        }
        AttributeValue::L(items) => Json::of(&items.iter().filter_map(to_json).collect::<Vec<_>>()),
        AttributeValue::Ss(texts) => Json::of(texts),
        AttributeValue::Ns(numbers) => {
            Json::of(&numbers.iter().filter_map(|digits| Json::parse(digits)).collect::<Vec<_>>())
        }
        AttributeValue::B(bytes) => Json::string(std::str::from_utf8(bytes.as_ref()).ok()?),
        AttributeValue::Bs(items) => {
            let texts = items.iter().map(|bytes| std::str::from_utf8(bytes.as_ref()).ok());
            Json::of(&texts.collect::<Option<Vec<_>>>()?)
        }
        _ => return None,
    })
}

/// The bytes of an item by DynamoDB's count, of which it may have 400 KB
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>).
#[must_use]
pub fn bytes(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

fn value_bytes(value: &AttributeValue) -> usize {
    const AROUND: usize = 3;
    match value {
        AttributeValue::S(text) => text.len(),
        // At most: two digits are a byte.
        AttributeValue::N(digits) => digits.len() + 1,
        AttributeValue::Ss(texts) => texts.iter().map(String::len).sum(),
        AttributeValue::Ns(numbers) => numbers.iter().map(|digits| digits.len() + 1).sum(),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::Bs(items) => items.iter().map(|bytes| bytes.as_ref().len()).sum(),
        AttributeValue::M(members) => {
            let members = members.iter().map(|(name, it)| name.len() + value_bytes(it) + 1);
            AROUND + members.sum::<usize>()
        }
        AttributeValue::L(items) => {
            AROUND + items.iter().map(|it| value_bytes(it) + 1).sum::<usize>()
        }
        _ => 1,
    }
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

/// Whether a refused update finds what it was to write: an earlier try of it was committed, and
/// only its reply was lost. Asked for with `ALL_OLD`.
fn is_written<R>(error: &SdkError<UpdateItemError, R>, name: &str, value: &AttributeValue) -> bool {
    found(error).is_some_and(|item| item.get(name) == Some(value))
}

/// The item that refused an update, where it was asked for.
fn found<R>(error: &SdkError<UpdateItemError, R>) -> Option<&Item> {
    match error.as_service_error()? {
        UpdateItemError::ConditionalCheckFailedException(refused) => refused.item.as_ref(),
        _ => None,
    }
}

/// As many items as one call reads.
const MAX_BATCH: usize = 100;

/// Reads at most [`MAX_BATCH`] items in one call, in no order.
async fn read_batch(
    client: &Client,
    table: &str,
    mut keys: Vec<Item>,
    projection: Option<Projection>,
    consistency: Consistency,
    action: &'static str,
) -> Result<Vec<Item>, Error> {
    const TRIES: u32 = 4;

    let (expression, names) = projection.map(|it| (it.expression, it.names)).unzip();
    let mut found = Vec::new();
    for attempt in 0..TRIES {
        if keys.is_empty() {
            return Ok(found);
        }
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .set_projection_expression(expression.clone())
            .set_expression_attribute_names(names.clone())
            .consistent_read(consistency == Consistency::Strong)
            .build()
            .map_err(|error| Error::corrupt("a key", error))?;
        let read = client
            .batch_get_item()
            .request_items(table, wanted)
            .send()
            .await
            .map_err(Error::aws(action))?;
        found.extend(read.responses.unwrap_or_default().into_values().flatten());
        // Under load a batch may come back in pieces.
        let left = read.unprocessed_keys.unwrap_or_default().into_values();
        keys = left.flat_map(|left| left.keys).collect();
        if !keys.is_empty() {
            tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
        }
    }
    if keys.is_empty() { Ok(found) } else { Err(Error::Busy(action)) }
}

/// What became of a transaction.
#[derive(Debug, PartialEq, Eq)]
enum Transaction {
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
trait Write: Clone + Send {
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
