//! Which streams are read: finds those that hold what is wanted, makes one for what none holds, and runs their readers.
//!
//! Start at [`run`]. Streams that appear later are found by looking again; a stream of ours that was deleted is made
//! again.
//!
//! Never here: the reading itself ([`super::reader`]), and the choice ([`super::subjects`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::epoch::Known;
use super::jetstream::JetStream;
use super::reader::{self, Phase, Reader};
use super::subjects::{self, Wanted};
use super::{Error, Intake};
use crate::error_text::one_line;

/// How often streams are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Pause after a look that failed.
const RETRY: Duration = Duration::from_millis(500);

/// What intake gets at the start.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The site whose NATS is read.
    pub site: Arc<str>,
    /// What to read.
    pub wanted: Wanted,
    /// Name of the durable consumers.
    pub durable: String,
    /// Name of the stream made for subjects that no other holds.
    pub own_stream: String,
    /// What the log knows, by stream.
    pub known: BTreeMap<String, Known>,
}

/// What an operator may ask of intake as a whole.
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
}

impl Status {
    /// Why intake is not ready, one line each; none when it is.
    #[must_use]
    pub fn obstacles(&self) -> Vec<String> {
        let mut obstacles: Vec<String> = self.trouble.iter().cloned().collect();
        if self.trouble.is_none() && !self.complete {
            obstacles.push("not all wanted streams are found".to_owned());
        }
        for (stream, status) in &self.readers {
            match &status.borrow().phase {
                Phase::Reading => {}
                Phase::Opening => obstacles.push(format!("stream `{stream}` is being opened")),
                Phase::Waiting { reason } => obstacles.push(format!("stream `{stream}` waits: {reason}")),
            }
        }
        obstacles
    }
}

/// Reads all wanted streams until the receiver of `sink` is dropped.
pub async fn run(
    jetstream: Arc<dyn JetStream>,
    mut plan: Plan,
    sink: mpsc::Sender<Intake>,
    status: watch::Sender<Status>,
) {
    let mut readers = JoinSet::new();
    let mut look = Box::pin(tokio::time::sleep(Duration::ZERO));
    loop {
        tokio::select! {
            biased;
            () = sink.closed() => break,
            () = &mut look => {
                let pause = match find(jetstream.as_ref(), &plan, &status).await {
                    Ok(found) => {
                        for reading in found {
                            let stream = reading.stream.clone();
                            if status.borrow().readers.contains_key(&stream) {
                                continue;
                            }
                            let known = plan.known.remove(&stream);
                            let (site, durable) = (plan.site.clone(), plan.durable.clone());
                            let (reader, watched) =
                                Reader::new(site, jetstream.clone(), reading, durable, known, sink.clone());
                            status.send_modify(|status| {
                                status.readers.insert(stream, watched);
                            });
                            readers.spawn(reader.run());
                        }
                        LOOK_EVERY
                    }
                    Err(error) => {
                        let reason = one_line(&error);
                        tracing::warn!(reason, "streams cannot be looked for");
                        status.send_modify(|status| status.trouble = Some(reason));
                        RETRY
                    }
                };
                look.as_mut().reset(tokio::time::Instant::now() + pause);
            }
        }
    }
    readers.shutdown().await;
}

/// Looks for the wanted streams, and makes the one that is missing.
async fn find(
    jetstream: &dyn JetStream,
    plan: &Plan,
    status: &watch::Sender<Status>,
) -> Result<Vec<subjects::Reading>, Error> {
    let mut found = subjects::assign(&plan.wanted, &jetstream.streams().await?);
    let mut created = Vec::new();
    for missing in std::mem::take(&mut found.missing_streams) {
        if missing.subjects.is_empty() {
            found
                .warnings
                .push(format!("stream `{}` does not exist, and no subjects are given to make it", missing.name));
        } else {
            jetstream.ensure_stream(&missing.name, &missing.subjects).await?;
            created.push(missing.name);
        }
    }
    if !found.unheld_subjects.is_empty() {
        jetstream.ensure_stream(&plan.own_stream, &found.unheld_subjects).await?;
        created.push(plan.own_stream.clone());
    }
    if !created.is_empty() {
        tracing::info!(?created, "made streams for subjects that none held");
        let warnings = std::mem::take(&mut found.warnings);
        found = subjects::assign(&plan.wanted, &jetstream.streams().await?);
        found.warnings.extend(warnings);
        found.warnings.sort();
        found.warnings.dedup();
    }
    found.warnings.extend(jetstream.denied().map(|denied| {
        format!("the NATS server refuses a right that is needed, until the next connection at least: {denied}")
    }));
    status.send_if_modified(|status| {
        let complete = found.unheld_subjects.is_empty() && found.missing_streams.is_empty();
        let changed = !created.is_empty()
            || status.trouble.is_some()
            || status.complete != complete
            || status.warnings != found.warnings;
        status.created.extend(created);
        status.trouble = None;
        status.complete = complete;
        status.warnings = found.warnings;
        changed
    });
    Ok(found.readings)
}
