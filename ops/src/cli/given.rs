//! Rules that are given to a command, not to an engine: files, standard input, a cluster as it is now.
//!
//! Start at [`read`]. Files are read as an engine reads them. Nothing here knows what the rules mean.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use lifeline_engine::cluster::kube::KubeCluster;
use lifeline_engine::cluster::{Cluster, object_key};
use lifeline_engine::error_text::chain;
use lifeline_engine::rules::{Clusters, Directory, Manifests, Source, read_cluster};
use lifeline_engine::template::Plain;
use serde_json::Value;

use crate::client::Error;
use crate::settings::ClusterKind;

/// How many looks at files find them settled; each one that is written meanwhile takes some more.
const LOOKS_MAX: usize = 64;
/// How long a cluster is waited for.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(20);
/// Means standard input.
const STDIN: &str = "-";

/// Where else rules are, and what cluster they are for.
#[derive(Debug, Clone, Args)]
pub struct GivenArgs {
    /// Read the rules of a cluster too, with `kube`
    #[arg(long, value_name = "KIND", hide_possible_values = true)]
    pub cluster: Option<ClusterKind>,
    /// Kubeconfig for `--cluster kube` [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, env = "LIFELINE_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Label of the own cluster, for `sourceClusterSelector`; may be repeated [default: none, which matches every selector]
    #[arg(long = "cluster-label", env = "LIFELINE_CLUSTER_LABELS", value_name = "KEY=VALUE", value_delimiter = ',',
          value_parser = super::log::label)]
    pub cluster_labels: Vec<(String, String)>,
}

/// What was read.
pub(super) struct Given {
    pub manifests: Manifests,
    pub clusters: Clusters,
    /// The texts that manifests came from.
    pub sources: Vec<Source>,
    /// How many files, standard input among them.
    pub files: usize,
    /// Whether a cluster was read too, so that what is not there is nowhere.
    pub has_cluster: bool,
}

/// Reads all of it.
///
/// # Errors
/// A path that is not there, a folder without manifests, a cluster that cannot be read.
pub(super) fn read(paths: &[PathBuf], args: &GivenArgs) -> Result<Given, Error> {
    let has_cluster = args.cluster == Some(ClusterKind::Kube);
    if paths.is_empty() && !has_cluster {
        let hint = "name files or folders of manifests, `-` for standard input, or say `--cluster kube`";
        return Err(Error::Usage(format!("no rules are given\nhint: {hint}")));
    }
    let labels: BTreeMap<String, String> = args.cluster_labels.iter().cloned().collect();
    let mut given = Given {
        manifests: Manifests::default(),
        clusters: Clusters::own(labels),
        sources: Vec::new(),
        files: 0,
        has_cluster,
    };
    let (stdin, files): (Vec<&PathBuf>, Vec<&PathBuf>) = paths.iter().partition(|path| *path == Path::new(STDIN));
    if !files.is_empty() {
        given.read_files(files.into_iter().cloned().collect())?;
    }
    if !stdin.is_empty() {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| Error::Usage(format!("standard input cannot be read: {error}")))?;
        // What stands before the pipe failed, most likely.
        if text.trim().is_empty() {
            return Err(Error::Usage("standard input is empty, expected manifests".to_owned()));
        }
        given.manifests.append(Manifests::read("<stdin>", &text));
        given.files += 1;
        given.add("<stdin>", &text);
    }
    if has_cluster {
        given.manifests.append(of_cluster(args.kubeconfig.as_deref())?);
    }
    Ok(given)
}

impl Given {
    fn read_files(&mut self, paths: Vec<PathBuf>) -> Result<(), Error> {
        for path in &paths {
            if let Err(error) = std::fs::metadata(path) {
                return Err(Error::Usage(format!(
                    "`{}` cannot be read: {error}\nhint: check the path",
                    path.display()
                )));
            }
        }
        let shown = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        let mut directory = Directory::new(paths);
        let found = (0..LOOKS_MAX).find_map(|_| directory.poll().changed);
        let found = found.ok_or_else(|| Error::Usage(format!("`{shown}` is being written\nhint: try again")))?;
        self.files += directory.files().count();
        if self.files == 0 {
            let hint = "files of manifests end in `.yaml`, `.yml` or `.json`; hidden ones are left out";
            return Err(Error::Usage(format!("no file of manifests in `{shown}`\nhint: {hint}")));
        }
        for (path, text) in directory.files() {
            self.add(&path.display().to_string(), text.unwrap_or_default());
        }
        self.manifests.append(Manifests::clone(&found));
        Ok(())
    }

    fn add(&mut self, name: &str, text: &str) {
        let text = text.trim_start_matches('\u{feff}').to_owned();
        self.sources.push(Source { name: name.to_owned(), text });
    }
}

impl GivenArgs {
    /// Gives scalars of manifests the types that the cluster says, where one is given. Says whether one is.
    ///
    /// # Errors
    /// Where the cluster cannot be asked.
    pub(super) fn fit<'o>(&self, objects: impl Iterator<Item = (&'o mut Value, &'o [Plain])>) -> Result<bool, Error> {
        if self.cluster != Some(ClusterKind::Kube) {
            return Ok(false);
        }
        with_cluster(self.kubeconfig.as_deref(), async |cluster| {
            for (manifest, plain) in objects.filter(|(_, plain)| !plain.is_empty()) {
                if let Ok(object) = object_key(manifest)
                    && let Some(schema) = cluster.schema(&object).await
                {
                    schema.fit(manifest, plain);
                }
            }
            Ok(true)
        })
    }
}

/// Asks a cluster.
fn with_cluster<T>(
    kubeconfig: Option<&Path>,
    ask: impl AsyncFnOnce(KubeCluster) -> Result<T, Error>,
) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::Output)?;
    runtime.block_on(async {
        let cluster = KubeCluster::load(kubeconfig, None).await;
        ask(cluster.map_err(|error| Error::Given(chain(&error)))?).await
    })
}

/// The rules that a cluster has now.
fn of_cluster(kubeconfig: Option<&Path>) -> Result<Manifests, Error> {
    with_cluster(kubeconfig, async |cluster| {
        let read = read_cluster(cluster.client().clone());
        match tokio::time::timeout(CLUSTER_PATIENCE, read).await {
            Ok(Ok(manifests)) => Ok(manifests),
            Ok(Err(problem)) => {
                let hint = problem.hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
                Err(Error::Given(format!("{}{hint}", problem.message)))
            }
            Err(_) => Err(Error::Given(format!("the cluster did not answer within {} s", CLUSTER_PATIENCE.as_secs()))),
        }
    })
}
