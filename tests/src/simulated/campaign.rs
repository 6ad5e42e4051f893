//! Many stories, on every core: what was played, and which of them broke a promise.
//!
//! Start at [`Campaign::run`]. Stories share nothing but the compiled rules, so each seed tells the same story wherever and
//! after whatever it is played.

use std::fmt;
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
    /// Whether it ended at the first broken promise.
    pub stopped_early: bool,
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
            for worker in 0..workers {
                let (next, played, is_over) = (&next, &played, &is_over);
                scope.spawn(move || {
                    let mut printed = Instant::now();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= self.seeds || is_over() {
                            return;
                        }
                        let story = play_one(self.first.wrapping_add(number));
                        played.lock().add(story);
                        if worker == 0 && printed.elapsed() >= PROGRESS_EVERY {
                            printed = Instant::now();
                            eprintln!("{number} of {} stories, {} broken", self.seeds, played.lock().broken.len());
                        }
                    }
                });
            }
        });
        let mut played = played.into_inner();
        played.took = began.elapsed();
        played.stopped_early = self.stops_early;
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
        stopped_early: false,
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

    /// The broken promises, for people: the first few made short, then the seeds of all.
    #[must_use]
    pub fn failures(&self) -> String {
        let mut text = format!("{} of {} stories broke a promise\n", self.broken.len(), self.stories);
        for (seed, violations) in self.broken.iter().take(LISTED_MAX) {
            text += &format!("seed {seed}:\n");
            violations.iter().for_each(|violation| text += &format!("  {violation}\n"));
        }
        if self.broken.len() > LISTED_MAX {
            text += &format!("... and {} more\n", self.broken.len() - LISTED_MAX);
        }
        let mut told: Vec<&str> = Vec::new();
        if self.stopped_early {
            return text;
        }
        for (seed, violations) in &self.broken {
            let what = violations.first().map_or("", |violation| violation.what);
            if told.contains(&what) || told.len() >= SHRUNK_MAX {
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
    text += &format!(
        "the whole story: LIFELINE_SIMULATION_SEED={} cargo test --release -p lifeline-tests --test simulation a_crash -- \
         --nocapture\n",
        script.seed
    );
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
