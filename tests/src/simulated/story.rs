//! A story: a script is played in a simulated world, and what came of it is judged.
//!
//! Start at [`play`]. At the end the faults stop, and the engine runs for 140 s of
//! simulated time. Then [`super::verdict`] checks the result.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::rc::Rc;
use std::time::Duration;

use lifeline_engine::clock::{Clock, JUMP_NANOS};
use lifeline_engine::error_text::chain;
use lifeline_engine::redrive::{self, Because};
use lifeline_engine::rules::Current;
use lifeline_projections::fact::{EventReceived, Fact, RuleChanged};
use lifeline_projections::fold::Projection;
use lifeline_store::{Fault, Offset, Record};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use super::chance::Chance;
use super::hazard::{Counter, Counts, Hazard};
use super::process::{OTHER_SUBJECT, Process, START_UNIX_NANOS, SUBJECT, World};
use super::rules::Version;
use super::script::{Action, Ending, Message, Script, Step, foreign};
use super::verdict;
use super::witness::read_log;

const STREAM: &str = "EVENTS";

/// The other stream, in stories with two. It comes to no harm: that is the first one's part.
const OTHER_STREAM: &str = "ALL";

/// A copy of the first one, and the subject of its own.
const COPY: &str = "COPY";
const COPY_SUBJECT: &str = "copied-user-operation";

/// A subject of the first one that nobody wants. The rules would match it.
const NOT_OURS: &str = "not-our-user-operation";

/// How long the world stays calm at the end: longer than the longest pause of a retry.
const CALM: Duration = Duration::from_secs(140);

/// A story that was played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// The log at its end.
    pub records: Vec<Record>,
    /// What should not have happened.
    pub violations: Vec<Violation>,
    /// What happened, in order: when, since the beginning, and what.
    pub happened: Vec<(Duration, String)>,
    /// The hazards that were met.
    pub hazards: Counts,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which one: a sentence without names and numbers, by which broken promises can be grouped.
    pub what: &'static str,
    /// The message, object or lifecycle.
    pub whom: String,
}

impl Violation {
    /// A broken promise.
    pub fn new(what: &'static str, whom: impl Into<String>) -> Violation {
        Violation { what, whom: whom.into() }
    }
}

impl Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.what, self.whom)
    }
}

impl Story {
    /// The story as one time line: what happened, and what was recorded of it.
    #[must_use]
    pub fn timeline(&self) -> String {
        let mut lines = self.happened.clone();
        lines.extend(self.records.iter().map(describe));
        lines.sort_by_key(|(when, _)| when.as_millis());
        let lines = lines.iter().map(|(when, what)| format!("{:>8.3} s  {what}\n", when.as_secs_f64()));
        lines.collect()
    }
}

/// Plays the story of a script, in simulated time and one thread.
///
/// # Panics
/// When the engine does.
#[must_use]
pub fn play(script: &Script) -> Story {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime with nothing but a timer needs no resource");
    runtime.block_on(LocalSet::new().run_until(async { Director::new(script).tell().await }))
}

/// What was answered, by the record that rejected the message.
type Answers = Rc<RefCell<Vec<(Offset, redrive::Outcome)>>>;

struct Director<'s> {
    script: &'s Script,
    world: World,
    counter: Counter,
    process: Option<Process>,
    /// While no process runs: when the next one starts.
    restart_at: Instant,
    /// What was answered about rejected messages that were to be taken up again.
    redriven: Answers,
    /// Everything that was published.
    published: Vec<Message>,
    /// The rules, and whether they have a mistake now.
    rules: (Version, bool),
    /// Whether the cluster does not know the kinds of rules now.
    has_no_definitions: bool,
    /// Whether there were rules.
    has_rules: bool,
    began: Instant,
    happened: Vec<(Duration, String)>,
    violations: Vec<Violation>,
}

impl Director<'_> {
    fn new(script: &Script) -> Director<'_> {
        let counter = Counter::default();
        Director {
            script,
            world: World::new(script, counter.clone()),
            counter,
            process: None,
            restart_at: Instant::now(),
            redriven: Answers::default(),
            published: Vec::new(),
            rules: (Version::First, false),
            has_no_definitions: false,
            has_rules: false,
            began: Instant::now(),
            happened: Vec::new(),
            violations: Vec::new(),
        }
    }

    async fn tell(mut self) -> Story {
        self.note(format!("the stream is made: {:?}", self.script.retention));
        self.make_stream();
        if self.script.has_two_streams() {
            self.note("another stream is made");
            self.world.server.make_stream(OTHER_STREAM, OTHER_SUBJECT, self.script.retention, usize::MAX);
        }
        if self.script.has_foreign {
            self.note("objects that Lifeline did not make are there: Namespace/bob, ConfigMap/default/audit-auth-bob");
            foreign().iter().for_each(|manifest| self.world.cluster.make_foreign(manifest));
        }
        for Step { action, pause } in &self.script.steps {
            if *action != Action::Wait {
                self.note(action);
            }
            self.act(action).await;
            sleep(*pause).await;
            self.keep_running().await;
        }
        self.end().await
    }

    async fn act(&mut self, action: &Action) {
        match action {
            Action::Wait => {}
            Action::Publish(message) => self.publish(message.clone()),
            Action::Rules(version) => {
                if self.world.rules.borrow().rules.is_some() {
                    self.counter.count(Hazard::ChangedRules);
                }
                // A mistake that is there stays there.
                let (_, is_broken) = self.rules;
                self.rules = (*version, is_broken);
                self.rules_change();
            }
            // Before the first rules there is nothing to be mistaken.
            Action::Mistake { .. } if self.world.rules.borrow().rules.is_none() => {}
            Action::Mistake { comes } => {
                let (version, _) = self.rules;
                if *comes && version != Version::Withdrawn {
                    self.counter.count(Hazard::BrokenRules);
                }
                self.rules = (version, *comes);
                self.rules_change();
            }
            Action::Definitions { come: false } => self.has_no_definitions = true,
            Action::Definitions { come: true } => {
                if std::mem::take(&mut self.has_no_definitions) && self.has_rules {
                    self.rules_change();
                }
            }
            Action::Release { reads_less } => {
                self.end_process(Ending::Stop, Duration::ZERO).await;
                self.world.reads_less = *reads_less;
            }
            Action::Redrive => self.redrive(),
            Action::End { how, away } => self.end_process(*how, *away).await,
            Action::DiskFault { fault, operation } => {
                self.world.disk.fail_at(self.world.disk.operations() + operation, *fault);
            }
            Action::ServerAway(pause) => self.world.server.go_away(*pause),
            Action::ClusterAway(pause) => self.world.cluster.go_away(*pause),
            Action::KindHangs { kind, pause } => self.world.cluster.hang(kind, *pause),
            Action::Meddle { which, deletes } => {
                if let Some(what) = self.world.cluster.meddle(*which, *deletes) {
                    self.note(what);
                }
            }
            Action::Hold { which, pause } => {
                if let Some(what) = self.world.cluster.hold(*which, *pause) {
                    self.note(what);
                }
            }
            Action::Policy { comes } => self.world.cluster.alter(*comes),
            Action::Purge { per_mille } => self.world.server.purge(STREAM, *per_mille),
            Action::RemakeStream => {
                self.counter.count(Hazard::RemadeStream);
                self.make_stream();
            }
            Action::LoseTail { messages, cuts } => self.world.server.lose_tail(STREAM, *messages, *cuts),
            // Of one stream nothing can come out of its order.
            Action::SlowStream { .. } if !self.script.has_two_streams() => {}
            Action::SlowStream { other, pause } => {
                self.world.server.slow_down(if *other { OTHER_STREAM } else { STREAM }, *pause);
            }
            Action::ClockJump { days, pause } => self.world.jump(*days, *pause).await,
            Action::Rival(lives) => self.world.server.rival_comes(*lives),
            Action::Deafen => self.world.server.go_deaf(),
            Action::Edit => self.world.server.edit(),
            Action::Copy(own) => {
                self.world.server.copy(STREAM, COPY, own.as_ref().map(|_| COPY_SUBJECT));
                if let Some(own) = own {
                    self.world.server.publish(COPY, COPY_SUBJECT, own.payload.clone());
                    self.published.push(own.clone());
                }
            }
            Action::RemoveCopy => self.world.server.remove(COPY),
            Action::OtherSubject { comes } => self.world.server.set_other_subject(STREAM, NOT_OURS, *comes),
            Action::PublishOther(payload) => self.world.server.publish_other(STREAM, NOT_OURS, payload.clone()),
            Action::Steal { messages, acknowledges } => self.world.server.steal(*messages, *acknowledges),
        }
    }

    /// Lets the rules come into force, where they can be read.
    fn rules_change(&mut self) {
        self.has_rules = true;
        if !self.has_no_definitions {
            self.world.rules.send_replace(self.compiled());
        }
    }

    /// The rules in force.
    fn compiled(&self) -> Current {
        match self.rules {
            (version, is_broken) if self.script.detects_drift => version.watching(is_broken),
            (version, true) => version.broken(),
            (version, false) => version.rules(),
        }
    }

    fn make_stream(&self) {
        self.world.server.make_stream(STREAM, SUBJECT, self.script.retention, self.script.messages_max);
    }

    fn publish(&mut self, message: Message) {
        let (stream, subject) = if message.elsewhere { (OTHER_STREAM, OTHER_SUBJECT) } else { (STREAM, SUBJECT) };
        self.world.server.publish(stream, subject, message.payload.clone());
        self.published.push(message);
    }

    /// Asks for all rejected messages twice. What is answered is kept: it has to be in the log at the end.
    fn redrive(&mut self) {
        let Some(process) = &self.process else { return };
        let log = process.engine.view().log();
        let mut rejected = BTreeSet::new();
        let mut scan = log.scan(log.start());
        while let Ok(Some(record)) = scan.next() {
            if matches!(Fact::decode(record.payload), Ok(Fact::Rejected(_))) {
                rejected.insert(record.offset);
            }
        }
        let Ok((places, looked_to)) = redrive::look(&log, &rejected) else { return };
        for (offset, place) in places.iter().chain(&places) {
            let redrive::Place::Rejected(record) = place else { continue };
            let (recording, record, offset) = (process.engine.recording().clone(), record.clone(), *offset);
            let because = Because { by: "anybody".to_owned(), reason: "it is read by now".to_owned() };
            let answers = self.redriven.clone();
            tokio::task::spawn_local(async move {
                if let Ok(outcome) = recording.redrive(record, looked_to, because).await {
                    answers.borrow_mut().push((offset, outcome));
                }
            });
        }
    }

    /// Ends the process; another is started some time later.
    async fn end_process(&mut self, how: Ending, away: Duration) {
        let Some(process) = self.process.take() else { return };
        let ended = match how {
            Ending::Stop => process.stop().await,
            Ending::Kill | Ending::PowerCut => process.kill().await,
        };
        match how {
            Ending::Stop => self.counter.count(Hazard::Stop),
            Ending::Kill => {
                self.world.kill_process();
                self.counter.count(Hazard::Kill);
            }
            Ending::PowerCut => {
                self.world.cut_power();
                self.counter.count(Hazard::PowerCut);
            }
        }
        self.gave_up(ended);
        self.restart_at = Instant::now() + away;
    }

    fn gave_up(&mut self, ended: Result<(), String>) {
        self.violations.extend(ended.err().map(|error| Violation::new("the engine gave up", error)));
    }

    /// Restarts what is down, once its time has come.
    async fn keep_running(&mut self) {
        if !self.world.disk.is_powered() {
            if let Some(process) = self.process.take() {
                self.note("the power was cut by the disk fault");
                let ended = process.kill().await;
                self.gave_up(ended);
            }
            self.world.cut_power();
        }
        if self.process.is_none() && Instant::now() >= self.restart_at {
            if self.has_no_definitions && self.has_rules {
                self.counter.count(Hazard::NoDefinitions);
                self.world.rules.send_replace(Current::default());
            }
            match self.world.start() {
                Ok(process) => {
                    self.note("the engine starts");
                    self.process = Some(process);
                }
                Err(error) => {
                    self.counter.count(Hazard::FailedStart);
                    self.note(format!("the engine does not start: {}", chain(&error)));
                    if self.world.disk.is_powered() {
                        self.world.kill_process();
                    }
                }
            }
        }
    }

    async fn end(mut self) -> Story {
        self.note("calm");
        self.world.server.calm_down();
        self.world.cluster.calm_down();
        self.world.disk.plan_no_faults();
        let (_, is_broken) = self.rules;
        if std::mem::take(&mut self.has_no_definitions) || is_broken || self.world.rules.borrow().rules.is_none() {
            self.rules = (self.script.version(), false);
            self.world.rules.send_replace(self.compiled());
        }
        if std::mem::take(&mut self.world.reads_less) {
            self.end_process(Ending::Stop, Duration::ZERO).await;
        }
        self.restart_at = Instant::now();
        self.keep_running().await;
        sleep(CALM / 2).await;
        // A lost end is noticed only when a new message takes its sequence, so one more is published.
        let last = Message::choose(u64::MAX, &Chance::new(self.script.seed, 5));
        self.note(Action::Publish(last.clone()));
        self.publish(last);
        sleep(CALM / 2).await;
        let Some(process) = self.process.take() else {
            self.violations.push(Violation::new("the engine does not start in calm", ""));
            return self.over(Vec::new());
        };
        let digest = process.engine.view().read(Projection::digest);
        let status = process.engine.status();
        self.note(format!("at the end: {status:?}"));
        let ended = process.stop().await;
        self.gave_up(ended);
        let records = match read_log(&self.world.disk) {
            Ok(records) => records,
            Err(error) => {
                self.violations.push(Violation::new("the log cannot be read", chain(&error)));
                return self.over(Vec::new());
            }
        };
        let now = self.world.clock.now_unix_nanos();
        if let Some(ahead) = records.iter().find(|record| record.time_unix_nanos > now.saturating_add(JUMP_NANOS)) {
            let whom = format!("offset {} at {} s", ahead.offset, ahead.time_unix_nanos / 1_000_000_000);
            self.violations.push(Violation::new("a record has a time that is to come", whom));
        }
        let redriven = self.redriven.take();
        let finished = verdict::Finished {
            records: &records,
            redriven: &redriven,
            published: self.world.server.published(),
            messages: &self.published,
            version: self.script.version(),
            has_foreign: self.script.has_foreign,
            reads_by_filter: self.script.has_other_subject(),
            cluster: &self.world.cluster,
            digest,
            counter: &self.counter,
        };
        self.violations.extend(self.world.server.violations());
        self.violations.extend(self.world.cluster.violations());
        self.violations.extend(verdict::violations(&finished));
        self.over(records)
    }

    fn over(self, records: Vec<Record>) -> Story {
        for fault in self.world.disk.faults_happened() {
            self.counter.count(match fault {
                Fault::PowerCut => Hazard::PowerCutInOperation,
                Fault::Failure => Hazard::DiskFailure,
                Fault::Full => Hazard::DiskFull,
            });
        }
        let Director { violations, happened, counter, .. } = self;
        Story { records, violations, happened, hazards: counter.counts() }
    }

    fn note(&mut self, what: impl Display) {
        self.happened.push((self.began.elapsed(), what.to_string()));
    }
}

/// A record as a person reads it, and when it was written, since the beginning.
fn describe(record: &Record) -> (Duration, String) {
    let fact = match Fact::decode(&record.payload) {
        Ok(Fact::Event(EventReceived { delivery, payload, decisions, .. })) => {
            let decided: Vec<String> =
                decisions.iter().map(|decision| format!("{} {:?}", decision.trigger, decision.ruling)).collect();
            let (epoch, sequence) = (delivery.epoch, delivery.sequence);
            format!("received {epoch}/{sequence} {} {}", String::from_utf8_lossy(payload), decided.join(", "))
        }
        Ok(Fact::Rule(RuleChanged { rule, digest, .. })) => format!("rule {rule} {digest:?}"),
        Ok(fact) => format!("{fact:?}"),
        Err(error) => error.to_string(),
    };
    let when = Duration::from_nanos(record.time_unix_nanos.saturating_sub(START_UNIX_NANOS));
    (when, format!("{:>4}  {fact}", record.offset.get()))
}
