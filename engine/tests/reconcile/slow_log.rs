//! A log that takes longer than the cluster does takes no workers from it.

use std::sync::Arc;
use std::time::Duration;

use lifeline_engine::cluster::local::LocalCluster;
use lifeline_projections::lifecycle::Phase;
use lifeline_store::SimulatedDisk;
use tokio::time::{Instant, sleep};

use crate::world::{APPLY, play_slowly, with_trigger};

/// As many as a site has.
const WORKERS: u64 = 64;

/// How long the log takes to write what waits.
const SYNC: Duration = Duration::from_millis(50);

#[tokio::test(start_paused = true)]
async fn while_the_log_is_slow_the_cluster_has_as_many_calls_as_there_are_workers() {
    const KEYS: u64 = 20 * WORKERS;
    let cluster = Arc::new(LocalCluster::in_memory(7, Arc::new(|| jiff::Timestamp::UNIX_EPOCH)));
    play_slowly(&SimulatedDisk::new(7), cluster, with_trigger("WithdrawPolicies"), SYNC, async |world| {
        world.all_log_in(KEYS).await;
        let began = Instant::now();
        while world.phases() != [(Phase::Ready, KEYS)] {
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", world.phases());
            sleep(Duration::from_millis(1)).await;
        }
        // Each lifecycle waits for the log twice, as long as for the cluster or longer.
        let bare = APPLY * u32::try_from(KEYS / WORKERS).expect("few");
        assert!(began.elapsed() < bare * 3 / 2, "{:?}, by itself the cluster takes {bare:?}", began.elapsed());
        assert_eq!(world.under_way.peak() as u64, WORKERS);
    })
    .await;
}
