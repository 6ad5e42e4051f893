//! Tests that need servers: each says which, and where one cannot be had it is ignored by name, never passed.
//!
//! A test program with `harness = false` calls [`run`] with its [`story`]s; see `tests/tests/servers.rs`.

use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::runtime;

use super::scene::{strike, unmet};
use super::{Failure, Outcome, Scene, Sdk};

/// No story takes this long: what does hangs, and says so here rather than in a CI that was cut off.
const STORY_WITHIN: Duration = Duration::from_secs(300);

/// A kind of server that a test cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A nats-server.
    Nats,
    /// A Kubernetes API server with its controllers.
    ControlPlane,
    /// The programs that check the HTTP API from outside.
    Fuzzer,
    /// The right to mount file systems: for disks that are full, or that take no writes.
    Mounts,
    /// The `helm` program.
    Helm,
    /// The `promtool` program, which checks what is meant for Prometheus.
    Promtool,
    /// A node that runs pods: a kubelet, a scheduler, containerd, and the right to use them.
    Node,
    /// The `nats` program, with which people publish.
    NatsCli,
    /// The `kubectl` program.
    Kubectl,
    /// The `python3` program, 3.10 or later, without any packages.
    Python,
    /// The CloudEvents SDK of a language, and the language.
    Sdk(Sdk),
}

/// A test: its name (a sentence), what it needs, and its body, which runs on a runtime of its own.
#[must_use]
pub fn story(name: &str, needs: &'static [Need], body: impl AsyncFnOnce(&Scene) -> Outcome + Send + 'static) -> Trial {
    let owned_name = name.to_owned();
    Trial::ignorable_test(name, move || {
        if let Some(reason) = needs.iter().find_map(|need| unmet(*need)) {
            return Ok(Completion::ignored_with(one_line(reason)));
        }
        let scene = Scene::set(&owned_name, needs).map_err(|failure| Failed::from(failure.to_string()))?;
        // A failed assertion is a failure like any other: it too has to say where its files are.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(&scene, body)))
            .unwrap_or_else(|panic| Err(panic_text(panic.as_ref()).into()));
        outcome.map(|()| Completion::Completed).map_err(|failure| {
            let folder = scene.keep();
            Failed::from(format!("{failure}\nits files are in `{}`", folder.display()))
        })
    })
}

/// Runs the tests as `cargo test` would, with its arguments and in its format.
#[must_use]
pub fn run(stories: Vec<Trial>) -> ExitCode {
    let conclusion = libtest_mimic::run(&Arguments::from_args(), stories);
    strike();
    conclusion.exit_code()
}

fn play(scene: &Scene, body: impl AsyncFnOnce(&Scene) -> Outcome) -> Outcome {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(async {
        match tokio::time::timeout(STORY_WITHIN, body(scene)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::from(format!("not over after {STORY_WITHIN:?}"))),
        }
    });
    // A blocking task that hangs must not hang the test run too.
    runtime.shutdown_background();
    outcome
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a message"))
}

/// The reason is on the line of the test, which the runner reads.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}
