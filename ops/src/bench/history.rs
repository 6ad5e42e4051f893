//! A long history, written as a recorder would have.
//!
//! Start at [`write_log`].

use std::error::Error;
use std::path::Path;

use lifeline_engine::clock::{Clock, SystemClock};
use lifeline_projections::fact::{
    AppliedObject, Decision, Delivery, EventReceived, Fact, LifecycleKey, ObjectKey, Reconciled, ResourceKey, Ruling,
    What,
};
use lifeline_store::{Log, Offset, OsDisk, Random};

use super::intake::event_about;
use crate::data;

/// The NATS subject of all events.
pub(super) const SUBJECT: &str = "bench.events";

/// The CloudEvent source of all events.
pub(super) const SOURCE: &str = "auth.example.com";

/// Records appended between two syncs.
const GROUP: u64 = 20_000;

/// The CloudEvent subject of a resource.
pub(super) fn subject(resource: u64) -> String {
    format!("user-{resource:07}")
}

/// Writes the log as a recorder would have; how many records it took.
pub(super) fn write_log(data: &Path, events: u64, resources: u64, held: u64) -> Result<u64, Box<dyn Error>> {
    std::fs::create_dir_all(data)?;
    let (mut log, _) = Log::open(OsDisk::open(&data::log(data))?, data::log_options())?;
    let mut last: Vec<Option<Offset>> = vec![None; usize::try_from(resources)?];
    let mut random = Random::new(1);
    let began = SystemClock.now_unix_nanos();
    let mut bytes = Vec::new();
    let mut push = |fact: &Fact<'_>, log: &mut Log| {
        bytes.clear();
        fact.encode(&mut bytes);
        let offset = log.end();
        log.append(began + 1_000 * offset.get(), &bytes)?;
        if offset.get().is_multiple_of(GROUP) {
            log.sync()?;
        }
        Ok::<Offset, lifeline_store::Error>(offset)
    };
    for sequence in 1..=events {
        // Each resource comes up once before any comes up often.
        let resource = if sequence <= resources { sequence - 1 } else { random.below(resources) };
        let at = usize::try_from(resource)?;
        let (subject, id) = (subject(resource), sequence.to_string());
        let is_held = held > 0 && resource.is_multiple_of(held);
        let decision = Decision { trigger: "manage", event_source: "bench", criterion: 0, ruling: Ruling::Create };
        let payload = event_about(sequence, &subject);
        let fact = Fact::Event(EventReceived {
            delivery: Delivery {
                cluster: "mgmt/mgmt",
                stream: "ARCHIVE",
                epoch: 1,
                sequence,
                published_unix_nanos: began,
                subject: SUBJECT,
            },
            source: SOURCE,
            subject: &subject,
            kind: "auth.example.com.login",
            id: &id,
            previous: last[at],
            decisions: if is_held { vec![decision] } else { vec![] },
            headers: vec![],
            payload: &payload,
            redriven: None,
            order: None,
        });
        let offset = push(&fact, &mut log)?;
        let is_first = last[at].replace(offset).is_none();
        if is_held {
            // Applied once; what follows finds the cluster as it should be, and is settled as well.
            let uid = format!("{resource:08x}-0000-4000-8000-{resource:012x}");
            let object = ObjectKey {
                group: "".into(),
                version: "v1".into(),
                kind: "Namespace".into(),
                namespace: None,
                name: subject.as_str().into(),
            };
            let key = LifecycleKey {
                trigger: "manage".into(),
                cluster: "mgmt/mgmt".into(),
                resource: ResourceKey { source: SOURCE.into(), subject: subject.into() },
            };
            if is_first {
                let (key, objects) = (key.clone(), vec![object.clone()]);
                let intended = Fact::Reconciled(Reconciled {
                    key,
                    acted_for: offset,
                    previous: last[at],
                    what: What::Intended(objects),
                });
                last[at] = Some(push(&intended, &mut log)?);
            }
            let objects = vec![AppliedObject { object, uid, digest: 7, fields: 0 }];
            last[at] = Some(push(
                &Fact::Reconciled(Reconciled {
                    key,
                    acted_for: offset,
                    previous: last[at],
                    what: What::Applied(objects),
                }),
                &mut log,
            )?);
        }
    }
    log.sync()?;
    let written = log.end().get();
    log.close()?;
    Ok(written)
}
