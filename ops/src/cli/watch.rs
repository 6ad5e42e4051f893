//! `--watch`: a list that goes on, row by row, for as long as somebody looks.
//!
//! Start at [`watch`]. [`Watch`] decides what a message means and knows no network. A connection that ends is made again
//! where it ended, by the id of the last message, so that no change is missed; where the engine no longer knows that place,
//! the list begins again, and both are said on standard error. Records never change: [`records`] keeps none of them in mind,
//! and needs no list to be told to its end.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::ExitCode;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::header;
use hyper::header::HeaderName;
use lifeline_projections::history::Entry;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::client::{self, Client, Error, Query, Server};
use super::output::{self, Format};
use crate::client::patience::Patience;
use crate::client::sse::{Message, Parser};
use crate::terminal::style::Paint;
use crate::terminal::table::{Fit, Table};
use crate::api::problem::Problem;

/// How long nothing at all may arrive: an engine sends a sign of life far more often.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The pause before the first attempt to connect again; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// The longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);

static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Prints a list, then its rows as they change, until Ctrl-C.
pub fn watch<T: DeserializeOwned + Serialize>(
    client: &Client,
    noun: &str,
    query: &Query,
    none: &str,
    format: Format,
    table: impl Fn(&[T], bool) -> Table,
) -> Result<ExitCode, Error> {
    let server = client.server()?;
    let mut query = query.clone();
    query.add("noun", noun);
    let path = format!("/v1/watch{query}");
    let mut printer = Printer::new(format, none, table, output::flow);
    let ended = client.until_interrupted(follow(server, &path, Watch::default(), &mut printer))?;
    ended.unwrap_or(Ok(())).map(|()| ExitCode::SUCCESS)
}

/// Prints records that were asked for, then those that come behind them, from the offset `next` on, until Ctrl-C.
pub fn records(
    client: &Client,
    entries: Vec<Entry>,
    next: u64,
    none: &str,
    format: Format,
    table: impl Fn(&[Entry], bool) -> Table,
) -> Result<ExitCode, Error> {
    let server = client.server()?;
    let mut printer = Printer::new(format, none, table, output::flow).of_records();
    for item in entries {
        if !printer.print(Step::Row { offset: next, item })? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    if !printer.print(Step::Listed { offset: next })? {
        return Ok(ExitCode::SUCCESS);
    }
    let watch = Watch::of_records(next);
    let ended = client.until_interrupted(follow(server, "/v1/watch?noun=events", watch, &mut printer))?;
    ended.unwrap_or(Ok(())).map(|()| ExitCode::SUCCESS)
}

/// Follows the engine's messages; ends when nobody reads what is printed any more.
async fn follow<T, F, W>(
    server: &Server,
    path: &str,
    mut watch: Watch,
    printer: &mut Printer<'_, T, F, W>,
) -> Result<(), Error>
where
    T: DeserializeOwned + Serialize,
    F: Fn(&[T], bool) -> Table,
    W: FnMut(&str) -> Result<bool, Error>,
{
    let mut patience = Patience::on_terminal();
    let (mut known, mut pause) = (false, PAUSE_MIN);
    loop {
        let lost = match connect(server, path, &watch.id).await {
            Ok(mut response) => {
                drop(patience.take());
                if known {
                    output::remark(&format!("watching `{server}` again"));
                }
                known = true;
                let mut parser = Parser::default();
                let lost = loop {
                    let bytes = match tokio::time::timeout(SILENCE_MAX, response.body_mut().frame()).await {
                        Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                        Ok(Some(Err(error))) => break error.to_string(),
                        Ok(None) => break "it ended the connection".to_owned(),
                        Err(_) => break format!("nothing came for {} s", SILENCE_MAX.as_secs()),
                    };
                    for message in parser.push(&bytes) {
                        let step = watch.take(message).map_err(|source| Error::Answer {
                            server: server.to_string(),
                            path: path.to_owned(),
                            source,
                        })?;
                        // A server that only answers that it cannot is not asked ever faster.
                        if matches!(step, Step::Listed { .. } | Step::Changed { .. } | Step::Removed { .. }) {
                            pause = PAUSE_MIN;
                        }
                        if !printer.print(step)? {
                            return Ok(());
                        }
                    }
                };
                pause = parser.retry().unwrap_or(pause).clamp(PAUSE_MIN, PAUSE_MAX);
                if !watch.listed {
                    watch.begin();
                    printer.forget();
                }
                lost
            }
            Err(Error::Problem(problem)) if patience.as_mut().is_some_and(|patience| patience.lasts(&problem)) => {
                tokio::time::sleep(PAUSE_MIN).await;
                continue;
            }
            // The place is no longer known: the list begins again.
            Err(Error::Problem(problem)) if known && !watch.id.is_empty() && problem.0.code == "expired" => {
                printer.print(watch.start_over(&problem))?;
                continue;
            }
            // An engine that was there and is not is waited for; one that never was is a mistake.
            Err(error @ (Error::Connect { .. } | Error::Http { .. })) if known => cause(&error),
            Err(Error::Problem(problem)) if known && problem.0.status >= 500 => problem.0.detail.clone(),
            Err(error) => return Err(error),
        };
        output::remark(&format!("`{server}` is lost: {lost}; trying again in {} ms", pause.as_millis()));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn cause(error: &dyn std::error::Error) -> String {
    error.source().unwrap_or(error).to_string()
}

async fn connect(server: &Server, path: &str, id: &str) -> Result<hyper::Response<hyper::body::Incoming>, Error> {
    let mut headers = vec![(header::ACCEPT, "text/event-stream")];
    headers.extend((!id.is_empty()).then(|| (LAST_EVENT_ID.clone(), id)));
    let response = client::send(server, path, &headers).await?;
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    if response.status().is_success() {
        if !kind.starts_with("text/event-stream") {
            return Err(Error::NoEvents { server: server.to_string(), kind: kind.to_owned() });
        }
        return Ok(response);
    }
    let body = client::body(server, response).await?;
    let answer = |source| Error::Answer { server: server.to_string(), path: path.to_owned(), source };
    Err(client::problem(&body).map_or_else(answer, Error::Problem))
}

/// What `item` and `removed` carry.
#[derive(Deserialize)]
struct Carried<T> {
    offset: u64,
    item: T,
}

/// What `bookmark` carries.
#[derive(Deserialize)]
struct Bookmark {
    offset: u64,
}

/// What a message comes to.
#[derive(Debug, PartialEq)]
enum Step<T> {
    /// Nothing yet.
    Nothing,
    /// A row of the list that is being told.
    Row { offset: u64, item: T },
    /// The list was told.
    Listed { offset: u64 },
    /// A row changed, or is new.
    Changed { offset: u64, item: T },
    /// A row is no longer in the list.
    Removed { offset: u64, item: T },
    /// The list will be told again, for this reason.
    StartOver { why: String },
}

/// Where a watch stands.
#[derive(Debug, Default)]
struct Watch {
    /// The id of the last message: where to go on. Empty while the list is not told to its end.
    id: String,
    /// Whether the list was told to its end.
    listed: bool,
    /// Whether rows only come: then there is no list to be told to its end, and each row can be gone on from.
    only_grows: bool,
}

impl Watch {
    /// One of records, from an offset on.
    fn of_records(next: u64) -> Watch {
        Watch { id: next.to_string(), listed: true, only_grows: true }
    }

    /// Forgets where it stood.
    fn begin(&mut self) {
        self.id.clear();
        self.listed = self.only_grows;
    }

    fn take<T: DeserializeOwned>(&mut self, message: Message) -> Result<Step<T>, serde_json::Error> {
        let step = match message.event.as_str() {
            "item" => {
                let Carried { offset, item } = serde_json::from_str(&message.data)?;
                if self.listed { Step::Changed { offset, item } } else { Step::Row { offset, item } }
            }
            "removed" => {
                let Carried { offset, item } = serde_json::from_str(&message.data)?;
                Step::Removed { offset, item }
            }
            "bookmark" if !std::mem::replace(&mut self.listed, true) => {
                let Bookmark { offset } = serde_json::from_str(&message.data)?;
                Step::Listed { offset }
            }
            "expired" => {
                let problem: Problem = serde_json::from_str(&message.data)?;
                return Ok(self.start_over(&problem));
            }
            // A later bookmark only moves the place to go on from. What is not known is of a later release.
            _ => Step::Nothing,
        };
        if self.listed {
            self.id = message.id;
        }
        Ok(step)
    }

    fn start_over<T>(&mut self, problem: &Problem) -> Step<T> {
        self.begin();
        Step::StartOver { why: problem.0.detail.clone() }
    }
}

/// The fields that tell one row from another, of every list; a list has some of them.
const KEY_FIELDS: [&str; 10] =
    ["source", "subject", "trigger", "cluster", "group", "version", "kind", "namespace", "name", "rule"];

/// The rows that were told, as checksums of their keys and of what they said: an engine tells what changed, not to whom it
/// told what.
#[derive(Default)]
struct Known(HashMap<u64, u64>);

impl Known {
    /// Whether this is news.
    fn is_news<T: Serialize>(&mut self, item: &T) -> Result<bool, Error> {
        let (key, said) = Known::checksums(item)?;
        Ok(self.0.insert(key, said) != Some(said))
    }

    /// Whether this was known, and is not any more.
    fn forget<T: Serialize>(&mut self, item: &T) -> Result<bool, Error> {
        Ok(self.0.remove(&Known::checksums(item)?.0).is_some())
    }

    fn checksums<T: Serialize>(item: &T) -> Result<(u64, u64), Error> {
        let row = serde_json::to_value(item).map_err(|error| Error::Encode(error.to_string()))?;
        let of = |text: &dyn Fn(&mut DefaultHasher)| {
            let mut hasher = DefaultHasher::new();
            text(&mut hasher);
            hasher.finish()
        };
        let key = KEY_FIELDS.map(|field| row.get(field).and_then(|text| text.as_str()));
        Ok((of(&|hasher| key.hash(hasher)), of(&|hasher| row.to_string().hash(hasher))))
    }
}

/// What was printed decides how the next rows are.
struct Printer<'a, T, F, W> {
    format: Format,
    /// What to say when the list is empty.
    none: &'a str,
    table: F,
    /// Where it goes; false when nobody reads any more.
    write: W,
    /// What was told; `None` for records, of which each is told once.
    known: Option<Known>,
    /// The rows of a list that is being told.
    rows: Vec<T>,
    /// The heads that were printed.
    fit: Option<Fit>,
}

/// A line of `-o json`.
#[derive(Serialize)]
struct Line<'a, T> {
    event: &'static str,
    offset: u64,
    item: &'a T,
}

impl<T, F, W> Printer<'_, T, F, W>
where
    T: Serialize,
    F: Fn(&[T], bool) -> Table,
    W: FnMut(&str) -> Result<bool, Error>,
{
    fn new(format: Format, none: &str, table: F, write: W) -> Printer<'_, T, F, W> {
        Printer { format, none, table, write, known: Some(Known::default()), rows: Vec::new(), fit: None }
    }

    /// Of rows that never change and are told once: none is kept in mind.
    fn of_records(self) -> Self {
        Printer { known: None, ..self }
    }

    /// Does a step; false when nobody reads any more.
    fn print(&mut self, step: Step<T>) -> Result<bool, Error> {
        let is_news = match (&mut self.known, &step) {
            (Some(known), Step::Row { item, .. } | Step::Changed { item, .. }) => known.is_news(item)?,
            (Some(known), Step::Removed { item, .. }) => known.forget(item)?,
            (Some(_), Step::Nothing | Step::Listed { .. } | Step::StartOver { .. }) | (None, _) => true,
        };
        match step {
            _ if !is_news => Ok(true),
            Step::Nothing => Ok(true),
            Step::StartOver { why } => {
                self.forget();
                output::remark(&format!("{why}; here is the list again"));
                Ok(true)
            }
            Step::Row { offset, item } | Step::Changed { offset, item } if self.format.is_structured() => {
                self.line("item", offset, &item)
            }
            Step::Removed { offset, item } if self.format.is_structured() => self.line("removed", offset, &item),
            Step::Row { item, .. } => {
                self.rows.push(item);
                Ok(true)
            }
            Step::Listed { offset } => {
                let rows = std::mem::take(&mut self.rows);
                let goes_on = rows.is_empty() || self.table(&rows, None)?;
                if rows.is_empty() && !self.format.is_structured() {
                    output::remark(self.none);
                }
                output::remark(&format!("as of offset {offset}; changes follow, Ctrl-C ends"));
                Ok(goes_on)
            }
            Step::Changed { item, .. } => self.table(&[item], None),
            Step::Removed { offset, item } => {
                self.table(&[item], Some(format!("no longer in this list, offset {offset}")))
            }
        }
    }

    /// A list that was not told to its end will be told again.
    fn forget(&mut self) {
        self.known = self.known.take().map(|_| Known::default());
        self.rows.clear();
        self.fit = None;
    }

    fn line(&mut self, event: &'static str, offset: u64, item: &T) -> Result<bool, Error> {
        (self.write)(&output::one_of_many(&Line { event, offset, item }, self.format)?)
    }

    fn table(&mut self, rows: &[T], remark: Option<String>) -> Result<bool, Error> {
        let (text, left_out) = self.drawn(rows, remark, output::width(self.format), Paint::stdout());
        let goes_on = (self.write)(&text)?;
        output::left_out(&left_out);
        Ok(goes_on)
    }

    /// The rows, under heads where there are none yet.
    fn drawn(
        &mut self,
        rows: &[T],
        remark: Option<String>,
        width: Option<usize>,
        paint: Paint,
    ) -> (String, Vec<&'static str>) {
        let mut table = (self.table)(rows, self.format == Format::Wide);
        if remark.is_some() {
            table.remark(remark);
        }
        match &self.fit {
            Some(fit) => (table.draw_rows(fit, paint), Vec::new()),
            None => {
                let fit = table.fit_to_grow(width);
                let drawn = (table.draw(&fit, paint), table.left_out(&fit));
                self.fit = Some(fit);
                drawn
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::terminal::table::Column;
    use super::*;

    fn message(event: &str, data: &str, id: &str) -> Message {
        Message { event: event.into(), data: data.into(), id: id.into() }
    }

    #[test]
    fn a_list_is_told_and_then_its_changes() {
        let mut watch = Watch::default();
        let mut check = |event: &str, data: &str, id: &str, expected: Step<String>, resumes_at: &str| {
            let step: Step<String> = watch.take(message(event, data, id)).expect("JSON");
            assert_eq!((step, watch.id.as_str()), (expected, resumes_at), "{event} {data}");
        };
        let item = |offset, item: &str| (offset, item.to_owned());
        let row = |(offset, item)| Step::Row { offset, item };
        let changed = |(offset, item)| Step::Changed { offset, item };
        check("item", r#"{"offset":5,"item":"a"}"#, "x", row(item(5, "a")), "");
        check("item", r#"{"offset":5,"item":"b"}"#, "", row(item(5, "b")), "");
        check("bookmark", r#"{"offset":5}"#, "5", Step::Listed { offset: 5 }, "5");
        check("item", r#"{"offset":6,"item":"a"}"#, "6", changed(item(6, "a")), "6");
        check("bookmark", r#"{"offset":9}"#, "9", Step::Nothing, "9");
        check("removed", r#"{"offset":10,"item":"b"}"#, "10", Step::Removed { offset: 10, item: "b".into() }, "10");
        check("of-a-later-release", "?", "11", Step::Nothing, "11");
        let problem = r#"{"type":"-","title":"-","status":410,"code":"expired","detail":"too long ago"}"#;
        check("expired", problem, "11", Step::StartOver { why: "too long ago".into() }, "");
        check("item", r#"{"offset":12,"item":"a"}"#, "", row(item(12, "a")), "");
        assert!(
            watch.take::<String>(message("item", "{}", "13")).is_err(),
            "what is not understood is not passed over"
        );
    }

    #[test]
    fn records_are_told_at_once_and_can_be_gone_on_from_anywhere() {
        let mut watch = Watch::of_records(7);
        assert_eq!(watch.id, "7");
        let mut check = |event: &str, data: &str, id: &str, expected: Step<String>, resumes_at: &str| {
            let step: Step<String> = watch.take(message(event, data, id)).expect("JSON");
            assert_eq!((step, watch.id.as_str()), (expected, resumes_at), "{event} {data}");
        };
        let changed = |offset, item: &str| Step::Changed { offset, item: item.into() };
        check("item", r#"{"offset":8,"item":"a"}"#, "8", changed(8, "a"), "8");
        check("bookmark", r#"{"offset":9}"#, "9", Step::Nothing, "9");
        let problem = r#"{"type":"-","title":"-","status":410,"code":"expired","detail":"too long ago"}"#;
        check("expired", problem, "9", Step::StartOver { why: "too long ago".into() }, "");
        check("item", r#"{"offset":30,"item":"b"}"#, "30", changed(30, "b"), "30");
        check("bookmark", r#"{"offset":31}"#, "31", Step::Nothing, "31");
    }

    #[test]
    fn rows_are_told_apart_by_their_keys_and_by_nothing_else() {
        let check = |row: serde_json::Value, other: serde_json::Value, is_same: bool| {
            let key = |row: &serde_json::Value| Known::checksums(row).expect("JSON").0;
            assert_eq!(key(&row) == key(&other), is_same, "{row} {other}");
        };
        let object = |kind: &str, namespace: Option<&str>, trigger: &str, uid: Option<&str>| {
            serde_json::json!({
                "group": "", "version": "v1", "kind": kind, "namespace": namespace, "name": "x", "uid": uid,
                "cluster": "mgmt/mgmt", "trigger": trigger, "source": "s", "subject": "", "offset": 1, "time": null,
            })
        };
        let pod = object("Pod", Some("n"), "t", None);
        check(pod.clone(), object("Pod", Some("n"), "t", Some("8f3c")), true);
        check(pod.clone(), object("Pod", Some("m"), "t", None), false);
        check(pod.clone(), object("Pod", None, "t", None), false);
        check(pod.clone(), object("Job", Some("n"), "t", None), false);
        check(pod, object("Pod", Some("n"), "u", None), false);
        let rule = |rule: &str, digest: &str| serde_json::json!({"rule": rule, "digest": digest, "offset": 1});
        check(rule("EventTrigger/a", "1"), rule("EventTrigger/a", ""), true);
        check(rule("EventTrigger/a", "1"), rule("EventTrigger/b", "1"), false);
    }

    #[test]
    fn rows_that_change_stand_under_the_heads_of_the_list() {
        let table = |rows: &[&str], _: bool| {
            let mut table = Table::new(&[Column::name("SUBJECT").likely(10), Column::word("PHASE")]);
            for row in rows {
                table.push(vec![(*row).into(), "Ready".into()]);
            }
            table
        };
        let mut printer = Printer::new(Format::Table, "", table, |_: &str| Ok(true));
        let first = printer.drawn(&["a", "b"], None, Some(40), Paint::Off);
        assert_eq!(first.0, "SUBJECT     PHASE\na           Ready\nb           Ready\n");
        let more = printer.drawn(&["somebody-else"], Some("no longer in this list".into()), Some(40), Paint::Off);
        assert_eq!(more.0, "someb…else  Ready\n  no longer in this list\n");
        printer.forget();
        assert!(printer.drawn(&["a"], None, None, Paint::Off).0.starts_with("SUBJECT"));
    }

    /// Answers each connection in turn with what stands there; gives what was asked each time.
    fn server(answers: Vec<String>) -> (String, std::thread::JoinHandle<Vec<String>>) {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let asked = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut request = Vec::new();
                let mut piece = [0; 1024];
                while !request.ends_with(b"\r\n\r\n") {
                    let bytes = stream.read(&mut piece).expect("a request");
                    request.extend_from_slice(&piece[..bytes]);
                }
                asked.push(String::from_utf8_lossy(&request).to_lowercase());
                stream.write_all(answer.as_bytes()).expect("a reader");
            }
            asked
        });
        (address, asked)
    }

    fn events(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{body}")
    }

    fn refusal(status: u16, code: &str) -> String {
        let body =
            format!(r#"{{"type":"-","title":"-","status":{status},"code":"{code}","detail":"the engine is {code}"}}"#);
        let kind = "application/problem+json";
        format!("HTTP/1.1 {status} -\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn a_connection_that_ends_is_made_again_where_it_ended() {
        let row = |subject: &str, phase: &str| format!(r#"{{"phase":"{phase}","subject":"{subject}"}}"#);
        let event = |event: &str, id: u64, row: String| {
            format!("event: {event}\nid: {id}\ndata: {{\"offset\":{id},\"item\":{row}}}\n\n")
        };
        let bookmark = |id: u64| format!("event: bookmark\nid: {id}\ndata: {{\"offset\":{id}}}\n\n");
        let cut_off = "event: item\nid: 9\ndata: {\"offset\":9,";
        let item = |id: u64, subject: &str, phase: &str| event("item", id, row(subject, phase));
        let removed = |id: u64, subject: &str| event("removed", id, row(subject, "Gone"));
        let (address, asked) = server(vec![
            events(&(item(5, "a", "Pending") + &bookmark(5) + &item(6, "a", "Ready") + cut_off)),
            refusal(503, "stopping"),
            events(&(item(6, "a", "Ready") + &removed(6, "never-listed") + &removed(7, "a") + &removed(7, "a"))),
            refusal(410, "expired"),
            events(&(item(8, "b", "Ready") + &bookmark(8) + &item(9, "last", "Ready"))),
        ]);
        let mut told = Vec::new();
        let write = |line: &str| {
            told.push(line.to_owned());
            Ok(!line.contains("last"))
        };
        let table = |_: &[serde_json::Value], _: bool| Table::default();
        let mut printer = Printer::new(Format::Json, "", table, write);
        follow(&Server::at(&address), "/v1/watch?noun=resources", Watch::default(), &mut printer)
            .await
            .expect("a watch");
        let line = |event: &str, offset: u64, row: String| {
            format!("{{\"event\":\"{event}\",\"offset\":{offset},\"item\":{row}}}\n")
        };
        let expected = [
            line("item", 5, row("a", "Pending")),
            line("item", 6, row("a", "Ready")),
            line("removed", 7, row("a", "Gone")),
            line("item", 8, row("b", "Ready")),
            line("item", 9, row("last", "Ready")),
        ];
        assert_eq!(told, expected, "what is known already is not told twice, and what was never told does not go");
        let asked = asked.join().expect("the server");
        let resumed: Vec<bool> = asked.iter().map(|request| request.contains("last-event-id: ")).collect();
        assert_eq!(resumed, [false, true, true, true, false]);
        assert!(asked[1].contains("last-event-id: 6\r\n") && asked[3].contains("last-event-id: 7\r\n"), "{asked:?}");
    }

    #[tokio::test]
    async fn records_are_gone_on_from_behind_those_that_were_asked_for() {
        let entry = |offset: u64| {
            let text = serde_json::json!({"offset": offset, "time": null, "fact": "RuleChanged", "summary": "changed"});
            serde_json::from_value::<Entry>(text).expect("an entry")
        };
        let event = |offset: u64| {
            let row = serde_json::to_string(&entry(offset)).expect("JSON");
            format!("event: item\nid: {0}\ndata: {{\"offset\":{0},\"item\":{row}}}\n\n", offset + 1)
        };
        let (address, asked) = server(vec![events(&(event(2) + &event(3))), events(&(event(4) + &event(5)))]);
        let mut told = Vec::new();
        let write = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            told.push(line["item"]["offset"].as_u64().expect("an offset"));
            Ok(told.last() != Some(&5))
        };
        let mut printer = Printer::new(Format::Json, "", |_: &[Entry], _| Table::default(), write).of_records();
        printer.print(Step::Row { offset: 2, item: entry(1) }).expect("a writer");
        follow(&Server::at(&address), "/v1/watch?noun=events", Watch::of_records(2), &mut printer)
            .await
            .expect("a watch");
        assert_eq!(told, [1, 2, 3, 4, 5]);
        let asked = asked.join().expect("the server");
        assert!(asked[0].contains("last-event-id: 2\r\n") && asked[1].contains("last-event-id: 4\r\n"), "{asked:?}");
    }

    #[tokio::test]
    async fn an_engine_that_never_was_there_is_a_mistake() {
        let table = |_: &[String], _: bool| Table::default();
        let write = |_: &str| Ok(true);
        let mut printer = Printer::new(Format::Json, "", table, write);
        let nobody = follow(&Server::at("127.0.0.1:1"), "/v1/watch", Watch::default(), &mut printer).await;
        assert!(matches!(nobody, Err(Error::Connect { .. })), "{nobody:?}");
        let (address, _) = server(vec![refusal(400, "bad-parameter")]);
        let refused = follow(&Server::at(&address), "/v1/watch", Watch::default(), &mut printer).await;
        assert!(matches!(refused, Err(Error::Problem(_))), "{refused:?}");
        let (address, _) =
            server(vec!["HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\nhi".to_owned()]);
        let other = follow(&Server::at(&address), "/v1/watch", Watch::default(), &mut printer).await;
        assert!(matches!(other, Err(Error::NoEvents { .. })), "{other:?}");
    }
}
