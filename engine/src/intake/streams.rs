//! Which streams are read: finds those that hold what is wanted, makes one for what none holds, and runs their readers. What can
//! have no stream is read by plain subscriptions.
//!
//! Start at [`run`]. Streams that appear later are found by looking again; a stream of ours that was deleted is made
//! again. JetStream is looked for again as well, for it is the better way:
//!
//! ```text
//! 1. the stream exists, so from here on it holds everything that is published
//! 2. the plain subscription ends, and what it brought is handed over: nothing falls in between
//! 3. the end of the stream is asked for: no message after it came by the subscription
//! 4. the stream is read from its beginning, or from where it was left; what came by the subscription is left out
//! ```
//! So a message of 1 to 2, which came by both ways, is recorded once. It is recognized by subject, headers and payload
//! ([`Already`]). Where the stream was read before, what came since the server is back is left to the stream: it holds also what
//! was published before the subscription was made again, and has it in order.
//!
//! The limit: the stream's copy is not recorded, so if the engine ends before a later message of the stream is, these few are
//! recorded a second time, in their order.
//!
//! Never here: the reading itself ([`super::reader`], [`super::plain`]), and the choice ([`super::subjects`], [`super::way`]).

mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

pub use self::status::Status;
use super::assign;
use super::connection::ConnectionState;
use super::epoch::content_hash;
use super::gate::Gate;
use super::jetstream::{Message, StreamState};
use super::plain::{self, Already, SharedBuffer, stream_of};
pub use super::plan::{Order, Plan, Reach};
use super::reader::{Phase, Reader};
use super::subjects::{self, Wanted};
use super::way::{self, Keeping, Use, Way, way};
use super::{Error, Intake, reserved};
use crate::error_text::with_remedy;

/// How often streams are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often they are looked for while a subject is read without one.
const LOOK_EVERY_WITHOUT: Duration = Duration::from_secs(2);

/// Pause after a look that failed.
const RETRY: Duration = Duration::from_millis(500);

/// How long a plain subscription goes on once there is a stream. In a cluster of servers a message that was published before the
/// stream was made may still be on its way.
const BOTH: Duration = Duration::from_secs(1);

/// How long a reader may take to pause.
const PAUSE_PATIENCE: Duration = Duration::from_secs(5);

/// How long readers may take to let go of their consumers at the end.
const RELEASED_WITHIN: Duration = Duration::from_secs(2);

/// What is said of a stream that is gone, after its name.
const GONE: &str = "which was read, is gone: what it held and was not recorded is lost, and nothing is published to it\nhint: make it again, and it is \
     read; if it is retired, start Lifeline again, and this is not said any more";

/// What is said of a subject without a stream, in the log and in the status.
pub const NOT_DURABLE: &str = "not durable before the log: events published while Lifeline is away are lost";

/// Reads all that is wanted until the receiver of `sink` is dropped.
pub async fn run(reach: Reach, plan: Plan, sink: mpsc::Sender<Intake>, status: watch::Sender<Status>) {
    let mut link = reach.plain.as_ref().map(|plain| plain.link());
    let mut running = Running {
        reach,
        plan,
        sink,
        status,
        tasks: JoinSet::new(),
        gates: BTreeMap::new(),
        held: BTreeMap::new(),
        gone: Vec::new(),
        plain: BTreeMap::new(),
        already: Already::default(),
    };
    let sink = running.sink.clone();
    let mut look = Box::pin(tokio::time::sleep(Duration::ZERO));
    loop {
        tokio::select! {
            biased;
            () = sink.closed() => break,
            // A server that was started again may have JetStream now.
            () = changed(&mut link), if !running.plain.is_empty() => look.as_mut().reset(tokio::time::Instant::now()),
            () = &mut look => {
                let looked = tokio::select! {
                    biased;
                    () = sink.closed() => break,
                    looked = running.look() => looked,
                };
                let pause = match looked {
                    Ok(()) if running.plain.is_empty() => LOOK_EVERY,
                    Ok(()) => LOOK_EVERY_WITHOUT,
                    Err(error) => {
                        running.trouble(with_remedy(&error));
                        RETRY
                    }
                };
                look.as_mut().reset(tokio::time::Instant::now() + pause);
            }
        }
    }
    // They end for the same reason, and let go of their consumers.
    let all = async { while running.tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(RELEASED_WITHIN, all).await;
    running.tasks.shutdown().await;
}

/// Waits until the connection was lost or found.
async fn changed(link: &mut Option<watch::Receiver<ConnectionState>>) {
    let is_open = match link {
        Some(link) => link.changed().await.is_ok(),
        None => false,
    };
    // The client has ended; another intake takes its place.
    if !is_open {
        std::future::pending().await
    }
}

/// What a look found.
#[derive(Default)]
struct Found {
    readings: Vec<subjects::Reading>,
    /// Streams that are not read because they hold copies of these.
    left_out: Vec<String>,
    /// Subjects to be read without a stream, and why.
    plain: BTreeMap<String, String>,
    /// The stream that holds a subject whole, by subject.
    holders: BTreeMap<String, String>,
    /// Whether there is no JetStream.
    is_absent: bool,
    created: Vec<String>,
    warnings: Vec<String>,
    /// Why something that is wanted cannot be read.
    trouble: Option<String>,
    /// Whether all that is wanted was found.
    is_complete: bool,
}

/// What streams hold of what is wanted, and all streams.
type Streams = (subjects::Assignment, Vec<StreamState>);

/// A plain subscription at work.
struct Subscribed {
    stop: oneshot::Sender<()>,
    /// Ends when its reader does.
    ended: oneshot::Receiver<()>,
}

/// The readers at work.
struct Running {
    reach: Reach,
    plan: Plan,
    sink: mpsc::Sender<Intake>,
    status: watch::Sender<Status>,
    tasks: JoinSet<()>,
    /// Of each stream that is read.
    gates: BTreeMap<String, Arc<Gate>>,
    /// The subjects that each of them had when it was last seen.
    held: BTreeMap<String, Vec<String>>,
    /// Streams that were read, are gone, and are not waited for.
    gone: Vec<String>,
    /// By subject.
    plain: BTreeMap<String, Subscribed>,
    /// What came by subscriptions that have ended, until streams are read in their place.
    already: Already,
}

impl Running {
    fn trouble(&self, reason: String) {
        if self.status.borrow().trouble.as_ref() != Some(&reason) {
            tracing::warn!(reason, "streams cannot be looked for");
        }
        self.status.send_modify(|status| status.trouble = Some(reason));
    }

    /// Looks for what is wanted, and reads it in the way that is possible now.
    async fn look(&mut self) -> Result<(), Error> {
        let found = self.find().await?;
        if found.is_absent {
            let named: BTreeSet<&str> = self.plan.order.wanted.streams.iter().map(|named| &*named.name).collect();
            self.gates.iter().filter(|(stream, _)| !named.contains(&***stream)).for_each(|(_, gate)| gate.shut());
        }
        // What became a copy of a stream that is read.
        self.gates.iter().filter(|(stream, _)| found.left_out.contains(stream)).for_each(|(_, gate)| gate.shut());
        self.unsubscribe(&found).await;
        self.finish(&found).await;
        self.read(&found.readings).await?;
        if !found.is_absent {
            self.already = Already::default();
        }
        for (subject, because) in &found.plain {
            self.subscribe(subject, because, &found.plain);
        }
        let Found { created, warnings, trouble, is_complete, .. } = found;
        self.status.send_if_modified(|status| {
            let changed = !created.is_empty()
                || status.trouble != trouble
                || status.complete != is_complete
                || status.warnings != warnings;
            status.created.extend(created);
            status.trouble = trouble;
            status.complete = is_complete;
            status.warnings = warnings;
            changed
        });
        Ok(())
    }

    /// Ends the plain subscriptions of subjects that are in streams now, and waits until what they brought is handed over.
    async fn unsubscribe(&mut self, found: &Found) {
        let subjects: Vec<String> =
            self.plain.keys().filter(|&known| !found.plain.contains_key(known)).cloned().collect();
        if subjects.is_empty() {
            return;
        }
        tracing::info!(?subjects, "streams hold these now: they are read from there");
        let places: Vec<_> = subjects.iter().map(|subject| self.place_in(found.holders.get(subject))).collect();
        let buffers: Vec<_> = subjects.iter().map(|subject| self.buffer_of(subject)).collect();
        for (buffer, place) in buffers.iter().zip(&places) {
            // A stream that is new holds nothing from before it.
            if place.is_none() {
                buffer.lock().release();
            }
        }
        tokio::time::sleep(BOTH).await;
        let ending: Vec<_> = subjects.iter().filter_map(|subject| self.plain.remove(subject)).collect();
        let ended: Vec<_> = ending.into_iter().map(|Subscribed { stop, ended }| (stop.send(()), ended).1).collect();
        for ended in ended {
            // The end of the reader is the message.
            let _ = ended.await;
        }
        for ((subject, buffer), place) in subjects.iter().zip(&buffers).zip(places) {
            let held = buffer.lock().take_held();
            let lacking = match place {
                Some((stream, from)) => self.lacking(&stream, from, &held).await,
                None => held,
            };
            buffer.lock().push(lacking);
            plain::hand_over(buffer, (&self.plan.site, subject), &self.sink).await;
            buffer.lock().add_to(&mut self.already);
        }
        self.status.send_modify(|status| {
            status.plain.retain(|_, plain| !subjects.contains(&plain.subject));
        });
    }

    /// Hands over what a client brought that has ended, where no other subscription follows.
    async fn finish(&mut self, found: &Found) {
        for (subject, buffer) in self.plan.buffers.of_site(&self.plan.site) {
            if !found.plain.contains_key(&subject) && buffer.lock().is_left() {
                buffer.lock().release();
                plain::hand_over(&buffer, (&self.plan.site, &subject), &self.sink).await;
                buffer.lock().add_to(&mut self.already);
            }
        }
    }

    fn buffer_of(&self, subject: &str) -> SharedBuffer {
        let Plan { site, known, buffers, waiting_messages_max, .. } = &self.plan;
        buffers.of(site, subject, known.get(&stream_of(subject)).copied(), *waiting_messages_max)
    }

    /// Where the reading of a stream goes on; `None` for one that was never read.
    fn place_in(&self, stream: Option<&String>) -> Option<(String, u64)> {
        let stream = stream?;
        let next = match self.status.borrow().readers.get(stream) {
            Some(reader) => reader.borrow().delivered_sequence + 1,
            None => self.plan.known.get(stream)?.next_sequence,
        };
        Some((stream.clone(), next))
    }

    /// Those of the messages that a stream does not hold from a sequence on. What cannot be asked for counts as lacking: it is
    /// recorded, and left out of the stream.
    async fn lacking(&self, stream: &str, from: u64, messages: &[Message]) -> Vec<Message> {
        let mut lacking = Vec::new();
        let mut next = HashMap::<&str, u64>::new();
        let mut others = HashMap::<(&str, u64), u32>::new();
        for message in messages {
            let (subject, hash) = (message.subject.as_str(), content_hash(&message.payload));
            let next = next.entry(subject).or_insert(from);
            let is_held = loop {
                if let Some(count) = others.get_mut(&(subject, hash)).filter(|count| **count > 0) {
                    *count -= 1;
                    break true;
                }
                let Ok(Some(stored)) = self.reach.jetstream.stored_from(stream, subject, *next).await else {
                    break false;
                };
                *next = stored.sequence + 1;
                *others.entry((subject, stored.content_hash)).or_default() += 1;
            };
            if !is_held {
                lacking.push(message.clone());
            }
        }
        lacking
    }

    /// Reads these streams.
    async fn read(&mut self, readings: &[subjects::Reading]) -> Result<(), Error> {
        for reading in readings {
            let gate = self.gates.get(&reading.stream).cloned();
            if let Some(gate) = gate.as_ref().filter(|gate| gate.is_open()) {
                // What it left out of a subject may have come by a plain subscription.
                if !self.already.is_empty() && gate.reading() != *reading {
                    gate.open(self.already_in(&reading.stream).await?);
                }
                gate.read(reading);
                continue;
            }
            gate.iter().for_each(|gate| gate.read(reading));
            let already = self.already_in(&reading.stream).await?;
            match gate {
                Some(gate) => gate.open(already),
                None => self.open(reading.clone(), already),
            }
        }
        Ok(())
    }

    /// What a stream may hold of what came by plain subscriptions.
    async fn already_in(&self, stream: &str) -> Result<Already, Error> {
        if self.already.is_empty() {
            return Ok(Already::default());
        }
        let state = self.reach.jetstream.state(stream).await?;
        Ok(self.already.clone().until(state.map_or(0, |state| state.last_sequence)))
    }

    fn open(&mut self, reading: subjects::Reading, already: Already) {
        let stream = reading.stream.clone();
        let gate = Arc::new(Gate::open_with(reading, already));
        let known = self.plan.known.remove(&stream);
        let (site, durable) = (self.plan.site.clone(), self.plan.order.durable.clone());
        let (jetstream, sink) = (self.reach.jetstream.clone(), self.sink.clone());
        let (reader, watched) = Reader::new(site, jetstream, durable, known, gate.clone(), sink);
        self.status.send_modify(|status| _ = status.readers.insert(stream.clone(), watched));
        self.gates.insert(stream, gate);
        self.tasks.spawn(reader.owned_by(self.plan.order.claimant.clone()).run());
    }

    /// Reads a subject without a stream.
    fn subscribe(&mut self, subject: &str, because: &str, all: &BTreeMap<String, String>) {
        let Some(plain) = self.reach.plain.clone() else { return };
        let stream = stream_of(subject);
        let buffer = self.buffer_of(subject);
        // It is known now that no stream holds what came since an interruption.
        buffer.lock().release();
        if self.plain.contains_key(subject) {
            let is_new = |status: &plain::Status| status.because != because;
            if self.status.borrow().plain.get(&stream).is_some_and(is_new) {
                self.status.send_modify(|status| {
                    status.plain.entry(stream).and_modify(|status| because.clone_into(&mut status.because));
                });
            }
            return;
        }
        let remedy = way::remedy(subject, because);
        tracing::warn!(subject, "{NOT_DURABLE}: {because}\nhint: {remedy}");
        let Plan { site, order, .. } = &self.plan;
        let ((stop, stopped), (end, ended)) = (oneshot::channel(), oneshot::channel());
        let (trouble, troubled) = watch::channel(None);
        let reader = plain::Reader {
            site: site.clone(),
            plain,
            subject: subject.to_owned(),
            // Of subjects that overlap in part, the first one in order takes what both match.
            others: all.keys().take_while(|other| *other != subject).cloned().collect(),
            is_only: all.len() == 1,
            group: order.durable.clone(),
            buffer: buffer.clone(),
            sink: self.sink.clone(),
            trouble,
            stop: stopped,
        };
        self.tasks.spawn(async move {
            reader.run().await;
            drop(end);
        });
        self.plain.insert(subject.to_owned(), Subscribed { stop, ended });
        let (subject, because) = (subject.to_owned(), because.to_owned());
        let status = plain::Status { subject, because, trouble: troubled, buffer };
        self.status.send_modify(|known| _ = known.plain.insert(stream, status));
    }

    /// Takes out of `unheld` the subjects of streams that were read and are gone. A stream of ours with these subjects would keep
    /// the owners from making theirs again.
    ///
    /// Returns two lists of sentences: the streams that are waited for, and those that are gone and not waited for. A stream is
    /// not waited for where nobody asks for its subjects. One whose subjects other streams have by now is in neither list.
    fn leave_to_owners(
        &mut self,
        own: &str,
        streams: &[StreamState],
        unheld: &mut Vec<String>,
    ) -> (Vec<String>, Vec<String>) {
        let (mut waiting, mut gone) = (Vec::new(), Vec::new());
        let is_gone = |name: &str| name != own && streams.iter().all(|stream| stream.name != *name);
        for (name, held) in self.held.iter().filter(|(name, _)| is_gone(name)) {
            let is_of = |subject: &String| held.iter().any(|held| subjects::intersect(subject, held).is_some());
            let theirs: Vec<String> = unheld.extract_if(.., |subject| is_of(subject)).collect();
            if theirs.is_empty() {
                self.gates.get(name).into_iter().for_each(|gate| gate.shut());
                let is_held = |subject: &String| {
                    streams.iter().flat_map(|stream| &stream.subjects).any(|held| subjects::includes(held, subject))
                };
                if held.is_empty() || !held.iter().all(is_held) {
                    gone.push(name.clone());
                }
                continue;
            }
            let list = theirs.iter().map(|subject| format!("`{subject}`")).collect::<Vec<_>>().join(", ");
            waiting.push(format!(
                "stream `{name}`, which had {list}, is gone and is waited for; if it is retired, start Lifeline again, and a stream \
                 `{own}` is made for it"
            ));
        }
        let said: Vec<String> = gone.iter().map(|name| format!("stream `{name}`, {GONE}")).collect();
        let is_new = |(name, _): &(&String, &String)| !self.gone.contains(*name);
        gone.iter().zip(&said).filter(is_new).for_each(|(_, said)| tracing::warn!("{said}"));
        self.gone = gone;
        (waiting, said)
    }

    /// Looks for the wanted streams, makes the one that is missing, and decides what is read without one.
    async fn find(&mut self) -> Result<Found, Error> {
        let mut found = Found::default();
        let jetstream = self.reach.jetstream.clone();
        let Order { wanted, jetstream: used, own_stream, .. } = self.plan.order.clone();
        let used = if self.reach.plain.is_some() { used } else { Use::Always };
        let from_streams = match used {
            Use::Never => Wanted { subjects: Vec::new(), ..wanted.clone() },
            Use::Auto | Use::Always => wanted.clone(),
        };
        let ((mut assigned, mut streams), absent) = match self.assign(&from_streams, used).await? {
            Ok(assigned) => (assigned, None),
            Err(absent) => ((subjects::Assignment::default(), Vec::new()), Some(absent)),
        };
        found.is_absent = absent.is_some();
        for missing in std::mem::take(&mut assigned.missing_streams) {
            if missing.subjects.is_empty() {
                let name = missing.name;
                assigned.warnings.push(format!(
                    "stream `{name}` does not exist, and no subjects are given to make it\nhint: make it, or name its `subjects` in the \
                     connection file"
                ));
            } else {
                jetstream.ensure_stream(&missing.name, &missing.subjects).await?;
                found.created.push(missing.name);
            }
        }
        let (mut waiting, mut gone) = (Vec::new(), Vec::new());
        if absent.is_none() {
            (waiting, gone) = self.leave_to_owners(&own_stream, &streams, &mut assigned.unheld_subjects);
        }
        let mut refused = None;
        let unheld = &assigned.unheld_subjects;
        let can_have_one = |subject: &&String| reserved::no_stream_for(subject).is_none();
        let to_make: Vec<String> = unheld.iter().filter(can_have_one).cloned().collect();
        if !to_make.is_empty() {
            match self.make(&own_stream, &to_make).await? {
                Ok(()) => found.created.push(own_stream),
                Err(reason) => refused = Some(reason),
            }
        }
        for subject in subjects::disjoint(wanted.subjects.clone()) {
            let refused = reserved::no_stream_for(&subject).or_else(|| refused.clone());
            let keeping = match (&absent, refused) {
                (Some(absent), _) => Keeping::Absent(absent.clone()),
                (None, Some(refused)) if unheld.contains(&subject) => Keeping::Refused(refused),
                (None, Some(_) | None) => Keeping::Held,
            };
            match way(used, &keeping) {
                Way::Stream | Way::MakeStream => {}
                Way::Plain(because) => _ = found.plain.insert(subject, because),
                Way::Wait(because) => waiting.push(because),
            }
        }
        if !found.created.is_empty() {
            let created = &found.created;
            tracing::info!(?created, "made streams for subjects that none held");
            let warnings = std::mem::take(&mut assigned.warnings);
            streams = jetstream.streams().await?;
            assigned = assign::assign(&from_streams, &streams);
            assigned.warnings.extend(warnings);
            assigned.warnings.sort();
            assigned.warnings.dedup();
        }
        for subject in &from_streams.subjects {
            let holds = |stream: &&StreamState| stream.subjects.iter().any(|held| subjects::includes(held, subject));
            let holder = streams.iter().find(holds).map(|stream| (subject.clone(), stream.name.clone()));
            found.holders.extend(holder);
        }
        let denied = jetstream.denied();
        found.warnings = assigned.warnings;
        found.warnings.extend(gone);
        found.warnings.extend(denied.iter().map(|denied| {
            format!(
                "the NATS server refuses a right that is needed, until the next connection at least: {denied}\nhint: grant it to the user \
                 that Lifeline connects as; `lifeline doctor` tells what is refused"
            )
        }));
        let is_everything = wanted.subjects.is_empty() && wanted.streams.is_empty();
        let cannot_be_read = |absent: &String| {
            let hint = if is_everything { "no subjects are named" } else { "streams are asked for by name" };
            format!("{absent}, and {hint}")
        };
        found.trouble = waiting.into_iter().next();
        if found.trouble.is_none() && (is_everything || !wanted.streams.is_empty()) {
            found.trouble = absent.as_ref().map(cannot_be_read);
        }
        if found.trouble.is_none() {
            let subject = denied.as_deref().and_then(|denied| unsubscribed(denied, found.plain.keys()));
            let not_subscribed =
                |subject| format!("subject `{subject}` cannot be subscribed to: the NATS server refuses the right");
            found.trouble = subject.map(not_subscribed);
        }
        let is_plain = |subject: &String| found.plain.contains_key(subject);
        found.is_complete = assigned.unheld_subjects.iter().all(is_plain) && assigned.missing_streams.is_empty();
        (found.readings, found.left_out) = (assigned.readings, assigned.left_out);
        let is_read = |stream: &&StreamState| found.readings.iter().any(|reading| reading.stream == stream.name);
        self.held.extend(streams.iter().filter(is_read).map(|stream| (stream.name.clone(), stream.subjects.clone())));
        Ok(found)
    }

    /// Which streams hold what is wanted, with all streams there are; or how it shows that there is no JetStream.
    async fn assign(&self, wanted: &Wanted, used: Use) -> Result<Result<Streams, String>, Error> {
        if used == Use::Never && wanted.streams.is_empty() {
            return Ok(Ok(Streams::default()));
        }
        let jetstream = &self.reach.jetstream;
        // Where the right to ask is refused, the question has no answer.
        if let Some(denied) = jetstream.denied().filter(|denied| denied.contains("STREAM.LIST")) {
            return Ok(Err(way::denied(&denied)));
        }
        match jetstream.streams().await {
            Ok(streams) => Ok(Ok((assign::assign(wanted, &streams), streams))),
            Err(error) => match way::absence(&error, jetstream.denied().as_deref()) {
                Some(absent) => Ok(Err(absent)),
                None => Err(error),
            },
        }
    }

    /// Makes the stream of our own, or says why the server refuses it.
    async fn make(&self, stream: &str, subjects: &[String]) -> Result<Result<(), String>, Error> {
        let jetstream = &self.reach.jetstream;
        let denied = jetstream.denied().filter(|denied| denied.contains(".STREAM.") && !self.plain.is_empty());
        if let Some(denied) = denied {
            return Ok(Err(way::denied(&denied)));
        }
        // A reader of it would take what a plain subscription brings as well.
        if !self.plain.is_empty() {
            self.pause(stream).await;
        }
        match jetstream.ensure_stream(stream, subjects).await {
            Ok(_) => Ok(Ok(())),
            Err(error) => match way::refusal(&error, jetstream.denied().as_deref()) {
                Some(refused) => Ok(Err(refused)),
                None => Err(error),
            },
        }
    }

    /// Lets the reader of a stream pause, until it is looked at again.
    async fn pause(&self, stream: &str) {
        let Some(gate) = self.gates.get(stream) else { return };
        gate.shut();
        let reader = self.status.borrow().readers.get(stream).cloned();
        if let Some(mut reader) = reader {
            let paused = reader.wait_for(|status| status.phase == Phase::Paused);
            let _ = tokio::time::timeout(PAUSE_PATIENCE, paused).await;
        }
    }
}

/// The subject among these whose subscription the server refused, as the text of a violation says.
fn unsubscribed<'s>(denied: &str, mut subjects: impl Iterator<Item = &'s String>) -> Option<&'s String> {
    let denied = denied.to_ascii_lowercase();
    let is_it = |subject: &&String| denied.contains(&format!("subscription to \"{}\"", subject.to_ascii_lowercase()));
    subjects.find(is_it)
}
