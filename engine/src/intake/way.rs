//! By which way a subject is read: from a stream, or by a plain subscription. Pure.
//!
//! Start at [`way`]. A stream is the better way: it keeps events while Lifeline is away. So a plain subscription is taken only
//! where there can be no stream, or where the settings ask for it.
//!
//! Never here: asking the server.

use async_nats::jetstream::ErrorCode;

use super::{Error, reserved};
use crate::error_text::one_line;

/// Whether streams are used for the subjects that the settings name. Streams that are named themselves are always used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Use {
    /// A stream where there can be one, else a plain subscription.
    #[default]
    Auto,
    /// A stream; without one nothing is read.
    Always,
    /// A plain subscription, even where a stream holds the subject.
    Never,
}

/// What the server says about keeping a subject in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeping {
    /// A stream holds it, at least in part.
    Held,
    /// None does yet.
    Unheld,
    /// None does, and the server refuses to make one; why.
    Refused(String),
    /// There is no JetStream for this account; how that shows.
    Absent(String),
}

/// By which way a subject is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// From the stream that holds it.
    Stream,
    /// From a stream that has to be made first.
    MakeStream,
    /// By a plain subscription; why.
    Plain(String),
    /// Not at all until something changes; why.
    Wait(String),
}

/// Why a subject is read without a stream where the settings say so.
const NEVER: &str = "`jetstream` is `never`";

/// By which way a subject is read.
#[must_use]
pub fn way(used: Use, keeping: &Keeping) -> Way {
    match (used, keeping) {
        (Use::Never, _) => Way::Plain(NEVER.to_owned()),
        (Use::Auto | Use::Always, Keeping::Held) => Way::Stream,
        (Use::Auto | Use::Always, Keeping::Unheld) => Way::MakeStream,
        (Use::Auto, Keeping::Refused(why) | Keeping::Absent(why)) => Way::Plain(why.clone()),
        (Use::Always, Keeping::Refused(why) | Keeping::Absent(why)) => {
            Way::Wait(format!("{why}, and `jetstream` is `always`"))
        }
    }
}

/// How the sentence begins that says which right is refused.
const DENIED: &str = "the NATS server refuses a right to JetStream";

/// That the server refuses a right to JetStream.
pub(super) fn denied(right: &str) -> String {
    format!("{DENIED}: {right}")
}

/// What to do about a subject that is read by a plain subscription, by why it is.
#[must_use]
pub fn remedy(subject: &str, because: &str) -> String {
    if because == NEVER {
        "with `jetstream` `auto` a stream is made for it, where no stream holds it".to_owned()
    } else if reserved::no_stream_for(subject).is_some_and(|why| why == because) {
        reserved::REMEDY.to_owned()
    } else if because.starts_with(DENIED) {
        "grant it to the user that Lifeline connects as; `lifeline doctor` names what is refused".to_owned()
    } else if because.starts_with("JetStream refused") {
        "mend what the NATS server names, or make a stream for the subject: it is read as soon as it is there"
            .to_owned()
    } else {
        "enable JetStream at the NATS server (`config.jetstream.enabled` of its chart): a stream is made as soon as it is there"
            .to_owned()
    }
}

/// How an error shows that there is no JetStream for this account; `None` when it shows something else, which may pass.
/// `denied` is the last right that the server refused.
#[must_use]
pub fn absence(error: &Error, denied: Option<&str>) -> Option<String> {
    match error {
        Error::NoJetStream { .. } => Some(one_line(error)),
        Error::NoAnswer { operation, .. } => right(operation, denied),
        _ => None,
    }
}

/// How an error shows that a stream must not be made; `None` when it shows something else, which may pass.
#[must_use]
pub fn refusal(error: &Error, denied: Option<&str>) -> Option<String> {
    match error {
        // A cluster without a leader has one soon.
        Error::Api { cause, .. } if cause.error_code() == ErrorCode::CLUSTER_NOT_AVAILABLE => None,
        Error::Api { .. } => Some(one_line(error)),
        Error::NoAnswer { operation, .. } => right(operation, denied),
        _ => None,
    }
}

/// That the right to an operation was refused. Such a request has no answer at all.
fn right(operation: &str, denied: Option<&str>) -> Option<String> {
    denied.filter(|denied| denied.contains(operation)).map(self::denied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_read_without_a_stream_only_where_there_can_be_none() {
        let refused = || Keeping::Refused("no room".to_owned());
        let absent = || Keeping::Absent("no JetStream".to_owned());
        let plain = |why: &str| Way::Plain(why.to_owned());
        let wait = |why: &str| Way::Wait(why.to_owned());
        for (used, keeping, expected) in [
            (Use::Auto, Keeping::Held, Way::Stream),
            (Use::Auto, Keeping::Unheld, Way::MakeStream),
            (Use::Auto, refused(), plain("no room")),
            (Use::Auto, absent(), plain("no JetStream")),
            (Use::Always, Keeping::Held, Way::Stream),
            (Use::Always, Keeping::Unheld, Way::MakeStream),
            (Use::Always, refused(), wait("no room, and `jetstream` is `always`")),
            (Use::Always, absent(), wait("no JetStream, and `jetstream` is `always`")),
            (Use::Never, Keeping::Held, plain("`jetstream` is `never`")),
            (Use::Never, Keeping::Unheld, plain("`jetstream` is `never`")),
            (Use::Never, refused(), plain("`jetstream` is `never`")),
            (Use::Never, absent(), plain("`jetstream` is `never`")),
        ] {
            assert_eq!(way(used, &keeping), expected, "{used:?} {keeping:?}");
        }
    }

    #[test]
    fn what_to_do_about_a_plain_subscription_follows_from_why_it_is_one() {
        for (subject, because, expected) in [
            ("a", NEVER, "with `jetstream` `auto`"),
            (">", NEVER, "with `jetstream` `auto`"),
            (">", &reserved::no_stream_for(">").unwrap(), "name narrower subjects"),
            (">", "JetStream is not enabled at nats://n", "enable JetStream"),
            ("a", "JetStream is not enabled at nats://n", "enable JetStream"),
            ("a", &super::denied("`$JS.API.STREAM.LIST`"), "grant it to the user"),
            ("a", "JetStream refused `STREAM.CREATE.LIFELINE`: no room", "mend what the NATS server names"),
        ] {
            assert!(remedy(subject, because).starts_with(expected), "{subject} {because}");
        }
    }

    #[test]
    fn what_may_pass_is_no_absence_and_no_refusal() {
        let unanswered = || Error::NoAnswer {
            operation: "STREAM.LIST".to_owned(),
            cause: Box::new(std::io::Error::from(std::io::ErrorKind::TimedOut)),
        };
        let api = |code: u64| {
            let error = serde_json::json!({"code": 500, "err_code": code, "description": "no"});
            Error::Api { operation: "STREAM.CREATE.S".to_owned(), cause: serde_json::from_value(error).unwrap() }
        };
        let disconnected = || Error::Disconnected { url: "nats://n".to_owned(), trouble: "gone".to_owned() };
        let list = Some("Permissions Violation for Publish to \"$JS.API.STREAM.LIST\"");
        let other = Some("Permissions Violation for Publish to \"$JS.ACK.S\"");
        for (error, denied, is_absence, is_refusal) in [
            (Error::NoJetStream { url: "nats://n".to_owned() }, None, true, false),
            (unanswered(), None, false, false),
            (unanswered(), other, false, false),
            (unanswered(), list, true, true),
            (disconnected(), list, false, false),
            (Error::Interrupted, None, false, false),
            (api(10_008), None, false, false),
            (api(10_065), None, false, true),
        ] {
            let found = (absence(&error, denied).is_some(), refusal(&error, denied).is_some());
            assert_eq!(found, (is_absence, is_refusal), "{error:?} {denied:?}");
        }
    }
}
