//! What is known beside the resources: how far each stream is recorded, the rules last recorded, what was replayed.
//!
//! Start at [`Ground`]. It is small, and written whole.

use std::collections::BTreeMap;

use lifeline_store::Offset;
use serde::{Deserialize, Serialize};

use super::holes::Holes;
use super::withdrawals::Withdrawals;
use crate::fact::{
    Delivery, EventReceived, EventRejected, Fact, MarkerFound, RuleChanged, StreamChange, StreamChanged,
    TriggerReplayed,
};
use crate::lifecycle::DIGEST_UNKNOWN;
use crate::order;

/// How far one stream has been recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPosition {
    /// The current epoch, from 1.
    pub epoch: u32,
    /// When the server says that the stream was created, in nanoseconds since 1970.
    pub created_unix_nanos: u64,
    /// Where reading goes on. Below it every message is recorded, or recorded as missing, but for those that nobody asked for.
    pub next_sequence: u64,
    /// The record of the last message, with the time the server stored it; `None` before the first of the epoch.
    pub tail: Option<Tail>,
    /// When the server stored the newest message recorded, over all epochs, in nanoseconds since 1970; 0 before the first.
    pub recorded_until_unix_nanos: u64,
    /// The time that counts of the messages recorded of this epoch goes up to here, in nanoseconds since 1970; 0 before
    /// the first. See [`crate::order`].
    pub counted_until_unix_nanos: u64,
    /// Events recorded, over all epochs.
    pub received: u64,
    /// Messages recorded as rejected, over all epochs.
    pub rejected: u64,
    /// Messages recorded as missing, over all epochs.
    pub missing: u64,
    /// Messages by which the server said that what a subject held is gone, over all epochs.
    pub markers: u64,
}

/// The recorded message with the highest sequence of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// Its record.
    pub record: Offset,
    /// Its stream sequence.
    pub sequence: u64,
    /// When the server stored it, in nanoseconds since 1970.
    pub published_unix_nanos: u64,
}

/// A rule as last recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleMark {
    /// Checksum of its content.
    pub digest: u64,
    /// The record that says so.
    pub record: Offset,
}

/// A trigger whose history is decided under its current rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayMark {
    /// Checksum of everything the trigger is made of; [`DIGEST_UNKNOWN`] when a replay began and has not ended.
    digest: u64,
    /// Whether it leaves its objects when it goes.
    pub leaves: bool,
    /// The record that opened the replay. What was decided for the trigger since was decided by these rules.
    pub since: Offset,
}

impl ReplayMark {
    /// Checksum of everything the trigger is made of. `None` when a replay began and has not ended: then some resources are
    /// decided under rules that may never come back, so history has to be replayed under any rules.
    #[must_use]
    pub const fn digest(&self) -> Option<u64> {
        match self.digest {
            DIGEST_UNKNOWN => None,
            digest => Some(digest),
        }
    }
}

/// A replay that has begun and is not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenReplay {
    /// Checksum of everything the trigger is made of.
    pub digest: u64,
    /// The record that opened the replay. What is decided for the trigger from there on is decided by these rules.
    pub since: Offset,
}

/// The part of the state that is not about single resources. Small, written whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ground {
    /// First offset not folded.
    pub watermark: Offset,
    /// When the last folded record was written, in nanoseconds since 1970.
    pub folded_unix_nanos: u64,
    /// Position by (cluster, stream).
    pub streams: BTreeMap<(String, String), StreamPosition>,
    /// The rules last recorded, by name such as `EventTrigger/manage-namespace`.
    pub rules: BTreeMap<String, RuleMark>,
    /// By trigger: the rules that its history was last replayed with.
    pub replayed: BTreeMap<Box<str>, ReplayMark>,
    /// Every record that ever said what a rule is: with them an earlier rule is found without a search.
    pub rule_records: Vec<Offset>,
    /// The replays that are not complete, by trigger. Most of the time there are none, so they are written apart: what is
    /// written without them is the same as before there were any.
    #[serde(skip)]
    pub open_replays: BTreeMap<Box<str>, OpenReplay>,
    /// What changes of rules were allowed to withdraw lately. Written apart, for the same reason.
    #[serde(skip)]
    pub withdrawals: Withdrawals,
    /// What may be missing of streams of which a part is read, by (cluster, stream). Written apart, for the same reason.
    #[serde(skip)]
    pub holes: BTreeMap<(String, String), Holes>,
}

impl Ground {
    /// Takes in what the fact at `offset` says that is not about resources.
    pub(super) fn take(&mut self, offset: Offset, fact: &Fact<'_>) {
        match fact {
            // It moved its stream when it arrived, and was rejected.
            Fact::Event(EventReceived { redriven: Some(_), .. }) => {}
            Fact::Event(event) => {
                let counted = order::counted_of(event, self.folded_unix_nanos);
                self.advance(offset, &event.delivery, counted).received += 1;
            }
            Fact::Rejected(EventRejected { delivery, .. }) => {
                let counted = order::counted(delivery.published_unix_nanos, self.folded_unix_nanos, 0);
                self.advance(offset, delivery, counted).rejected += 1;
            }
            Fact::Marker(MarkerFound { delivery, .. }) => {
                let counted = order::counted(delivery.published_unix_nanos, self.folded_unix_nanos, 0);
                self.advance(offset, delivery, counted).markers += 1;
            }
            Fact::Stream(StreamChanged { cluster, stream, epoch, change }) => match *change {
                StreamChange::Opened { created_unix_nanos, start_sequence, .. } => {
                    let position = self.position(cluster, stream);
                    position.epoch = *epoch;
                    position.created_unix_nanos = created_unix_nanos;
                    position.next_sequence = start_sequence;
                    position.tail = None;
                    position.counted_until_unix_nanos = 0;
                }
                StreamChange::Gap { from_sequence, to_sequence } => {
                    let position = self.position(cluster, stream);
                    position.missing = position.missing.saturating_add(to_sequence.saturating_sub(from_sequence));
                    position.next_sequence = position.next_sequence.max(to_sequence);
                }
                // It does not move the place where reading goes on.
                StreamChange::Holes { to_sequence, up_to, .. } => {
                    let holes = self.holes.entry(((*cluster).to_owned(), (*stream).to_owned())).or_default();
                    holes.take(*epoch, to_sequence, up_to);
                }
            },
            Fact::Rule(RuleChanged { rule, digest, .. }) => {
                self.rule_records.push(offset);
                change_rule(&mut self.rules, rule, *digest, offset);
            }
            Fact::Replay(replay) => self.take_replay(offset, replay),
            // A lost record keeps its offset. What it said is said again where it can be: outcomes by reconciliation, rules
            // by the next comparison with those in force.
            Fact::Reconciled(_) | Fact::Gathered(_) | Fact::Lost(_) => {}
        }
    }

    /// What may be missing of a stream.
    #[must_use]
    pub fn holes_of(&self, cluster: &str, stream: &str) -> Holes {
        let mut all = self.holes.iter();
        all.find(|((of, known), _)| of == cluster && known == stream).map_or_else(Holes::default, |(_, holes)| *holes)
    }

    /// Checksum of the trigger that a decision recorded at `decided` counts under: that of an open replay for what was decided
    /// since it began, else that of the last complete one. `None` where no rules are known to have decided it.
    #[must_use]
    pub fn decided_by(&self, trigger: &str, decided: Offset) -> Option<u64> {
        match self.open_replays.get(trigger) {
            Some(open) => (decided >= open.since).then_some(open.digest),
            None => self.replayed.get(trigger).and_then(ReplayMark::digest),
        }
    }

    /// The record since which everything decided for a trigger was decided by the rules in force; `None` where no rules ever did.
    #[must_use]
    pub fn decided_since(&self, trigger: &str) -> Option<Offset> {
        let open = self.open_replays.get(trigger).map(|open| open.since);
        open.or_else(|| self.replayed.get(trigger).map(|mark| mark.since))
    }

    fn take_replay(&mut self, offset: Offset, replay: &TriggerReplayed) {
        self.withdrawals.take(self.folded_unix_nanos, replay);
        let TriggerReplayed { trigger, digest, leaves, complete, redecisions, allowance } = replay;
        let trigger = trigger.as_str();
        let mark = match (complete, digest) {
            (true, Some(digest)) => Some(*digest),
            (true, None) => None,
            (false, _) => Some(DIGEST_UNKNOWN),
        };
        let open = self.open_replays.get(trigger).filter(|open| Some(open.digest) == *digest);
        let since = open.map_or(offset, |open| open.since);
        match mark {
            Some(digest) => _ = self.replayed.insert(trigger.into(), ReplayMark { digest, leaves: *leaves, since }),
            None => _ = self.replayed.remove(trigger),
        }
        match (complete, *digest) {
            // A record without redecisions opens a replay; the others carry on with it.
            (false, Some(digest)) => {
                let known = self.open_replays.get(trigger);
                if (redecisions.is_empty() && allowance.is_none()) || known.is_none_or(|known| known.digest != digest) {
                    self.open_replays.insert(trigger.into(), OpenReplay { digest, since: offset });
                }
            }
            (false, None) | (true, _) => _ = self.open_replays.remove(trigger),
        }
        if *complete && self.replayed.values().all(|mark| mark.digest().is_some()) {
            self.withdrawals.rest();
        }
    }

    fn position(&mut self, cluster: &str, stream: &str) -> &mut StreamPosition {
        // One or two streams at most: a look-up that allocates only for a new one, and compares names once.
        let known = self.streams.keys().position(|(of, known)| of == cluster && known == stream);
        match known {
            Some(known) => self.streams.values_mut().nth(known).expect("it was just found"),
            None => self.streams.entry((cluster.to_owned(), stream.to_owned())).or_default(),
        }
    }

    fn advance(&mut self, offset: Offset, delivery: &Delivery<'_>, counted_unix_nanos: u64) -> &mut StreamPosition {
        let position = self.position(delivery.cluster, delivery.stream);
        let (sequence, published_unix_nanos) = (delivery.sequence, delivery.published_unix_nanos);
        // A message that came late does not move the place where reading goes on.
        if delivery.epoch != position.epoch || sequence >= position.next_sequence {
            let until = if delivery.epoch == position.epoch { position.counted_until_unix_nanos } else { 0 };
            position.counted_until_unix_nanos = counted_unix_nanos.max(until);
            position.epoch = delivery.epoch;
            position.next_sequence = sequence.saturating_add(1);
            position.tail = Some(Tail { record: offset, sequence, published_unix_nanos });
        }
        position.recorded_until_unix_nanos = position.recorded_until_unix_nanos.max(published_unix_nanos);
        position
    }
}

/// What a record says about a rule.
pub(crate) fn change_rule(rules: &mut BTreeMap<String, RuleMark>, rule: &str, digest: Option<u64>, record: Offset) {
    match digest {
        Some(digest) => {
            rules.insert(rule.to_owned(), RuleMark { digest, record });
        }
        None => {
            rules.remove(rule);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::{Redecision, Redesired, ResourceKey};

    #[test]
    fn a_message_that_came_late_does_not_move_the_place_where_reading_goes_on() {
        let rejected = |epoch, sequence| {
            let delivery = Delivery {
                cluster: "mgmt/mgmt",
                stream: "S",
                epoch,
                sequence,
                published_unix_nanos: 10 * sequence,
                subject: "s",
            };
            Fact::Rejected(EventRejected { delivery, reason: "no JSON", headers: Vec::new(), payload: b"" })
        };
        let mut ground = Ground::default();
        for (offset, (epoch, sequence)) in [(1, 1), (1, 5), (1, 3), (2, 2)].into_iter().enumerate() {
            ground.take(Offset::new(offset as u64), &rejected(epoch, sequence));
            let position = &ground.streams[&("mgmt/mgmt".to_owned(), "S".to_owned())];
            let tail = position.tail.expect("a message was recorded");
            let expected = [(1, 2, 0, 1), (1, 6, 1, 5), (1, 6, 1, 5), (2, 3, 3, 2)][offset];
            assert_eq!((position.epoch, position.next_sequence, tail.record.get(), tail.sequence), expected);
            assert_eq!(position.rejected, 1 + offset as u64);
        }
    }

    #[test]
    fn no_rules_count_as_replayed_until_the_last_piece_of_a_replay() {
        let piece = |digest: Option<u64>, leaves, complete| {
            let redecisions = Vec::new();
            Fact::Replay(TriggerReplayed {
                trigger: "manage".into(),
                digest,
                leaves,
                complete,
                redecisions,
                allowance: None,
            })
        };
        let mut ground = Ground::default();
        let mut after = |fact: &Fact<'_>| {
            ground.take(Offset::ZERO, fact);
            ground.replayed.get("manage").map(|mark| (mark.digest(), mark.leaves))
        };
        // A trigger that goes before its first replay is whole has to be withdrawn, so it is known from the first piece on.
        assert_eq!(after(&piece(Some(1), true, false)), Some((None, true)));
        assert_eq!(after(&piece(Some(1), true, true)), Some((Some(1), true)));
        assert_eq!(after(&piece(Some(2), false, false)), Some((None, false)));
        assert_eq!(after(&piece(Some(2), false, true)), Some((Some(2), false)));
        assert_eq!(after(&piece(None, false, false)), Some((None, false)));
        assert_eq!(after(&piece(None, false, true)), None);
    }

    #[test]
    fn what_was_decided_since_a_replay_began_counts_under_its_rules() {
        let redecision = || Redecision {
            cluster: "mgmt/mgmt".into(),
            resource: ResourceKey { source: "auth".into(), subject: "ann".into() },
            desired: Redesired::Absent { event: None },
            previous: None,
        };
        let replay = |digest, complete, pieces: usize| {
            let redecisions = std::iter::repeat_with(redecision).take(pieces).collect();
            Fact::Replay(TriggerReplayed {
                trigger: "manage".into(),
                digest,
                leaves: false,
                complete,
                redecisions,
                allowance: None,
            })
        };
        let (one, other, gone) = (Some(1), Some(2), None);
        // What is recorded at 10, 11 and so on; then the rules that a decision at 9, at 10 and so on counts under.
        let cases: [(&[Fact<'_>], &[Option<u64>]); 7] = [
            (&[], &[None]),
            (&[replay(one, true, 1)], &[one, one, one]),
            (&[replay(one, false, 0), replay(one, false, 1)], &[None, one, one]),
            (&[replay(one, true, 0), replay(other, false, 0), replay(other, false, 1)], &[None, None, other, other]),
            (&[replay(other, false, 1), replay(one, false, 1)], &[None, None, one]),
            (&[replay(one, false, 0), replay(one, false, 0)], &[None, None, one]),
            (&[replay(one, false, 0), replay(gone, false, 0)], &[None, None, None]),
        ];
        for (facts, expected) in cases {
            let mut ground = Ground::default();
            facts.iter().zip(10..).for_each(|(fact, offset)| ground.take(Offset::from(offset), fact));
            let decided = expected.iter().zip(9..).map(|(_, offset)| ground.decided_by("manage", Offset::from(offset)));
            assert_eq!(decided.collect::<Vec<_>>(), expected, "{facts:?}");
        }
    }
}
