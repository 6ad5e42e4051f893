//! Rules as a whole: the seed's examples as they are written, and each kind of defect beside a rule that works.

use serde_json::{Map, Value, json};

use super::*;
use lifeline_projections::event::CloudEvent;
use lifeline_projections::fact::{Decision, Outcome};

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

fn outcomes(decisions: Vec<Decision<'_>>) -> Vec<(String, Outcome<'_>)> {
    decisions.into_iter().map(|decision| (decision.trigger.to_owned(), decision.outcome)).collect()
}

fn messages(rules: &RuleSet) -> Vec<String> {
    rules
        .problems()
        .iter()
        .map(|problem| format!("{} {}: {}", problem.severity, problem.rule, problem.message))
        .collect()
}

fn create(trigger: &str) -> Vec<(String, Outcome<'static>)> {
    vec![(trigger.to_owned(), Outcome::Create)]
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
    assert_eq!(rules.assumed_selectors().map(Trigger::name).collect::<Vec<_>>(), ["create-namespace"]);
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
        assert_eq!(decisions, [("manage-namespace".to_owned(), Outcome::Delete)]);
        assert_eq!(decide(&rules, "other", LOGIN), []);
        let rendered = rules.trigger("manage-namespace").unwrap().manifests(&map(LOGIN), OWN, 1).unwrap();
        assert_eq!(rendered.len(), 1);
        assert_eq!(
            rendered[0].manifest,
            json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "mgianluc"}})
        );
    }
}
