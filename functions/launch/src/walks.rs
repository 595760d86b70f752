//! The lines that one invocation goes along: its messages ask for the same ones.

use std::{collections::HashMap, sync::Arc, time::Instant};

use relay::domain::{error::Error, pool::Pool};
use tokio::sync::Mutex;

#[derive(Debug)]
pub(crate) struct Walks {
    /// What a message tells was so before.
    pub(crate) started_at: Instant,
    /// When each line was gone along last, as far as it went well.
    lines: Mutex<HashMap<Pool, Arc<Mutex<Option<Instant>>>>>,
}

impl Walks {
    pub(crate) fn start() -> Self {
        Self { started_at: Instant::now(), lines: Mutex::default() }
    }

    /// Goes along a line, unless somebody has begun to since it was as the caller knows it: who has, has seen that.
    /// Nobody does at the same time as another, who would be after the same runs.
    pub(crate) async fn once(
        &self,
        line: &Pool,
        since: Instant,
        walk: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        let begun = Arc::clone(self.lines.lock().await.entry(line.clone()).or_default());
        let mut begun = begun.lock().await;
        if begun.is_some_and(|begun| begun >= since) {
            return Ok(());
        }
        let now = Instant::now();
        walk.await?;
        *begun = Some(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn one_goes_for_all_who_know_of_nothing_newer() {
        let (walks, walked) = (Walks::start(), AtomicUsize::default());
        let line = Pool::from("a".to_owned());
        let walk = async || {
            tokio::task::yield_now().await;
            walked.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let once = async |since| walks.once(&line, since, walk()).await.is_ok();
        let first = walks.started_at;

        assert_eq!(tokio::join!(once(first), once(first), once(first)), (true, true, true));
        assert_eq!(walked.swap(0, Ordering::Relaxed), 1);
        let later = Instant::now();
        assert!(once(later).await && once(first).await);
        assert_eq!(walked.swap(0, Ordering::Relaxed), 1, "something newer is known");

        let now = Instant::now();
        let fails = walks.once(&line, now, async { Err(Error::Busy("go")) });
        let (failed, is_well) = tokio::join!(fails, once(now));
        assert!(failed.is_err() && is_well);
        assert_eq!(walked.into_inner(), 1, "what failed is no walk");
    }
}
