//! What the story is played on: a nats-server, an engine, and a folder that goes when it is over.
//!
//! Start at [`Stage::set`]. Dropping the stage ends its processes.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lifeline_engine::status::Status;
use lifeline_projections::history::Entry;
use lifeline_projections::reads::{LifecycleRow, List};
use tempfile::TempDir;

use crate::client::{self, Client, Query};
use crate::demo::{SOURCE, USER};
use crate::servers::{self, Cache, NatsAccess, NatsOptions, NatsProgram, NatsServer, Process, Progress, free_port};

/// The rules of the story.
const RULES: &str = include_str!("rules.yaml");

/// How long an engine may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How long an outcome may take. A real Namespace takes some seconds to go.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// Why the story had to stop.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A server could not be had or started.
    #[error(transparent)]
    Server(#[from] servers::Error),
    /// A file of the stage.
    #[error("`{path}` cannot be written")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The own program.
    #[error("the program cannot start itself as an engine")]
    Program(#[source] std::io::Error),
    /// The engine gave no answer.
    #[error(transparent)]
    Ask(#[from] client::Error),
    /// The nats-server did not take an event.
    #[error("the event was not published: {reason}")]
    Publish {
        /// What the client said.
        reason: String,
    },
    /// Nothing came of an event.
    #[error("no `{fact}` for the event with sequence {sequence} within {} s: {state}", SETTLED_WITHIN.as_secs())]
    Unsettled {
        /// What was waited for.
        fact: &'static str,
        /// The event.
        sequence: u64,
        /// What the lifecycle says instead.
        state: String,
    },
}

/// The servers of the demo and the program under them.
pub(super) struct Stage {
    // In the order in which they go: the engine first, the folder last.
    engine: Option<Process>,
    nats: NatsServer,
    nats_version: String,
    kube: bool,
    port: u16,
    runtime: tokio::runtime::Runtime,
    folder: TempDir,
}

impl Stage {
    /// Gets and starts what the story needs.
    pub(super) fn set(kube: bool, progress: Progress) -> Result<Stage, Error> {
        let program = NatsProgram::obtain(&Cache::from_environment()?, progress)?;
        let folder = TempDir::with_prefix("lifeline-demo-").map_err(Error::Program)?;
        let options = NatsOptions {
            folder: folder.path().join("nats"),
            access: NatsAccess::Anybody,
            configuration: String::new(),
        };
        let nats = NatsServer::start(&program, &options)?;
        let rules = folder.path().join("rules.yaml");
        std::fs::write(&rules, RULES).map_err(|source| Error::File { path: rules, source })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Program)?;
        let port = free_port().map_err(Error::Program)?;
        let mut stage = Stage { engine: None, nats, nats_version: program.version, kube, port, runtime, folder };
        stage.start_engine()?;
        Ok(stage)
    }

    /// One line about what runs.
    pub(super) fn describe(&self) -> String {
        let cluster =
            if self.kube { "cluster of the current kubeconfig" } else { "cluster local (no kubeconfig needed)" };
        let (version, address) = (&self.nats_version, self.nats.address());
        format!("nats-server {version} on {address} · {cluster} · everything else in a temporary folder")
    }

    /// Starts the engine on its data; returns when it is ready.
    pub(super) fn start_engine(&mut self) -> Result<(), Error> {
        let mut command = Command::new(std::env::current_exe().map_err(Error::Program)?);
        let path = |name: &str| self.folder.path().join(name);
        command.arg("run");
        command.arg("--data").arg(path("data"));
        command.arg("--rules").arg(path("rules.yaml"));
        command.args(["--nats", &self.nats.url(), "--subjects", super::NATS_SUBJECT]);
        command.args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        command.args(["--cluster", if self.kube { "kube" } else { "local" }]);
        // The story is the same whatever the reader has set for engines of his own.
        for name in [
            "LIFELINE_CONFIG",
            "LIFELINE_SUBJECTS",
            "LIFELINE_CLUSTER_LABELS",
            "LIFELINE_CONSUMER",
            "LIFELINE_STREAM",
            "LIFELINE_AUTH",
            "LIFELINE_AUTH_TOKEN_FILE",
            "LIFELINE_TLS_CERT",
            "LIFELINE_TLS_KEY",
        ] {
            command.env_remove(name);
        }
        let mut engine = Process::start("lifeline", command, &path("engine.log"))?;
        let server = self.server();
        engine.ready(READY_WITHIN, || {
            let client = Client::open(None, &server).map_err(|error| error.to_string())?;
            let status: Status = client.get("/v1/status", &Query::default()).map_err(|error| error.to_string())?;
            let obstacles = status.not_ready();
            if obstacles.is_empty() { Ok(()) } else { Err(obstacles.join("; ")) }
        })?;
        self.engine = Some(engine);
        Ok(())
    }

    /// Where the engine is asked, and where NATS is.
    pub(super) fn addresses(&self) -> [String; 2] {
        [self.server(), self.nats.url()]
    }

    /// Waits for Ctrl-C, or for SIGTERM.
    pub(super) fn wait_until_interrupted(&self) -> Result<(), Error> {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupted = async {
            let mut terminated = signal(SignalKind::terminate())?;
            tokio::select! {
                pressed = tokio::signal::ctrl_c() => pressed,
                _ = terminated.recv() => Ok(()),
            }
        };
        self.runtime.block_on(interrupted).map_err(Error::Program)
    }

    /// Ends the engine as a crash would.
    pub(super) fn kill_engine(&mut self) {
        if let Some(mut engine) = self.engine.take() {
            engine.kill();
        }
    }

    /// Publishes an event; returns its stream sequence once the stream has it.
    pub(super) fn publish(&self, subject: &str, event: &str) -> Result<u64, Error> {
        let publish = async {
            let client = async_nats::connect(self.nats.url()).await?;
            let context = async_nats::jetstream::new(client);
            let (subject, payload) = (subject.to_owned(), event.to_owned().into());
            Ok::<u64, async_nats::Error>(context.publish(subject, payload).await?.await?.sequence)
        };
        self.runtime.block_on(publish).map_err(|error| Error::Publish { reason: error.to_string() })
    }

    /// Waits until the history shows the outcome `fact` of the event with this sequence.
    pub(super) fn settled(&self, sequence: u64, fact: &'static str) -> Result<Entry, Error> {
        let started = Instant::now();
        loop {
            let entries = self.history()?;
            let event =
                entries.iter().find(|entry| entry.event.as_ref().is_some_and(|event| event.sequence == sequence));
            let outcome = event.and_then(|event| {
                entries.iter().find(|entry| entry.fact == fact && entry.acted_for == Some(event.offset))
            });
            if let Some(outcome) = outcome {
                return Ok(outcome.clone());
            }
            if started.elapsed() > SETTLED_WITHIN {
                let state = match self.lifecycle()? {
                    Some(row) => format!("{} ({})", row.phase, row.error.unwrap_or_default()),
                    None => "no trigger spoke of it".to_owned(),
                };
                return Err(Error::Unsettled { fact, sequence, state });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The record of the event with this sequence.
    pub(super) fn event(&self, sequence: u64) -> Result<Entry, Error> {
        let mut entries = self.history()?.into_iter();
        let found = entries.find(|entry| entry.event.as_ref().is_some_and(|event| event.sequence == sequence));
        found.ok_or(Error::Unsettled { fact: "EventReceived", sequence, state: "it is not in the history".to_owned() })
    }

    /// The uid of the user's Namespace, while there is one.
    pub(super) fn uid(&self) -> Result<Option<String>, Error> {
        Ok(self.lifecycle()?.and_then(|row| row.objects.into_iter().next()).and_then(|object| object.uid))
    }

    /// The status of the engine.
    pub(super) fn status(&self) -> Result<Status, Error> {
        Ok(self.client()?.get("/v1/status", &Query::default())?)
    }

    /// Runs an asking command of this program, and shows it as typed.
    pub(super) fn ask(&self, words: &[&str]) -> Result<(), Error> {
        super::say(&format!("   $ lifeline {}", words.join(" ")));
        let mut command = Command::new(std::env::current_exe().map_err(Error::Program)?);
        command.args(words).args(["--server", &self.server()]).stdin(Stdio::null());
        command.env_remove("LIFELINE_SERVER").env_remove("LIFELINE_DATA");
        command.status().map(|_| ()).map_err(Error::Program)
    }

    fn history(&self) -> Result<Vec<Entry>, Error> {
        let mut query = Query::default();
        query.add("source", SOURCE);
        query.add("subject", USER);
        match self.client()?.get::<List<Entry>>("/v1/history", &query) {
            Ok(list) => Ok(list.items),
            // Not known yet: the event is on its way.
            Err(client::Error::Problem(problem)) if problem.0.status == 404 => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    fn lifecycle(&self) -> Result<Option<LifecycleRow>, Error> {
        let list: List<LifecycleRow> = self.client()?.get("/v1/lifecycles", &Query::default())?;
        Ok(list.items.into_iter().next())
    }

    fn client(&self) -> Result<Client, Error> {
        Ok(Client::open(None, &self.server())?)
    }

    fn server(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
