//! Settings are what was typed, [`Config`] is what it means; the one becomes the other once, at start-up.
//!
//! A setting has one name in three places: a flag (`--nats`), an environment variable (`LIFELINE_NATS`) and a key of the
//! TOML file that `--config` names (`nats = ...`). A flag outweighs the variable, the variable the file, the file the
//! default ([`Settings::defaults`]). Start at [`Config::from_settings`], which reports every mistake at once.
//!
//! [`Settings`] is the one declaration of them all: help, file, `lifeline config`, and the documents in `docs` come from it.

// In dependency order; blank lines keep the formatter from sorting them.
mod mistake;

mod source;

pub mod example;

pub mod file;

pub mod in_force;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use lifeline_engine::intake::connection::Files;
use lifeline_engine::intake::way::Use;
use lifeline_engine::replay::brake::Brake;
use lifeline_engine::site::Rate;
use serde::{Deserialize, Serialize};

pub use self::mistake::Mistake;
use crate::hosts::Allowed;
use crate::tls;

/// Where an engine listens, and where asking commands look for one, when nobody says otherwise.
pub const LISTEN: &str = "127.0.0.1:7717";

/// The NATS server of an engine that is given none.
const NATS: &str = "nats://127.0.0.1:4222";

/// Bytes of the log a second that are read again to find damage: hardly felt by any disk, and 700 GB a day.
const SCRUB_RATE: u64 = 8 << 20;

/// A NATS server that restarts is back in a minute or two; after a power failure it may take longer than the engine.
const HISTORY_WAIT_SECONDS: u64 = 300;

/// What was typed. `None` is "not said".
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Folder for the log, the projection and the local cluster [default: ./lifeline-data]
    #[arg(long, env = "LIFELINE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// NATS to read from: a URL, or a file with the connection JSON of Sveltos [default: nats://127.0.0.1:4222; with
    /// `--cluster kube` the Secret projectsveltos/sveltos-nats]
    #[arg(long, env = "LIFELINE_NATS", value_name = "FILE|URL")]
    pub nats: Option<String>,

    /// File with NATS credentials (a JWT and its NKey seed, as `nsc` writes them); read again when it changes [default: what
    /// `--nats` says]
    #[arg(long, env = "LIFELINE_NATS_CREDENTIALS", value_name = "FILE")]
    pub nats_credentials: Option<PathBuf>,

    /// File with the seed of an NKey to show to NATS; read again when it changes [default: what `--nats` says]
    #[arg(long, env = "LIFELINE_NATS_NKEY", value_name = "FILE")]
    pub nats_nkey: Option<PathBuf>,

    /// PEM file with the authorities that may vouch for NATS; read again when it changes [default: what `--nats` says, or
    /// those of the system]
    #[arg(long, env = "LIFELINE_NATS_CA", value_name = "FILE")]
    pub nats_ca: Option<PathBuf>,

    /// PEM file with the certificate to show to NATS; read again when it changes [default: what `--nats` says]
    #[arg(long, env = "LIFELINE_NATS_CERT", value_name = "FILE")]
    pub nats_cert: Option<PathBuf>,

    /// PEM file with the private key of `--nats-cert`; read again when it changes
    #[arg(long, env = "LIFELINE_NATS_KEY", value_name = "FILE")]
    pub nats_key: Option<PathBuf>,

    /// JetStream domain of the streams, where a leaf node stands between [default: what `--nats` says, or the server's own]
    #[arg(long, env = "LIFELINE_JETSTREAM_DOMAIN", value_name = "NAME")]
    pub jetstream_domain: Option<String>,

    /// NATS subjects to read when `--nats` is a URL, comma-separated or repeated [default: all streams but work queues and
    /// those with interest retention]
    #[arg(long, alias = "subject", env = "LIFELINE_SUBJECTS", value_name = "SUBJECT", value_delimiter = ',')]
    pub subjects: Vec<String>,

    /// Name of the durable JetStream consumer [default: lifeline]
    #[arg(long, env = "LIFELINE_CONSUMER", value_name = "NAME")]
    pub consumer: Option<String>,

    /// Name of the stream made for subjects that no stream holds [default: LIFELINE]
    #[arg(long, env = "LIFELINE_STREAM", value_name = "NAME")]
    pub stream: Option<String>,

    /// Whether subjects are read from JetStream, which keeps events while Lifeline is away [default: auto]
    #[arg(long, env = "LIFELINE_JETSTREAM", value_name = "WHEN")]
    pub jetstream: Option<JetStreamKind>,

    /// File or folder of manifests with the rules; may be repeated [default: with `--cluster kube` the cluster's own
    /// EventSources and EventTriggers]
    #[arg(long, env = "LIFELINE_RULES", value_name = "PATH", value_delimiter = ',')]
    pub rules: Vec<PathBuf>,

    /// Where objects go: a local cluster in the data folder, or Kubernetes [default: local]
    #[arg(long, env = "LIFELINE_CLUSTER", value_name = "KIND")]
    pub cluster: Option<ClusterKind>,

    /// Kubeconfig for `--cluster kube` [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, env = "LIFELINE_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Label of the own cluster, for `sourceClusterSelector`; may be repeated [default: none, which matches every selector]
    #[arg(
        long = "cluster-label",
        alias = "cluster-labels",
        env = "LIFELINE_CLUSTER_LABELS",
        value_name = "KEY=VALUE",
        value_delimiter = ','
    )]
    pub cluster_labels: Vec<String>,

    /// Address of the HTTP API [default: 127.0.0.1:7717]
    #[arg(long, env = "LIFELINE_LISTEN", value_name = "ADDR")]
    pub listen: Option<String>,

    /// Who may ask, over HTTP and NATS [default: none on a loopback address; kubernetes elsewhere with `--cluster kube`]
    #[arg(long, env = "LIFELINE_AUTH", value_name = "KIND")]
    pub auth: Option<AuthKind>,

    /// File with the bearer token of `--auth token`, which it implies; read again when it changes
    #[arg(long, env = "LIFELINE_AUTH_TOKEN_FILE", value_name = "FILE")]
    pub auth_token_file: Option<PathBuf>,

    /// Name that the HTTP API may be asked by, beside those of its address: a host such as engine.example.com, or
    /// *.example.com for all below it; may be repeated [default: none]
    #[arg(long, env = "LIFELINE_ALLOWED_HOSTS", value_name = "HOST", value_delimiter = ',')]
    pub allowed_hosts: Vec<String>,

    /// PEM file with the certificate of the HTTP API, which then speaks TLS alone; read again when it changes
    #[arg(long, env = "LIFELINE_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// PEM file with the private key of `--tls-cert`; read again when it changes
    #[arg(long, env = "LIFELINE_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Whether the NATS service `lifeline` answers the same questions, with the same `--auth` [default: true]
    #[arg(long, env = "LIFELINE_SERVICE", value_name = "BOOL")]
    pub service: Option<bool>,

    /// Percent of the live objects, or of the keys of a list, of a trigger and of all, that changed rules may withdraw without
    /// `lifeline confirm`; fewer than 10 always go, and 100 lets everything go [default: 10]
    #[arg(long, env = "LIFELINE_BRAKE_PERCENT", value_name = "PERCENT")]
    pub brake_percent: Option<u8>,

    /// Seconds without progress after which objects are made and deleted though events that waited in NATS at the connection are
    /// not read yet; 0 does not wait for them [default: 300]
    #[arg(long, env = "LIFELINE_HISTORY_WAIT", value_name = "SECONDS")]
    pub history_wait: Option<u64>,

    /// Requests about objects that an API server gets in a second; 0 sets no limit. What should be gone and what events ask for
    /// comes before what changed rules ask for, each trigger in its turn [default: 1000]
    #[arg(long, env = "LIFELINE_REQUESTS_PER_SECOND", value_name = "REQUESTS")]
    pub requests_per_second: Option<u32>,

    /// Requests about objects that an API server may get at once after a pause [default: 2000]
    #[arg(long, env = "LIFELINE_REQUEST_BURST", value_name = "REQUESTS")]
    pub request_burst: Option<u32>,

    /// Bytes a second of the scrub, which reads the log again once a day to find damage; 0 turns it off
    /// [default: 8388608]
    #[arg(long, env = "LIFELINE_SCRUB_RATE", value_name = "BYTES")]
    pub scrub_rate: Option<u64>,

    /// Level of log lines: error, warn, info, debug or trace, also by target, as in `info,lifeline_engine=debug`; `lifeline log
    /// level` changes it at run time [default: info]
    #[arg(long, env = "LIFELINE_LOG", value_name = "LEVEL")]
    pub log: Option<String>,

    /// Form of log lines: `text`, or `json`, a JSON object a line [default: text]
    #[arg(long, env = "LIFELINE_LOG_FORMAT", value_name = "FORM")]
    pub log_format: Option<LogFormat>,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Whether subjects are read from JetStream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JetStreamKind {
    /// Where it is there, and as soon as it is; else by plain subscriptions, which lose what is published meanwhile.
    Auto,
    /// Always: without it nothing is read.
    Always,
    /// Never: by plain subscriptions, even where a stream holds a subject. Streams asked for by name are read all the same.
    Never,
}

/// Where objects go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterKind {
    /// Objects in the data folder, under the rules of an API server.
    Local,
    /// A Kubernetes API server.
    Kube,
}

/// Who may ask over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthKind {
    /// Everybody who can connect.
    None,
    /// Those who send the bearer token in the token file.
    Token,
    /// Those whom Kubernetes knows by their bearer token (TokenReview) and lets `get` the path (SubjectAccessReview).
    Kubernetes,
}

/// Who may ask over HTTP, with what it takes to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// Everybody who can connect.
    None,
    /// Those who know the token in this file.
    Token(PathBuf),
    /// Those whom Kubernetes lets.
    Kubernetes,
}

/// What the settings mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The data folder.
    pub data: PathBuf,
    /// What to read from; `None` for the cluster's Secret.
    pub nats: Option<String>,
    /// How to get in there, beside what `nats` says.
    pub nats_files: Files,
    /// Subjects to read where `nats` is a URL.
    pub subjects: Vec<String>,
    /// The durable consumer's name.
    pub consumer: String,
    /// The name of the stream that is made where none holds a subject.
    pub stream: String,
    /// Whether subjects are read from JetStream.
    pub jetstream: Use,
    /// Where rules lie; empty for the cluster's own, or for none with a local cluster.
    pub rules: Vec<PathBuf>,
    /// Where objects go.
    pub cluster: ClusterKind,
    /// The kubeconfig, when one is named.
    pub kubeconfig: Option<PathBuf>,
    /// Labels of the own cluster.
    pub cluster_labels: BTreeMap<String, String>,
    /// The address of the HTTP API.
    pub listen: SocketAddr,
    /// Who may ask over HTTP.
    pub auth: Auth,
    /// Names that the HTTP API may be asked by, beside those of its address.
    pub allowed_hosts: Vec<Allowed>,
    /// The certificate and the key of the HTTP API; `None` where it speaks no TLS.
    pub tls: Option<tls::Files>,
    /// Whether there is a NATS service.
    pub service: bool,
    /// Percent of the live objects that changed rules may withdraw by themselves.
    pub brake_percent: u8,
    /// How long without progress nothing is done in a cluster while events that waited in NATS at the connection are unread.
    pub history_wait: Duration,
    /// How many requests about objects an API server gets.
    pub requests: Rate,
    /// Bytes of the log a second that are read again to find damage; zero for none.
    pub scrub_rate: u64,
    /// Level of log lines.
    pub log: String,
    /// Form of log lines.
    pub log_format: LogFormat,
}

/// Settings that cannot be meant.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file that `--config` names.
    #[error(
        "settings in `{path}` cannot be read\nhint: check the path; `lifeline config example` prints a file to begin with"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// All mistakes at once.
    #[error("{}", list(.0))]
    Values(Vec<Mistake>),
}

fn list(mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    match lines.as_slice() {
        [one] => one.clone(),
        many => format!("{} mistakes in the settings\n{}", many.len(), many.join("\n")),
    }
}

impl Settings {
    /// What holds where nobody says otherwise. What depends on other settings is missing: `nats`, `auth`.
    #[must_use]
    pub fn defaults() -> Settings {
        Settings {
            data: Some(PathBuf::from(crate::data::DEFAULT)),
            consumer: Some("lifeline".to_owned()),
            stream: Some("LIFELINE".to_owned()),
            jetstream: Some(JetStreamKind::Auto),
            cluster: Some(ClusterKind::Local),
            listen: Some(LISTEN.to_owned()),
            service: Some(true),
            brake_percent: Some(Brake::default().percent),
            history_wait: Some(HISTORY_WAIT_SECONDS),
            requests_per_second: Some(Rate::GENEROUS.per_second),
            request_burst: Some(Rate::GENEROUS.burst),
            scrub_rate: Some(SCRUB_RATE),
            log: Some("info".to_owned()),
            log_format: Some(LogFormat::Text),
            ..Settings::default()
        }
    }

    /// These settings where they say something, `other` where they do not.
    #[must_use]
    pub fn or(self, other: Settings) -> Settings {
        let either = |one: Vec<_>, two| if one.is_empty() { two } else { one };
        Settings {
            data: self.data.or(other.data),
            nats: self.nats.or(other.nats),
            nats_credentials: self.nats_credentials.or(other.nats_credentials),
            nats_nkey: self.nats_nkey.or(other.nats_nkey),
            nats_ca: self.nats_ca.or(other.nats_ca),
            nats_cert: self.nats_cert.or(other.nats_cert),
            nats_key: self.nats_key.or(other.nats_key),
            jetstream_domain: self.jetstream_domain.or(other.jetstream_domain),
            subjects: either(self.subjects, other.subjects),
            consumer: self.consumer.or(other.consumer),
            stream: self.stream.or(other.stream),
            jetstream: self.jetstream.or(other.jetstream),
            rules: if self.rules.is_empty() { other.rules } else { self.rules },
            cluster: self.cluster.or(other.cluster),
            kubeconfig: self.kubeconfig.or(other.kubeconfig),
            cluster_labels: either(self.cluster_labels, other.cluster_labels),
            listen: self.listen.or(other.listen),
            auth: self.auth.or(other.auth),
            auth_token_file: self.auth_token_file.or(other.auth_token_file),
            allowed_hosts: either(self.allowed_hosts, other.allowed_hosts),
            tls_cert: self.tls_cert.or(other.tls_cert),
            tls_key: self.tls_key.or(other.tls_key),
            service: self.service.or(other.service),
            brake_percent: self.brake_percent.or(other.brake_percent),
            history_wait: self.history_wait.or(other.history_wait),
            requests_per_second: self.requests_per_second.or(other.requests_per_second),
            request_burst: self.request_burst.or(other.request_burst),
            scrub_rate: self.scrub_rate.or(other.scrub_rate),
            log: self.log.or(other.log),
            log_format: self.log_format.or(other.log_format),
        }
    }
}

impl Config {
    /// What the settings mean, with defaults for what they do not say.
    ///
    /// # Errors
    /// All values that cannot be meant, at once.
    pub fn from_settings(settings: Settings) -> Result<Config, Error> {
        let mut mistakes = Vec::new();
        let settings = settings.or(Settings::defaults());
        let cluster = settings.cluster.unwrap_or(ClusterKind::Local);
        let listen = settings.listen.unwrap_or_default();
        let listen_address = listen.parse::<SocketAddr>();
        if listen_address.is_err() {
            mistakes.push(
                Mistake::new("listen", format!("`listen` is `{listen}`, expected an address and a port"))
                    .hint(format!("write it like `{LISTEN}`")),
            );
        }
        let mut cluster_labels = BTreeMap::new();
        for label in &settings.cluster_labels {
            match label.split_once('=') {
                Some((key, value)) if !key.is_empty() => {
                    cluster_labels.insert(key.to_owned(), value.to_owned());
                }
                _ => mistakes.push(
                    Mistake::new("cluster_labels", format!("`cluster_labels` has `{label}`, expected `KEY=VALUE`"))
                        .hint("write a label like `env=prod`"),
                ),
            }
        }
        if settings.data.as_ref().is_some_and(|data| data.as_os_str().is_empty()) {
            mistakes.push(Mistake::new("data", "`data` is empty, expected a folder".to_owned()).hint("leave it out"));
        }
        source::check(settings.nats.as_deref(), &settings.subjects, &mut mistakes);
        let brake_percent = settings.brake_percent.unwrap_or_default();
        if brake_percent > 100 {
            mistakes.push(
                Mistake::new("brake_percent", format!("`brake_percent` is `{brake_percent}`, expected at most `100`"))
                    .hint("100 lets everything go, 0 holds all but a few objects"),
            );
        }
        let address = listen_address.as_ref().ok().copied();
        let auth = auth(settings.auth, settings.auth_token_file, cluster, address).unwrap_or_else(|mistake| {
            mistakes.push(mistake);
            Auth::None
        });
        let allowed_hosts = allowed_hosts(&settings.allowed_hosts, &mut mistakes);
        let mut pair = |names: [&str; 2], one, other| {
            pair_of_files(names, one, other).unwrap_or_else(|mistake| {
                mistakes.push(mistake);
                None
            })
        };
        let tls = pair(["tls_cert", "tls_key"], settings.tls_cert, settings.tls_key);
        let tls = tls.map(|(certificate, key)| tls::Files { certificate, key });
        let certificate = pair(["nats_cert", "nats_key"], settings.nats_cert, settings.nats_key);
        if settings.nats_credentials.is_some() && settings.nats_nkey.is_some() {
            mistakes.push(
                Mistake::new("nats_nkey", "`nats_nkey` is set, and `nats_credentials` is too".to_owned())
                    .hint("a credentials file holds its NKey: leave `--nats-nkey` out"),
            );
        }
        if settings.kubeconfig.is_some() && cluster == ClusterKind::Local && auth != Auth::Kubernetes {
            mistakes.push(
                Mistake::new("kubeconfig", "`kubeconfig` is set, but `cluster` is `local`".to_owned())
                    .hint("say `--cluster kube`"),
            );
        }
        let mut name = |setting: &str, value: String| {
            if value.is_empty() || value.contains([' ', '.', '*', '>', '/', '\\', '\t', '\r', '\n']) {
                mistakes.push(
                    Mistake::new(
                        setting,
                        format!("`{setting}` is `{value}`, expected a name without blanks and `.*>/\\`"),
                    )
                    .hint("use letters, digits, `-` and `_`"),
                );
            }
            value
        };
        let consumer = name("consumer", settings.consumer.unwrap_or_default());
        let stream = name("stream", settings.stream.unwrap_or_default());
        let domain = settings.jetstream_domain.map(|domain| name("jetstream_domain", domain));
        let log = settings.log.unwrap_or_default();
        if let Err(error) = crate::telemetry::filter(&log) {
            mistakes.push(
                Mistake::new("log", format!("`log` is `{log}`: {error}"))
                    .hint("write it like `info` or `info,lifeline_engine=debug`"),
            );
        }
        let jetstream = match settings.jetstream {
            None | Some(JetStreamKind::Auto) => Use::Auto,
            Some(JetStreamKind::Always) => Use::Always,
            Some(JetStreamKind::Never) => Use::Never,
        };
        let is_url = |nats: &String| nats.contains("://");
        let needs_subjects = match &settings.nats {
            Some(nats) => is_url(nats),
            None => cluster == ClusterKind::Local,
        };
        if jetstream == Use::Never && needs_subjects && settings.subjects.is_empty() {
            mistakes.push(
                Mistake::new("jetstream", "`jetstream` is `never`, and no subjects are named".to_owned())
                    .hint("name the subjects to read by `--subjects`"),
            );
        }
        let nats = match (settings.nats, cluster) {
            (Some(nats), _) => Some(nats),
            (None, ClusterKind::Local) => Some(NATS.to_owned()),
            (None, ClusterKind::Kube) => None,
        };
        match listen_address {
            Ok(listen) if mistakes.is_empty() => Ok(Config {
                data: settings.data.unwrap_or_default(),
                nats,
                nats_files: Files {
                    credentials: settings.nats_credentials,
                    nkey: settings.nats_nkey,
                    authorities: settings.nats_ca,
                    certificate,
                    domain,
                },
                subjects: settings.subjects,
                consumer,
                stream,
                jetstream,
                rules: settings.rules,
                cluster,
                kubeconfig: settings.kubeconfig,
                cluster_labels,
                listen,
                auth,
                allowed_hosts,
                tls,
                service: settings.service.unwrap_or_default(),
                brake_percent,
                history_wait: Duration::from_secs(settings.history_wait.unwrap_or_default()),
                requests: Rate {
                    per_second: settings.requests_per_second.unwrap_or_default(),
                    burst: settings.request_burst.unwrap_or_default(),
                },
                scrub_rate: settings.scrub_rate.unwrap_or_default(),
                log,
                log_format: settings.log_format.unwrap_or(LogFormat::Text),
            }),
            _ => Err(Error::Values(mistakes)),
        }
    }
}

/// Who may ask. An address that others can reach is never open to them without a word.
fn auth(
    kind: Option<AuthKind>,
    token_file: Option<PathBuf>,
    cluster: ClusterKind,
    listen: Option<SocketAddr>,
) -> Result<Auth, Mistake> {
    match (kind, token_file) {
        (None | Some(AuthKind::Token), Some(file)) => Ok(Auth::Token(file)),
        (Some(AuthKind::Token), None) => {
            Err(Mistake::new("auth", "`auth` is `token`, but there is no token".to_owned())
                .hint("name a file with one by `--auth-token-file`"))
        }
        (Some(AuthKind::None | AuthKind::Kubernetes), Some(_)) => {
            Err(Mistake::new("auth_token_file", "`auth_token_file` is set, but `auth` is not `token`".to_owned())
                .hint("leave one of the two out"))
        }
        (Some(AuthKind::None), None) => Ok(Auth::None),
        (Some(AuthKind::Kubernetes), None) => Ok(Auth::Kubernetes),
        // An address that is none is a mistake of its own.
        (None, None) if listen.is_none_or(|listen| listen.ip().is_loopback()) => Ok(Auth::None),
        (None, None) if cluster == ClusterKind::Kube => Ok(Auth::Kubernetes),
        (None, None) => Err(Mistake::new(
            "listen",
            "`listen` is an address that others can reach, and nothing says who may ask".to_owned(),
        )
        .hint("say `--auth-token-file FILE`, `--auth kubernetes`, or `--auth none` for everybody")),
    }
}

fn allowed_hosts(names: &[String], mistakes: &mut Vec<Mistake>) -> Vec<Allowed> {
    let parsed = names.iter().filter_map(|name| {
        let allowed = Allowed::parse(name);
        if allowed.is_none() {
            mistakes.push(
                Mistake::new(
                    "allowed_hosts",
                    format!("`allowed_hosts` has `{name}`, expected a host without scheme and port"),
                )
                .hint("write it like `engine.example.com` or `*.example.com`"),
            );
        }
        allowed
    });
    parsed.collect()
}

/// A certificate needs its key, and the other way round.
fn pair_of_files(
    [certificate_name, key_name]: [&str; 2],
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<(PathBuf, PathBuf)>, Mistake> {
    let lone = |there: &str, missing: &str, what: &str| {
        Mistake::new(there, format!("`{there}` is set, but `{missing}` is not"))
            .hint(format!("name the file with its {what} by `--{}`", missing.replace('_', "-")))
    };
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(lone(certificate_name, key_name, "key")),
        (None, Some(_)) => Err(lone(key_name, certificate_name, "certificate")),
    }
}

#[cfg(test)]
mod tests;
