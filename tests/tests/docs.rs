//! What the pages in docs show works on what agent-relay really sends.

use std::process::Stdio;

use e2e::{Stack, receiver::Receiver};
use serde_json::json;
use tokio::{io::AsyncWriteExt, process::Command};

const REST: &str = include_str!("../../docs/rest.md");

/// Asks the function of the page about a callback as it came, and about one that was changed.
const CHECK: &str = r#"
import json, sys
it = json.load(sys.stdin)
headers, body = it["headers"], it["body"].encode()
print(is_signed(headers, body, it["secret"]), is_signed(headers, body + b" ", it["secret"]))
"#;

#[tokio::test]
async fn the_python_of_the_page_lets_a_callback_in_and_nothing_else() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let receiver = Receiver::start().await;
    let body =
        json!({"agent_name": "echo", "input_message": "Grüße", "callback_url": receiver.url()});
    user.start(&body).await;
    let callback = &receiver.wait_for(1).await[0];
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: serde_json::Map<_, _> =
        names.iter().map(|name| ((*name).to_owned(), callback.header(name).into())).collect();
    let secret = user.get("/v1/webhook-secret").await.text("secret");

    let script = format!("{}{CHECK}", block("python"));
    let mut python = Command::new("python3")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let asked = json!({"headers": headers, "body": callback.text(), "secret": secret}).to_string();
    python.stdin.take().unwrap().write_all(asked.as_bytes()).await.unwrap();
    let said = python.wait_with_output().await.unwrap();

    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "True False");
}

#[test]
fn the_runbook_knows_each_alarm() {
    let runbook = include_str!("../../docs/operate.md");
    let mut name = "";
    for line in include_str!("../../infra/template.yaml").lines() {
        let is_logical_id =
            line.starts_with("  ") && !line.starts_with("   ") && line.ends_with(':');
        if is_logical_id {
            name = line.trim().trim_end_matches(':');
        } else if line.trim() == "Type: AWS::CloudWatch::Alarm" {
            assert!(runbook.contains(&format!("*{name}*")), "{name} is not in docs/operate.md");
        }
    }
    assert!(!name.is_empty());
}

/// The page's block of code in this language.
fn block(language: &str) -> &'static str {
    let (_, code) = REST.split_once(&format!("```{language}\n")).unwrap();
    code.split_once("```").unwrap().0
}
