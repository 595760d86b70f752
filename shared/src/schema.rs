//! JSON Schemas of others: what an agent's parameters must fit, and the answer to its question.

use std::{error::Error, thread};

use boon::{Compiler, SchemaIndex, Schemas, UrlLoader, ValidationError};
use serde_json::Value;

/// Keywords by which a schema says more of the same value, or has another schema say it.
const IN_PLACE: [&str; 13] = [
    "$ref",
    "$dynamicRef",
    "$recursiveRef",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependencies",
    "propertyNames",
];

/// To check is to go down into the value, and at each of its levels through what stands in place. This
/// bounds how deep that goes, and [`STACK_BYTES`] is enough for it.
const MAX_STEPS: usize = 5_000;
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// A schema that says all it says by itself.
pub struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
    /// How many of [`IN_PLACE`] are in it.
    in_place: usize,
}

/// It is no JSON Schema, or needs one from elsewhere. The reason quotes from it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSchema(String);

/// Why a value does not fit.
#[derive(Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Where in the value, such as `.lines.0.amount`; empty for all of it.
    pub path: String,
    pub reason: String,
}

impl Schema {
    /// Without `$schema` it is one of draft 2020-12. Patterns are those of the crate `regex`.
    pub fn parse(schema: &Value) -> Result<Self, InvalidSchema> {
        const URL: &str = "https://schema.invalid/";

        let mut schemas = Schemas::new();
        let mut compiler = Compiler::new();
        compiler.use_loader(Box::new(Nothing));
        let invalid = |error| InvalidSchema(format!("{error:#}"));
        compiler.add_resource(URL, schema.clone()).map_err(invalid)?;
        let index = compiler.compile(URL, &mut schemas).map_err(invalid)?;
        Ok(Self { schemas, index, in_place: in_place(schema) })
    }

    /// On a thread of its own, whose stack is used as far as this schema and this value need it.
    pub fn check(&self, value: &Value) -> Result<(), Misfit> {
        let unchecked = |reason: &str| Misfit { path: String::new(), reason: reason.to_owned() };
        if (self.in_place + 1).saturating_mul(depth(value)) > MAX_STEPS {
            return Err(unchecked("it is nested too deep for this schema"));
        }
        thread::scope(|scope| {
            let checking = thread::Builder::new().stack_size(STACK_BYTES);
            let checking = checking.spawn_scoped(scope, || self.validate(value));
            let checked = checking.ok().and_then(|checking| checking.join().ok());
            checked.unwrap_or_else(|| Err(unchecked("it cannot be checked")))
        })
    }

    fn validate(&self, value: &Value) -> Result<(), Misfit> {
        self.schemas.validate(value, self.index).map_err(|error| {
            let first = first(&error);
            let path = first.instance_location.to_string().replace('/', ".");
            Misfit { path, reason: first.kind.to_string() }
        })
    }
}

fn in_place(schema: &Value) -> usize {
    match schema {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| usize::from(IN_PLACE.contains(&name.as_str())) + in_place(value))
            .sum(),
        Value::Array(items) => items.iter().map(in_place).sum(),
        _ => 0,
    }
}

/// How many levels it has; what was parsed has 128 at most.
fn depth(value: &Value) -> usize {
    1 + match value {
        Value::Object(members) => members.values().map(depth).max().unwrap_or_default(),
        Value::Array(items) => items.iter().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

/// Reads no file and asks no server, whatever a schema refers to.
struct Nothing;

impl UrlLoader for Nothing {
    fn load(&self, _: &str) -> Result<Value, Box<dyn Error>> {
        Err("a schema is to stand by itself".into())
    }
}

/// The innermost of what is wrong: the outer ones only say that something within is.
fn first<'a, 's, 'v>(error: &'a ValidationError<'s, 'v>) -> &'a ValidationError<'s, 'v> {
    error.causes.first().map_or(error, first)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn misfit(schema: &Value, value: &Value) -> Option<(String, String)> {
        let misfit = Schema::parse(schema).unwrap().check(value).err()?;
        Some((misfit.path, misfit.reason))
    }

    #[test]
    fn a_misfit_is_told_by_its_place_and_its_reason() {
        let schema = json!({
            "type": "object", "required": ["lines"],
            "properties": {"lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}},
            "$defs": {"line": {"properties": {"amount": {"type": "number", "minimum": 1}}}},
        });
        let said = |value| misfit(&schema, &value);

        assert_eq!(said(json!({"lines": [{"amount": 1}]})), None);
        let (place, reason) = said(json!({"lines": [{"amount": 2}, {"amount": "x"}]})).unwrap();
        assert_eq!(
            (place.as_str(), reason.as_str()),
            (".lines.1.amount", "want number, but got string")
        );
        assert_eq!(
            said(json!({})).unwrap(),
            (String::new(), "missing properties 'lines'".to_owned())
        );
    }

    #[test]
    fn a_schema_that_needs_another_or_is_none_is_refused_and_nothing_is_read() {
        for schema in [
            json!(1),
            json!({"type": "objekt"}),
            json!({"pattern": "("}),
            json!({"$ref": "#/$defs/none"}),
            json!({"$ref": "https://example.com/schema"}),
            json!({"$ref": "file:///etc/hostname"}),
            json!({"$schema": "file:///etc/hostname"}),
            json!({"$id": "file:///etc/", "$ref": "hostname"}),
        ] {
            assert!(Schema::parse(&schema).is_err(), "{schema}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let list = json!({"properties": {"next": {"$ref": "#"}}, "maxProperties": 1});

        assert_eq!(misfit(&list, &json!({"next": {"next": {}}})), None);
        assert_eq!(misfit(&list, &json!({"next": {"a": 1, "b": 2}})).unwrap().0, ".next");
        // One that says nothing but that it fits itself.
        drop(Schema::parse(&json!({"$ref": "#"})).map(|schema| schema.check(&json!(1))));
    }

    /// A schema in which `length` references follow each other before the last one says something.
    fn chain(length: usize, last: Value) -> Value {
        let link = |i: usize| (i.to_string(), json!({"$ref": format!("#/$defs/{}", i + 1)}));
        let mut links: serde_json::Map<_, _> = (0..length).map(link).collect();
        links.insert(length.to_string(), last);
        json!({"$ref": "#/$defs/0", "$defs": links})
    }

    #[test]
    fn neither_long_chains_nor_deep_values_exhaust_the_stack() {
        let long = chain(4_990, json!({"type": "string"}));
        assert_eq!(misfit(&long, &json!(1)).unwrap().1, "want string, but got number");
        let longer = chain(5_000, json!({}));
        assert_eq!(misfit(&longer, &json!(1)).unwrap().1, "it is nested too deep for this schema");

        let nested = |levels: usize| (1..levels).fold(json!(1), |inner, _| json!([inner]));
        let loops = chain(35, json!({"items": {"$ref": "#/$defs/0"}}));
        assert_eq!(misfit(&loops, &nested(127)), None);
        assert!(
            misfit(&chain(100, json!({"items": {"$ref": "#/$defs/0"}})), &nested(127)).is_some()
        );
    }
}
