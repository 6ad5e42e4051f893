//! Several engines for one cluster: each leaves the objects of the others alone.

use super::*;

/// The rules of an engine. What its object holds says which one made it.
fn rules(by: &str) -> String {
    let template = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: \"several-{{{{ .CloudEvent.subject }}}}\", namespace: default}}\ndata: {{by: {by}}}\n"
    );
    Rules { name: "several", action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template: &template }.text()
}

pub async fn several(scene: &Scene) -> Outcome {
    let mut stage = Stage::set(scene, &rules("first")).await?;
    stage.publish(Event::user("login", "ann")).await?;
    stage.publish(Event::user("login", "bob")).await?;
    let ann = stage.has("several-ann", &[("by", "first")]).await?;
    let bob = stage.has("several-bob", &[("by", "first")]).await?;

    // A trial of changed rules beside it, under another name.
    let rules_file = scene.write("second/rules/rules.yaml", &rules("second"))?;
    let folder = rules_file.parent().unwrap_or(&rules_file).to_string_lossy().into_owned();
    let kubeconfig = scene.control_plane().kubeconfig(User::Admin).to_string_lossy().into_owned();
    let url = stage.nats.url();
    let of_cluster = ["--cluster", "kube", "--kubeconfig", &kubeconfig, "--nats", &url, "--subjects", "identity"];
    let arguments = [&of_cluster[..], &["--rules", &folder, "--consumer", "second"]].concat();
    let mut second = scene.lifeline("second", &arguments)?;
    second.wait_until_ready()?;
    let error = eventually("the second engine to be in the way of the first", SOON, async || {
        let rows = second.ask(&["get", "lifecycles", "--subject", "ann"]).map_err(|failure| failure.to_string())?;
        let row = &rows["items"][0];
        if row["phase"] == "Failing" { Ok(row["error"].to_string()) } else { Err(row.to_string()) }
    })
    .await?;
    for word in ["the marks of another engine, `lifeline`", "--consumer lifeline", "lifeline.dev/adopt"] {
        assert!(error.contains(word), "`{word}` is missing in: {error}");
    }
    // The trial ends without a trace.
    fs::write(&rules_file, rules("second").replace("Create", "Delete"))?;
    eventually("the second engine to let go", SOON, async || {
        let rows = second.ask(&["get", "lifecycles", "--gone=false"]).map_err(|failure| failure.to_string())?;
        if rows["items"].as_array().is_some_and(Vec::is_empty) { Ok(()) } else { Err(rows.to_string()) }
    })
    .await?;
    second.stop();
    for (name, before) in [("several-ann", &ann), ("several-bob", &bob)] {
        let after = stage.has(name, &[("by", "first")]).await?;
        assert_eq!(after.metadata.uid, before.metadata.uid);
        assert_eq!(after.metadata.resource_version, before.metadata.resource_version, "{name} was not touched");
    }

    // An engine that gets another name, and has its data folder, goes on with its objects.
    stage.lifeline.stop();
    let folder = scene.folder().join("engine/rules").to_string_lossy().into_owned();
    stage.lifeline =
        scene.lifeline("engine", &[&of_cluster[..], &["--rules", &folder, "--consumer", "renamed"]].concat())?;
    stage.lifeline.wait_until_ready()?;
    stage.publish(Event::user("logout", "ann")).await?;
    stage.lost("several-ann").await?;
    stage.publish(Event::user("login", "cid")).await?;
    stage.has("several-cid", &[("by", "first")]).await?;
    let bob = stage.has("several-bob", &[("by", "first")]).await?;
    stage.publish(Event::user("login", "bob")).await?;
    stage.phase("bob", "Ready").await?;
    assert_eq!(stage.has("several-bob", &[("by", "first")]).await?.metadata.uid, bob.metadata.uid);
    Ok(())
}
