//! How often each object was made, compared with how often it began to be wanted.
//!
//! Start at [`violations`]. An object is wanted while a lifecycle that claims it is present under rules that give it, and its
//! namespace is wanted, if Lifeline made that. While it is wanted, it is made once: when its owner changes, it stays.

use std::collections::{BTreeMap, BTreeSet};

use lifeline_engine::cluster::ObjectKey;
use lifeline_projections::fact::{Fact, LifecycleKey, Outcome, Redesired};

use super::objects::namespace_key;
use super::rules::Version;
use super::story::Violation;

/// A lifecycle: trigger, source and subject.
type Lifecycle<'f> = (&'f str, &'f str, &'f str);

#[derive(Default)]
struct Wants<'f> {
    present: BTreeSet<Lifecycle<'f>>,
    claims: BTreeMap<&'f ObjectKey, BTreeSet<Lifecycle<'f>>>,
    /// The rules that were replayed last.
    version: Option<Version>,
    /// Objects that are wanted.
    wanted: BTreeSet<&'f ObjectKey>,
    /// How often each began to be.
    begins: BTreeMap<&'f ObjectKey, usize>,
}

/// Objects that were made more often than they began to be wanted.
#[must_use]
pub fn violations<'f>(facts: &'f [Fact<'f>], births: &BTreeMap<ObjectKey, usize>) -> Vec<Violation> {
    let mut wants = Wants::default();
    facts.iter().for_each(|fact| wants.take(fact));
    let begins = |object: &ObjectKey| wants.begins.get(object).copied().unwrap_or(0);
    let more = births.iter().filter(|(object, births)| **births > begins(object));
    let told =
        more.map(|(object, births)| format!("{object} was made {births} times, wanted {} times", begins(object)));
    told.map(|whom| Violation::new("made more often than asked for", whom)).collect()
}

impl<'f> Wants<'f> {
    fn take(&mut self, fact: &'f Fact<'f>) {
        match fact {
            Fact::EventReceived { source, subject, decisions, .. } => {
                for decision in decisions {
                    match decision.outcome {
                        Outcome::Create => self.decide((decision.trigger, source, subject), true),
                        Outcome::Delete => self.decide((decision.trigger, source, subject), false),
                        Outcome::NoAction(_) | Outcome::Failed(_) => {}
                    }
                }
            }
            Fact::TriggerReplayed { trigger, digest, redecisions, complete, .. } => {
                for redecision in redecisions {
                    let resource = &redecision.resource;
                    let is_present = matches!(redecision.desired, Redesired::Present { .. });
                    self.decide((trigger, &resource.source, &resource.subject), is_present);
                }
                let version = digest.and_then(|digest| Version::of_trigger(trigger, digest));
                if *trigger == "manage" && *complete && version.is_some() {
                    self.version = version;
                }
            }
            Fact::ApplyIntended { key, objects, .. } => {
                for object in objects {
                    self.claims.entry(object).or_default().insert(lifecycle(key));
                }
            }
            Fact::Deleted { key, objects, .. } | Fact::Released { key, objects, .. } => {
                for object in objects {
                    self.claims.entry(object).or_default().remove(&lifecycle(key));
                }
            }
            _ => return,
        }
        self.compare();
    }

    fn decide(&mut self, lifecycle: Lifecycle<'f>, is_present: bool) {
        if is_present {
            self.present.insert(lifecycle);
        } else {
            self.present.remove(&lifecycle);
        }
    }

    fn compare(&mut self) {
        for (object, claims) in &self.claims {
            let is_given = object.name != "profile" || self.version.is_none_or(Version::gives_profile);
            let has_namespace = object.namespace.as_ref().is_none_or(|name| {
                let claims = self.claims.get(&namespace_key(name));
                claims.is_none_or(|claims| !claims.is_disjoint(&self.present))
            });
            let is_wanted = is_given && has_namespace && !claims.is_disjoint(&self.present);
            if !is_wanted {
                self.wanted.remove(object);
            } else if self.wanted.insert(object) {
                *self.begins.entry(object).or_default() += 1;
            }
        }
    }
}

fn lifecycle(key: &LifecycleKey) -> Lifecycle<'_> {
    (&key.trigger, &key.resource.source, &key.resource.subject)
}
