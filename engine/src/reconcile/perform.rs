//! Carrying steps out: the calls to the cluster about one object.
//!
//! Start at `perform`. Which step is next is decided in [`super::step`].

use std::sync::atomic::Ordering;

use lifeline_projections::fact::ObjectKey;
use lifeline_store::Disk;

use crate::cluster::{Deletion, Error, LiveObject};
use crate::reconcile::failure::Failure;
use crate::reconcile::step::{Known, Step};
use crate::reconcile::task::Task;
use crate::reconcile::work::Reconciler;
use crate::site::Sort;
use crate::trace;

impl<D: Disk> Reconciler<D> {
    /// Takes steps about an object until its end is decided, a call fails, or a call is held back.
    pub(super) async fn perform<End>(
        &self,
        task: &Task,
        object: &ObjectKey,
        decide: impl Fn(&Known) -> Step<End>,
    ) -> Result<End, Failure> {
        let (cluster, writes) = (self.site.cluster(), &self.site.counters.writes);
        let failed = |error| Failure::of_cluster(&object.to_string(), &error);
        let mut known = Known::Recorded;
        loop {
            known = match decide(&known) {
                Step::Look => Known::Found(self.call(task, "get", object, cluster.get(object)).await?.map_err(failed)?),
                Step::Apply { manifest, uid } => {
                    let outcome = |live: &LiveObject| if live.deleting { "terminating" } else { "applied" };
                    let call = async {
                        writes.fetch_add(1, Ordering::Relaxed);
                        trace::write("apply", object, cluster.apply(object, &manifest, uid.as_deref()), outcome).await
                    };
                    match self.call(task, "apply", object, call).await? {
                        Err(Error::Gone | Error::Replaced { .. }) if known == Known::Recorded => Known::Lost,
                        answer => Known::Applied(answer.map_err(failed)?),
                    }
                }
                Step::Delete { uid } => {
                    let outcome = |deletion: &Deletion| match deletion {
                        Deletion::Gone => "gone",
                        Deletion::Terminating => "terminating",
                    };
                    let call = async {
                        writes.fetch_add(1, Ordering::Relaxed);
                        trace::write("delete", object, cluster.delete(object, &uid), outcome).await
                    };
                    Known::Deleted(self.call(task, "delete", object, call).await?.map_err(failed)?)
                }
                Step::End(end) => return Ok(end),
            };
        }
    }

    /// The answer to a call about an object; a failure where the call is held back.
    async fn call<T>(
        &self,
        task: &Task,
        verb: &'static str,
        object: &ObjectKey,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<Result<T, Error>, Failure> {
        let sort = Sort::of(verb, object);
        let called = self.site.call(&sort, task.index, call).await;
        called.map_err(|pause| Failure::of_held_back(&object.to_string(), &sort, pause))
    }
}
