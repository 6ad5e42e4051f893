//! When objects may be deleted: only as the rules in force decide, and although a trigger is broken by now.

use std::sync::Arc;

use lifeline_engine::cluster::local::LocalCluster;
use lifeline_engine::cluster::{LiveObject, ObjectKey};
use lifeline_engine::rules::{Clusters, Current, Manifests, RuleSet};
use lifeline_projections::fact::{Fact, Redecision, Redesired, ResourceKey, TriggerReplayed};
use lifeline_projections::lifecycle::Phase;
use lifeline_store::SimulatedDisk;

use crate::world::{SOURCE, START_UNIX_NANOS, TRIGGER, World, open, play, play_on, rules, with_trigger};

#[tokio::test(start_paused = true)]
async fn half_a_replay_of_rules_that_were_taken_back_deletes_nothing() {
    let disk = SimulatedDisk::new(7);
    let cluster = Arc::new(LocalCluster::in_memory(7, Arc::new(|| jiff::Timestamp::UNIX_EPOCH)));
    let mut previous = None;
    play_on(&disk, cluster.clone(), with_trigger("WithdrawPolicies"), async |world| {
        world.happens(1, "login", "zoe").await;
        world.happens(2, "login", "ann").await;
        world.happens(3, "logout", "ann").await;
        previous = world.view.read(|projection| projection.last_record("auth", "zoe"));
    })
    .await;
    let made = cluster.list();
    assert_eq!(made.len(), 1);
    // Under other rules nobody is wanted. The engine ended between two records of their replay.
    let redecision = Redecision {
        cluster: "mgmt/mgmt".into(),
        resource: ResourceKey { source: "auth".into(), subject: "zoe".into() },
        desired: Redesired::Absent { event: None },
        previous,
    };
    let redecisions = vec![redecision];
    let half = TriggerReplayed {
        trigger: "manage".into(),
        digest: Some(7),
        leaves: false,
        complete: false,
        redecisions,
        allowance: None,
    };
    let (mut log, _) = open(&disk).expect("a sound disk");
    let mut record = Vec::new();
    Fact::Replay(half).encode(&mut record);
    log.append(START_UNIX_NANOS, &record).expect("room");
    log.sync().expect("a disk that is well");
    drop(log);
    play_on(&disk, cluster.clone(), Current::default(), async |world| {
        world.settles().await;
        assert_eq!(world.phases(), [(Phase::Deleting, 1), (Phase::Gone, 1)]);
        assert_eq!(cluster.list(), made, "no rules are read yet");
        world.rules.send_replace(with_trigger("WithdrawPolicies"));
        world.settles().await;
        assert_eq!(world.phases(), [(Phase::Ready, 1), (Phase::Gone, 1)]);
    })
    .await;
    let uids =
        |objects: &[(ObjectKey, LiveObject)]| objects.iter().map(|(_, live)| live.uid.clone()).collect::<Vec<_>>();
    assert_eq!(uids(&cluster.list()), uids(&made), "nothing was made again");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_goes_on_although_its_trigger_is_broken_by_now() {
    play(with_trigger("WithdrawPolicies"), async |world| {
        world.happens(1, "login", "zoe").await;
        world.hold("zoe", true).await;
        world.happens(2, "logout", "zoe").await;
        let text = format!("{SOURCE}{}", TRIGGER.replace("{{end}}", ""));
        let broken = RuleSet::new(Manifests::read("rules.yaml", &text), Clusters::default());
        assert!(broken.trigger("manage").is_none(), "it is out of force");
        world.rules.send_replace(Current { rules: Some(Arc::new(broken)), troubles: Vec::new() });
        world.settles().await;
        assert_eq!(world.phases(), [(Phase::Deleting, 1)]);
        world.hold("zoe", false).await;
        world.settles().await;
        assert_eq!(world.phases(), [(Phase::Gone, 1)]);
    })
    .await;
}

/// The trigger, whose only object cannot be rendered.
fn that_fails() -> Current {
    let without_a_name = TRIGGER.replace("BEHAVIOUR", "WithdrawPolicies").replace("{name: \"{{", "{generateName: \"{{");
    rules(&format!("{SOURCE}{without_a_name}"))
}

#[tokio::test(start_paused = true)]
async fn what_failed_before_it_made_anything_is_not_open_once_nothing_is_wanted() {
    let open = |world: &World| world.sites.open().len();
    play(that_fails(), async |world| {
        world.happens(1, "login", "zoe").await;
        world.happens(2, "login", "ann").await;
        assert_eq!((world.phases(), open(world)), (vec![(Phase::Failing, 2)], 2));
        world.happens(3, "logout", "zoe").await;
        assert_eq!((world.phases(), open(world)), (vec![(Phase::Failing, 1), (Phase::Gone, 1)], 1));
        world.rules.send_replace(rules(SOURCE));
        world.settles().await;
        assert_eq!((world.phases(), open(world)), (vec![(Phase::Gone, 2)], 0));
    })
    .await;
}
