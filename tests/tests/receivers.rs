//! Whatever a receiver does with a POST: how many it gets, and how the delivery ends. The answers
//! of n8n are those of real n8n.

use std::{sync::Arc, time::Duration};

use e2e::{
    Stack, User, eventually,
    receiver::{Down, Loss, Raw, Receiver},
};
use futures_util::future::{join_all, join3};
use relay::aws::queue::DeliveryMessage;
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

const DELIVERY: &str = "delivery#completed#0#callback";

/// The test stack's schedule has four steps, so there are five attempts.
const ATTEMPTS: usize = 5;

const STARTING: &str = "<html><body>n8n is starting up. Please wait</body></html>";
const RUNNING: &str = r#"{"code":409,"message":"The execution \"1\" is running already."}"#;
const FINISHED: &str = r#"{"code":409,"message":"The execution \"1\" has finished already."}"#;
const FAILED: &str = r#"{"code":409,"message":"The execution \"1\" has finished with error."}"#;

fn answer(status: u16) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_raw("{}", "application/json")
}

fn json_answer(status: u16, body: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_raw(body, "application/json; charset=utf-8")
}

fn page(status: u16, body: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_raw(body, "text/html; charset=utf-8")
}

async fn start(user: &User, url: &str) -> String {
    user.start(&json!({
        "agent_name": "echo", "input_message": "x", "parameters": {"wait_seconds": 0}, "callback_url": url,
    }))
    .await
}

/// The delivery of this run, once it is over.
async fn over(stack: &Stack, id: &str) -> Value {
    eventually(&format!("the end of the delivery of {id}"), async || {
        let mut parts = stack.parts(id).await;
        parts.remove(DELIVERY).filter(|delivery| delivery["state"] != "pending")
    })
    .await
}

/// One row: what the receiver does, how the delivery ends, and after how many POSTs.
async fn row(user: &User, what: &str, receiver: &Receiver, end: &str, posts: usize) {
    // What resumes a workflow is judged by what a workflow answers.
    let url = if what.starts_with("n8n") { receiver.resume_url() } else { receiver.url() };
    let delivery = over(&user.stack, &start(user, &url).await).await;
    assert_eq!(delivery["state"], end, "{what}: {delivery}");
    let received = receiver.received().await;
    assert_eq!(received.len(), posts, "{what}: {delivery}");
    for post in received {
        assert_eq!(post.header("webhook-id"), delivery["webhook_id"], "{what}");
    }
    println!("{what:<44}{end:<13}{posts:>5} posts");
}

#[tokio::test]
async fn whatever_a_receiver_answers_it_gets_as_many_posts_as_it_should() {
    let stack = Stack::connect().await;
    let user = &stack.user(&["execute:*", "view:*"]).await;
    let ok = || answer(200);
    let wait = || answer(429).insert_header("retry-after", "3");
    let rows = [
        ("n8n waits", vec![ok()], "delivered", 1),
        ("n8n has not reached its Wait node", vec![json_answer(409, RUNNING)], "", 0),
        ("n8n has finished without us", vec![json_answer(409, FINISHED)], "undelivered", 1),
        ("n8n has failed without us", vec![json_answer(409, FAILED)], "undelivered", 1),
        (
            "n8n fails in what it resumes, and says so",
            vec![answer(500), json_answer(409, FAILED)],
            "delivered",
            2,
        ),
        (
            "n8n fails in what it resumes",
            vec![answer(500), json_answer(409, FINISHED)],
            "delivered",
            2,
        ),
        ("n8n finds the signature wrong", vec![answer(401)], "undelivered", 1),
        ("n8n finds the header wrong", vec![answer(403)], "undelivered", ATTEMPTS),
        ("n8n does not know the execution", vec![json_answer(404, "{}")], "undelivered", ATTEMPTS),
        ("n8n knows it later", vec![answer(404), ok()], "delivered", 2),
        ("n8n finds the body too large once", vec![answer(500), ok()], "delivered", 2),
        (
            "n8n is starting up",
            vec![page(200, STARTING), page(404, "Cannot POST"), ok()],
            "delivered",
            3,
        ),
        ("throttled", vec![wait(), ok()], "delivered", 2),
        ("500", vec![answer(500), ok()], "delivered", 2),
        ("503 for ever", vec![answer(503)], "undelivered", ATTEMPTS),
        ("gone", vec![answer(410)], "undelivered", 1),
        ("credentials that are put right", vec![answer(401), ok()], "delivered", 2),
        ("a firewall that lets it pass later", vec![answer(403), ok()], "delivered", 2),
    ];
    let rows = rows.map(|(what, mut answers, end, posts)| async move {
        let (end, posts) = if end.is_empty() {
            answers.push(answer(200));
            ("delivered", answers.len())
        } else {
            (end, posts)
        };
        row(user, what, &Receiver::giving(&answers).await, end, posts).await;
    });
    let lines = [
        ("reset", Loss::Request, vec![ok()], 1),
        ("answer lost", Loss::Answer, vec![ok()], 2),
        (
            "n8n has finished, and its answer is lost",
            Loss::Answer,
            vec![ok(), json_answer(409, FINISHED)],
            2,
        ),
    ];
    let lines = lines.map(|(what, loss, answers, posts)| async move {
        row(user, what, &Receiver::losing(loss, &answers).await, "delivered", posts).await;
    });
    join3(join_all(rows), join_all(lines), down(user)).await;
}

/// Nothing listens, then it does, or never.
async fn down(user: &User) {
    let stack = &user.stack;
    let (back, never) = (Down::start(), Down::start());
    let [run, forgotten] = [start(user, &back.url()).await, start(user, &never.url()).await];
    eventually("an attempt in vain", async || {
        let parts = stack.parts(&run).await;
        let delivery = parts.get(DELIVERY)?;
        (delivery["attempts"][0]["detail"] == "cannot connect").then_some(())
    })
    .await;
    let receiver = back.up().await;
    assert_eq!(over(stack, &run).await["state"], "delivered");
    assert_eq!(receiver.received().await.len(), 1);
    println!("{:<44}{:<13}{:>5} posts", "down, and up again", "delivered", 1);

    let delivery = over(stack, &forgotten).await;
    assert_eq!(delivery["state"], "undelivered");
    assert_eq!(delivery["attempts"].as_array().unwrap().len(), ATTEMPTS);
    println!("{:<44}{:<13}{:>5} posts", "down for ever", "undelivered", 0);
}

#[tokio::test]
async fn duplicates_of_a_message_wait_for_no_answer_and_make_no_post() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let slow = answer(200).set_delay(Duration::from_secs(2));
    let receiver = Arc::new(Receiver::giving(&[slow]).await);
    let run = start(&user, &receiver.resume_url()).await;
    receiver.wait_for(1).await;

    let message = DeliveryMessage { execution_id: e2e::id(&run), part: DELIVERY.to_owned() };
    let record = json!({"messageId": "1", "body": json!(message).to_string()});
    let batch = json!({"Records": [record, record]});
    let answers = join_all((0..3).map(|_| stack.invoke("WebhookFunctionName", &batch))).await;
    for answer in answers {
        assert_eq!(answer.unwrap(), json!({"batchItemFailures": []}));
    }
    assert_eq!(over(&stack, &run).await["state"], "delivered");
    assert_eq!(receiver.received().await.len(), 1);
}

/// A POST is given 15 seconds.
#[cfg(feature = "all")]
#[tokio::test]
async fn an_answer_that_comes_too_late_is_none() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let late = || answer(200).set_delay(Duration::from_secs(17));
    let slow = Receiver::giving(&[late(), answer(200)]).await;
    let slow_n8n = Receiver::giving(&[late(), json_answer(409, FINISHED)]).await;
    tokio::join!(
        row(&user, "slow", &slow, "delivered", 2),
        row(&user, "n8n is slow, and has finished", &slow_n8n, "delivered", 2),
    );
}

/// One row of bytes: what is sent to this path, how that ends, after how many POSTs, and how the
/// detail of the first attempt begins.
async fn bytes(
    user: &User,
    (path, answers, end, posts, detail): (&str, &[&str], &str, usize, &str),
    resets: bool,
) {
    let answers: Vec<_> = answers.iter().map(|answer| answer.as_bytes().to_vec()).collect();
    let shown = String::from_utf8_lossy(&answers[0]).chars().take(80).collect::<String>();
    let receiver = Raw::writing(answers, resets).await;
    let delivery = over(&user.stack, &start(user, &receiver.url(path)).await).await;
    assert_eq!(delivery["state"], end, "{shown:?}: {delivery}");
    assert_eq!(receiver.received(), posts, "{shown:?}: {delivery}");
    let told = delivery["attempts"][0]["detail"].as_str().unwrap();
    assert!(told.replace(&receiver.url(""), "").starts_with(detail), "{shown:?}: {delivery}");
}

#[tokio::test]
async fn an_answer_counts_by_its_status_line_whatever_else_it_is() {
    let stack = Stack::connect().await;
    let user = &stack.user(&["execute:*", "view:*"]).await;
    let ok = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\nok");
    let many = |count| ok(&format!("{}content-length: 2\r\n", "x-h: v\r\n".repeat(count)));
    let good = [
        (many(101), "ok"),
        (many(1_000), "ok"),
        (
            ok("server: x\r\nPHP Warning: PHP Startup: Unable to load x\r\ncontent-length: 2\r\n"),
            "ok",
        ),
        (ok("content-length : 2\r\nx-folded: a\r\n b\r\n"), "ok"),
        ("HTTP/1.1 200 OK\ncontent-length: 2\n\nok".to_owned(), "ok"),
        (ok("content-length: 2\r\ncontent-length: 9\r\n"), "ok"),
        (ok("content-length: 9\r\n"), "ok"),
        (ok("content-length: ok\r\n"), "ok"),
        (ok("transfer-encoding: chunked\r\n\r\n2\r\nok\r\nbroken"), "ok"),
        ("HTTP/1.1 200 OK\r\n".to_owned(), "the response headers are cut off"),
        ("HTTP/1.1 200 OK\r\nserver: x\r\nx-".to_owned(), "the response headers are cut off"),
    ];
    let good = good.iter().map(|(answer, detail)| async move {
        bytes(user, ("/hook", &[answer], "delivered", 1, detail), false).await;
        bytes(user, ("/hook", &[answer], "delivered", 1, ""), true).await;
    });
    let (ok, conflict) = (ok("content-length: 2\r\n"), |words: &str| {
        let message = format!(r#"{{"code":409,"message":"{words}"}}"#);
        format!("HTTP/1.1 409 Conflict\r\ncontent-type: application/json\r\n\r\n{message}")
    });
    let running = conflict(r#"The execution \"4\" is running already."#);
    let finished = conflict(r#"The execution \"4 has finished already."#);
    let failed = conflict(r#"The execution \"4\" has finished with error."#);
    let waf = "HTTP/1.1 403 Forbidden\r\ncf-mitigated: challenge\r\n\r\nJust a moment...";
    let broken = "HTTP/1.1 500 Internal Server Error\r\n\r\n";
    let redirect =
        |to: &str| format!("HTTP/1.1 308 Permanent Redirect\r\nlocation: {to}\r\n\r\nMoved");
    let (slash, sign_in) = (redirect("/x/"), redirect("//me:word@else.example/in?token=a#b"));
    let gone = "HTTP/1.1 410 Gone\r\nx\r\n\r\n";
    let rows: [(&str, &[&str], &str, usize, &str); 10] = [
        ("/x", &[waf, &ok], "delivered", 2, "Just a moment..."),
        ("/x", &[waf], "undelivered", ATTEMPTS, "Just a moment..."),
        ("/x", &[gone, &ok], "undelivered", 1, "the receiver no longer wants events"),
        ("/x", &[&slash], "undelivered", ATTEMPTS, "redirect not followed: /x/"),
        ("/x", &[&sign_in, &ok], "delivered", 2, "redirect not followed: http://else.example/in?…"),
        ("/hooks-wait/4", &[broken, &finished], "delivered", 2, ""),
        ("/hooks-wait/4", &[broken, &failed], "delivered", 2, ""),
        ("/hooks-wait/4", &[&finished], "undelivered", 1, "the execution has ended without this"),
        ("/hooks-wait/4", &[&failed], "undelivered", 1, "the execution has ended without this"),
        ("/hooks-wait/4", &[&running, &ok], "delivered", 2, r#"{"code":409"#),
    ];
    let rows = rows.map(|row| bytes(user, row, false));
    futures_util::future::join(join_all(good), join_all(rows)).await;
}
