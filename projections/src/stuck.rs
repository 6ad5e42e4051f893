//! The lifecycles that wait: what an operator looks at first.
//!
//! Start at [`stuck`]. Those that fail come first, then those that wait, the longest first. Never here: a clock; the
//! caller hands in the time.

use std::time::Duration;

use crate::fold::{LifecycleIndex, Projection};
use crate::lifecycle::{Lifecycle, Phase};
use crate::reads::{Error, LifecycleRow, List, PAGE_ROWS, Page, decode_cursor, encode_cursor, lifecycle_row};

/// The name of this list in cursors.
const STUCK: &str = "stuck";

/// What the list is sorted by; two that were decided by one record are in the order of their keys.
type Rank<'a> = (Urgency, u64, &'a str, &'a str, &'a str, &'a str);
/// The same, kept in a cursor.
type Cursor = (Urgency, u64, String, String, String, String);

/// 0 for what fails, 1 for what waits.
type Urgency = u8;

/// The lifecycles whose last attempt failed, and those whose decision waits for `longer_than` at least to be carried out.
///
/// `now_unix_nanos` is when they are asked for; `None` for the time of the last record in the state. The order does not
/// depend on it, so a cursor stays right while time passes. One for which `waits_by_intent` holds is not stuck.
///
/// # Errors
/// When the cursor is none of this list's.
pub fn stuck(
    projection: &Projection,
    now_unix_nanos: Option<u64>,
    longer_than: Duration,
    waits_by_intent: impl Fn(&Lifecycle) -> bool,
    page: &Page,
) -> Result<List<LifecycleRow>, Error> {
    let after: Option<Cursor> = decode_cursor(STUCK, page)?;
    let after = after.as_ref().map(|(urgency, decided, source, subject, trigger, cluster)| -> Rank<'_> {
        (*urgency, *decided, source, subject, trigger, cluster)
    });
    let now = now_unix_nanos.unwrap_or(projection.ground().folded_unix_nanos);
    let patience = u64::try_from(longer_than.as_nanos()).unwrap_or(u64::MAX);
    let is_stuck = |lifecycle: &Lifecycle| {
        let waits_long = now.saturating_sub(lifecycle.decided_unix_nanos) >= patience;
        lifecycle.phase() == Phase::Failing || (waits_long && !waits_by_intent(lifecycle))
    };
    let limit = page.limit.unwrap_or(PAGE_ROWS).max(1);
    // Candidates come in any order: the most urgent so far are kept, and one more, which says that more follow.
    let room = limit.saturating_add(1);
    let mut best: Vec<(Cursor, LifecycleIndex)> = Vec::new();
    for index in projection.needing_work() {
        let (key, lifecycle) = projection.lifecycle(index);
        let (urgency, decided) = (urgency(&lifecycle), lifecycle.decided.get());
        let rank: Rank<'_> = (urgency, decided, &key.source, &key.subject, &lifecycle.trigger, &lifecycle.cluster);
        if !is_stuck(&lifecycle) || after.is_some_and(|after| rank <= after) {
            continue;
        }
        let [source, subject] = [&key.source, &key.subject].map(ToString::to_string);
        let [trigger, cluster] = [&lifecycle.trigger, &lifecycle.cluster].map(ToString::to_string);
        best.push(((urgency, decided, source, subject, trigger, cluster), index));
        if best.len() >= room.saturating_mul(2) {
            best.sort_unstable();
            best.truncate(room);
        }
    }
    best.sort_unstable();
    let more = best.len() > limit;
    best.truncate(limit);
    let items: Vec<LifecycleRow> = best
        .iter()
        .map(|(_, index)| {
            let (key, lifecycle) = projection.lifecycle(*index);
            let resource = projection.resource(&key.source, &key.subject).expect("a lifecycle is a resource's");
            lifecycle_row(&key, &resource, &lifecycle)
        })
        .collect();
    let next = best.last().filter(|_| more).map(|(rank, _)| encode_cursor(STUCK, rank));
    Ok(List { offset: projection.watermark().get(), items, next })
}

fn urgency(lifecycle: &Lifecycle) -> Urgency {
    Urgency::from(lifecycle.phase() != Phase::Failing)
}
