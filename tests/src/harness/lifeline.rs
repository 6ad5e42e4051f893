//! The real `lifeline` program, run as a user would, killed as a crash would.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use lifeline_ops::servers::{Error, Process, free_port, is_program};
use serde_json::Value;

use super::Failure;
use super::eventually;
use super::scene::read_or_say;

const READY_WITHIN: Duration = Duration::from_secs(30);
/// Outages end, backlogs are worked off, namespaces go: all within this.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(30);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A `lifeline run`, running or killed. Dropping it kills it.
#[derive(Debug)]
pub struct Lifeline {
    program: PathBuf,
    folder: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    listens_for_others: bool,
    port: u16,
    process: Option<Process>,
}

impl Lifeline {
    /// The `lifeline` program: `LIFELINE_BIN`, else the one built beside the running test program.
    ///
    /// # Errors
    /// When there is none. That is no reason to skip a test: it can always be built.
    pub fn program() -> Result<PathBuf, Failure> {
        let program = match env::var_os("LIFELINE_BIN") {
            Some(path) => PathBuf::from(path),
            // target/PROFILE/deps/TEST -> target/PROFILE/lifeline
            None => {
                let test = env::current_exe()?;
                test.parent().and_then(Path::parent).unwrap_or(Path::new(".")).join("lifeline")
            }
        };
        if is_program(&program) {
            return Ok(program);
        }
        let text = format!(
            "there is no program `{}`\nhint: run `cargo all-tests`, or `cargo build --package lifeline-ops` first",
            program.display()
        );
        Err(text.into())
    }

    /// Starts `lifeline run` on a data folder `data` in `folder`, with a free port to listen on and more arguments.
    /// It may not be ready yet: see [`Self::wait_until_ready`].
    ///
    /// # Errors
    /// When there is no such program, or it cannot be started.
    pub fn run(folder: &Path, arguments: &[&str]) -> Result<Self, Failure> {
        Self::run_in(folder, arguments, &[])
    }

    /// The same with variables in its environment.
    ///
    /// # Errors
    /// When there is no such program, or it cannot be started.
    pub fn run_in(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        let mut lifeline = Self {
            program: Self::program()?,
            folder: folder.to_owned(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            listens_for_others: false,
            port: free_port()?,
            process: None,
        };
        lifeline.restart()?;
        Ok(lifeline)
    }

    /// The same, listening on every address of the machine from now on.
    ///
    /// # Errors
    /// When it cannot be started again.
    pub fn listening_for_others(mut self) -> Result<Self, Failure> {
        self.kill();
        self.listens_for_others = true;
        self.restart()?;
        Ok(self)
    }

    /// Starts it again with the same arguments and data, killing it first if it still runs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self) -> Result<(), Failure> {
        self.kill();
        let mut command = command(&self.program);
        let host = if self.listens_for_others { "0.0.0.0" } else { "127.0.0.1" };
        let listen = format!("{host}:{}", self.port);
        command.arg("run").arg("--data").arg(self.data()).args(["--listen", &listen]).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.process = Some(Process::start("lifeline", command, &self.log())?);
        Ok(())
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The file that holds everything it printed, over all restarts.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("lifeline.log")
    }

    /// Where it serves its queries: `http://127.0.0.1:7717`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills it with SIGKILL, at whatever point it is.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Lets it end in good order (SIGTERM); the exit code, or None when it had to be killed.
    pub fn stop(&mut self) -> Option<i32> {
        self.process.take().and_then(|mut process| process.stop(STOP_PATIENCE).code())
    }

    /// Waits until `/readyz` says yes. Blocks the calling thread.
    ///
    /// # Errors
    /// When it ends first or does not get ready; the failure holds the last lines of its log.
    pub fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let address = self.address();
        let process = self.process.as_mut().ok_or("lifeline was killed and not restarted")?;
        process.ready(READY_WITHIN, || match get(&address, "/readyz") {
            Ok((200, _)) => Ok(()),
            Ok((status, body)) => Err(format!("/readyz says {status} {body}")),
            Err(error) => Err(format!("/readyz: {error}")),
        })?;
        Ok(())
    }

    /// Waits until it ends by itself, and gives its exit code and everything it printed: for mistakes it must refuse.
    ///
    /// # Errors
    /// When it still runs after `within`.
    pub fn wait_until_ended(&mut self, within: Duration) -> Result<(Option<i32>, String), Failure> {
        let log = self.log();
        let process = self.process.as_mut().ok_or("lifeline was killed and not restarted")?;
        match process.ready(within, || Err::<(), _>("it still runs".to_owned())) {
            Err(Error::Ended { status, .. }) => Ok((status.code(), read_or_say(&log))),
            Err(error) => Err(error.into()),
            Ok(()) => unreachable!("the probe never says that it is ready"),
        }
    }

    /// The body of a page it serves: `get("/metrics")`.
    ///
    /// # Errors
    /// When it does not answer with 200.
    pub fn get(&self, path: &str) -> Result<String, Failure> {
        match get(&self.address(), path)? {
            (200, body) => Ok(body),
            (status, body) => Err(format!("GET {path} gave {status}: {body}").into()),
        }
    }

    /// What it says of itself: `/v1/status`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> Result<Value, Failure> {
        Ok(serde_json::from_str(&self.get("/v1/status")?)?)
    }

    /// Waits until so many events are recorded, no more and no fewer, over all streams.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn has_recorded(&self, events: u64) -> Result<(), Failure> {
        eventually(&format!("{events} recorded events"), CAUGHT_UP_WITHIN, async || {
            let status = self.status().map_err(|failure| failure.to_string())?;
            let streams = status["streams"].as_array().cloned().unwrap_or_default();
            let received: u64 = streams.iter().filter_map(|stream| stream["received"].as_u64()).sum();
            if received == events { Ok(()) } else { Err(format!("{received} are")) }
        })
        .await
    }

    /// Waits until everything recorded is carried out.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn has_settled(&self) -> Result<(), Failure> {
        eventually("everything recorded to be carried out", CAUGHT_UP_WITHIN, async || {
            let status = self.status().map_err(|failure| failure.to_string())?;
            let [open, reconciled, recorded] = ["open", "reconciled", "recorded"].map(|field| &status[field]);
            if *open == 0 && reconciled == recorded {
                return Ok(());
            }
            Err(format!("{open} open, reconciled {reconciled} of {recorded}"))
        })
        .await
    }

    /// Waits until its log (what it printed) holds a text, and gives all of it.
    ///
    /// # Errors
    /// When it takes too long; the failure holds what it printed instead.
    pub async fn has_said(&self, text: &str) -> Result<String, Failure> {
        eventually(&format!("`{text}` in the log"), CAUGHT_UP_WITHIN, async || {
            let said = read_or_say(&self.log());
            if said.contains(text) { Ok(said) } else { Err(said) }
        })
        .await
    }

    /// Runs the program with arguments of one's own, to its end; what it printed to standard output.
    ///
    /// # Errors
    /// When it fails.
    pub fn command(arguments: &[&str]) -> Result<String, Failure> {
        let output = command(&Self::program()?).args(arguments).output()?;
        succeeded(arguments, &output)
    }

    /// The same for a command that says something by its exit code: that, and what it printed to both.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn exit_of(arguments: &[&str]) -> Result<(Option<i32>, String), Failure> {
        let output = command(&Self::program()?).args(arguments).output()?;
        let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        Ok((output.status.code(), format!("{stdout}{stderr}")))
    }

    /// What it answers to an asking command, as JSON: `ask(&["get", "lifecycles"])`.
    ///
    /// # Errors
    /// When the command fails or prints no JSON.
    pub fn ask(&self, arguments: &[&str]) -> Result<Value, Failure> {
        let output =
            command(&self.program).args(arguments).args(["--server", &self.url(), "--output", "json"]).output()?;
        let stdout = succeeded(arguments, &output)?;
        serde_json::from_str(&stdout).map_err(|error| format!("`{stdout}` is no JSON: {error}").into())
    }
}

/// A command that sees none of the settings of the user who runs the tests.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("LIFELINE_") || text.starts_with("OTEL_") || text == "KUBECONFIG" {
            command.env_remove(name);
        }
    }
    command
}

fn succeeded(arguments: &[&str], output: &Output) -> Result<String, Failure> {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("`lifeline {}` failed ({}):\n{stdout}{stderr}", arguments.join(" "), output.status).into())
}

/// A GET in its plainest form. HTTP/1.0 asks for the connection to be closed, so the answer ends where the bytes end.
fn get(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    match status {
        Some(status) => Ok((status, body.to_owned())),
        None => Err(std::io::Error::other(format!("no HTTP answer: `{answer}`"))),
    }
}
