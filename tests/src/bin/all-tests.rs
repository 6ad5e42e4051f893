//! `cargo all-tests`: prepares the servers, builds what is tested, runs every test of the workspace, and sums up.
//!
//! One profile for all of it, release: the tests then hold for the program that users run, its latencies included.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use lifeline_ops::servers::{Cache, Error, NatsProgram, Progress, program_on_path};
use lifeline_tests::harness::{
    ControlPlane, ControlPlanePrograms, Fuzzer, Helm, NatsCli, NodePrograms, Sdk, User, install,
};
use lifeline_tests::report::Report;

const USAGE: &str = "\
Runs every test of Lifeline, with real servers. What is missing is fetched or built first, once.

Usage: cargo all-tests [--no-skips] [-- ARGUMENTS]

  --no-skips    A skipped test is a failed one
  ARGUMENTS     Handed to every test program: a part of a test's name, --test-threads 1, ...

Servers are looked for in KUBEBUILDER_ASSETS and on the PATH, then in the cache (LIFELINE_CACHE, else
XDG_CACHE_HOME/lifeline, else ~/.cache/lifeline). Exit code: 0 all passed, 1 something failed, 2 wrong usage.";

fn main() -> ExitCode {
    let mut no_skips = false;
    let mut arguments = env::args_os().skip(1);
    let mut handed_on: Vec<OsString> = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--no-skips") => no_skips = true,
            Some("--") => handed_on.extend(arguments.by_ref()),
            Some("--help" | "-h") => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            _ => {
                eprintln!("error: unexpected argument `{}`\n\n{USAGE}", argument.to_string_lossy());
                return ExitCode::from(2);
            }
        }
    }

    let servers = Servers::prepare();
    let mut report = Report::default();
    match build() {
        Ok(()) => test(&mut report, &servers, &handed_on),
        Err(failure) => report.fail(failure),
    }
    if no_skips {
        report.forbid_skips();
    }
    println!("\n{}", report.summary());
    if report.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The servers that could be had. One that cannot stops nothing: the tests that need it are skipped, by name.
#[derive(Default)]
struct Servers {
    nats: Option<PathBuf>,
    /// For the tests of other crates, which know no harness; the stories start their own.
    control_plane: Option<ControlPlane>,
}

impl Servers {
    fn prepare() -> Servers {
        let progress = Progress::on_stderr();
        let mut servers = Servers::default();
        let cache = match Cache::from_environment() {
            Ok(cache) => cache,
            Err(error) => {
                warn(error);
                return servers;
            }
        };
        match NatsProgram::obtain(&cache, progress) {
            Ok(nats) => {
                progress.say(&format!("nats-server {}: {}", nats.version, nats.path.display()));
                servers.nats = Some(nats.path);
            }
            Err(error) => warn(error),
        }
        if let Err(error) = Fuzzer::obtain(&cache, progress) {
            warn(error);
        }
        if let Err(error) = Helm::obtain(&cache, progress) {
            warn(error);
        }
        if let Err(error) = NatsCli::obtain(&cache, progress) {
            warn(error);
        }
        for error in Sdk::ALL.into_iter().filter_map(|sdk| sdk.obtain(&cache, progress).err()) {
            warn(error);
        }
        for (program, package) in [("promtool", "prometheus"), ("kubectl", "kubernetes-client")] {
            if program_on_path(program).is_none()
                && let Err(reason) = install(&[package])
            {
                eprintln!("warning: {program} cannot be installed: {reason}\nTests that need it will be skipped.");
            }
        }
        match ControlPlanePrograms::obtain(&cache, progress) {
            Ok(programs) => {
                progress.say(&format!("Kubernetes control plane: {}", programs.api_server().display()));
                match ControlPlane::start(&programs) {
                    Ok(control_plane) => servers.control_plane = Some(control_plane),
                    Err(error) => warn(error),
                }
            }
            Err(error) => warn(error),
        }
        if let Err(error) = NodePrograms::obtain(&cache, progress) {
            warn(error);
        }
        servers
    }

    /// Tells test programs where the servers are. Tests that are ignored for want of one run once all are there.
    fn tell(&self, command: &mut Command) {
        if let Some(nats) = &self.nats {
            command.env("LIFELINE_NATS_SERVER", nats);
        }
        if let Some(control_plane) = &self.control_plane {
            command.env("LIFELINE_TEST_KUBECONFIG", control_plane.kubeconfig(User::Admin));
        }
    }

    fn are_complete(&self) -> bool {
        self.nats.is_some() && self.control_plane.is_some()
    }
}

fn warn(error: Error) {
    eprintln!("warning: {}\nTests that need it will be skipped.", error.in_full());
}

/// The same selection of packages as the test run: a smaller one could ask for other features, and build twice.
fn build() -> Result<(), String> {
    let status = cargo().args(["build", "--release", "--workspace", "--bins"]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the build ({status})")),
        Err(error) => Err(format!("cargo cannot be started: {error}")),
    }
}

fn test(report: &mut Report, servers: &Servers, handed_on: &[OsString]) {
    let mut command = cargo();
    command.args(["test", "--release", "--workspace", "--no-fail-fast", "--"]).args(handed_on);
    if servers.are_complete() {
        command.arg("--include-ignored");
    }
    servers.tell(&mut command);
    if let Some(folder) = programs_folder() {
        command.env("LIFELINE_BIN", folder.join("lifeline"));
    }
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return report.fail(format!("cargo cannot be started: {error}")),
    };
    let output = child.stdout.take().expect("standard output was asked for as a pipe");
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    // Bytes, for a test may print what is no text.
    while matches!(output.read_until(b'\n', &mut line), Ok(length) if length > 0) {
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        report.read(text.trim_end());
        line.clear();
    }
    match child.wait() {
        Ok(status) if status.success() || report.has_failed() => {}
        // No test said so, yet something broke: a test program that does not build, or that died.
        Ok(status) => report.fail(format!("cargo test ({status})")),
        Err(error) => report.fail(format!("cargo test: {error}")),
    }
}

/// The cargo that runs us, without what it told us about our own package: ring's build script watches those variables,
/// and with it all that uses TLS would be built again, and again the next time.
fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Where this program was built is where `lifeline` is, whatever the target folder is called.
fn programs_folder() -> Option<PathBuf> {
    env::current_exe().ok().as_deref().and_then(Path::parent).map(Path::to_owned)
}
