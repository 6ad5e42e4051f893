//! The port to a Kubernetes cluster: its effects, and no decision.
//!
//! Start at [`Cluster`]. [`kube`] speaks to a real API server, [`local`] keeps objects in a folder or in memory and refuses
//! what an API server would. [`conformance`] is the one suite both must pass, so that nothing works locally that fails on
//! a server. What to apply, when, and what to do about an error is decided by the caller, never here: nothing in this
//! module retries, waits for a rule, or chooses an owner.

pub mod conformance;
mod error;
mod key;
pub mod kube;
pub mod local;
pub(crate) mod quantity;
mod rights;
#[cfg(test)]
mod shipped;
mod watch;

pub use error::Error;
pub use key::{ObjectKey, object_key};
pub use watch::{Kind, Label, Managed, Seen};

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use serde_json::Value;

pub use crate::account::Account;
use crate::schema::Schema;

/// The field manager of every server-side apply.
pub const FIELD_MANAGER: &str = "lifeline";

/// Metadata that only the server writes: ignored in what is applied, so a manifest copied from a live object applies.
pub(crate) const SERVER_METADATA: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// An object as the cluster holds it now.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveObject {
    /// The identity the cluster gave it; an object that was deleted and made again has another.
    pub uid: String,
    /// Deletion was asked for and finalizers (or a namespace's contents) still hold it.
    pub deleting: bool,
    /// The whole object, without `metadata.managedFields`; of a watch often its metadata alone.
    pub manifest: Value,
    /// Whose its fields are.
    pub managed: Managed,
}

/// How far a deletion has come when `delete` returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// The object of this uid is no more (or never was).
    Gone,
    /// Accepted, but something still holds the object: finalizers, or the contents of a namespace. Ask again later.
    Terminating,
}

/// A cluster to which objects are applied. Object-safe; every call may be made from many tasks at once.
///
/// Invariant: no call retries on its own, and every call ends: a silent server becomes [`Error::Unavailable`].
pub trait Cluster: Send + Sync + 'static {
    /// Which cluster this is, for messages: `local cluster in DIR`, `kubernetes at https://...`.
    fn name(&self) -> &str;

    /// The same cluster, asked in the name of a service account: what is read, applied and deleted is so with its rights.
    /// Which kinds there are is asked for as before, and so are watches, for an account of a tenant may rarely see all
    /// namespaces. `None` where a cluster asks nobody for rights.
    fn acting_as(&self, account: &Account) -> Option<Arc<dyn Cluster>> {
        let _ = account;
        None
    }

    /// Asks something cheap that is not about an object, to find out whether the cluster answers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where it does not; any other error is an answer.
    fn check(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Names the object a manifest describes: its group, version, kind and name, its namespace by the scope of its kind
    /// (cleared where the kind is cluster-scoped, `default` where a namespaced one gives none).
    ///
    /// # Errors
    /// [`Error::Invalid`] without `apiVersion`, `kind` or `metadata.name`; [`Error::UnknownKind`] where the cluster does
    /// not serve the kind (yet); [`Error::Unavailable`] where it could not be asked.
    fn resolve<'a>(&'a self, manifest: &'a Value) -> BoxFuture<'a, Result<ObjectKey, Error>>;

    /// The types of the fields of a kind, as far as the cluster says; it may lag behind a change of the kind. Never an
    /// error: where they cannot be had, they are not known.
    fn schema<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Option<Arc<Schema>>>;

    /// Reads an object; `None` where there is none.
    ///
    /// # Errors
    /// Those of the cluster, never that the object is missing.
    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<LiveObject>, Error>>;

    /// Server-side apply as [`FIELD_MANAGER`], with force: afterwards the object has the manifest's fields, and no longer
    /// those that an earlier apply gave and this one does not. Fields of others stay. The same apply twice changes
    /// nothing. The metadata in [`SERVER_METADATA`] is ignored.
    ///
    /// With `uid`, only an object that lives under this uid is changed.
    ///
    /// # Errors
    /// With `uid`: [`Error::Gone`] where no object lives, [`Error::Replaced`] where another does; it is never recreated
    /// silently. Else as each variant says.
    fn apply<'a>(
        &'a self,
        key: &'a ObjectKey,
        manifest: &'a Value,
        uid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<LiveObject, Error>>;

    /// Applies an object of which it is not known whether there is one: made where there is none, and not touched where there
    /// is. One step, so that nothing is made for a lifecycle that came to want nothing meanwhile.
    ///
    /// # Errors
    /// [`Error::Taken`] where an object of the name lives. Else as each variant says.
    fn make<'a>(&'a self, key: &'a ObjectKey, manifest: &'a Value) -> BoxFuture<'a, Result<LiveObject, Error>>;

    /// What [`Cluster::apply`] would make of an object, or refuse; nothing is changed. `None` where the cluster cannot say.
    ///
    /// # Errors
    /// As those of [`Cluster::apply`].
    fn dry_run<'a>(
        &'a self,
        _key: &'a ObjectKey,
        _manifest: &'a Value,
        _uid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<LiveObject>, Error>> {
        Box::pin(async { Ok(None) })
    }

    /// Makes a Namespace; one of its name that is there already stays as it is.
    ///
    /// # Errors
    /// As each variant says.
    fn create_namespace<'a>(&'a self, manifest: &'a Value) -> BoxFuture<'a, Result<(), Error>>;

    /// Deletes the object of this uid, what it owns in the background. An object of the same name with another uid is not
    /// touched, and the answer is [`Deletion::Gone`]. May be asked again at any time, also to learn how far it came.
    ///
    /// # Errors
    /// Those of the cluster, never that the object is missing.
    fn delete<'a>(&'a self, key: &'a ObjectKey, uid: &'a str) -> BoxFuture<'a, Result<Deletion, Error>>;

    /// The kinds whose objects can be listed and applied, in each version that the cluster serves them in; of one kind the
    /// preferred version comes first.
    ///
    /// # Errors
    /// Those of the cluster.
    fn kinds(&self) -> BoxFuture<'_, Result<Vec<Kind>, Error>>;

    /// Watches the objects of a kind that have a label, in all namespaces: first those that are there, then each change.
    /// Of most kinds only the metadata comes; see [`Kind::can_finish`]. An object that loses the label counts as gone.
    ///
    /// The stream never ends, and keeps nothing of an object. After an error it goes on where it was, or lists again; the
    /// caller decides how soon it is asked for more.
    fn watch(&self, kind: Kind, label: Label) -> BoxStream<'_, Result<Seen, Error>>;
}
