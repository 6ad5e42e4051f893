//! [`GroupCommit`]: a door to one log for many callers.
//!
//! Callers hand in records and get a [`Ticket`] each; one thread, the door's own, takes all that have gathered, appends
//! them and syncs once. While the disk works on one group the next one gathers, so the slower the disk, the larger the
//! group. Memory is bounded: when the queue is full, callers wait, or are told so with [`GroupCommit::try_append`].
//!
//! Nothing is acknowledged that is not synced, and offsets are handed out in the order in which callers came. Who has a
//! single writer of his own, or simulates, uses [`Log`] itself: nothing in it depends on this layer.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};

use crate::disk::{Disk, OsDisk};
use crate::log::Log;
use crate::reader::Reader;
use crate::wake::Wake;
use crate::{Error, Offset};

/// The door; dropping it waits until what was handed in is durable.
#[derive(Debug)]
pub struct GroupCommit<D: Disk = OsDisk> {
    door: Arc<Door>,
    reader: Reader<D>,
    payload_bytes_max: u32,
    low_space_bytes: u64,
    thread: Option<JoinHandle<Log<D>>>,
}

/// A record that was handed in; wait for it, in a thread or as a future, to know that it is durable.
#[derive(Debug)]
#[must_use = "a record counts only when its ticket says that it is durable"]
pub struct Ticket {
    door: Arc<Door>,
    offset: Offset,
}

#[derive(Debug)]
struct Door {
    queue: Mutex<Queue>,
    work: Condvar,
    room: Condvar,
    /// The first offset that is not synced, and those who wait for it to move.
    durable: AtomicU64,
    done: Wake,
    queued_bytes_max: usize,
    groups: AtomicU64,
}

#[derive(Debug)]
struct Queue {
    gathering: Batch,
    next: Offset,
    /// Bytes handed in and not yet durable.
    queued_bytes: usize,
    closing: bool,
    /// Free bytes when space was found low.
    low_on_space: Option<u64>,
    stopped: Option<String>,
}

/// Records back to back, so that gathering allocates nothing once it is warm.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    records: VecDeque<(u64, usize)>,
}

impl Door {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn durable(&self) -> Offset {
        Offset::new(self.durable.load(Ordering::Acquire))
    }

    fn is_settled(&self, offset: Offset) -> bool {
        self.durable() > offset || self.queue().stopped.is_some()
    }

    fn outcome(&self, offset: Offset) -> Result<Offset, Error> {
        if self.durable() > offset {
            return Ok(offset);
        }
        let cause = self.queue().stopped.clone().unwrap_or_default();
        Err(Error::Poisoned { cause })
    }
}

impl<D: Disk> GroupCommit<D> {
    /// Takes over a log and starts the thread that writes it. At most `queued_bytes_max` bytes wait in memory; a single
    /// larger record is let in alone.
    pub fn start(log: Log<D>, queued_bytes_max: usize) -> GroupCommit<D> {
        let door = Arc::new(Door {
            queue: Mutex::new(Queue {
                gathering: Batch::default(),
                next: log.end(),
                queued_bytes: 0,
                closing: false,
                low_on_space: None,
                stopped: log.poisoned_by().map(str::to_owned),
            }),
            work: Condvar::new(),
            room: Condvar::new(),
            durable: AtomicU64::new(log.durable_end().get()),
            done: Wake::default(),
            queued_bytes_max,
            groups: AtomicU64::new(0),
        });
        let reader = log.reader();
        let options = log.options();
        let (payload_bytes_max, low_space_bytes) = (options.payload_bytes_max, options.low_space_bytes);
        let thread = thread::Builder::new()
            .name("lifeline-log".to_owned())
            .spawn({
                let door = Arc::clone(&door);
                move || write_groups(log, &door)
            })
            .expect("the operating system starts a thread");
        GroupCommit { door, reader, payload_bytes_max, low_space_bytes, thread: Some(thread) }
    }

    /// Hands in a record, waiting while the queue is full.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::LowSpace`], or [`Error::Poisoned`] when the log has stopped.
    pub fn append(&self, time_unix_nanos: u64, payload: &[u8]) -> Result<Ticket, Error> {
        let mut queue = self.door.queue();
        while queue.is_full(payload.len(), self.door.queued_bytes_max) && queue.stopped.is_none() {
            queue = self.door.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        self.put(queue, time_unix_nanos, payload)
    }

    /// Hands in a record unless the queue is full, then `None`.
    ///
    /// # Errors
    /// As [`GroupCommit::append`].
    pub fn try_append(&self, time_unix_nanos: u64, payload: &[u8]) -> Result<Option<Ticket>, Error> {
        let queue = self.door.queue();
        if queue.is_full(payload.len(), self.door.queued_bytes_max) && queue.stopped.is_none() {
            return Ok(None);
        }
        self.put(queue, time_unix_nanos, payload).map(Some)
    }

    fn put(&self, mut queue: MutexGuard<'_, Queue>, time_unix_nanos: u64, payload: &[u8]) -> Result<Ticket, Error> {
        if let Some(cause) = &queue.stopped {
            return Err(Error::Poisoned { cause: cause.clone() });
        }
        if payload.len() > self.payload_bytes_max as usize {
            return Err(Error::TooLarge { payload_bytes: payload.len(), payload_bytes_max: self.payload_bytes_max });
        }
        if let Some(free_bytes) = queue.low_on_space {
            // Has the thread look again: whoever comes next may find room.
            self.door.work.notify_one();
            return Err(Error::LowSpace { free_bytes, low_space_bytes: self.low_space_bytes });
        }
        let offset = queue.next;
        queue.next = offset.next();
        queue.queued_bytes += payload.len();
        queue.gathering.bytes.extend_from_slice(payload);
        queue.gathering.records.push_back((time_unix_nanos, payload.len()));
        self.door.work.notify_one();
        Ok(Ticket { door: Arc::clone(&self.door), offset })
    }

    /// A reader of what is synced.
    pub fn reader(&self) -> Reader<D> {
        self.reader.clone()
    }

    /// How many groups, and so how many syncs, it took so far.
    pub fn groups(&self) -> u64 {
        self.door.groups.load(Ordering::Relaxed)
    }

    /// Makes what was handed in durable, ends the thread and gives the log back.
    pub fn finish(mut self) -> Log<D> {
        let thread = self.thread.take().expect("the thread runs until the door is closed");
        self.close_door();
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn close_door(&self) {
        self.door.queue().closing = true;
        self.door.work.notify_one();
    }
}

impl<D: Disk> Drop for GroupCommit<D> {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.close_door();
            // A panic of the thread has been printed; there is nobody left to hand it to.
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn is_full(&self, more_bytes: usize, bytes_max: usize) -> bool {
        self.queued_bytes > 0 && self.queued_bytes + more_bytes > bytes_max
    }
}

/// The thread: takes what has gathered, appends, syncs, tells.
fn write_groups<D: Disk>(mut log: Log<D>, door: &Door) -> Log<D> {
    let mut batch = Batch::default();
    loop {
        let mut queue = door.queue();
        while queue.gathering.records.is_empty() && !queue.closing && queue.low_on_space.is_none() {
            queue = door.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.gathering.records.is_empty() {
            if queue.closing {
                return log;
            }
            // Low on space: woken by someone who was refused.
            queue = door.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut batch, &mut queue.gathering);
        drop(queue);

        let written = write_group(&mut log, &batch);
        let written_bytes = batch.bytes.len();
        batch.bytes.clear();
        batch.records.clear();
        let mut queue = door.queue();
        queue.queued_bytes -= written_bytes;
        match written {
            Ok(low_on_space) => queue.low_on_space = low_on_space,
            Err(error) => {
                queue.stopped = Some(log.poisoned_by().map_or_else(|| error.to_string(), str::to_owned));
            }
        }
        let stopped = queue.stopped.is_some();
        drop(queue);
        door.durable.store(log.durable_end().get(), Ordering::Release);
        door.groups.fetch_add(1, Ordering::Relaxed);
        door.room.notify_all();
        door.done.all();
        if stopped {
            return log;
        }
    }
}

/// Returns the free bytes when they are low.
fn write_group<D: Disk>(log: &mut Log<D>, batch: &Batch) -> Result<Option<u64>, Error> {
    let mut at = 0;
    for &(time_unix_nanos, length) in &batch.records {
        // Room was checked when the record was let in; its offset is promised.
        log.append_reserved(time_unix_nanos, &batch.bytes[at..at + length])?;
        at += length;
    }
    log.sync()?;
    let space = log.space()?;
    Ok(space.is_low.then_some(space.free_bytes))
}

impl Ticket {
    /// The offset the record has once it is durable.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// Waits until the record is durable.
    ///
    /// # Errors
    /// [`Error::Poisoned`] when the log stopped first; whether the record survived, only a reopened log can tell.
    pub fn wait(self) -> Result<Offset, Error> {
        self.door.done.wait(None, || self.door.is_settled(self.offset));
        self.door.outcome(self.offset)
    }
}

impl Future for Ticket {
    type Output = Result<Offset, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.door.done.register(context.waker(), || self.door.is_settled(self.offset)) {
            Poll::Ready(self.door.outcome(self.offset))
        } else {
            Poll::Pending
        }
    }
}
