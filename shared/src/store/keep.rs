//! For how long a run and its parts are kept.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::TransactWriteItem;
use serde::Deserialize;

use crate::{
    domain::{
        error::Error,
        execution::Execution,
        expiry,
        id::{ExecutionId, QuestionId},
        question::QuestionState,
        status::Rank,
        time::Timestamp,
    },
    store::{
        change::Change,
        executions::Executions,
        item::number,
        key::{CALLBACK, IDEMPOTENCY, INPUT, OUTPUT, key},
        marker,
        projection::Projection,
        write::{Write, expire, is_refused},
    },
};

/// Of so many questions of a run, the last that were closed, it is kept who answered them.
const MOST_CLOSED: usize = 100;

impl Executions {
    /// Keeps the other parts of a run that goes on until `until`.
    pub async fn keep_longer(&self, execution: &Execution, until: Timestamp) -> Result<(), Error> {
        let state = Change {
            expression: "SET kept_until = :until".to_owned(),
            condition: "#rank < :presumed AND kept_until = :before".to_owned(),
            names: HashMap::from([("#rank".to_owned(), "rank".to_owned())]),
            values: HashMap::from([
                (":until".to_owned(), number(until.millis())),
                (":before".to_owned(), number(execution.kept_until.unwrap_or(until).millis())),
                (":presumed".to_owned(), number(Rank::Presumed as u8)),
            ]),
        };
        let kept = self.keep(execution, until)?;
        let action = "keep an execution longer";
        // Who is refused has met another, or its end.
        self.change_keeping(&execution.execution_id, state, Vec::new(), kept, action).await?;
        Ok(())
    }

    /// Keeps a run that has ended, and all that belongs to it, until `until`, unless it has been redriven.
    pub async fn keep_ended(&self, execution: &Execution, until: Timestamp) -> Result<(), Error> {
        let parts_until = expiry::parts_until(until);
        let state = Change {
            expression: "SET #ttl = :ttl, kept_until = :until".to_owned(),
            condition: "redrive_count = :redrive_count AND #rank >= :presumed AND #ttl < :ttl"
                .to_owned(),
            names: ["rank", "ttl"].map(|name| (format!("#{name}"), name.to_owned())).into(),
            values: HashMap::from([
                (":ttl".to_owned(), number(until.seconds())),
                (":until".to_owned(), number(parts_until.millis())),
                (":redrive_count".to_owned(), number(execution.redrive_count)),
                (":presumed".to_owned(), number(Rank::Presumed as u8)),
            ]),
        };
        let kept = self.keep_with_outcome(execution, until)?;
        let action = "keep an ended execution";
        // Who is refused has met another, or its redrive.
        self.change_keeping(&execution.execution_id, state, Vec::new(), kept, action).await?;
        Ok(())
    }

    /// Puts off the expiry of all parts of a run that is itself kept until `until`, though it has ended. How it ended
    /// is among them: that is stored before the end is, or with it.
    pub(super) fn keep_with_outcome(
        &self,
        execution: &Execution,
        until: Timestamp,
    ) -> Result<Vec<TransactWriteItem>, Error> {
        let mut kept = self.keep(execution, expiry::parts_until(until))?;
        kept.push(expire(&self.table, execution.execution_id.as_str(), OUTPUT, until)?);
        Ok(kept)
    }

    /// Puts off the expiry of all parts that live as long as the run. The outcome and the deliveries
    /// are written with an expiry of their own.
    pub(super) fn keep(
        &self,
        execution: &Execution,
        until: Timestamp,
    ) -> Result<Vec<TransactWriteItem>, Error> {
        let id = execution.execution_id.as_str();
        let mut parts = vec![(id, INPUT)];
        if !execution.callback_events.is_empty() {
            parts.push((id, CALLBACK));
        }
        if let Some(item) = &execution.idempotency_item {
            parts.push((item, IDEMPOTENCY));
        }
        let kept = parts.into_iter().map(|(id, part)| expire(&self.table, id, part, until));
        let mut kept = kept.collect::<Result<Vec<_>, Error>>()?;
        if let Some(batch) = execution.batch_id.as_ref().filter(|_| !execution.status.is_end()) {
            kept.push(marker::keep(&self.table, &execution.execution_id, batch, Some(until))?);
        }
        Ok(kept)
    }

    /// Keeps what is left of the closed questions of a run that goes on, which is who answered them, until `until`.
    pub async fn keep_closed_questions(
        &self,
        id: &ExecutionId,
        until: Timestamp,
    ) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Closed {
            question_id: QuestionId,
            asked_at: Timestamp,
            state: QuestionState,
            ttl: i64,
        }

        let projection = Projection::of::<Closed>();
        let mut closed: Vec<Closed> =
            self.query_questions(id, projection, "list closed questions").await?;
        closed.retain(|it| it.state != QuestionState::Open && it.ttl < until.seconds());
        closed.sort_by_key(|it| it.asked_at);
        for question in closed.iter().rev().take(MOST_CLOSED) {
            let kept = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(key(id.as_str(), &question.question_id.part())))
                .update_expression("SET #ttl = :ttl")
                .condition_expression("attribute_exists(execution_id)")
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":ttl", number(until.seconds()))
                .write()
                .await;
            match kept {
                Ok(_) => {}
                // It has expired meanwhile.
                Err(error) if is_refused(&error) => {}
                Err(error) => return Err(Error::aws("keep a closed question")(error)),
            }
        }
        Ok(())
    }
}
