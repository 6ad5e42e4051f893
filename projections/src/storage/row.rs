//! What is written down of a resource, in a row of the table and in a landmark.
//!
//! Start at [`encode`].

use std::sync::Arc;

use lifeline_store::Offset;
use serde::{Deserialize, Serialize};

use super::compact::{Compact, CompactLifecycle, Core, Pair, Shared};
use super::packed;
use crate::resource::Resource;

/// One resource as it is written down. A name that the resource written before it has too is left out.
#[derive(Serialize, Deserialize)]
struct Row<'r> {
    source: Option<&'r str>,
    subject: &'r str,
    kind: Option<&'r str>,
    events: u64,
    first_event: Offset,
    last_event: Offset,
    newest_event: Offset,
    newest_unix_nanos: u64,
    last_event_unix_nanos: u64,
    last_record: Offset,
    records: u32,
    #[serde(borrow)]
    lifecycles: Vec<LifecycleRow<'r>>,
}

/// One lifecycle as it is written down.
#[derive(Serialize, Deserialize)]
struct LifecycleRow<'r> {
    /// Trigger and cluster; left out where they are those of the first lifecycle of the resource before.
    #[serde(borrow)]
    pair: Option<(&'r str, &'r str)>,
    core: Core,
    rest: &'r [u8],
}

/// Appends what is written down of a resource, after the resource `before`.
pub(super) fn encode(shared: &Shared, before: Option<&Compact>, compact: &Compact, out: &mut Vec<u8>) {
    let pair_before = before.and_then(first_pair);
    let lifecycles = compact.resource.lifecycles.iter().map(|CompactLifecycle { pair, core, rest }| {
        let (trigger, cluster) = shared.of(*pair);
        LifecycleRow {
            pair: (pair_before != Some(*pair)).then_some((trigger, cluster)),
            core: *core,
            rest: rest.as_deref().unwrap_or_default(),
        }
    });
    let Resource { events, first_event, last_event, last_event_unix_nanos, last_record, records, .. } =
        compact.resource;
    let Resource { newest_event, newest_unix_nanos, .. } = compact.resource;
    let (source, kind) = (&*compact.source, &*compact.resource.last_event_kind);
    let row = Row {
        source: before.is_none_or(|before| *before.source != *source).then_some(source),
        subject: &compact.subject,
        kind: before.is_none_or(|before| *before.resource.last_event_kind != *kind).then_some(kind),
        events,
        first_event,
        last_event,
        newest_event,
        newest_unix_nanos,
        last_event_unix_nanos,
        last_record,
        records,
        lifecycles: lifecycles.collect(),
    };
    bincode::serde::encode_into_std_write(&row, out, bincode::config::standard())
        .expect("a row holds only what bincode can write, and a Vec takes all of it");
}

/// Reads what [`encode`] wrote after the same resource, and how many bytes that took; `None` for anything else.
pub(super) fn decode(shared: &mut Shared, before: Option<&Compact>, bytes: &[u8]) -> Option<(Compact, usize)> {
    let config = bincode::config::standard().with_limit::<{ packed::BYTES_MAX }>();
    let (row, read): (Row<'_>, usize) = bincode::serde::borrow_decode_from_slice(bytes, config).ok()?;
    let mut name = |name: Option<&str>, before: Option<&Arc<str>>| match name {
        Some(name) => Some(shared.name(name)),
        None => before.cloned(),
    };
    let source = name(row.source, before.map(|before| &before.source))?;
    let last_event_kind = name(row.kind, before.map(|before| &before.resource.last_event_kind))?;
    let pair_before = before.and_then(first_pair);
    let mut lifecycles = Vec::with_capacity(row.lifecycles.len());
    for LifecycleRow { pair, core, rest } in row.lifecycles {
        let pair = match pair {
            Some((trigger, cluster)) => shared.pair(trigger, cluster),
            None => pair_before?,
        };
        let rest = (!rest.is_empty()).then_some(rest);
        // Looked into now, so that what is taken in can be trusted for as long as the process lives.
        if !rest.is_none_or(packed::is_sound) {
            return None;
        }
        lifecycles.push(CompactLifecycle { pair, core, rest: rest.map(Box::from) });
    }
    let Row { subject, events, first_event, last_event, last_event_unix_nanos, last_record, records, .. } = row;
    let Row { newest_event, newest_unix_nanos, .. } = row;
    let resource = Resource {
        events,
        first_event,
        last_event,
        newest_event,
        newest_unix_nanos,
        last_event_unix_nanos,
        last_event_kind,
        last_record,
        records,
        lifecycles,
    };
    Some((Compact { source, subject: subject.into(), resource }, read))
}

fn first_pair(compact: &Compact) -> Option<Pair> {
    compact.resource.lifecycles.first().map(|lifecycle| lifecycle.pair)
}
