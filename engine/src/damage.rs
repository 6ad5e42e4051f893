//! What is said of damage in the log: where it is, and what to do about it.

use lifeline_store::{Damage, Recovery, records};
use tracing::{debug, error};

/// What to do about damage.
const HINT: &str = "stop the engine, then `lifeline verify --data DIR` lists all damage and \
                       `lifeline log repair --from-stream --data DIR` brings back what the stream still holds";

/// The scrub, or the opening of the log, found damage.
pub(crate) fn found(place: &str) -> String {
    format!("the log is damaged: {place}\nhint: {HINT}")
}

/// What the opening of the log found, for as long as the process runs.
pub(crate) fn found_at_the_start(place: &str) -> String {
    format!("the log was damaged at the start: {place}\nhint: {HINT}")
}

/// Where damage is: the records that are gone, or bytes that hold none.
pub(crate) fn place(damage: &Damage) -> String {
    let Damage { file, offsets, bytes, why } = damage;
    let bytes = format!("bytes {} to {}", bytes.start, bytes.end);
    match offsets.is_empty() {
        true => format!("{bytes} of `{file}` ({why})"),
        false => format!("{} in `{file}`, {bytes} ({why})", records(offsets)),
    }
}

/// The damage that was found when a log was opened, one place each.
#[must_use]
pub fn damage(recovery: &Recovery) -> Vec<String> {
    recovery.damage.iter().map(place).collect()
}

/// Says what was found when a log was opened, where it is not simply in order.
pub fn report(recovery: &Recovery) {
    for place in damage(recovery) {
        error!("{}", found(&place));
    }
    debug!("log opened: {recovery:?}");
}

#[cfg(test)]
mod tests {
    use lifeline_store::Offset;

    use super::*;

    #[test]
    fn damage_is_named_by_its_records_or_its_bytes() {
        let check = |first: u64, end: u64, expected: &str| {
            let offsets = Offset::from(first)..Offset::from(end);
            assert_eq!(place(&Damage { file: "f".into(), offsets, bytes: 8..16, why: "checksum" }), expected);
        };
        check(5, 6, "record `5` in `f`, bytes 8 to 16 (checksum)");
        check(5, 8, "records `5` to `7` in `f`, bytes 8 to 16 (checksum)");
        check(5, 5, "bytes 8 to 16 of `f` (checksum)");
    }
}
