//! What an API server's answer means: pure, from status code and body to an [`Error`] or an object.
//!
//! Start at [`refusal`]. The table of tests holds answers as Kubernetes 1.37 gave them. It makes no request, and does not
//! know which one was made beyond the object's key.

use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Error, LiveObject, Managed, ObjectKey};

/// An answer of the API server, whole.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) code: u16,
    /// From the header `Retry-After`.
    pub(super) retry_after: Option<Duration>,
    /// The JSON document, or what else came as a string.
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// The object asked for is not there (and its kind is: else the answer names no object).
    pub(super) fn is_missing(&self, key: &ObjectKey) -> bool {
        self.code == 404
            && self.reason() == "NotFound"
            && self.detail("name") == key.name
            && self.missing_namespace(key).is_none()
    }

    /// The path asked for leads nowhere: the kind is not served (any more).
    pub(super) fn is_unserved(&self, key: &ObjectKey) -> bool {
        self.code == 404 && !self.is_missing(key) && self.missing_namespace(key).is_none()
    }

    /// The uid given with an apply is not the live object's; or there is no live object.
    pub(super) fn is_other_uid(&self) -> bool {
        match self.code {
            409 => true,
            422 => self.causes().any(|cause| cause["field"] == "metadata.uid"),
            _ => false,
        }
    }

    fn missing_namespace<'a>(&self, key: &'a ObjectKey) -> Option<&'a str> {
        let namespace = key.namespace.as_deref()?;
        (self.code == 404 && self.detail("kind") == "namespaces" && self.detail("name") == namespace)
            .then_some(namespace)
    }

    fn is_status(&self) -> bool {
        self.body["kind"] == "Status"
    }

    fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }

    fn detail(&self, field: &str) -> &str {
        self.body["details"][field].as_str().unwrap_or_default()
    }

    fn causes(&self) -> impl Iterator<Item = &Value> {
        self.body["details"]["causes"].as_array().into_iter().flatten()
    }

    fn message(&self) -> String {
        let text = match &self.body {
            Value::String(text) => text.trim(),
            body => body["message"].as_str().unwrap_or_default(),
        };
        match text {
            "" => format!("status {}", self.code),
            // A proxy may answer with a page; its beginning says enough.
            text => text.chars().take(2_000).collect(),
        }
    }
}

/// Beginnings of messages that come as errors of the server (500) but say that the manifest does not fit its kind: a field
/// that is not declared, a string where a number belongs, base64 that is none.
const MISFITS: [&str; 3] = [
    "failed to create typed patch object",
    "failed to convert new object",
    "failed to create manager for existing fields",
];

/// The error that an unsuccessful answer means.
pub(super) fn refusal(answer: &Answer, key: &ObjectKey) -> Error {
    let message = answer.message();
    let unavailable = |message| Error::Unavailable {
        message,
        retry_after: answer.retry_after.or_else(|| {
            answer.body.pointer("/details/retryAfterSeconds").and_then(Value::as_u64).map(Duration::from_secs)
        }),
        source: None,
    };
    if let Some(namespace) = answer.missing_namespace(key) {
        return Error::NamespaceMissing { namespace: namespace.to_owned() };
    }
    match answer.code {
        401 => Error::Unauthorized { message },
        403 => match (&key.namespace, answer.causes().any(|cause| cause["reason"] == "NamespaceTerminating")) {
            (Some(namespace), true) => Error::NamespaceTerminating { namespace: namespace.to_string() },
            _ => Error::Forbidden { message },
        },
        404 if answer.is_unserved(key) => {
            Error::UnknownKind { api_version: key.api_version(), kind: key.kind.to_string() }
        }
        404 => Error::Gone,
        409 => Error::Conflict { message },
        413 => Error::Invalid { message },
        408 | 429 => unavailable(message),
        500 if MISFITS.iter().any(|beginning| message.starts_with(beginning)) => Error::Invalid { message },
        // What is no Status was not written by an API server, but by something on the way to it.
        400..500 if answer.is_status() => Error::Invalid { message },
        code => unavailable(format!("it answered {code}: {message}")),
    }
}

/// The object an answer holds.
pub(super) fn object(mut body: Value) -> Result<LiveObject, Error> {
    let mut managed = Managed::default();
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut)
        && let Some(fields) = metadata.remove("managedFields")
    {
        // Bookkeeping of the server, often larger than the object.
        managed = Managed::of(&fields);
    }
    let uid = body.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().to_owned();
    if uid.is_empty() {
        return Err(Error::Unavailable {
            message: "it answered with something that is no object (no `metadata.uid`)".to_owned(),
            retry_after: None,
            source: None,
        });
    }
    let deleting = body.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null());
    Ok(LiveObject { uid, deleting, manifest: body, managed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key() -> ObjectKey {
        let manifest = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}});
        crate::cluster::object_key(&manifest).unwrap()
    }

    fn check(cases: &[(u16, Value, &str)]) {
        for (code, body, reason) in cases {
            let answer = Answer { code: *code, retry_after: None, body: body.clone() };
            assert_eq!(refusal(&answer, &key()).reason(), *reason, "{code} {body}");
        }
    }

    fn status(reason: &str, message: &str, details: Value) -> Value {
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "details": details})
    }

    #[test]
    fn every_answer_of_an_api_server_has_its_meaning() {
        let terminating = json!({"name": "a", "kind": "configmaps", "causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]});
        check(&[
            (401, status("Unauthorized", "Unauthorized", json!(null)), "Unauthorized"),
            (403, status("Forbidden", "configmaps \"a\" is forbidden", json!({"name": "a"})), "Forbidden"),
            (403, status("Forbidden", "because it is being terminated", terminating), "NamespaceTerminating"),
            (
                404,
                status("NotFound", "namespaces \"n\" not found", json!({"name": "n", "kind": "namespaces"})),
                "NamespaceMissing",
            ),
            (404, status("NotFound", "configmaps \"a\" not found", json!({"name": "a", "kind": "configmaps"})), "Gone"),
            (404, status("NotFound", "the server could not find the requested resource", json!({})), "UnknownKind"),
            (404, json!("404 page not found\n"), "UnknownKind"),
            (409, status("Conflict", "Operation cannot be fulfilled", json!({})), "Conflict"),
            (422, status("Invalid", "ConfigMap \"a\" is invalid", json!({})), "Invalid"),
            (400, status("BadRequest", "strict decoding error", json!({})), "Invalid"),
            (405, status("MethodNotAllowed", "not allowed", json!({})), "Invalid"),
            (413, status("RequestEntityTooLarge", "limit is 3145728", json!({})), "Invalid"),
            (
                500,
                status(
                    "",
                    "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .bogus: field not declared in schema",
                    json!(null),
                ),
                "Invalid",
            ),
            (
                500,
                status("", "failed to convert new object (/s; /v1, Kind=Secret) to proper version", json!(null)),
                "Invalid",
            ),
            (500, status("InternalError", "Internal error occurred: failed calling webhook", json!({})), "Unavailable"),
            (429, json!("Too many requests"), "Unavailable"),
            (503, status("ServiceUnavailable", "etcd is down", json!({})), "Unavailable"),
            (504, status("Timeout", "request timed out", json!({})), "Unavailable"),
            (302, json!(""), "Unavailable"),
            (400, json!("<html>Bad gateway page</html>"), "Unavailable"),
        ]);
    }

    #[test]
    fn the_pause_a_server_asks_for_is_carried() {
        let mut answer =
            Answer { code: 429, retry_after: Some(Duration::from_secs(3)), body: json!("Too many requests") };
        assert_eq!(refusal(&answer, &key()).retry_after(), Some(Duration::from_secs(3)));
        answer.retry_after = None;
        answer.body = status("TooManyRequests", "slow down", json!({"retryAfterSeconds": 7}));
        assert_eq!(refusal(&answer, &key()).retry_after(), Some(Duration::from_secs(7)));
    }
}
