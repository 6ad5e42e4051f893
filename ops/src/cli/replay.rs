//! `replay`: the recorded events are decided again for a trigger, under the rules in force.
//!
//! Start at [`replay`]. The engine does it; here it is asked for, and followed to its end.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use lifeline_engine::status::{ReplayStatus, ReplayedStatus, Status};

use super::ask::EngineArgs;
use super::{moment, output, plan};
use crate::api::replay::{ReplayOrder, Replaying};
use crate::client::{Client, Error, Query};
use crate::servers::{Progress, Step};
use crate::terminal::{count, fail};

const EXAMPLES: &str = "\
Examples:
  lifeline replay --trigger manage --dry-run        what it would do
  lifeline replay --trigger manage                  decides all of them again
  lifeline replay --trigger manage --from 2h        of resources with events since
  lifeline replay --trigger manage --put-back       and looks at each object

Each resource is decided and rendered again, as if the rules had just come, and
compared with what was applied. What is as it was is not applied again, and not
looked at in the cluster. Asking twice does no harm. It is done by the engine,
which also goes on after Ctrl-C here, or after a restart.
With --put-back each object is looked at as well, and what others changed or
deleted is put back, such as after a backup of the cluster was restored; but
not with `syncMode: OneTime` or `DryRun`, and no Job or Pod that is gone. A
restart forgets what was not looked at yet: ask again. It has no --dry-run.
With --dry-run it exits with 2 where something would change, as `plan` does.";

/// How often it is looked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// `lifeline replay`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReplayArgs {
    /// The EventTrigger.
    #[arg(long, value_name = "NAME")]
    pub trigger: String,
    /// Only resources that an event from this offset or time on spoke of, or of the last while, such as 2h.
    #[arg(long, value_name = "OFFSET|TIME", value_parser = moment::parse)]
    pub from: Option<String>,
    /// Look at each object in the cluster too, and put back what others changed or deleted.
    #[arg(long, conflicts_with = "dry_run")]
    pub put_back: bool,
    /// Only show what it would do.
    #[arg(long)]
    pub dry_run: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Asks for it, and says what came of it.
pub fn replay(args: &ReplayArgs) -> Result<ExitCode, Error> {
    let client = args.engine.client()?;
    let ReplayArgs { trigger, from, put_back, dry_run, .. } = args.clone();
    let order = ReplayOrder { trigger, from, put_back, dry_run };
    let began: Replaying = client.post("/v1/replay", &order)?;
    if let Some(preview) = &began.plan {
        return plan::show(preview, &[], args.engine.output);
    }
    if !began.begun {
        output::remark(&format!("`{}` is being decided again already", began.trigger));
    }
    let followed = client.until_interrupted(follow(&client, &began, put_back))?;
    let Some(done) = followed.transpose()? else {
        output::remark("the engine goes on: `lifeline status` says how far it is");
        return Ok(ExitCode::FAILURE);
    };
    match done {
        Done::Over(over) => {
            if !output::structured(&over, args.engine.output)? {
                let ReplayedStatus { trigger, resources, decided, otherwise, .. } = over;
                let (resources, decided) = (count(resources as u64, "resource"), count(decided, "lifecycle"));
                output::data(&format!(
                    "replayed EventTrigger/{trigger}: {resources} looked at, {decided} decided again, {otherwise} with another result\n"
                ))?;
                let applied = match put_back {
                    true => "what differs from that, or may have been changed or deleted by others, is applied",
                    false => "only what differs from that is applied",
                };
                output::remark(&format!(
                    "what was decided again is rendered and compared with what was applied; {applied}: `lifeline get lifecycles \
                     --trigger {trigger}`"
                ));
            }
            Ok(ExitCode::SUCCESS)
        }
        Done::Stays(why) => {
            fail(&Error::Given(why));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// How following ends.
enum Done {
    /// It came to its end.
    Over(ReplayedStatus),
    /// It waits for somebody, or cannot be completed.
    Stays(String),
}

/// Shows how far it is until it is over, with the objects that are looked at.
async fn follow(client: &Client, began: &Replaying, puts_back: bool) -> Result<Done, Error> {
    let done = follow_history(client, began).await?;
    if puts_back {
        follow_objects(client).await?;
    }
    Ok(done)
}

/// Shows how far it is until all is decided again.
async fn follow_history(client: &Client, began: &Replaying) -> Result<Done, Error> {
    let mut step = Step::start(Progress::on_stderr(), "replaying");
    loop {
        let status: Status = client.get_soon("/v1/status", &Query::default()).await?;
        let over = status.replayed.into_iter().find(|one| one.trigger == began.trigger && one.number > began.over);
        if let Some(over) = over {
            step.done();
            return Ok(Done::Over(over));
        }
        let Some(under_way) = status.replays.into_iter().find(|one| one.trigger == began.trigger) else {
            step.done();
            let hint = "`lifeline get lifecycles` says how they are";
            return Ok(Done::Stays(format!("it is over; the engine was restarted meanwhile\nhint: {hint}")));
        };
        if let Some(why) = stays(&under_way) {
            step.done();
            return Ok(Done::Stays(why));
        }
        let ReplayStatus { resources, of, decided, .. } = under_way;
        step.show(&format!("{resources} of {}, {decided} decided", count(of as u64, "resource")));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Shows how many objects are left to look at until none is.
async fn follow_objects(client: &Client) -> Result<(), Error> {
    let mut step = Step::start(Progress::on_stderr(), "looking at the objects");
    loop {
        let status: Status = client.get_soon("/v1/status", &Query::default()).await?;
        let left: usize = status.sites.iter().map(|site| site.drift.asked).sum();
        if left == 0 {
            step.done();
            return Ok(());
        }
        step.show(&format!("{} left", count(left as u64, "object")));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Why it does not go on by itself.
fn stays(replay: &ReplayStatus) -> Option<String> {
    let ReplayStatus { trigger, resources, of, left_because, held, .. } = replay;
    if let Some(held) = held {
        return Some(lifeline_engine::replay::brake::sentence(trigger, held));
    }
    let because = left_because.as_ref().filter(|_| resources == of)?;
    Some(format!("`{trigger}` is decided again, but resources are left as they are: {because}"))
}
