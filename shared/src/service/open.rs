//! Runs that have not ended; for an administrator everybody's, each of which is in the index of debts.

use std::{cmp::Reverse, collections::HashMap};

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        caller::Caller,
        debt::{Debt, DebtKind},
        error::Error,
        execution::Execution,
        time::Timestamp,
    },
    http::{
        answer::{lists::ExecutionList, monitor::Monitor},
        body::ListRequest,
    },
    service::{
        paging::{MAX_PAGES, WRONG_CURSOR, decode_cursor, encode_cursor},
        read::Reader,
    },
    store::{
        batch::MAX_BATCH,
        due::{Due, DueItem, End, FOREVER, Place},
        executions::Executions,
    },
};

/// How far a list has come: it goes along one key of the index after the other.
#[derive(Serialize, Deserialize)]
struct Reached {
    debt: Debt,
    /// Behind this item.
    after: Option<Place>,
}

impl Reader {
    /// A page of the runs that have not ended: the caller's, or for an administrator everybody's.
    pub async fn list_open(
        &self,
        caller: &Caller,
        request: ListRequest,
    ) -> Result<ExecutionList, Error> {
        let is_narrowed = request.owner.is_some() || request.batch_id.is_some() || request.trouble;
        if is_narrowed || !caller.permissions.is_admin() {
            return self.list(caller, request).await;
        }
        list(&self.executions, &self.due, &request).await
    }
}

/// A page of everybody's, newest first in itself: the index has them by when they are next looked after.
/// Those that began some minutes ago come before those that wait, of which anybody may have thousands. A
/// run that is looked after meanwhile moves on to a later page, and may come again; one that begins
/// meanwhile may be missed.
async fn list(
    executions: &Executions,
    due: &Due,
    request: &ListRequest,
) -> Result<ExecutionList, Error> {
    let keys = keys();
    let start: Option<Reached> = request.cursor.as_deref().map(decode_cursor).transpose()?;
    let (mut at, mut after) = match start {
        None => (0, None),
        Some(Reached { debt, after }) => {
            let at = keys.iter().position(|key| *key == debt);
            (at.ok_or_else(|| Error::invalid("cursor", WRONG_CURSOR))?, after)
        }
    };
    let limit = request.limit.clamp(1, ListRequest::MAX_LIMIT);
    let mut runs: Vec<Execution> = Vec::new();
    let mut looked_through = 0;
    while let Some(debt) = keys.get(at) {
        if runs.len() >= limit || looked_through >= MAX_PAGES * MAX_BATCH {
            return shown(runs, Some(&Reached { debt: debt.clone(), after }));
        }
        let start = after.as_ref().map(|place| place.key(debt));
        let page = due.overdue(debt, FOREVER, End::Oldest, start).await?;
        looked_through += page.items.len();
        let mut open = open_runs(executions, &page.items).await?;
        let mut last = None;
        for item in &page.items {
            if runs.len() >= limit {
                return shown(runs, Some(&Reached { debt: debt.clone(), after: last.or(after) }));
            }
            let run = open.remove(&item.execution_id).filter(|run| request.wants(run));
            let is_new =
                |run: &Execution| runs.iter().all(|it| it.execution_id != run.execution_id);
            if let Some(run) = run.filter(is_new) {
                runs.push(run);
            }
            last = item.place().or(last);
        }
        // A dead letter may have an id that no cursor can name: the next page begins before it.
        after = page.next.and(last);
        at += usize::from(after.is_none());
    }
    shown(runs, None)
}

/// Where the runs stand that have not ended, also those that `sweep` has given up.
fn keys() -> Vec<Debt> {
    let [begun, waiting] = [DebtKind::Poll, DebtKind::Launch].map(DebtKind::keys);
    begun.chain([Debt::dead()]).chain(waiting).collect()
}

async fn open_runs(
    executions: &Executions,
    items: &[DueItem],
) -> Result<HashMap<String, Execution>, Error> {
    let runs = items.iter().filter(|item| item.kind().is_of_a_run());
    let ids: Vec<_> = runs.filter_map(|item| item.execution_id.parse().ok()).collect();
    let runs = executions.find_all(&ids).await?.into_iter();
    let open = runs.filter(|run| !run.status.is_end());
    Ok(open.map(|run| (run.execution_id.to_string(), run)).collect())
}

fn shown(mut runs: Vec<Execution>, reached: Option<&Reached>) -> Result<ExecutionList, Error> {
    runs.sort_by_key(|run| Reverse(run.created_at));
    let now = Timestamp::now();
    let executions = runs.into_iter().map(|run| {
        let user_id = Some(run.user_id.clone());
        Monitor { user_id, ..Monitor::of(run, now) }
    });
    let executions = executions.collect();
    let next_cursor = reached.map(encode_cursor).transpose()?;
    Ok(ExecutionList { executions, next_cursor, ..ExecutionList::default() })
}
