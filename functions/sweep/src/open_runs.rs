//! How many runs have not ended, at the same price whatever their number.

use relay::{
    domain::{
        debt::{Debt, DebtKind},
        error::Error,
    },
    store::{
        due::{Due, FOREVER},
        item::Item,
    },
};

/// Of one count.
const PAGE: i32 = 1_000;

/// How many counts one sweep makes: at least one for each key.
const COUNTS: usize = 16;

/// A count that goes on from one sweep to the next, so that each makes the same few calls. With up
/// to a thousand runs a key every sweep has the whole; with more it takes a minute for each 16,000.
/// A new instance begins anew, and says what it has so far.
#[derive(Debug, Default)]
pub(crate) struct OpenRuns {
    /// The keys still to be counted, the last first, and where in it.
    left: Vec<Debt>,
    after: Option<Item>,
    so_far: u64,
    last: Option<u64>,
}

impl OpenRuns {
    /// How many there are, as far as is known.
    pub(crate) fn count(&self) -> u64 {
        self.last.unwrap_or(self.so_far)
    }

    /// Goes on counting.
    pub(crate) async fn count_on(&mut self, due: &Due) -> Result<(), Error> {
        if self.left.is_empty() {
            let kinds = DebtKind::ALL.into_iter().filter(|kind| kind.is_of_a_run());
            self.left = kinds.flat_map(DebtKind::keys).collect();
            (self.after, self.so_far) = (None, 0);
        }
        for _ in 0..COUNTS {
            let Some(debt) = self.left.last() else { break };
            let (count, next) = due.count(debt, FOREVER, PAGE, self.after.clone()).await?;
            self.so_far += count;
            if next.is_none() {
                self.left.pop();
            }
            self.after = next;
        }
        if self.left.is_empty() {
            self.last = Some(self.so_far);
        }
        Ok(())
    }
}
