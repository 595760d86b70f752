//! A user's runs, newest first: the index by user, and the rows that it names.

use std::{
    collections::{BTreeMap, HashMap},
    ops::RangeInclusive,
};

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        error::Error,
        execution::Execution,
        id::{AgentName, ExecutionId, UserId},
        time::Timestamp,
    },
    store::{
        batch::Consistency,
        executions::{Executions, is_live},
        item::{from_item, from_item_of_list, number, text},
        key::{STATE, key},
        projection::Projection,
    },
};

/// Which of a user's runs to list.
#[derive(Debug)]
pub struct Filter {
    pub user_id: UserId,
    pub agent_name: Option<AgentName>,
    /// Only what was created from the first of these times to the last.
    pub created: RangeInclusive<Timestamp>,
}

/// What the index of a user's runs has of one: what never changes, so that it is written once.
#[derive(Debug, Deserialize)]
pub struct Listed {
    pub execution_id: ExecutionId,
    pub agent_name: AgentName,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageKey {
    pub execution_id: ExecutionId,
    pub created_at: Timestamp,
}

/// From where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum After {
    /// Behind this run.
    Run(PageKey),
    /// With the runs of this time.
    Time { until: Timestamp },
}

impl After {
    #[must_use]
    pub const fn created_at(&self) -> Timestamp {
        match self {
            Self::Run(key) => key.created_at,
            Self::Time { until } => *until,
        }
    }
}

impl Executions {
    /// One page of the index of a user's runs, newest first, from behind `after`. It may hold fewer
    /// than `limit`, even none, and still not be the last: the second value says where to go on.
    pub async fn list(
        &self,
        filter: &Filter,
        limit: i32,
        after: Option<&After>,
    ) -> Result<(Vec<Listed>, Option<PageKey>), Error> {
        let (from, to) = (*filter.created.start(), *filter.created.end());
        let until = after.map_or(to, |after| after.created_at().min(to));
        // DynamoDB takes no empty range.
        if until < from {
            return Ok((Vec::new(), None));
        }
        let Projection { expression, names } = Projection::of::<Listed>();
        let mut query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("user")
            .projection_expression(expression)
            .set_expression_attribute_names(Some(names))
            .key_condition_expression("user_id = :user_id AND created_at BETWEEN :from AND :until")
            .expression_attribute_values(":user_id", text(filter.user_id.as_str()))
            .expression_attribute_values(":from", number(from.millis()))
            .expression_attribute_values(":until", number(until.millis()))
            .scan_index_forward(false)
            .limit(limit);
        if let Some(agent) = &filter.agent_name {
            query = query
                .filter_expression("agent_name = :agent_name")
                .expression_attribute_values(":agent_name", text(agent.as_str()));
        }
        // Nor does it take a start outside of the range, as a cursor of another list may name one.
        if let Some(After::Run(after)) = after.filter(|after| after.created_at() <= to) {
            let mut start = key(after.execution_id.as_str(), STATE);
            start.insert("user_id".to_owned(), text(filter.user_id.as_str()));
            start.insert("created_at".to_owned(), number(after.created_at.millis()));
            query = query.set_exclusive_start_key(Some(start));
        }
        let page = query.send().await.map_err(Error::aws("list executions"))?;
        let listed = page.items.unwrap_or_default().into_iter().filter_map(from_item_of_list);
        Ok((listed.collect(), page.last_evaluated_key.map(from_item).transpose()?))
    }

    /// Those of the listed runs that are there, in their order, as they stand.
    pub async fn find_listed(&self, listed: Vec<Listed>) -> Result<Vec<Execution>, Error> {
        if listed.is_empty() {
            return Ok(Vec::new());
        }
        let keys = listed.iter().map(|it| key(it.execution_id.as_str(), STATE)).collect();
        let projection = Some(Projection::of::<Execution>());
        let items = self.batch(keys, projection, Consistency::Eventual, "read executions").await?;
        let mut found = HashMap::new();
        for execution in items.into_iter().filter_map(from_item_of_list::<Execution>) {
            if is_live(execution.ttl) {
                found.insert(execution.execution_id.clone(), execution);
            }
        }
        Ok(listed.iter().filter_map(|it| found.remove(&it.execution_id)).collect())
    }
}
