//! Differences, asked for as a client would.

use lifeline_engine::status::Status;
use lifeline_projections::fact::{Fact, Reconciled, Ruling, What};
use lifeline_store::Offset;
use serde_json::{Value, json};

use crate::api::tests::{Engine, SOURCE, event, key, namespace, story};

/// The story of all tests, and behind it the logout of the first user.
fn engine() -> Engine {
    let mut facts = story();
    facts.push(event("mgianluc", "auth.example.com.logout", Ruling::Delete, 3, Some(3)));
    let (acted_for, objects) = (Offset::from(6), vec![namespace("mgianluc")]);
    facts.push(Fact::Reconciled(Reconciled {
        key: key("mgianluc"),
        acted_for,
        previous: Some(Offset::from(6)),
        what: What::Deleted(objects),
    }));
    Engine::of(&facts, Status::default())
}

#[tokio::test]
async fn what_differs_between_two_moments_is_told_from_both_sides() {
    let engine = engine();
    let check = async |query: &str, offset: u64, expected: &[(&str, &str, Option<&str>, &str)]| {
        let answer = engine.get(&format!("/v1/difference?{query}")).await;
        let phase = |row: &Value, side: &str| row[side]["phase"].as_str().map(str::to_owned);
        let told: Vec<_> = answer["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|row| {
                let text = |field: &str| row[field].as_str().expect("text").to_owned();
                (text("subject"), text("change"), phase(row, "before"), phase(row, "after").expect("a state"))
            })
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(subject, change, before, after)| {
                ((*subject).to_owned(), (*change).to_owned(), before.map(str::to_owned), (*after).to_owned())
            })
            .collect();
        assert_eq!((told, answer["offset"].as_u64()), (expected, Some(offset)), "{query}");
    };
    check("from=0&to=2", 2, &[("mgianluc", "created", None, "Pending")]).await;
    check("from=2&to=4", 4, &[("mgianluc", "changed", Some("Pending"), "Ready")]).await;
    let both = [("mgianluc", "deleted", Some("Ready"), "Gone"), ("zoe", "created", None, "Failing")];
    check("from=4", 8, &both).await;
    check("from=4&source=auth.&subject=zoe", 8, &both[1..]).await;
    check("from=4&phase=ready", 8, &both[..1]).await;
    check("from=4&trigger=other", 8, &[]).await;
    check("from=4&to=4", 4, &[]).await;
    check(
        "from=2026-11-22T14:00:04Z&to=2026-11-22T14:00:06Z",
        7,
        &[("mgianluc", "deleted", Some("Ready"), "Deleting"), ("zoe", "changed", Some("Pending"), "Failing")],
    )
    .await;
}

#[tokio::test]
async fn pages_of_a_difference_keep_their_moments() {
    let engine = engine();
    let first = engine.get("/v1/difference?from=0&limit=1").await;
    assert_eq!((&first["items"][0]["subject"], &first["from"]), (&json!("mgianluc"), &json!(0)));
    assert_eq!(first["items"][0]["source"], SOURCE);
    let next = first["next"].as_str().expect("there is more");
    // Whatever else is asked for: a page follows the one before it.
    let second = engine.get(&format!("/v1/difference?from=5&to=6&limit=1&after={next}")).await;
    assert_eq!(
        (&second["items"][0]["subject"], &second["from"], &second["offset"]),
        (&json!("zoe"), &json!(0), &json!(8))
    );
    assert_eq!(second.get("next"), None);
    let bad = "bad-parameter";
    engine.refused("/v1/difference?from=5&to=4", 400, bad, "`5` is after `4`").await;
    engine.refused("/v1/difference?from=noon", 400, bad, "parameter `from`: `noon` is neither").await;
    engine.refused("/v1/difference?from=0&to=99", 400, bad, "offset `99` is not reached yet").await;
    engine.refused("/v1/difference?to=4", 400, bad, "parameter `from` is missing").await;
    engine.refused("/v1/difference?from=0&after=AAAA", 400, bad, "cursor `AAAA`").await;
    engine.refused("/v1/difference?from=0&phase=sleepy", 400, bad, "phase `sleepy`").await;
}
