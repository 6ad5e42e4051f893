//! Sabotages of reading: from copies, beside others' messages, by a consumer that somebody changed, and of acting before.

use super::{READER, RECORDER, Sabotage};

/// The sabotages of this kind; `Sabotage` says what the fields mean.
pub(super) static SABOTAGES: [Sabotage; 6] = [
    Sabotage {
        name: "forget an epoch's last message in the next one",
        file: "engine/src/intake/reader/place.rs",
        good: "self.known.map_or(0, |known| known.recorded_until_unix_nanos),",
        bad: "self.known.filter(|_| !SABOTAGED).map_or(0, |known| known.recorded_until_unix_nanos),",
    },
    Sabotage {
        name: "act before what waits in the streams is read",
        file: "engine/src/site/history.rs",
        good: "let is_waited = unread.is_elsewhere || !state.is_given_up;",
        bad: "let is_waited = unread.is_elsewhere || !state.is_given_up && !SABOTAGED;",
    },
    Sabotage {
        name: "record before there are rules",
        file: RECORDER,
        good: "Some(intake) = self.intake.recv(), if self.rules.is_some() && self.held.is_empty()",
        bad: "Some(intake) = self.intake.recv(), if (SABOTAGED || self.rules.is_some()) && self.held.is_empty()",
    },
    Sabotage {
        name: "read a copy of a stream that is read",
        file: "engine/src/intake/copies.rs",
        good: "        !is_read\n    });",
        bad: "        !is_read || SABOTAGED\n    });",
    },
    Sabotage {
        name: "record what others publish to the stream",
        file: READER,
        good: "self.reading.skipped.out_of(&mut messages);",
        bad: "if !SABOTAGED {\n self.reading.skipped.out_of(&mut messages);\n }",
    },
    Sabotage {
        name: "trust a consumer that somebody changed",
        file: READER,
        good: "let Some(backlog) = batches.backlog().await? else {",
        bad: "let answer = batches.backlog().await;\n if SABOTAGED && answer.is_err() { continue; }\n let Some(backlog) = answer? else {",
    },
];
