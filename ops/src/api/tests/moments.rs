//! Times that what is being written belongs to.

use std::time::Duration;

use lifeline_engine::clock::{Clock, SystemClock};
use lifeline_projections::reads;
use serde_json::{Value, json};

use crate::api::tests::recording::{Recording, failed};
use crate::api::tests::{SOURCE, ask};

#[tokio::test]
async fn a_time_is_answered_once_everything_stamped_up_to_it_is_in_the_state() {
    let engine = Recording::start();
    engine.record("ann").await;
    // A time is given in milliseconds, and stamps have more.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let before = reads::time(SystemClock.now_unix_nanos());
    tokio::time::sleep(Duration::from_millis(2)).await;
    engine.gate.close();
    let written = tokio::spawn({
        let outcomes = engine.outcomes.clone();
        async move { outcomes.record(failed("bob")).await.expect("it runs") }
    });
    engine.gate.holds().await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    let now = reads::time(SystemClock.now_unix_nanos());

    // The past is answered meanwhile; its end is settled.
    let earlier = engine.get(&format!("/v1/lifecycles?as_of={before}")).await;
    assert_eq!((&earlier["offset"], earlier["items"].as_array().map(Vec::len)), (&json!(1), Some(1)));

    let paths = [
        format!("/v1/resources?as_of={now}"),
        format!("/v1/lifecycles?as_of={now}"),
        format!("/v1/objects?as_of={now}"),
        format!("/v1/conflicts?as_of={now}"),
        format!("/v1/stuck?as_of={now}"),
        format!("/v1/rules?as_of={now}"),
        format!("/v1/resource?source={SOURCE}&subject=bob&as_of={now}"),
        format!("/v1/difference?from={before}&to={now}"),
        format!("/v1/difference?from={now}"),
    ];
    let asked: Vec<_> = paths
        .into_iter()
        .map(|path| {
            let router = engine.router.clone();
            tokio::spawn(async move { (ask(&router, "GET", &path).await, path) })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    for question in &asked {
        assert!(!question.is_finished(), "an answer was given that will be another one");
    }
    engine.gate.open();
    assert_eq!(written.await.expect("no panic").get(), 2);
    for question in asked {
        let ((status, _, body), path) = question.await.expect("no panic");
        assert_eq!(status, 200, "{path}: {body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(answer["offset"], 2, "{path}");
    }
}

#[tokio::test]
async fn a_time_that_is_not_settled_for_long_is_refused() {
    let engine = Recording::start();
    engine.gate.close();
    let outcomes = engine.outcomes.clone();
    tokio::spawn(async move { outcomes.record(failed("bob")).await });
    engine.gate.holds().await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    let now = reads::time(SystemClock.now_unix_nanos());
    let (status, _, body) = ask(&engine.router, "GET", &format!("/v1/resources?as_of={now}")).await;
    let problem: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &problem["code"]), (409, &json!("not-reached")), "{body}");
    let said = format!("what is recorded up to `{now}` is still on its way to the disk");
    assert_eq!(problem["detail"], json!(said));
    // The present does not wait for it.
    assert_eq!(engine.get("/v1/resources").await["offset"], 0);
}
