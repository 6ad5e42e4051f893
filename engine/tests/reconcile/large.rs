//! Lifecycles of thousands of objects: what they cost grows with their number, and others go on meanwhile.

use std::time::Duration;

use lifeline_engine::rules::Current;
use lifeline_projections::lifecycle::Phase;
use tokio::task::yield_now;

use crate::world::{SOURCE, World, play, rules};

/// `COUNT` ConfigMaps for the subject `many`, and a Namespace for each other one.
const TRIGGER: &str = r#"
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: manage}
spec:
  eventSourceName: users
  oneForEvent: true
  cloudEventAction: '{{if eq .CloudEvent.type "login"}}Create{{else}}Delete{{end}}'
  policyRefs: [{name: objects, namespace: default, kind: ConfigMap, skipNamespaceCreation: true}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: objects, namespace: default, annotations: {projectsveltos.io/instantiate: ok}}
data:
  objects.yaml: |
    {{ if eq .CloudEvent.subject "many" }}{{ range $at, $each := until COUNT }}
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: "many-{{ $at }}", namespace: default}
    ---
    {{ end }}{{ else }}
    apiVersion: v1
    kind: Namespace
    metadata: {name: "{{ .CloudEvent.subject }}"}
    {{ end }}
"#;

fn many(count: usize) -> Current {
    rules(&format!("{SOURCE}{}", TRIGGER.replace("COUNT", &count.to_string())))
}

impl World {
    fn called(&self, verb: &str) -> u64 {
        self.calls.lock().get(verb).copied().unwrap_or_default()
    }

    /// Waits until all lifecycles are in one phase.
    async fn comes_to(&self, phase: Phase) {
        for _ in 0..100 {
            self.settles().await;
            if self.phases().iter().all(|(one, _)| *one == phase) {
                return;
            }
        }
        panic!("{:?}, expected {phase:?}", self.phases());
    }
}

#[tokio::test(start_paused = true)]
async fn while_thousands_of_objects_are_removed_others_are_made() {
    const COUNT: usize = 2_000;
    play(many(COUNT), async |world| {
        world.happens(1, "login", "many").await;
        world.comes_to(Phase::Ready).await;
        let applied = world.called("apply");
        assert_eq!(applied, COUNT as u64);
        world.begins(2, "logout", "many").await;
        world.begins(3, "login", "ann").await;
        while world.called("apply") == applied {
            yield_now().await;
        }
        let deleted = world.called("delete");
        assert!(deleted < COUNT as u64 / 2, "{deleted} objects were deleted before the other one was made");
        world.settles().await;
        assert_eq!(world.phases(), [(Phase::Ready, 1), (Phase::Gone, 1)]);
        assert_eq!(world.called("delete"), COUNT as u64);
    })
    .await;
}

/// How long this thread computed so far; `None` where the system does not say.
fn computed() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// What it costs to make so many objects, to have a new event about them, and to remove them.
async fn cost(count: usize) -> Option<Duration> {
    let before = computed()?;
    play(many(count), async |world| {
        world.begins(1, "login", "many").await;
        world.comes_to(Phase::Ready).await;
        world.begins(2, "login", "many").await;
        world.comes_to(Phase::Ready).await;
        world.begins(3, "logout", "many").await;
        world.comes_to(Phase::Gone).await;
    })
    .await;
    Some(computed()? - before)
}

#[tokio::test(start_paused = true)]
async fn the_cost_of_a_lifecycle_grows_with_its_objects_and_not_with_their_square() {
    let (Some(few), Some(many)) = (cost(250).await, cost(4_000).await) else { return };
    println!("250 objects took {few:?}, 4000 took {many:?}");
    // Sixteen times as many: a square would be 256 times as much.
    assert!(many < 64 * few, "250 objects took {few:?}, 4000 took {many:?}");
}
