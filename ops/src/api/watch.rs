//! Watching a list as Server-Sent Events: first all of it, then what changes.
//!
//! Start at [`watch`]. What there is to send is found by [`Watch`]; here is how it goes to the client. Nobody
//! waits for a slow client: what is ready for it is bounded, and one that does not take it in time is let go with an `id` to
//! resume from. An `id` is an offset, so it holds across restarts of the engine.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use lifeline_engine::kinds;
use lifeline_engine::queries::{self, Row, Update, Watch, What};
use lifeline_projections::reads::Filter;
use lifeline_projections::records::Choice;
use lifeline_store::{Disk, Offset};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use super::parameters::Asked;
use super::problem::Problem;
use super::refusals::{Refused, RefusedWatch};

/// Watches at once: each holds a bounded buffer and now and then a thread.
pub(super) const WATCHES_MAX: usize = 256;

/// Events that wait for a client.
const WAITING_MAX: usize = 64;

/// A client that takes nothing for this long is let go.
const SLOW_AFTER: Duration = Duration::from_secs(10);

/// A bookmark is sent this often: it shows that the stream lives, and where to resume when nothing changed.
const BOOKMARK_EVERY: Duration = Duration::from_secs(15);

/// What is watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Noun {
    /// Rows of `/v1/lifecycles`.
    #[default]
    Lifecycles,
    /// Rows of `/v1/resources`.
    Resources,
    /// Rows of `/v1/objects`.
    Objects,
    /// Rows of `/v1/events`.
    Events,
    /// Rows of `/v1/rules`.
    Rules,
}

impl From<Noun> for queries::Noun {
    fn from(noun: Noun) -> queries::Noun {
        match noun {
            Noun::Lifecycles => queries::Noun::Lifecycles,
            Noun::Resources => queries::Noun::Resources,
            Noun::Objects => queries::Noun::Objects,
            Noun::Events => queries::Noun::Events,
            Noun::Rules => queries::Noun::Rules,
        }
    }
}

/// The parameters of a watch.
#[derive(Deserialize, Default, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WatchQuery {
    /// What is watched.
    #[param(inline)]
    noun: Noun,
    /// The CloudEvent source begins with this.
    #[param(nullable = false)]
    source: Option<String>,
    /// The CloudEvent subject is this; the empty one is that of events without a subject.
    #[param(nullable = false)]
    subject: Option<String>,
    /// The name of the EventTrigger is this.
    #[param(nullable = false)]
    trigger: Option<String>,
    /// The cluster is this, as `namespace/name`; the own one is `mgmt/mgmt`.
    #[param(nullable = false)]
    cluster: Option<String>,
    /// The phase is this, in upper or lower case.
    #[param(nullable = false, schema_with = super::refusals::phases)]
    phase: Option<String>,
    /// `true`: only what is gone. `false`: all but that. A row that goes is `removed`.
    #[param(nullable = false)]
    gone: Option<bool>,
    /// It holds an object of this kind, or is one: a kind in upper or lower case, or a plural or short name of `kubectl`.
    #[param(nullable = false)]
    kind: Option<String>,
    /// Of `events`: the CloudEvent type is this.
    #[param(nullable = false)]
    r#type: Option<String>,
    /// Of `events`: `true` for messages that were rejected, `false` for all other records.
    #[param(nullable = false)]
    rejected: Option<bool>,
    /// Resume at this offset, the `id` seen last, instead of beginning with the list. The header `Last-Event-ID` outweighs it.
    #[param(nullable = false, format = "uint64")]
    from: Option<u64>,
}

/// A list, then its changes, as Server-Sent Events.
///
/// `event: item` holds a row that the filter wants, `event: removed` one that it does not want any more, each as
/// `{"offset": N, "item": {...}}`. `event: bookmark` holds `{"offset": N}`: the first one ends the list, so what was not
/// named until then does not exist; later ones come at least every 15 seconds. `event: expired` holds a problem: the client
/// begins again. `event: slow` ends the stream of a client that reads too slowly. The `id` of any event is the offset to
/// resume from. Without a `Last-Event-ID` and without `from` the list comes first; its items have no `id`, for a list
/// cannot be resumed in its middle.
///
/// A row of `objects` is identified by its object (group, kind, namespace and name; its version may change) and its owner
/// (trigger, cluster, source, subject): an object that changes hands is `removed` from one owner and an `item` of the next.
/// What is not held any more is `removed` without a `uid`, with the offset and the time of the record that took it away. A
/// rule that is gone is `removed` with an empty `digest` and the offset of the record that says so. `events` are records: they
/// never change and are never removed, and each is sent with an `id` of its own, so they can be resumed at any of them. Without
/// `from` all records that are held come first; to begin with what is recorded from now on, give `from` the `recorded` of
/// `/v1/status`. Of the filters, `events` take `source`, `subject`, `type` and `rejected`, and `rules` none.
#[utoipa::path(
    get,
    path = "/v1/watch",
    tag = "state",
    params(
        WatchQuery,
        ("Last-Event-ID" = Option<u64>, Header, nullable = false, format = "uint64", description = "The `id` seen last: resume there. Outweighs `from`."),
    ),
    responses(
        (status = 200, description = "The stream. It ends when either side leaves.", body = String, content_type = "text/event-stream"),
        Refused,
        RefusedWatch,
    ),
)]
pub(super) async fn watch<D: Disk>(
    State(shared): State<Shared<D>>,
    headers: HeaderMap,
    Asked(query): Asked<WatchQuery>,
) -> Result<Response, Problem> {
    let WatchQuery { noun, source, subject, trigger, cluster, phase, gone, kind, r#type, rejected, from } = query;
    let kind = kind.map(|kind| kinds::meant(&kind).to_owned());
    let filter = Filter { source, subject, trigger, cluster, phase, gone, kind, ..Filter::default() };
    let choice = Choice { kind: r#type, rejected, ..Choice::default() };
    let from = last_event_id(&headers)?.or(from).map(Offset::from);
    let watch = shared.queries.watch(noun.into(), filter, choice, from)?;
    let permit = shared.watches.clone().try_acquire_owned().map_err(|_| Problem::too_many_watches(WATCHES_MAX))?;

    // One place is kept for the event that ends the stream: it always has room.
    let (sender, receiver) = mpsc::channel(WAITING_MAX + 1);
    let last = sender.clone().reserve_owned().await.expect("the receiver is here");
    let sent = Sent { sender, resume: from };
    let stop = shared.stop.clone();
    tokio::spawn(async move {
        let frame = run(watch, sent, stop).await;
        drop(permit);
        last.send(frame);
    });
    let frames = stream::unfold(receiver, async |mut receiver| {
        let frame: Bytes = receiver.recv().await?;
        Some((Ok::<_, Infallible>(frame), receiver))
    });
    let mut response = Body::from_stream(frames).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would collect events before it hands them on.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) else { return Ok(None) };
    let offset = value.to_str().ok().and_then(|text| text.parse().ok());
    let wrong = || {
        let text = String::from_utf8_lossy(value.as_bytes());
        Problem::bad_parameter(&format!("header `Last-Event-ID` is `{text}`, expected the `id` of an event"))
    };
    offset.ok_or_else(wrong).map(Some)
}

#[derive(Serialize)]
struct Item {
    offset: u64,
    item: Row,
}

#[derive(Serialize)]
struct Bookmark {
    offset: u64,
}

/// Why a stream ends.
enum End {
    /// The client is gone, or the engine stops.
    Over,
    /// The client does not take what is sent.
    Slow,
    /// What follows is not known.
    Problem(Problem),
}

/// Sends until the stream ends; the event that ends it.
async fn run<D: Disk>(watch: Watch<D>, mut sent: Sent, mut stop: tokio::sync::watch::Receiver<bool>) -> Bytes {
    let stopped = async {
        // Where nobody can stop it, as with the folder of a stopped engine, the client leaves.
        if stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let end = tokio::select! {
        biased;
        () = stopped => End::Over,
        Err(end) = follow(watch, &mut sent) => end,
    };
    let id = sent.resume.map(Offset::get);
    match end {
        End::Over => id.map_or_else(Bytes::new, |offset| frame("bookmark", id, &Bookmark { offset })),
        End::Slow => frame("slow", id, &id.map(|offset| Bookmark { offset })),
        End::Problem(problem) => frame("expired", None, &problem),
    }
}

/// Sends what a watch has to say, and bookmarks in between.
async fn follow<D: Disk>(mut watch: Watch<D>, sent: &mut Sent) -> Result<Infallible, End> {
    let mut bookmark = Instant::now() + BOOKMARK_EVERY;
    loop {
        tokio::select! {
            biased;
            () = sent.sender.closed() => return Err(End::Over),
            () = tokio::time::sleep_until(bookmark) => {
                // The first one ends the list: none is sent in the middle of it.
                if let Some(position) = watch.position() {
                    sent.bookmark(position).await?;
                }
                bookmark = Instant::now() + BOOKMARK_EVERY;
                continue;
            }
            () = watch.ready() => {}
        }
        for Update { offset, resume, what } in watch.more().await.map_err(|error| End::Problem(error.into()))? {
            match what {
                What::Item(item) => sent.send("item", resume, &Item { offset: offset.get(), item }).await?,
                What::Removed(item) => sent.send("removed", resume, &Item { offset: offset.get(), item }).await?,
                What::Listed => {
                    sent.bookmark(offset).await?;
                    bookmark = Instant::now() + BOOKMARK_EVERY;
                }
            }
        }
    }
}

/// What goes to the client, and where it would resume.
struct Sent {
    sender: mpsc::Sender<Bytes>,
    resume: Option<Offset>,
}

impl Sent {
    async fn send(&mut self, event: &str, resume: Option<Offset>, data: &impl Serialize) -> Result<(), End> {
        let frame = frame(event, resume.map(Offset::get), data);
        match self.sender.send_timeout(frame, SLOW_AFTER).await {
            Ok(()) => {
                self.resume = resume.or(self.resume);
                Ok(())
            }
            Err(SendTimeoutError::Timeout(_)) => Err(End::Slow),
            Err(SendTimeoutError::Closed(_)) => Err(End::Over),
        }
    }

    /// Everything below a position is said.
    async fn bookmark(&mut self, position: Offset) -> Result<(), End> {
        self.send("bookmark", Some(position), &Bookmark { offset: position.get() }).await
    }
}

/// One event as it goes over the wire. JSON has no line breaks in it.
fn frame(event: &str, id: Option<u64>, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).expect("rows are JSON");
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    Bytes::from(format!("event: {event}\n{id}data: {data}\n\n"))
}
