//! Helm, and the chart of the project.
//!
//! Start at [`Helm::template`]. Helm is built once, from its official Go module, which the public checksum database pins.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lifeline_ops::servers::{Cache, Error, Item, Progress};

use super::Failure;

const ITEM: Item = Item { name: "helm-4.3.1", programs: &["helm"] };
const MODULE: &str = "helm.sh/helm/v4/cmd/helm@v4.3.1";

/// The `helm` program.
#[derive(Debug, Clone)]
pub struct Helm {
    program: PathBuf,
}

impl Helm {
    /// The program in the cache. One on the `PATH` is not used: what it renders is compared byte by byte.
    #[must_use]
    pub fn find(cache: &Cache) -> Option<Self> {
        cache.find(ITEM).map(|folder| Self { program: folder.join("helm") })
    }

    /// The program in the cache, built when it is not there: about 4 minutes on two cores, once.
    ///
    /// # Errors
    /// When Go is missing or the build fails.
    pub fn obtain(cache: &Cache, progress: Progress) -> Result<Self, Error> {
        let folder = cache.obtain(ITEM, progress, |folder, log| {
            let mut go = Command::new("go");
            go.args(["install", "-v", "-trimpath", "-ldflags", "-s -w", MODULE]);
            go.env("GOBIN", folder).env("CGO_ENABLED", "0");
            progress.run("building helm 4.3.1 (about 4 min, once)", Some("packages"), go, log).map_err(|error| {
                Error::Unavailable {
                    server: "helm",
                    attempts: vec![format!("building {}: {}", ITEM.name, error.in_full())],
                    remedy: "install Go 1.26 or later and try again",
                }
            })
        })?;
        Ok(Self { program: folder.join("helm") })
    }

    /// The folder of the chart.
    #[must_use]
    pub fn chart() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/chart")
    }

    /// Runs helm with arguments and, where one is given, on the cluster of a kubeconfig; what it printed.
    ///
    /// # Errors
    /// When it fails; the failure holds what it printed.
    pub fn run(&self, kubeconfig: Option<&Path>, arguments: &[&str]) -> Result<String, Failure> {
        let home = tempfile::tempdir()?;
        let mut helm = Command::new(&self.program);
        helm.args(arguments).stdin(Stdio::null()).env_remove("HELM_NAMESPACE");
        // Nothing of the user's own, neither settings nor plugins nor a cluster.
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(name, home.path());
        }
        helm.env("KUBECONFIG", kubeconfig.unwrap_or(Path::new("/dev/null")));
        let Output { status, stdout, stderr } = helm.output()?;
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        if status.success() {
            return Ok(stdout.into_owned());
        }
        Err(format!("`helm {}` failed ({status}):\n{stdout}{stderr}", arguments.join(" ")).into())
    }

    /// `helm lint --strict` with a file of values.
    ///
    /// # Errors
    /// When something is wrong with the chart or the values.
    pub fn lint(&self, values: &Path) -> Result<(), Failure> {
        let chart = Self::chart();
        let arguments = ["lint", "--strict", &chart.to_string_lossy(), "--values", &values.to_string_lossy()];
        self.run(None, &arguments).map(drop)
    }

    /// The chart rendered as the release `lifeline` in the namespace `projectsveltos`, with a text of values.
    ///
    /// # Errors
    /// When the chart refuses the values.
    pub fn template(&self, values: &str) -> Result<String, Failure> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("values.yaml");
        fs::write(&file, values)?;
        let (chart, file) = (Self::chart(), file.to_string_lossy().into_owned());
        let chart = chart.to_string_lossy();
        // Said outright, or the chart is rendered for the version that this helm was built with.
        let version = ["--kube-version", "1.37.2"];
        let what = ["template", "lifeline", &chart, "--namespace", "projectsveltos", "--values", &file];
        self.run(None, &[&what[..], &version[..]].concat())
    }
}

/// The documents of what helm renders.
#[must_use]
pub fn documents(rendered: &str) -> Vec<&str> {
    let all = rendered.trim_start_matches("---\n").split("\n---\n");
    all.filter(|document| document.lines().any(|line| !line.starts_with('#') && !line.trim().is_empty())).collect()
}
