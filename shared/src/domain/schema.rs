//! JSON Schemas of others: what an agent's parameters must fit, and the answer to its question.

mod exact;
mod graph;
mod pattern;
mod price;
pub mod violation;

use std::{error::Error, fmt::Write, sync::mpsc, thread, time::Duration};

use boon::{Compiler, ErrorKind, InstanceToken, SchemaIndex, Schemas, UrlLoader, ValidationError};
use serde::Deserialize;
use serde_json::{Deserializer, Value, json};

use crate::domain::{
    error::told,
    json::{Json, MAX_DEPTH},
    schema::{
        graph::{Graph, Reader},
        price::Work,
        violation::{InvalidSchema, Violation},
    },
};

/// Where the schema is, and where its negation: neither can be reached by a reference.
const URL: &str = "https://schema.invalid/";
const NEGATION: &str = "https://negation.invalid/";

/// A check goes down into the value, and into the schema at each of its levels. [`price`] bounds how
/// deep, and this is enough for it.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// What a check may take. Its work is bounded, so one that takes longer lacks a processor; its thread
/// ends by itself, since none can be ended from outside.
const DEADLINE: Duration = Duration::from_secs(10);

/// A schema that says all it says by itself, and is not too costly.
pub struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
    /// Of a schema that says the contrary: a validator collects no errors below a negation.
    negation: SchemaIndex,
    graph: Graph,
}

impl Schema {
    /// Without `$schema` it is one of draft 2020-12. Patterns are those of the crate `regex`. What is
    /// too costly is refused before anything is compiled.
    pub fn parse(schema: &Json) -> Result<Self, InvalidSchema> {
        let Some(value) = schema.to_value() else {
            exact::check_size(schema)?;
            return Err(InvalidSchema::TooCostly("it is nested deeper than 128 levels"));
        };
        let subschemas = Reader::of(&value)?;
        exact::check(schema, &value, &subschemas)?;
        let graph = price::of(subschemas)?;
        let mut schemas = Schemas::new();
        let mut compiler = Compiler::new();
        compiler.use_loader(Box::new(Nothing));
        let invalid = |error| InvalidSchema::NoSchema(told(format!("{error:#}")).into_owned());
        compiler.add_resource(URL, value).map_err(invalid)?;
        compiler.add_resource(NEGATION, json!({"not": {"$ref": URL}})).map_err(invalid)?;
        let index = compiler.compile(URL, &mut schemas).map_err(invalid)?;
        let negation = compiler.compile(NEGATION, &mut schemas).map_err(invalid)?;
        Ok(Self { schemas, index, negation, graph })
    }

    /// On a thread of its own, whose stack is used as far as this schema and this value need it.
    pub fn check(self, json: Json) -> Result<(), Violation> {
        let (tell, told) = mpsc::channel();
        let checking = thread::Builder::new().stack_size(STACK_BYTES);
        // Where no thread can be had, nothing is ever told.
        drop(checking.spawn(move || drop(tell.send(self.hold_against(&json)))));
        told.recv_timeout(DEADLINE)
            .unwrap_or_else(|_| Err(Violation::of_all("it cannot be checked")))
    }

    fn hold_against(&self, json: &Json) -> Result<(), Violation> {
        if json.depth() > MAX_DEPTH {
            return Err(Violation::of_all("it is nested deeper than 1,000 levels"));
        }
        let mut deserializer = Deserializer::from_str(json.as_str());
        // It has the limit above.
        deserializer.disable_recursion_limit();
        match Value::deserialize(&mut deserializer) {
            Ok(value) => self.validate(&value),
            Err(_) => Err(Violation::of_all("it has a number beyond 1.8e308")),
        }
    }

    fn validate(&self, value: &Value) -> Result<(), Violation> {
        let work = Work::of(&self.graph, value)?;
        if self.schemas.validate(value, self.negation).is_err() {
            return Ok(());
        }
        if !work.may_collect_errors() {
            return Err(Violation::of_all("it is too large to say where"));
        }
        self.schemas.validate(value, self.index).map_err(|error| {
            let first = first(&error);
            let [path, reason] = [place(first), rule(&first.kind)].map(|it| told(it).into_owned());
            Violation { path, reason }
        })
    }
}

/// Where in the value; of a property that may not be there, its own place.
fn place(error: &ValidationError<'_, '_>) -> String {
    let mut place = String::new();
    for token in &error.instance_location.tokens {
        // Writing to a string does not fail.
        let _ = match token {
            InstanceToken::Prop(name) => write!(place, ".{name}"),
            InstanceToken::Item(index) => write!(place, ".{index}"),
        };
    }
    if let ErrorKind::AdditionalProperties { got } = &error.kind
        && let Some(name) = got.first()
    {
        let _ = write!(place, ".{name}");
    }
    place
}

/// The rule that a value breaks. The value is quoted nowhere: it may be a secret, and whoever reads this
/// has it.
fn rule(kind: &ErrorKind<'_, '_>) -> String {
    match kind {
        ErrorKind::PropertyName { .. } => "has a property whose name is not valid".to_owned(),
        ErrorKind::AdditionalProperties { .. } => "is not allowed".to_owned(),
        ErrorKind::Format { want, .. } => format!("is not valid {want}"),
        ErrorKind::Pattern { want, .. } => format!("does not match pattern '{want}'"),
        ErrorKind::ContentEncoding { want, .. } => format!("is not {want} encoded"),
        ErrorKind::ContentMediaType { want, .. } => format!("is not of media type {want}"),
        ErrorKind::Minimum { want, .. } => format!("must be at least {want}"),
        ErrorKind::Maximum { want, .. } => format!("must be at most {want}"),
        ErrorKind::ExclusiveMinimum { want, .. } => format!("must be more than {want}"),
        ErrorKind::ExclusiveMaximum { want, .. } => format!("must be less than {want}"),
        ErrorKind::MultipleOf { want, .. } => format!("must be a multiple of {want}"),
        // These say the schema's part, and of the value its type, lengths and positions alone.
        ErrorKind::Group
        | ErrorKind::Schema { .. }
        | ErrorKind::ContentSchema
        | ErrorKind::Reference { .. }
        | ErrorKind::RefCycle { .. }
        | ErrorKind::FalseSchema
        | ErrorKind::Type { .. }
        | ErrorKind::Enum { .. }
        | ErrorKind::Const { .. }
        | ErrorKind::MinProperties { .. }
        | ErrorKind::MaxProperties { .. }
        | ErrorKind::Required { .. }
        | ErrorKind::Dependency { .. }
        | ErrorKind::DependentRequired { .. }
        | ErrorKind::MinItems { .. }
        | ErrorKind::MaxItems { .. }
        | ErrorKind::Contains
        | ErrorKind::MinContains { .. }
        | ErrorKind::MaxContains { .. }
        | ErrorKind::UniqueItems { .. }
        | ErrorKind::AdditionalItems { .. }
        | ErrorKind::MinLength { .. }
        | ErrorKind::MaxLength { .. }
        | ErrorKind::Not
        | ErrorKind::AllOf
        | ErrorKind::AnyOf
        | ErrorKind::OneOf(_) => kind.to_string(),
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

    fn violation(schema: &Value, value: &Value) -> Option<(String, String)> {
        let violation = Schema::parse(&Json::of(schema)).unwrap().check(Json::of(value)).err()?;
        Some((violation.path, violation.reason))
    }

    #[test]
    fn a_violation_is_told_by_its_place_and_its_reason() {
        let schema = json!({
            "type": "object", "required": ["lines"],
            "properties": {"lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}},
            "$defs": {"line": {"properties": {"amount": {"type": "number", "minimum": 1}}}},
        });
        let said = |value| violation(&schema, &value);

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
    fn a_violation_quotes_the_rule_and_never_the_value() {
        let many: Vec<_> = (0..1_000).map(|i| format!("choice-{i}")).collect();
        let secret = json!("SECRET");
        let long = json!("S".repeat(9_000));
        for (schema, value, reason) in [
            (json!({"pattern": "^[0-9]{4}$"}), &secret, "does not match pattern '^[0-9]{4}$'"),
            (json!({"const": "x"}), &secret, "value must be 'x'"),
            (json!({"enum": ["x", 1]}), &secret, "value must be one of 'x', 1"),
            (json!({"enum": many}), &secret, ""),
            (json!({"maxLength": 3}), &secret, "length must be <=3, but got 6"),
            (json!({"minLength": 9}), &secret, "length must be >=9, but got 6"),
            (json!({"type": "integer"}), &secret, "want integer, but got string"),
            (json!({"not": {}}), &secret, "not failed"),
            (json!({"oneOf": [{}, true]}), &secret, "oneOf failed, subschemas 0, 1 matched"),
            (json!({"pattern": "^T"}), &long, "does not match pattern '^T'"),
            (json!({"minimum": 8}), &json!(777), ""),
            (json!({"maximum": 8}), &json!(777), "must be at most 8"),
            (json!({"exclusiveMaximum": 8}), &json!(777), "must be less than 8"),
            (json!({"minimum": 8888}), &json!(777), "must be at least 8888"),
            (json!({"exclusiveMinimum": 8888}), &json!(777), "must be more than 8888"),
            (json!({"multipleOf": 5}), &json!(777), "must be a multiple of 5"),
            (
                json!({"items": {"additionalProperties": false}}),
                &json!([{"name": "SECRET"}]),
                "is not allowed",
            ),
            (json!({"propertyNames": {"maxLength": 2}}), &json!({"SECRET": 1}), ""),
            (json!({"propertyNames": false}), &json!({"SECRET": 1}), ""),
            (
                json!({"uniqueItems": true}),
                &json!(["SECRET", "SECRET"]),
                "items at 0 and 1 are equal",
            ),
            (json!({"contains": {"const": 1}}), &json!(["SECRET"]), ""),
            (json!({"items": {"const": 1}}), &json!(["SECRET"]), "value must be 1"),
            (json!({"dependentRequired": {"a": ["b"]}}), &json!({"a": "SECRET"}), ""),
        ] {
            let said = Schema::parse(&Json::of(&schema)).unwrap().check(Json::of(value));
            let Err(Violation { path, reason: told }) = said else {
                assert!(schema["minimum"] == 8, "{schema} {value}");
                continue;
            };
            let all = format!("{path} {told}");
            assert!(!all.contains("SECRET") && !all.contains("777"), "{all}");
            assert!(all.len() < 1_100 && (reason.is_empty() || told == reason), "{all}");
        }
        // A format is asserted where the schema's draft does so.
        let format =
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "format": "ipv4"});
        assert_eq!(violation(&format, &secret).unwrap().1, "is not valid ipv4");
        // The place is the value's own, and bounded.
        let odd = json!({"a/b~c": {"": [true]}});
        let numbers =
            json!({"additionalProperties": {"additionalProperties": {"items": {"type": "null"}}}});
        assert_eq!(violation(&numbers, &odd).unwrap().0, ".a/b~c..0");
        let strict = json!({"items": {"additionalProperties": false}});
        assert_eq!(violation(&strict, &json!([{"name": "SECRET"}])).unwrap().0, ".0.name");
        let deep = json!({"n".repeat(9_000): "SECRET"});
        let place =
            violation(&json!({"additionalProperties": {"type": "integer"}}), &deep).unwrap().0;
        assert!(place.starts_with(".nnn") && place.len() < 600, "{place}");
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
            assert!(Schema::parse(&Json::of(&schema)).is_err(), "{schema}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let list = json!({"properties": {"next": {"$ref": "#"}}, "maxProperties": 1});

        assert_eq!(violation(&list, &json!({"next": {"next": {}}})), None);
        assert_eq!(violation(&list, &json!({"next": {"a": 1, "b": 2}})).unwrap().0, ".next");
        // One that says nothing but that it fits itself.
        drop(
            Schema::parse(&Json::of(&json!({"$ref": "#"})))
                .map(|schema| schema.check(Json::of(&1))),
        );
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
        let long = chain(990, json!({"type": "string"}));
        assert_eq!(violation(&long, &json!(1)).unwrap().1, "want string, but got number");
        assert!(refusal(&chain(1_000, json!({}))).contains("1,000 subschemas"));

        let nested = |levels: usize| (1..levels).fold(json!(1), |inner, _| json!([inner]));
        let loops = chain(35, json!({"items": {"$ref": "#/$defs/0"}}));
        assert_eq!(violation(&loops, &nested(127)), None);
        let longer = chain(100, json!({"items": {"$ref": "#/$defs/0"}}));
        let (_, reason) = violation(&longer, &nested(127)).unwrap();
        assert_eq!(reason, "it is nested too deep for this schema");
    }

    /// Any JSON, as an `OpenAPI` document has it.
    fn any() -> Value {
        json!({
            "$ref": "#/$defs/any",
            "$defs": {"any": {"anyOf": [
                {"type": ["string", "number", "boolean", "null"]},
                {"type": "array", "items": {"$ref": "#/$defs/any"}},
                {"type": "object", "additionalProperties": {"$ref": "#/$defs/any"}},
            ]}},
        })
    }

    #[test]
    fn values_of_a_thousand_levels_are_checked_and_deeper_ones_refused() {
        let nested = |levels: usize, inner: &str| {
            let (open, close) = ("[".repeat(levels - 2), "]".repeat(levels - 2));
            Json::parse(&format!(r#"{{"wait":0,"deep":{open}{inner}{close}}}"#)).unwrap()
        };
        let check = |schema: &Value, json: Json| {
            let said = Schema::parse(&Json::of(schema)).unwrap().check(json);
            said.map_err(|violation| (violation.path, violation.reason))
        };
        let of_all = |reason: &str| Err((String::new(), reason.to_owned()));
        let numbers = json!({
            "properties": {"deep": {"$ref": "#/$defs/list"}},
            "$defs": {"list": {"type": ["array", "number"], "items": {"$ref": "#/$defs/list"}}},
        });
        for schema in [json!({}), json!({"properties": {"deep": {}}}), any(), numbers.clone()] {
            for levels in [3, 127, 128, 129, MAX_DEPTH] {
                assert_eq!(check(&schema, nested(levels, "1")), Ok(()), "{levels} {schema}");
            }
            let refused = check(&schema, nested(MAX_DEPTH + 1, "1"));
            assert_eq!(refused, of_all("it is nested deeper than 1,000 levels"));
            assert_eq!(
                check(&schema, nested(5, "1e400")),
                of_all("it has a number beyond 1.8e308")
            );
        }
        // One that is wrong is found at any level, and its place where that takes little.
        assert_eq!(
            check(&numbers, nested(100, r#""x""#)).unwrap_err().0,
            format!(".deep{}", ".0".repeat(98))
        );
        assert_eq!(
            check(&numbers, nested(MAX_DEPTH, r#""x""#)),
            of_all("it is too large to say where")
        );
        let wait = json!({"properties": {"wait": {"type": "string"}}});
        let (place, _) = check(&wait, nested(MAX_DEPTH, "1")).unwrap_err();
        assert_eq!(place, ".wait");
    }

    fn refusal(schema: &Value) -> String {
        let before = std::time::Instant::now();
        let refused = Schema::parse(&Json::of(schema)).err().unwrap().to_string();
        let took = before.elapsed();
        // Of a debug build, beside other tests.
        assert!(took < std::time::Duration::from_millis(500), "{took:?}");
        refused
    }

    /// A schema whose reference is doubled `levels` times.
    fn doubled(levels: usize, keyword: &str) -> Value {
        let double = |level: usize| {
            let next = json!({"$ref": format!("#/$defs/{}", level + 1)});
            (level.to_string(), json!({keyword: [next, next]}))
        };
        let mut levels_: serde_json::Map<_, _> = (0..levels).map(double).collect();
        levels_.insert(levels.to_string(), json!({"type": "string"}));
        json!({"$ref": "#/$defs/0", "$defs": levels_})
    }

    #[test]
    fn the_bombs_of_the_review_are_refused() {
        let patterns = |count: usize| {
            let one = |i: usize| (i.to_string(), json!({"pattern": format!(".{{900}}{i}")}));
            json!({"properties": (0..count).map(one).collect::<serde_json::Map<_, _>>()})
        };
        for bomb in [
            patterns(1),
            patterns(200),
            patterns(999),
            json!({"patternProperties": {".{900}1": {}}}),
        ] {
            assert!(refusal(&bomb).contains("pattern"), "{bomb}");
        }
        for keyword in ["allOf", "anyOf", "oneOf"] {
            for levels in [9, 16, 20, 24, 200] {
                assert!(refusal(&doubled(levels, keyword)).contains("1,000"), "{levels}");
            }
        }
        assert_eq!(violation(&doubled(6, "allOf"), &json!("x")), None);
        assert_eq!(
            violation(&doubled(6, "allOf"), &json!(1)).unwrap().1,
            "want string, but got number"
        );
    }

    #[test]
    fn other_bombs_of_the_kind_are_refused_too() {
        let many: serde_json::Map<_, _> = (0..1_001).map(|i| (i.to_string(), json!({}))).collect();
        for bomb in [
            json!({"properties": many}),
            json!({"$defs": many}),
            json!({"patternProperties": many}),
            json!({"allOf": vec![json!({}); 1_000]}),
            json!({"enum": (0..40_000).collect::<Vec<_>>()}),
            json!({"pattern": r"\d".repeat(900)}),
            json!({"pattern": r"a".repeat(3_000)}),
            json!({"pattern": r"(?i)\p{L}{20}"}),
            json!({"pattern": "((a{10}){10}){100}"}),
            json!({"pattern": "(((a|b){9}){9}){9}"}),
            json!({"pattern": "[^a]{999}"}),
            json!({"propertyNames": {"pattern": ".{1,900}"}}),
            json!({"$defs": {"a": {"pattern": ".{900}"}}, "$ref": "#/$defs/a"}),
            // Doubled where no keyword leads, by an anchor, and by an id.
            json!({"allOf": [{"$ref": "#/x/0"}], "x": (0..20).map(|i: usize| {
                let next = json!({"$ref": format!("#/x/{}", (i + 1).min(19))});
                json!({"allOf": [next, next]})
            }).collect::<Vec<_>>()}),
            json!({"$ref": "#a0", "$defs": (0..20).map(|i: usize| {
                let next = json!({"$ref": format!("#a{}", (i + 1).min(19))});
                (i.to_string(), json!({"$anchor": format!("a{i}"), "allOf": [next, next]}))
            }).collect::<serde_json::Map<_, _>>()}),
            json!({"$id": "https://example.com/s", "$ref": "d0", "$defs": (0..20).map(|i: usize| {
                let next = json!({"$ref": format!("https://example.com/d{}", (i + 1).min(19))});
                (i.to_string(), json!({"$id": format!("d{i}"), "allOf": [next, next]}))
            }).collect::<serde_json::Map<_, _>>()}),
        ] {
            assert!(
                matches!(Schema::parse(&Json::of(&bomb)), Err(InvalidSchema::TooCostly(_))),
                "{bomb}"
            );
        }
    }

    #[test]
    fn a_check_that_would_take_too_much_is_not_made() {
        // Each level doubles what the one above it does.
        let tree = json!({"allOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]});
        let nested = (1..100).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(violation(&tree, &nested).unwrap().1, "it is too large for this schema");
        let wide = json!({"items": {"allOf": vec![json!({"type": "number"}); 100]}});
        assert_eq!(violation(&wide, &json!(vec![1; 100])), None);
        let (_, reason) = violation(&wide, &json!(vec![1; 100_000])).unwrap();
        assert_eq!(reason, "it is too large for this schema");
        let pattern = json!({"pattern": "^([a-z ]{1,20}){1,20}$"});
        assert_eq!(violation(&pattern, &json!("abc def")), None);
        let (_, reason) = violation(&pattern, &json!("a".repeat(200_000))).unwrap();
        assert_eq!(reason, "it is too large for this schema");
        // A plain list may be as long as parameters can be.
        let plain = json!({"items": {"type": "number"}});
        assert_eq!(violation(&plain, &json!(vec![1; 130_000])), None);
        let (_, reason) = violation(&plain, &json!(vec!["a"; 100_000])).unwrap();
        assert_eq!(reason, "it is too large to say where");
    }

    #[test]
    fn honest_schemas_pass() {
        let form = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Approval", "type": "object",
            "properties": {
                "approved": {"type": "boolean", "default": false},
                "email": {"type": "string", "format": "email", "pattern": r"^[\w.+-]+@[\w-]+(\.[\w-]+)+$"},
                "phone": {"type": "string", "pattern": r"^\+?[0-9 ()-]{7,20}$"},
                "id": {"type": "string", "pattern": "^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$"},
                "name": {"type": "string", "pattern": r"^\p{L}[\p{L} '-]*$", "maxLength": 200},
                "host": {"pattern": r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$"},
                "date": {"pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$"},
                "country": {"enum": (0..250).map(|i| format!("C{i}")).collect::<Vec<_>>()},
                "note": {"type": "string", "pattern": "^.{0,100}$"},
            },
            "required": ["approved"], "additionalProperties": false,
        });
        assert_eq!(
            violation(
                &form,
                &json!({
                    "approved": true, "email": "a.b@example.com", "phone": "+49 30 123456", "name": "Zoë",
                    "id": "123e4567-e89b-12d3-a456-426614174000", "host": "n8n.example.com", "country": "C9",
                    "date": "2026-01-31T09:00:00Z", "note": "ok",
                })
            ),
            None
        );

        let openapi = json!({
            "$ref": "#/components/schemas/Order",
            "components": {"schemas": {
                "Order": {"type": "object", "properties": {
                    "lines": {"type": "array", "items": {"$ref": "#/components/schemas/Line"}},
                    "billing": {"$ref": "#/components/schemas/Address"},
                    "shipping": {"$ref": "#/components/schemas/Address"},
                }},
                "Line": {"oneOf": [{"$ref": "#/components/schemas/Book"}, {"$ref": "#/components/schemas/Toy"}]},
                "Book": {"type": "object", "properties": {"isbn": {"type": "string"}}, "required": ["isbn"]},
                "Toy": {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]},
                "Address": {"type": "object", "properties": {"street": {"type": "string"}, "zip": {"type": "string"}}},
            }},
        });
        let line = json!({"isbn": "1"});
        assert_eq!(
            violation(&openapi, &json!({"lines": vec![line; 1_000], "billing": {"zip": "1"}})),
            None
        );

        // Any JSON, and a tree of expressions.
        let any = json!({"anyOf": [
            {"type": ["string", "number", "boolean", "null"]},
            {"type": "array", "items": {"$ref": "#"}},
            {"type": "object", "additionalProperties": {"$ref": "#"}},
        ]});
        let deep = (1..120).fold(json!(1), |inner, level| {
            if level % 2 == 0 { json!([inner]) } else { json!({"a": inner, "b": [1, 2]}) }
        });
        assert_eq!(violation(&any, &deep), None);
        let expression = json!({
            "$defs": {"e": {"$dynamicAnchor": "e", "oneOf": [
                {"type": "number"},
                {"type": "object", "properties": {"left": {"$dynamicRef": "#e"}, "right": {"$dynamicRef": "#e"}}, "required": ["left", "right"]},
                {"type": "object", "properties": {"negated": {"$dynamicRef": "#e"}}, "required": ["negated"]},
            ]}}, "$ref": "#/$defs/e",
        });
        let sum = (1..8).fold(json!(1), |inner, _| json!({"left": inner, "right": inner}));
        assert_eq!(violation(&expression, &sum), None);

        let bundled = json!({
            "$id": "https://example.com/schemas/order", "properties": {"item": {"$ref": "item"}, "next": {"$ref": "order"}},
            "$defs": {"item": {"$id": "item", "$ref": "#/$defs/n", "$defs": {"n": {"type": "number"}}}, "n": {"type": "string"}},
        });
        assert_eq!(violation(&bundled, &json!({"item": 1, "next": {"item": 2}})), None);
        assert_eq!(violation(&bundled, &json!({"next": {"item": "a"}})).unwrap().0, ".next.item");
        let draft_4 = json!({
            "$schema": "http://json-schema.org/draft-04/schema#", "id": "https://example.com/a",
            "properties": {"id": {"type": "string"}, "a": {"$ref": "#/definitions/größe"}}, "definitions": {"größe": {"minimum": 3, "exclusiveMinimum": true}},
        });
        assert_eq!(violation(&draft_4, &json!({"a": 4, "id": "ä"})), None);
        assert_eq!(violation(&draft_4, &json!({"a": 3})).unwrap().1, "must be more than 3");
    }
}
