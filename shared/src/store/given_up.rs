//! Which deliveries to a subscription were given up, by time.

use aws_sdk_dynamodb::Client;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        delivery::Delivery,
        error::Error,
        id::{ExecutionId, SubscriptionId},
        time::Timestamp,
    },
    store::{
        item::{from_item_of_list, text, to_item},
        projection::Projection,
        write::Write,
    },
};

/// That a delivery to a subscription was given up: where it is, under the subscription and the time.
#[derive(Debug, Serialize, Deserialize)]
pub struct GivenUp {
    /// When, and which: from where a list goes on.
    pub part: String,
    pub delivery_of: ExecutionId,
    pub delivery_part: String,
    pub ttl: i64,
}

impl GivenUp {
    /// A caller's word on where to go on, if there can be such a place.
    pub fn check_part(text: &str) -> Result<&str, Error> {
        let is_part = text.split_once("#msg_").is_some_and(|(at, hash)| {
            let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            at.len() == 13
                && at.bytes().all(|byte| byte.is_ascii_digit())
                && hash.len() == 32
                && hash.bytes().all(is_hex)
        });
        let reason = "must be the next_cursor of an earlier answer";
        if is_part { Ok(text) } else { Err(Error::invalid("cursor", reason)) }
    }
}

fn given_up_key(id: &SubscriptionId) -> String {
    format!("undelivered#{id}")
}

/// Sorts by time, since all have as many digits; what is beyond 2286 is then.
fn given_up_part(at: Timestamp, webhook_id: &str) -> String {
    format!("{:013}#{webhook_id}", at.millis().clamp(0, 9_999_999_999_999))
}

/// Those to a subscription that were given up at this time and since, behind `after`, oldest first, at
/// most `limit`; and whether there may be more. One may have been owed again since.
pub(super) async fn list(
    client: &Client,
    table: &str,
    id: &SubscriptionId,
    since: Timestamp,
    after: Option<&str>,
    limit: i32,
) -> Result<(Vec<GivenUp>, bool), Error> {
    let Projection { expression, names } = Projection::of::<GivenUp>();
    let since = given_up_part(since, "");
    let page = client
        .query()
        .table_name(table)
        .key_condition_expression("execution_id = :owner AND part > :after")
        .expression_attribute_values(":owner", text(given_up_key(id)))
        .expression_attribute_values(":after", text(since.as_str().max(after.unwrap_or(""))))
        .projection_expression(expression)
        .set_expression_attribute_names(Some(names))
        .consistent_read(true)
        .limit(limit)
        .send()
        .await
        .map_err(Error::aws("list what was given up"))?;
    let is_cut = page.last_evaluated_key.is_some();
    let items = page.items.unwrap_or_default().into_iter();
    Ok((items.filter_map(from_item_of_list).collect(), is_cut))
}

/// Notes that a delivery to a subscription is given up, so that it can be found.
pub(super) async fn note(
    client: &Client,
    table: &str,
    delivery: &Delivery,
    id: &SubscriptionId,
) -> Result<(), Error> {
    let given_up = GivenUp {
        part: given_up_part(Timestamp::now(), &delivery.webhook_id),
        delivery_of: delivery.execution_id.clone(),
        delivery_part: delivery.part.clone(),
        ttl: delivery.ttl,
    };
    let mut item = to_item(&given_up)?;
    item.insert("execution_id".to_owned(), text(given_up_key(id)));
    let put = client.put_item().table_name(table).set_item(Some(item));
    put.write().await.map_err(Error::aws("note what is given up"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_sorts_by_time_and_nothing_else_is_a_place_in_it() {
        let part = |millis| given_up_part(Timestamp::from_millis(millis), "");
        let times = [i64::MIN, 0, 1, 999_999_999_999, 1_767_225_600_000, 9_999_999_999_999];
        assert!(times.map(part).is_sorted());
        assert_eq!(part(i64::MAX), part(9_999_999_999_999));

        let id = format!("msg_{}", "0a".repeat(16));
        let good = given_up_part(Timestamp::now(), &id);
        assert_eq!(GivenUp::check_part(&good).unwrap(), good);
        for wrong in ["", "x", &good[1..], &good.to_uppercase(), &format!("{good}0"), &part(1)] {
            assert!(GivenUp::check_part(wrong).is_err(), "{wrong}");
        }
    }
}
