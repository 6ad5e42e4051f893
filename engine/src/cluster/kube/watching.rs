//! Watching the objects of a kind: a list, then each change, metadata alone wherever that is enough.
//!
//! Start at `KubeCluster::watch_kind`. Never here: pauses after errors; nothing is asked for that the caller does not ask for.

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use serde::Serialize;
use serde_json::Value;

use super::{KubeCluster, answer};
use crate::cluster::{Error, Kind, Label, LiveObject, ObjectKey, Seen};

/// Objects in one answer to a list: 10,000 objects are twenty requests.
const PAGE_OBJECTS: u32 = 500;

type Events = BoxStream<'static, watcher::Result<Event<Value>>>;

impl KubeCluster {
    /// As [`crate::cluster::Cluster::watch`].
    pub(super) fn watch_kind(&self, kind: Kind, label: Label) -> BoxStream<'_, Result<Seen, Error>> {
        let said = stream::unfold((kind, None::<Events>), move |(kind, mut events)| async move {
            let said = self.next_event(&kind, label, &mut events).await;
            Some((said, (kind, events)))
        });
        said.boxed()
    }

    async fn next_event(&self, kind: &Kind, label: Label, events: &mut Option<Events>) -> Result<Seen, Error> {
        loop {
            let watching = match events {
                Some(events) => events,
                None => events.insert(self.begin(kind, label).await?),
            };
            match watching.next().await {
                Some(Ok(event)) => return seen(kind, event),
                Some(Err(error)) => {
                    let refused = status_of(&error);
                    // The library would go on from where it was. That may be too old; and after an outage it may be a state
                    // that was lost when the server was restored from a copy, for which a watch waits in silence.
                    *events = None;
                    match refused {
                        // The watch was too old and begins again.
                        Some((410, _)) => {}
                        Some((404, _)) => {
                            self.served.lock().forget_group(&kind.group);
                            return Err(unknown(kind));
                        }
                        refused => return Err(self.cut(kind, refused, error)),
                    }
                }
                None => *events = None,
            }
        }
    }

    async fn begin(&self, kind: &Kind, label: Label) -> Result<Events, Error> {
        let (key, served) = self.served_in_any_version(&any_of(kind)).await?;
        let api_version = key.api_version();
        let [group, version, kind_name] = [key.group, key.version, key.kind].map(Into::into);
        let resource = ApiResource { group, version, api_version, kind: kind_name, plural: served.plural };
        let config = watcher::Config::default().labels(label.0).page_size(PAGE_OBJECTS);
        let client = self.client.clone();
        Ok(if kind.can_finish() {
            watcher::watcher(Api::<DynamicObject>::all_with(client, &resource), config)
                .map(|event| event.map(as_json))
                .boxed()
        } else {
            watcher::watcher(Api::<PartialObjectMeta<DynamicObject>>::all_with(client, &resource), config)
                .map(|event| event.map(as_json))
                .boxed()
        })
    }

    /// Why a watch was cut.
    fn cut(&self, kind: &Kind, refused: Option<(u16, String)>, error: watcher::Error) -> Error {
        match refused {
            Some((401, message)) => Error::Unauthorized { message },
            Some((403, message)) => Error::Forbidden { message },
            Some((_, message)) => Error::Unavailable { message, retry_after: None, source: None },
            None => {
                let message = format!("{} cannot be watched at {}", kind.short(), self.name);
                Error::Unavailable { message, retry_after: None, source: Some(Box::new(error)) }
            }
        }
    }
}

/// Some object of the kind, for what is asked of kinds by object.
fn any_of(kind: &Kind) -> ObjectKey {
    let Kind { group, version, kind } = kind;
    ObjectKey {
        group: group.as_str().into(),
        version: version.as_str().into(),
        kind: kind.as_str().into(),
        namespace: None,
        name: "any".into(),
    }
}

fn unknown(kind: &Kind) -> Error {
    Error::UnknownKind { api_version: any_of(kind).api_version(), kind: kind.kind.clone() }
}

/// The code and the message of an answer that refuses.
fn status_of(error: &watcher::Error) -> Option<(u16, String)> {
    let status = match error {
        watcher::Error::WatchError(status)
        | watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status,
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => return None,
    };
    Some((status.code, status.message.clone()))
}

fn as_json(event: Event<impl Serialize>) -> Event<Value> {
    let json = |object| serde_json::to_value(object).unwrap_or_default();
    match event {
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(json(object)),
        Event::InitDone => Event::InitDone,
        Event::Apply(object) => Event::Apply(json(object)),
        Event::Delete(object) => Event::Delete(json(object)),
    }
}

fn seen(kind: &Kind, event: Event<Value>) -> Result<Seen, Error> {
    Ok(match event {
        Event::Init => Seen::Listing,
        Event::InitDone => Seen::Listed,
        Event::InitApply(object) | Event::Apply(object) => {
            let (key, live) = named(kind, object)?;
            Seen::Is(key, live)
        }
        Event::Delete(object) => {
            let (key, live) = named(kind, object)?;
            Seen::Gone(key, live)
        }
    })
}

fn named(kind: &Kind, object: Value) -> Result<(ObjectKey, LiveObject), Error> {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let namespace = Some(text("namespace")).filter(|namespace| !namespace.is_empty()).map(Into::into);
    let key = ObjectKey { namespace, name: text("name").into(), ..any_of(kind) };
    Ok((key, answer::object(object)?))
}
