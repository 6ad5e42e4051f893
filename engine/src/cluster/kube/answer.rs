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

    /// There is an object of the name already.
    pub(super) fn is_taken(&self) -> bool {
        self.code == 409 && self.reason() == "AlreadyExists"
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

    /// The fields that can never change, where that is the only reason of a refusal: an object that is deleted and made
    /// again must not be refused then for another one.
    fn immutable_fields(&self) -> Option<String> {
        let says_so = |cause: &&Value| {
            let text = cause["message"].as_str().unwrap_or_default();
            NEVER_CHANGES.iter().any(|words| text.contains(words)) && cause["field"] != "metadata.uid"
        };
        let (count, said) = (self.causes().count(), self.causes().filter(says_so));
        let fields: Vec<String> =
            said.map(|cause| format!("`{}`", cause["field"].as_str().unwrap_or_default())).collect();
        (count > 0 && fields.len() == count).then(|| fields.join(", "))
    }

    /// The refused fields, where the manifest gives none of them and all may only not be there: their values are left of what
    /// the object was before.
    pub(super) fn left_fields(&self, manifest: &Value) -> Option<String> {
        let is_left = |cause: &&Value| {
            cause["reason"] == "FieldValueForbidden" && !gives(manifest, cause["field"].as_str().unwrap_or_default())
        };
        let is_all = self.code == 422 && self.causes().count() > 0 && self.causes().all(|cause| is_left(&cause));
        let name = |cause: &Value| format!("`{}`", cause["field"].as_str().unwrap_or_default());
        is_all.then(|| self.causes().map(name).collect::<Vec<_>>().join(", "))
    }

    pub(super) fn message(&self) -> String {
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

/// Whether a manifest gives a field, as messages name it: `spec.ports[0].name`. One whose name cannot be read counts as given.
fn gives(manifest: &Value, field: &str) -> bool {
    let is_plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let pointer = field.replace('[', ".").replace(']', "");
    !pointer.split('.').all(is_plain) || manifest.pointer(&format!("/{}", pointer.replace('.', "/"))).is_some()
}

/// Beginnings of messages that come as errors of the server (500) but say that the manifest does not fit its kind: a field
/// that is not declared, a string where a number belongs, base64 that is none.
const MISFITS: [&str; 3] = [
    "failed to create typed patch object",
    "failed to convert new object",
    "failed to create manager for existing fields",
];

/// The pause after a 429 that names none. API Priority and Fairness asks for so much.
const THROTTLED: Duration = Duration::from_secs(1);

/// The error that an unsuccessful answer means.
pub(super) fn refusal(answer: &Answer, key: &ObjectKey) -> Error {
    let message = answer.message();
    let retry_after = answer
        .retry_after
        .or_else(|| answer.body.pointer("/details/retryAfterSeconds").and_then(Value::as_u64).map(Duration::from_secs));
    let unavailable = |message| Error::Unavailable { message, retry_after, source: None };
    if let Some(namespace) = answer.missing_namespace(key) {
        return Error::NamespaceMissing { namespace: namespace.to_owned() };
    }
    if let Some(denied) = denial(answer) {
        return denied;
    }
    match answer.code {
        401 => Error::Unauthorized { message },
        403 => match (&key.namespace, answer.causes().any(|cause| cause["reason"] == "NamespaceTerminating")) {
            (Some(namespace), true) => Error::NamespaceTerminating { namespace: namespace.to_string() },
            _ if is_about_rights(&message) => Error::Forbidden { message },
            _ => {
                let by = "an admission rule of the cluster".to_owned();
                Error::Denied { by, message, remedy: "change the object, or ask who runs the cluster to allow it" }
            }
        },
        404 if answer.is_unserved(key) => {
            Error::UnknownKind { api_version: key.api_version(), kind: key.kind.to_string() }
        }
        404 => Error::Gone,
        409 => Error::Conflict { message },
        413 => Error::Invalid { message },
        408 => unavailable(message),
        429 => Error::Throttled { message, retry_after: retry_after.unwrap_or(THROTTLED) },
        500 if MISFITS.iter().any(|beginning| message.starts_with(beginning)) => Error::Invalid { message },
        422 => match answer.immutable_fields() {
            Some(fields) => Error::Immutable { fields, message },
            None => Error::Invalid { message },
        },
        // What is no Status was not written by an API server, but by something on the way to it.
        400..500 if answer.is_status() => Error::Invalid { message },
        code => unavailable(format!("it answered {code}: {message}")),
    }
}

/// A request that somebody else denies, whatever status code they chose: the API server writes who it was.
fn denial(answer: &Answer) -> Option<Error> {
    const POLICY: &str = "ValidatingAdmissionPolicy '";
    const WEBHOOK: &str = "admission webhook \"";
    if !answer.is_status() {
        return None;
    }
    let message = answer.message();
    let quoted = |beginning: &str, end: char| {
        let (_, rest) = message.split_once(beginning)?;
        rest.split_once(end).map(|(name, _)| name.to_owned())
    };
    let (by, remedy) = if message.starts_with(WEBHOOK) {
        let by = format!("the admission webhook `{}`", quoted(WEBHOOK, '"')?);
        (by, "change the object, or let who runs the webhook allow it; it is tried again until then")
    } else if message.contains(POLICY) && message.contains(" denied request") {
        let by = format!("the ValidatingAdmissionPolicy `{}`", quoted(POLICY, '\'')?);
        (by, "change the object, the policy or its binding; it is tried again until then")
    } else if answer.code == 403 && message.contains("exceeded quota: ") {
        let by = format!("the ResourceQuota `{}`", quoted("exceeded quota: ", ',')?);
        (by, "raise the quota, or remove something that counts; it is tried again until then")
    } else if answer.code == 403 && message.contains("failed quota: ") {
        let by = format!("the ResourceQuota `{}`", quoted("failed quota: ", ':')?);
        (
            by,
            "give the object the requests and limits that it names, or default ones by a LimitRange; it is tried again until then",
        )
    } else if answer.code == 403 && message.contains("status unknown for quota: ") {
        let by = format!("the ResourceQuota `{}`", quoted("status unknown for quota: ", ',')?);
        (by, "what counts is not counted yet, by the controller manager; it is tried again until then")
    } else {
        return None;
    };
    Some(Error::Denied { by, message, remedy })
}

/// Whether a 403 is about the rights of the identity in use. Others come from admission.
fn is_about_rights(message: &str) -> bool {
    // Without a message there is no telling.
    !message.contains("is forbidden: ") || message.contains("is forbidden: User ")
}

/// What API servers write about a field that can never change. Kinds have their own words for it.
const NEVER_CHANGES: [&str; 12] = [
    "immutable",
    "may not change",
    "may not be change",
    "may not be updated",
    "may not be unset",
    "must not be change",
    "can not be unset",
    "can not be change",
    "cannot be change",
    "cannot change",
    "updates to ",
    "updates may not",
];

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
                403,
                status("Forbidden", r#"pods "a" is forbidden: violates PodSecurity "restricted:latest""#, json!({})),
                "Denied",
            ),
            (
                403,
                status(
                    "Forbidden",
                    r#"configmaps "a" is forbidden: User "l" cannot patch resource "configmaps""#,
                    json!({}),
                ),
                "Forbidden",
            ),
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
            (400, denied_by_webhook("BadRequest"), "Denied"),
            (403, denied_by_webhook("Forbidden"), "Denied"),
            (409, denied_by_webhook("Conflict"), "Denied"),
            (422, denied_by_webhook("Invalid"), "Denied"),
            (
                422,
                status(
                    "Invalid",
                    "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'guards' with binding 'b' denied request: no",
                    json!({"causes": [{"message": "ValidatingAdmissionPolicy 'guards' with binding 'b' denied request: no"}]}),
                ),
                "Denied",
            ),
            (
                403,
                status(
                    "Forbidden",
                    "configmaps \"a\" is forbidden: exceeded quota: few, requested: configmaps=1, used: configmaps=1, limited: configmaps=1",
                    json!({}),
                ),
                "Denied",
            ),
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
            (429, json!("Too many requests"), "Throttled"),
            (503, status("ServiceUnavailable", "etcd is down", json!({})), "Unavailable"),
            (504, status("Timeout", "request timed out", json!({})), "Unavailable"),
            (302, json!(""), "Unavailable"),
            (400, json!("<html>Bad gateway page</html>"), "Unavailable"),
        ]);
    }

    fn denied_by_webhook(reason: &str) -> Value {
        status(reason, "admission webhook \"friday.example.com\" denied the request: not on a Friday", json!({}))
    }

    #[test]
    fn who_denies_is_named() {
        let check = |code: u16, message: &str, expected: &str| {
            let answer = Answer { code, retry_after: None, body: status("", message, json!({})) };
            let Error::Denied { by, .. } = refusal(&answer, &key()) else { panic!("{message} is a denial") };
            assert_eq!(by, expected);
        };
        check(400, "admission webhook \"a.b\" denied the request without explanation", "the admission webhook `a.b`");
        check(
            422,
            "a is forbidden: ValidatingAdmissionPolicy 'g' with binding 'b' denied request: no",
            "the ValidatingAdmissionPolicy `g`",
        );
        check(403, "pods \"a\" is forbidden: exceeded quota: few, requested: pods=1", "the ResourceQuota `few`");
        check(
            403,
            "pods \"a\" is forbidden: failed quota: few: must specify limits.cpu for: a",
            "the ResourceQuota `few`",
        );
        check(
            403,
            "pods \"a\" is forbidden: status unknown for quota: few, resources: pods",
            "the ResourceQuota `few`",
        );
    }

    #[test]
    fn a_field_that_is_forbidden_and_not_given_is_left_of_before() {
        let manifest = json!({"spec": {"strategy": {"type": "Recreate"}, "ports": [{"port": 80}]}});
        let check = |causes: &[(&str, &str)], expected: Option<&str>| {
            let causes: Vec<Value> =
                causes.iter().map(|(reason, field)| json!({"reason": reason, "field": field})).collect();
            let body = status("Invalid", "x is invalid", json!({ "causes": causes }));
            let answer = Answer { code: 422, retry_after: None, body };
            assert_eq!(answer.left_fields(&manifest).as_deref(), expected, "{causes:?}");
        };
        let update = ("FieldValueForbidden", "spec.strategy.rollingUpdate");
        check(&[update], Some("`spec.strategy.rollingUpdate`"));
        check(
            &[update, ("FieldValueForbidden", "spec.ports[0].nodePort")],
            Some("`spec.strategy.rollingUpdate`, `spec.ports[0].nodePort`"),
        );
        // It is refused in a new object too.
        check(&[("FieldValueForbidden", "spec.strategy.type")], None);
        check(&[update, ("FieldValueForbidden", "spec.ports[0].port")], None);
        check(&[("FieldValueRequired", "spec.selector")], None);
        check(&[update, ("FieldValueInvalid", "spec.ports[0].nodePort")], None);
        check(&[("FieldValueForbidden", "metadata.annotations[a.b/c]")], None);
        check(&[], None);
    }

    #[test]
    fn fields_that_never_change_are_known_by_what_servers_say_of_them() {
        let check = |causes: &[(&str, &str)], expected: Option<&str>| {
            let causes: Vec<Value> =
                causes.iter().map(|(field, message)| json!({"field": field, "message": message})).collect();
            let body = status("Invalid", "x is invalid", json!({ "causes": causes }));
            match refusal(&Answer { code: 422, retry_after: None, body }, &key()) {
                Error::Immutable { fields, .. } => assert_eq!(Some(&*fields), expected, "{causes:?}"),
                error => assert_eq!((error.reason(), None), ("Invalid", expected), "{causes:?}"),
            }
        };
        let immutable = "Invalid value: {}: field is immutable";
        check(&[("spec.template", immutable)], Some("`spec.template`"));
        check(
            &[("spec.clusterIPs[0]", "Invalid value: [\"10.0.0.72\"]: may not change once set")],
            Some("`spec.clusterIPs[0]`"),
        );
        check(&[("data", "Forbidden: field is immutable when `immutable` is set")], Some("`data`"));
        check(&[("roleRef", "Invalid value: {}: cannot change roleRef")], Some("`roleRef`"));
        check(&[("value", "Forbidden: may not be changed in an update.")], Some("`value`"));
        check(&[("spec", "Forbidden: spec is immutable after creation except resources.requests")], Some("`spec`"));
        check(&[("spec", "Forbidden: pod updates may not change fields other than `image`")], Some("`spec`"));
        check(
            &[("spec", "Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden")],
            Some("`spec`"),
        );
        // One that would be refused for another reason too would not exist after it was deleted to be made again.
        check(
            &[("spec.selector", immutable), ("spec.template.metadata.labels", "Invalid value: does not match")],
            None,
        );
        check(&[("metadata.uid", "Invalid value: field is immutable")], None);
        check(&[("spec.replicas", "Invalid value: must be greater than 0")], None);
        check(&[], None);
    }

    #[test]
    fn the_pause_a_server_asks_for_is_carried() {
        let mut answer =
            Answer { code: 429, retry_after: Some(Duration::from_secs(3)), body: json!("Too many requests") };
        assert_eq!(refusal(&answer, &key()).retry_after(), Some(Duration::from_secs(3)));
        answer.retry_after = None;
        answer.body = status("TooManyRequests", "slow down", json!({"retryAfterSeconds": 7}));
        assert_eq!(refusal(&answer, &key()).retry_after(), Some(Duration::from_secs(7)));
        answer.body = json!("Too many requests");
        assert_eq!(refusal(&answer, &key()).retry_after(), Some(THROTTLED));
    }
}
