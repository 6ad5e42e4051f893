//! An event as rules look at it.
//!
//! Start at [`EventView`]. Nothing here decides.

use lifeline_projections::event::Headers;
use serde_json::{Map, Value};

/// An event as rules look at it. The attributes are those of its message, already parsed.
#[derive(Debug, Clone, Copy)]
pub struct EventView<'a> {
    /// NATS subject it was published on.
    pub nats_subject: &'a str,
    /// CloudEvent `source`.
    pub source: &'a str,
    /// CloudEvent `type`.
    pub kind: &'a str,
    /// CloudEvent `subject`; a missing one is the empty string.
    pub subject: &'a str,
    /// The headers of the message.
    pub headers: &'a Headers<'a>,
    /// The payload of the message.
    pub payload: &'a [u8],
}

/// What templates call the Kubernetes resource that an event is about, and the list of them.
pub(in crate::rules) const MATCHING_RESOURCE: &str = "MatchingResource";
pub(in crate::rules) const MATCHING_RESOURCES: &str = "MatchingResources";

/// The resource of a CloudEvent, which is about none: a `corev1.ObjectReference` of Go, whose fields are capitalised, with
/// nothing in it.
pub(in crate::rules) fn matching_resource() -> Value {
    let fields = ["Kind", "Namespace", "Name", "UID", "APIVersion", "ResourceVersion", "FieldPath"];
    fields.into_iter().map(|field| (field.to_owned(), Value::from(""))).collect::<Map<_, _>>().into()
}
