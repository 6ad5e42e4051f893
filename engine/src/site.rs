//! Sites: the clusters that Lifeline works for, each with all that it needs for itself.
//!
//! Start at [`Site`]. A site has its own queue, its own number of workers, its own breaker and its own bulkhead. A
//! cluster that hangs takes nothing from another one, and one kind of object that hangs nothing from the other kinds.
//!
//! Never here: what is done to objects (see [`crate::reconcile`]), and how a cluster or its NATS is connected to.

mod at_log;
mod breaker;
mod budget;
mod bulkhead;
mod drifts;
mod fight;
mod history;
mod watched;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lifeline_projections::fold::{LifecycleIndex, Projection};
use lifeline_store::Offset;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};

use self::at_log::AtLog;
pub(crate) use self::at_log::Waits;
use self::breaker::Breaker;
use self::budget::Budget;
pub use self::budget::Rate;
use self::bulkhead::Bulkhead;
pub(crate) use self::bulkhead::Sort;
use self::drifts::{Asked, Drifts};
pub(crate) use self::fight::Fought;
use self::history::{Unread, Wait};
use self::watched::Watched;
use crate::cluster::{self, Account, Cluster};
use crate::intake::streams;
use crate::queue::{Lane, Next, Queue, Urgency};
use crate::rules;
use crate::status::{OrphanStatus, SiteStatus};

/// Lifecycles of one site that are reconciled at once, not counting those that wait for the log and those whose calls are
/// detached.
pub(crate) const WORKERS: usize = 64;

/// How often a cluster is asked whether it answers, while there is nothing to do.
const IDLE_LOOK_EVERY: Duration = Duration::from_secs(30);
/// The name of an instance that was given none.
pub(crate) const INSTANCE: &str = "lifeline";

/// A cluster that Lifeline works for: events come from its NATS, objects go to its API server.
pub struct Site {
    name: Arc<str>,
    /// Which instance of Lifeline works for it, as marks name it.
    instance: String,
    /// Names that it had before.
    former: Vec<String>,
    described: rules::Cluster,
    cluster: Arc<dyn Cluster>,
    breaker: Arc<Breaker>,
    budget: Arc<Budget>,
    bulkhead: Bulkhead,
    at_log: AtLog,
    /// Its lifecycles that wait for a worker.
    pub(crate) queue: Queue,
    /// What reconciliation did here.
    pub(crate) counters: Counters,
    /// What others did to its objects.
    pub(crate) drifts: Drifts,
    /// What the intake of each of its NATS servers says of itself, by server.
    intakes: Mutex<BTreeMap<String, IntakeState>>,
    history: Wait,
}

/// What reconciliation did at a site so far, for metrics and tests.
#[derive(Debug, Default)]
pub struct Counters {
    /// Lifecycles taken from the queue that needed work.
    pub reconciliations: AtomicU64,
    /// Calls that may have changed the cluster: applies and deletes.
    pub writes: AtomicU64,
    /// Attempts that failed.
    pub failures: AtomicU64,
}

/// What is known of the reading of one server.
pub(crate) enum IntakeState {
    /// Not connected; why.
    Waiting(String),
    /// Connected; the receiver has its status.
    Running(watch::Receiver<streams::Status>),
}

impl Site {
    /// A site with the cluster that its objects go to.
    #[must_use]
    pub fn new(described: rules::Cluster, cluster: Arc<dyn Cluster>) -> Site {
        let (breaker, budget) = (Arc::new(Breaker::default()), Arc::new(Budget::default()));
        let name: Arc<str> = described.full_name().into();
        Site {
            bulkhead: Bulkhead::new(name.clone()),
            at_log: AtLog::default(),
            name,
            instance: INSTANCE.to_owned(),
            former: Vec::new(),
            described,
            cluster: Arc::new(Watched::new(cluster, breaker.clone(), budget.clone())),
            breaker,
            budget,
            queue: Queue::default(),
            counters: Counters::default(),
            drifts: Drifts::default(),
            intakes: Mutex::default(),
            history: Wait::default(),
        }
    }

    /// The cluster that Lifeline runs for, with its labels; none means that every selector is assumed to match it.
    #[must_use]
    pub fn own(labels: BTreeMap<String, String>, cluster: Arc<dyn Cluster>) -> Site {
        Site::new(rules::Cluster::own(labels), cluster)
    }

    /// The same, for an instance of this name: of several that work for one cluster each has another. `names` are those that it
    /// had before.
    #[must_use]
    pub fn of_instance(self, instance: &str, names: Vec<String>) -> Site {
        Site { instance: instance.to_owned(), former: names, ..self }
    }

    /// Whether an instance of this name is this one.
    pub(crate) fn is_instance(&self, name: &str) -> bool {
        self.instance == name || self.former.iter().any(|former| former == name)
    }

    /// The instance of Lifeline that works for it.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// `namespace/name` of the resource that represents it, as records name it.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The cluster as rules see it.
    #[must_use]
    pub fn described(&self) -> &rules::Cluster {
        &self.described
    }

    /// Where objects go. How its calls end is noted for the breaker.
    pub(crate) fn cluster(&self) -> &dyn Cluster {
        &*self.cluster
    }

    /// Where objects of a service account go.
    pub(crate) fn cluster_as(&self, account: Option<&Account>) -> Arc<dyn Cluster> {
        let acting = account.and_then(|account| self.cluster.acting_as(account));
        acting.unwrap_or_else(|| self.cluster.clone())
    }

    /// Limits its requests from here on.
    pub fn limit_requests(&self, rate: Rate) {
        self.budget.set(rate);
    }

    /// Waits until a request about an object may be made.
    pub(crate) async fn afford(&self) {
        self.budget.take().await;
    }

    /// The same for a request that nobody waits for: all others come first.
    pub(crate) async fn afford_last(&self) {
        self.budget.take_last().await;
    }

    /// Puts lifecycles that need work into the queue. What should be gone is more urgent than `urgency` says.
    pub(crate) fn push(
        &self,
        projection: &Projection,
        work: impl IntoIterator<Item = LifecycleIndex>,
        urgency: Urgency,
    ) {
        self.queue.push_into(work.into_iter().map(|index| (index, lane(projection, index, urgency))));
    }

    /// Makes a call for a lifecycle.
    ///
    /// # Errors
    /// Too many of its sort are under way: when the lifecycle is to be tried again at the latest. It is to give its
    /// worker back, and is woken when there is a place.
    pub(crate) async fn call<T>(
        &self,
        sort: &Sort,
        lifecycle: LifecycleIndex,
        call: impl Future<Output = Result<T, cluster::Error>>,
    ) -> Result<Result<T, cluster::Error>, Duration> {
        self.bulkhead.call(sort, &self.queue, lifecycle, call).await
    }

    /// Lets lifecycles that come back from the log go on, as far as workers are free while so many are reconciled.
    pub(crate) fn let_on(&self, reconciled: usize) {
        self.at_log.let_on(reconciled, self.workers());
    }

    /// Whether another lifecycle may be begun while so many are reconciled.
    pub(crate) fn has_worker(&self, reconciled: usize) -> bool {
        self.at_log.has_place(reconciled, self.workers())
    }

    fn workers(&self) -> usize {
        WORKERS + self.bulkhead.detached()
    }

    /// Waits until there may be a free worker, because a call was detached or a lifecycle waits for the log, or until a
    /// lifecycle wants to go on.
    pub(crate) async fn worker_freed(&self) {
        tokio::select! {
            biased;
            () = self.bulkhead.changed() => {}
            () = self.at_log.changed() => {}
        }
    }

    /// A lifecycle waits for the log from here on, and its worker takes another one.
    pub(crate) fn wait_for_log(&self) -> Waits<'_> {
        self.at_log.wait()
    }

    /// Lets the site wait, from here on, until what was in its streams at the connection is recorded; so long at most without
    /// progress. A `patience` of zero does not wait.
    pub fn await_history(&self, patience: Duration) {
        self.history.set_patience(patience);
    }

    /// Whether another engine reads what is wanted here: then that one knows what this one does not.
    pub fn is_read_elsewhere(&self) -> bool {
        Unread::at(self.intakes.lock().iter()).is_some_and(|unread| unread.is_elsewhere())
    }

    /// Whether what was in its streams at the connection is not recorded yet.
    fn awaits_history(&self) -> bool {
        self.history.is_waited(&self.name, || Unread::at(self.intakes.lock().iter()))
    }

    /// Asks the cluster now and then, while there is nothing to do, and ends when it does not answer: nobody else would notice,
    /// and what others change of its objects is not seen meanwhile.
    async fn is_found_away(&self) {
        while self.breaker.due().is_none() {
            sleep(IDLE_LOOK_EVERY).await;
            self.breaker.note_idle_check(&self.cluster.check().await);
        }
    }

    /// Waits until what was in its streams at the connection is recorded, or is given up.
    pub(crate) async fn history_read(&self) {
        while self.awaits_history() {
            sleep(history::LOOK_EVERY).await;
        }
    }

    /// Takes the next lifecycle. Waits until there is one, history is read, and the cluster is available.
    /// [`Queue::finish`] has to follow. It may be dropped at any time: then no lifecycle was taken.
    pub(crate) async fn next(&self) -> LifecycleIndex {
        loop {
            while let Some(due) = self.breaker.due() {
                sleep_until(due).await;
                // `Watched` notes the answer for the breaker.
                let _ = self.cluster.check().await;
            }
            self.history_read().await;
            // Chosen as late as possible: what waits for the budget here is not in the queue, where what comes later may be
            // more urgent.
            while let Some(due) = self.budget.due() {
                sleep_until(due).await;
            }
            let index = tokio::select! {
                biased;
                index = self.queue.next() => index,
                // The loop waits until it answers again.
                () = self.is_found_away() => continue,
            };
            if self.breaker.due().is_none() && !self.awaits_history() {
                return index;
            }
            // While the queue was empty the breaker opened, or a stream was connected to again.
            self.queue.finish(index, Next::RetryAfter(Duration::ZERO));
        }
    }

    /// Says why a server is not read yet.
    pub fn set_waiting(&self, server: &str, why: String) {
        self.intakes.lock().insert(server.to_owned(), IntakeState::Waiting(why));
    }

    /// Notes that a server is read, and where its status is.
    pub(crate) fn set_running(&self, server: &str, status: watch::Receiver<streams::Status>) {
        self.intakes.lock().insert(server.to_owned(), IntakeState::Running(status));
    }

    /// Forgets the status of all servers, before others are connected.
    pub fn forget_servers(&self) {
        self.intakes.lock().clear();
    }

    /// Looks at what is known of each of its servers.
    pub(crate) fn each_intake(&self, look: impl FnMut(&IntakeState)) {
        self.intakes.lock().values().for_each(look);
    }

    /// Its status, for operators.
    pub(crate) fn status(&self) -> SiteStatus {
        SiteStatus {
            cluster: self.name.to_string(),
            api_server: self.cluster.name().to_owned(),
            open: self.queue.len(),
            reconciliations: self.counters.reconciliations.load(Ordering::Relaxed),
            writes: self.counters.writes.load(Ordering::Relaxed),
            failures: self.counters.failures.load(Ordering::Relaxed),
            unavailable: self.breaker.because(),
            held_back: self.bulkhead.status(),
            budget: self.budget.status(),
            history: self.history.status(),
            drift: self.drifts.status(),
            orphans: OrphanStatus::default(),
        }
    }
}

/// All sites of an engine, by name.
pub struct Sites {
    sites: BTreeMap<Arc<str>, Arc<Site>>,
    /// Lifecycles of clusters that are no sites here. Nobody takes them; they count as open.
    stranded: Queue,
}

impl Sites {
    /// These sites; of two with one name the last counts.
    #[must_use]
    pub fn new(sites: Vec<Arc<Site>>) -> Sites {
        let sites = sites.into_iter().map(|site| (site.name.clone(), site)).collect();
        Sites { sites, stranded: Queue::default() }
    }

    /// All sites, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Site>> {
        self.sites.values()
    }

    /// Puts lifecycles that need work into the queues of their sites. What should be gone is more urgent than `urgency` says.
    pub fn push(&self, projection: &Projection, work: impl IntoIterator<Item = LifecycleIndex>, urgency: Urgency) {
        let mut by_site = BTreeMap::<&str, (&Site, Vec<LifecycleIndex>)>::new();
        let mut stranded = Vec::new();
        for index in work {
            match self.sites.get_key_value(projection.cluster_of(index)) {
                Some((name, site)) => by_site.entry(name).or_insert((site, Vec::new())).1.push(index),
                None => stranded.push(index),
            }
        }
        for (site, keys) in by_site.into_values() {
            site.push(projection, keys, urgency);
        }
        self.stranded.push(stranded);
    }

    /// Looks at the objects of a trigger, and puts back what others did to them; with `from` only those that an event from there
    /// on asked for.
    pub(crate) fn put_back(&self, trigger: &str, from: Option<Offset>) {
        self.iter().for_each(|site| site.drifts.ask(Asked { trigger: trigger.to_owned(), from }));
    }

    /// Every lifecycle that is not done.
    #[must_use]
    pub fn open(&self) -> BTreeSet<LifecycleIndex> {
        self.iter().map(|site| &site.queue).chain([&self.stranded]).flat_map(Queue::open).collect()
    }

    /// Lifecycles of clusters that are no sites here.
    pub(crate) fn stranded(&self) -> BTreeSet<LifecycleIndex> {
        self.stranded.open()
    }
}

/// Where a lifecycle waits.
fn lane(projection: &Projection, index: LifecycleIndex, urgency: Urgency) -> Lane {
    let (trigger, desired) = projection.errand(index);
    Lane { urgency: if desired.is_present() { urgency } else { Urgency::Removal }, trigger }
}
