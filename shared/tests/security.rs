//! What SECURITY.md promises names its test, and that test exists.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The sources below a folder, without what is built or installed.
fn sources(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() && !["node_modules", "target", "dist", "venv"].contains(&name.as_str()) {
            sources(&path, into);
        } else if path.extension().is_some_and(|it| it == "rs") {
            into.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

/// What stands in backticks in the last cell of each row of a table that has a column `test`.
fn named() -> Vec<(String, Vec<String>)> {
    let page = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let mut rows = Vec::new();
    let mut is_of_tests = false;
    for line in page.lines() {
        let Some(row) = line.strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
            is_of_tests = false;
            continue;
        };
        let (promise, tests) = row.rsplit_once('|').unwrap();
        if tests.trim() == "test" {
            is_of_tests = true;
        } else if is_of_tests && !tests.contains("---") {
            let names = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            rows.push((promise.trim().to_owned(), names));
        }
    }
    rows
}

#[test]
fn each_promise_names_a_test_that_there_is() {
    let mut rust = String::new();
    for folder in ["shared", "functions", "infra/relayctl", "tests"] {
        sources(&root().join(folder), &mut rust);
    }
    let rows = named();
    assert!(rows.len() > 20, "{}", rows.len());
    for (promise, tests) in rows {
        assert!(!tests.is_empty(), "no test: {promise}");
        for test in tests {
            // A test of Rust, or a file of the local tool or of the nodes.
            let is_there = rust.contains(&format!("fn {test}(")) || root().join(&test).is_file();
            assert!(is_there, "{promise}: {test}");
        }
    }
}

#[test]
fn these_routes_and_no_others_ask_for_no_credential() {
    let template = fs::read_to_string(root().join("infra/template.yaml")).unwrap();
    let field = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}: "))?;
        let end = rest.find([',', ' ']).unwrap_or(rest.len());
        Some(rest[..end].trim_matches('"').to_owned())
    };
    let (mut method, mut path, mut open) = (String::new(), String::new(), BTreeSet::new());
    for line in template.lines() {
        method = field(line, " Method").unwrap_or(method);
        path = field(line, " Path").unwrap_or(path);
        if line.contains("Authorizer: NONE") {
            open.insert(format!("{method} {path}"));
        }
    }
    let expected = [
        "GET /.well-known/oauth-protected-resource",
        "GET /.well-known/oauth-protected-resource/mcp",
        "GET /answer",
        "GET /console",
        "GET /console/{file}",
        "GET /openapi.json",
        "GET /v1/answers",
        "OPTIONS /mcp",
        "POST /v1/answers",
    ];
    assert_eq!(open, expected.map(str::to_owned).into());
    assert!(template.contains("DefaultAuthorizer: "));
}
