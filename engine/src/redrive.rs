//! Taking up rejected messages again, once what they were rejected for is mended: a release that reads more, mostly.
//!
//! Start at [`look`], which finds in the log what is asked for; the recorder then reads each message again and records it as an
//! event at a new offset, with the offset it was rejected at, who asked, and why. Once only: the record that says so is the
//! event itself, so there is no moment between the two, and it is looked for up to the end of the log before another is
//! written. Never here: HTTP, or who may ask.

use std::collections::{BTreeMap, BTreeSet};

use lifeline_projections::event::{self, CloudEvent};
use lifeline_projections::fact::{EventReceived, EventRejected, Fact, Redriven};
use lifeline_store::{Disk, Offset, Reader, Record};

/// Reads a message as an event, or says why it is none.
pub type Receive = for<'m> fn(&event::Headers<'m>, &'m [u8]) -> Result<CloudEvent<'m>, event::Error>;

/// Who asks for it, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Because {
    /// The name that was authenticated, or `anybody`.
    pub by: String,
    /// In the words of who asks.
    pub reason: String,
}

/// What is in the log where a redrive is asked for.
#[derive(Debug, Clone)]
pub enum Place {
    /// A rejected message that nobody has taken up again, below the end that was looked to.
    Rejected(Record),
    /// Nothing can come of it but this.
    Known(Outcome),
}

/// What came of one rejected message, or why nothing can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is an event, recorded at this offset; `None` where that was only tried.
    Event(Option<Offset>),
    /// It was taken up already, by the record at this offset.
    Done(Offset),
    /// It still is no event, for this reason.
    Rejected(String),
    /// The disk has no room for messages.
    NoRoom(String),
    /// The record is no rejected message.
    NotRejected,
    /// The log holds it no longer.
    Forgotten,
    /// It is not recorded yet.
    Ahead,
    /// It does not read back, or whether it was taken up already cannot be known, because this record does not read back.
    Unreadable(Offset),
}

/// What is at each of these offsets, and the end that was looked to.
///
/// # Errors
/// When the disk refuses.
pub fn look<D: Disk>(
    log: &Reader<D>,
    offsets: &BTreeSet<Offset>,
) -> Result<(BTreeMap<Offset, Place>, Offset), lifeline_store::Error> {
    let (start, end) = (log.start(), log.end());
    let mut places = BTreeMap::new();
    for &offset in offsets {
        let place = match log.read(offset) {
            _ if offset < start => Place::Known(Outcome::Forgotten),
            _ if offset >= end => Place::Known(Outcome::Ahead),
            Ok(Some(record)) if message(&record).is_some() => Place::Rejected(record),
            Ok(Some(_)) => Place::Known(Outcome::NotRejected),
            Ok(None) => Place::Known(Outcome::Forgotten),
            Err(lifeline_store::Error::Damaged { .. }) => Place::Known(Outcome::Unreadable(offset)),
            Err(error) => return Err(error),
        };
        places.insert(offset, place);
    }
    // What was taken up was taken up later.
    let first = places.iter().find_map(|(offset, place)| matches!(place, Place::Rejected(_)).then_some(*offset));
    if let Some(first) = first {
        seek_done(log, first.next(), end, &mut places)?;
    }
    Ok((places, end))
}

fn seek_done<D: Disk>(
    log: &Reader<D>,
    from: Offset,
    end: Offset,
    places: &mut BTreeMap<Offset, Place>,
) -> Result<(), lifeline_store::Error> {
    let mut scan = log.scan(from);
    while scan.position() < end {
        let (lost, next) = match scan.next() {
            Ok(None) => break,
            Ok(Some(record)) => match Fact::decode(record.payload) {
                Ok(fact) => {
                    if let Some(place) = taken_up(&fact).and_then(|of| places.get_mut(&of)) {
                        *place = Place::Known(Outcome::Done(record.offset));
                    }
                    continue;
                }
                Err(_) => (record.offset, record.offset.next()),
            },
            Err(lifeline_store::Error::Damaged { offsets, .. }) => (offsets.start, offsets.end),
            Err(error) => return Err(error),
        };
        // It may be the one that says so.
        for (_, place) in places.range_mut(..lost).filter(|(_, place)| matches!(place, Place::Rejected(_))) {
            *place = Place::Known(Outcome::Unreadable(lost));
        }
        scan.seek(next);
    }
    Ok(())
}

/// The record whose message a fact takes up again.
pub(crate) fn taken_up(fact: &Fact<'_>) -> Option<Offset> {
    match fact {
        Fact::Event(EventReceived { redriven: Some(Redriven { of, .. }), .. }) => Some(*of),
        _ => None,
    }
}

/// The rejected message in a record; `None` where it holds none.
pub(crate) fn message(record: &Record) -> Option<EventRejected<'_>> {
    match Fact::decode(&record.payload) {
        Ok(Fact::Rejected(rejected)) => Some(rejected),
        _ => None,
    }
}

/// What would come of a rejected message.
#[must_use]
pub fn try_out(record: &Record, receive: Receive) -> Outcome {
    match message(record).map(|of| receive(&of.headers, of.payload).err()) {
        Some(None) => Outcome::Event(None),
        Some(Some(error)) => Outcome::Rejected(error.to_string()),
        None => Outcome::Rejected("it is no rejected message".to_owned()),
    }
}
