//! One life of the engine, from its start to its stop or its crash, on the ports of a simulated world.
//!
//! Start at [`World`], which outlives every [`Process`]. All parts run as tasks of the one simulated thread; dropping them
//! at whatever they wait for is the crash.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt;
use lifeline_engine::clock::{Clock, SimulatedClock};
use lifeline_engine::engine::{Engine, Parts, Ports, SavedIn};
use lifeline_engine::error_text::chain;
use lifeline_engine::intake::owner::Claimant;
use lifeline_engine::intake::streams::{Order, Reach};
use lifeline_engine::intake::subjects::Wanted;
use lifeline_engine::recorder::{self, Rendering};
use lifeline_engine::replay;
use lifeline_engine::replay::brake::Brake;
use lifeline_engine::rules::Current;
use lifeline_engine::saver::Pace;
use lifeline_engine::site::Site;
use lifeline_projections::event::{self, CloudEvent, Headers};
use lifeline_store::{Disk, Log, Options, SimulatedDisk};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::chance::Chance;
use super::cluster::{FaultyCluster, Overseer};
use super::hazard::{Counter, Hazard};
use super::jetstream::SimulatedJetStream;
use super::script::Script;
use super::server::Server;
use super::story::Violation;
use super::table::SimulatedTable;
use super::witness::witness;

/// The NATS subject of all events.
pub const SUBJECT: &str = "user-operation";

/// That of the events in the other stream, where there is one.
pub const OTHER_SUBJECT: &str = "other-user-operation";

/// When a story begins: a moment in 2026.
pub const START_UNIX_NANOS: u64 = 1_780_000_000_000_000_000;

/// How long an engine waits without progress for what is in its stream.
pub const HISTORY_PATIENCE: Duration = Duration::from_secs(300);

/// How long a stopping engine may take before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// What outlives a process.
pub struct World {
    /// The NATS server.
    pub server: Arc<Server>,
    /// The cluster.
    pub cluster: Arc<FaultyCluster>,
    /// The disk of the log.
    pub disk: SimulatedDisk,
    /// The table of the projection; in some worlds there is none, and each engine folds the whole log.
    table: Option<Arc<SimulatedTable>>,
    /// How each engine saves.
    pace: Pace,
    counter: Counter,
    /// The time.
    pub clock: SimulatedClock,
    /// How far the clock of the engine's machine is off.
    off_seconds: Arc<AtomicI64>,
    /// The rules in force.
    pub rules: watch::Sender<Current>,
    /// Whether the next engine is of an earlier release, which refuses some events.
    pub reads_less: bool,
    /// Whether there are two streams.
    has_two_streams: bool,
    /// Whether all streams are read.
    reads_all: bool,
    /// How many resources and records an engine looks at in one piece of a replay.
    replay_steps: usize,
    /// How long it takes until what a replay asks of texts is rendered.
    rendering: Rendering,
    brake: Brake,
    /// When what the brake holds is confirmed.
    confirming: Arc<Chance>,
}

/// A running engine.
pub struct Process {
    /// What may be asked of it.
    pub engine: Arc<Engine<SimulatedDisk>>,
    disk: SimulatedDisk,
    tasks: JoinSet<Result<(), recorder::Error>>,
}

impl World {
    /// The world of a script; has to be made inside its runtime. No rules are in force yet.
    #[must_use]
    pub fn new(script: &Script, counter: Counter) -> World {
        let seed = script.seed;
        let disk = SimulatedDisk::new(seed);
        let clock = SimulatedClock::starting_at(START_UNIX_NANOS);
        let witness = Box::new(witness(disk.clone(), Chance::new(seed, 1)));
        let (of_server, of_cluster) = (Chance::new(seed, 2), Chance::new(seed, 3));
        let server = Server::new(of_server, clock, script.unkind_server, counter.clone(), witness);
        let cluster = FaultyCluster::new(of_cluster, clock, script.unkind_cluster, counter.clone());
        let cluster = Arc::new(cluster);
        let replay_steps = *Chance::new(seed, 6).pick(&[1, 5, replay::STEPS_AT_ONCE]);
        let of_rendering = Chance::new(seed, 32);
        let rendering = Rendering::AtOnce(of_rendering.millis_below(*of_rendering.pick(&[1, 50, 2_000])));
        // Stories have few objects: often the brake holds each of them.
        let confirming = Arc::new(Chance::new(seed, 9));
        let brake = *confirming.pick(&[Brake { percent: 0, objects_min: 1 }, Brake::default()]);
        let of_saver = Chance::new(seed, 7);
        // A checkpoint takes about as long as the time between two, so that many ends come within one.
        let period = *of_saver.pick(&[100, 1_000, 5_000]);
        let (period, pause) = (Duration::from_millis(period), of_saver.millis_below(period));
        let pace = Pace { period, piece_bytes: *of_saver.pick(&[1, 4 << 10]), pause };
        let table = (!of_saver.one_in(4)).then(|| Arc::new(SimulatedTable::new(Chance::new(seed, 8), counter.clone())));
        let rules = watch::Sender::new(Current::default());
        let reads_less = false;
        let (has_two_streams, reads_all) = (script.has_two_streams(), script.reads_all());
        World {
            server,
            cluster,
            disk,
            table,
            pace,
            counter,
            clock,
            off_seconds: Arc::default(),
            rules,
            reads_less,
            has_two_streams,
            reads_all,
            replay_steps,
            rendering,
            brake,
            confirming,
        }
    }

    /// The clock of the engine's machine shows another day for a while.
    pub async fn jump(&self, days: i64, pause: Duration) {
        self.counter.count(Hazard::ClockJump);
        self.off_seconds.store(days * 86_400, Ordering::Relaxed);
        tokio::time::sleep(pause).await;
        self.off_seconds.store(0, Ordering::Relaxed);
    }

    /// What is left once the process is gone.
    pub fn kill_process(&self) {
        self.count_cut_checkpoint();
        self.disk.kill_process();
    }

    /// What is left once the power is on again.
    pub fn cut_power(&self) {
        self.count_cut_checkpoint();
        self.disk.cut_power();
        self.table.iter().for_each(|table| table.cut_power());
    }

    /// The volume of the engine is lost: another one begins with an empty one.
    ///
    /// # Panics
    /// When the disk refuses to be emptied.
    pub fn lose_volume(&mut self) {
        let files = self.disk.list().expect("a disk that works");
        files.iter().for_each(|file| self.disk.remove(file).expect("it is there"));
        self.disk.sync_folder().expect("a disk that works");
        self.table = None;
    }

    fn count_cut_checkpoint(&self) {
        if self.table.as_ref().is_some_and(|table| table.end_process()) {
            self.counter.count(Hazard::CutCheckpoint);
        }
    }

    /// Nothing is written before what was in the streams when an engine met them is recorded, as long as it is patient.
    fn history_first(&self, engine: Weak<Engine<SimulatedDisk>>) -> Overseer {
        let (server, begun) = (self.server.clone(), Instant::now());
        server.begin_life();
        Box::new(move || {
            let engine = engine.upgrade().filter(|_| begun.elapsed() < HISTORY_PATIENCE)?;
            let positions = engine.status().streams;
            let next = |name: &str| positions.iter().find(|one| one.stream == *name).map_or(0, |one| one.next_sequence);
            match server.unread(next) {
                None => Some(Violation::new("written before history is read", "the streams were not asked for")),
                Some(unread) if unread.is_empty() => None,
                Some(unread) => {
                    let count = unread.len();
                    Some(Violation::new(
                        "written before history is read",
                        format!("{count} messages from {} on", unread[0]),
                    ))
                }
            }
        })
    }

    /// Starts an engine.
    ///
    /// # Errors
    /// When the log cannot be opened.
    pub fn start(&self) -> Result<Process, recorder::Error> {
        let disk = self.disk.clone();
        let site = Arc::new(Site::own(BTreeMap::new(), self.cluster.clone()));
        site.await_history(HISTORY_PATIENCE);
        let ports = Ports {
            open_log: Box::new(move || Log::open(disk.clone(), options())),
            table: self.table.clone().map(|table| SavedIn::Rows(table)),
            sites: vec![site.clone()],
            clock: Arc::new(Jumping { clock: self.clock, off_seconds: self.off_seconds.clone() }),
            rules: self.rules.subscribe(),
        };
        let (engine, Parts { recorder, saver, reconcilers }) = Engine::open(ports, &mut |_, _| {})?;
        let engine = Arc::new(engine);
        self.cluster.follow(engine.view().subscribe());
        self.cluster.oversee(self.history_first(Arc::downgrade(&engine)));
        let mut tasks = JoinSet::new();
        // In the real program it runs on a thread of its own and need not be `Send`.
        let recorder =
            recorder.with_replay_steps(self.replay_steps).with_rendering(self.rendering).with_brake(self.brake);
        let recorder = if self.reads_less { recorder.with_receive(receive_less) } else { recorder };
        let recording = recorder.run(self.rules.subscribe(), engine.stopping());
        let (recorded, all_recorded) = oneshot::channel();
        tasks.spawn_local(async move {
            recording.await?;
            // Where no table is, nobody listens.
            let _ = recorded.send(());
            Ok(())
        });
        if let Some(saver) = saver {
            tasks.spawn(saver.with_pace(self.pace).run(all_recorded).map(Ok));
        }
        for reconciler in reconcilers {
            let stopping = engine.stopping();
            tasks.spawn(async move {
                reconciler.run(stopping).await;
                Ok(())
            });
        }
        let (confirming, counter, view) = (self.confirming.clone(), self.counter.clone(), engine.view().clone());
        let mut stopping = engine.stopping();
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    _ = stopping.wait_for(|stop| *stop) => return Ok(()),
                    () = tokio::time::sleep(confirming.millis_below(5_000)) => {}
                }
                for held in view.replays().into_iter().filter_map(|replay| replay.held) {
                    if matches!(recorder::confirm(&view, &held.id).await, Ok(Some(_))) {
                        counter.count(match held.waits_for {
                            Some(_) => Hazard::AwaitedWithdrawal,
                            None => Hazard::HeldWithdrawal,
                        });
                    }
                }
            }
        });
        let jetstream = Arc::new(SimulatedJetStream { server: self.server.clone() });
        let other = self.has_two_streams.then(|| OTHER_SUBJECT.to_owned());
        let subjects = std::iter::once(SUBJECT.to_owned()).chain(other);
        let subjects = subjects.filter(|_| !self.reads_all).collect();
        let wanted = Wanted { subjects, streams: Vec::new() };
        let (instance, host) = ("engine".to_owned(), String::new());
        let claimant = Claimant { instance, host, takes_over: false, clock: Arc::new(self.clock) };
        let reading = engine.clone();
        tasks.spawn(async move {
            let order = Order { claimant: Some(claimant), ..Order::new(wanted, "lifeline", "LIFELINE") };
            reading.read(&site, "simulated", Reach::streams_only(jetstream), order).await
        });
        Ok(Process { engine, disk: self.disk.clone(), tasks })
    }
}

impl Process {
    /// Ends it at once.
    ///
    /// # Errors
    /// The error of a part that ended before, unless the disk caused it.
    pub async fn kill(mut self) -> Result<(), String> {
        self.all_parts_run()?;
        self.tasks.abort_all();
        self.drain().await
    }

    /// No part ends by itself, whatever the disk does, while it is on.
    fn all_parts_run(&mut self) -> Result<(), String> {
        while let Some(ended) = self.tasks.try_join_next() {
            // A panic goes on, also when the disk is off.
            let outcome = outcome(ended);
            if self.disk.is_powered() {
                return Err(format!("a part ended by itself: {outcome}"));
            }
        }
        Ok(())
    }

    async fn drain(&mut self) -> Result<(), String> {
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(Ok(()) | Err(recorder::Error::Log(_))) => {}
                Ok(Err(error)) => return Err(chain(&error)),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // It was aborted.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Lets it finish what it holds, then ends it.
    ///
    /// # Errors
    /// As [`Process::kill`].
    pub async fn stop(mut self) -> Result<(), String> {
        self.all_parts_run()?;
        self.engine.stop();
        match tokio::time::timeout(STOP_PATIENCE, self.drain()).await {
            Ok(said) => said,
            // A disk that is off keeps it from stopping.
            Err(_) if !self.disk.is_powered() => self.kill().await,
            Err(_) => Err("it does not stop".to_owned()),
        }
    }
}

/// The clock of a machine, which may be off.
struct Jumping {
    clock: SimulatedClock,
    off_seconds: Arc<AtomicI64>,
}

impl Clock for Jumping {
    fn now_unix_nanos(&self) -> u64 {
        let off = self.off_seconds.load(Ordering::Relaxed).saturating_mul(1_000_000_000);
        self.clock.now_unix_nanos().saturating_add_signed(off)
    }
}

/// Reads messages as an earlier release would that refuses one event in four.
fn receive_less<'m>(headers: &Headers<'m>, payload: &'m [u8]) -> Result<CloudEvent<'m>, event::Error> {
    let event = CloudEvent::receive(headers, payload)?;
    let number: Option<u64> = event.id.strip_prefix('e').and_then(|number| number.parse().ok());
    match number {
        Some(number) if number % 4 == 1 => Err(event::Error::Schedule),
        _ => Ok(event),
    }
}

/// How a part ended, for people. A panic goes on.
fn outcome(ended: Result<Result<(), recorder::Error>, tokio::task::JoinError>) -> String {
    match ended {
        Ok(Ok(())) => "it returned no error".to_owned(),
        Ok(Err(error)) => chain(&error),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => error.to_string(),
    }
}

/// Small segments and blocks, so that a short story fills many.
#[must_use]
pub fn options() -> Options {
    Options {
        segment_bytes_max: 16 << 10,
        payload_bytes_max: 6 << 10,
        staged_bytes_max: 2 << 10,
        low_space_bytes: 0,
        block_bytes: 1 << 10,
    }
}
