//! One engine: the parts, wired, on whatever ports are handed in.
//!
//! Start at [`Engine::open`], which brings the projection up to the end of the log, then [`Engine::start`]. A simulation
//! drives the same [`Parts`] in one thread and simulated time.
//!
//! Never here: settings, signals, HTTP, and anything that a part decides for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use lifeline_projections::fact::Fact;
use lifeline_projections::fold::{Holes, LifecycleIndex, Projection, StreamPosition};
use lifeline_projections::table::{Rows, Table};
use lifeline_store::{Disk, Offset, Reader};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use crate::clock::{Believed, Clock};
use crate::damage;
use crate::error_text::chain;
use crate::intake::epoch::content_hash;
use crate::intake::jetstream::Stored;
use crate::intake::plain::{self, Buffers};
use crate::intake::streams::{self, Order, Reach};
use crate::intake::{Intake, Known};
use crate::lists;
use crate::orphans;
use crate::preview::Planner;
use crate::queue::Urgency;
use crate::reconcile::Reconciler;
use crate::recorder::{self, OpenLog, OutcomeSender, Recorder};
use crate::replay::brake;
use crate::rules::Current;
use crate::saver::Saver;
use crate::scrub;
use crate::site::{IntakeState, Site, Sites};
use crate::status::{PlainStatus, ReplayStatus, ScrubStatus, SiteStatus, Status, StreamStatus};
use crate::view::View;
use crate::waits::{self, ByIntent};
use crate::warnings;

/// Batches that wait for the recorder, at most: with their size, the bound of what intake holds in memory. They cover the
/// writing of one group; more would only make more unacknowledged messages for the server to keep account of.
const INTAKE_BATCHES_MAX: usize = 2;

/// How long the projection may take to open before it is rebuilt: about as long as building it takes.
const OPEN_PATIENCE_MIN: Duration = Duration::from_secs(10);
const OPEN_RECORDS_PER_SECOND: u64 = 500_000;

/// The ports and places of one engine.
pub struct Ports<D: Disk> {
    /// Opens the log; called again after the disk failed.
    pub open_log: OpenLog<D>,
    /// Where the projection is saved; `None` rebuilds it at every start.
    pub table: Option<SavedIn>,
    /// The clusters it works for.
    pub sites: Vec<Arc<Site>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The rules in force.
    pub rules: watch::Receiver<Current>,
}

/// Where a projection is saved.
#[derive(Debug, Clone)]
pub enum SavedIn {
    /// A folder.
    Folder(PathBuf),
    /// Rows that tests and simulations put in its place.
    Rows(Arc<dyn Rows>),
}

/// What has to run for an engine to work. Dropping the futures at any point is as good as a crash.
pub struct Parts<D: Disk> {
    /// The one writer.
    pub recorder: Recorder<D>,
    /// Writes checkpoints, where there is a table to write them to.
    pub saver: Option<Saver<D>>,
    /// The workers of each site.
    pub reconcilers: Vec<Reconciler<D>>,
}

/// An engine, and what may be asked of it.
pub struct Engine<D: Disk> {
    view: Arc<View<D>>,
    sites: Arc<Sites>,
    rules: watch::Receiver<Current>,
    intake: mpsc::Sender<Intake>,
    recording: OutcomeSender,
    stop: watch::Sender<bool>,
    /// Servers that are being read.
    reading: watch::Sender<usize>,
    /// What was found damaged when the log was opened.
    damage: Vec<String>,
    /// What the scrub says of itself; `None` while none runs.
    scrub: Mutex<Option<ScrubStatus>>,
    /// What came by plain subscriptions and is not handed over yet.
    buffers: Buffers,
    clock: Arc<Believed>,
}

/// A server that is being read.
struct Reading<'e>(&'e watch::Sender<usize>);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// How far opening has come, for those who wait: records folded, and how many there are.
pub type Progress<'a> = &'a mut dyn FnMut(Offset, Offset);

impl<D: Disk> Engine<D> {
    /// Opens the log and the projection and brings the projection up to the end of the log.
    ///
    /// # Errors
    /// When the log cannot be opened or read. A projection that cannot be used is set aside and rebuilt.
    pub fn open(ports: Ports<D>, progress: Progress<'_>) -> Result<(Engine<D>, Parts<D>), recorder::Error> {
        let Ports { mut open_log, table, sites, clock, rules } = ports;
        let clock = Arc::new(Believed::new(clock));
        let (log, recovery) = open_log()?;
        damage::report(&recovery);
        let damage = damage::damage(&recovery);
        let reader = log.reader();
        let (table, mut projection) = match &table {
            Some(place) => {
                let (table, projection, trouble) = open_table(place, &reader)?;
                (Some((table, projection.watermark(), trouble)), projection)
            }
            None => (None, Projection::default()),
        };
        recorder::fold_tail(&mut projection, &reader, progress, |_| {})?;
        let unsettled: Vec<_> = projection.needing_work().collect();
        info!(records = reader.end().get(), resources = projection.len(), open = unsettled.len(), "log read");

        let sites = Arc::new(Sites::new(sites));
        sites.push(&projection, unsettled, Urgency::Replayed);
        let view = View::new(projection, reader);
        let (intake, messages) = mpsc::channel(INTAKE_BATCHES_MAX);
        let (recorder, recording) = Recorder::new(open_log, log, view.clone(), sites.clone(), clock.clone(), messages);
        let saver = table.map(|(table, watermark, trouble)| {
            view.set_saved(watermark);
            if let Some(why) = trouble {
                view.set_not_saved(why);
            }
            Saver::new(table, view.clone())
        });
        let reconciler =
            |site: &Arc<Site>| Reconciler::new(view.clone(), site.clone(), rules.clone(), recording.clone());
        let reconcilers = sites.iter().map(reconciler).collect();
        let (stop, scrub, buffers) = (watch::Sender::new(false), Mutex::default(), Buffers::default());
        let reading = watch::Sender::new(0);
        let engine = Engine { view, sites, rules, intake, recording, stop, reading, damage, scrub, buffers, clock };
        Ok((engine, Parts { recorder, saver, reconcilers }))
    }

    /// The state, for reading.
    pub fn view(&self) -> &Arc<View<D>> {
        &self.view
    }

    /// The clock of the ports, as far as it is believed. Who asks about times needs the same.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// What takes rejected messages up again.
    pub fn recording(&self) -> &OutcomeSender {
        &self.recording
    }

    /// What says what other rules would do. `client` is that of the cluster with its rules, where they come from one.
    pub fn planner(&self, client: Option<kube::Client>) -> Arc<Planner<D>> {
        let (view, sites, rules) = (self.view.clone(), self.sites.clone(), self.rules.clone());
        Arc::new(Planner::new(view, sites, rules, self.recording.clone(), client))
    }

    /// Asks the parts to stop. They finish what they hold.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Becomes true when the engine is asked to stop.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Starts the parts: the recorder and the saver each on a thread of its own, for each blocks on its disk, reconciliation on
    /// the current runtime. The receiver gets what the recorder ends with, once the last checkpoint is written.
    ///
    /// # Panics
    /// When the system gives no thread.
    pub fn start(&self, parts: Parts<D>) -> oneshot::Receiver<Result<(), recorder::Error>> {
        let Parts { recorder, saver, reconcilers } = parts;
        let (ended, end) = oneshot::channel();
        let (rules, stop) = (self.rules.clone(), self.stop.subscribe());
        let saving = saver.map(|saver| {
            let (recorded, all_recorded) = oneshot::channel();
            // An engine without its saver would look sound, and fold more and more of the log at its next start.
            let guard = StopOnPanic(self.stop.clone());
            let thread = on_thread("saver", move || {
                block_on(saver.run(all_recorded));
                drop(guard);
            });
            (recorded, thread)
        });
        on_thread("recorder", move || {
            let end = block_on(recorder.run(rules, stop));
            if let Some((recorded, thread)) = saving {
                // After an error there is no last checkpoint, as after a crash.
                if end.is_ok() {
                    let _ = recorded.send(());
                } else {
                    drop(recorded);
                }
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
            // Nobody listens any more when the process is on its way out.
            let _ = ended.send(end);
        });
        for reconciler in reconcilers {
            tokio::spawn(reconciler.run(self.stop.subscribe()));
        }
        end
    }

    /// Reads what is wanted of one server of a site into the recorder, until the engine stops.
    ///
    /// # Errors
    /// When the log's own record of where a stream was left cannot be read.
    pub async fn read(&self, site: &Site, server: &str, reach: Reach, order: Order) -> Result<(), recorder::Error> {
        let (known, buffers) = (self.known(site.name())?, self.buffers.clone());
        let waiting_messages_max = plain::MESSAGES_MAX;
        let plan = streams::Plan { site: site.name().clone(), order, known, buffers, waiting_messages_max };
        let (status, watched) = watch::channel(streams::Status::default());
        site.set_running(server, watched);
        self.reading.send_modify(|count| *count += 1);
        let _reading = Reading(&self.reading);
        // It ends with the recorder, which closes the channel.
        streams::run(reach, plan, self.intake.clone(), status).await;
        Ok(())
    }

    /// Waits until nothing is read any more, after a stop: consumers are released then.
    pub async fn released(&self) {
        let _ = self.reading.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Reads the log again and again, slowly, until the engine stops. Not one of the [`Parts`]: it needs a runtime with
    /// threads to block on, and a simulation has none.
    pub async fn scrub(&self, settings: scrub::Settings, clock: Arc<dyn Clock>) {
        let mut stop = self.stop.subscribe();
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = scrub::run(&self.view, settings, clock, &self.scrub) => {}
        }
    }

    /// Where each stream of a site was left, with what distinguishes its last message from another.
    fn known(&self, site: &str) -> Result<BTreeMap<String, Known>, recorder::Error> {
        let log = self.view.log();
        let projection = self.view.projection();
        let streams = projection.ground().streams.iter().filter(|((cluster, _), _)| cluster == site);
        let holes = |stream: &String| projection.ground().holes_of(site, stream);
        streams.map(|((_, stream), position)| Ok((stream.clone(), known(position, holes(stream), &log)?))).collect()
    }

    /// The status of the engine.
    pub fn status(&self) -> Status {
        // In this order: what follows from records below `folded` is in the queue, or done.
        let folded = self.view.folded();
        let (open, stranded) = (self.sites.open(), self.sites.stranded());
        let orphans = |site: &Site| self.view.orphans().status(site.name());
        let status = |site: &Arc<Site>| SiteStatus { orphans: orphans(site), ..site.status() };
        let mut sites: Vec<SiteStatus> = self.sites.iter().map(status).collect();
        let projection = self.view.projection();
        // Nobody takes them, so some may need no work any more.
        let needs_work = |index: &&LifecycleIndex| projection.head(**index).needs_work;
        let stranded: Vec<_> = stranded.iter().filter(needs_work).collect();
        let elsewhere: BTreeSet<String> =
            stranded.iter().map(|index| projection.cluster_of(**index).to_owned()).collect();
        let stranded = stranded.len();
        let current = self.rules.borrow();
        let rules = current.rules.as_ref();
        let replays = self.view.replays();
        let intent = ByIntent::new(rules.map(|rules| &**rules), projection.ground(), &replays);
        let mut waiting = Vec::new();
        let mut oldest_open = None;
        for index in &open {
            let (_, lifecycle) = projection.lifecycle(*index);
            if let Some(why) = intent.why(&lifecycle) {
                let site = sites.iter_mut().find(|site| *site.cluster == *lifecycle.cluster);
                site.into_iter().for_each(|site| site.open = site.open.saturating_sub(1));
                waiting.push((lifecycle.trigger.to_string(), why));
            } else if lifecycle.needs_work() {
                oldest_open =
                    Some(oldest_open.map_or(lifecycle.decided, |oldest: Offset| oldest.min(lifecycle.decided)));
            }
        }
        let open_replays = projection.ground().open_replays.iter();
        let open_replays = open_replays.filter(|(trigger, _)| !intent.holds(trigger)).map(|(_, open)| open.since);
        let lists_due = rules.filter(|rules| rules.gathers()).map(|rules| lists::due(rules, &projection));
        let lists_due = lists_due.into_iter().flatten().map(|due| due.until);
        let saved = self.view.saved();
        let mut status = Status {
            recorded: self.view.log().end().get(),
            folded: folded.get(),
            reconciled: oldest_open.into_iter().chain(open_replays).chain(lists_due).min().unwrap_or(folded).get(),
            saved: saved.watermark.map(Offset::get),
            stalled: self.view.stalled(),
            intake: None,
            rules_missing: None,
            triggers: rules.map_or(0, |rules| rules.triggers().count()),
            problems: rules.map_or_else(Vec::new, |rules| rules.problems().iter().map(ToString::to_string).collect()),
            warnings: current.troubles.iter().map(ToString::to_string).collect(),
            streams: Vec::new(),
            resources: projection.len(),
            phases: projection.phases().map(|(phase, count)| (phase.as_str().to_owned(), count)).collect(),
            open: sites.iter().map(|site| site.open).sum::<usize>() + stranded,
            waiting: waits::count(waiting),
            sites,
            reconciliations: 0,
            cluster_writes: 0,
            failures: 0,
            replays,
            replayed: self.view.replayed(),
            scrub: self.scrub.lock().clone(),
            fold_lag_seconds: 0.0,
            reconcile_lag_seconds: 0.0,
            by_trigger: self.view.by_trigger().status(),
        };
        status.warnings.extend(saved.trouble.as_deref().map(warnings::not_saved));
        if let Some(scrub) = &status.scrub {
            status.warnings.extend(scrub.damage.iter().map(|place| damage::found(place)));
        }
        let left = |replay: &ReplayStatus| Some(warnings::left(&replay.trigger, replay.left_because.as_deref()?));
        status.warnings.extend(status.replays.iter().filter_map(left));
        let held = |replay: &ReplayStatus| Some(brake::sentence(&replay.trigger, replay.held.as_ref()?));
        status.warnings.extend(status.replays.iter().filter_map(held));
        if rules.is_none() {
            let why = current.troubles.first().map_or("they are being read".to_owned(), ToString::to_string);
            status.rules_missing = Some(why);
        }
        for ((cluster, stream), position) in &projection.ground().streams {
            status.streams.push(StreamStatus {
                cluster: cluster.clone(),
                stream: stream.clone(),
                epoch: position.epoch,
                next_sequence: position.next_sequence,
                pending: None,
                received: position.received,
                rejected: position.rejected,
                markers: position.markers,
                missing: position.missing,
                missing_up_to: projection.ground().holes_of(cluster, stream).up_to,
                redelivered: 0,
                plain: None,
            });
        }
        drop(projection);
        status.warnings.extend(self.damage.iter().map(|place| damage::found_at_the_start(place)));
        status.warnings.extend(self.clock.trouble());
        status.warnings.extend(self.view.ahead(self.clock.now_unix_nanos()).map(warnings::ahead));
        add_sites(&mut status, stranded, &elsewhere);
        self.add_intake(&mut status);
        status.fold_lag_seconds = self.age_seconds(status.folded..status.recorded);
        status.reconcile_lag_seconds = self.age_seconds(status.reconciled..status.folded);
        status
    }

    /// The age of the first of these records; 0 where there are none, or it does not read back.
    fn age_seconds(&self, offsets: std::ops::Range<u64>) -> f64 {
        let first = (!offsets.is_empty()).then(|| self.view.log().read(Offset::from(offsets.start)));
        let Some(Ok(Some(record))) = first else { return 0.0 };
        Duration::from_nanos(self.clock.now_unix_nanos().saturating_sub(record.time_unix_nanos)).as_secs_f64()
    }

    fn add_intake(&self, status: &mut Status) {
        let mut obstacles = Vec::new();
        let mut servers = 0;
        for site in self.sites.iter() {
            site.each_intake(|intake| {
                servers += 1;
                match intake {
                    IntakeState::Waiting(why) => obstacles.push(why.clone()),
                    IntakeState::Running(intake) => {
                        let intake = intake.borrow();
                        obstacles.extend(intake.obstacles());
                        status.warnings.extend(intake.warnings.iter().cloned());
                        for (stream, reading) in &intake.readers {
                            let reading = reading.borrow();
                            status.warnings.extend(reading.warnings.iter().cloned());
                            let is_it =
                                |known: &&mut StreamStatus| known.cluster == **site.name() && known.stream == *stream;
                            if let Some(known) = status.streams.iter_mut().find(is_it) {
                                // Those that are delivered and not recorded wait too. A sequence that a filter leaves out
                                // counts here.
                                let delivered = reading.delivered_sequence + 1;
                                let delivered = delivered.saturating_sub(known.next_sequence);
                                known.pending = reading.pending.map(|pending| pending + delivered);
                                known.redelivered = reading.redelivered;
                            }
                        }
                        for (stream, plain) in &intake.plain {
                            add_plain(status, (site.name(), stream), plain);
                        }
                    }
                }
            });
        }
        if servers == 0 {
            obstacles.push("no NATS server is configured".to_owned());
        }
        status.intake = (!obstacles.is_empty()).then(|| obstacles.join("; "));
    }
}

/// Adds what is known of a subject that is read without a stream.
fn add_plain(status: &mut Status, (cluster, stream): (&str, &str), plain: &plain::Status) {
    let (subject, because) = (plain.subject.clone(), plain.because.clone());
    let plain::Counts { next_sequence, dropped, interruptions } = plain.buffer.lock().counts();
    let plain = PlainStatus { subject, because, dropped, interruptions };
    status.warnings.push(warnings::plain(streams::NOT_DURABLE, &plain));
    let is_it = |known: &&mut StreamStatus| known.cluster == *cluster && known.stream == *stream;
    if let Some(known) = status.streams.iter_mut().find(is_it) {
        known.pending = Some(next_sequence.saturating_sub(known.next_sequence));
        known.plain = Some(plain);
    }
}

/// Sums up over the sites, and says what waits: also lifecycles of clusters that are no sites.
fn add_sites(status: &mut Status, stranded: usize, clusters: &BTreeSet<String>) {
    for site in &status.sites {
        status.reconciliations += site.reconciliations;
        status.cluster_writes += site.writes;
        status.failures += site.failures;
        status.warnings.extend(warnings::of_site(site));
        status.warnings.extend(site.orphans.groups.iter().map(|group| orphans::sentence(&site.cluster, group)));
    }
    if stranded > 0 {
        status.warnings.push(warnings::stranded(stranded, clusters));
    }
}

fn known<D: Disk>(position: &StreamPosition, holes: Holes, log: &Reader<D>) -> Result<Known, recorder::Error> {
    let mut last = None;
    if let Some(tail) = position.tail
        && let Some(record) = log.read(tail.record)?
    {
        let offset = record.offset;
        let fact = Fact::decode(&record.payload).map_err(|source| recorder::Error::Fact { offset, source })?;
        if let Some((_, payload)) = fact.message() {
            let (sequence, published_unix_nanos) = (tail.sequence, tail.published_unix_nanos);
            last = Some(Stored { sequence, published_unix_nanos, content_hash: content_hash(payload) });
        }
    }
    let StreamPosition { epoch, created_unix_nanos, next_sequence, recorded_until_unix_nanos, .. } = *position;
    let looked_until = holes.until(epoch);
    Ok(Known { epoch, created_unix_nanos, next_sequence, last, recorded_until_unix_nanos, looked_until })
}

/// Opens the projection's table; what cannot be used, or knows of records that the log does not hold, is set aside. Also why
/// nothing can be saved in it yet: on a disk without room the engine works all the same.
fn open_table<D: Disk>(
    place: &SavedIn,
    log: &Reader<D>,
) -> Result<(Table, Projection, Option<String>), recorder::Error> {
    let path = match place {
        SavedIn::Folder(path) => path,
        SavedIn::Rows(rows) => {
            let (table, projection) = Table::on(rows.clone())?;
            return Ok((table, projection, None));
        }
    };
    let patience = OPEN_PATIENCE_MIN + Duration::from_secs(log.end().get() / OPEN_RECORDS_PER_SECOND);
    let (table, projection, damage) = Table::open_or_rebuild(path, patience);
    let trouble = match &damage {
        Some(damage) if !table.is_open() => {
            warn!("the projection is rebuilt from the log and not saved: {}", chain(damage));
            Some(chain(damage))
        }
        Some(damage) => {
            warn!("the projection is rebuilt from the log, the old one is set aside: {}", chain(damage));
            None
        }
        None => None,
    };
    let (known, end) = (projection.watermark(), log.end());
    if known > end {
        warn!("the projection is rebuilt from the log: it reflects offset {known}, the log ends at {end}");
    } else if !is_made_of(&projection, log) {
        warn!("the projection is rebuilt from the log: it was made of another one");
    } else {
        return Ok((table, projection, trouble));
    }
    drop((table, projection));
    let (table, projection) = Table::begin_again(path)?;
    Ok((table, projection, None))
}

/// Whether a projection was made of this log, by the time of the last record that it reflects. Where that cannot be read, it
/// is taken to be so.
fn is_made_of<D: Disk>(projection: &Projection, log: &Reader<D>) -> bool {
    let Some(last) = projection.watermark().get().checked_sub(1) else { return true };
    match log.read(Offset::from(last)) {
        Ok(Some(record)) => record.time_unix_nanos == projection.ground().folded_unix_nanos,
        Ok(None) | Err(_) => true,
    }
}

/// Asks the engine to stop when the thread that has it panics.
struct StopOnPanic(watch::Sender<bool>);

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.send_replace(true);
        }
    }
}

fn on_thread<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let spawned = std::thread::Builder::new().name(name.into()).spawn(work);
    spawned.expect("the system has room for one more thread")
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime with nothing but a timer needs no resource").block_on(work)
}

#[cfg(test)]
mod tests;
