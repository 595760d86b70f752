//! What an agent says of itself while it runs: its progress, and the `question#…` parts.

use std::collections::HashMap;

use serde::{Deserialize, de::DeserializeOwned};

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update, builders::UpdateBuilder};

use crate::{
    domain::{
        answer_link::Answerer,
        debt::{Debt, DebtKind},
        delivery::Delivery,
        error::Error,
        execution::Execution,
        id::{ExecutionId, QUESTION_PREFIX, QuestionId},
        question::{Answer, Question, QuestionState},
        status::Rank,
        time::Timestamp,
    },
    store::{
        batch::{Consistency, read_batch},
        change::Change,
        executions::Executions,
        item::{from_item, number, text, to_item},
        key::key,
        projection::Projection,
        write::{Step, Transaction, Write, is_refused},
    },
};

/// What became of opening or closing a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuestionWrite {
    Applied,
    /// It was done before.
    AlreadyApplied,
    /// The row has changed since it was read: read it again.
    Conflict,
}

/// A question that was answered, and by whom.
#[derive(Debug, Deserialize)]
pub struct AnsweredQuestion {
    pub question_id: QuestionId,
    pub question: String,
    pub asked_at: Timestamp,
    pub answered_by: Option<Answerer>,
    /// Missing in what was answered before this was stored.
    pub answered_at: Option<Timestamp>,
}

/// All that is read of a question by whoever need not answer it to Step Functions.
const TOLD: &[&str] = &[
    "question_id",
    "user_id",
    "question",
    "schema",
    "asked_at",
    "state",
    "expires_at",
    "answer_hash",
    "has_link",
    "ttl",
];

impl Executions {
    /// Stores how far the agent says it is, if that is forward and the run runs, and with it the
    /// deliveries that are owed for that.
    pub async fn progress(&self, after: &Execution, owed: &[Delivery]) -> Result<Step, Error> {
        let mut state = running(after, "#progress = :progress", "");
        state.condition = format!(
            "{} AND (attribute_not_exists(#progress) OR #progress < :progress)",
            state.condition
        );
        state.names.insert("#progress".to_owned(), "progress".to_owned());
        let progress = number(after.progress.unwrap_or_default());
        state.values.insert(":progress".to_owned(), progress);
        match self
            .change(&after.execution_id, say(state, after), self.owing(owed)?, "store progress")
            .await?
        {
            Transaction::Committed => Ok(Step::Applied),
            Transaction::Refused(_) => Ok(Step::Stale),
        }
    }

    /// Opens a question, if the run runs and its questions are still those of `before`, and with
    /// it stores the deliveries that are owed for that.
    pub async fn ask(
        &self,
        before: &Execution,
        after: &Execution,
        question: &Question,
        owed: &[Delivery],
    ) -> Result<QuestionWrite, Error> {
        let mut state = running(after, "#sequence = :sequence", "ADD open_questions :question");
        sequenced(&mut state, before, after, &question.question_id);
        let mut others =
            vec![self.put(after.execution_id.as_str(), &question.question_id.part(), question)?];
        others.extend(self.owing(owed)?);
        match self.change(&after.execution_id, state, others, "store a question").await? {
            Transaction::Committed => Ok(QuestionWrite::Applied),
            Transaction::Refused(0) => Ok(QuestionWrite::Conflict),
            Transaction::Refused(_) => Ok(QuestionWrite::AlreadyApplied),
        }
    }

    /// Closes an open question for the reason in `state`, if the run's questions are still those
    /// of `before`.
    pub async fn close_question(
        &self,
        before: &Execution,
        after: &Execution,
        question: &QuestionId,
        reason: QuestionState,
        ttl: i64,
    ) -> Result<QuestionWrite, Error> {
        let mut state = running(after, "#sequence = :sequence", "DELETE open_questions :question");
        sequenced(&mut state, before, after, question);
        // Else the message is the agent's own, who may have changed it meanwhile.
        if reason == QuestionState::Lapsed {
            state = say(state, after);
        }
        let others = vec![self.close(&after.execution_id, question, reason, Some(ttl))?];
        match self.change(&after.execution_id, state, others, "close a question").await? {
            Transaction::Committed => Ok(QuestionWrite::Applied),
            Transaction::Refused(_) => Ok(QuestionWrite::Conflict),
        }
    }

    /// The closing of a question, as an item of a transaction that takes it off its run.
    pub(super) fn close(
        &self,
        id: &ExecutionId,
        question: &QuestionId,
        reason: QuestionState,
        ttl: Option<i64>,
    ) -> Result<TransactWriteItem, Error> {
        let Closing { expression, names, values } = Closing::of(reason, ttl);
        let update: UpdateBuilder = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(id.as_str(), &question.part())))
            .update_expression(expression)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values));
        let update = update.build().map_err(|error| Error::corrupt("a closing", error))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    fn owing(&self, owed: &[Delivery]) -> Result<Vec<TransactWriteItem>, Error> {
        let id = |delivery: &Delivery| delivery.execution_id.as_str().to_owned();
        owed.iter().map(|delivery| self.put(&id(delivery), &delivery.part, delivery)).collect()
    }

    /// These questions of a run, of which there are few at a time, without tokens and answers.
    pub async fn find_questions<'a>(
        &self,
        id: &ExecutionId,
        questions: impl IntoIterator<Item = &'a QuestionId>,
    ) -> Result<Vec<Question>, Error> {
        let keys = questions.into_iter().map(|it| key(id.as_str(), &it.part())).collect();
        let projection = Some(Projection::naming(TOLD));
        let action = "read questions";
        let items =
            read_batch(&self.client, &self.table, keys, projection, Consistency::Strong, action)
                .await?;
        items.into_iter().map(from_item).collect()
    }

    /// All that a run has asked, without tokens and answers.
    pub async fn questions(&self, id: &ExecutionId) -> Result<Vec<Question>, Error> {
        self.query_questions(id, Projection::naming(TOLD), "list questions").await
    }

    /// The questions of a run that were answered, in the order in which they were asked.
    pub async fn answered(&self, id: &ExecutionId) -> Result<Vec<AnsweredQuestion>, Error> {
        let projection = Projection::of::<AnsweredQuestion>();
        let mut questions: Vec<AnsweredQuestion> =
            self.query_questions(id, projection, "list answers").await?;
        questions.retain(|question| question.answered_by.is_some());
        questions.sort_by_key(|question| question.asked_at);
        Ok(questions)
    }

    /// This of all questions of a run.
    pub(super) async fn query_questions<T: DeserializeOwned>(
        &self,
        id: &ExecutionId,
        Projection { expression, names }: Projection,
        action: &'static str,
    ) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        let mut items = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("execution_id = :id AND begins_with(part, :prefix)")
            .expression_attribute_values(":id", text(id.as_str()))
            .expression_attribute_values(":prefix", text(QUESTION_PREFIX))
            .projection_expression(expression)
            .set_expression_attribute_names(Some(names))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        while let Some(item) = items.next().await {
            found.push(from_item(item.map_err(Error::aws(action))?)?);
        }
        Ok(found)
    }

    /// One question as it is stored, with token and answer: no reader of runs asks for it so.
    pub async fn find_question(
        &self,
        id: &ExecutionId,
        question: &QuestionId,
    ) -> Result<Option<Question>, Error> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(id.as_str(), &question.part())))
            .consistent_read(true)
            .send()
            .await
            .map_err(Error::aws("read a question"))?;
        found.item.map(from_item).transpose()
    }

    /// Stores the answer to an open question that has none, and that the agent is owed it.
    pub async fn answer(
        &self,
        id: &ExecutionId,
        question: &QuestionId,
        answer: &Answer,
        by: &Answerer,
        due_at: Timestamp,
    ) -> Result<Step, Error> {
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(id.as_str(), &question.part())))
            .update_expression(
                "SET answer = :answer, answer_hash = :hash, answered_by = :by, answered_at = :now, \
                 due_at = :due_at, debt = :debt",
            )
            .condition_expression("#state = :open AND attribute_not_exists(answer_hash)")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":open", text(QuestionState::Open.as_str()))
            .expression_attribute_values(":answer", text(answer.text()))
            .expression_attribute_values(":hash", text(&answer.hash))
            .expression_attribute_values(":by", AttributeValue::M(to_item(by)?))
            .expression_attribute_values(":now", number(Timestamp::now().millis()))
            .expression_attribute_values(":due_at", number(due_at.millis()))
            .expression_attribute_values(":debt", text(Debt::of(DebtKind::Answer, id).as_str()))
            .write()
            .await;
        match updated {
            Ok(_) => Ok(Step::Applied),
            Err(error) if is_refused(&error) => Ok(Step::Stale),
            Err(error) => Err(Error::aws("store an answer")(error)),
        }
    }

    /// Counts that the answer is about to be given.
    pub async fn count_attempt(
        &self,
        id: &ExecutionId,
        question: &QuestionId,
    ) -> Result<(), Error> {
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(id.as_str(), &question.part())))
            .update_expression("ADD tries :one")
            .condition_expression("attribute_exists(execution_id)")
            .expression_attribute_values(":one", number(1))
            .write()
            .await
            .map_err(Error::aws("count that an answer is given"))?;
        Ok(())
    }
}

/// An update of a run that runs, in the redrive of `after`.
fn running(after: &Execution, set: &str, and: &str) -> Change {
    Change {
        expression: format!("SET updated_at = :updated_at, {set} {and}"),
        condition: "redrive_count = :redrive_count AND #rank = :running".to_owned(),
        names: HashMap::from([("#rank".to_owned(), "rank".to_owned())]),
        values: HashMap::from([
            (":updated_at".to_owned(), number(after.updated_at.millis())),
            (":redrive_count".to_owned(), number(after.redrive_count)),
            (":running".to_owned(), number(Rank::Running as u8)),
        ]),
    }
}

/// Of two that open or close a question at once, one reads again: so each knows what it leaves
/// behind, and can tell it.
fn sequenced(state: &mut Change, before: &Execution, after: &Execution, question: &QuestionId) {
    state.condition = format!("{} AND #sequence = :before", state.condition);
    state.names.insert("#sequence".to_owned(), "sequence".to_owned());
    state.values.extend([
        (":before".to_owned(), number(before.sequence)),
        (":sequence".to_owned(), number(after.sequence)),
        (":question".to_owned(), AttributeValue::Ss(vec![question.as_str().to_owned()])),
    ]);
}

/// What is said of the run from then on.
fn say(mut state: Change, after: &Execution) -> Change {
    state.names.insert("#message".to_owned(), "message".to_owned());
    if let Some(message) = &after.message {
        state.expression = state.expression.replacen("SET ", "SET #message = :message, ", 1);
        state.values.insert(":message".to_owned(), text(message));
    } else {
        state.expression = format!("{} REMOVE #message", state.expression);
    }
    state
}

/// What closing a question leaves of it: enough to tell a repeated answer from another one.
struct Closing {
    expression: String,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Closing {
    fn of(reason: QuestionState, ttl: Option<i64>) -> Self {
        let mut set = "SET #state = :state".to_owned();
        let mut names: HashMap<_, _> =
            ["state", "schema"].map(|name| (format!("#{name}"), name.to_owned())).into();
        let mut values = HashMap::from([(":state".to_owned(), text(reason.as_str()))]);
        if let Some(ttl) = ttl {
            set.push_str(", #ttl = :ttl");
            names.insert("#ttl".to_owned(), "ttl".to_owned());
            values.insert(":ttl".to_owned(), number(ttl));
        }
        let expression = format!("{set} REMOVE task_token, #schema, answer, due_at, debt");
        Self { expression, names, values }
    }
}
