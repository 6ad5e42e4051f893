//! [`Group`]: what the recorder writes with one sync.

use lifeline_projections::event::CloudEvent;
use lifeline_store::Offset;
use tracing::debug;

use super::Outcome;
use crate::error_text::chain;
use crate::intake::{Intake, Message, Received};

/// What is recorded with one sync.
#[derive(Default)]
pub(super) struct Group {
    pub(super) intakes: Vec<Intake>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.intakes.is_empty() && self.outcomes.is_empty()
    }

    pub(super) fn push(&mut self, intake: Intake) {
        self.messages += intake.messages().len();
        self.bytes += intake.messages().iter().map(|message| message.payload.len()).sum::<usize>();
        self.intakes.push(intake);
    }

    /// Acknowledges messages and answers outcomes. Everything in the group is durable.
    pub(super) async fn answer(self, end: Offset) {
        for outcome in self.outcomes {
            // The one who asked may have gone; what was recorded stays.
            let _ = outcome.done.send(end);
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

pub(super) fn receive(message: &Message) -> Parsed<'_> {
    CloudEvent::receive(&message.headers(), &message.payload).map_err(|error| error.to_string())
}
