//! The description of the API that is served is the one that the types give, and the template's.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use relay::{domain::event_type::EventType, http::openapi};
use serde_json::Value;

fn infra(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../infra").join(file)
}

/// `OPENAPI_WRITE=1 cargo test -p relay --test openapi` writes it anew.
#[test]
fn the_served_description_is_what_the_types_give() {
    let given = serde_json::to_string_pretty(&openapi::document()).unwrap() + "\n";
    let file = infra("openapi.json");
    if env::var_os("OPENAPI_WRITE").is_some() {
        fs::write(&file, &given).unwrap();
    }
    // The texts themselves are too long to be told.
    assert!(given == fs::read_to_string(file).unwrap(), "write it anew: see the test");
}

#[test]
fn it_describes_the_routes_of_the_template_and_no_others() {
    let template = fs::read_to_string(infra("template.yaml")).unwrap();
    let field = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}: "))?;
        let end = rest.find([',', ' ']).unwrap_or(rest.len());
        Some(rest[..end].trim_matches('"').to_owned())
    };
    let mut routes = BTreeSet::new();
    let mut method = None;
    for line in template.lines() {
        method = field(line, " Method").or(method);
        if let Some(path) = field(line, " Path") {
            routes.insert((path, method.take().unwrap().to_lowercase()));
        }
    }
    // They have descriptions of their own: MCP's, RFC 9728, and the tools' envelope.
    routes.retain(|(path, _)| !path.starts_with("/mcp") && !path.starts_with("/.well-known"));
    routes.remove(&("/".to_owned(), "post".to_owned()));
    // And pages are no API.
    routes.retain(|(path, _)| !path.starts_with("/console") && path != "/answer");

    let document = openapi::document();
    let paths = document["paths"].as_object().unwrap().iter();
    let described: BTreeSet<_> = paths
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(|method| (path.clone(), method.clone()))
        })
        .collect();
    assert_eq!(described, routes);
}

#[test]
fn every_example_fits_its_schema() {
    let document = openapi::document();
    let mut checked = 0;
    let mut check = |content: &Value| {
        let Some(content) = content.get("application/json") else { return };
        let Some(example) = content.get("example") else { return };
        let mut schema = content["schema"].clone();
        schema["components"] = document["components"].clone();
        jsonschema::validate(&schema, example).unwrap_or_else(|error| panic!("{example}: {error}"));
        checked += 1;
    };
    for methods in document["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            check(&operation["requestBody"]["content"]);
            for response in operation["responses"].as_object().unwrap().values() {
                check(&response["content"]);
            }
        }
    }
    let webhooks = document["webhooks"].as_object().unwrap();
    assert_eq!(webhooks.len(), EventType::ALL.len());
    for webhook in webhooks.values() {
        check(&webhook["post"]["requestBody"]["content"]);
    }
    assert!(checked > 15 + webhooks.len(), "{checked}");
}

#[test]
fn its_server_is_where_it_is_served_and_nothing_else_changes() {
    let file = fs::read_to_string(infra("openapi.json")).unwrap();

    for base in ["https://a1.example.com/live", "https://relay.example.com", r#"https://"\"#] {
        let mut served: Value = serde_json::from_str(&openapi::at(&file, Some(base))).unwrap();
        assert_eq!(served["servers"], serde_json::json!([{"url": base}]));
        served["servers"] = openapi::document()["servers"].take();
        assert_eq!(served, openapi::document());
    }
    assert_eq!(openapi::at(&file, None), file);
}

#[test]
fn the_release_unwinds_whatever_builds_it() {
    let cargo = fs::read_to_string(infra("../Cargo.toml")).unwrap();
    let (_, profile) = cargo.split_once("\n[profile.release]\n").unwrap();
    let (profile, _) = profile.split_once("\n[").unwrap();

    assert!(profile.lines().any(|line| line == "panic = \"unwind\""), "{profile}");
}
