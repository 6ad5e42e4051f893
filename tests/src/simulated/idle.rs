//! An engine with nothing to do, for as long as is asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use lifeline_engine::intake::jetstream::Retention;
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::hazard::Counter;
use super::process::{SUBJECT, World};
use super::rules::Version;
use super::script::{Message, RESOURCES, Script};

const STREAM: &str = "EVENTS";

/// How long the engine may take until it has done what it was asked for.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Lets an engine carry out one event, and idle so long, beside servers without a fault. What it complained of, each
/// once; and how many records it wrote in that time.
///
/// # Panics
/// When the engine does not start, or gives up.
#[must_use]
pub fn idle(retention: Retention, time: Duration) -> (BTreeSet<String>, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime with nothing but a timer needs no resource");
    runtime.block_on(LocalSet::new().run_until(async {
        let script = Script { unkind_server: false, unkind_cluster: false, ..Script::of(0) };
        let world = World::new(&script, Counter::default());
        world.rules.send_replace(Version::First.rules());
        world.server.make_stream(STREAM, SUBJECT, retention, usize::MAX);
        let message = Message::new(1, RESOURCES[0], "login");
        world.server.publish(STREAM, SUBJECT, message.payload);
        let process = world.start().expect("an empty disk");
        sleep(SETTLED_WITHIN).await;
        let began = process.engine.status();
        assert_eq!((began.not_ready(), began.open), (Vec::new(), 0), "it has not settled");
        let mut complaints = BTreeSet::new();
        let end = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < end {
            sleep(LOOK_EVERY).await;
            let status = process.engine.status();
            complaints.extend(status.not_ready());
            complaints.extend(status.warnings.into_iter().filter(|warning| !began.warnings.contains(warning)));
        }
        let written = process.engine.status().recorded - began.recorded;
        process.stop().await.expect("it stops in good order");
        (complaints, written)
    }))
}
