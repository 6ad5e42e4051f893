//! Where the programs of a node come from: Debian's packages, and a kubelet and scheduler built from Go modules.
//!
//! The kubelet and the scheduler are built from the module that pins the control plane, so all are of one version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lifeline_ops::servers::{Cache, Error, Item, Progress, program_on_path};

use super::control_plane_programs::{KUBERNETES_STAMP, build};

const KUBERNETES: Item = Item { name: "kubernetes-node-1.37.2", programs: &["kubelet", "kube-scheduler"] };
/// What `ops/release` lists the content of the program with, and looks for in the cache.
const CYCLONEDX: Item = Item { name: "cargo-cyclonedx-0.5.9", programs: &["bin/cargo-cyclonedx"] };
const PAUSE: Item = Item { name: "pause-1", programs: &["pause"] };

/// Programs that are packages of Debian, under the names of their packages.
const PACKAGES: [&str; 3] = ["containerd", "runc", "buildah"];

/// What holds the sandbox of a pod: it waits. There is no registry to take the usual one from.
const PAUSE_SOURCE: &str = r#"// Waits until it is told to end.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	<-ended
}
"#;

/// The programs of a node, all there.
#[derive(Debug, Clone)]
pub struct NodePrograms {
    kubernetes: PathBuf,
    pause: PathBuf,
}

impl NodePrograms {
    /// The programs that are here already.
    ///
    /// # Errors
    /// The reason why a node cannot be run here.
    pub fn find(cache: &Cache) -> Result<Self, String> {
        let missing: Vec<&str> = PACKAGES.into_iter().filter(|name| program_on_path(name).is_none()).collect();
        if !missing.is_empty() {
            return Err(format!("no {} here; `cargo all-tests` installs them where it may", missing.join(", ")));
        }
        match (cache.find(KUBERNETES), cache.find(PAUSE), cache.find(CYCLONEDX)) {
            (Some(kubernetes), Some(pause), Some(_)) => Ok(Self { kubernetes, pause }),
            (_, _, None) => Err("no cargo-cyclonedx here; `cargo all-tests` builds one".to_owned()),
            _ => Err("no kubelet here; `cargo all-tests` builds one".to_owned()),
        }
    }

    /// The programs that are here already, else installed by apt and built into the cache: about 3 minutes, once.
    ///
    /// # Errors
    /// When they can neither be installed nor built here.
    pub fn obtain(cache: &Cache, progress: Progress) -> Result<Self, Error> {
        let unavailable = |attempt: String| Error::Unavailable {
            server: "node of Kubernetes",
            attempts: vec![attempt],
            remedy: "run as root on Debian with Go 1.26 or later; or install containerd, runc and buildah yourself",
        };
        if PACKAGES.iter().any(|name| program_on_path(name).is_none()) {
            install(&PACKAGES).map_err(&unavailable)?;
        }
        let failed = |error: Error| unavailable(error.in_full());
        cache
            .obtain(KUBERNETES, progress, |folder, log| {
                let mut go = build("kubernetes", KUBERNETES_STAMP, folder);
                go.args(["k8s.io/kubernetes/cmd/kubelet", "k8s.io/kubernetes/cmd/kube-scheduler"]);
                let what = "building kubelet and kube-scheduler 1.37.2 (about 2 min, once)";
                progress.run(what, Some("packages"), go, log)
            })
            .map_err(failed)?;
        cache
            .obtain(PAUSE, progress, |folder, log| {
                let source = folder.join("pause.go");
                fs::write(&source, PAUSE_SOURCE).map_err(Error::file("write", &source))?;
                let mut go = Command::new("go");
                go.args(["build", "-trimpath", "-ldflags", "-s -w", "-o"]).arg(folder.join("pause")).arg(&source);
                go.env("CGO_ENABLED", "0");
                progress.run("building the pause program", None, go, log)
            })
            .map_err(failed)?;
        cache
            .obtain(CYCLONEDX, progress, |folder, log| {
                let mut cargo = Command::new("cargo");
                cargo.args(["install", "--locked", "--version", "0.5.9", "cargo-cyclonedx", "--root"]).arg(folder);
                progress.run("building cargo-cyclonedx 0.5.9 (about 1 min, once)", None, cargo, log)
            })
            .map_err(failed)?;
        Self::find(cache).map_err(unavailable)
    }

    /// The kubelet.
    #[must_use]
    pub fn kubelet(&self) -> PathBuf {
        self.kubernetes.join("kubelet")
    }

    /// The scheduler.
    #[must_use]
    pub fn scheduler(&self) -> PathBuf {
        self.kubernetes.join("kube-scheduler")
    }

    /// The program of the sandbox.
    #[must_use]
    pub fn pause(&self) -> PathBuf {
        self.pause.join("pause")
    }
}

/// Installs packages of Debian, where this is Debian and we may.
///
/// # Errors
/// What apt said.
pub fn install(packages: &[&str]) -> Result<(), String> {
    // Services are not started: a containerd of the machine is none of ours.
    let policy = Path::new("/usr/sbin/policy-rc.d");
    let is_ours = !policy.exists() && fs::write(policy, "#!/bin/sh\nexit 101\n").is_ok();
    if is_ours {
        _ = fs::set_permissions(policy, std::os::unix::fs::PermissionsExt::from_mode(0o755));
    }
    let script = r#"apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends "$@""#;
    let output = Command::new("sh")
        .args(["-c", script, "install"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output();
    if is_ours {
        _ = fs::remove_file(policy);
    }
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            Err(format!("apt-get: {}", text.lines().last().unwrap_or("it said nothing")))
        }
        Err(error) => Err(format!("apt-get: {error}")),
    }
}
