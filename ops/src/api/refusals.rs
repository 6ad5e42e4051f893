//! What the OpenAPI document says of all paths alike: why a question may be refused, and which phases there are.

use std::collections::BTreeMap;

use lifeline_projections::lifecycle::Phase;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, openapi};

use super::problem::CODES;

/// Codes of refusals that do not depend on what is asked.
const AT_THE_DOOR: [&str; 4] = ["bad-host", "tls-required", "foreign-page", "foreign-host"];

/// Why any question may be refused.
pub(super) struct Refused;

/// Why any request may be refused, also one that everybody may make.
pub(super) struct RefusedAtTheDoor;

/// Why a question to the present state may be refused.
pub(super) struct RefusedAhead;

/// Why a question to the state as it was may be refused.
pub(super) struct RefusedPast;

/// Why a page may be refused whose cursor is old.
pub(super) struct RefusedExpired;

/// Why a watch may be refused.
pub(super) struct RefusedWatch;

/// Why a question to the log may be refused.
pub(super) struct RefusedUnreadable;

/// Why a redrive may be refused.
pub(super) struct RefusedRedrive;

/// Why a confirmation may be refused.
pub(super) struct RefusedConfirmation;

/// Why a replay may be refused.
pub(super) struct RefusedReplay;

/// Why any order may be refused.
pub(super) struct RefusedOrder;

/// Why a question about one resource may be refused.
pub(super) struct RefusedUnknown;

impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        let of_questions =
            ["bad-parameter", "unauthenticated", "forbidden", "rebuilding", "stopping", "access-unknown"];
        responses_of(&[&of_questions[..], &AT_THE_DOOR].concat())
    }
}

impl IntoResponses for RefusedAtTheDoor {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        responses_of(&AT_THE_DOOR)
    }
}

impl IntoResponses for RefusedAhead {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        responses_of(&["not-reached"])
    }
}

impl IntoResponses for RefusedPast {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        responses_of(&["forgotten", "log-unreadable"])
    }
}

impl IntoResponses for RefusedExpired {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        responses_of(&["expired"])
    }
}

impl IntoResponses for RefusedWatch {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        responses_of(&["expired", "too-many-watches"])
    }
}

impl IntoResponses for RefusedConfirmation {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        responses_of(&["nothing-held", "not-recorded", "slow-body", "not-json", "too-large"])
    }
}

impl IntoResponses for RefusedUnreadable {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        responses_of(&["log-unreadable"])
    }
}

impl IntoResponses for RefusedRedrive {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        responses_of(&["slow-body", "not-json", "too-large", "not-recorded"])
    }
}

impl IntoResponses for RefusedReplay {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        responses_of(&["no-such-trigger", "slow-body", "not-json", "too-large", "log-unreadable", "not-recorded"])
    }
}

impl IntoResponses for RefusedOrder {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        responses_of(&["slow-body", "not-json", "too-large"])
    }
}

impl IntoResponses for RefusedUnknown {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        responses_of(&["unknown-resource"])
    }
}

/// A phase, as a filter takes it.
pub(super) fn phases() -> Schema {
    let names = Phase::ALL.map(Phase::as_str);
    let phase = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names));
    phase.description(Some("The phase is this, in upper or lower case.")).into()
}

/// The problem documents with these codes, by status.
fn responses_of(codes: &[&str]) -> BTreeMap<String, RefOr<openapi::Response>> {
    let mut texts: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for known in CODES.iter().filter(|known| codes.contains(&known.code)) {
        texts.entry(known.status).or_default().push(format!("`{}`: {}.", known.code, known.title));
    }
    let problem = || ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response = |texts: Vec<String>| {
        ResponseBuilder::new().description(texts.join(" ")).content("application/problem+json", problem()).build()
    };
    texts.into_iter().map(|(status, texts)| (status.to_string(), RefOr::T(response(texts)))).collect()
}
