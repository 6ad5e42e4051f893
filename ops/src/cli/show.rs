//! The commands that show what is deployed, in conflict, or stuck: `show`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use lifeline_projections::reads::{ConflictRow, LifecycleRow, OwnedObjectRow};

use super::addons;
use super::ask::{AskArgs, RulesArgs, WhenArgs, print_list};
use super::output::{self, Format};
use super::rows;
use crate::client::{Error, Listed};

/// `lifeline show`.
#[derive(Debug, Clone, Subcommand)]
pub enum Show {
    /// What is deployed where, in the table that `sveltosctl show addons` prints.
    Addons(AddonsArgs),
    /// Objects that more than one lifecycle claims; the first one owns it.
    Conflicts(RulesArgs),
    /// Lifecycles that are stuck: failing, or not carried out for a while.
    Stuck(StuckArgs),
}

/// `lifeline show addons`.
#[derive(Debug, Clone, Args)]
pub struct AddonsArgs {
    /// Only clusters in this namespace.
    #[arg(long)]
    pub namespace: Option<String>,
    /// Only clusters of this name.
    #[arg(long)]
    pub cluster: Option<String>,
    /// Only what this deployed, as KIND/NAME.
    #[arg(long, value_name = "KIND/NAME")]
    pub profile: Option<String>,
    /// Accepted as `sveltosctl` accepts it; Kubernetes objects are always shown.
    #[arg(long)]
    pub resources: bool,
    /// Which state.
    #[command(flatten)]
    pub when: WhenArgs,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `lifeline show stuck`.
#[derive(Debug, Clone, Args)]
pub struct StuckArgs {
    /// How long a decision may wait to be carried out, such as 10m.
    #[arg(long, value_name = "AGE", value_parser = super::moment::seconds, default_value = "30s")]
    pub longer_than: u64,
    /// Which state.
    #[command(flatten)]
    pub when: WhenArgs,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Shows what was typed.
pub fn show(show: Show) -> Result<ExitCode, Error> {
    match show {
        Show::Addons(args) => addons(&args),
        Show::Conflicts(args) => {
            let query = args.when.query();
            let none = "no conflicts: each object is claimed once";
            print_list(&args.ask, &args.when, "conflicts", &query, none, |rows: &[ConflictRow], _, _| {
                rows::conflicts(rows)
            })
        }
        Show::Stuck(args) => {
            let mut query = args.when.query();
            query.add("longer_than", args.longer_than);
            print_list(
                &args.ask,
                &args.when,
                "stuck",
                &query,
                "nothing is stuck",
                |rows: &[LifecycleRow], now, wide| rows::lifecycles(rows, now, wide),
            )
        }
    }
}

fn addons(args: &AddonsArgs) -> Result<ExitCode, Error> {
    let client = args.ask.client()?;
    let listed: Listed<OwnedObjectRow> = client.all_pages("/v1/objects", &args.when.query(), None)?;
    let filter = addons::Filter {
        namespace: args.namespace.as_deref(),
        cluster: args.cluster.as_deref(),
        profile: args.profile.as_deref(),
    };
    let mut list = listed.list;
    list.items.retain(|row| filter.wants(row));
    list.items.truncate(args.when.limit.unwrap_or(usize::MAX));
    if !output::structured(&list, args.ask.engine.output)? {
        let zone = jiff::tz::TimeZone::system();
        output::data(&addons::table(&list.items, &zone, args.ask.engine.output == Format::Wide).render_framed())?;
    }
    Ok(ExitCode::SUCCESS)
}
