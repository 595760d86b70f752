//! What a read asks for. IAM lets `read` have no attribute that it does not name, so that a mistake in
//! it cannot show a callback's headers or an agent's task token.

use std::collections::HashMap;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, Visitor, value::Error},
    forward_to_deserialize_any,
};

/// Attributes to read.
#[derive(Debug)]
pub(super) struct Projection {
    pub(super) expression: String,
    pub(super) names: HashMap<String, String>,
}

impl Projection {
    /// All that this struct is made of.
    pub(super) fn of<'de, T: Deserialize<'de>>() -> Self {
        let mut fields: &[&str] = &[];
        // It is refused as soon as it has said what it wants.
        drop(T::deserialize(Fields(&mut fields)));
        Self::naming(fields)
    }

    /// The fields of another struct of the same item besides.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.expression = format!("{}, {}", self.expression, other.expression);
        self.names.extend(other.names);
        self
    }

    /// These, all through placeholders, since some are reserved words.
    pub(super) fn naming(attributes: &[&str]) -> Self {
        let placeholders: Vec<_> = attributes.iter().map(|name| format!("#{name}")).collect();
        Self {
            expression: placeholders.join(", "),
            names: placeholders
                .into_iter()
                .zip(attributes.iter().map(ToString::to_string))
                .collect(),
        }
    }
}

/// Notes the names of the fields that a struct asks for.
struct Fields<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        Err(Error::custom("only its fields are asked for"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("it is no struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{delivery::Delivery, execution::Execution, outcome::Outcome},
        store::subscriptions::listed_projection,
    };

    #[test]
    fn a_projection_names_each_field_of_its_type() {
        let outcome = Projection::of::<Outcome>();

        assert_eq!(outcome.expression, "#output, #error, #cause, #redrive_count, #rank");
        assert_eq!(outcome.names["#cause"], "cause");
        for some in [Projection::of::<Execution>(), Projection::of::<Delivery>()] {
            assert!(some.names.contains_key("#execution_id"));
            assert_eq!(some.expression.split(", ").count(), some.names.len());
        }
    }

    /// What it lacks is denied on AWS, and by the local engine, only when it is asked for.
    #[test]
    fn the_template_lets_read_have_each_field_of_what_it_reads() {
        let template = include_str!("../../../infra/template.yaml");
        for (list, reads) in [
            (
                "&run-attributes [",
                vec![
                    Projection::of::<Outcome>(),
                    Projection::of::<Execution>(),
                    Projection::of::<Delivery>(),
                ],
            ),
            ("&subscription-attributes [", vec![listed_projection()]),
        ] {
            let (_, list) = template.split_once(list).unwrap();
            let (list, _) = list.split_once(']').unwrap();
            let allowed: Vec<&str> = list.split(',').map(str::trim).collect();
            for name in reads.iter().flat_map(|read| read.names.values()) {
                assert!(allowed.contains(&name.as_str()), "{name}");
            }
        }
    }
}
