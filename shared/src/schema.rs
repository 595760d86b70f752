//! JSON Schemas of others: what an agent's parameters must fit, and the answer to its question.

use std::error::Error;

use boon::{Compiler, SchemaIndex, Schemas, UrlLoader, ValidationError};
use serde_json::Value;

/// A schema that says all it says by itself.
pub struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
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
        Ok(Self { schemas, index })
    }

    pub fn check(&self, value: &Value) -> Result<(), Misfit> {
        self.schemas.validate(value, self.index).map_err(|error| {
            let first = first(&error);
            let path = first.instance_location.to_string().replace('/', ".");
            Misfit { path, reason: first.kind.to_string() }
        })
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
}
