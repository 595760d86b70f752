//! The sparse indexes of trouble: runs that ended as they should not have, and deliveries that were
//! given up. What goes well is never in them, and so costs nothing.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        error::Error,
        id::{ExecutionId, UserId},
        time::Timestamp,
    },
    store::{
        executions::Executions,
        item::{from_item, from_item_of_list, number, text},
        key::{STATE, TROUBLE, key, possible_part},
    },
};

/// Something that went wrong, as the indexes have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    pub execution_id: ExecutionId,
    #[serde(deserialize_with = "possible_part")]
    pub part: String,
    pub troubled_at: Timestamp,
}

impl Trouble {
    /// Whether it is the run itself, and not a delivery of its events.
    #[must_use]
    pub fn is_of_the_run(&self) -> bool {
        self.part == STATE
    }
}

/// From where a list of trouble goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TroubleAfter {
    /// Behind this.
    Entry(Trouble),
    /// With what is of this time.
    Time { until: Timestamp },
}

impl TroubleAfter {
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Entry(entry) => entry.troubled_at,
            Self::Time { until } => *until,
        }
    }
}

impl Executions {
    /// One page of what went wrong, newest first: of this user, or of everybody.
    pub async fn list_trouble(
        &self,
        user: Option<&UserId>,
        since: Option<Timestamp>,
        limit: i32,
        after: Option<&TroubleAfter>,
    ) -> Result<(Vec<Trouble>, Option<Trouble>), Error> {
        let (index, name, whose) = match user {
            Some(user) => ("own_trouble", "user_id", text(user.as_str())),
            None => ("trouble", "trouble", text(TROUBLE)),
        };
        let since = since.unwrap_or(Timestamp::from_millis(0));
        let until = after.map_or(Timestamp::from_millis(i64::MAX), TroubleAfter::at);
        // DynamoDB takes no empty range.
        if until < since {
            return Ok((Vec::new(), None));
        }
        let mut query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(index)
            .key_condition_expression("#whose = :whose AND troubled_at BETWEEN :since AND :until")
            .expression_attribute_names("#whose", name)
            .expression_attribute_values(":whose", whose.clone())
            .expression_attribute_values(":since", number(since.millis()))
            .expression_attribute_values(":until", number(until.millis()))
            .projection_expression("execution_id, part, troubled_at")
            .scan_index_forward(false)
            .limit(limit);
        if let Some(TroubleAfter::Entry(entry)) = after {
            let mut start = key(entry.execution_id.as_str(), &entry.part);
            start.insert(name.to_owned(), whose);
            start.insert("troubled_at".to_owned(), number(entry.troubled_at.millis()));
            query = query.set_exclusive_start_key(Some(start));
        }
        let page = query.send().await.map_err(Error::aws("list trouble"))?;
        let entries = page.items.unwrap_or_default().into_iter().filter_map(from_item_of_list);
        Ok((entries.collect(), page.last_evaluated_key.map(from_item).transpose()?))
    }
}
