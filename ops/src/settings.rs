//! Settings are what was typed, [`Config`] is what it means; the one becomes the other once, at start-up.
//!
//! A setting has one name in three places: a flag (`--nats`), an environment variable (`LIFELINE_NATS`) and a key of the
//! TOML file that `--config` names (`nats = ...`). A flag outweighs the variable, the variable the file, the file the
//! default. Start at [`Config::from_settings`], which reports every mistake at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use lifeline_engine::intake::way::Use;
use lifeline_engine::replay::brake::Brake;
use serde::Deserialize;

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
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Folder for the log, the projection and the local cluster [default: ./lifeline-data]
    #[arg(long, env = "LIFELINE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// NATS to read from: a URL, or a file with the connection JSON of Sveltos [default: nats://127.0.0.1:4222; with
    /// `--cluster kube` the Secret projectsveltos/sveltos-nats]
    #[arg(long, env = "LIFELINE_NATS", value_name = "FILE|URL")]
    pub nats: Option<String>,

    /// NATS subjects to read when `--nats` is a URL, comma-separated or repeated [default: all streams there are]
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
    #[arg(long = "cluster-label", env = "LIFELINE_CLUSTER_LABELS", value_name = "KEY=VALUE", value_delimiter = ',')]
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

    /// Percent of the live objects, of a trigger and of all, that changed rules may withdraw without `lifeline confirm`; fewer
    /// than 10 objects always go, and 100 lets everything go [default: 10]
    #[arg(long, env = "LIFELINE_BRAKE_PERCENT", value_name = "PERCENT")]
    pub brake_percent: Option<u8>,

    /// Seconds without progress after which objects are made and deleted though events that waited in NATS at the connection are
    /// not read yet; 0 does not wait for them [default: 300]
    #[arg(long, env = "LIFELINE_HISTORY_WAIT", value_name = "SECONDS")]
    pub history_wait: Option<u64>,

    /// Bytes a second of the scrub, which reads the log again once a day to find damage; 0 turns it off
    /// [default: 8388608]
    #[arg(long, env = "LIFELINE_SCRUB_RATE", value_name = "BYTES")]
    pub scrub_rate: Option<u64>,
}

/// Whether subjects are read from JetStream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterKind {
    /// Objects in the data folder, under the rules of an API server.
    Local,
    /// A Kubernetes API server.
    Kube,
}

/// Who may ask over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
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
    /// Bytes of the log a second that are read again to find damage; zero for none.
    pub scrub_rate: u64,
}

/// Settings that cannot be meant.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file that `--config` names.
    #[error("settings in `{path}` cannot be read")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its content.
    #[error("settings in `{path}` are not understood: {reason}")]
    Toml {
        /// The file.
        path: PathBuf,
        /// What the parser said, with the place.
        reason: String,
    },
    /// Values; all mistakes at once.
    #[error("{}", .0.join("\n"))]
    Values(Vec<String>),
}

impl Settings {
    /// Reads a settings file.
    ///
    /// # Errors
    /// When it cannot be read, or names a key that does not exist.
    pub fn from_file(path: &Path) -> Result<Settings, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|error| Error::Toml { path: path.to_owned(), reason: error.to_string().trim().to_owned() })
    }

    /// These settings where they say something, `other` where they do not.
    #[must_use]
    pub fn or(self, other: Settings) -> Settings {
        let either = |one: Vec<_>, two| if one.is_empty() { two } else { one };
        Settings {
            data: self.data.or(other.data),
            nats: self.nats.or(other.nats),
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
            scrub_rate: self.scrub_rate.or(other.scrub_rate),
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
        let cluster = settings.cluster.unwrap_or(ClusterKind::Local);
        let listen = settings.listen.unwrap_or_else(|| LISTEN.to_owned());
        let listen_address = listen.parse::<SocketAddr>();
        if listen_address.is_err() {
            mistakes.push(format!("`listen` is `{listen}`, expected an address and a port such as `{LISTEN}`"));
        }
        let mut cluster_labels = BTreeMap::new();
        for label in &settings.cluster_labels {
            match label.split_once('=') {
                Some((key, value)) if !key.is_empty() => {
                    cluster_labels.insert(key.to_owned(), value.to_owned());
                }
                _ => mistakes.push(format!("`cluster_labels` has `{label}`, expected `KEY=VALUE`")),
            }
        }
        let brake_percent = settings.brake_percent.unwrap_or(Brake::default().percent);
        if brake_percent > 100 {
            mistakes.push(format!("`brake_percent` is `{brake_percent}`, expected at most `100`"));
        }
        let address = listen_address.as_ref().ok().copied();
        let auth = auth(settings.auth, settings.auth_token_file, cluster, address).unwrap_or_else(|mistake| {
            mistakes.push(mistake);
            Auth::None
        });
        let allowed_hosts = allowed_hosts(&settings.allowed_hosts, &mut mistakes);
        let tls = tls_files(settings.tls_cert, settings.tls_key).unwrap_or_else(|mistake| {
            mistakes.push(mistake);
            None
        });
        if settings.kubeconfig.is_some() && cluster == ClusterKind::Local && auth != Auth::Kubernetes {
            mistakes.push("`kubeconfig` is set, but `cluster` is `local`\nhint: say `--cluster kube`".to_owned());
        }
        let mut name = |setting: &str, value: Option<String>, default: &str| {
            let value = value.unwrap_or_else(|| default.to_owned());
            if value.is_empty() || value.contains([' ', '.', '*', '>', '/', '\\', '\t', '\r', '\n']) {
                mistakes.push(format!("`{setting}` is `{value}`, expected a name without blanks and `.*>/\\`"));
            }
            value
        };
        let consumer = name("consumer", settings.consumer, "lifeline");
        let stream = name("stream", settings.stream, "LIFELINE");
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
                "`jetstream` is `never`, and no subjects are named\nhint: name the subjects to read by `--subjects`"
                    .to_owned(),
            );
        }
        let nats = match (settings.nats, cluster) {
            (Some(nats), _) => Some(nats),
            (None, ClusterKind::Local) => Some(NATS.to_owned()),
            (None, ClusterKind::Kube) => None,
        };
        match listen_address {
            Ok(listen) if mistakes.is_empty() => Ok(Config {
                data: settings.data.unwrap_or_else(|| PathBuf::from(crate::data::DEFAULT)),
                nats,
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
                service: settings.service.unwrap_or(true),
                brake_percent,
                history_wait: Duration::from_secs(settings.history_wait.unwrap_or(HISTORY_WAIT_SECONDS)),
                scrub_rate: settings.scrub_rate.unwrap_or(SCRUB_RATE),
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
) -> Result<Auth, String> {
    match (kind, token_file) {
        (None | Some(AuthKind::Token), Some(file)) => Ok(Auth::Token(file)),
        (Some(AuthKind::Token), None) => {
            Err("`auth` is `token`, but there is no token\nhint: name a file with one by `--auth-token-file`".to_owned())
        }
        (Some(AuthKind::None | AuthKind::Kubernetes), Some(_)) => {
            Err("`auth_token_file` is set, but `auth` is not `token`".to_owned())
        }
        (Some(AuthKind::None), None) => Ok(Auth::None),
        (Some(AuthKind::Kubernetes), None) => Ok(Auth::Kubernetes),
        // An address that is none is a mistake of its own.
        (None, None) if listen.is_none_or(|listen| listen.ip().is_loopback()) => Ok(Auth::None),
        (None, None) if cluster == ClusterKind::Kube => Ok(Auth::Kubernetes),
        (None, None) => Err(
            "`listen` is an address that others can reach, and nothing says who may ask\nhint: say `--auth-token-file FILE`, \
             `--auth kubernetes`, or `--auth none` for everybody"
                .to_owned(),
        ),
    }
}

fn allowed_hosts(names: &[String], mistakes: &mut Vec<String>) -> Vec<Allowed> {
    let parsed = names.iter().filter_map(|name| {
        let allowed = Allowed::parse(name);
        if allowed.is_none() {
            mistakes.push(format!(
                "`allowed_hosts` has `{name}`, expected a host without scheme and port, such as `engine.example.com` or `*.example.com`"
            ));
        }
        allowed
    });
    parsed.collect()
}

/// A certificate needs its key, and the other way round.
fn tls_files(certificate: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<tls::Files>, String> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(tls::Files { certificate, key })),
        (None, None) => Ok(None),
        (Some(_), None) => {
            Err("`tls_cert` is set, but `tls_key` is not\nhint: name the file with its key by `--tls-key`".to_owned())
        }
        (None, Some(_)) => {
            Err("`tls_key` is set, but `tls_cert` is not\nhint: name the file with its certificate by `--tls-cert`"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_a_default() {
        let config = Config::from_settings(Settings::default()).unwrap();
        assert_eq!(config.nats.as_deref(), Some("nats://127.0.0.1:4222"));
        assert_eq!((config.consumer.as_str(), config.stream.as_str()), ("lifeline", "LIFELINE"));
        let kube = Settings { cluster: Some(ClusterKind::Kube), ..Settings::default() };
        assert_eq!(Config::from_settings(kube).unwrap().nats, None);
    }

    #[test]
    fn a_flag_outweighs_the_file() {
        let file: Settings = toml::from_str("nats = 'nats://file'\nlisten = '127.0.0.1:1'").unwrap();
        let typed = Settings { nats: Some("nats://flag".into()), ..Settings::default() };
        let merged = typed.or(file);
        assert_eq!((merged.nats.as_deref(), merged.listen.as_deref()), (Some("nats://flag"), Some("127.0.0.1:1")));
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let settings = Settings {
            listen: Some("here".into()),
            cluster_labels: vec!["env".into()],
            consumer: Some("a b".into()),
            allowed_hosts: vec!["engine.example.com".into(), "https://engine".into()],
            tls_cert: Some("cert.pem".into()),
            ..Settings::default()
        };
        let Err(Error::Values(mistakes)) = Config::from_settings(settings) else { panic!("five mistakes") };
        assert_eq!(mistakes.len(), 5, "{mistakes:?}");
        assert!(toml::from_str::<Settings>("natz = 'x'").is_err());
    }

    #[test]
    fn the_file_names_hosts_and_tls_by_the_names_of_the_flags() {
        let text = "allowed_hosts = ['*.example.com']\ntls_cert = 'c.pem'\ntls_key = 'k.pem'";
        let config = Config::from_settings(toml::from_str(text).unwrap()).unwrap();
        assert_eq!(config.allowed_hosts, [Allowed::Below(".example.com".to_owned())]);
        assert_eq!(config.tls, Some(tls::Files { certificate: "c.pem".into(), key: "k.pem".into() }));
        let half = Settings { tls_key: Some("k.pem".into()), ..Settings::default() };
        assert!(Config::from_settings(half).is_err_and(|error| error.to_string().contains("--tls-cert")));
    }

    #[test]
    fn without_jetstream_something_has_to_be_subscribed_to() {
        let check = |nats: Option<&str>, subjects: &[&str], cluster: ClusterKind, is_fine: bool| {
            let settings = Settings {
                jetstream: Some(JetStreamKind::Never),
                nats: nats.map(str::to_owned),
                subjects: subjects.iter().map(|&subject| subject.to_owned()).collect(),
                cluster: Some(cluster),
                ..Settings::default()
            };
            assert_eq!(Config::from_settings(settings).is_ok(), is_fine, "{nats:?} {subjects:?} {cluster:?}");
        };
        let (local, kube) = (ClusterKind::Local, ClusterKind::Kube);
        check(None, &[], local, false);
        check(Some("nats://n"), &[], kube, false);
        check(Some("nats://n"), &["s"], local, true);
        // The file, or the Secret, names them.
        check(Some("nats.json"), &[], local, true);
        check(None, &[], kube, true);
        assert_eq!(toml::from_str::<Settings>("jetstream = 'always'").unwrap().jetstream, Some(JetStreamKind::Always));
    }

    #[test]
    fn nobody_is_let_in_from_outside_without_a_word() {
        let check =
            |listen: &str, kind: Option<AuthKind>, file: Option<&str>, cluster: ClusterKind, expected: Option<Auth>| {
                let settings = Settings {
                    listen: Some(listen.to_owned()),
                    auth: kind,
                    auth_token_file: file.map(PathBuf::from),
                    cluster: Some(cluster),
                    ..Settings::default()
                };
                let auth = Config::from_settings(settings).ok().map(|config| config.auth);
                assert_eq!(auth, expected, "{listen} {kind:?} {file:?} {cluster:?}");
            };
        let (local, kube) = (ClusterKind::Local, ClusterKind::Kube);
        let token = || Some(Auth::Token("t".into()));
        check("127.0.0.1:1", None, None, local, Some(Auth::None));
        check("[::1]:1", None, None, kube, Some(Auth::None));
        check("0.0.0.0:1", None, None, local, None);
        check("0.0.0.0:1", None, None, kube, Some(Auth::Kubernetes));
        check("[::]:1", Some(AuthKind::None), None, local, Some(Auth::None));
        check("0.0.0.0:1", None, Some("t"), local, token());
        check("127.0.0.1:1", Some(AuthKind::Token), Some("t"), kube, token());
        check("127.0.0.1:1", Some(AuthKind::Token), None, local, None);
        check("127.0.0.1:1", Some(AuthKind::None), Some("t"), local, None);
        check("127.0.0.1:1", Some(AuthKind::Kubernetes), Some("t"), local, None);
        check("127.0.0.1:1", Some(AuthKind::Kubernetes), None, local, Some(Auth::Kubernetes));
    }
}
