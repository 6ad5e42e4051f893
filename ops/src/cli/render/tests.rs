//! What `render` says of events, and that no event can say more than a value.

use lifeline_engine::rules::{Clusters, Manifests};

use super::*;

const RULES: &str = "\
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: users}
spec: {messagingMatchCriteria: [{subject: users, cloudEventSource: auth}]}
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: manage}
spec:
  eventSourceName: users
  cloudEventAction: '{{ .CloudEvent.data.action }}'
  policyRefs: [{kind: ConfigMap, namespace: default, name: namespace}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: namespace, namespace: default, annotations: {projectsveltos.io/instantiate: ok}}
data:
  a.yaml: |
    kind: Namespace
    apiVersion: v1
    metadata:
      name: {{ .CloudEvent.subject }}
      annotations:
        team: {{ .CloudEvent.data.team | toJson }}
";

fn asked(text: &str) -> Asked {
    Asked { message: Message::read(text.as_bytes()), recorded_at_unix_nanos: 0, cluster: OWN.to_owned() }
}

fn answer(text: &str, nats_subject: Option<&str>) -> Answer {
    let sources = [Source { name: "r.yaml".into(), text: RULES.into() }];
    let rules = RuleSet::new(Manifests::read("r.yaml", RULES), Clusters::default());
    decide(&rules, &sources, &asked(text), nats_subject, None)
}

fn event(data: &Value) -> String {
    json!({"specversion": "1.0", "type": "login", "source": "auth", "id": "1", "subject": "zoe", "data": data})
        .to_string()
}

#[test]
fn what_a_trigger_makes_is_yaml_and_what_is_said_of_it_are_comments() {
    let made = answer(&event(&json!({"action": "Create", "team": "core"})), None);
    let expected = "\
# the NATS subject is not given and taken to be `users`: see --nats-subject
# EventTrigger/manage
#   matched   EventSource/users, criterion 1
#   decided   Create
#   because   `spec.cloudEventAction` is {{ .CloudEvent.data.action }}
---
# ConfigMap default/namespace, key `a.yaml`, document 1
apiVersion: v1
kind: Namespace
metadata:
  annotations:
    team: core
  name: zoe
";
    assert_eq!(made.as_yaml().expect("text"), expected);
    assert!(made.is_rendered && made.troubles.is_empty());
}

#[test]
fn a_value_of_an_event_adds_no_line() {
    for text in ["Create\n---\nkind: Secret", "x\r\nkind: Secret", "\u{2028}kind: Secret", "\u{85}kind: Secret"] {
        let made = answer(&event(&json!({"action": text, "team": text})), Some("users"));
        let yaml = made.as_yaml().expect("text");
        let documents = Manifests::read("made", &yaml);
        assert_eq!((documents.manifests.len(), documents.unreadable.len()), (0, 0), "{yaml}");
        assert_eq!(yaml.lines().count(), 5, "{yaml}");
        let made = answer(&event(&json!({"action": "Create", "team": text})), Some("users"));
        let documents = Manifests::read("made", &made.as_yaml().expect("text"));
        assert_eq!(documents.manifests.len(), 1);
        assert_eq!(documents.manifests[0].value["metadata"]["annotations"]["team"], text);
    }
}

#[test]
fn what_does_not_happen_is_explained() {
    #[track_caller]
    fn check(text: &str, nats_subject: Option<&str>, expected: &str) {
        let made = answer(text, nats_subject);
        assert_eq!((made.troubles.join("\n").as_str(), made.is_rendered), (expected, false));
    }
    let none = "error: the message is no CloudEvent: attribute `id` is missing or empty\n  hint: a CloudEvent has at least `specversion`, `id`, `source` and `type`";
    check("{}", None, none);
    let closest = "nothing happens: no EventSource matches\n  closest: EventSource/users, criterion 1: subject `user` does not match `users`";
    check(&event(&json!({})), Some("user"), closest);
    let expected = "\
error: key `a.yaml` cannot be rendered: no key `team`
  --> r.yaml:24:35
   |
24 |         team: {{ .CloudEvent.data.team | toJson }}
   |                                   ^^^^ in ConfigMap/default/namespace
   |
   = help: if it may be absent: `{{ if hasKey ... \"team\" }}` or `dig`";
    check(&event(&json!({"action": "Create"})), Some("users"), expected);
}

#[test]
fn names_that_an_engine_refuses_fail_and_names_that_no_server_takes_are_warned_about() {
    let of = |subject: &str| {
        let data = json!({"action": "Create", "team": "core"});
        let event = json!({"specversion": "1.0", "type": "login", "source": "auth", "id": "1", "subject": subject, "data": data});
        answer(&event.to_string(), Some("users"))
    };
    let refused = of("../x");
    assert!(!refused.is_rendered, "{:?}", refused.troubles);
    assert!(
        refused.troubles[0].starts_with("error: EventTrigger/manage: ConfigMap default/namespace, key `a.yaml`"),
        "{:?}",
        refused.troubles
    );
    for (subject, words) in
        [("UPPER", "its name `UPPER`"), ("a b", "its name `a b`"), (&"x".repeat(300), "`300` bytes")]
    {
        let warned = of(subject);
        assert!(warned.is_rendered && warned.troubles[0].starts_with("warning: "), "{:?}", warned.troubles);
        assert!(
            warned.troubles[0].contains(words) && warned.troubles[0].contains("\n  hint: "),
            "{:?}",
            warned.troubles
        );
    }
}

#[test]
fn a_remedy_is_on_a_line_of_its_own() {
    let text = RULES.replace("name: namespace}]", "name: nowhere}]");
    let rules = RuleSet::new(Manifests::read("r.yaml", &text), Clusters::default());
    let made = decide(&rules, &[], &asked(&event(&json!({"action": "Create"}))), Some("users"), None);
    let yaml = made.as_yaml().expect("text");
    assert!(yaml.contains("nowhere, which does not exist\n#   hint      create it, or set"), "{yaml}");
    assert!(!yaml.contains("\\n"), "{yaml}");
}

#[test]
fn a_nats_subject_is_made_up_only_where_a_source_spells_it() {
    let check = |pattern: &str, plain: Option<&str>| assert_eq!(super::plain(pattern).as_deref(), plain, "{pattern}");
    check("^users$", Some("users"));
    check(r"^vm\.up$", Some("vm.up"));
    check("auth.example/a-b_c", Some("auth.example/a-b_c"));
    for pattern in [r"^vm\.(up|down)$", "(login|logout)", "a.[0-9]+", "a.*", r"\w", "a{2}", "a$b", "x?"] {
        check(pattern, None);
    }
    let rules = RULES.replacen("subject: users", r"subject: '^users\.(up|down)$'", 1);
    assert_ne!(rules, RULES);
    let sources = [Source { name: "r.yaml".into(), text: rules.clone() }];
    let rules = RuleSet::new(Manifests::read("r.yaml", &rules), Clusters::default());
    let text = event(&json!({"action": "Create", "team": "core"}));
    let answer = decide(&rules, &sources, &asked(&text), None, None);
    let told = answer.troubles.concat();
    assert!(told.contains(r"`^users\.(up|down)$` may match") && told.contains("--nats-subject"), "{told}");
    let answer = decide(&rules, &sources, &asked(&text), Some("users.up"), None);
    assert!(answer.is_rendered, "{:?}", answer.troubles);
}
