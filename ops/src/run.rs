//! `lifeline run`: one engine on the real world, until it is asked to stop.
//!
//! Start at [`run`]. This file chooses the ports (disk, NATS, cluster, clock) and watches over what may change while the
//! engine runs: the connection settings, signals. What the engine does is in its own crate.

use std::fs::DirBuilder;
use std::io::IsTerminal;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lifeline_engine::clock::{Clock, SystemClock};
use lifeline_engine::cluster::kube::KubeCluster;
use lifeline_engine::cluster::local::LocalCluster;
use lifeline_engine::cluster::{self, Cluster};
use lifeline_engine::engine::{Engine, Parts, Ports, SavedIn};
use lifeline_engine::error_text::{chain, with_remedy};
use lifeline_engine::health::Look;
use lifeline_engine::intake::connection::{self, Server};
use lifeline_engine::intake::nats::Nats;
use lifeline_engine::intake::owner::Claimant;
use lifeline_engine::intake::streams::{Order, Reach};
use lifeline_engine::intake::{self, Connection};
use lifeline_engine::queries::Queries;
use lifeline_engine::recorder::{self, OpenLog, Redriver};
use lifeline_engine::replay::brake::Brake;
use lifeline_engine::report::Reporter;
use lifeline_engine::rules::{self, Clusters, Places};
use lifeline_engine::scrub;
use lifeline_engine::site::Site;
use lifeline_engine::view::View;
use lifeline_store::{Log, Offset, OsDisk};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::api;
use crate::api::access::{Access, Reviews, TokenFile, guard};
use crate::api::doorway::Doorway;
use crate::data as folders;
use crate::hosts::Hosts;
use crate::listener::{self, Bounds};
use crate::reach::{ConnectionFrom, ConnectionSource};
use crate::servers::{Progress, Step};
use crate::service::{self, Answering};
use crate::settings::{Auth, ClusterKind, Config, LogFormat};
use crate::telemetry::{Level, Telemetry};
use crate::terminal::count;
use crate::tls;
use crate::tls::server::Identity;

/// How often the connection settings are compared with those in use.
const SETTINGS_PERIOD: Duration = Duration::from_secs(2);

/// How often the status of rules is written where something changed, and how soon after the last time where the rules did.
const STATUS_PERIOD: Duration = Duration::from_secs(5);
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// How long the engine may take to finish what it holds.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How long what a client delivered before it ended is still handed over.
const ENDED_PAUSE: Duration = Duration::from_millis(50);

/// An opening that takes longer than this is shown to those who wait.
const SHOWN_AFTER: Duration = Duration::from_millis(500);

/// How often it is shown where there is no terminal.
const SAID_EVERY: Duration = Duration::from_secs(5);

/// Why an engine could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data folder.
    #[error("data folder `{path}` cannot be used\nhint: give one that can be written to with `--data DIR`")]
    Data {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The engine.
    #[error("the engine in `{path}` cannot go on")]
    Engine {
        /// The data folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: recorder::Error,
    },
    /// The log, before anything else.
    #[error("the log in `{path}` cannot be opened")]
    Log {
        /// Its folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: lifeline_store::Error,
    },
    /// The cluster.
    #[error("the cluster cannot be used")]
    Cluster(#[from] cluster::Error),
    /// The connection settings.
    #[error(transparent)]
    Connection(#[from] intake::Error),
    /// The token file.
    #[error(
        "token file `{path}` cannot be used\nhint: check the path in `--auth-token-file`, and that the engine may read it"
    )]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The certificate of the HTTP API.
    #[error("the HTTP API cannot speak TLS")]
    Tls(#[from] tls::Error),
    /// The address to listen on.
    #[error("cannot listen on `{address}`\nhint: give another address with `--listen ADDR`")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Runs an engine until SIGINT or SIGTERM. With `take_over` it takes its consumers from the engines that have them.
///
/// # Errors
/// When it cannot start, or cannot go on. A server that is away is waited for.
///
/// # Panics
/// When the system gives no threads.
pub fn run(config: Config, take_over: bool) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("the system has room for a few threads");
    let ended = runtime.block_on(async {
        let telemetry = Telemetry::start(&config.log, config.log_format == LogFormat::Json);
        let ended = engine(config, take_over, telemetry.level()).await;
        // Exporting what waits blocks, which a worker of the runtime must not.
        let _ = tokio::task::spawn_blocking(move || drop(telemetry)).await;
        ended
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn engine(config: Config, takes_over: bool, level: Level) -> Result<(), Error> {
    let data = config.data.clone();
    // First of all: an engine that cannot listen fails at once.
    let listener = tokio::net::TcpListener::bind(config.listen).await;
    let listener = listener.map_err(|source| Error::Listen { address: config.listen, source })?;
    let identity = config.tls.clone().map(Identity::open).transpose()?.map(Arc::new);
    // For its owner alone: the log holds what the events say.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&data);
    made.map_err(|source| Error::Data { path: data.clone(), source })?;
    // A second engine on the folder stops here, before it touches anything in it.
    let log = folders::log(&data);
    let disk = OsDisk::open(&log).map_err(|source| Error::Log { path: log, source })?;
    // A full disk is no reason not to start.
    let instance = folders::instance(&data, &disk).unwrap_or_else(|error| {
        let file = folders::instance_file(&data);
        warn!("`{}` cannot be written, so the next start waits 30 s for its own consumers: {error}", file.display());
        folders::new_instance(&disk)
    });
    let names = folders::names(&data, &config.consumer).unwrap_or_else(|error| {
        warn!("the names of the engine cannot be kept in `{}`: {error}", data.display());
        Vec::new()
    });
    let claimant = Claimant { instance: instance.clone(), host: host(), takes_over, clock: Arc::new(SystemClock) };
    let (cluster, kube) = connect_cluster(&config).await?;
    info!("lifeline {} on {}, {}", env!("CARGO_PKG_VERSION"), data.display(), cluster.name());

    let mut tasks = JoinSet::new();
    let doorway = Arc::new(Doorway::default());
    if identity.is_none() && config.auth != Auth::None && !config.listen.ip().is_loopback() {
        warn!(
            "bearer tokens come without TLS: who can read the network can take them (`--tls-cert` and `--tls-key` end this)"
        );
    }
    let access = Arc::new(access(&config, kube.as_ref()).await?);
    let scheme = if identity.is_some() { "https" } else { "http" };
    info!("listening on {scheme}://{}", listener.local_addr().unwrap_or(config.listen));
    let guarded = guard(doorway.router(), Hosts::new(config.listen.ip(), config.allowed_hosts.clone()), access.clone());
    if let Some(identity) = identity.clone() {
        tasks.spawn(async move { identity.follow().await });
    }
    tasks.spawn(async move {
        let _: std::convert::Infallible = listener::serve(listener, Bounds::default(), identity, guarded).await;
    });
    let site = Arc::new(Site::own(config.cluster_labels.clone(), cluster).of_instance(&config.consumer, names));
    site.await_history(config.history_wait);
    // A local cluster is nobody else's.
    if config.cluster == ClusterKind::Kube {
        site.limit_requests(config.requests);
    }
    // The sender lives as long as the engine: sites do not change while it runs yet.
    let (_clusters, clusters) = watch::channel(Clusters::new(vec![site.described().clone()]));
    let from_cluster = if config.rules.is_empty() { kube.clone() } else { None };
    let (rules, watching) = rules::watch(Places { paths: config.rules.clone(), client: from_cluster }, clusters);
    tasks.spawn(watching);

    let (engine, mut parts) =
        open_engine(data.clone(), disk, vec![site.clone()], rules.clone(), doorway.clone()).await?;
    let brake = Brake { percent: config.brake_percent, ..Brake::default() };
    parts.recorder = parts.recorder.with_brake(brake);
    let engine = Arc::new(engine);
    let service = config.service.then(|| Answering {
        router: doorway.router(),
        access,
        trouble: watch::Sender::new(None),
        site: site.clone(),
        instance,
    });
    let status = {
        let (engine, trouble) = (engine.clone(), service.as_ref().map(|service| service.trouble.subscribe()));
        Arc::new(move || {
            let mut status = engine.status();
            status.warnings.extend(trouble.as_ref().and_then(|trouble| trouble.borrow().clone()));
            status
        })
    };
    let queries = Queries::new(engine.view().clone(), engine.clock());
    let reads = api::router(api::ApiState { queries, status, stop: engine.stopping() });
    let redriver = Redriver::new(engine.view().clone(), engine.recording().clone());
    let writes = api::redrive::with_redrive(reads, redriver);
    let writes = api::log_level::with_log_level(writes, level);
    let writes = api::confirm::with_confirm(writes, engine.view().clone());
    let client = config.rules.is_empty().then(|| kube.clone()).flatten();
    let planner = engine.planner(client);
    let writes = api::replay::with_replay(writes, engine.view().clone(), engine.recording().clone(), planner.clone());
    doorway.open(api::plan::with_plan(writes, planner));

    // A mistake in the settings that are there at the start ends the start; a later one keeps those in use.
    let source = ConnectionSource::of(&config, kube.clone());
    if let ConnectionFrom::Argument { .. } = source.from {
        source.load().await?;
    }
    tasks.spawn(follow_connection(engine.clone(), site, source, (config.clone(), claimant), service));
    tasks.spawn(report_rules(rules.clone()));
    if let Some(client) = kube.filter(|_| config.rules.is_empty()) {
        tasks.spawn(report_status(engine.view().clone(), rules, client));
    }
    if config.scrub_rate > 0 {
        let (engine, settings) = (engine.clone(), scrub::Settings::daily(config.scrub_rate));
        tasks.spawn(async move { engine.scrub(settings, Arc::new(SystemClock)).await });
    }

    let mut end = engine.start(parts);
    let ended = tokio::select! {
        ended = &mut end => ended,
        signal = stop_signal() => {
            info!("{signal}: stopping");
            engine.stop();
            match tokio::time::timeout(STOP_PATIENCE, &mut end).await {
                Ok(ended) => {
                    // Bounded: each server is given two seconds.
                    engine.released().await;
                    ended
                }
                Err(_) => {
                    let seconds = STOP_PATIENCE.as_secs();
                    warn!("the engine did not end within {seconds} s, and is ended by force; what is acknowledged is safe");
                    return Ok(());
                }
            }
        }
    };
    tasks.shutdown().await;
    match ended {
        Ok(ended) => ended.map_err(|source| Error::Engine { path: data, source }),
        // The recorder's thread panicked; the panic has explained itself on stderr.
        Err(_) => std::process::exit(101),
    }
}

/// The cluster that objects go to, and the client to ask Kubernetes for rules and settings, where that is the cluster.
async fn connect_cluster(config: &Config) -> Result<(Arc<dyn Cluster>, Option<kube::Client>), Error> {
    match config.cluster {
        ClusterKind::Local => {
            let seed = SystemClock.now_unix_nanos();
            let cluster = LocalCluster::open(&folders::cluster(&config.data), seed, Arc::new(now))?;
            Ok((Arc::new(cluster), None))
        }
        ClusterKind::Kube => {
            let cluster = Arc::new(KubeCluster::load(config.kubeconfig.as_deref(), None).await?);
            tokio::spawn(check_cluster(cluster.clone()));
            let client = cluster.client().clone();
            Ok((cluster, Some(client)))
        }
    }
}

fn now() -> jiff::Timestamp {
    let nanos = i128::from(SystemClock.now_unix_nanos());
    jiff::Timestamp::from_nanosecond(nanos).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// Who may ask over HTTP. Where objects go elsewhere, Kubernetes is asked by a client of its own.
async fn access(config: &Config, kube: Option<&kube::Client>) -> Result<Access, Error> {
    Ok(match (&config.auth, kube) {
        (Auth::None, _) => Access::Anybody,
        (Auth::Token(path), _) => {
            let file = TokenFile::open(path.clone());
            Access::Token(file.map_err(|source| Error::Token { path: path.clone(), source })?)
        }
        (Auth::Kubernetes, Some(client)) => Access::Kubernetes(Box::new(Reviews::new(client.clone()))),
        (Auth::Kubernetes, None) => {
            let cluster = KubeCluster::load(config.kubeconfig.as_deref(), None).await?;
            Access::Kubernetes(Box::new(Reviews::new(cluster.client().clone())))
        }
    })
}

/// Says so when the cluster is away. It is waited for: events are recorded meanwhile.
async fn check_cluster(cluster: Arc<KubeCluster>) {
    if let Err(error) = cluster.version().await {
        warn!("the cluster does not answer yet, and is waited for: {}", chain(&error));
    }
}

/// Opens log and projection on a thread of their own, and reports to the doorway how far that has come.
async fn open_engine(
    data: PathBuf,
    disk: OsDisk,
    sites: Vec<Arc<Site>>,
    rules: watch::Receiver<rules::Current>,
    doorway: Arc<Doorway>,
) -> Result<(Engine<OsDisk>, Parts<OsDisk>), Error> {
    let opened = tokio::task::spawn_blocking(move || {
        let ports = Ports {
            open_log: open_log(&data, disk)?,
            table: Some(SavedIn::Folder(folders::projection(&data))),
            sites,
            clock: Arc::new(SystemClock),
            rules,
        };
        let mut shown = Shown::default();
        let opened = Engine::open(ports, &mut |at, end| {
            doorway.progress(at, end);
            shown.show(at, end);
        });
        shown.done();
        opened.map_err(|source| Error::Engine { path: data, source })
    });
    opened.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Opens the log in the data folder.
fn open_log(data: &Path, disk: OsDisk) -> Result<OpenLog<OsDisk>, Error> {
    let options = folders::log_options();
    // Opened here once, so that a mistake is reported before anything runs.
    let first = Log::open(disk.clone(), options.clone());
    let mut first = Some(first.map_err(|source| Error::Log { path: folders::log(data), source })?);
    // Later ones share the disk, and with it the lock, which readers of the failed log still hold.
    Ok(Box::new(move || first.take().map_or_else(|| Log::open(disk.clone(), options.clone()), Ok)))
}

/// What a person sees of a long opening: nothing when it is short, a line that moves on a terminal, lines elsewhere.
#[derive(Default)]
struct Shown {
    began: Option<Instant>,
    said: Option<Instant>,
    step: Option<Step>,
}

impl Shown {
    fn show(&mut self, at: Offset, end: Offset) {
        let now = Instant::now();
        if now - *self.began.get_or_insert(now) < SHOWN_AFTER {
            return;
        }
        if std::io::stderr().is_terminal() {
            let step = self.step.get_or_insert_with(|| Step::start(Progress::Terminal, "reading the log"));
            step.show(&format!("offset {at} of {end}"));
        } else if self.said.is_none_or(|said| now - said >= SAID_EVERY) {
            self.said = Some(now);
            info!("reading the log: offset {at} of {end}");
        }
    }

    fn done(self) {
        if let Some(step) = self.step {
            step.done();
        }
    }
}

/// Says what is wrong with the rules whenever that changes.
async fn report_rules(mut rules: watch::Receiver<rules::Current>) {
    let mut said = Vec::new();
    loop {
        let current = rules.borrow_and_update().clone();
        let set = current.rules.as_deref();
        let problems: Vec<String> = current
            .troubles
            .iter()
            .chain(set.map(rules::RuleSet::problems).unwrap_or_default())
            .map(ToString::to_string)
            .collect();
        for problem in problems.iter().filter(|problem| !said.contains(*problem)) {
            // The level of the line says already which of the two it is.
            match (problem.strip_prefix("error: "), problem.strip_prefix("warning: ")) {
                (Some(text), _) => error!("{text}"),
                (_, Some(text)) => warn!("{text}"),
                (None, None) => warn!("{problem}"),
            }
        }
        if let Some(set) = set {
            let (triggers, sources) = (set.triggers().count() as u64, set.sources().count() as u64);
            let (sources, triggers) = (count(sources, "EventSource"), count(triggers, "EventTrigger"));
            info!("rules in force: {sources}, {triggers}, {}", count(problems.len() as u64, "problem"));
        }
        said = problems;
        if rules.changed().await.is_err() {
            return;
        }
    }
}

/// Writes to the cluster what became of the rules in it: soon after they change, and every few seconds where their work goes on.
async fn report_status(view: Arc<View<OsDisk>>, mut rules: watch::Receiver<rules::Current>, client: kube::Client) {
    let (mut reporter, mut look, mut said) = (Reporter::default(), Look::default(), String::new());
    loop {
        let current = rules.borrow_and_update().rules.clone();
        let began = Instant::now();
        if let Some(set) = current {
            let health = look.look(&view).await;
            let reported = reporter.report(&client, &set, &health, view.by_trigger(), now()).await;
            let failed = match reported {
                Ok(()) => String::new(),
                Err(kube::Error::Api(status)) => status.message,
                Err(error) => chain(&error),
            };
            if !failed.is_empty() && failed != said {
                warn!(
                    "the status of rules is not written: {failed}\n  hint: it takes `patch` of the `status` of eventsources \
                     and eventtriggers, and `create` of events of `events.k8s.io`, as in the chart"
                );
            }
            said = failed;
        }
        // Looking at millions of lifecycles takes a while, and has to stay a small part of the work.
        let pause = STATUS_PERIOD.max(began.elapsed() * 20);
        let changed = async {
            tokio::time::sleep(STATUS_PAUSE).await;
            rules.changed().await
        };
        if let Ok(Err(_)) = tokio::time::timeout(pause, changed).await {
            return;
        }
    }
}

/// Reads from the servers of a site that the settings name, and from others when the settings change.
async fn follow_connection(
    engine: Arc<Engine<OsDisk>>,
    site: Arc<Site>,
    source: ConnectionSource,
    (config, mut claimant): (Config, Claimant),
    service: Option<Answering>,
) {
    let mut in_use: Option<Connection> = None;
    let mut readers = JoinSet::new();
    let mut said = String::new();
    loop {
        match source.load().await {
            Ok(connection) if in_use.as_ref() == Some(&connection) => said.clear(),
            Ok(connection) => {
                if in_use.is_some() {
                    info!("connection settings changed: connecting again");
                }
                readers.shutdown().await;
                site.forget_servers();
                for warning in &connection.warnings {
                    warn!("connection settings: {warning}");
                }
                // All are known before one of them is read: the site waits for the history of each.
                for Server { url, .. } in &connection.servers {
                    site.set_waiting(url, format!("connecting to {url}"));
                }
                for server in connection.servers.clone() {
                    if let Some(answering) = service.clone() {
                        readers.spawn(service::serve(server.clone(), answering));
                    }
                    let settings = (config.clone(), claimant.clone());
                    readers.spawn(read_server(engine.clone(), site.clone(), server, settings));
                }
                // It is said once, about the servers of the start.
                claimant.takes_over = false;
                in_use = Some(connection);
                said.clear();
            }
            Err(error) => {
                let message = chain(&error);
                if in_use.is_none() {
                    site.set_waiting("connection", message.lines().next().unwrap_or_default().to_owned());
                }
                if said != message {
                    let kept = if in_use.is_some() { "; those in use are kept" } else { "" };
                    error!("connection settings cannot be used{kept}: {message}");
                    said = message;
                }
            }
        }
        tokio::time::sleep(SETTINGS_PERIOD).await;
    }
}

/// Reads from a server until the engine stops, with another client whenever one has ended.
async fn read_server(
    engine: Arc<Engine<OsDisk>>,
    site: Arc<Site>,
    server: Server,
    (config, mut claimant): (Config, Claimant),
) {
    let mut said = String::new();
    let url = server.url.clone();
    loop {
        let connected = server.connect_patiently(|attempt| {
            site.set_waiting(&url, format!("waiting for {url}, attempt {}: {}", attempt.number, attempt.reason));
            if said != attempt.reason {
                error!("waiting for NATS at {url}: {}\n  hint: {}", attempt.reason, attempt.hint);
                said.clone_from(&attempt.reason);
            }
        });
        let (client, link) = connected.await;
        info!("connected to {url}");
        let nats = Arc::new(Nats::new(client, url.clone(), link.clone(), server.domain.as_deref()));
        tokio::select! {
            biased;
            () = read_from(&engine, &site, &server, (&config, &claimant), nats) => return,
            () = async {
                connection::ended(link).await;
                tokio::time::sleep(ENDED_PAUSE).await;
            } => warn!("the connection to NATS at {url} ended: connecting again"),
        }
        claimant.takes_over = false;
    }
}

/// Reads until the engine stops. What keeps it from beginning is the own disk, which may come back.
async fn read_from(
    engine: &Engine<OsDisk>,
    site: &Site,
    server: &Server,
    (config, claimant): (&Config, &Claimant),
    nats: Arc<Nats>,
) {
    let url = &server.url;
    loop {
        let order = Order {
            jetstream: config.jetstream,
            claimant: Some(claimant.clone()),
            ..Order::new(server.wanted.clone(), &config.consumer, &config.stream)
        };
        let Err(error) = engine.read(site, url, Reach::both(nats.clone()), order).await else { return };
        error!("NATS at {url} is not read: {}", chain(&error));
        site.set_waiting(url, with_remedy(&error));
        tokio::time::sleep(SETTINGS_PERIOD).await;
    }
}

/// The name of this machine or pod, for those who find its consumer owned; empty where the system does not say.
fn host() -> String {
    let named = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    named.or_else(|| std::env::var("HOSTNAME").ok()).map(|name| name.trim().to_owned()).unwrap_or_default()
}

async fn stop_signal() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
    let mut interrupt = signal(SignalKind::interrupt()).expect("SIGINT can be handled");
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
