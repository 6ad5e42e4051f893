//! What Sveltos does and Lifeline does not: nothing of it goes without a word, and nothing else stops for it.

use super::*;

#[test]
fn a_manifest_of_another_kind_is_told_and_stops_a_withdrawal_only_where_it_may_be_a_rule() {
    #[track_caller]
    fn check(api_version: &str, kind: &str, is_complete: bool, expected: &str) {
        let manifest = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}, "spec": {}});
        let rules = rules(&format!("{SOUND}\n---\n{manifest}"));
        assert_eq!((rules.is_complete(), messages(&rules).join("; ").as_str()), (is_complete, expected));
    }
    for kind in
        ["ClusterSet", "Set", "SveltosCluster", "HealthCheck", "ClusterHealthCheck", "EventReport", "Classifier"]
    {
        let told = format!("warning {kind}/a: `{kind}` of Sveltos is not read and has no effect");
        check("lib.projectsveltos.io/v1beta1", kind, true, &told);
    }
    for kind in ["ClusterProfile", "Profile"] {
        let told = format!("warning {kind}/a: `{kind}` of Sveltos is not read and has no effect");
        check("config.projectsveltos.io/v1beta1", kind, true, &told);
    }
    let foreign = "warning EventSource/a: `EventSource` of `argoproj.io/v1alpha1` is no rule and has no effect";
    check("argoproj.io/v1alpha1", "EventSource", true, foreign);
    let no_rule = |api_version: &str, kind: &str| {
        format!("error {kind}/a: `{kind}` of `{api_version}` is no rule and has no effect")
    };
    for (api_version, kind) in [
        ("lib.projectsveltos.io/v1beta1", "EventTriger"),
        ("lib.projectsveltos.io", "EventTrigger"),
        ("config.projectsveltos.io/v1beta1", "EventTrigger"),
        ("v1beta1", "EventSource"),
        ("lib.projectsvelto.io/v1beta1", "EventTrigger"),
        ("lib.projectsveltos.oi/v1beta1", "EventSource"),
        ("lib.projectsveltos.oi/v1beta1", "EventTriger"),
        ("lib.projectveltos.io/v1beta1", "EventTrigger"),
        ("lib.projectsveltos.com/v1beta1", "EventTrigger"),
        ("lib.projectsveltos/v1beta1", "EventTrigger"),
    ] {
        check(api_version, kind, false, &no_rule(api_version, kind));
    }
}

#[test]
fn what_a_manifest_does_not_say_is_not_shown_as_empty() {
    #[track_caller]
    fn check(manifest: &Value, expected: &str) {
        let rules = rules(&format!("{SOUND}\n---\n{manifest}"));
        assert_eq!(messages(&rules), [expected], "{manifest}");
    }
    let nothing = "warning : a document without `kind` is no manifest and has no effect";
    check(&json!({"specversion": "1.0", "id": "1"}), nothing);
    check(&json!({"kind": "Foo"}), "warning Foo: `Foo` without `apiVersion` is no rule and has no effect");
    check(&json!({"apiVersion": "v1", "kind": "Foo"}), "warning Foo: `Foo` of `v1` is no rule and has no effect");
}

#[test]
fn a_list_that_is_none_may_hold_rules() {
    for (kind, field) in [("Lst", "items"), ("List", "item")] {
        let list = json!({"apiVersion": "v1", "kind": kind, field: [{"kind": "EventTrigger"}]});
        let rules = rules(&format!("{SOUND}\n---\n{list}"));
        let told = format!("error {kind}/: `{kind}` of `v1` is no list, and what it holds is not read");
        assert_eq!((rules.is_complete(), messages(&rules)), (false, vec![told]));
    }
}

#[test]
fn a_trigger_whose_templates_are_all_over_the_list_is_in_force_and_says_nothing() {
    let references = |one_for_event: bool| {
        trigger(json!({"oneForEvent": one_for_event, "policyRefs": [{"kind": "ConfigMap", "name": "x"}]}))
    };
    let list = config_map("x", json!({"a": "name: {{ len .CloudEvents }}"}));
    check(&[references(false), list.clone()], Cost::Nothing, &[]);
    check(&[references(true), list], Cost::Nothing, &[]);
}

#[test]
fn content_with_a_slip_in_a_field_is_refused_until_it_is_mended() {
    let references = trigger(json!({"policyRefs": [{"kind": "ConfigMap", "name": "x"}]}));
    let content = config_map("x", json!({"a": "{kind: Namespace, apiVersion: v1, metadata: {name: a}}"}));
    let set = |content: &str| rules(&format!("{SOUND}\n---\n{references}\n---\n{content}"));
    for slip in [content.replace("\"data\"", "\"dta\""), content.replace("\"data\"", "\"more\":{},\"data\"")] {
        let rules = set(&slip);
        let said = messages(&rules);
        assert!(said[0].starts_with("error ConfigMap/default/x: unknown field `"), "{said:?}");
        assert!(rules.trigger("x").unwrap().manifests(&map(LOGIN), OWN, 1).is_err());
        assert_ne!(rules.trigger("x").unwrap().digest(), set(&content).trigger("x").unwrap().digest());
    }
}

#[test]
fn content_of_another_stage_is_refused_until_its_annotation_goes() {
    let text = "{kind: Namespace, apiVersion: v1, metadata: {name: a}}";
    let references = trigger(json!({"policyRefs": [{"kind": "ConfigMap", "name": "x"}]}));
    let set = |annotation: &str| {
        let content = config_map("x", json!({"a": text})).replace(INSTANTIATE, annotation);
        rules(&format!("{SOUND}\n---\n{references}\n---\n{content}"))
    };
    let annotation = "projectsveltos.io/lua";
    let rules = set(annotation);
    let said = messages(&rules);
    assert!(said[0].starts_with(&format!("error ConfigMap/default/x: annotation `{annotation}` ")), "{said:?}");
    let error = rules.trigger("x").unwrap().manifests(&map(LOGIN), OWN, 1).unwrap_err().to_string();
    assert!(error.contains(annotation), "{error}");
    // What failed is tried again when the annotation goes.
    assert_ne!(rules.trigger("x").unwrap().digest(), set("other").trigger("x").unwrap().digest());
}
