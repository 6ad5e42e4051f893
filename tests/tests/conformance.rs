//! The real API server is the measure: it passes the suite that every cluster of Lifeline must pass, and it takes the
//! definitions that Lifeline ships.

use std::process::ExitCode;
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use lifeline_engine::cluster::conformance;
use lifeline_engine::cluster::kube::KubeCluster;
use lifeline_tests::harness::Need::ControlPlane;
use lifeline_tests::harness::{Kubernetes, Lifeline, Outcome, Scene, User, eventually, run, story};

const SOON: Duration = Duration::from_secs(30);

const SEED: [&str; 3] = [
    include_str!("../../engine/tests/seed/1-user-login.yaml"),
    include_str!("../../engine/tests/seed/2-login-and-logout.yaml"),
    include_str!("../../engine/tests/seed/3-end-to-end.yaml"),
];

fn main() -> ExitCode {
    run(vec![
        story("the_real_api_server_passes_the_suite_that_every_cluster_passes", &[ControlPlane], conforms),
        story("the_definitions_are_accepted_and_serve_the_seeds_manifests", &[ControlPlane], definitions),
    ])
}

async fn conforms(scene: &Scene) -> Outcome {
    let kubeconfig = scene.control_plane().kubeconfig(User::Admin);
    let cluster = KubeCluster::connect(Some(&kubeconfig), None).await?;
    let mut cases = 0;
    conformance::run(&cluster, "conformance", |pause| tokio::time::sleep(pause).boxed(), |_| cases += 1).await;
    println!(
        "conformance: {cases} cases hold on {}",
        scene.control_plane().client(User::Admin).await?.apiserver_version().await?.git_version
    );
    Ok(())
}

async fn definitions(scene: &Scene) -> Outcome {
    let kubernetes = Kubernetes::of(scene.control_plane()).await?;
    let crds = Lifeline::command(&["crds"])?;
    kubernetes.apply(&crds).await?;
    // Again, as at every upgrade.
    kubernetes.apply(&crds).await?;
    let definitions: Api<CustomResourceDefinition> = Api::all(kubernetes.client());
    for name in ["eventsources.lib.projectsveltos.io", "eventtriggers.lib.projectsveltos.io"] {
        eventually(&format!("`{name}` to be established"), SOON, async || {
            let definition = definitions.get(name).await.map_err(|error| error.to_string())?;
            let conditions = definition.status.and_then(|status| status.conditions).unwrap_or_default();
            let told: Vec<_> = conditions
                .iter()
                .map(|condition| format!("{}={} {:?}", condition.type_, condition.status, condition.message))
                .collect();
            let holds = |wanted: &str| conditions.iter().any(|one| one.type_ == wanted && one.status == "True");
            if holds("Established") && holds("NamesAccepted") && !holds("NonStructuralSchema") {
                return Ok(());
            }
            Err(told.join(", "))
        })
        .await?;
    }
    for manifests in SEED {
        kubernetes.apply(manifests).await?;
        // The second and the third are one trigger, in two shapes that exclude each other.
        let trigger = manifests.split("\n---\n").nth(1).ok_or("no trigger in the seed's example")?;
        kubernetes.delete(&serde_saphyr::from_str(trigger)?).await?;
    }
    Ok(())
}
