//! One object of all live keys: `oneForEvent: false` with a template over `.CloudEvents`.

use std::fs;

use kube::api::{Patch, PatchParams};

use super::*;

const TEMPLATE: &str = r#"apiVersion: v1
kind: ConfigMap
metadata: {name: NAME, namespace: default}
data:
  users: "{{ range .CloudEvents }}{{ .subject }},{{ end }}"
"#;

/// So many applies are a handful for a burst of a thousand logins.
const APPLIES_MAX: u64 = 20;

/// The rules of a story. Its list has a name of its own: others are played beside it.
fn rules(name: &str, settings: &str) -> String {
    let template = TEMPLATE.replace("NAME", name);
    let rules = Rules { name, action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template: &template };
    rules.text().replace("oneForEvent: true", &format!("oneForEvent: false{settings}"))
}

impl Stage {
    async fn users(&self, name: &str, users: &str) -> Result<String, Failure> {
        let found = self.has(name, &[("users", users)]).await?;
        self.lifeline.has_settled().await?;
        Ok(found.metadata.uid.unwrap_or_default())
    }

    fn writes(&self) -> Result<u64, Failure> {
        Ok(self.lifeline.status()?["cluster_writes"].as_u64().ok_or("no count of writes")?)
    }
}

pub async fn roster(scene: &Scene) -> Outcome {
    let mut stage = Stage::set(scene, &rules("roster", "\n  syncMode: ContinuousWithDriftDetection")).await?;
    for user in ["cid", "ann", "bob"] {
        stage.publish(Event::user("login", user)).await?;
    }
    // By key, not by time.
    let uid = stage.users("roster", "ann,bob,cid,").await?;
    stage.publish(Event::user("logout", "bob")).await?;
    assert_eq!(stage.users("roster", "ann,cid,").await?, uid);

    stage.lifeline.kill();
    stage.publish(Event::user("logout", "ann")).await?;
    stage.publish(Event::user("login", "dan")).await?;
    stage.lifeline.restart()?;
    stage.lifeline.wait_until_ready()?;
    assert_eq!(stage.users("roster", "cid,dan,").await?, uid);

    // The volume is lost: the stream says all of it again.
    stage.lifeline.kill();
    fs::remove_dir_all(stage.lifeline.data())?;
    stage.lifeline.restart()?;
    stage.lifeline.wait_until_ready()?;
    stage.lifeline.has_recorded(6).await?;
    assert_eq!(stage.users("roster", "cid,dan,").await?, uid);

    let why = stage.lifeline.ask(&["why", "object", "ConfigMap", "default/roster"])?;
    let subjects: Vec<&Value> =
        why["item"]["list"]["keys"].as_array().into_iter().flatten().map(|key| &key["subject"]).collect();
    assert_eq!((&why["item"]["list"]["live"], subjects), (&json!(2), vec![&json!("cid"), &json!("dan")]), "{why}");
    let history = stage.lifeline.ask(&["history", "", "roster"])?.to_string();
    assert!(history.contains("the list of roster is to hold 2 live keys"), "{history}");

    let edit = Patch::Merge(json!({"data": {"users": "nobody"}}));
    stage.config_maps.patch("roster", &PatchParams::default(), &edit).await?;
    assert_eq!(stage.users("roster", "cid,dan,").await?, uid, "what was edited is put back");

    let before = stage.writes()?;
    let names: Vec<String> = (0..1_000).map(|number| format!("user-{number:04}")).collect();
    stage.producer.publish_all(names.iter().map(|name| Event::user("login", name))).await?;
    stage.lifeline.has_recorded(1_006).await?;
    let all: String = ["cid", "dan"]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .fold(String::new(), |all, name| all + name + ",");
    assert_eq!(stage.users("roster", &all).await?, uid);
    let writes = stage.writes()? - before;
    println!("{writes} writes for a burst of 1,000 logins");
    assert!(writes <= APPLIES_MAX, "{writes} writes");

    for name in ["cid", "dan"].into_iter().chain(names.iter().map(String::as_str)) {
        stage.publish(Event::user("logout", name)).await?;
    }
    stage.lost("roster").await?;
    stage.lifeline.has_settled().await?;
    let row = stage.phase("roster", "Gone").await?;
    assert_eq!(row["source"], "", "{row}");
    Ok(())
}

pub async fn roster_under_changed_rules(scene: &Scene) -> Outcome {
    const NAME: &str = "roster-changed";
    const USERS: usize = 12;
    let right = rules(NAME, "");
    let mut stage = Stage::set(scene, &right).await?;
    let names: Vec<String> = (0..USERS).map(|number| format!("user-{number:02}")).collect();
    for name in &names {
        stage.publish(Event::user("login", name)).await?;
    }
    let all = names.iter().fold(String::new(), |all, name| all + name + ",");
    let uid = stage.users(NAME, &all).await?;

    // A slip that would take all keys away is held, and so is the object.
    stage.change_rules(&right.replace("subject: identity", "subject: identitty"))?;
    eventually("a withdrawal that is held", SOON, async || {
        let status = stage.lifeline.ask(&["status"]).map_err(|failure| failure.to_string())?;
        let held = status["replays"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|replay| replay["held"]["keys"] == USERS && replay["held"]["objects"] == 1);
        if held { Ok(()) } else { Err(status["replays"].to_string()) }
    })
    .await?;
    assert_eq!(stage.has(NAME, &[("users", &all)]).await?.metadata.uid.as_deref(), Some(&*uid));
    stage.change_rules(&right)?;
    assert_eq!(stage.users(NAME, &all).await?, uid);

    // Texts that change make the list again.
    stage.change_rules(&right.replace("users: \"", "users: \"now "))?;
    assert_eq!(stage.users(NAME, &format!("now {all}")).await?, uid);

    // In a dry run nothing is done, and a trigger that leaves its objects leaves the list.
    stage.change_rules(&rules(NAME, "\n  syncMode: DryRun"))?;
    stage.lifeline.has_said("dry run of roster-changed: nothing is applied").await?;
    assert_eq!(stage.has(NAME, &[("users", &format!("now {all}"))]).await?.metadata.uid.as_deref(), Some(&*uid));
    let leaves = right.replace("WithdrawPolicies", "LeavePolicies");
    stage.change_rules(&leaves)?;
    assert_eq!(stage.users(NAME, &all).await?, uid);
    stage.change_rules("apiVersion: lib.projectsveltos.io/v1beta1\nkind: EventSource\nmetadata: {name: nothing}\nspec: {messagingMatchCriteria: [{subject: nothing}]}\n")?;
    stage.phase(NAME, "Left").await?;
    assert_eq!(stage.has(NAME, &[("users", &all)]).await?.metadata.uid.as_deref(), Some(&*uid));
    stage.lifeline.stop();
    Ok(())
}
