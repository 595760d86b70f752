//! A question answered by whoever has its link: what the link lets through, and what it does not.

use std::time::Duration;

use e2e::{Answer, Stack, User, eventually, receiver::Receiver};
use relay::domain::{answer_link::AnswerLink, time::Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

const EVERYTHING: &[&str] = &["execute:*", "view:*"];
const ASKED: &str = "execution.input_required";

/// A run of an agent with links that asks, with the token that its caller was told.
async fn asking(user: &User, receiver: &Receiver) -> (String, String) {
    let agent = user.stack.agent("ApprovalMachineArn", json!({"answer_links": true})).await;
    let body = json!({
        "agent_name": agent, "input_message": "Send the report.", "callback_url": receiver.url(),
        "callback_events": [ASKED],
    });
    let run = user.start(&body).await;
    let told = receiver.wait_for(1).await.pop().unwrap().body();
    assert_eq!(told["type"], ASKED);
    let url = &told["data"]["questions"][0]["answer_url"];
    assert!(url.as_str().unwrap().starts_with(&user.stack.url), "{url}");
    (run, token(url))
}

fn token(url: &Value) -> String {
    let (page, token) = url.as_str().unwrap().split_once('#').unwrap();
    assert!(page.ends_with("/answer"), "{page}");
    token.to_owned()
}

async fn show(stack: &Stack, token: &str) -> Answer {
    stack.request(Method::GET, "/v1/answers", &[("answer-token", token)], "").await
}

async fn answer(stack: &Stack, token: &str, answer: &Value, name: &str) -> Answer {
    let body = json!({"token": token, "answer": answer, "name": name}).to_string();
    stack.request(Method::POST, "/v1/answers", &[], body).await
}

#[tokio::test]
async fn who_has_the_link_sees_the_question_and_answers_it_once() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let (run, token) = asking(&user, &receiver).await;

    // A scanner that follows it changes nothing.
    for _ in 0..2 {
        let shown = show(&stack, &token).await;
        assert_eq!(shown.status, 200, "{shown:?}");
        assert_eq!(shown.body["question"], "Shall this be done? Send the report.");
        assert_eq!(shown.body["schema"]["required"], json!(["approved"]));
        assert_eq!(shown.body["is_open"], true);
        assert!(shown.body["expires_at"].is_string() && shown.body["link_expires_at"].is_string());
    }
    let refused = answer(&stack, &token, &json!({"approved": "perhaps"}), "Ana").await;
    assert_eq!((refused.status, refused.text("field")), (422, "answer.approved".to_owned()));
    for name in ["", " ", "two\nlines", &"x".repeat(101)] {
        let refused = answer(&stack, &token, &json!({"approved": true}), name).await;
        assert_eq!((refused.status, refused.text("field")), (422, "name".to_owned()), "{name:?}");
    }

    let yes = json!({"approved": true, "comment": "Fine."});
    let answered = answer(&stack, &token, &yes, " Ana Grüße ").await;
    assert_eq!(
        (answered.status, answered.text("status")),
        (202, "answered".to_owned()),
        "{answered:?}"
    );
    user.wait_for(&run, "completed").await;
    assert_eq!(user.results(&run).await.body["result"], "Approved: Fine.");
    let path = format!("/v1/executions/{run}/results?include_metadata=true");
    let by = user.get(&path).await.body["metadata"]["answered_by"][0].clone();
    assert_eq!(
        (&by["user_id"], &by["key_id"], &by["name"], &by["question"]),
        (
            &json!(user.id),
            &json!("answer-link"),
            &json!("Ana Grüße"),
            &json!("Shall this be done? Send the report.")
        )
    );
    let [asked, answered] = ["asked_at", "answered_at"].map(|it| by[it].as_str().unwrap());
    assert!(asked < answered, "{by}");

    // Again is harmless, and another answer is too late.
    assert_eq!(answer(&stack, &token, &yes, "Ana").await.status, 202);
    let late = answer(&stack, &token, &json!({"approved": false}), "Ben").await;
    assert_eq!(late.status, 409, "{late:?}");
    let shown = show(&stack, &token).await;
    assert_eq!((shown.status, &shown.body["is_open"]), (200, &json!(false)));
}

#[tokio::test]
async fn a_receiver_that_repeats_a_link_does_not_have_it_shown() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let told = |body: &Value| token(&body["data"]["questions"][0]["answer_url"]);
    let receiver = Receiver::refusing(move |body| format!("{} is nothing to me", told(body))).await;
    let (run, token) = asking(&user, &receiver).await;

    let path = format!("/v1/executions/{run}/deliveries");
    let attempted = async || {
        let listed = user.get(&path).await;
        let detail = listed.body["deliveries"][0]["attempts"][0]["detail"].as_str()?.to_owned();
        Some((detail, listed.body.to_string()))
    };
    let (detail, listed) = eventually("an attempt", attempted).await;
    assert_eq!(detail, format!("{run}.… is nothing to me"));
    let secret = token.strip_prefix(&format!("{run}.")).unwrap();
    assert!(!listed.contains(secret), "{listed}");
}

#[tokio::test]
async fn a_token_that_is_not_ours_or_not_for_this_opens_nothing() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receivers = [Receiver::start().await, Receiver::start().await];
    let (_, first) = asking(&user, &receivers[0]).await;
    let (_, second) = asking(&user, &receivers[1]).await;
    let [(of_first, signature), (_, other)] =
        [&first, &second].map(|it| it.rsplit_once('.').unwrap());
    // Its parts: run, question, expiry.
    let mut longer: Vec<&str> = of_first.split('.').collect();
    longer[2] = "99999999999";

    for odd in [
        "",
        "x",
        "...",
        of_first,
        &format!("{of_first}."),
        &format!("{of_first}.{other}"),
        &format!("{}.{signature}", longer.join(".")),
        &first.to_uppercase(),
        &format!("{first}x"),
        &"x".repeat(5_000),
    ] {
        assert_eq!(show(&stack, odd).await.status, 404, "{odd}");
        assert_eq!(
            answer(&stack, odd, &json!({"approved": true}), "Eve").await.status,
            404,
            "{odd}"
        );
    }
    assert_eq!(stack.request(Method::GET, "/v1/answers", &[], "").await.status, 404);
    // It says who asks to nothing else.
    let of_token = [("x-api-key", first.as_str()), ("authorization", first.as_str())];
    for header in of_token {
        assert_eq!(stack.request(Method::GET, "/v1/agents", &[header], "").await.status, 401);
    }
    assert_eq!(show(&stack, &first).await.body["is_open"], true);
}

#[tokio::test]
async fn links_are_for_who_may_answer_and_see_and_only_where_the_agent_allows_them() {
    let stack = Stack::connect().await;
    let user = stack.user(EVERYTHING).await;
    let receiver = Receiver::start().await;
    let (run, told) = asking(&user, &receiver).await;
    let path = format!("/v1/executions/{run}/answer-links");

    let listed = user.get(&path).await;
    assert_eq!(listed.status, 200, "{listed:?}");
    let links = listed.body["answer_links"].as_array().unwrap();
    assert_eq!(links.iter().map(|it| token(&it["url"])).collect::<Vec<_>>(), [told]);
    for (grants, status) in
        [(&["execute:*"][..], 403), (&["view:*"], 403), (&["execute:*", "view:*"], 200)]
    {
        let key = stack.key(&user.id, grants, json!({})).await;
        let other = User { key, ..user.clone() };
        assert_eq!(other.get(&path).await.status, status, "{grants:?}");
    }
    assert_eq!(stack.user(EVERYTHING).await.get(&path).await.status, 404);

    // What is told to who may only view has none.
    let body = |url: String| json!({"url": url, "events": [ASKED]}).to_string();
    let [viewers, full] = [Receiver::start().await, Receiver::start().await];
    for (receiver, grants) in [(&viewers, &["view:*"][..]), (&full, EVERYTHING)] {
        let key = stack.key(&user.id, grants, json!({})).await;
        let other = User { key, ..user.clone() };
        let added = other.send(Method::POST, "/v1/subscriptions", &[], body(receiver.url())).await;
        assert_eq!(added.status, 201, "{added:?}");
    }
    asking(&user, &Receiver::start().await).await;
    for (receiver, has_link) in [(&viewers, false), (&full, true)] {
        let told = receiver.wait_for(1).await.pop().unwrap().body();
        let question = &told["data"]["questions"][0];
        assert!(question["id"].is_string(), "{told}");
        assert_eq!(question.get("answer_url").is_some(), has_link, "{told}");
    }

    // Without them, nobody is told of any.
    let receiver = Receiver::start().await;
    let body = json!({
        "agent_name": "approval", "input_message": "x", "callback_url": receiver.url(),
        "callback_events": [ASKED],
    });
    let without = user.start(&body).await;
    let told = receiver.wait_for(1).await.pop().unwrap().body();
    let question = told["data"]["questions"][0].clone();
    assert!(question["id"].is_string() && question.get("answer_url").is_none(), "{question}");
    let refused = user.get(&format!("/v1/executions/{without}/answer-links")).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    // Not even to who could make one.
    let question_id = question["id"].as_str().unwrap().parse().unwrap();
    let expires_at = Timestamp::now().plus(Duration::from_mins(1));
    let link = AnswerLink { execution_id: e2e::id(&without), question_id, expires_at };
    let url = link.url("", stack.master_secret().await.as_bytes());
    assert_eq!(show(&stack, &token(&json!(url))).await.status, 409);
}
