//! `cargo sabotage`: breaks the engine on purpose, one way at a time, and shows that the simulation notices.
//!
//! A simulation that finds nothing wrong says little before it is known what it would find. Each sabotage replaces a piece of the
//! engine's source, in a copy of the workspace, and plays stories until a promise is broken. What is not noticed is a failure,
//! and so is a piece that the source no longer has: then the sabotage has to follow the code.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
Breaks the engine on purpose and shows how many stories the simulation needs to notice.

Usage: cargo sabotage [-- NAME...]

  NAME    A part of the names of the sabotages to try; all of them otherwise

LIFELINE_SIMULATION_SEEDS: stories at most for each (20,000). LIFELINE_SIMULATION_FIRST: the first seed (0).
Exit code: 0 all were noticed, 1 one was not, 2 wrong usage. The first build takes minutes, each of the others about one.";

/// Stories at most for each sabotage.
const STORIES_MAX: u64 = 20_000;

/// One way to break the engine.
struct Sabotage {
    name: &'static str,
    file: &'static str,
    /// Stands in the file exactly once.
    good: &'static str,
    bad: &'static str,
}

const RECORDER: &str = "engine/src/recorder.rs";
const STAGED: &str = "engine/src/recorder/staged.rs";
const EPOCH: &str = "engine/src/intake/epoch.rs";
const READER: &str = "engine/src/intake/reader.rs";
const PLAN: &str = "engine/src/reconcile/plan.rs";
const WORK: &str = "engine/src/reconcile/work.rs";
const QUEUE: &str = "engine/src/reconcile/queue.rs";
const REPLAY: &str = "engine/src/replay.rs";
const FOLD: &str = "projections/src/fold.rs";
const LIFECYCLE: &str = "projections/src/lifecycle.rs";
const GROUND: &str = "projections/src/fold/ground.rs";

const SABOTAGES: [Sabotage; 27] = [
    Sabotage {
        name: "acknowledge before the sync",
        file: RECORDER,
        good: "self.log.as_mut().expect(\"what was appended to is open\").sync()?;",
        bad: "",
    },
    Sabotage {
        name: "skip a message now and then",
        file: RECORDER,
        good: "if !position.is_new(*epoch, message.sequence) {",
        bad: "if !position.is_new(*epoch, message.sequence) || message.sequence % 31 == 0 {",
    },
    Sabotage {
        name: "record what is recorded already",
        file: STAGED,
        good: "if epoch != self.epoch || sequence < self.next_sequence {",
        bad: "if epoch != self.epoch {",
    },
    Sabotage {
        name: "open an epoch again",
        file: STAGED,
        good: "let is_new = epoch > self.epoch;",
        bad: "let is_new = epoch >= self.epoch;",
    },
    Sabotage {
        name: "forget the record before this one",
        file: STAGED,
        good: "self.latest.insert(whose, self.log.end());\n                let view",
        bad: "let view",
    },
    Sabotage {
        name: "take any message at the tail for ours",
        file: EPOCH,
        good: "&& last != at_tail\n",
        bad: "&& last.sequence != at_tail.sequence\n",
    },
    Sabotage {
        name: "do not see that the stream ends before the tail",
        file: EPOCH,
        good: "if state.last_sequence + 1 < known.next_sequence {",
        bad: "if false {",
    },
    Sabotage {
        name: "do not see that the stream was made again",
        file: EPOCH,
        good: "if tail.is_none() && known.created_unix_nanos != state.created_unix_nanos {",
        bad: "if false {",
    },
    Sabotage {
        name: "do not see sequences that were given twice",
        file: EPOCH,
        good: "if let Some(unread) = held.unread {",
        bad: "if let Some(unread) = held.unread.filter(|_| false) {",
    },
    Sabotage {
        name: "jump over a gap in silence",
        file: EPOCH,
        good: "return Verdict::Gap { from: known.next_sequence, to: first_held };",
        bad: "return Verdict::Continue { from: first_held };",
    },
    Sabotage {
        name: "read a restored stream from its beginning",
        file: EPOCH,
        good: "if state.created_unix_nanos <= known.recorded_until_unix_nanos {",
        bad: "if false {",
    },
    Sabotage {
        name: "forget an epoch's last message in the next one",
        file: READER,
        good: "recorded_until_unix_nanos: self.known.map_or(0, |known| known.recorded_until_unix_nanos),",
        bad: "recorded_until_unix_nanos: 0,",
    },
    Sabotage {
        name: "do not look again once the consumer is there",
        file: READER,
        good: "|| epoch::judge(Some(&known), &now, &held) != (Verdict::Continue { from })",
        bad: "|| (from == 0 && held != Held::default())",
    },
    Sabotage {
        name: "open a consumer before what it skips is durable",
        file: READER,
        good: "_ = acknowledged.wait_for(|count| *count >= self.batches) => {}",
        bad: "_ = acknowledged.wait_for(|_| true) => {}",
    },
    Sabotage {
        name: "hand over a hole without a word",
        file: READER,
        good: "if whole && message.sequence > known.next_sequence.max(self.gaps_from) {",
        bad: "if false {",
    },
    Sabotage { name: "drop a claim", file: FOLD, good: "self.claimants.add(cluster, object, index);", bad: "" },
    Sabotage {
        name: "lose the time up to which a stream is recorded",
        file: GROUND,
        good: "position.recorded_until_unix_nanos = position.recorded_until_unix_nanos.max(published_unix_nanos);",
        bad: "",
    },
    Sabotage {
        name: "let an old outcome settle a new decision",
        file: LIFECYCLE,
        good: "self.note_applied(offset, unix_nanos, acted_for, objects);\n                if acted_for == self.decided {\n                    self.failure = None;",
        bad: "self.note_applied(offset, unix_nanos, acted_for, objects);\n                {\n                    self.failure = None;",
    },
    Sabotage {
        name: "take what is about to be changed for unchanged",
        file: LIFECYCLE,
        good: "if let Some(applied) = &mut self.hold(object, offset).applied {",
        bad: "if let Some(applied) = self.hold(object, offset).applied.as_mut().filter(|_| false) {",
    },
    Sabotage {
        name: "touch the cluster before it is recorded",
        file: WORK,
        good: "if !plan.intend.is_empty() {",
        bad: "if plan.intend.len() > 100 {",
    },
    Sabotage {
        name: "keep an object whatever its manifest",
        file: PLAN,
        good: "Some(Some(applied)) if applied.digest == want.digest",
        bad: "Some(Some(applied)) if applied.digest != DIGEST_UNKNOWN",
    },
    Sabotage {
        name: "delete whatever has the name",
        file: PLAN,
        good: "Owner::Stranger => is_known,",
        bad: "Owner::Stranger => true,",
    },
    Sabotage {
        name: "delete what another lifecycle wants",
        file: PLAN,
        good: "if claims.has_heir { Removal::HandOver } else { Removal::Delete { uid: &live.uid } }",
        bad: "Removal::Delete { uid: &live.uid }",
    },
    Sabotage {
        name: "let two lifecycles change one object",
        file: WORK,
        good: "if Some(owner) == us {",
        bad: "if Some(owner) == us || true {",
    },
    Sabotage {
        name: "render by rules that are not replayed yet",
        file: WORK,
        good: "if trigger.map(Trigger::digest) != task.decided_by {",
        bad: "if trigger.map(Trigger::digest) != task.decided_by && task.decided_by.is_none() {",
    },
    Sabotage {
        name: "forget a key that is pushed while it runs",
        file: QUEUE,
        good: "self.again.insert(key);",
        bad: "",
    },
    Sabotage {
        name: "leave what a removed trigger made",
        file: REPLAY,
        good: "if matches!(rules.standing(trigger), Standing::Absent) {",
        bad: "if matches!(rules.standing(trigger), Standing::Absent) && mark.leaves {",
    },
];

fn main() -> ExitCode {
    let wanted: Vec<String> = env::args().skip(1).collect();
    if wanted.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let is_wanted = |one: &&Sabotage| wanted.is_empty() || wanted.iter().any(|part| one.name.contains(part.as_str()));
    let chosen: Vec<&Sabotage> = SABOTAGES.iter().filter(is_wanted).collect();
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

fn try_all(chosen: &[&Sabotage]) -> Result<bool, String> {
    let copy = copy_workspace()?;
    println!("{:>8}  {:48}  first broken promise", "stories", "sabotage");
    let mut all_noticed = true;
    for sabotage in chosen {
        let file = copy.join(sabotage.file);
        let source = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let found = source.matches(sabotage.good).count();
        if found != 1 {
            println!("{:>8}  {:48}  its piece stands {found} times in {}", "-", sabotage.name, sabotage.file);
            all_noticed = false;
            continue;
        }
        write(&file, &source.replacen(sabotage.good, sabotage.bad, 1))?;
        let outcome = play(&copy);
        write(&file, &source)?;
        match outcome? {
            Some((stories, promise)) => println!("{stories:>8}  {:48}  {promise}", sabotage.name),
            None => {
                println!("{:>8}  {:48}  NOT NOTICED", "-", sabotage.name);
                all_noticed = false;
            }
        }
    }
    Ok(all_noticed)
}

/// Plays stories until one breaks a promise: how many it took, and which promise it was.
fn play(workspace: &Path) -> Result<Option<(u64, String)>, String> {
    let seeds = env::var("LIFELINE_SIMULATION_SEEDS").unwrap_or_else(|_| STORIES_MAX.to_string());
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(workspace)
        .args(["test", "--release", "--package", "lifeline-tests", "--no-default-features", "--test", "simulation"])
        .args(["--", "--nocapture", "a_crash_anywhere"])
        .env("CARGO_INCREMENTAL", "1")
        .env("CARGO_TARGET_DIR", target_folder())
        .env("RUST_BACKTRACE", "0")
        .env("LIFELINE_SIMULATION_SEEDS", seeds)
        .env("LIFELINE_SIMULATION_STOPS_EARLY", "1")
        .output()
        .map_err(|error| format!("cargo cannot be started: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let stories = text.lines().find_map(|line| line.trim().split_once("  stories in ")?.0.parse().ok());
    let stories: u64 = stories.ok_or_else(|| format!("no story was played:\n{text}"))?;
    let promise = text.lines().skip_while(|line| !line.starts_with("seed ")).nth(1).map(|line| line.trim().to_owned());
    Ok(promise.filter(|_| !output.status.success()).map(|promise| (stories, promise)))
}

/// The target folder of this program: what the copy depends on is built there already.
fn target_folder() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    program.ancestors().nth(2).unwrap_or(Path::new("target")).to_owned()
}

/// Copies everything that git knows into a folder of its own. What has not changed keeps its time, and is not built again.
fn copy_workspace() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the workspace has no folder")?;
    let listed = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output();
    let listed = listed.map_err(|error| format!("git cannot be started: {error}"))?;
    let copy = target_folder().join("sabotage");
    for name in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (root.join(name), copy.join(name));
        let Ok(content) = fs::read(&from) else { continue };
        if fs::read(&to).is_ok_and(|there| there == content) {
            continue;
        }
        let folder = to.parent().ok_or("a file has no folder")?;
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        fs::write(&to, content).map_err(|error| format!("{}: {error}", to.display()))?;
    }
    Ok(copy)
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}
