//! Asking: a running engine over HTTP, or the folder of a stopped one.
//!
//! Start at [`Client::open`]. Both are asked the same questions and answer through the same router, so an answer does
//! not depend on where it came from. A folder is only read: its log is folded in memory, and not a byte of it changes.
//! An engine that still rebuilds its state is waited for, where somebody watches.

pub(crate) mod patience;
pub(crate) mod server;
pub(crate) mod sse;
pub(crate) mod stopped;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt;
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Request, StatusCode};
use lifeline_engine::clock::SystemClock;
use lifeline_engine::preview::Planner;
use lifeline_engine::queries::Queries;
use lifeline_engine::view::View;
use lifeline_projections::as_of::{self, Moment};
use lifeline_projections::reads::List;
use lifeline_store::{OsDisk, Reader};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt;

use self::patience::Patience;
pub use self::server::Server;
use self::server::{URI_BYTES_MAX, body, check_length, post, send};
use crate::api::problem::Problem;
use crate::api::{ApiState, TIME_HEADER, parameters};
use crate::data;
use crate::tls;

/// Rows asked for at once.
pub(crate) const PAGE_ROWS_ASKED: usize = 1_000;

/// How often it is looked how far an answer is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was typed makes no sense together.
    #[error("{0}")]
    Usage(String),
    /// What a command was to work on, beside an engine, cannot be read.
    #[error("{0}")]
    Given(String),
    /// Not an address that can be asked.
    #[error("server `{server}` is no address\nhint: write it like `http://HOST:PORT` or `https://HOST:PORT`")]
    Server {
        /// What was given.
        server: String,
    },
    /// Nobody is there.
    #[error(
        "no engine answers at `{server}`\nhint: start one with `lifeline run`, name its address with `--server`, or the folder of a stopped one with `--data`"
    )]
    Connect {
        /// The address.
        server: String,
        /// What the network said.
        #[source]
        source: std::io::Error,
    },
    /// What is there speaks no TLS, or not for us.
    #[error("`{server}` cannot be asked over TLS: {reason}")]
    Tls {
        /// The address.
        server: String,
        /// Why, and the remedy as a hint.
        reason: String,
    },
    /// Whom to trust cannot be found out.
    #[error(transparent)]
    Trust(#[from] tls::Error),
    /// What is there speaks no HTTP.
    #[error(
        "`{server}` does not answer in HTTP\nhint: is it an engine? if it speaks TLS, ask it with `https://{server}`"
    )]
    NoHttp {
        /// The address.
        server: String,
        /// What happened.
        #[source]
        source: hyper::Error,
    },
    /// A bearer token would go over the network in plain text.
    #[error(
        "the bearer token is not sent to `{server}`: over plain HTTP everybody on the way can read and use it\nhint: ask with `https://` (the engine has \
         `--tls-cert`), ask on its own machine or through `kubectl port-forward`, or, where the way is protected otherwise, say `--token-over-http`"
    )]
    PlainToken {
        /// The address.
        server: String,
    },
    /// A source, subject or name of tens of thousands of bytes, which no URI has room for.
    #[error(
        "the question takes `{bytes}` bytes, and a URI has room for `{URI_BYTES_MAX}`\nhint: `lifeline get events` lists records by their offsets, whatever they are about"
    )]
    Long {
        /// How many it takes, encoded.
        bytes: usize,
    },
    /// Somebody is there, and it went wrong.
    #[error("asking `{server}` failed")]
    Http {
        /// The address.
        server: String,
        /// What happened.
        #[source]
        source: hyper::Error,
    },
    /// Somebody else is there, or another release.
    #[error("`{server}` answered `{path}` in a way that is not understood\nhint: is it an engine, of this release?")]
    Answer {
        /// Who.
        server: String,
        /// The question.
        path: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// What was given as a token is none. It is not shown: it may be one with a slip.
    #[error(
        "the bearer token is empty or has characters that no token has\nhint: look at `LIFELINE_TOKEN` or the file of `--token-file`"
    )]
    Token,
    /// The file with the token cannot be read.
    #[error("token file `{}` cannot be read\nhint: check the path in `--token-file` or `LIFELINE_TOKEN_FILE`", .path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Only what happens can be watched, and nothing happens in the folder of a stopped engine.
    #[error("data folder `{}` cannot be watched\nhint: nothing changes there; ask a running engine with `--server`", .data.display())]
    Still {
        /// The folder.
        data: PathBuf,
    },
    /// Somebody answers, but not with what happens.
    #[error("`{server}` cannot be watched: it answers with `{kind}`\nhint: is it an engine, of this release?")]
    NoEvents {
        /// Who.
        server: String,
        /// The content type.
        kind: String,
    },
    /// The engine says why not.
    #[error("{}{}", .0.0.detail, .0.0.hint.as_deref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default())]
    Problem(Problem),
    /// There is no log.
    #[error("there is no log in `{}`\nhint: name the folder that `lifeline run --data` was given", .data.display())]
    NoLog {
        /// The folder.
        data: PathBuf,
    },
    /// An engine has it.
    #[error("data folder `{}` is in use by a running engine\nhint: ask that engine with `--server`, or stop it first", .data.display())]
    InUse {
        /// The folder.
        data: PathBuf,
    },
    /// The log cannot be opened.
    #[error("the log in `{}` cannot be read", .data.display())]
    Log {
        /// The folder.
        data: PathBuf,
        /// Why.
        #[source]
        source: lifeline_store::Error,
    },
    /// The log cannot be folded.
    #[error("the log in `{}` gives no state", .data.display())]
    Fold {
        /// The folder.
        data: PathBuf,
        /// Why.
        #[source]
        source: as_of::Error,
    },
    /// Standard output failed.
    #[error("cannot write to standard output")]
    Output(#[source] std::io::Error),
    /// An answer cannot be written in the format asked for.
    #[error("the answer cannot be written: {0}")]
    Encode(String),
    /// The machine has no resources left for the little that asking takes.
    #[error("cannot start to ask")]
    Runtime(#[source] std::io::Error),
}

/// Someone to ask.
pub struct Client {
    runtime: tokio::runtime::Runtime,
    asked: Asked,
    patient: bool,
}

enum Asked {
    /// An engine.
    Server(Server),
    /// The state of a folder, and the folder.
    Folder(Router, PathBuf),
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Asked::Server(server) => server.fmt(f),
            Asked::Folder(_, data) => data.display().fmt(f),
        }
    }
}

/// A list over all its pages, with what its table says below.
pub struct Listed<T> {
    /// The rows, and the offset that the first page reflects.
    pub list: List<T>,
    /// When the last record that it reflects was written.
    pub time: Option<String>,
}

impl Client {
    /// The folder `data` where one is named, else the engine at `server`, which over TLS is trusted as this machine
    /// says.
    ///
    /// # Errors
    /// As [`Client::trusting`].
    pub fn open(data: Option<&Path>, server: &str) -> Result<Client, Error> {
        Client::trusting(data, server, None)
    }

    /// The same; over TLS an engine is trusted whose authority is in the file `ca`, where one is named.
    ///
    /// # Errors
    /// When the folder cannot be read, the address is none, or nobody could be trusted.
    pub fn trusting(data: Option<&Path>, server: &str, ca: Option<&Path>) -> Result<Client, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
        let asked = match data {
            Some(data) => Asked::Folder(folder(data)?, data.to_owned()),
            None => Asked::Server(Server::parse(server, ca)?),
        };
        Ok(Client { runtime, asked, patient: false })
    }

    /// The same, but waits for an engine that still rebuilds its state, when there is a terminal to say so.
    #[must_use]
    pub fn patient(self) -> Client {
        Client { patient: true, ..self }
    }

    /// The same, showing a bearer token. A folder is read by everybody who may read the files.
    ///
    /// # Errors
    /// When it can be no token.
    pub fn with_token(mut self, token: &str) -> Result<Client, Error> {
        let token = token.trim();
        let header = (!token.is_empty()).then(|| HeaderValue::try_from(format!("Bearer {token}")).ok()).flatten();
        let mut header = header.ok_or(Error::Token)?;
        header.set_sensitive(true);
        if let Asked::Server(server) = &mut self.asked {
            server.show(header);
        }
        Ok(self)
    }

    /// The same, showing the bearer token in a file.
    ///
    /// # Errors
    /// When the file cannot be read, or holds no token.
    pub fn with_token_in(self, path: &Path) -> Result<Client, Error> {
        let read = std::fs::read_to_string(path);
        let token = read.map_err(|source| Error::TokenFile { path: path.to_owned(), source })?;
        self.with_token(&token)
    }

    /// The same; the token also goes over plain HTTP to another machine.
    #[must_use]
    pub fn with_token_over_http(mut self) -> Client {
        if let Asked::Server(server) = &mut self.asked {
            server.show_over_http();
        }
        self
    }

    /// The engine.
    ///
    /// # Errors
    /// When a folder is asked.
    pub fn server(&self) -> Result<&Server, Error> {
        match &self.asked {
            Asked::Server(server) => Ok(server),
            Asked::Folder(_, data) => Err(Error::Still { data: data.clone() }),
        }
    }

    /// Does something until it ends or somebody presses Ctrl-C, which is an end like another: `None`.
    ///
    /// # Errors
    /// When Ctrl-C cannot be waited for.
    pub fn until_interrupted<T>(&self, work: impl Future<Output = T>) -> Result<Option<T>, Error> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                pressed = tokio::signal::ctrl_c() => pressed.map(|()| None).map_err(Error::Runtime),
                done = work => Ok(Some(done)),
            }
        })
    }

    /// Whether an engine that runs is asked.
    pub fn is_running(&self) -> bool {
        matches!(self.asked, Asked::Server(_))
    }

    /// One answer.
    pub fn get<T: DeserializeOwned>(&self, path: &str, query: &Query) -> Result<T, Error> {
        Ok(self.ask(path, query)?.0)
    }

    /// The same beside other work.
    pub(crate) async fn get_soon<T: DeserializeOwned>(&self, path: &str, query: &Query) -> Result<T, Error> {
        let path = format!("{path}{query}");
        let (status, _, body) = self.fetch(&path).await?;
        self.answered(&path, status, &body)
    }

    async fn fetch(&self, path: &str) -> Result<(StatusCode, Option<String>, Bytes), Error> {
        match &self.asked {
            Asked::Server(server) => over_http(server, path).await,
            Asked::Folder(router, _) => Ok(in_process(router.clone(), get(path)).await),
        }
    }

    /// Asks for something to be done, with a body of JSON. What is not answered is not asked again.
    ///
    /// # Errors
    /// When a folder is asked, or there is no answer.
    pub fn post<T: DeserializeOwned>(&self, path: &str, order: &impl Serialize) -> Result<T, Error> {
        self.server()?;
        let order = serde_json::to_vec(order).map_err(|error| Error::Encode(error.to_string()))?;
        let (status, bytes) = self.runtime.block_on(self.send_order(path, order.into()))?;
        self.answered(path, status, &bytes)
    }

    /// The same of an engine or a folder. While there is no answer, what a GET of the path gives is looked at now and then.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn post_and_look<T: DeserializeOwned, P: DeserializeOwned>(
        &self,
        path: &str,
        order: &impl Serialize,
        mut look: impl FnMut(P),
    ) -> Result<T, Error> {
        let order = serde_json::to_vec(order).map_err(|error| Error::Encode(error.to_string()))?;
        let (status, bytes) = self.runtime.block_on(async {
            let mut answer = std::pin::pin!(self.send_order(path, order.into()));
            loop {
                tokio::select! {
                    biased;
                    answer = &mut answer => return answer,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                tokio::select! {
                    biased;
                    answer = &mut answer => return answer,
                    looked = self.fetch(path) => {
                        let looked = looked.ok().and_then(|(.., body)| serde_json::from_slice(&body).ok());
                        looked.into_iter().for_each(&mut look);
                    }
                }
            }
        })?;
        self.answered(path, status, &bytes)
    }

    fn answered<T: DeserializeOwned>(&self, path: &str, status: StatusCode, bytes: &[u8]) -> Result<T, Error> {
        let answer = |source| Error::Answer { server: self.asked.to_string(), path: path.to_owned(), source };
        if status.is_success() {
            return serde_json::from_slice(bytes).map_err(answer);
        }
        Err(problem(bytes).map_or_else(answer, Error::Problem))
    }

    async fn send_order(&self, path: &str, order: Bytes) -> Result<(StatusCode, Bytes), Error> {
        let headers = [(header::CONTENT_TYPE, "application/json")];
        match &self.asked {
            Asked::Server(server) => {
                let response = post(server, path, &headers, order).await?;
                Ok((response.status(), body(server, response).await?))
            }
            Asked::Folder(router, _) => {
                let request = Request::post(path).header(header::CONTENT_TYPE, headers[0].1).body(Body::from(order));
                let (status, _, body) = in_process(router.clone(), request.expect("the path is encoded")).await;
                Ok((status, body))
            }
        }
    }

    /// A list, page by page, until it ends or has `limit` rows.
    pub fn all_pages<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query,
        limit: Option<usize>,
    ) -> Result<Listed<T>, Error> {
        let mut all: Option<Listed<T>> = None;
        loop {
            let rows = all.as_ref().map_or(0, |all| all.list.items.len());
            let page_rows = limit.map_or(PAGE_ROWS_ASKED, |limit| limit.saturating_sub(rows).min(PAGE_ROWS_ASKED));
            let mut query = query.clone();
            query.add("limit", page_rows);
            query.maybe("after", all.as_ref().and_then(|all| all.list.next.as_ref()));
            let (list, time): (List<T>, Option<String>) = self.ask(path, &query)?;
            let all = match &mut all {
                Some(all) => {
                    all.list.items.extend(list.items);
                    all.list.next = list.next;
                    all
                }
                None => all.insert(Listed { list, time }),
            };
            if all.list.next.is_none() || limit.is_some_and(|limit| all.list.items.len() >= limit) {
                break;
            }
        }
        Ok(all.expect("the loop asks at least once"))
    }

    fn ask<T: DeserializeOwned>(&self, path: &str, query: &Query) -> Result<(T, Option<String>), Error> {
        let path = format!("{path}{query}");
        let mut patience = self.patient.then(Patience::on_terminal).flatten();
        loop {
            let answer = self.ask_once(&path);
            if let (Err(Error::Problem(problem)), Some(patience)) = (&answer, &mut patience)
                && patience.lasts(problem)
            {
                patience.pause();
                continue;
            }
            return answer;
        }
    }

    fn ask_once<T: DeserializeOwned>(&self, path: &str) -> Result<(T, Option<String>), Error> {
        check_length(path)?;
        let (status, time, body) = self.runtime.block_on(self.fetch(path))?;
        Ok((self.answered(path, status, &body)?, time))
    }
}

/// The problem document of an answer that is none.
pub(crate) fn problem(body: &[u8]) -> Result<Problem, serde_json::Error> {
    let mut problem: Problem = serde_json::from_slice(body)?;
    if problem.0.status == StatusCode::UNAUTHORIZED.as_u16() {
        // The API's own hint speaks of headers.
        let hint = "name the file that holds the token with `--token-file`, or set `LIFELINE_TOKEN`";
        problem.0.hint = Some(hint.to_owned());
    }
    Ok(problem)
}

async fn over_http(server: &Server, path: &str) -> Result<(StatusCode, Option<String>, Bytes), Error> {
    let response = send(server, path, &[]).await?;
    let (status, time) = (response.status(), time_of(response.headers()));
    Ok((status, time, body(server, response).await?))
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).expect("the path is encoded")
}

async fn in_process(router: Router, request: Request<Body>) -> (StatusCode, Option<String>, Bytes) {
    let Ok(response) = router.oneshot(request).await;
    let (status, time) = (response.status(), time_of(response.headers()));
    let body = response.into_body().collect().await.map(|body| body.to_bytes());
    (status, time, body.unwrap_or_default())
}

fn time_of(headers: &hyper::HeaderMap) -> Option<String> {
    headers.get(&TIME_HEADER)?.to_str().ok().map(str::to_owned)
}

/// The state of a stopped engine, ready to be asked.
fn folder(data: &Path) -> Result<Router, Error> {
    let path = data::log(data);
    if !path.is_dir() {
        return Err(Error::NoLog { data: data.to_owned() });
    }
    let opened = OsDisk::open_read_only(&path).and_then(|disk| Reader::open(disk, &data::log_options()));
    let (log, _) = opened.map_err(|error| match error {
        lifeline_store::Error::Locked { .. } => Error::InUse { data: data.to_owned() },
        source => Error::Log { data: data.to_owned(), source },
    })?;
    let fold = |source| Error::Fold { data: data.to_owned(), source };
    let projection = as_of::projection(&log, Moment::Offset(log.end())).map_err(fold)?;
    let status = stopped::status(&projection, &log);
    let status = Arc::new(move || status.clone());
    let view = View::new(projection, log);
    let router = crate::api::router(ApiState {
        queries: Queries::new(view.clone(), Arc::new(SystemClock)),
        status,
        stop: tokio::sync::watch::channel(false).1,
    });
    Ok(crate::api::plan::with_plan(router, Arc::new(Planner::of_stopped(view))))
}

/// The parameters of a question.
#[derive(Debug, Clone, Default)]
pub struct Query(String);

impl std::fmt::Display for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Query {
    /// Adds a parameter.
    pub fn add(&mut self, name: &str, value: impl ToString) {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        self.0.extend(parameters::encode(&value.to_string()));
    }

    /// Forgets all parameters.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a parameter that was given.
    pub fn maybe(&mut self, name: &str, value: Option<&impl ToString>) {
        if let Some(value) = value {
            self.add(name, value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_encoded_byte_by_byte() {
        let mut query = Query::default();
        query.add("source", "https://a/b?c&d=é");
        query.maybe("subject", None::<&String>);
        query.add("limit", 5);
        assert_eq!(query.0, "?source=https%3A%2F%2Fa%2Fb%3Fc%26d%3D%C3%A9&limit=5");
    }

    #[test]
    fn a_token_is_read_from_its_file_or_the_file_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let check = |content: Option<&str>, expected: Option<&str>| {
            let path = folder.path().join("token");
            match content {
                Some(content) => std::fs::write(&path, content).expect("a file"),
                None => drop(std::fs::remove_file(&path)),
            }
            let client = Client::open(None, "http://127.0.0.1:1").expect("an address").with_token_in(&path);
            let shown = client.as_ref().ok().map(|client| {
                let header = client.server().expect("an engine").shown().cloned().expect("a token");
                header.to_str().expect("text").to_owned()
            });
            assert_eq!(shown.as_deref(), expected, "{content:?}");
            if let Err(error) = client {
                let names_the_file = matches!(&error, Error::TokenFile { path: named, .. } if *named == path);
                assert_eq!(names_the_file, content.is_none(), "{error}");
            }
        };
        check(Some("s3cret\n"), Some("Bearer s3cret"));
        check(Some("\n"), None);
        check(Some("two\nlines"), None);
        check(None, None);
    }
}
