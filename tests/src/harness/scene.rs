//! What one test is given: a folder of its own, and the servers it asked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use lifeline_ops::servers::{Cache, NatsAccess, NatsOptions, NatsProgram, NatsServer, Progress, program_on_path};
use std::sync::Arc;
use tempfile::TempDir;

use super::{
    ControlPlane, ControlPlanePrograms, Failure, Fuzzer, Helm, Lifeline, Mount, NatsCli, Need, Node, NodePrograms,
    User, image, lifeline_image,
};

/// The control plane that the tests of one program share, once one of them needs it.
static SHARED: Mutex<Option<Arc<ControlPlane>>> = Mutex::new(None);

/// The stage of one test.
#[derive(Debug)]
pub struct Scene {
    folder: TempDir,
    control_plane: Option<Arc<ControlPlane>>,
}

impl Scene {
    /// Sets the stage: a fresh folder and, when it is needed, the shared control plane.
    pub(super) fn set(name: &str, needs: &[Need]) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix(&format!("lifeline-{name:.40}-")).tempdir()?;
        let control_plane = if needs.contains(&Need::ControlPlane) { Some(shared_control_plane()?) } else { None };
        Ok(Self { folder, control_plane })
    }

    /// The folder of this test. It is removed when the test passes, and kept when it fails.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the folder of this test, and the folders on the way to it; its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.folder().join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Starts a nats-server of this test's own, open to everybody. `name` is that of its folder.
    ///
    /// # Errors
    /// When it does not start.
    pub fn nats(&self, name: &str) -> Result<NatsServer, Failure> {
        self.nats_with(name, NatsAccess::Anybody, "")
    }

    /// Starts a nats-server of this test's own, with access control and further lines of configuration.
    ///
    /// # Errors
    /// When it does not start.
    pub fn nats_with(&self, name: &str, access: NatsAccess, configuration: &str) -> Result<NatsServer, Failure> {
        let program = nats_program().as_ref().map_err(String::as_str)?;
        let folder = self.folder().join(name);
        Ok(NatsServer::start(program, &NatsOptions { folder, access, configuration: configuration.to_owned() })?)
    }

    /// The control plane that the tests of this program share. Use names of your own in it.
    ///
    /// # Panics
    /// When the test did not say that it needs one.
    #[must_use]
    pub fn control_plane(&self) -> &ControlPlane {
        self.control_plane.as_deref().expect("a test that uses a control plane lists `Need::ControlPlane`")
    }

    /// Starts a control plane of this test's own: for tests that break it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn fresh_control_plane(&self) -> Result<ControlPlane, Failure> {
        Ok(ControlPlane::start(control_plane_programs().as_ref().map_err(String::as_str)?)?)
    }

    /// Starts a control plane with a node that runs pods of the project's image and of `nats:test`.
    ///
    /// # Errors
    /// When an image cannot be built, or a server does not start.
    pub fn node(&self) -> Result<(Node, ControlPlane), Failure> {
        let programs = node_programs().as_ref().map_err(String::as_str)?;
        let servers = control_plane_programs().as_ref().map_err(String::as_str)?;
        let nats = nats_program().as_ref().map_err(String::as_str)?;
        let control_plane = ControlPlane::start_for_pods(servers, &programs.scheduler())?;
        let images = [lifeline_image(&self.folder().join("release"))?, image(self.folder(), "nats", &nats.path)?];
        let node = Node::start(programs, &self.folder().join("node"), &control_plane, &images)?;
        Ok((node, control_plane))
    }

    /// The `helm` program.
    ///
    /// # Errors
    /// When it is not there.
    pub fn helm(&self) -> Result<&'static Helm, Failure> {
        Ok(helm().as_ref().map_err(String::as_str)?)
    }

    /// The nats-server program, which [`Self::nats`] starts.
    ///
    /// # Errors
    /// When it is not there.
    pub fn nats_server_program(&self) -> Result<&'static Path, Failure> {
        Ok(nats_program().as_ref().map(|program| program.path.as_path()).map_err(String::as_str)?)
    }

    /// The `nats` program, with which people publish.
    ///
    /// # Errors
    /// When it is not there.
    pub fn nats_cli(&self) -> Result<&'static NatsCli, Failure> {
        Ok(nats_cli().as_ref().map_err(String::as_str)?)
    }

    /// The programs that check the HTTP API from outside.
    ///
    /// # Errors
    /// When they are not there.
    pub fn fuzzer(&self) -> Result<&'static Fuzzer, Failure> {
        Ok(fuzzer().as_ref().map_err(String::as_str)?)
    }

    /// Starts `lifeline run` with more arguments; `name` is that of its folder, whose `data` is its data folder.
    ///
    /// # Errors
    /// When there is no `lifeline` program or it does not start.
    pub fn lifeline(&self, name: &str, arguments: &[&str]) -> Result<Lifeline, Failure> {
        Lifeline::run(&self.folder().join(name), arguments)
    }

    /// Starts a `lifeline run` that reads a NATS subject and acts on a control plane, by rules of a folder of its own:
    /// `NAME/rules/rules.yaml`.
    ///
    /// # Errors
    /// When there is no `lifeline` program or it does not start.
    pub fn engine(
        &self,
        name: &str,
        control_plane: &ControlPlane,
        nats: &NatsServer,
        subject: &str,
        rules: &str,
    ) -> Result<Lifeline, Failure> {
        let kubeconfig = control_plane.kubeconfig(User::Admin);
        let kubeconfig = kubeconfig.to_string_lossy();
        let cluster = ["--cluster", "kube", "--kubeconfig", &kubeconfig];
        self.engine_on(name, &cluster, nats, subject, rules)
    }

    /// The same with the local cluster in its data folder.
    ///
    /// # Errors
    /// When there is no `lifeline` program or it does not start.
    pub fn local_engine(&self, name: &str, nats: &NatsServer, subject: &str, rules: &str) -> Result<Lifeline, Failure> {
        self.engine_on(name, &["--cluster", "local"], nats, subject, rules)
    }

    fn engine_on(
        &self,
        name: &str,
        cluster: &[&str],
        nats: &NatsServer,
        subject: &str,
        rules: &str,
    ) -> Result<Lifeline, Failure> {
        let rules = self.write(&format!("{name}/rules/rules.yaml"), rules)?;
        let rules = rules.parent().unwrap_or(&rules).to_string_lossy();
        let url = nats.url();
        let rest = ["--nats", &url, "--subjects", subject, "--rules", &rules];
        self.lifeline(name, &[cluster, &rest].concat())
    }

    /// Keeps the folder, to show what went wrong.
    pub(super) fn keep(self) -> PathBuf {
        self.folder.keep()
    }
}

/// Ends the shared control plane. What a process leaves in statics is never dropped, and its folder would stay.
pub(super) fn strike() {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner).take();
}

/// Why a need cannot be met on this machine, or None when it can.
pub(super) fn unmet(need: Need) -> Option<&'static str> {
    match need {
        Need::Nats => nats_program().as_ref().err().map(String::as_str),
        Need::ControlPlane => control_plane_programs().as_ref().err().map(String::as_str),
        Need::Fuzzer => fuzzer().as_ref().err().map(String::as_str),
        Need::Mounts => mounts().as_ref().err().map(String::as_str),
        Need::Helm => helm().as_ref().err().map(String::as_str),
        Need::Promtool if program_on_path("promtool").is_none() => {
            Some("no promtool here; `cargo all-tests` installs the package `prometheus` where it may")
        }
        Need::Promtool => None,
        Need::NatsCli => nats_cli().as_ref().err().map(String::as_str),
        Need::Kubectl if program_on_path("kubectl").is_none() => {
            Some("no kubectl here; `cargo all-tests` installs the package `kubernetes-client` where it may")
        }
        Need::Kubectl => None,
        Need::Python if program_on_path("python3").is_none() => {
            Some("no python3 here; install the package `python3`, 3.10 or later")
        }
        Need::Python => None,
        Need::Sdk(sdk) => {
            let found = Cache::from_environment().is_ok_and(|cache| sdk.find(&cache).is_some());
            (!found).then(|| sdk.reason())
        }
        Need::Node => unmet(Need::Mounts).or_else(|| node_programs().as_ref().err().map(String::as_str)),
    }
}

fn shared_control_plane() -> Result<Arc<ControlPlane>, Failure> {
    // Held while it starts, so that those who come meanwhile wait for it rather than start another.
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(control_plane) = &*shared {
        return Ok(Arc::clone(control_plane));
    }
    let programs = control_plane_programs().as_ref().map_err(String::as_str)?;
    let control_plane = Arc::new(ControlPlane::start(programs)?);
    *shared = Some(Arc::clone(&control_plane));
    Ok(control_plane)
}

fn mounts() -> &'static Result<(), String> {
    static MOUNTS: OnceLock<Result<(), String>> = OnceLock::new();
    MOUNTS.get_or_init(|| {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        Mount::new(folder.path(), "size=1m")
            .map(drop)
            .map_err(|failure| format!("no file system can be mounted here ({failure}); run the tests as root"))
    })
}

fn nats_program() -> &'static Result<NatsProgram, String> {
    static PROGRAM: OnceLock<Result<NatsProgram, String>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let cache = Cache::from_environment().map_err(|error| error.to_string())?;
        let found = NatsProgram::find(&cache, Progress::on_stderr()).map_err(|error| error.to_string())?;
        found.ok_or_else(|| "no nats-server here; `cargo all-tests` fetches one".to_owned())
    })
}

fn nats_cli() -> &'static Result<NatsCli, String> {
    static NATS_CLI: OnceLock<Result<NatsCli, String>> = OnceLock::new();
    NATS_CLI.get_or_init(|| {
        let cache = Cache::from_environment().map_err(|error| error.to_string())?;
        NatsCli::find(&cache).ok_or_else(|| "no `nats` program here; `cargo all-tests` builds one".to_owned())
    })
}

fn fuzzer() -> &'static Result<Fuzzer, String> {
    static FUZZER: OnceLock<Result<Fuzzer, String>> = OnceLock::new();
    FUZZER.get_or_init(|| {
        let cache = Cache::from_environment().map_err(|error| error.to_string())?;
        Fuzzer::find(&cache).ok_or_else(|| "no schemathesis here; `cargo all-tests` fetches one".to_owned())
    })
}

fn helm() -> &'static Result<Helm, String> {
    static HELM: OnceLock<Result<Helm, String>> = OnceLock::new();
    HELM.get_or_init(|| {
        let cache = Cache::from_environment().map_err(|error| error.to_string())?;
        Helm::find(&cache).ok_or_else(|| "no helm here; `cargo all-tests` builds one".to_owned())
    })
}

fn node_programs() -> &'static Result<NodePrograms, String> {
    static PROGRAMS: OnceLock<Result<NodePrograms, String>> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let cache = Cache::from_environment().map_err(|error| error.to_string())?;
        NodePrograms::find(&cache)
    })
}

fn control_plane_programs() -> &'static Result<ControlPlanePrograms, String> {
    static PROGRAMS: OnceLock<Result<ControlPlanePrograms, String>> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let cache = Cache::from_environment().map_err(|error| error.to_string())?;
        let found = ControlPlanePrograms::find(&cache);
        found.ok_or_else(|| "no Kubernetes control plane here; `cargo all-tests` builds one".to_owned())
    })
}

/// Reads a file of a scene for a failure message; what cannot be read says so.
pub(super) fn read_or_say(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| format!("(`{}` cannot be read: {error})", path.display()))
}
