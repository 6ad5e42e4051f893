//! Subjects that are never recorded: those that NATS and Lifeline itself speak with. Pure.
//!
//! A pattern such as `>` includes them. What an engine asks of the server and what it answers would be recorded for ever, and the
//! token in a request to its own service would be written to the log. No stream is made for such a pattern either: NATS refuses
//! most of them, and a stream answers each message that it takes, the requests to a service included.

use super::subjects::{includes, intersect};

/// What belongs to NATS (its API, services, system account, replies), and the prefix of Lifeline's own service.
const RESERVED: [&str; 7] = ["$JS.>", "$SRV.>", "$SYS.>", "_INBOX.>", "_R_.>", "_GR_.>", "lifeline.v1.>"];

/// What to write in place of a pattern that includes them.
pub const REMEDY: &str = "name narrower subjects, such as `events.>`; without `--subjects` all streams are read";

/// Whether a message of this subject is never recorded.
#[must_use]
pub fn is_reserved(subject: &str) -> bool {
    // For nearly all subjects the first byte decides.
    subject.starts_with(['$', '_', 'l'])
        && RESERVED.iter().any(|reserved| subject.starts_with(&reserved[..reserved.len() - 1]))
}

/// Whether a pattern matches nothing but them.
#[must_use]
pub fn is_all_reserved(pattern: &str) -> bool {
    RESERVED.iter().any(|reserved| includes(reserved, pattern))
}

/// Why no stream is made for a pattern: it includes some of them. `None` where one may be made.
#[must_use]
pub fn no_stream_for(pattern: &str) -> Option<String> {
    let included = RESERVED.iter().find(|reserved| intersect(reserved, pattern).is_some())?;
    Some(format!(
        "no stream can be made for `{pattern}`: it includes `{included}`, which belongs to {} and is not recorded",
        if included.starts_with("lifeline") { "Lifeline itself" } else { "NATS" }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nats_and_lifeline_speak_with_is_never_recorded() {
        for subject in
            ["$JS.API.STREAM.LIST", "$SRV.PING", "$SYS.ACCOUNT.A", "_INBOX.a.b", "lifeline.v1.status", "_R_.x"]
        {
            assert!(is_reserved(subject), "{subject}");
        }
        for subject in
            ["$KV.bucket.key", "lifeline", "lifeline.v10.x", "lifeline.events", "_private.x", "user-operation"]
        {
            assert!(!is_reserved(subject), "{subject}");
        }
    }

    #[test]
    fn a_pattern_is_refused_or_gets_no_stream() {
        for (pattern, is_all, gets_stream) in [
            (">", false, false),
            ("*.>", false, false),
            ("*.v1.>", false, false),
            ("lifeline.>", false, false),
            ("lifeline.*.status", false, false),
            ("_INBOX.>", true, false),
            ("$JS.API.>", true, false),
            ("lifeline.v1.status", true, false),
            ("*", false, true),
            ("events.>", false, true),
            ("lifeline.events.>", false, true),
        ] {
            let told = no_stream_for(pattern);
            assert_eq!((is_all_reserved(pattern), told.is_none()), (is_all, gets_stream), "{pattern} {told:?}");
        }
    }
}
