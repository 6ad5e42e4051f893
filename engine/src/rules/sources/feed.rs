//! What one place that rules come from says at the moment.
//!
//! Start at [`Feed`]. A place sends one whenever what it says changes. Nothing here knows which places there are.

use std::sync::Arc;

use crate::rules::problem::Problem;
use crate::rules::read::manifest::Manifests;

/// The manifests of one place.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Feed {
    /// `None` until the place has been read in full.
    pub manifests: Option<Arc<Manifests>>,
    /// Why the place cannot be read at the moment.
    pub troubles: Vec<Problem>,
}
