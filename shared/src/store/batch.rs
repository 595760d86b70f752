//! Reads: how fresh, and many at once.

use std::time::Duration;

use aws_sdk_dynamodb::{Client, types::KeysAndAttributes};

use crate::{
    domain::error::Error,
    store::{item::Item, projection::Projection},
};

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// At half the price.
    Eventual,
    Strong,
}

/// As many items as one call reads.
pub const MAX_BATCH: usize = 100;

/// Reads at most [`MAX_BATCH`] items in one call, in no order.
pub(super) async fn read_batch(
    client: &Client,
    table: &str,
    mut keys: Vec<Item>,
    projection: Option<Projection>,
    consistency: Consistency,
    action: &'static str,
) -> Result<Vec<Item>, Error> {
    const ATTEMPTS: u32 = 4;

    let (expression, names) = projection.map(|it| (it.expression, it.names)).unzip();
    let mut found = Vec::new();
    for attempt in 0..ATTEMPTS {
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
