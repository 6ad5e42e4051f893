//! What a test run said, counted: reads the lines that `cargo test` prints, and sums up by name.
//!
//! Pure: lines in, figures out.

/// The figures of a test run, and the names behind them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    passed: u64,
    failed: Vec<String>,
    skipped: Vec<String>,
}

impl Report {
    /// Takes note of a line of output. Most say nothing about a test.
    pub fn read(&mut self, line: &str) {
        // `test name ... ok`, of the standard harness and of the one for stories, which pads the name.
        let Some((name, verdict)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... ")) else {
            return;
        };
        let name = name.trim();
        if verdict == "ok" {
            self.passed += 1;
        } else if verdict == "FAILED" {
            self.failed.push(name.to_owned());
        } else if let Some(reason) = verdict.strip_prefix("ignored") {
            // `ignored, reason` or `ignored (reason)`
            let reason = reason.trim_start_matches([',', ' ', '(']).trim_end_matches(')');
            let reason = if reason.is_empty() { "no reason given" } else { reason };
            self.skipped.push(format!("{name}: {reason}"));
        }
    }

    /// Counts a failure that no test reported: a build that broke, a test program that crashed.
    pub fn fail(&mut self, what: impl Into<String>) {
        self.failed.push(what.into());
    }

    /// Whether any test failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Makes every skipped test a failed one: for where nothing may be missing.
    pub fn forbid_skips(&mut self) {
        self.failed
            .extend(self.skipped.drain(..).map(|skipped| format!("{skipped} (skipped, which is not allowed here)")));
    }

    /// The summary: what was skipped and what failed, by name, and the figures on the last line.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for (title, names) in [("skipped:", &self.skipped), ("failed:", &self.failed)] {
            if !names.is_empty() {
                text.push_str(&format!("{title}\n"));
                names.iter().for_each(|name| text.push_str(&format!("  {name}\n")));
                text.push('\n');
            }
        }
        text.push_str(&format!("{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped.len()));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_counts_for_what_it_says() {
        fn check(line: &str, passed: u64, failed: &[&str], skipped: &[&str]) {
            let mut report = Report::default();
            report.read(line);
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            assert_eq!(report, Report { passed, failed: owned(failed), skipped: owned(skipped) }, "{line}");
        }
        check("test log::tests::reads ... ok", 1, &[], &[]);
        check("test padded   ... ok", 1, &[], &[]);
        check("test store/src/lib.rs - open (line 3) ... ok", 1, &[], &[]);
        check("test log::tests::reads ... FAILED", 0, &["log::tests::reads"], &[]);
        check("test slow ... ignored", 0, &[], &["slow: no reason given"]);
        check("test slow ... ignored, takes an hour", 0, &[], &["slow: takes an hour"]);
        check("test live ... ignored (no server here)", 0, &[], &["live: no server here"]);
        check("test result: ok. 3 passed; 0 failed; 0 ignored", 0, &[], &[]);
        check("running 3 tests", 0, &[], &[]);
        check("", 0, &[], &[]);
    }

    #[test]
    fn the_last_line_holds_the_figures() {
        let mut report = Report::default();
        ["test a ... ok", "test b ... ignored", "test c ... FAILED"].iter().for_each(|line| report.read(line));
        assert_eq!(report.summary(), "skipped:\n  b: no reason given\n\nfailed:\n  c\n\n1 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn a_skipped_test_fails_where_nothing_may_be_missing() {
        let mut report = Report::default();
        report.read("test b ... ignored, no server");
        assert!(!report.has_failed());
        report.forbid_skips();
        assert!(report.has_failed());
        assert!(report.summary().ends_with("0 passed, 1 failed, 0 skipped"), "{}", report.summary());
    }
}
