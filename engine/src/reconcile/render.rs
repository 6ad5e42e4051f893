//! From a lifecycle's event to the manifests that shall exist.
//!
//! Start at [`render`]. Reads one record of the log, asks the trigger in force for its manifests, and marks them. Never
//! here: the cluster.

use std::sync::Arc;

use lifeline_projections::event::CloudEvent;
use lifeline_projections::fact::{EventReceived, Fact, LifecycleKey};
use lifeline_store::{Disk, Offset, Reader};
use serde_json::Value;

use crate::digest::digest;
use crate::error_text::chain;
use crate::reconcile::failure::{Failure, Retry};
use crate::reconcile::marks::Marks;
use crate::rules::{Handling, Trigger};

/// A manifest, marked as its lifecycle's.
#[derive(Debug, Clone, PartialEq)]
pub struct MarkedManifest {
    /// The manifest.
    pub manifest: Arc<Value>,
    /// Checksum of the manifest.
    pub digest: u64,
    /// Which document and key of it gave the manifest, for messages.
    pub origin: String,
    /// What may be done for it beside applying it.
    pub handling: Handling,
}

/// The manifests that `event` asks for, marked as applied by an instance of Lifeline.
///
/// # Errors
/// When the record cannot be read, or a template fails.
pub fn render<D: Disk>(
    log: &Reader<D>,
    trigger: &Trigger,
    key: &LifecycleKey,
    instance: &str,
    event: Offset,
) -> Result<Vec<MarkedManifest>, Failure> {
    let lost = |reason: String| Failure {
        message: format!("the event at offset {event} cannot be read: {reason}"),
        retry: Retry::Slowly,
    };
    let record = log.read(event).map_err(|error| lost(chain(&error)))?;
    let record = record.ok_or_else(|| lost("the log no longer holds it".to_owned()))?;
    let fact = Fact::decode(&record.payload).map_err(|error| lost(chain(&error)))?;
    let Fact::Event(EventReceived { headers, payload, .. }) = fact else {
        return Err(lost("it is no event".to_owned()));
    };
    // Attributes that are sound do not promise data that can be read. The same bytes give the same error, however often.
    let event_map = CloudEvent::to_map(&headers, payload)
        .map_err(|error| Failure { retry: Retry::Never, ..lost(error.to_string()) })?;
    let rendered = trigger
        .manifests(&event_map, &key.cluster, record.time_unix_nanos)
        .map_err(|error| Failure { message: chain(&error), retry: Retry::Never })?;
    let stamp = Marks { key, instance, event };
    let marked = rendered.into_iter().map(|one| {
        let origin = format!("{}, key `{}`", one.from, one.key);
        let mut manifest = one.manifest;
        stamp.mark(&mut manifest);
        MarkedManifest { digest: digest(&manifest), manifest: Arc::new(manifest), origin, handling: one.handling }
    });
    Ok(marked.collect())
}

#[cfg(test)]
mod tests {
    use lifeline_projections::fact::{Delivery, ResourceKey};
    use lifeline_store::{Log, Options, SimulatedDisk};

    use super::*;
    use crate::rules::{Clusters, Manifests, RuleSet};

    const RULES: &str = include_str!("../../tests/seed/1-user-login.yaml");

    /// What becomes of an event of `ada` that carries `data`.
    fn rendered(data: &str) -> Result<Vec<MarkedManifest>, Failure> {
        let payload = format!(
            r#"{{"specversion":"1.0","type":"login","source":"auth","id":"1","subject":"ada","datacontenttype":"application/json","data":{data}}}"#
        );
        let event = CloudEvent::parse(&[], payload.as_bytes()).expect("sound attributes");
        let delivery = Delivery {
            cluster: "mgmt/mgmt",
            stream: "USERS",
            epoch: 1,
            sequence: 1,
            published_unix_nanos: 1,
            subject: "users",
        };
        let fact = Fact::Event(EventReceived {
            delivery,
            source: &event.source,
            subject: &event.subject,
            kind: &event.kind,
            id: &event.id,
            previous: None,
            decisions: Vec::new(),
            headers: Vec::new(),
            payload: payload.as_bytes(),
            redriven: None,
            order: None,
        });
        let options = Options { low_space_bytes: 0, ..Options::default() };
        let (mut log, _) = Log::open(SimulatedDisk::new(1), options).unwrap();
        log.append_encoded(1, |buffer| fact.encode(buffer)).unwrap();
        log.sync().unwrap();
        let rules = RuleSet::new(Manifests::read("rules.yaml", RULES), Clusters::default());
        let resource = ResourceKey { source: "auth".into(), subject: "ada".into() };
        let key = LifecycleKey { trigger: "create-namespace".into(), cluster: "mgmt/mgmt".into(), resource };
        let trigger = rules.trigger(&key.trigger).expect("the trigger is in force");
        render(&log.reader(), trigger, &key, "lifeline", Offset::ZERO)
    }

    #[test]
    fn data_that_no_template_can_read_fails_once_and_for_all() {
        let nested = "[".repeat(200) + &"]".repeat(200);
        for data in ["1e999", nested.as_str()] {
            let failure = rendered(data).expect_err(data);
            assert_eq!(failure.retry, Retry::Never, "{failure:?}");
            assert!(failure.message.starts_with("the event at offset 0 cannot be read: "), "{failure:?}");
        }
        let manifests = rendered(r#"{"organization":"devops"}"#).unwrap();
        assert_eq!(manifests[0].manifest["metadata"]["name"], "ada");
    }
}
