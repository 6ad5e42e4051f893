//! Where the programs of the Kubernetes control plane come from: the user's own, the cache, or built from Go modules.
//!
//! The modules are pinned with checksums in `tests/control-plane/`. kube-apiserver and kube-controller-manager are
//! taken from one place only, so that they are of one version.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use lifeline_ops::servers::{Cache, Error, Item, Progress, is_program};

const KUBERNETES: Item = Item { name: "kubernetes-1.37.2", programs: &["kube-apiserver", "kube-controller-manager"] };
const ETCD: Item = Item { name: "etcd-3.7.3", programs: &["etcd"] };

/// What Kubernetes' own build stamps: without it the server calls itself v0.0.0, and clients believe it.
pub(super) const KUBERNETES_STAMP: &str = "-s -w \
    -X k8s.io/component-base/version.gitVersion=v1.37.2 \
    -X k8s.io/component-base/version.gitMajor=1 \
    -X k8s.io/component-base/version.gitMinor=37";

/// The programs of a control plane, all there.
#[derive(Debug, Clone)]
pub struct ControlPlanePrograms {
    /// The folder of kube-apiserver and kube-controller-manager.
    kubernetes: PathBuf,
    /// The folder of etcd.
    etcd: PathBuf,
}

impl ControlPlanePrograms {
    /// The programs that are here already: in `KUBEBUILDER_ASSETS`, on the `PATH`, or in the cache.
    #[must_use]
    pub fn find(cache: &Cache) -> Option<Self> {
        Some(Self { kubernetes: find(cache, KUBERNETES)?, etcd: find(cache, ETCD)? })
    }

    /// The programs that are here already, else built into the cache: about 8 minutes on two cores, once.
    ///
    /// # Errors
    /// When Go is missing or a build fails.
    pub fn obtain(cache: &Cache, progress: Progress) -> Result<Self, Error> {
        if let Some(assets) = assets()
            && !is_whole(&assets, KUBERNETES)
        {
            progress.say(&format!(
                "`{}` (KUBEBUILDER_ASSETS) has no kube-apiserver with a kube-controller-manager, without which no \
                 namespace finishes terminating: looking elsewhere",
                assets.display()
            ));
        }
        let etcd = obtain(cache, ETCD, progress, |folder, log| {
            // Go would name the program after the last part of its path, which is only a version.
            let mut go = build("etcd", "-s -w", &folder.join("etcd"));
            go.arg("go.etcd.io/etcd/server/v3");
            progress.run("building etcd 3.7.3 (about 30 s, once)", Some("packages"), go, log)
        })?;
        let kubernetes = obtain(cache, KUBERNETES, progress, |folder, log| {
            let mut go = build("kubernetes", KUBERNETES_STAMP, folder);
            go.args(["k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes/cmd/kube-controller-manager"]);
            let what = "building Kubernetes 1.37.2 (about 7 min, once)";
            progress.run(what, Some("packages"), go, log)
        })?;
        Ok(Self { kubernetes, etcd })
    }

    /// The etcd program.
    #[must_use]
    pub fn etcd(&self) -> PathBuf {
        self.etcd.join("etcd")
    }

    /// The kube-apiserver program.
    #[must_use]
    pub fn api_server(&self) -> PathBuf {
        self.kubernetes.join("kube-apiserver")
    }

    /// The kube-controller-manager program.
    #[must_use]
    pub fn controller_manager(&self) -> PathBuf {
        self.kubernetes.join("kube-controller-manager")
    }
}

/// The folder that has all programs of an item.
fn find(cache: &Cache, item: Item) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = assets().into_iter().chain(env::split_paths(&path));
    folders.into_iter().find(|folder| is_whole(folder, item)).or_else(|| cache.find(item))
}

/// The folder that has all programs of an item, made with `make` where there is none.
fn obtain(
    cache: &Cache,
    item: Item,
    progress: Progress,
    make: impl FnOnce(&Path, &Path) -> Result<(), Error>,
) -> Result<PathBuf, Error> {
    if let Some(folder) = find(cache, item) {
        return Ok(folder);
    }
    cache.obtain(item, progress, make).map_err(|error| Error::Unavailable {
        server: "Kubernetes control plane",
        attempts: vec![format!("building {}: {}", item.name, error.in_full())],
        remedy: "install Go 1.26 or later and try again; or set `KUBEBUILDER_ASSETS` to a folder with etcd, \
                 kube-apiserver and kube-controller-manager",
    })
}

/// The folder that Kubernetes' own tools for tests use.
fn assets() -> Option<PathBuf> {
    env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn is_whole(folder: &Path, item: Item) -> bool {
    item.programs.iter().all(|program| is_program(&folder.join(program)))
}

/// `go build` in one of our pinned modules.
pub(super) fn build(module: &str, linker_flags: &str, output: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("control-plane").join(module))
        // Without cgo no C compiler is needed.
        .env("CGO_ENABLED", "0")
        // `readonly`: what go.mod and go.sum do not say is refused. `-v` prints each package, which is the progress.
        .args(["build", "-v", "-mod=readonly", "-trimpath", "-ldflags", linker_flags, "-o"])
        .arg(output);
    go
}
