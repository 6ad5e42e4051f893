//! The page of the HTTP API: what `ops/openapi.json` says, for people.

use std::fmt::Write;

use serde_json::Value;

use super::cell;
use crate::api::document::json;
use crate::api::problem::CODES;

pub(super) fn page() -> String {
    let document: Value = serde_json::from_str(json()).expect("the document is JSON");
    let mut out = "\
# HTTP

Generated from the OpenAPI document, which an engine serves as `/openapi.json`; a test keeps it so. It has the schema of each answer.
Answers are JSON. `lifeline ... -o json` prints the same. Every list takes `limit`, and gives `next` where there is more.

Callers of any address but loopback authenticate with `Authorization: Bearer TOKEN`. The same questions are answered by the NATS
service `lifeline`, as `lifeline.v1.lifecycles`, with the parameters as a JSON object.

"
    .to_owned();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let text = |value: &Value| cell(value.as_str().unwrap_or_default());
            // A String takes everything that is written to it.
            let _ = write!(out, "## {} {path}\n\n{}\n", method.to_uppercase(), sentence(&text(&operation["summary"])));
            let more = text(&operation["description"]);
            if !more.is_empty() {
                let _ = write!(out, "\n{more}\n");
            }
            let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
            if !parameters.is_empty() {
                out.push_str("\n| parameter | meaning |\n|---|---|\n");
            }
            for parameter in parameters {
                let inner = text(&parameter["schema"]["description"]);
                let outer = text(&parameter["description"]);
                let meaning = if outer.is_empty() { inner } else { outer };
                let _ = writeln!(out, "| `{}` | {meaning} |", text(&parameter["name"]));
            }
            out.push('\n');
        }
    }
    out.push_str("## Problems\n\nErrors are problem documents (RFC 9457) with one of these codes:\n\n| code | status | meaning |\n|---|---|---|\n");
    for known in CODES {
        let _ = writeln!(out, "| `{}` | {} | {} |", known.code, known.status, cell(known.title));
    }
    out
}

fn sentence(text: &str) -> String {
    let end = if text.ends_with('.') { "" } else { "." };
    format!("{text}{end}")
}
