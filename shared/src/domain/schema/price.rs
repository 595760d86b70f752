//! What a schema costs before it is compiled, and a check before it is made: both count what a
//! validator would go through, and stop counting where it is too much.

use serde_json::Value;

use crate::domain::schema::{
    graph::{Graph, Node, Reader, values},
    violation::{InvalidSchema, Refusal, Violation},
};

/// How many subschemas a schema may have, each counted as often as it is reached.
pub(super) const MAX_PRICE: usize = 1_000;

/// How often a check may hold a value against a subschema. A processor makes some millions of these
/// a second, and a function has a fourteenth of one.
pub(super) const MAX_WORK: usize = 300_000;
/// How deep a check may go; the stack is made for it.
const MAX_DEPTH: usize = 5_000;
/// Of the errors that a validator may collect, all together.
const MAX_ERROR_BYTES: usize = 24 * 1024 * 1024;
/// Of one error, of the list that it stands in where it has causes, and of each step to its place.
const ERROR_BYTES: usize = 256;
const CAUSES_BYTES: usize = 800;
const STEP_BYTES: usize = 40;

/// The graph of a schema that is not too costly.
pub(super) fn of(subschemas: Reader<'_>) -> Result<Graph, InvalidSchema> {
    let graph = subschemas.graph()?;
    total(&graph)?;
    Ok(graph)
}

/// How many subschemas it has, each counted as often as it is reached.
fn total(graph: &Graph) -> Result<usize, Refusal> {
    let mut price = Price { graph, total: 0, under: vec![false; graph.nodes.len()] };
    price.add(0)?;
    Ok(price.total)
}

/// A reference costs what it points to, unless it points to what it stands in.
struct Price<'a> {
    graph: &'a Graph,
    total: usize,
    /// Whether a subschema stands around the one that is priced.
    under: Vec<bool>,
}

impl Price<'_> {
    fn add(&mut self, index: usize) -> Result<(), Refusal> {
        let Some(node) = self.graph.nodes.get(index) else { return Ok(()) };
        self.total += node.weight;
        if self.total > MAX_PRICE {
            return Err(Refusal::TooCostly(
                "it has more than 1,000 subschemas, with what its references point to counted as \
                 often as they do",
            ));
        }
        if self.under.get(index) == Some(&true) {
            return Ok(());
        }
        self.set_under(index, true);
        for subschema in node.subschemas() {
            self.add(subschema)?;
        }
        self.set_under(index, false);
        Ok(())
    }

    fn set_under(&mut self, index: usize, is_under: bool) {
        if let Some(under) = self.under.get_mut(index) {
            *under = is_under;
        }
    }
}

/// What a check takes at most.
#[derive(Debug, Default)]
pub(super) struct Work {
    steps: usize,
    error_bytes: usize,
}

/// The subschemas that stand for one value, from the outermost to this one.
struct Chain<'a> {
    index: usize,
    outer: Option<&'a Chain<'a>>,
}

impl Chain<'_> {
    fn has(&self, index: usize) -> bool {
        std::iter::successors(Some(self), |chain| chain.outer).any(|chain| chain.index == index)
    }
}

/// Where a check stands.
#[derive(Clone, Copy)]
struct Place {
    /// In the value.
    level: usize,
    /// In value and schema.
    depth: usize,
}

impl Work {
    pub(super) fn of(graph: &Graph, value: &Value) -> Result<Self, Violation> {
        let mut work = Self::default();
        work.check(graph, 0, value, Place { level: 0, depth: 0 }, None)?;
        Ok(work)
    }

    /// Whether the memory suffices to find out what is wrong.
    pub(super) const fn may_collect_errors(&self) -> bool {
        self.error_bytes <= MAX_ERROR_BYTES
    }

    fn add(&mut self, steps: usize) -> Result<(), Violation> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > MAX_WORK {
            return Err(Violation::of_all("it is too large for this schema"));
        }
        Ok(())
    }

    fn check(
        &mut self,
        graph: &Graph,
        index: usize,
        value: &Value,
        place: Place,
        outer: Option<&Chain<'_>>,
    ) -> Result<(), Violation> {
        let Some(node) = graph.nodes.get(index) else { return Ok(()) };
        self.add(node.weight + place.depth / 64)?;
        if place.depth > MAX_DEPTH {
            return Err(Violation::of_all("it is nested too deep for this schema"));
        }
        self.error_bytes += ERROR_BYTES + STEP_BYTES * place.level;
        if node.subschemas().next().is_some() {
            self.error_bytes += CAUSES_BYTES;
        }
        // A validator stops where a schema needs itself.
        if outer.is_some_and(|outer| outer.has(index)) {
            return Ok(());
        }
        let chain = Chain { index, outer };
        let here = Place { depth: place.depth + 1, ..place };
        for subschema in &node.in_place {
            self.check(graph, *subschema, value, here, Some(&chain))?;
        }
        let within = Place { level: place.level + 1, ..here };
        match value {
            Value::Object(members) => {
                self.add(members.len() / 4)?;
                self.error_bytes += members.len() * 24;
                for (name, member) in members {
                    self.member(graph, node, (name, member), within)?;
                }
            }
            Value::Array(items) => {
                self.add(items.len() / 4)?;
                if node.is_unique {
                    // Few are compared with each other, many are hashed.
                    let looks = if items.len() > 20 { 4 } else { items.len() };
                    self.add(values(value) * looks / 8)?;
                }
                for (at, item) in items.iter().enumerate() {
                    let own = node.tuple.get(at).into_iter().flatten();
                    for subschema in own.chain(&node.items) {
                        self.check(graph, *subschema, item, within, None)?;
                    }
                }
            }
            Value::String(text) => self.add(text.len().saturating_mul(node.places) / 64)?,
            _ => {}
        }
        Ok(())
    }

    fn member(
        &mut self,
        graph: &Graph,
        node: &Node,
        (name, member): (&String, &Value),
        within: Place,
    ) -> Result<(), Violation> {
        let own = node.properties.get(name);
        let others = if own.is_some() { &[][..] } else { &node.others };
        for subschema in own.into_iter().flatten().chain(others) {
            self.check(graph, *subschema, member, within, None)?;
        }
        for (subschema, places) in &node.patterns {
            self.add(1 + name.len().saturating_mul(*places) / 64)?;
            self.check(graph, *subschema, member, within, None)?;
        }
        if !node.names.is_empty() {
            let name = Value::String(name.clone());
            for subschema in &node.names {
                self.check(graph, *subschema, &name, within, None)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;
    use crate::domain::{json::Json, schema::Schema};

    /// How many subschemas it has once each reference is replaced by what it points to, the tree being
    /// written out in fact.
    fn written_out(document: &Value, schema: &Value, under: &[String]) -> usize {
        let list = |value: &Value| match value {
            Value::Array(items) => items.clone(),
            Value::Null => Vec::new(),
            one => vec![one.clone()],
        };
        let map = |value: &Value| -> Vec<Value> {
            value.as_object().map(|it| it.values().cloned().collect()).unwrap_or_default()
        };
        let mut subschemas = list(&schema["allOf"]);
        subschemas.extend(list(&schema["anyOf"]));
        subschemas.extend(list(&schema["not"]));
        subschemas.extend(list(&schema["items"]));
        subschemas.extend(map(&schema["properties"]));
        let within: usize = subschemas.iter().map(|it| written_out(document, it, under)).sum();
        let referred = schema["$ref"].as_str().map_or(0, |reference| {
            if under.iter().any(|it| it == reference) {
                return 1;
            }
            let under = [under, &[reference.to_owned()]].concat();
            let target = document.pointer(&reference[1..]).unwrap();
            written_out(document, target, &under)
        });
        1 + within + referred
    }

    /// Schemas of few keywords, which refer to three definitions and to all of the document.
    fn schema() -> impl Strategy<Value = Value> {
        let reference =
            prop_oneof![Just("#".to_owned()), (0..3).prop_map(|i| format!("#/$defs/{i}"))];
        let leaf = prop_oneof![
            Just(json!(true)),
            Just(json!({"type": "number"})),
            Just(json!({"type": "string", "maxLength": 1})),
            Just(json!({"enum": [1, "a", null]})),
            reference.prop_map(|reference| json!({"$ref": reference})),
        ];
        let any = leaf.prop_recursive(3, 8, 2, |inner| {
            let two = prop::collection::vec(inner.clone(), 1..3);
            prop_oneof![
                two.clone().prop_map(|it| json!({"allOf": it})),
                two.prop_map(|it| json!({"anyOf": it})),
                inner.clone().prop_map(|it| json!({"not": it})),
                inner.clone().prop_map(|it| json!({"items": it})),
                (inner.clone(), inner).prop_map(|(a, b)| json!({"properties": {"a": a, "b": b}})),
            ]
        });
        (any.clone(), prop::collection::vec(any, 3)).prop_map(|(mut root, definitions)| {
            if root.is_boolean() {
                root = json!({});
            }
            let names = (0..).map(|i: usize| i.to_string());
            root["$defs"] = Value::Object(names.zip(definitions).collect::<Map<_, _>>());
            root
        })
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(json!(1)), Just(json!("a")), Just(json!("ab")), Just(json!(null))];
        leaf.prop_recursive(3, 8, 2, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                (inner.clone(), inner).prop_map(|(a, b)| json!({"a": a, "b": b})),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(700))]

        #[test]
        fn a_price_is_never_less_than_the_schema_written_out(schema in schema()) {
            let written_out = written_out(&schema, &schema, &["#".to_owned()]);
            let graph = Graph::of(&schema).unwrap();
            match total(&graph) {
                Ok(price) => prop_assert!(price >= written_out, "{} < {}", price, written_out),
                Err(_) => prop_assert!(written_out > 100, "{}", written_out),
            }
        }

        /// To ask for the contrary first changes no answer.
        #[test]
        fn another_validator_says_the_same((schema, value) in (schema(), value())) {
            // One that needs itself for one value is none, and each validator says so in its own way.
            prop_assume!(!needs_itself(&schema));
            let Ok(parsed) = Schema::parse(&Json::of(&schema)) else { return Ok(()) };
            let other = jsonschema::validator_for(&schema).unwrap();
            prop_assert_eq!(parsed.check(Json::of(&value)).is_ok(), other.is_valid(&value));
        }
    }

    /// Whether a subschema stands for a value that it stands for already.
    fn needs_itself(schema: &Value) -> bool {
        let graph = Graph::of(schema).unwrap();
        let mut ends = vec![false; graph.nodes.len()];
        // What needs nothing that is not known to end, ends.
        for _ in 0..graph.nodes.len() {
            for (index, node) in graph.nodes.iter().enumerate() {
                ends[index] = node.in_place.iter().all(|it| ends[*it]);
            }
        }
        ends.contains(&false)
    }
}
