//! Orders: requests that change something. They come as JSON, and never from a web page.
//!
//! Browsers send `Origin` with each POST, and no page is ours, so a request with one is refused, whatever it names. For
//! the same reason the body has to call itself JSON: a form of a page cannot.

use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::problem::Problem;

/// Reads an order.
///
/// # Errors
/// When a page asks, or the body is not the JSON that is expected.
pub(super) fn parse<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Problem> {
    if headers.contains_key(header::ORIGIN) {
        let why = "a web page may not change anything\nhint: ask with the command line, or send no `Origin`";
        return Err(Problem::forbidden(why));
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(Problem::not_json(kind));
    }
    let wrong = |error: serde_json::Error| Problem::bad_parameter(&format!("the body is not as expected: {error}"));
    // A struct would be read from a list as well.
    let fields: Map<String, Value> = serde_json::from_slice(body).map_err(wrong)?;
    T::deserialize(Value::Object(fields)).map_err(wrong)
}
