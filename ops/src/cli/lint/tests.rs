//! What `lint` prints of mistakes, in each of its formats.

use lifeline_engine::rules::{Clusters, Manifests};
use serde_json::json;

use super::*;

const RULES: &str = "\
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: manage}
spec:
  eventSourceName: users
  tier: 5%
  policyRefs:
  - {kind: ConfigMap, namespace: default, name: namespace}
";

const CONTENT: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: namespace, annotations: {projectsveltos.io/instantiate: ok}}
data:
  namespace.yaml: |
    kind: Namespace
    labels: {{ .CloudEvent.data | toYamll }}
";

fn linted(texts: &[(&str, &str)]) -> (Vec<Finding>, Vec<Source>) {
    let mut manifests = Manifests::default();
    for (name, text) in texts {
        manifests.append(Manifests::read(name, text));
    }
    let source = |(name, text): &(&str, &str)| Source { name: (*name).to_owned(), text: (*text).to_owned() };
    let sources: Vec<Source> = texts.iter().map(source).collect();
    (findings_of(manifests, Clusters::default(), &sources), sources)
}

#[test]
fn people_see_the_words_in_question() {
    let rules = RULES.replace("tier: 5%", "maxUpdate: 5");
    let (findings, sources) = linted(&[("rules/trigger.yaml", &rules), ("rules/namespace.yaml", CONTENT)]);
    let expected = "\
note: EventSource `users` is not among the files
 --> rules/trigger.yaml:5:20
  |
5 |   eventSourceName: users
  |                    ^^^^^ in EventTrigger/manage
  |
  = help: it has to be where the engine finds it: give its file too, or say `--cluster kube`

warning: `spec.maxUpdate` is `5` and has no effect: there is one cluster, and a change reaches all its objects at once
 --> rules/trigger.yaml:6:14
  |
6 |   maxUpdate: 5
  |              ^ in EventTrigger/manage

error: key `namespace.yaml`: unknown function `toYamll`
 --> rules/namespace.yaml:7:35
  |
7 |     labels: {{ .CloudEvent.data | toYamll }}
  |                                   ^^^^^^^ in ConfigMap/default/namespace
  |
  = help: did you mean `toYaml`?

2 files, 1 error, 1 warning, 1 note
";
    assert_eq!(report(&findings, &sources, 2, Paint::Off), expected);
    assert_eq!(report(&[], &[], 1, Paint::Off), "1 file, nothing to say\n");
    assert!(report(&findings, &sources, 2, Paint::On).contains("\u{1b}["));
}

#[test]
fn programs_see_the_same_places() {
    let (findings, sources) = linted(&[("./a,b.yaml", RULES)]);
    let message = "`spec.tier`: invalid type: string \"5%\", expected i32";
    let expected = json!({
        "files": 1, "errors": 1, "warnings": 0, "notes": 0,
        "findings": [{
            "level": "error", "topic": "field", "rule": "EventTrigger/manage", "message": message, "hint": null,
            "file": "./a,b.yaml", "line": 6, "column": 9, "column_end": 11,
        }],
    });
    assert_eq!(json(&findings, &sources, 1), expected);
    let expected = "::error file=a%2Cb.yaml,line=6,col=9,endColumn=11,title=EventTrigger/manage::\
                    `spec.tier`: invalid type: string \"5%25\", expected i32\n";
    assert_eq!(github(&findings, &sources), expected);
    let sarif = sarif(&findings, &sources);
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!((&result["ruleId"], &result["level"]), (&json!("field"), &json!("error")));
    assert_eq!(result["message"]["text"], message);
    let expected = json!({"startLine": 6, "startColumn": 9, "endColumn": 11});
    assert_eq!(result["locations"][0]["physicalLocation"]["region"], expected);
    assert_eq!(result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"], "EventTrigger/manage");
    let rules = sarif["runs"][0]["tool"]["driver"]["rules"].as_array().expect("rules");
    assert!(rules.iter().any(|rule| rule["id"] == result["ruleId"]));
}

#[test]
fn the_name_of_a_rule_moves_no_cursor_and_begins_no_line() {
    let rules = RULES.replace("name: manage", r#"name: "\e]0;x\a\n::error file=evil::x""#);
    let (findings, sources) = linted(&[("rules/trigger.yaml", &rules)]);
    let shown = excerpts(&findings, &sources, Paint::Off).join("\n");
    assert!(shown.contains("::error file=evil"), "{shown}");
    assert!(!shown.chars().any(|char| char.is_control() && char != '\n'), "{shown:?}");
    assert!(shown.lines().all(|line| !line.starts_with("::error")), "{shown}");
}
