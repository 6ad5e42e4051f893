//! Watching a list: first all of it, then what changes, as Server-Sent Events, without a gap in between.
//!
//! Start at [`watch`]; what can be watched is in [`wanted`]. The list is read in pages while the state goes on; every record
//! from the first page's offset on is then looked at again in the log, so nothing falls in between, whatever came meanwhile.
//! What is sent of a record is the present row of each thing it touches: many records about one resource that wait together
//! are one event. Records themselves never change; they are sent one by one, as they are in the log.
//!
//! A client goes on from the last `id` it saw; an `id` is an offset, so it holds across restarts of the engine. Nobody
//! waits for a slow client: what is ready for it is bounded, and one that does not take it in time is let go with an `id` to
//! resume from. No lock is held while anything waits.

mod wanted;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use lifeline_engine::view::View;
use lifeline_projections::changes::RowChange;
use lifeline_projections::reads::Filter;
use lifeline_store::{Disk, Offset};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use utoipa::IntoParams;

use self::wanted::{Noun, Row, Wanted};
use super::document::Refused;
use super::parameters::Asked;
use super::problem::Problem;
use super::{Shared, blocking};

/// Watches at once: each holds a bounded buffer and now and then a thread.
pub(super) const WATCHES_MAX: usize = 256;

/// Resources, lifecycles or rules that are looked at in one turn, while the recorder waits.
const TOUCHED_MAX: usize = 200;

/// Events that wait for a client.
const WAITING_MAX: usize = 64;

/// A client that takes nothing for this long is let go.
const SLOW_AFTER: Duration = Duration::from_secs(10);

/// A bookmark is sent this often: it shows that the stream lives, and where to resume when nothing changed.
const BOOKMARK_EVERY: Duration = Duration::from_secs(15);

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
    #[param(nullable = false, schema_with = super::document::phases)]
    phase: Option<String>,
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
/// A row of `objects` is identified by its object and its owner (trigger, cluster, source, subject): an object that changes
/// hands is `removed` from one owner and an `item` of the next. What is not held any more is `removed` without a `uid`,
/// with the offset and the time of the record that took it away. A rule that is gone is `removed` with an empty `digest`
/// and the offset of the record that says so. `events` are records: they never change and are never removed, and each is
/// sent with an `id` of its own, so they can be resumed at any of them. Without `from` all records that are held come
/// first; to begin with what is recorded from now on, give `from` the `recorded` of `/v1/status`. Neither `events` nor
/// `rules` take a filter.
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
        super::document::RefusedWatch,
    ),
)]
pub(super) async fn watch<D: Disk>(
    State(shared): State<Shared<D>>,
    headers: HeaderMap,
    Asked(query): Asked<WatchQuery>,
) -> Result<Response, Problem> {
    let WatchQuery { noun, source, subject, trigger, cluster, phase, from } = query;
    let filter = Filter { source, subject, trigger, cluster, phase, ..Filter::default() };
    let wanted = Wanted::new(noun, filter)?;
    let from = last_event_id(&headers)?.or(from).map(Offset::from);
    if let Some(from) = from {
        resumable(&shared.view, from)?;
    }
    let permit = shared.watches.clone().try_acquire_owned().map_err(|_| Problem::too_many_watches(WATCHES_MAX))?;

    // One place is kept for the event that ends the stream: it always has room.
    let (sender, receiver) = mpsc::channel(WAITING_MAX + 1);
    let last = sender.clone().reserve_owned().await.expect("the receiver is here");
    let watching = Watching { shared, wanted, sender, permit };
    tokio::spawn(async move {
        let frame = watching.run(from).await;
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

/// Refuses an offset from which nothing is known.
fn resumable<D: Disk>(view: &View<D>, from: Offset) -> Result<(), Problem> {
    let (start, end) = {
        let log = view.log();
        (log.start(), log.end())
    };
    if from < start || from > end { Err(Problem::expired(from, start, end)) } else { Ok(()) }
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

/// One watch.
struct Watching<D: Disk> {
    shared: Shared<D>,
    wanted: Wanted,
    sender: mpsc::Sender<Bytes>,
    permit: OwnedSemaphorePermit,
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

impl From<Problem> for End {
    fn from(problem: Problem) -> End {
        End::Problem(problem)
    }
}

impl<D: Disk> Watching<D> {
    /// Sends until the stream ends; the event that ends it.
    async fn run(self, from: Option<Offset>) -> Bytes {
        let Watching { shared, wanted, sender, permit } = self;
        let mut sent = Sent { sender, resume: from };
        let wanted = Arc::new(wanted);
        let mut stop = shared.stop.clone();
        let told = async {
            let from = match from {
                Some(from) => from,
                None if wanted.is_log() => records(&shared, &mut sent).await?,
                None => list(&shared, &wanted, &mut sent).await?,
            };
            follow(&shared, &wanted, &mut sent, from).await
        };
        let stopped = async {
            // Where nobody can stop it, as with the folder of a stopped engine, the client leaves.
            if stop.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let end = tokio::select! {
            biased;
            () = stopped => End::Over,
            Err(end) = told => end,
        };
        drop(permit);
        let id = sent.resume.map(Offset::get);
        match end {
            End::Over => id.map_or_else(Bytes::new, |offset| frame("bookmark", id, &Bookmark { offset })),
            End::Slow => frame("slow", id, &id.map(|offset| Bookmark { offset })),
            End::Problem(problem) => frame("expired", None, &problem),
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
}

/// Sends the list, page by page; the offset from which on records have to be looked at.
async fn list<D: Disk>(shared: &Shared<D>, wanted: &Arc<Wanted>, sent: &mut Sent) -> Result<Offset, End> {
    let (mut from, mut after) = (None, None);
    loop {
        let (view, asked) = (shared.view.clone(), wanted.clone());
        let page = blocking(move || Ok(asked.list(&view.projection(), after)?));
        let (offset, rows, next) = page.await?;
        let from = *from.get_or_insert(offset);
        for item in rows {
            sent.send("item", None, &Item { offset: offset.get(), item }).await?;
        }
        if next.is_none() {
            sent.send("bookmark", Some(from), &Bookmark { offset: from.get() }).await?;
            return Ok(from);
        }
        after = next;
    }
}

/// Sends the records that are held, in order; the offset of the next one. They can be resumed at any of them.
async fn records<D: Disk>(shared: &Shared<D>, sent: &mut Sent) -> Result<Offset, End> {
    let (mut position, end) = (shared.view.log().start(), shared.view.projection().watermark());
    while position < end {
        position = more_records(shared, sent, position).await?;
    }
    sent.send("bookmark", Some(position), &Bookmark { offset: position.get() }).await?;
    Ok(position)
}

/// Sends what changes from an offset on.
async fn follow<D: Disk>(
    shared: &Shared<D>,
    wanted: &Arc<Wanted>,
    sent: &mut Sent,
    from: Offset,
) -> Result<Infallible, End> {
    let mut position = from;
    let mut folded = shared.view.subscribe();
    let mut bookmark = Instant::now() + BOOKMARK_EVERY;
    loop {
        tokio::select! {
            biased;
            () = sent.sender.closed() => return Err(End::Over),
            () = tokio::time::sleep_until(bookmark) => {
                sent.send("bookmark", Some(position), &Bookmark { offset: position.get() }).await?;
                bookmark = Instant::now() + BOOKMARK_EVERY;
                continue;
            }
            // The state outlives this: it is shared.
            () = grown(&mut folded, position) => {}
        }
        position = if wanted.is_log() {
            more_records(shared, sent, position).await?
        } else {
            more_changes(shared, wanted, sent, position, &mut bookmark).await?
        };
    }
}

/// Sends some of the records from an offset on; where the next ones begin.
async fn more_records<D: Disk>(shared: &Shared<D>, sent: &mut Sent, from: Offset) -> Result<Offset, End> {
    let view = shared.view.clone();
    let (rows, end) = blocking(move || wanted::records(&view, from)).await?;
    for (behind, item) in rows {
        sent.send("item", Some(behind), &Item { offset: behind.get(), item }).await?;
    }
    Ok(end)
}

/// Sends what some of the records from an offset on changed; where the next ones begin. Looking may take long where it
/// finds nothing to send: a bookmark that is due is sent meanwhile.
async fn more_changes<D: Disk>(
    shared: &Shared<D>,
    wanted: &Arc<Wanted>,
    sent: &mut Sent,
    from: Offset,
    bookmark: &mut Instant,
) -> Result<Offset, End> {
    let (view, asked) = (shared.view.clone(), wanted.clone());
    let (touched, end) = blocking(move || asked.touched(&view, from)).await?;
    let (mut touched, mut waiting): (_, Option<(&str, Item)>) = (touched.into_iter().peekable(), None);
    while touched.peek().is_some() {
        let some = touched.by_ref().take(TOUCHED_MAX).collect();
        let (view, asked) = (shared.view.clone(), wanted.clone());
        let (offset, changes) = blocking(move || asked.became(&view, some)).await?;
        for change in changes {
            let next = match change {
                RowChange::Wanted(item) => ("item", Item { offset: offset.get(), item }),
                RowChange::Unwanted(item) => ("removed", Item { offset: offset.get(), item }),
            };
            // Before the last one is sent, resuming has to look at all of these records again.
            if let Some((event, item)) = waiting.replace(next) {
                sent.send(event, Some(from), &item).await?;
            }
        }
        if Instant::now() >= *bookmark {
            sent.send("bookmark", Some(from), &Bookmark { offset: from.get() }).await?;
            *bookmark = Instant::now() + BOOKMARK_EVERY;
        }
    }
    if let Some((event, item)) = waiting {
        sent.send(event, Some(end), &item).await?;
    }
    Ok(end)
}

/// Waits until more is folded than what is below an offset.
async fn grown(folded: &mut tokio::sync::watch::Receiver<Offset>, position: Offset) {
    if folded.wait_for(|watermark| *watermark > position).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// One event as it goes over the wire. JSON has no line breaks in it.
fn frame(event: &str, id: Option<u64>, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).expect("rows are JSON");
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    Bytes::from(format!("event: {event}\n{id}data: {data}\n\n"))
}
