//! Short stories, each named by what must hold in it. Stories like them once broke a promise.
//!
//! Start at [`FOUND`]. Each is played with many seeds, which give it other delays. New ones come from [`super::shrink`].
//! `cargo sabotage` shows which sabotage each of them notices.

use std::time::Duration;

use lifeline_engine::intake::jetstream::Retention;

use super::rules::Version;
use super::script::{Action, Ending, Message, Script, Step};

/// A short story.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// What must hold.
    pub name: &'static str,
    /// With how many seeds it is played.
    pub seeds: u64,
    retention: Retention,
    unkind_cluster: bool,
    has_foreign: bool,
    detects_drift: bool,
    steps: fn(u64) -> Vec<Step>,
}

impl Found {
    /// Its script, with the delays of a seed.
    #[must_use]
    pub fn script(&self, seed: u64) -> Script {
        let mut steps = vec![at_once(Action::Rules(Version::First))];
        steps.extend((self.steps)(seed));
        let Found { retention, unkind_cluster, has_foreign, detects_drift, .. } = *self;
        Script {
            seed,
            retention,
            messages_max: usize::MAX,
            unkind_server: false,
            unkind_cluster,
            has_foreign,
            detects_drift,
            steps,
        }
    }
}

/// Most stories: nothing is lost on the way.
const fn found(name: &'static str, steps: fn(u64) -> Vec<Step>) -> Found {
    Found {
        name,
        seeds: 50,
        retention: Retention::Limits,
        unkind_cluster: false,
        has_foreign: false,
        detects_drift: false,
        steps,
    }
}

/// All of them.
pub const FOUND: [Found; 14] = [
    found("messages after an end that was lost twice are recorded", lost_twice),
    Found {
        retention: Retention::WorkQueue,
        ..found("a work queue that gives acknowledged sequences again is read from there", lost_twice)
    },
    // The end must be lost after the reader asked for the stream's state and before its consumer exists; the seeds try many
    // moments.
    Found {
        seeds: 200,
        ..found("a tail that is lost while the consumer is made is noticed", |seed| {
            let mut steps = logins(0..4);
            steps.extend([wait(2_000), end(Ending::Kill, 100), wait(100 + seed / 2), lose(2)]);
            steps.extend(logins(4..9));
            steps
        })
    },
    found("what fills a recorded gap is recorded", |_| {
        let mut steps = logins(0..5);
        steps.extend([wait(2_000), end(Ending::Stop, 3_000)]);
        steps.extend(logins(5..10));
        steps.extend([at_once(Action::Purge { per_mille: 1_000 }), wait(6_000), lose(3)]);
        steps.extend(logins(10..16));
        steps
    }),
    Found {
        seeds: 300,
        unkind_cluster: true,
        ..found("objects that two lifecycles release and want again are made once", |seed| {
            vec![
                publish(0, ANN, "login"),
                publish(1, OTHER_ANN, "login"),
                wait(5_000),
                publish(2, OTHER_ANN, "logout"),
                publish(3, ANN, "logout"),
                wait(seed * 2),
                publish(4, OTHER_ANN, "login"),
                publish(5, ANN, "login"),
            ]
        })
    },
    Found {
        seeds: 300,
        unkind_cluster: true,
        ..found("an object that is being deleted is made again when the rules change back", |_| {
            vec![
                publish(0, ANN, "login"),
                wait(2_000),
                at_once(Action::Rules(Version::Fewer)),
                wait(400),
                at_once(Action::Rules(Version::First)),
            ]
        })
    },
    Found {
        seeds: 200,
        ..found("two lifecycles that let go at once leave nothing", |seed| {
            vec![
                publish(0, ANN, "login"),
                publish(1, OTHER_ANN, "login"),
                wait(20_000),
                publish(2, ANN, "logout"),
                wait(seed),
                publish(3, OTHER_ANN, "logout"),
            ]
        })
    },
    // The second owner may not know which Namespace it deleted, for no answer to its own apply came.
    Found {
        seeds: 1_000,
        unkind_cluster: true,
        ..found("a guest is made again in a Namespace that changed owners and was made again", |seed| {
            vec![
                at_once(Action::Rules(Version::WithGuests)),
                publish(0, OTHER_ANN, "login"),
                publish(1, ANN, "login"),
                wait(10_000),
                publish(2, OTHER_ANN, "logout"),
                wait(seed % 200),
                publish(3, ANN, "logout"),
                wait(seed / 5),
                publish(4, ANN, "login"),
            ]
        })
    },
    // The answer to the apply of the guest has to be slower than the deletion of the Namespace.
    Found {
        seeds: 1_000,
        unkind_cluster: true,
        ..found("a guest that went with its Namespace while it was applied waits for another", |seed| {
            vec![
                at_once(Action::Rules(Version::WithGuests)),
                publish(0, ANN, "login"),
                wait(50 + seed),
                publish(1, ANN, "logout"),
                wait(10_000),
            ]
        })
    },
    // The answer to the apply of the guest has to be slower than the deletion of the Namespace and the change of the rules.
    Found {
        seeds: 1_000,
        unkind_cluster: true,
        ..found("a guest that went while nobody wanted it does not count as there when other rules want it", |seed| {
            vec![
                at_once(Action::Rules(Version::WithGuests)),
                publish(0, ANN, "login"),
                wait(10_000),
                publish(1, ANN, "login"),
                wait(50 + seed / 5),
                publish(2, ANN, "suspend"),
                publish(3, ANN, "logout"),
                wait(500),
                at_once(Action::Rules(Version::GuestsStay)),
            ]
        })
    },
    Found {
        has_foreign: true,
        ..found("an unwanted object is deleted although another object belongs to another owner", |_| {
            vec![publish(0, BOB, "login"), wait(2_000), at_once(Action::Rules(Version::Fewer)), wait(500)]
        })
    },
    // The edit has to come after the apply and before its outcome, and the two messages before that as well.
    Found {
        seeds: 300,
        unkind_cluster: true,
        detects_drift: true,
        ..found("an edit of an object that is unwanted for a moment is put back", |seed| {
            let edits = Action::Meddle { which: seed, deletes: false };
            vec![
                publish(0, ANN, "login"),
                wait(20 + seed / 3),
                at_once(edits),
                publish(1, ANN, "logout"),
                wait(seed % 20),
                publish(2, ANN, "login"),
                wait(10_000),
            ]
        })
    },
    Found {
        seeds: 300,
        unkind_cluster: true,
        detects_drift: true,
        ..found("a Namespace that somebody deletes while what is in it is applied is made again", |seed| {
            let deletes = Action::Meddle { which: seed, deletes: true };
            let hangs = Action::KindHangs { kind: "ConfigMap", pause: Duration::from_secs(5) };
            vec![at_once(hangs), publish(0, ANN, "login"), wait(20 + seed / 3), at_once(deletes), wait(60_000)]
        })
    },
    Found {
        seeds: 300,
        unkind_cluster: true,
        detects_drift: true,
        ..found("what goes unseen while it is unwanted for a moment is made again", |seed| {
            let hangs = Action::KindHangs { kind: "ConfigMap", pause: Duration::from_secs(20) };
            vec![
                at_once(hangs),
                publish(0, ANN, "login"),
                wait(500),
                at_once(Action::ClusterAway(Duration::from_secs(2))),
                wait(1_000),
                at_once(Action::Meddle { which: seed, deletes: true }),
                publish(1, ANN, "logout"),
                wait(500 + 10 * seed),
                // It wants the Namespace alone, so nothing else shows that it is missing.
                publish(2, ANN, "visit"),
                wait(60_000),
            ]
        })
    },
];

const ANN: (&str, &str) = ("auth", "ann");
const OTHER_ANN: (&str, &str) = ("sso", "ann");
const BOB: (&str, &str) = ("auth", "bob");

fn at_once(action: Action) -> Step {
    Step { action, pause: Duration::ZERO }
}

fn wait(millis: u64) -> Step {
    Step { action: Action::Wait, pause: Duration::from_millis(millis) }
}

fn publish(number: u64, resource: (&str, &str), kind: &str) -> Step {
    at_once(Action::Publish(Message::new(number, resource, kind)))
}

/// Logins of one user; the numbers name the messages.
fn lost_twice(_: u64) -> Vec<Step> {
    let mut steps = logins(0..10);
    steps.extend([wait(2_000), lose(2), wait(1_500), lose(3)]);
    steps.extend(logins(10..18));
    steps
}

fn logins(numbers: std::ops::Range<u64>) -> Vec<Step> {
    numbers.map(|number| publish(number, BOB, "login")).collect()
}

fn lose(messages: u64) -> Step {
    at_once(Action::LoseTail { messages, cuts: true })
}

fn end(how: Ending, away_millis: u64) -> Step {
    at_once(Action::End { how, away: Duration::from_millis(away_millis) })
}
