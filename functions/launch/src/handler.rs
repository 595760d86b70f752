//! One message: tells Step Functions what it is to know of a run, be it its start, an answer or its end.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::{Diagnostic, LambdaEvent};
use relay::{
    aws::{
        queue::{self, LaunchMessage},
        step_functions::Given,
        telemetry::Invocation,
    },
    domain::{
        batch_id::BatchId,
        error::Error,
        id::{ExecutionId, QuestionId},
        question::{Question, QuestionState},
        status::Rank,
        time::Timestamp,
    },
    store::{batch::Consistency, transitions::Claim},
};
use tracing::info;

use crate::{launcher::Launcher, walks::Walks};

pub(crate) async fn handle(
    launcher: &Launcher,
    LambdaEvent { payload: event, context }: LambdaEvent<SqsEvent>,
) -> Result<SqsBatchResponse, Diagnostic> {
    let mut metrics = Invocation::start("launch", Some(&context));
    let walks = &Walks::start();
    let response = queue::consume(event, |message: LaunchMessage, trace| {
        launcher.process(message, trace, walks)
    })
    .await;
    metrics.failed = !response.batch_item_failures.is_empty();
    Ok(response)
}

impl Launcher {
    #[tracing::instrument(skip_all, fields(execution.id = %message.execution_id))]
    async fn process(
        &self,
        message: LaunchMessage,
        trace: Option<String>,
        walks: &Walks,
    ) -> Result<(), Error> {
        let id = message.execution_id;
        if message.is_batch {
            let batch = BatchId::try_from(String::from(id));
            let batch = batch.map_err(|error| Error::corrupt("a batch's id", error))?;
            return Box::pin(self.settle.batches().look_after(&batch)).await;
        }
        if !message.freed.is_empty() {
            return Box::pin(self.wake(&id, message.freed, walks, walks.started_at)).await;
        }
        if let Some(question) = message.question_id {
            return self.process_answer(&id, &question).await;
        }
        let executions = &self.settle.executions;
        // The input never changes, so it can be read while the claim is made.
        let (claim, input) = tokio::join!(executions.claim(&id), executions.find_input(&id));
        match claim? {
            Claim::Claimed(execution, attempts) => {
                let input = input?.ok_or_else(|| Error::corrupt("an input", "it is missing"))?;
                Box::pin(self.launch(&execution, input.input, trace, attempts)).await
            }
            Claim::Refused(execution) => match execution.position().rank {
                Rank::Queued | Rank::Ended if execution.takes_slots(Timestamp::now()) => {
                    Box::pin(self.wait_its_turn(*execution, trace, walks)).await
                }
                Rank::Queued => self.end_unclaimed(&execution).await,
                Rank::Running => self.stop_where_due(&execution).await,
                Rank::Presumed => self.stop_presumed(&execution).await,
                Rank::Ended if execution.facts().is_to_be_redriven() => {
                    Box::pin(self.redrive(&execution)).await
                }
                Rank::Ended => {
                    info!("nothing to do: {id} has ended");
                    Ok(())
                }
            },
            Claim::Unknown => {
                info!("nothing to do: {id} is gone");
                Ok(())
            }
        }
    }

    /// Gives the agent the answer that it waits for, or takes a question off its run that it has
    /// stopped waiting for. Whatever the run does not hold any more is owed nothing.
    async fn process_answer(
        &self,
        id: &ExecutionId,
        question_id: &QuestionId,
    ) -> Result<(), Error> {
        let executions = &self.settle.executions;
        let question = executions.find_question(id, question_id).await?;
        let Some(question) = question.filter(|it| it.state == QuestionState::Open) else {
            info!("nothing to do: the question is closed");
            return Ok(());
        };
        let found = executions.find(id, Consistency::Strong).await?;
        let is_held = found.is_some_and(|run| run.open_questions.contains(question_id));
        let now = Timestamp::now();
        let reason = if !is_held {
            info!("nothing to do: the run no longer holds the question");
            return Ok(());
        } else if question.answer.is_some() {
            self.give(id, question).await?
        } else if question.expires_at.is_some_and(|at| at <= now) {
            QuestionState::Lapsed
        } else {
            info!("nothing to do: the question is open");
            return Ok(());
        };
        self.settle.close_question(id, question_id, reason).await?;
        info!("the question {question_id} is {}", reason.as_str());
        Ok(())
    }

    /// Gone says of a single attempt that it came too late; of several, one may have been taken whose
    /// reply was lost, or is on its way.
    async fn give(&self, id: &ExecutionId, question: Question) -> Result<QuestionState, Error> {
        let Question { question_id, task_token: Some(token), answer: Some(answer), .. } = question
        else {
            return Err(Error::corrupt("a question", "its token is missing"));
        };
        let executions = &self.settle.executions;
        executions.count_attempt(id, &question_id).await?;
        if self.step_functions.answer(&token, answer).await? == Given::Taken {
            return Ok(QuestionState::Answered);
        }
        let attempted = executions.find_question(id, &question_id).await?;
        let was_alone = attempted.is_some_and(|question| question.attempts == 1);
        Ok(if was_alone { QuestionState::Lapsed } else { QuestionState::Answered })
    }
}
