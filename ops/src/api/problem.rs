//! Errors over HTTP: problem documents (RFC 9457) with a stable `code`.
//!
//! Scripts match on `code`, people read `detail` and `hint`. A status of 5xx means that the engine, not the question, has
//! the problem.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use lifeline_projections::{as_of, difference, reads, why};
use lifeline_store::Offset;
use serde::{Deserialize, Serialize};

/// A problem, to be answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Problem(pub Box<Document>);

/// A problem document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// `urn:lifeline:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable name of the problem.
    pub code: String,
    /// What is the matter this time.
    pub detail: String,
    /// What to do about it; absent when there is nothing to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, code: &str, title: &str, text: &str) -> Problem {
        let (detail, hint) = match text.split_once("\nhint: ") {
            Some((detail, hint)) => (detail, Some(hint.to_owned())),
            None => (text, None),
        };
        Problem(Box::new(Document {
            kind: format!("urn:lifeline:problem:{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: detail.to_owned(),
            hint,
        }))
    }

    /// A parameter that is unknown, missing or malformed.
    #[must_use]
    pub fn bad_parameter(text: &str) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad-parameter", "A parameter is not as expected", text)
    }

    /// No event ever spoke of the resource.
    #[must_use]
    pub fn unknown_resource(source: &str, subject: &str) -> Problem {
        let text = format!("nothing is recorded about source `{source}`, subject `{subject}`");
        Problem::new(StatusCode::NOT_FOUND, "unknown-resource", "Nothing is known of this resource", &text)
    }

    /// The offset waited for did not come in time.
    #[must_use]
    pub fn not_reached(offset: Offset, folded: Offset) -> Problem {
        let text = format!(
            "offset `{offset}` is not reached yet, the state reflects what is below `{folded}`\nhint: ask again, or ask without `at_least`"
        );
        Problem::new(StatusCode::GATEWAY_TIMEOUT, "not-reached", "The state does not reach that far yet", &text)
    }

    /// There is nothing at this path.
    #[must_use]
    pub fn no_such_path() -> Problem {
        let text = "there is nothing at this path\nhint: lists are at /v1/resources, /v1/lifecycles, /v1/objects, /v1/events, /v1/history, /v1/rules and /v1/conflicts";
        Problem::new(StatusCode::NOT_FOUND, "no-such-path", "There is nothing here", text)
    }

    /// Something else than a read was asked for.
    #[must_use]
    pub fn method_not_allowed() -> Problem {
        let text = "this path answers GET only";
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "This API only reads", text)
    }

    /// The engine stops while it is asked.
    #[must_use]
    pub fn stopping() -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "The engine is stopping", "the engine is stopping")
    }

    /// The log cannot be read.
    #[must_use]
    pub fn log(error: &dyn std::error::Error) -> Problem {
        let mut text = error.to_string();
        if let Some(cause) = error.source() {
            text = format!("{text}: {cause}");
        }
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "log-unreadable", "The log cannot be read", &text)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(self)).into_response()
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Problem {
        let text = rejection.body_text();
        Problem::bad_parameter(text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text))
    }
}

impl From<reads::Error> for Problem {
    fn from(error: reads::Error) -> Problem {
        match error {
            reads::Error::Cursor { .. } | reads::Error::Phase { .. } | reads::Error::Ages { .. } => {
                Problem::bad_parameter(&error.to_string())
            }
            reads::Error::Expired { .. } => {
                Problem::new(StatusCode::GONE, "expired", "The cursor has expired", &error.to_string())
            }
        }
    }
}

impl From<why::event::Error> for Problem {
    fn from(error: why::event::Error) -> Problem {
        match error {
            why::event::Error::Ahead { .. } => Problem::bad_parameter(&error.to_string()),
            why::event::Error::Forgotten { .. } => Problem::new(
                StatusCode::GONE,
                "forgotten",
                "The log no longer reaches back that far",
                &error.to_string(),
            ),
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
            as_of::Error::Moment { .. } | as_of::Error::Ahead { .. } => Problem::bad_parameter(&error.to_string()),
            as_of::Error::Forgotten { .. } => Problem::new(
                StatusCode::GONE,
                "forgotten",
                "The log no longer reaches back that far",
                &error.to_string(),
            ),
            as_of::Error::Log(_) | as_of::Error::Fact { .. } | as_of::Error::Astray { .. } => Problem::log(&error),
        }
    }
}
