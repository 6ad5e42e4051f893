//! Objects that templates see beside the event: `templateResourceRefs`, and what represents the own cluster.

use super::*;

const REFERENCE: &str = r#"  templateResourceRefs:
  - resource: {apiVersion: v1, kind: ConfigMap, namespace: default, name: "plan-{{ .CloudEvent.subject }}"}
    identifier: Plan
  policyRefs:"#;

const PLAN: &str =
    "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: plan-zoe, namespace: default}\ndata: {size: SIZE}\n";

pub async fn followed(scene: &Scene) -> Outcome {
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"sized-{{ .CloudEvent.subject }}\", namespace: default}\n\
                    data: {size: \"{{ (getResource \"Plan\").data.size }}\"}\n";
    let rules = Rules { name: "sized", action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template };
    let without = rules.text().replace("  policyRefs:", REFERENCE).replace("/instantiate", "/template");
    let with = |size: &str| format!("{without}{}", PLAN.replace("SIZE", size));
    let mut stage = Stage::set(scene, &without).await?;
    stage.publish(Event::user("login", "zoe")).await?;
    let row = stage.phase("zoe", "Failing").await?.to_string();
    assert!(
        row.contains("`spec.templateResourceRefs[0].resource` names ConfigMap default/plan-zoe, which does not exist"),
        "{row}"
    );

    stage.change_rules(&with("small"))?;
    let uid = stage.has("sized-zoe", &[("size", "small")]).await?.metadata.uid;
    stage.change_rules(&with("large"))?;
    assert_eq!(stage.has("sized-zoe", &[("size", "large")]).await?.metadata.uid, uid);
    stage.lifeline.kill();
    stage.change_rules(&with("huge"))?;
    stage.lifeline.restart()?;
    stage.lifeline.wait_until_ready()?;
    assert_eq!(stage.has("sized-zoe", &[("size", "huge")]).await?.metadata.uid, uid);
    // What was read is recorded, as all rules are.
    let history = stage.lifeline.ask(&["get", "events", "--limit", "1000"])?.to_string();
    assert!(history.contains("ConfigMap/default/plan-zoe changed"), "{history}");
    // Once it is gone the object stays as it is, and the lifecycle says why.
    stage.change_rules(&without)?;
    stage.phase("zoe", "Failing").await?;
    assert_eq!(stage.has("sized-zoe", &[("size", "huge")]).await?.metadata.uid, uid);
    stage.publish(Event::user("logout", "zoe")).await?;
    stage.lost("sized-zoe").await
}

pub async fn own_cluster(scene: &Scene) -> Outcome {
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"on-{{ .CloudEvent.subject }}\", namespace: default}\n\
                    data: {zone: \"{{ .Cluster.metadata.annotations.zone }}\", ready: \"{{ .Cluster.status.ready }}\"}\n";
    let rules = Rules { name: "zoned", action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template };
    let selected = "spec:\n  sourceClusterSelector: {matchLabels: {env: fv}}\n  eventSourceName";
    let rules = rules.text().replace("spec:\n  eventSourceName", selected);
    let managed = |env: &str, zone: &str| {
        let metadata =
            format!("{{namespace: mgmt, name: mgmt, labels: {{env: {env}}}, annotations: {{zone: {zone}}}}}");
        format!(
            "{rules}---\napiVersion: lib.projectsveltos.io/v1beta1\nkind: SveltosCluster\nmetadata: {metadata}\n\
             spec: {{}}\nstatus: {{ready: true}}\n"
        )
    };
    let mut stage = Stage::set(scene, &managed("fv", "a")).await?;
    stage.publish(Event::user("login", "zoe")).await?;
    let uid = stage.has("on-zoe", &[("zone", "a"), ("ready", "true")]).await?.metadata.uid;
    stage.change_rules(&managed("fv", "b"))?;
    assert_eq!(stage.has("on-zoe", &[("zone", "b"), ("ready", "true")]).await?.metadata.uid, uid);
    let history = stage.lifeline.ask(&["get", "events", "--limit", "1000"])?.to_string();
    assert!(history.contains("SveltosCluster/mgmt/mgmt changed"), "{history}");
    // A cluster that the trigger no longer selects.
    stage.change_rules(&managed("other", "b"))?;
    stage.lost("on-zoe").await?;
    stage.lifeline.kill();
    stage.change_rules(&managed("fv", "c"))?;
    stage.lifeline.restart()?;
    stage.lifeline.wait_until_ready()?;
    stage.has("on-zoe", &[("zone", "c"), ("ready", "true")]).await.map(drop)
}
