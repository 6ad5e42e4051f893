//! The page of the metrics: what the first lines of `/metrics` say of each.

use std::fmt::Write;

use lifeline_engine::status::Status;

use super::cell;
use crate::api::metrics::exposition;

pub(super) fn page() -> String {
    let mut out = "\
# Metrics

Generated from what `/metrics` says; a test keeps it so. Counters named `since start` begin at zero with the process; the other ones are
folded from the log and never go back. Metrics by trigger are bounded: triggers beyond the first hundred count as `other`. The
[alerts](runbooks/index.md) and the dashboard of the chart use these names. While the state is rebuilt there are only `lifeline_ready`,
`lifeline_opening_offset` and `lifeline_opening_end_offset`.

| metric | kind | meaning |
|---|---|---|
"
    .to_owned();
    let text = exposition(&Status::default());
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.windows(2) {
        let help = pair[0].strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '));
        let kind = pair[1].strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '));
        if let (Some((name, help)), Some((_, kind))) = (help, kind) {
            // A String takes everything that is written to it.
            let _ = writeln!(out, "| `{name}` | {kind} | {} |", cell(help));
        }
    }
    out
}
