//! Dead letters of the index of debts: items that `sweep` has given up, for an operator to replay.

use crate::{
    domain::{debt::Debt, error::Error, time::Timestamp},
    store::{
        due::{Due, DueItem, End, sweeps},
        item::{number, text},
        key::key,
        write::{Step, Write, step},
    },
};

/// One dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    pub execution_id: String,
    pub part: String,
    pub since: Timestamp,
    pub sweeps: u32,
    pub reason: String,
}

impl Due {
    /// Gives an item up: `sweep` does not process it any more, and an operator finds it.
    pub async fn dead_letter(&self, item: &DueItem, reason: &str) -> Result<Step, Error> {
        let updated = self
            .update(item)
            .update_expression("SET due_at = :now, debt = :dead, dead_reason = :reason")
            .condition_expression("due_at = :due_at")
            .expression_attribute_values(":now", number(Timestamp::now().millis()))
            .expression_attribute_values(":dead", text(Debt::dead().as_str()))
            .expression_attribute_values(":reason", text(reason))
            .expression_attribute_values(":due_at", item.due_at.clone())
            .write()
            .await;
        step(updated, "give up what is overdue")
    }

    /// The dead letters, newest first, at most `limit`.
    pub async fn dead(&self, limit: usize) -> Result<Vec<(DueItem, Dead)>, Error> {
        let mut dead = Vec::new();
        let mut after = None;
        loop {
            let page =
                self.overdue(&Debt::dead(), Timestamp::now(), End::Newest, after.take()).await?;
            let keys = page.items.iter().map(|item| key(&item.execution_id, &item.part)).collect();
            let mut found = self.batch(keys).await?;
            for item in page.items {
                let row = found.remove(&(item.execution_id.clone(), item.part.clone()));
                let Some(row) = row.filter(|row| row.get("due_at") == Some(&item.due_at)) else {
                    continue;
                };
                let reason = row.get("dead_reason").and_then(|it| it.as_s().ok()).cloned();
                dead.push((
                    item.clone(),
                    Dead {
                        since: item.due_at().unwrap_or(Timestamp::from_millis(0)),
                        execution_id: item.execution_id,
                        part: item.part,
                        sweeps: sweeps(&row),
                        reason: reason.unwrap_or_default(),
                    },
                ));
            }
            after = page.next;
            if after.is_none() || dead.len() >= limit {
                dead.truncate(limit);
                return Ok(dead);
            }
        }
    }

    /// Has an item processed again, now. `Stale` when it has moved meanwhile.
    pub async fn replay(&self, item: &DueItem) -> Result<Step, Error> {
        let updated = self
            .update(item)
            .update_expression("SET due_at = :now, debt = :debt REMOVE sweeps, dead_reason")
            .condition_expression("due_at = :due_at AND debt = :dead")
            .expression_attribute_values(":now", number(Timestamp::now().millis()))
            .expression_attribute_values(":debt", text(item.debt(item.kind()).as_str()))
            .expression_attribute_values(":dead", text(Debt::dead().as_str()))
            .expression_attribute_values(":due_at", item.due_at.clone())
            .write()
            .await;
        step(updated, "replay what was given up")
    }
}
