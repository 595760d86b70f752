//! What may happen to messages: lost, doubled, in another order, late, in each queue and behind
//! the rule of the status events.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use aws_sdk_eventbridge::types::Target;
use aws_sdk_sqs::types::QueueAttributeName::QueueArn;
use e2e::{Stack, eventually, receiver::Receiver};
use futures_util::{StreamExt, future::join_all, stream};
use serde_json::Value;
use ulid::Ulid;

use crate::{
    SIDE_BY_SIDE, alone,
    calls::Scenario,
    mapping::Mapping,
    print, print_head,
    run::{Run, executions, settle},
};

/// The runs of each row.
const RUNS: [Scenario; 3] = [Scenario::Completes, Scenario::Fails, Scenario::Completes];

/// How late a late message comes, in seconds.
const DELAY: i32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Launch,
    Events,
    Deliveries,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Deleted,
    Doubled,
    Shuffled,
    Delayed,
}

const CHANNELS: [Channel; 3] = [Channel::Launch, Channel::Events, Channel::Deliveries];
const WAYS: [Way; 4] = [Way::Deleted, Way::Doubled, Way::Shuffled, Way::Delayed];

struct Row {
    channel: Channel,
    way: Way,
    run: Run,
}

/// What happens to a message of this channel: it is about one of the rows.
fn way(rows: &[Row], channel: Channel, message: &str) -> Option<Way> {
    let row = rows.iter().find(|row| message.contains(&row.run.agent))?;
    (row.channel == channel).then_some(row.way)
}

/// A queue whose messages pile up.
pub(crate) struct Pile<'a> {
    stack: &'a Stack,
    url: String,
}

impl Pile<'_> {
    /// Takes messages out until `enough` says so.
    pub(crate) async fn take(&self, what: &str, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        let taken = std::sync::Mutex::new(Vec::new());
        eventually(what, async || {
            let receive = self.stack.sqs.receive_message().queue_url(&self.url);
            let received = receive.max_number_of_messages(10).send().await.unwrap();
            for message in received.messages.unwrap_or_default() {
                let delete = self.stack.sqs.delete_message().queue_url(&self.url);
                let receipt = message.receipt_handle.unwrap();
                delete.receipt_handle(receipt).send().await.unwrap();
                taken.lock().unwrap().push(message.body.unwrap());
            }
            enough(&taken.lock().unwrap()).then_some(())
        })
        .await;
        taken.into_inner().unwrap()
    }

    /// Puts them back, each in its row's way.
    async fn give_back(&self, rows: &[Row], channel: Channel, messages: Vec<String>) {
        let mut order = VecDeque::new();
        for message in messages {
            match way(rows, channel, &message) {
                Some(Way::Deleted) => {}
                Some(Way::Doubled) => order.extend([(message.clone(), 0), (message, 0)]),
                Some(Way::Shuffled) => order.push_front((message, 0)),
                Some(Way::Delayed) => order.push_back((message, DELAY)),
                None => order.push_back((message, 0)),
            }
        }
        for (message, delay) in order {
            let send = self.stack.sqs.send_message().queue_url(&self.url).message_body(message);
            send.delay_seconds(delay).send().await.unwrap();
        }
    }
}

/// Events of a bus that go to a queue of ours, too.
pub(crate) struct Copies<'a> {
    pub(crate) pile: Pile<'a>,
    client: aws_sdk_eventbridge::Client,
    bus: String,
    name: String,
}

impl<'a> Copies<'a> {
    pub(crate) async fn begin(stack: &'a Stack, bus: &str, pattern: String) -> Self {
        let (name, bus) = (format!("copies-{}", Ulid::generate()), bus.to_owned());
        let url = stack.sqs.create_queue().queue_name(&name).send().await.unwrap();
        let url = url.queue_url.unwrap();
        let attributes = stack.sqs.get_queue_attributes().queue_url(&url).attribute_names(QueueArn);
        let arn = attributes.send().await.unwrap().attributes.unwrap()[&QueueArn].clone();
        let client = aws_sdk_eventbridge::Client::new(&stack.aws);
        let rule = client.put_rule().event_bus_name(&bus).name(&name).event_pattern(pattern);
        rule.send().await.unwrap();
        let target = Target::builder().id("queue").arn(arn).build().unwrap();
        let targets = client.put_targets().event_bus_name(&bus).rule(&name).targets(target);
        targets.send().await.unwrap();
        Self { pile: Pile { stack, url }, client, bus, name }
    }

    pub(crate) async fn end(self) {
        let targets = self.client.remove_targets().event_bus_name(&self.bus).rule(&self.name);
        targets.ids("queue").send().await.unwrap();
        let rule = self.client.delete_rule().event_bus_name(self.bus).name(self.name);
        rule.send().await.unwrap();
    }
}

/// The rule of the status events, turned off; they go to a queue of ours instead.
struct Detour<'a> {
    copies: Copies<'a>,
    rule: String,
}

impl<'a> Detour<'a> {
    async fn begin(stack: &'a Stack) -> Self {
        let client = aws_sdk_eventbridge::Client::new(&stack.aws);
        let rule = stack.output("EventRuleName").to_owned();
        let pattern = client.describe_rule().name(&rule).send().await.unwrap().event_pattern;
        let copies = Copies::begin(stack, "default", pattern.unwrap()).await;
        client.disable_rule().name(&rule).send().await.unwrap();
        Self { copies, rule }
    }

    async fn end(self) {
        self.copies.client.enable_rule().name(self.rule).send().await.unwrap();
        self.copies.end().await;
    }
}

/// Hands events to the status function; returns those that are late.
async fn hand_over(stack: &Stack, rows: &[Row], events: Vec<String>) -> Vec<Value> {
    let (mut late, mut order) = (Vec::new(), VecDeque::new());
    for event in events {
        let way = way(rows, Channel::Events, &event);
        let event: Value = serde_json::from_str(&event).unwrap();
        match way {
            Some(Way::Deleted) => {}
            Some(Way::Doubled) => order.extend([event.clone(), event]),
            Some(Way::Shuffled) => order.push_front(event),
            Some(Way::Delayed) => late.push(event),
            None => order.push_back(event),
        }
    }
    // A few side by side, as EventBridge does; those that are shuffled come last first.
    let invoked = stream::iter(order)
        .map(|event| async move { stack.invoke("StatusFunctionName", &event).await });
    for answer in invoked.buffered(4).collect::<Vec<_>>().await {
        answer.unwrap();
    }
    late
}

#[tokio::test]
async fn messages_may_be_lost_doubled_shuffled_and_late() {
    alone(async |stack| {
        let [launch, webhook] = [
            Mapping::of(stack, "LaunchFunctionName").await,
            Mapping::of(stack, "WebhookFunctionName").await,
        ];
        let receiver = Arc::new(Receiver::start().await);
        let mut rows = Vec::new();
        for (channel, way) in CHANNELS.into_iter().flat_map(|it| WAYS.map(|way| (it, way))) {
            for scenario in RUNS {
                let run = Run::new(stack, scenario, &receiver).await;
                rows.push(Row { channel, way, run });
            }
        }
        launch.enable(false).await;
        webhook.enable(false).await;
        let detour = Detour::begin(stack).await;

        let starts = rows.iter_mut().map(|row| row.run.start());
        stream::iter(starts).buffer_unordered(SIDE_BY_SIDE).collect::<()>().await;
        let queue = Pile { stack, url: stack.output("LaunchQueueUrl").to_owned() };
        let of_rows = |messages: &[String]| {
            rows.iter().filter(|row| messages.iter().any(|it| it.contains(&row.run.agent))).count()
        };
        let messages = queue.take("launch messages", |taken| of_rows(taken) == rows.len()).await;
        queue.give_back(&rows, Channel::Launch, messages).await;
        launch.enable(true).await;

        let is = |row: &&Row, channel, way| row.channel == channel && row.way == way;
        let launched: Vec<_> =
            rows.iter().filter(|row| !is(row, Channel::Launch, Way::Deleted)).collect();
        let has_ended = |events: &[String], row: &Row| {
            let end = row.run.scenario.said().unwrap();
            events.iter().any(|it| it.contains(&row.run.agent) && it.contains(end))
        };
        let events = detour
            .copies
            .pile
            .take("status events", |events| launched.iter().all(|row| has_ended(events, row)))
            .await;
        detour.end().await;
        let late = hand_over(stack, &rows, events).await;

        let told = launched.iter().filter(|row| {
            !is(row, Channel::Events, Way::Deleted) && !is(row, Channel::Events, Way::Delayed)
        });
        let told = told.count();
        let queue = Pile { stack, url: stack.output("WebhookQueueUrl").to_owned() };
        let messages = queue.take("delivery messages", |taken| of_rows(taken) == told).await;
        queue.give_back(&rows, Channel::Deliveries, messages).await;
        webhook.enable(true).await;
        let mut runs: Vec<_> = rows.iter_mut().map(|row| &mut row.run).collect();
        settle(stack, &mut runs, Duration::from_secs(6)).await;

        let parts = async || {
            let ids =
                rows.iter().map(|row| async { (&row.run.id, stack.parts(&row.run.id).await) });
            join_all(ids).await.into_iter().collect::<HashMap<_, _>>()
        };
        let before = parts().await;
        assert!(!late.is_empty());
        for event in late {
            stack.invoke("StatusFunctionName", &event).await.unwrap();
        }
        assert_eq!(parts().await, before, "a late event changes nothing");

        let executions = executions(stack).await;
        let mut bad = 0;
        print_head();
        for row in &rows {
            let wrong = row.run.wrong(&executions).await;
            bad += usize::from(!wrong.is_empty());
            let [channel, way] = [format!("{:?}", row.channel), format!("{:?}", row.way)]
                .map(|it| it.to_lowercase());
            let scenario = format!("{:?}", row.run.scenario).to_lowercase();
            print([&channel, "", &way], &scenario, &row.run, &wrong).await;
        }
        assert_eq!(bad, 0, "runs with something wrong");
    })
    .await;
}
