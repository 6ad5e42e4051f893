//! Redrives, asked as a client would ask for them, of a recorder that runs.

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use lifeline_engine::clock::SystemClock;
use lifeline_engine::queries::Queries;
use lifeline_engine::recorder::Recorder;
use lifeline_engine::rules::{Current, RuleSet};
use lifeline_engine::site::Sites;
use lifeline_engine::status::Status;
use lifeline_engine::view::View;
use lifeline_projections::as_of::{self, Moment};
use lifeline_projections::fact::{Delivery, EventRejected, Fact};
use lifeline_projections::fold::Projection;
use lifeline_store::{Log, Options, SimulatedDisk};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tower::ServiceExt;

use super::*;
use crate::api::access::{Access, TokenFile, guard};
use crate::api::{ApiState, router};
use crate::hosts::Hosts;

const EVENT: &[u8] = br#"{"specversion":"1.0","type":"login","source":"auth","id":"7","subject":"zoe"}"#;

/// What an earlier release rejected, by offset: an event, no event, another event.
fn rejected() -> [Fact<'static>; 3] {
    [
        (1, EVENT),
        (2, b"no event"),
        (3, br#"{"specversion":"1.0","type":"visit","source":"auth","id":"8","subject":"zoe"}"#),
    ]
    .map(|(sequence, payload)| {
        let (cluster, stream, subject) = ("mgmt/mgmt", "USERS", "user-operation");
        let delivery = Delivery { cluster, stream, epoch: 1, sequence, published_unix_nanos: 5, subject };
        Fact::Rejected(EventRejected { delivery, reason: "attribute `time` is missing", headers: vec![], payload })
    })
}

fn open(disk: &SimulatedDisk) -> Log<SimulatedDisk> {
    Log::open(disk.clone(), Options { low_space_bytes: 0, ..Options::default() }).expect("a sound disk").0
}

/// Tells a story beside an engine on this disk, which has rules.
async fn beside<T>(disk: &SimulatedDisk, story: impl AsyncFnOnce(Router) -> T) -> T {
    let log = open(disk);
    let reader = log.reader();
    let projection = as_of::projection(&reader, Moment::Offset(reader.end())).expect("a sound log");
    let view = View::new(projection, reader);
    let opened = disk.clone();
    let open_log = move || Log::open(opened.clone(), Options { low_space_bytes: 0, ..Options::default() });
    let (_intake, received) = mpsc::channel(1);
    let (sites, clock) = (Arc::new(Sites::new(Vec::new())), Arc::new(SystemClock));
    let (recorder, recording) = Recorder::new(Box::new(open_log), log, view.clone(), sites, clock, received);
    let (_rules, rules) = watch::channel(Current { rules: Some(Arc::new(RuleSet::empty())), troubles: Vec::new() });
    let (stop, stopping) = watch::channel(false);
    let queries = Queries::new(view.clone(), Arc::new(SystemClock));
    let reads = router(ApiState { queries, status: Arc::new(Status::default), stop: stop.subscribe() });
    let router = with_redrive(reads, Redriver::new(view.clone(), recording));
    let told = async {
        let told = story(router).await;
        stop.send_replace(true);
        told
    };
    let (ended, told) = tokio::join!(recorder.run(rules, stopping), told);
    ended.expect("it stops in good order");
    // The log folded again gives what the recorder folded as it went.
    let log = open(disk).reader();
    let again = as_of::projection(&log, Moment::Offset(log.end())).expect("a sound log");
    assert_eq!(again.digest(), view.read(Projection::digest));
    told
}

async fn disk_with_rejected() -> SimulatedDisk {
    let disk = SimulatedDisk::new(7);
    let mut log = open(&disk);
    for fact in rejected() {
        log.append_encoded(1_780_000_000_000_000_000, |buffer| fact.encode(buffer)).expect("room");
    }
    log.sync().expect("a disk");
    log.close().expect("a disk");
    disk
}

async fn ask(router: &Router, request: Request<Body>) -> (u16, Value) {
    let Ok(response) = router.clone().oneshot(request).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&body).expect("JSON"))
}

async fn redrive(router: &Router, order: Value) -> (u16, Value) {
    let request = Request::post("/v1/redrive")
        .header("Host", "localhost")
        .header("Content-Type", "application/json; charset=utf-8");
    ask(router, request.body(Body::from(order.to_string())).expect("a request")).await
}

async fn get(router: &Router, path: &str) -> Value {
    let (status, body) = ask(router, Request::get(path).body(Body::empty()).expect("a path")).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// Offset, outcome and the other record, of each.
fn rows(answer: &Value) -> Vec<(u64, &str, Option<u64>)> {
    let items = answer["items"].as_array().expect("items").iter();
    let row = |row: &'_ Value| (row["offset"].as_u64().expect("a number"), row["at"].as_u64());
    items.map(|item| (row(item).0, item["outcome"].as_str().expect("text"), row(item).1)).collect()
}

#[tokio::test]
async fn a_rejected_message_is_taken_up_once_also_after_a_crash() {
    let disk = disk_with_rejected().await;
    beside(&disk, async |router| {
        let order = json!({"offsets": [0, 1, 9], "reason": "read by now", "dry_run": true});
        let (status, answer) = redrive(&router, order).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(rows(&answer), [(0, "event", None), (1, "rejected", None), (9, "ahead", None)]);
        assert_eq!(get(&router, "/v1/status").await["recorded"], 0, "a status of its own");
        assert_eq!(get(&router, "/v1/events?since=3").await["items"], json!([]), "nothing is recorded");

        let order = json!({"offsets": [1, 0, 0], "reason": " read by now "});
        let (status, answer) = redrive(&router, order.clone()).await;
        assert_eq!((status, &answer["by"]), (200, &json!("anybody")), "{answer}");
        assert_eq!(rows(&answer), [(0, "event", Some(3)), (1, "rejected", None)]);
        let reason = answer["items"][1]["summary"].as_str().expect("text");
        assert!(reason.starts_with("still no CloudEvent: payload is no JSON"), "{reason}");
        let (_, again) = redrive(&router, order).await;
        assert_eq!(rows(&again), [(0, "done", Some(3)), (1, "rejected", None)]);

        let item = get(&router, "/v1/event?offset=3").await["item"].clone();
        let redriven = json!({"of": 0, "by": "anybody", "reason": "read by now"});
        assert_eq!((&item["record"]["fact"], &item["record"]["redriven"]), (&json!("EventRedriven"), &redriven));
        assert_eq!((&item["message"]["sequence"], &item["attributes"]["id"]), (&json!(1), &json!("7")));
        let summary = item["record"]["summary"].as_str().expect("text");
        assert!(summary.ends_with("(rejected at offset 0, taken up again by anybody: read by now)"), "{summary}");
        let history = get(&router, "/v1/history?source=auth&subject=zoe").await;
        assert_eq!(history["items"].as_array().map(Vec::len), Some(1));
        assert_eq!(get(&router, "/v1/events?rejected=true").await["items"].as_array().map(Vec::len), Some(3));
    })
    .await;
    disk.cut_power();
    beside(&disk, async |router| {
        let together = json!({"offsets": [0, 2, 3], "reason": "again"});
        let (one, other) = tokio::join!(redrive(&router, together.clone()), redrive(&router, together));
        let both = [rows(&one.1), rows(&other.1)];
        for rows in &both {
            assert_eq!((rows[0], rows[2]), ((0, "done", Some(3)), (3, "not-rejected", None)));
            assert_eq!((rows[1].0, rows[1].2), (2, Some(4)));
        }
        let mut outcomes = both.map(|rows| rows[1].1.to_owned());
        outcomes.sort();
        assert_eq!(outcomes, ["done", "event"], "two who ask at once get one event");
        let resources = get(&router, "/v1/resources").await;
        assert_eq!(
            (&resources["items"][0]["events"], &resources["items"][0]["last_event"]),
            (&json!(2), &json!("visit"))
        );
    })
    .await;
}

#[tokio::test]
async fn a_web_page_and_a_body_that_is_not_in_order_are_refused() {
    let disk = disk_with_rejected().await;
    beside(&disk, async |router| {
        let check = async |headers: &[(&str, &str)], body: &str, status: u16, code: &str, words: &str| {
            let mut request = Request::post("/v1/redrive");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let (got, problem) = ask(&router, request.body(Body::from(body.to_owned())).expect("a request")).await;
            let detail = problem["detail"].as_str().expect("a detail");
            assert_eq!((got, &problem["code"]), (status, &json!(code)), "{headers:?} {body}: {detail}");
            assert!(detail.contains(words), "{body}: `{detail}` does not say `{words}`");
        };
        let json = ("Content-Type", "application/json");
        let fine = r#"{"offsets": [0], "reason": "r"}"#;
        check(&[json, ("Origin", "http://evil.example")], fine, 403, "forbidden", "a web page").await;
        check(&[json, ("Origin", "null")], fine, 403, "forbidden", "a web page").await;
        check(&[], fine, 415, "not-json", "no content type").await;
        check(&[("Content-Type", "text/plain")], fine, 415, "not-json", "`text/plain`").await;
        check(&[json], "", 400, "bad-parameter", "the body is not as expected").await;
        check(&[json], r#"{"offsets": [0]}"#, 400, "bad-parameter", "missing field `reason`").await;
        check(&[json], r#"{"offsets": [0], "reason": "r", "x": 1}"#, 400, "bad-parameter", "unknown field `x`").await;
        check(&[json], r#"{"offsets": [], "reason": "r"}"#, 400, "bad-parameter", "offsets: `0` are not").await;
        check(&[json], r#"{"offsets": [0], "reason": " "}"#, 400, "bad-parameter", "reason: expected").await;
        check(&[json], r#"{"offsets": [0], "reason": "a\nb"}"#, 400, "bad-parameter", "reason: expected").await;
        assert_eq!(get(&router, "/v1/events?since=3").await["items"], json!([]), "nothing is recorded");
        let (status, problem) = ask(&router, Request::get("/v1/redrive").body(Body::empty()).expect("a path")).await;
        assert_eq!((status, &problem["detail"]), (405, &json!("this path answers POST only")));
        let (status, problem) = ask(&router, Request::post("/v1/rules").body(Body::empty()).expect("a path")).await;
        assert_eq!((status, &problem["detail"]), (405, &json!("this path answers GET only")));
    })
    .await;
}

#[tokio::test]
async fn who_asks_is_recorded_and_has_to_be_known_where_the_engine_wants_to_know() {
    let disk = disk_with_rejected().await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "s3cret").expect("a file");
    let token = TokenFile::open(file.path().to_owned()).expect("a token");
    beside(&disk, async |router| {
        let hosts = Hosts::new([127, 0, 0, 1].into(), Vec::new());
        let router = guard(router, hosts, Arc::new(Access::Token(token)));
        let order = json!({"offsets": [0], "reason": "r"});
        assert_eq!(redrive(&router, order.clone()).await.0, 401);
        let request =
            Request::post("/v1/redrive").header("Host", "localhost").header("Content-Type", "application/json");
        let request = request.header("Authorization", "Bearer s3cret").body(Body::from(order.to_string()));
        let (status, answer) = ask(&router, request.expect("a request")).await;
        assert_eq!((status, &answer["by"]), (200, &json!("who knows the token")), "{answer}");
        assert_eq!(rows(&answer), [(0, "event", Some(3))]);
    })
    .await;
}
