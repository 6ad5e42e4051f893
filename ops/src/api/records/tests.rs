//! Records that are chosen, and one in full, asked as a client would ask for them.

use lifeline_engine::status::Status;
use lifeline_projections::fact::{Delivery, EventReceived, EventRejected, Fact, Reconciled, Ruling, What};
use serde_json::{Value, json};

use crate::api::tests::{Engine, START_UNIX_NANOS, event, key, namespace, story};

fn delivery(sequence: u64) -> Delivery<'static> {
    let (cluster, stream, subject) = ("mgmt/mgmt", "USERS", "user-operation");
    Delivery { cluster, stream, epoch: 1, sequence, published_unix_nanos: START_UNIX_NANOS, subject }
}

/// A message that is no CloudEvent.
fn rejected(payload: &'static [u8]) -> Fact<'static> {
    let (reason, headers) = ("attribute `id` is missing or empty", vec![("X-Any", "b\u{fffd}d")]);
    Fact::Rejected(EventRejected { delivery: delivery(9), reason, headers, payload })
}

/// An event as it came, about nobody who is in the story.
fn note(headers: Vec<(&'static str, &'static str)>, payload: &'static [u8]) -> Fact<'static> {
    let (source, subject, kind, id) = ("shop.example.com", "", "order.placed", "7");
    let (delivery, previous, decisions) = (delivery(10), None, vec![]);
    Fact::Event(EventReceived {
        delivery,
        source,
        subject,
        kind,
        id,
        previous,
        decisions,
        headers,
        payload,
        redriven: None,
        order: None,
    })
}

fn binary(kind: Option<&'static str>) -> Vec<(&'static str, &'static str)> {
    let mut headers: Vec<_> = kind.map(|kind| ("Content-Type", kind)).into_iter().collect();
    headers.extend([("ce-id", "7"), ("ce-source", "shop.example.com"), ("ce-specversion", "1.0")]);
    headers.extend([("ce-tenant", "blue"), ("ce-type", "order.placed")]);
    headers
}

/// The story of all tests, the end of its first user, and behind it a rejected message.
fn facts() -> Vec<Fact<'static>> {
    let mut facts = story();
    facts.push(event("mgianluc", "auth.example.com.logout", Ruling::Delete, 3, Some(3)));
    let acted_for = 6.into();
    let deleted = Reconciled::new(key("mgianluc"), acted_for, What::Deleted(vec![namespace("mgianluc")]));
    facts.push(Fact::Reconciled(Reconciled { previous: Some(6.into()), ..deleted }));
    facts.push(rejected(b"{\"id\":\"\",\n\x00\xff}"));
    facts.push(note(
        vec![],
        br#"{"specversion":"1.0","id":"7","source":"shop.example.com","type":"order.placed","data":1}"#,
    ));
    facts
}

#[tokio::test]
async fn records_are_chosen_by_what_they_speak_of() {
    let engine = Engine::of(&facts(), Status::default());
    let check = async |query: &str, expected: &[u64]| {
        for path in [format!("/v1/events?{query}"), format!("/v1/events?{query}&latest=true")] {
            let list = engine.get(&path).await;
            let offsets: Vec<u64> = list["items"]
                .as_array()
                .expect("items")
                .iter()
                .map(|row| row["offset"].as_u64().expect("a number"))
                .collect();
            assert_eq!(
                (offsets.as_slice(), &list["offset"], &list["next"]),
                (expected, &json!(10), &Value::Null),
                "{path}"
            );
        }
    };
    check("limit=100", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).await;
    check("source=auth.example.com", &[1, 2, 3, 4, 5, 6, 7]).await;
    check("source=auth.", &[1, 2, 3, 4, 5, 6, 7]).await;
    check("source=auth.&subject=mgianluc", &[1, 2, 3, 6, 7]).await;
    check("source=auth.&subject=mgianluc&type=auth.example.com.logout", &[6]).await;
    check("subject=zoe", &[4, 5]).await;
    check("subject=", &[9]).await;
    check("type=auth.example.com.login", &[1, 4]).await;
    check("type=auth.example.com", &[]).await;
    check("rejected=true", &[8]).await;
    check("rejected=false&since=7", &[7, 9]).await;
    check("since=2026-11-22T14:00:07Z", &[7, 8, 9]).await;
    check("since=2026-11-22T14:00:07.001Z", &[8, 9]).await;
    check("since=10", &[]).await;
    check("source=nobody&subject=x", &[]).await;
    check("subject=mgianluc&since=3", &[3, 6, 7]).await;
    engine.refused("/v1/events?rejected=true&type=x", 400, "bad-parameter", "a rejected message has no `type`").await;
    engine.refused("/v1/events?since=11", 400, "bad-parameter", "offset `11` is not reached yet").await;
    engine.refused("/v1/events?since=noon", 400, "bad-parameter", "parameter `since`: `noon` is neither").await;
    engine.refused("/v1/events?since=2099-01-01T00:00:00Z", 400, "bad-parameter", "is in the future").await;
    engine.refused("/v1/events?rejected=yes", 400, "bad-parameter", "parameter `rejected` is `yes`").await;
    engine.refused("/v1/events?after=1&latest=true", 400, "bad-parameter", "`after` goes on").await;
    engine.refused("/v1/events?after=1&before=3", 400, "bad-parameter", "`after` goes on").await;
}

#[tokio::test]
async fn pages_go_back_from_the_latest_record() {
    let engine = Engine::of(&facts(), Status::default());
    for (choice, expected) in
        [("subject=mgianluc", [1, 2, 3, 6, 7]), ("source=auth.&subject=mgianluc", [1, 2, 3, 6, 7])]
    {
        let (mut told, mut cursor) = (Vec::new(), "latest=true".to_owned());
        loop {
            let list = engine.get(&format!("/v1/events?{choice}&limit=2&{cursor}")).await;
            let items = list["items"].as_array().expect("items").iter();
            told.splice(0..0, items.map(|row| row["offset"].as_u64().expect("a number")));
            let Some(next) = list["next"].as_str() else { break };
            cursor = format!("before={next}");
        }
        assert_eq!(told, expected, "{choice}");
    }
    let empty = engine.get("/v1/events?before=0").await;
    assert_eq!((&empty["items"], &empty["next"]), (&json!([]), &Value::Null));
}

#[tokio::test]
async fn what_is_gone_can_be_left_out() {
    let engine = Engine::of(&facts(), Status::default());
    let check = async |path: &str, expected: &[&str]| {
        let list = engine.get(path).await;
        let rows = list["items"].as_array().expect("items").iter();
        assert_eq!(rows.map(|row| row["subject"].as_str().expect("text")).collect::<Vec<_>>(), expected, "{path}");
    };
    check("/v1/lifecycles", &["mgianluc", "zoe"]).await;
    check("/v1/lifecycles?gone=false", &["zoe"]).await;
    check("/v1/lifecycles?gone=true", &["mgianluc"]).await;
    check("/v1/lifecycles?gone=false&as_of=6", &["mgianluc", "zoe"]).await;
    // One without lifecycles is not gone.
    check("/v1/resources?gone=false", &["zoe", ""]).await;
    check("/v1/resources?gone=true", &["mgianluc"]).await;
    check("/v1/resources?gone=false&trigger=manage-namespace", &["zoe"]).await;
    check("/v1/resources?gone=false&as_of=6", &["mgianluc", "zoe"]).await;
    check("/v1/objects?gone=false", &[]).await;
}

#[tokio::test]
async fn an_event_is_told_with_all_that_its_message_holds() {
    let mut all = facts();
    let data =
        br#"{"specversion":"1.0","id":"7","source":"shop.example.com","type":"order.placed","data_base64":"AP8="}"#;
    all.extend([
        note(binary(Some("application/json")), br#"{"total": 12.50}"#),
        note(binary(Some("text/plain")), b"123"),
        note(binary(None), b"a text"),
        note(binary(Some("image/png")), b"\x89PNG\xff"),
        note(vec![("Content-Type", "application/cloudevents+json")], data),
        note(vec![], b"no longer an event"),
    ]);
    let engine = Engine::of(&all, Status::default());
    let data = async |offset: u64| engine.get(&format!("/v1/event?offset={offset}")).await["item"]["data"].clone();
    assert_eq!(data(9).await, json!({"encoding": "json", "value": 1}));
    let json = json!({"encoding": "json", "content_type": "application/json", "bytes": 16, "value": {"total": 12.5}});
    assert_eq!(data(10).await, json);
    let text = json!({"encoding": "text", "content_type": "text/plain", "bytes": 3, "value": "123"});
    assert_eq!(data(11).await, text);
    assert_eq!(data(12).await, json!({"encoding": "text", "bytes": 6, "value": "a text"}));
    let image = json!({"encoding": "base64", "content_type": "image/png", "bytes": 5, "value": "iVBOR/8="});
    assert_eq!(data(13).await, image);
    assert_eq!(data(14).await, json!({"encoding": "base64", "bytes": 2, "value": "AP8="}));

    let item = engine.get("/v1/event?offset=10").await["item"].clone();
    let attributes = json!({
        "datacontenttype": "application/json", "id": "7", "source": "shop.example.com", "specversion": "1.0", "subject": "",
        "tenant": "blue", "type": "order.placed",
    });
    assert_eq!(item["attributes"], attributes);
    let message = &item["message"];
    let place = [&message["cluster"], &message["stream"], &message["nats_subject"], &message["published"]];
    assert_eq!(place, ["mgmt/mgmt", "USERS", "user-operation", "2026-11-22T14:00:00.000Z"]);
    assert_eq!(
        (&message["epoch"], &message["sequence"], &message["payload_bytes"]),
        (&json!(1), &json!(10), &json!(16))
    );
    assert_eq!(message["headers"][0], json!({"name": "Content-Type", "value": "application/json"}));
    assert_eq!((&item["reason"], &message["payload_base64"]), (&Value::Null, &Value::Null));
    // What came of it is what `why` says.
    for offset in [1, 10] {
        let why = engine.get(&format!("/v1/why/event?offset={offset}")).await["item"].clone();
        let item = engine.get(&format!("/v1/event?offset={offset}")).await["item"].clone();
        for (field, value) in why.as_object().expect("fields") {
            assert_eq!(item[field], *value, "{offset}: {field}");
        }
    }
    // What an earlier release took for an event is told as far as it is known.
    let item = engine.get("/v1/event?offset=15").await["item"].clone();
    assert_eq!((&item["attributes"]["type"], &item["data"]), (&json!("order.placed"), &Value::Null));
    let note = item["notes"][0].as_str().expect("a note");
    assert!(note.starts_with("this release reads no event in the message: payload is no JSON"), "{note}");
}

#[tokio::test]
async fn a_rejected_message_is_told_with_every_byte_and_the_reason() {
    let engine = Engine::of(&facts(), Status::default());
    let item = engine.get("/v1/event?offset=8").await["item"].clone();
    assert_eq!((&item["reason"], &item["verdict"]), (&json!("attribute `id` is missing or empty"), &json!("no-event")));
    let message = &item["message"];
    assert_eq!((&message["payload_bytes"], &message["payload_base64"]), (&json!(13), &json!("eyJpZCI6IiIsCgD/fQ==")));
    assert_eq!(message["headers"], json!([{"name": "X-Any", "value": "b\u{fffd}d"}]));
    assert_eq!(item["notes"], json!(["headers are kept as text: each byte that was no UTF-8 is shown as U+FFFD"]));
    assert_eq!((&item["attributes"], &item["data"]), (&Value::Null, &Value::Null));
    // A record that holds no message is told as what it is.
    let rule = engine.get("/v1/event?offset=0").await["item"].clone();
    assert_eq!((&rule["record"]["fact"], &rule["message"]), (&json!("RuleChanged"), &Value::Null));
    engine.refused("/v1/event?offset=10", 400, "bad-parameter", "offset `10` is not reached yet").await;
    engine.refused("/v1/event", 400, "bad-parameter", "parameter `offset` is missing").await;
}
