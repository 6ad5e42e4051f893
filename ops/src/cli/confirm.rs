//! `confirm`: changed rules may withdraw what the brake holds.

use std::process::ExitCode;

use clap::Args;

use super::ask::AskArgs;
use super::output;
use crate::api::confirm::{ConfirmationOrder, Confirmed};
use crate::client::Error;

/// `lifeline confirm`.
#[derive(Debug, Clone, Args)]
pub struct ConfirmArgs {
    /// The id that `lifeline status` gives what is held.
    #[arg(value_name = "ID")]
    pub id: String,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Confirms it, and says what goes.
pub fn confirm(args: &ConfirmArgs) -> Result<ExitCode, Error> {
    if let Some(data) = &args.ask.data {
        let why = format!("the engine of `{}` is stopped and holds nothing", data.display());
        return Err(Error::Usage(format!("{why}\nhint: start it, and ask it with `--server`")));
    }
    let order = ConfirmationOrder { id: args.id.clone() };
    let done: Confirmed = args.ask.client()?.post("/v1/confirm", &order)?;
    if !output::structured(&done, args.ask.output)? {
        let Confirmed { trigger, objects, .. } = done;
        output::remark(&format!(
            "`{trigger}` withdraws {objects} objects now: `lifeline get lifecycles --trigger {trigger}`"
        ));
    }
    Ok(ExitCode::SUCCESS)
}
