//! What is known of the attempts to launch a run, and what each leaves to be done: as [`crate::domain::protocol`],
//! functions of plain values.

/// What is known of the attempts to launch a run, each of which begins with a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LaunchAttempts {
    /// How many have begun, with this one, and at least: a repeated claim counts twice.
    pub made: u32,
    /// All of the first so many were answered, and none of them by a start.
    pub answered: u32,
}

/// What Step Functions says to an attempt to start a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reply {
    /// It runs.
    Runs,
    /// It was started before, and may have ended.
    Exists,
    /// It cannot be taken now; whether that was an answer, or none came.
    Delayed { is_answer: bool },
    /// We may not.
    Denied,
    /// It never will be.
    Refused,
}

/// What an attempt to start a run leaves to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Next {
    /// Nothing: Step Functions tells of it.
    Nothing,
    /// To settle the run as running, since an earlier attempt may have missed its event.
    Settle,
    /// To settle it by what Step Functions says of it.
    Ask,
    /// The same, and to presume its end where it is not known.
    AskOrPresume,
    /// To attempt it again; so many attempts are known not to have started it.
    Again { answered: Option<u32> },
}

impl LaunchAttempts {
    /// Whether this is the first.
    #[must_use]
    pub const fn is_first(self) -> bool {
        self.made == 1
    }

    /// Whether no earlier attempt may have started the run, or may yet.
    #[must_use]
    pub const fn is_alone(self) -> bool {
        self.made == self.answered + 1
    }

    #[must_use]
    pub fn after(self, reply: Reply) -> Next {
        match reply {
            Reply::Runs if self.is_first() => Next::Nothing,
            Reply::Runs => Next::Settle,
            Reply::Exists => Next::Ask,
            Reply::Delayed { is_answer } => {
                Next::Again { answered: (is_answer && self.is_alone()).then_some(self.made) }
            }
            // An earlier attempt may still start it: only Step Functions knows, and `sweep` asks.
            Reply::Denied if !self.is_alone() => Next::Again { answered: None },
            // A later attempt, of which this one cannot know, may have started it before it was refused.
            Reply::Denied | Reply::Refused => Next::AskOrPresume,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_may_not_be_the_only_one_never_ends_a_run_unasked() {
        let first = LaunchAttempts { made: 1, answered: 0 };
        let answered = LaunchAttempts { made: 3, answered: 2 };
        let other = LaunchAttempts { made: 3, answered: 1 };

        assert!(first.is_alone() && answered.is_alone() && !other.is_alone());
        for attempts in [first, answered] {
            assert_eq!(attempts.after(Reply::Denied), Next::AskOrPresume);
            let delayed = attempts.after(Reply::Delayed { is_answer: true });
            assert_eq!(delayed, Next::Again { answered: Some(attempts.made) });
        }
        for attempts in [first, answered, other] {
            assert_eq!(attempts.after(Reply::Refused), Next::AskOrPresume);
        }
        for reply in [Reply::Denied, Reply::Delayed { is_answer: true }] {
            assert_eq!(other.after(reply), Next::Again { answered: None });
        }
        let unknown = Reply::Delayed { is_answer: false };
        assert_eq!(first.after(unknown), Next::Again { answered: None });
        assert_eq!(first.after(Reply::Runs), Next::Nothing);
        assert_eq!(answered.after(Reply::Runs), Next::Settle);
        assert_eq!(first.after(Reply::Exists), Next::Ask);
    }
}
