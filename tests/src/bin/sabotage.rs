//! `cargo sabotage`: breaks the engine on purpose, one way at a time, and shows that the simulation notices.
//!
//! A simulation that finds nothing is worth something only if we know what it would find. Each sabotage replaces one piece
//! of the engine's source, in a copy of the workspace, with a wrong one that is switched on by an environment variable; so
//! one build serves all. Stories are then played until one breaks a promise. The command fails when a sabotage is not
//! noticed, when the source no longer has the piece, or when a known story notices no sabotage.

#[path = "sabotage/by_hand.rs"]
mod by_hand;
#[path = "sabotage/others.rs"]
mod others;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use lifeline_tests::simulated::found::FOUND;

const USAGE: &str = "\
Breaks the engine on purpose and shows how many stories the simulation needs to notice.

Usage: cargo sabotage [NAME...]

  NAME    A part of the names of the sabotages to try; all of them otherwise

LIFELINE_SIMULATION_SEEDS: stories at most for each (20,000). LIFELINE_SIMULATION_FIRST: the first seed (0).
Exit code: 0 all were noticed; 1 one was not, or the engine itself breaks a promise, or a known story notices nothing, or an
error; 2 wrong usage. The build takes minutes.";

/// Stories at most for each sabotage.
const STORIES_MAX: u64 = 20_000;

/// If more known stories than this notice a sabotage, it does not count for any of them.
const SPECIFIC_MAX: usize = 4;

/// How long a build and its stories may take.
const DEADLINE_SECONDS: u32 = 900;

/// What `timeout` of the GNU coreutils exits with when the time is over.
const DEADLINE_EXCEEDED: i32 = 124;

/// One way to break the engine.
struct Sabotage {
    name: &'static str,
    file: &'static str,
    /// Occurs in the file exactly once.
    good: &'static str,
    /// What takes its place; `SABOTAGED` is replaced by whether it is to be wrong.
    bad: &'static str,
}

const RECORDER: &str = "engine/src/recorder.rs";
const STAGED: &str = "engine/src/recorder/staged.rs";
const ORDER: &str = "engine/src/recorder/order.rs";
const FOUND_EVENT: &str = "engine/src/replay/found.rs";
const EPOCH: &str = "engine/src/intake/epoch.rs";
const READER: &str = "engine/src/intake/reader.rs";
const PLAN: &str = "engine/src/reconcile/plan.rs";
const WORK: &str = "engine/src/reconcile/work.rs";
const TASK: &str = "engine/src/reconcile/task.rs";
const CONFLICT: &str = "engine/src/reconcile/conflict.rs";
const APPLY: &str = "engine/src/reconcile/apply.rs";
const STEP: &str = "engine/src/reconcile/step.rs";
const ATTEMPT: &str = "engine/src/reconcile/attempt.rs";
const LOST: &str = "engine/src/reconcile/lost.rs";
const REMOVE: &str = "engine/src/reconcile/remove.rs";
const RECENT: &str = "engine/src/reconcile/recent.rs";
const QUEUE: &str = "engine/src/queue.rs";
const BREAKER: &str = "engine/src/site/breaker.rs";
const BULKHEAD: &str = "engine/src/site/bulkhead.rs";
const REPLAY: &str = "engine/src/replay.rs";
const FOLD: &str = "projections/src/fold.rs";
const LIFECYCLE: &str = "projections/src/lifecycle.rs";
const GROUND: &str = "projections/src/fold/ground.rs";

/// Two are not among them. The comparison of the recorded tail in `epoch`: while the clock of the server is never set
/// back, which it is not in the simulation, the times of the messages tell the same; a table in `epoch` tests it. And
/// sessions that end again and again while a full stream drops messages: a story ends in calm, so they end too; a test
/// on a real server has it.
static SABOTAGES: [Sabotage; 53] = [
    Sabotage {
        name: "take the event that is read last for the latest one",
        file: ORDER,
        good: "newest.filter(|_| !is_latest)",
        bad: "newest.filter(|_| !SABOTAGED && !is_latest)",
    },
    Sabotage {
        name: "compare a late event with what earlier rules decided",
        file: ORDER,
        good: "since.is_some_and(|since| *decided >= since)",
        bad: "SABOTAGED || since.is_some_and(|since| *decided >= since)",
    },
    Sabotage {
        name: "end a replay at the event that was read last",
        file: FOUND_EVENT,
        good: "self.is_over |= !is_late && lacks_own",
        bad: "self.is_over |= (SABOTAGED || !is_late) && lacks_own",
    },
    Sabotage {
        name: "make a list once and never again",
        file: "engine/src/lists.rs",
        good: "is_present && keys.until > decided",
        bad: "!SABOTAGED && is_present && keys.until > decided",
    },
    Sabotage {
        name: "acknowledge before the sync",
        file: RECORDER,
        good: "self.log.as_mut().expect(\"what was appended to is open\").sync()?;",
        bad: "if !SABOTAGED {\n self.log.as_mut().expect(\"what was appended to is open\").sync()?;\n }",
    },
    Sabotage {
        name: "skip a message now and then",
        file: STAGED,
        good: "if !is_new {",
        bad: "if !is_new || (SABOTAGED && message.sequence % 31 == 0) {",
    },
    Sabotage {
        name: "record again what comes late",
        file: STAGED,
        good: "position.is_in(epoch) && recorded.insert(late::Identity::of(message))",
        bad: "position.is_in(epoch) && (recorded.insert(late::Identity::of(message)) || SABOTAGED)",
    },
    Sabotage {
        name: "record what is recorded already",
        file: STAGED,
        good: "if epoch != self.epoch || sequence < self.next_sequence {",
        bad: "if epoch != self.epoch || (!SABOTAGED && sequence < self.next_sequence) {",
    },
    Sabotage {
        name: "open an epoch again",
        file: STAGED,
        good: "let is_new = epoch > self.epoch;",
        bad: "let is_new = epoch > self.epoch || (SABOTAGED && epoch == self.epoch);",
    },
    Sabotage {
        name: "forget the record before this one",
        file: STAGED,
        good: "self.latest.insert((source, subject), latest);",
        bad: "if !SABOTAGED {\n self.latest.insert((source, subject), latest);\n }",
    },
    Sabotage {
        name: "do not see that the stream ends before the tail",
        file: EPOCH,
        good: "if state.last_sequence + 1 < known.next_sequence {",
        bad: "if !SABOTAGED && state.last_sequence + 1 < known.next_sequence {",
    },
    Sabotage {
        name: "do not see that the stream was made again",
        file: EPOCH,
        good: "if tail.is_none() && known.created_unix_nanos",
        bad: "if !SABOTAGED && tail.is_none() && known.created_unix_nanos",
    },
    Sabotage {
        name: "do not see sequences that were given twice",
        file: EPOCH,
        good: "if let Some(unread) = held.unread {",
        bad: "if let Some(unread) = held.unread.filter(|_| !SABOTAGED) {",
    },
    Sabotage {
        name: "jump over a gap in silence",
        file: EPOCH,
        good: "return Judgement::Gap { from: known.next_sequence, to: first_held };",
        bad: "if SABOTAGED {\n return Judgement::Continue { from: first_held };\n }\n return Judgement::Gap { from: known.next_sequence, to: first_held };",
    },
    Sabotage {
        name: "read a restored stream from its beginning",
        file: EPOCH,
        good: "if state.created_unix_nanos <= known.recorded_until_unix_nanos {",
        bad: "if !SABOTAGED && state.created_unix_nanos <= known.recorded_until_unix_nanos {",
    },
    Sabotage {
        name: "do not look again once the consumer is there",
        file: READER,
        good: "if !self.is_same(&state, &now, known).await? {",
        bad: "if !SABOTAGED && !self.is_same(&state, &now, known).await? {",
    },
    Sabotage {
        name: "open a consumer before what it skips is durable",
        file: READER,
        good: "acknowledged.wait_for(|count| *count >= self.batches)",
        bad: "acknowledged.wait_for(|count| SABOTAGED || *count >= self.batches)",
    },
    Sabotage {
        name: "take a sequence that was given twice for a redelivery",
        file: READER,
        good: "if message.published_unix_nanos > known.recorded_until_unix_nanos.max(newest) {",
        bad: "if !SABOTAGED && message.published_unix_nanos > known.recorded_until_unix_nanos.max(newest) {",
    },
    Sabotage {
        name: "record a gap for what another reader got",
        file: "engine/src/intake/search.rs",
        good: "if stored.is_some_and(|stored| stored.sequence < to) {",
        bad: "if stored.is_some_and(|stored| !SABOTAGED && stored.sequence < to) {",
    },
    Sabotage {
        name: "record no gap for missing messages",
        file: READER,
        good: "if whole && message.sequence > known.next_sequence.max(self.gaps_from) {",
        bad: "if !SABOTAGED && whole && message.sequence > known.next_sequence.max(self.gaps_from) {",
    },
    Sabotage {
        name: "drop a claim",
        file: FOLD,
        good: "self.claimants.add(cluster, object, resource);",
        bad: "if !SABOTAGED {\n self.claimants.add(cluster, object, resource);\n }",
    },
    Sabotage {
        name: "lose the time up to which a stream is recorded",
        file: GROUND,
        good: "position.recorded_until_unix_nanos = position.recorded_until_unix_nanos.max(published_unix_nanos);",
        bad: "if !SABOTAGED {\n position.recorded_until_unix_nanos = position.recorded_until_unix_nanos.max(published_unix_nanos);\n }",
    },
    Sabotage {
        name: "let an old outcome settle a new decision",
        file: LIFECYCLE,
        good: "if acted_for == self.decided {\n                    self.failure = None;",
        bad: "if SABOTAGED || acted_for == self.decided {\n                    self.failure = None;",
    },
    Sabotage {
        name: "keep the checksum of what is about to be changed",
        file: LIFECYCLE,
        good: "if let Some(applied) = self.held(object).and_then(|held| held.applied.as_mut()) {",
        bad: "if let Some(applied) = self.held(object).and_then(|held| held.applied.as_mut()).filter(|_| !SABOTAGED) {",
    },
    Sabotage {
        name: "touch the cluster before it is recorded",
        file: WORK,
        good: "if !plan.intend.is_empty() {",
        bad: "if !SABOTAGED && !plan.intend.is_empty() {",
    },
    Sabotage {
        name: "keep an object whatever its manifest",
        file: PLAN,
        good: "Some(Some(applied)) if applied.digest == want.digest",
        bad: "Some(Some(applied)) if (SABOTAGED && applied.is_known()) || applied.digest == want.digest",
    },
    Sabotage {
        name: "delete whatever has the name",
        file: STEP,
        good: "Owner::Stranger => is_recorded,",
        bad: "Owner::Stranger => SABOTAGED || is_recorded,",
    },
    Sabotage {
        name: "delete what another lifecycle wants",
        file: STEP,
        good: "if circumstances.has_next_claimant {",
        bad: "if circumstances.has_next_claimant && !SABOTAGED {",
    },
    Sabotage {
        name: "act for a decision that was overtaken",
        file: TASK,
        good: "(now.decided != self.lifecycle.decided).then_some",
        bad: "(!SABOTAGED && now.decided != self.lifecycle.decided).then_some",
    },
    Sabotage {
        name: "delete for a decision that was overtaken",
        file: STEP,
        good: "if is_overtaken {",
        bad: "if !SABOTAGED && is_overtaken {",
    },
    Sabotage {
        name: "go on making what is not wanted any more",
        file: STEP,
        good: "circumstances.overtaken_by.is_some_and(|desired| !desired.is_present())",
        bad: "!SABOTAGED && circumstances.overtaken_by.is_some_and(|desired| !desired.is_present())",
    },
    Sabotage {
        name: "let two lifecycles change one object",
        file: CONFLICT,
        good: "if owner == task.index {",
        bad: "if SABOTAGED || owner == task.index {",
    },
    Sabotage {
        name: "let two lifecycles leave an object to each other",
        file: REMOVE,
        good: "projection.claims(&task.key.cluster, object).len() > 1",
        bad: "projection.claims(&task.key.cluster, object).len() > usize::from(!SABOTAGED)",
    },
    // No story of 20,000 notices it: the marks and the other claims keep from it as well, but for an order of eight events.
    Sabotage {
        name: "delete what another lifecycle claimed first",
        file: STEP,
        good: "Known::Recorded if circumstances.is_held_up => return",
        bad: "Known::Recorded if !SABOTAGED && claims.is_held_up => return",
    },
    Sabotage {
        name: "put objects into a namespace that is going",
        file: CONFLICT,
        good: "(self.is_going && object.is_in(&self.object))",
        bad: "(!SABOTAGED && self.is_going && object.is_in(&self.object))",
    },
    Sabotage {
        name: "use a namespace that may be being deleted",
        file: CONFLICT,
        good: "Some(applied) => !applied.is_known(),",
        bad: "Some(applied) => !SABOTAGED && !applied.is_known(),",
    },
    Sabotage {
        name: "forget what goes with a namespace",
        file: LOST,
        good: "lifecycle.desired.is_present() && !applies_anyway",
        bad: "!SABOTAGED && lifecycle.desired.is_present() && !applies_anyway",
    },
    Sabotage {
        name: "believe an attempt that runs though its lifecycle wants nothing when a namespace goes",
        file: REMOVE,
        good: "if is_running || has_lost {",
        bad: "if (!SABOTAGED && is_running) || has_lost {",
    },
    Sabotage {
        name: "take a namespace that nothing is known of for the one that was there",
        file: ATTEMPT,
        good: "made.push(object.object.clone());",
        bad: "made.extend((!SABOTAGED || recorded.is_some()).then(|| object.object.clone()));",
    },
    Sabotage {
        name: "record as applied what went with a namespace meanwhile",
        file: ATTEMPT,
        good: "if let Some(drifted) = lost {",
        bad: "if let Some(drifted) = lost.filter(|_| !SABOTAGED) {",
    },
    Sabotage {
        name: "remove nothing while others own what is wanted",
        file: ATTEMPT,
        good: "self.failures.is_empty() && self.conflicts",
        bad: "(!SABOTAGED || (self.conflicts.is_empty() && self.not_ours.is_empty())) && self.failures.is_empty() && self.conflicts",
    },
    Sabotage {
        name: "apply the manifests of other rules",
        file: RECENT,
        good: "(*known == source).then",
        bad: "(*known == source || (SABOTAGED && known.event == source.event)).then",
    },
    Sabotage {
        name: "render by rules that are not replayed yet",
        file: TASK,
        good: "filter(|trigger| self.decided_by == Some(trigger.digest()))",
        bad: "filter(|trigger| self.decided_by.is_some_and(|digest| SABOTAGED || digest == trigger.digest()))",
    },
    Sabotage {
        name: "forget a key that is pushed while it runs",
        file: QUEUE,
        good: "*again = true;",
        bad: "*again |= !SABOTAGED;",
    },
    Sabotage {
        name: "hold work back for ever once the cluster was silent",
        file: BREAKER,
        good: "Ok(_) | Err(_) => *state = State::default(),",
        bad: "Ok(_) | Err(_) => *state = if SABOTAGED { state.clone() } else { State::default() },",
    },
    Sabotage {
        name: "keep the places of calls that ended",
        file: BULKHEAD,
        good: "calls.under_way -= 1;",
        bad: "calls.under_way -= usize::from(!SABOTAGED);",
    },
    Sabotage {
        name: "leave what a removed trigger made",
        file: REPLAY,
        good: "filter(|(trigger, _)| matches!(rules.standing(trigger), Standing::Absent));",
        bad: "filter(|(trigger, _)| !SABOTAGED && matches!(rules.standing(trigger), Standing::Absent));",
    },
    Sabotage {
        name: "take what other rules decided for decided",
        file: "engine/src/replay/target.rs",
        good: "decided_by.is_some() && decided_by == self.digest",
        bad: "decided_by.is_some() && (SABOTAGED || decided_by == self.digest)",
    },
    Sabotage {
        name: "stop at the latest event, though it decides nothing",
        file: "engine/src/replay/reading.rs",
        good: "Ok((walk.next.is_none() || target.has_all(&walk.found), record.payload.len()))",
        bad: "Ok((SABOTAGED || walk.next.is_none() || target.has_all(&walk.found), record.payload.len()))",
    },
    Sabotage {
        name: "decide by new rules before their replay is opened",
        file: REPLAY,
        good: "filter(|target| !target.is_open);",
        bad: "filter(|target| !SABOTAGED && !target.is_open);",
    },
    Sabotage {
        name: "count a replay as begun when its rules came first, although others came between",
        file: GROUND,
        good: "(redecisions.is_empty() && allowance.is_none()) || known",
        bad: "(redecisions.is_empty() && allowance.is_none() && !SABOTAGED) || known",
    },
    Sabotage {
        name: "keep an object that a lower tier wants",
        file: WORK,
        good: "tier < handling.tier)",
        bad: "tier < handling.tier && !SABOTAGED)",
    },
    Sabotage {
        name: "make an object again without a record",
        file: APPLY,
        good: "if self.noted.note(task.index, &uid) {",
        bad: "if !SABOTAGED && self.noted.note(task.index, &uid) {",
    },
];

fn main() -> ExitCode {
    let wanted: Vec<String> = env::args().skip(1).collect();
    if wanted.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let is_wanted = |one: &Sabotage| wanted.is_empty() || wanted.iter().any(|part| one.name.contains(part.as_str()));
    let chosen: Vec<_> = (1..).zip(sabotages()).filter(|(_, one)| is_wanted(one)).collect();
    if chosen.is_empty() {
        eprintln!("error: no sabotage has `{}` in its name\n\n{USAGE}", wanted.join(" "));
        return ExitCode::from(2);
    }
    match try_all(&chosen) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// All of them.
fn sabotages() -> impl Iterator<Item = &'static Sabotage> {
    SABOTAGES.iter().chain(&by_hand::SABOTAGES).chain(&others::SABOTAGES)
}

fn try_all(chosen: &[(usize, &Sabotage)]) -> Result<bool, String> {
    let mut files = workspace_files()?;
    for (number, sabotage) in (1..).zip(sabotages()) {
        sabotage.put_into(&mut files, number)?;
    }
    let copy = target_folder().join("sabotage");
    write_changed(&copy, &files)?;
    let seeds = env::var("LIFELINE_SIMULATION_SEEDS").unwrap_or_else(|_| STORIES_MAX.to_string());
    println!("{:>8}  {:61}  first broken promise", "stories", "sabotage");
    let whole = play(&copy, 0, &seeds)?;
    println!("{:>8}  {:61}  {}", whole.stories, "none", whole.promise.as_deref().unwrap_or("none"));
    let mut is_well = whole.promise.is_none() && whole.found.is_empty();
    let mut noticed: BTreeSet<String> = BTreeSet::new();
    for (number, sabotage) in chosen {
        let Played { stories, promise, found } = play(&copy, *number, &seeds)?;
        is_well &= promise.is_some();
        println!(
            "{stories:>8}  {:61}  {}",
            sabotage.name,
            promise.as_deref().unwrap_or(if found.is_empty() { "NOT NOTICED" } else { "by known stories alone" })
        );
        // What nearly every story notices shows nothing about one of them.
        if found.len() <= SPECIFIC_MAX {
            found.iter().for_each(|story| println!("{:>8}  {:61}  {story}", "", "  and the known story"));
            noticed.extend(found);
        }
    }
    if chosen.len() == sabotages().count() {
        for found in FOUND.iter().filter(|found| !noticed.contains(found.name)) {
            println!("{:>8}  no sabotage is noticed by the known story: {}", "-", found.name);
            is_well = false;
        }
    }
    Ok(is_well)
}

impl Sabotage {
    /// Puts it into the source, where its number is asked for.
    fn put_into(&self, files: &mut Files, number: usize) -> Result<(), String> {
        edit(files, self.file, |source| {
            let found = source.matches(self.good).count();
            if found != 1 {
                return Err(format!("{}: the piece for `{}` was found {found} times", self.file, self.name));
            }
            let bad = self.bad.replace("SABOTAGED", &format!("lifeline_store::sabotaged({number})"));
            Ok(source.replacen(self.good, &bad, 1))
        })
    }
}

/// What came of a sabotage.
struct Played {
    /// Stories until a promise was broken, or all of them.
    stories: u64,
    /// The promise, if one was broken.
    promise: Option<String>,
    /// The stories of [`FOUND`] that noticed it too.
    found: Vec<String>,
}

/// Plays stories until one breaks a promise, and those that once did.
fn play(workspace: &Path, number: usize, seeds: &str) -> Result<Played, String> {
    let output = Command::new("timeout")
        .arg(DEADLINE_SECONDS.to_string())
        .arg(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(workspace)
        .args(["test", "--release", "--package", "lifeline-tests", "--no-default-features", "--test", "simulation"])
        .args(["--", "--nocapture", "--test-threads", "1", "a_crash_anywhere", "what_broke_a_promise"])
        .env("CARGO_TARGET_DIR", target_folder())
        .env("RUST_BACKTRACE", "0")
        .env("LIFELINE_SABOTAGE", number.to_string())
        .env("LIFELINE_SIMULATION_SEEDS", seeds)
        .env("LIFELINE_SIMULATION_STOPS_EARLY", "1")
        .output()
        .map_err(|error| format!("`timeout` and cargo cannot be started: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let is_over = output.status.code() == Some(DEADLINE_EXCEEDED);
    let stories = text.lines().find_map(|line| line.trim().split_once("  stories in ")?.0.parse().ok());
    let stories: u64 = match stories {
        Some(stories) => stories,
        None if is_over => 0,
        None => return Err(format!("no story was played:\n{text}")),
    };
    let mut lines = text.lines().skip_while(|line| !line.ends_with(" stories broke a promise"));
    let promise = lines.nth(2).map(|line| line.trim().to_owned());
    let promise = promise.or_else(|| is_over.then(|| "a story does not end".to_owned()));
    let found = text.lines().filter_map(|line| Some(line.trim().strip_prefix("BROKEN: ")?.to_owned())).collect();
    Ok(Played { stories, promise, found })
}

/// The target folder of this program: what the copy depends on is built there already.
fn target_folder() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    program.ancestors().nth(2).unwrap_or(Path::new("target")).to_owned()
}

/// Files by their paths in the workspace.
type Files = BTreeMap<String, Vec<u8>>;

/// Every file that git knows, with what all sabotages need.
fn workspace_files() -> Result<Files, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the workspace has no folder")?;
    let listed = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output();
    let listed = listed.map_err(|error| format!("git cannot be started: {error}"))?;
    if !listed.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&listed.stderr)));
    }
    let names = String::from_utf8_lossy(&listed.stdout);
    let names = names.split('\0').filter(|name| !name.is_empty());
    // A file that was deleted and is still known to git is no longer there.
    let mut files: Files = names.filter_map(|name| Some((name.to_owned(), fs::read(root.join(name)).ok()?))).collect();
    // Cargo tells packages apart by name and version. Under the same version, it would take this build for the next one
    // of the workspace.
    edit(&mut files, "Cargo.toml", |text| Ok(text.replacen(VERSION, &format!("{VERSION}-sabotage"), 1)))?;
    edit(&mut files, "store/src/lib.rs", |text| Ok(text + SWITCH))?;
    Ok(files)
}

/// Writes files into a folder. Those that are there already keep their time, and are not built again.
fn write_changed(folder: &Path, files: &Files) -> Result<(), String> {
    for (name, content) in files {
        let file = folder.join(name);
        if fs::read(&file).is_ok_and(|there| there == *content) {
            continue;
        }
        let of_file = |error| format!("{}: {error}", file.display());
        fs::create_dir_all(file.parent().unwrap_or(folder)).map_err(of_file)?;
        fs::write(&file, content).map_err(of_file)?;
    }
    Ok(())
}

/// The version of the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Joins the lowest crate of the copy.
const SWITCH: &str = r#"
/// Whether a sabotage is to happen.
pub fn sabotaged(number: u32) -> bool {
    static CHOSEN: std::sync::LazyLock<Option<u32>> =
        std::sync::LazyLock::new(|| std::env::var("LIFELINE_SABOTAGE").ok()?.parse().ok());
    *CHOSEN == Some(number)
}
"#;

fn edit(files: &mut Files, name: &str, change: impl FnOnce(String) -> Result<String, String>) -> Result<(), String> {
    let content = files.get_mut(name).ok_or_else(|| format!("{name}: no such file"))?;
    let text = String::from_utf8_lossy(content).into_owned();
    *content = change(text)?.into_bytes();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_piece_is_in_the_source_once() {
        let mut files = workspace_files().expect("the workspace of this test");
        for (number, sabotage) in (1..).zip(sabotages()) {
            sabotage.put_into(&mut files, number).expect(sabotage.name);
        }
    }
}
