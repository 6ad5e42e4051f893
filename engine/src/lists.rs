//! Lists: what a trigger makes of all its live keys together, with `oneForEvent: false` and a template over `.CloudEvents`.
//!
//! Start at [`due`], which says what has to be recorded because live keys changed; [`events`] is what a list is made of then. A
//! list is a lifecycle of its own ([`ResourceKey::of_list`]); what it holds are the latest Create events of the keys
//! that are live when it is rendered, in the order of source and subject, byte by byte. That order depends on nothing but the
//! keys, so a list is the same after a replay, and from a log that was lost and recorded again.

use lifeline_projections::event::CloudEvent;
use lifeline_projections::fact::{EventReceived, Fact, Gathered, LifecycleKey, ResourceKey};
use lifeline_projections::fold::{Keys, Projection};
use lifeline_projections::lifecycle::Desired;
use lifeline_store::{Disk, Offset, Reader};
use serde_json::{Map, Value};

use crate::error_text::chain;
use crate::rules::RuleSet;
use crate::view::View;

/// Live keys in a list, at most: no object could hold more.
pub const KEYS_MAX: usize = 100_000;

/// Bytes of their events, at most: they are all in memory while the list is made.
const BYTES_MAX: usize = 32 << 20;

/// Resources that are looked at while the recorder waits: about a millisecond.
const RESOURCES_AT_ONCE: u32 = 1 << 15;

/// What to do about a list that is too large.
pub const FEWER: &str =
    "let the EventSource match fewer, or make an object of each key: use `.CloudEvent` instead of `.CloudEvents`";

/// Why the events of a list cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are more live keys than any object could hold.
    #[error(
        "the list of `{trigger}` has more than {KEYS_MAX} live keys, too many for one object of Kubernetes\nhint: {FEWER}"
    )]
    Keys {
        /// The trigger.
        trigger: String,
    },
    /// Their events are too long.
    #[error(
        "the events of the live keys of `{trigger}` are more than {} MiB, too much for one object of Kubernetes\nhint: {FEWER}",
        BYTES_MAX >> 20
    )]
    Bytes {
        /// The trigger.
        trigger: String,
    },
    /// One cannot be read from the log.
    #[error(
        "the event at offset {event} cannot be read: {reason}\nhint: `lifeline verify` says which records are damaged"
    )]
    Unreadable {
        /// Which.
        event: Offset,
        /// Why.
        reason: String,
    },
}

/// The lists of the triggers in force whose live keys changed since they were last recorded.
pub fn due(rules: &RuleSet, projection: &Projection) -> Vec<Gathered> {
    let mut due = Vec::new();
    for trigger in rules.triggers().filter(|trigger| trigger.gathers()) {
        let name = trigger.name();
        for (cluster, keys) in projection.keys_of(name) {
            let is_heard = rules.heard_clusters(name).any(|heard| *heard == **cluster);
            let (trigger_name, on) = (name.into(), (&**cluster).into());
            let key = LifecycleKey { trigger: trigger_name, cluster: on, resource: ResourceKey::of_list(name) };
            let list = projection.lifecycle_index(&key).map(|index| projection.lifecycle(index).1);
            // It was to go when the trigger went, and is still there: these rules have not said what becomes of it.
            let is_left_over = list.as_ref().is_some_and(|list| {
                let decided_by = projection.ground().decided_by(name, list.decided);
                !list.desired.is_present() && list.needs_work() && decided_by != Some(trigger.digest())
            });
            let known = list.map(|list| (list.desired, list.decided));
            if is_heard && (is_left_over || is_due(known, keys)) {
                let LifecycleKey { trigger, cluster, .. } = key;
                due.push(Gathered { trigger, cluster, keys: keys.live, until: keys.until, previous: None });
            }
        }
    }
    due
}

/// Whether a list has to be recorded again, by what shall hold of it, since which record, and its keys.
fn is_due(list: Option<(Desired, Offset)>, keys: Keys) -> bool {
    match list {
        None => keys.live > 0,
        // The trigger leaves what no longer matches: so it leaves the list that they made.
        Some((Desired::Present { .. }, _)) if keys.live == 0 && keys.left > 0 => false,
        Some((Desired::Left, decided)) => keys.live > 0 && keys.until > decided,
        Some((desired @ (Desired::Present { .. } | Desired::Absent { .. }), decided)) => {
            let is_present = desired.is_present();
            is_present != (keys.live > 0) || is_present && keys.until > decided
        }
    }
}

/// The live keys of a trigger on a cluster, each with its Create event, in order.
pub fn keys<D: Disk>(view: &View<D>, trigger: &str, cluster: &str) -> Vec<(ResourceKey, Offset)> {
    let (mut keys, mut start) = (Vec::new(), 0);
    loop {
        // Keys that change meanwhile bring the list to be made again.
        let end = start + RESOURCES_AT_ONCE;
        let (found, is_last) = view
            .read(|projection| (projection.live_keys(trigger, cluster, start..end), end as usize >= projection.len()));
        keys.extend(found);
        if is_last || keys.len() > KEYS_MAX {
            keys.sort_unstable();
            return keys;
        }
        start = end;
    }
}

/// The events of keys, as templates see them. One whose data no template could read is left out: its key fails and says so.
///
/// # Errors
/// When there are too many of them, or one cannot be read.
pub fn events<D: Disk>(
    log: &Reader<D>,
    trigger: &str,
    keys: Vec<(ResourceKey, Offset)>,
) -> Result<Vec<Map<String, Value>>, Error> {
    let lost = |event, reason: &str| Error::Unreadable { event, reason: reason.to_owned() };
    if keys.len() > KEYS_MAX {
        return Err(Error::Keys { trigger: trigger.to_owned() });
    }
    let (mut events, mut bytes) = (Vec::with_capacity(keys.len()), 0);
    for (_, event) in keys {
        let record = log.read(event).map_err(|error| lost(event, &chain(&error)))?;
        let record = record.ok_or_else(|| lost(event, "the log no longer holds it"))?;
        bytes += record.payload.len();
        if bytes > BYTES_MAX {
            return Err(Error::Bytes { trigger: trigger.to_owned() });
        }
        let fact = Fact::decode(&record.payload).map_err(|error| lost(event, &chain(&error)))?;
        let Fact::Event(EventReceived { headers, payload, .. }) = fact else {
            return Err(lost(event, "it is no event"));
        };
        events.extend(CloudEvent::to_map(&headers, payload).ok());
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use lifeline_store::{Log, Options, SimulatedDisk};

    use super::*;

    #[test]
    fn a_list_of_too_many_keys_says_so_before_anything_is_read() {
        let options = Options { low_space_bytes: 0, ..Options::default() };
        let (log, _) = Log::open(SimulatedDisk::new(1), options).expect("a log");
        let key = |number: usize| ResourceKey { source: "a".into(), subject: number.to_string().into() };
        let keys = (0..=KEYS_MAX).map(|number| (key(number), Offset::ZERO)).collect();
        let error = events(&log.reader(), "roster", keys).expect_err("too many").to_string();
        assert!(
            error.starts_with("the list of `roster` has more than 100000 live keys, too many for one object"),
            "{error}"
        );
        assert!(error.contains("\nhint: let the EventSource match fewer"), "{error}");
        // One that is gone from the log is named.
        let lost = events(&log.reader(), "roster", vec![(key(1), Offset::from(7))]).expect_err("no record").to_string();
        assert_eq!(
            lost,
            "the event at offset 7 cannot be read: the log no longer holds it\nhint: `lifeline verify` says which records are damaged"
        );
    }

    #[test]
    fn a_list_is_due_when_its_keys_changed_since_it_was_recorded() {
        let check = |list: Option<(Desired, u64)>, (live, left, until): (u64, u64, u64), expected: bool| {
            let keys = Keys { live, left, until: Offset::from(until) };
            let list = list.map(|(desired, decided)| (desired, Offset::from(decided)));
            assert_eq!(is_due(list, keys), expected, "{list:?} {keys:?}");
        };
        let (present, absent) = (Desired::Present { event: Offset::ZERO }, Desired::Absent { event: None });
        check(None, (0, 0, 0), false);
        // All that there was is gone again before anything was made.
        check(None, (0, 0, 9), false);
        check(None, (1, 0, 9), true);
        check(Some((present, 10)), (1, 0, 9), false);
        check(Some((present, 10)), (1, 0, 11), true);
        check(Some((present, 10)), (0, 0, 11), true);
        // A replay took up what was recorded last, and meanwhile no key is live.
        check(Some((present, 10)), (0, 0, 9), true);
        check(Some((present, 10)), (0, 3, 11), false);
        check(Some((present, 10)), (1, 3, 11), true);
        check(Some((absent, 10)), (0, 0, 11), false);
        check(Some((absent, 10)), (1, 0, 11), true);
        check(Some((absent, 10)), (1, 0, 9), true);
        check(Some((Desired::Left, 10)), (0, 0, 11), false);
        check(Some((Desired::Left, 10)), (2, 0, 9), false);
        check(Some((Desired::Left, 10)), (2, 0, 11), true);
    }
}
