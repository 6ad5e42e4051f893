//! The brake: how much of what lives a change of rules may take away before somebody confirms it.
//!
//! A slip in a rule, a folder that is emptied or a CustomResourceDefinition that is deleted looks like a wish to remove
//! everything. So a replay first counts what it would withdraw, and [`Brake::held`] decides what of it waits. What events
//! decide is never held.

use std::fmt::Write;

use lifeline_projections::count;
use sha2::{Digest, Sha256};

use super::Counts;
use crate::size::Size;
use crate::status::HeldWithdrawal;

/// How much a change of rules may withdraw without a confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brake {
    /// Percent of the live objects, or of the live keys of lists, of one trigger and of all of them; 100 holds nothing.
    pub percent: u8,
    /// Fewer objects, or keys, than these are never held.
    pub objects_min: u64,
}

impl Default for Brake {
    fn default() -> Brake {
        Brake { percent: 10, objects_min: 10 }
    }
}

/// Objects that would be withdrawn, or keys of lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Withdrawal {
    /// How many would go.
    pub goes: u64,
    /// How many there are.
    pub of: u64,
}

impl Withdrawal {
    /// The same, where so many more went before.
    fn after(self, before: u64) -> Withdrawal {
        Withdrawal { goes: self.goes.saturating_add(before), of: self.of.saturating_add(before) }
    }
}

/// What one trigger would withdraw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted<'t> {
    /// The trigger.
    pub(crate) trigger: &'t str,
    /// Of its objects.
    pub(crate) objects: Withdrawal,
    /// Of the keys of its list.
    pub(crate) keys: Withdrawal,
    /// What all triggers have.
    pub(crate) live: Size,
}

impl Brake {
    /// Whether what one trigger would withdraw is held; `all` is what all triggers would withdraw together.
    #[must_use]
    pub fn holds(self, one: Withdrawal, all: Withdrawal) -> bool {
        let is_much = |Withdrawal { goes, of }| {
            goes >= self.objects_min && u128::from(goes) * 100 > u128::from(of) * u128::from(self.percent)
        };
        one.goes > 0 && (is_much(one) || is_much(all))
    }

    /// Which of these withdrawals are held. Objects are compared with objects and keys of lists with keys, for a list of many
    /// keys would make little of the objects that go, and an object that loses its keys would be one that stays.
    ///
    /// What was confirmed and what went lately counts as well: confirming one does not make little of the others, and many small
    /// steps are a large one. It is one sum of objects and keys, and is added to either, of the trigger and of all.
    #[must_use]
    pub(crate) fn held(self, counted: &[Counted<'_>], confirmed: u64, lately: &Counts) -> Vec<bool> {
        let before = confirmed + lately.values().sum::<u64>();
        let all = |of: fn(&Counted<'_>) -> (u64, u64)| {
            let sum =
                |all: Withdrawal, (goes, live): (u64, u64)| Withdrawal { goes: all.goes + goes, of: all.of.max(live) };
            counted.iter().map(of).fold(Withdrawal::default(), sum)
        };
        let all_objects = all(|one| (one.objects.goes, one.live.objects)).after(before);
        let all_keys = all(|one| (one.keys.goes, one.live.keys)).after(before);
        let is_held = |Counted { trigger, objects, keys, .. }: &Counted<'_>| {
            let lately = lately.get(*trigger).copied().unwrap_or(0);
            let is_held = |one: Withdrawal, all| one.goes > 0 && self.holds(one.after(lately), all);
            is_held(*objects, all_objects) || is_held(*keys, all_keys)
        };
        counted.iter().map(is_held).collect()
    }
}

/// The name by which a held withdrawal is confirmed. It changes with the rules and with the objects (a checksum of their
/// names), and is the same after a restart.
#[must_use]
pub fn confirmation_id(trigger: &str, digest: Option<u64>, names: u64) -> String {
    let mut sha = Sha256::new();
    sha.update(trigger.as_bytes());
    sha.update([0]);
    sha.update(digest.map_or(Vec::new(), |digest| digest.to_be_bytes().to_vec()));
    sha.update([0]);
    sha.update(names.to_be_bytes());
    sha.finalize().iter().take(4).fold(String::new(), |mut id, byte| {
        write!(id, "{byte:02x}").expect("a String takes everything");
        id
    })
}

/// What would go, such as `3 of 4 objects and 9 of 10 keys of the list`. Keys are named where some would go, objects then
/// only where some of them would go too.
#[must_use]
pub fn what(held: &HeldWithdrawal) -> String {
    let HeldWithdrawal { objects, of, keys, keys_of, .. } = held;
    let (of, keys_of) = (count(*of, "object"), count(*keys_of, "key"));
    match (objects, keys) {
        (_, 0) => format!("{objects} of {of}"),
        (0, _) => format!("{keys} of {keys_of} of the list"),
        (_, _) => format!("{objects} of {of} and {keys} of {keys_of} of the list"),
    }
}

/// The sentence about a withdrawal that is held.
#[must_use]
pub fn sentence(trigger: &str, held: &HeldWithdrawal) -> String {
    let HeldWithdrawal { id, lately, waits_for, .. } = held;
    let what = what(held);
    if let Some(waits_for) = waits_for {
        return format!(
            "the changed rules would withdraw {what} of `{trigger}`; they stay while others may want them: \
             {waits_for}\nhint: it goes on by itself once that is mended; `lifeline confirm {id}` removes them now"
        );
    }
    let lately = match lately {
        0 => String::new(),
        lately => format!(", after {lately} in smaller steps within an hour"),
    };
    format!(
        "the changed rules would withdraw {what} of `{trigger}`{lately}; they stay until somebody confirms \
         it\nhint: `lifeline confirm {id}` removes them; put the rules right, and they stay"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_much_is_held_and_what_is_little_passes() {
        let check = |objects, of, all_objects, all_of, expected| {
            let (one, all) = (Withdrawal { goes: objects, of }, Withdrawal { goes: all_objects, of: all_of });
            assert_eq!(Brake::default().holds(one, all), expected, "{one:?} {all:?}");
        };
        check(0, 0, 0, 0, false);
        // Fewer than ten, though all there is.
        check(9, 9, 9, 9, false);
        check(10, 10, 10, 1_000, true);
        check(10, 100, 10, 1_000, false);
        check(11, 100, 11, 1_000, true);
        // Much of a trigger and little of all; little of each trigger and much of all.
        check(20, 20, 20, 1_000_000, true);
        check(5, 5, 50, 100, true);
        check(0, 5, 50, 100, false);
        check(u64::MAX, u64::MAX, u64::MAX, u64::MAX, true);
        let off = Brake { percent: 100, ..Brake::default() };
        assert!(!off.holds(Withdrawal { goes: 50, of: 50 }, Withdrawal { goes: 50, of: 50 }));
    }

    #[test]
    fn the_sentence_says_what_went_before() {
        let held = HeldWithdrawal { id: "0a".into(), objects: 9, of: 41, ..HeldWithdrawal::default() };
        let told = sentence("manage", &held);
        assert!(told.starts_with("the changed rules would withdraw 9 of 41 objects of `manage`; they stay"), "{told}");
        let told = sentence("manage", &HeldWithdrawal { objects: 1, of: 1, ..held.clone() });
        assert!(told.starts_with("the changed rules would withdraw 1 of 1 object of `manage`; they stay"), "{told}");
        let told = sentence("manage", &HeldWithdrawal { lately: 18, ..held.clone() });
        assert!(told.contains("of `manage`, after 18 in smaller steps within an hour; they stay"), "{told}");
        let told = sentence("manage", &HeldWithdrawal { waits_for: Some("`b` is out of force".into()), ..held });
        assert!(told.contains("they stay while others may want them: `b` is out of force\nhint: "), "{told}");
    }

    #[test]
    fn a_confirmation_is_about_one_trigger_one_version_of_it_and_these_objects() {
        let ids = [("a", None, 7), ("a", Some(1), 7), ("a", Some(2), 7), ("b", None, 7), ("a", None, 8)]
            .map(|(name, digest, names)| confirmation_id(name, digest, names));
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert!(ids.iter().all(|id| id.len() == 8));
    }
}
