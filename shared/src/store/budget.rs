//! What may leave a minute: attempts at the deliveries of one user, and attempts at one host. There are
//! counters for both; what finds its counter full is told when to come back.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
};

use aws_sdk_dynamodb::{Client, types::ReturnValue};

use super::{
    Write,
    limits::{MINUTE, counter_key, expiry, minute_of},
    number, text,
};
use crate::{caller::UserId, error::Error, time::Timestamp};

/// The most that is counted by one write. A counter is one item, which bears a thousand writes a second.
const MAX_BLOCK: i64 = 16;

/// What is counted for a user: attempts, and requests that owe one.
pub(super) fn of_user(user: &UserId) -> String {
    format!("rate#deliveries-of#{user}")
}

fn of_host(host: &str) -> String {
    format!("rate#deliveries-to#{host}")
}

#[derive(Debug)]
pub struct Budget {
    client: Client,
    table: String,
    of_user: NonZeroU32,
    of_host: NonZeroU32,
    /// What this instance has counted ahead in the minute.
    blocks: Mutex<Blocks>,
}

#[derive(Debug, Default)]
struct Blocks {
    minute: i64,
    by_counter: HashMap<String, Arc<tokio::sync::Mutex<Block>>>,
}

/// Numbers that were counted by one write, and are given out one by one.
#[derive(Debug, Default)]
struct Block {
    given: i64,
    end: i64,
    size: i64,
}

/// That there is no room for an attempt in its minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// Whose budget is used up: the user's or the host's.
    pub whose: &'static str,
    /// When there is room for it, as far as can be known now.
    pub until: Timestamp,
}

impl Budget {
    /// With how many attempts a minute there may be of each user, and at each host.
    #[must_use]
    pub fn new(client: Client, table: String, of_user: NonZeroU32, of_host: NonZeroU32) -> Self {
        Self { client, table, of_user, of_host, blocks: Mutex::default() }
    }

    /// Counts an attempt that is about to be made, if there is room for it: at this host, and for its user
    /// where that one's starts have not been counted for it.
    pub async fn take(
        &self,
        user: Option<&UserId>,
        host: &str,
        now: Timestamp,
    ) -> Result<Option<Full>, Error> {
        // One after the other: what a user may not send takes nothing from others who send there.
        let minute = minute_of(now);
        let of_user = user.map(|user| ("user", of_user(user), self.of_user));
        let of_host = ("host", of_host(host), self.of_host);
        for (whose, counter, limit) in of_user.into_iter().chain([of_host]) {
            let number = self.number(counter, minute).await?;
            if let Some(until) = room(number, limit, minute) {
                return Ok(Some(Full { whose, until }));
            }
        }
        Ok(None)
    }

    /// The next number of a counter, from 1 on.
    async fn number(&self, counter: String, minute: i64) -> Result<i64, Error> {
        let block = self.block(&counter, minute);
        // Others of this counter wait for the same write.
        let mut block = block.lock().await;
        if block.given == block.end {
            // Twice as many as the last time, so that what is counted and never used, when the minute
            // ends, is no more than what was used.
            let size = (block.size * 2).clamp(1, MAX_BLOCK);
            let end = self.add(&counter, minute, size).await?;
            *block = Block { given: end - size, end, size };
        }
        block.given += 1;
        Ok(block.given)
    }

    fn block(&self, counter: &str, minute: i64) -> Arc<tokio::sync::Mutex<Block>> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if blocks.minute != minute {
            *blocks = Blocks { minute, by_counter: HashMap::new() };
        }
        Arc::clone(blocks.by_counter.entry(counter.to_owned()).or_default())
    }

    /// Counts so many, whatever the limit, and returns how many there are now. One that is repeated after
    /// a lost reply counts twice, which has others wait for the next minute at worst.
    async fn add(&self, counter: &str, minute: i64, count: i64) -> Result<i64, Error> {
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("execution_id", text(counter_key(counter, minute)))
            .key("part", text("rate"))
            .update_expression("SET #ttl = :ttl ADD n :count")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":count", number(count))
            .expression_attribute_values(":ttl", number(expiry(minute)))
            .return_values(ReturnValue::UpdatedNew)
            .write()
            .await
            .map_err(Error::aws("count an attempt"))?;
        let item = updated.attributes.unwrap_or_default();
        let n = item.get("n").and_then(|n| n.as_n().ok()?.parse().ok());
        n.ok_or_else(|| Error::corrupt("a counter", "it holds no number"))
    }
}

/// When there is room for the attempt of this number of a minute, if not in the minute itself: as if
/// those that come too late stood in line, and `limit` of them left it a minute, evenly.
fn room(number: i64, limit: NonZeroU32, minute: i64) -> Option<Timestamp> {
    let limit = i64::from(limit.get());
    let (minutes, place) = ((number - 1) / limit, (number - 1) % limit);
    let start = minute.saturating_add(minutes).saturating_mul(MINUTE);
    (minutes > 0).then(|| Timestamp::from_millis(start.saturating_add(place * MINUTE / limit)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_many_as_the_limit_leave_a_minute_and_the_others_are_spread_over_the_next(
            limit in 1_u32..2_000, count in 1_i64..5_000, minute in 0_i64..100_000_000,
        ) {
            let limit = NonZeroU32::new(limit).unwrap();
            let mut by_minute = HashMap::new();
            let mut last = Timestamp::from_millis(minute * MINUTE);
            for number in 1..=count {
                match room(number, limit, minute) {
                    None => prop_assert!(number <= i64::from(limit.get())),
                    Some(at) => {
                        prop_assert!(at >= last && minute_of(at) > minute, "in turn, and later");
                        last = at;
                        *by_minute.entry(minute_of(at)).or_insert(0_u32) += 1;
                    }
                }
            }
            prop_assert!(by_minute.values().all(|it| *it <= limit.get()));
            let full = by_minute.values().filter(|it| **it == limit.get()).count();
            prop_assert!(full + 1 >= by_minute.len(), "no minute is left out");
        }
    }

    #[test]
    fn no_count_is_beyond_time() {
        for number in [i64::MAX, i64::MAX / 2, 0, -1] {
            for limit in [1, u32::MAX] {
                let at = room(number, NonZeroU32::new(limit).unwrap(), i64::MAX);
                assert_eq!(at.is_some(), number > i64::from(limit), "{number} of {limit}");
            }
        }
    }

    #[test]
    fn users_and_hosts_have_counters_of_their_own() {
        let user = |id: &str| counter_key(&of_user(&id.to_owned().into()), 7);
        let host = counter_key(&of_host("a"), 7);
        assert_ne!(user("a"), host);
        assert_ne!(user("a#7"), user("a"));
        assert_ne!(user("a"), counter_key(&of_user(&"a".to_owned().into()), 77));
    }
}
