//! Facts about rules: [`RuleChanged`], and what they change in decisions that were made, [`TriggerReplayed`].

use lifeline_store::Offset;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::names::ResourceKey;

/// A rule appeared, changed, or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleChanged<'a> {
    /// `EventSource/name`, `EventTrigger/name`, `ConfigMap/namespace/name` or `Secret/namespace/name`.
    pub rule: &'a str,
    /// Checksum of its content; `None` when it went.
    pub digest: Option<u64>,
    /// The manifest as JSON; empty when it went, and for a Secret, whose content has no place in a log.
    pub manifest: &'a str,
}

/// A trigger's rules changed and the events already held are decided again. Only differences are listed.
///
/// A replay is several records. The first one lists nothing: it opens the replay, and from there on the new rules decide. Others
/// follow among the records of what happens meanwhile. The last one completes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerReplayed {
    /// The trigger.
    pub trigger: SmolStr,
    /// Checksum of everything it is made of; `None` when it went.
    pub digest: Option<u64>,
    /// Whether it leaves its objects when it goes (`stopMatchingBehavior: LeavePolicies`).
    pub leaves: bool,
    /// False while further records about the same replay follow.
    pub complete: bool,
    /// The differences, by resource.
    pub redecisions: Vec<Redecision>,
    /// What may be withdrawn from here on. Such a record lists no differences and opens nothing. It is not among the bytes of
    /// records without it.
    #[serde(skip)]
    pub allowance: Option<Allowance>,
}

/// What a replay may withdraw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// How many objects and keys of lists, in one sum.
    pub objects: u64,
    /// Whether somebody confirmed it; otherwise they are few.
    pub is_confirmed: bool,
}

/// A change of desired state that came from rules rather than from a new event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redecision {
    /// The lifecycle's cluster.
    pub cluster: SmolStr,
    /// The lifecycle's resource.
    pub resource: ResourceKey,
    /// What shall hold from now on.
    pub desired: Redesired,
    /// The record before this one that spoke of the same resource.
    pub previous: Option<Offset>,
}

/// What a replay found that should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Redesired {
    /// Present, as this event says.
    Present {
        /// The latest Create event.
        event: Offset,
        /// How often the lifecycle has become present, from 1.
        incarnation: u32,
    },
    /// Absent, as this event says, or because the trigger is gone (`None`).
    Absent {
        /// The Delete event.
        event: Option<Offset>,
    },
    /// The trigger is gone and its `stopMatchingBehavior` is `LeavePolicies`: objects stay, unowned.
    Left,
}
