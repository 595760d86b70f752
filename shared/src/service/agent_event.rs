//! The events of a running agent, its progress and its questions, and how they are applied to its run.

use std::time::Duration;

use tracing::warn;

use crate::{
    aws::bus::StatusChange,
    domain::{
        delivery::Delivery,
        error::Error,
        event_type::EventType,
        execution::Execution,
        id::{ExecutionId, QuestionId},
        observation::Observation,
        protocol::Relevance,
        question::{Ask, MAX_ASKED, MAX_OPEN, Question, QuestionState},
        time::Timestamp,
    },
    service::settle::{Settle, WRITE_ATTEMPTS},
    store::{batch::Consistency, questions::QuestionWrite, write::Step},
};

/// One event of an agent, and of which run.
#[derive(Debug)]
pub struct AgentEvent {
    pub execution_id: ExecutionId,
    /// Must be the run's, where it is given.
    pub execution_arn: Option<String>,
    /// Taken for the run's, where it is not given.
    pub redrive_count: Option<u32>,
    /// When it was said, where the event says so.
    pub sent_at: Option<Timestamp>,
    pub report: AgentReport,
}

#[derive(Debug)]
pub enum AgentReport {
    /// 0 to 100.
    Progress {
        percent: u8,
        message: Option<String>,
    },
    Question(Ask),
}

#[derive(Debug)]
pub enum AgentEventOutcome {
    Applied,
    /// It was applied before, or the run has moved on already.
    Stale,
    /// The execution is not the one of our row, though its name is.
    Foreign,
    /// No such row.
    Unknown,
    /// The row has not come as far as its agent: Step Functions is to be asked about this
    /// execution.
    RowBehind(String),
    /// The row has ended, and a question does not say in which redrive it is asked: likewise.
    Unclear(String),
}

/// For how long Step Functions, which answers eventually consistently, may not know of a redrive.
const KNOWN_AFTER: Duration = Duration::from_secs(50);

impl AgentEvent {
    /// Whether Step Functions knows of all that came before it was said.
    #[must_use]
    pub fn is_known_by(&self, now: Timestamp) -> bool {
        self.sent_at.is_none_or(|at| at.plus(KNOWN_AFTER) <= now)
    }
}

/// What is said of a run whose agent had stopped waiting when the answer came.
const LAPSED: &str = "An answer came after the agent had stopped waiting for it";

impl Settle {
    /// Applies what an agent says, while its run runs. Safe to repeat, and to kill between any two
    /// calls: what is owed is written with it, and what is sent afterwards is only a hint.
    pub async fn apply_agent_event(&self, event: &AgentEvent) -> Result<AgentEventOutcome, Error> {
        for _ in 0..WRITE_ATTEMPTS {
            let before = match Box::pin(self.speaker(event)).await? {
                Ok(before) => before,
                Err(outcome) => return Ok(outcome),
            };
            let turn = match &event.report {
                AgentReport::Progress { percent, message } => {
                    self.report(before, *percent, message.as_deref()).await?
                }
                AgentReport::Question(ask) => self.ask(&before, ask).await?,
            };
            match turn {
                QuestionWrite::Applied => return Ok(AgentEventOutcome::Applied),
                QuestionWrite::AlreadyApplied => return Ok(AgentEventOutcome::Stale),
                QuestionWrite::Conflict => {}
            }
        }
        Err(Error::Busy("apply an agent's event"))
    }

    /// The running run of which an agent speaks, or why there is none.
    async fn speaker(
        &self,
        event: &AgentEvent,
    ) -> Result<Result<Execution, AgentEventOutcome>, Error> {
        let id = &event.execution_id;
        let Some(row) = self.executions.find(id, Consistency::Strong).await? else {
            return Ok(Err(AgentEventOutcome::Unknown));
        };
        let arn = row.execution_arn();
        if event.execution_arn.as_ref().is_some_and(|said| *said != arn) {
            return Ok(Err(AgentEventOutcome::Foreign));
        }
        let row = match relevance(&row, event) {
            Relevance::Current => Some(row),
            Relevance::Superseded => None,
            Relevance::Starting => {
                // Since when exactly, its own events will say.
                self.apply(&Observation::runs(&row, row.claimed_at)).await?;
                let row = self.executions.find(id, Consistency::Strong).await?;
                row.filter(|row| relevance(row, event) == Relevance::Current)
            }
            Relevance::Unclear if self.is_known(event).await? => None,
            Relevance::Unclear => return Ok(Err(AgentEventOutcome::Unclear(arn))),
            Relevance::RowBehind => return Ok(Err(AgentEventOutcome::RowBehind(arn))),
        };
        Ok(row.ok_or(AgentEventOutcome::Stale))
    }

    /// Whether this is a question that was stored before.
    async fn is_known(&self, event: &AgentEvent) -> Result<bool, Error> {
        let AgentReport::Question(ask) = &event.report else { return Ok(false) };
        let question = QuestionId::of(&ask.token);
        Ok(self.executions.find_question(&event.execution_id, &question).await?.is_some())
    }

    async fn report(
        &self,
        before: Execution,
        percent: u8,
        message: Option<&str>,
    ) -> Result<QuestionWrite, Error> {
        let Some(after) = reported(before, percent, message, Timestamp::now()) else {
            return Ok(QuestionWrite::AlreadyApplied);
        };
        let owed = self.owed(EventType::Progress, &after, |to| {
            Delivery::of_progress(&after, to, self.delivery_overdue, self.retention)
        });
        let owed = owed.await?;
        if self.executions.progress(&after, &owed).await? == Step::Stale {
            return Ok(QuestionWrite::AlreadyApplied);
        }
        self.enqueue_hints(owed).await;
        Ok(QuestionWrite::Applied)
    }

    async fn ask(&self, before: &Execution, ask: &Ask) -> Result<QuestionWrite, Error> {
        let id = QuestionId::of(&ask.token);
        let known = self.executions.find_question(&before.execution_id, &id).await?;
        if known.is_some() {
            return Ok(QuestionWrite::AlreadyApplied);
        }
        if before.sequence >= 2 * MAX_ASKED {
            return Err(Error::Conflict(format!("it has asked {MAX_ASKED} questions").into()));
        }
        if before.open_questions.len() >= MAX_OPEN {
            return Err(Error::Conflict(format!("{MAX_OPEN} questions are open already").into()));
        }
        // Last, since it is the dearest: whoever may put events need not have a run.
        ask.check_schema().map_err(|reason| Error::corrupt("an agent's event", reason))?;
        let now = Timestamp::now();
        let question = Question::asked(ask, before, now);
        let after = with_question(before, &id, now);
        let change = StatusChange::with_question(before, &after, &question);
        let owed = self.owed(EventType::InputRequired, &after, |to| {
            Delivery::of_question(&after, &question, to, self.delivery_overdue, self.retention)
        });
        let (published, owed) = tokio::join!(self.bus.publish(&change), owed);
        published?;
        let owed = owed?;
        let turn = self.executions.ask(before, &after, &question, &owed).await?;
        if turn == QuestionWrite::Applied {
            self.enqueue_hints(owed).await;
        }
        Ok(turn)
    }

    /// Takes a question off its run, be it that the agent has the answer or that it wants none
    /// any more: the run goes on where no other is open. Safe to repeat.
    pub async fn close_question(
        &self,
        id: &ExecutionId,
        question: &QuestionId,
        reason: QuestionState,
    ) -> Result<(), Error> {
        let kept_until = Timestamp::now().plus(self.retention);
        for _ in 0..WRITE_ATTEMPTS {
            let found = self.executions.find(id, Consistency::Strong).await?;
            let Some(before) = found.filter(|row| row.open_questions.contains(question)) else {
                // Who has taken it off its run has closed it.
                return Ok(());
            };
            let after = without_question(&before, question, reason, Timestamp::now());
            if after.shown_status() != before.shown_status() {
                let answers = match reason {
                    QuestionState::Answered => self.executions.answered(id).await?,
                    _ => Vec::new(),
                };
                let answered = answers.iter().find(|answered| answered.question_id == *question);
                let mut change = StatusChange::between(&before, &after);
                change.answered_by = answered.and_then(|it| it.answered_by.as_ref());
                self.bus.publish(&change).await?;
            }
            // Like the other parts: while the run goes on, they are kept longer.
            let ttl = before.kept_until.map_or(kept_until, |until| until.max(kept_until)).seconds();
            let turn = self.executions.close_question(&before, &after, question, reason, ttl);
            if turn.await? == QuestionWrite::Applied {
                if reason == QuestionState::Lapsed {
                    warn!(execution.id = %id, "the agent of {id} has stopped waiting for an answer");
                }
                return Ok(());
            }
        }
        Err(Error::Busy("close a question"))
    }
}

fn relevance(row: &Execution, event: &AgentEvent) -> Relevance {
    let is_question = matches!(event.report, AgentReport::Question(_));
    row.facts().relevance(event.redrive_count, event.execution_arn.is_some(), is_question)
}

/// A running run after this report; `None` when it is not forward.
fn reported(
    before: Execution,
    percent: u8,
    message: Option<&str>,
    now: Timestamp,
) -> Option<Execution> {
    if before.progress.is_some_and(|reported| reported >= percent) {
        return None;
    }
    let message = message.map(str::to_owned);
    Some(Execution { progress: Some(percent), message, updated_at: now, ..before })
}

/// A running run once it has asked.
#[must_use]
pub fn with_question(before: &Execution, question: &QuestionId, now: Timestamp) -> Execution {
    let mut after = Execution { sequence: before.sequence + 1, updated_at: now, ..before.clone() };
    after.open_questions.insert(question.clone());
    after
}

/// A running run without this question.
#[must_use]
pub fn without_question(
    before: &Execution,
    question: &QuestionId,
    reason: QuestionState,
    now: Timestamp,
) -> Execution {
    let mut after = Execution { sequence: before.sequence + 1, updated_at: now, ..before.clone() };
    after.open_questions.remove(question);
    if reason == QuestionState::Lapsed {
        after.message = Some(LAPSED.to_owned());
    }
    after
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::{id::TaskToken, moved::moved, status::Status};

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    /// Something that is observed of a run, in which redrive.
    #[derive(Debug, Clone)]
    enum Event {
        Moved(Observation),
        Asked(u32, QuestionId),
        Reported(u32, u8),
    }

    fn claimed() -> Execution {
        serde_json::from_value(json!({
            "execution_id": "mcp-echo-1", "user_id": "someone", "agent_name": "echo",
            "state_machine_arn": "arn:aws:states:eu-west-1:111122223333:stateMachine:echo",
            "status": "queued", "redrive_count": 0, "rank": 0, "created_at": NOW, "updated_at": NOW,
            "claimed_at": NOW, "launch_before": NOW,
        }))
        .unwrap()
    }

    fn observed(status: Status, redrive_count: u32) -> Observation {
        Observation { status, redrive_count, ..Observation::runs(&claimed(), None) }
    }

    fn follow(row: &mut Execution, observed: &Observation) {
        if observed.position().may_follow(row.position()) {
            *row = moved(row, observed, NOW, Duration::from_mins(5), Duration::from_hours(48));
        }
    }

    /// Whether the agent may speak; a row that is behind is brought to what Step Functions says.
    fn may_speak(row: &mut Execution, redrive_count: u32) -> bool {
        let stands = row.facts().relevance(Some(redrive_count), true, true);
        if matches!(stands, Relevance::Starting | Relevance::RowBehind) {
            follow(row, &observed(Status::Running, redrive_count));
        }
        stands != Relevance::Superseded
    }

    fn fold(events: &[Event]) -> Execution {
        let mut row = claimed();
        let mut known = BTreeSet::new();
        for event in events {
            match event {
                Event::Moved(observed) => follow(&mut row, observed),
                Event::Asked(redrive_count, question) => {
                    if may_speak(&mut row, *redrive_count) && known.insert(question.clone()) {
                        row = with_question(&row, question, NOW);
                    }
                }
                Event::Reported(redrive_count, percent) => {
                    if may_speak(&mut row, *redrive_count) {
                        row = reported(row.clone(), *percent, None, NOW).unwrap_or(row);
                    }
                }
            }
        }
        row
    }

    /// What three redrives at most say, whether the last has ended, and in which order it comes.
    fn outcome() -> impl Strategy<Value = (u32, bool, Vec<Event>)> {
        (0..3_u32, any::<bool>()).prop_flat_map(|(last, has_ended)| {
            let mut events = Vec::new();
            for redrive_count in 0..=last {
                events.push(Event::Moved(observed(Status::Running, redrive_count)));
                for number in 0..2 {
                    let token: TaskToken = format!("{redrive_count}/{number}").into();
                    events.push(Event::Asked(redrive_count, QuestionId::of(&token)));
                    events.push(Event::Reported(redrive_count, 30 * (number + 1)));
                }
                if redrive_count < last || has_ended {
                    events.push(Event::Moved(observed(Status::Failed, redrive_count)));
                }
            }
            let twice: Vec<_> = events.iter().chain(&events).cloned().collect();
            (Just(last), Just(has_ended), Just(twice).prop_shuffle())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// However it is doubled and reordered: what an agent says moves no run back or to its end,
        /// and what is left are the questions and the progress of its last redrive while it runs.
        #[test]
        fn any_order_of_words_leaves_what_is_true_of_the_last_redrive(
            (last, has_ended, events) in outcome(),
        ) {
            let row = fold(&events);
            let moves: Vec<_> =
                events.iter().filter(|it| matches!(it, Event::Moved(_))).cloned().collect();
            let silent = fold(&moves);

            prop_assert_eq!(row.position(), silent.position());
            prop_assert_eq!((row.status, row.ttl, row.due_at), (silent.status, silent.ttl, silent.due_at));
            prop_assert_eq!(row.redrive_count, last);
            if has_ended {
                prop_assert_eq!(row.shown_status(), Status::Failed);
                prop_assert!(row.open_questions.is_empty());
            } else {
                prop_assert_eq!(row.shown_status(), Status::InputRequired);
                prop_assert_eq!(row.open_questions.len(), 2);
                prop_assert_eq!(row.progress, Some(60));
            }
        }
    }

    #[test]
    fn a_run_is_running_again_once_its_last_question_is_closed() {
        let question = |token: &str| QuestionId::of(&token.to_owned().into());
        let running = fold(&[Event::Moved(observed(Status::Running, 0))]);
        let one = with_question(&running, &question("1"), NOW);
        let two = with_question(&one, &question("2"), NOW);

        let left = without_question(&two, &question("1"), QuestionState::Answered, NOW);
        assert_eq!((left.shown_status(), left.message.as_deref()), (Status::InputRequired, None));
        let none = without_question(&left, &question("2"), QuestionState::Lapsed, NOW);
        assert_eq!((none.shown_status(), none.message.as_deref()), (Status::Running, Some(LAPSED)));
        assert_eq!([one.sequence, two.sequence, left.sequence, none.sequence], [1, 2, 3, 4]);
    }
}
