//! Somebody who reads a page of the documentation and types what it says.
//!
//! Start at [`Reader::follow`]. The folder of the reader has the examples, the `PATH` the programs, and each page its own
//! nats-server and engine on free ports: the page says `127.0.0.1:4222` and `127.0.0.1:7717`, and what is typed and shown
//! is translated.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lifeline_ops::servers::{Process, free_port};

use super::scene::read_or_say;
use super::{ControlPlane, Failure, Lifeline, Outcome, Scene, User};
use crate::pages::{Page, Step, Typed, is_as_shown};

/// The ports that pages name: of NATS, and of the engine.
const PORTS: [&str; 2] = ["127.0.0.1:4222", "127.0.0.1:7717"];
/// What a question may take until its answer is the one that the page shows.
const ANSWERED_WITHIN: Duration = Duration::from_secs(40);
const READY_WITHIN: Duration = Duration::from_secs(30);
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// A command that takes longer hangs.
const COMMAND_SECONDS: &str = "120";

/// The folder of the examples.
#[must_use]
pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// The reader of one page.
#[derive(Debug)]
pub struct Reader {
    home: PathBuf,
    /// What stands for [`PORTS`].
    addresses: [String; 2],
    environment: Vec<(&'static str, String)>,
    background: Vec<(String, Process)>,
    /// Of this page alone, for pages are followed at the same time. Last, so that it outlives the engine.
    _control_plane: Option<ControlPlane>,
}

impl Reader {
    /// A reader in the folder of a scene, with a cluster where the page needs one.
    ///
    /// # Errors
    /// When a program is missing or the folder cannot be written.
    pub fn new(scene: &Scene, page: &Page) -> Result<Self, Failure> {
        let home = scene.folder().canonicalize()?;
        let addresses = [format!("127.0.0.1:{}", free_port()?), format!("127.0.0.1:{}", free_port()?)];
        let programs = home.join(".programs");
        fs::create_dir_all(&programs)?;
        symlink(Lifeline::program()?.canonicalize()?, programs.join("lifeline"))?;
        symlink(&scene.nats_cli()?.program, programs.join("nats"))?;
        let nats = addresses[0].rsplit(':').next().unwrap_or_default();
        let server = scene.nats_server_program()?.display();
        let script = format!("#!/bin/sh\nexec '{server}' --addr 127.0.0.1 --port {nats} \"$@\"\n");
        write_program(&programs.join("nats-server"), &script)?;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut environment = vec![
            ("PATH", format!("{}:{path}", programs.display())),
            ("HOME", home.display().to_string()),
            // For the demo, which starts one of its own.
            ("LIFELINE_NATS_SERVER", scene.nats_server_program()?.display().to_string()),
            ("NATS_URL", format!("nats://{}", addresses[0])),
            ("LIFELINE_LISTEN", addresses[1].clone()),
            ("LIFELINE_SERVER", format!("http://{}", addresses[1])),
        ];
        let control_plane = if page.needs_kubernetes { Some(scene.fresh_control_plane()?) } else { None };
        if let Some(control_plane) = &control_plane {
            environment.push(("KUBECONFIG", control_plane.kubeconfig(User::Admin).display().to_string()));
        }
        let mut reader = Self { home, addresses, environment, background: Vec::new(), _control_plane: control_plane };
        reader.copy(&examples(), &reader.home.join("examples"))?;
        fs::write(reader.home.join(".place"), format!("cd '{}'\n", reader.home.display()))?;
        let starts_nats = |step: &Step| matches!(step, Step::Typed(typed) if typed.text.starts_with("nats-server"));
        if !page.steps.iter().any(starts_nats) {
            let text = "nats-server -js -sd .nats".to_owned();
            reader.begin(&Typed { text, in_background: true, ..Typed::default() })?;
        }
        Ok(reader)
    }

    /// Does what a page says, and compares what is printed.
    ///
    /// # Errors
    /// When a command does not do or print what the page says; the failure names the line.
    pub fn follow(&mut self, page: &Page) -> Outcome {
        for step in &page.steps {
            match step {
                Step::File { name, text } => self.write(name, text)?,
                Step::Typed(typed) if typed.in_background => self.begin(typed)?,
                Step::Typed(typed) => self.type_in(typed)?,
                Step::Stop { name } => self.stop(name)?,
            }
        }
        Ok(())
    }

    /// A file that is there already is one of the examples: the page has to show it as it is.
    fn write(&self, name: &str, text: &str) -> Outcome {
        let (path, text) = (self.place()?.join(name), self.translated(text));
        if let Ok(there) = fs::read_to_string(&path) {
            if there == text {
                return Ok(());
            }
            return Err(format!("`{name}` is in the examples, and the page shows another text:\n{there}").into());
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(fs::write(path, text)?)
    }

    fn type_in(&self, typed: &Typed) -> Outcome {
        let began = Instant::now();
        loop {
            let (succeeded, printed) = self.run(&typed.text)?;
            let is_as_said = succeeded != typed.fails;
            if is_as_said && (typed.expected.is_empty() || is_as_shown(&typed.expected, &printed)) {
                return Ok(());
            }
            if !asks(&typed.text) || began.elapsed() > ANSWERED_WITHIN {
                let end = if succeeded { "succeeded" } else { "failed" };
                return Err(format!("line {}: `{}` {end} and printed:\n{printed}", typed.line, typed.text).into());
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Starts a command in the background, and waits until it does its work.
    fn begin(&mut self, typed: &Typed) -> Outcome {
        let log = self.home.join(format!(".background-{}", self.background.len()));
        let mut process = Process::start(&typed.text, self.command(&format!("exec {}", typed.text)), &log)?;
        process.ready(READY_WITHIN, || {
            let printed = self.shown(&read_or_say(&log));
            if !typed.expected.is_empty() && !is_as_shown(&typed.expected, &printed) {
                return Err(format!("line {}: it printed:\n{printed}", typed.line));
            }
            if typed.text.starts_with("nats-server") {
                return TcpStream::connect(&self.addresses[0]).map(drop).map_err(|error| error.to_string());
            }
            if typed.text.starts_with("lifeline run") {
                let (is_ready, status) = self.run("lifeline status").map_err(|failure| failure.to_string())?;
                return if is_ready { Ok(()) } else { Err(status) };
            }
            Ok(())
        })?;
        self.background.push((typed.text.clone(), process));
        Ok(())
    }

    fn stop(&mut self, name: &str) -> Outcome {
        let place = self.background.iter().rposition(|(text, _)| text.starts_with(name));
        let place = place.ok_or_else(|| format!("nothing in the background begins with `{name}`"))?;
        self.background.remove(place).1.stop(STOP_PATIENCE);
        Ok(())
    }

    /// Whether it succeeded, and what it printed, as the page would show it.
    fn run(&self, text: &str) -> Result<(bool, String), Failure> {
        let script = "{ . \"$HOME/.place\"; } 2>/dev/null\n{ eval \"$1\"; } 2>&1\ncode=$?\n\
                      { export -p; printf \"cd '%s'\\n\" \"$PWD\"; } > \"$HOME/.place\"\nexit $code";
        let mut command = Command::new("timeout");
        command.args([COMMAND_SECONDS, "bash", "--noprofile", "--norc", "-c", script, "reader"]);
        let output = self.in_environment(&mut command).arg(self.translated(text)).output()?;
        let printed = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), self.shown(&String::from_utf8_lossy(&printed))))
    }

    fn command(&self, text: &str) -> Command {
        let mut command = Command::new("bash");
        let script = format!("{{ . \"$HOME/.place\"; }} 2>/dev/null\n{}", self.translated(text));
        command.args(["--noprofile", "--norc", "-c", &script]);
        self.in_environment(&mut command);
        command
    }

    fn in_environment<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("LIFELINE_") || text.starts_with("OTEL_") || text == "KUBECONFIG" {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.home).stdin(Stdio::null())
    }

    /// The folder that the reader is in.
    fn place(&self) -> Result<PathBuf, Failure> {
        let (_, printed) = self.run("pwd -P")?;
        Ok(PathBuf::from(printed.trim_end()))
    }

    fn translated(&self, text: &str) -> String {
        PORTS.iter().zip(&self.addresses).fold(text.to_owned(), |text, (port, own)| text.replace(port, own))
    }

    fn shown(&self, text: &str) -> String {
        PORTS.iter().zip(&self.addresses).fold(text.to_owned(), |text, (port, own)| text.replace(own.as_str(), port))
    }

    fn copy(&self, from: &Path, to: &Path) -> Outcome {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
            if path.is_dir() {
                self.copy(&path, &to.join(name))?;
            } else {
                fs::write(to.join(name), self.translated(&fs::read_to_string(&path)?))?;
            }
        }
        Ok(())
    }
}

/// Whether a command only asks, so that it may be asked again until the answer is there.
fn asks(text: &str) -> bool {
    let asking = ["get", "history", "show", "why", "status", "diff"];
    let mut words = text.split_whitespace();
    match (words.next(), words.next()) {
        (Some("lifeline"), Some(word)) => asking.contains(&word),
        (Some("kubectl"), Some(word)) => word == "get",
        _ => false,
    }
}

fn write_program(path: &Path, text: &str) -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}
