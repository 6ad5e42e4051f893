//! Errors over HTTP: problem documents (RFC 9457) with a stable `code`.
//!
//! Scripts match on `code`, people read `detail` and `hint`. A status of 5xx means that the engine, not the question, has
//! the problem.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lifeline_engine::queries;
use lifeline_projections::{as_of, difference, reads, why};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use crate::hosts;

/// What is stable of a problem: scripts match on it.
#[derive(Debug)]
pub struct Known {
    /// Its name.
    pub code: &'static str,
    /// Its HTTP status.
    pub status: u16,
    /// Its name in words.
    pub title: &'static str,
}

/// Every problem that this API answers with.
pub const CODES: &[Known] = &[
    Known { code: "bad-parameter", status: 400, title: "A parameter is not as expected" },
    Known { code: "bad-host", status: 400, title: "The request does not say whom it asks" },
    Known { code: "tls-required", status: 400, title: "This port speaks TLS" },
    Known { code: "unauthenticated", status: 401, title: "The caller is not authenticated" },
    Known { code: "forbidden", status: 403, title: "The caller is not allowed" },
    Known { code: "foreign-page", status: 403, title: "A web page of another site may not ask" },
    Known { code: "unknown-resource", status: 404, title: "Nothing is known of this resource" },
    Known { code: "nothing-held", status: 404, title: "Nothing is held under this id" },
    Known { code: "no-such-trigger", status: 404, title: "No such trigger is in force" },
    Known { code: "no-such-path", status: 404, title: "There is nothing here" },
    Known { code: "method-not-allowed", status: 405, title: "The path does not answer this method" },
    Known { code: "slow-body", status: 408, title: "The body did not come in time" },
    // Not 504: the engine is well, it is the question that is ahead of it.
    Known { code: "not-reached", status: 409, title: "The state does not reach that far yet" },
    Known { code: "forgotten", status: 410, title: "The log no longer reaches back that far" },
    Known { code: "expired", status: 410, title: "What happened since then is no longer held" },
    Known { code: "too-large", status: 413, title: "The answer, or the body, is too large" },
    Known { code: "not-json", status: 415, title: "The body is not sent as JSON" },
    Known { code: "foreign-host", status: 421, title: "The host that is asked is not this engine" },
    Known { code: "too-many-watches", status: 429, title: "Too many watches are open" },
    Known { code: "log-unreadable", status: 500, title: "The log cannot be read" },
    Known { code: "rebuilding", status: 503, title: "The state is being read from the log" },
    Known { code: "stopping", status: 503, title: "The engine is stopping" },
    Known { code: "not-recorded", status: 503, title: "It is not recorded yet" },
    Known { code: "access-unknown", status: 503, title: "Access cannot be checked" },
];

/// Where offsets are found.
const OFFSETS: &str = "`lifeline get events` shows the latest offsets";

/// A problem, to be answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Problem(pub Box<Document>);

/// A problem document (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct Document {
    /// `urn:lifeline:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable name of the problem.
    #[schema(schema_with = codes)]
    pub code: String,
    /// What is the matter this time.
    pub detail: String,
    /// What to do about it; absent when there is nothing to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    fn new(code: &str, text: &str) -> Problem {
        let known = CODES.iter().find(|known| known.code == code).expect("every code is listed");
        let (detail, hint) = match text.split_once("\nhint: ") {
            Some((detail, hint)) => (detail, Some(hint.to_owned())),
            None => (text, None),
        };
        Problem(Box::new(Document {
            kind: format!("urn:lifeline:problem:{code}"),
            title: known.title.to_owned(),
            status: known.status,
            code: code.to_owned(),
            detail: detail.to_owned(),
            hint,
        }))
    }

    /// A parameter that is unknown, missing or malformed.
    #[must_use]
    pub fn bad_parameter(text: &str) -> Problem {
        Problem::new("bad-parameter", text)
    }

    /// There is nothing at this path.
    #[must_use]
    pub fn no_such_path() -> Problem {
        let text = "there is nothing at this path\nhint: lists are at /v1/resources, /v1/lifecycles, /v1/objects, /v1/events, /v1/event, /v1/history, /v1/rules, /v1/conflicts, /v1/stuck and /v1/difference; /openapi.json says everything else";
        Problem::new("no-such-path", text)
    }

    /// The NATS service does not answer to this.
    #[must_use]
    pub fn no_such_noun(noun: &str, known: &[&str]) -> Problem {
        let known: Vec<String> = known.iter().map(|noun| format!("`{noun}`")).collect();
        Problem::new("no-such-path", &format!("nothing answers to `{noun}`\nhint: one of {}", known.join(", ")))
    }

    /// Something else than a read was asked for.
    #[must_use]
    pub fn method_not_allowed() -> Problem {
        let text = "this path answers GET only";
        Problem::new("method-not-allowed", text)
    }

    /// Something else than a redrive was asked for.
    #[must_use]
    pub fn post_only() -> Problem {
        Problem::new("method-not-allowed", "this path answers POST only")
    }

    /// A body that is too large for any order.
    #[must_use]
    pub fn large_body(bytes_max: usize) -> Problem {
        Problem::new("too-large", &format!("the body broke off, or has more than `{bytes_max}` bytes"))
    }

    /// A body that does not come.
    #[must_use]
    pub fn slow_body() -> Problem {
        Problem::new("slow-body", "the body did not come within 10 s")
    }

    /// There is no withdrawal to be confirmed.
    #[must_use]
    pub fn nothing_held(id: &str) -> Problem {
        let text = format!(
            "nothing is held under `{id}`\nhint: `lifeline status` shows what is held; the id changes with the rules and the objects"
        );
        Problem::new("nothing-held", &text)
    }

    /// There is no trigger of this name, or it is broken.
    #[must_use]
    pub fn no_such_trigger(trigger: &str, is_broken: bool) -> Problem {
        let text = match is_broken {
            true => {
                format!("EventTrigger `{trigger}` is out of force\nhint: `lifeline status` says what is wrong with it")
            }
            false => format!("no EventTrigger `{trigger}` is in force\nhint: `lifeline get rules` lists them"),
        };
        Problem::new("no-such-trigger", &text)
    }

    /// A body that does not say that it is JSON.
    #[must_use]
    pub fn not_json(kind: &str) -> Problem {
        let said = if kind.is_empty() { "no content type".to_owned() } else { format!("content type `{kind}`") };
        let text = format!("the body has {said}\nhint: send `Content-Type: application/json`");
        Problem::new("not-json", &text)
    }

    /// Something is not recorded in time.
    #[must_use]
    pub fn not_recorded(text: &str) -> Problem {
        Problem::new("not-recorded", text)
    }

    /// The engine is not open yet.
    #[must_use]
    pub fn rebuilding(sentence: &str) -> Problem {
        let text =
            format!("the engine is starting: {sentence}\nhint: ask again in a moment; /readyz says when it answers");
        Problem::new("rebuilding", &text)
    }

    /// The engine stops while it is asked.
    #[must_use]
    pub fn stopping() -> Problem {
        Problem::new("stopping", "the engine is stopping")
    }

    /// As many watches run as may.
    #[must_use]
    pub fn too_many_watches(max: usize) -> Problem {
        Problem::new("too-many-watches", &format!("`{max}` watches are open, which is the limit\nhint: end one"))
    }

    /// The answer is larger than a message may be.
    #[must_use]
    pub fn too_large(bytes: usize, max: usize) -> Problem {
        let text =
            format!("the answer has `{bytes}` bytes, a message may have `{max}`\nhint: ask for less with `limit`");
        Problem::new("too-large", &text)
    }

    /// Somebody speaks plain HTTP where TLS is spoken.
    #[must_use]
    pub fn tls_required() -> Problem {
        Problem::new("tls-required", "plain HTTP was sent to a port that speaks TLS\nhint: ask with `https://`")
    }

    /// Who asks does not say who it is, or nobody knows it.
    #[must_use]
    pub fn unauthenticated(text: &str) -> Problem {
        Problem::new("unauthenticated", text)
    }

    /// Who asks may not.
    #[must_use]
    pub fn forbidden(text: &str) -> Problem {
        Problem::new("forbidden", text)
    }

    /// Nobody can say whether who asks may.
    #[must_use]
    pub fn access_unknown(text: &str) -> Problem {
        Problem::new("access-unknown", text)
    }

    /// The log cannot be read.
    #[must_use]
    pub fn log(error: &dyn std::error::Error) -> Problem {
        let mut text = error.to_string();
        if let Some(cause) = error.source() {
            text = format!("{text}: {cause}");
        }
        Problem::new("log-unreadable", &text)
    }
}

impl From<hosts::Refusal> for Problem {
    fn from(refusal: hosts::Refusal) -> Problem {
        let code = match refusal {
            hosts::Refusal::Unnamed(_) => "bad-host",
            hosts::Refusal::Foreign { .. } => "foreign-host",
            hosts::Refusal::Page { .. } => "foreign-page",
        };
        Problem::new(code, &refusal.to_string())
    }
}

fn codes() -> Schema {
    let codes = CODES.iter().map(|known| known.code);
    let object = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes));
    object.description(Some("Stable name of the problem.")).into()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"lifeline\""));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<queries::Error> for Problem {
    fn from(error: queries::Error) -> Problem {
        use queries::Error;
        let with = |code: &str, hint: &str| Problem::new(code, &format!("{error}\nhint: {hint}"));
        match error {
            Error::NotReached { .. } => {
                with("not-reached", "ask again, or without `at_least` (`--at-least`) for what there is")
            }
            Error::NotSettled { .. } => with("not-reached", "ask again; `/v1/status` says whether the disk refuses it"),
            Error::Future { .. } => with("bad-parameter", "leave it out to ask for the present"),
            Error::UnknownResource { .. } => {
                with("unknown-resource", "`lifeline get resources` lists what events spoke of")
            }
            Error::Expired { .. } => with("expired", "begin again, without `from` and `Last-Event-ID`"),
            Error::Unfiltered { .. } => {
                with("bad-parameter", "leave it out; `/openapi.json` says what each list takes")
            }
            Error::Question(error) => error.into(),
            Error::Past(error) => error.into(),
            Error::Difference(error) => error.into(),
            Error::Event(error) => error.into(),
            Error::Log(_) | Error::Record(_) => Problem::log(&error),
            Error::Stopping => Problem::stopping(),
        }
    }
}

impl From<reads::Error> for Problem {
    fn from(error: reads::Error) -> Problem {
        match error {
            reads::Error::Cursor { .. }
            | reads::Error::Phase { .. }
            | reads::Error::Ages { .. }
            | reads::Error::OfRejected { .. } => Problem::bad_parameter(&error.to_string()),
            reads::Error::Expired { .. } => Problem::new("expired", &error.to_string()),
        }
    }
}

impl From<why::event::Error> for Problem {
    fn from(error: why::event::Error) -> Problem {
        match error {
            why::event::Error::Ahead { .. } => Problem::bad_parameter(&format!("{error}\nhint: {OFFSETS}")),
            why::event::Error::Forgotten { .. } => Problem::new("forgotten", &error.to_string()),
            why::event::Error::Log(_) => Problem::log(&error),
        }
    }
}

impl From<difference::Error<as_of::Error>> for Problem {
    fn from(error: difference::Error<as_of::Error>) -> Problem {
        match error {
            difference::Error::Question(error) => error.into(),
            difference::Error::Backwards { .. } => Problem::bad_parameter(&error.to_string()),
            difference::Error::Log(_) => Problem::log(&error),
            difference::Error::State { source, .. } => source.into(),
        }
    }
}

impl From<as_of::Error> for Problem {
    fn from(error: as_of::Error) -> Problem {
        match error {
            as_of::Error::Moment { .. } => Problem::bad_parameter(&error.to_string()),
            as_of::Error::Ahead { .. } => Problem::bad_parameter(&format!("{error}\nhint: {OFFSETS}")),
            as_of::Error::Forgotten { .. } => Problem::new("forgotten", &error.to_string()),
            as_of::Error::Log(_) | as_of::Error::Fact { .. } | as_of::Error::NotAboutResource { .. } => {
                Problem::log(&error)
            }
        }
    }
}
