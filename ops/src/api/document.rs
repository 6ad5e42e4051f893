//! The OpenAPI document: what may be asked, with every parameter and every answer, generated from the code that answers.
//!
//! Start at [`json`]. Paths are described where they are handled, rows where they are made, refusals in `refusals.rs`; here they
//! are put together. The committed copy is `ops/openapi.json`; a test compares it.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::{Modify, OpenApi, openapi};

use super::parameters::{Asked, Nothing};
use super::problem;
use super::refusals::Refused;
use super::{
    confirm, difference, lists, log_level, orphans, plan, records, redrive, replay, resource, stuck, verify, watch, why,
};

/// The document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Lifeline",
        description = "What exists, why, since when, and what was true before: the lifecycles that CloudEvents gave to \
                       Kubernetes resources. All paths read but four (`/v1/plan` reads too, and takes its rules by POST): `/v1/replay` decides history again, `/v1/redrive` records events, `/v1/confirm` lets changed rules remove what is held and orphans be deleted, and \
                       `/v1/log-level` changes which lines are logged. A parameter that is \
                       not described is refused.",
    ),
    paths(
        lists::resources,
        resource::resource,
        lists::lifecycles,
        lists::objects,
        lists::conflicts,
        lists::rules,
        orphans::orphans,
        orphans::dry_runs,
        orphans::foreign,
        watch::watch,
        stuck::stuck,
        difference::difference,
        why::object,
        why::event,
        records::history,
        records::events,
        records::drift,
        why::detail,
        redrive::redrive,
        confirm::confirm,
        log_level::set,
        plan::plan,
        plan::progress,
        replay::replay,
        super::status,
        verify::verify,
        super::alive,
        super::ready,
        super::scrape,
        tell,
    ),
    components(schemas(problem::Document)),
    modifiers(&Bearer),
    tags(
        (name = "state", description = "The state, now or as it was."),
        (name = "records", description = "What is recorded, one after the other."),
        (name = "engine", description = "The engine itself: its status and its health."),
    ),
)]
struct Api;

/// Says how one proves who one is, where the engine wants to know.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
            "Required with `--auth token` or `--auth kubernetes`, except for /livez, /readyz and /metrics. The NATS service wants it \
             as a header of the message.",
        ));
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme.build()));
        openapi.security =
            Some(vec![SecurityRequirement::default(), SecurityRequirement::new("bearer", [] as [&str; 0])]);
    }
}

/// The document as JSON, with a line break at its end.
pub fn json() -> &'static str {
    static JSON: LazyLock<String> = LazyLock::new(|| {
        let text = Api::openapi().to_pretty_json().expect("the document is JSON");
        text + "\n"
    });
    &JSON
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "engine",
    responses((status = 200, description = "The document, OpenAPI 3.1.", content_type = "application/json"), Refused),
)]
pub(super) async fn tell(_: Asked<Nothing>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], json()).into_response()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::api::lists::LIMIT_MAX;
    use crate::api::problem::CODES;

    fn parsed() -> Value {
        serde_json::from_str(json()).unwrap()
    }

    #[test]
    fn the_committed_document_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        if std::env::var_os("LIFELINE_WRITE_GENERATED").is_some() {
            std::fs::write(path, json()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == json(),
            "ops/openapi.json is not what the code says\nhint: run this test once with LIFELINE_WRITE_GENERATED=1, and \
             commit the file"
        );
    }

    #[test]
    fn every_parameter_and_every_answer_is_described() {
        let document = parsed();
        for (path, item) in document["paths"].as_object().unwrap() {
            let operation = item.get("get").unwrap_or(&item["post"]);
            assert!(operation["summary"].is_string(), "{path} has no summary");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let text = parameter["description"].as_str().or(parameter["schema"]["description"].as_str());
                let text = text.unwrap_or_default();
                assert!(text.len() > 10, "{path}: parameter {} is not described", parameter["name"]);
                let name = parameter["name"].as_str().unwrap();
                if name == "limit" {
                    let schema = &parameter["schema"];
                    assert_eq!(schema["maximum"], LIMIT_MAX, "{path}");
                    assert_eq!(schema["default"], lifeline_projections::reads::PAGE_ROWS, "{path}");
                }
            }
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("200"), "{path}");
            assert!(responses.values().all(|response| response["description"].is_string()), "{path}");
        }
    }

    #[test]
    fn every_schema_that_is_named_is_there() {
        fn named(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    fields.values().for_each(|value| named(value, found));
                }
                Value::Array(items) => items.iter().for_each(|item| named(item, found)),
                _ => {}
            }
        }
        let document = parsed();
        let mut found = Vec::new();
        named(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }

    #[test]
    fn every_code_is_told_once_and_in_the_document() {
        let document = parsed();
        let codes = &document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
        for (at, known) in CODES.iter().enumerate() {
            assert!(CODES[..at].iter().all(|other| other.code != known.code), "{} twice", known.code);
            assert_eq!(codes[at], known.code);
        }
    }
}
