//! One life of the engine, from its start to its stop or its crash, on the ports of a simulated world.
//!
//! Start at [`World`], which outlives every [`Process`]. All parts run as tasks of the one simulated thread; dropping them
//! at whatever they wait for is the crash.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lifeline_engine::clock::SimulatedClock;
use lifeline_engine::engine::{Engine, Parts, Ports};
use lifeline_engine::intake::subjects::Wanted;
use lifeline_engine::recorder::{self, chain};
use lifeline_engine::rules::Current;
use lifeline_projections::fact::Fact;
use lifeline_store::{Log, Options, Record, SimulatedDisk};
use memchr::memmem::Finder;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::chance::Chance;
use super::cluster::FaultyCluster;
use super::hazard::Counter;
use super::jetstream::SimulatedJetStream;
use super::script::Script;
use super::server::Server;
use super::story::Violation;

/// The NATS subject of all events.
pub const SUBJECT: &str = "user-operation";

/// Noon of a day in 2026.
const START_UNIX_NANOS: u64 = 1_780_000_000_000_000_000;

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
    /// The time.
    pub clock: SimulatedClock,
    /// The rules in force.
    pub rules: watch::Sender<Current>,
}

/// A running engine.
pub struct Process {
    /// What may be asked of it.
    pub engine: Arc<Engine<SimulatedDisk>>,
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
        let cluster = FaultyCluster::new(of_cluster, script.unkind_cluster, counter);
        let cluster = Arc::new(cluster);
        World { server, cluster, disk, clock, rules: watch::Sender::new(Current::default()) }
    }

    /// Starts an engine.
    ///
    /// # Errors
    /// When the log cannot be opened.
    pub fn start(&self) -> Result<Process, recorder::Error> {
        let disk = self.disk.clone();
        let ports = Ports {
            open_log: Box::new(move || Log::open(disk.clone(), options())),
            table: None,
            cluster: self.cluster.clone(),
            clock: Arc::new(self.clock),
            rules: self.rules.subscribe(),
        };
        let (engine, Parts { recorder, reconciler }) = Engine::open(ports, &mut |_, _| {})?;
        let engine = Arc::new(engine);
        let mut tasks = JoinSet::new();
        // In earnest it has a thread of its own and never leaves it, so it need not be `Send`.
        tasks.spawn_local(recorder.run(self.rules.subscribe(), engine.stopping()));
        let stopping = engine.stopping();
        tasks.spawn(async move {
            reconciler.run(stopping).await;
            Ok(())
        });
        let jetstream = Arc::new(SimulatedJetStream { server: self.server.clone() });
        let wanted = Wanted { subjects: vec![SUBJECT.to_owned()], streams: Vec::new() };
        let reading = engine.clone();
        tasks.spawn(async move {
            reading.read("simulated", jetstream, wanted, "lifeline".to_owned(), "LIFELINE".to_owned()).await
        });
        Ok(Process { engine, tasks })
    }
}

impl Process {
    /// Ends it where it stands.
    ///
    /// # Errors
    /// What a part had to say that ended before it was told to, the disk's refusals apart.
    pub async fn kill(mut self) -> Result<(), String> {
        self.tasks.abort_all();
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(Ok(()) | Err(recorder::Error::Log(_))) => {}
                Ok(Err(error)) => return Err(chain(&error)),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // It was told to end, and did.
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
        self.engine.stop();
        let mut said = Ok(());
        let all_ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                match ended {
                    Ok(Ok(()) | Err(recorder::Error::Log(_))) => {}
                    Ok(Err(error)) => said = Err(chain(&error)),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                }
            }
        };
        // A disk that is off keeps it from ending.
        let _ = tokio::time::timeout(STOP_PATIENCE, all_ended).await;
        self.kill().await.and(said)
    }
}

/// Asks, of messages that are acknowledged, whether a log would hold them if the power went now.
///
/// Each has to be on the disk, synced. At every eighth acknowledgement the power goes on a copy of the disk, and a log is opened on
/// it as the next process would: that costs as much as all that led to the acknowledgement.
fn witness(disk: SimulatedDisk, chance: Chance) -> impl Fn(&[Bytes]) -> Option<Violation> + Send + Sync {
    let seen: Mutex<BTreeSet<Bytes>> = Mutex::default();
    move |acknowledged| {
        let lost = |payload: &[u8]| {
            Some(Violation::new("acknowledged before it was durable", String::from_utf8_lossy(payload)))
        };
        let mut seen = seen.lock();
        for payload in acknowledged {
            if !seen.contains(payload) {
                let finder = Finder::new(payload);
                if !disk.any_durable(|bytes| finder.find(bytes).is_some()) {
                    return lost(payload);
                }
                seen.insert(payload.clone());
            }
        }
        if acknowledged.is_empty() || !chance.one_in(8) {
            return None;
        }
        let copy = disk.copy(chance.below(u64::MAX));
        copy.cut_power();
        let records = match read_log(&copy) {
            Ok(records) => records,
            Err(error) => return Some(Violation::new("acknowledged, but the log cannot be read", chain(&error))),
        };
        let decoded = records.iter().filter_map(|record| message(&Fact::decode(&record.payload).ok()?));
        let recorded: BTreeSet<&[u8]> = decoded.collect();
        acknowledged.iter().find(|payload| !recorded.contains(payload.as_ref())).and_then(|payload| lost(payload))
    }
}

/// Everything that a log on this disk holds.
///
/// # Errors
/// When it cannot be read, or was damaged.
pub fn read_log(disk: &SimulatedDisk) -> Result<Vec<Record>, lifeline_store::Error> {
    let (log, _) = Log::open(disk.clone(), options())?;
    let reader = log.reader();
    let mut scan = reader.scan(reader.start());
    let mut records = Vec::new();
    while let Some(record) = scan.next()? {
        let (offset, time_unix_nanos, payload) = (record.offset, record.time_unix_nanos, record.payload.to_vec());
        records.push(Record { offset, time_unix_nanos, payload });
    }
    Ok(records)
}

/// The message that a fact holds, if it holds one.
#[must_use]
pub fn message<'r>(fact: &Fact<'r>) -> Option<&'r [u8]> {
    match fact {
        Fact::EventReceived { payload, .. } | Fact::EventRejected { payload, .. } => Some(payload),
        _ => None,
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

/// A record as a person reads it, and when it was written, since the beginning.
#[must_use]
pub fn describe(record: &Record) -> (Duration, String) {
    let fact = match Fact::decode(&record.payload) {
        Ok(Fact::EventReceived { delivery, payload, decisions, .. }) => {
            let decided: Vec<String> =
                decisions.iter().map(|decision| format!("{} {:?}", decision.trigger, decision.outcome)).collect();
            let (epoch, sequence) = (delivery.epoch, delivery.sequence);
            format!("received {epoch}/{sequence} {} {}", String::from_utf8_lossy(payload), decided.join(", "))
        }
        Ok(Fact::RuleChanged { rule, digest, .. }) => format!("rule {rule} {digest:?}"),
        Ok(fact) => format!("{fact:?}"),
        Err(error) => error.to_string(),
    };
    let when = Duration::from_nanos(record.time_unix_nanos.saturating_sub(START_UNIX_NANOS));
    (when, format!("{:>4}  {fact}", record.offset.get()))
}
