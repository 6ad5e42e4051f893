//! A number with its noun, as people read it. The nouns of Lifeline take an `s`.

/// `1 trigger`, `2 triggers`.
#[must_use]
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// `sequence 5`, `sequences 5 to 7`: what begins with the first number and ends before the second.
#[must_use]
pub fn span(noun: &str, first: u64, end: u64) -> String {
    match end.saturating_sub(1) {
        last if last <= first => format!("{noun} {first}"),
        last => format!("{noun}s {first} to {last}"),
    }
}

#[test]
fn one_is_singular() {
    assert_eq!([0, 1, 2].map(|number| count(number, "event")), ["0 events", "1 event", "2 events"]);
    assert_eq!([6, 7, 8].map(|end| span("record", 6, end)), ["record 6", "record 6", "records 6 to 7"]);
}
