//! Reading what went wrong lately.

use std::collections::{HashMap, HashSet};

use crate::{
    domain::{
        batch::{Batch, Counts},
        batch_id::BatchId,
        caller::{Action, Caller},
        error::Error,
        execution::Execution,
        id::{ExecutionId, UserId},
        rights,
        status::Status,
        time::Timestamp,
    },
    http::{
        answer::{
            batch::BatchView,
            lists::ExecutionList,
            monitor::{Monitor, TroubleKind},
        },
        body::ListRequest,
    },
    service::{
        batch_read,
        paging::{MAX_PAGES, decode_cursor, encode_cursor},
    },
    store::{
        executions::Executions,
        trouble::{Trouble, TroubleAfter},
    },
};

/// What is gathered of a list.
struct Gathered {
    runs: Vec<Monitor>,
    batches: Vec<BatchView>,
    limit: usize,
    /// The last entry that is in it.
    last: Option<TroubleAfter>,
}

impl Gathered {
    fn has_room(&self) -> bool {
        self.runs.len() + self.batches.len() < self.limit
    }

    /// Adds an entry of this batch; false when there is no room.
    fn add_batch(&mut self, entry: Trouble, batch: &Batch) -> bool {
        if self.batches.iter().all(|it| it.batch_id != batch.batch_id) {
            if !self.has_room() {
                return false;
            }
            let user_id = Some(batch.user_id.clone());
            let shown = BatchView::of(batch.clone(), Counts::default());
            self.batches.push(BatchView { user_id, items: Vec::new(), ..shown });
        }
        self.last = Some(TroubleAfter::Entry(entry));
        true
    }

    /// Adds an entry of this run; false when there is no room.
    fn add(&mut self, entry: Trouble, kind: TroubleKind, run: &Execution) -> bool {
        let same = self.runs.iter_mut().find(|it| it.execution_id == run.execution_id);
        if let Some(run) = same {
            if !run.trouble.contains(&kind) {
                run.trouble.push(kind);
            }
        } else if self.has_room() {
            let user_id = Some(run.user_id.clone());
            let shown = Monitor::of(run.clone(), Timestamp::now());
            self.runs.push(Monitor { user_id, trouble: vec![kind], ..shown });
        } else {
            return false;
        }
        self.last = Some(TroubleAfter::Entry(entry));
        true
    }

    /// The list as it is, to go on behind its last entry, or where that is none with this time: a
    /// cursor names no run that its caller was not shown.
    fn cut(self, reached: Option<Timestamp>) -> Result<ExecutionList, Error> {
        let after = self.last.or_else(|| reached.map(|until| TroubleAfter::Time { until }));
        let next_cursor = after.as_ref().map(encode_cursor).transpose()?;
        Ok(ExecutionList { executions: self.runs, batches: self.batches, next_cursor })
    }
}

/// A page of what went wrong, newest first: runs that failed or timed out, and those whose events
/// could not be delivered. A run stands on it once, and may stand on a later page again for what
/// went wrong with it earlier.
pub(super) async fn list(
    executions: &Executions,
    caller: &Caller,
    request: ListRequest,
) -> Result<ExecutionList, Error> {
    let user = whose(caller, request.owner.clone())?;
    let limit = request.limit.clamp(1, ListRequest::MAX_LIMIT);
    let start: Option<TroubleAfter> = request.cursor.as_deref().map(decode_cursor).transpose()?;
    let page_size = i32::try_from(ListRequest::MAX_LIMIT).unwrap_or(i32::MAX);

    let mut gathered = Gathered { runs: Vec::new(), batches: Vec::new(), limit, last: None };
    let mut batches = HashMap::new();
    let mut after = start.clone();
    for pages in 1.. {
        let (entries, next) = executions
            .list_trouble(user.as_ref(), request.since, page_size, after.as_ref())
            .await?;
        let runs = runs_of(executions, &entries).await?;
        for entry in entries {
            let run = runs.get(&entry.execution_id);
            if run.is_none()
                && let Ok(id) = entry.execution_id.as_str().parse()
            {
                // It may stand there for each of its receivers.
                if !batches.contains_key(&id) {
                    let batch = undelivered(executions, caller, &request, &id).await?;
                    batches.insert(id.clone(), batch);
                }
                let batch = batches.get(&id).and_then(Option::as_ref);
                if batch.is_some_and(|batch| !gathered.add_batch(entry, batch)) {
                    return gathered.cut(None);
                }
                continue;
            }
            let run = run.filter(|run| is_wanted(run, caller, &request));
            let Some((run, kind)) = run.and_then(|run| Some((run, kind(run, &entry)?))) else {
                continue;
            };
            if !gathered.add(entry, kind, run) {
                return gathered.cut(None);
            }
        }
        let Some(reached) = next else { break };
        let at = reached.troubled_at;
        after = Some(TroubleAfter::Entry(reached));
        // A list that goes on at the time at which it has begun would never end.
        if pages >= MAX_PAGES && start.as_ref().is_none_or(|start| start.at() != at) {
            return gathered.cut(Some(at));
        }
    }
    let Gathered { runs, batches, .. } = gathered;
    Ok(ExecutionList { executions: runs, batches, next_cursor: None })
}

async fn runs_of(
    executions: &Executions,
    entries: &[Trouble],
) -> Result<HashMap<ExecutionId, Execution>, Error> {
    let ids: HashSet<_> = entries.iter().map(|entry| entry.execution_id.clone()).collect();
    let ids: Vec<_> = ids.into_iter().collect();
    let runs = executions.find_all(&ids).await?.into_iter();
    Ok(runs.map(|run| (run.execution_id.clone(), run)).collect())
}

/// A batch that its receiver was not told of, if the caller may view it and asks for no more than runs and batches.
async fn undelivered(
    executions: &Executions,
    caller: &Caller,
    request: &ListRequest,
    id: &BatchId,
) -> Result<Option<Batch>, Error> {
    let is_of_runs = request.status.is_some() || request.tag.is_some();
    if is_of_runs {
        return Ok(None);
    }
    let found = batch_read::permitted(executions, caller, Action::View, id).await;
    let batch = match found {
        Ok(batch) => batch,
        Err(Error::NotFound(_) | Error::Forbidden(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_of = |agent| batch.agents.contains(agent);
    let is_wanted = request.agent_name.as_ref().is_none_or(is_of)
        && request.created().contains(&batch.requested_at);
    Ok(Some(batch).filter(|_| is_wanted))
}

/// Whose trouble is listed: `None` is everybody's.
fn whose(caller: &Caller, owner: Option<UserId>) -> Result<Option<UserId>, Error> {
    match owner {
        None if caller.permissions.is_admin() => Ok(None),
        None => Ok(Some(caller.user_id.clone())),
        Some(owner) if caller.may_know(&owner) => Ok(Some(owner)),
        Some(_) => Err(Error::Forbidden("*:*".to_owned())),
    }
}

fn is_wanted(run: &Execution, caller: &Caller, request: &ListRequest) -> bool {
    rights::may_view(&caller.permissions, &run.agent_name) && request.wants(run)
}

/// What is wrong with a run by this entry; `None` when that is so no more.
fn kind(run: &Execution, entry: &Trouble) -> Option<TroubleKind> {
    if !entry.is_of_the_run() {
        return Some(TroubleKind::Undelivered);
    }
    match run.status {
        Status::Failed => Some(TroubleKind::Failed),
        Status::Timeout => Some(TroubleKind::Timeout),
        Status::Scheduled
        | Status::Queued
        | Status::Running
        | Status::InputRequired
        | Status::Completed
        | Status::Cancelled => None,
    }
}
