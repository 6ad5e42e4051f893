//! Carrying steps out: the calls to the cluster about one object.
//!
//! Start at `perform`. Which step is next is decided in [`super::step`].

use std::sync::atomic::Ordering;

use lifeline_projections::fact::ObjectKey;
use lifeline_store::Disk;
use tracing::info;

use crate::cluster::{Deletion, Error, LiveObject};
use crate::reconcile::failure::Failure;
use crate::reconcile::marks;
use crate::reconcile::step::{Known, Refusal, Step};
use crate::reconcile::task::Task;
use crate::reconcile::work::Reconciler;
use crate::site::Sort;
use crate::trace;

impl<D: Disk> Reconciler<D> {
    /// Takes steps about an object until its end is decided, a call fails, or a call is held back. Where values are hidden, no
    /// answer of the cluster quotes one of what is applied.
    pub(super) async fn perform<End>(
        &self,
        task: &Task,
        object: &ObjectKey,
        hides_values: bool,
        decide: impl Fn(&Known) -> Step<End>,
    ) -> Result<End, Failure> {
        let (cluster, writes) = (self.site.cluster_as(task.account()), &self.site.counters.writes);
        let failed = |error| Failure::of_cluster(&object.to_string(), &error);
        let worded = |error: Error, manifest: &_| if hides_values { error.without_values(manifest) } else { error };
        let mut known = Known::Recorded;
        loop {
            known = match decide(&known) {
                Step::Look => Known::Found(self.call(task, "get", object, cluster.get(object)).await?.map_err(failed)?),
                Step::MakeNamespace => {
                    let name = object.namespace.as_deref().unwrap_or_default();
                    let (namespace, manifest) = (ObjectKey::of_namespace(name), marks::bare_namespace(name));
                    let call = async {
                        writes.fetch_add(1, Ordering::Relaxed);
                        trace::write("create", &namespace, cluster.create_namespace(&manifest), |()| "created").await
                    };
                    let made = self.call(task, "apply", &namespace, call).await?;
                    made.map_err(|error| Failure::of_cluster(&namespace.to_string(), &error))?;
                    info!(namespace = name, "made the Namespace, which was missing");
                    Known::Housed
                }
                Step::Make { manifest } => {
                    let outcome = |_: &LiveObject| "made";
                    let call = async {
                        writes.fetch_add(1, Ordering::Relaxed);
                        let made =
                            async { cluster.make(object, &manifest).await.map_err(|error| worded(error, &manifest)) };
                        trace::write("apply", object, made, outcome).await
                    };
                    match self.call(task, "apply", object, call).await? {
                        Err(Error::Taken) => Known::Lost,
                        Err(Error::NamespaceMissing { .. }) => Known::Homeless,
                        answer => Known::Applied(answer.map_err(failed)?),
                    }
                }
                Step::Apply { manifest, uid } => {
                    let outcome = |live: &LiveObject| if live.deleting { "terminating" } else { "applied" };
                    let call = async {
                        writes.fetch_add(1, Ordering::Relaxed);
                        let applied = async {
                            let applied = cluster.apply(object, &manifest, uid.as_deref()).await;
                            applied.map_err(|error| worded(error, &manifest))
                        };
                        trace::write("apply", object, applied, outcome).await
                    };
                    match self.call(task, "apply", object, call).await? {
                        Err(Error::Gone | Error::Replaced { .. }) if known == Known::Recorded => Known::Lost,
                        Err(Error::NamespaceMissing { .. }) if known != Known::Housed => Known::Homeless,
                        Err(Error::Immutable { fields, message }) => {
                            Known::Refused(Refusal { fields, message, uid, is_left: false })
                        }
                        Err(Error::Left { fields, message }) => {
                            Known::Refused(Refusal { fields, message, uid, is_left: true })
                        }
                        answer => Known::Applied(answer.map_err(failed)?),
                    }
                }
                Step::Delete { uid } => Known::Deleted(self.delete(task, object, &uid).await?),
                Step::End(end) => return Ok(end),
            };
        }
    }

    /// Asks for the deletion of the object of this uid.
    pub(super) async fn delete(&self, task: &Task, object: &ObjectKey, uid: &str) -> Result<Deletion, Failure> {
        let outcome = |deletion: &Deletion| match deletion {
            Deletion::Gone => "gone",
            Deletion::Terminating => "terminating",
        };
        let cluster = self.site.cluster_as(task.account());
        let call = async {
            self.site.counters.writes.fetch_add(1, Ordering::Relaxed);
            trace::write("delete", object, cluster.delete(object, uid), outcome).await
        };
        let deleted = self.call(task, "delete", object, call).await?;
        deleted.map_err(|error| Failure::of_cluster(&object.to_string(), &error))
    }

    /// The answer to a call about an object; a failure where the call is held back.
    async fn call<T>(
        &self,
        task: &Task,
        verb: &'static str,
        object: &ObjectKey,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<Result<T, Error>, Failure> {
        self.site.afford().await;
        let sort = Sort::of(verb, object);
        let called = self.site.call(&sort, task.index, call).await;
        called.map_err(|pause| Failure::of_held_back(&object.to_string(), &sort, pause))
    }
}
