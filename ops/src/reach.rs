//! Where the connection to NATS is described: a URL, a file, or the Secret of Sveltos, and files beside it.
//!
//! Start at [`ConnectionSource::load`]. It is asked again and again while an engine runs; nothing is kept here.

use lifeline_engine::error_text::chain;
use lifeline_engine::intake::connection::Files;
use lifeline_engine::intake::{self, Connection};

use crate::settings::Config;

/// Where the connection settings lie in a cluster: namespace, name and key (Sveltos).
const SECRET: (&str, &str, &str) = ("projectsveltos", "sveltos-nats", "sveltos-nats");

/// Where the connection settings come from: the connection itself, and the files beside it.
pub struct ConnectionSource {
    /// The connection itself.
    pub from: ConnectionFrom,
    files: Files,
}

/// Where the connection comes from.
pub enum ConnectionFrom {
    /// A file or URL.
    Argument {
        /// What was given.
        argument: String,
        /// Subjects to read beside those that a file names.
        subjects: Vec<String>,
    },
    /// The Secret.
    Secret(kube::Client),
}

impl ConnectionSource {
    /// What the settings name. `kube` is the client of the cluster, where objects go to one.
    #[must_use]
    pub fn of(config: &Config, kube: Option<kube::Client>) -> ConnectionSource {
        let from = match (&config.nats, kube) {
            (None, Some(client)) => ConnectionFrom::Secret(client),
            (nats, _) => ConnectionFrom::Argument {
                argument: nats.clone().unwrap_or_default(),
                subjects: config.subjects.clone(),
            },
        };
        ConnectionSource { from, files: config.nats_files.clone() }
    }

    /// Reads it, as it is now.
    ///
    /// # Errors
    /// All mistakes at once.
    pub async fn load(&self) -> Result<Connection, intake::Error> {
        self.from.load().await?.with_files(&self.files)
    }
}

impl ConnectionFrom {
    async fn load(&self) -> Result<Connection, intake::Error> {
        match self {
            ConnectionFrom::Argument { argument, subjects } => Connection::from_argument(argument, subjects),
            ConnectionFrom::Secret(client) => {
                let (namespace, name, key) = SECRET;
                let origin = format!("Secret {namespace}/{name}");
                let settings =
                    |mistake: String| intake::Error::Settings { origin: origin.clone(), mistakes: vec![mistake] };
                let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> =
                    kube::Api::namespaced(client.clone(), namespace);
                let secret = secrets.get_opt(name).await.map_err(|error| settings(chain(&error)))?;
                let secret = secret.ok_or_else(|| {
                    settings(
                        "does not exist\nhint: `kubectl create secret generic -n projectsveltos sveltos-nats \
                         --from-file=sveltos-nats=FILE`, or give `--nats`"
                            .to_owned(),
                    )
                })?;
                let value = secret.data.unwrap_or_default().remove(key);
                let value = value.ok_or_else(|| settings(format!("has no key `{key}`")))?;
                let text = String::from_utf8(value.0).map_err(|_| settings(format!("key `{key}` is not UTF-8")))?;
                Connection::parse(&text, &origin)
            }
        }
    }
}
