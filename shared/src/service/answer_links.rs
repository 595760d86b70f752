//! Answers by a link: what a link shows, and what it may do.

use crate::{
    domain::{
        answer_link::{AnswerLink, AnswererName},
        caller::{Action, Caller},
        error::Error,
        execution::Execution,
        id::ExecutionId,
        question::{Answer, Question, QuestionView},
        rights::permitted,
    },
    http::{
        answer::lists::{AnswerLinkList, AnswerLinkView, LinkedQuestion},
        body::{Answered, LinkAnswerBody},
    },
    service::change::Change,
    store::{agents::Agents, batch::Consistency},
};

const NOT_ALLOWED: &str = "the agent does not allow answer links";

#[derive(Debug)]
pub struct AnswerLinks<'a> {
    pub agents: &'a Agents,
    pub change: &'a Change,
}

impl AnswerLinks<'_> {
    /// The links to all that a run asks, oldest question first. Who has them can do what they do: so they are only for
    /// who may answer, and see what is asked.
    pub async fn of_run(
        &self,
        caller: &Caller,
        id: &ExecutionId,
        base: &str,
        master: &[u8],
    ) -> Result<AnswerLinkList, Error> {
        let found = self.change.executions.find(id, Consistency::Strong).await?;
        let execution = permitted(caller, Action::Execute, found)?;
        self.require_allowed(&execution).await?;
        caller.require(Action::View, &execution.agent_name)?;
        let open = &execution.open_questions;
        let mut questions = self.change.executions.find_questions(id, open).await?;
        questions.retain(|it| it.answer_hash.is_none() && it.is_open_in(&execution));
        questions.sort_by_key(|question| question.asked_at);
        let answer_links = questions
            .iter()
            .map(|question| {
                let link = AnswerLink::to(id, question);
                AnswerLinkView {
                    question_id: question.question_id.clone(),
                    url: link.url(base, master),
                    expires_at: link.expires_at,
                }
            })
            .collect();
        Ok(AnswerLinkList { answer_links })
    }

    /// What a link is to.
    pub async fn question(&self, link: &AnswerLink) -> Result<LinkedQuestion, Error> {
        let (execution, question) = self.find(link).await?;
        let is_open = question.answer_hash.is_none() && question.is_open_in(&execution);
        Ok(LinkedQuestion {
            agent_name: execution.agent_name,
            question: QuestionView::from(&question),
            link_expires_at: link.expires_at,
            is_open,
        })
    }

    /// Takes an answer, as [`Change::answer`] does.
    pub async fn answer(&self, link: &AnswerLink, body: LinkAnswerBody) -> Result<Answered, Error> {
        let name = AnswererName::new(&body.name)?;
        let answer = Answer::new(body.answer)?;
        let (execution, question) = self.find(link).await?;
        let by = name.answers(&execution);
        let question = Some(&question.question_id);
        self.change.answer_question(&execution, question, &answer, &by).await
    }

    async fn find(&self, link: &AnswerLink) -> Result<(Execution, Question), Error> {
        let (executions, id) = (&self.change.executions, &link.execution_id);
        let execution = executions.find(id, Consistency::Strong).await?;
        let execution = execution.ok_or(Error::NotFound("execution"))?;
        self.require_allowed(&execution).await?;
        let question = executions.find_questions(id, [&link.question_id]).await?.into_iter().next();
        Ok((execution, question.ok_or(Error::NotFound("question"))?))
    }

    /// Whatever the links say that are out already: an operator who takes this back takes back all of them.
    async fn require_allowed(&self, execution: &Execution) -> Result<(), Error> {
        let agent = self.agents.find(&execution.agent_name).await?;
        if agent.is_some_and(|agent| agent.answer_links) {
            return Ok(());
        }
        Err(Error::Conflict(NOT_ALLOWED.into()))
    }
}
