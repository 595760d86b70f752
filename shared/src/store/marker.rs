//! The markers of a batch: one for each of its runs that goes on. A marker is put by the transaction that accepts
//! the run, and deleted by the one that ends it: so the markers are the runs that go on, with no counter that all
//! of them would write.

use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem};

use crate::{
    domain::{
        batch_id::BatchId, error::Error, execution::Execution, id::ExecutionId, time::Timestamp,
    },
    store::{item::number, key::key},
};

/// How the part of each begins.
pub(super) const OPEN: &str = "open#";

fn part(run: &ExecutionId) -> String {
    format!("{OPEN}{run}")
}

/// That of a run that is accepted.
pub(super) fn put(
    table: &str,
    run: &Execution,
    batch: &BatchId,
) -> Result<TransactWriteItem, Error> {
    keep(table, &run.execution_id, batch, run.kept_until)
}

/// That of a run that is reopened, or goes on for longer than was thought.
pub(super) fn keep(
    table: &str,
    run: &ExecutionId,
    batch: &BatchId,
    until: Option<Timestamp>,
) -> Result<TransactWriteItem, Error> {
    let mut item = key(batch.as_str(), &part(run));
    if let Some(until) = until {
        item.insert("ttl".to_owned(), number(until.seconds()));
    }
    let put = Put::builder().table_name(table).set_item(Some(item)).build();
    let put = put.map_err(|error| Error::corrupt("a marker", error))?;
    Ok(TransactWriteItem::builder().put(put).build())
}

/// Takes that of a run that has ended.
pub(super) fn delete(
    table: &str,
    run: &ExecutionId,
    batch: &BatchId,
) -> Result<TransactWriteItem, Error> {
    let key = key(batch.as_str(), &part(run));
    let delete = Delete::builder().table_name(table).set_key(Some(key)).build();
    let delete = delete.map_err(|error| Error::corrupt("a marker", error))?;
    Ok(TransactWriteItem::builder().delete(delete).build())
}
