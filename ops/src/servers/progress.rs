//! What a person sees while a program works for minutes: seconds and steps on a terminal, a line now and then elsewhere.
//!
//! Everything goes to standard error, so that the output of a command stays clean.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Error, process};

/// A change is shown this often on a terminal.
const FRAME: Duration = Duration::from_millis(100);
/// A line is printed this often elsewhere: often enough that nobody believes that CI hangs.
const LINE: Duration = Duration::from_secs(30);
const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// One line, rewritten in place.
    Terminal,
    /// Plain lines, few of them.
    Lines,
    /// Not at all.
    Silent,
}

impl Progress {
    /// As standard error allows.
    #[must_use]
    pub fn on_stderr() -> Self {
        if io::stderr().is_terminal() { Self::Terminal } else { Self::Lines }
    }

    /// For tests and for callers that show progress by themselves.
    #[must_use]
    pub fn silent() -> Self {
        Self::Silent
    }

    /// Prints a line by itself.
    pub fn say(self, line: &str) {
        match self {
            Self::Terminal | Self::Lines => eprintln!("{line}"),
            Self::Silent => {}
        }
    }

    /// Runs a program to its end as one step, with everything it prints in the file `log`.
    ///
    /// With a `unit`, the lines it printed so far are shown as the work done: `(812 packages)`.
    ///
    /// # Errors
    /// When the program cannot be started or fails; the error holds its last lines.
    pub fn run(self, what: &str, unit: Option<&str>, mut command: Command, log: &Path) -> Result<(), Error> {
        let output = File::create(log).map_err(Error::file("create", log))?;
        let errors = output.try_clone().map_err(Error::file("open", log))?;
        let spawned = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        let mut child = spawned
            .map_err(|source| Error::Spawn { program: command.get_program().to_string_lossy().into_owned(), source })?;
        let mut step = Step::start(self, what);
        let mut lines = LineCount::of(log);
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => thread::sleep(FRAME),
                Err(source) => {
                    return Err(Error::Spawn { program: what.to_owned(), source });
                }
            }
            step.show(&unit.map(|unit| format!("{} {unit}", lines.now())).unwrap_or_default());
        };
        if status.success() {
            step.done();
            Ok(())
        } else {
            step.failed();
            Err(Error::Command {
                what: what.to_owned(),
                status,
                log: log.to_owned(),
                last_lines: process::last_lines(log),
            })
        }
    }
}

/// Something under way, from its first line to its last.
#[derive(Debug)]
pub struct Step {
    progress: Progress,
    what: String,
    started: Instant,
    shown: Instant,
    frame: usize,
}

impl Step {
    /// Says that `what` begins: `building etcd 3.7.3`. At most 50 characters, for a line that wraps cannot be rewritten.
    #[must_use]
    pub fn start(progress: Progress, what: &str) -> Self {
        if progress == Progress::Lines {
            eprintln!("{what} ...");
        }
        let now = Instant::now();
        Self { progress, what: what.to_owned(), started: now, shown: now, frame: 0 }
    }

    /// Shows how long it takes already, and a detail if there is one. To be called often: it decides what is worth it.
    pub fn show(&mut self, detail: &str) {
        let elapsed = in_words(self.started.elapsed());
        let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
        match self.progress {
            Progress::Terminal => {
                self.frame = (self.frame + 1) % FRAMES.len();
                eprint!("\r\x1b[2K{} {} {elapsed}{detail}", FRAMES[self.frame], self.what);
                // A progress line that cannot be shown is no reason to stop the work.
                let _ = io::stderr().flush();
            }
            Progress::Lines if self.shown.elapsed() >= LINE => {
                self.shown = Instant::now();
                eprintln!("  {}: {elapsed}{detail}", self.what);
            }
            Progress::Lines | Progress::Silent => {}
        }
    }

    /// Says that it is done, and how long it took.
    pub fn done(self) {
        self.end("✓", "done");
    }

    /// Says that it failed. Why is for the caller to say.
    pub fn failed(self) {
        self.end("✗", "failed");
    }

    fn end(self, sign: &str, word: &str) {
        let elapsed = in_words(self.started.elapsed());
        match self.progress {
            Progress::Terminal => eprintln!("\r\x1b[2K{sign} {} {elapsed}", self.what),
            Progress::Lines => eprintln!("{}: {word} in {elapsed}", self.what),
            Progress::Silent => {}
        }
    }
}

/// A duration as one says it: `0.4 s`, `12 s`, `7 min 3 s`.
#[must_use]
pub fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        _ => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// Counts the lines of a growing file, reading each byte once.
struct LineCount {
    file: Option<fs::File>,
    lines: usize,
}

impl LineCount {
    fn of(path: &Path) -> Self {
        Self { file: File::open(path).ok(), lines: 0 }
    }

    fn now(&mut self) -> usize {
        let mut new = Vec::new();
        if let Some(file) = &mut self.file {
            // The count is decoration: what cannot be read is not counted.
            let _ = file.read_to_end(&mut new);
        }
        self.lines += new.iter().filter(|byte| **byte == b'\n').count();
        self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_one_says_them() {
        fn check(milliseconds: u64, expected: &str) {
            assert_eq!(in_words(Duration::from_millis(milliseconds)), expected);
        }
        check(0, "0.0 s");
        check(430, "0.4 s");
        check(12_900, "12 s");
        check(423_000, "7 min 3 s");
    }

    #[test]
    fn a_program_that_fails_shows_its_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo the cause >&2; exit 3"]);
        let error = Progress::silent().run("making it", None, command, &folder.path().join("log")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("making it failed") && text.contains("the cause"), "{text}");
    }
}
