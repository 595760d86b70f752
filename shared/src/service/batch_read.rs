//! Reading batches.

use std::pin::pin;

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        batch::{Batch, BatchItem, Refusal},
        batch_id::BatchId,
        caller::{Action, Caller},
        error::Error,
        execution::Execution,
        id::{ExecutionId, UserId},
        json::Json,
        rights,
        time::Timestamp,
    },
    http::{
        answer::{
            batch::{BatchResults, BatchView, ItemOutcome, ItemResults, RefusedStatus, counts},
            lists::ExecutionList,
            monitor::Monitor,
            results::Results,
        },
        body::ListRequest,
        reply::{MAX_BODY, size_within},
    },
    service::paging::{decode_cursor, encode_cursor},
    store::{batch::Consistency, executions::Executions},
};

/// As many results as one answer has, or fewer where they are large.
pub const MAX_RESULTS: usize = 20;

/// How many results are read at the same time.
const AT_ONCE: usize = 5;

/// From where a page of results, or a list of runs, goes on.
#[derive(Debug, Serialize, Deserialize)]
struct AfterIndex {
    index: usize,
}

/// A batch with which the caller may do this: with all of its runs. Somebody else's is not found.
pub async fn permitted(
    executions: &Executions,
    caller: &Caller,
    action: Action,
    id: &BatchId,
) -> Result<Batch, Error> {
    let found = executions.find_batch(id, Consistency::Strong).await?;
    let batch =
        found.filter(|batch| caller.may_know(&batch.user_id)).ok_or(Error::NotFound("batch"))?;
    for agent in &batch.agents {
        caller.require(action, agent)?;
    }
    Ok(batch)
}

/// Whose deliveries a caller asks for, who may view what they tell of: a run, or a batch.
pub(super) async fn owner_of(
    executions: &Executions,
    caller: &Caller,
    id: &ExecutionId,
) -> Result<UserId, Error> {
    let found = executions.find(id, Consistency::Strong).await?;
    match id.as_str().parse() {
        Ok(batch) if found.is_none() => {
            Ok(permitted(executions, caller, Action::View, &batch).await?.user_id)
        }
        _ => Ok(rights::permitted(caller, Action::View, found)?.user_id),
    }
}

/// A batch, and where its runs stand.
pub(super) async fn view(
    executions: &Executions,
    caller: &Caller,
    id: &BatchId,
) -> Result<BatchView, Error> {
    let batch = permitted(executions, caller, Action::View, id).await?;
    let runs = match batch.counts {
        Some(_) => Vec::new(),
        None => runs(executions, &batch).await?,
    };
    Ok(BatchView::of(batch, counts(runs.iter().map(Execution::shown_status))))
}

async fn runs(executions: &Executions, batch: &Batch) -> Result<Vec<Execution>, Error> {
    let ids: Vec<_> = batch.runs().cloned().collect();
    executions.find_all(&ids).await
}

/// A page of the results of a batch, in the order of its items.
pub(super) async fn results(
    executions: &Executions,
    caller: &Caller,
    id: &BatchId,
    limit: usize,
    cursor: Option<&str>,
) -> Result<BatchResults, Error> {
    let start = cursor.map(decode_cursor::<AfterIndex>).transpose()?.map_or(0, |it| it.index);
    let batch = permitted(executions, caller, Action::View, id).await?;
    let items = batch.items.unwrap_or_default();
    let count = items.len();
    let page = items.into_iter().enumerate().skip(start).take(limit);
    let mut read = pin!(
        stream::iter(page)
            .map(async |(index, item): (usize, BatchItem)| {
                let results = match item {
                    BatchItem::Error(refusal) => refused(refusal),
                    BatchItem::ExecutionId(id) => outcome(executions, &id).await?,
                };
                Ok(ItemResults { index, results })
            })
            .buffered(AT_ONCE)
    );
    let (mut results, mut bytes) = (Vec::new(), 0);
    while let Some(item) = read.next().await {
        let item: ItemResults = item?;
        bytes += size_within(Json::of(&item).as_str());
        if bytes > MAX_BODY && !results.is_empty() {
            break;
        }
        results.push(item);
    }
    let index = start + results.len();
    let next = (!results.is_empty() && index < count).then_some(AfterIndex { index });
    Ok(BatchResults { results, next_cursor: next.as_ref().map(encode_cursor).transpose()? })
}

async fn outcome(executions: &Executions, id: &ExecutionId) -> Result<ItemOutcome, Error> {
    let Some(finished) = executions.find_finished(id, false).await? else {
        return Ok(refused(Refusal {
            kind: "urn:problem-type:agent-relay:not-found".to_owned(),
            status: 404,
            detail: format!("{id} is not kept any more"),
            field: None,
        }));
    };
    let results = Results::of(&finished.execution, finished.outcome.as_ref());
    Ok(ItemOutcome::Results(Box::new(results)))
}

const fn refused(error: Refusal) -> ItemOutcome {
    ItemOutcome::Refused { status: RefusedStatus::Refused, error }
}

/// The runs of a batch as a list, in the order of its items.
pub(super) async fn list(
    executions: &Executions,
    caller: &Caller,
    id: &BatchId,
    request: &ListRequest,
) -> Result<ExecutionList, Error> {
    let cursor = request.cursor.as_deref().map(decode_cursor::<AfterIndex>).transpose()?;
    let start = cursor.map_or(0, |it| it.index);
    let batch = permitted(executions, caller, Action::View, id).await?;
    if request.owner.as_ref().is_some_and(|owner| *owner != batch.user_id) {
        return Err(Error::invalid("owner", "is another user than that of the batch"));
    }
    if request.trouble {
        return Err(Error::invalid("trouble", "cannot be asked for of a batch: see its counts"));
    }
    let mut runs = runs(executions, &batch).await?;
    let place = |run: &Execution| batch.runs().position(|id| *id == run.execution_id);
    runs.sort_by_key(place);
    let now = Timestamp::now();
    let mut wanted = runs
        .into_iter()
        .map(|run| (place(&run).unwrap_or_default(), run))
        .filter(|(place, run)| *place >= start && request.wants(run))
        .map(|(place, run)| (place, Monitor::of(run, now)));
    let page: Vec<_> = wanted.by_ref().take(request.limit).collect();
    let next = wanted.next().map(|(index, _)| AfterIndex { index });
    Ok(ExecutionList {
        executions: page.into_iter().map(|(_, run)| run).collect(),
        next_cursor: next.as_ref().map(encode_cursor).transpose()?,
        ..ExecutionList::default()
    })
}
