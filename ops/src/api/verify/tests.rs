//! Verifications of engines that remember rightly, wrongly, and while they record.

use lifeline_engine::status::Status;
use lifeline_projections::fact::{
    Fact, LifecycleKey, Reconciled, RuleChanged, Ruling, StreamChange, StreamChanged, What,
};
use lifeline_projections::fold::Projection;
use lifeline_store::Offset;
use serde_json::{Value, json};

use crate::api::tests::recording::{Recording, failed};
use crate::api::tests::{Engine, SOURCE, event, key, story};
use crate::care::verify::digest;

fn folded(story: &[Fact<'_>]) -> Projection {
    let mut projection = Projection::default();
    for fact in story {
        let offset = projection.watermark();
        let unix_nanos = crate::api::tests::START_UNIX_NANOS + offset.get() * 1_000_000_000;
        projection.fold(offset, unix_nanos, fact, &mut Vec::new());
    }
    projection
}

#[tokio::test]
async fn an_engine_that_remembers_what_the_log_says_is_sound() {
    let engine = Engine::of(&story(), Status::default());
    let mut answer = engine.get("/v1/verify").await;
    let seconds = answer["item"]["seconds"].take().as_f64().expect("a number");
    assert!(seconds > 0.0);
    let expected = json!({"offset": 6, "item": {
        "sound": true, "digest": digest(&folded(&story())), "resources": 2, "resources_in_memory": 2, "changed_meanwhile": 0,
        "differing_parts": [], "differing": [], "differing_count": 0, "seconds": null,
    }});
    assert_eq!(answer, expected);
    let empty = Engine::of(&[], Status::default());
    let answer = empty.get("/v1/verify").await;
    assert_eq!((&answer["offset"], &answer["item"]["sound"]), (&json!(0), &json!(true)));
    engine.refused("/v1/verify?as_of=5", 400, "bad-parameter", "parameter `as_of` is not known").await;
}

#[tokio::test]
async fn what_differs_is_named() {
    let check = async |what: &str, remembered: &[Fact<'_>], expected: Value, parts: &[&str]| {
        let engine = Engine::remembering(remembered, &story());
        let answer = engine.get("/v1/verify").await;
        let item = &answer["item"];
        assert_eq!((&item["sound"], &item["differing"]), (&json!(false), &expected), "{what}");
        assert_eq!(item["differing_count"], expected.as_array().map(Vec::len).expect("a list"), "{what}");
        assert_eq!(item["differing_parts"], json!(parts), "{what}");
        assert_eq!(item["digest"], digest(&folded(&story())), "{what}: the digest is that of the log");
    };
    let named = |subject: &str, how: &str| json!({"source": SOURCE, "subject": subject, "how": how});
    let instead = |at: usize, fact: Fact<'static>| {
        let mut facts = story();
        facts[at] = fact;
        facts
    };

    let another_kind = event("mgianluc", "auth.example.com.note", Ruling::Create, 1, None);
    check("another event", &instead(1, another_kind), json!([named("mgianluc", "changed")]), &[]).await;

    let mut facts = instead(4, event("eve", "auth.example.com.login", Ruling::Create, 2, None));
    let Fact::Reconciled(Reconciled { key: LifecycleKey { resource, .. }, what: What::Failed(_), .. }) = &mut facts[5]
    else {
        panic!("the story ends so")
    };
    resource.subject = "eve".into();
    check("somebody else", &facts, json!([named("eve", "surplus"), named("zoe", "missing")]), &[]).await;

    let rule = Fact::Rule(RuleChanged { rule: "EventTrigger/manage-namespace", digest: Some(8), manifest: "{}" });
    check("another rule", &instead(0, rule), json!([]), &["rules"]).await;

    let gap = Fact::Stream(StreamChanged {
        cluster: "mgmt/mgmt",
        stream: "USERS",
        epoch: 1,
        change: StreamChange::Gap { from_sequence: 3, to_sequence: 9 },
    });
    let lost = json!([named("zoe", "changed")]);
    check("a gap", &instead(5, gap), lost, &["streams", "phases"]).await;

    let (acted_for, previous) = (Offset::from(4), Some(Offset::from(4)));
    let objects = vec![crate::api::tests::namespace("mgianluc")];
    let claim = Fact::Reconciled(Reconciled { key: key("zoe"), acted_for, previous, what: What::Intended(objects) });
    let differs = json!([named("zoe", "changed")]);
    check("a claim", &instead(5, claim), differs, &["phases", "conflicts"]).await;
}

#[tokio::test]
async fn of_many_that_differ_the_first_are_named_and_all_are_counted() {
    const NAMES: [&str; 26] = [
        "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u", "v",
        "w", "x", "y", "z",
    ];
    let story = |kind: &'static str| -> Vec<Fact<'static>> {
        let events = NAMES.iter().rev().zip(1..);
        events.map(|(name, sequence)| event(name, kind, Ruling::Create, sequence, None)).collect()
    };
    let engine = Engine::remembering(&story("login"), &story("note"));
    let item = engine.get("/v1/verify").await["item"].take();
    let named: Vec<&str> =
        item["differing"].as_array().expect("a list").iter().filter_map(|row| row["subject"].as_str()).collect();
    assert_eq!((named.as_slice(), &item["differing_count"]), (&NAMES[..20], &json!(26)));
}

#[tokio::test]
async fn a_log_without_its_beginning_cannot_be_folded_again_and_that_is_said() {
    let mut facts = story();
    facts.extend((0..200).map(|number| {
        let note = Ruling::NoAction("a note that fills a segment".into());
        event("zoe", "auth.example.com.note", note, 3 + number, Some(if number == 0 { 5 } else { 5 + number }))
    }));
    let engine = Engine::keeping(Offset::from(180), &facts, Status::default());
    engine.refused("/v1/verify", 410, "forgotten", "the log no longer holds the records below").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_is_sound_at_any_moment_while_it_records() {
    let engine = Recording::start();
    let outcomes = engine.outcomes.clone();
    let recording = tokio::spawn(async move {
        for number in 0_u64.. {
            if outcomes.record(failed(&format!("user-{}", number * 7 % 50))).await.is_err() {
                break;
            }
            // A log that grows as fast as it can takes ever longer to be folded.
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    });
    let (mut reached, mut rounds) = (0, 0);
    while rounds < 20 || reached < 200 {
        let answer = engine.get("/v1/verify").await;
        assert_eq!(answer["item"]["sound"], true, "round {rounds}: {answer}");
        let offset = answer["offset"].as_u64().expect("an offset");
        assert!(offset >= reached);
        (reached, rounds) = (offset, rounds + 1);
    }
    recording.abort();
}
