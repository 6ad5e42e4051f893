//! What was in the holes of a damaged log, as far as the streams still hold it.
//!
//! Start at [`refetch`]. A damaged record does not say what it was; its neighbours do: the stream sequences recorded before
//! and after a hole show which messages must have been in it. Each is fetched by its sequence and made into a fact again, by
//! the rules that the log says were in force. Whether that fact is byte for byte the lost one is proven later, by the running
//! checksum that the record behind the hole remembers ([`Log::repair`](lifeline_store::Log::repair)).
//!
//! ```text
//! offset    40        41   42   43        44
//!           event 17  ---hole---          event 19         -> message 18 was in the hole; two records held no message
//! ```
//! What no stream holds (outcomes, rules) becomes `RecordLost`, which keeps the offset: outcomes are observed again by
//! reconciliation, rules recorded again at the next start. Messages that are gone from the stream become `GapFound`.
//!
//! Never here: writing. And never a guess that looks like knowledge: a message whose time does not lie between those of its
//! neighbours is another one under the same number, and is not taken.

mod order;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use lifeline_projections::event::{CloudEvent, marker_reason};
use lifeline_projections::fact::{
    Delivery, EventReceived, EventRejected, Fact, MarkerFound, RecordLost, RuleChanged, StreamChange, StreamChanged,
};
use lifeline_projections::fold::{Projection, StreamPosition};
use lifeline_projections::span;
use lifeline_store::{Disk, Offset, Reader, Replacement};
use serde_json::Value;

use crate::intake::jetstream::Source;
use crate::intake::{self, Message, subjects};
use crate::redrive;
use crate::rules::{Clusters, EventView, Manifests, RuleSet};

/// Records behind a hole that are looked through for the next message of each stream.
const AHEAD_RECORDS_MAX: u64 = 1_000_000;

/// How much later than its record a message may claim to be stored: the clocks of two machines.
const CLOCK_SKEW_NANOS: u64 = 60_000_000_000;

/// Why the holes cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log refused.
    #[error("the log cannot be read")]
    Log(#[from] lifeline_store::Error),
    /// A record does not decode.
    #[error("record at offset `{offset}` cannot be understood")]
    Fact {
        /// The record.
        offset: Offset,
        /// Why.
        #[source]
        source: lifeline_projections::fact::Error,
    },
    /// The server refused.
    #[error("messages cannot be fetched")]
    Fetch(#[from] intake::Error),
}

/// What is known beside the log.
#[derive(Default)]
pub struct Context<'a> {
    /// The clusters with their labels, by which triggers were selected.
    pub clusters: Clusters,
    /// The subjects that are read of each stream, by cluster and stream; streams that are missing, or have none, are read
    /// whole.
    pub filters: BTreeMap<(String, String), Vec<String>>,
    /// The state at the last checkpoint. It remembers how far a stream was recorded when no later record does.
    pub checkpoint: Option<&'a Projection>,
}

/// What is to be written at one offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A message, fetched again.
    Message {
        /// Its stream.
        stream: String,
        /// Its sequence.
        sequence: u64,
    },
    /// Messages were here or near, and the stream no longer holds them.
    Gap {
        /// The stream.
        stream: String,
        /// Their sequences.
        sequences: Range<u64>,
    },
    /// Something that no stream holds.
    Nothing {
        /// What is known of it.
        reason: String,
    },
}

/// One hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// The segment file.
    pub file: String,
    /// Its records.
    pub offsets: Range<Offset>,
    /// What is to be written there, offset by offset.
    pub found: Vec<Found>,
    /// What a person should know beside it.
    pub remarks: Vec<String>,
}

/// What [`refetch`] found.
#[derive(Debug, Default)]
pub struct Refetched {
    /// The holes, in order.
    pub holes: Vec<Hole>,
    /// A fact for each record of them.
    pub replacements: BTreeMap<Offset, Replacement>,
}

/// A piece of a stream that was in a hole.
enum Piece {
    Message { cluster: String, stream: String, epoch: u32, message: Message },
    Gap { cluster: String, stream: String, epoch: u32, sequences: Range<u64> },
}

/// How far a stream is recorded when it is next met behind a hole.
struct Bound {
    epoch: u32,
    sequence: u64,
    /// No message of the hole was stored later.
    published_max: u64,
}

/// Reads the log, and looks for what was in each of its holes.
///
/// # Errors
/// When the log cannot be read for another reason than damage, or the server does not answer.
pub async fn refetch<D: Disk>(log: &Reader<D>, context: &Context<'_>, source: &dyn Source) -> Result<Refetched, Error> {
    let mut refetched = Refetched::default();
    let mut walk = Walk::default();
    let mut scan = log.scan(log.start());
    loop {
        match scan.next() {
            Ok(None) => break,
            Ok(Some(record)) => {
                let offset = record.offset;
                let fact = Fact::decode(record.payload).map_err(|source| Error::Fact { offset, source })?;
                walk.fold(offset, record.time_unix_nanos, &fact);
            }
            Err(lifeline_store::Error::Damaged { offsets, file, .. }) => {
                let mut hole = Hole { file, offsets: offsets.clone(), found: Vec::new(), remarks: Vec::new() };
                let behind = look_behind(log, offsets.end, streams(&walk.projection))?;
                let pieces = pieces(&walk.projection, &behind, context, &mut hole, source).await?;
                let rules = walk.rules_in_force(&context.clusters);
                if walk.taken_up.is_none() {
                    walk.taken_up = Some(taken_up(log, offsets.end)?);
                }
                let mut pieces = pieces.into_iter();
                for offset in (offsets.start.get()..offsets.end.get()).map(Offset::from) {
                    hole.found.push(walk.put(offset, pieces.next(), &rules, log));
                }
                refetched.holes.push(hole);
                scan.seek(offsets.end);
            }
            Err(error) => return Err(error.into()),
        }
    }
    refetched.replacements = walk.replacements;
    Ok(refetched)
}

/// The way through the log: what held at the place it has reached.
#[derive(Default)]
struct Walk {
    projection: Projection,
    /// Manifests by rule.
    rules: BTreeMap<String, Value>,
    time_unix_nanos: u64,
    /// The records whose messages were rejected, and taken up again by later ones; `None` before the first hole.
    taken_up: Option<BTreeSet<Offset>>,
    replacements: BTreeMap<Offset, Replacement>,
}

impl Walk {
    fn fold(&mut self, offset: Offset, time_unix_nanos: u64, fact: &Fact<'_>) {
        self.time_unix_nanos = time_unix_nanos.max(self.time_unix_nanos);
        if let Fact::Rule(RuleChanged { rule, digest, manifest }) = fact {
            match (digest, serde_json::from_str(manifest)) {
                (Some(_), Ok(manifest)) => _ = self.rules.insert((*rule).to_owned(), manifest),
                // A Secret's content is not in the log: a decision that needs it is made differently, and is not proven.
                _ => _ = self.rules.remove(*rule),
            }
        }
        self.projection.fold(offset, time_unix_nanos, fact, &mut Vec::new());
    }

    fn rules_in_force(&self, clusters: &Clusters) -> RuleSet {
        let mut manifests = Manifests::default();
        for (rule, manifest) in &self.rules {
            manifests.push(rule, manifest.clone());
        }
        RuleSet::new(manifests, clusters.clone())
    }

    /// Makes the fact for an offset, and folds it.
    fn put<D: Disk>(&mut self, offset: Offset, piece: Option<Piece>, rules: &RuleSet, log: &Reader<D>) -> Found {
        match piece {
            Some(Piece::Message { cluster, stream, epoch, message }) => {
                self.put_message(offset, (&cluster, &stream, epoch), &message, rules, log);
                Found::Message { stream, sequence: message.sequence }
            }
            Some(Piece::Gap { cluster, stream, epoch, sequences }) => {
                let (from_sequence, to_sequence) = (sequences.start, sequences.end);
                let change = StreamChange::Gap { from_sequence, to_sequence };
                let fact = Fact::Stream(StreamChanged { cluster: &cluster, stream: &stream, epoch, change });
                self.put_fact(offset, self.time_unix_nanos, &fact);
                Found::Gap { stream, sequences }
            }
            None => {
                let reason = "no stream holds it: an outcome or a rule".to_owned();
                self.put_fact(offset, self.time_unix_nanos, &Fact::Lost(RecordLost { reason: &reason }));
                Found::Nothing { reason }
            }
        }
    }

    /// The fact that the recorder made of a message, byte for byte where the rules were the same, and what is an event.
    fn put_message<D: Disk>(
        &mut self,
        offset: Offset,
        (cluster, stream, epoch): (&str, &str, u32),
        message: &Message,
        rules: &RuleSet,
        log: &Reader<D>,
    ) {
        let headers: Vec<(&str, &str)> = message.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let payload: &[u8] = &message.payload;
        let Message { sequence, published_unix_nanos, subject, .. } = message;
        let (sequence, published_unix_nanos) = (*sequence, *published_unix_nanos);
        let delivery = Delivery { cluster, stream, epoch, sequence, published_unix_nanos, subject };
        // When it was recorded may be lost with it; when it was stored is the nearest that is known here.
        let time = published_unix_nanos.max(self.time_unix_nanos);
        // What a later record takes up again was no event here, whatever this release reads.
        let was_rejected = self.taken_up.as_ref().is_some_and(|taken_up| taken_up.contains(&offset));
        let event = match CloudEvent::receive(&headers, payload) {
            Ok(_) if was_rejected => Err("it was rejected by an earlier release, and taken up again".to_owned()),
            received => received.map_err(|reason| reason.to_string()),
        };
        match event {
            Ok(event) => {
                let (source, subject, kind, id) = (&*event.source, &*event.subject, &*event.kind, &*event.id);
                let previous = self.projection.last_record(source, subject);
                let view =
                    EventView { nats_subject: delivery.subject, source, kind, subject, headers: &headers, payload };
                let decisions = rules.decide(&view, cluster, time);
                let mut event = EventReceived {
                    delivery,
                    source,
                    subject,
                    kind,
                    id,
                    previous,
                    decisions,
                    headers,
                    payload,
                    redriven: None,
                    order: None,
                };
                let events = Read { log, replacements: &self.replacements };
                order::place(&mut event, time, &self.projection, rules, &events);
                self.put_fact(offset, time, &Fact::Event(event));
            }
            Err(reason) => {
                let fact = match marker_reason(&headers, payload) {
                    Some(reason) => Fact::Marker(MarkerFound { delivery, reason, headers, payload }),
                    None => Fact::Rejected(EventRejected { delivery, reason: &reason, headers, payload }),
                };
                self.put_fact(offset, time, &fact);
            }
        }
    }

    fn put_fact(&mut self, offset: Offset, time_unix_nanos: u64, fact: &Fact<'_>) {
        let mut payload = Vec::new();
        fact.encode(&mut payload);
        self.fold(offset, time_unix_nanos, fact);
        self.replacements.insert(offset, Replacement { time_unix_nanos, payload });
    }
}

/// The events recorded so far, those that were put back among them.
struct Read<'r, D: Disk> {
    log: &'r Reader<D>,
    replacements: &'r BTreeMap<Offset, Replacement>,
}

impl<D: Disk> order::Events for Read<'_, D> {
    fn with<T>(&self, offset: Offset, call: impl FnOnce(&EventReceived<'_>, u64) -> T) -> Option<T> {
        let record;
        let (time_unix_nanos, payload) = match self.replacements.get(&offset) {
            Some(Replacement { time_unix_nanos, payload }) => (*time_unix_nanos, payload),
            None => {
                record = self.log.read(offset).ok()??;
                (record.time_unix_nanos, &record.payload)
            }
        };
        match Fact::decode(payload) {
            Ok(Fact::Event(event)) => Some(call(&event, time_unix_nanos)),
            _ => None,
        }
    }
}

/// The records whose messages are taken up again by a record from an offset on that reads back.
fn taken_up<D: Disk>(log: &Reader<D>, from: Offset) -> Result<BTreeSet<Offset>, lifeline_store::Error> {
    let mut taken_up = BTreeSet::new();
    let mut scan = log.scan(from);
    loop {
        match scan.next() {
            Ok(None) => return Ok(taken_up),
            Ok(Some(record)) => {
                taken_up.extend(Fact::decode(record.payload).ok().and_then(|fact| redrive::taken_up(&fact)));
            }
            Err(lifeline_store::Error::Damaged { offsets, .. }) => scan.seek(offsets.end),
            Err(error) => return Err(error),
        }
    }
}

/// The streams met so far, by cluster and name.
fn streams(projection: &Projection) -> impl Iterator<Item = ((&str, &str), &StreamPosition)> {
    let streams = projection.ground().streams.iter();
    streams.map(|((cluster, stream), position)| ((cluster.as_str(), stream.as_str()), position))
}

/// Where each stream is next met behind a hole, and whether another hole lies before all of them are.
struct Behind {
    bounds: BTreeMap<(String, String), Bound>,
    holed: bool,
}

fn look_behind<'a, D: Disk>(
    log: &Reader<D>,
    from: Offset,
    streams: impl Iterator<Item = ((&'a str, &'a str), &'a StreamPosition)>,
) -> Result<Behind, Error> {
    let mut missing: Vec<((&str, &str), &StreamPosition)> = streams.collect();
    let mut behind = Behind { bounds: BTreeMap::new(), holed: false };
    let mut scan = log.scan(from);
    while !missing.is_empty() && scan.position().get() - from.get() < AHEAD_RECORDS_MAX {
        let record = match scan.next() {
            Ok(Some(record)) => record,
            Ok(None) => break,
            Err(lifeline_store::Error::Damaged { offsets, .. }) => {
                behind.holed = true;
                scan.seek(offsets.end);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let (offset, recorded) = (record.offset, record.time_unix_nanos.saturating_add(CLOCK_SKEW_NANOS));
        let fact = Fact::decode(record.payload).map_err(|source| Error::Fact { offset, source })?;
        let (cluster, stream, epoch, sequence, published_max) = match (&fact, fact.message()) {
            (_, Some((delivery, _))) => {
                let Delivery { cluster, stream, epoch, sequence, published_unix_nanos, .. } = *delivery;
                (cluster, stream, epoch, sequence, published_unix_nanos)
            }
            (Fact::Stream(StreamChanged { cluster, stream, epoch, change }), None) => {
                let sequence = match *change {
                    StreamChange::Opened { start_sequence, .. } => start_sequence,
                    StreamChange::Gap { from_sequence, .. } => from_sequence,
                    // It says nothing about where reading was.
                    StreamChange::Holes { .. } => continue,
                };
                (*cluster, *stream, *epoch, sequence, recorded)
            }
            _ => continue,
        };
        // A message that came late says nothing about where reading was.
        let follows = |before: &StreamPosition| epoch != before.epoch || sequence >= before.next_sequence;
        if missing.iter().any(|(known, before)| *known == (cluster, stream) && follows(before)) {
            missing.retain(|(known, _)| *known != (cluster, stream));
            let bound = Bound { epoch, sequence, published_max };
            behind.bounds.insert((cluster.to_owned(), stream.to_owned()), bound);
        }
    }
    Ok(behind)
}

/// What was in a hole, in the order of the streams, oldest first where there are several.
async fn pieces(
    before: &Projection,
    behind: &Behind,
    context: &Context<'_>,
    hole: &mut Hole,
    source: &dyn Source,
) -> Result<Vec<Piece>, Error> {
    let room = hole.offsets.end.get() - hole.offsets.start.get();
    let mut pieces: Vec<(u64, Piece)> = Vec::new();
    for ((cluster, stream), position) in streams(before) {
        let key = (cluster.to_owned(), stream.to_owned());
        let remembered = context.checkpoint.filter(|state| state.watermark() > hole.offsets.start).and_then(|state| {
            let (_, position) = streams(state).find(|(known, _)| *known == (cluster, stream))?;
            let published_max = position.tail.map_or(u64::MAX, |tail| tail.published_unix_nanos);
            Some(Bound { epoch: position.epoch, sequence: position.next_sequence, published_max })
        });
        let Some(bound) = behind.bounds.get(&key).or(remembered.as_ref()) else {
            let next = position.next_sequence;
            hole.remarks.push(format!(
                "no record of stream {stream} follows it: the engine reads on from sequence {next} by itself"
            ));
            continue;
        };
        if bound.epoch != position.epoch {
            hole.remarks.push(format!(
                "stream {stream} began a new epoch inside or after this range: messages of its epoch {} from sequence {} on may be lost",
                position.epoch, position.next_sequence
            ));
            continue;
        }
        let published_min = position.tail.map_or(0, |tail| tail.published_unix_nanos);
        let filters = context.filters.get(&key).map_or(&[][..], Vec::as_slice);
        let mut gone: Option<Range<u64>> = None;
        for sequence in position.next_sequence..bound.sequence {
            // More than the hole has room for cannot have been in it.
            if pieces.len() as u64 > room {
                break;
            }
            let message = source.message(cluster, stream, sequence).await?;
            let is_the_same =
                |message: &Message| (published_min..=bound.published_max).contains(&message.published_unix_nanos);
            match message {
                Some(message) if is_the_same(&message) => {
                    if filters.is_empty() || filters.iter().any(|filter| subjects::includes(filter, &message.subject)) {
                        flush(&mut gone, (cluster, stream), position, filters, &mut pieces, hole);
                        let ((cluster, stream), epoch) = (key.clone(), position.epoch);
                        let piece = Piece::Message { cluster, stream, epoch, message };
                        pieces.push((published(&piece), piece));
                    }
                }
                Some(_) | None => gone = Some(gone.map_or(sequence, |gone| gone.start)..sequence + 1),
            }
        }
        flush(&mut gone, (cluster, stream), position, filters, &mut pieces, hole);
    }
    // Stable: within a stream the order stays, whatever its clock said.
    if streams(before).count() > 1 {
        pieces.sort_by_key(|(published, _)| *published);
    }
    if pieces.len() as u64 > room && !behind.holed {
        hole.remarks.push(format!(
            "the stream holds more messages between its neighbours than the {room} records it had: other subjects were read \
             then, and which of the messages were here is not known"
        ));
        return Ok(Vec::new());
    }
    Ok(pieces.into_iter().map(|(_, piece)| piece).collect())
}

/// Ends a run of messages that are gone. Where a stream is read in part, they may never have been wanted.
fn flush(
    gone: &mut Option<Range<u64>>,
    (cluster, stream): (&str, &str),
    position: &StreamPosition,
    filters: &[String],
    pieces: &mut Vec<(u64, Piece)>,
    hole: &mut Hole,
) {
    let Some(sequences) = gone.take() else { return };
    if filters.is_empty() {
        let (cluster, stream) = (cluster.to_owned(), stream.to_owned());
        let piece = Piece::Gap { cluster, stream, epoch: position.epoch, sequences };
        let time = pieces.last().map_or(0, |(time, _)| *time);
        pieces.push((time, piece));
    } else {
        hole.remarks.push(format!(
            "stream {stream} no longer holds its {}: what was read of it stood here and is lost for good",
            span("message", sequences.start, sequences.end)
        ));
    }
}

fn published(piece: &Piece) -> u64 {
    match piece {
        Piece::Message { message, .. } => message.published_unix_nanos,
        Piece::Gap { .. } => 0,
    }
}
