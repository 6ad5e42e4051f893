//! A real Kubernetes control plane: etcd, kube-apiserver and the two controllers without which nothing ever goes away.
//!
//! Start at [`ControlPlane::start`]; it is ready in about 3 s. Without a [`super::Node`] no pod ever runs. Every write is
//! in an audit log, so that a test can count what was asked of the API server ([`ControlPlane::writes`]).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use lifeline_ops::servers::{Error, Process, free_port};
use pem::Pem;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{ControlPlanePrograms, Failure};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// A port may be taken between being found free and being listened on: then another is tried.
const ATTEMPTS_MAX: usize = 3;

/// What the head of an uncompressed P-256 public key looks like in DER (RFC 5480, section 2).
const P256_PUBLIC_KEY_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Without a kubelet: namespaces go, and what belongs to something that is gone.
const CONTROLLERS: &str = "namespace-controller,garbage-collector-controller";

/// With one: pods of a StatefulSet with their claims and identities too.
const CONTROLLERS_OF_PODS: &str = "namespace-controller,garbage-collector-controller,statefulset-controller,\
    persistentvolume-binder-controller,persistentvolumeclaim-protection-controller,serviceaccount-controller,\
    root-ca-certificate-publisher-controller,endpointslice-controller,disruption-controller,node-lifecycle-controller,\
    taint-eviction-controller,pod-garbage-collector-controller";

/// Writes leave a line, reads only those of service accounts.
const AUDIT_POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  userGroups: ["system:serviceaccounts"]
- level: Metadata
  users: [admin]
  verbs: [get]
  resources: [{group: "", resources: [configmaps]}]
- level: Metadata
  verbs: [create, update, patch, delete, deletecollection]
- level: None
"#;

/// Who talks to the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// May do everything (group `system:masters`).
    Admin,
    /// May do nothing until a test binds a role to the user `engine`: for what the chart grants to Lifeline.
    Engine,
    /// May do nothing until a test binds a role to the user `viewer`.
    Viewer,
}

impl User {
    const ALL: [Self; 3] = [Self::Admin, Self::Engine, Self::Viewer];

    /// The name that a RoleBinding uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Engine => "engine",
            Self::Viewer => "viewer",
        }
    }

    fn groups(self) -> &'static str {
        match self {
            Self::Admin => "system:masters",
            Self::Engine | Self::Viewer => "",
        }
    }
}

/// A write that the API server was asked for, as its audit log tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// `create`, `update`, `patch`, `delete`, `deletecollection`. A server-side apply is a `patch`.
    pub verb: String,
    /// `namespaces`, `configmaps`; empty where there is none.
    pub resource: String,
    /// `status`, `finalize`; empty where the object itself was written.
    pub subresource: String,
    /// The namespace; empty where there is none. A Namespace is in itself.
    pub namespace: String,
    /// The object; empty in a create, whose name is in its body.
    pub name: String,
    /// The user who asked.
    pub user: String,
    /// Whom the user acted as; empty for himself.
    pub acting_as: String,
    /// The HTTP status it got.
    pub status: u16,
    /// The group of the resource; empty for the core, and where there is no resource.
    pub group: String,
}

/// The verbs that leave nothing changed.
const READS: [&str; 3] = ["get", "list", "watch"];

/// A running control plane. Dropping it kills it and removes its folder.
#[derive(Debug)]
pub struct ControlPlane {
    // Fields are dropped in this order: who is talked to outlives who talks, and the folder outlives all.
    _scheduler: Option<Process>,
    controller_manager: Process,
    api_server: Process,
    _etcd: Process,
    layout: Layout,
    _folder: TempDir,
}

impl ControlPlane {
    /// Starts a fresh control plane and waits until its API server is ready.
    ///
    /// # Errors
    /// When one of its servers ends or does not get ready; the error holds the last lines of its log.
    pub fn start(programs: &ControlPlanePrograms) -> Result<Self, Error> {
        Self::start_with(programs, None)
    }

    /// The same with all that pods need but a node: a scheduler, service accounts, StatefulSets.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_for_pods(programs: &ControlPlanePrograms, scheduler: &Path) -> Result<Self, Error> {
        Self::start_with(programs, Some(scheduler))
    }

    fn start_with(programs: &ControlPlanePrograms, scheduler: Option<&Path>) -> Result<Self, Error> {
        let mut attempt = 1;
        loop {
            match Self::start_once(programs, scheduler) {
                Err(Error::Ended { last_lines, .. })
                    if attempt < ATTEMPTS_MAX && last_lines.contains("address already in use") =>
                {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn start_once(programs: &ControlPlanePrograms, scheduler: Option<&Path>) -> Result<Self, Error> {
        let folder = tempfile::Builder::new()
            .prefix("lifeline-control-plane-")
            .tempdir()
            .map_err(Error::file("create", "a temporary folder"))?;
        let layout = Layout::new(folder.path(), programs, scheduler)?;

        let mut etcd = Process::start("etcd", layout.etcd(), &layout.file("etcd.log"))?;
        etcd.ready(READY_WITHIN, || connect(layout.etcd_port))?;
        let api_server = layout.start_api_server()?;
        let controller_manager = layout.start_controller_manager()?;
        let scheduler = layout.start_scheduler().transpose()?;
        Ok(Self { _scheduler: scheduler, controller_manager, api_server, _etcd: etcd, layout, _folder: folder })
    }

    /// The kubeconfig file of a user.
    #[must_use]
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        self.layout.kubeconfig(user)
    }

    /// A client for a user. To be called on the runtime that will use it.
    ///
    /// # Errors
    /// When the kubeconfig is not accepted.
    pub async fn client(&self, user: User) -> Result<Client, Failure> {
        Ok(client(&self.kubeconfig(user)).await?)
    }

    /// The port of the API server, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.layout.api_port
    }

    /// Every write so far, in the order in which they were answered.
    ///
    /// # Errors
    /// When the audit log cannot be read.
    pub fn writes(&self) -> Result<Vec<Write>, Failure> {
        let mut calls = self.calls()?;
        calls.retain(|call| !READS.contains(&call.verb.as_str()));
        Ok(calls)
    }

    /// Every write so far, and every read of a service account, or of a ConfigMap by its name.
    ///
    /// # Errors
    /// When the audit log cannot be read.
    pub fn calls(&self) -> Result<Vec<Write>, Failure> {
        let text = fs::read_to_string(self.layout.file("audit.log"))?;
        // The last line may still be under way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| Ok(write_in(line)?)).collect()
    }

    /// Kills the API server with SIGKILL. What it stored stays.
    pub fn kill_api_server(&mut self) {
        self.api_server.kill();
    }

    /// Starts the API server again on its port, and the controllers, which may have given up meanwhile.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart_api_server(&mut self) -> Result<(), Error> {
        self.controller_manager.kill();
        self.api_server.kill();
        self.api_server = self.layout.start_api_server()?;
        self.controller_manager = self.layout.start_controller_manager()?;
        Ok(())
    }
}

/// The files, ports and command lines of a control plane.
#[derive(Debug)]
struct Layout {
    folder: PathBuf,
    programs: ControlPlanePrograms,
    /// Only where pods are to run.
    scheduler: Option<PathBuf>,
    etcd_port: u16,
    api_port: u16,
}

impl Layout {
    fn new(folder: &Path, programs: &ControlPlanePrograms, scheduler: Option<&Path>) -> Result<Self, Error> {
        let port = || free_port().map_err(Error::file("find a free port on", "127.0.0.1"));
        let layout = Self {
            folder: folder.to_owned(),
            programs: programs.clone(),
            scheduler: scheduler.map(Path::to_owned),
            etcd_port: port()?,
            api_port: port()?,
        };
        layout.write_settings().map_err(Error::file("write into", folder))?;
        Ok(layout)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn kubeconfig(&self, user: User) -> PathBuf {
        self.file(&format!("{}.kubeconfig", user.name()))
    }

    fn write_settings(&self) -> io::Result<()> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).map_err(no_key)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref(), &random).map_err(no_key)?;
        let public = [&P256_PUBLIC_KEY_HEAD, pair.public_key().as_ref()].concat();
        fs::write(self.file("service-account.key"), pem::encode(&Pem::new("PRIVATE KEY", key.as_ref())))?;
        fs::write(self.file("service-account.pub"), pem::encode(&Pem::new("PUBLIC KEY", public)))?;
        fs::write(self.file("audit-policy.yaml"), AUDIT_POLICY)?;

        let mut tokens = String::new();
        for user in User::ALL {
            let mut bytes = [0; 16];
            random.fill(&mut bytes).map_err(no_key)?;
            let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let name = user.name();
            tokens.push_str(&format!("{token},{name},{name},\"{}\"\n", user.groups()));
            // JSON is YAML.
            let kubeconfig = json!({
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "test", "cluster": {
                    "server": format!("https://127.0.0.1:{}", self.api_port),
                    // The API server makes this file at its first start.
                    "certificate-authority": self.file("certificates/apiserver.crt"),
                }}],
                "users": [{"name": name, "user": {"token": token}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
                "current-context": "test",
            });
            fs::write(self.kubeconfig(user), format!("{kubeconfig:#}"))?;
        }
        fs::write(self.file("tokens.csv"), tokens)
    }

    fn etcd(&self) -> Command {
        let url = format!("http://127.0.0.1:{}", self.etcd_port);
        let mut etcd = Command::new(self.programs.etcd());
        etcd.arg("--data-dir").arg(self.file("etcd"));
        etcd.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        // No peer ever comes: any port will do.
        etcd.args(["--listen-peer-urls", "http://127.0.0.1:0"]);
        // Nothing here has to survive a power failure.
        etcd.args(["--unsafe-no-fsync", "--log-level", "warn"]);
        etcd
    }

    fn api_server(&self) -> Command {
        let mut server = Command::new(self.programs.api_server());
        let mut file = |flag: &str, name: &str| {
            server.arg(format!("--{flag}={}", self.file(name).display()));
        };
        file("cert-dir", "certificates");
        file("token-auth-file", "tokens.csv");
        file("service-account-key-file", "service-account.pub");
        file("service-account-signing-key-file", "service-account.key");
        file("audit-policy-file", "audit-policy.yaml");
        file("audit-log-path", "audit.log");
        server.arg(format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port));
        server.arg(format!("--secure-port={}", self.api_port));
        server.args([
            "--bind-address=127.0.0.1",
            // Said outright, or it looks for an address in the routing table, which a sandbox may not have.
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            "--service-account-issuer=https://lifeline.test",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=RBAC",
        ]);
        if self.scheduler.is_none() {
            // It would refuse pods until somebody makes service accounts, and nobody does here.
            server.arg("--disable-admission-plugins=ServiceAccount");
        }
        server
    }

    fn start_api_server(&self) -> Result<Process, Error> {
        let mut server = Process::start("kube-apiserver", self.api_server(), &self.file("kube-apiserver.log"))?;
        let kubeconfig = self.kubeconfig(User::Admin);
        server.ready(READY_WITHIN, || {
            connect(self.api_port)?;
            on_own_runtime(async {
                let client = client(&kubeconfig).await.map_err(|error| error.to_string())?;
                let request = http::Request::get("/readyz").body(Vec::new()).map_err(|error| error.to_string())?;
                // Several lines on what is not ready yet: the failing ones are what matters.
                client.request_text(request).await.map(|_| ()).map_err(|error| error.to_string())
            })
        })?;
        Ok(server)
    }

    fn start_controller_manager(&self) -> Result<Process, Error> {
        let mut manager = Command::new(self.programs.controller_manager());
        manager.arg("--kubeconfig").arg(self.kubeconfig(User::Admin));
        let controllers = if self.scheduler.is_some() { CONTROLLERS_OF_PODS } else { CONTROLLERS };
        manager.arg(format!("--controllers={controllers}")).args(["--leader-elect=false", "--secure-port=0"]);
        manager.arg("--root-ca-file").arg(self.file("certificates/apiserver.crt"));
        Process::start("kube-controller-manager", manager, &self.file("kube-controller-manager.log"))
    }

    fn start_scheduler(&self) -> Option<Result<Process, Error>> {
        let mut scheduler = Command::new(self.scheduler.as_ref()?);
        scheduler.arg("--kubeconfig").arg(self.kubeconfig(User::Admin));
        scheduler.args(["--leader-elect=false", "--secure-port=0"]);
        Some(Process::start("kube-scheduler", scheduler, &self.file("kube-scheduler.log")))
    }
}

async fn client(kubeconfig: &Path) -> Result<Client, kube::Error> {
    let config = match Kubeconfig::read_from(kubeconfig) {
        Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await,
        Err(error) => Err(error),
    };
    Client::try_from(config.map_err(kube::Error::InferKubeconfig)?)
}

/// Whether somebody listens on a loopback port.
fn connect(port: u16) -> Result<(), String> {
    match std::net::TcpStream::connect(("127.0.0.1", port)) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("no connection to 127.0.0.1:{port}: {error}")),
    }
}

/// Runs a short future to its end, also where the calling thread already drives a runtime.
fn on_own_runtime<T: Send>(future: impl Future<Output = Result<T, String>> + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|error| error.to_string())?.block_on(future)
        });
        thread.join().unwrap_or_else(|_| Err("the probe panicked".to_owned()))
    })
}

/// ring says no more than that it failed, and only a system without random numbers makes it.
fn no_key<E>(_: E) -> io::Error {
    io::Error::other("no key could be made")
}

/// Reads a line of the audit log (`audit.k8s.io/v1` Event).
fn write_in(line: &str) -> serde_json::Result<Write> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Event {
        verb: String,
        user: UserInfo,
        impersonated_user: Option<UserInfo>,
        object_ref: Option<Value>,
        response_status: Option<Value>,
    }
    #[derive(Deserialize)]
    struct UserInfo {
        username: String,
    }
    let event: Event = serde_json::from_str(line)?;
    let reference = event.object_ref.unwrap_or_default();
    let text = |name: &str| reference.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let code = event.response_status.as_ref().and_then(|status| status.get("code")).and_then(Value::as_u64);
    Ok(Write {
        verb: event.verb,
        group: text("apiGroup"),
        resource: text("resource"),
        subresource: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
        user: event.user.username,
        acting_as: event.impersonated_user.map(|user| user.username).unwrap_or_default(),
        status: code.and_then(|code| u16::try_from(code).ok()).unwrap_or_default(),
    })
}
