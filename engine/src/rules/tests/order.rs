//! The annotation that says which of two events is the later one.

use lifeline_projections::fact::OrderBy;

use super::*;

#[test]
fn the_order_is_chosen_by_annotation_and_a_slip_puts_the_trigger_out_of_force() {
    let of = |order: Value| {
        let mut manifest: Value = serde_json::from_str(&trigger(json!({"cloudEventAction": "Create"}))).unwrap();
        manifest["metadata"]["annotations"] = json!({"lifeline.dev/order": order});
        rules(&format!("{SOUND}\n---\n{manifest}"))
    };
    let unwritten = rules(&format!("{SOUND}\n---\n{}", trigger(json!({"cloudEventAction": "Create"}))));
    let digest = |rules: &RuleSet| rules.trigger("x").map(Trigger::digest);
    let check = |order: &str, expected: OrderBy| {
        let rules = of(order.into());
        assert_eq!(rules.trigger("x").map(Trigger::order_by), Some(expected), "{order}");
        assert_eq!(rules.orders_by_events(), expected != OrderBy::Stream, "{order}");
        // History is decided again where the order changes, and only there.
        assert_eq!(digest(&rules) == digest(&unwritten), expected == OrderBy::Stream, "{order}");
    };
    check("stream", OrderBy::Stream);
    check("time", OrderBy::Time);
    check("sequence", OrderBy::Sequence);
    for (order, shown) in [(json!("Time"), "Time"), (json!(""), ""), (json!(true), "true")] {
        let refused = of(order);
        assert!(refused.trigger("x").is_none(), "{shown}");
        let told = refused.problems_of("EventTrigger/x").find(|problem| problem.message.contains("lifeline.dev/order"));
        let told = told.expect("the problem is told");
        let expected = format!("annotation `lifeline.dev/order` is `{shown}`, expected `stream`, `time` or `sequence`");
        assert_eq!((told.severity, &told.message), (Severity::Error, &expected));
        assert!(told.hint.is_some() && !told.origin.is_empty(), "{told}");
    }
}
