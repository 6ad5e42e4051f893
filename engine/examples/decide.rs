//! Question: what does a decision cost per event? Workload: the seed's login event against the seed's trigger (a template over
//! `.CloudEvent.type`), a static trigger, an event that no source matches, and the same among 200 sources. One thread.
//!
//! Run: `cargo run --release -p lifeline-engine --example decide`. Prints the median of five rounds in nanoseconds an event.

use std::hint::black_box;
use std::time::Instant;

use lifeline_engine::rules::{Clusters, EventView, Manifests, OWN, RuleSet};
use lifeline_projections::event::CloudEvent;

const EVENT: &str = r#"{"specversion":"1.0","type":"auth.example.com.login","source":"auth.example.com","id":"10001","subject":"mgianluc","datacontenttype":"application/json","data":{"message":"User mgianluc login","organization":"devops","roles":["admin","dev"],"session":{"ip":"10.1.2.3","agent":"curl/8.1","at":"2026-11-22T14:02:11Z"}}}"#;
const ROUNDS: usize = 5;
const EVENTS: u32 = 200_000;

fn main() {
    let seed = include_str!("../tests/seed/3-end-to-end.yaml");
    let fixed =
        seed.replace(r#"'{{if eq .CloudEvent.type "auth.example.com.logout"}}Delete{{else}}Create{{end}}'"#, "Create");
    assert_ne!(seed, fixed);
    let data = seed.replace("if eq .CloudEvent.type", "if eq .CloudEvent.data.message");
    let many: String = (0..200)
        .map(|index| {
            fixed.replace("user-operation", &format!("other-{index}")).replace("manage-namespace", &format!("t{index}"))
                + "\n---\n"
        })
        .collect();
    measure("static action", &fixed, "user-operation");
    measure("template over the type", seed, "user-operation");
    measure("template over the data", &data, "user-operation");
    measure("no match", seed, "another");
    measure("static action among 200 sources", &(many + &fixed), "user-operation");
}

fn measure(what: &str, rules: &str, nats_subject: &str) {
    let rules = RuleSet::new(Manifests::read("rules.yaml", rules), Clusters::default());
    let event = CloudEvent::parse(&[], EVENT.as_bytes()).expect("the event is valid");
    let view = EventView {
        nats_subject,
        source: &event.source,
        kind: &event.kind,
        subject: &event.subject,
        headers: &[],
        payload: EVENT.as_bytes(),
    };
    let mut nanos: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for recorded_at in 0..EVENTS {
                black_box(rules.decide(black_box(&view), OWN, recorded_at.into()));
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(EVENTS)
        })
        .collect();
    nanos.sort_by(f64::total_cmp);
    println!("{what}: {:.0} ns an event, {} decisions", nanos[ROUNDS / 2], rules.decide(&view, OWN, 0).len());
}
