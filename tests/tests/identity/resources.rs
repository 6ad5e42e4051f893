//! Objects that templates see beside the event: `templateResourceRefs`.

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
