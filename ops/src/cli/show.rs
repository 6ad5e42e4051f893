//! The commands that show what is deployed, in conflict, stuck, changed by others, or claimed by nothing: `show`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use lifeline_engine::dry_runs::{Action, DryRunRow};
use lifeline_engine::orphans::OrphanRow;
use lifeline_engine::status::Status;
use lifeline_projections::history::DriftRow;
use lifeline_projections::reads::{ConflictRow, LifecycleRow, List, OwnedObjectRow};

use super::addons;
use super::ask::{AskArgs, RulesArgs, WhenArgs, print_list, waiting};
use super::output::{self, Format};
use super::rows;
use crate::client::{Client, Error, Listed, PAGE_ROWS_ASKED, Query};
use crate::terminal::count;

/// `lifeline show`.
#[derive(Debug, Clone, Subcommand)]
pub enum Show {
    /// What is deployed where, in the table that `sveltosctl show addons` prints.
    Addons(AddonsArgs),
    /// Objects that more than one lifecycle claims, the first one owns it; and objects of others that are in the way.
    Conflicts(RulesArgs),
    /// Lifecycles that are stuck: failing, or not carried out for a while. Those of dry runs, and what is held until somebody
    /// confirms it, are not stuck.
    Stuck(StuckArgs),
    /// What others deleted or changed, of triggers with `syncMode: ContinuousWithDriftDetection`, the latest first.
    Drift(DriftArgs),
    /// Objects with the marks of Lifeline that nothing in the log claims, as after a lost volume. They stay until
    /// `lifeline confirm`.
    Orphans(AskArgs),
    /// What triggers with `syncMode: DryRun` would create, change and delete, field by field.
    Dryrun(AskArgs),
}

/// `lifeline show addons`.
#[derive(Debug, Clone, Args)]
pub struct AddonsArgs {
    /// Only clusters in this namespace.
    #[arg(long)]
    pub namespace: Option<String>,
    /// Only clusters of this name, or NAMESPACE/NAME.
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

/// `lifeline show drift`.
#[derive(Debug, Clone, Args)]
pub struct DriftArgs {
    /// Only objects of resources whose CloudEvent source begins with this.
    #[arg(long)]
    pub source: Option<String>,
    /// Only objects of resources of this CloudEvent subject.
    #[arg(long)]
    pub subject: Option<String>,
    /// Only what was seen from this offset or time on, or in the last while, such as 10m.
    #[arg(long, value_name = "OFFSET|TIME", value_parser = super::moment::parse, default_value = "24h")]
    pub since: String,
    /// Rows at most.
    #[arg(long, value_name = "N", value_parser = super::ask::rows_at_most, default_value = "50")]
    pub limit: usize,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Shows what was typed.
pub fn show(show: Show) -> Result<ExitCode, Error> {
    match show {
        Show::Addons(args) => addons(&args),
        Show::Drift(args) => drift(&args),
        Show::Orphans(args) => orphans(&args),
        Show::Dryrun(args) => dry_runs(&args),
        Show::Conflicts(args) => {
            let query = args.when.query();
            let none = "no object is claimed by more than one lifecycle";
            let code = print_list(&args.ask, &args.when, "conflicts", &query, none, |rows: &[ConflictRow], _, _| {
                rows::conflicts(rows)
            })?;
            foreign(&args)?;
            Ok(code)
        }
        Show::Stuck(args) => {
            let mut query = args.when.query();
            query.add("longer_than", args.longer_than);
            let table = |rows: &[LifecycleRow], now, wide| rows::lifecycles(rows, now, wide);
            let code = print_list(&args.ask, &args.when, "stuck", &query, "nothing is stuck", table)?;
            let is_structured = matches!(args.ask.engine.output, Format::Json | Format::Yaml);
            if !is_structured && args.when.as_of.is_none() {
                let waiting: u64 = waiting(&args.ask.client()?).iter().map(|known| known.lifecycles).sum();
                if waiting > 0 {
                    let waiting = count(waiting, "lifecycle");
                    output::remark(&format!("not listed: {waiting} that wait by intent, see `lifeline status`"));
                }
            }
            Ok(code)
        }
    }
}

fn drift(args: &DriftArgs) -> Result<ExitCode, Error> {
    let client = args.ask.client()?;
    let mut list: Option<List<DriftRow>> = None;
    loop {
        let mut query = Query::default();
        query.maybe("source", args.source.as_ref());
        query.maybe("subject", args.subject.as_ref());
        query.add("since", &args.since);
        query.add("limit", args.limit.min(PAGE_ROWS_ASKED));
        query.maybe("before", list.as_ref().and_then(|list| list.next.as_ref()));
        let page: List<DriftRow> = client.get("/v1/drift", &query)?;
        let found = match list.take() {
            None => page,
            Some(mut found) => {
                found.items.extend(page.items);
                List { offset: found.offset, items: found.items, next: page.next }
            }
        };
        let is_done = found.next.is_none() || found.items.len() >= args.limit;
        list = Some(found);
        if is_done {
            break;
        }
    }
    let mut list = list.expect("a page was just put in");
    list.items.truncate(args.limit);
    if !output::structured(&list, args.ask.engine.output)? {
        if list.items.is_empty() {
            output::remark(&format!("nothing was changed or deleted by others since {}", args.since));
        } else {
            output::table(&rows::drifts(&list.items), args.ask.engine.output)?;
        }
        if let Some(fights) = fights(&client)? {
            output::remark(&fights);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The objects that are fought over now, a line each.
fn fights(client: &Client) -> Result<Option<String>, Error> {
    let Ok(status) = client.get::<Status>("/v1/status", &Query::default()) else { return Ok(None) };
    let lines: Vec<String> = status
        .sites
        .iter()
        .flat_map(|site| &site.drift.fights)
        .map(|fight| {
            let who = fight.manager.as_ref().map_or("somebody".to_owned(), |manager| format!("`{manager}`"));
            format!("{} is fought over with {who}: put back in {} s", fight.object, fight.pause_seconds)
        })
        .collect();
    Ok((!lines.is_empty()).then(|| lines.join("\n")))
}

/// Lists the orphans, and says how they are deleted.
fn orphans(args: &AskArgs) -> Result<ExitCode, Error> {
    let hint = "start the engine and ask it without `--data`: it looks for them once it has read what waits in NATS";
    in_memory(args, "which objects nothing claims", hint)?;
    let (client, args) = (args.client()?, &args.engine);
    let list: List<OrphanRow> = client.get("/v1/orphans", &Query::default())?;
    if output::structured(&list, args.output)? {
        return Ok(ExitCode::SUCCESS);
    }
    let status = client.get::<Status>("/v1/status", &Query::default()).ok();
    let is_known = status.iter().flat_map(|status| &status.sites).all(|site| site.orphans.looked_for);
    if list.items.is_empty() && !is_known {
        output::remark("not known yet: they are looked for once what waits in NATS is read");
    } else if list.items.is_empty() {
        output::remark("no orphans: something in the log claims each object with the marks of Lifeline");
    } else {
        output::table(&rows::orphans(&list.items, args.output == Format::Wide), args.output)?;
        output::remark(
            "`lifeline confirm ID` deletes the objects with that id in CONFIRM; all others stay as they are",
        );
    }
    if let Some(status) = status {
        let unlisted: Vec<&str> =
            status.sites.iter().flat_map(|site| &site.orphans.unlisted).map(String::as_str).collect();
        if !unlisted.is_empty() {
            output::remark(&format!("not looked at, for the right to `list` is missing: {}", unlisted.join(", ")));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Objects of others that are in the way, below the table of claims. As JSON they are at `/v1/conflicts/foreign`.
fn foreign(args: &RulesArgs) -> Result<(), Error> {
    let is_structured = matches!(args.ask.engine.output, Format::Json | Format::Yaml);
    if is_structured || args.when.as_of.is_some() {
        return Ok(());
    }
    if args.ask.data.is_some() {
        output::remark("objects of others that are in the way are known to a running engine alone");
        return Ok(());
    }
    let list: List<DryRunRow> = args.ask.client()?.get("/v1/conflicts/foreign", &Query::default())?;
    if list.items.is_empty() {
        output::remark("no object of others is in the way");
    } else {
        output::remark("objects of others that are in the way, and what an apply would change:");
        output::table(&rows::dry_runs(&list.items), args.ask.engine.output)?;
    }
    Ok(())
}

/// Refuses `--data` for what an engine finds out from the cluster, and keeps in memory.
fn in_memory(args: &AskArgs, what: &str, hint: &str) -> Result<(), Error> {
    let Some(data) = &args.data else { return Ok(()) };
    let folder = data.display();
    Err(Error::Usage(format!(
        "{what} is known to a running engine, and not in the data folder `{folder}`\nhint: {hint}"
    )))
}

fn dry_runs(args: &AskArgs) -> Result<ExitCode, Error> {
    let hint = "start the engine and ask it without `--data`; `lifeline get lifecycles --data DIR` shows which lifecycles wait as DryRun";
    in_memory(args, "what dry runs would do", hint)?;
    let (client, args) = (args.client()?, &args.engine);
    let list: List<DryRunRow> = client.get("/v1/dry-run", &Query::default())?;
    if output::structured(&list, args.output)? {
        return Ok(ExitCode::SUCCESS);
    }
    if list.items.is_empty() {
        output::remark("no trigger with `syncMode: DryRun` would change anything");
        return Ok(ExitCode::SUCCESS);
    }
    output::table(&rows::dry_runs(&list.items), args.output)?;
    let count = |action: Action| list.items.iter().filter(|row| row.action == action).count();
    let [create, change, delete, refuse] = [Action::Create, Action::Change, Action::Delete, Action::Refuse].map(count);
    output::remark(&format!(
        "{create} to create, {change} to change, {delete} to delete, {refuse} with something in the way. Nothing was changed"
    ));
    Ok(ExitCode::SUCCESS)
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
        if list.items.is_empty() {
            output::remark("nothing is deployed that matches");
        }
    }
    Ok(ExitCode::SUCCESS)
}
