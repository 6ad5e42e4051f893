//! What happens in a simulated world: events, faults, crashes and one change of the rules, all chosen by the seed.
//!
//! Start at [`play`]. A story ends in calm: the faults are over, the engine runs, and everything that was published has
//! long been dealt with. Then [`super::verdict`] judges.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use lifeline_engine::intake::jetstream::Retention;
use lifeline_engine::recorder::chain;
use lifeline_store::{Fault, Record};
use serde_json::json;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use super::chance::Chance;
use super::process::{Process, SUBJECT, World, read_log};
use super::rules::{Event, Version};
use super::verdict;

const STREAM: &str = "EVENTS";

/// Who events speak of: two of them share a subject and so the name of an object, and one asks for an object that no
/// cluster accepts.
const RESOURCES: [(&str, &str); 5] =
    [("auth", "ann"), ("auth", "bob"), ("auth", "cid"), ("sso", "ann"), ("sso", "a/b")];

/// Logins and logouts are most of what happens.
const KINDS: [&str; 8] = ["login", "login", "login", "login", "logout", "logout", "logout", "suspend"];

/// How long the world stays calm at the end: longer than the longest pause of a retry.
const CALM: Duration = Duration::from_secs(200);

/// A story that was played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The log at its end.
    pub records: Vec<Record>,
    /// What should not have happened.
    pub violations: Vec<String>,
    /// What happened, in order, for people.
    pub happened: Vec<String>,
}

/// Plays the story of a seed, in simulated time and one thread.
///
/// # Panics
/// When the engine does.
#[must_use]
pub fn play(seed: u64) -> Told {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime with nothing but a timer needs no resource");
    runtime.block_on(LocalSet::new().run_until(async { Director::new(seed).tell().await }))
}

struct Director {
    world: World,
    chance: Chance,
    process: Option<Process>,
    /// While no process runs: when the next one starts.
    restart_at: Instant,
    version: Version,
    /// Every event published, by payload.
    events: Vec<(Bytes, Option<Event>)>,
    began: Instant,
    happened: Vec<String>,
    violations: Vec<String>,
}

impl Director {
    fn new(seed: u64) -> Director {
        Director {
            world: World::new(seed),
            chance: Chance::new(seed, 4),
            process: None,
            restart_at: Instant::now(),
            version: Version::First,
            events: Vec::new(),
            began: Instant::now(),
            happened: Vec::new(),
            violations: Vec::new(),
        }
    }

    async fn tell(mut self) -> Told {
        let retention = if self.chance.one_in(3) { Retention::WorkQueue } else { Retention::Limits };
        self.note(format!("the stream is made: {retention:?}"));
        self.world.server.make_stream(STREAM, SUBJECT, retention);
        // Sometimes the rules come after the first start, or events before it.
        if self.chance.one_in(2) {
            self.world.rules.send_replace(self.version.rules());
        }
        for step in 0..40 + self.chance.below(60) {
            self.step(retention).await;
            if step == 5 && self.world.rules.borrow().rules.is_none() {
                self.note("the first rules come");
                self.world.rules.send_replace(self.version.rules());
            }
            sleep(self.chance.millis_below(80)).await;
            self.keep_running().await;
        }
        self.end().await
    }

    async fn step(&mut self, retention: Retention) {
        match self.chance.below(100) {
            0..45 => {
                for _ in 0..=self.chance.below(4) {
                    self.publish();
                }
            }
            45..65 => sleep(self.chance.millis_below(400)).await,
            65..70 => sleep(self.chance.millis_below(20_000)).await,
            70..77 => self.crash().await,
            77..83 => {
                let fault = *self.chance.pick(&[Fault::Failure, Fault::Failure, Fault::Full, Fault::PowerCut]);
                let operation = self.world.disk.operations() + 1 + self.chance.below(20);
                self.note(format!("a disk fault is planned for operation {operation}: {fault:?}"));
                self.world.disk.fail_at(operation, fault);
            }
            83..87 => {
                let pause = self.chance.millis_below(8_000);
                self.note(format!("the NATS server is away for {pause:?}"));
                self.world.server.go_away(pause);
            }
            87..91 => {
                let pause = self.chance.millis_below(15_000);
                self.note(format!("the cluster is away for {pause:?}"));
                self.world.cluster.go_away(pause);
            }
            91..93 => {
                self.note("the stream is purged");
                self.world.server.purge(STREAM);
            }
            93..95 => {
                self.note("the stream is deleted and made anew");
                self.world.server.make_stream(STREAM, SUBJECT, retention);
            }
            95..96 => {
                self.note("the server restarts without the end of the stream");
                self.world.server.lose_tail(STREAM);
            }
            96..97 => {
                self.note("the consumer goes deaf");
                self.world.server.go_deaf();
            }
            _ if self.version == Version::First => {
                self.version = *self.chance.pick(&Version::LATER);
                self.note(format!("the rules change: {:?}", self.version));
                self.world.rules.send_replace(self.version.rules());
            }
            _ => {}
        }
    }

    fn publish(&mut self) {
        let number = self.events.len();
        let (payload, event) = if self.chance.one_in(20) {
            (Bytes::from(format!("no CloudEvent, message {number}")), None)
        } else {
            let (source, subject) = *self.chance.pick(&RESOURCES);
            let (kind, id) = (*self.chance.pick(&KINDS), format!("e{number}"));
            let event = json!({"specversion": "1.0", "type": kind, "source": source, "subject": subject, "id": id});
            let (source, subject, kind) = (source.to_owned(), subject.to_owned(), kind.to_owned());
            (Bytes::from(event.to_string()), Some(Event { source, subject, kind, id }))
        };
        self.note(format!("published: {}", String::from_utf8_lossy(&payload)));
        self.world.server.publish(STREAM, SUBJECT, payload.clone());
        self.events.push((payload, event));
    }

    /// Ends the process in one of three ways; another is started some time later.
    async fn crash(&mut self) {
        let Some(process) = self.process.take() else { return };
        let way = self.chance.below(5);
        let ended = match way {
            0 => process.stop().await,
            _ => process.kill().await,
        };
        let how = match way {
            0 => "the engine is stopped",
            1 | 2 => {
                self.world.disk.kill_process();
                "the engine is killed"
            }
            _ => {
                self.world.disk.cut_power();
                "the power is cut"
            }
        };
        self.note(how);
        self.violations.extend(ended.err());
        let limit = if self.chance.one_in(2) { 100 } else { 10_000 };
        self.restart_at = Instant::now() + self.chance.millis_below(limit);
    }

    /// Restarts what is down, once its time has come.
    async fn keep_running(&mut self) {
        if !self.world.disk.is_powered() {
            if let Some(process) = self.process.take() {
                self.note("the power was cut by the disk fault");
                self.violations.extend(process.kill().await.err());
            }
            self.world.disk.cut_power();
        }
        if self.process.is_none() && Instant::now() >= self.restart_at {
            match self.world.start() {
                Ok(process) => {
                    self.note("the engine starts");
                    self.process = Some(process);
                }
                Err(error) => {
                    self.note(format!("the engine does not start: {}", chain(&error)));
                    if self.world.disk.is_powered() {
                        self.world.disk.kill_process();
                    }
                }
            }
        }
    }

    async fn end(mut self) -> Told {
        self.note("calm");
        self.world.server.calm_down();
        self.world.cluster.calm_down();
        self.world.disk.plan_no_faults();
        if self.world.rules.borrow().rules.is_none() {
            self.world.rules.send_replace(self.version.rules());
        }
        self.restart_at = Instant::now();
        self.keep_running().await;
        sleep(CALM / 2).await;
        // What was lost at the end of a stream shows with the next message.
        self.publish();
        sleep(CALM / 2).await;
        let Some(process) = self.process.take() else {
            self.violations.push("the engine does not start in calm".to_owned());
            return self.told(Vec::new());
        };
        let digest = process.engine.view().projection().digest();
        let status = process.engine.status();
        self.note(format!("at the end: {status:?}"));
        self.violations.extend(process.stop().await.err());
        let records = match read_log(&self.world.disk) {
            Ok(records) => records,
            Err(error) => {
                self.violations.push(format!("the log cannot be read: {}", chain(&error)));
                return self.told(Vec::new());
            }
        };
        let finished = verdict::Finished {
            records: &records,
            published: self.world.server.published(),
            events: &self.events,
            version: self.version,
            cluster: &self.world.cluster,
            digest,
        };
        self.violations.extend(self.world.server.violations());
        self.violations.extend(verdict::violations(&finished));
        self.told(records)
    }

    fn told(self, records: Vec<Record>) -> Told {
        Told { records, violations: self.violations, happened: self.happened }
    }

    fn note(&mut self, what: impl Display) {
        self.happened.push(format!("{:>8.3} s  {what}", self.began.elapsed().as_secs_f64()));
    }
}
