//! `lifeline demo`: the story of one user, shown while it happens.
//!
//! Start at [`demo`], which is the story; [`stage`] holds the servers it is played on. Everything is real: a nats-server, the
//! engine as a process of its own that is really killed, and the API of that engine.
//!
//! Never here: anything made up. Every figure in the narration was measured a moment before.

mod stage;

use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use lifeline_projections::history::Entry;

use crate::servers::Progress;
use crate::terminal::fail;
use stage::{Error, Stage};

/// CloudEvent source of the story.
const SOURCE: &str = "auth.example.com";

/// CloudEvent subject: who logs in.
const USER: &str = "mgianluc";

/// NATS subject.
const NATS_SUBJECT: &str = "user-operation";

/// How long a reader gets for an act.
const PAUSE: Duration = Duration::from_millis(1_800);

/// What `lifeline demo` was given.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Use the cluster of the current kubeconfig instead of a local one.
    #[arg(long)]
    pub kube: bool,
    /// Do not pause between the acts.
    #[arg(long)]
    pub fast: bool,
    /// Keep the servers after the story, until Ctrl-C: to publish and ask on one's own.
    #[arg(long)]
    pub keep: bool,
}

/// Plays the story; the exit code says whether it went as it should.
#[must_use]
pub fn demo(args: DemoArgs) -> ExitCode {
    match play(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn play(args: &DemoArgs) -> Result<(), Error> {
    let pause = if args.fast { Duration::ZERO } else { PAUSE };
    say("Lifeline: Kubernetes resources that live exactly as long as your events say.");
    let mut stage = Stage::set(args.kube, Progress::on_stderr())?;
    say(&stage.describe());
    say("\nThe rules are two manifests of Project Sveltos, as its documentation has them:");
    say("   EventSource/user-operation     events on `user-operation` from `auth.example.com`");
    say("   EventTrigger/manage-namespace  login: create Namespace/USER    logout: delete it");
    wait(pause);

    say("\n① A user logs in");
    let login = stage.publish(NATS_SUBJECT, &event("login"))?;
    say(&command(&event("login")));
    let born = stage.settled(login, "Applied")?;
    tell_event(&stage, login)?;
    say(&format!("   + Namespace/{USER:<22} {} after the event", since(&stage, login, &born)?));
    let uid = stage.uid()?;
    wait(pause);

    say("\n② The engine dies (SIGKILL); the user logs in again, twice, while it is away");
    stage.kill_engine();
    stage.publish(NATS_SUBJECT, &event("login"))?;
    let last = stage.publish(NATS_SUBJECT, &event("login"))?;
    wait(pause / 2);
    let before = Instant::now();
    stage.start_engine()?;
    stage.settled(last, "Applied")?;
    let back = before.elapsed();
    let status = stage.status()?;
    let same = if stage.uid()? == uid { "untouched (same uid)" } else { "MADE AGAIN (another uid)" };
    say(&format!(
        "   ... engine back after {}: 2 events recorded, {} reconciliation, Namespace/{USER} {same}",
        in_millis(back),
        status.reconciliations
    ));
    wait(pause);

    say("\n③ The user logs out");
    let logout = stage.publish(NATS_SUBJECT, &event("logout"))?;
    say(&command(&event("logout")));
    if args.kube {
        say("   (a Namespace takes some seconds to finish terminating)");
    }
    let gone = stage.settled(logout, "Deleted")?;
    tell_event(&stage, logout)?;
    say(&format!("   - Namespace/{USER:<22} {} after the event", since(&stage, logout, &gone)?));
    wait(pause);

    say("\n④ Ask it anything");
    stage.ask(&["history", SOURCE, USER])?;
    stage.ask(&["get", "lifecycles"])?;
    if args.keep {
        say("\nThe servers go on until you press Ctrl-C. In another terminal:");
        let [engine, nats] = stage.addresses();
        say(&format!("   export LIFELINE_SERVER={engine} NATS_URL={nats}"));
        say(&format!("   nats pub {NATS_SUBJECT} '{}'", event("login")));
        say("   lifeline get lifecycles --watch");
        stage.wait_until_interrupted()?;
    }
    say("\nNothing of this is left behind: the servers and their folder go now.");
    say("Try next: lifeline run --help · the same on your own cluster: lifeline demo --kube");
    Ok(())
}

/// The event as the seed has it, but for its type and message.
fn event(operation: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","type":"auth.example.com.{operation}","source":"{SOURCE}","id":"10001","subject":"{USER}","datacontenttype":"application/json","data":{{"message":"User {USER} {operation}"}}}}"#
    )
}

/// What a person would type to publish it.
fn command(event: &str) -> String {
    let shown = event.replacen(r#""specversion":"1.0","#, "", 1);
    let end = shown.find(r#","datacontenttype""#).unwrap_or(shown.len());
    format!("   $ nats pub {NATS_SUBJECT} '{} ...}}'", &shown[..end])
}

fn tell_event(stage: &Stage, sequence: u64) -> Result<(), Error> {
    let entry = stage.event(sequence)?;
    let mut line = format!("   recorded at offset {}, durable before it was acknowledged", entry.offset);
    for decision in entry.event.iter().flat_map(|event| &event.decisions) {
        let _ = write!(line, "\n   {} decided {}", decision.trigger, decision.action);
    }
    say(&line);
    Ok(())
}

/// The time between the server's stamp on an event and the record of its outcome.
fn since(stage: &Stage, sequence: u64, outcome: &Entry) -> Result<String, Error> {
    let entry = stage.event(sequence)?;
    let parse = |time: &str| time.parse::<jiff::Timestamp>().ok();
    let published = entry.event.and_then(|event| parse(&event.published));
    let (Some(from), Some(to)) = (published, outcome.time.as_deref().and_then(parse)) else {
        return Ok("?".to_owned());
    };
    Ok(in_millis(to.duration_since(from).try_into().unwrap_or_default()))
}

fn in_millis(duration: Duration) -> String {
    if duration < Duration::from_secs(10) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

fn say(text: &str) {
    // The narration is what was asked for, so it goes to standard output; nobody reading any more is no failure.
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn wait(pause: Duration) {
    std::thread::sleep(pause);
}
