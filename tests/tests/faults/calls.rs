//! The matrix: every AWS call of every function, and what happens to a run, or is asked for, when
//! it is made.
//!
//! The POST of `webhook` is no AWS call, and has its rows in `receivers.rs`. To be killed before
//! it is to be killed after `batch get`, to be killed after it is to be killed before `record`.

use std::ops::RangeInclusive;

use e2e::Stack;
use serde_json::Value;

use crate::proxy::{Fault, Seen};

/// One AWS call of one function.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) function: &'static str,
    pub(crate) name: &'static str,
    service: &'static str,
    operation: &'static str,
    /// The stack's output of the table or queue that it is about, where that tells it from another.
    about: &'static str,
    /// The part of a run that it is about, likewise.
    part: &'static str,
    /// A piece of its expressions, likewise.
    says: &'static str,
    /// Whether it tells for whom it is made.
    pub(crate) is_owned: bool,
    /// Whether the SDK repeats it.
    is_repeated: bool,
}

impl Call {
    const fn says(self, says: &'static str) -> Self {
        Self { says, ..self }
    }

    const fn part(self, part: &'static str) -> Self {
        Self { part, ..self }
    }

    /// The function and the operation.
    pub(crate) fn kind(&self) -> String {
        format!("{} {}", self.function, self.operation)
    }

    /// Any call of this kind that tells for whom it is made.
    pub(crate) const fn any_of_its_kind(self) -> Self {
        Self { about: "", part: "", says: "", is_owned: true, ..self }
    }

    pub(crate) const fn of_anybody(self) -> Self {
        Self { is_owned: false, ..self }
    }

    /// Whether a sweep makes it for many runs at once, so that those wait for the next one when it fails.
    #[cfg(feature = "all")]
    pub(crate) fn is_shared(&self) -> bool {
        self.function == "sweep" && (!self.is_owned || self.operation == "BatchGetItem")
    }

    /// All that this call may suffer.
    #[cfg(feature = "all")]
    pub(crate) fn faults(&self) -> impl Iterator<Item = Fault> {
        const WRITES: [&str; 4] = ["PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"];
        let writes = self.service == "dynamodb" && WRITES.contains(&self.operation);
        Fault::ALL.iter().copied().chain(writes.then_some(Fault::Conflict))
    }

    /// How often this happens, so that the call fails for its function.
    pub(crate) const fn times(&self, fault: Fault) -> u64 {
        if self.is_repeated { fault.times() } else { 1 }
    }

    /// The proxy's rule that fails this call, `times` times or for ever, where it mentions one of
    /// `owners`.
    pub(crate) fn rule(
        &self,
        stack: &Stack,
        owners: &[String],
        fault: Fault,
        times: Option<u64>,
    ) -> Value {
        let mentions = |what: &str| format!("contains(to_string(@), '{what}')");
        let mut body = Vec::new();
        if self.is_owned {
            let owners: Vec<_> = owners.iter().map(|owner| mentions(owner)).collect();
            body.push(format!("({})", owners.join(" || ")));
        }
        if !self.about.is_empty() {
            body.push(mentions(stack.output(self.about)));
        }
        if !self.part.is_empty() {
            let part = r#"Key.part.S || ExpressionAttributeValues.":prefix".S
                || (RequestItems.* | [0].Keys[0].part.S) || ''"#;
            body.push(format!("starts_with({part}, '{}')", self.part));
        }
        if !self.says.is_empty() {
            body.push(mentions(self.says));
        }
        let (effect, value) = fault.effect(self.service, self.operation);
        let mut rule = serde_json::json!({
            "service": self.service, "operation": self.operation,
            "headers": {"user-agent": format!("app/{}", self.function)}, effect: value,
        });
        // A body that is no JSON, as that of metrics, says nothing.
        if !body.is_empty() {
            rule["body"] = body.join(" && ").into();
        }
        if let Some(times) = times {
            rule["times"] = times.into();
        }
        rule
    }

    /// Whether this is the call that was seen.
    pub(crate) fn is(&self, stack: &Stack, seen: &Seen) -> bool {
        let part = format!("part={}", self.part);
        (self.function, self.service, self.operation)
            == (seen.function.as_str(), seen.service.as_str(), seen.operation.as_str())
            && (self.about.is_empty() || seen.says.contains(stack.output(self.about)))
            && (self.part.is_empty() || seen.says.contains(&part))
            && seen.says.contains(self.says)
    }
}

/// What happens to a run while a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// It completes.
    Completes,
    /// It ends in an error of its own.
    Fails,
    /// It completes, and its user has a subscription.
    Subscribed,
    /// It was started by the envelope.
    Enveloped,
    /// It is started without an `Idempotency-Key`.
    Unkeyed,
    /// Its start is repeated, through the door it came by.
    Replayed,
    ReplayedEnveloped,
    /// Its output is too large for an event.
    Large,
    /// Step Functions is busy when it is launched.
    Delayed,
    /// Its launch message is lost besides.
    Unlaunched,
    /// All its status events are lost besides, and its user has a subscription.
    Unheard,
    /// The same, and Step Functions is busy when it is asked.
    Unasked,
    /// All its status events are lost, and it is cancelled when a sweep has seen that it runs.
    Silent,
    /// Its delivery's message is lost besides.
    Unsent,
    /// Its receiver is not ready the first time.
    Retried,
    /// There is no room for its attempt at first.
    PutOff,
    /// Nobody has delivered anything yet.
    Cold,
    /// Its machine does not exist, and its user has a subscription.
    Refused,
    /// It is cancelled while it runs, through another door than it was started by.
    Cancelled,
    /// The same the other way round, by MCP.
    Stopped,
    /// Its agent says how far it is.
    Reports,
    /// The same, and its caller is told.
    Reported,
    /// Its agent asks, and is answered by REST, by the tool, or by the task.
    Asks,
    AsksTool,
    AsksTask,
    /// Its agent asks before anybody has recorded that it runs.
    Early,
    /// It is started by a try whose reply is lost, and nobody hears of it.
    Known,
    /// It is cancelled before anybody has recorded that it runs.
    Hasty,
    /// Its machine does not exist, which is looked at once more.
    Confirmed,
    /// The message that its agent has an answer is lost besides.
    Unhinted,
    /// Its agent has the answer, which nobody knows when it is given once more.
    Regiven,
    /// Its agent asks while its end is being stored.
    Forgotten,
    /// Two subscriptions are told of its end besides, of which one wants no more.
    Gone,
    /// It is the only one of a batch, which is told of.
    Batched,
    /// The same, and all its status events are lost.
    BatchUnheard,
    /// The same, and it is cancelled before its time has come.
    BatchCancelled,
    /// It waits for the only slot of its agent, and nobody tells it when that is free.
    Waits,
    /// Its machine does not exist, which is looked at once more, and it has the only slot of its agent until then.
    Held,
    /// It fails, and is redriven.
    Redriven,
    /// The same, but Step Functions does not know it any more.
    Unredriven,
}

impl Scenario {
    pub(crate) const fn end(self) -> &'static str {
        match self {
            Self::Refused | Self::Confirmed | Self::Held | Self::Fails | Self::Unredriven => {
                "failed"
            }
            _ if self.is_cancelled() => "cancelled",
            _ => "completed",
        }
    }

    /// Whether it is cancelled, and so must run for longer than the test.
    pub(crate) const fn is_cancelled(self) -> bool {
        matches!(
            self,
            Self::Cancelled
                | Self::Stopped
                | Self::Silent
                | Self::Hasty
                | Self::Forgotten
                | Self::BatchCancelled
        )
    }

    /// What Step Functions says in the end.
    pub(crate) const fn said(self) -> Option<&'static str> {
        match self {
            Self::Refused | Self::Confirmed | Self::Held => None,
            Self::Fails | Self::Unredriven => Some("FAILED"),
            _ if self.is_cancelled() => Some("ABORTED"),
            _ => Some("SUCCEEDED"),
        }
    }

    /// Whether its agent asks, and is answered.
    pub(crate) const fn asks(self) -> bool {
        matches!(
            self,
            Self::Asks
                | Self::AsksTool
                | Self::AsksTask
                | Self::Early
                | Self::Unhinted
                | Self::Regiven
        )
    }

    /// Whether its agent runs one at a time.
    pub(crate) const fn is_limited(self) -> bool {
        matches!(self, Self::Waits | Self::Held)
    }

    /// Whether its presumed end is looked at once more.
    pub(crate) const fn is_confirmed(self) -> bool {
        matches!(self, Self::Confirmed | Self::Held)
    }

    /// Whether it fails at first, and then a redrive is asked for.
    pub(crate) const fn is_redriven(self) -> bool {
        matches!(self, Self::Redriven | Self::Unredriven)
    }

    /// Whether it is one of a batch.
    pub(crate) const fn is_batched(self) -> bool {
        matches!(self, Self::Batched | Self::BatchUnheard | Self::BatchCancelled)
    }

    /// Whether its agent says how far it is.
    pub(crate) const fn reports(self) -> bool {
        matches!(self, Self::Reports | Self::Reported)
    }

    /// Whether its end is owed to a subscription, too.
    pub(crate) const fn subscribes(self) -> bool {
        matches!(self, Self::Subscribed | Self::Unheard | Self::Refused)
    }

    /// What its caller wants to be told besides its end.
    pub(crate) const fn news(self) -> Option<&'static str> {
        match self {
            Self::PutOff => Some("execution.running"),
            Self::Reported => Some("execution.progress"),
            _ if self.asks() => Some("execution.input_required"),
            _ => None,
        }
    }

    /// How many deliveries there are in the end.
    pub(crate) const fn deliveries(self) -> RangeInclusive<usize> {
        match self {
            // Of its three reports one that comes late is let be.
            Self::Reported => 2..=4,
            _ if self.asks() || self.subscribes() || matches!(self, Self::PutOff) => 2..=2,
            Self::Redriven => 2..=2,
            Self::Gone => 3..=3,
            _ => 1..=1,
        }
    }

    /// The calls that fail besides, so that it comes to the scenario, and how often.
    pub(crate) const fn besides(self) -> &'static [(Call, Fault, Option<u64>)] {
        match self {
            Self::Unlaunched => &[(START_SEND, Fault::Failed, None)],
            Self::Unheard | Self::Silent | Self::Hasty | Self::BatchUnheard => {
                &[(STATUS_FIND, Fault::Failed, None)]
            }
            Self::Unasked => {
                &[(STATUS_FIND, Fault::Failed, None), (DESCRIBE, Fault::Throttled, Some(3))]
            }
            // Once it is asked about, it has ended.
            Self::Known => &[
                (START_EXECUTION, Fault::LostOnce, Some(1)),
                (STATUS_FIND, Fault::Failed, None),
                (LAUNCH_DESCRIBE, Fault::Late(2000), Some(1)),
            ],
            Self::Unsent => &[(STATUS_SEND, Fault::Failed, None)],
            Self::Delayed => &[(START_EXECUTION, Fault::Throttled, Some(3))],
            // The event that says that it runs is lost.
            Self::Early => &[(STATUS_RUNNING, Fault::Failed, Some(3))],
            Self::Unhinted => &[(ANSWER_SEND, Fault::Failed, None)],
            // The question is looked for before each try, and once more when it fails.
            Self::Regiven => {
                &[(GIVE, Fault::Lost, Some(1)), (LAUNCH_ASKED, Fault::Late(1), Some(2))]
            }
            Self::Forgotten => &[(STATUS_END, Fault::Late(8000), Some(1))],
            _ => &[],
        }
    }
}

/// What a caller asks for, besides a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Monitor,
    /// Held until the run ends.
    Held,
    /// A start that is held until its run ends.
    HeldStart,
    Results,
    List,
    Deliveries,
    Agents,
    Redeliver,
    Subscribe,
    Subscriptions,
    Test,
    Unsubscribe,
    Secret,
    Rotate,
    OwnSecret,
    RotateOwn,
    Enable,
    Recover,
    EnvelopeMonitor,
    EnvelopeResults,
    EnvelopeAgents,
    /// A tool that is held until its run ends.
    ToolStart,
    ToolList,
    /// Everybody's open runs.
    Open,
    Trouble,
    ToolTrouble,
    /// A run again.
    Rerun,
    ToolRerun,
    /// A batch of which one start is refused, and what became of it.
    StartBatch,
    ToolBatch,
    Batch,
    /// What an agent asks.
    Questions,
    ToolQuestions,
    /// How many come before a run that waits.
    Waiting,
    ToolWaiting,
}

const fn call(
    function: &'static str,
    name: &'static str,
    service: &'static str,
    operation: &'static str,
) -> Call {
    Call {
        function,
        name,
        service,
        operation,
        about: "",
        part: "",
        says: "",
        is_owned: true,
        is_repeated: true,
    }
}

const fn dynamodb(function: &'static str, name: &'static str, operation: &'static str) -> Call {
    Call { about: "ExecutionsTable", ..call(function, name, "dynamodb", operation) }
}

const fn update(function: &'static str, name: &'static str, says: &'static str) -> Call {
    dynamodb(function, name, "UpdateItem").says(says)
}

const fn agents(function: &'static str, name: &'static str, operation: &'static str) -> Call {
    Call { about: "AgentsTable", ..call(function, name, "dynamodb", operation) }
}

const fn api_keys(function: &'static str, name: &'static str) -> Call {
    Call { about: "ApiKeysTable", ..call(function, name, "dynamodb", "GetItem") }
}

const fn launch_message(function: &'static str, name: &'static str) -> Call {
    Call { about: "LaunchQueueUrl", ..call(function, name, "sqs", "SendMessage") }
}

const fn delivery_message(function: &'static str, name: &'static str) -> Call {
    Call { about: "WebhookQueueUrl", ..call(function, name, "sqs", "SendMessage") }
}

/// All that a run has ever asked.
const fn all_questions(function: &'static str, name: &'static str) -> Call {
    dynamodb(function, name, "Query").part("question")
}

/// The questions of a run, without tokens and answers.
const fn questions(function: &'static str, name: &'static str) -> Call {
    dynamodb(function, name, "BatchGetItem").part("question")
}

/// The message that an answer is to be given.
const fn answer_message(function: &'static str, name: &'static str) -> Call {
    launch_message(function, name).says("question_id")
}

const fn secret(function: &'static str) -> Call {
    call(function, "secret", "secretsmanager", "GetSecretValue").of_anybody()
}

const START_SEND: Call = launch_message("start", "send");
const START_EXECUTION: Call = call("launch", "StartExecution", "stepfunctions", "StartExecution");
const LAUNCH_DESCRIBE: Call = call("launch", "describe", "stepfunctions", "DescribeExecution");
const DESCRIBE: Call = call("sweep", "describe", "stepfunctions", "DescribeExecution");
const STATUS_FIND: Call = dynamodb("status", "find", "GetItem").part("state");
const STATUS_RUNNING: Call = update("status", "advance to running", ADVANCE);
const STATUS_END: Call =
    dynamodb("status", "advance to the end", "TransactWriteItems").says(ADVANCE);
const ANSWER_SEND: Call = answer_message("start", "answer: send");
const LAUNCH_ASKED: Call = dynamodb("launch", "question: find", "GetItem").part("question");
/// Nobody may repeat it who does not count that.
const GIVE: Call = Call {
    is_repeated: false,
    ..call("launch", "SendTaskSuccess", "stepfunctions", "SendTaskSuccess")
};
const STATUS_SEND: Call = delivery_message("status", "send");

/// Of two starts with one key at once, one takes its count back. That cannot be brought about, and a
/// start that stays counted costs no more.
///
/// What a limited run does where it waits in two lines, or its redrive is refused or withdrawn, is in `concurrency.rs` and
/// `redrive.rs`; so is an empty line that is left after ten minutes.
///
/// What closes a batch whose request has died, after ten minutes, and keeps one for longer than a day, is
/// in `batches.rs`: `sweep` does that, and so does `launch` where its message comes late enough.
pub(crate) const BY_CHANCE: &[Call] = &[
    update("start", "uncount", "ADD n :less"),
    update("mcp", "uncount", "ADD n :less"),
    dynamodb("sweep", "batch: decided", "BatchGetItem").part("idem"),
    dynamodb("sweep", "batch: refuse", "TransactWriteItems").part("idem").says(ACCEPT),
    dynamodb("sweep", "batch: keep", "TransactWriteItems").part("batch").says("SET #ttl"),
    dynamodb("sweep", "batch: keep a run", "TransactWriteItems").part("state").says("#ttl < :ttl"),
    update("sweep", "batch: close", "SET #items"),
    dynamodb("launch", "batch: decided", "BatchGetItem").part("idem"),
    dynamodb("launch", "batch: refuse", "TransactWriteItems").part("idem").says(ACCEPT),
    dynamodb("launch", "batch: keep", "TransactWriteItems").part("batch").says("SET #ttl"),
    update("launch", "batch: close", "SET #items"),
    update("sweep", "postpone a batch", "due_at = :until").part("batch"),
    dynamodb("start", "batch: decided", "BatchGetItem").part("idem"),
    launch_message("launch", "hint another line").says("freed"),
    update("launch", "redrive: leave a line", "REMOVE line"),
    update("start", "redrive: withdraw", "attribute_exists(line)"),
    dynamodb("sweep", "leave a line", "DeleteItem").part("line"),
    dynamodb("launch", "refuse a redrive: free", "TransactWriteItems").says(REFUSE_REDRIVE),
];

/// What follows the answer of a receiver.
pub(crate) const RECORD: Call = update("webhook", "record", "SET attempts = :attempts");

const ACCEPT: &str = "attribute_not_exists(execution_id) OR #ttl";
const ADVANCE: &str = "#rank = :rank";
/// Of the markers of a batch.
const OPEN: &str = "begins_with(part, :open)";
const COMPLETE: &str = "SET completed_at";
/// Of slots, and of a line before them.
const SLOTS: &str = "begins_with(part, :slot)";
const LINE: &str = "line = :line";
const REFUSE_REDRIVE: &str = "redrive_refusal = :reason";
const PROGRESS: &str = "#progress < :progress";

/// The calls that carry a run from its start to its callback.
pub(crate) const RUNS: &[(Call, Scenario)] = &[
    (api_keys("authorizer", "find key"), Scenario::Completes),
    (agents("start", "find agent", "GetItem"), Scenario::Completes),
    (update("start", "count", "ADD n :more"), Scenario::Completes),
    (dynamodb("start", "accept", "TransactWriteItems").says(ACCEPT), Scenario::Completes),
    (dynamodb("start", "accept", "TransactWriteItems").says(ACCEPT), Scenario::Unkeyed),
    (START_SEND, Scenario::Completes),
    (START_SEND, Scenario::Unkeyed),
    (update("start", "replay: count", "rate#replay"), Scenario::Replayed),
    (dynamodb("start", "replay: find", "GetItem").part("idem"), Scenario::Replayed),
    (dynamodb("start", "cancel: find", "GetItem").part("state"), Scenario::Cancelled),
    (update("start", "cancel: request", "cancel_requested_at"), Scenario::Cancelled),
    (launch_message("start", "cancel: send"), Scenario::Cancelled),
    (agents("mcp", "find agent", "GetItem"), Scenario::Enveloped),
    (update("mcp", "count", "ADD n :more"), Scenario::Enveloped),
    (dynamodb("mcp", "accept", "TransactWriteItems").says(ACCEPT), Scenario::Enveloped),
    (launch_message("mcp", "send"), Scenario::Enveloped),
    (update("mcp", "replay: count", "rate#replay"), Scenario::ReplayedEnveloped),
    (dynamodb("mcp", "replay: find", "GetItem").part("idem"), Scenario::ReplayedEnveloped),
    (dynamodb("mcp", "cancel: find", "GetItem").part("state"), Scenario::Stopped),
    (update("mcp", "cancel: request", "cancel_requested_at"), Scenario::Stopped),
    (launch_message("mcp", "cancel: send"), Scenario::Stopped),
    (dynamodb("start", "answer: find", "GetItem").part("state"), Scenario::Asks),
    (questions("start", "answer: questions"), Scenario::Asks),
    (all_questions("start", "answer: repeated"), Scenario::Regiven),
    (update("start", "answer: store", "answer_hash = :hash"), Scenario::Asks),
    (ANSWER_SEND, Scenario::Asks),
    (dynamodb("mcp", "answer: find", "GetItem").part("state"), Scenario::AsksTool),
    (questions("mcp", "answer: questions"), Scenario::AsksTool),
    (update("mcp", "answer: store", "answer_hash = :hash"), Scenario::AsksTool),
    (answer_message("mcp", "answer: send"), Scenario::AsksTool),
    (dynamodb("mcp", "task: find", "GetItem").part("output"), Scenario::AsksTask),
    (questions("mcp", "task: questions"), Scenario::AsksTask),
    (update("mcp", "task: store", "answer_hash = :hash"), Scenario::AsksTask),
    (dynamodb("start", "batch: find", "GetItem").part("batch"), Scenario::Batched),
    (update("start", "batch: count", "ADD n :more"), Scenario::Batched),
    (
        dynamodb("start", "batch: create", "TransactWriteItems").says("has_callback"),
        Scenario::Batched,
    ),
    (dynamodb("start", "batch: known", "GetItem").part("idem"), Scenario::Batched),
    (
        dynamodb("start", "batch: accept", "TransactWriteItems").says("launch_before"),
        Scenario::Batched,
    ),
    (update("start", "batch: close", "SET #items"), Scenario::Batched),
    (launch_message("start", "batch: send").says("is_batch"), Scenario::Batched),
    (dynamodb("start", "batch: cancel", "GetItem").part("batch"), Scenario::BatchCancelled),
    (dynamodb("launch", "batch: find", "GetItem").part("batch"), Scenario::BatchCancelled),
    (dynamodb("launch", "batch: open", "Query").says(OPEN), Scenario::BatchCancelled),
    (dynamodb("launch", "batch: runs", "BatchGetItem").part("state"), Scenario::BatchCancelled),
    (
        dynamodb("launch", "batch: complete", "TransactWriteItems").says(COMPLETE),
        Scenario::BatchCancelled,
    ),
    (
        dynamodb("launch", "batch: advance", "TransactWriteItems").says(ADVANCE),
        Scenario::BatchCancelled,
    ),
    (dynamodb("status", "batch: open", "Query").says(OPEN), Scenario::Batched),
    (dynamodb("status", "batch: find", "GetItem").part("batch"), Scenario::Batched),
    (dynamodb("status", "batch: runs", "BatchGetItem").part("state"), Scenario::Batched),
    (dynamodb("status", "batch: complete", "TransactWriteItems").says(COMPLETE), Scenario::Batched),
    (STATUS_END, Scenario::Batched),
    (dynamodb("sweep", "batch: open", "Query").says(OPEN), Scenario::BatchUnheard),
    (dynamodb("sweep", "batch: find", "GetItem").part("batch"), Scenario::BatchUnheard),
    (dynamodb("sweep", "batch: runs", "BatchGetItem").part("state"), Scenario::BatchUnheard),
    (
        dynamodb("sweep", "batch: complete", "TransactWriteItems").says(COMPLETE),
        Scenario::BatchUnheard,
    ),
    (agents("launch", "slot: agent", "GetItem"), Scenario::Waits),
    (dynamodb("launch", "slot: taken", "Query").says(SLOTS), Scenario::Waits),
    (dynamodb("launch", "slot: line", "Query").says(LINE), Scenario::Waits),
    (update("launch", "slot: open a line", "joined_at"), Scenario::Waits),
    (update("launch", "slot: wait", "waits_for = :waits_for"), Scenario::Waits),
    (dynamodb("launch", "slot: find", "BatchGetItem").part("state"), Scenario::Waits),
    (
        dynamodb("launch", "slot: claim", "TransactWriteItems").says("slots = :slots"),
        Scenario::Waits,
    ),
    (dynamodb("status", "slot: free", "TransactWriteItems").says(ADVANCE), Scenario::Waits),
    (launch_message("status", "slot: hint").says("freed"), Scenario::Waits),
    (dynamodb("sweep", "slot: line", "Query").says(LINE), Scenario::Waits),
    (dynamodb("sweep", "slot: find", "GetItem").part("state"), Scenario::Waits),
    (update("sweep", "slot: postpone a line", "due_at = :until").part("line"), Scenario::Waits),
    (launch_message("sweep", "slot: hint").says("freed"), Scenario::Waits),
    (
        dynamodb("sweep", "slot: confirm", "TransactWriteItems").says("REMOVE due_at, debt, slots"),
        Scenario::Held,
    ),
    (launch_message("sweep", "slot: confirm: hint").says("freed"), Scenario::Held),
    (dynamodb("start", "redrive: find", "GetItem").part("state"), Scenario::Redriven),
    (
        dynamodb("start", "redrive: request", "TransactWriteItems").says("redrive_requested_at"),
        Scenario::Redriven,
    ),
    (call("launch", "redrive: describe", "stepfunctions", "DescribeExecution"), Scenario::Redriven),
    (call("launch", "RedriveExecution", "stepfunctions", "RedriveExecution"), Scenario::Redriven),
    (
        dynamodb("status", "redrive: advance", "TransactWriteItems").says("SET #ttl = :ttl"),
        Scenario::Redriven,
    ),
    (update("launch", "redrive: refuse", REFUSE_REDRIVE), Scenario::Unredriven),
    (update("launch", "claim", "claimed_at"), Scenario::Completes),
    (dynamodb("launch", "input", "GetItem").part("input"), Scenario::Completes),
    (START_EXECUTION, Scenario::Completes),
    (update("launch", "delay", "launch_delays"), Scenario::Delayed),
    (launch_message("launch", "send again"), Scenario::Delayed),
    (call("launch", "refused: describe", "stepfunctions", "DescribeExecution"), Scenario::Refused),
    (dynamodb("launch", "refused: find", "GetItem").part("state"), Scenario::Refused),
    (dynamodb("launch", "refused: subscribers", "Query"), Scenario::Refused),
    (api_keys("launch", "refused: subscriber's key"), Scenario::Refused),
    (call("launch", "refused: PutEvents", "events", "PutEvents"), Scenario::Refused),
    (dynamodb("launch", "refused: advance", "TransactWriteItems").says(ADVANCE), Scenario::Refused),
    (delivery_message("launch", "refused: send"), Scenario::Refused),
    (LAUNCH_DESCRIBE, Scenario::Known),
    (dynamodb("launch", "known: outcome", "PutItem"), Scenario::Known),
    (dynamodb("launch", "known: advance", "TransactWriteItems").says(ADVANCE), Scenario::Known),
    (update("launch", "advance to running", ADVANCE), Scenario::Hasty),
    (update("launch", "stop: mark", "stop_reason"), Scenario::Cancelled),
    (call("launch", "StopExecution", "stepfunctions", "StopExecution"), Scenario::Cancelled),
    (LAUNCH_ASKED, Scenario::Asks),
    (dynamodb("launch", "question: find run", "GetItem").part("state"), Scenario::Asks),
    (update("launch", "count a try", "ADD tries"), Scenario::Asks),
    (GIVE, Scenario::Asks),
    (LAUNCH_ASKED, Scenario::Regiven),
    (call("launch", "close: PutEvents", "events", "PutEvents"), Scenario::Asks),
    (
        dynamodb("launch", "close", "TransactWriteItems").says("DELETE open_questions"),
        Scenario::Asks,
    ),
    (STATUS_FIND, Scenario::Completes),
    (dynamodb("status", "subscribers", "Query"), Scenario::Completes),
    (api_keys("status", "subscriber's key"), Scenario::Subscribed),
    (dynamodb("status", "outcome", "PutItem"), Scenario::Completes),
    (call("status", "PutEvents", "events", "PutEvents"), Scenario::Completes),
    (STATUS_RUNNING, Scenario::Completes),
    (STATUS_END, Scenario::Completes),
    (STATUS_END, Scenario::Forgotten),
    (STATUS_SEND, Scenario::Completes),
    (agents("status", "average: set", "UpdateItem"), Scenario::Completes),
    (call("status", "describe", "stepfunctions", "DescribeExecution"), Scenario::Large),
    (update("status", "progress", PROGRESS), Scenario::Reports),
    (dynamodb("status", "progress", "TransactWriteItems").says(PROGRESS), Scenario::Reported),
    (dynamodb("status", "question: find", "GetItem").part("question"), Scenario::Asks),
    (dynamodb("status", "ask", "TransactWriteItems").says("ADD open_questions"), Scenario::Asks),
    (dynamodb("status", "ask", "TransactWriteItems").says("ADD open_questions"), Scenario::Early),
    (api_keys("webhook", "find key"), Scenario::Completes),
    (update("webhook", "lease", "attempt_count"), Scenario::Completes),
    (dynamodb("webhook", "batch get", "BatchGetItem"), Scenario::Completes),
    // The user's line; a host's is everybody's.
    (update("webhook", "take a place", "#end = :end"), Scenario::Asks),
    (update("webhook", "stand in line", "ADD #end :places"), Scenario::PutOff),
    (update("webhook", "put off", "put_off :one"), Scenario::PutOff),
    (RECORD, Scenario::Completes),
    (RECORD, Scenario::Retried),
    (delivery_message("webhook", "send again"), Scenario::Retried),
    (secret("webhook"), Scenario::Cold),
    (update("webhook", "success", "SET last_success_at"), Scenario::Gone),
    (update("webhook", "failure", "ADD failures"), Scenario::Gone),
    (dynamodb("webhook", "note what is given up", "PutItem"), Scenario::Gone),
    (dynamodb("webhook", "disable: list", "Query"), Scenario::Gone),
    (call("webhook", "disable: PutEvents", "events", "PutEvents"), Scenario::Gone),
    (dynamodb("webhook", "disable", "TransactWriteItems").says("disabled_reason"), Scenario::Gone),
    (
        dynamodb("sweep", "count", "Query").says("debt = :counted").of_anybody(),
        Scenario::Unlaunched,
    ),
    (
        dynamodb("sweep", "overdue", "Query").says("due_at <= :until").of_anybody(),
        Scenario::Unlaunched,
    ),
    (dynamodb("sweep", "read", "BatchGetItem").of_anybody(), Scenario::Unlaunched),
    (update("sweep", "postpone a run", "due_at = :until").part("state"), Scenario::Unlaunched),
    (launch_message("sweep", "send a launch"), Scenario::Unlaunched),
    (DESCRIBE, Scenario::Unheard),
    (update("sweep", "take back", "REMOVE sweeps"), Scenario::Unasked),
    (dynamodb("sweep", "find a run", "GetItem").part("state"), Scenario::Unheard),
    (dynamodb("sweep", "subscribers", "Query").says("begins_with(part"), Scenario::Unheard),
    (api_keys("sweep", "subscriber's key"), Scenario::Unheard),
    (dynamodb("sweep", "outcome", "PutItem"), Scenario::Unheard),
    (call("sweep", "PutEvents", "events", "PutEvents"), Scenario::Unheard),
    (
        dynamodb("sweep", "advance to the end", "TransactWriteItems").says(ADVANCE),
        Scenario::Unheard,
    ),
    (delivery_message("sweep", "send the news"), Scenario::Unheard),
    (update("sweep", "advance to running", ADVANCE), Scenario::Silent),
    (update("sweep", "confirm", "REMOVE due_at"), Scenario::Confirmed),
    (update("sweep", "postpone a delivery", "due_at = :until").part("delivery"), Scenario::Unsent),
    (delivery_message("sweep", "send a delivery"), Scenario::Unsent),
    (
        update("sweep", "postpone a question", "due_at = :until").part("question"),
        Scenario::Unhinted,
    ),
    (answer_message("sweep", "send an answer"), Scenario::Unhinted),
    (
        call("sweep", "PutMetricData", "cloudwatch", "PutMetricData").of_anybody(),
        Scenario::Unlaunched,
    ),
];

/// The calls that answer what a caller asks for besides.
pub(crate) const REQUESTS: &[(Call, Request)] = &[
    (dynamodb("read", "find", "GetItem"), Request::Monitor),
    (update("read", "take a slot", "held_until = :until").of_anybody(), Request::Held),
    (update("read", "free a slot", "REMOVE held_until").of_anybody(), Request::Held),
    (dynamodb("read", "results", "GetItem").part("output"), Request::Results),
    (dynamodb("read", "results: input", "GetItem").part("input"), Request::Results),
    (all_questions("read", "results: answered by"), Request::Results),
    (dynamodb("read", "list", "Query").says("user_id = :user_id"), Request::List),
    (dynamodb("read", "list: runs", "BatchGetItem").part("state"), Request::List),
    (dynamodb("read", "trouble", "Query").says("troubled_at BETWEEN"), Request::Trouble),
    (dynamodb("read", "trouble: runs", "BatchGetItem").part("state"), Request::Trouble),
    (dynamodb("read", "open", "Query").says("due_at <= :until").of_anybody(), Request::Open),
    (dynamodb("read", "open: runs", "BatchGetItem").part("state"), Request::Open),
    (dynamodb("read", "deliveries", "Query").part("delivery"), Request::Deliveries),
    (questions("read", "questions"), Request::Questions),
    (dynamodb("read", "queue position", "Query").says(LINE), Request::Waiting),
    (dynamodb("mcp", "queue position", "Query").says(LINE), Request::ToolWaiting),
    (dynamodb("read", "subscriptions", "Query").says(":owner AND begins"), Request::Subscriptions),
    (agents("read", "agents", "Query").of_anybody(), Request::Agents),
    (update("start", "take a slot", "held_until = :until").of_anybody(), Request::HeldStart),
    (update("start", "free a slot", "REMOVE held_until").of_anybody(), Request::HeldStart),
    (dynamodb("start", "watch", "GetItem").part("state"), Request::HeldStart),
    (dynamodb("start", "results", "GetItem").part("output"), Request::HeldStart),
    (dynamodb("start", "rerun: find", "GetItem").part("state"), Request::Rerun),
    (dynamodb("start", "rerun: input", "GetItem").part("input"), Request::Rerun),
    (dynamodb("read", "batch", "GetItem").part("batch").of_anybody(), Request::Batch),
    (dynamodb("mcp", "rerun: input", "GetItem").part("input"), Request::ToolRerun),
    (dynamodb("mcp", "batch: find", "GetItem").part("batch").of_anybody(), Request::ToolBatch),
    (
        dynamodb("mcp", "batch: create", "TransactWriteItems").says("has_callback"),
        Request::ToolBatch,
    ),
    (update("mcp", "batch: close", "SET #items"), Request::ToolBatch),
    (dynamodb("mcp", "batch: refuse", "TransactWriteItems").says("refusal"), Request::ToolBatch),
    (dynamodb("start", "batch: refuse", "TransactWriteItems").says("refusal"), Request::StartBatch),
    (dynamodb("start", "redeliver: find", "GetItem").part("state"), Request::Redeliver),
    (dynamodb("start", "redeliver: list", "Query").part("delivery"), Request::Redeliver),
    (dynamodb("start", "redeliver: read", "GetItem").part("delivery"), Request::Redeliver),
    (update("start", "redeliver: count", "rate#delivery#"), Request::Redeliver),
    (update("start", "redeliver: owe", "attempt_count = :zero"), Request::Redeliver),
    (delivery_message("start", "redeliver: send"), Request::Redeliver),
    (dynamodb("start", "subscribe", "TransactWriteItems").says("n < :most"), Request::Subscribe),
    (
        dynamodb("start", "unsubscribe", "TransactWriteItems").says("n :minus_one"),
        Request::Unsubscribe,
    ),
    (dynamodb("start", "test: list", "Query").says(":owner AND begins_with"), Request::Test),
    (update("start", "test: count", "rate#delivery#"), Request::Test),
    (dynamodb("start", "test: owe", "PutItem"), Request::Test),
    (delivery_message("start", "test: send"), Request::Test),
    (dynamodb("start", "generation", "GetItem").part("generation"), Request::Secret),
    (secret("start"), Request::Secret),
    (update("start", "rotate", "ADD generation"), Request::Rotate),
    (dynamodb("start", "own secret", "GetItem").part("sub"), Request::OwnSecret),
    (update("start", "rotate own", "SET signing.generation"), Request::RotateOwn),
    (update("start", "enable", "REMOVE disabled_at"), Request::Enable),
    (dynamodb("start", "recover: list", "Query").says("part > :after"), Request::Recover),
    (dynamodb("mcp", "find", "GetItem").part("state"), Request::EnvelopeMonitor),
    (dynamodb("mcp", "results", "GetItem").part("output"), Request::EnvelopeResults),
    (dynamodb("mcp", "results: input", "GetItem").part("input"), Request::EnvelopeResults),
    (all_questions("mcp", "results: answered by"), Request::EnvelopeResults),
    (agents("mcp", "agents", "Query").of_anybody(), Request::EnvelopeAgents),
    (update("mcp", "take a slot", "held_until = :until").of_anybody(), Request::ToolStart),
    (update("mcp", "free a slot", "REMOVE held_until").of_anybody(), Request::ToolStart),
    (dynamodb("mcp", "watch", "GetItem").part("state"), Request::ToolStart),
    (dynamodb("mcp", "list", "Query").says("user_id = :user_id"), Request::ToolList),
    (dynamodb("mcp", "list: runs", "BatchGetItem").part("state"), Request::ToolList),
    (dynamodb("mcp", "trouble", "Query").says("troubled_at BETWEEN"), Request::ToolTrouble),
    (dynamodb("mcp", "trouble: runs", "BatchGetItem").part("state"), Request::ToolTrouble),
    (questions("mcp", "questions"), Request::ToolQuestions),
];
