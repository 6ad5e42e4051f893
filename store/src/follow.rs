//! Following the tail: waiting, in a thread or in a future, for records that are not synced yet.
//!
//! A follower costs the writer one uncontended lock per sync. Nothing here depends on an async runtime.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::disk::Disk;
use crate::reader::Reader;
use crate::{Offset, OsDisk};

/// Completes with the durable end, once that is beyond an offset.
#[derive(Clone, Debug)]
#[must_use = "a future waits only when polled"]
pub struct Past<D: Disk = OsDisk> {
    reader: Reader<D>,
    offset: Offset,
}

impl<D: Disk> Reader<D> {
    /// Waits until the record at `offset` can be read, or the time is over; returns the durable end in both cases.
    pub fn wait_past(&self, offset: Offset, timeout: Duration) -> Offset {
        self.shared.wake.wait(Some(timeout), || self.end() > offset);
        self.end()
    }

    /// Completes when the record at `offset` can be read. It waits for ever when the log is never written to again.
    pub fn past(&self, offset: Offset) -> Past<D> {
        Past { reader: self.clone(), offset }
    }
}

impl<D: Disk> Future for Past<D> {
    type Output = Offset;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Offset> {
        let reader = &self.reader;
        if reader.shared.wake.register(context.waker(), || reader.end() > self.offset) {
            Poll::Ready(reader.end())
        } else {
            Poll::Pending
        }
    }
}
