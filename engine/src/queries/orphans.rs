//! The question what nothing claims.

use lifeline_projections::reads::List;
use lifeline_store::Disk;

use super::Queries;
use crate::orphans::OrphanRow;

impl<D: Disk> Queries<D> {
    /// Objects with the marks of Lifeline that nothing claims, all of them. Known while an engine runs.
    #[must_use]
    pub fn orphans(&self) -> List<OrphanRow> {
        List { offset: self.view.folded().get(), items: self.view.orphans().rows(), next: None }
    }
}
