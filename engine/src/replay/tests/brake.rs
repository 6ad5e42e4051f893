//! What changed rules would withdraw: what passes, what is held, and what a restart makes of it.

use super::*;

/// Twelve users who are logged in, each with a Namespace.
fn twelve() -> World {
    let mut world = World::new();
    for user in 0..12 {
        world.event("login", ("auth", &format!("user-{user}")), Some(Ruling::Create));
        world.claim("manage", user);
    }
    world.replay(&rules(RULES), 7);
    world
}

impl World {
    /// A lifecycle of a user claims that user's Namespace.
    fn claim(&mut self, trigger: &str, user: usize) {
        let resource = ResourceKey { source: "auth".into(), subject: format!("user-{user}").into() };
        let key = LifecycleKey { trigger: trigger.into(), cluster: "mgmt/mgmt".into(), resource };
        let objects = vec![ObjectKey::of_namespace(&format!("user-{user}"))];
        self.record(Fact::Reconciled(Reconciled::new(key, self.projection.watermark(), What::Intended(objects))));
    }

    pub(super) fn present(&self, trigger: &str) -> usize {
        let lifecycles = self.projection.resources().flat_map(|(_, resource)| resource.lifecycles);
        lifecycles.filter(|one| *one.trigger == *trigger && one.desired.is_present()).count()
    }

    pub(super) fn begin(&mut self, rules: &Arc<RuleSet>) -> Replay {
        let ground = self.projection.ground();
        let mut replay = Replay::new(rules, ground, None, None, &[]).with_lately(self.lately());
        replay.openings().for_each(|opening| self.record(Fact::Replay(opening)));
        replay.opened();
        replay
    }

    pub(super) fn lately(&self) -> Counts {
        self.projection.ground().withdrawals.lately(1)
    }

    /// Records what passed.
    pub(super) fn allow(&mut self, replay: &mut Replay) {
        replay.passed().iter().for_each(|passed| self.record(Fact::Replay(passed.clone())));
        replay.passed_recorded();
    }

    /// Confirms what is held under an id.
    fn confirm(&mut self, replay: &mut Replay, id: &str) {
        let confirmable = replay.confirmable(id);
        let Confirmable::Held { fact, .. } = confirmable else { panic!("{confirmable:?}") };
        self.record(Fact::Replay(fact));
        replay.confirm(id);
    }

    pub(super) fn go_on(&mut self, replay: &mut Replay) {
        while let Some(mut piece) = replay.piece(&self.projection, &self.log.reader(), 5).expect("a sound log") {
            if let Some(fact) = piece.take_fact() {
                self.record(Fact::Replay(fact));
            }
            self.advance(replay, piece);
            self.allow(replay);
        }
    }

    pub(super) fn held(&self, replay: &Replay) -> Vec<HeldWithdrawal> {
        replay.status(&self.projection).into_iter().filter_map(|status| status.held).collect()
    }
}

#[test]
fn what_would_take_much_is_held_until_it_is_confirmed() {
    let slip = RULES.replace("cloudEventSource: auth", "cloudEventSource: ^aut$");
    let other_sense = RULES.replace("\"login\"", "\"logon\"").replace("\"logout\"", "\"login\"");
    for changed in ["".to_owned(), slip, other_sense] {
        let mut world = twelve();
        let mut replay = world.begin(&rules(&changed));
        world.go_on(&mut replay);
        assert_eq!(world.present("manage"), 12, "{changed}");
        let held = world.held(&replay);
        let [HeldWithdrawal { id, objects: 12, of: 12, keys: 0, keys_of: 0, lately: 0, waits_for: None }] =
            held.as_slice()
        else {
            panic!("{held:?}")
        };
        assert_eq!(replay.confirmable("another"), Confirmable::Unknown);
        replay.confirm("another");
        assert!(!replay.goes_on());
        let mut replay = world.begin(&rules(&changed));
        world.go_on(&mut replay);
        assert_eq!(world.held(&replay), held, "a restart changes nothing");
        world.confirm(&mut replay, id);
        // It is recorded: a restart before the first of them goes changes nothing either.
        let mut replay = world.begin(&rules(&changed));
        assert!(replay.withdraws());
        world.go_on(&mut replay);
        assert_eq!((world.present("manage"), replay.is_held()), (0, false), "{changed}");
    }
}

#[test]
fn rules_that_are_put_right_make_a_held_withdrawal_moot() {
    let mut world = twelve();
    let mut replay = world.begin(&rules(&RULES.replace("cloudEventSource: auth", "cloudEventSource: ^aut$")));
    world.go_on(&mut replay);
    assert!(replay.is_held());
    let mut replay = world.begin(&rules(RULES));
    world.go_on(&mut replay);
    assert!(!replay.is_held());
    assert_eq!(world.present("manage"), 12);
    assert!(world.projection.ground().open_replays.is_empty());
}

#[test]
fn what_another_trigger_claims_changes_hands_and_is_not_held() {
    let mut world = twelve();
    let mut replay = world.begin(&rules(&RULES.replace("name: manage", "name: other")));
    world.go_on(&mut replay);
    assert_eq!(world.held(&replay).len(), 1, "nobody claims the objects yet");
    let said = |replay: &Replay, world: &World| {
        replay.said_status(&world.projection).into_iter().filter(|status| status.held.is_some()).count()
    };
    assert_eq!(said(&replay, &world), 0, "it may be another name");
    replay.count_again(Counts::new());
    world.go_on(&mut replay);
    assert_eq!(said(&replay, &world), 1, "nobody took them over");
    assert_eq!(world.present("other"), 12);
    for user in 0..11 {
        world.claim("other", user);
    }
    replay.count_again(Counts::new());
    world.go_on(&mut replay);
    assert!(!replay.is_held(), "one object is little");
    assert_eq!((world.present("manage"), world.present("other")), (0, 12));
}

#[test]
fn a_little_is_withdrawn_at_once() {
    let mut world = World::new();
    for user in 0..9 {
        world.event("login", ("auth", &format!("user-{user}")), Some(Ruling::Create));
        world.claim("manage", user);
    }
    world.replay(&rules(RULES), 7);
    world.replay(&rules(""), 7);
    assert_eq!(world.present("manage"), 0);
}

#[test]
fn what_is_claimed_by_what_goes_too_does_not_count_as_handed_over() {
    let mut world = twelve();
    // Each Namespace belongs to two users of the same trigger.
    for user in 0..12 {
        world.event("login", ("auth", &format!("guest-{user}")), Some(Ruling::Create));
        let resource = ResourceKey { source: "auth".into(), subject: format!("guest-{user}").into() };
        let key = LifecycleKey { trigger: "manage".into(), cluster: "mgmt/mgmt".into(), resource };
        let objects = vec![ObjectKey::of_namespace(&format!("user-{user}"))];
        world.record(Fact::Reconciled(Reconciled::new(key, world.projection.watermark(), What::Intended(objects))));
    }
    for changed in ["".to_owned(), RULES.replace("cloudEventSource: auth", "cloudEventSource: ^aut$")] {
        let mut replay = world.begin(&rules(&changed));
        world.go_on(&mut replay);
        assert_eq!((world.present("manage"), world.held(&replay).len()), (24, 1), "{changed}");
    }
}

#[test]
fn what_is_confirmed_of_many_does_not_let_the_rest_pass() {
    let mut world = World::new();
    let names = ["one", "two", "three"];
    let all = names.map(|name| RULES.replace("name: manage", &format!("name: {name}"))).join("\n---\n");
    for user in 0..15 {
        world.event("login", ("auth", &format!("user-{user}")), None);
    }
    world.replay(&rules(&all), 7);
    for (number, name) in names.into_iter().enumerate() {
        for user in number * 5..number * 5 + 5 {
            world.claim(name, user);
        }
    }
    let mut replay = world.begin(&rules(""));
    world.go_on(&mut replay);
    let held = world.held(&replay);
    assert_eq!(held.iter().map(|held| held.objects).collect::<Vec<_>>(), [5, 5, 5]);
    for (confirmed, left) in held[..2].iter().zip([2, 1]) {
        world.confirm(&mut replay, &confirmed.id);
        world.go_on(&mut replay);
        replay.count_again(Counts::new());
        world.go_on(&mut replay);
        assert_eq!(world.held(&replay).len(), left);
        replay = world.begin(&rules(""));
        world.go_on(&mut replay);
        assert_eq!(world.held(&replay).len(), left, "a restart does not make little of them");
    }
}

#[test]
fn many_small_steps_are_a_large_one() {
    let mut world = World::new();
    let names = ["one", "two", "three"];
    let of = |name: &str| RULES.replace("name: manage", &format!("name: {name}"));
    for user in 0..15 {
        world.event("login", ("auth", &format!("user-{user}")), None);
    }
    world.replay(&rules(&names.map(of).join("\n---\n")), 7);
    for (number, name) in names.into_iter().enumerate() {
        for user in number * 5..number * 5 + 5 {
            world.claim(name, user);
        }
    }
    for (number, (left, is_held)) in [(2, false), (1, true)].into_iter().enumerate() {
        let mut replay = world.begin(&rules(&names.map(of)[names.len() - left..].join("\n---\n")));
        world.go_on(&mut replay);
        assert_eq!(replay.is_held(), is_held, "step {number}");
        let told = world.held(&replay).into_iter().map(|held| (held.objects, held.lately)).collect::<Vec<_>>();
        assert_eq!(told, if is_held { vec![(5, 5)] } else { Vec::new() });
        // A restart counts again, and knows what went before.
        let mut again = world.begin(&rules(&names.map(of)[names.len() - left..].join("\n---\n")));
        world.go_on(&mut again);
        assert_eq!(world.held(&again), world.held(&replay), "step {number}");
        assert_eq!(world.lately().values().sum::<u64>(), 5);
    }
    assert_eq!(
        (world.present("one"), world.present("two"), world.present("three")),
        (0, 5, 15),
        "only what has objects is held"
    );
}

#[test]
fn texts_that_no_longer_give_what_lives_are_held() {
    let text = r#"{apiVersion: v1, kind: Namespace, metadata: {name: "{{ .CloudEvent.subject }}"}}"#;
    let slips = [
        text.replace(r#""{{"#, r#""x-{{"#),
        text.replace("kind: Namespace", "kind: PersistentVolume"),
        format!("{{{{ if false }}}}{text}{{{{ end }}}}"),
        "".to_owned(),
    ];
    let mut changes: Vec<String> = slips.iter().map(|slip| RULES.replace(text, slip)).collect();
    changes
        .push(RULES.replace("policyRefs: [{kind: ConfigMap, namespace: default, name: namespaces}]", "policyRefs: []"));
    for changed in changes {
        let mut world = twelve();
        let decided = world.projection.watermark();
        let mut replay = world.begin(&rules(&changed));
        world.go_on(&mut replay);
        assert_eq!(
            world.held(&replay).iter().map(|held| (held.objects, held.of)).collect::<Vec<_>>(),
            [(12, 12)],
            "{changed}"
        );
        let lifecycles = world.projection.resources().flat_map(|(_, resource)| resource.lifecycles);
        assert!(lifecycles.into_iter().all(|one| one.decided < decided), "none is decided again: {changed}");
        let mut replay = world.begin(&rules(RULES));
        world.go_on(&mut replay);
        assert!(!replay.is_held());
    }
    // What fails to render takes nothing away, and what only changes neither.
    for changed in
        [RULES.replace(text, "{{ fail `no` }}"), RULES.replace("kind: Namespace, ", "kind: Namespace, spec: {}, ")]
    {
        let mut world = twelve();
        let mut replay = world.begin(&rules(&changed));
        world.go_on(&mut replay);
        assert!(!replay.is_held(), "{changed}");
    }
}

#[test]
fn a_restart_goes_on_with_what_passed_and_counts_it_once() {
    let mut world = World::new();
    for user in 0..9 {
        world.event("login", ("auth", &format!("user-{user}")), Some(Ruling::Create));
        world.claim("manage", user);
    }
    world.replay(&rules(RULES), 7);
    for changed in ["", "", RULES] {
        let mut replay = world.begin(&rules(changed));
        while replay.passed().is_empty() && replay.goes_on() {
            let mut piece = replay.piece(&world.projection, &world.log.reader(), 2).unwrap().expect("it goes on");
            if let Some(fact) = piece.take_fact() {
                world.record(Fact::Replay(fact));
            }
            world.advance(&mut replay, piece);
            if replay.withdraws() && !replay.passed().is_empty() {
                world.allow(&mut replay);
                break;
            }
        }
    }
    assert_eq!(world.lately(), Counts::from([("manage".into(), 9)]), "the second start knows that it passed");
}

#[test]
fn a_confirmation_is_about_the_objects_that_were_shown() {
    let slip = rules(&RULES.replace("cloudEventSource: auth", "cloudEventSource: ^aut$"));
    let mut world = twelve();
    let mut replay = world.begin(&slip);
    world.go_on(&mut replay);
    let before = world.held(&replay);
    world.replay(&rules(RULES), 7);
    world.event("login", ("auth", "user-12"), Some(Ruling::Create));
    world.claim("manage", 12);
    let mut replay = world.begin(&slip);
    world.go_on(&mut replay);
    let held = world.held(&replay);
    let [HeldWithdrawal { id, objects: 13, .. }] = held.as_slice() else { panic!("{held:?}") };
    assert_ne!(*id, before[0].id);
    assert_eq!(replay.confirmable(&before[0].id), Confirmable::Unknown);
}

/// The rules with a second trigger, whose further texts are these.
fn with_other(first: &str, texts: &str) -> Arc<RuleSet> {
    let other =
        RULES.replace("name: manage", "name: other").replace("name: namespaces}]", &format!("name: {texts}}}]"));
    rules(&format!("{first}\n---\n{other}"))
}

#[test]
fn what_another_trigger_may_want_stays_until_it_is_known() {
    const MISSING: &str = "missing";
    // The other one has more texts from now on, of which one is not there yet; or it is broken.
    let emptied =
        RULES.replace("policyRefs: [{kind: ConfigMap, namespace: default, name: namespaces}]", "policyRefs: []");
    let broken = || rules(&RULES.replace("name: manage", "name: other").replace("'{{if", "'{{"));
    let changes = [with_other("", MISSING), with_other(&emptied, MISSING), broken()];
    for (number, changed) in changes.into_iter().enumerate() {
        for was_there in [true, false] {
            let case = format!("change {number}, was there {was_there}");
            let play = || {
                let mut world = World::new();
                for user in 0..3 {
                    world.event("login", ("auth", &format!("user-{user}")), Some(Ruling::Create));
                    world.claim("manage", user);
                }
                world.replay(&if was_there { with_other(RULES, "namespaces") } else { rules(RULES) }, 7);
                let mut replay = world.begin(&changed);
                world.go_on(&mut replay);
                let decided = world.present("manage");
                let held = world.held(&replay);
                assert_eq!((decided, held.len()), (3, 1), "{case}: {held:?}");
                assert_eq!((held[0].objects, held[0].of), (3, 3), "{case}");
                let reason = held[0].waits_for.clone().expect(&case);
                assert!(reason.contains("trigger `other`"), "{case}: {reason}");
                // The other one was not known yet when it was counted: then it passed, and was held before it went.
                let has_passed = number == 1 && !was_there;
                assert_eq!(world.lately().values().sum::<u64>(), if has_passed { 3 } else { 0 }, "{case}");
                // It is the same, however often it is counted, and after a restart.
                replay.count_again(world.lately());
                world.go_on(&mut replay);
                assert_eq!(world.held(&replay), held, "{case}");
                let mut again = world.begin(&changed);
                world.go_on(&mut again);
                assert_eq!(world.held(&again), held, "{case}");
                (world, again, held[0].id.clone())
            };
            let (mut world, mut replay, id) = play();
            world.confirm(&mut replay, &id);
            world.go_on(&mut replay);
            assert!(!replay.is_held(), "{case}: it is confirmed");
            if number == 1 {
                continue;
            }
            assert_eq!(world.present("manage"), 0, "{case}");
            // Mended, it is known what the other one wants.
            let (mut world, _, _) = play();
            let mut replay = world.begin(&with_other("", "namespaces"));
            world.go_on(&mut replay);
            assert!(!replay.is_held(), "{case}");
            assert_eq!((world.present("manage"), world.present("other")), (0, 3), "{case}");
        }
    }
}

#[test]
fn what_no_other_lifecycle_may_want_is_not_held_for_its_neighbours() {
    let mut world = World::new();
    for user in 0..3 {
        world.event("login", ("auth", &format!("user-{user}")), Some(Ruling::Create));
        world.claim("manage", user);
    }
    world.event("logout", ("auth", "user-1"), None);
    world.event("login", ("auth", "user-2"), None);
    let both = with_other(&RULES.replace("logout", "signout"), "namespaces");
    world.replay(&both, 7);
    assert_eq!((world.present("manage"), world.present("other")), (3, 2));
    let mut replay = world.begin(&with_other("", "missing"));
    world.go_on(&mut replay);
    // The other one is absent for the user who is logged out, as its event says.
    assert_eq!((world.present("manage"), world.held(&replay)[0].objects), (2, 2));
    world.event("logout", ("auth", "user-0"), None);
    world.event("logout", ("auth", "user-2"), None);
    let mut replay = world.begin(&with_other("", "missing"));
    world.go_on(&mut replay);
    assert!(replay.is_held(), "nothing decided the events");
}

#[test]
fn texts_are_asked_many_at_once() {
    let mut world = World::new();
    for user in 0..100 {
        world.event("login", ("auth", &format!("user-{user}")), Some(Ruling::Create));
        world.claim("manage", user);
    }
    // Two others that are present may want an object: each lifecycle asks for the texts of one, and then of the other.
    let named = |name: &str| RULES.replace("name: manage", &format!("name: {name}"));
    let others = format!("{}\n---\n{}", named("second"), named("third"));
    world.replay(&rules(&format!("{RULES}\n---\n{others}")), 1000);
    let mut replay = world.begin(&rules(&others));
    let mut pieces = 0;
    while let Some(mut piece) = replay.piece(&world.projection, &world.log.reader(), 1000).expect("a sound log") {
        piece.take_fact().into_iter().for_each(|fact| world.record(Fact::Replay(fact)));
        world.advance(&mut replay, piece);
        world.allow(&mut replay);
        pieces += 1;
    }
    assert_eq!(world.held(&replay).len(), 1, "nobody else claims the objects");
    assert!(pieces < 20, "{pieces} pieces for 100 users");
}
