//! The page of EventSource and EventTrigger: the fields of their definitions.

use std::fmt::Write;

use serde_json::Value;

use super::cell;
use crate::cli::CRDS;

pub(super) fn page() -> String {
    let mut out = "\
# EventSource and EventTrigger

Generated from the definitions, which `lifeline crds` prints; a test keeps it so. The kinds are those of Project Sveltos; what Lifeline
makes of each field, and how it differs, is in `SVELTOS.md` of the repository. How to write them: [Write and test a
trigger](howto/trigger.md).
"
    .to_owned();
    for definition in CRDS {
        let definition: Value = serde_saphyr::from_str(definition).expect("a definition is YAML");
        let (spec, version) = (&definition["spec"], &definition["spec"]["versions"][0]);
        let schema = &version["schema"]["openAPIV3Schema"];
        let text = |value: &Value| cell(value.as_str().unwrap_or_default());
        // A String takes everything that is written to it.
        let _ = write!(
            out,
            "\n## {}\n\n`apiVersion: {}/{}`, {}. {}\n",
            text(&spec["names"]["kind"]),
            text(&spec["group"]),
            text(&version["name"]),
            if spec["scope"] == "Cluster" { "in no namespace" } else { "in a namespace" },
            text(&schema["description"])
        );
        for part in ["spec", "status"] {
            let mut rows = String::new();
            fields(&schema["properties"][part], part, &mut rows);
            if !rows.is_empty() {
                let _ = write!(out, "\n| field | type | meaning |\n|---|---|---|\n{rows}");
            }
        }
    }
    out
}

/// The fields below one, each with its path.
fn fields(schema: &Value, path: &str, rows: &mut String) {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let mut kind = field["type"].as_str().unwrap_or("any").to_owned();
        if let Some(values) = field["enum"].as_array() {
            let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            kind = values.join(", ");
        }
        if required.contains(&name.as_str()) {
            kind.push_str(", required");
        }
        let meaning = cell(field["description"].as_str().unwrap_or_default());
        let _ = writeln!(rows, "| `{path}` | {kind} | {meaning} |");
        fields(field, &path, rows);
        fields(&field["items"], &format!("{path}[]"), rows);
    }
}
