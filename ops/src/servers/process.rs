//! A server as a child process: it prints into a file, can be killed as a crash would, and never outlives us.
//!
//! That a server ends with us must hold however we end, SIGKILL included, when no code of ours runs any more. So beside
//! each server has a guard: a shell that waits on a pipe whose other end only we hold. When we are gone the pipe
//! closes, and the guard kills the server. (Linux's parent death signal was refused: it follows the thread that started
//! the child, not the process, and setting it takes unsafe code.)

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Error;

/// As much of a log as an error message shows.
const LAST_LINES_COUNT: usize = 12;
const LAST_LINES_BYTES: u64 = 8 * 1024;
const POLL: Duration = Duration::from_millis(5);

/// A running server of ours. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    guard: Option<Child>,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` under a guard, with everything it prints appended to the file `log`.
    ///
    /// The server gets a process group of its own, so that Ctrl-C reaches us alone and we decide how it ends.
    ///
    /// # Errors
    /// When the log cannot be written or the program cannot be started.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self, Error> {
        let output = OpenOptions::new().create(true).append(true).open(log).map_err(Error::file("open", log))?;
        let errors = output.try_clone().map_err(Error::file("open", log))?;
        let mut child =
            command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0).spawn().map_err(|source| {
                Error::Spawn { program: command.get_program().to_string_lossy().into_owned(), source }
            })?;
        match guard(child.id()) {
            Ok(guard) => {
                Ok(Self { name: name.to_owned(), log: log.to_owned(), child, guard: Some(guard), status: None })
            }
            Err(source) => {
                // Unguarded is not an option: it could be left behind.
                let _ = child.kill();
                let _ = child.wait();
                Err(Error::Spawn { program: "sh".to_owned(), source })
            }
        }
    }

    /// Its process number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file that holds everything it printed.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, or None while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none()
            && let Ok(Some(status)) = self.child.try_wait()
        {
            self.status = Some(status);
            self.dismiss_guard();
        }
        self.status
    }

    /// Calls `probe` until it gives a value, for as long as the server runs and at most `within`.
    ///
    /// # Errors
    /// When the server ends first or the time is over; the error holds the last lines of its log, and what `probe` saw.
    pub fn ready<T>(&mut self, within: Duration, mut probe: impl FnMut() -> Result<T, String>) -> Result<T, Error> {
        let started = Instant::now();
        loop {
            let observed = match probe() {
                Ok(value) => return Ok(value),
                Err(observed) => observed,
            };
            if let Some(status) = self.ended() {
                let (server, log) = (self.name.clone(), self.log.clone());
                return Err(Error::Ended { server, status, last_lines: last_lines(&log), log });
            }
            if started.elapsed() >= within {
                let (server, log) = (self.name.clone(), self.log.clone());
                return Err(Error::NotReady { server, within, observed, last_lines: last_lines(&log), log });
            }
            thread::sleep(POLL);
        }
    }

    /// Kills it with SIGKILL, as a crash would, and waits until it is gone.
    pub fn kill(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            // Signal first, reap last: until it is reaped its number names nobody else, for the guard either.
            let _ = self.child.kill();
            thread::sleep(POLL);
        }
    }

    /// Asks it to end with SIGTERM, waits up to `patience`, then kills it.
    pub fn stop(&mut self, patience: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        let started = Instant::now();
        while started.elapsed() < patience {
            if let Some(status) = self.ended() {
                return status;
            }
            thread::sleep(POLL);
        }
        self.kill()
    }

    /// Freezes it with SIGSTOP: it holds its connections and answers nothing, as a machine that hangs.
    pub fn freeze(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen one go on.
    pub fn thaw(&mut self) {
        self.signal(Signal::CONT);
    }

    fn signal(&mut self, signal: Signal) {
        if self.ended().is_none()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            // It can only fail for a process that is gone, and `ended` reports that.
            let _ = kill_process(pid, signal);
        }
    }

    fn dismiss_guard(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            // Killed before its pipe closes, or it would strike at a number that may be somebody else's by now.
            let _ = guard.kill();
            let _ = guard.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until our end of its standard input is gone, then kills `pid`.
fn guard(pid: u32) -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", r#"read -r _; kill -KILL "$1""#, "lifeline-guard", &pid.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

/// The end of a log, for an error message.
pub(super) fn last_lines(log: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_LINES_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) if text.trim().is_empty() => "  (nothing)".to_owned(),
        Ok(text) => {
            let lines: Vec<&str> = text.trim_end().lines().collect();
            let first = lines.len().saturating_sub(LAST_LINES_COUNT);
            lines[first..].iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
        }
        Err(error) => format!("  (cannot be read: {error})"),
    }
}

/// A loopback port that was free just now. Somebody else may take it first: for servers that cannot choose one themselves.
///
/// # Errors
/// When the system has none.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufRead;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn is_alive(pid: &str) -> bool {
        // A zombie is dead: only its number stays, until its new parent looks.
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !status.is_empty() && !status.contains(") Z ")
    }

    #[test]
    fn a_server_that_ends_while_starting_shows_why() {
        let folder = tempfile::tempdir().unwrap();
        let mut process =
            Process::start("the server", shell("echo port taken; exit 1"), &folder.path().join("log")).unwrap();
        let error = process.ready(Duration::from_secs(10), || Err::<(), _>("nothing".to_owned())).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Ended { .. }) && text.contains("port taken"), "{text}");
    }

    #[test]
    fn a_server_that_never_gets_ready_shows_what_was_seen() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Process::start("the server", shell("exec sleep 60"), &folder.path().join("log")).unwrap();
        let error = process.ready(Duration::from_millis(20), || Err::<(), _>("refused".to_owned())).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::NotReady { .. }) && text.contains("refused"), "{text}");
    }

    #[test]
    fn a_dropped_server_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start("the server", shell("exec sleep 60"), &folder.path().join("log")).unwrap();
        let pid = process.id().to_string();
        assert!(is_alive(&pid));
        drop(process);
        assert!(!is_alive(&pid));
    }

    /// Runs in a process of its own, started by the test below, which kills it.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_server_dies_with_a_killed_parent() {
        const CHILD: &str = "LIFELINE_TEST_STARTS_A_SERVER_IN";
        if let Some(folder) = std::env::var_os(CHILD) {
            let log = Path::new(&folder).join("log");
            let process = Process::start("the server", shell("exec sleep 60"), &log).unwrap();
            println!("\nserver={}", process.id());
            thread::sleep(Duration::from_secs(60));
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut parent = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "servers::process::tests::a_server_dies_with_a_killed_parent", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = io::BufReader::new(parent.stdout.take().unwrap());
        let server = output.lines().find_map(|line| line.unwrap().strip_prefix("server=").map(str::to_owned)).unwrap();
        assert!(is_alive(&server));

        parent.kill().unwrap();
        parent.wait().unwrap();
        let killed = Instant::now();
        while is_alive(&server) {
            assert!(killed.elapsed() < Duration::from_secs(10), "server {server} outlived its parent");
            thread::sleep(POLL);
        }
    }
}
