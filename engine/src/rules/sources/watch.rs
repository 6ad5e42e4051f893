//! Keeps the rules in force current: waits for every place that rules come from, and hands over a new set when one changes.
//!
//! Start at [`watch`]. Guarantee: the first set is made when every place has been read in full, never before: an empty set
//! because a watch was late would withdraw everything. A place that cannot be reached later on changes nothing but
//! [`Current::troubles`].

use std::future::{Future, pending};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join, join_all, select_all};
use tokio::sync::watch;

use super::directory::{self, Directory};
use super::feed::Feed;
use super::kubernetes;
use crate::rules::cluster::Clusters;
use crate::rules::problem::Problem;
use crate::rules::read::manifest::Manifests;
use crate::rules::set::RuleSet;

/// How long changes are gathered before they become a set: `kubectl apply` of a folder is one change, not ten.
const GATHER: Duration = Duration::from_millis(200);

/// Where rules come from.
#[derive(Clone, Default)]
pub struct Places {
    /// Files and folders of manifests.
    pub paths: Vec<PathBuf>,
    /// The cluster whose custom resources count.
    pub client: Option<kube::Client>,
}

/// The rules in force, and why newer ones cannot be read.
#[derive(Debug, Clone, Default)]
pub struct Current {
    /// `None` until every place has been read.
    pub rules: Option<Arc<RuleSet>>,
    /// Why a place cannot be read at the moment; the rules stay as they are.
    pub troubles: Vec<Problem>,
}

/// Follows all places for ever. The rules come through the receiver while the future is polled.
///
/// Of two manifests of one name those of `paths` count before those of the cluster.
pub fn watch(
    places: Places,
    clusters: watch::Receiver<Clusters>,
) -> (watch::Receiver<Current>, impl Future<Output = ()> + Send) {
    let mut feeds = Vec::new();
    let mut followers: Vec<BoxFuture<'static, ()>> = Vec::new();
    if !places.paths.is_empty() {
        let (sender, receiver) = watch::channel(Feed::default());
        feeds.push(receiver);
        followers.push(directory::follow(Directory::new(places.paths), sender).boxed());
    }
    if let Some(client) = places.client {
        let (sender, receiver) = watch::channel(Feed::default());
        feeds.push(receiver);
        followers.push(kubernetes::follow(client, sender).boxed());
    }
    let (sender, receiver) = watch::channel(Current::default());
    let all = async move {
        join(join_all(followers), combine(feeds, clusters, sender)).await;
    };
    (receiver, all)
}

async fn combine(
    mut feeds: Vec<watch::Receiver<Feed>>,
    mut clusters: watch::Receiver<Clusters>,
    current: watch::Sender<Current>,
) {
    loop {
        let mut manifests = Some(Manifests::default());
        let mut troubles = Vec::new();
        for feed in &mut feeds {
            let feed = feed.borrow_and_update();
            troubles.extend(feed.troubles.iter().cloned());
            match (&mut manifests, &feed.manifests) {
                (Some(all), Some(more)) => all.append(Manifests::clone(more)),
                (all, None) => *all = None,
                (None, Some(_)) => {}
            }
        }
        // Nowhere to read rules from is not the same as rules that are gone.
        if feeds.is_empty()
            && let Some(none) = &mut manifests
        {
            let message = "no rules are given: events are recorded, nothing new is made of them";
            none.unreadable
                .push(Problem::warning("", "settings", message).hint("`--rules PATH`; nothing is withdrawn"));
        }
        let clusters_now = clusters.borrow_and_update().clone();
        let rules = manifests.map(|manifests| RuleSet::new(manifests, clusters_now));
        let was_waiting = current.borrow().rules.is_none();
        current.send_if_modified(|current| current.update(rules, troubles));
        let is_waiting = current.borrow().rules.is_none();

        let mut changes: Vec<BoxFuture<'_, ()>> = feeds.iter_mut().map(|feed| changed(feed).boxed()).collect();
        changes.push(changed(&mut clusters).boxed());
        select_all(changes).await;
        // While nothing is in force, the first set is made at once: no other change is waited for.
        if !(was_waiting && is_waiting) {
            tokio::time::sleep(GATHER).await;
        }
    }
}

/// Waits for a change; one whose sender is gone never changes again.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        pending::<()>().await;
    }
}

impl Current {
    /// Takes what is new; says whether anything is.
    fn update(&mut self, rules: Option<RuleSet>, troubles: Vec<Problem>) -> bool {
        let has_other_troubles = self.troubles != troubles;
        self.troubles = troubles;
        match (rules, &self.rules) {
            (None, _) => has_other_troubles,
            (Some(new), Some(old)) if new.says_the_same_as(old) => has_other_troubles,
            (Some(new), _) => {
                self.rules = Some(Arc::new(new));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(text: &str) -> Feed {
        Feed { manifests: Some(Arc::new(Manifests::read("r.yaml", text))), troubles: Vec::new() }
    }

    fn source(name: &str) -> String {
        format!(
            "{{apiVersion: lib.projectsveltos.io/v1beta1, kind: EventSource, metadata: {{name: {name}}}, spec: {{messagingMatchCriteria: [{{}}]}}}}"
        )
    }

    fn names(current: &Current) -> Option<Vec<String>> {
        current.rules.as_ref().map(|rules| rules.sources().map(|source| source.name().to_owned()).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn no_rules_are_in_force_before_every_place_was_read() {
        let (first, first_feed) = watch::channel(Feed::default());
        let (second, second_feed) = watch::channel(Feed::default());
        let (_clusters, clusters) = watch::channel(Clusters::default());
        let (sender, mut current) = watch::channel(Current::default());
        tokio::spawn(combine(vec![first_feed, second_feed], clusters, sender));

        first.send_replace(feed(&source("a")));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(names(&current.borrow_and_update()), None);

        let trouble = Problem::error("", "kubernetes", "away");
        second.send_replace(Feed { manifests: None, troubles: vec![trouble.clone()] });
        current.changed().await.unwrap();
        assert_eq!(names(&current.borrow_and_update()), None);
        assert_eq!(current.borrow().troubles.len(), 1);

        second.send_replace(feed(&source("b")));
        current.changed().await.unwrap();
        assert_eq!(names(&current.borrow_and_update()), Some(vec!["a".into(), "b".into()]));
        assert_eq!(current.borrow().troubles, []);

        // Later trouble leaves the rules as they are.
        second.send_modify(|feed| feed.troubles = vec![trouble]);
        current.changed().await.unwrap();
        assert_eq!(names(&current.borrow_and_update()), Some(vec!["a".into(), "b".into()]));
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_gathered_and_a_set_that_says_the_same_is_not_handed_over() {
        let (place, place_feed) = watch::channel(feed(&source("a")));
        let (clusters, clusters_now) = watch::channel(Clusters::default());
        let (sender, mut current) = watch::channel(Current::default());
        tokio::spawn(combine(vec![place_feed], clusters_now, sender));
        current.changed().await.unwrap();
        current.mark_unchanged();

        place.send_replace(feed(&source("b")));
        tokio::time::sleep(Duration::from_millis(100)).await;
        place.send_replace(feed(&source("c")));
        current.changed().await.unwrap();
        assert_eq!(names(&current.borrow_and_update()), Some(vec!["c".into()]));

        place.send_replace(feed(&source("c")));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!current.has_changed().unwrap());

        clusters.send_replace(Clusters::own([("env".to_owned(), "prod".to_owned())].into()));
        current.changed().await.unwrap();
    }
}
