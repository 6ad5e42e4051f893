//! Dry runs: they change nothing, say what they would do, and a mode that changes back carries out what was decided.

use std::sync::Arc;

use lifeline_engine::clock::SimulatedClock;
use lifeline_engine::cluster::{Cluster, ObjectKey};
use lifeline_engine::dry_runs::Action;
use lifeline_engine::queries::Queries;
use lifeline_engine::rules::{Clusters, Current, Manifests, RuleSet};
use lifeline_projections::lifecycle::Phase;

use crate::world::{SOURCE, START_UNIX_NANOS, TRIGGER, World, play, rules};

fn with_mode(mode: &str) -> Current {
    let mode = format!("  oneForEvent: true\n  syncMode: {mode}\n");
    let trigger = TRIGGER.replace("BEHAVIOUR", "WithdrawPolicies").replace("  oneForEvent: true\n", &mode);
    rules(&format!("{SOURCE}{trigger}"))
}

/// The trigger cannot be read for a moment.
fn broken() -> Current {
    let mode = "  oneForEvent: true\n  syncMode: Sometimes\n";
    let trigger = TRIGGER.replace("BEHAVIOUR", "WithdrawPolicies").replace("  oneForEvent: true\n", mode);
    let manifests = Manifests::read("rules.yaml", &format!("{SOURCE}{trigger}"));
    Current { rules: Some(Arc::new(RuleSet::new(manifests, Clusters::default()))), troubles: Vec::new() }
}

async fn is_there(world: &World, name: &str) -> bool {
    world.cluster.get(&ObjectKey::of_namespace(name)).await.expect("it answers").is_some()
}

/// What dry runs would do.
fn would(world: &World) -> Vec<(Action, String)> {
    let queries = Queries::new(world.view.clone(), Arc::new(SimulatedClock::starting_at(START_UNIX_NANOS)));
    queries.dry_runs().items.into_iter().map(|row| (row.action, row.object.name)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_logout_under_a_dry_run_deletes_nothing_until_the_mode_changes_back() {
    play(with_mode("Continuous"), async |world| {
        world.happens(1, "login", "zoe").await;
        world.rules.send_replace(with_mode("DryRun"));
        world.settles().await;
        assert_eq!(would(world), [], "it is as it would be made");
        world.happens(2, "logout", "zoe").await;
        assert!(is_there(world, "zoe").await);
        assert_eq!(would(world), [(Action::Delete, "zoe".to_owned())]);
        world.happens(3, "login", "ann").await;
        assert!(!is_there(world, "ann").await);
        let mut both = would(world);
        both.sort();
        assert_eq!(both, [(Action::Create, "ann".to_owned()), (Action::Delete, "zoe".to_owned())]);
        world.rules.send_replace(with_mode("Continuous"));
        world.settles().await;
        assert!(is_there(world, "ann").await && !is_there(world, "zoe").await);
        assert_eq!(would(world), []);
        assert_eq!(world.phases(), [(Phase::Ready, 1), (Phase::Gone, 1)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_that_is_removed_deletes_nothing_whatever_was_decided_under_it() {
    play(with_mode("Continuous"), async |world| {
        world.happens(1, "login", "zoe").await;
        world.happens(2, "login", "ann").await;
        world.rules.send_replace(with_mode("DryRun"));
        world.settles().await;
        world.happens(3, "logout", "zoe").await;
        world.rules.send_replace(rules(SOURCE));
        world.settles().await;
        assert!(is_there(world, "zoe").await && is_there(world, "ann").await);
        assert_eq!(would(world), []);
        assert_eq!(world.phases(), [(Phase::Left, 2)], "no lifecycle is left open");
        // History decides once the trigger is back: the one was logged out, the other was not.
        world.rules.send_replace(with_mode("Continuous"));
        world.settles().await;
        assert!(is_there(world, "ann").await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_that_is_broken_deletes_nothing() {
    play(with_mode("Continuous"), async |world| {
        world.happens(1, "login", "zoe").await;
        world.rules.send_replace(with_mode("DryRun"));
        world.settles().await;
        world.happens(2, "logout", "zoe").await;
        world.rules.send_replace(broken());
        world.settles().await;
        assert!(is_there(world, "zoe").await);
        world.rules.send_replace(with_mode("Continuous"));
        world.settles().await;
        assert!(!is_there(world, "zoe").await, "the mode changed back");
    })
    .await;
}
