//! What single kinds demand beyond their types: required fields, references between fields, immutable fields.
//!
//! Start at [`check`] and [`immutable`]. Pure; one arm per kind. Kinds without an arm are taken as their type has them.

use serde_json::Value;

use crate::cluster::ObjectKey;

/// Adds what is wrong with a manifest whose types are right.
pub(super) fn check(_key: &ObjectKey, _manifest: &Value, _problems: &mut Vec<String>) {}

/// Turns write-only conveniences into what is kept: a Secret's `stringData` becomes `data`.
pub(super) fn convert(_key: &ObjectKey, _manifest: &mut Value) {}

/// Adds the fields that differ although they may never change.
pub(super) fn immutable(
    _key: &ObjectKey,
    _live: &Value,
    _next: &Value,
    _problems: &mut Vec<String>,
) {
}
