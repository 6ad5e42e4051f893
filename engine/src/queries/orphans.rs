//! Which objects nothing claims, what dry runs would do, and which objects of others are in the way. All of it is known while
//! an engine runs.

use lifeline_projections::reads::List;
use lifeline_store::Disk;

use super::Queries;
use crate::dry_runs::{DryRunRow, DryRuns};
use crate::orphans::OrphanRow;

impl<D: Disk> Queries<D> {
    /// Objects with the marks of Lifeline that nothing claims, all of them.
    #[must_use]
    pub fn orphans(&self) -> List<OrphanRow> {
        List { offset: self.view.folded().get(), items: self.view.orphans().rows(), next: None }
    }

    /// What triggers with `syncMode: DryRun` would do, all of it.
    #[must_use]
    pub fn dry_runs(&self) -> List<DryRunRow> {
        self.rehearsed(self.view.dry_runs())
    }

    /// Objects of others that are in the way of wanted ones, all of them.
    #[must_use]
    pub fn foreign(&self) -> List<DryRunRow> {
        self.rehearsed(self.view.foreign())
    }

    fn rehearsed(&self, found: &DryRuns) -> List<DryRunRow> {
        let offset = self.view.folded().get();
        // One that is done since, or left, would do nothing.
        let needs_work = |index| self.view.read(|projection| projection.head(index).needs_work);
        List { offset, items: found.rows(needs_work), next: None }
    }
}
