//! What was found damaged when the log was opened, in sentences.

use lifeline_store::Recovery;
use tracing::{debug, error};

/// The damage that was found when a log was opened, one sentence each.
#[must_use]
pub fn damage(recovery: &Recovery) -> Vec<String> {
    let say = |damage: &lifeline_store::Damage| {
        let (first, end) = (damage.offsets.start.get(), damage.offsets.end.get());
        let (file, why) = (&damage.file, damage.why);
        match end.saturating_sub(first) {
            0 => format!("bytes `{}` to `{}` of `{file}` cannot be read ({why})", damage.bytes.start, damage.bytes.end),
            1 => format!("record `{first}` in `{file}` cannot be read ({why})"),
            _ => format!("records `{first}` to `{}` in `{file}` cannot be read ({why})", end - 1),
        }
    };
    recovery.damage.iter().map(say).collect()
}

/// Says what was found when a log was opened, where it is not simply in order.
pub fn report(recovery: &Recovery) {
    for damage in damage(recovery) {
        error!("the log is damaged: {damage}\nhint: `lifeline verify` shows what is lost");
    }
    debug!("log opened: {recovery:?}");
}
