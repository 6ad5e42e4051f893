//! What other rules would do to what is there, before they are in force: nothing is recorded, and nothing is changed.
//!
//! Start at [`Planner::plan`]. It goes the way of an engine, with the functions that an engine decides by, in four
//! steps:
//!
//! | file | step | what decides there |
//! |---|---|---|
//! | `given` | which rules are meant, with the texts that only this engine has | `RuleSet::new` |
//! | `decide` | what the recorded events come to under them | `Replay` |
//! | `outlook`, `outcome` | what each lifecycle would want, and who would have each object | `render`, `plan` |
//! | `look` | what the cluster makes of it: the fields that differ, what it refuses | `step::wanted`, a dry run of the server |
//!
//! A plan is about one offset; what is recorded meanwhile is counted. It takes some kilobytes for each lifecycle that
//! is decided again. One is made at a time.

pub mod answer;
mod decide;
mod draft;
mod given;
mod listed;
mod look;
pub mod names;
mod outcome;
mod outlook;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lifeline_store::{Disk, Offset};
use parking_lot::Mutex;
use tokio::sync::watch;

pub use self::answer::Preview;
use self::answer::ProblemRow;
pub use self::draft::Draft;
use crate::recorder::OutcomeSender;
use crate::rules::{Clusters, Current, Problem, RuleSet, Source, recorded};
use crate::site::Sites;
use crate::view::View;

/// What is to be planned.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The rules, as texts.
    pub sources: Vec<Source>,
    /// The rules in force that these do not name stay.
    pub merges: bool,
    /// Labels of the own cluster, where the engine is stopped. One that runs knows them.
    pub cluster_labels: BTreeMap<String, String>,
    /// Changes that are listed, at most.
    pub changes_max: usize,
    /// Changes that are compared with the cluster, at most.
    pub looks_max: usize,
}

/// What history is decided again for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Because these rules come.
    Rules,
    /// Because it is asked for, of a trigger in force; with an offset only of resources that an event from there on
    /// spoke of.
    Again(String, Option<Offset>),
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[from] lifeline_store::Error),
    /// Nobody waits for it any more.
    #[error("nobody waits for the plan any more")]
    Stopped,
}

/// Where the rules are that are in force.
enum InForce {
    /// Those of an engine that runs.
    Followed(watch::Receiver<Current>),
    /// Those that the log of a stopped one has.
    Recorded,
}

/// Plans for one engine.
pub struct Planner<D: Disk> {
    view: Arc<View<D>>,
    in_force: InForce,
    /// Where objects go; `None` where no cluster is to be asked.
    sites: Option<Arc<Sites>>,
    /// How much a change of rules may withdraw.
    recording: Option<OutcomeSender>,
    /// The cluster that has rules, and what they name.
    client: Option<kube::Client>,
    /// Held until the threads of a plan have ended, even if nobody waits for it any more.
    turn: Arc<tokio::sync::Mutex<()>>,
    progress: Arc<Progress>,
}

/// How far the plan is that is being made.
#[derive(Debug, Default)]
pub struct Progress {
    step: Mutex<Option<&'static str>>,
    done: AtomicU64,
    of: AtomicU64,
    is_left: AtomicBool,
}

impl Progress {
    fn begin(&self, step: &'static str, of: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.of.store(of, Ordering::Relaxed);
        *self.step.lock() = Some(step);
    }

    fn set(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
    }

    fn one_more(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether somebody still waits for it.
    fn check(&self) -> Result<(), Error> {
        if self.is_left.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
    }

    /// What is done now, how much of it, and of how much; `None` while no plan is made.
    #[must_use]
    pub fn now(&self) -> Option<(&'static str, u64, u64)> {
        let step = (*self.step.lock())?;
        Some((step, self.done.load(Ordering::Relaxed), self.of.load(Ordering::Relaxed)))
    }
}

/// Ends what is being planned when nobody waits for it any more.
struct Waiting(Arc<Progress>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.is_left.store(true, Ordering::Relaxed);
        *self.0.step.lock() = None;
    }
}

impl<D: Disk> Planner<D> {
    /// One of a running engine. `client` is that of the cluster with its rules, where they come from one.
    pub(crate) fn new(
        view: Arc<View<D>>,
        sites: Arc<Sites>,
        rules: watch::Receiver<Current>,
        recording: OutcomeSender,
        client: Option<kube::Client>,
    ) -> Planner<D> {
        let (in_force, sites, recording) = (InForce::Followed(rules), Some(sites), Some(recording));
        Planner { view, in_force, sites, recording, client, turn: Arc::default(), progress: Arc::default() }
    }

    /// One of a stopped engine: what rules would do that it finds at its next start. No cluster is asked.
    #[must_use]
    pub fn of_stopped(view: Arc<View<D>>) -> Planner<D> {
        let (turn, progress, in_force) = (Arc::default(), Arc::default(), InForce::Recorded);
        Planner { view, in_force, sites: None, recording: None, client: None, turn, progress }
    }

    /// How far the plan is that is being made.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What rules would do. Where they have an error, only their problems come back.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn plan(self: &Arc<Planner<D>>, asked: Asked) -> Result<Preview, Error> {
        let turn = self.turn.clone().lock_owned().await;
        self.progress.is_left.store(false, Ordering::Relaxed);
        let _waiting = Waiting(self.progress.clone());
        let (in_force, clusters) = self.in_force(&asked.cluster_labels);
        let (rules, problems) = self.rules(&asked, in_force.as_deref(), clusters).await;
        let of_rules = rules.problems().iter().filter(|problem| asked.brings(problem));
        let problems: Vec<ProblemRow> = of_rules.chain(&problems).map(Into::into).collect();
        let refused = Preview { problems, ..Preview::default() };
        if refused.is_refused() {
            return Ok(refused);
        }
        let (planner, rules) = (self.clone(), Arc::new(rules));
        let (wish, taken) = (Wish::Rules, rules.clone());
        let drafting = tokio::task::spawn_blocking(move || (planner.draft_of(&taken, in_force, &wish), turn));
        let (draft, _turn) = ended(drafting.await)?;
        let mut preview = self.look(draft?, asked.changes_max, asked.looks_max).await?;
        preview.problems = refused.problems;
        Ok(preview)
    }

    /// What rules would do, as far as no cluster has to be asked. Blocks, for as long as it takes to read the records.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn draft(&self, rules: &Arc<RuleSet>) -> Result<Draft, Error> {
        self.progress.is_left.store(false, Ordering::Relaxed);
        self.draft_of(rules, self.in_force(&BTreeMap::new()).0, &Wish::Rules)
    }

    /// What deciding the history of a trigger again would do, as [`OutcomeSender::replay`] does it. `None` where it is
    /// not in force.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn again(
        self: &Arc<Planner<D>>,
        trigger: &str,
        from: Option<Offset>,
        (changes_max, looks_max): (usize, usize),
    ) -> Result<Option<Preview>, Error> {
        let turn = self.turn.clone().lock_owned().await;
        self.progress.is_left.store(false, Ordering::Relaxed);
        let _waiting = Waiting(self.progress.clone());
        let Some(rules) = self.in_force(&BTreeMap::new()).0.filter(|rules| rules.trigger(trigger).is_some()) else {
            return Ok(None);
        };
        let (planner, wish) = (self.clone(), Wish::Again(trigger.to_owned(), from));
        let drafting =
            tokio::task::spawn_blocking(move || (planner.draft_of(&rules, Some(rules.clone()), &wish), turn));
        let (draft, _turn) = ended(drafting.await)?;
        self.look(draft?, changes_max, looks_max).await.map(Some)
    }

    /// The rules in force, and the clusters that they are for.
    fn in_force(&self, labels: &BTreeMap<String, String>) -> (Option<Arc<RuleSet>>, Clusters) {
        match &self.in_force {
            InForce::Followed(rules) => {
                let described = self.sites.iter().flat_map(|sites| sites.iter()).map(|site| site.described().clone());
                (rules.borrow().rules.clone(), Clusters::new(described.collect()))
            }
            InForce::Recorded => {
                let clusters = Clusters::own(labels.clone());
                let rules = self.view.read(|projection| projection.ground().rules.clone());
                (Some(Arc::new(recorded(&self.view.log(), &rules, clusters.clone()))), clusters)
            }
        }
    }

    /// Whether the rules in force are those of a running engine. One that starts compares with what is recorded.
    fn is_running(&self) -> bool {
        matches!(self.in_force, InForce::Followed(_))
    }
}

/// What a thread gave. One that panicked does not pass for one that was stopped.
fn ended<T>(joined: Result<T, tokio::task::JoinError>) -> Result<T, Error> {
    joined.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Error::Stopped,
    })
}

impl Asked {
    /// Whether a problem is one of the rules that are given, and not of those that stay.
    fn brings(&self, problem: &Problem) -> bool {
        !self.merges
            || self.sources.iter().any(|source| {
                let rest = problem.origin.strip_prefix(source.name.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
            })
    }
}
