//! What the pages say is so: their code works on what agent-relay really sends, their machines run,
//! their tables have all that there is, and the files that they name exist.

use std::{
    fs,
    path::{Path, PathBuf},
};

use e2e::{
    Stack, eventually,
    page::{Page, root},
    receiver::Receiver,
    tool::Tool,
};
use relay::{domain::error::Error, http::problem::Problem};
use reqwest::Method;
use serde_json::{Value, json};

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
    let user = stack.user(&["execute:*", "view:*", "manage:*"]).await;
    let receiver = Receiver::start().await;
    let body =
        json!({"agent_name": "echo", "input_message": "Grüße", "callback_url": receiver.url()});
    user.start(&body).await;
    let callback = &receiver.wait_for(1).await[0];
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: serde_json::Map<_, _> =
        names.iter().map(|name| ((*name).to_owned(), callback.header(name).into())).collect();
    let secret = user.get("/v1/webhook-secret").await.text("secret");

    let script = format!("{}{CHECK}", Page::read("docs/rest.md").code("python").concat());
    let asked = json!({"headers": headers, "body": callback.text(), "secret": secret}).to_string();
    let said = Tool("python3").with(&["-c", &script], &asked, &[]).await;

    assert_eq!(said.text, "True False", "{said:?}");
}

#[tokio::test]
async fn the_machines_of_the_page_report_and_ask() {
    let stack = Stack::connect().await;
    let user = stack.user(&["execute:*", "view:*"]).await;
    let mut runs = Vec::new();
    for machine in Page::read("docs/agents.md").code("json") {
        if !machine.contains("StartAt") {
            continue;
        }
        let definition = machine.replace("${EventBusName}", stack.output("EventBusName"));
        let row = json!({"state_machine_arn": stack.create_machine(definition).await});
        let agent = stack.agent("EchoMachineArn", row).await;
        runs.push(user.start(&json!({"agent_name": agent, "input_message": "x"})).await);
    }

    let [reports, asks] = &runs[..] else { panic!("{runs:?}") };
    let seen = eventually("the report", async || {
        let seen = user.monitor(reports).await;
        (seen.body["message"] == "Reading the sources").then_some(seen)
    });
    assert_eq!(seen.await.body["progress"], 40);
    let asked = user.wait_for(asks, "input_required").await;
    assert_eq!(asked.body["questions"][0]["question"], "To whom shall the report go?");
    let input = format!("/v1/executions/{asks}/input");
    let answer = async |to: &str| {
        let body = json!({"answer": {"to": to}}).to_string();
        user.send(Method::POST, &input, &[], body).await.status
    };
    assert_eq!((answer("nobody").await, answer("the team").await), (422, 202));
    for (run, result) in [(reports, "Done."), (asks, "It goes to the team.")] {
        user.wait_for(run, "completed").await;
        assert_eq!(user.results(run).await.body["result"], result);
    }
}

#[test]
fn the_page_of_the_api_has_each_route_and_each_error() {
    let page = Page::read("docs/rest.md").text;
    let described: Value = serde_json::from_str(include_str!("../../infra/openapi.json")).unwrap();
    for (path, methods) in described["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let route = format!("| `{} {path}` |", method.to_uppercase());
            assert!(page.contains(&route), "{route}");
        }
    }

    let aws = |transient| Error::Service { action: "x", transient, source: "x".into() };
    let errors = [
        Error::Malformed(String::new()),
        Error::Unauthorized,
        Error::Forbidden(String::new()),
        Error::NotFound("x"),
        Error::Conflict("x".into()),
        Error::TooLarge { field: "x", limit: 1 },
        Error::invalid("x", "y"),
        Error::RateLimited { limit: 1, counted: "starts", retry_after_seconds: 1 },
        Error::Busy("x"),
        aws(true),
        aws(false),
        Error::corrupt("x", "y"),
    ];
    let ours = errors.iter().map(|error| json!(Problem::of(error)));
    // Those that API Gateway answers itself.
    let template = include_str!("../../infra/template.yaml").split(r#"{"type":"urn:"#).skip(1);
    let gateway = template.map(|rest| {
        let (start, _) = rest.split_once(",\n").unwrap();
        serde_json::from_str(&format!(r#"{{"type":"urn:{start}}}"#)).unwrap()
    });
    for problem in ours.chain(gateway) {
        let kind = problem["type"].as_str().unwrap().rsplit(':').next().unwrap();
        let row = format!("| `{kind}` | {} |", problem["status"]);
        assert!(page.contains(&row), "{row}");
    }
}

#[test]
fn the_runbook_knows_each_alarm() {
    let runbook = Page::read("docs/operate.md").text;
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

/// All files that are written here, from the repository's root, and none that is installed or built.
fn files() -> Vec<PathBuf> {
    const OTHERS: [&str; 7] =
        [".git", ".local", ".venv", ".aws-sam", "dist", "node_modules", "target"];

    let (mut files, mut folders) = (Vec::new(), vec![root().to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if !entry.file_type().unwrap().is_dir() {
                files.push(entry.path().strip_prefix(root()).unwrap().to_owned());
            } else if !OTHERS.iter().any(|other| entry.file_name() == *other) {
                folders.push(entry.path());
            }
        }
    }
    files
}

/// The paths in a line: of Rust files, and of any below one of these folders.
fn paths<'a>(line: &'a str, folders: &[&str]) -> Vec<&'a Path> {
    let words = line.split(|char: char| !(char.is_ascii_alphanumeric() || "_-./".contains(char)));
    // Two slashes are those of a URL, one follows a name that stands for several.
    let words = words.filter(|word| !word.starts_with("//"));
    let paths = words.map(|word| Path::new(word.trim_end_matches('.').trim_start_matches('/')));
    let is_path = |path: &&Path| {
        let is_below_one = path.iter().count() > 1 && folders.iter().any(|it| path.starts_with(it));
        let is_example = path.iter().any(|name| name.to_string_lossy().starts_with("NAME"));
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        let is_file = ["json", "md", "mjs", "py", "sh", "toml", "ts", "yaml"].contains(&kind);
        !is_example && (kind == "rs" || is_file && is_below_one)
    };
    paths.filter(is_path).collect()
}

#[test]
fn each_file_that_a_page_or_a_comment_names_exists() {
    let files = files();
    let folders: Vec<_> = files
        .iter()
        .filter(|file| file.iter().count() > 1)
        .filter_map(|file| file.iter().next()?.to_str())
        .collect();
    let mut named = 0;
    for file in &files {
        let comment = match file.extension().and_then(|kind| kind.to_str()) {
            Some("md") => "",
            Some("rs" | "ts" | "mjs") => "//",
            Some("py" | "toml" | "yaml" | "yml") => "#",
            _ => continue,
        };
        for line in fs::read_to_string(root().join(file)).unwrap().lines() {
            if !line.trim_start().starts_with(comment) {
                continue;
            }
            for path in paths(line, &folders) {
                let exists = files.iter().any(|it| it.ends_with(path));
                assert!(exists, "{} names {}, which is nowhere", file.display(), path.display());
                named += 1;
            }
        }
    }
    assert!(named > 100, "only {named} files are named");
}
