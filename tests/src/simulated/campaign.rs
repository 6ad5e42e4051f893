//! Many stories, on every core: what was played, and which of them broke a promise.
//!
//! Start at [`Campaign::run`]. Stories share nothing but the compiled rules, so each seed tells the same story wherever and
//! after whatever it is played.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lifeline_engine::intake::jetstream::Retention;
use parking_lot::Mutex;

use super::hazard::Counts;
use super::script::Script;
use super::shrink::{play_safely, shrink};
use super::story::Violation;

/// Broken promises that are shrunk and told in full. The others are told by their seeds.
const SHRUNK_MAX: usize = 3;

/// Broken stories that are listed.
const LISTED_MAX: usize = 40;

/// How often progress is printed.
const PROGRESS_EVERY: Duration = Duration::from_secs(60);

/// What is to be played.
#[derive(Debug, Clone, Copy)]
pub struct Campaign {
    /// The first seed.
    pub first: u64,
    /// How many seeds, counted up from the first one; the largest is followed by 0.
    pub seeds: u64,
    /// End at the first broken promise.
    pub stops_early: bool,
}

/// What was played, and what came of it.
#[derive(Debug, Default)]
pub struct Played {
    /// Stories.
    pub stories: u64,
    /// Those on a stream that lets go of acknowledged messages.
    pub work_queues: u64,
    /// Messages published.
    pub messages: u64,
    /// Records in their logs at the end.
    pub records: u64,
    /// The hazards that were met.
    pub hazards: Counts,
    /// How long it took.
    pub took: Duration,
    /// The stories that broke a promise, by seed.
    pub broken: Vec<(u64, Vec<Violation>)>,
}

impl Campaign {
    /// Plays all of it.
    #[must_use]
    pub fn run(&self) -> Played {
        let began = Instant::now();
        let next = AtomicU64::new(0);
        let played = Mutex::new(Played::default());
        let is_over = || self.stops_early && !played.lock().broken.is_empty();
        thread::scope(|scope| {
            let workers = thread::available_parallelism().map_or(1, usize::from);
            let workers = (0..workers).map(|_| {
                let (next, played, is_over) = (&next, &played, &is_over);
                let playing = Arc::new(AtomicU64::new(self.first));
                let worker = scope.spawn({
                    let playing = Arc::clone(&playing);
                    move || loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= self.seeds || is_over() {
                            return;
                        }
                        let seed = self.first.wrapping_add(number);
                        playing.store(seed, Ordering::Relaxed);
                        let story = play_one(seed);
                        played.lock().add(story);
                    }
                });
                (worker, playing)
            });
            let workers: Vec<_> = workers.collect();
            let mut printed = Instant::now();
            while !workers.iter().all(|(worker, _)| worker.is_finished()) {
                thread::sleep(Duration::from_millis(50));
                if printed.elapsed() >= PROGRESS_EVERY {
                    printed = Instant::now();
                    let seeds: Vec<_> = workers.iter().map(|(_, seed)| seed.load(Ordering::Relaxed)).collect();
                    let Played { stories, broken, .. } = &*played.lock();
                    eprintln!("{stories} of {} stories, {} broken; now seeds {seeds:?}", self.seeds, broken.len());
                }
            }
        });
        let mut played = played.into_inner();
        played.took = began.elapsed();
        played.broken.sort_by_key(|(seed, _)| seed.wrapping_sub(self.first));
        played
    }
}

fn play_one(seed: u64) -> Played {
    let script = Script::of(seed);
    let story = play_safely(&script);
    let is_broken = !story.violations.is_empty();
    Played {
        stories: 1,
        work_queues: u64::from(script.retention == Retention::WorkQueue),
        messages: script.messages() as u64,
        records: story.records.len() as u64,
        hazards: story.hazards,
        took: Duration::ZERO,
        broken: is_broken.then_some((seed, story.violations)).into_iter().collect(),
    }
}

impl Played {
    fn add(&mut self, more: Played) {
        self.stories += more.stories;
        self.work_queues += more.work_queues;
        self.messages += more.messages;
        self.records += more.records;
        self.hazards += more.hazards;
        self.broken.extend(more.broken);
    }

    /// The broken promises, for people: the seeds, and with `shrinks` the first few made short.
    #[must_use]
    pub fn failures(&self, shrinks: bool) -> String {
        let mut text = format!("{} of {} stories broke a promise\n", self.broken.len(), self.stories);
        for (seed, violations) in self.broken.iter().take(LISTED_MAX) {
            text += &format!("seed {seed}:\n");
            violations.iter().for_each(|violation| text += &format!("  {violation}\n"));
        }
        if self.broken.len() > LISTED_MAX {
            text += &format!("... and {} more\n", self.broken.len() - LISTED_MAX);
        }
        let mut told: Vec<&str> = Vec::new();
        let shrunk_max = if shrinks { SHRUNK_MAX } else { 0 };
        for (seed, violations) in &self.broken {
            let what = violations.first().map_or("", |violation| violation.what);
            if told.contains(&what) || told.len() >= shrunk_max {
                continue;
            }
            told.push(what);
            text += &shrunk(&Script::of(*seed), what);
        }
        text
    }
}

/// The short form of a story that breaks a promise, for people.
#[must_use]
pub fn shrunk(script: &Script, what: &'static str) -> String {
    let (short, story) = shrink(script, what);
    let kindness = match (short.unkind_server, short.unkind_cluster) {
        (true, true) => "server and cluster lose requests",
        (true, false) => "the server loses requests",
        (false, true) => "the cluster loses requests",
        (false, false) => "nothing is lost on the way",
    };
    let mut text = format!(
        "\nseed {} made short: {} of {} steps, {kindness}\n{}",
        script.seed,
        short.steps.len(),
        script.steps.len(),
        story.timeline()
    );
    story.violations.iter().for_each(|violation| text += &format!("=> {violation}\n"));
    text += &format!("the whole story: LIFELINE_SIMULATION_SEED={} cargo simulate --nocapture a_crash\n", script.seed);
    text
}

impl fmt::Display for Played {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self.stories as f64 / seconds;
        writeln!(out, "{:>12}  stories in {seconds:.1} s, {rate:.0} a second", self.stories)?;
        writeln!(out, "{:>12}  of them on a work queue", self.work_queues)?;
        writeln!(out, "{:>12}  messages", self.messages)?;
        writeln!(out, "{:>12}  records", self.records)?;
        write!(out, "{}", self.hazards)?;
        writeln!(out, "{:>12}  stories that broke a promise", self.broken.len())
    }
}
