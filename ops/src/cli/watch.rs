//! `--watch`: a list that goes on, row by row, for as long as somebody looks.
//!
//! Start at [`watch`]. [`Watch`] decides what a message means and knows no network. A connection that ends is made again
//! where it ended, by the id of the last message, so that no change is missed; where the engine no longer knows that place,
//! the list begins again, and both are said on standard error. Records never change: [`records`] keeps none of them in mind,
//! and needs no complete list.

use std::process::ExitCode;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::header;
use hyper::header::HeaderName;
use lifeline_projections::history::Entry;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::output::{self, Format};
use super::printer::{Printer, Step};
use crate::api::problem::Problem;
use crate::client::patience::Patience;
use crate::client::sse::{Message, Parser};
use crate::client::{self, Client, Error, Query, Server};
use crate::terminal::table::Table;

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
        let lost =
            match connect(server, path, &watch.id).await {
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
                Err(
                    error @ (Error::Connect { .. } | Error::Http { .. } | Error::NoHttp { .. } | Error::Tls { .. }),
                ) if known => cause(&error),
                Err(Error::Problem(problem)) if known && problem.0.status >= 500 => problem.0.detail.clone(),
                Err(error) => return Err(error),
            };
        output::remark(&format!("`{server}` is lost: {lost}; trying again in {} ms", pause.as_millis()));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn cause(error: &dyn std::error::Error) -> String {
    let text = error.source().unwrap_or(error).to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

async fn connect(server: &Server, path: &str, id: &str) -> Result<hyper::Response<hyper::body::Incoming>, Error> {
    let mut headers = vec![(header::ACCEPT, "text/event-stream")];
    headers.extend((!id.is_empty()).then(|| (LAST_EVENT_ID.clone(), id)));
    let response = client::server::send(server, path, &headers).await?;
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    if response.status().is_success() {
        if !kind.starts_with("text/event-stream") {
            return Err(Error::NoEvents { server: server.to_string(), kind: kind.to_owned() });
        }
        return Ok(response);
    }
    let body = client::server::body(server, response).await?;
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

/// How far a watch has come.
#[derive(Debug, Default)]
struct Watch {
    /// The id of the last message: where to go on. Empty while the list is not complete.
    id: String,
    /// Whether the list was complete.
    listed: bool,
    /// Whether rows only come: then there is no list to complete, and a watch can go on from each row.
    only_grows: bool,
}

impl Watch {
    /// One of records, from an offset on.
    fn of_records(next: u64) -> Watch {
        Watch { id: next.to_string(), listed: true, only_grows: true }
    }

    /// Forgets how far it had come.
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

#[cfg(test)]
mod tests {
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

    /// Answers each connection in turn with the given text; gives what was asked each time.
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
        follow(
            &Server::parse(&address, None).expect("an address"),
            "/v1/watch?noun=resources",
            Watch::default(),
            &mut printer,
        )
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
        follow(
            &Server::parse(&address, None).expect("an address"),
            "/v1/watch?noun=events",
            Watch::of_records(2),
            &mut printer,
        )
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
        let nobody = follow(
            &Server::parse("127.0.0.1:1", None).expect("an address"),
            "/v1/watch",
            Watch::default(),
            &mut printer,
        )
        .await;
        assert!(matches!(nobody, Err(Error::Connect { .. })), "{nobody:?}");
        let (address, _) = server(vec![refusal(400, "bad-parameter")]);
        let refused =
            follow(&Server::parse(&address, None).expect("an address"), "/v1/watch", Watch::default(), &mut printer)
                .await;
        assert!(matches!(refused, Err(Error::Problem(_))), "{refused:?}");
        let (address, _) =
            server(vec!["HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\nhi".to_owned()]);
        let other =
            follow(&Server::parse(&address, None).expect("an address"), "/v1/watch", Watch::default(), &mut printer)
                .await;
        assert!(matches!(other, Err(Error::NoEvents { .. })), "{other:?}");
    }
}
