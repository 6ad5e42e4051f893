//! The NATS service `lifeline`: the questions of the HTTP API, asked by request and reply.
//!
//! Start at [`serve`]. A request to `lifeline.v1.NOUN` holds the parameters as a JSON object (or nothing); it goes
//! through the router that answers HTTP, so the answer is the same, byte for byte. A problem comes with the headers
//! `Nats-Service-Error` and `Nats-Service-Error-Code`. Where HTTP wants a bearer token, the header `Authorization:
//! Bearer TOKEN` of the message has to have it. Discovery (`$SRV.PING`, `$SRV.INFO`, `$SRV.STATS`) is that of NATS
//! services (ADR-32), and spoken here rather than by the client library, whose errors have no body.
//!
//! It has a connection of its own: a large answer never delays an acknowledgement. Engines share the
//! requests between them (queue group `q`). One that waits for the consumer of another does not answer, for it knows less; and
//! each answer says in its header `Lifeline-Instance` which engine gave it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, HeaderMap, Message};
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use http_body_util::BodyExt;
use hyper::{Method, Request};
use lifeline_engine::intake::connection::{self, Server};
use lifeline_engine::site::Site;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use crate::api::access::Access;
use crate::api::parameters::encode;
use crate::api::problem::Problem;

/// Its name.
const NAME: &str = "lifeline";

/// What it answers to. A watch is no request and reply: it is had over HTTP.
const NOUNS: [&str; 16] = [
    "resources",
    "resource",
    "lifecycles",
    "objects",
    "conflicts",
    "rules",
    "stuck",
    "difference",
    "why.object",
    "why.event",
    "history",
    "events",
    "drift",
    "event",
    "status",
    "verify",
];

/// Who shares the requests.
const QUEUE: &str = "q";

/// Requests answered at once.
const CONCURRENCY: usize = 16;

/// The header of a message that says who asks. Headers of NATS are told apart by upper and lower case; this one in any.
const AUTHORIZATION: &str = "authorization";

/// The header of an answer that says which engine gave it.
const INSTANCE: &str = "Lifeline-Instance";

/// How often it is looked whether another engine reads what this one would.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long its own ping may take.
const PING_PATIENCE: Duration = Duration::from_secs(3);

/// Room in a message beside the body: subject and headers.
const ENVELOPE_BYTES: usize = 1_024;

/// What answers, whatever server it is served on.
#[derive(Clone)]
pub struct Answering {
    /// The questions.
    pub router: Router,
    /// Who may ask them.
    pub access: Arc<Access>,
    /// What keeps it from being heard.
    pub trouble: watch::Sender<Option<String>>,
    /// What the engine works for.
    pub site: Arc<Site>,
    /// The name that the data folder keeps.
    pub instance: String,
}

/// Answers the requests of one server until it is dropped.
pub async fn serve(server: Server, answering: Answering) {
    loop {
        // Intake says already why a server is not reached.
        let (client, link) = server.connect_patiently(|_| {}).await;
        tokio::select! {
            biased;
            () = connection::ended(link) => {}
            answered = answer(&client, &answering) => if let Err(error) = answered {
                let why = format!("the NATS service at {} is not there: {error}", server.url);
                warn!("{why}");
                answering.trouble.send_replace(Some(why));
                return;
            },
        }
    }
}

/// Answers as long as no other engine reads what this one would.
async fn answer(client: &Client, answering: &Answering) -> Result<(), async_nats::SubscribeError> {
    loop {
        read_elsewhere(&answering.site, false).await;
        tokio::select! {
            biased;
            () = read_elsewhere(&answering.site, true) => {
                info!("another engine answers at {NAME}.v1.> while it owns the consumer");
            }
            answered = hear(client, answering) => return answered,
        }
    }
}

/// Waits until another engine reads, or none does.
async fn read_elsewhere(site: &Site, wanted: bool) {
    while site.is_read_elsewhere() != wanted {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn hear(client: &Client, answering: &Answering) -> Result<(), async_nats::SubscribeError> {
    let service = Arc::new(Service::new(client.clone(), answering));
    let id = service.id.clone();
    let mut subscriptions = Vec::new();
    for verb in ["PING", "INFO", "STATS"] {
        for subject in [format!("$SRV.{verb}"), format!("$SRV.{verb}.{NAME}"), format!("$SRV.{verb}.{NAME}.{id}")] {
            subscriptions.push(client.subscribe(subject).await?);
        }
    }
    subscriptions.push(client.queue_subscribe(format!("{NAME}.v1.>"), QUEUE.to_owned()).await?);
    let hearing = futures::stream::select_all(subscriptions)
        .for_each_concurrent(CONCURRENCY, |message| service.clone().hear(message));
    tokio::join!(hearing, check(client, &id, &answering.trouble));
    Ok(())
}

/// Pings itself: when the server refuses the subscriptions, no call returns an error.
async fn check(client: &Client, id: &str, trouble: &watch::Sender<Option<String>>) {
    let ping = client.request(format!("$SRV.PING.{NAME}.{id}"), Bytes::new());
    match tokio::time::timeout(PING_PATIENCE, ping).await {
        Ok(Ok(_)) => {
            trouble.send_replace(None);
            info!("NATS service `{NAME}` answers at {NAME}.v1.>");
        }
        Ok(Err(_)) | Err(_) => {
            let why = format!(
                "the NATS service gets no requests\nhint: permit to subscribe to `$SRV.>` and `{NAME}.v1.>`, and to publish to \
                 `_INBOX.>`; or say `--service false`"
            );
            warn!("{why}");
            trouble.send_replace(Some(why));
        }
    }
}

/// What is counted of one endpoint.
#[derive(Debug, Clone, Default)]
struct Stats {
    requests: u64,
    errors: u64,
    last_error: String,
    processing: Duration,
}

struct Service {
    client: Client,
    router: Router,
    access: Arc<Access>,
    id: String,
    instance: String,
    started: String,
    stats: Mutex<BTreeMap<&'static str, Stats>>,
}

impl Service {
    fn new(client: Client, answering: &Answering) -> Service {
        // The part of an inbox behind its prefix is unique.
        let inbox = client.new_inbox();
        let id = inbox.rsplit('.').next().unwrap_or(&inbox).to_owned();
        let stats = NOUNS.into_iter().map(|noun| (noun, Stats::default())).collect();
        let started = jiff::Timestamp::now().to_string();
        let Answering { router, access, instance, .. } = answering.clone();
        Service { client, router, access, id, instance, started, stats: Mutex::new(stats) }
    }

    /// Answers one message, if it asks for an answer.
    async fn hear(self: Arc<Self>, message: Message) {
        let Some(reply) = message.reply.clone() else { return };
        let subject = message.subject.as_str();
        let answer = match subject.strip_prefix("$SRV.") {
            Some(verb) => Ok(Bytes::from(self.discovery(verb.split('.').next().unwrap_or_default()).to_string())),
            None => self.question(subject, message.headers.as_ref(), &message.payload).await,
        };
        let mut headers = HeaderMap::new();
        headers.insert(INSTANCE, self.instance.as_str());
        let sent = match answer {
            Ok(body) => self.client.publish_with_headers(reply, headers, body).await,
            Err((problem, body)) => {
                // A header has one line.
                headers.insert("Nats-Service-Error", problem.0.detail.replace(['\r', '\n'], " ").as_str());
                headers.insert("Nats-Service-Error-Code", problem.0.status.to_string().as_str());
                self.client.publish_with_headers(reply, headers, body).await
            }
        };
        if let Err(error) = sent {
            debug!("an answer to {subject} was not sent: {error}");
        }
    }

    fn discovery(&self, verb: &str) -> Value {
        let mut answer = json!({
            "type": format!("io.nats.micro.v1.{}_response", verb.to_lowercase()),
            "name": NAME, "id": self.id, "version": env!("CARGO_PKG_VERSION"), "metadata": {"instance": self.instance},
        });
        let endpoint = |noun: &str| json!({"name": noun.replace('.', "-"), "subject": format!("{NAME}.v1.{noun}"), "queue_group": QUEUE});
        match verb {
            "INFO" => {
                answer["description"] = "The lifecycles that CloudEvents gave to Kubernetes resources".into();
                answer["endpoints"] = NOUNS.into_iter().map(endpoint).collect();
            }
            "STATS" => {
                answer["started"] = self.started.clone().into();
                let stats = self.stats.lock();
                let endpoints = stats.iter().map(|(noun, stats)| {
                    let mut endpoint = endpoint(noun);
                    let nanos = stats.processing.as_nanos() as u64;
                    endpoint["num_requests"] = stats.requests.into();
                    endpoint["num_errors"] = stats.errors.into();
                    endpoint["last_error"] = stats.last_error.clone().into();
                    endpoint["processing_time"] = nanos.into();
                    endpoint["average_processing_time"] = nanos.checked_div(stats.requests).unwrap_or_default().into();
                    endpoint
                });
                answer["endpoints"] = endpoints.collect();
            }
            _ => {}
        }
        answer
    }

    async fn question(
        &self,
        subject: &str,
        headers: Option<&HeaderMap>,
        payload: &[u8],
    ) -> Result<Bytes, (Problem, Bytes)> {
        let began = Instant::now();
        let noun = subject.splitn(3, '.').nth(2).unwrap_or_default();
        let answer = match NOUNS.contains(&noun) {
            true => self.ask(noun, headers, payload).await,
            false => Err(Problem::no_such_noun(noun, &NOUNS)),
        };
        if let Some(stats) = self.stats.lock().get_mut(noun) {
            stats.requests += 1;
            stats.processing += began.elapsed();
            if let Err(problem) = &answer {
                stats.errors += 1;
                // Everybody may read this: the detail could name a resource.
                stats.last_error = format!("{}:{}", problem.0.status, problem.0.title);
            }
        }
        answer.map_err(|problem| {
            let body = serde_json::to_vec(&problem).expect("a problem is JSON");
            (problem, body.into())
        })
    }

    async fn ask(&self, noun: &str, headers: Option<&HeaderMap>, payload: &[u8]) -> Result<Bytes, Problem> {
        let path = format!("/v1/{}", noun.replace('.', "/"));
        self.access.check(&Method::GET, &path, authorization(headers)).await?;
        let path = format!("{path}{}", query(payload)?);
        // Percent-encoded text is a path, but there are longer ones than any has to be.
        let request = Request::get(path).body(Body::empty());
        let request =
            request.map_err(|error| Problem::bad_parameter(&format!("the parameters are refused: {error}")))?;
        let Ok(response) = self.router.clone().oneshot(request).await;
        let status = response.status();
        // A body made in memory does not fail.
        let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        if !status.is_success() {
            return Err(serde_json::from_slice(&body).unwrap_or_else(|_| Problem::stopping()));
        }
        let max = self.client.server_info().max_payload.saturating_sub(ENVELOPE_BYTES);
        if body.len() > max { Err(Problem::too_large(body.len(), max)) } else { Ok(body) }
    }
}

/// What the headers of a message say of who asks.
fn authorization(headers: Option<&HeaderMap>) -> impl Iterator<Item = &[u8]> {
    let named = headers.into_iter().flat_map(HeaderMap::iter);
    let named = named.filter(|(name, _)| name.to_string().eq_ignore_ascii_case(AUTHORIZATION));
    named.flat_map(|(_, values)| values).map(|value| value.as_str().as_bytes())
}

/// The query of a request: `{"source": "a", "limit": 5}` is `?source=a&limit=5`. Nothing at all asks without
/// parameters.
fn query(payload: &[u8]) -> Result<String, Problem> {
    if payload.trim_ascii().is_empty() {
        return Ok(String::new());
    }
    let wrong = |why: &str| {
        Problem::bad_parameter(&format!(
            "{why}\nhint: send a JSON object with the parameters, such as {{\"limit\": 5}}"
        ))
    };
    let fields: Map<String, Value> =
        serde_json::from_slice(payload).map_err(|error| wrong(&format!("the request is no JSON object: {error}")))?;
    let mut query = String::new();
    for (name, value) in fields {
        let value = match value {
            // Not given, as in the languages where an absent value is written so.
            Value::Null => continue,
            Value::String(text) => text,
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Array(_) | Value::Object(_) => {
                return Err(wrong(&format!("parameter `{name}` is `{value}`, expected a text or a number")));
            }
        };
        query.push(if query.is_empty() { '?' } else { '&' });
        query.push_str(&format!("{}={}", encode(&name), encode(&value)));
    }
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_said_by_a_header_in_any_case() {
        let check = |headers: &[(&str, &str)], expected: &[&str]| {
            let mut map = HeaderMap::new();
            headers.iter().for_each(|(name, value)| map.append(*name, *value));
            let found: Vec<&[u8]> = authorization(Some(&map)).collect();
            assert_eq!(found, expected.iter().map(|value| value.as_bytes()).collect::<Vec<_>>(), "{headers:?}");
        };
        check(&[], &[]);
        check(&[("Authorization", "Bearer a")], &["Bearer a"]);
        check(&[("authorization", "Bearer a"), ("Nats-Msg-Id", "1")], &["Bearer a"]);
        check(&[("Authorization", "Bearer a"), ("Authorization", "Bearer b")], &["Bearer a", "Bearer b"]);
        check(&[("X-Authorization", "Bearer a")], &[]);
        assert_eq!(authorization(None).count(), 0);
    }

    #[test]
    fn parameters_are_a_json_object() {
        let check =
            |payload: &str, expected: &str| assert_eq!(query(payload.as_bytes()).unwrap(), expected, "{payload}");
        check("", "");
        check(" {} ", "");
        check(r#"{"source":"https://a?b&c","limit":5,"after":null}"#, "?limit=5&source=https%3A%2F%2Fa%3Fb%26c");
        check(r#"{"na me":"\u0000é"}"#, "?na%20me=%00%C3%A9");
        for wrong in ["[]", "{", "5", r#"{"source":["a"]}"#, r#"{"source":{}}"#, "\u{1}"] {
            assert_eq!(query(wrong.as_bytes()).unwrap_err().0.code, "bad-parameter", "{wrong}");
        }
    }
}
