//! The status of intake: what is read, and why it is not ready.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::intake::plain;
use crate::intake::reader::{self, Phase};

/// The status of intake as a whole.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Why streams cannot be looked for, if so.
    pub trouble: Option<String>,
    /// Whether streams have been looked for and all that is wanted is being read.
    pub complete: bool,
    /// Streams made since the start.
    pub created: Vec<String>,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// The readers, by stream.
    pub readers: BTreeMap<String, watch::Receiver<reader::Status>>,
    /// What is read without a stream, by the name that the log has for it.
    pub plain: BTreeMap<String, plain::Status>,
}

impl Status {
    /// Why intake is not ready, one line each; none when it is.
    #[must_use]
    pub fn obstacles(&self) -> Vec<String> {
        let mut obstacles: Vec<String> = self.trouble.iter().cloned().collect();
        if self.trouble.is_none() && !self.complete {
            obstacles.push("streams are looked for".to_owned());
        }
        for (stream, status) in &self.readers {
            match &status.borrow().phase {
                Phase::Reading | Phase::Paused => {}
                Phase::Opening => obstacles.push(format!("stream `{stream}` is being opened")),
                Phase::Waiting { reason } => obstacles.push(format!("stream `{stream}` waits: {reason}")),
            }
        }
        for plain::Status { subject, trouble, .. } in self.plain.values() {
            let trouble = trouble.borrow();
            obstacles.extend(trouble.iter().map(|reason| format!("subject `{subject}` is not subscribed: {reason}")));
        }
        obstacles
    }
}
