//! Watching a local cluster: what is there, then each change as it is made.
//!
//! Start at [`watch`]. A watcher that is too slow to take all changes gets a list again, as from an API server.

use std::collections::VecDeque;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::broadcast::{self, Receiver, Sender, error::RecvError};

use super::Kept;
use super::state::{Change, Record, State};
use crate::cluster::{Error, Kind, Label, LiveObject, ObjectKey, Seen};

/// Changes that wait for a slow watcher at most.
const CHANGES_MAX: usize = 1_024;

/// An object, and whether it is gone.
type Changed = (ObjectKey, LiveObject, bool);

/// Hands changes to those who watch.
pub(super) struct News(Sender<Changed>);

impl Default for News {
    fn default() -> News {
        News(broadcast::channel(CHANGES_MAX).0)
    }
}

impl News {
    /// Notes a change that is about to become true.
    pub(super) fn note(&self, state: &State, change: &Change) {
        if self.0.receiver_count() == 0 {
            return;
        }
        let changed = match change {
            Change::Put(record) => Some((record.key.clone(), record.live(), false)),
            Change::Remove(key) => state.get(key).map(|record| (record.key.clone(), record.live(), true)),
        };
        if let Some(changed) = changed {
            // Nobody may listen any more.
            let _ = self.0.send(changed);
        }
    }
}

/// As [`crate::cluster::Cluster::watch`].
pub(super) fn watch(kept: &Mutex<Kept>, kind: Kind, label: Label) -> BoxStream<'_, Result<Seen, Error>> {
    let begin = (kind, VecDeque::new(), None::<Receiver<Changed>>);
    let said = stream::unfold(begin, move |(kind, mut waiting, mut changes)| async move {
        loop {
            if let Some(seen) = waiting.pop_front() {
                return Some((Ok(seen), (kind, waiting, changes)));
            }
            let Some(receiver) = &mut changes else {
                let kept = kept.lock();
                changes = Some(kept.news.0.subscribe());
                waiting.push_back(Seen::Listing);
                let there = kept.state.records().filter(|record| is_of(&kind, &record.key)).map(Record::live_as_keyed);
                waiting.extend(there.filter(|(_, live)| has(label, live)).map(|(key, live)| Seen::Is(key, live)));
                waiting.push_back(Seen::Listed);
                continue;
            };
            match receiver.recv().await {
                Ok((key, live, is_gone)) if is_of(&kind, &key) => {
                    // One without the label was never seen, or has just lost it.
                    let is_gone = is_gone || !has(label, &live);
                    waiting.push_back(if is_gone { Seen::Gone(key, live) } else { Seen::Is(key, live) });
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_) | RecvError::Closed) => changes = None,
            }
        }
    });
    said.boxed()
}

fn is_of(kind: &Kind, key: &ObjectKey) -> bool {
    *kind == Kind::of(key)
}

fn has(label: Label, live: &LiveObject) -> bool {
    let labels = live.manifest.pointer("/metadata/labels").and_then(Value::as_object);
    labels.is_some_and(|labels| labels.contains_key(label.0))
}
