//! Changes of rules that would take much away, or nothing: slips, dry runs, and triggers that are renamed.

use super::*;

/// What each user gets, whatever the trigger is called.
fn of_user(prefix: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: \"{prefix}-{{{{ .CloudEvent.subject }}}}\", namespace: default}}\ndata: {{of: \"{{{{ .CloudEvent.subject }}}}\"}}\n"
    )
}

impl Stage {
    /// The uids of what users have, by name.
    async fn uids(&self, prefix: &str, users: usize) -> Result<BTreeMap<String, Option<String>>, Failure> {
        let mut uids = BTreeMap::new();
        for user in 0..users {
            let (name, of) = (format!("{prefix}-user-{user}"), format!("user-{user}"));
            let found = self.has(&name, &[("of", &of)]).await?;
            uids.insert(name, found.metadata.uid);
        }
        Ok(uids)
    }

    /// The id under which a withdrawal of so many objects is held, once it is.
    async fn held(&self, objects: usize) -> Result<String, Failure> {
        eventually("a withdrawal that is held", SOON, async || {
            let status = self.lifeline.ask(&["status"]).map_err(|failure| failure.to_string())?;
            let held = status["replays"].as_array().into_iter().flatten().find_map(|replay| replay["held"].as_object());
            match held {
                Some(held) if held["objects"] == objects => Ok(held["id"].as_str().unwrap_or_default().to_owned()),
                _ => Err(status["replays"].to_string()),
            }
        })
        .await
    }
}

pub async fn slip(scene: &Scene) -> Outcome {
    const USERS: usize = 12;
    let right =
        Rules { name: "braked", action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template: &of_user("braked") }
            .text();
    let wrong = right.replace("subject: identity", "subject: identitty");
    let mut stage = Stage::set(scene, &right).await?;
    for user in 0..USERS {
        stage.publish(Event::user("login", &format!("user-{user}"))).await?;
    }
    let before = stage.uids("braked", USERS).await?;

    stage.change_rules(&wrong)?;
    let id = stage.held(USERS).await?;
    let status = stage.lifeline.ask(&["status"])?;
    assert_eq!(status["reconciled"], status["recorded"], "what is held is no lag: {status}");
    stage.lifeline.kill();
    stage.lifeline.restart()?;
    assert_eq!(stage.held(USERS).await?, id, "a restart neither lets it pass nor gives it another id");
    assert_eq!(stage.uids("braked", USERS).await?, before);
    assert!(stage.lifeline.get("/readyz").is_ok(), "what is held stops nothing");

    stage.change_rules(&right)?;
    eventually("nothing to be held any more", SOON, async || {
        let status = stage.lifeline.ask(&["status"]).map_err(|failure| failure.to_string())?;
        if status["replays"] == json!([]) { Ok(()) } else { Err(status["replays"].to_string()) }
    })
    .await?;
    stage.lifeline.has_settled().await?;
    assert_eq!(stage.uids("braked", USERS).await?, before, "rules that are put right make it moot");
    // Deletions by events are never held.
    for user in 0..USERS {
        stage.publish(Event::user("logout", &format!("user-{user}"))).await?;
    }
    for user in 0..USERS {
        stage.lost(&format!("braked-user-{user}")).await?;
        stage.publish(Event::user("login", &format!("user-{user}"))).await?;
    }
    stage.uids("braked", USERS).await?;
    stage.change_rules(&wrong)?;
    let id = stage.held(USERS).await?;
    stage.lifeline.ask(&["confirm", &id])?;
    for user in 0..USERS {
        stage.lost(&format!("braked-user-{user}")).await?;
    }
    Ok(())
}

/// Nine objects go in a first small step; nine more are held, and a restart after each step changes nothing.
pub async fn restarted(scene: &Scene) -> Outcome {
    const USERS: usize = 31;
    let rules = |without: &str| {
        let action =
            format!("{{{{ if regexMatch `{without}` .CloudEvent.subject }}}}No{{{{ else }}}}Create{{{{ end }}}}");
        Rules { name: "steps", action: &action, behaviour: "WithdrawPolicies", template: &of_user("steps") }.text()
    };
    let mut stage = Stage::set(scene, &rules("^nobody$")).await?;
    for user in 0..USERS {
        stage.publish(Event::user("login", &format!("user-{user}"))).await?;
    }
    stage.uids("steps", USERS).await?;
    stage.change_rules(&rules("^user-[0-8]$"))?;
    for user in 0..9 {
        stage.lost(&format!("steps-user-{user}")).await?;
    }
    stage.lifeline.has_settled().await?;
    stage.lifeline.kill();
    stage.lifeline.restart()?;
    stage.lifeline.wait_until_ready()?;
    stage.change_rules(&rules("^user-(1?[0-8])$"))?;
    let id = stage.held(9).await?;
    stage.lifeline.kill();
    stage.lifeline.restart()?;
    assert_eq!(stage.held(9).await?, id);
    // Longer than the pause before withdrawals.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let status = stage.lifeline.ask(&["status"])?;
    assert_eq!(status["replays"][0]["held"]["lately"], 9, "{status}");
    for user in 10..19 {
        let name = format!("steps-user-{user}");
        assert!(stage.config_maps.get_opt(&name).await?.is_some(), "{name} went by a restart");
    }
    stage.lifeline.ask(&["confirm", &id])?;
    // What was answered holds.
    stage.lifeline.kill();
    stage.lifeline.restart()?;
    for user in 10..19 {
        stage.lost(&format!("steps-user-{user}")).await?;
    }
    stage.has("steps-user-9", &[("of", "user-9")]).await?;
    Ok(())
}

/// An object moves from a trigger that goes to one whose further text is not there yet.
pub async fn moved(scene: &Scene) -> Outcome {
    const USERS: usize = 3;
    let rules = |name: &str, prefix: &str| {
        Rules { name, action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template: &of_user(prefix) }.text()
    };
    let before = format!("{}---\n{}", rules("first", "moved"), rules("second", "other"));
    let mut stage = Stage::set(scene, &before).await?;
    for user in 0..USERS {
        stage.publish(Event::user("login", &format!("user-{user}"))).await?;
    }
    let uids = stage.uids("moved", USERS).await?;
    stage.uids("other", USERS).await?;
    let reference = "  - {kind: ConfigMap, namespace: default, name: second}\n";
    let after = rules("second", "other")
        .replace(reference, &format!("{reference}  - {{kind: ConfigMap, namespace: default, name: late}}\n"));
    stage.change_rules(&after)?;
    stage.held(USERS).await?;
    stage.lifeline.kill();
    stage.lifeline.restart()?;
    stage.held(USERS).await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let status = stage.lifeline.ask(&["status"])?;
    let reason = status["replays"][0]["held"]["waits_for"].to_string();
    assert!(reason.contains("ConfigMap default/late, which does not exist"), "{status}");
    assert!(status["warnings"].to_string().contains("they stay while others may want them"), "{status}");
    assert_eq!(stage.uids("moved", USERS).await?, uids, "they stay while it is not known who wants them");
    // A Delete event is never held.
    stage.publish(Event::user("logout", "user-2")).await?;
    stage.lost("other-user-2").await?;

    let late = rules("late", "moved");
    let late = late.rsplit("---\n").next().unwrap_or_default();
    stage.change_rules(&format!("{after}---\n{late}"))?;
    eventually("the objects to be those of the second trigger", SOON, async || {
        let objects = stage.lifeline.ask(&["get", "objects"]).map_err(|failure| failure.to_string())?;
        let items = objects["items"].as_array().cloned().unwrap_or_default();
        if items.len() == 4 && items.iter().all(|item| item["trigger"] == "second") {
            Ok(())
        } else {
            Err(objects.to_string())
        }
    })
    .await?;
    let kept = stage.uids("moved", USERS - 1).await?;
    assert!(kept.iter().all(|(name, uid)| uids[name] == *uid), "{kept:?}, before {uids:?}");
    stage.lost("moved-user-2").await?;
    Ok(())
}

/// What waits by intent is no lag, and not stuck, and says why it waits.
async fn waits_by_intent(stage: &Stage, trigger: &str, why: &str, lifecycles: u64) -> Outcome {
    // Longer than `show stuck` is patient below.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let lifeline = &stage.lifeline;
    let status = lifeline.ask(&["status"])?;
    assert_eq!(status["waiting"], json!([{"trigger": trigger, "why": why, "lifecycles": lifecycles}]));
    assert_eq!((&status["open"], &status["sites"][0]["open"]), (&json!(0), &json!(0)), "{status}");
    assert_eq!(status["reconciled"], status["recorded"], "{status}");
    let stuck = lifeline.ask(&["show", "stuck", "--longer-than", "1s"])?;
    assert_eq!(stuck["items"], json!([]));
    let url = lifeline.url();
    for (command, text) in [
        (&["get", "lifecycles"][..], why),
        (&["show", "stuck", "--longer-than", "1s"], "not listed: 2 lifecycles that wait by intent"),
        (&["status"], "waiting     2 lifecycles of `dry` by its `syncMode: DryRun`, see `lifeline show dryrun`"),
    ] {
        let (_, said) = Lifeline::exit_of(&[command, &["--server", &url]].concat())?;
        assert!(said.contains(text), "{command:?}: {said}");
    }
    let metrics = lifeline.get("/metrics")?;
    for line in [
        "lifeline_reconcile_lag_records 0".to_owned(),
        format!("lifeline_lifecycles_waiting{{trigger=\"{trigger}\",why=\"{why}\"}} {lifecycles}"),
    ] {
        assert!(metrics.contains(&line), "`{line}` is missing in:\n{metrics}");
    }
    Ok(())
}

pub async fn dry_run(scene: &Scene) -> Outcome {
    let rules =
        Rules { name: "dry", action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template: &of_user("dry") }.text();
    let dry = rules.replace("oneForEvent: true", "oneForEvent: true\n  syncMode: DryRun");
    let mut stage = Stage::set(scene, &rules).await?;
    for user in 0..2 {
        stage.publish(Event::user("login", &format!("user-{user}"))).await?;
    }
    let before = stage.uids("dry", 2).await?;
    stage.change_rules(&dry)?;
    stage.lifeline.has_said("dry run of dry: nothing is applied").await?;
    stage.publish(Event::user("logout", "user-0")).await?;
    stage.lifeline.has_said("dry run of dry: nothing is deleted").await?;
    stage.lifeline.has_recorded(3).await?;
    assert_eq!(stage.uids("dry", 2).await?, before);
    waits_by_intent(&stage, "dry", "DryRun", 2).await?;
    stage.lifeline.kill();
    stage.lifeline.restart()?;
    stage.lifeline.wait_until_ready()?;
    assert_eq!(stage.uids("dry", 2).await?, before);
    // Once it is in earnest, the logout counts.
    stage.change_rules(&rules)?;
    stage.lost("dry-user-0").await?;
    stage.change_rules(&dry)?;
    eventually("the dry run to be in force", SOON, async || {
        let status = stage.lifeline.ask(&["status"]).map_err(|failure| failure.to_string())?;
        let problems = status["problems"].to_string();
        if problems.contains("is `DryRun`") { Ok(()) } else { Err(problems) }
    })
    .await?;
    // The status knows the rules a moment before the recorder takes them.
    tokio::time::sleep(Duration::from_secs(2)).await;
    stage.change_rules("apiVersion: lib.projectsveltos.io/v1beta1\nkind: EventSource\nmetadata: {name: nothing}\nspec: {messagingMatchCriteria: [{subject: nothing}]}\n")?;
    eventually("the trigger to be gone", SOON, async || {
        let rules = stage.lifeline.ask(&["get", "lifecycles"]).map_err(|failure| failure.to_string())?;
        let is_left = rules["items"].as_array().into_iter().flatten().any(|item| item["phase"] == "Left");
        if is_left { Ok(()) } else { Err(rules.to_string()) }
    })
    .await?;
    assert!(stage.config_maps.get_opt("dry-user-1").await?.is_some());
    Ok(())
}

pub async fn few_renamed(scene: &Scene) -> Outcome {
    renamed_trigger(scene, "few", 3).await
}

pub async fn many_renamed(scene: &Scene) -> Outcome {
    renamed_trigger(scene, "many", 12).await
}

async fn renamed_trigger(scene: &Scene, prefix: &str, users: usize) -> Outcome {
    let template = of_user(prefix);
    let rules = |name| Rules { name, action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template: &template }.text();
    let stage = Stage::set(scene, &rules("before")).await?;
    for user in 0..users {
        stage.publish(Event::user("login", &format!("user-{user}"))).await?;
    }
    let before = stage.uids(prefix, users).await?;
    stage.change_rules(&rules("after"))?;
    eventually("the objects to be those of the new name", SOON, async || {
        let objects = stage.lifeline.ask(&["get", "objects"]).map_err(|failure| failure.to_string())?;
        let items = objects["items"].as_array().cloned().unwrap_or_default();
        let renamed = items.iter().filter(|item| item["trigger"] == "after").count();
        if renamed == users && items.len() == users { Ok(()) } else { Err(objects.to_string()) }
    })
    .await?;
    stage.lifeline.has_settled().await?;
    assert_eq!(stage.uids(prefix, users).await?, before);
    let said = fs::read_to_string(stage.lifeline.log())?;
    let alarms: Vec<&str> = said.lines().filter(|line| line.contains(" WARN ") && line.contains(prefix)).collect();
    assert_eq!(alarms, Vec::<&str>::new(), "a new name is no alarm");
    assert!(!said.contains("would withdraw"), "a hold is said that is none:\n{said}");
    for user in 0..users {
        stage.publish(Event::user("logout", &format!("user-{user}"))).await?;
    }
    for user in 0..users {
        stage.lost(&format!("{prefix}-user-{user}")).await?;
    }
    Ok(())
}
