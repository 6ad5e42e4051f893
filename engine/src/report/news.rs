//! What is said as Kubernetes Events: that a lifecycle begins to fail or is healed, and that a withdrawal waits for somebody.
//!
//! Start at [`News::take`]. Pure. Many that come together are one Event about the first of them, and of one sort about
//! one trigger there is at most one every [`PAUSE_SECONDS`], however it changes to and fro.

use std::collections::BTreeMap;

use super::status::{about, named, shortened};
use crate::health::{Failing, Health};

/// How long one sort of Event about one trigger is not repeated, in seconds. What comes meanwhile is said after it.
const PAUSE_SECONDS: i64 = 30;

/// The longest note that Kubernetes takes, in bytes.
const NOTE_BYTES_MAX: usize = 1_024;

/// Something that happened to a trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    pub trigger: String,
    /// In one word, as Kubernetes has it.
    pub reason: &'static str,
    pub is_warning: bool,
    pub note: String,
}

const FAILING: &str = "LifecycleFailing";
const HEALED: &str = "LifecycleHealed";
const HELD: &str = "WithdrawalHeld";
const NOT_HELD: &str = "WithdrawalReleased";

/// What was said, and what waits to be said.
#[derive(Debug, Default)]
pub(super) struct News {
    before: Option<Health>,
    /// By trigger and reason: the first note, and how many more there are.
    waiting: BTreeMap<(String, &'static str), (String, u64)>,
    /// When it was said last, in seconds since 1970.
    said: BTreeMap<(String, &'static str), i64>,
}

impl News {
    /// Takes what is known now; what is to be said.
    ///
    /// What fails already when the engine starts is no news.
    pub fn take(&mut self, health: &Health, now_seconds: i64) -> Vec<Notice> {
        for (trigger, reason, note) in self.before.iter().flat_map(|before| changes(before, health)) {
            self.waiting.entry((trigger, reason)).or_insert((note, 0)).1 += 1;
        }
        self.before = Some(health.clone());
        self.said.retain(|_, said| now_seconds - *said < PAUSE_SECONDS);
        let waiting = std::mem::take(&mut self.waiting);
        let (later, due): (BTreeMap<_, _>, BTreeMap<_, _>) =
            waiting.into_iter().partition(|(key, _)| self.said.contains_key(key));
        self.waiting = later;
        let notice = |((trigger, reason), (note, count)): ((String, &'static str), (String, u64))| {
            self.said.insert((trigger.clone(), reason), now_seconds);
            // In front, for a long note is cut.
            let many = if count > 1 { format!("the first of {count}: ") } else { String::new() };
            let note = shortened(&format!("{many}{note}"), NOTE_BYTES_MAX);
            Notice { trigger, reason, is_warning: matches!(reason, FAILING | HELD), note }
        };
        due.into_iter().map(notice).collect()
    }
}

/// What is different, by trigger.
fn changes(before: &Health, now: &Health) -> Vec<(String, &'static str, String)> {
    let said = |reason: &'static str, failing: &Failing, note: String| (failing.trigger.clone(), reason, note);
    let began = now.failing.iter().filter(|(index, _)| !before.failing.contains_key(*index));
    let began = began.map(|(_, failing)| said(FAILING, failing, about(failing)));
    let ended = before.failing.iter().filter(|(index, _)| !now.failing.contains_key(*index));
    let ended = ended.map(|(_, failing)| {
        let note = format!("{} is as desired again", named(&failing.resource));
        said(HEALED, failing, note)
    });
    let held = |health: &Health, name: &str| health.triggers.get(name).and_then(|trigger| trigger.held.clone());
    let names = before.triggers.keys().chain(now.triggers.keys()).collect::<std::collections::BTreeSet<_>>();
    let held = names.into_iter().filter_map(|name| match (held(before, name), held(now, name)) {
        (None, Some(sentence)) => Some((name.clone(), HELD, sentence)),
        (Some(_), None) => Some((name.clone(), NOT_HELD, "no withdrawal waits for a confirmation any more".to_owned())),
        (Some(_), Some(_)) | (None, None) => None,
    });
    began.chain(ended).chain(held).collect()
}

#[cfg(test)]
mod tests {
    use lifeline_projections::fact::ResourceKey;
    use lifeline_projections::fold::LifecycleIndex;

    use super::*;
    use crate::health::TriggerHealth;

    fn failing(subjects: &[u32]) -> Health {
        let one = |subject: &u32| {
            let resource = ResourceKey { source: "app".into(), subject: format!("u{subject}").into() };
            let failing = Failing { trigger: "t".into(), resource, message: "no".into() };
            (LifecycleIndex { resource: *subject, slot: 0 }, failing)
        };
        Health { failing: subjects.iter().map(one).collect(), ..Health::default() }
    }

    fn held(sentence: Option<&str>) -> Health {
        let trigger = TriggerHealth { held: sentence.map(str::to_owned), ..TriggerHealth::default() };
        Health { triggers: [("t".to_owned(), trigger)].into(), ..Health::default() }
    }

    /// Reasons and notes.
    type Said = &'static [(&'static str, &'static str)];

    /// What is said at times of states that follow each other.
    #[track_caller]
    fn check(states: &[(i64, Health, Said)]) {
        let mut news = News::default();
        for (now, health, expected) in states {
            let said = news.take(health, *now);
            let said: Vec<(&str, &str)> = said.iter().map(|one| (one.reason, one.note.as_str())).collect();
            assert_eq!(said, *expected, "at {now}");
        }
    }

    #[test]
    fn what_begins_and_ends_is_said_once_and_what_comes_together_is_one_event() {
        check(&[
            (0, failing(&[1]), &[]),
            (5, failing(&[1, 2]), &[(FAILING, "source `app`, subject `u2`: no")]),
            (10, failing(&[1, 2]), &[]),
            (15, failing(&[]), &[(HEALED, "the first of 2: source `app`, subject `u1` is as desired again")]),
            // It is not repeated at once, and not forgotten.
            (20, failing(&[3, 4, 5]), &[]),
            (34, failing(&[3, 4, 5]), &[]),
            (35, failing(&[3, 4, 5]), &[(FAILING, "the first of 3: source `app`, subject `u3`: no")]),
        ]);
    }

    #[test]
    fn a_held_withdrawal_is_a_warning_and_its_end_is_said() {
        check(&[
            (0, held(None), &[]),
            (5, held(Some("9 of 10")), &[(HELD, "9 of 10")]),
            (10, held(Some("10 of 10")), &[]),
            (15, held(None), &[(NOT_HELD, "no withdrawal waits for a confirmation any more")]),
        ]);
        let mut news = News::default();
        news.take(&held(None), 0);
        assert!(news.take(&held(Some("x")), 1)[0].is_warning);
    }

    #[test]
    fn a_note_is_as_long_as_kubernetes_takes() {
        let mut long = failing(&[1]);
        long.failing.values_mut().for_each(|one| one.message = "x".repeat(5_000));
        let mut news = News::default();
        news.take(&Health::default(), 0);
        assert_eq!(news.take(&long, 1)[0].note.len(), NOTE_BYTES_MAX);
    }
}
