//! Lists of all live keys under changed rules: what the brake counts of their objects, and of their keys.

use lifeline_projections::fact::Gathered;

use super::*;

/// So many objects, whatever the keys are; or one for each key.
const FIFTY: &str = r#"{{ range until 50 }}
    ---
    {apiVersion: v1, kind: ConfigMap, metadata: {name: "part-{{ . }}", namespace: default}}
    {{ end }}"#;
const FIVE: &str = r#"{{ range until 5 }}
    ---
    {apiVersion: v1, kind: ConfigMap, metadata: {name: "part-{{ . }}", namespace: default}}
    {{ end }}"#;
const EACH_TWICE: &str = r#"{{ range .CloudEvents }}
    ---
    {apiVersion: v1, kind: ConfigMap, metadata: {name: "one-{{ .subject }}", namespace: default}}
    ---
    {apiVersion: v1, kind: ConfigMap, metadata: {name: "two-{{ .subject }}", namespace: default}}
    {{ end }}"#;
const ROSTER: &str = r#"{apiVersion: v1, kind: ConfigMap, metadata: {name: roster, namespace: default}, data: {users: "{{ range .CloudEvents }}{{ .subject }},{{ end }}"}}"#;

/// The rules of a list with this text.
fn listing(text: &str) -> String {
    let one = r#"{apiVersion: v1, kind: Namespace, metadata: {name: "{{ .CloudEvent.subject }}"}}"#;
    RULES
        .replace("oneForEvent: true", "oneForEvent: false")
        .replace(one, &format!("{{{{ $keys := .CloudEvents }}}}\n    {text}"))
}

fn config_map(name: &str) -> ObjectKey {
    ObjectKey { kind: "ConfigMap".into(), namespace: Some("default".into()), ..ObjectKey::of_namespace(name) }
}

impl World {
    /// So many users, and a list of them that holds these objects.
    fn of_list(users: usize, text: &str, objects: impl Iterator<Item = String>) -> World {
        let mut world = World::new();
        for user in 0..users {
            world.event("login", ("auth", &format!("user-{user:04}")), Some(Ruling::Create));
        }
        let rules = rules(&listing(text));
        assert!(rules.trigger("manage").expect("it is in force").gathers(), "{:?}", rules.problems());
        world.replay(&rules, 100);
        world.gather("manage", objects);
        world
    }

    /// The keys of a list are recorded, and it claims these objects.
    fn gather(&mut self, trigger: &str, objects: impl Iterator<Item = String>) {
        let Keys { live, until, .. } = texts::keys_of(&self.projection, trigger, "mgmt/mgmt");
        let (of, on) = (trigger.into(), "mgmt/mgmt".into());
        self.record(Fact::Gathered(Gathered { trigger: of, cluster: on, keys: live, until, previous: None }));
        let key = LifecycleKey {
            trigger: trigger.into(),
            cluster: "mgmt/mgmt".into(),
            resource: ResourceKey::of_list(trigger),
        };
        let objects = objects.map(|name| config_map(&name)).collect();
        self.record(Fact::Reconciled(Reconciled::new(key, self.projection.watermark(), What::Intended(objects))));
    }

    /// What is held where these rules come, as objects and keys, each with how many there are.
    fn held_under(&mut self, changed: &str) -> Option<[(u64, u64); 2]> {
        let mut replay = self.begin(&rules(changed));
        self.go_on(&mut replay);
        let held = self.held(&replay);
        let mut again = self.begin(&rules(changed));
        self.go_on(&mut again);
        assert_eq!(self.held(&again), held, "a restart changes nothing");
        held.first().map(|held| [(held.objects, held.of), (held.keys, held.keys_of)])
    }
}

fn parts(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|part| format!("part-{part}"))
}

fn each_twice(users: usize) -> impl Iterator<Item = String> {
    (0..users).flat_map(|user| [format!("one-user-{user:04}"), format!("two-user-{user:04}")])
}

#[test]
fn the_objects_of_a_list_count_however_many_keys_it_has() {
    for users in [3, 1_000] {
        let mut world = World::of_list(users, FIFTY, parts(50));
        let keys = users as u64;
        assert_eq!(world.held_under(&listing(FIVE)), Some([(45, 50), (0, keys)]), "{users} keys");
        // Put right, nothing is held; and what only changes takes nothing away.
        assert_eq!(world.held_under(&listing(FIFTY)), None, "{users} keys");
        let changed = FIFTY.replace("namespace: default}", "namespace: default, labels: {a: b}}");
        assert_eq!(world.held_under(&listing(&changed)), None, "{users} keys");
        // What fails takes nothing away either.
        assert_eq!(world.held_under(&listing("{{ fail `no` }}")), None, "{users} keys");
    }
}

#[test]
fn objects_that_a_list_loses_with_its_keys_count() {
    // Six keys are few, and twelve objects are not.
    let mut world = World::of_list(20, EACH_TWICE, each_twice(20));
    let action = r#"{{if eq .CloudEvent.type "login"}}"#;
    let fewer = r#"{{if and (eq .CloudEvent.type "login") (lt .CloudEvent.subject "user-0014")}}"#;
    assert_eq!(world.held_under(&listing(EACH_TWICE).replace(action, fewer)), Some([(12, 40), (6, 20)]));
    assert_eq!(world.present("manage"), 21, "the list and its keys stay");
    // Where all of them go, the list does.
    let none = r#"{{if and (eq .CloudEvent.type "login") (lt .CloudEvent.subject "a")}}"#;
    assert_eq!(world.held_under(&listing(EACH_TWICE).replace(action, none)), Some([(40, 40), (20, 20)]));
    // The trigger is gone: so are list and keys.
    assert_eq!(world.held_under(""), Some([(40, 40), (20, 20)]));
}

#[test]
fn an_object_that_loses_its_keys_is_no_small_loss() {
    let mut world = World::of_list(20, ROSTER, ["roster".to_owned()].into_iter());
    let action = r#"{{if eq .CloudEvent.type "login"}}"#;
    let fewer = r#"{{if and (eq .CloudEvent.type "login") (lt .CloudEvent.subject "user-0005")}}"#;
    assert_eq!(world.held_under(&listing(ROSTER).replace(action, fewer)), Some([(0, 1), (15, 20)]));
    let few = r#"{{if and (eq .CloudEvent.type "login") (lt .CloudEvent.subject "user-0018")}}"#;
    assert_eq!(world.held_under(&listing(ROSTER).replace(action, few)), None, "two keys are little");
}

#[test]
fn the_keys_of_a_list_change_hands_with_its_objects() {
    let mut world = World::of_list(20, ROSTER, ["roster".to_owned()].into_iter());
    let renamed = listing(ROSTER).replace("name: manage", "name: other");
    let mut replay = world.begin(&rules(&renamed));
    world.go_on(&mut replay);
    assert_eq!(world.held(&replay).iter().map(|held| (held.objects, held.keys)).collect::<Vec<_>>(), [(1, 20)]);
    world.gather("other", ["roster".to_owned()].into_iter());
    replay.count_again(Counts::new());
    world.go_on(&mut replay);
    assert!(!replay.is_held(), "{:?}", world.held(&replay));
    assert_eq!((world.present("manage"), world.present("other")), (0, 21));
}

#[test]
fn a_list_whose_keys_change_while_it_is_rendered_is_asked_again_and_not_for_ever() {
    let mut world = World::of_list(3, EACH_TWICE, each_twice(3));
    let mut replay = world.begin(&rules(&listing(FIVE)));
    let (mut asked, mut user) = (0, 100);
    while let Some(mut piece) = replay.piece(&world.projection, &world.log.reader(), 50).expect("a sound log") {
        piece.take_fact().into_iter().for_each(|fact| world.record(Fact::Replay(fact)));
        let Some(questions) = replay.advance(piece) else { continue };
        asked += 1;
        let keys = texts::keys_of(&world.projection, "manage", "mgmt/mgmt");
        let live = world.projection.live_keys("manage", "mgmt/mgmt", 0..u32::MAX);
        replay.answer(questions.answered_by(&world.log.reader(), &|_, _| (keys, live.clone())));
        world.event("login", ("auth", &format!("user-{user:04}")), Some(Ruling::Create));
        user += 1;
        assert!(asked < 10, "it is asked for ever");
    }
    assert_eq!(asked, 3);
    assert_eq!(world.lately(), Counts::default(), "nothing is recorded of it yet");
    world.allow(&mut replay);
    assert_eq!(world.lately(), Counts::from([("manage".into(), 6)]));
}
