//! The index of debts: all that is still owed, by kind, and when it is to be processed.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure, Select},
};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        batch_id::BatchId,
        debt::{Debt, DebtKind},
        delivery,
        error::Error,
        execution::Execution,
        id::{ExecutionId, QUESTION_PREFIX, QuestionId, UserId},
        pool::Pool,
        time::Timestamp,
    },
    store::{
        batch::{Consistency, MAX_BATCH, read_batch},
        item::{Item, from_item, number, text},
        key::{BATCH, LINE, key, possible_part},
        projection::Projection,
        write::{Step, Write, is_refused, is_written, step},
    },
};

const INDEX: &str = "debts";

#[derive(Debug, Clone)]
pub struct Due {
    client: Client,
    table: String,
}

/// After all that may be due.
pub const FOREVER: Timestamp = Timestamp::from_millis(i64::MAX);

/// From which end of what is overdue a page is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Oldest,
    Newest,
}

/// A part of what stands under one key of the index.
#[derive(Debug)]
pub struct Page {
    pub items: Vec<DueItem>,
    /// Where the next page begins; `None` when this was the last.
    pub next: Option<Item>,
}

/// An item that owes something, as the index has it: whatever is wrong with it, its key can be
/// read.
#[derive(Debug, Clone, PartialEq)]
pub struct DueItem {
    pub execution_id: String,
    pub part: String,
    pub(super) due_at: AttributeValue,
}

impl DueItem {
    /// As an entry of the index, or the item itself, has it.
    #[must_use]
    pub fn of(entry: &Item) -> Option<Self> {
        let text = |name: &str| entry.get(name)?.as_s().ok().cloned();
        Some(Self {
            execution_id: text("execution_id")?,
            part: text("part")?,
            due_at: entry.get("due_at")?.clone(),
        })
    }

    /// Where it stands under its key; `None` when its id or time is none of ours.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        let execution_id = self.execution_id.parse().ok()?;
        Some(Place { execution_id, part: self.part.clone(), due_at: self.due_at()? })
    }

    /// `None` when it is no time of ours.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        self.due_at.as_n().ok()?.parse().ok().map(Timestamp::from_millis)
    }

    /// What it owes, by what it is.
    #[must_use]
    pub fn kind(&self) -> DebtKind {
        if self.part.starts_with(delivery::PART_PREFIX) {
            DebtKind::Delivery
        } else if self.part.starts_with(QUESTION_PREFIX) {
            DebtKind::Answer
        } else if self.part == BATCH {
            DebtKind::Batch
        } else if self.part == LINE {
            DebtKind::Line
        } else {
            DebtKind::Launch
        }
    }

    /// The key that this kind gives it, also where its id is none of ours.
    pub(super) fn debt(&self, kind: DebtKind) -> Debt {
        match self.execution_id.parse() {
            Ok(id) => Debt::of(kind, &id),
            Err(_) => kind.keys().next().unwrap_or_else(Debt::dead),
        }
    }
}

/// Where an item stands under a key of the index, as a cursor has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Place {
    execution_id: ExecutionId,
    #[serde(deserialize_with = "possible_part")]
    part: String,
    due_at: Timestamp,
}

impl Place {
    /// Where a page begins that goes on behind it.
    #[must_use]
    pub fn key(&self, debt: &Debt) -> Item {
        let mut key = key(self.execution_id.as_str(), &self.part);
        key.insert("debt".to_owned(), text(debt.as_str()));
        key.insert("due_at".to_owned(), number(self.due_at.millis()));
        key
    }
}

/// An overdue item, read again.
#[derive(Debug)]
pub struct Found {
    /// How often `sweep` has processed it since it last moved.
    pub sweeps: u32,
    pub overdue: Result<Overdue, Error>,
}

/// What is overdue, as far as is needed to process it.
#[derive(Debug)]
pub enum Overdue {
    Run(Box<Execution>),
    /// An event is owed to a receiver of this user, or is under way.
    Delivery {
        user: UserId,
        leased_until: Option<Timestamp>,
    },
    /// An answer is owed to the agent, or it has stopped waiting for one.
    Question(QuestionId, UserId),
    /// A batch is not complete.
    Batch(BatchId),
    /// Runs wait for a slot.
    Line(Pool),
}

impl Due {
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// What was due before `until` under one key: a page from behind `after`, or from that end.
    pub async fn overdue(
        &self,
        debt: &Debt,
        until: Timestamp,
        end: End,
        after: Option<Item>,
    ) -> Result<Page, Error> {
        let page = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(INDEX)
            .key_condition_expression("debt = :debt AND due_at <= :until")
            .expression_attribute_values(":debt", text(debt.as_str()))
            .expression_attribute_values(":until", number(until.millis()))
            .scan_index_forward(end == End::Oldest)
            .limit(i32::try_from(MAX_BATCH).unwrap_or(i32::MAX))
            .set_exclusive_start_key(after)
            .send()
            .await
            .map_err(Error::aws("list what is overdue"))?;
        let items = page.items.unwrap_or_default();
        let items = items.iter().filter_map(DueItem::of).collect();
        Ok(Page { items, next: page.last_evaluated_key })
    }

    pub(super) fn update(&self, item: &DueItem) -> UpdateItemFluentBuilder {
        let key = key(&item.execution_id, &item.part);
        self.client.update_item().table_name(&self.table).set_key(Some(key))
    }

    /// How many items of one key there are behind `after`, at most `limit`, and where the count
    /// goes on.
    pub async fn count(
        &self,
        debt: &Debt,
        until: Timestamp,
        limit: i32,
        after: Option<Item>,
    ) -> Result<(u64, Option<Item>), Error> {
        let page = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(INDEX)
            .select(Select::Count)
            .limit(limit)
            .key_condition_expression("debt = :counted AND due_at <= :until")
            .expression_attribute_values(":counted", text(debt.as_str()))
            .expression_attribute_values(":until", number(until.millis()))
            .set_exclusive_start_key(after)
            .send()
            .await
            .map_err(Error::aws("count what is owed"))?;
        Ok((u64::try_from(page.count).unwrap_or_default(), page.last_evaluated_key))
    }

    /// Reads at most a hundred overdue items themselves, in their order; `None` for one that
    /// somebody has processed since.
    pub async fn read(&self, items: &[DueItem]) -> Result<Vec<Option<Found>>, Error> {
        let keys = items.iter().map(|item| key(&item.execution_id, &item.part)).collect();
        let mut found = self.batch(keys).await?;
        Ok(items
            .iter()
            .map(|item| {
                let row = found.remove(&(item.execution_id.clone(), item.part.clone()))?;
                (row.get("due_at") == Some(&item.due_at)).then(|| Found::of(item, row))
            })
            .collect())
    }

    /// Reads all that is needed to process items, and neither task tokens nor answers.
    pub(super) async fn batch(
        &self,
        keys: Vec<Item>,
    ) -> Result<HashMap<(String, String), Item>, Error> {
        const BESIDES: [&str; 5] = ["part", "question_id", "leased_until", "sweeps", "dead_reason"];

        let mut projection = Projection::of::<Execution>();
        for name in BESIDES {
            projection.expression = format!("{}, #{name}", projection.expression);
            projection.names.insert(format!("#{name}"), name.to_owned());
        }
        let action = "read what is overdue";
        let items = read_batch(
            &self.client,
            &self.table,
            keys,
            Some(projection),
            Consistency::Strong,
            action,
        )
        .await?;
        let named = items.into_iter().filter_map(|item| {
            let DueItem { execution_id, part, .. } = DueItem::of(&item)?;
            Some(((execution_id, part), item))
        });
        Ok(named.collect())
    }

    /// Moves an item to `until`, as this kind, unless somebody else has moved it: then it is theirs to
    /// process. Where it is about to be processed, `sweeps` is how often it was before, and this time is
    /// counted. The count is written as it is then, so that one of another type is put right.
    pub async fn postpone(
        &self,
        item: &DueItem,
        kind: DebtKind,
        until: Timestamp,
        sweeps: Option<u32>,
    ) -> Result<Step, Error> {
        let sweeps = sweeps.map(|before| before.saturating_add(1));
        let counted = if sweeps.is_some() { ", sweeps = :sweeps" } else { "" };
        let values = sweeps.map(|sweeps| HashMap::from([(":sweeps".to_owned(), number(sweeps))]));
        let updated = self
            .update(item)
            .update_expression(format!("SET due_at = :until, debt = :debt{counted}"))
            .set_expression_attribute_values(values)
            .condition_expression("due_at = :due_at")
            .expression_attribute_values(":until", number(until.millis()))
            .expression_attribute_values(":debt", text(item.debt(kind).as_str()))
            .expression_attribute_values(":due_at", item.due_at.clone())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .write()
            .await;
        match updated {
            Ok(_) => Ok(Step::Applied),
            // The write was ours, and only its reply was lost.
            Err(error) if is_written(&error, "due_at", &number(until.millis())) => {
                Ok(Step::Applied)
            }
            other => step(other, "postpone what is overdue"),
        }
    }

    /// Takes back what was counted: the item is well.
    pub async fn is_well(&self, item: &DueItem) -> Result<(), Error> {
        let updated = self
            .update(item)
            .update_expression("REMOVE sweeps")
            .condition_expression("attribute_exists(execution_id)")
            .write()
            .await;
        match updated {
            Ok(_) => Ok(()),
            Err(error) if is_refused(&error) => Ok(()),
            Err(error) => Err(Error::aws("take back what was counted")(error)),
        }
    }
}

pub(super) fn sweeps(row: &Item) -> u32 {
    row.get("sweeps").and_then(|count| count.as_n().ok()?.parse().ok()).unwrap_or_default()
}

impl Found {
    fn of(item: &DueItem, row: Item) -> Self {
        #[derive(Deserialize)]
        struct Question {
            question_id: QuestionId,
            user_id: UserId,
        }
        #[derive(Deserialize)]
        struct Delivery {
            user_id: UserId,
            leased_until: Option<Timestamp>,
        }

        let sweeps = sweeps(&row);
        if item.kind() == DebtKind::Line {
            let line = Pool::from(item.execution_id.clone());
            return Self { sweeps, overdue: Ok(Overdue::Line(line)) };
        }
        if item.execution_id.parse::<ExecutionId>().is_err() {
            let overdue = Err(Error::corrupt("an overdue item's id", "it is none of ours"));
            return Self { sweeps, overdue };
        }
        let overdue = match item.kind() {
            DebtKind::Delivery => from_item(row).map(|Delivery { user_id, leased_until }| {
                Overdue::Delivery { user: user_id, leased_until }
            }),
            DebtKind::Answer => from_item(row)
                .map(|Question { question_id, user_id }| Overdue::Question(question_id, user_id)),
            DebtKind::Batch => item
                .execution_id
                .parse()
                .map(Overdue::Batch)
                .map_err(|error| Error::corrupt("an overdue batch's id", error)),
            DebtKind::Launch | DebtKind::Poll | DebtKind::Line => from_item(row).map(Overdue::Run),
        };
        Self { sweeps, overdue }
    }
}
