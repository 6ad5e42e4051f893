//! The commands that ask: `get`, `history`, `show` and `status`.
//!
//! What may be typed stands first, then what is done with it. How rows look is said in [`super::rows`].

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use lifeline_engine::status::Status;
use lifeline_projections::history::Entry;
use lifeline_projections::reads::{ConflictRow, LifecycleRow, List, OwnedObjectRow, ResourceRow, RuleRow};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::addons;
use super::client::{Client, Error, Listed, Query};
use super::output::{self, Format};
use super::rows;
use super::table::Table;

/// Whom to ask, and how to print the answer.
#[derive(Debug, Clone, Args)]
pub struct AskArgs {
    /// The running engine to ask.
    #[arg(
        long,
        value_name = "URL",
        env = "LIFELINE_SERVER",
        default_value = "http://127.0.0.1:7717",
        help_heading = "Asking"
    )]
    pub server: String,
    /// Ask the data folder of a stopped engine instead; nothing in it is changed.
    #[arg(long, value_name = "DIR", help_heading = "Asking")]
    pub data: Option<PathBuf>,
    /// How to print the answer.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t, help_heading = "Asking")]
    pub output: Format,
}

/// Which state is asked about.
#[derive(Debug, Clone, Args)]
pub struct WhenArgs {
    /// Wait (up to 3 seconds) until the answer reflects every record below this offset.
    #[arg(long, value_name = "OFFSET", help_heading = "Asking")]
    pub at_least: Option<u64>,
    /// Tell what was, by the records below an offset, or up to a time such as 2026-11-22T14:12:03Z.
    #[arg(long, value_name = "OFFSET|TIME", help_heading = "Asking")]
    pub as_of: Option<String>,
    /// Rows at most [default: all].
    #[arg(long, value_name = "N", value_parser = rows_at_most, help_heading = "Asking")]
    pub limit: Option<usize>,
}

/// Which rows are wanted.
#[derive(Debug, Clone, Args)]
pub struct FilterArgs {
    /// The CloudEvent source begins with this.
    #[arg(long)]
    pub source: Option<String>,
    /// The CloudEvent subject is this.
    #[arg(long)]
    pub subject: Option<String>,
    /// The EventTrigger is this.
    #[arg(long)]
    pub trigger: Option<String>,
    /// The cluster is this, as NAMESPACE/NAME; the own one is mgmt/mgmt.
    #[arg(long)]
    pub cluster: Option<String>,
    /// The phase is this: failing, pending, deleting, ready, left or gone.
    #[arg(long)]
    pub phase: Option<String>,
}

/// `lifeline get`.
#[derive(Debug, Clone, Subcommand)]
pub enum Get {
    /// What events speak of: one row for each CloudEvent source and subject.
    Resources(ListArgs),
    /// What each trigger makes of each resource; failing ones first, with the reason.
    Lifecycles(ListArgs),
    /// What exists in clusters because of it.
    Objects(ListArgs),
    /// The records of the log: events, rejected messages, outcomes.
    Events(EventsArgs),
    /// The rules in force.
    Rules(RulesArgs),
}

/// A filtered list.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Which rows.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Which state.
    #[command(flatten)]
    pub when: WhenArgs,
    /// Whom.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// A list without filters.
#[derive(Debug, Clone, Args)]
pub struct RulesArgs {
    /// Which state.
    #[command(flatten)]
    pub when: WhenArgs,
    /// Whom.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `lifeline get events`.
#[derive(Debug, Clone, Args)]
pub struct EventsArgs {
    /// Begin behind this offset [default: show the latest].
    #[arg(long, value_name = "OFFSET")]
    pub after: Option<u64>,
    /// Records at most.
    #[arg(long, value_name = "N", value_parser = rows_at_most, default_value = "50")]
    pub limit: usize,
    /// Whom.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `lifeline history`.
#[derive(Debug, Clone, Args)]
pub struct HistoryArgs {
    /// The CloudEvent source.
    pub source: String,
    /// The CloudEvent subject; leave it out for events without one.
    #[arg(default_value = "", hide_default_value = true)]
    pub subject: String,
    /// Only what happened before this offset.
    #[arg(long, value_name = "OFFSET")]
    pub before: Option<u64>,
    /// The latest entries at most.
    #[arg(long, value_name = "N", value_parser = rows_at_most, default_value = "100")]
    pub limit: usize,
    /// Whom.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `lifeline show`.
#[derive(Debug, Clone, Subcommand)]
pub enum Show {
    /// What is deployed where, in the table that `sveltosctl show addons` prints.
    Addons(AddonsArgs),
    /// Objects that more than one lifecycle claims; the first one owns it.
    Conflicts(RulesArgs),
    /// Lifecycles that do not get on: failing, or not carried out for a while.
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
    /// Show Kubernetes resources; they are shown without it as well, there is nothing else.
    #[arg(long)]
    pub resources: bool,
    /// Which state.
    #[command(flatten)]
    pub when: WhenArgs,
    /// Whom.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `lifeline show stuck`.
#[derive(Debug, Clone, Args)]
pub struct StuckArgs {
    /// How many seconds a decision may wait to be carried out.
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    pub longer_than: u64,
    /// Whom.
    #[command(flatten)]
    pub ask: AskArgs,
}

fn rows_at_most(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|rows| *rows > 0).ok_or_else(|| "expected a number from 1".to_owned())
}

impl AskArgs {
    fn client(&self) -> Result<Client, Error> {
        Client::open(self.data.as_deref(), &self.server)
    }
}

impl WhenArgs {
    fn query(&self) -> Query {
        let mut query = Query::default();
        query.maybe("at_least", self.at_least.as_ref());
        query.maybe("as_of", self.as_of.as_ref());
        query
    }
}

impl ListArgs {
    fn query(&self) -> Query {
        let mut query = self.when.query();
        let FilterArgs { source, subject, trigger, cluster, phase } = &self.filter;
        let pairs =
            [("source", source), ("subject", subject), ("trigger", trigger), ("cluster", cluster), ("phase", phase)];
        for (name, value) in pairs {
            query.maybe(name, value.as_ref());
        }
        query
    }
}

pub fn get(get: Get) -> Result<ExitCode, Error> {
    let now = Timestamp::now();
    match get {
        Get::Resources(args) => {
            let query = args.query();
            list(&args.ask, &args.when, "resources", &query, |rows: &[ResourceRow], wide| {
                rows::resources(rows, now, wide)
            })
        }
        Get::Lifecycles(args) => {
            let query = args.query();
            list(&args.ask, &args.when, "lifecycles", &query, |rows: &[LifecycleRow], wide| {
                rows::lifecycles(rows, now, wide)
            })
        }
        Get::Objects(args) => {
            let query = args.query();
            list(&args.ask, &args.when, "objects", &query, |rows: &[OwnedObjectRow], wide| {
                rows::objects(rows, now, wide)
            })
        }
        Get::Rules(args) => {
            let query = args.when.query();
            list(&args.ask, &args.when, "rules", &query, |rows: &[RuleRow], _| rows::rules(rows))
        }
        Get::Events(args) => events(&args),
    }
}

/// Asks for a list and prints it.
fn list<T: DeserializeOwned + Serialize>(
    ask: &AskArgs,
    when: &WhenArgs,
    noun: &str,
    query: &Query,
    table: impl Fn(&[T], bool) -> Table,
) -> Result<ExitCode, Error> {
    let client = ask.client()?;
    let listed: Listed<T> = client.list(&format!("/v1/{noun}"), query, when.limit)?;
    if output::structured(&listed.list, ask.output)? {
        return Ok(ExitCode::SUCCESS);
    }
    if listed.list.items.is_empty() {
        output::remark(&format!("no {noun}"));
    } else {
        output::table(&table(&listed.list.items, ask.output == Format::Wide), ask.output)?;
    }
    close(&client, &listed, when.as_of.is_some());
    Ok(ExitCode::SUCCESS)
}

/// Says under a table which state it shows.
fn close<T>(client: &Client, listed: &Listed<T>, earlier: bool) {
    // How far the engine is behind is a remark: a table is not withheld because this one question fails.
    let status = if earlier { None } else { client.get::<Status>("/v1/status", &Query::default()).ok() };
    let more = listed.list.next.is_some();
    output::remark(&rows::closing(
        listed.list.offset,
        listed.time.as_deref(),
        status.as_ref(),
        client.is_running(),
        more,
    ));
}

fn events(args: &EventsArgs) -> Result<ExitCode, Error> {
    let client = args.ask.client()?;
    let after = match args.after {
        Some(after) => Some(after),
        None => {
            let status: Status = client.get("/v1/status", &Query::default())?;
            status.recorded.checked_sub(args.limit as u64 + 1)
        }
    };
    let mut query = Query::default();
    let (mut list, mut after): (Option<List<Entry>>, _) = (None, after);
    loop {
        let rows = list.as_ref().map_or(0, |list| list.items.len());
        query.clear();
        query.maybe("after", after.as_ref());
        query.add("limit", (args.limit - rows).min(1_000));
        let page: List<Entry> = client.get("/v1/events", &query)?;
        after = page.next.as_deref().and_then(|next| next.parse().ok());
        let list = match &mut list {
            Some(list) => {
                list.items.extend(page.items);
                list.next = page.next;
                list
            }
            None => list.insert(page),
        };
        if list.next.is_none() || list.items.len() >= args.limit {
            break;
        }
    }
    let list = list.expect("the loop asks at least once");
    if !output::structured(&list, args.ask.output)? {
        if list.items.is_empty() {
            output::remark("no records");
        } else {
            output::table(&rows::records(&list.items, args.ask.output == Format::Wide), args.ask.output)?;
        }
        if let Some(next) = &list.next {
            output::remark(&format!("the log goes on to offset {}: --after {next}", list.offset));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub fn history(args: HistoryArgs) -> Result<ExitCode, Error> {
    let client = args.ask.client()?;
    let mut query = Query::default();
    query.add("source", &args.source);
    query.add("subject", &args.subject);
    query.add("limit", args.limit.min(10_000));
    query.maybe("before", args.before.as_ref());
    let list: List<Entry> = client.get("/v1/history", &query)?;
    if !output::structured(&list, args.ask.output)? {
        let wide = args.ask.output == Format::Wide;
        output::table(&rows::history(&list.items, wide), args.ask.output)?;
        if let Some(before) = &list.next {
            output::remark(&format!("more happened before: --before {before}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub fn show(show: Show) -> Result<ExitCode, Error> {
    match show {
        Show::Addons(args) => show_addons(&args),
        Show::Conflicts(args) => {
            let query = args.when.query();
            list(&args.ask, &args.when, "conflicts", &query, |rows: &[ConflictRow], _| rows::conflicts(rows))
        }
        Show::Stuck(args) => show_stuck(&args),
    }
}

fn show_addons(args: &AddonsArgs) -> Result<ExitCode, Error> {
    let client = args.ask.client()?;
    let listed: Listed<OwnedObjectRow> = client.list("/v1/objects", &args.when.query(), None)?;
    let filter = addons::Filter {
        namespace: args.namespace.as_deref(),
        cluster: args.cluster.as_deref(),
        profile: args.profile.as_deref(),
    };
    let mut list = listed.list;
    list.items.retain(|row| filter.wants(row));
    list.items.truncate(args.when.limit.unwrap_or(usize::MAX));
    if !output::structured(&list, args.ask.output)? {
        let zone = jiff::tz::TimeZone::system();
        output::data(&addons::table(&list.items, &zone, args.ask.output == Format::Wide).render_framed())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show_stuck(args: &StuckArgs) -> Result<ExitCode, Error> {
    let client = args.ask.client()?;
    let now = Timestamp::now();
    let mut stuck: Option<Listed<LifecycleRow>> = None;
    for phase in ["Failing", "Pending", "Deleting"] {
        let mut query = Query::default();
        query.add("phase", phase);
        let found: Listed<LifecycleRow> = client.list("/v1/lifecycles", &query, None)?;
        match &mut stuck {
            Some(stuck) => stuck.list.items.extend(found.list.items),
            None => stuck = Some(found),
        }
    }
    let mut stuck = stuck.expect("three phases were asked for");
    let patience = i64::try_from(args.longer_than).unwrap_or(i64::MAX);
    stuck.list.items.retain(|row| row.phase == "Failing" || rows::seconds_since(&row.time, now) >= patience);
    if !output::structured(&stuck.list, args.ask.output)? {
        if stuck.list.items.is_empty() {
            output::remark("nothing is stuck");
        } else {
            output::table(&rows::lifecycles(&stuck.list.items, now, args.ask.output == Format::Wide), args.ask.output)?;
        }
        close(&client, &stuck, false);
    }
    Ok(ExitCode::SUCCESS)
}

pub fn status(args: AskArgs) -> Result<ExitCode, Error> {
    let status: Status = args.client()?.get("/v1/status", &Query::default())?;
    if !output::structured(&status, args.output)? {
        output::data(&rows::status(&status))?;
    }
    Ok(if status.not_ready().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
