//! The sparse index `due`: all that is still owed, and when it is to be looked after.

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure, Select},
};
use serde::Deserialize;

use super::{
    Write, executions::STATE, from_item, is_refused, is_written, number, text, transitions::Step,
};
use crate::{
    caller::UserId,
    delivery::{self, Delivery},
    error::Error,
    execution::{Execution, ExecutionId},
    question::{self, Question, QuestionId},
    time::Timestamp,
};

#[derive(Debug, Clone)]
pub struct Due {
    client: Client,
    table: String,
}

/// An item that owes something, as the index has it.
#[derive(Debug, Clone, Deserialize)]
pub struct DueItem {
    pub execution_id: ExecutionId,
    pub part: String,
    pub due_at: Timestamp,
}

/// The item itself, read again.
#[derive(Debug)]
pub enum Debt {
    Run(Box<Execution>),
    Delivery(Box<Delivery>),
    /// An answer is owed to the agent, or it has stopped waiting for one.
    Question(QuestionId, UserId),
}

impl Due {
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// What is overdue in one shard, oldest first, at most `limit`.
    pub async fn overdue(
        &self,
        shard: u8,
        now: Timestamp,
        limit: i32,
    ) -> Result<Vec<DueItem>, Error> {
        let page = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("due")
            .key_condition_expression("#shard = :shard AND due_at <= :now")
            .expression_attribute_names("#shard", "shard")
            .expression_attribute_values(":shard", number(shard))
            .expression_attribute_values(":now", number(now.millis()))
            .limit(limit)
            .send()
            .await
            .map_err(Error::aws("list what is overdue"))?;
        page.items.unwrap_or_default().into_iter().map(from_item).collect()
    }

    /// How many runs of one shard have not ended.
    pub async fn count_runs(&self, shard: u8) -> Result<u64, Error> {
        let mut count = 0;
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("due")
            .select(Select::Count)
            .key_condition_expression("#shard = :shard")
            .expression_attribute_names("#shard", "shard")
            .expression_attribute_values(":shard", number(shard))
            .filter_expression("part = :state")
            .expression_attribute_values(":state", text(STATE))
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(Error::aws("count open runs"))?;
            count += u64::try_from(page.count).unwrap_or_default();
        }
        Ok(count)
    }

    /// Reads an overdue item itself; `None` when it has been looked after since.
    pub async fn find(&self, item: &DueItem) -> Result<Option<Debt>, Error> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("execution_id", text(item.execution_id.as_str()))
            .key("part", text(&item.part))
            .consistent_read(true)
            .send()
            .await
            .map_err(Error::aws("read what is overdue"))?;
        let Some(mut found) = found.item else { return Ok(None) };
        if found.get("due_at") != Some(&AttributeValue::N(item.due_at.millis().to_string())) {
            return Ok(None);
        }
        Ok(Some(if item.part.starts_with(delivery::PART_PREFIX) {
            Debt::Delivery(Box::new(from_item(found)?))
        } else if item.part.starts_with(question::PART_PREFIX) {
            // Which one, and whose: that is all that hurrying it needs.
            found.retain(|name, _| !["task_token", "answer"].contains(&name.as_str()));
            let Question { question_id, user_id, .. } = from_item(found)?;
            Debt::Question(question_id, user_id)
        } else {
            Debt::Run(Box::new(from_item(found)?))
        }))
    }

    /// Moves an item's `due_at` on, unless somebody else has: then it is theirs to look after.
    pub async fn postpone(&self, item: &DueItem, until: Timestamp) -> Result<Step, Error> {
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("execution_id", text(item.execution_id.as_str()))
            .key("part", text(&item.part))
            .update_expression("SET due_at = :until")
            .condition_expression("due_at = :due_at")
            .expression_attribute_values(":until", number(until.millis()))
            .expression_attribute_values(":due_at", number(item.due_at.millis()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .write()
            .await;
        match updated {
            Ok(_) => Ok(Step::Applied),
            // The write was ours, and only its reply was lost.
            Err(error) if is_written(&error, "due_at", &number(until.millis())) => {
                Ok(Step::Applied)
            }
            Err(error) if is_refused(&error) => Ok(Step::Stale),
            Err(error) => Err(Error::aws("postpone what is overdue")(error)),
        }
    }
}
