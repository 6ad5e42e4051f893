//! The types of kinds, as an API server publishes them: one OpenAPI v3 document for each group and version.
//!
//! Start at [`Schemas::find`]. A document is asked for when an object of its group needs it, kept for [`KEPT_FOR`], and asked for
//! again where it lacks a kind, for the server publishes a new definition with a delay. It makes no request itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::served::ASK_AGAIN;
use crate::cluster::ObjectKey;
use crate::schema::Schema;

/// How long a document is used before it is asked for again: a definition that somebody changed counts after this long.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// How long a server that gave none is not asked again. Objects wait for the question.
const FAILED_FOR: Duration = Duration::from_secs(30);

/// What a server said that was asked for a document.
pub(super) enum Said {
    /// This.
    Document(Value),
    /// There is none, for the kind is not served, or not published yet.
    Nothing,
    /// It did not answer, or not as it should.
    Failed,
}

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Schemas {
    /// By group and version.
    documents: BTreeMap<(String, String), Document>,
}

#[derive(Debug)]
struct Document {
    kinds: BTreeMap<String, Option<Arc<Schema>>>,
    /// `None` where it could not be had.
    value: Option<Arc<Value>>,
    at: Instant,
    has_failed: bool,
}

impl Schemas {
    /// The types of a key's kind. The outer `None` says that the server has to be asked.
    pub(super) fn find(&mut self, key: &ObjectKey, now: Instant) -> Option<Option<Arc<Schema>>> {
        let document = self.documents.get_mut(&group_of(key))?;
        let Document { kinds, value, at, has_failed } = document;
        let kind = kinds
            .entry(key.kind.to_string())
            .or_insert_with(|| Schema::of_document(value.as_ref()?, &key.group, &key.version, &key.kind).map(Arc::new));
        let kept_for = match kind {
            Some(_) => KEPT_FOR,
            None if *has_failed => FAILED_FOR,
            None => ASK_AGAIN,
        };
        (now.duration_since(*at) < kept_for).then(|| kind.clone())
    }

    /// Remembers a document, or that there is none. One that cannot be had for a moment does not replace what is known.
    pub(super) fn learn(&mut self, key: &ObjectKey, said: Said, now: Instant) {
        let before = self.documents.remove(&group_of(key)).and_then(|before| before.value);
        let has_failed = matches!(said, Said::Failed);
        let value = match said {
            Said::Document(mut document) => {
                leave_out_descriptions(&mut document);
                Some(Arc::new(document))
            }
            Said::Nothing | Said::Failed => before,
        };
        self.documents.insert(group_of(key), Document { kinds: BTreeMap::new(), value, at: now, has_failed });
    }

    /// Forgets the kinds of a group, for a definition was applied.
    pub(super) fn forget_group(&mut self, group: &str) {
        self.documents.retain(|(known, _), _| known != group);
    }
}

/// Most of a document is prose. A field that is called so has a schema, which is no text.
fn leave_out_descriptions(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|name, value| name != "description" || !value.is_string());
            map.values_mut().for_each(leave_out_descriptions);
        }
        Value::Array(items) => items.iter_mut().for_each(leave_out_descriptions),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn group_of(key: &ObjectKey) -> (String, String) {
    (key.group.to_string(), key.version.to_string())
}

/// Where the document of a group and version is.
pub(super) fn path(group_path: &str) -> String {
    format!("/openapi/v3{group_path}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_document_is_asked_for_once_and_again_when_it_is_old_or_lacks_a_kind() {
        let key = |kind: &str| {
            let manifest = json!({"apiVersion": "e.com/v1", "kind": kind, "metadata": {"name": "a"}});
            crate::cluster::object_key(&manifest).unwrap()
        };
        let (thing, other) = (key("Thing"), key("Other"));
        let is_known = |found: Option<Option<Arc<Schema>>>| found.map(|schema| schema.is_some());
        let mut schemas = Schemas::default();
        assert_eq!(is_known(schemas.find(&thing, Instant::now())), None);
        let named = json!([{"group": "e.com", "version": "v1", "kind": "Thing"}]);
        let document = json!({"components": {"schemas": {"t": {"x-kubernetes-group-version-kind": named}}}});
        schemas.learn(&thing, Said::Document(document), Instant::now());
        assert_eq!(is_known(schemas.find(&thing, Instant::now())), Some(true));
        assert_eq!(is_known(schemas.find(&other, Instant::now())), Some(false));
        tokio::time::advance(ASK_AGAIN).await;
        assert_eq!(is_known(schemas.find(&thing, Instant::now())), Some(true));
        assert_eq!(is_known(schemas.find(&other, Instant::now())), None);
        tokio::time::advance(KEPT_FOR).await;
        assert_eq!(is_known(schemas.find(&thing, Instant::now())), None);
        // A server that fails for a moment takes nothing away.
        schemas.learn(&thing, Said::Failed, Instant::now());
        assert_eq!(is_known(schemas.find(&thing, Instant::now())), Some(true));
        // Nor is it asked again at once for what it never gave.
        tokio::time::advance(ASK_AGAIN).await;
        assert_eq!(is_known(schemas.find(&other, Instant::now())), Some(false));
        schemas.forget_group("e.com");
        assert_eq!(is_known(schemas.find(&thing, Instant::now())), None);
    }
}
