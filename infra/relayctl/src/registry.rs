//! The rows of agent registries in the field, which hold one thing in many forms: as plain JSON or
//! as DynamoDB's, a number as text, a list as JSON in a text, nothing as null.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context as _, bail};
use relay::{
    domain::json::{Json, Node},
    store::item::{Item, to_json},
};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use crate::output::truncated;

/// What we read of a row. What registries keep besides is not ours to know.
const FIELDS: [&str; 12] = [
    "agent_name",
    "version",
    "status",
    "description",
    "state_machine_arn",
    "machine_output",
    "tools",
    "llm_provider",
    "llm_model",
    "cost_estimate",
    "parameters_schema",
    "metadata",
];

/// By which DynamoDB says of what type a value is.
const TYPES: [&str; 10] = ["S", "N", "BOOL", "NULL", "M", "L", "SS", "NS", "B", "BS"];

/// A row as it was found.
#[derive(Debug)]
pub(crate) struct Found(BTreeMap<&'static str, Option<Json>>);

/// A row that could be read.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) agent_name: String,
    pub(crate) version: String,
    pub(crate) status: RowStatus,
    pub(crate) description: String,
    /// Also out of `metadata`, among what may be anything.
    pub(crate) state_machine_arn: Option<String>,
    /// Or the output of our stack that has the ARN: for the example agents.
    pub(crate) machine_output: Option<String>,
    pub(crate) tools: Vec<String>,
    pub(crate) llm_provider: Option<String>,
    pub(crate) llm_model: Option<String>,
    pub(crate) cost_estimate: Option<f64>,
    pub(crate) parameters_schema: Option<Json>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowStatus {
    Active,
    Inactive,
    Deprecated,
    Testing,
}

impl Found {
    /// Refused is one that says two things of what we read.
    pub(crate) fn in_json(node: Node<'_>) -> anyhow::Result<Self> {
        let mut names = serde_json::from_str::<Names>(node.as_str())?.0;
        names.sort_unstable();
        let twice = names.windows(2).find(|pair| matches!(pair, [one, two] if one == two));
        if let Some([field, _]) = twice {
            bail!("{field} is given twice");
        }
        let members = node.members();
        let is_typed = members.get("agent_name").is_some_and(is_typed);
        let found = FIELDS.into_iter().filter_map(|field| {
            let node = members.get(field)?;
            Some((field, if is_typed { untyped(node) } else { Some(node.to_json()) }))
        });
        Ok(Self(found.collect()))
    }

    /// Whether both say the same, however they write it.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let digests = |found: &Self| -> Vec<_> {
            let fields = found.0.iter().filter(|(_, value)| !is_nothing(value.as_ref()));
            fields.map(|(field, value)| (*field, value.as_ref().map(Json::digest))).collect()
        };
        digests(self) == digests(other)
    }

    pub(crate) fn in_item(item: &Item) -> Self {
        let found = FIELDS.into_iter().filter_map(|field| Some((field, to_json(item.get(field)?))));
        Self(found.collect())
    }

    pub(crate) fn name(&self) -> Option<String> {
        self.text("agent_name").ok().flatten()
    }

    pub(crate) fn version(&self) -> Option<String> {
        self.text("version").ok().map(Option::unwrap_or_default)
    }

    /// Active where the registry says nothing; in any case of letters.
    pub(crate) fn status(&self) -> anyhow::Result<RowStatus> {
        let Some(word) = self.text("status")? else { return Ok(RowStatus::Active) };
        match word.trim().to_lowercase().as_str() {
            "active" => Ok(RowStatus::Active),
            "inactive" => Ok(RowStatus::Inactive),
            "deprecated" => Ok(RowStatus::Deprecated),
            "testing" => Ok(RowStatus::Testing),
            _ => bail!(
                "status must be active, inactive, deprecated or testing, not {:?}",
                truncated(&word, 40)
            ),
        }
    }

    pub(crate) fn read(&self) -> anyhow::Result<Row> {
        Ok(Row {
            agent_name: self.text("agent_name")?.context("agent_name is missing")?,
            version: self.text("version")?.unwrap_or_default(),
            status: self.status()?,
            description: self.text("description")?.unwrap_or_default(),
            state_machine_arn: match self.text("state_machine_arn")? {
                None => self.arn_within(),
                arn => arn,
            },
            machine_output: self.text("machine_output")?,
            tools: self.tools()?,
            llm_provider: self.text("llm_provider")?,
            llm_model: self.text("llm_model")?,
            cost_estimate: self.cost()?,
            parameters_schema: self.unquoted("parameters_schema")?,
        })
    }

    /// Null is nothing, wherever a registry has it.
    fn get(&self, field: &str) -> anyhow::Result<Option<Node<'_>>> {
        match self.0.get(field) {
            None => Ok(None),
            Some(None) => bail!("{field} is binary, or of no type that is known"),
            Some(Some(json)) => Ok(Some(json.node()).filter(|node| !node.is_null())),
        }
    }

    /// A text, or a number as it is written; one of blanks is nothing.
    fn text(&self, field: &str) -> anyhow::Result<Option<String>> {
        let Some(node) = self.get(field)? else { return Ok(None) };
        let text = node
            .text()
            .or_else(|| number(node))
            .with_context(|| format!("{field} must be text"))?;
        Ok(Some(text).filter(|text| !text.trim().is_empty()))
    }

    fn cost(&self) -> anyhow::Result<Option<f64>> {
        let must = "cost_estimate must be a number of dollars";
        let Some(text) = self.text("cost_estimate").context(must)? else { return Ok(None) };
        let cost = text.trim().parse().ok().filter(|cost: &f64| cost.is_finite() && *cost >= 0.0);
        Ok(Some(cost.context(must)?))
    }

    /// A value as it is, or as JSON in a text; a text of blanks is nothing.
    fn unquoted(&self, field: &str) -> anyhow::Result<Option<Json>> {
        let Some(node) = self.get(field)? else { return Ok(None) };
        let json = match node.text() {
            None => node.to_json(),
            Some(text) if text.trim().is_empty() => return Ok(None),
            Some(text) => Json::parse(&text).with_context(|| {
                format!("{field} is text, but not JSON: {:?}", truncated(&text, 40))
            })?,
        };
        Ok(Some(json).filter(|json| !json.node().is_null()))
    }

    fn tools(&self) -> anyhow::Result<Vec<String>> {
        let Some(json) = self.unquoted("tools")? else { return Ok(Vec::new()) };
        let mut tools = Vec::new();
        for (index, tool) in json.node().items().into_iter().enumerate() {
            if let Some(name) = tool.text() {
                tools.push(name);
            } else if tool.is_object() {
                tools.extend(used(tool));
            } else if !tool.is_null() {
                bail!("tools[{index}] must be a name, or an object that has one");
            }
        }
        Ok(tools)
    }

    fn arn_within(&self) -> Option<String> {
        let metadata = self.unquoted("metadata").ok()??;
        let arn = metadata.node().members().get("state_machine_arn")?.text();
        arn.filter(|arn| !arn.trim().is_empty())
    }
}

/// The name of a tool, unless it is switched off.
fn used(tool: Node<'_>) -> Option<String> {
    let members = tool.members();
    let name =
        ["tool_name", "tool_id", "name"].iter().find_map(|name| members.get(name)?.text())?;
    let is_off = members.get("enabled").is_some_and(|enabled| {
        let text = enabled.text().unwrap_or_else(|| enabled.to_json().as_str().to_owned());
        matches!(text.trim().to_lowercase().as_str(), "false" | "0")
    });
    (!is_off).then_some(name)
}

/// A number as it is written, with all its digits: a version may be 1.10.
fn number(node: Node<'_>) -> Option<String> {
    node.is_number().then(|| node.as_str().to_owned())
}

fn is_nothing(value: Option<&Json>) -> bool {
    value.is_some_and(|json| json.node().is_null())
}

/// Those of our fields that an object names, each as often as it does.
struct Names(Vec<&'static str>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Names;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
        let mut names = Vec::new();
        while let Some((name, IgnoredAny)) = map.next_entry::<String, _>()? {
            names.extend(FIELDS.into_iter().find(|field| *field == name));
        }
        Ok(Names(names))
    }
}

fn is_typed(node: Node<'_>) -> bool {
    let members = node.members();
    let mut names = members.names();
    names.next().is_some_and(|name| TYPES.contains(&name)) && names.next().is_none()
}

/// Out of DynamoDB's JSON, `{"S": "x"}`.
fn untyped(node: Node<'_>) -> Option<Json> {
    let json = node.to_json();
    let typed: serde_dynamo::AttributeValue = serde_json::from_str(json.as_str()).ok()?;
    to_json(&typed.into())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use aws_sdk_dynamodb::types::AttributeValue;
    use proptest::{prelude::*, sample::select};
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::rows;

    const ARN: &str = "arn:aws:states:us-east-1:111122223333:stateMachine:x";

    fn found(text: &str) -> Vec<anyhow::Result<Found>> {
        rows::parse(text.as_bytes()).into_iter().map(|entry| entry.row).collect()
    }

    /// How the only row of a text reads, or why it does not.
    fn one(text: &str) -> Result<Row, String> {
        let mut rows = found(text);
        assert_eq!(rows.len(), 1, "{text}");
        let row = rows.remove(0).and_then(|found| found.read());
        row.map_err(|error| format!("{error:#}"))
    }

    /// A row with these fields besides those that it must have.
    fn with(changes: &Value) -> Result<Row, String> {
        let mut row = json!({"agent_name": "a", "state_machine_arn": ARN});
        row.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        one(&row.to_string())
    }

    #[test]
    fn null_and_blank_are_nothing() {
        for nothing in [json!(null), json!(""), json!("  ")] {
            let row = with(&json!({
                "version": nothing, "status": nothing, "description": nothing, "tools": nothing,
                "llm_provider": nothing, "llm_model": nothing, "cost_estimate": nothing,
                "parameters_schema": nothing, "metadata": nothing, "machine_output": nothing,
            }))
            .unwrap();
            assert_eq!((row.version.as_str(), row.description.as_str()), ("", ""));
            assert_eq!((row.status, row.tools.len()), (RowStatus::Active, 0));
            assert_eq!((row.llm_provider, row.llm_model, row.machine_output), (None, None, None));
            assert_eq!((row.cost_estimate, row.parameters_schema), (None, None));
        }
    }

    #[test]
    fn numbers_are_texts_and_texts_numbers() {
        for (written, version) in [
            ("1", "1"),
            ("1.0", "1.0"),
            ("1.10", "1.10"),
            ("20260131", "20260131"),
            ("12345678901234567890123", "12345678901234567890123"),
            (r#""v1.0""#, "v1.0"),
        ] {
            let row = one(&format!(r#"{{"agent_name": "a", "version": {written}}}"#)).unwrap();
            assert_eq!(row.version, version);
        }
        assert_eq!(one(r#"{"agent_name": 7}"#).unwrap().agent_name, "7");
        for (cost, read) in [
            (json!(0.01), 0.01),
            (json!("0.01"), 0.01),
            (json!(" 1e-2 "), 0.01),
            (json!(1), 1.0),
            (json!("1"), 1.0),
            (json!(0), 0.0),
        ] {
            assert_eq!(with(&json!({"cost_estimate": cost})).unwrap().cost_estimate, Some(read));
        }
    }

    #[test]
    fn a_status_may_be_written_in_any_case() {
        for (word, status) in [
            ("active", RowStatus::Active),
            ("ACTIVE", RowStatus::Active),
            (" Active ", RowStatus::Active),
            ("Inactive", RowStatus::Inactive),
            ("DEPRECATED", RowStatus::Deprecated),
            ("testing", RowStatus::Testing),
        ] {
            assert_eq!(with(&json!({"status": word})).unwrap().status, status, "{word}");
        }
    }

    #[test]
    fn a_row_that_cannot_be_read_names_its_field() {
        for (field, values) in [
            ("version", vec![json!(true), json!([]), json!({"S": "1"})]),
            ("status", vec![json!("production"), json!("draft"), json!(1), json!({}), json!("é")]),
            ("description", vec![json!(["x"]), json!({})]),
            ("state_machine_arn", vec![json!([]), json!(false)]),
            ("machine_output", vec![json!({})]),
            ("tools", vec![json!("search"), json!("[1"), json!([1]), json!(["x", [2]]), json!(7)]),
            ("llm_provider", vec![json!({"name": "x"})]),
            ("llm_model", vec![json!(["x"])]),
            (
                "cost_estimate",
                vec![
                    json!("$0.01"),
                    json!("0,01"),
                    json!(-1),
                    json!("NaN"),
                    json!("inf"),
                    json!("1e999"),
                    json!(true),
                    json!({}),
                ],
            ),
            ("parameters_schema", vec![json!("none"), json!("{")]),
            ("agent_name", vec![json!({"x": 1}), json!(["a"]), json!(null), json!("")]),
        ] {
            for value in values {
                let error = with(&json!({field: value})).unwrap_err();
                assert!(error.contains(field), "{field} {value}: {error}");
                assert!(error.len() < 200, "{error}");
            }
        }
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        let row = |field: &str| format!(r#"{{"agent_name": "a", "{field}": {deep}}}"#);
        assert_eq!(
            one(&row("parameters_schema")).unwrap().parameters_schema.unwrap().as_str(),
            deep
        );
        assert!(one(&row("system_prompt")).is_ok(), "what is not ours is not read");
        assert_eq!(one("7").unwrap_err(), "is not an object");
    }

    #[test]
    fn lists_may_be_json_in_a_text() {
        let row = with(&json!({
            "state_machine_arn": null, "metadata": r#"{"state_machine_arn": "arn"}"#,
            "parameters_schema": r#"{"type": "object"}"#,
            "tools": r#"[{"tool_name": "x", "enabled": true}, {"tool_id": "y"}, {"tool_name": "z", "enabled": false}, "w", null, {}]"#,
        }))
        .unwrap();

        assert_eq!(row.state_machine_arn.as_deref(), Some("arn"));
        assert_eq!(row.parameters_schema.unwrap().as_str(), r#"{"type": "object"}"#);
        assert_eq!(row.tools, ["x", "y", "w"]);
        for (tools, names) in [
            (json!(["x"]), vec!["x"]),
            (json!({"tool_name": "x"}), vec!["x"]),
            (json!([{"name": "x", "enabled": null}]), vec!["x"]),
            (json!([{"name": "x", "enabled": "False"}]), vec![]),
            (json!([{"tool_name": null, "tool_id": "y"}]), vec!["y"]),
            (json!("null"), vec![]),
            (json!("\"x\""), vec!["x"]),
        ] {
            assert_eq!(with(&json!({"tools": tools})).unwrap().tools, names, "{tools}");
        }
        for odd in [json!("text"), json!([]), json!({"state_machine_arn": 1}), json!({})] {
            let row = with(&json!({"state_machine_arn": null, "metadata": odd})).unwrap();
            assert_eq!(row.state_machine_arn, None);
        }
    }

    #[test]
    fn rows_come_in_all_the_forms_that_dynamodb_gives_them() {
        let typed = format!(
            r#"{{"agent_name": {{"S": "a"}}, "version": {{"N": "1.0"}}, "status": {{"S": "ACTIVE"}},
                "state_machine_arn": {{"NULL": true}}, "tools": {{"SS": ["x", "y"]}},
                "description": {{"B": "aGVsbG8="}}, "cost_estimate": {{"N": "0.01"}},
                "thumb": {{"B": "/w=="}}, "more": {{"BS": ["/w=="]}}, "new": {{"X": 1}},
                "metadata": {{"M": {{"state_machine_arn": {{"S": "{ARN}"}}, "thumb": {{"B": "/w=="}}}}}},
                "parameters_schema": {{"M": {{"maxProperties": {{"N": "3"}}, "a": {{"BOOL": true}},
                    "required": {{"L": [{{"S": "q"}}, {{"NULL": true}}]}}, "n": {{"NS": ["1"]}}}}}}}}"#
        );
        let line = typed.replace('\n', " ");
        for (text, rows) in [
            (typed.clone(), 1),
            (format!("[{typed}]"), 1),
            (format!(r#"{{"Items": [{typed}, {typed}], "Count": 2, "ScannedCount": 2}}"#), 2),
            (format!(r#"{{"Item": {typed}}}"#), 1),
            (format!("{{\"Item\": {line}}}\n{{\"Item\": {line}}}\n"), 2),
            (format!(r#"[{{"PutRequest": {{"Item": {typed}}}}}]"#), 1),
            (format!(r#"{{"registry": [{{"PutRequest": {{"Item": {typed}}}}}]}}"#), 1),
            (format!(r#"{{"Responses": {{"registry": [{typed}]}}, "UnprocessedKeys": {{}}}}"#), 1),
            (
                format!(
                    r#"{{"Records": [{{"dynamodb": {{"Keys": {{}}, "NewImage": {typed}}}}}]}}"#
                ),
                1,
            ),
            (format!(r#"{{"Metadata": {{}}, "Keys": {{}}, "NewImage": {typed}}}"#), 1),
            (format!("\u{feff}{typed}"), 1),
            (r#"{"Items": [], "Count": 0}"#.to_owned(), 0),
            (String::new(), 0),
        ] {
            let read: Vec<Row> =
                found(&text).into_iter().map(|it| it.unwrap().read().unwrap()).collect();
            assert_eq!(read.len(), rows, "{text}");
            for row in read {
                assert_eq!((row.agent_name.as_str(), row.version.as_str()), ("a", "1.0"));
                assert_eq!((row.status, row.cost_estimate), (RowStatus::Active, Some(0.01)));
                assert_eq!(row.state_machine_arn.as_deref(), Some(ARN));
                assert_eq!(
                    (row.description.as_str(), row.tools),
                    ("hello", vec!["x".into(), "y".into()])
                );
                let schema =
                    json!({"maxProperties": 3, "a": true, "required": ["q", null], "n": [1]});
                assert_eq!(row.parameters_schema.unwrap().to_value(), Some(schema));
            }
        }
        let listed = json!({"agents": [{"agent_name": "a", "status": "inactive"}]});
        assert_eq!(one(&listed.to_string()).unwrap().status, RowStatus::Inactive);
        for (field, value) in [
            ("description", json!({"B": "/w=="})),
            ("version", json!({"BS": ["/w=="]})),
            ("status", json!({"X": "active"})),
            ("cost_estimate", json!({"N": "much"})),
            ("llm_model", json!("untyped")),
        ] {
            let row = json!({"agent_name": {"S": "a"}, field: value});
            assert!(one(&row.to_string()).unwrap_err().contains(field), "{row}");
        }
        let wrapped = format!("{}1{}", r#"{"Item": "#.repeat(50_000), "}".repeat(50_000));
        assert!(one(&wrapped).unwrap_err().contains("agent_name"));
    }

    #[test]
    fn a_row_that_says_something_twice_is_refused_by_its_field() {
        for (row, field) in [
            (r#"{"agent_name": "a", "agent_name": "b"}"#, "agent_name"),
            (
                r#"{"agent_name": "a", "status": null, "x": {"status": 1}, "st\u0061tus": "active"}"#,
                "status",
            ),
        ] {
            assert_eq!(one(row).unwrap_err(), format!("{field} is given twice"));
        }
        assert!(
            one(r#"{"agent_name": "a", "tools": [{"agent_name": 1}], "x": 1, "x": 1e999}"#).is_ok()
        );
    }

    #[test]
    fn rows_are_the_same_however_they_are_written() {
        let found = |text: &str| found(text).remove(0).unwrap();
        let row = found(r#"{"agent_name": "a", "tools": {"x": 1, "y": 2}, "prompt": "one"}"#);

        for same in [
            r#"{"tools":{"y":2,"x":1},"agent_name":"\u0061","prompt":"another"}"#,
            r#"{"agent_name": {"S": "a"}, "tools": {"M": {"x": {"N": "1"}, "y": {"N": "2"}}}, "status": {"NULL": true}}"#,
        ] {
            assert!(row.is_same(&found(same)), "{same}");
        }
        for other in
            [r#"{"agent_name": "a"}"#, r#"{"agent_name": "a", "tools": {"x": 1.0, "y": 2}}"#]
        {
            assert!(!row.is_same(&found(other)), "{other}");
        }
    }

    #[test]
    fn an_item_of_a_table_is_read_whatever_else_it_holds() {
        let bytes = |bytes: &[u8]| AttributeValue::B(bytes.to_vec().into());
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let mut item: Item = HashMap::from([
            ("agent_name".to_owned(), text("a")),
            ("version".to_owned(), AttributeValue::N("1".to_owned())),
            ("description".to_owned(), AttributeValue::Null(true)),
            ("llm_model".to_owned(), bytes(b"m")),
            ("thumb".to_owned(), bytes(&[0xff])),
            ("thumbs".to_owned(), AttributeValue::Bs(vec![vec![0xff].into()])),
            ("tools".to_owned(), AttributeValue::Ss(vec!["x".to_owned()])),
        ]);
        let row = Found::in_item(&item).read().unwrap();
        assert_eq!((row.version.as_str(), row.description.as_str()), ("1", ""));
        assert_eq!((row.llm_model.as_deref(), row.tools), (Some("m"), vec!["x".to_owned()]));

        item.insert("version".to_owned(), bytes(&[0xff]));
        let error = Found::in_item(&item).read().unwrap_err().to_string();
        assert!(error.contains("version is binary"), "{error}");
    }

    /// The same in DynamoDB's JSON.
    fn typed(value: &Value) -> Value {
        match value {
            Value::Null => json!({"NULL": true}),
            Value::Bool(bool) => json!({"BOOL": bool}),
            Value::Number(number) => json!({"N": number.to_string()}),
            Value::String(text) => json!({"S": text}),
            Value::Array(items) => json!({"L": items.iter().map(typed).collect::<Vec<_>>()}),
            Value::Object(members) => {
                let members = members.iter().map(|(name, value)| (name.clone(), typed(value)));
                json!({"M": members.collect::<Map<_, _>>()})
            }
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z ]{0,6}".prop_map(Value::from),
            select(vec!["active", "1.0", "0.01", "[\"x\"]", "{}", ARN]).prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-zS]{1,3}", inner, 0..4)
                    .prop_map(|members| json!(members)),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_row_is_the_same_in_every_form(
            fields in prop::collection::btree_map(select(&FIELDS[1..]), values(), 0..11),
        ) {
            let mut row = json!({"agent_name": "a"});
            for (field, value) in fields {
                row[field] = value;
            }
            let typed: Map<_, _> = row.as_object().unwrap().iter().map(|(name, value)| (name.clone(), typed(value))).collect();
            let item: Item = relay::store::item::to_item(&row).unwrap();
            let read = |row: anyhow::Result<Row>| row.map_or_else(|error| error.to_string(), |row| format!("{row:?}"));
            let of = |text: String| read(found(&text).remove(0).unwrap().read());

            let plain = of(row.to_string());
            prop_assert_eq!(&of(json!({"Items": [typed]}).to_string()), &plain);
            prop_assert_eq!(&read(Found::in_item(&item).read()), &plain);
        }
    }
}
