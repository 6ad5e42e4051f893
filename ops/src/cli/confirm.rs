//! `confirm`: changed rules may withdraw what the brake holds, and what nothing claims is deleted.

use std::process::ExitCode;

use clap::Args;

use super::ask::EngineArgs;
use super::output;
use crate::api::confirm::{ConfirmationOrder, Confirmed};
use crate::client::Error;
use crate::terminal::count;

/// `lifeline confirm`.
#[derive(Debug, Clone, Args)]
pub struct ConfirmArgs {
    /// The id that `lifeline status` gives what is held, or `lifeline show orphans` objects that nothing claims.
    #[arg(value_name = "ID")]
    pub id: String,
    /// Whom to ask.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Confirms it, and says what goes.
pub fn confirm(args: &ConfirmArgs) -> Result<ExitCode, Error> {
    let order = ConfirmationOrder { id: args.id.clone() };
    let done: Confirmed = args.engine.client()?.post("/v1/confirm", &order)?;
    if !output::structured(&done, args.engine.output)? {
        let Confirmed { trigger, objects, keys, orphans, .. } = done;
        let keys = if keys == 0 { String::new() } else { format!(" and {} of its list", count(keys, "key")) };
        let count = count(objects, "object");
        output::remark(&match orphans {
            false => {
                format!("`{trigger}` withdraws {count}{keys} now: `lifeline get lifecycles --trigger {trigger}`")
            }
            true => {
                format!("Lifeline deletes {count} of `{trigger}` now: `lifeline show orphans` shows what is left")
            }
        });
    }
    Ok(ExitCode::SUCCESS)
}
