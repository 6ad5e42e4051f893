//! [`Group`]: what the recorder writes with one sync.

use lifeline_projections::event::CloudEvent;
use lifeline_store::{Offset, Record};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tracing::debug;

use super::Outcome;
use crate::error_text::chain;
use crate::intake::{Intake, Message, Received};
use crate::redrive::{self, Because, Receive};

/// A rejected message that is to be taken up again.
pub(super) struct Redrive {
    /// The record that rejected it.
    pub(super) record: Record,
    pub(super) because: Because,
    /// Below this it was not taken up.
    pub(super) looked_to: Offset,
    /// What came of it, once it is staged.
    pub(super) outcome: Mutex<Option<redrive::Outcome>>,
    pub(super) done: oneshot::Sender<redrive::Outcome>,
}

/// What is recorded with one sync.
#[derive(Default)]
pub(super) struct Group {
    pub(super) intakes: Vec<Intake>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) redrives: Vec<Redrive>,
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.intakes.is_empty() && self.outcomes.is_empty() && self.redrives.is_empty()
    }

    /// Whether there are messages in it, new or taken up again: they need room on the disk.
    pub(super) fn has_messages(&self) -> bool {
        !self.intakes.is_empty() || !self.redrives.is_empty()
    }

    pub(super) fn push(&mut self, intake: Intake) {
        self.messages += intake.messages().len();
        self.bytes += intake.messages().iter().map(Message::bytes).sum::<usize>();
        self.intakes.push(intake);
    }

    /// Acknowledges messages and answers outcomes. Everything in the group is durable.
    pub(super) async fn answer(self, end: Offset) {
        for outcome in self.outcomes {
            // The one who asked may have gone; what was recorded stays.
            let _ = outcome.done.send(end);
        }
        for Redrive { outcome, done, .. } in self.redrives {
            let outcome = outcome.into_inner().expect("it was staged with the group");
            let _ = done.send(outcome);
        }
        for intake in self.intakes {
            if let Received::Messages { acknowledge: Some(acknowledge), .. } = intake.received {
                // A lost acknowledgement costs a redelivery, which is recorded once.
                if let Err(error) = acknowledge.send().await {
                    debug!("acknowledgement not sent: {}", chain(&error));
                }
            }
        }
    }
}

/// The CloudEvent of a message, or why it is none.
pub(super) type Parsed<'m> = Result<CloudEvent<'m>, String>;

pub(super) fn parse(message: &Message, receive: Receive) -> Parsed<'_> {
    receive(&message.headers(), &message.payload).map_err(|error| error.to_string())
}
