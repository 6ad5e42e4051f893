//! Carrying steps out: the calls to the cluster about one object.
//!
//! Start at `perform`. Which step is next is decided in [`super::step`].

use std::sync::atomic::Ordering;

use lifeline_projections::fact::ObjectKey;
use lifeline_store::Disk;

use crate::cluster::{Deletion, Error, LiveObject};
use crate::reconcile::step::{Known, Step};
use crate::reconcile::work::Reconciler;
use crate::trace;

impl<D: Disk> Reconciler<D> {
    /// Takes steps about an object until its end is decided, or a call fails.
    pub(super) async fn perform<End>(
        &self,
        object: &ObjectKey,
        decide: impl Fn(&Known) -> Step<End>,
    ) -> Result<End, Error> {
        let mut known = Known::Recorded;
        loop {
            known = match decide(&known) {
                Step::Look => Known::Found(self.site.cluster().get(object).await?),
                Step::Apply { manifest, uid } => {
                    self.site.counters.writes.fetch_add(1, Ordering::Relaxed);
                    let call = self.site.cluster().apply(object, &manifest, uid.as_deref());
                    let outcome = |live: &LiveObject| if live.deleting { "terminating" } else { "applied" };
                    match trace::write("apply", object, call, outcome).await {
                        Err(Error::Gone | Error::Replaced { .. }) if known == Known::Recorded => Known::Lost,
                        answer => Known::Applied(answer?),
                    }
                }
                Step::Delete { uid } => {
                    self.site.counters.writes.fetch_add(1, Ordering::Relaxed);
                    let outcome = |deletion: &Deletion| match deletion {
                        Deletion::Gone => "gone",
                        Deletion::Terminating => "terminating",
                    };
                    Known::Deleted(
                        trace::write("delete", object, self.site.cluster().delete(object, &uid), outcome).await?,
                    )
                }
                Step::End(end) => return Ok(end),
            };
        }
    }
}
