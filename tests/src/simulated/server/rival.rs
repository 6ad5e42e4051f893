//! Others who read with the consumer of the engine: one that just takes messages, and another engine that owns it for a while.

use std::time::Duration;

use lifeline_engine::intake::jetstream::Retention;
use lifeline_engine::intake::owner::{Owner, RENEW_EVERY};
use tokio::time::Instant;

use super::{Lease, Server, State, Stream, is_asked_for};
use crate::simulated::hazard::Hazard;
use crate::simulated::story::Violation;

/// The name of the other engine.
const RIVAL: &str = "rival";

/// After this long the engine has noticed it, also where it was not answered at first.
const NOTICED: Duration = Duration::from_secs(25);

/// Another engine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rival {
    since: Instant,
    until: Instant,
}

impl Server {
    /// Gives the next messages of every consumer to somebody else, who uses the same consumer.
    pub fn steal(&self, messages: u64, acknowledges: bool) {
        for stream in self.state.lock().streams.values_mut() {
            let Stream { held, consumers, retention, .. } = stream;
            for consumer in consumers.values_mut().filter(|consumer| !consumer.is_deaf) {
                let asked = held.range(consumer.cursor..).filter(|(_, held)| is_asked_for(&consumer.filters, held));
                let next = asked.map(|(sequence, _)| *sequence);
                let stolen: Vec<u64> = next.take(usize::try_from(messages).expect("a few")).collect();
                let Some(last) = stolen.last() else { continue };
                self.counter.count_many(Hazard::StolenDelivery, stolen.len() as u64);
                consumer.cursor = last + 1;
                consumer.went_elsewhere |= consumer.has_delivered;
                if !acknowledges || *retention == Retention::WorkQueue {
                    consumer.unacknowledged.extend(stolen.iter().map(|sequence| (*sequence, Instant::now())));
                }
            }
        }
    }

    /// Another engine takes every consumer, and has it for a while: it renews its note, and then is gone.
    pub fn rival_comes(&self, lives: Duration) {
        let now = Instant::now();
        let since_unix_nanos = self.clock_unix_nanos();
        let mut state = self.state.lock();
        state.rival = Some(Rival { since: now, until: now + lives });
        for consumer in state.streams.values_mut().flat_map(|stream| stream.consumers.values_mut()) {
            self.counter.count(Hazard::Rival);
            consumer.owner = Some(Owner {
                instance: RIVAL.to_owned(),
                host: String::new(),
                since_unix_nanos,
                renewed_unix_nanos: since_unix_nanos,
            });
        }
    }

    /// Who is noted with a consumer.
    pub(in crate::simulated) fn owner(&self, stream: &str, durable: &str) -> Option<Owner> {
        let mut state = self.state.lock();
        let rival = state.rival;
        let consumer = state.streams.get_mut(stream)?.consumers.get_mut(durable)?;
        let mut owner = consumer.owner.clone()?;
        if let Some(Rival { since, until }) = rival.filter(|_| owner.instance == RIVAL) {
            let lived = Instant::now().min(until).saturating_duration_since(since);
            let renewals = lived.as_secs() / RENEW_EVERY.as_secs();
            owner.renewed_unix_nanos += renewals;
        }
        Some(owner)
    }

    /// Notes an owner; gives the one that is noted afterwards.
    pub(in crate::simulated) fn note_owner(&self, stream: &str, durable: &str, owner: &Owner) -> Option<Owner> {
        let mut state = self.state.lock();
        let rival = state.rival;
        let consumer = state.streams.get_mut(stream)?.consumers.get_mut(durable)?;
        let noted = consumer.owner.replace(owner.clone());
        let is_taken = noted.is_some_and(|noted| noted.instance == RIVAL);
        if is_taken && rival.is_some_and(Rival::is_known) {
            let whom = format!("{stream} is owned by {owner:?}");
            state.violations.push(Violation::new("taken from an engine that renews", whom));
        }
        Some(owner.clone())
    }
}

impl State {
    /// That the engine reads with a consumer which another one owns, if it does.
    pub(super) fn reads_as_well(&self, lease: &Lease) -> Option<Violation> {
        let rival = self.rival.filter(|rival| rival.is_known())?;
        let consumer = self.streams.get(&lease.consume.stream)?.consumers.get(&lease.consume.durable)?;
        let is_rivals = consumer.owner.as_ref().is_some_and(|owner| owner.instance == RIVAL);
        let whom = || format!("{} s after it came", rival.since.elapsed().as_secs());
        is_rivals.then(|| Violation::new("read with a consumer of another engine", whom()))
    }
}

impl Rival {
    /// Whether it is there, and has been for so long that nobody can have missed it.
    fn is_known(self) -> bool {
        self.since.elapsed() > NOTICED && Instant::now() < self.until
    }
}
