//! The status of a stopped engine, as far as its folder shows it.

use lifeline_engine::status::{Status, StreamStatus};
use lifeline_engine::waits::{self, ByIntent};
use lifeline_projections::fold::{Projection, StreamPosition};
use lifeline_store::{Disk, Reader};

/// The status that a folder gives.
pub fn status<D: Disk>(projection: &Projection, log: &Reader<D>) -> Status {
    let phases = projection.phases().map(|(phase, count)| (phase.as_str().to_owned(), count));
    let intent = ByIntent::recorded(log, projection.ground(), &waits::triggers_with_work(projection), &[]);
    let (mut open, mut waiting) = (Vec::new(), Vec::new());
    for index in projection.needing_work() {
        let (_, lifecycle) = projection.lifecycle(index);
        match intent.why(&lifecycle) {
            Some(why) => waiting.push((lifecycle.trigger.to_string(), why)),
            None => open.push(lifecycle.decided.get()),
        }
    }
    let ground = projection.ground();
    let stream = |((cluster, stream), position): (&(String, String), &StreamPosition)| StreamStatus {
        cluster: cluster.clone(),
        stream: stream.clone(),
        epoch: position.epoch,
        next_sequence: position.next_sequence,
        received: position.received,
        rejected: position.rejected,
        missing: position.missing,
        missing_up_to: ground.holes_of(cluster, stream).up_to,
        ..StreamStatus::default()
    };
    Status {
        recorded: log.end().get(),
        folded: projection.watermark().get(),
        reconciled: open.iter().copied().min().unwrap_or(projection.watermark().get()),
        intake: Some("the engine is not running".to_owned()),
        triggers: ground.rules.keys().filter(|rule| rule.starts_with("EventTrigger/")).count(),
        streams: ground.streams.iter().map(stream).collect(),
        resources: projection.len(),
        phases: phases.collect(),
        open: open.len(),
        waiting: waits::count(waiting),
        ..Status::default()
    }
}
