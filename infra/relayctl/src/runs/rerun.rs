//! Starting a run again, once, also where the answer to the start is lost.

use std::time::Duration;

use relay::{
    domain::{error::Error, id::ExecutionId, idempotency_key::IdempotencyKey, request::RerunBody},
    service::start::Start,
};
use ulid::Ulid;

use crate::stack::operator;

/// How long it waits before it asks again.
const PAUSE: Duration = Duration::from_millis(500);

/// Starts a run again; returns the new one's id.
pub(super) async fn rerun(start: &Start, id: &ExecutionId, command: Ulid) -> Result<String, Error> {
    let key = key(command, id)?;
    let accepted =
        answered(async || start.rerun(&operator(), id, RerunBody::default(), Some(&key)).await);
    Ok(accepted.await?.receipt.execution_id.into())
}

/// Each command has a key of its own for each run: asked again, it gets the run that it has started.
fn key(command: Ulid, id: &ExecutionId) -> Result<IdempotencyKey, Error> {
    IdempotencyKey::parse(&format!("relayctl-{command}-{id}"))
}

/// Asks a second time where there was no answer. Then only a refusal says that the first was in vain,
/// too: it comes after a look for what the first has started.
async fn answered<T>(ask: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
    let unanswered = match ask().await {
        Err(error) if error.may_pass() => error,
        answer => return answer,
    };
    tokio::time::sleep(PAUSE).await;
    ask().await.map_err(|again| if is_refusal(&again) { again } else { unanswered })
}

/// Whether it was decided against the request, rather than that it could not be decided.
const fn is_refusal(error: &Error) -> bool {
    match error {
        Error::Malformed(_)
        | Error::Unauthorized
        | Error::Forbidden(_)
        | Error::NotFound(_)
        | Error::Conflict(_)
        | Error::TooLarge { .. }
        | Error::Invalid { .. }
        | Error::RateLimited { .. } => true,
        Error::Busy(_) | Error::Service { .. } | Error::Corrupt { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn unanswered(transient: bool) -> Error {
        Error::Service { action: "store an execution", transient, source: "gone".into() }
    }

    /// What comes of these answers, the last first, and how many of them nobody asked for.
    async fn told(
        answers: Vec<Result<&'static str, Error>>,
    ) -> (Result<&'static str, Error>, usize) {
        let answers = RefCell::new(answers);
        let told = answered(async || answers.borrow_mut().pop().unwrap()).await;
        (told, answers.into_inner().len())
    }

    #[tokio::test]
    async fn a_start_without_an_answer_is_asked_for_once_more() {
        let refused = || Error::Conflict("agent echo is inactive".into());

        assert!(matches!(told(vec![Ok("b"), Ok("a")]).await, (Ok("a"), 1)));
        assert!(matches!(told(vec![Ok("a"), Err(refused())]).await, (Err(Error::Conflict(_)), 1)));
        let denied = told(vec![Ok("a"), Err(unanswered(false))]).await;
        assert!(matches!(denied, (Err(Error::Service { transient: false, .. }), 1)));
        assert!(matches!(told(vec![Ok("a"), Err(unanswered(true))]).await, (Ok("a"), 0)));
        let second = told(vec![Err(refused()), Err(unanswered(true))]).await;
        assert!(matches!(second, (Err(Error::Conflict(_)), 0)));
        for again in [unanswered(true), unanswered(false), Error::Busy("store an execution")] {
            let (told, left) = told(vec![Ok("a"), Err(again), Err(unanswered(true))]).await;
            assert!(told.is_err_and(|error| error.may_pass()), "it may have been started");
            assert_eq!(left, 1, "twice is enough");
        }
    }

    #[test]
    fn the_key_of_the_longest_id_is_one() {
        let command = Ulid::generate();
        let [one, other] = ["a", "b"].map(|letter| {
            let id = format!("mcp-{}", letter.repeat(76));
            id.parse().unwrap()
        });

        let [key, again, next] = [&one, &one, &other]
            .map(|id| key(command, id).unwrap().item(&"relayctl".to_owned().into()));

        assert_eq!(key, again);
        assert_ne!(key, next);
    }
}
