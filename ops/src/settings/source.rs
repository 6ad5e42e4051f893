//! Whether the server and the subjects can be meant.

use lifeline_engine::intake::{self, Connection, subjects};

use super::NATS;
use super::mistake::Mistake;

/// What a connection would refuse of the server and the subjects: said before anything starts.
pub(super) fn check(nats: Option<&str>, wanted: &[String], mistakes: &mut Vec<Mistake>) {
    match nats {
        Some("") => mistakes.push(
            Mistake::new("nats", "`nats` is empty, expected a URL or a file".to_owned())
                .hint(format!("write it like `{NATS}`")),
        ),
        Some(url) if url.contains("://") => {
            if let Err(intake::Error::Settings { mistakes: refused, .. }) = Connection::from_url(url, "nats", &[]) {
                mistakes.extend(refused.into_iter().map(|refused| Mistake::new("nats", refused)));
            }
        }
        Some(_) | None => {}
    }
    let wrong = |complaint: String| Mistake::new("subjects", complaint).hint("write a subject like `orders.>`");
    for subject in wanted {
        let complaint = subjects::complaint(subject);
        mistakes.extend(complaint.map(|complaint| wrong(format!("`subjects` has `{subject}`, {complaint}"))));
    }
    if let Some((one, other)) = subjects::overlapping(wanted) {
        mistakes.push(wrong(format!("`subjects` has `{one}` and `{other}`, which overlap in part")));
    }
}
