//! Which subschemas a JSON Schema has, and which of them stand for which value. It is read without
//! the dialects and base URLs that decide between two readings: where there are two, both count, so
//! that what is counted here is at least what a validator does.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};
use url::Url;

use crate::domain::schema::{pattern, violation::Refusal};

/// Of the document, whether or not they are reached.
const MAX_NODES: usize = 1_000;
/// Subschemas with an id of their own.
const MAX_RESOURCES: usize = 50;
/// How often references may lead to what no keyword leads to.
const MAX_ROUNDS: usize = 8;

/// Hosts that a reference may not name: those of the schemas that the validator brings along, and
/// of ours.
const RESERVED: [&str; 2] = ["json-schema.org", ".invalid"];

/// Keywords whose value is a schema, or a list of schemas.
pub(super) const ONE: [&str; 16] = [
    "not",
    "if",
    "then",
    "else",
    "allOf",
    "anyOf",
    "oneOf",
    "items",
    "prefixItems",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "contentSchema",
];
/// Keywords whose value has a schema, or something else, under each name.
pub(super) const MANY: [&str; 6] =
    ["properties", "patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions"];
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// A subschema, and what is to be checked besides.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// One, and one more for each 32 values that it holds itself, such as those of an `enum`.
    pub(super) weight: usize,
    /// Of the same value.
    pub(super) in_place: Vec<usize>,
    /// Of the member with this name.
    pub(super) properties: BTreeMap<String, Vec<usize>>,
    /// Of every member, and how many places the pattern has that its name is held against.
    pub(super) patterns: Vec<(usize, usize)>,
    /// Of every member that is none of `properties`.
    pub(super) others: Vec<usize>,
    /// Of every member's name.
    pub(super) names: Vec<usize>,
    /// Of every item.
    pub(super) items: Vec<usize>,
    /// Of the item at this place.
    pub(super) tuple: Vec<Vec<usize>>,
    /// How many places the pattern of a text has.
    pub(super) places: usize,
    pub(super) is_unique: bool,
}

impl Node {
    /// All that it leads to.
    pub(super) fn subschemas(&self) -> impl Iterator<Item = usize> {
        let lists = [&self.in_place, &self.others, &self.names, &self.items];
        let lists = lists.into_iter().chain(&self.tuple).chain(self.properties.values());
        lists.flatten().copied().chain(self.patterns.iter().map(|(node, _)| *node))
    }
}

/// The subschemas of a document; the first is the document itself.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
}

impl Graph {
    #[cfg(test)]
    pub(super) fn of(schema: &Value) -> Result<Self, Refusal> {
        Reader::of(schema)?.graph()
    }
}

/// A schema with an id of its own, and the document.
struct Resource<'a> {
    value: &'a Value,
    names: Vec<String>,
}

/// Finds all subschemas of a document.
#[derive(Default)]
pub(super) struct Reader<'a> {
    is_draft_4: bool,
    found: Vec<&'a Value>,
    /// The place of each in `found`, by where it is in memory.
    index: HashMap<*const Value, usize>,
    resources: Vec<Resource<'a>>,
    anchors: HashMap<&'a str, Vec<&'a Value>>,
    pattern_costs: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn of(schema: &'a Value) -> Result<Self, Refusal> {
        let is_draft_4 = schema["$schema"].as_str().is_some_and(|it| it.contains("draft-04"));
        let mut reader = Reader { is_draft_4, ..Reader::default() };
        reader.collect(schema)?;
        reader.resources.push(Resource { value: schema, names: vec![String::new()] });
        for _ in 0..MAX_ROUNDS {
            let known = reader.found.len();
            for node in 0..known {
                reader.references(node)?;
            }
            if reader.found.len() == known {
                return Ok(reader);
            }
        }
        Err(Refusal::TooCostly("its references lead too deep into what is no schema"))
    }

    /// Whether a value of the document is a subschema, also one that only a reference leads to.
    pub(super) fn is_subschema(&self, value: &Value) -> bool {
        self.index.contains_key(&std::ptr::from_ref(value))
    }

    fn id(&self) -> &'static str {
        if self.is_draft_4 { "id" } else { "$id" }
    }

    /// Adds a schema with its subschemas.
    fn collect(&mut self, schema: &'a Value) -> Result<(), Refusal> {
        let mut open = vec![schema];
        while let Some(schema) = open.pop() {
            if self.index.contains_key(&std::ptr::from_ref(schema)) {
                continue;
            }
            if !(schema.is_object() || schema.is_boolean()) {
                return Err(Refusal::Invalid("a subschema is an object or a boolean"));
            }
            if self.found.len() >= MAX_NODES {
                return Err(Refusal::TooCostly("it has more than 1,000 subschemas"));
            }
            self.index.insert(std::ptr::from_ref(schema), self.found.len());
            self.found.push(schema);
            let Value::Object(members) = schema else { continue };
            self.name(schema, members)?;
            for keyword in ONE {
                match members.get(keyword) {
                    Some(Value::Array(items)) => open.extend(items),
                    Some(one) => open.push(one),
                    None => {}
                }
            }
            for keyword in MANY {
                let Some(Value::Object(many)) = members.get(keyword) else { continue };
                open.extend(many.values().filter(|it| !it.is_array() || keyword != "dependencies"));
            }
        }
        Ok(())
    }

    /// What else can refer to it by.
    fn name(&mut self, schema: &'a Value, members: &'a Map<String, Value>) -> Result<(), Refusal> {
        for keyword in ["$anchor", "$dynamicAnchor", self.id()] {
            let Some(Value::String(name)) = members.get(keyword) else { continue };
            let name = if keyword.ends_with("id") { fragment(name) } else { name };
            if !name.is_empty() {
                self.anchors.entry(name).or_default().push(schema);
            }
        }
        let names = names(schema, self.id())?;
        if !names.is_empty() {
            self.resources.push(Resource { value: schema, names });
        }
        if self.resources.len() > MAX_RESOURCES {
            return Err(Refusal::TooCostly("more than 50 subschemas have an $id"));
        }
        Ok(())
    }

    /// Adds what a schema refers to.
    fn references(&mut self, node: usize) -> Result<(), Refusal> {
        for target in self.targets(node)? {
            self.collect(target)?;
        }
        Ok(())
    }

    /// All that the references of a schema may mean.
    fn targets(&self, node: usize) -> Result<Vec<&'a Value>, Refusal> {
        let mut targets: Vec<&'a Value> = Vec::new();
        for keyword in REFERENCES {
            let reference = self.found.get(node).and_then(|it| it[keyword].as_str());
            let Some(reference) = reference else { continue };
            let before = targets.len();
            let name = file_name(reference)?;
            let pointer = percent_decoded(fragment(reference));
            let resources = self
                .resources
                .iter()
                .filter(|resource| name.as_ref().is_none_or(|name| resource.names.contains(name)));
            let by_pointer = resources.filter_map(|resource| resource.value.pointer(&pointer));
            let by_anchor = self.anchors.get(pointer.as_str()).into_iter().flatten().copied();
            for candidate in by_pointer.chain(by_anchor) {
                // One of the candidates is meant, and each is one once.
                if !targets.iter().skip(before).any(|it| std::ptr::eq(*it, candidate)) {
                    targets.push(candidate);
                }
            }
            if targets.len() == before {
                return Err(Refusal::Invalid("a reference leads elsewhere, or to nothing"));
            }
        }
        Ok(targets)
    }

    pub(super) fn graph(mut self) -> Result<Graph, Refusal> {
        let nodes: Result<_, _> = (0..self.found.len()).map(|node| self.node(node)).collect();
        Ok(Graph { nodes: nodes? })
    }

    fn node(&mut self, index: usize) -> Result<Node, Refusal> {
        let mut node =
            Node { weight: 1, in_place: self.known(self.targets(index)?), ..Node::default() };
        let Some(Value::Object(members)) = self.found.get(index).copied() else { return Ok(node) };
        let mut held = 0;
        for (keyword, value) in members {
            let here = match value {
                Value::Array(items) => self.known(items),
                one => self.known([one]),
            };
            match keyword.as_str() {
                "not" | "if" | "then" | "else" | "allOf" | "anyOf" | "oneOf" => {
                    node.in_place.extend(here);
                }
                "dependentSchemas" | "dependencies" => {
                    if let Value::Object(many) = value {
                        node.in_place.extend(self.known(many.values()));
                    }
                }
                "properties" => {
                    let properties = value.as_object().into_iter().flatten();
                    node.properties = properties
                        .map(|(name, schema)| (name.clone(), self.known([schema])))
                        .collect();
                }
                "patternProperties" => {
                    for (pattern, schema) in value.as_object().into_iter().flatten() {
                        let places = self.pattern(pattern)?;
                        node.patterns
                            .extend(self.known([schema]).into_iter().map(|it| (it, places)));
                    }
                }
                "additionalProperties" | "unevaluatedProperties" => node.others.extend(here),
                "propertyNames" => node.names.extend(here),
                "items" | "prefixItems" if value.is_array() => {
                    let items = value.as_array().into_iter().flatten();
                    node.tuple.extend(items.map(|item| self.known([item])));
                }
                "items" | "additionalItems" | "unevaluatedItems" | "contains" => {
                    node.items.extend(here);
                }
                "pattern" => {
                    if let Some(pattern) = value.as_str() {
                        node.places = self.pattern(pattern)?;
                    }
                }
                "uniqueItems" => node.is_unique = value.as_bool() == Some(true),
                "$defs" | "definitions" | "contentSchema" => {}
                _ => held += values(value),
            }
        }
        node.weight += held / 32;
        Ok(node)
    }

    /// Prices a pattern, and tells how many places it has.
    fn pattern(&mut self, pattern: &str) -> Result<usize, Refusal> {
        let cost = pattern::cost(pattern)?;
        self.pattern_costs += cost;
        if self.pattern_costs > pattern::MAX_TOGETHER {
            return Err(Refusal::TooCostly("its patterns are too large together"));
        }
        Ok(cost)
    }

    fn known<'b>(&self, schemas: impl IntoIterator<Item = &'b Value>) -> Vec<usize> {
        let known = schemas.into_iter().filter_map(|it| self.index.get(&std::ptr::from_ref(it)));
        known.copied().collect()
    }
}

/// How many values a value has in it, with itself.
pub(super) fn values(value: &Value) -> usize {
    1 + match value {
        Value::Object(members) => members.values().map(values).sum(),
        Value::Array(items) => items.iter().map(values).sum(),
        _ => 0,
    }
}

fn fragment(reference: &str) -> &str {
    reference.split_once('#').map_or("", |(_, fragment)| fragment)
}

/// What a schema can be called by in a reference.
fn names(schema: &Value, id: &str) -> Result<Vec<String>, Refusal> {
    let name = schema[id].as_str().map(file_name).transpose()?.flatten();
    Ok(name.into_iter().collect())
}

/// The last piece of a reference's path, which stays what it is whatever the base is; `None` for
/// one that is a fragment alone.
fn file_name(reference: &str) -> Result<Option<String>, Refusal> {
    let path = reference.split('#').next().unwrap_or_default();
    if path.is_empty() {
        return Ok(None);
    }
    // Where two texts can be the same reference, it is not compared.
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\%".contains(&byte));
    let lower = path.to_ascii_lowercase();
    if !is_plain || RESERVED.iter().any(|host| lower.contains(host)) {
        return Err(Refusal::Invalid("a reference leads elsewhere"));
    }
    let base = Url::parse("https://schema.invalid/").ok();
    let url = base.and_then(|base| base.join(path).ok());
    let url = url.ok_or(Refusal::Invalid("a reference is no URL"))?;
    let name = match url.path_segments() {
        Some(mut segments) => segments.next_back().unwrap_or_default().to_owned(),
        None => url.path().to_owned(),
    };
    Ok(Some(name))
}

fn percent_decoded(fragment: &str) -> String {
    let bytes = fragment.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = fragment.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let digits = digits.filter(|digits| digits.bytes().all(|it| it.is_ascii_hexdigit()));
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(escaped.unwrap_or(*byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
