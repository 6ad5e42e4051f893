//! The fact about all live keys of a trigger together: [`Gathered`].

use lifeline_store::Offset;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// The live keys of a trigger that makes one list of them changed, and the list has to be made again.
///
/// A key is a resource of the trigger on the cluster; it is live while the trigger's latest decision about it is Create. The list
/// is a lifecycle of its own: see [`super::ResourceKey::of_list`]. Which keys are live follows from their own records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gathered {
    /// The trigger.
    pub trigger: SmolStr,
    /// The cluster.
    pub cluster: SmolStr,
    /// How many keys are live. With 0 the objects of the list go.
    pub keys: u64,
    /// The latest record that decided about one of them.
    pub until: Offset,
    /// The record before this one about the same list.
    pub previous: Option<Offset>,
}
