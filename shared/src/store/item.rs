//! Items as DynamoDB has them, and their attributes.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
};

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Serialize, de::DeserializeOwned};
use tracing::warn;

use crate::domain::{error::Error, id::ExecutionId, json::Json};

/// An item as DynamoDB has it.
pub type Item = HashMap<String, AttributeValue>;

/// Maps a value to an item.
pub fn to_item(value: &impl Serialize) -> Result<Item, Error> {
    serde_dynamo::to_item(value).map_err(|error| Error::corrupt("an item to store", error))
}

/// Maps a value to an attribute.
pub(super) fn to_attribute(value: &impl Serialize) -> Result<AttributeValue, Error> {
    serde_dynamo::to_attribute_value(value)
        .map_err(|error| Error::corrupt("an attribute to store", error))
}

/// Maps an item to a value.
pub fn from_item<T: DeserializeOwned>(item: Item) -> Result<T, Error> {
    serde_dynamo::from_item(item).map_err(|error| Error::corrupt("a stored item", error))
}

/// The same for one of a list: what cannot be read is left out, so that it hides none of the others.
/// Whoever asks for it alone gets the error.
pub(super) fn from_item_of_list<T: DeserializeOwned>(item: Item) -> Option<T> {
    let text = |name: &str| item.get(name).and_then(|it| it.as_s().ok()).cloned();
    // What is no run's may be named after a user.
    let id = text("execution_id").filter(|id| id.parse::<ExecutionId>().is_ok());
    let part = text("part");
    from_item(item)
        .inspect_err(|_| warn!(execution.id = id, part, "left out of a list: it cannot be read"))
        .ok()
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

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(super) fn number(value: impl Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}
