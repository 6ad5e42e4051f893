//! How to reach NATS and what to read there: Sveltos' connection JSON, a file holding it, or a plain URL.
//!
//! Start at [`Connection::parse`]. The JSON is the content of the key `sveltos-nats` of the Secret of that name.
//! [`Server::connect`] makes one attempt and says what went wrong and what to do; [`Server::connect_patiently`] tries
//! until it works and says so meanwhile.
//!
//! No text holds a password: passwords are kept apart from URLs and print as `***`.

mod authorization;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use async_nats::rustls;
use async_nats::{Client, ClientError, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use tokio::sync::watch;

pub use self::authorization::Files;
use self::authorization::{Authorization, Hidden};
use super::Error;
use super::subjects::{self, Wanted, WantedStream};
use crate::error_text::one_line;

/// The form of the connection settings.
const EXAMPLE: &str = r#"`{"nats": {"configuration": {"url": "nats://HOST:4222", "subjects": ["orders"]}}}`"#;

/// Longest pause between two attempts to connect.
const RETRY_MAX: Duration = Duration::from_secs(4);

/// Everything the settings say about NATS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// One server (or cluster of servers), or two when `nats` and `jetstream` name different ones.
    pub servers: Vec<Server>,
    /// What was written but means nothing here.
    pub warnings: Vec<String>,
}

/// A NATS server or cluster, how to get in, and what to read there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Comma-separated where there are several; without credentials.
    pub url: String,
    /// Where it was written, for messages: a file, a Secret, a flag.
    pub origin: String,
    /// Where its authorization is written, for messages.
    remedy: String,
    authorization: Authorization,
    /// The JetStream domain of its streams; `None` for the server's own.
    pub domain: Option<String>,
    /// What to read there.
    pub wanted: Wanted,
}

/// The state of a connection; changes whenever it is lost or found, so that a reader can look again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionState {
    /// Whether the connection is up.
    pub up: bool,
    /// Times it was made; grows with each reconnect.
    pub connects: u64,
    /// The last complaint of server or client since the connection was made, such as an authorization violation.
    pub trouble: String,
    /// The last right that the server refused on this connection; `None` while it refused none.
    pub denied: Option<String>,
    /// Times that the client dropped a message because a subscription was full, at least; grows.
    pub slow: u64,
}

/// An attempt that failed, before the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The server, without credentials.
    pub url: String,
    /// From 1.
    pub number: u64,
    /// Why, on one line.
    pub reason: String,
    /// What to do about it; empty when there is nothing to say.
    pub hint: String,
}

impl fmt::Display for Attempt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "waiting for NATS at {}, attempt {}: {}", self.url, self.number, self.reason)
    }
}

impl Connection {
    /// Reads what a person gave: a URL (`nats://...`, `tls://...`), else the path of a file with the JSON.
    ///
    /// `subjects` go with a URL; with a file they are read in addition to those it names. With a URL and no subjects
    /// every stream is read, those that appear later too.
    ///
    /// # Errors
    /// When the file cannot be read, or is wrong: all mistakes at once.
    pub fn from_argument(argument: &str, subjects: &[String]) -> Result<Connection, Error> {
        if argument.contains("://") {
            return Connection::from_url(argument, "--nats", subjects);
        }
        let text = std::fs::read_to_string(Path::new(argument)).map_err(|cause| {
            let (argument, is_absent) = (argument.to_owned(), cause.kind() == std::io::ErrorKind::NotFound);
            let is_server = argument.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            if is_absent && is_server {
                Error::NoScheme { argument }
            } else {
                Error::Unreadable { path: argument, cause }
            }
        })?;
        let mut connection = Connection::parse(&text, argument)?;
        if !subjects.is_empty() {
            let mut mistakes = Mistakes::default();
            mistakes.subjects("--subjects", subjects);
            mistakes.into_result("--subjects")?;
            if let Some(server) = connection.servers.first_mut() {
                server.wanted.subjects.extend(subjects.iter().cloned());
            }
        }
        Ok(connection)
    }

    /// A plain URL, credentials and all.
    ///
    /// # Errors
    /// When it is no URL of NATS, or a subject is none.
    pub fn from_url(url: &str, origin: &str, subjects: &[String]) -> Result<Connection, Error> {
        let mut mistakes = Mistakes::default();
        let mut authorization = Authorization::default();
        let url = mistakes.url(origin, url, &mut authorization);
        mistakes.subjects("--subjects", subjects);
        mistakes.into_result(origin)?;
        let wanted = Wanted { subjects: subjects.to_vec(), streams: Vec::new() };
        let server = Server {
            url,
            origin: origin.to_owned(),
            remedy: format!("`the URL's user and password` in {origin}"),
            authorization,
            domain: None,
            wanted,
        };
        Ok(Connection { servers: vec![server], warnings: Vec::new() })
    }

    /// The JSON of the Secret `sveltos-nats`. `origin` says where it came from, for messages.
    ///
    /// # Errors
    /// All mistakes at once, each with its field.
    pub fn parse(text: &str, origin: &str) -> Result<Connection, Error> {
        let mut mistakes = Mistakes::default();
        let root: Value = match serde_json::from_str(text) {
            Ok(root) => root,
            Err(error) => {
                // serde_json's message holds position and expectation, never the content.
                mistakes.add("", &format!("this is not JSON: {error}\nhint: expected the form of Sveltos, {EXAMPLE}"));
                mistakes.into_result(origin)?;
                unreachable!("a mistake was added")
            }
        };
        let mut servers: Vec<Server> = Vec::new();
        if let Some(root) = mistakes.object("", &root, &["nats", "jetstream"]) {
            for kind in ["nats", "jetstream"] {
                if let Some(server) = root.get(kind).and_then(|part| mistakes.server(kind, part, origin)) {
                    match servers.first_mut() {
                        Some(first)
                            if first.url == server.url
                                && first.authorization == server.authorization
                                && first.domain == server.domain =>
                        {
                            first.wanted.subjects.extend(server.wanted.subjects);
                            first.wanted.streams.extend(server.wanted.streams);
                        }
                        _ => servers.push(server),
                    }
                }
            }
            if !root.contains_key("nats") && !root.contains_key("jetstream") {
                mistakes.add("nats", "is missing, and so is `jetstream`; one of them is needed");
            }
        }
        let warnings = std::mem::take(&mut mistakes.warnings);
        mistakes.into_result(origin)?;
        Ok(Connection { servers, warnings })
    }
}

/// Collects mistakes, so that all are reported at once.
#[derive(Default)]
struct Mistakes {
    mistakes: Vec<String>,
    warnings: Vec<String>,
}

impl Mistakes {
    fn add(&mut self, field: &str, complaint: &str) {
        self.mistakes.push(if field.is_empty() { complaint.to_owned() } else { format!("`{field}` {complaint}") });
    }

    fn into_result(self, origin: &str) -> Result<(), Error> {
        if self.mistakes.is_empty() {
            return Ok(());
        }
        Err(Error::Settings { origin: origin.to_owned(), mistakes: self.mistakes })
    }

    /// An object in which an unknown name cannot change whom we connect to, unless it is a known one mistyped.
    fn object<'a>(&mut self, field: &str, value: &'a Value, known: &[&str]) -> Option<&'a Map<String, Value>> {
        self.fields(field, value, known, false)
    }

    /// An object that decides whom we connect to and as whom: an unknown name in it is a mistake, for it may be meant to.
    fn strict_object<'a>(&mut self, field: &str, value: &'a Value, known: &[&str]) -> Option<&'a Map<String, Value>> {
        self.fields(field, value, known, true)
    }

    fn fields<'a>(
        &mut self,
        field: &str,
        value: &'a Value,
        known: &[&str],
        is_strict: bool,
    ) -> Option<&'a Map<String, Value>> {
        let Value::Object(object) = value else {
            self.add(field, "is not a JSON object");
            return None;
        };
        let prefix = if field.is_empty() { String::new() } else { format!("{field}.") };
        for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
            let closest =
                known.iter().map(|known| (strsim::osa_distance(&name.to_lowercase(), &known.to_lowercase()), known));
            let closest = closest.min().filter(|(distance, _)| *distance <= (name.len() / 3).max(1));
            match closest {
                Some((_, known)) => self.add(&format!("{prefix}{name}"), &format!("is no field; write `{known}`")),
                None if is_strict => {
                    let known = known.join(", ");
                    self.add(&format!("{prefix}{name}"), &format!("is no field, expected one of: {known}"));
                }
                None => {
                    let known = known.join(", ");
                    self.warnings.push(format!("unknown field `{prefix}{name}`, expected one of: {known}"));
                }
            }
        }
        Some(object)
    }

    fn text<'a>(&mut self, field: &str, value: Option<&'a Value>) -> Option<&'a str> {
        match value? {
            Value::String(text) if !text.is_empty() => Some(text),
            Value::String(_) | Value::Null => None,
            _ => {
                self.add(field, "is not a string");
                None
            }
        }
    }

    fn texts(&mut self, field: &str, value: Option<&Value>) -> Vec<String> {
        match value {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items
                .iter()
                .enumerate()
                .filter_map(|(index, item)| match item {
                    Value::String(text) => Some(text.clone()),
                    _ => {
                        self.add(&format!("{field}[{index}]"), "is not a string");
                        None
                    }
                })
                .collect(),
            Some(_) => {
                self.add(field, "is not a list of strings");
                Vec::new()
            }
        }
    }

    fn subjects(&mut self, field: &str, subjects: &[String]) {
        for (index, subject) in subjects.iter().enumerate() {
            if let Some(complaint) = subjects::complaint(subject) {
                self.add(&format!("{field}[{index}]"), &format!("is `{subject}`, {complaint}"));
            }
        }
        if let Some((one, other)) = subjects::overlapping(subjects) {
            self.add(
                field,
                &format!("has `{one}` and `{other}`, which overlap in part; a consumer cannot filter by both"),
            );
        }
    }

    /// Checks and cleans a comma-separated list of URLs; credentials go into `authorization`.
    fn url(&mut self, field: &str, url: &str, authorization: &mut Authorization) -> String {
        let mut clean = Vec::new();
        for one in url.split(',').map(str::trim) {
            let address = one.parse::<ServerAddr>().ok();
            let Some(address) = address.filter(|address| !address.host().is_empty()) else {
                // The text may hold a password, which is not repeated in a complaint.
                let shown = if one.contains('@') { String::new() } else { format!(" but `{one}`") };
                self.add(
                    field,
                    &format!(
                        "is not a URL of NATS{shown}, expected `nats://host:4222`, `tls://host:4222` or `wss://host`"
                    ),
                );
                continue;
            };
            match (address.username(), address.password()) {
                (Some(user), Some(password)) => {
                    authorization.user.get_or_insert((decoded(user), Hidden(decoded(password))));
                }
                // As everywhere in NATS, a lone user is a token.
                (Some(token), None) => {
                    authorization.token.get_or_insert(Hidden(decoded(token)));
                }
                (None, _) => {}
            }
            if address.is_websocket() {
                // What is behind the host belongs to the address of a WebSocket.
                let mut url = address.into_inner();
                // Refused only for a URL without a host.
                let _ = (url.set_username(""), url.set_password(None));
                clean.push(url.to_string());
                continue;
            }
            let host = address.host();
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            clean.push(format!("{}://{host}:{}", address.scheme(), address.port()));
        }
        let websockets = clean.iter().filter(|url| url.starts_with("ws")).count();
        if websockets > 0 && websockets < clean.len() {
            self.add(field, "mixes `ws://` or `wss://` with `nats://` or `tls://`; a client speaks one of the two");
        }
        clean.join(",")
    }

    fn server(&mut self, kind: &str, part: &Value, origin: &str) -> Option<Server> {
        let field = format!("{kind}.configuration");
        let part = self.strict_object(kind, part, &["configuration"])?;
        let Some(configuration) = part.get("configuration") else {
            self.add(&field, "is missing, expected an object with `url` and `subjects` or `streams`");
            return None;
        };
        let known: &[&str] = match kind {
            "nats" => &["url", "subjects", "authorization", "domain"],
            _ => &["url", "streams", "subjects", "authorization", "domain"],
        };
        let configuration = self.strict_object(&field, configuration, known)?;
        let mut authorization = match configuration.get("authorization") {
            None | Some(Value::Null) => Authorization::default(),
            Some(value) => self.authorization(&format!("{field}.authorization"), value),
        };
        let url = match self.text(&format!("{field}.url"), configuration.get("url")) {
            Some(url) => self.url(&format!("{field}.url"), url, &mut authorization),
            None => {
                self.add(&format!("{field}.url"), "is missing or empty, expected `nats://host:4222`");
                String::new()
            }
        };
        let names = self.texts(&format!("{field}.subjects"), configuration.get("subjects"));
        let mut wanted = Wanted::default();
        if kind == "nats" {
            self.subjects(&format!("{field}.subjects"), &names);
            wanted.subjects = names;
            if wanted.subjects.is_empty() {
                self.add(&format!("{field}.subjects"), "names no subject");
            }
        } else {
            // The older form: each entry of `subjects` is the name of a stream.
            wanted.streams = names.into_iter().map(|name| WantedStream { name, subjects: Vec::new() }).collect();
            self.streams(&format!("{field}.streams"), configuration.get("streams"), &mut wanted.streams);
            if wanted.streams.is_empty() {
                self.add(&format!("{field}.streams"), "names no stream");
            }
        }
        let domain = self.text(&format!("{field}.domain"), configuration.get("domain")).map(str::to_owned);
        if let Some(name) = domain.as_deref().filter(|name| name.contains(['.', '*', '>', ' '])) {
            self.add(&format!("{field}.domain"), &format!("is `{name}`, which cannot name a JetStream domain"));
        }
        let remedy = format!("`{field}.authorization` in {origin}");
        Some(Server { url, origin: origin.to_owned(), remedy, authorization, domain, wanted })
    }

    fn streams(&mut self, field: &str, value: Option<&Value>, streams: &mut Vec<WantedStream>) {
        let items = match value {
            None | Some(Value::Null) => return,
            Some(Value::Array(items)) => items,
            Some(_) => return self.add(field, "is not a list"),
        };
        for (index, item) in items.iter().enumerate() {
            let field = format!("{field}[{index}]");
            let Some(item) = self.object(&field, item, &["name", "subjects"]) else { continue };
            let subjects = self.texts(&format!("{field}.subjects"), item.get("subjects"));
            self.subjects(&format!("{field}.subjects"), &subjects);
            match self.text(&format!("{field}.name"), item.get("name")) {
                Some(name) if name.contains(['.', '*', '>', ' ', '\t', '/', '\\']) => {
                    self.add(&format!("{field}.name"), &format!("is `{name}`, which cannot name a stream"));
                }
                Some(name) => streams.push(WantedStream { name: name.to_owned(), subjects }),
                None => self.add(&format!("{field}.name"), "is missing or empty"),
            }
        }
    }
}

impl Server {
    /// One attempt to connect. Once it is up, the connection is made again by itself after a loss; [`ConnectionState`] reports
    /// that.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unreachable`], [`Error::Dns`], [`Error::Tls`].
    pub async fn connect(&self) -> Result<(Client, watch::Receiver<ConnectionState>), Error> {
        let (sender, mut link) = watch::channel(ConnectionState::default());
        let mut options = ConnectOptions::new()
            .name("lifeline")
            .connection_timeout(Duration::from_secs(5))
            .retain_servers_order()
            .reconnect_delay_callback(|attempts| pause(attempts as u64))
            .event_callback(move |event| {
                handle_event(&sender, &event);
                std::future::ready(())
            });
        let auth = &self.authorization;
        if let Some((user, password)) = &auth.user {
            options = options.user_and_password(user.clone(), password.0.clone());
        }
        if let Some(token) = &auth.token {
            options = options.token(token.0.clone());
        }
        if let Some(credentials) = &auth.credentials {
            // Judged when it was read.
            options = options.credentials(&credentials.0).map_err(|_| self.refused())?;
        }
        if let Some(nkey) = &auth.nkey {
            options = options.nkey(nkey.0.clone());
        }
        let tls = |cause| Error::Tls { url: self.url.clone(), origin: self.origin.clone(), cause };
        if let Some(config) = auth.tls().map_err(tls)? {
            options = options.tls_client_config(config).require_tls(true);
        }
        let addresses: Vec<&str> = self.url.split(',').collect();
        match options.connect(addresses).await {
            Ok(client) => {
                // The event of the first connect comes a moment later; unseen, it would look like a reconnect.
                let _ = tokio::time::timeout(Duration::from_secs(1), link.wait_for(|link| link.up)).await;
                Ok((client, link))
            }
            Err(cause) => Err(self.explain(cause)),
        }
    }

    /// Connects, however long it takes. `report` hears of each attempt that failed.
    pub async fn connect_patiently(
        &self,
        mut report: impl FnMut(&Attempt),
    ) -> (Client, watch::Receiver<ConnectionState>) {
        let mut number = 0;
        loop {
            match self.connect().await {
                Ok(connected) => return connected,
                Err(error) => {
                    number += 1;
                    let text = error.to_string();
                    let hint = text.lines().find_map(|line| line.strip_prefix("hint: ")).unwrap_or_default();
                    report(&Attempt { url: self.url.clone(), number, reason: reason(&error), hint: hint.to_owned() });
                    tokio::time::sleep(pause(number + 5)).await;
                }
            }
        }
    }

    fn refused(&self) -> Error {
        Error::Refused { url: self.url.clone(), who: self.authorization.who(), remedy: self.remedy.clone() }
    }

    fn explain(&self, cause: async_nats::ConnectError) -> Error {
        let (url, origin) = (self.url.clone(), self.origin.clone());
        match cause.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => self.refused(),
            ConnectErrorKind::Dns => Error::Dns { url, origin, cause },
            ConnectErrorKind::Tls => Error::Tls { url, origin, cause: Box::new(cause) },
            _ if speaks_of_tls(&cause) => Error::Tls { url, origin, cause: Box::new(cause) },
            _ => Error::Unreachable { url, origin, cause },
        }
    }
}

/// The part of an error that says why, without what the reader of the status knows already.
fn reason(error: &Error) -> String {
    match error {
        Error::Refused { who, .. } => format!("authorization violation for {who}"),
        Error::Unreachable { cause, .. } | Error::Dns { cause, .. } => {
            std::error::Error::source(cause).map_or_else(|| cause.to_string(), |root| root.to_string())
        }
        other => one_line(other),
    }
}

/// A failed handshake comes as an input/output error with rustls' error inside.
fn speaks_of_tls(cause: &(dyn std::error::Error + 'static)) -> bool {
    let mut current = Some(cause);
    while let Some(error) = current {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if inner.is_some_and(|inner| inner.is::<rustls::Error>()) || error.is::<rustls::Error>() {
            return true;
        }
        current = error.source();
    }
    false
}

/// Waits until a client has ended. `link` is the state that [`Server::connect`] gave with it. A client ends only when the library
/// panics, which a message can cause: for example one with a lone carriage return in the value of a header. Then connect again.
pub async fn ended(mut link: watch::Receiver<ConnectionState>) {
    while link.changed().await.is_ok() {}
}

fn handle_event(link: &watch::Sender<ConnectionState>, event: &Event) {
    match event {
        Event::Connected => link.send_modify(|link| {
            let (connects, slow) = (link.connects + 1, link.slow);
            *link = ConnectionState { up: true, connects, slow, ..ConnectionState::default() };
        }),
        Event::Disconnected | Event::Closed => link.send_modify(|link| {
            link.up = false;
            link.trouble = "disconnected".to_owned();
        }),
        Event::ServerError(error) => {
            tracing::warn!(%error, "the NATS server refuses something, or has trouble");
            link.send_if_modified(|link| {
                link.trouble = error.to_string();
                if link.trouble.to_ascii_lowercase().contains("permissions violation") {
                    link.denied = Some(link.trouble.clone());
                }
                !link.up
            });
        }
        Event::ClientError(error) => {
            tracing::debug!(%error, "NATS client complains");
            link.send_if_modified(|link| {
                link.trouble = complaint(error);
                !link.up
            });
        }
        Event::SlowConsumer(subscription) => {
            tracing::warn!(subscription, "the NATS client dropped a message; from a stream it is delivered again");
            // Silent: a reader takes every change for a connection that was lost.
            link.send_if_modified(|link| {
                link.slow += 1;
                false
            });
        }
        Event::LameDuckMode => tracing::info!("NATS server is about to shut down"),
        Event::Draining => {}
    }
}

/// What the client says while it tries to connect again. It keeps the cause of an input/output error to itself.
fn complaint(error: &ClientError) -> String {
    match error {
        ClientError::Other(text) if *text == ConnectErrorKind::Io.to_string() => {
            "the connection was lost and the server cannot be reached".to_owned()
        }
        ClientError::Other(text) => text.clone(),
        ClientError::MaxReconnects | ClientError::ServerNotInPool => error.to_string(),
    }
}

/// Pause before an attempt: at once at first, then doubling up to [`RETRY_MAX`].
fn pause(attempts: u64) -> Duration {
    match attempts {
        0 | 1 => Duration::ZERO,
        many => Duration::from_millis(2_u64.saturating_pow(u32::try_from(many).unwrap_or(u32::MAX))).min(RETRY_MAX),
    }
}

/// Undoes percent-encoding; what is none stays as it is.
fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_its_scheme_is_told_from_a_file_that_is_not_there() {
        let check = |argument: &str, expected: &str| {
            let error = Connection::from_argument(argument, &[]).expect_err("there is no such file").to_string();
            assert!(error.contains(expected), "{argument}: {error}");
        };
        check("localhost:4222", "`nats://localhost:4222`");
        check("10.0.0.1:4222", "`nats://10.0.0.1:4222`");
        check("/nonexist/connection.json", "cannot be read");
        check("connection:json", "cannot be read");
    }

    /// The first example of the Sveltos documentation.
    const SEED: &str = r#"{
      "nats": { "configuration": {
        "url": "nats://nats.nats.svc.cluster.local:4222",
        "subjects": ["test", "foo"],
        "authorization": { "user": { "user": "admin", "password": "my-password" } }
      } }
    }"#;

    fn user(name: &str, password: &str) -> Option<(String, Hidden)> {
        Some((name.to_owned(), Hidden(password.to_owned())))
    }

    #[test]
    fn the_seeds_secret_is_accepted_as_it_is() {
        let connection = Connection::parse(SEED, "sveltos-nats").unwrap();
        let [server] = connection.servers.as_slice() else { panic!("{connection:?}") };
        assert_eq!(server.url, "nats://nats.nats.svc.cluster.local:4222");
        assert_eq!(server.wanted.subjects, ["test", "foo"]);
        assert_eq!(server.authorization.user, user("admin", "my-password"));
        assert!(connection.warnings.is_empty());
    }

    #[test]
    fn streams_are_named_in_the_new_and_the_older_form() {
        #[track_caller]
        fn check(configuration: &str, expected: &[(&str, &[&str])]) {
            let text = format!(r#"{{"jetstream":{{"configuration":{{"url":"nats://n:4222",{configuration}}}}}}}"#);
            let connection = Connection::parse(&text, "test").unwrap();
            let streams: Vec<(&str, Vec<&str>)> = connection.servers[0]
                .wanted
                .streams
                .iter()
                .map(|stream| (stream.name.as_str(), stream.subjects.iter().map(String::as_str).collect()))
                .collect();
            let expected: Vec<(&str, Vec<&str>)> =
                expected.iter().map(|(name, subjects)| (*name, subjects.to_vec())).collect();
            assert_eq!(streams, expected);
        }
        check(r#""streams":[{"name":"A","subjects":["a.*"]},{"name":"B"}]"#, &[("A", &["a.*"]), ("B", &[])]);
        check(r#""subjects":["OLD"]"#, &[("OLD", &[])]);
    }

    #[test]
    fn nats_and_jetstream_on_one_server_are_one_connection() {
        #[track_caller]
        fn check(second_url: &str, servers: usize) {
            let text = format!(
                r#"{{"nats":{{"configuration":{{"url":"nats://n:4222","subjects":["a"]}}}},
                    "jetstream":{{"configuration":{{"url":"{second_url}","streams":[{{"name":"S"}}]}}}}}}"#
            );
            assert_eq!(Connection::parse(&text, "test").unwrap().servers.len(), servers, "{second_url}");
        }
        check("nats://n:4222", 1);
        check("nats://n", 1);
        check("nats://m:4222", 2);
    }

    #[test]
    fn credentials_leave_the_url() {
        #[track_caller]
        fn check(url: &str, clean: &str, name: Option<(String, Hidden)>, token: Option<&str>) {
            let server = Connection::from_url(url, "test", &[]).unwrap().servers.remove(0);
            assert_eq!(server.url, clean);
            assert_eq!(server.authorization.user, name, "{url}");
            assert_eq!(server.authorization.token, token.map(|token| Hidden(token.to_owned())), "{url}");
        }
        check("nats://me:s%40cret@n:4222", "nats://n:4222", user("me", "s@cret"), None);
        check("nats://token@n", "nats://n:4222", None, Some("token"));
        check("tls://[::1]:5,nats://b", "tls://[::1]:5,nats://b:4222", None, None);
    }

    #[test]
    fn a_password_is_never_printed() {
        let connection = Connection::parse(SEED, "sveltos-nats").unwrap();
        assert!(!format!("{connection:?}").contains("my-password"));
        let wrong = Connection::from_url("htp://me:my-password@n:x", "--nats", &[]).unwrap_err();
        assert!(!format!("{wrong}{wrong:?}").contains("my-password"), "{wrong}");
    }

    #[test]
    fn all_mistakes_are_told_at_once_with_their_fields() {
        #[track_caller]
        fn check(text: &str, expected: &[&str]) {
            let Err(Error::Settings { mistakes, .. }) = Connection::parse(text, "conf.json") else {
                panic!("accepted: {text}");
            };
            assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
            for (mistake, expected) in mistakes.iter().zip(expected) {
                assert!(mistake.contains(expected), "`{mistake}` lacks `{expected}`");
            }
        }
        check("{", &["this is not JSON"]);
        check("[]", &["not a JSON object"]);
        check("{}", &["`nats` is missing"]);
        check(r#"{"nats":{}}"#, &["`nats.configuration` is missing"]);
        check(
            r#"{"nats":{"configuration":{"subjects":["a b", 3],"authorization":{"user":{"password":"p"},
                "token":7,"clientCert":{"certPem":"no"},"rootCA":"%%"}}}}"#,
            &[
                "`nats.configuration.authorization.user.user` is missing",
                "`nats.configuration.authorization.token` is not a string",
                "`nats.configuration.authorization` has `user` and `token`",
                "`nats.configuration.authorization.clientCert.certPem` holds no certificate",
                "`nats.configuration.authorization.rootCA` holds no certificate",
                "`nats.configuration.url` is missing",
                "`nats.configuration.subjects[1]` is not a string",
                "`nats.configuration.subjects[0]` is `a b`, expected no spaces",
            ],
        );
        check(
            r#"{"jetstream":{"configuration":{"url":"http://n","streams":[{"name":"a.b"},{}]}}}"#,
            &[
                "`jetstream.configuration.url` is not a URL of NATS",
                "`jetstream.configuration.streams[0].name` is `a.b`",
                "`jetstream.configuration.streams[1].name` is missing",
                "`jetstream.configuration.streams` names no stream",
            ],
        );
        check(r#"{"nats":{"configuration":{"url":"nats://n","subjects":["a.*","*.b"]}}}"#, &["overlap in part"]);
    }

    #[test]
    fn unknown_fields_are_warned_of_unless_they_may_say_whom_we_connect_to() {
        let parse = |root: &str, configuration: &str| {
            let text = format!(
                r#"{{{root}"jetstream":{{"configuration":{{"url":"nats://n","streams":[{{"name":"S","retention":1}}]{configuration}}}}}}}"#
            );
            Connection::parse(&text, "test")
        };
        let warnings = parse(r#""kafka":{},"#, "").unwrap().warnings;
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("`kafka`") && warnings[1].contains("retention"), "{warnings:?}");
        let refused = |root: &str, configuration: &str, expected: &str| {
            let text = parse(root, configuration).expect_err(expected).to_string();
            assert!(text.contains(expected), "{text}");
        };
        refused(r#""nat":{},"#, "", "`nat` is no field; write `nats`");
        refused("", r#","subject":["b"]"#, "`jetstream.configuration.subject` is no field; write `subjects`");
        refused("", r#","tls":{}"#, "`jetstream.configuration.tls` is no field");
        refused("", r#","authorisation":{}"#, "write `authorization`");
        refused("", r#","authorization":{"passwd":"x"}"#, "`jetstream.configuration.authorization.passwd`");
        refused("", r#","authorization":{"user":{"user":"u","pasword":"x"}}"#, "write `password`");
        refused("", r#","authorization":{"clientCert":{"cert":"x"}}"#, "authorization.clientCert.cert`");
        refused("", r#","authorization":{"token":"t","user":{"user":"u"}}"#, "has `user` and `token`");
        refused("", r#","authorization":{"jwt":"t"}"#, "`nkey`, the seed to sign with, is missing");
        refused("", r#","authorization":{"nkey":"secret"}"#, "nkey` holds no seed");
        refused("", r#","domain":"a.b""#, "cannot name a JetStream domain");
    }

    #[test]
    fn websockets_keep_their_paths_and_do_not_mix() {
        let parse = |url: &str| Connection::from_url(url, "test", &[]);
        let server = parse("wss://me:secret@n/nats").unwrap().servers.remove(0);
        assert_eq!((server.url.as_str(), server.authorization.user), ("wss://n/nats", user("me", "secret")));
        assert!(parse("ws://a,nats://b").is_err_and(|error| error.to_string().contains("mixes")));
    }

    #[test]
    fn percent_escapes_are_undone_once() {
        assert_eq!(decoded("a%40b%2540%zz%"), "a@b%40%zz%");
    }

    #[tokio::test]
    async fn a_missing_server_is_named_with_its_reason() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("nats://me:secret@127.0.0.1:{port}");
        let server = Connection::from_url(&url, "--nats", &[]).unwrap().servers.remove(0);
        let error = server.connect().await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        let mut attempts = Vec::new();
        let _ = tokio::time::timeout(
            Duration::from_millis(500),
            server.connect_patiently(|attempt| attempts.push(attempt.clone())),
        )
        .await;
        assert!(attempts.len() >= 2, "{attempts:?}");
        let text = attempts[1].to_string();
        assert!(text.starts_with(&format!("waiting for NATS at nats://127.0.0.1:{port}, attempt 2: ")), "{text}");
        assert!(text.to_lowercase().contains("connection refused"), "{text}");
        assert!(!attempts[1].hint.is_empty());
    }

    #[tokio::test]
    async fn a_name_that_means_nothing_is_a_matter_of_dns() {
        let server = Connection::from_url("nats://no-such-host.invalid", "--nats", &[]).unwrap().servers.remove(0);
        let error = server.connect().await.unwrap_err();
        assert!(matches!(error, Error::Dns { .. }), "{error:?}");
    }
}
