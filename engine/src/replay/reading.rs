//! The records of one resource are read, from the latest back to the event that decides.
//!
//! Start at [`Replay::step`]; what becomes of the lifecycles then is said by [`Replay::differences`].

use std::collections::{BTreeMap, BTreeSet};

use lifeline_projections::fact::{Decision, EventReceived, Fact, Redecision, ResourceKey, Ruling};
use lifeline_projections::fold::{Projection, Resource};
use lifeline_projections::lifecycle::{Desired, Lifecycle};
use lifeline_projections::order::Precedence;
use lifeline_store::{Disk, Reader};

use super::Replay;
use super::cursor::Walk;
use super::desired::{Unmatched, redesired};
use super::found::Found;
use super::target::Target;
use crate::rules::{EventView, Trigger};

impl Replay {
    /// Reads one record of a resource. True when no further one has to be read; and how many bytes it was.
    pub(super) fn step<D: Disk>(
        &self,
        target: &Target,
        walk: &mut Walk,
        log: &Reader<D>,
        left_because: &mut Option<String>,
    ) -> Result<(bool, usize), lifeline_store::Error> {
        let is_known = self.rules.may_decide(&target.trigger, &walk.key.source, &walk.key.subject);
        let offset = match walk.next.filter(|_| is_known && !target.has_all(&walk.found)) {
            Some(offset) => offset,
            None => return Ok((true, 0)),
        };
        let record = match log.read(offset) {
            Ok(Some(record)) => record,
            Ok(None) => {
                walk.is_cut = true;
                return Ok((true, 0));
            }
            Err(error @ lifeline_store::Error::Damaged { .. }) => {
                walk.is_cut = true;
                left_because.get_or_insert_with(|| format!("the log is damaged: {error}"));
                return Ok((true, 0));
            }
            Err(error) => return Err(error),
        };
        let fact = match Fact::decode(&record.payload) {
            Ok(fact) => fact,
            Err(error) => {
                walk.is_cut = true;
                left_because
                    .get_or_insert_with(|| format!("record at offset `{offset}` cannot be understood: {error}"));
                return Ok((true, record.payload.len()));
            }
        };
        if let Fact::Event(event) = &fact
            && !walk.found.get(event.delivery.cluster).is_some_and(Found::is_over)
        {
            let EventReceived { delivery, source, subject, kind, headers, payload, .. } = event;
            let view = EventView { nats_subject: delivery.subject, source, kind, subject, headers, payload };
            let ruling = self.rules.decide_one(&target.trigger, &view, delivery.cluster, record.time_unix_nanos);
            let by = self.rules.trigger(&target.trigger).map(Trigger::order_by).unwrap_or_default();
            let precedence = || Precedence::of(by, event, record.time_unix_nanos);
            let desired = match ruling {
                Some(Ruling::Create) => Some(Desired::Present { event: offset }),
                Some(Ruling::Delete) => Some(Desired::Absent { event: Some(offset) }),
                Some(Ruling::Failed(reason)) => {
                    let is_trigger = |decision: &&Decision<'_>| *decision.trigger == *target.trigger;
                    let known = event.decisions.iter().find(is_trigger);
                    if known.is_some_and(|known| known.ruling.decides() && event.counts(known.trigger)) {
                        let found = walk.found.entry(delivery.cluster.into()).or_default();
                        found.fail(precedence(), reason.into_owned());
                    }
                    None
                }
                Some(Ruling::NoAction(_)) | None => None,
            };
            if let Some(desired) = desired {
                let found = walk.found.entry(delivery.cluster.into()).or_default();
                found.pass(by, precedence(), event.is_late(), desired);
            }
        }
        match fact.previous(&walk.key) {
            Some(previous) => {
                walk.next = previous.filter(|previous| *previous < offset);
                walk.is_cut = walk.next.is_none() && offset > walk.first_event;
            }
            // What was lost here may have decided, and cannot say what was before.
            None => (walk.next, walk.is_cut) = (None, true),
        }
        Ok((walk.next.is_none() || target.has_all(&walk.found), record.payload.len()))
    }

    /// Where what was found differs from the lifecycles as they are. A lifecycle that stays present is decided again as well:
    /// its templates may give something else now. A trigger of which a part is broken withdraws nothing: what no longer
    /// matches may match again once it is mended. A lifecycle stays as it is where the action fails now of an event that
    /// decided it: that is a mistake in the rule, mostly, and no wish to withdraw.
    pub(super) fn differences(
        &self,
        projection: &Projection,
        target: &Target,
        walk: &Walk,
        resource: &Resource,
        left_because: &mut Option<String>,
    ) -> Vec<Redecision> {
        let is_uncertain = walk.is_cut || self.rules.trigger(&target.trigger).is_none_or(Trigger::is_degraded);
        let unmatched = match target.leaves {
            _ if is_uncertain => Unmatched::Keeps,
            true => Unmatched::Leaves,
            false => Unmatched::Withdraws,
        };
        let of_trigger = resource.lifecycles.iter().filter(|lifecycle| *lifecycle.trigger == *target.trigger);
        let known: BTreeMap<&str, &Lifecycle> = of_trigger.map(|one| (&*one.cluster, one)).collect();
        let clusters: BTreeSet<&str> =
            known.keys().copied().chain(walk.found.keys().map(|cluster| &**cluster)).collect();
        let mut redecisions = Vec::new();
        for cluster in clusters {
            let known = known.get(cluster).copied();
            if known.is_some_and(|known| target.has_decided(projection, known)) {
                continue;
            }
            let found = walk.found.get(cluster);
            let desired = match found.and_then(Found::failed).filter(|_| known.is_some()) {
                Some(reason) => {
                    left_because.get_or_insert_with(|| {
                        let ResourceKey { source, subject } = &walk.key;
                        format!("`cloudEventAction` fails for source `{source}`, subject `{subject}`: {reason}")
                    });
                    redesired(known, None, Unmatched::Keeps)
                }
                None => redesired(known, found.and_then(Found::desired), unmatched),
            };
            if let Some(desired) = desired {
                let (cluster, resource) = (cluster.into(), walk.key.clone());
                redecisions.push(Redecision { cluster, resource, desired, previous: None });
            }
        }
        redecisions
    }
}
