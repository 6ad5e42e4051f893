//! What is said of an object: the rows of the answer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::history::Entry;
use crate::reads::{ClaimRow, LifecycleRow, ObjectRow};

/// Why an object is as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WhyObject {
    /// The answer in a sentence.
    pub summary: String,
    /// What kind of answer it is.
    pub verdict: Verdict,
    /// The object that the answer is about; absent when several match, and when none was ever met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectRow>,
    /// The cluster it is on; absent like it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The lifecycle that owns it, or that let it go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<LifecycleRow>,
    /// The decision that it follows from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionWhy>,
    /// What it is rendered from; absent when it is to go, and when the log does not hold the trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendered: Option<RenderedWhy>,
    /// What the cluster is known to hold; absent before the first apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<AppliedWhy>,
    /// What others did to it since it is there, the latest first, a few of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drifts: Vec<Entry>,
    /// The record by which it went; absent while a lifecycle holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<Entry>,
    /// Who else claims it, the earliest first: the next owners.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_claimed: Vec<ClaimRow>,
    /// The live keys that it lists; absent where it is made of one event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<ListWhy>,
    /// The objects that match when several do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
    /// Whether more match than are listed.
    pub more: bool,
    /// What is not known, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What kind of answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = ObjectVerdict)]
pub enum Verdict {
    /// A lifecycle holds it.
    Held,
    /// No lifecycle holds it any more.
    Gone,
    /// Several objects match the question.
    Ambiguous,
    /// No lifecycle holds it, and none is known that ever did.
    Unknown,
}

/// The decision that an object follows from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DecisionWhy {
    /// Offset of the record that decided: the event's, or that of a replay after rules changed.
    pub offset: u64,
    /// When it was recorded, RFC 3339; absent when the log no longer holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// `Create` or `Delete`; `Withdraw` when the trigger is gone.
    pub action: String,
    /// Whether changed rules decided it, of an event that was there already.
    pub replayed: bool,
    /// EventSource that matched; absent when the trigger came after the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_source: Option<String>,
    /// Its criterion, counted from 1; absent like it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub criterion: Option<u16>,
    /// The event it follows from; absent when there is none, and when the log no longer holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Entry>,
}

/// The live keys of a trigger that makes one list of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ListWhy {
    /// How many there are.
    pub live: u64,
    /// The first of them, in the order of the list.
    pub keys: Vec<KeyWhy>,
}

/// A live key of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KeyWhy {
    /// CloudEvent `source`.
    pub source: String,
    /// CloudEvent `subject`.
    pub subject: String,
    /// Offset of its latest Create event.
    pub event: u64,
}

/// An object that a policy of a trigger names, as it is written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its kind.
    pub kind: String,
    /// Its namespace, or a template of it; empty for the trigger's default.
    pub namespace: String,
    /// Its name, or a template of it.
    pub name: String,
}

/// What an object is rendered from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RenderedWhy {
    /// Offset of the record that holds the trigger's manifest.
    pub rule: u64,
    /// What the policies of the trigger name, as written there.
    pub policies: Vec<PolicyWhy>,
}

/// An object that a policy of the trigger names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PolicyWhy {
    /// `ConfigMap` or `Secret`.
    pub kind: String,
    /// Namespace; empty for the trigger's default.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its data keys; empty for a Secret, whose content has no place in a log, and for a name that is a template.
    pub keys: Vec<String>,
}

/// What the cluster is known to hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AppliedWhy {
    /// `metadata.uid`.
    pub uid: String,
    /// When an apply last confirmed it, RFC 3339.
    pub time: String,
    /// Offset of that record; absent when it is too far back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Offset of the first record with this uid and manifest: unchanged since. Absent when it is too far back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchanged_since: Option<u64>,
    /// Offset of the first record with this uid: made then. Absent when it is too far back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_at: Option<u64>,
}

/// An object that matches, when several do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ObjectCandidate)]
pub struct Candidate {
    /// The object.
    #[serde(flatten)]
    pub object: ObjectRow,
    /// The cluster it is on.
    pub cluster: String,
}

impl WhyObject {
    pub(super) fn new(summary: String, verdict: Verdict) -> WhyObject {
        WhyObject {
            summary,
            verdict,
            object: None,
            cluster: None,
            lifecycle: None,
            decision: None,
            rendered: None,
            applied: None,
            drifts: Vec::new(),
            gone: None,
            also_claimed: Vec::new(),
            list: None,
            candidates: Vec::new(),
            more: false,
            notes: Vec::new(),
        }
    }
}
