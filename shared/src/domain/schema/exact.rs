//! Whether a validator checks the numbers that a schema says, and not what an `f64` makes of them.

use serde_json::{Number, Value};

use crate::domain::{
    decimal::is_exact,
    error::told,
    json::{Json, tokens::Step},
    schema::{
        graph::{MANY, ONE, Reader},
        violation::InvalidSchema,
    },
    truncated,
};

/// Keywords whose number is compared as an `f64`.
const COMPARED: [&str; 5] =
    ["maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum", "multipleOf"];
/// Keywords that are held against a value by other numbers: those of 64 bits are exact.
const EQUAL: [&str; 10] = [
    "const",
    "enum",
    "maxLength",
    "minLength",
    "maxItems",
    "minItems",
    "maxProperties",
    "minProperties",
    "maxContains",
    "minContains",
];

/// Of a number, as it is told.
const MAX_NUMBER: usize = 40;

/// Refuses a schema that has a rule whose number would be rounded. What is no rule, such as a default,
/// may have any digits.
pub(super) fn check(
    schema: &Json,
    value: &Value,
    subschemas: &Reader<'_>,
) -> Result<(), InvalidSchema> {
    let mut numbers = schema.numbers();
    while let Some(written) = numbers.next() {
        let Ok(number) = serde_json::from_str::<Number>(written) else { continue };
        if number.as_f64().is_some_and(|float| is_exact(written, float)) {
            continue;
        }
        let path = numbers.path();
        let is_whole = number.is_u64() || number.is_i64();
        let is_rounded = match keyword(&path, value, subschemas) {
            Some(keyword) if COMPARED.contains(&keyword) => true,
            Some(keyword) => EQUAL.contains(&keyword) && !is_whole,
            None => false,
        };
        if is_rounded {
            let read = number.as_f64().unwrap_or_default().to_string();
            return Err(rounded(&path, written, &read));
        }
    }
    Ok(())
}

/// Refuses a schema that has a number beyond an `f64`.
pub(super) fn check_size(schema: &Json) -> Result<(), InvalidSchema> {
    let mut numbers = schema.numbers();
    while let Some(written) = numbers.next() {
        if serde_json::from_str::<Number>(written).is_err() {
            return Err(rounded(&numbers.path(), written, "infinite"));
        }
    }
    Ok(())
}

/// In which keyword of a subschema a number stands.
fn keyword<'a>(path: &'a [Step], schema: &Value, subschemas: &Reader<'_>) -> Option<&'a str> {
    let mut value = schema;
    let mut keyword = path.first();
    for (index, step) in path.iter().enumerate() {
        value = match step {
            Step::Member(name) => value.get(name)?,
            Step::Item(index) => value.get(index)?,
        };
        if subschemas.is_subschema(value) {
            keyword = path.get(index + 1);
        }
    }
    match keyword? {
        Step::Member(name) => Some(name),
        Step::Item(_) => None,
    }
}

fn rounded(path: &[Step], written: &str, read: &str) -> InvalidSchema {
    let place = |name: fn(&str) -> &str| {
        let steps = path.iter().map(|step| match step {
            Step::Member(member) => format!("/{}", name(member)),
            Step::Item(index) => format!("/{index}"),
        });
        told(steps.collect::<String>()).into_owned()
    };
    InvalidSchema::Rounded {
        place: place(|name| name),
        keywords: place(known),
        written: truncated::chars(written, MAX_NUMBER).to_owned(),
        read: read.to_owned(),
    }
}

/// A keyword as it is, and a name in place of which a star stands.
fn known(name: &str) -> &str {
    let lists = [&ONE[..], &MANY, &COMPARED, &EQUAL];
    if lists.iter().any(|keywords| keywords.contains(&name)) { name } else { "*" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::Schema;

    /// Where a number would be rounded.
    fn refused(schema: &str) -> Option<(String, String, String)> {
        match Schema::parse(&Json::parse(schema).unwrap()) {
            Ok(_) => None,
            Err(InvalidSchema::Rounded { place, keywords, written, .. }) => {
                Some((place, keywords, written))
            }
            Err(other) => panic!("{schema}: {other}"),
        }
    }

    #[test]
    fn a_rule_that_would_be_rounded_is_refused_by_its_place() {
        for (schema, place, keywords) in [
            (r#"{"maximum": 12345678901234567890.10}"#, "/maximum", "/maximum"),
            (r#"{"minimum": 9007199254740993}"#, "/minimum", "/minimum"),
            (
                r#"{"exclusiveMaximum": -9007199254740993}"#,
                "/exclusiveMaximum",
                "/exclusiveMaximum",
            ),
            (
                r#"{"exclusiveMinimum": 0.10000000000000001}"#,
                "/exclusiveMinimum",
                "/exclusiveMinimum",
            ),
            (r#"{"multipleOf": 1e-400}"#, "/multipleOf", "/multipleOf"),
            (r#"{"maximum": 1e400}"#, "/maximum", "/maximum"),
            (r#"{"const": 18446744073709551617}"#, "/const", "/const"),
            (r#"{"enum": [1, {"a": [0.12345678901234567890]}]}"#, "/enum/1/a/0", "/enum/1/*/0"),
            (r#"{"maxLength": 36893488147419103231}"#, "/maxLength", "/maxLength"),
            (
                r#"{"properties": {"secret": {"items": [true, {"maximum": 9007199254740993}]}}}"#,
                "/properties/secret/items/1/maximum",
                "/properties/*/items/1/maximum",
            ),
            (
                r##"{"$ref": "#/x/default", "x": {"default": {"maximum": 9007199254740993}}}"##,
                "/x/default/maximum",
                "/*/*/maximum",
            ),
            (
                r#"{"properties": {"default": {"maximum": 9007199254740993}}}"#,
                "/properties/default/maximum",
                "/properties/*/maximum",
            ),
        ] {
            let (told, masked, _) = refused(schema).unwrap();
            assert_eq!((told.as_str(), masked.as_str()), (place, keywords), "{schema}");
        }
        let long = format!(r#"{{"{}": 1, "maximum": 0.{}}}"#, "n".repeat(9_000), "1".repeat(9_000));
        assert!(refused(&long).unwrap().2.len() <= MAX_NUMBER);
        let said =
            Schema::parse(&Json::parse(r#"{"maximum": 9007199254740993}"#).unwrap()).err().unwrap();
        assert_eq!(
            said.to_string(),
            "/maximum is 9007199254740993, which would be checked as 9007199254740992"
        );
    }

    #[test]
    fn what_is_checked_as_it_is_written_or_is_no_rule_may_stay() {
        for schema in [
            r#"{"maximum": 1.0, "minimum": 0.1, "multipleOf": 1e2}"#,
            r#"{"maximum": 18446744073709551616, "minimum": -9007199254740992}"#,
            r#"{"enum": [9007199254740993, -9007199254740993, 18446744073709551615]}"#,
            r#"{"const": {"id": 9007199254740993}}"#,
            r#"{"maximum": 1, "default": 12345678901234567890.10, "examples": [1e-400]}"#,
            r#"{"x-limit": {"maximum": 9007199254740993}}"#,
            r#"{"default": {"maximum": 9007199254740993}}"#,
            r#"{"const": "9007199254740993.5"}"#,
        ] {
            assert_eq!(refused(schema), None, "{schema}");
        }
    }
}
