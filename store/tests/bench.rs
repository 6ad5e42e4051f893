//! The bench stays runnable and its figures stay figures; how good they are is not this test's business.

mod folder;

use folder::Folder;
use lifeline_store::bench::{Settings, run};

#[test]
fn small_bench_gives_every_figure() {
    let folder = Folder::new("bench");
    let settings = Settings {
        payload_bytes: 64 << 10,
        batch_records: 100,
        batches: 15,
        rounds: 1,
        single_appends: 20,
        open_bytes: 5_000_000,
    };
    let mut steps = 0;
    let figures = run(folder.path(), &settings, &mut |_| steps += 1).expect("a run");
    assert!(steps > 3);
    for ratio in [figures.append_ratio, figures.scan_ratio, figures.single_append_p99_ratio] {
        assert!(ratio.is_finite() && ratio > 0.0, "{figures:?}");
    }
    assert!(figures.open_bytes >= 5_000_000 && !figures.open_after_kill.is_zero(), "{figures:?}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0, "it cleans up");
}
