//! [`Watched`]: a cluster, and whether it is available.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use serde_json::Value;

use super::breaker::Breaker;
use super::budget::Budget;
use crate::cluster::{Account, Cluster, Deletion, Error, Kind, Label, LiveObject, ObjectKey, Seen};
use crate::schema::Schema;

/// A cluster whose calls are noted by a breaker and a budget.
pub(super) struct Watched {
    inner: Arc<dyn Cluster>,
    breaker: Arc<Breaker>,
    budget: Arc<Budget>,
}

impl Watched {
    pub(super) fn new(inner: Arc<dyn Cluster>, breaker: Arc<Breaker>, budget: Arc<Budget>) -> Watched {
        Watched { inner, breaker, budget }
    }

    fn noted<'a, T: Send + 'a>(&'a self, call: BoxFuture<'a, Result<T, Error>>) -> BoxFuture<'a, Result<T, Error>> {
        let note = |called: &Result<T, Error>| {
            self.breaker.note_call(called);
            self.budget.note(called);
        };
        call.inspect(note).boxed()
    }
}

impl Cluster for Watched {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn acting_as(&self, account: &Account) -> Option<Arc<dyn Cluster>> {
        let inner = self.inner.acting_as(account)?;
        Some(Arc::new(Watched::new(inner, self.breaker.clone(), self.budget.clone())))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.check().inspect(|checked| self.breaker.note_check(checked)).boxed()
    }

    fn resolve<'a>(&'a self, manifest: &'a Value) -> BoxFuture<'a, Result<ObjectKey, Error>> {
        // Most names are known without a call. So only a failure says something about the cluster.
        let resolved = self.inner.resolve(manifest);
        let note = |resolved: &Result<_, _>| {
            if let Err(Error::Unavailable { .. }) = resolved {
                self.breaker.note_call(resolved);
            }
        };
        resolved.inspect(note).boxed()
    }

    fn schema<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Option<Arc<Schema>>> {
        self.inner.schema(key)
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<LiveObject>, Error>> {
        self.noted(self.inner.get(key))
    }

    fn apply<'a>(
        &'a self,
        key: &'a ObjectKey,
        manifest: &'a Value,
        uid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<LiveObject, Error>> {
        self.noted(self.inner.apply(key, manifest, uid))
    }

    fn make<'a>(&'a self, key: &'a ObjectKey, manifest: &'a Value) -> BoxFuture<'a, Result<LiveObject, Error>> {
        self.noted(self.inner.make(key, manifest))
    }

    fn dry_run<'a>(
        &'a self,
        key: &'a ObjectKey,
        manifest: &'a Value,
        uid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<LiveObject>, Error>> {
        self.noted(self.inner.dry_run(key, manifest, uid))
    }

    fn create_namespace<'a>(&'a self, manifest: &'a Value) -> BoxFuture<'a, Result<(), Error>> {
        self.noted(self.inner.create_namespace(manifest))
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey, uid: &'a str) -> BoxFuture<'a, Result<Deletion, Error>> {
        self.noted(self.inner.delete(key, uid))
    }

    fn kinds(&self) -> BoxFuture<'_, Result<Vec<Kind>, Error>> {
        self.noted(self.inner.kinds())
    }

    fn watch(&self, kind: Kind, label: Label) -> BoxStream<'_, Result<Seen, Error>> {
        // Long calls that end now and then say little about the cluster, and nothing that other calls would not.
        self.inner.watch(kind, label)
    }
}
