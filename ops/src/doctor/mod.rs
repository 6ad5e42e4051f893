//! `lifeline doctor`: whether an engine with these settings would find what it needs, with a remedy for what it would not.
//!
//! Start at [`examine`]. Each file looks at one part of the world: the data folder, the address of the API, NATS,
//! Kubernetes, the rules, certificates.
//! What an answer means is decided by functions of values; asking is apart from it.
//!
//! Invariant: nothing is changed, anywhere. Requests read, access reviews are not kept, and the file that measures the disk has
//! no name. No finding holds a secret.

// In dependency order; blank lines keep the formatter from sorting them.
mod finding;

mod certificates;

mod clock;

mod folder;

mod listen;

mod streams;

mod nats;

mod rules;

mod definitions;

mod kubernetes;

use std::sync::Arc;

use lifeline_engine::cluster::kube::KubeCluster;

use crate::settings::{ClusterKind, Config};

pub use finding::{Finding, Verdict, summary};

/// Looks at everything that the settings name, in the order in which it is reported.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let mut found = folder::examine(&config.data).await;
    let is_kube = config.cluster == ClusterKind::Kube;
    let cluster = match is_kube {
        true => Some(KubeCluster::load(config.kubeconfig.as_deref(), None).await),
        false => None,
    };
    let client = match &cluster {
        Some(Ok(cluster)) => Some(cluster.client().clone()),
        _ => None,
    };
    found.push(listen::examine(config.listen, folder::is_in_use(&config.data)));
    found.extend(certificates::of_the_api(config));
    found.extend(nats::examine(config, client.clone()).await);
    let (rules, needs) = rules::examine(config, client.clone()).await;
    found.extend(rules);
    match cluster {
        None => found.push(Finding::skipped(
            "kubernetes",
            "objects go to a local cluster",
            "say `--cluster kube` to check one",
        )),
        Some(Err(error)) => found.push(Finding::of_error("kubernetes", &error)),
        Some(Ok(cluster)) => {
            found.extend(kubernetes::examine(config, &Arc::new(cluster), &needs).await);
        }
    }
    found
}
