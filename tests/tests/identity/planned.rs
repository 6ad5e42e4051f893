//! What `lifeline plan` says of changed rules, and what they then do.

use super::*;

/// What each user gets.
fn of_user(value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: \"planned-{{{{ .CloudEvent.subject }}}}\", namespace: default}}\ndata: {{of: \"{value}\"}}\n"
    )
}

pub async fn planned(scene: &Scene) -> Outcome {
    const USERS: usize = 12;
    let rules =
        |name, template: &str| Rules { name, action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template }.text();
    let (first, second) = (of_user("first"), of_user("second"));
    let stage = Stage::set(scene, &rules("planned", &first)).await?;
    for user in 0..USERS {
        stage.publish(Event::user("login", &format!("user-{user}"))).await?;
    }
    let has_all = async |value: &str| -> Result<Vec<Option<String>>, Failure> {
        let mut uids = Vec::new();
        for user in 0..USERS {
            let found = stage.has(&format!("planned-user-{user}"), &[("of", value)]).await?;
            uids.push(found.metadata.uid);
        }
        stage.lifeline.has_settled().await?;
        Ok(uids)
    };
    let uids = has_all("first").await?;
    let url = stage.lifeline.url();
    let plan = |text: &str, more: &[&str]| -> Result<(Option<i32>, String), Failure> {
        let file = scene.write("plan.yaml", text)?;
        let file = file.to_string_lossy();
        Lifeline::exit_of(&[&["plan", "-f", &file], more].concat())
    };
    let asks = ["--server", url.as_str()];
    let tells = |(code, text): &(Option<i32>, String), expected: i32, words: &[&str]| {
        println!("planned: {text}");
        assert_eq!(*code, Some(expected), "{text}");
        words.iter().for_each(|word| assert!(text.contains(word), "`{word}` is missing in:\n{text}"));
    };

    tells(&plan(&rules("planned", &first), &asks)?, 0, &["No changes"]);
    // Another text: each object is changed under its uid, and the server says how.
    let changed = plan(&rules("planned", &second), &asks)?;
    tells(
        &changed,
        2,
        &[
            "Plan: 0 to create, 12 to change, 0 to delete.",
            "~ data.of: \"first\" -> \"second\"",
            "12 changes compared with the cluster",
        ],
    );
    // Another name: each object goes on under its uid, though it is much.
    tells(
        &plan(&rules("renamed", &second), &asks)?,
        2,
        &["0 to delete. 12 to change hands", "from EventTrigger/planned"],
    );
    // No trigger: all would go, and the brake would hold it.
    let source = rules("planned", &first);
    let source = source.split("---").next().ok_or("no source")?;
    tells(
        &plan(source, &asks)?,
        2,
        &["12 to delete. 12 to be confirmed", "12 of 12 objects stay until `lifeline confirm "],
    );
    // Other names: what would be made waits with what would go.
    let elsewhere = rules("planned", &first).replace("name: \"planned-", "name: \"planned-elsewhere-");
    let expected =
        ["Plan: 12 to create, 0 to change, 12 to delete. 24 to be confirmed", "what would be made with them waits too"];
    tells(&plan(&elsewhere, &asks)?, 2, &expected);
    // A dry run: nothing is touched any more.
    let dry = rules("planned", &second).replace("  oneForEvent: true", "  oneForEvent: true\n  syncMode: DryRun");
    tells(
        &plan(&dry, &asks)?,
        2,
        &["a dry run: nothing is applied or deleted, and 12 objects stay as they are", "No object changes now"],
    );
    // A mistake in the rules is shown as lint shows it, and what they name and do not bring is the engine's.
    let broken = rules("planned", &first).replace("oneForEvent", "oneForEvents");
    tells(&plan(&broken, &asks)?, 1, &["oneForEvents", "plan.yaml:", "there is no plan"]);
    let source_and_trigger = rules("planned", &first).split("---").take(2).collect::<Vec<_>>().join("---");
    tells(&plan(&source_and_trigger, &asks)?, 0, &["No changes"]);
    let elsewhere =
        source_and_trigger.replace("namespace: default, name: planned", "namespace: default, name: nowhere");
    tells(&plan(&elsewhere, &asks)?, 1, &["ConfigMap default/nowhere, which does not exist"]);
    assert_eq!(has_all("first").await?, uids, "nothing was touched");

    // A replay under the same rules decides all of them again, and changes nothing.
    let replay = |more: &[&str]| Lifeline::exit_of(&[&["replay"], &asks[..], more].concat());
    tells(&replay(&["--trigger", "planned", "--dry-run"])?, 0, &["No changes"]);
    let all = "12 resources looked at, 12 lifecycles decided again, 0 with another result";
    tells(&replay(&["--trigger", "planned"])?, 0, &[all]);
    tells(&replay(&["--trigger", "planned"])?, 0, &[all]);
    // Nothing has happened for longer than that.
    tokio::time::sleep(Duration::from_secs(2)).await;
    tells(&replay(&["--trigger", "planned", "--from", "1s"])?, 0, &["0 lifecycles decided again"]);
    tells(&replay(&["--trigger", "nobody"])?, 1, &["no EventTrigger `nobody` is in force"]);
    assert_eq!(has_all("first").await?, uids);

    stage.change_rules(&rules("planned", &second))?;
    assert_eq!(has_all("second").await?, uids);
    stage.change_rules(&rules("renamed", &second))?;
    eventually("the objects to be those of the new name", SOON, async || {
        let objects = stage.lifeline.ask(&["get", "objects"]).map_err(|failure| failure.to_string())?;
        let items = objects["items"].as_array().cloned().unwrap_or_default();
        let renamed = items.iter().filter(|item| item["trigger"] == "renamed").count();
        if renamed == USERS && items.len() == USERS { Ok(()) } else { Err(objects.to_string()) }
    })
    .await?;
    assert_eq!(has_all("second").await?, uids);

    // A stopped engine is asked by its folder: no cluster is, so what the rules render is compared.
    let mut lifeline = stage.lifeline;
    lifeline.stop();
    let data = lifeline.data().to_string_lossy().into_owned();
    let stopped = plan(&rules("renamed", &first), &["--data", &data])?;
    tells(
        &stopped,
        2,
        &["12 to change", "~ data.of: \"second\" -> \"first\"", "compared with what the rules in force render"],
    );
    Ok(())
}
