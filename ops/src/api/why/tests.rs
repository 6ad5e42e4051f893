//! "Why", asked as a client would ask it.

use lifeline_engine::status::Status;
use lifeline_projections::fact::{Delivery, EventReceived, Fact, RuleChanged};
use serde_json::{Value, json};

use crate::api::tests::{Engine, SOURCE, START_UNIX_NANOS, story};

const EVENT_SOURCE: &str = r#"{"apiVersion":"lib.projectsveltos.io/v1beta1","kind":"EventSource","metadata":{"name":"user-operation"},"spec":{"messagingMatchCriteria":[{"subject":"user-operation"}]}}"#;
const EVENT_TRIGGER: &str = r#"{"apiVersion":"lib.projectsveltos.io/v1beta1","kind":"EventTrigger","metadata":{"name":"manage-namespace"},"spec":{"eventSourceName":"user-operation","oneForEvent":true,"cloudEventAction":"Create","policyRefs":[{"kind":"ConfigMap","namespace":"default","name":"namespace"}]}}"#;
const CONFIG_MAP: &str = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"namespace","namespace":"default"},"data":{"namespace.yaml":"kind: Namespace"}}"#;

/// An event published on another NATS subject than the rules ask for.
fn elsewhere(nats_subject: &'static str) -> Fact<'static> {
    let delivery = Delivery {
        cluster: "mgmt/mgmt",
        stream: "USERS",
        epoch: 1,
        sequence: 7,
        published_unix_nanos: START_UNIX_NANOS,
        subject: nats_subject,
    };
    let (kind, decisions, headers) = ("auth.example.com.login", vec![], vec![]);
    let (subject, id, previous, payload) = ("ann", "1", None, b"{}".as_slice());
    Fact::Event(EventReceived {
        delivery,
        source: SOURCE,
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

/// The story of all tests, and behind it the rules and two events that nobody speaks of.
fn engine() -> Engine {
    let rule = |rule, manifest| Fact::Rule(RuleChanged { rule, digest: Some(9), manifest });
    let mut facts = story();
    facts.extend([
        rule("EventSource/user-operation", EVENT_SOURCE),
        rule("EventTrigger/manage-namespace", EVENT_TRIGGER),
        rule("ConfigMap/default/namespace", CONFIG_MAP),
        elsewhere("user-ops"),
        elsewhere("user-operation"),
    ]);
    Engine::of(&facts, Status::default())
}

#[tokio::test]
async fn an_object_is_explained_back_to_its_event_and_rule() {
    let engine = engine();
    let answer = engine.get("/v1/why/object?kind=namespace&name=mgianluc").await;
    assert_eq!(answer["offset"], 11);
    let item = &answer["item"];
    let told =
        "Namespace/mgianluc exists on mgmt/mgmt because manage-namespace decided Create of the event at offset 1";
    assert_eq!((&item["verdict"], &item["summary"]), (&json!("held"), &json!(told)));
    assert_eq!(item["decision"]["event"]["event"]["stream"], "USERS");
    assert_eq!(item["decision"]["event_source"], "user-operation");
    let policy = json!({"kind": "ConfigMap", "namespace": "default", "name": "namespace", "keys": ["namespace.yaml"]});
    assert_eq!(item["rendered"], json!({"rule": 7, "policies": [policy]}));
    let applied = json!({
        "uid": "8f3c0f1e", "time": "2026-11-22T14:00:03.000Z", "offset": 3, "unchanged_since": 3, "made_at": 3,
    });
    assert_eq!(item["applied"], applied);
    assert_eq!(item.get("notes"), None);

    let unknown = engine.get("/v1/why/object?kind=Namespace&name=zoe&namespace=x&group=&cluster=mgmt/mgmt").await;
    assert_eq!(unknown["item"]["verdict"], "unknown");
    engine.refused("/v1/why/object?kind=&name=b", 400, "bad-parameter", "kind: it is empty").await;
    engine.refused("/v1/why/object?kind=Namespace", 400, "bad-parameter", "parameter `name` is missing").await;
    engine.refused("/v1/why/object?kind=a&name=b&nam=c", 400, "bad-parameter", "parameter `nam` is not known").await;
}

#[tokio::test]
async fn an_event_is_explained_on_to_what_it_caused_or_what_differed() {
    let engine = engine();
    let check = async |offset: u64, verdict: &str, summary: &str| -> Value {
        let answer = engine.get(&format!("/v1/why/event?offset={offset}")).await;
        assert_eq!(
            (answer["item"]["verdict"].as_str(), answer["item"]["summary"].as_str()),
            (Some(verdict), Some(summary))
        );
        answer["item"].clone()
    };
    let made = check(1, "acted", "manage-namespace decided Create: applied Namespace/mgianluc at offset 3.").await;
    let offsets: Vec<_> =
        made["triggers"][0]["outcomes"].as_array().expect("outcomes").iter().map(|entry| &entry["offset"]).collect();
    assert_eq!(offsets, [2, 3]);
    assert_eq!(made["triggers"][0]["effect"], "applied");
    check(4, "acted", "manage-namespace decided Create: attempt 3 failed: namespace `zoe` is terminating at offset 5.")
        .await;
    check(0, "no-event", "No event: EventTrigger/manage-namespace changed").await;

    let nothing = check(9, "nothing", "Nothing happened: no EventSource matches.").await;
    let difference = json!({"field": "subject", "value": "user-ops", "pattern": "user-operation"});
    let summary = "EventSource/user-operation, criterion 1: subject `user-ops` does not match `user-operation`";
    let closest =
        json!({"event_source": "user-operation", "criterion": 1, "differences": [difference], "summary": summary});
    assert_eq!(nothing["unmatched"]["closest"], closest);
    let reason = "Nothing happened: EventSource/user-operation matches, but EventTrigger/manage-namespace was not in force or \
                  does not select mgmt/mgmt.";
    check(10, "nothing", reason).await;

    engine.refused("/v1/why/event?offset=11", 400, "bad-parameter", "offset `11` is not reached yet").await;
    engine.refused("/v1/why/event", 400, "bad-parameter", "parameter `offset` is missing").await;
}

#[tokio::test]
async fn a_kind_is_called_as_kubectl_calls_it_and_a_slip_is_named() {
    let engine = engine();
    for kind in ["ns", "NAMESPACES", "namespace"] {
        let answer = engine.get(&format!("/v1/why/object?kind={kind}&name=mgianluc")).await;
        assert_eq!(answer["item"]["verdict"], "held", "{kind}");
    }
    let answer = engine.get("/v1/why/object?kind=Nmespace&name=mgianluc").await;
    let notes = answer["item"]["notes"].as_array().expect("notes");
    let slip = json!("kind `Nmespace` is not built into Kubernetes: `Namespace` is spelled alike");
    assert!(notes.contains(&slip), "{answer}");
}
