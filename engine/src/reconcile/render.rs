//! From a lifecycle's event to the manifests that shall exist.
//!
//! Start at [`render`]. Reads one record of the log, asks the trigger in force for its manifests, and marks them. Never
//! here: the cluster.

use std::sync::Arc;

use lifeline_projections::event::CloudEvent;
use lifeline_projections::fact::{EventReceived, Fact, LifecycleKey, ResourceKey};
use lifeline_store::{Disk, Offset, Reader};
use serde_json::Value;

use crate::error_text::chain;
use crate::lists;
use crate::reconcile::failure::{Failure, Retry};
use crate::reconcile::marks::{self, Marks};
use crate::rules::{Handling, Rendered, Trigger};
use crate::template::Plain;
use crate::view::View;

/// Bytes of an object that is a list, at most: etcd takes no more.
const OBJECT_BYTES_MAX: usize = 1_536 << 10;

/// A manifest, marked as its lifecycle's.
#[derive(Debug, Clone, PartialEq)]
pub struct MarkedManifest {
    /// The manifest.
    pub manifest: Arc<Value>,
    /// Its scalars whose types only the cluster knows.
    pub plain: Vec<Plain>,
    /// Checksum of the manifest as it was rendered, whatever types the cluster knows: [`marks::checksum`]. A replay gives
    /// the same.
    pub digest: u64,
    /// Which document and key of it gave the manifest, for messages.
    pub origin: String,
    /// What may be done for it beside applying it.
    pub handling: Handling,
}

/// The manifests that the record at an offset asks for, marked as applied by an instance of Lifeline: an event, or of a list that
/// its keys were recorded.
///
/// # Errors
/// When a record cannot be read, a template fails, or a list is too large.
pub fn render<D: Disk>(
    view: &View<D>,
    trigger: &Trigger,
    key: &LifecycleKey,
    instance: &str,
    record: Offset,
) -> Result<Vec<MarkedManifest>, Failure> {
    match key.resource.is_list() {
        true => render_list(view, trigger, key, instance, record),
        false => render_event(&view.log(), trigger, key, instance, record),
    }
}

fn render_event<D: Disk>(
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
    Ok(marked(rendered, key, instance, event))
}

/// The manifests of a list whose keys were recorded at `gathered`.
fn render_list<D: Disk>(
    view: &View<D>,
    trigger: &Trigger,
    key: &LifecycleKey,
    instance: &str,
    gathered: Offset,
) -> Result<Vec<MarkedManifest>, Failure> {
    let log = view.log();
    let unreadable = |reason: String| lists_failed(&lists::Error::Unreadable { event: gathered, reason });
    let recorded = log.read(gathered).map_err(|error| unreadable(chain(&error)))?;
    let recorded = recorded.ok_or_else(|| unreadable("the log no longer holds it".to_owned()))?;
    let keys = lists::keys(view, &key.trigger, &key.cluster);
    render_keys(&log, trigger, key, instance, (gathered, recorded.time_unix_nanos), keys)
}

fn lists_failed(error: &lists::Error) -> Failure {
    let retry = if matches!(error, lists::Error::Unreadable { .. }) { Retry::Slowly } else { Retry::Never };
    Failure { message: chain(error), retry }
}

/// The manifests of a list of these keys, which were recorded at an offset and a time.
///
/// # Errors
/// As [`render`].
pub fn render_keys<D: Disk>(
    log: &Reader<D>,
    trigger: &Trigger,
    key: &LifecycleKey,
    instance: &str,
    (gathered, time_unix_nanos): (Offset, u64),
    keys: Vec<(ResourceKey, Offset)>,
) -> Result<Vec<MarkedManifest>, Failure> {
    let events = lists::events(log, &key.trigger, keys).map_err(|error| lists_failed(&error))?;
    let rendered = trigger
        .list(events, &key.cluster, time_unix_nanos)
        .map_err(|error| Failure { message: chain(&error), retry: Retry::Never })?;
    let marked = marked(rendered, key, instance, gathered);
    let large = marked.iter().find_map(|one| {
        let bytes = one.manifest.to_string().len();
        (bytes > OBJECT_BYTES_MAX).then(|| too_large(&key.trigger, one, bytes))
    });
    large.map_or(Ok(marked), Err)
}

fn too_large(trigger: &str, one: &MarkedManifest, bytes: usize) -> Failure {
    let text = |field: &str| one.manifest.pointer(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, name, origin) = (text("/kind"), text("/metadata/name"), &one.origin);
    let message = format!(
        "the list of `{trigger}` gives {kind} `{name}` with `{bytes}` bytes ({origin}), expected at most {OBJECT_BYTES_MAX}: \
         Kubernetes takes no larger object\nhint: {}",
        lists::FEWER
    );
    Failure { message, retry: Retry::Never }
}

/// Manifests, marked as those of a lifecycle, made from the event at an offset.
#[must_use]
pub fn marked(rendered: Vec<Rendered>, key: &LifecycleKey, instance: &str, event: Offset) -> Vec<MarkedManifest> {
    let stamp = Marks { key, instance, event };
    let marked = rendered.into_iter().map(|one| {
        let origin = format!("{}, key `{}`", one.from, one.key);
        let mut manifest = one.manifest;
        stamp.mark(&mut manifest);
        let digest = marks::checksum(&mut manifest);
        MarkedManifest { digest, manifest: Arc::new(manifest), plain: one.plain, origin, handling: one.handling }
    });
    marked.collect()
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
        render_event(&log.reader(), trigger, &key, "lifeline", Offset::ZERO)
    }

    #[test]
    fn an_object_that_no_api_server_takes_is_named_with_its_size() {
        let manifest = Arc::new(serde_json::json!({"kind": "ConfigMap", "metadata": {"name": "roster"}}));
        let origin = "ConfigMap default/t, key `a`".to_owned();
        let one = MarkedManifest { manifest, plain: Vec::new(), digest: 7, origin, handling: Handling::of_tier(1) };
        let Failure { message, retry } = too_large("users", &one, 2_000_000);
        assert_eq!(retry, Retry::Never);
        assert!(
            message.starts_with(
                "the list of `users` gives ConfigMap `roster` with `2000000` bytes (ConfigMap default/t, key `a`), expected at \
                 most 1572864: Kubernetes takes no larger object\nhint: "
            ),
            "{message}"
        );
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
