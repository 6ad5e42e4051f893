//! What a watch over the objects of a kind says, and whose the fields of an object are.
//!
//! Start at [`Seen`]. Never here: what a change means; that is decided by reconciliation.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use jiff::Timestamp;
use serde_json::Value;

use super::{FIELD_MANAGER, LiveObject, ObjectKey};

/// A kind of objects.
///
/// All versions of a kind have the same objects, so the version counts neither for `==` nor for the order, as in [`ObjectKey`].
#[derive(Debug, Clone)]
pub struct Kind {
    /// The API group; empty for the core group.
    pub group: String,
    /// A version of the API in which it can be asked for.
    pub version: String,
    /// The kind.
    pub kind: String,
}

/// A label that objects have to have, whatever its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(pub &'static str);

/// What a watch says.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// A list begins, of all objects that there are.
    Listing,
    /// An object is there, new, changed, or as it was.
    Is(ObjectKey, LiveObject),
    /// All objects that were there when the list began were named. Others were not.
    Listed,
    /// An object is gone, or has lost the label; as it was before.
    Gone(ObjectKey, LiveObject),
}

/// Whose the fields of an object are, as the cluster keeps account of it (`metadata.managedFields`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Managed {
    /// The fields that the last apply as [`FIELD_MANAGER`] gave and nobody took since, in the form of `fieldsV1`; null
    /// where there are none.
    pub ours: Value,
    /// The other field manager that changed the object last, its status aside.
    pub last_other: Option<String>,
    /// When an apply as [`FIELD_MANAGER`] last changed the object, in seconds since 1970; 0 where the cluster does not say.
    pub applied_unix_seconds: u64,
}

impl Kind {
    /// The kind of an object.
    #[must_use]
    pub fn of(object: &ObjectKey) -> Kind {
        let [group, version, kind] = [&object.group, &object.version, &object.kind].map(ToString::to_string);
        Kind { group, version, kind }
    }

    fn identity(&self) -> (&str, &str) {
        (&self.group, &self.kind)
    }

    /// Whether its objects end by themselves, and may be removed for that. Of these a watch says the status as well.
    #[must_use]
    pub fn can_finish(&self) -> bool {
        matches!((&*self.group, &*self.kind), ("batch", "Job") | ("", "Pod"))
    }

    /// As messages name it: the group, where there is one, and the kind.
    #[must_use]
    pub fn short(&self) -> String {
        if self.group.is_empty() { self.kind.clone() } else { format!("{} {}", self.group, self.kind) }
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Kind) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Kind {}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Kind) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Kind) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl Hash for Kind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl Managed {
    /// Reads `metadata.managedFields`.
    #[must_use]
    pub fn of(managed_fields: &Value) -> Managed {
        let entries = || managed_fields.as_array().into_iter().flatten();
        let our_entry = entries().find(|entry| is_our_apply(entry));
        let ours = our_entry.map(|entry| entry["fieldsV1"].clone());
        let time = our_entry.and_then(|entry| entry["time"].as_str()?.parse::<Timestamp>().ok());
        let applied_unix_seconds = time.and_then(|time| time.as_second().try_into().ok()).unwrap_or_default();
        let others = entries().filter(|entry| is_whole(entry) && !is_our_apply(entry));
        // Times are RFC 3339 in UTC, to the second: they sort as text. Of one second the later entry counts.
        let last_other = others.max_by_key(|entry| entry["time"].as_str().unwrap_or_default());
        let last_other = last_other.and_then(|entry| entry["manager"].as_str()).map(str::to_owned);
        Managed { ours: ours.unwrap_or_default(), last_other, applied_unix_seconds }
    }
}

/// Whether an entry of `managedFields` is about an object itself, not about a subresource such as its status.
pub(super) fn is_whole(entry: &Value) -> bool {
    entry["subresource"].as_str().is_none_or(str::is_empty)
}

/// Whether an entry of `managedFields` is that of an apply as [`FIELD_MANAGER`].
pub(super) fn is_our_apply(entry: &Value) -> bool {
    is_whole(entry) && entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn our_fields_are_those_of_the_apply_and_a_status_is_nobodys_change() {
        let entry = |manager: &str, operation: &str, subresource: &str, time: &str| {
            json!({
                "manager": manager,
                "operation": operation,
                "subresource": subresource,
                "time": time,
                "fieldsV1": {"f:by": {format!("f:{manager}"): {}}},
            })
        };
        let check = |entries: &[Value], ours: Value, last_other: Option<&str>| {
            let managed = Managed::of(&Value::Array(entries.to_vec()));
            let applied_unix_seconds = if ours.is_null() { 0 } else { 1_795_852_800 };
            assert_eq!(
                managed,
                Managed { ours, last_other: last_other.map(str::to_owned), applied_unix_seconds },
                "{entries:?}"
            );
        };
        let ours = entry("lifeline", "Apply", "", "2026-11-28T08:00:00Z");
        let fields = json!({"f:by": {"f:lifeline": {}}});
        check(&[], Value::Null, None);
        check(std::slice::from_ref(&ours), fields.clone(), None);
        let edit = entry("kubectl-edit", "Update", "", "2026-11-28T08:00:01Z");
        let scale = entry("hpa", "Update", "", "2026-11-28T07:00:00Z");
        check(&[edit.clone(), scale, ours.clone()], fields.clone(), Some("kubectl-edit"));
        check(&[ours, entry("kubelet", "Update", "status", "2026-11-28T09:00:00Z")], fields, None);
        check(&[edit], Value::Null, Some("kubectl-edit"));
    }
}
