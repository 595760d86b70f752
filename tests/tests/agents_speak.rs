//! What agents say of themselves while they run: their progress, and what they ask.

use std::time::Duration;

use e2e::{
    Answer, Stack, User, eventually, id,
    receiver::{Received, Receiver},
};
use relay::{
    domain::{caller::Actor, json::Json, question::Answer as AgentAnswer, time::Timestamp},
    store::{batch::Consistency, write::Step},
};
use reqwest::Method;
use serde_json::{Value, json};
use ulid::Ulid;

const PROGRESS: &str = "Agent Progress";
const INPUT_REQUIRED: &str = "Agent Input Required";
const EVERYTHING: &[&str] = &["execute:*", "view:*", "cancel:*"];

/// Has the status function take an agent's event at once, as EventBridge would hand it over.
async fn hand_over(stack: &Stack, kind: &str, detail: &Value) -> Result<Value, Value> {
    let event = json!({"source": "agent", "detail-type": kind, "detail": detail});
    stack.invoke("StatusFunctionName", &event).await
}

async fn input(user: &User, run: &str, body: &Value) -> Answer {
    user.send(Method::POST, &format!("/v1/executions/{run}/input"), &[], body.to_string()).await
}

async fn arn(stack: &Stack, run: &str) -> String {
    stack.executions().find(&id(run), Consistency::Strong).await.unwrap().unwrap().execution_arn()
}

/// A run of the agent `slow`, whose progress and questions are the test's own.
async fn slow(user: &User, more: Value) -> String {
    let mut body = json!({"agent_name": "slow", "input_message": "x"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let run = user.start(&body).await;
    user.wait_for(&run, "running").await;
    run
}

/// Text that was cut to its first characters may end within one, which JSON can say and UTF-8 not.
#[tokio::test]
async fn half_a_character_in_what_an_agent_says_does_not_lose_the_rest() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let run = slow(&user, json!({})).await;
    let arn = arn(&stack, &run).await;
    let event = format!(
        r#"{{"source": "agent", "detail-type": "{PROGRESS}", "detail": {{
            "execution_name": "{run}", "percent": 7, "message": "Reading \ud83d"}}}}"#
    );

    stack.invoke_with("StatusFunctionName", event).await.unwrap();
    assert_eq!(user.monitor(&run).await.text("message"), "Reading \u{fffd}");

    let event = format!(
        r#"{{"detail": {{"executionArn": "{arn}", "name": "{run}", "status": "FAILED",
            "error": "Odd", "cause": "\ude00 was said"}}}}"#
    );
    stack.invoke_with("StatusFunctionName", event).await.unwrap();
    let error = user.results(&run).await.body["error"].clone();
    assert_eq!(error, json!({"code": "Odd", "cause": "\u{fffd} was said"}));
    stack.step_functions.stop_execution().execution_arn(arn).send().await.unwrap();
}

#[tokio::test]
async fn an_agents_progress_is_seen_and_called_back() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let run = user
        .start(&json!({
            "agent_name": "progress", "input_message": "x", "callback_url": receiver.url(),
            "callback_events": ["execution.progress", "execution.completed"],
        }))
        .await;

    let seen = eventually("some progress", async || {
        let answer = user.monitor(&run).await;
        (answer.body["progress"] == 50).then_some(answer)
    })
    .await;
    assert_eq!((seen.text("status"), seen.text("message")), ("running".into(), "Thinking".into()));
    let ended = user.wait_for(&run, "completed").await;
    assert_eq!(
        (&ended.body["progress"], ended.text("message")),
        (&json!(100), "Agent has completed".into())
    );

    let received = receiver.wait_for(4).await;
    let mut steps: Vec<_> = received
        .iter()
        .map(Received::body)
        .filter(|body| body["type"] == "execution.progress")
        .map(|body| body["data"].clone())
        .collect();
    steps.sort_by_key(|data| data["progress"].as_u64());
    let step = |progress, message| json!({"execution_id": run, "agent_name": "progress", "status": "running", "progress": progress, "message": message});
    assert_eq!(steps, [step(25, "Reading"), step(50, "Thinking"), step(75, "Writing")]);
}

#[tokio::test]
async fn an_approval_is_asked_answered_once_and_its_result_read() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let other = stack.user(EVERYTHING).await;
    let viewer = User { key: stack.key(&user.id, &["view:*"], json!({})).await, ..user.clone() };
    let receiver = Receiver::start().await;
    let run = user
        .start(&json!({
            "agent_name": "approval", "input_message": "Send the report.", "callback_url": receiver.url(),
            "callback_events": ["execution.input_required", "execution.completed"],
        }))
        .await;

    let asking = user.wait_for(&run, "input_required").await;
    let question = asking.body["questions"][0].clone();
    assert_eq!(asking.body["questions"].as_array().unwrap().len(), 1);
    assert_eq!(question["question"], "Shall this be done? Send the report.");
    assert_eq!(question["schema"]["required"], json!(["approved"]));
    assert!(question["asked_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(asking.text("message"), "Agent waits for an answer");
    assert_eq!(user.results(&run).await.text("status"), "input_required");
    let told = receiver.wait_for(1).await[0].body();
    assert_eq!(told["type"], "execution.input_required");
    assert_eq!(
        told["data"],
        json!({"execution_id": run, "agent_name": "approval", "status": "input_required", "questions": [question]})
    );
    let listed = async |status: &str| {
        let list = user.get(&format!("/v1/executions?status={status}")).await;
        list.body["executions"].as_array().unwrap().len()
    };
    assert_eq!((listed("input_required").await, listed("running").await), (1, 0));

    let yes = json!({"answer": {"approved": true, "comment": "of course"}});
    assert_eq!(input(&other, &run, &yes).await.status, 404);
    assert_eq!(input(&viewer, &run, &yes).await.status, 403);
    for (wrong, field) in [
        (json!({"answer": {"approved": "yes"}}), "answer.approved"),
        (json!({"answer": {}}), "answer"),
        (json!({"answer": null}), "answer"),
        (json!({}), "answer"),
        (json!({"answer": true, "surprise": 1}), "surprise"),
    ] {
        let refused = input(&user, &run, &wrong).await;
        assert_eq!((refused.status, refused.text("field").as_str()), (422, field), "{refused:?}");
    }
    let unknown = json!({"answer": {"approved": true}, "question_id": "0".repeat(32)});
    assert_eq!(input(&user, &run, &unknown).await.status, 404);

    let answered = input(&user, &run, &yes).await;
    assert_eq!(
        (answered.status, answered.body),
        (202, json!({"execution_id": run, "question_id": question["id"], "status": "answered"}))
    );
    assert_eq!(input(&user, &run, &yes).await.status, 202, "the same again is harmless");
    let no = json!({"answer": {"approved": false}, "question_id": question["id"]});
    assert_eq!(input(&user, &run, &no).await.status, 409);

    user.wait_for(&run, "completed").await;
    assert_eq!(user.results(&run).await.body["result"], "Approved: of course");
    assert_eq!(input(&user, &run, &yes).await.status, 202);
    assert_eq!(input(&user, &run, &no).await.status, 409);
    assert_eq!(receiver.wait_for(2).await[1].body()["type"], "execution.completed");
}

#[tokio::test]
async fn progress_goes_forward_only_while_the_run_runs() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let run = slow(
        &user,
        json!({"callback_url": receiver.url(), "callback_events": ["execution.progress"]}),
    )
    .await;
    let arn = arn(&stack, &run).await;
    let report = async |detail: Value| hand_over(&stack, PROGRESS, &detail).await;
    let shown = async || {
        let answer = user.monitor(&run).await;
        (answer.body["progress"].as_u64(), answer.text("message"))
    };

    report(json!({"execution_name": run, "percent": 40, "message": "Reading"})).await.unwrap();
    for unchanged in [
        json!({"execution_name": run, "percent": 40, "message": "Reading"}),
        json!({"execution_arn": arn, "percent": 40, "message": "Again"}),
        json!({"execution_name": arn, "percent": 20, "message": "Late"}),
        json!({"execution_name": foreign(&run), "percent": 90}),
        json!({"execution_name": "mcp-nobody-1", "percent": 90}),
        json!({"execution_name": "slow", "percent": 90}),
    ] {
        report(unchanged).await.unwrap();
        assert_eq!(shown().await, (Some(40), "Reading".to_owned()));
    }
    for malformed in [
        json!({"execution_name": run, "percent": 101}),
        json!({"execution_name": run}),
        json!({"execution_name": run, "percent": 50, "message": "x".repeat(501)}),
    ] {
        let error = report(malformed).await.unwrap_err();
        assert_eq!(error["errorMessage"], "cannot read an agent's event");
    }
    // A redrive that Step Functions does not know of is none.
    let error = report(json!({"execution_name": run, "percent": 50, "redrive_count": 1})).await;
    assert_eq!(error.unwrap_err()["errorType"], "Busy");
    report(json!({"execution_name": run, "percent": 100, "redrive_count": 0})).await.unwrap();
    assert_eq!(shown().await, (Some(99), "Agent is running".to_owned()));

    let received = receiver.wait_for(2).await;
    assert_ne!(received[0].header("webhook-id"), received[1].header("webhook-id"));
    let parts = stack.parts(&run).await;
    assert_eq!(parts.keys().filter(|part| part.starts_with("delivery#")).count(), 2);

    user.send(Method::POST, &format!("/v1/executions/{run}/cancel"), &[], "").await;
    let ended = user.wait_for(&run, "cancelled").await;
    report(json!({"execution_name": run, "percent": 100, "message": "Too late"})).await.unwrap();
    let after = user.monitor(&run).await;
    assert_eq!(after.body, ended.body);
}

#[tokio::test]
async fn a_question_is_asked_once_by_its_own_run_and_closed_by_its_end() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let run = slow(&user, json!({})).await;
    let token = format!("token-{}", Ulid::generate());
    let ask = async |changes: Value| {
        let mut detail = question(&arn(&stack, &run).await, &token);
        detail.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        hand_over(&stack, INPUT_REQUIRED, &detail).await
    };
    let another = foreign(&run);

    ask(json!({"execution_arn": another})).await.unwrap();
    assert_eq!(user.monitor(&run).await.text("status"), "running");
    assert_eq!(input(&user, &run, &json!({"answer": 1})).await.status, 409, "nothing is asked");
    for bad in [
        json!({"schema": {"type": "nonsense"}}),
        json!({"question": ""}),
        json!({"task_token": ""}),
    ] {
        let error = ask(bad).await.unwrap_err();
        assert_eq!(error["errorMessage"], "cannot read an agent's event");
    }

    ask(json!({})).await.unwrap();
    let asking = user.monitor(&run).await;
    // Repeated, and after a RUNNING that came late: it is the same question still.
    ask(json!({})).await.unwrap();
    let late = json!({"detail": {"executionArn": arn(&stack, &run).await, "name": run, "status": "RUNNING"}});
    stack.invoke("StatusFunctionName", &late).await.unwrap();
    hand_over(&stack, PROGRESS, &json!({"execution_name": run, "percent": 10})).await.unwrap();
    let again = user.monitor(&run).await;
    assert_eq!(
        (again.text("status"), &again.body["questions"]),
        ("input_required".into(), &asking.body["questions"])
    );

    let parts = stack.parts(&run).await;
    let part = parts.keys().find(|part| part.starts_with("question#")).unwrap().clone();
    assert_eq!(parts[&part]["task_token"], token);
    for shown in [
        user.monitor(&run).await.body,
        user.results(&run).await.body,
        user.get(&format!("/v1/executions/{run}/deliveries")).await.body,
        user.get("/v1/executions").await.body,
    ] {
        assert!(!shown.to_string().contains(&token));
    }

    user.send(Method::POST, &format!("/v1/executions/{run}/cancel"), &[], "").await;
    user.wait_for(&run, "cancelled").await;
    let closed = &stack.parts(&run).await[&part];
    assert_eq!(closed["state"], "closed");
    assert!(closed.get("task_token").is_none() && closed.get("schema").is_none());
    assert!(stack.parts(&run).await["state"].get("open_questions").is_none());
    let question_id = &asking.body["questions"][0]["id"];
    let refused =
        input(&user, &run, &json!({"answer": {"approved": true}, "question_id": question_id}))
            .await;
    assert_eq!(
        (refused.status, refused.text("detail").as_str()),
        (409, "the agent no longer asks this question")
    );
    ask(json!({"task_token": "another"})).await.unwrap();
    assert_eq!(user.monitor(&run).await.text("status"), "cancelled");
}

#[tokio::test]
async fn several_questions_are_answered_one_by_one_and_an_answer_without_its_hint_by_the_sweep() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let agent = two_questions(&stack).await;
    let run = user.start(&json!({"agent_name": agent, "input_message": "x"})).await;
    let asked = eventually("both questions", async || {
        let answer = user.monitor(&run).await;
        let questions = answer.body["questions"].as_array().cloned().unwrap_or_default();
        (questions.len() == 2).then_some(questions)
    })
    .await;

    let unclear = input(&user, &run, &json!({"answer": 1})).await;
    assert_eq!((unclear.status, unclear.text("field").as_str()), (422, "question_id"));
    let first = json!({"answer": asked[0]["question"], "question_id": asked[0]["id"]});
    assert_eq!(input(&user, &run, &first).await.status, 202);
    let left = user.monitor(&run).await;
    assert_eq!(left.text("status"), "input_required");
    assert_eq!(left.body["questions"], json!([asked[1]]));

    // The second is stored, and its hint lost.
    let question = asked[1]["id"].as_str().unwrap().parse().unwrap();
    let answer = AgentAnswer::new(Json::of(&asked[1]["question"])).unwrap();
    let actor = Actor { user_id: user.id.clone().into(), key_id: "ab12cd34".to_owned() };
    let stored = stack
        .executions()
        .answer(&id(&run), &question, &answer, &actor.into(), Timestamp::now())
        .await;
    assert_eq!(stored.unwrap(), Step::Applied);
    assert_eq!(user.monitor(&run).await.text("status"), "running", "none is open any more");

    stack
        .sweep_until("the run to complete", async || {
            (user.monitor(&run).await.text("status") == "completed").then_some(())
        })
        .await;
    assert_eq!(user.results(&run).await.body["result"], json!(["Left?", "Right?"]));
    for part in
        stack.parts(&run).await.into_iter().filter(|(name, _)| name.starts_with("question#"))
    {
        assert!(part.1.get("due_at").is_none() && part.1.get("task_token").is_none(), "{part:?}");
        assert!(part.1.get("answer").is_none() && part.1["answer_hash"].is_string(), "{part:?}");
    }
}

#[tokio::test]
async fn an_answer_that_the_agent_waits_for_no_more_lapses_visibly() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let run = slow(&user, json!({})).await;
    let arn = arn(&stack, &run).await;
    // Step Functions knows no such token.
    hand_over(&stack, INPUT_REQUIRED, &question(&arn, &Ulid::generate().to_string()))
        .await
        .unwrap();
    let asked = user.wait_for(&run, "input_required").await.body["questions"][0]["id"].clone();
    let answer = json!({"answer": {"approved": true}, "question_id": asked});

    assert_eq!(input(&user, &run, &answer).await.status, 202);
    let lapsed = eventually("the message", async || {
        let answer = user.monitor(&run).await;
        answer.text("message").contains("stopped waiting").then_some(answer)
    })
    .await;
    assert_eq!(lapsed.text("status"), "running");
    let refused = input(&user, &run, &answer).await;
    assert_eq!(
        (refused.status, refused.text("detail").as_str()),
        (409, "the agent has stopped waiting for an answer")
    );

    // One whose time is known to be up is taken off the run although nobody answers.
    let mut short = question(&arn, &Ulid::generate().to_string());
    short["timeout_seconds"] = json!(1);
    hand_over(&stack, INPUT_REQUIRED, &short).await.unwrap();
    assert_eq!(user.monitor(&run).await.text("status"), "input_required");
    stack
        .sweep_until("the question to lapse", async || {
            (user.monitor(&run).await.text("status") == "running").then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_run_that_waits_for_an_answer_still_has_its_deadline() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let body = json!({"agent_name": "approval", "input_message": "x", "timeout_seconds": 10});
    let run = user.start(&body).await;
    user.wait_for(&run, "input_required").await;

    stack
        .sweep_until("the run to time out", async || {
            (user.monitor(&run).await.text("status") == "timeout").then_some(())
        })
        .await;
    assert!(user.monitor(&run).await.body.get("questions").is_none());
    assert_eq!(input(&user, &run, &json!({"answer": {"approved": true}})).await.status, 409);
}

#[tokio::test]
async fn neither_token_nor_question_nor_answer_is_logged() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let run = slow(&user, json!({})).await;
    let mut asks = question(&arn(&stack, &run).await, "secret-token");
    asks["question"] = json!("secret-question?");
    let event = |detail: &Value| json!({"detail-type": INPUT_REQUIRED, "detail": detail});
    let mut bad = asks.clone();
    bad["schema"] = json!({"type": "secret-schema"});

    let refused = stack.logged("StatusFunctionName", &event(&bad)).await;
    assert!(refused.contains("schema must be"), "{refused}");
    let applied = stack.logged("StatusFunctionName", &event(&asks)).await;
    assert!(applied.contains(&run), "{applied}");
    // Stored without a hint, so that the launch is ours to call.
    let asked = user.monitor(&run).await.body["questions"][0]["id"].clone();
    let name = asked.as_str().unwrap().parse().unwrap();
    let answer = AgentAnswer::new(Json::of(&json!({"approved": "secret-answer"}))).unwrap();
    let due_at = Timestamp::now().plus(Duration::from_hours(1));
    let actor = Actor { user_id: user.id.clone().into(), key_id: "ab12cd34".to_owned() };
    let stored =
        stack.executions().answer(&id(&run), &name, &answer, &actor.into(), due_at).await.unwrap();
    assert_eq!(stored, Step::Applied);
    let message = json!({"execution_id": run, "question_id": asked}).to_string();
    let batch = json!({"Records": [{"messageId": "1", "body": message}]});
    let launch = stack.logged("LaunchFunctionName", &batch).await;
    assert!(launch.contains("lapsed"), "{launch}");

    for log in [refused, applied, launch] {
        assert!(!log.contains("secret-"), "{log}");
    }
}

/// The ARN of an execution of this name on a machine that is not its own.
fn foreign(run: &str) -> String {
    format!("arn:aws:states:us-east-1:000000000000:execution:other:{run}")
}

/// The event of a question that none of the test's machines waits for.
fn question(arn: &str, token: &str) -> Value {
    json!({
        "execution_arn": arn, "task_token": token, "question": "Shall this be done?",
        "schema": {"type": "object", "required": ["approved"]},
    })
}

/// An agent that asks two questions side by side, each of which wants its own text back.
async fn two_questions(stack: &Stack) -> String {
    // One a moment after the other: the engine's branches share one context, and so one token.
    let branch = |pause: u32, text: &str| {
        json!({"StartAt": "Pause", "States": {"Pause": {"Type": "Wait", "Seconds": pause, "Next": "Ask"}, "Ask": {
            "Type": "Task", "Resource": "arn:aws:states:::events:putEvents.waitForTaskToken", "End": true,
            "Arguments": {"Entries": [{
                "EventBusName": stack.output("EventBusName"), "Source": "agent", "DetailType": INPUT_REQUIRED,
                "Detail": {
                    "execution_arn": "{% $states.context.Execution.Id %}",
                    "task_token": "{% $states.context.Task.Token %}",
                    "question": text, "schema": {"const": text},
                },
            }]},
        }}})
    };
    let definition = json!({
        "QueryLanguage": "JSONata", "StartAt": "Ask", "States": {"Ask": {
            "Type": "Parallel", "Branches": [branch(0, "Left?"), branch(1, "Right?")],
            "End": true,
        }},
    });
    let machine = stack.create_machine(definition.to_string()).await;
    let machine = json!({"state_machine_arn": machine});
    stack.agent("ApprovalMachineArn", machine).await
}
