//! What is overdue by the thousand is looked after in a bounded time, each kind beside the others,
//! and what cannot be looked after stands in nobody's way.
//!
//! The real binary of the sweep works on a table and queues of its own, which nobody else empties.

use std::{
    collections::HashMap,
    env,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::types::{BillingMode, GlobalSecondaryIndex, PutRequest, WriteRequest};
use aws_sdk_sqs::types::QueueAttributeName;
use e2e::{Stack, eventually};
use relay::{
    domain::{
        debt::{Debt, DebtKind},
        id::ExecutionId,
        time::Timestamp,
    },
    store::{
        due::{Due, End},
        item::to_item,
    },
};
use serde_json::{Value, json};
use tokio::process::Command;
use ulid::Ulid;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path_regex},
};

const HOUR: Duration = Duration::from_hours(1);

/// A table and queues as the stack's, and the sweep that works on them.
struct World {
    stack: Stack,
    table: String,
    launch_queue: String,
    webhook_queue: String,
    variables: HashMap<String, String>,
}

impl World {
    async fn new(budget: u32) -> Self {
        let stack = Stack::connect().await;
        let name = format!("backlog-{}", Ulid::generate());
        let model = stack.dynamodb.describe_table().table_name(stack.output("ExecutionsTable"));
        let model = model.send().await.unwrap().table.unwrap();
        let indexes = model.global_secondary_indexes.unwrap().into_iter().map(|index| {
            GlobalSecondaryIndex::builder()
                .set_index_name(index.index_name)
                .set_key_schema(index.key_schema)
                .set_projection(index.projection)
                .build()
                .unwrap()
        });
        stack
            .dynamodb
            .create_table()
            .table_name(&name)
            .set_key_schema(model.key_schema)
            .set_attribute_definitions(model.attribute_definitions)
            .set_global_secondary_indexes(Some(indexes.collect()))
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await
            .unwrap();
        let queue = async |kind: &str| {
            let queue = stack.sqs.create_queue().queue_name(format!("{name}-{kind}"));
            queue.send().await.unwrap().queue_url.unwrap()
        };
        let (launch_queue, webhook_queue) = (queue("launch").await, queue("webhook").await);
        let lambda = aws_sdk_lambda::Client::new(&stack.aws);
        let sweep =
            lambda.get_function_configuration().function_name(stack.output("SweepFunctionName"));
        let sweep = sweep.send().await.unwrap().environment.unwrap();
        let mut variables = sweep.variables.unwrap();
        for (name, value) in [
            ("EXECUTIONS_TABLE", name.as_str()),
            ("LAUNCH_QUEUE_URL", &launch_queue),
            ("WEBHOOK_QUEUE_URL", &webhook_queue),
            ("LAUNCH_OVERDUE_SECONDS", "3600"),
            ("DELIVERY_OVERDUE_SECONDS", "3600"),
            ("NEWS_OVERDUE_SECONDS", "3600"),
            ("DESCRIBE_BUDGET", &budget.to_string()),
        ] {
            variables.insert(name.to_owned(), value.to_owned());
        }
        Self { stack, table: name, launch_queue, webhook_queue, variables }
    }

    /// Has one sweep done by the binary, and returns its answer.
    async fn sweep(&self) -> Value {
        let api = MockServer::start().await;
        let event = ResponseTemplate::new(200)
            .insert_header("lambda-runtime-aws-request-id", "1")
            .insert_header("lambda-runtime-deadline-ms", "9999999999999")
            .insert_header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:x:1:function:x")
            .set_body_string("{}");
        let next = || Mock::given(method("GET")).and(path_regex("/invocation/next$"));
        next().respond_with(event.clone()).up_to_n_times(1).mount(&api).await;
        next().respond_with(event.set_delay(HOUR)).mount(&api).await;
        let taken = ResponseTemplate::new(202);
        Mock::given(method("POST")).respond_with(taken).mount(&api).await;

        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let binary = root.parent().unwrap().join("target/lambda/sweep/bootstrap");
        let mut process = Command::new(binary)
            .envs(&self.variables)
            .env("AWS_ENDPOINT_URL", env::var("AWS_ENDPOINT_URL").unwrap())
            .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "sweep")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let answer = eventually("the sweep's answer", async || {
            let requests = api.received_requests().await.unwrap();
            let answer = requests.into_iter().find(|it| it.method.as_str() == "POST")?;
            Some((answer.url.path().to_owned(), answer.body))
        })
        .await;
        process.kill().await.unwrap();
        let body = serde_json::from_slice(&answer.1).unwrap();
        assert!(answer.0.ends_with("/response"), "{body}");
        body
    }

    async fn put(&self, rows: Vec<Value>) {
        for rows in rows.chunks(25) {
            let requests = rows.iter().map(|row| {
                let put = PutRequest::builder().set_item(Some(to_item(row).unwrap()));
                WriteRequest::builder().put_request(put.build().unwrap()).build()
            });
            let write = self.stack.dynamodb.batch_write_item();
            let write = write.request_items(&self.table, requests.collect());
            let written = write.send().await.unwrap();
            assert!(written.unprocessed_items.unwrap_or_default().is_empty());
        }
    }

    /// What is overdue of this kind.
    async fn overdue(&self, debts: impl IntoIterator<Item = Debt>) -> usize {
        let due = Due::new(self.stack.dynamodb.clone(), self.table.clone());
        let mut sum = 0;
        for debt in debts {
            let mut after = None;
            loop {
                let now = Timestamp::now();
                let page = due.overdue(&debt, now, End::Oldest, after).await.unwrap();
                sum += page.items.len();
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        sum
    }

    async fn messages(&self, queue: &str) -> usize {
        let name = QueueAttributeName::ApproximateNumberOfMessages;
        let read = self.stack.sqs.get_queue_attributes().queue_url(queue);
        let read = read.attribute_names(name.clone()).send().await.unwrap();
        read.attributes.unwrap()[&name].parse().unwrap()
    }

    async fn row(&self, row: &Value) -> Value {
        let key = json!({"execution_id": row["execution_id"], "part": row["part"]});
        let read = self.stack.dynamodb.get_item().table_name(&self.table);
        let read = read.set_key(Some(to_item(&key).unwrap())).consistent_read(true);
        relay::store::item::from_item(read.send().await.unwrap().item.unwrap()).unwrap()
    }
}

fn new_id() -> ExecutionId {
    format!("mcp-load-{}", Ulid::generate()).parse().unwrap()
}

/// A run that has been overdue for so many seconds.
fn run(kind: DebtKind, seconds: u64) -> Value {
    let id = new_id();
    let now = Timestamp::now();
    let (status, rank) = if kind == DebtKind::Launch { ("queued", 0) } else { ("running", 20) };
    let mut row = json!({
        "execution_id": id, "part": "state", "user_id": "someone", "agent_name": "load",
        "state_machine_arn": "arn:aws:states:us-east-1:000000000000:stateMachine:load",
        "status": status, "redrive_count": 0, "rank": rank, "sequence": 0, "created_at": now, "updated_at": now,
        "launch_before": now.plus(HOUR), "debt": Debt::of(kind, &id),
        "due_at": now.minus(Duration::from_secs(seconds)),
    });
    if kind == DebtKind::Poll {
        // So long that it is not known to run.
        for name in ["claimed_at", "started_at", "updated_at"] {
            row[name] = json!(now.minus(HOUR * 2));
        }
    }
    row
}

fn delivery(seconds: u64) -> Value {
    let id = new_id();
    json!({
        "execution_id": id, "part": "delivery#completed#0#callback", "user_id": "someone",
        "debt": Debt::of(DebtKind::Delivery, &id),
        "due_at": Timestamp::now().minus(Duration::from_secs(seconds)),
    })
}

fn question(seconds: u64) -> Value {
    let id = new_id();
    json!({
        "execution_id": id, "part": format!("question#{}", "0a".repeat(16)), "user_id": "someone",
        "question_id": "0a".repeat(16), "debt": Debt::of(DebtKind::Answer, &id),
        "due_at": Timestamp::now().minus(Duration::from_secs(seconds)),
    })
}

/// As a version to come has written it.
fn unreadable(mut row: Value, sweeps: u32) -> Value {
    for name in ["status", "leased_until", "question_id"] {
        row[name] = json!({"of": "a version to come"});
    }
    row["due_at"] = json!(1);
    row["sweeps"] = json!(sweeps);
    row
}

/// `count` of each, among which these are in everybody's way.
async fn drain(count: usize, budget: u32) {
    let world = World::new(budget).await;
    let seconds = |at: usize| u64::try_from(at).unwrap() + 1;
    let mut rows = Vec::new();
    for at in 0..count {
        rows.extend([
            run(DebtKind::Launch, seconds(at)),
            run(DebtKind::Poll, seconds(at)),
            delivery(seconds(at)),
        ]);
    }
    let answers = count / 100;
    rows.extend((0..answers).map(|at| question(seconds(at))));
    let poisoned = [
        unreadable(run(DebtKind::Launch, 1), 0),
        unreadable(run(DebtKind::Poll, 1), 0),
        unreadable(delivery(1), 0),
        unreadable(question(1), 0),
        json!({"execution_id": "no id of ours", "part": "what?", "debt": "launch#0", "due_at": 1}),
    ];
    let worn = unreadable(run(DebtKind::Poll, 1), 20);
    rows.extend(poisoned.iter().cloned().chain([worn.clone()]));
    let all = rows.len();
    world.put(rows).await;

    let start = Instant::now();
    let (mut put_off, mut failed, mut given_up, mut sweeps) = (0, 0, 0, 0);
    loop {
        let swept = world.sweep().await;
        let number = |name: &str| swept[name].as_u64().unwrap();
        sweeps += 1;
        put_off += number("put_off");
        failed += number("failed");
        given_up += number("given_up");
        println!("after {:>3} s: {swept}", start.elapsed().as_secs());
        if number("backlog") == 0 {
            break;
        }
        assert!(sweeps < 20, "{swept}");
    }
    let took = start.elapsed();
    println!(
        "{all} overdue items were looked after in {sweeps} sweeps, {:.0} s",
        took.as_secs_f64()
    );

    let keys = DebtKind::ALL.into_iter().flat_map(DebtKind::keys);
    assert_eq!(world.overdue(keys).await, 0);
    assert_eq!(world.messages(&world.launch_queue).await, count + answers);
    assert_eq!(world.messages(&world.webhook_queue).await, count);
    // All runs were asked about or put off, and none is counted as tried that was not.
    let budget = usize::try_from(budget).unwrap();
    let asked = budget - budget / 8;
    assert!(usize::try_from(put_off).unwrap() >= count.saturating_sub(sweeps * asked), "{put_off}");
    // Each was put off, tried once, and is to be seen; the worn one is where an operator finds it.
    assert_eq!((failed, given_up), (poisoned.len().try_into().unwrap(), 1));
    for row in &poisoned {
        let stored = world.row(row).await;
        assert_eq!(stored["sweeps"], 1, "{stored}");
        assert!(stored["due_at"].as_i64() > Some(Timestamp::now().millis()), "{stored}");
    }
    assert_eq!(world.row(&worn).await["dead_reason"], "it cannot be read");
    assert_eq!(world.overdue([Debt::dead()]).await, 1);
    let delete = world.stack.dynamodb.delete_table().table_name(&world.table);
    delete.send().await.unwrap();
}

#[tokio::test]
async fn no_kind_waits_for_another_and_poison_is_passed_by() {
    drain(150, 16).await;
}

#[cfg(feature = "all")]
#[tokio::test]
async fn ten_thousand_overdue_items_are_looked_after() {
    drain(3_330, 400).await;
}
