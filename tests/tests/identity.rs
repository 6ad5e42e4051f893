//! Who is who: resources, triggers and objects are told apart by exactly what they are, and nothing that an event says
//! can make it more than data.

#[path = "identity/brake.rs"]
mod brake;
#[path = "identity/instances.rs"]
mod instances;
#[path = "identity/lists.rs"]
mod lists;
#[path = "identity/ownership.rs"]
mod ownership;
#[path = "identity/planned.rs"]
mod planned;
#[path = "identity/resources.rs"]
mod resources;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::PostParams;
use lifeline_ops::servers::NatsServer;
use lifeline_tests::harness::Need::{ControlPlane, Nats};
use lifeline_tests::harness::{
    Event, Failure, Kubernetes, Lifeline, Outcome, Producer, Scene, User, eventually, run, story,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const SOURCE: &str = "auth.example.com";

fn main() -> ExitCode {
    run(vec![
        story("subjects_and_sources_of_any_shape_are_different_resources", &[Nats, ControlPlane], any_shape),
        story("an_action_with_blanks_around_it_creates_and_another_text_is_recorded", &[Nats, ControlPlane], actions),
        story("a_trigger_that_is_made_after_its_events_sees_them", &[Nats, ControlPlane], late_trigger),
        story("a_trigger_that_is_removed_withdraws_its_objects_or_leaves_them", &[Nats, ControlPlane], removed_trigger),
        story("a_dry_run_deletes_nothing", &[Nats, ControlPlane], brake::dry_run),
        story("a_slip_in_a_rule_removes_nothing_that_lives_until_it_is_confirmed", &[Nats, ControlPlane], brake::slip),
        story("what_is_held_or_confirmed_stays_so_over_a_restart", &[Nats, ControlPlane], brake::restarted),
        story("what_another_trigger_may_want_stays_until_it_is_mended", &[Nats, ControlPlane], brake::moved),
        story("a_trigger_that_is_renamed_keeps_the_uids_of_few_objects", &[Nats, ControlPlane], brake::few_renamed),
        story("a_trigger_that_is_renamed_keeps_the_uids_of_many_objects", &[Nats, ControlPlane], brake::many_renamed),
        story("a_plan_says_what_changed_rules_then_do", &[Nats, ControlPlane], planned::planned),
        story("a_template_that_changes_changes_the_objects", &[Nats, ControlPlane], changed_template),
        story(
            "an_object_claimed_twice_stays_with_the_first_and_then_goes_to_the_next",
            &[Nats, ControlPlane],
            claimed_twice,
        ),
        story("an_object_of_somebody_else_is_neither_adopted_nor_deleted", &[Nats, ControlPlane], somebody_elses),
        story("several_engines_leave_the_objects_of_each_other_alone", &[Nats, ControlPlane], instances::several),
        story("what_needs_another_object_comes_after_it_and_goes_before_it", &[Nats, ControlPlane], ownership::order),
        story("a_missing_namespace_is_made_or_waited_for", &[Nats, ControlPlane], ownership::waits_for_namespace),
        story(
            "a_field_that_never_changes_is_named_and_the_object_made_again_where_allowed",
            &[Nats, ControlPlane],
            ownership::recreated,
        ),
        story("the_lower_tier_has_the_object_under_its_uid", &[Nats, ControlPlane], ownership::tiers),
        story(
            "what_is_renamed_or_split_in_the_rules_keeps_its_objects",
            &[Nats, ControlPlane],
            ownership::changes_of_rules_keep_uids,
        ),
        story("a_conflict_stops_the_others_or_not", &[Nats, ControlPlane], ownership::stops_at_conflict),
        story("what_a_webhook_denies_is_tried_until_it_allows", &[Nats, ControlPlane], ownership::webhook_denies),
        story("what_a_policy_denies_is_tried_until_it_allows", &[Nats, ControlPlane], ownership::policy_denies),
        story("one_object_lists_all_live_keys", &[Nats, ControlPlane], lists::roster),
        story("a_list_under_changed_rules", &[Nats, ControlPlane], lists::roster_under_changed_rules),
        story("an_object_that_templates_see_is_followed", &[Nats, ControlPlane], resources::followed),
        story("the_own_sveltos_cluster_is_followed", &[Nats, ControlPlane], resources::own_cluster),
        story("the_value_of_an_event_cannot_add_a_key_or_a_kind", &[Nats, ControlPlane], injection),
    ])
}

/// A trigger over every event on the NATS subject `identity`, and its template.
struct Rules<'a> {
    name: &'a str,
    action: &'a str,
    behaviour: &'a str,
    template: &'a str,
}

/// Creates, and deletes what logs out.
const LOGIN_LOGOUT: &str = r#"{{ if eq .CloudEvent.type "auth.example.com.logout" }}Delete{{ else }}Create{{ end }}"#;

impl Rules<'_> {
    fn text(&self) -> String {
        let Self { name, action, behaviour, template } = self;
        let template: String = template.lines().map(|line| format!("    {line}\n")).collect();
        let action = json!(action);
        format!(
            r#"apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {{name: {name}}}
spec:
  messagingMatchCriteria:
  - subject: identity
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {{name: {name}}}
spec:
  eventSourceName: {name}
  oneForEvent: true
  stopMatchingBehavior: {behaviour}
  cloudEventAction: {action}
  policyRefs:
  - {{kind: ConfigMap, namespace: default, name: {name}}}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}
  namespace: default
  annotations: {{projectsveltos.io/instantiate: ok}}
data:
  object.yaml: |
{template}"#
        )
    }
}

/// One engine with rules that can be changed, and ConfigMaps as what it makes: those are gone at once when they go.
struct Stage {
    lifeline: Lifeline,
    producer: Producer,
    config_maps: Api<ConfigMap>,
    nats: NatsServer,
}

impl Stage {
    async fn set(scene: &Scene, rules: &str) -> Result<Self, Failure> {
        let nats = scene.nats("nats")?;
        let mut lifeline = scene.engine("engine", scene.control_plane(), &nats, "identity", rules)?;
        lifeline.wait_until_ready()?;
        let kubernetes = Kubernetes::of(scene.control_plane()).await?;
        Ok(Self {
            lifeline,
            producer: Producer::connect(&nats, "identity").await?,
            config_maps: Api::namespaced(kubernetes.client(), "default"),
            nats,
        })
    }

    async fn publish(&self, event: Event) -> Outcome {
        self.producer.publish(event).await.map(drop)
    }

    /// Waits until the ConfigMap is there and its data is this.
    async fn has(&self, name: &str, data: &[(&str, &str)]) -> Result<ConfigMap, Failure> {
        let wanted: BTreeMap<String, String> =
            data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        eventually(&format!("ConfigMap/{name} with {wanted:?}"), SOON, async || {
            match self.config_maps.get_opt(name).await {
                Ok(Some(found)) if found.data.as_ref() == Some(&wanted) => Ok(found),
                Ok(found) => Err(format!("{:?}", found.map(|found| found.data))),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// Waits until the ConfigMap is gone.
    async fn lost(&self, name: &str) -> Outcome {
        eventually(&format!("ConfigMap/{name} to be gone"), SOON, async || match self.config_maps.get_opt(name).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err("it is there".to_owned()),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// Waits until the lifecycle of a subject is in a phase; its row.
    async fn phase(&self, subject: &str, phase: &str) -> Result<Value, Failure> {
        eventually(&format!("`{subject}` to be {phase}"), SOON, async || {
            let rows = self.lifeline.ask(&["get", "lifecycles", "--subject", subject]);
            let row = rows.map_err(|failure| failure.to_string())?["items"][0].clone();
            if row["phase"] == phase { Ok(row) } else { Err(row.to_string()) }
        })
        .await
    }

    /// What the history of a subject says last.
    fn tells_last(&self, subject: &str, fact: &str) -> Outcome {
        let history = self.lifeline.ask(&["history", SOURCE, subject])?;
        let last = history["items"].as_array().and_then(|entries| entries.last()).cloned().unwrap_or_default();
        assert_eq!(last["fact"], fact, "{history}");
        Ok(())
    }

    fn change_rules(&self, text: &str) -> Outcome {
        let folder = self.lifeline.data();
        let folder = folder.parent().ok_or("the data folder has no parent")?.join("rules");
        // As an editor does it: nobody ever sees half a file.
        fs::write(folder.join("next"), text)?;
        fs::rename(folder.join("next"), folder.join("rules.yaml"))?;
        Ok(())
    }
}

async fn any_shape(scene: &Scene) -> Outcome {
    let long = "l".repeat(300);
    let resources = [
        (SOURCE, "a/b"),
        (SOURCE, "a-b"),
        (SOURCE, "/leading"),
        (SOURCE, "-leading"),
        (SOURCE, " blanks "),
        (SOURCE, "ümläut ☃"),
        (SOURCE, "UPPER"),
        (SOURCE, "upper"),
        (SOURCE, "12345"),
        (SOURCE, "true"),
        (SOURCE, "null"),
        (SOURCE, ""),
        (SOURCE, &long),
        ("https://auth.example.com:8443/login?realm=a&b=c#d", "a/b"),
        ("https://auth.example.com:8443/login?realm=a&b=c", "a/b"),
        ("/relative", "a/b"),
        ("urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66", "a/b"),
        (&long, "a/b"),
    ];
    let template = r#"apiVersion: v1
kind: ConfigMap
metadata:
  name: shape-{{ printf "%s %s" .CloudEvent.source .CloudEvent.subject | sha256sum | trunc 16 }}
  namespace: default
data:
  source: {{ .CloudEvent.source | quote }}
  subject: {{ .CloudEvent.subject | quote }}
"#;
    let rules = Rules { name: "shape", action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template };
    let stage = Stage::set(scene, &rules.text()).await?;
    for (source, subject) in resources {
        stage.publish(Event::of(source, subject, "auth.example.com.login")).await?;
    }
    stage.lifeline.has_recorded(resources.len() as u64).await?;
    stage.lifeline.has_settled().await?;

    let rows = stage.lifeline.ask(&["get", "lifecycles", "--trigger", "shape"])?;
    let rows = rows["items"].as_array().cloned().unwrap_or_default();
    let mut names = BTreeSet::new();
    for (source, subject) in resources {
        let row = rows.iter().find(|row| row["source"] == source && row["subject"] == subject);
        // CloudEvents has no empty subject; one that is empty is that of a producer who meant none.
        let row = row.ok_or_else(|| format!("no lifecycle of `{source}` `{subject}`"))?;
        assert_eq!(row["phase"], "Ready", "{row}");
        let name = row["objects"][0]["name"].as_str().unwrap_or_default().to_owned();
        let made = stage.has(&name, &[("source", source), ("subject", subject)]).await?;
        let annotations = made.metadata.annotations.unwrap_or_default();
        assert_eq!(annotations["lifeline.dev/source"], source);
        assert_eq!(annotations["lifeline.dev/subject"], subject);
        names.insert(name);
    }
    assert_eq!(names.len(), resources.len(), "each has an object of its own");

    // And each goes alone.
    stage.publish(Event::of(SOURCE, "a/b", "auth.example.com.logout")).await?;
    stage.lifeline.has_recorded(resources.len() as u64 + 1).await?;
    stage.lifeline.has_settled().await?;
    let rows = stage.lifeline.ask(&["get", "objects", "--trigger", "shape"])?;
    assert_eq!(rows["items"].as_array().map(Vec::len), Some(resources.len() - 1));
    Ok(())
}

async fn actions(scene: &Scene) -> Outcome {
    let template =
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: action-{{ .CloudEvent.subject }}\n  namespace: default\n";
    // What a person writes with a block of YAML.
    let action = "\n  {{ .CloudEvent.data.action }}\n";
    let rules = Rules { name: "action", action, behaviour: "WithdrawPolicies", template };
    let stage = Stage::set(scene, &rules.text()).await?;
    let event = |subject: &str, action: &str| Event::of(SOURCE, subject, "t").data(json!({ "action": action }));
    stage.publish(event("one", "reboot the server")).await?;
    stage.publish(event("two", "Create\n")).await?;
    stage.publish(event("three", "create")).await?;
    stage.publish(event("four", "")).await?;
    stage.publish(event("five", "\t Create \r\n")).await?;
    for made in ["action-two", "action-five"] {
        eventually(made, SOON, async || match stage.config_maps.get_opt(made).await {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await?;
    }
    for (subject, text) in [("one", "reboot the server"), ("three", "create")] {
        let history = stage.lifeline.ask(&["history", SOURCE, subject])?;
        let action = history["items"][0]["event"]["decisions"][0]["action"].as_str().unwrap_or_default().to_owned();
        assert!(action.contains(text) && action != "Create", "`{action}` does not tell `{text}`: {history}");
        assert!(stage.config_maps.get_opt(&format!("action-{subject}")).await?.is_none());
    }
    stage.publish(event("two", "Delete\n")).await?;
    stage.lost("action-two").await
}

async fn late_trigger(scene: &Scene) -> Outcome {
    let nothing = "apiVersion: lib.projectsveltos.io/v1beta1\nkind: EventSource\nmetadata: {name: nothing}\nspec: {messagingMatchCriteria: [{subject: nothing}]}\n";
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"late-{{ .CloudEvent.subject }}\", namespace: default}\ndata: {of: \"{{ .CloudEvent.subject }}\"}\n";
    let stage = Stage::set(scene, nothing).await?;
    stage.publish(Event::user("login", "stays")).await?;
    stage.publish(Event::user("login", "left")).await?;
    stage.publish(Event::user("logout", "left")).await?;
    stage.lifeline.has_recorded(3).await?;
    let rules = Rules { name: "late", action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template };
    stage.change_rules(&rules.text())?;
    stage.has("late-stays", &[("of", "stays")]).await?;
    stage.lifeline.has_settled().await?;
    assert!(stage.config_maps.get_opt("late-left").await?.is_none(), "who has logged out is not made");
    Ok(())
}

async fn removed_trigger(scene: &Scene) -> Outcome {
    let rules = |name: &'static str, behaviour: &'static str| {
        let template = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: \"{name}-{{{{ .CloudEvent.subject }}}}\", namespace: default}}\ndata: {{by: {name}}}\n"
        );
        Rules { name, action: LOGIN_LOGOUT, behaviour, template: &template }.text()
    };
    let (withdraws, leaves, stays) =
        (rules("withdraws", "WithdrawPolicies"), rules("leaves", "LeavePolicies"), rules("stays", "WithdrawPolicies"));
    let all = [withdraws.as_str(), &leaves, &stays].join("\n---\n");
    let stage = Stage::set(scene, &all).await?;
    stage.publish(Event::user("login", "zoe")).await?;
    stage.has("withdraws-zoe", &[("by", "withdraws")]).await?;
    let left = stage.has("leaves-zoe", &[("by", "leaves")]).await?;
    let stayed = stage.has("stays-zoe", &[("by", "stays")]).await?;

    stage.change_rules(&stays)?;
    stage.lost("withdraws-zoe").await?;
    stage.lifeline.has_settled().await?;
    let after = stage.has("leaves-zoe", &[("by", "leaves")]).await?;
    assert_eq!(after.metadata.uid, left.metadata.uid);
    let after = stage.has("stays-zoe", &[("by", "stays")]).await?;
    assert_eq!(after.metadata.uid, stayed.metadata.uid);
    // What was left is nobody's business any more.
    stage.publish(Event::user("logout", "zoe")).await?;
    stage.lost("stays-zoe").await?;
    stage.lifeline.has_settled().await?;
    stage.has("leaves-zoe", &[("by", "leaves")]).await.map(drop)
}

async fn changed_template(scene: &Scene) -> Outcome {
    let rules = |template: &str| {
        Rules { name: "changed", action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template }.text()
    };
    let first = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"changed-{{ .CloudEvent.subject }}\", namespace: default}\ndata: {edition: first, old: key}\n";
    let second = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"changed-{{ .CloudEvent.subject }}\", namespace: default}\ndata: {edition: second}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"changed-too-{{ .CloudEvent.subject }}\", namespace: default}\ndata: {edition: second}\n";
    let stage = Stage::set(scene, &rules(first)).await?;
    for subject in ["ann", "bob"] {
        stage.publish(Event::user("login", subject)).await?;
    }
    let before = stage.has("changed-ann", &[("edition", "first"), ("old", "key")]).await?;
    stage.change_rules(&rules(second))?;
    for subject in ["ann", "bob"] {
        stage.has(&format!("changed-{subject}"), &[("edition", "second")]).await?;
        stage.has(&format!("changed-too-{subject}"), &[("edition", "second")]).await?;
    }
    let after = stage.has("changed-ann", &[("edition", "second")]).await?;
    assert_eq!(after.metadata.uid, before.metadata.uid, "changed, not made again");
    // What a template no longer gives goes.
    stage.change_rules(&rules(first))?;
    stage.lost("changed-too-ann").await?;
    stage.has("changed-ann", &[("edition", "first"), ("old", "key")]).await?;
    Ok(())
}

async fn claimed_twice(scene: &Scene) -> Outcome {
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: claimed-{{ .CloudEvent.subject | replace \"/\" \"-\" }}\n  namespace: default\ndata: {by: \"{{ .CloudEvent.subject }}\"}\n";
    let rules = Rules { name: "claimed", action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template };
    let stage = Stage::set(scene, &rules.text()).await?;
    stage.publish(Event::user("login", "a/b")).await?;
    let first = stage.has("claimed-a-b", &[("by", "a/b")]).await?;
    stage.publish(Event::user("login", "a-b")).await?;
    let row = stage.phase("a-b", "Failing").await?;
    let error = row["error"].as_str().unwrap_or_default();
    assert!(error.contains("ConfigMap") && error.contains("a/b"), "the conflict names object and owner: {error}");

    let conflicts = stage.lifeline.ask(&["show", "conflicts"])?;
    let claims = &conflicts["items"][0]["claims"];
    assert_eq!(conflicts["items"][0]["name"], "claimed-a-b", "{conflicts}");
    assert_eq!((&claims[0]["subject"], &claims[1]["subject"]), (&json!("a/b"), &json!("a-b")), "{conflicts}");
    let kept = stage.has("claimed-a-b", &[("by", "a/b")]).await?;
    assert_eq!(kept.metadata.uid, first.metadata.uid);
    // The one who only claims it takes nothing with it.
    stage.publish(Event::user("logout", "a-b")).await?;
    stage.phase("a-b", "Gone").await?;
    stage.has("claimed-a-b", &[("by", "a/b")]).await?;
    stage.tells_last("a-b", "Released")?;

    stage.publish(Event::user("login", "a-b")).await?;
    stage.phase("a-b", "Failing").await?;
    stage.publish(Event::user("logout", "a/b")).await?;
    let taken_over = stage.has("claimed-a-b", &[("by", "a-b")]).await?;
    assert_eq!(taken_over.metadata.uid, first.metadata.uid, "it changes hands in place");
    stage.phase("a-b", "Ready").await?;
    stage.phase("a/b", "Gone").await?;
    stage.tells_last("a/b", "Released")?;
    stage.publish(Event::user("logout", "a-b")).await?;
    stage.lost("claimed-a-b").await?;
    stage.tells_last("a-b", "Deleted")?;
    let conflicts = stage.lifeline.ask(&["show", "conflicts"])?;
    assert_eq!(conflicts["items"], json!([]));
    Ok(())
}

async fn somebody_elses(scene: &Scene) -> Outcome {
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"elses-{{ .CloudEvent.subject }}\", namespace: default}\ndata: {by: lifeline}\n";
    let rules = Rules { name: "elses", action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template };
    let stage = Stage::set(scene, &rules.text()).await?;
    let theirs = serde_json::from_value(json!({"metadata": {"name": "elses-config"}, "data": {"by": "hand"}}))?;
    let theirs = stage.config_maps.create(&PostParams::default(), &theirs).await?;

    stage.publish(Event::user("login", "config")).await?;
    let row = stage.phase("config", "Failing").await?;
    let error = row["error"].as_str().unwrap_or_default();
    for word in ["elses-config", "was not made by Lifeline", "hint:", "lifeline.dev/adopt"] {
        assert!(error.contains(word), "`{word}` is missing in: {error}");
    }
    // It blocks nobody else.
    stage.publish(Event::user("login", "other")).await?;
    stage.has("elses-other", &[("by", "lifeline")]).await?;
    stage.publish(Event::user("logout", "config")).await?;
    stage.phase("config", "Gone").await?;
    let after = stage.has("elses-config", &[("by", "hand")]).await?;
    assert_eq!(after.metadata.uid, theirs.metadata.uid);
    assert_eq!(after.metadata.resource_version, theirs.metadata.resource_version, "it was not touched");
    stage.tells_last("config", "Released")?;
    Ok(())
}

async fn injection(scene: &Scene) -> Outcome {
    // As people write it: bare, in quotes by hand, and as they should.
    let shapes = [
        ("injection-bare", "{{ .CloudEvent.data.value }}"),
        ("injection-by-hand", "\"{{ .CloudEvent.data.value }}\""),
        ("injection-quoted", "{{ .CloudEvent.data.value | quote }}"),
    ];
    let rules = shapes.map(|(name, value)| {
        let template = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}-{{{{ .CloudEvent.subject }}}}\n  namespace: default\ndata:\n  value: {value}\n"
        );
        Rules { name, action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template: &template }.text()
    });
    let stage = Stage::set(scene, &rules.join("\n---\n")).await?;

    // An attribute that CloudEvents does not allow never gets as far as a template.
    stage.publish(Event::user("login", "x\nkind: ClusterRole")).await?;
    let hostile = [
        "x\nkind: ClusterRole",
        "x\n  injected: \"yes\"",
        "x\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: injected\nrules: []\n",
        "\"\n  injected: \"yes",
        "\"\nkind: ClusterRole #",
        "{a: b}",
        "&anchor *alias !tag",
        "*alias",
        "| \n  block",
        "{{ .CloudEvent.source }}",
        "# a comment",
        "- item",
        "<<: {injected: yes}",
        "'",
        "\\",
        "\u{2028}injected: yes",
        "\u{85}injected: yes",
    ];
    for (number, value) in hostile.iter().enumerate() {
        let event = Event::user("login", &number.to_string()).data(json!({ "value": value }));
        stage.publish(event).await?;
    }
    stage.lifeline.has_recorded(hostile.len() as u64).await?;
    let (mut literal, mut refused) = (0, 0);
    for (number, value) in hostile.iter().enumerate() {
        for (name, _) in shapes {
            let object = format!("{name}-{number}");
            let subject = number.to_string();
            let query = ["get", "lifecycles", "--trigger", name, "--subject", &subject];
            let row = eventually(&object, SOON, async || {
                let rows = stage.lifeline.ask(&query).map_err(|failure| failure.to_string())?;
                let row = rows["items"][0].clone();
                if row["phase"] == "Ready" || row["phase"] == "Failing" { Ok(row) } else { Err(row.to_string()) }
            })
            .await?;
            match row["error"].as_str() {
                // The value, to the letter, and nothing beside it.
                None => stage.has(&object, &[("value", value)]).await.map(|_| literal += 1)?,
                Some(error) => {
                    assert!(name != "injection-quoted", "`{value}` was refused though it was quoted: {error}");
                    assert!(error.contains("hint: quote it") && error.contains("default/injection-"), "{error}");
                    assert!(stage.config_maps.get_opt(&object).await?.is_none());
                    refused += 1;
                }
            }
        }
    }
    println!(
        "identity: {} hostile values in 3 templates: {literal} literal, {refused} refused, 0 injected",
        hostile.len()
    );
    assert!(literal >= hostile.len());
    let rejected = stage.lifeline.ask(&["get", "events", "--limit", "1000"])?.to_string();
    assert!(rejected.contains("expected no control characters"), "{rejected}");
    let roles: Api<ClusterRole> = Api::all(stage.config_maps.clone().into_client());
    for name in ["x", "injected", "injection-bare-0", "injection-by-hand-0"] {
        assert!(roles.get_opt(name).await?.is_none(), "ClusterRole `{name}` was made");
    }
    Ok(())
}
