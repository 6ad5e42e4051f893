//! Plain subscriptions: how subjects are read where there is no stream for them.
//!
//! ```text
//! Plain::subscribe -> Subscription --Reader--> Buffer (numbers, bounds) --> Intake --> recorder
//! ```
//! NATS alone keeps nothing: what is published while nobody is subscribed is lost, and a message has no number and no
//! acknowledgement. So each delivery is one message, and it is durable once the recorder has synced it, not before. Start at
//! [`Reader::run`]. [`super::way`] decides which subjects are read like this, [`super::streams`] when it ends.
//!
//! The log names a subject like a stream ([`stream_of`]), with a name that no stream can have. The epoch is always the first, the
//! sequence is counted by [`Buffer`].
//!
//! After an interruption what comes is held back until it is known whether the server has a stream now: that holds also what was
//! published before the subscription was made again, in order.
//!
//! Invariant: a buffer outlives its reader, so what came before a client ended is still handed over, once.
//!
//! Never here: what a message means, and whether JetStream is there.

mod buffer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use lifeline_projections::count;
use lifeline_projections::fact::PLAIN_PREFIX;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::warn;

pub use self::buffer::{Already, Buffer, Counts, Item, MESSAGES_MAX};
use super::connection::ConnectionState;
use super::epoch::Known;
use super::jetstream::Message;
use super::{Error, Intake, Received, reserved, subjects};
use crate::error_text::one_line;

/// Pause before a subscription that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// How long a subscription that ends may take to deliver what is on its way.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

/// The name that the log has for a subject without a stream.
#[must_use]
pub fn stream_of(subject: &str) -> String {
    format!("{PLAIN_PREFIX}{subject}")
}

/// What intake asks of a NATS server without JetStream.
pub trait Plain: Send + Sync {
    /// Subscribes to a subject, as one of a group of which one member gets each message.
    fn subscribe<'a>(&'a self, subject: &'a str, group: &'a str)
    -> BoxFuture<'a, Result<Box<dyn Subscription>, Error>>;

    /// The state of the connection.
    fn link(&self) -> watch::Receiver<ConnectionState>;
}

/// A subscription at work. It is made again by itself when the connection was lost.
pub trait Subscription: Send {
    /// Waits for at least one message and gives what is there, with the time of arrival and without sequences. `None` when it
    /// is over. May be dropped while it waits without losing a message.
    fn next(&mut self) -> BoxFuture<'_, Option<Vec<Message>>>;

    /// Ends it. [`Subscription::next`] still gives what is on its way.
    fn end(&mut self) -> BoxFuture<'_, Result<(), Error>>;
}

/// A buffer that its reader shares with those who ask about it.
pub type SharedBuffer = Arc<Mutex<Buffer>>;

/// The buffers of an engine, by site and subject. They outlive the connections.
#[derive(Debug, Clone, Default)]
pub struct Buffers(Arc<Mutex<BufferMap>>);

type BufferMap = BTreeMap<(Arc<str>, String), SharedBuffer>;

impl Buffers {
    /// The buffer of a subject of a site; `known` is what the log says of its messages, where there is none yet.
    pub(super) fn of(&self, site: &Arc<str>, subject: &str, known: Option<Known>, messages_max: usize) -> SharedBuffer {
        let mut buffers = self.0.lock();
        let new = || Arc::new(Mutex::new(Buffer::new(known).with_messages_max(messages_max)));
        buffers.entry((site.clone(), subject.to_owned())).or_insert_with(new).clone()
    }

    /// All buffers of a site, with their subjects.
    pub(super) fn of_site(&self, site: &Arc<str>) -> Vec<(String, SharedBuffer)> {
        let buffers = self.0.lock();
        let of_site = buffers.iter().filter(|((of, _), _)| of == site);
        of_site.map(|((_, subject), buffer)| (subject.clone(), buffer.clone())).collect()
    }
}

/// What an operator may ask of a subject that is read without a stream.
#[derive(Debug, Clone)]
pub struct Status {
    /// The subject.
    pub subject: String,
    /// Why there is no stream.
    pub because: String,
    /// Why it is not subscribed; `None` while it is.
    pub trouble: watch::Receiver<Option<String>>,
    /// Its buffer.
    pub buffer: SharedBuffer,
}

/// What a connection says of lost messages. The numbers only grow.
#[derive(Clone, Copy)]
struct Lost {
    up: bool,
    connects: u64,
    slow: u64,
}

impl Lost {
    fn at(link: &watch::Receiver<ConnectionState>) -> Lost {
        let ConnectionState { up, connects, slow, .. } = *link.borrow();
        Lost { up, connects, slow }
    }
}

/// Reads one subject.
pub(super) struct Reader {
    pub(super) site: Arc<str>,
    pub(super) plain: Arc<dyn Plain>,
    pub(super) subject: String,
    /// Subjects that other readers read: what matches one of them is theirs.
    pub(super) others: Vec<String>,
    /// Whether it is the only plain subscription of its connection.
    pub(super) is_only: bool,
    /// The queue group.
    pub(super) group: String,
    pub(super) buffer: SharedBuffer,
    pub(super) sink: mpsc::Sender<Intake>,
    pub(super) trouble: watch::Sender<Option<String>>,
    /// Says that it shall end, in good order.
    pub(super) stop: oneshot::Receiver<()>,
}

impl Reader {
    /// Reads until it is told to stop and everything is handed over, or until the receiver of `sink` is dropped.
    pub(super) async fn run(mut self) {
        loop {
            // Before the subscription: what happens to the connection from here on is an interruption.
            let link = self.plain.link();
            match self.plain.subscribe(&self.subject, &self.group).await {
                Ok(subscription) => {
                    self.trouble.send_replace(None);
                    if self.buffer.lock().begin() {
                        self.say_interrupted();
                    }
                    return self.read(subscription, link).await;
                }
                Err(error) => {
                    let reason = one_line(&error);
                    self.trouble.send_if_modified(|trouble| trouble.replace(reason.clone()).as_ref() != Some(&reason));
                }
            }
            tokio::select! {
                biased;
                () = self.sink.closed() => return,
                _ = &mut self.stop => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    async fn read(&mut self, mut subscription: Box<dyn Subscription>, mut link: watch::Receiver<ConnectionState>) {
        let mut before = Lost::at(&link);
        let (mut ends_by, mut is_over, mut is_link_over) = (None, false, false);
        loop {
            let now = Lost::at(&link);
            self.count(std::mem::replace(&mut before, now), now);
            let is_waiting = self.buffer.lock().is_waiting();
            if is_over && !is_waiting && ends_by.is_some() {
                self.buffer.lock().end();
                return;
            }
            tokio::select! {
                biased;
                () = self.sink.closed() => return,
                permit = self.sink.reserve(), if is_waiting => {
                    let Ok(permit) = permit else { return };
                    let mut buffer = self.buffer.lock();
                    if let Some(item) = buffer.pop() {
                        permit.send(intake(&self.site, &self.subject, buffer.epoch(), item));
                    }
                }
                _ = &mut self.stop, if ends_by.is_none() => {
                    ends_by = Some(Instant::now() + DRAIN_PATIENCE);
                    // A connection that is over has nothing on its way.
                    is_over |= subscription.end().await.is_err();
                }
                changed = link.changed(), if !is_link_over => is_link_over = changed.is_err(),
                messages = subscription.next(), if !is_over => match messages {
                    Some(mut messages) => {
                        messages.retain(|message| self.is_ours(&message.subject));
                        self.buffer.lock().push(messages);
                    }
                    // The client has ended, unless it is our wish. Another reader goes on with the buffer.
                    None => is_over = true,
                },
                () = tokio::time::sleep_until(ends_by.unwrap_or_else(Instant::now)), if ends_by.is_some() && !is_over => {
                    is_over = true;
                }
            }
        }
    }

    /// Counts what the connection says of lost messages.
    fn count(&self, before: Lost, now: Lost) {
        if !now.up || now.connects > before.connects {
            self.buffer.lock().hold();
        }
        if now.connects > before.connects {
            self.buffer.lock().interrupted(now.connects - before.connects);
            self.say_interrupted();
        }
        if now.slow > before.slow {
            // The library does not say which subscription it was. Where this is not the only one, it is a loss that is possible.
            let mut buffer = self.buffer.lock();
            if self.is_only { buffer.lost(now.slow - before.slow) } else { buffer.interrupted(1) }
        }
    }

    fn say_interrupted(&self) {
        warn!(subject = self.subject, "the connection was interrupted: events published meanwhile are lost");
    }

    /// Whether a message is to be recorded, and no other reader gets it too.
    fn is_ours(&self, subject: &str) -> bool {
        !reserved::is_reserved(subject) && !self.others.iter().any(|other| subjects::includes(other, subject))
    }
}

/// Hands over what waits in a buffer that has no reader. False when the recorder takes no more.
pub(super) async fn hand_over(
    buffer: &SharedBuffer,
    (site, subject): (&Arc<str>, &str),
    sink: &mpsc::Sender<Intake>,
) -> bool {
    loop {
        let Ok(permit) = sink.reserve().await else { return false };
        let mut buffer = buffer.lock();
        let Some(item) = buffer.pop() else { return true };
        permit.send(intake(site, subject, buffer.epoch(), item));
    }
}

fn intake(site: &Arc<str>, subject: &str, epoch: u32, item: Item) -> Intake {
    let received = match item {
        // Nobody made it at a time.
        Item::Opened => Received::Opened { created_unix_nanos: 0, start_sequence: 1, reason: String::new() },
        Item::Messages(messages) => Received::Messages { messages, acknowledge: None },
        Item::Gap(from_sequence, to_sequence) => {
            let dropped = count(to_sequence - from_sequence, "message");
            warn!(subject, "{dropped} dropped: no stream held what came, and there was no room for it");
            Received::Gap { from_sequence, to_sequence }
        }
    };
    Intake { site: site.clone(), stream: stream_of(subject), epoch, received }
}

#[cfg(test)]
mod tests {
    use lifeline_projections::fact::plain_subject;

    use super::*;

    #[test]
    fn the_name_of_a_subject_is_no_name_of_a_stream() {
        for subject in ["user-operation", "orders.*.new", ">"] {
            let name = stream_of(subject);
            assert!(name.contains('.'), "nats-server refuses a stream with a dot in its name: {name}");
            assert_eq!(plain_subject(&name), Some(subject));
        }
        assert_eq!(plain_subject("LIFELINE"), None);
    }

    /// A server that is played by the test.
    struct Played {
        link: watch::Receiver<ConnectionState>,
        messages: Mutex<Option<mpsc::Receiver<Vec<Message>>>>,
    }

    struct PlayedSubscription(mpsc::Receiver<Vec<Message>>);

    impl Plain for Played {
        fn subscribe<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Box<dyn Subscription>, Error>> {
            let messages = self.messages.lock().take().expect("it is subscribed to once");
            Box::pin(async { Ok(Box::new(PlayedSubscription(messages)) as Box<dyn Subscription>) })
        }

        fn link(&self) -> watch::Receiver<ConnectionState> {
            self.link.clone()
        }
    }

    impl Subscription for PlayedSubscription {
        fn next(&mut self) -> BoxFuture<'_, Option<Vec<Message>>> {
            Box::pin(self.0.recv())
        }

        fn end(&mut self) -> BoxFuture<'_, Result<(), Error>> {
            self.0.close();
            Box::pin(async { Ok(()) })
        }
    }

    /// What is handed over where the library drops three messages between two that come, and the counts.
    async fn with_drops(is_only: bool) -> (Vec<Vec<u64>>, Counts) {
        let (link, linked) = watch::channel(ConnectionState { up: true, connects: 1, ..ConnectionState::default() });
        let (came, messages) = mpsc::channel(1);
        let (sink, mut items) = mpsc::channel(8);
        let (stop, stopped) = oneshot::channel();
        let buffer = SharedBuffer::new(Mutex::new(Buffer::new(None)));
        let reader = Reader {
            site: "mgmt/mgmt".into(),
            plain: Arc::new(Played { link: linked, messages: Mutex::new(Some(messages)) }),
            subject: "s.*".to_owned(),
            others: vec!["*.theirs".to_owned()],
            is_only,
            group: "lifeline".to_owned(),
            buffer: buffer.clone(),
            sink,
            trouble: watch::Sender::new(None),
            stop: stopped,
        };
        let reading = tokio::spawn(reader.run());
        let message = |subject: &str| Message {
            sequence: 0,
            published_unix_nanos: 1,
            subject: subject.into(),
            headers: Vec::new(),
            payload: "x".into(),
        };
        came.send(vec![message("s.ours"), message("s.theirs")]).await.unwrap();
        let mut handed_over = Vec::new();
        while handed_over.len() < 2 {
            handed_over.push(numbers(items.recv().await.unwrap().received));
        }
        link.send_modify(|link| link.slow += 3);
        came.send(vec![message("s.ours")]).await.unwrap();
        while handed_over.last().is_some_and(|last| !matches!(last[..], [2 | 5])) {
            handed_over.push(numbers(items.recv().await.unwrap().received));
        }
        stop.send(()).unwrap();
        reading.await.unwrap();
        let counts = buffer.lock().counts();
        (handed_over, counts)
    }

    fn numbers(received: Received) -> Vec<u64> {
        match received {
            Received::Opened { .. } | Received::Holes { .. } => Vec::new(),
            Received::Gap { from_sequence, to_sequence } => vec![from_sequence, to_sequence],
            Received::Messages { messages, .. } => messages.iter().map(|message| message.sequence).collect(),
        }
    }

    #[tokio::test]
    async fn what_the_client_library_drops_is_a_gap_where_it_can_be_no_other_subjects() {
        let counts = |next_sequence, dropped, interruptions| Counts { next_sequence, dropped, interruptions };
        assert_eq!(with_drops(true).await, (vec![vec![], vec![1], vec![2, 5], vec![5]], counts(6, 3, 0)));
        assert_eq!(with_drops(false).await, (vec![vec![], vec![1], vec![2]], counts(3, 0, 1)));
    }
}
