//! What may leave: attempts at the deliveries of one user, and attempts at one host, so many a minute each.
//!
//! Each has a line, by the generic cell rate algorithm (GCRA): an item says when the next place in it is,
//! and whoever takes one moves that on by a minute's share. A place less than a minute ahead is free at once;
//! whoever gets a later one comes back at that time, and has it then. So nothing is put off twice for one
//! line, however long it is, and a line is as long as what it holds.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    operation::update_item::UpdateItemError,
    types::{ReturnValue, ReturnValuesOnConditionCheckFailure},
};

use crate::{
    domain::{delivery::Line, error::Error, id::UserId, time::Timestamp},
    store::{
        item::{Item, number, text},
        limits::{MINUTE, minute_of},
        write::Write,
    },
};

/// The most places that are taken by one write. A line is one item, which bears a thousand writes a second.
const MAX_BLOCK: u32 = 16;

/// The longest line. What finds it longer has no place.
const LONGEST_LINE: Duration = Duration::from_hours(24);

/// How long the item of a line that nobody stands in is kept.
const KEPT: Duration = Duration::from_hours(1);

fn of_user(user: &UserId) -> String {
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
    /// The places that this instance has taken ahead in the minute.
    blocks: Mutex<Blocks>,
}

#[derive(Debug, Default)]
struct Blocks {
    minute: i64,
    by_line: HashMap<String, Arc<tokio::sync::Mutex<Block>>>,
}

/// Places that were taken by one write, and are given out one by one.
#[derive(Debug, Default)]
struct Block {
    /// The next one, in microseconds.
    place: i64,
    left: u32,
    size: u32,
}

/// What an attempt has to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    pub whose: Line,
    /// When its place is; `None` where the line is too long for it.
    pub until: Option<Timestamp>,
}

impl Budget {
    /// With how many attempts a minute there may be of each user, and at each host.
    #[must_use]
    pub fn new(client: Client, table: String, of_user: NonZeroU32, of_host: NonZeroU32) -> Self {
        Self { client, table, of_user, of_host, blocks: Mutex::default() }
    }

    /// Takes a place for an attempt that is about to be made, which has stood in this line already: at this
    /// host, and for its user where that one's starts have not been counted for it.
    pub async fn take(
        &self,
        user: Option<&UserId>,
        host: &str,
        stood: Option<Line>,
        now: Timestamp,
    ) -> Result<Option<Full>, Error> {
        // One after the other: what a user may not send takes nothing from others who send there.
        let of_user = user.map(|user| (Line::User, of_user(user), self.of_user));
        let of_host = (Line::Host, of_host(host), self.of_host);
        for (whose, line, limit) in of_user.into_iter().chain([of_host]) {
            if stood >= Some(whose) {
                continue;
            }
            let Some(place) = self.place(line, limit, now).await? else {
                return Ok(Some(Full { whose, until: None }));
            };
            if let Some(until) = turn(place, limit, now) {
                return Ok(Some(Full { whose, until: Some(until) }));
            }
        }
        Ok(None)
    }

    /// The next place in a line, in microseconds; `None` where it is too long.
    async fn place(
        &self,
        line: String,
        limit: NonZeroU32,
        now: Timestamp,
    ) -> Result<Option<i64>, Error> {
        let block = self.block(&line, minute_of(now));
        // Others of this line wait for the same write.
        let mut block = block.lock().await;
        if block.left == 0 {
            // Twice as many as the last time, so that what is taken and never used, when the minute
            // ends, is no more than what was used.
            let size = (block.size * 2).clamp(1, MAX_BLOCK);
            let Some(end) = self.take_places(&line, limit, size, now).await? else {
                return Ok(None);
            };
            let place = end - i64::from(size) * step(limit);
            *block = Block { place, left: size, size };
        }
        let place = block.place;
        block.place += step(limit);
        block.left -= 1;
        Ok(Some(place))
    }

    fn block(&self, line: &str, minute: i64) -> Arc<tokio::sync::Mutex<Block>> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if blocks.minute != minute {
            *blocks = Blocks { minute, by_line: HashMap::new() };
        }
        Arc::clone(blocks.by_line.entry(line.to_owned()).or_default())
    }

    /// Moves the end of a line on by so many places, and returns where it is then. One that is repeated
    /// after a lost reply takes twice as many, which has others wait for longer at worst.
    async fn take_places(
        &self,
        line: &str,
        limit: NonZeroU32,
        count: u32,
        now: Timestamp,
    ) -> Result<Option<i64>, Error> {
        let places = i64::from(count) * step(limit);
        let latest = now.plus(LONGEST_LINE);
        let mut stands = false;
        // The first attempt knows nothing of the line, the second what the first has seen; between these it may
        // have begun or ended once more.
        for _ in 0..4 {
            let update = self.client.update_item().table_name(&self.table);
            let update = update.key("execution_id", text(line)).key("part", text("rate"));
            let update = if stands {
                update
                    .update_expression("SET #ttl = :ttl ADD #end :places")
                    .condition_expression("#end > :now AND #end < :latest")
                    .expression_attribute_values(":places", number(places))
                    .expression_attribute_values(":latest", number(micros(latest)))
            } else {
                let end = micros(now) + places;
                update
                    .update_expression("SET #ttl = :ttl, #end = :end")
                    .condition_expression("attribute_not_exists(#end) OR #end <= :now")
                    .expression_attribute_values(":end", number(end))
            };
            let kept = if stands { latest } else { now }.plus(KEPT);
            let updated = update
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_names("#end", "line_end")
                .expression_attribute_values(":now", number(micros(now)))
                .expression_attribute_values(":ttl", number(kept.seconds()))
                .return_values(ReturnValue::UpdatedNew)
                .return_values_on_condition_check_failure(
                    ReturnValuesOnConditionCheckFailure::AllOld,
                )
                .write()
                .await;
            let error = match updated {
                Ok(updated) => {
                    let end = updated.attributes.as_ref().and_then(line_end);
                    let none = || Error::corrupt("a line", "it has no end");
                    return end.ok_or_else(none).map(Some);
                }
                Err(error) => error,
            };
            let Some(UpdateItemError::ConditionalCheckFailedException(refused)) =
                error.as_service_error()
            else {
                return Err(Error::aws("take a place in a line")(error));
            };
            let end = refused.item.as_ref().and_then(line_end);
            if end.is_some_and(|end| end >= micros(latest)) {
                return Ok(None);
            }
            stands = end.is_some_and(|end| end > micros(now));
        }
        Err(Error::Busy("take a place in a line"))
    }
}

fn line_end(item: &Item) -> Option<i64> {
    item.get("line_end")?.as_n().ok()?.parse().ok()
}

/// How far apart the places of a line are, in microseconds.
fn step(limit: NonZeroU32) -> i64 {
    (MINUTE * 1_000 / i64::from(limit.get())).max(1)
}

const fn micros(at: Timestamp) -> i64 {
    at.millis().saturating_mul(1_000)
}

/// When the turn of this place is, if it is not now: a minute's places are free at once.
fn turn(place: i64, limit: NonZeroU32, now: Timestamp) -> Option<Timestamp> {
    let from = place.saturating_add(step(limit)).saturating_sub(MINUTE * 1_000);
    let from = from.div_euclid(1_000);
    (from > now.millis()).then(|| Timestamp::from_millis(from))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_many_as_the_limit_leave_at_once_and_then_that_many_a_minute(
            limit in 1_u32..2_000, count in 1_u32..5_000, minute in 0_i64..50_000_000,
        ) {
            let limit = NonZeroU32::new(limit).unwrap();
            let now = Timestamp::from_millis(minute * MINUTE);
            let mut place = micros(now);
            let mut by_minute = BTreeMap::<i64, u32>::new();
            let mut last = now;
            for number in 1..=count {
                match turn(place, limit, now) {
                    None => prop_assert!(number <= limit.get()),
                    Some(at) => {
                        prop_assert!(number > limit.get() && at >= last, "in turn, and later");
                        last = at;
                        *by_minute.entry((at.millis() - 1).div_euclid(MINUTE)).or_default() += 1;
                    }
                }
                place += step(limit);
            }
            prop_assert!(by_minute.values().all(|it| *it <= limit.get() + 1), "{by_minute:?}");
            let full = by_minute.values().filter(|it| **it + 1 >= limit.get()).count();
            prop_assert!(full + 1 >= by_minute.len(), "no minute is left out: {by_minute:?}");
        }
    }

    #[test]
    fn a_delivery_stands_in_each_line_once() {
        let stood = [None, Some(Line::User), Some(Line::Host)];
        let takes = stood.map(|stood| [Line::User, Line::Host].map(|whose| stood < Some(whose)));
        assert_eq!(takes, [[true, true], [false, true], [false, false]]);
    }

    #[test]
    fn users_and_hosts_have_lines_of_their_own() {
        let user = |id: &str| of_user(&id.to_owned().into());
        assert_ne!(user("a"), of_host("a"));
        assert_ne!(user("a#7"), user("a"));
    }
}
