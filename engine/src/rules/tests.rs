//! Rules as a whole: the seed's examples as they are written, and each kind of defect beside a rule that works.

use serde_json::{Map, Value, json};

use super::*;
use lifeline_projections::event::CloudEvent;
use lifeline_projections::fact::{Decision, Ruling};

mod cluster;
mod foreign;
mod injection;
mod neighbours;
mod order;

const SEED: [&str; 3] = [
    include_str!("../../tests/seed/1-user-login.yaml"),
    include_str!("../../tests/seed/2-login-and-logout.yaml"),
    include_str!("../../tests/seed/3-end-to-end.yaml"),
];

const LOGIN: &str = r#"{"specversion":"1.0","type":"auth.example.com.login","source":"auth.example.com","id":"10001","subject":"mgianluc","datacontenttype":"application/json","data":{"message":"User mgianluc login","organization":"devops"}}"#;

fn rules(text: &str) -> RuleSet {
    RuleSet::new(Manifests::read("rules.yaml", text), Clusters::default())
}

fn decide<'r>(rules: &'r RuleSet, nats_subject: &str, payload: &str) -> Vec<Decision<'r>> {
    let event = CloudEvent::parse(&[], payload.as_bytes()).unwrap();
    let view = view(nats_subject, &event, payload);
    rules.decide(&view, OWN, 1)
}

fn view<'a>(nats_subject: &'a str, event: &'a CloudEvent<'_>, payload: &'a str) -> EventView<'a> {
    EventView {
        nats_subject,
        source: &event.source,
        kind: &event.kind,
        subject: &event.subject,
        headers: &[],
        payload: payload.as_bytes(),
    }
}

fn map(payload: &str) -> Map<String, Value> {
    CloudEvent::to_map(&[], payload.as_bytes()).unwrap()
}

fn outcomes(decisions: Vec<Decision<'_>>) -> Vec<(String, Ruling<'_>)> {
    decisions.into_iter().map(|decision| (decision.trigger.to_owned(), decision.ruling)).collect()
}

fn messages(rules: &RuleSet) -> Vec<String> {
    rules
        .problems()
        .iter()
        .map(|problem| format!("{} {}: {}", problem.severity, problem.rule, problem.message))
        .collect()
}

fn create(trigger: &str) -> Vec<(String, Ruling<'static>)> {
    vec![(trigger.to_owned(), Ruling::Create)]
}

#[test]
fn seed_creates_a_namespace_with_the_organization_of_the_event() {
    let rules = rules(SEED[0]);
    let payload = LOGIN.replace(r#""source":"auth.example.com""#, r#""source":"auth.example.com/user-login""#);
    assert_eq!(outcomes(decide(&rules, "user-login", &payload)), create("create-namespace"));
    let rendered = rules.trigger("create-namespace").unwrap().manifests(&map(&payload), OWN, 1).unwrap();
    assert_eq!(rendered.len(), 1);
    assert_eq!(
        rendered[0].manifest,
        json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "mgianluc", "labels": {"organization": "devops"}}})
    );
    assert_eq!(rendered[0].from.to_string(), "ConfigMap default/namespace");
    assert_eq!((rendered[0].key.as_str(), rendered[0].document), ("namespace.yaml", 0));
    assert_eq!(
        messages(&rules),
        [
            "warning EventTrigger/create-namespace: no labels are configured for the own cluster: `spec.sourceClusterSelector` is assumed to match"
        ]
    );
}

#[test]
fn seed_creates_on_login_and_deletes_on_logout() {
    for seed in &SEED[1..] {
        let rules = rules(seed);
        let logout = LOGIN.replace(".login", ".logout");
        assert_eq!(
            outcomes(decide(&rules, "user-operation", LOGIN)),
            create("manage-namespace"),
            "{:?}",
            messages(&rules)
        );
        let decisions = outcomes(decide(&rules, "user-operation", &logout));
        assert_eq!(decisions, [("manage-namespace".to_owned(), Ruling::Delete)]);
        assert_eq!(decide(&rules, "other", LOGIN), []);
        let rendered = rules.trigger("manage-namespace").unwrap().manifests(&map(LOGIN), OWN, 1).unwrap();
        assert_eq!(rendered.len(), 1);
        assert_eq!(
            rendered[0].manifest,
            json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "mgianluc"}})
        );
    }
}

/// A source, a trigger and a ConfigMap that work, beside which something else is broken.
const SOUND: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: sound}
spec: {messagingMatchCriteria: [{subject: user-operation}]}
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: sound}
spec:
  eventSourceName: sound
  policyRefs: [{kind: ConfigMap, namespace: default, name: sound}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: sound}
data: {a.yaml: "{kind: Namespace, apiVersion: v1, metadata: {name: sound}}"}
"#;

fn trigger(spec: Value) -> String {
    let mut whole = json!({"eventSourceName": "sound", "policyRefs": [{"kind": "ConfigMap", "namespace": "default", "name": "sound"}]});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    manifest("EventTrigger", whole)
}

fn manifest(kind: &str, spec: Value) -> String {
    json!({"apiVersion": "lib.projectsveltos.io/v1beta1", "kind": kind, "metadata": {"name": "x"}, "spec": spec})
        .to_string()
}

fn config_map(name: &str, data: Value) -> String {
    let metadata = json!({"name": name, "annotations": {INSTANTIATE: ""}});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}).to_string()
}

/// What the rest of the rules cost, beside a trigger that works.
#[derive(Debug, PartialEq)]
enum Cost {
    /// The trigger `x` decides nothing, and what it made stays.
    OutOfForce,
    /// It decides, and something has no effect.
    Nothing,
    /// There is no such trigger.
    Absent,
}

#[track_caller]
fn check(broken: &[String], cost: Cost, expected: &[&str]) {
    let rules = rules(&format!("{SOUND}\n---\n{}", broken.join("\n---\n")));
    let said = messages(&rules);
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for expected in expected {
        assert!(said.iter().any(|message| message.contains(expected)), "`{expected}` is not among {said:#?}");
    }
    let found = match rules.standing("x") {
        Standing::InForce(_) => Cost::Nothing,
        Standing::OutOfForce => Cost::OutOfForce,
        Standing::Absent => Cost::Absent,
    };
    assert_eq!(found, cost, "{said:#?}");
    let decisions = outcomes(decide(&rules, "user-operation", LOGIN));
    assert!(decisions.contains(&("sound".to_owned(), Ruling::Create)), "{decisions:?}");
    assert_eq!(rules.trigger("sound").unwrap().manifests(&map(LOGIN), OWN, 1).unwrap().len(), 1);
}

#[test]
fn broken_trigger_is_out_of_force_alone() {
    use Cost::OutOfForce;
    check(
        &[trigger(json!({"cloudEventActions": "Delete"}))],
        OutOfForce,
        &["error EventTrigger/x: unknown field `spec.cloudEventActions`"],
    );
    check(&[trigger(json!({"Tier": 1}))], OutOfForce, &["unknown field `spec.Tier`"]);
    check(
        &[trigger(json!({"tier": "high"}))],
        OutOfForce,
        &["`spec.tier`: invalid type: string \"high\", expected i32"],
    );
    check(&[trigger(json!({"tier": 0}))], OutOfForce, &["`spec.tier` is `0`, expected at least 1"]);
    check(&[trigger(json!({"syncMode": "Sometimes"}))], OutOfForce, &["`spec.syncMode`: unknown variant `Sometimes`"]);
    check(
        &[trigger(json!({"policyRefs": [{"kind": "ConfigMap", "nmae": "a"}]}))],
        OutOfForce,
        &["unknown field `spec.policyRefs[0].nmae`"],
    );
    check(
        &[trigger(json!({"policyRefs": [{"kind": "ConfigMap"}]}))],
        OutOfForce,
        &["`spec.policyRefs[0].name` is missing"],
    );
    check(
        &[trigger(json!({}))
            .replace(r#""metadata":{"#, r#""metadata":{"annotations":{"cluster.x-k8s.io/paused":"true"},"#)],
        OutOfForce,
        &["warning EventTrigger/x: annotation `cluster.x-k8s.io/paused` is set: the trigger is paused"],
    );
    check(
        &[trigger(json!({}))
            .replace(r#""metadata":{"#, r#""metadata":{"labels":{"projectsveltos.io/serviceaccount-name":"eng"},"#)],
        OutOfForce,
        &["error EventTrigger/x: label `projectsveltos.io/serviceaccount-namespace` is missing beside"],
    );
    check(
        &[trigger(json!({"policyRefs": [{"kind": "GitRepository", "name": "a"}]}))],
        OutOfForce,
        &["kind` is `GitRepository`"],
    );
    check(
        &[trigger(json!({"sourceClusterSelector": {"matchLabels": {"a": true}}}))],
        OutOfForce,
        &["`spec.sourceClusterSelector.matchLabels.a`: invalid type: boolean"],
    );
    check(
        &[trigger(json!({"sourceClusterSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}))],
        OutOfForce,
        &["unknown variant `Is`"],
    );
    check(&[trigger(json!({"cloudEventAction": "create"}))], OutOfForce, &["`spec.cloudEventAction` is `create`"]);
    check(&[trigger(json!({"cloudEventAction": "{{ if }}"}))], OutOfForce, &["`spec.cloudEventAction`"]);
    check(&[trigger(json!({"eventSourceName": ""}))], OutOfForce, &["`spec.eventSourceName` is missing"]);
    check(&[trigger(json!({"eventSourceName": "{{ .CloudEvent.type }}"}))], OutOfForce, &["`spec.eventSourceName`"]);
    check(&[trigger(json!({"patches": [{}]}))], OutOfForce, &["`spec.patches[0]` is no patch"]);
    check(
        &[trigger(json!({"destinationCluster": {"name": "a"}}))],
        OutOfForce,
        &["`spec.destinationCluster` is not done"],
    );
    let old = trigger(json!({})).replace("v1beta1", "v1alpha1");
    check(
        &[old],
        OutOfForce,
        &["`apiVersion` is `lib.projectsveltos.io/v1alpha1`, expected `lib.projectsveltos.io/v1beta1`"],
    );
    let other = trigger(json!({"eventSourceName": "x"}));
    check(
        &[manifest("EventSource", json!({"messagingMatchCriteria": [{"subjet": "a"}]})), other.clone()],
        OutOfForce,
        &[
            "error EventSource/x: unknown field `spec.messagingMatchCriteria[0].subjet`",
            "error EventTrigger/x: EventSource `x` is out of force",
        ],
    );
    check(&["kind: [".to_owned()], OutOfForce, &["error : "]);
}

#[test]
fn small_defects_leave_a_trigger_in_force_and_are_told() {
    use Cost::{Absent, Nothing};
    check(&[trigger(json!({}))], Nothing, &[]);
    check(&[trigger(json!({"policyRefs": null}))], Nothing, &["no `spec.policyRefs`"]);
    check(&[trigger(json!({"eventSourceName": "{{ if eq .ClusterName \"mgmt\" }}sound{{ end }}"}))], Nothing, &[]);
    check(
        &[trigger(json!({"helmCharts": [{}]}))],
        Nothing,
        &["warning EventTrigger/x: `spec.helmCharts` needs Sveltos' addon-controller"],
    );
    check(&[trigger(json!({"kustomizationRefs": [{}]}))], Nothing, &["`spec.kustomizationRefs` needs"]);
    check(
        &[trigger(json!({"somethingNewerThanUs": 1}))],
        Nothing,
        &["warning EventTrigger/x: unknown field `spec.somethingNewerThanUs` has no effect"],
    );
    check(
        &[trigger(json!({"eventSourceName": "gone"}))],
        Nothing,
        &["error EventTrigger/x: EventSource `gone` does not exist"],
    );
    let references = |name: &str, optional: bool| {
        trigger(json!({"policyRefs": [{"kind": "ConfigMap", "name": name, "optional": optional}]}))
    };
    check(&[references("gone", false)], Nothing, &["names ConfigMap gone, which does not exist"]);
    check(&[references("gone", true)], Nothing, &[]);
    check(
        &[references("x", false), config_map("x", json!({"a": "{{ .A | toYamll }}"}))],
        Nothing,
        &["error ConfigMap/default/x: key `a`, line 1"],
    );
    check(
        &[references("x", false), config_map("x", json!({"a": 1}))],
        Nothing,
        &["`data.a` is `1`, expected a string"],
    );
    check(&[config_map("unreferenced", json!({"a": "{{ nonsense"}))], Absent, &[]);
    check(
        &[json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}}).to_string()],
        Absent,
        &["warning Deployment/d: `Deployment` of `apps/v1` is no rule"],
    );
    check(
        &[trigger(json!({})), trigger(json!({"tier": 5}))],
        Nothing,
        &["error EventTrigger/x: defined twice: at `rules.yaml:20`, which counts, and here"],
    );
    check(&[trigger(json!({})), trigger(json!({}))], Nothing, &["warning EventTrigger/x: defined twice"]);
    let listens = trigger(json!({"eventSourceName": "x"}));
    let source = manifest("EventSource", json!({"messagingMatchCriteria": [{"subject": "("}, {"subject": "user"}]}));
    check(
        &[source, listens],
        Nothing,
        &[
            "error EventSource/x: `spec.messagingMatchCriteria[0].subject` is `(`, no regular expression: unclosed group",
        ],
    );
    check(&[manifest("EventSource", json!({}))], Absent, &["warning EventSource/x: no `spec.messagingMatchCriteria`"]);
}

#[test]
fn typo_says_what_was_meant() {
    let rules = rules(&trigger(json!({"cloudEventActions": "Delete"})));
    assert_eq!(
        rules.problems()[0].to_string(),
        "error: unknown field `spec.cloudEventActions`\n  --> rules.yaml:1   EventTrigger/x\n  hint: did you mean `spec.cloudEventAction`?"
    );
}

#[test]
fn secrets_are_rendered_only_of_their_type() {
    let text = "{kind: Namespace, apiVersion: v1, metadata: {name: \"{{ .CloudEvent.subject }}\"}}";
    let encoded = "a2luZDogTmFtZXNwYWNlCmFwaVZlcnNpb246IHYxCm1ldGFkYXRhOgogIG5hbWU6IGZpeGVkCg==";
    let secret = |kind: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": "s", "annotations": {INSTANTIATE: ""}},
               "data": {"b": encoded, "a": "!"}, "stringData": {"a": text}})
    };
    let references = trigger(json!({"policyRefs": [{"kind": "Secret", "namespace": "default", "name": "s"}]}));
    let make = |secret: Value| {
        let rules = rules(&format!("{SOUND}\n---\n{references}\n---\n{secret}"));
        let made = rules.trigger("x").unwrap().manifests(&map(LOGIN), OWN, 1);
        let document = rules.documents()["Secret/default/s"].manifest.clone();
        (
            made.map(|all| all.iter().map(|one| one.manifest["metadata"]["name"].clone()).collect::<Vec<_>>()),
            messages(&rules),
            document,
        )
    };
    let (made, said, _) = make(secret("Opaque"));
    assert!(made.unwrap_err().to_string().contains("the Secret is of type `Opaque`, expected"), "{said:?}");
    assert_eq!(said.len(), 1);
    let (made, said, _) = make(secret(SECRET_TYPE));
    assert!(made.unwrap_err().to_string().contains("`data.a` is not base64"), "{said:?}");
    let mut sound = secret(SECRET_TYPE);
    sound["data"].as_object_mut().unwrap().remove("a");
    assert_eq!(make(sound), (Ok(vec![json!("mgianluc"), json!("fixed")]), vec![], String::new()));
}

#[test]
fn names_of_references_are_templates_and_an_empty_namespace_is_the_cluster_s() {
    let text = "{kind: Namespace, apiVersion: v1, metadata: {name: a}}";
    let in_namespace = |namespace: &str, key: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "for-mgianluc", "namespace": namespace}, "data": {key: text}}).to_string()
    };
    let references =
        trigger(json!({"policyRefs": [{"kind": "ConfigMap", "name": "for-{{ .CloudEvent.subject }}"}], "tier": 7,
        "extraLabels": {"team": "{{ .Cluster.metadata.name }}"}, "extraAnnotations": {"note": " plain\n"}}));
    let made = |more: &[String]| {
        let rules = rules(&format!("{SOUND}\n---\n{references}\n---\n{}", more.join("\n---\n")));
        rules.trigger("x").unwrap().manifests(&map(LOGIN), OWN, 1)
    };
    let both = made(&[in_namespace("default", "d"), in_namespace("mgmt", "m")]).unwrap();
    assert_eq!(both[0].from.namespace, "mgmt");
    assert_eq!(
        both[0].manifest["metadata"],
        json!({"name": "a", "labels": {"team": "mgmt"}, "annotations": {"note": " plain\n"}})
    );
    assert_eq!(made(&[in_namespace("default", "d")]).unwrap()[0].from.namespace, "default");
    let missing = made(&[]).unwrap_err().to_string();
    assert!(missing.contains("names ConfigMap mgmt/for-mgianluc, which does not exist"), "{missing}");
}

#[test]
fn a_template_over_the_list_is_made_once_and_fails_where_there_is_no_list() {
    let list = "kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: all\ndata:\n  count: \"{{ len .CloudEvents }}\"\n";
    let one = "kind: Namespace\napiVersion: v1\nmetadata:\n  name: {{ .CloudEvent.subject }}\n";
    let still = "{kind: ConfigMap, apiVersion: v1, metadata: {name: \"{{ .ClusterName }}\"}}";
    let references = |one_for_event: bool| {
        trigger(
            json!({"oneForEvent": one_for_event, "policyRefs": [{"kind": "ConfigMap", "namespace": "default", "name": "x"}]}),
        )
    };
    let set = |one_for_event| {
        rules(&format!(
            "{SOUND}\n---\n{}\n---\n{}",
            references(one_for_event),
            config_map("x", json!({"l": list, "o": one, "s": still}))
        ))
    };
    let rules = set(false);
    let x = rules.trigger("x").unwrap();
    assert!(x.gathers());
    let keys = |made: Vec<Rendered>| made.into_iter().map(|one| one.key).collect::<Vec<_>>();
    assert_eq!(keys(x.manifests(&map(LOGIN), OWN, 1).unwrap()), ["o"]);
    let list = x.list(vec![map(LOGIN), map(LOGIN)], OWN, 1).unwrap();
    assert_eq!(list[0].manifest["data"]["count"], "2");
    assert_eq!(keys(list), ["l", "s"]);

    let rules = set(true);
    let x = rules.trigger("x").unwrap();
    assert!(!x.gathers());
    let error = x.manifests(&map(LOGIN), OWN, 1).unwrap_err();
    assert!(matches!(&error, Error::Content { key, .. } if key == "l"), "{error:?}");
}

#[test]
fn action_is_trimmed_and_anything_else_is_no_action_with_its_text() {
    let check = |action: &str, expected: Ruling<'_>| {
        let rules = rules(&format!("{SOUND}\n---\n{}", trigger(json!({"cloudEventAction": action}))));
        let decisions = outcomes(decide(&rules, "user-operation", LOGIN));
        assert_eq!(
            decisions,
            [("sound".to_owned(), Ruling::Create), ("x".to_owned(), expected)],
            "`{action}` {:?}",
            messages(&rules)
        );
    };
    check(" Delete\n", Ruling::Delete);
    check("{{ \"Create\" }}\n", Ruling::Create);
    check("{{ if true }}\n  Delete\n{{ end }}", Ruling::Delete);
    check("{{ .CloudEvent.subject }}", Ruling::NoAction("mgianluc".into()));
    check("{{ if false }}x{{ end }}", Ruling::NoAction("".into()));
    check("{{ if eq .Cluster.metadata.name \"mgmt\" }}Delete{{ end }}", Ruling::Delete);
    let rules = rules(&format!("{SOUND}\n---\n{}", trigger(json!({"cloudEventAction": "{{ .CloudEvent.missing }}"}))));
    let decisions = outcomes(decide(&rules, "user-operation", LOGIN));
    assert!(matches!(&decisions[1].1, Ruling::Failed(message) if message.contains("missing")), "{decisions:?}");
}

#[test]
fn clusters_with_labels_are_selected_by_them() {
    let source = manifest("EventSource", json!({"messagingMatchCriteria": [{}]}));
    let selects = trigger(json!({"eventSourceName": "{{ .Cluster.metadata.name }}", "sourceClusterSelector": {"matchLabels": {"env": "prod"}}}))
        .replace("{{ .Cluster.metadata.name }}", "{{ if .Cluster.metadata.labels.env }}x{{ end }}");
    let text = format!("{SOUND}\n---\n{source}\n---\n{selects}");
    let labels = |env: &str| [("env".to_owned(), env.to_owned())].into();
    let managed = Cluster {
        namespace: "projectsveltos".into(),
        name: "edge".into(),
        kind: ClusterKind::Sveltos,
        labels: Some(labels("prod")),
        object: None,
    };
    let clusters = Clusters::new(vec![managed, Cluster::own(labels("test"))]);
    let rules = RuleSet::new(Manifests::read("rules.yaml", &text), clusters);
    assert_eq!(messages(&rules), [] as [String; 0]);
    let event = CloudEvent::parse(&[], LOGIN.as_bytes()).unwrap();
    let event = view("user-operation", &event, LOGIN);
    let names =
        |cluster: &str| rules.decide(&event, cluster, 1).iter().map(|decision| decision.trigger).collect::<Vec<_>>();
    assert_eq!(names("mgmt/mgmt"), ["sound"]);
    assert_eq!(names("projectsveltos/edge"), ["sound", "x"]);
    let unheard = |cluster: &str| rules.unheard(&event, cluster).map(EventSource::name).collect::<Vec<_>>();
    assert_eq!((unheard("mgmt/mgmt"), unheard("projectsveltos/edge")), (vec!["x"], vec![]));
    assert_eq!(names("projectsveltos/unknown"), [] as [&str; 0]);
}

#[test]
fn first_criterion_that_matches_is_reported_and_why_not_says_what_differs() {
    let criteria = json!({"messagingMatchCriteria": [
        {"subject": "user-ops"},
        {"subject": "user", "cloudEventType": "logout$", "cloudEventSource": "other"},
        {"subject": "user", "cloudEventType": "login$"},
        {},
    ]});
    let text = format!(
        "{SOUND}\n---\n{}\n---\n{}",
        manifest("EventSource", criteria),
        trigger(json!({"eventSourceName": "x"}))
    );
    let rules = rules(&text);
    let decisions = decide(&rules, "user-operation", LOGIN);
    assert_eq!((decisions[1].trigger, decisions[1].event_source, decisions[1].criterion), ("x", "x", 2));
    let event = CloudEvent::parse(&[], LOGIN.as_bytes()).unwrap();
    let said: Vec<String> =
        rules.why_not(&view("user-operation", &event, LOGIN)).iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "EventSource/x, criterion 1: subject `user-operation` does not match `user-ops`",
            "EventSource/x, criterion 2: cloudEventSource `auth.example.com` does not match `other`; cloudEventType `auth.example.com.login` does not match `logout$`",
        ]
    );
}

#[test]
fn digest_changes_with_what_can_change_the_result_and_with_nothing_else() {
    let template = |text: &str| config_map("x", json!({"a": text}));
    let references = |spec: Value| {
        let mut whole = json!({"policyRefs": [{"kind": "ConfigMap", "namespace": "default", "name": "x"}]});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        trigger(whole)
    };
    let digest_in = |parts: &[String], clusters: Clusters| {
        let text = format!("{SOUND}\n---\n{}", parts.join("\n---\n"));
        RuleSet::new(Manifests::read("rules.yaml", &text), clusters).trigger("x").unwrap().digest()
    };
    let digest = |parts: &[String]| digest_in(parts, Clusters::default());
    let base = digest(&[references(json!({})), template("kind: A")]);
    for same in [
        vec![template("kind: A"), references(json!({}))],
        vec![references(json!({"maxUpdate": "30%", "helmCharts": [{}]})), template("kind: A")],
        vec![
            references(
                json!({"driftExclusions": [{"paths": ["/spec/replicas"], "target": {"kind": "Deployment"}}], "profileNameFormat": "x",
                "syncMode": "ContinuousWithDriftDetection"}),
            ),
            template("kind: A"),
        ],
        vec![
            references(json!({"policyRefs": [{"kind": "ConfigMap", "namespace": "default", "name": "x", "path": "p",
                "deploymentType": "Local"}]})),
            template("kind: A"),
        ],
        vec![
            references(json!({})),
            template("kind: A"),
            config_map("y", json!({})),
            manifest("EventSource", json!({})),
        ],
    ] {
        assert_eq!(digest(&same), base, "{same:?}");
    }
    for other in [
        vec![references(json!({})), template("kind: B")],
        vec![references(json!({})), template("kind: A").replace(INSTANTIATE, "other")],
        vec![references(json!({}))],
        vec![references(json!({"cloudEventAction": "Delete"})), template("kind: A")],
        vec![references(json!({"syncMode": "OneTime"})), template("kind: A")],
        vec![references(json!({"eventSourceName": "gone"})), template("kind: A")],
        vec![references(json!({"tier": 99})), template("kind: A")],
        vec![references(json!({"continueOnConflict": true})), template("kind: A")],
    ] {
        assert_ne!(digest(&other), base, "{other:?}");
    }
    let parts = [references(json!({})), template("kind: A")];
    assert_ne!(digest_in(&parts, Clusters::own([("a".to_owned(), "b".to_owned())].into())), base);
}

#[test]
fn mistake_in_a_template_is_told_at_its_place_in_the_file() {
    let broken = SEED[1].replace("{{ .CloudEvent.subject }}", "{{ .CloudEvent.subject | toYamll }}");
    let rules = rules(&broken);
    let line = broken.lines().position(|line| line.contains("toYamll")).unwrap();
    let column = broken.lines().nth(line).unwrap().find("toYamll").unwrap();
    let problem = &rules.problems()[0];
    assert_eq!((problem.rule.as_str(), problem.severity), ("ConfigMap/default/namespace", Severity::Error));
    assert_eq!(problem.origin, format!("rules.yaml:{}:{}", line + 1, column + 1), "{problem}");
    assert!(problem.hint.as_ref().is_some_and(|hint| hint.contains("toYaml")), "{problem}");
}

#[test]
fn tera_is_chosen_by_annotation_for_content_and_for_the_trigger() {
    let template = "kind: Namespace\napiVersion: v1\nmetadata:\n  name: {{ CloudEvent.subject }}\n";
    let with_dialect = |manifest: String, dialect: &str| {
        let mut manifest: Value = serde_json::from_str(&manifest).unwrap();
        manifest["metadata"]["annotations"][DIALECT] = dialect.into();
        manifest.to_string()
    };
    let spec = json!({"policyRefs": [{"kind": "ConfigMap", "namespace": "default", "name": "x"}],
        "cloudEventAction": "{% if CloudEvent.type == 'auth.example.com.login' %}Delete{% else %}Create{% endif %}"});
    let of = |dialect: &str| {
        let content = with_dialect(config_map("x", json!({"a": template})), dialect);
        rules(&format!("{SOUND}\n---\n{}\n---\n{content}", with_dialect(trigger(spec.clone()), dialect)))
    };
    let tera = of("tera");
    assert_eq!(messages(&tera), [] as [String; 0]);
    assert_eq!(outcomes(decide(&tera, "user-operation", LOGIN))[1], ("x".to_owned(), Ruling::Delete));
    let made = tera.trigger("x").unwrap().manifests(&map(LOGIN), OWN, 1).unwrap();
    assert_eq!(made[0].manifest["metadata"]["name"], "mgianluc");
    assert_eq!(
        messages(&of("jinja")),
        ["error EventTrigger/x: annotation `lifeline.dev/dialect` is `jinja`, which is no dialect"]
    );
}

/// A changed digest causes a replay at the upgrade. So the digests of triggers with default values are pinned.
#[test]
fn digest_of_triggers_stays_the_same_from_release_to_release() {
    let digest = |text: &str| rules(text).triggers().map(Trigger::digest).collect::<Vec<_>>();
    let rich = trigger(json!({"oneForEvent": true, "cloudEventAction": "Delete", "syncMode": "OneTime",
        "stopMatchingBehavior": "LeavePolicies", "extraLabels": {"a": "b"},
        "policyRefs": [{"kind": "ConfigMap", "name": "sound", "optional": true}, {"kind": "Secret", "name": "s", "force": true}]}));
    let found = [digest(SEED[0]), digest(SEED[1]), digest(&format!("{SOUND}\n---\n{rich}"))];
    assert_eq!(found, PINNED);
}

const PINNED: [&[u64]; 3] = [
    &[2_319_616_043_587_020_514],
    &[15_021_516_718_459_170_294],
    &[7_118_292_087_810_166_471, 16_232_830_322_820_171_146],
];
