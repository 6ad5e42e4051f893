//! Whose an object is: what a lifecycle never owned it lets go of, and what one left goes to the first who claims it.

use std::time::Duration;

use lifeline_engine::cluster::Cluster;
use lifeline_engine::rules::Current;
use lifeline_projections::fact::{Fact, Reconciled, What};
use lifeline_projections::lifecycle::Phase;
use serde_json::json;
use tokio::time::sleep;

use crate::world::{NOTE, SOURCE, TRIGGER, play, rules, with_trigger};

#[tokio::test(start_paused = true)]
async fn what_a_lifecycle_never_owned_is_let_go_not_deleted() {
    play(with_trigger("WithdrawPolicies"), async |world| {
        let theirs = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "theirs"}});
        let (theirs_key, live) = world.make(&theirs).await;
        // `theirs` is a stranger's; `zoe` is made for the first and wanted by the second, whose name differs in case.
        let happens = [
            ("login", "theirs"),
            ("login", "zoe"),
            ("login", "ZOE"),
            ("logout", "ZOE"),
            ("logout", "theirs"),
            ("logout", "zoe"),
        ];
        for ((kind, subject), sequence) in happens.into_iter().zip(1..) {
            world.happens(sequence, kind, subject).await;
        }
        let log = world.view.log();
        let mut scan = log.scan(log.start());
        let mut told = Vec::new();
        while let Some(record) = scan.next().expect("a sound log") {
            match Fact::decode(record.payload).expect("a fact") {
                Fact::Reconciled(Reconciled { key, what: What::Deleted(objects), .. }) => {
                    told.push(("deleted", key.resource.subject, objects[0].short()))
                }
                Fact::Reconciled(Reconciled { key, what: What::Released(objects), .. }) => {
                    told.push(("released", key.resource.subject, objects[0].short()))
                }
                _ => {}
            }
        }
        let expected = [
            ("released", "ZOE".into(), "Namespace/zoe".to_owned()),
            ("released", "theirs".into(), "Namespace/theirs".to_owned()),
            ("deleted", "zoe".into(), "Namespace/zoe".to_owned()),
        ];
        assert_eq!(told, expected);
        let found = world.cluster.get(&theirs_key).await.expect("a cluster").expect("it was left alone");
        assert_eq!(found.uid, live.uid);
        assert_eq!(world.phases(), [(Phase::Gone, 3)], "each settles, and no claim is left");
        assert_eq!(world.view.read(|projection| projection.objects().count()), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_left_goes_to_the_first_who_claims_it_and_then_to_the_next() {
    play(with_trigger("LeavePolicies"), async |world| {
        let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "zoe"}});
        let object = world.cluster.resolve(&manifest).await.expect("a Namespace");
        let marked = async || {
            let live = world.cluster.get(&object).await.expect("a cluster")?;
            Some(live.manifest["metadata"]["annotations"]["lifeline.dev/subject"].as_str()?.to_owned())
        };
        // Known first, so that it claims first when both want the object.
        world.happens(1, "logout", "ZOE").await;
        world.happens(2, "login", "zoe").await;
        assert_eq!(marked().await.as_deref(), Some("zoe"));
        world.rules.send_replace(rules(SOURCE));
        world.happens(3, "login", "ZOE").await;
        assert_eq!(marked().await.as_deref(), Some("zoe"), "it is left");
        world.rules.send_replace(with_trigger("WithdrawPolicies"));
        world.settles().await;
        assert_eq!(marked().await.as_deref(), Some("ZOE"));
        assert_eq!(world.phases(), [(Phase::Failing, 1), (Phase::Ready, 1)]);
        world.happens(4, "logout", "ZOE").await;
        assert_eq!(marked().await.as_deref(), Some("zoe"), "the next one's turn");
        world.happens(5, "logout", "zoe").await;
        assert_eq!(marked().await, None);
        assert_eq!(world.phases(), [(Phase::Gone, 2)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_another_lifecycle_wants_changes_hands_in_place() {
    play(with_trigger("WithdrawPolicies"), async |world| {
        let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "zoe"}});
        let object = world.cluster.resolve(&manifest).await.expect("a Namespace");
        let live = async || world.cluster.get(&object).await.expect("a cluster");
        world.happens(1, "login", "zoe").await;
        world.happens(2, "login", "ZOE").await;
        let uid = live().await.expect("the first one made it").uid;
        world.happens(3, "logout", "zoe").await;
        let handed_over = live().await.expect("the other one wants it");
        assert_eq!(handed_over.uid, uid, "it was not made again");
        assert_eq!(handed_over.manifest["metadata"]["annotations"]["lifeline.dev/subject"], "ZOE");
        assert_eq!(world.phases(), [(Phase::Ready, 1), (Phase::Gone, 1)]);
        world.happens(4, "login", "zoe").await;
        world.happens(5, "logout", "zoe").await;
        assert_eq!(live().await.expect("who waited for it lets go of it").uid, uid);
        world.happens(6, "logout", "ZOE").await;
        assert_eq!(live().await, None);
        assert_eq!(world.phases(), [(Phase::Gone, 2)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_wanted_goes_though_another_object_belongs_to_others() {
    let with_note = || {
        let text = format!("{SOURCE}{}", TRIGGER.replace("BEHAVIOUR", "WithdrawPolicies"));
        rules(&(text.trim_end().to_owned() + NOTE))
    };
    play(with_note(), async |world| {
        let foreign = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "theirs"}});
        world.make(&foreign).await;
        // The second one waits for the first one's Namespace, the third one's exists and is nobody's.
        world.happens(1, "login", "zoe").await;
        world.happens(2, "login", "ZOE").await;
        world.happens(3, "login", "theirs").await;
        let notes = || world.cluster.list().iter().filter(|(object, _)| object.kind == "ConfigMap").count();
        assert_eq!(notes(), 3);
        world.rules.send_replace(with_trigger("WithdrawPolicies"));
        world.settles().await;
        assert_eq!(notes(), 0, "no rule gives a note any more");
        assert_eq!(world.phases(), [(Phase::Failing, 2), (Phase::Ready, 1)]);
    })
    .await;
}

/// A label that no API server takes, for the subject in capitals alone.
fn with_bad_label() -> Current {
    let text = format!("{SOURCE}{}", TRIGGER.replace("BEHAVIOUR", "WithdrawPolicies"));
    let name = r#"metadata: {name: "{{ .CloudEvent.subject | lower }}""#;
    let label = r#", labels: {"of": "{{ if eq .CloudEvent.subject "ZOE" }}not a label{{ else }}good{{ end }}"}"#;
    rules(&text.replace(name, &format!("{name}{label}")))
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_never_made_goes_to_the_next_who_wants_it() {
    // The one that is refused comes first, or last.
    for [first, second] in [["ZOE", "zoe"], ["zoe", "ZOE"]] {
        play(with_bad_label(), async |world| {
            let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "zoe"}});
            let object = world.cluster.resolve(&manifest).await.expect("a Namespace");
            world.happens(1, "login", first).await;
            world.happens(2, "login", second).await;
            let live = world.cluster.get(&object).await.expect("a cluster").expect("one of them can make it");
            assert_eq!(live.manifest["metadata"]["annotations"]["lifeline.dev/subject"], "zoe");
            assert_eq!(world.phases(), [(Phase::Failing, 1), (Phase::Ready, 1)], "{first}");
            // It is the other one's to delete.
            world.happens(3, "logout", "ZOE").await;
            let still = world.cluster.get(&object).await.expect("a cluster").expect("it is wanted");
            assert_eq!(still.uid, live.uid);
            world.happens(4, "logout", "zoe").await;
            assert_eq!(world.cluster.get(&object).await.expect("a cluster"), None);
            assert_eq!(world.phases(), [(Phase::Gone, 2)]);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_renamed_trigger_made_is_waited_for_without_a_failure() {
    play(two_triggers("p", None), async |world| {
        for (sequence, subject) in (1..).zip(["ann", "bob", "cid"]) {
            world.happens(sequence, "login", subject).await;
        }
        let text = TRIGGER.replace("BEHAVIOUR", "WithdrawPolicies").replace("name: manage", "name: renamed");
        let text = text.replace("{{ .CloudEvent.subject | lower }}", "p-{{ .CloudEvent.subject }}");
        world.rules.send_replace(rules(&format!("{SOURCE}{text}")));
        world.settles().await;
        assert_eq!(world.phases(), [(Phase::Ready, 3), (Phase::Gone, 3)]);
        let log = world.view.log();
        let mut scan = log.scan(log.start());
        while let Some(record) = scan.next().expect("a sound log") {
            let fact = Fact::decode(record.payload).expect("a fact");
            assert!(!matches!(fact, Fact::Reconciled(Reconciled { what: What::Failed(_), .. })), "{fact:?}");
        }
    })
    .await;
}

/// Two triggers, each with one object for every resource: their names begin with these.
fn two_triggers(one: &str, other: Option<&str>) -> Current {
    let trigger = |name: &str, begins: &str| {
        let text = TRIGGER.replace("BEHAVIOUR", "WithdrawPolicies").replace("name: manage", &format!("name: {name}"));
        let text = text.replace("{name: namespace,", &format!("{{name: {name},"));
        text.replace("{{ .CloudEvent.subject | lower }}", &format!("{begins}-{{{{ .CloudEvent.subject }}}}"))
    };
    let other = other.map(|begins| trigger("other", begins)).unwrap_or_default();
    rules(&format!("{SOURCE}{}{other}", trigger("one", one)))
}

#[tokio::test(start_paused = true)]
async fn two_lifecycles_that_hold_what_the_other_one_wants_do_not_wait_for_each_other() {
    // How far the first takeover has come when the names are swapped.
    for millis in (0..400).step_by(10) {
        play(two_triggers("p", None), async |world| {
            for (subject, sequence) in ["ann", "bob", "cid"].into_iter().zip(1..) {
                world.happens(sequence, "login", subject).await;
            }
            world.rules.send_replace(two_triggers("p", Some("p")));
            world.settles().await;
            assert_eq!(world.phases(), [(Phase::Failing, 3), (Phase::Ready, 3)], "the second trigger waits");
            world.rules.send_replace(two_triggers("o", Some("p")));
            sleep(Duration::from_millis(millis)).await;
            world.rules.send_replace(two_triggers("p", Some("o")));
            world.settles().await;
            world.settles().await;
            assert_eq!(world.phases(), [(Phase::Ready, 6)], "swapped after {millis} ms");
            assert_eq!(world.cluster.list().iter().filter(|(object, _)| object.is_namespace()).count(), 6);
        })
        .await;
    }
}
