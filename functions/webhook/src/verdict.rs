//! What an answer means for the delivery.

use crate::client::{Answer, Unanswered};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    Retry,
    /// The receiver will never want it.
    GiveUp,
}

pub(crate) struct Judgement {
    pub(crate) outcome: Outcome,
    /// The start of the answer, or why there was none: shown to the owner of the run.
    pub(crate) detail: String,
}

/// How much of an answer is kept with the attempt, in characters.
const DETAIL: usize = 200;

pub(crate) fn judge(answer: &Result<Answer, Unanswered>) -> Judgement {
    match answer {
        Ok(answer) => Judgement {
            outcome: match answer.status {
                200..=299 => Outcome::Delivered,
                410 => Outcome::GiveUp,
                _ => Outcome::Retry,
            },
            detail: answer.body_start.chars().take(DETAIL).collect(),
        },
        Err(unanswered) => Judgement { outcome: Outcome::Retry, detail: unanswered.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_success_is_delivered_and_only_gone_gives_up() {
        let outcome = |status| judge(&Ok(Answer { status, body_start: "x".repeat(1000) })).outcome;

        assert_eq!(outcome(200), Outcome::Delivered);
        assert_eq!(outcome(204), Outcome::Delivered);
        for status in [100, 301, 302, 307, 400, 401, 403, 404, 409, 429, 500, 503] {
            assert_eq!(outcome(status), Outcome::Retry, "{status}");
        }
        assert_eq!(outcome(410), Outcome::GiveUp);
        assert_eq!(judge(&Err(Unanswered::TimedOut)).outcome, Outcome::Retry);
        assert_eq!(
            judge(&Ok(Answer { status: 500, body_start: "é".repeat(1000) })).detail.chars().count(),
            DETAIL
        );
    }
}
