//! The port spoken to a real API server.
//!
//! Start at [`KubeCluster::connect`]. A call of the port is one request, with one more to learn of an unknown kind, one
//! more after an answer about another uid, and up to three where `ownership` has something to set right. Each request has
//! a deadline; nothing is retried and nothing is throttled here.
//! What is asked about one object is in `objects`, what answers mean in `answer`, which kinds there are in `discovery`, their
//! types in `schemas`, and watches in `watching`. Rules have their own way to the cluster.

mod answer;
mod discovery;
mod kinds;
mod objects;
mod ownership;
mod request;
mod schemas;
mod served;
mod watching;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;
use tokio::time::error::Elapsed;

use self::answer::Answer;
use self::request::group_path;
use self::schemas::{Said, Schemas};
use self::served::ServedKinds;
use super::{Account, Cluster, Deletion, Error, FIELD_MANAGER, Kind, Label, LiveObject, ObjectKey, Seen};
use crate::schema::Schema;

/// How long one request that reads may take, from asking to the last byte. An API server that is well answers in
/// milliseconds.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// The same for one that writes. Kubernetes lets a webhook take 30 s; what is given up before may still be carried
/// out. The API server itself gives up after 60 s.
const WRITE_TIMEOUT: Duration = Duration::from_secs(35);

/// How long the types of a kind are waited for. Objects are applied without them then.
const SCHEMA_TIMEOUT: Duration = Duration::from_secs(5);

/// A Kubernetes cluster.
pub struct KubeCluster {
    name: String,
    client: Client,
    read_timeout: Duration,
    write_timeout: Duration,
    /// Shared by all identities, as what is below.
    served: Arc<Mutex<ServedKinds>>,
    schemas: Arc<Mutex<Schemas>>,
    /// Held while a document of types is asked for.
    asking_schema: Arc<tokio::sync::Mutex<()>>,
    /// In whose name objects are read and written; `None` for the engine's own.
    account: Option<Account>,
}

impl KubeCluster {
    /// Connects to the cluster of a kubeconfig, and asks it for its version: afterwards its address and the credentials
    /// are known to be good.
    ///
    /// Without a path: `KUBECONFIG`, `~/.kube/config`, or the service account of the pod this runs in, in this order.
    /// Without a context: the current one.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] where the kubeconfig is missing or wrong; [`Error::Unauthorized`] where its credentials are
    /// not accepted; [`Error::Unavailable`] where the server cannot be reached.
    pub async fn connect(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<KubeCluster, Error> {
        let cluster = KubeCluster::load(kubeconfig, context).await?;
        cluster.version().await?;
        Ok(cluster)
    }

    /// Like [`KubeCluster::connect`], but does not contact the server yet.
    ///
    /// # Errors
    /// [`Error::Misconfigured`].
    pub async fn load(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<KubeCluster, Error> {
        let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
        let config = match kubeconfig {
            Some(path) => {
                let read = Kubeconfig::read_from(path).map_err(|error| {
                    let message = format!(
                        "cannot read the kubeconfig `{}`\nhint: give the path of a kubeconfig file with `--kubeconfig`",
                        path.display()
                    );
                    match error {
                        // It would name the file once more.
                        KubeconfigError::ReadConfig(error, _) => misconfigured(message, error),
                        error => misconfigured(message, error),
                    }
                })?;
                Config::from_custom_kubeconfig(read, &options).await.map_err(|error| {
                    let message = format!(
                        "the kubeconfig `{}` cannot be used\nhint: `kubectl config get-contexts` lists its contexts",
                        path.display()
                    );
                    misconfigured(message, error)
                })?
            }
            None if context.is_some() => Config::from_kubeconfig(&options).await.map_err(no_cluster)?,
            None => Config::infer().await.map_err(no_cluster)?,
        };
        KubeCluster::with(config)
    }

    fn with(mut config: Config) -> Result<KubeCluster, Error> {
        // Retries are decided above the port, where the lifecycle may have moved on meanwhile.
        config.default_retry = false;
        config.connect_timeout = Some(READ_TIMEOUT / 2);
        let address = config.cluster_url.to_string();
        let address = address.trim_end_matches('/');
        let client = Client::try_from(config)
            .map_err(|error| misconfigured(format!("cannot prepare a connection to `{address}`"), error))?;
        Ok(KubeCluster {
            name: format!("kubernetes at {address}"),
            client,
            read_timeout: READ_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
            served: Arc::default(),
            schemas: Arc::default(),
            asking_schema: Arc::default(),
            account: None,
        })
    }

    /// Gives every request this long from now on, whether it reads or writes.
    pub fn with_request_timeout(mut self, timeout: Duration) -> KubeCluster {
        (self.read_timeout, self.write_timeout) = (timeout, timeout);
        self
    }

    /// The client behind it, for what is not part of the port, such as watching rules.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Asks the server for its version (`v1.37.2`): can it be reached, and are the credentials accepted?
    ///
    /// # Errors
    /// [`Error::Unauthorized`], [`Error::Unavailable`].
    pub async fn version(&self) -> Result<String, Error> {
        let answer = self.ask("GET", "/version", None).await?;
        match answer.code {
            200 => Ok(answer.body["gitVersion"].as_str().unwrap_or("of unknown version").to_owned()),
            401 => Err(Error::Unauthorized { message: format!("{} does not accept the credentials", self.name) }),
            // Some clusters hide the version from those without rights; they answered, which is what was asked.
            403 => Ok("of hidden version".to_owned()),
            code => Err(Error::Unavailable {
                message: format!("{} answered {code} when asked for its version", self.name),
                retry_after: answer.retry_after,
                source: None,
            }),
        }
    }

    /// One request under one deadline, in the engine's own name: any answer is a success here.
    async fn ask(&self, method: &str, path: &str, body: Option<(&str, Vec<u8>)>) -> Result<Answer, Error> {
        self.ask_as(None, method, path, body).await
    }

    /// The same in the name of a service account. The API server knows its groups by its name, so no right to impersonate
    /// groups is needed.
    async fn ask_as(
        &self,
        account: Option<&Account>,
        method: &str,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<Answer, Error> {
        self.ask_for(account, method, path, "application/json", body).await
    }

    /// The same, for an answer in one of these forms.
    async fn ask_for(
        &self,
        account: Option<&Account>,
        method: &str,
        path: &str,
        accept: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<Answer, Error> {
        let mut request = http::Request::builder().method(method).uri(path).header("accept", accept);
        if let Some(account) = account {
            request = request.header("impersonate-user", account.to_string());
        }
        let mut bytes = Vec::new();
        if let Some((content_type, content)) = body {
            request = request.header("content-type", content_type);
            bytes = content;
        }
        let request = request
            .body(Body::from(bytes))
            .map_err(|error| Error::invalid(format!("`{path}` is no path of an API server: {error}")))?;
        let exchange = async {
            let response = self.client.send(request).await.map_err(|error| self.unreachable(error))?;
            let (parts, body) = response.into_parts();
            let bytes = body.collect().await.map_err(|error| self.unreachable(error))?.to_bytes();
            let retry_after = parts.headers.get("retry-after").and_then(|value| value.to_str().ok());
            let body = serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
            Ok(Answer {
                code: parts.status.as_u16(),
                retry_after: retry_after.and_then(|text| text.parse().ok()).map(Duration::from_secs),
                body,
            })
        };
        let limit = if method == "GET" { self.read_timeout } else { self.write_timeout };
        tokio::time::timeout(limit, exchange).await.unwrap_or_else(|elapsed| Err(self.silent(limit, elapsed)))
    }

    fn silent(&self, limit: Duration, elapsed: Elapsed) -> Error {
        Error::Unavailable {
            message: format!("{} did not answer within {} s", self.name, limit.as_secs_f32()),
            retry_after: None,
            source: Some(Box::new(elapsed)),
        }
    }

    fn unreachable(&self, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::Unavailable {
            message: format!(
                "{} cannot be reached\nhint: is it running, is the address right, and is the network open?",
                self.name
            ),
            retry_after: None,
            source: Some(Box::new(source)),
        }
    }

    /// The types of a key's kind, where they can be had.
    async fn types(&self, key: &ObjectKey) -> Option<Arc<Schema>> {
        if let Some(known) = self.schemas.lock().find(key, Instant::now()) {
            return known;
        }
        // Many ask at once when a document is old.
        let _asking = self.asking_schema.lock().await;
        if let Some(known) = self.schemas.lock().find(key, Instant::now()) {
            return known;
        }
        let path = schemas::path(&group_path(key));
        let asked = tokio::time::timeout(SCHEMA_TIMEOUT, self.ask("GET", &path, None)).await;
        let said = match asked {
            Ok(Ok(answer)) if answer.is_success() => Said::Document(answer.body),
            Ok(Ok(answer)) if answer.code == 404 => Said::Nothing,
            Ok(Ok(_) | Err(_)) | Err(_) => Said::Failed,
        };
        let now = Instant::now();
        let mut schemas = self.schemas.lock();
        schemas.learn(key, said, now);
        schemas.find(key, now).flatten()
    }
}

impl Cluster for KubeCluster {
    fn name(&self) -> &str {
        &self.name
    }

    fn acting_as(&self, account: &Account) -> Option<Arc<dyn Cluster>> {
        Some(Arc::new(KubeCluster {
            name: self.name.clone(),
            client: self.client.clone(),
            read_timeout: self.read_timeout,
            write_timeout: self.write_timeout,
            served: self.served.clone(),
            schemas: self.schemas.clone(),
            asking_schema: self.asking_schema.clone(),
            account: Some(account.clone()),
        }))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move { self.version().await.map(drop) })
    }

    fn resolve<'a>(&'a self, manifest: &'a Value) -> BoxFuture<'a, Result<ObjectKey, Error>> {
        Box::pin(async move {
            let mut key = crate::cluster::object_key(manifest)?;
            let served = self.served(&key).await?;
            if !served.can_patch {
                return Err(Error::invalid(format!("a {} can be created, but not applied", key.kind)));
            }
            key.namespace = match served.namespaced {
                false => None,
                true => Some(key.namespace.take().unwrap_or_else(|| "default".into())),
            };
            Ok(key)
        })
    }

    fn schema<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Option<Arc<Schema>>> {
        Box::pin(self.types(key))
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<LiveObject>, Error>> {
        Box::pin(self.read(key))
    }

    fn apply<'a>(
        &'a self,
        key: &'a ObjectKey,
        manifest: &'a Value,
        uid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<LiveObject, Error>> {
        Box::pin(self.write(key, manifest, uid, false))
    }

    fn dry_run<'a>(
        &'a self,
        key: &'a ObjectKey,
        manifest: &'a Value,
        uid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<LiveObject>, Error>> {
        Box::pin(async move { self.write(key, manifest, uid, true).await.map(Some) })
    }

    fn make<'a>(&'a self, key: &'a ObjectKey, manifest: &'a Value) -> BoxFuture<'a, Result<LiveObject, Error>> {
        Box::pin(self.write_new(key, manifest))
    }

    fn create_namespace<'a>(&'a self, manifest: &'a Value) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let (key, path) = (crate::cluster::object_key(manifest)?, "/api/v1/namespaces");
            let body = manifest.to_string().into_bytes();
            let query = format!("fieldManager={FIELD_MANAGER}");
            let answer = self
                .ask_as(self.account.as_ref(), "POST", &format!("{path}?{query}"), Some(("application/json", body)))
                .await?;
            match answer.is_success() || answer.is_taken() {
                true => Ok(()),
                false => Err(self.refused(&answer, &key)),
            }
        })
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey, uid: &'a str) -> BoxFuture<'a, Result<Deletion, Error>> {
        Box::pin(self.erase(key, uid))
    }

    fn kinds(&self) -> BoxFuture<'_, Result<Vec<Kind>, Error>> {
        Box::pin(self.served_kinds())
    }

    fn watch(&self, kind: Kind, label: Label) -> BoxStream<'_, Result<Seen, Error>> {
        self.watch_kind(kind, label)
    }
}

fn misconfigured(message: String, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Misconfigured { message, source: Box::new(source) }
}

fn no_cluster(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    let message = "no Kubernetes cluster is configured here\nhint: give a kubeconfig with `--kubeconfig` or `KUBECONFIG`, \
                   or use `--cluster local`";
    misconfigured(message.to_owned(), source)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::request::as_yaml;
    use super::*;
    use crate::cluster::conformance::{self, manifest, verdict};
    use crate::cluster::local::LocalCluster;
    use crate::cluster::shipped;

    const WHY: &str = "set LIFELINE_TEST_KUBECONFIG to the kubeconfig of a cluster that may be written to";

    async fn real() -> KubeCluster {
        let path = std::env::var_os("LIFELINE_TEST_KUBECONFIG").map(PathBuf::from).expect(WHY);
        KubeCluster::connect(Some(&path), None).await.unwrap()
    }

    #[tokio::test]
    #[ignore = "needs LIFELINE_TEST_KUBECONFIG: a real API server"]
    async fn the_real_api_server_takes_the_definitions_and_the_rules_of_the_seed() {
        shipped::check(&real().await, sleep).await;
    }

    #[test]
    fn what_yaml_would_read_otherwise_is_escaped() {
        let check = |text: &str, expected: &str| {
            let yaml = as_yaml(&json!({ "value": text }));
            assert_eq!(yaml, format!("{{\"value\":\"{expected}\"}}"));
            assert_eq!(serde_json::from_str::<Value>(&yaml).unwrap()["value"], text, "it is the same JSON");
        };
        check("plain", "plain");
        check("ümläut ☃ 😀", "ümläut ☃ 😀");
        check("a\nb\t\"c\"", "a\\nb\\t\\\"c\\\"");
        check("next\u{85}line", "next\\u0085line");
        check("\u{2028}\u{2029}", "\\u2028\\u2029");
        check("\u{7f}\u{9f}\u{feff}\u{ffff}", "\\u007f\\u009f\\ufeff\\uffff");
    }

    fn kubeconfig(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("lifeline-kubeconfig-{name}-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path
    }

    fn at(port: u16, token: &str) -> String {
        let cluster = json!({"server": format!("http://127.0.0.1:{port}")});
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "a", "cluster": cluster}],
            "users": [{"name": "a", "user": {"token": token}}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "current-context": "a",
        })
        .to_string()
    }

    async fn refusal(name: &str, text: Option<&str>, context: Option<&str>) -> Error {
        let path = text.map_or_else(|| PathBuf::from("/nowhere/kubeconfig"), |text| kubeconfig(name, text));
        let error = KubeCluster::connect(Some(&path), context).await.map(drop).unwrap_err();
        let _ = std::fs::remove_file(&path);
        error
    }

    #[tokio::test]
    async fn a_wrong_kubeconfig_is_named_with_a_remedy() {
        for (name, text, context) in [
            ("missing", None, None),
            ("garbage", Some("{{ no yaml"), None),
            ("empty", Some(""), None),
            ("context", Some(at(1, "x")).as_deref(), Some("other")),
        ] {
            let error = refusal(name, text, context).await;
            assert_eq!(error.reason(), "Misconfigured", "{name}: {error}");
            assert!(error.to_string().contains("kubeconfig") && error.to_string().contains("hint:"), "{name}: {error}");
        }
    }

    #[tokio::test]
    async fn a_refused_connection_is_unavailable() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = refusal("refused", Some(&at(port, "x")), None).await;
        assert!(error.is_transient() && error.to_string().contains("cannot be reached"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_never_answers_is_unavailable_in_time() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let path = kubeconfig("silent", &at(listener.local_addr().unwrap().port(), "x"));
        let cluster = KubeCluster::load(Some(&path), None).await.unwrap();
        let _ = std::fs::remove_file(&path);
        let cluster = cluster.with_request_timeout(Duration::from_millis(100));
        let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}});
        let error = cluster.resolve(&manifest).await.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("did not answer within 0.1 s"), "{error}");
        drop(listener);
    }

    #[tokio::test]
    async fn what_the_server_says_of_the_credentials_and_its_load_is_understood() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        for (answer, reason, pause) in [
            ("401 Unauthorized", "Unauthorized", None),
            ("429 Too Many Requests\r\nretry-after: 3", "Unavailable", Some(Duration::from_secs(3))),
            ("503 Service Unavailable", "Unavailable", None),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let served = tokio::spawn(async move {
                let (mut socket, _) = listener.accept().await.unwrap();
                let _ = socket.read(&mut [0; 4096]).await.unwrap();
                let text = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
                socket.write_all(text.as_bytes()).await.unwrap();
                let _ = socket.read(&mut [0; 4096]).await;
            });
            let error = refusal(reason, Some(&at(port, "x")), None).await;
            assert_eq!((error.reason(), error.retry_after()), (reason, pause), "{answer}: {error}");
            served.abort();
        }
    }

    fn sleep(time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }

    fn fresh(name: &str) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        format!("{name}-{}", now.as_millis() % 100_000_000)
    }

    #[tokio::test]
    #[ignore = "needs LIFELINE_TEST_KUBECONFIG: a real API server"]
    async fn the_real_api_server_conforms() {
        conformance::run(&real().await, &fresh("conform"), sleep, |name| println!("{name}")).await;
    }

    /// Every good manifest, spoiled in every way: the local cluster takes what the real one takes, and nothing else.
    #[tokio::test]
    #[ignore = "needs LIFELINE_TEST_KUBECONFIG: a real API server"]
    async fn the_local_cluster_judges_like_the_real_api_server() {
        let real = real().await;
        let local = LocalCluster::in_memory(1, Arc::new(|| jiff::Timestamp::from_second(1_800_000_000).unwrap()));
        let home = fresh("judge");
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": home}});
        let key = real.resolve(&namespace).await.unwrap();
        let made = real.apply(&key, &namespace, None).await.unwrap();
        local.apply(&key, &namespace, None).await.unwrap();
        let mut manifests = Vec::new();
        for good in manifest::good(&home, &home).into_iter().chain(manifest::guarded(&home, &home)) {
            let kind = good["kind"].as_str().unwrap_or_default().to_owned();
            if kind == "CustomResourceDefinition" {
                continue;
            }
            for (what, mut spoiled) in manifest::spoiled(&good) {
                spoiled["metadata"]["name"] = json!(format!("{home}-{}", manifests.len()));
                manifests.push((format!("{kind} {what}"), spoiled));
            }
        }
        let found = verdict::differences(&local, &real, &manifests).await;
        for difference in &found {
            println!("{}\n  local: {}\n  real: {}", difference.what, difference.first, difference.second);
        }
        real.delete(&key, &made.uid).await.unwrap();
        println!("{} of {} manifests differ", found.len(), manifests.len());
        assert!(found.is_empty());
    }
}
