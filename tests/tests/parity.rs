//! The table of parity: no field of Sveltos is passed over in silence, and what is said of it is what the table says.

use std::collections::BTreeSet;

use lifeline_engine::error_text::chain;
use lifeline_engine::rules::{Clusters, Finding, Level, Manifests, OWN, RuleSet, Standing, lint};
use lifeline_engine::template::parse_manifests;
use lifeline_tests::parity::{FIELDS, Field, Place, TEMPLATES, Verdict};

fn findings(field: &Field) -> (Vec<Finding>, bool) {
    let text = field.rules().map(|manifest| manifest.to_string()).join("\n---\n");
    let manifests = Manifests::read("rules.yaml", &text);
    let rules = RuleSet::new(manifests.clone(), Clusters::default());
    let is_in_force = matches!(rules.standing("parity"), Standing::InForce(_));
    (lint(manifests, Clusters::default(), &[]), is_in_force)
}

#[test]
fn every_field_is_done_warned_about_or_refused_as_the_table_says() {
    let mut wrong = Vec::new();
    for field in FIELDS {
        let (findings, is_in_force) = findings(field);
        let said = |level: Level, words: &str| {
            let text = |finding: &Finding| {
                let hint = finding.problem.hint.clone().unwrap_or_default();
                format!("{} {hint}", finding.problem.message)
            };
            findings.iter().any(|finding| finding.level == level && text(finding).contains(words))
        };
        let silent = findings.iter().all(|finding| finding.level == Level::Note);
        let is_so = match field.verdict {
            Verdict::Done => silent && is_in_force,
            Verdict::Warned(words) => said(Level::Warning, words) && is_in_force,
            // A paused trigger is out of force, and nothing is wrong with it.
            Verdict::Refused(words) => said(Level::Error, words) || (said(Level::Warning, words) && !is_in_force),
        };
        if !is_so {
            let told: Vec<String> = findings.iter().map(|finding| finding.problem.to_string()).collect();
            wrong.push(format!(
                "{:?} {}\n  in force: {is_in_force}\n  {}",
                field.verdict,
                field.written,
                told.join("\n  ")
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), FIELDS.len(), wrong.join("\n"));
}

#[test]
fn every_template_gives_its_text_or_is_warned_about_or_refused() {
    let event = serde_json::json!({
        "specversion": "1.0", "type": "login", "source": "auth", "id": "1", "subject": "ada",
        "data": {"number": 1_000_000, "text": "b", "Resource": "r", "list": [{"Resources": "a"}, {"Resources": "b"}]},
    });
    let mut wrong = Vec::new();
    for (template, verdict, gives) in TEMPLATES {
        let sound = Field { place: Place::Policy, written: "{}", verdict: Verdict::Done };
        let [source, mut trigger, mut content] = sound.rules();
        // One of a list is warned about, where it is not an error of the event.
        trigger["spec"]["oneForEvent"] = (!template.contains("CloudEvents")).into();
        content["metadata"]["annotations"] = serde_json::json!({"projectsveltos.io/instantiate": "ok"});
        let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
        let filled = format!("{object}data:\n  text: |-\n    {template}\n");
        content["data"] = serde_json::json!({"a.yaml": filled, "b.yaml": object.replace("name: a", "name: b")});
        let text = [source, trigger, content].map(|manifest| manifest.to_string()).join("\n---\n");
        let rules = RuleSet::new(Manifests::read("rules.yaml", &text), Clusters::default());
        let problems: Vec<String> = rules.problems().iter().map(ToString::to_string).collect();
        let warned = |words: &str| problems.iter().any(|text| text.starts_with("warning") && text.contains(words));
        let event = event.as_object().expect("an object");
        let made = rules.trigger("parity").map(|trigger| trigger.manifests(event, OWN, 0));
        let given = match &made {
            Some(Ok(made)) => made[0].manifest["data"]["text"].as_str().unwrap_or_default().to_owned(),
            Some(Err(error)) => format!("failed: {}", chain(error)),
            None => "out of force".to_owned(),
        };
        let said = format!("{given}\n{}", problems.join("\n"));
        let is_so = match verdict {
            Verdict::Done => given == *gives && problems.is_empty(),
            Verdict::Warned(words) => warned(words),
            Verdict::Refused(words) => !matches!(made, Some(Ok(_))) && said.contains(words),
        };
        if !is_so {
            wrong.push(format!("{verdict:?} {template}\n  {said}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), TEMPLATES.len(), wrong.join("\n"));
}

#[test]
fn the_table_has_every_field_of_our_definitions() {
    let fields = |text: &str| -> BTreeSet<String> {
        let definition = parse_manifests("definition", text).unwrap().remove(0);
        let spec = definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties").unwrap();
        let policies = spec.pointer("/policyRefs/items/properties").and_then(|fields| fields.as_object());
        let all = spec.as_object().into_iter().chain(policies).flat_map(|fields| fields.keys());
        all.cloned().collect()
    };
    let mut missing = fields(include_str!("../../ops/crds/eventtriggers.yaml"));
    missing.extend(fields(include_str!("../../ops/crds/eventsources.yaml")));
    let is_spec = |place: Place| matches!(place, Place::Source | Place::Trigger | Place::Policy);
    for field in FIELDS.iter().filter(|field| is_spec(field.place)) {
        missing.retain(|name| !field.written.contains(&format!("\"{name}\"")));
    }
    // Every rule of the table has them.
    missing.remove("policyRefs");
    assert_eq!(missing, BTreeSet::new());
}
