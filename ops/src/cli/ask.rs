//! The commands that ask for lists: `get`, `history` and `status`; and what may be typed for every command that asks.
//!
//! Arguments come first, then what is done with it. How rows look is said in [`super::rows`].

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueHint};
use jiff::Timestamp;
use lifeline_engine::kinds;
use lifeline_engine::status::{Status, WaitingStatus};
use lifeline_projections::history::Entry;
use lifeline_projections::reads::{LifecycleRow, List, OwnedObjectRow, ResourceRow, RuleRow};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::event::{self, EventArgs};
use super::events::{self, EventsArgs};
use super::output::{self, Format};
use super::{moment, rows, watch};
use crate::client::{Client, Error, Listed, Query};
use crate::terminal::style::Paint;
use crate::terminal::table::Table;

/// Whom to ask, and how to print the answer.
#[derive(Debug, Clone, Args)]
pub struct AskArgs {
    /// The engine that runs.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Ask the data folder of a stopped engine instead; nothing in it is changed.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Asking")]
    pub data: Option<PathBuf>,
}

/// Which running engine is asked, and how the answer is printed.
#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    /// The running engine to ask, by http:// or https://.
    #[arg(
        long,
        value_name = "URL",
        env = "LIFELINE_SERVER",
        default_value = "http://127.0.0.1:7717",
        value_hint = ValueHint::Url,
        help_heading = "Asking"
    )]
    pub server: String,
    /// File with the bearer token, for an engine that requires one.
    #[arg(
        long,
        value_name = "FILE",
        env = "LIFELINE_TOKEN_FILE",
        value_hint = ValueHint::FilePath,
        help_heading = "Asking"
    )]
    pub token_file: Option<PathBuf>,
    /// The bearer token itself. Not for typing: others see what is typed.
    #[arg(long, env = "LIFELINE_TOKEN", hide = true, hide_env_values = true)]
    pub token: Option<String>,
    /// Send the bearer token over plain http to another machine, where everybody on the way can read it.
    #[arg(long, env = "LIFELINE_TOKEN_OVER_HTTP", help_heading = "Asking")]
    pub token_over_http: bool,
    /// PEM file with the authority to trust with `--server https://...` [default: those of this machine].
    #[arg(long, value_name = "FILE", env = "LIFELINE_CA", value_hint = ValueHint::FilePath, help_heading = "Asking")]
    pub ca: Option<PathBuf>,
    /// How to print: table (what the terminal has room for), wide (all of it), json or yaml.
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        help_heading = "Asking"
    )]
    pub output: Format,
}

/// Which state is asked about.
#[derive(Debug, Clone, Args)]
pub struct WhenArgs {
    /// Wait (up to 3 seconds) until the answer reflects every record below this offset.
    #[arg(long, value_name = "OFFSET", value_parser = moment::offset, help_heading = "Asking")]
    pub at_least: Option<u64>,
    /// Show an earlier state: below an offset, at a time such as 2026-11-22T14:12:03Z, or some time ago, such as 10m.
    #[arg(long, value_name = "OFFSET|TIME", value_parser = moment::parse, help_heading = "Asking")]
    pub as_of: Option<String>,
    /// Rows at most [default: all].
    #[arg(long, value_name = "N", value_parser = rows_at_most, help_heading = "Asking")]
    pub limit: Option<usize>,
}

/// How old rows are to be.
#[derive(Debug, Clone, Args)]
pub struct AgeArgs {
    /// Only rows whose AGE is at least this, such as 10m.
    #[arg(long, value_name = "AGE", value_parser = moment::seconds)]
    pub age_min: Option<u64>,
    /// Only rows whose AGE is at most this, such as 10m.
    #[arg(long, value_name = "AGE", value_parser = moment::seconds)]
    pub age_max: Option<u64>,
}

/// What rows are to be, or to hold.
#[derive(Debug, Clone, Args)]
pub struct RowArgs {
    /// Only what is gone; `--gone=false` leaves it out.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub gone: Option<bool>,
    /// Only what is an object of this kind or holds one, such as Namespace, namespaces or ns.
    #[arg(long)]
    pub kind: Option<String>,
}

/// Which rows are wanted.
#[derive(Debug, Clone, Args)]
pub struct FilterArgs {
    /// Only rows whose CloudEvent source begins with this.
    #[arg(long)]
    pub source: Option<String>,
    /// Only rows with this CloudEvent subject.
    #[arg(long)]
    pub subject: Option<String>,
    /// Only rows of this EventTrigger.
    #[arg(long)]
    pub trigger: Option<String>,
    /// Only rows of this cluster, as NAMESPACE/NAME; the own one is mgmt/mgmt.
    #[arg(long)]
    pub cluster: Option<String>,
    /// Only rows in this phase.
    #[arg(long, ignore_case = true, value_parser = phases())]
    pub phase: Option<String>,
}

const LIFECYCLES_EXAMPLES: &str = "\
Examples:
  lifeline get lifecycles --phase failing      what needs a look
  lifeline get lifecycles --gone=false         without those that are over
  lifeline get lifecycles --watch              and what happens from now on
  lifeline get lifecycles --as-of 2h -o wide   how things were two hours ago";

/// `lifeline get`.
#[derive(Debug, Clone, Subcommand)]
pub enum Get {
    /// What events speak of: one row for each CloudEvent source and subject.
    Resources(WatchArgs),
    /// What each trigger makes of each resource; failing ones first, with the reason.
    #[command(after_help = LIFECYCLES_EXAMPLES)]
    Lifecycles(WatchArgs),
    /// The objects that lifecycles hold or are about to make, each with its owner. `intended` for an age: claimed, and not
    /// applied yet, so it may not exist.
    Objects(WatchArgs),
    /// The records of the log: events, rejected messages, outcomes.
    #[command(after_help = events::EXAMPLES)]
    Events(EventsArgs),
    /// One record: what it holds, and what came of it.
    #[command(after_help = event::EXAMPLES)]
    Event(EventArgs),
    /// The rules in force.
    Rules(RulesArgs),
}

/// A filtered list.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Which rows.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// What they are.
    #[command(flatten)]
    pub row: RowArgs,
    /// How old.
    #[command(flatten)]
    pub age: AgeArgs,
    /// Which state.
    #[command(flatten)]
    pub when: WhenArgs,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// A filtered list that can be watched.
#[derive(Debug, Clone, Args)]
pub struct WatchArgs {
    /// Keep running: print each row again when it changes, until Ctrl-C.
    #[arg(long, short, conflicts_with_all = ["data", "as_of", "at_least", "limit", "age_min", "age_max"])]
    pub watch: bool,
    /// Which list.
    #[command(flatten)]
    pub list: ListArgs,
}

/// A list without filters that can be watched.
#[derive(Debug, Clone, Args)]
pub struct RulesArgs {
    /// Keep running: print each row again when it changes, until Ctrl-C.
    #[arg(long, short, conflicts_with_all = ["data", "as_of", "at_least", "limit"])]
    pub watch: bool,
    /// Which state.
    #[command(flatten)]
    pub when: WhenArgs,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

const HISTORY_EXAMPLES: &str = "\
Examples:
  lifeline history auth.example.com mgianluc
  lifeline history auth.example.com mgianluc --before 41 -o wide";

/// `lifeline history`.
#[derive(Debug, Clone, Args)]
#[command(after_help = HISTORY_EXAMPLES)]
pub struct HistoryArgs {
    /// The CloudEvent source.
    pub source: String,
    /// The CloudEvent subject; leave it out for events without one.
    #[arg(default_value = "", hide_default_value = true)]
    pub subject: String,
    /// Only what happened before this offset.
    #[arg(long, value_name = "OFFSET", value_parser = moment::offset)]
    pub before: Option<u64>,
    /// The latest entries at most.
    #[arg(long, value_name = "N", value_parser = rows_at_most, default_value = "100")]
    pub limit: usize,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// The phases, as they are typed.
const PHASES: [&str; 6] = ["failing", "pending", "deleting", "ready", "left", "gone"];

fn phases() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new(PHASES)
}

pub fn rows_at_most(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|rows| *rows > 0).ok_or_else(|| "expected a number from 1".to_owned())
}

impl AskArgs {
    /// Whom to ask.
    pub fn client(&self) -> Result<Client, Error> {
        self.engine.client_of(self.data.as_deref())
    }
}

impl EngineArgs {
    /// A client of the running engine.
    ///
    /// # Errors
    /// When a setting cannot be meant.
    pub fn client(&self) -> Result<Client, Error> {
        self.client_of(None)
    }

    fn client_of(&self, data: Option<&Path>) -> Result<Client, Error> {
        let mut client = Client::trusting(data, &self.server, self.ca.as_deref())?.patient();
        if self.token_over_http {
            client = client.with_token_over_http();
        }
        match (&self.token_file, self.token.as_deref().filter(|token| !token.is_empty())) {
            (Some(path), _) => client.with_token_in(path),
            (None, Some(token)) => client.with_token(token),
            (None, None) => Ok(client),
        }
    }
}

impl WhenArgs {
    /// The parameters that name the state.
    pub fn query(&self) -> Query {
        let mut query = Query::default();
        query.maybe("at_least", self.at_least.as_ref());
        query.maybe("as_of", self.as_of.as_ref());
        query
    }
}

impl FilterArgs {
    fn given(&self) -> [(&'static str, &Option<String>); 5] {
        let FilterArgs { source, subject, trigger, cluster, phase } = self;
        [("source", source), ("subject", subject), ("trigger", trigger), ("cluster", cluster), ("phase", phase)]
    }

    /// Adds the parameters that were given.
    pub fn add_to(&self, query: &mut Query) {
        for (name, value) in self.given() {
            query.maybe(name, value.as_ref());
        }
    }

    /// What to say when there is no row, for these and other reasons.
    fn no(&self, noun: &str, others: impl IntoIterator<Item = String>) -> String {
        let given = self.given().into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let words = given.map(|(name, value)| match name {
            "source" => format!("a source that begins with `{value}`"),
            name => format!("{name} `{value}`"),
        });
        match words.chain(others).collect::<Vec<_>>().as_slice() {
            [] => format!("no {noun}"),
            some => format!("no {noun} match {}", some.join(", ")),
        }
    }
}

impl ListArgs {
    fn query(&self) -> Result<Query, Error> {
        let AgeArgs { age_min, age_max } = self.age;
        if let (Some(min), Some(max)) = (age_min, age_max)
            && min > max
        {
            let why = format!("`--age-min` is {min} s and `--age-max` is {max} s: no age is both");
            return Err(Error::Usage(format!("{why}\nhint: `--age-min` is the smaller one")));
        }
        let mut query = self.when.query();
        self.filter.add_to(&mut query);
        query.maybe("gone", self.row.gone.as_ref());
        query.maybe("kind", self.row.kind.as_ref());
        query.maybe("age_min", age_min.as_ref());
        query.maybe("age_max", age_max.as_ref());
        Ok(query)
    }

    /// What to say when there is no row.
    fn no(&self, noun: &str) -> String {
        let AgeArgs { age_min, age_max } = self.age;
        let least = age_min.map(|seconds| format!("an age of {seconds} s at least"));
        let most = age_max.map(|seconds| format!("an age of {seconds} s at most"));
        let RowArgs { gone, kind } = &self.row;
        let gone = gone.map(|gone| if gone { "gone" } else { "not gone" }.to_owned());
        let of_kind = kind.as_deref().map(|kind| format!("kind `{}`", kinds::meant(kind)));
        let none = self.filter.no(noun, gone.into_iter().chain(of_kind).chain(least).chain(most));
        match kind.as_deref().and_then(kinds::doubt) {
            Some(doubt) => format!("{none}\nhint: {doubt}"),
            None => none,
        }
    }

    /// Asks for the list and prints it.
    fn print<T: DeserializeOwned + Serialize>(
        &self,
        noun: &str,
        table: impl Fn(&[T], Timestamp, bool) -> Table,
    ) -> Result<ExitCode, Error> {
        print_list(&self.ask, &self.when, noun, &self.query()?, &self.no(noun), table)
    }
}

impl WatchArgs {
    /// Asks for the list once, or for as long as somebody wants to see it.
    fn print_or_watch<T: DeserializeOwned + Serialize>(
        &self,
        noun: &str,
        table: impl Fn(&[T], Timestamp, bool) -> Table,
    ) -> Result<ExitCode, Error> {
        if !self.watch {
            return self.list.print(noun, table);
        }
        let none = self.list.no(noun);
        // Ages are counted again with each table: one that is watched stays for days.
        let table = |rows: &[T], wide| table(rows, Timestamp::now(), wide);
        watch::watch(&self.list.ask.client()?, noun, &self.list.query()?, &none, self.list.ask.engine.output, table)
    }
}

pub fn get(get: Get) -> Result<ExitCode, Error> {
    match get {
        Get::Resources(args) => {
            args.print_or_watch("resources", |rows: &[ResourceRow], now, wide| rows::resources(rows, now, wide))
        }
        Get::Lifecycles(args) => {
            let client = args.list.ask.client()?;
            let is_now = !args.watch && args.list.when.as_of.is_none();
            args.print_or_watch("lifecycles", |rows: &[LifecycleRow], now, wide| {
                let mut rows = rows.to_vec();
                if is_now && rows.iter().any(rows::is_waiting) {
                    rows::by_intent(&mut rows, &waiting(&client));
                }
                rows::lifecycles(&rows, now, wide)
            })
        }
        Get::Objects(args) => {
            args.print_or_watch("objects", |rows: &[OwnedObjectRow], now, wide| rows::objects(rows, now, wide))
        }
        Get::Rules(RulesArgs { watch, when, ask }) => {
            let (query, none) = (when.query(), "no rules");
            if watch {
                let table = |rows: &[RuleRow], _: bool| rows::rules(rows);
                return watch::watch(&ask.client()?, "rules", &query, none, ask.engine.output, table);
            }
            print_list(&ask, &when, "rules", &query, none, |rows: &[RuleRow], _, _| rows::rules(rows))
        }
        Get::Events(args) => events::events(&args),
        Get::Event(args) => event::event(&args),
    }
}

/// Asks for a list and prints it, or what to say when it is empty.
pub fn print_list<T: DeserializeOwned + Serialize>(
    ask: &AskArgs,
    when: &WhenArgs,
    noun: &str,
    query: &Query,
    none: &str,
    table: impl Fn(&[T], Timestamp, bool) -> Table,
) -> Result<ExitCode, Error> {
    let client = ask.client()?;
    let listed: Listed<T> = client.all_pages(&format!("/v1/{noun}"), query, when.limit)?;
    if output::structured(&listed.list, ask.engine.output)? {
        return Ok(ExitCode::SUCCESS);
    }
    if listed.list.items.is_empty() {
        output::remark(none);
    } else {
        // Ages in an earlier state are those of its own time, as they are where one is asked for.
        let then = listed.time.as_deref().filter(|_| when.as_of.is_some()).and_then(|time| time.parse().ok());
        let now = then.unwrap_or_else(Timestamp::now);
        output::table(&table(&listed.list.items, now, ask.engine.output == Format::Wide), ask.engine.output)?;
    }
    close(&client, &listed, when.as_of.is_some());
    Ok(ExitCode::SUCCESS)
}

/// Which lifecycles wait by intent. Like the line under a table it is a remark, and may be missing.
pub fn waiting(client: &Client) -> Vec<WaitingStatus> {
    client.get::<Status>("/v1/status", &Query::default()).map_or_else(|_| Vec::new(), |status| status.waiting)
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

pub fn history(args: HistoryArgs) -> Result<ExitCode, Error> {
    let client = args.ask.client()?;
    let mut query = Query::default();
    query.add("source", &args.source);
    query.add("subject", &args.subject);
    query.add("limit", args.limit.min(10_000));
    query.maybe("before", args.before.as_ref());
    let list: List<Entry> = client.get("/v1/history", &query)?;
    if !output::structured(&list, args.ask.engine.output)? {
        let wide = args.ask.engine.output == Format::Wide;
        if list.items.is_empty() {
            output::remark("nothing older is in the log");
        } else {
            output::table(&rows::history(&list.items, wide), args.ask.engine.output)?;
        }
        if let Some(before) = &list.next {
            output::remark(&format!("more happened before: --before {before}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub fn status(args: AskArgs) -> Result<ExitCode, Error> {
    let status: Status = args.client()?.get("/v1/status", &Query::default())?;
    if !output::structured(&status, args.engine.output)? {
        output::data(&rows::status(&status, output::width(args.engine.output), Paint::stdout()))?;
    }
    Ok(if status.not_ready().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use lifeline_projections::lifecycle::Phase;

    use super::*;

    #[test]
    fn every_phase_there_is_can_be_typed() {
        assert_eq!(PHASES.map(str::to_owned), Phase::ALL.map(|phase| phase.as_str().to_lowercase()));
    }

    #[test]
    fn an_empty_list_names_what_was_asked_for() {
        let check = |source: Option<&str>, phase: Option<&str>, expected: &str| {
            let text = |text: Option<&str>| text.map(str::to_owned);
            let filter =
                FilterArgs { source: text(source), subject: None, trigger: None, cluster: None, phase: text(phase) };
            assert_eq!(filter.no("lifecycles", None), expected);
        };
        check(None, None, "no lifecycles");
        check(None, Some("failing"), "no lifecycles match phase `failing`");
        check(Some("auth"), Some("gone"), "no lifecycles match a source that begins with `auth`, phase `gone`");
    }
}
