//! The HTTP API, asked as a client would ask it: a real log in a temporary folder, and the projection folded from it.

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use lifeline_engine::clock::SystemClock;
use lifeline_engine::view::View;
use lifeline_projections::fact::{
    AppliedObject, Decision, Delivery, EventReceived, Fact, FailedAttempt, LifecycleKey, ObjectKey, Reconciled,
    Redecision, Redesired, ResourceKey, RuleChanged, Ruling, TriggerReplayed, What,
};
use lifeline_projections::fold::Projection;
use lifeline_store::{Log, Offset, Options, OsDisk};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

mod moments;
pub(crate) mod recording;

/// 2026-11-22T14:00:00Z in nanoseconds; a record is written each second from then on.
pub(crate) const START_UNIX_NANOS: u64 = 1_795_356_000_000_000_000;

pub(super) const SOURCE: &str = "auth.example.com";

pub(super) fn event(
    subject: &'static str,
    kind: &'static str,
    ruling: Ruling<'static>,
    sequence: u64,
    previous: Option<u64>,
) -> Fact<'static> {
    let (cluster, stream) = ("mgmt/mgmt", "USERS");
    let published_unix_nanos = START_UNIX_NANOS;
    Fact::Event(EventReceived {
        delivery: Delivery { cluster, stream, epoch: 1, sequence, published_unix_nanos, subject: "user-operation" },
        source: SOURCE,
        subject,
        kind,
        id: "10001",
        previous: previous.map(Offset::from),
        decisions: vec![Decision { trigger: "manage-namespace", event_source: "user-operation", criterion: 0, ruling }],
        headers: vec![],
        payload: b"{}",
        redriven: None,
        order: None,
    })
}

pub(super) fn key(subject: &str) -> LifecycleKey {
    let resource = ResourceKey { source: SOURCE.into(), subject: subject.into() };
    LifecycleKey { trigger: "manage-namespace".into(), cluster: "mgmt/mgmt".into(), resource }
}

pub(super) fn namespace(name: &str) -> ObjectKey {
    let (group, version, kind) = ("".into(), "v1".into(), "Namespace".into());
    ObjectKey { group, version, kind, namespace: None, name: name.into() }
}

/// Two users log in; the Namespace of the first is made, that of the second fails.
pub(crate) fn story() -> Vec<Fact<'static>> {
    let (acted_for, previous) = (Offset::from(1), Some(Offset::from(1)));
    let object = AppliedObject { object: namespace("mgianluc"), uid: "8f3c0f1e".into(), digest: 1, fields: 0 };
    vec![
        Fact::Rule(RuleChanged { rule: "EventTrigger/manage-namespace", digest: Some(7), manifest: "{}" }),
        event("mgianluc", "auth.example.com.login", Ruling::Create, 1, None),
        Fact::Reconciled(Reconciled {
            key: key("mgianluc"),
            acted_for,
            previous,
            what: What::Intended(vec![namespace("mgianluc")]),
        }),
        Fact::Reconciled(Reconciled {
            key: key("mgianluc"),
            acted_for,
            previous: Some(Offset::from(2)),
            what: What::Applied(vec![object]),
        }),
        event("zoe", "auth.example.com.login", Ruling::Create, 2, None),
        Fact::Reconciled(Reconciled {
            key: key("zoe"),
            acted_for: Offset::from(4),
            previous: Some(Offset::from(4)),
            what: What::Failed(FailedAttempt {
                objects: vec![],
                error: "namespace `zoe` is terminating\nhint: it goes by itself".into(),
                attempt: 3,
                transient: true,
            }),
        }),
    ]
}

/// An engine that holds a story, and its folder.
pub(super) struct Engine {
    router: Router,
    _stop: tokio::sync::watch::Sender<bool>,
    _folder: tempfile::TempDir,
}

/// Status, content type and body of an answer.
pub(super) async fn ask(router: &Router, method: &str, path: &str) -> (u16, String, String) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a path");
    let Ok(response) = router.clone().oneshot(request).await;
    let status = response.status().as_u16();
    let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().expect("text").to_owned());
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, kind.unwrap_or_default(), String::from_utf8(body.to_vec()).expect("text"))
}

impl Engine {
    fn new(status: Status) -> Engine {
        Engine::of(&story(), status)
    }

    pub(super) fn of(story: &[Fact<'_>], status: Status) -> Engine {
        Engine::keeping(Offset::ZERO, story, status)
    }

    /// One whose log keeps about what was recorded from `kept` on.
    pub(super) fn keeping(kept: Offset, story: &[Fact<'_>], status: Status) -> Engine {
        Engine::made(kept, story, story, status)
    }

    /// One in whose memory another story than the recorded one was folded.
    pub(super) fn remembering(remembered: &[Fact<'_>], story: &[Fact<'_>]) -> Engine {
        Engine::made(Offset::ZERO, remembered, story, Status::default())
    }

    fn made(kept: Offset, remembered: &[Fact<'_>], story: &[Fact<'_>], status: Status) -> Engine {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let small = Options { segment_bytes_max: 8 << 10, payload_bytes_max: 2 << 10, ..Options::default() };
        let options = Options { low_space_bytes: 0, ..small };
        let (mut log, _) = Log::open(OsDisk::open(folder.path()).expect("a folder"), options).expect("a log");
        for (fact, second) in story.iter().zip(0..) {
            let mut bytes = Vec::new();
            fact.encode(&mut bytes);
            log.append(START_UNIX_NANOS + second * 1_000_000_000, &bytes).expect("room");
        }
        log.sync().expect("a disk");
        let reader = log.reader();
        let mut projection = Projection::default();
        for (fact, second) in remembered.iter().zip(0..) {
            let time_unix_nanos = START_UNIX_NANOS + second * 1_000_000_000;
            projection.fold(Offset::from(second), time_unix_nanos, fact, &mut Vec::new());
        }
        log.drop_before(kept).expect("a disk");
        let status = Arc::new(move || status.clone());
        let stop = tokio::sync::watch::Sender::new(false);
        let queries = Queries::new(View::new(projection, reader), Arc::new(SystemClock));
        let router = router(ApiState { queries, status, stop: stop.subscribe() });
        Engine { router, _stop: stop, _folder: folder }
    }

    async fn ask(&self, method: &str, path: &str) -> (u16, String, String) {
        ask(&self.router, method, path).await
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let (status, kind, body) = self.ask("GET", path).await;
        assert_eq!((status, kind.as_str()), (200, "application/json"), "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    pub(super) async fn refused(&self, path: &str, status: u16, code: &str, words: &str) {
        let (got, kind, body) = self.ask("GET", path).await;
        assert_eq!((got, kind.as_str()), (status, "application/problem+json"), "{path}: {body}");
        let problem: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((&problem["code"], &problem["status"]), (&json!(code), &json!(status)), "{path}");
        assert_eq!(problem["type"], json!(format!("urn:lifeline:problem:{code}")));
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.contains(words), "{path}: `{detail}` does not say `{words}`");
    }
}

#[tokio::test]
async fn lists_have_an_offset_items_and_a_cursor() {
    let engine = Engine::new(Status::default());
    let first = engine.get("/v1/lifecycles?limit=1").await;
    assert_eq!(
        first["items"],
        json!([{
            "source": SOURCE, "subject": "mgianluc", "trigger": "manage-namespace", "cluster": "mgmt/mgmt",
            "desired": "present", "phase": "Ready", "incarnation": 1,
            "objects": [{
                "group": "", "version": "v1", "kind": "Namespace", "namespace": null, "name": "mgianluc", "uid": "8f3c0f1e",
            }],
            "last_event": "auth.example.com.login", "last_event_offset": 1, "offset": 1, "time": "2026-11-22T14:00:01.000Z",
        }])
    );
    assert_eq!(first["offset"], 6);
    let next = first["next"].as_str().expect("there is more");
    let second = engine.get(&format!("/v1/lifecycles?limit=1&after={next}")).await;
    let items = second["items"].as_array().expect("items");
    assert_eq!((items.len(), &items[0]["subject"], &items[0]["phase"]), (1, &json!("zoe"), &json!("Failing")));
    let fields: Vec<&String> = second.as_object().expect("an object").keys().collect();
    assert_eq!(fields, ["items", "offset"], "the last page has no cursor, and nothing has more fields");
}

#[tokio::test]
async fn every_list_can_be_filtered() {
    let engine = Engine::new(Status::default());
    let check = async |path: &str, expected: &[&str], field: &str| {
        let list = engine.get(path).await;
        let found: Vec<&str> =
            list["items"].as_array().expect("items").iter().map(|row| row[field].as_str().expect("text")).collect();
        assert_eq!(found, expected, "{path}");
    };
    check("/v1/resources", &["mgianluc", "zoe"], "subject").await;
    check("/v1/resources?phase=failing", &["zoe"], "subject").await;
    check("/v1/resources?source=auth.&subject=mgianluc", &["mgianluc"], "subject").await;
    check("/v1/resources?source=other", &[], "subject").await;
    check("/v1/lifecycles?phase=READY&trigger=manage-namespace&cluster=mgmt/mgmt", &["mgianluc"], "subject").await;
    check("/v1/lifecycles?trigger=other", &[], "subject").await;
    check("/v1/objects", &["mgianluc"], "name").await;
    check("/v1/objects?subject=zoe", &[], "name").await;
    check("/v1/objects?kind=NS", &["mgianluc"], "name").await;
    check("/v1/objects?kind=pods", &[], "name").await;
    check("/v1/lifecycles?kind=namespaces", &["mgianluc"], "subject").await;
    check("/v1/resources?kind=Namespace&phase=ready", &["mgianluc"], "subject").await;
    check("/v1/resources?kind=Namespace&phase=failing", &[], "subject").await;
    check("/v1/lifecycles?gone=false", &["mgianluc", "zoe"], "subject").await;
    check("/v1/lifecycles?gone=true", &[], "subject").await;
    check("/v1/conflicts", &[], "name").await;
    // Ages are counted to the time of the state, which is five seconds after the first record.
    check("/v1/lifecycles?as_of=6&age_min=4", &["mgianluc"], "subject").await;
    check("/v1/lifecycles?as_of=6&age_max=1", &["zoe"], "subject").await;
    check("/v1/resources?as_of=6&age_min=1&age_max=3", &["zoe"], "subject").await;
    // Objects are aged since they were applied, which is what is shown.
    check("/v1/objects?as_of=6&age_max=3", &["mgianluc"], "name").await;
    check("/v1/objects?as_of=6&age_min=4", &[], "name").await;
    // To now, when nobody says otherwise: the story is not this young.
    check("/v1/lifecycles?age_min=0", &["mgianluc", "zoe"], "subject").await;
    check("/v1/stuck", &["zoe"], "subject").await;
    check("/v1/stuck?as_of=3&longer_than=0", &["mgianluc"], "subject").await;
    check("/v1/stuck?as_of=3&longer_than=1", &["mgianluc"], "subject").await;
    check("/v1/stuck?as_of=3&longer_than=2", &[], "subject").await;
    check("/v1/stuck?as_of=5&longer_than=0", &["zoe"], "subject").await;
    check("/v1/rules", &["EventTrigger/manage-namespace"], "rule").await;
}

#[tokio::test]
async fn an_earlier_state_is_told_by_offset_and_by_time() {
    let engine = Engine::new(Status::default());
    let check = async |as_of: &str, offset: u64, phases: &[&str]| {
        let list = engine.get(&format!("/v1/lifecycles?as_of={as_of}")).await;
        let found: Vec<&str> =
            list["items"].as_array().expect("items").iter().map(|row| row["phase"].as_str().expect("text")).collect();
        assert_eq!((list["offset"].as_u64(), found.as_slice()), (Some(offset), phases), "{as_of}");
    };
    check("0", 0, &[]).await;
    check("3", 3, &["Pending"]).await;
    check("4", 4, &["Ready"]).await;
    check("6", 6, &["Ready", "Failing"]).await;
    check("2026-11-22T14:00:01Z", 2, &["Pending"]).await;
    check("2026-11-22T15:00:03.5%2B01:00", 4, &["Ready"]).await;
    check("2026-11-22T14:30:00Z", 6, &["Ready", "Failing"]).await;
    check("1999-01-01T00:00:00Z", 0, &[]).await;
    // An answer now would differ from a later one.
    engine.refused("/v1/lifecycles?as_of=2099-01-01T00:00:00Z", 400, "bad-parameter", "is in the future").await;
}

#[tokio::test(start_paused = true)]
async fn an_offset_is_waited_for_and_then_refused() {
    let engine = Engine::new(Status::default());
    assert_eq!(engine.get("/v1/resources?at_least=6").await["offset"], 6);
    engine.refused("/v1/resources?at_least=7", 409, "not-reached", "offset `7` is not reached yet").await;
}

#[tokio::test]
async fn a_history_is_told_oldest_first_in_pages() {
    let engine = Engine::new(Status::default());
    let path = format!("/v1/history?source={SOURCE}&subject=mgianluc");
    let whole = engine.get(&path).await;
    let told: Vec<(u64, &str)> = whole["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|entry| (entry["offset"].as_u64().expect("a number"), entry["summary"].as_str().expect("text")))
        .collect();
    let expected = [
        (1, "auth.example.com.login: manage-namespace decided Create"),
        (2, "about to change Namespace/mgianluc"),
        (3, "applied Namespace/mgianluc"),
    ];
    assert_eq!(told, expected);
    let latest = engine.get(&format!("{path}&limit=2")).await;
    assert_eq!(latest["next"], "2");
    let earlier = engine.get(&format!("{path}&limit=2&before=2")).await;
    assert_eq!((&earlier["items"][0]["offset"], &earlier["next"]), (&json!(1), &Value::Null));
    // Whichever page has it, an entry belongs to the same incarnation.
    assert_eq!(whole["items"][2]["incarnation"], 1);
    for page in [&whole, &earlier] {
        assert_eq!(page["items"][0]["event"]["decisions"][0]["incarnation"], 1);
    }
    engine.refused("/v1/history?source=auth.example.com&subject=nobody", 404, "unknown-resource", "`nobody`").await;
    engine.refused("/v1/history?subject=mgianluc", 400, "bad-parameter", "source").await;
}

#[tokio::test]
async fn records_are_told_in_order_from_any_offset() {
    let engine = Engine::new(Status::default());
    let all = engine.get("/v1/events").await;
    let facts: Vec<&str> =
        all["items"].as_array().expect("items").iter().map(|entry| entry["fact"].as_str().expect("text")).collect();
    let expected = ["RuleChanged", "EventReceived", "ApplyIntended", "Applied", "EventReceived", "ApplyFailed"];
    assert_eq!(facts, expected);
    let page = engine.get("/v1/events?after=1&limit=2").await;
    assert_eq!((&page["items"][0]["offset"], &page["next"]), (&json!(2), &json!("3")));
    let last = engine.get("/v1/events?after=3").await;
    assert_eq!((last["items"].as_array().map(Vec::len), &last["next"]), (Some(2), &Value::Null));
    for end in ["5", "6", "18446744073709551615"] {
        assert_eq!(engine.get(&format!("/v1/events?after={end}")).await["items"], json!([]), "{end}");
    }
}

#[tokio::test]
async fn what_retention_has_removed_is_said_and_its_cursors_expire() {
    let mut facts = story();
    facts.extend((0..200).map(|number| {
        let note = Ruling::NoAction("a note that fills a segment".into());
        event("zoe", "auth.example.com.note", note, 3 + number, Some(if number == 0 { 5 } else { 5 + number }))
    }));
    let engine = Engine::keeping(Offset::from(180), &facts, Status::default());
    let held = engine.get("/v1/events?limit=1").await;
    let start = held["items"][0]["offset"].as_u64().expect("a number");
    assert!((1..=180).contains(&start), "{start}");
    let words = format!("the log holds what is recorded from offset `{start}` on");
    engine.refused(&format!("/v1/events?after={}", start - 2), 410, "expired", &words).await;
    assert_eq!(engine.get(&format!("/v1/events?limit=1&after={}", start - 1)).await["items"], held["items"]);

    let path = format!("/v1/history?source={SOURCE}&subject=zoe");
    let whole = engine.get(&format!("{path}&limit=1000")).await;
    let first = &whole["items"][0];
    let said = format!("what came before is no longer held: the log begins at offset {start}");
    assert_eq!((&first["fact"], &first["summary"]), (&json!("Forgotten"), &json!(said)));
    assert_eq!((&first["offset"], whole.get("next")), (&json!(start - 1), None));
    assert_eq!(whole["items"][1]["offset"], start);
    engine.refused(&format!("{path}&before={}", start - 1), 410, "expired", &words).await;
    let nothing = engine.get(&format!("{path}&before={start}")).await;
    assert_eq!(
        (&nothing["items"][0]["fact"], nothing["items"].as_array().map(Vec::len)),
        (&json!("Forgotten"), Some(1))
    );
    engine.refused(&format!("/v1/why/event?offset={}", start - 1), 410, "forgotten", "no longer holds").await;

    // A watch that was away for so long begins again; one that was not goes on.
    let gone = format!("offset `{}` cannot be resumed from, the log holds `{start}`", start - 1);
    engine.refused(&format!("/v1/watch?from={}", start - 1), 410, "expired", &gone).await;
    engine.refused("/v1/watch?from=0&noun=resources", 410, "expired", "offset `0` cannot be resumed from").await;
    let resumed = async |header: u64, query: &str| {
        let request = Request::builder().uri(format!("/v1/watch{query}")).header("last-event-id", header);
        let Ok(response) = engine.router.clone().oneshot(request.body(Body::empty()).expect("a path")).await;
        response.status().as_u16()
    };
    assert_eq!(resumed(start - 1, "").await, 410);
    assert_eq!(resumed(start - 1, &format!("?from={start}")).await, 410, "the header outweighs the parameter");
    assert_eq!(resumed(start, "?from=0").await, 200);
    let events = watched(&engine, &format!("/v1/watch?from={start}"), 1).await;
    assert_eq!((events[0].0.as_str(), &events[0].2["item"]["subject"]), ("item", &json!("zoe")));
    for noun in ["objects", "events", "rules"] {
        let path = format!("/v1/watch?noun={noun}&from={}", start - 1);
        engine.refused(&path, 410, "expired", &gone).await;
    }
    let ids = async |query: &str, count: u64| -> Vec<Option<u64>> {
        let path = format!("/v1/watch?noun=events{query}");
        watched(&engine, &path, usize::try_from(count).expect("few")).await.into_iter().map(|(_, id, _)| id).collect()
    };
    let (end, behind) = (facts.len() as u64, |from: u64, to: u64| (from + 1..=to).map(Some).collect::<Vec<_>>());
    assert_eq!(ids("", end - start).await, behind(start, end), "all that is held, then a bookmark");
    assert_eq!(ids("&from=190", 3).await, behind(190, 193));
    engine.refused("/v1/difference?from=190&source=auth", 410, "forgotten", "no longer holds").await;
}

#[tokio::test]
async fn what_a_client_gets_wrong_is_its_own_problem_and_named() {
    let engine = Engine::new(Status::default());
    let bad = "bad-parameter";
    engine.refused("/v1/lifecycles?phse=ready", 400, bad, "parameter `phse` is not known").await;
    engine.refused("/v1/conflicts?phase=ready", 400, bad, "parameter `phase` is not known").await;
    engine.refused("/v1/lifecycles?phase=sleepy", 400, bad, "phase `sleepy` does not exist").await;
    engine.refused("/v1/lifecycles?phase=ready&phase=gone", 400, bad, "parameter `phase` is given twice").await;
    engine.refused("/v1/lifecycles?limit=0", 400, bad, "parameter `limit` is `0`, expected `1` to `10000`").await;
    engine.refused("/v1/lifecycles?limit=many", 400, bad, "parameter `limit` is `many`, expected a whole number").await;
    engine.refused("/v1/lifecycles?at_least=-1", 400, bad, "parameter `at_least` is `-1`, expected").await;
    engine.refused("/v1/lifecycles?after=AAAA", 400, bad, "cursor `AAAA`").await;
    engine.refused("/v1/lifecycles?after=%FF", 400, bad, "`after=%FF` is not percent-encoded UTF-8").await;
    engine.refused("/v1/lifecycles?source=%ff", 400, bad, "UTF-8").await;
    engine.refused("/v1/status?source=a", 400, bad, "parameter `source` is not known").await;
    engine
        .refused(
            "/v1/lifecycles?as_of=noon",
            400,
            bad,
            "parameter `as_of`: `noon` is neither an offset nor an RFC 3339 time",
        )
        .await;
    engine.refused("/v1/lifecycles?as_of=7", 400, bad, "offset `7` is not reached yet").await;
    engine
        .refused("/v1/lifecycles?age_min=9&age_max=8", 400, bad, "no age is `9` seconds at least and `8` at most")
        .await;
    engine
        .refused("/v1/stuck?longer_than=soon", 400, bad, "parameter `longer_than` is `soon`, expected a whole number")
        .await;
    engine.refused("/v1/events?limit=10001", 400, bad, "limit").await;
    engine.refused("/v2/lifecycles", 404, "no-such-path", "nothing at this path").await;
    let of_another_list = engine.get("/v1/lifecycles?limit=1").await["next"].as_str().expect("more").to_owned();
    engine.refused(&format!("/v1/resources?after={of_another_list}"), 400, bad, "cursor").await;
    let (status, kind, _) = engine.ask("POST", "/v1/lifecycles").await;
    assert_eq!((status, kind.as_str()), (405, "application/problem+json"));
}

#[tokio::test]
async fn readiness_says_why_not_one_reason_a_line() {
    let ready = Engine::new(Status::default());
    assert_eq!(ready.ask("GET", "/readyz").await.0, 200);
    assert_eq!(ready.ask("GET", "/readyz").await.2, "ready\n");
    let status = Status {
        stalled: Some("disk is full\nhint: free space".into()),
        rules_missing: Some("folder is empty".into()),
        ..Status::default()
    };
    let not_ready = Engine::new(status);
    let (status, _, body) = not_ready.ask("GET", "/readyz").await;
    let expected = "recording stands still: disk is full hint: free space\nno rules yet: folder is empty\n";
    assert_eq!((status, body.as_str()), (503, expected));
    assert_eq!(not_ready.ask("GET", "/livez").await.0, 200, "an engine that waits is alive");
}

#[tokio::test]
async fn metrics_and_status_tell_the_same() {
    let status = Status { recorded: 6, folded: 6, reconciled: 4, cluster_writes: 2, ..Status::default() };
    let engine = Engine::new(status.clone());
    let (code, kind, text) = engine.ask("GET", "/metrics").await;
    assert_eq!((code, kind.as_str()), (200, metrics::CONTENT_TYPE));
    for line in [
        "lifeline_recorded_offset 6",
        "lifeline_folded_offset 6",
        "lifeline_reconciled_offset 4",
        "lifeline_reconcile_lag_records 2",
        "lifeline_cluster_writes_total 2",
        "# TYPE lifeline_cluster_writes_total counter",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} is missing:\n{text}");
    }
    let told: Status = serde_json::from_value(engine.get("/v1/status").await).expect("a status");
    assert_eq!(told, status);
}

/// An event of a watch: name, id and data.
type Event = (String, Option<u64>, Value);

/// A watch, begun.
async fn watch_of(router: &Router, path: &str) -> Body {
    let request = Request::builder().uri(path).body(Body::empty()).expect("a path");
    let Ok(response) = router.clone().oneshot(request).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"text/event-stream".parse().expect("text"))
    );
    response.into_body()
}

/// The next events of a watch.
async fn next_events(body: &mut Body, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let frame = body.frame().await.expect("the stream goes on").expect("a stream does not fail");
        let text = String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text");
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        let id = field("id").map(|id| id.parse().expect("an offset"));
        let data = serde_json::from_str(field("data").expect("data")).expect("JSON");
        events.push((field("event").expect("an event").to_owned(), id, data));
    }
    events
}

/// The events of a watch up to its `count`th.
async fn watched(engine: &Engine, path: &str, count: usize) -> Vec<Event> {
    next_events(&mut watch_of(&engine.router, path).await, count).await
}

#[tokio::test]
async fn a_watch_begins_with_the_list_and_a_bookmark_ends_that() {
    let engine = Engine::new(Status::default());
    let events = watched(&engine, "/v1/watch", 3).await;
    let list = engine.get("/v1/lifecycles").await;
    for (at, (event, id, data)) in events[..2].iter().enumerate() {
        assert_eq!((event.as_str(), id, &data["item"]), ("item", &None, &list["items"][at]));
        assert_eq!(data["offset"], 6);
    }
    assert_eq!(events[2], ("bookmark".to_owned(), Some(6), json!({"offset": 6})));
    let events = watched(&engine, "/v1/watch?noun=resources&phase=FAILING", 2).await;
    assert_eq!((&events[0].2["item"]["subject"], events[1].0.as_str()), (&json!("zoe"), "bookmark"));
    for noun in ["objects", "rules", "events"] {
        let list = engine.get(&format!("/v1/{noun}")).await;
        let rows = list["items"].as_array().expect("items");
        assert!(!rows.is_empty(), "{noun}");
        let events = watched(&engine, &format!("/v1/watch?noun={noun}"), rows.len() + 1).await;
        let (bookmark, items) = events.split_last().expect("a bookmark");
        assert!(items.iter().all(|(event, ..)| event == "item"), "{noun}: {items:?}");
        assert_eq!(items.iter().map(|(.., data)| &data["item"]).collect::<Vec<_>>(), rows.iter().collect::<Vec<_>>());
        assert_eq!(*bookmark, ("bookmark".to_owned(), Some(6), json!({"offset": 6})), "{noun}");
        // Each record is a place to resume from; the middle of a list is none.
        let ids: Vec<Option<u64>> = items.iter().map(|(_, id, _)| *id).collect();
        let expected = if noun == "events" { (1..=6).map(Some).collect() } else { vec![None; rows.len()] };
        assert_eq!(ids, expected, "{noun}");
    }
}

#[tokio::test]
async fn objects_rules_and_records_are_watched_from_an_offset() {
    let mut facts = story();
    facts.push(Fact::Rule(RuleChanged { rule: "EventTrigger/manage-namespace", digest: None, manifest: "" }));
    facts.push(Fact::Rule(RuleChanged { rule: "EventSource/user", digest: Some(8), manifest: "{}" }));
    // The trigger is gone and leaves what it made: no record names that.
    let (cluster, resource) = ("mgmt/mgmt".into(), key("mgianluc").resource);
    let left = Redecision { cluster, resource, desired: Redesired::Left, previous: Some(Offset::from(3)) };
    let (trigger, redecisions) = ("manage-namespace".into(), vec![left]);
    facts.push(Fact::Replay(TriggerReplayed {
        trigger,
        digest: None,
        leaves: true,
        complete: true,
        redecisions,
        allowance: None,
    }));
    let engine = Engine::of(&facts, Status::default());
    let check = async |query: &str, expected: &[(&str, u64, Value)]| {
        let events = watched(&engine, &format!("/v1/watch?{query}"), expected.len()).await;
        for ((event, id, data), (name, offset, item)) in events.iter().zip(expected) {
            assert_eq!((event.as_str(), id), (*name, &Some(*offset)), "{query}: {data}");
            for (field, value) in item.as_object().expect("fields") {
                assert_eq!(&data["item"][field], value, "{query}: {data}");
            }
        }
    };
    let gone = json!({
        "kind": "Namespace", "name": "mgianluc", "uid": null, "trigger": "manage-namespace", "subject": "mgianluc",
        "offset": 8, "time": "2026-11-22T14:00:08.000Z",
    });
    check("noun=objects&from=0", &[("removed", 9, gone.clone())]).await;
    check("noun=objects&from=8&subject=mgianluc&phase=left", &[("removed", 9, gone)]).await;
    let rule = json!({"rule": "EventSource/user", "digest": "0000000000000008", "offset": 7});
    let no_rule = json!({"rule": "EventTrigger/manage-namespace", "digest": "", "offset": 6});
    check("noun=rules&from=0", &[("item", 0, rule.clone()), ("removed", 9, no_rule)]).await;
    check("noun=rules&from=7", &[("item", 9, rule)]).await;
    let replayed = json!({"offset": 8, "fact": "TriggerReplayed"});
    let changed = json!({"offset": 7, "fact": "RuleChanged"});
    check("noun=events&from=7", &[("item", 8, changed), ("item", 9, replayed)]).await;
    // One that is wanted can be gone on from behind those after it that are not.
    let login = |offset: u64| json!({"offset": offset, "fact": "EventReceived"});
    check("noun=events&from=0&type=auth.example.com.login", &[("item", 4, login(1)), ("item", 9, login(4))]).await;
    let replayed = json!({"offset": 8, "fact": "TriggerReplayed", "subject": "mgianluc"});
    check("noun=events&from=4&source=auth.&subject=mgianluc&rejected=false", &[("item", 9, replayed)]).await;
    engine.refused("/v1/watch?noun=events&from=10", 410, "expired", "offset `10` cannot be resumed from").await;
}

#[tokio::test]
async fn an_object_is_watched_as_it_goes_from_one_owner_to_the_next() {
    let engine = recording::Recording::start();
    let outcome = |subject: &str| (key(subject), Offset::ZERO);
    let applied = |subject: &str, uid: &str| {
        let (key, acted_for) = outcome(subject);
        let objects = vec![AppliedObject { object: namespace("shared"), uid: uid.into(), digest: 1, fields: 0 }];
        Reconciled::new(key, acted_for, What::Applied(objects))
    };
    let deleted = || {
        let (key, acted_for) = outcome("mgianluc");
        Reconciled::new(key, acted_for, What::Deleted(vec![namespace("shared")]))
    };
    let record = async |fact| engine.outcomes.record(fact).await.expect("it runs");
    let mut watches = Vec::new();
    for noun in ["objects", "events"] {
        let mut body = watch_of(&engine.router, &format!("/v1/watch?noun={noun}")).await;
        assert_eq!(next_events(&mut body, 1).await[0].0, "bookmark", "{noun}: there is nothing yet");
        watches.push(body);
    }
    let [objects, records] = watches.as_mut_slice() else { unreachable!("two nouns") };
    let steps = [
        (applied("mgianluc", "8f3c"), ("item", "mgianluc", json!("8f3c"), "Applied")),
        (deleted(), ("removed", "mgianluc", json!(null), "Deleted")),
        (applied("zoe", "9d21"), ("item", "zoe", json!("9d21"), "Applied")),
    ];
    for (fact, (event, subject, uid, name)) in steps {
        let behind = record(fact).await.get();
        let (told, id, data) = next_events(objects, 1).await.remove(0);
        let item = &data["item"];
        assert_eq!((told.as_str(), &item["subject"], &item["uid"]), (event, &json!(subject), &uid), "{data}");
        assert_eq!(id, Some(behind));
        let (told, id, data) = next_events(records, 1).await.remove(0);
        assert_eq!((told.as_str(), id, &data["item"]["fact"]), ("item", Some(behind), &json!(name)));
        assert_eq!(data["item"]["offset"], behind - 1);
    }
    assert_eq!(engine.get("/v1/objects").await["items"][0]["subject"], "zoe");
}

#[tokio::test]
async fn a_watch_goes_on_from_an_offset_and_only_its_last_event_moves_on() {
    let engine = Engine::new(Status::default());
    let check = async |query: &str, expected: &[(&str, u64, &str)]| {
        let events = watched(&engine, &format!("/v1/watch?{query}"), expected.len()).await;
        let told: Vec<(&str, u64, &str)> = events
            .iter()
            .map(|(event, id, data)| {
                (event.as_str(), id.expect("an id"), data["item"]["subject"].as_str().expect("a subject"))
            })
            .collect();
        assert_eq!(told, expected, "{query}");
    };
    check("from=0", &[("item", 0, "mgianluc"), ("item", 6, "zoe")]).await;
    check("from=4", &[("item", 6, "zoe")]).await;
    check("from=0&phase=ready", &[("item", 0, "mgianluc"), ("removed", 6, "zoe")]).await;
    check("from=0&noun=resources&trigger=other", &[("removed", 0, "mgianluc"), ("removed", 6, "zoe")]).await;
    check("from=0&subject=zoe", &[("item", 6, "zoe")]).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_which_nothing_is_to_be_told_says_where_it_is() {
    let engine = Engine::new(Status::default());
    let events = watched(&engine, "/v1/watch?from=0&source=other", 2).await;
    assert!(events.iter().all(|event| *event == ("bookmark".to_owned(), Some(6), json!({"offset": 6}))), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_let_go_with_a_place_to_resume() {
    let engine = Engine::new(Status::default());
    let request = Request::builder().uri("/v1/watch").body(Body::empty()).expect("a path");
    let Ok(response) = engine.router.clone().oneshot(request).await;
    // Bookmarks pile up for an hour.
    tokio::time::sleep(std::time::Duration::from_secs(3_600)).await;
    let text = response.into_body().collect().await.expect("an end").to_bytes();
    let text = String::from_utf8_lossy(&text);
    assert!(text.ends_with("event: slow\nid: 6\ndata: {\"offset\":6}\n\n"), "{text}");
    assert!(text.len() < 100_000, "what waits is bounded");
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_before_the_stream_begins() {
    let engine = Engine::new(Status::default());
    engine.refused("/v1/watch?from=7", 410, "expired", "offset `7` cannot be resumed from").await;
    engine.refused("/v1/watch?phase=sleepy", 400, "bad-parameter", "phase `sleepy`").await;
    let nouns = "expected `lifecycles` or `resources` or `objects` or `events` or `rules`";
    engine.refused("/v1/watch?noun=pods", 400, "bad-parameter", nouns).await;
    let all = "parameter `trigger` does not choose among `events`";
    engine.refused("/v1/watch?noun=events&trigger=x", 400, "bad-parameter", all).await;
    let all = "parameter `type` does not choose among `lifecycles`";
    engine.refused("/v1/watch?type=x", 400, "bad-parameter", all).await;
    let all = "a rejected message has no `subject`";
    engine.refused("/v1/watch?noun=events&rejected=true&subject=x", 400, "bad-parameter", all).await;
    let all = "parameter `phase` does not choose among `rules`";
    engine.refused("/v1/watch?noun=rules&phase=ready", 400, "bad-parameter", all).await;
    engine.refused("/v1/watch?limit=5", 400, "bad-parameter", "parameter `limit` is not known").await;
    let mut open = Vec::new();
    for _ in 0..watch::WATCHES_MAX {
        let request = Request::builder().uri("/v1/watch").body(Body::empty()).expect("a path");
        open.push(engine.router.clone().oneshot(request).await);
    }
    engine.refused("/v1/watch", 429, "too-many-watches", "`256` watches are open").await;
    drop(open);
    let free = async {
        while engine.ask("HEAD", "/v1/watch").await.0 != 200 {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), free).await.expect("who leaves makes room");
}

#[tokio::test]
async fn one_resource_is_told_with_its_lifecycles() {
    let engine = Engine::new(Status::default());
    let path = format!("/v1/resource?source={SOURCE}&subject=zoe");
    let one = engine.get(&path).await;
    let row = engine.get("/v1/resources?subject=zoe").await["items"][0].clone();
    let lifecycles = engine.get("/v1/lifecycles?subject=zoe").await["items"].clone();
    let mut expected = row;
    expected["lifecycles_detail"] = lifecycles;
    assert_eq!(one, json!({"offset": 6, "item": expected}));
    let earlier = engine.get(&format!("/v1/resource?source={SOURCE}&subject=mgianluc&as_of=3")).await;
    assert_eq!((&earlier["offset"], &earlier["item"]["lifecycles_detail"][0]["phase"]), (&json!(3), &json!("Pending")));
    engine.refused(&format!("{path}&as_of=4"), 404, "unknown-resource", "`zoe`").await;
    engine.refused("/v1/resource?source=nobody", 404, "unknown-resource", "source `nobody`").await;
    engine.refused("/v1/resource", 400, "bad-parameter", "parameter `source` is missing").await;
}

#[tokio::test]
async fn a_wrong_method_is_told_which_there_are() {
    let engine = Engine::new(Status::default());
    for path in ["/v1/lifecycles", "/openapi.json", "/livez"] {
        let request = Request::builder().method("DELETE").uri(path).body(Body::empty()).expect("a path");
        let Ok(response) = engine.router.clone().oneshot(request).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &"GET,HEAD".parse().expect("text"))
        );
    }
}
