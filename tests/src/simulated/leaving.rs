//! Deletions that take a while, and deletions that hang: somebody put a finalizer on the object.
//!
//! Start at [`Leaving`]. It keeps what is to be judged of a deletion that hung: see [`violations`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use lifeline_engine::cluster::{LiveObject, ObjectKey};
use lifeline_engine::reconcile::marks::{self, Owner};
use lifeline_projections::fact::{Fact, Reconciled, What};
use lifeline_store::{Offset, Record};
use serde_json::json;
use tokio::time::Instant;

use super::story::Violation;

/// What an engine looked up before an object hung is recorded by then.
const RECORDED_WITHIN: Duration = Duration::from_secs(20);

/// The objects of a cluster that are on their way out, or will be kept on it.
#[derive(Debug, Default)]
pub struct Leaving {
    /// Objects with a finalizer: no deletion of them is done before.
    held: BTreeMap<ObjectKey, Instant>,
    /// Objects whose deletion was accepted.
    going: BTreeMap<ObjectKey, Going>,
    hung: Vec<Hung>,
}

#[derive(Debug)]
struct Going {
    uid: String,
    until: Instant,
    /// Where it hangs.
    hangs: Option<Hangs>,
}

#[derive(Debug)]
struct Hangs {
    live: LiveObject,
    since: Instant,
    /// What the engine had folded some time later.
    folded: Option<Offset>,
}

/// A deletion that hung and is done.
#[derive(Debug, Clone)]
pub struct Hung {
    object: ObjectKey,
    live: LiveObject,
    /// The records that were written meanwhile, but for the first ones.
    offsets: Range<Offset>,
}

impl Leaving {
    /// Somebody puts a finalizer on an object, and takes it away later.
    pub fn hold(&mut self, object: ObjectKey, until: Instant) {
        self.held.insert(object, until);
    }

    /// Until when a deletion that begins now hangs, if it does. A Namespace waits for what is in it.
    #[must_use]
    pub fn held_until(&self, object: &ObjectKey, now: Instant) -> Option<Instant> {
        let holds = |held: &ObjectKey| held == object || held.is_in(object);
        let held = self.held.iter().filter(|(held, until)| holds(held) && **until > now);
        held.map(|(_, until)| *until).max()
    }

    /// A deletion was accepted, and is done at a moment.
    pub fn begin(&mut self, object: &ObjectKey, live: &LiveObject, until: Instant) {
        self.going.insert(object.clone(), Going { uid: live.uid.clone(), until, hangs: None });
    }

    /// A deletion was accepted, and hangs.
    pub fn hang(&mut self, object: &ObjectKey, live: &LiveObject, (now, until): (Instant, Instant)) {
        let hangs = Some(Hangs { live: live.clone(), since: now, folded: None });
        self.going.insert(object.clone(), Going { uid: live.uid.clone(), until, hangs });
    }

    /// Whether the object of this uid is on its way out. What went with its namespace and was made again is not.
    #[must_use]
    pub fn is_going(&self, object: &ObjectKey, uid: &str) -> bool {
        self.going.get(object).is_some_and(|going| going.uid == uid)
    }

    /// The object as a cluster shows it: on its way out, with what keeps it.
    #[must_use]
    pub fn shown(&self, object: &ObjectKey, mut live: LiveObject) -> LiveObject {
        let Some(going) = self.going.get(object).filter(|going| going.uid == live.uid) else { return live };
        live.deleting = true;
        if going.hangs.is_some() {
            live.manifest["metadata"]["finalizers"] = json!(["example.com/hold"]);
        }
        live
    }

    /// The deletions that are done by now. `folded` is what the engine has folded, `is_there` says whether an object is there.
    pub fn finish(
        &mut self,
        now: Instant,
        folded: Offset,
        is_there: impl Fn(&ObjectKey, &str) -> bool,
    ) -> Vec<(ObjectKey, String)> {
        // What went with its Namespace does not hang any more.
        self.going.retain(|object, going| is_there(object, &going.uid));
        let mut done = Vec::new();
        for (object, going) in &mut self.going {
            let is_due = going.until <= now;
            if let Some(hangs) = &mut going.hangs {
                if hangs.folded.is_none() && now.duration_since(hangs.since) >= RECORDED_WITHIN {
                    hangs.folded = Some(folded);
                }
                if let (Some(from), true) = (hangs.folded, is_due) {
                    let (object, live) = (object.clone(), hangs.live.clone());
                    self.hung.push(Hung { object, live, offsets: from..folded });
                }
            }
            if is_due {
                done.push((object.clone(), going.uid.clone()));
            }
        }
        done.iter().for_each(|(object, _)| _ = self.going.remove(object));
        done
    }

    /// Nobody holds anything any more.
    pub fn calm_down(&mut self, now: Instant) {
        self.held.clear();
        self.going.values_mut().for_each(|going| going.until = going.until.min(now));
    }

    /// The deletions that hung.
    #[must_use]
    pub fn hung(&self) -> Vec<Hung> {
        self.hung.clone()
    }
}

/// Nothing is recorded as gone that hangs: it has its name still, and would be in the way of what is made next.
#[must_use]
pub fn violations(records: &[Record], facts: &[Fact<'_>], hung: &[Hung]) -> Vec<Violation> {
    let gone = records.iter().zip(facts).filter_map(|(record, fact)| match fact {
        Fact::Reconciled(Reconciled { key, what: What::Deleted(objects), .. }) => Some((record.offset, key, objects)),
        _ => None,
    });
    let mut violations = Vec::new();
    for (offset, key, objects) in gone {
        let is_wrong = |hung: &&Hung| {
            let is_ours = || marks::owner(&hung.live, key) == Owner::Us;
            hung.offsets.contains(&offset) && objects.contains(&hung.object) && is_ours()
        };
        violations.extend(hung.iter().filter(is_wrong).map(|hung| {
            let whom = format!("{} of {} at offset {offset}", hung.object, key.trigger);
            Violation::new("recorded as gone while its deletion hangs", whom)
        }));
    }
    violations
}
