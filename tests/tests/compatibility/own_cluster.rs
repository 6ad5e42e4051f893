//! The SveltosCluster `mgmt/mgmt` in a cluster: what it says of the own cluster is followed from before Sveltos is installed
//! until after it is gone, and when it comes again.

use serde_json::{Value, json};

use super::*;

/// An engine asks once a minute whether Sveltos is there.
const WITHIN: Duration = Duration::from_secs(100);

const TEMPLATE: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: \"NAME-{{ .CloudEvent.subject }}\", namespace: default}
data: {zone: \"{{ dig \"metadata\" \"annotations\" \"zone\" \"\" .Cluster }}\", name: \"{{ .Cluster.metadata.name }}\"}
";

/// The definition of Sveltos for the clusters that it knows, with the fields that say something of one.
fn definition() -> Value {
    let text = json!({"type": "string"});
    let window = json!({"type": "object", "required": ["from", "to"], "properties": {
        "from": {"type": "string", "minLength": 1}, "to": {"type": "string", "minLength": 1}}});
    let renewal = json!({"type": "object", "required": ["renewTokenRequestInterval"],
        "properties": {"renewTokenRequestInterval": text}});
    let spec = json!({"type": "object", "properties": {
        "activeWindow": window,
        "consecutiveFailureThreshold": {"type": "integer", "default": 3},
        "data": {"type": "object", "additionalProperties": text},
        "kubeconfigName": text,
        "paused": {"type": "boolean"},
        "tokenRequestRenewalOption": renewal,
    }});
    let moment = json!({"type": "string", "format": "date-time"});
    let status = json!({"type": "object", "properties": {
        "connectionFailures": {"type": "integer"},
        "connectionStatus": {"type": "string", "enum": ["Healthy", "Down"]},
        "failureMessage": text,
        "lastReconciledTokenRequestAt": text,
        "nextPause": moment,
        "nextUnpause": moment,
        "ready": {"type": "boolean"},
        "version": text,
    }});
    let properties = json!({"apiVersion": text, "kind": text, "metadata": {"type": "object"}, "spec": spec,
        "status": status});
    let column = |name: &str, kind: &str, path: &str| json!({"name": name, "type": kind, "jsonPath": path});
    let version = |name: &str, is_stored: bool| {
        json!({"name": name, "served": true, "storage": is_stored, "subresources": {"status": {}},
            "additionalPrinterColumns": [column("Ready", "boolean", ".status.ready"),
                column("Version", "string", ".status.version")],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}}})
    };
    let names = json!({"kind": "SveltosCluster", "listKind": "SveltosClusterList", "plural": "sveltosclusters",
        "singular": "sveltoscluster"});
    let spec = json!({"group": "lib.projectsveltos.io", "scope": "Namespaced", "names": names,
        "versions": [version("v1alpha1", false), version("v1beta1", true)]});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "sveltosclusters.lib.projectsveltos.io"}, "spec": spec})
}

/// The own cluster, as Sveltos has it.
fn own(env: &str, zone: &str) -> String {
    json!({"apiVersion": "lib.projectsveltos.io/v1beta1", "kind": "SveltosCluster",
        "metadata": {"namespace": "mgmt", "name": "mgmt", "labels": {"env": env}, "annotations": {"zone": zone}},
        "spec": {"kubeconfigName": "mgmt-sveltos-kubeconfig"}})
    .to_string()
}

impl Stage {
    /// Waits until an object has this zone, or is not there, and gives its uid.
    async fn is_zoned(&self, name: &str, zone: Option<&str>) -> Result<String, Failure> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.kubernetes.client(), "default");
        eventually(&format!("{name} with the zone {zone:?}"), WITHIN, async || {
            let found = config_maps.get_opt(name).await.map_err(|error| error.to_string())?;
            let has = found.as_ref().map(|found| found.data.iter().flatten().find(|(key, _)| *key == "zone"));
            match (zone, has) {
                (None, None) => Ok(String::new()),
                (Some(zone), Some(Some((_, has)))) if zone == has => {
                    Ok(found.and_then(|found| found.metadata.uid).unwrap_or_default())
                }
                (_, has) => Err(format!("{has:?}")),
            }
        })
        .await
    }

    /// Which of the triggers have their selector assumed to match.
    fn warnings(&self) -> Result<String, Failure> {
        Ok(self.lifeline.ask(&["get", "rules"])?.to_string() + &self.lifeline.ask(&["status"])?.to_string())
    }
}

pub async fn followed(scene: &Scene) -> Outcome {
    let of = |env: &str| {
        let rules = rules(env, "go", LOGOUT_DELETES, &TEMPLATE.replace("NAME", env));
        rules.replace(r#"{"env":"fv"}"#, &format!(r#"{{"env":"{env}"}}"#))
    };
    let all = [of("fv"), of("prod")].join("\n---\n");
    let stage = Stage::set(scene, &Lifeline::command(&["crds"])?, &all).await?;
    stage.producer.publish(Event::user("login", "zoe")).await?;
    // Nobody says what labels the cluster has, so both match.
    let fv = stage.is_zoned("fv-zoe", Some("")).await?;
    stage.is_zoned("prod-zoe", Some("")).await?;
    assert!(stage.warnings()?.contains("assumed"), "{}", stage.warnings()?);

    // Sveltos is installed: until it says something of the own cluster nothing is different.
    stage.kubernetes.apply(&definition().to_string()).await?;
    stage.kubernetes.apply(r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mgmt"}}"#).await?;
    // An engine asks once a minute whether the definition is there.
    tokio::time::sleep(Duration::from_secs(65)).await;
    assert_eq!(stage.is_zoned("fv-zoe", Some("")).await?, fv);
    stage.kubernetes.apply(&own("fv", "a")).await?;
    assert_eq!(stage.is_zoned("fv-zoe", Some("a")).await?, fv, "it is changed in place");
    stage.is_zoned("prod-zoe", None).await?;
    assert!(!stage.warnings()?.contains("assumed"), "{}", stage.warnings()?);

    // What Sveltos writes all the time about the connection is no change of the rules.
    let clusters: Api<DynamicObject> = Api::namespaced_with(
        stage.kubernetes.client(),
        "mgmt",
        &ApiResource::from_gvk(&GroupVersionKind::gvk("lib.projectsveltos.io", "v1beta1", "SveltosCluster")),
    );
    let changes = || -> Result<usize, Failure> {
        let events = stage.lifeline.ask(&["get", "events", "--limit", "1000"])?.to_string();
        Ok(events.matches("SveltosCluster/mgmt/mgmt").count())
    };
    let before = changes()?;
    for failures in 0..5 {
        let status = json!({"status": {"connectionStatus": "Healthy", "connectionFailures": failures}});
        clusters.patch_status("mgmt", &PatchParams::default(), &Patch::Merge(&status)).await?;
    }

    // Another label, and the triggers that match by it come into force; another annotation changes what they made.
    stage.kubernetes.apply(&own("prod", "b")).await?;
    let prod = stage.is_zoned("prod-zoe", Some("b")).await?;
    stage.is_zoned("fv-zoe", None).await?;
    assert_eq!(changes()?, 2 * before, "the first label and this one, and no status");
    stage.kubernetes.apply(&own("prod", "c")).await?;
    assert_eq!(stage.is_zoned("prod-zoe", Some("c")).await?, prod);

    // It is deleted: nobody says what labels the cluster has, and nothing is taken away for that.
    clusters.delete("mgmt", &kube::api::DeleteParams::default()).await?;
    stage.is_zoned("fv-zoe", Some("")).await?;
    assert_eq!(stage.is_zoned("prod-zoe", Some("")).await?, prod);
    stage.kubernetes.apply(&own("prod", "d")).await?;
    assert_eq!(stage.is_zoned("prod-zoe", Some("d")).await?, prod);
    stage.is_zoned("fv-zoe", None).await?;

    // The definition is deleted, and the object with it.
    let definitions = api(&stage.kubernetes, "apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    definitions.delete("sveltosclusters.lib.projectsveltos.io", &kube::api::DeleteParams::default()).await?;
    stage.is_zoned("fv-zoe", Some("")).await?;
    assert_eq!(stage.is_zoned("prod-zoe", Some("")).await?, prod);
    eventually("the definition to be gone", SOON, async || {
        match definitions.get_opt("sveltosclusters.lib.projectsveltos.io").await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err("it is there".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await?;

    // Both come again.
    stage.kubernetes.apply(&definition().to_string()).await?;
    eventually("the own cluster", SOON, async || {
        stage.kubernetes.apply(&own("prod", "e")).await.map_err(|error| error.to_string())
    })
    .await?;
    assert_eq!(stage.is_zoned("prod-zoe", Some("e")).await?, prod);
    stage.is_zoned("fv-zoe", None).await?;
    Ok(())
}
