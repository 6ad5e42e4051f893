//! What may be typed for the commands that do the work: `run`, `demo` and `bench`.
//!
//! Every field is optional: a flag wins over its environment variable, which wins over the configuration file, which
//! wins over the default that the help names.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Where `lifeline run` listens, and where the asking commands ask, when nobody says otherwise.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:7717";

/// What `lifeline run` was given.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// The folder that holds the log and what is made from it [default: lifeline-data].
    #[arg(long, value_name = "DIR", env = "LIFELINE_DATA")]
    pub data: Option<PathBuf>,
    /// NATS: a URL, or a file like the Secret `sveltos-nats` holds [default: the Secret with `--cluster kube`].
    #[arg(long, value_name = "FILE|URL", env = "LIFELINE_NATS", hide_env_values = true)]
    pub nats: Option<String>,
    /// NATS subjects to read, comma-separated or given again, beside those that `--nats FILE` names.
    #[arg(long, value_name = "SUBJECT", env = "LIFELINE_SUBJECTS", value_delimiter = ',')]
    pub subjects: Option<Vec<String>>,
    /// A manifest, or a folder of them, with rules; may be given again [default: the cluster's with `--cluster kube`].
    #[arg(long, value_name = "PATH", env = "LIFELINE_RULES", value_delimiter = ',')]
    pub rules: Option<Vec<PathBuf>>,
    /// Where objects are applied: a local one on disk, or Kubernetes [default: local].
    #[arg(long, value_name = "KIND", env = "LIFELINE_CLUSTER")]
    pub cluster: Option<ClusterKind>,
    /// The kubeconfig for `--cluster kube` [default: as kubectl finds it, or the Pod's own account].
    #[arg(long, value_name = "FILE", env = "LIFELINE_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// A label of the own cluster, for `sourceClusterSelector`; may be given again [default: matches every selector].
    #[arg(long = "cluster-label", value_name = "KEY=VALUE", env = "LIFELINE_CLUSTER_LABELS", value_delimiter = ',', value_parser = label)]
    pub cluster_labels: Option<Vec<(String, String)>>,
    /// Address of the HTTP API, health and metrics [default: 127.0.0.1:7717].
    #[arg(long, value_name = "ADDR", env = "LIFELINE_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// A TOML file with any of these settings, each under the name of its flag.
    #[arg(long, value_name = "FILE", env = "LIFELINE_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Where objects are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClusterKind {
    /// Objects kept on disk; needs nothing.
    Local,
    /// A Kubernetes API server.
    Kube,
}

/// What `lifeline demo` was given.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Use the cluster of the current kubeconfig instead of a local one.
    #[arg(long)]
    pub kube: bool,
    /// Do not pause between the acts.
    #[arg(long)]
    pub fast: bool,
}

/// What `lifeline bench` was given.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Which one: `intake` measures durable events a second against the raw rate of the client library.
    pub name: String,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected `KEY=VALUE`".to_owned()),
    }
}
