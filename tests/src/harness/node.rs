//! A real node of Kubernetes: containerd and a kubelet, with images that are built here and pulled from nowhere.
//!
//! Start at [`Node::start`]. What it runs is in `node.sh`, which also ends it: with this process, however that ends. Pods use
//! the network of the machine, so ports must be free ones on loopback.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lifeline_ops::servers::free_port;

use super::scene::read_or_say;
use super::{ControlPlane, Failure, Lifeline, NodePrograms, User};

const SCRIPT: &str = include_str!("node.sh");

/// Ending the containers, and taking the mounts away.
const END_WITHIN: Duration = Duration::from_secs(60);

/// The name of the node.
pub const NODE: &str = "test-node";

/// A running node. Dropping it ends every container on it.
#[derive(Debug)]
pub struct Node {
    folder: PathBuf,
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Node {
    /// Starts a node in a folder, of the cluster of a control plane for pods, with image archives that pods may use.
    ///
    /// # Errors
    /// When containerd or the kubelet does not start.
    pub fn start(
        programs: &NodePrograms,
        folder: &Path,
        control_plane: &ControlPlane,
        images: &[PathBuf],
    ) -> Result<Self, Failure> {
        let script = folder.join("node.sh");
        fs::create_dir_all(folder.join("images"))?;
        fs::write(&script, SCRIPT)?;
        for image in images.iter().chain([&image(folder, "pause", &programs.pause())?]) {
            let name = image.file_name().ok_or("an image without a name")?;
            fs::copy(image, folder.join("images").join(name))?;
        }
        let mut child = Command::new("sh")
            .arg(&script)
            .arg(folder)
            .arg(control_plane.kubeconfig(User::Admin))
            .args([NODE, &free_port()?.to_string()])
            .arg(programs.kubelet())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(folder.join("node.log"))?)
            .process_group(0)
            .spawn()?;
        let commands = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().ok_or("no answers")?);
        let mut node = Self { folder: folder.to_owned(), child, commands, answers };
        node.expect("started")?;
        Ok(node)
    }

    /// Ends containerd and the kubelet, as a machine that hangs would; containers go on.
    ///
    /// # Errors
    /// When the node is gone.
    pub fn go_down(&mut self) -> Result<(), Failure> {
        self.tell("stop", "stopped")
    }

    /// Starts both again.
    ///
    /// # Errors
    /// When they do not start.
    pub fn come_back(&mut self) -> Result<(), Failure> {
        self.tell("start", "started")
    }

    /// Runs a command in a running container, `kubectl exec` without the way over the API server; what it printed.
    ///
    /// # Errors
    /// When there is no such container, or the command fails.
    pub fn exec(&self, image: &str, command: &[&str]) -> Result<String, Failure> {
        let containers = self.containers(&["containers", "list"])?;
        let running = self.containers(&["tasks", "list"])?;
        let is_running = |id: &&str| running.lines().any(|line| line.contains(id) && line.contains("RUNNING"));
        let of_image = containers.lines().filter(|line| line.contains(image));
        let id = of_image.filter_map(|line| line.split_whitespace().next()).find(is_running);
        let id = id.ok_or_else(|| format!("no container of `{image}` runs:\n{containers}{running}"))?;
        let exec = ["tasks", "exec", "--exec-id", &format!("exec-{}", free_port()?), id];
        self.containers(&[&exec[..], command].concat())
    }

    /// Everything that the containers of a pod printed.
    #[must_use]
    pub fn logs(&self, pod: &str) -> String {
        let output = Command::new("sh")
            .args(["-c", r#"cat "$1"/pods/*_"$2"_*/*/*.log"#, "logs"])
            .arg(&self.folder)
            .arg(pod)
            .output();
        output.map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn containers(&self, arguments: &[&str]) -> Result<String, Failure> {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(self.folder.join("containerd.sock")).args(["--namespace", "k8s.io"]).args(arguments);
        succeeded(&mut ctr)
    }

    fn tell(&mut self, command: &str, answer: &str) -> Result<(), Failure> {
        let commands = self.commands.as_mut().ok_or("the node has ended")?;
        writeln!(commands, "{command}")?;
        self.expect(answer)
    }

    fn expect(&mut self, answer: &str) -> Result<(), Failure> {
        let mut said = String::new();
        self.answers.read_line(&mut said)?;
        if said.trim() == answer {
            return Ok(());
        }
        let logs = ["node.log", "containerd.log", "ctr.log"].map(|name| read_or_say(&self.folder.join(name)));
        Err(format!("the node said `{}` instead of `{answer}`:\n{}", said.trim(), logs.join("\n")).into())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.commands = None;
        let since = Instant::now();
        while since.elapsed() < END_WITHIN {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("the node in `{}` does not end", self.folder.display());
    }
}

/// The archive of an image that holds one static program, which a user without rights runs: `docker.io/library/NAME:test`.
///
/// # Errors
/// When buildah fails.
pub fn image(folder: &Path, name: &str, program: &Path) -> Result<PathBuf, Failure> {
    let content = folder.join(format!("{name}-image"));
    fs::create_dir_all(&content)?;
    fs::copy(program, content.join(name))?;
    let text = format!("FROM scratch\nCOPY {name} /{name}\nUSER 65532:65532\nENTRYPOINT [\"/{name}\"]\n");
    fs::write(content.join("Containerfile"), text)?;
    let (tag, archive) = (format!("docker.io/library/{name}:test"), folder.join(format!("{name}.tar")));
    succeeded(buildah(folder).args(["build", "--isolation", "chroot", "--quiet", "--tag", &tag]).arg(&content))?;
    let _ = fs::remove_file(&archive);
    let place = format!("docker-archive:{}:{tag}", archive.display());
    succeeded(buildah(folder).args(["push", "--quiet", &tag, &place]))?;
    fs::remove_dir_all(&content)?;
    Ok(archive)
}

/// The archive of Lifeline's image, with the program of these tests, as `ops/release` builds it.
///
/// # Errors
/// When the release fails.
pub fn lifeline_image(folder: &Path) -> Result<PathBuf, Failure> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/release");
    succeeded(Command::new(script).arg("--binary").arg(Lifeline::program()?).arg("--out").arg(folder))?;
    let files = fs::read_dir(folder)?.filter_map(Result::ok).map(|entry| entry.path());
    let image = files.into_iter().find(|path| path.to_string_lossy().ends_with("-image.tar"));
    Ok(image.ok_or("the release has no image")?)
}

fn buildah(folder: &Path) -> Command {
    let mut buildah = Command::new("buildah");
    buildah.arg("--root").arg(folder.join("buildah")).arg("--runroot").arg(folder.join("buildah-run"));
    buildah.args(["--storage-driver", "vfs"]);
    buildah
}

fn succeeded(command: &mut Command) -> Result<String, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().map_err(|error| format!("`{program}` cannot be started: {error}"))?;
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    if status.success() {
        return Ok(stdout);
    }
    Err(format!("`{program}` failed ({status}):\n{stdout}{}", String::from_utf8_lossy(&stderr)).into())
}
