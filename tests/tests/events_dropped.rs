//! Every status event dropped: runs still end as Step Functions says. Runs alone, since it turns
//! the rule off.

use aws_sdk_eventbridge::Client;
use e2e::{Stack, eventually, receiver::Receiver};
use futures_util::future::join_all;
use serde_json::json;

#[tokio::test]
async fn runs_end_although_no_event_arrives() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let receiver = Receiver::start().await;
    let rule = stack.output("EventRuleName");
    let events = Client::new(&stack.aws);
    let agents = ["echo", "fail", "echo", "assistant"];

    events.disable_rule().name(rule).send().await.unwrap();
    let ids = join_all(agents.iter().map(|agent| {
        let body =
            json!({"agent_name": agent, "input_message": "x", "callback_url": receiver.url()});
        let user = &user;
        async move { user.start(&body).await }
    }))
    .await;
    for id in &ids {
        let execution = eventually("the launch", async || {
            let found = stack
                .executions()
                .find(&e2e::id(id), relay::store::executions::Consistency::Strong)
                .await;
            found.unwrap().filter(|execution| execution.started_at.is_some())
        })
        .await;
        eventually("the end in Step Functions", async || {
            let arn = execution.execution_arn();
            let described =
                stack.step_functions.describe_execution().execution_arn(arn).send().await.unwrap();
            described.stop_date.map(|_| ())
        })
        .await;
        assert_eq!(user.monitor(id).await.text("status"), "running", "nobody has told us");
    }
    events.enable_rule().name(rule).send().await.unwrap();

    for (id, agent) in ids.iter().zip(agents) {
        let end = if agent == "fail" { "failed" } else { "completed" };
        stack
            .sweep_until("the end by asking", async || {
                (user.monitor(id).await.text("status") == end).then_some(())
            })
            .await;
    }
    assert_eq!(receiver.wait_for(ids.len()).await.len(), ids.len());
}
