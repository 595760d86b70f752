//! The item of a slot: put by the transaction that claims a run, and deleted by the one that ends it, so that the
//! slots that are taken are the runs that go on, by construction.

use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem};

use crate::{
    domain::{error::Error, id::ExecutionId, pool::Slot, time::Timestamp},
    store::{
        item::{number, text},
        key::key,
    },
};

/// How the part of each begins.
pub(super) const SLOT: &str = "slot#";

fn part(slot: &Slot) -> String {
    format!("{SLOT}{}", slot.name)
}

/// Takes a slot for a run, if it is free.
pub(super) fn take(
    table: &str,
    slot: &Slot,
    run: &ExecutionId,
) -> Result<TransactWriteItem, Error> {
    let put = Put::builder()
        .table_name(table)
        .set_item(Some(key(slot.pool.as_str(), &part(slot))))
        .item("holder", text(run.as_str()))
        .item("taken_at", number(Timestamp::now().millis()))
        .condition_expression("attribute_not_exists(execution_id) OR holder = :run")
        .expression_attribute_values(":run", text(run.as_str()))
        .build()
        .map_err(|error| Error::corrupt("a slot", error))?;
    Ok(TransactWriteItem::builder().put(put).build())
}

/// Gives back the slot of a run, if it still is that one's.
pub(super) fn free(
    table: &str,
    slot: &Slot,
    run: &ExecutionId,
) -> Result<TransactWriteItem, Error> {
    let delete = Delete::builder()
        .table_name(table)
        .set_key(Some(key(slot.pool.as_str(), &part(slot))))
        .condition_expression("attribute_not_exists(execution_id) OR holder = :run")
        .expression_attribute_values(":run", text(run.as_str()))
        .build()
        .map_err(|error| Error::corrupt("a slot", error))?;
    Ok(TransactWriteItem::builder().delete(delete).build())
}
