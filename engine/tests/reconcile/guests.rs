//! Objects in a Namespace that another lifecycle makes: they come and go with it, and go on as soon as they may.

use std::time::Duration;

use lifeline_engine::cluster::Cluster;
use lifeline_engine::rules::Current;
use lifeline_projections::lifecycle::Phase;
use serde_json::json;
use tokio::time::sleep;

use crate::world::{NOTE, SOURCE, TRIGGER, World, play, rules};

/// A second trigger, for visits, that puts an object into the Namespace.
const GUEST: &str = r#"
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: guest}
spec:
  eventSourceName: users
  oneForEvent: true
  cloudEventAction: '{{if eq .CloudEvent.type "visit"}}Create{{else}}Nothing{{end}}'
  policyRefs: [{name: guest, namespace: default, kind: ConfigMap, skipNamespaceCreation: true}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: guest, namespace: default, annotations: {projectsveltos.io/instantiate: ok}}
data:
  guest.yaml: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: guest, namespace: "{{ .CloudEvent.subject | lower }}"}
    data: {visit: "{{ .CloudEvent.id }}"}
"#;

/// The rules of owners and guests: who logs in owns the Namespace, who visits puts an object into it.
fn with_guests() -> Current {
    let trigger = TRIGGER.replace("BEHAVIOUR", "WithdrawPolicies");
    let trigger = trigger.replace("{{else}}Delete{{end}}", r#"{{else if eq .CloudEvent.type "logout"}}Delete{{end}}"#);
    rules(&format!("{SOURCE}{trigger}{GUEST}"))
}

impl World {
    /// The decision for which the guest's object was applied last; `None` while there is no such object.
    fn guest(&self) -> Option<String> {
        let objects = self.cluster.list();
        let (_, live) = objects.iter().find(|(object, _)| object.name == "guest")?;
        Some(live.manifest["metadata"]["annotations"]["lifeline.dev/offset"].as_str()?.to_owned())
    }
}

#[tokio::test(start_paused = true)]
async fn guests_go_on_as_soon_as_the_outcome_for_their_namespace_is_known() {
    play(with_guests(), async |world| {
        world.happens(1, "login", "zoe").await;
        world.happens(2, "visit", "zoe").await;
        let before = world.guest().expect("it visits");
        world.begins(3, "login", "zoe").await;
        sleep(Duration::from_millis(10)).await;
        world.begins(4, "visit", "zoe").await;
        sleep(Duration::from_secs(1)).await;
        assert_ne!(world.guest().expect("it visits again"), before);
        assert_eq!(world.phases(), [(Phase::Ready, 2)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn guests_move_into_the_namespace_that_a_stranger_made_in_the_place_of_ours() {
    play(with_guests(), async |world| {
        let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "zoe"}});
        world.happens(1, "login", "zoe").await;
        world.happens(2, "visit", "zoe").await;
        let namespace = world.cluster.resolve(&manifest).await.expect("a Namespace");
        let ours = world.cluster.get(&namespace).await.expect("a cluster").expect("it was made");
        world.cluster.delete(&namespace, &ours.uid).await.expect("it may go");
        let (_, theirs) = world.make(&manifest).await;
        assert_eq!(world.guest(), None, "it went with the Namespace");
        // The owner notices; nobody says that the guest is there while it is not.
        world.happens(3, "login", "zoe").await;
        let moved = world.guest().expect("it moved in");
        assert_eq!(world.phases(), [(Phase::Failing, 1), (Phase::Ready, 1)]);
        world.happens(4, "login", "zoe").await;
        world.begins(5, "visit", "zoe").await;
        sleep(Duration::from_secs(1)).await;
        assert_ne!(world.guest().expect("it visits again"), moved);
        world.happens(6, "logout", "zoe").await;
        let found = world.cluster.get(&namespace).await.expect("a cluster").expect("it is the stranger's");
        assert_eq!(found.uid, theirs.uid);
        assert_eq!(world.phases(), [(Phase::Ready, 1), (Phase::Gone, 1)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn guests_that_waited_long_go_on_as_soon_as_the_namespace_is_gone() {
    play(with_guests(), async |world| {
        world.happens(1, "login", "zoe").await;
        world.happens(2, "visit", "zoe").await;
        world.hold("zoe", true).await;
        world.happens(3, "logout", "zoe").await;
        world.happens(4, "visit", "zoe").await;
        world.settles().await;
        assert_eq!(world.guest(), None, "the Namespace is on its way out");
        world.hold("zoe", false).await;
        world.make(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "zoe"}})).await;
        sleep(Duration::from_secs(2)).await;
        assert_ne!(world.guest(), None);
        assert_eq!(world.phases(), [(Phase::Ready, 1), (Phase::Gone, 1)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn objects_that_went_with_a_namespace_are_made_again_with_it() {
    play(with_guests(), async |world| {
        let guests = || world.cluster.list().iter().filter(|(object, _)| object.kind == "ConfigMap").count();
        world.happens(1, "login", "zoe").await;
        world.happens(2, "visit", "zoe").await;
        assert_eq!((guests(), world.phases()), (1, vec![(Phase::Ready, 2)]));
        world.happens(3, "logout", "zoe").await;
        assert_eq!((guests(), world.phases()), (0, vec![(Phase::Failing, 1), (Phase::Gone, 1)]), "nobody says Ready");
        world.happens(4, "login", "zoe").await;
        assert_eq!((guests(), world.phases()), (1, vec![(Phase::Ready, 2)]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn objects_that_went_with_a_namespace_are_not_ready() {
    let with = |namespace: &str| {
        let text = format!("{SOURCE}{}", TRIGGER.replace("BEHAVIOUR", "WithdrawPolicies"));
        let (rest, namespace_text) = text.split_once("  namespace.yaml: |").expect("it gives a Namespace");
        let inside = NOTE.replace("namespace: default", r#"namespace: "{{ .CloudEvent.subject }}""#);
        let namespace =
            if namespace.is_empty() { String::new() } else { format!("  namespace.yaml: |{namespace_text}") };
        rules(&format!("{rest}{namespace}{}", inside.trim_start_matches('\n')))
    };
    play(with("Namespace"), async |world| {
        world.happens(1, "login", "zoe").await;
        assert_eq!((world.cluster.list().len(), world.phases()), (2, vec![(Phase::Ready, 1)]));
        world.rules.send_replace(with(""));
        world.settles().await;
        assert_eq!((world.cluster.list().len(), world.phases()), (0, vec![(Phase::Failing, 1)]));
        world.rules.send_replace(with("Namespace"));
        world.settles().await;
        assert_eq!((world.cluster.list().len(), world.phases()), (2, vec![(Phase::Ready, 1)]));
    })
    .await;
}
