//! The console's files, as a browser gets them. What the page does is tested in a browser: `make test-console`.

use std::collections::BTreeSet;

use e2e::Stack;
use reqwest::{Client, Method, Response, header, redirect::Policy};

/// What a visitor loads, uncompressed.
const MAX_BYTES: usize = 100 * 1024;

async fn get(stack: &Stack, path: &str, tag: &str) -> Response {
    let request = Client::new().get(format!("{}{path}", stack.url));
    request.header(header::IF_NONE_MATCH, tag).send().await.unwrap()
}

/// The files that this one names.
fn named(text: &str) -> BTreeSet<String> {
    let quoted = text.split(['"', '\'']);
    let files = quoted.filter_map(|text| text.strip_prefix("console/").or(text.strip_prefix("./")));
    files.filter(|file| file.contains('.')).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_page_and_its_files_come_with_their_policy_and_nothing_else_is_there() {
    let stack = Stack::connect().await;
    let (mut bytes, mut open) = (0, vec!["/console".to_owned(), "/answer".to_owned()]);
    let mut seen = BTreeSet::new();
    while let Some(path) = open.pop() {
        let answer = get(&stack, &path, "").await;
        assert_eq!(answer.status(), 200, "{path}");
        let headers = answer.headers().clone();
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let policy = header("content-security-policy");
        for rule in
            ["default-src 'none'", "script-src 'self'", "require-trusted-types-for 'script'"]
        {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "no-referrer");
        let kind = match path.rsplit_once('.') {
            Some((_, "css")) => "text/css",
            Some((_, "js")) => "text/javascript",
            Some((_, "json")) => "application/json",
            _ => "text/html",
        };
        assert!(header("content-type").starts_with(kind), "{path}");

        let tag = header("etag");
        let again = get(&stack, &path, &format!("\"other\", W/{tag}")).await;
        assert_eq!(
            (again.status().as_u16(), again.headers()["etag"].to_str().unwrap()),
            (304, &*tag)
        );
        let text = answer.text().await.unwrap();
        assert!(again.text().await.unwrap().is_empty());
        // The page of a link is another one, of the same modules.
        bytes += if path.contains("answer") { 0 } else { text.len() };
        for file in named(&text) {
            if seen.insert(file.clone()) {
                open.push(format!("/console/{file}"));
            }
        }
    }
    assert!(seen.len() > 5 && bytes <= MAX_BYTES, "{bytes} bytes in {seen:?}");

    for path in ["/console/other.js", "/console/..%2Fsrc", "/console/index.html/x"] {
        assert_eq!(get(&stack, path, "").await.status(), 404, "{path}");
    }
    let posted = stack.request(Method::POST, "/console", &[], "").await;
    assert_eq!(posted.status, 404);
    // No issuer is named to this stack's console.
    assert!(seen.contains("login.json"), "{seen:?}");
    assert_eq!(get(&stack, "/console/login.json", "").await.text().await.unwrap(), "null");
}

#[tokio::test]
async fn a_slash_behind_a_page_leads_to_the_page() {
    let stack = Stack::connect().await;
    let client = Client::builder().redirect(Policy::none()).build().unwrap();
    for page in ["console", "answer"] {
        let answer = client.get(format!("{}/{page}/", stack.url)).send().await.unwrap();
        assert_eq!(answer.status(), 308, "{page}");
        assert_eq!(answer.headers()["location"], format!("../{page}"));
        assert!(answer.headers().contains_key("content-security-policy"));
        let followed = get(&stack, &format!("/{page}/"), "").await;
        assert_eq!(followed.status(), 200, "{page}");
        assert!(followed.url().path().ends_with(&format!("/{page}")), "{}", followed.url());
    }
}
