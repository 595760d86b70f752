//! Schemas as every client takes them.

use schemars::Schema;

/// Writes a schema as every client takes it: older revisions of MCP know no schema `true`, and JSON
/// Schema knows no format of a number.
pub fn simplify(schema: &mut Schema) {
    const NUMBERS: [&str; 6] = ["double", "uint", "uint8", "uint16", "uint32", "uint64"];

    if schema.as_bool() == Some(true) {
        *schema = Schema::default();
    } else if schema.get("format").is_some_and(|format| NUMBERS.iter().any(|it| format == it)) {
        schema.remove("format");
    }
}
