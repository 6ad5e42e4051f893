//! Reports to a cluster what became of the rules in it: their status, and Kubernetes Events about them.
//!
//! Start at [`Reporter::report`]. What is said is decided in `status` and `news`, which are pure. It writes the status of
//! EventSources and EventTriggers, and Events, and nothing else.

// In dependency order; blank lines keep the formatter from sorting them.
mod status;

mod news;

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use self::news::{News, Notice};
use self::status::Status;
use crate::by_trigger::ByTrigger;
use crate::health::Health;
use crate::intake::epoch::content_hash;
use crate::rules::RuleSet;
use crate::rules::rule_resource;

/// How long counts alone are not written again, in seconds: each event changes them.
const COUNTS_SECONDS: i64 = 10;

/// Where Kubernetes keeps the Events of what is in no namespace.
const EVENTS_NAMESPACE: &str = "default";

/// Writes what has changed.
#[derive(Default)]
pub struct Reporter {
    /// What was written last, by rule, such as `EventTrigger/name`.
    written: BTreeMap<String, Written>,
    news: News,
    /// Whether it was said that the cluster keeps no conditions.
    has_said_pruned: bool,
    /// Events that could not be written, to be tried again, and when they happened.
    unsaid: Vec<(Timestamp, Notice)>,
}

/// What the cluster has of a rule.
#[derive(Debug, Clone)]
struct Written {
    status: Option<Status>,
    /// Since when each condition has its status: its type, the status, the time.
    since: Vec<(String, String, String)>,
    at: Timestamp,
    uid: Option<String>,
}

impl Reporter {
    /// Writes what is new. What cannot be written is tried again with the next report.
    ///
    /// # Errors
    /// The first failure; everything else is written all the same.
    pub async fn report(
        &mut self,
        client: &Client,
        rules: &RuleSet,
        health: &Health,
        matched: &ByTrigger,
        now: Timestamp,
    ) -> Result<(), kube::Error> {
        let mut failed = None;
        let in_cluster = rules.documents().iter().filter(|(_, document)| document.origin == "kubernetes");
        let named: Vec<(&str, &str)> = in_cluster.filter_map(|(rule, _)| rule.split_once('/')).collect();
        self.written.retain(|rule, _| rule.split_once('/').is_some_and(|rule| named.contains(&rule)));
        for (kind, name) in named {
            let status = match kind {
                "EventSource" => status::of_source(rules, name, matched.matched_by_source(name)),
                "EventTrigger" => {
                    let failing = health.failing.values().filter(|failing| failing.trigger == name);
                    let known = health.triggers.get(name).cloned().unwrap_or_default();
                    status::of_trigger(rules, name, &known, failing, matched.matched_by_trigger(name))
                }
                _ => continue,
            };
            if let Err(error) = self.write(client, (kind, name), status, now).await {
                failed.get_or_insert(error);
            }
        }
        self.unsaid.extend(self.news.take(health, now.as_second()).into_iter().map(|notice| (now, notice)));
        for (at, notice) in std::mem::take(&mut self.unsaid) {
            if let Err(error) = self.say(client, &notice, at).await {
                // What is refused for what it says is refused for ever.
                let is_invalid = matches!(&error, kube::Error::Api(status) if status.code == 422);
                failed.get_or_insert(error);
                if !is_invalid {
                    self.unsaid.push((at, notice));
                }
            }
        }
        // A cluster that takes none for long gets the newest when it does.
        let surplus = self.unsaid.len().saturating_sub(UNSAID_MAX);
        self.unsaid.drain(..surplus);
        failed.map_or(Ok(()), Err)
    }

    /// Writes the status of a rule, where it is another one than was written.
    async fn write(
        &mut self,
        client: &Client,
        (kind, name): (&str, &str),
        status: Status,
        now: Timestamp,
    ) -> Result<(), kube::Error> {
        let rule = format!("{kind}/{name}");
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &rule_resource(kind));
        let before = match self.written.remove(&rule) {
            Some(before) => before,
            // What an engine before this one wrote tells since when conditions hold. A patch that changes nothing is answered
            // with the object, and takes no right beside the one to write.
            None => match api.patch_status(name, &PatchParams::default(), &Patch::Merge(json!({}))).await {
                Ok(found) => Written::found(&found, now),
                Err(_) => Written::nothing(now),
            },
        };
        if !before.is_due(&status, now) {
            self.written.insert(rule, before);
            return Ok(());
        }
        let conditions = before.timed(&status, now);
        let since = since(&conditions);
        let mut body = status.counts.clone();
        body.insert("conditions".into(), conditions.into());
        body.extend(status.generation.map(|generation| ("observedGeneration".to_owned(), generation.into())));
        let patch = Patch::Merge(json!({"status": body}));
        let (uid, is_pruned) = match api.patch_status(name, &PatchParams::default(), &patch).await {
            Ok(answer) => (answer.metadata.uid.clone(), is_pruned(&answer.data)),
            Err(error) if has_no_status(&error) => (before.uid.clone(), true),
            // It was deleted a moment ago.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(error) => {
                self.written.insert(rule, before);
                return Err(error);
            }
        };
        if is_pruned && !std::mem::replace(&mut self.has_said_pruned, true) {
            tracing::warn!(
                "the cluster keeps no conditions of `{rule}`: what is wrong with rules is shown by `lifeline status` and \
                 Kubernetes Events alone\n  hint: lifeline crds | kubectl apply -f -"
            );
        }
        self.written.insert(rule, Written { status: Some(status), since, at: now, uid });
        Ok(())
    }

    /// Writes an Event about a trigger, once: its name is the same when it is tried again.
    async fn say(&self, client: &Client, notice: &Notice, at: Timestamp) -> Result<(), kube::Error> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("events.k8s.io", "v1", "Event"));
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), EVENTS_NAMESPACE, &resource);
        let Notice { trigger, reason, is_warning, note } = notice;
        let about = rule_resource("EventTrigger");
        let written = self.written.get(&format!("EventTrigger/{trigger}"));
        let event = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": event_name(notice, at), "namespace": EVENTS_NAMESPACE},
            "eventTime": format!("{at:.6}"),
            "type": if *is_warning { "Warning" } else { "Normal" },
            "reason": reason,
            "action": "Reconcile",
            "note": note,
            "regarding": {
                "apiVersion": about.api_version, "kind": about.kind, "name": trigger,
                "uid": written.and_then(|written| written.uid.clone()),
            },
            "reportingController": "lifeline",
            "reportingInstance": "lifeline",
        });
        let event: DynamicObject = serde_json::from_value(event).map_err(kube::Error::SerdeError)?;
        match api.create(&PostParams::default(), &event).await {
            // An answer was lost.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            created => created.map(drop),
        }
    }
}

/// Events that wait for a cluster, at most.
const UNSAID_MAX: usize = 100;

impl Written {
    fn nothing(at: Timestamp) -> Written {
        Written { status: None, since: Vec::new(), at, uid: None }
    }

    /// What is there before anything was written.
    fn found(object: &DynamicObject, at: Timestamp) -> Written {
        let conditions = object.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        Written { since: since(&conditions), uid: object.metadata.uid.clone(), ..Written::nothing(at) }
    }

    /// Whether a status is to be written: soon where it says something else, later where only counts differ.
    fn is_due(&self, status: &Status, now: Timestamp) -> bool {
        let Some(written) = &self.status else { return true };
        let is_old = now.as_second() - self.at.as_second() >= COUNTS_SECONDS;
        written.conditions != status.conditions
            || written.generation != status.generation
            || (is_old && written.counts != status.counts)
    }

    /// The conditions of a status with the times since when they hold.
    fn timed(&self, status: &Status, now: Timestamp) -> Vec<Value> {
        let timed = |condition: &Value| {
            let is_it = |(kind, status, _): &&(String, String, String)| {
                condition["type"] == kind.as_str() && condition["status"] == status.as_str()
            };
            let since =
                self.since.iter().find(is_it).map_or_else(|| format!("{now:.0}"), |(_, _, since)| since.clone());
            let mut timed = condition.clone();
            timed["lastTransitionTime"] = since.into();
            if let Some(generation) = status.generation {
                timed["observedGeneration"] = generation.into();
            }
            timed
        };
        status.conditions.iter().map(timed).collect()
    }
}

/// A name of at most 253 characters, as Kubernetes takes it: that of the trigger, what happened to whom, and when. Not of the
/// time of the try, so what is tried again is no second Event; nor of a count, which a restart forgets while the cluster keeps
/// Events for an hour.
fn event_name(notice: &Notice, at: Timestamp) -> String {
    let Notice { trigger, reason, note, .. } = notice;
    let name: String = trigger.chars().take(190).collect();
    let name = name.trim_end_matches(|last: char| !last.is_ascii_alphanumeric());
    let whom = content_hash(format!("{trigger}\n{note}").as_bytes());
    format!("{name}.{}.{whom:016x}.{:x}", reason.to_lowercase(), at.as_second())
}

fn since(conditions: &[Value]) -> Vec<(String, String, String)> {
    let text = |condition: &Value, field: &str| condition[field].as_str().map(str::to_owned);
    let one = |condition: &Value| {
        Some((text(condition, "type")?, text(condition, "status")?, text(condition, "lastTransitionTime")?))
    };
    conditions.iter().filter_map(one).collect()
}

/// Whether the cluster left out the conditions that were written: the CustomResourceDefinition of Sveltos has none.
fn is_pruned(answer: &Value) -> bool {
    answer.pointer("/status/conditions/0").is_none()
}

/// Whether the kind has no status at all: then the path leads nowhere, and the answer names no object.
fn has_no_status(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.code == 404 && status.details.as_ref().is_none_or(|details| details.name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_that_keeps_no_conditions_is_noticed() {
        assert!(is_pruned(&json!({"spec": {}})));
        assert!(is_pruned(&json!({"status": {"clusterInfo": []}})));
        assert!(!is_pruned(&json!({"status": {"conditions": [{"type": "Ready"}]}})));
    }

    #[test]
    fn an_event_has_a_name_that_kubernetes_takes_and_that_is_its_own() {
        let notice = |trigger: &str, note: &str| Notice {
            trigger: trigger.to_owned(),
            reason: "LifecycleFailing",
            is_warning: true,
            note: note.to_owned(),
        };
        let now = Timestamp::from_second(255).unwrap();
        let name = event_name(&notice("t", "subject `u1`"), now);
        assert!(name.starts_with("t.lifecyclefailing.") && name.ends_with(".ff"), "{name}");
        assert_eq!(name, event_name(&notice("t", "subject `u1`"), now), "tried again");
        assert_ne!(name, event_name(&notice("t", "subject `u2`"), now), "in the same moment");
        let long =
            |end: char| event_name(&notice(&format!("{}-{}", "a".repeat(189), end.to_string().repeat(63)), ""), now);
        assert!(long('b').len() <= 253 && long('b').starts_with(&format!("{}.lifecyclefailing.", "a".repeat(189))));
        assert_ne!(long('b'), long('c'), "what is cut off tells them apart");
    }

    #[test]
    fn what_is_said_is_written_at_once_counts_later_and_nothing_twice() {
        let status = |message: &str, live: u64| Status {
            generation: Some(1),
            conditions: vec![json!({"type": "Ready", "status": "True", "reason": "InForce", "message": message})],
            counts: [("lifecycles".to_owned(), json!({ "live": live }))].into_iter().collect(),
        };
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let mut written = Written::nothing(at(100));
        assert!(written.is_due(&status("", 1), at(100)));
        written.status = Some(status("", 1));
        for (seconds, now, expected) in [
            (100, status("", 1), false),
            (1_000, status("", 1), false),
            (101, status("x", 1), true),
            (101, status("", 2), false),
            (110, status("", 2), true),
            (101, Status { generation: Some(2), ..status("", 1) }, true),
        ] {
            assert_eq!(written.is_due(&now, at(seconds)), expected, "{now:?} at {seconds}");
        }
        // The time is when the status became another one, also where an engine before this one saw it.
        written.since = vec![("Ready".into(), "True".into(), "2026-11-22T10:00:00Z".into())];
        assert_eq!(written.timed(&status("x", 1), at(200))[0]["lastTransitionTime"], "2026-11-22T10:00:00Z");
        written.since = vec![("Ready".into(), "False".into(), "2026-11-22T10:00:00Z".into())];
        assert_eq!(written.timed(&status("x", 1), at(0))[0]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        assert_eq!(written.timed(&status("x", 1), at(0))[0]["observedGeneration"], 1);
    }
}
